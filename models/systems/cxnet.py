"""COVID-CXNet, three classes (paper 004): masked lungs, BEASF + CLAHE + original, DenseNet-121, Grad-CAM.

The decided class is the most probable one. Heat is shown for the decided class when it is abnormal, else for COVID-19;
lesion centres are given only for an abnormal decision.
"""

from __future__ import annotations

import numpy as np
import torch

from models.api import Card, FloatImage, ImageInput, LungField, Prediction
from models.explain import gradcam
from models.images.geometry import in_film
from models.nets.cxnet import CXNet
from models.systems import preparation
from models.systems.loading import load_state, ready
from models.systems.verdict import predict_with_heat


class CXNetSystem:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        self._side = int(card.settings["side"])
        self._temperature = card.settings["temperature"]
        self._device = torch.device(device)
        self._net = ready(load_state(CXNet(len(card.classes)), card), self._device)
        self._view = gradcam.LogitView(self._net, lambda net, x: net(x))

    def predict(self, image: ImageInput, lungs: LungField | None) -> Prediction:
        """RefusedInput without a lung field: the system judges the lung region alone."""
        seen = preparation.lungs_of(image, lungs, self._side, "COVID-CXNet")
        x = torch.from_numpy(preparation.as_tensor_array(preparation.cxnet_input(seen)))[None]
        x = x.to(self._device, memory_format=torch.channels_last)
        with torch.inference_mode():
            p = (self._net(x)[0].double() / self._temperature).softmax(0).cpu().numpy()

        def heat(class_index: int) -> FloatImage:
            return in_film(gradcam.heat(self._view, "net.last_map", x, class_index), seen.box, image.shape)

        decided = int(np.argmax(p))
        return predict_with_heat(self.card, p, decided, "the class with the highest probability", heat, lungs)
