"""Hermite series of an activation: what it does to two Gaussians of any correlation, as power series.

With ``z = sqrt(Q) u`` and the orthonormal Hermite polynomials, of coefficients h_k for a function h of z, it
is ``E[h(z_a) g(z_b)] = sum_k h_k g_k c^k`` for two z of correlation c (Daniely, Frostig & Singer, Toward
deeper understanding of neural networks, NeurIPS 2016). A few dozen terms are enough for what has error bars;
to the last digit, see `maps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from initcore.quadrature import NODES, WEIGHTS, Floats

if TYPE_CHECKING:
    from initcore.activations import Activation

_DEGREE = 48  # of the Hermite series; what is left counts as the power c^_TAIL
_TAIL = 64
_NEAR = 0.05  # of a correlation, the distance from 1 within which the series is not used

# The axis of u: panels with Gauss-Legendre nodes, and both ends, which have no weight.
_EDGES = np.linspace(-8.0, 8.0, 49)
_HALF = (_EDGES[1] - _EDGES[0]) / 2
_U = (_EDGES[:-1] + _HALF)[:, None] + _HALF * NODES  # (panels, nodes)
AXIS = _U[:, 1:-1].ravel()
DENSITY = np.tile(WEIGHTS * _HALF, len(_U)) * np.exp(-(AXIS**2) / 2) / np.sqrt(2 * np.pi)
DENSITY /= DENSITY.sum()
LOG_RANGE = np.log([1e-100, 1e100])  # of Q; beyond, there is nothing to tell apart


def _hermite(u: Floats) -> Floats:
    """Give the orthonormal Hermite polynomials up to `_DEGREE`: (degrees, *u.shape)."""
    rows = [np.ones_like(u), u]
    for k in range(2, _DEGREE + 1):
        rows.append((u * rows[-1] - np.sqrt(k - 1) * rows[-2]) / np.sqrt(k))
    return np.stack(rows)


_POLYNOMIALS = _hermite(AXIS)
PROJECT = (_POLYNOMIALS * DENSITY).T.copy()  # values on the axis -> coefficients
_POWERS = np.arange(_DEGREE + 1)


def power_series(c: Floats) -> Floats:
    """Give c^k, (degrees + 1, *c.shape), the last for what is left of a series."""
    rows = np.empty((_DEGREE + 2, *c.shape))
    rows[0] = 1.0
    for k in range(1, _DEGREE + 1):
        np.multiply(rows[k - 1], c, out=rows[k])
    rows[-1] = np.abs(c) ** _TAIL
    return rows


def values_and_slopes(f: Activation, log_q: Floats) -> tuple[Floats, Floats]:
    """Give f and its slope at z = sqrt(Q) u: (rows, axis) each."""
    roots = np.exp(np.clip(log_q, *LOG_RANGE) / 2) * (log_q > -np.inf)
    z = roots[:, None, None] * _U
    value, slope, _ = f.value_and_slope(z.reshape(-1, NODES.size))
    inner = slice(1, -1)  # without the ends
    return (
        value.reshape(z.shape)[..., inner].reshape(len(roots), -1),
        slope.reshape(z.shape)[..., inner].reshape(len(roots), -1),
    )


@dataclass(frozen=True, eq=False)
class Series:
    """Power series in the correlation of two inputs, of what f does to them; f is scaled to E[f^2] = 1."""

    powers: Floats  # Hermite coefficients of f, f^2, f^3, f^4: (4, degrees)
    # Products of such coefficients, and what is left: (degrees + 1,)
    both: Floats  # E[f_a f_b]
    squares: Floats  # E[f_a^2 f_b^2]
    cubes: Floats  # E[f_a^3 f_b]
    square_noise: Floats  # n Cov of mean f_a^2 and mean f_b^2
    kept: float  # how much of their lengths weights keep, 1 for rotations

    @classmethod
    def of(cls, f: Activation, log_q: float, kept: float) -> Series:
        """Expand f for z ~ N(0, Q)."""
        value = values_and_slopes(f, np.array([log_q]))[0][0]
        value = value / np.sqrt(value**2 @ DENSITY)
        value = np.nan_to_num(value)
        functions = np.cumprod(np.broadcast_to(value, (4, value.size)), axis=0)
        found = functions @ PROJECT
        first, second, third, _ = found
        fourth = float(functions[3] @ DENSITY)

        def product(a: Floats, b: Floats, whole: float) -> Floats:
            terms = a * b
            return np.append(terms, whole - terms.sum())

        squares = product(second, second, fourth)
        square_noise = squares.copy()
        square_noise[0] = 0.0
        square_noise[2] *= 1 - kept  # what goes with z_a z_b
        both = product(first, first, float(functions[1] @ DENSITY))
        return cls(found, both, squares, product(third, first, fourth), square_noise, kept)

    def slope(self, rho: float) -> float:
        """Give the slope of the correlation map."""
        c = min(max(rho, -1.0), 1.0)
        terms = self.both[1:-1] * _POWERS[1:] * c ** (_POWERS[1:] - 1.0)
        return float(terms.sum() + self.both[-1] * _TAIL * abs(c) ** (_TAIL - 1))

    def common_noise(self, rho: float, batch: int) -> float:
        """Give n times the variance of the mean cosine of all pairs, at equal correlations rho."""
        near = min((1 - rho) / _NEAR, 1.0)  # close to 1, the noise of a cosine goes with its distance from 1
        rho = min(max(rho, 0.0), 1 - _NEAR)
        root = np.sqrt(rho) ** _POWERS
        first, second, third, fourth = (self.powers * root) @ _POLYNOMIALS  # means, given the factor s
        c = float(first**2 @ DENSITY)
        shared = (first**2 - c * second) ** 2
        # Pairs that share an input, of two 4 in B, share what is its own: Var(f_a first - c f_a^2 / 2 | s).
        own = first**2 * (second - first**2) - c * first * (third - first * second)
        own += c**2 / 4 * (fourth - second**2)
        still = 2 * rho**2 * (1 - rho) ** 2  # what rotations do not do
        found = float((shared + 4 / batch * np.maximum(own, 0.0)) @ DENSITY)
        return near**2 * max(found - self.kept * self.slope(rho) ** 2 * still, 0.0)

    def _moments(self, powers: Floats) -> tuple[Floats, Floats, Floats]:
        """Give the cosine, and n times its variance and its shift."""
        z = powers[1]
        degrees = np.append(_POWERS, _TAIL).astype(float)
        down, twice = self.both * degrees, self.both * degrees * (degrees - 1)
        c, squares, cubes = np.tensordot(np.stack([self.both, self.squares, self.cubes]), powers, 1)
        slope = np.tensordot(down[1:-1], powers[:-2], 1) + down[-1] * powers[-1]
        bend = np.tensordot(twice[2:-1], powers[:-3], 1) + twice[-1] * powers[-1]
        fourth = float(self.squares.sum())
        noise = squares - 2 * c * cubes + c**2 / 2 * (fourth + squares)
        shift = c * (3 * fourth + squares) / 4 - cubes
        # Rotations keep the cosines of what they are given.
        still = (1 - z**2) ** 2
        noise = np.maximum(noise - self.kept * slope**2 * still, 0.0)
        return c, noise, shift + self.kept * (slope * z * (1 - z**2) / 2 - bend * still / 2)

    def carry(self, powers: Floats, n: int) -> tuple[Floats, Floats]:
        """Give cosines of the outputs and their variances, to the order 1/n.

        powers: of the correlations of z, (degrees + 1, 2, pairs), at two places that stand for their law. A
        cosine is a mean of n products over the roots of two means, and all three scatter.
        """
        z = powers[1]
        c, noise, shift = self._moments(powers)
        *_, edge_noise, edge_shift = self._moments(power_series(np.array([1 - _NEAR])))
        near = (1 - z) / _NEAR
        noise = np.where(near < 1, edge_noise * near**2, noise)
        shift = np.where(near < 1, edge_shift * near, shift)
        mean = np.clip((c + shift / n).mean(axis=0), -1.0, 1.0)
        return mean, c.var(axis=0) + noise.mean(axis=0) / n
