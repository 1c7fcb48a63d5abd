"""What can be said against a film by its pixels: noise, saturation, no chest, the same exposure once more.

The measures are in ``chest``; here they are tests with parameters, as in ``objections``. A film whose negative alone
looks like a chest is turned before anything is asked of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from pydicom import Dataset

from models.api import ImageInput
from node.core.study import StoredInstance
from node.pipeline import chest, film
from node.pipeline.objections import Facts, texts

TURNED = "The pixels are those of a negative, though the header does not say so; they were inverted before analysis."
NOT_THE_SAME = ("ViewPosition", "AcquisitionDate", "AcquisitionTime")  # films that differ here are two exposures


class Earlier(Protocol):
    """A film of the same study that was taken before."""

    @property
    def header(self) -> Dataset: ...

    @property
    def image(self) -> ImageInput: ...


@dataclass(frozen=True)
class Look:
    """One film, decoded and upright. ``silent``: its header does not say that it is a frontal chest film."""

    header: Dataset
    image: ImageInput
    silent: bool
    earlier: Sequence[Earlier] = ()
    notes: tuple[str, ...] = ()


def look_at(instance: StoredInstance, silent: bool, earlier: Sequence[Earlier] = ()) -> Look:
    """Raises Refused where the film cannot be decoded."""
    header, image = film.load_film(instance.path)
    if chest.looks_negative(image):
        return Look(header, chest.inverted(image), silent, earlier, (TURNED,))
    return Look(header, image, silent, earlier)


@dataclass(frozen=True)
class Noise:
    """Neighbours know nothing of each other, as in no radiograph."""

    tells: ClassVar = ()
    least_smoothness: float

    def __call__(self, look: Look) -> Facts | None:
        return {} if chest.smoothness(look.image) < self.least_smoothness else None


@dataclass(frozen=True)
class Saturation:
    """More than ``most_share`` of the middle lies at one end of the range of values; ``ends``: its width, a share."""

    tells: ClassVar = ("percent", "most_percent")
    most_share: float
    ends: float

    def __call__(self, look: Look) -> Facts | None:
        share = chest.saturated_share(look.image, self.ends)
        if share <= self.most_share:
            return None
        return {"percent": round(100 * share), "most_percent": round(100 * self.most_share)}


@dataclass(frozen=True)
class NotAChest:
    """The header is silent, and the middle is not brighter than the lung zones."""

    tells: ClassVar = ()
    least_contrast: float

    def __call__(self, look: Look) -> Facts | None:
        return {} if look.silent and chest.contrast(look.image) < self.least_contrast else None


@dataclass(frozen=True)
class Duplicate:
    """Another film of the study, taken before, shows the same, and no header says that they are two exposures."""

    tells: ClassVar = ()
    least_likeness: float

    def __call__(self, look: Look) -> Facts | None:
        again = any(self._is_same(look, other) for other in look.earlier)
        return {} if again else None

    def _is_same(self, look: Look, other: Earlier) -> bool:
        pairs = ((texts(look.header, name), texts(other.header, name)) for name in NOT_THE_SAME)
        if any(one and two and one != two for one, two in pairs):
            return False
        return chest.likeness(look.image, other.image) >= self.least_likeness


TESTS: dict[str, type] = {
    "noise": Noise,
    "saturation": Saturation,
    "not-a-chest": NotAChest,
    "duplicate": Duplicate,
}
