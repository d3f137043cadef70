"""Models in several files, laid out as Hugging Face does: ``model-00001-of-00003.safetensors`` and an index.

The index is what makes the files a model. One of other files is removed before anything is written; the new
one is written last, by whichever process finds all files complete. A file gets its name when it is complete,
and its head says which plan it is of. Whenever a process is killed, there is then nothing that looks like the
model and is not, and starting it again goes on with what is missing.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from .arrays import integer
from .storage import leftovers, replacing, settle
from .streaming import File, Tensor, expect_room

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

#: The file of a model that needs but one, which loaders look for first, and the index of several.
LONE, INDEX = "model.safetensors", "model.safetensors.index.json"

#: Names that loaders take for those of a model's files.
OURS = re.compile(r"model(-\d{5,}-of-\d{5,})?\.safetensors")

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def byte_count(size: int | str) -> int:
    """Give the bytes of a size such as "5GB", which is decimal, or of a number of them."""
    if isinstance(size, str):
        try:
            size = int(float(size.strip()[:-2]) * UNITS[size.strip()[-2:].upper()])
        except (KeyError, ValueError, OverflowError):
            msg = f"max_shard_size must be a number and KB, MB, GB or TB, as in '5GB', got {size!r}"
            raise ValueError(msg) from None
    return integer(size, "max_shard_size", 1)


def split(tensors: Sequence[Tensor], limit: int) -> list[list[Tensor]]:
    """Give what goes into which file, by the rule of huggingface_hub.

    Tensor after tensor goes into the file that is open, until the next would make it larger than `limit`. A
    tensor that is larger than that alone gets a file of its own, and leaves the one that is open open.
    """
    files: list[list[Tensor]] = []
    current: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if tensor.nbytes > limit:
            files.append([tensor])
            continue
        if size + tensor.nbytes > limit:
            files.append(current)
            current, size = [], 0
        current.append(tensor)
        size += tensor.nbytes
    return [*files, current] if current or not files else files


@dataclass(frozen=True)
class Directory:
    """A model in the files of a directory; `index` is None for one file, which needs none."""

    path: Path
    files: Sequence[File]
    index: bytes | None

    @classmethod
    def laid_out(
        cls, path: Path, tensors: Sequence[Tensor], metadata: Mapping[str, str], max_shard_size: int | str
    ) -> Directory:
        """Decide what goes where; nothing is written.

        Raises
        ------
        ValueError, TypeError
            `max_shard_size` is no size.
        """
        shards = split(tensors, byte_count(max_shard_size))
        count = len(shards)
        names = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
        if count == 1:
            return cls(path, [File(path / LONE, tensors, metadata)], None)
        files = [File(path / name, shard, metadata) for name, shard in zip(names, shards, strict=True)]
        index = {
            "metadata": {
                **metadata,
                "total_parameters": sum(math.prod(tensor.shape) for tensor in tensors),
                "total_size": sum(tensor.nbytes for tensor in tensors),
            },
            "weight_map": {tensor.name: file.path.name for file in files for tensor in file.tensors},
        }
        return cls(path, files, (json.dumps(index, indent=2, sort_keys=True) + "\n").encode())

    def part(self, part: tuple[int, int] | None) -> Sequence[File]:
        """Give the files that process i of n, (i, n), makes: all are dealt out, the largest first, evenly."""
        if part is None:
            return self.files
        try:
            i, n = part
        except (TypeError, ValueError):
            msg = f"part must be (i, n), process i of n, got {part!r}"
            raise TypeError(msg) from None
        n = integer(n, "n of part (i, n)", 1)
        i = integer(i, "i of part (i, n)", 0)
        if i >= n:
            msg = f"part must be (i, n) with i < n, got ({i}, {n})"
            raise ValueError(msg)
        mine: list[File] = []
        loads = [(0, j) for j in range(n)]
        for file in sorted(self.files, key=lambda file: -file.size):
            load, j = heappop(loads)
            if j == i:
                mine.append(file)
            heappush(loads, (load + file.size, j))
        return mine

    def write(self, files: Sequence[File], num_threads: int, advance: Callable[[int], object]) -> None:
        """Write those of the files that are not there, and the index if all are.

        Raises
        ------
        OSError
            The directory has files of another model beside, a file cannot be written, or there is no room.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        names = {file.path.name for file in self.files}
        others = sorted(p.name for p in self.path.iterdir() if OURS.fullmatch(p.name) and p.name not in names)
        if others:
            msg = f"{self.path} has files of another model or layout, remove them first: {', '.join(others)}"
            raise FileExistsError(msg)
        if (self.path / INDEX).exists() and not (self._has_index() and self._has_files()):
            (self.path / INDEX).unlink(missing_ok=True)
            settle(self.path)
        for file in files:
            for leftover in leftovers(file.path):
                leftover.unlink(missing_ok=True)
        missing = []
        for file in files:
            if file.is_complete():
                advance(file.nbytes)
            else:
                missing.append(file)
        replaced = sum(file.path.stat().st_size for file in missing if file.path.exists())
        expect_room(self.path, sum(file.size for file in missing) - replaced)
        for file in missing:
            file.write(num_threads, advance, durable=True)
        if self.index is not None and self._has_files():
            self._write_index(self.index)

    def _has_files(self) -> bool:
        return all(file.is_complete() for file in self.files)

    def _has_index(self) -> bool:
        """Whether the index of this very plan is there."""
        try:
            return (self.path / INDEX).read_bytes() == self.index
        except FileNotFoundError:
            return False

    def _write_index(self, text: bytes) -> None:
        """Write it unless it is there, and remove what killed processes have left of it.

        Of processes that do so at once, one may remove what another was going to rename. That does not
        matter, for the index is there by then.
        """
        path = self.path / INDEX
        if not self._has_index():
            settle(self.path)  # the files have their names
            try:
                with replacing(path, durable=True) as file:
                    file.write(text)
            except FileNotFoundError:
                if not self._has_index():
                    raise
        for leftover in leftovers(path):
            leftover.unlink(missing_ok=True)
