"""Parameters in safetensors files: networks with their description, and models drawn as they are written."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from .initializers import Array

#: The entry of the metadata, and what this version writes there as the format of a network.
KEY, FORMAT = "initcore", 1

#: Where safetensors has the metadata, among the names of the tensors.
METADATA = "__metadata__"

#: What safetensors calls the dtypes.
CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

#: Bytes drawn and written at a time: they stay in a core's cache from the one to the other.
PIECE = 1 << 20

#: Part of an array, without an ellipsis: integers, then at most one slice.
Part: TypeAlias = tuple[int | slice, ...]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` once it is complete; an error leaves nothing of it."""
    if Path(path).is_dir():  # or the system would say so at the end
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    temporary = Path(f"{os.fspath(path)}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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


class Make(Protocol):
    """What makes a part of an array in `out`."""

    def __call__(self, *, index: Part, out: Array) -> object:
        """Make it."""


@dataclass(frozen=True)
class Tensor:
    """An array that is made while it is written; `divisible` if a part costs less than the whole."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Make
    divisible: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes of the whole."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Piece:
    """A stretch of a tensor, in C order, and where it goes in the file."""

    tensor: Tensor
    index: Part
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the stretch."""
        return math.prod(self.shape) * self.tensor.dtype.itemsize

    def make(self, buffer: npt.NDArray[np.uint8]) -> memoryview:
        """Make its bytes, in `buffer` if they fit in there."""
        memory = buffer if self.nbytes <= buffer.size else np.empty(self.nbytes, np.uint8)
        memory = memory[: self.nbytes]
        self.tensor.make(index=self.index, out=memory.view(self.tensor.dtype).reshape(self.shape))
        return memory.data


def cut(shape: tuple[int, ...], limit: int) -> Iterator[tuple[Part, tuple[int, ...]]]:
    """Cut an array into stretches of at most `limit` elements: their indices and shapes, in C order."""
    if math.prod(shape) <= limit:
        yield (), shape
        return
    rows, row = shape[0], shape[1:]
    if math.prod(row) > limit:
        for i in range(rows):
            for index, part in cut(row, limit):
                yield (i, *index), part
    else:
        count = -(-rows // (limit // math.prod(row)))
        for i in range(count):  # evenly: no small rest
            begin, end = rows * i // count, rows * (i + 1) // count
            yield (slice(begin, end),), (end - begin, *row)


def header(tensors: Sequence[Tensor], metadata: Mapping[str, str]) -> bytes:
    """Give the beginning of a safetensors file: its length, and JSON that says where which tensor lies."""
    entries: dict[str, Any] = {METADATA: dict(metadata)}
    end = 0
    for tensor in tensors:
        if tensor.name == METADATA:
            msg = f"no tensor of a safetensors file can have the name {METADATA}"
            raise ValueError(msg)
        begin, end = end, end + tensor.nbytes
        entries[tensor.name] = {
            "dtype": CODES[tensor.dtype.name],
            "shape": tensor.shape,
            "data_offsets": (begin, end),
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def placed(tensors: Sequence[Tensor], offset: int) -> Iterator[tuple[Tensor, int]]:
    """Give tensors that lie one after the other from `offset` on, and where each begins."""
    for tensor in tensors:
        yield tensor, offset
        offset += tensor.nbytes


def pieces(tensors: Iterable[tuple[Tensor, int]]) -> Generator[Piece]:
    """Cut divisible tensors, given with where they begin."""
    for tensor, begin in tensors:
        offset = begin
        for index, shape in cut(tensor.shape, PIECE // tensor.dtype.itemsize):
            piece = Piece(tensor, index, shape, offset)
            yield piece
            offset += piece.nbytes


def stream(
    path: str | os.PathLike[str],
    tensors: Sequence[Tensor],
    metadata: Mapping[str, str],
    num_threads: int,
    advance: Callable[[int], object],
) -> None:
    """Write tensors to a file piece by piece, each made by the thread that writes it.

    Those that are not divisible are made before, one after the other, by the calling thread, which Ctrl-C
    reaches. The file is replaced as a whole or not at all; `advance` is told of every so many bytes.

    Raises
    ------
    OSError
        The file cannot be written, or the file system has no room for it.
    """
    tensors = sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)  # all are aligned then
    head = header(tensors, metadata)
    size = len(head) + sum(tensor.nbytes for tensor in tensors)
    with replacing(path) as file:
        free = shutil.disk_usage(file.name).free
        if size > free:
            raise OSError(errno.ENOSPC, f"{size} bytes to write, {free} are free", os.fspath(path))
        file.write(head)
        file.truncate(size)
        file.flush()
        places = list(placed(tensors, len(head)))
        for tensor, offset in places:
            if not tensor.divisible:
                data = Piece(tensor, (), tensor.shape, offset).make(np.empty(tensor.nbytes, np.uint8))
                file.seek(offset)
                file.write(data)
                advance(tensor.nbytes)
        file.flush()
        lock = threading.Lock()
        todo = pieces(place for place in places if place[0].divisible)

        def stop() -> None:
            with lock:
                todo.close()

        def work() -> None:
            buffer = np.empty(PIECE, np.uint8)
            try:
                with Path(file.name).open("r+b") as own:  # with a position of its own
                    while True:
                        with lock:
                            piece = next(todo, None)
                        if piece is None:
                            return
                        data = piece.make(buffer)
                        own.seek(piece.offset)
                        own.write(data)
                        with lock:
                            advance(piece.nbytes)
            finally:
                stop()  # after an error the others need not go on

        workers = min(num_threads, -(-size // PIECE))
        with ThreadPoolExecutor(workers) as pool:
            try:
                for worker in [pool.submit(work) for _ in range(workers)]:
                    worker.result()
            finally:
                stop()  # nor after Ctrl-C
