"""What one network of given widths will show: mean squares of signals and gradients, with error bars.

Mean-field theory is about infinite width. A layer of n units averages over n numbers only: what is measured
in it scatters from one draw of the weights to the next, and so does what it hands on. With z = W y + b, a the
mean square of y = f(z), and d that of dL/dz, everything follows from ::

    given y below:    z_i ~ N(0, Q) independent,  Q = sigma_w^2 a + sigma_b^2       the length map
    forward:          a = mean_i f(z_i)^2   = M(Q) times noise                      M(Q) = E[f(z)^2]
    backward:         d = n v d_above mean_i f'(z_i)^2 g_i^2
                        = n v d_above S(Q) times noise                              S(Q) = E[f'(z)^2]

where g is the gradient from above, a standard normal number in each unit, n the width of the layer above, and
v the variance of its weights. The noises of a layer have relative variances ``(E[f^4] / M^2 - 1) / n`` and
``(3 E[f'^4] / S^2 - 1) / n``, and the covariance ``(E[f^2 f'^2] / (M S) - 1) / n``. Signals are products of
many such factors, hence nearly log-normal: each logarithm here is a centre and a linear combination of the
noises of the layers. Slopes of ``log M`` and ``log S`` and all expectations are taken over the log-normal law
of Q, which makes the product exact for relu and its like (Hanin 2018), and gives the shift of the means in
narrow layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore import notebook
from initcore._core import DeltaOrthogonal, Identity, Initializer, Orthogonal, ZerO
from initcore.activations import Activation, as_activation
from initcore.arrays import integer, matrix, per_layer
from initcore.initializers import InitLike, get
from initcore.nn import MLP

from .layer_law import LayerLaw, layer_law
from .maps import non_negative

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from initcore.activations import ActivationLike
    from initcore.quadrature import Floats

#: The kinds of numbers that are predicted, by their names in `Prediction`.
QUANTITIES = {
    "z": "mean square of z",
    "y": "mean square of y",
    "slope": "mean square of f'(z)",
    "dz": "mean square of dL/dz, output layer: 1",
    "dw": "mean square of dL/dW, output layer: 1",
}


@dataclass(frozen=True, eq=False)
class Estimate:
    """What to expect of a number in each layer.

    Attributes
    ----------
    mean, std : ndarray, (layers,)
        Over draws of the weights.
    """

    mean: Floats
    std: Floats

    def interval(self, width: float = 1.0) -> tuple[Floats, Floats]:
        """Give the bounds within which a network lies, `width` standard deviations either way.

        They are quantiles of the log-normal law with this mean and standard deviation: never negative, and as
        lopsided as the true law.
        """
        with np.errstate(all="ignore"):
            variance = np.log1p(np.nan_to_num(self.std / self.mean) ** 2)
            middle, factor = self.mean * np.exp(-variance / 2), np.exp(width * np.sqrt(variance))
            return middle / factor, middle * factor


@dataclass(frozen=True, eq=False)
class Prediction:
    """What theory says of a network before training, layer by layer. Print it for a table.

    Attributes
    ----------
    sizes : tuple of int
        Inputs, then the width of every layer.
    activations : tuple of str
        Of each layer.
    z, y : Estimate
        Mean square of the layer's sums z = W y + b, and of its outputs y = f(z).
    slope : Estimate
        Mean of f'(z)^2. Times the variance of the weights above and their number of outputs, it is the factor
        by which squared gradients grow: chi_1, where widths are equal.
    dz : Estimate
        Mean square of dL/dz, relative to that in the output layer.
    dw : Estimate
        Mean square of dL/dW of one input, relative to that of the output layer.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    z: Estimate
    y: Estimate
    slope: Estimate
    dz: Estimate
    dw: Estimate

    def _rows(self) -> list[list[str]]:
        rows = [["layer", "width", "activation", *QUANTITIES]]
        for i, name in enumerate(self.activations):
            cells = [_cell(getattr(self, q).mean[i], getattr(self, q).std[i]) for q in QUANTITIES]
            rows.append([str(i), str(self.sizes[i + 1]), name, *cells])
        return rows

    def __str__(self) -> str:
        """Lay out a table: a row for each layer, columns of mean and standard deviation."""
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        return notebook.fragment(notebook.table(head, rows))


def _cell(mean: float, std: float) -> str:
    return f"{mean:.3g} ± {std:.1g}" if std > 0 else f"{mean:.3g}"


def predict(
    network: MLP | Sequence[int] | Description,
    x: float | npt.ArrayLike = 1.0,
    *,
    activation: ActivationLike | Sequence[ActivationLike] | None = None,
    output_activation: ActivationLike | None = None,
    init: InitLike | Sequence[InitLike] | None = None,
    bias_std: float = 0.0,
    actual: bool = False,
) -> Prediction:
    """Predict how large signals and gradients are in each layer, with their scatter.

    Parameters
    ----------
    network : MLP or sequence of int
        A network, or its sizes as `MLP` takes them.
    x : float or array_like, (batch, inputs)
        The mean square of an input's components, or the inputs.
    activation, output_activation, init
        As in `MLP`, with the same defaults, for a network that is given by its sizes. Any function will do
        for an activation, and there may be one initializer for each layer.
    bias_std : float
        Standard deviation of the biases.
    actual : bool
        Of an `MLP`, take the mean squares of the weights and biases as they are now, not those of its
        initializer.

    Returns
    -------
    Prediction

    Raises
    ------
    ValueError
        The weights of an initializer have another mean than 0, or are an identity: not what the theory is of.
    TypeError
        `activation` or `init` is given beside an `MLP`, which has its own.

    Notes
    -----
    The standard deviations are those for a single input. The mean over a batch, whose inputs share the
    weights, scatters no more than that, and less the more its inputs differ. Gradients at the output are
    taken to be independent of the weights, as they are where the targets are far from the outputs; ``dL/dz``
    proportional to the output is not.

    Means are right to the order 1/width, and where f is linear or relu to all orders. Standard deviations are
    those of log-normal laws. Both are for normal weights: others, as uniform ones, make a difference of the
    order 1/fan_in. Orthogonal weights keep lengths: of the noise of normal ones, what goes with the length is
    taken away.

    References
    ----------
    B. Hanin, Which neural net architectures give rise to exploding and vanishing gradients? NeurIPS 2018.

    Examples
    --------
    >>> p = ic.theory.predict([784, 100, 100, 10], activation="relu", init="he_normal")
    >>> p.z.mean.round(12).tolist(), p.z.std.round(2).tolist()
    ([2.0, 2.0, 2.0], [0.28, 0.53, 1.14])
    """
    given = {"activation": activation, "output_activation": output_activation, "init": init}
    net = describe(network, given, bias_std, actual=actual)
    q0, spread = _inputs(x, net.sizes[0])
    with np.errstate(all="ignore"):  # vanished and exploded signals are 0 and infinite
        estimates = _downward(net, upward(net, q0, spread))
    return Prediction(net.sizes, tuple(f.name for f in net.functions), **estimates)


@dataclass(frozen=True, eq=False)
class Description:
    """A network: sizes, and for each layer the activation and logarithms of the variances."""

    sizes: tuple[int, ...]
    functions: list[Activation]
    weight: list[float]
    bias: list[float]
    rotates: list[bool]  # orthogonal weights


def describe(
    network: MLP | Sequence[int] | Description, given: dict[str, Any], bias_std: float, *, actual: bool
) -> Description:
    """Look up what the theory needs; given: arguments of `predict` by name, None for those left out."""
    if isinstance(network, Description):
        return network
    functions, inits, sizes = _layers(network, given)
    shapes = list(pairwise(sizes))
    if actual:
        if not isinstance(network, MLP):
            msg = f"actual=True takes the weights of an MLP, got {network!r}"
            raise TypeError(msg)
        parameters = network.parameters()
        weight = [_size(parameters[f"layers.{i}.weight"]) for i in range(len(shapes))]
        bias = [_size(parameters.get(f"layers.{i}.bias", 0.0)) for i in range(len(shapes))]
    else:
        weight = [_std(law, shape) for law, shape in zip(inits, shapes, strict=True)]
        bias = [float(non_negative("bias_std", bias_std))] * len(shapes)
    rotates = [isinstance(law, Orthogonal | DeltaOrthogonal) for law in inits]
    with np.errstate(divide="ignore"):
        return Description(sizes, functions, list(2 * np.log(weight)), list(2 * np.log(bias)), rotates)


def _layers(
    network: MLP | Sequence[int], given: dict[str, Any]
) -> tuple[list[Activation], list[Initializer], tuple[int, ...]]:
    """Give the activation and the initializer of each layer, and the sizes."""
    if isinstance(network, MLP):
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            msg = f"an MLP has its own {' and '.join(extra)}"
            raise TypeError(msg)
        functions = [as_activation(name) for name in network.layer_activations()]
        return functions, [network.init] * len(functions), network.sizes
    sizes = tuple(integer(n, "each of sizes", 1) for n in network)
    depth = len(sizes) - 1
    if depth < 1:
        msg = f"sizes must name the inputs and one layer at least, got {sizes}"
        raise ValueError(msg)

    def listed(name: str, default: str, count: int) -> list[Any]:
        value = default if given[name] is None else given[name]
        return per_layer(tuple(value) if isinstance(value, list) else value, count, name)

    hidden = listed("activation", "relu", depth - 1)
    functions = [as_activation(f) for f in [*hidden, *listed("output_activation", "linear", 1)]]
    return functions, [get(law) for law in listed("init", "he_normal", depth)], sizes


def _size(values: npt.ArrayLike) -> float:
    """Give the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _std(init: Initializer, shape: tuple[int, int]) -> float:
    """Give the standard deviation of a layer's weights, whose mean must be 0."""
    std = init.std(shape)
    law = init.law(shape)
    config = {} if law is None else law.get_config()
    centre = config.get("value", config.get("mean", (config.get("low", 0) + config.get("high", 0)) / 2))
    # bounds in standard deviations from the mean; the sum of two infinite ones is not a number, and not more
    lopsided = "mean" in config and "low" in config and abs(config["low"] + config["high"]) > 1e-6
    if isinstance(init, Identity | ZerO) or lopsided or abs(centre) > 1e-6 * std:
        msg = f"the theory is of random weights with mean 0, got {init!r}"
        raise ValueError(msg)
    return std


def _inputs(x: float | npt.ArrayLike, inputs: int) -> tuple[float, float]:
    """Give the mean square of the inputs, and the variance of the logarithm of that of one input."""
    if np.ndim(x) == 0:
        return float(non_negative("the mean square of the inputs", x)), 0.0
    return mean_and_spread(checked_inputs(x, inputs))


def checked_inputs(x: npt.ArrayLike, inputs: int) -> Floats:
    """Check a batch of inputs: (batch, inputs)."""
    array: npt.NDArray[np.float64] = matrix(x, np.dtype(np.float64), "x").astype(np.float64, copy=False)
    if array.shape[1] != inputs or not len(array) or not np.isfinite(array).all():
        msg = f"x must have shape (batch, {inputs}) and finite numbers, got {array.shape}"
        raise ValueError(msg)
    return array


def mean_and_spread(x: Floats) -> tuple[float, float]:
    """Give the mean square of inputs, and the variance of the logarithm of that of one input."""
    squares = np.mean(x**2, axis=1)
    mean = float(non_negative("the mean square of the inputs", squares.mean()))
    return mean, float(np.log1p(squares.var() / mean**2)) if mean else 0.0


@dataclass(frozen=True, eq=False)
class Layer:
    """What the way back needs to know of the way up."""

    law: LayerLaw
    log_q: float
    spread: float  # variance of log Q between inputs of different lengths
    share: float  # of Q that comes from the signal, not from the biases
    kept: float  # of the length of z that weights keep which are rotations
    turned: float  # 1 where the weights above keep the length of gradients
    signal: float  # centre of log a of what comes in, and what it is by each noise
    signal_by: Floats
    gain: float  # centre of log mean f'^2 g^2, and what it is by each noise
    gain_by: Floats

    def length_feedback(self, n: int, above: float) -> tuple[float, float]:
        """Give by how much gradients exceed those of independent weights, and their excess along z.

        The weights that a gradient comes back through have made the z above it. So ``(dL/dz . z)^2``, the
        response of the loss to the length of z, does not grow as the square of the gradient does: relative
        to ``|dL/dz|^2 Q`` it exceeds 1 by `above` in the layer above, and by 0 in the output.
        """
        law = self.law
        part = (1 + law.covariance - self.turned) / n
        ratio = np.nan_to_num(np.exp(law.value - self.log_q - law.slope), posinf=0.0)  # M / (Q S)
        more = max(part * above, -0.5)
        return more, float(2 * law.slope_rate + (law.value_rate**2 * ratio - part) * above) / (1 + more)


@dataclass(frozen=True, eq=False)
class Upward:
    """What came of the way up."""

    layers: list[Layer]
    noise: Floats  # covariances in each layer, (depth, 2, 2)
    found: dict[
        str, list[tuple[float, float]]
    ]  # by quantity: the logarithm of the mean, variance of the logarithm

    def variance(self, by: Floats) -> float:
        """Give the variance of a combination of the noises; by: (depth, 2)."""
        return float(np.einsum("li,lij,lj", by, self.noise, by))


def upward(net: Description, q0: float, spread: float) -> Upward:
    """Follow the logarithm of a up the layers: the centre and what it is by each noise, (depth, 2).

    q0 and spread: the mean square of the inputs, and the variance of the logarithm of that of one input.
    """
    depth, sizes = len(net.functions), net.sizes
    up = Upward([], np.zeros((depth, 2, 2)), {name: [] for name in QUANTITIES})
    variance, found = up.variance, up.found
    signal, signal_by = float(np.log(q0)), np.zeros((depth, 2))
    for i, f in enumerate(net.functions):
        n = sizes[i + 1]
        passed = np.log(sizes[i]) + net.weight[i] + signal + variance(signal_by) / 2
        log_q = float(np.logaddexp(passed, net.bias[i]))
        share = float(np.exp(passed - log_q)) if np.isfinite(log_q) else 0.0
        q_by, spread = share * signal_by, share**2 * spread
        turned = 1 - _lost(sizes[i], n) if net.rotates[i] else 0.0
        above = 1 - _lost(sizes[i + 2], n) if i + 1 < depth and net.rotates[i + 1] else 0.0
        kept = share**2 * turned  # biases do not turn with the weights

        law = layer_law(f, log_q, variance(q_by) + spread, kept / n)
        # A rotation takes out of each noise what goes with the mean of z^2, and that of g^2.
        forward = law.value_noise - 2 * law.value_rate**2 * kept
        own = law.slope_noise - 2 * law.slope_rate**2 * kept
        back = law.gain_noise - 2 * law.slope_rate**2 * kept - 2 * above
        both = law.covariance - 2 * law.value_rate * law.slope_rate * kept
        up.noise[i] = np.log1p(np.array([[max(forward, 0.0), both], [both, max(back, 0.0)]]) / n)

        y_by, gain_by = law.value_rate * q_by, law.slope_rate * q_by
        found["z"].append((log_q, np.log1p(2 * (1 - kept) / n) + variance(q_by)))
        found["slope"].append((law.slope, np.log1p(max(own, 0.0) / n) + variance(gain_by)))
        y_by[i, 0] = gain_by[i, 1] = 1.0
        found["y"].append((law.value, variance(y_by)))
        gain = law.slope - variance(gain_by) / 2
        up.layers.append(Layer(law, log_q, spread, share, kept, above, signal, signal_by, gain, gain_by))
        spread *= law.value_rate**2
        signal, signal_by = law.value - variance(y_by) / 2, y_by
    return up


def _downward(net: Description, up: Upward) -> dict[str, Estimate]:
    """Follow the logarithm of d down again, and put together what is measured."""
    layers, sizes, variance, found = up.layers, net.sizes, up.variance, up.found
    depth = len(layers)
    gradient, gradient_by = 0.0, np.zeros((depth, 2))
    along = extra = 0.0
    output, output_by = layers[-1].signal, layers[-1].signal_by
    for i in reversed(range(depth)):
        here = layers[i]
        if i + 1 < depth:
            gradient += here.gain + np.log(sizes[i + 2]) + net.weight[i + 1]
            gradient_by = gradient_by + here.gain_by
            more, along = here.length_feedback(sizes[i + 1], layers[i + 1].share * along)
            extra += np.log1p(more)
        # The feedback is by the square of one normal number.
        more = np.log1p(2 * np.expm1(-abs(extra)) ** 2)
        dw_by = gradient_by + here.signal_by - output_by
        dw = gradient + extra + here.signal - output + variance(dw_by) / 2
        found["dz"].insert(0, (gradient + extra + variance(gradient_by) / 2, variance(gradient_by) + more))
        found["dw"].insert(0, (dw, variance(dw_by) + more))
    return {name: _estimate(np.array(pairs)) for name, pairs in found.items()}


def _lost(given: int, taken: int) -> float:
    """Give the variance of the squared length that a rotation hands on, relative to that of normal weights.

    From fewer to more numbers, nothing is lost; else it is the length of a projection on random directions.
    """
    return max(given - taken, 0) / (given + 2)


def _estimate(pairs: Floats) -> Estimate:
    """Give log-normal numbers; pairs: (layers, 2), logarithm of the mean and variance of the logarithm."""
    mean = np.exp(pairs[:, 0])
    return Estimate(mean, np.where(mean == 0, 0.0, mean * np.sqrt(np.expm1(np.maximum(pairs[:, 1], 0.0)))))
