"""COVID-CXNet, three classes (paper 004): masked lungs, BEASF + CLAHE + original, DenseNet-121, Grad-CAM.

The decided class is the most probable one. Heat is shown for the decided class when it is abnormal, else for COVID-19;
lesion centres are given only for an abnormal decision. ``superpixels`` explains the same class by LIME on request: it
asks the network about as many pictures as samples are wanted, which is too slow for every film.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.api import Card, FloatImage, ImageInput, LungField, Prediction
from models.explain import gradcam, lime
from models.explain.lime import Explained
from models.images.geometry import in_film
from models.images.intensity import U8
from models.nets.cxnet import CXNet
from models.systems import preparation
from models.systems.loading import load_state, ready
from models.systems.verdict import FIRST_SUSPECT, NORMAL, predict_with_heat
from models.together import Outputs, Pass


class CXNetSystem:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        self._side = int(card.settings["side"])
        self._temperature = card.settings["temperature"]
        self._device = torch.device(device)
        self._net = ready(load_state(CXNet(len(card.classes)), card), self._device)
        self.ask: Pass = self._pass

    def predict(self, image: ImageInput, lungs: LungField | None) -> Prediction:
        """RefusedInput without a lung field: the system judges the lung region alone."""
        seen = preparation.lungs_of(image, lungs, self._side, "COVID-CXNet")
        x = torch.from_numpy(preparation.as_tensor_array(preparation.cxnet_input(seen)))[None]
        x = x.to(self._device, memory_format=torch.channels_last)
        logits, maps = self.ask(x)
        p = self._probabilities(logits)[0]

        def heat(class_index: int) -> FloatImage:
            return in_film(gradcam.heat(self._net.judge, maps, class_index, self._side), seen.box, image.shape)

        decided = int(np.argmax(p))
        return predict_with_heat(self.card, p, decided, "the class with the highest probability", heat, lungs)

    def superpixels(self, image: ImageInput, lungs: LungField | None, samples: int = lime.SAMPLES) -> Explained:
        """Which superpixels carry the decided class, or COVID-19 when normal is decided (7.8).

        RefusedInput as of ``predict``.
        """
        seen = preparation.lungs_of(image, lungs, self._side, "COVID-CXNet")
        picture = preparation.cxnet_input(seen)
        p = self._of_pictures(picture[None])[0]
        decided = self.card.classes[int(np.argmax(p))]
        name = decided if decided != NORMAL else FIRST_SUSPECT
        asked = self.card.classes.index(name)
        pieces = lime.explain(picture, lambda batch: self._of_pictures(batch)[:, asked], samples=samples)
        return Explained(pieces, seen.box, name, float(p[asked]))

    def _of_pictures(self, pictures: U8) -> NDArray[np.float64]:
        """(n, side, side, 3) 8 bit -> (n, class)."""
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return self._probabilities(self._net(x.to(self._device, memory_format=torch.channels_last)))

    def _probabilities(self, logits: Tensor) -> NDArray[np.float64]:
        """(N, class) of both."""
        return np.asarray((logits.double() / self._temperature).softmax(1).cpu().numpy())

    @torch.inference_mode()
    def _pass(self, x: Tensor) -> Outputs:
        """Logits (N, class) and last maps of (N, 3, side, side) in 0..1."""
        maps = self._net.maps(x)
        return self._net.judge(maps), maps
