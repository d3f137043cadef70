"""Draws the pictures of initcore.plot, from real networks.

``python tools/plot_gallery.py FOLDER`` draws every function in several cases and all styles, to be looked at;
``python tools/plot_gallery.py --docs`` writes docs/images/plot-*.png, the pictures of docs/pictures.md. Each
takes half a minute; needs matplotlib.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("agg")
from matplotlib import pyplot as plt
from PIL import Image

import initcore as ic
from initcore import Recorder, diagnose, plot

ROOT = Path(__file__).parents[1]

INITS = ("zeros", "normal(0.01)", "normal(1)", "he_normal", "xavier_normal")
CROSS_ENTROPY = "softmax_cross_entropy"


def deep(init, activation="relu", depth=10):
    """A network of 64 inputs, layers of 100 units, 10 outputs."""
    return ic.MLP([64, *[100] * (depth - 1), 10], activation=activation, init=init, seed=0)


def spirals(arms=3, count=150):
    """Points on the arms of a spiral, and which arm it is."""
    rng = np.random.default_rng(0)
    r = np.tile(np.linspace(0.05, 1, count), arms)
    t = np.repeat(np.arange(arms), count)
    angle = 4 * r + 2 * np.pi * t / arms + rng.normal(0, 0.15, arms * count)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1), t


def xor_network(x, t):
    """A network of 2, 2 and 1 units that has learned the exclusive or: not every seed does."""
    for seed in range(20):
        net = ic.MLP([2, 2, 1], activation="tanh", init="xavier_normal", seed=seed)
        net.fit(x, t, loss="binary_cross_entropy", optimizer=ic.Adam(5e-2), batch_size=4, epochs=400)
        if (net.predict(x) == t).all():
            return net
    raise AssertionError("no seed learns")


class Data:
    """What the pictures are of: made once."""

    def __init__(self):
        x = np.random.default_rng(0).normal(size=(256, 64))
        t = x[:, :10].argmax(axis=1)
        self.reports = {init: diagnose(deep(init), x) for init in INITS}
        inits = ("normal(0.05)", "normal(0.3)", "xavier_normal")
        self.deep = {init: diagnose(deep(init, "tanh", 30), x) for init in inits}
        self.saturated = diagnose(deep("normal(1)", "tanh"), x)
        biased = deep("he_normal")
        biased.set_parameters({f"layers.{i}.bias": np.full(100, -1.2) for i in range(6)})
        self.dead = {"biases of 0": self.reports["he_normal"], "biases of -1.2": diagnose(biased, x)}
        self.xor = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([0, 1, 1, 0])
        self.small = xor_network(*self.xor)
        self.spirals = spirals()
        self.net = ic.MLP([2, 24, 24, 3], activation="tanh", init="xavier_normal", seed=0)
        self.recorder = Recorder(self.net, *self.spirals)
        self.net.fit(*self.spirals, loss=CROSS_ENTROPY, optimizer=ic.Adam(1e-2), batch_size=32, epochs=60,
                     callbacks=[self.recorder])  # fmt: skip
        net = deep("he_normal")
        self.course = Recorder(net, x, t)
        net.fit(
            x,
            t,
            loss=CROSS_ENTROPY,
            optimizer=ic.Adam(1e-3),
            batch_size=32,
            epochs=12,
            callbacks=[self.course],
        )
        self.histories = {
            init: deep(init, depth=5).fit(
                x, t, loss=CROSS_ENTROPY, optimizer=ic.Adam(1e-3), batch_size=32, epochs=12
            )
            for init in INITS
        }
        self.wide = ic.MLP([784, 256, 10], init="he_normal", seed=0)


def documented(data):
    """The pictures of the page: what draws each, by the name of its function."""
    predicted = {
        init: ic.theory.predict([64] + [100] * 10, init=init) for init in ("he_normal", "xavier_normal")
    }
    rows = {init: [layer.sample for layer in data.reports[init].layers] for init in INITS[1:4]}
    return {
        "activations": lambda: plot.activations(data.reports["he_normal"]),
        "activations-vanishing": lambda: plot.activations(data.reports["normal(0.01)"]),
        "gradients": lambda: plot.gradients(data.reports["xavier_normal"]),
        "std_with_depth": lambda: plot.std_with_depth(data.reports),
        "dead_units": lambda: plot.dead_units(data.dead),
        "trajectory": lambda: plot.trajectory(data.course.reports, statistic="gradient_std"),
        "decision_boundary": lambda: plot.decision_boundary(data.net, *data.spirals),
        "matrix": lambda: plot.matrix(data.net.parameters()["layers.1.weight"], title="layers.1.weight"),
        "network": lambda: plot.network(data.small),
        "network-wide": lambda: plot.network(data.net),
        "cost_curves": lambda: plot.cost_curves(data.histories),
        "activation_histograms": lambda: plot.activation_histograms(rows)[0, 0],
        "variance_with_depth": lambda: plot.variance_with_depth(predicted),
        "phase_diagram": lambda: plot.phase_diagram("tanh"),
    }


def cases(data):
    """The documented pictures, and those that show whether odd cases are readable."""
    holes = np.random.default_rng(0).normal(size=(12, 18))
    holes[3, 4] = holes[7, 10:13] = np.nan
    holes[0, 0] = 30
    _, gradients = data.small.loss_and_grad(*data.xor, loss="binary_cross_entropy")
    parameters = data.net.parameters()
    found = documented(data)
    for init in INITS:
        found[f"activations-{init}"] = lambda init=init: plot.activations(data.reports[init])
        found[f"gradients-{init}"] = lambda init=init: plot.gradients(data.reports[init])
    return found | {
        "activations-saturated": lambda: plot.activations(data.saturated),
        "activations-30-layers": lambda: plot.activations(data.deep["normal(0.05)"]),
        "activations-3-layers": lambda: plot.activations(data.recorder.reports[0]),
        "std_with_depth-gradient": lambda: plot.std_with_depth(data.reports, quantity="gradient_std"),
        "std_with_depth-30-layers": lambda: plot.std_with_depth(data.deep),
        "std_with_depth-one": lambda: plot.std_with_depth(data.reports["he_normal"]),
        "std_with_depth-zeros": lambda: plot.std_with_depth(data.reports["zeros"]),
        "dead_units-one": lambda: plot.dead_units(data.dead["biases of -1.2"]),
        "trajectory-3-layers": lambda: plot.trajectory(data.recorder.reports),
        "trajectory-two": lambda: plot.trajectory(
            {"a": data.course.reports, "b": data.recorder.reports[:13]}
        ),
        "trajectory-dead": lambda: plot.trajectory(data.course.reports, statistic="dead"),
        "decision_boundary-xor": lambda: plot.decision_boundary(data.small, *data.xor),
        "matrix-784": lambda: plot.matrix(data.wide.parameters()["layers.0.weight"], title="layers.0.weight"),
        "matrix-nan": lambda: plot.matrix(holes, title="with NaN"),
        "matrix-zeros": lambda: plot.matrix(np.zeros((5, 4)), title="zeros"),
        "matrix-constant": lambda: plot.matrix(np.full((4, 4), -0.3), title="constant(-0.3)"),
        "matrix-row": lambda: plot.matrix(parameters["layers.0.bias"], title="layers.0.bias"),
        "network-gradients": lambda: plot.network(data.small, values=gradients),
        "network-zeros": lambda: plot.network(ic.MLP([2, 2, 1], activation="tanh", init="zeros")),
        "network-784": lambda: plot.network(data.wide),
        "network-4-layers": lambda: plot.network(ic.MLP([3, 4, 3, 2], seed=0)),
    }


def save(draw, path, style, dpi):
    with plot.style(style):
        figure = draw().figure
        figure.savefig(path, dpi=dpi)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where to put all cases")
    parser.add_argument("--docs", action="store_true", help="write the pictures of docs/pictures.md")
    parser.add_argument("--only", default="", help="a part of the names of the cases to draw")
    arguments = parser.parse_args()
    if not arguments.docs and arguments.folder is None:
        parser.error("a folder or --docs is needed")
    data = Data()
    if arguments.docs:
        pictures = {f"{name}": (draw, "light") for name, draw in documented(data).items()}
        pictures["dark"] = (lambda: plot.decision_boundary(data.net, *data.spirals), "dark")
        pictures["paper"] = (lambda: plot.std_with_depth(data.deep), "paper")
        for name, (draw, style) in pictures.items():
            path = ROOT / "docs" / "images" / f"plot-{name.replace('_', '-')}.png"
            save(draw, path, style, 160 if style == "paper" else 90)
            with Image.open(path) as picture:  # few colours are enough
                small = picture.convert("RGB").quantize(160, dither=Image.Dither.NONE)
            small.save(path, optimize=True)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, draw in cases(data).items():
        for style in ("light", "dark", "paper"):
            if arguments.only in name:
                path = arguments.folder / f"{name}.{style}.png"
                save(draw, path, style, 200 if style == "paper" else 100)


if __name__ == "__main__":
    main()
