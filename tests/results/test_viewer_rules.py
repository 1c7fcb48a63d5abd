"""What viewers ask of an object before they show it, as assertions over every kind that we write.

Rules of viewers that the tests cannot run were read in their sources, and are told here in our words:

- Weasis: ``SRReader`` (nroduit/Weasis abe436e), ``PrGraphicUtil`` (0a69e7f), ``SegSpecialElement``,
  ``HiddenSeriesManager`` and ``AbstractKOSpecialElement`` (4.6). It labels key images with the text of their first
  item, which TID 2010 makes the observer: ours have no label there.
- 3D Slicer: ``DICOMTID1500Plugin`` of QIICR/QuantitativeReporting (abad65c), which reads reports by highdicom. It needs
  Image Position (Patient): films it cannot show. It looks for codes in Code Value alone: reports without any region,
  and regions of the size of the image (``whole_image_regions``), name a class of 18 digits and are not for it.
- OHIF: tests/viewers runs it; here is what its adapters ask of a region (cornerstone3D 7034957 ``MeasurementReport``)
  and of a segmentation (``checkOrientation``).

DCMTK and Orthanc are run. Not covered: how any of it looks.
"""

from __future__ import annotations

import dataclasses
import functools
import html
import io
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from models.api import Lesion, Prediction
from node.core import settings
from node.results.build import MAKERS, build
from node.results.downgrade import CHAIN, downgrade
from node.results.record import BuiltObject
from tests.peers import LOOPBACK, Orthanc, dsr2html, dsrdump, program, run
from tests.results.records import header, outcome, prediction, record, refusal
from tests.results.series import ct_record, of_series, series_outcome, slice_headers
from tests.results.test_objects import items, parsed

EVERYTHING = dataclasses.replace(settings.load().objects, kinds=tuple(MAKERS))
SOURCES = ("film", "scan", "refusal")
REPORTS, DOCUMENTS, PICTURES = ("sr", "regions"), ("sr", "regions", "ko"), ("sc", "page", "stack")
GEOMETRIC_PURPOSE = hd.sr.CodedConcept("130400", "DCM", "Geometric purpose of region")
every_source = pytest.mark.parametrize("source", SOURCES)


@functools.cache
def sources(source: str) -> tuple[Dataset, ...]:
    return tuple(slice_headers()) if source == "scan" else (header(),)


@functools.cache
def objects(source: str) -> tuple[BuiltObject, ...]:
    """Of two systems, the second of which marks its focus outside the lung."""
    headers = list(sources(source))
    first = headers[0]
    if source == "refusal":
        return build(dataclasses.replace(refusal(first), wanted=EVERYTHING))
    if source == "film":
        systems = (prediction(), outside(prediction("cnncf-xr")))
        return build(record(first, images=(outcome(first, *systems),), wanted=EVERYTHING))
    systems = (of_series(headers, "bit-ct"), outside(of_series(headers, "cnncf-ct")))
    return build(ct_record(headers, series=(series_outcome(headers, *systems),), wanted=EVERYTHING))


def outside(found: Prediction) -> Prediction:
    def moved(lesions: tuple[Lesion, ...]) -> tuple[Lesion, ...]:
        return tuple(dataclasses.replace(lesion, inside_lung=False, lung_share=0.0) for lesion in lesions)

    slices = tuple(dataclasses.replace(one, lesions=moved(one.lesions)) for one in found.slices)
    return dataclasses.replace(found, lesions=moved(found.lesions), slices=slices)


def of_kinds(source: str, *kinds: str) -> list[BuiltObject]:
    return [built for built in objects(source) if built.kind in kinds]


def reports(source: str) -> Iterator[Dataset]:
    """The reports, and what becomes of them for a PACS that takes no Comprehensive 3D SR."""
    for built in of_kinds(source, *REPORTS):
        yield parsed(built)
        for simpler in CHAIN[Comprehensive3DSRStorage]:
            yield parsed(downgrade(built.content, simpler, built.kind))


def written(built: BuiltObject, folder: Path) -> Path:
    path = folder / f"{built.sop_instance_uid}.dcm"
    path.write_bytes(built.content)
    return path


def evidence(ds: Dataset) -> dict[str, str]:
    """SOP Instance UID -> Series Instance UID of Current Requested Procedure Evidence."""
    return {
        reference.ReferencedSOPInstanceUID: series.SeriesInstanceUID
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }


def test_every_kind_is_among_them() -> None:
    seen = {built.kind for source in SOURCES for built in objects(source)}
    assert seen >= {*REPORTS, *PICTURES, "ko", "pr", "seg", "pm"}


# Weasis

SHOWN_BY_WEASIS = {"TEXT", "CODE", "PNAME", "NUM", "CONTAINER", "IMAGE", "DATETIME", "DATE", "TIME", "UIDREF",
                   "COMPOSITE", "SCOORD"}  # fmt: skip


def in_weasis(item: Dataset) -> Iterator[tuple[str, Dataset]]:
    """(the name that is shown, the item), as ``SRReader.addContent`` walks: what a continuous container holds has no
    name there."""
    nameless = item.get("ContinuityOfContent") == "CONTINUOUS"
    for child in item.get("ContentSequence", []):
        name = (
            "" if nameless or "ConceptNameCodeSequence" not in child else child.ConceptNameCodeSequence[0].CodeMeaning
        )
        yield name, child
        yield from in_weasis(child)


@every_source
def test_weasis_names_every_number_and_every_class(source: str) -> None:
    for ds in reports(source):
        shown = list(in_weasis(ds))
        assert all(name for name, item in shown if item.ValueType in ("NUM", "CODE", "TEXT"))
        values = [item.MeasuredValueSequence[0] for _, item in shown if item.ValueType == "NUM"]
        assert values and all(value.MeasurementUnitsCodeSequence[0].CodeMeaning for value in values)
        assert {item.ValueType for _, item in shown} <= SHOWN_BY_WEASIS, "shown as a missing tag"


@pytest.mark.parametrize("source", ["film", "scan"])
def test_weasis_finds_the_image_of_every_region_and_can_draw_it(source: str) -> None:
    """Each region names an image by itself, and not another content item; the image is evidence of the study."""
    uids = {ds.SOPInstanceUID for ds in sources(source)}
    for ds in reports(source):
        regions = [item for item in items(ds) if item.ValueType == "SCOORD"]
        assert regions or ds.SOPClassUID == EnhancedSRStorage
        for region in regions:
            (image,) = region.ContentSequence
            assert "ReferencedContentItemIdentifier" not in image
            assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID in uids & set(evidence(ds))
            points = np.reshape(region.GraphicData, (-1, 2))
            assert len(points) == 1 if region.GraphicType == "POINT" else len(points) > 2
            assert region.GraphicType in ("POINT", "POLYLINE")
            assert (points[0] == points[-1]).all(), "Weasis closes a line by itself: nothing else may be meant"


@pytest.mark.parametrize("source", ["film", "scan"])
def test_weasis_finds_the_images_under_every_segment(source: str) -> None:
    """Contours are kept for images that the referenced series names, and found by the source images of each frame."""
    for built in of_kinds(source, "seg"):
        ds = parsed(built)
        known = {
            instance.ReferencedSOPInstanceUID
            for series in ds.ReferencedSeriesSequence
            for instance in series.ReferencedInstanceSequence
        }
        segments = {segment.SegmentNumber: segment for segment in ds.SegmentSequence}
        for segment in segments.values():
            assert segment.SegmentLabel and len(segment.RecommendedDisplayCIELabValue) == 3
            assert segment.SegmentAlgorithmType and segment.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning
        assert len(ds.PerFrameFunctionalGroupsSequence) == ds.NumberOfFrames
        for frame in ds.PerFrameFunctionalGroupsSequence:
            (image,) = frame.DerivationImageSequence[0].SourceImageSequence
            assert image.ReferencedSOPInstanceUID in known
            assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber in segments


@pytest.mark.parametrize("source", ["film", "scan"])
def test_weasis_finds_the_key_images_by_their_series(source: str) -> None:
    (ds,) = (parsed(built) for built in of_kinds(source, "ko"))
    series = {str(image.SOPInstanceUID): str(image.SeriesInstanceUID) for image in sources(source)}
    series |= {built.sop_instance_uid: built.series_instance_uid for built in objects(source)}
    named = [item.ReferencedSOPSequence[0] for item in ds.ContentSequence if item.ValueType == "IMAGE"]
    assert named
    for reference in named:
        uid = reference.ReferencedSOPInstanceUID
        assert evidence(ds)[uid] == series[uid]


@pytest.mark.parametrize("source", ["film", "scan"])
def test_weasis_finds_the_images_of_a_presentation_state(source: str) -> None:
    uids = {ds.SOPInstanceUID for ds in sources(source)}
    for built in of_kinds(source, "pr"):
        ds = parsed(built)
        (series,) = ds.ReferencedSeriesSequence
        named = {image.ReferencedSOPInstanceUID for image in series.ReferencedImageSequence}
        assert series.SeriesInstanceUID == sources(source)[0].SeriesInstanceUID and named and named <= uids
        layers = {layer.GraphicLayer for layer in ds.GraphicLayerSequence}
        for mark in ds.GraphicAnnotationSequence:
            assert mark.GraphicLayer in layers
            assert {image.ReferencedSOPInstanceUID for image in mark.ReferencedImageSequence} <= named


# 3D Slicer with QuantitativeReporting

READ_BY_SLICER = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)


@pytest.mark.parametrize("kind", REPORTS)
def test_slicer_reads_the_outlines_of_a_ct(kind: str) -> None:
    """Every attribute that the plug-in reads without asking whether it is there."""
    (built,) = of_kinds("scan", kind)
    ds = hd.sr.srread(io.BytesIO(built.content))
    assert ds.Modality == "SR" and ds.SOPClassUID in READ_BY_SLICER
    assert ds.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    lines = ds.content.get_planar_roi_measurement_groups(
        reference_type=codes.DCM.ImageRegion, graphic_type=hd.sr.GraphicTypeValues.POLYLINE
    )
    assert len(lines) == 2
    series = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    slices = {image.SOPInstanceUID: image for image in sources("scan")}
    assert {image.SeriesInstanceUID for image in slices.values()} == {series.SeriesInstanceUID}
    for group in lines:
        assert group.tracking_identifier and group.tracking_uid
        assert group.finding_type.CodeValue and group.finding_sites[0].value.CodeValue
        image = slices[group.roi.ContentSequence[0].referenced_sop_instance_uid]
        assert len(image.ImagePositionPatient) == 3 and len(image.PixelSpacing) == 2 and group.roi.value.shape[1] == 2
        purposes = group.get_qualitative_evaluations(name=GEOMETRIC_PURPOSE)
        assert [purpose.value.meaning for purpose in purposes] == ["Outline"], "a box would be shown as a box"


@every_source
def test_slicer_finds_the_codes_of_what_it_looks_for(source: str) -> None:
    """It compares Code Value, which a long code has not; the class of a system is the only such."""
    for ds in reports(source):
        long = [item.ConceptNameCodeSequence[0] for item in items(ds) if "ConceptNameCodeSequence" in item]
        assert {code.LongCodeValue for code in long if "CodeValue" not in code} <= {"882784691000119100"}


# OHIF

OHIF_NAMES = {"126010": "Imaging Measurements", "125007": "Measurement Group", "112039": "Tracking Identifier",
              "112040": "Tracking Unique Identifier"}  # fmt: skip


@pytest.mark.parametrize("source", ["film", "scan"])
def test_ohif_draws_and_takes_over_every_region(source: str) -> None:
    (built,) = of_kinds(source, "regions")
    ds = parsed(built)
    for item in items(ds):
        name = item.ConceptNameCodeSequence[0]
        assert OHIF_NAMES.get(name.get("CodeValue", ""), name.CodeMeaning) == name.CodeMeaning, "compared by meaning"
    assert ds.ConceptNameCodeSequence[0].CodeValue == "126000"
    groups = [item for item in items(ds) if item.ConceptNameCodeSequence[0].get("CodeValue") == "125007"]
    tracking = [child.UID for group in groups for child in group.ContentSequence if child.ValueType == "UIDREF"]
    assert len(set(tracking)) == len(groups) > 0
    for group in groups:
        texts = [child.TextValue for child in group.ContentSequence if child.ValueType == "TEXT"]
        assert any(text.startswith("Cornerstone3DTools@^0.1.0:") for text in texts)
        numbers = [child for child in group.ContentSequence if child.ValueType == "NUM"]
        assert numbers and any(child.ValueType == "SCOORD" for child in group.ContentSequence)
        for number in numbers:
            (region,) = number.ContentSequence
            assert region.RelationshipType == "INFERRED FROM" and region.ContentSequence[0].ReferencedSOPSequence


def test_ohif_takes_the_newest_report_of_a_series() -> None:
    for source in SOURCES:
        found = of_kinds(source, *DOCUMENTS)
        assert len({built.series_instance_uid for built in found}) == len(found)


def test_ohif_loads_the_segmentation_of_a_ct() -> None:
    (ds,) = (parsed(built) for built in of_kinds("scan", "seg"))
    assert ds.SegmentationType == "BINARY" and ds.ReferencedSeriesSequence[0].SeriesInstanceUID
    shared = ds.SharedFunctionalGroupsSequence[0]
    assert len(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == 6
    assert len(shared.PixelMeasuresSequence[0].PixelSpacing) == 2
    for frame in ds.PerFrameFunctionalGroupsSequence:
        assert len(frame.PlanePositionSequence[0].ImagePositionPatient) == 3


# DCMTK


@every_source
def test_dcmtk_reads_every_object_without_a_word(source: str, tmp_path: Path) -> None:
    for built in objects(source):
        done = run([program("dcmdump"), "+fo", written(built, tmp_path)])
        assert (done.code, done.err) == (0, ""), built.kind
        if built.kind in DOCUMENTS:
            for options in ((), ("-Er",)):
                assert dsrdump(tmp_path / f"{built.sop_instance_uid}.dcm", *options).code == 0


@every_source
def test_dsr2html_prints_a_label_with_every_number_and_class(source: str, tmp_path: Path) -> None:
    for built in of_kinds(source, *REPORTS):
        page = html.unescape(dsr2html(written(built, tmp_path)).out)
        for item in items(parsed(built)):
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            if item.ValueType == "NUM":
                value = float(item.MeasuredValueSequence[0].NumericValue)
                labelled = re.findall(rf"<b>{re.escape(name)}:</b><br>\s*<span class=\"under\">([-+.\de]+) ", page)
                assert value in [pytest.approx(float(number)) for number in labelled], name
            elif item.ValueType == "CODE" and item.RelationshipType == "CONTAINS":
                said = item.ConceptCodeSequence[0].CodeMeaning
                assert re.search(rf"<b>{re.escape(name)}:</b><br>\s*{re.escape(said)}", page), (name, said)
        assert "research use only" in page.lower()


@pytest.mark.parametrize("source", ["film", "scan", "refusal"])
def test_dcmtk_renders_every_picture_as_it_is(source: str, tmp_path: Path) -> None:
    for built in of_kinds(source, *PICTURES):
        ds, picture = parsed(built), tmp_path / "it.ppm"
        frame = int(ds.get("NumberOfFrames", 1))
        done = run([program("dcml2pnm"), "+F", str(frame), written(built, tmp_path), picture])
        assert done.code == 0, done.text
        pixels = ds.pixel_array if frame == 1 else ds.pixel_array[frame - 1]
        assert (np.asarray(Image.open(picture)) == pixels).all(), built.kind


# Orthanc


def store(orthanc: Orthanc, content: bytes) -> str:
    """Orthanc's id of the instance."""
    url = f"http://{LOOPBACK}:{orthanc.http_port}/instances"
    with urllib.request.urlopen(urllib.request.Request(url, content, method="POST"), timeout=60) as answer:
        return str(json.loads(answer.read())["ID"])


@every_source
def test_orthanc_keeps_every_object_and_shows_every_picture(source: str, orthanc: Orthanc) -> None:
    for built in objects(source):
        stored = store(orthanc, built.content)
        assert orthanc.file(stored) == built.content
        assert orthanc.get(f"/instances/{stored}/simplified-tags")["StudyInstanceUID"]
        if built.kind in PICTURES:
            shown = Image.open(io.BytesIO(orthanc.request("GET", f"/instances/{stored}/frames/0/preview")))
            pixels = parsed(built).pixel_array
            assert (np.asarray(shown.convert("RGB")) == (pixels if pixels.ndim == 3 else pixels[0])).all(), built.kind
