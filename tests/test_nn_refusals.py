"""What layers, networks and optimizers refuse: with which message, and before anything is changed."""

import math

import numpy as np
import pytest

import initcore as ic
from nn_helpers import BCE, CE, LABELS, LOSSES, MSE, X, bits, small_network

NAN = X.copy()
NAN[1, 2] = np.nan
INF = X.copy()
INF[5, 0] = -np.inf


BAD_INPUTS = [
    (X[:, :2], ValueError, r"x has shape \(6, 2\), .* 3 inputs: expected \(6, 3\)"),
    (X.T, ValueError, r"x has shape \(3, 6\)"),
    (X[0], ValueError, r"x must have shape \(rows, columns\), got \(3,\)"),
    (X[None], ValueError, r"got \(1, 6, 3\)"),
    (NAN, ValueError, "x must be finite, got NaN in row 1, column 2"),
    (INF, ValueError, "x must be finite, got -inf in row 5, column 0"),
    (INF.astype(np.float16), ValueError, "x must be finite, got -inf in row 5, column 0"),
    (X * 1j, TypeError, "x must hold real numbers, got dtype complex64"),
    ([["a", "b", "c"]], TypeError, "x must hold real numbers"),
    (None, TypeError, "x must hold real numbers, got dtype object"),
    (X.astype(object), TypeError, "x must hold real numbers, got dtype object"),
    (X.astype("M8[s]"), TypeError, "x must hold real numbers"),
    ([[1, 2, 3], [4]], ValueError, "inhomogeneous"),
    (3.0, ValueError, r"x must have shape \(rows, columns\), got \(\)"),
    (np.full((6, 3), 1e300), ValueError, "x: some values are too large for float32"),
]


@pytest.mark.parametrize(("x", "error", "message"), BAD_INPUTS)
def test_bad_x(x, error, message):
    net = small_network()
    before = bits(net.parameters())
    rows = len(x) if isinstance(x, np.ndarray) else 1
    t = np.zeros(rows, int)
    loss = "softmax_cross_entropy"
    fit = {"loss": loss, "optimizer": ic.SGD(0.1), "batch_size": 2, "epochs": 1}
    for call in (
        lambda: net.forward(x),
        lambda: net.activations(x),
        lambda: net.predict(x),
        lambda: net.loss_and_grad(x, t, loss=loss),
        lambda: net.evaluate(x, t, loss=loss),
        lambda: net.fit(x, t, **fit),
        lambda: net.fit(X, LABELS, validation_data=(x, t), **fit),
    ):
        with pytest.raises(error, match=message):
            call()
        assert bits(net.parameters()) == before


PROBABILITIES = np.full((6, 2), 0.5)


def with_entry(array, index, value):
    array = np.array(array, float)
    array[index] = value
    return array


SHAPE = "targets must have shape"
LABELS_OR = r"\(6,\) and be integers, or"
KNOWN_LOSSES = f"known are {', '.join(LOSSES)}"
BAD_TARGETS = [
    (CE, LABELS + 1, ValueError, r"label 2 in row 1 is outside of the 2 classes 0..=1"),
    (CE, LABELS - 1, ValueError, "label -1 in row 0 is outside"),
    (CE, LABELS.astype(np.uint64) + 2**63, ValueError, "label 9223372036854775[0-9]{3} is outside"),
    (CE, LABELS * 1.0, TypeError, "labels must be integers, got dtype float64"),
    (CE, LABELS > 0, TypeError, "labels must be integers, got dtype bool"),
    (CE, ["0"] * 6, TypeError, "labels must be integers, got dtype <U1"),
    (CE, LABELS[:5], ValueError, rf"{SHAPE} {LABELS_OR} \(6, 2\) for {CE}, got \(5,\)"),
    (CE, [], TypeError, "labels must be integers"),
    (CE, np.array([], int), ValueError, rf"{SHAPE} {LABELS_OR} \(6, 2\) for {CE}, got \(0,\)"),
    (CE, LABELS[:, None], ValueError, rf"{SHAPE} {LABELS_OR} \(6, 2\) for {CE}, got \(6, 1\)"),
    (CE, 1, ValueError, rf"{SHAPE} {LABELS_OR} \(6, 2\) for {CE}, got \(\)"),
    (CE, np.zeros((6, 3)), ValueError, rf"{SHAPE} {LABELS_OR} \(6, 2\) for {CE}, got \(6, 3\)"),
    (CE, PROBABILITIES * 0.9, ValueError, "probabilities of row 0 sum to 0.[89]"),
    (CE, with_entry(PROBABILITIES, (3, 1), -0.5), ValueError, "-0.5 in row 3, column 1"),
    (CE, with_entry(PROBABILITIES, (3, 1), np.nan), ValueError, "NaN in row 3, column 1"),
    (BCE, LABELS, ValueError, rf"{SHAPE} \(6, 2\) for {BCE}, got \(6,\)"),
    (BCE, with_entry(PROBABILITIES, (2, 0), 1.5), ValueError, "1.5 in row 2, column 0 .* prob"),
    (BCE, with_entry(PROBABILITIES, (2, 0), np.nan), ValueError, "NaN in row 2, column 0"),
    (MSE, LABELS, ValueError, rf"{SHAPE} \(6, 2\) for mse, got \(6,\)"),
    (MSE, PROBABILITIES[..., None], ValueError, rf"{SHAPE} \(6, 2\) for mse, got \(6, 2, 1\)"),
    (MSE, PROBABILITIES.T, ValueError, rf"{SHAPE} \(6, 2\) for mse, got \(2, 6\)"),
    (MSE, PROBABILITIES[:4], ValueError, rf"{SHAPE} \(6, 2\) for mse, got \(4, 2\)"),
    (MSE, PROBABILITIES[:0], ValueError, rf"{SHAPE} \(6, 2\) for mse, got \(0, 2\)"),
    (MSE, with_entry(PROBABILITIES, (5, 1), np.inf), ValueError, "inf in row 5, column 1"),
    (MSE, PROBABILITIES * 1j, TypeError, "targets must hold real numbers"),
    (MSE, None, ValueError, rf"{SHAPE} \(6, 2\) for mse, got \(\)"),
    ("hinge", PROBABILITIES, ValueError, f'unknown loss "hinge"; {KNOWN_LOSSES}'),
    ("hinge", LABELS, ValueError, f'unknown loss "hinge"; {KNOWN_LOSSES}'),
    ("MSE", PROBABILITIES, ValueError, f'unknown loss "MSE"; {KNOWN_LOSSES}'),
    (None, PROBABILITIES, TypeError, "loss must be a name, got None"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "t", "error", "message"), BAD_TARGETS)
def test_bad_targets(loss, t, error, message):
    net = small_network()
    before = bits(net.parameters())
    fit = {"loss": loss, "optimizer": ic.SGD(0.1), "batch_size": 2, "epochs": 1}
    fine = LABELS if loss == CE else PROBABILITIES
    for call in (
        lambda: net.loss_and_grad(X, t, loss=loss),
        lambda: net.evaluate(X, t, loss=loss),
        lambda: net.fit(X, t, **fit),
        lambda: net.fit(X, fine, validation_data=(X, t), **fit),
    ):
        with pytest.raises(error, match=message):
            call()
        assert bits(net.parameters()) == before


BAD_FITS = [
    ({"batch_size": 0}, ValueError, r"batch_size must be in \[1, 2\*\*63\), got 0"),
    ({"batch_size": -1}, ValueError, r"batch_size must be in \[1, 2\*\*63\), got -1"),
    ({"batch_size": 2.0}, TypeError, "batch_size must be an integer, got 2.0"),
    ({"batch_size": None}, TypeError, "batch_size must be an integer, got None"),
    ({"epochs": -1}, ValueError, r"epochs must be in \[0, 2\*\*63\), got -1"),
    ({"epochs": 1.0}, TypeError, "epochs must be an integer, got 1.0"),
    ({"epochs": "3"}, TypeError, "epochs must be an integer, got '3'"),
    ({"seed": -1}, ValueError, r"seed must be in \[0, 2\*\*64\), got -1"),
    ({"seed": 2**64}, ValueError, r"seed must be in \[0, 2\*\*64\), got 18446744073709551616"),
    ({"seed": 1.5}, TypeError, "seed must be an integer, got 1.5"),
    ({"seed": None}, TypeError, "seed must be an integer, got None"),
    ({"shuffle": "no"}, TypeError, "bool"),
    ({"num_threads": 0}, ValueError, "num_threads must be from 1 to 1024, got 0"),
    ({"num_threads": 1025}, ValueError, "num_threads must be from 1 to 1024, got 1025"),
    ({"num_threads": -1}, ValueError, "num_threads must be from 1 to 1024, got -1"),
    ({"optimizer": "adam"}, TypeError, "optimizer must be .*SGD.*, got str"),
    ({"optimizer": ic.Adam}, TypeError, "optimizer must be .*SGD.*, got type"),
    ({"optimizer": None}, TypeError, "got NoneType"),
    ({"callbacks": 5}, TypeError, "iterable"),
    ({"callbacks": print}, TypeError, "iterable"),
    ({"callbacks": [5]}, TypeError, "callbacks must be callable, got 5"),
    ({"validation_data": (X, LABELS[:3])}, ValueError, rf"validation {SHAPE} \(6,\) .* got \(3,\)"),
    ({"validation_data": (X, LABELS + 9)}, ValueError, "validation data: label 9 in row 0"),
    ({"validation_data": (X[:0], LABELS[:0])}, ValueError, "validation data: .* at least one row"),
    ({"x": X[:0], "t": LABELS[:0]}, ValueError, "at least one row"),
    ({"x": X[:3]}, ValueError, rf"{SHAPE} \(3,\) and be integers, or \(3, 2\) for {CE}, got \(6,\)"),
    ({"validation_data": 5}, TypeError, r"must be \(x, t\) or \(x, t, sample_weight\), got int"),
    ({"validation_data": (X,)}, TypeError, r"validation_data must be \(x, t\) or .*, got tuple"),
    ({"validation_data": (X, LABELS, None, X)}, TypeError, r"validation_data must be \(x, t\) or"),
    ({"validation_data": (X[:, :2], LABELS)}, ValueError, r"validation x has shape \(6, 2\)"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), BAD_FITS)
def test_bad_fits(options, error, message):
    net = small_network()
    before = bits(net.parameters())
    arguments = {
        "x": X, "t": LABELS, "loss": CE, "optimizer": ic.SGD(0.1), "batch_size": 2, "epochs": 1,
        **options,
    }  # fmt: skip
    x, t = arguments.pop("x"), arguments.pop("t")
    try:
        with pytest.raises(error, match=message):
            net.fit(x, t, **arguments)
    finally:
        # Whatever it is called, a refusal comes before the first step.
        unchanged = bits(net.parameters()) == before
    assert unchanged


BETAS = "betas must be a tuple of two numbers, got"
BAD_OPTIMIZERS = [
    (ic.SGD, {"lr": -0.1}, ValueError, "lr must be finite and at least 0, got -0.1"),
    (ic.SGD, {"lr": math.nan}, ValueError, "lr must be finite and at least 0, got NaN"),
    (ic.SGD, {"lr": math.inf}, ValueError, "lr must be finite and at least 0, got inf"),
    (ic.SGD, {"lr": "a"}, TypeError, "lr must be a number, got 'a'"),
    (ic.SGD, {"lr": None}, TypeError, "lr must be a number, got None"),
    (ic.SGD, {}, TypeError, "lr"),
    (ic.SGD, {"lr": 0.1, "momentum": "a"}, TypeError, "momentum must be a number, got 'a'"),
    (ic.SGD, {"lr": 0.1, "momentum": -0.5}, ValueError, "momentum must be .* got -0.5"),
    (ic.SGD, {"lr": 0.1, "momentum": math.inf}, ValueError, "momentum must be finite"),
    (ic.SGD, {"lr": 0.1, "weight_decay": -1}, ValueError, "weight_decay must be .* got -1"),
    (ic.SGD, {"lr": 0.1, "nesterov": True}, ValueError, "nesterov needs a momentum above 0"),
    (ic.SGD, {"lr": 1, "momentum": 0.9, "nesterov": "yes"}, TypeError, "nesterov must be a bool, got 'yes'"),
    (ic.SGD, {"lr": 0.1, "beta": 1}, TypeError, "beta"),
    (ic.RMSProp, {"lr": -1}, ValueError, "lr must be"),
    (ic.RMSProp, {"alpha": 1.0}, ValueError, r"alpha must be in \[0, 1\), got 1"),
    (ic.RMSProp, {"alpha": -0.1}, ValueError, r"alpha must be in \[0, 1\)"),
    (ic.RMSProp, {"alpha": math.nan}, ValueError, r"alpha must be in \[0, 1\)"),
    (ic.RMSProp, {"eps": -1e-8}, ValueError, "eps must be"),
    (ic.RMSProp, {"momentum": -1}, ValueError, "momentum must be"),
    (ic.RMSProp, {"weight_decay": math.nan}, ValueError, "weight_decay must be"),
    (ic.RMSProp, {"centered": None}, TypeError, "centered must be a bool, got None"),
    (ic.Adam, {"lr": math.nan}, ValueError, "lr must be"),
    (ic.Adam, {"betas": (1.0, 0.9)}, ValueError, r"beta1 must be in \[0, 1\), got 1"),
    (ic.Adam, {"betas": (0.9, 1.0)}, ValueError, r"beta2 must be in \[0, 1\), got 1"),
    (ic.Adam, {"betas": (0.9, -0.1)}, ValueError, "beta2 must be"),
    (ic.Adam, {"betas": (0.9,)}, TypeError, rf"{BETAS} \(0.9,\)"),
    (ic.Adam, {"betas": 0.9}, TypeError, f"{BETAS} 0.9"),
    (ic.Adam, {"betas": (0.9, "a")}, TypeError, rf"{BETAS} \(0.9, 'a'\)"),
    (ic.Adam, {"eps": -1.0}, ValueError, "eps must be"),
    (ic.Adam, {"weight_decay": -1.0}, ValueError, "weight_decay must be"),
]


@pytest.mark.parametrize(("kind", "options", "error", "message"), BAD_OPTIMIZERS)
def test_bad_optimizers(kind, options, error, message):
    with pytest.raises(error, match=message):
        kind(**options)


HUGE = (ValueError, MemoryError)
LARGE = r"2\*\*63|large|overflow|too many"
SIZES = "sizes must be the inputs and at least one layer, each 1 or more; got"
BAD_NETWORKS = [
    ({"sizes": []}, ValueError, SIZES),
    ({"sizes": [3]}, ValueError, rf"{SIZES} \[3\]"),
    ({"sizes": [0, 1]}, ValueError, r"each of sizes must be in \[1, 2\*\*63\), got 0"),
    ({"sizes": [3, 0, 1]}, ValueError, r"each of sizes must be in \[1, 2\*\*63\), got 0"),
    ({"sizes": [3, -1]}, ValueError, r"each of sizes must be in \[1, 2\*\*63\), got -1"),
    ({"sizes": [3, 2.5]}, TypeError, "each of sizes must be an integer, got 2.5"),
    ({"sizes": [3, math.inf]}, TypeError, "each of sizes must be an integer, got inf"),
    ({"sizes": "34"}, TypeError, "each of sizes must be an integer, got '3'"),
    ({"sizes": 5}, TypeError, "iterable"),
    ({"sizes": [2**24, 2**24]}, HUGE, "281474993487872 elements"),
    ({"sizes": [2**40, 2**40]}, HUGE, "overflow"),
    ({"sizes": [2**62, 1]}, HUGE, "allocate|large"),
    ({"activation": "gelu2"}, ValueError, 'unknown activation "gelu2"; known are linear, relu'),
    ({"activation": ""}, ValueError, 'unknown activation ""'),
    ({"activation": "relu(1)"}, ValueError, "relu takes no parameter"),
    ({"activation": "leaky_relu(inf)"}, ValueError, "leaky_relu needs a finite negative_slope"),
    ({"activation": "leaky_relu()"}, ValueError, 'leaky_relu needs a finite negative_slope, got ""'),
    ({"activation": "elu(slope=1)"}, ValueError, 'elu takes alpha, got "slope"'),
    ({"activation": None}, TypeError, "activation must be a str or a sequence of them, got None"),
    ({"output_activation": "softmax"}, ValueError, 'unknown activation "softmax"'),
    ({"dtype": np.float16}, TypeError, "dtype must be float32 or float64 .* got float16"),
    ({"dtype": int}, TypeError, "dtype must be float32 or float64 .* got int64"),
    ({"dtype": ">f4"}, TypeError, "native byte order"),
    ({"dtype": "no"}, TypeError, "no"),
    ({"init": "he"}, ValueError, "unknown initializer 'he'"),
    ({"init": None}, TypeError, "initializer"),
    ({"seed": -1}, ValueError, r"seed must be in \[0, 2\*\*64\), got -1"),
    ({"seed": 2**64}, ValueError, r"seed must be in \[0, 2\*\*64\)"),
    ({"seed": 0.5}, TypeError, "seed must be an integer"),
    ({"seed": np.random.default_rng(0)}, TypeError, "seed must be an integer"),
    ({"bias": 1}, TypeError, "bias must be a bool or a sequence of them, got 1"),
    ({"sizes": [2**63, 2]}, HUGE, LARGE),
    ({"sizes": [1, 2**64 - 1, 1]}, HUGE, LARGE),
    ({"sizes": [2**64 - 1, 1]}, HUGE, LARGE),
    ({"sizes": [2**64 - 1, 1], "bias": False}, HUGE, LARGE),
    ({"sizes": [1, 2**63, 2**63], "bias": False}, HUGE, LARGE),
    ({"sizes": [3, 2**70]}, HUGE, LARGE),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD_NETWORKS)
def test_bad_networks(options, error, message):
    with pytest.raises(error, match=message):
        small_network(**options)


@pytest.mark.parametrize(
    ("mapping", "error", "message"),
    [
        ({"layers.9.weight": 1}, KeyError, "no parameter .*layers.0.weight, layers.0.bias"),
        ({"layers.0.weight": np.zeros((4, 3))}, ValueError, r"\(3, 4\), got \(4, 3\)"),
        ({"layers.0.weight": np.zeros(12)}, ValueError, r"\(3, 4\), got \(12,\)"),
        ({"layers.0.bias": np.zeros((1, 4))}, ValueError, r"\(4,\), got \(1, 4\)"),
        ({"layers.0.bias": ["a"] * 4}, TypeError, "layers.0.bias must hold real numbers"),
        ({"layers.0.bias": [1j] * 4}, TypeError, "real numbers, got dtype complex128"),
        ({"layers.0.bias": None}, TypeError, "real numbers, got dtype object"),
        ({3: np.zeros(4)}, TypeError, "str"),
    ],
)
def test_bad_parameters(mapping, error, message):
    net = small_network()
    before = bits(net.parameters())
    with pytest.raises(error, match=message):
        net.set_parameters({"layers.1.bias": np.ones(2), **mapping})
    assert bits(net.parameters()) == before


W = np.ones((3, 2), np.float32)
BAD_LAYERS = [
    ((X[:, :2], W), ValueError, r"x has shape \(6, 2\) and w \(3, 2\)"),
    ((X, W.T), ValueError, r"x has shape \(6, 3\) and w \(2, 3\)"),
    ((X, W, np.ones(3)), ValueError, r"b has shape \(3,\) and w \(3, 2\): expected .* \(2,\)"),
    ((X, W, np.ones((1, 2))), ValueError, r"b must have shape \(fan_out,\), got \(1, 2\)"),
    ((X[0], W), ValueError, r"x must have shape \(rows, columns\), got \(3,\)"),
    ((X, W[0]), ValueError, r"w must have shape \(rows, columns\), got \(2,\)"),
    ((X * 1j, W), TypeError, "x must hold real numbers, got dtype complex64"),
    ((X, [["a", "b"]] * 3), TypeError, "w must hold real numbers"),
    ((X, W, [None, 1]), TypeError, "b must hold real numbers"),
    ((X, W, None, "gelu2"), ValueError, 'unknown activation "gelu2"'),
    ((X, W, None, None), TypeError, "str"),
    ((X, W[:, :1], 5.0), ValueError, r"b must have shape \(fan_out,\), got \(\)"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_LAYERS)
def test_bad_layers(arguments, error, message):
    with pytest.raises(error, match=message):
        ic.dense_forward(*arguments)


@pytest.mark.skipif(np.longdouble(1).itemsize == 8, reason="no wider type here")
def test_wider_types_than_float64_are_refused():
    with pytest.raises(TypeError, match="dtype must be float32 or float64"):
        ic.dense_forward(X.astype(np.longdouble), W)


@pytest.mark.parametrize(
    ("dy", "changes", "error", "message"),
    [
        (np.ones((2, 6)), {}, ValueError, r"dy has shape \(2, 6\), expected \(6, 2\)"),
        (np.ones((5, 2)), {}, ValueError, r"dy has shape \(5, 2\), expected \(6, 2\)"),
        (np.ones(2), {}, ValueError, r"dy must have shape \(rows, columns\)"),
        (np.ones((6, 2)) * 1j, {}, TypeError, "dy must hold real numbers"),
        (np.ones((6, 2)), {"slope": W}, ValueError, r"slope has shape \(3, 2\), expected \(6, 2\)"),
        (np.ones((6, 2)), {"x": X[:, :2]}, ValueError, r"x has shape \(6, 2\) and w"),
    ],
)
def test_bad_backward(dy, changes, error, message):
    _, cache = ic.dense_forward(X, W)
    with pytest.raises(error, match=message):
        ic.dense_backward(dy, cache._replace(**changes))


def test_a_parameter_too_large_for_the_type_is_refused():
    net = small_network()
    before = bits(net.parameters())
    with pytest.raises(ValueError, match=r"layers\.1\.bias: some values are too large for float32"):
        net.set_parameters({"layers.0.bias": np.ones(4), "layers.1.bias": np.full(2, 1e300)})
    assert bits(net.parameters()) == before
    small_network(dtype=np.float64).set_parameters({"layers.0.bias": np.full(4, 1e300)})


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (ic.SGD(1e300), "lr"),
        (ic.SGD(0.1, momentum=1e300), "momentum"),
        (ic.SGD(0.1, weight_decay=1e300), "weight_decay"),
        (ic.RMSProp(1e300), "lr"),
        (ic.RMSProp(momentum=1e300), "momentum"),
        (ic.RMSProp(weight_decay=1e300), "weight_decay"),
        (ic.Adam(1e300), "lr"),
        (ic.Adam(weight_decay=1e300), "weight_decay"),
    ],
    ids=repr,
)
def test_a_rate_too_large_for_the_type_is_refused(optimizer, name):
    """Rounded to float32 it would be infinite, and its product with a zero gradient NaN."""
    net = small_network()
    before = bits(net.parameters())
    options = {"loss": CE, "optimizer": optimizer, "batch_size": 6, "epochs": 1}
    with pytest.raises(ValueError, match=f"{name} = 1e300 does not fit float32"):
        net.fit(X, LABELS, **options)
    assert bits(net.parameters()) == before


def test_a_large_rate_leaves_a_zero_gradient_zero():
    net = small_network((1, 1), bias=False, activation="linear", dtype=np.float64)
    net.set_parameters({"layers.0.weight": [[1.0]]})
    net.fit([[1.0]], [[1.0]], loss=MSE, optimizer=ic.SGD(1e300), batch_size=1, epochs=1)
    assert net.parameters()["layers.0.weight"] == 1
