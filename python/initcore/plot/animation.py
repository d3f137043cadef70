"""Any of the pictures as it changes, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from initcore.arrays import positive

from .styles import require, size_of

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")

#: Settings of matplotlib that are about programs and files, not looks.
_NOT_LOOKS = (
    "backend",
    "interactive",
    "toolbar",
    "webagg",
    "tk.",
    "figure.hooks",
    "savefig.directory",
    "animation",
)


def animate(
    reports: Sequence[T], draw: Callable[[T, Axes], object], *, interval: float = 200
) -> FuncAnimation:
    """Make an animation: one frame for each report, drawn by any of the other functions.

    All frames are drawn once to begin with, so that axes keep their scale, limits and place, and a `matrix`
    its colours. A `network` keeps them if it is given a `limit`. Each frame has its number above, from 0.

    Parameters
    ----------
    reports : sequence
        As `Recorder.reports`, or whatever `draw` takes, as networks.
    draw : callable
        ``draw(report, ax)`` draws a frame.
    interval : float
        Milliseconds from one frame to the next.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        In a new pyplot figure, with the style of this moment. Its `save` writes a file, as
        ``save("epochs.gif", writer="pillow")``; `to_jshtml` gives a player for a notebook. Keep a reference
        for as long as it is to move.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError
        `reports` is no sequence, or `draw` cannot be called.
    ValueError
        There is no report, or the interval is not positive.

    Examples
    --------
    >>> film = ic.plot.animate(recorder.reports, ic.plot.activations)  # doctest: +SKIP
    >>> film.save("activations.gif", writer="pillow")  # doctest: +SKIP
    """
    require()
    import matplotlib as mpl
    from matplotlib import pyplot as plt
    from matplotlib.animation import FuncAnimation

    if not isinstance(reports, Sequence):
        raise TypeError(f"expected a sequence of reports, got {type(reports).__name__}")
    if not callable(draw):
        raise TypeError(f"draw must be callable, as initcore.plot.activations is, got {draw!r}")
    if not reports:
        raise ValueError("expected at least one report, got none")
    positive(interval, "interval")
    # Frames are drawn when the animation is saved or shown, long after a `with style(...)` has ended.
    settings = {name: mpl.rcParams[name] for name in mpl.rcParams if not name.startswith(_NOT_LOOKS)}
    figure = plt.figure(figsize=size_of(6.0, 4.0), layout="constrained")
    common = _Common()

    def drawn(i: int) -> Axes:
        ax = common.new_axes(figure)
        draw(reports[i], ax)
        ax.set_title(f"{i}", loc="right", fontsize="medium")
        return ax

    scale = None
    while common.limits is None or common.threshold != scale:  # limits depend on the scale: then once more
        scale, common.limits = common.threshold, None
        for i in range(len(reports)):
            common.see(figure, drawn(i))
    common.fixed = True

    def frame(i: int) -> list[Any]:
        with mpl.rc_context(settings):
            common.apply(figure, drawn(i))
        return []

    figure.set_layout_engine("none")
    return FuncAnimation(figure, frame, frames=len(reports), init_func=list, interval=interval, blit=False)


class _Common:
    """What the axes of all frames have in common."""

    def __init__(self) -> None:
        self.fixed = False  # whether all frames have been seen
        self.threshold: float | None = None  # of a symmetric logarithmic x axis
        self.limits: npt.NDArray[np.float64] | None = None  # (2, 2): of x and y, lowest and highest
        self.colors: npt.NDArray[np.float64] | None = None  # (images, 2)
        self.places: npt.NDArray[np.float64] | None = None  # (axes, 4): left, bottom, right, top

    def new_axes(self, figure: Figure) -> Axes:
        """Clear the figure, and give axes of the common scale; of the common limits once they are known."""
        figure.clear()
        ax = figure.add_subplot()
        if self.threshold is not None:
            ax.set_xscale("symlog", linthresh=self.threshold, linscale=0.5)
        if self.fixed and self.limits is not None:
            ax.set_xlim(*self.limits[0])
        return ax

    def see(self, figure: Figure, ax: Axes) -> None:
        """Take note of the scale, the limits and the layout of a frame."""
        if ax.get_xscale() == "symlog":
            threshold = ax.xaxis.get_transform().linthresh  # type: ignore[attr-defined]
            self.threshold = min(threshold, self.threshold or threshold)
        figure.draw_without_rendering()
        limits = np.sort([ax.get_xlim(), ax.get_ylim()], axis=1)
        colors = np.array([image.get_clim() for image in ax.images], np.float64).reshape(-1, 2)
        places = np.array([one.get_position(original=True).extents for one in figure.axes])
        self.limits = _hull(self.limits, limits)
        self.colors = _hull(self.colors, colors)
        self.places = _hull(self.places, places * _INWARD)

    def apply(self, figure: Figure, ax: Axes) -> None:
        """Give a frame the common limits, colours and places."""
        if self.limits is not None:
            for (low, high), flipped, set_limits in (
                (self.limits[0], ax.xaxis_inverted(), ax.set_xlim),
                (self.limits[1], ax.yaxis_inverted(), ax.set_ylim),
            ):
                set_limits((high, low) if flipped else (low, high))
        if self.colors is not None and len(self.colors) == len(ax.images):
            for image, (low, high) in zip(ax.images, self.colors, strict=True):
                image.set_clim(low, high)
        if self.places is not None and len(self.places) == len(figure.axes):
            for one, (left, bottom, right, top) in zip(figure.axes, self.places * _INWARD, strict=True):
                one.set_position((left, bottom, right - left, top - bottom))


#: The common place of axes is what is inside that of every frame: the hull of negated extents.
_INWARD = np.array([-1.0, -1.0, -1.0, -1.0])


def _hull(
    seen: npt.NDArray[np.float64] | None, new: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64] | None:
    """Give the lowest of lower and the highest of upper bounds, which are the halves of each row."""
    if seen is None or seen.shape != new.shape:
        return new
    half = new.shape[1] // 2
    low, high = np.minimum(seen, new), np.maximum(seen, new)
    return np.concatenate([low[:, :half], high[:, half:]], axis=1)
