"""A chest CT as one Enhanced CT goes in by DCMTK's C-STORE and comes back: every result names its frame and is valid.

Not covered: where foci lie (tests/geometry), which the shipped systems find none of in a drawn thorax, and objects that
are no single stack (tests/geometry).
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import assert_no_marker
from tests.e2e.reading import SC, SR, of_class, probabilities, saved, texts
from tests.geometry.multiframe import enhanced
from tests.peers import Orthanc, dciodvfy, storescu
from tests.pipeline.slices import Scan, scan, thorax
from tests.served import LungnodeProcess

SLICES = 24


def test_an_enhanced_ct_comes_back_as_results_on_its_frames(
    node: LungnodeProcess, orthanc: Orthanc, tmp_path: Path
) -> None:
    source = enhanced(scan(Scan("enhanced ct", voxels=thorax(SLICES, 128))))
    sent = tmp_path / "sent.dcm"
    source.save_as(sent, enforce_file_format=True)
    assert dciodvfy(sent) == []
    ran = storescu(node.dicom_port, [sent])
    assert ran.code == 0, ran.text
    study = str(source.StudyInstanceUID)
    node.wait_settled([study], 240)
    assert f"a CT series of {SLICES} slices used, 0 left out" in node.status(study)
    results = orthanc.datasets(study)
    (report,) = of_class(results, SR)[:1]
    assert len(probabilities(report)) == 2 and "frame" in texts(report)
    maps = of_class(results, SC)
    assert maps
    for ds in maps:
        (item,) = ds.SourceImageSequence
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert 1 <= int(item.ReferencedFrameNumber) <= SLICES and (ds.Rows, ds.Columns) == (128, 128)
    for ds in results:
        assert ds.PatientID == source.PatientID and dciodvfy(saved(ds, tmp_path)) == []
    assert_no_marker(node.logged(), "the logs")
