"""What `initialize_` did, or `plan` would do: a row for each parameter and each buffer, with the reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from initcore import notebook
from initcore.params import listed
from initcore.plans import ParameterPlan, aligned, cell

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What stands for the initializer of a parameter that is left as it is.
LEFT_ALONE = "left alone"


@dataclass(frozen=True)
class ParameterReport:
    """How one parameter is initialized.

    Attributes
    ----------
    name : str
        The full name, which is its address under the seed.
    plan : ParameterPlan or None
        Shape, dtype, initializer, layout, fans and standard deviation; None if it is left alone.
    shape : tuple of int
        Of the whole, however it is sharded.
    activation : str
        What follows it; "" for none.
    how : str
        Where that is from: "traced", "by order" (of registration), "by kind" (of the module), "rule", or "not
        traced".
    reason : str
    tied : tuple of str
        Other names of the same parameter.
    trainable : bool
        Whether it requires a gradient; it is initialized either way.
    """

    name: str
    plan: ParameterPlan | None
    shape: tuple[int, ...]
    activation: str = ""
    how: str = "rule"
    reason: str = ""
    tied: tuple[str, ...] = ()
    trainable: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Give what `json` can write."""
        plan = {} if self.plan is None else self.plan.to_dict()
        keys = ("dtype", "init", "layout", "fan_in", "fan_out", "std")
        return {
            "name": self.name,
            "shape": list(self.shape),
            **{key: plan.get(key) for key in keys},
            "init": plan.get("init", LEFT_ALONE),
            "activation": self.activation,
            "how": self.how,
            "reason": self.reason,
            "tied": list(self.tied),
            "trainable": self.trainable,
        }


@dataclass(frozen=True)
class BufferReport:
    """What becomes of one buffer.

    Attributes
    ----------
    name : str
    shape : tuple of int
    persistent : bool
        Whether checkpoints have it.
    reset : bool
        Whether it is a running statistic that is set to its first value. All others are left as they are.
    """

    name: str
    shape: tuple[int, ...]
    persistent: bool
    reset: bool

    def to_dict(self) -> dict[str, Any]:
        """Give what `json` can write."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "persistent": self.persistent,
            "reset": self.reset,
        }


@dataclass(frozen=True)
class Report:
    """How a module is initialized. ``print(report)`` shows it as a table.

    As the `rules` of `initialize_` it gives parameters of the same names the same initializers: those of a
    whole model for its parts.

    Attributes
    ----------
    parameters : dict of str to ParameterReport
        By full name, in the order of the module.
    buffers : dict of str to BufferReport
    seed : int or None
        What the parameters were drawn under; None if nothing has been drawn.
    """

    parameters: Mapping[str, ParameterReport]
    buffers: Mapping[str, BufferReport]
    seed: int | None = None
    _advice: Mapping[str, str] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Give what `json` can write."""
        return {
            "seed": self.seed,
            "parameters": [row.to_dict() for row in self.parameters.values()],
            "buffers": [row.to_dict() for row in self.buffers.values()],
            "activations": dict(self._advice),
        }

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        head = ["name", "shape", "init", "fan_in", "fan_out", "std", "activation", "how", "reason"]
        return head, [[cell(row.to_dict()[key]) for key in head] for row in self.parameters.values()]

    def _notes(self) -> list[str]:
        """Give what else is to be said, a line each."""
        frozen = [row.name for row in self.parameters.values() if not row.trainable and row.plan is not None]
        notes = [f"{row.name} is also {', '.join(row.tied)}" for row in self.parameters.values() if row.tied]
        if frozen:
            notes.append(f"initialized, though they require no gradient: {listed(frozen)}")
        reset = dict.fromkeys(row.name.rpartition(".")[0] for row in self.buffers.values() if row.reset)
        kept = [
            row.name + ("" if row.persistent else " (not in checkpoints)")
            for row in self.buffers.values()
            if not row.reset
        ]
        if reset:
            notes.append(f"running statistics, reset: those of {listed(list(reset))}")
        if kept:
            notes.append(f"buffers, left as they are: {listed(kept)}")
        return [*notes, *(f"{name}: {advice}" for name, advice in self._advice.items())]

    def __str__(self) -> str:
        """Give a table with a row for each parameter, then notes."""
        head, rows = self._rows()
        columns = [
            aligned([name, *(row[i] for row in rows)], right=name in {"fan_in", "fan_out", "std"})
            for i, name in enumerate(head)
        ]
        lines = [line.rstrip() for line in map("  ".join, zip(*columns, strict=True))]
        elements = sum(row.plan.size for row in self.parameters.values() if row.plan is not None)
        total = f"{len(rows):,} parameters, {elements:,} elements; seed {self.seed}"
        return "\n".join([*lines, *self._notes(), total])

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        head, rows = self._rows()
        notes = "".join(f'<p class="note">{escape(note)}</p>' for note in self._notes())
        body: list[list[notebook.Cell]] = [[*row[:7], *((cell, "text") for cell in row[7:])] for row in rows]
        return notebook.fragment(notebook.table(head, body) + notes)
