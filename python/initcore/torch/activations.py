"""Which activation a function of tensors is, found by trying it on a few numbers.

A function is an activation if it is elementwise and bends. One whose values are those of a built-in one
is that, whatever it is called and however it is written; any other goes to the theory as it is.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from initcore import _core
from initcore.activations import Activation

if TYPE_CHECKING:
    from collections.abc import Callable

#: Numbers on which activations differ from each other; far ones show where a function goes. Not in order, or
#: sorting them would look like the identity.
PROBE = np.array([1.1, -60.0, 0.3, -2.5, 60.0, -30.0, -0.8, 6.5, 0.0, -4.2, 30.0, -0.1, 2.9, -1.0, 1.0])

#: What a module leaves as it is, PReLU's slopes, are 1/4 as PyTorch has them.
PRELU_SLOPE = 0.25


class NotElementwiseError(ValueError):
    """A function depends on more than each number alone."""


def known(values: np.ndarray[Any, Any]) -> str | None:
    """Name the built-in activation that has these values at `PROBE`; "linear" for any straight line."""
    at = dict(zip(PROBE.tolist(), values.tolist(), strict=True))
    line = at[0.0] + (at[1.0] - at[0.0]) * PROBE
    if np.allclose(values, line, rtol=1e-9, atol=1e-12):
        return "linear"
    slope, floor = -at[-1.0], -at[-60.0]
    # Constants in the code of others may have been rounded to a few digits.
    candidates = [*_core.nn_names()[0], f"leaky_relu({slope!r})", *([f"elu({floor!r})"] if floor > 0 else [])]
    for name in candidates:
        if np.allclose(values, _core.activation(name, PROBE)[0], rtol=1e-6, atol=1e-8):
            return name
    return None


def recognize(function: Callable[[torch.Tensor], torch.Tensor], name: str) -> str | Activation:
    """Tell which activation a function of float64 tensors is.

    Parameters
    ----------
    function : callable
        It gets tensors of one axis, and may write to them.
    name : str
        What to call it if it is none of the built-in ones.

    Returns
    -------
    str or Activation
        "linear" for a straight line.

    Raises
    ------
    NotElementwiseError
        It is not elementwise, is random, or gives something else than a float64 for each.
    """

    def of_arrays(u: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if not isinstance(u, np.ndarray):
            raise TypeError  # a question of `Activation`: arrays it is
        y = evaluate(function, torch.tensor(u, dtype=torch.float64, device="cpu"))
        if y is None or y.shape != u.shape or y.dtype != torch.float64:
            raise NotElementwiseError(name)
        return np.asarray(y)

    values = of_arrays(PROBE)
    built_in = known(values)
    if built_in is not None:
        return built_in
    if not np.allclose(of_arrays(PROBE[::-1].copy()), values[::-1], rtol=1e-12, atol=1e-12, equal_nan=True):
        raise NotElementwiseError(name)  # it knows their order
    of_arrays.__name__ = name
    try:
        return Activation(of_arrays)
    except (ValueError, TypeError) as error:
        raise NotElementwiseError(name) from error


def of_module(module: nn.Module) -> str | Activation | None:
    """Tell which activation a module is; None if it is none."""
    if isinstance(module, nn.PReLU):
        return f"leaky_relu({PRELU_SLOPE})"
    if any(True for _ in module.parameters()) or any(True for _ in module.buffers()):
        return None
    training = module.training
    module.training = False  # of dropout, and of a random relu
    try:
        found = recognize(module, type(module).__name__)
    except NotElementwiseError:
        return None
    finally:
        module.training = training
    return None if found == "linear" else found


def evaluate(function: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor | None:
    """Call a function that may be anything; None if it fails or gives no tensor. Random states stay."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function(*args, **kwargs)
    except Exception:  # noqa: BLE001  (a user's function may raise anything)
        return None
    return result if isinstance(result, torch.Tensor) else None


def levels_off(activation: str | Activation) -> bool:
    """Whether an activation is bounded, as sigmoid and tanh are: what makes an output of them."""
    f = activation if isinstance(activation, Activation) else Activation(activation)
    try:
        ends = np.abs(f.value(np.array([-60.0, -30.0, 30.0, 60.0])))
    except ValueError:  # infinite there
        return False
    return bool(ends.max() <= 1.01 * ends[1:3].max())
