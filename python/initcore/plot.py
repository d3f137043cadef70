"""Pictures: cost curves of trainings, histograms of activations, what theory says of depth.

matplotlib is imported when something is drawn. Without axes to draw on, a pyplot figure is made and
left to the caller, to show or to save; nothing is shown here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .arrays import one_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .activations import ActivationLike
    from .compare import Result
    from .theory import Prediction

History: TypeAlias = Mapping[str, Sequence[Any]]
AxesGrid: TypeAlias = npt.NDArray[np.object_]

#: Okabe and Ito's palette, which colour-blind readers can tell apart.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "osD^vP*"
#: A new figure shows at most this many layers, evenly spread from the first to the last.
MAX_COLUMNS = 7


def require() -> None:
    """Raise the ImportError of a missing matplotlib now, before the work that is to be drawn."""
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'initcore[plot]'") from None


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
    ax = _new_axes(7.5, 4.2) if ax is None else ax
    ax.set_yscale("log")
    crosses = []
    for i, (label, history) in enumerate(histories):
        curve = list(enumerate(history["loss"], start=1))
        if judged:
            curve.insert(0, (0, judged[i].initial_loss))
        drawn = [point for point in curve if _is_drawable(point[1])]
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        width = 2 + 4 * (1 - (i + 1) / len(histories))
        ax.plot(
            *_columns(drawn),
            color=color,
            linewidth=width,
            marker=marker,
            markersize=width + 3,
            markevery=(i % 3, 3),  # staggered, so that markers too can be told apart
            label=label,
        )
        if getattr(history, "diverged", False):
            crosses.append((curve[-1][0], drawn[-1:], color))
        if validation:
            curve = list(enumerate(history["val_loss"], start=1))
            ax.plot(*_columns([p for p in curve if _is_drawable(p[1])]), "--", color=color)
    if judged:
        ax.axhline(judged[0].guess_loss, color="black", linestyle=":", label="guessing", zorder=3)
        trained = sum(result.trains for result in judged)
        ax.set_title(f"{trained} of {len(judged)} initializations train this network", loc="left", pad=12)
    if crosses:  # at the top, above everything that is finite
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * (high / low) ** 0.1)
    top = ax.get_ylim()[1]
    for epoch, last, color in crosses:
        ax.plot(*_columns([*last, (epoch, top)]), linestyle="--", color=color, linewidth=2)
        ax.plot(epoch, top, "X", color=color, markersize=11, clip_on=False, zorder=4)
    ax.set_xlabel("epoch")
    ax.set_ylabel("training loss" + (" (dashed: validation)" if validation else ""))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if histories:
        title = "cross: diverged" if crosses else None
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, title=title, alignment="left")
    _tidy(ax)
    return ax


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

        shape, size = _grid(len(rows), layers)
        _, axes = plt.subplots(*shape, figsize=size, squeeze=False, layout="constrained")
    grid: AxesGrid = np.asarray(axes, dtype=object)
    if grid.ndim != 2 or len(grid) != len(rows):
        raise ValueError(
            f"expected axes of shape ({len(rows)}, columns), one row per network, got {grid.shape}"
        )
    for panels, (name, values) in zip(grid, rows.items(), strict=True):
        _histogram_row(panels, name, [np.asarray(value, np.float64) for value in values])
    for ax, layer in zip(grid[0], _chosen(layers, grid.shape[1]), strict=False):
        name = "output" if layer == layers - 1 else f"layer {layer + 1}"
        ax.set_title(name, loc="left", fontsize=9)
    return grid


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

    from .theory.prediction import QUANTITIES, Prediction

    one_of(quantity, "quantity", QUANTITIES)
    several = prediction if isinstance(prediction, Mapping) else {"": prediction}
    for one in several.values():
        if not isinstance(one, Prediction):
            raise TypeError(f"expected a Prediction, as theory.predict gives, got {type(one).__name__}")
    points = measured if isinstance(measured, Mapping) else {"": measured}
    ax = _new_axes(6.0, 4.0) if ax is None else ax
    ax.set_yscale("log")
    for i, (name, one) in enumerate(several.items()):
        estimate = getattr(one, quantity)
        layer = np.arange(1, len(estimate.mean) + 1)
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        low, high = estimate.interval(2.0)
        shown = np.isfinite(high) & (low > 0)
        ax.fill_between(layer, low, high, where=shown, color=color, alpha=0.2, linewidth=0)
        ax.plot(layer[shown], estimate.mean[shown], color=color, linewidth=1.8)
        style: dict[str, Any] = {"color": color, "markeredgecolor": "white", "markeredgewidth": 0.4}
        if points.get(name) is not None:
            found = np.atleast_2d(np.asarray(points[name], np.float64))
            if found.shape[-1:] != layer.shape or found.ndim != 2:
                raise ValueError(f"expected measurements of {layer.size} layers, got shape {found.shape}")
            ax.plot(layer, found.T, marker, markersize=4.5, zorder=3, **style)
        if name:
            shape = "" if points.get(name) is None else marker
            ax.plot([], [], marker=shape, linewidth=1.8, label=name, **style)
    ax.set_xlabel("layer")
    ax.set_ylabel(QUANTITIES[quantity])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if any(several):
        ax.legend(frameon=False, fontsize=8)
    _tidy(ax)
    return ax


def phase_diagram(
    activation: ActivationLike,
    ax: Axes | None = None,
    *,
    sigma_w: tuple[float, float] = (0.5, 3.0),
    sigma_b: tuple[float, float] = (0.0, 1.0),
    resolution: int = 61,
) -> Axes:
    """Draw in which phase deep networks are, for each standard deviation of weights and biases.

    Ordered, where gradients vanish and all inputs come to look alike; chaotic, where gradients explode and
    similar inputs part; where signals of mean square 1 grow for ever, neither. The critical line holds the
    points at which some mean square is kept with ``chi_1 = 1``. Contours tell over how many layers squared
    gradients change by a factor e, ``1 / abs(log(chi_1))``.

    Parameters
    ----------
    activation : str, callable or Activation
        As in `theory.length_map`.
    ax : Axes, optional
        Where to draw; by default in a new pyplot figure.
    sigma_w, sigma_b : (float, float)
        The range of sigma_w, the weights' standard deviation times the root of fan_in, and of the biases'.
    resolution : int
        Points along each axis.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    require()
    from matplotlib.patheffects import withStroke

    from .theory import fixed_point

    ax = _new_axes(5.0, 4.0) if ax is None else ax
    w, b = np.linspace(*sigma_w, resolution), np.linspace(*sigma_b, resolution)
    point = fixed_point(activation, *np.meshgrid(w**2, b**2))
    with np.errstate(divide="ignore"):
        growth = np.log(point.chi)
    explodes = np.asarray(point.kind) == "infinite"
    settled = np.ma.masked_where(explodes, growth)
    ax.set_facecolor("#D9D9D9")  # what is left out below
    limit = max(1.0, float(np.abs(settled).max())) + 1
    ax.contourf(w, b, settled, [-limit, 0, limit], colors=["#CFE3F2", "#FBE3B8"])
    for side, style in ((-1, "--"), (1, ":")):
        depths = np.array([1, 3, 10, 30])
        levels = np.sort(side / depths)
        lines = ax.contour(w, b, settled, levels, colors="#404040", linewidths=0.8, linestyles=style)
        ax.clabel(lines, fmt=lambda level: f"{abs(1 / level):.0f}", fontsize=7)
    line = _critical_line(activation)
    if line.size and (np.ptp(line, axis=1) < 1e-6).all():  # a point, as for relu
        ax.plot(*line[:, :1], "o", color="black", clip_on=False, zorder=5)
    else:
        ax.plot(*line, color="black", linewidth=2.2)
    ax.set_xlim(w[0], w[-1])
    ax.set_ylim(b[0], b[-1])
    for name, region in [
        ("ordered", ~explodes & (growth < -0.05)),
        ("chaotic", ~explodes & (growth > 0.05)),
        ("signals\nexplode", explodes),
    ]:
        if region.mean() > 0.02:
            text = ax.text(*_inside(w, b, region), name, ha="center", va="center", fontweight="bold")
            text.set_path_effects([withStroke(linewidth=4, foreground="white")])
    ax.set_xlabel(r"$\sigma_w$")
    ax.set_ylabel(r"$\sigma_b$")
    _tidy(ax)
    return ax


def _critical_line(activation: ActivationLike) -> npt.NDArray[np.float64]:
    """Give sigma_w and sigma_b of the critical points of all lengths that have one: (2, points)."""
    from .theory import critical

    found = []
    for q in 10.0 ** np.linspace(-4, 4, 161):
        try:
            found.append(np.sqrt(critical(activation, q)))
        except ValueError:
            continue
    return np.array(found).reshape(-1, 2).T


def _inside(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], region: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Give the point of a region that is farthest from what is outside, for its name."""
    padded = np.pad(region, 1)
    row, column = np.nonzero(region)
    outside = np.argwhere(~padded) - 1
    gaps = (np.square(outside - point).sum(axis=1).min() for point in np.argwhere(region))
    best = int(np.argmax(list(gaps)))
    return float(x[column[best]]), float(y[row[best]])


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
    shape, size = _grid(len(rows), max(map(len, rows.values())))
    histograms = Figure(figsize=size, layout="constrained")
    activation_histograms(rows, histograms.subplots(*shape, squeeze=False))
    histograms.suptitle("Activations before training; each row has one scale", fontsize=11)
    histograms.supxlabel("activation", fontsize=9)
    histograms.supylabel("share of the values", fontsize=9)
    return {"cost": cost, "activations": histograms}


def _histogram_row(panels: AxesGrid, name: str, layers: list[npt.NDArray[np.float64]]) -> None:
    chosen = _chosen(len(layers), len(panels))
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
            ax.text(0.5, 0.5, "not finite", transform=ax.transAxes, ha="center", fontsize=8)
        with np.errstate(all="ignore"):
            std = layers[layer].std()
        ax.set_title(f"std {std:.2g}", loc="right", fontsize=8)
        _tidy(ax)
    for ax in panels[len(chosen) :]:
        ax.set_visible(False)
    panels[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)


def _grid(rows: int, layers: int) -> tuple[tuple[int, int], tuple[float, float]]:
    """Give the shape of a new grid of panels, and the size of the figure in inches."""
    columns = min(layers, MAX_COLUMNS)
    return (rows, columns), (1.5 * columns + 1.5, 1.15 * rows + 0.9)


def _chosen(layers: int, columns: int) -> list[int]:
    """Choose the layers to draw, spread evenly from the first to the last."""
    return sorted({round(i) for i in np.linspace(0, layers - 1, min(layers, columns))})


def _new_axes(width: float, height: float) -> Axes:
    """Make a figure of this size in inches with one plot."""
    from matplotlib import pyplot as plt

    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(which="both", labelsize=8)


def _is_drawable(value: float | None) -> bool:
    """Whether a logarithmic axis can show it."""
    return value is not None and math.isfinite(value) and value > 0


def _columns(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
