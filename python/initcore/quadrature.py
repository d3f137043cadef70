"""Gaussian expectations to nearly the last digit, also of functions with kinks and jumps.

``E[g(mean + t)]``, ``t ~ N(0, std^2)``, is a sum of Gauss-Legendre rules on panels of the t axis::

    panels <- edges at std * EDGES, and where mean + t is 0, +-1, +-4, ..., or a kink that the caller knows
    while there are panels:
        h <- g(mean + t) * density(t) at the nodes of all panels, in one call
        a panel is done where, beside the whole, the last Legendre coefficients of h are nothing,
            and its ends lie on the polynomial through the inner nodes (else a jump hides in the gap)
        bisect the others

A kink or a jump is found by bisection: the panels around it halve until they no longer matter. Many Gaussians
are done at once, each with panels of its own; a panel carries the number of its Gaussian, its `row`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.polynomial import legendre

Floats: TypeAlias = npt.NDArray[np.float64]

#: ``(t, row) -> (values, doubt)``.
#: t: (panels, `NODES.size`), the nodes of each panel, both its ends among them, as distances from the mean;
#: row: (panels,); values: (integrands, panels, nodes), NaN at an end where they belong to the other side;
#: doubt: (integrands, panels), how far the values may be off beyond their own rounding, or 0.
Integrand: TypeAlias = Callable[[Floats, npt.NDArray[np.intp]], tuple[Floats, Floats | float]]

EPS = float(np.finfo(np.float64).eps)
ORDER = 20
_GAUSS, WEIGHTS = legendre.leggauss(ORDER)
#: The Gauss-Legendre nodes on [-1, 1], and both ends, which have no weight.
NODES: Floats = np.concatenate([[-1.0], _GAUSS, [1.0]])
# Values at the inner nodes -> Legendre coefficients; their last two; their sums, at both ends.
_COEFFICIENTS = legendre.legvander(_GAUSS, ORDER - 1) * WEIGHTS[:, None] * (np.arange(ORDER) + 0.5)
_LAST: Floats = _COEFFICIENTS[:, -2:]
_AT_ENDS: Floats = _COEFFICIENTS @ legendre.legvander(NODES[[0, -1]], ORDER - 1).T
_GAP = float(1 - _GAUSS[-1])  # between an end and its neighbour

# In standard deviations. Beyond 12, 1e-31 of the probability is left: nothing even for (z^4)^2.
_EDGES = np.array([-12.0, -7.0, -4.0, -2.0, 0.0, 2.0, 4.0, 7.0, 12.0])
_FAR = 3.0  # times as far, where something grows fast or begins late; there the density is 1e-281
# What bends does so near 0, at a scale of about 1; a wide Gaussian needs panels there to see it.
LANDMARKS = np.concatenate([-(4.0 ** np.arange(10, -1, -1)), [0.0], 4.0 ** np.arange(11)])

_TOLERANCE = 1e-14  # of a panel, relative to the whole
_ACCEPTABLE = 1e-11  # of all panels that bisection could not finish
_ROUNDS = 52  # of bisection; narrower panels hold few numbers
_CROWD = 1024  # panels of one row that are bisected at once; few kinks have two each
_BLOCK = 256  # rows at a time, to stay in cache


def differentiation_matrix(x: Floats) -> Floats:
    """Give the matrix D with ``D @ p(x) = p'(x)`` for polynomials p of degree below ``x.size``.

    In barycentric form, with the diagonal that makes the derivative of a constant exactly zero (Berrut &
    Trefethen, Barycentric Lagrange interpolation, SIAM Review 2004).
    """
    gaps = x[:, None] - x + np.eye(x.size)
    weights = 1 / gaps.prod(axis=1)
    matrix: Floats = weights / weights[:, None] / gaps
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


def integrate(
    integrand: Integrand,
    std: Floats,
    splits: Floats,
    *,
    mean: Floats | float = 0.0,
    floor: Floats | float = 0.0,
) -> Floats:
    """Compute the expectations of several integrands over several Gaussians.

    Parameters
    ----------
    integrand : Integrand
        ``(t, row) -> (values, doubt)``; see there.
    std : ndarray, (rows,)
        Of each Gaussian; positive.
    splits : ndarray, (splits,) or (rows, splits)
        Where the integrands may have kinks, as values of ``mean + t``.
    mean : ndarray, (rows,), optional
        Of each Gaussian.
    floor : ndarray, (rows,), optional
        Sizes beside which a smaller expectation may count as 0: errors are relative to these at least.

    Returns
    -------
    ndarray, (integrands, rows)
        ``inf`` where the integral grows without end as the panels around a point are halved.

    Raises
    ------
    ValueError
        A value is not finite, the integrand grows too fast for the Gaussian, or it is noise.
    """
    mean, floor = np.broadcast_to(mean, std.shape), np.broadcast_to(floor, std.shape)

    def block(first: int) -> Floats:
        part = slice(first, first + _BLOCK)
        splits_here = np.broadcast_to(splits, (std.size, splits.shape[-1]))[part]
        landmarks = np.concatenate([LANDMARKS - mean[part, None], splits_here - mean[part, None]], axis=1)
        return _integrate_block(lambda t, row: integrand(t, row + first), std[part], landmarks, floor[part])

    return np.concatenate([block(first) for first in range(0, max(std.size, 1), _BLOCK)], axis=1)


def _integrate_block(
    integrand: Integrand, std: Floats, landmarks: Floats, floor: Floats, reach: float = 1.0
) -> Floats:
    """Do what `integrate` does, for few rows. landmarks: (rows, landmarks), on the t axis."""
    rows = std.size
    edges = reach * std[:, None] * _EDGES  # (rows, edges)
    near = landmarks[:, (np.abs(landmarks) < edges[:, -1:]).any(axis=0)]
    near = np.clip(near, edges[:, :1], edges[:, -1:])  # what is out of reach gives no panel
    edges = np.sort(np.concatenate([edges, near], axis=1), axis=1)
    row, left = np.nonzero(edges[:, 1:] > edges[:, :-1])
    lower, upper = edges[row, left], edges[row, left + 1]
    outermost = np.stack([lower == edges[row, 0], upper == edges[row, -1]], axis=1)

    # Of the finished panels: the integral, and that of the absolute value.
    done, whole = np.zeros((1, rows)), floor[None]
    for rounds in range(_ROUNDS, -1, -1):
        half = (upper - lower) / 2
        t = (lower + half)[:, None] + half[:, None] * NODES
        t[:, 0], t[:, -1] = lower, upper
        scale = std[row]
        density = np.exp(-((t / scale[:, None]) ** 2) / 2) / np.sqrt(2 * np.pi)
        values, doubt = integrand(t, row)
        with np.errstate(over="ignore", invalid="ignore"):
            weighted = values * density * (half / scale)[:, None]
            ends, weighted = weighted[..., [0, -1]], weighted[..., 1:-1]
            part, size = weighted @ WEIGHTS, np.abs(weighted) @ WEIGHTS  # (integrands, panels)
            total = whole + _sum(size, row, rows)
        if not np.isfinite(total).all():
            msg = "the expectation overflows: the function grows too fast for this Gaussian"
            raise ValueError(msg)
        beside = np.nan_to_num(np.abs(weighted @ _AT_ENDS - ends)) * _GAP
        unsure = np.maximum(np.abs(weighted @ _LAST), beside).max(axis=-1)
        allowed = _TOLERANCE * total[:, row] + doubt * density.max(axis=1) * half / scale
        finished = (unsure <= allowed).all(axis=0)
        if rounds == _ROUNDS and (outermost * np.abs(ends) > _ACCEPTABLE * total[:, row, None]).any():
            msg = f"the function grows too fast: {12 * reach:g} standard deviations out, it still matters"
            if reach == _FAR:
                raise ValueError(msg)
            try:
                return _integrate_block(integrand, std, landmarks, floor, _FAR)
            except ValueError as error:
                raise ValueError(msg) from error
        done = done + _sum(part[:, finished], row[finished], rows)
        whole = whole + _sum(size[:, finished], row[finished], rows)
        lower, upper, row = lower[~finished], upper[~finished], row[~finished]
        if not row.size:
            return done
        if rounds and np.bincount(row).max() > _CROWD:
            msg = (
                f"the function cannot be resolved between {lower.min():.6g} and {upper.max():.6g}: "
                "is it random, noisy or computed in less than float64?"
            )
            raise ValueError(msg)
        if rounds:
            wide = upper - lower > 64 * EPS * np.maximum(np.abs(lower), np.abs(upper))
            middle = np.where(wide, lower + (upper - lower) / 2, upper)
            lower, upper = np.concatenate([lower, middle[wide]]), np.concatenate([middle, upper[wide]])
            row = np.concatenate([row, row[wide]])

    # What is left surrounds single points.
    size, unsure = _sum(size[:, ~finished], row, rows), _sum(unsure[:, ~finished], row, rows)
    endless = size > total / 2
    if (~endless & (unsure > _ACCEPTABLE * total)).any():
        msg = f"the function has a singularity near {lower[0]:.6g} that cannot be integrated"
        raise ValueError(msg)
    return np.where(endless, np.inf, done + _sum(part[:, ~finished], row, rows))


def _sum(values: Floats, row: npt.NDArray[np.intp], rows: int) -> Floats:
    """Add up what belongs to each row: (integrands, panels) -> (integrands, rows)."""
    return np.stack([np.bincount(row, v, rows) for v in values])
