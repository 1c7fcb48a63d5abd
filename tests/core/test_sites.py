"""The tables of [sites]: what is refused with a sentence, and what holds for the studies of each site.

Not covered: that a node keeps to it (tests/dimse/test_sites.py, tests/pipeline/test_by_site.py, tests/e2e).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from node.composition import auditing, routing
from node.core import settings
from node.core.errors import Misconfigured
from node.core.settings import Settings
from node.core.site import UnknownSite, of_nobody, of_site, site_called

TOML = """
[delivery]
destinations = ["OURS@127.0.0.1:104"]
[sites.north]
aets = ["NORTH", "NORTH2"]
destinations = ["NPACS@127.0.0.1:105"]
systems = ["cxnet"]
urgent = true
[sites.south]
aets = ["SOUTH"]
destinations = ["SPACS@127.0.0.1:106", "OURS@127.0.0.1:104"]
ct_systems = []
[destinations."NPACS@127.0.0.1:105"]
kinds = ["page"]
[destinations."EXTRA@127.0.0.1:107"]
kinds = ["summary"]
"""


def loaded(folder: Path, text: str) -> Settings:
    file = folder / "node.toml"
    file.write_text(text)
    return settings.load(file)


def test_each_site_has_its_own_destinations_and_systems(tmp_path: Path) -> None:
    whole = loaded(tmp_path, TOML)
    names = {site: [peer.name for peer in of_site(whole, site).peers] for site in ("", "north", "south")}
    assert names == {
        "": ["OURS@127.0.0.1:104", "EXTRA@127.0.0.1:107"],
        "north": ["NPACS@127.0.0.1:105"],
        "south": ["SPACS@127.0.0.1:106", "OURS@127.0.0.1:104"],
    }
    (north,) = of_site(whole, "north").peers
    assert north.objects is not None and north.objects.kinds == ("page",)
    assert of_site(whole, "north").analysis.systems == ("cxnet",)
    assert of_site(whole, "south").analysis.systems == whole.analysis.systems
    assert of_site(whole, "south").analysis.ct_systems == ()
    assert {peer.name for peer in whole.peers} == set().union(*names.values())
    assert not of_nobody(whole).peers
    with pytest.raises(UnknownSite, match="the site east, which the settings no longer name"):
        of_site(whole, "east")


def test_without_sites_everything_is_as_before(tmp_path: Path) -> None:
    usual = settings.load()
    assert of_site(usual, "") is usual and site_called(usual.sites, "ANY") is None
    registry = routing.open_registry()
    assert routing.node_key(routing.routes(usual, registry)) == routing.pipeline_key(usual, registry)


def test_an_ae_title_leads_to_its_site(tmp_path: Path) -> None:
    sites = loaded(tmp_path, TOML).sites
    assert [site_called(sites, aet) for aet in ("NORTH2", "SOUTH", "LUNGNODE", "ANY")] == ["north", "south", "", ""]


def test_routes_differ_where_systems_do_and_say_what_is_urgent(tmp_path: Path) -> None:
    found = routing.routes(loaded(tmp_path, TOML), routing.open_registry())
    assert len({route.pipeline_key for route in found.values()}) == 3
    assert {name: route.urgent for name, route in found.items()} == {"": False, "north": True, "south": False}
    with pytest.raises(Misconfigured, match=r"sites.a: no model nosuch is installed"):
        routing.routes(loaded(tmp_path, '[sites.a]\naets=["A"]\nsystems=["nosuch"]'), routing.open_registry())


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("[sites.a]", "needs aets"),
        ('[sites.a]\naets=["LUNGNODE"]', "'LUNGNODE' is that of the node itself"),
        ('[sites.a]\naets=["X"]\n[sites.b]\naets=["X"]', "'X' is that of the site a"),
        ('[sites.a]\naets=["SEVENTEEN_LETTERS"]', "1 to 16 printable characters"),
        ('[sites.a]\naets=["X "]', "1 to 16 printable characters"),
        ('[sites.a]\naets=["X"]\ncolour="red"', "knows no colour; known: aets"),
        ('[sites.a]\naets="X"', "is a list of texts"),
        ('[sites.a]\naets=["X"]\nurgent="yes"', "is true or false"),
        ('[sites.a]\naets=["X"]\nselection=1', "is a text"),
        ('[sites.a]\naets=["X"]\ndestinations=["here"]', "AET@HOST:PORT"),
        ('[sites.a]\naets=["X"]\ncalling_addresses=["ten"]', "names no network"),
        ('[sites.a]\naets=["X"]\nsystems=["cxnet", "cxnet"]', "names something twice"),
        ('[sites."../a"]\naets=["X"]', "letters, digits"),
    ],
)
def test_a_table_that_cannot_be_meant_refuses(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        loaded(tmp_path, text)
    assert sentence in str(refused.value)


def test_sites_travel_to_child_processes(tmp_path: Path) -> None:
    whole = loaded(tmp_path, TOML)
    assert settings.from_tree(json.loads(json.dumps(settings.as_tree(whole)))) == whole


def test_the_copy_of_a_site_s_rules_is_no_change_of_settings(tmp_path: Path) -> None:
    def tree(selection: str, aet: str = "X") -> dict[str, Any]:
        return {"sites": {"a": {"aets": [aet], "selection": selection}}}

    assert not auditing.changes(tree("/data/run/a.toml"), tree("rules.toml"))
    assert auditing.changes(tree("rules.toml"), tree("rules.toml", "Y"))
