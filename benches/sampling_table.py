"""Sampling beside every peer that is installed: ``make bench-sampling`` writes docs/benchmarks-sampling.md.

Each library works in a process of its own (``sampling_worker.py``), one at a time. A round measures every
case once, cases of the same work one after the other, so that whatever else the machine does hits all alike;
the best and the median of several rounds are kept. ``sampling_report.py`` compares and writes,
``sampling_plot.py`` draws. A peer that is missing is said to be.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from tqdm import tqdm

import peers
import sampling_plot
import sampling_report
from sampling_report import INTEL_PATH, Filling
from sampling_worker import LIBRARIES

HERE = Path(__file__).parent
WORKER = HERE / "sampling_worker.py"
# oneMKL takes its baseline code on CPUs of other makers, whatever instructions they have. It gets the test of
# the maker from this exported function; with another answer it takes the code that it takes on Intel's CPUs.
INTEL_PATH_SOURCE = (
    "static int yes(void) { return 1; }\nvoid *mkl_serv_get_cpu_true(void) { return (void *)yes; }\n"
)


def start(size: int, threads: int) -> dict[str, peers.Worker]:
    """Start a worker for every library, and one more for oneMKL where it takes its baseline code."""
    worker = partial(peers.Worker, WORKER, measurement=Filling)
    workers = {library: worker(library, size, threads) for library in tqdm(LIBRARIES, "warming up")}
    compiler = shutil.which("cc")
    if workers["oneMKL"].cases and sys.platform == "linux" and "GenuineIntel" not in peers.cpu() and compiler:
        with tempfile.TemporaryDirectory() as directory:
            preload = str(Path(directory, "intel_path.so"))
            command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", preload]
            subprocess.run(command, input=INTEL_PATH_SOURCE, text=True, check=True)
            environment = {"LD_PRELOAD": preload}
            workers[INTEL_PATH] = worker("oneMKL", size, threads, name=INTEL_PATH, environment=environment)
    return workers


def extra_memory(threads: int) -> dict[int, int]:
    """Return the extra bytes of filling arrays of two sizes, each in a fresh process; known on Linux only."""
    if sys.platform != "linux":
        return {}
    sizes = 1 << 20, 1 << 28
    command = [sys.executable, WORKER, "memory"]
    return {size: int(subprocess.check_output([*command, str(size), str(threads)])) for size in sizes}


def main() -> None:
    """Measure, print the tables and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log2-values", type=int, default=26, help="size of the arrays (26)")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of every case (9)")
    parser.add_argument("--threads", type=int, default=2, help="the number to use beside one (2)")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs", help="where to write (docs)")
    options = parser.parse_args()
    size, threads = 1 << options.log2_values, options.threads
    facts = peers.circumstances("bench-sampling", __file__)
    facts["Work"] = f"{sampling_report.power(size)} values, {options.rounds} rounds, 1 and {threads} threads"
    memory = extra_memory(threads)
    workers = start(size, threads)
    measurements = peers.measure(workers.values(), options.rounds)
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
