"""A system before which something is done, whatever it is asked: the one list of questions for whoever stands there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from models.api import Card, ImageInput, Lesion, LungField, Measured, Prediction, VolumeInput

Question = Callable[[Any], Any]  # system -> answer


class Forwarding(ABC):
    """Of any kind; it has the methods of all kinds (``models.api``), and its system those of its own."""

    card: Card

    def predict(self, given: ImageInput | VolumeInput, *lungs: LungField | None) -> Prediction:
        answer: Prediction = self._ask(lambda system: system.predict(given, *lungs))
        return answer

    def segment(self, image: ImageInput) -> LungField:
        answer: LungField = self._ask(lambda system: system.segment(image))
        return answer

    def measure(self, image: ImageInput, lesions: tuple[Lesion, ...]) -> Measured:
        answer: Measured = self._ask(lambda system: system.measure(image, lesions))
        return answer

    @abstractmethod
    def _ask(self, question: Question) -> Any:
        """Put the question to a system."""
