"""initcore.jax.make_tree: names, rules and dtypes of trees, the modules of Flax, what it refuses."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import initcore as ic
from initcore.jax import arrays, trees

KEY = jax.random.key(7)


def same(x, y):
    x, y = np.asarray(x), np.asarray(y)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


@pytest.fixture
def nothing_is_drawn(monkeypatch):
    """Whoever draws or allocates fails."""

    def refuse(*_, **__):
        pytest.fail("something was drawn")

    monkeypatch.setattr(arrays, "aligned", refuse)
    monkeypatch.setattr(trees, "place", refuse)


RULES = {"*.bias": "zeros", "*.scale": "ones", "*": "he_normal"}


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(16, kernel_init=ic.jax.he_normal(), name="fc1")(x)
        return nn.Dense(4, kernel_init=nn.with_partitioning(ic.jax.orthogonal(), (None, "out")))(
            nn.LayerNorm()(x)
        )


def test_linen():
    x = jnp.ones((2, 8))
    eager, compiled = Net().init(KEY, x), jax.jit(Net().init)(KEY, x)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), eager, compiled)
    kernel = nn.meta.unbox(eager)["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(4), atol=1e-6)

    shapes = jax.eval_shape(Net().init, KEY, x)
    variables = ic.jax.make_tree(shapes, RULES, seed=3)
    assert jax.tree.structure(variables) == jax.tree.structure(shapes)
    assert same(variables["params"]["fc1"]["kernel"], ic.he_normal((8, 16), seed=3, name="params.fc1.kernel"))
    boxed = variables["params"]["Dense_0"]["kernel"]
    assert isinstance(boxed, nn.Partitioned)
    assert same(boxed.value, ic.he_normal((16, 4), seed=3, name="params.Dense_0.kernel"))
    assert Net().apply(variables, x).shape == (2, 4)

    params = ic.jax.make_tree(nn.meta.unbox(shapes["params"]), RULES, seed=3)
    expected = ic.init_params(nn.meta.unbox(shapes["params"]), RULES, seed=3)
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    assert all(map(same, jax.tree.leaves(params), jax.tree.leaves(expected)))
    assert params["LayerNorm_0"]["scale"].sum() == 16


def test_linen_lifted():
    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})
            return dense(4, kernel_init=ic.jax.lecun_normal())(x)

    kernel = Stack().init(KEY, jnp.ones((3, 2, 8)))["params"]["VmapDense_0"]["kernel"]
    assert kernel.shape == (3, 8, 4)
    assert len({np.asarray(k).tobytes() for k in kernel}) == 3
    assert kernel.std() == pytest.approx(8**-0.5, rel=0.3)


class Model(nnx.Module):
    def __init__(self, rngs):
        self.fc1 = nnx.Linear(8, 16, kernel_init=ic.jax.he_normal(), rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(16, 16, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        x = self.fc1(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def test_nnx():
    assert Model(nnx.Rngs(0)).fc1.kernel[...].std() == pytest.approx(0.5, rel=0.3)
    model = nnx.eval_shape(lambda: Model(nnx.Rngs(0)))
    shapes = nnx.state(model, nnx.Param)
    state = ic.jax.make_tree(shapes, RULES, seed=3)
    assert jax.tree.structure(state) == jax.tree.structure(shapes)
    assert same(state["blocks"][1]["kernel"][...], ic.he_normal((16, 16), seed=3, name="blocks.1.kernel"))
    assert same(state["norm"]["scale"][...], np.ones(16, np.float32))
    nnx.update(model, state)
    assert same(model.fc1.kernel[...], ic.he_normal((8, 16), seed=3, name="fc1.kernel"))
    flat = {".".join(map(str, path)): x[...].shape for path, x in nnx.to_flat_state(shapes)}
    expected = ic.init_params(flat, RULES, seed=3)
    assert {".".join(map(str, p)): np.asarray(x[...]).tobytes() for p, x in nnx.to_flat_state(state)} == {
        name: array.tobytes() for name, array in expected.items()
    }
    with pytest.raises(ValueError, match=r"dropout.rngs.count \(dtype must be"):
        ic.jax.make_tree(nnx.state(model), {"*": "normal"}, seed=0)


@jax.tree_util.register_dataclass
@dataclass
class Attention:
    query: object
    value: object


def test_names_are_paths():
    w = jax.ShapeDtypeStruct((2, 3), "float32")
    tree = {"a": [w, (w, {3: w})], "b": Attention(w, w), "c": nn.Partitioned(w, ("x", None)), "d": None}
    made = ic.jax.make_tree(tree, {"*": "normal"}, seed=1)
    assert jax.tree.structure(made) == jax.tree.structure(tree)
    for name, x in [
        ("a.0", made["a"][0]),
        ("a.1.1.3", made["a"][1][1][3]),
        ("b.query", made["b"].query),
        ("b.value", made["b"].value),
        ("c", made["c"].value),
    ]:
        assert same(x, ic.normal((2, 3), seed=1, name=name))
    assert ic.jax.make_tree({}, seed=0) == {}
    assert same(ic.jax.make_tree(w, {"*": "normal"}, seed=1), ic.normal((2, 3), seed=1, name=""))


def test_the_leaf_s_dtype_and_rules():
    shapes = {"h": jax.ShapeDtypeStruct((4, 4), "bfloat16"), "w": jnp.zeros((4, 4)), "q": jnp.zeros((4, 4))}
    rules = {"q": ic.Rule("orthogonal", dtype="float16", layout="torch"), "*": "xavier_normal"}
    tree = ic.jax.make_tree(shapes, rules, seed=1)
    assert {name: x.dtype.name for name, x in tree.items()} == {
        "h": "bfloat16",
        "w": "float32",
        "q": "float16",
    }
    expected = ic.init_params(shapes, rules, seed=1)
    assert all(same(tree[name], expected[name]) for name in shapes)


@pytest.mark.parametrize(
    ("shapes", "rules", "shardings", "seed", "error", "message"),
    [
        ({"w": jnp.zeros((2, 2)), "v": 3}, {"*": "ones"}, None, 0, TypeError, "v must have a shape.*got 3"),
        (
            {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)},
            {"w": "ones"},
            None,
            0,
            ValueError,
            "no rule matches: b",
        ),
        ({"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)}, {"*": "he_normal"}, None, 0, ValueError, "so: b "),
        (
            {"w": jnp.zeros((2, 2)), "i": jnp.zeros(2, int)},
            {"*": "normal"},
            None,
            0,
            ValueError,
            "so: i .*int32",
        ),
        (
            {"w": jnp.zeros((2, 2)), "d": np.zeros(2)},
            {"*": "normal"},
            None,
            0,
            ValueError,
            "d: JAX has no float64",
        ),
        ({"a.b": jnp.zeros(2), "a": {"b": jnp.zeros(2)}}, {"*": "normal"}, None, 0, ValueError, "once: a.b"),
        (
            {"w": jnp.zeros(2)},
            {"*": "normal"},
            {"v": None},
            0,
            ValueError,
            "shardings must be one sharding, or a tree",
        ),
        ({"w": jnp.zeros(2)}, {"*": "normal"}, {"w": "cpu"}, 0, TypeError, "must hold Sharding, .*got 'cpu'"),
        (
            {"w": jnp.zeros(2)},
            {"*": "normal"},
            jax.sharding.PartitionSpec(),
            0,
            ValueError,
            "w: .*needs a mesh",
        ),
        ({"w": jnp.zeros(2)}, {"*": "normal"}, None, None, TypeError, "seed must be given"),
    ],
)
@pytest.mark.usefixtures("nothing_is_drawn")
def test_what_make_tree_refuses(shapes, rules, shardings, seed, error, message):
    with pytest.raises(error, match=message):
        ic.jax.make_tree(shapes, rules, shardings, seed=seed)
