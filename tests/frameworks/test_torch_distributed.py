"""DTensors of every placement, FSDP2, tensor and pipeline parallelism: real processes, and the bits of one.

torch_worker.py has the cases. It is started once, with four processes, of which fewer and fewer go on; here
one looks at what it wrote down.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

#: The groups of cases, how many processes they run in, and how many cases there are for each number.
GROUPS = {
    "one_dimension": {2: 9, 3: 9, 4: 9},
    "two_dimensions": {2: 40, 3: 40, 4: 20},
    "fsdp2": {2: 6, 3: 6, 4: 6},
    "fsdp2_with_tp": {4: 4},
    "hsdp": {2: 2, 4: 2},
    "whole_modules": {2: 2, 3: 2, 4: 4},
    "without_a_seed": {2: 3, 3: 3, 4: 4},
    "memory": {2: 2, 3: 2, 4: 2},
    "refusals": {2: 5, 3: 5, 4: 5},
    "outside_of_the_mesh": {3: 1},
    "pipeline": {2: 1, 3: 1, 4: 1},
}


def start(processes, script, *arguments):
    """Run a script in several processes."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*run, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torch_worker")
    start(4, HERE / "torch_worker.py", folder)
    return {world: json.loads((folder / f"{world}.json").read_text()) for world in (2, 3, 4)}


@pytest.mark.parametrize(
    ("group", "world"), [(group, world) for group, worlds in GROUPS.items() for world in worlds]
)
def test_the_parts_of_all_processes_are_the_whole_of_one(results, group, world):
    found = {case: text for case, text in results[world].items() if case.startswith(f"{group}: ")}
    assert len(found) == GROUPS[group][world], list(found)
    wrong = {case: text for case, text in found.items() if text}
    assert not wrong, "\n\n".join(f"{case}\n{text}" for case, text in wrong.items())


def test_every_case_has_a_group(results):
    assert {case.split(":")[0] for found in results.values() for case in found} == set(GROUPS)


def test_the_example_fills_a_split_model_as_one_process_does():
    printed = start(2, HERE.parents[1] / "examples" / "fsdp2.py")
    together, alone = re.findall(r"^(?:together|alone): +([0-9a-f]{64})$", printed, re.MULTILINE)
    assert together == alone
    # golden: no release may change it
    assert together == "fb7eb583089a715d1d3d6bb2fc759c2dd532185dc68ff603167dcba2c2bd84e6"
    filled = [int(n) for n in re.findall(r"filled (\d+) of 260319 values", printed)]
    assert len(filled) == 2
    assert sum(filled) == 260319
