"""What each shipped weight says of the drawn film and the drawn CT, kept in golden.toml.

Run ``python -m tests.models.golden`` after new weights; a test compares with the tolerance said there. The phantoms are
no chests: the numbers mean nothing but that the weights, the code and the libraries still give what they gave.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.api import ImageInput
from models.explain.lesions import find_lesions
from models.registry import Registry
from tests.films import drawn
from tests.models.chests import chest

FILE = Path(__file__).with_name("golden.toml")
WEIGHTS = Path(__file__).parents[2] / "models" / "weights"


def answers() -> dict[str, dict[str, float]]:
    """System -> name -> number, for every card with weights."""
    registry = Registry(WEIGHTS)
    image = ImageInput(drawn(7, 512).astype(np.float32), "1.2.3")
    volume = chest()
    lungs = registry.load_segmenter("unet-lung").segment(image)
    spot = np.zeros(image.shape, np.float32)
    spot[200:260, 120:180] = 1
    found: dict[str, dict[str, float]] = {}
    for card in registry.cards():
        if not card.weights_sha256:
            continue
        if card.kind == "lungs":
            field = registry.load_segmenter(card.system).segment(image)
            found[card.system] = {"share": field.share} | {q.kind.name: q.value for q in field.quantities}
        elif card.kind == "indicators":
            measured = registry.load_indicator_system(card.system).measure(image, find_lesions(spot, None))
            found[card.system] = {q.kind.name: q.value for q in measured.quantities}
        else:
            said = (
                registry.load_ct_system(card.system).predict(volume)
                if card.kind == "ct"
                else registry.load_film_system(card.system).predict(image, lungs)
            )
            found[card.system] = {score.name: score.probability for score in said.scores}
    return found


def text() -> str:
    lines = ["# Written by python -m tests.models.golden. Numbers of phantoms, without any meaning of their own."]
    for system, numbers in sorted(answers().items()):
        lines += ["", f"[{system}]", *(f"{name} = {value:.6g}" for name, value in numbers.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
