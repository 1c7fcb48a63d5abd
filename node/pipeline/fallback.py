"""What a destination gets instead of a SOP class that it does not take, and what is remembered of it.

A report (Comprehensive 3D SR) is tried as Comprehensive SR, as Enhanced SR, then as the page that analysis has kept for
the purpose; nothing else has another form: the key slices of a heat-map stack are sent anyway. The refused delivery
ends with a sentence, the other form is owed, and the refusal is remembered, all in one transaction; the file of the
other form is written before it and is the same on every run. So a crash between any two steps neither loses nor doubles
a result.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from node.archive import Archive
from node.core import log
from node.core.job import Job
from node.db import deliveries as ledger
from node.db import fallback as rows
from node.db import intake as study_rows
from node.db import jobs
from node.db.results import NewOutput
from node.db.session import Database
from node.results.downgrade import CHAIN, Inexpressible, downgrade

logger = logging.getLogger(__name__)
REPORTS = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)
REFUSED = 0x0122  # Refused: SOP class not supported, PS3.7 C.5.26; a rejected abstract syntax counts as the same


@dataclass(frozen=True)
class _Form:
    """Another form of a result. new: to be added to the outputs unless it is there; page: id of the page kept."""

    sop_class_uid: str
    new: NewOutput | None = None
    page: int | None = None


@dataclass(frozen=True)
class FallBack:
    database: Database
    archive: Archive
    clock: Callable[[], datetime]

    def refused(self, item: ledger.Due, job: Job, *, tried: bool, wanted: bool) -> None:
        """End the claimed delivery of a class that its destination does not take.

        tried: the destination said so now, else it is remembered. wanted: another form may take its place.
        """
        form = self._other_form(item) if wanted and item.sop_class_uid in REPORTS else None
        said = f"the PACS does not take SOP class {UID(item.sop_class_uid).name}"
        state = "replaced" if form else "refused"
        comment = f"{said}; {_name(form)} takes its place" if form else f"refused: {said}"
        now = self.clock()
        with self.database.write() as session:
            kept = jobs.finish(session, job, now) if form else jobs.park(session, job, now, comment)
            if not kept:
                return
            if tried:
                ledger.note_attempt(session, item.delivery_id, state, REFUSED, comment, job.attempts, now)
            else:
                ledger.settle(session, item.delivery_id, state, comment)
            if form:
                original = rows.output(session, item.original_id)
                output_id = form.page or (rows.add_stand_in(session, original, form.new) if form.new else 0)
                ledger.owe(session, output_id, item.destination, now)
            news = rows.remember(session, item.destination, item.sop_class_uid, now)
            if news:
                study_rows.add_event(session, item.study_id, now, f"For {item.destination}: {comment}.")
        level = logging.WARNING if news else logging.INFO
        fields = {"sop_class_uid": item.sop_class_uid, "sop_instance_uid": item.sop_instance_uid}
        log.event(logger, f"delivery.{state}", level, destination=item.destination, reason=comment, **fields)

    def _other_form(self, item: ledger.Due) -> _Form | None:
        """The best form that is not known to be refused too. Every form is made of the original report."""
        with self.database.read() as session:
            refused = rows.refused_classes(session, item.destination) | {item.sop_class_uid}
            original = rows.output(session, item.original_id)
            page = rows.reserve(session, item.analysis_id, item.destination)
        for sop_class in CHAIN.get(original.sop_class_uid, ()):
            if sop_class not in refused and (new := self._simpler(original, sop_class)) is not None:
                return _Form(sop_class, new=new)
        if page is not None and page.sop_class_uid not in refused:
            return _Form(page.sop_class_uid, page=page.id)
        return None

    def _simpler(self, original: rows.StoredOutput, sop_class: str) -> NewOutput | None:
        """The original in another class, its file written; None where the class has no room for it."""
        try:
            content = self.archive.path(original.path).read_bytes()
            if hashlib.sha256(content).hexdigest() != original.sha256:
                raise Inexpressible("the report in the archive is not the one that was built")
            built = downgrade(content, sop_class, original.kind)
        except (Inexpressible, OSError) as error:
            log.event(logger, "report.not_simpler", logging.WARNING, reason=str(error))
            return None
        with self.database.read() as session:
            known = rows.output_named(session, built.sop_instance_uid)
        path = known.path if known else self.archive.put_bytes(built.sop_instance_uid, built.content)
        return NewOutput(
            kind=built.kind,
            sop_instance_uid=built.sop_instance_uid,
            sop_class_uid=built.sop_class_uid,
            series_instance_uid=built.series_instance_uid,
            sha256=hashlib.sha256(built.content).hexdigest(),
            path=path,
        )


def _name(form: _Form) -> str:
    return "a page of the report" if form.page else str(UID(form.sop_class_uid).name)
