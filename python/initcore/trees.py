"""Nested shapes as users give them -> parameters with their full names; arrays back into that structure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import expect, integer

if TYPE_CHECKING:
    from .initializers import Array


@dataclass(frozen=True)
class Leaf:
    """A parameter: its full name, its shape, and the dtype and initializer it came with, if any."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    init: Any


def flatten(shapes: Any, is_init: Callable[[object], bool]) -> tuple[Any, list[Leaf]]:
    """Give the structure of a model, with names where the parameters are, and the parameters.

    Parameters
    ----------
    shapes : mapping, list, tuple, or iterable of (name, shape)
        As `plan` takes it.
    is_init : callable
        Whether something that stands behind a shape is an initializer.

    Raises
    ------
    TypeError, ValueError
        Something is no parameter, or its shape is none. The message names it.
    """
    leaves: list[Leaf] = []

    def has_init(tree: Any) -> bool:
        return _is_pair(tree) and _is_shaped(tree[0]) and is_init(tree[1])

    def walk(tree: Any, name: str) -> Any:
        tree, init = tree if has_init(tree) else (tree, None)
        if _is_shaped(tree):
            if _is_integer(tree):
                tree = (tree,)
            shape = tuple(integer(n, f"each axis of {name}", 0) for n in getattr(tree, "shape", tree))
            leaves.append(Leaf(name, shape, getattr(tree, "dtype", None), init))
            return name
        prefix = f"{name}." if name else ""
        if isinstance(tree, Mapping):
            for key in tree:
                expect(key, str, f"a key of {name or 'shapes'}")
            return {key: walk(value, prefix + key) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            return _like(tree, [walk(value, f"{prefix}{i}") for i, value in enumerate(tree)])
        msg = f"{name} must be a shape, something with a shape, or (shape, initializer), got {tree!r}"
        raise TypeError(msg)

    if isinstance(shapes, Iterable) and not (
        _is_shaped(shapes) or has_init(shapes) or isinstance(shapes, str)
    ):
        if isinstance(shapes, Mapping):
            return walk(shapes, ""), leaves
        entries = shapes if isinstance(shapes, list | tuple) else list(shapes)
        named = all(_is_pair(entry) and isinstance(entry[0], str) for entry in entries)
        if entries is shapes and not (named and entries):
            return walk(shapes, ""), leaves
        if named:
            return {name: walk(tree, name) for name, tree in entries}, leaves
    msg = f"shapes must be a mapping, list, tuple or iterable of (name, shape), got {shapes!r}"
    raise TypeError(msg)


def named(tree: Any, name: str = "") -> dict[str, Any]:
    """Give what stands in a nested structure of arrays by full name, as `flatten` names it."""
    if hasattr(tree, "shape") or not isinstance(tree, Mapping | list | tuple):
        return {name: tree}
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    prefix = f"{name}." if name else ""
    return {full: leaf for key, value in items for full, leaf in named(value, f"{prefix}{key}").items()}


def fill(tree: Any, arrays: Mapping[str, Array]) -> Any:
    """Put the arrays where their names are."""
    if isinstance(tree, str):
        return arrays[tree]
    if isinstance(tree, dict):
        return {key: fill(value, arrays) for key, value in tree.items()}
    return _like(tree, [fill(value, arrays) for value in tree])


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer)


def _is_shaped(value: Any) -> bool:
    """Whether it is a parameter: a shape, or something that has one."""
    if isinstance(value, tuple) and all(_is_integer(n) for n in value):
        return True
    return _is_integer(value) or hasattr(value, "shape")


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and not hasattr(value, "shape")


def _like(sequence: list[Any] | tuple[Any, ...], values: list[Any]) -> Any:
    """Give a list, tuple or named tuple as `sequence` is."""
    if isinstance(sequence, list):
        return values
    return type(sequence)(*values) if hasattr(sequence, "_fields") else tuple(values)
