"""Figures of a film classifier: over the films whose label it knows, by origin, for every pair of sources, its heat.

COVID-19 is the positive class. The pairs of sources matter most: here no source gave films with COVID-19 and films
without, so only pneumonia against normal, both of one source, is a comparison that the source cannot decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.api import Card
from models.evaluation import curves, metrics, statistics
from models.evaluation.bootstrap import Resampled, resampled
from models.evaluation.films import Answer, Film

POSITIVE = "covid19"


@dataclass(frozen=True)
class Judged:
    """The films that a system answered, its answers alongside, and those it refused."""

    card: Card
    films: tuple[Film, ...]
    answers: tuple[Answer, ...]
    refused: tuple[tuple[Film, str], ...] = ()

    @property
    def positive(self) -> str:
        """COVID-19, or the last class of a system that does not name it."""
        return POSITIVE if POSITIVE in self.card.classes else self.card.classes[-1]

    @cached_property
    def p(self) -> NDArray[np.float64]:
        """(film, class)."""
        return np.array([answer.p for answer in self.answers]).reshape(len(self.answers), len(self.card.classes))

    @cached_property
    def score(self) -> NDArray[np.float64]:
        """(film) probability of the positive class."""
        return self.p[:, self.card.classes.index(self.positive)]

    @cached_property
    def ill(self) -> NDArray[np.bool_]:
        return np.array([film.label == POSITIVE for film in self.films], dtype=bool)

    @cached_property
    def known(self) -> NDArray[np.int64]:
        """Numbers of the films whose label is a class of the system."""
        return np.flatnonzero([film.label in self.card.classes for film in self.films])

    @cached_property
    def said(self) -> NDArray[np.int64]:
        """(film) number of the decided class."""
        return np.array([self.card.classes.index(answer.decided) for answer in self.answers], dtype=np.int64)

    @cached_property
    def truth(self) -> NDArray[np.int64]:
        """(film) number of the true class, -1 where it is none of the system's."""
        names = self.card.classes
        return np.array([names.index(f.label) if f.label in names else -1 for f in self.films], dtype=np.int64)

    def origins(self) -> dict[str, NDArray[np.int64]]:
        """Origin -> numbers of its films."""
        names = sorted({film.origin for film in self.films})
        return {name: np.flatnonzero([film.origin == name for film in self.films]) for name in names}


def judged(card: Card, films: Sequence[Film], answers: Sequence[Answer]) -> Judged:
    """Answers and refusals apart."""
    both = list(zip(films, answers, strict=True))
    given = [(film, answer) for film, answer in both if not answer.refusal]
    refused = tuple((film, answer.refusal) for film, answer in both if answer.refusal)
    return Judged(card, tuple(film for film, _ in given), tuple(answer for _, answer in given), refused)


def figures(one: Judged) -> dict[str, Resampled]:
    """Over the films whose label is one of the system's classes."""
    n = one.known
    truth, said, ill, score = one.truth[n], one.said[n], one.ill[n], one.score[n]
    called = said == one.card.classes.index(one.positive)
    classes = len(one.card.classes)

    def counted(name: str) -> Resampled:
        return resampled(lambda k: getattr(metrics.confusion(ill[k], called[k]), name), len(n))

    def macro_f1(k: NDArray[np.int64]) -> float:
        rows = curves.class_table(curves.confusion_matrix(truth[k], said[k], classes), one.card.classes)
        return float(np.mean([np.nan_to_num(row.f1) for row in rows if row.support]))

    names = ("sensitivity", "specificity", "precision", "f1")
    return {
        "accuracy": resampled(lambda k: float((truth[k] == said[k]).mean()), len(n)),
        "kappa": resampled(lambda k: statistics.kappa(truth[k], said[k]), len(n)),
        "macro F1": resampled(macro_f1, len(n)),
        f"AUROC {one.positive}": resampled(lambda k: metrics.auroc(ill[k], score[k]), len(n)),
        f"AUPRC {one.positive}": resampled(lambda k: metrics.average_precision(ill[k], score[k]), len(n)),
        **{f"{name} {one.positive}": counted(name) for name in names},
    }


def pairs(one: Judged) -> list[dict[str, Any]]:
    """AUROC of the positive class for every source of COVID-19 against every origin of other films."""
    origins = one.origins()
    found = []
    for ill_name, ill in origins.items():
        for well_name, well in origins.items():
            if one.ill[ill[0]] and not one.ill[well[0]]:
                n = np.concatenate((ill, well))
                area = _area(one.ill[n], one.score[n])
                found.append({"positive": ill_name, "negative": well_name, **as_json(area)})
    return found


def same_source(one: Judged) -> list[dict[str, Any]]:
    """Pneumonia against normal where one source gave both, by 1 - p(normal): the source cannot decide here."""
    names, found = one.card.classes, []
    score = 1 - one.p[:, names.index("normal")] if "normal" in names else one.score
    for source in sorted({film.source for film in one.films}):
        labels = np.array([film.label if film.source == source else "" for film in one.films])
        n = np.flatnonzero((labels == "normal") | (labels == "pneumonia"))
        if len(set(labels[n])) == 2:
            found.append({"source": source, **as_json(_area(labels[n] == "pneumonia", score[n]))})
    return found


def said_of_origins(one: Judged) -> dict[str, dict[str, Any]]:
    """Origin -> films, how often each class was decided, mean probability of the positive class."""
    return {
        name: {
            "films": len(n),
            "decided": {c: int((one.said[n] == k).sum()) for k, c in enumerate(one.card.classes)},
            "mean_p": float(one.score[n].mean()),
        }
        for name, n in one.origins().items()
    }


def heat(one: Judged) -> dict[str, Any]:
    """Share of the heat's mass that lies in the lung field: mean, share of films below one half, both by origin."""
    shares = np.array([np.nan if a.heat_in_lung is None else a.heat_in_lung for a in one.answers], dtype=float)
    groups = {"all films": np.arange(len(shares)), **one.origins()}
    return {name: _heat(shares[n][~np.isnan(shares[n])]) for name, n in groups.items()}


def _heat(shares: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "mean": as_json(resampled(lambda k: float(shares[k].mean()), len(shares))),
        "below_half": as_json(resampled(lambda k: float((shares[k] < 0.5).mean()), len(shares))),
    }


def refusals(one: Judged) -> list[dict[str, Any]]:
    """Each sentence with the number of films by origin, the most frequent first."""
    sentences = Counter(sentence for _, sentence in one.refused)
    return [
        {
            "sentence": sentence,
            "films": count,
            "origins": dict(sorted(Counter(film.origin for film, said in one.refused if said == sentence).items())),
        }
        for sentence, count in sentences.most_common()
    ]


def against(one: Judged, other: Judged) -> dict[str, Any]:
    """McNemar on who named the label, over the films that both answered and whose label both know."""
    answers = {film.uid: answer.decided for film, answer in zip(other.films, other.answers, strict=True)}
    common = [k for k in one.known if one.films[k].uid in answers and one.films[k].label in other.card.classes]
    if not common:
        return {"system": other.card.system, "films": 0}
    truth = np.array([one.films[k].label for k in common])
    mine = np.array([one.answers[k].decided for k in common])
    theirs = np.array([answers[one.films[k].uid] for k in common])
    shares = {"accuracy": float((mine == truth).mean()), "accuracy_other": float((theirs == truth).mean())}
    found = asdict(statistics.paired(truth, mine, theirs))
    return {"system": other.card.system, "films": len(common), **shares, **found}


def explained(one: Judged) -> dict[str, Any] | None:
    """Logistic regression of "correct" on age and sex where both are known (paper 002); None when it has no answer."""
    n = [k for k in one.known if one.films[k].sex in ("m", "f") and np.isfinite(one.films[k].age)]
    right = one.said[n] == one.truth[n]
    if len(n) < 30 or right.all() or not right.any():
        return None
    terms = np.array([(one.films[k].age, one.films[k].sex == "m") for k in n], dtype=float)
    try:
        found = statistics.logistic(right, terms, ("age", "male"))
    except ValueError:
        return None
    rows = [{**asdict(term), "odds_ratio": term.odds_ratio} for term in found]
    return {"films": len(n), "sources": sorted({one.films[k].source for k in n}), "terms": rows}


def _area(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> Resampled:
    return resampled(lambda k: metrics.auroc(truth[k], score[k]), len(truth))


def as_json(found: Resampled) -> Mapping[str, Any]:
    return {**asdict(found.figure), "skipped": found.skipped}
