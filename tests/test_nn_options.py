"""Options of networks and fits: layers of their own kinds, batches, weights, early stopping, infinities."""

import dataclasses
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import initcore as ic
from nn_helpers import (
    ACTIVATIONS,
    CE,
    FUNCTIONS,
    LABELS,
    LOSSES,
    MSE,
    X,
    assert_close,
    bits,
    network,
    oracle,
    small_network,
    targets,
)

RNG = np.random.default_rng(20)
# Samples that a small network learns well enough to overfit, and others like them.
XT, TT = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 2))
XV, TV = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 2))
FIT = {"loss": MSE, "optimizer": ic.SGD(0.05, momentum=0.9), "batch_size": 10}


# --- layers of their own kinds -------------------------------------------------------------------


@settings(max_examples=60)
@given(st.data())
def test_every_layer_has_its_own_activation_and_bias(data):
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    depth, names = len(sizes) - 1, st.sampled_from(ACTIVATIONS)
    hidden = data.draw(st.lists(names, min_size=depth - 1, max_size=depth - 1))
    output, loss = data.draw(names), data.draw(st.sampled_from(LOSSES))
    bias = data.draw(st.lists(st.booleans(), min_size=depth, max_size=depth))
    seed = data.draw(st.integers(0, 1000))
    net, rng = network(sizes, hidden, output, bias=bias, seed=seed), np.random.default_rng(seed)
    p = net.parameters()
    assert [f"layers.{i}.bias" in p for i in range(depth)] == bias
    x, t = rng.normal(size=(4, sizes[0])), targets(rng, loss, 4, sizes[-1])
    want_loss, want, zs = oracle(p, [*hidden, output], x, t, loss)
    value, gradients = net.loss_and_grad(x, t, loss=loss)
    assert value == pytest.approx(want_loss, rel=1e-12, abs=1e-14)
    assert list(gradients) == list(p)
    assert_close(gradients, want, 1e-12)
    ys = net.activations(x)
    for y, z, name in zip(ys, zs, [*hidden, output], strict=True):
        np.testing.assert_allclose(y, FUNCTIONS[name][0](z), rtol=1e-12, atol=1e-13)


def test_one_for_all_is_the_same_for_each():
    one = small_network((3, 4, 5, 2), activation="gelu", bias=True)
    each = small_network((3, 4, 5, 2), activation=["gelu", "gelu"], bias=(True, True, True))
    assert bits(one.parameters()) == bits(each.parameters())
    assert one.forward(X).tobytes() == each.forward(X).tobytes()
    assert each.activation == ("gelu", "gelu")
    assert each.bias == (True,) * 3
    assert "activation=('gelu', 'gelu')" in repr(each)
    twin = pickle.loads(pickle.dumps(each))
    assert (repr(twin), bits(twin.parameters())) == (repr(each), bits(each.parameters()))
    # A layer's weights do not depend on whether there are biases, or on what follows.
    other = small_network((3, 4, 5, 2), activation=["relu", "tanh"], bias=[False, True, False])
    for name, value in other.parameters().items():
        assert value.tobytes() == one.parameters()[name].tobytes()


BAD_LAYERS = [
    ({"activation": ["relu"]}, ValueError, "activation has 1 entries, expected 2"),
    ({"activation": ["relu"] * 3}, ValueError, "activation has 3 entries, expected 2"),
    ({"activation": []}, ValueError, "activation has 0 entries, expected 2"),
    (
        {"activation": ["relu", 1]},
        TypeError,
        r"activation must be a str or a sequence of them, got \('relu', 1\)",
    ),
    ({"activation": 3.0}, TypeError, "activation must be a str or a sequence of them, got 3.0"),
    ({"activation": b"relu"}, TypeError, "activation must be a str or"),
    ({"activation": ["relu", "swosh"]}, ValueError, 'unknown activation "swosh"; known are linear, relu'),
    ({"activation": ["relu", "elu(nan)"]}, ValueError, "elu needs a finite alpha"),
    ({"output_activation": ["linear"]}, TypeError, "output_activation must be str, got list"),
    ({"bias": [True]}, ValueError, "bias has 1 entries, expected 3"),
    ({"bias": [True] * 4}, ValueError, "bias has 4 entries, expected 3"),
    (
        {"bias": [True, 1, True]},
        TypeError,
        r"bias must be a bool or a sequence of them, got \(True, 1, True\)",
    ),
    ({"bias": None}, TypeError, "bias must be a bool or a sequence of them, got None"),
    ({"bias": "yes"}, TypeError, "bias must be a bool or"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD_LAYERS)
def test_bad_layers(options, error, message):
    with pytest.raises(error, match=message):
        small_network((3, 4, 5, 2), **options)


# --- batches and weights -------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batch_size", [1, 7, 20, 39, 40, 41, 2**62])
def test_batches_of_any_size_are_their_steps(batch_size, loss):
    """One sample, all of them, and a last batch of what is left: SGD by the oracle's gradients."""
    net, t = network([3, 5, 2], "silu"), targets(np.random.default_rng(1), loss, 40, 2)
    p, losses, norms = net.parameters(), [], []
    for start in range(0, 40, min(batch_size, 40)):
        rows = slice(start, min(start + batch_size, 40))
        value, gradients, _ = oracle(p, ["silu", "linear"], XT[rows], t[rows], loss)
        p = {name: p[name] - 0.05 * gradients[name] for name in p}
        losses += [value] * len(XT[rows])
        norms.append(np.sqrt(sum((g**2).sum() for g in gradients.values())))
    history = net.fit(
        XT, t, loss=loss, optimizer=ic.SGD(0.05), batch_size=batch_size, epochs=1, shuffle=False
    )
    assert_close(net.parameters(), p, 1e-12)
    assert history["loss"] == pytest.approx([np.mean(losses)], rel=1e-12)
    assert history["gradient_norm"] == pytest.approx([np.mean(norms)], rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_whole_weights_are_repeated_samples(loss):
    counts = np.arange(40) % 4
    t = targets(np.random.default_rng(1), loss, 40, 2)
    fits = []
    for rows, weights in [(np.arange(40), counts), (np.repeat(np.arange(40), counts), None)]:
        net = network([3, 5, 2])
        history = net.fit(
            XT[rows], t[rows], sample_weight=weights, loss=loss, optimizer=ic.Adam(0.01), batch_size=100,
            epochs=10, validation_data=(XT[rows], t[rows], weights),
        )  # fmt: skip
        fits.append((net, history))
    (net, history), (repeated, want) = fits
    assert_close(net.parameters(), repeated.parameters(), 1e-11)
    for name in ("loss", "val_loss", "gradient_norm"):
        np.testing.assert_allclose(history[name], want[name], rtol=1e-11)


def test_weights_of_any_form_are_the_same():
    weights = np.array([1, 2, 0, 3, 1, 1])
    forms = [weights.astype(kind) for kind in ("f4", "f8", "f2", "i1", "u8", ">f8", ">i4")]
    forms += [weights.tolist(), np.stack([weights] * 2, 1)[:, 0], weights[::-1].copy()[::-1]]
    net = small_network()
    want = net.loss_and_grad(X, LABELS, loss=CE, sample_weight=weights)
    for form in forms:
        value, gradients = net.loss_and_grad(X, LABELS, loss=CE, sample_weight=form)
        assert value == want[0]
        assert bits(gradients) == bits(want[1])
    booleans = net.evaluate(X, LABELS, loss=CE, sample_weight=weights > 0)
    kept = weights > 0
    assert booleans[0] == pytest.approx(net.evaluate(X[kept], LABELS[kept], loss=CE)[0], rel=1e-6)


SIX = np.ones(6)
BAD_WEIGHTS = [
    (SIX[:5], ValueError, r"sample_weight must have shape \(6,\), one per row of x, got \(5,\)"),
    (SIX[:, None], ValueError, r"sample_weight must have shape \(6,\), one per row of x, got \(6, 1\)"),
    (1.0, ValueError, r"must have shape \(6,\), one per row of x, got \(\)"),
    (SIX * 0, ValueError, "weight"),
    (SIX - 2 * np.eye(6)[3], ValueError, "-1 .*row 3|row 3.*-1"),
    (SIX * np.nan, ValueError, "NaN|finite"),
    (SIX * np.inf, ValueError, "inf|finite"),
    (SIX * 1j, TypeError, "sample_weight must hold real numbers"),
    (["a"] * 6, TypeError, "sample_weight must hold real numbers"),
    (SIX * 1e300, ValueError, "sample_weight: some values are too large for float32"),
]


@pytest.mark.parametrize(("weights", "error", "message"), BAD_WEIGHTS)
def test_bad_weights(weights, error, message):
    net = small_network()
    before, options = bits(net.parameters()), {"loss": CE, "optimizer": ic.SGD(0.1), "batch_size": 2}
    for call, where in [
        (lambda: net.loss_and_grad(X, LABELS, loss=CE, sample_weight=weights), ""),
        (lambda: net.evaluate(X, LABELS, loss=CE, sample_weight=weights), ""),
        (lambda: net.fit(X, LABELS, sample_weight=weights, epochs=1, **options), ""),
        (lambda: net.fit(X, LABELS, validation_data=(X, LABELS, weights), epochs=1, **options), "validation"),
    ]:
        with pytest.raises(error, match=message) as caught:
            call()
        assert where in str(caught.value)
        assert bits(net.parameters()) == before


# --- early stopping ------------------------------------------------------------------------------


def fit_with(rule, epochs=200, **options):
    net, seen = network([3, 16, 2]), []
    history = net.fit(
        XT, TT, epochs=epochs, validation_data=(XV, TV), early_stopping=rule,
        callbacks=[lambda _: seen.append(bits(net.parameters()))], **{**FIT, **options},
    )  # fmt: skip
    return net, history, seen


def best_of(figures, min_delta=0.0):
    """The epoch that early stopping thinks the best, of figures that should fall."""
    best = 0
    for epoch, figure in enumerate(figures):
        if figure < figures[best] - min_delta:
            best = epoch
    return best


@pytest.mark.parametrize("patience", [1, 2, 7])
@pytest.mark.parametrize("min_delta", [0.0, 0.01])
@pytest.mark.parametrize("restore_best", [True, False])
def test_early_stopping_ends_after_its_patience_with_the_best(patience, min_delta, restore_best):
    rule = ic.EarlyStopping(patience=patience, min_delta=min_delta, restore_best=restore_best)
    net, history, seen = fit_with(rule)
    figures = history["val_loss"]
    best = best_of(figures, min_delta)
    assert history.best_epoch == best
    assert len(figures) == best + patience + 1 < 200  # it never waited that long before
    for end in range(1, len(figures)):
        assert end - 1 - best_of(figures[:end], min_delta) < patience
    assert bits(net.parameters()) == seen[best if restore_best else -1]
    assert seen[best] != seen[-1]
    # Up to there it is the fit that it would have been.
    plain = network([3, 16, 2])
    plain.fit(XT, TT, epochs=best + 1 if restore_best else len(figures), **FIT)
    assert bits(plain.parameters()) == bits(net.parameters())


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy", "loss", "accuracy"])
def test_early_stopping_watches_what_it_is_told(monitor):
    t, tv = (np.arange(n) % 2 for n in (40, 20))
    net = network([3, 16, 2])
    history = net.fit(
        XT, t, loss=CE, optimizer=ic.SGD(2.0), batch_size=10, epochs=300, validation_data=(XV, tv),
        early_stopping=ic.EarlyStopping(monitor, patience=3),
    )  # fmt: skip
    sign = -1 if monitor.endswith("accuracy") else 1
    figures = [sign * figure for figure in history[monitor]]
    assert history.best_epoch == best_of(figures)
    assert len(figures) == history.best_epoch + 4 < 300
    assert history[monitor][history.best_epoch] == (max if sign < 0 else min)(history[monitor])


def test_a_fit_that_gets_better_all_the_time_goes_on():
    net, history, seen = fit_with(ic.EarlyStopping("loss", patience=1), epochs=5, optimizer=ic.SGD(1e-3))
    assert len(history.epochs) == 5
    assert history.best_epoch == 4
    assert bits(net.parameters()) == seen[-1]
    assert fit_with(ic.EarlyStopping(), epochs=0)[1].best_epoch is None


def test_a_callback_may_end_it_before():
    net = network([3, 16, 2])
    history = net.fit(
        XT,
        TT,
        epochs=50,
        early_stopping=ic.EarlyStopping("loss"),
        callbacks=[lambda row: row["epoch"] == 2],
        **FIT,
    )
    assert len(history.epochs) == 3


def test_early_stopping_is_a_value():
    rule = ic.EarlyStopping("val_accuracy", patience=3, min_delta=0.5, restore_best=False)
    assert rule == pickle.loads(pickle.dumps(rule)) == dataclasses.replace(rule)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.patience = 2
    # One rule serves many fits: what a fit remembers is the fit's.
    rule = ic.EarlyStopping(patience=2)
    assert bits(fit_with(rule)[0].parameters()) == bits(fit_with(rule)[0].parameters())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"monitor": "val_cost"}, ValueError, "monitor must be one of val_loss, .*, got 'val_cost'"),
        ({"monitor": None}, ValueError, "got None"),
        ({"patience": 0}, ValueError, r"patience must be in \[1, .*, got 0"),
        ({"patience": 1.5}, TypeError, "patience must be an integer, got 1.5"),
        ({"min_delta": -0.1}, ValueError, "min_delta must be finite and at least 0, got -0.1"),
        ({"min_delta": math.nan}, ValueError, "min_delta must be finite"),
        ({"min_delta": math.inf}, ValueError, "min_delta must be finite"),
        ({"min_delta": "a"}, TypeError, "must be real number, not str"),
    ],
)
def test_bad_rules(options, error, message):
    with pytest.raises(error, match=message):
        ic.EarlyStopping(**options)


def test_early_stopping_needs_what_it_watches():
    net = network([3, 16, 2])
    before = bits(net.parameters())
    for monitor in ("val_loss", "val_accuracy"):
        with pytest.raises(ValueError, match=f"early stopping watches {monitor}: it needs validation_data"):
            net.fit(XT, TT, epochs=1, early_stopping=ic.EarlyStopping(monitor), **FIT)
    for monitor in ("accuracy", "val_accuracy"):
        with pytest.raises(ValueError, match=f"early stopping watches {monitor}, which mse does not have"):
            net.fit(
                XT, TT, epochs=1, early_stopping=ic.EarlyStopping(monitor), validation_data=(XV, TV), **FIT
            )
        assert bits(net.parameters()) == before  # refused before the first step
    with pytest.raises(TypeError, match="early_stopping must be EarlyStopping, got str"):
        net.fit(XT, TT, epochs=1, early_stopping="loss", **FIT)
    assert bits(net.parameters()) == before


# --- numbers that are not finite -----------------------------------------------------------------


# Inputs of 1e25 square in the gradient: beyond float32, while the loss is a finite float64.
BAD_ROW = 7
XB = XT.astype(np.float32)
XB[BAD_ROW] = 1e25


def linear():
    return network([3, 2], dtype=np.float32)


def test_nonfinite_steps_are_skipped_with_a_warning():
    options = {**FIT, "batch_size": 1, "shuffle": False, "epochs": 3}
    net, fewer, rows = linear(), linear(), []
    with pytest.warns(RuntimeWarning) as caught:
        history = net.fit(XB, TT, nonfinite="skip", callbacks=[rows.append], **options)
    want = fewer.fit(np.delete(XB, BAD_ROW, 0), np.delete(TT, BAD_ROW, 0), **options)
    assert bits(net.parameters()) == bits(fewer.parameters())
    first = "the gradient of layers.0 became infinite or NaN in step 7 (epoch 0)"
    assert [str(w.message) for w in caught] == [f"{first}; 3 such steps were left out"]
    assert caught[0].filename == __file__
    assert history.divergence == ic.Divergence(0, 7, 0, "gradient", first) == rows[0]["divergence"]
    assert str(history.divergence) == first
    assert history.diverged
    assert history.skipped == 3
    assert [row["divergence"].step for row in rows] == [7, 47, 87]
    for name in ("loss", "gradient_norm"):
        assert history[name] == want[name]


def test_a_nonfinite_step_ends_the_fit_with_a_warning():
    options = {**FIT, "batch_size": 1, "shuffle": False}
    net, short = linear(), linear()
    with pytest.warns(RuntimeWarning, match=r"layers.0 .* step 7 \(epoch 0\); the fit ended with the last"):
        history = net.fit(XB, TT, epochs=3, **options)
    assert len(history.epochs) == 1
    assert history.skipped == 0
    assert history.epochs[0]["gradient_norm"] == math.inf
    short.fit(XB[:BAD_ROW], TT[:BAD_ROW], epochs=1, **options)
    assert bits(net.parameters()) == bits(short.parameters())


def test_all_steps_skipped_is_an_epoch_without_figures():
    x, net = np.full((4, 3), 1e25, np.float32), linear()
    before = bits(net.parameters())
    with pytest.warns(RuntimeWarning, match="4 such steps"):
        history = net.fit(
            x, TT[:4], nonfinite="skip", epochs=2, early_stopping=ic.EarlyStopping("loss", patience=5),
            **{**FIT, "batch_size": 2},
        )  # fmt: skip
    assert bits(net.parameters()) == before
    assert np.isnan(history["loss"]).all()
    assert history.skipped == 4


def test_early_stopping_goes_back_behind_a_divergence():
    """A validation loss that is not a number is no better than any other."""
    net = small_network((3, 8, 1), activation="linear", seed=1)
    x, t = np.abs(XT), np.abs(TT[:, :1])
    with pytest.warns(RuntimeWarning, match="the fit ended"):
        history = net.fit(
            x, t, loss=MSE, optimizer=ic.SGD(0.3), batch_size=40, epochs=100, validation_data=(x, t),
            early_stopping=ic.EarlyStopping(patience=100),
        )  # fmt: skip
    assert history.diverged
    assert len(history.epochs) < 100
    figures = history["val_loss"]
    assert history.best_epoch == int(np.nanargmin(figures))
    assert net.evaluate(x, t, loss=MSE)[0] == min(figures)


@pytest.mark.parametrize("nonfinite", ["ignore", "", None, 3])
def test_bad_ways_with_nonfinite_numbers(nonfinite):
    with pytest.raises(ValueError, match=f"nonfinite must be 'stop' or 'skip', got {nonfinite!r}"):
        linear().fit(XT, TT, nonfinite=nonfinite, epochs=1, **FIT)


def test_an_update_that_overflows_is_taken_back():
    for nonfinite, skipped in (("stop", 0), ("skip", 2)):
        net = linear()
        before = bits(net.parameters())
        options = {**FIT, "optimizer": ic.SGD(1e38), "batch_size": 40, "nonfinite": nonfinite}
        with pytest.warns(RuntimeWarning, match=r"the updated parameters of layers.0 .* step 0"):
            history = net.fit(1e3 * XT, TT, epochs=2, **options)
        assert bits(net.parameters()) == before
        assert history.divergence.what == "parameters"
        assert history.skipped == skipped
