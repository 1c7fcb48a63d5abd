"""C-FIND SCP, Patient Root and Study Root: identifiers in, one response for each match. The matching is the pipeline's.

Keys and levels stand in ``pipeline.query_keys``. Sequence matching, relational queries, and date and time matched
together are not offered; a key that is not known is left out of the responses, which then say so by 0xFF01.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from node.core import log
from node.core.audit import AuditEvent
from node.core.errors import Transient
from node.dimse.access import called_aet
from node.pipeline.catalogue import Catalogue, NotAnIdentifier, Query
from node.pipeline.header import is_uid
from node.pipeline.query_keys import Level, Value, known_at
from node.pipeline.trail import Tell, untold

logger = logging.getLogger(__name__)
MODELS = (str(PatientRootQueryRetrieveInformationModelFind), str(StudyRootQueryRetrieveInformationModelFind))
SUCCESS = 0x0000
PENDING = 0xFF00  # matches are continuing, PS3.4 Table C.4-1
PENDING_SOME_KEYS = 0xFF01  # the same; some optional keys are not supported, PS3.4 Table C.4-1
OUT_OF_RESOURCES = 0xA700  # Refused: out of resources, PS3.4 Table C.4-1; here: more matches than the limit
NOT_AN_IDENTIFIER = 0xA900  # Error: identifier does not match SOP class, PS3.4 Table C.4-1
UNABLE = 0xC000  # Failed: unable to process, PS3.4 Table C.4-1
CANCELLED = 0xFE00  # matching terminated due to cancel request, PS3.4 Table C.4-1
NO_KEYS = frozenset({"SpecificCharacterSet", "QueryRetrieveLevel", "TimezoneOffsetFromUTC"})
PROVIDED = ("QueryRetrieveLevel", "RetrieveAETitle", "InstanceAvailability")  # in every response
UTF_8 = "ISO_IR 192"


SiteOf = Callable[[str], str | None]


def everything(_: str) -> None:
    """A node without sites."""


class FindService:
    """What the receiver offers of C-FIND. max_matches: of one query; 0 is no limit. tell: the audit trail, before the
    first response. site_of: the site of a called AE title, whose studies alone are found."""

    def __init__(
        self, catalogue: Catalogue, aet: str, max_matches: int, tell: Tell = untold, site_of: SiteOf = everything
    ) -> None:
        self._catalogue, self._aet, self._most, self._tell, self._site_of = catalogue, aet, max_matches, tell, site_of
        self.handlers: list[Any] = [(evt.EVT_C_FIND, self._find)]

    def offer(self, ae: AE) -> None:
        for model in MODELS:
            ae.add_supported_context(model)

    def attach(self, assoc: Association) -> None:
        """Nothing: pynetdicom's own service asks the handler."""

    def _find(self, event: evt.Event) -> Iterator[tuple[int | Dataset, Dataset | None]]:
        try:
            yield from self._answers(event)
        except _NotWanted:
            yield CANCELLED, None
        except NotAnIdentifier as error:
            yield failure(NOT_AN_IDENTIFIER, str(error)), None
        except Transient as error:
            log.event(logger, "query.refused", logging.WARNING, reason=str(error))
            yield failure(UNABLE, str(error)), None
        except Exception:
            logger.exception("query.failed")
            yield failure(UNABLE, "the node failed; its log says why"), None

    def _answers(self, event: evt.Event) -> Iterator[tuple[int | Dataset, Dataset | None]]:
        query, unknown = read(_identifier(event), patient_root=event.context.abstract_syntax == MODELS[0])
        self._tell(asked_by(event.assoc, "query", str(event.context.abstract_syntax), query))
        count = 0

        def go_on() -> None:
            if event.is_cancelled or not _hears(event.assoc):
                log.event(logger, "query.cancelled", query_level=str(query.level), matches=count)
                raise _NotWanted

        for values in self._catalogue.find(replace(query, site=self._site_of(called_aet(event.assoc))), go_on):
            go_on()
            if count == self._most > 0:
                log.event(logger, "query.limited", logging.WARNING, query_level=str(query.level), matches=count)
                yield failure(OUT_OF_RESOURCES, f"more than {self._most} matches; narrow the query"), None
                return
            yield PENDING_SOME_KEYS if unknown else PENDING, self._response(query.level, values)
            count += 1
        log.event(logger, "query.answered", query_level=str(query.level), matches=count)

    def _response(self, level: Level, values: dict[str, Value]) -> Dataset:
        ds = Dataset()
        ds.SpecificCharacterSet = UTF_8
        ds.QueryRetrieveLevel, ds.RetrieveAETitle, ds.InstanceAvailability = str(level), self._aet, "ONLINE"
        for keyword, value in values.items():
            tag = tag_for_keyword(keyword)
            assert tag is not None, keyword
            shown = list(value) if isinstance(value, tuple) else value
            ds[tag] = DataElement(tag, dictionary_VR(tag), shown, validation_mode=IGNORE)
        return ds


class _NotWanted(Exception):
    """The peer has cancelled, or is gone."""


def _hears(association: Association) -> bool:
    return association.dul.is_alive() and not association.acse.is_aborted()


def _identifier(event: evt.Event) -> Dataset:
    try:
        return event.identifier
    except Exception:  # noqa: BLE001 - pydicom raises what it likes
        raise NotAnIdentifier("the identifier cannot be read") from None


def asked_by(assoc: Association, kind: str, model: str, query: Query) -> AuditEvent:
    """What the audit trail has of it: who, the model, and which keys have a value, but the values of UIDs alone."""
    requestor, keys = assoc.requestor, {keyword: text for keyword, text in query.asked.items() if text}
    study = keys.get("StudyInstanceUID", "")
    details = {"sop_class_uid": model, "level": str(query.level), "keys": sorted(keys)}
    who = {"aet": requestor.ae_title.strip(), "address": str(requestor.address)}
    return AuditEvent(kind, **who, study_uid=study if is_uid(study) else "", details=details)


def read(identifier: Dataset, patient_root: bool) -> tuple[Query, list[str]]:
    """The query, and the keys that are not known at its level."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks quote values
        asked = {element.keyword or str(element.tag): _text(element) for element in _elements(identifier)}
    try:
        level = Level(asked.get("QueryRetrieveLevel", ""))
    except ValueError:
        raise NotAnIdentifier("the identifier names no Query/Retrieve Level that is known") from None
    if level is Level.PATIENT and not patient_root:
        raise NotAnIdentifier("Study Root has no level PATIENT")
    known = known_at(level)
    keys = {keyword: text for keyword, text in asked.items() if keyword in known}
    unknown = [keyword for keyword in asked if keyword not in known and keyword not in (*NO_KEYS, *PROVIDED)]
    return Query(level, keys, patient_root), unknown


def _elements(identifier: Dataset) -> Iterator[DataElement]:
    """Those that can be understood; group lengths (retired) are none."""
    for tag in sorted(identifier.keys()):
        if tag.element == 0:
            continue
        try:
            yield identifier[tag]
        except Exception:  # noqa: BLE001 - pydicom raises what it likes
            raise NotAnIdentifier("a key of the identifier cannot be read") from None


def _text(element: DataElement) -> str:
    """As it was written, values parted by backslashes; a sequence is never matched."""
    if element.VR == "SQ" or element.value is None:
        return ""
    values = element.value if element.VM > 1 else [element.value]
    return "\\".join(str(value).strip("\0 ") for value in values)


def failure(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, comment[:64]  # LO, PS3.7 C.5
    return answer
