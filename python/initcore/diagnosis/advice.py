"""What to do about a verdict: which scheme, from what suits the activation and how large the weights are."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from initcore.initializers import get
from initcore.theory import recommend

from .facts import log

if TYPE_CHECKING:
    from initcore.theory import Recommendation

    from .facts import Facts

#: Variances of weights that fit, relative to what suits the activation.
FITS = (0.7, 1.5)


def advice(facts: Facts, i: int, verdict: str, limit: float) -> str:
    """Say what to do about the verdict of layer i."""
    scheme = _scheme(facts, i)
    fix = f"use {scheme}" if scheme else "use a scheme that suits the activation (ic.theory.recommend)"
    if verdict in {"zero trap", "symmetric"}:
        return f"draw the weights at random, so that units differ: {fix}"
    if verdict == "dead":
        return "raise the biases, or lower the learning rate if units died in training; leaky_relu cannot die"
    start = facts.inputs
    if start is not None and log(start.mean_square) > limit:
        return f"standardise the inputs: their root mean square is {math.sqrt(start.mean_square):.3g}"
    if verdict == "vanishing" and (other := _unfit(facts, i, limit)):
        return other
    off = _off(facts)
    if off is None:
        return fix
    share, where = off
    if not FITS[0] < share < FITS[1]:
        return f"{fix}: the weights of {where} have {share:.2g} times the variance it gives"
    if verdict == "exploding":
        return (
            "the weights have the size that suits the activation: lower the learning rate, or look at biases"
        )
    return (
        "the weights have the size that suits the activation, but so many layers of so few units scatter too "
        "much: use wider layers, fewer of them, or residual connections"
    )


def reserve(facts: Facts, limit: float) -> str:
    """Say of a healthy network how deep it may become, if it is half way to a limit with a wrong scheme."""
    off, layers = _off(facts), len(facts.layers) - 1
    if off is None or FITS[0] < off[0] < FITS[1]:
        return ""
    for what, rate in (("signals", facts.forward_growth()), ("gradients", facts.backward_growth())):
        if rate is None or not 0 < rate < math.inf or abs(log(rate)) * layers <= limit / 2:
            continue
        deepest = max(limit / abs(log(rate)), layers + 2)
        better = _scheme(facts, layers)
        instead = f"; {better} keeps them" if better else ""
        return f"nothing for this one, but at {deepest:.0f} layers {what} would be too far off{instead}"
    return ""


def _unfit(facts: Facts, i: int, limit: float) -> str:
    """Say so if no size of the weights helps: the activation lets too little of gradients through."""
    suits = _suits(facts, i)
    layers = len(facts.layers) - 1
    if suits is None or not 0 < suits.chi < 1 or log(suits.chi) * layers > -limit:
        return ""
    return (
        f"use another activation, such as tanh, or relu with he_normal: even under {suits.scheme}, which "
        f"suits it, {suits.activation} multiplies squared gradients by {suits.chi:.2g} in each of "
        f"{layers + 1} layers"
    )


def _suits(facts: Facts, i: int) -> Recommendation | None:
    """Give what suits the activation of a hidden layer: of this one, or of the nearest below."""
    for layer in reversed(facts.layers[: max(min(i, len(facts.layers) - 2), 0) + 1]):
        if layer.activation is not None:
            return _recommended(layer.activation)
    return None


def _scheme(facts: Facts, i: int) -> str | None:
    suits = _suits(facts, i)
    return None if suits is None else suits.scheme


def _look_up(activation: str) -> Recommendation | None:
    try:
        return recommend(activation)
    except ValueError:
        return None


_recommended = lru_cache(64)(_look_up)


def _off(facts: Facts) -> tuple[float, str] | None:
    """Give by what factor the variance of weights is off in the layer where it is most, and its name."""
    found = []
    for layer in facts.layers[:-1] or facts.layers:
        suits = None if layer.activation is None else _recommended(layer.activation)
        if suits and layer.fan_in and layer.weight_norm is not None:
            variance = layer.weight_norm**2 / (layer.fan_in * layer.width)
            found.append((variance / get(suits.scheme).std((layer.fan_in, layer.width)) ** 2, layer.name))
    # the first of those that are about as far off
    return max(found, key=lambda pair: round(2 * min(abs(log(pair[0])), 1e3))) if found else None
