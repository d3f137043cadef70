"""One measurement of `model_table.py`: draws a Llama-style model, or one rank's part of it; prints JSON.

A process measures twice: into memory that the system has not given yet, as in a program that starts, and
again. It says when it is ready, and begins when it is told to, so that several can begin together.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable

import torch
import transformers
from torch import Tensor, nn

import peers

# TinyLlama: 1 100 048 384 parameters.
MODEL = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
}
STD = 0.02  # of transformers, for every matrix; norms are ones
RULES = {"*norm.weight": "ones", "*": f"normal({STD})"}


def model(layers: int, device: str = "meta") -> nn.Module:
    """Build the model; on the CPU its constructors draw all weights, on the meta device it has no memory."""
    config = transformers.LlamaConfig(**(MODEL | {"num_hidden_layers": layers}))
    with torch.device(device):
        return transformers.LlamaForCausalLM(config)


def initcore(module: nn.Module, threads: int) -> None:
    """Draw by name."""
    import initcore as ic

    ic.torch.initialize_(module, RULES, seed=0, num_threads=threads)


def each(fill: Callable[[Tensor], object]) -> Callable[[nn.Module, int], None]:
    """Fill matrix after matrix, and the norms with ones."""

    def run(module: nn.Module, threads: int) -> None:
        torch.set_num_threads(threads)
        for parameter in module.parameters():
            local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
            with torch.no_grad():
                if parameter.ndim == 1:
                    local.fill_(1.0)
                else:
                    fill(parameter)

    return run


def whole_then_slice(parameter: Tensor) -> None:
    """Draw the whole of a sharded parameter and keep one's part, as one must where values have no address."""
    whole = torch.empty(parameter.shape, dtype=parameter.dtype).normal_(0.0, STD)
    begin = -(-len(whole) // parameter.device_mesh.size()) * parameter.device_mesh.get_rank()
    local = parameter.to_local()
    local.copy_(whole[begin : begin + len(local)])


def anyinit(module: nn.Module, threads: int) -> None:
    """Draw as anyinit does; it has no setting for threads."""
    import anyinit

    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anyinit.initialize(module, seed=0)


def built(module: nn.Module, threads: int) -> None:
    """Build the model anew, which draws it."""
    torch.set_num_threads(threads)
    model(len(module.model.layers), "cpu")


METHODS: dict[str, Callable[[nn.Module, int], None]] = {
    "initcore": initcore,
    "normal_": each(lambda p: nn.init.normal_(p, 0.0, STD)),
    "trunc_normal_": each(lambda p: nn.init.trunc_normal_(p, 0.0, STD)),
    "kaiming_uniform_": each(lambda p: nn.init.kaiming_uniform_(p, 5**0.5)),
    "whole, then slice": each(whole_then_slice),
    "anyinit": anyinit,
    "built on the CPU": built,
}


def shard(module: nn.Module, ranks: int, rank: int) -> None:
    """Give each layer to FSDP2, as torchtitan does, in a group whose other processes are not there."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=ranks)
    mesh = init_device_mesh("cpu", (ranks,))
    for layer in module.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--layers", type=int, default=MODEL["num_hidden_layers"])
    options = parser.parse_args()
    torch.set_default_dtype(getattr(torch, options.dtype))
    module = model(options.layers)
    if options.ranks > 1:
        shard(module, options.ranks, options.rank)
    if options.method == "initcore":  # what a first call loads is not the model's
        import initcore as ic

        ic.torch.initialize_(nn.Linear(2, 2), {"*": "normal"})
    if options.method != "built on the CPU":
        module.to_empty(device="cpu")
    print("ready", flush=True)
    input()
    seconds = []

    def run() -> None:
        begin = time.perf_counter()
        METHODS[options.method](module, options.threads)
        seconds.append(time.perf_counter() - begin)

    growth = peers.peak_growth(run)
    run()
    local = [p.to_local() if hasattr(p, "to_local") else p for p in module.parameters()]
    nbytes = sum(p.numel() * p.element_size() for p in local)
    print(json.dumps({"fresh": seconds[0], "again": seconds[1], "growth": growth, "nbytes": nbytes}))
    if not module.lm_head.weight.is_meta and options.method not in {"anyinit", "kaiming_uniform_"}:
        spread = next(p for p in local if p.ndim == 2)[:1000].float().std().item()
        if abs(spread / STD - 1) > 0.01:
            raise ValueError(f"{options.method}: standard deviation {spread}, expected {STD}")


if __name__ == "__main__":
    main()
