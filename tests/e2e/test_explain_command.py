"""``lungnode explain`` with the shipped weights: films of a stored study and of files, as pictures and numbers.

With few samples: that the pieces are the right ones is in tests/models (``test_lime``, ``test_pieces``). Whether they
make sense to a radiologist is judged by nobody here. The films are drawn.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from node import cli
from tests.e2e.conftest import QUICK, assert_no_marker
from tests.films import Film, drawn, encoded, uid, wrap, write
from tests.peers import Ran
from tests.sending import store
from tests.served import LungnodeProcess

FRONTAL = Film(drawn(3, 256), "explained", "to explain")
LATERAL = Film(drawn(4, 128), "lateral to explain", "to explain", view="LL")


def explain(*arguments: str | Path) -> Ran:
    """The command within this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["explain", "--samples", "20", *map(str, arguments)])
    return Ran(code, out.getvalue(), err.getvalue())


def test_a_stored_film_is_explained_and_the_lateral_one_says_why_not(tmp_path: Path) -> None:
    with LungnodeProcess("--workers", "0", settings=QUICK) as node:
        assert set(store(node.dicom_port, [encoded(wrap(film)) for film in (FRONTAL, LATERAL)])) == {0x0000}
        ran = explain(uid("study", "to explain"), "--data", node.data, "--out", tmp_path)
    assert ran.code == 1 and "only frontal films are analysed" in ran.out, ran.text
    stem = tmp_path / f"{FRONTAL.sop_instance_uid}.cxnet.lime"
    with Image.open(f"{stem}.png") as picture:
        assert min(picture.size) > 500
    told = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    assert told["model"]["system"] == "cxnet" and told["class"] in ("pneumonia", "covid19") and told["samples"] == 20
    weights = [abs(piece["weight"]) for piece in told["pieces"]]
    assert weights == sorted(weights, reverse=True) and weights[0] > 0
    assert all(0 <= piece["lung_share"] <= 1 for piece in told["pieces"])
    assert_no_marker(ran.text + json.dumps(told), "the explanation")
    assert len(list(tmp_path.iterdir())) == 2


def test_files_give_the_same_numbers_again(tmp_path: Path) -> None:
    path = write(wrap(FRONTAL), tmp_path)
    found = []
    for name in ("one", "two"):
        ran = explain("--files", path, "--out", tmp_path / name)
        assert ran.code == 0, ran.text
        (numbers,) = (tmp_path / name).glob("*.json")
        found.append(numbers.read_text(encoding="utf-8"))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--system", "two-step", "--files", "."), 2, "two-step cannot tell which pieces"),
        (("--system", "unet-lung", "--files", "."), 2, "no film classifier unet-lung"),
        (("--system", "cxnet-binary", "--files", "."), 2, "weights"),
        ((), 2, "explain needs STUDY_UID"),
    ],
)
def test_what_cannot_be_explained_is_said(
    arguments: tuple[str, ...], code: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(wrap(FRONTAL), tmp_path)
    ran = explain(*arguments)
    assert ran.code == code and sentence in ran.err, ran.text


def test_a_folder_without_a_film_is_said(tmp_path: Path) -> None:
    ran = explain("--files", tmp_path)
    assert ran.code == 1 and "no chest film" in ran.err
