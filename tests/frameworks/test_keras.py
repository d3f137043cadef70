"""`initcore.keras` on two backends: the same laws, the same refusals, the same bytes.

Keras reads its backend when it is imported, so each runs `keras_cases.py` in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BACKENDS = ["jax", "torch"]
CASES = Path(__file__).with_name("keras_cases.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run the cases on all backends at a time."""
    folder = tmp_path_factory.mktemp("keras")
    running = {}
    for backend in BACKENDS:
        environment = os.environ | {
            "KERAS_BACKEND": backend,
            "INITCORE_DIGESTS": str(folder / f"{backend}.json"),
            "KERAS_HOME": str(folder),
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        }
        running[backend] = subprocess.Popen(
            [sys.executable, "-m", "pytest", str(CASES), "-q", "-p", "no:cacheprovider"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    results = {}
    try:
        for backend, process in running.items():
            output, _ = process.communicate(timeout=240)
            results[backend] = process.returncode, output, folder / f"{backend}.json"
    finally:
        for process in running.values():
            process.kill()
    return results


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_cases_pass(runs, backend):
    status, output, _ = runs[backend]
    assert status == 0, output


def test_backends_have_the_same_bytes(runs):
    one, two = (json.loads(runs[backend][2].read_text()) for backend in BACKENDS)
    assert len(one) > 40
    assert one == two


def test_without_keras_the_error_says_what_to_install(tmp_path):
    (tmp_path / "keras.py").write_text("raise ImportError('no Keras here')")
    done = subprocess.run(
        [sys.executable, "-c", "import initcore; initcore.keras"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "initcore.keras needs Keras: pip install 'initcore[keras]'" in done.stderr
