"""The tests' own tools, without the node: films are sound, senders send exactly what they were given, Orthanc keeps it.

A wrong tool would make every other test here worthless.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.bad_films import broken, unsuited
from tests.films import CR, DX, SC, Film, drawn, encoded, grey, jpeg_film, wrap, write
from tests.peers import Orthanc, Storescp, dciodvfy, dcmsend, storescu
from tests.sending import store

SYNTAXES = [
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEG2000Lossless, JPEGLSLossless,
]  # fmt: skip


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("sop_class", [DX, CR, SC])
def test_films_keep_to_their_definition(sop_class: str, photometric: str, tmp_path: Path) -> None:
    film = Film(drawn(1, 128), "sound", sop_class=sop_class, photometric=photometric)
    assert dciodvfy(write(wrap(film), tmp_path)) == []


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_films_hold_their_picture_in_every_syntax(syntax: str, tmp_path: Path) -> None:
    film = Film(drawn(1, 128), "syntax", transfer_syntax=syntax)
    read = pydicom.dcmread(write(wrap(film), tmp_path))
    assert read.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read.pixel_array, film.picture)


def test_a_jpeg_file_is_kept_as_it_is(sample_films: dict[str, Path]) -> None:
    path = sample_films["normal"]
    ds = jpeg_film(path, Film(grey(path), "kept"))
    assert ds.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert path.read_bytes() in ds.PixelData
    assert np.abs(ds.pixel_array.astype(int) - grey(path)).max() <= 4  # two decoders


def test_the_same_film_is_the_same_instance() -> None:
    first, second = (encoded(wrap(Film(drawn(4, 64), "same"))) for _ in range(2))
    assert first == second


def test_bad_films_are_what_they_claim() -> None:
    names = [bad.name for bad in broken(64)] + [case.name for case in unsuited(64)]
    assert len(names) == len(set(names)) >= 30


def test_every_sender_reaches_orthanc(orthanc: Orthanc, tmp_path: Path) -> None:
    films = [Film(drawn(5, 64), f"sender {n}", "senders") for n in range(3)]
    assert storescu(orthanc.dicom_port, [write(wrap(films[0]), tmp_path)]).code == 0
    assert dcmsend(orthanc.dicom_port, [write(wrap(films[1]), tmp_path)]).code == 0
    assert store(orthanc.dicom_port, [encoded(wrap(films[2]))]) == [0x0000]
    assert {ds.SOPInstanceUID for ds in orthanc.datasets(films[0].study_uid)} == {f.sop_instance_uid for f in films}


def test_encoded_bytes_arrive_as_they_are() -> None:
    instance = encoded(wrap(Film(drawn(6, 64), "exact")))
    with Storescp("+B") as peer:
        assert store(peer.port, [instance]) == [0x0000]
        (file,) = peer.files()
        assert file.read_bytes().endswith(instance.data_set)
