"""Mean-field theory of wide networks: how far signals and gradients travel before they die out or blow up.

In a wide layer with weights of variance sigma_w^2 / fan_in and biases of variance sigma_b^2, the inputs u of the
activation f are Gaussian. Their mean square q, and the correlation c of two of them, go from layer to layer by::

    length map         q -> sigma_w^2 E[f(u)^2] + sigma_b^2                      u ~ N(0, q)
    correlation map    c -> (sigma_w^2 E[f(u1) f(u2)] + sigma_b^2) / length map    of correlation c
    gradients          grow by chi_1 = sigma_w^2 E[f'(u)^2] in mean square, from one layer to the one below

At ``chi_1 = 1``, the edge of chaos, inputs neither merge nor fly apart and gradients keep their size. Arguments
broadcast as in NumPy; floats give floats.

References
----------
B. Poole, S. Lahiri, M. Raghu, J. Sohl-Dickstein, S. Ganguli, Exponential expressivity in deep neural networks
through transient chaos, NeurIPS 2016.
S. Schoenholz, J. Gilmer, S. Ganguli, J. Sohl-Dickstein, Deep information propagation, ICLR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .activations import Activation, activation
from .moments import pair_moment_and_rate, second_moment, second_moment_and_rate, slope_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from .activations import ActivationLike
    from .quadrature import Floats

__all__ = [
    "Activation",
    "FixedPoint",
    "chi",
    "correlation_fixed_point",
    "correlation_map",
    "correlation_slope",
    "critical",
    "depth_scales",
    "fixed_point",
    "length_map",
    "length_slope",
    "phase",
]

#: Floats give a float, arrays an array.
Real: TypeAlias = Any

_CRITICAL = 1e-9  # as far from 1 as a slope of 1 may come out
_DECADES = 12  # how far from its start a signal is followed


def length_map(
    function: ActivationLike, q: npt.ArrayLike, sigma_w2: npt.ArrayLike, sigma_b2: npt.ArrayLike = 0.0
) -> Real:
    """Give the mean square of the next layer's inputs, ``sigma_w2 * E[f(u)^2] + sigma_b2``.

    Parameters
    ----------
    function : str, callable or Activation
        The activation f: a built-in one by name, or any function of one real number.
    q : array_like
        Mean square of this layer's inputs u, 0 or more.
    sigma_w2, sigma_b2 : array_like
        Variance of the weights, times fan_in, and of the biases.

    Returns
    -------
    float or ndarray
    """
    q, w, b = _positive("q", q), _positive("sigma_w2", sigma_w2), _positive("sigma_b2", sigma_b2)
    return _plain(w * _of_rows(second_moment, function, q) + b)


def length_slope(function: ActivationLike, q: npt.ArrayLike, sigma_w2: npt.ArrayLike) -> Real:
    """Give the slope of the length map, ``sigma_w2 * d/dq E[f(u)^2]``; parameters as in `length_map`."""
    q, w = _positive("q", q), _positive("sigma_w2", sigma_w2)
    return _plain(w * _of_rows(lambda f, q: second_moment_and_rate(f, q)[1], function, q))


def chi(function: ActivationLike, q: npt.ArrayLike, sigma_w2: npt.ArrayLike) -> Real:
    """Give chi_1, ``sigma_w2 * E[f'(u)^2]``: the growth of squared gradients per layer.

    At a fixed point of the length map it is the slope of the correlation map at c = 1, too. Parameters are as in
    `length_map`; an activation that jumps has an infinite chi_1.
    """
    q, w = _positive("q", q), _positive("sigma_w2", sigma_w2)
    return _plain(w * _of_rows(slope_moment, function, q))


def critical(function: ActivationLike, q: npt.ArrayLike = 1.0) -> tuple[Real, Real]:
    """Give the variances at which q is a fixed point and ``chi_1 = 1``: the edge of chaos.

    Parameters
    ----------
    function : str, callable or Activation
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
    >>> ic.theory.critical("relu")
    (2.0, 0.0)
    """
    f, q = activation(function), _positive("q", q)
    moment, slope = _of_rows(second_moment, f, q), _of_rows(slope_moment, f, q)
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
            f"sigma_w2 = {sigma_w2[i]:.6g}, already give a mean square of {(sigma_w2 * moment)[i]:.6g} without bias"
        )
        raise ValueError(msg)
    return _plain(sigma_w2), _plain(sigma_b2)


def _of_rows(moment: Callable[..., Floats], function: ActivationLike, *arguments: Floats) -> Floats:
    """Evaluate a moment, which takes arrays of one axis, for arrays of any shape."""
    arrays = np.broadcast_arrays(*arguments)
    return moment(activation(function), *(a.ravel() for a in arrays)).reshape(arrays[0].shape)


def _positive(what: str, values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(array) & (array >= 0)).all():
        msg = f"{what} must be finite and not negative, got {values}"
        raise ValueError(msg)
    return array


def _plain(array: Any) -> Real:
    """Give an array without axes as the number that it holds."""
    return np.asarray(array).item() if np.ndim(array) == 0 else array
