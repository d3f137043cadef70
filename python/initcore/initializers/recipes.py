"""What particular layers ask for: sine layers, PyTorch's linear layers, embeddings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, SupportsIndex, Unpack

from initcore._core import Embedding, Initializer, Uniform, VarianceScaling
from initcore.arrays import integer, positive

from .registry import scheme

if TYPE_CHECKING:
    from .options import Array, Options, Shape


def _siren(omega: float = 30.0, *, first: bool = False) -> Initializer:
    if first:
        return VarianceScaling(1 / 3, "fan_in_squared", "uniform")
    return VarianceScaling(2 / positive(omega, "omega") ** 2, "fan_in", "uniform")


@scheme(
    _siren,
    variance="2 / (omega^2 fan_in), or 1 / (3 fan_in^2) in the first layer",
    source="V. Sitzmann et al., Implicit neural representations with periodic activations, NeurIPS 2020.",
)
def siren(shape: Shape, *, omega: float = 30.0, first: bool = False, **options: Unpack[Options]) -> Array:
    """Draw the weights of a layer ``sin(omega * (x @ W + b))``, uniform on [-sqrt(6 / fan_in) / omega, ...).

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    omega : float
        The frequency.
    first : bool
        In the first layer, uniform on [-1 / fan_in, 1 / fan_in) whatever the frequency, so that the sines of
        the inputs span several periods.
    ...
    """
    return _siren(omega, first=first)(shape, **options)


def _torch_linear() -> Initializer:
    return VarianceScaling(1 / 3, "fan_in", "uniform")


_TORCH = "What torch.nn.Linear and the convolutions of PyTorch do, as kaiming_uniform_(a=sqrt(5))."


@scheme(_torch_linear, variance="1 / (3 fan_in)", source=_TORCH)
def torch_linear(shape: Shape, **options: Unpack[Options]) -> Array:
    """Draw weights as PyTorch's linear and convolution layers do: uniform on [-1 / sqrt(fan_in), ...).

    A third of the variance that keeps the signal of a linear layer, a sixth of that of relu.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    ...
    """
    return _torch_linear()(shape, **options)


def _torch_linear_bias(fan_in: SupportsIndex) -> Initializer:
    bound = 1 / math.sqrt(integer(fan_in, "fan_in", 1))
    return Uniform(-bound, bound)


@scheme(_torch_linear_bias, variance="1 / (3 fan_in)", source=_TORCH)
def torch_linear_bias(shape: Shape, *, fan_in: SupportsIndex, **options: Unpack[Options]) -> Array:
    """Draw biases as PyTorch's linear and convolution layers do: uniform on [-1 / sqrt(fan_in), ...).

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the bias.
    fan_in : int
        That of the layer's weight.
    ...
    """
    return _torch_linear_bias(fan_in)(shape, **options)


@scheme(Embedding, variance="std^2")
def embedding(
    shape: Shape, *, std: float = 1.0, padding_idx: int | None = None, **options: Unpack[Options]
) -> Array:
    """Draw a table of vectors, normal with mean 0; a row that stands for padding is zeros.

    Parameters
    ----------
    shape : (int, int)
        Rows and features.
    std : float
        1 in PyTorch, 0.02 in GPT-2 and BERT, ``features ** -0.5`` in Flax and where the table is also the
        output layer's weight.
    padding_idx : int, optional
        The row of zeros.
    ...
    """
    return Embedding(std, padding_idx)(shape, **options)
