"""All objects of one analysis that a destination wants, in the order in which they are delivered."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

from node.results import keyobject, page, parametric, presentation, regions, rejection, sc, seg, sr, stack
from node.results.character_sets import UnencodableText
from node.results.record import AnalysisRecord, BuiltObject

Maker = Callable[[AnalysisRecord], Iterable[BuiltObject]]


def build(record: AnalysisRecord, say: Callable[[str], None] = lambda sentence: None) -> tuple[BuiltObject, ...]:
    """What ``record.wanted`` names. The same record gives the same bytes. ``say`` hears where the wish is not met."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks quote values
        try:
            return _made(record)
        except UnencodableText as error:
            say(f"Results are written in UTF-8, not in the character set of the study: {error}.")
            return _made(dataclasses.replace(record, wanted=dataclasses.replace(record.wanted, character_set="utf-8")))


def _made(record: AnalysisRecord) -> tuple[BuiltObject, ...]:
    made = [item for kind, make in MAKERS.items() if kind in record.wanted.kinds for item in make(record)]
    if "rejection-notes" in record.wanted.kinds:
        made += rejection.note(record, {item.sop_instance_uid for item in made})
    return tuple(made)


def _summary(record: AnalysisRecord) -> Iterator[BuiltObject]:
    yield sr.report(record)


MAKERS: Mapping[str, Maker] = {  # names as in ``objects.kinds`` of the settings
    "summary": _summary,
    "regions": regions.report,
    "heat-maps": sc.heat_maps,
    "heat-stacks": stack.stacks,
    "page": page.pages,
    "segmentations": seg.of_series,
    "film-segmentations": seg.of_films,
    "presentation-states": presentation.states,
    "key-images": keyobject.selection,
    "parametric-maps": parametric.maps,
}
