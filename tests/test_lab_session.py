"""The laboratory's sessions, without a page: training that pauses, steps, resets and ends."""

import threading
import time

import numpy as np
import pytest

import initcore as ic
from initcore.lab.session import OVER, Session
from initcore.lab.settings import Settings, schemes

# In its thread, where nobody can catch it.
pytestmark = pytest.mark.filterwarnings("ignore:.*the fit ended with the last:RuntimeWarning")

SMALL = {"data": "xor", "widths": "2x8"}


@pytest.fixture
def session():
    made = Session(Settings(**SMALL))
    yield made
    made.close()


def wait(condition, seconds=5.0):
    """Poll until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.002)


def state(session):
    return session.snapshot().state


def step(session):
    """Train exactly one epoch."""
    epoch = session.snapshot().epoch
    session.step()
    wait(lambda: state(session) != "running")
    assert session.snapshot().epoch == epoch + 1 or state(session) in OVER


def bits(session):
    return b"".join(value.tobytes() for value in session.network().net.parameters().values())


def test_before_the_training_there_is_no_thread_and_one_point(session):
    snapshot = session.snapshot()
    assert (snapshot.state, snapshot.epoch, session.thread) == ("ready", 0, None)
    assert snapshot.history["epoch"] == [0]
    data = session.data
    assert (
        snapshot.last("loss")
        == session.network().net.evaluate(data.x_train, data.y_train, loss="softmax_cross_entropy")[0]
    )


@pytest.mark.parametrize("init", [*schemes(), "constant(0.1)", "normal(0.01)", "sparse(0.5)"])
def test_every_scheme_trains(init):
    session = Session(Settings(**SMALL, init=init))
    before = bits(session)
    step(session)
    moved = bits(session) != before
    session.close()
    assert state(session) in {"paused", "diverged"}
    # Zeros move too: the bias of the outputs has a gradient.
    assert moved or state(session) == "diverged"


def test_it_is_the_library_s_own_fit(session):
    for _ in range(3):
        step(session)
    data = session.data
    net = ic.MLP([2, 8, 8, 2], activation="relu", init="he_normal", seed=0)
    history = net.fit(
        data.x_train,
        data.y_train,
        loss="softmax_cross_entropy",
        optimizer=ic.SGD(0.05),
        batch_size=32,
        epochs=3,
        seed=0,
        validation_data=(data.x_test, data.y_test),
    )
    snapshot = session.snapshot()
    assert snapshot.history["loss"][1:] == history.loss
    assert snapshot.history["val_accuracy"][1:] == history.val_accuracy
    for name, value in net.parameters().items():
        np.testing.assert_array_equal(session.network().net.parameters()[name], value)


def test_pausing_does_not_change_the_training():
    """An optimizer with a memory, stopped after every epoch, or never."""
    paused = Session(Settings(**SMALL, optimizer="adam", lr=0.01))
    for _ in range(4):
        step(paused)
    free = Session(Settings(**SMALL, optimizer="adam", lr=0.01))
    free.start()
    wait(lambda: free.snapshot().epoch >= 4)
    free.close()
    assert free.snapshot().history["loss"][:5] == paused.snapshot().history["loss"]
    paused.close()


def test_pause_pauses_and_start_goes_on(session):
    session.start()
    wait(lambda: session.snapshot().epoch >= 2)
    session.pause()
    wait(lambda: state(session) == "paused")
    epoch, held = session.snapshot().epoch, bits(session)
    time.sleep(0.2)
    assert session.snapshot().epoch == epoch
    assert bits(session) == held
    session.start()
    wait(lambda: session.snapshot().epoch > epoch + 1)


def test_steps_are_counted(session):
    for _ in range(3):
        session.step()
    wait(lambda: state(session) == "paused")
    assert session.snapshot().epoch == 3


def test_a_step_while_it_runs_is_a_pause(session):
    session.start()
    wait(lambda: session.snapshot().epoch >= 1)
    session.step()
    wait(lambda: state(session) == "paused")


def test_reset_gives_the_same_bits_again(session):
    first, curves = bits(session), []
    for _ in range(2):
        session.reset()
        assert (bits(session), state(session), session.snapshot().epoch) == (first, "ready", 0)
        for _ in range(3):
            step(session)
        curves.append(session.snapshot().history)
    assert curves[0] == curves[1]


def test_reset_while_it_runs_ends_the_old_training(session):
    session.start()
    wait(lambda: session.snapshot().epoch >= 1)
    old = session.thread
    session.reset(Settings(**SMALL, init="zeros"))
    assert not old.is_alive()
    assert session.thread is None
    assert session.snapshot().epoch == 0
    assert not np.frombuffer(bits(session), np.float32).any()


def test_settings_that_do_not_work_leave_the_session(session):
    session.start()
    with pytest.raises(ValueError, match="only zeros"):
        session.reset(Settings(**SMALL, init="zeros", scale=2.0))
    assert session.settings == Settings(**SMALL)
    epoch = session.snapshot().epoch
    wait(lambda: session.snapshot().epoch > epoch)


@pytest.mark.parametrize("before", [Session.start, Session.step, Session.pause])
def test_close_ends_the_thread(session, before):
    before(session)
    thread = session.thread
    session.close()
    assert thread is None or not thread.is_alive()
    session.start()  # nothing begins again
    assert session.thread is None


def test_close_without_waiting_ends_it_too(session):
    session.start()
    thread = session.thread
    session.close(wait=False)
    thread.join(5)
    assert not thread.is_alive()


def test_closing_wakes_one_that_is_paused(session):
    step(session)
    thread = session.thread
    session.close()
    assert not thread.is_alive()


def test_sessions_are_independent():
    sessions = [Session(Settings(**SMALL, seed=seed)) for seed in (1, 2)]
    sessions[0].start()
    wait(lambda: sessions[0].snapshot().epoch >= 2)
    assert sessions[1].snapshot().epoch == 0
    assert bits(sessions[0]) != bits(sessions[1])
    before = threading.active_count()
    for session in sessions:
        session.close()
    assert threading.active_count() == before - 1


def test_pace():
    session = Session(Settings(**SMALL), pace=20)
    session.start()
    time.sleep(0.5)
    session.close()
    assert session.snapshot().epoch <= 11


def test_a_pause_need_not_wait_for_the_pace():
    session = Session(Settings(**SMALL), pace=0.01)
    session.start()
    wait(lambda: session.snapshot().epoch == 1)
    session.pause()
    wait(lambda: state(session) == "paused", 1)
    session.close()


def test_a_divergence_ends_it():
    session = Session(Settings(**SMALL, scale=100.0, lr=1e6))
    session.start()
    wait(lambda: state(session) in OVER)
    snapshot = session.snapshot()
    assert snapshot.state == "diverged"
    assert "finite" in snapshot.message
    session.start()
    assert state(session) == "diverged"
    session.reset()
    assert state(session) == "ready"
    session.close()


def test_the_scale_multiplies_the_weights():
    plain, scaled = (Session(Settings(**SMALL, scale=scale)).network().net for scale in (1.0, 4.0))
    for name, value in plain.parameters().items():
        np.testing.assert_array_equal(scaled.parameters()[name], 4 * value)


def test_long_histories_are_thinned_and_keep_their_ends(session):
    session._rows = [dict(session._rows[0], loss=float(i)) for i in range(12_346)]
    history = session.snapshot().history
    assert len(history["loss"]) <= 401
    assert (history["epoch"][0], history["epoch"][-1]) == (0.0, 12_345.0)
    assert history["loss"] == history["epoch"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "/etc/passwd.csv"}, "unknown data set"),
        ({"widths": "abc"}, "expected widths such as .*'abc'"),
        ({"widths": ""}, "expected a text, got nothing"),
        ({"widths": "0"}, "expected widths"),
        ({"widths": "21x4"}, "at most 20 layers"),
        ({"widths": "5000"}, "at most 1024"),
        ({"activation": "rulu"}, "rulu"),
        ({"init": "he_nrmal"}, "unknown initializer 'he_nrmal'"),
        ({"init": "constant"}, "wrong arguments in the initializer"),
        ({"init": "__import__('os')"}, "unknown initializer"),
        ({"init": "normal(-1)"}, "-1"),
        ({"scale": 0}, "scale: expected a number from 0.01 to 100, got 0"),
        ({"scale": float("nan")}, "scale: expected a number"),
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'"),
        ({"lr": -1}, "learning rate: expected a number above 0, got -1"),
        ({"lr": 0}, "learning rate"),
        ({"lr": None}, "learning rate: expected a number, got nothing"),
        ({"lr": "fast"}, "learning rate: expected a number, got 'fast'"),
        ({"batch_size": 0}, "batch size: expected a whole number from 1"),
        ({"batch_size": 2.5}, "batch size: expected a whole number"),
        ({"batch_size": None}, "batch size: expected a number, got nothing"),
        ({"seed": -1}, "seed: expected a whole number from 0"),
        ({"seed": 2**64}, "seed"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        Settings(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": "zeros", "scale": 2.0}, "only zeros, and a scale changes none"),
        ({"init": "delta_orthogonal", "widths": "8,4"}, "delta_orthogonal needs no fewer outputs"),
        ({"widths": "1024,1024"}, "parameters is too large to watch"),
    ],
)
def test_settings_that_do_not_fit_together(change, message):
    with pytest.raises(ValueError, match=message):
        Session(Settings(**{**SMALL, **change}))


def test_seeds_keep_all_their_bits():
    assert Settings(seed=str(2**64 - 1)).seed == 2**64 - 1
    assert Settings(seed=7.0, batch_size=16.0).seed == 7
