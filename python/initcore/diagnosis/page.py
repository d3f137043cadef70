"""A diagnosis as HTML that stands alone: no script, no outside file, light or dark as the reader has it."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from initcore import notebook

from .report import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import Diagnosis, LayerDiagnosis


def page(report: Diagnosis) -> str:
    """Give a whole document."""
    return notebook.page(f"{report.verdict} - initcore", fragment(report))


def fragment(report: Diagnosis) -> str:
    """Give what a notebook shows."""
    advice = f"<p><b>What to do:</b> {escape(report.advice)}</p>" if report.advice else ""
    charts = "".join(
        chart(title, report.layers, name)
        for title, name in (("std of the outputs", "std"), ("std of dL/dz", "gradient_std"))
    )
    body = (
        f'<p class="verdict">{escape(report.verdict)}</p><p>{escape(report.reason)}.</p>{advice}'
        f'<div class="charts">{charts}</div>{_table(report)}'
        '<p class="note">± and shaded: what theory expects of random weights of this size, and how it '
        "scatters (the band is two standard deviations). * more than three standard deviations off.</p>"
    )
    return notebook.fragment(body, "healthy" if report.healthy else "")


def _table(report: Diagnosis) -> str:
    head, *rows = table(report)
    soft = [name == "theory" for name in head]

    def kind(cell: str, column: int) -> str:
        if soft[column]:
            return "soft"
        sick = head[column] == "verdict" and cell not in {"", "healthy"}
        return "bad" if sick or cell.startswith("*") else ""

    return notebook.table(head, [[(cell, kind(cell, i)) for i, cell in enumerate(row)] for row in rows])


_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 360, 190, 52, 12, 26, 30


def chart(title: str, layers: Sequence[LayerDiagnosis], name: str) -> str:
    """Draw a statistic against the layer, on a logarithmic scale, with what theory expects."""
    points = [(i, v) for i, layer in enumerate(layers) if _drawable(v := getattr(layer, name))]
    bands = []
    for i, layer in enumerate(layers):
        mean, std = layer.expected.get(name, (math.nan, math.nan))
        if _drawable(mean) and math.isfinite(std):
            spread = math.exp(2 * math.sqrt(math.log1p((std / mean) ** 2)))
            bands.append((i, mean / spread, mean, mean * spread))
    if not points:
        return ""
    numbers = [v for _, v in points] + [v for _, low, _, high in bands for v in (low, high) if v > 0]
    low, high = math.log10(min(numbers)), math.log10(max(numbers))
    middle, half = (low + high) / 2, max(high - low, 0.6) / 2 * 1.08
    low, high = middle - half, middle + half

    def x(i: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * ((i + 0.5) / len(layers))

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - math.log10(value)) / (high - low)

    parts = [f'<text class="title" x="{_LEFT}" y="14">{escape(title)}</text>']
    parts += [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="var(--line)"/>'
        f'<text x="{_LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in _ticks(low, high)
    ]
    parts += [
        f'<text x="{x(i):.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{i}</text>'
        for i in range(0, len(layers), math.ceil(len(layers) / 10))
    ]
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 1}" text-anchor="end">layer</text>')
    if len(bands) == 1:
        i, bottom, _, top = bands[0]
        parts.append(
            f'<line x1="{x(i):.1f}" x2="{x(i):.1f}" y1="{y(bottom):.1f}" y2="{y(top):.1f}" '
            'stroke="var(--blue)" stroke-opacity="0.3" stroke-width="8"/>'
        )
    elif bands:
        edge = [(i, top) for i, _, _, top in bands] + [(i, bottom) for i, bottom, _, _ in reversed(bands)]
        shape = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in edge)
        line = " ".join(f"{x(i):.1f},{y(mean):.1f}" for i, _, mean, _ in bands)
        parts.append(
            f'<polygon points="{shape}" fill="var(--blue)" fill-opacity="0.2"/>'
            f'<polyline points="{line}" fill="none" stroke="var(--blue)" stroke-width="1.5"/>'
        )
    for i, value in points:
        parts.append(f'<circle cx="{x(i):.1f}" cy="{y(value):.1f}" r="3.4" fill="var(--bad)"/>')
    return (
        f'<svg role="img" aria-label="{escape(title)} by layer" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>'
    )


def _drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _ticks(low: float, high: float) -> list[float]:
    """Choose powers of ten, or 1, 2 and 5 times them, between two logarithms: three to six numbers."""
    span = high - low
    if span < 2:
        numbers = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
        return [v for v in numbers if low <= math.log10(v) <= high]
    step = max(1, math.ceil(span / 5))
    return [10.0**e for e in range(math.ceil(low), math.floor(high) + 1) if e % step == 0]
