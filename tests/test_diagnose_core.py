"""What the core measures of networks and layers, against two-pass formulas in float64 NumPy."""

import numpy as np
import pytest

import initcore as ic
from initcore import _core
from nn_helpers import CE, FUNCTIONS, LABELS, MSE, X, layers, network, oracle_loss, small_network

OF_INPUTS = {
    "width", "mean", "std", "skew", "mean_square", "low", "high", "nonfinite", "dead", "cosine_square",
    "sample",
}  # fmt: skip
OF_LAYERS = OF_INPUTS | {
    "fan_in", "saturated", "slope_square", "gradient_sample", "gradient_std", "gradient_norm",
    "gradient_nonfinite", "duplicates", "flipped", "collinear", "twins", "weight_norm", "bias_norm",
    "weight_gradient_norm", "weight_gradient_std", "update_ratio",
}  # fmt: skip
KINDS = ["duplicates", "flipped", "collinear", "twins"]
TOLERANCE = {np.float32: 1e-4, np.float64: 1e-9}


def sampled(array):
    count = min(32, len(array))
    return array[np.arange(count) * len(array) // count]


def cosine_square(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    square = (unit @ unit.T) ** 2
    return (square.sum() - np.trace(square)) / (len(rows) * (len(rows) - 1))


def statistics(y):
    """Statistics of outputs (batch, width), in two passes."""
    y = y.astype(float)
    d = y - y.mean()
    return {
        "mean": y.mean(),
        "std": d.std(),
        "skew": (d**3).mean() / d.std() ** 3,
        "mean_square": (y**2).mean(),
        "low": y.min(),
        "high": y.max(),
        "dead": (y.max(axis=0) == y.min(axis=0)).mean(),
        "cosine_square": cosine_square(sampled(y)),
        "sample": sampled(y),
    }


def assert_statistics(got, want, tolerance):
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


def missing(entries):
    return {name for name, value in entries.items() if value is None}


def diagnose(net, x, t, loss, *, thresholds=None, optimizer=None, num_threads=1):
    """Without a loss, `t` is dL/dy."""
    samples = net._samples(x, t, loss or MSE, None)
    thresholds = [0.05] * (len(net.sizes) - 1) if thresholds is None else thresholds
    return net._core.diagnose(samples, loss, thresholds, optimizer, num_threads)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [MSE, None])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_a_network_layer_by_layer(activation, loss, dtype):
    rng = np.random.default_rng(1)
    net = network([7, 19, 40, 3], activation, "tanh", dtype=dtype, seed=3)
    x, t = (rng.normal(size=(50, n)).astype(dtype) for n in (7, 3))
    thresholds = [0.05, 0.2, 0.4]
    optimizer = ic.SGD(0.5)
    got = diagnose(net, x, t, loss, thresholds=thresholds, optimizer=optimizer)
    parameters = {name: value.astype(float) for name, value in net.parameters().items()}

    ys, slopes = [x.astype(float)], []
    for i, name in enumerate(layers(net)):
        f, slope = FUNCTIONS[name]
        z = ys[-1] @ parameters[f"layers.{i}.weight"] + parameters[f"layers.{i}.bias"]
        ys.append(f(z))
        slopes.append(slope(z))
    value, dy = oracle_loss(ys[-1], t.astype(float), MSE) if loss else (None, t.astype(float))
    tolerance = TOLERANCE[dtype]
    assert got.keys() == {"loss", "inputs", "cosines", "layers"}
    assert got["loss"] is None if loss is None else got["loss"] == pytest.approx(value, rel=tolerance)
    inputs = got["inputs"]
    assert (inputs.keys(), missing(inputs)) == (OF_LAYERS, OF_LAYERS - OF_INPUTS)
    assert_statistics(inputs, {**statistics(x), "width": 7, "nonfinite": 0}, tolerance)
    unit = sampled(ys[0]) / np.linalg.norm(sampled(ys[0]), axis=1, keepdims=True)
    np.testing.assert_allclose(got["cosines"], unit @ unit.T, rtol=0, atol=tolerance)
    assert got["cosines"].dtype == np.float64
    for i in reversed(range(3)):
        w, layer = parameters[f"layers.{i}.weight"], got["layers"][i]
        dz = dy * slopes[i]
        dw = ys[i].T @ dz
        want = {
            **statistics(ys[i + 1]),
            "width": w.shape[1],
            "fan_in": w.shape[0],
            "nonfinite": 0,
            "saturated": (np.abs(slopes[i]) < thresholds[i]).mean(),
            "slope_square": (slopes[i] ** 2).mean(),
            "gradient_sample": sampled(dz),
            "gradient_std": dz.std(),
            "gradient_norm": np.linalg.norm(dz),
            "gradient_nonfinite": 0,
            **dict.fromkeys(KINDS, 0),
            "weight_norm": np.linalg.norm(w),
            "bias_norm": np.linalg.norm(parameters[f"layers.{i}.bias"]),
            "weight_gradient_norm": np.linalg.norm(dw),
            "weight_gradient_std": dw.std(),
            "update_ratio": 0.5 * np.linalg.norm(dw) / np.linalg.norm(w),
        }
        assert layer.keys() == OF_LAYERS == want.keys()
        assert_statistics(layer, want, tolerance)
        assert {layer["sample"].dtype, layer["gradient_sample"].dtype} == {np.dtype(dtype)}
        dy = dz @ w.T


def test_loss_labels_and_weights_are_those_of_training():
    net = small_network()
    got = diagnose(net, X, LABELS, CE)
    value, gradients = net.loss_and_grad(X, LABELS, loss=CE)
    assert got["loss"] == value
    for i, layer in enumerate(got["layers"]):
        want = np.linalg.norm(gradients[f"layers.{i}.weight"].astype(float))
        assert layer["weight_gradient_norm"] == pytest.approx(want, rel=1e-12)
        assert layer["update_ratio"] is None
    weights = np.arange(6.0)
    samples = net._samples(X, LABELS, CE, weights)
    weighted = net._core.diagnose(samples, CE, [0.05, 0.05], None, 1)
    assert weighted["loss"] == net.loss_and_grad(X, LABELS, loss=CE, sample_weight=weights)[0]


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_constant_weights_are_twins(value):
    net = ic.MLP([8, 30, 20, 2], activation="tanh", init=ic.Constant(value))
    rng = np.random.default_rng(0)
    hidden, other, _ = diagnose(net, rng.normal(size=(40, 8)), rng.normal(size=(40, 2)), MSE)["layers"]
    for layer, width in ((hidden, 30), (other, 20)):
        assert [layer[kind] for kind in ("duplicates", "flipped", "collinear", "twins")] == [
            width,
            0,
            0,
            width,
        ]
    # With weights of zero nothing reaches the second layer.
    assert other["dead"] == (value == 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_layer_of_arrays(dtype):
    rng = np.random.default_rng(2)
    y, slope, dz = (rng.normal(1000.0, 0.01, size=(45, 13)).astype(dtype) for _ in range(3))
    y[:, 5] = 0.5
    w, dw = (rng.normal(size=(9, 13)).astype(dtype) for _ in range(2))
    b, db = (rng.normal(size=13).astype(dtype) for _ in range(2))
    w[:, 1], b[1], w[:, 3], b[3], w[:, 6], b[6] = w[:, 0], b[0], -w[:, 2], -b[2], 3 * w[:, 4], 3 * b[4]
    got = _core.diagnose_layer(y, slope, dz, w, b, dw, db, 1000.0, 1)
    want = {
        **statistics(y),
        "saturated": (slope < 1000).mean(),
        "slope_square": (slope.astype(float) ** 2).mean(),
        "gradient_std": dz.astype(float).std(),
        "gradient_norm": np.linalg.norm(dz.astype(float)),
        "gradient_sample": sampled(dz),
        "duplicates": 2,
        "flipped": 2,
        "collinear": 2,
        "twins": 0,
        "fan_in": 9,
        "weight_norm": np.linalg.norm(w.astype(float)),
        "bias_norm": np.linalg.norm(b.astype(float)),
        "weight_gradient_norm": np.linalg.norm(dw.astype(float)),
        "weight_gradient_std": dw.astype(float).std(),
    }
    assert got.keys() == OF_LAYERS
    assert_statistics(got, want, 1e-6 if dtype == np.float32 else 1e-9)
    assert missing(got) == {"update_ratio"}
    # The bias belongs to the unit.
    assert _core.diagnose_layer(y, slope, dz, w, None, dw, None, 0.05, 1)["duplicates"] == 2
    b[1] += 1
    assert _core.diagnose_layer(y, slope, dz, w, b, dw, db, 0.05, 1)["duplicates"] == 0


def test_outputs_alone():
    rng = np.random.default_rng(3)
    y = rng.normal(size=(3, 4))
    y[:, 1] = y[:, 0]
    got = _core.diagnose_layer(y, None, None, None, None, None, None, 0.0, None)
    assert [got[kind] for kind in KINDS] == [2, 0, 0, None]
    one = _core.diagnose_layer(y[:1], None, None, None, None, None, None, 0.0, None)
    assert (one["dead"], one["cosine_square"], one["duplicates"]) == (None, None, None)


def test_numbers_that_are_not_finite():
    y = np.ones((4, 3), np.float32)
    y[1, 2], y[2, 2] = np.nan, np.inf
    got = _core.diagnose_layer(y, None, None, None, None, None, None, 0.0, None)
    assert got["nonfinite"] == 2
    assert np.isnan([got["mean"], got["std"], got["low"], got["high"]]).all()
    assert got["dead"] == pytest.approx(2 / 3)


Y, W, B = np.ones((3, 2)), np.ones((5, 2)), np.ones(2)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"slope": Y[:2]}, r"slope has shape \(2, 2\), expected \(3, 2\)"),
        ({"dz": W}, r"dz has shape \(5, 2\), expected \(3, 2\)"),
        ({"weight": W.T.copy()}, r"weight has shape \(2, 5\), expected \(any, 2\)"),
        ({"weight": W, "weight_gradient": Y}, r"weight_gradient has shape \(3, 2\), expected \(5, 2\)"),
        ({"weight": W, "bias": np.ones(3)}, r"bias has shape \(3,\), expected \(2,\)"),
        ({"bias": B}, "needs the weight"),
    ],
)
def test_arrays_that_do_not_fit(others, message):
    names = ["slope", "dz", "weight", "bias", "weight_gradient", "bias_gradient"]
    with pytest.raises(ValueError, match=message):
        _core.diagnose_layer(Y, *(others.get(name) for name in names), 0.05, 1)


def test_calls_that_do_not_fit():
    net = small_network()
    errors = np.zeros((6, 2))
    with pytest.raises(ValueError, match="2 layers need as many thresholds, got 1"):
        diagnose(net, X, errors, None, thresholds=[0.05])
    with pytest.raises(ValueError, match="labels need a loss"):
        net._core.diagnose(net._samples(X, LABELS, CE, None), None, [0.05, 0.05], None, 1)
    with pytest.raises(ValueError, match="unknown loss"):
        net._core.diagnose(net._samples(X, errors, MSE, None), "mee", [0.05, 0.05], None, 1)
    with pytest.raises(TypeError, match="must be float32 or float64"):
        _core.diagnose_layer(Y.astype(np.float16), None, None, None, None, None, None, 0.05, 1)
