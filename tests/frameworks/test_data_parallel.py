"""Fits shared by processes that PyTorch's gloo and MPI connect: one launch each, every case in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

JOB = Path(__file__).with_name("data_parallel_job.py")
EXAMPLES = Path(__file__).parents[2] / "examples"
BIN = Path(sys.executable).parent
LAUNCHES = {"torch2": ("torch", 2), "torch4": ("torch", 4), "mpi2": ("mpi", 2), "mpi3": ("mpi", 3)}
TIMEOUT = 120
#: Errors relative to the largest parameter: some hundred roundings.
TOLERANCE = {"f4": 1e-5, "f8": 1e-12}


def launch(kind, size, *program):
    """Run a program in so many processes; give what they print."""
    command = {
        "torch": [BIN / "torchrun", "--standalone", f"--nproc-per-node={size}"],
        "mpi": [BIN / "mpiexec", "-n", str(size), sys.executable],
        "alone": [sys.executable],
    }[kind]
    done = subprocess.run(
        [*map(str, command), *map(str, program)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Outcomes:
    """What every process of a launch ended with."""

    def __init__(self, directory, kind="alone", size=1):
        self.directory, self.kind, self.size = directory, kind, size
        launch(kind, size, JOB, kind, directory)

    def parameters(self, case, rank=0):
        return np.load(self.directory / f"{case}.{rank}.npy")

    def outcome(self, case, rank=0):
        return json.loads((self.directory / f"{case}.{rank}.json").read_text())

    def all_alike(self, case):
        """Parameters, the same bits in every process."""
        first = self.parameters(case)
        for rank in range(1, self.size):
            assert self.parameters(case, rank).tobytes() == first.tobytes()
        return first


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    return Outcomes(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="session", params=LAUNCHES)
def shared(request, tmp_path_factory):
    return Outcomes(tmp_path_factory.mktemp(request.param), *LAUNCHES[request.param])


FITS = [f"{name}-{dtype}" for name in ("sgd", "momentum", "adam", "adamw") for dtype in ("f4", "f8")]


@pytest.mark.parametrize("case", [*FITS, "large"])
def test_a_shared_fit_is_the_fit_of_one_process(alone, shared, case):
    got, want = shared.all_alike(case), alone.parameters(case)
    tolerance = TOLERANCE["f4" if case == "large" else case[-2:]]
    assert abs(got - want).max() < tolerance * abs(want).max()
    for rank in range(shared.size):
        assert shared.outcome(case, rank) == shared.outcome(case)
    got, want = shared.outcome(case)["rows"], alone.outcome(case)["rows"]
    assert len(got) == len(want)
    for row, expected in zip(got, want, strict=True):
        assert row == pytest.approx(expected, rel=tolerance)


def test_the_same_processes_give_the_same_bits_again(shared):
    assert shared.parameters("again").tobytes() == shared.parameters("momentum-f4").tobytes()


@pytest.mark.parametrize("case", ["diverging", "skipping"])
def test_a_fit_diverges_alike_in_all(alone, shared, case):
    assert np.isfinite(shared.all_alike(case)).all()
    want = alone.outcome(case)
    assert "became infinite" in want["divergence"]
    assert (want["skipped"] > 0) == (case == "skipping")
    for rank in range(shared.size):
        got = shared.outcome(case, rank)
        assert (got["divergence"], got["skipped"]) == (want["divergence"], want["skipped"])


def test_other_data_are_refused_by_all(shared):
    for rank in range(shared.size):
        error = shared.outcome("other data", rank)["error"]
        assert error.startswith("ValueError: every process must call fit alike: x not as in process 0 in 1")


def test_a_callback_ends_the_fit_of_all(shared):
    shared.all_alike("stopped")
    for rank in range(shared.size):
        assert len(shared.outcome("stopped", rank)["rows"]) == 2


@pytest.mark.parametrize(("case", "own"), [("callback", "IndexError"), ("interrupted", "KeyboardInterrupt")])
def test_an_end_in_one_process_is_told_to_all(shared, case, own):
    shared.all_alike(case)
    for rank in range(shared.size):
        error = shared.outcome(case, rank)["error"]
        assert error.startswith(own) if rank == 1 else "process 1 of" in error


def test_a_process_that_is_gone_ends_the_others(shared):
    if shared.kind == "mpi":
        return  # there the launcher ends all of them
    for rank in range(shared.size - 1):
        assert "RuntimeError" in shared.outcome("gone", rank)["error"]
        # Those of two epochs.
        assert shared.parameters("gone", rank).tobytes() == shared.parameters("stopped").tobytes()


@pytest.mark.parametrize(("kind", "size"), [("torch", 2), ("mpi", 3)])
def test_the_examples_find_what_one_process_finds(kind, size):
    printed = launch(kind, size, EXAMPLES / f"data_parallel_{kind}.py")
    assert f"{size} processes" in printed
    assert float(printed.split("largest difference")[1].split()[0]) < 1e-5
