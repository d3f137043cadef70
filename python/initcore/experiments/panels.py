"""Panels side by side, drawn by `plot`, that several experiments have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from initcore import plot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure, SubFigure

    from initcore.plot import History


def cost_panels(
    figure: Figure | SubFigure, panels: Mapping[str, Mapping[str, History]], guesses: Mapping[str, float]
) -> None:
    """Draw cost curves in a row of panels of one scale, with one legend for all."""
    axes = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
    for ax, (title, histories) in zip(axes, panels.items(), strict=True):
        plot.cost_curves(histories, ax)
        ax.axhline(guesses[title], color="gray", linestyle=":", zorder=1)
        ax.set_title(title, loc="left")
        ax.get_legend().remove()
    curves = [line for ax in axes for line in ax.lines if line.get_marker() != "X"]
    crosses = [line for ax in axes for line in ax.lines if line.get_marker() == "X"]
    losses = np.concatenate([np.asarray(line.get_ydata(), float) for line in curves])
    low, high = losses.min() / 1.5, losses.max() * 1.5
    for line in curves:  # of many epochs, markers would hide the curves
        line.set(marker="", linewidth=0.6 * line.get_linewidth())
    for cross in crosses:
        cross.set(ydata=[high], markersize=8)
    for ax in axes:
        ax.set_ylim(low, high)
        if ax is not axes[0]:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(next(iter(panels.values()))),
        frameon=False,
        fontsize="small",
        title="dotted: guessing" + (", cross: diverged" if crosses else ""),
        title_fontsize="small",
    )


def edges(centres: Any) -> Any:
    """Give the borders between cells around these centres, (cells + 1,)."""
    between = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - between[0]], between, [2 * centres[-1] - between[-1]]])
