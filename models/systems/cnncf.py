"""CNNCF for X-ray (paper 000): masked lungs in pseudo-colour, two stages, control gate, Grad-CAM at Stage II.

With the gate open Stage II decides, else Stage I; both stages' probabilities are always reported. Decision: COVID-19
when its probability reaches the card's threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.api import Card, FloatImage, ImageInput, LungField, Prediction
from models.explain import gradcam
from models.images.geometry import in_film
from models.nets.cnncf import CNNCF
from models.systems import preparation
from models.systems.loading import load_state, ready
from models.systems.verdict import predict_with_heat
from models.together import Outputs, Pass


class CNNCFXray:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        self._side = int(card.settings["side"])
        self._temperature = card.settings["temperature"]
        self._device = torch.device(device)
        self._net = ready(load_state(CNNCF(len(card.classes), self._side), card), self._device)
        self._open = bool(self._net.gate.is_open)
        self._judge = self._net.judge_two if self._open else self._net.judge_one
        self.ask: Pass = self._pass

    def predict(self, image: ImageInput, lungs: LungField | None) -> Prediction:
        """RefusedInput without a lung field: the system judges the lungs alone."""
        seen = preparation.lungs_of(image, lungs, self._side, "CNNCF")
        x = torch.from_numpy(preparation.as_tensor_array(preparation.cnncf_input(seen)))[None]
        x = x.to(self._device, memory_format=torch.channels_last)
        one, two, maps = self.ask(x)
        scores = [(logits[0].double() / self._temperature).softmax(0).cpu().numpy() for logits in (one, two)]
        p = scores[1] if self._open else scores[0]
        covid = self.card.classes.index("covid19")
        decided = covid if p[covid] >= self.card.threshold else 1 - covid
        details = {
            f"stage{n}.{c}": float(v)
            for n, s in enumerate(scores, 1)
            for c, v in zip(self.card.classes, s, strict=True)
        }
        details["gate_open"] = float(self._open)

        def heat(class_index: int) -> FloatImage:
            return in_film(gradcam.heat(self._judge, maps, class_index, self._side), seen.box, image.shape)

        notes = () if self._open else ("The control gate is closed: Stage I decides.",)
        rule = f"p(covid19) >= {self.card.threshold:g} in stage {'II' if self._open else 'I'}"
        return predict_with_heat(self.card, p, decided, rule, heat, lungs, details, notes)

    @torch.inference_mode()
    def _pass(self, x: Tensor) -> Outputs:
        """Logits (N, class) of both stages, and the map of the one that decides."""
        one, two = self._net.maps(x)
        return self._net.judge_one(one), self._net.judge_two(two), two if self._open else one
