"""Example: the 2-2-1 network of the textbooks, every number of every step.

Two inputs, two relu units, one sigmoid output, three points, float64. The layers go through `dense_forward`
and `dense_backward`, the steps through `MLP.fit`: the numbers are those of the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from initcore import plot
from initcore.arrays import integer
from initcore.dense import dense_backward, dense_forward
from initcore.nn import MLP
from initcore.optimizers import SGD

from .common import track
from .registry import Findings, experiment
from .result import Cell, Figures, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.figure import Figure

    from initcore.initializers import Array

#: The points, (points, inputs), and their targets. They lie on a line, and the one in the middle is the odd
#: one out: a single unit, which only rises or only falls along the line, cannot tell it from both others.
X = np.array([[0.0, 2.0], [1.0, 0.0], [2.0, -2.0]])
T = np.array([[1.0], [0.0], [1.0]])
#: The best that equal units can do: one end right, the other two points at 1/2.
ONE_UNIT = 2 / 3 * np.log(2)
INITS = {"zeros": "zeros", "constant": "constant(0.5)", "random": "normal(1)"}
LOSS = "binary_cross_entropy"
#: Steps that the overview shows, as far as they are taken.
SHOWN = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


@experiment(
    "example",
    title="Example: a 2-2-1 network, step by step",
    lesson="From zeros, the hidden units give 0 and get no gradient: only the output's bias moves, and the "
    "network answers every input with the same probability. From a constant, both hidden units get the same "
    "gradient and stay equal for ever: two units do the work of one, which this task is too hard for. Random "
    "weights differ, so that each unit can learn something else.",
)
def example(
    *, seed: int = 0, progress: bool | None = None, steps: int = 200, lr: float = 0.5, detailed: int = 2
) -> Findings:
    """Take steps of gradient descent from zero, constant and random weights.

    Parameters
    ----------
    seed : int
        Of the random weights.
    progress : bool, optional
        As in `run`.
    steps : int
        To take, each on all three points.
    lr : float
        Learning rate.
    detailed : int
        Of so many steps every number is shown.

    Returns
    -------
    Findings
        ``numbers[init]`` for "zeros", "constant" and "random" has "steps", a list of dicts with the arrays of
        every step ("w1", "b1", "w2", "b2" before it, "z1", "h", "z2", "p", "cost", "dz2", "dw2", "db2", "dh",
        "dz1", "dw1", "db1"); "hidden_moved" and "units_differ", two truths about the last.
    """
    steps, detailed = integer(steps, "steps", 1), integer(detailed, "detailed", 0)
    numbers: dict[str, Any] = {}
    for name, init in track(list(INITS.items()), progress, "network"):
        net = MLP([2, 2, 1], output_activation="sigmoid", init=init, seed=seed, dtype="f8")
        taken = []
        for _ in range(steps):
            taken.append(_look(net))
            net.fit(
                X, T, loss=LOSS, optimizer=SGD(lr), batch_size=len(X), epochs=1, shuffle=False, progress=False
            )
        taken.append(_look(net))
        first, last = taken[0], taken[-1]
        numbers[name] = {
            "net": net,
            "steps": taken,
            "hidden_moved": not (np.array_equal(first["w1"], last["w1"]) and (last["b1"] == 0).all()),
            "units_differ": not (last["w1"][:, 0] == last["w1"][:, 1]).all(),
        }
    tables = [
        _detail(name, step, numbers[name]["steps"], lr)
        for name in INITS
        for step in range(min(detailed, steps))
    ]
    tables += [_overview(name, numbers[name]["steps"]) for name in INITS]
    figures = Figures(example=lambda figure: _draw(figure, numbers))
    return Findings(tuple(tables), figures, numbers)


def _look(net: MLP) -> dict[str, Any]:
    """Go forward and back once; give all that is on the way."""
    p = net.parameters()
    w1, b1, w2, b2 = (p[f"layers.{layer}.{kind}"] for layer in (0, 1) for kind in ("weight", "bias"))
    z1, _ = dense_forward(X, w1, b1)
    h, hidden = dense_forward(X, w1, b1, "relu")
    z2, logit = dense_forward(h, w2, b2)
    probability, _ = dense_forward(h, w2, b2, "sigmoid")
    cost, gradients = net.loss_and_grad(X, T, loss=LOSS)
    # The sigmoid's slope and the loss's cancel but for this (and the mean over the points).
    dz2 = (probability - T) / len(X)
    dh, dw2, db2 = dense_backward(dz2, logit)
    _, dw1, db1 = dense_backward(dh, hidden)
    return {
        "w1": w1, "b1": b1, "w2": w2, "b2": b2, "z1": z1, "h": h, "z2": z2, "p": probability, "cost": cost,
        "dz2": dz2, "dw2": dw2, "db2": db2, "dh": dh, "dz1": dh * (z1 > 0), "dw1": dw1, "db1": db1,
        "gradients": gradients,
    }  # fmt: skip


#: What a detailed step shows: the key, the name with its shape, the formula.
_LINES = {
    "w1": ("W1", "2x2, inputs down, units across"),
    "b1": ("b1", "2"),
    "z1": ("z1", "X W1 + b1"),
    "h": ("h", "relu(z1)"),
    "w2": ("W2", "2x1"),
    "b2": ("b2", "1"),
    "z2": ("z2", "h W2 + b2"),
    "p": ("p", "sigmoid(z2)"),
    "cost": ("cost", "mean of -t log p - (1 - t) log(1 - p)"),
    "dz2": ("dz2", "(p - t) / 3"),
    "dw2": ("dW2", "h' dz2"),
    "db2": ("db2", "sum of dz2"),
    "dh": ("dh", "dz2 W2'"),
    "dz1": ("dz1", "dh where z1 > 0"),
    "dw1": ("dW1", "X' dz1"),
    "db1": ("db1", "sum of dz1"),
}


def _detail(name: str, step: int, taken: list[dict[str, Any]], lr: float) -> Table:
    here, after = taken[step], taken[step + 1]
    rows = [("X", "three points", _numbers(X)), ("t", "targets", _numbers(T))]
    rows += [(symbol, formula, _numbers(here[key])) for key, (symbol, formula) in _LINES.items()]
    rows += [
        (f"new {symbol}", f"{symbol} - {lr:g} d{symbol}", _numbers(after[symbol.lower()]))
        for symbol in ("W1", "b1", "W2", "b2")
    ]
    return Table(f"{name}, step {step + 1}", ("", "is", "value, rows between semicolons"), rows)


def _numbers(value: Array | float) -> str:
    """Write a matrix in one line: rows between semicolons."""
    rows = np.atleast_2d(value)
    return "; ".join(_line(row) for row in rows)


def _line(numbers: Iterable[float], digits: int = 6) -> str:
    # + 0.0, since -0.0 is no news
    return " ".join(f"{number + 0.0:{digits + 3}.{digits}f}" for number in numbers)


def _overview(name: str, taken: list[dict[str, Any]]) -> Table:
    rows: list[list[Cell]] = [
        [
            step,
            f"{at['cost']:.6f}",
            *(_line([*at["w1"][:, unit], at["b1"][unit]]) for unit in (0, 1)),
            _line(at["w2"][:, 0]),
            _line(at["b2"]),
            _line(at["p"][:, 0], 4),
        ]
        for step, at in enumerate(taken)
        if step in SHOWN
    ]
    header = ("steps", "cost", "unit 1: w11, w21, b1", "unit 2: w12, w22, b1", "W2", "b2", "p")
    note = f"Equal units cannot get below 2/3 log 2 = {ONE_UNIT:.6f}; answering 2/3 to all costs 0.636514."
    return Table(f"{name}, what the steps come to", header, rows, note)


def _draw(figure: Figure, numbers: dict[str, Any]) -> None:
    """Draw each network before the first step and after the last, and how its weights got there."""
    figure.set_size_inches(10, 2.9 * len(numbers))
    rows: Any = figure.subfigures(len(numbers), 1)
    for row, (name, found) in zip(rows, numbers.items(), strict=True):
        before, after, way = row.subplots(1, 3, width_ratios=(1.15, 1.15, 1))
        steps = found["steps"]
        for ax, at, title in (
            (before, steps[0], "before"),
            (after, steps[-1], f"after {len(steps) - 1} steps"),
        ):
            names = {f"layers.{i - 1}.{kind}": f"{kind[0]}{i}" for i in (1, 2) for kind in ("weight", "bias")}
            plot.network(found["net"], ax, values={parameter: at[key] for parameter, key in names.items()})
            ax.set_title(f"{name}, {title}", loc="left")
        weights = np.array([at["w1"] for at in steps])  # (steps, inputs, units)
        for unit, style, width in ((0, "-", 4), (1, "--", 1.8)):
            for i in (0, 1):
                color, label = plot.COLORS[2 * i + unit], f"$w_{{{i + 1}{unit + 1}}}$"
                way.plot(weights[:, i, unit], style, color=color, linewidth=width, label=label)
        way.set_xlabel("steps")
        way.set_title("weights of the hidden units", loc="left")
        way.spines[["top", "right"]].set_visible(False)
        way.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
