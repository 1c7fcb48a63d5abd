"""Makes docs/pictures from what the viewer tests have left in artefacts/viewers: ``python -m tests.viewers.pictures``.

Few colours keep a file small, but a film must stay grey and heat coloured: greys and colours get a palette each.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.viewers.screen import PICTURES

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
SHOWN = (
    "film", "heat-map", "regions", "regions-taken-over", "regions-ct", "segmentation", "heat-stack", "page", "summary"
)  # fmt: skip
SIZE, LARGEST = (960, 645), 200_000  # pixels, bytes
GREYS, COLOURS = 64, 192
COLOURED = 12  # between the greatest and the smallest of red, green, blue


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in SHOWN:
        path = FOLDER / f"ohif-{name}.png"
        with Image.open(PICTURES / f"{name}.png") as picture:
            _reduced(picture.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)).save(path, optimize=True)
        if path.stat().st_size > LARGEST:
            raise SystemExit(f"{path.name} has {path.stat().st_size} bytes")


def _reduced(picture: Image.Image) -> Image.Image:
    pixels = np.asarray(picture).reshape(-1, 3)
    coloured = pixels[np.ptp(pixels.astype(int), axis=1) > COLOURED]
    colours = Image.fromarray(coloured[None]).quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
    greys = np.linspace(0, 255, GREYS).round().astype(int).repeat(3).tolist()
    palette = Image.new("P", (1, 1))
    palette.putpalette(greys + (colours.getpalette() or [])[: 3 * COLOURS])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
