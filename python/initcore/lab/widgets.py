"""Parts that the page is made of."""

from __future__ import annotations

import base64
import html
import math
import re
from typing import TYPE_CHECKING, Any

from nicegui import ui

from .words import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable

    from initcore.diagnosis import Diagnosis


def button(
    text: str, act: Callable[..., Any], *, icon: str | None = None, main: bool = False, tip: str = ""
) -> Any:
    """Make a button, filled if it is the main one."""
    made = ui.button(text, on_click=act, icon=icon, color="primary" if main else None)
    made.props("no-caps dense " + ("unelevated" if main else "outline"))
    if tip:
        hint(made, tip)
    return made


def icon_button(icon: str, text: str, act: Callable[..., Any]) -> Any:
    """Make a button without words, which are for screen readers and a pointer that rests."""
    made = ui.button(on_click=act, icon=icon, color=None).props(f'dense flat round aria-label="{text}"')
    return made.tooltip(text)


def hint(element: Any, text: str) -> None:
    """Explain an element to a pointer that rests on it, where the text hides no other control."""
    with element:
        ui.tooltip(text).props('delay=500 anchor="center right" self="center left"')


def figure(label: str) -> Any:
    """Make a number with what it is below, and give the number's label."""
    with ui.element("div").classes("lab-figure"):
        value = ui.label("–").classes(f"lab-value lab-{label.replace(' ', '-')}")
        ui.label(label).classes("lab-unit")
    return value


class Panel:
    """A framed part of the page with a title, and an explanation behind a question mark."""

    def __init__(self, title: str, help_: str) -> None:
        """Make the frame; what is made in a ``with`` block is in it."""
        self._section = ui.element("section").classes("lab-panel").props(f'aria-label="{title}"')
        with self._section, ui.element("div").classes("lab-panel-head") as self._head:
            self._title = ui.label(title).classes("lab-panel-title")
            with ui.button(icon="help_outline").props(
                f'flat dense round size=sm aria-label="About: {title}"'
            ):
                ui.tooltip(help_).classes("lab-help")
                with ui.menu().classes("lab-help"):
                    ui.label(help_)
            ui.space()

    def __enter__(self) -> tuple[Any, Any]:
        """Give the label of the title, and the head that it stands in."""
        self._section.__enter__()
        return self._title, self._head

    def __exit__(self, *error: object) -> None:
        """Leave the frame."""
        self._section.__exit__(*error)


def picture() -> Any:
    """Make the place of a picture, which fills its panel."""
    with ui.element("div").classes("lab-chart lab-frame"):
        return ui.element("img").props('alt=""')


def show(picture: Any, png: bytes, text: str) -> None:
    """Put a picture in its place, with words for those who do not see it."""
    picture.props["alt"] = text
    picture.props["src"] = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    picture.update()


def send(chart: Any, options: dict[str, Any]) -> None:
    """Give a chart other options, all of them."""
    chart.options.clear()
    chart.options.update(options)
    chart.update()


def plain(words: str) -> str:
    """Name layers as the page does, from 1."""
    return re.sub(r"\blayers\.(\d+)", lambda found: f"layer {int(found[1]) + 1}", words)


def table(report: Diagnosis) -> str:
    """List the layers, in words and numbers."""
    rows = [
        f"<tr><td>{i + 1}<td>{layer.width}<td>{_percent(layer.dead)}<td>{_percent(layer.saturated)}"
        f"<td>{_short(layer.update_ratio)}<td title='{html.escape(plain(layer.evidence), quote=True)}'>"
        f"{html.escape(layer.verdict)}"
        for i, layer in enumerate(report.layers)
    ]
    heads = "".join(
        f"<th scope=col title='{html.escape(why, quote=True)}'>{name}" for name, why in COLUMNS.items()
    )
    return f"<table><thead><tr>{heads}</thead><tbody>{''.join(rows)}</tbody></table>"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _short(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.1g}"
