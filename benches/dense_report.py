"""What ``dense_table.py`` measured, compared with the peers, as Markdown."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dense_work import EPOCHS, MNIST, NETWORKS, Plan, products
from peers import Measurement, Row, comparison_table, digits, facts_list, plural, table

PYTORCH_BARS = (50, 10, 2, 1.5, 1.0)  # of the training steps, network by network
PEERS = "PyTorch", "JAX", "NumPy"
ACCURACY = 0.93


@dataclass(frozen=True)
class Training:
    """Trainings on MNIST by one method: means over the seeds, of the best time of each."""

    measurement: Measurement
    seconds: float
    accuracy: float
    worst_accuracy: float
    compile_seconds: float


class Results:
    """What was measured, to be asked for."""

    def __init__(self, measurements: Sequence[Measurement], plan: Plan, threads: int) -> None:
        """Keep it; `threads` is the greater number, at which initcore is taken."""
        self.measurements = measurements
        self.plan = plan
        self.threads = threads

    def ranked(self, library: str, work: str, threads: int | None = None) -> list[Measurement]:
        """Return what was measured, the fastest first; None threads: any number."""
        found = (
            m
            for m in self.measurements
            if (m.library, m.work) == (library, work) and threads in {None, m.threads}
        )
        return sorted(found, key=lambda m: m.best)

    def best(self, library: str, work: str, threads: int | None = None) -> Measurement | None:
        """Return the fastest."""
        return next(iter(self.ranked(library, work, threads)), None)

    def ours(self, work: str) -> Measurement:
        """Return initcore as it comes, with all threads."""
        return self.best("initcore", work, self.threads)

    def ratio(self, work: str, library: str) -> float | None:
        """Return how many times as fast as the library initcore is."""
        theirs = self.best(library, work)
        return theirs and theirs.best / self.ours(work).best

    def training(self, m: Measurement) -> Training:
        """Sum up the trainings on MNIST by one method."""
        seeds = itertools.groupby(sorted(m.answers, key=lambda a: a["seed"]), key=lambda a: a["seed"])
        seconds = statistics.mean(min(a["seconds"] for a in answers) for _, answers in seeds)
        accuracies = [a["accuracy"] for a in m.answers]
        mean = statistics.mean(accuracies)
        return Training(m, seconds, mean, min(accuracies), m.answers[0]["compile_seconds"])

    def trainings(self) -> list[Training]:
        """Return the best method of every library on MNIST, the fastest first."""
        found: dict[str, Training] = {}
        for m in self.measurements:
            is_ours = m.library == "initcore"
            if m.work == "MNIST" and (not is_ours or m.threads == self.threads):
                training = self.training(m)
                if m.library not in found or training.seconds < found[m.library].seconds:
                    found[m.library] = training
        return sorted(found.values(), key=lambda t: t.seconds)


def compare(
    title: str,
    ours: Measurement,
    theirs: Measurement | None,
    bar: float | None,
    library: str,
) -> Row:
    """Compare times; the ratio is that of the best ones, in brackets that of the medians."""
    shown = figure(ours, ours.best)
    demand = f"≥ {bar:g}×" if bar else ""
    if theirs is None:
        return Row(title, shown, library, "not installed", "", demand)
    ratio, median = theirs.best / ours.best, theirs.median / ours.median
    written = f"{digits(ratio)}× ({digits(median)}×)"
    return Row(
        title,
        shown,
        theirs.name,
        figure(theirs, theirs.best),
        written,
        demand,
        round(ratio, 2) >= bar if bar else None,
    )


def steps(results: Results) -> list[Row]:
    """Training steps; where a whole epoch is JAX's fastest, its fastest single step stands there too."""
    rows = []
    for network, pytorch_bar in zip(results.plan.networks, PYTORCH_BARS, strict=False):
        work = f"SGD step, {network}"
        ours = results.ours(work)
        for library, bar in zip(PEERS, (pytorch_bar, 1.0, None), strict=True):
            ranked = results.ranked(library, work) or [None]
            rows.append(compare(str(network), ours, ranked[0], bar, library))
            if library == "JAX" and ranked[0] and "scan" in ranked[0].method:
                single = next(m for m in ranked if "scan" not in m.method)
                rows.append(compare(str(network), ours, single, None, library))
    return rows


def adam(results: Results) -> list[Row]:
    """Steps of Adam against those of plain descent, and against PyTorch's Adam."""
    rows = []
    for network in results.plan.networks:
        ours, plain = results.ours(f"Adam step, {network}"), results.ours(f"SGD step, {network}")
        ratio, median = ours.best / plain.best, ours.median / plain.median
        written = f"{digits(ratio)}× ({digits(median)}×) the time"
        figures = figure(ours, ours.best), "initcore: SGD", figure(plain, plain.best)
        rows.append(Row(str(network), *figures, written, "≤ 1.3×", round(ratio, 2) <= 1.3))
        theirs = results.best("PyTorch", f"Adam step, {network}")
        rows.append(compare(str(network), ours, theirs, None, "PyTorch"))
    return rows


def forwards(results: Results) -> list[Row]:
    """Outputs without training."""
    return [
        compare(
            str(network),
            results.ours(f"forward, {network}"),
            results.best(library, f"forward, {network}"),
            bar,
            library,
        )
        for network in results.plan.networks
        for library, bar in zip(PEERS, (1.0, 1.0, None), strict=True)
    ]


def matrix_products(results: Results) -> str:
    """Write the products: figures of equal numbers of threads."""
    rows = []
    for work, _, _ in products(results.plan):
        for threads in sorted({1, results.threads}):
            ours = results.best("initcore", work, threads)
            cells = [work.removeprefix("product, "), plural(threads), gigaflops(ours)]
            ratios = []
            for library in ("PyTorch", "NumPy"):
                theirs = results.best(library, work, threads)
                if theirs is None:
                    cells += ["not installed", ""]
                    continue
                ratios.append(theirs.best / ours.best)
                cells += [
                    gigaflops(theirs),
                    f"{digits(ratios[-1])}× ({digits(theirs.median / ours.median)}×)",
                ]
            met = bool(ratios) and all(round(ratio, 2) >= 1.0 for ratio in ratios)
            rows.append([*cells, "met" if met else "**not met**"])
    head = "product", "threads", "initcore", "PyTorch", "ratio", "NumPy", "ratio", "≥ 1×"
    return table(head, rows)


def mnist(results: Results) -> str:
    """Write the trainings on MNIST."""
    ours = next(t for t in results.trainings() if t.measurement.library == "initcore")
    rows = [
        (
            t.measurement.name,
            f"{t.seconds:.3f} s",
            f"{digits(t.seconds / ours.seconds)}×",
            f"{100 * t.accuracy:.1f}%",
            f"{100 * t.worst_accuracy:.1f}%",
            f"{t.compile_seconds:.2f} s" if t.compile_seconds else "",
            "" if t.accuracy >= ACCURACY else f"below {100 * ACCURACY:.0f}%",
        )
        for t in results.trainings()
    ]
    head = "by", "training", "times initcore's", "test accuracy", "of the worst seed", "compiling first", ""
    return table(head, rows)


def memory_table(memory: Mapping[str, int]) -> str:
    """Write what a fit needs beside its data, and what it should need."""
    network = NETWORKS[-1]
    activations = 4 * network.batch * sum(network.sizes)
    rows = []
    for kind, extra in memory.items():
        moments = {"SGD": 0, "Adam": 2}[kind]
        expected = 4 * network.parameters * (2 + moments) + activations
        rows.append(
            (kind, f"{extra / 2**20:.0f} MiB", f"{expected / 2**20:.0f} MiB", f"{digits(extra / expected)}×")
        )
    return table(("optimizer", "extra memory", "sum of its parts", "ratio"), rows)


def figure(m: Measurement, seconds: float) -> str:
    """Write the time of one step or batch."""
    micro = 1e6 * seconds / m.units
    return (
        f"{micro:.3g} µs"
        if micro < 1e3
        else f"{micro / 1e3:.3g} ms"
        if micro < 1e6
        else f"{micro / 1e6:.3g} s"
    )


def gigaflops(m: Measurement) -> str:
    """Write the rate of a product."""
    return f"{m.units / m.best / 1e9:.0f} GFLOP/s"


INTRODUCTION = """\
# Dense core benchmarks

Each library runs in a process of its own for every number of threads, one at a time, and is asked in turn,
round after round: whatever else the machine does hits all alike. Before anything is measured, the first step
(or the result) is compared with NumPy's in float64. A ratio is that of the best times, peer by initcore, so
more than 1 says that initcore is faster; in brackets, that of the median times. initcore is taken as it
comes, with all threads; of a peer, the fastest of all its methods and numbers of threads counts. Everything
measured stands at the end.

![Ratios to the peers](images/benchmarks-dense.png)
"""

STEPS = """\
## Training step

Forward, cross-entropy (softmax; binary for one output), backward, plain gradient descent; relu between the
layers, float32. initcore's time is that of one `net.fit(x, t, ...)` over many batches, in a new random order,
divided by the steps: checks of the arguments, shuffling, loss and accuracy included. The peers get batches
that are made already. PyTorch is eager, with `zero_grad(set_to_none=True)` and each of `SGD`'s
implementations; JAX compiles the step (with and without donated parameters, waiting for every step or for the
last), or a `lax.scan` over all batches.
"""

ADAM = """\
## Adam

Its step against that of plain descent, and against PyTorch's fastest Adam.
"""

PRODUCTS = """\
## Matrix product

initcore has no public matrix product: `dense_forward(x, w, None, "linear")` is one, with checks and a new
array. PyTorch and NumPy write into a given array. The numbers of threads are equal. Without Python, and for
the shapes of the networks: [the GEMM crates](benchmarks-gemm.md).
"""

FORWARD = """\
## Forward

`net.forward(x)` for batch after batch, against `torch.inference_mode()` and `jax.jit`.
"""

MNIST_TEXT = """\
## MNIST

{network}: {epochs} epochs of Adam on 4000 digits, in a new order in every epoch; the
test is on 1000 others. That many epochs take every library to {percent:.0f}%. All begin with the same
weights, initcore's `he_normal` (scikit-learn through a subclass, since it has no argument for them), and
differ in the order of the digits. Time and accuracy are means over the seeds {seeds}; the time of a seed
is its best, without compiling.
"""

MEMORY = """\
## Memory

By how much the peak of the resident memory grows while the network {network} is made and
fitted, in a fresh process that has its data already; beside the sum of parameters, gradients, the optimizer's
means, and one batch of inputs and of outputs of every layer.
"""


def markdown(results: Results, memory: Mapping[str, int], facts: Mapping[str, str]) -> str:
    """Write the page."""
    parts = [
        INTRODUCTION,
        facts_list(facts),
        STEPS,
        comparison_table(steps(results)),
        ADAM,
        comparison_table(adam(results)),
        FORWARD,
        comparison_table(forwards(results)),
        PRODUCTS,
        matrix_products(results),
    ]
    if results.trainings():
        values = {
            "network": MNIST,
            "epochs": EPOCHS,
            "percent": 100 * ACCURACY,
            "seeds": ", ".join(map(str, results.plan.seeds)),
        }
        parts += [MNIST_TEXT.format(**values), mnist(results)]
    if memory:  # known on Linux
        parts += [MEMORY.format(network=NETWORKS[-1]), memory_table(memory)]
    parts += ["## Everything measured\n", everything(results)]
    return "\n".join(parts)


def everything(results: Results) -> str:
    """Write all methods with their best and median times, the fastest of a work first."""
    works = list(dict.fromkeys(m.work for m in results.measurements))
    rows = []
    for m in sorted(results.measurements, key=lambda m: (works.index(m.work), m.best)):
        if m.work.startswith("product"):
            shown = gigaflops(m), f"{m.units / m.median / 1e9:.0f} GFLOP/s"
        else:
            shown = figure(m, m.best), figure(m, m.median)
        rows.append((m.work, m.name, *shown))
    return table(("work", "by", "best", "median"), rows)
