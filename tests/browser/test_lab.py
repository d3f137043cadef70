"""The laboratory in a real browser: what a person would do, on a page that asks nobody but this machine.

The browser is the system's; playwright's own would be a download.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from initcore.compare import INITS
from initcore.lab.settings import schemes
from initcore.lab.words import MEANING

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=15_000)
pytest.importorskip("nicegui")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def laboratory():
    """Serve; give process, port and everything it prints, and end it by Ctrl-C."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "NICEGUI"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "initcore", "lab", "--port", str(port), "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    printed = []
    reader = threading.Thread(target=lambda: printed.extend(process.stdout))
    reader.start()
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, printed
                time.sleep(0.1)
        yield process, port, printed
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        finally:
            process.kill()
            reader.join()
            process.stdout.close()


@pytest.fixture(scope="module")
def server():
    with laboratory() as (process, port, printed):
        yield process, port
    assert not [line for line in printed if "Traceback" in line or "Error" in line], "".join(printed)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM)
        yield made
        made.close()


@pytest.fixture
def tab(browser, server):
    """Open tabs on demand; none may complain, or ask anyone but the laboratory for anything."""
    _, port = server
    contexts, wrong = [], []

    def note_request(request):
        if not re.match(rf"(http|ws)://127\.0\.0\.1:{port}/|data:|blob:", request.url):
            wrong.append(f"request to {request.url}")

    def open_tab(**options):
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", note_request)
        page.on("websocket", note_request)
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.locator(".lab-frame img[src]")).to_have_count(2, timeout=30_000)
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert not wrong


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def epoch(page):
    """Give the epoch that a page shows, -1 while it shows none: its network is being made."""
    text = page.locator(".lab-epoch").inner_text()
    return -1 if text == "–" else int(text)


def wait_for_epoch(page, least):
    end = time.monotonic() + 30
    while epoch(page) < least:
        assert time.monotonic() < end, f"epoch {epoch(page)}, expected {least}"
        time.sleep(0.02)


def state(page):
    return page.locator(".lab-state")


def write(page, label, text):
    page.get_by_label(label, exact=True).fill(text)


def choose(page, label, text):
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=text, exact=True).click()


def choose_by_name(page, label, text):
    """Write into a field that takes other things than it offers, too."""
    field = page.get_by_label(label, exact=True)
    field.fill(text)
    field.press("Enter")


def verdict(page):
    return page.locator(".lab-verdict-name")


def picture(page, which):
    return page.locator(".lab-frame img").nth(which).get_attribute("src")


KNOWN = re.compile(rf"^({'|'.join(MEANING)})", re.IGNORECASE)


def test_it_teaches_at_one_click(tab):
    page = tab()
    expect(verdict(page)).to_have_text("healthy")
    expect(state(page)).to_have_text("ready, not trained")
    before = picture(page, 0), picture(page, 1)
    button(page, "Train").click()
    wait_for_epoch(page, 15)
    button(page, "Pause").click()
    expect(state(page)).to_have_text("paused")
    assert float(page.locator(".lab-test-accuracy").inner_text().rstrip("%")) > 85
    assert (picture(page, 0), picture(page, 1)) != before
    # Charts are canvases: some of their pixels have the colour of a curve.
    colors = page.locator(".lab-chart canvas").first.evaluate(
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        " for (let i = 0; i < d.length; i += 4)"
        " n += d[i] < 30 && d[i + 1] > 90 && d[i + 2] > 150 && d[i + 3] > 200; return n }"
    )
    assert colors > 100


def test_every_initializer_trains(tab):
    page = tab()
    write(page, "Hidden layers", "2x8")
    choose(page, "Data", "xor")
    choose(page, "Speed", "as fast as it can")
    for init in dict.fromkeys([*schemes(), *INITS]):
        choose_by_name(page, "Initializer", init)
        expect(page.get_by_label("Initializer", exact=True)).to_have_value(init)
        expect(page.locator(".lab-epoch")).to_have_text("0")
        button(page, "Step").click()
        expect(state(page)).to_have_text(re.compile("paused|diverged"))
        assert epoch(page) == 1, init
        expect(verdict(page)).to_have_text(KNOWN)
        expect(page.get_by_role("alert")).to_be_visible(visible="diverged" in state(page).inner_text())


def test_presets_say_what_is_wrong(tab):
    page = tab()
    for preset, words in [
        ("Zeros", "zero trap"),
        ("Too small", "vanishing"),
        ("Right", "^healthy$"),
        ("Too large", "exploding"),
    ]:
        button(page, preset).click()
        expect(verdict(page)).to_have_text(re.compile(words))
        expect(state(page)).to_have_text(re.compile("training|diverged"))
        advice = page.locator(".lab-advice")
        expect(advice).to_be_visible(visible=preset != "Right")


def test_pause_step_and_reset(tab):
    page = tab()
    button(page, "Train").click()
    wait_for_epoch(page, 2)
    button(page, "Pause").click()
    expect(state(page)).to_have_text("paused")
    held = epoch(page)
    time.sleep(0.7)
    assert epoch(page) == held
    button(page, "Step").click()
    wait_for_epoch(page, held + 1)
    time.sleep(0.5)
    assert epoch(page) == held + 1
    losses = []
    for _ in range(2):
        button(page, "Reset").click()
        expect(state(page)).to_have_text("ready, not trained")
        assert epoch(page) == 0
        button(page, "Step").click()
        wait_for_epoch(page, 1)
        losses.append(page.locator(".lab-training-loss").inner_text())
    assert losses[0] == losses[1]


def test_tabs_are_independent(tab):
    one, two = tab(), tab()
    write(two, "Seed", "7")
    button(one, "Train").click()
    wait_for_epoch(one, 3)
    assert epoch(two) == 0
    button(two, "Train").click()
    wait_for_epoch(two, 3)
    button(one, "Pause").click()
    expect(state(one)).to_have_text("paused")
    expect(state(two)).to_have_text(re.compile("training"))


def test_bad_settings_are_said(tab):
    page = tab()
    alert = page.get_by_role("alert")
    for label, text, message in [
        ("Hidden layers", "abc", "expected widths such as"),
        ("Hidden layers", "", "widths: expected a text, got nothing"),
        ("Batch size", "-3", "batch size: expected a whole number"),
        ("Seed", "x", "seed: expected a number, got 'x'"),
    ]:
        write(page, label, text)
        expect(alert).to_contain_text(message)
        button(page, "Train").click()
        time.sleep(0.3)
        assert epoch(page) == 0
        write(page, label, "4")
        expect(alert).to_be_hidden()
    choose_by_name(page, "Initializer", "he_nrmal")
    expect(alert).to_contain_text("unknown initializer 'he_nrmal'")


def test_a_scale_of_nothing(tab):
    page = tab()
    choose(page, "Initializer", "zeros")
    expect(page.locator(".lab-training-loss")).to_have_text("0.6931")
    page.get_by_label("Scale of the weights, logarithmic").locator("[tabindex]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("alert")).to_contain_text("zeros has only zeros, and a scale changes none")


@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_images_show_predictions(tab, data):
    page = tab()
    before = picture(page, 0)
    choose(page, "Data", data)
    expect(page.locator(".lab-frame img").first).not_to_have_attribute("src", before)
    button(page, "Train").click()
    wait_for_epoch(page, 2)
    button(page, "Pause").click()
    expect(state(page)).to_have_text("paused")
    assert float(page.locator(".lab-test-accuracy").inner_text().rstrip("%")) > 50
    assert f"images of {data}" in page.locator(".lab-frame img").first.get_attribute("alt")


def test_dark_follows_the_system_and_the_button(tab):
    page = tab(color_scheme="dark")
    expect(page.locator("body")).to_have_class(re.compile("body--dark"))
    before = picture(page, 0)
    button(page, "Light or dark").click()
    expect(page.locator("body")).not_to_have_class(re.compile("body--dark"))
    expect(page.locator(".lab-frame img").first).not_to_have_attribute("src", before)


def test_gradients(tab):
    page = tab()
    before = picture(page, 1)
    button(page, "gradients").click()
    expect(page.get_by_text("Gradients in each layer", exact=True)).to_be_visible()
    expect(page.locator(".lab-frame img").nth(1)).not_to_have_attribute("src", before)


def test_a_keyboard_is_enough(tab):
    page = tab()
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == "Train":
            break
    page.keyboard.press("Enter")
    wait_for_epoch(page, 1)


def test_a_port_that_is_taken(server):
    _, port = server
    command = [sys.executable, "-m", "initcore", "lab", "--port", str(port), "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "choose another --port" in done.stderr
    assert "Traceback" not in done.stderr


def test_others_are_not_served(server):
    """The port is open on 127.0.0.1 and on no other address of the machine."""
    _, port = server
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))


def work_of(process):
    """Give the seconds of processor time that a process took in about a second."""
    times = []
    for pause in (1, 0):
        fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        times.append(int(fields[11]) + int(fields[12]))
        time.sleep(pause)
    return (times[1] - times[0]) / os.sysconf("SC_CLK_TCK")


def test_closed_tabs_and_ctrl_c_end_trainings(browser):
    with laboratory() as (process, port, printed):
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        expect(button(page, "Train")).to_be_enabled(timeout=30_000)
        choose(page, "Speed", "as fast as it can")
        button(page, "Train").click()
        wait_for_epoch(page, 1)
        page.close()
        end = time.monotonic() + 20
        while work_of(process) > 0.1:
            assert time.monotonic() < end, "it still trains"
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        button(page, "Train").click()
        wait_for_epoch(page, 1)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        status = process.wait(10)
        assert time.monotonic() - began < 5
        page.close()
    assert status in {0, 130}
    assert "Traceback" not in "".join(printed)
