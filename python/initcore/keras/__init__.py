"""Keras on any backend: initializers that never make two layers alike, and whole models set by address.

`Initializer` and its subclasses stand where Keras takes an initializer; `initialize` sets the weights of a
model that is there already. Both draw through the library, so that a backend has no part in the values.
"""

try:
    import keras as _keras  # noqa: F401
except ImportError as error:
    msg = "initcore.keras needs Keras: pip install 'initcore[keras]', and a backend (KERAS_BACKEND)"
    raise ImportError(msg) from error

from .initializers import Initializer
from .models import initialize
from .named import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
    Zeros,
)

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "initialize",
]
