"""When is a study whole? Its associations are released and its quiet time has passed, or the hard limit has.

The transaction that closes a study inserts its one ``analyse`` job. The job's key names the instances and the pipeline,
so the same study with the same images and models is never analysed twice. Priors, and a part of a study that came again
after its removal, are kept without one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from sqlalchemy.orm import Session

from node.core import log
from node.core.job import JobKind
from node.core.keeping import Priors
from node.core.settings import Completeness
from node.core.site import Route
from node.core.study import StudyState
from node.db import intake as rows
from node.db import jobs, retention
from node.db import priors as prior_rows
from node.db.session import Database
from node.pipeline.intake import digest_of
from node.pipeline.traces import Run, Trace, received, untraced

logger = logging.getLogger(__name__)
FILMS = frozenset({"CR", "DX"})
FILM_PRIORITY, OTHER_PRIORITY = 0, 10
SAME = "Complete with the same images as before, and models and settings are the same: the result that is here stands."


def close_quiet_studies(
    database: Database,
    settings: Completeness,
    pipeline_key: str,
    open_studies: Set[str],
    now: datetime,
    priors: Priors | None = None,
    trace: Trace = untraced,
    routes: Mapping[str, Route] = MappingProxyType({}),
) -> list[str]:
    """Close every study that is due; returns their UIDs. priors: None where none are ever fetched. routes: by site;
    the ``pipeline_key`` is what a worker must have for all of them, and the key of a study whose site has none."""
    with database.read() as session:
        receiving = rows.receiving_studies(session)
    closed = []
    for study_id, study_uid, modalities, opened_at, last_received_at in receiving:
        films = bool(modalities) and set(modalities.split("\\")) <= FILMS
        quiet = timedelta(seconds=settings.quiet_seconds_film if films else settings.quiet_seconds)
        overdue = now - opened_at >= timedelta(seconds=settings.hard_limit_seconds)
        if not overdue and (study_uid in open_studies or now - last_received_at < quiet):
            continue
        study = _Quiet(study_id, study_uid, films, last_received_at)
        with database.write() as session:
            route = routes.get(rows.site_of(session, study_id), Route(pipeline_key))
            key = _close(session, study, pipeline_key, route, priors, now)
        if key is None:
            continue
        closed.append(study_uid)
        log.event(logger, "study.closed", study_instance_uid=study_uid, overdue=overdue)
        if key:
            trace(received(Run(study_uid, key), opened_at, last_received_at, now))
    return closed


def none_is_open(database: Database) -> bool:
    """Whether no study is being received, so that none can become due before something comes."""
    with database.read() as session:
        return not rows.receiving_studies(session)


@dataclass(frozen=True)
class _Quiet:
    """A study that may be closed, as it was looked at."""

    id: int
    study_uid: str
    films: bool
    last_received_at: datetime


def _close(
    session: Session, study: _Quiet, pipeline_key: str, route: Route, priors: Priors | None, now: datetime
) -> str | None:
    """Close one study; the key of its analyse job, empty where it is only kept. None: something arrived since it was
    looked at, and it stays open."""
    if rows.last_received(session, study.id) != study.last_received_at:
        return None
    instances = rows.instance_set(session, study.id)
    of = prior_rows.prior_of(session, study.id)
    if kept := _why_only_kept(session, study, instances, of, priors):
        rows.move_study(session, study.id, StudyState.RECEIVING, StudyState.STORED)
        rows.add_event(session, study.id, now, kept)
        return ""
    key = _queue(session, study, instances, pipeline_key, route, now)
    if priors and priors.source and not of:
        jobs.add(session, JobKind.PRIORS, study.id, study.study_uid, now)
    return key


def _why_only_kept(
    session: Session, study: _Quiet, instances: list[tuple[str, str]], of: str, priors: Priors | None
) -> str:
    """The sentence why a study is not analysed; empty: it is."""
    if of and not (priors and priors.analyse):
        return f"Kept as a prior of {of}; it is not analysed."
    if retention.is_known_part(session, study.id, instances):
        return (
            "What came is a part of what was removed from the archive: it is kept and not analysed by itself. Send all "
            "of the study to have it here again."
        )
    return ""


def _queue(
    session: Session, study: _Quiet, instances: list[tuple[str, str]], pipeline_key: str, route: Route, now: datetime
) -> str:
    digest = digest_of(instances)
    key = hashlib.sha256(f"{study.study_uid}\n{digest}\n{route.pipeline_key}".encode()).hexdigest()
    rows.move_study(session, study.id, StudyState.RECEIVING, StudyState.QUEUED)
    priority = FILM_PRIORITY if study.films or route.urgent else OTHER_PRIORITY
    if jobs.add(session, JobKind.ANALYSE, study.id, key, now, payload=digest, priority=priority, pipeline=pipeline_key):
        count = f"{len(instances)} instance{'' if len(instances) == 1 else 's'}"
        rows.add_event(session, study.id, now, f"Complete with {count}; waits for analysis.")
    else:
        jobs.settle_study(session, study.id, key)
        rows.add_event(session, study.id, now, SAME)
    return key
