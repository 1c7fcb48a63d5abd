"""Which CT series of a study is analysed, and in a sentence why each other image is not. Headers only, no pixels.

First every image is judged alone: a localizer, a multi-frame object, a reformatted or otherwise secondary image (Image
Type holds SECONDARY or a word of ``REFORMATTED``), a part of the body other than the chest, a child. What is left is
judged by series: at least three images of one matrix, one frame of reference and one orientation, whose slice normal
lies within 30 degrees of the patient's long axis (Image Orientation (Patient), PS3.3 C.7.6.2.1.1). A header silent on
the part of the body passes: whether lungs are seen is for the systems to check.

Two reconstructions under one Series Instance UID (other kernel or pixel spacing) count as two series.

One series of a study is analysed, so that a scan reconstructed five times is not five findings: the one that names the
chest, of those the one with the most images, then one whose kernel or description names the lung, then the lowest
Series Number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from node.core.study import StoredInstance
from node.pipeline.header import text_of
from node.pipeline.objections import age, body_part, names_the_chest, several_frames, words
from node.pipeline.volume import FEWEST_SLICES, normal, numbers

REFORMATTED = {
    "MPR", "MIP", "MINIP", "MEAN", "AVERAGE", "REFORMATTED", "PROJECTION IMAGE", "CSA MPR", "CPR", "VRT", "3D", "SSD",
    "SUBTRACTION", "PERFUSION",
}  # fmt: skip
LUNG = re.compile(r"lung|pulm|poumon", re.IGNORECASE)
STEEPEST_DEGREES = 30.0
SAME_DIRECTION = 0.02  # of direction cosines, about one degree


@dataclass(frozen=True)
class Candidate:
    """One CT image that no rule objects to."""

    instance: StoredInstance
    header: Dataset


Run = Sequence[Candidate]


def choose(candidates: Run) -> tuple[list[tuple[Run, str]], list[tuple[Candidate, str]]]:
    """(the series to analyse, none or one, with its reason; every other image with its)."""
    runs: dict[tuple[str, str, str], list[Candidate]] = {}
    for candidate in candidates:
        header = candidate.header
        key = (text_of(header, "ConvolutionKernel"), text_of(header, "PixelSpacing"))  # of one reconstruction
        runs.setdefault((candidate.instance.series_instance_uid, *key), []).append(candidate)
    refused: list[tuple[Candidate, str]] = []
    sound: list[Run] = []
    for run in runs.values():
        if reason := _first_objection_to(run):
            refused += [(candidate, reason) for candidate in run]
        else:
            sound.append(run)
    if not sound:
        return [], refused
    best = min(sound, key=_rank)
    other = "One CT series of a study is analysed, the one with the most images of the chest; this is another."
    refused += [(candidate, other) for run in sound if run is not best for candidate in run]
    why = f"Axial CT series of {len(best)} images" + (f", chosen of {len(sound)}." if len(sound) > 1 else ".")
    return [(best, why)], refused


def _rank(run: Run) -> tuple[bool, int, bool, float, str]:
    """The smallest is analysed."""
    header = run[0].header
    number = numbers(header, "SeriesNumber", 1)
    told = f"{text_of(header, 'SeriesDescription')} {text_of(header, 'ConvolutionKernel')}"
    order = float(number[0]) if number is not None else math.inf
    return (
        not names_the_chest(header), -len(run), not LUNG.search(told), order, run[0].instance.series_instance_uid
    )  # fmt: skip


def _localizer(header: Dataset) -> str:
    return "It is a CT localizer, not an axial image." if "LOCALIZER" in words(header, "ImageType") else ""


def _secondary(header: Dataset) -> str:
    said = {word.upper() for word in words(header, "ImageType")}
    if "SECONDARY" in said or said & REFORMATTED:
        return "It is a reformatted or otherwise secondary CT image; only original axial images are analysed."
    return ""


SLICE_RULES = (_localizer, several_frames, _secondary, body_part, age)


def _first_objection_to(run: Run) -> str:
    return next((reason for rule in (_number, _matrix, _frame, _direction) if (reason := rule(run))), "")


def _number(run: Run) -> str:
    if len(run) >= FEWEST_SLICES:
        return ""
    images = "1 CT image" if len(run) == 1 else f"{len(run)} CT images"
    return f"The series has {images}; at least {FEWEST_SLICES} are needed."


def _matrix(run: Run) -> str:
    sizes = {(text_of(item.header, "Rows"), text_of(item.header, "Columns")) for item in run}
    return "The images of the series have different numbers of rows or columns." if len(sizes) > 1 else ""


def _frame(run: Run) -> str:
    frames = {text_of(item.header, "FrameOfReferenceUID") for item in run}
    return "The images of the series lie in different frames of reference." if len(frames) > 1 else ""


def _direction(run: Run) -> str:
    normals = [normal(item.header) for item in run]
    known = [direction for direction in normals if direction is not None]
    if len(known) < len(run) or any(numbers(item.header, "ImagePositionPatient", 3) is None for item in run):
        return "The series does not state the position and orientation of its images in the patient."
    cosines = [numbers(item.header, "ImageOrientationPatient", 6) for item in run]
    if np.ptp(np.array(cosines), axis=0).max() > SAME_DIRECTION:
        return "The images of the series have different orientations."
    if known[0][2] < math.cos(math.radians(STEEPEST_DEGREES)):
        return "The series is not axial; only axial series are analysed."
    return ""
