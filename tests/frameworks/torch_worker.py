"""What test_torch_distributed.py runs in each process: every case writes down what it found.

python -m torch.distributed.run --standalone --nproc-per-node N torch_worker.py folder
"""

import contextlib
import itertools
import json
import logging
import os
import resource
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import _StridedShard

import initcore as ic

CASES = {}


def case(*worlds):
    """Enter a generator of (name, check) pairs, or a single check, for these numbers of processes."""

    def enter(function):
        CASES[function.__name__] = (worlds, function)
        return function

    return enter


def whole_array(init, shape, dtype, **options):
    """What one process makes of the same seed."""
    name = str(dtype).removeprefix("torch.")
    array = ic.get(init)(tuple(shape), dtype=name, layout="torch", **options)
    if dtype is torch.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(dtype)
    return torch.from_numpy(array)


def same(a, b):
    assert a.shape == b.shape, (a.shape, b.shape)
    assert a.dtype == b.dtype, (a.dtype, b.dtype)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    assert torch.equal(a.detach().view(bits), b.detach().view(bits)), "other bits"


def check_dtensor(tensor, whole):
    """Both what PyTorch puts together from all processes, and what it would have given to this one."""
    same(tensor.full_tensor(), whole)
    same(tensor.to_local(), spread(whole, tensor.device_mesh, tensor.placements).to_local())


def spread(whole, mesh, placements):
    """Let PyTorch take the shard of an array that every process has."""
    return distribute_tensor(whole, mesh, placements, src_data_rank=None)


def empty(shape, mesh, placements, dtype):
    """A DTensor whose memory holds what no initializer makes."""
    return spread(torch.full(shape, 7.0, dtype=dtype), mesh, placements)


def check_placements(shapes, mesh, placements, inits=("he_normal",), dtypes=(torch.float32, torch.bfloat16)):
    for shape, init, dtype in itertools.product(shapes, inits, dtypes):
        tensor = empty(shape, mesh, placements, dtype)
        assert ic.torch.fill_(tensor, init, seed=3, name="w") is tensor
        check_dtensor(tensor, whole_array(init, shape, dtype, seed=3, name="w"))


@case(2, 3, 4)
def one_dimension():
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    strided = [_StridedShard(0, split_factor=2), _StridedShard(1, split_factor=3)]
    for placement in [Replicate(), Shard(0), Shard(1), Shard(2), *strided]:
        shapes = [(12, 12, 12), (7, 5, 3), (1, 2, 1), (0, 4, 3)]  # even, uneven, empty shards, empty
        yield (
            str(placement),
            lambda placement=placement, shapes=shapes: check_placements(shapes, mesh, [placement]),
        )
    yield (
        "whole matrices",
        lambda: check_placements(
            [(24, 10), (10, 24), (7, 4)], mesh, [Shard(0)], ["orthogonal", "sparse(0.3)"], [torch.float32]
        ),
    )
    yield (
        "every law",
        lambda: check_placements(
            [(9, 5)],
            mesh,
            [Shard(1)],
            ["zeros", "ones", "normal", "uniform", "truncated_normal", "eye", "xavier_uniform", "zero_init"],
            [torch.float32, torch.float64, torch.float16, torch.bfloat16],
        ),
    )
    yield "vectors", lambda: check_placements([(5,), (2,), (1,), (0,)], mesh, [Shard(0)], ["normal"])


@case(2, 3, 4)
def two_dimensions():
    world = dist.get_world_size()
    meshes = {4: [(2, 2)], 3: [(1, 3), (3, 1)], 2: [(2, 1), (1, 2)]}[world]
    kinds = [Replicate(), Shard(0), Shard(1), Shard(2)]
    for sizes in meshes:
        mesh = init_device_mesh("cpu", sizes)
        pairs = list(itertools.product(kinds, repeat=2))
        # what FSDP2 makes of parameters that tensor parallelism has split before
        pairs += [(_StridedShard(dim, split_factor=sizes[1]), Shard(dim)) for dim in (0, 1)]
        pairs += [
            (Shard(1), _StridedShard(0, split_factor=2)),
            (_StridedShard(0, split_factor=3), Replicate()),
        ]
        for pair in pairs:
            yield (
                f"{sizes} {pair[0]} {pair[1]}",
                lambda mesh=mesh, pair=pair: check_placements([(8, 8, 4), (7, 5, 3), (1, 3, 2)], mesh, pair),
            )


def peak_memory():
    """The most that this process has held, in bytes."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Net(nn.Module):
    def __init__(self, width=13, dtype=None):
        super().__init__()
        self.up = nn.Linear(9, width, dtype=dtype)
        self.down = nn.Linear(width, 6, dtype=dtype)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


def fill_net(net):
    for name, parameter in net.named_parameters():
        init = "he_normal" if name.endswith("weight") else "uniform(-0.1, 0.1)"
        ic.torch.fill_(parameter, init, seed=5, name=name)


def check_net(net, dtype):
    for name, parameter in net.named_parameters():
        assert isinstance(parameter, DTensor), name
        init = "he_normal" if name.endswith("weight") else "uniform(-0.1, 0.1)"
        whole = whole_array(init, parameter.shape, dtype, seed=5, name=name)
        full = parameter.full_tensor()
        same(full, whole)


def meta_net(dtype, width=13):
    with torch.device("meta"):
        return Net(width, dtype)


def train_a_step(net, dtype):
    """What was filled is what the network computes with, and autograd knows nothing of it."""
    for parameter in net.parameters():
        assert parameter.is_leaf
        assert parameter.requires_grad
    x = torch.linspace(-1, 1, 36, dtype=dtype).view(4, 9)
    loss = net(x).float().square().sum()
    loss.backward()
    single = Net(net.up.weight.shape[0], dtype)
    fill_net(single)
    torch.testing.assert_close(single(x).float().square().sum(), loss, rtol=2e-2, atol=1e-6)


@case(2, 3, 4)
def fsdp2():
    def run(dtype, **options):
        net = meta_net(dtype)
        fully_shard(net.up, **options)
        fully_shard(net, **options)
        net.to_empty(device="cpu")
        fill_net(net)
        check_net(net, dtype)
        train_a_step(net, dtype)

    for dtype in [torch.float32, torch.bfloat16]:
        yield f"plain {dtype}", lambda dtype=dtype: run(dtype)
        yield (
            f"offloaded {dtype}",
            lambda dtype=dtype: run(dtype, offload_policy=CPUOffloadPolicy(pin_memory=False)),
        )
    yield "mixed precision", lambda: run(torch.float32, mp_policy=MixedPrecisionPolicy(torch.bfloat16))

    def by_columns():
        net = nn.Sequential(nn.Linear(12, 7, device="meta"))  # FSDP2 splits columns evenly only
        fully_shard(net, shard_placement_fn=lambda parameter: Shard(1) if parameter.ndim == 2 else Shard(0))
        net.to_empty(device="cpu")
        ic.torch.fill_(net[0].weight, "he_normal", seed=5)
        assert net[0].weight.placements == (Shard(1),)
        same(net[0].weight.full_tensor(), whole_array("he_normal", (7, 12), torch.float32, seed=5))

    yield "by columns", by_columns


@case(4)
def fsdp2_with_tp():
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))

    def run(dtype, width):
        net = meta_net(dtype, width)
        parallelize_module(net, mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
        fully_shard(net, mesh=mesh["dp"])
        kinds = {type(placement).__name__ for p in net.parameters() for placement in p.placements}
        assert "_StridedShard" in kinds, kinds
        net.to_empty(device="cpu")
        fill_net(net)
        check_net(net, dtype)

    for dtype in [torch.float32, torch.bfloat16]:
        for width in [16, 14]:
            yield f"{dtype} {width}", lambda dtype=dtype, width=width: run(dtype, width)


@case(2, 4)
def hsdp():
    world = dist.get_world_size()
    mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("replicate", "shard"))

    def run(dtype):
        net = meta_net(dtype)
        fully_shard(net, mesh=mesh)
        net.to_empty(device="cpu")
        fill_net(net)
        check_net(net, dtype)
        train_a_step(net, dtype)

    for dtype in [torch.float32, torch.bfloat16]:
        yield str(dtype), lambda dtype=dtype: run(dtype)


class Tied(nn.Module):
    """An embedding that is the output layer too, a grouped convolution, normalization."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.mix = nn.Conv1d(8, 12, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm1d(12)
        self.up = nn.Linear(12, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        x = torch.relu(self.norm(self.mix(self.table(tokens).transpose(1, 2))))
        return self.head(torch.tanh(self.up(x.transpose(1, 2))))


@case(2, 3, 4)
def whole_modules():
    """What `initialize_` makes of a model in parts is what it makes of the whole."""

    def run(rules, split):
        with torch.device("meta"):
            net = Tied()
        split(net)
        net.to_empty(device="cpu")
        net.head.weight = net.table.weight  # to_empty unties
        report = ic.torch.initialize_(net, rules, seed=6)
        single = Tied()
        assert ic.torch.initialize_(single, rules, seed=6).parameters == report.parameters
        assert report.parameters["table.weight"].tied == ("head.weight",)
        assert report.parameters["mix.weight"].plan.fan_in == 12
        wholes = dict(single.named_parameters())
        for name, parameter in net.named_parameters():
            assert isinstance(parameter, DTensor), name
            same(parameter.full_tensor(), wholes[name])

    def layers(net):
        for layer in (net.mix, net.norm, net.up, net):
            fully_shard(layer)

    def replicas(net):
        mesh = init_device_mesh("cpu", (2, dist.get_world_size() // 2), mesh_dim_names=("dp", "tp"))
        parallelize_module(net, mesh["tp"], {"up": ColwiseParallel()})
        fully_shard(net, mesh=mesh["dp"])

    rules = {"table.weight": "normal(0.02)", "*.bias": "uniform(-0.1, 0.1)", "*": "auto"}
    for split in [layers, replicas] if dist.get_world_size() == 4 else [layers]:
        yield f"auto, {split.__name__}", lambda split=split: run("auto", split)
        yield f"rules, {split.__name__}", lambda split=split: run(rules, split)


@case(2, 3, 4)
def without_a_seed():
    """The processes' generators differ, the tensors do not: the seed is that of coordinate 0."""
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    word = torch.empty((), dtype=torch.int64).random_(-(2**63), None)
    seed = int(word) % 2**64

    def run(mesh, placements):
        torch.manual_seed(rank)
        tensor = empty((7, 5), mesh, placements, torch.float32)
        ic.torch.init.kaiming_normal_(tensor, nonlinearity="relu", name="w")
        check_dtensor(tensor, whole_array("he_normal", (7, 5), torch.float32, seed=seed, name="w"))
        first = tensor.full_tensor().clone()
        ic.torch.init.kaiming_normal_(tensor, nonlinearity="relu", name="w")
        assert not torch.equal(first, tensor.full_tensor())  # each call a new one

    line = init_device_mesh("cpu", (world,))
    yield "one dimension", lambda: [run(line, [placement]) for placement in (Replicate(), Shard(0))]
    if world == 4:
        square = init_device_mesh("cpu", (2, 2))
        yield "two dimensions", lambda: run(square, [Shard(1), Replicate()])

    def from_a_generator():
        tensor = empty((7, 5), line, [Shard(0)], torch.float32)
        ic.torch.init.normal_(tensor, generator=torch.Generator().manual_seed(rank))
        check_dtensor(tensor, whole_array("normal", (7, 5), torch.float32, seed=seed))

    yield "a generator", from_a_generator

    def nothing_is_drawn():
        torch.manual_seed(rank)
        before = torch.get_rng_state()
        tensor = empty((7, 5), line, [Shard(0)], torch.float32)
        check_dtensor(ic.torch.init.eye_(tensor), torch.eye(7, 5))
        assert torch.equal(before, torch.get_rng_state())

    yield "constants", nothing_is_drawn


@case(2, 3, 4)
def memory():
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))

    def only_the_shard_is_written():
        shape = (7, 5)
        like = empty(shape, mesh, [Shard(0)], torch.float32).to_local()
        buffer = torch.full((like.numel() + 32,), -1.0)
        local = buffer[16 : 16 + like.numel()].view(like.shape)
        tensor = DTensor.from_local(local, mesh, [Shard(0)], shape=shape, stride=(5, 1), run_check=False)
        version = tensor._version, local._version
        ic.torch.fill_(tensor, "he_normal", seed=1)
        check_dtensor(tensor, whole_array("he_normal", shape, torch.float32, seed=1))
        assert (buffer[:16] == -1).all()
        assert (buffer[16 + like.numel() :] == -1).all()
        assert tensor._version > version[0]
        assert local._version > version[1]

    yield "only the shard is written", only_the_shard_is_written

    def nothing_is_allocated():
        tensor = empty((2**10 * dist.get_world_size(), 2**13), mesh, [Shard(0)], torch.float32)  # 32 MB here
        ic.torch.fill_(tensor, "normal", seed=0)  # starts the threads
        with contextlib.suppress(OSError):  # Linux forgets the peak so far
            Path("/proc/self/clear_refs").write_text("5")
        before = peak_memory()
        ic.torch.fill_(tensor, "normal", seed=1)
        assert peak_memory() - before < 2**23, (before, peak_memory())

    yield "nothing is allocated", nothing_is_allocated


@case(2, 3, 4)
def refusals():
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))

    def refuses(error, words, tensor, **options):
        before = tensor.to_local().clone()
        with pytest.raises(error, match=words):
            ic.torch.fill_(tensor, **({"init": "he_normal", "seed": 0} | options))
        assert torch.equal(before, tensor.to_local())

    local = torch.full((4, 4), 7.0)
    yield (
        "Partial",
        lambda: refuses(
            ValueError, r"Partial\(sum\)", DTensor.from_local(local, mesh, [Partial()], run_check=False)
        ),
    )
    yield (
        "no seed",
        lambda: refuses(TypeError, "seed", empty((4, 4), mesh, [Shard(0)], torch.float32), seed=None),
    )
    yield "dtype", lambda: refuses(TypeError, "int32", empty((4, 4), mesh, [Shard(0)], torch.int32))

    def another_shape():
        wrong = DTensor.from_local(local, mesh, [Shard(0)], shape=(99, 4), stride=(4, 1), run_check=False)
        refuses(ValueError, r"\(4, 4\)", wrong)

    yield "a shard of another shape", another_shape

    def meta():
        net = meta_net(torch.float32)
        fully_shard(net)
        with pytest.raises(ValueError, match="to_empty"):
            ic.torch.fill_(net.up.weight, "he_normal", seed=0)
        assert ic.torch.init.kaiming_normal_(net.up.weight) is net.up.weight

    yield "meta", meta


@case(3)
def outside_of_the_mesh():
    from torch.distributed.device_mesh import DeviceMesh

    mesh = DeviceMesh("cpu", [0, 1])

    def run():
        like = distribute_tensor(torch.full((6, 4), 7.0), mesh, [Shard(0)])
        torch.manual_seed(dist.get_rank())
        ic.torch.fill_(like, "he_normal", seed=2)
        if dist.get_rank() < 2:
            same(like.full_tensor(), whole_array("he_normal", (6, 4), torch.float32, seed=2))
        ic.torch.init.normal_(like)

    yield "no part", run


@case(2, 3, 4)
def pipeline():
    """Each process builds the layers of its own stage, under their names in the whole network."""

    def run():
        rank, world = dist.get_rank(), dist.get_world_size()
        mine = {}
        for layer in range(rank, 6, world):
            for name, parameter in nn.Linear(5, 4).named_parameters():
                ic.torch.fill_(parameter, "normal(0.02)", seed=9, name=f"layers.{layer}.{name}")
                mine[f"layers.{layer}.{name}"] = parameter.detach()
        everyone = [None] * world
        dist.all_gather_object(everyone, mine)
        found = {name: tensor for part in everyone for name, tensor in part.items()}
        assert len(found) == 12
        for name, tensor in found.items():
            same(tensor, whole_array("normal(0.02)", tensor.shape, torch.float32, seed=9, name=name))

    yield "stages", run


def run_cases(world):
    """Run what is there for a number of processes; give what went wrong in any of them, by case."""
    results = {}
    for function_name, (worlds, function) in CASES.items():
        for name, check in function() if world in worlds else ():
            try:
                check()
                found = None
            except Exception:  # noqa: BLE001  what happened is the result
                found = traceback.format_exc()
            everyone = [None] * world
            dist.all_gather_object(everyone, found)
            wrong = [f"rank {rank}: {text}" for rank, text in enumerate(everyone) if text]
            results[f"{function_name}: {name}"] = "\n".join(wrong)
    return results


def main(folder):
    rank, most = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    for world in range(most, 1, -1):  # one start for all numbers of processes: loading PyTorch takes longest
        if rank >= world:
            break
        dist.init_process_group("gloo", init_method=f"file://{folder}/{world}", rank=rank, world_size=world)
        results = run_cases(world)
        if rank == 0:
            (folder / f"{world}.json").write_text(json.dumps(results, indent=1))
        dist.destroy_process_group()


if __name__ == "__main__":
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)  # slow, it says
    main(Path(sys.argv[1]).absolute())
