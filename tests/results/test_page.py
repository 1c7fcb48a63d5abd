"""The page of a report: what it says, that all of it is legible, and that nothing on it tells who the patient is.

What holds for every kind of object is in test_identity; the page as the last form of a report in tests of deliveries.
Text is watched while it is drawn (``drawn_text``). Records are made up. Not covered: identifying text that was burned
into a source image before; the object says so (test_identity).
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from models import api
from models.api import RESEARCH_USE_ONLY, Code, Measured, ModelIdentity, Prediction, Quantity, QuantityKind
from node.core import settings
from node.pipeline.ensemble import mean_of
from node.results import lettering, page, page_text, render, sheet
from node.results.build import build
from node.results.record import AnalysisRecord, ImageOutcome, LeftOut, SeriesOutcome, SystemRefusal
from tests.films import uid
from tests.peers import Orthanc, dciodvfy, dcmsend, program, run
from tests.pipeline.slices import change
from tests.results.drawn_text import Written, inside, overlapping, watched
from tests.results.records import header, outcome, prediction, record, refusal
from tests.results.series import ct_record, slice_headers

SCREEN_ROWS, LEAST_LETTERS = 1080, 11  # pixels of a usual screen; letters below are guessed, not read
CTR = QuantityKind("ctr", "{ratio}", Code("ctr", "99LUNGNODE", "Cardiothoracic ratio"))
CRP = QuantityKind("crp", "mg/L", Code("pred-crp", "99LUNGNODE", "Predicted C-reactive protein (image-derived)"))
PICTURES = ("heat-maps", "heat-stacks", "page")


def whole(source: Dataset | None = None) -> AnalysisRecord:
    """A film with everything that a page can show."""
    source = source if source is not None else header()
    pair = (prediction(), prediction("cnncf-xr", 0.6))
    mean = mean_of(pair, "0.1.0")
    assert mean is not None
    film = outcome(source, *pair, mean, refused=True)
    assert film.lungs is not None
    said = Measured(ModelIdentity("cnnrf", "Indicators", "1", "c" * 64), (Quantity(CRP, 12.5),), ("Few cases.",))
    seen = Measured(film.lungs.model, (Quantity(CTR, 0.483),))
    left = LeftOut("1.2", "1.2.3", "1.3", "DX", "It is a lateral film.")
    images = (dataclasses.replace(film, indicators=(said,), biomarkers=(seen,)),)
    return record(source, images=images, left_out=(left, left))


def long(films: int = 1) -> AnalysisRecord:
    """More than a page holds."""
    (film,) = whole().images
    left = [LeftOut("1.2", f"1.2.{n}", "1.3", "DX", f"Reason {n} is said at some length. " * 4) for n in range(40)]
    return record(film.header, images=(film,) * films, left_out=tuple(left))


def unfound() -> AnalysisRecord:
    source = header()
    return record(source, images=(outcome(source, prediction(probability=0.1)),))


RECORDS = {"film": whole, "ct": ct_record, "refusal": refusal, "long": long, "many": lambda: long(5), "clear": unfound}


def written(made: AnalysisRecord) -> list[Written]:
    """What stands on the page itself, without what stands in its pictures."""
    with watched() as found:
        sheet.draw(page_text.sheet(made))
    return [one for one in found if one.picture == (sheet.WIDTH, sheet.HEIGHT)]


def text(made: AnalysisRecord) -> str:
    return " ".join(one.text for one in written(made))


def object_of(made: AnalysisRecord) -> Dataset:
    return dcmread(BytesIO(page.page(made).content))


def test_it_says_what_every_system_found() -> None:
    said = text(whole())
    assert "Analysed, with findings: 2 of 2 answers decided for a disease; 1 system did not judge." in said
    assert "Plain chest X-ray; images used: 1, left out: 2." in said and RESEARCH_USE_ONLY in said
    for part in ("Made up cxnet covid19 normal 0.25, covid19 0.75", "cxnet, version 1", "weights aaaaaaaaaaaa"):
        assert part in said
    assert "Made up cnncf-xr covid19 normal 0.40, covid19 0.60" in said and "threshold 0.50" in said
    assert "Mean of 2 systems covid19" in said and said.index("Mean of") > said.index("Made up cnncf-xr")
    assert "Cardiothoracic ratio 0.483" in said and "12.5 mg/L" in said and page_text.PREDICTED_ONLY in said
    assert "film 1 cxnet 1 30, 30 400 1.00 90 %" in said
    assert "cnncf-xr: It would not judge this film." in said and "2 images: It is a lateral film." in said
    assert "07:08:09 (UTC)" in said and "2024" not in said, "the time of the run, without its date"


def test_a_ct_is_told_with_its_slices() -> None:
    said = text(ct_record())
    assert "CT of chest; images used: 5, left out: 0." in said and "5 slices judged" in said
    assert "slice 4 of 5 bit-ct 1 30, 30" in said and "A remark on the scan." in said
    shown = page_text.sheet(ct_record()).figures
    assert [figure.caption[1] for figure in shown][:2] == ["slice 4 of 5, p = 0.45", "slice 3 of 5, p = 0.24"], (
        "the slice with foci of the first system, then that of the second, each with its own probability"
    )


def test_nothing_found_and_nothing_analysed_are_told_apart() -> None:
    assert "Analysed, no finding." in text(unfound())
    said = text(refusal())
    assert "Not analysed: A knee." in said and "no finding" not in said and "1 image: A knee." in said


def test_films_are_told_apart() -> None:
    said = text(long(2))
    assert "Film 1: Made up cxnet" in said and "Film 2: Made up cxnet" in said
    assert [f.caption[1][:6] for f in page_text.sheet(long(2)).figures][:2] == ["film 1", "film 2"]


@pytest.mark.parametrize("kind", list(RECORDS))
def test_every_line_is_legible_on_a_screen_and_none_lies_over_another(kind: str) -> None:
    found = written(RECORDS[kind]())
    assert min(one.size for one in found) * SCREEN_ROWS / sheet.HEIGHT >= LEAST_LETTERS
    assert all(inside(one) for one in found)
    assert overlapping(found) == []
    assert all(lettering.drawable(one.text) == one.text for one in found)


@pytest.mark.parametrize("kind", ["long", "many"])
def test_what_has_no_room_is_counted_and_the_foot_stays(kind: str) -> None:
    made = RECORDS[kind]()
    said = text(made)
    cut = {
        noun: int(count) for noun, count in re.findall(r"[:,] ([a-z ]+) \((\d+)\)", said[said.index("Left out for") :])
    }
    whole_page = page_text.sheet(made)
    rows = {section.noun: 0 for section in (*whole_page.main, *whole_page.rest)}
    for section in (*whole_page.main, *whole_page.rest):
        rows[section.noun] += len(section.rows)
    shown = {"foci": len(re.findall(r"film \d [a-z-]+ \d \d+, \d+", said)), "answers": said.count("; threshold")}
    shown["reasons"] = said.count("1 image: Reason") + said.count("It would not judge")
    for noun, count in shown.items():
        assert count + cut.get(noun, 0) == rows[noun], noun
    assert sum(cut.values()) > 0 and said.index("Absence of a finding here excludes nothing") > 0


def test_pictures_have_the_true_shape_of_their_pixels() -> None:
    """Twice as high as wide: the picture of a square matrix is shown twice as high."""
    source = header(ImagerPixelSpacing=[0.4, 0.2])
    (figure, *_) = page_text.sheet(whole(source)).figures
    assert figure.picture.shape[0] == 2 * figure.picture.shape[1]


@pytest.mark.parametrize("kind", list(RECORDS))
def test_validators_find_no_error_and_the_bytes_repeat(kind: str, tmp_path: Path) -> None:
    found = page.page(RECORDS[kind]())
    path = tmp_path / "page.dcm"
    path.write_bytes(found.content)
    assert dciodvfy(path) == [] and found.kind == "page"
    assert page.page(RECORDS[kind]()) == page.page(RECORDS[kind]())
    assert len(found.content) < 1_500_000


def test_it_is_built_where_it_is_wanted() -> None:
    made = whole()
    wanted = dataclasses.replace(settings.load().objects, kinds=("page",))
    assert [item.kind for item in build(dataclasses.replace(made, wanted=wanted))] == ["page"]
    assert object_of(made).ConversionType == "SYN"


def test_dcmtk_and_orthanc_show_our_page(orthanc: Orthanc, tmp_path: Path) -> None:
    made = whole()
    path, shown = tmp_path / "page.dcm", tmp_path / "page.png"
    path.write_bytes(page.page(made).content)
    wanted = sheet.draw(page_text.sheet(made))
    assert run([program("dcml2pnm"), "--write-png", path, shown]).code == 0
    assert np.array_equal(np.asarray(Image.open(shown).convert("RGB")), wanted)
    assert dcmsend(orthanc.dicom_port, [path], "--decompress-never", called=orthanc.aet).code == 0
    (found,) = [
        i
        for i in orthanc.get("/instances?expand")
        if i["MainDicomTags"]["SOPInstanceUID"] == dcmread(path).SOPInstanceUID
    ]
    sent = orthanc.request("GET", f"/instances/{found['ID']}/rendered")
    assert np.array_equal(np.asarray(Image.open(BytesIO(sent)).convert("RGB")), wanted)


# Who the patient is

IDENTIFYING = {
    "PatientName": "Zebramarker^Quaggamarker", "OtherPatientNames": "Lynxmarker^Emumarker",
    "PatientBirthName": "Ibexmarker", "PatientMotherBirthName": "Elkmarker", "OperatorsName": "Gnumarker",
    "ReferringPhysicianName": "Okapimarker^Bongomarker", "PerformingPhysicianName": "Yakmarker",
    "PhysiciansOfRecord": "Kudumarker", "NameOfPhysiciansReadingStudy": "Orcamarker", "ResponsiblePerson": "Wrenmarker",
    "PatientID": "PIDMARKER77120", "IssuerOfPatientID": "ISSUERMARKER", "AccessionNumber": "ACCMARKER5531",
    "StudyID": "STUDYIDMARKER", "InstitutionName": "Institutionmarker Ward", "InstitutionAddress": "Streetmarker 12",
    "InstitutionalDepartmentName": "Departmentmarker", "StationName": "STATIONMARKER",
    "PatientComments": "Commentmarker", "PatientAddress": "Addressmarker 7",
    "PatientTelephoneNumbers": "0049MARKER", "AdmissionID": "ADMMARKER", "PatientBirthDate": "18770317",
    "StudyDescription": "Descriptionmarker", "SeriesDescription": "Seriesmarker",
}  # fmt: skip


def quoted(source: Dataset) -> AnalysisRecord:
    """A record in which every sentence that others wrote quotes the header at length."""
    everything = ", ".join(str(source[keyword].value) for keyword in IDENTIFYING)
    parts = " ".join(re.split(r"[\^ ]", everything)) + " " + everything.upper()
    sentence = f"The header says {everything} and {parts}; {source.SOPInstanceUID} of {source.StudyInstanceUID}."
    made = whole(source)
    noted = dataclasses.replace(made.images[0].predictions[0], notes=(sentence,))
    refused = (SystemRefusal("cnncf-xr", sentence),)
    images = (
        dataclasses.replace(made.images[0], predictions=(noted,), refusals=refused, indicators=(), biomarkers=()),
    )
    left = (LeftOut(str(source.SeriesInstanceUID), str(source.SOPInstanceUID), "1.3", "DX", sentence),)
    return dataclasses.replace(made, images=images, left_out=left)


def told(drawn: page_text.Sheet) -> list[str]:
    """Every string that a sheet holds, drawn or cut."""
    sections = (*drawn.main, *drawn.rest)
    rows = [part for section in sections for row in section.rows for part in (*row.cells, row.small)]
    captions = [line for figure in drawn.figures for line in figure.caption]
    return [drawn.title, drawn.warning, *drawn.lead, *rows, *captions, *drawn.foot]


def test_no_identifying_text_reaches_the_page() -> None:
    """Every identifying attribute is a marker, and every sentence quotes them all."""
    source = header(**IDENTIFYING)
    for made in (
        quoted(source),
        dataclasses.replace(quoted(source), images=(), reason=quoted(source).left_out[0].reason),
    ):
        found = told(page_text.sheet(made)) + [one.text for one in written(made)]
        assert any("The header says" in line for line in found)
        for line in found:
            assert "marker" not in line.lower() and not re.search(r"1877|\d+(\.\d+){4}", line), line


def test_innocent_sentences_are_left_as_they_are() -> None:
    assert page_text.withheld("The film is of the chest.", ["il", "Filmer", "Thech"]) == "The film is of the chest."
    assert page_text.withheld("Ask Ann-Lee (ANN).", ["Ann"]) == "Ask [withheld]-Lee ([withheld])."


def test_the_pixels_of_all_pictures_are_those_of_any_other_patient() -> None:
    """The same images of another person, under other UIDs and dates: not one pixel differs."""
    wanted = dataclasses.replace(settings.load().objects, kinds=PICTURES)
    found = []
    for seed in ("one", "two"):
        person = {keyword: f"{value[:-1]}{seed[0]}" for keyword, value in IDENTIFYING.items() if "Date" not in keyword}
        same = {"StudyInstanceUID": uid("study", seed), "StudyDate": f"202{len(seed)}0101", **person}
        film = change(header(seed), **same)
        slices = [
            change(ds, SOPInstanceUID=uid("slice", f"{seed} {n}"), **same) for n, ds in enumerate(slice_headers())
        ]
        made = ct_record(slices, images=whole(film).images, wanted=wanted)
        found.append([dcmread(BytesIO(item.content)) for item in build(made)])
    assert len(found[0]) == len(found[1]) > 5
    for one, two in zip(*found, strict=True):
        assert one.PatientID != two.PatientID and one.SOPInstanceUID != two.SOPInstanceUID
        assert np.array_equal(one.pixel_array, two.pixel_array), one.SeriesDescription


def types_in(hint: object, seen: set[object]) -> set[object]:
    """A type with all that it is made of: members of unions and generics, fields of dataclasses."""
    if hint in seen:
        return seen
    seen.add(hint)
    if typing.get_origin(hint) is not np.ndarray:
        for part in typing.get_args(hint):
            types_in(part, seen)
    if dataclasses.is_dataclass(hint):
        for part in typing.get_type_hints(hint).values():
            types_in(part, seen)
    return seen


@pytest.mark.parametrize("module", [render, sheet, lettering], ids=lambda module: module.__name__)
def test_whoever_draws_is_given_no_header(module: types.ModuleType) -> None:
    """By the types of every parameter, and by what the module imports."""
    taken: set[object] = set()
    for function in vars(module).values():
        if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
            for hint in typing.get_type_hints(function).values():
                types_in(hint, taken)
    assert taken & {str, Prediction, sheet.Sheet}, "the hints were found"
    assert not taken & {Dataset, AnalysisRecord, ImageOutcome, SeriesOutcome, object, typing.Any}
    homes = {getattr(thing, "__module__", None) or getattr(thing, "__name__", "") for thing in vars(module).values()}
    assert not [home for home in homes if str(home).startswith(("pydicom", "highdicom", "node.results.record"))]
    assert api.ImageInput in taken or module is not render


def test_a_description_of_ordinary_words_takes_none_from_the_sentences() -> None:
    """Many studies are described as "Chest"; a name in a description is withheld all the same."""
    said = "It is of Anna Berg, not a chest film."
    for description, expected in (("Chest PA", said), ("chest film", said), ("Anna Berg", "It is of [withheld], not")):
        source = header(StudyDescription=description, SeriesDescription="FILM")
        made = dataclasses.replace(refusal(source), reason=said)
        assert expected in page_text.sheet(made).lead[0]


@pytest.mark.parametrize("ratio", [[1, 1000], [1000, 1]])
def test_pixels_of_a_mad_shape_do_not_break_the_page(ratio: list[int]) -> None:
    source = header(PixelAspectRatio=ratio, PixelSpacing=None, ImagerPixelSpacing=None)
    wanted = dataclasses.replace(settings.load().objects, kinds=("page",))
    assert [item.kind for item in build(record(source, wanted=wanted))] == ["page"]
