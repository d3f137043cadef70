"""What every Python test shares."""

import os

import pytest
from hypothesis import settings

import initcore as ic
from initcore import _core

# The same examples on every run and machine: a failure is a change, never luck.
# `--hypothesis-profile=search` looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True, database=None)
settings.register_profile("ci", settings.get_profile("default"))
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def the_instruction_set_asked_for():
    """Every test runs on that of `INITCORE_ISA`, else on the best there is, and leaves no other behind."""
    asked = os.environ.get("INITCORE_ISA") or _core.available_isas()[0]
    assert ic.get_isa() == asked
    yield
    assert ic.get_isa() == asked


def pytest_addoption(parser):
    parser.addoption(
        "--no-skips", action="store_true", help="a test that is skipped fails, unless it is marked `peers`"
    )


def _refuse_skip(report, node):
    expected = hasattr(report, "wasxfail") or node.get_closest_marker("peers")
    if report.skipped and not expected and node.config.getoption("no_skips"):
        report.outcome, report.longrepr = "failed", f"--no-skips: {report.longrepr[2]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    return _refuse_skip((yield), item)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _refuse_skip((yield), collector)
