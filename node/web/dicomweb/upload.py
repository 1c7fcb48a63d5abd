"""One STOW-RS message of application/dicom parts while it comes: each part goes to intake as a C-STORE would.

A part is held only until its file meta group is whole; then its data set flows into the file that intake has made for
it. Instances are made durable beside the next ones that come, a few at a time. Synchronous; one message, one caller.
"""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from node.core.errors import BadDataSet, InternalError, LungnodeError, NotAccepted
from node.core.study import Origin
from node.pipeline.header import is_uid
from node.pipeline.intake import Announced, Arriving, Intake, Receipt
from node.pipeline.stored_file import head
from node.web.dicomweb.multipart import Begin, End, Event, Reader
from node.web.dicomweb.reasons import SyntaxNotAccepted, reason_of

logger = logging.getLogger(__name__)
PREAMBLE_BYTES = 132
LARGEST_META = 65536  # bytes of preamble and file meta group
AT_ONCE = 4  # instances that are made durable side by side
SOP_CLASS, SOP_INSTANCE, SYNTAX = 0x00020002, 0x00020003, 0x00020010
FAILED = "the node failed; its log says why"


@dataclass(frozen=True)
class Outcome:
    """What became of one part. error: None where it is stored; where not, study and series are not known."""

    sop_class_uid: str
    sop_instance_uid: str
    study: str = ""
    series: str = ""
    error: LungnodeError | None = None


@dataclass(frozen=True)
class Accepted:
    """What storage takes: SOP classes, each in every one of the transfer syntaxes."""

    sop_classes: frozenset[str]
    transfer_syntaxes: frozenset[str]

    def refusal(self, announced: Announced) -> LungnodeError | None:
        if announced.sop_class_uid not in self.sop_classes:
            return NotAccepted("The SOP class is not one that this node stores.")
        if announced.transfer_syntax_uid not in self.transfer_syntaxes:
            return SyntaxNotAccepted("The transfer syntax is not one that this node stores.")
        return None


class Upload:
    """``feed`` pieces, then ``close``; ``drop`` where neither comes."""

    def __init__(
        self, reader: Reader, intake: Intake, accepted: Accepted, pool: ThreadPoolExecutor, origin: Origin, study: str
    ) -> None:
        """study: the only one that is taken, empty for any."""
        self._reader, self._intake, self._accepted, self._pool = reader, intake, accepted, pool
        self._origin, self._study = origin, study
        self._head: bytearray | None = None  # of a part whose meta group is not whole yet
        self._arriving: Arriving | None = None
        self._failure: Outcome | None = None  # of a part that is let through
        self._outcomes: list[Outcome | Future[Outcome]] = []
        self._pending: deque[Future[Outcome]] = deque()

    def feed(self, piece: bytes) -> None:
        """Malformed where the message is none."""
        for event in self._reader.feed(piece):
            self._take(event)

    def close(self) -> list[Outcome]:
        """What became of each part, in their order."""
        self._reader.close()
        return [one if isinstance(one, Outcome) else one.result() for one in self._outcomes]

    def drop(self) -> None:
        """Leave nothing half: what has come whole is kept, the rest is let go."""
        if self._arriving is not None:
            self._intake.drop(self._arriving)
            self._arriving = None
        for pending in self._pending:
            pending.exception()

    def _take(self, event: Event) -> None:
        if isinstance(event, Begin):
            self._begin(event)
        elif isinstance(event, End):
            self._end()
        elif self._arriving is not None:
            self._arriving.add(event.content)
        elif self._head is not None:
            self._head += event.content
            self._look()

    def _begin(self, part: Begin) -> None:
        kind = part.headers.get("content-type", "application/dicom").partition(";")[0].strip().lower()
        if kind != "application/dicom":
            self._fail(Announced("", "", ""), BadDataSet("A part is not application/dicom."))
            return
        self._head = bytearray()

    def _look(self) -> None:
        """Begin to receive as soon as the meta group is whole."""
        assert self._head is not None
        try:
            found = meta(self._head)
        except BadDataSet as error:
            self._fail(Announced("", "", ""), error)
            return
        if found is None:
            return
        announced, start = found
        rest, self._head = bytes(memoryview(self._head)[start:]), None
        if (refusal := self._accepted.refusal(announced)) is not None:
            self._fail(announced, refusal)
            return
        while len(self._pending) >= AT_ONCE:
            self._pending.popleft().exception()
        self._arriving = self._intake.begin(replace(announced, study_instance_uid=self._study), self._origin)
        self._arriving.add(rest)

    def _end(self) -> None:
        if self._arriving is not None:
            pending = self._pool.submit(self._finish, self._arriving)
            self._arriving = None
            self._pending.append(pending)
            self._outcomes.append(pending)
        elif self._head is not None:
            self._fail(Announced("", "", ""), BadDataSet("A part ends before its data set begins."))
        self._head = None

    def _finish(self, arriving: Arriving) -> Outcome:
        announced = arriving.announced
        try:
            receipt = self._intake.finish(arriving)
        except LungnodeError as error:
            return self._refused(announced, error)
        except Exception:
            logger.exception("instance.failed", extra={"fields": {"association": self._origin.association}})
            return self._refused(announced, InternalError(FAILED))
        return stored(announced, receipt)

    def _fail(self, announced: Announced, error: LungnodeError) -> None:
        self._head = None
        self._outcomes.append(self._refused(announced, error))

    def _refused(self, announced: Announced, error: LungnodeError) -> Outcome:
        self._intake.refuse(announced, self._origin, reason_of(error), error)
        return Outcome(announced.sop_class_uid, announced.sop_instance_uid, error=error)


def stored(announced: Announced, receipt: Receipt) -> Outcome:
    series = receipt.series_instance_uid
    return Outcome(announced.sop_class_uid, announced.sop_instance_uid, receipt.study_instance_uid, series)


def meta(content: bytes | bytearray) -> tuple[Announced, int] | None:
    """(what the file meta group says, where the data set begins); None where more bytes are needed.

    A file without preamble is met: pydicom writes one, and dicomweb-client sends it.
    """
    if len(content) < PREAMBLE_BYTES + 12:
        return None
    view = memoryview(content)
    marked = bytes(view[PREAMBLE_BYTES - 4 : PREAMBLE_BYTES]) == b"DICM"
    if not marked and bytes(view[:2]) != b"\2\0":
        raise BadDataSet("A part is no DICOM file.")
    position, said = PREAMBLE_BYTES if marked else 0, dict[int, str]()
    while position + 12 <= len(view):
        tag, _, length, start = head(view, position, implicit=False)
        if tag >> 16 != 0x0002:
            return _announced(said), position
        position = start + length
        if position > LARGEST_META:
            raise BadDataSet("The file meta group of a part is too large.")
        if position <= len(view):
            said[tag] = bytes(view[start:position]).decode("ascii", "replace").strip("\0 ")
    return None


def _announced(said: dict[int, str]) -> Announced:
    found = Announced(said.get(SYNTAX, ""), said.get(SOP_CLASS, ""), said.get(SOP_INSTANCE, ""))
    if not (is_uid(found.transfer_syntax_uid) and is_uid(found.sop_class_uid) and is_uid(found.sop_instance_uid)):
        raise BadDataSet("The file meta group of a part lacks a transfer syntax, a SOP class or an instance.")
    return found
