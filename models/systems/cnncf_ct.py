"""CNNCF for CT (paper 000): the study as one picture of 300 channels, reduced to three, two stages, control gate.

The study is judged as a whole, so there is one probability for it and none for single slices. Its heat is in-plane
only: it is shown on one key slice, the middle of the group of 100 that had most effect on the class (the greatest sum
of |input x gradient| over the three reduced channels), and says nothing about the height at which a finding lies.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.api import Card, ClassScore, FloatImage, Prediction, SliceFinding, VolumeInput
from models.explain import gradcam
from models.explain.lesions import find_lesions
from models.images.geometry import resize_float
from models.images.intensity import U8
from models.images.volume import DEPTH, lung_mask, lung_slices, study_u8
from models.nets.cnncf import CNNCF, CTReduce, StageLogits
from models.systems.loading import load_state, ready
from models.together import Outputs, Pass

GROUPS = 3


class StudyNet(nn.Module):
    """(N, 300, S, S) in 0..1 -> both stages' logits, (N, K) each; S a multiple of 64."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        self.reduce = CTReduce(DEPTH, GROUPS)
        self.cnncf = CNNCF(classes, side)

    def forward(self, x: Tensor) -> StageLogits:
        out: StageLogits = self.cnncf(self.reduce(x))
        return out

    def forward_stage_one(self, x: Tensor) -> Tensor:
        """Phase 1 of training: the predictor alone, (N, K)."""
        return self.cnncf.forward_stage_one(self.reduce(x))


def study_tensor(studies: U8) -> Tensor:
    """(n, 300, side, side) 8 bit -> float32 in 0..1."""
    return torch.from_numpy(studies).float() / 255


def middle_slice(group: int, slices: int) -> int:
    """The slice of the source nearest to the middle of a group of the 300 resampled ones; all counted from 0."""
    middle = (group + 0.5) * DEPTH / GROUPS - 0.5
    return round(middle * (slices - 1) / (DEPTH - 1))


class CNNCFCT:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        self._side = int(card.settings["side"])
        self._temperature = card.settings["temperature"]
        self._device = torch.device(device)
        self._net = ready(load_state(StudyNet(len(card.classes), self._side), card), self._device)
        self._open = bool(self._net.cnncf.gate.is_open)
        self._stage = 1 if self._open else 0
        self._judge = self._net.cnncf.judge_two if self._open else self._net.cnncf.judge_one
        self.ask: Pass = self._pass

    def predict(self, volume: VolumeInput) -> Prediction:
        """Heat of the decided class when it is abnormal, else of COVID-19; lesions for an abnormal decision alone."""
        lung_slices(volume)
        x = study_tensor(study_u8(volume.voxels, self._side)[None])
        x = x.to(self._device, memory_format=torch.channels_last)
        *logits, maps = self.ask(x)
        stages = [(one[0].double() / self._temperature).softmax(0).cpu().tolist() for one in logits]
        p = [float(np.clip(value, 0, 1)) for value in stages[self._stage]]
        covid = self.card.classes.index("covid19")
        decided = covid if p[covid] >= self.card.threshold else 1 - covid
        details = {
            f"stage{n}.{c}": v for n, s in enumerate(stages, 1) for c, v in zip(self.card.classes, s, strict=True)
        }
        heat = gradcam.heat(self._judge, maps, covid, self._side)
        finding = self._finding(volume, self._strongest_group(x, covid), p, heat, decided == covid)
        return Prediction(
            model=self.card.identity,
            scores=tuple(
                ClassScore(label, value, number == decided, self.card.threshold, code)
                for number, (label, value, code) in enumerate(zip(self.card.classes, p, self.card.codes, strict=True))
            ),
            decided_class=self.card.classes[decided],
            rule=f"p(covid19) >= {self.card.threshold:g} in stage {'II' if self._open else 'I'}",
            heat_class="covid19",
            details={**details, "gate_open": float(self._open)},
            notes=self._notes(finding.index),
            slices=(finding,),
        )

    @torch.inference_mode()
    def _pass(self, x: Tensor) -> Outputs:
        """Logits (N, class) of both stages, and the map of the one that decides."""
        one, two = self._net.cnncf.maps(self._net.reduce(x))
        judged = self._net.cnncf.judge_one(one), self._net.cnncf.judge_two(two)
        return *judged, two if self._open else one

    def _finding(
        self, volume: VolumeInput, group: int, p: list[float], small: FloatImage, positive: bool
    ) -> SliceFinding:
        """The key slice, with the study's own probabilities. small: heat at the size of the network's input."""
        number = middle_slice(group, len(volume.voxels))
        heat = np.clip(resize_float(small, *volume.voxels.shape[1:]), 0, 1)
        lungs = lung_mask(volume.voxels[number])
        lesions = find_lesions(heat, lungs, inside_alone=False) if positive else ()
        return SliceFinding(number, volume.slice_uids[number], tuple(p), heat, lesions, key=True)

    def _strongest_group(self, x: Tensor, class_index: int) -> int:
        three = self._net.reduce(x).detach().requires_grad_(True)
        with torch.enable_grad():
            logit = self._net.cnncf(three)[self._stage][0, class_index]
            (slope,) = torch.autograd.grad(logit, three)
        return int((three * slope).detach().abs().sum((0, 2, 3)).argmax())

    def _notes(self, index: int) -> tuple[str, ...]:
        told = (
            f"The study was judged as a whole; the heat is in-plane only and is shown on slice {index + 1}, "
            "counted from the feet.",
        )
        return told if self._open else (*told, "The control gate is closed: Stage I decides.")
