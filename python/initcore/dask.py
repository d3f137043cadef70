"""Dask arrays of weights: every task makes its own chunk, out of nothing but its place.

`make_array` hands Dask something that looks like an array on disk. What is taken out of it is drawn then; and
where Dask passes slices on to what it reads from, ``w[:, 3]`` draws a column and not the chunks around it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    import dask.array as da
except ImportError as error:
    msg = "initcore.dask needs Dask: pip install 'initcore[dask]'"
    raise ImportError(msg) from error

from ._core import Layout, stream_version
from .arrays import Seed, float_dtype, integer, seed_number
from .initializers import get

if TYPE_CHECKING:
    import numpy.typing as npt

    from .initializers import Array, InitLike, Shape


def make_array(
    init: InitLike,
    shape: Shape,
    *,
    chunks: Any = "auto",
    seed: Seed,
    name: str | None = None,
    dtype: npt.DTypeLike | None = None,
    layout: str | Layout = "numpy",
    num_threads: int = 1,
) -> Any:
    """Make a Dask array that equals ``initcore.get(init)(shape, ...)``, however it is cut into chunks.

    Each task makes its chunk, or what is read of it. It carries the initializer, the shape, the seed and the
    name, but no values; the workers need this library. Initializers that cannot make a part alone
    (``init.made_whole``: orthogonal, sparse) are made whole by one task, on one worker that has room for it,
    and cut afterwards.

    Parameters
    ----------
    init : str, Initializer or function
        As `initcore.get` takes it.
    shape : int or tuple of int
        Shape of the whole array.
    chunks : int, tuple, dict or str
        As Dask takes it. The values do not depend on it.
    seed : int in [0, 2**64), numpy.random.SeedSequence or None
        None takes fresh entropy, once and now: all chunks are of one array, whenever they are made.
    name : str, optional
        The parameter's name, its address under the seed; not the name of the Dask array, which follows from
        all arguments.
    dtype : dtype, optional
        float32 (the default), float64, float16 or bfloat16.
    layout : str or Layout
        As initializers take it.
    num_threads : int
        Of each task; Dask runs as many tasks at a time as it has threads of its own.

    Returns
    -------
    dask.array.Array

    Raises
    ------
    ValueError, TypeError
        An argument is not as described, or the initializer does not go with the shape; now, not in a worker.

    Examples
    --------
    >>> w = ic.dask.make_array("he_normal", (100_000, 4096), chunks=(10_000, 4096), seed=0, name="fc1.weight")
    """
    parameter = _Parameter(init, shape, seed, name, dtype, layout, num_threads)
    meta = np.empty((0,) * len(parameter.shape), parameter.dtype)
    whole = parameter.init.made_whole
    array = da.from_array(
        parameter,
        chunks=parameter.shape if whole else chunks,
        asarray=False,
        inline_array=True,
        meta=meta,
    )
    return array.rechunk(chunks) if whole else array


class _Parameter:
    """What looks like an array, and makes what is taken out of it.

    Attributes
    ----------
    shape, dtype, ndim
        As of an array.
    init : Initializer
    """

    def __init__(
        self,
        init: InitLike,
        shape: Shape,
        seed: Seed,
        name: str | None,
        dtype: npt.DTypeLike | None,
        layout: str | Layout,
        num_threads: int,
    ) -> None:
        self.init = get(init)
        axes = shape if isinstance(shape, Iterable) else (shape,)
        self.shape = tuple(integer(n, "each axis of shape", 0) for n in axes)
        self.ndim = len(self.shape)
        self.dtype = float_dtype(dtype)
        self._options: dict[str, Any] = {
            "seed": seed_number(seed),
            "name": name,
            "layout": layout if isinstance(layout, Layout) else Layout(layout),
            "num_threads": integer(num_threads, "num_threads", 1),
        }
        _ = self[(slice(0, 0),) * min(self.ndim, 1)]  # all is checked, and one element made at most

    def __getitem__(self, index: Any) -> Array:
        return self.init(self.shape, dtype=self.dtype, index=index, **self._options)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Give what the values are a function of."""
        o = self._options
        law = (type(self.init).__name__, sorted(self.init.get_config().items()))
        place = (self.shape, self.dtype.str, self.dtype.name, o["seed"], o["name"])
        return "initcore", stream_version(), law, place, sorted(o["layout"].get_config().items())
