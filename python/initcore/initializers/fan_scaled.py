"""Weights whose variance follows from their fans: variance scaling and its named cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Unpack

from initcore import _core
from initcore._core import Initializer, VarianceScaling

from .registry import scheme

if TYPE_CHECKING:
    from collections.abc import Callable

    from .options import Array, Options, Shape


@scheme(VarianceScaling, variance="scale / fan, times the square of the activation's gain")
def variance_scaling(
    shape: Shape,
    *,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    activation: str | Callable[..., Any] | None = None,
    **options: Unpack[Options],
) -> Array:
    """Draw weights with mean 0 and a variance that falls with their fan.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the array, of two axes at least.
    scale : float
        What is divided.
    mode : {"fan_in", "fan_out", "fan_avg", "fan_geo_avg", "fan_in_squared"}
        What divides it: the inputs that one output sums, the outputs that one input reaches, their mean,
        their geometric mean, or the square of the first.
    distribution : {"truncated_normal", "normal", "uniform"}
        The first is cut at two standard deviations, and its variance is that after the cut.
    activation : str or callable, optional
        The function that follows: the variance is multiplied by the square of its exact gain, see `gain`.
    ...
    """
    return VarianceScaling(scale, mode, distribution, activation=activation)(shape, **options)


class FanScaled(Protocol):
    """A scheme whose variance follows from the fans of the shape."""

    __name__: str

    def __call__(self, shape: Shape, *, gain: float = 1.0, **options: Unpack[Options]) -> Array:
        """Make an array."""


class FanScaledForRelu(Protocol):
    """A `FanScaled` scheme that knows leaky relus."""

    __name__: str

    def __call__(
        self,
        shape: Shape,
        *,
        gain: float = 1.0,
        negative_slope: float = 0.0,
        mode: str = "fan_in",
        **options: Unpack[Options],
    ) -> Array:
        """Make an array."""


_ROOTS = {name: VarianceScaling(*law) for name, law in _core.schemes()}
_FORMULAS = {"xavier": "2 / (fan_in + fan_out)", "he": "2 / fan_in", "lecun": "1 / fan_in"}
_FAMILIES = {
    "normal": "normal, not truncated",
    "truncated_normal": "normal, cut at two standard deviations; the variance is that after the cut",
    "uniform": "uniform on [-a, a) with a = sqrt(3 * variance)",
}
_SOURCES = {
    "xavier": "X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural "
    "networks, AISTATS 2010: keeps the variance of activations and gradients in tanh-like layers.",
    "he": "K. He et al., Delving deep into rectifiers, ICCV 2015: a relu keeps half of the second moment, so "
    "the weights have twice the variance.",
    "lecun": "Y. LeCun et al., Efficient BackProp, 1998: keeps the variance of the signal.",
}
#: Other names of the same roots.
ALIASES = {"xavier": "glorot", "he": "kaiming"}


def _enter(name: str, make: Callable[..., Initializer], sample: Callable[..., Array]) -> None:
    """Give a generated function its name and documentation, and enter it in the registry."""
    root, _, family = name.partition("_")
    variance = _FORMULAS[root]
    sample.__name__ = sample.__qualname__ = name
    sample.__doc__ = (
        f"Draw weights with mean 0 and variance {variance}.\n\n"
        f"The distribution is {_FAMILIES[family]}.\n\n"
        "Parameters\n----------\nshape : int or tuple of int\n    Shape of the array, of two axes at least.\n"
        f"gain : float\n    Multiplies the standard deviation.\n{sample.__doc__ or ''}..."
    )
    aliases = (f"{ALIASES[root]}_{family}",) if root in ALIASES else ()
    variance = f"gain^2 {variance}" + (" / (1 + negative_slope^2)" if root == "he" else "")
    scheme(make, variance=variance, source=_SOURCES[root], aliases=aliases)(sample)


def _fan_scaled(name: str) -> FanScaled:
    root = _ROOTS[name]

    def make(gain: float = 1.0) -> Initializer:
        return root.scaled(gain)

    def sample(shape: Shape, *, gain: float = 1.0, **options: Unpack[Options]) -> Array:
        return (root if gain == 1.0 else make(gain))(shape, **options)

    _enter(name, make, sample)
    return sample


def _fan_scaled_for_relu(name: str) -> FanScaledForRelu:
    root = _ROOTS[name]
    config = root.get_config()

    def make(gain: float = 1.0, *, negative_slope: float = 0.0, mode: str = "fan_in") -> Initializer:
        of_mode = root if mode == "fan_in" else VarianceScaling(**config | {"mode": mode})
        return of_mode.scaled(gain).for_slope(negative_slope)

    def sample(
        shape: Shape,
        *,
        gain: float = 1.0,
        negative_slope: float = 0.0,
        mode: str = "fan_in",
        **options: Unpack[Options],
    ) -> Array:
        plain = (gain, negative_slope, mode) == (1.0, 0.0, "fan_in")
        initializer = root if plain else make(gain, negative_slope=negative_slope, mode=mode)
        return initializer(shape, **options)

    sample.__doc__ = (
        "negative_slope : float\n"
        "    Of the leaky relu that follows; divides the variance by ``1 + negative_slope**2``.\n"
        'mode : {"fan_in", "fan_out"}\n'
        '    "fan_out" keeps the gradients, not the signal; other modes of `variance_scaling` will do too.\n'
    )
    _enter(name, make, sample)
    return sample


xavier_normal = glorot_normal = _fan_scaled("xavier_normal")
xavier_uniform = glorot_uniform = _fan_scaled("xavier_uniform")
xavier_truncated_normal = glorot_truncated_normal = _fan_scaled("xavier_truncated_normal")
he_normal = kaiming_normal = _fan_scaled_for_relu("he_normal")
he_uniform = kaiming_uniform = _fan_scaled_for_relu("he_uniform")
he_truncated_normal = kaiming_truncated_normal = _fan_scaled_for_relu("he_truncated_normal")
lecun_normal = _fan_scaled("lecun_normal")
lecun_uniform = _fan_scaled("lecun_uniform")
lecun_truncated_normal = _fan_scaled("lecun_truncated_normal")
