"""One parameter made in parts by MPI ranks, Ray tasks and processes: the examples, run as they stand."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import initcore as ic

EXAMPLES = Path(__file__).parents[2] / "examples"
PYTHON = Path(sys.executable)
DIGEST = "0c10ea0ff12e4a6e0591c022614c189309afa3183f59ec42a7052afaa86d3e6d"


def start(command, folder, **environment):
    return subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | {"HOME": str(folder)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(process):
    """Give what a process prints; it has two minutes."""
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, output + errors
    return output


@pytest.fixture(scope="module", autouse=True)
def ray_example(tmp_path_factory):
    """Start Ray first: it takes longer than all others."""
    folder = tmp_path_factory.mktemp("ray")
    process = start([PYTHON, EXAMPLES / "ray_shards.py"], folder, RAY_USAGE_STATS_ENABLED="0")
    yield process
    process.kill()


def test_the_digest_is_that_of_one_process():
    whole = ic.he_normal((1003, 512), seed=0, name="layers.0.weight")
    assert hashlib.sha256(whole).hexdigest() == DIGEST


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_mpi_ranks(ranks, tmp_path):
    mpiexec = PYTHON.with_name("mpiexec")  # of the same environment as mpi4py
    output = printed(start([mpiexec, "-n", str(ranks), PYTHON, EXAMPLES / "mpi_shards.py"], tmp_path))
    assert output == f"{ranks} ranks: {DIGEST}\n"


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_processes(method, tmp_path):
    output = printed(start([PYTHON, EXAMPLES / "multiprocessing_shards.py", method], tmp_path))
    assert output == f"3 processes, {method}: {DIGEST}\n"


def test_ray_tasks(ray_example):
    assert printed(ray_example) == f"3 tasks: {DIGEST}\n"
