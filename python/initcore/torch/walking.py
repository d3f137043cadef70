"""From a module to its parameters and buffers: each once, under the name that it has without any wrapper.

A wrapper (of `torch.compile`, data parallelism, checkpointing) holds the module it wraps under an attribute
of its own, which would be a piece of every name. Wrappers are known by their class, never by the attribute: a
module of the user's may well be called "module".
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from initcore.arrays import expect
from initcore.params import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The class of a wrapper, by module and name, and the attribute it holds the wrapped module under. A class
#: whose module has not been loaded has no instances, so none is loaded for the question.
_WRAPPERS = (
    ("torch._dynamo.eval_frame", "OptimizedModule", "_orig_mod"),
    ("torch.nn.parallel.distributed", "DistributedDataParallel", "module"),
    ("torch.nn.parallel.data_parallel", "DataParallel", "module"),
    (
        "torch.distributed.fsdp.fully_sharded_data_parallel",
        "FullyShardedDataParallel",
        "_fsdp_wrapped_module",
    ),
    (
        "torch.distributed.algorithms._checkpoint.checkpoint_wrapper",
        "ActivationWrapper",
        "_checkpoint_wrapped_module",
    ),
)

#: What takes the names of a part of a model to those of the whole.
Names: TypeAlias = "Callable[[str], str] | Mapping[str | nn.Module, str]"


@dataclass
class Place:
    """A parameter, and where it stands in the module.

    Attributes
    ----------
    tensor : torch.nn.Parameter
    name : str
        Its full name: of the places that share it, the first in the order of registration.
    owners : list of (module, attribute)
        The modules that hold it.
    others : list of str
        Its names in the other places.
    parametrizes : (module, attribute), optional
        What `torch.nn.utils.parametrize` computes from it.
    """

    tensor: Any
    name: str
    owners: list[tuple[nn.Module, str]]
    others: list[str] = field(default_factory=list)
    parametrizes: tuple[nn.Module, str] | None = None


@dataclass(frozen=True)
class Buffer:
    """A buffer: its full name, its module and attribute there, and whether checkpoints have it."""

    tensor: Any
    name: str
    owner: nn.Module
    attribute: str
    persistent: bool


def unwrap(module: nn.Module) -> nn.Module:
    """Give the module inside all wrappers."""
    while (attribute := _held_under(module)) is not None:
        module = module._modules[attribute]
    return module


def places(module: nn.Module, names: Names | None = None) -> list[Place]:
    """Give the parameters of a module in the order of registration, each once.

    Raises
    ------
    ValueError
        A parameter has no shape of its own (lazy, or flattened by FSDP1), or `names` do not fit.
    TypeError
        An argument is not as described.
    """
    expect(module, nn.Module, "module")
    rename = _renaming(module, names)
    flattened: list[str] = []
    lazy: list[str] = []
    found: dict[object, Place] = {}
    computed: dict[nn.Module, tuple[nn.Module, str]] = {}  # from the parameters of which module, and what
    for path, owner in _walk(module):
        if is_parametrized(owner):
            computed |= {originals: (owner, name) for name, originals in owner.parametrizations.items()}
        if _held_under(owner) == "_fsdp_wrapped_module" and getattr(owner, "_handle", None) is not None:
            flattened.append(path or type(unwrap(owner)).__name__)
        for attribute, tensor in owner._parameters.items():
            name = _join(path, attribute)
            if tensor is None:
                continue
            if nn.parameter.is_lazy(tensor):
                lazy.append(name)
                continue
            place = found.setdefault(_memory(tensor), Place(tensor, name, [], [], computed.get(owner)))
            place.owners.append((owner, attribute))
            if name != place.name and name not in place.others:
                place.others.append(name)
    refuse(
        "modules whose parameters FSDP1 has flattened, so that their shapes are lost; initialize before "
        "wrapping, or shard with torch.distributed.fsdp.fully_shard",
        flattened,
    )
    refuse("lazy parameters, which have no shape yet; run the module once on data first", lazy)
    for place in found.values():
        place.name, place.others = rename(place.name), [rename(name) for name in place.others]
    return list(found.values())


def buffers(module: nn.Module, names: Names | None = None) -> list[Buffer]:
    """Give the buffers of a module in the order of registration, each once."""
    rename = _renaming(module, names)
    found: dict[int, Buffer] = {}
    for path, owner in _walk(module):
        for attribute, tensor in owner._buffers.items():
            if tensor is not None:
                persistent = attribute not in owner._non_persistent_buffers_set
                name = rename(_join(path, attribute))
                found.setdefault(id(tensor), Buffer(tensor, name, owner, attribute, persistent))
    return list(found.values())


def _walk(
    module: nn.Module, path: str = "", above: tuple[nn.Module, ...] = ()
) -> Iterator[tuple[str, nn.Module]]:
    """Go through all modules, parents first, with their names; a shared one comes by each of its names."""
    if module in above:  # a module within itself
        return
    yield path, module
    held = _held_under(module)
    for attribute, child in module._modules.items():
        if child is not None:
            yield from _walk(child, path if attribute == held else _join(path, attribute), (*above, module))


def _held_under(module: nn.Module) -> str | None:
    """Give the attribute under which a wrapper holds what it wraps; None for all other modules."""
    for where, name, attribute in _WRAPPERS:
        wrapper = getattr(sys.modules.get(where), name, None)
        if wrapper is not None and isinstance(module, wrapper):
            return attribute
    return None


def _memory(tensor: Any) -> object:
    """Give what is the same for two parameters if, and only if, they are the same numbers."""
    plain = type(tensor).__torch_dispatch__ is nn.Parameter.__torch_dispatch__
    if not plain or tensor.is_meta or not tensor.numel():
        return id(tensor)
    try:
        storage = tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse, quantized, fake: refused later, by name
        return id(tensor)
    return storage, tensor.device, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def _renaming(module: nn.Module, names: Names | None) -> Callable[[str], str]:
    """Make a function of local names, which gives full ones, of what users give for it."""
    if names is None:
        return lambda name: name
    if isinstance(names, Mapping):
        return _by_prefix(_prefixes(module, names))
    if not callable(names):
        msg = f"names must be a function of a name or a mapping of prefixes, got {type(names).__name__}"
        raise TypeError(msg)

    def rename(name: str) -> str:
        full = names(name)
        expect(full, str, f"what names gives for {name}")
        return full

    return rename


def _prefixes(module: nn.Module, names: Mapping[str | nn.Module, str]) -> dict[str, str]:
    """Check a mapping of local prefixes or modules to full prefixes; give it with prefixes alone."""
    paths: dict[int, str] = {}
    for path, owner in _walk(module):
        paths.setdefault(id(owner), path)
    known = {
        "",
        *paths.values(),
        *(_join(path, attribute) for path, owner in _walk(module) for attribute in owner._parameters),
    }
    prefixes = {}
    for key, value in names.items():
        expect(value, str, f"the name of {key if isinstance(key, str) else type(key).__name__}")
        prefix = key if isinstance(key, str) else paths.get(id(key))
        if prefix not in known:
            what = repr(key) if isinstance(key, str) else f"a {type(key).__name__}"
            msg = f"names has {what}, which is no part of the module"
            raise ValueError(msg)
        prefixes[prefix] = value
    return prefixes


def _by_prefix(prefixes: dict[str, str]) -> Callable[[str], str]:
    def rename(name: str) -> str:
        pieces = name.split(".")
        for count in range(len(pieces), -1, -1):  # the longest prefix first
            full = prefixes.get(".".join(pieces[:count]))
            if full is not None:
                return _join(full, ".".join(pieces[count:]))
        return name

    return rename


def _join(*pieces: str) -> str:
    return ".".join(piece for piece in pieces if piece)
