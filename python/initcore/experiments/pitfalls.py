"""Pitfalls: zero, constant, too small, too large and right weights, on five sets of points in the plane."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore import datasets, plot
from initcore.diagnosis import diagnose
from initcore.guessing import class_entropy
from initcore.nn import MLP
from initcore.optimizers import SGD

from .common import LOSS, PROBE, accuracy, track, train
from .panels import cost_panels
from .registry import Findings, experiment
from .result import Figures, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

DATA = ("blobs", "circles", "moons", "xor", "spirals")
#: Two without differences between the units, too small, too large, right.
INITS = ("zeros", "constant(0.1)", "normal(0.01)", "normal(1)", "he_normal")


@experiment(
    "pitfalls",
    title="Pitfalls: five ways to begin, on five sets of points",
    lesson="Weights of zero learn nothing, and equal weights make a layer of one unit, however many it has: "
    "only chance breaks the symmetry. Random weights that are too small leave no gradient to learn from, and "
    "weights that are too large begin with a huge loss and overshoot or diverge. He's variance trains on all "
    "sets, at the same learning rate.",
)
def pitfalls(
    *,
    seed: int = 0,
    progress: bool | None = None,
    data: Sequence[str] = DATA,
    inits: Sequence[str] = INITS,
    layers: Sequence[int] = (32,) * 5,
    epochs: int = 60,
    lr: float = 0.05,
) -> Findings:
    """Train a relu network from each initialization on each set.

    Parameters
    ----------
    seed : int
        Of points, weights and order of the samples.
    progress : bool, optional
        As in `run`.
    data : sequence of str
        Names of sets of points in the plane; see `datasets.load`.
    inits : sequence of str
        Schemes; see `get`.
    layers : sequence of int
        Widths of the hidden layers.
    epochs : int
        Of each training, in batches of 32.
    lr : float
        Learning rate of the gradient descent.

    Returns
    -------
    Findings
        ``numbers["runs"]`` has a dict per set and scheme: "data", "init", "verdict" (before the training),
        "initial_loss", "loss" (infinite after a divergence), "guess_loss", "accuracy", "history", "net".
    """
    sets = {name: datasets.load(name, seed) for name in data}
    runs: list[dict[str, Any]] = []
    for name, init in track(list(product(data, inits)), progress, "training"):
        points = sets[name]
        sizes = [points.x_train.shape[1], *layers, len(points.classes)]
        net = MLP(sizes, activation="relu", init=init, seed=seed)
        verdict = diagnose(net, points.x_train[:PROBE], points.y_train[:PROBE]).verdict
        initial_loss, _ = net.evaluate(points.x_train, points.y_train, loss=LOSS)
        history = train(net, points, SGD(lr), epochs, seed=seed)
        loss, _ = net.evaluate(points.x_train, points.y_train, loss=LOSS)
        runs.append(
            {
                "data": name,
                "init": init,
                "verdict": verdict,
                "initial_loss": initial_loss,
                "loss": np.inf if history.diverged else loss,
                "guess_loss": class_entropy(points.y_train),
                "accuracy": accuracy(net, points.x_test, points.y_test),
                "history": history,
                "net": net,
            }
        )
    table = Table(
        f"{len(layers)} hidden layers of {layers[0]} relu units, SGD({lr}), {epochs} epochs",
        ("data", "init", "loss before", "after", "guessing", "accuracy", "verdict"),
        [
            (
                run["data"],
                run["init"],
                run["initial_loss"],
                run["loss"] if np.isfinite(run["loss"]) else "diverged",
                run["guess_loss"],
                f"{run['accuracy']:.1%}",
                run["verdict"],
            )
            for run in runs
        ],
        "Losses are over all training samples, the accuracy over the test samples. The verdict is that of "
        "the diagnosis before the training.",
    )
    figures = Figures(
        boundaries=lambda figure: _draw_boundaries(figure, sets, runs),
        cost=lambda figure: _draw_costs(figure, runs),
    )
    return Findings((table,), figures, {"runs": runs})


def _draw_boundaries(
    figure: Figure, sets: Mapping[str, datasets.Dataset], runs: list[dict[str, Any]]
) -> None:
    """Draw a row for each set, a column for each initialization."""
    rows, columns = len(sets), len(runs) // len(sets)
    figure.set_size_inches(2.0 * columns + 0.3, 2.0 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False)
    for ax, run in zip(panels.flat, runs, strict=True):
        points = sets[run["data"]]
        plot.decision_boundary(run["net"], points.x_test, points.y_test, ax)
        for line in ax.lines:
            line.set(markersize=2.2, markeredgewidth=0.2)
        ax.get_legend().remove()
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        ax.set_xlabel(f"{run['accuracy']:.0%}", fontsize="small", labelpad=2)
    for ax, run in zip(panels[0], runs, strict=False):
        ax.set_title(run["init"])
    for ax, name in zip(panels[:, 0], sets, strict=True):
        ax.set_ylabel(name)


def _draw_costs(figure: Figure, runs: list[dict[str, Any]]) -> None:
    panels: dict[str, dict[str, Any]] = {}
    for run in runs:
        panels.setdefault(run["data"], {})[run["init"]] = run["history"]
    figure.set_size_inches(2.1 * len(panels) + 0.5, 3.4)
    cost_panels(figure, panels, {run["data"]: run["guess_loss"] for run in runs})
