"""The report of one evaluation: ``report.json`` (complete; a number without value is null) and ``report.md`` to read.

The first paragraph says what the figures cannot show.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.api import RESEARCH_USE_ONLY, Card
from models.evaluation.films import Film

FORMAT = 1
MASKS = (
    "The masks of JSRT were drawn on films of healthy persons and of nodules, those of covid_lungs by several people "
    "with several ideas of where a lung ends beside the heart: a figure is the agreement with one such drawing."
)
SLICES = (
    "The slices are of one collection, 100 x 100 pixels, without patients: slices of one patient may stand on both "
    "sides of the split, so the figures are too good to an unknown extent."
)
VALUES = "The films with laboratory values are all of one hospital, and several films are of one patient."


def head(card: Card, limit: int | None) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "research_use_only": RESEARCH_USE_ONLY,
        "system": {**asdict(card.identity), "kind": card.kind, "classes": list(card.classes)},
        "limit": limit,
    }


def warning(films: Sequence[Film]) -> str:
    """What every figure of a film classifier must be read with, from the sources that the films really have."""
    ill, normal, rest = (
        sorted({film.source for film in films if film.label in labels})
        for labels in (("covid19",), ("normal",), ("normal", "pneumonia"))
    )
    both = [source for source in rest if _labels(films, source) >= {"normal", "pneumonia"}]
    if set(ill) & set(rest):
        return f"COVID-19 films are of {_list(ill)}, other films of {_list(rest)}."
    honest = f"pneumonia against normal in {_list(both)}" if both else "none"
    return (
        f"Every normal film is of {_list(normal)}, every covid19 film of others ({_list(ill)}): no source gave both, "
        "so a high figure for COVID-19 may only say that the system knows the source. Only two classes of one source "
        f"make an honest comparison; in these films that is {honest}."
    )


def _labels(films: Sequence[Film], source: str) -> set[str]:
    return {film.label for film in films if film.source == source}


def write(folder: Path, found: Mapping[str, Any]) -> Path:
    """Both files; gives the path of the one for people."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(found), indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    place = folder / "report.md"
    drawn = sorted(path.name for path in (folder / "figures").glob("*.png"))
    place.write_text(markdown(found, drawn), encoding="utf-8")
    return place


def _plain(value: Any) -> Any:
    """NaN and infinity become null, which JSON knows."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def markdown(found: Mapping[str, Any], drawn: Iterable[str]) -> str:
    """The report in Markdown: the warning first, then every part that the system's kind has."""
    system = found["system"]
    lines = [f"# {system['name']} ({system['system']} {system['version']}): evaluation", "", found["warning"], ""]
    lines += [f"{RESEARCH_USE_ONLY}. Weights SHA-256 `{system['weights_sha256'] or 'none'}`. Intervals are 95 %, from"]
    lines += ["1000 bootstrap resamples of the films.", ""]
    if found["limit"] is not None:
        lines += [f"**Only {found['limit']} films were asked for; the figures are a trial.**", ""]
    if "cannot" in found:
        lines += [found["cannot"], ""]
    for name, section in SECTIONS:
        if found.get(name):
            lines += section(found)
    for name in drawn:
        lines += [f"![{Path(name).stem.replace('_', ' ')}](figures/{name})", ""]
    return "\n".join(lines)


def _figures(found: Mapping[str, Any]) -> list[str]:
    rows = [(name, *_figure(one)) for name, one in found["figures"].items()]
    values, positive = found["predictive_values"], found["positive_class"]
    note = (
        f"Predictive values at the {found['prevalence']:.0%} of {positive} in these films (Clopper-Pearson, Bonferroni "
        f"for two): positive {_limits(values['ppv'])}, negative {_limits(values['npv'])}. Area under the ROC over the "
        f"thresholds k/200: {_number(found['auroc_grid'])}. Calibration error of p({positive}) in ten bins: "
        f"{_number(found['calibration']['expected_error'])}."
    )
    title = "Figures over the films whose label is a class of the system"
    return _section(title, ("figure", "value", "interval", "films"), rows, note)


def _classes(found: Mapping[str, Any]) -> list[str]:
    fields = ("sensitivity", "specificity", "ppv", "npv", "f1")
    rows = [(row["name"], row["support"], *(_number(row[f]) for f in fields)) for row in found["classes"]]
    rows += [(kind, "", *(_number(mean[f]) for f in fields)) for kind, mean in found["averages"].items()]
    lines = _section("Each class against the rest", ("class", "films", *fields), rows)
    names, counts = found["confusion"]["classes"], found["confusion"]["counts"]
    table = [(name, *row) for name, row in zip(names, counts, strict=True)]
    return lines + _section("Confusion", ("label, decided as:", *names), table)


def _pairs(found: Mapping[str, Any]) -> list[str]:
    rows = [(one["positive"], one["negative"], *_figure(one)) for one in found["pairs"]]
    title = "AUROC for every source of COVID-19 against every origin of other films"
    lines = _section(title, ("COVID-19", "against", "AUROC", "interval", "films"), rows)
    same = [(one["source"], *_figure(one)) for one in found["same_source"]]
    return lines + _section(
        "Pneumonia against normal, both of one source", ("source", "AUROC", "interval", "films"), same
    )


def _origins(found: Mapping[str, Any]) -> list[str]:
    names = found["system"]["classes"]
    rows = [
        (name, one["films"], *(one["decided"][c] for c in names), _number(one["mean_p"]))
        for name, one in found["origins"].items()
    ]
    head = ("origin", "films", *(f"decided {c}" for c in names), f"mean p({found['positive_class']})")
    return _section("What was said of the films of each origin", head, rows)


def _heat(found: Mapping[str, Any]) -> list[str]:
    rows = [
        (name, *_figure(one["mean"])[:2], *_figure(one["below_half"])) for name, one in found["heat_in_lung"].items()
    ]
    names = ("films of", "mean share", "interval", "share of films below one half", "interval", "films")
    return _section("Share of the heat that lies in the lung field", names, rows)


def _probe(found: Mapping[str, Any]) -> list[str]:
    probe = found["probe"]
    if "cannot" in probe:
        return ["## What the features tell", "", probe["cannot"], ""]
    rows = [
        (name, len(one["classes"]), *_figure(one["balanced_accuracy"])[:2], *_figure(one["auroc"]))
        for name, one in probe["probes"].items()
        if one
    ]
    note = (
        f"Logistic regression on the features ({probe['features']}, {probe['width']} values), five-fold, no patient on "
        "both sides; by chance balanced accuracy is one over the number of classes. A source that can be told within "
        "one diagnosis is a shortcut that was open to the system. Left out: questions with a class of under ten films."
    )
    names = ("asked", "classes", "balanced accuracy", "interval", "AUROC", "interval", "films")
    return _section("What the features tell: source and label", names, rows, note)


def _refusals(found: Mapping[str, Any]) -> list[str]:
    rows = [
        (one["films"], one["sentence"], ", ".join(f"{n} {name}" for name, n in one["origins"].items()))
        for one in found["refusals"]
    ]
    return _section("Refused", ("films", "sentence", "of"), rows)


def _against(found: Mapping[str, Any]) -> list[str]:
    one = found["against"]
    lines = [f"## Against {one['system']}", ""]
    if not one["films"]:
        return [*lines, "No film was answered by both.", ""]
    kind = "exact binomial" if one["method"] == "exact" else "chi-squared with continuity correction"
    return [
        *lines,
        f"On {one['films']} films that both answered and whose label both know: right {one['accuracy']:.1%} and "
        f"{one['accuracy_other']:.1%}; only this one right {one['b']}, only the other {one['c']}; "
        f"McNemar ({kind}) p = {_number(one['p'])}.",
        "",
    ]


def _explained(found: Mapping[str, Any]) -> list[str]:
    one = found["explained"]
    rows = [
        (term["name"], *(_number(term[field]) for field in ("value", "se", "p", "odds_ratio"))) for term in one["terms"]
    ]
    note = f"{one['films']} films with age and sex, of {_list(one['sources'])}."
    names = ("term", "coefficient", "SE", "Wald p", "odds ratio")
    return _section("Does age or sex decide who is judged rightly (logistic regression)", names, rows, note)


def _segmentation(found: Mapping[str, Any]) -> list[str]:
    rows, notes = [], []
    for origin, parts in found["segmentation"]["origins"].items():
        for part, one in parts.items():
            quartiles = " ".join(_number(value) for value in one["quartiles"])
            rows.append((origin, part, *_figure(one), _number(one["sd"]), quartiles))
            worst = ", ".join(f"{film['film']} {_number(film['jaccard'])}" for film in one["worst"])
            notes.append(f"Worst of {origin}, {part}: {worst}.")
    names = ("origin", "part", "mean Jaccard", "interval", "films", "SD", "least, quartiles, greatest")
    notes.append(f"Refused films, counted as 0: {found['segmentation']['refused']}.")
    return _section("Agreement with drawn masks", names, rows, " ".join(notes))


def _slices(found: Mapping[str, Any]) -> list[str]:
    one = found["slices"]
    if "cannot" in one:
        return [one["cannot"], ""]
    rows = [(name, *_figure(value)) for name, value in one["figures"].items()]
    return _section("Single slices", ("figure", "value", "interval", "slices"), rows, one["note"])


def _indicators(found: Mapping[str, Any]) -> list[str]:
    one = found["indicators"]
    if "cannot" in one:
        return [one["cannot"], ""]
    fields = ("n", "mse", "rmse", "mae", "r", "critical_r_05", "p", "r2")
    rows = [(name, *(_number(value[f]) for f in fields)) for name, value in one["quantities"].items()]
    names = ("value", "films", "MSE", "RMSE", "MAE", "r", "critical r at .05", "p", "R2")
    return _section("Predicted against measured values", names, rows, f"Refused films: {one['refused']}.")


SECTIONS = (
    ("figures", _figures), ("pairs", _pairs), ("origins", _origins), ("classes", _classes), ("heat_in_lung", _heat),
    ("probe", _probe), ("against", _against), ("explained", _explained), ("refusals", _refusals),
    ("segmentation", _segmentation), ("slices", _slices), ("indicators", _indicators),
)  # fmt: skip


def _section(title: str, names: Sequence[str], rows: Sequence[Sequence[object]], note: str = "") -> list[str]:
    table = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    table += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return [f"## {title}", "", *(table if rows else ["None."]), "", *([note, ""] if note else [])]


def _figure(one: Mapping[str, Any]) -> tuple[str, str, int]:
    return _number(one["value"]), f"{_number(one['low'])} to {_number(one['high'])}", one["cases"]


def _limits(triple: Sequence[float]) -> str:
    value, low, high = triple
    return f"{_number(value)} ({_number(low)} to {_number(high)})"


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return (
        str(value)
        if isinstance(value, int)
        else f"{value:.3f}"
        if value == 0 or abs(value) >= 0.001
        else f"{value:.1e}"
    )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "nowhere"
