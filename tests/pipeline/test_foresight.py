"""``lungnode rules``: what settings would make of files and of stored studies, in sentences that name what decided.

The command runs within this process, on a data folder without a node. Not covered: the rules of selection one by one
(tests/film, tests/pipeline/test_rules.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from node import cli
from node.core import settings
from node.folders import Folders
from tests.films import Film, drawn, uid, wrap, write
from tests.pipeline.test_by_site import receive
from tests.pipeline.waiting import Room

TOML = """
[receive]
require_called_aet = true
[sites.north]
aets = ["NORTH"]
destinations = ["NPACS@127.0.0.1:105"]
systems = ["cxnet"]
[sites.er]
aets = ["ER"]
destinations = ["NPACS@127.0.0.1:105"]
urgent = true
[destinations."NPACS@127.0.0.1:105"]
kinds = ["page"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "new.toml"
    file.write_text(TOML)
    return file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two studies that a node without sites received, and one of the site north."""
    folder = tmp_path / "data"
    (folder / "run").mkdir(parents=True)
    room = Room(folder)
    for name, site in (("plain", ""), ("northern", "north")):
        receive(room, name, site)
    receive(room, "lateral", "", view="LL")
    room.database.close()
    Folders(folder).write_worker_settings(settings.load())
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code = cli.main(["rules", *map(str, arguments)])
    found = capsys.readouterr()
    assert code == 0, found.err
    return found.out


def written(folder: Path, **film: object) -> Path:
    return write(wrap(Film(drawn(3, 128), "tried", **film)), folder)  # type: ignore[arg-type]


def test_a_file_for_a_site_is_told_everything_that_decides(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "try", written(tmp_path), "--config", config, "--called", "NORTH")
    assert out.startswith(uid("study", "tried"))
    for sentence in (
        "It belongs to the site north, by [sites.north] aets: it comes to NORTH.",
        "It is urgent: it holds films alone.",
        f"{uid('instance', 'tried')} would be analysed.",
        "Films are judged by cxnet, by [sites.north] systems.",
        "NPACS@127.0.0.1:105 is sent page, by [sites.north] destinations and"
        ' [destinations."NPACS@127.0.0.1:105"] kinds.',
    ):
        assert sentence in out


def test_what_is_left_out_names_its_rule(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "try", written(tmp_path, view="LL"), "--config", config, "--called", "ER")
    assert "would be left out, by the rule view: ViewPosition says LL" in out
    assert "It is urgent, by [sites.er] urgent." in out and "No system is asked; the report says why." in out


def test_an_ae_title_of_nobody_and_the_node_s_own(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = written(tmp_path)
    out = said(capsys, "try", film, "--config", config, "--called", "NOSUCH")
    assert "It is refused, by [receive] require_called_aet" in out
    out = said(capsys, "try", film, "--config", config)
    assert "It belongs to the node itself: no site answers to LUNGNODE." in out
    assert "Nobody is sent the results: [delivery] destinations names nobody." in out


def test_a_stored_study_is_of_the_site_that_its_row_names(
    data: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    northern = uid("study", "northern")
    out = said(capsys, "try", northern, "--data", data, "--config", config)
    assert "It belongs to the site north, which received it." in out and "by cxnet" in out
    assert "the site north, which the settings no longer name" in said(capsys, "try", northern, "--data", data)


def test_what_new_settings_would_change_is_told_for_each_study(
    data: Path, tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "compare", "--data", data, "--config", config)
    assert "1 of the newest 3 studies would change." in out and uid("study", "plain") not in out
    assert "now:  The study is of the site north, which the settings no longer name." in out
    assert "then: Films are judged by cxnet, by [sites.north] systems." in out
    (tmp_path / "rules.toml").write_text('[image.view]\ndoes = "nothing"\n')
    config.write_text(f'[analysis]\nselection = "{tmp_path / "rules.toml"}"\n')
    out = said(capsys, "compare", "--data", data, "--config", config, "--last", "2")
    assert "1 of the newest 2 studies would change." in out
    assert "now:  " in out and "by the rule view: ViewPosition says LL" in out
    same = tmp_path / "same.toml"
    same.write_text("")
    assert said(capsys, "compare", "--data", data, "--config", same) == "0 of the newest 3 studies would change.\n"


def test_bad_settings_and_unknown_studies_are_answered_with_a_sentence(
    data: Path, tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[sites.a]\naets = ["A"]\nsystems = ["nosuch"]\n')
    assert cli.main(["rules", "compare", "--data", str(data), "--config", str(config)]) == 2
    assert "sites.a: no model nosuch is installed" in capsys.readouterr().err
    assert cli.main(["rules", "try", "1.2.3", "--data", str(data)]) == 1
    assert "no study 1.2.3 is stored here" in capsys.readouterr().err
    assert cli.main(["rules", "try"]) == 2 and cli.main(["rules", "compare"]) == 2
    with pytest.raises(SystemExit):
        cli.main(["rules", "guess"])
