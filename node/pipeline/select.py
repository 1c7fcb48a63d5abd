"""Which images of a study are analysed, and in a sentence why each other one is not. Headers only, no pixels.

Frontal chest films are taken: CR, DX for presentation, or a secondary capture (a digitised film, an import) that names
CR or DX as its modality. The rules stand in order; the first that speaks decides.
Where the header names neither view nor body part, the pixels are looked at later (``chest``).
CT images are judged as series, in ``series``; body part, age and the patient's identity have one rule for both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
)

from node.core.errors import Refused
from node.core.study import StoredInstance
from node.pipeline import series
from node.pipeline.film import read_header
from node.pipeline.header import text_of
from node.pipeline.identity import contradiction
from node.pipeline.objections import (
    Rule,
    age,
    body_part,
    description,
    first_objection,
    names_the_chest,
    several_frames,
    words,
)
from node.results.record import LeftOut

FILMS = (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation)
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
class TakenSeries:
    """A CT series to analyse, in the order of its instance numbers."""

    instances: tuple[StoredInstance, ...]
    reason: str


@dataclass(frozen=True)
class Selection:
    """Every instance of the study stands in exactly one of the three."""

    taken: tuple[Taken, ...]
    left_out: tuple[LeftOut, ...]
    series: tuple[TakenSeries, ...] = ()


def select_images(instances: Sequence[StoredInstance], ct: bool = True) -> Selection:
    """``ct``: some configured system analyses CT."""
    headers: dict[str, Dataset] = {}
    taken: list[Taken] = []
    left_out: list[LeftOut] = []
    slices: list[series.Candidate] = []
    for instance in instances:
        try:
            headers[instance.sop_instance_uid] = header = read_header(instance.path)
            rules = series.SLICE_RULES if ct and _is_ct(header) else RULES
            reason = "It is a result of this node." if instance.is_own_result else first_objection(header, rules)
        except Refused as error:
            reason = str(error)
        if reason:
            left_out.append(left_out_as(instance, reason))
        elif _is_ct(header):
            slices.append(series.Candidate(instance, header))
        else:
            silent, why = _what_the_header_says(header)
            taken.append(Taken(instance, silent, why))
    chosen, refused = series.choose(slices)
    left_out += [left_out_as(item.instance, reason) for item, reason in refused]
    found = tuple(TakenSeries(tuple(item.instance for item in run), why) for run, why in chosen)
    selection = Selection(tuple(taken), tuple(left_out), found)
    received = [headers[i.sop_instance_uid] for i in instances if not i.is_own_result and i.sop_instance_uid in headers]
    return _nothing(selection) if contradiction(received) else selection


def _nothing(selection: Selection) -> Selection:
    reason = "The study carries images of two different patients; nothing of it is analysed."
    of_series = [instance for taken in selection.series for instance in taken.instances]
    images = [*(taken.instance for taken in selection.taken), *of_series]
    return Selection((), (*selection.left_out, *(left_out_as(instance, reason) for instance in images)))


def left_out_as(instance: StoredInstance, reason: str) -> LeftOut:
    return LeftOut(
        instance.series_instance_uid, instance.sop_instance_uid, instance.sop_class_uid, instance.modality, reason
    )


def _is_ct(header: Dataset) -> bool:
    return str(header.get("SOPClassUID", "")) == CTImageStorage


def _kind(header: Dataset) -> str:
    uid = str(header.get("SOPClassUID", ""))
    if uid in FILMS or (uid == SecondaryCaptureImageStorage and text_of(header, "Modality") in ("CR", "DX")):
        return ""
    if uid == DigitalXRayImageStorageForProcessing:
        return "It is a digital X-ray for processing; only images for presentation are analysed."
    if uid in (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage):
        return "It is a multi-frame CT; CT is read that is stored as one object for each image."
    if uid == CTImageStorage:
        is_localizer = "LOCALIZER" in words(header, "ImageType")
        return "It is a CT localizer." if is_localizer else "It is a CT image; no configured system analyses CT."
    return f"It is a {UID(uid).name or 'object of unknown kind'} object, not a chest film."


def _localizer(header: Dataset) -> str:
    return "It is a localizer, not a chest film." if "LOCALIZER" in words(header, "ImageType") else ""


def _view(header: Dataset) -> str:
    view = text_of(header, "ViewPosition").upper().replace(" ", "").replace("_", "")
    if view and view not in FRONTAL_VIEWS:
        return f"ViewPosition says {view[:16]}; only frontal films are analysed."
    codes = {str(item.get("CodeValue", "")) for item in header.get("ViewCodeSequence", None) or []}
    meanings = " ".join(str(item.get("CodeMeaning", "")) for item in header.get("ViewCodeSequence", None) or [])
    if codes & LATERAL_CODES or (meanings and LATERAL.search(meanings) and not FRONTAL.search(meanings)):
        return "Its view code says lateral or oblique; only frontal films are analysed."
    said = description(header)
    if not view and not codes and LATERAL.search(said) and not FRONTAL.search(said):
        return "Its description says lateral or oblique; only frontal films are analysed."
    orientation = [word.upper() for word in words(header, "PatientOrientation")]
    if not view and orientation and orientation[0][:1] in ("A", "P"):
        return "Its patient orientation is that of a lateral film; only frontal films are analysed."
    return ""


RULES: tuple[Rule, ...] = (_kind, _localizer, several_frames, body_part, _view, age)


def _what_the_header_says(header: Dataset) -> tuple[bool, str]:
    chest = names_the_chest(header)
    view = bool(text_of(header, "ViewPosition") or header.get("ViewCodeSequence", None))
    frontal = view or bool(FRONTAL.search(description(header)))
    if chest and frontal:
        return False, "Frontal chest film by its header."
    missing = " and ".join(name for name, said in (("body part", chest), ("view", frontal)) if not said)
    return True, f"The header does not name the {missing}; the pixels look like a frontal chest film."
