"""Networks far out: biases of ten thousand, and of minus infinity."""

import math
import pickle

import numpy as np
import pytest

import initcore as ic
from nn_helpers import BCE, CE, HUBER, LOSSES, MAE, MSE, network, oracle, targets

XT = np.random.default_rng(20).normal(size=(40, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_biases_of_ten_thousand(loss, dtype):
    """Logits of +-1e4 +- 1: losses of 1e4 or of nothing, with gradients, and training goes on."""
    net = network([3, 4, 2], dtype=dtype)
    net.set_parameters({"layers.1.bias": [1e4, -1e4]})
    for t in (targets(np.random.default_rng(seed), loss, 40, 2) for seed in range(4)):
        value, gradients = net.loss_and_grad(XT, t, loss=loss)
        want_value, want, _ = oracle(net.parameters(), ["tanh", "linear"], XT.astype(dtype), t, loss)
        # The logits are good to eps of 1e4.
        bound = 64e4 * float(np.finfo(dtype).eps)
        assert value == pytest.approx(want_value, rel=bound)
        for name, gradient in gradients.items():
            assert np.abs(gradient - want[name]).max() <= bound * max(1.0, np.abs(want[name]).max())
        twin = pickle.loads(pickle.dumps(net))
        history = twin.fit(XT, t, loss=loss, optimizer=ic.Adam(1.0), batch_size=10, epochs=3)
        assert not history.diverged
        assert history["loss"][-1] <= history["loss"][0]
    wrong = [1] * 40 if loss == CE else np.tile([0.0, 1.0], (40, 1))
    right = [0] * 40 if loss == CE else np.tile([1.0, 0.0], (40, 1))
    if loss in (CE, BCE):
        worst, none = (net.evaluate(XT, t, loss=loss) for t in (wrong, right))
        assert worst[0] == pytest.approx(2e4 if loss == CE else 1e4, rel=1e-3)
        assert worst[1] == 0
        assert none == (0.0, 1.0)
    else:
        assert net.evaluate(XT, right, loss=loss)[0] > {MSE: 0.9e8, MAE: 0.9e4, HUBER: 0.9e4}[loss]


OPTIMIZERS = [
    ic.SGD(0.1),
    ic.SGD(0.1, momentum=0.9),
    ic.Adagrad(0.1),
    ic.RMSProp(0.01),
    ic.Adam(0.01),
    ic.AdamW(0.01),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_bias_of_minus_infinity_keeps_a_class_out(optimizer, dtype):
    labels, tolerance = np.arange(40) % 2, 1e-12 if dtype == np.float64 else 1e-5
    masked, plain = network([3, 4, 3], dtype=dtype), network([3, 4, 2], dtype=dtype)
    w, b = plain.parameters()["layers.1.weight"], plain.parameters()["layers.1.bias"]
    inf = np.float32(-np.inf)
    masked.set_parameters({**{n: v for n, v in plain.parameters().items() if "layers.0" in n}})
    masked.set_parameters(
        {"layers.1.weight": np.insert(w, 1, 0, axis=1), "layers.1.bias": np.insert(b, 1, inf)}
    )
    labels_3 = 2 * labels  # the classes but the second
    value, gradients = masked.loss_and_grad(XT, labels_3, loss=CE)
    want_value, want = plain.loss_and_grad(XT, labels, loss=CE)
    assert value == pytest.approx(want_value, rel=tolerance)
    for name, gradient in gradients.items():
        expected = np.insert(want[name], 1, 0, axis=-1) if "layers.1" in name else want[name]
        np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance)
    assert not gradients["layers.1.weight"][:, 1].any()
    assert not gradients["layers.1.bias"][1]
    assert set(masked.predict(XT)) <= {0, 2}
    options = {"loss": CE, "optimizer": optimizer, "batch_size": 7, "epochs": 5, "clip_norm": 0.3}
    history = masked.fit(XT, labels_3, **options)
    assert not history.diverged
    plain.fit(XT, labels, **options)
    p = masked.parameters()
    assert p["layers.1.bias"][1] == -np.inf
    np.testing.assert_allclose(
        np.delete(p["layers.1.bias"], 1), plain.parameters()["layers.1.bias"], rtol=100 * tolerance
    )
    np.testing.assert_allclose(
        p["layers.0.weight"], plain.parameters()["layers.0.weight"], rtol=100 * tolerance, atol=tolerance
    )
    # A sample of the class that is kept out costs infinitely much.
    assert masked.evaluate(XT, np.ones(40, int), loss=CE)[0] == math.inf
    with pytest.warns(RuntimeWarning, match="became infinite or NaN in step 0"):
        history = masked.fit(XT, np.ones(40, int), **options)
    assert history.divergence.epoch == 0
