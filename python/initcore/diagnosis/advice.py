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
#: Sum of 1 / width over the layers beyond which signals scatter by a factor e, for relu (Hanin 2018).
NARROW = 0.2
#: Logarithm of what a layer may multiply mean squares by before deep networks are worth a word.
DRIFT = 0.5


def advice(facts: Facts, i: int, verdict: str, limit: float) -> str:
    """Say what to do about the verdict of layer i."""
    layer, start = facts.layers[i], facts.inputs
    scheme = _scheme(facts, i)
    fix = f"use {scheme}" if scheme else "use a scheme that suits the activation (ic.theory.recommend)"
    if verdict in {"zero trap", "symmetric"}:
        return f"draw the weights at random, so that units differ: {fix}"
    if start is not None and abs(log(start.mean_square)) > limit:
        return f"standardise the inputs: their root mean square is {math.sqrt(start.mean_square):.3g}"
    if verdict == "dead":
        other = "; leaky_relu cannot die" if layer.activation in {None, "relu"} else ""
        return f"raise the biases, or lower the learning rate if units died in training{other}"
    if any(one.nonfinite for one in facts.layers):
        return f"begin anew, with a lower learning rate if numbers overflowed in training, else {fix}"
    if verdict == "vanishing" and (other := _unfit(facts, i, limit)):
        return other
    off = _off(facts)
    if off is None:
        return fix
    share, where, fits = off
    if not fits:
        times = f"the weights of {where} have {share:.2g} times the variance it gives"
        if scheme and facts.init == get(scheme):
            return f"{times.replace('it gives', f'that {scheme} gave them')}: lower the learning rate"
        return f"{fix}: {times}"
    well = "the weights have the size that suits the activation"
    if verdict == "saturated":
        return f"{well}: look at the inputs, which may want to be standardised, and at the biases"
    if sum(1 / one.width for one in facts.layers) > NARROW:
        return (
            f"{well}, but so many layers of so few units scatter too much: use wider layers, fewer of them, "
            "or residual connections"
        )
    return (
        f"{well}: lower the learning rate if training brought them here; else use fewer layers, or relu, "
        "which keeps signals of any size as they are"
    )


def reserve(facts: Facts) -> str:
    """Say of a healthy network which scheme would serve deeper ones better, if signals or gradients drift."""
    off = _off(facts, within=True)
    if off is None or off[2]:
        return ""
    drift = max(abs(log(rate)) for rate in (facts.forward_growth(), facts.backward_growth(), 1.0) if rate)
    return (
        f"nothing; in deeper networks, {_scheme(facts, facts.top)} would serve better"
        if drift > DRIFT
        else ""
    )


def _unfit(facts: Facts, i: int, limit: float) -> str:
    """Say so if no size of the weights helps: the activation lets too little of gradients through."""
    suits = _suits(facts, i)
    layers = facts.top
    if suits is None or not 0 < suits.chi < 1 or log(suits.chi) * layers > -limit:
        return ""
    return (
        f"use another activation, such as tanh, or relu with he_normal: even under {suits.scheme}, which "
        f"suits it, {suits.activation} multiplies squared gradients by {suits.chi:.2g} in each of "
        f"{layers} layers"
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


def _off(facts: Facts, *, within: bool = False) -> tuple[float, str, bool] | None:
    """Give by what factor the variance of weights is off where it is most, that layer's name, if it fits.

    Among all hidden layers, or those `within`, whose inputs are hidden too. Of few weights, the variance is
    off by chance as well.
    """
    found = []
    for layer in facts.layers[int(within) : facts.top + 1]:
        suits = None if layer.activation is None else _recommended(layer.activation)
        if suits and layer.fan_in and layer.weight_norm is not None and math.isfinite(layer.weight_norm):
            count = layer.fan_in * layer.width
            variance = layer.weight_norm**2 / count
            share = variance / get(suits.scheme).std((layer.fan_in, layer.width)) ** 2
            chance = 4 * math.sqrt(2 / count)
            found.append((share, layer.name, FITS[0] - chance < share < FITS[1] + chance))
    # the first of those that are about as far off
    return max(found, key=lambda one: (not one[2], round(2 * min(abs(log(one[0])), 1e3)))) if found else None
