"""Which rows a query means: its filters as conditions on the facts of a resource.

A patient, an accession number, what is not yet delivered and what readers said usually name few studies or analyses.
So these are looked up first, and where they are few the page is read by their numbers; where they are many, nearly
every row matches and the page is found by walking along its order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, exists, not_, select
from sqlalchemy.orm import Session

from node.db.queries.resources import OWED, Condition, Resource
from node.db.query_tables import VerdictRow
from node.db.tables import Delivery, Output, Patient, Study

FEW = 2000
WHOSE = ("study", "patient_id", "issuer", "accession")


def conditions(session: Session, resource: Resource, wanted: Mapping[str, Any]) -> list[Condition]:
    """wanted: values of ``core.filters.parse``."""
    found = [resource.plain[name](value) for name, value in wanted.items() if name in resource.plain]
    if "since" in wanted:
        found.append(resource.time >= wanted["since"])
    if "until" in wanted:
        found.append(resource.time < wanted["until"])
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
        still = exists().where(
            Output.analysis_id == analysis_id, Delivery.output_id == Output.id, Delivery.state.in_(OWED)
        )
    if not wanted:
        return [still]
    some = exists().where(
        Output.analysis_id == analysis_id, Delivery.output_id == Output.id, Delivery.state == "delivered"
    )
    return [not_(still), some]


def _said(session: Session, analysis_id: Any, wanted: str) -> Condition:
    if wanted == "none":
        return ~exists().where(VerdictRow.analysis_id == analysis_id)
    found = _few(session, select(VerdictRow.analysis_id).where(VerdictRow.verdict == wanted).distinct())
    if isinstance(found, list):
        condition: Condition = analysis_id.in_(found)
        return condition
    return exists().where(VerdictRow.analysis_id == analysis_id, VerdictRow.verdict == wanted)
