"""What the benchmarks beside other libraries share: worker processes, interleaved rounds, and the tables.

Each library works in a process of its own, since thread pools of several libraries in one process disturb
each other, and works only when asked. The process (`serve`) says in one line of JSON what it can do, then
answers each case number, one per line, with the seconds that one call took. The asking side (`Worker`,
`measure`) goes round after round over all cases, those of the same work one after the other, so that
whatever else the machine does hits all alike.
"""

import contextlib
import datetime as dt
import io
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

CALLS = 0.02  # seconds; quicker calls are repeated for as long
PAUSE = 0.05  # seconds between two measurements: the threads of the last one stop spinning
# These make OpenBLAS take code for another processor than the one that is there.
TUNING = "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"
# Okabe and Ito's palette, which colour-blind readers can tell apart; the labels say the same in words.
COLORS = {
    "initcore": "#0072B2",
    "PyTorch": "#D55E00",
    "NumPy": "#E69F00",
    "JAX": "#CC79A7",
    "scikit-learn": "#56B4E9",
    "oneMKL": "#999999",
}
PLOT_STYLE = {"font.size": 7, "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False}


@dataclass(frozen=True)
class Case:
    """A call to measure, in the worker."""

    work: str  # equal for all libraries
    method: str
    call: Callable[[], object]
    threads: int | None = 1  # None: as many as the library likes
    before: Callable[[], object] = lambda: None

    def check(self, result: object) -> float:
        """Refuse a wrong result; return how much one call does: values, steps, operations."""
        raise NotImplementedError

    def seconds(self, number: int) -> float:
        """Return the seconds of one call, the mean of `number`."""
        self.before()
        return timeit.timeit(self.call, number=number) / number

    def answer(self, number: int) -> dict[str, object]:
        """Measure, and say what came out."""
        return {"seconds": self.seconds(number)}

    def warm_up(self) -> dict[str, object]:
        """Call until it is warm, check the result and return what a report needs to know."""
        self.before()
        units = self.check(self.call())
        number = max(1, round(CALLS / self.seconds(1)))
        if number > 1:  # not so cold any more
            number = max(1, round(CALLS / self.seconds(number)))
        shown = {"work": self.work, "method": self.method, "threads": self.threads}
        return shown | {"units": units, "number": number}


def serve(library: str, cases: Callable[[], Iterator[Case | str]]) -> None:
    """Say what there is to measure, then measure what is asked for; a string describes the library."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else a library prints
    warm, shown, description = [], [], ""
    try:
        for case in cases():
            if isinstance(case, str):
                description = case
                continue
            try:
                shown.append(case.warm_up())
                warm.append(case)
            except TypeError as error:  # a dtype that is not there
                print(f"{library}: {case.work} is not available: {error}")
    except ImportError as error:
        description = f"{description}; {error}" if description else f"not installed ({error})"
    print(json.dumps({"description": description, "cases": shown}), file=answers, flush=True)
    for line in sys.stdin:
        number = int(line)
        print(json.dumps(warm[number].answer(shown[number]["number"])), file=answers, flush=True)


def describe_initcore() -> str:
    """Return what `ic.show_config` prints, in one line."""
    import initcore as ic

    config = io.StringIO()
    with contextlib.redirect_stdout(config):
        ic.show_config()
    return ", ".join(" ".join(line.split()) for line in config.getvalue().splitlines())


def peak_growth(call: Callable[[], object]) -> int:
    """Return by how many bytes the peak of the resident memory grows during a call (Linux)."""

    def kilobytes(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew, from here
    before = kilobytes("VmRSS:")
    call()
    return (kilobytes("VmHWM:") - before) * 1024


@dataclass
class Measurement:
    """The times of one case, seconds per call."""

    library: str
    work: str
    method: str
    threads: int | None  # None: as many as the library likes
    units: float  # what one call does: values, steps, operations
    number: int  # calls that each time is the mean of
    answers: list[dict[str, float]] = field(default_factory=list)  # one a round

    @property
    def best(self) -> float:
        """The least time."""
        return min(answer["seconds"] for answer in self.answers)

    @property
    def median(self) -> float:
        """The middle time."""
        return statistics.median(answer["seconds"] for answer in self.answers)

    @property
    def name(self) -> str:
        """What was called."""
        threads = "" if self.threads is None else f", {plural(self.threads)}"
        return f"{self.library}: {self.method}{threads}"


class Worker:
    """A process that measures one library."""

    def __init__(
        self,
        script: Path,
        library: str,
        *arguments: object,
        name: str = "",
        environment: Mapping[str, str] | None = None,
        measurement: type[Measurement] = Measurement,
    ) -> None:
        """Start it and wait until everything there is warm."""
        self.process = subprocess.Popen(
            [sys.executable, script, library, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if k not in TUNING} | dict(environment or {}),
        )
        hello = self.answer()
        self.description: str = hello["description"]
        self.cases = [measurement(name or library, **case) for case in hello["cases"]]

    def answer(self) -> object:
        """Return what the worker says next."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended; its error stands above")
        return json.loads(line)

    def measure(self, number: int) -> None:
        """Measure a case once more."""
        print(number, file=self.process.stdin, flush=True)
        self.cases[number].answers.append(self.answer())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def measure(workers: Iterable[Worker], rounds: int) -> list[Measurement]:
    """Measure everything `rounds` times, one case after the other, and end the workers."""
    cases = [(case.work, worker, i) for worker in workers for i, case in enumerate(worker.cases)]
    works = list(dict.fromkeys(work for work, _, _ in cases))
    cases.sort(key=lambda case: works.index(case[0]))
    for _ in tqdm(range(rounds), "rounds"):
        for _, worker, i in cases:
            time.sleep(PAUSE)
            worker.measure(i)
    for worker in workers:
        worker.close()
    return [case for worker in workers for case in worker.cases]


def cpu() -> str:
    """Return the CPU's maker and model, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
    named = ("vendor_id", ""), ("model name", ""), ("cpu family", "family "), ("model", "model ")
    return ", ".join(words + fields[name] for name, words in named if name in fields) or platform.machine()


def circumstances(target: str, script: str) -> dict[str, str]:
    """Say how, when and where; to be called before anything else puts load on the machine."""
    command = shlex.join(["python", f"benches/{Path(script).name}", *sys.argv[1:]])
    return {
        "Command": f"`make {target}`, that is `{command}`",
        "Date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        "CPU": f"{cpu()}; {os.cpu_count()} cores",
        "Load before": f"{os.getloadavg()[0]:.2f} (others at work make all figures worse)",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }


@dataclass(frozen=True)
class Row:
    """One comparison; `met` is None where there is no bar."""

    work: str
    ours: str
    peer: str
    theirs: str
    ratio: str = ""
    bar: str = ""
    met: bool | None = None


def comparison_table(rows: Sequence[Row]) -> str:
    """Write comparisons as a Markdown table."""
    verdicts = {None: "", True: "met", False: "**not met**"}
    cells = [(r.work, r.ours, r.peer, r.theirs, r.ratio, r.bar, verdicts[r.met]) for r in rows]
    return table(("work", "initcore", "against", "its figure", "ratio", "bar", ""), cells)


MISSING_NOTE = """\
Some peers are not installed: `pip install -e '.[bench,peers]'` gets them (in `.venv`, if make is used).
"""


def facts_list(facts: Mapping[str, str]) -> str:
    """Write facts as a Markdown list, and how to get the peers that are missing."""
    text = "\n".join(f"- {name}: {what}" for name, what in facts.items()) + "\n"
    return text + ("\n" + MISSING_NOTE if "not installed" in text else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table that is also readable as it stands."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "".join(f"| {' | '.join(map(str.ljust, line, widths))} |\n" for line in lines)


def digits(ratio: float) -> str:
    """Write three digits."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def plural(threads: int) -> str:
    """Write a number of threads."""
    return f"{threads} thread" if threads == 1 else f"{threads} threads"
