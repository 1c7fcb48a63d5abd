"""Whose results they are, and when they were made: the rules that hold for every kind of object that is built.

A kind that is added to ``build.MAKERS`` is tested here without a word. Films and CT series are sources alike; a kind
that a source has none of is left out. Not covered: names in other character sets (test_objects), what an object says.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from models.api import Code, Measured, ModelIdentity, Quantity, QuantityKind
from node.core import settings
from node.results.build import MAKERS, build
from node.results.record import AnalysisRecord, BuiltObject, ImageOutcome, Predecessor, SystemRefusal
from tests.films import MARKER
from tests.peers import dciodvfy
from tests.pipeline.slices import change
from tests.results.records import header, outcome, prediction, record, refusal
from tests.results.series import ct_record, series_outcome, slice_headers

DOCUMENTS = (Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage)
CAPTURES = (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage)
SOURCES = ("film", "scan")
STARTED = datetime(2024, 5, 6, 22, 8, 9, tzinfo=UTC)  # the next day in Kolkata


def item(**values: object) -> Dataset:
    return change(Dataset(), **values)


def code(value: str, meaning: str) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator="99TEST", CodeMeaning=meaning)


ISSUER = {"LocalNamespaceEntityID": "WARD", "UniversalEntityID": "1.2.3", "UniversalEntityIDType": "ISO"}
REQUEST = item(
    RequestedProcedureID="RP1",
    RequestedProcedureDescription="Chest",
    RequestedProcedureCodeSequence=[code("RPC", "Chest, two views")],
    AccessionNumber="ACC7",
    IssuerOfAccessionNumberSequence=[item(**ISSUER)],
    ScheduledProcedureStepID="SPS1",
    PlacerOrderNumberImagingServiceRequest="PLACER1",
    FillerOrderNumberImagingServiceRequest="FILLER1",
)
IDENTITY: dict[str, object] = {
    "PatientName": "Zebramarker^Quaggamarker",
    "PatientID": "PID1",
    "IssuerOfPatientID": "HOSPITAL",
    "IssuerOfPatientIDQualifiersSequence": [item(UniversalEntityID="1.2.3", UniversalEntityIDType="ISO")],
    "OtherPatientIDsSequence": [item(PatientID="OLD1", IssuerOfPatientID="BEFORE", TypeOfPatientID="TEXT")],
    "OtherPatientNames": "Before^Marriage",
    "PatientBirthDate": "19401231",
    "PatientBirthTime": "0102",
    "PatientSex": "F",
    "PatientAge": "079Y",
    "PatientSize": "1.62",
    "PatientWeight": "58.5",
    "EthnicGroup": "unknown",
    "PatientComments": "None",
    "AdmissionID": "ADM1",
    "IssuerOfAdmissionIDSequence": [item(**ISSUER)],
    "ServiceEpisodeID": "EPISODE1",
    "IssuerOfServiceEpisodeIDSequence": [item(**ISSUER)],
    "StudyDate": "20200102",
    "StudyTime": "101112.500",
    "StudyID": "S1",
    "StudyDescription": "Thorax",
    "AccessionNumber": "ACC1",
    "IssuerOfAccessionNumberSequence": [item(**ISSUER)],
    "ReferringPhysicianName": "Okapi^Bongo",
    "ReferringPhysicianIdentificationSequence": [
        item(PersonIdentificationCodeSequence=[code("P1", "A physician")], InstitutionName="Elsewhere")
    ],
    "PhysiciansOfRecord": "Kudu^Eland",
    "RequestingService": "Ward 3",
    "ProcedureCodeSequence": [code("PROC", "Chest radiography")],
    "TimezoneOffsetFromUTC": "+0530",
}
TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
          "AccessionNumber", "ReferringPhysicianName")  # fmt: skip


def made(source: str, kind: str, headers: dict[str, object], **changes: object) -> AnalysisRecord:
    """A record of a film or of a scan whose headers carry ``headers``, and that wants one kind of object."""
    wanted = dataclasses.replace(settings.load().objects, kinds=(kind,))
    rest = {"wanted": wanted, "started_at": STARTED, **changes}
    if source == "film":
        film = change(header(), **headers)
        return record(film, **{"images": (whole_film(film),), **rest})
    return ct_record([change(ds, **headers) for ds in slice_headers()], **rest)


def whole_film(film: Dataset, lungs: str = "b", blood: str = "c") -> ImageOutcome:
    """With everything that speaks: two systems, lungs, a biomarker, a predicted value."""
    kind = QuantityKind("crp", "mg/L", Code("pred-crp", "99LUNGNODE", "Predicted C-reactive protein (image-derived)"))
    said = Measured(ModelIdentity("cnnrf", "Indicators", "1", blood * 64), (Quantity(kind, 12.5),))
    found = outcome(film, prediction(), prediction("cnncf-xr", 0.6))
    assert found.lungs is not None
    model = dataclasses.replace(found.lungs.model, weights_sha256=lungs * 64)
    return dataclasses.replace(found, lungs=dataclasses.replace(found.lungs, model=model), indicators=(said,))


@functools.cache
def full(source: str, kind: str) -> tuple[Dataset, ...]:
    """Objects of a source that states everything."""
    headers = {**IDENTITY, "RequestAttributesSequence": [REQUEST], "BurnedInAnnotation": "NO"}
    return parsed(build(made(source, kind, headers)))


@functools.cache
def bare(source: str, kind: str) -> tuple[Dataset, ...]:
    """Objects of a source that states nothing."""
    headers = {**dict.fromkeys(IDENTITY), "RequestAttributesSequence": None, "BurnedInAnnotation": None}
    return parsed(build(made(source, kind, headers)))


def parsed(objects: tuple[BuiltObject, ...]) -> tuple[Dataset, ...]:
    if not objects:
        pytest.skip("there is no such object of such a source")
    return tuple(dcmread(BytesIO(built.content)) for built in objects)


@functools.cache
def usual(source: str, kind: str) -> tuple[BuiltObject, ...]:
    return build(made(source, kind, {}))


def in_turn(*names: str, **cases: object) -> pytest.MarkDecorator:
    """Each case with one source, films and scans by turns: what they prove does not hang on the source."""
    given = [(name, values if isinstance(values, tuple) else (values,)) for name, values in cases.items()]
    found = [pytest.param(source, *values, id=name) for source, (name, values) in zip(itertools.cycle(SOURCES), given)]
    return pytest.mark.parametrize(("source", *names), found)


every_kind = pytest.mark.parametrize("kind", list(MAKERS))
every_source = pytest.mark.parametrize("source", SOURCES)


@every_kind
def test_every_kind_is_made_of_something(kind: str) -> None:
    assert any(usual(source, kind) for source in SOURCES)


@every_kind
@every_source
@pytest.mark.parametrize("keyword", list(IDENTITY))
def test_what_the_source_says_of_patient_and_study_is_said(keyword: str, source: str, kind: str) -> None:
    expected = change(Dataset(), **IDENTITY)[keyword]
    for ds in full(source, kind):
        assert ds[keyword].value == expected.value
        assert ds.SpecificCharacterSet == "ISO_IR 192"


@every_kind
@every_source
def test_what_the_source_does_not_say_is_not_made_up(source: str, kind: str) -> None:
    for ds in bare(source, kind):
        assert [keyword for keyword in IDENTITY if ds.get(keyword) not in (None, "")] == []
        assert [keyword for keyword in TYPE_2 if keyword not in ds] == []
        assert "ReferencedRequestSequence" not in ds and "RequestAttributesSequence" not in ds


@every_kind
@every_source
def test_the_request_is_carried_where_the_object_has_room_for_it(source: str, kind: str) -> None:
    """PS3.3 Table C.17-2 for documents, Table C.7-5a for all others."""
    for ds in full(source, kind):
        if ds.SOPClassUID not in DOCUMENTS:
            assert ds.RequestAttributesSequence == [REQUEST] and "ReferencedRequestSequence" not in ds
            continue
        (reference,) = ds.ReferencedRequestSequence
        assert reference.StudyInstanceUID == ds.StudyInstanceUID and "RequestAttributesSequence" not in ds
        for element in REQUEST:
            assert element.keyword == "ScheduledProcedureStepID" or reference[element.keyword] == element


@every_kind
@every_source
@pytest.mark.parametrize("said", [full, bare], ids=["full", "bare"])
def test_validators_find_no_error(said: object, source: str, kind: str, tmp_path: Path) -> None:
    for number, ds in enumerate(said(source, kind)):  # type: ignore[operator]
        path = tmp_path / f"{number}.dcm"
        ds.save_as(path, enforce_file_format=True)
        assert dciodvfy(path) == [], ds.SOPClassUID.name


@every_kind
@every_source
def test_the_scanner_and_its_people_are_left_out(source: str, kind: str) -> None:
    for ds in full(source, kind):
        for keyword in ("InstitutionName", "InstitutionAddress", "OperatorsName", "StationName", "ProtocolName",
                        "PerformedProcedureStepID", "DetectorID", "KVP"):  # fmt: skip
            assert keyword not in ds
        assert MARKER.institution not in str(ds) and MARKER.operator not in str(ds)


@every_kind
@every_source
def test_it_is_marked_as_research_and_names_what_made_it(source: str, kind: str) -> None:
    for ds in full(source, kind):
        assert ds.ContentQualification == "RESEARCH" and "not for diagnosis" in ds.SeriesDescription
        (equipment,) = ds.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert equipment.Manufacturer and equipment.ManufacturerModelName and equipment.SoftwareVersions == "0.1.0"
        assert equipment.DeviceUID.startswith("2.25.") and ds.InstanceCreatorUID.startswith("2.25.")


@every_kind
@pytest.mark.parametrize("retrained", ["classifier", "lungs", "indicators"])
def test_another_model_is_another_device(retrained: str, kind: str) -> None:
    film = header()
    images = {
        "classifier": dataclasses.replace(whole_film(film), predictions=(prediction(weights="f" * 64),)),
        "lungs": whole_film(film, lungs="f"),
        "indicators": whole_film(film, blood="f"),
    }
    before = parsed(usual("film", kind))
    after = parsed(build(made("film", kind, {}, images=(images[retrained],))))
    devices = [{ds.ContributingEquipmentSequence[0].DeviceUID for ds in objects} for objects in (before, after)]
    assert len(devices[0]) == len(devices[1]) == 1 and devices[0] != devices[1]
    assert not {ds.SOPInstanceUID for ds in before} & {ds.SOPInstanceUID for ds in after}


def moments(ds: Dataset) -> Iterator[DataElement]:
    """Every date and time anywhere in the object."""
    for element in ds.iterall():
        if element.VR in ("DA", "TM", "DT") and element.value:
            yield element


@every_kind
@in_turn(
    "stated", "configured", "written", "day", "time",
    stated=("+0530", "", "+0530", "20240507", "033809.000000"),
    west=("-0930", "", "-0930", "20240506", "123809.000000"),
    stated_and_configured=("+0530", "-0800", "+0530", "20240507", "033809.000000"),
    configured=(None, "-0800", "-0800", "20240506", "140809.000000"),
    neither=(None, "", None, "20240506", "220809.000000"),
    illegal=("CET", "", None, "20240506", "220809.000000"),
    illegal_and_configured=("+2500", "+0100", "+0100", "20240506", "230809.000000"),
)  # fmt: skip
def test_dates_are_those_of_the_analysis_in_the_zone_that_is_named(
    source: str, stated: str | None, configured: str, written: str | None, day: str, time: str, kind: str
) -> None:
    """One offset holds for all dates and times of an object (PS3.3 C.12.1.1.8), those copied from the source too; the
    source's own are never converted."""
    results = dataclasses.replace(settings.load().results, timezone=configured)
    headers = {"TimezoneOffsetFromUTC": stated, "StudyDate": "20200102", "StudyTime": "101112"}
    for ds in parsed(build(made(source, kind, headers, settings=results))):
        assert ds.get("TimezoneOffsetFromUTC") == written
        assert (ds.StudyDate, ds.StudyTime) == ("20200102", "101112")
        assert (ds.InstanceCreationDate, ds.InstanceCreationTime) == (day, time)
        assert "SeriesDate" not in ds and "SeriesTime" not in ds, "they would have to be those of every analysis"
        of_source = (ds.StudyDate, ds.StudyTime, ds.PatientBirthDate)
        strange = [m for m in moments(ds) if m.value not in (day, time, day + time, *of_source)]
        assert strange == []


@every_kind
@in_turn("said", yes="YES", no="NO", silent=None, yes_again="YES", no_again="NO", silent_again=None)
def test_identifying_text_in_the_pixels_is_never_denied(source: str, said: str | None, kind: str) -> None:
    """(0028,0301) speaks of what the source shows; where a picture must say something, silence counts as YES."""
    for ds in parsed(build(made(source, kind, {"BurnedInAnnotation": said}))):
        if ds.SOPClassUID == SecondaryCaptureImageStorage:
            assert ds.get("BurnedInAnnotation") == said
        elif ds.SOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage:
            assert ds.BurnedInAnnotation == (said or "YES")
        elif said != "NO":
            assert ds.get("BurnedInAnnotation") != "NO" or ds.SOPClassUID not in CAPTURES


@every_kind
@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing"])
def test_the_spacing_of_a_detector_is_not_given_as_that_of_the_patient(keyword: str, kind: str) -> None:
    """PS3.3 10.7.1.3: of a projection, Pixel Spacing is in the patient only where somebody calibrated it."""
    headers = {"PixelSpacing": None, "ImagerPixelSpacing": None, "PixelSpacingCalibrationType": None}
    for ds in parsed(build(made("film", kind, {**headers, keyword: [0.143, 0.143]}))):
        spacings = [e for e in ds.iterall() if e.keyword in ("PixelSpacing", "PresentationPixelSpacing")]
        assert spacings == []


@every_kind
@every_source
def test_a_repeat_gives_the_same_bytes(source: str, kind: str) -> None:
    assert build(made(source, kind, {})) == usual(source, kind)


CHANGES: dict[str, dict[str, object]] = {
    "instances": {"instance_set_digest": "e" * 64},
    "settings_of_the_analysis": {"config_digest": "e" * 64},
    "software": {"software_version": "0.2.0"},
    "job": {"started_at": STARTED.replace(minute=9)},
    "predecessor": {"predecessors": (Predecessor("sr", Comprehensive3DSRStorage, "1.2.3", "1.2.4"),)},
    "manufacturer": {"settings": dataclasses.replace(settings.load().results, manufacturer="Other")},
    "model_name": {"settings": dataclasses.replace(settings.load().results, model_name="Other")},
    "serial_number": {"settings": dataclasses.replace(settings.load().results, device_serial_number="7")},
    "series_number": {"settings": dataclasses.replace(settings.load().results, series_number_base=9201)},
    "zone": {"settings": dataclasses.replace(settings.load().results, timezone="+0100")},
}  # fmt: skip


@every_kind
@in_turn("changes", **CHANGES)
def test_any_other_input_gives_other_uids_in_the_same_series(
    source: str, changes: dict[str, object], kind: str
) -> None:
    before, after = usual(source, kind), build(made(source, kind, {}, **changes))
    assert len(before) == len(after)
    assert not {built.sop_instance_uid for built in before} & {built.sop_instance_uid for built in after}
    assert [built.series_instance_uid for built in before] == [built.series_instance_uid for built in after]


WISHES: dict[str, dict[str, object]] = {
    "regions": {"whole_image_regions": True},
    "jpeg": {"jpeg": True},
    "character_set": {"character_set": "source"},
    "order": {"kinds": tuple(reversed(MAKERS))},
    **{f"only_{kind}": {"kinds": (kind,)} for kind in MAKERS},
}
EVERYTHING = dataclasses.replace(settings.load().objects, kinds=tuple(MAKERS))


@functools.cache
def all_kinds(source: str) -> tuple[BuiltObject, ...]:
    return build(made(source, "", LATIN, wanted=EVERYTHING))


LATIN: dict[str, object] = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Anna"}


@every_source
@pytest.mark.parametrize("wish", list(WISHES))
def test_one_uid_never_stands_for_two_files_whatever_a_destination_wants(wish: str, source: str) -> None:
    """A PACS keeps the first bytes that it saw under a UID."""
    first = {built.sop_instance_uid: built.content for built in all_kinds(source)}
    wanted = dataclasses.replace(EVERYTHING, **WISHES[wish])  # type: ignore[arg-type]
    other = build(made(source, "", LATIN, wanted=wanted))
    assert all(first.get(built.sop_instance_uid, built.content) == built.content for built in other)


@every_source
def test_objects_of_all_kinds_are_told_apart(source: str) -> None:
    objects = parsed(all_kinds(source))
    assert len({ds.SOPInstanceUID for ds in objects}) == len(objects)
    for first, ds in itertools.combinations(objects, 2):
        same = first.SeriesInstanceUID == ds.SeriesInstanceUID
        assert same == (first.SeriesNumber == ds.SeriesNumber)
        assert not same or (first.Modality == ds.Modality and first.InstanceNumber != ds.InstanceNumber)


def test_two_scans_of_one_study_do_not_share_a_uid() -> None:
    """What is derived must know of which series it is."""
    one, two = slice_headers(), slice_headers()
    for number, ds in enumerate(two):
        ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.826.0.1.1", f"1.2.826.0.1.1.{number}"
    objects = build(ct_record(one, series=(series_outcome(one), series_outcome(two)), wanted=EVERYTHING))
    assert len({built.sop_instance_uid for built in objects}) == len(objects)


@pytest.mark.parametrize("change_of", ["reason", "left out", "refusal"])
def test_another_sentence_on_what_was_not_judged_is_another_object(change_of: str) -> None:
    """A second attempt at the same images may say that the first broke off."""
    wanted = dataclasses.replace(settings.load().objects, kinds=("summary", "page"))
    made = refusal() if change_of == "reason" else record()
    (image,) = record().images
    changes: dict[str, dict[str, object]] = {
        "reason": {"reason": "The analysis broke off 3 times."},
        "left out": {"left_out": refusal().left_out},
        "refusal": {"images": (dataclasses.replace(image, refusals=(SystemRefusal("two-step", "No."),)),)},
    }
    other = dataclasses.replace(made, **changes[change_of])  # type: ignore[arg-type]
    found = [build(dataclasses.replace(one, wanted=wanted)) for one in (made, other)]
    assert all(a.content != b.content for a, b in zip(*found, strict=True))
    assert not {item.sop_instance_uid for item in found[0]} & {item.sop_instance_uid for item in found[1]}
