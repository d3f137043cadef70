"""One session of the laboratory, without a page: a network and a training that can be paused.

The training is one long `MLP.fit` in a thread of its own, because an optimizer starts afresh in every
fit. A callback holds it at the end of an epoch for as long as it should pause::

    page's thread                     fitting thread
    start / step / pause  --budget->  after each epoch: publish, then wait until there is budget
    snapshot              <-copies--  parameters, history
"""

from __future__ import annotations

import copy
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .settings import LOSS, Settings, made

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from initcore.datasets import Dataset
    from initcore.nn import MLP

#: Where a training ends that nobody ends before.
MAX_EPOCHS = 10_000
#: Seconds between two copies of the parameters while the training runs.
PUBLISH_EVERY = 0.1
#: Points of a curve that is handed out; a longer history is thinned.
MAX_POINTS = 400

#: States from which only a reset leads on.
OVER = frozenset({"finished", "diverged", "failed"})

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """A training as it was at one moment.

    Attributes
    ----------
    state : {"ready", "running", "paused", "finished", "diverged", "failed"}
        What it does.
    version : int
        Another one: other parameters.
    epoch : int
        Epochs done; 0 is before the training.
    history : mapping of str to list
        "epoch", "loss", "val_loss", "accuracy", "val_accuracy": thinned, from epoch 0 on, the last point
        always among them. Training figures of epoch 0 are those of the untrained network.
    message : str
        Why it diverged or failed.
    speed : float
        Epochs per second, of the last seconds.
    """

    state: str
    version: int
    epoch: int
    history: Mapping[str, list[float]]
    message: str
    speed: float

    def last(self, name: str) -> float:
        """Give the newest value of a curve."""
        return self.history[name][-1]


class Copy(NamedTuple):
    """A network that does not train, and where it comes from.

    Attributes
    ----------
    run, version : int
        Which network of the session this is, and which state of it.
    net : MLP
    settings : Settings
    data : Dataset
    """

    run: int
    version: int
    net: MLP
    settings: Settings
    data: Dataset


class Session:
    """A network that trains in a thread of its own when told to.

    Every method may be called from any thread; `reset` and `close` wait for the end of the running epoch.

    Parameters
    ----------
    settings : Settings
        The first ones.
    pace : float or None
        At most this many epochs per second, so that a small network can be watched; None: no limit. May be
        set at any time.

    Attributes
    ----------
    settings : Settings
        Those in use.
    data : Dataset
        What they name.
    thread : threading.Thread or None
        The one that trains.

    Raises
    ------
    ValueError, ImportError
        As `Settings.network` and `datasets.load` do.
    """

    CURVES = ("loss", "val_loss", "accuracy", "val_accuracy")

    def __init__(self, settings: Settings | None = None, *, pace: float | None = None) -> None:
        """Make the network; nothing is trained yet."""
        self.pace = pace
        self._gate = threading.Condition()
        self._resetting = threading.Lock()
        self.thread: threading.Thread | None = None
        self._closed = False
        self._run = self._version = 0
        self._take(*made(Settings() if settings is None else settings))

    def _take(self, settings: Settings, data: Dataset, net: MLP) -> None:
        """Begin with an untrained network."""
        loss, accuracy = net.evaluate(data.x_train, data.y_train, loss=LOSS)
        val_loss, val_accuracy = net.evaluate(data.x_test, data.y_test, loss=LOSS)
        first = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}
        with self._gate:
            self._run += 1
            self.settings, self.data = settings, data
            self._net, self._template = net, copy.copy(net)
            self._rows: list[Row] = [first]
            self._times: list[float] = []
            self._budget, self._ending = 0.0, False
            self._state, self._message = "ready", ""
            self._publish()

    # What the page calls.

    def start(self) -> None:
        """Train until told otherwise; go on if it paused."""
        self._grant(lambda _: math.inf)

    def step(self) -> None:
        """Train one epoch more, then pause; while it runs freely: pause after this epoch."""
        self._grant(lambda budget: budget + 1 if math.isfinite(budget) else 1)

    def pause(self) -> None:
        """Stop at the end of the running epoch, ready to go on."""
        with self._gate:
            self._budget = 0
            self._gate.notify_all()

    def reset(self, settings: Settings | None = None) -> None:
        """End the training; make the network anew, with other settings if there are any.

        Raises
        ------
        ValueError, ImportError
            The settings do not work; the session goes on as it was.
        """
        with self._resetting:
            new = made(self.settings if settings is None else settings)
            self._end()
            self._take(*new)

    def close(self, *, wait: bool = True) -> None:
        """End the training for good; with `wait`, return when its thread has ended."""
        with self._gate:
            self._closed = True
            self._gate.notify_all()
        if wait:
            with self._resetting:
                self._end()

    def snapshot(self) -> Snapshot:
        """Say how things are."""
        with self._gate:
            rows, epoch = self._rows, len(self._rows) - 1
            stride = max(1, math.ceil(epoch / MAX_POINTS))
            kept = [*range(0, epoch, stride), epoch]
            history: dict[str, list[float]] = {"epoch": [float(i) for i in kept]}
            history |= {name: [rows[i][name] for i in kept] for name in self.CURVES}
            times = self._times
            seconds = times[-1] - times[0] if len(times) > 1 else 0.0
            speed = (len(times) - 1) / seconds if seconds > 0 else 0.0
            return Snapshot(self._state, self._version, epoch, history, self._message, speed)

    @property
    def version(self) -> int:
        """Another one: other parameters."""
        return self._version

    def network(self, *, untrained: bool = False) -> Copy:
        """Copy the network as last published, or as it was before the training."""
        with self._gate:
            net = copy.copy(self._template)
            found = Copy(self._run, self._version, net, self.settings, self.data)
            parameters = self._parameters
        if not untrained:
            net.set_parameters(parameters)
        return found

    # What the fitting thread does.

    def _grant(self, budget: Callable[[float], float]) -> None:
        with self._resetting, self._gate:
            if self._closed or self._state in OVER:
                return
            if self._state != "running":
                self._state, self._times = "running", []
            self._budget = budget(self._budget)
            if self.thread is None:
                self.thread = threading.Thread(target=self._train, name="initcore-lab", daemon=True)
                self.thread.start()
            self._gate.notify_all()

    def _end(self) -> None:
        """Let the fit end after the running epoch, and wait for that."""
        with self._gate:
            self._ending = True
            self._gate.notify_all()
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def _train(self) -> None:
        data, settings = self.data, self.settings
        end, message = "finished", ""
        self._due = time.monotonic()
        try:
            history = self._net.fit(
                data.x_train,
                data.y_train,
                loss=LOSS,
                optimizer=settings.make_optimizer(),
                batch_size=settings.batch_size,
                epochs=MAX_EPOCHS,
                seed=settings.seed,
                validation_data=(data.x_test, data.y_test),
                callbacks=[self._after_epoch],
                progress=False,
            )
            if history.divergence is not None:
                end, message = "diverged", str(history.divergence)
        except Exception as error:  # noqa: BLE001  # nobody is above: the page says what it was
            end, message = "failed", f"{type(error).__name__}: {error}"
        with self._gate:
            self._publish()
            if self._over() and end == "finished":  # somebody ended it before
                end = "paused"
            self._state, self._message = end, message

    def _after_epoch(self, row: Row) -> bool:
        """Publish, and wait while there is nothing to do; something true ends the fit."""
        with self._gate:
            now = time.monotonic()
            self._rows.append(row)
            self._times = [*self._times[-20:], now]
            self._budget = max(0.0, self._budget - 1)
            if now - self._published >= PUBLISH_EVERY:
                self._publish()
            if self._budget and self.pace is not None:
                self._due = max(now, self._due + 1 / self.pace)
                self._gate.wait_for(self._held_or_over, self._due - now)
            if self._held_or_over():
                self._publish()
                if not self._budget:
                    self._state = "paused"
                self._gate.wait_for(lambda: self._budget or self._over())
            return self._over()

    def _over(self) -> bool:
        return self._closed or self._ending

    def _held_or_over(self) -> bool:
        return not self._budget or self._over()

    def _publish(self) -> None:
        self._parameters = self._net.parameters()
        self._version += 1
        self._published = time.monotonic()
