"""Layers, gradients, losses and optimizers against naive sums, finite differences, JAX, PyTorch's rules."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import initcore as ic
from nn_helpers import (
    ACTIVATIONS,
    FUNCTIONS,
    KINKS,
    LOSSES,
    as_rows,
    assert_close,
    layers,
    network,
    oracle,
    targets,
)

ODD = st.sampled_from([0, 1, 2, 3, 5, 7, 13, 17, 31])
SEEDS = st.integers(0, 2**32 - 1)


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
    z, plain = ic.dense_forward(x, w, b[0] if bias else None)
    assert y.dtype == dx.dtype == dw.dtype == z.dtype == dtype
    assert plain.slope is None

    def check(got, subscripts, left, right, slack=0.0):
        # slack: what an error that `left` or `right` came with may add
        left, right = left.astype(float), right.astype(float)
        n = {"il,lj->ij": fan_in + 1, "li,lj->ij": batch, "il,jl->ij": fan_out}[subscripts]
        want = np.einsum(subscripts, left, right)
        size = np.einsum(subscripts, np.abs(left), np.abs(right))
        assert got.shape == want.shape
        assert np.all(np.abs(got - want) <= 2 * (n + 4) * eps * size + slack)

    ones = np.ones((batch, 1))
    check(z, "il,lj->ij", np.hstack([x, ones * bias]), np.vstack([w, b]))
    f, slope = FUNCTIONS[activation]
    z = z.astype(float)
    np.testing.assert_allclose(y, f(z), rtol=8 * eps, atol=eps / 2)
    # Where the terms of a slope cancel it is good to eps of 1, not of itself.
    if cache.slope is not None:
        assert cache.slope.dtype == dtype
        np.testing.assert_allclose(cache.slope, slope(z), rtol=8 * eps, atol=8 * eps)
    assert (cache.slope is None) == (activation == "linear")
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


@pytest.mark.parametrize("rows", [16384, 16385, 40_000])
def test_many_rows(rows):
    """Full-batch training on a large set: sums over the batch stay accurate in float32.

    All terms are equal, the worst case for a running sum.
    """
    x, w = np.ones((rows, 3), np.float32), np.full((3, 300), 0.1, np.float32)
    _, cache = ic.dense_forward(x, w, np.zeros(300, np.float32))
    dx, dw, db = ic.dense_backward(np.full((rows, 300), 0.1, np.float32), cache)
    np.testing.assert_allclose(db, rows * np.float32(0.1), rtol=1e-7)
    np.testing.assert_allclose(dw, rows * np.float32(0.1), rtol=3e-5)
    np.testing.assert_allclose(dx, 3.0, rtol=1e-5)
    net = ic.MLP([3, 2], seed=0)
    net.fit(
        x, np.zeros(rows, int), loss="softmax_cross_entropy", optimizer=ic.SGD(0.1), batch_size=rows, epochs=1
    )


def test_a_sigmoid_before_the_binary_loss_is_part_of_it():
    """Probabilities out, logits into the loss: the training of a linear output, not a double sigmoid."""
    x, t = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
    nets = [ic.MLP([3, 8, 1], output_activation=o, seed=0) for o in ("sigmoid", "linear")]
    for net in nets:
        net.fit(x, t, loss="binary_cross_entropy", optimizer=ic.SGD(0.5), batch_size=10, epochs=20)
    probability, logit = (net.forward(x) for net in nets)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-logit)), rtol=1e-6)
    (a, b) = (net.evaluate(x, t, loss="binary_cross_entropy") for net in nets)
    assert a == b
    assert a[1] == np.mean(nets[0].predict(x) == t)


# --- gradients -----------------------------------------------------------------------------------


def clear_of_kinks(activation, z, margin=5e-3):
    return all(np.abs(z - kink).min() > margin for kink in KINKS.get(activation, ()))


def slope_at(f, h=2.0**-12):
    """The derivative of `f` at 0: five points, so that h^4 and eps / h are both below 1e-10."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


# The distance |y - t| at which the second derivative jumps, or the first.
LOSS_KINKS = {"mae": 0.0, "huber": 1.0}


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
    """Differences within 1e-8 |slope| + 1e-10; no unit near its kink."""
    rng = np.random.default_rng(seed)
    net = network(sizes, activation, output, seed=seed, bias=bias)
    x, t = rng.normal(size=(rows, sizes[0])), targets(rng, loss, rows, sizes[-1])
    parameters = net.parameters()
    want_loss, want, zs = oracle(parameters, layers(net), x, t, loss)
    assume(all(map(clear_of_kinks, layers(net), zs)))
    if loss in LOSS_KINKS:
        d = np.abs(net.forward(x) - t)
        assume(np.abs(d - LOSS_KINKS[loss]).min() > 5e-3)
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
            slope = slope_at(lambda step: loss_at(name, index, step))  # noqa: B023
            assert abs(gradient[index] - slope) <= 1e-8 * abs(slope) + 1e-10, (name, index)
        net.set_parameters({name: parameters[name]})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_of_the_input_is_a_slope(activation):
    rng = np.random.default_rng(7)
    x, w, b, dy = (rng.normal(size=s) for s in [(4, 3), (3, 5), 5, (4, 5)])
    _, cache = ic.dense_forward(x, w, b, activation)
    assert clear_of_kinks(activation, ic.dense_forward(x, w, b)[0])
    dx, _, _ = ic.dense_backward(dy, cache)
    for index in np.ndindex(x.shape):
        one = np.zeros_like(x)
        one[index] = 1.0
        slope = slope_at(lambda h: np.sum(dy * ic.dense_forward(x + h * one, w, b, activation)[0]))  # noqa: B023
        assert dx[index] == pytest.approx(slope, rel=1e-8, abs=1e-10)


def rounding_bounds(parameters, x, t):
    """How far float32 gradients of a tanh network under "mse" may be off those of float64.

    A sum of n products is off by n eps sum|a||b|; what comes in with an error hands it on. In one term of
    eps, 4 stands for the roundings of a function's value, and 0.77 is the largest bend of tanh.
    """
    eps, depth = np.finfo(np.float32).eps, len(parameters) // 2
    ws = [parameters[f"layers.{i}.weight"].astype(float) for i in range(depth)]
    ys, offs, slopes = [x.astype(float)], [np.zeros_like(x, float)], []
    for i, w in enumerate(ws):
        b = parameters[f"layers.{i}.bias"].astype(float)
        z, size = ys[-1] @ w + b, np.abs(ys[-1]) @ np.abs(w) + np.abs(b)
        off = offs[-1] @ np.abs(w) + (len(w) + 1) * eps * size
        last = i == depth - 1
        y = z if last else np.tanh(z)
        slopes.append((np.ones_like(z), 0.0) if last else (1 - y**2, 0.77 * off + 4 * eps))
        ys.append(y)
        offs.append(off if last else off + 4 * eps)
    d, off = 2 * (ys[-1] - t) / t.size, 2 * (offs[-1] + 2 * eps * (np.abs(ys[-1]) + np.abs(t))) / t.size
    values, bounds = {}, {}
    for i in reversed(range(depth)):
        slope, slope_off = slopes[i]
        off = off * np.abs(slope) + np.abs(d) * slope_off
        d = d * slope
        off = off + eps * np.abs(d)
        names, below = (f"layers.{i}.weight", f"layers.{i}.bias"), np.abs(ys[i])
        values[names[0]], values[names[1]] = ys[i].T @ d, d.sum(axis=0)
        bounds[names[0]] = below.T @ off + offs[i].T @ np.abs(d) + len(x) * eps * (below.T @ np.abs(d))
        bounds[names[1]] = off.sum(axis=0) + eps * np.abs(d).sum(axis=0)
        size = np.abs(d) @ np.abs(ws[i]).T
        d, off = d @ ws[i].T, off @ np.abs(ws[i]).T + ws[i].shape[1] * eps * size
    return values, bounds


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    rows=st.sampled_from([1, 2, 7, 64, 65, 300]),
    seed=SEEDS,
)
@example(sizes=[300, 200, 5], rows=1000, seed=0)
@example(sizes=[3, 2], rows=30_000, seed=0)
def test_float32_gradients_are_those_of_float64_but_for_rounding(sizes, rows, seed):
    rng = np.random.default_rng(seed)
    net, wide = (network(sizes, "tanh", seed=seed, dtype=dtype) for dtype in (np.float32, np.float64))
    wide.set_parameters(net.parameters())
    x, t = (rng.normal(size=(rows, n)).astype(np.float32) for n in (sizes[0], sizes[-1]))
    _, narrow = net.loss_and_grad(x, t, loss="mse")
    _, exact = wide.loss_and_grad(x, t, loss="mse")
    values, bounds = rounding_bounds(net.parameters(), x, t)
    assert_close(exact, values, 1e-12)
    for name, bound in bounds.items():
        assert np.all(np.abs(narrow[name] - exact[name]) <= bound), name
        assert narrow[name].dtype == np.float32


@pytest.mark.peers
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jax_agrees(activation, loss):
    """Outputs, loss and gradients in float64, within 1e-12; JAX finds the derivatives by itself."""
    jax = pytest.importorskip("jax")
    # Most have our name.
    functions = {
        "linear": lambda z: z,
        "gelu": lambda z: jax.nn.gelu(z, approximate=False),
        "gelu_tanh": lambda z: jax.nn.gelu(z, approximate=True),
        "softsign": jax.nn.soft_sign,
    }
    f_hidden = functions.get(activation) or getattr(jax.nn, activation)
    rng = np.random.default_rng(11)
    x, outputs = rng.normal(size=(6, 4)), 3
    net = network([4, 5, 7, outputs], activation)
    t = rng.dirichlet(np.ones(outputs), 6)

    def forward(p):
        y = x
        for i, f in enumerate([f_hidden] * 2 + [lambda z: z]):
            y = f(y @ p[f"layers.{i}.weight"] + p[f"layers.{i}.bias"])
        return y

    def value(p):
        y = forward(p)
        if loss == "mse":
            return ((y - t) ** 2).mean()
        if loss == "mae":
            return jax.numpy.abs(y - t).mean()
        if loss == "huber":
            d = jax.numpy.abs(y - t)
            return jax.numpy.where(d <= 1, d**2 / 2, d - 0.5).mean()
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
    assert history.divergence is None
    assert history.skipped == 0
    assert history.best_epoch is None
    assert set(history) == set(history.keys()) == set(dict(history))
    assert set(history.epochs[0]) == {*history, "epoch", "skipped", "divergence"}
    with pytest.raises(KeyError):
        history["epoch"]


# --- threads -------------------------------------------------------------------------------------


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
