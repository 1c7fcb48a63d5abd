"""``lungnode select``: what of a study would be analysed, and by which rule the rest would not. It stores nothing.

Where the images come from (a data folder, or files that are not stored) and how the answer is written; what decides is
in ``pipeline.trial``. Nothing of a person is shown, UIDs alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from node.commands import show
from node.commands.asking import open_database, settings_of
from node.commands.sending import files_under
from node.composition.archiving import reader
from node.composition.routing import open_registry
from node.core.errors import Refused, Transient
from node.core.site import of_site
from node.core.study import StoredInstance
from node.core.uids import PRODUCT_UID
from node.db import intake as study_rows
from node.db import results as rows
from node.pipeline.film import read_header
from node.pipeline.header import text_of
from node.pipeline.rules import load
from node.pipeline.trial import Said, Trial, Verdict, grouped, left

TABLE = ("series_uid", "modality", "sop_instance_uid", "images", "taken", "rule", "sentence", "remarks")
SAME_UID = "Another file holds the same instance."
NO_OBJECT = "The file is no DICOM object with study, series and instance UIDs."


def stored(data: Path, study_uid: str, config: Path | None, rules: Path | None, form: show.Format) -> int:
    """A study that the node holds. 1 when it is unknown."""
    instances = of_stored_study(data, study_uid)
    if not instances:
        sys.stderr.write(f"lungnode: no study {study_uid} is stored here\n")
        return 1
    site = site_of_stored_study(data, study_uid)
    _say(trial(data, config, rules, site).verdicts(instances), form)
    return 0


def files(paths: Iterable[Path], config: Path | None, rules: Path | None, form: show.Format) -> int:
    """Files and folders that nobody stores."""
    studies, odd = of_files(files_under(paths))
    judge = trial(None, config, rules)
    _say([*(verdict for study in studies.values() for verdict in judge.verdicts(study)), *odd], form)
    return 0


def _say(verdicts: Sequence[Verdict], form: show.Format) -> None:
    sys.stdout.write(show.render(verdicts, Verdict, form, TABLE) + "\n")


def trial(data: Path | None, config: Path | None, rules: Path | None, site: str = "") -> Trial:
    """By ``settings_of``, for the studies of a site."""
    analysis = of_site(settings_of(data, config), site).analysis
    return Trial(analysis, load(rules or analysis.selection), open_registry().cards())


def site_of_stored_study(data: Path, study_uid: str) -> str:
    with open_database(data).read() as session:
        study_id = rows.study_id_of(session, study_uid)
        return "" if study_id is None else study_rows.site_of(session, study_id)


def of_stored_study(data: Path, study_uid: str) -> list[StoredInstance]:
    """Everything that is stored of a study; empty where it is unknown."""
    with open_database(data).read() as session:
        study_id = rows.study_id_of(session, study_uid)
        stored = [] if study_id is None else rows.instances_of(session, study_id)
    where = reader(data)
    return [
        StoredInstance(
            row.sop_instance_uid, row.sop_class_uid, row.series_instance_uid, study_uid, row.transfer_syntax_uid,
            row.modality, row.sha256, where(row.path), row.is_own_result,
        )
        for row in stored
    ]  # fmt: skip


def of_files(paths: Iterable[Path]) -> tuple[dict[str, list[StoredInstance]], list[Verdict]]:
    """(instances by study; what cannot be one, or is one twice)."""
    studies: dict[str, list[StoredInstance]] = {}
    seen: set[str] = set()
    odd: list[tuple[StoredInstance, Said]] = []
    for path in paths:
        instance = _instance(path)
        if instance is None:
            nothing = StoredInstance("", "", "", "", "", "", "", path, False)
            odd.append((nothing, left("unreadable", NO_OBJECT)))
        elif instance.sop_instance_uid in seen:
            odd.append((instance, left("repeated", SAME_UID)))
        else:
            seen.add(instance.sop_instance_uid)
            studies.setdefault(instance.study_instance_uid, []).append(instance)
    return studies, grouped(odd)


def _instance(path: Path) -> StoredInstance | None:
    try:
        header = read_header(path)
    except (Refused, Transient):
        return None
    names = ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID")
    instance, sop_class, series, study = (text_of(header, name) for name in names)
    if not (instance and sop_class and series and study):
        return None
    own = text_of(header, "InstanceCreatorUID") == PRODUCT_UID
    syntax = str(header.file_meta.get("TransferSyntaxUID", "")) if hasattr(header, "file_meta") else ""
    return StoredInstance(instance, sop_class, series, study, syntax, text_of(header, "Modality")[:16], "", path, own)
