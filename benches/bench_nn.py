"""The dense core from Python beside NumPy: ``pytest benches/bench_nn.py``.

The NumPy rows are the same computation in vectorised NumPy, on all cores with the BLAS it was built with.
"""

import itertools

import numpy as np
import pytest

import initcore as ic
from dense_numpy import forward, sgd_step

SIZES = [784, 256, 128, 10]
BATCH, STEPS = 128, 50


@pytest.fixture
def data():
    """Return inputs and labels of STEPS batches."""
    x = ic.normal((BATCH * STEPS, SIZES[0]), seed=0, name="x")
    labels = np.random.default_rng(0).integers(0, SIZES[-1], BATCH * STEPS)
    return x, labels


def numpy_network():
    shapes = itertools.pairwise(SIZES)
    return [[ic.he_normal(s, seed=0, name=f"{i}"), np.zeros(s[1], "f4")] for i, s in enumerate(shapes)]


@pytest.mark.benchmark(group=f"epoch of {STEPS} SGD steps, 784-256-128-10, batch 128, float32")
@pytest.mark.parametrize("num_threads", [None, 1])
def bench_fit(benchmark, data, num_threads):
    net = ic.MLP(SIZES, seed=0)
    arguments = {"loss": "softmax_cross_entropy", "optimizer": ic.SGD(1e-3), "batch_size": BATCH}
    benchmark(net.fit, *data, epochs=1, progress=False, num_threads=num_threads, **arguments)


@pytest.mark.benchmark(group=f"epoch of {STEPS} SGD steps, 784-256-128-10, batch 128, float32")
def bench_fit_numpy(benchmark, data):
    layers, (x, labels) = numpy_network(), data

    def epoch():
        order = np.random.default_rng(0).permutation(len(x))
        for rows in order.reshape(STEPS, BATCH):
            sgd_step(layers, x[rows], labels[rows], 1e-3)

    benchmark(epoch)


@pytest.mark.benchmark(group="forward, 784-256-128-10, 6400 rows, float32")
@pytest.mark.parametrize("num_threads", [None, 1])
def bench_forward(benchmark, data, num_threads):
    net = ic.MLP(SIZES, seed=0)
    benchmark(net.forward, data[0], num_threads=num_threads)


@pytest.mark.benchmark(group="forward, 784-256-128-10, 6400 rows, float32")
def bench_forward_numpy(benchmark, data):
    layers = numpy_network()
    benchmark(lambda: forward(layers, data[0])[-1])
