"""One dense layer, forward and backward: arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _core
from .arrays import float_array, matrix

if TYPE_CHECKING:
    import numpy.typing as npt

    from .initializers import Array


class DenseCache(NamedTuple):
    """What `dense_backward` needs of the forward pass; the arrays must not be changed in between.

    `slope` is the activation's derivative, (batch, fan_out); None for the linear one, where it is 1.
    """

    x: Array
    w: Array
    b: Array | None
    slope: Array | None


def dense_forward(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    activation: str = "linear",
    *,
    num_threads: int | None = None,
) -> tuple[Array, DenseCache]:
    """Compute one dense layer, ``y = f(x @ w + b)``.

    Parameters
    ----------
    x : array_like, (batch, fan_in)
    w : array_like, (fan_in, fan_out)
    b : array_like, (fan_out,), optional
    activation : str
        As in `MLP`.
    num_threads : int, optional
        At most this many; the result does not depend on it.

    Returns
    -------
    y : ndarray, (batch, fan_out)
        float64 if one of the arrays is, float32 otherwise; integers are converted to the type of the
        others.
    cache : DenseCache
        For `dense_backward`.

    Raises
    ------
    ValueError
        Shapes do not fit together.
    TypeError
        An array does not hold real numbers of at most 64 bits.
    """
    given = [np.asarray(a) for a in (x, w, b) if a is not None]
    floats = [a.dtype for a in given if a.dtype.kind == "f"]
    dtype = np.result_type(np.float32, *floats)
    if dtype not in (np.float32, np.float64):
        msg = f"dtype must be float32 or float64, got {dtype}"
        raise TypeError(msg)
    x, w = matrix(x, dtype, "x"), matrix(w, dtype, "w")
    if b is not None:
        b = float_array(b, dtype, "b")
        if b.ndim != 1:
            msg = f"b must have shape (fan_out,), got {b.shape}"
            raise ValueError(msg)
    y, slope = _core.dense_forward(x, w, b, activation, num_threads)
    return y, DenseCache(x, w, b, slope)


def dense_backward(
    dy: npt.ArrayLike, cache: DenseCache, *, num_threads: int | None = None
) -> tuple[Array, Array, Array | None]:
    """Compute the gradients of a dense layer.

    Parameters
    ----------
    dy : array_like, (batch, fan_out)
        Gradient of the loss with respect to the layer's output.
    cache : DenseCache
        From `dense_forward`.
    num_threads : int, optional
        At most this many; the result does not depend on it.

    Returns
    -------
    dx : ndarray, (batch, fan_in)
    dw : ndarray, (fan_in, fan_out)
        Summed over the batch, as is `db`.
    db : ndarray, (fan_out,)
        None for a layer without bias.

    Raises
    ------
    ValueError
        `dy` does not have the shape of the output.
    """
    dy = matrix(dy, cache.w.dtype, "dy")
    dx, dw, db = _core.dense_backward(dy, cache.x, cache.w, cache.slope, num_threads)
    return dx, dw, None if cache.b is None else db
