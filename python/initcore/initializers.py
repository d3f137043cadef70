"""The initializers as functions: ``he_normal((784, 256), seed=0, name="fc1.weight")`` is an array.

Each function is an initializer object (`Initializer` and its subclasses, in Rust) made and called at once.
The table `SCHEMES` at the end gives every name its object; `get` reads it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType, MappingProxyType
from typing import (
    Any,
    Protocol,
    SupportsIndex,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
)

import numpy as np
import numpy.typing as npt

from . import _core, specs
from ._core import Constant, Initializer, Layout, Normal, TruncatedNormal, Uniform, VarianceScaling

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


_OPTIONS_DOC = """
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
    for bit, to making the whole and indexing it, at the cost of the part. Slices may have any step; arrays
    and lists of integers are broadcast together as in NumPy. Masks go through ``numpy.nonzero``.
layout : {"numpy", "torch"}
    Which axes are the inputs and outputs of a weight: (..., in, out), or (out, in, ...).
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

_OPTION_PARAMETERS = [
    inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default="numpy" if name == "layout" else None,
        annotation=annotation,
    )
    for name, annotation in Options.__annotations__.items()
]


_F = TypeVar("_F", bound=Callable[..., Any])


def _documented(function: _F) -> _F:
    """Show the common keywords in the signature, and their description where the docstring has dots."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    function.__signature__ = signature.replace(parameters=own + _OPTION_PARAMETERS)  # type: ignore[attr-defined]
    doc = inspect.cleandoc(function.__doc__ or "")
    function.__doc__ = doc.replace("\n...", _OPTIONS_DOC.rstrip(), 1)
    return function


@_documented
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


@_documented
def zeros(shape: Shape, **options: Unpack[Options]) -> Array:
    """Make an array of zeros: right for biases; weights of zero pass neither signal nor gradient.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the array.
    ...
    """
    return Constant(0.0)(shape, **options)


@_documented
def ones(shape: Shape, **options: Unpack[Options]) -> Array:
    """Make an array of ones: right for the scales of normalization layers.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the array.
    ...
    """
    return Constant(1.0)(shape, **options)


@_documented
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


@_documented
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


@_documented
def truncated_normal(
    shape: Shape,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
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
        The bounds, in standard deviations from the mean. No value lies beyond them, whatever the rounding;
        they may be infinite, and must hold at least 2**-90 of the probability.
    ...
    """
    return TruncatedNormal(mean, std, low, high)(shape, **options)


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
        **options: Unpack[Options],
    ) -> Array:
        """Make an array."""


_ROOTS: Mapping[str, VarianceScaling] = {name: VarianceScaling(*law) for name, law in _core.schemes()}
_FORMULAS = {"fan_in": "fan_in", "fan_out": "fan_out", "fan_avg": "((fan_in + fan_out) / 2)"}
_FAMILIES = {
    "normal": "normal, not truncated",
    "truncated_normal": "normal, cut at two standard deviations; the variance is that after the cut",
    "uniform": "uniform on [-a, a) with a = sqrt(3 * variance)",
}
_SHAPE_DOC = """Parameters
----------
shape : int or tuple of int
    Shape of the array, of two axes at least.
gain : float
    Multiplies the standard deviation.
"""


def _describe(function: Callable[..., Array], name: str, source: str) -> None:
    """Give a generated function its name and docstring."""
    config = _ROOTS[name].get_config()
    law = f"variance {config['scale']:g} / {_FORMULAS[config['mode']]}"
    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"Draw weights with mean 0 and {law}.\n\n"
        f"The distribution is {_FAMILIES[config['distribution']]}.\n\n"
        f"{_SHAPE_DOC}{function.__doc__ or ''}...\n\nReferences\n----------\n{source}\n"
    )


def _fan_scaled(name: str, source: str) -> FanScaled:
    root = _ROOTS[name]

    def sample(shape: Shape, *, gain: float = 1.0, **options: Unpack[Options]) -> Array:
        initializer = root if gain == 1.0 else root.scaled(gain)
        return initializer(shape, **options)

    _describe(sample, name, source)
    return _documented(sample)


def _fan_scaled_for_relu(name: str, source: str) -> FanScaledForRelu:
    root = _ROOTS[name]

    def sample(
        shape: Shape,
        *,
        gain: float = 1.0,
        negative_slope: float = 0.0,
        **options: Unpack[Options],
    ) -> Array:
        plain = gain == 1.0 and negative_slope == 0.0
        initializer = root if plain else root.scaled(gain).for_slope(negative_slope)
        return initializer(shape, **options)

    sample.__doc__ = (
        "negative_slope : float\n"
        "    Of the leaky relu that follows; divides the variance by ``1 + negative_slope**2``.\n"
    )
    _describe(sample, name, source)
    return _documented(sample)


_XAVIER = (
    "X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural networks,\n"
    "AISTATS 2010: keeps the variance of activations and gradients in tanh-like layers."
)
_HE = (
    "K. He, X. Zhang, S. Ren, J. Sun, Delving deep into rectifiers, ICCV 2015: a relu keeps half of the\n"
    "second moment, so the weights have twice the variance."
)
_LECUN = (
    "Y. LeCun, L. Bottou, G. Orr, K.-R. Mueller, Efficient BackProp, 1998: keeps the variance of the signal."
)

xavier_normal = glorot_normal = _fan_scaled("xavier_normal", _XAVIER)
xavier_uniform = glorot_uniform = _fan_scaled("xavier_uniform", _XAVIER)
xavier_truncated_normal = glorot_truncated_normal = _fan_scaled("xavier_truncated_normal", _XAVIER)
he_normal = kaiming_normal = _fan_scaled_for_relu("he_normal", _HE)
he_uniform = kaiming_uniform = _fan_scaled_for_relu("he_uniform", _HE)
he_truncated_normal = kaiming_truncated_normal = _fan_scaled_for_relu("he_truncated_normal", _HE)
lecun_normal = _fan_scaled("lecun_normal", _LECUN)
lecun_uniform = _fan_scaled("lecun_uniform", _LECUN)
lecun_truncated_normal = _fan_scaled("lecun_truncated_normal", _LECUN)


def _scaled(root: VarianceScaling) -> Callable[..., Initializer]:
    def make(gain: float = 1.0, *, negative_slope: float = 0.0) -> Initializer:
        return root.scaled(gain).for_slope(negative_slope)

    return make


#: Other names of the same roots.
ALIASES: Mapping[str, str] = MappingProxyType({"xavier": "glorot", "he": "kaiming"})


def _named() -> dict[str, Callable[..., Initializer]]:
    """Give the variance-scaling schemes under all their names."""
    named = {}
    for name, law in _ROOTS.items():
        root, _, family = name.partition("_")
        named[name] = _scaled(law)
        if root in ALIASES:
            named[f"{ALIASES[root]}_{family}"] = named[name]
    return named


#: Every name that `get` knows, and what makes its initializer from the arguments in brackets.
SCHEMES: Mapping[str, Callable[..., Initializer]] = MappingProxyType(
    {
        "zeros": lambda: Constant(0.0),
        "ones": lambda: Constant(1.0),
        "constant": Constant,
        "uniform": Uniform,
        "normal": lambda std=1.0, mean=0.0: Normal(mean, std),
        "truncated_normal": lambda std=1.0, mean=0.0, low=-2.0, high=2.0: TruncatedNormal(
            mean, std, low, high
        ),
        "variance_scaling": VarianceScaling,
        **_named(),
    }
)


def get(spec: str | Initializer) -> Initializer:
    """Return the initializer of a name, with arguments in brackets if it takes any.

    Parameters
    ----------
    spec : str or Initializer
        As in ``"he_normal"``, ``"kaiming_uniform"``, ``"constant(0.5)"``, ``"normal(0.01)"`` (the standard
        deviation comes first) or ``"variance_scaling(2, mode='fan_out')"``. An initializer is returned as
        it is.

    Returns
    -------
    Initializer

    Raises
    ------
    ValueError
        The name is unknown, or its arguments are wrong.
    TypeError
        `spec` is neither a string nor an initializer.
    """
    if isinstance(spec, Initializer):
        return spec
    if not isinstance(spec, str):
        msg = f"an initializer is a name or an Initializer, got {type(spec).__name__}"
        raise TypeError(msg)
    return specs.make(spec, SCHEMES, "initializer")
