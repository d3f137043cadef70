"""Learning-rate schedules: numbers, checked when made; Rust multiplies each step's learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from . import _core


@dataclass(frozen=True)
class _Schedule:
    """What `MLP.fit` takes as its schedule: numbers, checked when made."""

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        _core.check_schedule(self)


@dataclass(frozen=True)
class ConstantSchedule(_Schedule):
    """The learning rate stays as it is."""

    kind: ClassVar[str] = "constant"


@dataclass(frozen=True)
class StepSchedule(_Schedule):
    """Multiply the learning rate at regular intervals.

    With a whole number of epochs it is `torch.optim.lr_scheduler.StepLR`, stepped once per epoch.

    Parameters
    ----------
    every : float
        Epochs from one change to the next, above 0; may be a fraction.
    factor : float
        What each change multiplies the learning rate by, above 0.
    """

    kind: ClassVar[str] = "step"
    every: float
    factor: float = 0.1


@dataclass(frozen=True)
class CosineSchedule(_Schedule):
    """Half a cosine from the full learning rate down (Loshchilov & Hutter 2017), after a linear warm-up.

    The learning rate changes with every step and reaches its end with the fit's last.

    Parameters
    ----------
    warmup : float
        Epochs over which the learning rate rises to its full value, at most those of the fit; may be a
        fraction. Of n such steps the first has 1 / n of it.
    final_factor : float
        Share of the learning rate that is left at the end, in [0, 1].
    """

    kind: ClassVar[str] = "cosine"
    warmup: float = 0.0
    final_factor: float = 0.0


#: Every schedule there is.
Schedule: TypeAlias = ConstantSchedule | StepSchedule | CosineSchedule
