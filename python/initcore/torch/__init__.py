"""Weights for PyTorch: tensors of any kind, and `torch.nn.init`, from addressed streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import torch as _torch  # noqa: F401
except ImportError:
    msg = "initcore.torch needs PyTorch: pip install 'initcore[torch]'"
    raise ImportError(msg) from None

from . import init
from .filling import fill_
from .init import *  # noqa: F403
from .modules import initialize_, plan

if TYPE_CHECKING:
    from .placements import region, region_at, regions

__all__ = ["fill_", "init", "initialize_", "plan", "region", "region_at", "regions"]
__all__ += init.__all__


def __getattr__(name: str) -> Any:
    """Load PyTorch's DTensors when they are first asked for."""
    if name in {"region", "region_at", "regions"}:
        from . import placements

        return getattr(placements, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
