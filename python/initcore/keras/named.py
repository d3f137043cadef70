"""The initializers of `keras.initializers`, by their names, arguments and laws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import initcore._core as core

from .initializers import Initializer, registered

if TYPE_CHECKING:
    from initcore.initializers import InitLike

Axes: TypeAlias = list[int] | tuple[int, ...]


class _Constant(Initializer):
    """An initializer that draws nothing."""

    def __init__(self, init: InitLike) -> None:
        super().__init__(init, seed=0)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        return {}


@registered
class Zeros(_Constant):
    """Zeros, of any dtype."""

    def __init__(self) -> None:
        super().__init__("zeros")


@registered
class Ones(_Constant):
    """Ones, of any dtype."""

    def __init__(self) -> None:
        super().__init__("ones")


@registered
class Constant(_Constant):
    """One value everywhere, in any dtype.

    Parameters
    ----------
    value : float
    """

    def __init__(self, value: float = 0.0) -> None:
        super().__init__(core.Constant(value))
        self.value = value

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        return {"value": self.value}


@registered
class Identity(_Constant):
    """Each input goes on to the output of the same number; of a kernel, at its centre.

    Parameters
    ----------
    gain : float
        What stands on the diagonal.
    """

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__(core.Identity(gain))
        self.gain = gain

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        return {"gain": self.gain}


class _Named(Initializer):
    """An initializer of `keras.initializers`, with the arguments that it has there."""

    def __init__(
        self,
        init: core.Initializer,
        arguments: dict[str, Any],
        seed: Any,
        name: str | None,
        layout: str | core.Layout,
    ) -> None:
        super().__init__(init, seed, name, layout)
        self._arguments = arguments

    def get_config(self) -> dict[str, Any]:
        """Give the arguments, as JSON can write them."""
        return self._arguments | self._common_config()


@registered
class RandomNormal(_Named):
    """Normal, not truncated.

    Parameters
    ----------
    mean, stddev : float
    seed, name, layout
        As in `Initializer`.
    """

    def __init__(
        self,
        mean: float = 0.0,
        stddev: float = 0.05,
        seed: Any = None,
        *,
        name: str | None = None,
        layout: str | core.Layout = "numpy",
    ) -> None:
        super().__init__(core.Normal(mean, stddev), {"mean": mean, "stddev": stddev}, seed, name, layout)


@registered
class TruncatedNormal(_Named):
    """Normal, cut at two standard deviations; `stddev` is that before the cut, which leaves 0.88 of it.

    Parameters
    ----------
    mean, stddev : float
    seed, name, layout
        As in `Initializer`.
    """

    def __init__(
        self,
        mean: float = 0.0,
        stddev: float = 0.05,
        seed: Any = None,
        *,
        name: str | None = None,
        layout: str | core.Layout = "numpy",
    ) -> None:
        init = core.TruncatedNormal(mean, stddev)
        super().__init__(init, {"mean": mean, "stddev": stddev}, seed, name, layout)


@registered
class RandomUniform(_Named):
    """Uniform on [minval, maxval).

    Parameters
    ----------
    minval, maxval : float
    seed, name, layout
        As in `Initializer`.
    """

    def __init__(
        self,
        minval: float = -0.05,
        maxval: float = 0.05,
        seed: Any = None,
        *,
        name: str | None = None,
        layout: str | core.Layout = "numpy",
    ) -> None:
        init = core.Uniform(minval, maxval)
        super().__init__(init, {"minval": minval, "maxval": maxval}, seed, name, layout)


@registered
class Orthogonal(_Named):
    """Orthonormal columns or rows, whichever are fewer, of the matrix (all axes but the last) x (the last).

    Parameters
    ----------
    gain : float
        The length of each.
    seed, name, layout
        As in `Initializer`.
    """

    def __init__(
        self,
        gain: float = 1.0,
        seed: Any = None,
        *,
        name: str | None = None,
        layout: str | core.Layout = "numpy",
    ) -> None:
        super().__init__(core.Orthogonal(gain), {"gain": gain}, seed, name, layout)


@registered
class VarianceScaling(_Named):
    """Mean 0, and a variance of ``scale / fan``.

    As in Keras, a shape of one axis has its length as both fans.

    Parameters
    ----------
    scale : float
    mode : {"fan_in", "fan_out", "fan_avg"}
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        The first is cut at two standard deviations, and its variance is that after the cut. "normal" is
        another name of it, as in Keras.
    seed, name, layout
        As in `Initializer`.
    input_axes, output_axes : list of int, optional
        Together, in place of the layout: the product of the lengths of these axes is the fan; other axes
        have no part in it.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Axes | None = None,
        output_axes: Axes | None = None,
        *,
        name: str | None = None,
        layout: str | core.Layout = "numpy",
    ) -> None:
        names = {"normal": "truncated_normal", "untruncated_normal": "normal"}
        init = core.VarianceScaling(scale, mode, names.get(distribution.lower(), distribution.lower()))
        own = {"scale": scale, "mode": mode, "distribution": distribution}
        super().__init__(init, own, seed, name, layout)
        self._arguments |= {"input_axes": input_axes, "output_axes": output_axes}
        if input_axes is not None or output_axes is not None:
            self.input_axes, self.output_axes = input_axes, output_axes

    def _law(self, shape: tuple[int, ...]) -> tuple[core.Initializer, core.Layout]:
        into, out = self._arguments["input_axes"], self._arguments["output_axes"]
        if into is not None and out is not None:
            used = {axis % len(shape) for axis in (*into, *out)} if shape else set()
            rest = [axis for axis in range(len(shape)) if axis not in used]
            return self._init, core.Layout(in_axis=tuple(into), out_axis=tuple(out), batch_axis=tuple(rest))
        if len(shape) < 2 and self.layout == core.Layout("numpy"):
            n = max(shape[0], 1) if shape else 1
            return self._init.law((n, n)) or self._init, self.layout
        return self._init, self.layout


class _FanScaled(VarianceScaling):
    """A case of `VarianceScaling` that has a name."""

    _LAW: ClassVar[tuple[float, str, str]]

    def __init__(
        self,
        seed: Any = None,
        input_axes: Axes | None = None,
        output_axes: Axes | None = None,
        *,
        name: str | None = None,
        layout: str | core.Layout = "numpy",
    ) -> None:
        super().__init__(*self._LAW, seed, input_axes, output_axes, name=name, layout=layout)
        for key in ("scale", "mode", "distribution"):
            del self._arguments[key]


@registered
class GlorotNormal(_FanScaled):
    """Truncated normal of variance ``2 / (fan_in + fan_out)``; arguments as in `VarianceScaling`."""

    _LAW = (1.0, "fan_avg", "truncated_normal")


@registered
class GlorotUniform(_FanScaled):
    """Uniform of variance ``2 / (fan_in + fan_out)``; arguments as in `VarianceScaling`."""

    _LAW = (1.0, "fan_avg", "uniform")


@registered
class HeNormal(_FanScaled):
    """Truncated normal of variance ``2 / fan_in``; arguments as in `VarianceScaling`."""

    _LAW = (2.0, "fan_in", "truncated_normal")


@registered
class HeUniform(_FanScaled):
    """Uniform of variance ``2 / fan_in``; arguments as in `VarianceScaling`."""

    _LAW = (2.0, "fan_in", "uniform")


@registered
class LecunNormal(_FanScaled):
    """Truncated normal of variance ``1 / fan_in``; arguments as in `VarianceScaling`."""

    _LAW = (1.0, "fan_in", "truncated_normal")


@registered
class LecunUniform(_FanScaled):
    """Uniform of variance ``1 / fan_in``; arguments as in `VarianceScaling`."""

    _LAW = (1.0, "fan_in", "uniform")


XavierNormal = GlorotNormal
XavierUniform = GlorotUniform
