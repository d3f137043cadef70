"""Which part of the whole a process holds: by PyTorch's own splitting, on meshes of up to 1024 processes.

Nothing here starts a process: the mesh is a shape, or the process group a fake one.
"""

import itertools

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor, empty
from torch.distributed.tensor._dtensor_spec import DTensorSpec, ShardOrderEntry, TensorMeta
from torch.distributed.tensor._utils import (
    _compute_local_shape_and_global_offset,
    compute_local_shape_and_global_offset,
)
from torch.distributed.tensor.debug import _clear_sharding_prop_cache
from torch.distributed.tensor.placement_types import _MaskPartial, _StridedShard

import initcore as ic
from initcore.torch import fill_, region, region_at, regions
from initcore.torch.filling import memory


def split_by_pytorch(whole, mesh_shape, placements, coordinate):
    """The shard, as PyTorch's placements split a tensor."""
    part = whole
    for placement, size, place in zip(placements, mesh_shape, coordinate, strict=True):
        if not placement.is_replicate():
            shards, _ = placement._split_tensor(part, size, with_padding=False)
            part = shards[place]
    return part.numpy()


def check_mesh(shape, mesh_shape, placements):
    whole = torch.arange(int(np.prod(shape))).view(shape)
    times_held = np.zeros(shape, int)
    for coordinate, part in regions(shape, mesh_shape, placements):
        mine = whole.numpy()[part]
        np.testing.assert_array_equal(mine, split_by_pytorch(whole, mesh_shape, placements, coordinate))
        local_shape, offset = _compute_local_shape_and_global_offset(
            shape, mesh_shape, list(coordinate), placements
        )
        assert mine.shape == tuple(local_shape)
        if mine.size:
            assert mine.flat[0] == whole[tuple(offset)]
        times_held[part] += 1
    replicas = np.prod(
        [size for size, kind in zip(mesh_shape, placements, strict=True) if kind.is_replicate()], dtype=int
    )
    assert (times_held == replicas).all()


KINDS = [
    Replicate(),
    Shard(0),
    Shard(1),
    Shard(2),
    _StridedShard(0, split_factor=2),
    _StridedShard(1, split_factor=3),
]


@pytest.mark.parametrize("mesh_shape", [(1,), (5,), (2, 3), (4, 2)])
@pytest.mark.parametrize("shape", [(12, 8, 6), (13, 7, 2), (1, 3, 5), (0, 4, 2)])
def test_every_pair_of_placements(shape, mesh_shape):
    for placements in itertools.product(KINDS, repeat=len(mesh_shape)):
        check_mesh(shape, mesh_shape, placements)


@st.composite
def meshes(draw):
    shape = draw(st.lists(st.integers(0, 17), min_size=1, max_size=3))
    mesh_shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    dims = st.integers(0, len(shape) - 1)
    kinds = st.one_of(
        st.just(Replicate()),
        st.builds(Shard, dims),
        st.builds(lambda dim, factor: _StridedShard(dim, split_factor=factor), dims, st.integers(1, 6)),
    )
    return tuple(shape), tuple(mesh_shape), [draw(kinds) for _ in mesh_shape]


@settings(deadline=None, max_examples=200, derandomize=True)
@given(meshes())
def test_any_mesh(case):
    check_mesh(*case)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(meshes(), st.integers(0, 2**64 - 1))
def test_the_region_is_an_index_of_initializers(case, seed):
    shape, mesh_shape, placements = case
    whole = ic.normal(shape, seed=seed)
    for _, part in regions(shape, mesh_shape, placements):
        np.testing.assert_array_equal(ic.normal(shape, seed=seed, index=part), whole[part])


def test_regions_are_slices_where_they_can_be():
    halves = (_StridedShard(0, split_factor=2), Shard(0))
    assert region_at((8, 6), (2, 2), halves, (0, 1)) == (slice(4, 6, 1), slice(0, 6, 1))
    assert region_at((10, 6), (2, 2), [Shard(0), Shard(0)], (1, 1)) == (slice(8, 10, 1), slice(0, 6, 1))
    assert region_at((6, 6), (3,), [_StridedShard(0, split_factor=2)], (1,))[0] == slice(1, 5, 3)
    assert region_at((2, 6), (4,), [Shard(0)], (3,)) == (slice(2, 2, 1), slice(0, 6, 1))
    uneven, columns = region_at((8, 6), (2,), [_StridedShard(0, split_factor=2)], (0,))
    assert uneven.tolist() == [0, 1, 4, 5]
    assert columns == slice(0, 6, 1)
    assert region_at((4, 6), (2,), [Shard(-1)], (0,)) == (slice(0, 4, 1), slice(0, 3, 1))
    assert region_at((), (3,), [Replicate()], (2,)) == ()


def test_even_splits_cost_nothing():
    """Nothing as long as a row is made where slices will do: here a row has 2^40 elements."""
    huge = (2**40, 2**40)
    part = region_at(huge, (32, 32), [Shard(0), Shard(1)], (31, 0))
    assert part == (slice(31 * 2**35, 2**40, 1), slice(0, 2**35, 1))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (((4,), (2,), [Partial()], (0,)), ValueError, r"Partial\(sum\): every process holds a term"),
        (((4,), (2,), [Partial("avg")], (0,)), ValueError, r"Partial\(avg\)"),
        (((4,), (2,), [_MaskPartial(offset_shape=(4,))], (0,)), ValueError, "MaskPartial.* term"),
        (((4,), (2,), ["Shard(0)"], (0,)), TypeError, r"expected placements .*, got 'Shard\(0\)'"),
        (
            ((4,), (2,), [Shard(1)], (0,)),
            ValueError,
            "a dimension that a tensor of 1 dimensions does not have",
        ),
        (((4,), (2,), [Shard(-2)], (0,)), ValueError, "does not have"),
        (((), (2,), [Shard(0)], (0,)), ValueError, "does not have"),
        (
            ((4,), (2,), [Shard(0)], (2,)),
            ValueError,
            r"coordinate \(2,\) lies outside a mesh of shape \(2,\)",
        ),
        (((4,), (2,), [Shard(0)], (-1,)), ValueError, "lies outside"),
        (((4,), (2, 2), [Shard(0)], (0, 0)), ValueError, "got 1 placements and 2 coordinates"),
        (((4,), (2,), [Shard(0)], (0, 0)), ValueError, "got 1 placements and 2 coordinates"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        region_at(*arguments)


def test_a_placement_of_another_kind_is_refused():
    class Diagonal(Shard):
        pass

    with pytest.raises(TypeError, match="expected placements of type Replicate or Shard"):
        region_at((4,), (2,), [Diagonal(0)], (0,))


@pytest.fixture
def fake_group():
    """Join a group of 1024 processes of which there is but one."""

    def join(rank, world=1024):
        if dist.is_initialized():
            dist.destroy_process_group()
        dist.init_process_group("fake", rank=rank, world_size=world)

    yield join
    if dist.is_initialized():
        dist.destroy_process_group()


LARGE = [
    ((1024,), [Shard(0)]),
    ((32, 32), [Shard(0), Shard(1)]),
    ((16, 64), [_StridedShard(0, split_factor=64), Shard(0)]),
    ((64, 16), [Replicate(), Shard(1)]),
    ((4, 16, 16), [Replicate(), _StridedShard(1, split_factor=16), Shard(1)]),
]


@pytest.mark.parametrize(("mesh_shape", "placements"), LARGE)
def test_the_parts_of_1024_processes_tile_the_whole(mesh_shape, placements):
    shape = (2500, 1030)
    times_held = np.zeros(shape, np.uint16)
    for coordinate, part in regions(shape, mesh_shape, placements):
        if sum(coordinate) % 4 == 0:  # PyTorch takes its time
            local_shape, offset = _compute_local_shape_and_global_offset(
                shape, mesh_shape, list(coordinate), placements
            )
            assert times_held[part].shape == tuple(local_shape)
            if 0 not in local_shape:
                assert tuple(rows.start for rows in part) == tuple(offset)
        times_held[part] += 1
    assert (times_held == 1024 // parts_of_a_copy(mesh_shape, placements)).all()


def parts_of_a_copy(mesh_shape, placements):
    """Between how many processes a copy of the whole is split."""
    return int(
        np.prod([size for size, kind in zip(mesh_shape, placements, strict=True) if not kind.is_replicate()])
    )


@pytest.mark.parametrize(("mesh_shape", "placements"), LARGE)
def test_dtensors_on_1024_processes(fake_group, mesh_shape, placements):
    """The whole has 2^34 elements, 64 GB: no process could hold more than its part."""
    shape = (2**17, 2**17)
    for rank in [0, 389, 1023]:
        fake_group(rank)
        mesh = init_device_mesh("cpu", mesh_shape)
        weight = empty(shape, device_mesh=mesh, placements=placements, dtype=torch.bfloat16)
        part = region(weight)
        local_shape, offset = compute_local_shape_and_global_offset(shape, mesh, placements)
        assert tuple(rows.start for rows in part) == tuple(offset)
        assert tuple(weight.to_local().shape) == tuple(local_shape)


def test_a_piece_of_64_gigabytes_has_the_values_of_the_whole(fake_group):
    fake_group(517)
    mesh = init_device_mesh("cpu", (16, 8, 8))
    placements = [Shard(1), _StridedShard(0, split_factor=8), Shard(0)]
    weight = empty((2**17, 2**17), device_mesh=mesh, placements=placements)
    fill_(weight, "xavier_normal", seed=1, name="w")
    rows, columns = region(weight)
    for i, j in [(0, 0), (100, 8191), (2047, 17)]:
        there = (rows.start + i, columns.start + j)
        one = ic.xavier_normal(weight.shape, seed=1, name="w", layout="torch", index=there)
        assert weight.to_local()[i, j].item() == one


def test_a_partial_tensor_is_left_alone(fake_group):
    fake_group(1, 2)
    mesh = init_device_mesh("cpu", (2,))
    tensor = DTensor.from_local(torch.full((4, 3), 7.0), mesh, [Partial()], run_check=False)
    with pytest.raises(ValueError, match="redistribute to Replicate or Shard first"):
        fill_(tensor, "normal", seed=0)
    assert (tensor.to_local() == 7).all()


def test_a_process_outside_of_the_mesh_has_no_part(fake_group):
    fake_group(3, 4)
    mesh = dist.device_mesh.DeviceMesh("cpu", [0, 1])
    tensor = DTensor.from_local(torch.empty(0), mesh, [Shard(0)], run_check=False)
    assert region(tensor) is None
    assert fill_(tensor, "normal", seed=0) is tensor


def split_by_fsdp2(whole, dp, tp, coordinate):
    """Let FSDP2 split a tensor that tensor parallelism has split, in the process at a coordinate."""
    mesh = init_device_mesh("cpu", (dp, tp), mesh_dim_names=("dp", "tp"))
    chunks = torch.chunk(whole, tp)
    local = chunks[coordinate[1]] if coordinate[1] < len(chunks) else whole[:0]
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight = torch.nn.Parameter(
        DTensor.from_local(
            local.clone(), mesh["tp"], [Shard(0)], run_check=False, shape=whole.shape, stride=whole.stride()
        )
    )
    fully_shard(layer, mesh=mesh["dp"])
    return layer.weight


@pytest.mark.parametrize(
    ("dp", "tp", "sizes", "differ"),
    [(4, 2, range(1, 18), "shapes"), (2, 3, range(1, 18), ""), (4, 4, [9, 38], "shapes rows")],
)
def test_fsdp2_splits_what_tensor_parallelism_has_split(fake_group, dp, tp, sizes, differ):
    """Also where the parts from the left to the right have other shapes, or, of 38 at (3, 2), other rows."""
    found = set()
    for rank, coordinate in enumerate(itertools.product(range(dp), range(tp))):
        fake_group(rank, dp * tp)
        _clear_sharding_prop_cache()  # holds the meshes of the process that this one was before
        for size in sizes:
            whole = torch.arange(2.0 * size).view(size, 2)
            weight = split_by_fsdp2(whole, dp, tp, coordinate)
            local = weight.to_local().detach().numpy()
            np.testing.assert_array_equal(whole.numpy()[region(weight)], local)
            other = whole.numpy()[region_at((size, 2), (dp, tp), weight.placements, coordinate)]
            if not np.array_equal(other, local):
                found.add("rows" if other.shape == local.shape else "shapes")
            fill_(weight, "normal", seed=3)
            np.testing.assert_array_equal(local, ic.normal((size, 2), seed=3, index=region(weight)))
    assert found == set(differ.split())


@pytest.mark.parametrize(
    ("size", "placements"),
    [
        (9, [_StridedShard(0, split_factor=2), Shard(0)]),  # as of FSDP2, but other pieces: their shapes tell
        (24, [_StridedShard(0, split_factor=3), Shard(0)]),
        (32, [Shard(0), _StridedShard(0, split_factor=4)]),
        (16, [_StridedShard(0, split_factor=2), Replicate()]),
        (32, [_StridedShard(0, split_factor=2), _StridedShard(0, split_factor=2), Shard(0)]),
    ],
)
def test_distribute_tensor_splits_from_the_left_to_the_right(fake_group, size, placements):
    fake_group(0, 8)
    whole = torch.arange(size)
    mesh_shape = (4, 2) if len(placements) == 2 else (2, 2, 2)
    for place in range(8):
        mesh = DeviceMesh("cpu", np.roll(np.arange(8), place).reshape(mesh_shape))
        weight = distribute_tensor(whole, mesh, placements, src_data_rank=None)
        np.testing.assert_array_equal(whole.numpy()[region(weight)], weight.to_local().numpy())


def with_spec(local, mesh, placements, shape, **options):
    meta = TensorMeta(torch.Size(shape), torch.empty(shape, device="meta").stride(), local.dtype)
    return DTensor(local, DTensorSpec(mesh, tuple(placements), meta, **options), requires_grad=False)


def test_another_order_of_splitting_is_refused(fake_group):
    fake_group(2, 8)
    mesh = init_device_mesh("cpu", (4, 2))
    local, placements = torch.full((2, 3), 7.0), [Shard(0), Shard(0)]
    default = with_spec(local, mesh, placements, (16, 3), shard_order=(ShardOrderEntry(0, (0, 1)),))
    assert region(default)[0] == slice(4, 6, 1)
    other = with_spec(local, mesh, placements, (16, 3), shard_order=(ShardOrderEntry(0, (1, 0)),))
    for function in (region, lambda tensor: fill_(tensor, "normal", seed=0)):
        with pytest.raises(ValueError, match=r"from the left to the right, got shard_order .*\(1, 0\)"):
            function(other)
    assert (local == 7).all()


def test_a_local_tensor_of_another_shape_is_refused(fake_group):
    fake_group(2, 8)
    mesh = init_device_mesh("cpu", (4, 2))
    local = torch.full((3, 3), 7.0)
    tensor = with_spec(local, mesh, [Shard(0), Replicate()], (16, 3))
    words = r"local tensor of shape \(4, 3\), the part of \(16, 3\) at \(1, 0\) of a mesh .*, got \(3, 3\)"
    with pytest.raises(ValueError, match=words):
        memory(tensor)
    model = torch.nn.Sequential(*(torch.nn.Linear(3, 16, bias=False) for _ in range(2)))
    torch.nn.init.zeros_(model[0].weight)
    model[1].weight = torch.nn.Parameter(tensor)
    with pytest.raises(ValueError, match=r"1\.weight \(" + "expected a " + words):
        ic.torch.initialize_(model, {"*": "normal"}, seed=0)
    assert (local == 7).all()
    assert not model[0].weight.any()
