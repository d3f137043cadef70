"""From layer to layer: how large signals and gradients are, how many units are dead; and what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore.arrays import one_of

from .reports import by_name, expectations, numbers
from .styles import (
    LINES,
    MARKERS,
    color_of,
    ground,
    is_dark,
    is_narrow,
    log_ticks,
    new_axes,
    outside_legend,
    require,
    scale,
    tidy,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

    from initcore.diagnosis import Diagnosis
    from initcore.theory import Prediction

#: What `std_with_depth` draws, with the label of the axis.
STD_QUANTITIES = {"std": "std of the outputs", "gradient_std": "std of dL/dz\n(output layer: 1)"}


def variance_with_depth(
    prediction: Prediction | Mapping[str, Prediction],
    measured: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
    ax: Axes | None = None,
    *,
    quantity: str = "z",
) -> Axes:
    """Draw how large signals or gradients are in each layer: a line as predicted, a band where networks lie.

    The band is of two standard deviations either way. Layers in which nothing arrives are left out.

    Parameters
    ----------
    prediction : Prediction, or mapping of str to Prediction
        From `theory.predict`: one, or several by the name to show.
    measured : array_like or mapping of str to array_like, (layers,) or (networks, layers), optional
        What networks show, drawn as points; by the same names.
    ax : Axes, optional
        Where to draw; by default in a new pyplot figure.
    quantity : {"z", "y", "slope", "dz", "dw"}
        The attribute of `Prediction` to draw.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        The quantity is unknown, or `measured` does not fit the layers.
    """
    require()
    from matplotlib.ticker import MaxNLocator

    from initcore.theory.prediction import QUANTITIES, Prediction

    one_of(quantity, "quantity", QUANTITIES)
    several = prediction if isinstance(prediction, Mapping) else {"": prediction}
    for one in several.values():
        if not isinstance(one, Prediction):
            raise TypeError(f"expected a Prediction, as theory.predict gives, got {type(one).__name__}")
    points = measured if isinstance(measured, Mapping) else {"": measured}
    ax = new_axes(6.0, 4.0) if ax is None else ax
    ax.set_yscale("log")
    for i, (name, one) in enumerate(several.items()):
        estimate = getattr(one, quantity)
        layer = np.arange(1, len(estimate.mean) + 1)
        color, marker, line = color_of(i), MARKERS[i % len(MARKERS)], LINES[i % len(LINES)]
        low, high = estimate.interval(2.0)
        shown = np.isfinite(high) & (low > 0)
        _expected(ax, i, layer, estimate.mean, low, high, shown)
        style: dict[str, Any] = {"color": color, "markeredgecolor": ground(), "markeredgewidth": 0.4}
        if points.get(name) is not None:
            found = np.atleast_2d(np.asarray(points[name], np.float64))
            if found.shape[-1:] != layer.shape or found.ndim != 2:
                raise ValueError(f"expected measurements of {layer.size} layers, got shape {found.shape}")
            ax.plot(layer, found.T, marker, markersize=4.5 * scale(), zorder=3, **style)
        if name:
            shape = "" if points.get(name) is None else marker
            ax.plot([], [], marker=shape, linestyle=line, linewidth=1.8 * scale(), label=name, **style)
    ax.set_xlabel("layer")
    ax.set_ylabel(QUANTITIES[quantity])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if any(several):
        ax.legend(frameon=False, fontsize="small")
    tidy(ax)
    return ax


def std_with_depth(
    report: Diagnosis | Mapping[str, Diagnosis], ax: Axes | None = None, *, quantity: str = "std"
) -> Axes:
    """Draw the standard deviation of every layer's outputs or gradients.

    Points are measured, lines predicted. The band is of two standard deviations either way, over draws of the
    weights. What is 0 is a hollow point at the bottom, what is infinite or NaN a cross at the top.

    Parameters
    ----------
    report : Diagnosis, or mapping of str to Diagnosis
        From `diagnose`: one, or several by the name to show.
    ax : Axes, optional
        Where to draw; by default in a new pyplot figure.
    quantity : {"std", "gradient_std"}
        Of the outputs, or of dL/dz, relative to that in the output layer.

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
        The quantity is unknown, or the report has no gradients.
    """
    require()
    from initcore.theory.prediction import Estimate

    one_of(quantity, "quantity", STD_QUANTITIES)
    several = by_name(report)
    for this in several.values():
        if any(getattr(layer, quantity) is None for layer in this.layers):
            raise ValueError("a layer of the report has no gradients: there is nothing to draw")
    ax = new_axes(6.0, 3.8) if ax is None else ax
    ax.set_yscale("log")
    zeros = False
    for i, (name, this) in enumerate(several.items()):
        found = numbers(this.layers, quantity)
        mean, std = expectations(this.layers, quantity)
        if quantity == "gradient_std":
            with np.errstate(all="ignore"):
                mean, std = (np.where(x == 0, 0, x / found[-1]) for x in (mean, std))
                found = np.where(found == 0, 0, found / found[-1])
        layer = np.arange(1, len(found) + 1)
        expected = Estimate(mean, std)
        low, high = expected.interval(2.0)
        _expected(ax, i, layer, expected.mean, low, high, np.isfinite(high) & (low > 0))
        shown = np.isfinite(found) & (found > 0)
        _points(ax, i, layer[shown], found[shown], name)
        edge: dict[str, Any] = {
            "color": color_of(i),
            "clip_on": False,
            "zorder": 4,
            "linestyle": "",
            "markersize": 5 * scale(),
        }
        edge["transform"] = ax.get_xaxis_transform()
        if (found == 0).any():
            zeros = True
            level = np.full(int((found == 0).sum()), 0.03 + 0.05 * i)
            ax.plot(layer[found == 0], level, MARKERS[i % len(MARKERS)], markerfacecolor=ground(), **edge)
        if (~np.isfinite(found)).any():
            ax.plot(layer[~np.isfinite(found)], np.ones(int((~np.isfinite(found)).sum())), "X", **edge)
    log_ticks(ax)
    notes = ["hollow: 0"] if zeros else []
    return _with_depth(ax, STD_QUANTITIES[quantity], several, quantity, notes)


def dead_units(report: Diagnosis | Mapping[str, Diagnosis], ax: Axes | None = None) -> Axes:
    """Draw the share of units in every layer that have the same output for every input.

    The line and its band of two standard deviations are what theory expects, where it has an answer.

    Parameters
    ----------
    report : Diagnosis, or mapping of str to Diagnosis
        From `diagnose`: one, or several by the name to show.
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
    """
    require()
    from matplotlib.ticker import PercentFormatter

    several = by_name(report)
    ax = new_axes(6.0, 3.4) if ax is None else ax
    for i, (name, this) in enumerate(several.items()):
        layer = np.arange(1, len(this.layers) + 1)
        mean, std = expectations(this.layers, "dead")
        low, high = np.clip([mean - 2 * std, mean + 2 * std], 0, 1)
        _expected(ax, i, layer, mean, low, high, np.isfinite(mean))
        _points(ax, i, layer, numbers(this.layers, "dead"), name, linestyle=":")
    ax.set_ylim(-0.04, 1.04)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return _with_depth(ax, "dead units", several, "dead", [])


def _expected(
    ax: Axes, i: int, layer: npt.NDArray[Any], mean: Any, low: Any, high: Any, shown: npt.NDArray[np.bool_]
) -> None:
    """Draw the line and the band of an expectation, where there is one."""
    color = color_of(i)
    ax.fill_between(layer, low, high, where=shown, color=color, alpha=0.35 if is_dark() else 0.2, linewidth=0)
    ax.plot(layer[shown], mean[shown], color=color, linestyle=LINES[i % len(LINES)], linewidth=1.8 * scale())


def _points(ax: Axes, i: int, layer: npt.NDArray[Any], values: Any, name: str, linestyle: str = "") -> None:
    """Draw what was measured."""
    ax.plot(
        layer,
        values,
        MARKERS[i % len(MARKERS)],
        color=color_of(i),
        linestyle=linestyle,
        linewidth=scale(),
        markersize=5 * scale(),
        markeredgecolor=ground(),
        markeredgewidth=0.5,
        zorder=3 + 0.01 * i,
        label=name or None,
    )


def _with_depth(
    ax: Axes, label: str, several: Mapping[str, Diagnosis], statistic: str, notes: list[str]
) -> Axes:
    """Finish a picture whose x axis counts layers."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel("layer")
    ax.set_ylabel(label)
    depth = max(len(one.layers) for one in several.values())
    ax.set_xlim(1 - 0.03 * depth, depth + 0.03 * depth)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    predicted = any(statistic in layer.expected for one in several.values() for layer in one.layers)
    look: dict[str, Any] = {"markeredgecolor": ground(), "markeredgewidth": 0.5, "markersize": 5 * scale()}
    look["linewidth"] = 1.8 * scale()
    handles = [
        Line2D([], [], color=color_of(i), linestyle=LINES[i % len(LINES)] if predicted else ":",
               marker=MARKERS[i % len(MARKERS)], label=name, **look)
        for i, name in enumerate(several) if name
    ]  # fmt: skip
    if handles:
        notes = [*(("points: measured", "lines: predicted") if predicted else ()), *notes]
        outside_legend(ax, handles, title=(", " if is_narrow(ax) else "\n").join(notes) or None)
    elif predicted or notes:
        measured = Line2D(
            [], [], color=color_of(0), marker=MARKERS[0], label="measured", **{**look, "linestyle": ""}
        )
        line = Line2D([], [], color=color_of(0), label="predicted, \u00b1 2 std", **look)
        outside_legend(ax, [measured, line] if predicted else [measured], title="\n".join(notes) or None)
    tidy(ax)
    return ax
