"""The one place that writes into tensors: `fill_`, for any initializer and any tensor that has memory.

The initializers write into NumPy arrays, and a tensor on the CPU is seen as one, without a copy. What cannot
be seen so (another device) is made on the CPU and copied. Of a DTensor, only the local part is made.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from initcore.arrays import seed_number
from initcore.initializers import get

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from initcore._core import Layout
    from initcore.arrays import Seed
    from initcore.initializers import Index, InitLike

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def fill_(
    tensor: Any,
    init: InitLike,
    *,
    seed: Seed,
    name: str | None = None,
    layout: str | Layout = "torch",
    num_threads: int | None = None,
) -> Any:
    """Fill a tensor with the values of an initializer, in place.

    Values are those of ``initcore.get(init)(tensor.shape, seed=seed, name=name, ...)``, bit for bit, whatever
    the strides, the device and the number of processes.

    Parameters
    ----------
    tensor : torch.Tensor
        Of dtype float32, float64, float16 or bfloat16 and any strides. Autograd records nothing; the version
        counter rises. On a device other than the CPU, values are made on the CPU and copied. Of a DTensor,
        each process fills its own shard; shape, fans and values are those of the whole.
    init : str, Initializer or function
        What `initcore.get` takes.
    seed : int in [0, 2**64) or numpy.random.SeedSequence
        The same on every process that holds a part of the tensor.
    name : str, optional
        The parameter's name, its address under the seed.
    layout : str or Layout
        Which axes are inputs and outputs; PyTorch's ``(out, in, *kernel)`` if not given.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    torch.Tensor
        `tensor`.

    Raises
    ------
    TypeError
        `tensor` is no tensor, or one of another dtype or kind (sparse, nested, transformed by `torch.func`,
        a subclass that wraps others); there is no seed.
    ValueError
        `tensor` has no memory (on the device "meta", lazy) or elements that share it (expanded), a placement
        is Partial, a shard has another shape than its placements give, or shape, seed or initializer are
        wrong. Nothing is written.

    Examples
    --------
    >>> weight = torch.empty(256, 784)
    >>> ic.torch.fill_(weight, "he_normal", seed=0, name="fc1.weight")
    """
    initializer = get(init)
    if seed is None:
        msg = "seed must be an integer, got None"
        raise TypeError(msg)
    if type(seed) is not int:
        seed = seed_number(seed)
    local, index = memory(tensor)
    if local is not None:

        def write(out: npt.NDArray[Any]) -> None:
            initializer(
                tuple(tensor.shape),
                seed=seed,
                name=name,
                index=index,
                layout=layout,
                out=out,
                num_threads=num_threads,
            )

        _write(local, write)
        if local is not tensor:
            torch.autograd.graph.increment_version(tensor)
    return tensor


def has_no_memory(tensor: Any) -> bool:
    """Tell whether a tensor has a shape but no values: on the device "meta", or a fake one of a tracer."""
    if is_dtensor(tensor):
        tensor = tensor._local_tensor
    return bool(tensor.is_meta) or isinstance(tensor, FakeTensor)


def is_dtensor(tensor: Any) -> bool:
    """Tell whether this is a DTensor; where their module is not loaded, there are none."""
    if _is_plain(tensor):
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def _is_plain(tensor: Any) -> bool:
    """Tell at once what nearly all tensors are."""
    return type(tensor) is torch.Tensor or type(tensor) is torch.nn.Parameter


def memory(tensor: Any) -> tuple[torch.Tensor | None, Index | None]:
    """Give the tensor whose memory is to be written, checked, and which part of the whole that is."""
    if not is_dtensor(tensor):
        _check(tensor)
        return tensor, None
    from .placements import region, shape_of

    index = region(tensor)
    if index is None:
        return None, None
    with torch.no_grad():
        local = tensor.to_local()
    _check(local)
    if shape_of(index) != tuple(local.shape):
        mesh = tensor.device_mesh
        msg = (
            f"expected a local tensor of shape {shape_of(index)}, the part of {tuple(tensor.shape)} at "
            f"{tuple(mesh.get_coordinate())} of a mesh of shape {tuple(mesh.shape)} "
            f"with placements {tensor.placements}, got {tuple(local.shape)}"
        )
        raise ValueError(msg)
    return local, index


def _check(tensor: Any) -> None:
    """Refuse what cannot be written to."""
    if not _is_plain(tensor):
        _check_class(tensor)
    if getattr(tensor, "_is_flat_param", False):
        msg = "FSDP1 has flattened this parameter, its shape is lost: fill before, or use fully_shard"
        raise ValueError(msg)
    if tensor.is_meta:
        msg = "a tensor on the device 'meta' has no memory to fill: call module.to_empty(device=...) first"
        raise ValueError(msg)
    if tensor.dtype not in _DTYPES:
        names = ", ".join(map(str, _DTYPES))
        msg = f"expected a tensor of one of the dtypes {names}, got {tensor.dtype}"
        raise TypeError(msg)
    if tensor.layout is not torch.strided or tensor.is_nested:
        kind = "nested" if tensor.is_nested else str(tensor.layout)
        msg = f"expected a dense tensor, got one that is {kind}"
        raise TypeError(msg)
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor) or torch._is_functional_tensor(tensor):
        msg = "a tensor that torch.func transforms has no memory of its own: fill it before, or after"
        raise TypeError(msg)


def _check_class(tensor: Any) -> None:
    """Refuse what is no tensor, and the subclasses that have no memory of their own."""
    if not isinstance(tensor, torch.Tensor):
        msg = f"expected a torch.Tensor, got {type(tensor).__name__}"
        raise TypeError(msg)
    if torch.nn.parameter.is_lazy(tensor):
        msg = "a lazy parameter has no shape yet: run its module on data first"
        raise ValueError(msg)
    if isinstance(tensor, FakeTensor):
        msg = "a FakeTensor has no memory to fill: leave the FakeTensorMode first"
        raise ValueError(msg)
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        msg = f"expected a tensor with memory of its own, got {type(tensor).__name__}, which wraps others"
        raise TypeError(msg)


def _write(tensor: torch.Tensor, write: Callable[[npt.NDArray[Any]], None]) -> None:
    """Let values be written to the memory of a tensor, or to the CPU's and copied."""
    if tensor.is_cpu and not tensor.is_neg():
        write(_as_array(tensor))
        torch.autograd.graph.increment_version(tensor)
        return
    check_strides(tensor)
    staged = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    write(_as_array(staged))
    with torch.no_grad():
        tensor.copy_(staged)


def _as_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """See the memory of a tensor on the CPU as an array."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dtype is torch.bfloat16:
        bits: npt.NDArray[Any] = tensor.view(torch.int16).numpy()
        return bits.view(_bfloat16())
    array: npt.NDArray[Any] = tensor.numpy()
    return array


def _bfloat16() -> np.dtype[Any]:
    """Give the dtype that NumPy has from a package of its own."""
    try:
        import ml_dtypes
    except ImportError:
        msg = "bfloat16 needs ml_dtypes: pip install 'initcore[torch]'"
        raise ImportError(msg) from None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def check_strides(tensor: torch.Tensor) -> None:
    """Refuse elements that share memory, where there is no array to look at; odd strides are refused too."""
    reach = 0  # how far the dimensions with smaller strides go
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and tensor.numel():
            if stride <= reach:
                shape, strides = tuple(tensor.shape), tensor.stride()
                msg = f"tensor has elements that share memory: shape {shape}, strides {strides}"
                raise ValueError(msg)
            reach += stride * (size - 1)
