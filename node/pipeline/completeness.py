"""When is a study whole? Its associations are released and its quiet time has passed, or the hard limit has.

The transaction that closes a study inserts its one ``analyse`` job. The job's key names the instances and the pipeline,
so the same study with the same images and models is never analysed twice.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Set
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from node.core import log
from node.core.job import JobKind
from node.core.settings import Completeness
from node.core.study import StudyState
from node.db import intake as rows
from node.db import jobs
from node.db.session import Database
from node.pipeline.intake import digest_of

logger = logging.getLogger(__name__)
FILMS = frozenset({"CR", "DX"})
FILM_PRIORITY, OTHER_PRIORITY = 0, 10


def close_quiet_studies(
    database: Database, settings: Completeness, pipeline_key: str, open_studies: Set[str], now: datetime
) -> list[str]:
    """Close every study that is due; returns their UIDs."""
    with database.read() as session:
        receiving = rows.receiving_studies(session)
    closed = []
    for study_id, study_uid, modalities, opened_at, last_received_at in receiving:
        films = bool(modalities) and set(modalities.split("\\")) <= FILMS
        quiet = timedelta(seconds=settings.quiet_seconds_film if films else settings.quiet_seconds)
        overdue = now - opened_at >= timedelta(seconds=settings.hard_limit_seconds)
        if not overdue and (study_uid in open_studies or now - last_received_at < quiet):
            continue
        with database.write() as session:
            if _close(session, study_id, study_uid, pipeline_key, films, last_received_at, now):
                closed.append(study_uid)
                log.event(logger, "study.closed", study_instance_uid=study_uid, overdue=overdue)
    return closed


def _close(
    session: Session, study_id: int, study_uid: str, pipeline_key: str, films: bool, last_seen: datetime, now: datetime
) -> bool:
    """Close one study unless something arrived since it was looked at."""
    fresh = {row[0]: row[4] for row in rows.receiving_studies(session)}
    if fresh.get(study_id) != last_seen:
        return False
    instances = rows.instance_set(session, study_id)
    digest = digest_of(instances)
    key = hashlib.sha256(f"{study_uid}\n{digest}\n{pipeline_key}".encode()).hexdigest()
    rows.move_study(session, study_id, StudyState.RECEIVING, StudyState.QUEUED)
    priority = FILM_PRIORITY if films else OTHER_PRIORITY
    if jobs.add(session, JobKind.ANALYSE, study_id, key, now, payload=digest, priority=priority):
        count = f"{len(instances)} instance{'' if len(instances) == 1 else 's'}"
        rows.add_event(session, study_id, now, f"Complete with {count}; waits for analysis.")
    else:
        jobs.settle_study(session, study_id, key)
    return True
