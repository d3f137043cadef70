"""What the numbers of a network mean: a verdict for each layer and for the whole, with the evidence.

With A the mean square of a layer's outputs and D the squared norm of dL/dz, the rules are, in this order ::

    zero trap    some weights are 0, and no weight has both a signal below it and an error above
    symmetric    units of a hidden layer have equal weights and equal gradients: they stay equal for ever
    dead         no unit of a layer answers to its input, or more do not than chance can explain
    saturated    most outputs of a layer lie where its activation is flat
    exploding    log A is above the inputs' by more than LIMIT, or above LIMIT in the outputs; or overflow
    vanishing    log D falls by more than LIMIT from the last hidden layer on its way down, or log A from
                 the first on its way up; where gradients are not known, the distance between inputs does
    chaotic      log D rises by more than LIMIT on its way down, while signals stay as they are

A network whose loss is below half of that of guessing has learned: it is not exploding, saturated or chaotic.

LIMIT is 6: Schoenholz et al. (Deep information propagation, ICLR 2017) found networks trainable down to about
six depth scales, the depth over which squared gradients change by a factor e; `initcore experiment
depth-limit` measures it. Units that answer to nothing come about by chance: with weights and biases of mean
0, a unit is dead with a probability of 1/2 at most, however alike the inputs are, and the number of dead
units scatters as a binomial number does. Equal units do not come about by chance at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .advice import advice, reserve
from .facts import log
from .report import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .facts import Facts

LIMIT = 6.0
#: Dead units are too many at this many standard deviations: at worst, a layer has a false alarm in 3e-5.
Z_DEAD = 4.0


@dataclass(frozen=True)
class Verdict:
    """A verdict, its evidence and what to do."""

    name: str
    evidence: str = ""
    advice: str = ""


def judge(facts: Facts) -> tuple[list[Verdict], Verdict]:
    """Give a verdict for each layer, and that of the network: the first in `VERDICTS` that a layer has."""
    verdicts = [_judge(facts, i) for i in range(len(facts.layers))]
    first = min((VERDICTS.index(v.name) for v in verdicts), default=0)
    name = VERDICTS[first]
    if name == "healthy":
        return verdicts, _healthy(facts)
    alike = [i for i, v in enumerate(verdicts) if v.name == name]
    # gradients are at their worst in the first of them, signals in the last
    of_signals = name == "exploding" or (name == "vanishing" and facts.backward(0) is None)
    shown = alike[-1] if of_signals else alike[0]
    where = facts.layers[shown].name + (f" and {len(alike) - 1} more" if len(alike) > 1 else "")
    return verdicts, replace(verdicts[shown], evidence=f"{where}: {verdicts[shown].evidence}")


def _judge(facts: Facts, i: int) -> Verdict:
    hidden = i + 1 < len(facts.layers)
    for name, rule in RULES:
        if not hidden and name in {"symmetric", "dead", "saturated"}:
            continue  # outputs may be equal, constant or sure of themselves
        evidence = rule(facts, i)
        if evidence:
            return Verdict(name, evidence, advice(facts, i, name, LIMIT))
    return Verdict("healthy")


def _healthy(facts: Facts) -> Verdict:
    forward, backward = facts.forward_growth(), facts.backward_growth()
    parts = []
    if forward is not None:
        parts.append(f"the mean square of signals is multiplied by {forward:.3g} per layer")
    if backward == 0:
        parts.append("gradients get through once a layer above, whose weights are 0, has moved")
    elif backward is not None:
        parts.append(f"that of gradients on their way back by {backward:.3g}")
    return Verdict("healthy", ", ".join(parts) or "nothing stands out", reserve(facts))


def _zero_trap(facts: Facts, i: int) -> str:
    below = facts.inputs
    for layer in facts.layers:
        if layer.weight_norm is None or layer.gradient_norm is None or below is None:
            return ""
        if below.mean_square != 0 and layer.gradient_norm != 0:
            return ""
        below = layer
    zeros = sum(layer.weight_norm == 0 for layer in facts.layers)
    if not zeros:
        return ""
    own = facts.layers[i].weight_norm == 0
    which = "its weights are 0" if own else "weights of other layers are 0"
    return f"{which}, and so is the gradient of every weight: no step will ever move one"


def _overflow(facts: Facts, i: int) -> str:
    count = facts.layers[i].nonfinite
    return f"{count} {'number is' if count == 1 else 'numbers are'} infinite or NaN" if count else ""


def _symmetric(facts: Facts, i: int) -> str:
    layer = facts.layers[i]
    if layer.twins is None and layer.weight_norm is None and layer.duplicates and layer.dead is not None:
        equal = layer.duplicates - round(layer.dead * layer.width)  # dead units are equal, too
        return f"{equal} of {layer.width} units always give the output of another unit" if equal > 1 else ""
    if not layer.twins or layer.width == 1:
        return ""
    return (
        f"{layer.twins} of {layer.width} units have the weights of another unit and the same gradient: "
        "they learn as one, however long they train"
    )


def _dead(facts: Facts, i: int) -> str:
    layer = facts.layers[i]
    before = facts.inputs if i == 0 else facts.layers[i - 1]
    if layer.dead is None or math.isnan(layer.dead):
        return ""
    if before is not None and (before.dead == 1 or not before.mean_square > 1e-30):
        return ""  # the blame is with the layers below
    if not layer.dead > 0.5 or _saturated(facts, i):
        return ""
    if i > 0 and (apart := facts.alike(i - 1)) is not None and apart < -LIMIT:
        return ""  # what told the inputs apart was lost on the way here
    if layer.dead == 1:
        return "no unit answers to its input: nothing gets through, forward or back"
    if layer.dead > 0.5 + Z_DEAD * math.sqrt(0.25 / layer.width):
        return (
            f"{layer.dead:.0%} of its units give the same output for every input; with weights and biases of "
            "mean 0, half of them would at most"
        )
    return ""


def _saturated(facts: Facts, i: int) -> str:
    layer = facts.layers[i]
    if layer.saturated is None or not layer.saturated > 0.5 or facts.learned:
        return ""
    return f"{layer.saturated:.0%} of its outputs lie where {layer.activation} is flat"


def _exploding(facts: Facts, i: int) -> str:
    layer, last = facts.layers[i], i + 1 == len(facts.layers)
    start = facts.layers[0] if facts.inputs is None else facts.inputs
    if facts.learned:
        return ""  # it has learned to be sure of itself
    rise = log(layer.mean_square) - log(start.mean_square)
    if rise > LIMIT:
        return f"the mean square of signals is {_times(rise)} that of the inputs{_rate(rise, i + 1)}"
    if last and log(layer.mean_square) > LIMIT:
        sizes = [f"{math.sqrt(one.mean_square):.3g}" for one in (layer, start)]
        return f"the outputs have a root mean square of {sizes[0]}, the inputs one of {sizes[1]}"
    return ""


def _vanishing(facts: Facts, i: int) -> str:
    layers = facts.layers
    if any(layer.weight_norm == 0 and layer.weight_gradient_norm != 0 for layer in layers[i + 1 :]):
        return ""  # a layer above begins at 0, and will let gradients through once it has moved
    start = facts.inputs
    if i == 0 and start is not None and max(log(start.mean_square), log(layers[-1].mean_square)) < -LIMIT:
        sizes = [f"{math.sqrt(one.mean_square):.2g}" for one in (start, layers[-1])]
        return f"the inputs have a root mean square of {sizes[0]}, and the outputs of {sizes[1]}"
    change = facts.backward(i)
    if change is not None and change < -LIMIT:
        return f"{_gradients(change)}{_rate(change, facts.top - i)}"
    if layers[-1].gradient_norm == 0 and facts.loss != 0:
        return "no gradient comes from the outputs"
    if layers[i].dead == 1 and layers[i].slope_square and layers[i].weight_norm != 0:
        return "the outputs are the same for every input: what told the inputs apart is lost"
    fall = log(layers[i].mean_square) - log(layers[0].mean_square)
    if i + 1 < len(layers) and fall < -LIMIT:
        return f"the mean square of signals is {_times(fall)} that in the first layer{_rate(fall, i)}"
    if change is None and (apart := facts.alike(i)) is not None and apart < -LIMIT:
        return f"inputs have become alike: they are {_times(apart)} as far apart as in the first layer"
    return ""


def _chaotic(facts: Facts, i: int) -> str:
    change = facts.backward(i)
    if change is None or not change > LIMIT or facts.learned:
        return ""
    return f"{_gradients(change)}{_rate(change, facts.top - i)}, while signals keep their size"


#: In the order in which they apply to a layer.
RULES: tuple[tuple[str, Callable[[Facts, int], str]], ...] = (
    ("exploding", _overflow),
    ("zero trap", _zero_trap),
    ("symmetric", _symmetric),
    ("dead", _dead),
    ("saturated", _saturated),
    ("exploding", _exploding),
    ("vanishing", _vanishing),
    ("chaotic", _chaotic),
)


def _gradients(change: float) -> str:
    return f"squared gradients that arrive here are {_times(change)} those in the last hidden layer"


def _times(change: float) -> str:
    """Print a factor, given its logarithm."""
    if change == -math.inf:
        return "0 times"
    if abs(change) > 600:
        return f"1e{change / math.log(10):+.0f} times"
    return f"{math.exp(change):.2g} times"


def _rate(change: float, layers: int) -> str:
    """Print the factor per layer of a change over some of them."""
    if layers < 2 or not abs(change) < 600:
        return ""
    return f" (x {math.exp(change / layers):.3g} per layer)"
