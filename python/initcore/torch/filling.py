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
    import numpy.typing as npt

    from initcore._core import Initializer, Layout
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
        Which axes are inputs and outputs; PyTorch's (out, in, *kernel) if not given.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    torch.Tensor
        `tensor`.

    Raises
    ------
    TypeError
        `tensor` is no tensor, or one of a dtype or kind that cannot be written to (sparse, quantized, wrapped
        by a transformation of `torch.func`, ...); there is no seed.
    ValueError
        `tensor` has no memory of its own (device "meta", lazy parameters, expanded views), or shape, seed or
        initializer are wrong. Nothing is written.
    """
    initializer = get(init)
    if seed is None:
        msg = "seed must be an integer, got None"
        raise TypeError(msg)
    if type(seed) is not int:
        seed = seed_number(seed)
    local, shape, index = _memory(tensor)
    options: dict[str, Any] = {"seed": seed, "name": name, "layout": layout, "num_threads": num_threads}
    if local is not None:
        _write(local, initializer, shape, index, options)
        if local is not tensor:
            torch.autograd.graph.increment_version(tensor)
    return tensor


def has_no_memory(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor has a shape but no values: on the device "meta", or a fake one of a tracer."""
    if is_dtensor(tensor):
        tensor = tensor._local_tensor
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def is_dtensor(tensor: Any) -> bool:
    """Tell whether this is a DTensor; if their module is not loaded, it is not."""
    if type(tensor) is torch.Tensor or type(tensor) is torch.nn.Parameter:
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def _memory(tensor: Any) -> tuple[torch.Tensor | None, tuple[int, ...], Index | None]:
    """Give the tensor to write to, the shape of the whole, and which part of it that is; all checked."""
    if not isinstance(tensor, torch.Tensor):
        msg = f"expected a torch.Tensor, got {type(tensor).__name__}"
        raise TypeError(msg)
    if torch.nn.parameter.is_lazy(tensor):
        msg = "a lazy parameter has no shape yet: run the module once on data first"
        raise ValueError(msg)
    if getattr(tensor, "_is_flat_param", False):
        msg = (
            "FSDP1 has flattened this parameter, its shape is lost: fill before wrapping, or use fully_shard"
        )
        raise ValueError(msg)
    if not is_dtensor(tensor):
        _check(tensor)
        return tensor, tuple(tensor.shape), None
    from .placements import region

    index = region(tensor)
    if index is None:
        return None, tuple(tensor.shape), None
    with torch.no_grad():
        local = tensor.to_local()
    _check(local)
    return local, tuple(tensor.shape), index


def _check(tensor: torch.Tensor) -> None:
    """Refuse what cannot be written to."""
    if has_no_memory(tensor):
        kind = "fake tensor" if isinstance(tensor, FakeTensor) else "meta tensor"
        msg = f"a {kind} has no memory to fill: call module.to_empty(device=...) first"
        raise ValueError(msg)
    if tensor.dtype not in _DTYPES:
        names = ", ".join(str(dtype) for dtype in _DTYPES)
        msg = f"expected a tensor of one of {names}, got {tensor.dtype}"
        raise TypeError(msg)
    if (
        type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__
        or tensor.layout is not torch.strided
        or tensor.is_nested
        or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        or torch._is_functional_tensor(tensor)
    ):
        msg = f"expected a dense tensor with memory of its own, got {type(tensor).__name__} ({tensor.layout})"
        raise TypeError(msg)


def _write(
    tensor: torch.Tensor,
    initializer: Initializer,
    shape: tuple[int, ...],
    index: Index | None,
    options: dict[str, Any],
) -> None:
    """Write values to a tensor with memory, in place or by way of the CPU."""
    if tensor.device.type == "cpu" and not tensor.is_neg():
        initializer(shape, index=index, out=_as_array(tensor), **options)
        torch.autograd.graph.increment_version(tensor)
        return
    _check_strides(tensor)
    staged = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    initializer(shape, index=index, out=_as_array(staged), **options)
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


def _check_strides(tensor: torch.Tensor) -> None:
    """Refuse elements that share memory, where there is no array to look at; odd strides are refused too."""
    reach = 0  # how far the dimensions with smaller strides go
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and tensor.numel():
            if stride <= reach:
                shape, strides = tuple(tensor.shape), tensor.stride()
                msg = f"tensor has elements that share memory: shape {shape}, strides {strides}"
                raise ValueError(msg)
            reach += stride * (size - 1)
