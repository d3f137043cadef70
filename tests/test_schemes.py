"""The registry of initializers: every scheme has the variance that its paper gives, in every layout.

Seeds are fixed. A check of a variance fails for correct, freshly drawn values with probability ALPHA = 1e-10
at most, by the normal approximation of the variance of SAMPLES values, and misses an error of 8 % with
probability below 1e-4. There are some 800 checks.
"""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import initcore as ic
from initcore import cli
from initcore.initializers import SCHEMES
from scheme_cases import ARGUMENTS, CASES, text

ALPHA = 1e-10
SAMPLES = 1 << 15
Z = float(stats.norm.isf(ALPHA / 2))

DRAWN = [case for case in CASES if case[2] is not None]


def test_every_scheme_is_tested():
    assert {entry.name for entry in SCHEMES.values()} == {name for name, _, _ in CASES}


@settings(max_examples=20)
@given(
    st.integers(2, 200),
    st.integers(2, 200),
    st.sampled_from(["numpy", "torch"]),
    st.sampled_from(["f4", "f8"]),
)
@pytest.mark.parametrize(("name", "arguments", "variance"), DRAWN, ids=[f"{n}{a}" for n, a, _ in DRAWN])
def test_the_variance_is_the_papers(name, arguments, variance, inputs, outputs, layout, dtype):
    shape = (inputs, outputs) if layout == "numpy" else (outputs, inputs)
    init = SCHEMES[name].make(**arguments)
    expected = variance(inputs, outputs)
    assert init.std(shape, layout=layout) == pytest.approx(math.sqrt(expected), rel=1e-14)
    count = -(-SAMPLES // math.prod(shape))
    function = getattr(ic, name)
    x = np.concatenate(
        [
            function(shape, seed=5, name=f"{i}", layout=layout, dtype=dtype, **arguments).ravel()
            for i in range(count)
        ]
    ).astype(float)
    if expected == 0:
        assert np.ptp(x) == 0
        return
    mean = x.mean() if name == "uniform" else 0.0
    # the largest kurtosis is that of the normal distribution
    assert abs(np.square(x - mean).mean() / expected - 1) <= Z * math.sqrt(2 / x.size)


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS, ids=str)
def test_a_name_is_a_function_and_an_object(name, arguments):
    shape = (6, 8)
    init = SCHEMES[name].make(**arguments)
    whole = init(shape, seed=3, name="w", dtype="f8")
    np.testing.assert_array_equal(getattr(ic, name)(shape, seed=3, name="w", dtype="f8", **arguments), whole)
    assert ic.get(text(name, arguments)) == init
    assert type(init)(**init.get_config()) == init
    # values times a gain are values of the scaled scheme
    scaled = init.scaled(0.5)
    assert type(scaled) is type(init)
    np.testing.assert_array_equal(scaled(shape, seed=3, name="w", dtype="f8"), 0.5 * whole)
    assert scaled.std(shape) == pytest.approx(0.5 * init.std(shape), rel=1e-15)


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS, ids=str)
def test_any_slice_and_any_number_of_threads_give_the_same_bits(name, arguments):
    init = SCHEMES[name].make(**arguments)
    shape = (130, 521)
    for dtype in ("f2", "f4", "f8"):
        whole = init(shape, seed=3, name="w", dtype=dtype, num_threads=1)
        for threads in (2, 3, 7):
            np.testing.assert_array_equal(
                init(shape, seed=3, name="w", dtype=dtype, num_threads=threads), whole
            )
        for index in (np.s_[5:90:3, ::-2], np.s_[7], np.s_[..., 1], np.ix_([3, 1], [500, 2, 2]), np.s_[:0]):
            np.testing.assert_array_equal(
                init(shape, seed=3, name="w", dtype=dtype, index=index), whole[index]
            )
        out = np.empty((521, 130), dtype).T
        np.testing.assert_array_equal(init(shape, seed=3, name="w", out=out), whole)


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_says_what_it_is(name):
    entry, function = SCHEMES[name], getattr(ic, name)
    assert name in ic.__all__
    assert function is getattr(ic, entry.name)
    assert entry.variance in function.__doc__.replace("\n", " ")
    # what users write in brackets are the keywords of the function
    made = set(inspect.signature(entry.make).parameters)
    drawn = (
        set(inspect.signature(function).parameters) - {"shape"} - set(ic.initializers.Options.__annotations__)
    )
    assert made == drawn or name in {"zeros", "ones"}


def test_a_law_is_what_each_element_follows():
    shape = (30, 40)
    law = ic.get("he_uniform").law(shape)
    bound = math.sqrt(6 / 30)
    assert isinstance(law, ic.Uniform)
    assert law.get_config() == pytest.approx({"low": -bound, "high": bound})
    np.testing.assert_array_equal(law(shape, seed=1), ic.he_uniform(shape, seed=1))
    assert ic.get("he_normal").law(shape, layout="torch") == ic.Normal(0.0, math.sqrt(2 / 40))
    assert ic.get("orthogonal").law(shape) is None
    assert ic.get("sparse(0.5)").law(shape) is None
    assert ic.Embedding(0.5, padding_idx=1).law(shape) is None
    assert ic.Embedding(0.5).law(shape) == ic.Normal(0.0, 0.5)


def test_siren_keeps_the_signal_of_its_sines():
    """E[sin(z)^2] is (1 - exp(-2 q)) / 2 for z ~ N(0, q), and the next layer doubles it: q settles at 0.797.

    The paper takes the sines for arcsine-distributed, of variance 1/2, which would make it 1. The standard
    error of the variances is 1.4 %: some 256 independent units, with weights that all inputs share.
    """
    x = ic.uniform((4000, 256), low=-1.0, high=1.0, seed=0, name="x", dtype="f8")
    q = 2 / 3
    for layer in range(8):
        w = ic.siren((256, 256), seed=0, name=f"{layer}", omega=30.0, dtype="f8")
        z = 30 * (x @ w)
        assert z.var() == pytest.approx(q, rel=0.1)
        x, q = np.sin(z), 1 - math.exp(-2 * q)
    assert q == pytest.approx(0.797, abs=0.001)


def test_learning_rates_of_mup():
    assert ic.mup_lr("hidden", width_ratio=4) == 0.25
    assert ic.mup_lr("output", width_ratio=4) == 0.25
    assert ic.mup_lr("input", width_ratio=4) == 1
    assert ic.mup_lr("input", width_ratio=4, optimizer="sgd") == 4
    assert ic.mup_lr("hidden", width_ratio=4, optimizer="SGD") == 1


def test_residual_weights_of_deepnet():
    """Table 1 of the paper."""
    assert ic.deepnet_alpha(encoder_layers=8) == pytest.approx(16**0.25)
    assert ic.deepnet_alpha(decoder_layers=8, part="decoder") == pytest.approx(16**0.25)
    both = {"encoder_layers": 100, "decoder_layers": 50}
    assert ic.deepnet_alpha(**both) == pytest.approx(0.81 * (100**4 * 50) ** (1 / 16))
    assert ic.deepnet_alpha(**both, part="decoder") == pytest.approx(150**0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ic.siren((3, 3), omega=0), "omega must be positive and finite, got 0"),
        (lambda: ic.torch_linear_bias(3, fan_in=0), r"fan_in must be in \[1"),
        (lambda: ic.gpt2_residual((3, 3), num_layers=0), "num_layers must be in"),
        (lambda: ic.fixup((3, 3), num_branches=3, branch_depth=1), r"branch_depth must be in \[2"),
        (
            lambda: ic.t_fixup((3, 3), num_layers=3, part="middle"),
            "unknown part 'middle': expected one of encoder",
        ),
        (lambda: ic.deepnet((3, 3)), "without encoder layers"),
        (lambda: ic.deepnet_alpha(decoder_layers=6), "part='decoder'"),
        (lambda: ic.mup((3, 3), base_fan_in=3, role="bias"), "unknown role 'bias'"),
        (lambda: ic.mup((3, 3), base_fan_in=3, std=math.nan), "std must be positive"),
        (lambda: ic.mup_lr("hidden", width_ratio=0), "width_ratio must be positive"),
        (lambda: ic.mup_lr("hidden", width_ratio=2, optimizer="lbfgs"), "unknown optimizer"),
        (lambda: ic.embedding((3, 3), padding_idx=3), "padding_idx = 3 is not among the 3 rows"),
        (lambda: ic.embedding((3,)), r"shape \(rows, features\), got \(3,\)"),
        (lambda: ic.sparse((3, 3, 3), sparsity=0.5), "2 dimensions"),
        (lambda: ic.sparse((3, 3), sparsity=1.5), "sparsity must be from 0 to 1, got 1.5"),
        (lambda: ic.identity((3,)), "at least 2 dimensions"),
        (lambda: ic.identity((3, 3), gain=math.inf), "gain must be finite"),
        (lambda: ic.identity((3, 3), gain=1e39), "gain = 1e39 does not fit float32"),
        (lambda: ic.dirac((3, 3, 3), center="middle"), "unknown center"),
        (lambda: ic.delta_orthogonal((3, 4, 2)), "no fewer outputs than inputs, got 4 inputs and 2 outputs"),
        (lambda: ic.Normal(0.0, 1e-300).scaled(1e-300), "gain = 1e-300 leaves nothing of"),
        (lambda: ic.Orthogonal(1e-300).scaled(1e-300), "gain = 1e-300 leaves nothing of"),
        (lambda: ic.fans((2**40, 2**40, 2**10)), "fans of shape .* too big"),
        (lambda: ic.get("he_normal").scaled(-1), "gain must be finite and >= 0"),
        (lambda: ic.get("he_normal").for_slope(math.nan), "negative_slope must be finite"),
        (lambda: ic.VarianceScaling(activation="rely"), "unknown activation"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_command_line_lists_every_scheme(capsys):
    assert cli.main(["schemes"]) == 0
    listed = capsys.readouterr().out
    names = ", ".join(line.strip(",") for line in listed.splitlines() if not line.startswith(" "))
    assert set(names.split(", ")) == SCHEMES.keys()
    for entry in SCHEMES.values():
        assert f"variance {entry.variance}\n" in listed
