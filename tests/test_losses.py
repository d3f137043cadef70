"""Losses: known values, PyTorch's, smoothing, weights of samples, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import initcore as ic
from nn_helpers import (
    BCE,
    CE,
    HUBER,
    LABELS,
    LOSSES,
    MAE,
    MSE,
    X,
    as_rows,
    assert_close,
    bits,
    layers,
    loss_and_parameter,
    loss_of,
    network,
    oracle,
    small_network,
    targets,
)  # fmt: skip

# Every loss with its default, and with another parameter where it has one.
ALL = [*LOSSES, f"{HUBER}(0.25)", f"{BCE}(label_smoothing=0.2)", f"{CE}(0.2)"]
TORCH = json.loads((Path(__file__).parent / "vectors/losses_torch.json").read_text())["cases"]


# --- values --------------------------------------------------------------------------------------


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
    # sigmoid(x) - t, without losing what is left where the sigmoid saturates
    other = np.exp(-abs(x)) / (1 + np.exp(-abs(x)))
    slope = (1 - t) - other if x > 0 else other - t
    assert dw[0, 0] == pytest.approx(x * slope, rel=2 * rel, abs=1e-300)


def test_means_are_over_elements_and_over_rows():
    x, t = [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert loss_of(x, t, "mse")[0] == pytest.approx((4 + 9 + 1) / 6, rel=1e-15)
    single = [loss_of([row], [u], "softmax_cross_entropy")[0] for row, u in zip(x, t, strict=True)]
    assert loss_of(x, t, "softmax_cross_entropy")[0] == pytest.approx(np.mean(single), rel=1e-15)


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case["loss"])
def test_pytorch_agrees(case):
    """Loss and gradient in float64; `tools/torch_fixtures/losses.py` wrote down PyTorch's."""
    x, weights = np.array(case["logits"]), case["weights"]
    t = np.array(case["targets"])
    value, dw = loss_of(x, t, case["loss"], sample_weight=weights)
    assert value == pytest.approx(case["value"], rel=1e-12, abs=1e-15)
    want = x.T @ np.array(case["gradient"])
    np.testing.assert_allclose(dw, want, rtol=1e-12, atol=1e-12 * np.abs(x).max())


@pytest.mark.parametrize("loss", ALL)
@settings(max_examples=30)
@given(rows=st.integers(1, 40), outputs=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_losses_agree_with_numpy(loss, rows, outputs, seed):
    """With weights and without, alone and behind a network."""
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(rows, 3)), targets(rng, loss, rows, outputs)
    net = network([3, 4, outputs], seed=seed)
    weights = np.where(rng.random(rows) < 0.2, 0.0, rng.random(rows))
    weights[0] = 0.5
    for w in (None, weights):
        want, gradients, _ = oracle(net.parameters(), layers(net), x, t, loss, w)
        value, got = net.loss_and_grad(x, t, loss=loss, sample_weight=w)
        assert value == pytest.approx(want, rel=1e-12, abs=1e-15)
        assert_close(got, gradients, 1e-12)
        assert net.evaluate(x, t, loss=loss, sample_weight=w)[0] == pytest.approx(value, rel=1e-14)


@pytest.mark.peers
def test_jax_finds_the_same_slopes():
    jax = pytest.importorskip("jax")
    nn, jnp = jax.nn, jax.numpy
    rng = np.random.default_rng(3)
    x, w = 2 * rng.normal(size=(7, 4)), rng.random(7)
    values, p = rng.normal(size=(7, 4)), rng.dirichlet(np.ones(4), 7)

    def rows(y, loss):
        name, parameter = loss_and_parameter(loss)
        d = jnp.abs(y - values)
        if name == CE:
            return -((1 - parameter) * p + parameter / 4) * nn.log_softmax(y) * 4
        if name == BCE:
            t = (1 - parameter) * p + parameter / 2
            return -(t * nn.log_sigmoid(y) + (1 - t) * nn.log_sigmoid(-y))
        inside, outside = d**2 / 2, parameter * (d - parameter / 2)
        return {MSE: d**2, MAE: d, HUBER: jnp.where(d <= parameter, inside, outside)}[name]

    for loss in ALL:
        with jax.enable_x64(True):
            mean = lambda y, loss=loss: (jnp.asarray(w) * rows(y, loss).mean(axis=1)).sum() / w.sum()  # noqa: E731
            want, slopes = jax.value_and_grad(mean)(jnp.asarray(x))
            want, slopes = float(want), np.asarray(slopes)
        t = p if loss_and_parameter(loss)[0] in (BCE, CE) else values
        value, dw = loss_of(x, t, loss, sample_weight=w)
        assert value == pytest.approx(want, rel=1e-12)
        np.testing.assert_allclose(dw, x.T @ slopes, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", [BCE, CE])
def test_smoothing_is_the_same_as_smoothed_targets(name):
    rng = np.random.default_rng(1)
    for e in (0.0, 0.1, 0.9):
        x, t = rng.normal(size=(8, 4)), targets(rng, name, 8, 4)
        rows = as_rows(t, 4)
        want = loss_of(x, (1 - e) * rows + e / (2 if name == BCE else 4), name)
        got = loss_of(x, t, f"{name}(label_smoothing={e})")
        assert got[0] == pytest.approx(want[0], rel=1e-14)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-13, atol=1e-14)


def test_a_parameter_that_is_the_default_changes_nothing():
    for default, same in [(HUBER, "huber(1)"), (BCE, f"{BCE}(0)"), (CE, f"{CE}(label_smoothing=0.0)")]:
        t = LABELS if default == CE else np.eye(2)[LABELS]
        assert small_network().evaluate(X, t, loss=default) == small_network().evaluate(X, t, loss=same)


@pytest.mark.parametrize("kind", ["?", "i1", "u8", "f2", "f4", ">f8", "g"])
def test_binary_targets_of_any_type(kind):
    net = small_network((3, 4, 1))
    want = net.loss_and_grad(X, LABELS[:, None] * 1.0, loss=BCE)
    for t in (LABELS.astype(kind), LABELS.astype(kind)[:, None], LABELS.astype(kind).tolist()):
        value, gradients = net.loss_and_grad(X, t, loss=BCE)
        assert value == want[0]
        assert bits(gradients) == bits(want[1])


# --- weights of samples --------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ALL)
@settings(max_examples=20)
@given(
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=12).filter(any),
    outputs=st.integers(1, 5),
    scale=st.sampled_from([1.0, 2.0**-20, 2.0**20]),
    seed=st.integers(0, 2**32 - 1),
)
def test_weights_repeat_samples(loss, counts, outputs, scale, seed):
    """An integer weight is as many samples, 0 is none, and only the ratios count."""
    rng, n = np.random.default_rng(seed), len(counts)
    x, t = rng.normal(size=(n, 3)), targets(rng, loss, n, outputs)
    net = network([3, 4, outputs], seed=seed)
    value, gradients = net.loss_and_grad(x, t, loss=loss, sample_weight=scale * np.array(counts))
    want, repeated = net.loss_and_grad(np.repeat(x, counts, 0), np.repeat(t, counts, 0), loss=loss)
    assert value == pytest.approx(want, rel=1e-13, abs=1e-15)
    assert_close(gradients, repeated, 1e-13)


def test_a_fit_follows_the_weights():
    """Full batches: the weighted fit is that of the repeated samples; validation data have weights too."""
    rng = np.random.default_rng(4)
    x, t = rng.normal(size=(9, 3)), rng.integers(0, 3, 9)
    counts = np.array([2, 0, 1, 3, 1, 0, 1, 1, 2])
    options = {"loss": CE, "optimizer": ic.SGD(0.3), "epochs": 5, "shuffle": False}
    weighted, repeated = (network([3, 4, 3], seed=1) for _ in range(2))
    a = weighted.fit(
        x, t, batch_size=9, sample_weight=counts, validation_data=(x, t, counts), **options
    )  # fmt: skip
    x2, t2 = np.repeat(x, counts, 0), np.repeat(t, counts, 0)
    b = repeated.fit(x2, t2, batch_size=11, validation_data=(x2, t2), **options)
    assert_close(weighted.parameters(), repeated.parameters(), 1e-12)
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-12)
    np.testing.assert_allclose(a["val_loss"], b["val_loss"], rtol=1e-12)
    assert a["val_loss"][-1] == weighted.evaluate(x, t, loss=CE, sample_weight=counts)[0]
    # The accuracy counts heads.
    assert a["val_accuracy"][-1] == np.mean(weighted.predict(x) == t)


def test_weights_go_with_their_samples_into_batches():
    """Batches of 4 of 10, one of them without any weight: the same steps by hand."""
    rng = np.random.default_rng(5)
    x, t = rng.normal(size=(10, 3)), rng.normal(size=(10, 2))
    w = np.array([1, 2, 0, 0.5, 0, 0, 0, 0, 3, 1.5])
    net, by_hand = (network([3, 4, 2], seed=2) for _ in range(2))
    options = {"loss": HUBER, "optimizer": ic.SGD(0.3), "sample_weight": w, "epochs": 1}
    history = net.fit(x, t, batch_size=4, shuffle=False, **options)
    total = 0.0
    for rows in (slice(0, 4), slice(8, 10)):
        value, gradients = by_hand.loss_and_grad(x[rows], t[rows], loss=HUBER, sample_weight=w[rows])
        total += value * w[rows].sum()
        p = by_hand.parameters()
        by_hand.set_parameters({name: p[name] - 0.3 * g for name, g in gradients.items()})
    assert_close(net.parameters(), by_hand.parameters(), 1e-13)
    assert history["loss"][0] == pytest.approx(total / w.sum(), rel=1e-13)

    # In one batch, the order is nothing, as long as it is the same for samples and weights.
    for shuffle in (False, True):
        net.fit(x, t, batch_size=10, shuffle=shuffle, **options)
        value, gradients = by_hand.loss_and_grad(x, t, loss=HUBER, sample_weight=w)
        p = by_hand.parameters()
        by_hand.set_parameters({name: p[name] - 0.3 * g for name, g in gradients.items()})
    assert_close(net.parameters(), by_hand.parameters(), 1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", [np.asarray, list, lambda w: w[::-1][::-1], lambda w: w.astype(">f4")])
def test_the_form_of_weights_does_not_matter(form, dtype):
    net, w = small_network(dtype=dtype), np.array([1, 0, 2, 0.5, 1, 4])
    want, got = (net.loss_and_grad(X, LABELS, loss=CE, sample_weight=s) for s in (w, form(w)))
    assert got[0] == want[0]
    assert bits(got[1]) == bits(want[1])
    even = net.loss_and_grad(X, LABELS, loss=CE, sample_weight=np.ones(6, bool))
    assert bits(even[1]) == bits(net.loss_and_grad(X, LABELS, loss=CE)[1])


# --- what is refused -----------------------------------------------------------------------------


BAD_WEIGHTS = [
    ([1, 1, -1, 1, 1, 1], ValueError, "weights must be finite, at least 0 .*, got -1 in row 2"),
    ([1, 1, 1, 1, 1, np.nan], ValueError, "weights must be finite, .* got NaN in row 5"),
    ([np.inf, 1, 1, 1, 1, 1], ValueError, "weights must be finite, .* got inf in row 0"),
    (np.zeros(6), ValueError, "weights must have a finite sum above 0, got 0"),
    (np.ones(5), ValueError, r"sample_weight must have shape \(6,\), one per row of x, got \(5,\)"),
    (np.ones((6, 1)), ValueError, r"sample_weight must have shape \(6,\), .* got \(6, 1\)"),
    (1.0, ValueError, r"sample_weight must have shape \(6,\), .* got \(\)"),
    (["a"] * 6, TypeError, "sample_weight must hold real numbers"),
    (np.full(6, 1e300), ValueError, "sample_weight: some values are too large for float32"),
]


@pytest.mark.parametrize(("weights", "error", "message"), BAD_WEIGHTS)
def test_bad_weights(weights, error, message):
    net = small_network()
    before = bits(net.parameters())
    fit = {"loss": CE, "optimizer": ic.SGD(0.1), "batch_size": 2, "epochs": 1}
    for call in (
        lambda: net.loss_and_grad(X, LABELS, loss=CE, sample_weight=weights),
        lambda: net.evaluate(X, LABELS, loss=CE, sample_weight=weights),
        lambda: net.fit(X, LABELS, sample_weight=weights, **fit),
        lambda: net.fit(X, LABELS, validation_data=(X, LABELS, weights), **fit),
    ):
        with pytest.raises(error, match=message):
            call()
        assert bits(net.parameters()) == before


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (f"{CE}(1)", r"softmax_cross_entropy needs a label_smoothing in \[0, 1\), got 1"),
        (f"{CE}(-0.1)", r"label_smoothing in \[0, 1\), got -0.1"),
        (f"{BCE}(label_smoothing=nan)", r"label_smoothing in \[0, 1\), got NaN"),
        (f"{CE}(smoothing=0.1)", "softmax_cross_entropy takes label_smoothing, got"),
        ("huber(0)", "huber needs a finite delta above 0, got 0"),
        ("huber(delta=inf)", "huber needs a finite delta above 0, got inf"),
        ("huber()", "huber needs a finite delta"),
        ("mae(2)", "mae takes no parameter"),
        ("hinge", f"known are {', '.join(LOSSES)}"),
    ],
)
def test_bad_losses(loss, message):
    net = small_network()
    before = bits(net.parameters())
    for call in (net.loss_and_grad, net.evaluate):
        with pytest.raises(ValueError, match=message):
            call(X, LABELS, loss=loss)
    with pytest.raises(ValueError, match=message):
        net.fit(X, LABELS, loss=loss, optimizer=ic.SGD(0.1), batch_size=2, epochs=1)
    assert bits(net.parameters()) == before
