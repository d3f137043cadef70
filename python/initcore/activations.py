"""What the theory needs to know of an activation function: its values, its slopes, where it bends.

A built-in function is evaluated by the core, with the slope that training uses. Any other function of one
real number will do as it is: on a panel of the quadrature it is as good as the polynomial through its values
there, so that polynomial's derivative is its slope.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from . import _core
from .quadrature import EPS, NODES, Floats, differentiation_matrix

_DERIVATIVE = differentiation_matrix(NODES).T
_PROBE = np.array([-2.5, -0.8, -0.1, 0.0, 0.3, 1.1, 3.0])


class Activation:
    """An elementwise function, with what is known of it.

    Parameters
    ----------
    function : str or callable
        The name of a built-in activation, as in `MLP` ("gelu", "leaky_relu(0.2)"), or a function of arrays
        or of single floats that computes in float64.
    derivative : callable, optional
        The slope, likewise. Without it, it is taken from the values of the function, to about 1e-12.
    splits : sequence of float
        Where the function has kinks or jumps: saves the search for them.

    Raises
    ------
    ValueError
        The name is unknown, or the function does not give one real float64 for each number.
    """

    def __init__(
        self,
        function: str | Callable[..., Any],
        derivative: Callable[..., Any] | None = None,
        *,
        splits: Sequence[float] = (),
    ) -> None:
        self.splits = np.asarray(splits, dtype=np.float64).ravel()
        self._value = self._slope = None
        if isinstance(function, str):
            if derivative is not None:
                msg = f"the built-in {function!r} has its own derivative"
                raise ValueError(msg)
            self.name = function
            _core.activation(function, _PROBE)  # an unknown name fails here
        elif callable(function):
            self.name = getattr(function, "__name__", repr(function))
            self._value = _elementwise(function, self.name)
            if derivative is not None:
                self._slope = _elementwise(derivative, f"the derivative of {self.name}")
        else:
            msg = f"an activation must be a name or a function, got {function!r}"
            raise TypeError(msg)
        self.origin = float(self.value(np.zeros(1))[0])
        # A function may round small values as if they were as large as others: 1 - exp(-u) does.
        self.scale = 0.0 if self._value is None else float(np.abs(self._value(_PROBE)).max())

    def __repr__(self) -> str:
        return f"Activation({self.name})"

    @property
    def has_slope(self) -> bool:
        """Whether the slope is a function too, rather than taken from values."""
        return self._value is None or self._slope is not None

    def value(self, u: Floats) -> Floats:
        """Give ``f(u)``, for an array of any shape."""
        if self._value is None:
            return _core.activation(self.name, np.ravel(u))[0].reshape(u.shape)
        return self._value(u)

    def value_and_slope(self, u: Floats) -> tuple[Floats, Floats, Floats]:
        """Give ``f(u)``, ``f'(u)`` and the error of the latter, for the nodes of panels as in `Integrand`.

        u, f(u), f'(u): (panels, nodes); error: (panels,).
        """
        exact = np.zeros(len(u))
        if self._value is None:
            value, slope = _core.activation(self.name, np.ravel(u))
            slope = slope.reshape(u.shape)
            slope[:, [0, -1]] = np.nan  # all kinks are at ends of panels, and there it is that of one side
            return value.reshape(u.shape), slope, exact
        value = self._value(u)
        if self._slope is not None:
            return value, self._slope(u), exact
        half = (u[:, -1] - u[:, 0]) / 2  # negative where the nodes run backwards
        slope = (value - value[:, :1]) @ _DERIVATIVE / half[:, None]
        # The differences of neighbours carry their rounding, more so the closer they are.
        return value, slope, EPS * (256 * np.abs(value).max(axis=1) + 8 * self.scale) / np.abs(half)


ActivationLike: TypeAlias = str | Callable[..., Any] | Activation


def as_activation(function: ActivationLike) -> Activation:
    """Give the `Activation` that a name or a function means."""
    if isinstance(function, Activation):
        return function
    return _built_in(function) if isinstance(function, str) else Activation(function)


_built_in = lru_cache(maxsize=64)(Activation)


def _elementwise(function: Callable[..., Any], name: str) -> Callable[[Floats], Floats]:
    """Check a function on a few numbers; give one of arrays that refuses what is not finite."""
    if _takes_arrays(function):
        vectorized = function
    elif _takes_tensors(function):
        vectorized = _of_tensors(function)
    else:
        vectorized = np.vectorize(function, otypes=[np.float64])

    def evaluate(u: Floats) -> Floats:
        with np.errstate(all="ignore"):
            return np.asarray(vectorized(u), dtype=np.float64)

    def checked(u: Floats) -> Floats:
        y = evaluate(u)
        finite = np.isfinite(y)
        if not finite.all():
            msg = f"{name} is {y[~finite][0]} at {u[~finite][0]:.6g}"
            raise ValueError(msg)
        return y

    try:
        single = [evaluate(_PROBE[i : i + 1]).item() for i in range(_PROBE.size)]
    except (TypeError, ValueError) as error:
        msg = f"{name} must give one real number for each: {error}"
        raise ValueError(msg) from error
    if not np.allclose(checked(_PROBE), single, rtol=1e-12, atol=1e-12):
        msg = f"{name} is not elementwise, or is random: an array gives other values than its elements alone"
        raise ValueError(msg)
    return checked


def _of_tensors(function: Callable[..., Any]) -> Callable[[Floats], Any]:
    """Make a function of arrays from one of PyTorch's tensors."""
    torch = sys.modules["torch"]
    return lambda u: function(torch.as_tensor(u)).detach().numpy()


def _takes_tensors(function: Callable[..., Any]) -> bool:
    """Whether it is one of PyTorch's functions or modules; without PyTorch nothing is."""
    if "torch" not in sys.modules:
        return False
    try:
        y = _of_tensors(function)(_PROBE.copy())
    except (TypeError, ValueError, AttributeError, RuntimeError):
        return False
    return bool(y.shape == _PROBE.shape)


def _takes_arrays(function: Callable[..., Any]) -> bool:
    """Whether the function maps arrays to arrays of float64 or integers; else it must take single floats."""
    with np.errstate(all="ignore"):
        try:
            y = function(_PROBE.copy())
        except (TypeError, ValueError, AttributeError):  # as math.erf, `max(0, u)` and torch say
            return False
    y = np.asarray(y)
    if y.dtype.kind == "c" or (y.dtype.kind == "f" and y.dtype.itemsize < 8):
        msg = f"an activation must compute in float64, got {y.dtype} (JAX does with jax_enable_x64)"
        raise ValueError(msg)
    return bool(y.shape == _PROBE.shape)
