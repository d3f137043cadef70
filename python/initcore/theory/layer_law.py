"""What one layer of finite width does to mean squares: expectations, slopes and noises.

The sums z of a layer are N(0, Q), and Q itself is log-normal: it scatters from network to network, and from
input to input. Logarithms throughout, since signals vanish and explode beyond what floats hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from initcore.moments import largest
from initcore.quadrature import Floats, integrate

if TYPE_CHECKING:
    from initcore.activations import Activation

# Expectations over log Q are sums over nodes: z-scores and weights of the Gauss-Hermite rule.
_SCORES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_WEIGHTS /= _WEIGHTS.sum()
_LEAST_SPREAD = 1e-3  # standard deviation of log Q: slopes are differences over this distance at least
_ROUNDING = 1e-12  # what rounding leaves of 0
_LOG_RANGE = np.log([1e-24, 1e30])  # of q; beyond, moments go on as powers of q


@dataclass(frozen=True)
class LayerLaw:
    """What an activation f does to squares, where z ~ N(0, Q) and Q is log-normal.

    ``M(Q) = E[f^2]`` and ``S(Q) = E[f'^2]``. Noises are relative variances of means over n units, times n.

    Attributes
    ----------
    value, slope : float
        ``log E[M(Q)]`` and ``log E[S(Q)]``.
    value_rate, slope_rate : float
        How log M and log S follow log Q.
    value_noise, slope_noise : float
        Of f^2 and f'^2.
    gain_noise : float
        Of f'^2 g^2, g a standard normal number.
    covariance : float
        Of f^2 and f'^2, with or without g^2.
    """

    value: float
    value_rate: float
    value_noise: float
    slope: float
    slope_rate: float
    slope_noise: float
    gain_noise: float
    covariance: float


def _compute(f: Activation, log_q: float, spread: float, sphere: float) -> LayerLaw:
    """Compute a `LayerLaw`.

    Parameters
    ----------
    f : Activation
    log_q : float
        Logarithm of the mean of Q.
    spread : float
        Variance of log Q.
    sphere : float
        Half of what the variance of the mean of z^2 lacks, relative to Q^2: 1/n where the n numbers z lie on
        a sphere. M and S are then those of normal numbers less ``sphere * Q^2`` times their second
        derivatives.
    """
    std = max(np.sqrt(spread), _LEAST_SPREAD)
    nodes = std * _SCORES
    nodes -= _log_mean(nodes)
    value, value4, slope, slope4, product = _log_moments(f, log_q + nodes)

    def rate(logs: Floats) -> float:
        found = float(np.nan_to_num(_WEIGHTS @ (_SCORES * logs) / std, posinf=0.0, neginf=0.0))
        return found if abs(found) > _ROUNDING else 0.0

    def mean(logs: Floats) -> float:
        if not sphere:
            return _log_mean(logs)
        curvature = _WEIGHTS @ ((_SCORES**2 - 1) * logs) / std**2
        return _log_mean(logs) - sphere * float(np.nan_to_num(curvature + rate(logs) ** 2 - rate(logs)))

    def noise(fourth: Floats, square: Floats, factor: float = 1.0) -> float:
        found = np.nan_to_num(factor * np.exp(_log_mean(fourth) - _log_mean(square)) - 1)
        return float(found) if abs(found) > _ROUNDING else 0.0

    return LayerLaw(
        value=mean(value),
        value_rate=rate(value),
        value_noise=noise(value4, 2 * value),
        slope=mean(slope),
        slope_rate=rate(slope),
        slope_noise=noise(slope4, 2 * slope),
        gain_noise=noise(slope4, 2 * slope, 3.0),  # E[g^4] = 3
        covariance=noise(product, value + slope),
    )


layer_law = lru_cache(maxsize=1024)(_compute)


def _log_mean(logs: Floats) -> float:
    """Give the logarithm of the mean over the nodes."""
    return float(np.logaddexp.reduce(np.log(_WEIGHTS) + logs))


def _log_moments(f: Activation, log_q: Floats) -> Floats:
    """Give the logarithms of E[f^2], E[f^4], E[f'^2], E[f'^4] and E[f^2 f'^2]: (5, rows)."""
    inside = np.clip(log_q, *_LOG_RANGE)
    logs = _log_integrals(f, inside)
    beyond = log_q - inside
    if beyond.any():
        side = np.sign(beyond)
        powers = np.round((logs - _log_integrals(f, inside - side)) * side, 6)
        logs = logs + np.where((powers == 0) | (beyond == 0), 0.0, powers * beyond)
    return logs


def _log_integrals(f: Activation, log_q: Floats) -> Floats:
    def integrand(u: Floats, _: object) -> tuple[Floats, Floats]:
        value, slope, error = f.value_and_slope(u)
        v, s = value**2, slope**2
        largest_v, largest_s = largest(v), largest(s)
        doubt = (2 * np.sqrt(largest_s) + error) * error  # of s
        exact = np.zeros_like(doubt)
        doubts = np.stack([exact, exact, doubt, (2 * largest_s + doubt) * doubt, largest_v * doubt])
        return np.stack([v, v * v, s, s * s, v * s]), doubts

    return np.log(integrate(integrand, np.exp(log_q / 2), f.splits))
