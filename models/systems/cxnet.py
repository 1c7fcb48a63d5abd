"""COVID-CXNet, three classes (paper 004): lung crop, BEASF + CLAHE + original, DenseNet-121, Grad-CAM.

The decided class is the most probable one. Heat is shown for the decided class when it is abnormal, else for COVID-19;
lesion centres are given only for an abnormal decision.
"""

from __future__ import annotations

import numpy as np
import torch

from models.api import Card, FloatImage, ImageInput, LungField, Prediction, RefusedInput
from models.explain import gradcam
from models.images.geometry import Box, resize_float
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
        if lungs is None or not lungs.mask.any():
            raise RefusedInput("COVID-CXNet judges the lung region, and no lung field was found.")
        picture, box = preparation.cxnet_input(preparation.film_u8(image), lungs.mask, self._side)
        x = torch.from_numpy(preparation.as_tensor_array(picture))[None]
        x = x.to(self._device, memory_format=torch.channels_last)
        with torch.inference_mode():
            p = (self._net(x)[0].double() / self._temperature).softmax(0).cpu().numpy()

        def heat(class_index: int) -> FloatImage:
            return _in_film(gradcam.heat(self._view, "net.last_map", x, class_index), box, image.shape)

        decided = int(np.argmax(p))
        return predict_with_heat(self.card, p, decided, "the class with the highest probability", heat, lungs)


def _in_film(heat: FloatImage, box: Box, shape: tuple[int, int]) -> FloatImage:
    """Heat of the crop (side, side) placed into the film; outside the crop it is 0."""
    top, left, bottom, right = box
    film = np.zeros(shape, np.float32)
    film[top:bottom, left:right] = np.clip(resize_float(heat, bottom - top, right - left), 0, 1)
    return film
