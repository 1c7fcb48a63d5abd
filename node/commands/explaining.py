"""``lungnode explain``: which pieces of each film of a study carry what one system says of it.

What the node would analyse is explained, by its own settings and rules; of every other film the sentence is told why
not. Nothing is stored in the node, and nothing of a person is shown, UIDs alone.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from models.api import FilmSystem, LungField, RefusedInput, Registry, WeightsMismatch
from node.commands import choosing
from node.commands.sending import files_under
from node.composition.routing import open_registry
from node.core.errors import Misconfigured, Refused
from node.core.study import StoredInstance
from node.pipeline.picture import look_at
from node.pipeline.trial import FILMS, Trial

NO_FILM = "there is no chest film to explain"


def stored(data: Path, study_uid: str, system: str, out: Path, samples: int) -> int:
    """The films of a study that the node holds."""
    return _explain(choosing.of_stored_study(data, study_uid), choosing.trial(data, None, None), system, out, samples)


def files(paths: Sequence[Path], system: str, out: Path, samples: int) -> int:
    """Films that nobody stores."""
    studies, _ = choosing.of_files(files_under(paths))
    instances = [instance for study in studies.values() for instance in study]
    return _explain(instances, choosing.trial(None, None, None), system, out, samples)


def _explain(instances: Sequence[StoredInstance], trial: Trial, system: str, out: Path, samples: int) -> int:
    """1 when a film was left out, or there was none."""
    films = [instance for instance in instances if instance.modality in FILMS and not instance.is_own_result]
    if not films:
        sys.stderr.write(f"lungnode: {NO_FILM}\n")
        return 1
    registry = open_registry()
    classifier = _classifier(registry, system, trial)
    said = trial.said(films)
    whole = True
    for film in films:
        try:
            if not said[film.sop_instance_uid].taken:
                raise Refused(said[film.sop_instance_uid].sentence)
            _one(film, registry, classifier, trial, out, samples)
        except (Refused, RefusedInput, WeightsMismatch) as error:
            sys.stdout.write(f"{film.sop_instance_uid}  {error}\n")
            whole = False
    return 0 if whole else 1


def _classifier(registry: Registry, system: str, trial: Trial) -> FilmSystem:
    """Misconfigured where the system is none, has no weights or cannot explain itself so."""
    cards = [card.system for card in trial.cards if card.kind == "film"]
    if system not in cards:
        raise Misconfigured(f"there is no film classifier {system}; there are {', '.join(cards)}")
    try:
        found = registry.load_film_system(system, trial.analysis.device)
    except WeightsMismatch as error:
        raise Misconfigured(str(error)) from error
    able: bool = isinstance(found, importlib.import_module("models.evaluation.pieces").ExplainsByPieces)
    if not able:
        raise Misconfigured(f"{system} cannot tell which pieces of a film it goes by; cxnet can")
    return found


def _one(
    film: StoredInstance, registry: Registry, classifier: FilmSystem, trial: Trial, out: Path, samples: int
) -> None:
    image = look_at(film, silent=False).image
    lungs: LungField = registry.load_segmenter(trial.analysis.segmenter, trial.analysis.device).segment(image)
    pieces = importlib.import_module("models.evaluation.pieces")
    sys.stdout.write(f"{pieces.write(classifier, image, lungs, out, samples)}\n")
