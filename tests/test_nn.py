"""Networks from Python against naive sums, finite differences, JAX, PyTorch's rules; and `fit`."""

import itertools
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import initcore as ic
from initcore import _core

ACTIVATIONS, LOSSES = _core.nn_names()
ODD = st.sampled_from([0, 1, 2, 3, 5, 7, 13, 17, 31])
SEEDS = st.integers(0, 2**32 - 1)


# The oracle: a network in plain float64 NumPy. Each activation is (f, f').
FUNCTIONS = {
    "linear": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (
        lambda z: np.where(z > 0, z, 0.01 * z),
        lambda z: np.where(z > 0, 1.0, 0.01),
    ),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "sigmoid": (lambda z: (1 + np.tanh(z / 2)) / 2, lambda z: 1 / (4 * np.cosh(z / 2) ** 2)),
}


def as_rows(t, outputs):
    """Labels as one-hot rows (or 0/1 for a single output), values as they are."""
    t = np.asarray(t)
    if t.ndim == 1:
        return t[:, None].astype(float) if outputs == 1 else np.eye(outputs)[t]
    return t.astype(float)


def oracle_loss(x, t, loss):
    """Loss of the logits `x` and its gradient."""
    if loss == "mse":
        return np.mean((x - t) ** 2), 2 * (x - t) / x.size
    if loss == "binary_cross_entropy":
        value = np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))
        return value.mean(), (FUNCTIONS["sigmoid"][0](x) - t) / x.size
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_p) * t.sum(axis=1, keepdims=True) - t
    return -(t * log_p).sum() / len(x), gradient / len(x)


def oracle(parameters, activations, x, t, loss):
    """Loss and gradients of a network, one activation per layer."""
    ws = [p for name, p in parameters.items() if name.endswith("weight")]
    bs = [parameters.get(f"layers.{i}.bias", 0.0) for i in range(len(ws))]
    ys, zs = [np.asarray(x, float)], []
    for w, b, activation in zip(ws, bs, activations, strict=True):
        zs.append(ys[-1] @ w + b)
        ys.append(FUNCTIONS[activation][0](zs[-1]))
    value, d = oracle_loss(ys[-1], as_rows(t, ws[-1].shape[1]), loss)
    gradients = {}
    for i in reversed(range(len(ws))):
        d = d * FUNCTIONS[activations[i]][1](zs[i])
        gradients[f"layers.{i}.weight"], gradients[f"layers.{i}.bias"] = ys[i].T @ d, d.sum(axis=0)
        d = d @ ws[i].T
    return value, {name: gradients[name] for name in parameters}, zs


def targets(rng, loss, rows, outputs):
    """Targets that fit the loss; labels and probabilities take turns."""
    if loss == "mse":
        return rng.normal(size=(rows, outputs))
    labels = rng.integers(2) == 0
    if loss == "binary_cross_entropy":
        return rng.integers(0, 2, (rows, outputs)) if labels else rng.random((rows, outputs))
    return rng.integers(0, outputs, rows) if labels else rng.dirichlet(np.ones(outputs), rows)


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


def layers(net):
    return [net.activation] * (len(net.sizes) - 2) + [net.output_activation]


def bits(parameters):
    return {name: value.tobytes() for name, value in parameters.items()}


def assert_close(got, want, bound):
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=bound, atol=bound, err_msg=name)


# --- one layer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@settings(max_examples=40)
@given(batch=ODD, fan_in=ODD, fan_out=ODD, bias=st.booleans(), seed=SEEDS)
@example(batch=0, fan_in=3, fan_out=2, bias=True, seed=0)
@example(batch=3, fan_in=0, fan_out=2, bias=True, seed=0)
@example(batch=3, fan_in=2, fan_out=0, bias=True, seed=0)
@example(batch=1, fan_in=1, fan_out=1, bias=False, seed=0)
@example(batch=257, fan_in=131, fan_out=67, bias=True, seed=0)
def test_a_layer_agrees_with_naive_sums(activation, dtype, batch, fan_in, fan_out, bias, seed):
    """Stage by stage; a sum of n products is off by at most 2 (n + 4) eps sum|a||b|."""
    rng, eps = np.random.default_rng(seed), np.finfo(dtype).eps
    shapes = [(batch, fan_in), (fan_in, fan_out), (batch, fan_out), (1, fan_out)]
    x, w, dy, b = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    y, cache = ic.dense_forward(x, w, b[0] if bias else None, activation)
    dx, dw, db = ic.dense_backward(dy, cache)
    assert y.dtype == dx.dtype == dw.dtype == cache.z.dtype == dtype

    def check(got, subscripts, left, right, slack=0.0):
        # slack: what an error that `left` or `right` came with may add
        left, right = left.astype(float), right.astype(float)
        n = {"il,lj->ij": fan_in + 1, "li,lj->ij": batch, "il,jl->ij": fan_out}[subscripts]
        want = np.einsum(subscripts, left, right)
        size = np.einsum(subscripts, np.abs(left), np.abs(right))
        assert got.shape == want.shape
        assert np.all(np.abs(got - want) <= 2 * (n + 4) * eps * size + slack)

    ones = np.ones((batch, 1))
    check(cache.z, "il,lj->ij", np.hstack([x, ones * bias]), np.vstack([w, b]))
    f, slope = FUNCTIONS[activation]
    z = cache.z.astype(float)
    np.testing.assert_allclose(y, f(z), rtol=8 * eps, atol=eps / 2)
    # The slope comes from y: where the function saturates it is good to eps of 1, not of itself.
    dz, off = dy * slope(z), 8 * eps * np.abs(dy.astype(float))
    check(dw, "li,lj->ij", x, dz, np.abs(x).T @ off)
    check(dx, "il,jl->ij", dz, w, off @ np.abs(w).T)
    if bias:
        check(db[None, :], "li,lj->ij", ones, dz, off.sum(axis=0))
        assert db.dtype == dtype
    else:
        assert db is None


def test_a_layer_in_loops():
    """The oracle's own oracle: a layer small enough to write every sum as a Python loop."""
    rng = np.random.default_rng(3)
    x, w, b, dy = (rng.normal(size=s) for s in [(3, 5), (5, 2), 2, (3, 2)])
    y, cache = ic.dense_forward(x, w, b, "leaky_relu(0.2)")
    dx, dw, db = ic.dense_backward(dy, cache)
    wx, ww, wb = np.zeros((3, 5)), np.zeros((5, 2)), np.zeros(2)
    for i, k in itertools.product(range(3), range(2)):
        z = b[k] + sum(x[i, j] * w[j, k] for j in range(5))
        assert y[i, k] == pytest.approx(z if z > 0 else 0.2 * z, rel=1e-14)
        dz = dy[i, k] * (1.0 if z > 0 else 0.2)
        wb[k] += dz
        for j in range(5):
            ww[j, k] += x[i, j] * dz
            wx[i, j] += dz * w[j, k]
    for got, want in [(dx, wx), (dw, ww), (db, wb)]:
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-14)


# --- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    rows=st.integers(1, 4),
    output=st.sampled_from(ACTIVATIONS),
    bias=st.booleans(),
    seed=SEEDS,
)
def test_gradients_are_slopes(activation, loss, sizes, rows, output, bias, seed):
    """Central differences, h = 2^-16, within 1e-7 (1 + |slope|); no unit near its kink."""
    h = 2.0**-16
    rng = np.random.default_rng(seed)
    net = network(sizes, activation, output, seed=seed, bias=bias)
    x, t = rng.normal(size=(rows, sizes[0])), targets(rng, loss, rows, sizes[-1])
    parameters = net.parameters()
    want_loss, want, zs = oracle(parameters, layers(net), x, t, loss)
    assume(all(np.abs(z).min() > 1e-3 for z in zs))
    value, gradients = net.loss_and_grad(x, t, loss=loss)
    assert value == pytest.approx(want_loss, rel=1e-12, abs=1e-15)
    assert_close(gradients, want, 1e-12)
    assert value == pytest.approx(net.evaluate(x, t, loss=loss)[0], rel=1e-14, abs=1e-15)

    def loss_at(name, index, step):
        moved = parameters[name].copy()
        moved[index] += step
        net.set_parameters({name: moved})
        return net.evaluate(x, t, loss=loss)[0]

    for name, gradient in gradients.items():
        assert gradient.shape == parameters[name].shape
        for index in np.ndindex(gradient.shape):
            slope = (loss_at(name, index, h) - loss_at(name, index, -h)) / (2 * h)
            assert abs(gradient[index] - slope) <= 1e-7 * (1 + abs(slope)), (name, index)
        net.set_parameters({name: parameters[name]})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_of_the_input_is_a_slope(activation):
    rng = np.random.default_rng(7)
    x, w, b, dy = (rng.normal(size=s) for s in [(4, 3), (3, 5), 5, (4, 5)])
    _, cache = ic.dense_forward(x, w, b, activation)
    assert np.abs(cache.z).min() > 1e-3
    dx, _, _ = ic.dense_backward(dy, cache)
    h = 2.0**-16
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = h
        up, down = (ic.dense_forward(x + s, w, b, activation)[0] for s in (step, -step))
        assert dx[index] == pytest.approx(np.sum(dy * (up - down)) / (2 * h), rel=1e-7, abs=1e-8)


@pytest.mark.peers
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jax_agrees(activation, loss):
    """Outputs, loss and gradients in float64, within 1e-12; JAX finds the derivatives by itself."""
    jax = pytest.importorskip("jax")
    functions = {
        "linear": lambda z: z,
        "relu": jax.nn.relu,
        "leaky_relu": jax.nn.leaky_relu,
        "tanh": jax.numpy.tanh,
        "sigmoid": jax.nn.sigmoid,
    }
    rng = np.random.default_rng(11)
    x, outputs = rng.normal(size=(6, 4)), 3
    net = network([4, 5, 7, outputs], activation)
    t = rng.dirichlet(np.ones(outputs), 6)

    def forward(p):
        y = x
        for i, f in enumerate([functions[activation]] * 2 + [lambda z: z]):
            y = f(y @ p[f"layers.{i}.weight"] + p[f"layers.{i}.bias"])
        return y

    def value(p):
        y = forward(p)
        if loss == "mse":
            return ((y - t) ** 2).mean()
        if loss == "binary_cross_entropy":
            return -(t * jax.nn.log_sigmoid(y) + (1 - t) * jax.nn.log_sigmoid(-y)).mean()
        return -(t * jax.nn.log_softmax(y)).sum(axis=1).mean()

    with jax.enable_x64(True):
        p = {name: jax.numpy.asarray(v) for name, v in net.parameters().items()}
        y = np.asarray(forward(p))
        want_loss, want = jax.value_and_grad(value)(p)
        want_loss, want = float(want_loss), {name: np.asarray(g) for name, g in want.items()}
    assert want["layers.0.weight"].dtype == np.float64
    np.testing.assert_allclose(net.forward(x), y, rtol=1e-12, atol=1e-13)
    got_loss, got = net.loss_and_grad(x, t, loss=loss)
    assert got_loss == pytest.approx(want_loss, rel=1e-12)
    assert_close(got, want, 1e-12)


# --- losses --------------------------------------------------------------------------------------


def loss_of(logits, t, loss, dtype=np.float64):
    """Loss of given logits: through a network that does nothing."""
    n = len(logits[0])
    net = ic.MLP([n, n], activation="linear", init="zeros", bias=False, dtype=dtype)
    net.set_parameters({"layers.0.weight": np.eye(n)})
    value, gradients = net.loss_and_grad(logits, t, loss=loss)
    return value, gradients["layers.0.weight"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("logits", "label", "want"),
    [
        ([10, 0, -100], 2, 110.0000454),
        ([50, 0, -120], 2, 170.0),
        ([2, -5, 0.5, -0.1], 0, 0.29750752),
        ([0, 0, 1.9, 1.4], 3, 1.1448325),
        ([-100, 100, -100, -100], 1, 0.0),
        ([1e4, -1e4], 1, 2e4),
        ([-1000.0], 0, 0.0),
    ],
)
def test_softmax_cross_entropy_by_hand(logits, label, want, dtype):
    value, dw = loss_of([logits], [label], "softmax_cross_entropy", dtype)
    assert value == pytest.approx(want, rel=2e-7, abs=1e-12)
    x = np.array(logits, float)
    p = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
    want = np.outer(x, p - np.eye(len(x))[label])
    np.testing.assert_allclose(dw, want, rtol=1e-6, atol=1e-6 * np.abs(x).max())
    one_hot = np.eye(len(x))[[label]]
    assert loss_of([logits], one_hot, "softmax_cross_entropy", dtype)[0] == value


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("x", [-1000.0, -30.0, -1.0, 0.0, 0.5, 20.0, 1000.0])
def test_binary_cross_entropy_by_hand(x, t, dtype):
    value, dw = loss_of([[x]], [[t]], "binary_cross_entropy", dtype)
    rel = 4 * float(np.finfo(dtype).eps)
    # log(1 + e^x) - x t, from whichever side does not overflow
    want = max(x, 0) - x * t + np.log1p(np.exp(-abs(x)))
    assert value == pytest.approx(want, rel=rel, abs=1e-300)
    assert dw[0, 0] == pytest.approx(x * (FUNCTIONS["sigmoid"][0](x) - t), rel=1e3 * rel, abs=rel)


def test_means_are_over_elements_and_over_rows():
    x, t = [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert loss_of(x, t, "mse")[0] == pytest.approx((4 + 9 + 1) / 6, rel=1e-15)
    single = [loss_of([row], [u], "softmax_cross_entropy")[0] for row, u in zip(x, t, strict=True)]
    assert loss_of(x, t, "softmax_cross_entropy")[0] == pytest.approx(np.mean(single), rel=1e-15)


# --- optimizers, as PyTorch documents them -------------------------------------------------------


def torch_sgd(o, p, g, s, _):
    g = g + o.weight_decay * p
    if o.momentum:
        s["buf"] = o.momentum * s["buf"] + g if "buf" in s else g
        g = g + o.momentum * s["buf"] if o.nesterov else s["buf"]
    return p - o.lr * g


def torch_rmsprop(o, p, g, s, _):
    g = g + o.weight_decay * p
    s["v"] = o.alpha * s.get("v", 0.0) + (1 - o.alpha) * g**2
    variance = s["v"]
    if o.centered:
        s["mean"] = s.get("mean", 0.0) * o.alpha + (1 - o.alpha) * g
        variance = s["v"] - s["mean"] ** 2
    step = g / (np.sqrt(variance) + o.eps)
    if o.momentum:
        step = s["buf"] = o.momentum * s.get("buf", 0.0) + step
    return p - o.lr * step


def torch_adam(o, p, g, s, t):
    g = g + o.weight_decay * p
    s["m"] = o.betas[0] * s.get("m", 0.0) + (1 - o.betas[0]) * g
    s["v"] = o.betas[1] * s.get("v", 0.0) + (1 - o.betas[1]) * g**2
    m, v = s["m"] / (1 - o.betas[0] ** t), s["v"] / (1 - o.betas[1] ** t)
    return p - o.lr * m / (np.sqrt(v) + o.eps)


RULES = {"SGD": torch_sgd, "RMSProp": torch_rmsprop, "Adam": torch_adam}
OPTIMIZERS = [
    ic.SGD(0.1),
    ic.SGD(0.1, weight_decay=0.05),
    ic.SGD(0.05, momentum=0.9),
    ic.SGD(0.05, momentum=0.9, nesterov=True),
    ic.SGD(0.05, momentum=0.5, nesterov=True, weight_decay=0.1),
    ic.RMSProp(),
    ic.RMSProp(0.02, alpha=0.9, eps=1e-3, weight_decay=0.1),
    ic.RMSProp(0.005, momentum=0.8),
    ic.RMSProp(0.01, alpha=0.95, centered=True, eps=1e-3),
    ic.RMSProp(0.004, alpha=0.95, centered=True, momentum=0.7, eps=1e-3, weight_decay=0.02),
    ic.Adam(),
    ic.Adam(0.02, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1),
    ic.Adam(0.02, betas=(0.0, 0.0), eps=1e-2),
]


def simulate(net, x, t, loss, optimizer, batches, epochs):
    """Train in NumPy, on a copy; per epoch: the parameters, and what history should say."""
    p, state, step = net.parameters(), {name: {} for name in net.parameters()}, 0
    rule = RULES[type(optimizer).__name__]
    for _ in range(epochs):
        losses, norms, right = [], [], []
        for rows in batches:
            step += 1
            value, gradients, zs = oracle(p, layers(net), x[rows], t[rows], loss)
            want = as_rows(t[rows], zs[-1].shape[1])
            right.append(zs[-1].argmax(1) == want.argmax(1))
            losses += [value] * len(right[-1])
            norms.append(np.sqrt(sum((g**2).sum() for g in gradients.values())))
            for name, g in gradients.items():
                p[name] = rule(optimizer, p[name], g, state[name], step)
        yield (
            dict(p),
            {
                "loss": np.mean(losses),
                "accuracy": np.concatenate(right).mean(),
                "gradient_norm": np.mean(norms),
            },
        )


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_steps_are_those_of_pytorch(optimizer):
    """40 full-batch steps in float64: every step's parameters within 1e-9."""
    rng = np.random.default_rng(5)
    x, t = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    net = network([3, 4, 2])
    want = list(simulate(net, x, t, "mse", optimizer, [slice(None)], 40))
    got = []
    net.fit(
        x, t, loss="mse", optimizer=optimizer, batch_size=9, epochs=40, shuffle=False,
        callbacks=[lambda _: got.append(net.parameters())],
    )  # fmt: skip
    assert len(got) == 40
    for mine, (theirs, _) in zip(got, want, strict=True):
        assert_close(mine, theirs, 1e-9)
    # The rule mattered: nothing moves by less than the bound.
    assert all(np.abs(got[0][n] - got[-1][n]).max() > 1e-3 for n in got[0])


def test_history_holds_what_happened_in_partial_batches_too():
    rng = np.random.default_rng(6)
    x, t = rng.normal(size=(11, 3)), rng.integers(0, 4, 11)
    net = network([3, 5, 4])
    batches = [slice(0, 4), slice(4, 8), slice(8, 11)]
    optimizer = ic.SGD(0.3, momentum=0.5)
    want = list(simulate(net, x, t, "softmax_cross_entropy", optimizer, batches, 5))
    began = time.perf_counter()
    history = net.fit(
        x, t, loss="softmax_cross_entropy", optimizer=optimizer, batch_size=4, epochs=5,
        shuffle=False,
    )  # fmt: skip
    wall = time.perf_counter() - began
    assert_close(net.parameters(), want[-1][0], 1e-12)
    for name in ("loss", "accuracy", "gradient_norm"):
        np.testing.assert_allclose(history[name], [row[name] for _, row in want], rtol=1e-12)
    assert [row["epoch"] for row in history.epochs] == list(range(5))
    assert history["val_loss"] == history["val_accuracy"] == [None] * 5
    assert 0 < sum(history["seconds"]) <= wall
    assert history.diverged is False
    assert set(history) == set(history.keys()) == set(dict(history))
    assert set(history.epochs[0]) == {*history, "epoch", "diverged"}
    with pytest.raises(KeyError):
        history["epoch"]


# --- fit: order, bits, threads -------------------------------------------------------------------


def visits(seed, rows=12, **options):
    """The order in which an epoch visits its samples, read off the weights.

    Sample i is the i-th unit vector and moves weight i only. Momentum 1/2 then carries it on:
    k steps later it stands at 2 - 2^-k times its first move.
    """
    net = ic.MLP([rows, 1], activation="linear", init="zeros", bias=False, dtype=np.float64)
    net.fit(
        np.eye(rows), np.ones(rows), loss="mse", optimizer=ic.SGD(1e-9, momentum=0.5),
        batch_size=1, epochs=1, seed=seed, **options,
    )  # fmt: skip
    moves = net.parameters()["layers.0.weight"][:, 0] / 2e-9
    # Each place in the epoch is taken exactly once.
    np.testing.assert_allclose(np.sort(moves), 2 - 0.5 ** np.arange(rows), rtol=1e-6)
    return np.argsort(-moves).tolist()


def test_every_sample_is_visited_once_in_an_order_of_the_seed():
    assert visits(0, shuffle=False) == visits(5, shuffle=False) == list(range(12))
    seeds = [0, 1, 2, 3, 2**32, 2**64 - 1]
    orders = [visits(seed) for seed in seeds]
    assert orders == [visits(seed) for seed in seeds]
    assert len({*map(tuple, orders), tuple(range(12))}) == 7


def test_every_epoch_has_its_own_order():
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(7, 3)), rng.normal(size=(7, 1))
    net = network([3, 1], "linear")

    def after(epochs, shuffle):
        other = network([3, 1], "linear")
        kw = {"optimizer": ic.SGD(0.1), "batch_size": 1, "loss": "mse", "shuffle": shuffle}
        for _ in range(epochs):
            other.fit(x, t, epochs=1, **kw)
        net.set_parameters(network([3, 1], "linear").parameters())
        net.fit(x, t, epochs=epochs, **kw)
        return bits(other.parameters()) == bits(net.parameters())

    # Plain SGD keeps no state: two fits of one epoch are a fit of two, unless the orders differ.
    assert after(2, shuffle=False)
    assert after(1, shuffle=True)
    assert not after(2, shuffle=True)


ADAM = ic.Adam(1e-3)


def big_fit(threads, dtype=np.float32, seed=0, optimizer=ADAM, fit_seed=0):
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(512, 300)), rng.integers(0, 10, 512)
    net = ic.MLP([300, 400, 10], activation="tanh", init="xavier_normal", seed=seed, dtype=dtype)
    history = net.fit(
        x, t, loss="softmax_cross_entropy", optimizer=optimizer, batch_size=256, epochs=2,
        num_threads=threads, seed=fit_seed, validation_data=(x[:100], t[:100]),
    )  # fmt: skip
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.epochs]
    return bits(net.parameters()), rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "optimizer",
    [ic.SGD(0.1, momentum=0.9), ic.RMSProp(1e-3, centered=True, momentum=0.5), ADAM],
)
def test_threads_do_not_reach_the_bits(dtype, optimizer):
    alone = big_fit(1, dtype, optimizer=optimizer)
    for threads in (1, 2, 3, 7):
        assert big_fit(threads, dtype, optimizer=optimizer) == alone
    assert big_fit(2, dtype, seed=1, optimizer=optimizer)[0] != alone[0]
    assert big_fit(2, dtype, optimizer=optimizer, fit_seed=1)[0] != alone[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_do_not_reach_the_bits_of_a_pass(dtype):
    rng = np.random.default_rng(2)
    x, t = rng.normal(size=(1500, 300)).astype(dtype), rng.normal(size=(1500, 7)).astype(dtype)
    net = network([300, 400, 7], "sigmoid", dtype=dtype)
    w, b = (net.parameters()[f"layers.0.{kind}"] for kind in ("weight", "bias"))
    dy = rng.normal(size=(1500, 400)).astype(dtype)

    def everything(threads):
        y, cache = ic.dense_forward(x, w, b, "tanh", num_threads=threads)
        value, gradients = net.loss_and_grad(x, t, loss="mse", num_threads=threads)
        arrays = [y, *ic.dense_backward(dy, cache, num_threads=threads), *gradients.values()]
        arrays += [net.forward(x, num_threads=threads), *net.activations(x, num_threads=threads)]
        evaluated = net.evaluate(x, t, loss="mse", num_threads=threads)
        return value, evaluated, [a.tobytes() for a in arrays]

    alone = everything(1)
    assert all(everything(threads) == alone for threads in (2, 3, 7))


def test_many_fits_at_once_give_the_bits_of_one_alone():
    alone = [big_fit(2, seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: big_fit(1 + i % 3, seed=i % 4), range(12)))
    assert together == alone * 3


def test_a_network_can_be_read_while_it_trains():
    """Whoever reads meanwhile sees the parameters of some epoch, whole."""
    x, t = np.ones((1000, 8)), np.zeros((1000, 1))
    net, known, seen = network([8, 50, 1]), [], []
    known.append(bits(net.parameters()))
    done = threading.Event()

    def read():
        while not done.is_set():
            seen.append(bits(net.parameters()))
            time.sleep(0.0005)

    reader = threading.Thread(target=read)
    reader.start()
    net.fit(
        x, t, loss="mse", optimizer=ic.SGD(0.01), batch_size=1, epochs=40,
        callbacks=[lambda _: known.append(bits(net.parameters()))],
    )  # fmt: skip
    done.set()
    reader.join()
    assert len(seen) > 5
    assert all(s in known for s in seen)


# --- fit: callbacks, divergence, validation, interruption ----------------------------------------

X = np.random.default_rng(8).normal(size=(20, 3))
T = np.random.default_rng(9).integers(0, 2, 20)
FIT = {"loss": "softmax_cross_entropy", "optimizer": ic.Adam(0.01), "batch_size": 6}


def after(epochs, **options):
    net = network([3, 4, 2])
    net.fit(X, T, epochs=epochs, **FIT, **options)
    return bits(net.parameters())


def test_callbacks_see_the_network_of_their_epoch():
    net, seen = network([3, 4, 2]), []
    history = net.fit(
        X, T, epochs=3, callbacks=[lambda row: seen.append((row, bits(net.parameters())))], **FIT
    )
    assert [row for row, _ in seen] == history.epochs
    assert [b for _, b in seen] == [after(1), after(2), after(3)]
    assert len({b["layers.0.weight"] for _, b in seen}) == 3


def test_something_true_from_a_callback_ends_the_fit():
    net, called = network([3, 4, 2]), []
    callbacks = [lambda row: row["epoch"] == 1, called.append]
    history = net.fit(X, T, epochs=10, callbacks=iter(callbacks), **FIT)
    assert len(history["loss"]) == 2
    assert len(called) == 2  # each callback is called in the last epoch too
    assert bits(net.parameters()) == after(2)
    assert not history.diverged


def test_an_exception_in_a_callback_comes_out_and_leaves_the_last_epoch():
    class OddError(BaseException):
        pass

    net, error = network([3, 4, 2]), OddError("here")

    def fail(row):
        if row["epoch"] == 1:
            raise error

    with pytest.raises(OddError) as caught:
        net.fit(X, T, epochs=10, callbacks=[fail], **FIT)
    assert caught.value is error
    assert bits(net.parameters()) == after(2)
    with pytest.raises(ValueError, match="ambiguous"):
        net.fit(X, T, epochs=2, callbacks=[lambda _: np.ones(2)], **FIT)
    assert np.isfinite(net.fit(X, T, epochs=1, **FIT)["loss"][0])


def test_what_a_callback_sets_is_lost():
    net = network([3, 4, 2])
    zeros = {"layers.0.weight": np.zeros((3, 4))}
    net.fit(X, T, epochs=3, callbacks=[lambda _: net.set_parameters(zeros)], **FIT)
    assert bits(net.parameters()) == after(3)


def test_no_epochs_change_nothing():
    net = network([3, 4, 2])
    before = bits(net.parameters())
    history = net.fit(X, T, epochs=0, **FIT)
    assert history.epochs == [] == history["loss"]
    assert not history.diverged
    assert bits(net.parameters()) == before


def test_a_batch_may_be_larger_than_the_data():
    net = network([3, 4, 2])
    net.fit(X, T, epochs=4, **{**FIT, "batch_size": 20})
    want = bits(net.parameters())
    net = network([3, 4, 2])
    net.fit(X, T, epochs=4, **{**FIT, "batch_size": 2**40})
    assert bits(net.parameters()) == want


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["linear", "relu", "leaky_relu"])
def test_a_diverging_fit_stops_with_finite_parameters(activation, dtype):
    net = ic.MLP([3, 8, 1], activation=activation, seed=1, dtype=dtype)
    net.set_parameters({"layers.0.weight": np.abs(net.parameters()["layers.0.weight"])})
    rows = []
    history = net.fit(
        np.abs(X), T, loss="mse", optimizer=ic.SGD(1e3), batch_size=20, epochs=500,
        callbacks=[rows.append],
    )  # fmt: skip
    assert history.diverged
    assert 1 < len(history.epochs) < 500
    assert [row["diverged"] for row in rows] == [False] * (len(rows) - 1) + [True]
    last = history.epochs[-1]
    assert not np.isfinite([last["loss"], last["gradient_norm"]]).all()
    assert all(np.isfinite(p).all() for p in net.parameters().values())
    assert np.abs(net.parameters()["layers.1.weight"]).max() > 1e3  # steps before it were taken


def test_validation_is_of_the_epochs_network_and_leaves_no_trace():
    net, want = network([3, 4, 2]), []
    xv, tv = X[:7] + 0.5, T[:7]
    evaluate = lambda _: want.append(net.evaluate(xv, tv, loss=FIT["loss"]))  # noqa: E731
    history = net.fit(X, T, epochs=4, validation_data=(xv, tv), callbacks=[evaluate], **FIT)
    assert list(zip(history["val_loss"], history["val_accuracy"], strict=True)) == want
    loss, _, zs = oracle(net.parameters(), layers(net), xv, tv, FIT["loss"])
    assert history["val_loss"][-1] == pytest.approx(loss, rel=1e-12)
    assert history["val_accuracy"][-1] == np.mean(zs[-1].argmax(1) == tv)
    assert len(set(history["val_loss"])) == 4
    assert bits(net.parameters()) == after(4)


def test_progress_is_shown_on_request_only(capsys):
    net = network([3, 4, 2])
    net.fit(X, T, epochs=2, progress=False, **FIT)
    net.fit(X, T, epochs=2, **FIT)
    assert capsys.readouterr() == ("", "")
    net.fit(X, T, epochs=2, progress=True, **FIT)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch" in err


def interrupted(net, x, t, **options):
    """Fit under a Ctrl-C after 0.2 s; gives the time from the signal to the exception."""
    sent = []

    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    # A process started in the background ignores the signal until told otherwise.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, send)
    timer.start()
    try:
        # A fit that hears nothing gives up by itself, and the test fails.
        deadline = time.perf_counter() + 5
        options["callbacks"] = [lambda _: time.perf_counter() > deadline]
        with pytest.raises(KeyboardInterrupt):
            net.fit(x, t, loss="mse", **options)
        return time.perf_counter() - sent[0]
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="os.kill sends no Ctrl-C there")
@pytest.mark.parametrize("rows", [1, 500_000], ids=["many epochs", "one epoch"])
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_a_fit_between_two_steps(rows, threads):
    # Equal units see equal gradients: half a step (an update is in chunks) would tell them apart.
    net = ic.MLP([1, 20_000, 1], activation="linear", init="ones", seed=0, dtype=np.float64)
    net.set_parameters({"layers.0.bias": np.ones(20_000)})
    options = {"optimizer": ic.SGD(1e-12), "batch_size": 1, "num_threads": threads}
    x, t = np.ones((rows, 1)), np.zeros((rows, 1))
    assert interrupted(net, x, t, epochs=10**9, **options) < 1.0
    parameters = net.parameters()
    for value in parameters.values():
        assert np.isfinite(value).all()
        assert np.ptp(value) == 0
    assert parameters["layers.0.weight"][0, 0] < 1  # and steps were taken
    assert net.fit(x[:1], t[:1], loss="mse", epochs=1, **options)["loss"][0] > 0


def test_other_threads_run_during_a_fit():
    x, t, ticks, done = np.ones((150_000, 4)), np.zeros((150_000, 1)), [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    net = network([4, 32, 1])
    ticker = threading.Thread(target=tick)
    ticker.start()
    began = time.perf_counter()
    net.fit(x, t, loss="mse", optimizer=ic.SGD(1e-6), batch_size=1, epochs=1, num_threads=1)
    ended = time.perf_counter()
    done.set()
    ticker.join()
    assert ended - began > 0.05, "too short to tell"
    # The middle half has no epoch's end in it, where Python code runs anyway.
    quarter = (ended - began) / 4
    assert sum(began + quarter < at < ended - quarter for at in ticks) >= 5
