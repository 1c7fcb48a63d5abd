"""An object store for tests: moto's S3 server as a process, and what may stand between it and a node.

moto has a virtual environment of its own in .peers (tests/install_peers.sh), and keeps objects in memory. It checks
neither signatures nor the MD5 that goes with an object: ``Between`` compares that one, and says what a store says to
wrong credentials.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import threading
from base64 import b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config

from tests.peers import LOOPBACK, Absent, Service, free_port, listens, wait_until

PROGRAM = Path(__file__).parents[1] / ".peers" / "moto" / "bin" / "moto_server"
KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "knows"}
PASSED_ON = ("content-type", "etag", "last-modified", "date", "x-amz-meta-sha256", "x-amz-meta-damaged")


class Moto(Service):
    """With one bucket, ``images``."""

    bucket = "images"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> Self:
        if not PROGRAM.exists():
            raise Absent("moto is not installed (tests/install_peers.sh)")
        self._spawn([PROGRAM, "-H", LOOPBACK, "-p", str(self.port)], {"PATH": os.environ["PATH"]})
        wait_until(lambda: listens(self.port), 30, "moto listens")
        self.client.create_bucket(Bucket=self.bucket)
        return self

    @property
    def client(self) -> Any:
        keys = {"aws_access_key_id": "nobody", "aws_secret_access_key": "knows", "region_name": "us-east-1"}
        config = Config(s3={"addressing_style": "path"}, max_pool_connections=1)
        return boto3.session.Session(**keys).client("s3", endpoint_url=self.endpoint, config=config)

    def names(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def content(self, name: str) -> bytes:
        found: bytes = self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        return found

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=name)


class Between:
    """Passes requests on to the store, but for what is asked of it.

    refuses: the code of an error that every request is answered with. before, after: called with method and path of
    each request, before it is passed on and before its answer is. short: answers end in the middle of a body.
    """

    def __init__(self, store: Moto) -> None:
        self.refuses, self.short = "", False
        self.before: Callable[[str, str], object]
        self.after: Callable[[str, str], object]
        self.passes_everything()
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                between._answer(self, store.port)

            do_PUT = do_HEAD = do_DELETE = do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    def passes_everything(self) -> None:
        """Again."""
        self.refuses, self.short = "", False
        self.before = self.after = lambda *_: None

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, port: int) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        md5 = b64encode(hashlib.md5(body).digest()).decode()
        refused = self.refuses or ("BadDigest" if request.headers.get("Content-MD5", md5) != md5 else "")
        if refused:
            said = f"<Error><Code>{refused}</Code><Message>no</Message></Error>".encode()
            status = 503 if refused == "SlowDown" else 403
            self._send(request, status, {"content-type": "application/xml"}, said, len(said))
            return
        self.before(request.command, request.path)
        onward = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "expect"}
        onward.request(request.command, request.path, body, headers)
        found = onward.getresponse()
        content = found.read()
        onward.close()
        self.after(request.command, request.path)
        kept = {name: value for name in PASSED_ON if (value := found.headers.get(name))}
        length = int(found.headers.get("content-length") or len(content))
        if self.short and len(content) > 1:
            content = content[: len(content) // 2]
        self._send(request, found.status, kept, content, length)

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes, length: int
    ) -> None:
        request.send_response_only(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(length))
        request.close_connection = len(content) < length and request.command != "HEAD"
        with contextlib.suppress(OSError):  # who asked waits no longer
            request.end_headers()
            request.wfile.write(content if request.command != "HEAD" else b"")
