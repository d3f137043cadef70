"""Arrays over eight devices: the same bytes under every sharding, each shard made once.

Run by test_jax.py.
"""

import contextlib
import math
import tracemalloc

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

import initcore as ic
from initcore.jax import arrays

KEY = jax.random.key(7)
INITS = ["he_normal", "uniform", "constant(0.3)", "orthogonal", "sparse(0.5)", "xavier_truncated_normal"]
MESHES = [(8,), (4, 2), (2, 4), (2, 2, 2), (1, 8), (3,), (1,)]


def same(x, y):
    x, y = np.asarray(x), np.asarray(y)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def mesh_of(shape, kind=AxisType.Auto):
    devices = np.array(jax.devices()[: math.prod(shape)]).reshape(shape)
    return jax.sharding.Mesh(devices, tuple("abc"[: len(shape)]), axis_types=(kind,) * len(shape))


@pytest.fixture
def allocated(monkeypatch):
    """The shapes of the memory that was asked for."""
    shapes, aligned = [], arrays.aligned

    def spy(shape, dtype):
        shapes.append(shape)
        return aligned(shape, dtype)

    monkeypatch.setattr(arrays, "aligned", spy)
    return shapes


def test_there_are_eight():
    assert len(jax.devices()) == 8


@st.composite
def shardings(draw):
    """A mesh, and a spec for three axes that uses each of the mesh's axes once at most."""
    mesh = mesh_of(draw(st.sampled_from(MESHES)), draw(st.sampled_from([AxisType.Auto, AxisType.Explicit])))
    axes, spec = list(draw(st.permutations(mesh.axis_names))), []
    for _ in range(draw(st.integers(0, 3))):
        count = draw(st.integers(0, len(axes)))
        entry, axes = tuple(axes[:count]), axes[count:]
        spec.append(entry if len(entry) > 1 else entry[0] if entry else None)
    kind = draw(st.sampled_from([None, "device", "pinned_host", "unpinned_host"]))
    return NamedSharding(mesh, P(*spec), memory_kind=kind)


@settings(max_examples=250)
@given(
    init=st.sampled_from(INITS),
    sharding=shardings(),
    factors=st.tuples(*[st.integers(0, 3)] * 3),
    dtype=st.sampled_from(["float32", "float16", "bfloat16", "float64"]),
    seed=st.integers(0, 2**64 - 1),
    name=st.sampled_from([None, "", "layers.0.weight"]),
)
def test_any_sharding_gives_the_same_bytes(init, sharding, factors, dtype, seed, name):
    # every axis divides by what its entry of the spec may be
    counts = [1, 1, 1]
    for i, entry in enumerate(sharding.spec):
        names = (entry,) if isinstance(entry, str) else entry or ()
        counts[i] = math.prod(sharding.mesh.shape[a] for a in names)
    shape = tuple(n * (f + (init in INITS[3:5])) for n, f in zip(counts, factors, strict=True))
    if init == "sparse(0.5)":
        shape = (*shape[:2],)
        sharding = NamedSharding(sharding.mesh, P(*sharding.spec[:2]), memory_kind=sharding.memory_kind)
    with jax.enable_x64(dtype == "float64"):
        x = ic.jax.make_array(init, shape, sharding, seed=seed, name=name, dtype=dtype)
        assert x.sharding == sharding
        whole = ic.get(init)(shape, seed=seed, name=name, dtype=dtype)
        assert same(x, whole)
        for shard in x.addressable_shards:
            assert same(shard.data, whole[shard.index])


@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        (P(), [(16, 8)]),
        (P("a"), [(4, 8)] * 4),
        (P(None, "b"), [(16, 4)] * 2),
        (P("a", "b"), [(4, 4)] * 8),
        (P(("b", "a")), [(2, 8)] * 8),
    ],
)
@pytest.mark.parametrize("init", ["he_normal", "orthogonal"])
def test_a_shard_is_made_once(allocated, spec, shapes, init):
    x = ic.jax.make_array(init, (16, 8), NamedSharding(mesh_of((4, 2)), spec), seed=1)
    assert allocated == shapes
    assert same(x, ic.get(init)((16, 8), seed=1))


def test_no_memory_beside_the_shards():
    sharding, nbytes = NamedSharding(mesh_of((8,)), P(None, "a")), 4 * 2048 * 2048
    ic.jax.make_array("he_normal", (8, 8), sharding, seed=1)  # what is loaded the first time
    tracemalloc.start()
    try:
        x = ic.jax.make_array("he_normal", (2048, 2048), sharding, seed=1)
        assert nbytes < tracemalloc.get_traced_memory()[1] < nbytes * 1.02
    finally:
        tracemalloc.stop()
    # the shards are the memory that was filled
    assert all(shard.data.unsafe_buffer_pointer() % arrays.ALIGNMENT == 0 for shard in x.addressable_shards)


def test_donated_and_shared_memory():
    """Devices that hold the same shard share its memory; none writes to it."""
    sharding = NamedSharding(mesh_of((8,)), P())
    x = ic.jax.make_array("normal", (64, 3), sharding, seed=1)
    shards = [shard.data for shard in x.addressable_shards]
    step = jax.jit(lambda w: w * 2 + 1, donate_argnums=0)
    expected = ic.normal((64, 3), seed=1)
    assert same(step(shards[3]), expected * np.float32(2) + np.float32(1))
    assert all(same(shard, expected) for i, shard in enumerate(shards) if i != 3)


def test_one_device():
    device = jax.devices()[5]
    x = ic.jax.make_array("normal", (4, 3), SingleDeviceSharding(device), seed=1)
    assert x.devices() == {device}
    assert same(x, ic.normal((4, 3), seed=1))


@pytest.mark.parametrize(
    ("shape", "spec", "message"),
    [
        ((6, 8), P("a"), "should evenly divide"),
        ((8, 3), P(None, "b"), "should evenly divide"),
        ((8,), P("a", "b"), "rank at least 2"),
        ((8, 8), P(unreduced={"a"}), "sum over devices"),
    ],
)
def test_shardings_that_do_not_fit(allocated, shape, spec, message):
    sharding = NamedSharding(mesh_of((4, 2), AxisType.Explicit), spec)
    with pytest.raises(ValueError, match=message):
        ic.jax.make_array("normal", shape, sharding, seed=1)
    with pytest.raises(ValueError, match=message):
        ic.jax.normal()(KEY, shape, out_sharding=sharding)
    good = jax.ShapeDtypeStruct((8, 8), "float32")
    shapes = {"good": good, "bad": jax.ShapeDtypeStruct(shape, "float32")}
    with pytest.raises(ValueError, match="bad: .*" + message):
        ic.jax.make_tree(shapes, {"*": "normal"}, {"good": None, "bad": sharding}, seed=1)
    assert allocated == []


# --- initializers with keys


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("form", ["NamedSharding", "PartitionSpec"])
@pytest.mark.parametrize("init", [ic.jax.he_normal(), ic.jax.orthogonal()], ids=["he", "orthogonal"])
def test_out_sharding(kind, form, init):
    mesh = mesh_of((4, 2), kind)
    sharding = NamedSharding(mesh, P("a", "b"))
    given = sharding if form == "NamedSharding" else sharding.spec
    whole = init(KEY, (16, 8))
    with jax.set_mesh(mesh):
        for draw in (init, jax.jit(init, static_argnums=(1, 2, 3))):
            x = draw(KEY, (16, 8), jnp.float32, given)
            assert x.sharding.spec == sharding.spec
            assert {shard.data.shape for shard in x.addressable_shards} == {(4, 4)}
            assert same(x, whole)
    if form == "NamedSharding":
        assert init(KEY, (16, 8), out_sharding=given).sharding == sharding
    else:
        with pytest.raises(ValueError, match=r"needs a mesh: .* jax.set_mesh"):
            init(KEY, (16, 8), out_sharding=given)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("entered", [False, True])
def test_under_a_mesh_arrays_are_replicated_as_jax_s_are(kind, entered):
    mesh, init = mesh_of((4, 2), kind), ic.jax.he_normal()
    whole = np.asarray(init(KEY, (8, 4)))
    keys = jax.random.split(KEY, 3)
    each = np.stack([init(key, (8, 4)) for key in keys])
    x = jax.device_put(jnp.ones((8, 4)), NamedSharding(mesh, P("a", "b")))

    def draw(key):
        return init(key, (8, 4))

    with jax.set_mesh(mesh) if entered else contextlib.nullcontext():
        for made, expected in [
            (draw(KEY), whole),
            (jax.jit(draw)(KEY), whole),
            (jax.vmap(draw)(keys), each),
            (jax.jit(jax.vmap(draw))(keys), each),
            (jax.jit(lambda key, x: (draw(key), x + 1))(KEY, x)[0], whole),
            (jax.jit(lambda key, x: draw(key) * x)(KEY, x), whole),
            (jax.jit(draw, out_shardings=x.sharding)(KEY), whole),
        ]:
            assert same(made, expected)
            assert made.is_fully_replicated or made.sharding == x.sharding
            assert isinstance(
                made.sharding, NamedSharding if entered else NamedSharding | SingleDeviceSharding
            )
        grad = jax.grad(jax.checkpoint(lambda s, key: (draw(key) * s).sum()))(1.0, KEY)
        assert grad == pytest.approx(whole.sum(), rel=1e-4)
        if entered:
            assert ic.jax.make_array("normal", (4,), seed=1).sharding == NamedSharding(mesh, P())
    manual = jax.shard_map(
        lambda x: draw(KEY)[:2, :2] + x, mesh=mesh, in_specs=P("a", "b"), out_specs=P("a", "b")
    )
    assert same(np.asarray(manual(x))[:2, :2], whole[:2, :2] + 1)
    manual = jax.shard_map(
        lambda key, x: draw(key)[:2, :2] + x, mesh=mesh, in_specs=(P(), P("a", "b")), out_specs=P("a", "b")
    )
    assert same(np.asarray(jax.jit(manual)(KEY, x))[:2, :2], whole[:2, :2] + 1)


@pytest.mark.parametrize("peer", [jax.nn.initializers.normal(), ic.jax.normal()], ids=["jax", "initcore"])
def test_an_array_is_where_its_key_is(peer):
    rows = NamedSharding(mesh_of((4, 2)), P("a"))
    for device in (jax.devices()[5], NamedSharding(mesh_of((4, 2)), P())):
        key = jax.device_put(KEY, device)
        x = peer(key, (8, 3))
        assert x.devices() == key.devices()
        assert x.is_fully_replicated
        assert x.committed
    assert not peer(KEY, (8, 3)).committed
    assert ic.jax.normal()(key, (8, 3), out_sharding=rows).sharding == rows


# --- trees

RULES = {"*.bias": "zeros", "*": "he_normal"}


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        kernel_init = nn.with_partitioning(ic.jax.he_normal(), (None, "b"))
        return nn.Dense(8, name="fc2")(nn.relu(nn.Dense(16, kernel_init=kernel_init, name="fc1")(x)))


def test_linen_trees():
    mesh = mesh_of((4, 2))
    boxed = jax.eval_shape(Net().init, KEY, jnp.ones((1, 4)))["params"]
    shapes = nn.meta.unbox(boxed)
    expected = ic.init_params(shapes, RULES, seed=5)
    whole, split, rows = (NamedSharding(mesh, spec) for spec in (P(), P(None, "b"), P("a")))
    told = nn.get_sharding(boxed, mesh)
    with_shardings = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, told
    )
    for tree, shardings, kernel, other in [
        (shapes, None, None, None),
        (shapes, whole, whole, whole),
        (shapes, told, split, whole),
        (with_shardings, None, split, whole),
        (with_shardings, rows, rows, rows),
        (with_shardings, {"fc1": rows, "fc2": None}, rows, whole),
        (shapes, {"fc1": {"bias": whole, "kernel": split}, "fc2": whole}, split, whole),
    ]:
        made = ic.jax.make_tree(tree, RULES, shardings, seed=5)
        assert jax.tree.structure(made) == jax.tree.structure(shapes)
        assert all(map(same, jax.tree.leaves(made), jax.tree.leaves(expected)))
        if kernel is not None:
            assert (made["fc1"]["kernel"].sharding, made["fc2"]["bias"].sharding) == (kernel, other)
    arrays_of_their_own = jax.tree.map(jax.device_put, expected, told)
    again = ic.jax.make_tree(arrays_of_their_own, RULES, seed=6)
    assert jax.tree.map(lambda x: x.sharding, again) == told
    made = ic.jax.make_tree(boxed, RULES, told, seed=5)
    assert made["fc1"]["kernel"].value.sharding == split
    with jax.set_mesh(mesh):
        made = ic.jax.make_tree(shapes, RULES, {"fc1": P("a"), "fc2": None}, seed=5)
        assert made["fc1"]["kernel"].sharding == rows
        assert made["fc2"]["kernel"].sharding == whole


class Model(nnx.Module):
    def __init__(self, rngs):
        kernel_init = nnx.with_partitioning(ic.jax.he_normal(), (None, "b"))
        self.fc1 = nnx.Linear(4, 16, kernel_init=kernel_init, rngs=rngs)
        self.fc2 = nnx.Linear(16, 8, rngs=rngs)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_nnx_trees(kind):
    mesh = mesh_of((4, 2), kind)
    with jax.set_mesh(mesh):
        assert Model(nnx.Rngs(0)).fc1.kernel[...].sharding.spec == P(None, "b")
        model = nnx.eval_shape(lambda: Model(nnx.Rngs(0)))
        shapes = nnx.state(model, nnx.Param)
        nnx.update(model, ic.jax.make_tree(shapes, RULES, seed=5))
    assert model.fc1.kernel[...].sharding == NamedSharding(mesh, P(None, "b"))
    assert same(model.fc1.kernel[...], ic.he_normal((4, 16), seed=5, name="fc1.kernel"))
    assert same(model.fc2.kernel[...], ic.he_normal((16, 8), seed=5, name="fc2.kernel"))
    # an abstract mesh says nothing of devices
    leaf = jax.ShapeDtypeStruct((4, 4), "float32", sharding=NamedSharding(mesh.abstract_mesh, P("a")))
    with pytest.raises(ValueError, match=r"w: .*needs a mesh: .*jax.set_mesh"):
        ic.jax.make_tree({"w": leaf}, {"*": "normal"}, seed=5)
    with jax.set_mesh(mesh):
        assert ic.jax.make_tree({"w": leaf}, {"*": "normal"}, seed=5)["w"].sharding == NamedSharding(
            mesh, P("a")
        )
    with (
        jax.set_mesh(mesh_of((2, 4), kind)),
        pytest.raises(ValueError, match=r"is not that of jax\.set_mesh"),
    ):
        ic.jax.make_tree({"w": leaf}, {"*": "normal"}, seed=5)
    told = nnx.get_named_sharding(shapes, mesh)
    for shardings in (NamedSharding(mesh, P()), told):
        state = ic.jax.make_tree(shapes, RULES, shardings, seed=5)
        assert same(state["fc1"]["kernel"][...], model.fc1.kernel[...])
    assert state["fc1"]["kernel"][...].sharding.spec == P(None, "b")
