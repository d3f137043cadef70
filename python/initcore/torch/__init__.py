"""Weights for PyTorch: tensors, `torch.nn.init` and whole modules from addressed streams."""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError:
    msg = "initcore.torch needs PyTorch: pip install 'initcore[torch]'"
    raise ImportError(msg) from None

from .filling import fill_

__all__ = ["fill_"]
