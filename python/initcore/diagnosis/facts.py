"""What verdicts and advice are based on: measured layers, and how signals and gradients grow through them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .measurement import row_cosines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from initcore._core import Initializer
    from initcore.initializers import Array

    from .report import LayerDiagnosis


#: Of the loss of guessing: below it, a network has learned.
LEARNED = 0.5


@dataclass(frozen=True)
class Facts:
    """What was measured.

    Attributes
    ----------
    layers : sequence of LayerDiagnosis
        First to last.
    inputs : LayerDiagnosis or None
    loss, guess : float or None
        The loss, and that of an answer that knows only how frequent each is.
    init : Initializer or None
        What the weights were drawn by.
    """

    layers: Sequence[LayerDiagnosis]
    inputs: LayerDiagnosis | None
    loss: float | None = None
    guess: float | None = None
    init: Initializer | None = None

    @property
    def learned(self) -> bool:
        """Whether the loss is below half of that of guessing: a network that trains has been trained."""
        return self.loss is not None and self.guess is not None and self.loss < LEARNED * self.guess

    def forward_growth(self) -> float | None:
        """Give what the mean square of signals is multiplied by per layer, from first to last hidden one."""
        hidden = self.layers[:-1]
        if len(hidden) > 1:
            change = log(hidden[-1].mean_square) - log(hidden[0].mean_square)
            return _per_layer(change, len(hidden) - 1)
        if self.inputs is None:
            return None
        return _per_layer(log(self.layers[0].mean_square) - log(self.inputs.mean_square), 1)

    def backward_growth(self) -> float | None:
        """Give what squared gradients are multiplied by per layer, from the last hidden one to the first."""
        change, steps = self.backward(0), self.top
        return None if change is None or not steps else _per_layer(change, steps)

    @property
    def top(self) -> int:
        """The last hidden layer. How large weights above it are is a matter of the learning rate alone."""
        return max(len(self.layers) - 2, 0)

    def backward(self, i: int) -> float | None:
        """Give the logarithm of the squared norm of dL/dz in layer i over that in layer `top`, if known."""
        if i > self.top:
            return None
        here, last = self.layers[i], self.layers[self.top]
        if here.gradient_norm is not None and last.gradient_norm is not None:
            change = 2 * (log(here.gradient_norm) - log(last.gradient_norm))
        elif here.sensitivity is not None and last.sensitivity is not None:
            change = log(last.sensitivity) - log(here.sensitivity)  # on the way up, the matrices are the same
        else:
            return None
        return None if math.isnan(change) else change

    def alike(self, i: int) -> float | None:
        """Give the logarithm of the mean of 1 - cosine between inputs, over that in the first layer."""
        here, first = (_apart(layer.sample) for layer in (self.layers[i], self.layers[0]))
        return None if here is None or not first else log(max(here, 0.0)) - log(first)


def _apart(sample: Array) -> float | None:
    """Give the mean of 1 - cosine between different rows."""
    cosines = row_cosines(sample)
    rows = len(cosines)
    if rows < 2 or not np.isfinite(cosines).all():
        return None
    return 1.0 - float(cosines.sum() - np.trace(cosines)) / (rows * (rows - 1))


def log(value: float) -> float:
    """Give the logarithm: minus infinity of 0, NaN where there is none."""
    if value == 0:
        return -math.inf
    return math.log(value) if value > 0 else math.nan


def _per_layer(change: float, layers: int) -> float | None:
    if math.isnan(change):
        return None
    return math.inf if change / layers > 700 else math.exp(change / layers)
