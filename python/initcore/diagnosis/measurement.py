"""What is measured in each layer: of a network, of arrays, or of functions called one after another."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore import _core
from initcore.arrays import float_array, matrix
from initcore.initializers import normal

from .report import LayerDiagnosis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from initcore.initializers import Array
    from initcore.nn import MLP
    from initcore.optimizers import Optimizer
    from initcore.quadrature import Floats

#: A slope below this share of the steepest counts as flat.
FLAT = 0.05
#: How far inputs are shifted towards each other, to see what becomes of a small difference.
SHIFT = 1e-3
#: What may be known of a layer beside its outputs.
KINDS = ("the gradient", "the weight", "the gradient of the weight")


@dataclass(frozen=True, eq=False)
class Measurement:
    """All layers, first to last.

    Attributes
    ----------
    layers : list of LayerDiagnosis
        Without verdicts.
    inputs : LayerDiagnosis or None
    cosines : ndarray, (rows, rows), or None
        Between some of the inputs.
    batch : int
        How many inputs there are.
    loss : float or None
    """

    layers: list[LayerDiagnosis]
    inputs: LayerDiagnosis | None
    cosines: Floats | None
    batch: int
    loss: float | None = None


def of_network(
    net: MLP,
    x: npt.ArrayLike,
    t: npt.ArrayLike | None,
    loss: str | None,
    optimizer: Optimizer | None,
    num_threads: int | None,
) -> Measurement:
    """Send inputs through a network and errors back: those of a loss, or random ones without one."""
    names = net.layer_activations()
    thresholds = [FLAT * steepest(name) for name in names]
    samples: tuple[Array, Array, Array | None]
    if t is None or loss is None:
        x = matrix(x, net.dtype, "x")
        errors = normal((len(x), net.sizes[-1]), seed=0, name="diagnosis.errors", dtype=net.dtype)
        samples = (x, errors / max(len(x), 1), None)
    else:
        samples = net._samples(x, t, loss, None)
    found = net._core.diagnose(samples, loss, thresholds, optimizer, num_threads)
    pairs = enumerate(zip(found["layers"], names, strict=True))
    layers = [layer(f"layers.{i}", numbers, name) for i, (numbers, name) in pairs]
    return Measurement(
        layers, layer("inputs", found["inputs"]), found["cosines"], len(samples[0]), found["loss"]
    )


def default_loss(net: MLP, t: npt.ArrayLike) -> str:
    """Name the loss that targets are usually for: labels a cross-entropy, other numbers the mean square."""
    array = np.asarray(t)
    if net.sizes[-1] > 1 and array.ndim == 1 and array.dtype.kind in "iu":
        return "softmax_cross_entropy"
    if net.sizes[-1] == 1 and array.dtype.kind in "biu" and np.isin(array, (0, 1)).all():
        return "binary_cross_entropy"
    return "mse"


def of_arrays(
    outputs: Mapping[str, npt.ArrayLike],
    x: npt.ArrayLike | None,
    activations: Sequence[str | None],
    gradients: Sequence[npt.ArrayLike | None],
    weights: Sequence[npt.ArrayLike | None],
    weight_gradients: Sequence[npt.ArrayLike | None],
    num_threads: int | None,
) -> Measurement:
    """Take the outputs of layers, and what else is known of each."""
    layers, batch = [], 0
    rest = zip(activations, gradients, weights, weight_gradients, strict=True)
    for (name, values), (activation, *others) in zip(outputs.items(), rest, strict=True):
        y = rows(values, name)
        batch = max(batch, len(y))
        dz, w, dw = (
            None if given is None else _fitting(given, shape, f"{what} of {name}", y.dtype)
            for what, given, shape in zip(KINDS, others, (y.shape, *[(None, y.shape[1])] * 2), strict=True)
        )
        if dw is not None and (w is None or w.shape != dw.shape):
            of = "is not given" if w is None else f"has shape {w.shape}"
            msg = f"the gradient of the weight of {name} has shape {dw.shape}, the weight {of}"
            raise ValueError(msg)
        slope = None if activation is None else _slope_of_output(activation, y)
        threshold = 0.0 if activation is None else FLAT * steepest(activation)
        numbers = _core.diagnose_layer(y, slope, dz, w, None, dw, None, threshold, num_threads)
        layers.append(layer(name, numbers, activation))
    inputs, cosines = None, None
    if x is not None:
        values = rows(x, "x")
        batch = len(values)
        numbers = _core.diagnose_layer(values, None, None, None, None, None, None, 0.0, num_threads)
        inputs, cosines = layer("inputs", numbers), row_cosines(numbers["sample"])
    return Measurement(layers, inputs, cosines, batch)


def of_functions(
    functions: Mapping[str, Callable[[Any], Any]],
    x: Any,
    activations: Sequence[str | None],
    num_threads: int | None,
) -> Measurement:
    """Call functions one after another, with inputs and with inputs shifted a little towards each other."""
    x = np.asarray(x) if isinstance(x, list | tuple) else x
    if not len(x):
        msg = "x must have at least one row"
        raise ValueError(msg)
    order = (np.arange(len(x)) + 1) % len(x)
    # Whole numbers, as of tokens, cannot be shifted.
    moves = as_numpy(x).dtype.kind == "f"
    given, shifted = x, x + SHIFT * (x[order] - x) if moves else x
    distance = _mean_square(shifted, given)
    outputs, sensitivities = {}, []
    for name, function in functions.items():
        # Copies, for functions that work in place.
        again, given, shifted = function(_copy(given)), function(_copy(given)), function(_copy(shifted))
        outputs[name] = np.array(as_numpy(given))
        if not np.array_equal(as_numpy(again), outputs[name], equal_nan=True):
            msg = f"{name} gives two outputs for one input: switch chance off, as model.eval() does"
            raise ValueError(msg)
        sensitivities.append(_mean_square(shifted, given) / distance if distance else None)
    nothing = [None] * len(outputs)
    found = of_arrays(outputs, x, activations, nothing, nothing, nothing, num_threads)
    layers = [replace(layer, sensitivity=s) for layer, s in zip(found.layers, sensitivities, strict=True)]
    return replace(found, layers=layers)


def _copy(values: Any) -> Any:
    """Copy an array or a tensor; those of JAX do not change."""
    if hasattr(values, "clone"):
        return values.clone()
    return values.copy() if isinstance(values, np.ndarray) else values


def _mean_square(a: Any, b: Any) -> float:
    with np.errstate(all="ignore"):
        return float(np.mean(np.square(as_numpy(a).astype(np.float64) - as_numpy(b).astype(np.float64))))


def as_numpy(values: Any) -> Any:
    """Take a tensor off its graph and its device first, where it has them."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def rows(values: Any, what: str) -> Array:
    """Give (rows, units) in float32 or float64: units are along the last axis, inputs along all others."""
    array = as_numpy(values)
    if array.ndim < 2 or not array.size:
        msg = f"{what} must have shape (batch, units), none of them 0, got {array.shape}"
        raise ValueError(msg)
    dtype = np.dtype(np.float64 if array.dtype.itemsize > 4 else np.float32)
    return float_array(array.reshape(-1, array.shape[-1]), dtype, what)


def _fitting(given: Any, shape: tuple[int | None, ...], what: str, dtype: np.dtype[Any]) -> Array:
    array = rows(given, what)
    if any(n is not None and n != found for n, found in zip(shape, array.shape, strict=True)):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        msg = f"{what} must have shape ({expected}), got {array.shape}"
        raise ValueError(msg)
    return float_array(array, dtype, what)


def layer(name: str, numbers: Mapping[str, Any], activation: str | None = None) -> LayerDiagnosis:
    """Make a layer of what the core has measured."""
    cosine = numbers["cosine_square"]
    same = {f.name for f in fields(LayerDiagnosis)} & numbers.keys() - {"nonfinite", "saturated"}
    return LayerDiagnosis(
        name=name,
        activation=activation,
        nonfinite=numbers["nonfinite"] + (numbers["gradient_nonfinite"] or 0),
        saturated=numbers["saturated"] if activation is not None and levels_off(activation) else None,
        effective_rank=None if cosine is None else 1 / cosine if cosine else float(numbers["width"]),
        **{key: numbers[key] for key in same},
    )


def _grid(name: str) -> tuple[Floats, Floats]:
    """Give f and f' at 6001 points; beyond the outermost, activations go on as they are there."""
    return _core.activation(name, np.linspace(-30.0, 30.0, 6001))


_shape = lru_cache(64)(_grid)


def steepest(name: str) -> float:
    """Give the largest slope of an activation."""
    return float(np.abs(_shape(name)[1]).max())


def levels_off(name: str) -> bool:
    """Whether an activation is flat at both ends, so that it can saturate."""
    slope = np.abs(_shape(name)[1])
    return bool(max(slope[0], slope[-1]) < FLAT * slope.max())


def _slope_of_output(name: str, y: Array) -> Array | None:
    """Give f'(z) of y = f(z) where f rises and levels off at both ends; else y does not tell, or need not."""
    value, slope = _shape(name)
    if not levels_off(name) or (np.diff(value) < 0).any():
        return None
    return np.interp(y, value, slope).astype(y.dtype)


def row_cosines(sample: Array) -> Floats:
    """Give the cosines between rows; of a row of zeros, they are 0."""
    values = sample.astype(np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.where(norms > 0, norms, 1.0)
    return unit @ unit.T
