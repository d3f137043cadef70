"""What the panels show of a network at one moment: pictures by `initcore.plot`, numbers for charts.

matplotlib's settings belong to the process, and so one picture is drawn at a time, whoever asks. Margins are
fixed: an automatic layout would draw everything twice.
"""

from __future__ import annotations

import functools
import io
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from initcore import plot
from initcore.diagnosis import diagnose

from .settings import LOSS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initcore.datasets import Dataset
    from initcore.diagnosis import Diagnosis
    from initcore.nn import MLP

    from .session import Copy

#: Training samples that a diagnosis looks at.
BATCH = 256
#: Test images that are shown with what the network says about them.
COLUMNS, ROWS = 6, 3
#: Pixels of a picture per inch, at which a line of text is about 12 pixels high on a page of 100 per inch.
DPI = 160

_drawing = threading.Lock()


@dataclass(frozen=True, eq=False)
class View:
    """A copy of a session's network, looked at from several sides.

    Parameters
    ----------
    copy : Copy
    """

    copy: Copy

    @property
    def net(self) -> MLP:
        """The network."""
        return self.copy.net

    @property
    def data(self) -> Dataset:
        """What it is trained on."""
        return self.copy.data

    @functools.cached_property
    def report(self) -> Diagnosis:
        """The diagnosis, on some of the training samples."""
        x, t = self.data.x_train[:BATCH], self.data.y_train[:BATCH]
        return diagnose(self.net, x, t, loss=LOSS, optimizer=self.copy.settings.make_optimizer())

    @functools.cached_property
    def gradients(self) -> dict[str, Any]:
        """The gradients of the parameters, on the same samples."""
        x, t = self.data.x_train[:BATCH], self.data.y_train[:BATCH]
        return self.net.loss_and_grad(x, t, loss=LOSS)[1]

    def signals(self, *, backward: bool) -> tuple[dict[str, Any], list[float | None]]:
        """Give some outputs of every layer, or gradients, by its name, and the standard deviation of all."""
        layers = self.report.layers
        if not backward:
            return {layer.name: layer.sample for layer in layers}, [layer.std for layer in layers]
        samples = {layer.name: layer.gradient_sample for layer in layers if layer.gradient_sample is not None}
        return samples, [layer.gradient_std for layer in layers]

    def spread(self, *, backward: bool) -> list[float]:
        """Give the standard deviation of every layer; of gradients, relative to the last layer's."""
        if not backward:
            return [layer.std for layer in self.report.layers]
        found = [
            math.nan if layer.gradient_std is None else layer.gradient_std for layer in self.report.layers
        ]
        return [value / found[-1] if found[-1] else value for value in found]

    def expected(self, *, backward: bool) -> list[tuple[float, float] | None]:
        """Give what theory expects `spread` to be of random weights: mean and standard deviation."""
        name, unit = (
            ("gradient_std", self.report.layers[-1].gradient_std or 1.0) if backward else ("std", 1.0)
        )
        pairs = [layer.expected.get(name) for layer in self.report.layers]
        return [None if pair is None else (pair[0] / unit, pair[1] / unit) for pair in pairs]


def describe(view: View) -> str:
    """Say in words what `answers` draws."""
    what = "The plane" if view.data.x_train.shape[1] == 2 else "Test images"
    return f"{what} of {view.data.name} with the network's answers"


def answers(view: View, size: tuple[float, float], *, dark: bool) -> bytes:
    """Draw the plane with the boundaries of the classes, or test images with what the network says they are.

    Parameters
    ----------
    view : View
    size : (float, float)
        Width and height in inches.
    dark : bool
        For a dark page.

    Returns
    -------
    bytes
        A PNG.
    """

    def draw(figure: Figure) -> None:
        if view.data.x_train.shape[1] == 2:
            ax = figure.add_axes((0.14, 0.15, 0.84, 0.83))
            plot.decision_boundary(view.net, view.data.x_test, view.data.y_test, ax)
            legend = ax.get_legend()
            if legend is not None:  # it would stand outside; the colours of ground and points tell
                legend.remove()
        else:
            _images(view, figure)

    return _png(draw, size, dark=dark)


def _images(view: View, figure: Figure) -> None:
    """Show the first test images, each with the class it is taken for and the probability of that."""
    data = view.data
    count = min(COLUMNS * ROWS, len(data.x_test))
    side = math.isqrt(data.x_test.shape[1])
    outputs = view.net.forward(data.x_test[:count]).astype(np.float64)
    shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    ax = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    ax.set_axis_off()
    size = min(12.0, 2.9 * min(figure.get_size_inches()))
    # One picture of all of them: many axes would be slow. Each has a cell of 1 x 1.4.
    for i, (x, share, label) in enumerate(zip(data.x_test, shares, data.y_test, strict=False)):
        column, row = i % COLUMNS, i // COLUMNS
        found = int(share.argmax())
        left, top = column * 1.15, -row * 1.62
        image = x[: side * side].reshape(side, side)
        ax.imshow(image, cmap="gray", extent=(left, left + 1, top - 1, top), interpolation="nearest")
        right = found == label
        # Words beside the colour: not everyone can tell the colours apart.
        text = f"{data.classes[found]}  {share[found]:.0%}" + (
            "" if right else f"\nnot {data.classes[label]}"
        )
        options: dict[str, Any] = {} if right else {"color": plot.COLORS[3], "fontweight": "bold"}
        ax.text(
            left + 0.5, top - 1.04, text, ha="center", va="top", fontsize=size, linespacing=1.0, **options
        )
    ax.set_xlim(-0.05, COLUMNS * 1.15 - 0.1)
    ax.set_ylim(-(ROWS - 1) * 1.62 - 1.55, 0.05)


def network(view: View, size: tuple[float, float], *, dark: bool, backward: bool) -> bytes:
    """Draw the network, coloured by weights or, `backward`, by gradients; see `answers`."""

    def draw(figure: Figure) -> None:
        ax = figure.add_axes((0.01, 0.02, 0.92, 0.96))
        plot.network(view.net, ax, values=_finite(view.gradients) if backward else None)

    return _png(draw, size, dark=dark)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Put the largest finite number in place of what is infinite, and 0 in place of what is NaN."""
    sizes = [float(np.abs(v[np.isfinite(v)]).max(initial=0.0)) for v in values.values()]
    most = max(sizes) or 1.0
    return {name: np.nan_to_num(v, nan=0.0, posinf=most, neginf=-most) for name, v in values.items()}


def _png(draw: Any, size: tuple[float, float], *, dark: bool) -> bytes:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with _drawing, plot.style("dark" if dark else "light"), np.errstate(all="ignore"):
        mpl.rcParams["font.size"] = 8 if size[0] < 3.6 else 9
        figure = Figure(figsize=size)
        draw(figure)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=DPI, transparent=True, pil_kwargs={"compress_level": 1})
    return image.getvalue()
