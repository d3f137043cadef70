"""How pictures look: colours that everyone can tell apart, the three styles, the axes to draw on.

Nothing else in this package names black or white: what is drawn takes the colours of text and ground from
the settings of matplotlib, so that it is right on dark ground too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from initcore.arrays import one_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.legend import Legend

Rgb: TypeAlias = tuple[float, float, float]

#: Okabe and Ito's palette, which colour-blind readers can tell apart. On dark ground black becomes the
#: colour of text.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "osD^vP*"
#: Where colours are lost, as in a grey print, lines differ in these.
LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (3, 3)))

#: Axes narrower than this, in inches, have their legend below them, wider ones to the right.
NARROW = 3.6


def _ground(ground: str, ink: str, muted: str) -> dict[str, Any]:
    """Give the settings of a colour of the ground, of text and axes, and of legends' frames."""
    return {
        **dict.fromkeys(("figure.facecolor", "figure.edgecolor", "axes.facecolor"), ground),
        **dict.fromkeys(
            ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), ink
        ),
        **dict.fromkeys(("patch.edgecolor", "hatch.color"), ink),
        **dict.fromkeys(("legend.edgecolor", "grid.color"), muted),
        **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor", "legend.facecolor"), "inherit"),
    }


def _sizes(font: float, line: float) -> dict[str, Any]:
    """Give the settings of text of this many points and of lines."""
    return {
        "font.size": font,
        **dict.fromkeys(("axes.labelsize", "axes.titlesize", "figure.titlesize"), "medium"),
        **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), "small"),
        "lines.linewidth": line,
        "lines.markersize": 4 * line,
        "axes.linewidth": 0.8,
    }


_AUTO = {"legend.labelcolor": "None", "axes.titlecolor": "auto", "savefig.facecolor": "auto"}
_LIGHT = {**_ground("#FFFFFF", "#1A1A1A", "#CCCCCC"), **_sizes(10, 1.5), **_AUTO}
_DARK = {**_ground("#14181E", "#E8E8E8", "#4A5058"), **_sizes(10, 1.5), **_AUTO}
_PAPER = {**_LIGHT, **_sizes(8, 1.0), "figure.figsize": (3.3, 2.6), "savefig.dpi": 300, "pdf.fonttype": 42}
STYLES = {"light": _LIGHT, "dark": _DARK, "paper": _PAPER}


def require() -> None:
    """Raise the ImportError of a missing matplotlib now, before the work that is to be drawn."""
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'initcore[plot]'") from None


def style(name: str) -> AbstractContextManager[None]:
    """Set the looks of what is drawn in a ``with`` block, and of nothing after it.

    Parameters
    ----------
    name : {"light", "dark", "paper"}
        On white, on dark ground, or for a column of a paper: 3.3 inches wide, letters of 8 points.

    Returns
    -------
    context manager

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        There is no such style.

    Examples
    --------
    >>> with ic.plot.style("dark"):  # doctest: +SKIP
    ...     ic.plot.activations(report)
    """
    one_of(name, "style", STYLES)
    require()
    import matplotlib as mpl
    from cycler import cycler

    settings: Any = STYLES[name]
    colors = [settings["text.color"] if color == "#000000" else color for color in COLORS]
    return mpl.rc_context({**settings, "axes.prop_cycle": cycler(color=colors)})


def ink() -> str:
    """Give the colour of text."""
    import matplotlib as mpl

    return str(mpl.rcParams["text.color"])


def ground() -> str:
    """Give the colour that is drawn on."""
    import matplotlib as mpl

    return str(mpl.rcParams["axes.facecolor"])


def is_dark() -> bool:
    """Whether the ground is dark."""
    return brightness(ground()) < 0.5


def rgb(color: Any) -> Rgb:
    """Give a colour's red, green and blue."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return float(red), float(green), float(blue)


def brightness(color: Any) -> float:
    """Give how bright a colour is, in [0, 1]."""
    return float(np.dot(rgb(color), (0.299, 0.587, 0.114)))


def readable_on(color: Any) -> str:
    """Give the colour of text or of the ground, whichever is easier to read on another."""
    return max(ink(), ground(), key=lambda letters: abs(brightness(letters) - brightness(color)))


def mix(color: Any, share: float) -> Rgb:
    """Give `share` of a colour on the ground."""
    red, green, blue = (
        share * one + (1 - share) * other for one, other in zip(rgb(color), rgb(ground()), strict=True)
    )
    return red, green, blue


def color_of(i: int) -> str:
    """Give the color of the i-th thing that is drawn."""
    color = COLORS[i % len(COLORS)]
    return ink() if color == "#000000" else color


def scale() -> float:
    """Give how thick lines and how large points are, as a share of matplotlib's own."""
    import matplotlib as mpl

    return float(mpl.rcParams["lines.linewidth"]) / 1.5


def letters() -> float:
    """Give the size of text in points."""
    import matplotlib as mpl

    return float(mpl.rcParams["font.size"])


def depth_colors(count: int) -> list[Any]:
    """Give colours from the first layer to the last, that stand out from the ground."""
    import matplotlib as mpl

    low, high = (0.30, 1.0) if is_dark() else (0.0, 0.82)
    return [mpl.colormaps["viridis"](share) for share in np.linspace(low, high, count)]


def diverging() -> Colormap:
    """Give the colour map of signed values: blue, the ground at zero, orange."""
    from matplotlib.colors import LinearSegmentedColormap

    tints = (
        ("#8FD3FF", "#1B84C4", "#D96A0B", "#FFC078")
        if is_dark()
        else ("#053B66", "#2F8CC8", "#E2791B", "#7A2E00")
    )
    middle: Any = mix(ink(), 0.06)
    found = LinearSegmentedColormap.from_list("signed", [*tints[:2], middle, *tints[2:]])
    return found.with_extremes(bad=(0, 0, 0, 0))


def new_axes(width: float, height: float) -> Axes:
    """Make a figure with one plot of this size in inches, or as wide as matplotlib's settings ask for."""
    from matplotlib import pyplot as plt

    _, ax = plt.subplots(figsize=size_of(width, height), layout="constrained")
    return ax


def size_of(width: float, height: float) -> tuple[float, float]:
    """Give the size of a new figure in inches: this, or as wide as matplotlib's settings ask for."""
    import matplotlib as mpl

    asked = mpl.rcParams["figure.figsize"]
    if list(asked) != list(mpl.rcParamsDefault["figure.figsize"]):
        return asked[0], max(asked[1], height * asked[0] / width)
    return width, height


def tidy(ax: Axes) -> None:
    """Leave out what carries nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(which="both", labelsize="small")


def log_ticks(ax: Axes) -> None:
    """Write 0.2, 0.5, 1 along a logarithmic y axis that spans few powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = ax.get_ylim()
    if high < 10**2.5 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 4 * low else range(1, 10)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        ax.yaxis.set_minor_locator(NullLocator())


def inches(ax: Axes) -> tuple[float, float]:
    """Give the width and height of axes."""
    return ax.bbox.width / ax.figure.dpi, ax.bbox.height / ax.figure.dpi


def is_narrow(ax: Axes) -> bool:
    """Whether a legend is better below these axes than beside them."""
    return inches(ax)[0] < NARROW


def outside_legend(ax: Axes, handles: Sequence[Any] | None = None, title: str | None = None) -> Legend:
    """Put a legend beside the axes, or below narrow ones, where it hides nothing."""
    from matplotlib.transforms import ScaledTranslation

    options: dict[str, Any] = {"frameon": False, "fontsize": "small", "title": title, "alignment": "left"}
    options["title_fontsize"] = "small"
    if handles is not None:
        options["handles"] = handles
    if not is_narrow(ax):
        return ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), **options)
    below = -3.4 * letters() / 72  # ticks and the label of the x axis
    where = ax.transAxes + ScaledTranslation(0, below, ax.figure.dpi_scale_trans)
    return ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=where,
        ncols=2,
        columnspacing=1.2,
        **options,
    )


def spread(count: int, most: int) -> list[int]:
    """Choose at most `most` of `count` things, evenly from the first to the last."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})
