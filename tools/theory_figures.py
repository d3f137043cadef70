"""Draws the pictures of docs/theory.md, and computes its table.

Run with ``python tools/theory_figures.py`` (a minute; needs matplotlib). The pictures go to docs/images, the
table between its marks in the page.
"""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("agg")
from matplotlib import pyplot as plt

import initcore as ic
from initcore import _core, plot, theory
from initcore.gains import gain

DOCS = Path(__file__).parents[1] / "docs"
WIDTH, DEPTH, NETWORKS = 100, 30, 4

# Standard deviations 0.141 and 0.1 for he and xavier at this width.
SCHEMES = {
    "relu": {
        "he_normal": "he_normal",
        "xavier_normal": "xavier_normal",
        "too small: normal(0.05)": "normal(0.05)",
        "too large: normal(0.2)": "normal(0.2)",
    },
    "tanh": {
        "xavier_normal": "xavier_normal",
        "exact gain, 1.59": ic.VarianceScaling(1.0, "fan_in", "normal", activation="tanh"),
        "too small: normal(0.05)": "normal(0.05)",
        "too large: normal(0.3)": "normal(0.3)",
    },
}


def measure(net, x, noise):
    """Mean squares of z and dL/dz by layer, for an input x: (1, inputs), and a random dL/dz at the output."""
    ys = [x, *net.activations(x)]
    _, gradients = net.loss_and_grad(x, ys[-1] - noise, loss="mse")
    parameters = net.parameters()
    z = [ic.dense_forward(ys[i], parameters[f"layers.{i}.weight"])[0] for i in range(len(ys) - 1)]
    dz = [gradients[f"layers.{i}.bias"] for i in range(len(ys) - 1)]  # of one input: dL/db is dL/dz
    return {"z": [np.mean(a**2) for a in z], "dz": [np.mean(a**2) / np.mean(dz[-1] ** 2) for a in dz]}


def variance_with_depth():
    """Signals and gradients of relu and tanh networks, as predicted and measured."""
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 6.6), sharex=True, layout="constrained")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, WIDTH))
    x /= np.sqrt(np.mean(x**2))
    for column, (activation, schemes) in zip(axes.T, SCHEMES.items(), strict=True):
        nets = {
            name: [
                ic.MLP([WIDTH] * (DEPTH + 1), activation=activation, init=init, seed=seed, dtype="float64")
                for seed in range(NETWORKS)
            ]
            for name, init in schemes.items()
        }
        predicted = {name: theory.predict(several[0], x) for name, several in nets.items()}
        found = {
            name: [measure(net, x, rng.normal(size=(1, WIDTH))) for net in several]
            for name, several in nets.items()
        }
        for ax, quantity in zip(column, ("z", "dz"), strict=True):
            points = {name: [one[quantity] for one in several] for name, several in found.items()}
            plot.variance_with_depth(predicted, points, ax, quantity=quantity)
            ax.get_legend().remove()
        column[0].set_title(activation, loc="left", fontweight="bold")
        column[0].set_xlabel("")
        column[0].set_ylim(1e-11, 1e11)
        column[1].set_ylim(1e-11, 1e11)
        column[0].legend(fontsize=8, loc="upper left", frameon=False)
    for ax in axes[:, 1]:
        ax.set_ylabel("")
    return figure


def phases():
    """The phase diagrams of a function that saturates, and of two that do not."""
    figure, axes = plt.subplots(1, 3, figsize=(11.5, 3.9), layout="constrained", sharey=True)
    reaches = {"tanh": (0.5, 3.0), "selu": (0.5, 1.7), "gelu": (0.5, 2.1)}
    for ax, (activation, reach) in zip(axes, reaches.items(), strict=True):
        plot.phase_diagram(activation, ax, sigma_w=reach, resolution=101)
        ax.label_outer()
        ax.set_title(activation, loc="left", fontweight="bold")
    return figure


def correlation_maps():
    """How two inputs' correlation changes in a layer whose weights keep the mean square at 1."""
    figure, ax = plt.subplots(figsize=(5.4, 4.6), layout="constrained")
    c = np.concatenate([np.linspace(-1, 0.9, 20), [0.95, 0.98, 1.0]])
    ax.plot([-1, 1], [-1, 1], color="#808080", linewidth=1, label="linear")
    for i, activation in enumerate(["tanh", "selu", "elu", "relu", "gelu", "sigmoid"]):
        after = theory.correlation_map(activation, c, 1.0, gain(activation) ** 2)
        color, marker = plot.COLORS[i % len(plot.COLORS)], plot.MARKERS[i % len(plot.MARKERS)]
        ax.plot(c, after, color=color, marker=marker, markersize=4, markevery=(i % 3, 3), label=activation)
    ax.set_xlabel("correlation of the inputs, $c$")
    ax.set_ylabel("correlation one layer up, $C(c)$")
    ax.set_xlim(-1, 1)
    ax.set_ylim(-1, 1.02)
    ax.set_aspect("equal")
    ax.set_xticks(np.linspace(-1, 1, 5))
    ax.set_yticks(np.linspace(-1, 1, 5))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=9)
    return figure


def critical(activation):
    """The critical standard deviations at a mean square of 1, as text."""
    try:
        w2, b2 = theory.critical(activation)
    except ValueError:
        return "none"
    return f"{w2**0.5:.3f}, {b2**0.5:.3f}"


def table():
    """A row for each activation."""
    lines = [
        (
            r"| f | gain | $E[f^2]$ | $E[f'^2]$ | $\chi_1$: Xavier, LeCun | $\chi_1$: He | $\chi_1$: gain "
            r"| critical $\sigma_w$, $\sigma_b$ |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for activation in _core.nn_names()[0]:
        g = gain(activation)
        numbers = [g, 1 / g**2, *(theory.chi(activation, 1.0, s) for s in (1.0, 1.0, 2.0, g**2))]
        cells = [activation, *(f"{x:.4f}" for x in numbers[:3]), *(f"{x:.2f}" for x in numbers[3:])]
        lines.append("| " + " | ".join([*cells, critical(activation)]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    for name, draw in [
        ("variance-with-depth", variance_with_depth),
        ("phases", phases),
        ("correlation-maps", correlation_maps),
    ]:
        draw().savefig(DOCS / "images" / f"theory-{name}.png", dpi=160)
    page = DOCS / "theory.md"
    text = page.read_text()
    marked = re.compile(r"(<!-- table -->\n).*?(<!-- end -->)", re.DOTALL)
    page.write_text(marked.sub(lambda m: f"{m[1]}{table()}\n{m[2]}", text))
