"""How a model will be drawn, decided and checked: shown as a table, drawn into arrays or into files."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import storage
from ._core import Initializer, Layout, stream_version
from .config import __version__, thread_count
from .initializers import SCHEMES, Array
from .sharding import Directory
from .streaming import File, Tensor
from .trees import fill

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True)
class ParameterPlan:
    """How one parameter will be drawn.

    Attributes
    ----------
    name : str
        The full name, which is its address under the seed.
    shape : tuple of int
    dtype : dtype
    init : Initializer
    layout : str or Layout
    fan_in, fan_out : int or None
        None where the shape has no fans, as that of a bias.
    std : float
        The standard deviation that the elements will have; 0 where there are none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    init: Initializer
    layout: str | Layout
    fan_in: int | None
    fan_out: int | None
    std: float

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.size * self.dtype.itemsize

    @property
    def divisible(self) -> bool:
        """Whether a part of the array costs less than the whole."""
        return not self.init.made_whole

    def to_dict(self) -> dict[str, Any]:
        """Give what `json` can write."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "init": _label(self.init),
            "layout": str(self.layout),
            "fan_in": self.fan_in,
            "fan_out": self.fan_out,
            "std": self.std,
            "nbytes": self.nbytes,
        }


@dataclass(frozen=True)
class ModelPlan:
    """How a model will be drawn: what `plan` makes. ``print(plan)`` shows it as a table.

    Attributes
    ----------
    parameters : dict of str to ParameterPlan
        By full name, in the order of the model.
    seed : int
        What all parameters are drawn under.
    """

    parameters: Mapping[str, ParameterPlan]
    seed: int
    _tree: Any = field(repr=False)

    @property
    def size(self) -> int:
        """Number of elements of all parameters."""
        return sum(p.size for p in self.parameters.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(p.nbytes for p in self.parameters.values())

    def init(self, *, num_threads: int | None = None, progress: bool | None = None) -> Any:
        """Draw the parameters.

        Parameters
        ----------
        num_threads : int, optional
            At most this many; the values do not depend on it.
        progress : bool, optional
            Show a progress bar; by default where standard error is a terminal.

        Returns
        -------
        dict, list or tuple
            The arrays, in the structure that the shapes were given in.

        Raises
        ------
        MemoryError
            There is no memory for them; nothing has been drawn then.

        Examples
        --------
        >>> from initcore import plan
        >>> plan({"fc1": {"weight": (784, 256)}}, {"*": "he_normal"}, seed=0).init()["fc1"]["weight"].shape
        (784, 256)
        """
        arrays = {name: np.empty(p.shape, p.dtype) for name, p in self.parameters.items()}
        with progress_bar(self.nbytes, progress) as advance:
            for name, p in self.parameters.items():
                self._maker(p, num_threads)(out=arrays[name])
                advance(p.nbytes)
        return fill(self._tree, arrays)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        max_shard_size: int | str | None = None,
        part: tuple[int, int] | None = None,
        num_threads: int | None = None,
        progress: bool | None = None,
    ) -> None:
        """Draw the parameters into a safetensors file, or several, under their full names.

        Each thread draws a piece, writes it and goes on to the next, so that the model is never in memory;
        only initializers that cannot make a part alone are drawn whole. The values are those of `init`. The
        metadata of every file has, under "initcore", the versions of the library and of its random stream,
        the seed and the plan's `fingerprint`.

        Parameters
        ----------
        path : str or path-like
            A file that is there is replaced, once the new one is complete. After an error or Ctrl-C it is as
            it was. With `max_shard_size`, a directory, which is made if need be.
        max_shard_size : int or str, optional
            So many bytes of parameters go into one file, "5GB" for example, which is decimal; a parameter
            that is larger gets a file of its own. The files and their index are named and filled as by
            Hugging Face: ``model-00001-of-00003.safetensors``, ``model.safetensors.index.json``, or
            ``model.safetensors`` if one is enough. The index is written last. Files of this very plan that
            are there are kept: what has been interrupted or killed goes on when it is started again.
        part : (int, int), optional
            ``(i, n)``, with `max_shard_size`: make only what falls to process i of n, which share the files
            so that each has about as many bytes and need nothing of one another. Each part is run by one
            process at a time. By default, all files are made.
        num_threads : int, optional
            At most this many.
        progress : bool, optional
            Show a progress bar; by default where standard error is a terminal.

        Raises
        ------
        ValueError, TypeError
            `max_shard_size` or `part` is not as described, or a name cannot be one in a file.
        OSError
            A file cannot be written, there is no room for it, or the directory has files of another model
            that would not be replaced.

        Examples
        --------
        >>> import os, tempfile
        >>> from initcore import plan
        >>> p = plan({"w": (4, 2), "b": 2}, {"*": "ones"}, seed=0)
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     p.save(os.path.join(directory, "model.safetensors"))
        ...     p.save(os.path.join(directory, "shards"), max_shard_size=32)
        ...     sorted(os.listdir(directory) + os.listdir(os.path.join(directory, "shards")))[:3]
        ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'model.safetensors']
        """
        threads = thread_count(num_threads)
        tensors = tensors_of(self, num_threads)
        metadata = {storage.KEY: json.dumps({**self._record(), "plan": self.fingerprint})}
        if max_shard_size is None:
            if part is not None:
                msg = "part is for models in several files: give max_shard_size, and a directory as path"
                raise ValueError(msg)
            file = File(Path(path), tensors, metadata)
            with progress_bar(self.nbytes, progress) as advance:
                file.write(threads, advance)
            return
        directory = Directory.laid_out(Path(path), tensors, metadata, max_shard_size)
        files = directory.part(part)
        with progress_bar(sum(file.nbytes for file in files), progress) as advance:
            directory.write(files, threads, advance)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that decides the bits of a model and of its files."""
        parameters = [
            [p.name, p.shape, p.dtype.name, type(p.init).__name__, p.init.get_config(), _config(p.layout)]
            for p in self.parameters.values()
        ]
        text = json.dumps({**self._record(), "parameters": parameters}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Give what `json` can write: versions, seed, totals, and the parameters as a list of dicts."""
        return {
            **self._record(),
            "size": self.size,
            "nbytes": self.nbytes,
            "parameters": [p.to_dict() for p in self.parameters.values()],
        }

    def __str__(self) -> str:
        """Give a table with a row for each parameter, and the totals."""
        dicts = [p.to_dict() for p in self.parameters.values()]
        columns = [[key, *(cell(row[key]) for row in dicts)] for key in (dicts[0] if dicts else ())]
        padded = [aligned(column, right=i >= 5) for i, column in enumerate(columns)]
        lines = [*map("  ".join, zip(*padded, strict=True))]
        total = f"{len(self.parameters):,} parameters, {self.size:,} elements, {self.nbytes:,} bytes"
        return "\n".join([*lines, f"{total}; seed {self.seed}, stream v{stream_version()}"])

    def _record(self) -> dict[str, Any]:
        return {"version": __version__, "stream": stream_version(), "seed": self.seed}

    def _maker(self, p: ParameterPlan, num_threads: int | None) -> Callable[..., Array]:
        """Give the function that draws a parameter, or a part of it."""
        return partial(p.init, p.shape, seed=self.seed, name=p.name, layout=p.layout, num_threads=num_threads)


def tensors_of(plan: ModelPlan, num_threads: int | None) -> list[Tensor]:
    """Give the parameters as what is written; those with parts are made part by part, on many threads."""
    return [
        Tensor(
            p.name,
            p.shape,
            p.dtype.newbyteorder("<"),
            plan._maker(p, 1 if p.divisible else num_threads),
            p.divisible,
        )
        for p in plan.parameters.values()
    ]


def _schemes_without_arguments() -> dict[Initializer, str]:
    """Give the names of the initializers that `get` knows without arguments."""
    names: dict[Initializer, str] = {}
    for entry in SCHEMES.values():
        with suppress(TypeError, ValueError):  # it needs arguments
            names.setdefault(entry.make(), entry.name)
    return names


_names = cache(_schemes_without_arguments)


def _label(init: Initializer) -> str:
    return _names().get(init, repr(init))


def _config(layout: str | Layout) -> dict[str, Any]:
    return (layout if isinstance(layout, Layout) else Layout(layout)).get_config()


def cell(value: object) -> str:
    """Write a value in a table."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return str(tuple(value))
    return "" if value is None else str(value)


def aligned(column: list[str], *, right: bool) -> list[str]:
    """Fill up the cells of a column to one width."""
    width = max(map(len, column))
    return [text.rjust(width) if right else text.ljust(width) for text in column]


@contextmanager
def progress_bar(total: int, progress: bool | None) -> Iterator[Callable[[int], object]]:
    """Show a bar of bytes, or none at all; give what moves it on, which several threads may call."""
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda _: None
        return
    from tqdm import tqdm

    lock = threading.Lock()

    with tqdm(total=total, unit="B", unit_scale=True, leave=False) as bar:

        def advance(count: int) -> None:
            with lock:
                bar.update(count)

        yield advance
