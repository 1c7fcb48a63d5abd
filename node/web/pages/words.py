"""How the pages say things: states in words, times, names, classes. Pure; texts are escaped by the templates."""

from __future__ import annotations

from datetime import UTC, datetime

from node.core.study import StudyState

STATES = {
    StudyState.RECEIVING: "Receiving",
    StudyState.QUEUED: "Waiting for analysis",
    StudyState.ANALYSING: "Being analysed",
    StudyState.ANALYSED: "Analysed",
    StudyState.FAILED: "Analysis given up",
    StudyState.STORED: "Kept, not analysed",
}
MOVING = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYSING)
CLASSES = {"covid19": "COVID-19", "non_covid": "Not COVID-19", "tb": "Tuberculosis"}
KINDS = {  # of objects that this node makes, as in results.record.BuiltObject
    "sr": "Report",
    "regions": "Report of regions",
    "sc": "Heat map",
    "stack": "Heat over the CT",
    "page": "Page",
    "seg": "Segmentation",
    "pr": "Presentation state",
    "ko": "Key images",
    "pm": "Parametric map",
    "rejection": "Rejection note",
}
MEASURES = {  # how figures of model cards begin, and what is said for it
    "auroc": "Area under the ROC curve",
    "unseen": "Area under the ROC curve, sources left out of training",
    "jaccard": "Jaccard index",
    "mae": "Mean error",
    "mean_mae": "Mean error of always saying the mean",
    "median_mae": "Mean error of always saying the median",
    "r2": "R²",
    "r": "Correlation",
}
DELIVERIES = {
    "waiting": "waiting",
    "committing": "taken, not yet committed",
    "delivered": "delivered",
    "failed": "given up",
    "replaced": "sent in another form",
    "refused": "not taken",
    "superseded": "superseded",
}

REASONS = {  # why STOW-RS did not store an object, by Failure Reason (web.dicomweb.reasons)
    0xC122: "its transfer syntax is not stored here",
    0xA900: "its header contradicts itself, or it is of another study",
    0xC000: "it cannot be understood as DICOM",
    0x0111: "another object with the same SOP Instance UID is stored here",
    0x0122: "objects of its kind are not stored here",
    0xA700: "there is no room at the moment; try again later",
    0x0110: "the node failed; its log says why",
}


def state(of: StudyState, outcome: str = "") -> str:
    return "Not analysed" if of is StudyState.ANALYSED and outcome == "refused" else STATES[of]


def tone(of: StudyState, outcome: str = "") -> str:
    """The colour of a state beside its words: good, busy, bad or quiet."""
    if of in MOVING:
        return "busy"
    if of is StudyState.FAILED:
        return "bad"
    return "good" if of is StudyState.ANALYSED and outcome != "refused" else "quiet"


def moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def date(dicom: str) -> str:
    """A DA value (PS3.5 section 6.2) with hyphens; as it is where it is none."""
    return f"{dicom[:4]}-{dicom[4:6]}-{dicom[6:]}" if len(dicom) == 8 and dicom.isdigit() else dicom


def person(name: str) -> str:
    """A PN value as a person reads it: of the first group that is there, "Family, Given Middle"."""
    group = next((part for part in name.split("=") if part.strip("^ ")), "")
    family, *rest = group.split("^")
    given = " ".join(part.strip() for part in rest[:2] if part.strip())
    return ", ".join(part for part in (family.strip(), given) if part)


def class_name(stored: str) -> str:
    return CLASSES.get(stored, stored.replace("_", " ").capitalize())


def kind(stored: str) -> str:
    return KINDS.get(stored, stored)


def delivery(stored: str) -> str:
    return DELIVERIES.get(stored, stored)


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Bytes as a person says them."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def figure(value: float) -> str:
    """Four digits that matter, as a person writes them."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def unit(ucum: str) -> str:
    """A UCUM unit in print: annotations without braces, powers of ten raised; the unit 1 is none."""
    shown = "" if ucum == "1" else ucum.strip("{}")
    return shown.replace("10*3", "10³").replace("10*9", "10⁹").replace("/uL", "/µL")


def measure(stored: str) -> str:
    """The name of a figure of a model card: what is measured, then of what."""
    known = sorted((one for one in MEASURES if stored.startswith(f"{one}_")), key=len, reverse=True)
    if not known:
        first, _, rest = stored.partition("_")
        return f"{first.capitalize()}{f', {class_name(rest)}' if rest else ''}"
    rest = stored.removeprefix(f"{known[0]}_").replace("covid19", "COVID-19").replace("_", " ")
    return f"{MEASURES[known[0]]}: {rest}"


def quantity(meaning: str) -> str:
    """The name of a number, without what the heading above it says already."""
    bare = meaning.removeprefix("Predicted ").removesuffix(" (image-derived)")
    return bare[:1].upper() + bare[1:]
