"""Networks in files: parameters as safetensors, what the network is in the file's metadata."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from .initializers import Array

#: The entry of the metadata, and what this version writes there as its format.
KEY, FORMAT = "initcore", 1


def save(path: str | os.PathLike[str], parameters: dict[str, Array], config: dict[str, Any]) -> None:
    """Write parameters and a description; the file is replaced as a whole or not at all."""
    from safetensors.numpy import save as to_bytes

    data = to_bytes(parameters, {KEY: json.dumps({"format": FORMAT, **config})})
    temporary = Path(f"{os.fspath(path)}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Read what `save` wrote.

    Raises
    ------
    ValueError
        The file is not one of safetensors, or does not describe a network.
    OSError
        The file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    with Path(path).open("rb"):  # a missing file is an error of the system, with its own words
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            parameters = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, AttributeError) as error:  # or a type that NumPy lacks
        msg = f"{os.fspath(path)} is not a safetensors file: {error}"
        raise ValueError(msg) from None
    try:
        config = json.loads(metadata[KEY])
        known = config.pop("format") == FORMAT
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        known = False
    if not known:
        msg = f"{os.fspath(path)} does not describe a network that this version knows (metadata {KEY!r})"
        raise ValueError(msg)
    return parameters, config
