"""Truncated normals: any bounds, in any units, of any standard deviation.

Exact answers come from mpmath, in as many digits as the interval costs.
"""

import itertools
import math
import pickle

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

import initcore as ic
import reference

INF = float("inf")
ALPHA = 1e-10
DTYPES = ["float16", "bfloat16", "float32", "float64"]
dtypes = st.sampled_from(DTYPES)
magnitudes = st.floats(-300, 300).map(lambda e: 10.0**e)
#: Near ends 0 <= a of intervals, and their widths, of which the larger ones end nowhere.
ends = st.one_of(
    st.just(0.0), st.floats(0, 40), st.floats(9, 12), st.floats(-300, 150).map(lambda e: 10.0**e)
)
widths = st.one_of(st.just(INF), st.floats(1e-3, 50), magnitudes, st.sampled_from([5e-324, 1e-300]))
#: [a, b], [-b, -a], or with the near end on the other side of 0.
sides = st.sampled_from([(1, 1), (-1, 1), (1, -1), (-1, -1)])


@st.composite
def intervals(draw):
    """Bounds low < high anywhere, in standard deviations."""
    a, (mirror, straddle) = draw(ends), draw(sides)
    b = a + draw(widths)
    if not a < b:
        b = float(np.nextafter(a, INF))
    if straddle < 0:
        a = -a
    return (a, b) if mirror > 0 else (-b, -a)


@given(intervals(), st.sampled_from([0.0, 1.0, None]), magnitudes, dtypes, st.integers(0, 2**64 - 1))
def test_any_bounds(bounds, mean, std, dtype, seed):
    """Finite, inside the bounds, and in the order of the words; or refused with a reason that is true."""
    low, high = bounds
    near = low if low + high >= 0 else high
    std = min(std, 1e300 / max(1.0, abs(near)))
    if mean is None:
        mean = -std * near if abs(near) < INF else 0.0  # the interval begins at 0
    first, last = mean + std * low, mean + std * high
    init = ic.TruncatedNormal(mean, std, low, high)
    n = 2000
    try:
        x = init((n,), seed=seed, dtype=dtype).astype(np.float64)
    except ValueError as error:
        message = str(error)
        kind = np.dtype(dtype) if dtype != "bfloat16" else np.dtype(np.float32)
        if "does not fit" in message:
            assert abs(mean) + (16 + min(abs(low), abs(high))) * std > float(np.finfo(kind).max)
        else:
            assert f"no {dtype} lies between the bounds" in message
            fmt = reference.FORMATS[dtype]
            inside = fmt.inside(first, last)
            assert inside[0] > inside[1]
        return
    assert np.isfinite(x).all()
    assert first <= x.min()
    assert x.max() <= last
    words = ic.uniform(n, seed=seed, dtype="float64" if dtype == "float64" else "float32")
    _, order = np.unique(words, return_index=True)  # float32 uniforms have 24 of the 32 bits: one of each
    assert (np.diff(x[order]) >= 0).all()


def tail_quantile(a, b, p):
    """Distance y from a with P(a < Z < a + y) = p P(a < Z < b), for 0 <= a, to 30 digits."""

    def tail(x):
        return mp.erfc(x / mp.sqrt(2)) / 2

    mass = tail(a) - (tail(b) if b < INF else 0)
    t = -mp.log1p(-p * mass / tail(a))
    y = t * tail(a) / mp.npdf(a)
    for _ in range(50):
        x = a + y
        step = (mp.log(tail(a) / tail(x)) - t) * tail(x) / mp.npdf(x)
        y -= step
        if abs(step) < y * mp.mpf(10) ** -30:
            return y
    raise AssertionError("Newton's method does not end")


TAILS = [
    *itertools.product([10.9, 12.0, 20.0, 40.0, 1e3, 1e6], [INF]),
    *((12.0, 13.0), (999.5, 1000.0), (20.0, 30.0), (12.0, 12.0001), (30.0, 30 + 1e-13)),
    *(
        (10.5, 10.5 + 1e-14),
        (9.5, 9.5 + 1e-11),
        (10.0, 10.00001),
        (0.0, 1e-30),
        (1e-30, 1e-29),
    ),
]


@pytest.mark.parametrize(("a", "b"), TAILS)
def test_values_are_the_true_quantiles(a, b):
    """With the mean such that the interval begins at 0, values are distances, with all their digits."""
    with mp.workdps(60):
        mass = reference.tail_probability(a) - reference.tail_probability(b)
        assert mass < 2.0**-90, "the other map"
    for dtype, sign in itertools.product(["float32", "float64"], [1, -1]):
        fmt = reference.FORMATS[dtype]
        ends = (a, b) if sign > 0 else (-b, -a)
        x = ic.TruncatedNormal(-sign * a, 1.0, *ends)((12,), seed=5, dtype=dtype)
        with mp.workdps(70):
            for i, value in enumerate(x):
                word = fmt.word(5, None, i)
                p = (word + mp.mpf(1) / 2) / 2**fmt.bits
                y = tail_quantile(mp.mpf(a), mp.mpf(b), p if sign > 0 else 1 - p)
                error = abs(sign * mp.mpf(float(value)) / y - 1)
                assert error < (2.0**-23.5 if dtype == "float32" else 4e-14), i


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("a", "b"), [(10.9, INF), (12.0, 12.2), (40.0, INF), (1e3, 1e3 + 1e-3), (1e5, INF)])
def test_distribution_of_a_tail(a, b, dtype):
    """Kolmogorov-Smirnov, mean and variance of distances from the near end; each false alarm below ALPHA."""
    n = 1 << 17

    def log_survival(y):
        ratio = special.erfcx((a + y) / math.sqrt(2)) / special.erfcx(a / math.sqrt(2))
        return -a * y - y * y / 2 + np.log(ratio)

    share = -math.expm1(log_survival(b - a)) if b < INF else 1.0
    for sign in (1, -1):
        ends = (a, b) if sign > 0 else (-b, -a)
        y = sign * ic.TruncatedNormal(-sign * a, 1.0, *ends)((n,), seed=6, dtype=dtype).astype(np.float64)
        assert stats.kstest(y, lambda y: -np.expm1(log_survival(y)) / share).pvalue > ALPHA
        std = ic.TruncatedNormal(0.0, 1.0, a, b).std((1,))
        z = stats.norm.isf(ALPHA / 2)
        assert abs(y.var() / std**2 - 1) < z * math.sqrt(8 / n)  # an exponential law has the kurtosis 9
        exact = float(tail_mean(a, b))
        assert abs(y.mean() - exact) < z * std / math.sqrt(n)


def tail_mean(a, b):
    with mp.workdps(60):
        a, w = mp.mpf(a), mp.mpf(b) - mp.mpf(a)
        end = min(w, 100 / a)
        parts = [end * i / 16 for i in range(17)]
        moments = [mp.quad(lambda y, k=k: y**k * mp.exp(-y * (a + y / 2)), parts) for k in range(2)]
        return moments[1] / moments[0]


def test_an_interval_around_zero_is_uniform():
    for low, high in [(-1e-30, 1e-30), (-1e-30, 3e-30), (-1e-300, 1e-28)]:
        x = ic.truncated_normal(1 << 17, std=1e28, low=low, high=high, seed=1, dtype="float64")
        width = 1e28 * (high - low)
        assert stats.kstest((x - 1e28 * low) / width, "uniform").pvalue > ALPHA
        assert ic.TruncatedNormal(0.0, 1.0, low, high).std((1,)) == pytest.approx(
            (high - low) / math.sqrt(12)
        )


@given(intervals())
def test_the_std_of_any_interval(bounds):
    """Relative error below 1e-12, and the mirror image has the same."""
    low, high = bounds
    std = ic.TruncatedNormal(0.0, 1.0, low, high).std((1,))
    assert std == ic.TruncatedNormal(0.0, 1.0, -high, -low).std((1,))
    a, b = (low, high) if low + high >= 0 else (-high, -low)
    assert 0 < std <= min(1.0, (b - a) / math.sqrt(12) * (1 + 1e-15)) or b - a < 1e-320
    if b - a < 1e-60 or a > 1e6:
        return
    with mp.workdps(250):
        a, b = mp.mpf(a), (mp.mpf(b) if b < a + 1e3 else INF)
        ratio = mp.exp((a - b) * (a + b) / 2) if b < INF else mp.mpf(0)
        mass = (mp.ncdf(-a) - (mp.ncdf(-b) if b < INF else 0)) / mp.npdf(a)
        mean = (1 - ratio) / mass
        exact = mp.sqrt(1 + (a - (b * ratio if b < INF else 0)) / mass - mean**2)
        assert abs(std / exact - 1) < 1e-12


#: Bounds as values, a mean and a standard deviation anywhere.
values = st.one_of(st.floats(-10, 10), st.floats(-1e6, 1e6), magnitudes, magnitudes.map(lambda x: -x))


@given(values, st.one_of(st.floats(1e-3, 10), magnitudes), values, values, dtypes)
def test_absolute_bounds_are_never_passed(mean, std, a, b, dtype):
    low, high = min(a, b), max(a, b)
    try:
        init = ic.TruncatedNormal(mean, std, low, high, bounds="absolute")
        x = init((300,), seed=0, dtype=dtype).astype(np.float64)
    except ValueError as error:
        message = str(error)
        reasons = ("does not fit", "lies between", "one number", "must be below", "must be finite")
        assert any(reason in message for reason in reasons)
        return
    assert low <= x.min()
    assert x.max() <= high
    config = init.get_config()
    assert low <= mean + config["std"] * config["low"]
    assert mean + config["std"] * config["high"] <= high
    assert ic.TruncatedNormal(**config) == init == pickle.loads(pickle.dumps(init))
    np.testing.assert_array_equal(ic.TruncatedNormal(**config)((300,), seed=0, dtype=dtype), x)


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"), [(0, 0.02, -0.04, 0.04), (1, 2, -3, 5), (0.5, 0.25, 0, 1)]
)
def test_bounds_in_either_unit_are_the_same_law(mean, std, low, high):
    init = ic.TruncatedNormal(mean, std, low, high, bounds="absolute")
    assert init == ic.TruncatedNormal(mean, std, (low - mean) / std, (high - mean) / std)
    options = {"seed": 1, "name": "w"}
    x = ic.truncated_normal(99, mean=mean, std=std, low=low, high=high, bounds="absolute", **options)
    np.testing.assert_array_equal(x, init((99,), **options))


def test_a_spec_may_say_how():
    assert ic.get("truncated_normal(0.02, bounds='absolute')") == ic.TruncatedNormal(0.0, 0.02, -100.0, 100.0)
    assert ic.get("truncated_normal(0.02, std_of='result')") == ic.TruncatedNormal(std=0.02, std_of="result")


@given(intervals(), st.floats(1e-6, 1e6))
def test_the_std_of_the_result_between_sigmas(bounds, std):
    low, high = bounds
    try:
        init = ic.TruncatedNormal(0.0, std, low, high, std_of="result")
    except ValueError as error:
        message = str(error)
        assert "must be finite" in message
        assert ic.TruncatedNormal(0.0, 1.0, low, high).std((1,)) < 1e-290 * std or abs(low + high) > 1e100
        return
    assert init.std((1,)) == pytest.approx(std, rel=1e-15)
    assert (init.get_config()["low"], init.get_config()["high"]) == bounds


def test_the_std_of_the_result_is_that_of_variance_scaling():
    plain = ic.TruncatedNormal(std=1 / 16, std_of="result")
    scaled = ic.VarianceScaling(1.0, "fan_in", "truncated_normal")
    x = plain((256, 9), seed=3, dtype="float64")
    np.testing.assert_array_equal(x, scaled((256, 9), seed=3, dtype="float64"))


@given(st.floats(-100, 100), st.floats(-100, 100), st.floats(1e-3, 100), st.floats(1e-4, 0.999))
def test_the_std_of_the_result_between_values(mean, low, width, part):
    """As asked for, as closely as bounds in units of a large std are told apart; grows with the parent's."""
    high = low + width
    std = part * (high - low) / math.sqrt(12)
    init = ic.TruncatedNormal(mean, std, low, high, bounds="absolute", std_of="result")
    parent = init.get_config()["std"]
    apart = 1e-15 * max(abs(low - mean), abs(high - mean)) / (high - low)
    assert init.std((1,)) == pytest.approx(std, rel=1e-13 + 10 * apart)
    assert parent >= std
    again = ic.TruncatedNormal(mean, parent, low, high, bounds="absolute")
    assert again == init
    for other in (0.9 * parent, 1.1 * parent):
        found = ic.TruncatedNormal(mean, other, low, high, bounds="absolute").std((1,))
        assert (found < std) == (other < parent)


def test_the_std_of_the_result_on_a_half_line():
    for std, low in [(0.1, 1.0), (5.0, 1.0), (1.0, -0.5), (1e-3, -50.0)]:
        init = ic.TruncatedNormal(0.0, std, low, INF, bounds="absolute", std_of="result")
        assert init.std((1,)) == pytest.approx(std, rel=1e-14)
        x = init((1 << 17,), seed=1, dtype="float64")
        assert x.min() >= low
        assert x.std() == pytest.approx(std, rel=0.05)  # 6.5 standard errors of an exponential law


@pytest.mark.parametrize(
    ("std", "low", "high"), [(1e-300, 1.0, 2.0), (5e-324, 1.0, INF), (1e-9, 1.0, 1.0001)]
)
def test_the_std_of_the_result_may_be_tiny(std, low, high):
    init = ic.TruncatedNormal(0.0, std, low, high, bounds="absolute", std_of="result")
    assert init.std((1,)) == pytest.approx(std, rel=1e-9, abs=5e-324)


BAD = [
    ({"bounds": "sigmas"}, 'unknown bounds "sigmas": expected one of sigma, absolute'),
    ({"std_of": "values"}, 'unknown std_of "values": expected one of parent, result'),
    (
        {"std": 0.6, "low": -1, "high": 1, "bounds": "absolute", "std_of": "result"},
        r"std=0.6 cannot be reached between low=-1 and high=1: the largest possible is .* = 0.577350269",
    ),
    ({"std": 1.0, "low": 2, "high": 2, "bounds": "absolute"}, "low must be below high, got low=2, high=2"),
    ({"low": INF, "high": INF}, "low must be below high"),
    ({"std": -1.0, "bounds": "absolute"}, "std must be >= 0, got -1"),
    ({"mean": INF, "bounds": "absolute"}, "mean must be finite"),
    (
        {"mean": 3.0, "std": 0.0, "bounds": "absolute"},
        "with std=0 the mean must lie between low=-2 and high=2",
    ),
    ({"mean": -1e308, "low": 0, "high": 1.7e308, "bounds": "absolute"}, "high - mean must be finite"),
    (
        {"std": 1e-320, "low": 1, "high": 2, "bounds": "absolute"},
        "low=1 and high=2 are one number in units of",
    ),
    ({"std": 1.7e308, "low": 1, "high": INF, "bounds": "absolute", "std_of": "result"}, "cannot be reached"),
    ({"low": 0.0, "high": 5e-324, "std_of": "result"}, "std must be finite"),
    ({"std": 1e300, "low": 1e10, "high": INF}, r"mean \+ std \* bound must be finite"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=str)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ic.TruncatedNormal(**arguments)


def test_values_that_do_not_fit_the_type():
    with pytest.raises(ValueError, match=r"mean \+ std \* bound = 1e39 does not fit float32"):
        ic.truncated_normal(3, std=1e38, low=10.0, high=10 + 1e-14)
    with pytest.raises(ValueError, match="no float32 lies between the bounds"):
        ic.truncated_normal(3, std=1.0, low=12.1, high=12.1 + 1e-9)


def test_no_spread():
    for how in ({"bounds": "absolute"}, {"std_of": "result"}, {"bounds": "absolute", "std_of": "result"}):
        assert (ic.truncated_normal(9, mean=0.5, std=0.0, low=-1, high=1, **how) == 0.5).all()


def test_bounds_decide_whether_values_fit():
    """The parent may reach beyond the type, if no value does."""
    x = ic.truncated_normal(10_000, std=20_000.0, low=-3.0, high=3.0, dtype="float16", seed=0)
    assert np.isfinite(x).all()
    assert np.abs(x).max() > 50_000
    for low, high in [(-np.inf, np.inf), (-3.0, 4.0)]:
        with pytest.raises(ValueError, match="does not fit float16"):
            ic.truncated_normal(3, std=20_000.0, low=low, high=high, dtype="float16")
