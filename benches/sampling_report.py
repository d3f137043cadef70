"""What ``sampling_table.py`` measured, compared with the peers, as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from peers import Measurement, Row, comparison_table, digits, facts_list, plural, table

INTEL_PATH = "oneMKL, Intel path"


class Filling(Measurement):
    """The times of filling an array; the units are values."""

    @property
    def is_small(self) -> bool:
        """Whether the time of a call says more than values per second."""
        return self.units <= 1 << 20

    def figure(self, seconds: float) -> str:
        """Write a time as what matters: million values per second, or microseconds of a small call."""
        return f"{1e6 * seconds:.1f} µs" if self.is_small else f"{self.units / seconds / 1e6:.0f} M/s"


class Comparison:
    """The rows of the table, with their bars; ratios are those of the best times."""

    def __init__(self, measurements: Sequence[Filling], threads: int, memory: Mapping[int, int]) -> None:
        """Compare everything; `memory` has the extra bytes by number of values."""
        self.measurements = measurements
        self.threads = threads
        self.rows: list[Row] = []
        self.peers()
        self.onemkl()
        self.narrow()
        self.shard()
        for work in ("normal float32 in cache", "normal float32", "uniform float32", "normal float64"):
            self.scaling(work)
        self.fill()
        for size, extra in memory.items():
            title = f"extra memory, normal float32, {power(size)} values, {plural(threads)}"
            self.rows.append(Row(title, f"{extra / 2**20:.2f} MiB", "", "", "", "≤ 2 MiB", extra <= 2 << 20))

    def find(self, library: str, work: str, method: str = "", threads: int | None = None) -> Filling | None:
        """Return the fastest that was measured; None threads: whatever number is best."""
        found = (
            m
            for m in self.measurements
            if (m.library, m.work) == (library, work)
            and m.method.startswith(method)
            and threads in {None, m.threads}
        )
        return min(found, key=lambda m: m.best, default=None)

    def ours(self, work: str, threads: int | None = None) -> Filling | None:
        """Return what was measured of initcore."""
        return self.find("initcore", work, threads=threads)

    def peers(self) -> None:
        """PyTorch, NumPy and JAX, each at its best number of threads."""
        bars = (
            ("normal float32", "PyTorch", "", 12),
            ("normal float32", "NumPy", "PCG64", 20),
            ("normal float32", "NumPy", "Philox", None),
            ("normal float32", "JAX", "", 20),
            ("uniform float32", "PyTorch", "", 12),
            ("uniform float32", "NumPy", "PCG64", None),
            ("uniform float32", "NumPy", "Philox", None),
            ("uniform float32", "JAX", "", None),
            ("truncated_normal float32", "PyTorch", "", 15),
            ("truncated_normal float32", "JAX", "", None),
            ("he_normal (64, 64)", "PyTorch", "", 5),
            ("he_normal (64, 64)", "NumPy", "", None),
            ("he_normal (64, 64)", "JAX", "he_normal", None),
            ("he_normal (64, 64)", "JAX", "jit", None),
        )
        for work, library, method, bar in bars:
            is_call = work.startswith("he_normal")
            title = f"{work}, one call" if is_call else f"{work}, {plural(self.threads)}"
            ours = self.ours(work, None if is_call else self.threads)
            self.compare(title, ours, self.find(library, work, method), bar, absent=library)

    def onemkl(self) -> None:
        """The fastest method of oneMKL on Philox, one thread; bars are for its fastest code for this CPU."""
        bars = (("normal float32", "", 1.25), ("uniform float32", "", 1.0), ("normal float64", "ICDF", 1.0))
        has_intel_path = any(m.library == INTEL_PATH for m in self.measurements)
        for work, method, bar in bars:
            title, ours = f"{work}, 1 thread", self.ours(work, 1)
            if has_intel_path:
                self.compare(title, ours, self.find("oneMKL", work, f"Philox4x32x10, {method}"), None)
            library = INTEL_PATH if has_intel_path else "oneMKL"
            theirs = self.find(library, work, f"Philox4x32x10, {method}")
            self.compare(title, ours, theirs, bar, absent=library)
            if theirs:
                self.compare(title, ours, self.find(library, work, f"ARS5, {method}"), None)

    def compare(
        self,
        title: str,
        ours: Filling,
        theirs: Filling | None,
        bar: float | None,
        *,
        absent: str = "",
    ) -> None:
        """Add a comparison of values per second."""
        shown = ours.figure(ours.best)
        if theirs is None:
            self.rows.append(Row(title, shown, absent, "not installed", "", f"≥ {bar:g}×" if bar else ""))
            return
        best = theirs.best / theirs.units / (ours.best / ours.units)
        median = theirs.median / theirs.units / (ours.median / ours.units)
        ratio = f"{digits(best)}× ({digits(median)}×)"
        row = Row(title, shown, theirs.name, theirs.figure(theirs.best), ratio)
        self.rows.append(replace(row, bar=f"≥ {bar:g}×", met=round(best, 2) >= bar) if bar else row)

    def narrow(self) -> None:
        """16-bit normals: no fewer values per second than float32."""
        for dtype in ("float16", "bfloat16"):
            work = f"normal {dtype}"
            for threads in (1, self.threads):
                ours, wide = self.ours(work, threads), self.ours("normal float32", threads)
                title = f"{work}, {plural(threads)}"
                if ours:
                    self.compare(title, ours, wide, 1.0)
                else:
                    figures = "not available", wide.name, wide.figure(wide.best)
                    self.rows.append(Row(title, *figures, "", "≥ 1×", met=False))

    def shard(self) -> None:
        """Columns through `index`, against their share of the time of the whole."""
        shard, whole = self.ours("he_normal shard"), self.ours("he_normal whole")
        share = shard.units / whole.units
        best, median = shard.best / (share * whole.best), shard.median / (share * whole.median)
        figures = shard.figure(shard.best), "its share of the whole", shard.figure(share * whole.best)
        title = "he_normal (4096, 4096), 64 columns, 1 thread"
        ratio = f"{best:.2f}× ({median:.2f}×) of it"
        self.rows.append(Row(title, *figures, ratio, "≤ 1.5×", round(best, 2) <= 1.5))

    def scaling(self, work: str) -> None:
        """From one thread to several: nine tenths of the possible; plain fill limits it outside caches."""
        one, many = self.ours(work, 1), self.ours(work, self.threads)
        best, median = one.best / many.best, one.median / many.median
        possible, limited = float(self.threads), ""
        if "cache" not in work:
            bandwidth = one.best / (self.ours("constant float32").best * (2 if "float64" in work else 1))
            if bandwidth < possible:
                possible, limited = bandwidth, f" (plain fill allows {bandwidth:.2f}×)"
        title = f"{work}, {power(one.units)} values, 1 → {plural(self.threads)}"
        figures = many.figure(many.best), one.name, one.figure(one.best), f"{best:.2f}× ({median:.2f}×)"
        bar = round(0.9 * possible, 2)
        self.rows.append(Row(title, *figures, f"≥ {bar:.2f}×{limited}", round(best, 2) >= bar))

    def fill(self) -> None:
        """How close normals and uniforms come to writing a constant, by whoever does that best."""
        fills = [self.find(library, "constant float32") for library in ("initcore", "NumPy")]
        for work in ("normal float32", "uniform float32"):
            title = f"{work}, {plural(self.threads)}"
            self.compare(title, self.ours(work, self.threads), min(fills, key=lambda m: m.best), None)


INTRODUCTION = """\
# Sampling benchmarks

Each library runs in a process of its own, one at a time, and is asked in turn, round after round: whatever
else the machine does hits all alike. Every call is warmed up and its values are checked first. All fill a
given array that has been touched, except JAX, which always makes a new one. Figures are in million values
per second (M/s) or microseconds of a call, from the best of the rounds. A ratio is that of the best times;
in brackets, that of the median times. PyTorch is taken at its better number of threads; NumPy and a oneMKL
stream have one; JAX takes all. A bar for scaling is nine tenths of what is possible: the number of threads,
or less where memory is no faster (plain fill).

![Values per second](images/benchmarks-sampling.png)
"""

INTEL_PATH_NOTE = """\
On CPUs of other makers oneMKL takes its baseline code, whatever instructions they have. For the rows
"oneMKL, Intel path" a preloaded library answers its question for the maker, which gives the code that it
runs on Intel's CPUs with these instructions. The bars are for these rows.
"""


def markdown(rows: Sequence[Row], measurements: Sequence[Filling], facts: Mapping[str, str]) -> str:
    """Write the page."""
    parts = [INTRODUCTION, facts_list(facts)]
    if INTEL_PATH in facts:
        parts.append(INTEL_PATH_NOTE)
    parts += ["## Comparison\n", comparison_table(rows), "## Everything measured\n"]
    cells = [
        (m.work, m.name, m.figure(m.best), m.figure(m.median), f"{1e3 * m.best:.4g}", f"{1e3 * m.median:.4g}")
        for m in sorted(measurements, key=lambda m: (m.work, m.best / m.units))
    ]
    parts.append(table(("work", "by", "best", "median", "best, ms", "median, ms"), cells))
    return "\n".join(parts)


def power(size: int) -> str:
    """Write a power of two as one."""
    return f"2^{size.bit_length() - 1}"
