"""Values that are drawn one by one, whatever the shape; and constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from initcore._core import Constant, Initializer, Normal, TruncatedNormal, Uniform

from .registry import scheme

if TYPE_CHECKING:
    from .options import Array, Options, Shape


@scheme(Constant, variance="0")
def constant(shape: Shape, value: float, **options: Unpack[Options]) -> Array:
    """Make an array of one value.

    Weights that are all equal give units that are all equal, and gradients that keep them so.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the array.
    value : float
        The value.
    ...
    """
    return Constant(value)(shape, **options)


@scheme(lambda: Constant(0.0), variance="0")
def zeros(shape: Shape, **options: Unpack[Options]) -> Array:
    """Make an array of zeros: right for biases; weights of zero pass neither signal nor gradient.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the array.
    ...
    """
    return Constant(0.0)(shape, **options)


@scheme(lambda: Constant(1.0), variance="0")
def ones(shape: Shape, **options: Unpack[Options]) -> Array:
    """Make an array of ones: right for the scales of normalization layers.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the array.
    ...
    """
    return Constant(1.0)(shape, **options)


@scheme(Uniform, variance="(high - low)^2 / 12")
def uniform(shape: Shape, *, low: float = 0.0, high: float = 1.0, **options: Unpack[Options]) -> Array:
    """Draw from the uniform distribution on [low, high).

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the array.
    low, high : float
        The bounds; `high` is never reached, whatever the rounding.
    ...
    """
    return Uniform(low, high)(shape, **options)


# Only the standard deviation goes by place: "normal(0, 0.02)", as PyTorch has it, would be a mean of 0.02.
def _normal(std: float = 1.0, *, mean: float = 0.0) -> Initializer:
    return Normal(mean, std)


@scheme(_normal, variance="std^2")
def normal(shape: Shape, *, mean: float = 0.0, std: float = 1.0, **options: Unpack[Options]) -> Array:
    """Draw from the normal distribution, not truncated.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the array.
    mean, std : float
        Mean and standard deviation.
    ...
    """
    return Normal(mean, std)(shape, **options)


def _truncated_normal(
    std: float = 1.0,
    *,
    mean: float = 0.0,
    low: float = -2.0,
    high: float = 2.0,
    bounds: str = "sigma",
    std_of: str = "parent",
) -> Initializer:
    return TruncatedNormal(mean, std, low, high, bounds=bounds, std_of=std_of)


@scheme(
    _truncated_normal,
    variance="that of the normal distribution within the bounds; 0.7737 std^2 for -2 and 2",
)
def truncated_normal(
    shape: Shape,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
    bounds: str = "sigma",
    std_of: str = "parent",
    **options: Unpack[Options],
) -> Array:
    """Draw from the normal distribution, given that the value lies between two bounds.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the array.
    mean, std : float
        Mean and standard deviation before the truncation; at -2 and 2 it leaves 0.8796 of `std`.
    low, high : float
        The bounds, in standard deviations from the mean. No value lies beyond them, whatever the rounding.
        They may be infinite, far out in one tail, or close together.
    bounds : {"sigma", "absolute"}
        With "absolute", `low` and `high` are values, like `a` and `b` of PyTorch's ``trunc_normal_``.
    std_of : {"parent", "result"}
        With "result", `std` is the standard deviation of the values, after the truncation. With absolute
        bounds it must be below ``(high - low) / sqrt(12)``, that of a uniform distribution.
    ...
    """
    return TruncatedNormal(mean, std, low, high, bounds=bounds, std_of=std_of)(shape, **options)
