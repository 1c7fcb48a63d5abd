"""One site for the tests of a module that read: two patients, films, a CT in two encodings, colours, several frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.dicomweb.site import Site, site
from tests.films import MARKER, Film, drawn, encoded, uid, wrap
from tests.geometry.multiframe import enhanced
from tests.pipeline.slices import Scan, scan

ANNA = dataclasses.replace(
    MARKER, patient_id="P-ANNA", patient_name="Müller^Anna", accession_number="A1", birth_date="19500102"
)
TAROU = dataclasses.replace(MARKER, patient_id="P-TAROU", patient_name="Yamada^Tarou=山田^太郎", accession_number="A2")
SYNTAXES = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": str(ImplicitVRLittleEndian),
    "big": str(ExplicitVRBigEndian),
    "deflated": str(DeflatedExplicitVRLittleEndian),
    "rle": str(RLELossless),
    "jls": str(JPEGLSLossless),
    "j2k": str(JPEG2000Lossless),
}
LOSSY = str(JPEGBaseline8Bit)


def film_in(name: str) -> Dataset:
    """The same film in each transfer syntax, as series of one study."""
    return wrap(Film(drawn(1, 96), f"web {name}", study="web syntaxes", transfer_syntax=SYNTAXES[name], identity=ANNA))


def requested() -> Dataset:
    """A film with a request and a performed procedure step."""
    ds = wrap(Film(drawn(2, 64), "web requested", study="web request", identity=TAROU))
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = "STEP7", "PROC7"
    ds.RequestAttributesSequence = [item]
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = "20200102", "101500"
    return ds


def slices() -> list[Dataset]:
    return scan(Scan("web ct", voxels=_voxels(), identity=TAROU))


def _voxels() -> np.ndarray:
    base = np.linspace(-1000, 400, 40 * 48).reshape(40, 48)
    return np.stack([base + n for n in range(6)]).astype(np.int16)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("web")) as running:
        running.keep(*(encoded(film_in(name)) for name in SYNTAXES))
        lossy = wrap(Film((drawn(3, 96) >> 4).astype(np.uint8), "web lossy", study="web lossy", transfer_syntax=LOSSY))
        computed = wrap(
            Film(drawn(4, 64), "web cr", study="web cr", sop_class=ComputedRadiographyImageStorage, identity=TAROU)
        )
        running.keep(encoded(lossy), encoded(computed), encoded(requested()))
        running.keep(*(encoded(one) for one in slices()))
        running.keep(encoded(enhanced(scan(Scan("web enhanced", voxels=_voxels(), identity=TAROU)))))
        yield running


def instance(seed: str, study: str) -> str:
    return f"/studies/{uid('study', study)}/series/{uid('series', seed)}/instances/{uid('instance', seed)}"
