"""What an experiment gives back: tables to print, figures to draw on demand, numbers to compute with."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from initcore import plot

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

#: A number, a word, or nothing.
Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows under a header; printed, numbers have three digits and stand to the right; NaN is left blank.

    Attributes
    ----------
    title : str
    header : tuple of str
    rows : sequence of sequence of str, int, float or None
    note : str
        How to read it; printed below.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def cells(self) -> list[list[str]]:
        """Give the rows as they are printed."""
        return [[_text(cell) for cell in row] for row in self.rows]

    def numeric(self) -> list[bool]:
        """Tell which columns hold numbers, bare or with a unit, but for a word here and there."""
        columns = [[cell for cell in column if cell] for column in zip(*self.cells(), strict=True)]
        return [sum(map(_is_number, column)) > len(column) / 2 for column in columns]

    def __str__(self) -> str:
        """Lay it out for a terminal."""
        cells = self.cells()
        right = self.numeric()
        widths = [max(map(len, column)) for column in zip(self.header, *cells, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(row, widths, right, strict=True)
            ).rstrip()
            for row in [list(self.header), *cells]
        ]
        note = ["", textwrap.fill(self.note, 100)] if self.note else []
        return "\n".join([self.title, "", *lines, *note])


def _text(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)


def _is_number(cell: str) -> bool:
    return re.match(r"[-+]?\d", cell) is not None


class Figures(Mapping[str, "Figure"]):
    """Figures by name, each drawn when it is first asked for, on no window."""

    def __init__(self, **drawings: Callable[[Figure], object]) -> None:
        """Take what draws each on an empty figure."""
        self._drawings = drawings
        self._drawn: dict[str, Figure] = {}

    def draw(self, name: str) -> Figure:
        """Draw one anew, as in another style."""
        plot.require()
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        self._drawings[name](figure)
        return figure

    def __getitem__(self, name: str) -> Figure:
        """Give the figure of that name."""
        if name not in self._drawn:
            self._drawn[name] = self.draw(name)
        return self._drawn[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._drawings)

    def __len__(self) -> int:
        """Return the number of figures."""
        return len(self._drawings)


@dataclass(frozen=True)
class ExperimentResult:
    """What an experiment found. Print it for the tables.

    Attributes
    ----------
    name, title, lesson : str
        As in the registry.
    tables : tuple of Table
        What is printed.
    figures : mapping of str to Figure
        matplotlib figures, drawn when they are asked for.
    numbers : mapping of str to object
        What was measured and predicted, in full precision.
    """

    name: str
    title: str
    lesson: str
    tables: tuple[Table, ...]
    figures: Figures
    numbers: Mapping[str, Any]

    def __str__(self) -> str:
        """Give title, tables and lesson."""
        parts = [self.title, *map(str, self.tables), textwrap.fill(self.lesson, 100)]
        return "\n\n".join(parts)

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write the figures as PNG files, and all of it as one HTML page that needs no other file.

        Parameters
        ----------
        directory : str or path-like
            Made if it is not there. The files in it are ``<name>.html`` and ``<name>-<figure>.png``.

        Returns
        -------
        list of Path
            What was written, the page first.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        OSError
            A file cannot be written.
        """
        plot.require()
        from .report import page, png

        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        pictures = {
            name: {style: png(self, name, style) for style in ("light", "dark")} for name in self.figures
        }
        written = {folder / f"{self.name}.html": page(self, pictures).encode()}
        written |= {folder / f"{self.name}-{name}.png": each["light"] for name, each in pictures.items()}
        for path, content in written.items():
            path.write_bytes(content)
        return list(written)
