"""Which images of a study are analysed, and in a sentence why each other one is not. Headers only, no pixels.

Frontal chest films are taken: CR, DX for presentation, or a secondary capture (a digitised film, an import) that names
CR or DX as its modality. The rules stand in order; the first that speaks decides.
Where the header names neither view nor body part, the pixels are looked at later (``chest``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from pydicom import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
)

from node.core.errors import Refused
from node.core.study import StoredInstance
from node.pipeline.film import read_header
from node.pipeline.header import text_of
from node.pipeline.identity import contradiction
from node.results.record import LeftOut

YOUNGEST_YEARS = 16  # every shipped model was trained on adults
FILMS = (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation)
CHEST = re.compile(r"chest|thorax|thora|lung|pulm|torax|brust|poumon", re.IGNORECASE)
OTHER_PARTS = re.compile(
    r"knee|knie|hand|wrist|foot|ankle|elbow|shoulder|hip|pelvis|becken|abdom|spine|skull|finger|femur|tibia|humerus|"
    r"clavicle|rib\b|ribs\b|cervical|lumbar|genou|rodilla|breast|mamm",
    re.IGNORECASE,
)
LATERAL = re.compile(
    r"\b(lat|lateral|latl|ll|rl|seitl\w*|profil\w*|perfil|laterale|oblique|obl|lordotic|decub\w*)\b", re.IGNORECASE
)
FRONTAL = re.compile(r"\b(pa|ap|frontal|antero|postero|a\.?p\.?|p\.?a\.?|dorso|ventro)", re.IGNORECASE)
FRONTAL_VIEWS = {"PA", "AP", "PAAXIAL", "APAXIAL"}
FRONTAL_CODES = {"399348003", "399348004", "272479007", "399161006", "422996006", "272460009"}  # CID 4010
LATERAL_CODES = {"399067008", "399198007", "399173006", "399074001", "399368009", "399162004"}


@dataclass(frozen=True)
class Taken:
    """An image to analyse; ``needs_pixel_check``: its header does not say that it is a frontal chest film."""

    instance: StoredInstance
    needs_pixel_check: bool
    reason: str


@dataclass(frozen=True)
class Selection:
    """Every instance of the study stands in exactly one of the two."""

    taken: tuple[Taken, ...]
    left_out: tuple[LeftOut, ...]


def select_films(instances: Sequence[StoredInstance]) -> Selection:
    headers = {}
    taken: list[Taken] = []
    left_out: list[LeftOut] = []
    for instance in instances:
        try:
            headers[instance.sop_instance_uid] = header = read_header(instance.path)
            reason = _first_objection(instance, header)
        except Refused as error:
            reason = str(error)
        if reason:
            left_out.append(_left_out(instance, reason))
        else:
            silent, why = _what_the_header_says(header)
            taken.append(Taken(instance, silent, why))
    received = [headers[i.sop_instance_uid] for i in instances if not i.is_own_result and i.sop_instance_uid in headers]
    if contradiction(received):
        reason = "The study carries images of two different patients; nothing of it is analysed."
        left_out += [_left_out(item.instance, reason) for item in taken]
        taken = []
    return Selection(tuple(taken), tuple(left_out))


def _left_out(instance: StoredInstance, reason: str) -> LeftOut:
    return LeftOut(
        instance.series_instance_uid, instance.sop_instance_uid, instance.sop_class_uid, instance.modality, reason
    )


def _first_objection(instance: StoredInstance, header: Dataset) -> str:
    if instance.is_own_result:
        return "It is a result of this node."
    for rule in RULES:
        if reason := rule(header):
            return reason
    return ""


def _kind(header: Dataset) -> str:
    uid = str(header.get("SOPClassUID", ""))
    if uid in FILMS or (uid == SecondaryCaptureImageStorage and text_of(header, "Modality") in ("CR", "DX")):
        return ""
    if uid == DigitalXRayImageStorageForProcessing:
        return "It is a digital X-ray for processing; only images for presentation are analysed."
    if uid in (CTImageStorage, EnhancedCTImageStorage):
        if "LOCALIZER" in _words(header, "ImageType"):
            return "It is a CT localizer, not a chest film."
        return "It is a CT image; no configured system analyses CT."
    return f"It is a {UID(uid).name or 'object of unknown kind'} object, not a chest film."


def _localizer(header: Dataset) -> str:
    return "It is a localizer, not a chest film." if "LOCALIZER" in _words(header, "ImageType") else ""


def _several_frames(header: Dataset) -> str:
    try:
        frames = int(header.get("NumberOfFrames", 1) or 1)
    except (TypeError, ValueError):
        return "Its number of frames cannot be read."
    return f"It has {frames} frames; a film has one." if frames != 1 else ""


def _body_part(header: Dataset) -> str:
    part = text_of(header, "BodyPartExamined")
    if part and not CHEST.search(part):
        return f"BodyPartExamined says {part[:16]}; this node reads chest films."
    description = _description(header)
    if not part and OTHER_PARTS.search(description) and not CHEST.search(description):
        return "Its description names another part of the body; this node reads chest films."
    return ""


def _view(header: Dataset) -> str:
    view = text_of(header, "ViewPosition").upper().replace(" ", "").replace("_", "")
    if view and view not in FRONTAL_VIEWS:
        return f"ViewPosition says {view[:16]}; only frontal films are analysed."
    codes = {str(item.get("CodeValue", "")) for item in header.get("ViewCodeSequence", None) or []}
    meanings = " ".join(str(item.get("CodeMeaning", "")) for item in header.get("ViewCodeSequence", None) or [])
    if codes & LATERAL_CODES or (meanings and LATERAL.search(meanings) and not FRONTAL.search(meanings)):
        return "Its view code says lateral or oblique; only frontal films are analysed."
    description = _description(header)
    if not view and not codes and LATERAL.search(description) and not FRONTAL.search(description):
        return "Its description says lateral or oblique; only frontal films are analysed."
    orientation = [word.upper() for word in _words(header, "PatientOrientation")]
    if not view and orientation and orientation[0][:1] in ("A", "P"):
        return "Its patient orientation is that of a lateral film; only frontal films are analysed."
    return ""


def _age(header: Dataset) -> str:
    years = _years(header)
    if years is not None and years < YOUNGEST_YEARS:
        return f"The patient is younger than {YOUNGEST_YEARS} years; the systems were trained on adults."
    return ""


RULES: tuple[Callable[[Dataset], str], ...] = (_kind, _localizer, _several_frames, _body_part, _view, _age)


def _what_the_header_says(header: Dataset) -> tuple[bool, str]:
    chest = bool(CHEST.search(text_of(header, "BodyPartExamined")) or CHEST.search(_description(header)))
    view = bool(text_of(header, "ViewPosition") or header.get("ViewCodeSequence", None))
    frontal = view or bool(FRONTAL.search(_description(header)))
    if chest and frontal:
        return False, "Frontal chest film by its header."
    missing = " and ".join(name for name, said in (("body part", chest), ("view", frontal)) if not said)
    return True, f"The header does not name the {missing}; the pixels look like a frontal chest film."


def _years(header: Dataset) -> float | None:
    found = re.fullmatch(r"(\d{1,3})([DWMY])", text_of(header, "PatientAge"))
    if found:
        return int(found[1]) * {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}[found[2]]
    born, taken = _day(header, "PatientBirthDate"), _day(header, "StudyDate")
    return (taken - born).days / 365.25 if born and taken and taken >= born else None


def _day(header: Dataset, keyword: str) -> date | None:
    try:
        text = text_of(header, keyword)
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None


def _description(header: Dataset) -> str:
    words = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription", "StudyDescription")
    return " ".join(text_of(header, keyword) for keyword in words).replace("_", " ")


def _words(header: Dataset, keyword: str) -> list[str]:
    text = text_of(header, keyword).strip("[]").replace("'", "")
    return [word.strip() for word in re.split(r"[\\,]", text) if word.strip()]
