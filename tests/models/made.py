"""Cards and data made for tests: weights of a network of ours installed beside a copy of its shipped card, by the tool
that installs real ones; a training folder of drawn films."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import torch
from monai.visualize.class_activation_maps import GradCAM
from PIL import Image
from torch import Tensor, nn

from models.api import Card, FloatImage, ImageInput, LungField, Mask
from models.cards import read_card
from models.explain.gradcam import unit_range
from models.images.intensity import to_u8
from models.training import cards, weights
from tests.films import drawn

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"


def installed(system: str, net: nn.Module, folder: Path, settings: dict[str, float]) -> Card:
    weights.write(net, folder / "out" / f"{system}.safetensors", {}, settings)
    return installed_from(system, folder / "out", folder)


def installed_from(system: str, run: Path, folder: Path) -> Card:
    """The card of what a run wrote, in ``folder``."""
    shutil.copyfile(WEIGHTS / f"{system}.toml", folder / f"{system}.toml")
    cards.install(system, run, folder)
    return read_card(folder / f"{system}.toml")


def untrained(system: str, folder: Path) -> Card:
    """The shipped card as it is before any training: without a digest."""
    lines = (WEIGHTS / f"{system}.toml").read_text(encoding="utf-8").splitlines()
    kept = ['weights_sha256 = ""' if line.startswith("weights_sha256") else line for line in lines]
    (folder / f"{system}.toml").write_text("\n".join(kept), encoding="utf-8")
    return read_card(folder / f"{system}.toml")


def film(side: int = 256, uid: str = "1.2.3", seed: int = 7) -> ImageInput:
    return ImageInput(drawn(seed, side).astype(np.float32), uid)


def two_lungs(shape: tuple[int, int]) -> Mask:
    """(row, column): two upright ellipses."""
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    down = ((y - rows * 0.5) / (rows * 0.3)) ** 2
    sides = [((x - columns * share) / (columns * 0.15)) ** 2 + down <= 1 for share in (0.3, 0.7)]
    return np.asarray(sides[0] | sides[1])


def field(shape: tuple[int, int], card: Card) -> LungField:
    return LungField(two_lungs(shape), (), card.identity)


def nothing_to_judge() -> list[ImageInput]:
    """A tiny film, one with a value that is no number, a constant one."""
    holed = film().pixels.copy()
    holed[5, 5] = np.nan
    tiny = np.random.default_rng(0).random((20, 300), np.float32)
    return [ImageInput(pixels, "1") for pixels in (tiny, holed, np.full((256, 256), 7, np.float32))]


def monais_heat(net: nn.Module, layer: str, x: Tensor, class_index: int) -> FloatImage:
    """Grad-CAM of one picture by MONAI through the whole network, its hooks on ``layer``: what ours, which begins at
    the maps that a prediction left, must equal."""
    explain = GradCAM(nn_module=net, target_layers=layer, postprocessing=unit_range)
    with torch.enable_grad():
        found = torch.as_tensor(explain(x.clone().requires_grad_(True), class_idx=class_index))
    return np.array(found[0, 0].detach().cpu().numpy(), dtype=np.float32)


def film_folder(folder: Path, each: int = 3) -> Path:
    """``cxr/labels.csv`` with ``each`` drawn films of every class and split, and as many of JSRT for both of its."""
    (folder / "cxr").mkdir(parents=True)
    rows = []
    for split in ("train", "val", "test"):
        for source, label in (("nih-cxr14", "normal"), ("nih-cxr14", "pneumonia"), ("other", "covid19")):
            for number in range(each):
                name = f"{split}-{label}-{number}.png"
                Image.fromarray(to_u8(drawn(len(rows) + 1, 192))).save(folder / "cxr" / name)
                rows.append({"file": name, "label": label, "source": source, "patient": name, "split": split})
    with (folder / "cxr" / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["file", "label", "source", "patient", "split"])
        table.writeheader()
        table.writerows(rows)
    _jsrt_films(folder / "cxr_seg" / "jsrt", each)
    return folder


def _jsrt_films(folder: Path, each: int) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    mask = Image.fromarray(two_lungs((192, 192)).astype(np.uint8))
    rows = [(f"JPCLN{n:03}", "train" if n < each else "val") for n in range(2 * each)]
    for number, (name, _) in enumerate(rows):
        Image.fromarray(to_u8(drawn(100 + number, 192))).save(folder / "images" / f"{name}.png")
        mask.save(folder / "masks" / f"{name}.png")
    with (folder / "split.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "split"), *rows])
