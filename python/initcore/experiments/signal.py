"""Signal: what real digits become in five tanh or relu layers, before a training and during it."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from initcore import datasets, plot
from initcore.diagnosis import Recorder
from initcore.nn import MLP
from initcore.optimizers import SGD

from .common import PROBE, accuracy, track, train
from .registry import Findings, experiment
from .result import Figures, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from initcore.diagnosis import Diagnosis

    from .result import Cell

SCHEMES = ("normal(0.01)", "normal(1)", "xavier_normal", "he_normal", "lecun_normal")


@experiment(
    "signal",
    title="Signal: what arrives in the fifth layer",
    lesson="With weights that are too small every layer hands on less, until nothing is left to learn from; "
    "with weights that are too large tanh units saturate, and relu networks overflow. With Xavier's variance "
    "the signal of tanh, and with He's that of relu, has the same size from the first layer to the last but "
    "for a factor of about 2, and these networks learn.",
)
def signal(
    *,
    seed: int = 0,
    progress: bool | None = None,
    data: str = "mnist",
    activations: Sequence[str] = ("tanh", "relu"),
    schemes: Sequence[str] = SCHEMES,
    layers: int = 5,
    width: int = 128,
    epochs: int = 5,
    lr: float = 0.05,
) -> Findings:
    """Follow the signal through the hidden layers before the training and after every epoch.

    Parameters
    ----------
    seed : int
        Of weights, split and order of the samples.
    progress : bool, optional
        As in `run`.
    data : str
        See `datasets.load`.
    activations, schemes : sequence of str
        Of the networks: all pairs.
    layers, width : int
        Hidden layers, and units in each.
    epochs : int
        Of each training, in batches of 32.
    lr : float
        Learning rate of the gradient descent.

    Returns
    -------
    Findings
        ``numbers["runs"]`` has a dict per activation and scheme: "activation", "scheme", "accuracy",
        "diverged", and "reports", the diagnoses before the training and after each epoch.
    """
    samples = datasets.load(data, seed)
    sizes = [samples.x_train.shape[1], *[width] * layers, len(samples.classes)]
    runs: list[dict[str, Any]] = []
    for activation, scheme in track(list(product(activations, schemes)), progress, "training"):
        net = MLP(sizes, activation=activation, init=scheme, seed=seed)
        recorder = Recorder(net, samples.x_train[:PROBE], samples.y_train[:PROBE])
        history = train(net, samples, SGD(lr), epochs, seed=seed, callbacks=[recorder])
        runs.append(
            {
                "activation": activation,
                "scheme": scheme,
                "accuracy": accuracy(net, samples.x_test, samples.y_test),
                "diverged": history.diverged,
                "reports": recorder.reports,
            }
        )
    size = f"{samples.name}, {layers} hidden layers of {width}, SGD({lr}), {epochs} epochs"
    tables = tuple(
        Table(
            f"{activation}: {size}",
            (
                "init",
                "epoch",
                *(f"std {layer + 1}" for layer in range(layers)),
                f"theory {layers}",
                f"saturated {layers}",
                f"dead {layers}",
                "accuracy",
                "verdict",
            ),
            [
                _row(run, epoch, layers)
                for run in runs
                if run["activation"] == activation
                for epoch in (0, len(run["reports"]) - 1)
            ],
            f"std: of the outputs of each hidden layer; theory: what it should be in layer {layers} before "
            "the training, ± standard deviation over draws of the weights. saturated, dead: the share of "
            "outputs where the slope is less than 1/20 of the steepest (not for relu, which has two slopes), "
            "and of units whose output is the same for all inputs. The verdict is that of the diagnosis.",
        )
        for activation in activations
    )
    by = {(run["activation"], run["scheme"]): run["reports"] for run in runs}
    figures = Figures(
        **{
            activation: (
                lambda figure, activation=activation: _draw(
                    figure, activation, {s: by[activation, s] for s in schemes}
                )
            )
            for activation in activations
        },
        depth=lambda figure: _draw_depth(figure, by),
    )
    return Findings(tables, figures, {"runs": runs})


def _row(run: dict[str, Any], epoch: int, layers: int) -> list[Cell]:
    report: Diagnosis = run["reports"][epoch]
    last = report.layers[layers - 1]
    theory = ""
    if epoch == 0 and "std" in last.expected:
        theory = "{:.3g} ± {:.2g}".format(*last.expected["std"])
    after = "diverged" if run["diverged"] else f"{run['accuracy']:.1%}"
    return [
        run["scheme"] if epoch == 0 else "",
        epoch,
        *(float(layer.std) for layer in report.layers[:layers]),
        theory,
        "" if last.saturated is None else f"{last.saturated:.0%}",
        f"{last.dead:.0%}",
        after if epoch else "",
        report.verdict,
    ]


def _draw(figure: Figure, activation: str, reports: dict[str, list[Diagnosis]]) -> None:
    """Draw ridges of all layers: a row for each scheme, a column for each of three moments."""
    figure.set_size_inches(12, 2.2 * len(reports))
    moments = {"before": 0, "after an epoch": 1, "at the end": -1}
    panels = figure.subplots(len(reports), len(moments), squeeze=False)
    for row, (scheme, each) in zip(panels, reports.items(), strict=True):
        for ax, (moment, epoch) in zip(row, moments.items(), strict=True):
            plot.activations(each[min(epoch, len(each) - 1)], ax)
            ax.set_title(f"{scheme}, {moment}", loc="left")
            if ax is not row[0]:
                ax.tick_params(labelleft=False)
            if row is not panels[-1]:
                ax.set_xlabel("")
    figure.suptitle(f"{activation}: outputs of the layers, the last one the network's")


def _draw_depth(figure: Figure, by: dict[tuple[str, str], list[Diagnosis]]) -> None:
    activations = list(dict.fromkeys(activation for activation, _ in by))
    figure.set_size_inches(4.6 * len(activations), 4.6)
    panels = figure.subplots(1, len(activations), squeeze=False)[0]
    for ax, activation in zip(panels, activations, strict=True):
        plot.std_with_depth({s: reports[0] for (a, s), reports in by.items() if a == activation}, ax)
        ax.set_title(f"{activation}, before the training", loc="left")
