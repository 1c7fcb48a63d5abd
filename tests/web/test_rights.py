"""Every route names the right it needs; and what stands around all routes: header fields, the log, slow requests, TLS.

Not covered: trickling bodies and readers that take nothing (tests of the pace of connections); browsers.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

from node.core import log, settings
from node.core.errors import Misconfigured
from node.core.rights import ROLES, SCOPES, check_roles, check_scopes
from node.web import connections, secured
from node.web.auth.needs import ANYBODY, needs
from node.web.connections import Certificate, Secrecy
from node.web.secured import Secured, words_of
from tests.dimse.certificates import Authority
from tests.docs import access_page
from tests.peers import LOOPBACK, wait_until
from tests.web.declared import Declared, declared, of_a_node
from tests.web.door import READ, Door

OPEN = {"/health/live", "/health/ready", "/static", "/login", "/login/oidc", "/login/oidc/callback"}


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Declared]:
    return of_a_node(tmp_path_factory.mktemp("routes") / "node")


@pytest.fixture(scope="module")
def door(empty_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Door(empty_file, tmp_path_factory.mktemp("door")) as opened:
        yield opened


def test_every_route_names_what_it_needs_and_only_health_and_login_are_open(routes: list[Declared]) -> None:
    assert len(routes) > 40
    assert [one for one in routes if one.needed is None] == []
    assert {one.path for one in routes if one.needed == ANYBODY} == OPEN
    assert {one.needed for one in routes} - {ANYBODY, "logged in"} <= set(SCOPES)
    writing = [one for one in routes if "POST" in one.methods and "GET" not in one.methods]
    assert {one.needed for one in writing if one.path not in ("/studies", "/login")} <= {
        "steer", "store", "judge", "logged in"
    }  # fmt: skip


def test_a_route_that_names_nothing_is_found() -> None:
    forgotten = Route("/forgotten", lambda _: PlainTextResponse("open"))
    within = Mount(
        "/a", Starlette(routes=[forgotten, Route("/b", lambda _: PlainTextResponse(""), middleware=[needs("view")])])
    )
    files = Mount("/files", lambda *_: None)  # type: ignore[arg-type,return-value]
    found = {one.path: one.needed for one in declared([forgotten, within, files])}
    assert found == {"/forgotten": None, "/a/forgotten": None, "/a/b": "view", "/files": None}
    with pytest.raises(AssertionError, match="no scope"):
        needs("everything")


def test_the_page_about_access_is_written_from_the_code(routes: list[Declared]) -> None:
    assert access_page.PAGE.read_text(encoding="utf-8") == access_page.page(routes), (
        "run python -m tests.docs.access_page"
    )


def test_roles_and_scopes_that_there_are_not_are_refused() -> None:
    assert check_roles(["admin", "reader", "admin"]) == ("reader", "admin") and check_scopes(["view"]) == ("view",)
    for check, wrong in ((check_roles, []), (check_roles, ["view"]), (check_scopes, ["reader"]), (check_scopes, [])):
        with pytest.raises(Misconfigured):
            check(wrong)
    assert set(ROLES) == {"reader", "operator", "auditor", "admin"}


@pytest.mark.parametrize(
    "flags",
    [
        {("web", "loopback_role"): "king"},
        {("web", "certificate"): "a.pem"},
        {("web", "proxies"): ["everybody"]},
        {("web", "session_hours"): 0.0},
        {("oidc", "issuer"): "http://provider.example"},
        {("oidc", "issuer"): "https://provider.example"},
        {("oidc", "issuer"): "https://p.example", ("oidc", "redirect_url"): "https://n.example/login/oidc/callback"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(flags: dict[tuple[str, str], object]) -> None:
    with pytest.raises(Misconfigured, match=r"^(web|oidc)\."):
        settings.load(flags=flags)


def test_every_answer_has_the_fields_of_security(door: Door) -> None:
    for path in ("/health/live", "/metrics", "/api/v1/aggregate", "/login", "/no/thing"):
        fields = httpx.get(door.url + path).headers
        assert "frame-ancestors 'none'" in fields["content-security-policy"], path
        assert "unsafe-inline" not in fields["content-security-policy"], path
        assert fields["x-content-type-options"] == "nosniff" and fields["referrer-policy"] == "no-referrer"
        assert fields["cache-control"] == "no-store" and "server" not in fields
        assert "strict-transport-security" not in fields


def test_the_log_has_a_line_for_each_answer_that_names_nobody(door: Door) -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before, level = root.handlers[:], root.level
    log.start("info", stream)
    try:
        httpx.get(f"{door.url}{READ}?patient=Zebramarker&study=1.2")
        httpx.get(f"{door.url}/dicom-web/studies/1.2.3/Zebramarker?PatientName=Zebramarker")
        httpx.get(f"{door.url}/health/live")
        httpx.get(f"{door.url}/last")  # lines are written after their answers
        wait_until(lambda: stream.getvalue().count('"/*"') >= 1, 20, "the last line is there")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    lines = stream.getvalue()
    assert "Zebramarker" not in lines and "/health" not in lines
    assert lines.count('"path": "/api/v1/results"') == 1 == lines.count('"path": "/dicom-web/studies/1.2.3/*"')


def test_the_trail_is_not_filled_by_nobody(empty_file: Path, tmp_path: Path) -> None:
    with Door(empty_file, tmp_path / "door") as door:
        asked = [("GET", f"/api/v1/Zebramarker{'x' * 300}"), ("PUT", READ), ("DELETE", "/studies"), ("GET", READ)]
        for method, path in asked:
            assert httpx.request(method, door.url + path).status_code in (401, 404, 405)
        ((_, outcome, actor, details),) = door.told("api", "query")
        assert (outcome, actor) == ("minor", "") and len(details["path"]) == 128
        anna = door.entered("anna", "reader")
        for _ in range(2):
            assert anna.get("/api/v1/nothing").status_code == 404
        assert [who for _, _, who, _ in door.told("api")] == ["", "anna", "anna"]


def test_the_words_of_the_log_are_those_of_the_routes() -> None:
    inner = Starlette(routes=[Route("/b/{name}/c", lambda _: PlainTextResponse(""))])
    assert words_of([Mount("/a", inner)]) == {"", "a", "b", "c"}


def test_a_request_whose_header_does_not_end_is_ended(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.2)
    for sent in (b"", b"GET /health/live HTTP/1.1\r\nHost: a\r\n", b"GET /" + b"a" * 70_000):
        with socket.create_connection((LOOPBACK, door.server.port), timeout=20) as connection:
            connection.sendall(sent)
            answered = connection.recv(1000)
            assert answered == b"" or answered.startswith(b"HTTP/1.1 4")
    long = httpx.get(f"{door.url}/health/live", headers={"X-Long": "a" * 70_000})
    assert long.status_code in (400, 431)


def test_a_body_that_does_not_come_is_answered(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def never() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def ask(path: str) -> None:
        whole = Secured(app, (), "/dicom-web", seconds=0.05)
        scope = {"type": "http", "method": "POST", "path": path, "scheme": "http", "headers": []}
        with anyio.fail_after(1):
            await whole(scope, never, never)  # type: ignore[arg-type]

    with pytest.raises(HTTPException) as caught:
        anyio.run(ask, READ)
    assert caught.value.status_code == 408
    with pytest.raises(TimeoutError):
        anyio.run(ask, "/dicom-web/studies")  # uploads have a limit of their own
    assert secured.SILENT_SECONDS >= 10


def test_the_port_speaks_tls_and_follows_its_certificate(empty_file: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    pair = authority.sign("first")
    flags = {("web", "certificate"): str(pair.certificate), ("web", "key"): str(pair.key)}
    with Door(empty_file, tmp_path / "door", flags) as door:
        trust = ssl.create_default_context(cafile=authority.file)
        with httpx.Client(verify=trust, base_url=door.url) as client:
            assert client.get("/health/live").headers["strict-transport-security"].startswith("max-age=")
            door.user("anna", "reader")
            given = door.log_in(client, "anna").headers["set-cookie"]
            assert given.startswith("__Host-lungnode=") and "Secure" in given and client.get(READ).status_code == 200
        old = ssl.create_default_context(cafile=authority.file)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("AES128-SHA256")  # without forward secrecy
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{door.url}/health/live", verify=old)


def test_a_certificate_is_renewed_by_its_files(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first, second = authority.sign("first"), authority.sign("second")
    own = [tmp_path / "own.pem", tmp_path / "own.key"]
    for source, target in zip((first.certificate, first.key), own, strict=True):
        shutil.copy(source, target)
    certificate = Certificate(Secrecy(*map(str, own)))
    assert _shown(certificate, authority) == "first"
    shutil.copy(second.certificate, own[0])  # in the midst of a renewal
    anyio.run(certificate.renew)
    assert _shown(certificate, authority) == "first"
    shutil.copy(second.key, own[1])
    os.utime(own[1], (time.time() + 5, time.time() + 5))
    anyio.run(certificate.renew)
    assert _shown(certificate, authority) == "second"
    with pytest.raises(Misconfigured, match=r"web\.certificate"):
        Certificate(Secrecy(str(own[0]), str(first.key)))


def _shown(certificate: Certificate, authority: Authority) -> str:
    """The name in the certificate that a client sees."""
    client = ssl.create_default_context(cafile=authority.file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = certificate.context.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server, server_hostname=LOOPBACK)
    for side in (asking, server, asking):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    subject = dict(pair[0] for pair in asking.getpeercert()["subject"])  # type: ignore[index,misc]
    return str(subject["commonName"])
