from collections.abc import Callable, Sequence
from typing import Any, Self, SupportsIndex, final

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from .initializers import Array, Index, Shape
from .training import Samples

__all__ = [
    "Constant",
    "DeltaOrthogonal",
    "Embedding",
    "Identity",
    "Initializer",
    "Layout",
    "Mlp",
    "Normal",
    "Orthogonal",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "ZerO",
    "activation",
    "available_isas",
    "check_optimizer",
    "check_schedule",
    "dense_backward",
    "dense_forward",
    "diagnose_layer",
    "get_isa",
    "get_num_threads",
    "loss_has_accuracy",
    "loss_takes_labels",
    "nn_names",
    "schemes",
    "set_isa",
    "set_num_threads",
    "stream_version",
    "version",
]

@disjoint_base
class Initializer:
    def __call__(
        self,
        shape: Shape,
        *,
        seed: SupportsIndex | np.random.SeedSequence | None = None,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
        index: Index | None = None,
        layout: str | Layout = ...,
        out: Array | None = None,
        num_threads: int | None = None,
    ) -> Array: ...
    def std(self, shape: Shape, *, layout: str | Layout = ...) -> float: ...
    @property
    def made_whole(self) -> bool: ...
    def law(self, shape: Shape, *, layout: str | Layout = ...) -> Initializer | None: ...
    def scaled(self, gain: float) -> Self: ...
    def get_config(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]: ...

@final
class Constant(Initializer):
    def __new__(cls, value: float) -> Self: ...

@final
class Uniform(Initializer):
    def __new__(cls, low: float = 0.0, high: float = 1.0) -> Self: ...

@final
class Normal(Initializer):
    def __new__(cls, mean: float = 0.0, std: float = 1.0) -> Self: ...

@final
class TruncatedNormal(Initializer):
    def __new__(
        cls,
        mean: float = 0.0,
        std: float = 1.0,
        low: float = ...,
        high: float = 2.0,
        *,
        bounds: str = "sigma",
        std_of: str = "parent",
    ) -> Self: ...

@final
class VarianceScaling(Initializer):
    def __new__(
        cls,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        *,
        activation: str | Callable[..., Any] | None = None,
    ) -> Self: ...
    def for_slope(self, negative_slope: float) -> VarianceScaling: ...

@final
class Embedding(Initializer):
    def __new__(cls, std: float = 1.0, padding_idx: SupportsIndex | None = None) -> Self: ...

@final
class Identity(Initializer):
    def __new__(cls, gain: float = 1.0, center: str = "lower") -> Self: ...

@final
class ZerO(Initializer):
    def __new__(cls, gain: float = 1.0, center: str = "lower") -> Self: ...

@final
class Orthogonal(Initializer):
    def __new__(cls, gain: float = 1.0) -> Self: ...

@final
class DeltaOrthogonal(Initializer):
    def __new__(cls, gain: float = 1.0, center: str = "lower") -> Self: ...

@final
class Sparse(Initializer):
    def __new__(cls, sparsity: float, std: float = 0.01) -> Self: ...

@final
class Layout:
    def __new__(
        cls,
        axes: str | None = None,
        *,
        in_axis: Shape | None = None,
        out_axis: Shape | None = None,
        batch_axis: Shape | None = None,
        groups: SupportsIndex | None = None,
        transposed: bool = False,
        blocks: SupportsIndex | None = None,
    ) -> Self: ...
    def fans(self, shape: Shape) -> tuple[int, int]: ...
    def dimensions(self, shape: Shape) -> list[tuple[int, str]]: ...
    def get_config(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    def __reduce__(self) -> tuple[Callable[..., Layout], tuple[()]]: ...

@final
class Mlp:
    def __new__(
        cls,
        sizes: Sequence[int],
        activations: Sequence[str],
        bias: Sequence[bool],
        dtype: npt.DTypeLike,
    ) -> Self: ...
    def shapes(self) -> list[tuple[str, list[int]]]: ...
    def parameters(self) -> dict[str, Array]: ...
    def set_parameters(self, mapping: dict[str, Array]) -> None: ...
    def forward(self, x: Array, num_threads: int | None) -> Array: ...
    def activations(self, x: Array, num_threads: int | None) -> list[Array]: ...
    def loss_and_grad(
        self, samples: Samples, loss: str, num_threads: int | None
    ) -> tuple[float, dict[str, Array]]: ...
    def diagnose(
        self,
        samples: Samples,
        loss: str | None,
        thresholds: Sequence[float],
        optimizer: object | None,
        num_threads: int | None,
    ) -> dict[str, Any]: ...
    def evaluate(
        self, samples: Samples, loss: str, num_threads: int | None
    ) -> tuple[float, float | None]: ...
    def fit(
        self,
        samples: Samples,
        loss: str,
        optimizer: object,
        schedule: object,
        clip_norm: float | None,
        batch_size: int,
        epochs: int,
        shuffle: bool,
        seed: int,
        skip_nonfinite: bool,
        validation: Samples | None,
        on_epoch: Callable[[dict[str, Any]], object],
        workers: object,
        num_threads: int | None,
    ) -> None: ...

def activation(
    name: str, z: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def check_optimizer(optimizer: object) -> None: ...
def check_schedule(schedule: object) -> None: ...
def dense_backward(
    dy: Array, x: Array, w: Array, slope: Array | None, num_threads: int | None
) -> tuple[Array, Array, Array]: ...
def dense_forward(
    x: Array, w: Array, b: Array | None, activation: str, num_threads: int | None
) -> tuple[Array, Array | None]: ...
def diagnose_layer(
    y: Array,
    slope: Array | None,
    dz: Array | None,
    weight: Array | None,
    bias: Array | None,
    weight_gradient: Array | None,
    bias_gradient: Array | None,
    threshold: float,
    num_threads: int | None,
) -> dict[str, Any]: ...
def available_isas() -> list[str]: ...
def get_isa() -> str: ...
def get_num_threads() -> int: ...
def loss_has_accuracy(loss: str) -> bool: ...
def loss_takes_labels(loss: str) -> bool: ...
def nn_names() -> tuple[list[str], list[str]]: ...
def schemes() -> list[tuple[str, tuple[float, str, str]]]: ...
def set_isa(name: str) -> None: ...
def set_num_threads(n: int) -> None: ...
def stream_version() -> int: ...
def version() -> str: ...
