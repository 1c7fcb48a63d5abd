"""Clients that mean harm or are broken, on a real port: trickles, endless heads, bombs, smuggled lines, paths upwards.

What a login and its limits make of clients is in tests/web/test_login.py, single objects that are bombs in
tests/e2e/test_bad_input.py and test_hostile_pixels.py. Not covered: floods of connections, which are the firewall's.
"""

from __future__ import annotations

import gzip
import itertools
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from node.web import connections, pace
from node.web.dicomweb import multipart, rendered, search
from node.web.dicomweb.renderings import WAITING
from tests.dicomweb.site import PREFIX, Answered, Site, message, site
from tests.films import Film, drawn, encoded, uid, wrap
from tests.peers import LOOPBACK, wait_until

LARGE = f"/studies/{uid('study', 'bad large')}"
KIND = 'multipart/related; type="application/dicom"; boundary=b'
STORE = f"POST {PREFIX}/studies HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: {KIND}\r\n"


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("bad")) as running:
        large = np.zeros((2048, 2048), np.uint16)
        running.keep(*(encoded(wrap(Film(large + n, f"bad large {n}", study="bad large"))) for n in range(4)))
        running.keep(encoded(wrap(Film(drawn(5, 64), "bad film", study="bad film"))))
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW_SECONDS", 0.2)
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)


def connected(to: Site, head: str = "", receive_buffer: int = 0) -> socket.socket:
    made = socket.socket()
    if receive_buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.settimeout(30)
    made.connect((LOOPBACK, to.port))
    made.sendall(head.encode("latin-1"))
    return made


def rest_of(client: socket.socket) -> bytes:
    """All that still comes until the node closes the connection; a reset is an end too."""
    found = b""
    try:
        while piece := client.recv(1 << 16):
            found += piece
    except ConnectionError:
        pass
    return found


def trickled(client: socket.socket, letters: Iterator[bytes]) -> bytes:
    """Sends one after another until the node has had enough; what it said. Fails where it never has."""
    deadline = time.monotonic() + 60
    try:
        for letter in letters:
            assert time.monotonic() < deadline, "it would have listened for ever"
            client.sendall(letter)
            time.sleep(0.02)
    except ConnectionError:
        pass
    return rest_of(client)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("length", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_a_body_that_trickles_is_cut_and_others_are_answered_meanwhile(open_site: Site, length: str) -> None:
    with connected(open_site, f"{STORE}{length}\r\n\r\n") as client:
        assert open_site.get("/studies").status == 200
        letters = itertools.repeat(b"1\r\nx\r\n" if "chunked" in length else b"x")
        said = trickled(client, letters)
        assert not said or said.startswith(b"HTTP/1.1 408 ")
    assert open_site.get("/studies").status == 200


@pytest.mark.usefixtures("impatient")
def test_a_head_that_trickles_is_cut(open_site: Site) -> None:
    with connected(open_site, f"GET / HTTP/1.1\r\nHost: {LOOPBACK}\r\n") as client:
        assert b" 200 " not in trickled(client, itertools.cycle([b"X", b"-", b"A", b":", b" ", b"b", b"\r\n"]))


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_nobody_takes_is_given_up(open_site: Site) -> None:
    head = f"GET {PREFIX}{LARGE} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n"
    with connected(open_site, head, receive_buffer=4096) as client:
        assert client.recv(12) == b"HTTP/1.1 200"
        time.sleep(2)  # ten windows without taking a byte
        assert len(rest_of(client)) < 4 * 2048 * 2048 * 2
    assert open_site.get("/studies").status == 200


def test_a_reader_that_is_slow_and_takes_is_served_to_the_end(open_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW_SECONDS", 1.0)
    monkeypatch.setattr(pace, "LEAST_BYTES", 1)
    head = f"GET {PREFIX}{LARGE} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n"
    found = 0
    with connected(open_site, head, receive_buffer=1 << 16) as client:
        while piece := client.recv(1 << 19):
            found += len(piece)
            time.sleep(0.03)
    assert found > 4 * 2048 * 2048 * 2


def test_a_header_field_without_an_end_is_not_held(open_site: Site) -> None:
    with connected(open_site, f"GET / HTTP/1.1\r\nHost: {LOOPBACK}\r\nX-Long: ") as client:
        with pytest.raises(ConnectionError):
            for _ in range(64):
                client.sendall(b"a" * (1 << 16))
                time.sleep(0.005)
        assert b" 200 " not in rest_of(client)


def test_many_header_fields_are_refused(open_site: Site) -> None:
    fields = "".join(f"X-{n}: {'v' * 100}\r\n" for n in range(1000))
    with connected(open_site, f"GET {PREFIX}/studies HTTP/1.1\r\nHost: {LOOPBACK}\r\n{fields}\r\n") as client:
        assert re.match(rb"HTTP/1.1 4\d\d ", rest_of(client))


@pytest.mark.parametrize("path", ["/studies", "/studies/1.2.3"])
def test_a_compressed_body_is_not_unpacked(open_site: Site, path: str) -> None:
    bomb = gzip.compress(bytes(20_000_000))
    answered = open_site.ask("POST", path, {"Content-Type": KIND, "Content-Encoding": "gzip"}, bomb)
    assert answered.status == 415 and answered.headers["accept-encoding"] == "identity"
    plain, kind = message([("application/dicom", "", b"nothing")], "application/dicom")
    named = {"Content-Type": kind, "Content-Encoding": "Identity"}
    assert open_site.ask("POST", path, named, plain).status == 409, "which is no coding"


def test_a_coded_transfer_is_not_unpacked(open_site: Site) -> None:
    head = f"{STORE}Transfer-Encoding: gzip, chunked\r\n\r\n5\r\naaaaa\r\n0\r\n\r\n"
    with connected(open_site, head) as client:
        assert re.match(rb"HTTP/1.1 (400|501) ", client.recv(1 << 16))


@pytest.mark.parametrize(
    "smuggled",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ],
)
def test_a_body_of_two_lengths_is_refused(open_site: Site, smuggled: str) -> None:
    body = f"0\r\n\r\nGET {PREFIX}/studies HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n"
    with connected(open_site, f"{STORE}{smuggled}\r\n{body}") as client:
        client.shutdown(socket.SHUT_WR)
        said = rest_of(client)
    assert said.count(b"HTTP/1.1 ") == 1 and re.match(rb"HTTP/1.1 (4\d\d|501) ", said), said[:200]


def test_a_message_of_countless_parts_is_refused(open_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "MOST_PARTS", 10)
    for number, wanted in ((10, 409), (11, 400)):
        body, kind = message([("application/dicom", "", b"")] * number, "application/dicom")
        assert open_site.ask("POST", "/studies", {"Content-Type": kind}, body).status == wanted


INJECTED = "%0d%0aX-Injected:%20yes%0d%0a%0d%0a<script>"


@pytest.mark.parametrize(
    "path",
    [
        f"/studies/1.2{INJECTED}",
        f"/studies?PatientName={INJECTED}",
        f"/studies?{INJECTED}=a",
        f"/studies?accept={INJECTED}",
        f"/studies/1.2/series/1.3{INJECTED}/metadata",
        f"{LARGE}/thumbnail?viewport={INJECTED}",
        f"/{INJECTED}",
    ],
)
def test_what_a_client_sends_never_becomes_a_header_or_a_page(open_site: Site, path: str) -> None:
    answered = open_site.get(path)
    assert "x-injected" not in answered.headers and 200 <= answered.status < 500
    assert b"<script>" not in answered.body or not answered.headers.get("content-type", "").startswith("text/html")


@pytest.mark.parametrize("host", ["a\tb", "a/b", "a@b", "a b", "[::1", "x" * 300, ""])
def test_a_host_that_is_none_is_no_address_in_an_answer(open_site: Site, host: str) -> None:
    with connected(open_site, f"GET {PREFIX}/studies HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n") as client:
        said = rest_of(client)
    assert re.match(rb"HTTP/1.1 4\d\d ", said) and b"RetrieveURL" not in said, said[:200]


UP = ("..", "%2e%2e", "..%2f..", "%2e%2e%2f", "..\\", "..%5c", "%252e%252e", "....//", "..%00", "%c0%ae%c0%ae")
BELOW = (
    "/viewer",
    PREFIX,
    f"{PREFIX}/studies",
    f"{PREFIX}/studies/1.2/series/1.3/instances/1.4/bulkdata",
    "/static",
    "",
)


@pytest.mark.parametrize("below", BELOW)
def test_no_path_leads_upwards(open_site: Site, below: str) -> None:
    for up in UP:
        for target in ("etc/passwd", "lungnode.sqlite"):
            path = f"{below}/{'/'.join([up] * 12)}/{target}"
            with connected(
                open_site, f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n"
            ) as client:
                said = rest_of(client)
            assert re.match(rb"HTTP/1.1 4\d\d ", said), (path, said[:80])
            assert b"root:" not in said and b"SQLite format" not in said


def test_a_search_that_takes_too_long_says_how_to_ask_for_less(
    open_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_site.get("/instances?limit=1&offset=3").status == 200
    monkeypatch.setattr(search, "MOST_SECONDS", -1.0)
    for path in ("/studies", "/series", "/instances?limit=1&offset=100000000", "/studies?PatientName=*nobody*"):
        answered = open_site.get(path)
        assert answered.status == 413 and "ask for less" in answered.text, path


def test_pictures_are_made_a_few_at_a_time_and_nothing_else_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on, begun, most = threading.Event(), [], 2
    real = rendered._picture

    def slowly(*given: object) -> bytes:
        begun.append(1)
        assert going_on.wait(60)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(rendered, "_picture", slowly)
    path = f"/studies/{uid('study', 'bad film')}/thumbnail"
    with site(tmp_path, {("dicomweb", "most_renderings"): most}) as running:
        running.keep(encoded(wrap(Film(drawn(5, 64), "bad film", study="bad film"))))
        with ThreadPoolExecutor(60) as pool:
            asked = [pool.submit(running.get, path) for _ in range(most * (1 + WAITING) + 30)]
            refused: list[Answered] = []

            def are_refused() -> bool:
                refused[:] = [one.result() for one in asked if one.done()]
                return len(refused) >= 30

            try:
                wait_until(are_refused, 30, "those for whom there is no room are refused")
                made, searched = len(begun), running.get("/studies").status
            finally:
                going_on.set()
            assert (made, searched) == (most, 200), "no more are made at once, and a search does not wait for them"
            assert {(one.status, one.headers["retry-after"]) for one in refused} == {(503, "2")}
            answered = [one.result() for one in asked]
    assert [one.status for one in answered].count(200) == most * (1 + WAITING)


def test_a_client_that_takes_its_pictures_slowly_keeps_nobody_from_theirs(tmp_path: Path) -> None:
    with site(tmp_path, {("dicomweb", "most_renderings"): 1}) as running:
        noise = np.random.default_rng(1).integers(0, 4000, (1500, 1500)).astype(np.uint16)
        running.keep(*(encoded(wrap(Film(noise, f"bad {n}", study="bad many"))) for n in range(8)))
        path = f"/studies/{uid('study', 'bad many')}"
        head = f"GET {PREFIX}{path}/rendered HTTP/1.1\r\nHost: {LOOPBACK}\r\nAccept: image/png\r\n\r\n"
        with connected(running, head, receive_buffer=4096) as slow:
            assert slow.recv(12) == b"HTTP/1.1 200"
            assert running.get(f"{path}/thumbnail").status == 200
