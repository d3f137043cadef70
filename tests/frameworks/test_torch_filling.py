"""fill_: the bits of NumPy in every kind of tensor, what autograd sees of it, and what is refused."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

import initcore as ic
from initcore.torch import fill_

DTYPES = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.float16: np.dtype(np.float16),
    torch.bfloat16: np.dtype(ml_dtypes.bfloat16),
}


def array(tensor):
    """The bits of a tensor, as integers: NumPy's bfloat16 and NaN would not compare."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().resolve_neg().clone(memory_format=torch.contiguous_format).view(bits).numpy()


def expected(init, shape, dtype, **options):
    made = ic.get(init)(tuple(shape), dtype=DTYPES[dtype], **({"layout": "torch"} | options))
    return made.view(f"i{made.itemsize}")


def check(tensor, init="he_normal", **options):
    assert fill_(tensor, init, **options) is tensor
    np.testing.assert_array_equal(array(tensor), expected(init, tensor.shape, tensor.dtype, **options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "init",
    [
        "zeros",
        "he_normal",
        "uniform(-1, 1)",
        "truncated_normal",
        "orthogonal",
        "sparse(0.5)",
        "eye",
        ic.Normal(1),
    ],
)
def test_values_are_those_of_numpy(dtype, init):
    for shape in [(5, 7), (64, 33), (1, 1), (0, 3)]:
        check(
            torch.full(shape, 7.0, dtype=dtype), init, seed=2**64 - 1, name="layers.0.weight", num_threads=1
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_dimensions(dtype):
    for shape in [(), (0,), (5,), (2, 3, 4), (2, 1, 3, 2, 2)]:
        check(torch.full(shape, 7.0, dtype=dtype), "normal", seed=0)


@st.composite
def views(draw):
    """A tensor of any strides amid others' memory: a permuted, stepping part of a bigger one."""
    dtype = draw(st.sampled_from(list(DTYPES)))
    sizes = draw(st.lists(st.integers(0, 6), min_size=2, max_size=4))
    whole = torch.full([2 * size + 3 for size in sizes], 7.0, dtype=dtype)
    index = [slice(1, 1 + step * size, step) for size in sizes for step in [draw(st.integers(1, 2))]]
    part = whole[tuple(index)].permute(draw(st.permutations(range(len(sizes)))))
    return whole, part


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    views(), st.integers(0, 2**64 - 1), st.sampled_from(["he_normal", "xavier_uniform", "orthogonal", "ones"])
)
def test_any_strides_and_nothing_beside_them(view, seed, init):
    whole, part = view
    others = torch.ones_like(whole, dtype=torch.bool)
    others.as_strided(part.shape, part.stride(), part.storage_offset())[...] = False
    check(part, init, seed=seed)
    assert (whole[others] == 7).all()


def test_channels_last():
    weight = torch.empty(8, 4, 3, 3).to(memory_format=torch.channels_last)
    check(weight, "kaiming_uniform", seed=1)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_the_layout_is_that_of_pytorch_unless_said_otherwise():
    weight = torch.empty(200, 50)
    assert torch.equal(
        fill_(weight, "lecun_normal", seed=0),
        torch.from_numpy(ic.lecun_normal((50, 200)[::-1], seed=0, layout="torch")),
    )
    check(weight, "lecun_normal", seed=0, layout="numpy")
    check(torch.empty(8, 2, 3), "he_normal", seed=0, layout=ic.Layout("torch", groups=4))


def test_seeds_of_other_types():
    for seed in [np.uint64(7), np.random.SeedSequence(7), True]:
        check(torch.empty(3, 4), seed=seed)


def test_parameters_and_what_autograd_sees():
    for tensor in [
        torch.nn.Parameter(torch.zeros(4, 3)),
        torch.nn.Parameter(torch.zeros(4, 3, dtype=torch.bfloat16)),
        torch.zeros(4, 3, requires_grad=True),
        torch.nn.Buffer(torch.zeros(4, 3)),
    ]:
        before, needs_grad = tensor._version, tensor.requires_grad
        check(tensor, seed=0)
        assert tensor._version > before
        assert tensor.grad_fn is None
        assert tensor.is_leaf
        assert tensor.requires_grad is needs_grad


def test_a_graph_that_needs_the_old_values_is_told():
    weight = torch.ones(4, 3, requires_grad=True)
    loss = (weight * weight).sum()
    fill_(weight, "normal", seed=0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    (weight * weight).sum().backward()
    assert torch.equal(weight.grad, 2 * weight.detach())


def test_views_and_their_bases_share_a_version():
    base = torch.zeros(6, 4)
    before = base._version
    check(base[1:3], seed=0)
    assert base._version > before


class Operations(TorchDispatchMode):
    """Writes down what PyTorch is asked to do."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("tensor", "operations"),
    [
        (torch.empty(4, 3), {"detach"}),  # sees the same memory
        (torch.nn.Parameter(torch.empty(4, 3)), {"detach"}),
        (torch.empty(4, 3).t(), {"detach"}),
        (torch.empty(4, 3, dtype=torch.bfloat16), {"view", "detach"}),
        (torch._neg_view(torch.empty(4, 3)), {"empty", "detach", "copy_"}),
    ],
    ids=["tensor", "parameter", "transposed", "bfloat16", "staged"],
)
def test_nothing_is_copied_that_need_not_be(tensor, operations):
    with Operations() as seen:
        fill_(tensor, "normal", seed=0)
    assert set(seen.names) == operations


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_numpy_cannot_see_is_made_beside_and_copied(dtype):
    """A negated view, as it has no array: the way of every other device."""
    whole = torch.full((4, 6), 7.0, dtype=dtype)
    view = torch._neg_view(whole)[1:, ::2]
    assert view.is_neg()
    before = view._version
    check(view, seed=5)
    assert view._version > before
    others = torch.ones_like(whole, dtype=torch.bool)
    others[1:, ::2] = False
    assert (whole[others] == 7).all()
    np.testing.assert_array_equal(array(-whole[1:, ::2]), expected("he_normal", (3, 3), dtype, seed=5))
    check(torch._neg_view(torch.empty(0, 3, dtype=dtype)), seed=5)
    check(torch._neg_view(torch.empty((), dtype=dtype)), "normal", seed=5)


def test_a_seed_is_the_same_under_inference_mode_and_a_default_device():
    with torch.inference_mode():
        tensor = torch.zeros(4, 3)
        check(tensor, seed=0)
    check(tensor, seed=1)
    with torch.device("meta"):
        check(torch.empty(4, 3, device="cpu"), seed=0)
        check(torch._neg_view(torch.empty(4, 3, device="cpu")), seed=0)
    with torch.no_grad():
        check(torch.empty(4, 3, requires_grad=True), seed=0)


class Plain(torch.Tensor):
    """A subclass with the memory of its base."""


class Wrapper(torch.Tensor):
    """A subclass that has none."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError(func)


def test_subclasses():
    check(torch.zeros(4, 3).as_subclass(Plain), seed=0)
    with pytest.raises(TypeError, match="got Wrapper, which wraps others"):
        fill_(Wrapper(torch.zeros(4, 3)), "normal", seed=0)


def fake():
    with FakeTensorMode():
        return torch.empty(4, 3)


REFUSED = {
    "a list": (lambda: [1.0, 2.0], TypeError, "expected a torch.Tensor, got list"),
    "an array": (lambda: np.zeros(3), TypeError, "expected a torch.Tensor, got ndarray"),
    "none": (lambda: None, TypeError, "got NoneType"),
    "meta": (lambda: torch.empty(4, 3, device="meta"), ValueError, r"module.to_empty\(device=...\) first"),
    "meta parameter": (lambda: torch.nn.Linear(3, 4, device="meta").weight, ValueError, "to_empty"),
    "fake": (fake, ValueError, "FakeTensor has no memory"),
    "lazy": (lambda: torch.nn.LazyLinear(3).weight, ValueError, "no shape yet"),
    "expanded": (lambda: torch.zeros(4, 1).expand(4, 3), ValueError, "share memory"),
    "overlapping": (lambda: torch.zeros(12).as_strided((4, 3), (1, 1)), ValueError, "share memory"),
    "overlapping, staged": (
        lambda: torch._neg_view(torch.zeros(12)).as_strided((4, 3), (1, 1)),
        ValueError,
        r"share memory: shape \(4, 3\), strides \(1, 1\)",
    ),
    "expanded, staged": (
        lambda: torch._neg_view(torch.zeros(4, 1)).expand(4, 3),
        ValueError,
        "share memory",
    ),
    **{
        str(dtype): (lambda dtype=dtype: torch.zeros(4, 3).to(dtype), TypeError, f"float32, .* got {dtype}")
        for dtype in [
            *[torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64],
            *[torch.float8_e4m3fn, torch.float8_e5m2],
        ]
    },
    "sparse": (
        lambda: torch.zeros(4, 3).to_sparse(),
        TypeError,
        "dense tensor, got one that is torch.sparse_coo",
    ),
    "functional": (
        lambda: torch._to_functional_tensor(torch.zeros(4, 3)),
        TypeError,
        "torch.func transforms",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_filled_is_refused(kind):
    make, error, words = REFUSED[kind]
    with pytest.raises(error, match=words):
        fill_(make(), "normal", seed=0)


@pytest.mark.filterwarnings("ignore:FSDP is switching to use:UserWarning")
@pytest.mark.filterwarnings("ignore:.*FullyShardedDataParallel.*:FutureWarning")
def test_parameters_that_fsdp1_has_flattened_are_refused():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        wrapped = FullyShardedDataParallel(torch.nn.Linear(3, 4), device_id=torch.device("cpu"))
        (parameter,) = wrapped.parameters()
        before = parameter.detach().clone()
        with pytest.raises(ValueError, match="FSDP1 has flattened"):
            fill_(parameter, "normal", seed=0)
        assert torch.equal(parameter, before)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("transform", [torch.vmap, torch.func.grad, torch.func.functionalize])
def test_transformed_tensors_are_refused(transform):
    with pytest.raises(TypeError, match=r"torch\.func transforms"):
        transform(lambda x: fill_(x, "normal", seed=0).sum())(torch.zeros(4, 3))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused():
    parts = [torch.zeros(2), torch.zeros(3)]
    for layout in [torch.strided, torch.jagged]:
        with pytest.raises(TypeError, match=r"nested|NestedTensor"):
            fill_(torch.nested.nested_tensor(parts, layout=layout), "normal", seed=0)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"seed": None}, TypeError, "seed must be an integer, got None"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 2**64}, ValueError, "seed"),
        ({"seed": 1.5}, TypeError, "seed must be an integer, got 1.5"),
        ({"init": "no_such"}, ValueError, "unknown initializer 'no_such'"),
        ({"init": 3}, TypeError, "got int"),
        ({"name": 3}, TypeError, "name|str"),
        ({"layout": "no_such"}, ValueError, "no_such"),
        ({"layout": ic.Layout("torch", groups=3)}, ValueError, "groups = 3"),
        ({"num_threads": 0}, ValueError, "threads"),
        ({"init": "sparse(0.5)", "tensor": torch.full((2, 2, 2), 7.0)}, ValueError, "2 dimensions"),
        ({"tensor": torch.full((4,), 7.0)}, ValueError, "at least 2 dimensions"),
        ({"init": "constant(1e39)"}, ValueError, "does not fit float32"),
    ],
)
def test_nothing_is_written_after_an_error(options, error, words):
    options = {"tensor": torch.full((4, 3), 7.0), "init": "he_normal", "seed": 0} | options
    tensor, before = options["tensor"], options["tensor"]._version
    with pytest.raises(error, match=words):
        fill_(**options)
    assert (tensor == 7).all()
    assert tensor._version == before


def test_bfloat16_needs_a_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    tensor = torch.full((4, 3), 7.0, dtype=torch.bfloat16)
    with pytest.raises(ImportError, match=r"ml_dtypes: pip install 'initcore\[torch\]'"):
        fill_(tensor, "normal", seed=0)
    assert (tensor == 7).all()
    fill_(torch.empty(4, 3), "normal", seed=0)


def test_without_pytorch_one_is_told_what_to_install():
    program = """
import sys
sys.modules["torch"] = None
import initcore
try:
    initcore.torch
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "initcore.torch needs PyTorch: pip install 'initcore[torch]'\n"
