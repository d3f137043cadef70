"""Over the epochs: loss curves, statistics of the layers, and the figures of a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from initcore.arrays import one_of

from .layers import activation_histograms, grid_of
from .reports import numbers, series_by_name
from .styles import (
    LINES,
    MARKERS,
    color_of,
    depth_colors,
    ink,
    log_ticks,
    new_axes,
    outside_legend,
    require,
    scale,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from initcore.compare import Result
    from initcore.diagnosis import Diagnosis

History: TypeAlias = Mapping[str, Sequence[Any]]

#: The statistics of a layer whose course can be drawn, with the label of the axis.
STATISTICS = {
    "std": "std of the outputs",
    "mean": "mean of the outputs",
    "skew": "skewness of the outputs",
    "mean_square": "mean square of the outputs",
    "dead": "share of dead units",
    "saturated": "share of saturated outputs",
    "effective_rank": "effective rank of the outputs",
    "duplicates": "units equal to another",
    "flipped": "units equal to another's negative",
    "collinear": "units that are a multiple of another",
    "twins": "units equal to another, in gradients too",
    "gradient_std": "std of dL/dz",
    "gradient_norm": "L2 norm of dL/dz",
    "weight_norm": "L2 norm of the weights",
    "weight_gradient_norm": "L2 norm of dL/dW",
    "weight_gradient_std": "std of dL/dW",
    "update_ratio": "step / weights, L2 norms",
}
_LINEAR = {"mean", "skew", "dead", "saturated", "duplicates", "flipped", "collinear", "twins"}
#: Up to as many layers have names in the legend; more have a colour bar.
_NAMED = 7


def cost_curves(
    results: Iterable[Result] | Mapping[str, History],
    ax: Axes | None = None,
    *,
    validation: bool = False,
) -> Axes:
    """Draw the training loss over the epochs, one line per training, on a logarithmic axis.

    A training that diverged ends with a cross at the top, in the epoch where it did. Lines that
    coincide stay visible: each is thinner than the one below it.

    Parameters
    ----------
    results : iterable of Result, or mapping of str to History
        From `compare`, or histories of `MLP.fit` by the name to show. Results begin at epoch 0 with
        the loss before the training, and have a dotted line for the loss of guessing.
    ax : Axes, optional
        Where to draw; by default in a new pyplot figure.
    validation : bool
        Draw the validation loss too, dashed.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    require()
    from matplotlib.ticker import MaxNLocator

    judged = [] if isinstance(results, Mapping) else list(results)
    histories: list[tuple[str, History]] = (
        list(results.items())
        if isinstance(results, Mapping)
        else [(f"{result.init}: {result.verdict}", result.history) for result in judged]
    )
    ax = new_axes(7.5, 4.2) if ax is None else ax
    ax.set_yscale("log")
    crosses = []
    for i, (label, history) in enumerate(histories):
        curve = list(enumerate(history["loss"], start=1))
        if judged:
            curve.insert(0, (0, judged[i].initial_loss))
        drawn = [point for point in curve if _is_drawable(point[1])]
        color, marker = color_of(i), MARKERS[i % len(MARKERS)]
        width = scale() * (2 + 4 * (1 - (i + 1) / len(histories)))
        ax.plot(
            *_columns(drawn),
            color=color,
            linewidth=width,
            marker=marker,
            markersize=width + 3 * scale(),
            markevery=(i % 3, 3),  # staggered, so that markers too can be told apart
            label=label,
        )
        if getattr(history, "diverged", False):
            crosses.append((curve[-1][0], drawn[-1:], color))
        if validation:
            curve = list(enumerate(history["val_loss"], start=1))
            ax.plot(*_columns([p for p in curve if _is_drawable(p[1])]), "--", color=color)
    if judged:
        ax.axhline(judged[0].guess_loss, color=ink(), linestyle=":", label="guessing", zorder=3)
        trained = sum(result.trains for result in judged)
        ax.set_title(f"{trained} of {len(judged)} initializations train this network", loc="left", pad=12)
    if crosses:  # at the top, above everything that is finite
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * (high / low) ** 0.1)
    top = ax.get_ylim()[1]
    for epoch, last, color in crosses:
        ax.plot(*_columns([*last, (epoch, top)]), linestyle="--", color=color, linewidth=2 * scale())
        ax.plot(epoch, top, "X", color=color, markersize=11 * scale(), clip_on=False, zorder=4)
    ax.set_xlabel("epoch")
    ax.set_ylabel("training loss" + (" (dashed: validation)" if validation else ""))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if histories:
        outside_legend(ax, title="cross: diverged" if crosses else None)
    tidy(ax)
    return ax


def trajectory(
    reports: Sequence[Diagnosis] | Mapping[str, Sequence[Diagnosis]],
    ax: Axes | None = None,
    *,
    statistic: str = "std",
) -> Axes:
    """Draw how a statistic of each layer changes during the training, one line per layer.

    Parameters
    ----------
    reports : sequence of Diagnosis, or mapping of str to such sequences
        As `Recorder.reports`: before the training, then after each epoch. Several differ in their lines.
    ax : Axes, optional
        Where to draw; by default in a new pyplot figure.
    statistic : str
        The attribute of `LayerDiagnosis` to draw. Sizes, as "std", have a logarithmic axis.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError
        `reports` holds something else.
    ValueError
        The statistic is unknown, or the reports do not have it; or there is nothing to draw.
    """
    require()
    import numpy as np
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    one_of(statistic, "statistic", STATISTICS)
    several = series_by_name(reports)
    courses = {
        name: np.array([numbers(report.layers, statistic) for report in series])
        for name, series in several.items()
    }
    if not any(np.isfinite(course).any() for course in courses.values()):
        raise ValueError(f"the reports have no finite {statistic}: there is nothing to draw")
    ax = new_axes(6.0, 3.8) if ax is None else ax
    if statistic not in _LINEAR:
        ax.set_yscale("log")
    depth = max(course.shape[1] for course in courses.values())
    colors = depth_colors(depth)
    for i, course in enumerate(courses.values()):
        drawn = course if statistic in _LINEAR else np.where(course > 0, course, np.nan)
        drawn = np.where(np.isfinite(drawn), drawn, np.nan)
        every = max(1, len(drawn) // 8)
        for layer, values in enumerate(drawn.T):
            ax.plot(
                values,
                color=colors[layer],
                linestyle=LINES[i % len(LINES)],
                marker=MARKERS[(layer if len(courses) == 1 else i) % len(MARKERS)],
                markersize=4 * scale(),
                markevery=(layer % every, every),
                linewidth=1.4 * scale(),
            )
    ax.set_xlabel("epoch")
    ax.set_ylabel(STATISTICS[statistic])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    kinds = [
        Line2D([], [], color=ink(), linestyle=LINES[i % len(LINES)], marker=MARKERS[i % len(MARKERS)],
               markersize=4 * scale(), linewidth=1.4 * scale(), label=name)
        for i, name in enumerate(courses) if name
    ]  # fmt: skip
    if depth <= _NAMED:
        first = max(several.values(), key=lambda series: len(series[0].layers))[0]
        kinds += [
            Line2D(
                [],
                [],
                color=colors[i],
                marker="" if kinds else MARKERS[i],
                markersize=4 * scale(),
                label=layer.name,
            )
            for i, layer in enumerate(first.layers)
        ]
    else:
        _depth_bar(ax, colors)
    if kinds:
        if depth <= _NAMED:
            outside_legend(ax, kinds)
        else:  # the colour bar is beside
            ax.legend(
                handles=kinds,
                frameon=False,
                fontsize="small",
                loc="lower left",
                bbox_to_anchor=(0, 1),
                ncols=3,
            )
    if statistic not in _LINEAR:
        log_ticks(ax)
    tidy(ax)
    return ax


def _depth_bar(ax: Axes, colors: list[Any]) -> None:
    """Draw which colour is which layer, counted from 1."""
    import numpy as np
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    edges = np.arange(len(colors) + 1) + 0.5
    bar = ax.figure.colorbar(ScalarMappable(BoundaryNorm(edges, len(colors)), ListedColormap(colors)), ax=ax)
    middle = sorted({1, (len(colors) + 1) // 2, len(colors)})
    bar.set_ticks(middle, labels=[str(i) for i in middle])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label("layer")
    bar.ax.tick_params(length=0, labelsize="small")
    bar.ax.invert_yaxis()


def comparison_figures(results: Sequence[Result]) -> dict[str, Figure]:
    """Draw what `compare` found.

    Parameters
    ----------
    results : sequence of Result
        One or more.

    Returns
    -------
    dict of str to Figure
        "cost": the cost curves; "activations": the histograms before the training. They belong to
        no window, and pyplot does not know them.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    require()
    from matplotlib.figure import Figure

    cost = Figure(figsize=(7.5, 4.2), layout="constrained")
    cost_curves(results, cost.subplots())
    rows = {result.init: result.activations for result in results}
    shape, size = grid_of(len(rows), max(map(len, rows.values())))
    histograms = Figure(figsize=size, layout="constrained")
    activation_histograms(rows, histograms.subplots(*shape, squeeze=False))
    histograms.suptitle("Activations before training; each row has one scale", fontsize="medium")
    histograms.supxlabel("activation", fontsize="small")
    histograms.supylabel("share of the values", fontsize="small")
    return {"cost": cost, "activations": histograms}


def _is_drawable(value: float | None) -> bool:
    """Whether a logarithmic axis can show it."""
    return value is not None and math.isfinite(value) and value > 0


def _columns(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
