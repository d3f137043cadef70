"""What the tests of networks share: two ways to make one, and an oracle in plain float64 NumPy."""

import numpy as np
from scipy import special

import initcore as ic
from initcore import _core

ACTIVATIONS, LOSSES = _core.nn_names()
MSE, MAE, HUBER, BCE, CE = "mse", "mae", "huber", "binary_cross_entropy", "softmax_cross_entropy"

# Inputs and labels of `small_network`.
X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
LABELS = np.array([0, 1, 1, 0, 1, 0])


def gate(g, slope):
    """``z g(z)`` and its slope."""
    return lambda z: z * g(z), lambda z: g(z) + z * slope(z)


def density(z):
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def sigmoid_slope(z):
    return special.expit(z) * special.expit(-z)


def gelu_tanh_argument(z):
    """Twice the argument of tanh: ``(1 + tanh(u)) / 2 = sigmoid(2 u)``."""
    return np.sqrt(8 / np.pi) * (z + 0.044715 * z**3)


def softplus(z):
    return np.logaddexp(0, z)


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848

# The oracle: a network in plain float64 NumPy. Each activation is (f, f').
FUNCTIONS = {
    "linear": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (
        lambda z: np.where(z > 0, z, 0.01 * z),
        lambda z: np.where(z > 0, 1.0, 0.01),
    ),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(z)), lambda z: np.where(z > 0, 1.0, np.exp(z))),
    "selu": (
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(z)),
        lambda z: SELU_SCALE * np.where(z > 0, 1.0, SELU_ALPHA * np.exp(z)),
    ),
    "gelu": gate(special.ndtr, density),
    "gelu_tanh": gate(
        lambda z: special.expit(gelu_tanh_argument(z)),
        lambda z: sigmoid_slope(gelu_tanh_argument(z)) * np.sqrt(8 / np.pi) * (1 + 3 * 0.044715 * z**2),
    ),
    "silu": gate(special.expit, sigmoid_slope),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "sigmoid": (special.expit, sigmoid_slope),
    "softplus": (softplus, special.expit),
    "softsign": (lambda z: z / (1 + np.abs(z)), lambda z: 1 / (1 + np.abs(z)) ** 2),
    "mish": gate(lambda z: np.tanh(softplus(z)), lambda z: special.expit(z) / np.cosh(softplus(z)) ** 2),
    "hard_tanh": (lambda z: np.clip(z, -1, 1), lambda z: np.where(np.abs(z) < 1, 1.0, 0.0)),
}

# Where a slope jumps, or bends: no finite difference across.
KINKS = {
    **dict.fromkeys(["relu", "leaky_relu", "elu", "selu", "softsign"], (0.0,)),
    "hard_tanh": (-1.0, 1.0),
}


def as_rows(t, outputs):
    """Labels as one-hot rows (or 0/1 for a single output), values as they are."""
    t = np.asarray(t)
    if t.ndim == 1:
        return t[:, None].astype(float) if outputs == 1 else np.eye(outputs)[t]
    return t.astype(float)


def loss_and_parameter(text):
    """The name of a loss, and its parameter or the default."""
    name, _, argument = text.rstrip(")").partition("(")
    return name, float(argument.rpartition("=")[2] or (1.0 if name == HUBER else 0.0))


def oracle_loss(x, t, loss, weights=None):
    """Loss of the logits `x` and its gradient."""
    name, parameter = loss_and_parameter(loss)
    w = np.ones((len(x), 1)) if weights is None else np.asarray(weights, float)[:, None]
    w = w / w.sum()
    if name == CE:
        t = (1 - parameter) * t + parameter / x.shape[1]
        shifted = x - x.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        gradient = np.exp(log_p) * t.sum(axis=1, keepdims=True) - t
        return -(w * t * log_p).sum(), w * gradient
    w = w / x.shape[1]
    if name == BCE:
        t = (1 - parameter) * t + parameter / 2
        value = np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))
        return (w * value).sum(), w * (FUNCTIONS["sigmoid"][0](x) - t)
    d = x - t
    value, slope = {
        MSE: (d**2, 2 * d),
        MAE: (np.abs(d), np.sign(d)),
        HUBER: (
            np.where(np.abs(d) <= parameter, d**2 / 2, parameter * (np.abs(d) - parameter / 2)),
            np.clip(d, -parameter, parameter),
        ),
    }[name]
    return (w * value).sum(), w * slope


def targets(rng, loss, rows, outputs):
    """Targets that fit the loss; labels and probabilities take turns."""
    name, _ = loss_and_parameter(loss)
    labels = rng.integers(2) == 0
    if name == BCE:
        return rng.integers(0, 2, (rows, outputs)) if labels else rng.random((rows, outputs))
    if name == CE:
        return rng.integers(0, outputs, rows) if labels else rng.dirichlet(np.ones(outputs), rows)
    return rng.normal(size=(rows, outputs))


def loss_of(logits, t, loss, dtype=np.float64, **options):
    """Loss of given logits: through a network that does nothing."""
    n = len(logits[0])
    net = ic.MLP([n, n], activation="linear", init="zeros", bias=False, dtype=dtype)
    net.set_parameters({"layers.0.weight": np.eye(n)})
    value, gradients = net.loss_and_grad(logits, t, loss=loss, **options)
    return value, gradients["layers.0.weight"]


def oracle(parameters, activations, x, t, loss, weights=None):
    """Loss and gradients of a network, one activation per layer.

    A sigmoid in front of the binary cross-entropy belongs to the loss, which takes its argument.
    """
    if (activations[-1], loss_and_parameter(loss)[0]) == ("sigmoid", BCE):
        activations = [*activations[:-1], "linear"]
    ws = [p for name, p in parameters.items() if name.endswith("weight")]
    bs = [parameters.get(f"layers.{i}.bias", 0.0) for i in range(len(ws))]
    ys, zs = [np.asarray(x, float)], []
    for w, b, activation in zip(ws, bs, activations, strict=True):
        zs.append(ys[-1] @ w + b)
        ys.append(FUNCTIONS[activation][0](zs[-1]))
    value, d = oracle_loss(ys[-1], as_rows(t, ws[-1].shape[1]), loss, weights)
    gradients = {}
    for i in reversed(range(len(ws))):
        d = d * FUNCTIONS[activations[i]][1](zs[i])
        gradients[f"layers.{i}.weight"], gradients[f"layers.{i}.bias"] = ys[i].T @ d, d.sum(axis=0)
        d = d @ ws[i].T
    return value, {name: gradients[name] for name in parameters}, zs


def network(sizes, activation="tanh", output="linear", *, seed=0, dtype=np.float64, **options):
    """A network whose biases are not zero."""
    net = ic.MLP(
        sizes, activation=activation, output_activation=output, seed=seed, dtype=dtype,
        init="xavier_normal", **options,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    biases = {k: rng.normal(0, 0.3, v.shape) for k, v in net.parameters().items() if "bias" in k}
    net.set_parameters(biases)
    return net


def small_network(sizes=(3, 4, 2), **options):
    """A network of the library's defaults: float32, biases of zero."""
    return ic.MLP(list(sizes), **{"activation": "tanh", "seed": 0, **options})


def layers(net):
    return [net.activation] * (len(net.sizes) - 2) + [net.output_activation]


def bits(parameters):
    return {name: value.tobytes() for name, value in parameters.items()}


def assert_close(got, want, bound):
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=bound, atol=bound, err_msg=name)
