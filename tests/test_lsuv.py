"""LSUV: each layer's output has the variance that was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import initcore as ic


def variances_before_activations(net, x):
    """Variance of each layer's output before its activation, by NumPy and the core's activations."""
    found = []
    for i, activation in enumerate(net.layer_activations()):
        w = net.parameters()[f"layers.{i}.weight"]
        b = net.parameters()[f"layers.{i}.bias"]
        found.append((x @ w + b).var())
        x, _ = ic.dense_forward(x, w, b, activation)
    return np.array(found)


@settings(max_examples=20)
@given(
    st.sampled_from(["relu", "tanh", "gelu", "sigmoid", "selu"]),
    st.sampled_from(["orthogonal", "normal(0.01)", "normal(5)", "he_uniform"]),
    st.sampled_from(["float32", "float64"]),
    st.floats(0.1, 10.0),
)
def test_each_layer_gets_the_variance(activation, init, dtype, variance):
    net = ic.MLP([20, 60, 30, 5], activation=activation, init=init, seed=0, dtype=dtype)
    x = ic.normal((300, 20), seed=1, dtype=dtype)
    steps = ic.lsuv(net, x, variance=variance)
    assert [step.layer for step in steps] == [0, 2, 4]
    assert all(step.converged for step in steps)
    np.testing.assert_allclose(variances_before_activations(net, x), variance, rtol=0.01)
    np.testing.assert_allclose(
        [step.after for step in steps], variances_before_activations(net, x), rtol=1e-4
    )


def test_weights_may_have_sixteen_bits():
    w = ic.normal((20, 30), seed=0, dtype="bfloat16")
    (step,) = ic.lsuv([(w, lambda x: x @ w.astype(np.float32))], ic.normal((300, 20), seed=1), tolerance=0.02)
    assert step.converged
    assert w.dtype.name == "bfloat16"


def test_weights_keep_their_direction():
    net = ic.MLP([20, 60, 5], init="orthogonal", seed=0, dtype="float64")
    before = net.parameters()
    for i, step in enumerate(ic.lsuv(net, ic.normal((300, 20), seed=1, dtype="float64"))):
        name = f"layers.{i}.weight"
        np.testing.assert_allclose(net.parameters()[name], step.scale * before[name], rtol=1e-14)
        assert step.before * step.scale**2 == pytest.approx(step.after)


def test_layers_of_ones_own():
    """Anything that has a weight: here a product, a cube, and a weight that enters squared."""
    w = [ic.normal((8, 8), seed=0, name=f"{i}", dtype="float64") for i in range(3)]
    layers = [
        (w[0], lambda x: x @ w[0]),
        (None, lambda x: x**3),
        (w[1], lambda x: x @ (w[1] @ w[1])),
        (w[2], lambda x: x @ w[2] + 3 * np.tanh(x @ w[2])),
    ]
    x = ic.normal((500, 8), seed=1, dtype="float64")
    steps = ic.lsuv(layers, x, variance=4.0, tolerance=0.001, max_iterations=50)
    assert [step.layer for step in steps] == [0, 2, 3]
    assert steps[0].iterations == 1
    for weight, function in layers:
        x = function(x)
        if weight is not None:
            assert x.var() == pytest.approx(4.0, rel=0.001)


def test_what_does_not_converge_is_said():
    w = np.ones((1, 1))
    x = np.linspace(-1, 1, 50)
    (step,) = ic.lsuv([(w, lambda x: x + np.tanh(x * w[0, 0]))], x, max_iterations=3, variance=9.0)
    assert not step.converged
    assert step.iterations == 3
    assert step.scale == w[0, 0] > 1
    assert step.after == pytest.approx((x + np.tanh(x * w[0, 0])).var())


def test_the_nearest_scale_is_kept():
    """A layer whose output is largest at a scale of 1.3, and never as large as asked."""
    w = np.ones(1)
    x = np.array([-1.0, 1.0])
    (step,) = ic.lsuv([(w, lambda x: x * w * np.exp(-((w / 1.3) ** 2) / 2))], x, variance=4.0, tolerance=1e-6)
    assert not step.converged
    assert step.after >= step.before
    assert w[0] == step.scale


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([(np.zeros((3, 3)), lambda x: x @ np.zeros((3, 3)))], ValueError, "layer 0 has variance 0.0"),
        ([(None, np.tanh), (np.ones(3), lambda x: x * np.inf)], ValueError, "layer 1 has variance"),
        ([([[1.0]], np.tanh)], TypeError, "layer 0 must be an array of floats"),
        ([(np.ones(3, int), np.tanh)], TypeError, "layer 0 must be an array of floats"),
    ],
    ids=range(4),
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_layers_are_refused(layers, error, message):
    with pytest.raises(error, match=message):
        ic.lsuv(layers, np.ones((5, 3)) * np.arange(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variance": 0}, "variance must be"),
        ({"tolerance": -1}, "tolerance"),
        ({"max_iterations": 0}, "max_iter"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ic.lsuv(ic.MLP([3, 2], seed=0), np.eye(3), **options)
