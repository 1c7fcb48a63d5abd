"""The patch classifier (paper 003): ResNet-18 on 100 random patches of the masked lung, and their majority vote.

The decided class has the most votes; a tie goes to the higher mean probability, then to the lower index (D11). The
probability of a class is its mean over the patches. Patches are drawn by a seed from the film's identifier. A lung
field below 1 % of the film is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from monai.networks.nets.resnet import ResNet, resnet18
from numpy.typing import NDArray
from torch import Tensor, nn

from models.api import Card, FloatImage, ImageInput, LungField, Prediction, RefusedInput
from models.explain import patch_saliency
from models.images import patching
from models.images.geometry import resize_float
from models.images.intensity import U8
from models.systems import preparation
from models.systems.loading import load_state, ready
from models.systems.verdict import predict_with_heat
from models.together import Outputs, Pass

BATCH = 50  # patches at once


def build(classes: int) -> ResNet:
    """The ResNet-18 of the paper: MONAI's with first stride 2 and shortcuts without bias (specification 6.3)."""
    net: ResNet = resnet18(
        spatial_dims=2, n_input_channels=3, num_classes=classes, conv1_t_stride=2, bias_downsample=False
    )
    return net


def last_maps(net: ResNet, x: Tensor) -> Tensor:
    """(N, 512, h, w) of the last block, of (N, 3, size, size) in 0..1; a film of 224 gives 7 x 7."""
    x = net.maxpool(net.act(net.bn1(net.conv1(x))))
    return cast(Tensor, net.layer4(net.layer3(net.layer2(net.layer1(x)))))


def picture(film: U8, lungs: NDArray[np.bool_], side: int) -> U8:
    """(side, side): the equalised film, 0 outside the lung field and only there."""
    return patching.masked_lung(film, lungs, side)


def patches(masked: U8, uid: str, count: int, size: int) -> tuple[U8, NDArray[np.int64]]:
    """(count, size, size) patches of one film, always the same for one ``uid``, and their first pixels (count, 2)."""
    centres = patching.lung_centres(masked, count, np.random.default_rng(patching.seed_of(uid)))
    return patching.cut(masked, centres, size), centres - size // 2


@dataclass(frozen=True)
class Vote:
    """counts: votes of each class. mean: mean probability of each class over the patches."""

    decided: int
    counts: NDArray[np.int64]
    mean: NDArray[np.float64]

    @property
    def share(self) -> float:
        return float(self.counts[self.decided] / self.counts.sum())


def vote(p: NDArray[np.float64]) -> Vote:
    """``p``: (patch, class) probabilities; a patch votes for its most probable class."""
    counts = np.bincount(p.argmax(axis=1), minlength=p.shape[1])
    mean = p.mean(axis=0)
    first = max(range(p.shape[1]), key=lambda c: (counts[c], mean[c], -c))
    return Vote(first, counts, mean)


class PatchVote:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        settings = card.settings
        self._side, self._size, self._count = (int(settings[name]) for name in ("film_side", "patch", "patches"))
        self._temperature, self.batch = settings["temperature"], BATCH
        self._mode: patch_saliency.Mode = "probabilistic" if settings["probabilistic"] else "mean"
        self._device = torch.device(device)
        self._net = ready(load_state(build(len(card.classes)), card), self._device)
        self.ask: Pass = self._pass

    def predict(self, image: ImageInput, lungs: LungField | None) -> Prediction:
        """RefusedInput for a film smaller than a patch and for a lung field that is absent or too small."""
        masked = self._masked(image, lungs)
        cut, corners = patches(masked, image.uid, self._count, self._size)
        parts = [self.ask(x.to(self._device)) for x in preparation.grey_batch(cut).split(self.batch)]
        logits, maps = (torch.cat(some) for some in zip(*parts, strict=True))
        p = (logits.double() / self._temperature).softmax(1).cpu().numpy()
        found = vote(p)

        def heat(class_index: int) -> FloatImage:
            cams = patch_saliency.grad_cams(self._head, maps, class_index, self._size)
            whole = patch_saliency.saliency(masked.shape, corners, cams, p[:, class_index], self._mode)
            return np.asarray(np.clip(resize_float(whole, *image.shape), 0, 1))

        details = {f"votes.{name}": float(n) for name, n in zip(self.card.classes, found.counts, strict=True)}
        details["vote_share"] = found.share
        rule = f"the class with the most votes of {self._count} patches of the lung field"
        return predict_with_heat(self.card, found.mean, found.decided, rule, heat, lungs, details)

    def _masked(self, image: ImageInput, lungs: LungField | None) -> U8:
        rows, columns = image.shape
        film = preparation.film_u8(image)
        if min(rows, columns) < self._size:
            raise RefusedInput(f"The film is {columns} x {rows} pixels, smaller than a patch of {self._size}.")
        preparation.check_lungs(film, lungs, "The patch classifier")
        assert lungs is not None
        masked = picture(film, lungs.mask, self._side)
        if not masked.any():
            raise RefusedInput("The lung field is too thin to take patches from.")
        return masked

    @torch.inference_mode()
    def _pass(self, x: Tensor) -> Outputs:
        """Logits (N, class) and last maps (N, 512, h, w) of patches (N, 3, size, size) in 0..1."""
        maps = last_maps(self._net, x)
        return self._head(maps), maps

    def _head(self, maps: Tensor) -> Tensor:
        """The rest of the network after the last map."""
        last = cast(nn.Module, self._net.fc)  # absent only from a network built as a feature extractor
        return cast(Tensor, last(self._net.avgpool(maps).flatten(1)))
