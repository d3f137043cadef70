"""Optimizers: hyperparameters, checked when made; the steps are taken in Rust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias, get_args

from . import _core


@dataclass(frozen=True)
class _Optimizer:
    """What `MLP.fit` takes as its optimizer: hyperparameters, checked when made."""

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        _core.check_optimizer(self)


@dataclass(frozen=True)
class SGD(_Optimizer):
    """Gradient descent, plain or with momentum, as `torch.optim.SGD` defines it.

    Parameters
    ----------
    lr : float
        Learning rate.
    momentum : float
        Share of the previous step that is kept.
    nesterov : bool
        Look ahead along the momentum, which must then be positive.
    weight_decay : float
        L2 penalty, added to the gradient.
    """

    kind: ClassVar[str] = "sgd"
    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Adagrad(_Optimizer):
    """Steps divided by the root of all squares' sum (Duchi et al. 2011), as `torch.optim.Adagrad`.

    Parameters
    ----------
    lr : float
        Learning rate.
    lr_decay : float
        The learning rate of step t, from 0, is ``lr / (1 + t * lr_decay)``.
    eps : float
        Added to the root.
    initial_accumulator_value : float
        What the sums begin with.
    weight_decay : float
        L2 penalty, added to the gradient.
    """

    kind: ClassVar[str] = "adagrad"
    lr: float = 1e-2
    lr_decay: float = 0.0
    eps: float = 1e-10
    initial_accumulator_value: float = 0.0
    weight_decay: float = 0.0


@dataclass(frozen=True)
class RMSProp(_Optimizer):
    """Steps divided by a running root mean square (Tieleman & Hinton 2012), as `torch.optim.RMSprop`.

    Parameters
    ----------
    lr : float
        Learning rate.
    alpha : float
        Decay of the running mean square, in [0, 1).
    eps : float
        Added to the root.
    momentum : float
        Share of the previous step that is kept.
    centered : bool
        Divide by the running standard deviation instead.
    weight_decay : float
        L2 penalty, added to the gradient.
    """

    kind: ClassVar[str] = "rmsprop"
    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Adam(_Optimizer):
    """Adaptive moments (Kingma & Ba 2015), as `torch.optim.Adam` defines it.

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : tuple of float
        Decays of the running mean and mean square, each in [0, 1).
    eps : float
        Added to the root.
    weight_decay : float
        L2 penalty, added to the gradient.
    """

    kind: ClassVar[str] = "adam"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True)
class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as `torch.optim.AdamW` defines it.

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : tuple of float
        Decays of the running mean and mean square, each in [0, 1).
    eps : float
        Added to the root.
    weight_decay : float
        Every step first multiplies the parameters by ``1 - lr * weight_decay``.
    """

    kind: ClassVar[str] = "adamw"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2


#: Every optimizer there is; `OPTIMIZERS` has them by name.
Optimizer: TypeAlias = SGD | Adagrad | RMSProp | Adam | AdamW

OPTIMIZERS: dict[str, type[Optimizer]] = {cls.kind: cls for cls in get_args(Optimizer)}
