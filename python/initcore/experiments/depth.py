"""Depth: what nine layers make of a gain a little off 1, beside what theory says they must."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore import plot
from initcore.arrays import integer
from initcore.initializers import normal
from initcore.nn import MLP
from initcore.theory import predict

from .common import there_and_back, track
from .registry import Findings, experiment
from .result import Figures, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

GAINS = (0.5, 0.9, 1.0, 1.1, 1.5)
#: Kinds of weights of gain a in linear networks: the scheme that draws them, and the scheme that theory has
#: for them. (a I is an orthogonal matrix times a, if no random one.)
KINDS = {
    "a I": ("identity({a})", "orthogonal({a})"),
    "orthogonal": ("orthogonal({a})", "orthogonal({a})"),
    "normal": ("variance_scaling({a}**2, distribution='normal')",) * 2,
}
EXACT = ("a I", "orthogonal")
RELU = ("xavier_normal", "he_normal")


@experiment(
    "depth",
    title="Depth: nine layers multiply, and what they multiply by is the gain",
    lesson="Every layer multiplies signal and gradient by its gain a, so that L layers multiply them by a^L: "
    "1.5 to the power 9 is 38, 0.5 to the power 9 is 1/512. Multiples of the identity and orthogonal "
    "weights do so exactly. Random weights do so on average, and how far a single network of finite width "
    "lies from the average is predicted too.",
)
def depth(
    *,
    seed: int = 0,
    progress: bool | None = None,
    gains: Sequence[float] = GAINS,
    layers: int = 9,
    width: int = 100,
    networks: int = 200,
) -> Findings:
    """Measure the growth of signal and gradient through linear and relu networks, against theory.

    Parameters
    ----------
    seed : int
        Of weights, inputs and errors.
    progress : bool, optional
        As in `run`.
    gains : sequence of float
        Of the linear networks.
    layers, width : int
        Of every network, whose inputs are as many as its units.
    networks : int
        Draws of the weights, each with an input and an output error of its own.

    Returns
    -------
    Findings
        ``numbers["runs"]`` has a dict per row: "kind", "gain", "layers"; "signal" and "gradient", (networks,
        layers), the mean squares relative to those of input and output error; and the "prediction".
    """
    layers, width = integer(layers, "layers", 2), integer(width, "width", 2)
    networks = integer(networks, "networks", 2)
    sizes = [width] * (layers + 1)
    cases: list[tuple[str, float | None, str, str, str]]
    cases = [(kind, float(a), "linear", *KINDS[kind]) for kind, a in product(KINDS, gains)]
    cases += [(scheme, None, "relu", scheme, scheme) for scheme in RELU]
    runs: list[dict[str, Any]] = []
    for case, (kind, a, activation, drawn, theory) in track(list(enumerate(cases)), progress, "network"):
        init = _scheme(drawn, a)
        fixed = kind == "a I"  # one network is like the other
        measured = [
            _growth(sizes, activation, init, [seed, case, draw]) for draw in range(1 if fixed else networks)
        ]
        signal, gradient = (np.array(rows) for rows in zip(*measured, strict=True))
        prediction = predict(
            sizes, activation=activation, output_activation=activation, init=_scheme(theory, a)
        )
        runs.append(
            {
                "kind": kind,
                "gain": a,
                "layers": layers,
                "signal": signal,
                "gradient": gradient,
                "prediction": prediction,
            }
        )

    exact = Table(
        f"Without chance: root mean square after {layers} layers of {width} units, over that before",
        ("weights", "a", f"a^{layers}", "signal", "off by", f"a^{layers - 1}", "gradient", "off by"),
        [_exact_row(run) for run in runs if run["kind"] in EXACT],
        "The gradient is that of the sums z: between the first layer and the last it passes one layer less. "
        "off by: the largest relative difference.",
    )
    random = Table(
        f"Random: mean square after {layers} layers of {width} units, over that before; {networks} draws",
        ("weights", "a", "signal: theory", "measured", "off by", "gradient: theory", "measured", "off by"),
        [_random_row(run) for run in runs if run["kind"] not in EXACT],
        "mean ± standard deviation of single networks. off by: the difference of the means, in standard "
        "errors of the predicted mean.",
    )
    figures = Figures(depth=lambda figure: _draw(figure, runs))
    return Findings((exact, random), figures, {"runs": runs})


def _scheme(text: str, a: float | None) -> str:
    return text if a is None else text.replace("{a}**2", repr(a * a)).replace("{a}", repr(a))


def _growth(sizes: list[int], activation: str, init: str, seed: list[int]) -> tuple[list[float], list[float]]:
    """Give mean squares by layer: of the outputs over the input, of dL/dz over the output layer's."""
    stream = np.random.SeedSequence(seed)
    net = MLP(sizes, activation=activation, output_activation=activation, init=init, seed=stream, dtype="f8")
    x, error = (
        # float32 numbers in float64: their products with 1.5^9 are exact
        normal((1, size), seed=stream, name=f"experiments.depth.{name}").astype("f8")
        for size, name in ((sizes[0], "x"), (sizes[-1], "error"))
    )
    outputs, errors = there_and_back(net, x, error)
    signal = [float(np.mean(y**2) / np.mean(x**2)) for y in outputs]
    gradient = [float(np.mean(dz**2) / np.mean(errors[-1] ** 2)) for dz in errors]
    return signal, gradient


def _exact_row(run: dict[str, Any]) -> list[Any]:
    row: list[Any] = [run["kind"], run["gain"]]
    for squares, power in ((run["signal"][:, -1], run["layers"]), (run["gradient"][:, 0], run["layers"] - 1)):
        theory, found = run["gain"] ** power, np.sqrt(squares)
        row += [theory, float(found.mean()), f"{np.abs(found / theory - 1).max():.0e}"]
    return row


def _random_row(run: dict[str, Any]) -> list[Any]:
    row: list[Any] = [run["kind"], run["gain"]]
    prediction = run["prediction"]
    for found, theory, layer in (
        (run["signal"][:, -1], prediction.y, -1),
        (run["gradient"][:, 0], prediction.dz, 0),
    ):
        mean, std = float(theory.mean[layer]), float(theory.std[layer])
        off = (found.mean() - mean) / (std / np.sqrt(len(found)))
        row += [f"{mean:.3g} ± {std:.2g}", f"{found.mean():.3g} ± {found.std(ddof=1):.2g}", f"{off:+.1f}"]
    return row


def _draw(figure: Figure, runs: list[dict[str, Any]]) -> None:
    kinds = {
        "a·I": [run for run in runs if run["kind"] == "a I"],
        "random normal": [run for run in runs if run["kind"] == "normal"],
        "relu": [run for run in runs if run["gain"] is None],
    }
    figure.set_size_inches(10, 6.4)
    panels = figure.subplots(2, len(kinds), sharex=True, sharey="row")
    for column, (title, chosen) in zip(panels.T, kinds.items(), strict=True):
        for ax, quantity, attribute in zip(column, ("signal", "gradient"), ("y", "dz"), strict=True):
            names = [run["kind"] if run["gain"] is None else f"a = {run['gain']:g}" for run in chosen]
            plot.variance_with_depth(
                {name: run["prediction"] for name, run in zip(names, chosen, strict=True)},
                {name: run[quantity][:5] for name, run in zip(names, chosen, strict=True)},
                ax,
                quantity=attribute,
            )
            ax.set_ylabel("")
        column[0].set_title(title, loc="left")
        column[0].set_xlabel("")
        for ax in column[1:] if title != "random normal" else column:
            ax.get_legend().remove()
    panels[0, 0].set_ylabel("signal, mean square")
    panels[1, 0].set_ylabel("gradient, mean square")
