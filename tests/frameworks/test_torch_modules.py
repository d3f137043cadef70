"""`initialize_`: names, initializers, parameters; what is refused, and what workers make together."""

import doctest
import json
import re
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.pipelining import SplitPoint, pipeline
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.utils import parametrizations
from torch.testing._internal.distributed.fake_pg import FakeStore

import initcore as ic

it = ic.torch

RULES = {"*.bias": "zeros", "*.norm.*": "ones", "*": "he_normal"}


class Block(nn.Module):
    def __init__(self, n=8):
        super().__init__()
        self.fc1, self.fc2, self.norm = nn.Linear(n, 2 * n), nn.Linear(2 * n, n), nn.LayerNorm(n)

    def forward(self, x):
        return x + self.fc2(torch.relu(self.fc1(self.norm(x))))


def model(depth=3):
    return nn.Sequential(nn.Linear(4, 8), *[Block() for _ in range(depth)], nn.Linear(8, 3))


def arrays(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def assert_same(got, expected):
    assert list(got) == list(expected)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def initialized(module, *args, **options):
    it.initialize_(module, *args, **options)
    return arrays(module)


# ---- names and bits


@pytest.mark.parametrize("rules", ["auto", RULES])
def test_every_parameter_is_drawn_under_its_full_name(rules):
    net = model()
    report = it.initialize_(net, rules, seed=7)
    assert list(report.parameters) == [name for name, _ in net.named_parameters()]
    for name, p in net.named_parameters():
        plan = report.parameters[name].plan
        expected = plan.init(tuple(p.shape), seed=7, name=name, layout=plan.layout)
        assert p.detach().numpy().tobytes() == expected.tobytes()
    w = ic.he_normal((16, 8), seed=7, name="1.fc1.weight", layout="torch")
    assert np.array_equal(net[1].fc1.weight.detach().numpy(), w)


def test_threads_seeds_and_dtypes():
    net = model()
    first = initialized(net, seed=1, num_threads=1)
    assert_same(initialized(net, seed=1, num_threads=2, progress=False), first)
    assert not torch.equal(initialized(net, seed=2)["0.weight"], first["0.weight"])
    rounded = initialized(model().to(torch.bfloat16), seed=1)
    assert_same(rounded, {name: value.to(torch.bfloat16) for name, value in first.items()})


def test_gradients_versions_and_identity():
    net = model()
    parameters = list(net.parameters())
    versions = [p._version for p in parameters]
    it.initialize_(net)
    assert all(p is q for p, q in zip(parameters, net.parameters(), strict=True))
    assert all(p.requires_grad and p.grad_fn is None for p in parameters)
    assert all(p._version > version for p, version in zip(parameters, versions, strict=True))


def _compiled(net):
    return torch.compile(net)


def _compiled_part(net):
    net[1] = torch.compile(net[1])
    return net


def _checkpointed(net):
    net[1] = checkpoint_wrapper(net[1])
    net[2].fc1 = checkpoint_wrapper(net[2].fc1)
    return net


@pytest.mark.parametrize(
    "wrap",
    [
        _compiled,
        _compiled_part,
        _checkpointed,
        nn.DataParallel,
        lambda net: nn.DataParallel(_compiled(_checkpointed(net))),
    ],
)
@pytest.mark.parametrize("rules", ["auto", RULES])
def test_wrappers_leave_no_trace_in_names_values_and_reasons(wrap, rules):
    expected = model()
    plain = it.initialize_(expected, rules, seed=3)
    net = model()
    report = it.initialize_(wrap(net), rules, seed=3)
    assert report.to_dict() == plain.to_dict()
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), expected.parameters(), strict=True))


def test_an_attribute_of_the_user_is_no_wrapper():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(2, 2)
            self._orig_mod = nn.Linear(2, 2)
            self._fsdp_wrapped_module = nn.Sequential(nn.Linear(2, 2))

    assert list(it.plan(Wrapper()).parameters)[::2] == [
        "module.weight",
        "_orig_mod.weight",
        "_fsdp_wrapped_module.0.weight",
    ]


def test_tied_parameters_are_drawn_once_under_their_first_name():
    net = nn.ModuleDict(
        {"embed": nn.Embedding(10, 4), "body": nn.Linear(4, 4), "head": nn.Linear(4, 10, bias=False)}
    )
    net["head"].weight = net["embed"].weight
    net["again"] = net["body"]
    report = it.initialize_(net, {"embed.*": "normal(0.02)", "*": "auto"}, seed=5)
    assert list(report.parameters) == ["embed.weight", "body.weight", "body.bias"]
    assert report.parameters["embed.weight"].tied == ("head.weight",)
    assert report.parameters["body.bias"].tied == ("again.bias",)
    expected = ic.normal((10, 4), std=0.02, seed=5, name="embed.weight")
    assert np.array_equal(net["head"].weight.detach().numpy(), expected)
    assert "embed.weight is also head.weight" in str(report)


def test_two_parameters_in_one_memory_are_tied_too():
    a, b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    b.weight.data = a.weight.data
    report = it.initialize_(nn.Sequential(a, b))
    assert report.parameters["0.weight"].tied == ("1.weight",)
    assert torch.equal(a.weight, b.weight)


def test_parameters_that_overlap_otherwise_are_refused():
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    net[2].weight.data = net[0].weight.data.T
    before = arrays(net)
    with pytest.raises(ValueError, match=r"not element by element: 0\.weight and 2\.weight"):
        it.initialize_(net)
    assert_same(arrays(net), before)
    both = torch.zeros(8, 4)  # side by side they may be
    net[0].weight.data, net[2].weight.data = both[:4], both[4:]
    it.initialize_(net)


NAMES = st.sampled_from(["a", "b", "module", "weight", "0", "10", "é", "_orig_mod"])
LEAVES = st.sampled_from(["linear", "norm", "conv"])
TREES = st.recursive(LEAVES, lambda t: st.dictionaries(NAMES, t, min_size=1, max_size=3), max_leaves=6)


def build(tree):
    if isinstance(tree, str):
        return {
            "linear": lambda: nn.Linear(3, 2),
            "norm": lambda: nn.LayerNorm(3),
            "conv": lambda: nn.Conv1d(4, 2, 3, groups=2),
        }[tree]()
    module = nn.Module()
    for name, child in tree.items():
        module.add_module(name, build(child))
    return module


@settings(max_examples=50)
@given(TREES, st.data())
def test_no_parameter_depends_on_others(tree, data):
    """Modules added, removed or in another order change none of the others."""
    net = build({"root": tree})
    values = initialized(
        net, {"*": lambda name, shape: "he_normal" if len(shape) > 1 else "uniform"}, seed=11
    )
    rules = {"*": lambda name, shape: "he_normal" if len(shape) > 1 else "uniform"}

    def shuffled(node):
        if isinstance(node, str):
            return node
        order = data.draw(st.permutations(list(node)))
        kept = order[data.draw(st.integers(0, len(order) - 1)) :]
        return {name: shuffled(node[name]) for name in kept}

    other = initialized(build({"new": "linear", "root": shuffled(tree)}), rules, seed=11)
    for name, value in other.items():
        if not name.startswith("new."):
            assert torch.equal(value, values[name])
    for name, value in values.items():  # and each is its own name's
        init = "he_normal" if value.ndim > 1 else "uniform"
        expected = ic.get(init)(tuple(value.shape), seed=11, name=name, layout=_layout(value))
        assert np.array_equal(value.numpy(), expected)


def _layout(value):
    return ic.Layout("torch", groups=2) if value.ndim == 3 else "torch"


# ---- parts of a model


def test_stages_make_what_the_whole_makes():
    """Values depend on global names, never on the rank of a stage (Modalities#426)."""
    whole = initialized(model(), RULES, seed=2)
    for first, last in ((0, 2), (2, 5)):
        stage = nn.Sequential(*list(model())[first:last])
        for names in (
            lambda name, first=first: re.sub(r"^\d+", lambda m: str(int(m[0]) + first), name),
            {str(i): str(i + first) for i in range(last - first)},
            {module: str(i + first) for i, module in enumerate(stage)},
        ):
            for p in stage.parameters():
                p.data.fill_(9.0)
            report = it.initialize_(stage, RULES, seed=2, names=names)
            own = [name for name in whole if first <= int(name.split(".")[0]) < last]
            assert list(report.parameters) == own
            assert_same(
                dict(zip(own, arrays(stage).values(), strict=True)), {name: whole[name] for name in own}
            )


def test_the_longest_prefix_names_a_parameter():
    names = {"": "net", "1": "blocks.7", "1.fc1": "wide", "1.norm.bias": "shift", "2": ""}
    got = list(it.plan(model(1), names=names).parameters)
    assert got == [
        *(
            "net.0.weight",
            "net.0.bias",
            "wide.weight",
            "wide.bias",
            "blocks.7.fc2.weight",
            "blocks.7.fc2.bias",
        ),
        *("blocks.7.norm.weight", "shift", "weight", "bias"),
    ]


@pytest.mark.parametrize("rules", [RULES, "the whole's"])
def test_the_stages_of_pipelining_keep_their_names(rules):
    net = model()
    net[0] = nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Conv1d(4, 8, 1, groups=2), nn.Flatten())
    with torch.device("meta"):
        decided = it.plan(net)
    whole = initialized(net, "auto" if rules == "the whole's" else {"0.*": "ones", **RULES}, seed=2)
    split = pipeline(net, (torch.zeros(2, 4),), split_spec={"2": SplitPoint.BEGINNING})
    seen = []
    for rank in range(2):
        stage = split.get_stage_module(rank)
        for p in stage.parameters():
            p.data.fill_(9.0)
        own = {k: v for k, v in {"0.*": "ones", **RULES}.items() if rank == 0 or k != "0.*"}
        it.initialize_(stage, decided if rules == "the whole's" else own, seed=2)
        seen += [name for name, _ in stage.named_parameters()]
        assert all(torch.equal(p, whole[name]) for name, p in stage.named_parameters())
    assert sorted(seen) == sorted(whole)


def test_a_report_of_the_whole_gives_its_parts_their_values():
    """Decisions that need what follows, fans of kinds that a part has lost, and ties across parts."""
    net = nn.ModuleDict(
        {"embed": nn.Embedding(10, 4, padding_idx=0), "fc": nn.Linear(4, 4), "head": nn.Linear(4, 10)}
    )
    net["head"].weight = net["embed"].weight
    decided = it.plan(net, {"fc.bias": None, "*": "auto"})
    assert decided.seed is None
    whole = initialized(net, decided, seed=4)
    last = nn.ModuleDict({"head": nn.Linear(4, 10)})
    report = it.initialize_(last, decided, seed=4)
    assert torch.equal(last["head"].weight, whole["embed.weight"])
    assert report.parameters["embed.weight"].tied == ("head.weight",)
    assert report.parameters["embed.weight"].reason == decided.parameters["embed.weight"].reason
    with pytest.raises(ValueError, match=r"the report given as rules does not have: more\.weight"):
        it.initialize_(nn.ModuleDict({"more": nn.Linear(2, 2)}), decided)
    with pytest.raises(
        ValueError, match=r"embed\.weight \(its shape is \(11, 4\), in the report given as rules \(10, 4\)"
    ):
        it.initialize_(nn.ModuleDict({"head": nn.Linear(4, 11)}), decided)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ({"5": "x"}, ValueError, "names has '5', which is no part of the module"),
        ({nn.Linear(1, 1): "x"}, ValueError, "names has a Linear, which is no part"),
        ({"0": 1}, TypeError, "the name of 0 must be str"),
        (lambda name: 1, TypeError, "what names gives for 0.weight must be str"),
        (lambda name: "x", ValueError, "more than once: x"),
        ("x", TypeError, "names must be a function"),
    ],
)
def test_names_that_do_not_fit(names, error, message):
    with pytest.raises(error, match=message):
        it.initialize_(nn.Sequential(nn.Linear(2, 2)), {"*": "ones"}, names=names)


# ---- rules


@pytest.mark.parametrize(
    ("module", "name", "fans"),
    [
        (nn.Linear(6, 4), "weight", (6, 4)),
        (nn.Bilinear(3, 4, 5), "weight", (12, 20)),
        (nn.Conv2d(8, 12, 3, groups=4), "weight", (18, 27)),
        (nn.ConvTranspose2d(8, 12, 3, groups=4), "weight", (18, 27)),
        (nn.Conv1d(4, 8, 5), "weight", (20, 40)),
        (nn.Embedding(100, 8), "weight", (1, 8)),
        (nn.MultiheadAttention(8, 2), "in_proj_weight", (8, 8)),
        (nn.MultiheadAttention(8, 2, kdim=6), "k_proj_weight", (6, 8)),
        (nn.LSTM(6, 4), "weight_ih_l0", (6, 4)),
        (nn.LSTM(6, 4, bidirectional=True), "weight_hh_l0_reverse", (4, 4)),
        (nn.LSTM(6, 4, proj_size=2), "weight_hr_l0", (4, 2)),
        (nn.GRUCell(6, 4), "weight_ih", (6, 4)),
        (nn.RNN(6, 4), "weight_hh_l0", (4, 4)),
    ],
)
def test_the_layout_is_that_of_the_module(module, name, fans):
    plan = it.plan(module, {name: "normal", "*": None}).parameters[name].plan
    assert (plan.fan_in, plan.fan_out) == fans
    given = it.plan(module, {name: ic.Rule("normal", layout="numpy"), "*": None}).parameters[name].plan
    assert given.layout == "numpy"


def test_rules_may_be_mixed_with_auto_functions_and_nothing():
    class Vit(nn.Module):
        def __init__(self):
            super().__init__()
            self.cls_token = nn.Parameter(torch.empty(1, 1, 8))
            self.backbone, self.head = Block(), nn.Linear(8, 2)

    net = Vit()
    kept = arrays(net.backbone)
    rules = {
        "backbone.*": None,
        "head.weight": lambda name, shape: "auto" if shape == (2, 8) else None,
        "head.bias": lambda name, shape: ic.Rule("constant(2.0)"),
        "cls_token": ic.Normal(0, 0.02),
    }
    report = it.initialize_(net, rules, seed=1)
    assert_same(arrays(net.backbone), kept)
    assert report.parameters["backbone.fc1.weight"].plan is None
    assert report.parameters["head.weight"].reason
    assert net.head.bias.tolist() == [2.0, 2.0]
    expected = ic.normal((1, 1, 8), std=0.02, seed=1, name="cls_token")
    assert np.array_equal(net.cls_token.detach().numpy(), expected)
    assert "left alone" in str(report)


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ({"0.*": "ones"}, ValueError, r"parameters that no rule matches: 1\.fc1\.weight"),
        ({"*.bias": "zeros", "x": "ones", "*": "ones"}, ValueError, "rules that decide no parameter: x"),
        ({"*": "he_normal"}, ValueError, r"cannot be initialized so: 0\.bias"),
        ({"*": "he_nromal"}, ValueError, "he_nromal"),
        ({"*": 3}, ValueError, "cannot be initialized so"),
        (
            {"*": ic.Rule("ones", dtype="float64")},
            ValueError,
            "the rule's dtype is float64, the parameter's float32",
        ),
        ("he_normal", TypeError, 'rules must be "auto"'),
        (None, TypeError, 'rules must be "auto"'),
    ],
)
def test_rules_that_do_not_fit(rules, error, message):
    net = model(1)
    before = arrays(net)
    with pytest.raises(error, match=message):
        it.initialize_(net, rules)
    assert_same(arrays(net), before)


def test_auto_names_what_it_does_not_know():
    class Strange(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.gamma, self.table = (
                nn.Linear(2, 2),
                nn.Parameter(torch.ones(3)),
                nn.Parameter(torch.ones(2, 2)),
            )

    net = Strange()
    before = arrays(net)
    with pytest.raises(
        ValueError, match=r'gamma \("auto" does not know what gamma of Strange is for.*table'
    ) as error:
        it.initialize_(net)
    assert "fc." not in str(error.value)
    assert_same(arrays(net), before)
    it.initialize_(net, {"gamma": "ones", "table": "xavier_normal", "*": "auto"})


def test_auto_knows_the_kinds_of_pytorch():
    class One(nn.RMSNorm):
        pass

    class Plus(nn.Module):
        """Multiplies by 1 + weight."""

        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.empty(8, device="meta")), nn.Parameter(torch.zeros(8))

        def forward(self, x):
            return x * x.square().mean(-1, keepdim=True).rsqrt() * (1 + self.weight) + self.bias

    class PlusNorm(Plus):
        pass

    kinds = nn.ModuleDict(
        {
            "embed": nn.Embedding(10, 8, padding_idx=3),
            "prelu": nn.PReLU(4),
            "batch": nn.BatchNorm2d(4),
            "group": nn.GroupNorm(2, 4),
            "rms": One(8),
            "lstm": nn.LSTM(8, 8),
            "attention": nn.MultiheadAttention(8, 2, add_bias_kv=True),
            "bilinear": nn.Bilinear(2, 2, 2),
        }
    )
    it.initialize_(kinds, seed=3)
    embed = kinds["embed"].weight.detach()
    assert embed[3].abs().max() == 0 < embed[2].abs().min()
    assert kinds["prelu"].weight.tolist() == [0.25] * 4
    assert all(kinds[name].weight.eq(1).all() for name in ("batch", "group", "rms"))
    w = kinds["lstm"].weight_hh_l0.detach().reshape(4, 8, 8)
    assert torch.allclose(w @ w.mT, torch.eye(8).expand(4, 8, 8), atol=1e-5)
    assert kinds["attention"].in_proj_weight.detach().std() == pytest.approx(8**-0.5, rel=0.2)
    plus = it.plan(PlusNorm()).parameters
    assert [p.plan.init for p in plus.values()] == [ic.get("zeros"), ic.get("zeros")]
    with pytest.raises(ValueError, match="weight of Plus"):
        it.plan(Plus())


# ---- what is refused, before anything is written


def test_meta_parameters_are_refused_with_the_way_out():
    with torch.device("meta"):
        net = nn.ModuleDict(
            {"embed": nn.Embedding(4, 2), "head": nn.Linear(2, 4, bias=False), "bn": nn.BatchNorm1d(2)}
        )
        net["head"].weight = net["embed"].weight
        net["bn"].register_buffer("inv_freq", torch.ones(3), persistent=False)
    mixed = nn.ModuleDict({"real": nn.Linear(2, 2), "meta": net})
    before = mixed["real"].weight.clone()
    with pytest.raises(ValueError, match="to_empty") as error:
        it.initialize_(mixed)
    assert torch.equal(mixed["real"].weight, before)
    message = str(error.value)
    assert message.startswith(
        '3 parameters have no memory (device "meta"): meta.embed.weight, meta.bn.weight'
    )
    assert "again: meta.bn.inv_freq." in message
    assert "running_mean" not in message
    assert "meta.head.weight = meta.embed.weight" in message
    mixed.to_empty(device="cpu")
    mixed["meta"]["bn"].inv_freq.fill_(1.0)
    mixed["meta"]["head"].weight = mixed["meta"]["embed"].weight
    report = it.initialize_(mixed)
    assert report.buffers["meta.bn.running_var"].reset
    assert not report.buffers["meta.bn.inv_freq"].reset
    assert not report.buffers["meta.bn.inv_freq"].persistent
    assert mixed["meta"]["bn"].running_var.tolist() == [1.0, 1.0]
    assert "meta.bn.inv_freq (not in checkpoints)" in str(report)


def test_running_statistics_are_reset_unless_the_layer_is_left_alone():
    net = nn.ModuleDict(
        {"kept": nn.BatchNorm1d(2), "new": nn.BatchNorm1d(2), "plain": nn.BatchNorm1d(2, affine=False)}
    )
    for bn in net.values():
        bn.running_mean.fill_(5.0)
    it.initialize_(net, {"kept.*": None, "*": "auto"})
    assert [bn.running_mean[0].item() for bn in net.values()] == [5.0, 0.0, 0.0]
    net["plain"].running_mean.fill_(5.0)  # without parameters: the rule for its own name decides
    it.initialize_(net, {"kept.*": "auto", "*": None})
    assert [bn.running_mean[0].item() for bn in net.values()] == [0.0, 0.0, 5.0]
    it.initialize_(net)
    assert [bn.running_mean[0].item() for bn in net.values()] == [0.0, 0.0, 0.0]


def test_a_report_of_tied_parameters_wants_them_tied():
    def tied():
        net = nn.ModuleDict({"embed": nn.Embedding(4, 2), "head": nn.Linear(2, 4, bias=False)})
        net["head"].weight = net["embed"].weight
        return net

    report = it.plan(tied())
    untied = tied()
    untied["head"].weight = nn.Parameter(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"tied in the report given as rules.* head.weight = embed.weight"):
        it.initialize_(untied, report)


def test_buffers_with_nan_are_warned_of():
    net = nn.Linear(2, 2)
    net.register_buffer("mask", torch.full((2, 2), -torch.inf))
    it.initialize_(net)
    net.register_buffer("inv_freq", torch.tensor([1.0, torch.nan]), persistent=False)
    with pytest.warns(UserWarning, match="have NaN and are not touched by initialize_: inv_freq"):
        it.initialize_(net)


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.float8_e4m3fn])
def test_parameters_of_other_dtypes_are_named_and_may_be_left_alone(dtype):
    net = model(1)
    net.table = nn.Parameter(torch.zeros(2, 2).to(dtype), requires_grad=False)
    before = arrays(net)
    with pytest.raises(ValueError, match=r"table.*dtype"):
        it.initialize_(net, {"table": "normal", "*": "auto"})
    assert_same(arrays(net), before)
    it.initialize_(net, {"table": None, "*": "auto"})
    assert torch.equal(net.table.view(torch.uint8), before["table"].view(torch.uint8))


def test_memory_that_cannot_be_written_is_refused_before_the_first_write():
    net = model(1)
    net[2].weight = nn.Parameter(torch.zeros(3, 1).expand(3, 8))
    before = arrays(net)
    with pytest.raises(ValueError, match=r"cannot be written: 2\.weight \(.*share memory"):
        it.initialize_(net)
    assert_same(arrays(net), before)


def test_lazy_parameters_and_wrong_arguments_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lazy = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"lazy parameters.*run the module once.*: 0\.weight, 0\.bias"):
        it.initialize_(lazy)
    with pytest.raises(TypeError, match="module must be Module"):
        it.initialize_({"weight": torch.ones(2)})
    for options, error in (
        ({"seed": -1}, ValueError),
        ({"seed": 0.5}, TypeError),
        ({"seed": None}, TypeError),
        ({"num_threads": 0}, ValueError),
    ):
        net = model(1)
        before = arrays(net)
        with pytest.raises(error):
            it.initialize_(net, **options)
        assert_same(arrays(net), before)


def test_frozen_parameters_are_initialized_and_named():
    net = model(1).requires_grad_(False)
    report = it.initialize_(net, seed=1)
    assert_same(arrays(net), initialized(model(1), seed=1))
    assert "require no gradient: 0.weight, 0.bias" in str(report)


def test_modules_without_parameters():
    report = it.initialize_(nn.Sequential(nn.ReLU()))
    assert report.parameters == {}
    assert "0 parameters" in str(report)


@pytest.mark.parametrize("function", [it.plan, it.initialize_])
def test_the_examples_of_the_documentation(function):
    test = doctest.DocTestFinder().find(function, globs={"ic": ic, "nn": nn})[0]
    assert doctest.DocTestRunner().run(test) == doctest.TestResults(failed=0, attempted=len(test.examples))


# ---- the report


def test_the_report_tells_what_was_done_and_why():
    net = model(1)
    report = it.initialize_(net, seed=6)
    row = report.parameters["1.fc1.weight"]
    assert (row.activation, row.how, row.reason) == ("relu", "traced", "relu follows")
    assert (row.plan.fan_in, row.plan.fan_out, row.plan.std) == (8, 16, 0.5)
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "name", "shape", "init", "fan_in", "fan_out", "std", "activation", "how", "reason",
    ]  # fmt: skip
    assert re.split(r"\s{2,}", lines[3]) == [
        "1.fc1.weight", "(16, 8)", "he_normal", "8", "16", "0.5", "relu", "traced", "relu follows",
    ]  # fmt: skip
    assert lines[-1] == "10 parameters, 363 elements; seed 6"
    assert any(line.startswith("relu: relu is straight on both sides") for line in lines)
    told = json.loads(json.dumps(report.to_dict()))
    assert told["parameters"][2] == row.to_dict() | {"shape": [16, 8]}
    assert told["seed"] == 6
    page = report._repr_html_()
    assert page.count("<tr>") == 11
    assert "relu follows" in page


# ---- workers


@pytest.fixture
def group():
    """Make process groups in this process: a real one of one, or a pretended place among several."""

    def make(rank=0, size=1):
        if dist.is_initialized():
            dist.destroy_process_group()
        if size == 1:
            dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        else:
            dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)

    yield make
    if dist.is_initialized():
        dist.destroy_process_group()


def test_data_parallel_modules_have_the_names_of_what_they_wrap(group):
    group()
    net = nn.parallel.DistributedDataParallel(checkpoint_wrapper(torch.compile(model())))
    report = it.initialize_(net, seed=3)
    expected = model()
    assert report.to_dict() == it.initialize_(expected, seed=3).to_dict()
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), expected.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore:FSDP is switching to use `NO_SHARD`:UserWarning")
@pytest.mark.parametrize("use_orig_params", [True, False])
def test_what_fsdp1_has_flattened_is_refused(group, use_orig_params):
    group()
    net = nn.Sequential(
        nn.Linear(2, 2),
        FullyShardedDataParallel(model(1), use_orig_params=use_orig_params, device_id=torch.device("cpu")),
    )
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(ValueError, match=r"FSDP1 has flattened.*before wrapping.*fully_shard: 1$"):
        it.initialize_(net)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize(
    "rules", ["auto", {"*": lambda name, shape: "he_normal" if len(shape) > 1 else "uniform"}]
)
def test_shards_are_those_of_the_whole_with_its_fans(group, rules):
    """FSDP2 with tensor parallelism, 2 x 2: fans are not those of the shards (Megatron-Bridge#5840)."""
    whole = model()
    plain = it.initialize_(whole, rules, seed=3)
    seen = {name: torch.full_like(p, torch.nan) for name, p in whole.named_parameters()}
    for rank in range(4):
        group(rank, 4)
        dp, tp = (f"{kind}{rank}{rules == 'auto'}" for kind in ("dp", "tp"))  # equal meshes would be one
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=(dp, tp))
        with torch.device("meta"):
            net = model()
        for i in range(1, 4):
            parallelize_module(net[i], mesh[tp], {"fc1": ColwiseParallel(), "fc2": RowwiseParallel()})
            fully_shard(net[i], mesh=mesh[dp])
        fully_shard(net, mesh=mesh[dp])
        with pytest.raises(ValueError, match="22 parameters have no memory"):
            it.initialize_(net, rules, seed=3)
        net.to_empty(device="cpu")
        report = it.initialize_(net, rules, seed=3)
        assert report.to_dict() == plain.to_dict()
        for name, p in net.named_parameters():
            local = p.to_local()
            assert local.numel() < p.numel() or p.numel() < 4
            index = ic.torch.placements.region(p)
            assert torch.equal(local, dict(whole.named_parameters())[name][index])
            seen[name][index] = local
    assert_same(seen, arrays(whole))


@pytest.mark.parametrize(
    ("parametrize", "layer", "original"),
    [
        (parametrizations.spectral_norm, nn.ConvTranspose2d(8, 256, 3), "original"),
        (parametrizations.weight_norm, nn.ConvTranspose1d(512, 256, 16, 8), "original1"),
        (parametrizations.weight_norm, nn.Conv1d(8, 12, 3, groups=4), "original1"),
        (parametrizations.spectral_norm, nn.Embedding(6, 4), "original"),
        (parametrizations.orthogonal, nn.Linear(4, 6), "original"),
        (lambda m: parametrizations.weight_norm(m, "weight_ih_l0"), nn.LSTM(4, 5), "original1"),
    ],
)
def test_what_a_weight_is_computed_from_has_its_layout(parametrize, layer, original):
    rules = {"*weight*": "he_normal", "*": None}
    attribute = "weight_ih_l0" if isinstance(layer, nn.LSTM) else "weight"
    plain = it.plan(layer, rules).parameters[attribute].plan
    computed = it.plan(nn.Sequential(parametrize(layer)), rules).parameters
    found = computed[f"0.parametrizations.{attribute}.{original}"].plan
    assert (found.fan_in, found.fan_out, found.std) == (plain.fan_in, plain.fan_out, plain.std)


def test_fans_of_a_stack_of_matrices_are_not_guessed():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Parameter(torch.zeros(4, 16, 8))  # (experts, out, in)

    net = Experts()
    with pytest.raises(ValueError, match=r"up \(which axes of \(4, 16, 8\) are inputs and outputs"):
        it.initialize_(net, {"*": "he_normal"})
    assert not net.up.any()
    it.initialize_(net, {"*": "normal(0.02)"})  # has no fans
    layout = ic.Layout(batch_axis=0, out_axis=1, in_axis=2)
    report = it.initialize_(net, {"*": ic.Rule("he_normal", layout=layout)})
    assert report.parameters["up"].plan.fan_in == 8
    it.initialize_(nn.Bilinear(3, 4, 5), {"weight": "he_normal", "*": "zeros"})
