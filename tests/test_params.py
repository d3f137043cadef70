"""Whole models: rules over trees of shapes, plans, arrays; every parameter under its own name."""

import json
import pickle
import sys
from collections import OrderedDict, namedtuple
from types import MappingProxyType

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import initcore as ic
from initcore.params import ModelPlan, Rule, init_params, plan

HE, ZEROS = ic.get("he_normal"), ic.get("zeros")


class Struct:
    """What `jax.ShapeDtypeStruct` is: a shape and a dtype, and no values."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, dtype


def same(a, b):
    """The same structure of arrays, to the last bit."""
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


# --- what is drawn -------------------------------------------------------------------------------


def test_each_parameter_is_what_its_initializer_draws_under_its_name():
    shapes = {"fc1": {"weight": (784, 256), "bias": 256}, "fc2": {"weight": (256, 10), "bias": (10,)}}
    params = init_params(shapes, {"*.bias": "normal(0.01)", "fc2.*": "xavier_uniform", "*": HE}, seed=7)
    expected = {
        "fc1": {
            "weight": HE((784, 256), seed=7, name="fc1.weight"),
            "bias": ic.normal(256, std=0.01, seed=7, name="fc1.bias"),
        },
        "fc2": {
            "weight": ic.xavier_uniform((256, 10), seed=7, name="fc2.weight"),
            "bias": ic.normal(10, std=0.01, seed=7, name="fc2.bias"),
        },
    }
    assert same(params, expected)


def test_a_parameter_may_have_an_initializer_of_its_own():
    flat = {"fc1.weight": ((784, 256), "he_normal"), "fc1.bias": ((256,), "zeros")}
    params = init_params(flat, seed=0)
    assert same(params["fc1.weight"], ic.he_normal((784, 256), seed=0, name="fc1.weight"))
    assert same(params["fc1.bias"], np.zeros(256, np.float32))
    # no rule overrides it
    assert same(init_params({**flat, "b": 3}, {"*": "ones"}, seed=0), {**params, "b": np.ones(3, np.float32)})


NAMES = st.text("abc.", min_size=1, max_size=4)
MODELS = st.dictionaries(NAMES, st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=8)


def by_name(name, shape):
    return "normal" if "a" in name else f"constant({len(shape)})"


@given(MODELS, MODELS, st.randoms(), st.integers(0, 2**64 - 1))
def test_other_parameters_and_their_order_change_nothing(model, others, random, seed):
    """Added before, between and behind, removed, reordered: the values of a parameter are its own."""
    before = init_params(model, {"*": by_name}, seed=seed)
    names = [*(others | model).items()]
    random.shuffle(names)
    for changed in (names, random.sample(names, len(names) // 2)):
        after = init_params(dict(changed), {"*": by_name}, seed=seed)
        assert list(after) == [name for name, _ in changed]
        assert all(same(before[name], after[name]) for name in model.keys() & after.keys())


@pytest.mark.parametrize("dtype", [np.float64, np.float16, "bfloat16", ml_dtypes.bfloat16, ">f4"])
def test_dtype_of_the_model(dtype):
    params = init_params({"w": (30, 20)}, {"*": "he_normal"}, seed=0, dtype=dtype)
    assert same(params["w"], HE((30, 20), seed=0, name="w", dtype=dtype))


def test_rule_before_parameter_before_model_in_dtype_and_layout():
    shapes = {
        "a": (3, 4),
        "b": Struct((3, 4), np.dtype("f8")),
        "c": (Struct((3, 4), "f8"), Rule(HE, dtype="f4")),
    }
    rules = {"a": Rule("he_normal", layout="numpy"), "b": "he_normal"}
    p = plan(shapes, rules, dtype="float16", layout="torch").parameters
    assert {name: x.dtype.name for name, x in p.items()} == {"a": "float16", "b": "float64", "c": "float32"}
    assert {name: x.fan_in for name, x in p.items()} == {"a": 3, "b": 4, "c": 4}
    params = init_params(shapes, rules, seed=0, dtype="float16", layout="torch")
    assert same(params["b"], HE((3, 4), seed=0, name="b", dtype="f8", layout="torch"))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(threads):
    model = {"a": (512, 300), "b": 7}
    assert same(
        init_params(model, {"*": "normal"}, seed=1, num_threads=threads),
        init_params(model, {"*": "normal"}, seed=1),
    )


def test_seeds():
    model, rules = {"w": (5, 4)}, {"*": "he_normal"}
    sequence = np.random.SeedSequence(5)
    drawn = init_params(model, rules, seed=sequence)["w"]
    assert same(drawn, HE((5, 4), seed=sequence, name="w"))
    fresh, other = plan(model, rules), plan(model, rules)
    assert fresh.seed != other.seed
    assert same(fresh.init(), fresh.init())
    assert same(fresh.init(), init_params(model, rules, seed=fresh.seed))
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=rf"seed must be in \[0, 2\*\*64\), got {seed}"):
            plan(model, rules, seed=seed)
    with pytest.raises(TypeError, match="seed must be an integer, got 'x'"):
        plan(model, rules, seed="x")


# --- structures ----------------------------------------------------------------------------------

Pair = namedtuple("Pair", ["weight", "bias"])  # noqa: PYI024


def test_the_result_has_the_structure_of_the_shapes():
    shapes = OrderedDict(
        blocks=[{"w": (2, 3)}, {"w": (3, 2), "rest": ({"x": 4}, [5, 6])}],
        head=Pair(Struct((3, 1), "f4"), 1),
        scale=(),
        none={},
        nothing=[],
        frozen=MappingProxyType({"k": np.int64(3)}),
    )
    p = plan(shapes, {"*": "normal"}, seed=0)
    names = "blocks.0.w blocks.1.w blocks.1.rest.0.x blocks.1.rest.1.0 blocks.1.rest.1.1 head.0 head.1 scale"
    assert list(p.parameters) == [*names.split(), "frozen.k"]
    a = {name: ic.normal(x.shape, seed=0, name=name) for name, x in p.parameters.items()}
    rest = ({"x": a["blocks.1.rest.0.x"]}, [a["blocks.1.rest.1.0"], a["blocks.1.rest.1.1"]])
    expected = {
        "blocks": [{"w": a["blocks.0.w"]}, {"w": a["blocks.1.w"], "rest": rest}],
        "head": Pair(a["head.0"], a["head.1"]),
        "scale": a["scale"],
        "none": {},
        "nothing": [],
        "frozen": {"k": a["frozen.k"]},
    }
    assert same(p.init(), expected)
    assert p.init()["scale"].shape == ()
    assert p.init()["frozen"]["k"].shape == (3,)


@pytest.mark.parametrize(("empty", "structure"), [({}, {}), ([], []), (iter(()), {}), ({}.items(), {})])
def test_a_model_of_nothing(empty, structure):
    p = plan(empty, {"*": "zeros"}, seed=3)
    assert p.init() == structure
    assert p.nbytes == 0
    assert str(p) == "0 parameters, 0 elements, 0 bytes; seed 3, stream v1"


def test_sequences_at_the_top():
    w, b = (ic.normal(shape, seed=0, name=name) for shape, name in [((2, 3), "0"), (3, "1")])
    assert same(init_params([(2, 3), 3], {"*": "normal"}, seed=0), [w, b])
    assert same(init_params(((2, 3), 3), {"*": "normal"}, seed=0), (w, b))


def test_pairs_of_names_and_parameters():
    pairs = [("fc.weight", np.ones((3, 2))), ("fc.bias", ((2,), "zeros")), ("sub", {"x": 3})]
    expected = init_params(dict(pairs), {"*": "normal"}, seed=0)
    for given_as in (pairs, tuple(pairs), iter(pairs), dict(pairs).items()):
        assert same(init_params(given_as, {"*": "normal"}, seed=0), expected)
    assert expected["fc.weight"].dtype == np.float64


def test_a_tuple_with_a_shape_is_a_parameter():
    """Not a shape and an initializer that is called "float64"."""
    leaf = namedtuple("Leaf", ["shape", "dtype"])((2, 3), "float64")  # noqa: PYI024
    for shapes in ({"w": leaf}, [("w", leaf)]):
        assert same(init_params(shapes, {"w": HE}, seed=0)["w"], HE((2, 3), seed=0, name="w", dtype="f8"))


def test_names_of_dtypes_as_torch_has_them():
    """Its dtypes mean nothing to NumPy, but their names do."""
    dtype = type("dtype", (), {"__module__": "torch", "__str__": lambda _: "torch.bfloat16"})()
    assert plan({"w": Struct((2, 3), dtype)}, {"*": "normal"}).parameters["w"].dtype == ml_dtypes.bfloat16


@pytest.mark.peers
def test_jax_shapes():
    jax = pytest.importorskip("jax")
    shapes = {
        "w": jax.ShapeDtypeStruct((3, 4), jax.numpy.bfloat16),
        "b": jax.ShapeDtypeStruct((4,), np.float32),
    }
    params = init_params(shapes, {"w": "he_normal", "b": "zeros"}, seed=0)
    assert same(params["w"], HE((3, 4), seed=0, name="w", dtype="bfloat16"))
    assert same(params["b"], np.zeros(4, np.float32))


@pytest.mark.peers
def test_torch_modules():
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(4, 3, device="meta", dtype=torch.bfloat16)
    params = init_params(
        module.named_parameters(), {"weight": "he_normal", "bias": "zeros"}, seed=0, layout="torch"
    )
    assert same(params["weight"], HE((3, 4), seed=0, name="weight", dtype="bfloat16", layout="torch"))
    assert params["bias"].shape == (3,)


# --- rules ---------------------------------------------------------------------------------------


def test_the_first_rule_that_matches_decides():
    shapes = {"a.w": 2, "a.b": 2, "A.w": 2, "c": 2}
    rules = {"a.w": "constant(1)", "a.*": "constant(2)", "[A].?": "constant(3)", "*": "constant(4)"}
    params = init_params(shapes, rules, seed=0)
    assert {name: value[0] for name, value in params.items()} == {"a.w": 1, "a.b": 2, "A.w": 3, "c": 4}


def test_a_rule_may_be_a_function_of_name_and_shape():
    depth = 3
    shapes = {f"block.{i}.w": (4, i + 1) for i in range(depth)}
    seen = {}

    def scaled(name, shape):
        seen[name] = shape
        return Rule(ic.VarianceScaling(1 / depth, "fan_in", "normal"), layout="torch")

    p = plan({**shapes, "x": ((2, 2), lambda _, shape: f"constant({shape[0]})")}, {"block.*": scaled}, seed=0)
    assert seen == shapes
    assert [x.fan_in for x in p.parameters.values()] == [1, 2, 3, 2]
    assert p.init()["x"][0, 0] == 2
    assert p.parameters["block.1.w"].std == pytest.approx((1 / depth / 2) ** 0.5)


def test_the_default_may_have_nothing_left_to_decide():
    assert plan({"a": 2}, {"a": "zeros", "*": "ones"}).parameters["a"].init == ZEROS
    assert plan({"a": (2, "zeros")}, {"*": "ones"}).parameters["a"].init == ZEROS


# --- refusals ------------------------------------------------------------------------------------

WRONG_SHAPES = [
    (3, "shapes must be a mapping, list, tuple or iterable of .name, shape., got 3"),
    ((3, 4), "shapes must be a mapping.* got .3, 4."),
    (((3, 4), "zeros"), "shapes must be a mapping.* got ..3, 4., 'zeros'."),
    (None, "shapes must be a mapping.* got None"),
    ("fc1", "shapes must be a mapping.* got 'fc1'"),
    (np.ones(3), "shapes must be a mapping.* got array"),
    (iter([(3, 4)]), "shapes must be a mapping.* got <list_iterator"),
    ({"a": {"b": None}}, r"a\.b must be a shape, something with a shape, or .shape, initializer., got None"),
    ({"a": "zeros"}, "a must be a shape, .* got 'zeros'"),
    ({"a": (3, 4.5)}, r"a\.1 must be a shape, .* got 4\.5"),
    ({"a": Struct((3, None), "f4")}, "each axis of a must be an integer, got None"),
    ({"a": {3: 4}}, "a key of a must be str, got int"),
    ([("a", 3), (4, 3.5)], r"0\.0 must be a shape.* got 'a'"),
]


@pytest.mark.parametrize(("shapes", "message"), WRONG_SHAPES)
def test_what_is_no_model(shapes, message):
    with pytest.raises(TypeError, match=message):
        plan(shapes, {"*": "zeros"})


@pytest.mark.parametrize(
    ("shapes", "rules", "message"),
    [
        ({"a": (3, -1)}, {}, r"each axis of a must be in \[0, 2\*\*63\), got -1"),
        ({"a.b": 3, "a": {"b": 4}, "c": 1}, {}, r"names that occur more than once: a\.b$"),
        ([("x", 3), ("y", 3), ("x", 3)], {}, "names that occur more than once: x$"),
        ({"a": 3, "b": {"c": 4}, "d": 5}, {"a": "zeros"}, r"parameters that no rule matches: b\.c, d$"),
        ({"a": 3}, None, "parameters that no rule matches: a$"),
        ({"a": 3}, {"a": "ones", "A": "ones", "x*": "ones"}, r"rules that decide no parameter: A, x\*$"),
        ({"a": 3}, {"*": "ones", "a": "zeros"}, "rules that decide no parameter: a$"),
        ({"a": (3, "ones")}, {"a": "zeros"}, "rules that decide no parameter: a$"),
        ({"a": 3, "b": 3, "w": (4, 5)}, {"*": HE}, r"so: a, b \(fan_in and fan_out need .* got \(3,\)\)$"),
        ({"a": 3}, {"*": "zerros"}, r"so: a \(unknown initializer 'zerros'"),
        ({"a": 3}, {"*": 5}, r"so: a \(an initializer is a name or an Initializer, got int\)"),
        ({"a": 3}, {"*": lambda name, _: name + "?"}, r"so: a \(cannot read the initializer 'a\?'"),
        ({"a": 3}, {"*": "constant(1e300)"}, r"so: a \(value = 1e300 does not fit float32\)"),
        ({"a": 3}, {"*": Rule("zeros", layout="tf")}, r'so: a \(unknown layout "tf"'),
        (
            {"a": 3, "b": (4, 4)},
            {"a": "zeros", "b": Rule("orthogonal(1e6)", dtype="f2")},
            r"so: b \(gain = 1e6 does not fit float16\)",
        ),
        ({"a": (0, 5), "b": (2**40, 2**40)}, {"*": HE}, r"so: b \(array of shape .* is too big"),
        ({"a": Struct((), "int64")}, {"*": "zeros"}, r"so: a \(dtype must be float32, .* got int64\)"),
        ({"a\ud800": 3}, {"*": "zeros"}, "surrogates"),
    ],
)
def test_what_cannot_be_drawn_is_listed(shapes, rules, message, tmp_path):
    for out in (None, tmp_path / "model"):
        with pytest.raises(ValueError, match=message):
            init_params(shapes, rules, seed=0, out=out)
    assert not list(tmp_path.iterdir())


def test_many_names_are_not_all_listed():
    with pytest.raises(ValueError, match=r"matches: w0, .*, w19 and 80 more$"):
        plan({f"w{i}": 3 for i in range(100)})


def test_wrong_options():
    with pytest.raises(TypeError, match="rules must be Mapping, got str"):
        plan({"a": 3}, "zeros")
    with pytest.raises(TypeError, match="dtype must be float32, float64, float16 or bfloat16, got int8"):
        Rule("zeros", dtype=np.int8)
    with pytest.raises(ValueError, match="unknown initializer 'zero'"):
        Rule("zero")
    for threads in (0, 1025):
        with pytest.raises(ValueError, match=f"num_threads must be from 1 to 1024, got {threads}"):
            init_params({"a": 3}, {"*": "zeros"}, seed=0, num_threads=threads)


def test_memory_that_is_not_there_is_missed_before_anything_is_drawn(monkeypatch):
    """A petabyte, behind an array that would be drawn first."""
    monkeypatch.setattr(ModelPlan, "_maker", None)
    with pytest.raises(MemoryError):
        init_params({"a": 5, "b": (2**40, 2**8)}, {"*": "normal"}, seed=0)


# --- plans ---------------------------------------------------------------------------------------


def test_a_plan_says_what_will_be_drawn():
    shapes = {"fc.weight": (784, 256), "fc.bias": 256, "none": (0, 3)}
    p = plan(shapes, {"*.bias": "normal(0.5)", "*": "he_normal"}, seed=9, dtype="f8")
    weight, bias, none = p.parameters.values()
    assert (weight.name, weight.shape, weight.dtype, weight.init) == ("fc.weight", (784, 256), np.float64, HE)
    assert (weight.layout, weight.fan_in, weight.fan_out, weight.nbytes) == ("numpy", 784, 256, 784 * 256 * 8)
    assert weight.std == HE.std((784, 256))
    assert (bias.fan_in, bias.fan_out, bias.std) == (None, None, 0.5)
    assert (none.std, none.nbytes) == (0.0, 0)
    assert (p.seed, p.size, p.nbytes) == (9, 785 * 256, 785 * 256 * 8)
    assert p == plan(shapes, {"*.bias": "normal(0.5)", "*": "he_normal"}, seed=9, dtype="f8") != plan({}, {})
    assert pickle.loads(pickle.dumps(p)) == p


def test_a_plan_is_a_table():
    p = plan(
        {"fc.weight": (784, 256), "b": 256},
        {"b": Rule("constant(0.5)", dtype="bfloat16"), "*": "he_normal"},
        seed=9,
    )
    assert str(p).splitlines() == [
        "name       shape       dtype     init                 layout  fan_in  fan_out      std   nbytes",
        "fc.weight  (784, 256)  float32   he_normal            numpy      784      256  0.05051  802,816",
        "b          (256,)      bfloat16  Constant(value=0.5)  numpy                          0      512",
        "2 parameters, 200,960 elements, 803,328 bytes; seed 9, stream v1",
    ]


def test_a_plan_is_json():
    p = plan({"w": (3, 2), "b": 2}, {"w": "he_normal", "b": "zeros"}, seed=2**64 - 1)
    found = json.loads(json.dumps(p.to_dict()))
    assert found == p.to_dict()
    assert (found["version"], found["stream"], found["seed"]) == (ic.__version__, 1, 2**64 - 1)
    assert (found["size"], found["nbytes"]) == (8, 32)
    assert found["parameters"][1] == {
        "name": "b", "shape": [2], "dtype": "float32", "init": "zeros", "layout": "numpy",
        "fan_in": None, "fan_out": None, "std": 0.0, "nbytes": 8,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["zeros", "he_normal", "kaiming_normal", "eye", "orthogonal", "siren"])
def test_initializers_have_names_that_get_reads(name):
    label = plan({"w": (4, 4)}, {"*": name}).to_dict()["parameters"][0]["init"]
    assert ic.get(label) == ic.get(name)


def test_bar_of_progress(capsys, tmp_path):
    model: ModelPlan = plan({"w": (64, 64)}, {"*": "normal"})
    for draw in (model.init, lambda **o: model.save(tmp_path / "m", **o)):
        draw(progress=False)
        assert capsys.readouterr().err == ""
        draw(progress=True)
        assert "16.4k" in capsys.readouterr().err
    assert not sys.stderr.isatty()
    model.init()
    assert capsys.readouterr().err == ""
