"""A registry of made-up systems for the pipeline's tests: what each says is written here, no network is behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.api import (
    Card,
    ClassScore,
    Code,
    ImageInput,
    Lesion,
    LungField,
    LungPart,
    Measured,
    ModelIdentity,
    Prediction,
    Quantity,
    QuantityKind,
    RefusedInput,
    SliceFinding,
    VolumeField,
    VolumeInput,
    WeightsMismatch,
)

NORMAL, COVID = Code("17621005", "SCT", "Normal"), Code("840539006", "SCT", "COVID-19")
NO_WEIGHTS = "No weights of {} ship with this version; it can be trained."
CTR = QuantityKind("cardiothoracic_ratio", "{ratio}", Code("ctr", "99LUNGNODE", "Cardiothoracic ratio"))
CRP = QuantityKind("crp", "mg/L", Code("pred-crp", "99LUNGNODE", "Predicted C-reactive protein (image-derived)"))


class Fake:
    """One system. ``covid19``: its probability; ``refuses``: its sentence; ``ships``: whether weights are there.

    ``whole``: it judges a CT series as a whole. ``negative``: the name of its other class.
    """

    def __init__(
        self,
        system: str,
        kind: str,
        covid19: float = 0.8,
        refuses: str = "",
        ships: bool = True,
        whole: bool = False,
        negative: str = "normal",
    ) -> None:
        digest = f"{len(system):x}" * 64 if ships else ""
        self.card = Card(
            system, f"Made up {system}", "1", kind, "no paper", Path("none"), digest, "none", (negative, "covid19"),
            (NORMAL, COVID), 0.5, {}, "",
        )  # fmt: skip
        self.p, self.refuses, self.ships, self.whole, self.negative = covid19, refuses, ships, whole, negative
        self.seen: list[object] = []

    def segment(self, image: ImageInput) -> LungField:
        self._look(image)
        mask = np.zeros(image.shape, np.bool_)
        return LungField(mask, (), self.card.identity, quantities=(Quantity(CTR, 0.48),))

    def measure(self, image: ImageInput, lesions: tuple[Lesion, ...]) -> Measured:
        self._look(lesions)
        return Measured(self.card.identity, (Quantity(CRP, 12.5),), ("On 3 cases.",))

    def predict(self, given: ImageInput | VolumeInput, lungs: LungField | None = None) -> Prediction:
        self._look(given)
        return self._film(given) if isinstance(given, ImageInput) else self._series(given)

    def _look(self, given: object) -> None:
        self.seen.append(given)
        if self.refuses:
            raise RefusedInput(self.refuses)

    def _scores(self) -> tuple[ClassScore, ...]:
        classes = ((self.negative, 1 - self.p, NORMAL), ("covid19", self.p, COVID))
        return tuple(ClassScore(name, p, p >= 0.5, 0.5, code) for name, p, code in classes)

    @property
    def _decided(self) -> str:
        return "covid19" if self.p >= 0.5 else self.negative

    def _film(self, image: ImageInput) -> Prediction:
        heat = _heat(image.shape)
        lesions = (lesion(),) if self._decided == "covid19" else ()
        return Prediction(self.card.identity, self._scores(), self._decided, "made up", heat, "covid19", 0.9, lesions)

    def _series(self, volume: VolumeInput) -> Prediction:
        """Every slice judged, the last two explained; a system that judges the whole names the middle one alone."""
        last = len(volume.voxels) - 1
        slices = [
            SliceFinding(
                number, uid, (1 - self.p * number / last, self.p * number / last),
                _heat(volume.voxels.shape[1:]) if number >= last - 1 else None,
                (lesion(),) if number == last and self._decided == "covid19" else (),
                key=number >= last - 1,
            )
            for number, uid in enumerate(volume.slice_uids)
        ]  # fmt: skip
        if self.whole:
            middle = last // 2
            slices = [
                SliceFinding(
                    middle, volume.slice_uids[middle], (1 - self.p, self.p), _heat(volume.voxels.shape[1:]), key=True
                )
            ]
        return Prediction(
            self.card.identity, self._scores(), self._decided, "made up", heat_class="covid19", slices=tuple(slices),
            details={"lung_slices": float(len(volume.voxels))}, notes=("A remark.",),
        )  # fmt: skip


def lesion() -> Lesion:
    ring = ((20.0, 20.0), (39.0, 20.0), (39.0, 39.0), (20.0, 39.0), (20.0, 20.0))
    return Lesion(1, (29.5, 30.25), (0.31, 0.32), 400.0, 12, (22.0, 20.0), 15.0, 1.0, True, 0.9, ring)


def _heat(shape: tuple[int, ...]) -> np.ndarray:
    heat = np.zeros(shape, np.float32)
    heat[20:40, 20:40] = 1
    return heat


class FakeLungs:
    """Two boxes, on the right and on the left of what the systems see."""

    identity = ModelIdentity("ct-lungs", "Made up lungs", "1", "")

    def segment(self, volume: VolumeInput) -> VolumeField:
        parts = np.zeros(volume.voxels.shape, np.uint8)
        parts[:, 20:30, 5:15], parts[:, 20:30, 40:50] = LungPart.RIGHT, LungPart.LEFT
        return VolumeField(parts, self.identity)


class FakeRegistry:
    """``models.api.Registry`` over fakes."""

    def __init__(self, *systems: Fake) -> None:
        self._systems = {fake.card.system: fake for fake in systems}

    def cards(self) -> tuple[Card, ...]:
        return tuple(fake.card for fake in self._systems.values())

    def verify(self) -> Mapping[str, str]:
        return {}

    def load_segmenter(self, system: str, device: str = "cpu") -> Fake:
        return self._load(system, "lungs")

    def volume_segmenter(self) -> FakeLungs:
        return FakeLungs()

    def load_film_system(self, system: str, device: str = "cpu") -> Fake:
        return self._load(system, "film")

    def load_ct_system(self, system: str, device: str = "cpu") -> Fake:
        return self._load(system, "ct")

    def load_indicator_system(self, system: str, device: str = "cpu") -> Fake:
        return self._load(system, "indicators")

    def _load(self, system: str, kind: str) -> Fake:
        fake = self._systems[system]
        assert fake.card.kind == kind, "asked for as something that it is not"
        if not fake.ships:
            raise WeightsMismatch(NO_WEIGHTS.format(system))
        return fake


def identities(predictions: tuple[Prediction, ...]) -> list[str]:
    return [prediction.model.system for prediction in predictions]
