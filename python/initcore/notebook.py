"""HTML for notebooks and reports: one style, tables, networks. Nothing is fetched; no script."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .nn import MLP

#: A text, or a text and its class.
Cell: TypeAlias = str | tuple[str, str]

# The colours are Okabe and Ito's, some darker or lighter for contrast. All under .initcore, since a notebook
# has a style of its own.
STYLE = """
.initcore { --ink: #1b1b1b; --soft: #5c5c5c; --line: #d0d0d0; --ground: #ffffff; --blue: #0072B2;
  --good: #00735a; --bad: #b34700; color: var(--ink); background: var(--ground);
  font: 14px/1.45 system-ui, sans-serif; padding: 4px; }
@media (prefers-color-scheme: dark) { .initcore { --ink: #e8e8e8; --soft: #a8a8a8; --line: #484848;
  --ground: #161616; --blue: #56B4E9; --good: #2fc79f; --bad: #ff8a3d; } }
.initcore p { margin: .3em 0 .6em; max-width: 60em; }
.initcore .verdict { font-size: 1.35em; font-weight: 650; color: var(--bad); margin: 0; }
.initcore.healthy .verdict { color: var(--good); }
.initcore .charts { display: flex; flex-wrap: wrap; gap: 16px; }
.initcore .scroll { overflow-x: auto; }
.initcore table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px;
  background: none; }
.initcore th, .initcore td { padding: 3px 9px; text-align: right; white-space: nowrap; border: 0;
  border-bottom: 1px solid var(--line); background: none; color: var(--ink); }
.initcore th:first-child, .initcore td:first-child { text-align: left; }
.initcore td.text { text-align: left; white-space: normal; }
.initcore td.soft { color: var(--soft); }
.initcore td.bad { color: var(--bad); font-weight: 600; }
.initcore svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.initcore svg .title { fill: var(--ink); font-weight: 600; }
.initcore .note { color: var(--soft); font-size: 12px; }
"""


def page(title: str, body: str) -> str:
    """Make a document of a fragment."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>body {{ margin: 0 auto; max-width: 76em; padding: 16px; }} "
        "@media (prefers-color-scheme: dark) { body { background: #161616; } }</style></head>\n"
        f"<body>{body}</body></html>\n"
    )


def fragment(body: str, kind: str = "") -> str:
    """Wrap what a notebook shows into the style."""
    return f'<div class="initcore{kind and " " + kind}"><style>{STYLE}</style>{body}</div>'


def table(head: Sequence[str], rows: Iterable[Iterable[Cell]]) -> str:
    """Lay out a table; a cell is a text, or a text and its class: "text" (words), "soft" or "bad"."""

    def cell(content: Cell) -> str:
        text, kind = content if isinstance(content, tuple) else (content, "")
        return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"

    lines = ["<thead><tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr></thead><tbody>"]
    lines += [f"<tr>{''.join(map(cell, row))}</tr>" for row in rows]
    return '<div class="scroll"><table>' + "\n".join(lines) + "</tbody></table></div>"


def network(net: MLP) -> str:
    """Show a network: a row for each layer, with mean and standard deviation of its weights."""
    parameters = net.parameters()
    rows = []
    for i, activation in enumerate(net.layer_activations()):
        weight, bias = parameters[f"layers.{i}.weight"], parameters.get(f"layers.{i}.bias")
        with np.errstate(all="ignore"):
            mean, std = (float(f(weight, dtype=np.float64)) for f in (np.mean, np.std))
        count = weight.size + (0 if bias is None else bias.size)
        shape = f"{weight.shape[0]} × {weight.shape[1]}" + ("" if bias is None else " + bias")
        rows.append([f"layers.{i}", shape, activation, f"{count:,}", f"{mean:.3g}", f"{std:.3g}"])
    total = sum(p.size for p in parameters.values())
    title = f"<p><b>MLP</b>, {total:,} parameters, {escape(net.dtype.name)}, {escape(repr(net.init))}</p>"
    head = ["layer", "weight", "activation", "parameters", "mean", "std of the weights"]
    return fragment(title + table(head, rows))
