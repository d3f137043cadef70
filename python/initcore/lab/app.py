"""The page of the laboratory: controls on the left, the verdict on top, six panels that move.

Each tab has a `Page` with a `Session` of its own, which ends when the tab is closed. Two timers look at the
session: one for the words and the cost, one that draws, and rests for as long as it has drawn, so that at
least half of the time is the training's.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
import warnings
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nicegui import app, background_tasks, ui

from initcore import _core, datasets
from initcore.compare import INITS
from initcore.optimizers import OPTIMIZERS
from initcore.plot import COLORS

from . import charts, panels, widgets
from .panels import View
from .session import OVER, Session
from .settings import SCALES, Settings, load, schemes
from .words import HELP, MEANING, STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from .session import Snapshot

STYLE = Path(__file__).with_name("style.css")
FAVICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><path d='M2 13C5 13 6 3 8 3s3 10 6 10' "
    "fill='none' stroke='#0072B2' stroke-width='2.4' stroke-linecap='round'/></svg>"
)
#: Seconds between two looks at a session.
INTERVAL = 0.2
#: Seconds that a setting must have been left alone before it is applied.
SETTLE = 0.25
#: What the page offers, and epochs per second.
SPEEDS = {2.0: "2 epochs/s", 10.0: "10 epochs/s", 50.0: "50 epochs/s", 0.0: "as fast as it can"}
#: What the buttons on top of the controls set: name, what to see, settings.
PRESETS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "Right",
        "He's normal weights, made for relu: signals keep their size",
        {"init": "he_normal", "scale": 1.0},
    ),
    ("Too small", "the same weights, a fifth as large: signals vanish", {"init": "he_normal", "scale": 0.2}),
    ("Too large", "the same weights, twice as large: signals explode", {"init": "he_normal", "scale": 2.0}),
    ("Zeros", "all weights zero: no unit ever differs from another", {"init": "zeros", "scale": 1.0}),
)

# Weak, yet a thread that trains holds its session: those that matter are there, tab or no tab.
_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


class Page:
    """One tab."""

    def __init__(self) -> None:
        """Build the page; the session follows when the browser is there."""
        self.session: Session | None = None
        self.first: View | None = None
        self.view: View | None = None
        self.size = (3.2, 2.7)
        self._seen: Any = None
        self._painted: Any = None
        self._network_of: Any = None
        self._skipped = 0
        self._told: Any = None
        self._asked = 0
        self._busy = False
        self._applying = asyncio.Lock()
        self._controls: dict[str, Any] = {}
        self._labels: dict[str, Any] = {}
        ui.add_css(STYLE)
        ui.colors(primary=COLORS[0])
        self.dark = ui.dark_mode(value=False)
        with ui.header().classes("lab-header"):
            ui.html("<h1>initcore laboratory</h1>", sanitize=False)
            ui.label("Does this network train? Watch what its initial weights do.").classes("lab-sub")
            ui.space()
            widgets.icon_button("contrast", "Light or dark", self.dark.toggle)
        with ui.element("div").classes("lab-page"):
            with ui.element("aside").classes("lab-controls").props('aria-label="Settings"'):
                self._build_controls()
            with ui.element("main").classes("lab-main"):
                self._build_verdict()
                with ui.element("div").classes("lab-grid"):
                    self._build_panels()
        client = ui.context.client
        client.on_delete(self.close)
        ui.timer(0, self._begin, once=True)
        ui.timer(INTERVAL, self._tell)
        ui.timer(INTERVAL, self._look)
        ui.timer(INTERVAL, self._paint)

    # Building.

    def _build_controls(self) -> None:
        with ui.element("div").classes("lab-buttons"):
            self._train = widgets.button("Train", self._on_train, icon="play_arrow", main=True)
            self._pause = widgets.button("Pause", self._on_pause, icon="pause")
            self._step = widgets.button(
                "Step", self._on_step, icon="skip_next", tip="train one epoch, then pause"
            )
            self._reset = widgets.button(
                "Reset", self._on_reset, icon="replay", tip="the untrained network again"
            )
        self._problem = ui.label().classes("lab-problem").props('role="alert"')
        self._problem.set_visibility(False)
        ui.label("Try these weights").classes("lab-group")
        with ui.element("div").classes("lab-presets"):
            for name, tip, change in PRESETS:
                widgets.button(name, partial(self._on_preset, change), tip=tip)
        start = Settings()
        ui.label("Weights").classes("lab-group")
        inits = dict.fromkeys([*schemes(), *INITS])
        self._select("init", "Initializer", list(inits), start.init, free=True)
        self._slider("scale", "Scale of the weights", start.scale, *SCALES)
        self._number("seed", "Seed", start.seed)
        ui.label("Network").classes("lab-group")
        self._controls["widths"] = ui.input(
            "Hidden layers", value=start.widths, on_change=self._changed
        ).props("dense outlined debounce=300")
        self._explain("widths")
        self._select("activation", "Activation", list(_core.nn_names()[0]), start.activation, free=True)
        ui.label("Training").classes("lab-group")
        self._select("data", "Data", list(datasets.SOURCES), start.data)
        self._select("optimizer", "Optimizer", list(OPTIMIZERS), start.optimizer)
        self._slider("lr", "Learning rate", start.lr, 1e-4, 10.0)
        self._number("batch_size", "Batch size", start.batch_size)
        self._speed = ui.select(SPEEDS, label="Speed", value=10.0, on_change=self._on_speed)
        self._speed.props("dense outlined options-dense transition-duration=0")
        widgets.hint(self._speed, HELP["speed"])
        self._label_sliders()

    def _select(self, name: str, label: str, options: list[str], value: str, *, free: bool = False) -> None:
        more: dict[str, Any] = {"with_input": True, "new_value_mode": "add-unique"} if free else {}
        made = ui.select(options, label=label, value=value, on_change=self._changed, **more)
        self._controls[name] = made.props("dense outlined options-dense transition-duration=0")
        self._explain(name)

    def _number(self, name: str, label: str, value: int) -> None:
        made = ui.input(label, value=str(value), on_change=self._changed)
        self._controls[name] = made.props('dense outlined debounce=300 inputmode="numeric"')
        self._explain(name)

    def _slider(self, name: str, label: str, value: float, low: float, high: float) -> None:
        """Make a slider of a logarithm, and what it says beside its name."""
        with ui.element("div").classes("lab-slider"):
            ui.label(label)
            self._labels[name] = ui.label()
        a, b = math.log10(low), math.log10(high)
        made = ui.slider(min=a, max=b, step=(b - a) / 80, value=math.log10(value), on_change=self._changed)
        made.props(f'aria-label="{label}, logarithmic" dense')
        self._controls[name] = made
        self._explain(name)

    def _explain(self, name: str) -> None:
        widgets.hint(self._controls[name], HELP[name])

    def _build_verdict(self) -> None:
        with ui.element("section").classes("lab-verdict").props('aria-label="Verdict"') as self._banner:
            self._icon = ui.icon("hourglass_empty").classes("lab-verdict-icon")
            with ui.element("div").classes("lab-words").props('aria-live="polite"'):
                self._verdict = ui.label("loading").classes("lab-verdict-name")
                with self._verdict:
                    self._meaning = ui.tooltip("")
                self._reason = ui.label().classes("lab-reason")
                self._advice = ui.label().classes("lab-advice")
            with ui.element("div").classes("lab-numbers"):
                self._state = ui.label("loading").classes("lab-state")
                self._numbers = {
                    name: widgets.figure(label) for name, label in (
                        ("epoch", "epoch"), ("loss", "training loss"), ("accuracy", "training accuracy"),
                        ("val_accuracy", "test accuracy"),
                    )
                }  # fmt: skip

    def _build_panels(self) -> None:
        with widgets.Panel("Cost", HELP["cost"]):
            self._cost = ui.echart({}).classes("lab-chart")
        with widgets.Panel("What it answers", HELP["answers"]):
            self._answers = widgets.picture()
            observer = ui.element("q-resize-observer").props("debounce=200")
            observer.on("resize", self._on_resize)
        with widgets.Panel("The network", HELP["network"]) as (_, head):
            self._network = widgets.picture()
        with head:
            self._side = ui.toggle({False: "weights", True: "gradients"}, value=False)
            self._side.props("dense no-caps unelevated")
        with widgets.Panel("Signals in each layer", HELP["signals"]) as (self._signals_title, _):
            self._signals = ui.echart({}).classes("lab-chart")
        with widgets.Panel("Spread, layer by layer", HELP["depth"]) as (self._depth_title, _):
            self._depth = ui.echart({}).classes("lab-chart")
        with widgets.Panel("Each layer", HELP["layers"]):
            self._table = ui.html("", sanitize=False).classes("lab-table").props("tabindex=0")

    # What the user does.

    async def _begin(self) -> None:
        wants_dark = await ui.run_javascript("matchMedia('(prefers-color-scheme: dark)').matches", timeout=10)
        self.dark.value = bool(wants_dark)
        await self._apply()

    def _values(self) -> dict[str, Any]:
        values = {name: control.value for name, control in self._controls.items()}
        return values | {name: float(f"{10 ** values[name]:.3g}") for name in ("scale", "lr")}

    async def _changed(self) -> None:
        """Apply the settings when they have not changed for a moment."""
        self._label_sliders()
        self._asked += 1
        asked = self._asked
        await asyncio.sleep(SETTLE)
        if asked == self._asked:
            await self._apply()

    def _label_sliders(self) -> None:
        for name, label in self._labels.items():
            label.text = f"{10 ** self._controls[name].value:.3g}" + (" ×" if name == "scale" else "")

    async def _apply(self, *, again: bool = False) -> bool:
        """Make the network that the settings describe, unless it is there already; say what is wrong."""
        async with self._applying:
            self._told, self._busy = None, True
            try:
                settings = Settings(**self._values())
                self._state.text = f"loading {settings.data}"
                if self.session is None:
                    self.session = await _elsewhere(Session, settings)
                    _sessions.add(self.session)
                    self._on_speed()
                elif again or settings != self.session.settings:
                    await _elsewhere(self.session.reset, settings)
            except (ValueError, ImportError, OSError, MemoryError) as error:
                self._problem.text = str(error)
                self._problem.set_visibility(True)
                return False
            finally:
                self._busy = False
            self._problem.set_visibility(False)
            return True

    async def _on_train(self) -> None:
        if await self._apply() and self.session is not None:
            self.session.start()
            self._tell()

    async def _on_step(self) -> None:
        if await self._apply() and self.session is not None:
            self.session.step()

    def _on_pause(self) -> None:
        if self.session is not None:
            self.session.pause()

    async def _on_reset(self) -> None:
        await self._apply(again=True)
        self._tell()

    async def _on_preset(self, change: dict[str, Any]) -> None:
        self._controls["init"].value = change["init"]
        self._controls["scale"].value = math.log10(change["scale"])
        if await self._apply(again=True) and self.session is not None:
            self.session.start()

    def _on_speed(self) -> None:
        if self.session is not None:
            self.session.pace = self._speed.value or None

    def _on_resize(self, event: Any) -> None:
        width, height = (float(event.args[side]) for side in ("width", "height"))
        if width > 50 and height > 50:
            self.size = (width / 100, height / 100)

    def close(self) -> None:
        """End the training when the tab is gone."""
        if self.session is not None:
            self.session.close(wait=False)

    # What the user sees.

    def _tell(self) -> None:
        """Show words, numbers and the cost."""
        if self.session is None or self._busy:
            return
        snapshot = self.session.snapshot()
        now = (snapshot, self.dark.value)
        if now == self._told:
            return
        self._told = now
        words = STATES[snapshot.state]
        if snapshot.state == "running" and snapshot.speed:
            words += f", {snapshot.speed:.3g} epochs/s"
        self._state.text = words
        self._show_numbers(snapshot)
        over, running = snapshot.state in OVER, snapshot.state == "running"
        self._train.set_enabled(not over and not running)
        self._pause.set_enabled(running)
        self._step.set_enabled(not over)
        if snapshot.message:
            self._problem.text = f"{widgets.plain(snapshot.message)}. Reset to try again."
            self._problem.set_visibility(True)
        widgets.send(self._cost, charts.cost(snapshot, dark=bool(self.dark.value)))

    def _show_numbers(self, snapshot: Snapshot) -> None:
        for name, label in self._numbers.items():
            value = snapshot.epoch if name == "epoch" else snapshot.last(name)
            if not math.isfinite(value):
                label.text = "overflow"
            else:
                label.text = f"{value:.1%}" if name.endswith("accuracy") else f"{value:.4g}"

    async def _look(self) -> None:
        """Diagnose what has changed, and show verdict and charts."""
        session = self.session
        if session is None:
            return
        now = (session.version, self.dark.value, self._side.value)
        if now == self._seen:
            return
        self._seen = now
        if self.view is None or self.view.copy.version != session.version:
            self.view = await _elsewhere(_looked_at, session, False)
        if self.first is None or self.first.copy.run != self.view.copy.run:
            self.first = await _elsewhere(_looked_at, session, True)
        if self.first.copy.run == self.view.copy.run:  # else all of it has just begun anew
            self._show_report(self.first, self.view)

    async def _paint(self) -> None:
        """Draw the pictures of what was looked at; where the training wants all the time there is, rest."""
        session, view, size = self.session, self.view, self.size
        dark, backward = bool(self.dark.value), bool(self._side.value)
        now = (view, size, dark, backward)
        if session is None or view is None:
            return
        running = session.snapshot().state == "running"
        if now == self._painted and (running or now == self._network_of):
            return
        before, self._painted = self._painted, now
        began = time.monotonic()
        png = await _elsewhere(panels.answers, view, size, dark=dark)
        widgets.show(self._answers, png, panels.describe(view))
        # It takes longest and changes least: while nothing but the weights change, every third time will do.
        self._skipped = (self._skipped + 1) % 3 if running and before and before[1:] == now[1:] else 0
        if self._skipped == 0:
            png = await _elsewhere(panels.network, view, size, dark=dark, backward=backward)
            widgets.show(self._network, png, f"The network, coloured by {self._side.options[backward]}")
            self._network_of = now
        if running and session.pace is None:
            await asyncio.sleep(max(0.0, time.monotonic() - began - INTERVAL))

    def _show_report(self, first: View, view: View) -> None:
        report, dark, backward = view.report, bool(self.dark.value), bool(self._side.value)
        icon, color, meaning = MEANING[report.verdict]
        self._icon.props(f'name="{icon}"')
        self._banner.style(f"--verdict: {color}")
        begin = first.report.verdict
        name = report.verdict if begin == report.verdict else f"{report.verdict} (at the start: {begin})"
        self._verdict.text, self._meaning.text = name, meaning
        self._reason.text = widgets.plain(report.reason)
        self._advice.text = f"What to do: {widgets.plain(report.advice)}" if report.advice else ""
        side = "gradient" if backward else "signal"
        self._signals_title.text = f"{side.capitalize()}s in each layer"
        self._depth_title.text = f"Spread of {side}s, layer by layer"
        widgets.send(self._signals, charts.signals(*view.signals(backward=backward), dark=dark))
        what = "gradient std, last layer = 1" if backward else "standard deviation"
        found, expected = view.spread(backward=backward), first.expected(backward=backward)
        widgets.send(self._depth, charts.depth(found, expected, what=what, dark=dark))
        self._table.content = widgets.table(report)


def _looked_at(session: Session, untrained: bool) -> View:
    """Look at a network, and have it diagnosed here rather than in the page's thread."""
    view = View(session.network(untrained=untrained))
    with np.errstate(all="ignore"):  # what overflows is shown
        _ = view.report, view.gradients, untrained and view.report.layers[0].expected
    return view


async def _elsewhere(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Do work in another thread, so that the page goes on; a closed page is no longer waited for."""
    # NiceGUI's own run.io_bound gives None where this is cancelled.
    return await asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **options))


def serve(port: int, *, browser: bool) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C; see `initcore.lab.main`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise OSError(
                f"cannot listen on 127.0.0.1:{port} ({error.strerror}): choose another --port"
            ) from None
    # A training that diverges is told in the page.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"initcore\.lab\.session")
    app.on_startup(lambda: background_tasks.create(_elsewhere(load, Settings().data, Settings().seed)))
    print(f"the laboratory is at http://127.0.0.1:{port}; Ctrl-C ends it", flush=True)
    try:
        ui.run(
            Page,
            host="127.0.0.1",
            port=port,
            title="initcore laboratory",
            favicon=FAVICON,
            show=browser,
            reload=False,
            show_welcome_message=False,
        )
    finally:
        _close_all()


def _close_all() -> None:
    """End every training: a thread inside of the core must not outlive the interpreter."""
    for wait in (False, True):
        for session in list(_sessions):
            session.close(wait=wait)
