"""A whole language model beside the peers: ``make bench-models`` writes docs/benchmarks-models.md.

Each measurement is a process of its own (`model_worker.py`), one after the other, but for the ranks that are
measured at once.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyinit
import torch
import transformers
from tqdm import tqdm

import peers
from model_worker import STD
from peers import Row, comparison_table, digits, facts_list, plural, table

HERE = Path(__file__).parent
DTYPES = "float32", "bfloat16"
CORES = os.cpu_count() or 1
SLOW = {"trunc_normal_": 1, "anyinit": 1}  # rounds of what takes minutes
ANYINIT_LAYERS = 8  # it needs four times the model's memory
MIB = 1 << 20
FASTER, SHARE, MEMORY = 10, 1.3, 64 * MIB  # what is asked for
PAGE = """\
# Benchmarks of whole models

The shapes of TinyLlama, as `transformers.LlamaForCausalLM` builds them: 1,100,048,384 parameters in 201
arrays. Matrices are normal with standard deviation {std}, norms are ones; initcore draws by rules, with
`initcore.torch.initialize_`, every parameter under its name. Each measurement is a process of its own that
first fills memory which the system has not given yet (`to_empty` only reserves it), then the same memory
again. Most of the difference is the system's: it hands out pages of 4 KiB, with a fault for each. With
`THP_MEM_ALLOC_ENABLE=1` in the environment PyTorch asks for pages of 2 MiB (Linux). Least times; number of
rounds: {rounds}, {slow}.

{facts}
## The whole model

Seconds; initcore at its better number of threads of 1 and {cores}, PyTorch at {cores}. `normal_` is what
transformers calls, `trunc_normal_` what torchtitan does, `kaiming_uniform_` what `nn.Linear` does. "Built on
the CPU" is `LlamaForCausalLM(config)`, which reserves memory and draws, some of it twice.

{whole}
{comparison}
anyinit finds its own scales; on {layers} of the 22 layers, since it takes four times the model's memory:

{anyinit}
## One rank's part

The model in FSDP2 over N ranks, each layer sharded along its first axis, in a process group whose other ranks
are not there (nothing is communicated). 2 ranks work at once, with one thread each; 4 ranks one after the
other, since this machine has {cores} cores. A share is 1/N of the time of the whole model on as many threads.
Memory is what the peak of the resident memory grows by, without the part itself. "whole, then slice" is
PyTorch's `normal_` of each whole array, of which a rank keeps its part.

{ranks}"""


@dataclass(frozen=True)
class Job:
    """What to measure in one process."""

    method: str
    dtype: str
    threads: int = CORES
    ranks: int = 1
    rank: int = 0
    layers: int = 22
    huge: bool = False

    def start(self) -> subprocess.Popen[str]:
        """Start the process, and wait until it is ready."""
        command = [sys.executable, str(HERE / "model_worker.py"), self.method, self.dtype]
        for name in ("threads", "ranks", "rank", "layers"):
            command += [f"--{name}", str(getattr(self, name))]
        environment = {k: v for k, v in os.environ.items() if k not in peers.TUNING}
        environment |= {"THP_MEM_ALLOC_ENABLE": "1"} if self.huge else {}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, env=environment, **pipes)
        while (line := process.stdout.readline()).strip() != "ready":
            if not line:
                raise SystemExit(f"{self} ended; its error stands above")
        return process


Result = dict[str, float]
METHODS = "initcore", "normal_", "kaiming_uniform_", "trunc_normal_", "built on the CPU"


def run(jobs: Sequence[Job]) -> list[Result]:
    """Measure several at once."""
    processes = [job.start() for job in jobs]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    results = [json.loads(process.stdout.readline()) for process in processes]
    for process in processes:
        process.wait()
    return results


def worst(results: Sequence[Result]) -> Result:
    """The slowest and largest of ranks: the job waits for it."""
    over = {"over": max(r["growth"] - r["nbytes"] for r in results)}
    return {key: max(r[key] for r in results) for key in ("fresh", "again", "growth", "nbytes")} | over


def best(results: Sequence[Result]) -> Result:
    """The best of rounds."""
    return {key: min(r[key] for r in results) for key in results[0]}


def whole_jobs() -> list[Job]:
    """The whole model, by each method, on one thread and on all, with small pages and with large ones."""
    jobs = []
    for dtype in DTYPES:
        for method in METHODS:
            counts = sorted({1, CORES}) if method == "initcore" else [CORES]
            pages = (False,) if method in SLOW else (False, True)
            jobs += [Job(method, dtype, count, huge=huge) for count in counts for huge in pages]
        jobs += [Job(method, dtype, layers=ANYINIT_LAYERS) for method in ("initcore", "anyinit")]
    return jobs


def rank_groups() -> list[list[Job]]:
    """The ranks of a job, in groups that work at once."""
    groups = []
    for dtype in DTYPES:
        for method in ("initcore", "whole, then slice"):
            groups.append([Job(method, dtype, 1, 2, rank) for rank in range(2)])
            groups += [[Job(method, dtype, 1, 4, rank)] for rank in range(4)]
    return groups


def measure(rounds: int) -> dict[Job, Result]:
    """Measure everything in turn."""
    groups = [[job] for job in whole_jobs()] + rank_groups()
    seen: dict[Job, list[Result]] = {}
    for i in tqdm(range(rounds), "rounds"):
        for group in tqdm(groups, "processes", leave=False):
            if i < SLOW.get(group[0].method, rounds):
                for job, result in zip(group, run(group), strict=True):
                    over = {"over": result["growth"] - result["nbytes"]}
                    seen.setdefault(job, []).append(result | over)
    return {job: best(results) for job, results in seen.items()}


def figures(measured: dict[Job, Result], method: str, dtype: str) -> dict[str, float]:
    """The times of a method on the whole model, each at its better number of threads."""
    jobs = [
        job for job in measured if (job.method, job.dtype, job.ranks, job.layers) == (method, dtype, 1, 22)
    ]
    kinds = {"fresh": (False, "fresh"), "fresh, large pages": (True, "fresh"), "again": (False, "again")}
    if method == "built on the CPU":
        del kinds["again"]  # it is built anew
    times = {
        kind: [measured[job][key] for job in jobs if job.huge is huge] for kind, (huge, key) in kinds.items()
    }
    return {kind: min(values) for kind, values in times.items() if values}


def report(measured: dict[Job, Result], facts: dict[str, str], rounds: int) -> str:
    """Write the page."""
    kinds = ("fresh", "fresh, large pages", "again")
    whole, rows = [], []
    for dtype in DTYPES:
        times = {method: figures(measured, method, dtype) for method in METHODS}
        for method in METHODS:
            cells = [f"{times[method][kind]:.3g}" if kind in times[method] else "" for kind in kinds]
            whole.append((dtype, method if method == "initcore" else f"PyTorch {method}", *cells))
            for kind in kinds:
                if method != "initcore" and kind in times[method]:
                    ours, theirs = times["initcore"][kind], times[method][kind]
                    shown = f"{ours:.3g} s", f"PyTorch: {method}", f"{theirs:.3g} s"
                    ratio = theirs / ours
                    bar = (f">= {FASTER}x", ratio >= FASTER) if method == "normal_" else ("", None)
                    rows.append(Row(f"{dtype}, {kind}", *shown, f"{digits(ratio)}x", *bar))
    some = [
        (
            dtype,
            *(
                f"{measured[Job(m, dtype, layers=ANYINIT_LAYERS)][k]:.3g}"
                for m in ("initcore", "anyinit")
                for k in ("fresh", "again")
            ),
        )
        for dtype in DTYPES
    ]
    ranks = []
    for dtype in DTYPES:
        alone = measured[Job("initcore", dtype, 1)]
        for count in (2, 4):
            for method in ("initcore", "whole, then slice"):
                worst_rank = worst([measured[Job(method, dtype, 1, count, rank)] for rank in range(count)])
                cells = [dtype, str(count), method]
                for kind in ("fresh", "again"):
                    share = alone[kind] / count
                    cells += [f"{worst_rank[kind]:.3g}", f"{worst_rank[kind] / share:.2f}"]
                over = worst_rank["over"]
                ours = method == "initcore"
                fine = over <= MEMORY and worst_rank["again"] <= SHARE * alone["again"] / count
                verdict = ("met" if fine else "**not met**") if ours else ""
                ranks.append((*cells, f"{over / MIB:.0f}", verdict))
    slow = ", ".join(f"{rounds} of `{name}`" for name, rounds in SLOW.items())
    return PAGE.format(
        std=STD,
        rounds=rounds,
        slow=slow,
        facts=facts_list(facts),
        cores=CORES,
        layers=ANYINIT_LAYERS,
        whole=table(("dtype", "method", *kinds), whole),
        comparison=comparison_table(rows),
        anyinit=table(("dtype", "initcore, fresh", "again", "anyinit, fresh", "again"), some),
        ranks=table(
            (
                "dtype",
                "ranks",
                "method",
                "fresh, s",
                "of a share",
                "again, s",
                "of a share",
                "MiB over the part",
                f"<= {SHARE} (again), {MEMORY // MIB} MiB",
            ),
            ranks,
        ),
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=HERE.parent / "docs" / "benchmarks-models.md")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    facts = peers.circumstances("bench-models", __file__) | {
        "initcore": peers.describe_initcore(),
        "PyTorch": f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}; {plural(CORES)}",
        "transformers": transformers.__version__,
        "anyinit": anyinit.__version__,
    }
    options.out.write_text(report(measure(options.rounds), facts, options.rounds))


if __name__ == "__main__":
    main()
