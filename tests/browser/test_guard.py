"""The guard of the browser tests catches a process that tries to leave the machine."""

import os
import subprocess
import sys

import pytest

from tests.browser.conftest import GUARD

LEAVING = {
    "connect": "socket.create_connection(('192.0.2.1', 80), 1)",
    "resolve": "urllib.request.urlopen('http://example.com', timeout=1)",
}


@pytest.mark.parametrize("way", LEAVING)
def test_leaving_is_refused_and_written_down(tmp_path, way):
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "GUARD_LOG": str(tmp_path / "log")}
    code = f"import socket, urllib.request; {LEAVING[way]}"
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=60)
    assert ended.returncode != 0
    first, *rest = (tmp_path / "log").read_text().splitlines()
    assert first == "guarding" and any("192.0.2.1" in line or "example.com" in line for line in rest)
