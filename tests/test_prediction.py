"""Predictions of signals and gradients, beside a few hundred networks each.

A mean of N networks may be off by 6.5 standard errors, a standard deviation too (each a false alarm in 1e10;
seeds are fixed), and beyond that by what the theory itself leaves out, as stated with each check.
"""

import doctest
import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

import initcore as ic
from initcore import _core, plot, theory

SIGMAS = 6.5
FORWARD, BACKWARD = ("z", "y", "slope"), ("dz", "dw")


def measure(net, x, noise):
    """What a `Prediction` predicts, in one network, for one input x: (1, inputs), and dL/dz at the output."""
    ys = [x, *net.activations(x)]
    _, grads = net.loss_and_grad(x, ys[-1] - noise, loss="mse")  # its dL/dz is the noise, but for a factor
    parameters = net.parameters()
    found = {name: [] for name in (*FORWARD, *BACKWARD)}
    for i, activation in enumerate(net.layer_activations()):
        z = ic.dense_forward(ys[i], parameters[f"layers.{i}.weight"], parameters[f"layers.{i}.bias"])[0]
        _, slope = _core.activation(activation, z.ravel())
        gradients = grads[f"layers.{i}.bias"], grads[f"layers.{i}.weight"]  # of one input: dL/db is dL/dz
        for name, values in zip(found, (z, ys[i + 1], slope, *gradients), strict=True):
            found[name].append(np.mean(values**2))
    for name in BACKWARD:
        found[name] = np.array(found[name]) / found[name][-1]
    return found


def measure_many(sizes, activation, init, bias_std, networks):
    """``{quantity: (networks, layers)}``, for one input of mean square 1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, sizes[0]))
    x /= np.sqrt(np.mean(x**2))
    found = []
    for seed in range(networks):
        net = ic.MLP(sizes, activation=activation, init=init, seed=seed, dtype="float64")
        shapes = {name: value.shape for name, value in net.parameters().items()}
        if bias_std:
            net.set_parameters({k: rng.normal(0, bias_std, s) for k, s in shapes.items() if "bias" in k})
        found.append(measure(net, x, rng.normal(size=(1, sizes[-1]))))
    return {name: np.array([f[name] for f in found]) for name in found[0]}


DEEP = [64, *[64] * 8, 16]


@pytest.mark.parametrize(
    ("sizes", "activation", "init", "bias_std"),
    [
        (DEEP, "relu", "he_normal", 0.0),
        ([48, *[32] * 20, 10], "relu", "he_normal", 0.0),
        ([48, *[32] * 20, 10], "tanh", "xavier_normal", 0.0),
        ([512] * 4, "relu", "he_normal", 0.0),
        (DEEP, "tanh", "xavier_uniform", 0.0),
        (DEEP, "tanh", "normal(0.3)", 0.2),  # chaotic
        ([64, 128, 32, 96, 64], "gelu", "he_normal", 0.3),
        ([64, 96, 128, 64], "silu", "he_normal", 0.0),
        (DEEP, "selu", "lecun_normal", 0.0),
        (DEEP, "leaky_relu(0.2)", "he_uniform", 0.0),
        (DEEP, "sigmoid", "xavier_normal", 0.0),
        (DEEP, "linear", "lecun_normal", 0.0),
        (DEEP, "gelu", "normal(0.01)", 0.0),  # vanishes
        ([64] * 7, "tanh", "orthogonal", 0.0),
        ([64, *[64] * 5, 64], "relu", "orthogonal", 0.0),
        ([64, 96, 48, 64], "gelu", "orthogonal", 0.2),
    ],
)
def test_networks_are_as_predicted(sizes, activation, init, bias_std):
    networks = 60 if max(sizes) > 500 else 200
    measured = measure_many(sizes, activation, init, bias_std, networks)
    predicted = theory.predict(sizes, activation=activation, init=init, bias_std=bias_std)
    for name, values in measured.items():
        expected = getattr(predicted, name)
        relative = expected.std / expected.mean
        exact = (
            relative < 1e-6
        )  # slopes of linear layers and of those where next to nothing arrives; rotations
        for layer in np.flatnonzero(exact):
            np.testing.assert_allclose(values[:, layer], expected.mean[layer], rtol=1e-5)
        # Means: the theory leaves out 1/width^2. Samples tell nothing of the mean where the tail is heavy.
        light = ~exact & (relative < 0.8)
        off = np.abs(values.mean(axis=0) / expected.mean - 1)
        allowed = SIGMAS * np.maximum(relative, values.std(axis=0) / expected.mean) / math.sqrt(networks)
        assert (off < allowed + (0.01 if name in FORWARD else 0.03))[light].all(), name
        # Standard deviations, of the logarithms: the theory has them to 20%.
        logs = np.log(values[:, ~exact])
        logs = logs - logs.mean(axis=0)
        kurtosis = (logs**4).mean(axis=0) / (logs**2).mean(axis=0) ** 2
        spread = logs.std(axis=0) / np.sqrt(np.log1p(relative[~exact] ** 2))
        allowed = math.log(1.2) + SIGMAS * np.sqrt((kurtosis - 1) / (4 * networks))
        assert (np.abs(np.log(spread)) < allowed).all(), name


def test_a_batch_scatters_no_more_than_a_single_input():
    networks, sizes = 150, [64, *[48] * 6, 32]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, sizes[0]))
    x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    found = {"y": [], "dw": []}
    for seed in range(networks):
        net = ic.MLP(sizes, activation="relu", init="he_normal", seed=seed, dtype="float64")
        ys = net.activations(x)
        _, grads = net.loss_and_grad(x, ys[-1] - rng.normal(size=ys[-1].shape), loss="mse")
        found["y"].append([np.mean(y**2) for y in ys])
        found["dw"].append([np.mean(grads[f"layers.{i}.weight"] ** 2) for i in range(len(ys))])
    predicted = theory.predict(sizes, x)
    y, dw = np.array(found["y"]), np.array(found["dw"])
    spread = y.std(axis=0) / predicted.y.std
    slack = 1 + SIGMAS / math.sqrt(2 * networks)
    assert (spread < slack).all()
    assert spread[0] < 0.5  # inputs that differ average out at first, and become alike in deeper layers
    assert spread[-1] > spread[0]
    np.testing.assert_array_less(
        np.abs(y.mean(axis=0) / predicted.y.mean - 1),
        SIGMAS * predicted.y.std / predicted.y.mean / math.sqrt(networks),
    )
    ratio = dw / dw[:, -1:]
    assert (ratio.std(axis=0)[:-1] < slack * predicted.dw.std[:-1]).all()


def test_inputs_of_different_lengths():
    sizes = [64, 2000, 2000, 10]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 64)) * np.exp(rng.normal(0, 0.4, size=(300, 1)))
    net = ic.MLP(sizes, activation="tanh", init="lecun_normal", seed=0, dtype="float64")
    measured = np.array([np.mean(y**2) for y in net.activations(x)[:2]])
    by_length = theory.predict(net, x).y.mean[:2]
    by_mean = theory.predict(net, np.mean(x**2)).y.mean[:2]
    np.testing.assert_allclose(by_length, measured, rtol=0.03)
    assert (np.abs(by_mean / measured - 1) > 0.04).all()  # what one length for all would give


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sigmoid"])
def test_infinite_width_is_the_mean_field_theory(activation):
    n, w, b, q = 10**10, 1.7, 0.04, 0.7
    p = theory.predict([n] * 7, q, activation=activation, init=ic.VarianceScaling(w), bias_std=0.2)
    length = [w * q + b]
    for _ in range(5):
        length.append(theory.length_map(activation, length[-1], w, b))
    np.testing.assert_allclose(p.z.mean, length, rtol=1e-6)
    np.testing.assert_allclose(p.y.mean[:-1], (np.array(length)[1:] - b) / w, rtol=1e-6)
    chi = theory.chi(activation, np.array(length[:-1]), w)
    np.testing.assert_allclose(p.slope.mean[:-1] * w, chi, rtol=1e-6)
    np.testing.assert_allclose(p.dz.mean, np.append(np.cumprod(chi[::-1])[::-1], 1), rtol=1e-5)
    assert all((getattr(p, name).std <= 1e-3 * getattr(p, name).mean).all() for name in (*FORWARD, *BACKWARD))


@pytest.mark.parametrize(
    ("activation", "init", "noise", "both"), [("relu", "he_normal", 5, 1), ("linear", "lecun_normal", 2, 0)]
)
def test_closed_forms_of_products(activation, init, noise, both):
    """E[f^4] / E[f^2]^2 is 6 for relu and 3 for linear layers; means stay, in any finite width.

    E[f^2 f'^2] / (E[f^2] E[f'^2]) is 2 for relu, 1 for linear layers. The mean square of dL/dW has dL/dz of
    its layer in it, and in the denominator the noises of the signal from there to the last layer.
    """
    n, depth = 8, 30
    p = theory.predict([n] * (depth + 1), activation=activation, output_activation=activation, init=init)
    layer = np.arange(1, depth + 1)
    np.testing.assert_allclose(p.y.mean, 1, rtol=1e-12)
    np.testing.assert_allclose((p.y.std / p.y.mean) ** 2, (1 + noise / n) ** layer - 1, rtol=1e-10)
    np.testing.assert_allclose(p.dz.mean, 1, rtol=1e-12)
    np.testing.assert_allclose(
        (p.dz.std / p.dz.mean) ** 2, (1 + noise / n) ** (depth - layer) - 1, rtol=1e-10
    )
    per_layer = (1 + noise / n) ** 2 / (1 + both / n) ** 2
    np.testing.assert_allclose((p.dw.std / p.dw.mean) ** 2, per_layer ** (depth - layer) - 1, rtol=1e-10)


def test_gradients_come_back_through_the_weights_that_made_the_signal():
    """In narrow deep networks that matters: weights drawn anew for the way back give a fifth less."""
    rng = np.random.default_rng(0)
    n, depth, networks = 16, 20, 400
    found = []
    for seed in range(networks):
        x = rng.normal(size=n)
        signal = x / np.sqrt(np.mean(x**2))
        weights = [ic.orthogonal((n, n), seed=seed, name=f"{i}", dtype="float64") for i in range(depth)]
        slopes = []
        for w in weights[:-1]:
            signal = np.tanh(signal @ w)
            slopes.append(1 - signal**2)
        gradients = rng.normal(size=(100, n))
        start = np.mean(gradients**2)
        for w, slope in zip(weights[:0:-1], slopes[::-1], strict=True):
            gradients = gradients @ w.T * slope
        found.append(np.mean(gradients**2) / start)
    predicted = theory.predict([n] * (depth + 1), activation="tanh", init="orthogonal").dz.mean[0]
    assert abs(np.mean(found) / predicted - 1) < 0.03 + SIGMAS * np.std(found) / predicted / math.sqrt(
        networks
    )
    assert SIGMAS * np.std(found) / predicted / math.sqrt(networks) < 0.13


def test_rotations_keep_lengths():
    p = theory.predict([32, 32, 64, 64], activation="linear", init="orthogonal")
    np.testing.assert_allclose(p.z.mean, [1, 0.5, 0.5], rtol=1e-9)
    np.testing.assert_allclose(p.z.std, 0, atol=1e-7)
    # A projection of 64 numbers to 16 has a length with the Beta law.
    p = theory.predict([64, 16], activation="linear", init="orthogonal")
    beta = stats.beta(8, 24)
    np.testing.assert_allclose(p.z.std / p.z.mean, beta.std() / beta.mean(), rtol=0.02)


def test_a_function_is_as_good_as_a_name():
    sizes = [20, 30, 40, 5]
    named = theory.predict(sizes, activation="tanh", init="xavier_normal")
    given = theory.predict(
        sizes, activation=[np.tanh, lambda u: 1 - 2 / (1 + np.exp(2 * u))], init=["xavier_normal"] * 3
    )
    for name in (*FORWARD, *BACKWARD):
        a, b = getattr(named, name), getattr(given, name)
        np.testing.assert_allclose(a.mean, b.mean, rtol=1e-9)
        np.testing.assert_allclose(a.std, b.std, rtol=1e-6, atol=1e-12)
    assert given.activations == ("tanh", "<lambda>", "linear")


def test_a_network_describes_itself():
    net = ic.MLP(
        [20, 30, 40, 5],
        activation=["gelu", "tanh"],
        output_activation="sigmoid",
        init="xavier_uniform",
        seed=0,
    )
    own = theory.predict(net, 0.5)
    listed = theory.predict(
        net.sizes, 0.5, activation=("gelu", "tanh"), output_activation="sigmoid", init="xavier_uniform"
    )
    assert str(own) == str(listed)
    net.set_parameters(
        {name: 2 * w for name, w in net.parameters().items()} | {"layers.1.bias": np.full(40, 0.5)}
    )
    changed = theory.predict(net, 0.5, actual=True)
    np.testing.assert_allclose(changed.z.mean[0], 4 * own.z.mean[0], rtol=0.1)
    w = net.parameters()["layers.1.weight"]
    np.testing.assert_allclose(changed.z.mean[1], 30 * np.mean(w**2) * changed.y.mean[0] + 0.25, rtol=1e-6)


def test_signals_that_vanish_and_explode():
    dead = theory.predict([9, 8, 7, 6], init="zeros")
    for name in ("z", "y"):
        assert (getattr(dead, name).mean == 0).all()
        assert (getattr(dead, name).std == 0).all()
    assert dead.dz.mean.tolist() == [0, 0, 1]
    half = theory.predict([9, 8, 6], activation="sigmoid", init="zeros")
    np.testing.assert_allclose(half.y.mean, [0.25, 0.0], rtol=1e-12)
    assert (theory.predict([9, 8, 6], 0.0).y.mean == 0).all()

    n, depth = 10, 60
    up = theory.predict([n] * (depth + 1), init="normal(1e3)")
    assert up.z.mean[-1] == np.inf
    finite = np.isfinite(up.z.mean)
    per_layer = 1e6 * n / 2
    np.testing.assert_allclose(np.diff(np.log(up.z.mean[finite])), math.log(per_layer), rtol=1e-9)
    down = theory.predict([n] * 51, init="normal(1e-9)")
    assert down.z.mean[-1] == 0
    assert 0 < down.z.mean[5] < 1e-80
    saturated = theory.predict([n] * 4, activation="tanh", init="normal(1e60)")
    np.testing.assert_allclose(saturated.y.mean[:2], 1, rtol=1e-12)


def test_intervals_are_quantiles_of_the_log_normal_law():
    e = theory.Estimate(np.array([2.0, 0.0]), np.array([3.0, 0.0]))
    low, high = e.interval(1.5)
    s = math.sqrt(math.log1p(2.25))
    law = stats.lognorm(s, scale=2 * math.exp(-s * s / 2))
    np.testing.assert_allclose(law.std(), 3)
    np.testing.assert_allclose([low[0], high[0]], law.ppf(stats.norm.cdf([-1.5, 1.5])))
    assert (low[1], high[1]) == (0, 0)


def test_the_table():
    lines = str(theory.predict([784, 100, 10])).splitlines()
    assert lines[0].split() == ["layer", "width", "activation", "z", "y", "slope", "dz", "dw"]
    assert lines[1].split()[:6] == ["0", "100", "relu", "2", "±", "0.3"]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: theory.predict([5]), ValueError, "one layer at least"),
        (lambda: theory.predict([5, 0]), ValueError, "each of sizes"),
        (lambda: theory.predict([5, 4], -1.0), ValueError, "mean square of the inputs"),
        (lambda: theory.predict([5, 4], np.ones((3, 4))), ValueError, r"\(batch, 5\)"),
        (lambda: theory.predict([5, 4], np.ones(5)), ValueError, "rows, columns"),
        (lambda: theory.predict([5, 4], [[np.nan] * 5]), ValueError, "finite"),
        (lambda: theory.predict([5, 4], init="ones"), ValueError, "mean 0"),
        (lambda: theory.predict([5, 4], init="uniform"), ValueError, "mean 0"),
        (lambda: theory.predict([5, 4], init="truncated_normal(low=0)"), ValueError, "mean 0"),
        (lambda: theory.predict([5, 4], init=ic.TruncatedNormal(2, 1, -3, 1)), ValueError, "mean 0"),
        (
            lambda: theory.predict([5, 4], init=ic.TruncatedNormal(5, 1, -math.inf, math.inf)),
            ValueError,
            "mean 0",
        ),
        (lambda: theory.predict([5, 4], init="identity"), ValueError, "random weights"),
        (lambda: theory.predict([5, 4], bias_std=-1), ValueError, "bias_std"),
        (lambda: theory.predict([5, 4, 3], activation=["relu", "relu"]), ValueError, "2 entries, expected 1"),
        (lambda: theory.predict([5, 4, 3], activation="rulu"), ValueError, "rulu"),
        (lambda: theory.predict(ic.MLP([5, 4]), init="zeros"), TypeError, "its own init"),
        (lambda: theory.predict([5, 4], actual=True), TypeError, "MLP"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_the_page_shows():
    """The examples of docs/theory.md print what stands there."""
    page = (Path(__file__).parents[1] / "docs" / "theory.md").read_text()
    names, runner = {}, doctest.DocTestRunner()
    fences = re.findall(r"```pycon\n(.*?)```", page, re.DOTALL)
    assert len(fences) >= 5
    for i, fence in enumerate(fences):
        test = doctest.DocTestParser().get_doctest(fence, names, f"fence {i}", "theory.md", 0)
        runner.run(test, clear_globs=False)
        names = test.globs
    assert runner.failures == 0


def test_the_picture_of_depth():
    p = theory.predict([50] * 9, activation="relu")
    ax = Figure().subplots()
    networks = np.ones((3, 8))
    assert plot.variance_with_depth({"a": p, "b": p}, {"a": networks}, ax, quantity="dz") is ax
    line, *points = ax.lines[:4]
    np.testing.assert_array_equal(line.get_ydata(), p.dz.mean)
    assert [len(point.get_ydata()) for point in points] == [8] * 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert len(ax.collections) == 2  # the bands
    dead = plot.variance_with_depth(theory.predict([5, 4, 3], init="zeros"), ax=Figure().subplots())
    assert dead.lines[0].get_ydata().size == 0
    with pytest.raises(TypeError, match=r"expected a Prediction, as theory\.predict gives, got list"):
        plot.variance_with_depth([50, 50], ax=Figure().subplots())
    with pytest.raises(ValueError, match="of 8 layers"):
        plot.variance_with_depth(p, np.ones(7), Figure().subplots())
    with pytest.raises(ValueError, match="quantity"):
        plot.variance_with_depth(p, ax=Figure().subplots(), quantity="q")


def test_the_picture_of_phases():
    ax = plot.phase_diagram("tanh", Figure().subplots(), resolution=15)
    assert {"ordered", "chaotic"} <= {text.get_text() for text in ax.texts}
    w, b = ax.lines[0].get_data()
    assert set(theory.phase("tanh", w[::20] ** 2, b[::20] ** 2, tol=1e-6)) == {"critical"}
    ax = plot.phase_diagram("relu", Figure().subplots(), resolution=15)
    assert {"ordered", "signals\nexplode"} <= {text.get_text() for text in ax.texts}
    np.testing.assert_allclose(np.ravel(ax.lines[0].get_data()), [math.sqrt(2), 0], atol=1e-9)
