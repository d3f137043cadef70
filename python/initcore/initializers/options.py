"""The keywords that every initializer takes, their types, and their part of each docstring."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from initcore._core import Layout

Shape: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
IndexArray: TypeAlias = (
    npt.NDArray[np.integer[Any]] | Sequence[SupportsIndex] | Sequence[Sequence[SupportsIndex]]
)
IndexItem: TypeAlias = SupportsIndex | slice | EllipsisType | IndexArray
Index: TypeAlias = IndexItem | tuple[IndexItem, ...]
Array: TypeAlias = npt.NDArray[np.floating[Any]]


class Options(TypedDict, total=False):
    """The keywords that every initializer takes."""

    seed: SupportsIndex | np.random.SeedSequence | None
    name: str | None
    dtype: npt.DTypeLike | None
    index: Index | None
    layout: str | Layout
    out: Array | None
    num_threads: int | None


_PARAMETERS_AND_RETURNS = """
seed : int in [0, 2**64), numpy.random.SeedSequence or None
    The same seed and name give the same array; None takes fresh entropy from the operating system.
name : str, optional
    The parameter's name, its address under the seed. Two arrays drawn with one seed and one name (or both
    without a name) are made from the same random numbers.
dtype : dtype, optional
    float32 (the default), float64, float16 or bfloat16 (of the package ml_dtypes; the name will do), in any
    byte order. Sixteen-bit values are those of float32 rounded once, but never beyond a bound.
index : int, slice, Ellipsis, array of int, or a tuple of them, optional
    The part of the array to make, as in ``numpy.s_[:, 64:128]`` or ``numpy.ix_(rows, columns)``: equal, bit
    for bit, to making the whole and indexing it, at the cost of the part (orthogonal and sparse weights: of
    the whole). Slices may have any step; arrays and lists of integers are broadcast together as in NumPy.
    Masks go through ``numpy.nonzero``.
layout : {"numpy", "torch", "embedding", "depthwise"} or Layout
    Which axes are the inputs and outputs of a weight: (..., in, out), or (out, in, ...); see `Layout`.
out : ndarray, optional
    Written to and returned: of the result's shape, and of any of the dtypes. Any strides will do; contiguous
    memory in native byte order is several times faster.
num_threads : int, optional
    At most this many threads; see `set_num_threads`. Values never depend on it.

Returns
-------
ndarray
    An array of shape `shape`, or of the shape that `index` selects.

Raises
------
ValueError, TypeError, IndexError, MemoryError
    As NumPy would, before anything is written.

"""

_PARAMETERS = [
    inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default="numpy" if name == "layout" else None,
        annotation=annotation,
    )
    for name, annotation in Options.__annotations__.items()
]

F = TypeVar("F", bound=Callable[..., Any])


def document(function: F, variance: str, source: str) -> F:
    """Complete what users see of a function: the common keywords, the variance of its values, its source."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    function.__signature__ = signature.replace(parameters=own + _PARAMETERS)  # type: ignore[attr-defined]
    doc = inspect.cleandoc(function.__doc__ or "").removesuffix("...").rstrip()
    sections = [f"Notes\n-----\nVariance of the values: {variance}."]
    if source:
        sections.append("References\n----------\n" + textwrap.fill(source, 100))
    function.__doc__ = doc + _PARAMETERS_AND_RETURNS + "\n\n".join(sections) + "\n"
    return function
