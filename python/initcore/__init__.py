"""Neural-network weight initialization: addressed, reproducible sampling and a deterministic dense core."""

from typing import TYPE_CHECKING, Any

from . import datasets, distributed, plot, theory
from ._core import (
    Constant,
    DeltaOrthogonal,
    Embedding,
    Identity,
    Initializer,
    Layout,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    ZerO,
)
from .auditing import AuditReport, Check, audit
from .config import __version__, get_isa, get_num_threads, set_isa, set_num_threads, show_config
from .dense import DenseCache, dense_backward, dense_forward
from .diagnosis import Diagnosis, Recorder, diagnose
from .gains import gain
from .initializers import (
    constant,
    deepnet,
    deepnet_alpha,
    delta_orthogonal,
    dirac,
    embedding,
    eye,
    fixup,
    get,
    glorot_normal,
    glorot_truncated_normal,
    glorot_uniform,
    gpt2_residual,
    he_normal,
    he_truncated_normal,
    he_uniform,
    identity,
    kaiming_normal,
    kaiming_truncated_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_truncated_normal,
    lecun_uniform,
    mup,
    mup_lr,
    normal,
    ones,
    orthogonal,
    siren,
    sparse,
    t_fixup,
    torch_linear,
    torch_linear_bias,
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_truncated_normal,
    xavier_uniform,
    zero_init,
    zeros,
)
from .layouts import fans
from .lsuv import LsuvStep, lsuv
from .nn import MLP
from .optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSProp
from .params import ModelPlan, ParameterPlan, Rule, init_params, plan
from .schedules import ConstantSchedule, CosineSchedule, Schedule, StepSchedule
from .training import Divergence, EarlyStopping, History

if TYPE_CHECKING:
    from . import experiments

__all__ = [
    "MLP",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AuditReport",
    "Check",
    "Constant",
    "ConstantSchedule",
    "CosineSchedule",
    "DeltaOrthogonal",
    "DenseCache",
    "Diagnosis",
    "Divergence",
    "EarlyStopping",
    "Embedding",
    "History",
    "Identity",
    "Initializer",
    "Layout",
    "LsuvStep",
    "ModelPlan",
    "Normal",
    "Optimizer",
    "Orthogonal",
    "ParameterPlan",
    "RMSProp",
    "Recorder",
    "Rule",
    "Schedule",
    "Sparse",
    "StepSchedule",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "ZerO",
    "__version__",
    "audit",
    "constant",
    "datasets",
    "deepnet",
    "deepnet_alpha",
    "delta_orthogonal",
    "dense_backward",
    "dense_forward",
    "diagnose",
    "dirac",
    "distributed",
    "embedding",
    "experiments",
    "eye",
    "fans",
    "fixup",
    "gain",
    "get",
    "get_isa",
    "get_num_threads",
    "glorot_normal",
    "glorot_truncated_normal",
    "glorot_uniform",
    "gpt2_residual",
    "he_normal",
    "he_truncated_normal",
    "he_uniform",
    "identity",
    "init_params",
    "kaiming_normal",
    "kaiming_truncated_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_truncated_normal",
    "lecun_uniform",
    "lsuv",
    "mup",
    "mup_lr",
    "normal",
    "ones",
    "orthogonal",
    "plan",
    "plot",
    "set_isa",
    "set_num_threads",
    "show_config",
    "siren",
    "sparse",
    "t_fixup",
    "theory",
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


#: Loaded when they are first asked for: few who import the library run the experiments, and the adapters
#: import the package that they are named after.
_LAZY = frozenset({"dask", "experiments", "jax", "keras", "safetensors", "torch"})


def __getattr__(name: str) -> Any:
    """Load what is not loaded with the library."""
    if name in _LAZY:
        from importlib import import_module

        return import_module(f".{name}", __name__)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
