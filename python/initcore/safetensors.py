"""What safetensors files hold: the shapes of a model, and whether its parameters are as they were drawn.

A model is one file, the directory of one, or a directory of several with their index, as Hugging Face lays
them out. `init_params` and `ModelPlan.save` write them.
"""

from __future__ import annotations

import errno
import json
import re
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from .arrays import expect, float_dtype
from .config import thread_count
from .plans import ModelPlan, progress_bar, tensors_of
from .sharding import INDEX, LONE
from .streaming import CODES, PIECE, Piece, spread

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["Stored", "shapes", "verify"]


class Stored(NamedTuple):
    """A tensor of a file: its shape and dtype; where NumPy has no such dtype, what safetensors calls it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | str


def shapes(path: str | os.PathLike[str]) -> dict[str, Stored]:
    """Read the names, shapes and dtypes of a model; no values.

    They are what `plan` and `init_params` take. Those of other dtypes than float32, float64, float16 and
    bfloat16 are there as well, and `plan` refuses them: leave them out.

    Parameters
    ----------
    path : str or path-like
        A safetensors file, an index, or a directory with either.

    Returns
    -------
    dict of str to (shape, dtype)
        In the order of the files and of the tensors in them.

    Raises
    ------
    ValueError
        A file is not one of safetensors, or the index is none, or has names that its files do not have.
    OSError
        A file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> from initcore import init_params
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     init_params({"w": (4, 2), "b": 2}, {"*": "ones"}, seed=0, out=directory, max_shard_size=32)
    ...     shapes(directory)
    {'w': Stored(shape=(4, 2), dtype=dtype('float32')), 'b': Stored(shape=(2,), dtype=dtype('float32'))}
    """
    with ExitStack() as stack:
        return {name: _stored(file, name) for name, file in _tensors(Path(path), stack).items()}


def verify(
    path: str | os.PathLike[str],
    plan: ModelPlan,
    *,
    num_threads: int | None = None,
    progress: bool | None = None,
) -> dict[str, str]:
    """Compare a model in files with what a plan draws, bit for bit.

    Neither is ever in memory as a whole: pieces are drawn and compared, by all threads.

    Parameters
    ----------
    path : str or path-like
        As in `shapes`.
    plan : ModelPlan
        What should be there.
    num_threads : int, optional
        At most this many.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.

    Returns
    -------
    dict of str to str
        The parameters that are not as planned, and what is wrong with each: it is missing, not in the plan,
        of another shape or dtype, or has other values. Empty if all are as drawn.

    Raises
    ------
    ValueError, OSError
        As `shapes`.
    TypeError
        `plan` is none.

    Examples
    --------
    >>> import os, tempfile
    >>> from initcore import plan
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "model.safetensors")
    ...     plan({"w": (4, 2), "b": 2}, {"*": "normal"}, seed=0).save(path)
    ...     verify(path, plan({"w": (4, 2), "b": 2}, {"w": "normal", "*": "zeros"}, seed=0))
    {'b': 'has other values'}
    """
    expect(plan, ModelPlan, "plan")
    threads = thread_count(num_threads)
    faults: dict[str, str] = {}
    with ExitStack() as stack:
        files = _tensors(Path(path), stack)
        for name, p in plan.parameters.items():
            planned = Stored(p.shape, p.dtype.newbyteorder("="))
            if name not in files:
                faults[name] = "is missing"
            elif (found := _stored(files[name], name)) != planned:
                faults[name] = f"has {_words(found)}, expected {_words(planned)}"
        todo = [tensor for tensor in tensors_of(plan, num_threads) if tensor.name not in faults]

        lock = threading.Lock()  # the library's objects are used by one thread at a time

        def compare(pieces: Iterator[Piece]) -> None:
            buffer = np.empty(PIECE, np.uint8)
            for piece in pieces:
                name = piece.tensor.name
                if name not in faults:
                    with lock:
                        stored = np.ascontiguousarray(files[name].get_slice(name)[piece.index])
                    if not np.array_equal(stored.reshape(-1).view(np.uint8), piece.make(buffer)):
                        faults[name] = "has other values"
                advance(piece.nbytes)

        with progress_bar(sum(tensor.nbytes for tensor in todo), progress) as advance:
            compare(piece for tensor in todo if not tensor.divisible for piece in tensor.pieces())
            pieces = (piece for tensor in todo if tensor.divisible for piece in tensor.pieces())
            spread(pieces, compare, threads)
        order = {**dict.fromkeys(plan.parameters), **dict.fromkeys(files)}
        faults |= dict.fromkeys(files.keys() - plan.parameters.keys(), "is not in the plan")
    return {name: faults[name] for name in order if name in faults}


def _tensors(path: Path, stack: ExitStack) -> dict[str, Any]:
    """Open the files of a model; give, by tensor, the one that it is in."""
    if path.is_dir():
        lone, index = path / LONE, path / INDEX
        if not (lone.exists() or index.exists()):
            raise FileNotFoundError(errno.ENOENT, f"neither {LONE} nor {INDEX} in the directory", str(path))
        path = lone if lone.exists() else index  # as Hugging Face's loaders choose
    if path.suffix != ".json":
        file = stack.enter_context(_opened(path))
        return dict.fromkeys(file.offset_keys(), file)
    try:
        weight_map = {str(k): str(v) for k, v in json.loads(path.read_bytes())["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is not the index of a model: {error!r}"
        raise ValueError(msg) from None
    tensors: dict[str, Any] = {}
    for name in sorted(set(weight_map.values())):
        file = stack.enter_context(_opened(path.parent / name))
        tensors |= {key: file for key in file.offset_keys() if weight_map.get(key) == name}
    absent = [f"{name} in {file}" for name, file in weight_map.items() if name not in tensors]
    if absent:
        msg = f"{path} names tensors that are not there: {', '.join(absent[:20])}"
        raise ValueError(msg)
    return tensors


def _opened(path: Path) -> Any:
    """Open a safetensors file, of which the library reads and checks the head."""
    with path.open("rb"):  # a missing file is an error of the system, with its own words
        pass
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        msg = f"{path} is not a safetensors file: {error}"
        raise ValueError(msg) from None


def _stored(file: Any, name: str) -> Stored:
    """Read what the head says of a tensor."""
    tensor = file.get_slice(name)
    code = tensor.get_dtype()
    dtype = code
    if code in CODES.values():
        dtype = float_dtype(next(known for known in CODES if CODES[known] == code))
    elif match := re.fullmatch(r"([IUC])(\d+)|BOOL", code):
        kind, bits = match.groups()
        dtype = np.dtype(f"{kind.lower()}{int(bits) // 8}" if kind else bool)
    return Stored(tuple(tensor.get_shape()), dtype)


def _words(stored: Stored) -> str:
    return f"shape {stored.shape} and dtype {stored.dtype}"
