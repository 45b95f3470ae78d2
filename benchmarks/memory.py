"""Whether the server's memory stays flat while pages come and go.

    python -m benchmarks.memory

starts the app with the bundled model in a process of its own on a free port of this machine, views the page
100 times, opens 60 chats that each get two answers and are then closed, and prints the memory of the process
(RSS) after the first 20 of both and at the end. It exits with 1 where the end is more than 10 % above. It
speaks to the server as the page's own script does: by the queue, with a heartbeat while the page is open.
"""

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = ("how many objects are there?", "what color is the background?")
LIMIT = 1.1
START_S, CALL_S = 120.0, 120.0


class Page:
    """A page without a browser: the values of its components, and its events.

    Args:
        client: of the server.
        config: what the server says of its components and events.
    """

    def __init__(self, client: httpx.Client, config: dict[str, Any]) -> None:
        self._client, self._name = client, secrets.token_hex(6)
        self._events = config["dependencies"]
        self._ids = {each["props"].get("elem_id"): each["id"] for each in config["components"]}
        self.values = {each["id"]: each["props"].get("value") for each in config["components"]}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keeps the heartbeat of the page, and at first runs what runs when it loads."""
        with self._client.stream("GET", f"/gradio_api/heartbeat/{self._name}") as heartbeat:
            lines = heartbeat.iter_lines()  # the connection ends with this iterator
            next(lines)
            self.trigger(None, "load")
            yield

    def trigger(self, target: str | None, name: str) -> None:
        """Runs the event of the component with this element id, and what follows its success."""
        (event,) = (
            each
            for each in self._events
            if each["backend_fn"]
            and any(event == name and target in (None, self._of(place)) for place, event in each["targets"])
        )
        self._run(event)

    def fill(self, target: str, value: Any) -> None:
        """Sets the value of the component with this element id."""
        self.values[self._ids[target]] = value

    def _of(self, place: int) -> str | None:
        return next((name for name, key in self._ids.items() if key == place), None)

    def _run(self, event: dict[str, Any]) -> None:
        body = {
            "data": [self.values[place] for place in event["inputs"]],
            "fn_index": event["id"],
            "session_hash": self._name,
        }
        self._client.post("/gradio_api/queue/join", json=body).raise_for_status()
        results = self._result()
        for place, value in zip(event["outputs"], results, strict=True):
            if isinstance(value, dict) and value.get("__type__") == "update":
                self.values[place] = value.get("value", self.values[place])
            else:
                self.values[place] = value
        for following in self._events:
            if following["trigger_after"] == event["id"] and following["trigger_only_on_success"]:
                self._run(following)

    def _result(self) -> list[Any]:
        """What the one event that is under way has given in the end."""
        place = f"/gradio_api/queue/data?session_hash={self._name}"
        with self._client.stream("GET", place) as messages:
            for line in messages.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                if message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(f"the server refused: {message['output']}")
                    return message["output"]["data"]
        raise RuntimeError("the server ended an event without a result")


def one_session(client: httpx.Client, config: dict[str, Any]) -> None:
    """One visitor: opens the page, asks two questions about its scene, and closes it."""
    page = Page(client, config)
    with page.open():
        for question in QUESTIONS:
            page.fill("question", question)
            page.trigger("ask", "click")


@contextmanager
def server() -> Iterator[tuple[psutil.Process, httpx.Client]]:
    """The app in a process of its own, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_TEMP_DIR": folder,
            "HF_HUB_OFFLINE": "1",
        }
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=CALL_S, trust_env=False) as client:
                wait_until_up(process, client)
                yield psutil.Process(process.pid), client
        finally:
            process.terminate()
            process.wait(20)


def wait_until_up(process: subprocess.Popen, client: httpx.Client) -> None:
    """Waits until the page is served.

    Raises:
        RuntimeError: the process has ended, or the page is not served in time.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.get("/config").raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise RuntimeError("the app did not start")


def main() -> int:
    """Runs the benchmark and prints its three numbers."""
    parser = argparse.ArgumentParser(description="Memory of the server while pages come and go.")
    parser.add_argument("--views", type=int, default=100, help="page views (100)")
    parser.add_argument("--sessions", type=int, default=60, help="sessions with answers")
    parser.add_argument("--first", type=int, default=20, help="the end is compared with so many of both (20)")
    options = parser.parse_args()
    with server() as (process, client):
        config = client.get("/config").json()
        for number in range(1, max(options.views, options.sessions) + 1):
            if number <= options.views:
                client.get("/").raise_for_status()
            if number <= options.sessions:
                one_session(client, config)
            if number == options.first:
                before = process.memory_info().rss
        after = process.memory_info().rss
    print(f"after {options.first} page views and sessions: {before / 1e6:,.0f} MB")
    print(f"after {options.views} page views and {options.sessions} sessions: {after / 1e6:,.0f} MB")
    print(f"ratio: {after / before:.3f} (at most {LIMIT})")
    return int(after > LIMIT * before)


if __name__ == "__main__":
    sys.exit(main())
