"""From class probabilities to a ``Prediction`` with heat and lesion centres, alike for every film classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.api import Card, ClassScore, FloatImage, LungField, Prediction
from models.explain.lesions import find_lesions, heat_share

NORMAL, FIRST_SUSPECT = "normal", "covid19"


def predict_with_heat(
    card: Card,
    p: NDArray[np.float64],
    decided: int,
    rule: str,
    heat: Callable[[int], FloatImage],
    lungs: LungField | None,
    details: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> Prediction:
    """``p``: (class) probabilities in the card's order; ``heat(class)``: (row, column) in 0..1 over the film."""
    name = card.classes[decided]
    shown = name if name != NORMAL else FIRST_SUSPECT
    warm = heat(card.classes.index(shown))
    share = heat_share(warm, lungs) if lungs is not None else None
    remarks = list(notes)
    if share is not None and share < 0.5:
        remarks.append(f"Only {share:.0%} of the heat lies in the lung field; the decision may rest on something else.")
    return Prediction(
        model=card.identity,
        scores=tuple(
            ClassScore(label, float(np.clip(value, 0, 1)), number == decided, card.threshold, code)
            for number, (label, value, code) in enumerate(zip(card.classes, p, card.codes, strict=True))
        ),
        decided_class=name,
        rule=rule,
        heat=warm,
        heat_class=shown,
        heat_in_lung=share,
        lesions=find_lesions(warm, None if lungs is None else lungs.mask) if name != NORMAL else (),
        details=dict(details or {}),
        notes=tuple(remarks),
    )
