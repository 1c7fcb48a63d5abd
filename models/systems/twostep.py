"""The two-step network (paper 002): normal, bacterial or viral; then, of a viral film, which virus.

Step 2 runs only when step 1 says viral (specification 5.4). The labels that exist know no kind of pneumonia and no
other virus than SARS-CoV-2, so the weights may hold step 1 alone: then its bacterial class is "pneumonia" of unknown
kind, its viral class is reported as COVID-19 with a note that says why, and step 2 is refused, never guessed. A card
with three classes is of step 1 alone, one with four of both steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.api import Card, FloatImage, ImageInput, LungField, Prediction, WeightsMismatch
from models.explain import gradcam
from models.images.geometry import in_film
from models.nets.twostep import TwoStepNet
from models.systems import preparation
from models.systems.loading import load_state, ready
from models.systems.verdict import predict_with_heat
from models.together import Outputs, Pass

Probabilities = NDArray[np.float64]
NORMAL, BACTERIAL, VIRAL = range(3)  # of step 1
NON_VIRAL, COVID, OTHER = range(3)  # of step 2
STEP_ONE, STEP_TWO = ("normal", "pneumonia", "viral"), ("non_viral", "covid19", "other_virus")
UNTRAINED = (
    "Step 2 (which virus) is not trained and refused; every viral film of the training of step 1 was a COVID-19 film, "
    "so its viral class is reported as COVID-19."
)
NOT_ASKED = "Step 2 did not run; the probability of the viral class is divided evenly between its two kinds."
CONFLICT = "Step 1 says viral and step 2 says not viral: reported as pneumonia."


class TwoSteps(nn.Module):
    """The weights file: ``step1.*`` and, when trained, ``step2.*``."""

    def __init__(self, second: bool) -> None:
        super().__init__()
        self.step1 = TwoStepNet(3)
        self.step2 = TwoStepNet(3) if second else None


@dataclass(frozen=True)
class Answer:
    """``p``: normal, pneumonia, COVID-19 and, where step 2 is trained, other virus; ``decided`` indexes it."""

    p: Probabilities
    decided: int
    one: Probabilities
    two: Probabilities | None = None  # None: step 2 did not run
    conflict: bool = False


def decide(one: Probabilities, second: Callable[[], Probabilities] | None) -> Answer:
    """The decision tree of the paper; ties go to the lower index. ``second`` is None where step 2 is not trained."""
    said = int(np.argmax(one))
    if second is None:
        return Answer(one, said, one)
    normal, bacterial, viral = one
    if said != VIRAL:
        return Answer(np.array((normal, bacterial, viral / 2, viral / 2)), said, one)
    two = second()
    joint = np.array((normal, bacterial + viral * two[NON_VIRAL], viral * two[COVID], viral * two[OTHER]))
    kind = int(np.argmax(two))
    return Answer(joint, {NON_VIRAL: 1, COVID: 2, OTHER: 3}[kind], one, two, kind == NON_VIRAL)


class TwoStepSystem:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        self._side = int(card.settings["side"])
        self._temperatures = (card.settings["temperature"], card.settings.get("temperature_step2", 1.0))
        self._device = torch.device(device)
        self._net = ready(_loaded(card), self._device)
        self.ask: Pass = self._step_one  # step 2, which few films need, is asked for one film at a time

    def predict(self, image: ImageInput, lungs: LungField | None) -> Prediction:
        """RefusedInput without a lung field: the system judges the lungs alone."""
        seen = preparation.lungs_of(image, lungs, self._side, "The two-step network")
        x = preparation.grey_batch(seen.picture[None]).to(self._device)
        trained = self._net.step2 is not None
        logits, maps = self.ask(x)
        seen_by = [maps]  # the last maps of each step that ran

        def step_two() -> Probabilities:
            logits, maps = self._step_two(x)
            seen_by.append(maps)
            return self._probabilities(1, logits)

        answer = decide(self._probabilities(0, logits), step_two if trained else None)

        def heat(class_index: int) -> FloatImage:
            step, logit = _explained(class_index, answer)
            net = (self._net.step1, self._net.step2)[step]
            assert net is not None
            return in_film(gradcam.heat(net.judge, seen_by[step], logit, self._side), seen.box, image.shape)

        rule = (
            "step 1, then step 2 when step 1 says viral"
            if trained
            else "the most probable class of step 1, whose viral class stands for COVID-19"
        )
        return predict_with_heat(
            self.card, answer.p, answer.decided, rule, heat, lungs, _details(answer), _notes(answer, trained)
        )

    def _probabilities(self, step: int, logits: Tensor) -> Probabilities:
        return np.asarray((logits[0].double() / self._temperatures[step]).softmax(0).cpu().numpy())

    def _step_one(self, x: Tensor) -> Outputs:
        return _logits_and_maps(self._net.step1, x)

    def _step_two(self, x: Tensor) -> Outputs:
        assert self._net.step2 is not None
        return _logits_and_maps(self._net.step2, x)


@torch.inference_mode()
def _logits_and_maps(net: TwoStepNet, x: Tensor) -> Outputs:
    maps = net.maps(x)
    return net.judge(maps), maps


def _loaded(card: Card) -> TwoSteps:
    try:
        return load_state(TwoSteps(second=len(card.classes) == 4), card)
    except RuntimeError as error:  # the keys of the file are not those of the classes
        raise WeightsMismatch(f"The weights of {card.system} do not hold the steps that its classes need.") from error


def _explained(class_index: int, answer: Answer) -> tuple[int, int]:
    """(step, logit) whose map explains a reported class: that of step 2 where it ran and knows the class."""
    if answer.two is None:
        return 0, min(class_index, VIRAL)
    if class_index >= 2:
        return 1, class_index - 1
    return (1, NON_VIRAL) if answer.conflict and class_index == 1 else (0, class_index)


def _details(answer: Answer) -> dict[str, float]:
    found = {f"step1.{name}": float(v) for name, v in zip(STEP_ONE, answer.one, strict=True)}
    if answer.two is not None:
        found |= {f"step2.{name}": float(v) for name, v in zip(STEP_TWO, answer.two, strict=True)}
    return found | {"step2_ran": float(answer.two is not None), "conflict": float(answer.conflict)}


def _notes(answer: Answer, trained: bool) -> tuple[str, ...]:
    if not trained:
        return (UNTRAINED,) if answer.decided == VIRAL else ()
    if answer.two is None:
        return (NOT_ASKED,)
    return (CONFLICT,) if answer.conflict else ()
