"""Threads: many callers at once, forked and spawned children, Ctrl-C, and none at all for small work.

What can hang or needs a main thread to itself runs in a process of its own, with a time limit far beyond what
any machine needs.
"""

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import initcore as ic

FOREVER = 600  # seconds

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
needs_signals = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads here")
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")


def in_a_process(code, *arguments):
    """Run it on its own (other packages loaded here may not survive a fork) and give what it prints."""
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, timeout=FOREVER, stdout=subprocess.PIPE, text=True).stdout


# Many callers


def test_many_python_threads_at_once():
    """Every one with its own number of threads: the pool grows under the feet of running calls."""
    laws = (ic.Normal(0.1, 0.7), ic.Uniform(-0.1, 0.7), ic.TruncatedNormal(), ic.Constant(3.0))
    jobs = list(itertools.product(laws, ("float32", "float64", "float16"), (1, 70_000, 300_000)))
    expected = [law(size, seed=4, dtype=dtype, num_threads=1) for law, dtype, size in jobs]

    def work(caller):
        order = np.random.default_rng(caller).permutation(len(jobs))
        for i in order:
            law, dtype, size = jobs[i]
            found = law(size, seed=4, dtype=dtype, num_threads=1 + (caller + i) % 16)
            np.testing.assert_array_equal(found, expected[i], strict=True)
        return len(order)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(16))) == [len(jobs)] * 16


def test_one_network_from_many_threads():
    """Whoever reads while another trains sees the parameters of some whole epoch."""
    x = ic.normal((64, 3), seed=0)
    net = ic.MLP([3, 50, 1], seed=0)

    def weights():
        return net.parameters()["layers.0.weight"].tobytes()

    known, seen, ended = [weights()], [], threading.Event()

    def read():
        while not ended.is_set():
            seen.append(weights())

    def after_an_epoch(_):
        known.append(weights())
        enough = len(seen) + 2  # on however slow a machine, the other one gets its turns
        while len(seen) < enough and reader.is_alive():
            time.sleep(0.0001)

    options = {"loss": "mse", "optimizer": ic.SGD(0.01), "batch_size": 8, "epochs": 200}
    options["callbacks"] = [after_an_epoch]
    reader = threading.Thread(target=read)
    reader.start()
    try:
        net.fit(x, x[:, :1], **options)
    finally:
        ended.set()
        reader.join()
    assert len(set(known)) == 201
    assert set(known[1:]) <= set(seen) <= set(known)


def test_a_process_ends_while_a_daemon_thread_fills():
    """The interpreter is gone when the thread wants it back."""
    in_a_process("""if True:
        import threading, time, initcore as ic
        def fill():
            while True:
                ic.normal(10_000_000, seed=0, num_threads=2)
        for _ in range(3):
            threading.Thread(target=fill, daemon=True).start()
        time.sleep(0.1)
    """)


# Children

FORKS = """if True:
    import os, sys, threading, numpy as np, initcore as ic
    forks, fillers = map(int, sys.argv[1:])

    def sample(threads):  # three work items
        return ic.uniform(150_000, seed=4, num_threads=threads).tobytes()

    def status(child):
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    expected, ended, right = sample(1), [], []

    def fill():
        while not ended:
            right.append(sample(3) == expected)

    threads = [threading.Thread(target=fill) for _ in range(fillers)]
    for thread in threads:
        thread.start()
    assert sample(2) == expected
    try:
        for i in range(forks):
            if (child := os.fork()) == 0:
                right = [sample(2 + i % 3) == expected]
                if i % 50 == 0:  # the child has a pool of its own now: fork from there too
                    if (grandchild := os.fork()) == 0:
                        os._exit(sample(2) != expected)
                    right.append(status(grandchild) == 0)
                os._exit(not all(right))
            assert status(child) == 0, i
    finally:
        ended.append(True)
        for thread in threads:
            thread.join()
    assert sample(4) == expected
    assert all(right) and bool(right) == bool(fillers)
"""


@needs_fork
@pytest.mark.parametrize("fillers", [0, 2], ids=["idle", "filling"])
def test_a_thousand_forks(fillers):
    """A child has no thread but the one that forked, whatever the others were in the middle of."""
    in_a_process(FORKS, 1000, fillers)


FIRST_PRODUCT = """if True:
    import os, signal, sys, threading, time, initcore as ic
    x = ic.normal((8, 3), seed=0)
    net = ic.MLP([3, 200, 200, 1], seed=0)
    begins = threading.Event()
    thread = threading.Thread(target=lambda: (begins.set(), net.forward(x, num_threads=1)))
    thread.start()
    begins.wait()
    end = time.perf_counter() + float(sys.argv[1])
    while time.perf_counter() < end:
        pass
    if (child := os.fork()) == 0:
        signal.alarm(60)
        net.forward(x, num_threads=1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@needs_fork
def test_forks_around_the_first_product():
    """The library of matrix products asks the processor for its caches once, under a lock: at import."""
    for delay in (0.0, 0.0, 5e-5, 5e-5, 1e-4, 1e-4, 2e-4, 4e-4):
        in_a_process(FIRST_PRODUCT, delay)


@needs_fork
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


# A file, since spawned children import it.
CHILDREN = """
import functools, multiprocessing, sys, initcore as ic

sample = functools.partial(ic.normal, 300_000, name="w")

def child(seed):
    return sample(seed=seed, num_threads=2 + seed % 3).tobytes()

if __name__ == "__main__":
    expected = [sample(seed=seed, num_threads=2).tobytes() for seed in range(12)]
    context = multiprocessing.get_context(sys.argv[1])
    if sys.argv[1] == "forkserver":
        context.set_forkserver_preload(["initcore"])
    with context.Pool(3) as pool:
        assert pool.map(child, range(12), chunksize=1) == expected
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method, tmp_path):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    subprocess.run([sys.executable, "-W", "ignore", script, method], check=True, timeout=FOREVER)


# Ctrl-C

CTRL_C = """if True:
    import json, os, signal, sys, threading, time, numpy as np, initcore as ic
    kind, threads = sys.argv[1], int(sys.argv[2])
    # one call that takes seconds: values of which no two share a block of the generator
    size, every = 2**28, 2**8
    if kind == "strided":  # slow by itself, in many short stages
        out, every = np.empty((size, 2), np.float16)[:, 0], 1
    else:
        out = np.empty(size, kind)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    started, sent = threading.Event(), []

    def interrupt():
        started.wait()
        time.sleep(0.15)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        started.set()
        ic.normal(2**40, seed=0, index=np.s_[: size * every : every], out=out, num_threads=threads)
        raise SystemExit("the call ended before the signal: make it longer")
    except KeyboardInterrupt:
        latency = time.perf_counter() - sent[0]
    thread.join()
    again = ic.normal(200_000, seed=0, num_threads=threads)  # the pool still works
    assert (again == ic.normal(200_000, seed=0, num_threads=1)).all()
    print(json.dumps(latency))
"""


@needs_signals
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["float16", "float64", "strided"])
def test_ctrl_c_ends_a_long_fill(kind, threads, record_property):
    """Within 100 ms on a machine that has nothing else to do, which the one that runs this test may have."""
    latency = json.loads(in_a_process(CTRL_C, kind, threads))
    record_property("latency", latency)
    print(f"{kind}, {threads} threads, {ic.get_isa()}: {1e3 * latency:.1f} ms")
    assert latency < 2


@needs_signals
def test_ctrl_c_while_others_fill():
    """The main thread hears it although other Python threads keep the pool busy."""
    in_a_process("""if True:
        import os, signal, threading, time, initcore as ic
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ended = []
        def fill():
            while not ended:
                ic.normal(10_000_000, seed=0, num_threads=2)
        def interrupt():
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
        threads = [threading.Thread(target=target) for target in (fill, fill, interrupt)]
        for thread in threads:
            thread.start()
        try:
            while True:
                ic.normal(10_000_000, seed=0, num_threads=2)
        except KeyboardInterrupt:
            ended.append(True)
        for thread in threads:
            thread.join()
    """)


@needs_signals
def test_a_signal_whose_handler_returns_does_not_end_a_fill():
    in_a_process("""if True:
        import signal, numpy as np, initcore as ic
        expected, rang = ic.normal(50_000_000, seed=0), []
        signal.signal(signal.SIGALRM, lambda *_: rang.append(ic.normal(3, seed=0)))
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        found = ic.normal(expected.size, seed=0, num_threads=2)
        while not rang:  # a very fast machine
            found = ic.normal(expected.size, seed=0, num_threads=2)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert np.array_equal(found, expected)
        assert all(np.array_equal(values, expected[:3]) for values in rang)
    """)


# How many threads there are

COUNTS = """if True:
    import os, numpy as np, initcore as ic
    count = lambda: len(os.listdir("/proc/self/task"))
    before = count()
    for dtype in ("float32", "float64", "float16"):
        ic.normal(1 << 16, seed=0, dtype=dtype, num_threads=8)
    ic.he_normal((64, 64), seed=0)
    ic.normal((2**20, 2**20), index=np.s_[::2**14, ::2**14], seed=0, num_threads=8)
    ic.normal(10_000_000, seed=0, num_threads=1)
    ic.MLP([2, 2, 1], seed=0).forward(np.ones((4, 2), np.float32))
    assert count() == before, "small work, or one thread, made threads"
    ic.normal(300_000, seed=0, num_threads=2)
    assert count() == before + 1, "the caller is one of two"
    ic.normal(10_000_000, seed=0, num_threads=2)
    assert count() == before + 1, "the pool is used again"
    ic.normal(70_000, seed=0, num_threads=1024)
    assert count() == before + 1, "more threads than there is work"
    ic.set_num_threads(4)
    ic.normal(300_000, seed=0)
    deadline = 1000  # threads of the smaller pool end by themselves
    while count() != before + 3 and deadline:
        deadline -= 1
        __import__("time").sleep(0.01)
    assert count() == before + 3, count() - before
"""


@needs_proc
def test_small_work_stays_on_the_calling_thread():
    in_a_process(COUNTS)
