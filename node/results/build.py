"""All objects of one analysis, in the order in which they are delivered: the report, then the heat maps."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from node.results import sc, sr
from node.results.record import AnalysisRecord, BuiltObject


def build(record: AnalysisRecord) -> tuple[BuiltObject, ...]:
    """Always a report; a heat map for each system that explained itself. The same record gives the same bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks quote values
        return (sr.report(record), *_of_films(record), *_of_slices(record))


def _of_films(record: AnalysisRecord) -> Iterator[BuiltObject]:
    for number, outcome in enumerate(record.images, start=1):
        for prediction in outcome.predictions:
            if prediction.heat is not None:
                yield sc.heat_map(record, outcome, prediction, number)


def _of_slices(record: AnalysisRecord) -> Iterator[BuiltObject]:
    for outcome in record.series:
        for prediction in outcome.predictions:
            explained = [found for found in prediction.slices if found.heat is not None]
            for number, found in enumerate(explained, start=1):
                yield sc.slice_heat_map(record, outcome, prediction, found, number)
