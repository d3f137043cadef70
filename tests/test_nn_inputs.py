"""What goes into networks and comes out: types, layouts, decisions, parameters, copies."""

import copy
import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import initcore as ic
from nn_helpers import ACTIVATIONS, LABELS, X, bits, small_network

NAMES = ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]


def as_fortran(x):
    return np.asfortranarray(x)


def as_view(x):
    """Every other element of every other row, backwards."""
    big = np.full((2 * x.shape[0], 2 * x.shape[1]), 99, x.dtype)
    view = big[::-2, ::2]
    view[:] = x
    return view


def as_read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def as_swapped(x):
    return x.astype(x.dtype.newbyteorder())


def as_unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[:] = x
    assert not view.flags.aligned
    return view


def as_list(x):
    return x.tolist()


def as_tuple_of_rows(x):
    return tuple(list(row) for row in x)


def as_subclass(x):
    return x.view(np.recarray)


FORMS = [
    as_fortran, as_view, as_read_only, as_swapped, as_unaligned, as_list, as_tuple_of_rows,
    as_subclass,
]  # fmt: skip


# --- forms and types -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_an_array_does_not_matter(form, dtype):
    net, x = small_network(dtype=dtype), X.astype(dtype)
    t = np.random.default_rng(1).normal(size=(6, 2)).astype(dtype)
    y = net.forward(x)
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(net.forward(form(x)), y)
    np.testing.assert_array_equal(net.predict(form(x)), net.predict(x))
    want_loss, want = net.loss_and_grad(x, t, loss="mse")
    loss, gradients = net.loss_and_grad(form(x), form(t), loss="mse")
    assert loss == want_loss
    assert bits(gradients) == bits(want)
    fits = []
    for arrays in [(x, t), (form(x), form(t))]:
        trained = small_network(dtype=dtype)
        trained.fit(
            *arrays, loss="mse", optimizer=ic.SGD(0.1), batch_size=4, epochs=2,
            validation_data=arrays,
        )  # fmt: skip
        fits.append(bits(trained.parameters()))
    assert fits[0] == fits[1] != bits(net.parameters())
    other, w = small_network(dtype=dtype, seed=5), net.parameters()["layers.0.weight"]
    other.set_parameters({"layers.0.weight": form(w)})
    np.testing.assert_array_equal(other.parameters()["layers.0.weight"], w)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_an_array_does_not_matter_to_a_layer(form, dtype):
    rng = np.random.default_rng(1)
    x, w, dy = (rng.normal(size=shape).astype(dtype) for shape in [(6, 3), (3, 4), (6, 4)])
    b = rng.normal(size=4).astype(dtype)
    y, cache = ic.dense_forward(x, w, b, "gelu")
    want = [y, *ic.dense_backward(dy, cache)]
    # A list has no type of its own: its numbers are float64.
    formed = [form(a) for a in (x, w)]
    other, cache = ic.dense_forward(*formed, b[::-1].copy()[::-1], "gelu")
    got = [other, *ic.dense_backward(form(dy), cache)]
    if other.dtype == dtype:
        assert [a.tobytes() for a in got] == [a.tobytes() for a in want]
    else:
        for mine, theirs in zip(got, want, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        *itertools.product(
            [as_view, as_read_only, as_swapped, as_list], [np.int8, np.uint16, np.int64, np.uint64]
        ),
        (as_unaligned, np.int32),
        (as_unaligned, np.int64),
    ],
)
def test_the_form_of_labels_does_not_matter(form, kind):
    labels = LABELS.astype(kind)
    form_1d = (lambda a: form(a[:, None])[:, 0]) if form is as_view else form
    want = small_network().loss_and_grad(X, LABELS, loss="softmax_cross_entropy")
    got = small_network().loss_and_grad(X, form_1d(labels), loss="softmax_cross_entropy")
    assert got[0] == want[0]
    assert bits(got[1]) == bits(want[1])


@pytest.mark.parametrize(
    ("kinds", "want"),
    [
        (("f4", "f4", "f4"), "f4"),
        (("f4", "f4", "f8"), "f8"),
        (("f4", "f8", None), "f8"),
        (("f8", "f4", "f4"), "f8"),
        (("i8", "f4", "f4"), "f4"),
        (("f4", "i4", None), "f4"),
        (("i8", "f8", "i2"), "f8"),
        (("i8", "i8", "u1"), "f4"),
        (("?", "f4", "f4"), "f4"),
        (("f2", "f2", "f2"), "f4"),
        (("f2", "f8", "f2"), "f8"),
        ((">f4", "f4", "f4"), "f4"),
        ((">f8", "f4", None), "f8"),
    ],
)
def test_types_of_a_layer(kinds, want):
    """Small integers are exact in every type, so only the type of the result may differ."""
    rng = np.random.default_rng(2)
    arrays = [rng.integers(0, 2, shape) for shape in [(5, 4), (4, 3), (3,)]]
    x, w, b = (a if kind is None else a.astype(kind) for a, kind in zip(arrays, kinds, strict=True))
    if kinds[2] is None:
        b = None
    y, cache = ic.dense_forward(x, w, b)
    exact = arrays[0] @ arrays[1] + (0 if b is None else arrays[2])
    np.testing.assert_array_equal(y, exact)
    dx, dw, db = ic.dense_backward(np.ones((5, 3), int), cache)
    np.testing.assert_array_equal(dx, np.ones((5, 3)) @ arrays[1].T)
    np.testing.assert_array_equal(dw, arrays[0].T @ np.ones((5, 3)))
    assert db is None if b is None else (db == 5).all()
    assert all(a.dtype == want for a in (y, dx, dw))
    assert cache.slope is None


def test_a_network_converts_to_its_own_type():
    counts = np.arange(18).reshape(6, 3)
    for dtype in (np.float32, np.float64):
        net = small_network(dtype=dtype)
        want = net.forward(counts.astype(dtype))
        for kind in (np.int32, np.uint8, np.float16, np.float64, np.longdouble):
            y = net.forward(counts.astype(kind))
            assert y.dtype == dtype
            np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(net.forward(counts > 4), net.forward((counts > 4) * 1.0))


def test_nothing_given_is_written_to():
    x, t = as_read_only(X), as_read_only(LABELS)
    w, b, dy = (np.ones(s, np.float32) for s in [(3, 2), 2, (6, 2)])
    before = [a.copy() for a in (x, w, b, dy)]
    _, cache = ic.dense_forward(x, w, b, "sigmoid")
    first, second = ic.dense_backward(dy, cache), ic.dense_backward(dy, cache)
    assert all((p == q).all() for p, q in zip(first, second, strict=True))
    net = small_network()
    net.fit(x, t, loss="softmax_cross_entropy", optimizer=ic.Adam(), batch_size=2, epochs=2)
    assert all((p == q).all() for p, q in zip((x, w, b, dy), before, strict=True))


def test_an_empty_batch_has_empty_outputs():
    net, empty = small_network(), np.empty((0, 3))
    assert net.forward(empty).shape == (0, 2)
    assert net.predict(empty).shape == (0,)
    assert [y.shape for y in net.activations(empty)] == [(0, 4), (0, 2)]


def test_activations_are_those_of_every_layer():
    net = small_network((3, 5, 4, 2), output_activation="sigmoid")
    ys = net.activations(X)
    y, p = X, net.parameters()
    for i, name in enumerate(["tanh", "tanh", "sigmoid"]):
        y, _ = ic.dense_forward(y, p[f"layers.{i}.weight"], p[f"layers.{i}.bias"], name)
        np.testing.assert_allclose(ys[i], y, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(ys[-1], net.forward(X))


def test_nan_passes_through_a_layer():
    """A layer on its own computes; only networks insist on finite inputs."""
    x = X.copy()
    x[1, 2] = np.nan
    for activation in ACTIVATIONS:
        y, _ = ic.dense_forward(x, np.ones((3, 2)), None, activation)
        assert np.isnan(y[1]).all()
        assert np.isfinite(np.delete(y, 1, axis=0)).all()


def test_no_dtype_is_the_librarys_default():
    assert small_network(dtype=None).dtype == ic.he_normal((2, 2), dtype=None, seed=0).dtype


# --- predict -------------------------------------------------------------------------------------


def deciding(outputs, output_activation="linear"):
    """A network whose outputs are `f(x)`."""
    net = small_network((outputs, outputs), output_activation=output_activation, bias=False)
    net.set_parameters({"layers.0.weight": np.eye(outputs)})
    return net


def test_predict_takes_the_largest_output():
    got = deciding(3).predict([[1, 2, 3], [3, 2, 1], [-5, -1, -2], [2, 2, 1], [0, 0, 0]])
    assert got.dtype == np.int64
    assert got.tolist() == [2, 0, 1, 0, 0]  # the first of equals


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_predict_of_one_output_is_a_decision(activation):
    x = [[-3.0], [-1e-3], [0.0], [1e-3], [3.0]]
    got = deciding(1, activation).predict(x)
    assert got.dtype == np.int64
    # What is above 0 decides, and a softplus always is.
    assert got.tolist() == ([1] * 5 if activation == "softplus" else [0, 0, 0, 1, 1])


def test_accuracy_counts_what_predict_decides():
    net = small_network()
    _, accuracy = net.evaluate(X, LABELS, loss="softmax_cross_entropy")
    assert accuracy == np.mean(net.predict(X) == LABELS)
    binary = small_network((3, 4, 1))
    _, accuracy = binary.evaluate(X, LABELS, loss="binary_cross_entropy")
    assert accuracy == np.mean(binary.predict(X) == LABELS)
    assert 0 < accuracy < 1
    assert net.evaluate(X, np.zeros((6, 2)), loss="mse")[1] is None


def test_one_output_takes_targets_of_one_axis():
    net = small_network((3, 4, 1))
    for loss in ("mse", "binary_cross_entropy"):
        flat, column = (net.loss_and_grad(X, t, loss=loss) for t in (LABELS, LABELS[:, None] * 1.0))
        assert flat[0] == column[0]
        assert bits(flat[1]) == bits(column[1])


# --- parameters and copies -----------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_round_trip(dtype, bias):
    net, other = small_network(dtype=dtype, bias=bias), small_network(dtype=dtype, bias=bias, seed=1)
    p = net.parameters()
    assert list(p) == [name for name in NAMES if bias or "weight" in name]
    shapes = dict(zip(NAMES, [(3, 4), (4,), (4, 2), (2,)], strict=True))
    assert {name: v.shape for name, v in p.items()} == {name: shapes[name] for name in p}
    assert all(v.dtype == dtype for v in p.values())
    assert bits(p) != bits(other.parameters())
    other.set_parameters(p)
    assert bits(other.parameters()) == bits(p)
    before = bits(p)
    p["layers.0.weight"][:] = 7  # a copy: the network does not notice
    assert bits(net.parameters()) == bits(other.parameters()) == before


def test_weights_are_addressed_by_seed_and_name():
    net = small_network((30, 40, 2), init="he_uniform", seed=9)
    p = net.parameters()
    for name in ("layers.0.weight", "layers.1.weight"):
        np.testing.assert_array_equal(p[name], ic.he_uniform(p[name].shape, seed=9, name=name))
    assert not p["layers.0.bias"].any()
    assert bits(p) == bits(small_network((30, 40, 2), init="he_uniform", seed=9).parameters())
    fresh = [bits(small_network(seed=None).parameters())["layers.0.weight"] for _ in range(2)]
    assert fresh[0] != fresh[1]
    sequence = np.random.SeedSequence(4)
    assert bits(small_network(seed=sequence).parameters()) == bits(small_network(seed=sequence).parameters())


@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(-4, 4), min_size=1),
    st.sampled_from(["layers.2.weight", "weight", ""]) | st.sampled_from(NAMES),
    st.booleans(),
)
def test_setting_parameters_is_all_or_nothing(good, bad, bad_first):
    """Whatever else is in the mapping and in whatever order, one bad entry keeps all of it out."""
    net = small_network()
    shapes = {name: v.shape for name, v in net.parameters().items()}
    before = bits(net.parameters())
    entries = {name: np.full(shapes[name], value) for name, value in good.items() if name != bad}
    wrong = {bad: np.zeros((*shapes.get(bad, ()), 2))}
    with pytest.raises((KeyError, ValueError)):
        net.set_parameters({**wrong, **entries} if bad_first else {**entries, **wrong})
    assert bits(net.parameters()) == before
    net.set_parameters(entries)
    after = net.parameters()
    assert all((after[name] == value).all() for name, value in entries.items())
    assert all(after[name].tobytes() == before[name] for name in before if name not in entries)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy] + [lambda net, p=p: pickle.loads(pickle.dumps(net, p)) for p in range(2, 6)],
)
def test_a_copy_is_the_same_network_and_another(duplicate, dtype):
    net = small_network(
        activation="leaky_relu(0.2)", output_activation="sigmoid", init="he_uniform", dtype=dtype
    )
    twin = duplicate(net)
    assert repr(twin) == repr(net)
    assert twin.init == net.init
    assert bits(twin.parameters()) == bits(net.parameters())
    np.testing.assert_array_equal(twin.forward(X), net.forward(X))
    options = {"loss": "mse", "optimizer": ic.Adam(), "batch_size": 2, "epochs": 2}
    t, before = X[:, :2], bits(net.parameters())
    twin.fit(X, t, **options)
    assert bits(net.parameters()) == before != bits(twin.parameters())
    net.fit(X, t, **options)
    assert bits(net.parameters()) == bits(twin.parameters())


def test_optimizers_are_values():
    for made in (ic.SGD(0.1, 0.9, nesterov=True), ic.RMSProp(centered=True), ic.Adam()):
        assert made == copy.deepcopy(made) == pickle.loads(pickle.dumps(made))
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.lr = 2.0
        with pytest.raises(ValueError, match="lr must be"):
            dataclasses.replace(made, lr=-1.0)
    history = small_network().fit(
        X, X[:, :2], loss="mse", optimizer=ic.SGD(np.float32(0.1)), batch_size=2, epochs=1
    )
    assert pickle.loads(pickle.dumps(history)) == history
