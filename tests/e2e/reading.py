"""Read the node's results as another program would: by pydicom alone, from the files that Orthanc gave back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

SR = Comprehensive3DSRStorage
SC = SecondaryCaptureImageStorage

GROUP = "125007"  # Measurement Group, DCM
FINDING = "121071"  # Finding, DCM
PROBABILITY = "122157"  # Probability, DCM
ALGORITHM = "111001"  # Algorithm Name, DCM


def concept(item: Dataset) -> str:
    """Code value of the item's concept name, empty where it has none."""
    return code(item.ConceptNameCodeSequence[0]) if "ConceptNameCodeSequence" in item else ""


def code(item: Dataset) -> str:
    """CodeValue, or LongCodeValue for codes of more than 16 characters."""
    return str(item.get("CodeValue") or item.get("LongCodeValue") or "")


def items(node: Dataset) -> Iterator[Dataset]:
    """Every content item below ``node``, depth first."""
    for item in node.get("ContentSequence", ()):
        yield item
        yield from items(item)


def groups(report: Dataset) -> list[Dataset]:
    return [item for item in items(report) if concept(item) == GROUP]


def probabilities(report: Dataset) -> set[tuple[str, str, float]]:
    """(algorithm name, class code, probability to six digits) of every group that states a probability."""
    found = set()
    for group in groups(report):
        inside = list(items(group))
        names = [item.TextValue for item in inside if concept(item) == ALGORITHM]
        findings = [code(item.ConceptCodeSequence[0]) for item in inside if concept(item) == FINDING]
        for item in inside:
            if concept(item) == PROBABILITY:
                value = float(item.MeasuredValueSequence[0].NumericValue)
                found.add((names[0] if names else "", findings[0], round(value, 6)))
    return found


def texts(report: Dataset) -> str:
    """All free text of the report, one line each."""
    return "\n".join(str(item.TextValue) for item in items(report) if "TextValue" in item)


def of_class(datasets: list[Dataset], sop_class: str) -> list[Dataset]:
    """Without the report of regions, which shares the class of the report."""
    return [ds for ds in datasets if ds.SOPClassUID == sop_class and "regions" not in ds.SeriesDescription]


def saved(ds: Dataset, folder: Path) -> Path:
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path
