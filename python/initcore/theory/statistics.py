"""What the outputs of each layer look like in a random network, with error bars: what a diagnosis measures.

The sums z of a unit for the inputs a, b, ... of a batch are Gaussian, of variance Q, and of correlation c_ab
for two inputs. Units are independent; inputs are not, they share the weights::

    for each layer
        c <- share of the signal * c + share of the biases          `Batch.enter`
        mean, std, skewness, saturated units <- E[h(z)], where Cov(mean h, mean g) is
            1/n sum_{k>0} h_k g_k mean_ab c_ab^k                     n units, Hermite coefficients
        dead units <- all z on a flat piece of f
        c <- sum_k f_k^2 c^k / sum_k f_k^2, and its noise            `Batch.leave`, `Series`
        effective rank <- 1 / mean c^2

The law of Q (log-normal, see `prediction`) is split in two: what differs from network to network, over which
the statistics scatter, and what differs from input to input, which is part of what they are of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import erf
from typing import TYPE_CHECKING

import numpy as np

from initcore.quadrature import NODES, Floats

from .hermite import DENSITY, LOG_RANGE, PROJECT, Series, values_and_slopes
from .inputs import NOTHING, Batch, Inputs, normal_nodes
from .maps import non_negative
from .prediction import Description, Estimate, checked_inputs, describe, upward

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from initcore.activations import Activation, ActivationLike
    from initcore.initializers import InitLike
    from initcore.nn import MLP

    from .inputs import Pair

#: The statistics, by their names in `Statistics`.
STATISTICS = {
    "mean": "mean of y",
    "std": "standard deviation of y",
    "skew": "skewness of y",
    "dead": "share of units with one output for all inputs",
    "saturated": "share of outputs where f is flat",
    "effective_rank": "1 / mean squared cosine of two inputs' outputs",
}

# Expectations over log Q, from network to network and from input to input.
_NETWORKS, _INPUTS = (np.polynomial.hermite_e.hermegauss(nodes) for nodes in (5, 3))


@dataclass(frozen=True, eq=False)
class Statistics:
    """What random networks show in each layer, over batch and units of its outputs y = f(z).

    Expect mean ± std: `Estimate.interval` is for what cannot be negative, as means and skewness can.

    Attributes
    ----------
    mean, std, skew : Estimate
        Mean, standard deviation and skewness of y.
    dead : Estimate
        Share of the units whose output is the same for all inputs.
    saturated : Estimate
        Share of the outputs where ``|f'(z)|`` is less than `threshold` times the steepest slope of f.
    effective_rank : Estimate
        1 / mean of the squared cosine between the outputs for two different inputs: 1 where all inputs look
        alike, about the number of units where they look random.
    """

    mean: Estimate
    std: Estimate
    skew: Estimate
    dead: Estimate
    saturated: Estimate
    effective_rank: Estimate


def statistics(
    network: MLP | Sequence[int] | Description,
    x: npt.ArrayLike | Inputs,
    *,
    activation: ActivationLike | Sequence[ActivationLike] | None = None,
    output_activation: ActivationLike | None = None,
    init: InitLike | Sequence[InitLike] | None = None,
    bias_std: float = 0.0,
    actual: bool = False,
    threshold: float = 0.05,
) -> Statistics:
    """Predict what the outputs of each layer look like: mean, shape, dead and saturated units, likeness.

    Parameters
    ----------
    network : MLP or sequence of int
        A network, or its sizes as `MLP` takes them.
    x : array_like, (batch, inputs), or Inputs
        The inputs, or what matters of them.
    activation, output_activation, init, bias_std, actual
        As in `predict`.
    threshold : float
        An output is saturated where the slope of f is below this part of its largest.

    Returns
    -------
    Statistics
        Not a number where there is no answer: the skewness of a constant, the effective rank of zeros,
        ``dead`` and ``effective_rank`` of a single input.

    Raises
    ------
    ValueError, TypeError
        As in `predict`; or `threshold` is negative.

    Notes
    -----
    Means are right to the order 1/width; so are their standard deviations, roughly to 10%. Units are dead
    with all inputs about equally alike: of clustered inputs some 10% more are, where few are. Effective ranks
    are off where the depth comes close to the width. Outputs count as equal by float64: a float32 network
    with a tanh or sigmoid far in its flat parts has more dead units.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(100, 64))
    >>> s = ic.theory.statistics([64, 50, 50, 10], x, activation="relu", init="he_normal")
    >>> s.std.mean.round(2).tolist(), s.effective_rank.mean.round(1).tolist()
    ([0.82, 0.82, 1.36], [8.3, 3.8, 3.7])
    """
    given = {"activation": activation, "output_activation": output_activation, "init": init}
    net = describe(network, given, bias_std, actual=actual)
    inputs = x if isinstance(x, Inputs) else Inputs.of(checked_inputs(x, net.sizes[0]))
    level = float(non_negative("threshold", threshold))
    with np.errstate(all="ignore"):  # vanished and exploded signals
        rows = _follow(net, inputs, level)
    means, variances = np.moveaxis(np.array(rows), 2, 0)  # (layers, statistics)
    stds = np.sqrt(np.maximum(variances, 0.0))
    return Statistics(*(Estimate(means[:, i], stds[:, i]) for i in range(len(STATISTICS))))


def _follow(net: Description, inputs: Inputs, threshold: float) -> list[list[Pair]]:
    """Carry what inputs have in common from layer to layer, and give the statistics of each layer."""
    batch = Batch(inputs)
    found = []
    for f, n, layer in zip(
        net.functions, net.sizes[1:], upward(net, inputs.mean_square, inputs.spread).layers, strict=True
    ):
        batch.enter(layer.share)
        if layer.log_q == -np.inf:  # all z are 0
            batch.merge()
            found.append([(f.origin, 0.0), (0.0, 0.0), NOTHING, (1.0, 0.0), NOTHING, (1.0, 0.0)])
            if not f.origin:
                found[-1][-1] = NOTHING
            continue
        between, within = batch.length_variances(layer.spread)
        laws = _laws(f, layer.log_q, between, within, threshold)
        series = Series.of(f, layer.log_q, layer.kept)
        powers = batch.powers()
        shape = _shape(laws, batch.average(powers.mean(axis=1)), layer.kept, n)
        dead = _dead(f, layer.log_q + laws.shifts, laws.weights, batch, n)
        batch.leave(series, layer, powers, n)
        found.append([*shape[:3], dead, shape[3], batch.effective_rank()])
    return found


@dataclass(frozen=True, eq=False)
class _Laws:
    """The outputs of a layer, in networks whose Q differs.

    Attributes
    ----------
    weights, shifts : ndarray, (networks,)
        Of each: how likely, and its log Q less the logarithm of the mean.
    mean, std : ndarray, (networks,)
        Of y.
    functions : ndarray, (networks, 4, axis)
        For each u, the means over inputs of w, w^2, w^3, with ``w = (y - mean) / std``, and of whether y is
        saturated.
    """

    weights: Floats
    shifts: Floats
    mean: Floats
    std: Floats
    functions: Floats


def _laws(f: Activation, log_q: float, between: float, within: float, threshold: float) -> _Laws:
    scores, weights = normal_nodes(_NETWORKS, between)
    scores_in, weights_in = normal_nodes(_INPUTS, within)
    shifts = scores - between / 2
    logs = log_q + shifts[:, None] + (scores_in - within / 2)
    value, slope = (a.reshape(*logs.shape, -1) for a in values_and_slopes(f, logs.ravel()))

    def pooled(values: Floats) -> Floats:  # (networks, inputs, axis) -> (networks, axis)
        found: Floats = weights_in @ values
        return found

    mean = pooled(value) @ DENSITY
    centred = value - mean[:, None, None]
    scale = np.abs(centred).max(axis=(1, 2))
    std = scale * np.sqrt(pooled((centred / scale[:, None, None]) ** 2) @ DENSITY)
    std = np.where(scale > 1e-12 * np.abs(mean), std, 0.0)
    w = centred / std[:, None, None]
    flat = (np.abs(slope) < threshold * _steepest(f)).astype(float)
    w2 = w * w
    functions = np.stack([pooled(h) for h in (w, w2, w * w2, flat)], axis=1)
    return _Laws(weights, shifts, mean, std, functions)


def _shape(laws: _Laws, powers: Floats, kept: float, n: int) -> list[Pair]:
    """Give mean, std, skewness and saturated share: each with its variance.

    From one network to another the four means scatter; std and skewness follow to the second order.
    """
    functions = laws.functions
    moments = functions @ DENSITY  # (networks, 4)
    centred = functions - moments[..., None]
    coefficients = functions @ PROJECT  # (networks, 4, degrees)
    reach = powers[:-1].copy()
    reach[0] = 0.0
    whole = np.einsum("nia,nja,a->nij", centred, centred, DENSITY)
    series = coefficients[..., 1:]
    left = whole - series @ np.swapaxes(series, 1, 2)
    reach[2] *= 1 - kept
    noise = ((coefficients * reach) @ np.swapaxes(coefficients, 1, 2) + powers[-1] * left) / n

    mean, std = laws.mean, laws.std
    a, b = noise[:, 0, 0], noise[:, 1, 1]
    skew = moments[:, 2]
    by = np.zeros((len(skew), 4))
    by[:, 0], by[:, 1], by[:, 2] = -3.0, -1.5 * skew, 1.0
    bent = 1.5 * (noise[:, 0, 1] - noise[:, 1, 2]) + skew * (1.5 * a + 1.875 * b)
    rows = [
        (mean, np.where(std > 0, std**2 * a, 0.0)),
        (np.where(std > 0, std * (1 - a / 2 - b / 8), 0.0), np.where(std > 0, std**2 * b / 4, 0.0)),
        (skew + bent, np.einsum("ni,nij,nj->n", by, noise, by)),
        (moments[:, 3], noise[:, 3, 3]),
    ]
    return [_over_networks(laws.weights, *row) for row in rows]


def _over_networks(weights: Floats, means: Floats, variances: Floats) -> Pair:
    """Give the mean and the variance over networks of several kinds."""
    mean = float(weights @ means)
    return mean, float(weights @ (variances + (means - mean) ** 2))


def _dead(f: Activation, log_q: Floats, weights: Floats, batch: Batch, n: int) -> Pair:
    """Give the share of units with all inputs on one flat piece of f, at equal correlations rho.

    That is the integral of ``phi(s) Phi((t - sqrt(rho) s) / sqrt(1 - rho))^B`` for each piece that ends at t.
    """
    if batch.size == 1:
        return NOTHING
    pieces = _flat_pieces(f)
    if not pieces:
        return 0.0, 0.0
    none_beyond = _cdf() ** batch.independent()
    edges = [edge / np.exp(np.clip(log_q, *LOG_RANGE) / 2) for edge in pieces]
    shares, chances = [], []
    for rho, weight in batch.common_law():
        t = np.stack(edges)[..., None] - np.sqrt(rho) * _FACTOR  # (pieces, networks, factor)
        shares.append((np.interp(t / np.sqrt(1 - rho), _CDF_AXIS, none_beyond) @ _FACTOR_DENSITY).sum(axis=0))
        chances.append(weight * weights)
    p, chance = np.concatenate(shares), np.concatenate(chances)
    return _over_networks(chance, p, p * (1 - p) / n)


# What all inputs have in common, and the normal distribution function.
_FACTOR = np.linspace(-8.0, 8.0, 321)
_FACTOR_DENSITY = np.exp(-(_FACTOR**2) / 2) / np.exp(-(_FACTOR**2) / 2).sum()
_CDF_AXIS = np.linspace(-9.0, 9.0, 3601)


def _find_cdf() -> Floats:
    return np.array([(1 + erf(t / np.sqrt(2))) / 2 for t in _CDF_AXIS])


_cdf = lru_cache(1)(_find_cdf)  # it takes milliseconds

# Both sides of 0, from near it to far out.
_FAR = np.concatenate([-np.geomspace(1e3, 1e-2, 100), [0.0], np.geomspace(1e-2, 1e3, 100)])


def _find_steepest(f: Activation) -> float:
    """Give the largest slope of f."""
    half = np.diff(_FAR) / 2
    return float(np.nanmax(np.abs(f.value_and_slope((_FAR[:-1] + half)[:, None] + half[:, None] * NODES)[1])))


_steepest = lru_cache(maxsize=64)(_find_steepest)


def _find_flat_pieces(f: Activation) -> list[float]:
    """Give how far the flat pieces of f reach, on the left, and on the right after a reflection.

    On them f has the very same value, which of a smooth function is so where floats cannot tell.
    """
    pieces = []
    for side in (1.0, -1.0):
        values = f.value(side * _FAR)
        bends = np.flatnonzero(values != values[0])
        if not bends.size or bends[0] == 1:
            continue
        inside, outside = _FAR[bends[0] - 1], _FAR[bends[0]]
        for _ in range(60):
            middle = (inside + outside) / 2
            if f.value(np.array([side * middle]))[0] == values[0]:
                inside = middle
            else:
                outside = middle
        pieces.append(float(inside))
    return pieces


_flat_pieces = lru_cache(maxsize=64)(_find_flat_pieces)
