"""The plot of ``sampling_table.py``: a panel for each piece of work, a bar for each library and method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from peers import COLORS, PLOT_STYLE, plural
from sampling_report import INTEL_PATH, Filling

PALETTE = COLORS | {INTEL_PATH: "#009E73"}


@dataclass(frozen=True)
class Panel:
    """One piece of work, the fastest first; `fill` is the rate of writing a constant, where it compares."""

    title: str
    cases: Sequence[Filling]
    label: Callable[[Filling], str]
    fill: float | None = None

    def draw(self, ax: Axes) -> None:
        """Draw the bars, with their lengths in figures."""
        in_time = self.cases[0].is_small
        lengths = [1e6 * m.best if in_time else m.units / m.best / 1e6 for m in self.cases]
        ax.barh(range(len(lengths)), lengths, color=[PALETTE[m.library] for m in self.cases], height=0.78)
        for i, length in enumerate(lengths):
            shown = f"{length:.1f}" if in_time else f"{length:,.0f}"
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            ax.annotate(shown, (length, i), (2, 0), textcoords="offset points", va="center", bbox=paper)
        ax.set_yticks(range(len(lengths)), [self.label(m) for m in self.cases])
        ax.set_ylim(len(lengths) - 0.4, -0.6)
        ax.set_title(self.title, loc="left", fontweight="bold")
        ax.set_xlabel("µs: less is better" if in_time else "million values per second", labelpad=1)
        ax.set_xlim(0, 1.15 * max([*lengths, self.fill or 0]))
        if self.fill:
            ax.axvline(self.fill, color="black", linewidth=0.8, linestyle="--")
            ax.annotate(
                "plain fill ", (self.fill, len(lengths) - 0.5), ha="right", va="bottom", style="italic"
            )
        ax.tick_params(axis="y", length=0)


def draw(measurements: Sequence[Filling], threads: int, facts: Mapping[str, str], path: Path) -> None:
    """Draw the figure and write it."""
    mpl.use("Agg")

    def cases(work: str, keep: Callable[[Filling], bool]) -> list[Filling]:
        found: dict[tuple[str, str], Filling] = {}
        for m in sorted(measurements, key=lambda m: m.best):
            if m.work == work and keep(m):
                found.setdefault((m.library, m.method), m)
        return list(found.values())

    def together(m: Filling) -> bool:
        return m.threads == threads if m.library == "initcore" else not m.library.startswith("oneMKL")

    def alone(m: Filling) -> bool:
        return m.threads == 1 if m.library == "initcore" else m.method.startswith("Philox4x32x10")

    def fill(most: int) -> float:
        return max(
            m.units / m.best / 1e6
            for m in measurements
            if m.work.startswith("constant") and m.threads <= most
        )

    both = plural(threads)
    by_dtype = [m for m in measurements if m.library == "initcore" and m.work.split()[0] == "normal"]
    by_dtype = sorted((m for m in by_dtype if "cache" not in m.work), key=lambda m: m.best / m.units)
    columns = (
        (
            Panel(f"normal, {both}", cases("normal float32", together), name, fill(threads)),
            Panel(f"uniform, {both}", cases("uniform float32", together), name, fill(threads)),
            Panel(
                f"truncated normal ±2σ, {both}",
                cases("truncated_normal float32", together),
                name,
                fill(threads),
            ),
            Panel("he_normal((64, 64)), one call", cases("he_normal (64, 64)", lambda _: True), name),
        ),
        (
            Panel("normal, 1 thread", cases("normal float32", alone), name, fill(1)),
            Panel("uniform, 1 thread", cases("uniform float32", alone), name, fill(1)),
            Panel("normal in float64, 1 thread", cases("normal float64", alone), name),
            Panel(
                "initcore: normal by dtype", by_dtype, lambda m: f"{m.work.split()[1]}, {plural(m.threads)}"
            ),
        ),
    )
    tallest = max(sum(len(panel.cases) + 4 for panel in column) for column in columns)
    with plt.rc_context(PLOT_STYLE):
        figure = plt.figure(
            figsize=(7.2, 0.4 + 0.15 * tallest), layout="constrained"
        )  # inches: a page is as wide
        for part, column in zip(figure.subfigures(1, 2), columns, strict=True):
            heights = {"height_ratios": [len(panel.cases) + 0.6 for panel in column]}
            axes = part.subplots(len(column), 1, gridspec_kw=heights)
            for ax, panel in zip(axes, column, strict=True):
                panel.draw(ax)
        figure.suptitle(f"float32 unless said; {facts['CPU']}", fontsize=7)
        figure.savefig(path, dpi=200)
        plt.close(figure)


def name(m: Filling) -> str:
    """Name a bar."""
    library, _, variant = m.library.partition(", ")
    method = m.method.removeprefix("Philox4x32x10, ")
    if library in {"initcore", "PyTorch"}:
        return library
    if library == "NumPy":
        return f"NumPy {method.split(', ')[0]}" if ", " in method else "NumPy"
    if library == "JAX":
        return "JAX, eager" if not method.startswith("jit") else "JAX, jit"
    return f"oneMKL {method}" + (f", {variant}" if variant else "")
