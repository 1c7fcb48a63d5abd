"""Precedence, types and refusals of the settings. Does not cover what the rooms do with them."""

from pathlib import Path

import pytest

from node.composition import routing
from node.core import settings
from node.core.errors import Misconfigured


def test_defaults_load_and_survive_a_child_process() -> None:
    effective = settings.load()
    assert effective.node.aet == "LUNGNODE"
    assert settings.from_tree(settings.as_tree(effective)) == effective


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[node]\naet = "FILE"\nworkers = 3\nhttp_port = 1\n')
    environment = {"LUNGNODE_NODE_AET": "ENV", "LUNGNODE_NODE_WORKERS": "4", "PATH": "/bin"}
    effective = settings.load(file, environment, {("node", "aet"): "FLAG", ("node", "workers"): None})
    assert (effective.node.aet, effective.node.workers, effective.node.http_port) == ("FLAG", 4, 1)
    assert effective.node.dicom_port == settings.load().node.dicom_port


def test_lists_come_from_the_environment_with_commas() -> None:
    environment = {
        "LUNGNODE_DELIVERY_DESTINATIONS": "A@one:104, B@[::1]:11113",
        "LUNGNODE_DELIVERY_BACKOFF_SECONDS": "1,2",
    }
    effective = settings.load(environment=environment)
    delivery = effective.delivery
    assert [(peer.aet, peer.host, peer.port) for peer in effective.peers] == [("A", "one", 104), ("B", "::1", 11113)]
    assert delivery.backoff_seconds == (1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[nod]\naet='X'\n", "unknown section"),
        ("[node]\naett='X'\n", "unknown key"),
        ("[node]\nworkers='two'\n", "node.workers"),
        ("[node]\nworkers=true\n", "node.workers"),
        ("[node]\nworkers=-1\n", "workers"),
        ("[node]\naet='SEVENTEEN LETTERS'\n", "AE title"),
        ("[node]\naet='BACK\\SLASH'\n", "AE title"),
        ("[node]\ndicom_port=70000\n", "dicom_port"),
        ("[delivery]\ndestinations=['PACS:104']\n", "AET@HOST:PORT"),
        ("[delivery]\ndestinations=['A@h:104','A@h:104']\n", "twice"),
        ("[delivery]\nbackoff_seconds=[]\n", "backoff_seconds"),
        ("[results]\ntimezone='CET'\n", "timezone"),
        ("[retention]\nremove_after_days=-1\n", "remove_after_days"),
        ("[retention]\nhigh_watermark_percent=70.0\n", "low_watermark_percent"),
        ("[retention]\nhigh_watermark_percent=100.0\n", "high_watermark_percent"),
        ("[retention]\nmax_percent_per_day=0\n", "max_percent_per_day"),
        ("[archive]\nurl='/srv/archive'\n", "s3://BUCKET/PREFIX"),
        ("[archive]\nurl='s3://key:secret@bucket/x'\n", "credentials are no part of it"),
        ("[archive]\nurl='s3://images'\nendpoint='store:9000'\n", "archive.endpoint"),
        ("[archive]\nurl='s3://images'\ncache_bytes=1\n", "archive.cache_bytes"),
        ("[archive]\nurl='s3://images'\n[database]\narchive='/srv'\n", "leave one of them empty"),
        ("[archive]\nurl='s3://images'\n[receive]\nmax_instance_bytes=9000000000\n", "max_instance_bytes"),
        ("[archive]\nurl='s3://images'\n[retention]\nhigh_watermark_percent=95.0\n", "is of a disk"),
        ("[priors]\nsource='PACS'\n", "AET@HOST:PORT"),
        ("[priors]\nmethod='push'\n", "get or move"),
        ("[priors]\nmost=0\n", "priors.most"),
        ("node = 3\n", "section"),
        ("[node\n", "TOML"),
    ],
)
def test_a_wrong_file_refuses_with_a_sentence(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "site.toml"
    file.write_text(text)
    with pytest.raises(Misconfigured, match=word):
        settings.load(file)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [("systems", ["cxnet", "cxnet"], "twice"), ("ct_systems", ["a", "a"], "twice"), ("device", "tpu", "device is")],
)
def test_settings_that_would_fail_on_every_study_refuse(key: str, value: object, word: str) -> None:
    with pytest.raises(Misconfigured, match=word):
        settings.load(flags={("analysis", key): value})


def test_models_of_the_wrong_kind_refuse_at_start() -> None:
    for key, value in (
        ("segmenter", "cxnet"),
        ("biomarkers", "cxnet"),
        ("systems", ["cnnrf"]),
        ("indicators", ["cxnet"]),
    ):
        with pytest.raises(Misconfigured, match="is a model for"):
            routing.pipeline_key(settings.load(flags={("analysis", key): value}), routing.open_registry())


def test_a_missing_file_and_a_mistyped_variable_refuse(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot read"):
        settings.load(tmp_path / "absent.toml")
    with pytest.raises(Misconfigured, match="LUNGNODE_NODE_AETT"):
        settings.load(environment={"LUNGNODE_NODE_AETT": "X"})
    with pytest.raises(Misconfigured, match="LUNGNODE_NODE_WORKERS"):
        settings.load(environment={"LUNGNODE_NODE_WORKERS": "many"})


def test_a_destination_may_have_a_table_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        '[delivery]\ndestinations = ["A@one:104", "B@two:104"]\n[objects]\njpeg = true\n'
        '[destinations."B@two:104"]\nkinds = ["page"]\n[destinations."C@three:104"]\ncharacter_set = "source"\n'
    )
    effective = settings.load(file)
    assert [peer.name for peer in effective.peers] == ["A@one:104", "B@two:104", "C@three:104"]
    usual, own, third = (peer.objects for peer in effective.peers)
    assert usual == effective.objects and usual is not None and usual.jpeg
    assert own is not None and own.kinds == ("page",) and own.jpeg
    assert third is not None and third.character_set == "source" and third.kinds == usual.kinds
    assert settings.from_tree(settings.as_tree(effective)) == effective


@pytest.mark.parametrize(
    "text",
    [
        '[objects]\nkinds = ["everything"]',
        '[destinations."A@one:104"]\nkind = ["page"]',
        '[destinations."A@one:104"]\nkinds = "page"',
        '[destinations."nobody"]\njpeg = true',
        "[destinations]\njpeg = true",
        '[objects]\ncharacter_set = "latin1"',
        '[objects]\nidentity_check = "mwl"',
    ],
)
def test_wrong_objects_refuse_to_start(text: str, tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(text)
    with pytest.raises(Misconfigured):
        settings.load(tmp_path / "node.toml")


def test_a_destination_s_name_is_how_it_is_written() -> None:
    """The ledger knows destinations by name alone."""
    for text in ("A@one:104", "A@[::1]:11113"):
        assert settings.Destination.parse(text).name == text


@pytest.mark.parametrize(
    "text",
    [
        '[delivery]\ndestinations = ["A@one:104"]\n[destinations."A@one:0104"]\nkinds = ["page"]',
        '[delivery]\ndestinations = ["A@one:104"]\n[destinations."A @one:104"]\njpeg = true',
        '[delivery]\ndestinations = ["A@one:104", "A@One:104"]',
        '[delivery]\ndestinations = ["A@one:104"]\n[tls]\ndestinations = ["A@one:00104"]',
    ],
)
def test_one_peer_is_written_in_one_way(text: str, tmp_path: Path) -> None:
    """Else it would be sent everything twice, or in the clear."""
    (tmp_path / "node.toml").write_text(text)
    with pytest.raises(Misconfigured, match="written"):
        settings.load(tmp_path / "node.toml")


@pytest.mark.parametrize("name", ["", " ", "a\\\\b", "two\\nlines", "x" * 65])
@pytest.mark.parametrize("key", ["manufacturer", "model_name", "device_serial_number"])
def test_what_names_our_equipment_is_a_dicom_text(key: str, name: str, tmp_path: Path) -> None:
    """Else no object of any study could be written."""
    (tmp_path / "node.toml").write_text(f'[results]\n{key} = "{name}"')
    with pytest.raises(Misconfigured, match=key):
        settings.load(tmp_path / "node.toml")
    (tmp_path / "node.toml").write_text(f'[results]\n{key} = "Universitätsklinik, Haus 4"')
    settings.load(tmp_path / "node.toml")
