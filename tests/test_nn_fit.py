"""`fit`: the order of the samples, the same bits on any threads, callbacks, divergence, interruption."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import initcore as ic
from nn_helpers import bits, layers, network, oracle

# --- order, bits, threads ------------------------------------------------------------------------


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


def test_many_fits_at_once_give_the_bits_of_one_alone():
    """Eight networks in eight threads that want more threads than there are, twice."""
    alone = [big_fit(2, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: big_fit(1 + i % 3, seed=i % 8), range(16)))
    assert together == alone * 2
    assert len({parameters["layers.0.weight"] for parameters, _ in alone}) == 8


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


# --- callbacks, divergence, validation, interruption ---------------------------------------------

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
    assert history.loss == history["loss"]
    assert not hasattr(history, "cost")
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
    with pytest.warns(RuntimeWarning, match="became infinite or NaN in step .* the fit ended with") as caught:
        history = net.fit(
            np.abs(X), T, loss="mse", optimizer=ic.SGD(1e3), batch_size=20, epochs=500,
            callbacks=[rows.append],
        )  # fmt: skip
    assert caught[0].filename == __file__
    assert history.diverged
    assert 1 < len(history.epochs) < 500
    assert [row["divergence"] for row in rows] == [None] * (len(rows) - 1) + [history.divergence]
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
            net.fit(x, t, **{"loss": "mse", **options})
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


@pytest.mark.skipif(os.name == "nt", reason="os.kill sends no Ctrl-C there")
@pytest.mark.parametrize("optimizer", [ic.SGD(2.0**-30), ic.Adam(2.0**-30)], ids=["SGD", "Adam"])
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_leaves_the_bits_of_a_whole_number_of_steps(optimizer, threads):
    """The last bias counts them: its gradient is -1 throughout, so it grows by the rate in every step."""
    rows = 2_000_000
    x, t = np.random.default_rng(0).normal(size=(rows, 2)), np.full((rows, 1), 1e9)
    net, other = network([2, 50, 1]), network([2, 50, 1])
    for each in (net, other):
        each.set_parameters({"layers.1.bias": [0.0]})
    fit = {"loss": "mae", "optimizer": optimizer, "batch_size": 1, "num_threads": threads, "shuffle": False}
    assert interrupted(net, x, t, epochs=1, **fit) < 1.0
    parameters = net.parameters()
    steps = round(parameters["layers.1.bias"][0] * 2.0**30)
    assert 0 < steps < rows
    other.fit(x[:steps], t[:steps], epochs=1, **fit)
    assert bits(other.parameters()) == bits(parameters)


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
