"""A running node takes its settings anew, with real processes: associations go on, bad settings change nothing, sites
and destinations that are new hold for what comes then.

Not covered: reload on several nodes of one database (each takes its own); every single setting (which of them wait for
a start is a table, ``core.reload``, tested in tests/core/test_reload.py).
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE

from node.composition import reloading
from node.composition.reloading import Reload
from tests.e2e.conftest import QUICK
from tests.films import Film, drawn, encoded, uid, wrap
from tests.peers import LOOPBACK, Storescp, wait_until
from tests.sending import Encoded, associate, store, store_encoded
from tests.served import LungnodeProcess, lungnode

ECHO = "1.2.840.10008.1.1"
FEW = """
[analysis]
systems = ["cxnet"]
ct_systems = []
indicators = []
biomarkers = ""
ensemble = false
"""


@pytest.fixture(scope="module")
def peers() -> Iterator[list[Storescp]]:
    with Storescp(aet="FIRST") as first, Storescp(aet="NORTH") as north, Storescp(aet="SOUTH") as south:
        yield [first, north, south]


@pytest.fixture(scope="module")
def node(peers: list[Storescp]) -> Iterator[LungnodeProcess]:
    with LungnodeProcess(settings=settings(peers)) as running:
        yield running


def settings(peers: list[Storescp], more: str = "") -> str:
    """QUICK, one system, results to the first peer."""
    delivery = f'[delivery]\ndestinations = ["{peers[0].address}"]\n'
    return QUICK.replace("[delivery]\n", delivery) + FEW + more


def film(name: str) -> Encoded:
    return encoded(wrap(Film(drawn(1, 96), name)))


def lateral(number: int) -> Encoded:
    """One more of a study of which nothing is analysed."""
    return encoded(wrap(Film(drawn(1, 96), f"lateral {number}", "laterals", view="LL")))


def reload(node: LungnodeProcess, text: str) -> Reload:
    """As ``systemctl reload`` asks for it; what became of it."""
    assert node.process is not None
    node.config.write_text(text)
    before = reloading.last(node.data)
    node.process.send_signal(signal.SIGHUP)
    wait_until(lambda: reloading.last(node.data) != before, 60, "the reload is over")
    found = reloading.last(node.data)
    assert found is not None
    return found


def accepts(node: LungnodeProcess, calling: str) -> bool:
    ae = AE(calling)
    ae.add_requested_context(ECHO)
    association = ae.associate(LOOPBACK, node.dicom_port, ae_title="LUNGNODE")
    established = bool(association.is_established)
    association.release()
    return established


def deaths(node: LungnodeProcess) -> int:
    return len(node.events("receiver.died")) + len(node.events("worker.died"))


class Sender(threading.Thread):
    """One association that sends object after object until it is told to end."""

    def __init__(self, node: LungnodeProcess) -> None:
        super().__init__(daemon=True)
        self.node, self.has_begun, self.end = node, threading.Event(), threading.Event()
        self.sent: list[Encoded] = []
        self.statuses: list[int | None] = []
        self.start()
        assert self.has_begun.wait(60)

    def run(self) -> None:
        first = lateral(0)
        with associate(self.node.dicom_port, [(first.sop_class_uid, first.transfer_syntax_uid)], "OLD") as association:
            while not self.end.wait(0.05):
                self.sent.append(lateral(len(self.sent)))
                self.statuses.append(store_encoded(association, self.sent[-1]))
                self.has_begun.set()


def test_an_association_that_sends_while_settings_change_loses_nothing(
    node: LungnodeProcess, peers: list[Storescp]
) -> None:
    sender = Sender(node)
    ready: list[int] = []
    watched = threading.Event()
    watch = threading.Thread(target=lambda: _watch(node, watched, ready))
    watch.start()
    done = reload(node, settings(peers, '[receive]\ncalling_aets = ["NEW"]\n'))
    assert done.changed == ("receive.calling_aets",) and not done.refused
    assert accepts(node, "NEW") and not accepts(node, "OLD"), "new associations see the new settings"
    count = len(sender.sent)
    wait_until(lambda: len(sender.sent) > count + 5 or not sender.is_alive(), 20, "the old association goes on")
    sender.end.set()
    sender.join(30)
    watched.set()
    watch.join()
    assert set(sender.statuses) == {0x0000} and len(sender.statuses) == len(sender.sent) > 6
    (kept,) = node.rows("SELECT count(*) AS n FROM instances WHERE origin_aet = 'OLD'")
    assert kept["n"] == len(sender.sent)
    assert set(ready) == {200} and not deaths(node)
    replaced = {event["receiver"]: event["pid"] for event in node.events("receiver.started")}
    old = [replaced["receiver-1"], replaced["receiver-2"]]
    wait_until(lambda: not {one.pid for one in node.processes()} & set(old), 20, "the old receivers end")
    assert not reload(node, settings(peers)).refused and accepts(node, "OLD")


def _watch(node: LungnodeProcess, end: threading.Event, ready: list[int]) -> None:
    while not end.wait(0.1):
        ready.append(node.http("/health/ready")[0])


BAD = {
    "[node]\ncolour = 1\n": "unknown key 'colour'",
    "[node\n": "is not valid TOML",
    '[analysis]\nselection = "/nowhere/rules.toml"\n': "cannot read the selection rules",
    '[sites.a]\naets = ["LUNGNODE"]\n': "that of the node itself",
    '[tls]\ndestinations = ["A@h:1"]\nauthorities = "/nowhere"\n': "the files of [tls] cannot be used",
    '[analysis]\nsystems = ["nosuch"]\n': "no model nosuch is installed",
}


def test_bad_settings_are_refused_with_a_sentence_and_the_old_ones_hold(
    node: LungnodeProcess, peers: list[Storescp]
) -> None:
    processes = len(node.events("receiver.started")) + len(node.events("worker.started"))
    for text, sentence in BAD.items():
        assert sentence in reload(node, text).refused
        assert sentence in node.events("configuration.refused")[-1]["reason"]
        (row,) = node.rows("SELECT outcome, details FROM audit_events WHERE kind = 'settings' ORDER BY id DESC LIMIT 1")
        assert row["outcome"] == "serious" and sentence in json.loads(row["details"])["refused"]
    done = node.command("reload", "--data", node.data)
    assert done.code == 1 and sentence in done.err and "the old ones hold" in done.err, done.text
    status = node.status()
    assert "stuck: The new settings were refused, and the old ones hold." in status and sentence in status
    assert f"lungnode reload --data {node.data}" in status
    assert processes == len(node.events("receiver.started")) + len(node.events("worker.started"))
    assert accepts(node, "ANY")
    code, body = node.http("/health/ready")
    assert code == 200 and "configuration" in body and sentence not in body


def test_what_waits_for_a_start_is_named(node: LungnodeProcess, peers: list[Storescp]) -> None:
    quiet = settings(peers).replace("quiet_seconds_film = 0.3", "quiet_seconds_film = 0.2")
    node.config.write_text(quiet.replace("[node]", "[node]\nthreads_per_worker = 1") + "[receive]\nprocesses = 3\n")
    done = node.command("reload", "--data", node.data)
    assert done.code == 0, done.text
    assert "Changed: completeness.quiet_seconds_film." in done.out
    assert "From the next start on: node.threads_per_worker, receive.processes." in done.out
    assert "hold from the next start on: node.threads_per_worker, receive.processes." in node.http("/health/ready")[1]
    (row,) = node.rows("SELECT details FROM audit_events WHERE kind = 'settings' ORDER BY id DESC LIMIT 1")
    assert "quiet_seconds_film" in row["details"] and "processes" not in row["details"]
    assert not reload(node, settings(peers)).waiting and "next start on" not in node.http("/health/ready")[1]


def test_sites_and_destinations_of_a_reload_hold_for_what_comes_then(
    node: LungnodeProcess, peers: list[Storescp]
) -> None:
    sites = "".join(
        f'[sites.{peer.aet}]\naets = ["AT_{peer.aet}"]\ndestinations = ["{peer.address}"]\n' for peer in peers[1:]
    )
    assert not reload(node, settings(peers, sites)).refused
    called = {"FIRST": "LUNGNODE", "NORTH": "AT_NORTH", "SOUTH": "AT_SOUTH"}
    studies = {name: uid("study", f"of {name}") for name in called}
    for name, aet in called.items():
        assert store(node.dicom_port, [film(f"of {name}")], called=aet) == [0]
    node.wait_settled(list(studies.values()))
    wait_until(lambda: all(_studies(peer) for peer in peers), 10, "results are written")
    assert {peer.aet: _studies(peer) & set(studies.values()) for peer in peers} == {
        name: {study} for name, study in studies.items()
    }
    assert not deaths(node)


def _studies(peer: Storescp) -> set[str]:
    return {str(dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in peer.files()}


def test_a_reload_of_no_node_is_refused(tmp_path: Path) -> None:
    done = lungnode("reload", "--data", tmp_path)
    assert done.code == 2 and "no node runs on" in done.err
