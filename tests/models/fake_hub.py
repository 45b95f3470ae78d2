"""A server that answers as the Hub does, for one repository made of a local directory."""

import json
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Knows `owner/model`; `owner/gated` wants its terms accepted."""

    def __init__(self, directory: Path, asked: list[str], *args) -> None:
        self.directory, self.asked = directory, asked
        super().__init__(*args)

    def log_message(self, *args) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self.asked.append(path)
        if "owner/gated" in path:
            self._refuse(403, "GatedRepo")
        elif "owner/model" not in path:
            self._refuse(401, "RepoNotFound")
        elif "/revision/gone" in path:
            self._refuse(404, "RevisionNotFound")
        elif "/tree/" in path:
            self._send(json.dumps([self._entry(file) for file in self._files()]).encode())
        elif "/resolve/" in path:
            file = self.directory / path.rpartition("/")[2]
            if not file.is_file():
                self._refuse(404, "EntryNotFound")
                return
            self._send(file.read_bytes(), etag=self._entry(file)["oid"])
        else:
            siblings = [{"rfilename": file.name, "size": file.stat().st_size} for file in self._files()]
            self._send(json.dumps({"id": "owner/model", "sha": COMMIT, "siblings": siblings}).encode())

    def _files(self) -> list[Path]:
        return sorted(file for file in self.directory.iterdir() if file.is_file())

    def _entry(self, file: Path) -> dict:
        oid = sha1(file.read_bytes()).hexdigest()
        return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": oid}

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, body: bytes, etag: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def serve(directory: Path) -> tuple[ThreadingHTTPServer, list[str]]:
    """A running server, and the list of paths that it was asked for."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory, asked))
    Thread(target=server.serve_forever, daemon=True).start()
    return server, asked
