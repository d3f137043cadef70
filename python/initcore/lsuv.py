"""Layer-sequential unit variance: weights scaled on data, layer after layer, to one variance of the outputs.

The one scheme that looks at data, for networks that no formula covers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import _core
from .arrays import integer, matrix, positive
from .dense import dense_forward
from .nn import MLP

if TYPE_CHECKING:
    import numpy.typing as npt

    from .initializers import Array

#: A weight and the function that uses it, or a function without a weight of its own (then None).
Layer: TypeAlias = tuple["np.ndarray[Any, np.dtype[np.floating[Any]]] | None", Callable[[Any], Any]]


@dataclass(frozen=True)
class LsuvStep:
    """What was done to one weight.

    Attributes
    ----------
    layer : int
        Its place among the layers.
    before, after : float
        Variance of the layer's output, as found and as left.
    scale : float
        What the weight was multiplied by.
    iterations : int
        How many times it was scaled.
    converged : bool
        Is the variance within the tolerance?
    """

    layer: int
    before: float
    after: float
    scale: float
    iterations: int
    converged: bool


def lsuv(
    network: MLP | Sequence[Layer],
    x: npt.ArrayLike,
    *,
    variance: float = 1.0,
    tolerance: float = 0.01,
    max_iterations: int = 10,
) -> list[LsuvStep]:
    """Scale the weights of a network so that every layer's output has one variance on these data.

    Weights are best orthogonal before (``MLP(..., init="orthogonal")``).

    Parameters
    ----------
    network : MLP or sequence of (weight, function)
        The layers in their order; weights are scaled in place. A function maps the output of the one before
        to its own, by the weight as it stands in the array that is given with it: ``[(w, lambda x: x @ w),
        (None, np.tanh), ...]``. In an `MLP`, variances are those before the activation.
    x : array_like
        A batch of inputs, some hundred at least.
    variance : float
        What the outputs shall have.
    tolerance : float
        Relative; a variance this near is left alone.
    max_iterations : int
        How many times a weight is scaled at most. A layer that is linear in its weight, without bias, needs
        one.

    Returns
    -------
    list of LsuvStep
        One for each weight.

    Raises
    ------
    ValueError
        A layer's output is constant or not finite, so that no scale helps. Weights up to that layer are
        scaled.
    TypeError
        A weight is not an array of floats that can be written to.

    References
    ----------
    D. Mishkin, J. Matas, All you need is a good init, ICLR 2016.

    Examples
    --------
    >>> import initcore as ic
    >>> net = ic.MLP([20, 50, 50, 3], activation="silu", init="orthogonal", seed=0)
    >>> steps = ic.lsuv(net, ic.normal((256, 20), seed=1))
    >>> [f"{step.after:.3f}" for step in steps]
    ['1.000', '1.000', '1.000']
    """
    variance, tolerance = positive(variance, "variance"), positive(tolerance, "tolerance")
    limit = integer(max_iterations, "max_iterations", 1)
    if isinstance(network, MLP):
        parameters = network.parameters()
        data = matrix(x, network.dtype, "x")
        steps = _scale_layers(_layers_of(network, parameters), data, variance, tolerance, limit)
        network.set_parameters(parameters)
        return steps
    return _scale_layers(network, np.asarray(x), variance, tolerance, limit)


def _layers_of(net: MLP, parameters: dict[str, Any]) -> list[Layer]:
    """Take a network apart: for each layer its product with bias, and its activation."""
    layers: list[Layer] = []
    for i, activation in enumerate(net.layer_activations()):
        w, b = parameters[f"layers.{i}.weight"], parameters.get(f"layers.{i}.bias")
        layers += [(w, partial(_affine, w, b)), (None, partial(_activate, activation))]
    return layers


def _affine(w: Array, b: Array | None, x: Array) -> Array:
    return dense_forward(x, w, b)[0]


def _activate(activation: str, z: Array) -> Array:
    value, _ = _core.activation(activation, z.astype(np.float64).ravel())
    return value.reshape(z.shape).astype(z.dtype)


def _scale_layers(
    layers: Sequence[Layer], x: Any, variance: float, tolerance: float, limit: int
) -> list[LsuvStep]:
    for i, (w, _) in enumerate(layers):
        if w is not None and not _is_weight(w):
            msg = f"the weight of layer {i} must be an array of floats that can be written to, got {w!r:.80}"
            raise TypeError(msg)
    steps = []
    for i, (w, function) in enumerate(layers):
        y = function(x)
        if w is not None:
            step, y = _scale(i, w, function, x, y, variance, tolerance, limit)
            steps.append(step)
        x = y
    return steps


def _is_weight(w: object) -> bool:
    if not isinstance(w, np.ndarray) or not w.flags.writeable:
        return False
    return bool(w.dtype.kind == "f" or w.dtype.name == "bfloat16")


def _scale(
    layer: int,
    w: Any,
    function: Callable[[Any], Any],
    x: Any,
    y: Any,
    variance: float,
    tolerance: float,
    limit: int,
) -> tuple[LsuvStep, Any]:
    before = found = _variance(y)
    if not _usable(before):
        msg = f"the output of layer {layer} has variance {before}: no scale of its weight mends that"
        raise ValueError(msg)
    scale, iterations, power, original = 1.0, 0, 2.0, w.copy()
    best = (_distance(found, variance), scale, y, found)
    while _usable(found) and abs(found / variance - 1) > tolerance and iterations < limit:
        factor = (variance / found) ** (1 / power)
        scale, iterations = scale * factor, iterations + 1
        w[...] = original * w.dtype.type(scale)
        y = function(x)
        last, found = found, _variance(y)
        best = min(best, (_distance(found, variance), scale, y, found), key=lambda tried: tried[0])
        # The variance grows as the square of the scale in a linear layer; elsewhere, as it did just now.
        power = float(np.clip(np.log(found / last) / np.log(factor), 0.5, 8.0)) if _usable(found) else 2.0
    _, scale, y, found = best
    w[...] = original * w.dtype.type(scale)
    return LsuvStep(layer, before, found, scale, iterations, abs(found / variance - 1) <= tolerance), y


def _variance(y: Any) -> float:
    return float(np.var(np.asarray(y), dtype=np.float64))


def _usable(found: float) -> bool:
    return 0 < found < math.inf


def _distance(found: float, variance: float) -> float:
    return abs(math.log(found / variance)) if _usable(found) else math.inf
