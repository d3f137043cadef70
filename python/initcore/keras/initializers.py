"""The library's initializers as Keras takes them.

A Keras initializer is called with a shape and a dtype; whose values they will be, it is not told. Here each
variable has an address all the same: its path, read off the variable that waits for the values.
"""

from __future__ import annotations

import random
import sys
import weakref
from collections import Counter
from typing import Any

import keras
import numpy as np

import initcore._core as core
from initcore.arrays import Seed, seed_number
from initcore.initializers import InitLike, get

from .arrays import draw

#: What all variables are: layers of older versions make those of the backend, which are no `keras.Variable`.
_VARIABLE = next(
    (base for base in keras.Variable.__mro__ if base.__module__.endswith("backend.common.variables")),
    keras.Variable,
)
#: Under what a method that waits for a variable's values has the counts of their pieces.
_PIECES = "_initcore_pieces"
#: Who was drawn under an explicit name: (seed, name) -> the variables.
_named: dict[tuple[int, str], list[weakref.ref[Any]]] = {}


def registered(cls: Any) -> Any:
    """Make a class one that Keras can save by its name."""
    return keras.saving.register_keras_serializable(package="initcore")(cls)


@registered
class Initializer(keras.initializers.VarianceScaling):  # type: ignore[misc, unused-ignore]
    """An initializer of this library, where Keras takes one: ``Dense(10, kernel_initializer=...)``.

    The values are a function of the initializer, the seed, the address, the shape's order of elements and the
    dtype. Neither the backend, nor the device, nor what was drawn before has a part in them.

    - With a seed and no name, the address is the variable's path with "." for "/", as in
      ``"sequential.dense_1.kernel"``: layers differ, and so do kernels of one layer. The number in
      ``dense_1`` is Keras' count of all layers made so far: name the layers, or use `initialize`.
    - With a seed and a name, the address is the name. The values are those of
      ``initcore.get(init)(shape, seed=seed, name=name, layout=layout)``, in any framework.
    - An instance gives every address once. The second variable of one address, or the second call outside of
      any variable (where the address is the name, if any), gets "#1" behind it, the next "#2".
    - A variable that is put together from several calls, as the biases of an LSTM are, has the shape of each
      piece behind its address, as in ``"[128]"``, the second of one shape ``"[128]#1"``.
    - Without a seed, each variable is drawn under a fresh one from Python's `random`, which
      ``keras.utils.set_random_seed`` seeds; a `keras.random.SeedGenerator` gives one for each variable, too.
      The address is the name, if any.

    Parameters
    ----------
    init : str, Initializer or function
        As `initcore.get` takes it.
    seed : int in [0, 2**64), numpy.random.SeedSequence, keras.random.SeedGenerator or None
        None is a fresh seed for each variable.
    name : str, optional
        The address.
    layout : {"numpy", "torch", "embedding", "depthwise"} or Layout
        Which axes are inputs and outputs. Most of Keras' kernels are "numpy", (..., in, out). A kernel of
        `keras.layers.EinsumDense`, as in attention, has the axes of its equation, unless a layout is given.

    Raises
    ------
    ValueError, TypeError
        The arguments are not as described. When called: the initializer does not go with the shape or dtype;
        or copies with one seed and name are to draw two variables of one layer or model.

    Examples
    --------
    >>> layer = keras.layers.Dense(64, kernel_initializer=ic.keras.Initializer("he_normal", seed=0))
    """

    def __init__(
        self, init: InitLike, seed: Any = None, name: str | None = None, layout: str | core.Layout = "numpy"
    ) -> None:
        self._init = get(init)
        self.seed = _seed(seed)
        if not isinstance(name, str | None):
            msg = f"name must be a string or None, got {name!r}"
            raise TypeError(msg)
        self.name = name
        self.layout = layout if isinstance(layout, core.Layout) else core.Layout(layout)
        # An EinsumDense, as in attention, has a copy made that knows which axes of the kernel are inputs and
        # outputs: of a Keras VarianceScaling whose axes are None. So this is one, and its axes are.
        scaled = isinstance(self._init, core.VarianceScaling) and self.layout == core.Layout("numpy")
        self.input_axes: Any = None if scaled else ()
        self.output_axes: Any = self.input_axes
        self._times: Counter[str] = Counter()
        self._served: dict[int, tuple[weakref.ref[Any], int, str | None]] = {}

    def __call__(self, shape: Any, dtype: Any = None, layout: Any = None) -> Any:
        """Give a tensor.

        Parameters
        ----------
        shape : int or tuple of int
        dtype : str, optional
            ``keras.config.floatx()`` by default.
        layout : sharding, optional
            Given by Keras where `keras.distribution` spreads the variable over devices (JAX only): each
            device's part is made on its own.

        Returns
        -------
        tensor
            Of the backend.
        """
        shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
        seed, address = self._address(shape)
        init, axes = self._law(shape)
        return draw(init, shape, seed=seed, name=address, dtype=dtype, layout=axes, sharding=layout)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments, as JSON can write them."""
        scheme = {"scheme": type(self._init).__name__, "arguments": self._init.get_config()}
        return {"init": scheme} | self._common_config()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make the initializer of a configuration."""
        config = dict(config)
        init, layout, seed = (config.get(key) for key in ("init", "layout", "seed"))
        if isinstance(init, dict):
            config["init"] = getattr(core, init["scheme"])(**init["arguments"])
        if isinstance(layout, dict):
            config["layout"] = core.Layout(**layout)
        if "init" in config and "input_axes" in config:  # of an EinsumDense
            config["layout"] = core.Layout(
                in_axis=config.pop("input_axes"), out_axis=config.pop("output_axes")
            )
        if isinstance(seed, dict):
            config["seed"] = keras.saving.deserialize_keras_object(seed)
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Give what makes a copy, which starts anew: what this instance has drawn is not the copy's."""
        return type(self).from_config, (self.get_config(),)

    def _common_config(self) -> dict[str, Any]:
        seed = self.seed
        if not isinstance(seed, int | None):
            seed = keras.saving.serialize_keras_object(seed)
        layout = self.layout.get_config()
        named = list(layout) == ["axes"]
        lists = {key: list(value) if isinstance(value, tuple) else value for key, value in layout.items()}
        return {"seed": seed, "name": self.name, "layout": layout["axes"] if named else lists}

    def _law(self, shape: tuple[int, ...]) -> tuple[core.Initializer, core.Layout]:
        """Give the initializer and the layout for a shape."""
        del shape
        return self._init, self.layout

    def _address(self, shape: tuple[int, ...]) -> tuple[int, str | None]:
        """Give the seed and the address of what is asked for."""
        variable, pieces = _waiting()
        if variable is None:
            return self._fresh(), self._counted(self.name)
        reference, seed, address = self._served.get(id(variable), (None, 0, None))
        if reference is None or reference() is not variable:  # Keras may ask for one variable more than once
            seed = self._fresh()
            address = self.name
            if isinstance(self.seed, int):
                self._refuse_twins(variable)
                address = self._counted(variable.path.replace("/", ".") if self.name is None else self.name)
            self._served[id(variable)] = weakref.ref(variable), seed, address
        if self._draws_nothing:
            return seed, address
        piece = f"{address or ''}[{'x'.join(map(str, shape))}]"
        times = pieces[seed, piece]  # in this ask, by equal initializers too
        pieces[seed, piece] += 1
        if times:
            return seed, f"{piece}#{times}"
        return seed, address if tuple(variable.shape or ()) == shape else piece

    @property
    def _draws_nothing(self) -> bool:
        return isinstance(self._init, core.Constant | core.Identity | core.ZerO)

    def _fresh(self) -> int:
        """Give the seed, or one that was never used."""
        if isinstance(self.seed, int):
            return self.seed
        if self.seed is None:
            return random.getrandbits(64)
        high, low = (int(word) & 0xFFFF_FFFF for word in keras.ops.convert_to_numpy(self.seed.next()))
        return high << 32 | low

    def _counted(self, address: str | None) -> str | None:
        """Give an address that this instance has not given yet."""
        if not isinstance(self.seed, int):
            return address
        times = self._times[address or ""]
        self._times[address or ""] += 1
        return f"{address or ''}#{times}" if times else address

    def _refuse_twins(self, variable: Any) -> None:
        """Raise an error where a copy of this, name and all, has drawn another variable of the same model."""
        if self.name is None or self._draws_nothing:
            return
        drawn = _named.setdefault((self.seed, self.name), [])
        drawn[:] = [reference for reference in drawn if reference() is not None]
        root = variable.path.split("/")[0]
        others: list[Any] = [reference() for reference in drawn]
        for other in others:
            served = self._served.get(id(other))
            of_this = served is not None and served[0]() is other
            if other.path != variable.path and other.path.split("/")[0] == root and not of_this:
                msg = (
                    f"initializers of one seed ({self.seed}) and one name ({self.name!r}) for {other.path} "
                    f"and {variable.path}, which would be alike: leave out the name, and each variable is "
                    "drawn under its path"
                )
                raise ValueError(msg)
        drawn.append(weakref.ref(variable))


def _seed(seed: Seed | Any) -> Any:
    """Give an integer, None, or the generator of seeds that was given."""
    if seed is None or isinstance(seed, keras.random.SeedGenerator):
        return seed
    return seed_number(seed)


def _waiting() -> tuple[Any, Counter[tuple[int, str]]]:
    """Give the Keras variable that is being made, if one is, and how often pieces of it were asked for.

    Initializers are not told: the call stands in the variable's own method, somewhere up the stack. That
    frame is the ask, and the counts are kept among its locals. They end with it, and so the next ask for the
    same variable counts from zero and has the same values.
    """
    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, _VARIABLE) and frame.f_locals is not frame.f_globals:  # nor is it a script's
            return owner, frame.f_locals.setdefault(_PIECES, Counter())
        frame = frame.f_back  # type: ignore[assignment]
    return None, Counter()
