"""The whole report as a picture of one page: a Secondary Capture (PS3.3 A.8.1), for whoever shows no SR.

It is also the last form in which a destination that takes no SR at all is told what came of an analysis.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.results import capture, common, pixels, sheet
from node.results.page_text import sheet as told
from node.results.record import AnalysisRecord, BuiltObject


def pages(record: AnalysisRecord) -> Iterator[BuiltObject]:
    yield page(record)


def page(record: AnalysisRecord) -> BuiltObject:
    """One page, of a refusal too. The sources it names are the images that its small pictures may be of."""
    pictured = list(_pictured(record))
    shown = [source for _, source in pictured]
    what = capture.Capture(
        sop_class=SecondaryCaptureImageStorage,
        uid=capture.picture_uid(record, "page"),
        series_uid=common.series_uid(record, "page"),
        series_number=common.series_number(record, "page"),
        number=common.document_number(record, "page"),
        description="AI report page",
        comment=f"{record.settings.model_name} {record.software_version}",
        sources=shown,
        conversion="SYN",
    )
    ds = capture.begun(record, record.source, what)
    capture.derived(ds, shown, "Report of an automated analysis as a page.", same_place=False)
    syntax = pixels.LOSSY if record.wanted.jpeg else pixels.LOSSLESS  # a seventh of the plain page
    pixels.put(ds, [sheet.draw(told(record))], syntax, [header for header, _ in pictured])
    return common.encode(ds, "page", syntax)


def _pictured(record: AnalysisRecord) -> Iterator[tuple[Dataset, Dataset]]:
    """Headers of films with heat and of key slices, as received and normalised."""
    for image in record.images:
        if any(p.heat is not None for p in image.predictions):
            yield image.header, image.source
    for outcome in record.series:
        for index in sorted({found.index for p in outcome.predictions for found in p.slices if found.key}):
            yield outcome.headers[index], outcome.sources[index]
