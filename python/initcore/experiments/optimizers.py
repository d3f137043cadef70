"""Optimizers: which of them an initialization stops, and which get over it."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore import datasets
from initcore.diagnosis import diagnose
from initcore.guessing import class_entropy
from initcore.nn import MLP
from initcore.optimizers import SGD, Adam, RMSProp

from .common import LOSS, PROBE, accuracy, track, train
from .panels import cost_panels
from .registry import Findings, experiment
from .result import Figures, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.figure import Figure

    from initcore.optimizers import Optimizer

#: By name: the optimizer of a learning rate, and the rates to try.
OPTIMIZERS: Mapping[str, tuple[Callable[[float], Optimizer], tuple[float, ...]]] = {
    "gradient descent": (SGD, (0.01, 0.03, 0.1, 0.3)),
    "momentum": (lambda lr: SGD(lr, momentum=0.9), (0.001, 0.003, 0.01, 0.03)),
    "RMSProp": (RMSProp, (0.0003, 0.001, 0.003, 0.01)),
    "Adam": (Adam, (0.0003, 0.001, 0.003, 0.01)),
}
SCHEMES = ("normal(0.01)", "xavier_normal", "he_normal", "normal(0.5)")


@experiment(
    "optimizers",
    title="Optimizers: what RMSProp and Adam forgive, and what they do not",
    lesson="From weights of the right size every optimizer trains this network within a few epochs. From "
    "weights that are too small gradient descent, with momentum or without, does not get started at any "
    "learning rate; RMSProp and Adam divide by the size of the gradient, and do, late. From weights that are "
    "too large each of them stays far behind what it reaches from the right ones, or diverges.",
)
def optimizers(
    *,
    seed: int = 0,
    progress: bool | None = None,
    data: str = "digits",
    schemes: Sequence[str] = SCHEMES,
    activation: str = "relu",
    layers: Sequence[int] = (64,) * 5,
    epochs: int = 20,
    target: float = 0.1,
) -> Findings:
    """Train one network with each optimizer from each scheme, at the best of a few learning rates.

    Parameters
    ----------
    seed : int
        Of weights, split and order of the samples.
    progress : bool, optional
        As in `run`.
    data : str
        See `datasets.load`.
    schemes : sequence of str
        See `get`.
    activation : str
        Of the hidden layers.
    layers : sequence of int
        Widths of the hidden layers.
    epochs : int
        Of each training, in batches of 32.
    target : float
        The training loss to reach.

    Returns
    -------
    Findings
        ``numbers["runs"]`` has a dict per optimizer and scheme, of the learning rate with the lowest loss at
        the end: "optimizer", "scheme", "verdict" (before the training), "lr", "loss", "epochs" (to the
        target; None if it was not reached), "accuracy", "history", and "diverged", of how many "rates".
    """
    samples = datasets.load(data, seed)
    sizes = [samples.x_train.shape[1], *layers, len(samples.classes)]
    runs: list[dict[str, Any]] = []
    for (name, (make, rates)), scheme in track(
        list(product(OPTIMIZERS.items(), schemes)), progress, "optimizer"
    ):
        begin = MLP(sizes, activation=activation, init=scheme, seed=seed)
        verdict = diagnose(begin, samples.x_train[:PROBE], samples.y_train[:PROBE]).verdict
        tried: list[dict[str, Any]] = []
        for lr in rates:
            net = MLP(sizes, activation=activation, init=scheme, seed=seed)
            history = train(net, samples, make(lr), epochs, seed=seed)
            loss, _ = net.evaluate(samples.x_train, samples.y_train, loss=LOSS)
            tried.append(
                {
                    "optimizer": name,
                    "scheme": scheme,
                    "lr": lr,
                    "loss": math.inf if history.diverged else loss,
                    "epochs": next((e for e, x in enumerate(history["loss"], 1) if x <= target), None),
                    "accuracy": accuracy(net, samples.x_test, samples.y_test),
                    "history": history,
                }
            )
        best = min(tried, key=lambda run: run["loss"])
        diverged = sum(run["history"].diverged for run in tried)
        runs.append({**best, "verdict": verdict, "diverged": diverged, "rates": len(rates)})

    by = {(run["optimizer"], run["scheme"]): run for run in runs}
    overview = Table(
        "Training loss at the end, at the best learning rate",
        ("init", *OPTIMIZERS),
        [(scheme, *(_loss(by[name, scheme]) for name in OPTIMIZERS)) for scheme in schemes],
    )
    grids = "; ".join(f"{name} {', '.join(map(str, rates))}" for name, (_, rates) in OPTIMIZERS.items())
    details = Table(
        f"{samples.name}: {len(layers)} hidden layers of {layers[0]} {activation} units, {epochs} epochs",
        ("optimizer", "init", "best lr", "loss", f"epochs to {target:g}", "accuracy", "diverged", "verdict"),
        [
            (
                run["optimizer"],
                run["scheme"],
                str(run["lr"]) if math.isfinite(run["loss"]) else "none",
                _loss(run),
                run["epochs"] or "never",
                f"{run['accuracy']:.1%}",
                f"{run['diverged']} of {run['rates']}",
                run["verdict"],
            )
            for run in runs
        ],
        f"best lr: that with the lowest loss at the end, of {grids}; diverged: how many of them did. epochs: "
        f"until the mean loss of an epoch was {target:g}. The verdict is that of the diagnosis before the "
        "training.",
    )
    figures = Figures(optimizers=lambda figure: _draw(figure, by, schemes, class_entropy(samples.y_train)))
    return Findings((overview, details), figures, {"runs": runs})


def _loss(run: dict[str, Any]) -> float | str:
    return run["loss"] if math.isfinite(run["loss"]) else "diverged"


def _draw(
    figure: Figure, by: Mapping[tuple[str, str], dict[str, Any]], schemes: Sequence[str], guess: float
) -> None:
    figure.set_size_inches(10, 6.4)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.35))
    heat, curves = parts
    ax = heat.subplots()
    losses = np.array([[by[name, scheme]["loss"] for name in OPTIMIZERS] for scheme in schemes])
    shown = np.log10(np.clip(losses, 1e-6, 1e2))
    ax.imshow(shown, cmap="cividis_r", aspect="auto")
    middle = (shown.min() + shown.max()) / 2
    for (row, column), loss in np.ndenumerate(losses):
        color = "white" if shown[row, column] > middle else "black"
        text = f"{loss:.2g}" if math.isfinite(loss) else "diverged"
        ax.text(column, row, text, ha="center", va="center", color=color)
    ax.set_xticks(range(len(OPTIMIZERS)), list(OPTIMIZERS))
    ax.set_yticks(range(len(schemes)), schemes)
    ax.set_title("Training loss at the end, at the best learning rate", loc="left")
    panels = {s: {name: by[name, s]["history"] for name in OPTIMIZERS} for s in schemes}
    cost_panels(curves, panels, dict.fromkeys(schemes, guess))
