from typing import Any, Self, final

from .initializers import Array, Index, Shape

import numpy as np
import numpy.typing as npt
from typing import SupportsIndex

__all__ = [
    "Constant",
    "Initializer",
    "Normal",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "fans",
    "get_isa",
    "get_num_threads",
    "schemes",
    "set_isa",
    "set_num_threads",
    "stream_version",
    "version",
]

class Initializer:
    def __call__(
        self,
        shape: Shape,
        *,
        seed: SupportsIndex | np.random.SeedSequence | None = None,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
        index: Index | None = None,
        layout: str = "numpy",
        out: Array | None = None,
        num_threads: int | None = None,
    ) -> Array: ...
    def std(self, shape: Shape, *, layout: str = "numpy") -> float: ...
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
        cls, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0
    ) -> Self: ...

@final
class VarianceScaling(Initializer):
    def __new__(
        cls, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal"
    ) -> Self: ...
    def scaled(self, gain: float = 1.0, *, negative_slope: float = 0.0) -> VarianceScaling: ...

def fans(shape: Shape, *, layout: str = "numpy") -> tuple[int, int]: ...
def get_isa() -> str: ...
def get_num_threads() -> int: ...
def schemes() -> list[tuple[str, tuple[float, str, str]]]: ...
def set_isa(name: str) -> None: ...
def set_num_threads(n: int) -> None: ...
def stream_version() -> int: ...
def version() -> str: ...
