"""Weights that shrink as a network gets deeper or wider: residual branches, and muP."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, SupportsIndex, Unpack

from initcore._core import Initializer, Normal, VarianceScaling
from initcore.arrays import integer, one_of, positive

from .registry import get, scheme

if TYPE_CHECKING:
    from .options import Array, Options, Shape

_PARTS = ("encoder", "decoder")
_ROLES = ("input", "hidden", "output")


def _gpt2_residual(num_layers: SupportsIndex, std: float = 0.02) -> Initializer:
    return Normal(0.0, std / math.sqrt(2 * integer(num_layers, "num_layers", 1)))


@scheme(
    _gpt2_residual,
    variance="std^2 / (2 num_layers)",
    source="A. Radford et al., Language models are unsupervised multitask learners, 2019.",
)
def gpt2_residual(
    shape: Shape, *, num_layers: SupportsIndex, std: float = 0.02, **options: Unpack[Options]
) -> Array:
    """Draw GPT-2's weights that write into the residual stream, whose variance then stays at any depth.

    Each layer adds twice, after attention and after the feed-forward block. All other weights are
    ``normal(std=std)``.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    num_layers : int
        Transformer layers of the network.
    std : float
        Standard deviation of the other weights.
    ...
    """
    return _gpt2_residual(num_layers, std)(shape, **options)


def _fixup(num_branches: SupportsIndex, branch_depth: SupportsIndex = 2) -> Initializer:
    depth = integer(branch_depth, "branch_depth", 2)
    return get("he_normal").scaled(integer(num_branches, "num_branches", 1) ** (-1 / (2 * depth - 2)))


@scheme(
    _fixup,
    variance="2 / fan_in * num_branches^(-1 / (branch_depth - 1))",
    source="H. Zhang et al., Fixup initialization: residual learning without normalization, ICLR 2019.",
)
def fixup(
    shape: Shape,
    *,
    num_branches: SupportsIndex,
    branch_depth: SupportsIndex = 2,
    **options: Unpack[Options],
) -> Array:
    """Draw the weights within Fixup's residual branches, which train without normalization layers.

    The last layer of each branch, and that of the network, are `zeros`; layers outside of branches are
    `he_normal`.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    num_branches : int
        Residual branches of the network.
    branch_depth : int
        Weight layers in a branch, 2 at least.
    ...
    """
    return _fixup(num_branches, branch_depth)(shape, **options)


def _t_fixup(num_layers: SupportsIndex, part: str = "encoder") -> Initializer:
    layers = integer(num_layers, "num_layers", 1)
    encoder = one_of(part, "part", _PARTS) == "encoder"
    return get("xavier_uniform").scaled(0.67 * layers**-0.25 if encoder else (9 * layers) ** -0.25)


@scheme(
    _t_fixup,
    variance="2 / (fan_in + fan_out), times 0.45 / sqrt(num_layers) (encoder) or 0.33 (decoder)",
    source="X. Huang et al., Improving transformer optimization through better initialization, ICML 2020.",
)
def t_fixup(
    shape: Shape, *, num_layers: SupportsIndex, part: str = "encoder", **options: Unpack[Options]
) -> Array:
    """Draw T-Fixup's value, output and feed-forward weights, for transformers without warm-up or layer norm.

    Query and key weights are `xavier_uniform`; embeddings ``embedding(std=features**-0.5 * (9 *
    layers)**-0.25)`` with the layers of the decoder.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    num_layers : int
        Layers of the part, encoder or decoder.
    part : {"encoder", "decoder"}
        Where the weight stands.
    ...
    """
    return _t_fixup(num_layers, part)(shape, **options)


def _deepnet_scales(
    encoder_layers: SupportsIndex, decoder_layers: SupportsIndex, part: str
) -> tuple[float, float]:
    """Give alpha and beta of table 1 of the paper."""
    n = integer(encoder_layers, "encoder_layers", 0)
    m = integer(decoder_layers, "decoder_layers", 0)
    layers = n if one_of(part, "part", _PARTS) == "encoder" else m
    if layers == 0:
        msg = f"a network without {part} layers has no weights in them"
        if n or m:
            msg += f": did you mean part={_PARTS[part == 'encoder']!r}?"
        raise ValueError(msg)
    if n == 0 or m == 0:
        return (2 * layers) ** 0.25, (8 * layers) ** -0.25
    if part == "encoder":
        both = (n**4 * m) ** 0.0625
        return 0.81 * both, 0.87 / both
    return (3 * m) ** 0.25, (12 * m) ** -0.25


def _deepnet(
    encoder_layers: SupportsIndex = 0, decoder_layers: SupportsIndex = 0, part: str = "encoder"
) -> Initializer:
    return get("xavier_normal").scaled(_deepnet_scales(encoder_layers, decoder_layers, part)[1])


_DEEPNET = "H. Wang et al., DeepNet: scaling transformers to 1,000 layers, 2022, table 1."


@scheme(_deepnet, variance="beta^2 2 / (fan_in + fan_out), beta by the numbers of layers", source=_DEEPNET)
def deepnet(
    shape: Shape,
    *,
    encoder_layers: SupportsIndex = 0,
    decoder_layers: SupportsIndex = 0,
    part: str = "encoder",
    **options: Unpack[Options],
) -> Array:
    """Draw DeepNet's value, output and feed-forward weights; query and key weights are `xavier_normal`.

    The sublayers are joined as ``layer_norm(alpha * x + sublayer(x))``, with `deepnet_alpha`.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    encoder_layers, decoder_layers : int
        Layers of the network; 0 where it has no such part.
    part : {"encoder", "decoder"}
        Where the weight stands.
    ...
    """
    return _deepnet(encoder_layers, decoder_layers, part)(shape, **options)


def deepnet_alpha(
    *, encoder_layers: SupportsIndex = 0, decoder_layers: SupportsIndex = 0, part: str = "encoder"
) -> float:
    """Give the weight of the residual stream in DeepNet, to go with `deepnet`, whose parameters these are."""
    return _deepnet_scales(encoder_layers, decoder_layers, part)[0]


def _mup(base_fan_in: SupportsIndex, std: float | None = None, role: str = "hidden") -> Initializer:
    base = integer(base_fan_in, "base_fan_in", 1)
    std = base**-0.5 if std is None else positive(std, "std")
    match one_of(role, "role", _ROLES):
        case "input":
            return Normal(0.0, std)
        case "hidden":
            return VarianceScaling(std**2 * base, "fan_in", "normal")
        case _:
            return VarianceScaling((std * base) ** 2, "fan_in_squared", "normal")


_MUP = (
    "G. Yang et al., Tensor programs V: tuning large neural networks via zero-shot hyperparameter transfer, "
    "2021, table 3."
)


@scheme(
    _mup,
    variance="std^2 times (base_fan_in / fan_in)^p, p = 0, 1, 2 in input, hidden and output layers",
    source=_MUP,
)
def mup(
    shape: Shape,
    *,
    base_fan_in: SupportsIndex,
    std: float | None = None,
    role: str = "hidden",
    **options: Unpack[Options],
) -> Array:
    """Draw weights in the maximal update parametrization: what was tuned at one width is right at any.

    Learning rates scale too, see `mup_lr`.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    base_fan_in : int
        Fan-in of the same weight in the network whose hyperparameters were tuned.
    std : float, optional
        Its standard deviation there, ``base_fan_in**-0.5`` if not given.
    role : {"input", "hidden", "output"}
        Which of the weight's sides grow with the width: the outputs only (also biases and embeddings), both,
        or the inputs only.
    ...
    """
    return _mup(base_fan_in, std, role)(shape, **options)


def mup_lr(role: str, *, width_ratio: float, optimizer: str = "adam") -> float:
    """Give the factor of a weight's learning rate that goes with `mup`.

    Parameters
    ----------
    role : {"input", "hidden", "output"}
        As in `mup`.
    width_ratio : float
        The network's width over that of the tuned one.
    optimizer : {"adam", "sgd"}
        Adam stands for every rule whose steps do not grow with the gradient.

    Returns
    -------
    float

    References
    ----------
    G. Yang et al., Tensor programs V, 2021, table 3.
    """
    ratio = positive(width_ratio, "width_ratio")
    factors = {
        "adam": {"input": 1.0, "hidden": 1 / ratio, "output": 1 / ratio},
        "sgd": {"input": ratio, "hidden": 1.0, "output": 1 / ratio},
    }
    rule = factors[one_of(optimizer.lower(), "optimizer", tuple(factors))]
    return rule[one_of(role, "role", _ROLES)]
