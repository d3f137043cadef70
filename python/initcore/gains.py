"""Gains: the factor on the weights' scale that makes up for what an activation does to the signal."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from . import specs
from .activations import Activation, as_activation
from .moments import second_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from .activations import ActivationLike


def gain(activation: ActivationLike, convention: str = "exact") -> float:
    """Give the gain of an activation function.

    With weights of variance ``gain**2 / fan_in`` and no bias, inputs of mean square 1 to the activation are
    followed by such inputs in the next layer.

    Parameters
    ----------
    activation : str, callable or Activation
        A built-in activation ("gelu", "leaky_relu(0.2)"), or any function of one real number; it is called
        with float64 arrays if it takes them, else with single floats.
    convention : {"exact", "torch"}
        "exact" is ``1 / sqrt(E[f(z)^2])`` for a standard normal z, to 1e-10 or better. "torch" is the table
        of ``torch.nn.init.calculate_gain``, for the numbers that a PyTorch model was trained with; its 5/3
        for tanh and 3/4 for selu are rules of thumb, and most functions are not in it.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        The name is unknown, or not in PyTorch's table; the function is zero everywhere, or has no finite
        second moment.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, Delving deep into rectifiers, ICCV 2015: the gain of relu.

    Examples
    --------
    >>> round(ic.gain("tanh"), 6), round(ic.gain("tanh", "torch"), 6)
    (1.592537, 1.666667)
    """
    if convention == "torch":
        return _torch_gain(activation)
    if convention != "exact":
        msg = f"convention must be 'exact' or 'torch', got {convention!r}"
        raise ValueError(msg)
    return (
        _built_in_gain(activation) if isinstance(activation, str) else _exact_gain(as_activation(activation))
    )


def _exact_gain(f: Activation) -> float:
    moment = float(second_moment(f, np.ones(1))[0])
    if moment == 0:
        msg = f"{f.name} is zero wherever the signal is: no gain makes up for that"
        raise ValueError(msg)
    return 1 / math.sqrt(moment)


def _gain_of_name(name: str) -> float:
    return _exact_gain(as_activation(name))


_built_in_gain = lru_cache(maxsize=256)(_gain_of_name)


def _leaky_relu(negative_slope: float = 0.01) -> float:
    return math.sqrt(2 / (1 + negative_slope**2))


TORCH_GAINS: dict[str, Callable[..., float]] = {
    **dict.fromkeys(["linear", "identity", "conv1d", "conv2d", "conv3d"], lambda: 1.0),
    **dict.fromkeys(["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"], lambda: 1.0),
    "sigmoid": lambda: 1.0,
    "tanh": lambda: 5 / 3,
    "relu": lambda: math.sqrt(2),
    "leaky_relu": _leaky_relu,
    "selu": lambda: 3 / 4,
}


def _torch_gain(activation: ActivationLike) -> float:
    if not isinstance(activation, str):
        msg = f"PyTorch's table of gains has names only ({', '.join(TORCH_GAINS)}), got {activation!r}"
        raise ValueError(msg)
    return specs.make(activation, TORCH_GAINS, "gain in PyTorch's table")
