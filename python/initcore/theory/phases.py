"""Where signals end up in a deep network, and how soon: fixed points, phases, depth scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore.activations import as_activation
from initcore.moments import pair_moment_and_rate, second_moment, second_moment_and_rate, slope_moment
from initcore.quadrature import EPS

from .maps import Real, non_negative, plain

if TYPE_CHECKING:
    import numpy.typing as npt

    from initcore.activations import Activation, ActivationLike
    from initcore.quadrature import Floats

_CRITICAL = 1e-9  # as far from 1 as the slope at a critical point may come out
_DECADES, _STEPS = 12, 4  # how far from its start a signal is followed, in how many steps each


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Where the length map takes a signal, layer after layer.

    Attributes
    ----------
    q : float or ndarray
        The mean square of the inputs in deep layers, from 0 to infinity.
    slope : float or ndarray
        The slope of the length map there; a limit where q is 0 or infinite.
    chi : float or ndarray
        chi_1 there, the growth of squared gradients from a layer to the one below; again a limit.
    stable : bool or ndarray
        Whether q is finite and small deviations from it die out, ``abs(slope) < 1``.
    kind : str or ndarray
        "finite"; "zero" where signals vanish; "infinite" where they grow for ever; "every" where the map
        leaves all signals as they are, as for relu with ``sigma_w2 = 2`` and no bias: q is then the start.
    """

    q: Real
    slope: Real
    chi: Real
    stable: Any
    kind: Any


def fixed_point(
    activation: ActivationLike, sigma_w2: npt.ArrayLike, sigma_b2: npt.ArrayLike = 0.0, *, start: float = 1.0
) -> FixedPoint:
    """Give the fixed point of the length map that a signal comes to.

    Parameters
    ----------
    activation : str, callable or Activation
        As in `length_map`.
    sigma_w2, sigma_b2 : array_like
        Variance of the weights, times fan_in, and of the biases.
    start : float
        The mean square of the first layer's inputs. Some activations have several fixed points; this is the
        next one in the direction in which the map moves `start`.

    Returns
    -------
    FixedPoint

    Examples
    --------
    >>> point = ic.theory.fixed_point("relu", 1.0, 0.25)
    >>> round(point.q, 12), point.stable, point.kind
    (0.5, True, 'finite')
    """
    _, point = _settle(as_activation(activation), sigma_w2, sigma_b2, start)
    return FixedPoint(*(plain(x) for x in (point.q, point.slope, point.chi, point.stable, point.kind)))


def _settle(
    f: Activation, sigma_w2: npt.ArrayLike, sigma_b2: npt.ArrayLike, start: float
) -> tuple[tuple[Floats, Floats], FixedPoint]:
    """Give the variances as arrays of one shape, and the fixed points for them, of arrays of that shape."""
    if not 1e-100 < start < 1e100:
        msg = f"start must be positive and finite, got {start!r}"
        raise ValueError(msg)
    w, b = np.broadcast_arrays(non_negative("sigma_w2", sigma_w2), non_negative("sigma_b2", sigma_b2))
    q, limit, kind = _walk(f, w.ravel(), b.ravel(), start)
    slope = w.ravel() * second_moment_and_rate(f, limit)[1]
    chi = w.ravel() * slope_moment(f, limit)
    stable = np.isfinite(q) & (np.abs(slope) < 1 - _CRITICAL)
    return (w, b), FixedPoint(*(x.reshape(w.shape) for x in (q, slope, chi, stable, kind)))


def _walk(f: Activation, w: Floats, b: Floats, start: float) -> tuple[Floats, Floats, npt.NDArray[np.str_]]:
    """Walk from the start until the map turns back, then close in on the fixed point.

    w, b: (rows,). Gives the fixed points, where to take limits at them, and their kinds; all (rows,).
    """

    def excess(q: Floats) -> Floats:
        return w * second_moment(f, np.atleast_1d(q)) + b - q

    def fixed(q: float) -> npt.NDArray[np.bool_]:
        return np.abs(excess(np.full(1, q))) <= 1e-12 * q

    q, kind = np.full(w.size, start), np.full(w.size, "finite", dtype="<U8")
    kind[fixed(start) & (b == 0) & fixed(start / 9) & fixed(start * 9)] = "every"
    direction = np.where(fixed(start), 0.0, np.sign(excess(np.full(1, start))))
    # The map turns back between q and ahead.
    ahead = q.copy()
    for sign in (-1, 1):
        walking = direction == sign
        for i in range(1, _DECADES * _STEPS + 1):
            if not walking.any():
                break
            there = np.full(1, start * 10.0 ** (sign * i / _STEPS))
            q[walking] = ahead[walking]
            ahead[walking] = there
            walking &= np.sign(excess(there)) == sign
        kind[walking] = "infinite" if sign > 0 else "zero"
    # Down there the map is flat, if it does not start from 0.
    floor = w * f.origin**2 + b
    vanished = kind == "zero"
    q[vanished], kind[vanished & (floor > 0)] = floor[vanished], "finite"

    closing = (direction != 0) & (kind == "finite") & ~vanished
    q[closing] = _close_in(f, w[closing], b[closing], q[closing], ahead[closing])
    limit = np.where(kind == "infinite", ahead, q)
    return np.where(kind == "infinite", np.inf, q), limit, kind


def _close_in(f: Activation, w: Floats, b: Floats, q: Floats, ahead: Floats) -> Floats:
    """Find the roots of ``w E[f^2] + b - q`` between q and ahead: Newton's method, held by bisection."""
    low, high = np.minimum(q, ahead), np.maximum(q, ahead)
    rising = q < ahead  # the sign of the excess at q
    q = np.sqrt(low * high)
    active = np.arange(q.size)
    for _ in range(100):
        if not active.size:
            break
        here = q[active]
        moment, rate = second_moment_and_rate(f, here)
        excess = w[active] * moment + b[active] - here
        before = (excess > 0) == rising[active]  # on the same side of the root as the start
        up = before == rising[active]
        low[active], high[active] = np.where(up, here, low[active]), np.where(up, high[active], here)
        with np.errstate(divide="ignore", invalid="ignore"):
            there = here - excess / (w[active] * rate - 1)
        inside = (there >= low[active]) & (there <= high[active])
        q[active] = np.where(inside, there, np.sqrt(low[active] * high[active]))
        moved = np.abs(q[active] - here) > 1e-15 * here
        active = active[moved & (high[active] - low[active] > 1e-15 * here) & (excess != 0)]
    return q


def phase(
    activation: ActivationLike,
    sigma_w2: npt.ArrayLike,
    sigma_b2: npt.ArrayLike = 0.0,
    *,
    start: float = 1.0,
    tol: float = _CRITICAL,
) -> Any:
    """Tell in which phase a deep network is.

    Parameters
    ----------
    activation, sigma_w2, sigma_b2, start
        As in `fixed_point`.
    tol : float
        How far from 1 a critical chi_1 may be.

    Returns
    -------
    str or ndarray of str
        "ordered" where ``chi_1 < 1`` at the fixed point: any two signals become alike and gradients vanish;
        "chaotic" where ``chi_1 > 1``: similar signals part and gradients explode; "critical" in between.
    """
    chi = _settle(as_activation(activation), sigma_w2, sigma_b2, start)[1].chi
    names = np.select([chi < 1 - tol, chi > 1 + tol], ["ordered", "chaotic"], "critical")
    return plain(names)


def depth_scales(
    activation: ActivationLike, sigma_w2: npt.ArrayLike, sigma_b2: npt.ArrayLike = 0.0, *, start: float = 1.0
) -> tuple[Real, Real]:
    """Give the depths over which signals forget their length, and their correlation (Schoenholz et al. 2017).

    Deviations from the fixed points shrink like ``exp(-layer / xi)``. Networks can be trained up to a depth
    of a few xi_c.

    Parameters
    ----------
    activation, sigma_w2, sigma_b2, start
        As in `fixed_point`.

    Returns
    -------
    xi_q, xi_c : float or ndarray
        In layers. ``xi_q = -1 / log(abs(slope))`` of the length map at its fixed point.
        ``xi_c = -1 / log(chi_1)`` in the ordered phase; in the chaotic phase the same with the slope of the
        correlation map at its stable fixed point. Infinite at criticality; not a number where signals have no
        finite length to settle at, nor xi_q where that length is unstable.
    """
    f = as_activation(activation)
    variances, point = _settle(f, sigma_w2, sigma_b2, start)
    _, slope = _meet(f, *variances, point)
    stays = np.abs(point.slope) <= 1 + _CRITICAL
    xi_q = np.where(np.isfinite(point.q) & stays, _depth(point.slope), np.nan)
    return plain(xi_q), plain(_depth(slope))


def _depth(slope: Floats) -> Floats:
    """Give the layers in which a deviation shrinks by e."""
    size = np.where(np.abs(np.abs(slope) - 1) <= _CRITICAL, 1.0, np.abs(slope))
    with np.errstate(divide="ignore"):
        return np.abs(1 / np.log(size))


def correlation_fixed_point(
    activation: ActivationLike, sigma_w2: npt.ArrayLike, sigma_b2: npt.ArrayLike = 0.0, *, start: float = 1.0
) -> tuple[Real, Real]:
    """Give the correlation that any two signals come to in a deep network, and the map's slope there.

    Parameters
    ----------
    activation, sigma_w2, sigma_b2, start
        As in `fixed_point`.

    Returns
    -------
    c, slope : float or ndarray
        Correlation 1 and chi_1 in the ordered phase and at criticality; less than 1 in the chaotic phase,
        with the slope of the correlation map. Not a number where signals have no finite length to settle at.
    """
    f = as_activation(activation)
    variances, point = _settle(f, sigma_w2, sigma_b2, start)
    c, slope = _meet(f, *variances, point)
    return plain(c), plain(slope)


def _meet(f: Activation, w: Floats, b: Floats, point: FixedPoint) -> tuple[Floats, Floats]:
    """Give the fixed point of the correlation map at those of the length map, and its slope there.

    The map is a power series in c without negative terms (Daniely, Frostig & Singer, NeurIPS 2016), so it is
    convex from 0 to 1. In the chaotic phase it crosses the diagonal once before 1, and Newton's method climbs
    there from 0 without overshooting.
    """
    c, slope = np.ones(w.size), point.chi.ravel().copy()
    w, b, q = w.ravel(), b.ravel(), point.q.ravel()
    active = np.flatnonzero((slope > 1 + _CRITICAL) & np.isfinite(q))
    c[active] = 0.0
    for _ in range(100):
        if not active.size:
            break
        moment, rate = pair_moment_and_rate(f, q[active], c[active])
        slope[active] = w[active] * rate / q[active]
        excess = (w[active] * moment + b[active]) / q[active] - c[active]
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.maximum(excess / (1 - slope[active]), 0.0)
        step = np.where(slope[active] < 1, step, 0.0)  # rounding at the top
        c[active] = np.minimum(c[active] + step, 1 - EPS)
        active = active[step > 1e-14]
    c[~np.isfinite(q)] = slope[~np.isfinite(q)] = np.nan
    return c.reshape(point.q.shape), slope.reshape(point.q.shape)
