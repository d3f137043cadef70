"""How often verdicts are right, on a smaller scale than tools/diagnosis_calibration.py, with fixed seeds.

At the full scale, none of 400 sound networks had a false alarm, and 398 of 400 sick ones had their verdict.
With rates of 1 % each, the 40 and 48 networks here would fail the first two tests with probabilities of 2e-7
and 3e-8.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import initcore as ic

_path = Path(__file__).parents[1] / "tools" / "diagnosis_calibration.py"
_spec = importlib.util.spec_from_file_location("diagnosis_calibration", _path)
calibration = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(calibration)


def verdicts(make, count):
    rng = np.random.default_rng(1)
    for _ in range(count):
        expected, net, x, t = make(rng)
        yield expected, ic.diagnose(net, x, t if rng.random() < 0.5 else None).verdict


def test_sound_networks_are_healthy():
    assert sum(expected != found for expected, found in verdicts(calibration.sound, 40)) <= 6


def test_sick_networks_are_found_out():
    found = [pair for make in calibration.SICK for pair in verdicts(make, 6)]
    assert sum(expected != verdict for expected, verdict in found) <= 7


@pytest.mark.parametrize("make", calibration.SICK, ids=lambda make: make.__name__)
def test_each_kind_of_sickness_is_known(make):
    found = list(verdicts(make, 6))
    assert sum(expected == verdict for expected, verdict in found) >= 4
