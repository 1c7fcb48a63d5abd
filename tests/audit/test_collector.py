"""Rows of the trail as DICOM audit messages at a syslog collector, over UDP and TLS, in order, also after it was away.

The grammar is PS3.15 A.5.1.1 in RELAX NG (audit-message.rng). Not covered: that a node writes the rows
(tests/e2e/test_audit.py); a collector that is a product.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from node.audit.keeping import Keeper
from node.audit.message import FORMS, Source, message
from node.audit.syslog import BOM, counted, line
from node.core.audit import KINDS, Audit, AuditEvent, check_audit
from node.core.errors import Misconfigured
from node.db import audit, audit_outbox, schema, stuck
from node.db.session import Database, sqlite_url
from node.db.tables import Patient, Study
from tests.audit.collectors import TlsCollector, UdpCollector
from tests.dimse.certificates import Authority

AT = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
US = Source("LUNGNODE", "HOSPITAL", "LUNGNODE", "node.example")
GRAMMAR = etree.RelaxNG(etree.parse(str(Path(__file__).parent / "audit-message.rng")))
HEADER = re.compile(
    rb"<85>1 2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z [!-~]{1,255} lungnode \d+ DICOM\+RFC3881 - \xef\xbb\xbf<\?xml "
)
WANTED = Audit("", "", "", "", "", "", True)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(sqlite_url(tmp_path), durable=False)
    schema.migrate(made.engine)
    with made.write() as session:
        session.add(Patient(id=1, patient_id="P-1", issuer="HOSPITAL"))
        session.flush()
        times = {"first_received_at": AT, "last_received_at": AT, "opened_at": AT}
        session.add(Study(study_uid="1.2.3", patient_id=1, state="analysed", **times))
    yield made
    made.close()


def write(database: Database, count: int) -> None:
    with database.write() as session:
        for number in range(count):
            kind = list(KINDS)[number % len(KINDS)]
            event = AuditEvent(kind, aet="PACS", address="192.0.2.7", study_uid="1.2.3", details={"number": number})
            audit.append(session, event, AT)


def keeper(database: Database, **wanted: Any) -> Keeper:
    return Keeper(database, Audit(**(vars(WANTED) | wanted)), "LUNGNODE", lambda: AT)


def sequences(messages: list[bytes]) -> list[int]:
    """Of the row of the chain that each message names; each is valid."""
    found = []
    for one in messages:
        assert HEADER.match(one), one[:120]
        root = etree.fromstring(one[one.index(BOM) + 3 :])
        GRAMMAR.assertValid(root)
        (row,) = root.xpath(
            "//ParticipantObjectIdentification[ParticipantObjectIDTypeCode/@codeSystemName='99LUNGNODE']"
        )
        found.append(int(row.get("ParticipantObjectID")))
    return found


def row(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1, "at": "2026-01-05T09:30:00.000000Z", "kind": "delivery", "outcome": "success", "actor": "",
        "aet": "PACS", "address": "192.0.2.7", "study_uid": "1.2.3", "details": "{}", "sequence": 7,
        "previous": "0" * 64, "hash": "1" * 64, **changes,
    }  # fmt: skip


TEXTS = st.text(max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*KINDS, "damaged"]), st.sampled_from(["success", "minor", "serious", "major", "damaged"]), TEXTS,
    TEXTS, TEXTS, st.sampled_from(["", "1.2.3"]),
    st.sampled_from(["{}", '{"reason": "a < b"}', "[]", "dam", '"' + "x" * 20_000]),
    st.sampled_from([None, ("P-1", ""), ("=&<>\x01", "H")]),
)  # fmt: skip
def test_every_row_is_a_valid_message(
    kind: str,
    outcome: str,
    actor: str,
    aet: str,
    address: str,
    study: str,
    details: str,
    patient: tuple[str, str] | None,
) -> None:
    given_row = row(kind=kind, outcome=outcome, actor=actor, aet=aet, address=address, study_uid=study, details=details)
    made = message(given_row, US, patient)
    GRAMMAR.assertValid(etree.fromstring(made))
    assert len(line(made, given_row["at"], "node")) < 65_507  # a datagram


def test_the_grammar_refuses_what_the_standard_does_not_know() -> None:
    good = message(row(), US)
    for old, new in (
        (b'"R"', b'"X"'), (b"EventID ", b"EventName "), (b'Indicator="0"', b'Indicator="1"'), (b"csd-code", b"code"),
        (b'UserIsRequestor="true"', b'UserIsRequestor="maybe"'), (b'EventDateTime="2026', b'EventDateTime="26'),
        (b"<ParticipantObjectName />", b""),
    ):  # fmt: skip
        assert old in good and not GRAMMAR.validate(etree.fromstring(good.replace(old, new, 1)))


def test_a_delivery_says_who_what_and_whose(database: Database) -> None:
    root = etree.fromstring(message(row(details='{"a": 1}'), US, ("P-1", "HOSPITAL")))
    assert root.find("EventIdentification/EventID").get("csd-code") == "110104"  # PS3.15 A.5.3.7
    parts = {
        one.find("RoleIDCode").get("csd-code"): (one.get("UserIsRequestor"), one.get("AlternativeUserID"))
        for one in root.findall("ActiveParticipant")
    }
    assert parts == {"110153": ("true", "AETITLES=LUNGNODE"), "110152": ("false", "AETITLES=PACS")}
    objects = {
        one.find("ParticipantObjectIDTypeCode").get("csd-code"): one.get("ParticipantObjectID")
        for one in root.findall("ParticipantObjectIdentification")
    }
    assert objects == {"110180": "1.2.3", "2": "P-1^^^HOSPITAL", "chain-row": "7"}
    pairs = {one.get("type"): base64.b64decode(one.get("value")) for one in root.iter("ParticipantObjectDetail")}
    assert pairs == {"hash": b"1" * 64, "details": b'{"a": 1}'}


def test_every_kind_of_event_has_a_form() -> None:
    assert set(FORMS) == set(KINDS)


def test_a_frame_begins_with_the_number_of_its_octets() -> None:
    assert counted("ä".encode()) == b"2 \xc3\xa4"


def test_udp_has_every_message_once_and_in_order(database: Database) -> None:
    collector = UdpCollector()
    kept = keeper(database, collector=collector.url)
    kept.begin()
    write(database, 130)
    kept.turn()
    assert sequences(collector.take(130)) == list(range(1, 131))
    kept.turn()
    write(database, 2)
    kept.turn()
    messages = collector.take(2)
    assert sequences(messages) == [131, 132] and b'ParticipantObjectID="P-1^^^HOSPITAL"' in messages[0]
    collector.close()


def test_what_a_collector_missed_it_gets_when_it_is_back(database: Database, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.sign("collector")
    with TlsCollector(pair) as first:
        port = first.port
        kept = keeper(database, collector=first.url, authorities=authority.file)
        kept.begin()
        write(database, 3)
        kept.turn()
        assert sequences(first.messages) == [1, 2, 3]
    write(database, 4)
    kept.turn()
    with database.read() as session:
        (standing,) = audit_outbox.standings(session)
        (said,) = [one for one in stuck.stuck(session) if one.subject == "audit"]
    assert (standing.sequence, standing.waiting) == (3, 4)
    assert "does not take messages: Connection refused" in standing.problem and "4 messages wait" in said.sentence
    restarted = keeper(database, collector=first.url, authorities=authority.file)
    restarted.begin()  # the node was stopped in between
    with TlsCollector(pair, port) as second:
        restarted.turn()
        assert sequences(second.messages) == [4, 5, 6, 7]
    with database.read() as session:
        assert [one for one in stuck.stuck(session) if one.subject == "audit"] == []


def test_a_connection_that_breaks_in_the_midst_loses_nothing(database: Database, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with TlsCollector(authority.sign("collector"), breaks_after=1000) as collector:
        kept = keeper(database, collector=collector.url, authorities=authority.file)
        kept.begin()
        write(database, 90)
        kept.turn()
        with database.read() as session:
            (standing,) = audit_outbox.standings(session)
        assert standing.sequence == 0 and standing.problem
        collector.breaks_after = None
        kept._not_before = 0.0
        collector.messages.clear()
        kept.turn()
        assert sequences(collector.messages) == list(range(1, 91))


def test_nobody_else_gets_a_message_and_the_collector_may_ask_who_we_are(database: Database, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "stranger")
    write(database, 1)
    with TlsCollector(stranger.sign("collector")) as collector:
        kept = keeper(database, collector=collector.url, authorities=authority.file)
        with database.write() as session:
            audit.chain(session)
            audit_outbox.begin(session, "")
        kept.begin()
        write(database, 1)
        kept.turn()
        assert collector.messages == []
        with database.read() as session:
            assert "its certificate is not trusted" in audit_outbox.standings(session)[0].problem
    ours = authority.sign("node")
    with TlsCollector(authority.sign("collector"), authorities=authority.file) as collector:
        names = {"certificate": str(ours.certificate), "key": str(ours.key), "patient_ids": False}
        kept = keeper(database, collector=collector.url, authorities=authority.file, **names)
        kept.begin()
        write(database, 1)
        kept.turn()
        assert sequences(collector.messages) == [3]  # a new collector gets what comes from now on
        assert b"P-1" not in collector.messages[0]


@pytest.mark.parametrize("wrong", ["tcp://a:1", "tls://a", "udp://a:0", "udp://a:70000", "tls://a b:1", "a:514"])
def test_a_collector_that_cannot_be_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(Misconfigured, match=r"audit\.collector is"):
        check_audit(Audit(**(vars(WANTED) | {"collector": wrong})))
    with pytest.raises(Misconfigured, match="together"):
        check_audit(Audit(**(vars(WANTED) | {"key": "x"})))
    for good in ("tls://[::1]:6514", "udp://log.example:514", ""):
        check_audit(Audit(**(vars(WANTED) | {"collector": good})))
