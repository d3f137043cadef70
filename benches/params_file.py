"""A model of 1 GiB drawn into files, beside writing alone: ``python benches/params_file.py [directory]``.

Writing alone is a loop of ``os.write`` of 8 MiB, on one thread and on two with half of the file each, and
``dd``. All take turns, round after round; the table has the best times. None of them waits for the disk: what
counts is the speed of the file system's cache; but several files do wait, each before it gets its name. The
two processes, with a thread each, have been started before. Memory is what the peak of the resident memory
grows by in a process of its own (Linux).
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import peers
from initcore.params import plan

MIB = 1 << 20
BLOCK = 8 * MIB
MATRIX = (4096, 4096)
FILES = 8
THREADS = (1, 2)
MEMORY_GOAL, SPEED_GOAL = 64 * MIB, 0.7


def save(path: Path, size: int, threads: int, **options: Any) -> None:
    """Draw a model of so many bytes into a file, or several."""
    count = size // (4 * MATRIX[0] * MATRIX[1])
    model = plan({f"w{i}": MATRIX for i in range(count)}, {"*": "he_normal"}, seed=0)
    model.save(path, num_threads=threads, **options)


def shards(path: Path, size: int, threads: int) -> None:
    """Draw it into several files."""
    save(path, size, threads, max_shard_size=size // FILES)


def part(i: int, path: Path, size: int) -> None:
    """Draw the share of one of two processes."""
    save(path, size, 1, max_shard_size=size // FILES, part=(i, 2))


def processes(path: Path, size: int, pool: ProcessPoolExecutor) -> None:
    """Let two processes draw it."""
    list(pool.map(partial(part, path=path, size=size), range(2)))


def write(path: Path, size: int, threads: int) -> None:
    """Write so many bytes, each thread its share."""
    block = np.random.default_rng(0).bytes(BLOCK)
    with path.open("wb") as file:
        file.truncate(size)

    def share(i: int) -> None:
        with path.open("r+b", buffering=0) as file:
            file.seek(size // threads * i)
            for _ in range(size // threads // BLOCK):
                file.write(block)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads)))


def dd(path: Path, size: int) -> None:
    """Let dd write so many bytes."""
    command = ["dd", "if=/dev/zero", f"of={path}", f"bs={BLOCK}", f"count={size // BLOCK}"]
    subprocess.run(command, check=True, capture_output=True)


def seconds(call: Callable[[Path, int], None], path: Path, size: int) -> float:
    """Time a call that makes a file, and remove it."""
    begin = time.perf_counter()
    call(path, size)
    elapsed = time.perf_counter() - begin
    files = [*path.iterdir()] if path.is_dir() else [path]
    found = sum(file.stat().st_size for file in files)
    if found < size:
        raise ValueError(f"{path} has {found} bytes, expected {size}")
    remove(path)
    return elapsed


def remove(path: Path) -> None:
    """Remove a file, or a directory of files."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def memory(call: Callable[[Path, int], None], path: Path, size: int) -> int:
    """Return what a call adds to the peak of the resident memory of a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        growth = pool.submit(peers.peak_growth, partial(call, path, size)).result()
    remove(path)
    return growth


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", nargs="?", default=".", help="where the files go (they are removed)")
    parser.add_argument("--mib", type=int, default=1024, help="size of the model, a multiple of 128")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    size = options.mib * MIB
    ours = {f"save, threads: {n}": partial(save, threads=n) for n in THREADS}
    ours |= {f"{FILES} files, threads: {n}": partial(shards, threads=n) for n in THREADS}
    plain = {f"os.write, threads: {n}": partial(write, threads=n) for n in THREADS}
    plain |= {"dd": dd} if shutil.which("dd") else {}
    with (
        tempfile.TemporaryDirectory(dir=options.directory) as directory,
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool,
    ):
        several = {f"{FILES} files, processes: 2": partial(processes, pool=pool)}
        best = dict.fromkeys(ours | several | plain, float("inf"))
        path = Path(directory) / "model.safetensors"
        for _ in range(options.rounds):
            for name, call in (ours | several | plain).items():
                best[name] = min(best[name], seconds(call, path, size))
        growth = {name: memory(call, path, size) for name, call in ours.items()}
    print(f"{options.mib} MiB, best of {options.rounds}, {os.cpu_count()} cores\n")
    print(f"{'':22} {'seconds':>8} {'GiB/s':>6} {'added MiB':>10}")
    for name, time_taken in best.items():
        added = f"{growth[name] / MIB:10.1f}" if name in growth else ""
        print(f"{name:22} {time_taken:8.3f} {size / time_taken / 2**30:6.2f} {added}")
    share = min(best[name] for name in plain) / min(best[name] for name in ours)
    print(f"\n{share:.0%} of the speed of writing alone (goal {SPEED_GOAL:.0%}),", end=" ")
    print(f"at most {max(growth.values()) / MIB:.0f} MiB added (goal {MEMORY_GOAL // MIB})")


if __name__ == "__main__":
    main()
