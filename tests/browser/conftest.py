"""A running app with the bundled model, cut off from every other host, and a real Chromium to look at it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from compressor.models.loading import memory

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
# Python runs this file before anything else. It writes down, and refuses, every attempt to leave the machine,
# and pretends a small one, on which no 7B model fits.
GUARD = """
import os, socket
def _note(address):
    with open(os.environ["GUARD_LOG"], "a") as log:
        log.write(f"{address}\\n")
def _guarded(name):
    original = getattr(socket.socket, name)
    def call(self, address, *rest):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if not (host.startswith("127.") or host in ("::1", "localhost", "0.0.0.0")):
                _note(address)
                raise OSError("no network in this test")
        return original(self, address, *rest)
    return call
for _name in ("connect", "connect_ex"):
    setattr(socket.socket, _name, _guarded(_name))
_resolve = socket.getaddrinfo
def _getaddrinfo(host, *rest, **options):
    if host not in (None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0"):
        _note(host)
        raise socket.gaierror("no network in this test")
    return _resolve(host, *rest, **options)
socket.getaddrinfo = _getaddrinfo
import psutil
_memory = psutil.virtual_memory
psutil.virtual_memory = lambda: _memory()._replace(total=8 * 10**9, available=6 * 10**9)
_note("guarding")
"""


expect.set_options(timeout=15_000)  # a machine that does other things, too, takes its time


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch):
    """In the test's own process every model fits as it is, whatever runs the tests."""
    monkeypatch.setattr(memory, "memory", lambda *_: (10**12, 10**12))


def chromium() -> str | None:
    """Path of a Chromium on this machine, if there is one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def pytest_collection_modifyitems(items):
    here = [item for item in items if Path(item.path).is_relative_to(Path(__file__).parent)]
    for item in here:
        item.add_marker(pytest.mark.browser)
        if chromium() is None and not os.environ.get("CI_REQUIRE_BROWSER"):
            reason = (
                "no Chromium found: install one (Debian: apt-get install chromium) to run the browser tests"
            )
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc):
    if "walk_seed" in metafunc.fixturenames:
        first, runs = (metafunc.config.getoption(name) for name in ("walk_seed", "walk_runs"))
        metafunc.parametrize("walk_seed", range(first, first + runs))


class App:
    """A running `python app.py`."""

    def __init__(self, process: subprocess.Popen, port: int, folder: Path) -> None:
        self.process, self.folder = process, folder
        self.url = f"http://127.0.0.1:{port}"
        self.uploads = folder / "uploads"

    def log(self) -> str:
        """What the server printed."""
        return (self.folder / "log").read_text()

    def attempts_to_leave(self) -> list[str]:
        """Addresses outside this machine that the server tried to reach, once the guard is known to watch."""
        first, *rest = (self.folder / "guard").read_text().split("\n")[:-1]
        assert first == "guarding"
        return rest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def app(tmp_path_factory, checkpoint, next_checkpoint, xcomposer_checkpoint):
    """The app on a free port, with a local checkpoint of every family; up within 15 s on an idle machine."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "guard-module").mkdir()
    (folder / "guard-module" / "sitecustomize.py").write_text(GUARD)
    port = free_port()
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "PYTHONPATH": str(folder / "guard-module"),
        "GUARD_LOG": str(folder / "guard"),
        "STUDIO_MODELS": os.pathsep.join(map(str, (checkpoint, next_checkpoint, xcomposer_checkpoint))),
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    running = App(process, port, folder)
    try:
        wait_until_up(running)
        yield running
    finally:
        process.terminate()
        process.wait(20)


def wait_until_up(app: App, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if app.process.poll() is not None:
            pytest.fail(f"the app ended:\n{app.log()}")
        try:
            urllib.request.urlopen(app.url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the app was not up after {limit_s:.0f} s:\n{app.log()}")


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests."""
    path = chromium()
    if path is None:
        pytest.fail("CI_REQUIRE_BROWSER is set and there is no Chromium on this machine")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(app, browser):
    """A fresh visitor; in the end nobody may have asked another host for anything, nor met a script error."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(30_000)
    asked, failures = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(app.url)
    page.wait_for_selector(".js-plotly-plot")
    yield page
    context.close()
    local = (app.url, "data:", "blob:", app.url.replace("http", "ws"))
    assert [url for url in asked if not url.startswith(local)] == []
    assert app.attempts_to_leave() == []
    assert failures == []
    assert "Traceback" not in app.log()
