"""Depth limit: how deep a network can be and still be trained, against the depth scale of theory.

Schoenholz, Gilmer, Ganguli and Sohl-Dickstein (Deep information propagation, ICLR 2017) found that networks
train up to a depth of about six xi_c, where xi_c is the number of layers in which the correlation of two
inputs comes closer to its fixed point by a factor e.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore import datasets, plot
from initcore._core import VarianceScaling
from initcore.initializers import normal
from initcore.nn import MLP
from initcore.optimizers import SGD
from initcore.theory import depth_scales

from .common import accuracy, track, train
from .panels import edges
from .registry import Findings, experiment
from .result import Figures, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

#: Variances sigma_w^2 to try by activation: around the edge of chaos of tanh, and around 2.
VARIANCES: Mapping[str, Sequence[float]] = {
    "tanh": (1.0, 1.2, 1.4, 1.76, 2.2, 3.0, 4.0),
    "relu": (1.0, 1.4, 1.7, 2.0, 2.5),
}
DEPTHS = (2, 4, 8, 12, 16, 24, 32, 48, 64)


@experiment(
    "depth-limit",
    title="Depth limit: networks train as deep as the signal gets",
    lesson="Whether a deep network can be trained is settled before the training: down to about six depth "
    "scales xi_c the input still shows in the output, below that nothing of it arrives. Towards the edge of "
    "chaos xi_c grows without bound, and the width and the number of steps set the limit.",
)
def depth_limit(
    *,
    seed: int = 0,
    progress: bool | None = None,
    data: str = "mnist",
    variances: Mapping[str, Sequence[float]] = VARIANCES,
    bias_variance: float = 0.05,
    depths: Sequence[int] = DEPTHS,
    width: int = 64,
    epochs: int = 2,
    batch_size: int = 16,
    lr: float = 0.01,
    reached: float = 0.5,
) -> Findings:
    """Train networks of many depths and variances for a fixed number of steps.

    Parameters
    ----------
    seed : int
        Of weights, split and order of the samples.
    progress : bool, optional
        As in `run`.
    data : str
        See `datasets.load`.
    variances : mapping of str to sequence of float
        By activation, the weights' variances sigma_w^2 / fan_in to try.
    bias_variance : float
        sigma_b^2.
    depths : sequence of int
        Numbers of layers, the output included.
    width : int
        Of the hidden layers.
    epochs, batch_size : int
        Of each training.
    lr : float
        Learning rate of the gradient descent.
    reached : float
        The share of the training samples that a network has right which counts as trained.

    Returns
    -------
    Findings
        ``numbers[activation]`` has "sigma_w2", "depths", "accuracy" on the training samples, (variances,
        depths), "six_xi", and "deepest" (0 where no depth was trained).
    """
    samples = datasets.load(data, seed)
    six_xi = {
        activation: 6 * np.atleast_1d(depth_scales(activation, list(given), bias_variance)[1])
        for activation, given in variances.items()
    }
    cases = [
        (activation, w, depth)
        for activation, given in variances.items()
        for w, depth in product(given, depths)
    ]
    found = {
        (activation, w, depth): _trained(
            samples, activation, (w, bias_variance), [width] * (depth - 1), SGD(lr), epochs, batch_size, seed
        )
        for activation, w, depth in track(cases, progress, "network")
    }
    numbers: dict[str, Any] = {}
    for activation, given in variances.items():
        shares = np.array([[found[activation, w, depth] for depth in depths] for w in given])
        numbers[activation] = {
            "sigma_w2": tuple(given),
            "depths": tuple(depths),
            "accuracy": shares,
            "six_xi": six_xi[activation],
            "deepest": [
                max((d for d, share in zip(depths, row, strict=True) if share >= reached), default=0)
                for row in shares
            ],
        }
    steps = epochs * math.ceil(len(samples.x_train) / batch_size)
    tables = tuple(
        Table(
            f"{activation}: {samples.name}, width {width}, {steps} steps of SGD({lr}) on {batch_size}, "
            f"sigma_b^2 = {bias_variance:g}",
            ("sigma_w^2", "deepest", "6 xi_c", "ratio", *(f"{depth}" for depth in depths)),
            [
                [
                    f"{w:g}",
                    f"{deepest}+" if deepest == max(depths) else deepest,
                    float(limit),
                    deepest / float(limit),
                    *(f"{share:.0%}" for share in row),
                ]
                for w, deepest, limit, row in zip(
                    given,
                    numbers[activation]["deepest"],
                    numbers[activation]["six_xi"],
                    numbers[activation]["accuracy"],
                    strict=True,
                )
            ],
            f"Under the depths: the share of the training samples that is right at the end. deepest: the "
            f"deepest network with {reached:.0%} (+: no deeper one was tried). ratio: deepest / 6 xi_c, "
            "where signals have a finite size to settle at.",
        )
        for activation, given in variances.items()
    )
    figures = Figures(**{"depth-limit": lambda figure: _draw(figure, numbers)})
    return Findings(tables, figures, numbers)


def _trained(
    samples: datasets.Dataset,
    activation: str,
    variance: tuple[float, float],
    hidden: Sequence[int],
    optimizer: SGD,
    epochs: int,
    batch_size: int,
    seed: int,
) -> float:
    """Train a network; give its accuracy on the training samples."""
    sizes = [samples.x_train.shape[1], *hidden, len(samples.classes)]
    init = VarianceScaling(scale=variance[0], mode="fan_in", distribution="normal")
    net = MLP(sizes, activation=activation, init=init, seed=seed)
    std = math.sqrt(variance[1])
    net.set_parameters(
        {
            name: normal(value.shape, std=std, seed=seed, name=name)
            for name, value in net.parameters().items()
            if name.endswith("bias")
        }
    )
    # The layers are too small to share among threads.
    train(net, samples, optimizer, epochs, batch_size=batch_size, seed=seed, num_threads=1)
    return accuracy(net, samples.x_train, samples.y_train)


def _draw(figure: Figure, numbers: dict[str, Any]) -> None:
    """Draw the accuracy of each network, and over each variance's column theory's limit."""
    figure.set_size_inches(9.5, 4)
    panels = figure.subplots(
        1,
        len(numbers),
        sharey=True,
        squeeze=False,
        width_ratios=[len(each["sigma_w2"]) for each in numbers.values()],
    )[0]
    for ax, (activation, found) in zip(panels, numbers.items(), strict=True):
        depths, column = np.array(found["depths"]), np.arange(len(found["sigma_w2"]))
        borders = np.exp(edges(np.log(depths)))
        cells = np.append(column, len(column)) - 0.5
        mesh = ax.pcolormesh(cells, borders, found["accuracy"].T, cmap="cividis", vmin=0, vmax=1)
        inside = found["six_xi"] < borders[-1]  # nor NaN
        for color, width in (("white", 5), (plot.COLORS[3], 3)):
            ax.hlines(
                found["six_xi"][inside],
                column[inside] - 0.47,
                column[inside] + 0.47,
                color=color,
                linewidth=width,
            )
        ax.plot([], [], color=plot.COLORS[3], linewidth=3, label=r"$6\,\xi_c$")
        ax.set_yscale("log", base=2)
        ax.set_ylim(borders[[-1, 0]])
        ax.set_yticks(depths, [str(depth) for depth in depths])
        ax.minorticks_off()
        ax.set_xticks(column, [f"{w:g}" for w in found["sigma_w2"]])
        ax.set_xlabel(r"$\sigma_w^2$")
        ax.set_title(activation, loc="left")
        ax.legend(loc="upper right", fontsize="small")
    panels[0].set_ylabel("layers")
    figure.colorbar(mesh, ax=panels, label="accuracy on the training samples")
