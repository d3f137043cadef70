"""JAX: initializers that take keys, global arrays made shard by shard, whole trees of parameters.

Nothing is sampled here. Host memory is filled by the core and handed to JAX, which on a CPU takes it without
a copy.
"""

from __future__ import annotations

try:
    import jax as _jax  # noqa: F401
except ImportError:
    msg = "initcore.jax needs JAX: pip install 'initcore[jax]'"
    raise ImportError(msg) from None

from .arrays import make_array
from .initializers import (
    KeyedInitializer,
    constant,
    delta_orthogonal,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    initializer,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    orthogonal,
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from .trees import make_tree

__all__ = [
    "KeyedInitializer",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "initializer",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "make_array",
    "make_tree",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
