"""What a session of the laboratory trains on what: settings as users give them, checked."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from initcore import datasets, specs
from initcore.initializers import get
from initcore.initializers.registry import SCHEMES
from initcore.nn import MLP
from initcore.optimizers import OPTIMIZERS, Optimizer

if TYPE_CHECKING:
    from initcore.datasets import Dataset

LOSS = "softmax_cross_entropy"
#: Larger networks would keep the page waiting for the end of an epoch.
MAX_LAYERS, MAX_WIDTH, MAX_PARAMETERS = 20, 1024, 1_000_000
#: What the weights may be multiplied by.
SCALES = (0.01, 100.0)


def _load(name: str, seed: int) -> Dataset:
    """Load a data set once for all sessions; nobody writes to it."""
    return datasets.load(name, seed)


load = functools.lru_cache(maxsize=16)(_load)


def _schemes() -> tuple[str, ...]:
    """Name every scheme that fits dense layers and needs no arguments."""
    found = []
    for name in dict.fromkeys(scheme.name for scheme in SCHEMES.values()):
        try:
            get(name)((2, 3), seed=0)
            get(name)((3, 2), seed=0)
        except (ValueError, TypeError):
            continue
        found.append(name)
    return tuple(found)


schemes = functools.cache(_schemes)


def _number(value: object, what: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        msg = f"{what}: expected a number, got {'nothing' if value in (None, '') else repr(value)}"
        raise ValueError(msg)
    return number


def _whole(value: object, what: str, low: int, high: int) -> int:
    # Through the text, or seeds beyond 2^53 would be rounded.
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if not isinstance(number, int):
        real = _number(value, what)
        number = int(real) if real.is_integer() else low - 1
    if not low <= number <= high:
        msg = f"{what}: expected a whole number from {low} to {high}, got {value}"
        raise ValueError(msg)
    return number


@dataclass(frozen=True)
class Settings:
    """What to train on what, as a user gives it; checked when made.

    Parameters
    ----------
    data : str
        One of `datasets.SOURCES`.
    widths : str
        Of the hidden layers: "16,16" or "5x64".
    activation : str
        Of the hidden layers.
    init : str
        A scheme, with arguments if it takes any.
    scale : float
        What the weights of the scheme are multiplied by.
    optimizer : str
        One of `OPTIMIZERS`.
    lr : float
        Its learning rate.
    batch_size : int
        Samples per step.
    seed : int
        Of data, weights and the order of the samples.

    Raises
    ------
    ValueError
        A setting is wrong; the message says which, and what was expected.
    """

    data: str = "moons"
    widths: str = "5x32"
    activation: str = "relu"
    init: str = "he_normal"
    scale: float = 1.0
    optimizer: str = "sgd"
    lr: float = 0.05
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        """Check and convert."""

        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        for name in ("data", "widths", "activation", "init", "optimizer"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                msg = f"{name}: expected a text, got {'nothing' if not value else repr(value)}"
                raise ValueError(msg)
            put(name, value.strip())
        if self.data not in datasets.SOURCES:
            msg = f"unknown data set {self.data!r}: expected one of {', '.join(datasets.SOURCES)}"
            raise ValueError(msg)
        self._check_widths()
        put("scale", _number(self.scale, "scale"))
        if not SCALES[0] <= self.scale <= SCALES[1]:
            msg = f"scale: expected a number from {SCALES[0]:g} to {SCALES[1]:g}, got {self.scale:g}"
            raise ValueError(msg)
        if self.optimizer not in OPTIMIZERS:
            msg = f"unknown optimizer {self.optimizer!r}: expected one of {', '.join(OPTIMIZERS)}"
            raise ValueError(msg)
        put("lr", _number(self.lr, "learning rate"))
        if self.lr <= 0:
            msg = f"learning rate: expected a number above 0, got {self.lr:g}"
            raise ValueError(msg)
        put("batch_size", _whole(self.batch_size, "batch size", 1, 100_000))
        put("seed", _whole(self.seed, "seed", 0, 2**64 - 1))
        try:  # the library's own messages, before any data are loaded
            self.make_optimizer()
            MLP([2, 2, 2], activation=self.activation, init="zeros", seed=0)
            get(self.init)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def _check_widths(self) -> None:
        found = self.hidden()
        if len(found) > MAX_LAYERS or max(found) > MAX_WIDTH:
            msg = f"widths: expected at most {MAX_LAYERS} layers of at most {MAX_WIDTH}, got {self.widths!r}"
            raise ValueError(msg)

    def hidden(self) -> tuple[int, ...]:
        """Give the widths of the hidden layers."""
        return specs.widths(self.widths)

    def make_optimizer(self) -> Optimizer:
        """Make the optimizer."""
        return OPTIMIZERS[self.optimizer](self.lr)

    def network(self, data: Dataset) -> MLP:
        """Make the untrained network for these data.

        Raises
        ------
        ValueError
            It would be too large, the scheme does not fit a layer, or it has nothing to scale.
        """
        sizes = [data.x_train.shape[1], *self.hidden(), len(data.classes)]
        count = sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
        if count > MAX_PARAMETERS:
            msg = f"a network of {count:,} parameters is too large to watch: at most {MAX_PARAMETERS:,}"
            raise ValueError(msg)
        try:
            net = MLP(sizes, activation=self.activation, init=self.init, seed=self.seed)
        except TypeError as error:
            raise ValueError(str(error)) from None
        if self.scale != 1.0:
            weights = {name: w for name, w in net.parameters().items() if name.endswith("weight")}
            if not any(w.any() for w in weights.values()):
                msg = f"{self.init} has only zeros, and a scale changes none: set the scale to 1"
                raise ValueError(msg)
            net.set_parameters({name: np.float32(self.scale) * w for name, w in weights.items()})
        return net


def made(settings: Settings) -> tuple[Settings, Dataset, MLP]:
    """Give settings with their data and the untrained network."""
    data = load(settings.data, settings.seed)
    return settings, data, settings.network(data)
