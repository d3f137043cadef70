"""Mean-field theory against closed forms, and its laws on every activation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import initcore as ic
from initcore import theory
from initcore.theory import Activation
from nn_helpers import ACTIVATIONS, FUNCTIONS

VARIANCES = st.floats(0.1, 6)
CORRELATIONS = np.array([-1, -1 + 1e-9, -0.9, -0.3, 0, 1e-9, 0.5, 0.9, 0.9999, 1 - 1e-12, 1])


def relu_pair(c):
    """E[relu(z1) relu(z2)] (Cho & Saul 2009)."""
    return (np.sqrt((1 - c) * (1 + c)) + c * (np.pi - np.arccos(c))) / (2 * np.pi)


def close(expected, rel=1e-11, absolute=1e-13):
    return pytest.approx(expected, rel=rel, abs=absolute)


# One layer.


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.2, 0.5, 1.0, -1.0])
def test_straight_lines(slope):
    name = f"leaky_relu({slope})"
    kept = (1 + slope**2) / 2
    assert theory.critical(name) == close((1 / kept, 0.0))
    q = np.array([1e-6, 0.3, 1.0, 1e6])
    np.testing.assert_allclose(theory.length_map(name, q, 1.5, 0.25), 1.5 * kept * q + 0.25, rtol=1e-13)
    np.testing.assert_allclose(theory.length_slope(name, q, 1.5), 1.5 * kept, rtol=1e-12)
    np.testing.assert_allclose(theory.chi(name, q, 1.5), 1.5 * kept, rtol=1e-13)


@pytest.mark.parametrize(
    ("relu", "q"), [("relu", 0.01), ("relu", 50.0), (FUNCTIONS["relu"][0], 1.0), (lambda u: max(u, 0.0), 1.0)]
)
def test_correlation_map_of_relu(relu, q):
    """The arc-cosine kernel, up to both ends."""
    few = CORRELATIONS[::5] if callable(relu) else CORRELATIONS
    c = theory.correlation_map(relu, few, q, 2.0, 0.1)
    expected = (2 * q * relu_pair(few) + 0.1) / (q + 0.1)
    np.testing.assert_allclose(c, expected, rtol=1e-12, atol=1e-14)
    assert theory.correlation_map(relu, 0.0, q, 2.0) == close(1 / np.pi)
    inside = np.array([-1, -0.9, 0.6, 0.99, 1])
    slope = theory.correlation_slope(relu, inside, q, 2.0)
    np.testing.assert_allclose(slope, 1 - np.arccos(inside) / np.pi, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("erf", "q"), [(math.erf, 1.0), (special.erf, 0.05), (special.erf, 40.0)])
def test_erf_in_closed_form(erf, q):
    """E[erf(u1) erf(u2)] = 2/pi asin(2 q c / (1 + 2 q)) (Williams 1998)."""
    few = CORRELATIONS[::5] if erf is math.erf else CORRELATIONS
    x = 2 * q / (1 + 2 * q)
    length = 1.3 * 2 / np.pi * np.arcsin(x) + 0.2
    c = theory.correlation_map(erf, few, q, 1.3, 0.2)
    expected = (1.3 * 2 / np.pi * np.arcsin(x * few) + 0.2) / length
    np.testing.assert_allclose(c, expected, rtol=1e-12, atol=1e-13)
    inside = np.array([-1, -0.9, 0.6, 1])
    slope = 1.3 * 2 / np.pi * x / np.sqrt(1 - (x * inside) ** 2) / length
    np.testing.assert_allclose(theory.correlation_slope(erf, inside, q, 1.3, 0.2), slope, rtol=1e-10)
    assert theory.chi(erf, q, 2.0) == close(8 / np.pi / math.sqrt(1 + 4 * q))


def test_sign_in_closed_form():
    c = CORRELATIONS[1:-1]
    expected = 2 / np.pi * np.arcsin(c)
    np.testing.assert_allclose(theory.correlation_map(np.sign, c, 1.0, 1.0), expected, rtol=1e-11, atol=1e-13)
    slope = 2 / np.pi / np.sqrt((1 - c[2:-2]) * (1 + c[2:-2]))
    np.testing.assert_allclose(theory.correlation_slope(np.sign, c[2:-2], 1.0, 1.0), slope, rtol=1e-11)
    assert theory.chi(np.sign, 1.0, 1.0) == math.inf


def test_slope_of_the_correlation_map_close_to_1():
    """To 5e-17 / (1 - c^2), however close."""
    c = 1 - 10.0 ** -np.arange(2, 13)
    room = (1 - c) * (1 + c)
    of_erf = 2 / np.pi * (2 / 3) / np.sqrt(1 - (2 * c / 3) ** 2)
    for function, slope in [("relu", (1 - np.arccos(c) / np.pi) / 2), (special.erf, of_erf)]:
        expected = slope / theory.length_map(function, 1.0, 1.0)
        error = theory.correlation_slope(function, c, 1.0, 1.0) / expected - 1
        assert (np.abs(error) < 5e-17 / room + 1e-13).all()


def test_correlation_map_close_to_1_with_a_kink_to_find():
    """E[f(u1) f(u2)] = E[f^2] - (1 - c) q E[f'^2], up to the order of (1 - c)^1.5."""
    f, left = Activation(lambda u: np.maximum(u - 0.7, 0)), 10.0 ** -np.arange(7, 14)
    fall = left * theory.chi(f, 1.0, 1.0) / theory.length_map(f, 1.0, 1.0)
    np.testing.assert_allclose(theory.correlation_map(f, 1 - left, 1.0, 1.0), 1 - fall, atol=1e-10)
    clip = Activation(lambda u: np.clip(u, -0.7, 0.9))
    both = special.ndtr(0.7) - special.ndtr(-0.7)
    assert theory.correlation_slope(clip, -1.0, 1.0, 1.0) * theory.length_map(clip, 1.0, 1.0) == close(both)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_correlation_map_is_a_power_series_without_negative_terms(name):
    """Hence it grows, with a growing slope, from c = 0 to 1 (Daniely, Frostig & Singer 2016)."""
    c = np.array([0.0, 0.2, 0.45, 0.7, 0.9, 0.99, 1.0])
    value, slope = (f(name, c, 1.3, 1.5, 0.1) for f in (theory.correlation_map, theory.correlation_slope))
    assert value[-1] == close(1.0)
    assert slope[-1] == close(theory.chi(name, 1.3, 1.5) * 1.3 / theory.length_map(name, 1.3, 1.5, 0.1))
    secant = np.diff(value) / np.diff(c)
    assert (secant >= slope[:-1] - 1e-12).all()
    assert (secant <= slope[1:] + 1e-12).all()
    assert value[0] >= 0.1 / theory.length_map(name, 1.3, 1.5, 0.1) - 1e-15


def test_correlation_map_of_a_function_is_that_of_the_built_in():
    for name in ("gelu", "hard_tanh"):
        a, b = (theory.correlation_map(f, [-0.5, 0.3, 0.99], 2.0, 1.0) for f in (name, FUNCTIONS[name][0]))
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_critical_points():
    assert theory.critical("gelu") == pytest.approx((2.19370, 0.0671917), rel=2e-6)
    assert theory.critical("tanh", 1e-9) == pytest.approx((1, 0), abs=1e-8)
    sigma_w2, sigma_b2 = theory.critical(math.erf, np.array([0.2, 1.0]))
    np.testing.assert_allclose(sigma_w2, np.pi / 4 * np.sqrt([1.8, 5]), rtol=1e-12)
    x = np.array([0.4 / 1.4, 2 / 3])
    np.testing.assert_allclose(sigma_b2, [0.2, 1] - sigma_w2 * 2 / np.pi * np.arcsin(x), rtol=1e-11)


@settings(max_examples=40)
@given(st.sampled_from([*ACTIVATIONS, "leaky_relu(0.3)", "elu(0.4)"]), st.floats(0.01, 100))
def test_critical_means_critical(name, q):
    if theory.length_map(name, q, 1 / theory.chi(name, q, 1.0)) > q * (1 + 1e-12):
        with pytest.raises(ValueError, match="no critical point"):
            theory.critical(name, q)
        return
    sigma_w2, sigma_b2 = theory.critical(name, q)
    assert theory.chi(name, q, sigma_w2) == close(1)
    assert theory.length_map(name, q, sigma_w2, sigma_b2) == close(q)
    assert theory.phase(name, sigma_w2, sigma_b2, start=q) == "critical"
    assert theory.depth_scales(name, sigma_w2, sigma_b2, start=q)[1] == math.inf


@settings(max_examples=30)
@given(st.floats(0.2, 5), st.floats(0.05, 20), VARIANCES)
def test_scaling(scale, q, sigma_w2):
    """Scaling the outputs scales sigma_w^2; scaling the inputs scales q."""
    f = Activation(lambda u: np.tanh(u) + 0.3 * np.maximum(u, 0))
    tall, wide = Activation(lambda u: scale * f.value(u)), Activation(lambda u: f.value(scale * u))
    assert theory.length_map(tall, q, sigma_w2) == close(theory.length_map(f, q, sigma_w2 * scale**2))
    assert theory.chi(tall, q, sigma_w2) == close(theory.chi(f, q, sigma_w2 * scale**2))
    assert theory.length_map(wide, q, sigma_w2) == close(theory.length_map(f, q * scale**2, sigma_w2))
    assert theory.chi(wide, q, sigma_w2) == close(theory.chi(f, q * scale**2, sigma_w2) * scale**2)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_limit_of_small_signals(name):
    value, slope = (float(g(np.zeros(1))[0]) for g in FUNCTIONS[name])
    right = float(FUNCTIONS[name][1](np.array([1e-300]))[0])
    for function in (name, FUNCTIONS[name][0]):
        assert theory.length_map(function, 0.0, 2.0, 0.5) == close(2 * value**2 + 0.5)
        assert theory.chi(function, 0.0, 2.0) == pytest.approx(slope**2 + right**2, rel=5e-8)


def test_functions_that_round_near_0():
    """A difference of exponentials keeps only absolute digits there."""
    naive = Activation(lambda u: (np.exp(u) - np.exp(-u)) / (np.exp(u) + np.exp(-u)))
    for q in (1e-12, 1e-8, 1e-4):
        assert theory.length_map(naive, q, 1.0) == pytest.approx(theory.length_map("tanh", q, 1.0), rel=1e-9)
        c = theory.correlation_map(naive, 0.5, q, 1.0)
        assert c == pytest.approx(theory.correlation_map("tanh", 0.5, q, 1.0), rel=1e-9)
    assert theory.fixed_point(naive, 0.9).slope == pytest.approx(0.9, rel=1e-6)
    assert theory.recommend(naive).scheme == "xavier_normal"


def test_no_signal():
    assert theory.length_map("tanh", 0.0, 1.0) == 0
    assert theory.length_map("sigmoid", 0.0, 1.0) == 0.25
    assert theory.length_map("tanh", 1e-200, 1.0) == close(1e-200, absolute=0)
    assert theory.correlation_map("tanh", 0.5, 1e-100, 1.0) == close(0.5)
    assert math.isnan(theory.correlation_map("tanh", 0.5, 0.0, 1.0))
    assert math.isnan(theory.correlation_slope("tanh", 0.5, 1.0, 0.0))
    assert theory.correlation_map("sigmoid", 0.5, 0.0, 1.0) == close(1.0)
    assert theory.length_map(np.sign, [0.0, 1e-200], 1.0).tolist() == [0.0, close(1.0)]


# Many layers.


def iterate(name, sigma_w2, sigma_b2, q, layers=4000):
    for _ in range(layers):
        before, q = q, theory.length_map(name, q, sigma_w2, sigma_b2)
        if abs(q - before) <= 1e-15 * q:
            break
    return q


@pytest.mark.parametrize("name", ["tanh", "erf", "sigmoid", "softsign", "gelu", "elu", "bump"])
@pytest.mark.parametrize("variances", [(0.5, 0.1), (1.4, 0.01), (1.7, 0.3), (6.0, 0.0)])
def test_fixed_point_is_where_layers_lead(name, variances):
    function = {"erf": special.erf, "bump": lambda u: np.exp(-((u - 1) ** 2))}.get(name, name)
    point = theory.fixed_point(function, *variances)
    if point.kind == "infinite":
        assert point.q == math.inf
        assert iterate(function, *variances, 1.0, 100) > 1e12
    else:
        assert point.q == pytest.approx(iterate(function, *variances, 1.0), rel=1e-11)
        assert point.q == close(theory.length_map(function, point.q, *variances))
        assert point.slope == close(theory.length_slope(function, point.q, variances[0]))
        assert point.chi == close(theory.chi(function, point.q, variances[0]))
    assert point.stable == (point.kind != "infinite")


def test_kinds_of_fixed_points():
    def point(*arguments):
        p = theory.fixed_point(*arguments)
        return p.q, p.slope, p.chi, p.stable, p.kind

    assert point("relu", 1.0, 0.25) == close_row(0.5, 0.5, 0.5, True, "finite")
    assert point("relu", 1.0) == close_row(0.0, 0.5, 0.5, True, "zero")
    assert point("relu", 2.0) == close_row(1.0, 1.0, 1.0, False, "every")
    assert point("relu", 2.0, 0.1) == close_row(math.inf, 1.0, 1.0, False, "infinite")
    assert point("relu", 3.0) == close_row(math.inf, 1.5, 1.5, False, "infinite")
    assert point("linear", 1.0) == close_row(1.0, 1.0, 1.0, False, "every")
    assert point("tanh", 0.9) == close_row(0.0, 0.9, 0.9, True, "zero")
    assert point("tanh", 0.0, 0.3) == close_row(0.3, 0.0, 0.0, True, "finite")
    assert point("sigmoid", 1e-13) == close_row(2.5e-14, 6.25e-15, 6.25e-15, True, "finite")
    # gelu's fixed point at its gain lies on a ridge: from one side signals vanish, from the other they grow.
    sigma_w2 = 1 / theory.length_map("gelu", 1.0, 1.0)
    kinds = [theory.fixed_point("gelu", sigma_w2, start=start).kind for start in (0.9, 1.0, 1.1)]
    assert kinds == ["zero", "finite", "infinite"]
    assert not theory.fixed_point("gelu", sigma_w2).stable


def close_row(*expected):
    return tuple(pytest.approx(x, rel=1e-9) if isinstance(x, float) else x for x in expected)


@pytest.mark.parametrize(
    ("name", "sigma_w2", "sigma_b2"),
    [("tanh", 3.0, 0.1), ("tanh", 0.8, 0.2), ("gelu", 1.5, 0.3), ("selu", 1.0, 0.0), ("sigmoid", 40.0, 0.0)],
)
def test_depth_scales_are_what_layers_show(name, sigma_w2, sigma_b2):
    """Deviations of q and c shrink by exp(-1 / xi) per layer."""
    xi_q, xi_c = theory.depth_scales(name, sigma_w2, sigma_b2)
    q = theory.fixed_point(name, sigma_w2, sigma_b2).q
    c, slope = theory.correlation_fixed_point(name, sigma_w2, sigma_b2)
    chaotic = theory.phase(name, sigma_w2, sigma_b2) == "chaotic"
    assert (c < 1 - 1e-6) == chaotic
    assert math.exp(-1 / xi_c) == close(abs(slope))
    assert theory.correlation_map(name, c, q, sigma_w2, sigma_b2) == close(c)
    # The next layer's deviation over this one's, at two sizes, to second order.
    for fixed, xi, step, layer in [
        (q, xi_q, 1e-4 * q, lambda q: theory.length_map(name, q, sigma_w2, sigma_b2)),
        (c, xi_c, 1e-4, lambda c: theory.correlation_map(name, c, q, sigma_w2, sigma_b2)),
    ]:
        near, far = ((layer(fixed - k * step) - layer(fixed)) / (-k * step) for k in (1, 2))
        assert 2 * near - far == pytest.approx(math.exp(-1 / xi), rel=1e-6)


def test_phase_diagram_of_tanh():
    """Poole et al. 2016, figure 1: order left, chaos right; more bias means more order."""
    sigma_w2, sigma_b2 = np.linspace(0.5, 4, 8)[:, None], np.array([0.0, 0.05, 0.3, 1.0])
    phases = theory.phase("tanh", sigma_w2, sigma_b2)
    assert phases.shape == (8, 4)
    chaotic = phases == "chaotic"
    assert not chaotic[0].any()
    assert chaotic[-1].all()
    assert (np.diff(chaotic.astype(int), axis=0) >= 0).all()
    assert (np.diff(chaotic.astype(int), axis=1) <= 0).all()
    points = theory.fixed_point("tanh", sigma_w2, sigma_b2)
    for i, j in [(0, 0), (3, 1), (7, 3)]:
        alone = theory.fixed_point("tanh", float(sigma_w2[i, 0]), float(sigma_b2[j]))
        assert (points.q[i, j], points.chi[i, j], points.kind[i, j]) == close_row(
            alone.q, alone.chi, alone.kind
        )
    assert theory.phase("tanh", 1.0) == "critical"
    assert [theory.phase("relu", w) for w in (1.9, 2.0, 2.1)] == ["ordered", "critical", "chaotic"]


def test_no_length_no_depth():
    assert np.isnan(theory.depth_scales("relu", 3.0)).all()
    assert np.isnan(theory.correlation_fixed_point("relu", 3.0)).all()
    xi_q, xi_c = theory.depth_scales("gelu", *theory.critical("gelu"))
    assert math.isnan(xi_q)  # an unstable length
    assert xi_c == math.inf
    assert theory.depth_scales("relu", 2.0) == (math.inf, math.inf)
    assert theory.depth_scales("tanh", 0.0, 1.0) == (0.0, 0.0)


@settings(max_examples=12)
@given(st.sampled_from(["tanh", "softsign", "selu", "erf", "hard_tanh"]), VARIANCES, st.floats(0, 1))
def test_fixed_correlation(name, sigma_w2, sigma_b2):
    function = special.erf if name == "erf" else name
    point = theory.fixed_point(function, sigma_w2, sigma_b2)
    c, slope = theory.correlation_fixed_point(function, sigma_w2, sigma_b2)
    if point.kind == "infinite":
        assert math.isnan(c)
    elif point.kind == "finite":
        assert theory.correlation_map(function, c, point.q, sigma_w2, sigma_b2) == close(c, 1e-10)
        assert (c == 1) == (point.chi <= 1 + 1e-9)
        assert slope <= 1 + 1e-9


def test_kinds_of_results():
    assert type(theory.length_map("tanh", 1, 2)) is float
    assert theory.length_map("tanh", [1.0, 2.0], [[1], [2], [3]]).shape == (3, 2)
    assert theory.length_map("tanh", np.zeros((0, 2)), 1.0).shape == (0, 2)
    assert type(theory.correlation_map("tanh", 0.5, 1, 2)) is float
    assert theory.correlation_map("tanh", [0.5, 1], [[1.0], [2.0]], 1.0, 0.1).shape == (2, 2)
    assert [type(x) for x in theory.critical("tanh")] == [float, float]
    assert type(theory.phase("tanh", 1.5)) is str
    point = theory.fixed_point("tanh", 1.5)
    assert [type(getattr(point, field)) for field in point.__slots__] == [float, float, float, bool, str]


# What suits an activation.


@pytest.mark.parametrize(
    ("name", "scheme", "chi"),
    [
        ("linear", "lecun_normal", 1),
        ("relu", "he_normal", 1),
        ("leaky_relu(0.2)", "he_normal(negative_slope=0.2)", 1),
        ("leaky_relu", "he_normal(negative_slope=0.01)", 1),
        ("tanh", "xavier_normal", 1),
        ("softsign", "xavier_normal", 1),
        ("hard_tanh", "xavier_normal", 1),
        ("selu", "lecun_normal", 1.071575),
        ("gelu", "variance_scaling(2.35172, 'fan_in', 'normal')", 1.072034),
        ("sigmoid", "variance_scaling(3.40856, 'fan_in', 'normal')", 0.152827),
        (math.erf, "variance_scaling(0.785398, 'fan_avg', 'normal')", 1),
        (lambda u: np.maximum(u, 0), "he_normal", 1),
        (lambda u: 3 * np.maximum(u, 0), "variance_scaling(0.222222, 'fan_in', 'normal')", 1),
        (np.sign, "variance_scaling(1, 'fan_in', 'normal')", math.inf),
    ],
)
def test_what_suits(name, scheme, chi):
    suit = theory.recommend(name)
    assert suit.scheme == scheme
    assert suit.chi == pytest.approx(chi, rel=2e-6)
    assert isinstance(ic.get(scheme), ic.VarianceScaling)
    assert suit.gain == close(theory.length_map(name, 1.0, 1.0) ** -0.5)
    assert suit.reason.endswith(".")
    if name in {"sigmoid", np.sign}:
        assert suit.critical is None
    else:
        assert suit.critical == theory.critical(name)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_has_something_that_suits(name):
    suit = theory.recommend(name)
    scale = ic.get(suit.scheme).get_config()["scale"]
    assert suit.activation == name
    # It keeps the mean square of the signal, or is linear in the limit that it is for.
    kept = theory.length_map(name, 1.0, scale)
    if suit.scheme == "xavier_normal":
        assert kept < 1
        assert theory.length_slope(name, 1e-12, scale) == pytest.approx(1, rel=1e-5)
    else:
        assert kept == pytest.approx(1, rel=1e-5)


# Wrong input.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.length_map("tanh", -1.0, 1.0), "q must be finite and not negative, got -1.0"),
        (lambda: theory.length_map("tanh", [1.0, math.nan], 1.0), "q must be finite"),
        (lambda: theory.length_map("tanh", 1.0, -1.0), "sigma_w2 must be finite"),
        (lambda: theory.length_map("tanh", 1.0, 1.0, math.inf), "sigma_b2 must be finite"),
        (lambda: theory.length_map("tan", 1.0, 1.0), "unknown activation"),
        (lambda: theory.length_map("tanh", [1.0, 2.0], [1.0, 2.0, 3.0]), "broadcast"),
        (lambda: theory.correlation_map("tanh", 1.5, 1.0, 1.0), "correlation must be from -1 to 1, got 1.5"),
        (lambda: theory.correlation_map("tanh", math.nan, 1.0, 1.0), "correlation must be from -1 to 1"),
        (lambda: theory.critical("sigmoid"), "sigmoid has no critical point at q = 1: .* 22.3034"),
        (lambda: theory.critical(np.sign), "sign jumps"),
        (lambda: theory.critical(lambda u: u * 0.0 + 1), "is flat"),
        (lambda: theory.critical("tanh", "one"), "could not convert"),
        (lambda: theory.fixed_point("tanh", 1.0, start=0.0), "start must be positive and finite, got 0.0"),
        (lambda: theory.recommend(lambda u: 0 * u), "zero wherever"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
