"""What compressed frames say of their size: read as decoders read it, and not believed where the header says otherwise.

Memory is that of this process; through the workers of a running node: tests/e2e/test_hostile_pixels.py. Not covered:
JPEG XL and MPEG, which no decoder here takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pydicom
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames

from node.core.errors import BadDataSet, LungnodeError
from node.pipeline.codestream import sizes
from node.pipeline.film import load_film
from tests.film.hostile_pixels import SIDE, boxed, hierarchical, jpeg, jpeg_2000, jpeg_ls, liars

BROKEN = "JPEG2000-embedded-sequence-delimiter.dcm"  # its stream is damaged on purpose
LIARS = liars()
LARGE = [name for name in LIARS if "000 x" in name or "65535" in name or "large" in name or "box" in name]


def compressed(folder: Path) -> Iterator[tuple[str, Dataset]]:
    for path in sorted(folder.rglob("*.dcm")):
        try:
            ds = dcmread(path)
            if "JPEG" in ds.file_meta.TransferSyntaxUID.name and "PixelData" in ds and path.name != BROKEN:
                yield path.name, ds
        except Exception:  # noqa: BLE001 - pydicom's folder holds files that are broken on purpose
            continue


def agree(folder: Path) -> int:
    """How many files there are whose frames all say what their header does."""
    count = 0
    for name, ds in compressed(folder):
        frames = generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1))
        assert {size for frame in frames for size in sizes(frame)} == {(ds.Rows, ds.Columns, ds.SamplesPerPixel)}, name
        count += 1
    return count


@pytest.mark.filterwarnings("ignore")
def test_the_files_that_pydicom_brings_say_what_their_headers_do() -> None:
    assert agree(Path(pydicom.__file__).parent / "data" / "test_files") > 20


def test_real_files_say_what_their_headers_do(data_folder: Path) -> None:
    assert agree(data_folder / "dicom") > 10


def test_sizes_are_rows_columns_and_components() -> None:
    assert list(sizes(jpeg(300, 200))) == [(200, 300, 1)]
    assert list(sizes(jpeg_ls(300, 200))) == [(200, 300, 1)]
    assert list(sizes(jpeg_2000(300, 200, 4))) == list(sizes(boxed(jpeg_2000(300, 200, 4)))) == [(200, 300, 4)]
    assert list(sizes(hierarchical(300, 200))) == [(SIDE, SIDE, 1), (200, 300, 1)]


@pytest.mark.parametrize("stream", [jpeg(9, 9), jpeg_2000(9, 9), boxed(jpeg_2000(9, 9)), jpeg_ls(9, 9)])
def test_a_stream_that_ends_anywhere_is_read_to_there(stream: bytes) -> None:
    whole = list(sizes(stream))
    for end in range(len(stream)):
        assert list(sizes(stream[:end])) in ([], whole)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LIARS)
def test_a_film_that_lies_is_refused_or_read_without_much_memory(name: str, tmp_path: Path) -> None:
    path, before = tmp_path / "film.dcm", psutil.Process().memory_info().rss
    LIARS[name].save_as(path, enforce_file_format=True)
    try:
        _, image = load_film(path)
        assert image.pixels.shape == (SIDE, SIDE)
        assert name not in LARGE
    except LungnodeError as error:
        assert name not in LARGE or (isinstance(error, BadDataSet) and "the header says 128 x 128" in str(error))
    assert psutil.Process().memory_info().rss - before < 100 << 20
