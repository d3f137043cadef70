"""`fit` in several processes: here they are threads, connected by a barrier through the Python protocol."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import initcore as ic
from initcore import distributed
from nn_helpers import bits, network

TIMEOUT = 30


class Threads:
    """What connects the threads of one fit."""

    def __init__(self, size):
        self.size = size
        self.barrier = threading.Barrier(size, timeout=TIMEOUT)
        self.buffers = [None] * size

    def run(self, body):
        """`body(workers)` in every thread; what each gives or raises."""

        def guarded(rank):
            try:
                return body(Worker(self, rank))
            except Exception as error:  # noqa: BLE001
                return error

        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(guarded, range(self.size)))


class Worker:
    def __init__(self, threads, rank):
        self.threads, self.rank, self.size = threads, rank, threads.size
        self.calls = []

    def sum(self, buffer):
        assert buffer.ndim == 1
        assert buffer.flags.c_contiguous
        assert buffer.flags.writeable
        self.calls.append((buffer.dtype, buffer.size))
        self.threads.buffers[self.rank] = buffer
        self.threads.barrier.wait()
        total = np.sum(self.threads.buffers, axis=0)
        self.threads.barrier.wait()
        buffer[:] = total


RNG = np.random.default_rng(3)
ROWS = 29
X, LABELS, VALUES = RNG.normal(size=(ROWS, 6)), RNG.integers(0, 3, ROWS), RNG.normal(size=(ROWS, 3))
WEIGHTS = RNG.random(ROWS) * (RNG.random(ROWS) < 0.8)
CE, MSE = "softmax_cross_entropy", "mse"


def net_of(dtype=np.float64, seed=0):
    return network([6, 12, 8, 3], "tanh", dtype=dtype, seed=seed)


def fit(net, workers=None, **options):
    loss = options.pop("loss", CE)
    kw = {
        "loss": loss, "optimizer": ic.SGD(0.2, momentum=0.9), "batch_size": 10, "epochs": 4, "seed": 5,
        "num_threads": 1, "progress": False, "workers": workers, **options,
    }  # fmt: skip
    x, t = kw.pop("x", X), kw.pop("t", LABELS if loss == CE else VALUES)
    return net.fit(x, t, **kw)


def figures(history):
    """Everything in the history but the times."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.epochs]


def shared(size, dtype=np.float64, **options):
    """Network and history of the first thread; those of the others are the same."""

    def body(workers):
        net = net_of(dtype)
        return net, fit(net, workers, **options)

    results = Threads(size).run(body)
    for result in results:
        if isinstance(result, Exception):
            raise result
        net, history = result
        assert bits(net.parameters()) == bits(results[0][0].parameters())
        assert repr(figures(history)) == repr(figures(results[0][1]))
    return results[0]


def error_of(net, want):
    """The largest error of a parameter, relative to the largest parameter of its array."""
    got, want = net.parameters(), want.parameters()
    return max(abs(got[k] - want[k]).max() / abs(want[k]).max() for k in want)


CASES = {
    "sgd": {"optimizer": ic.SGD(0.3)},
    "momentum": {"optimizer": ic.SGD(0.2, momentum=0.9, nesterov=True), "clip_norm": 0.3},
    "adam": {"optimizer": ic.Adam(0.01), "sample_weight": WEIGHTS, "schedule": ic.CosineSchedule(warmup=1)},
    "adamw": {"optimizer": ic.AdamW(0.01), "loss": MSE, "clip_norm": 0.3, "batch_size": 4},
    "rmsprop": {"optimizer": ic.RMSProp(1e-3), "loss": MSE, "sample_weight": WEIGHTS, "shuffle": False},
    "adagrad": {"optimizer": ic.Adagrad(0.01), "batch_size": 100},
}
#: Relative to the largest parameter: some hundred roundings of these types.
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_shared_fit_is_the_fit_of_one_process(case, dtype):
    options = {**CASES[case], "validation_data": (X[:11], (VALUES if "loss" in CASES[case] else LABELS)[:11])}
    alone, exact = net_of(dtype), net_of()
    exact.set_parameters(alone.parameters())
    history = fit(alone, **options)
    fit(exact, **options)
    for size in [2, 3, 7]:
        net, seen = shared(size, dtype, **options)
        assert error_of(net, alone) < TOLERANCE[dtype]
        # Not further from the truth than the single process is.
        assert error_of(net, exact) < TOLERANCE[dtype]
        for name in ["loss", "accuracy", "val_loss", "val_accuracy", "gradient_norm"]:
            got, want = seen[name], history[name]
            if want[0] is None:
                assert got == want
            else:
                np.testing.assert_allclose(got, want, rtol=TOLERANCE[dtype])


def test_a_single_worker_is_none_to_the_last_bit():
    class Single:
        rank, size = 0, 1

        def sum(self, _):
            pytest.fail("there is nobody else")

    alone, single = net_of(), net_of()
    history = fit(alone)
    assert figures(fit(single, Single())) == figures(history)
    assert bits(single.parameters()) == bits(alone.parameters())


def test_the_same_number_of_processes_and_any_threads_give_the_same_bits():
    first, _ = shared(3)
    second, _ = shared(3, num_threads=2)
    assert bits(first.parameters()) == bits(second.parameters())


def test_one_sum_for_a_step():
    def body(workers):
        fit(net_of(np.float32), workers, validation_data=(X, LABELS), epochs=2)
        return workers.calls

    parameters = 6 * 12 + 12 + 12 * 8 + 8 + 8 * 3 + 3
    reports = 2 * 16
    epoch = [parameters + reports] * 3 + [reports] * 2  # three batches, the validation, the end
    agreement = (np.dtype(np.float64), 2 * 4 * (1 + len(distributed.ALIKE)))
    for calls in Threads(2).run(body):
        assert calls == [agreement, *((np.dtype(np.float32), n) for n in epoch * 2)]


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonfinite", ["stop", "skip"])
def test_a_diverging_fit_is_one_in_every_process(nonfinite):
    options = {"optimizer": ic.SGD(1e20), "loss": MSE, "nonfinite": nonfinite}
    alone = net_of(np.float32)
    with pytest.warns(RuntimeWarning, match="became infinite or NaN"):
        history = fit(alone, **options)
    with pytest.warns(RuntimeWarning, match="became infinite or NaN"):
        net, seen = shared(3, np.float32, **options)
    assert seen.divergence == history.divergence
    assert seen.skipped == history.skipped
    assert all(np.isfinite(value).all() for value in net.parameters().values())


def test_all_say_where_it_began_in_one():
    """Only one of the processes has the row whose outputs are infinite."""
    far = X.astype(np.float32)
    far[17] = 3e38
    options = {"x": far, "t": VALUES, "loss": MSE, "batch_size": ROWS, "shuffle": False}

    def body(workers):
        net = network([6, 12, 3], "relu", dtype=np.float32)
        return fit(net, workers, **options).divergence

    with pytest.warns(RuntimeWarning, match=r"the output of layers\.0 became infinite"):
        assert Threads(3).run(body) == [body(None)] * 3


def test_a_callback_of_one_process_ends_the_fit_of_all():
    def body(workers):
        def enough(row):
            return workers.rank == 1 and row["epoch"] == 1

        net = net_of()
        return len(fit(net, workers, epochs=9, callbacks=[enough]).epochs), bits(net.parameters())

    results = Threads(3).run(body)
    assert results == [(2, bits(shared(3, epochs=2)[0].parameters()))] * 3


def test_early_stopping_is_the_same_everywhere():
    rule = ic.EarlyStopping("val_loss", patience=2)
    options = {"epochs": 40, "early_stopping": rule, "validation_data": (X[:7], (LABELS[:7] + 1) % 3)}
    alone = net_of()
    history = fit(alone, **options)
    net, seen = shared(2, **options)
    assert len(history.epochs) < 40
    assert (len(seen.epochs), seen.best_epoch) == (len(history.epochs), history.best_epoch)
    assert error_of(net, alone) < 1e-12


def test_an_error_in_one_process_is_told_to_all():
    want = bits(shared(3, epochs=2)[0].parameters())

    def body(workers):
        def fails(row):
            if workers.rank == 2 and row["epoch"] == 1:
                msg = "my own"
                raise KeyError(msg)

        net = net_of()
        try:
            fit(net, workers, epochs=9, callbacks=[fails])
        finally:
            assert bits(net.parameters()) == want

    first, second, own = Threads(3).run(body)
    assert isinstance(own, KeyError)
    for error in [first, second]:
        assert isinstance(error, RuntimeError)
        assert "process 2 of 3 could not go on" in str(error)


def test_an_error_of_the_engine_comes_out_as_it_is():
    """A peer that is gone: the parameters are those after the last whole step."""
    step = bits(shared(2, batch_size=ROWS, epochs=2)[0].parameters())

    def body(workers):
        whole, sums = workers.sum, iter(range(100))

        def fails(buffer):
            # Agreement, then a step and an end for every epoch.
            if next(sums) == 5:
                msg = "connection closed by peer"
                raise ConnectionError(msg)
            whole(buffer)

        workers.sum = fails
        net = net_of()
        with pytest.raises(ConnectionError, match="closed by peer"):
            fit(net, workers, batch_size=ROWS, epochs=9)
        assert bits(net.parameters()) == step

    assert Threads(2).run(body) == [None, None]


# --- disagreement --------------------------------------------------------------------------------

OTHER = X.copy()
OTHER[3, 2] = np.nextafter(OTHER[3, 2], 9)


@pytest.mark.parametrize(
    ("names", "different"),
    [
        ("batch_size", {"batch_size": 9}),
        ("x", {"x": OTHER}),
        ("x, t", {"x": X[:20], "t": LABELS[:20]}),
        ("t", {"t": LABELS[::-1]}),
        ("sample_weight", {"sample_weight": np.ones(ROWS)}),
        ("validation_data", {"validation_data": (X, LABELS)}),
        ("loss, epochs", {"epochs": 5, "loss": "softmax_cross_entropy(0.1)", "t": LABELS}),
        ("optimizer", {"optimizer": ic.SGD(0.2)}),
        ("schedule", {"schedule": ic.CosineSchedule()}),
        ("clip_norm", {"clip_norm": 1.0}),
        ("shuffle, seed", {"shuffle": False, "seed": 0}),
        ("early_stopping, nonfinite", {"early_stopping": ic.EarlyStopping("loss"), "nonfinite": "skip"}),
        ("parameters", {"net": net_of(seed=1)}),
        ("network, parameters", {"net": network([6, 3], "tanh")}),
        ("network, parameters, x", {"net": net_of(np.float32)}),
    ],
)
def test_processes_that_are_given_different_things_are_told_what(names, different):
    def body(workers):
        options = dict(different) if workers.rank == 1 else {}
        net = options.pop("net", None) or net_of()
        before = bits(net.parameters())
        try:
            fit(net, workers, **options)
        finally:
            assert bits(net.parameters()) == before

    for error in Threads(3).run(body):
        assert isinstance(error, ValueError)
        assert f"alike: {names} not as in process 0 in 1 (of 3)" in str(error)


def test_arguments_that_one_process_refuses_stop_all():
    def body(workers):
        fit(net_of(), workers, **({"x": X[:, :4], "nonfinite": "no"} if workers.rank == 0 else {}))

    own, *others = Threads(3).run(body)
    assert isinstance(own, ValueError)
    assert "nonfinite must be" in str(own)
    for error in others:
        assert isinstance(error, RuntimeError)
        assert "process 0 of 3 could not begin" in str(error)


@pytest.mark.parametrize("asked", [{"num_threads": 0}, {"num_threads": "2"}], ids=str)
def test_what_may_differ_but_is_wrong_stops_all(asked):
    def body(workers):
        fit(net_of(), workers, **(asked if workers.rank == 1 else {}))

    first, own = Threads(2).run(body)
    assert isinstance(own, ValueError | TypeError)
    assert "num_threads" in str(own)
    assert "process 1 of 2 could not begin" in str(first)


def test_what_all_refuse_all_say():
    for error in Threads(2).run(lambda workers: fit(net_of(), workers, clip_norm=-1.0)):
        assert isinstance(error, ValueError)
        assert "clip_norm" in str(error)


def test_processes_that_drift_apart_end():
    """One adds a little to a gradient of the second step: the next sum finds out."""

    def body(workers):
        whole = workers.sum

        def sloppy(buffer):
            whole(buffer)
            if workers.rank == 0 and len(workers.calls) == 3:
                buffer[0] += 1e-9

        workers.sum = sloppy
        fit(net_of(), workers)

    for error in Threads(2).run(body):
        assert isinstance(error, RuntimeError)
        assert "no longer hold the same numbers" in str(error)


# --- what is no engine ---------------------------------------------------------------------------


class Fake:
    def __init__(self, rank, size, factor=1.0):
        self.rank, self.size, self.factor = rank, size, factor

    def sum(self, buffer):
        buffer *= self.factor


@pytest.mark.parametrize(
    ("workers", "error", "text"),
    [
        (object(), TypeError, "object without rank"),
        (Fake(0, 0), ValueError, "workers.size"),
        (Fake(-1, 2), ValueError, "workers.rank"),
        (Fake(2, 2), ValueError, "below workers.size, got 2 of 2"),
        (Fake(0, 1.5), TypeError, "workers.size must be an integer"),
        (Fake(0, 2, 0.5), RuntimeError, "must add up the buffers of 2 processes"),
        (Fake(0, 2), ValueError, "not as in process 0 in 1"),
    ],
)
def test_what_is_no_engine_is_refused(workers, error, text):
    net = net_of()
    before = bits(net.parameters())
    with pytest.raises(error, match=text):
        fit(net, workers)
    assert bits(net.parameters()) == before


def test_progress_is_shown_by_the_first_process_alone(capsys):
    for shown, rank in [(True, 0), (False, 1)]:
        Threads(2).run(lambda workers: fit(net_of(), workers, progress=workers.rank == rank))  # noqa: B023
        assert ("epoch/s]" in capsys.readouterr().err) == shown
