"""From stored slices to Hounsfield units: order, rescale, padding, places, and every refusal in a sentence."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from node.core.errors import Refused
from node.pipeline.volume import AIR, LoadedSeries, load_series
from tests.films import uid
from tests.pipeline.slices import Scan, change, scan, stored, thorax


def loaded(data_sets: list[Dataset], folder: Path) -> LoadedSeries:
    return load_series([stored(ds, folder) for ds in data_sets])


def refused(data_sets: list[Dataset], folder: Path) -> str:
    with pytest.raises(Refused) as caught:
        loaded(data_sets, folder)
    return str(caught.value)


def with_repeats() -> list[Dataset]:
    """Six slices, and the third and fourth once more."""
    data_sets = [*scan(Scan()), *scan(Scan("again", "scan"))[2:4]]
    for ds in data_sets[6:]:
        ds.SeriesInstanceUID = data_sets[0].SeriesInstanceUID
    return data_sets


def test_the_voxels_are_those_that_were_scanned(tmp_path: Path) -> None:
    found = loaded(scan(Scan()), tmp_path)
    assert found.volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(found.volume.voxels, thorax(6))
    assert found.volume.spacing_mm == (5.0, 0.75, 0.75) and found.notes == ()
    assert found.volume.uid == uid("series", "scan")


@pytest.mark.parametrize("turned", [[1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, -1, 0]])
def test_slices_run_from_the_feet_to_the_head_whatever_their_order_and_their_normal(
    turned: list[float], tmp_path: Path
) -> None:
    """Supine, prone and mirrored: rows and columns stay as they are stored, places grow towards the head."""
    data_sets = scan(Scan(), ImageOrientationPatient=turned)
    uids = [ds.SOPInstanceUID for ds in data_sets]
    random.Random(666).shuffle(data_sets)
    found = loaded(data_sets, tmp_path)
    assert list(found.volume.slice_uids) == uids
    assert [item.header.SOPInstanceUID for item in found.slices] == uids
    np.testing.assert_array_equal(found.volume.voxels, thorax(6))


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    data_sets = scan(Scan())
    change(data_sets[3], RescaleSlope=2, RescaleIntercept=-1000)
    expected = thorax(6).astype(np.float32)
    expected[3] = np.maximum((expected[3] + 1024) * 2 - 1000, AIR)
    np.testing.assert_allclose(loaded(data_sets, tmp_path).volume.voxels, expected)


def test_padding_and_what_lies_below_air_become_air(tmp_path: Path) -> None:
    voxels = thorax(4)
    voxels[:, 0] = 976  # stored as 2000, which the header calls padding
    voxels[:, 1] = -3024  # outside the circle of reconstruction
    found = loaded(scan(Scan(voxels=voxels), PixelPaddingValue=2000), tmp_path)
    assert (found.volume.voxels[:, :2] == AIR).all()
    np.testing.assert_array_equal(found.volume.voxels[:, 2:], voxels[:, 2:])


def test_a_range_of_padding_is_padding(tmp_path: Path) -> None:
    voxels = thorax(4)
    voxels[:, 0, :3] = [976, 986, 987]  # stored as 2000, 2010, 2011
    found = loaded(scan(Scan(voxels=voxels), PixelPaddingValue=2010, PixelPaddingRangeLimit=2000), tmp_path)
    assert list(found.volume.voxels[0, 0, :3]) == [AIR, AIR, 987]


def test_a_place_is_used_once_and_the_rest_is_named(tmp_path: Path) -> None:
    data_sets = with_repeats()
    found = loaded(data_sets, tmp_path)
    assert list(found.volume.slice_uids) == [ds.SOPInstanceUID for ds in data_sets[:6]]
    assert [item.instance.sop_instance_uid for item in found.repeated] == [ds.SOPInstanceUID for ds in data_sets[6:]]
    assert "2 of the images are the same as another" in found.notes[0]


def test_two_stacks_at_the_same_places_are_refused_with_the_slice_named(tmp_path: Path) -> None:
    data_sets = with_repeats()
    changed = bytearray(data_sets[7].PixelData)
    changed[2000] ^= 1  # one grey level of one pixel
    data_sets[7].PixelData = bytes(changed)
    data_sets[7].InstanceNumber = 99
    said = refused(data_sets, tmp_path)
    assert said.startswith("Slice 6 of 8 from the feet (image number 99) lies where image number 3 does")
    assert said.endswith("there are two stacks in one series.")


def test_uneven_steps_are_told(tmp_path: Path) -> None:
    data_sets = scan(Scan(slices=8))
    data_sets[4].ImagePositionPatient = [-150, -150, -279]
    (note,) = loaded(data_sets, tmp_path).notes
    assert "the usual gap is 5.0 mm, the smallest 4.0 mm, the largest 6.0 mm" in note


def test_another_orientation_is_refused_whatever_the_rules_allow(tmp_path: Path) -> None:
    data_sets = scan(Scan())
    change(data_sets[1], ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    assert "Slice 2 of 6 from the feet (image number 5) has another orientation" in refused(data_sets, tmp_path)


def test_pixel_spacing_may_be_missing(tmp_path: Path) -> None:
    assert loaded(scan(Scan(), PixelSpacing=None), tmp_path).volume.spacing_mm is None


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"RescaleSlope": None}, "Hounsfield units are unknown"),
        ({"RescaleIntercept": None}, "Hounsfield units are unknown"),
        ({"RescaleSlope": 0}, "Hounsfield units are unknown"),
        ({"RescaleType": "US"}, "rescale type of the series is not HU"),
        ({"ImagePositionPatient": [0, 0, 7]}, "lie at 1 places"),
        ({"ImagePositionPatient": None}, "does not state its position"),
        ({"Rows": None}, "no Rows and Columns"),
        ({"RescaleSlope": "1e38"}, "no finite Hounsfield units"),
    ],
)
def test_what_gives_no_volume_is_refused(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    assert sentence in refused(scan(Scan(), **changes), tmp_path)


def test_another_matrix_is_refused(tmp_path: Path) -> None:
    data_sets = scan(Scan())
    change(data_sets[1], Rows=32, PixelData=data_sets[1].PixelData[: 32 * 64 * 2])
    assert "Slice 2 of 6 from the feet (image number 5) has another number of rows" in refused(data_sets, tmp_path)


def test_a_slice_that_cannot_be_decoded_is_named_by_its_number_alone(tmp_path: Path) -> None:
    data_sets = scan(Scan())
    data_sets[4].PixelData = b"\0\0"
    assert refused(data_sets, tmp_path) == "Slice 5 of 6 from the feet (image number 2) cannot be decoded."


def test_a_scan_too_large_is_refused_before_any_pixel_is_read(tmp_path: Path) -> None:
    assert "more than this node decodes" in refused(
        scan(Scan(), Rows=60000, Columns=60000, PixelData=b"\0\0"), tmp_path
    )


def test_a_real_slice_is_read_alike_in_every_lossless_syntax(data_folder: Path, tmp_path: Path) -> None:
    """Three places are made of one slice; air and tissue are where CT has them."""
    names = ("LittleEndianExplicit", "BigEndianExplicit", "JPEG2000LosslessOnly", "JPEGLSLossless", "RLELossless")
    files = {name: next((data_folder / "dicom").glob(f"CTImage.dcm_{name}Transfer*")) for name in names}
    volumes = {}
    for name, path in files.items():
        instances = []
        for number in range(3):
            ds = dcmread(path)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid("instance", f"{name} {number}")
            ds.ImagePositionPatient = [0, 0, 5 * number]
            instances.append(stored(ds, tmp_path))
        volumes[name] = load_series(instances).volume.voxels
    first = volumes.pop(names[0])
    assert first.min() == AIR and -100 < np.median(first[first > -500]) < 100  # fat and soft tissue
    for name, voxels in volumes.items():
        np.testing.assert_array_equal(voxels, first, err_msg=name)
