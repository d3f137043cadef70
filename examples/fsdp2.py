"""Weights made where they live: FSDP2 splits a model on the device "meta", each process fills its part.

    python -m torch.distributed.run --standalone --nproc-per-node 2 examples/fsdp2.py

No process ever holds the whole, but to compare here: any number of processes prints the same checksum.
"""

import hashlib

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import initcore as ic


def build() -> nn.Module:
    """Layers of odd sizes, so that the parts are uneven."""
    return nn.Sequential(nn.Linear(784, 301), nn.ReLU(), nn.Linear(301, 77), nn.ReLU(), nn.Linear(77, 10))


def fill(model: nn.Module, seed: int) -> None:
    """Give every parameter its values: they depend on the seed and its name alone."""
    for name, parameter in model.named_parameters():
        init = "he_normal" if name.endswith("weight") else "zeros"
        ic.torch.fill_(parameter, init, seed=seed, name=name)


def checksum(parameters: dict[str, torch.Tensor]) -> str:
    """Hash names and values."""
    digest = hashlib.sha256()
    for name, values in sorted(parameters.items()):
        digest.update(name.encode())
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    dist.init_process_group("gloo")
    with torch.device("meta"):
        model = build()
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    model.to_empty(device="cpu")
    fill(model, seed=0)

    held = sum(parameter.to_local().numel() for parameter in model.parameters())
    whole = {name: parameter.detach().full_tensor() for name, parameter in model.named_parameters()}
    size = sum(values.numel() for values in whole.values())
    print(f"process {dist.get_rank()} of {dist.get_world_size()} filled {held} of {size} values")
    dist.barrier()
    if dist.get_rank() == 0:
        print(f"together: {checksum(whole)}")
        single = build()
        fill(single, seed=0)
        print(f"alone:    {checksum(dict(single.state_dict()))}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
