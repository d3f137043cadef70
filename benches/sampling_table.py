"""Sampling beside every peer that is installed: ``make bench-sampling`` writes docs/benchmarks-sampling.md.

Each library works in a process of its own (``sampling_worker.py``), one at a time. A round measures every
case once, cases of the same work one after the other, so that whatever else the machine does hits all alike;
the best and the median of several rounds are kept. ``sampling_report.py`` compares and writes,
``sampling_plot.py`` draws. A peer that is missing is said to be.
"""

import argparse
import datetime as dt
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

import sampling_plot
import sampling_report
from sampling_report import INTEL_PATH, Measurement
from sampling_worker import LIBRARIES

HERE = Path(__file__).parent
WORKER = HERE / "sampling_worker.py"
PAUSE = 0.02  # seconds between two measurements: the threads of the last one stop spinning
# oneMKL takes its baseline code on CPUs of other makers, whatever instructions they have. It gets the test of
# the maker from this exported function; with another answer it takes the code that it takes on Intel's CPUs.
INTEL_PATH_SOURCE = (
    "static int yes(void) { return 1; }\nvoid *mkl_serv_get_cpu_true(void) { return (void *)yes; }\n"
)


class Worker:
    """A process that measures one library."""

    def __init__(self, library: str, size: int, threads: int, name: str = "", preload: str = "") -> None:
        """Start it and wait until everything there is warm."""
        self.process = subprocess.Popen(
            [sys.executable, WORKER, library, str(size), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ({"LD_PRELOAD": preload} if preload else {}),
        )
        hello = self.answer()
        self.description: str = hello["description"]
        self.cases = [Measurement(name or library, **case) for case in hello["cases"]]

    def answer(self) -> object:
        """Return what the worker says next."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended; its error stands above")
        return json.loads(line)

    def measure(self, number: int) -> None:
        """Measure a case once more."""
        print(number, file=self.process.stdin, flush=True)
        self.cases[number].times.append(self.answer())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def start(size: int, threads: int) -> dict[str, Worker]:
    """Start a worker for every library, and one more for oneMKL where it takes its baseline code."""
    workers = {library: Worker(library, size, threads) for library in tqdm(LIBRARIES, "warming up")}
    compiler = shutil.which("cc")
    if workers["oneMKL"].cases and sys.platform == "linux" and "GenuineIntel" not in cpu() and compiler:
        with tempfile.TemporaryDirectory() as directory:
            preload = str(Path(directory, "intel_path.so"))
            command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", preload]
            subprocess.run(command, input=INTEL_PATH_SOURCE, text=True, check=True)
            workers[INTEL_PATH] = Worker("oneMKL", size, threads, INTEL_PATH, preload)
    return workers


def measure(workers: dict[str, Worker], rounds: int) -> None:
    """Measure everything `rounds` times, one case after the other."""
    cases = [(case.work, worker, i) for worker in workers.values() for i, case in enumerate(worker.cases)]
    works = list(dict.fromkeys(work for work, _, _ in cases))
    cases.sort(key=lambda case: works.index(case[0]))
    for _ in tqdm(range(rounds), "rounds"):
        for _, worker, i in cases:
            time.sleep(PAUSE)
            worker.measure(i)


def extra_memory(threads: int) -> dict[int, int]:
    """Return the extra bytes of filling arrays of two sizes, each in a fresh process; known on Linux only."""
    if sys.platform != "linux":
        return {}
    sizes = 1 << 20, 1 << 28
    command = [sys.executable, WORKER, "memory"]
    return {size: int(subprocess.check_output([*command, str(size), str(threads)])) for size in sizes}


def cpu() -> str:
    """Return the CPU's maker and model, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
    named = ("vendor_id", ""), ("model name", ""), ("cpu family", "family "), ("model", "model ")
    return ", ".join(words + fields[name] for name, words in named if name in fields) or platform.machine()


def main() -> None:
    """Measure, print the tables and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log2-values", type=int, default=26, help="size of the arrays (26)")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of every case (9)")
    parser.add_argument("--threads", type=int, default=2, help="the number to use beside one (2)")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs", help="where to write (docs)")
    options = parser.parse_args()
    size, threads = 1 << options.log2_values, options.threads
    command = shlex.join(["python", "benches/sampling_table.py", *sys.argv[1:]])
    facts = {
        "Command": f"`make bench-sampling`, that is `{command}`",
        "Date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        "CPU": f"{cpu()}; {os.cpu_count()} cores",
        "Load before": f"{os.getloadavg()[0]:.2f} (others at work make all figures worse)",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Work": f"{sampling_report.power(size)} values, {options.rounds} rounds, 1 and {threads} threads",
    }
    memory = extra_memory(threads)
    workers = start(size, threads)
    measure(workers, options.rounds)
    for worker in workers.values():
        worker.close()
    measurements = [case for worker in workers.values() for case in worker.cases]
    facts |= {library: worker.description for library, worker in workers.items()}
    rows = sampling_report.Comparison(measurements, threads, memory).rows
    text = sampling_report.markdown(rows, measurements, facts)
    print(text)
    images = options.docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    options.docs.joinpath("benchmarks-sampling.md").write_text(text)
    sampling_plot.draw(measurements, threads, facts, images / "benchmarks-sampling.png")


if __name__ == "__main__":
    main()
