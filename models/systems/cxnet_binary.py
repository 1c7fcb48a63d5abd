"""The binary forms of COVID-CXNet (paper 004, 7.5 and 7.7): masked lungs, one output, normal against COVID-19.

``CXNetBinary`` is the DenseNet-121 with one output, ``CXNetBase`` the small base model. Both expose [1 - p, p], so that
heat for "normal" is that of the negated logit. Decision: COVID-19 when p reaches the card's threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.api import Card, FloatImage, ImageInput, LungField, Prediction
from models.explain import gradcam
from models.images.geometry import in_film
from models.nets.basemodel import BaseModel, two_classes
from models.nets.cxnet import CXNet
from models.systems import preparation
from models.systems.loading import load_state, ready
from models.systems.verdict import predict_with_heat
from models.together import Outputs, Pass


class CXNetBinary:
    def __init__(self, card: Card, device: str) -> None:
        if card.classes != ("normal", "covid19"):
            raise ValueError(f"{card.system} tells normal from covid19, its card names {card.classes}")
        self.card = card
        self._side = int(card.settings["side"])
        self._temperature = card.settings["temperature"]
        self._device = torch.device(device)
        self._net = ready(load_state(self._build(self._side), card), self._device)
        self.ask: Pass = self._pass

    def predict(self, image: ImageInput, lungs: LungField | None) -> Prediction:
        """RefusedInput without a lung field: the system judges the lungs alone."""
        seen = preparation.lungs_of(image, lungs, self._side, self.card.name)
        x = torch.from_numpy(preparation.as_tensor_array(preparation.cxnet_input(seen)))[None]
        x = x.to(self._device, memory_format=torch.channels_last)
        logits, maps = self.ask(x)
        p = (logits[0].double() / self._temperature).softmax(0).cpu().numpy()

        def heat(class_index: int) -> FloatImage:
            return in_film(gradcam.heat(self._judge, maps, class_index, self._side), seen.box, image.shape)

        decided = int(p[1] >= self.card.threshold)
        return predict_with_heat(self.card, p, decided, f"p(covid19) >= {self.card.threshold:g}", heat, lungs)

    def _judge(self, maps: Tensor) -> Tensor:
        """Logits (N, 2) of the last maps."""
        return two_classes(self._net.judge(maps))

    @torch.inference_mode()
    def _pass(self, x: Tensor) -> Outputs:
        """Logits (N, 2) and last maps of (N, 3, side, side) in 0..1."""
        maps = self._net.maps(x)
        return self._judge(maps), maps

    @staticmethod
    def _build(side: int) -> CXNet | BaseModel:
        return CXNet(1)


class CXNetBase(CXNetBinary):
    @staticmethod
    def _build(side: int) -> BaseModel:
        return BaseModel(1, side)
