"""What is in a Keras model: each weight, its address, and what its layer's type says about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import keras

from initcore._core import Layout
from initcore.theory import recommend

if TYPE_CHECKING:
    from collections.abc import Iterator

_K = keras.layers
_CONVOLUTIONS = (_K.Conv1D, _K.Conv2D, _K.Conv3D)
_TRANSPOSED = (_K.Conv1DTranspose, _K.Conv2DTranspose, _K.Conv3DTranspose)
_KERNELS = {"kernel", "depthwise_kernel", "pointwise_kernel"}
#: What is no matrix, by its name.
_PLAIN = {"bias": "zeros", "beta": "zeros", "alpha": "zeros", "gamma": "ones", "scale": "ones"}
#: Activation functions of Keras, as the library calls them; others have the same name in both, or none here.
_ACTIVATIONS = {"leaky_relu": "leaky_relu(0.2)"}


@dataclass(frozen=True)
class Weight:
    """A weight of a model.

    Attributes
    ----------
    address : str
    variable : keras.Variable
    layer : keras.Layer
        Whose it is.
    """

    address: str
    variable: Any
    layer: Any

    @property
    def layout(self) -> str | Layout:
        """Which axes are inputs and outputs."""
        name, layer = self.variable.name, self.layer
        if name == "depthwise_kernel" or isinstance(layer, _K.DepthwiseConv1D | _K.DepthwiseConv2D):
            return "depthwise" if name in _KERNELS else "numpy"
        if name == "embeddings":
            return "embedding"
        if name in {"kernel", "recurrent_kernel"}:
            if isinstance(layer, _TRANSPOSED):
                return Layout("numpy", transposed=True)
            if isinstance(layer, _CONVOLUTIONS):
                return Layout("numpy", groups=layer.groups) if layer.groups > 1 else "numpy"
            if isinstance(layer, _K.EinsumDense):
                return _einsum(layer.equation)
            gates = self._gates()
            return Layout("numpy", blocks=gates) if gates > 1 else "numpy"
        return "numpy"

    @property
    def default(self) -> str | None:
        """The initializer that suits it, if one is known."""
        name, layer = self.variable.name, self.layer
        if name in _PLAIN:
            return _PLAIN[name]
        if name == "embeddings":
            return "uniform(-0.05, 0.05)"
        if name == "recurrent_kernel":
            return "orthogonal"
        if name not in _KERNELS or len(self.variable.shape) < 2:
            return None
        separable = isinstance(layer, _K.SeparableConv1D | _K.SeparableConv2D) and name == "depthwise_kernel"
        return _for_activation(None if separable else getattr(layer, "activation", None))

    @property
    def forget_gate(self) -> slice | None:
        """The part of the biases of an LSTM that starts at one, so that it remembers."""
        if self.variable.name != "bias" or not getattr(self.layer, "unit_forget_bias", False):
            return None
        units = self.variable.shape[-1] // 4  # input, forget, cell, output
        return slice(units, 2 * units)

    def _gates(self) -> int:
        """How many matrices stand side by side: those of a recurrent layer's gates."""
        recurrent = getattr(self.layer, "recurrent_kernel", None)
        return 1 if recurrent is None else int(self.variable.shape[-1]) // int(recurrent.shape[-2])


def weights(model: Any) -> list[Weight]:
    """Give what is trained of a model, or was before it was frozen; not statistics that layers keep.

    Raises
    ------
    ValueError
        Layers have no weights yet.
    TypeError
        It is no layer or model.
    """
    if not isinstance(model, keras.Layer):
        msg = f"model must be a keras.Model or a keras.Layer, got {type(model).__name__}"
        raise TypeError(msg)
    found: dict[int, Weight] = {}
    unbuilt = [] if model.built else [model.name]
    for name, layer in _layers(model, ""):
        if not layer.built:
            unbuilt.append(name)
        taken: set[str] = set()
        for variable in layer._trainable_variables:
            if id(variable) not in found:
                own = _unused(_stem(variable.name, type(variable)), taken)
                found[id(variable)] = Weight(f"{name}.{own}" if name else own, variable, layer)
    if unbuilt:
        msg = f"not built yet: {', '.join(unbuilt)}; call the model on data, or build it with a shape, first"
        raise ValueError(msg)
    return list(found.values())


def _layers(layer: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Give a layer and all within, each under a name that does not depend on Keras' count of all layers."""
    yield name, layer
    inner = layer.layers if isinstance(layer, keras.Model) else layer._flatten_layers(False, False)
    stems = {id(sub): _stem(sub.name, type(sub)) for sub in inner}
    taken: set[str] = set()
    given_first = sorted(inner, key=lambda sub: sub.name != stems[id(sub)])
    names = {id(sub): _unused(stems[id(sub)], taken) for sub in given_first}
    for sub in inner:
        own = names[id(sub)]
        yield from _layers(sub, f"{name}.{own}" if name else own)


def _stem(name: str, kind: type) -> str:
    """Give a name without its number, if Keras gave it: ``dense_3``, and ``forward_lstm_3`` in both ways."""
    stem = re.sub(r"_\d+$", "", name)
    plain = stem.removeprefix("forward_").removeprefix("backward_").replace("_", "")
    return stem if plain == kind.__name__.lower() else name


def _unused(name: str, taken: set[str]) -> str:
    """Give the name, with a number behind it if it is taken, and take it."""
    unused, number = name, 0
    while unused in taken:
        number += 1
        unused = f"{name}_{number}"
    taken.add(unused)
    return unused


def _einsum(equation: str) -> Layout:
    """Give the axes of a kernel, from an equation as in ``"abc,cde->abde"``."""
    into, kernel, out = re.split(",|->", equation.replace(" ", "").replace("...", ""))
    axes: dict[str, list[int]] = {"in_axis": [], "out_axis": [], "batch_axis": []}
    for axis, letter in enumerate(kernel):
        kind = "in_axis" if letter not in out else "batch_axis" if letter in into else "out_axis"
        axes[kind].append(axis)
    return Layout(in_axis=axes["in_axis"], out_axis=axes["out_axis"], batch_axis=axes["batch_axis"])


def _for_activation(activation: Any) -> str:
    """Give the initializer that suits what comes after; that for a straight line, if it is not known."""
    if isinstance(activation, _K.LeakyReLU):
        name = f"leaky_relu({float(activation.negative_slope)!r})"
    else:
        name = str(getattr(activation, "__name__", None) or getattr(activation, "name", "linear"))
        name = _ACTIVATIONS.get(name, name)
    return _recommended(name)


@cache
def _recommended(name: str) -> str:
    try:
        return recommend(name).scheme
    except ValueError:
        return recommend("linear").scheme
