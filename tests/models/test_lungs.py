"""The lung field's two forms: what their recipes write, what the systems make of it, whose fields classifiers learn on.

On drawn films and with networks that learnt next to nothing; how good the shipped one is stands on its card.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.images.intensity import to_u8
from models.registry import Registry
from models.systems.unet_lung import lung_probability, mask_of
from models.training import data, fields, lungs, weights
from models.training.fit import Order, Stage
from tests.models import made


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class LeansLeft(nn.Module):
    """Logits that rise to the right, whatever the film."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linspace(-3, 3, x.shape[-1]).expand_as(x) + 0 * x


def test_the_mean_with_the_mirrored_film_prefers_no_side() -> None:
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    one_way = lung_probability(LeansLeft(), x, (40, 60), mirrored=False)
    both = lung_probability(LeansLeft(), x, (40, 60), mirrored=True)
    assert one_way.shape == both.shape == (40, 60)
    assert one_way[:, -1].min() > 0.9 and one_way[:, 0].max() < 0.1
    assert np.allclose(both, both[:, ::-1], atol=1e-6) and np.allclose(both, 0.5, atol=1e-6)


def test_two_parts_are_kept_and_their_holes_filled() -> None:
    p = np.zeros((40, 40), np.float32)
    p[2:20, 2:12], p[2:20, 20:30], p[30:33, 5:8] = 0.9, 0.9, 0.9
    p[8:10, 5:7] = 0.1
    mask = mask_of(p)
    assert mask[2:20, 2:12].all() and mask[2:20, 20:30].all() and not mask[30:33].any()


def test_a_recipe_of_two_stages_ends_with_the_larger_films_and_goes_on_from_earlier_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = made.film_folder(tmp_path / "data", each=2), tmp_path / "run"
    only_jsrt = data._jsrt(folder / "cxr_seg" / "jsrt")
    monkeypatch.setattr(data, "lung_cases", lambda folder, seed: only_jsrt)
    monkeypatch.setattr(lungs, "BATCH", 2)
    form = lungs.Form("unet-lung-256", (Stage(16, 1, 1e-3), Stage(32, 1, 1e-3)), mirrored=True)
    train = partial(lungs.train, form, folder)
    train(out, Order(device="cpu"))
    assert {path.name for path in out.glob("*.checkpoint")} == {f"unet-lung-256-{side}.checkpoint" for side in (16, 32)}
    card = made.installed_from("unet-lung-256", out, tmp_path)
    assert card.settings == {"side": 32.0, "mirrored": 1.0}
    assert Registry(tmp_path).load_segmenter("unet-lung-256").card.identity.weights_sha256 == card.weights_sha256
    train(tmp_path / "more", Order(device="cpu", start=out / "unet-lung-256.safetensors"))
    assert [path.name for path in (tmp_path / "more").glob("*.checkpoint")] == ["unet-lung-256-32.checkpoint"]


def test_the_shipped_recipe_and_the_larger_one_share_their_beginning() -> None:
    small, large = lungs.small.args[0], lungs.large.args[0]
    assert large.stages[:-1] == small.stages and not small.mirrored and large.mirrored


def test_classifiers_learn_on_the_fields_of_the_latest_segmentation(tmp_path: Path) -> None:
    shipped = fields._finder(tmp_path)
    assert (shipped.side, shipped.mirrored) == (192, False)
    for name, side, mirrored in (("unet-lung", 64, 0.0), ("unet-lung-256", 96, 1.0)):
        weights.write(shipped.net, tmp_path / f"{name}.safetensors", {}, {"side": side, "mirrored": mirrored})
        found = fields._finder(tmp_path)
        assert (found.side, found.mirrored) == (side, bool(mirrored))


def test_the_field_of_a_training_film_is_that_of_the_system(tmp_path: Path) -> None:
    """But for its matrix: a square of 256."""
    film = made.film(256)
    system = Registry(made.WEIGHTS).load_segmenter("unet-lung").segment(film)
    found = fields._finder(tmp_path).field(to_u8(film.pixels))
    same = dataclasses.replace(system, mask=system.mask == found)
    assert same.share > 0.999
