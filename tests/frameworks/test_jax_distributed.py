"""Two processes share a mesh of eight devices: each makes its own shards; together they hold the array."""

import hashlib
import json
import math
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import initcore as ic

HERE = Path(__file__).parent
PROCESS = runpy.run_path(HERE / "jax_process.py")
CASES, SHAPE, MESH = PROCESS["CASES"], PROCESS["SHAPE"], {"a": 2, "b": 4}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What the processes wrote, and the directory of their shards."""
    directory = tmp_path_factory.mktemp("jax")
    with socket.socket() as s:
        s.bind(("localhost", 0))
        address = f"localhost:{s.getsockname()[1]}"
    flags = "--xla_force_host_platform_device_count=4"
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", HERE / "jax_process.py", address, "2", str(rank), directory],
            env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    return directory, [json.loads((directory / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_processes_hold_the_array_together(written, case):
    init, spec, dtype = CASES[case]
    whole = ic.get(init)(SHAPE, seed=3, name=f"w{case}", dtype=dtype)
    words = np.zeros((*SHAPE, whole.itemsize), np.uint8)
    filled = np.zeros(SHAPE, int)
    directory, reports = written
    for path in directory.glob(f"{case}.*.npz"):
        shard = np.load(path)
        index = tuple(slice(*bounds) for bounds in shard["bounds"])
        words[index] = shard["words"].reshape(*words[index].shape)
        filled[index] += 1
    entries = [(e,) if isinstance(e, str) else e or () for e in (*spec, None, None)][:2]
    counts = [math.prod(MESH[axis] for axis in entry) for entry in entries]
    assert (filled == 8 // math.prod(counts)).all()
    assert hashlib.sha256(words.tobytes()).hexdigest() == hashlib.sha256(whole.tobytes()).hexdigest()
    shape = [n // count for n, count in zip(SHAPE, counts, strict=True)]
    # axis a of the mesh is the processes: one holds every shard, or those of one half
    each = math.prod(counts) // (2 if "a" in [axis for entry in entries for axis in entry] else 1)
    for report in reports:
        assert report["made"][str(case)] == [shape] * each


def test_they_compute_together(written):
    sums = [report["sums"] for report in written[1]]
    assert sums[0] == sums[1]
    squares = np.square(ic.he_normal((8, 16), seed=3, name="fc1.kernel")).sum()
    assert sums[0] == pytest.approx([squares, ic.he_truncated_normal((8, 16), seed=7).sum()], rel=1e-4)
