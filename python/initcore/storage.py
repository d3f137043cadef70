"""Files that are replaced as a whole, and networks with their description in them."""

from __future__ import annotations

import errno
import json
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from .initializers import Array

#: The entry of the metadata, and what this version writes there as the format of a network.
KEY, FORMAT = "initcore", 1


@contextmanager
def replacing(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` once it is complete; an error leaves nothing of it.

    With `durable` it is on the disk before, so that a machine that stops leaves nothing incomplete either.
    """
    if Path(path).is_dir():  # or the system would say so at the end
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    temporary = Path(f"{os.fspath(path)}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def settle(directory: Path) -> None:
    """Put on the disk which names a directory has, where the system can."""
    if os.name == "posix":
        number = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def leftovers(path: Path) -> Iterator[Path]:
    """Give what killed processes have left of `path`."""
    return path.parent.glob(f"{path.name}.????????.tmp")


def save(path: str | os.PathLike[str], parameters: dict[str, Array], config: dict[str, Any]) -> None:
    """Write a network's parameters and description; the file is replaced as a whole or not at all."""
    from safetensors.numpy import save as to_bytes

    data = to_bytes(parameters, {KEY: json.dumps({"format": FORMAT, **config})})
    with replacing(path) as file:
        file.write(data)


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
