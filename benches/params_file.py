"""A model of 1 GiB drawn into a file, beside writing alone: ``python benches/params_file.py [directory]``.

Writing alone is a loop of ``os.write`` of 8 MiB, on one thread and on two with half of the file each, and
``dd``. All take turns, round after round; the table has the best times. None of them waits for the disk: what
counts is the speed of the file system's cache. Memory is what the peak of the resident memory grows by in a
process of its own (Linux).
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

import numpy as np

import peers
from initcore.params import plan

MIB = 1 << 20
BLOCK = 8 * MIB
MATRIX = (4096, 4096)
THREADS = (1, 2)
MEMORY_GOAL, SPEED_GOAL = 64 * MIB, 0.7


def save(path: Path, size: int, threads: int) -> None:
    """Draw a model of so many bytes into a file."""
    count = size // (4 * MATRIX[0] * MATRIX[1])
    plan({f"w{i}": MATRIX for i in range(count)}, {"*": "he_normal"}, seed=0).save(path, num_threads=threads)


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
    if path.stat().st_size < size:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, expected {size}")
    path.unlink()
    return elapsed


def memory(path: Path, size: int, threads: int) -> int:
    """Return what `save` adds to the peak of the resident memory of a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        growth = pool.submit(peers.peak_growth, partial(save, path, size, threads)).result()
    path.unlink()
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
    plain = {f"os.write, threads: {n}": partial(write, threads=n) for n in THREADS}
    plain |= {"dd": dd} if shutil.which("dd") else {}
    best = dict.fromkeys(ours | plain, float("inf"))
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        path = Path(directory) / "model.safetensors"
        for _ in range(options.rounds):
            for name, call in (ours | plain).items():
                best[name] = min(best[name], seconds(call, path, size))
        growth = {name: memory(path, size, n) for name, n in zip(ours, THREADS, strict=True)}
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
