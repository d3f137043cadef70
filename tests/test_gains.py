"""Gains and the Gaussian moments under them: against 30 digits, and of functions that are not smooth."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import initcore as ic
from initcore import _core
from initcore.activations import Activation, as_activation
from initcore.gains import gain
from initcore.moments import first_moment, second_moment, second_moment_and_rate, slope_moment
from initcore.quadrature import NODES, differentiation_matrix
from nn_helpers import ACTIVATIONS, FUNCTIONS

VECTORS = [
    (name, float(q), [float(m) for m in moments])
    for name, q, *moments in json.loads(
        (Path(__file__).parent / "vectors" / "moments_v1.json").read_text(encoding="utf-8")
    )
]


def moments(function, q):
    """E[f], E[f^2] and E[f'^2] under N(0, q)."""
    f, q = as_activation(function), np.array([q])
    return [float(moment(f, q)[0]) for moment in (first_moment, second_moment, slope_moment)]


def test_vectors_hold_every_activation():
    assert {name.partition("(")[0] for name, *_ in VECTORS} == set(ACTIVATIONS)


@pytest.mark.parametrize(("name", "q", "expected"), VECTORS)
def test_moments_of_built_in_activations(name, q, expected):
    mean, square, slope = moments(name, q)
    # A mean may be the difference of two halves: as good as they are.
    assert mean == pytest.approx(expected[0], rel=1e-12, abs=1e-14 * math.sqrt(expected[1]))
    assert [square, slope] == pytest.approx(expected[1:], rel=1e-13)
    if q == 1:
        assert gain(name) == pytest.approx(1 / math.sqrt(expected[1]), rel=1e-13)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_function_is_as_good_as_the_built_in(name):
    """Slopes come from values alone, and kinks are found without help."""
    function, derivative = FUNCTIONS[name]
    assert moments(function, 1.7) == pytest.approx(moments(name, 1.7), rel=1e-11, abs=1e-13)
    assert moments(Activation(function, derivative), 1.7) == pytest.approx(
        moments(name, 1.7), rel=1e-12, abs=1e-14
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_rate_of_the_second_moment(name):
    """Against Gauss-Legendre's nodes in log q: exact differentiation of a polynomial of degree 21."""
    f = as_activation(name)
    for center in (1e-3, 0.7, 30.0):
        log_q = 0.2 * NODES
        square, rate = second_moment_and_rate(f, center * np.exp(log_q))
        slope = differentiation_matrix(NODES) @ square / 0.2 / (center * np.exp(log_q))
        np.testing.assert_allclose(rate[5:-5], slope[5:-5], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("erf", [math.erf, special.erf])
def test_erf_in_closed_form(erf):
    f, q = Activation(erf), 10.0 ** np.arange(-8, 9)
    square, rate = second_moment_and_rate(f, q)
    np.testing.assert_allclose(square, 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)), rtol=1e-11)
    np.testing.assert_allclose(second_moment(f, q), square, rtol=1e-13)
    np.testing.assert_allclose(slope_moment(f, q), 4 / np.pi / np.sqrt(1 + 4 * q), rtol=1e-12)
    np.testing.assert_allclose(rate, 4 / np.pi / ((1 + 2 * q) * np.sqrt(1 + 4 * q)), rtol=1e-11)


@settings(max_examples=40)
@given(st.floats(-3, 3), st.floats(0.3, 3), st.floats(0.01, 100))
def test_kinks_and_jumps_anywhere(a, width, q):
    b, std = a + width, math.sqrt(q)
    inside = special.ndtr(b / std) - special.ndtr(a / std)
    _, _, slope = moments(lambda u: np.clip(u, a, b), q)
    assert slope == pytest.approx(inside, abs=1e-11)
    mean, square, slope = moments(lambda u: (u > a) & (u <= b), q)
    assert [mean, square] == pytest.approx([inside, inside], abs=1e-12)
    assert slope == (math.inf if inside > 1e-6 else pytest.approx(0, abs=math.inf))


@pytest.mark.parametrize("step", [np.sign, np.heaviside, lambda u: math.copysign(1, u - 0.3)])
def test_jumps(step):
    function = (lambda u: step(u, 0.5)) if step is np.heaviside else step
    _, square, slope = moments(function, 2.0)
    assert square == pytest.approx(0.5 if step is np.heaviside else 1, rel=1e-13)
    assert slope == math.inf


@pytest.mark.parametrize("power", [1, 2, 3, 4])
def test_growth_costs_nothing(power):
    """E[z^2n] = (2n - 1)!!"""
    _, square, slope = moments(lambda u: u**power, 1.0)
    odd = [math.prod(range(1, 2 * n, 2)) for n in range(9)]
    assert [square, slope] == pytest.approx([odd[power], power**2 * odd[power - 1]], rel=1e-13)


def test_splits_are_found_or_given():
    def steps(u):
        return np.floor(3 * u)

    expected = sum(k * k * (special.ndtr((k + 1) / 3) - special.ndtr(k / 3)) for k in range(-60, 60))
    for f in (Activation(steps), Activation(steps, splits=np.arange(-60, 60) / 3)):
        assert second_moment(f, np.ones(1))[0] == pytest.approx(expected, rel=1e-12)


@given(st.floats(0.1, 10), st.sampled_from(ACTIVATIONS))
def test_gain_scales(scale, name):
    f = as_activation(name)
    assert gain(lambda u: scale * f.value(u)) == pytest.approx(gain(name) / scale, rel=1e-12)


def test_known_gains():
    assert gain("tanh") == pytest.approx(1.5925374197228312, rel=1e-14)
    assert gain("relu") == pytest.approx(math.sqrt(2), rel=1e-14)
    assert gain("selu") == pytest.approx(1, rel=1e-14)
    assert gain("leaky_relu(0.2)") == gain("leaky_relu(negative_slope=0.2)")
    assert gain("leaky_relu(0.2)") == pytest.approx(math.sqrt(2 / 1.04), rel=1e-14)
    assert gain(lambda u: max(u, 0.0)) == pytest.approx(math.sqrt(2), rel=1e-13)


def test_pytorch_gains():
    table = {
        "linear": 1,
        "identity": 1,
        "conv1d": 1,
        "conv_transpose3d": 1,
        "sigmoid": 1,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / 1.0001),
        "leaky_relu(0.2)": math.sqrt(2 / 1.04),
        "leaky_relu(negative_slope=0.2)": math.sqrt(2 / 1.04),
        "selu": 0.75,
    }
    assert {name: gain(name, "torch") for name in table} == table


@pytest.mark.peers
def test_functions_of_pytorch():
    torch = pytest.importorskip("torch")
    for name, function in [
        ("tanh", torch.tanh),
        ("gelu", torch.nn.GELU()),
        ("silu", torch.nn.functional.silu),
    ]:
        assert ic.gain(function) == pytest.approx(ic.gain(name), rel=1e-12)
        assert ic.theory.chi(function, 0.7, 2.0) == pytest.approx(ic.theory.chi(name, 0.7, 2.0), rel=1e-10)


@pytest.mark.peers
def test_pytorch_gains_beside_pytorch():
    init = pytest.importorskip("torch.nn.init")
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert gain(name, "torch") == init.calculate_gain(name)
    assert gain("leaky_relu(0.3)", "torch") == init.calculate_gain("leaky_relu", 0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such"], 'unknown activation "no_such"; known are linear, relu'),
        (["relu", "keras"], "convention must be 'exact' or 'torch', got 'keras'"),
        (["gelu", "torch"], "unknown gain .* 'gelu': expected one of linear, identity, conv1d"),
        (["relu(0.1)", "torch"], "wrong arguments"),
        ([np.tanh, "torch"], "names only"),
        ([np.zeros_like], "zero wherever"),
        ([lambda u: np.exp(u * u)], "grows too fast"),
        ([lambda u: np.exp(u**4)], "is inf at"),
        ([np.sqrt], "sqrt is nan at -2.5"),
        ([lambda u: 1 / u], "is inf at 0"),
        ([lambda u: np.exp(u) / np.exp(u).sum()], "not elementwise"),
        ([lambda u: u - np.mean(u)], "not elementwise"),
        ([lambda u: np.random.default_rng().normal(size=np.shape(u))], "not elementwise, or is random"),
        ([lambda u: np.tanh(u).astype(np.float32)], "float64, got float32"),
        ([lambda u: np.tanh(u).astype(np.float32).astype(float)], "cannot be resolved .*less than float64"),
        ([lambda u: u + 0j], "float64, got complex128"),
        ([lambda u: "text"], "one real number for each"),
        ([lambda u: None], "<lambda> is nan at -2.5"),
        ([lambda u: [1.0, 2.0]], "one real number for each"),
        ([lambda: 0.0], "one real number for each"),
        ([lambda u: np.abs(u + 1e-9) ** -0.5 if u else 1.0], "cannot be integrated|grows too fast|overflows"),
    ],
)
def test_bad_functions(arguments, message):
    with pytest.raises(ValueError, match=message):
        gain(*arguments)


def test_not_a_function():
    with pytest.raises(TypeError, match="a name or a function, got 3"):
        gain(3)
    with pytest.raises(ValueError, match="has its own derivative"):
        Activation("relu", np.sign)


def test_slopes_in_the_core():
    """The binding: any parameter, any number of elements."""
    z = np.linspace(-3, 3, 20001)
    for name in ACTIVATIONS:
        value, slope = _core.activation(name, z)
        function, derivative = FUNCTIONS[name]
        np.testing.assert_allclose(value, function(z), rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(slope, derivative(z), rtol=1e-12, atol=1e-15)
    value, slope = _core.activation("leaky_relu(0.2)", np.array([-1.0, 2.0]))
    assert value.tolist() == [-0.2, 2.0]
    assert slope.tolist() == [0.2, 1.0]
    assert _core.activation("relu", np.zeros(0))[0].shape == (0,)
    for wrong in (z[::2], z.astype(np.float32), z[None], [1.0]):
        with pytest.raises((TypeError, ValueError)):
            _core.activation("relu", wrong)
