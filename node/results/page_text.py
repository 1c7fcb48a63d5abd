"""What the page of an analysis says and shows: a ``Sheet`` of sentences, tables and pictures, made of the record.

No identifying text leaves this module: of a header only the shape of the pixels is used. Sentences that others wrote
(reasons, remarks) may quote a header, so whatever names the patient, a physician or the institution is withheld, and so
is every UID. Dates are not written either; they stand in
the header of the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from PIL import Image
from pydicom import Dataset

from models.api import RESEARCH_USE_ONLY, ClassScore, Lesion, Measured, Prediction
from node.results import common, document, render
from node.results.record import AnalysisRecord, ImageOutcome, SeriesOutcome, judged_slices
from node.results.references import aspect_ratio
from node.results.sheet import RGB, Figure, Row, Section, Sheet

Clean = Callable[[str], str]
MEAN = "ensemble"  # the system that is the mean of the others
BOLD = 2.0  # marks on pictures that are reduced to a third
DIGEST = 12  # hexadecimal digits of the weights' digest that are shown
PREDICTED_ONLY = "Predicted from the image by a model; no laboratory measured these values."
FOOT = (
    f"{RESEARCH_USE_ONLY}. Made by software without review by a person. A probability is that of the model, not of the "
    "disease; foci mark where a model looked and need not be lesions. Absence of a finding here excludes nothing.",
)
NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
         "OperatorsName", "PerformingPhysicianName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy",
         "InstitutionName", "ResponsiblePerson")  # fmt: skip
DESCRIPTIONS = ("StudyDescription", "SeriesDescription")
VALUES = ("PatientID", "OtherPatientIDs", "IssuerOfPatientID", "PatientBirthDate", "AccessionNumber", "StudyID",
          "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "PatientComments", "PatientAddress",
          "PatientTelephoneNumbers", "AdmissionID", *DESCRIPTIONS)  # fmt: skip
SHORTEST = 3  # a shorter part of a name is more often part of an innocent word
ORDINARY = frozenset(  # a description of nothing but these names nobody, and our own sentences need the words
    ("ap", "axial", "chest", "cr", "ct", "dx", "film", "films", "frontal", "image", "images", "lateral", "lung",
     "lungs", "oblique", "pa", "ray", "series", "slice", "slices", "thorax", "x")
)  # fmt: skip
MOST_STRETCH = 8  # of a picture whose pixels are said to be oblong: a damaged header would fill the memory
UID = re.compile(r"\b[0-2](?:\.\d+){4,}\b")
WITHHELD = "[withheld]"


def sheet(record: AnalysisRecord) -> Sheet:
    secrets = _secrets(record)

    def clean(text: str) -> str:
        return withheld(text, secrets)

    return Sheet(
        title="Automated analysis of chest images",
        warning=RESEARCH_USE_ONLY,
        lead=(_came_of_it(record, clean), *_about(record)),
        main=(_systems(record),),
        figures=tuple(_figures(record)),
        rest=(*_numbers(record), *_reasons(record, clean), _foci(record), _remarks(record, clean)),
        foot=FOOT,
    )


def withheld(text: str, secrets: Sequence[str]) -> str:
    """The text without UIDs and without any of the secrets, as whole words, in whatever case."""
    text = UID.sub("[UID]", text)
    if not secrets:
        return text
    anyone = "|".join(re.escape(secret) for secret in sorted(secrets, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{anyone})(?!\w)", WITHHELD, text, flags=re.IGNORECASE)


def _secrets(record: AnalysisRecord) -> list[str]:
    found: set[str] = set()
    headers = (record.reference, *(image.header for image in record.images), *(s.headers[0] for s in record.series))
    for header in headers:
        known = common.copied(header, (*NAMES, *VALUES))
        for element in known:
            for value in element.value if element.VM > 1 else [element.value]:
                text = str(value)
                if element.keyword in DESCRIPTIONS and set(re.split(r"[\W_]+", text.lower())) <= ORDINARY:
                    continue
                found |= {text} | (set(re.split(r"[\s^=,]+", text)) if element.keyword in NAMES else set())
    return [secret for secret in found if len(secret) >= SHORTEST]


def _came_of_it(record: AnalysisRecord, clean: Clean) -> str:
    if not record.predictions:
        return clean(f"Not analysed: {record.reason}")
    single = [p for p in record.predictions if p.model.system != MEAN]
    positive = sum(p.decided_class not in document.NOTHING_FOUND for p in single)
    found = f"with findings: {positive} of {_number(len(single), 'answer')} decided for a disease"
    silent = sum(not refusal.nothing_to_judge for refusal in record.refusals)
    rest = f"; {_number(silent, 'system')} did not judge" if silent else ""
    return f"Analysed, {found if positive else 'no finding'}{rest}."


def _about(record: AnalysisRecord) -> Iterator[str]:
    what = " and ".join(concept.meaning for concept in document.procedures(record, record.source))
    used, left = record.instances_used, len(record.left_out)
    yield f"{what}; images used: {used}, left out: {left}."
    zone = common.zone_text(record, record.source) or "UTC"
    _, time = common.stamp(record, record.source)
    made = f"{record.settings.model_name} {record.software_version}"
    yield f"Made by {made} at {time[:2]}:{time[2:4]}:{time[4:6]} ({zone})."


def _systems(record: AnalysisRecord) -> Section:
    rows = [
        Row((f"{where}{prediction.model.name}", prediction.decided_class, _probabilities(prediction.scores)), said)
        for where, prediction in _answers(record)
        for said in [_model(prediction)]
    ]
    return Section("Systems", "answers", tuple(rows), (0.42, 0.16, 0.42), ("system", "decided", "probabilities"))


def _answers(record: AnalysisRecord) -> Iterator[tuple[str, Prediction]]:
    """(what was judged, where there is more than one; answer), the mean last for each."""
    outcomes: list[ImageOutcome | SeriesOutcome] = [*record.images, *record.series]
    for number, outcome in enumerate(outcomes, start=1):
        what = "Film" if isinstance(outcome, ImageOutcome) else "CT"
        where = f"{what} {number}: " if len(outcomes) > 1 else ""
        for prediction in sorted(outcome.predictions, key=lambda p: p.model.system == MEAN):
            yield where, prediction


def _probabilities(scores: Sequence[ClassScore]) -> str:
    return ", ".join(f"{score.name} {score.probability:.2f}" for score in scores)


def _model(prediction: Prediction) -> str:
    thresholds = dict.fromkeys(f"{score.threshold:.2f}" for score in prediction.scores)
    parts = [
        f"{prediction.model.system}, version {prediction.model.version}",
        f"weights {prediction.model.weights_sha256[:DIGEST]}",
        f"threshold {' / '.join(thresholds)}",
        prediction.rule,
    ]
    if judged := len(judged_slices(prediction)):
        parts.append(f"{judged} slices judged")
    return "; ".join(parts)


def _numbers(record: AnalysisRecord) -> Iterator[Section]:
    columns, names = (0.6, 0.15, 0.25), ("what", "value", "by")
    seen = [row for image in record.images for measured in image.biomarkers for row in _quantities(measured)]
    yield Section("Measured in the image", "measurements", tuple(seen), columns, names)
    guessed = [row for image in record.images for measured in image.indicators for row in _quantities(measured)]
    if guessed:
        guessed[-1] = Row(guessed[-1].cells, PREDICTED_ONLY)
    yield Section("Predicted, not measured", "predicted values", tuple(guessed), columns, names)


def _quantities(measured: Measured) -> Iterator[Row]:
    model = f"{measured.model.system}, version {measured.model.version}"
    for quantity in measured.quantities:
        unit = quantity.kind.unit.strip("{}") if quantity.kind.unit not in ("1", "{ratio}") else ""
        yield Row((quantity.kind.code.meaning, f"{quantity.value:.3g} {unit}".strip(), model))


def _foci(record: AnalysisRecord) -> Section:
    rows = [
        Row((
            where, prediction.model.system, str(lesion.number),
            f"{lesion.centre_px[0]:.0f}, {lesion.centre_px[1]:.0f}", f"{lesion.area_px:.0f}",
            f"{lesion.peak_heat:.2f}", f"{100 * lesion.lung_share:.0f} %",
        ))
        for where, prediction, lesion in _marked(record)
    ]  # fmt: skip
    names = ("where", "system", "focus", "centre x, y (pixels)", "area (pixels)", "peak heat", "in lung")
    return Section("Foci: where a model looked", "foci", tuple(rows), (0.2, 0.17, 0.08, 0.19, 0.14, 0.12, 0.1), names)


def _marked(record: AnalysisRecord) -> Iterator[tuple[str, Prediction, Lesion]]:
    for number, image in enumerate(record.images, start=1):
        for prediction in image.predictions:
            yield from ((f"film {number}", prediction, lesion) for lesion in prediction.lesions)
    for outcome in record.series:
        for prediction in outcome.predictions:
            for found in prediction.slices:
                where = f"slice {found.index + 1} of {len(outcome.headers)}"
                yield from ((where, prediction, lesion) for lesion in found.lesions)


def _reasons(record: AnalysisRecord, clean: Clean) -> Iterator[Section]:
    refused = [f"{refusal.system}: {refusal.reason}" for refusal in record.refusals]
    yield Section("Did not judge", "reasons", _rows(refused, clean))
    reasons: dict[str, int] = {}
    for left in record.left_out:
        reasons[left.reason] = reasons.get(left.reason, 0) + 1
    yield Section(
        "Images left out", "reasons",
        _rows((f"{_number(count, 'image')}: {reason}" for reason, count in reasons.items()), clean),
    )  # fmt: skip


def _remarks(record: AnalysisRecord, clean: Clean) -> Section:
    remarks = [note for outcome in record.series for note in outcome.notes]
    remarks += [note for image in record.images if image.lungs for note in image.lungs.notes]
    remarks += [f"{p.model.system}: {note}" for p in record.predictions for note in p.notes]
    measured = [one for image in record.images for one in (*image.biomarkers, *image.indicators)]
    remarks += [f"{one.model.system}: {note}" for one in measured for note in one.notes]
    return Section("Remarks", "remarks", _rows(remarks, clean))


def _rows(sentences: Iterable[str], clean: Clean) -> tuple[Row, ...]:
    return tuple(Row((clean(sentence),)) for sentence in dict.fromkeys(sentences))


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _figures(record: AnalysisRecord) -> Iterator[Figure]:
    """Heat over films and key slices: the first of each film and of each system's key slices before the second."""
    ranked = [*_film_figures(record), *_slice_figures(record)]
    yield from (figure for _, figure in sorted(ranked, key=lambda one: one[0]))


def _film_figures(record: AnalysisRecord) -> Iterator[tuple[int, Figure]]:
    for number, image in enumerate(record.images, start=1):
        explained = [prediction for prediction in image.predictions if prediction.heat is not None]
        where = f"film {number}, " if len(record.images) > 1 else ""
        for rank, prediction in enumerate(explained):
            picture = render.film(image.image, image.lungs, prediction, BOLD)
            p = [score.probability for score in prediction.scores]
            yield rank, Figure(_true_shape(picture, image.source), _caption(prediction, where, p))


def _slice_figures(record: AnalysisRecord) -> Iterator[tuple[int, Figure]]:
    for outcome in record.series:
        for prediction in outcome.predictions:
            keys = sorted((found for found in prediction.slices if found.key), key=lambda found: not found.lesions)
            for rank, found in enumerate(keys):
                picture = render.ct_slice(outcome.volume.voxels[found.index], found, BOLD)
                caption = _caption(
                    prediction, f"slice {found.index + 1} of {len(outcome.headers)}, ", found.probabilities
                )
                yield rank, Figure(_true_shape(picture, outcome.sources[found.index]), caption)


def _caption(prediction: Prediction, where: str, p: Sequence[float]) -> tuple[str, ...]:
    """``p``: of each class, in this very picture."""
    explained = prediction.heat_class or prediction.decided_class
    place = [score.name for score in prediction.scores].index(explained)
    return f"{prediction.model.system}: heat for {explained}", f"{where}p = {p[place]:.2f}"


def _true_shape(picture: Image.Image, source: Dataset) -> RGB:
    """Stretched where the pixels of the source are not square."""
    vertical, horizontal = aspect_ratio(source) or (1, 1)
    tall = round(picture.height * min(max(vertical / horizontal, 1 / MOST_STRETCH), MOST_STRETCH))
    return np.asarray(picture if tall == picture.height else picture.resize((picture.width, tall)))
