"""BiT ResNet-50x1 for CT (paper 001): every lung-bearing slice alone, then one rule for the study.

A slice is windowed (-600, 1500), cropped to the body, resized and scaled to -1..1. The study rule (ours; the paper
judges slices only): the score of a positive class is the mean of its k = max(3, a tenth of the slices) highest
probabilities; the highest score decides when it reaches the card's threshold, else the first class, the negative one.
Scores are therefore no softmax: two positive classes may both be high, each on slices of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.api import Card, ClassScore, FloatImage, Lesion, Prediction, SliceFinding, VolumeInput
from models.explain import patch_saliency
from models.explain.lesions import find_lesions
from models.images.geometry import Box, in_film, resize_u8
from models.images.intensity import U8
from models.images.volume import Numbers, body_box, lung_mask, lung_slices, window_u8
from models.nets.bit import BiTResNet50
from models.systems.loading import load_state, ready
from models.together import Outputs, Pass

BATCH, FEWEST_TOP, MOST_KEY_SLICES = 32, 3, 5
NEGATIVE = 0  # the first class of the card
EXPLAINED_FROM = 0.5  # slices whose p of the explained class reaches it show heat, key slices whatever their p


@dataclass(frozen=True)
class Study:
    """What the study rule says: a score for each class, the class decided, and how many slices were averaged."""

    scores: tuple[float, ...]
    decided: int
    top: int


def study_rule(p: NDArray[np.float64], threshold: float = 0.5) -> Study:
    """``p``: (slice, class) softmax. The negative class scores 1 - the highest positive score, so that with the
    threshold 0.5 the decided class is never below one half."""
    top = min(len(p), max(FEWEST_TOP, -(-len(p) // 10)))
    positive = np.clip(np.sort(p[:, 1:], axis=0)[-top:].mean(axis=0), 0, 1)
    best = int(positive.argmax())
    decided = NEGATIVE if positive[best] < threshold else 1 + best
    return Study((float(1 - positive[best]), *(float(value) for value in positive)), decided, top)


def slice_picture(hu: FloatImage, side: int) -> tuple[U8, Box]:
    """(side, side) as the network sees the slice, and the box in the slice that it shows."""
    picture = window_u8(hu)
    box = body_box(picture)
    top, left, bottom, right = box
    return resize_u8(picture[top:bottom, left:right], side, side), box


def slice_tensor(pictures: U8) -> Tensor:
    """(n, row, column) 8 bit -> (n, 3, row, column) float32 in -1..1; grey on all three channels, so that the
    paper's exchange of red and blue changes nothing."""
    grey = (torch.from_numpy(pictures).float() / 255 - 0.5) / 0.5
    return grey[:, None].expand(-1, 3, -1, -1)


class BiTCT:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        self._side = int(card.settings["side"])
        self._temperature, self.batch = card.settings["temperature"], BATCH
        self._device = torch.device(device)
        self._net = ready(load_state(BiTResNet50(len(card.classes)), card), self._device)
        self.ask: Pass = self._pass

    def predict(self, volume: VolumeInput) -> Prediction:
        """Heat of the decided class, or of the positive class that came nearest, on the slices that speak for it.

        Lesions on the key slices of a positive decision alone; they may reach out of the aerated lung, and say how
        much of them is in it.
        """
        numbers = lung_slices(volume)
        shown = [slice_picture(volume.voxels[n], self._side) for n in numbers]
        p, maps = self._judge(np.stack([picture for picture, _ in shown]))
        study = study_rule(p, self.card.threshold)
        explained = study.decided or 1 + int(np.argmax(study.scores[1:]))
        keys = np.argsort(-p[:, explained], kind="stable")[: min(study.top, MOST_KEY_SLICES)].tolist()
        heats = self._heats(volume, maps, [box for _, box in shown], explained, {*keys, *_speaking(p[:, explained])})
        return Prediction(
            model=self.card.identity,
            scores=self._scores(study),
            decided_class=self.card.classes[study.decided],
            rule=f"mean of the {study.top} highest p over {len(p)} slices with lung >= {self.card.threshold:g}",
            heat_class=self.card.classes[explained],
            details={"slices_judged": float(len(p)), "slices_averaged": float(study.top)},
            notes=_notes(volume, numbers, numbers[keys]),
            slices=tuple(
                _finding(volume, int(n), row, heats.get(place), _Weight(place in keys, study.decided != NEGATIVE))
                for place, (n, row) in enumerate(zip(numbers, p, strict=True))
            ),
        )

    def predict_slices(self, pictures: U8) -> NDArray[np.float64]:
        """(n, row, column) 8 bit, cropped and windowed already -> (n, class): for judging single slices."""
        return self._judge(np.stack([resize_u8(one, self._side, self._side) for one in pictures]))[0]

    def _judge(self, pictures: U8) -> tuple[NDArray[np.float64], Tensor]:
        """p (slice, class) and the last maps (slice, 2048, h, w), in batches of nearly the same size, so
        that no slice is left to go alone. The maps are kept (33 kB a slice at side 64), so that heat costs no second
        pass."""
        parts = np.array_split(pictures, -(-len(pictures) // self.batch))
        found = [self.ask(self._input(part)) for part in parts]
        logits = torch.cat([one.double().cpu() for one, _ in found])
        p = np.asarray((logits / self._temperature).softmax(1).numpy(), dtype=np.float64)
        return p, torch.cat([maps for _, maps in found])

    @torch.inference_mode()
    def _pass(self, x: Tensor) -> Outputs:
        """Logits (N, class) and last maps of (N, 3, side, side) in -1..1."""
        maps = self._net.maps(x)
        return self._net.judge(maps), maps

    def _input(self, pictures: U8) -> Tensor:
        return slice_tensor(pictures).to(self._device, memory_format=torch.channels_last)

    def _heats(
        self, volume: VolumeInput, maps: Tensor, boxes: Sequence[Box], class_index: int, places: Collection[int]
    ) -> dict[int, FloatImage]:
        """Place among the judged slices -> Grad-CAM put back into the slice (row, column); outside the crop it is 0."""
        rows, columns = volume.voxels.shape[1:]
        found: dict[int, FloatImage] = {}
        for some in np.array_split(sorted(places), -(-len(places) // self.batch)):
            small = patch_saliency.grad_cams(self._net.judge, maps[some.tolist()], class_index, self._side)
            found |= {int(n): in_film(one, boxes[n], (rows, columns)) for n, one in zip(some, small, strict=True)}
        return found

    def _scores(self, study: Study) -> tuple[ClassScore, ...]:
        return tuple(
            ClassScore(label, value, number == study.decided, self.card.threshold, code)
            for number, (label, value, code) in enumerate(
                zip(self.card.classes, study.scores, self.card.codes, strict=True)
            )
        )


@dataclass(frozen=True)
class _Weight:
    """What a slice has to do with the decision. positive: of the study."""

    key: bool
    positive: bool


def _speaking(p: NDArray[np.float64]) -> list[int]:
    """Places of the slices that by themselves say yes to the class that ``p`` (slice) is of."""
    return [int(place) for place in np.flatnonzero(p >= EXPLAINED_FROM)]


def _finding(
    volume: VolumeInput, number: int, p: NDArray[np.float64], heat: FloatImage | None, weight: _Weight
) -> SliceFinding:
    probabilities = tuple(float(np.clip(value, 0, 1)) for value in p)
    lesions: tuple[Lesion, ...] = ()
    if heat is not None and weight.key and weight.positive:
        lesions = find_lesions(heat, lung_mask(volume.voxels[number]), inside_alone=False)
    return SliceFinding(number, volume.slice_uids[number], probabilities, heat, lesions, weight.key)


def _notes(volume: VolumeInput, numbers: Numbers, keys: Numbers) -> tuple[str, ...]:
    """Sentences; slices are counted from 1, from the feet."""
    told = [f"Key slices, counted from the feet: {', '.join(str(number + 1) for number in keys)}."]
    if left_out := len(volume.voxels) - len(numbers):
        told.append(f"{left_out} of {len(volume.voxels)} slices show too little lung and were not judged.")
    if len(numbers) < FEWEST_TOP:
        told.append(f"The study score rests on {len(numbers)} slices only.")
    return tuple(told)
