"""One film or one CT series through the models: load -> segment -> predict -> ensemble -> indicators.

It knows no database and writes nothing. A system that refuses, or whose weights are not there, becomes a
``SystemRefusal`` with its sentence; only when no classifier gives an answer is the image itself refused.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom import Dataset

from models.api import (
    ImageInput,
    Lesion,
    LungField,
    Measured,
    ModelIdentity,
    Prediction,
    RefusedInput,
    Registry,
    VolumeField,
    VolumeInput,
    WeightsMismatch,
)
from node.core.settings import Analysis
from node.pipeline import ensemble, picture
from node.pipeline.age import OfAge
from node.pipeline.objections import age_years, first_objection, remarks
from node.pipeline.rules import Rules, load
from node.pipeline.select import Taken, TakenSeries
from node.pipeline.traces import Moment
from node.pipeline.volume import Slice, load_series
from node.results.record import ImageOutcome, SeriesOutcome, SystemRefusal

MEASURED_CLASS = "covid19"  # indicators are predicted from the foci of this class alone
NOBODY = "No system that judges such images is configured."
NO_FOCUS = "No classifier marked a focus of COVID-19, so there is nothing to measure."


@dataclass
class Stages:
    """Seconds spent by stage, and each time that one was gone through."""

    seconds: dict[str, float] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - begun
            self.seconds[name] = round(self.seconds.get(name, 0.0) + took, 4)
            self.moments.append(Moment(name, begun - self.began, took))


@dataclass(frozen=True)
class Judge:
    """``version``: of the node, which is that of its ensemble. ``rules``: the shipped ones where none are given."""

    registry: Registry
    settings: Analysis
    version: str
    rules: Rules = field(default_factory=load)

    def film(self, taken: Taken, stages: Stages, earlier: Sequence[ImageOutcome] = ()) -> ImageOutcome:
        """``earlier``: films of the study that were judged before. Raises Refused or RefusedInput when no classifier
        can judge the film."""
        with stages.timed("load"):
            look = picture.look_at(taken.instance, taken.needs_pixel_check, earlier)
            if objection := first_objection(look, self.rules.picture):
                raise RefusedInput(objection.sentence)
        notes = (*look.notes, *taken.notes, *remarks(look, self.rules.picture))
        return self._of_age(look.header)._film(look.header, look.image, notes, stages)

    def _of_age(self, header: Dataset) -> Judge:
        """The judge of one patient: a system made for older ones refuses."""
        return dataclasses.replace(self, registry=OfAge(self.registry, age_years(header)))

    def _film(self, header: Dataset, image: ImageInput, notes: tuple[str, ...], stages: Stages) -> ImageOutcome:
        with stages.timed("segment"):
            lungs, refusals = self._lungs(image)
        with stages.timed("biomarkers"):
            measured, unseen = self._measured(image, lungs)
        refusals += unseen
        predictions, refused = self._predictions(
            self.settings.systems, lambda system: self._film_system(system, image, lungs), stages
        )
        predictions = [dataclasses.replace(answer, notes=(*notes, *answer.notes)) for answer in predictions]
        refusals += refused
        _check_judged(predictions, refusals)
        indicators, unmeasured = self._indicators(image, predictions, stages)
        mean, no_mean = self._mean(predictions)
        return ImageOutcome(
            header,
            image,
            lungs,
            (*predictions, *mean),
            (*refusals, *no_mean, *unmeasured),
            tuple(indicators),
            (Measured(measured.model, measured.quantities, measured.notes),) if measured else (),
            measured if measured and measured.heart is not None and measured.heart_is_whole else None,
        )

    def series(self, taken: TakenSeries, stages: Stages) -> tuple[SeriesOutcome, tuple[Slice, ...]]:
        """(the outcome; slices that repeat another one). Raises as ``film`` does."""
        with stages.timed("load"):
            loaded = load_series(taken.instances)
            given = loaded.turn.volume(loaded.volume)
        judge = self._of_age(loaded.slices[0].header)
        predictions, refusals = self._predictions(
            self.settings.ct_systems, lambda system: judge._ct_system(system, given), stages
        )
        _check_judged(predictions, refusals)
        with stages.timed("segment"):
            lungs, unseen = self._volume_lungs(given)
        rows, columns = loaded.volume.voxels.shape[1:]
        predictions = [loaded.turn.back(answer, (rows, columns)) for answer in predictions]
        mean, no_mean = self._mean(predictions)
        outcome = SeriesOutcome(
            headers=tuple(item.header for item in loaded.slices),
            volume=loaded.volume,
            predictions=(*predictions, *mean),
            refusals=(*refusals, *unseen, *no_mean),
            notes=(*loaded.notes, *taken.notes),
            lungs=loaded.turn.lungs_back(lungs) if lungs else None,
        )
        return outcome, loaded.repeated

    def _film_system(self, system: str, image: ImageInput, lungs: LungField | None) -> Prediction:
        return self.registry.load_film_system(system, self.settings.device).predict(image, lungs)

    def _ct_system(self, system: str, volume: VolumeInput) -> Prediction:
        return self.registry.load_ct_system(system, self.settings.device).predict(volume)

    def _lungs(self, image: ImageInput) -> tuple[LungField | None, list[SystemRefusal]]:
        system = self.settings.segmenter
        try:
            return self.registry.load_segmenter(system, self.settings.device).segment(image), []
        except (RefusedInput, WeightsMismatch) as error:
            return None, [SystemRefusal(system, str(error))]

    def _measured(self, image: ImageInput, lungs: LungField | None) -> tuple[LungField | None, list[SystemRefusal]]:
        """Heart and lungs with their numbers, of the segmenter itself or of another one that measures them."""
        system = self.settings.biomarkers
        if not system:
            return None, []
        if lungs is not None and lungs.model.system == system:
            return lungs, []
        try:
            return self.registry.load_segmenter(system, self.settings.device).segment(image), []
        except (RefusedInput, WeightsMismatch) as error:
            return None, [SystemRefusal(system, str(error), self._model(system))]

    def _volume_lungs(self, volume: VolumeInput) -> tuple[VolumeField | None, list[SystemRefusal]]:
        segmenter = self.registry.volume_segmenter()
        try:
            return segmenter.segment(volume), []
        except RefusedInput as error:
            return None, [SystemRefusal(segmenter.identity.system, str(error), segmenter.identity)]

    def _predictions(
        self, systems: Sequence[str], predict: Callable[[str], Prediction], stages: Stages
    ) -> tuple[list[Prediction], list[SystemRefusal]]:
        """Every system's answer or refusal, in the order of the settings."""
        predictions, refusals = [], []
        for system in systems:
            with stages.timed(f"model.{system}"):
                try:
                    predictions.append(predict(system))
                except (RefusedInput, WeightsMismatch) as error:
                    refusals.append(SystemRefusal(system, str(error), self._model(system)))
        return predictions, refusals

    def _mean(self, predictions: Sequence[Prediction]) -> tuple[list[Prediction], list[SystemRefusal]]:
        """One prediction more, where two or more systems answered; a sentence where their classes have no mean."""
        if not self.settings.ensemble or len(predictions) < 2:
            return [], []
        mean = ensemble.mean_of(predictions, self.version)
        if mean is None:
            return [], [SystemRefusal(ensemble.SYSTEM, ensemble.NOTHING_COMMON, nothing_to_judge=True)]
        return [mean], []

    def _indicators(
        self, image: ImageInput, predictions: Sequence[Prediction], stages: Stages
    ) -> tuple[list[Measured], list[SystemRefusal]]:
        """Numbers from the foci of every classifier that decided for COVID-19."""
        lesions = tuple(lesion for p in predictions if p.decided_class == MEASURED_CLASS for lesion in p.lesions)
        measured, refusals = [], []
        for system in self.settings.indicators:
            with stages.timed(f"model.{system}"):
                answer = self._measure(system, image, lesions)
            if isinstance(answer, Measured):
                measured.append(answer)
            else:
                refusals.append(answer)
        return measured, refusals

    def _measure(self, system: str, image: ImageInput, lesions: tuple[Lesion, ...]) -> Measured | SystemRefusal:
        """Weights that are not there are said even where there is nothing to measure."""
        try:
            loaded = self.registry.load_indicator_system(system, self.settings.device)
            if not lesions:
                return SystemRefusal(system, NO_FOCUS, self._model(system), nothing_to_judge=True)
            return loaded.measure(image, lesions)
        except (RefusedInput, WeightsMismatch) as error:
            return SystemRefusal(system, str(error), self._model(system))

    def _model(self, system: str) -> ModelIdentity | None:
        return next((card.identity for card in self.registry.cards() if card.system == system), None)


def _check_judged(predictions: Sequence[Prediction], refusals: Sequence[SystemRefusal]) -> None:
    if not predictions:
        raise RefusedInput(" ".join(dict.fromkeys(refusal.reason for refusal in refusals)) or NOBODY)
