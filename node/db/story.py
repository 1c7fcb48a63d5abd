"""Where every study is and why, as sentences for a person. Read only; no identifying data beyond UIDs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from node.core.job import JobKind
from node.core.study import StudyState
from node.db import destinations, priors
from node.db.retention_tables import Removal
from node.db.tables import (
    Analysis,
    AnalysisModel,
    Delivery,
    Event,
    Finding,
    Instance,
    JobRow,
    Output,
    SelectionRow,
    Series,
    Study,
)


@dataclass(frozen=True)
class StudyLine:
    """One study in one line."""

    study_uid: str
    state: StudyState
    modalities: str
    instances: int
    last_received_at: datetime
    sentence: str


def overview(session: Session, limit: int) -> list[StudyLine]:
    """The newest studies first."""
    studies = session.scalars(select(Study).order_by(Study.last_received_at.desc()).limit(limit)).all()
    return [_line(session, study) for study in studies]


def studies(session: Session) -> int:
    """How many there are."""
    return session.scalar(select(func.count(Study.id))) or 0


def study_line(session: Session, study_uid: str) -> StudyLine | None:
    """One study's line; None when the study is unknown."""
    study = session.scalars(select(Study).where(Study.study_uid == study_uid)).first()
    return None if study is None else _line(session, study)


def _line(session: Session, study: Study) -> StudyLine:
    count = session.scalar(
        select(func.count(Instance.id)).join(Series).where(Series.study_id == study.id, ~Instance.is_own_result)
    )
    return StudyLine(
        study_uid=study.study_uid,
        state=StudyState(study.state),
        modalities=study.modalities.replace("\\", ","),
        instances=count or 0,
        last_received_at=study.last_received_at,
        sentence=_sentence(session, study) + _removed(session, study, count or 0),
    )


def _removed(session: Session, study: Study, instances: int) -> str:
    """What became of the files, where they are gone."""
    last = select(Removal).where(Removal.study_id == study.id).order_by(Removal.id.desc()).limit(1)
    row = None if instances else session.scalars(last).first()
    return f" Its files were removed at {_clock(row.removed_at)}: {row.rule}." if row else ""


def _sentence(session: Session, study: Study) -> str:
    state = StudyState(study.state)
    if state is StudyState.RECEIVING:
        return "Instances are arriving, or the quiet time after the last one still runs."
    if state is StudyState.STORED:
        of = priors.prior_of(session, study.id)
        return f"A prior of {of}; not analysed." if of else _why_stored(session, study)
    job = _analyse_job(session, study)
    if state is StudyState.QUEUED:
        again = f" Attempt {job.attempts} broke off: {job.error}" if job and job.attempts and job.error else ""
        return f"Complete; waits for a worker.{again}"
    if state is StudyState.ANALYSING:
        return "A worker is analysing it." + (f" Attempt {job.attempts}." if job and job.attempts > 1 else "")
    if state is StudyState.FAILED:
        return f"The analysis was given up: {job.error if job and job.error else 'no reason was recorded'}"
    return _result(session, study)


def _why_stored(session: Session, study: Study) -> str:
    has_job = _analyse_job(session, study) is not None
    return "A part of a removed study; not analysed." if has_job else "Holds only results of this node; not analysed."


def _analyse_job(session: Session, study: Study) -> JobRow | None:
    return session.scalars(
        select(JobRow)
        .where(JobRow.kind == JobKind.ANALYSE, JobRow.subject_id == study.id)
        .order_by(JobRow.id.desc())
        .limit(1)
    ).first()


def _result(session: Session, study: Study) -> str:
    analysis = _current(session, study)
    if analysis is None:
        return "Analysed, but the analysis row is missing."
    if analysis.outcome == "refused":
        return f"Not analysed: {analysis.reason} {_delivered(session, analysis)}"
    decided = session.scalars(select(Finding).where(Finding.analysis_id == analysis.id, Finding.decision)).all()
    words = "; ".join(f"{f.system}: {f.class_name} {f.probability:.2f}" for f in decided)
    return f"{words or 'No system gave a finding'}. {_delivered(session, analysis)}"


def _current(session: Session, study: Study) -> Analysis | None:
    return session.scalars(
        select(Analysis)
        .where(Analysis.study_id == study.id, ~Analysis.superseded)
        .order_by(Analysis.id.desc())
        .limit(1)
    ).first()


def _delivered(session: Session, analysis: Analysis) -> str:
    rows = session.execute(
        select(
            Delivery.destination, Delivery.state, func.count(), func.max(Delivery.attempts), func.max(Delivery.comment)
        )
        .join(Output, Delivery.output_id == Output.id)
        .where(Output.analysis_id == analysis.id)
        .group_by(Delivery.destination, Delivery.state)
        .order_by(Delivery.destination)
    ).all()
    if not rows:
        return "No destination is configured."
    parts = []
    for destination, state, count, attempts, comment in rows:
        if state == "delivered":
            parts.append(f"{count} delivered to {destination}")
        elif state == "failed":
            parts.append(f"{count} given up for {destination} ({comment})")
        elif state == "committing":
            said = f": {comment}" if comment else ""
            parts.append(f"{count} taken by {destination}, which has not said that it committed it{said}")
        elif state == "replaced":
            parts.append(f"{count} in another form for {destination} ({comment})")
        elif state == "refused":
            parts.append(f"{count} not taken by {destination} ({comment})")
        else:
            tries = f", {attempts} tries so far: {comment}" if attempts else ""
            standing = destinations.standing(session, destination).sentence
            parts.append(f"{count} waiting for {destination}{tries}" + (f" ({standing})" if standing else ""))
    return "; ".join(parts) + "."


def story(session: Session, study_uid: str) -> list[str] | None:
    """The whole story of one study, oldest first; None when the study is unknown."""
    study = session.scalars(select(Study).where(Study.study_uid == study_uid)).first()
    if study is None:
        return None
    head = _line(session, study)
    sentences = [f"{head.state.value}: {head.sentence}"]
    events = session.scalars(select(Event).where(Event.study_id == study.id).order_by(Event.at, Event.id)).all()
    sentences += [f"{_clock(e.at)} {e.sentence}" for e in events]
    for analysis in session.scalars(select(Analysis).where(Analysis.study_id == study.id).order_by(Analysis.id)):
        sentences += _analysis_sentences(session, analysis)
    return sentences


def _analysis_sentences(session: Session, analysis: Analysis) -> list[str]:
    old = " (superseded)" if analysis.superseded else ""
    result = [
        f"{_clock(analysis.analysed_at)} Analysis {analysis.id}{old}: {analysis.outcome}, "
        f"{analysis.instances_used} instances used, {analysis.instances_left_out} left out. {analysis.reason}".rstrip()
    ]
    for row in session.scalars(select(SelectionRow).where(SelectionRow.analysis_id == analysis.id)):
        result.append(f"  image {row.sop_uid} {'taken' if row.taken else 'left out'}: {row.reason}")
    for model in session.scalars(select(AnalysisModel).where(AnalysisModel.analysis_id == analysis.id)):
        why = f": {model.reason}" if model.reason else ""
        result.append(f"  {model.system} {model.version} {model.outcome}{why}")
    for found in session.scalars(select(Finding).where(Finding.analysis_id == analysis.id)):
        mark = "*" if found.decision else " "
        result.append(
            f"  {mark} {found.system} {found.class_name} p={found.probability:.3f} (threshold {found.threshold:g})"
        )
    rows = session.execute(
        select(Delivery, Output).join(Output, Delivery.output_id == Output.id).where(Output.analysis_id == analysis.id)
    ).tuples()
    result += [_delivery_sentence(delivery, output) for delivery, output in rows]
    return result


def _delivery_sentence(delivery: Delivery, output: Output) -> str:
    text = f"  {output.kind} {output.sop_uid} to {delivery.destination}: {delivery.state}"
    if delivery.attempts:
        text += f" after {delivery.attempts} attempt{'s' if delivery.attempts > 1 else ''}"
    if delivery.last_status is not None:
        text += f", status 0x{delivery.last_status:04X}"
    return text + (f", {delivery.comment}" if delivery.comment else "")


def _clock(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ")
