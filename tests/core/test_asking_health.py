"""What a command hears of a node whose HTTP port speaks TLS, or does not speak HTTP at all.

Not covered: a node that runs (tests/e2e/test_mending.py).
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from node.commands import mending
from node.core import settings
from node.folders import Folders
from tests.dimse.certificates import Authority, Pair
from tests.peers import LOOPBACK


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"path": self.path}).encode()
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Odd(Ready):
    def do_GET(self) -> None:
        self.wfile.write(b"SSH-2.0-something\r\n")


@contextmanager
def served(handler: type[BaseHTTPRequestHandler], pair: Pair | None = None) -> Iterator[int]:
    server = HTTPServer((LOOPBACK, 0), handler)
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    made.make()
    return made


def test_a_node_with_a_certificate_is_heard(folders: Folders, tmp_path: Path) -> None:
    pair = Authority(tmp_path / "certificates").sign("node")
    flags = {("web", "certificate"): str(pair.certificate), ("web", "key"): str(pair.key)}
    with served(Ready, pair) as port:
        folders.ports.write_text(json.dumps({"http": port}))
        assert mending._says(folders, settings.load(flags=flags)) == {"path": "/health/ready"}
        assert mending._says(folders, settings.load()) is None


def test_what_is_no_node_is_none(folders: Folders) -> None:
    with served(Odd) as port:
        folders.ports.write_text(json.dumps({"http": port}))
        assert mending._says(folders, settings.load()) is None
