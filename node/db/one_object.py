"""One stored object by the UIDs of its study, its series and itself, as a viewer asks for it again and again.

The same as ``catalogue.held`` says of it, in two statements that are built once: a viewer that scrolls through a CT
asks three hundred times, and building them costs more than the database takes.
"""

from __future__ import annotations

from sqlalchemy import bindparam, exists, select
from sqlalchemy.orm import Session

from node.db.catalogue import Held
from node.db.tables import Analysis, Instance, Output, Reserve, Series, StandIn, Study, table_of

_STUDIES, _SERIES, _INSTANCES, _OUTPUTS, _ANALYSES, _STAND_INS, _RESERVES = (
    table_of(of) for of in (Study, Series, Instance, Output, Analysis, StandIn, Reserve)
)
_RECEIVED = (
    select(
        _STUDIES.c.id, _INSTANCES.c.sop_class_uid, _INSTANCES.c.path, _INSTANCES.c.transfer_syntax_uid,
        _INSTANCES.c.instance_number, _INSTANCES.c.rows, _INSTANCES.c.columns, _INSTANCES.c.frames,
    )
    .join_from(_INSTANCES, _SERIES, _INSTANCES.c.series_id == _SERIES.c.id)
    .join(_STUDIES, _SERIES.c.study_id == _STUDIES.c.id)
    .where(
        _INSTANCES.c.sop_uid == bindparam("instance"),
        _SERIES.c.series_uid == bindparam("series"),
        _STUDIES.c.study_uid == bindparam("study"),
    )
)  # fmt: skip
_MADE = (
    select(_STUDIES.c.id, _OUTPUTS.c.sop_class_uid, _OUTPUTS.c.path)
    .join_from(_OUTPUTS, _ANALYSES, _OUTPUTS.c.analysis_id == _ANALYSES.c.id)
    .join(_STUDIES, _ANALYSES.c.study_id == _STUDIES.c.id)
    .where(
        _OUTPUTS.c.sop_uid == bindparam("instance"),
        _OUTPUTS.c.series_uid == bindparam("series"),
        _STUDIES.c.study_uid == bindparam("study"),
        _ANALYSES.c.superseded.is_(False),
        _OUTPUTS.c.removed_at.is_(None),
        ~exists().where(_STAND_INS.c.output_id == _OUTPUTS.c.id),
        ~exists().where(_RESERVES.c.output_id == _OUTPUTS.c.id),
    )
)


def find(session: Session, study_uid: str, series_uid: str, sop_uid: str) -> tuple[int, Held] | None:
    """(id of the study, the object); ours in the bytes that we made."""
    named = {"study": study_uid, "series": series_uid, "instance": sop_uid}
    connection = session.connection()
    if made := connection.execute(_MADE, named).first():
        study_id, sop_class, path = made
        return study_id, Held(sop_uid, sop_class, series_uid, path, is_result=True)
    if received := connection.execute(_RECEIVED, named).first():
        study_id, sop_class, path, syntax, number, rows, columns, frames = received
        return study_id, Held(sop_uid, sop_class, series_uid, path, False, syntax, number, rows, columns, frames)
    return None
