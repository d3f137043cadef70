"""What the process around it cannot change: floating-point modes that other libraries set, forks, threads."""

import ctypes
import ctypes.util
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest

import initcore as ic

LINUX_X86 = sys.platform == "linux" and platform.machine() == "x86_64"
#: fesetround's numbers there.
MODES = {"down": 0x400, "up": 0x800, "zero": 0xC00}


# Made here: Python itself reads "0.7" differently when it rounds up.
INITIALIZERS = (ic.Normal(0.1, 0.7), ic.Uniform(-0.1, 0.7), ic.TruncatedNormal(0.1, 0.7))


def everything():
    """Values of every kind, and a small training, as bytes."""
    shape = (40, 30)
    arrays = [
        init(shape, seed=3, name="w", dtype=dtype, num_threads=2)
        for init in (*INITIALIZERS, *map(ic.get, ("he_normal", "xavier_uniform")))
        for dtype in ("float32", "float64")
    ]
    arrays += [
        ic.lecun_truncated_normal(shape, seed=3, dtype="float64", gain=1.1),
        ic.he_uniform(shape, seed=3, dtype="float64", negative_slope=0.3),
        ic.truncated_normal(9, seed=3, dtype="float64", low=0.3, high=1.7),
        np.float64(ic.get("xavier_normal").std((3, 4))),
    ]
    x = ic.normal((500, 40), seed=1, name="x")
    t = (x[:, 0] > 0).astype(int)
    for threads in (1, 2):
        net = ic.MLP([40, 70, 2], activation="tanh", seed=0)
        net.fit(
            x, t, loss="softmax_cross_entropy", optimizer=ic.Adam(0.01), batch_size=250, epochs=3,
            num_threads=threads,
        )  # fmt: skip
        arrays += net.parameters().values()
    return [array.tobytes() for array in arrays]


@pytest.mark.skipif(not LINUX_X86, reason="fesetround's numbers are those of Linux on x86-64")
@pytest.mark.parametrize("mode", MODES)
def test_the_callers_rounding_mode_changes_nothing(mode):
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    expected = everything()
    before = libm.fegetround()
    try:
        assert libm.fesetround(MODES[mode]) == 0
        found = everything()
        assert libm.fegetround() == MODES[mode], "the caller's mode is not given back"
    finally:
        libm.fesetround(before)
    assert found == expected


def in_a_process(code):
    """Run it on its own: other packages loaded here may not survive a fork."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=100)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on this system")
def test_a_forked_child_has_threads_of_its_own():
    """The parent's pool is not there in the child, which must make its own instead of waiting for ever."""
    in_a_process("""if True:
        import os, initcore as ic
        expected = ic.normal(300_000, seed=4, num_threads=3)
        for _ in range(20):
            if (child := os.fork()) == 0:
                os._exit(int((ic.normal(300_000, seed=4, num_threads=3) != expected).any()))
            assert os.waitpid(child, 0)[1] == 0
    """)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on this system")
def test_a_fork_in_the_middle_of_a_fit():
    """No lock of the network is left locked in the child."""
    in_a_process("""if True:
        import os, threading, initcore as ic
        x = ic.normal((8, 3), seed=0)
        net = ic.MLP([3, 200, 200, 1], seed=0)
        options = dict(loss="mse", optimizer=ic.SGD(1e-6), batch_size=8)
        ended = []
        fit = lambda: net.fit(x, x[:, :1], epochs=10**9, callbacks=[lambda _: ended], **options)
        thread = threading.Thread(target=fit)
        thread.start()
        try:
            for _ in range(300):
                if (child := os.fork()) == 0:
                    net.parameters()
                    net.fit(x, x[:, :1], epochs=1, **options)
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            ended.append(True)
            thread.join()
    """)


def test_one_network_from_many_threads():
    """Whoever reads while another trains sees the parameters of some whole epoch."""
    x = ic.normal((64, 3), seed=0)
    net = ic.MLP([3, 50, 1], seed=0)

    def weights():
        return net.parameters()["layers.0.weight"].tobytes()

    known, seen = [weights()], []

    def read():
        while thread.is_alive():
            seen.append(weights())

    options = {"loss": "mse", "optimizer": ic.SGD(0.01), "batch_size": 8, "epochs": 200}
    options["callbacks"] = [lambda _: known.append(weights())]
    thread = threading.Thread(target=net.fit, args=(x, x[:, :1]), kwargs=options)
    thread.start()
    reader = threading.Thread(target=read)
    reader.start()
    reader.join()
    thread.join()
    assert len(set(known)) == 201
    assert seen
    assert set(seen) <= set(known)
