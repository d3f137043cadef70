"""The plot of ``dense_table.py``: how many times as fast as the peers initcore is, and the digits."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from dense_report import PYTORCH_BARS, Results
from dense_work import EPOCHS, Network, products
from peers import COLORS, PLOT_STYLE, digits, plural

WIDTH = 0.38  # of a bar, of two beside each other


def draw(results: Results, facts: Mapping[str, str], path: Path) -> None:
    """Draw the figure and write it."""
    mpl.use("Agg")
    networks = results.plan.networks
    with plt.rc_context(PLOT_STYLE):
        figure, axes = plt.subplots(
            2, 2, figsize=(7.2, 5.2), layout="constrained"
        )  # inches: a page is as wide
        ratios(axes[0, 0], results, [f"SGD step, {n}" for n in networks], networks, PYTORCH_BARS)
        axes[0, 0].set_title("Training step: times as fast as the peer", loc="left", fontweight="bold")
        ratios(axes[0, 1], results, [f"forward, {n}" for n in networks], networks, [1.0] * len(networks))
        axes[0, 1].set_title("Forward: times as fast as the peer", loc="left", fontweight="bold")
        rates(axes[1, 0], results)
        digits_panel(axes[1, 1], results)
        figure.suptitle(f"initcore and its peers, float32; {facts['CPU']}", fontsize=7)
        figure.savefig(path, dpi=200)
        plt.close(figure)


def ratios(
    ax: Axes, results: Results, works: Sequence[str], networks: Sequence[Network], bars: Sequence[float]
) -> None:
    """Draw a pair of bars for each network, and what is demanded of each as a line across it."""
    every = []
    for side, library in ((-1, "PyTorch"), (1, "JAX")):
        demanded = bars if library == "PyTorch" else [1.0] * len(works)
        found = [results.ratio(work, library) for work in works]
        for i, (ratio, bar) in enumerate(zip(found, demanded, strict=False)):
            if ratio is None:
                continue
            every += [ratio, bar]
            x = i + side * WIDTH / 2
            ax.bar(x, ratio - 1, WIDTH, bottom=1, color=COLORS[library], label=library if i == 0 else None)
            ends = [x - WIDTH / 2, x + WIDTH / 2]
            line = "demanded" if side < 0 and i == 0 else None
            ax.plot(ends, [bar, bar], color="black", linewidth=1.2, label=line)
            ax.annotate(
                digits(ratio),
                (x, max(ratio, bar)),
                (0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=6,
            )
    ax.axhline(1, color="black", linewidth=0.4)
    ax.set_yscale("log")
    if every:
        ax.set_ylim(min(0.5, 0.8 * min(every)), 2 * max(every))
    ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda y, _: f"{y:g}×"))
    ax.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    ax.minorticks_off()
    ax.set_xticks(range(len(networks)), [label(n) for n in networks], fontsize=5.5)
    ax.tick_params(axis="x", length=0)
    ax.legend(frameon=False, loc="upper right")


def label(network: Network) -> str:
    """Write a network in a narrow column."""
    widths = [str(n) for n in network.sizes]
    middle = len(widths) // 2
    lines = (
        ["-".join(widths)]
        if len(widths) < 4
        else ["-".join(widths[:middle]) + "-", "-".join(widths[middle:])]
    )
    return "\n".join([*lines, f"batch {network.batch}"])


def rates(ax: Axes, results: Results) -> None:
    """Draw the rates of the float32 products, with one thread and with all."""
    works = [work for work, a, _ in products(results.plan) if a.dtype == "f4"]
    counts = sorted({1, results.threads})
    columns = [(work, count) for count in counts for work in works]
    for k, library in enumerate(("initcore", "PyTorch", "NumPy")):
        for i, (work, count) in enumerate(columns):
            m = results.best(library, work, count)
            if m is None:
                continue
            x, height = i + 0.27 * (k - 1), m.units / m.best / 1e9
            ax.bar(x, height, 0.27, color=COLORS[library], label=library if i == 0 else None)
            ax.annotate(
                f"{height:.0f}", (x, height), (0, 1), textcoords="offset points", ha="center", fontsize=5
            )
    names = [f"n = {work.split()[3].rstrip(',')}\n{plural(count)}" for work, count in columns]
    ax.set_xticks(range(len(columns)), names, fontsize=5.5)
    ax.tick_params(axis="x", length=0)
    ax.set_title("Matrix product, GFLOP/s", loc="left", fontweight="bold")
    ax.margins(y=0.2)
    ax.legend(frameon=False, loc="upper left", ncols=3)


def digits_panel(ax: Axes, results: Results) -> None:
    """Draw the wall times of the training on MNIST."""
    trainings = results.trainings()
    seconds = [t.seconds for t in trainings]
    ax.barh(
        range(len(seconds)), seconds, color=[COLORS[t.measurement.library] for t in trainings], height=0.7
    )
    for i, t in enumerate(trainings):
        shown = f"{t.seconds:.2f} s, {100 * t.accuracy:.1f}%"
        ax.annotate(shown, (t.seconds, i), (2, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(seconds)), [t.measurement.library for t in trainings])
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1.35 * max(seconds))
    ax.set_xlabel("less is better; beside them the test accuracy", labelpad=1)
    ax.set_title(f"MNIST: seconds of {EPOCHS} epochs", loc="left", fontweight="bold")
