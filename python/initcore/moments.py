"""Moments of an activation f under Gaussians: all that mean-field theory asks of it.

Notation: u ~ N(0, q), with u = sqrt(q) z; u1 and u2 are two such, of correlation c. Arguments are arrays
of one axis, the rows of the quadrature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .quadrature import EPS, LANDMARKS, Floats, integrate

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from .activations import Activation

# The limit q -> 0 is taken at _SMALL, or where differences of values are small beside f(0), at _SMALL_STEP.
_SMALL, _SMALL_STEP = 1e-24, 1e-9


def first_moment(f: Activation, q: Floats) -> Floats:
    """Give ``E[f(u)]``."""
    return _expectation(f, q, lambda value: value)


def second_moment(f: Activation, q: Floats) -> Floats:
    """Give ``E[f(u)^2]``."""
    return _expectation(f, q, np.square)


def _expectation(f: Activation, q: Floats, of: Callable[[Floats], Floats]) -> Floats:
    """Give the expectation of a function of f(u)."""

    def integrand(u: Floats, _: object) -> tuple[Floats, float]:
        return of(f.value(u))[None], 0.0

    expected: Floats = integrate(integrand, _std(q), f.splits)[0]
    return expected


def slope_moment(f: Activation, q: Floats) -> Floats:
    """Give ``E[f'(u)^2]``; infinite where f jumps."""

    def integrand(u: Floats, _: object) -> tuple[Floats, Floats]:
        _, slope, error = f.value_and_slope(u)
        doubt = (2 * _largest(slope) + error) * error
        return slope[None] ** 2, doubt[None]

    std = _std(q, _SMALL if f.has_slope or f.origin == 0 else _SMALL_STEP)
    expected: Floats = integrate(integrand, std, f.splits)[0]
    return expected


def second_moment_and_rate(f: Activation, q: Floats) -> tuple[Floats, Floats]:
    """Give ``M = E[f(u)^2]`` and ``dM/dq``.

    By Stein's lemma ``dM/dq = E[f(u)^2 (z^2 - 1)] / (2 q)``: no derivative of f, which may jump. Taking
    f(0)^2 away, whose part is zero, keeps the digits for small q.
    """
    std = _std(q, _SMALL if f.origin == 0 else _SMALL_STEP)

    def integrand(u: Floats, row: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
        square, weight = f.value(u) ** 2, (u / std[row, None]) ** 2 - 1
        values = np.stack([square, (square - f.origin**2) * weight])
        return values, _rounding(_largest(square) * _largest(weight))

    moment, rate = integrate(integrand, std, f.splits)
    return moment, rate / (2 * std**2)


def pair_moment_and_rate(f: Activation, q: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Give ``P = E[f(u1) f(u2)]`` and ``dP/dc``, for c from -1 to 1.

    Close to +-1 (but not there), dP/dc has an error of about ``1e-15 / (1 - c^2)``.
    """
    moment, rate = np.empty_like(q), np.empty_like(q)
    for rows, compute in [(np.abs(c) == 1, _one_gaussian), (np.abs(c) < 1, _two_gaussians)]:
        if rows.any():
            moment[rows], rate[rows] = compute(f, np.maximum(q[rows], _SMALL), c[rows])
    return moment, rate


def _one_gaussian(f: Activation, q: Floats, c: Floats) -> Floats:
    """c: +-1. Then ``u2 = c u1`` and ``dP/dc = q E[f'(u1) f'(u2)]``."""

    def integrand(u: Floats, row: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
        (value, slope, error), (other, slope_there, error_there) = (
            f.value_and_slope(x) for x in (u, c[row, None] * u)
        )
        doubt = error * (_largest(slope_there) + error_there) + error_there * _largest(slope)
        values = np.stack([value * other, q[row, None] * slope * slope_there])
        return values, np.stack([np.zeros_like(doubt), q[row] * doubt])

    return integrate(integrand, np.sqrt(q), f.splits)


def _two_gaussians(f: Activation, q: Floats, c: Floats) -> Floats:
    """-1 < c < 1.

    The inner expectation is that over u2 given u1, which is N(c u1, s^2 q) with s^2 = 1 - c^2. With z1
    and z2 standard and ``u2 = sqrt(q) (c z1 + s z2)``, Stein's lemma gives
    ``dP/dc = E[f(u1) f(u2) (z1 z2 + c/s (1 - z2^2))] / s``: again no derivative of f, and again what
    contributes nothing, f(c u1), is taken away.
    """
    std, s = np.sqrt(q), np.sqrt((1 - c) * (1 + c))
    spread = np.sqrt(_expectation(f, q, lambda value: (value - f.origin) ** 2))

    def outer(u: Floats, row: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
        # One for each inner expectation.
        root, ci, si, floor = (np.repeat(x[row], u.shape[1]) for x in (std, c, s, spread))
        z1, mean = u.ravel() / root, ci * u.ravel()
        center = f.value(mean)
        floor = floor * np.exp(z1**2 / 4)  # the farther out, the less it weighs

        def inner(t: Floats, row: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
            u = mean[row, None] + t  # rounded, and f(u) with it as far as f is steep
            value = f.value(u)
            steepness = np.ptp(value, axis=1) / (t[:, -1] - t[:, 0])
            s, z = si[row, None], t / (si * root)[row, None]
            weight = (z1[row, None] * z + (ci[row, None] / s) * (1 - z * z)) / s
            values = np.stack([value, (value - center[row, None]) * weight])
            return values, _rounding((_largest(value) + _largest(u) * steepness) * _largest(weight))

        value = f.value(u)
        expected = integrate(inner, si * root, f.splits, mean=mean, floor=floor).reshape(2, *u.shape)
        size = _largest(value) * (1 + _largest(u) / std[row]) / s[row] ** 2
        return value * expected, _rounding((_largest(value) + spread[row]) * size)

    # As c -> +-1, the inner expectation follows the kinks of f ever closer, within s sqrt(q): panels there.
    levels = np.minimum(s[:, None] * 8.0 ** np.arange(-np.log2(4 * s.min()) // 3 + 1), 0.5)
    distances = std[:, None] * np.concatenate([-levels, levels], axis=1)
    splits = np.concatenate([LANDMARKS, f.splits]) + distances[..., None]
    return integrate(outer, std, splits.reshape(q.size, -1), floor=spread**2)


def _std(q: Floats, smallest: float = _SMALL) -> Floats:
    """Give sqrt(q), or where the limit q -> 0 is wanted, something small."""
    return np.sqrt(np.maximum(q, smallest))


def _largest(values: Floats) -> Floats:
    """Give the largest size inside each panel: (panels, nodes) -> (panels,)."""
    largest: Floats = np.abs(values[:, 1:-1]).max(axis=1)
    return largest


def _rounding(size: Floats) -> Floats:
    """Give the doubt of two integrands, the second a difference of numbers of this size: (2, panels)."""
    return np.stack([np.zeros_like(size), 8 * EPS * size])
