"""Which of several CT series is taken: each point of the order decides where those before it do not, and says so.

Which series may be taken at all is in test_series.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset

from node.pipeline.rules import Rules, load
from node.pipeline.select import Selection, select_images
from tests.pipeline.slices import Scan, scan, stored

OTHER = "One CT series of a study is analysed and this is another: the one taken "
SILENT: dict[str, object] = {"BodyPartExamined": None, "SeriesDescription": None, "StudyDescription": None}


def chosen(folder: Path, *runs: list[Dataset], rules: Rules | None = None) -> tuple[int, str]:
    """(which of the series was taken, the sentence of the others)."""
    selection = select_images([stored(ds, folder) for run in runs for ds in run], rules=rules)
    (taken,) = selection.series
    uids = [run[0].SeriesInstanceUID for run in runs]
    (sentence,) = {left.reason for left in selection.left_out}
    assert {left.rule for left in selection.left_out} == {"choice"}
    assert "chosen of 2" in taken.reason
    return uids.index(taken.instances[0].series_instance_uid), sentence


def series(seed: str, slices: int = 6, step: float = 5.0, **changes: object) -> list[Dataset]:
    return scan(Scan(seed, "same", slices, step), **changes)


def test_the_one_that_names_the_chest(tmp_path: Path) -> None:
    found = chosen(tmp_path, series("a", 12, **SILENT), series("b"))
    assert found == (1, OTHER + "names the chest and this does not.")


def test_then_the_one_that_covers_more(tmp_path: Path) -> None:
    """30 mm with many thin slices lose against 45 mm with few."""
    found = chosen(tmp_path, series("a", 16, 2.0), series("b", 10, 5.0))
    assert found == (1, OTHER + "covers 45 mm of the body and this 30 mm.")


def test_more_than_the_lungs_is_no_merit(tmp_path: Path) -> None:
    """Both cover what is enough; the longer one has fewer images."""
    found = chosen(tmp_path, series("long", 45, 10.0), series("lungs", 60, 5.0))
    assert found == (1, OTHER + "has 60 images and this 45.")


def test_then_the_lung_kernel_then_the_thinner_then_the_lower_number(tmp_path: Path) -> None:
    """All cover 10 mm with as many images; each is better in one point alone."""
    lung = series("lung", ConvolutionKernel="B70f", SliceThickness=3, SeriesNumber=9)
    thin = series("thin", ConvolutionKernel="B30f", SliceThickness=2, SeriesNumber=8)
    first = series("first", ConvolutionKernel="B30f", SliceThickness=3, SeriesNumber=1)
    assert chosen(tmp_path, thin, lung) == (1, OTHER + "was reconstructed for the lung and this was not.")
    assert chosen(tmp_path, first, thin) == (1, OTHER + "has slices of 2 mm and this of 3 mm.")
    number = OTHER.replace("the one taken ", "") + "both serve alike and the one taken stands before it."
    assert chosen(tmp_path, series("later", SeriesNumber=5, SliceThickness=3), first) == (1, number)


def test_thinner_than_enough_is_no_merit(tmp_path: Path) -> None:
    found = chosen(
        tmp_path, series("thin", SliceThickness=0.5, SeriesNumber=7), series("one", SliceThickness=1, SeriesNumber=2)
    )
    assert found[0] == 1 and "stands before it" in found[1]


def test_a_site_may_prefer_series_without_contrast(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[choice]\norder = ["unenhanced", "images"]\n', encoding="utf-8")
    with_it, without = series("with", 9, ContrastBolusAgent="IOMERON"), series("without")
    assert chosen(tmp_path, with_it, without, rules=load(file)) == (
        1, OTHER + "was acquired without contrast medium and this with it."
    )  # fmt: skip
    assert chosen(tmp_path, with_it, without)[0] == 0, "the shipped order accepts all phases"


def test_contrast_is_said_of_the_series_that_is_taken(tmp_path: Path) -> None:
    selection = one(tmp_path, SeriesDescription="Thorax KM")
    (taken,) = selection.series
    assert taken.notes == ("The series was acquired with contrast medium, by its header.",)
    assert one(tmp_path, SeriesDescription="Thorax nativ").series[0].notes == ()


def test_a_site_may_refuse_contrast(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[image.contrast]\ndoes = "leave-out"\n', encoding="utf-8")
    selection = one(tmp_path, load(file), SeriesDescription="Thorax KM")
    assert {left.rule for left in selection.left_out} == {"contrast"} and not selection.series
    assert one(tmp_path, load(file), SeriesDescription="Thorax nativ").series


@pytest.mark.parametrize("slices, taken", [(4, True), (5, False)])
def test_too_many_images_are_left_out(slices: int, taken: bool, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text("[series.many-images]\nmost = 4\n", encoding="utf-8")
    selection = select_images([stored(ds, tmp_path) for ds in series("many", slices)], rules=load(file))
    assert bool(selection.series) == taken
    if not taken:
        assert {left.reason for left in selection.left_out} == {"The series has 5 CT images; at most 4 are read."}


def one(folder: Path, rules: Rules | None = None, **changes: object) -> Selection:
    return select_images([stored(ds, folder) for ds in series("one", **changes)], rules=rules)
