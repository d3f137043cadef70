"""Moments of an activation f under Gaussians: all that mean-field theory asks of it.

Notation: u ~ N(0, q), with u = sqrt(q) z; u1 and u2 are two such, of correlation c. Arguments are arrays
of one axis, the rows of the quadrature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .quadrature import EPS, LANDMARKS, Floats, integrate

if TYPE_CHECKING:
    import numpy.typing as npt

    from .activations import Activation

_SMALL = 1e-24  # where the limit q -> 0 is taken


def first_moment(f: Activation, q: Floats) -> Floats:
    """Give ``E[f(u)]``."""
    return _power_moment(f, q, 1, 0.0)


def second_moment(f: Activation, q: Floats) -> Floats:
    """Give ``E[f(u)^2]``."""
    return _power_moment(f, q, 2, 0.0)


def _power_moment(f: Activation, q: Floats, power: int, around: float) -> Floats:
    """Give ``E[(f(u) - around)^power]``."""

    def integrand(u: Floats, _: object) -> tuple[Floats, Floats]:
        value = f.value(u) - around
        doubt = _rounding(power * (f.scale + abs(around)) * largest(value) ** (power - 1))
        return value[None] ** power, doubt

    expected = integrate(integrand, _std(q, _SMALL), f.splits)[0]
    return np.where(q == 0, (f.origin - around) ** power, expected)


def slope_moment(f: Activation, q: Floats) -> Floats:
    """Give ``E[f'(u)^2]``; infinite where f jumps."""

    def integrand(u: Floats, _: object) -> tuple[Floats, Floats]:
        _, slope, error = f.value_and_slope(u)
        doubt = (2 * largest(slope) + error) * error
        return slope[None] ** 2, doubt[None]

    std = _std(q, _SMALL if f.has_slope else _step(f))
    expected: Floats = integrate(integrand, std, f.splits)[0]
    return expected


def second_moment_and_rate(f: Activation, q: Floats) -> tuple[Floats, Floats]:
    """Give ``M = E[f(u)^2]`` and ``dM/dq``.

    By Stein's lemma ``dM/dq = E[f(u)^2 (z^2 - 1)] / (2 q)``: no derivative of f, which may jump. Taking
    f(0)^2 away, whose part is zero, keeps the digits for small q.
    """
    std = _std(q, _SMALL if f.origin == f.scale == 0 else _step(f))

    def integrand(u: Floats, row: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
        value, weight = f.value(u), (u / std[row, None]) ** 2 - 1
        square, size = value**2, largest(value)
        values = np.stack([square, (square - f.origin**2) * weight])
        return values, _rounding(2 * f.scale * size, size * (size + 2 * f.scale) * largest(weight))

    moment, rate = integrate(integrand, std, f.splits)
    return moment, rate / (2 * std**2)


def pair_moment_and_rate(f: Activation, q: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Give ``P = E[f(u1) f(u2)]`` and ``dP/dc``, for c from -1 to 1.

    Close to +-1 (but not there), dP/dc has an error of about ``1e-15 / (1 - c^2)``.
    """
    moment, rate = np.empty_like(q), np.empty_like(q)
    for rows, compute in [(np.abs(c) == 1, _one_gaussian), (np.abs(c) < 1, _two_gaussians)]:
        if rows.any():
            moment[rows], rate[rows] = compute(f, np.where(q == 0, _SMALL, q)[rows], c[rows])
    return moment, rate


def _one_gaussian(f: Activation, q: Floats, c: Floats) -> Floats:
    """c: +-1. Then ``u2 = c u1`` and ``dP/dc = q E[f'(u1) f'(u2)]``."""

    def integrand(u: Floats, row: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
        (value, slope, error), (other, slope_there, error_there) = (
            f.value_and_slope(x) for x in (u, c[row, None] * u)
        )
        doubt = error * (largest(slope_there) + error_there) + error_there * largest(slope)
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
    spread = np.sqrt(_power_moment(f, q, 2, f.origin))

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
            size = largest(value) + f.scale + largest(u) * steepness
            return values, _rounding(np.full(len(t), f.scale), size * largest(weight))

        value = f.value(u)
        expected = integrate(inner, si * root, f.splits, mean=mean, floor=floor).reshape(2, *u.shape)
        size = largest(value) + spread[row]
        weight = (1 + largest(u) / std[row]) / s[row] ** 2
        return value * expected, _rounding(2 * f.scale * size, size * (size + f.scale) * weight)

    # As c -> +-1, the inner expectation follows the kinks of f ever closer, within s sqrt(q): panels there.
    levels = np.minimum(s[:, None] * 8.0 ** np.arange(-np.log2(4 * s.min()) // 3 + 1), 0.5)
    distances = std[:, None] * np.concatenate([-levels, levels], axis=1)
    splits = np.concatenate([LANDMARKS, f.splits]) + distances[..., None]
    return integrate(outer, std, splits.reshape(q.size, -1), floor=spread**2)


def _step(f: Activation) -> float:
    """Give the q where the limit is taken of what needs differences of values: these are rounded."""
    return 1e-16 if f.origin == 0 else 1e-9


def _std(q: Floats, smallest: float) -> Floats:
    """Give sqrt(q), or for the limit q -> 0, that of something small."""
    return np.sqrt(np.where(q == 0, smallest, q))


def largest(values: Floats) -> Floats:
    """Give the largest size inside each panel: (panels, nodes) -> (panels,)."""
    found: Floats = np.abs(values[:, 1:-1]).max(axis=1)
    return found


def _rounding(*sizes: Floats) -> Floats:
    """Give the doubt of integrands whose rounding is that of numbers of these sizes: (integrands, panels)."""
    return 8 * EPS * np.stack(sizes)
