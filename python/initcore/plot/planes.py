"""Planes: which class a network gives to every point, and in which phase deep networks are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from initcore.arrays import expect

from .styles import (
    COLORS,
    MARKERS,
    color_of,
    ground,
    ink,
    is_dark,
    mix,
    new_axes,
    outside_legend,
    require,
    scale,
    spread,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from initcore.activations import ActivationLike
    from initcore.nn import MLP

#: At most this many points are drawn, evenly chosen.
MAX_POINTS = 400
#: Points of the plane at which the network is asked, along each axis.
_RESOLUTION = 201


def decision_boundary(net: MLP, x: npt.ArrayLike, t: npt.ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw which class a network gives to every point of the plane, and the points it was to learn.

    The ground has the colours of the classes, mixed by their probabilities: the softmax of the outputs, or of
    a single output the sigmoid; outputs behind a sigmoid are probabilities already. Lines part the classes.

    Parameters
    ----------
    net : MLP
        Of two inputs, and at most 7 outputs. A single one decides between 0 and 1.
    x : array_like, (samples, 2)
        Inputs. Of more than 400, an even choice is drawn.
    t : array_like, (samples,) or (samples, classes)
        Labels, or probabilities of the classes.
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
        `net` is no `MLP`.
    ValueError
        The network has not two inputs or too many outputs, or the samples do not fit it.
    """
    require()
    from initcore.nn import MLP

    expect(net, MLP, "net")
    if net.sizes[0] != 2:
        raise ValueError(f"expected a network of 2 inputs, the axes of the plane, got one of {net.sizes[0]}")
    if net.sizes[-1] > len(COLORS):
        raise ValueError(f"expected a network of at most {len(COLORS)} outputs, got one of {net.sizes[-1]}")
    points = np.asarray(x, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"x must hold finite numbers of shape (samples, 2), got {points.shape}")
    classes = max(2, net.sizes[-1])
    labels = _labels(t, len(points), classes)
    ax = new_axes(4.8, 4.0) if ax is None else ax
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high > low, 0.08 * (high - low), 1.0)
    xs, ys = np.linspace(low - margin, high + margin, _RESOLUTION).T
    plane = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    shares = _probabilities(net, plane).reshape(_RESOLUTION, _RESOLUTION, classes)
    tints = np.array([mix(color_of(i), 0.4) for i in range(classes)])
    ax.imshow(shares @ tints, extent=(xs[0], xs[-1], ys[0], ys[-1]), origin="lower", aspect="auto",
              interpolation="bilinear")  # fmt: skip
    for i in range(1 if classes == 2 else classes):
        lead = shares[..., i] - np.delete(shares, i, axis=-1).max(axis=-1)
        if lead.min() < 0 < lead.max():
            ax.contour(xs, ys, lead, [0.0], colors=[ink()], linewidths=1.4 * scale())
    size = scale() * (5 if len(points) > 50 else 9)
    chosen = np.array(spread(len(points), MAX_POINTS))
    for i in range(classes):
        some = points[chosen[labels[chosen] == i]]
        ax.plot(*some.T, MARKERS[i % len(MARKERS)], color=color_of(i), markersize=size, markeredgewidth=0.6,
                markeredgecolor=ink() if is_dark() else ground(), label=f"class {i}")  # fmt: skip
    ax.set_xlabel("$x_1$")
    ax.set_ylabel("$x_2$")
    outside_legend(ax)
    tidy(ax)
    return ax


def _labels(t: npt.ArrayLike, samples: int, classes: int) -> npt.NDArray[np.int64]:
    """Give the class of each sample."""
    given = np.asarray(t)
    if given.shape == (samples, classes):
        return np.asarray(given.argmax(axis=1), np.int64)
    labels = given[:, 0] if given.shape == (samples, 1) else given
    if labels.shape != (samples,):
        raise ValueError(f"t must have shape ({samples},) or ({samples}, {classes}), got {given.shape}")
    whole = labels.astype(np.int64) if labels.dtype.kind in "iubf" else None
    if whole is None or (whole != labels).any() or whole.min() < 0 or whole.max() >= classes:
        raise ValueError(f"t must hold labels from 0 to {classes - 1}, got {np.unique(labels)[:10].tolist()}")
    return whole


def _probabilities(net: MLP, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give the probability of each class, (samples, classes)."""
    y = net.forward(x).astype(np.float64)
    if net.output_activation == "sigmoid":
        y = np.log(np.maximum(y, 1e-300)) - (np.log(np.maximum(1 - y, 1e-300)) if y.shape[1] == 1 else 0)
    if y.shape[1] == 1:
        y = np.concatenate([np.zeros_like(y), y], axis=1)
    y = np.exp(y - y.max(axis=1, keepdims=True))
    return np.asarray(y / y.sum(axis=1, keepdims=True))


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

    from initcore.theory import fixed_point

    ax = new_axes(5.0, 4.0) if ax is None else ax
    w, b = np.linspace(*sigma_w, resolution), np.linspace(*sigma_b, resolution)
    point = fixed_point(activation, *np.meshgrid(w**2, b**2))
    with np.errstate(divide="ignore"):
        growth = np.log(point.chi)
    explodes = np.asarray(point.kind) == "infinite"
    settled = np.ma.masked_where(explodes, growth)
    ax.set_facecolor(mix(ink(), 0.16))  # what is left out below
    limit = max(1.0, float(np.abs(settled).max())) + 1
    ax.contourf(w, b, settled, [-limit, 0, limit], colors=[mix(COLORS[0], 0.2), mix(COLORS[1], 0.3)])
    for side, style in ((-1, "--"), (1, ":")):
        depths = np.array([1, 3, 10, 30])
        levels = np.sort(side / depths)
        lines = ax.contour(w, b, settled, levels, colors=[mix(ink(), 0.8)], linewidths=0.8, linestyles=style)
        ax.clabel(lines, fmt=lambda level: f"{abs(1 / level):.0f}", fontsize="x-small")
    line = _critical_line(activation)
    if line.size and (np.ptp(line, axis=1) < 1e-6).all():  # a point, as for relu
        ax.plot(*line[:, :1], "o", color=ink(), clip_on=False, zorder=5)
    else:
        ax.plot(*line, color=ink(), linewidth=2.2)
    ax.set_xlim(w[0], w[-1])
    ax.set_ylim(b[0], b[-1])
    for name, region in [
        ("ordered", ~explodes & (growth < -0.05)),
        ("chaotic", ~explodes & (growth > 0.05)),
        ("signals\nexplode", explodes),
    ]:
        if region.mean() > 0.02:
            text = ax.text(*_inside(w, b, region), name, ha="center", va="center", fontweight="bold")
            text.set_path_effects([withStroke(linewidth=4, foreground=ground())])
    ax.set_xlabel(r"$\sigma_w$")
    ax.set_ylabel(r"$\sigma_b$")
    tidy(ax)
    return ax


def _critical_line(activation: ActivationLike) -> npt.NDArray[np.float64]:
    """Give sigma_w and sigma_b of the critical points of all lengths that have one: (2, points)."""
    from initcore.theory import critical

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
