"""The Keras adapter on one backend: `test_keras` runs this file once for each, in a process of its own."""

import hashlib
import inspect
import json
import math
import os
import pickle
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import initcore as ic

# Of Keras, where it makes arrays of its own variables.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

K = ic.keras
NAMED = {
    "RandomNormal": [{}, {"mean": 0.5, "stddev": 2.0}],
    "TruncatedNormal": [{}, {"mean": -1.0, "stddev": 3.0}],
    "RandomUniform": [{}, {"minval": -1.0, "maxval": 3.0}],
    "VarianceScaling": [
        {},
        *({"scale": 2.0, "mode": mode} for mode in ("fan_in", "fan_out", "fan_avg")),
        *({"distribution": law} for law in ("normal", "untruncated_normal", "uniform")),
        {"input_axes": [1], "output_axes": [0]},
    ],
    **{f"{root}{law}": [{}] for root in ("Glorot", "He", "Lecun") for law in ("Normal", "Uniform")},
    "Orthogonal": [{}, {"gain": 2.0}],
}
DRAWN = [(name, arguments) for name, cases in NAMED.items() for arguments in cases]
IDS = [f"{name}-{'-'.join(map(str, arguments.values()))}" for name, arguments in DRAWN]


def dense_layer(*arguments, **options):
    """Make a layer for which JAX has nothing to compile, which takes it longest."""
    quick = {"kernel_initializer": K.Zeros(), "bias_initializer": K.Zeros()}
    return layers.Dense(*arguments, **quick | options)


def array(x):
    """Give the values of a tensor or a variable, as they are in memory."""
    return np.asarray(keras.ops.convert_to_numpy(getattr(x, "value", x)))


def address(variable):
    return variable.path.replace("/", ".")


def same(x, y):
    x, y = array(x), array(y)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def alike(x, y):
    """Whether one of two weights has the beginning of the other, scaled or not, or much of it anywhere."""
    x, y = array(x).ravel(), array(y).ravel()
    n = min(x.size, y.size)
    ratio = x[:n] / y[:n]
    return np.ptp(ratio) < 1e-3 * np.abs(ratio).max() or np.intersect1d(x, y).size > n // 4


# --- the laws of Keras under the names of Keras


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        *((name, arguments, (100, 400)) for name, arguments in DRAWN if name != "Orthogonal"),
        *((f"{root}Uniform", {}, (3, 3, 20, 220)) for root in ("Glorot", "He")),
        *((f"{root}Normal", {}, (40_000,)) for root in ("Glorot", "He")),
        ("VarianceScaling", {"mode": "fan_out", "input_axes": [0, 2], "output_axes": [1]}, (40, 50, 20)),
    ],
)
def test_the_law_is_that_of_keras(name, arguments, shape):
    ours = array(getattr(K, name)(seed=0, **arguments)(shape)).ravel().astype(np.float64)
    theirs = array(getattr(keras.initializers, name)(seed=0, **arguments)(shape)).ravel().astype(np.float64)
    n = ours.size
    # two samples of one law exceed either bound with a chance below 1e-10; 4% of scale are found
    both = np.sort(np.concatenate([ours, theirs]))
    cdf = [np.searchsorted(np.sort(x), both, "right") / n for x in (ours, theirs)]
    assert np.abs(cdf[0] - cdf[1]).max() < math.sqrt(math.log(2 / 1e-10) / n)
    assert abs(ours.std() / theirs.std() - 1) < 6.5 / math.sqrt(n)
    # Keras' truncated values lie beyond the bounds now and then, on PyTorch: the law is what it says it is
    bound = {"uniform": 3**0.5, "truncated": 2 / 0.8796256610342398, "normal": 3.5}
    law = arguments.get("distribution", "truncated" if name == "VarianceScaling" else name.lower())
    scaled = name[:2] in {"Gl", "He", "Le"} and "Normal" in name
    law = "truncated" if law == "normal" or scaled else law
    kind = next(kind for kind in ("uniform", "untruncated", "truncated", "normal") if kind in law)
    reach = np.abs(ours - ours.mean()).max() / ours.std()
    if kind in {"uniform", "truncated"}:
        assert reach == pytest.approx(bound[kind], rel=0.02)
    else:
        assert reach > bound["normal"]


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (3, 3, 4, 8)], ids=str)
def test_orthogonal_is_that_of_keras(shape):
    for module in (K, keras.initializers):
        matrix = array(module.Orthogonal(gain=2.0, seed=0)(shape)).reshape(-1, shape[-1]).astype(np.float64)
        matrix = matrix if matrix.shape[0] < matrix.shape[1] else matrix.T
        np.testing.assert_allclose(matrix @ matrix.T, 4 * np.eye(len(matrix)), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32", "bool"])
@pytest.mark.parametrize("name", ["Zeros", "Ones", "Constant"])
def test_constants_are_those_of_keras_in_any_dtype(name, dtype):
    ours, theirs = (getattr(module, name)() for module in (K, keras.initializers))
    assert same(ours((3, 4), dtype), theirs((3, 4), dtype))
    assert ours.get_config() == theirs.get_config()


def test_identity_and_constant_take_their_arguments():
    for shape in [(3, 3), (2, 5), (5, 2)]:
        assert same(K.Identity(2.0)(shape), keras.initializers.Identity(2.0)(shape))
    assert same(K.Constant(0.25)((2, 2)), keras.initializers.Constant(0.25)((2, 2)))


def test_xavier_is_glorot():
    assert (K.XavierNormal, K.XavierUniform) == (K.GlorotNormal, K.GlorotUniform)


@pytest.mark.parametrize("name", [*NAMED, "Zeros", "Ones", "Constant", "Identity"])
def test_arguments_are_those_of_keras_in_their_order(name):
    ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (K, keras.initializers))
    positional = [p for p in ours.values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert [(p.name, p.default) for p in positional] == [(p.name, p.default) for p in theirs.values()]


# --- what the values are a function of


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_kernel_is_drawn_under_its_path(dtype):
    init = K.Initializer("he_normal", seed=2**63 + 5)
    model = keras.Sequential([keras.Input((9,)), layers.Dense(7, kernel_initializer=init, dtype=dtype)])
    (kernel, _) = model.weights
    expected = ic.he_normal((9, 7), seed=2**63 + 5, name=address(kernel), dtype=dtype)
    assert kernel.dtype == dtype
    np.testing.assert_array_equal(
        array(keras.ops.cast(kernel.value, "float32")), expected.astype(np.float32), strict=True
    )


def test_a_name_is_the_address_in_any_framework():
    init = K.Initializer(ic.Normal(0, 0.02), seed=3, name="fc1.weight", layout="torch")
    layer = layers.Dense(7, kernel_initializer=init)
    layer.build((None, 9))
    assert same(layer.kernel, ic.normal((9, 7), std=0.02, seed=3, name="fc1.weight"))


def test_models_that_are_built_when_first_called_have_the_same_values():
    class Model(keras.Model):
        def __init__(self, init):
            super().__init__()
            self.one = layers.Dense(4, kernel_initializer=init, name="one")
            self.two = layers.Dense(4, kernel_initializer=init, name="two")

        def call(self, x):
            return self.two(self.one(x))

    model = Model(K.HeNormal(seed=1))
    model(np.zeros((2, 4), "float32"))
    for layer in (model.one, model.two):
        assert "#" not in layer.kernel.path
        expected = ic.he_truncated_normal((4, 4), seed=1, name=address(layer.kernel))
        assert same(layer.kernel, expected)


def test_the_layout_decides_the_fans():
    layout = ic.Layout("numpy", groups=4)
    layer = layers.Conv2D(
        8, 3, groups=4, kernel_initializer=K.Initializer("he_normal", seed=0, layout=layout)
    )
    layer.build((None, 9, 9, 16))
    assert same(layer.kernel, ic.he_normal((3, 3, 4, 8), seed=0, name=address(layer.kernel), layout=layout))


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (lambda: K.HeNormal(seed=0), ic.he_truncated_normal),
        (lambda: K.Initializer("he_normal", seed=0), ic.he_normal),
        (
            lambda: K.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=0),
            "he_normal(mode='fan_out')",
        ),
    ],
    ids=["named", "any", "scaling"],
)
def test_attention_has_the_fans_of_its_equations(make, law):
    layer = layers.MultiHeadAttention(2, 8, kernel_initializer=make(), name="attention")
    layer.build((None, 5, 12), (None, 5, 12), (None, 5, 12))
    kernels = [w for w in layer.weights if w.name == "kernel"]
    axes = [{"in_axis": 0, "out_axis": (1, 2)}] * 3 + [{"in_axis": (0, 1), "out_axis": 2}]
    for kernel, which in zip(kernels, axes, strict=True):
        init, layout = ic.get(law), ic.Layout(**which)
        assert same(kernel, init(kernel.shape, seed=0, name=address(kernel), layout=layout))
        assert layout.fans(kernel.shape) in {(12, 16), (16, 12)}


def test_a_layout_is_kept_in_attention():
    for make in (K.HeUniform, lambda **o: K.Initializer("he_uniform", **o)):
        layer = layers.EinsumDense(
            "abc,cde->abde", (5, 2, 3), kernel_initializer=make(seed=0, layout="torch")
        )
        layer.build((None, 5, 4))
        assert same(
            layer.kernel, ic.he_uniform((4, 2, 3), seed=0, name=address(layer.kernel), layout="torch")
        )


@pytest.mark.parametrize("name", ["HeNormal", "GlorotUniform", "RandomNormal"])
def test_the_law_in_attention_is_that_of_keras(name):
    stds = []
    for module in (K, keras.initializers):
        layer = layers.EinsumDense(
            "abc,cde->abde", (5, 8, 100), kernel_initializer=getattr(module, name)(seed=0)
        )
        layer.build((None, 5, 50))
        stds.append(array(layer.kernel).std(dtype=np.float64))
    assert abs(stds[0] / stds[1] - 1) < 6.5 / 40_000**0.5


def test_calls_by_hand_are_plain_and_never_repeat():
    init = K.Initializer("he_normal", seed=0, name="w")
    assert same(init((5, 6)), ic.he_normal((5, 6), seed=0, name="w"))
    assert same(init((5, 6)), ic.he_normal((5, 6), seed=0, name="w#1"))
    assert same(init((5, 6)), ic.he_normal((5, 6), seed=0, name="w#2"))
    unnamed = K.Initializer("he_normal", seed=0)
    assert same(unnamed((5, 6)), ic.he_normal((5, 6), seed=0))
    assert same(unnamed((5, 6)), ic.he_normal((5, 6), seed=0, name="#1"))


def test_without_a_seed_keras_seed_governs():
    def kernels():
        init = K.HeNormal()
        made = [layers.Dense(8, kernel_initializer=init) for _ in range(3)]
        for layer in made:
            layer.build((None, 8))
        return [array(layer.kernel) for layer in made]

    keras.utils.set_random_seed(5)
    first = kernels()
    second = kernels()
    keras.utils.set_random_seed(5)
    assert all(map(same, first, kernels()))  # though Keras has counted on: these are dense_6, 7, 8
    assert len({x.tobytes() for x in [*first, *second]}) == 6


def test_a_seed_generator_gives_a_seed_for_each_variable():
    def kernels(generator):
        init = K.HeNormal(seed=generator)
        made = [layers.Dense(8, kernel_initializer=init) for _ in range(2)]
        for layer in made:
            layer.build((None, 8))
        return [array(layer.kernel) for layer in made]

    one, two = kernels(keras.random.SeedGenerator(7))
    assert not alike(one, two)
    assert same(one, kernels(keras.random.SeedGenerator(7))[0])
    assert same(one, ic.he_truncated_normal((8, 8), seed=7 << 32))
    assert same(two, ic.he_truncated_normal((8, 8), seed=7 << 32 | 1))


# --- two layers are never twins


def two_dense(one, two):
    model = keras.Sequential([keras.Input((16,)), layers.Dense(16, kernel_initializer=one)])
    model.add(layers.Dense(16, kernel_initializer=two))
    return [layer.kernel for layer in model.layers]


def two_clones(init):
    return two_dense(init, init.clone())


def lstm(init):
    layer = layers.LSTM(8, kernel_initializer=init, recurrent_initializer=init, bias_initializer=init)
    layer.build((None, 5, 8))
    bias = array(layer.cell.bias)
    return [layer.cell.kernel, layer.cell.recurrent_kernel, bias[:8], bias[16:]]


def of_equal_copies(make):
    layer = layers.LSTM(8, kernel_initializer=make(), recurrent_initializer=make())
    layer.build((None, 5, 8))
    return [layer.cell.kernel, layer.cell.recurrent_kernel]


def attention(init):
    layer = layers.MultiHeadAttention(2, 8, kernel_initializer=init)
    layer.build((None, 5, 16), (None, 5, 16), (None, 5, 16))
    return [w for w in layer.weights if w.name == "kernel"]


def both_ways(init):
    layer = layers.Bidirectional(layers.GRU(8, kernel_initializer=init, recurrent_initializer=init))
    layer.build((None, 5, 8))
    return [w for w in layer.weights if "kernel" in w.name]


def nested(init):
    made = []
    for i in range(2):
        x = keras.Input((16,))
        y = layers.Dense(16, kernel_initializer=init, name="same")(x)
        made.append(keras.Model(x, y, name=f"block_{i}"))
    kernels = [model.get_layer("same").kernel for model in made]
    assert kernels[0].path == kernels[1].path
    return kernels


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize(
    "build",
    [
        lambda make: two_dense(*[make()] * 2),
        lambda make: two_dense(make(), make()),
        lambda make: two_clones(make()),
        lambda make: lstm(make()),
        of_equal_copies,
        lambda make: attention(make()),
        lambda make: both_ways(make()),
        lambda make: nested(make()),
    ],
    ids=["shared", "equal", "cloned", "lstm", "lstm-equal", "attention", "bidirectional", "nested"],
)
def test_no_two_weights_are_twins(build, seed):
    kernels = build(lambda: K.LecunNormal(seed=seed))
    assert len(kernels) > 1
    for i, one in enumerate(kernels):
        for two in kernels[:i]:
            assert not alike(one, two)


def side_by_side(init):
    """Give an initializer of three gates, each drawn on its own: for (in, 3 * out)."""

    def fused(shape, dtype=None):
        gate = (shape[0], shape[1] // 3)
        return keras.ops.concatenate([init()(gate, dtype) for _ in range(3)], axis=1)

    return fused


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("copies", [False, True], ids=["shared", "equal"])
def test_pieces_of_one_shape_are_no_twins(seed, copies):
    init = K.HeNormal(seed=seed)
    layer = layers.Dense(96, kernel_initializer=side_by_side(init.clone if copies else lambda: init))
    layer.build((None, 32))
    pieces = np.split(array(layer.kernel), 3, axis=1)
    assert not any(alike(pieces[i], pieces[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    for piece, count in zip(pieces, ("", "#1", "#2"), strict=True):
        expected = ic.he_truncated_normal((32, 32), seed=0, name=f"{address(layer.kernel)}[32x32]{count}")
        assert same(piece, expected) == (seed == 0)


def test_a_difference_of_two_draws_is_not_zero():
    init, constant = K.HeNormal(seed=0), K.Zeros()  # which is no draw

    def difference(shape, dtype):
        return constant(shape, dtype) + init(shape, dtype) - init(shape, dtype)

    layer = layers.Dense(8, kernel_initializer=difference)
    layer.build((None, 6))
    name = address(layer.kernel)
    one, two = (ic.he_truncated_normal((6, 8), seed=0, name=n) for n in (name, f"{name}[6x8]#1"))
    assert same(layer.kernel, one - two)


def test_a_variable_that_a_script_calls_self_waits_for_nothing():
    script = {"self": keras.Variable(np.zeros((4, 4), "float32")), "init": K.HeNormal(seed=0)}
    exec("made = [init((4, 4)) for _ in range(2)]; one = init((4, 4))", script)
    assert same(script["made"][0], ic.he_truncated_normal((4, 4), seed=0))
    assert same(script["one"], ic.he_truncated_normal((4, 4), seed=0, name="#2"))
    assert set(script) == {"__builtins__", "self", "init", "made", "one"}


@pytest.mark.parametrize("seed", [0, None])
def test_a_variable_that_is_asked_for_again_has_the_same_pieces(seed):
    init = K.HeNormal(seed=seed)
    with keras.StatelessScope():
        variable = keras.Variable(side_by_side(lambda: init), shape=(8, 24), name="fused")
        asked = [array(variable.value) for _ in range(2)]
    assert same(asked[0], variable)
    assert same(asked[1], variable)
    assert not alike(asked[0][:, :8], asked[0][:, 8:16])


def test_a_model_may_hold_a_copy_of_a_part():
    """As a teacher and its student: one path twice in one model, on purpose."""

    class Pair(keras.Model):
        def build(self, _):
            x = keras.Input((6,))
            one = dense_layer(6, kernel_initializer=K.HeNormal(seed=0), name="one")
            self.student = keras.Model(x, one(x))
            self.teacher = keras.models.clone_model(self.student)

        def call(self, x):
            return self.student(x) - self.teacher(x)

    model = Pair()
    model.build((None, 6))
    one, two = (part.get_layer("one").kernel for part in (model.student, model.teacher))
    assert one is not two
    assert one.path == two.path
    assert same(one, two)


def test_what_alike_means():
    x = ic.normal((8, 8), seed=0)
    assert alike(x, x[:4])
    assert alike(x[::-1], 3 * x[::-1])
    assert alike(x, x[::-1])
    assert not alike(x, ic.normal((8, 8), seed=1))


def test_copies_of_a_named_initializer_in_one_model_are_refused():
    with pytest.raises(ValueError, match=r"query/kernel and .*key/kernel, which would be alike"):
        attention(K.HeNormal(seed=0, name="attention"))
    with pytest.raises(ValueError, match="would be alike"):
        two_dense(K.HeNormal(seed=0, name="w"), K.HeNormal(seed=0, name="w"))


def test_models_may_share_a_name_on_purpose():
    one, two = (two_dense(K.HeNormal(seed=0, name="one"), K.HeNormal(seed=0, name="two")) for _ in range(2))
    assert all(map(same, one, two))
    assert not alike(*one)


def test_one_named_initializer_counts_its_variables():
    init = K.HeNormal(seed=0, name="w")
    kernels = two_dense(init, init)
    assert same(kernels[0], ic.he_truncated_normal((16, 16), seed=0, name="w"))
    assert same(kernels[1], ic.he_truncated_normal((16, 16), seed=0, name="w#1"))


# --- saved and read again


def all_kinds():
    for name, arguments in DRAWN:
        yield getattr(K, name)(seed=4, **arguments)
    yield from (
        K.Zeros(),
        K.Ones(),
        K.Constant(0.5),
        K.Identity(2.0),
        K.HeNormal(),
        K.HeNormal(seed=2**64 - 1),
    )
    for spec in ("he_normal", "kaiming_uniform", "sparse(0.5)", "truncated_normal(0.02)", ic.Normal(0, 0.02)):
        yield K.Initializer(spec, seed=1, name="w", layout="torch")
    yield K.Initializer("orthogonal", seed=1, layout=ic.Layout("numpy", blocks=3))
    yield K.Initializer("he_normal", layout=ic.Layout(in_axis=0, out_axis=(1,)))
    yield K.HeNormal(seed=np.uint64(7), layout=ic.Layout("numpy", groups=2))
    yield K.HeNormal(seed=keras.random.SeedGenerator(3))


@pytest.mark.parametrize("init", [pytest.param(init, id=repr(init)[:90]) for init in all_kinds()])
def test_configurations_round_trip(init):
    config = json.loads(json.dumps(init.get_config()))
    copies = [
        type(init).from_config(config),
        init.clone(),
        keras.initializers.deserialize(keras.initializers.serialize(init)),
        keras.saving.deserialize_keras_object(
            json.loads(json.dumps(keras.saving.serialize_keras_object(init)))
        ),
        pickle.loads(pickle.dumps(init)),
    ]
    for copy in copies:
        assert type(copy) is type(init)
        assert copy.get_config() == init.get_config()
        assert repr(copy) == repr(init)
        if isinstance(init.seed, int):
            assert same(copy((6, 12)), type(init).from_config(config)((6, 12)))
    assert keras.initializers.get(init) is init


def small_model():
    x = keras.Input((8, 8, 4))
    init = K.HeNormal(seed=0, layout=ic.Layout("numpy", groups=2))
    y = layers.Flatten()(layers.Conv2D(8, 3, groups=2, kernel_initializer=init)(x))
    return keras.Model(x, layers.Dense(5, kernel_initializer=K.Initializer("orthogonal", seed=1))(y))


def test_models_are_saved_with_their_initializers(tmp_path):
    model = small_model()
    model.save(tmp_path / "model.keras")
    read = keras.saving.load_model(tmp_path / "model.keras")
    assert all(map(same, read.get_weights(), model.get_weights()))
    for one, two in zip(model.layers, read.layers, strict=True):
        assert one.get_config() == two.get_config()
    assert isinstance(read.layers[1].kernel_initializer, K.HeNormal)


def test_a_model_made_again_from_json_has_the_same_weights():
    model = small_model()
    read = keras.models.model_from_json(model.to_json())
    assert all(map(same, read.get_weights(), model.get_weights()))
    assert all(map(same, keras.models.clone_model(model).get_weights(), model.get_weights()))


# --- whole models


def zoo():
    """Build a model of most kinds of layers; with initializers for which JAX has nothing to compile."""
    k = {"kernel_initializer": K.HeUniform(seed=9)}
    r = k | {"recurrent_initializer": K.Orthogonal(seed=9)}
    d = {"depthwise_initializer": K.HeUniform(seed=9)}
    image = keras.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, groups=2, padding="same", activation="relu", **k)(image)
    x = layers.Conv2DTranspose(6, 3, padding="same", activation="leaky_relu", **k)(x)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="gelu", **d)(x)
    x = layers.SeparableConv2D(
        5, 3, activation="tanh", pointwise_initializer=d["depthwise_initializer"], **d
    )(x)
    x = layers.PReLU()(x)
    x = layers.Reshape((-1, 5))(x)
    x = layers.MultiHeadAttention(2, 3, name="attention", **k)(x, x)
    x = layers.LayerNormalization()(x)
    x = layers.Bidirectional(layers.LSTM(4, **r))(x)
    tokens = keras.Input((7,), dtype="int32")
    y = layers.Embedding(11, 6, embeddings_initializer=K.RandomUniform(seed=9))(tokens)
    y = layers.GRU(3, return_sequences=True, **r)(y)
    y = layers.SimpleRNN(3, **r)(y)
    inside = keras.Input((3,))
    y = keras.Model(inside, layers.Dense(3, activation="selu", **k)(inside), name="block")(y)
    z = layers.Concatenate()([x, y])
    z = dense_layer(6, activation=layers.LeakyReLU(0.1), **k)(z)
    z = layers.Dense(2, activation="softmax", **k)(z)
    return keras.Model([image, tokens], z)


#: address -> initializer, fan-in, fan-out
ZOO = {
    "conv2d.kernel": ("he_normal", 18, 36),
    "conv2d_transpose.kernel": ("he_normal(negative_slope=0.2)", 72, 54),
    "depthwise_conv2d.kernel": (ic.theory.recommend("gelu").scheme, 9, 18),
    "separable_conv2d.depthwise_kernel": ("lecun_normal", 9, 9),
    "separable_conv2d.pointwise_kernel": ("xavier_normal", 12, 5),
    "attention.query.kernel": ("lecun_normal", 5, 6),
    "attention.attention_output.kernel": ("lecun_normal", 6, 5),
    "bidirectional.forward_lstm.lstm_cell.kernel": ("xavier_normal", 5, 4),
    "bidirectional.backward_lstm.lstm_cell.recurrent_kernel": ("orthogonal", 4, 4),
    "embedding.embeddings": ("uniform(-0.05, 0.05)", 1, 6),
    "gru.gru_cell.kernel": ("xavier_normal", 6, 3),
    "gru.gru_cell.recurrent_kernel": ("orthogonal", 3, 3),
    "simple_rnn.simple_rnn_cell.kernel": ("xavier_normal", 3, 3),
    "block.dense.kernel": ("lecun_normal", 3, 3),
    "dense.kernel": ("he_normal(negative_slope=0.1)", 11, 6),
    "dense_1.kernel": ("lecun_normal", 6, 2),
}


@pytest.fixture(scope="module")
def initialized():
    dense_layer(1)  # Keras' counters are somewhere else now
    model = zoo()
    statistics = [w for w in model.weights if w.name.startswith("moving")]
    assert len(statistics) == 2
    for i, w in enumerate(statistics):
        w.assign(w + 3 + i)
    before = [array(w) for w in statistics]
    made = K.initialize(model, seed=2)
    assert all(map(same, before, statistics))
    return model, made


@pytest.mark.parametrize("name", sorted(ZOO))
def test_weights_are_drawn_for_their_layer(initialized, name):
    p = initialized[1].parameters[name]
    spec, fan_in, fan_out = ZOO[name]
    assert (p.init, p.fan_in, p.fan_out) == (ic.get(spec), fan_in, fan_out)


def test_every_weight_has_the_value_of_its_plan(initialized):
    model, made = initialized
    expected = {}
    for name, p in made.parameters.items():
        value = p.init(p.shape, seed=2, name=name, layout=p.layout, dtype=p.dtype)
        if name.endswith("lstm_cell.bias"):
            value[4:8] = 1
        expected[name] = value
    weights = [w for w in model.weights if not w.name.startswith("moving")]
    assert len(weights) == len(expected)
    assert sorted(array(w).tobytes() for w in weights) == sorted(x.tobytes() for x in expected.values())
    plain = {
        name: p for name, p in made.parameters.items() if name.split(".")[-1] in {"gamma", "bias", "alpha"}
    }
    assert {p.init for name, p in plain.items() if name.endswith("gamma")} == {ic.get("ones")}
    assert {p.init for name, p in plain.items() if not name.endswith("gamma")} == {ic.get("zeros")}


def test_addresses_do_not_depend_on_what_was_built_before(initialized):
    again = zoo()
    made = K.initialize(again, seed=2)
    assert made.parameters == initialized[1].parameters
    assert [w.path for w in again.weights] != [w.path for w in initialized[0].weights]
    pairs = zip(again.weights, initialized[0].weights, strict=True)
    assert all(same(a, b) for a, b in pairs if not a.name.startswith("moving"))
    kernels = {array(w).tobytes() for w in again.weights if "kernel" in w.name}
    assert len(kernels) == sum("kernel" in w.name for w in again.weights) > 15


@pytest.mark.parametrize(
    ("equation", "output", "fans"),
    [
        ("abc,cd->abd", (3, 5), (4, 5)),
        ("abc,bcd->abd", (3, 5), (4, 5)),  # b: a matrix for each position
        ("abc,bcd->ad", 5, (12, 5)),
        ("...c,cde->...de", (2, 5), (4, 10)),
    ],
)
def test_the_axes_of_an_einsum(equation, output, fans):
    layer = layers.EinsumDense(equation, output, kernel_initializer=K.Zeros())
    layer.build((None, 3, 4))
    p = K.initialize(layer).parameters["kernel"]
    assert (p.fan_in, p.fan_out) == fans
    assert same(layer.kernel, ic.lecun_normal(layer.kernel.shape, seed=0, name="kernel", layout=p.layout))


def test_layers_keep_the_names_they_were_given():
    x = keras.Input((4,))
    y = dense_layer(4)(dense_layer(4, name="dense_5_of_mine")(dense_layer(4, name="first")(x)))
    model = keras.Model(x, y)
    assert list(K.initialize(model).parameters) == [
        f"{layer}.{w}" for layer in ("first", "dense_5_of_mine", "dense") for w in ("kernel", "bias")
    ]


def test_layers_within_layers_and_weights_without_names():
    class Block(keras.Layer):
        def __init__(self):
            super().__init__()
            self.inner = [dense_layer(4), dense_layer(4)]

        def build(self, _):
            self.first = self.add_weight(shape=(4,))
            self.second = self.add_weight(shape=(4,))

        def call(self, x):
            return self.inner[0](self.inner[1](x * self.first + self.second))

    model = keras.Sequential([keras.Input((4,)), Block(), Block()])
    rules = {"*.kernel": "auto", "*": "zeros"}
    within = ["variable", "variable_1", "dense.kernel", "dense.bias", "dense_1.kernel", "dense_1.bias"]
    assert list(K.initialize(model, rules).parameters) == [
        f"{block}.{name}" for block in ("block", "block_1") for name in within
    ]
    with pytest.raises(ValueError, match=r"block.variable.*no default is known for 'variable.*' of a Block"):
        K.initialize(model)


def test_rules_names_seed_and_layout():
    model = keras.Sequential([keras.Input((6,)), dense_layer(5, name="one"), dense_layer(4, name="two")])
    rules = {"fc.one.kernel": "he_normal", "*.two.kernel": ic.Rule("he_uniform", layout="torch"), "*": "auto"}
    made = K.initialize(model, rules, 7, names="fc.{}".format)
    one, two = (layer.kernel for layer in model.layers)
    assert same(one, ic.he_normal((6, 5), seed=7, name="fc.one.kernel"))
    assert same(two, ic.he_uniform((5, 4), seed=7, name="fc.two.kernel", layout="torch"))
    assert made.seed == 7
    K.initialize(
        model, {"*.kernel": lambda name, shape: ic.Normal(0, shape[0]), "*": "zeros"}, layout="torch"
    )
    assert same(one, ic.normal((6, 5), std=6, seed=0, name="one.kernel"))
    K.initialize(model, {"*.kernel": ic.he_normal, "*": "zeros"}, layout="torch", num_threads=1)
    assert same(one, ic.he_normal((6, 5), seed=0, name="one.kernel", layout="torch"))


def test_a_rule_of_none_leaves_weights_as_they_are():
    model = keras.Sequential([keras.Input((6,)), dense_layer(5, name="one"), dense_layer(4, name="two")])
    one, bias, two, _ = model.weights
    for w in (one, bias):
        w.assign(w + 3)
    before = [array(w) for w in (one, bias)]
    rules = {
        "one.kernel": None,
        "*.bias": lambda name, _: None if name == "one.bias" else "ones",
        "*": "auto",
    }
    made = K.initialize(model, rules, seed=1)
    assert list(made.parameters) == list(made.init()) == ["two.kernel", "two.bias"]
    assert all(map(same, before, (one, bias)))
    assert same(two, ic.lecun_normal((5, 4), seed=1, name="two.kernel"))


def test_what_has_no_default_may_be_left():
    class Odd(keras.Layer):
        def build(self, _):
            self.odd = self.add_weight(shape=(4,), name="odd", initializer=K.Ones())

    layer = Odd()
    layer.build((None, 4))
    assert not K.initialize(layer, {"*": None}).parameters
    assert array(layer.odd).tolist() == [1] * 4


def test_a_rule_may_say_the_dtype_that_is_there():
    model = keras.Sequential([keras.Input((6,)), dense_layer(5, name="one", dtype="bfloat16")])
    K.initialize(model, {"*": ic.Rule("normal", dtype="bfloat16")}, seed=1)
    expected = ic.normal((6, 5), seed=1, name="one.kernel", dtype="bfloat16").astype(np.float32)
    assert same(keras.ops.cast(model.layers[0].kernel.value, "float32"), expected)


def test_weights_that_are_frozen_are_set_too():
    model = keras.Sequential([keras.Input((6,)), dense_layer(5, name="one")])
    model.trainable = False
    K.initialize(model, seed=1)
    assert same(model.layers[0].kernel, ic.lecun_normal((6, 5), seed=1, name="one.kernel"))
    assert not model.layers[0].kernel.trainable


def test_a_layer_that_is_shared_is_set_once():
    x = keras.Input((4,))
    shared = dense_layer(4)
    inner = keras.Model(x, shared(x), name="inner")
    model = keras.Model(x, inner(shared(x)))
    assert len(K.initialize(model).parameters) == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    model = keras.Sequential([keras.Input((6,)), dense_layer(5, name="one", dtype=dtype)])
    K.initialize(model, seed=1)
    expected = ic.lecun_normal((6, 5), seed=1, name="one.kernel", dtype=dtype).astype(np.float32)
    assert same(keras.ops.cast(model.layers[0].kernel.value, "float32"), expected)


def test_the_model_computes_with_the_values():
    model = keras.Sequential([keras.Input((6,)), dense_layer(5, activation="relu", name="one")])
    K.initialize(model, seed=1)
    x = ic.normal((3, 6), seed=0)
    expected = np.maximum(x @ ic.he_normal((6, 5), seed=1, name="one.kernel"), 0)
    np.testing.assert_allclose(array(model(x)), expected, rtol=1e-5, atol=1e-6)


# --- refusals


class Unbuilt(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = dense_layer(3)

    def call(self, x):
        return self.layer(x)


def dense():
    return keras.Sequential([keras.Input((3,)), dense_layer(3, name="one")])


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        (Unbuilt, {}, ValueError, "not built yet: unbuilt.*, dense; call the model on data"),
        (lambda: keras.Sequential([dense_layer(3)]), {}, ValueError, "not built yet"),
        (dense, {"rules": {"*.kernel": "he_normal"}}, ValueError, "no rule matches: one.bias"),
        (dense, {"rules": {"*.x": "zeros", "*": "auto"}}, ValueError, r"decide no parameter: \*.x"),
        (dense, {"rules": {"*": "he_normal"}}, ValueError, "cannot be initialized so: one.bias"),
        (dense, {"rules": {"*": "he_norml"}}, ValueError, "he_norml"),
        (dense, {"rules": "he_normal"}, TypeError, "rules must be"),
        (
            dense,
            {"rules": {"*.bias": ic.Rule("ones", dtype="float64"), "*": "ones"}},
            ValueError,
            "one.bias .the rule's dtype is float64, the variable's float32",
        ),
        (dense, {"names": lambda name: "w"}, ValueError, "two weights one address"),
        (dense, {"seed": -1}, ValueError, "seed"),
        (dense, {"layout": "tensorflow"}, ValueError, "tensorflow"),
        (dense, {"num_threads": 0}, ValueError, "num_threads"),
        (lambda: "model", {}, TypeError, "must be a keras.Model or a keras.Layer, got str"),
    ],
)
def test_initialize_refuses(model, arguments, error, message):
    model = model()
    before = [array(w) for w in getattr(model, "weights", [])]
    with pytest.raises(error, match=message):
        K.initialize(model, **arguments)
    assert all(map(same, before, getattr(model, "weights", [])))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: K.Initializer("he_norml"), ValueError, "he_norml"),
        (lambda: K.Initializer(3), TypeError, "got int"),
        (lambda: K.HeNormal(seed=-1), ValueError, r"seed must be in \[0"),
        (lambda: K.HeNormal(seed="0"), TypeError, "seed must be an integer"),
        (lambda: K.HeNormal(name=3), TypeError, "name must be a string or None, got 3"),
        (lambda: K.HeNormal(layout="tf"), ValueError, "tf"),
        (lambda: K.VarianceScaling(mode="fan"), ValueError, "fan"),
        (lambda: K.Initializer("he_normal")((5,)), ValueError, "fan_in and fan_out need"),
        (lambda: K.HeNormal()((5, 5), "int32"), (TypeError, ValueError), "int32"),
    ],
)
def test_initializers_refuse(make, error, message):
    with pytest.raises(error, match=message):
        make()


# --- the other backend gives the same


def test_digests_for_the_comparison_of_backends(initialized):
    model, made = initialized
    digests = dict.fromkeys(made.parameters)
    ordered = [w for w in model.weights if not w.name.startswith("moving")]
    digests["zoo"] = hashlib.sha256(b"".join(array(w).tobytes() for w in ordered)).hexdigest()
    keras.utils.set_random_seed(0)
    for init in (K.HeNormal(), K.HeNormal(seed=1, name="backends"), K.Initializer("orthogonal", seed=2)):
        for dtype in ("float32", "float16"):
            digests[f"{init} {dtype}"] = hashlib.sha256(array(init((33, 17), dtype)).tobytes()).hexdigest()
    if "INITCORE_DIGESTS" in os.environ:
        Path(os.environ["INITCORE_DIGESTS"]).write_text(json.dumps(digests))


# --- devices


if keras.backend.backend() == "jax":  # Keras spreads variables with no other

    def test_each_device_has_its_part_of_the_same_values():
        devices = keras.distribution.list_devices()
        assert len(devices) == 4
        mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"], devices)
        layouts = keras.distribution.LayoutMap(mesh)
        layouts["spread/kernel"] = (None, "model")
        try:
            keras.distribution.set_distribution(
                keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")
            )
            layer = dense_layer(6, kernel_initializer=K.Initializer("he_normal", seed=1), name="spread")
            x = keras.Input((4,))
            model = keras.Model(x, layer(x))
            parts = [part.data.shape for part in layer.kernel.value.addressable_shards]
            assert parts == [(4, 3)] * 4
            assert same(layer.kernel, ic.he_normal((4, 6), seed=1, name="spread.kernel"))
            K.initialize(model, {"*.kernel": "he_normal", "*": "auto"}, seed=2)
            assert [part.data.shape for part in layer.kernel.value.addressable_shards] == parts
            assert same(layer.kernel, ic.he_normal((4, 6), seed=2, name="spread.kernel"))
        finally:
            keras.distribution.set_distribution(None)
