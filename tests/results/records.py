"""Analysis records made up for the results room: a drawn film and findings that no model gave."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
from pydicom import Dataset

from models.api import ClassScore, Code, ImageInput, Lesion, LungField, ModelIdentity, Prediction
from node.core import settings
from node.core.settings import Results
from node.results.record import AnalysisRecord, ImageOutcome, LeftOut, SystemRefusal
from tests.films import Film, drawn, wrap

SIZE = 96
NORMAL, COVID = Code("17621005", "SCT", "Normal"), Code("882784691000119100", "SCT", "Pneumonia caused by SARS-CoV-2")


def header(seed: str = "results", **changes: object) -> Dataset:
    """A source header without pixel data; None removes an attribute."""
    ds = wrap(Film(drawn(1, SIZE), seed))
    del ds.PixelData
    for keyword, value in changes.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def prediction(system: str = "cxnet", probability: float = 0.75, weights: str = "a" * 64) -> Prediction:
    heat = np.zeros((SIZE, SIZE), np.float32)
    heat[20:40, 20:40] = np.linspace(0, 1, 20, dtype=np.float32)[None]
    positive = probability >= 0.5
    ring = ((20.0, 20.0), (39.0, 20.0), (39.0, 39.0), (20.0, 39.0), (20.0, 20.0))
    lesion = Lesion(1, (29.5, 30.25), (0.31, 0.32), 400.0, 12, (22.0, 20.0), 15.0, 1.0, True, 0.9, ring)
    return Prediction(
        ModelIdentity(system, f"Made up {system}", "1", weights, "no paper"),
        (
            ClassScore("normal", 1 - probability, not positive, 0.5, NORMAL),
            ClassScore("covid19", probability, positive, 0.5, COVID),
        ),
        "covid19" if positive else "normal",
        "the class with the highest probability",
        heat,
        "covid19",
        0.8,
        (lesion,) if positive else (),
        {},
        ("A remark of the system.",),
    )


def outcome(source: Dataset, *predictions: Prediction, refused: bool = False) -> ImageOutcome:
    image = ImageInput(drawn(1, SIZE).astype(np.float32), str(source.SOPInstanceUID))
    mask = np.zeros((SIZE, SIZE), bool)
    mask[10:80, 10:40] = mask[10:80, 56:86] = True
    contour = np.array([(10, 10), (39, 10), (39, 79), (10, 79), (10, 10)], np.float32)
    lungs = LungField(mask, (contour,), ModelIdentity("unet-lung", "U-Net", "1", "b" * 64))
    refusals = (SystemRefusal("cnncf-xr", "It would not judge this film."),) if refused else ()
    return ImageOutcome(source, image, lungs, predictions or (prediction(),), refusals, heart=drawn_heart(mask))


def drawn_heart(lungs: np.ndarray) -> LungField:
    heart = np.zeros_like(lungs)
    heart[40:70, 40:56] = True
    return LungField(lungs, (), ModelIdentity("fcdensenet", "FC-DenseNet", "1", "e" * 64), heart=heart)


def record(source: Dataset | None = None, **changes: object) -> AnalysisRecord:
    source = source if source is not None else header()
    found = AnalysisRecord(
        reference=source,
        images=(outcome(source, prediction(), prediction("cnncf-xr", 0.2)),),
        left_out=(),
        reason="",
        started_at=datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
        instance_set_digest="c" * 64,
        config_digest="d" * 64,
        software_version="0.1.0",
        settings=settings.load().results,
        wanted=settings.load().objects,
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def refusal(source: Dataset | None = None) -> AnalysisRecord:
    source = source if source is not None else header()
    left = LeftOut(str(source.SeriesInstanceUID), str(source.SOPInstanceUID), str(source.SOPClassUID), "DX", "A knee.")
    return record(source, images=(), left_out=(left,), reason="A knee.")


def results_settings(**changes: object) -> Results:
    return dataclasses.replace(settings.load().results, **changes)  # type: ignore[arg-type]
