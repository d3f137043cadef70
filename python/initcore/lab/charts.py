"""The charts that the browser draws (ECharts): cost, signals in each layer, their spread against theory.

They move several times a second. To send numbers takes a millisecond or two; to draw the same with
matplotlib a tenth of a second, which the training would miss.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from initcore.plot import COLORS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .session import Snapshot

Options: TypeAlias = dict[str, Any]
Floats: TypeAlias = npt.NDArray[np.float64]

BLUE, ORANGE, GREEN, VERMILLION, _, SKY, _ = COLORS
#: A function of the browser that writes a number without many zeros.
_SHORT = (
    "v => v === 0 || (Math.abs(v) > 9e-4 && Math.abs(v) < 1e4) ? +v.toPrecision(3) + '' : v.toExponential(0)"
)
#: Layers that have a histogram: more would be too low to be seen.
MAX_HISTOGRAMS = 8
BINS = 61


def cost(snapshot: Snapshot, *, dark: bool) -> Options:
    """Give the chart of the loss on training and test samples over the epochs."""
    epochs = snapshot.history["epoch"]
    options = _base(dark)
    options["xAxis"] = _axis(dark, type="value", name="epoch", min=0, max=_round_up(max(10, snapshot.epoch)))
    shown = [v for name in ("loss", "val_loss") for v in snapshot.history[name] if _drawable(v)]
    options["yAxis"] = _log_axis(dark, shown, name="loss")
    options["legend"] = {"top": 0, "right": 0, "textStyle": {"color": _ink(dark)}, "itemWidth": 28}
    train, test = (SKY, ORANGE) if dark else (BLUE, VERMILLION)
    options["series"] = [
        _line("training", _points(epochs, snapshot.history["loss"]), train),
        _line("test", _points(epochs, snapshot.history["val_loss"]), test, dashed=True),
    ]
    return options


def depth(
    found: Sequence[float], expected: Sequence[tuple[float, float] | None], *, what: str, dark: bool
) -> Options:
    """Give the chart of a standard deviation in every layer, measured, and the band where theory expects it.

    Parameters
    ----------
    found : sequence of float
        Of each layer.
    expected : sequence of (float, float) or None
        Mean and standard deviation of what theory expects.
    what : str
        Name of the axis.
    dark : bool
        For a dark page.
    """
    bands = [_band(pair) for pair in expected]
    shown = [v for v in found if _drawable(v)] + [v for band in bands for v in band if v > 0]
    lost = any(not _drawable(v) for v in found)
    axis = _log_axis(dark, shown, name=what, beyond=lost)
    floor, top = axis["min"], axis["max"]
    options = _base(dark)
    names = [str(i + 1) for i in range(len(found))]
    options["xAxis"] = _axis(dark, type="category", name="layer", data=names, boundaryGap=True)
    options["yAxis"] = axis
    options["legend"] = {
        "top": 0, "right": 0, "textStyle": {"color": _ink(dark)}, "data": ["measured", "theory"],
    }  # fmt: skip
    hidden = {"symbol": "none", "stack": "band", "lineStyle": {"opacity": 0}, "tooltip": {"show": False}}
    color = GREEN
    middle = [None if b is None or not _drawable(b[0]) else b[0] for b in expected]
    options["series"] = [
        {"type": "line", "name": "from", "data": [low if low > 0 else None for low, _ in bands], **hidden},
        {
            "type": "line", "name": "to", **hidden,
            "data": [high - low if low > 0 else None for low, high in bands],
            "areaStyle": {"color": color, "opacity": 0.3},
        },
        _line("theory", middle, color),
        {
            "type": "scatter", "name": "measured", "symbolSize": 10, "z": 5,
            "itemStyle": {"color": SKY if dark else BLUE, "borderColor": _ground(dark), "borderWidth": 1},
            "data": [_mark(value, floor, top) for value in found],
        },
    ]  # fmt: skip
    return options


def signals(samples: Mapping[str, Floats], stds: Sequence[float | None], *, dark: bool) -> Options:
    """Give the histograms of what goes through each layer, the first on top, on one scale.

    Parameters
    ----------
    samples : mapping of str to ndarray
        Values of each layer.
    stds : sequence of float or None
        Their standard deviations, over all that was measured.
    dark : bool
        For a dark page.
    """
    names = list(samples)
    chosen = sorted({round(i) for i in np.linspace(0, len(names) - 1, min(len(names), MAX_HISTOGRAMS))})
    values = [np.asarray(samples[names[i]], np.float64).ravel() for i in chosen]
    finite = [some[np.isfinite(some)] for some in values]
    edges = _edges(finite)
    middles = (edges[:-1] + edges[1:]) / 2
    options = _base(dark)
    del options["grid"]
    options |= {"grid": [], "xAxis": [], "yAxis": [], "series": [], "title": []}
    height = 88.0 / len(chosen)
    colors = _ramp(len(chosen), dark)
    for row, (i, every, some) in enumerate(zip(chosen, values, finite, strict=True)):
        last = row == len(chosen) - 1
        top = 1.0 + row * height
        options["grid"].append(
            {"left": 34, "right": 108, "top": f"{top:.1f}%", "height": f"{height * 0.86:.1f}%"}
        )
        axis = _axis(dark, type="value", gridIndex=row, min=edges[0], max=edges[-1], splitNumber=4)
        axis["axisLabel"] |= {
            "show": last,
            ":formatter": _SHORT,
            "showMinLabel": False,
            "showMaxLabel": False,
        }
        axis["splitLine"] = {"show": False}
        options["xAxis"].append(axis)
        options["yAxis"].append({"type": "value", "gridIndex": row, "show": False, "min": 0, "max": 1})
        counts, _ = np.histogram(some[some != 0], edges)
        heights = counts / max(1, counts.max())
        line = _line(f"layer {i + 1}", np.stack([middles, heights], axis=1).round(6).tolist(), colors[row])
        line |= {
            "xAxisIndex": row,
            "yAxisIndex": row,
            "step": "middle",
            "silent": True,
            "lineStyle": {"width": 1},
        }
        options["series"].append(line | {"areaStyle": {"color": colors[row], "opacity": 0.75}})
        options["title"] += [
            _text(str(i + 1), top + height / 2, dark, left=10),
            _text(_beside(stds[i], every, some), top + height / 2, dark, right=2),
        ]
    return options


def _beside(std: float | None, every: Floats, finite: Floats) -> str:
    """Describe the values of a layer."""
    words = "" if std is None else f"std {std:.2g}" if math.isfinite(std) else "overflow"
    if finite.size < every.size:
        return words or "not finite"
    zeros = float((every == 0).mean()) if every.size else 0.0
    return words + (f"\n{zeros:.0%} zeros" if zeros >= 0.005 else "")


def _edges(finite: Sequence[Floats]) -> Floats:
    """Give the edges of the bins that all layers share; zero lies in the middle of one."""
    sizes = [float(np.quantile(np.abs(some), 0.99)) for some in finite if some.size]
    reach = max(sizes, default=0.0) or 1.0
    negative = any(some.size and float(np.quantile(some, 0.01)) < -0.01 * reach for some in finite)
    if negative:
        return np.linspace(-reach, reach, BINS + 1)
    return np.linspace(-reach * 0.04, reach, BINS + 1)


def _band(pair: tuple[float, float] | None) -> tuple[float, float]:
    """Give two standard deviations either way; (0, 0) is none. Below zero there is nothing on a log axis."""
    if pair is None or not all(map(math.isfinite, pair)) or pair[0] <= 0:
        return 0.0, 0.0
    mean, std = pair
    return max(mean - 2 * std, mean / 10), mean + 2 * std


def _mark(value: float, floor: float, top: float) -> Any:
    """Give a point; zero is hollow at the bottom, what overflowed a cross at the top."""
    if math.isfinite(value) and value > 0:
        return value
    if value == 0:
        return {"value": floor * 1.05, "symbol": "emptyCircle", "name": "0"}
    return {"value": top / 1.05, "symbol": "path://M0,0L10,10M10,0L0,10", "name": "overflow"}


def _round_up(count: int) -> int:
    """Give the next number of one digit, or one and a half."""
    power: int = 10 ** (len(str(count)) - 1)
    return next(step * power // 2 for step in range(2, 21) if step * power // 2 >= count)


def _points(x: Sequence[float], y: Sequence[float]) -> list[list[float | None]]:
    return [[a, b if _drawable(b) else None] for a, b in zip(x, y, strict=True)]


def _drawable(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _line(name: str, data: Sequence[Any], color: str, dashed: bool = False) -> Options:
    style = {"color": color, "width": 2.5, "type": "dashed" if dashed else "solid"}
    return {
        "type": "line", "name": name, "data": list(data), "lineStyle": style, "itemStyle": {"color": color},
        "symbol": "circle", "symbolSize": 7, "showSymbol": len(data) == 1,
    }  # fmt: skip


def _base(dark: bool) -> Options:
    return {
        "animation": False,
        "backgroundColor": "transparent",
        "textStyle": {"color": _ink(dark), "fontFamily": "inherit"},
        "grid": {"left": 52, "right": 14, "top": 34, "bottom": 40},
        "aria": {"enabled": True},
        "tooltip": {"trigger": "axis", "confine": True},
    }


def _axis(dark: bool, **more: Any) -> Options:
    line = {"lineStyle": {"color": _ink(dark)}}
    return {
        "nameLocation": "middle",
        "nameGap": 26 if more.get("name") in {"epoch", "layer"} else 38,
        "nameTextStyle": {"color": _ink(dark)},
        "axisLabel": {"color": _ink(dark), "hideOverlap": True},
        "axisLine": {"show": True, **line},
        "splitLine": {"lineStyle": {"color": "#333B44" if dark else "#E3E6EA"}},
        **more,
    }


def _log_axis(dark: bool, values: Sequence[float], *, name: str, beyond: bool = False) -> Options:
    """Give an axis from one power to another, of 2 where there is less than a decade or two to show.

    With `beyond` there is room at both ends, for what is 0 or not finite.
    """
    low, high = min(values, default=1.0), max(values, default=1.0)
    base = 2 if low >= 0.01 and high < 40 * low else 10
    first, last = math.floor(math.log(low, base) + 1e-9), math.ceil(math.log(high, base) - 1e-9)
    last = max(last, first + 1)
    if beyond:
        first, last = first - 1, last + 1
    interval = max(1, math.ceil((last - first) / 7))
    last = first + interval * math.ceil((last - first) / interval)
    options = _axis(dark, type="log", logBase=base, name=name, interval=interval)
    options["axisLabel"][":formatter"] = _SHORT
    return options | {"min": float(base) ** first, "max": float(base) ** last}


def _text(text: str, top: float, dark: bool, **where: Any) -> Options:
    style = {"fontSize": 11, "fontWeight": "normal", "color": _ink(dark), "lineHeight": 12}
    return {
        "text": text,
        "top": f"{top:.1f}%",
        "textVerticalAlign": "middle",
        "textStyle": style,
        "padding": 0,
        **where,
    }


def _ink(dark: bool) -> str:
    return "#E8E8E8" if dark else "#1A1A1A"


def _ground(dark: bool) -> str:
    return "#14181E" if dark else "#FFFFFF"


def _ramp(count: int, dark: bool) -> list[str]:
    """Give colours from the first layer to the last."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    low, high = (0.30, 1.0) if dark else (0.0, 0.82)
    return [to_hex(colormaps["viridis"](share)) for share in np.linspace(low, high, count)]
