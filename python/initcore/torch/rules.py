"""What a parameter is, from the module that owns it: its layout, and how "auto" initializes it.

Weights of linear layers and convolutions get the scheme that `initcore.theory.recommend` gives for the
activation that follows. All other kinds have one way to begin, which `decide` gives with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initcore._core import Constant, Embedding, Layout
from initcore.activations import as_activation
from initcore.initializers import get, normal
from initcore.theory import recommend

from .activations import PRELU_SLOPE, PROBE, evaluate
from .tracing import UNKNOWN, Following, skeleton

if TYPE_CHECKING:
    from initcore._core import Initializer
    from initcore.activations import Activation
    from initcore.theory import Recommendation

    from .walking import Place

_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_TRANSPOSED = (nn.modules.conv._ConvTransposeNd,)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Decision:
    """How a parameter is initialized, and why."""

    init: Initializer
    activation: str
    how: str
    reason: str
    advice: str = ""  # what the theory says of the activation


def layout(place: Place) -> str | Layout:
    """Give the layout of a parameter, from the first module that owns it or what it parametrizes."""
    module, attribute = place.owners[0]
    if place.parametrizes is not None and place.tensor.ndim > 1:
        module, attribute = place.parametrizes
    if isinstance(module, _CONVOLUTIONS):
        return Layout("torch", groups=module.groups, transposed=isinstance(module, _TRANSPOSED))
    if isinstance(module, _EMBEDDINGS):
        return "embedding"
    if isinstance(module, _RECURRENT) and not attribute.startswith("weight_hr"):
        return Layout("torch", blocks=_gates(module))
    if isinstance(module, nn.MultiheadAttention) and attribute == "in_proj_weight":
        return Layout("torch", blocks=3)
    return "numpy" if _is_conv1d(module) else "torch"


def decide(place: Place, followers: dict[nn.Module, Following]) -> Decision:
    """Decide how "auto" initializes a parameter.

    Raises
    ------
    ValueError
        What it is for is not known.
    """
    module, attribute = place.owners[0]
    kind = _kind(module)
    tied = next((owner for owner, _ in place.owners if isinstance(owner, _EMBEDDINGS)), None)
    if tied is not None:
        return _embedding(place, tied)
    if attribute.startswith(("bias_k", "bias_v")) and isinstance(module, nn.MultiheadAttention):
        return _by_kind("xavier_normal", "an extra key or value")
    if attribute.startswith("bias") or attribute.endswith("_bias"):
        return _by_kind("zeros", "a bias")
    if isinstance(module, _NORMS) and attribute == "weight":
        return _by_kind("ones", f"the scale of {kind}")
    if isinstance(module, nn.PReLU):
        return Decision(Constant(PRELU_SLOPE), "", "by kind", "the slope of PReLU")
    if isinstance(module, (nn.Linear, nn.Bilinear, *_CONVOLUTIONS)) or _is_conv1d(module):
        if attribute == "weight":
            return _by_activation(followers.get(module, UNKNOWN))
    elif isinstance(module, nn.MultiheadAttention):
        return _by_kind("xavier_normal", "query, key and value, each with fans of its own")
    elif isinstance(module, _RECURRENT):
        if attribute.startswith("weight_hh"):
            return _by_kind("orthogonal", f"recurrent, one matrix for each of {_gates(module)} gates")
        if attribute.startswith("weight_hr"):
            return _by_activation(Following(None, "by kind", "a projection: nothing follows"))
        activation = getattr(module, "nonlinearity", "tanh")
        return _by_activation(Following(activation, "by kind", f"{activation} of {kind}"))
    elif "norm" in kind.lower() and place.tensor.ndim == 1:
        value = _scale_of_norm(module, attribute)
        if value is not None:
            return _by_kind(value, f"{kind} gives mean square 1 with {value}, as tried")
    msg = f'"auto" does not know what {attribute} of {kind} is for: give a rule for that name, before "auto"'
    raise ValueError(msg)


def _by_kind(scheme: str, reason: str) -> Decision:
    return Decision(get(scheme), "", "by kind", reason)


def _by_activation(following: Following) -> Decision:
    """Take the scheme for the activation that follows; that for none where the theory has no answer."""
    activation: str | Activation = following.activation or "linear"
    how, reason = following.how, following.reason
    try:
        advice = _recommend(activation)
    except ValueError as error:  # no gain makes up for it, or its moments are infinite
        activation, reason = "linear", f"{reason}, for which there is no scheme: {error}"
        advice = _recommend(activation)
    name = "" if activation == "linear" else advice.activation
    return Decision(get(advice.scheme), name, how, reason, advice.reason)


_ADVICE: dict[tuple[str, bytes], Recommendation] = {}


def _recommend(activation: str | Activation) -> Recommendation:
    """Ask the theory, once for each function: many layers have the same."""
    f = as_activation(activation)
    key = f.name, f.value(PROBE).tobytes()
    if key not in _ADVICE:
        _ADVICE[key] = recommend(activation)
    return _ADVICE[key]


def _embedding(place: Place, module: nn.Module) -> Decision:
    """Rows of mean square 1, as layers expect their inputs; 1 / features where they make the outputs too."""
    padding: Any = module.padding_idx
    zero = "" if padding is None else f", row {padding} is padding"
    if all(isinstance(owner, _EMBEDDINGS) for owner, _ in place.owners):
        return Decision(Embedding(1.0, padding), "", "by kind", f"rows of mean square 1{zero}")
    std = float(place.tensor.shape[1]) ** -0.5
    return Decision(
        Embedding(std, padding), "", "by kind", f"tied to a layer: its outputs have mean square 1{zero}"
    )


def _kind(module: nn.Module) -> str:
    """Name the class of a module; `fully_shard` puts one of its own, FSDP..., before it."""
    classes = type(module).__mro__
    return classes[2 if classes[1].__name__ == "FSDPModule" else 0].__name__


def _gates(module: nn.Module) -> int:
    """Give the number of matrices that a recurrent layer packs into one."""
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        return 4
    return 3 if isinstance(module, nn.GRU | nn.GRUCell) else 1


def _is_conv1d(module: nn.Module) -> bool:
    """Whether it is the linear layer of transformers that keeps its weight as (in, out)."""
    return any(
        base.__name__ == "Conv1D" and base.__module__ == "transformers.pytorch_utils"
        for base in type(module).__mro__
    )


def _scale_of_norm(module: nn.Module, attribute: str) -> str | None:
    """Find out whether a normalization of the user's own multiplies by its weight or by 1 + weight.

    It is tried with both on a signal of mean square 4; what gives one of mean square 1 is the one.
    """
    bone = skeleton(module, {})
    n = module._parameters[attribute].shape[0]
    for scheme in ("ones", "zeros"):
        for name, parameter in module._parameters.items():
            if parameter is not None:
                value = 1.0 if scheme == "ones" and "bias" not in name else 0.0
                bone._parameters[name] = nn.Parameter(torch.full(tuple(parameter.shape), value, device="cpu"))
        for shape in ((4, n), (2, n, 4, 4)):
            signal = 2.0 * torch.from_numpy(normal(shape, seed=0))
            y = evaluate(bone, signal)
            if y is not None and y.shape == signal.shape and abs(float(y.square().mean()) - 1) < 0.2:
                return scheme
    return None
