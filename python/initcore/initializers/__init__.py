"""The initializers as functions: ``he_normal((784, 256), seed=0, name="fc1.weight")`` is an array.

Each function is an initializer object (`Initializer` and its subclasses, in Rust) made and called at once.
The registry gives every name its object, formula and source; `get` reads it.
"""

from .elementwise import constant, normal, ones, truncated_normal, uniform, zeros
from .fan_scaled import (
    glorot_normal,
    glorot_truncated_normal,
    glorot_uniform,
    he_normal,
    he_truncated_normal,
    he_uniform,
    kaiming_normal,
    kaiming_truncated_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_truncated_normal,
    lecun_uniform,
    variance_scaling,
    xavier_normal,
    xavier_truncated_normal,
    xavier_uniform,
)
from .options import Array, Index, Options, Shape
from .recipes import embedding, siren, torch_linear, torch_linear_bias
from .registry import SCHEMES, InitLike, Scheme, get, is_scheme, listing
from .scaling import deepnet, deepnet_alpha, fixup, gpt2_residual, mup, mup_lr, t_fixup
from .structured import delta_orthogonal, dirac, eye, identity, orthogonal, sparse, zero_init

__all__ = [
    "SCHEMES",
    "Array",
    "Index",
    "InitLike",
    "Options",
    "Scheme",
    "Shape",
    "constant",
    "deepnet",
    "deepnet_alpha",
    "delta_orthogonal",
    "dirac",
    "embedding",
    "eye",
    "fixup",
    "get",
    "glorot_normal",
    "glorot_truncated_normal",
    "glorot_uniform",
    "gpt2_residual",
    "he_normal",
    "he_truncated_normal",
    "he_uniform",
    "identity",
    "is_scheme",
    "kaiming_normal",
    "kaiming_truncated_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_truncated_normal",
    "lecun_uniform",
    "listing",
    "mup",
    "mup_lr",
    "normal",
    "ones",
    "orthogonal",
    "siren",
    "sparse",
    "t_fixup",
    "torch_linear",
    "torch_linear_bias",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_truncated_normal",
    "xavier_uniform",
    "zero_init",
    "zeros",
]
