"""Writes docs/models.md from the model cards, so that no figure on the page differs from the one that was measured.

Run as ``python -m tests.docs.models_page``; a test compares its output with the page. What the papers report stands
here: it is quoted, not measured.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "models.md"
HEAD = """\
# Models

**Research use only, not for diagnosis.** Written from the cards in `models/weights/`; every figure there was measured
by the training run that made the weights (`lungnode train`), on images that the run never saw.

How to read the figures: *every pneumonia film of the collection comes from one source (NIH), every normal film from
that one or JSRT, every COVID-19 film from others*. A network can score high by telling hospitals apart. Three things
are done against it: the classifiers see nothing but the lungs, in grey values that every hospital shares; the loss asks
first whether a film is normal, for which NIH has films of both kinds; and runs that leave whole sources out are judged
on those (`unseen ...`). [Why](why/harmonised-lungs.md) has the comparison. Nothing here says how a system does on films
of your hospital, and no figure should be compared with another laboratory's.

Probabilities are calibrated by one temperature on the validation images of the same sources; elsewhere they are scores.
Intervals are 95 % bootstrap intervals (1000 resamples of the test images).

| system | published | ours (test split) | why they differ |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Published:
    """What the paper reports, of which data; the card's figure to set beside it; why the two differ."""

    text: str
    ours: str  # name in the card's [figures]
    why: str


LESS = "another collection, no pretrained weights, a smaller input, CPU training"
PUBLISHED = {
    "unet-lung": Published(
        "no figure for this segmentation alone", "jaccard_jsrt", "192 x 192; masks of the second set disagree"
    ),
    "unet-lung-256": Published(
        "no figure for this segmentation alone", "jaccard_jsrt", "256 x 256; masks of the second set disagree"
    ),
    "fcdensenet": Published(
        "Jaccard 0.955 lung, 0.889 heart on JSRT (50 films)",
        "jaccard_jsrt_lung",
        "a smaller network (56 layers for 103) on half of the pixels",
    ),
    "cxnet": Published(
        "three classes: accuracy 94.20 % in the text, 85.60 % by its own confusion matrix (2,028 films)",
        "accuracy",
        f"{LESS}; the lungs alone",
    ),
    "cxnet-binary": Published(
        "two classes, lungs cut out (v2): accuracy 98.62 % [97.14, 99.28], F 0.94",
        "accuracy",
        f"{LESS}; the lungs alone",
    ),
    "cxnet-base": Published(
        "two classes, v2: accuracy 98.68 % [94.00, 99.30], F 0.94",
        "accuracy",
        "another collection, half the side, 30 epochs for 120; the lungs alone",
    ),
    "cnncf-xr": Published(
        "AUROC 0.9961, sensitivity 0.9516, specificity 0.9933 (212 films)", "auroc_covid19", f"{LESS}; the lungs alone"
    ),
    "patch-vote": Published(
        "four classes: accuracy 88.9 %, sensitivity 85.9 % (99 films)", "accuracy", f"{LESS}; other classes"
    ),
    "two-step": Published(
        "four classes in two steps: accuracy 0.91 (163 films)",
        "accuracy",
        "step 1 alone, other classes, the lungs alone",
    ),
    "cnnrf": Published(
        "other indicators, scaled to 0..1: MSE 0.0163, r 0.8274, R2 0.6465 (20 patients)",
        "r_crp",
        "other indicators, values up to two days from the film, few films of one hospital",
    ),
    "bit-ct": Published(
        "three classes: accuracy 99.2 % (25,658 slices of COVIDx CT-2A, BiT-M start)",
        "accuracy",
        "two classes, 100 x 100 slices of unknown patients, no BiT weights",
    ),
    "cnncf-ct": Published(
        "F1, kappa, sensitivity, specificity, precision 1.0 (40 studies)", "", "not trained: no volumes"
    ),
}


def page() -> str:
    cards = [
        tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "models" / "weights").glob("*.toml"))
    ]
    return HEAD + "".join(_beside_the_paper(card) for card in cards) + "".join(_system(card) for card in cards)


def _beside_the_paper(card: dict[str, Any]) -> str:
    published = PUBLISHED[card["system"]]
    figure = card["figures"].get(published.ours)
    ours = "not trained"
    if figure:
        name = published.ours.replace("_", " ")
        ours = f"{name} {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}], n = {figure['cases']}"
    return f"| [{card['system']}](#{card['system']}) | {published.text} | {ours} | {published.why} |\n"


def _system(card: dict[str, Any]) -> str:
    names = ", ".join(entry["name"] for entry in (*card.get("classes", ()), *card.get("quantities", ())))
    trained = bool(card["weights_sha256"])
    rows = [
        f"\n## {card['system']}\n",
        f"{card['name']}, version {card['version']}. Paper: {card['source']}. Gives: {names or 'lung field'}. "
        f"Input: {card['input']['what']}.\n",
        f"Trained: {card['training']['note']}\n",
        "Data: " + "; ".join(card["training"]["data"]) + ".\n",
        f"Limits: {card['limits']['text']}\n",
    ]
    if card["figures"]:
        rows += ["| measured | value | 95 % interval | cases |", "|---|---|---|---|"]
    for name, figure in card["figures"].items():
        value, low, high = (f"{figure[key]:.3f}" for key in ("value", "low", "high"))
        rows.append(f"| {name.replace('_', ' ')} | {value} | {low} to {high} | {figure['cases']} |")
    command = f"`{card['training']['command']}`"
    digest = f"Weights `{card['weights']}`, SHA-256 `{card['weights_sha256']}`. Again: {command}"
    rows.append(f"\n{digest}\n" if trained else f"\nNo weights ship. To train: {command}\n")
    return "\n".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
