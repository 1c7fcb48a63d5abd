"""A node as a process with a TLS port, limits of one peer and a limit of its queue, as its settings say.

Not covered: each rule by itself (tests/dimse/test_tls.py, test_access.py, test_pressure.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.composition.peers import Peers
from node.core import settings
from node.dimse.tls import Certificates
from node.pipeline.pressure import RECOUNT_SECONDS
from tests import peers
from tests.dimse.certificates import Authority
from tests.films import Film, drawn, wrap, write
from tests.served import LungnodeProcess

SETTINGS = """
[tls]
port = 0
certificate = "{pair.certificate}"
key = "{pair.key}"
authorities = "{authority.file}"
destinations = ["PACS@127.0.0.1:104"]

[access.SCANNER]
addresses = ["10.0.0.0/8"]

[completeness]
quiet_seconds_film = 0.1

[limits]
max_waiting_studies = 1
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(authority: Authority) -> Iterator[LungnodeProcess]:
    text = SETTINGS.format(pair=authority.sign("node"), authority=authority)
    with LungnodeProcess("--workers", "0", settings=text) as running:
        yield running


def _film(folder: Path, seed: str) -> Path:
    return write(wrap(Film(drawn(1, 64), seed)), folder)


def test_a_sender_over_tls_then_a_limit_of_the_queue(
    node: LungnodeProcess, authority: Authority, tmp_path: Path
) -> None:
    """Without workers every study waits; the third sender is told to come later, and the operator knows."""
    port = json.loads((node.data / "ports.json").read_text())["dicom_tls"]
    sender = authority.sign("sender")
    flags = ("+tls", str(sender.key), str(sender.certificate), "+cf", authority.file)
    for number in range(2):
        ran = peers.storescu(port, [_film(tmp_path, f"guarded {number}")], *flags)
        assert ran.code == 0, ran.text
    peers.wait_until(lambda: "until the queue is shorter" in node.http("/health/ready")[1], 30, "the queue is too long")
    time.sleep(RECOUNT_SECONDS)  # the receiver counts by itself
    ran = peers.storescu(port, [_film(tmp_path, "guarded too many")], *flags)
    assert "Refused: OutOfResources" in ran.text, ran.text
    assert len(node.rows("SELECT 1 FROM instances")) == 2


def test_rejections_stand_in_log_and_metrics(node: LungnodeProcess, tmp_path: Path) -> None:
    ran = peers.storescu(node.dicom_port, [_film(tmp_path, "from elsewhere")], "-aet", "SCANNER")
    assert ran.code != 0
    (event,) = node.events("association.rejected")
    assert event["reason"] == "calling AE title not allowed, or not from this address"
    assert f'lungnode_associations_rejected_total{{reason="{event["reason"]}"}} 1.0' in node.http("/metrics")[1]


def test_only_the_destinations_named_are_spoken_to_over_tls(authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    text = SETTINGS.format(pair=authority.sign("client"), authority=authority)
    file.write_text(f'{text}\n[delivery]\ndestinations = ["PACS@127.0.0.1:104", "OTHER@127.0.0.1:105"]\n')
    effective = settings.load(file)
    addresses = Peers(effective, Certificates(effective.tls)).move_destinations()
    assert {aet: peer.tls_args is not None for aet, peer in addresses.items()} == {"PACS": True, "OTHER": False}
