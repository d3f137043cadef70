"""What users give, as the arrays and integers that the Rust side takes."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from .initializers import Array


def float_array(x: npt.ArrayLike, dtype: np.dtype[Any], what: str) -> Array:
    """Give aligned, C-contiguous real numbers in `dtype`; a copy only where `x` is something else."""
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        msg = f"{what} must hold real numbers, got dtype {array.dtype}"
        raise TypeError(msg)
    with np.errstate(over="ignore"):
        converted = np.require(array, dtype, ["C", "A"])
    if array.dtype.itemsize > dtype.itemsize and (np.isinf(converted) & np.isfinite(array)).any():
        msg = f"{what}: some values are too large for {dtype}"
        raise ValueError(msg)
    return converted


def matrix(x: npt.ArrayLike, dtype: np.dtype[Any], what: str) -> Array:
    """Give what `float_array` gives, of two axes."""
    array = float_array(x, dtype, what)
    if array.ndim != 2:
        msg = f"{what} must have shape (rows, columns), got {array.shape}"
        raise ValueError(msg)
    return array


def integer(value: SupportsIndex, what: str, low: int, high: int = 2**63) -> int:
    """Check that `value` is an integer in [low, high)."""
    try:
        number = operator.index(value)
    except TypeError:
        msg = f"{what} must be an integer, got {value!r}"
        raise TypeError(msg) from None
    if not low <= number < high:
        msg = f"{what} must be in [{low}, 2**{high.bit_length() - 1}), got {number}"
        raise ValueError(msg)
    return number
