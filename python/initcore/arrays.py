"""What users give, checked, as the arrays, integers and lists that the Rust side takes."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias, TypeVar, get_args

import numpy as np

from ._core import Constant

if TYPE_CHECKING:
    import numpy.typing as npt

    from .initializers import Array

T = TypeVar("T")

Seed: TypeAlias = SupportsIndex | np.random.SeedSequence | None


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


def positive(value: float, what: str) -> float:
    """Check that `value` is a finite number above 0."""
    if not (value > 0 and math.isfinite(value)):
        msg = f"{what} must be positive and finite, got {value}"
        raise ValueError(msg)
    return float(value)


def one_of(value: str, what: str, choices: Iterable[str]) -> str:
    """Check that `value` is one of some names."""
    if value not in choices:
        msg = f"unknown {what} {value!r}: expected one of {', '.join(choices)}"
        raise ValueError(msg)
    return value


def seed_number(seed: Seed) -> int:
    """Give the number that initializers make of a seed; a fresh one for None."""
    if seed is None:
        seed = np.random.SeedSequence()
    if isinstance(seed, np.random.SeedSequence):
        return int(seed.generate_state(1, np.uint64)[0])
    return integer(seed, "seed", 0, 2**64)


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """Check that `dtype` is one of those that initializers make; those of PyTorch go by their names."""
    if type(dtype).__module__ == "torch":
        dtype = str(dtype).removeprefix("torch.")
    return Constant(0.0)(0, dtype=dtype).dtype


def expect(value: object, kind: Any, what: str) -> None:
    """Check that `value` is one of a union of classes, or of one class."""
    if not isinstance(value, kind):
        kinds = get_args(kind)
        names = "one of " + ", ".join(cls.__name__ for cls in kinds) if kinds else kind.__name__
        msg = f"{what} must be {names}, got {type(value).__name__}"
        raise TypeError(msg)


def one_or_several(value: T | Iterable[T], kind: type[T], what: str) -> T | tuple[T, ...]:
    """Give `value` if it is of that kind, else the tuple of those that it lists."""
    if isinstance(value, kind):
        return value
    if isinstance(value, Iterable):
        values = tuple(value)
        if all(isinstance(entry, kind) for entry in values):
            return values
        value = values
    msg = f"{what} must be a {kind.__name__} or a sequence of them, got {value!r}"
    raise TypeError(msg)


def per_layer(value: T | tuple[T, ...], count: int, what: str) -> list[T]:
    """Give one of `value` for each of `count` layers: the same for all, or as listed."""
    values = list(value) if isinstance(value, tuple) else [value] * count
    if len(values) != count:
        msg = f"{what} has {len(values)} entries, expected {count}, one for each layer it is for"
        raise ValueError(msg)
    return values
