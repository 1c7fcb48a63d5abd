"""Which rows a query means: its filters as conditions on the facts of a resource.

A patient, an accession number, what is not yet delivered and what readers said usually name few studies or analyses.
So these are looked up first, and where they are few the page is read by their numbers; where they are many, nearly
every row matches and the page is found by walking along its order.

An index can serve one range. That is the range of the column that orders the page. SQLite keeps no statistics, so for
it other ranges are written so that no index is tempting (``past_indexes``): it would read all of one and sort it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Select, exists, not_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from node.db.deliveries import STATES
from node.db.queries.fields import Condition, Resource, past_indexes
from node.db.queries.resources import OWED
from node.db.query_tables import VerdictRow
from node.db.tables import Analysis, Delivery, Finding, Output, Patient, Study

FEW = 2000
GONE = tuple(state for state in STATES if state not in ("delivered", *OWED))
TIMES = ("since", "until")
IN_RANGE = ("system", "version", "min_probability", "max_probability")
WHOSE = ("study", "patient_id", "issuer", "accession")


def conditions(session: Session, resource: Resource, wanted: Mapping[str, Any], order: str = "") -> list[Condition]:
    """wanted: values of ``core.filters.parse``; order: the column that orders the page, empty where none does."""
    few = _few_in_range(session, wanted) if resource.fact is Finding else None
    if few is not None:  # which say all that these filters do
        wanted = {name: value for name, value in wanted.items() if name not in IN_RANGE}
    found = [] if few is None else [resource.id.in_(few)]
    found += [resource.plain[name](value) for name, value in wanted.items() if name in resource.plain]
    hides = session.get_bind().dialect.name == "sqlite" and order not in ("", "id")
    found += [
        compare(
            past_indexes(column) if hides and order != column.key else column,
            resource.as_time(wanted[name]) if name in TIMES else wanted[name],
        )
        for name, (column, compare) in _ranges(resource).items()
        if name in wanted
    ]
    if order not in ("", "id", resource.time.key):
        found += _few_analyses(session, resource, wanted)
    if resource.of_studies is not None and any(name in wanted for name in WHOSE):
        found.append(resource.of_studies(_few(session, _studies(wanted))))
    if resource.analysis_id is not None:
        if "delivered" in wanted:
            found += _delivered(session, resource.analysis_id, wanted["delivered"])
        if "verdict" in wanted:
            found.append(_said(session, resource.analysis_id, wanted["verdict"]))
    if resource.superseded is not None and not wanted.get("superseded"):
        found.append(not_(resource.superseded))
    return found


def _ranges(resource: Resource) -> dict[str, tuple[InstrumentedAttribute[Any], Callable[[Any, Any], Condition]]]:
    found = {"since": (resource.time, operator.ge), "until": (resource.time, operator.lt)}
    if resource.probability is not None:
        found["min_probability"] = (resource.probability, operator.ge)
        found["max_probability"] = (resource.probability, operator.le)
    return found


def _few_analyses(session: Session, resource: Resource, wanted: Mapping[str, Any]) -> list[Condition]:
    """Where the time leaves few analyses: their numbers, to read the page by."""
    statement = select(Analysis.id)
    if "since" in wanted:
        statement = statement.where(Analysis.analysed_at >= wanted["since"])
    if "until" in wanted:
        statement = statement.where(Analysis.analysed_at < wanted["until"])
    if resource.analysis_id is None or not {"since", "until"} & wanted.keys():
        return []
    found = _few(session, statement)
    return [resource.analysis_id.in_(found)] if isinstance(found, list) else []


def _few_in_range(session: Session, wanted: Mapping[str, Any]) -> list[int] | None:
    """The results of a system and version within a range of probability, where they are few. The one question for which
    ``ix_findings_system_version_probable`` is there; elsewhere it would tempt SQLite to sort."""
    if not {"system", "version"} <= wanted.keys() or not {"min_probability", "max_probability"} & wanted.keys():
        return None
    statement = select(Finding.id).where(
        Finding.system == wanted["system"],
        Finding.model_version == wanted["version"],
        Finding.probability.between(wanted.get("min_probability", 0.0), wanted.get("max_probability", 1.0)),
    )
    found = _few(session, statement)
    return found if isinstance(found, list) else None


def _few(session: Session, ids: Select[tuple[int]]) -> list[int] | Select[tuple[int]]:
    """The ids themselves where they are few."""
    found = list(session.scalars(ids.limit(FEW + 1)))
    return found if len(found) <= FEW else ids


def _studies(wanted: Mapping[str, Any]) -> Select[tuple[int]]:
    statement = select(Study.id)
    if "study" in wanted:
        statement = statement.where(Study.study_uid == wanted["study"])
    if "accession" in wanted:
        statement = statement.where(Study.accession_number == wanted["accession"])
    if "patient_id" in wanted:
        statement = statement.join(Patient, Study.patient_id == Patient.id)
        statement = statement.where(Patient.patient_id == wanted["patient_id"])
    if "issuer" in wanted:
        statement = statement.where(Patient.issuer == wanted["issuer"])
    return statement


def _delivered(session: Session, analysis_id: Any, wanted: bool) -> list[Condition]:
    """wanted: something was delivered and nothing is owed; not wanted: something is owed."""
    deliveries = select(Output.analysis_id).join(Delivery, Delivery.output_id == Output.id)
    owed = _few(session, deliveries.where(Delivery.state.in_(OWED)).distinct())
    still: Condition
    if isinstance(owed, list):
        still = analysis_id.in_(owed)
    else:
        still = _delivery(analysis_id, Delivery.state.not_in(("delivered", *GONE)))
    if not wanted:
        return [still]
    return [not_(still), _delivery(analysis_id, Delivery.state.not_in((*OWED, *GONE)))]


def _delivery(analysis_id: Any, condition: Condition) -> Condition:
    """Some delivery of the analysis. Said by what its state is not, for which no index is tempting."""
    of_output = exists().where(Delivery.output_id == Output.id, condition)
    return exists().where(Output.analysis_id == analysis_id, of_output)


def _said(session: Session, analysis_id: Any, wanted: str) -> Condition:
    if wanted == "none":
        return ~exists().where(VerdictRow.analysis_id == analysis_id)
    found = _few(session, select(VerdictRow.analysis_id).where(VerdictRow.verdict == wanted).distinct())
    if isinstance(found, list):
        condition: Condition = analysis_id.in_(found)
        return condition
    return exists().where(VerdictRow.analysis_id == analysis_id, VerdictRow.verdict == wanted)
