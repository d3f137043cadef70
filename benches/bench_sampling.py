"""Sampling from Python beside NumPy: ``pytest benches/bench_sampling.py`` (groups = one piece of work each).

Every row fills a float32 array that is there already, through the library's natural call; initcore with the
default number of threads and with one, NumPy with its two common generators, which use one.
"""

import numpy as np
import pytest

import initcore as ic

LARGE = 1 << 24


@pytest.fixture
def out():
    """Memory that has been touched."""
    return np.zeros(LARGE, np.float32)


@pytest.mark.benchmark(group="normal, 2^24 float32")
@pytest.mark.parametrize("num_threads", [None, 1])
def bench_normal(benchmark, out, num_threads):
    benchmark(ic.normal, LARGE, seed=0, out=out, num_threads=num_threads)


@pytest.mark.benchmark(group="normal, 2^24 float32")
@pytest.mark.parametrize("generator", [np.random.PCG64, np.random.Philox])
def bench_normal_numpy(benchmark, out, generator):
    rng = np.random.Generator(generator(0))
    benchmark(rng.standard_normal, LARGE, np.float32, out)


@pytest.mark.benchmark(group="uniform, 2^24 float32")
@pytest.mark.parametrize("num_threads", [None, 1])
def bench_uniform(benchmark, out, num_threads):
    benchmark(ic.uniform, LARGE, seed=0, out=out, num_threads=num_threads)


@pytest.mark.benchmark(group="uniform, 2^24 float32")
@pytest.mark.parametrize("generator", [np.random.PCG64, np.random.Philox])
def bench_uniform_numpy(benchmark, out, generator):
    rng = np.random.Generator(generator(0))
    benchmark(rng.random, LARGE, np.float32, out)


@pytest.mark.benchmark(group="plain fill, 2^24 float32")
def bench_constant(benchmark, out):
    benchmark(ic.constant, LARGE, 1.0, out=out)


@pytest.mark.benchmark(group="plain fill, 2^24 float32")
def bench_constant_numpy(benchmark, out):
    benchmark(out.fill, 1.0)


@pytest.mark.benchmark(group="he_normal, (64, 64) float32, new array")
def bench_small(benchmark):
    benchmark(ic.he_normal, (64, 64), seed=0)


@pytest.mark.benchmark(group="he_normal, (64, 64) float32, new array")
def bench_small_numpy(benchmark):
    rng = np.random.default_rng(0)
    std = np.float32(np.sqrt(2 / 64))
    benchmark(lambda: rng.standard_normal((64, 64), np.float32) * std)
