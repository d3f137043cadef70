"""What the laboratory's panels show, without a browser: charts as JSON, pictures as PNG, the command."""

import io
import json
import sys

import matplotlib.image
import numpy as np
import pytest

from initcore import plot
from initcore.cli import main
from initcore.lab import Session, Settings, charts, panels

CASES = {
    "healthy": {},
    "zeros": {"init": "zeros"},
    "overflow": {"widths": "20x32", "scale": 100.0},
    "deep": {"widths": "20x8", "activation": "tanh", "init": "normal(0.01)"},
    "digits": {"data": "digits", "widths": "16"},
}
SIZE = (3.1, 2.7)


def view_of(**settings):
    """Look at an untrained network."""
    with np.errstate(all="ignore"):
        view = panels.View(Session(Settings(**settings)).network())
        _ = view.report, view.gradients
    return view


@pytest.fixture(scope="module", params=CASES)
def view(request):
    return view_of(**CASES[request.param])


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png), format="png")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_charts_are_plain_data_whatever_overflows(view, dark, backward):
    spread = view.spread(backward=backward)
    for options in (
        charts.depth(spread, view.expected(backward=backward), what="std", dark=dark),
        charts.signals(*view.signals(backward=backward), dark=dark),
    ):
        json.dumps(options, allow_nan=False)
    assert len(spread) == len(view.net.sizes) - 1


def test_the_spread_is_that_of_the_outputs():
    view = view_of(data="xor")
    found = view.spread(backward=False)
    outputs = view.net.activations(view.data.x_train[: panels.BATCH])
    np.testing.assert_allclose(found, [y.std(dtype=np.float64) for y in outputs], rtol=1e-5)
    assert view.spread(backward=True)[-1] == 1.0
    for value, (mean, std) in zip(found, view.expected(backward=False), strict=True):
        assert abs(value - mean) < 5 * std


def test_zero_and_overflow_are_marked_at_the_ends_of_the_axis():
    options = charts.depth([1.0, 0.0, np.inf], [(1.0, 0.1), None, None], what="std", dark=False)
    low, high = options["yAxis"]["min"], options["yAxis"]["max"]
    one, zero, overflow = options["series"][-1]["data"]
    assert one == 1.0
    assert zero["name"] == "0"
    assert low < zero["value"] < 1.0 < overflow["value"] < high


def test_the_cost_of_a_divergence_has_a_gap():
    session = Session(Settings(data="xor", widths="4"))
    session._rows.append(dict(session._rows[0], loss=np.nan))
    options = charts.cost(session.snapshot(), dark=False)
    assert options["series"][0]["data"] == [[0.0, pytest.approx(0.69, abs=0.5)], [1.0, None]]
    json.dumps(options, allow_nan=False)


@pytest.mark.parametrize(
    ("count", "expected"), [(10, 10), (11, 15), (16, 20), (55, 55), (99, 100), (101, 150), (9999, 10000)]
)
def test_ends_of_the_epochs(count, expected):
    assert charts._round_up(count) == expected


def test_pictures(view):
    network = panels.network(view, SIZE, dark=False, backward=False)
    gradients = panels.network(view, SIZE, dark=False, backward=True)
    answers = {dark: pixels(panels.answers(view, SIZE, dark=dark)) for dark in (False, True)}
    assert (gradients != network) or not any(g.any() for g in view.gradients.values())
    assert answers[False].shape == (round(SIZE[1] * panels.DPI), round(SIZE[0] * panels.DPI), 4)
    assert (answers[False] != answers[True]).any()
    assert len(np.unique(answers[False].reshape(-1, 4), axis=0)) > 50


def test_wrong_answers_stand_out():
    """Untrained, most are wrong: the colour for it is in the picture, with a word."""
    view = view_of(data="digits", widths="16")
    picture = pixels(panels.answers(view, SIZE, dark=False))
    vermillion = np.array([int(plot.COLORS[3][i : i + 2], 16) for i in (1, 3, 5)]) / 255
    assert (np.abs(picture[..., :3] - vermillion).max(axis=-1) < 0.02).sum() > 50


def test_the_command_without_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    assert main(["lab"]) == 2
    error = capsys.readouterr().err
    assert error == "initcore: error: the laboratory needs nicegui: pip install 'initcore[lab]'\n"


@pytest.mark.parametrize("port", ["0", "x", "65536"])
def test_the_command_with_a_wrong_port(capsys, port):
    assert main(["lab", "--port", port]) == 2
    assert "argument --port: expected an integer of at least 1, below 65536" in capsys.readouterr().err
