"""A server on this machine that behaves as badly as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typing_extensions import override

from bench.prepare.data import fetch, pictures


@dataclass(slots=True)
class Site:
    """Files by path, and how they are served; ``asked`` lists every request: method, path and range."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    tag: str | None = '"1"'
    cut_after: list[int] = field(default_factory=list)  # of each answer in turn: bytes after which it breaks off
    refuse: list[int] = field(default_factory=list)  # of each request in turn: a status instead of an answer
    retry_after: str | None = None  # what a refusal asks for
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: Site

    @override
    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        if self.server.site.retry_after is not None:
            self.send_header("Retry-After", self.server.site.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, *, body: bool) -> None:
        site, wanted = self.server.site, self.headers.get("Range")
        site.asked.append((self.command, self.path, wanted))
        if body and site.refuse and (status := site.refuse.pop(0)):
            self._refuse(status)
            return
        content = site.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if wanted and site.ranges and self.headers.get("If-Range") == site.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if site.tag:
            self.send_header("ETag", site.tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if body:
            rest = content[start:]
            self.wfile.write(rest[: site.cut_after.pop(0)] if site.cut_after else rest)

    @override
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site on 127.0.0.1."""
    monkeypatch.setattr(fetch, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(pictures, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    server = _Server(("127.0.0.1", 0), _Handler)
    server.site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.site
    server.shutdown()
    thread.join()
    server.server_close()
