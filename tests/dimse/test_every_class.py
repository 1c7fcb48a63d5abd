"""With ``limits.sop_classes = "all"`` an object of every storage SOP class is kept as it came, and selection has a
sentence for each that it cannot use.

Not covered: whether the objects are whole by their definitions; videos with frames in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from node.core.study import StoredInstance
from node.dimse import contexts
from node.dimse.access import Access
from node.pipeline.select import select_images
from tests.dimse.station import Station, station
from tests.films import CR, DX, uid
from tests.peers import LOOPBACK
from tests.sending import Encoded, store

MODALITIES = {"1.2.840.10008.5.1.4.1.1.9.1.1": "ECG", "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    with station(tmp_path_factory.mktemp("all"), access=partial(Access, storage=contexts.storage("all"))) as running:
        yield running


def _object(sop_class: str) -> Encoded:
    """Of this class by its own word, in one study with all others, and no image."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid("every class", sop_class)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("every class", "study"), uid("every class, series", sop_class)
    ds.PatientID, ds.Modality = "EVERY", MODALITIES.get(sop_class, "OT")
    ds.add_new(0x00091001, "UN", b"private content that nobody reads")
    buffer = BytesIO()
    dcmwrite(buffer, ds, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return Encoded(sop_class, str(ds.SOPInstanceUID), ExplicitVRLittleEndian, buffer.getvalue())


def test_all_are_more_than_the_usual_ones() -> None:
    assert set(contexts.STORAGE) < set(contexts.EVERY)
    assert len(contexts.EVERY) > 150


def test_every_class_is_stored_as_it_came_and_left_out_with_a_sentence(node: Station) -> None:
    objects = [_object(sop_class) for sop_class in contexts.EVERY]
    for begin in range(0, len(objects), 100):  # 128 presentation contexts an association, PS3.8 section 9.3.2.2
        batch = objects[begin : begin + 100]
        assert store(node.port, batch) == [0x0000] * len(batch)
    assert [node.stored(one.sop_instance_uid) for one in objects] == [one.data_set for one in objects]
    selection = select_images(_stored(node))
    assert {one.instance.sop_class_uid for one in selection.taken} == {CR, DX}, "its pixels would be looked at"
    assert not selection.series
    assert {one.sop_class_uid for one in selection.left_out} == set(contexts.EVERY) - {CR, DX}
    assert all(one.reason.endswith(".") for one in selection.left_out)


def _stored(node: Station) -> list[StoredInstance]:
    joined = "instances i JOIN series s ON s.id = i.series_id JOIN studies t ON t.id = s.study_id"
    rows = node.rows(f"SELECT i.*, s.modality, series_uid, study_uid FROM {joined}")
    return [
        StoredInstance(
            sop_instance_uid=str(row["sop_uid"]),
            sop_class_uid=str(row["sop_class_uid"]),
            series_instance_uid=str(row["series_uid"]),
            study_instance_uid=str(row["study_uid"]),
            transfer_syntax_uid=str(row["transfer_syntax_uid"]),
            modality=str(row["modality"]),
            sha256=str(row["sha256"]),
            path=node.archive.path(str(row["path"])),
            is_own_result=False,
        )
        for row in rows
    ]


@pytest.mark.parametrize("wanted", ["usual", "all"])
def test_what_is_offered_is_what_the_setting_says(tmp_path: Path, wanted: str) -> None:
    """An ECG, a video in MPEG-4, and a film, which is usual."""
    ecg, video, mpeg4 = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.840.10008.5.1.4.1.1.77.1.1.1", contexts.VIDEO[2]
    ae = AE("TESTSCU")
    ae.add_requested_context(ecg)
    ae.add_requested_context(video, mpeg4)
    ae.add_requested_context(CR)
    with station(tmp_path, access=partial(Access, storage=contexts.storage(wanted))) as node:
        association = ae.associate(LOOPBACK, node.port)
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        association.release()
    assert accepted == ({ecg, video, CR} if wanted == "all" else {CR})
