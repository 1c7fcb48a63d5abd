"""The report of regions: its shape as OHIF asks for it, its places, its ties to the summary, and when there is none.

Records are made up. OHIF drawing and taking over what is written here is in tests/viewers. Not covered: other viewers.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from models.api import Lesion
from node.core import settings
from node.results import regions
from node.results.build import build
from node.results.record import AnalysisRecord, Predecessor
from tests.results.records import SIZE, header, outcome, prediction, record, refusal
from tests.results.series import KEYS, ct_record, of_series, series_outcome, slice_headers
from tests.results.test_objects import IDENTITY, checked, digests, items, of_kind, parsed, texts

TOOLS = ("PlanarFreehandROI", "Probe", "RectangleROI")
EARLIER = Predecessor("regions", Comprehensive3DSRStorage, "1.2.3.1", "1.2.3", 4)


def written(made: AnalysisRecord) -> Dataset:
    (built,) = regions.report(made)
    return parsed(built)


def whole_images(made: AnalysisRecord) -> AnalysisRecord:
    return dataclasses.replace(made, wanted=dataclasses.replace(made.wanted, whole_image_regions=True))


def with_lesions(*lesions: Lesion) -> AnalysisRecord:
    source = header()
    return record(source, images=(outcome(source, dataclasses.replace(prediction(), lesions=lesions)),))


def lesion(**changes: object) -> Lesion:
    return dataclasses.replace(prediction().lesions[0], **changes)  # type: ignore[arg-type]


def nothing(**changes: object) -> AnalysisRecord:
    source = header()
    return record(source, images=(outcome(source, prediction(probability=0.2)),), **changes)


def value(item: Dataset, keyword: str) -> str:
    code = item[keyword].value[0]
    return str(code.get("CodeValue") or code.LongCodeValue)


def groups(ds: Dataset) -> list[Dataset]:
    return [item for item in items(ds) if item.ValueType == "CONTAINER" and _concept(item) == "125007"]


def _concept(item: Dataset) -> str:
    return value(item, "ConceptNameCodeSequence")


def child(group: Dataset, concept: str) -> Dataset:
    (found,) = [item for item in group.ContentSequence if _concept(item) == concept]
    return found


def region(group: Dataset) -> Dataset:
    return child(group, "111030")


def tracking(group: Dataset) -> tuple[str, str]:
    return str(child(group, "112039").TextValue), str(child(group, "112040").UID)


@pytest.mark.parametrize("made", [record, ct_record], ids=["film", "ct"])
@pytest.mark.parametrize("whole", [False, True], ids=["foci", "whole"])
def test_validators_find_no_error_and_the_bytes_repeat(made: object, whole: bool, tmp_path: Path) -> None:
    def once() -> tuple[AnalysisRecord, ...]:
        found: AnalysisRecord = made()  # type: ignore[operator]
        return (whole_images(found) if whole else found,)

    objects = tuple(regions.report(*once()))
    checked(objects, tmp_path)
    assert digests(objects) == digests(tuple(regions.report(*once())))


@pytest.mark.parametrize(
    "made",
    [record(), whole_images(record()), ct_record(), whole_images(ct_record()), nothing(predecessors=(EARLIER,))],
    ids=["film", "whole film", "ct", "whole ct", "withdrawal"],
)
def test_what_ohif_asks_of_every_group(made: AnalysisRecord) -> None:
    """Its own tracking UID, a tool in its identifier, one region, and that region again below every number."""
    found = groups(written(made))
    assert len({tracking(group)[1] for group in found}) == len(found) > 0
    for group in found:
        prefix, tool, *rest = tracking(group)[0].split(":")
        assert prefix == "Cornerstone3DTools@^0.1.0" and tool in TOOLS and rest
        where = region(group)
        image = where.ContentSequence[0].ReferencedSOPSequence[0]
        numbers = [item for item in group.ContentSequence if item.ValueType == "NUM"]
        if tool != "Probe":
            assert _concept(numbers[0]) == "42798000", "the first number is shown as the area"
        for number in numbers:
            (again,) = number.ContentSequence
            assert again.RelationshipType == "INFERRED FROM" and again.ValueType == "SCOORD"
            assert (again.GraphicType, list(again.GraphicData)) == (where.GraphicType, list(where.GraphicData))
            assert again.ContentSequence[0].ReferencedSOPSequence[0] == image
        assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"


def test_every_container_keeps_the_names_of_what_it_contains() -> None:
    ds = written(record())
    assert ds.ContinuityOfContent == "SEPARATE"
    assert {item.ContinuityOfContent for item in items(ds) if item.ValueType == "CONTAINER"} == {"SEPARATE"}


def test_outline_and_centre_stand_where_the_focus_is() -> None:
    """Half a pixel off ours: SCOORD counts from the corner of the first pixel (PS3.3 C.18.6.1.2)."""
    outline, centre = (region(group) for group in groups(written(record())))
    assert outline.GraphicType == "POLYLINE" and centre.GraphicType == "POINT"
    assert list(outline.GraphicData) == [20.5, 20.5, 39.5, 20.5, 39.5, 39.5, 20.5, 39.5, 20.5, 20.5]
    assert list(centre.GraphicData) == [30.0, 30.75]


def test_a_focus_of_a_series_is_on_its_slice() -> None:
    headers = slice_headers()
    ds = written(ct_record(headers))
    shown = {region(g).ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID for g in groups(ds)}
    assert shown == {headers[KEYS[-1]].SOPInstanceUID}
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedSOPSequence] == [headers[KEYS[-1]].SOPInstanceUID]


def test_every_focus_of_every_system_is_there() -> None:
    source = header()
    lesions = tuple(lesion(number=n, centre_px=(10.0 * n, 20.0)) for n in (1, 2, 3))
    pair = [dataclasses.replace(prediction(system), lesions=lesions) for system in ("cxnet", "cnncf-xr")]
    found = [tracking(group)[0] for group in groups(written(record(source, images=(outcome(source, *pair),))))]
    expected = {
        f"Cornerstone3DTools@^0.1.0:{name}"
        for system in ("cxnet", "cnncf-xr")
        for n in (1, 2, 3)
        for name in (f"PlanarFreehandROI:{system} focus {n}", f"Probe:{system} focus {n} centre")
    }
    assert len(found) == 12 and set(found) == expected


def test_the_tracking_uid_is_that_of_the_summary() -> None:
    """The region itself carries it: the outline, or the centre where there is no outline."""
    for made in (record(), with_lesions(lesion(outline_px=()))):
        objects = build(made)
        (summary,), (shown,) = of_kind(objects, "sr"), of_kind(objects, "regions")
        of_foci = {tracking(group)[1] for group in groups(summary) if "focus" in tracking(group)[0]}
        assert len(of_foci) == 1 and {tracking(groups(shown)[0])[1]} == of_foci


def test_a_focus_without_an_outline_is_a_point() -> None:
    found = groups(written(with_lesions(lesion(outline_px=()))))
    assert [region(group).GraphicType for group in found] == ["POINT"]


def test_an_outline_beyond_the_image_is_kept_inside() -> None:
    ring = ((-5.0, -5.0), (200.0, -5.0), (200.0, 200.0), (-5.0, -5.0))
    (outline, _) = groups(written(with_lesions(lesion(outline_px=ring))))
    points = list(region(outline).GraphicData)
    assert min(points) == 0 and max(points) == SIZE and points[:2] == points[-2:]


@pytest.mark.parametrize("inside, sites", [(True, ["39607008"]), (False, ["51185008"])])
def test_the_site_is_the_lung_where_the_focus_is_inside_else_the_chest(inside: bool, sites: list[str]) -> None:
    for ring in (lesion().outline_px, ()):
        group = groups(written(with_lesions(lesion(inside_lung=inside, outline_px=ring))))[0]
        found = [value(i, "ConceptCodeSequence") for i in group.ContentSequence if _concept(i) == "363698007"]
        assert found == sites


def test_each_group_names_its_algorithm_its_class_and_whose_probability_it_is() -> None:
    group, _ = groups(written(record()))
    assert child(group, "111001").TextValue == "Made up cxnet" and child(group, "111003").TextValue == "1"
    assert value(child(group, "explained-class"), "ConceptCodeSequence") == "882784691000119100"
    assert float(child(group, "class-prob").MeasuredValueSequence[0].NumericValue) == 0.75
    assert child(group, "121106").TextValue == "cxnet focus 1: covid19, p = 0.75 of the whole"
    assert "not for diagnosis" in texts(written(record()))


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing"])
def test_foci_on_oblong_pixels_stand_in_the_summary_alone(keyword: str) -> None:
    """OHIF draws them elsewhere (tests/viewers)."""
    square, oblong = header("square"), header("oblong", **{keyword: [0.6, 0.9]})
    oblong.StudyInstanceUID = square.StudyInstanceUID
    objects = build(record(square, images=(outcome(square), outcome(oblong))))
    (summary,), (shown,) = of_kind(objects, "sr"), of_kind(objects, "regions")
    points = [item.ContentSequence[0] for item in items(summary) if item.get("GraphicType") == "POINT"]
    assert {p.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for p in points} == {
        square.SOPInstanceUID,
        oblong.SOPInstanceUID,
    }
    images = {region(g).ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID for g in groups(shown)}
    assert images == {
        square.SOPInstanceUID
    } and "oblong pixels, where viewers misplace regions, are left to the summary: 1." in texts(shown)
    assert not list(regions.report(record(oblong, images=(outcome(oblong),))))


@pytest.mark.parametrize("spacing", [[0.6, 0.6], [0.1388, 0.1389], [0, 0], [0.6], [0.6, 0.6, 0.9], None])
def test_square_pixels_and_unknown_ones_are_drawn(spacing: list[float] | None) -> None:
    source = header(ImagerPixelSpacing=spacing)
    assert len(groups(written(record(source, images=(outcome(source),))))) == 2


def test_whole_image_regions_are_the_classes_of_the_summary() -> None:
    made = whole_images(record())
    objects = build(made)
    (summary,), (shown,) = of_kind(objects, "sr"), of_kind(objects, "regions")
    borders = [group for group in groups(shown) if "RectangleROI" in tracking(group)[0]]
    classes = {tracking(group) for group in groups(summary) if tracking(group)[0].startswith(("cxnet ", "cnncf-xr "))}
    classes = {(name, uid) for name, uid in classes if "focus" not in name}
    assert len(borders) == 4, "two classes of two systems"
    assert {(tracking(g)[0].split(":")[2], tracking(g)[1]) for g in borders} == classes
    for group in borders:
        assert list(region(group).GraphicData) == [0, 0, SIZE, 0, SIZE, SIZE, 0, SIZE, 0, 0]
        assert "122157" in {_concept(item) for item in group.ContentSequence}


def test_whole_image_regions_of_a_series_stand_on_a_key_slice_or_the_middle_one() -> None:
    headers = slice_headers()
    bare = dataclasses.replace(of_series(headers, "bit-ct"), slices=())
    for outcomes, index in ((series_outcome(headers), KEYS[0]), (series_outcome(headers, bare), 2)):
        shown = groups(written(whole_images(ct_record(headers, series=(outcomes,)))))
        borders = [group for group in shown if "RectangleROI:bit-ct" in tracking(group)[0]]
        images = {region(g).ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID for g in borders}
        assert images == {headers[index].SOPInstanceUID}


def test_another_way_of_writing_is_another_instance() -> None:
    one, two = written(record()), written(whole_images(record()))
    assert one.SOPInstanceUID != two.SOPInstanceUID and one.SeriesInstanceUID == two.SeriesInstanceUID


def test_a_series_of_its_own_on_the_right_patient() -> None:
    source = header()
    objects = build(record(source))
    (summary,), (ds,) = of_kind(objects, "sr"), of_kind(objects, "regions")
    assert ds.SeriesInstanceUID != summary.SeriesInstanceUID and ds.SeriesNumber != summary.SeriesNumber
    for keyword in IDENTITY:
        assert ds.get(keyword) == source.get(keyword), keyword
    assert "not for diagnosis" in ds.SeriesDescription and ds.ContentQualification == "RESEARCH"


@pytest.mark.parametrize("made", [nothing(), refusal()], ids=["nothing found", "refused"])
def test_without_a_region_there_is_no_document(made: AnalysisRecord) -> None:
    assert not list(regions.report(made))


@pytest.mark.parametrize("made, code", [(nothing(), "111241"), (refusal(), "111245")], ids=["nothing", "refused"])
def test_earlier_regions_are_withdrawn_on_the_whole_image(made: AnalysisRecord, code: str, tmp_path: Path) -> None:
    objects = tuple(regions.report(dataclasses.replace(made, predecessors=(EARLIER,))))
    checked(objects, tmp_path)
    ds = parsed(objects[0])
    (group,) = groups(ds)
    assert list(region(group).GraphicData) == [0, 0, SIZE, 0, SIZE, SIZE, 0, SIZE, 0, 0]
    assert value(child(group, "111017"), "ConceptCodeSequence") == code
    assert int(child(group, "withdrawn").MeasuredValueSequence[0].NumericValue) == 1
    assert "earlier ones no longer hold" in child(group, "121106").TextValue and ds.InstanceNumber == 5


def test_the_predecessor_is_named_and_one_of_another_kind_is_not() -> None:
    other = dataclasses.replace(EARLIER, kind="sr", sop_instance_uid="1.2.9")
    ds = written(record(predecessors=(other, EARLIER)))
    (study,) = ds.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == ["1.2.3.1"]
    assert "PredecessorDocumentsSequence" not in written(record())


def test_a_destination_that_does_not_want_regions_gets_none() -> None:
    wanted = dataclasses.replace(settings.load().objects, kinds=("summary",))
    assert not of_kind(build(record(wanted=wanted)), "regions")
