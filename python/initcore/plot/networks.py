"""Weights and gradients: a matrix as a heat map, a network as nodes and edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from initcore.arrays import expect, positive

from .styles import (
    diverging,
    ground,
    inches,
    ink,
    letters,
    mix,
    new_axes,
    readable_on,
    require,
    rgb,
    scale,
    spread,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from initcore.nn import MLP

Floats: TypeAlias = npt.NDArray[np.float64]

#: A layer shows at most this many units, evenly chosen.
MAX_UNITS = 10
#: So many edges of a layer can have their numbers written beside them.
_WRITTEN = 4


def matrix(
    values: npt.ArrayLike, ax: Axes | None = None, *, title: str = "", limit: float | None = None
) -> Axes:
    """Draw a matrix, as of weights or gradients, as a heat map: blue below zero, orange above.

    The colours reach as far as 99.5 % of the values; those beyond have the last colour, and the colour bar
    a tip. NaN is hatched, and counted below the picture.

    Parameters
    ----------
    values : array_like, (rows, columns) or (columns,)
        As weights: a row for each input, a column for each unit.
    ax : Axes, optional
        Where to draw; by default in a new pyplot figure.
    title : str
        Written above.
    limit : float, optional
        The size that has the last colour, instead.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError
        The values are no real numbers.
    ValueError
        They are no matrix, or there are none; or `limit` is not positive.
    """
    require()
    from matplotlib.ticker import MaxNLocator

    given = np.asarray(values)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"values must hold real numbers, got dtype {given.dtype}")
    if given.ndim not in {1, 2} or not given.size:
        raise ValueError(f"expected values of shape (rows, columns) or (columns,), got {given.shape}")
    table = np.atleast_2d(given).astype(np.float64)
    rows, columns = table.shape
    ax = new_axes(4.8, 4.0 if rows > 1 else 1.6) if ax is None else ax
    limit = _limit(table) if limit is None else positive(limit, "limit")
    image = ax.imshow(
        table,
        cmap=diverging(),
        vmin=-limit,
        vmax=limit,
        aspect="equal" if 0.5 <= rows / columns <= 2 else "auto",
        interpolation="nearest" if max(rows, columns) <= 64 else None,
    )
    sizes = np.abs(table[~np.isnan(table)])
    beyond = "both" if (sizes > limit).any() else "neither"
    bar = ax.figure.colorbar(image, ax=ax, extend=beyond, shrink=0.9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize="small")
    lost = int(np.isnan(table).sum())
    if lost:
        ax.patch.set(hatch="xxxx", edgecolor=ink(), facecolor=mix(ink(), 0.25), linewidth=0)
    ax.set_xlabel("column" + (f"\n{lost} NaN" if lost else ""))
    ax.set_ylabel("row")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if rows == 1:
        ax.set_yticks([])
        ax.set_ylabel("")
    ax.set_title(title, loc="left")
    ax.spines[:].set_visible(False)
    ax.tick_params(labelsize="small", length=2)
    return ax


def _limit(values: Floats) -> float:
    """Give the size that has the last colour: of 99.5 % of the finite values, or 1 where all are zero."""
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.any():
        return 1.0
    robust = float(np.quantile(sizes, 0.995, method="higher"))
    return robust if robust > 0 else float(sizes.max())


def network(
    net: MLP,
    ax: Axes | None = None,
    *,
    values: Mapping[str, npt.ArrayLike] | None = None,
    limit: float | None = None,
) -> Axes:
    """Draw a network as nodes and edges, the edges coloured and as wide as their weights say.

    Blue and dashed is negative, orange positive, grey zero. Units have the colours of their biases. Of a wide
    layer 10 units are drawn, evenly chosen. In small networks the numbers are written too.

    Parameters
    ----------
    net : MLP
        The network.
    ax : Axes, optional
        Where to draw; by default in a new pyplot figure.
    values : mapping of str to array_like, optional
        What to colour by, as gradients: names and shapes as in `MLP.parameters`, which is what is drawn by
        default. It need not have biases.
    limit : float, optional
        The size that has the last colour; by default that of 99.5 % of what is drawn.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError
        `net` is no `MLP`, or `values` no mapping.
    ValueError
        A weight is missing in `values`, there is a name that the network does not have, or a shape does not
        fit.
    """
    require()
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from initcore.nn import MLP

    expect(net, MLP, "net")
    drawn = _checked(net, values)
    chosen = [spread(size, MAX_UNITS) for size in net.sizes]
    layers = range(len(net.sizes) - 1)
    weights = [drawn[f"layers.{i}.weight"][np.ix_(chosen[i], chosen[i + 1])] for i in layers]
    biases = [
        drawn[f"layers.{i}.bias"][chosen[i + 1]] if f"layers.{i}.bias" in drawn else None for i in layers
    ]
    shown = [one.ravel() for one in (*weights, *biases) if one is not None]
    limit = _limit(np.concatenate(shown)) if limit is None else positive(limit, "limit")
    size = float(np.abs(np.concatenate(shown)).max())
    # Numbers like 0.0003 are hard to read: the colour bar names the power of ten.
    power = int(np.floor(np.log10(limit))) if not 0.01 <= limit < 1000 else 0
    unit = 10.0**power
    tall = max(map(len, chosen))
    ax = new_axes(2.0 + 1.5 * len(layers), 1.2 + 0.34 * max(tall, 4)) if ax is None else ax
    ax.set_axis_off()
    colors = ScalarMappable(Normalize(-limit / unit, limit / unit), diverging())
    beyond = "both" if size > limit else "neither"
    bar = ax.figure.colorbar(colors, ax=ax, shrink=0.8, aspect=25, pad=0.02, extend=beyond)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize="small")
    bar.set_label(("weight" if values is None else "value") + (f" / $10^{{{power}}}$" if power else ""))
    heights = [_heights(len(units), size) for units, size in zip(chosen, net.sizes, strict=True)]
    diameter, lowest = _scale(ax, heights), min(float(ys.min()) for ys in heights)
    for i, weight in enumerate(weights):
        _edges(ax, i, heights[i], heights[i + 1], weight / unit, colors)
    for i, ys in enumerate(heights):
        bias = biases[i - 1] if i else None
        _nodes(ax, net, i, ys, chosen[i], None if bias is None else bias / unit, colors, diameter, lowest)
    return ax


def _scale(ax: Axes, heights: list[Floats]) -> float:
    """Set limits that leave room for what is written, and give the units' diameter in inches."""
    from matplotlib.figure import SubFigure

    root = ax.figure
    while isinstance(root, SubFigure):
        root = root.figure
    root.draw_without_rendering()  # lays the axes out: their size is needed
    wide, high = inches(ax)
    reach = max(float(np.ptp(ys)) for ys in heights)
    # Inches: the words below the units, half a unit above them, and what remains from one to the next.
    top, bottom = 0.22, 0.22 + 4.0 * letters() / 72
    pitch = min(0.9, max(high - top - bottom, 0.1) / max(reach, 1.0))
    spare = max(0.0, high - top - bottom - pitch * reach) / 2
    ax.set_ylim(-reach / 2 - (bottom + spare) / pitch, reach / 2 + (top + spare) / pitch)
    ax.set_xlim(-0.45, len(heights) - 0.55)
    return min(0.34, 0.72 * pitch, 0.3 * wide / len(heights))


def _checked(net: MLP, values: Mapping[str, npt.ArrayLike] | None) -> dict[str, Floats]:
    """Give what is to be drawn, as float64; what is not finite as zero."""
    parameters = net.parameters()
    if values is None:
        values = parameters
    if not isinstance(values, Mapping):
        raise TypeError(f"values must be a mapping of names as in parameters(), got {type(values).__name__}")
    unknown = [name for name in values if name not in parameters]
    missing = [name for name in parameters if name.endswith("weight") and name not in values]
    if unknown or missing:
        raise ValueError(
            f"values must have the names of parameters(): {', '.join(parameters)}; "
            + (
                f"unknown are {', '.join(map(str, unknown))}"
                if unknown
                else f"missing are {', '.join(missing)}"
            )
        )
    found = {name: np.asarray(value, np.float64) for name, value in values.items()}
    for name, value in found.items():
        if value.shape != parameters[name].shape:
            raise ValueError(f"{name} must have shape {parameters[name].shape}, got {value.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} must hold finite numbers")
    return found


def _heights(shown: int, size: int) -> Floats:
    """Give where the units of a layer stand, the first on top; with a gap where some are left out."""
    steps = np.arange(shown, dtype=np.float64)
    if shown < size:
        steps[shown // 2 :] += 1
    return np.asarray(steps.mean() - steps) if shown == size else np.asarray(steps[-1] / 2 - steps)


def _edges(ax: Axes, i: int, left: Floats, right: Floats, weight: Floats, colors: Any) -> None:
    """Draw the weights between two layers, small ones below large ones."""
    from matplotlib.collections import LineCollection

    limit = colors.norm.vmax
    order = np.argsort(np.abs(weight), axis=None)
    rows, columns = np.unravel_index(order, weight.shape)
    size = np.minimum(np.abs(weight[rows, columns]) / limit, 1.0)
    sign = np.sign(weight[rows, columns])
    # Even the smallest has some colour: what is nearly zero would not be seen on the ground.
    shades = np.asarray(colors.cmap(0.5 + sign * (0.14 + 0.36 * size)))
    shades[sign == 0, :3] = mix(ink(), 0.3)
    crowded = weight.size > 36
    lines = LineCollection(
        [[(i, left[a]), (i + 1, right[b])] for a, b in zip(rows, columns, strict=True)],
        colors=shades,
        linewidths=scale() * ((0.3 + 1.9 * size) if crowded else (0.8 + 3.0 * size)),
        linestyles=[(0, (4, 1.5)) if s < 0 else "-" for s in sign],
        zorder=1,
    )
    ax.add_collection(lines)
    if weight.size > _WRITTEN:
        return
    for a, b in np.ndindex(weight.shape):
        at = 0.5 if 1 in weight.shape else 0.35  # away from where lines cross
        height = float(left[a] + at * (right[b] - left[a]))
        ax.text(i + at, height, f"{weight[a, b]:.2g}", ha="center", va="center", fontsize="small", zorder=4,
                bbox={"facecolor": ground(), "edgecolor": "none", "pad": 1.0})  # fmt: skip


def _nodes(
    ax: Axes,
    net: MLP,
    i: int,
    ys: Floats,
    units: list[int],
    bias: Floats | None,
    colors: Any,
    diameter: float,
    lowest: float,
) -> None:
    """Draw the units of a layer in the colours of their biases, and write which they are and how many."""
    faces = [
        rgb(ground()) if not b else rgb(colors.to_rgba(b))
        for b in (np.zeros(len(ys)) if bias is None else bias)
    ]
    look: dict[str, Any] = {"c": faces, "edgecolors": ink(), "linewidths": scale(), "zorder": 3}
    ax.scatter(np.full(len(ys), i), ys, s=(72 * diameter) ** 2, **look)
    letter = "x" if i == 0 else "y" if i == len(net.sizes) - 1 else "h"
    for unit, y, face in zip(units, ys, faces, strict=True):
        name = f"${letter}$" if letter == "y" and net.sizes[-1] == 1 else f"${letter}_{{{unit + 1}}}$"
        if diameter > 2.2 * letters() / 72 and unit < 99:
            ax.text(i, y, name, ha="center", va="center", color=readable_on(face), zorder=5)
        elif letter != "h":
            side = -1 if i == 0 else 1
            ax.annotate(name, (i, y), (side * (36 * diameter + 3), 0), textcoords="offset points",
                        ha="right" if i == 0 else "left", va="center", fontsize="small")  # fmt: skip
    if bias is not None and bias.any() and net.sizes[i - 1] * net.sizes[i] <= _WRITTEN:
        for y, b in zip(ys, bias, strict=True):
            ax.annotate(f"{b:+.2g}", (i, y), (0, -36 * diameter - 2), textcoords="offset points",
                        ha="center", va="top", fontsize="small", zorder=5)  # fmt: skip
    if len(units) < net.sizes[i]:
        middle = (ys[len(ys) // 2 - 1] + ys[len(ys) // 2]) / 2
        ax.text(i, middle, "\u22ee", ha="center", va="center", fontsize="large", zorder=5)
    kind = ("input" if net.sizes[0] == 1 else "inputs") if i == 0 else net.layer_activations()[i - 1]
    below = (0, -36 * diameter - 1.4 * letters())
    ax.annotate(f"{net.sizes[i]}\n{kind}", (i, lowest), below, textcoords="offset points",
                ha="center", va="top", fontsize="small", linespacing=1.1)  # fmt: skip
