"""All objects of one analysis, in the order in which they are delivered: the report, then the heat maps."""

from __future__ import annotations

import warnings

from node.results import sc, sr
from node.results.record import AnalysisRecord, BuiltObject


def build(record: AnalysisRecord) -> tuple[BuiltObject, ...]:
    """Always a report; a heat map for each system that explained itself. The same record gives the same bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks quote values
        objects = [sr.report(record)]
        for number, outcome in enumerate(record.images, start=1):
            for prediction in outcome.predictions:
                if prediction.heat is not None:
                    objects.append(sc.heat_map(record, outcome, prediction, number))
    return tuple(objects)
