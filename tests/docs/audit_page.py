"""Writes docs/audit.md, its table of events from the code's own, so that no kind of event can be forgotten.

Run as ``python -m tests.docs.audit_page``; a test compares its output with the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from node.audit.message import FORMS, LOG_USED
from node.core.audit import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
HEAD = """\
# The audit trail

Written by `python -m tests.docs.audit_page`. Research use only, not for diagnosis.

Every row of `audit_events` names who (account, AE title, address), what, when, the outcome and the study, and is part
of a chain of hashes. It names no patient; what was asked for is kept as the names of keys and filters. Rows are never
removed. Read it by `/api/v1/audit`, `lungnode query --audit`, the view `v_audit` or `lungnode audit export`.

| kind | what it tells | DICOM audit message (PS3.15 A.5.3) |
|---|---|---|
"""
TAIL = """
Not told: C-ECHO, health and metrics, single objects of a receipt, attempts of a delivery that are tried again (the
ledger has them), a repeated instance that was stored before, and what an operator does to files and database behind
the node.

## Verify

    lungnode audit verify --data DIR                # the whole chain; 1 and a sentence at the first wrong row
    lungnode audit head --data DIR                  # the newest hash: keep it where who can write to DIR cannot
    lungnode audit verify --data DIR --from HEAD    # that row must still be there as it was; and all after it
    lungnode audit export --data DIR > trail.jsonl  # one JSON object a row

A row holds `sequence`, `previous` (the hash before) and `hash`: SHA-256 over the JSON array of sequence, id, at,
kind, outcome, actor, aet, address, study_uid, details and previous, ASCII without blanks. So a row that was changed,
removed, put in or moved is found. What a chain alone cannot show is an end that was cut off, or a chain that was made
again as a whole by somebody who can write to the database: that is what `head`, kept elsewhere, or a collector is
for. On SQLite a cut end is found as well as long as the counter of the table was left as it was.

## Why nothing is lost and what a second means

An event is a row of the transaction that it tells of: both are committed or none. Where there is no such transaction
(a query, a page of results, a view) the row is committed before the first byte of the answer, and where it cannot be
written the answer is a failure. So receipt pays one row for each study and association, in the commit that it makes
anyway.

Rows are written by many processes and chained by one, twice a second. Until then a row has no hash. Somebody who
removes it in that time leaves a gap in the numbers, which SQLite gives without gaps (AUTOINCREMENT, in the
transaction), and verify names it; on PostgreSQL a transaction that was given up leaves gaps too, so there it cannot
be told. Somebody who changes a row in that time is not found. The order is that of the commits on SQLite, where one
writes at a time; on PostgreSQL a row that was committed late is chained late. A node that is killed chains what is
left when it starts again.

## Collectors

`[audit] collector` names a syslog collector: `tls://HOST:6514` (RFC 5425, octet counting, TLS 1.2 or 1.3, its
certificate is checked, ours is shown if it asks) or `udp://HOST:514` (RFC 5426, not encrypted). Each row goes as a
DICOM audit message in RFC 5424, facility 10, severity 5, message id `DICOM+RFC3881`, in the order of the chain, with
its sequence and hash in a participant object of its own. With `patient_ids` messages name the Patient ID, as the
standard wants it, never a name; over UDP they do so in the clear.

The trail itself is the spool: a collector that is away gets what it missed, in order, when it is back. Syslog has no
answers; over TLS a batch counts as taken when the collector's TCP has acknowledged every byte, over UDP when it left.
After a failure a message may arrive twice, with the same sequence. A new collector gets what is chained from then on.
`lungnode audit status` and `lungnode status` say in a sentence why a collector takes nothing.

Messages hold to the grammar of PS3.15 A.5.1.1 (`tests/audit/audit-message.rng`). They differ from A.5.3 where the
trail does not hold what is asked for: a query's message has the names of its keys instead of the data set, and a
patient object has no name.
"""


def page() -> str:
    return "".join((HEAD, *_kinds(), TAIL))


def _kinds() -> Iterator[str]:
    for kind, meaning in KINDS.items():
        form = FORMS[kind]
        event = f"{form.event[2]} ({form.event[0]}), action {form.action}"
        if form.kind:
            event += f", type {form.kind[2]}"
        also = f"; of the trail itself {LOG_USED[2]} ({LOG_USED[0]})" if kind == "api" else ""
        yield f"| {kind} | {meaning} | {event}{also} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
