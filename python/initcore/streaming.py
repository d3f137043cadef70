"""Safetensors files that are made while they are written, piece by piece: no model is ever in memory."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from .storage import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from .initializers import Array

#: Where safetensors has the metadata, among the names of the tensors.
METADATA = "__metadata__"

#: What safetensors calls the dtypes.
CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

#: Bytes drawn and written at a time: they stay in a core's cache from the one to the other.
PIECE = 1 << 20

#: Part of an array, without an ellipsis: integers, then at most one slice.
Part: TypeAlias = tuple[int | slice, ...]


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

    def pieces(self, begin: int = 0) -> Iterator[Piece]:
        """Cut it, as it lies in a file from `begin` on; into one piece if it is not divisible."""
        limit = PIECE // self.dtype.itemsize if self.divisible else math.prod(self.shape)
        for index, shape in cut(self.shape, limit):
            piece = Piece(self, index, shape, begin)
            yield piece
            begin += piece.nbytes


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

    def make(self, buffer: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Make its bytes, in `buffer` if they fit in there."""
        memory = buffer if self.nbytes <= buffer.size else np.empty(self.nbytes, np.uint8)
        memory = memory[: self.nbytes]
        self.tensor.make(index=self.index, out=memory.view(self.tensor.dtype).reshape(self.shape))
        return memory


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


@dataclass(frozen=True)
class File:
    """A safetensors file: its tensors, and what its metadata says."""

    path: Path
    tensors: Sequence[Tensor]
    metadata: Mapping[str, str]

    def __post_init__(self) -> None:
        """Check the names of the tensors."""
        if any(tensor.name == METADATA for tensor in self.tensors):
            msg = f"no tensor of a safetensors file can have the name {METADATA}"
            raise ValueError(msg)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.head) + self.nbytes

    @cached_property
    def placed(self) -> list[tuple[Tensor, int]]:
        """The tensors as they lie in the file, and where in the data each begins."""
        places, begin = [], 0
        for tensor in sorted(self.tensors, key=lambda tensor: -tensor.dtype.itemsize):  # all are aligned then
            places.append((tensor, begin))
            begin += tensor.nbytes
        return places

    @cached_property
    def head(self) -> bytes:
        """The beginning of the file: its length, and JSON that says where which tensor lies."""
        entries: dict[str, Any] = {METADATA: {"format": "pt", **self.metadata}}  # some loaders look for it
        for tensor, begin in self.placed:
            entries[tensor.name] = {
                "dtype": CODES[tensor.dtype.name],
                "shape": tensor.shape,
                "data_offsets": (begin, begin + tensor.nbytes),
            }
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def is_complete(self) -> bool:
        """Whether it is there: of its size, with its head. No file gets its name before it is complete."""
        try:
            with self.path.open("rb") as file:
                return os.fstat(file.fileno()).st_size == self.size and file.read(len(self.head)) == self.head
        except FileNotFoundError:
            return False

    def write(self, num_threads: int, advance: Callable[[int], object], *, durable: bool = False) -> None:
        """Write it piece by piece, each made by the thread that writes it.

        Tensors that are not divisible are made before, one after the other, by the calling thread, which
        Ctrl-C reaches. The file is replaced as a whole or not at all; `advance` is told of every so many
        bytes. `durable` is as in `replacing`.

        Raises
        ------
        OSError
            The file cannot be written, or the file system has no room for it.
        """
        head, size = self.head, self.size
        pieces = [tensor.pieces(len(head) + begin) for tensor, begin in self.placed if tensor.divisible]
        whole = [tensor.pieces(len(head) + begin) for tensor, begin in self.placed if not tensor.divisible]
        with replacing(self.path, durable=durable) as file:
            expect_room(Path(file.name), size)
            file.write(head)
            file.truncate(size)
            file.flush()

            def work(pieces: Iterator[Piece]) -> None:
                buffer = np.empty(PIECE, np.uint8)
                with Path(file.name).open("r+b") as own:  # with a position of its own
                    for piece in pieces:
                        own.seek(piece.offset)
                        own.write(piece.make(buffer).data)
                        advance(piece.nbytes)

            work(piece for tensor in whole for piece in tensor)
            spread(
                (piece for tensor in pieces for piece in tensor), work, min(num_threads, -(-size // PIECE))
            )


def spread(pieces: Generator[Piece], work: Callable[[Iterator[Piece]], object], num_threads: int) -> None:
    """Call `work` on several threads, each with pieces of its own; after an error or Ctrl-C none goes on."""
    lock = threading.Lock()

    def taken() -> Iterator[Piece]:
        while True:
            with lock:
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def stop() -> None:
        with lock:
            pieces.close()

    def run() -> None:
        try:
            work(taken())
        finally:
            stop()

    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for worker in [pool.submit(run) for _ in range(num_threads)]:
                worker.result()
        finally:
            stop()


def expect_room(path: Path, size: int) -> None:
    """Check that so many bytes can be written where `path` is."""
    free = shutil.disk_usage(path).free
    if size > free:
        raise OSError(errno.ENOSPC, f"{size} bytes to write, {free} are free", os.fspath(path))
