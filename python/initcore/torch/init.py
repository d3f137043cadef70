"""The functions of `torch.nn.init`, under their names, from addressed streams.

Each is `fill_` with an initializer. What PyTorch's functions accept, warn of and return holds here too, with
three keywords more: `seed` and `name` say what the values are, `num_threads` how fast they come.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import TYPE_CHECKING, Any, Unpack

from initcore._core import (
    Constant,
    Identity,
    Initializer,
    Layout,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
)
from initcore.arrays import one_of
from initcore.gains import TORCH_GAINS
from initcore.initializers import get
from initcore.layouts import fans

from .drawing import draw, initializes
from .filling import has_no_memory

if TYPE_CHECKING:
    from .drawing import F, Generator, Options

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "sparse",
    "sparse_",
    "trunc_normal_",
    "uniform",
    "uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Give the gain that PyTorch recommends for an activation function: `initcore.gain` in its convention.

    Parameters
    ----------
    nonlinearity : str
        As in "relu", "tanh", "leaky_relu", "linear", "conv2d".
    param : float, optional
        The negative slope of "leaky_relu", 0.01 if not given; the others have none.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        The function is not in PyTorch's table, or `param` is not a number.
    """
    if nonlinearity not in TORCH_GAINS:
        msg = f"no gain for {nonlinearity!r}: expected one of {', '.join(TORCH_GAINS)}"
        raise ValueError(msg)
    if nonlinearity != "leaky_relu" or param is None:
        return TORCH_GAINS[nonlinearity]()
    if isinstance(param, bool) or not isinstance(param, int | float):
        msg = f"negative_slope must be a number, got {param!r}"
        raise ValueError(msg)
    return TORCH_GAINS[nonlinearity](param)


def _calculate_fan_in_and_fan_out(tensor: Any) -> tuple[int, int]:
    """Count fans as PyTorch's function does, which copies of its layers call."""
    return fans(tuple(tensor.shape), layout="torch")


def _calculate_correct_fan(tensor: Any, mode: str) -> int:
    """Give one of the two, as PyTorch's function does."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return fan_in if one_of(mode.lower(), "mode", ("fan_in", "fan_out")) == "fan_in" else fan_out


@initializes
def uniform_(
    tensor: Any,
    a: float = 0.0,
    b: float = 1.0,
    generator: Generator | None = None,
    **options: Unpack[Options],
) -> Any:
    """Fill a tensor from the uniform distribution on [a, b).

    Parameters
    ----------
    tensor : torch.Tensor
        Of any shape.
    a, b : float
        The bounds; `b` is never reached.
    ...
    """
    return draw(tensor, Uniform(a, b), generator, **options)


@initializes
def normal_(
    tensor: Any,
    mean: float = 0.0,
    std: float = 1.0,
    generator: Generator | None = None,
    **options: Unpack[Options],
) -> Any:
    """Fill a tensor from the normal distribution.

    Parameters
    ----------
    tensor : torch.Tensor
        Of any shape.
    mean, std : float
        Mean and standard deviation.
    ...
    """
    return draw(tensor, Normal(mean, std), generator, **options)


@initializes
def trunc_normal_(
    tensor: Any,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
    **options: Unpack[Options],
) -> Any:
    """Fill a tensor from the normal distribution, given that the value lies in [a, b].

    Parameters
    ----------
    tensor : torch.Tensor
        Of any shape.
    mean, std : float
        Mean and standard deviation before the truncation.
    a, b : float
        The bounds, as values. The distribution is exact wherever they are.
    ...
    """
    if not has_no_memory(tensor) and (mean < a - 2 * std or mean > b + 2 * std):
        warnings.warn(
            "trunc_normal_: the mean is more than 2 std from [a, b]; the values are exactly those of a tail, "
            "all near one bound",
            stacklevel=3,
        )
    # Between equal bounds PyTorch leaves that value.
    init = Constant(a) if a == b and math.isfinite(a) else TruncatedNormal(mean, std, a, b, bounds="absolute")
    return draw(tensor, init, generator, **options)


@initializes
def constant_(tensor: Any, val: float, **options: Unpack[Options]) -> Any:
    """Fill a tensor with one value; nothing is drawn.

    Parameters
    ----------
    tensor : torch.Tensor
        Of any shape.
    val : float
        The value.
    ...
    """
    return draw(tensor, Constant(val), drawn=False, **options)


@initializes
def ones_(tensor: Any, **options: Unpack[Options]) -> Any:
    """Fill a tensor with ones; nothing is drawn.

    Parameters
    ----------
    tensor : torch.Tensor
        Of any shape.
    ...
    """
    return draw(tensor, Constant(1.0), drawn=False, **options)


@initializes
def zeros_(tensor: Any, **options: Unpack[Options]) -> Any:
    """Fill a tensor with zeros; nothing is drawn.

    Parameters
    ----------
    tensor : torch.Tensor
        Of any shape.
    ...
    """
    return draw(tensor, Constant(0.0), drawn=False, **options)


@initializes
def eye_(tensor: Any, **options: Unpack[Options]) -> Any:
    """Fill a matrix with the identity; nothing is drawn.

    Parameters
    ----------
    tensor : torch.Tensor
        Of two dimensions; it need not be square.
    ...
    """
    _check_dimensions(tensor, (2,))
    return draw(tensor, Identity(), drawn=False, **options)


@initializes
def dirac_(
    tensor: Any,
    groups: int = 1,
    **options: Unpack[Options],
) -> Any:
    """Fill the kernel of a convolution that passes each channel on unchanged; nothing is drawn.

    Parameters
    ----------
    tensor : torch.Tensor
        Of shape ``(out, in / groups, *kernel)``, with three to five dimensions.
    groups : int
        Each of these groups of channels passes its own on.
    ...
    """
    _check_dimensions(tensor, (3, 4, 5))
    layout = Layout("torch", groups=groups)
    return draw(tensor, Identity(center="upper"), layout=layout, drawn=False, **options)


@initializes
def xavier_uniform_(
    tensor: Any,
    gain: float = 1.0,
    generator: Generator | None = None,
    **options: Unpack[Options],
) -> Any:
    """Fill a weight from Glorot's uniform distribution: its variance is ``2 gain^2 / (fan_in + fan_out)``.

    Parameters
    ----------
    tensor : torch.Tensor
        Of shape ``(out, in, *kernel)``.
    gain : float
        Multiplies the standard deviation.
    ...
    """
    return draw(tensor, get("xavier_uniform").scaled(gain), generator, **options)


@initializes
def xavier_normal_(
    tensor: Any,
    gain: float = 1.0,
    generator: Generator | None = None,
    **options: Unpack[Options],
) -> Any:
    """Fill a weight from Glorot's normal distribution: its variance is ``2 gain^2 / (fan_in + fan_out)``.

    Parameters
    ----------
    tensor : torch.Tensor
        Of shape ``(out, in, *kernel)``.
    gain : float
        Multiplies the standard deviation.
    ...
    """
    return draw(tensor, get("xavier_normal").scaled(gain), generator, **options)


@initializes
def kaiming_uniform_(
    tensor: Any,
    a: float | None = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
    **options: Unpack[Options],
) -> Any:
    """Fill a weight from He's uniform distribution: its variance is ``gain^2 / fan``.

    Parameters
    ----------
    tensor : torch.Tensor
        Of shape ``(out, in, *kernel)``.
    a : float
        Negative slope of the leaky relu that follows.
    mode : {"fan_in", "fan_out"}
        Which fan: the first keeps the signal, the second the gradients.
    nonlinearity : str
        What follows, see `calculate_gain`.
    ...
    """
    if _is_empty(tensor):
        return tensor
    init = _kaiming("uniform", a, mode, nonlinearity)
    return draw(tensor, init, generator, **options)


@initializes
def kaiming_normal_(
    tensor: Any,
    a: float | None = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
    **options: Unpack[Options],
) -> Any:
    """Fill a weight from He's normal distribution: its variance is ``gain^2 / fan``.

    Parameters
    ----------
    tensor : torch.Tensor
        Of shape ``(out, in, *kernel)``.
    a, mode, nonlinearity
        As in `kaiming_uniform_`.
    ...
    """
    if _is_empty(tensor):
        return tensor
    init = _kaiming("normal", a, mode, nonlinearity)
    return draw(tensor, init, generator, **options)


@initializes
def orthogonal_(
    tensor: Any,
    gain: float = 1,
    generator: Generator | None = None,
    **options: Unpack[Options],
) -> Any:
    """Fill a weight with orthonormal rows or columns, whichever are fewer, of the matrix (out, in * kernel).

    Parameters
    ----------
    tensor : torch.Tensor
        Of shape ``(out, in, *kernel)``. Of a DTensor, each process makes the whole before it takes its part.
    gain : float
        Length of each row or column.
    ...
    """
    return draw(tensor, Orthogonal(gain), generator, **options)


@initializes
def sparse_(
    tensor: Any,
    sparsity: float,
    std: float = 0.01,
    generator: Generator | None = None,
    **options: Unpack[Options],
) -> Any:
    """Fill a matrix with normal values, and as many zeros in each column.

    Parameters
    ----------
    tensor : torch.Tensor
        Of two dimensions. Of a DTensor, each process makes the whole before it takes its part.
    sparsity : float
        ``ceil(sparsity * rows)`` values of each column are zeros.
    std : float
        Standard deviation of the others.
    ...
    """
    return draw(tensor, Sparse(sparsity, std), generator, **options)


def _kaiming(distribution: str, a: float | None, mode: str, nonlinearity: str) -> Initializer:
    mode = mode.lower()
    if mode not in {"fan_in", "fan_out"}:
        msg = f"mode must be 'fan_in' or 'fan_out', got {mode!r}"
        raise ValueError(msg)
    gain = calculate_gain(nonlinearity, a)
    if nonlinearity not in {"relu", "leaky_relu"}:
        return VarianceScaling(1.0, mode, distribution).scaled(gain)
    slope = 0.0 if nonlinearity == "relu" else 0.01 if a is None else a
    # For relu the root itself: to the last bit the values of he_normal and he_uniform.
    return VarianceScaling(2.0, mode, distribution).for_slope(slope)


def _is_empty(tensor: Any) -> bool:
    """Warn of a tensor without elements, as PyTorch does, which has no fans that one could divide by."""
    if 0 not in getattr(tensor, "shape", ()):  # what is no tensor is refused later
        return False
    warnings.warn("a tensor without elements is left as it is", stacklevel=4)
    return True


def _check_dimensions(tensor: Any, allowed: tuple[int, ...]) -> None:
    if tensor.ndim not in allowed:
        expected = " or ".join(map(str, allowed))
        msg = f"expected a tensor of {expected} dimensions, got shape {tuple(tensor.shape)}"
        raise ValueError(msg)


def _deprecated(function: F) -> F:
    """Give the function its name of old, without the underscore."""
    old = function.__name__.removesuffix("_")

    @functools.wraps(function)
    def alias(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"{old} is deprecated, as in torch.nn.init: use {function.__name__}", FutureWarning, stacklevel=2
        )
        return function(*args, **kwargs)

    alias.__name__ = alias.__qualname__ = old
    alias.__doc__ = f"Do what `{function.__name__}` does; deprecated, as in `torch.nn.init`."
    return alias  # type: ignore[return-value]


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
