"""Stream v1: every value is what the pure-Python reference says, whatever the way it is asked for."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import golden
import initcore as ic
import reference

INF = float("inf")
DISTRIBUTIONS = [
    ("uniform", {"low": 0.0, "high": 1.0}),
    ("uniform", {"low": -0.3, "high": 0.7}),
    ("uniform", {"low": -1e-40, "high": 3e-40}),
    ("normal", {"mean": 0.0, "std": 1.0}),
    ("normal", {"mean": 0.1, "std": 0.02}),
    ("truncated_normal", {"mean": 0.0, "std": 1.0, "low": -2.0, "high": 2.0}),
    ("truncated_normal", {"mean": 0.5, "std": 0.1, "low": -1.0, "high": 4.0}),
    ("truncated_normal", {"mean": 0.5, "std": 0.1, "low": 1.0, "high": INF}),
    ("truncated_normal", {"mean": 0.0, "std": 3.0, "low": -INF, "high": -6.0}),
    ("truncated_normal", {"mean": 0.0, "std": 1.0, "low": -10.0, "high": -9.5}),
]
#: Less than 2^-90 of the probability: tails, their near ends at 0 in two, and narrow intervals
UNLIKELY = [
    ("truncated_normal", {"mean": 0.0, "std": 1.0, "low": 12.0, "high": 13.0}),
    ("truncated_normal", {"mean": -10.9, "std": 1.0, "low": 10.9, "high": INF}),
    ("truncated_normal", {"mean": 0.5, "std": 0.1, "low": -1000.0, "high": -999.5}),
    ("truncated_normal", {"mean": 0.0, "std": 1e-3, "low": 1e6, "high": INF}),
    ("truncated_normal", {"mean": -2.1e15, "std": 2e14, "low": 10.5, "high": 10.5 + 1e-14}),
    ("truncated_normal", {"mean": 0.0, "std": 1e28, "low": 0.0, "high": 1e-30}),
    ("truncated_normal", {"mean": 0.1, "std": 1e28, "low": -1e-30, "high": 3e-30}),
]
CLASSES = {
    "uniform": ic.Uniform,
    "normal": ic.Normal,
    "truncated_normal": ic.TruncatedNormal,
}
DTYPES = ["float16", "bfloat16", "float32", "float64"]
dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**64 - 1)
names = st.one_of(st.none(), st.text(max_size=20))


def test_reference_knows_philox():
    vectors = Path(__file__).parent / "vectors" / "philox4x32.txt"
    rows = [row.split()[2:] for row in vectors.read_text().splitlines() if not row.startswith("#")]
    assert len(rows) == 6
    for row in rows:
        words = [int(word, 16) for word in row]
        assert reference.philox4x32_10(words[:4], words[4:6]) == tuple(words[6:])
    # the 10000th output of C++26 std::philox4x32, seeded 20111115
    assert reference.philox4x32_10((2499, 0, 0, 0), (20111115, 0))[3] == 1955073260


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("distribution", "parameters"), DISTRIBUTIONS)
def test_values_are_those_of_the_reference(distribution, parameters, dtype):
    """Every value of 700 in a row: each lane, both halves of each superblock, tails among them."""
    stream = {"seed": 0x123456789ABCDEF0, "name": "fc1.weight"}
    values = CLASSES[distribution](**parameters)((700,), dtype=dtype, **stream)
    for i, value in enumerate(values):
        expected = reference.sample(dtype, distribution, parameters, *stream.values(), i)
        assert float(value) == float(expected), i


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("distribution", "parameters"), UNLIKELY)
def test_unlikely_values_are_those_of_the_reference(distribution, parameters, dtype):
    """The same for fewer of them, since the reference takes its time: two superblocks."""
    stream = {"seed": 0x123456789ABCDEF0, "name": "fc1.weight"}
    values = CLASSES[distribution](**parameters)((128,), dtype=dtype, **stream)
    for i, value in enumerate(values):
        expected = reference.sample(dtype, distribution, parameters, *stream.values(), i)
        assert float(value) == float(expected), i


@given(st.sampled_from(DISTRIBUTIONS + UNLIKELY), dtypes, seeds, names, st.integers(0, 2**62))
def test_any_value_of_any_stream(law, dtype, seed, name, index):
    distribution, parameters = law
    init = CLASSES[distribution](**parameters)
    value = init((2**63 - 1,), seed=seed, name=name, dtype=dtype, index=index)
    expected = reference.sample(dtype, distribution, parameters, seed, name, index)
    assert float(value) == float(expected)


def test_tails_are_those_of_the_reference():
    """The words of the largest and smallest of a million normals use the tail polynomials."""
    for dtype in ("float32", "float64"):
        values = ic.normal(1 << 20, seed=9, dtype=dtype)
        parameters = {"mean": 0.0, "std": 1.0}
        ends = np.concatenate([values.argsort()[:40], values.argsort()[-40:]])
        assert np.abs(values[ends]).min() > 3.5
        for i in ends.tolist():
            expected = reference.sample(dtype, "normal", parameters, 9, None, i)
            assert float(values[i]) == float(expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normals_are_the_true_quantiles(dtype):
    """Within 4 units in the last place of the quantile function to 50 digits, from end to end."""
    fmt = reference.FORMATS[dtype]
    top = 2**fmt.bits - 1
    ends = {0, 1, 5, 77} | {2**k for k in range(fmt.bits)}  # towards the lower end, and one half
    spread = {i * 0x9E3779B97F4A7C15 % (top + 1) for i in range(150)}
    for bits in ends | {top - w for w in ends} | spread:
        z = fmt.quantile(*fmt.centered(bits))
        with mpmath.workdps(50):
            tail = (min(bits, top - bits) + mpmath.mpf(1) / 2) / 2**fmt.bits
            exact = mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * tail) * (1 if bits > top // 2 else -1)
            exact = Fraction(int(exact * 2**150), 2**150)
        ulp = abs(fmt.step(fmt.rounded(abs(exact)), 1) - fmt.rounded(abs(exact)))
        assert abs(z - exact) <= 4 * ulp, bits


def test_golden_hashes():
    """Anyone's experiment depends on these bits; see tests/golden.py."""
    assert golden.hashes() == json.loads(golden.FILE.read_text())


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("spec", ["uniform", "normal", "truncated_normal", "constant(1)"])
def test_threads_do_not_change_a_bit(spec, threads):
    init = ic.get(spec)
    shape = (3, 70_001)  # several work items, the last one ragged
    one = init(shape, seed=5, num_threads=1)
    np.testing.assert_array_equal(init(shape, seed=5, num_threads=threads), one)


def test_same_seed_and_name_pair_the_schemes():
    """All schemes of one name are made from the same words: scaled copies, not new draws."""
    shape = (30, 50)
    he = ic.he_normal(shape, seed=0, name="w").astype(np.float64)
    xavier = ic.xavier_normal(shape, seed=0, name="w").astype(np.float64)
    np.testing.assert_allclose(he / np.sqrt(2 / 30), xavier / np.sqrt(2 / 80), rtol=2e-7)


@given(seeds, seeds, names, names)
def test_streams_differ(seed, other_seed, name, other_name):
    a = ic.uniform(64, seed=seed, name=name)
    b = ic.uniform(64, seed=other_seed, name=other_name)
    assert (a == b).all() == (seed == other_seed and name == other_name)


def test_fresh_entropy_without_a_seed():
    assert not (ic.normal(64) == ic.normal(64)).any()


def test_seed_sequences():
    sequence = np.random.SeedSequence(7)
    key = int(sequence.generate_state(1, np.uint64)[0])
    np.testing.assert_array_equal(ic.normal(9, seed=sequence), ic.normal(9, seed=key))
    np.testing.assert_array_equal(ic.normal(9, seed=np.int32(7)), ic.normal(9, seed=7))


def _with_isa(isa):
    """Golden hashes in a process of its own, on one instruction set."""
    code = "import golden, json; print(json.dumps(golden.hashes()))"
    environment = {**os.environ, "INITCORE_ISA": isa}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "neon"])
def test_every_isa_gives_the_golden_hashes(isa):
    run = _with_isa(isa)
    if isa != "baseline" and f'the ISA "{isa}" is not available on this machine' in run.stderr:
        return  # refused, as it should be
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == golden.hashes()


def test_an_unknown_isa_is_an_error():
    assert 'unknown ISA "sse9"' in _with_isa("sse9").stderr
    with pytest.raises(ValueError, match="unknown ISA"):
        ic.set_isa("sse9")


@pytest.mark.parametrize(("seed", "name"), [(0, None), (2**64 - 1, "layers.0.weight")])
@pytest.mark.parametrize(("rows", "columns", "zeros"), [(1, 5, 1), (9, 7, 3), (40, 3, 40), (100, 2, 0)])
def test_the_zeros_of_a_sparse_matrix_are_those_of_the_reference(seed, name, rows, columns, zeros):
    x = ic.Sparse(max(zeros - 0.5, 0) / rows)((rows, columns), seed=seed, name=name)
    expected = reference.sparse_zeros(seed, name, rows, columns, zeros)
    assert [set(np.flatnonzero(column == 0)) for column in x.T] == expected
