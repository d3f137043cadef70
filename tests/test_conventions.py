"""What docs/conventions.md says of other packages, asked of those that are installed; and its fragments run.

    python -m pytest -m peers tests/test_conventions.py

Means and standard deviations are of many values at fixed seeds and may be 7 standard errors off: a false
alarm has a probability below 1e-11 each.
"""

import inspect
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import initcore as ic

PAGE = (Path(__file__).parents[1] / "docs/conventions.md").read_text()
STD_AT_2 = stats.truncnorm(-2, 2).std()  # 0.8796
N = 1000
CLOSE = 7 / math.sqrt(2 * N * N)  # relative, of a standard deviation


def needs(*names):
    """Mark a test that asks other packages; warnings of theirs are theirs."""

    def mark(test):
        for name in reversed(names):
            test = pytest.mark.usefixtures(name)(test)
        return pytest.mark.peers(pytest.mark.filterwarnings("ignore")(test))

    return mark


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    module.manual_seed(0)
    return module


@pytest.fixture
def init(torch):
    return torch.nn.init


@pytest.fixture
def jax():
    return pytest.importorskip("jax")


@pytest.fixture
def keras(jax, monkeypatch):  # noqa: ARG001
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    module = pytest.importorskip("keras")
    module.utils.set_random_seed(0)
    return module


@pytest.fixture
def timm(torch):  # noqa: ARG001
    return pytest.importorskip("timm.layers")


@pytest.fixture
def flax(jax):  # noqa: ARG001
    return pytest.importorskip("flax.linen")


@pytest.fixture
def anyinit():
    return pytest.importorskip("anyinit")


def measure(x):
    """The standard deviation, and the largest value in units of it."""
    x = np.asarray(x, np.float64)
    return SimpleNamespace(std=x.std(), largest=abs(x).max(), cut=abs(x).max() / x.std())


def square(torch):
    return torch.empty(N, N)


TRUNCATED = pytest.approx(2 / STD_AT_2, rel=5e-3)  # `cut` of what is cut at 2 standard deviations


# -- names ---------------------------------------------------------------------------------------------------

#: The schemes of the first table, by the names that each package has for them; the others have none.
NAMES = {
    "torch": """zeros_ ones_ constant_ uniform_ normal_ trunc_normal_ eye_ dirac_ xavier_uniform_
        xavier_normal_ kaiming_uniform_ kaiming_normal_ orthogonal_ sparse_""",
    "jax": """zeros ones constant uniform normal truncated_normal variance_scaling glorot_uniform
        glorot_normal xavier_uniform xavier_normal he_uniform he_normal kaiming_uniform kaiming_normal
        lecun_uniform lecun_normal orthogonal delta_orthogonal""",
    "keras": """Zeros Ones Constant RandomUniform RandomNormal TruncatedNormal VarianceScaling GlorotUniform
        GlorotNormal HeUniform HeNormal LecunUniform LecunNormal Orthogonal Identity STFT""",
    "timm": "trunc_normal_ trunc_normal_tf_ variance_scaling_ lecun_normal_",
}
NAMES = {package: set(names.split()) for package, names in NAMES.items()}


@needs("init")
def test_torch_has_these(init):
    assert {n for n in dir(init) if n.endswith("_") and not n.startswith("_")} == NAMES["torch"]


@needs("jax")
def test_jax_has_these(jax):
    found = {n for n in dir(jax.nn.initializers) if not n.startswith("_")}
    assert found - {"Initializer"} == NAMES["jax"]


@needs("keras")
def test_keras_has_these(keras):
    classes = {n for n, c in vars(keras.initializers).items() if inspect.isclass(c) and n[0].isupper()}
    assert {n for n in classes if not n.endswith("Initializer")} == NAMES["keras"]


@needs("timm")
def test_timm_has_these(timm):
    module = inspect.getmodule(timm.variance_scaling_)
    own = {n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__}
    assert {n for n in own if n.endswith("_") and not n.startswith("_")} == NAMES["timm"]


@needs("anyinit")
def test_anyinit_has_these():
    from anyinit.core import distributions

    assert set(distributions.DISTRIBUTIONS) == {"normal", "uniform", "sinusoidal"}


@needs("anyinit", "timm", "jax")
def test_what_else_they_have(anyinit, timm, torch, jax):
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Tanh(), torch.nn.Linear(64, 8))
    report = anyinit.initialize(model, "empirical", torch.randn(64, 32), seed=0)
    assert report.stability
    name = "initcore_square"
    anyinit.register_activation(lambda x: x * x, name=name)
    assert anyinit.gain(name) == pytest.approx(3**-0.25)  # E z^4 = 3
    anyinit.unregister_activation(name)
    assert callable(inspect.getmodule(timm.variance_scaling_).init_weight_vit)
    draw = jax.nn.initializers.he_normal()(jax.random.key(0), (4, 4), "complex64")
    assert np.iscomplexobj(np.asarray(draw))


# -- gains ---------------------------------------------------------------------------------------------------


def exact_gain(f):
    """1 / sqrt(E f(z)^2), by Simpson's rule on either side of 0."""
    z = np.linspace(-12, 12, 240_001)
    return np.trapezoid(f(z) ** 2 * stats.norm.pdf(z), z) ** -0.5


def selu(z):
    return 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0)))


@needs("init")
def test_gains_of_torch(init):
    gain = init.calculate_gain
    assert gain("tanh") == 5 / 3
    assert gain("selu") == 3 / 4
    assert gain("sigmoid") == gain("linear") == gain("conv2d") == 1
    assert gain("relu") == math.sqrt(2)
    assert gain("leaky_relu") == math.sqrt(2 / (1 + 0.01**2))
    for name in ("gelu", "silu", "elu", "softplus"):
        with pytest.raises(ValueError, match="Unsupported nonlinearity"):
            gain(name)
    assert exact_gain(np.tanh) == pytest.approx(1.592537, abs=1e-6)
    assert exact_gain(lambda z: 1 / (1 + np.exp(-z))) == pytest.approx(1.846229, abs=1e-6)
    assert exact_gain(selu) == pytest.approx(1, abs=1e-6)


@needs("anyinit")
def test_gains_of_anyinit(anyinit):
    """The input scale s with E f(s z)^2 = 1: ours where f is homogeneous; for others another number."""
    assert anyinit.gain("relu") == pytest.approx(math.sqrt(2))
    assert anyinit.gain("selu") == pytest.approx(1)
    assert anyinit.gain("tanh") == pytest.approx(1.33711, abs=1e-5)
    assert anyinit.gain("sigmoid") == pytest.approx(2.67378, abs=1e-5)
    assert anyinit.gain("leaky_relu") == pytest.approx(math.sqrt(2 / (1 + 0.01**2)))
    assert anyinit.gain("gelu") == pytest.approx(1.46801, abs=1e-5)
    gelu = lambda z: z * stats.norm.cdf(z)  # noqa: E731
    assert exact_gain(gelu) == pytest.approx(1.533530, abs=1e-6)
    s = anyinit.gain("gelu")
    assert exact_gain(lambda z: gelu(s * z)) == pytest.approx(1, abs=1e-5)


@needs("init")
def test_the_slope_of_torch(init, torch):
    """`kaiming_*` has slope 0 unless it is given, whatever the default of `calculate_gain`."""
    for function in (init.kaiming_uniform_, init.kaiming_normal_):
        parameters = inspect.signature(function).parameters
        assert (parameters["a"].default, parameters["nonlinearity"].default) == (0, "leaky_relu")
    w = init.kaiming_normal_(square(torch))
    assert measure(w).std == pytest.approx(ic.get("he_normal").std((N, N)), rel=CLOSE)


# -- normal, truncated or not --------------------------------------------------------------------------------


@needs("init")
def test_normal_of_torch_is_not_truncated(init, torch):
    for function, name in [(init.kaiming_normal_, "he_normal"), (init.xavier_normal_, "xavier_normal")]:
        found = measure(function(square(torch)))
        assert found.std == pytest.approx(ic.get(name).std((N, N)), rel=CLOSE)
        assert found.cut > 4


@needs("jax")
def test_normal_of_jax_is_truncated(jax):
    """The std is that after the cut."""
    for name in ("he", "glorot", "lecun"):
        make = getattr(jax.nn.initializers, f"{name}_normal")
        found = measure(make()(jax.random.key(0), (N, N)))
        assert found.std == pytest.approx(ic.get(f"{name}_truncated_normal").std((N, N)), rel=CLOSE)
        assert found.cut == TRUNCATED
    plain = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")(jax.random.key(0), (N, N))
    assert measure(plain).cut > 4


@needs("keras")
def test_normal_of_keras_is_truncated(keras):
    for name in ("He", "Glorot", "Lecun"):
        found = measure(getattr(keras.initializers, f"{name}Normal")(seed=0)((N, N)))
        assert found.std == pytest.approx(ic.get(f"{name}_truncated_normal").std((N, N)), rel=CLOSE)
        assert found.cut == TRUNCATED
    scaling = keras.initializers.VarianceScaling
    assert scaling().get_config()["distribution"] == "truncated_normal"
    assert measure(scaling(distribution="untruncated_normal", seed=0)((N, N))).cut > 4
    assert measure(scaling(distribution="normal", seed=0)((N, N))).cut == TRUNCATED


@needs("timm")
def test_timm(timm, torch):
    w = square(torch)
    timm.lecun_normal_(w)
    found = measure(w)
    assert found.std == pytest.approx(ic.get("lecun_truncated_normal").std((N, N)), rel=CLOSE)
    assert found.cut == TRUNCATED
    timm.variance_scaling_(w)
    assert measure(w).std == pytest.approx(N**-0.5, rel=CLOSE)
    assert measure(w).cut > 4  # the default is normal


@needs("init", "timm")
def test_bounds_of_trunc_normal_are_absolute(init, timm, torch):
    """With the usual std = 0.02 they are 100 standard deviations away: nothing is cut."""
    for function in (init.trunc_normal_, timm.trunc_normal_):
        found = measure(function(square(torch), std=0.02))
        assert found.std == pytest.approx(0.02, rel=CLOSE)
        assert found.largest > 0.08
        found = measure(function(square(torch), std=1.0))
        assert found.std == pytest.approx(STD_AT_2, rel=CLOSE)
        assert found.largest <= 2
        found = measure(function(square(torch), std=2.0))
        assert found.std == pytest.approx(2 * stats.truncnorm(-1, 1).std(), rel=CLOSE)
    same = ic.TruncatedNormal(0.0, 0.02, -2 / 0.02, 2 / 0.02)
    assert same.std((1,)) == pytest.approx(0.02)


@needs("timm", "jax", "keras")
def test_bounds_in_standard_deviations(timm, jax, keras, torch):
    """... of the parent, and `std` is the parent's: 0.8796 of it is left, as in `ic.truncated_normal`."""
    draws = [
        timm.trunc_normal_tf_(square(torch), std=0.02),
        jax.nn.initializers.truncated_normal(0.02)(jax.random.key(0), (N, N)),
        keras.initializers.TruncatedNormal(stddev=0.02, seed=0)((N, N)),
        ic.truncated_normal((N, N), std=0.02, seed=0),
    ]
    for draw in draws:
        found = measure(draw)
        assert found.std == pytest.approx(0.02 * STD_AT_2, rel=CLOSE)
        assert found.largest <= 0.04
        assert found.cut == TRUNCATED
    assert ic.TruncatedNormal(0.0, 0.02).std((1,)) == pytest.approx(0.02 * STD_AT_2, rel=1e-12)


@needs("init", "jax", "keras")
def test_default_parameters(init, jax, keras):
    def default(function, *names):
        return tuple(inspect.signature(function).parameters[name].default for name in names)

    j, k = jax.nn.initializers, keras.initializers
    assert default(init.normal_, "mean", "std") == default(ic.normal, "mean", "std") == (0.0, 1.0)
    assert default(j.normal, "stddev") == default(j.uniform, "scale") == (0.01,)
    assert default(j.truncated_normal, "stddev") == (0.01,)
    assert (
        default(k.RandomNormal, "mean", "stddev")
        == default(k.TruncatedNormal, "mean", "stddev")
        == (0.0, 0.05)
    )
    assert default(k.RandomUniform, "minval", "maxval") == (-0.05, 0.05)
    assert default(init.uniform_, "a", "b") == default(ic.uniform, "low", "high") == (0.0, 1.0)
    assert default(init.trunc_normal_, "std", "a", "b") == (1.0, -2.0, 2.0)


# -- fans ----------------------------------------------------------------------------------------------------


@needs("init", "jax", "keras")
def test_vectors_have_fans_in_keras_only(init, torch, jax, keras):
    bound = measure(keras.initializers.GlorotUniform(seed=0)((100_000,))).largest
    assert bound == pytest.approx(math.sqrt(6 / 200_000), rel=1e-3)
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        init.xavier_uniform_(torch.empty(5))
    with pytest.raises(ValueError, match="at least 2D"):
        jax.nn.initializers.glorot_uniform()(jax.random.key(0), (5,))
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        ic.xavier_uniform((5,))


@needs("keras")
def test_axes_of_keras(keras):
    """Given by number, the kernel does not count: fan_in is 32, not 9 * 32. No inputs count as one."""
    init = keras.initializers.VarianceScaling(
        1.0, "fan_in", "uniform", seed=0, input_axes=[2], output_axes=[3]
    )
    assert measure(init((3, 3, 32, 64))).largest == pytest.approx(math.sqrt(3 / 32), rel=1e-3)
    assert ic.fans((3, 3, 32, 64), in_axis=2, out_axis=3, batch_axis=(0, 1)) == (32, 64)
    assert ic.fans((3, 3, 32, 64), in_axis=2, out_axis=3) == (288, 576)
    assert keras.initializers.HeNormal(seed=0)((0, 5)).shape == (0, 5)
    with pytest.raises(ValueError, match=r"fan_in of shape .* is 0"):
        ic.get("he_normal").std((0, 5))


@needs("anyinit", "torch")
def test_anyinit_knows_groups(anyinit, torch):
    model = torch.nn.Sequential(torch.nn.Conv1d(16, 24, 3, groups=4))
    anyinit.initialize(model, seed=0)
    fan_in, _ = ic.fans((24, 4, 3), layout="torch", groups=4)
    assert measure(model[0].weight.detach()).std == pytest.approx(fan_in**-0.5, rel=1e-5)


@needs("keras")
def test_depthwise_of_keras(keras):
    """(3, 3, 64, 1): fans 576 and 9 where each output sums 9 numbers."""
    layer = keras.layers.DepthwiseConv2D(3)
    layer.build((None, 8, 8, 64))
    assert measure(layer.kernel).largest == pytest.approx(math.sqrt(6 / (576 + 9)), rel=0.02)
    assert ic.fans((3, 3, 64, 1), layout="depthwise") == (9, 9)


@needs("keras", "flax")
def test_attention_layers_know_their_axes(keras, flax, jax):
    """(64, 4, 16): the layers give 64 inputs, 64 outputs, though the initializers alone would not."""
    layer = keras.layers.MultiHeadAttention(4, 16)
    layer.build((None, 5, 64), (None, 5, 64))
    assert layer._query_dense.kernel.shape == (64, 4, 16)
    assert measure(layer._query_dense.kernel).largest == pytest.approx(math.sqrt(6 / 128), rel=0.01)
    assert measure(keras.initializers.GlorotUniform(seed=0)((64, 4, 16))).largest == pytest.approx(
        math.sqrt(6 / (256 + 1024)), rel=0.01
    )
    layer = flax.SelfAttention(4)
    kernel = layer.init(jax.random.key(0), jax.numpy.zeros((1, 5, 64)))["params"]["query"]["kernel"]
    assert kernel.shape == (64, 4, 16)
    assert measure(kernel).std == pytest.approx(1 / 8, rel=7 / math.sqrt(2 * 4096))
    assert ic.fans((64, 4, 16), in_axis=0, out_axis=(1, 2)) == (64, 64)


@needs("torch")
def test_packed_projections_of_torch(torch):
    """xavier_uniform_ of (3d, d): a bound of sqrt(6 / 4d), where a single (d, d) has sqrt(6 / 2d)."""
    layer = torch.nn.MultiheadAttention(256, 4)
    bound = measure(layer.in_proj_weight.detach()).largest
    assert bound == pytest.approx(math.sqrt(6 / 1024), rel=1e-3)
    uniform = ic.VarianceScaling(1.0, "fan_avg", "uniform")
    assert math.sqrt(3) * uniform.std((768, 256), layout="torch") == pytest.approx(math.sqrt(6 / 1024))
    blocks = ic.Layout("torch", blocks=3)
    assert math.sqrt(3) * uniform.std((768, 256), layout=blocks) == pytest.approx(math.sqrt(6 / 512))


# -- orthogonal, identity, sparse ----------------------------------------------------------------------------


def orthonormal(rows):
    return np.allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-5)


@needs("init", "jax", "keras")
def test_which_matrix_is_orthogonal(init, torch, jax, keras):
    """Outputs by everything else: rows in torch's layout, columns in the others."""
    assert orthonormal(init.orthogonal_(torch.empty(6, 4, 3)).numpy().reshape(6, 12))
    for w in (
        jax.nn.initializers.orthogonal()(jax.random.key(0), (3, 4, 6)),
        keras.initializers.Orthogonal(seed=0)((3, 4, 6)),
    ):
        assert orthonormal(np.asarray(w).reshape(12, 6).T)


@needs("init", "jax", "keras")
def test_orthogonal_is_of_the_haar_measure(init, torch, jax, keras):
    """The trace of a matrix in O(3) has mean 0 and variance 1; without the sign fix its mean is -0.5.

    False alarms: 7 standard errors of the mean, 1e-11.
    """

    def traces(qs):
        return np.trace(np.asarray(qs, np.float64), axis1=1, axis2=2)

    keys = jax.random.split(jax.random.key(0), 4000)
    draws = [
        [init.orthogonal_(torch.empty(3, 3)).numpy() for _ in range(4000)],
        jax.vmap(lambda key: jax.nn.initializers.orthogonal()(key, (3, 3)))(keys),
        [np.asarray(keras.initializers.Orthogonal(seed=i)((3, 3))) for i in range(300)],
    ]
    for qs in draws:
        assert abs(traces(qs).mean()) < 7 / math.sqrt(len(qs))
    raw = np.linalg.qr(ic.normal((4000, 3, 3), seed=0, dtype="float64"))[0]
    assert traces(raw).mean() < -0.4


@needs("jax", "init")
def test_centres_of_even_kernels(jax, init, torch):
    w = np.asarray(jax.nn.initializers.delta_orthogonal()(jax.random.key(0), (4, 6, 3, 3)))
    assert np.argwhere(w.any(axis=(2, 3))).tolist() == [[1, 2]]  # (k - 1) // 2
    w = init.dirac_(torch.empty(3, 3, 4, 6)).numpy()
    assert np.argwhere(w.any(axis=(0, 1))).tolist() == [[2, 3]]  # k // 2
    for center, at in [("lower", [[1, 2]]), ("upper", [[2, 3]])]:
        w = ic.Identity(center=center)((4, 6, 3, 3))
        assert np.argwhere(w.any(axis=(2, 3))).tolist() == at


@needs("keras")
def test_identity_of_keras_is_of_two_axes(keras):
    init = keras.initializers.Identity(2.0)
    np.testing.assert_array_equal(init((3, 5)), ic.Identity(2.0)((3, 5)))
    with pytest.raises(ValueError, match="2D"):
        init((3, 4, 4))


@needs("init")
def test_columns_of_torch_are_inputs(init, torch):
    """`sparse_` of a weight (out, in) leaves each input as many outputs, not each unit as many inputs."""
    w = init.sparse_(torch.empty(40, 30), 0.25).numpy()
    assert ((w == 0).sum(axis=0) == 10).all()
    assert len(set((w == 0).sum(axis=1))) > 1
    ours = ic.Sparse(0.25)((30, 40), seed=0)  # (in, out)
    assert ((ours == 0).sum(axis=0) == 8).all()


# -- layers --------------------------------------------------------------------------------------------------


@needs("torch")
def test_linear_of_torch(torch):
    """kaiming_uniform_ with slope sqrt(5) is the uniform law of variance 1 / 3 fan_in."""
    layer = torch.nn.Linear(N, N)
    for parameter in (layer.weight, layer.bias):
        assert measure(parameter.detach()).largest == pytest.approx(N**-0.5, rel=0.02)
    assert measure(layer.weight.detach()).largest == pytest.approx(N**-0.5, rel=1e-4)
    init = ic.VarianceScaling(1 / 3, "fan_in", "uniform")
    assert init.std((N, N)) * math.sqrt(3) == pytest.approx(N**-0.5)
    conv = torch.nn.Conv2d(64, 128, 3, groups=4)
    bound = math.sqrt(3) * init.std((128, 16, 3, 3), layout=ic.Layout("torch", groups=4))
    assert measure(conv.weight.detach()).largest == pytest.approx(bound, rel=1e-3)
    lstm = torch.nn.LSTM(7, 100)
    assert all(measure(p.detach()).largest == pytest.approx(0.1, rel=0.02) for p in lstm.parameters())
    # a transposed convolution (in, out, k, k): by the fan_in of the axes as they are not
    conv = torch.nn.ConvTranspose2d(16, 128, 3)
    assert measure(conv.weight.detach()).largest == pytest.approx((128 * 9) ** -0.5, rel=1e-3)


@needs("keras", "flax")
def test_dense_of_keras_and_flax(keras, flax, jax):
    layer = keras.layers.Dense(N)
    layer.build((None, N))
    assert measure(layer.kernel).largest == pytest.approx(math.sqrt(6 / (2 * N)), rel=1e-4)
    assert not np.asarray(layer.bias).any()
    params = flax.Dense(N).init(jax.random.key(0), jax.numpy.zeros((1, N)))["params"]
    found = measure(params["kernel"])
    assert found.std == pytest.approx(ic.get("lecun_truncated_normal").std((N, N)), rel=CLOSE)
    assert found.cut == TRUNCATED
    assert not np.asarray(params["bias"]).any()


@needs("torch", "keras", "flax")
def test_embeddings(torch, keras, flax, jax):
    layer = torch.nn.Embedding(N, N, padding_idx=-1)
    assert measure(layer.weight[:-1].detach()).std == pytest.approx(1, rel=CLOSE * 1.01)
    assert not layer.weight[-1].any()
    layer = keras.layers.Embedding(N, N, mask_zero=True)
    layer.build()
    table = np.asarray(layer.embeddings)
    assert abs(table).max() == pytest.approx(0.05, rel=1e-4)
    assert table[0].any()
    table = flax.Embed(N, 100).init(jax.random.key(0), jax.numpy.zeros(1, int))["params"]["embedding"]
    assert measure(table).std == pytest.approx(0.1, rel=7 / math.sqrt(2e5))
    assert measure(table).cut > 4
    assert ic.VarianceScaling(1.0, "fan_out", "normal").std((N, 100), layout="embedding") == pytest.approx(
        0.1
    )


@needs("anyinit", "torch")
def test_anyinit_makes_the_std_exact(anyinit, torch):
    """The draw is divided by its own standard deviation; biases are zeros, embeddings have std 1."""
    model = torch.nn.Sequential(torch.nn.Embedding(50, 64), torch.nn.Linear(64, 64))
    anyinit.initialize(model, seed=0)
    assert measure(model[0].weight.detach()).std == pytest.approx(1, abs=1e-5)
    assert measure(model[1].weight.detach()).std == pytest.approx(1 / 8, rel=1e-5)
    assert not model[1].bias.any()


# -- types, seeds, bounds ------------------------------------------------------------------------------------

MANY = 1 << 22


@needs("jax", "keras", "torch")
def test_bfloat16(jax, keras, torch):
    """JAX, and Keras upon it, draw 7 bits: 128 values, none beyond 2.9 standard deviations."""
    for draw in (
        jax.nn.initializers.normal(1.0)(jax.random.key(0), (MANY,), jax.numpy.bfloat16),
        keras.initializers.RandomNormal(stddev=1.0, seed=0)((MANY,), dtype="bfloat16"),
    ):
        x = np.asarray(draw).astype(np.float64)
        assert len(np.unique(x)) == 128
        assert abs(x).max() == 2.890625
    u = np.asarray(jax.nn.initializers.uniform(1.0)(jax.random.key(0), (MANY,), jax.numpy.bfloat16))
    assert len(np.unique(u)) == 128
    assert u.astype(np.float64).mean() == pytest.approx(0.5 - 1 / 256, abs=7 / math.sqrt(12 * MANY))
    x = torch.nn.init.normal_(torch.empty(MANY, dtype=torch.bfloat16))
    assert x.abs().max() > 4.5
    assert x.unique().numel() > 4000
    ours = ic.normal(MANY, dtype="bfloat16", seed=0).astype(np.float64)
    assert abs(ours).max() > 4.5
    assert len(np.unique(ours)) > 4000
    uniform = ic.uniform(MANY, dtype="bfloat16", seed=0).astype(np.float64)
    # rounding to nearest within [0, 1) is symmetric but for what would have become 1
    assert abs(uniform.mean() - 0.5) < 1 / 1024


@needs("torch", "jax")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_uniform_is_half_open(torch, jax, dtype):
    draws = [
        torch.nn.init.uniform_(torch.empty(MANY, dtype=getattr(torch, dtype))).double().numpy(),
        jax.nn.initializers.uniform(1.0)(jax.random.key(0), (MANY,), dtype),
        ic.uniform(MANY, dtype=dtype, seed=0),
    ]
    for draw in draws:
        x = np.asarray(draw).astype(np.float64)
        assert x.min() >= 0
        assert x.max() < 1


@needs("torch")
def test_values_of_torch_depend_on_the_size_and_strides(torch):
    def draw(out):
        torch.manual_seed(0)
        return torch.nn.init.normal_(out)

    whole = draw(torch.empty(100))
    assert not torch.equal(draw(torch.empty(10)), whole[:10])
    assert not torch.equal(draw(torch.empty(16, 32)[:, ::2]), draw(torch.empty(16, 16)))
    ours = ic.normal(100, seed=0)
    np.testing.assert_array_equal(ic.normal(10, seed=0), ours[:10])


@needs("jax", "keras", "anyinit", "torch")
def test_seeds(jax, keras, anyinit, torch):
    """JAX: the key is all; Keras: an initializer repeats itself, with a seed or without."""
    key = jax.random.key(0)
    normal = jax.nn.initializers.normal()
    np.testing.assert_array_equal(normal(key, (5, 4)), normal(key, (5, 4)))
    for init in (keras.initializers.HeNormal(seed=1), keras.initializers.HeNormal()):
        np.testing.assert_array_equal(init((3, 3)), init((3, 3)))
    models = [torch.nn.Sequential(torch.nn.Linear(9, 9)) for _ in range(2)]
    for model in models:
        anyinit.initialize(model, seed=3)
    assert torch.equal(models[0][0].weight, models[1][0].weight)
    assert (ic.normal(9) != ic.normal(9)).any()  # None is fresh entropy
    assert (ic.normal(9, seed=0, name="a") != ic.normal(9, seed=0, name="b")).any()


# -- the page ------------------------------------------------------------------------------------------------

#: What the fragments mean by their letters.
LETTERS = {"np": np, "ic": ic, "shape": (16, 24), "kernel": (3, 3, 8, 12), "d": 16, "n": 24, "v": 50}
FRAGMENTS = sorted(
    {code.replace("\\|", "|") for code in re.findall(r"`((?:ic\.|[a-z]+ = ic\.)[^`]*\))`", PAGE)}
)


def test_the_page_has_fragments():
    assert len(FRAGMENTS) >= 25


@pytest.mark.parametrize("code", FRAGMENTS)
def test_fragments_run(code):
    value = eval(code, dict(LETTERS))
    assert value is not None
    for part in value if isinstance(value, tuple) else (value,):
        assert np.isfinite(np.asarray(part, np.float64)).all()


@pytest.mark.peers
def test_the_page_states_the_versions():
    from importlib.metadata import PackageNotFoundError, version

    stated = dict(re.findall(r"^\| (PyTorch|JAX|Flax|Keras|timm|anyinit) \| ([\d.]+) \|", PAGE, re.MULTILINE))
    assert len(stated) == 6
    for name, number in stated.items():
        try:
            assert version({"PyTorch": "torch"}.get(name, name.lower())).split("+")[0] == number
        except PackageNotFoundError:
            continue
