"""Which initialization suits an activation function, and why: read off its moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from initcore.activations import as_activation
from initcore.gains import gain
from initcore.initializers import get
from initcore.moments import first_moment, slope_moment

from .maps import chi, critical, length_slope

if TYPE_CHECKING:
    from initcore.activations import Activation, ActivationLike


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What suits an activation function.

    Attributes
    ----------
    activation : str
        Its name.
    gain : float
        The exact gain, as `initcore.gain` gives it.
    scheme : str
        The initialization of the weights, for `initcore.get`; biases are zero.
    chi : float
        chi_1 under that scheme, in layers as wide as their inputs: what squared gradients grow by per layer.
    critical : tuple of float or None
        ``(sigma_w2, sigma_b2)`` at the edge of chaos for inputs of mean square 1, if there is such a point.
    reason : str
        Why, in a sentence or two.
    """

    activation: str
    gain: float
    scheme: str
    chi: float
    critical: tuple[float, float] | None
    reason: str


def recommend(activation: ActivationLike) -> Recommendation:
    """Tell which initialization suits an activation function, and why.

    Parameters
    ----------
    activation : str, callable or Activation
        The name of a built-in activation, or any function of one real number.

    Returns
    -------
    Recommendation

    Raises
    ------
    ValueError
        As `initcore.gain` does.

    Examples
    --------
    >>> ic.theory.recommend("leaky_relu(0.2)").scheme
    'he_normal(negative_slope=0.2)'
    """
    f = as_activation(activation)
    exact = gain(activation if isinstance(activation, str) else f)
    try:
        edge = critical(f)
    except ValueError:
        edge = None
    q, scheme, reason = _choose(f, exact)
    return Recommendation(f.name, exact, scheme, chi(f, q, get(scheme).get_config()["scale"]), edge, reason)


def _choose(f: Activation, exact: float) -> tuple[float, str, str]:
    """Give the mean square of inputs that a scheme is meant for, the scheme, and the reason."""
    variance = exact**2  # times fan_in, by the exact gain
    if _is_scale_free(f):
        left, right = (float(v) for v in f.value(np.array([-1.0, 1.0])))
        reason = (
            f"{f.name} is straight on both sides of 0: it keeps {1 / variance:.6g} of the mean square of "
            f"any signal and any gradient. Weights of variance {variance:.6g} / fan_in make up for both."
        )
        return 1.0, _for_straight_lines(-left, right, variance), reason

    growth = chi(f, 1.0, variance)
    mean = float(first_moment(f, np.ones(1))[0])
    if abs(exact - 1) < 1e-6 and abs(mean) < 1e-6 and np.isfinite(growth):
        reason = (
            f"{f.name} normalizes itself: inputs of mean 0 and variance 1 give such outputs, so the weights "
            f"need no gain. Squared gradients are multiplied by chi_1 = {growth:.4g} per layer."
        )
        return 1.0, "lecun_normal", reason

    origin = float(slope_moment(f, np.zeros(1))[0])  # f'(0)^2
    if _is_odd_and_levels_off(f) and 0 < origin < np.inf:
        straight = 1 / origin
        scheme = f"variance_scaling({straight:.6g}, 'fan_avg', 'normal')"
        reason = (
            f"{f.name} is odd, has slope {origin**0.5:.4g} at 0 and levels off. Weights of variance "
            f"{straight:.6g} / fan_avg keep signals where it is almost straight; gradients pass, chi_1 = 1. "
            "The exact gain would hold the mean square of signals at 1, but multiply squared gradients by "
            f"{growth:.4g} per layer."
        )
        return 0.0, "xavier_normal" if abs(straight - 1) < 1e-6 else scheme, reason

    reason = (
        f"Weights of variance {variance:.6g} / fan_in hold the mean square of signals at 1. Squared "
        f"gradients are multiplied by chi_1 = {growth:.4g} per layer, deviations from 1 by "
        f"{length_slope(f, 1.0, variance):.4g}."
    )
    if mean**2 * variance > 1e-6:
        reason += f" The mean of the outputs, {mean:.4g}, makes signals alike."
    return 1.0, f"variance_scaling({variance:.6g}, 'fan_in', 'normal')", reason


def _for_straight_lines(left: float, right: float, variance: float) -> str:
    """Name the scheme for slopes `left` and `right` of 0."""
    if right != 1:
        return f"variance_scaling({variance:.6g}, 'fan_in', 'normal')"
    if left == 1:
        return "lecun_normal"
    return f"he_normal(negative_slope={left!r})" if left else "he_normal"


def _is_scale_free(f: Activation) -> bool:
    """Whether ``f(a u) = a f(u)`` for positive a."""
    u = np.array([-1.3, -0.4, 0.3, 1.7])
    return all(np.allclose(f.value(a * u), a * f.value(u), rtol=1e-12, atol=0.0) for a in (0.125, 11.0))


def _is_odd_and_levels_off(f: Activation) -> bool:
    u = np.array([0.1, 0.7, 2.2, 30.0, 60.0])
    value = f.value(u)
    odd = np.allclose(f.value(-u), -value, rtol=1e-9, atol=0.0)
    return odd and abs(value[-1]) < 1.1 * abs(value[-2])
