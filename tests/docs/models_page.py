"""Writes docs/models.md from the model cards, so that no figure on the page differs from the one that was measured.

Run as ``python -m tests.docs.models_page``; a test compares its output with the page. What the papers report stands
here: it is quoted, not measured.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "models.md"
HEAD = """\
# Models

**Research use only, not for diagnosis.** Written from the cards in `models/weights/`; every figure there was measured
by the training run that made the weights (`lungnode train`), on films that the run never saw, split by patient.

How to read the figures: *every normal and pneumonia film of the training and test data comes from one source (NIH),
every COVID-19 film from others*. A network can score high by telling hospitals apart: burned-in marks, borders,
contrast. The figures of single sources show it: where one is far above another, the source is being recognised.
Nothing here says how a system does on films of your hospital, and no figure here should be compared with another
laboratory's.

Probabilities are calibrated by one temperature on the validation films of the same sources; elsewhere they are scores.
Intervals are 95 % bootstrap intervals (1000 resamples of the test films).
"""
PUBLISHED = {
    "unet-lung": "no figure is published for this segmentation alone",
    "cxnet": "accuracy 94.20 % in the text and 85.60 % by the paper's own confusion matrix (three classes, F-score "
    "0.85), on the authors' collection at 320 x 320",
    "cnncf-xr": "AUROC 0.9961, sensitivity 0.9516, specificity 0.9933 on 212 films at 512 x 512, distilled from four "
    "teachers",
}


def page() -> str:
    lines = [HEAD]
    for path in sorted((ROOT / "models" / "weights").glob("*.toml")):
        lines.append(_system(tomllib.loads(path.read_text(encoding="utf-8"))))
    return "".join(lines)


def _system(card: dict[str, Any]) -> str:
    names = ", ".join(entry["name"] for entry in card.get("classes", ())) or "lung field"
    rows = [
        f"\n## {card['system']}: {card['name']}, version {card['version']}\n",
        f"Paper: {card['source']}. Gives: {names}. Input: {card['input']['what']}.\n",
        f"Trained: {card['training']['note']}\n",
        "Data: " + "; ".join(card["training"]["data"]) + ".\n",
        f"Limits: {card['limits']['text']}\n",
        f"Published: {PUBLISHED[card['system']]}.\n",
        "| measured | value | 95 % interval | films |",
        "|---|---|---|---|",
    ]
    for name, figure in card["figures"].items():
        value, low, high = (f"{figure[key]:.3f}" for key in ("value", "low", "high"))
        rows.append(f"| {name.replace('_', ' ')} | {value} | {low} to {high} | {figure['cases']} |")
    rows.append(
        f"\nWeights `{card['weights']}`, SHA-256 `{card['weights_sha256']}`. Again: `{card['training']['command']}`\n"
    )
    return "\n".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
