"""What a fit takes and returns beside arrays: callbacks, early stopping, the history."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy.typing as npt

from .arrays import integer
from .initializers import Array

#: Inputs (rows, inputs); int64 labels (rows,) or values (rows, outputs); the weights of the rows, if any.
Samples: TypeAlias = tuple[Array, npt.NDArray[Any], Array | None]

#: Called after every epoch with its row of the history; something true ends the fit.
Callback: TypeAlias = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class EarlyStopping:
    """End a fit when a figure of the history no longer gets better.

    Parameters
    ----------
    monitor : {"val_loss", "val_accuracy", "loss", "accuracy"}
        The figure: a loss should fall, an accuracy rise.
    patience : int
        The fit ends after this many epochs in a row that were no better than the best one.
    min_delta : float
        Better means by more than this.
    restore_best : bool
        Leave the network with the parameters of the best epoch, instead of those of the last.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described.
    """

    monitor: str = "val_loss"
    patience: int = 5
    min_delta: float = 0.0
    restore_best: bool = True

    MONITORS: ClassVar[tuple[str, ...]] = ("val_loss", "val_accuracy", "loss", "accuracy")

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.monitor not in self.MONITORS:
            msg = f"monitor must be one of {', '.join(self.MONITORS)}, got {self.monitor!r}"
            raise ValueError(msg)
        integer(self.patience, "patience", 1)
        if not (math.isfinite(self.min_delta) and self.min_delta >= 0):
            msg = f"min_delta must be finite and at least 0, got {self.min_delta!r}"
            raise ValueError(msg)

    def figure(self, row: Mapping[str, Any]) -> float:
        """Return the figure of an epoch, turned so that less is better; infinite where it is not a number."""
        value = row[self.monitor]
        figure = -value if self.monitor.endswith("accuracy") else value
        return math.inf if math.isnan(figure) else figure


class Watch:
    """An `EarlyStopping` at work in one fit.

    Attributes
    ----------
    best : dict or None
        The row of the best epoch so far.
    """

    def __init__(self, rule: EarlyStopping) -> None:
        """Begin before the first epoch."""
        self.rule = rule
        self.best: dict[str, Any] | None = None
        self.waited = 0

    def see(self, row: dict[str, Any]) -> bool:
        """Take note of an epoch; say whether it is the best one so far."""
        better = self.best is None or (
            self.rule.figure(row) < self.rule.figure(self.best) - self.rule.min_delta
        )
        self.waited = 0 if better else self.waited + 1
        if better:
            self.best = row
        return better

    @property
    def over(self) -> bool:
        """Whether the fit should end."""
        return self.waited >= self.rule.patience


@dataclass(frozen=True)
class Divergence:
    """Where numbers ceased to be finite.

    Attributes
    ----------
    epoch, step : int
        From 0; steps are counted over all epochs.
    layer : int or None
        The layer where it began; None where the loss of finite outputs was not finite.
    what : {"output", "loss", "gradient", "parameters"}
        What ceased to be finite.
    message : str
        All that in words.
    """

    epoch: int
    step: int
    layer: int | None
    what: str
    message: str

    def __str__(self) -> str:
        """Return the words."""
        return self.message


@dataclass
class History(Mapping[str, list[Any]]):
    """What happened in a fit: lists with one entry per epoch, as ``history["loss"]`` or ``history.loss``.

    ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy`` (None where there is none), ``gradient_norm``
    (mean over the steps, before clipping) and ``seconds``.

    Attributes
    ----------
    epochs : list of dict
        The same, one dict per epoch.
    best_epoch : int or None
        With early stopping: the epoch with the best figure.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None

    NAMES: ClassVar[tuple[str, ...]] = (
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "gradient_norm",
        "seconds",
    )

    def __getitem__(self, name: str) -> list[Any]:
        """Return the list of that name."""
        if name not in self.NAMES:
            raise KeyError(name)
        return [row[name] for row in self.epochs]

    def __getattr__(self, name: str) -> list[Any]:
        """Return the list of that name."""
        if name in History.NAMES:
            return self[name]
        raise AttributeError(name)

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self.NAMES)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self.NAMES)

    @property
    def divergence(self) -> Divergence | None:
        """The first number that was not finite, if there was one: see `MLP.fit`."""
        return next((row["divergence"] for row in self.epochs if row["divergence"] is not None), None)

    @property
    def diverged(self) -> bool:
        """Whether a number was not finite."""
        return self.divergence is not None

    @property
    def skipped(self) -> int:
        """Steps that were left out because a number was not finite."""
        return sum(row["skipped"] for row in self.epochs)
