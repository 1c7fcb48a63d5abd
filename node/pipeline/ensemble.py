"""The mean of several classifiers as one more prediction beside theirs. Arithmetic only; it loads and refuses nothing.

A class takes part when at least two of the systems know it. Its score is the mean of the calibrated probabilities of
the systems that have it; the scores are then divided by their sum. The decision is the most probable class, the first
in the order of the systems where two are equal. A class that one system alone knows is left out and a note says so:
the mean of systems that answer different questions would else depend on which of them asked. Where such a class is what
its system decided for, there is no mean: it would name another class against the one system that knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from models.api import ClassScore, ModelIdentity, Prediction

SYSTEM = "ensemble"
NOTHING_COMMON = "The systems do not answer the same question, so their mean says nothing."
RULE = "class with the highest mean probability"


def mean_of(predictions: Sequence[Prediction], version: str) -> Prediction | None:
    """None for fewer than two predictions, for fewer than two common classes, or where one decided is not common.

    ``version``: of the node.
    """
    heard: dict[str, list[ClassScore]] = {}
    for prediction in predictions:
        for score in prediction.scores:
            heard.setdefault(score.name, []).append(score)
    common = {name: scores for name, scores in heard.items() if len(scores) > 1}
    means = np.array([np.mean([score.probability for score in scores]) for scores in common.values()])
    if len(common) < 2 or means.sum() <= 0 or any(p.decided_class not in common for p in predictions):
        return None
    p = means / means.sum()
    decided = int(np.argmax(p))
    return Prediction(
        model=_identity(predictions, version),
        scores=tuple(
            ClassScore(name, float(np.clip(p[number], 0, 1)), number == decided, 1 / len(common), scores[0].code)
            for number, (name, scores) in enumerate(common.items())
        ),
        decided_class=list(common)[decided],
        rule=RULE,
        notes=_left_out(heard),
    )


def _identity(predictions: Sequence[Prediction], version: str) -> ModelIdentity:
    models = [prediction.model for prediction in predictions]
    digest = hashlib.sha256("".join(model.weights_sha256 for model in models).encode()).hexdigest()
    members = ", ".join(f"{model.system} {model.version}" for model in models)
    return ModelIdentity(SYSTEM, f"Mean of {len(models)} systems", version, digest, f"mean of {members}")


def _left_out(heard: dict[str, list[ClassScore]]) -> tuple[str, ...]:
    alone = ", ".join(name for name, scores in heard.items() if len(scores) == 1)
    return (f"Known to one system alone and not part of the mean: {alone}.",) if alone else ()
