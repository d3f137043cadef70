"""The dense core beside every peer that is installed: ``make bench-dense`` writes docs/benchmarks-dense.md.

Each library works in a process of its own for every number of threads (``dense_worker.py``), one at a time:
``peers.py`` says how. ``dense_report.py`` compares and writes, ``dense_plot.py`` draws. A peer that is
missing is said to be.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

import dense_plot
import dense_report
import peers
from dense_work import QUICK, Plan
from dense_worker import LIBRARIES

HERE = Path(__file__).parent
WORKER = HERE / "dense_worker.py"


def environment(threads: int) -> dict[str, str]:
    """Return what gives a process that many threads, whatever library it is for."""
    names = "INITCORE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"
    values = dict.fromkeys((*names, "NPROC"), str(threads))  # NPROC: JAX's pool
    return values | ({"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if threads == 1 else {})


def extra_memory() -> dict[str, int]:
    """Return the extra bytes of a fit by optimizer, each in a fresh process; known on Linux only."""
    if sys.platform != "linux":
        return {}
    command = [sys.executable, WORKER, "memory"]
    return {kind: int(subprocess.check_output([*command, kind])) for kind in ("SGD", "Adam")}


def main() -> None:
    """Measure, print the tables and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6, help="measurements of every case (6)")
    parser.add_argument("--quick", action="store_true", help="less of everything, to see that it works")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="the number beside one (all)")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs", help="where to write (docs)")
    options = parser.parse_args()
    counts = sorted({1, options.threads})
    plan, size = (QUICK, "quick") if options.quick else (Plan(), "full")
    facts = peers.circumstances("bench-dense", __file__)
    facts["Work"] = f"{options.rounds} rounds; {' and '.join(map(peers.plural, counts))}"
    memory = extra_memory()
    pairs = [(library, count) for library in LIBRARIES for count in counts]
    workers = [
        peers.Worker(WORKER, library, count, size, environment=environment(count))
        for library, count in tqdm(pairs, "warming up")
    ]
    facts |= {library: worker.description for (library, _), worker in zip(pairs, workers, strict=True)}
    results = dense_report.Results(peers.measure(workers, options.rounds), plan, options.threads)
    text = dense_report.markdown(results, memory, facts)
    print(text)
    images = options.docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    options.docs.joinpath("benchmarks-dense.md").write_text(text)
    dense_plot.draw(results, facts, images / "benchmarks-dense.png")


if __name__ == "__main__":
    main()
