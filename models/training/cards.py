"""Put a finished run into ``models/weights/``: the weights file, and its digest, settings and figures into the card.

    python -m models.training.cards SYSTEM --out DIR [--unseen OTHER ...]

The words of a card are written by hand; its digest, [settings] and [figures] only ever come from a run. OTHER holds a
run of the same recipe without some sources, from which the figures on those (``unseen_...``) are taken, nothing else.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "weights"


def install(system: str, out: Path, folder: Path = WEIGHTS, unseen: Sequence[Path] = ()) -> None:
    """Copy weights and write digest, settings and figures into the card, which must exist."""
    run = tomllib.loads((out / f"{system}.figures.toml").read_text(encoding="utf-8"))
    card = folder / f"{system}.toml"
    text = card.read_text(encoding="utf-8")
    text = re.sub(r'weights_sha256 = ".*"', f'weights_sha256 = "{run.pop("weights_sha256")}"', text)
    figures = {name: value for name, value in run.items() if isinstance(value, dict)}
    for other in unseen:
        told = tomllib.loads((other / f"{system}.figures.toml").read_text(encoding="utf-8"))
        figures |= {name: value for name, value in told.items() if name.startswith("unseen_")}
    numbers = {name: value for name, value in run.items() if not isinstance(value, dict)}
    if numbers:
        text = _section(text, "settings", [f"{name} = {value:.6g}" for name, value in numbers.items()])
    text = _section(text, "figures", [_figure(name, value) for name, value in figures.items()])
    card.write_text(text, encoding="utf-8")
    shutil.copyfile(out / f"{system}.safetensors", folder / f"{system}.safetensors")


def _figure(name: str, value: dict[str, float]) -> str:
    numbers = ", ".join(f"{key} = {value[key]:.4f}" for key in ("value", "low", "high"))
    return f"{name} = {{ {numbers}, cases = {value['cases']} }}"


def _section(text: str, name: str, lines: list[str]) -> str:
    """Replace the body of [name], keeping its heading line."""
    pattern = re.compile(rf"(^\[{name}\][^\n]*\n)(.*?)(?=^\[|\Z)", re.M | re.S)
    if not pattern.search(text):
        raise KeyError(f"the card has no section [{name}]")
    return pattern.sub(lambda found: found[1] + "\n".join(lines) + "\n\n", text).rstrip() + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="models.training.cards")
    parser.add_argument("system")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--unseen", type=Path, nargs="+", default=())
    given = parser.parse_args()
    install(given.system, given.out, unseen=given.unseen)
    sys.stdout.write(f"{given.system} installed\n")
