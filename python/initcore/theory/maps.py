"""What one layer does to a signal: the length map, the correlation map, the growth of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from initcore.activations import as_activation
from initcore.moments import pair_moment_and_rate, second_moment, second_moment_and_rate, slope_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from initcore.activations import Activation, ActivationLike
    from initcore.quadrature import Floats

#: Numbers give a number, arrays an array.
Real: TypeAlias = Any


def length_map(
    activation: ActivationLike, q: npt.ArrayLike, sigma_w2: npt.ArrayLike, sigma_b2: npt.ArrayLike = 0.0
) -> Real:
    """Give the mean square of the next layer's inputs, ``sigma_w2 * E[f(u)^2] + sigma_b2``.

    Parameters
    ----------
    activation : str, callable or Activation
        The activation f: a built-in one by name, or any function of one real number.
    q : array_like
        Mean square of this layer's inputs u, 0 or more.
    sigma_w2, sigma_b2 : array_like
        Variance of the weights, times fan_in, and of the biases.

    Returns
    -------
    float or ndarray
    """
    q, w, b = non_negative("q", q), non_negative("sigma_w2", sigma_w2), non_negative("sigma_b2", sigma_b2)
    return plain(w * of_rows(second_moment, activation, q) + b)


def length_slope(activation: ActivationLike, q: npt.ArrayLike, sigma_w2: npt.ArrayLike) -> Real:
    """Give the slope of the length map, ``sigma_w2 * d/dq E[f(u)^2]``; parameters as in `length_map`."""
    q, w = non_negative("q", q), non_negative("sigma_w2", sigma_w2)
    return plain(w * of_rows(lambda f, q: second_moment_and_rate(f, q)[1], activation, q))


def chi(activation: ActivationLike, q: npt.ArrayLike, sigma_w2: npt.ArrayLike) -> Real:
    """Give chi_1, ``sigma_w2 * E[f'(u)^2]``: the growth of squared gradients per layer.

    At a fixed point of the length map it is the slope of the correlation map at c = 1, too. Parameters are as
    in `length_map`; an activation that jumps has an infinite chi_1.
    """
    q, w = non_negative("q", q), non_negative("sigma_w2", sigma_w2)
    return plain(w * of_rows(slope_moment, activation, q))


def critical(activation: ActivationLike, q: npt.ArrayLike = 1.0) -> tuple[Real, Real]:
    """Give the variances at which q is a fixed point and ``chi_1 = 1``: the edge of chaos.

    Parameters
    ----------
    activation : str, callable or Activation
        As in `length_map`.
    q : array_like
        The mean square that the layers' inputs are to keep.

    Returns
    -------
    sigma_w2, sigma_b2 : float or ndarray
        ``1 / E[f'(u)^2]`` and ``q - sigma_w2 * E[f(u)^2]``.

    Raises
    ------
    ValueError
        No such point: the bias would need a negative variance, or f is flat or jumps.

    Examples
    --------
    >>> [round(variance, 6) for variance in ic.theory.critical("gelu")]
    [2.1937, 0.067192]
    """
    f, q = as_activation(activation), non_negative("q", q)
    moment, slope = of_rows(second_moment, f, q), of_rows(slope_moment, f, q)
    if not (np.isfinite(slope) & (slope > 0)).all():
        what = "is flat" if (slope == 0).any() else "jumps"
        msg = f"{f.name} {what} under inputs of mean square {q}: gradients through it cannot be kept"
        raise ValueError(msg)
    sigma_w2 = 1 / slope
    sigma_b2 = q - sigma_w2 * moment
    sigma_b2 = np.where(np.abs(sigma_b2) < 1e-13 * q, 0.0, sigma_b2)  # what rounding leaves of 0
    if (sigma_b2 < 0).any():
        i = np.unravel_index(np.argmin(sigma_b2), sigma_b2.shape)
        msg = (
            f"{f.name} has no critical point at q = {q[i]:.6g}: weights that keep its gradients, "
            f"sigma_w2 = {sigma_w2[i]:.6g}, give a mean square of {(sigma_w2 * moment)[i]:.6g} without bias"
        )
        raise ValueError(msg)
    return plain(sigma_w2), plain(sigma_b2)


def correlation_map(
    activation: ActivationLike,
    c: npt.ArrayLike,
    q: npt.ArrayLike,
    sigma_w2: npt.ArrayLike,
    sigma_b2: npt.ArrayLike = 0.0,
) -> Real:
    """Give the correlation of the next layer's inputs for two signals of mean square q.

    Parameters
    ----------
    activation : str, callable or Activation
        As in `length_map`.
    c : array_like
        The correlation of this layer's inputs, from -1 to 1.
    q : array_like
        Their mean square, the same for both; most often a fixed point of the length map.
    sigma_w2, sigma_b2 : array_like
        As in `length_map`.

    Returns
    -------
    float or ndarray
        ``(sigma_w2 * E[f(u1) f(u2)] + sigma_b2) / length_map(q)``; not a number where the latter is 0.

    Examples
    --------
    >>> round(ic.theory.correlation_map("relu", 0.0, 1.0, 2.0), 12) == round(1 / np.pi, 12)
    True
    """
    q, w, b = non_negative("q", q), non_negative("sigma_w2", sigma_w2), non_negative("sigma_b2", sigma_b2)
    f, c = as_activation(activation), _correlation(c)
    return plain((w * of_rows(_pair, f, q, c)[0] + b) / _length(f, q, w, b))


def correlation_slope(
    activation: ActivationLike,
    c: npt.ArrayLike,
    q: npt.ArrayLike,
    sigma_w2: npt.ArrayLike,
    sigma_b2: npt.ArrayLike = 0.0,
) -> Real:
    """Give the slope of `correlation_map` at c; parameters as there.

    At c = 1 it is ``chi_1 * q / length_map(q)``, chi_1 itself at a fixed point.
    """
    q, w, b = non_negative("q", q), non_negative("sigma_w2", sigma_w2), non_negative("sigma_b2", sigma_b2)
    f, c = as_activation(activation), _correlation(c)
    return plain(w * of_rows(_pair, f, q, c)[1] / _length(f, q, w, b))


def _length(f: Activation, q: Floats, w: Floats, b: Floats) -> Floats:
    """Give the length map, or NaN for 0: signals of no length have no correlation."""
    length = w * of_rows(second_moment, f, q) + b
    return np.where(length == 0, np.nan, length)


def _pair(f: Activation, q: Floats, c: Floats) -> Floats:
    return np.stack(pair_moment_and_rate(f, q, c))


def _correlation(c: npt.ArrayLike) -> Floats:
    array = np.asarray(c, dtype=np.float64)
    if not (np.abs(array) <= 1).all():
        msg = f"a correlation must be from -1 to 1, got {c!r}"
        raise ValueError(msg)
    return array


def of_rows(moment: Callable[..., Floats], activation: ActivationLike, *arguments: Floats) -> Floats:
    """Evaluate moments, which take arrays of one axis, for arrays of any shape."""
    arrays = np.broadcast_arrays(*arguments)
    moments = moment(as_activation(activation), *(a.ravel() for a in arrays))
    return moments.reshape(moments.shape[:-1] + arrays[0].shape)


def non_negative(what: str, values: npt.ArrayLike) -> Floats:
    """Check that values are finite and not negative."""
    array = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(array) & (array >= 0)).all():
        msg = f"{what} must be finite and not negative, got {values!r}"
        raise ValueError(msg)
    return array


def plain(array: Any) -> Real:
    """Give an array without axes as the number (or text) that it holds."""
    return np.asarray(array).item() if np.ndim(array) == 0 else array
