"""Layers of images for pages: written by the transaction of their analysis, read one by one. The caller owns it.

Those of the analysis that stands outlive the files that retention removes: when the same images come again it stands
for them, and its heat lies over them as before. Those of superseded ones, which no page shows, go with the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from node.db.driver import Rendered
from node.db.layer_tables import LayerRow
from node.db.tables import Analysis, table_of

_ADD = Rendered(insert(table_of(LayerRow)), ("analysis_id", "sop_uid", "frame", "system", "kind", "content"))


@dataclass(frozen=True)
class Layer:
    """frame: of a multi-frame object, from 1; 0 for an object of one image. content: by kind, see the table."""

    sop_instance_uid: str
    frame: int
    system: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class Named:
    """A layer without its content."""

    id: int
    sop_instance_uid: str
    frame: int
    system: str
    kind: str


def add(session: Session, analysis_id: int, layers: Iterable[Layer]) -> None:
    for one in layers:
        row = {
            "analysis_id": analysis_id,
            "sop_uid": one.sop_instance_uid,
            "frame": one.frame or None,
            "system": one.system,
            "kind": one.kind,
            "content": one.content,
        }
        _ADD.run(session.connection(), row)


def of_analysis(session: Session, analysis_id: int) -> list[Named]:
    columns = (LayerRow.id, LayerRow.sop_uid, LayerRow.frame, LayerRow.system, LayerRow.kind)
    found = session.execute(select(*columns).where(LayerRow.analysis_id == analysis_id).order_by(LayerRow.id))
    return [Named(number, uid, frame or 0, system, kind) for number, uid, frame, system, kind in found.tuples()]


def contents(session: Session, analysis_id: int, sop_uid: str, frame: int) -> list[Layer]:
    """What lies over one image. frame: from 1, also of an object of one image."""
    this = (LayerRow.analysis_id == analysis_id) & (LayerRow.sop_uid == sop_uid)
    at = LayerRow.frame == frame
    if frame == 1:
        at |= LayerRow.frame.is_(None)
    rows = session.scalars(select(LayerRow).where(this, at).order_by(LayerRow.id))
    return [Layer(row.sop_uid, row.frame or 0, row.system, row.kind, row.content) for row in rows]


def forget_superseded(session: Session, study_id: int) -> None:
    superseded = select(Analysis.id).where(Analysis.study_id == study_id, Analysis.superseded)
    gone = delete(LayerRow).where(LayerRow.analysis_id.in_(superseded))
    session.execute(gone.execution_options(synchronize_session=False))
