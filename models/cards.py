"""Model cards: one TOML file beside each weights file. Reading and checking them needs no torch."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

from models.api import Card, Code, QuantityKind


def read_cards(folder: Path) -> tuple[Card, ...]:
    """Every card of the folder, by system id."""
    return tuple(read_card(path) for path in sorted(folder.glob("*.toml")))


def read_card(path: Path) -> Card:
    """One card; a missing key is a KeyError that names it."""
    text = path.read_text(encoding="utf-8")
    tree = tomllib.loads(text)
    classes = tree.get("classes", [])
    youngest = tree.get("input", {}).get("minimum_age_years")
    return Card(
        system=tree["system"],
        name=tree["name"],
        version=tree["version"],
        kind=tree["kind"],
        source=tree["source"],
        weights=path.parent / tree["weights"],
        weights_sha256=tree["weights_sha256"],
        entry_point=tree["entry_point"],
        classes=tuple(entry["name"] for entry in classes),
        codes=tuple(Code(entry["value"], entry["scheme"], entry["meaning"]) for entry in classes),
        threshold=float(tree.get("threshold", 0.5)),
        settings={name: float(value) for name, value in tree.get("settings", {}).items()},
        text=text,
        quantities=tuple(
            QuantityKind(q["name"], q["unit"], Code(q["value"], q["scheme"], q["meaning"]))
            for q in tree.get("quantities", [])
        ),
        minimum_age_years=None if youngest is None else float(youngest),
    )


def weights_problem(card: Card) -> str:
    """Empty when the file on disk is the one the card names, else the sentence why not."""
    if not card.weights_sha256:
        return f"No weights of {card.system} ship with this version; it can be trained."
    if not card.weights.is_file():
        return f"The weights of {card.system} are not installed."
    with card.weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != card.weights_sha256:
        return f"The weights of {card.system} are not those that its card names (digest {digest[:12]})."
    return ""
