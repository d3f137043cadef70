"""How each layer's numbers are distributed: histograms in panels, or as ridges in one plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from .reports import one
from .styles import COLORS, depth_colors, inches, ink, letters, new_axes, require, spread, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from initcore.diagnosis import Diagnosis

AxesGrid: TypeAlias = npt.NDArray[np.object_]
Floats: TypeAlias = npt.NDArray[np.float64]

#: A new figure shows at most this many layers, evenly spread from the first to the last.
MAX_COLUMNS = 7
#: One plot shows at most this many ridges.
MAX_RIDGES = 12
#: Layers whose sizes differ by more than this share a logarithmic scale, not a linear one.
_RATIO = 50.0
#: How high a ridge is, where the distance to the next is 1.
_HEIGHT = 0.9
_BINS = 60


def activation_histograms(
    activations: Sequence[npt.ArrayLike] | Mapping[str, Sequence[npt.ArrayLike]],
    axes: npt.ArrayLike | None = None,
) -> AxesGrid:
    """Draw how each layer's activations are distributed: a row per network, a column per layer.

    The panels of a row share their scale, so that a collapse shows as a needle at zero and an
    explosion as needles that become broad. Each panel names the standard deviation.

    Parameters
    ----------
    activations : sequence of array_like, or mapping of str to such sequences
        As from `MLP.activations`: one network, or several by the name to show.
    axes : array_like of Axes, (networks, columns), optional
        Where to draw; by default in a new pyplot figure of at most 7 columns. If there are more
        layers than columns, an even choice is drawn that has the first and the last.

    Returns
    -------
    ndarray of Axes, (networks, columns)

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        There is nothing to draw, or `axes` has not one row per network.
    """
    require()
    rows = activations if isinstance(activations, Mapping) else {"": activations}
    layers = max(map(len, rows.values()), default=0)
    if layers == 0:
        raise ValueError("there are no activations to draw")
    if axes is None:
        from matplotlib import pyplot as plt

        shape, size = grid_of(len(rows), layers)
        _, axes = plt.subplots(*shape, figsize=size, squeeze=False, layout="constrained")
    grid: AxesGrid = np.asarray(axes, dtype=object)
    if grid.ndim != 2 or len(grid) != len(rows):
        raise ValueError(
            f"expected axes of shape ({len(rows)}, columns), one row per network, got {grid.shape}"
        )
    for panels, (name, values) in zip(grid, rows.items(), strict=True):
        _histogram_row(panels, name, [np.asarray(value, np.float64) for value in values])
    for ax, layer in zip(grid[0], spread(layers, grid.shape[1]), strict=False):
        name = "output" if layer == layers - 1 else f"layer {layer + 1}"
        ax.set_title(name, loc="left", fontsize="small")
    return grid


def activations(report: Diagnosis, ax: Axes | None = None) -> Axes:
    """Draw how each layer's outputs are distributed: a histogram per layer, the first on top.

    All share one scale: a collapse shows as ridges that narrow to needles, an explosion as ridges that
    broaden. Where layers differ by orders of magnitude it is logarithmic to both sides of zero. Each ridge is
    as high as its highest bin; exact zeros, as relu gives, are a line as high as their share. Beside each
    stand the standard deviation and the share of dead units.

    Parameters
    ----------
    report : Diagnosis
        From `diagnose`. Of more than 12 layers, an even choice is drawn that has the first and the last.
    ax : Axes, optional
        Where to draw; by default in a new pyplot figure. A symmetric logarithmic scale and limits of x that
        are set stay as they are.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError
        `report` is something else.
    ValueError
        It has no layers.
    """
    return _ridges(report, ax, "sample", "std", "output")


def gradients(report: Diagnosis, ax: Axes | None = None) -> Axes:
    """Draw how the gradients dL/dz of each layer are distributed; see `activations`.

    Parameters
    ----------
    report : Diagnosis
        From `diagnose`.
    ax : Axes, optional
        Where to draw; by default in a new pyplot figure.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError
        `report` is something else.
    ValueError
        It has no layers, or no gradients.
    """
    return _ridges(report, ax, "gradient_sample", "gradient_std", "gradient dL/dz")


def _ridges(report: Diagnosis, ax: Axes | None, sample: str, std: str, label: str) -> Axes:
    require()
    every = [layer for layer in one(report).layers if getattr(layer, sample) is not None]
    if not every:
        raise ValueError(f"the report has no {sample} in any layer: there is nothing to draw")
    layers = [every[i] for i in spread(len(every), MAX_RIDGES)]
    values = [np.asarray(getattr(layer, sample), np.float64).ravel() for layer in layers]
    finite = [some[np.isfinite(some)] for some in values]
    ax = new_axes(6.0, 1.2 + 0.36 * max(len(layers), 4)) if ax is None else ax
    edges = _edges(ax, finite)
    zeros_drawn = False
    for i, (layer, some, color) in enumerate(zip(layers, finite, depth_colors(len(layers)), strict=True)):
        base = len(layers) - 1 - i
        ax.axhline(base, color=color, linewidth=0.8, zorder=2 * i)
        counts, _ = np.histogram(some[some != 0], edges)
        if counts.any():
            height = base + _HEIGHT * counts / counts.max()
            ax.stairs(height, edges, baseline=base, fill=True, color=color, zorder=2 * i + 1)
        zeros = (some == 0).mean() if some.size else 0.0
        if zeros > 0:
            zeros_drawn = True
            ax.plot([0, 0], [base, base + _HEIGHT * zeros], color=ink(), linewidth=1.6, zorder=2 * i + 1.5,
                    solid_capstyle="butt")  # fmt: skip
        size = getattr(layer, std)
        dead = "" if layer.dead is None else f"{100 * layer.dead:.0f}%"
        _beside(ax, base, ["" if size is None else f"{size:.3g}", dead])
        if some.size < values[i].size:
            lost = f"{values[i].size - some.size} " if some.size else ""
            ax.text(
                0.02, base + 0.1, f"{lost}not finite", transform=ax.get_yaxis_transform(), fontsize="small"
            )
    ax.set_ylim(-0.3, len(layers))
    ax.set_yticks(range(len(layers)), labels=[layer.name for layer in reversed(layers)])
    ax.set_xlabel(label + ("\n(lines at 0: share of exact zeros)" if zeros_drawn else ""))
    tidy(ax)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    _beside(ax, len(layers), [name for name, _ in _COLUMNS])
    return ax


#: The numbers beside the ridges, and how far right of the axes they end, in letters.
_COLUMNS = (("std", 5.0), ("dead", 8.4))


def _beside(ax: Axes, height: float, texts: list[str]) -> None:
    """Write a line of the table to the right of the ridges."""
    for text, (_, end) in zip(texts, _COLUMNS, strict=True):
        ax.annotate(text, (1, height), (end * letters(), 0), ("axes fraction", "data"), "offset points",
                    va="bottom", ha="right", fontsize="small", annotation_clip=False)  # fmt: skip


def _edges(ax: Axes, finite: list[Floats]) -> Floats:
    """Give the edges of the bins that all ridges share, and set the scale of the axis."""
    sizes = [
        np.sqrt(np.mean(np.square(some / np.abs(some).max()))) * np.abs(some).max()
        for some in finite
        if some.any()
    ]
    largest, smallest = max(sizes, default=1.0), min(sizes, default=1.0)
    if largest > _RATIO * smallest and ax.get_xscale() != "symlog":
        ax.set_xscale("symlog", linthresh=max(smallest / 4, largest * 1e-16, 1e-300), linscale=0.5)
    scale, free = ax.xaxis.get_transform(), ax.get_autoscalex_on()
    if free:
        low = min([0.0, *(np.quantile(some, 0.001) for some in finite if some.size)])
        high = max([0.0, *(np.quantile(some, 0.999) for some in finite if some.size)])
        low, high = (low, high) if low < high else (-1.0, 1.0)
    else:
        low, high = sorted(ax.get_xlim())
    a, b = scale.transform(np.array([low, high]))
    width = (b - a) / _BINS
    margin = 2 if free else 0
    # Zero lies between two bins, or what is positive would seem to reach below it.
    steps = np.arange(np.floor(a / width) - margin, np.ceil(b / width) + margin + 1)
    edges = np.asarray(scale.inverted().transform(steps * width), np.float64)
    if free:
        ax.set_xlim(edges[0], edges[-1])
    if ax.get_xscale() == "symlog":
        _decades(ax, *ax.get_xlim())
    return edges


def _decades(ax: Axes, low: float, high: float) -> None:
    """Put some ticks to either side of zero, at powers of ten."""
    from matplotlib.ticker import FixedLocator, NullLocator

    scale = ax.xaxis.get_transform()
    first = np.ceil(np.log10(scale.linthresh))  # type: ignore[attr-defined]
    powers = 10.0 ** np.arange(np.floor(np.log10(max(-low, high))), first - 1, -1)
    ends = scale.transform(np.array([low, high]))
    # Widths of four letters apart, from each other and from zero.
    places = scale.transform(powers) * inches(ax)[0] * 72 / (ends[1] - ends[0]) / (4 * letters())
    kept: list[int] = []
    for i, place in enumerate(places):
        if place >= 1 and (not kept or places[kept[-1]] - place >= 1):
            kept.append(i)
    ticks = [tick for tick in (*-powers[kept], 0.0, *powers[kept][::-1]) if low <= tick <= high]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())


def _histogram_row(panels: AxesGrid, name: str, layers: list[npt.NDArray[np.float64]]) -> None:
    chosen = spread(len(layers), len(panels))
    finite = [layers[i][np.isfinite(layers[i])] for i in chosen]
    low = min([0.0, *(np.quantile(values, 0.001) for values in finite if values.size)])
    high = max([0.0, *(np.quantile(values, 0.999) for values in finite if values.size)])
    low, high = (low, high) if low < high else (-1.0, 1.0)
    margin = 0.05 * (high - low)
    edges = np.linspace(low - margin, high + margin, 42)
    for ax, values, layer in zip(panels, finite, chosen, strict=False):
        # A logarithm, or the zeros of a relu would leave nothing to see of the other half.
        ax.set_yscale("log")
        ax.set_ylim(1e-4, 2)
        counts, _ = np.histogram(values, edges)
        ax.stairs(counts / max(1, layers[layer].size), edges, fill=True, color=COLORS[0])
        ax.set_xlim(edges[0], edges[-1])
        ax.locator_params(axis="x", nbins=3)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}".replace("e+0", "e"))
        ax.set_yticks([1e-4, 1e-2, 1] if ax is panels[0] else [])
        ax.set_yticks([], minor=True)
        if not values.size:
            ax.text(0.5, 0.5, "not finite", transform=ax.transAxes, ha="center", fontsize="small")
        with np.errstate(all="ignore"):
            std = layers[layer].std()
        ax.set_title(f"std {std:.2g}", loc="right", fontsize="small")
        tidy(ax)
    for ax in panels[len(chosen) :]:
        ax.set_visible(False)
    panels[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize="small")


def grid_of(rows: int, layers: int) -> tuple[tuple[int, int], tuple[float, float]]:
    """Give the shape of a new grid of panels, and the size of the figure in inches."""
    import matplotlib as mpl

    columns = min(layers, MAX_COLUMNS)
    width, height = 1.5 * columns + 1.5, 1.15 * rows + 0.9
    asked = mpl.rcParams["figure.figsize"][0]
    if (
        width > asked and asked < mpl.rcParamsDefault["figure.figsize"][0]
    ):  # of a narrow column: fewer, not smaller
        columns, width = max(2, int(asked / 1.05)), asked
    return (rows, min(layers, columns)), (width, height)
