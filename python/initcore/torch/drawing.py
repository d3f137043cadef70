"""What the functions of init.py share: seeds from generators, what PyTorch's users catch, documentation."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import torch

from .filling import fill_, has_no_memory, is_dtensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from initcore._core import Initializer, Layout
    from initcore.arrays import Seed

    Generator = Any  # torch.Generator


class Options(TypedDict, total=False):
    """The keywords that PyTorch's functions do not have."""

    seed: Seed
    name: str | None
    num_threads: int | None


F = TypeVar("F", bound="Callable[..., Any]")

_KEYWORDS = """    generator : torch.Generator, optional
        Gives the seed, if there is none; that of the CPU if not given, which `torch.manual_seed` sets.
    seed : int in [0, 2**64) or numpy.random.SeedSequence, optional
        The same seed and name give the same values. Without it, each call draws one of 64 bits; processes
        that share a DTensor take that of the first of them, so all of them have to make the call.
    name : str, optional
        The parameter's name, its address under the seed.
    num_threads : int, optional
        At most this many threads; values never depend on it.

    Returns
    -------
    torch.Tensor
        `tensor`. One without memory (device "meta", fake tensors) is returned as it is.

    Raises
    ------
    TypeError, ValueError
        As in `fill_`; a ValueError is a RuntimeError too, as it often is in PyTorch. Nothing is written.
    """


class InitError(ValueError, RuntimeError):
    """Wrong arguments: a ValueError as in all of this library, and what PyTorch raises for most of them."""


def draw(
    tensor: Any,
    init: Initializer,
    generator: Generator | None = None,
    *,
    layout: str | Layout = "torch",
    drawn: bool = True,
    seed: Seed = None,
    name: str | None = None,
    num_threads: int | None = None,
) -> Any:
    """Fill a tensor with the values of a given seed, or of one that is drawn now."""
    if seed is not None and generator is not None:
        msg = "give a seed or a generator, not both"
        raise ValueError(msg)
    if isinstance(tensor, torch.Tensor) and has_no_memory(tensor):
        init.std(tuple(tensor.shape), layout=layout)  # what is wrong is wrong there too
        return tensor
    if seed is None:
        seed = _draw_seed(tensor, generator) if drawn else 0
    return fill_(tensor, init, seed=seed, name=name, layout=layout, num_threads=num_threads)


def _draw_seed(tensor: Any, generator: Generator | None) -> int:
    """Draw 64 bits from a generator; those of the first process of a DTensor's mesh, on all of them."""
    device = getattr(generator, "device", "cpu")
    word = torch.empty((), dtype=torch.int64, device=device).random_(-(2**63), None, generator=generator)
    if is_dtensor(tensor) and tensor.device_mesh.get_coordinate() is not None:
        mesh = tensor.device_mesh
        word = word.to(mesh.device_type)
        for dim in range(mesh.ndim):  # from coordinate 0 along the first dimension, then along the next
            group = mesh.get_group(dim)
            torch.distributed.broadcast(word, torch.distributed.get_global_rank(group, 0), group)
    return int(word.item()) % 2**64


def initializes(function: F) -> F:
    """Write out the keywords in signature and documentation; raise what PyTorch's users catch."""

    @functools.wraps(function)
    def initialize(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise InitError(*error.args) from None

    signature = inspect.signature(function)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]
    more = [inspect.signature(draw).parameters[keyword] for keyword in Options.__annotations__]
    initialize.__signature__ = signature.replace(parameters=own + more)  # type: ignore[attr-defined]
    keywords = _KEYWORDS if "generator" in signature.parameters else _KEYWORDS[_KEYWORDS.index("    seed") :]
    initialize.__doc__ = (function.__doc__ or "").replace("    ...\n", keywords)
    return initialize  # type: ignore[return-value]
