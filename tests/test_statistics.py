"""Samples have the distribution that is promised.

Seeds are fixed, so a test here fails only when the values change; the chance that freshly drawn correct
values fail is ALPHA for each check, by the normal approximation of a mean or variance of SAMPLES values, and
under 1e-6 for the whole file (2611 checks with the default profile of examples). `DETECTABLE` is the relative
error of a variance that such a check misses with probability below 1e-4 (3.72 standard errors beyond Z); the
last test shows that an error of that size is found.
"""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import initcore as ic
from initcore import _core

ALPHA = 1e-10
SAMPLES = 1 << 17
#: Two-sided normal quantile of ALPHA, 6.5.
Z = float(stats.norm.isf(ALPHA / 2))
DETECTABLE = (Z + 3.72) * math.sqrt(2 / SAMPLES)

FORMULAS = {
    "xavier": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}
FAMILIES = ["normal", "truncated_normal", "uniform"]
assert {f"{root}_{family}" for root in FORMULAS for family in FAMILIES} == dict(_core.schemes()).keys()
dtypes = st.sampled_from(["float32", "float64"])


def law(family, std):
    """Give SciPy's distribution of mean 0 and this standard deviation."""
    if family == "normal":
        return stats.norm(scale=std)
    if family == "uniform":
        return stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std)
    return stats.truncnorm(-2, 2, scale=std / stats.truncnorm(-2, 2).std())


def draw(init, shape, layout, dtype, total=SAMPLES):
    """Draw `total` values or more: as many arrays of the shape as it takes, each under its own name."""
    arrays = -(-total // math.prod(shape))
    return np.concatenate(
        [init(shape, seed=11, name=f"w{i}", layout=layout, dtype=dtype).ravel() for i in range(arrays)]
    ).astype(np.float64)


def check_moments(x, expected):
    """Mean and variance within Z standard errors, by the distribution's own fourth moment."""
    n, variance, kurtosis = x.size, expected.var(), float(expected.stats("k"))
    assert abs(x.mean() - expected.mean()) <= Z * math.sqrt(variance / n)
    found = np.square(x - expected.mean()).mean()
    assert abs(found / variance - 1) <= Z * math.sqrt((kurtosis + 2) / n)


def check_distribution(x, expected):
    """Kolmogorov-Smirnov against the distribution function."""
    assert stats.kstest(x, expected.cdf).pvalue >= ALPHA


channels = st.integers(2, 300)
kernels = st.lists(st.integers(1, 5), max_size=3)


@given(channels, channels, kernels, st.sampled_from(["numpy", "torch"]), dtypes)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("root", FORMULAS)
def test_named_schemes_have_their_variance(root, family, inputs, outputs, kernel, layout, dtype):
    shape = (*kernel, inputs, outputs) if layout == "numpy" else (outputs, inputs, *kernel)
    positions = math.prod(kernel)
    variance = FORMULAS[root](inputs * positions, outputs * positions)
    assert ic.fans(shape, layout=layout) == (inputs * positions, outputs * positions)
    init = ic.get(f"{root}_{family}")
    assert init.std(shape, layout=layout) == pytest.approx(math.sqrt(variance), rel=1e-15)
    x = draw(init, shape, layout, dtype)
    expected = law(family, math.sqrt(variance))
    check_moments(x, expected)
    low, high = expected.support()
    assert low * (1 + 1e-7) <= x.min()
    assert x.max() <= high * (1 + 1e-7)


@given(
    channels,
    channels,
    st.sampled_from(["fan_in", "fan_out", "fan_avg"]),
    st.floats(1e-3, 1e3),
    dtypes,
)
@pytest.mark.parametrize("family", FAMILIES)
def test_variance_scaling_divides_by_its_fan(family, inputs, outputs, mode, scale, dtype):
    fan = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[mode]
    init = ic.VarianceScaling(scale, mode, family)
    x = draw(init, (inputs, outputs), "numpy", dtype)
    check_moments(x, law(family, math.sqrt(scale / fan)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("init", "expected"),
    [
        (ic.Uniform(), stats.uniform()),
        (ic.Uniform(-3.0, 5.0), stats.uniform(-3, 8)),
        (ic.Normal(), stats.norm()),
        (ic.Normal(2.0, 0.5), stats.norm(2, 0.5)),
        (ic.TruncatedNormal(), stats.truncnorm(-2, 2)),
        (ic.TruncatedNormal(1.0, 2.0, -1.0, 3.0), stats.truncnorm(-1, 3, 1, 2)),
        (ic.TruncatedNormal(0.0, 1.0, 2.0, math.inf), stats.truncnorm(2, math.inf)),
        (ic.TruncatedNormal(0.0, 1.0, -5.0, -4.5), stats.truncnorm(-5, -4.5)),
        *((ic.VarianceScaling(512.0, "fan_in", f), law(f, 1.0)) for f in FAMILIES),
    ],
    ids=repr,
)
def test_distribution_functions(init, expected, dtype, seed):
    x = init((512, 512), seed=seed, name="w", dtype=dtype).ravel().astype(np.float64)
    check_moments(x, expected)
    check_distribution(x, expected)


@pytest.mark.parametrize(
    ("low", "high"), [(-2, 2), (-1, 3), (0.5, math.inf), (-math.inf, 0), (3, 4), (-0.1, 0.9)]
)
def test_the_std_of_a_truncated_normal(low, high):
    init = ic.TruncatedNormal(7.0, 3.0, low, high)
    assert init.std((1,)) == pytest.approx(3 * stats.truncnorm(low, high).std(), rel=1e-9)


@pytest.mark.parametrize("width", [1.0, 1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("low", [0.0, -0.5, 5.0, -9.0])
def test_the_std_of_a_narrow_interval(low, width):
    """Nearly that of a uniform distribution; to second order in the width, it is that of a tilted one."""
    width = (low + width) - low  # as rounded
    tilt = width * (low + width / 2)
    expected = width / math.sqrt(12)
    std = ic.TruncatedNormal(0.0, 1.0, low, low + width).std((1,))
    assert std == pytest.approx(expected, rel=1e-12 + (tilt**2 + width**2) / 12)
    with mpmath.workdps(40):
        density = [lambda x, n=n: (x - low) ** n * mpmath.exp(-x * x / 2) for n in range(3)]
        mass, first, second = (mpmath.quad(f, [low, low + mpmath.mpf(width)]) for f in density)
        exact = mpmath.sqrt(second / mass - (first / mass) ** 2)
    assert std == pytest.approx(float(exact), rel=1e-9)


def test_neighbours_are_uncorrelated():
    """Neighbouring indices, seeds, names and columns: correlation within Z / sqrt(n)."""
    n, shape = 1 << 20, (1024, 1024)
    x = ic.normal(shape, seed=0, name="a", dtype="float64")
    others = {
        "next": np.roll(x.ravel(), 1),
        "64 on": np.roll(x.ravel(), 64),
        "transposed": x.T.ravel(),
        "next seed": ic.normal(shape, seed=1, name="a", dtype="float64").ravel(),
        "high seed": ic.normal(shape, seed=1 << 32, name="a", dtype="float64").ravel(),
        "next name": ic.normal(shape, seed=0, name="b", dtype="float64").ravel(),
        "no name": ic.normal(shape, seed=0, dtype="float64").ravel(),
    }
    keep = ~np.eye(1024, dtype=bool).ravel()  # the diagonal of a transpose is itself
    for label, y in others.items():
        products = (x.ravel() * y)[keep if label == "transposed" else slice(None)]
        # each pair of a transpose is there twice, which doubles the variance
        factor = math.sqrt(2) if label == "transposed" else 1
        assert abs(products.mean()) <= Z * factor / math.sqrt(n), label


def test_an_error_of_the_stated_size_is_found():
    for family in FAMILIES:
        x = draw(ic.VarianceScaling(1.0, "fan_in", family), (256, 512), "numpy", "float32")
        check_moments(x, law(family, 1 / 16))
        for factor in (1 - DETECTABLE, 1 + DETECTABLE):
            with pytest.raises(AssertionError):
                check_moments(x * math.sqrt(factor), law(family, 1 / 16))
        with pytest.raises(AssertionError):
            check_distribution(x + 0.04 / 16, law(family, 1 / 16))
    assert DETECTABLE < 0.04
