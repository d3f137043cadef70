"""An experiment's result as one HTML page: pictures inside, nothing fetched, light or dark."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from initcore import plot
from initcore.config import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .result import ExperimentResult, Table

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --text: #1b1b1b; --faint: #6a6a6a; --line: #d9d9d9; --back: #fff; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #e6e6e6; --faint: #9a9a9a; --line: #3a3f46; --back: #14181e; }}
}}
body {{ max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; background: var(--back);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; }}
h2 {{ font-size: 1.05rem; margin: 2rem 0 .5rem; }}
.lesson {{ max-width: 45rem; }}
.note, footer {{ color: var(--faint); font-size: .875rem; max-width: 45rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .75rem .25rem 0; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--line); }}
th {{ font-weight: 600; vertical-align: bottom; }}
.number {{ text-align: right; }}
figure {{ margin: 1.5rem 0; overflow-x: auto; }}
img {{ display: block; width: 100%; min-width: 38rem; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="lesson">{lesson}</p>
{body}
<footer>initcore {version}, experiment {name}</footer>
</body>
</html>
"""


def page(result: ExperimentResult, pictures: Mapping[str, Mapping[str, bytes]]) -> str:
    """Give the page: lesson, pictures, tables.

    Parameters
    ----------
    result : ExperimentResult
    pictures : mapping of str to mapping of str to bytes
        By the figures' names, their PNG files in the styles "light" and "dark".

    Returns
    -------
    str
        HTML.
    """
    figures = [_figure(name, each) for name, each in pictures.items()]
    return _PAGE.format(
        title=escape(result.title),
        lesson=escape(result.lesson),
        body="\n".join([*figures, *map(_table, result.tables)]),
        version=__version__,
        name=result.name,
    )


def png(result: ExperimentResult, name: str, style: str) -> bytes:
    """Draw a figure in a style; give the bytes of a PNG file."""
    buffer = io.BytesIO()
    with plot.style(style):
        # Without the version of matplotlib, so that the same picture is the same file.
        result.figures.draw(name).savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _figure(name: str, picture: Mapping[str, bytes]) -> str:
    uris = {s: "data:image/png;base64," + base64.b64encode(png).decode() for s, png in picture.items()}
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{uris["dark"]}">'
        f'<img src="{uris["light"]}" alt="{escape(name)}"></picture></figure>'
    )


def _table(table: Table) -> str:
    marks = [' class="number"' if numeric else "" for numeric in table.numeric()]
    head = "".join(f"<th{mark}>{escape(cell)}</th>" for mark, cell in zip(marks, table.header, strict=True))
    rows = [
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for mark, cell in zip(marks, row, strict=True))
        for row in table.cells()
    ]
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    body = "</tr>\n".join(rows)
    return (
        f'<h2>{escape(table.title)}</h2>\n<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tr>\n</tbody></table></div>\n{note}"
    )
