"""`audit` lets correct draws pass at the stated rate, and finds what is wrong with others.

Seeds are fixed. A test of a rate fails with probability ALPHA for freshly drawn values, by the exact binomial
distribution; the defects are so large that the draw in front of us hardly matters (docs/audit.md has rates).
"""

import hashlib
import json
import math
import sys
from collections import defaultdict

import ml_dtypes
import numpy as np
import pytest
from scipy import stats

import initcore as ic
from initcore.auditing import AuditReport, Check, audit

ALPHA = 1e-10
BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16), BF16]
DRAWS = 30
#: initializer, layout, shape
LAWS = [
    ("he_normal", "numpy", (5, 4)),
    ("he_normal", "numpy", (30, 20)),
    ("xavier_uniform", "torch", (6, 4, 3, 3)),
    ("lecun_truncated_normal", "numpy", (16, 12)),
    (ic.Uniform(1.0, 1.0625), "numpy", (20, 30)),  # 8 numbers in bfloat16
    (ic.Normal(1.0, 0.01), "numpy", (20, 30)),
    (ic.TruncatedNormal(0.0, 1.0, 2.0, math.inf), "numpy", (40, 40)),
    (ic.Embedding(1.0, 0), "embedding", (30, 8)),
    (ic.Sparse(0.8), "numpy", (60, 100)),
    (ic.Orthogonal(2.0), "numpy", (40, 12)),
    (ic.Orthogonal(), "torch", (12, 5, 2, 2)),
]
CONTINUOUS = {"mean", "variance", "distribution", "tails", "output correlation", "input correlation"}


def seed_of(*what):
    return int.from_bytes(hashlib.blake2b(repr(what).encode(), digest_size=8).digest(), "little")


def haar(shape, seed, gain=1.0):
    """Orthonormal rows or columns: QR, with the signs that make it uniform (Mezzadri 2007)."""
    rows, columns = shape[0], math.prod(shape[1:])
    normal = np.random.default_rng(seed).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q = gain * q * np.sign(np.diag(r))
    return (q if rows >= columns else q.T).reshape(shape)


def draw(init, layout, shape, dtype, seed):
    if isinstance(init, ic.Orthogonal):
        return haar(shape, seed, init.get_config()["gain"]).astype(dtype)
    return init(shape, seed=seed, name="audit", dtype=dtype, layout=layout)


def he(shape=(64, 48), dtype="float32", **options):
    return ic.he_normal(shape, seed=5, name="audit", dtype=dtype, **options)


def failed(array, init, **options):
    return {check.name for check in audit(array, init, **options).failed}


def test_correct_draws_pass_at_the_stated_rate():
    """Rejections at alpha = 0.01, and each check's p-values below 0.01, are no more than chance makes."""
    rejected, draws, found = 0, 0, defaultdict(list)
    for spec, layout, shape in LAWS:
        init = ic.get(spec)
        for dtype in DTYPES:
            for number in range(DRAWS):
                array = draw(init, layout, shape, dtype, seed_of(spec, shape, dtype.name, number))
                report = audit(array, init, layout=layout, alpha=0.01)
                draws += 1
                rejected += not report.ok
                for check in report.checks:
                    if check.p_value is not None:
                        found[check.name].append((check.p_value, isinstance(init, ic.Orthogonal)))
    assert rejected <= stats.binom.isf(ALPHA, draws, 0.01)
    for name, values in found.items():
        assert sum(p < 0.01 for p, _ in values) <= stats.binom.isf(ALPHA, len(values), 0.01), name
    for name in CONTINUOUS:  # those of orthogonal entries, which are dependent, are too large on purpose
        uniform = [p for p, orthogonal in found[name] if not orthogonal]
        assert len(uniform) > 500
        assert stats.kstest(uniform, "uniform").pvalue > ALPHA, name


def test_a_correct_model_passes_at_the_stated_rate():
    rejected, draws, p_values = 0, 150, []
    kinds = {"a": "he_normal", "b": "xavier_uniform", "c": "lecun_truncated_normal", "d": "zeros"}
    for number in range(draws):
        model = {
            name: ic.get(kind)((9, 5 + i), seed=number, name=name, dtype=DTYPES[i])
            for i, (name, kind) in enumerate(kinds.items())
        }
        report = audit(model, kinds, alpha=0.01)
        rejected += not report.ok
        p_values.append(report.checks[-1].p_value)
    assert rejected <= stats.binom.isf(ALPHA, draws, 0.01)
    assert stats.kstest(p_values, "uniform").pvalue > ALPHA


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("variance 10 % too large", "variance"),
        ("uniform in place of normal", "distribution"),
        ("truncated in place of normal", "tails"),
        ("shifted", "mean"),
        ("one outlier", "tails"),
        ("one zero in ten", "repeated values"),
        ("duplicated unit", "output duplicates"),
        ("negated unit", "output duplicates"),
        ("scaled unit", "output correlation"),
        ("correlated inputs", "input correlation"),
        ("larger unit", "output variances"),
        ("equally long units", "output variances"),
        ("biased input", "input means"),
        ("tiled", "repeated stretches"),
        ("nan", "finite"),
        ("infinite", "finite"),
    ],
)
def test_what_is_wrong_is_found(what, expected, dtype):
    """In 128 x 128 values; the check that is named fails, maybe beside others."""
    w = he((128, 128), "float64")
    std = math.sqrt(2 / 128)
    if what == "variance 10 % too large":
        w *= math.sqrt(1.1)
    elif what == "uniform in place of normal":
        w = ic.he_uniform((128, 128), seed=5, name="audit", dtype="float64")
    elif what == "truncated in place of normal":
        w = ic.he_truncated_normal((128, 128), seed=5, name="audit", dtype="float64")
    elif what == "shifted":
        w += 0.06 * std
    elif what == "one outlier":
        w[3, 4] = 8 * std
    elif what == "one zero in ten":
        w.flat[::10] = 0
    elif what == "duplicated unit":
        w[:, 9] = w[:, 100]
    elif what == "negated unit":
        w[:, 9] = -w[:, 100]
    elif what == "scaled unit":
        w[:, 9] = 0.83 * w[:, 100]
    elif what == "correlated inputs":
        w[9] = 0.8 * w[100] + 0.6 * w[9]
    elif what == "larger unit":
        w[:, 9] *= 2
    elif what == "equally long units":
        w /= np.sqrt(np.square(w).sum(axis=0) / 2)
    elif what == "biased input":
        w[9] += 0.7 * std
    elif what == "tiled":
        w[64:80, 64:80] = w[:16, :16]
    elif what == "nan":
        w[3, 4] = np.nan
    elif what == "infinite":
        w[3, 4] = -np.inf
    report = audit(w.astype(dtype), "he_normal")
    assert expected in {check.name for check in report.failed}
    assert not report.ok
    assert "Rejected" in report.verdict


def test_units_are_outputs_in_every_layout():
    w = he((40, 30))
    w[:, 9] = w[:, 20]
    assert "output duplicates" in failed(w, "he_normal")
    assert "output duplicates" in failed(w.T, "he_normal", layout="torch")
    assert "input duplicates" not in failed(w.T, "he_normal", layout="torch")
    by_number = ic.Layout(in_axis=1, out_axis=0)
    assert "output duplicates" in failed(w.T, "he_normal", layout=by_number)
    transposed = ic.Layout("torch", transposed=True)
    assert "output duplicates" in failed(w, "he_normal", layout=transposed)
    kernel = ic.he_normal((3, 3, 8, 16), seed=0, name="k")
    kernel[..., 3] = kernel[..., 7]
    assert "1 of 16 are copies: unit 7 equals 3" in str(audit(kernel, "he_normal"))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_clipped_in_place_of_truncated(dtype):
    w = ic.normal((100, 100), seed=1, name="audit", dtype=dtype)
    clipped = np.clip(w.astype(np.float64), -2, 2).astype(dtype)
    assert {"repeated values", "distribution"} <= failed(clipped, ic.TruncatedNormal())
    assert "bounds" not in failed(clipped, ic.TruncatedNormal())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scheme", ["he_uniform", "he_truncated_normal"])
def test_the_bound_is_that_of_the_dtype(scheme, dtype):
    w = ic.get(scheme)((200, 200), seed=3, name="audit", dtype=dtype)
    law = ic.get(scheme).law((200, 200)).get_config()
    high = law["high"] * law.get("std", 1.0)
    at_bound = w.copy()
    at_bound[0, 0] = high  # the nearest number, wherever it lies
    assert audit(at_bound, scheme).ok
    beyond = w.copy()
    up = np.array(np.inf, dtype)
    beyond[0, 0] = np.nextafter(np.array(high, dtype), up) if dtype.itemsize == 2 else high * (1 + 1e-6)
    assert failed(beyond, scheme) == {"bounds"}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "init",
    [ic.Uniform(1.0, 1.0625), ic.TruncatedNormal(1.0, 0.03125, -1.0, 1.0), ic.Normal(1.0, 0.01)],
    ids=repr,
)
def test_few_different_numbers(init, dtype):
    """In bfloat16, 8 to 20 of them; those at the bounds stand for more or fewer reals than the others."""
    w = init((200, 200), seed=2, name="audit", dtype=dtype)
    assert audit(w, init, alpha=0.01).ok
    assert failed(w[::-1], init) == set()
    wrong = w.astype(np.float64) * 0.25 + 0.75 * float(w.astype(np.float64).mean())
    assert "variance" in failed(wrong.astype(dtype), init)


SOURCES = [
    ("he_normal", (12, 10), "float32"),
    ("xavier_normal", (7, 30), "float32"),
    ("xavier_uniform", (40, 2), "float16"),
    ("lecun_truncated_normal", (3, 3, 2, 5), BF16),
    ("he_normal", (10, 20), "float64"),
    (ic.Uniform(1.0, 1.0625), (50, 50), "float32"),
]


@pytest.mark.parametrize("second", SOURCES, ids=str)
@pytest.mark.parametrize("first", SOURCES, ids=str)
def test_shared_words_are_found(first, second):
    """Whatever law, shape and dtype; and not with another name, or another seed."""

    def model(name, seed):
        (a, shape_a, dtype_a), (b, shape_b, dtype_b) = first, second
        arrays = {
            "a": ic.get(a)(shape_a, seed=1, name="audit", dtype=dtype_a),
            "b": ic.get(b)(shape_b, seed=seed, name=name, dtype=dtype_b),
        }
        return audit(arrays, {"a": a, "b": b})

    report = model("audit", 1)
    assert [(check.name, check.parameter) for check in report.failed] == [("shared words", "")]
    assert "'a' and 'b'" in report.verdict or "'b' and 'a'" in report.verdict
    assert model("other", 1).ok
    assert model("audit", 2).ok


def test_tied_parameters_are_one():
    w = he()
    assert audit({"embedding": w, "head": w}, "he_normal").ok
    assert not audit({"embedding": w, "head": w.copy()}, "he_normal").ok


def test_a_wrong_variance_of_axes_that_cannot_be_swapped_is_told():
    layout = ic.Layout("torch", blocks=3)
    w = ic.xavier_uniform((96, 10), seed=0, layout=layout)  # three blocks of outputs, but not of inputs
    assert audit(w, "xavier_uniform", layout=layout).ok
    report = audit(1.5 * w, "xavier_uniform", layout=layout)
    assert {"bounds", "variance"} <= {check.name for check in report.failed}


@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("bfloat16", "float32")], ids=str)
@pytest.mark.parametrize(
    ("inits", "layout"),
    [
        ((ic.Sparse(0.2), ic.Sparse(0.2)), "torch"),
        ((ic.Sparse(0.9), ic.Normal()), "numpy"),
        ((ic.Sparse(0.5), ic.Orthogonal()), "numpy"),
        ((ic.DeltaOrthogonal(), ic.DeltaOrthogonal(center="upper")), "torch"),
        ((ic.DeltaOrthogonal(), ic.Normal()), "numpy"),
        ((ic.Orthogonal(), ic.Normal()), "torch"),
    ],
    ids=str,
)
def test_weights_with_zeros_share_words_too(inits, dtypes, layout):
    def model(*names):
        for init, dtype, name in zip(inits, dtypes, names, strict=True):
            kernel = (4,) if isinstance(init, ic.DeltaOrthogonal) else ()
            shape = (40, 40, *kernel) if layout == "torch" else (*kernel, 40, 40)
            yield init(shape, seed=0, name=name, dtype=dtype, layout=layout)

    def shared(*names):
        arrays = dict(zip("ab", model(*names), strict=True))
        report = audit(arrays, dict(zip("ab", inits, strict=True)), layout=layout)
        return "shared words" in {check.name for check in report.failed}

    assert shared("x", "x")
    assert not shared("x", "y")


@pytest.mark.parametrize("init", ["identity", "zero_init", "ones"])
def test_weights_without_chance_may_be_equal(init):
    shape = (10, 20)  # Hadamard's, in ZerO
    assert audit({name: ic.get(init)(shape, seed=0, name=name) for name in "ab"}, init).ok


@pytest.mark.parametrize(
    "law",
    [
        ic.TruncatedNormal(0.0, 1.0, 37.0, 39.0),
        ic.TruncatedNormal(0.0, 1.0, 38.5, math.inf),
        ic.TruncatedNormal(2.0, 3.0, -60.0, -50.0),
        ic.TruncatedNormal(0.0, 1.0, 1000.0, math.inf),
    ],
    ids=str,
)
def test_truncated_normals_far_in_a_tail(law):
    """Where the probability of the tail is less than any float64."""
    config = law.get_config()
    w = law((120, 80), seed=3, dtype="float64")
    assert audit(w, law).ok
    farther = ic.TruncatedNormal(**config | {end: 1.001 * config[end] for end in ("low", "high")})
    assert not audit(farther((120, 80), seed=3, dtype="float64"), law).ok
    assert not audit(np.sort(w.ravel())[::-1].reshape(w.shape), law).ok
    low, high = w.min(), w.max()
    flat = ic.uniform((120, 80), low=low, high=high, seed=3, dtype="float64")
    assert "distribution" in {check.name for check in audit(flat, law).failed}


def test_a_variance_that_fits_another_scheme_is_named():
    def evidence(array, init, **options):
        return next(c.evidence for c in audit(array, init, **options).checks if c.name == "variance")

    w = he((300, 200))
    assert "fits he_normal" in evidence(w, "lecun_normal")
    assert "the same scheme with inputs and outputs swapped" in evidence(w, "he_normal", layout="torch")
    assert "a standard deviation given as a variance" in evidence(
        ic.normal((200, 200), std=math.sqrt(0.02), seed=0), ic.Normal(0.0, 0.02)
    )
    cut = ic.truncated_normal((300, 200), std=math.sqrt(1 / 300), seed=0)
    assert "not made up for" in evidence(cut, "lecun_truncated_normal")
    assert "fits" not in evidence(w, "he_normal")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "init", [ic.Constant(0.1), ic.Identity(0.3), ic.ZerO(), ic.Normal(1.5, 0.0), ic.Sparse(1.0)], ids=repr
)
def test_what_has_no_chance_is_compared(init, dtype):
    w = init((6, 9), seed=0, dtype=dtype)
    assert audit(w, init).ok
    w[2, 5] = 7
    report = audit(w, init)
    assert not report.ok
    assert "the first at [2, 5]: 7 in place of" in report.failed[0].evidence


def test_embeddings_without_chance_in_the_padding():
    init = ic.Embedding(0.5, 3)
    w = init((50, 16), seed=0)
    assert audit(w, init, layout="embedding").ok
    w[3, 2] = 0.1
    assert failed(w, init, layout="embedding") == {"padding"}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sparse(dtype):
    init = ic.Sparse(0.7, 0.5)
    w = init((40, 100), seed=0, dtype=dtype)
    assert audit(w, init).ok
    fewer = w.copy()
    fewer[np.flatnonzero(w[:, 6] == 0)[0], 6] = 0.5
    assert failed(fewer, init) == {"zeros of columns"}
    assert "column 6 has 27" in str(audit(fewer, init))
    assert "zeros of rows" in failed(np.sort(w.astype("f4") == 0, axis=0) * w.astype(dtype), init)
    assert "variance" in failed((2 * w.astype("f4")).astype(dtype), init)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(64, 64), (128, 64), (64, 128)])
def test_orthogonal(shape, dtype):
    q = haar(shape, 3)
    init = ic.Orthogonal()
    assert audit(q.astype(dtype), init).ok
    assert audit((1.7 * q).astype(dtype), ic.Orthogonal(1.7)).ok
    assert failed((1.1 * q).astype(dtype), init) >= {"orthonormal"}
    normal = np.random.default_rng(0).standard_normal(shape) / math.sqrt(max(shape))
    assert failed(normal.astype(dtype), init) == {"orthonormal"}
    identity = np.eye(*shape).astype(dtype)
    assert failed(identity, init) >= {"diagonal", "distribution", "repeated values"}
    assert "orthonormal" not in failed(identity, init)
    near = q.copy()
    near[0] += 0.3 * q[1]
    near[:, 0] += 0.3 * q[:, 1]
    assert "orthonormal" in failed(near.astype(dtype), init)


def test_orthogonal_that_is_not_uniform():
    """The QR decomposition without its correction prefers one sign on the diagonal."""
    normal = np.random.default_rng(0).standard_normal((128, 128))
    assert failed(np.linalg.qr(normal)[0], ic.Orthogonal()) == {"diagonal"}


def test_delta_orthogonal():
    for center, at in (("lower", (1, 0)), ("upper", (1, 1))):
        init = ic.DeltaOrthogonal(1.0, center)
        w = np.zeros((3, 2, 20, 30), np.float32)
        w[at] = haar((20, 30), 1)
        assert audit(w, init).ok
        wrong = w.copy()
        wrong[0, 0, 3, 4] = 1e-3
        assert failed(wrong, init) == {"zeros around the center"}
        wrong = w.copy()
        wrong[at][2] *= 1.01
        assert "orthonormal" in failed(wrong, init)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((96, 32), ic.Layout("torch", blocks=3)),
        ((32, 96), ic.Layout(blocks=3)),
        ((64, 16, 3, 3), ic.Layout("torch", groups=2)),
        ((40, 20, 20), ic.Layout(in_axis=1, out_axis=2, batch_axis=0)),
        ((24, 4, 6), ic.Layout(in_axis=0, out_axis=(1, 2))),
        ((3, 3, 8, 20), "numpy"),
        ((20, 8, 3, 3), "torch"),
    ],
    ids=str,
)
def test_each_matrix_of_a_weight_is_orthogonal(shape, layout):
    w = ic.orthogonal(shape, seed=1, gain=1.5, layout=layout)
    assert audit(w, ic.Orthogonal(1.5), layout=layout).ok
    lengths, roles = zip(
        *ic.Layout(layout).dimensions(shape) if isinstance(layout, str) else layout.dimensions(shape),
        strict=False,
    )
    wrong = w.reshape(lengths).copy()
    first = tuple(0 if role == "batch" else slice(None) for role in roles)
    wrong[first] = wrong[first] + 0.1
    assert any(
        "orthonormal" in name for name in failed(wrong.reshape(shape), ic.Orthogonal(1.5), layout=layout)
    )


def test_a_model_is_audited_by_its_plan():
    shapes = {"emb": (50, 30), "layers": [{"w": (30, 40), "b": 40}, {"w": (40, 30), "b": 30}]}
    rules = {"*.b": "zeros", "emb": "embedding(0.02)", "*.1.w": "orthogonal", "*": "he_normal"}
    plan = ic.plan(shapes, rules, seed=3)
    params = plan.init()
    assert audit(params, plan).ok
    params["layers"][0]["w"] *= 1.5
    report = audit(params, plan)
    assert {check.parameter for check in report.failed} == {"layers.0.w"}
    with pytest.raises(ValueError, match="names of the parameters: missing"):
        audit(params, ic.plan({"emb": (50, 30)}, {"*": "ones"}, seed=0))


def test_units_of_packed_weights_are_theirs():
    """A unit of the query may well be one of the key's, as other weights may: that is what a copy is."""
    layout = ic.Layout("torch", blocks=3)
    w = ic.xavier_normal((96, 32), seed=0, layout=layout)
    assert audit(w, "xavier_normal", layout=layout).ok
    w[40] = w[3]
    assert "output duplicates" in failed(w, "xavier_normal", layout=layout)


def test_what_cannot_be_judged_is_not():
    for shape in [(0, 4), (1, 1), (2,), ()]:
        report = audit(ic.normal(shape, seed=0), ic.Normal())
        assert report.ok
        assert any(check.p_value is None for check in report.checks)
        assert str(report)
    assert "too few" in audit(ic.normal((0, 4), seed=0), ic.Normal()).verdict
    assert failed(np.full((3, 3), np.nan, np.float32), "he_normal") == {"finite"}


def test_strides_and_byte_order_do_not_matter():
    w = he()
    expected = audit(w, "he_normal").to_dict()
    assert audit(np.asfortranarray(w), "he_normal").to_dict() == expected
    assert audit(w.astype(">f4"), "he_normal").to_dict() == expected
    assert audit(np.repeat(w, 2, axis=1)[:, ::2], "he_normal").to_dict() == expected


def test_the_report():
    w = he()
    report = audit(w, "he_normal")
    assert isinstance(report, AuditReport)
    assert all(isinstance(check, Check) for check in report.checks)
    assert report.failed == ()
    assert "Consistent" in report.verdict
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True
    lines = str(report).splitlines()
    assert lines[-1] == report.verdict
    assert len({line.index("  ", 8) for line in lines[:1]}) == 1
    assert len(lines) == 1 + len(report.checks) + 2
    model = audit({"good": w, "bad": 2 * ic.he_normal((64, 48), seed=5, name="bad")}, "he_normal")
    assert "bad: variance" in str(model)
    assert {check.parameter for check in model.failed} == {"bad"}
    assert len(str(model).splitlines()) < len(model.checks)


def test_holm():
    """Of p-values 0.001, 0.02 and 0.03, at 0.05: 0.001 < 0.05 / 3, 0.02 < 0.05 / 2, 0.03 < 0.05."""
    from initcore.auditing import _holm

    assert _holm([0.03, None, 0.001, 0.02], 0.05) == [False, True, False, False]
    assert _holm([0.03, 0.001, 0.026], 0.05) == [True, False, True]
    assert _holm([], 0.05) == []


@pytest.mark.parametrize(
    ("error", "message", "arguments", "options"),
    [
        (TypeError, "expected an array of float16.*got dtype int64", (np.ones(3, np.int64), "zeros"), {}),
        (TypeError, "got dtype complex.* of parameter 'w'", ({"w": np.ones(3, complex)}, "zeros"), {}),
        (TypeError, "got int", (np.ones(3), 3), {}),
        (ValueError, "alpha must be between 0 and 1, got 0", (np.ones(3), "zeros"), {"alpha": 0}),
        (ValueError, "unknown initializer", (np.ones(3), "he"), {}),
        (ValueError, "at least 2 dimensions", (np.ones(3), "he_normal"), {}),
        (ValueError, "parameter 'b': .*at least 2 dimensions", ({"b": np.ones(3)}, "he_normal"), {}),
        (ValueError, r"missing \['a'\], unknown \['b'\]", ({"a": np.ones(3)}, {"b": "zeros"}), {}),
        (ValueError, "unknown layout", (np.ones((3, 3)), "he_normal"), {"layout": "rows"}),
    ],
)
def test_what_is_refused(error, message, arguments, options):
    with pytest.raises(error, match=message):
        audit(*arguments, **options)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"pip install 'initcore\[audit\]'"):
        audit(he(), "he_normal")


@pytest.mark.parametrize(
    "bounds", [(-2, 2), (-1, 3), (3, 4), (2, math.inf), (-math.inf, 0), (6, 9), (-0.1, 0.9)]
)
def test_the_law_of_a_truncated_normal(bounds):
    from initcore.auditing.laws import law_of

    law, expected = law_of(ic.TruncatedNormal(1.0, 2.0, *bounds)), stats.truncnorm(*bounds, 1, 2)
    x = expected.ppf(np.linspace(0.001, 0.999, 99))
    np.testing.assert_allclose(law.cdf(x), expected.cdf(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(law.sf(x), expected.sf(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(law.ppf(expected.cdf(x)), x, rtol=1e-12)
    _, _, skewness, kurtosis = expected.stats("mvsk")
    assert law.mean == pytest.approx(expected.mean(), rel=1e-9)
    assert law.std == pytest.approx(expected.std(), rel=1e-7)
    assert law.moments[:2] == pytest.approx((skewness, 3 + kurtosis), rel=1e-4, abs=1e-12)


def test_a_large_array_is_judged_by_a_selection(monkeypatch):
    from initcore.auditing import checks

    monkeypatch.setattr(checks, "VALUES", 1 << 12)
    monkeypatch.setattr(checks, "SORTED", 1 << 10)
    monkeypatch.setattr(checks, "UNITS", 1 << 6)
    w = he((256, 256))
    report = audit(w, "he_normal")
    assert report.ok
    text = str(report)
    assert "(of 4,096 of the 65,536 values)" in text
    assert "(of 1,024 of the 65,536 values)" in text
    assert "(of 64 of the 256 units)" in text
    w[255, 255] = 1.0  # 11 standard deviations, not in the selection
    assert "tails" in failed(w, "he_normal")
    w = he((256, 256))
    w[:, 3] = w[:, 5]
    assert failed(w, "he_normal") == {"output duplicates"}
