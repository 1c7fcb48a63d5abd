"""STOW-RS as a destination: a scripted server with every kind of answer, and Orthanc's DICOMweb plugin.

Our real client over sockets, a simulated clock for the ledger. Not covered: proxies, a server that hangs.
"""

from __future__ import annotations

import dataclasses
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node.composition.peers import Peers
from node.core import settings
from node.core.errors import Misconfigured
from node.core.settings import Destination
from node.pipeline.deliver import Deliver
from node.web.stow_client import understood
from tests.dimse.certificates import Authority
from tests.films import Film, drawn
from tests.peers import LOOPBACK, Orthanc, free_port
from tests.pipeline.test_deliver import ledger, turn
from tests.pipeline.waiting import Room

Answer = Callable[[list[str]], tuple[int, bytes]]


def says(status: int, failed: int | None = None, warned: int | None = None, body: bytes | None = None) -> Answer:
    """An answer that names every instance as stored, or as failed, or as stored with a warning."""

    def answer(uids: list[str]) -> tuple[int, bytes]:
        named: list[dict[str, Any]] = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in uids]
        for item in named:
            if failed is not None:
                item["00081197"] = {"vr": "US", "Value": [failed]}
            if warned is not None:
                item["00081196"] = {"vr": "US", "Value": [warned]}
        tag = "00081199" if failed is None else "00081198"
        return status, json.dumps({tag: {"vr": "SQ", "Value": named}}).encode() if body is None else body

    return answer


class Web:
    """Answers each POST by the next of its script, in the end by 200. ``got``: SOP Instance UIDs of each request."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.script: list[Answer] = []
        self.got: list[list[str]] = []
        self.files: dict[str, bytes] = {}
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._post(self)

            def do_OPTIONS(self) -> None:
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def base(self) -> str:
        return f"http{'s' if self.tls else ''}://{LOOPBACK}:{self._server.server_address[1]}/dicom-web"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        assert request.path == "/dicom-web/studies"
        self.headers.append(dict(request.headers.items()))
        content = request.rfile.read(int(request.headers["Content-Length"]))
        kind = request.headers["Content-Type"]
        message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
        uids = []
        for part in message.get_payload():
            assert part.get_content_type() == "application/dicom"  # type: ignore[union-attr]
            file = part.get_payload(decode=True)  # type: ignore[union-attr]
            uids.append(str(dcmread(BytesIO(file), stop_before_pixels=True).SOPInstanceUID))  # type: ignore[arg-type]
            self.files[uids[-1]] = file  # type: ignore[assignment]
        self.got.append(uids)
        status, body = (self.script.pop(0) if self.script else says(200))(uids)
        if status == 0:
            request.connection.close()
            return
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def deliver(room: Room, base: str, **objects: object) -> Deliver:
    usual = settings.load(flags={("delivery", "destinations"): [base]})
    wanted = dataclasses.replace(usual.delivery, backoff_seconds=(5.0,), dimse_timeout_seconds=3.0)
    usual = dataclasses.replace(
        usual,
        delivery=wanted,
        objects=dataclasses.replace(usual.objects, **objects),  # type: ignore[arg-type]
    )
    peers = Peers(usual)
    return Deliver(
        room.database, room.archive, wanted, peers.send, room.clock, lambda: 1.0, peer=peers.find, probe=peers.probe
    )


def test_files_arrive_byte_for_byte_in_one_request(room: Room, web: Web) -> None:
    outputs = room.analysed([web.base])
    turn(deliver(room, web.base))
    assert web.got == [outputs] and {row["state"] for row in ledger(room)} == {"delivered"}
    for row in room.rows("SELECT sop_uid, path FROM outputs"):
        assert web.files[str(row["sop_uid"])].startswith(room.archive.path(str(row["path"])).read_bytes()[:-2])
    assert "Authorization" not in web.headers[0]


@pytest.mark.parametrize(
    "answer, state, status, comment",
    [
        (says(200), "delivered", 0x0000, ""),
        (says(200, body=b""), "delivered", 0x0000, ""),
        (says(200, body=b"<NativeDicomModel/>"), "delivered", 0x0000, ""),
        (says(202, warned=0xB000), "delivered", 0xB000, "warning reason 0xB000"),
        (says(409, failed=0x0111), "delivered", 0x0111, "failure reason 0x0111"),
        (says(202, failed=0xA700), "waiting", 0xA700, "failure reason 0xA700"),
        (says(409, failed=0xC000), "waiting", 0xC000, "failure reason 0xC000"),
        (says(200, failed=0x0110), "waiting", 0x0110, "failure reason 0x0110"),
        (says(202, body=b""), "waiting", None, "nothing is said of this instance"),
        (says(409, body=b"no JSON"), "waiting", None, "nothing is said of this instance"),
        *((says(code, body=b""), "waiting", None, f"HTTP status {code}") for code in (302, 400, 401, 404, 413, 415)),
        *((says(code, body=b""), "waiting", None, f"HTTP status {code}") for code in (500, 502, 503, 504)),
        (says(0, body=b""), "waiting", None, "did not answer or broke off"),
    ],
)  # fmt: skip
def test_each_answer_ends_as_it_says(
    room: Room, web: Web, answer: Answer, state: str, status: int | None, comment: str
) -> None:
    (uid,) = room.analysed([web.base], kinds=("summary",))
    web.script = [answer]
    duty = deliver(room, web.base)
    turn(duty)
    (row,) = ledger(room)
    assert (row["state"], row["last_status"]) == (state, status) and comment in str(row["comment"])
    room.clock.pass_by(6)
    turn(duty)
    assert ledger(room)[0]["state"] == "delivered"
    assert web.got == [[uid]] * (1 if state == "delivered" else 2), "what was stored is not sent again"


def test_a_refused_class_falls_back(room: Room, web: Web) -> None:
    room.analysed([web.base], kinds=("summary",))
    web.script = [says(409, failed=0x0122)]
    duty = deliver(room, web.base)
    for _ in range(2):
        turn(duty)
    assert [row["state"] for row in ledger(room)] == ["replaced", "delivered"]


def test_what_is_too_large_is_parted(room: Room, web: Web) -> None:
    outputs = room.analysed([web.base])
    web.script = [says(413, body=b"")]
    turn(deliver(room, web.base))
    assert {row["state"] for row in ledger(room)} == {"delivered"}
    assert web.got[0] == outputs and web.got[1] + web.got[2] == outputs


def test_each_instance_has_its_own_outcome() -> None:
    body = json.dumps(
        {
            "00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.1"]}}]},
            "00081198": {
                "vr": "SQ",
                "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}, "00081197": {"vr": "US", "Value": [0xA900]}}],
            },
        }
    ).encode()
    taken, refused, forgotten = understood(202, body, ["1.1", "1.2", "1.3"])
    assert (taken.delivered, taken.status) == (True, 0x0000) and (refused.delivered, refused.status) == (False, 0xA900)
    assert not forgotten.delivered and forgotten.status is None


def test_nobody_listens_and_the_breaker_opens(room: Room) -> None:
    base = f"http://{LOOPBACK}:{free_port()}/dicom-web"
    room.analysed([base], kinds=("summary",))
    duty = deliver(room, base)
    for _ in range(6):
        turn(duty)
        room.clock.pass_by(6)
    assert [(row["state"], row["attempts"]) for row in ledger(room)] == [("waiting", 3)]


@pytest.mark.parametrize("kind", ["env", "file"])
def test_the_authorization_is_sent_and_said_nowhere(
    room: Room,
    web: Web,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "Bearer 0123456789-not-to-be-seen"
    (tmp_path / "token").write_text(secret + "\n")
    monkeypatch.setenv("STOW_TOKEN", secret)
    room.analysed([web.base], kinds=("summary",))
    web.script = [says(401, body=b"")]
    duty = deliver(room, web.base, authorization={"env": "env:STOW_TOKEN", "file": f"file:{tmp_path / 'token'}"}[kind])
    with caplog.at_level("DEBUG"):
        turn(duty)
        room.clock.pass_by(6)
        turn(duty)
    assert [headers["Authorization"] for headers in web.headers] == [secret, secret]
    assert "not-to-be-seen" not in caplog.text + room.events() + str(ledger(room))


def test_an_authorization_that_is_missing_sends_nothing(room: Room, web: Web) -> None:
    room.analysed([web.base], kinds=("summary",))
    turn(deliver(room, web.base, authorization="env:NO_SUCH_NAME_AT_ALL"))
    assert web.got == [] and ledger(room)[0]["comment"] == "the authorization is not where the settings say"


@pytest.mark.parametrize(
    "text", ["https://user:pw@host/dicom-web", "https://", "http://host/a?b=c", "http://host:99999/"]
)
def test_a_url_that_cannot_be_a_destination_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured):
        Destination.named(text)


def test_a_certificate_is_verified(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First by authorities that do not know who signed it, then by the one who did."""
    authority = Authority(tmp_path / "ca")
    pair = authority.sign("web")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server = Web(context)
    room.analysed([server.base], kinds=("summary",))
    duty = deliver(room, server.base)
    turn(duty)
    assert server.got == [] and "certificate is not accepted" in str(ledger(room)[0]["comment"])
    monkeypatch.setenv("SSL_CERT_FILE", authority.file)
    room.clock.pass_by(6)
    turn(duty)
    assert ledger(room)[0]["state"] == "delivered"
    server.close()


def test_orthanc_takes_it(room: Room, orthanc: Orthanc) -> None:
    base = f"http://{LOOPBACK}:{orthanc.http_port}/dicom-web"
    film = Film(drawn(3, 96), "stow to orthanc")
    outputs = room.analysed([base], film)
    duty = deliver(room, base)
    turn(duty)
    assert {(row["state"], row["comment"]) for row in ledger(room)} == {("delivered", "")}
    assert {str(ds.SOPInstanceUID) for ds in orthanc.datasets(film.study_uid)} == set(outputs)
    assert Peers(settings.load()).probe(Destination.named(base)) == ""
