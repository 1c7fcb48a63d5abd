"""The file of rules: what a site may change in it, and that whatever is not understood refuses to start.

What each shipped rule refuses is in tests/film and the tests of series; the page about them in tests/docs.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from node.core.errors import Misconfigured
from node.pipeline.objections import first_objection
from node.pipeline.rules import Rules, load
from tests.films import Film, drawn, wrap
from tests.pipeline.slices import change


def site(folder: Path, text: str) -> Rules:
    file = folder / "site.toml"
    file.write_text(text, encoding="utf-8")
    return load(file)


def objection(rules: Rules, **changes: object) -> tuple[str, str]:
    """(rule, sentence) of a film with these changes."""
    found = first_objection(change(wrap(Film(drawn(5, 96), "site")), **changes), rules.of("film"))
    return (found.rule, found.sentence) if found else ("", "")


def test_a_site_changes_a_limit_and_its_sentence_follows(tmp_path: Path) -> None:
    rules = site(tmp_path, "[image.age]\nyears = 21\n")
    assert objection(rules, PatientAge="020Y") == (
        "age", "The patient is younger than 21 years; the systems were trained on adults."
    )  # fmt: skip
    assert objection(load(), PatientAge="020Y") == ("", "")


def test_a_site_switches_a_rule_off_and_another_on(tmp_path: Path) -> None:
    rules = site(tmp_path, '[image.view]\ndoes = "nothing"\n[image.secondary-film]\ndoes = "leave-out"\n')
    lateral: dict[str, object] = {"ViewPosition": "LL", "ViewCodeSequence": None}
    assert objection(load(), **lateral)[0] == "view" and objection(rules, **lateral) == ("", "")
    secondary = {"ImageType": ["DERIVED", "SECONDARY"]}
    assert objection(load(), **secondary) == ("", "") and objection(rules, **secondary)[0] == "secondary-film"


OWN = """
[image.test-room]
for = ["film"]
test = "has-value"
attribute = "StationName"
values = ["test room"]
does = "leave-out"
sentence = "It was made in the test room."
"""


def test_a_rule_of_the_site_speaks_after_the_shipped_ones(tmp_path: Path) -> None:
    rules = site(tmp_path, OWN)
    assert objection(rules, StationName="TEST_ROOM") == ("test-room", "It was made in the test room.")
    assert objection(rules, StationName="TEST_ROOM", ViewPosition="LL")[0] == "view"
    assert objection(rules, StationName="ROOM 1") == ("", "")


def test_a_rule_with_another_test_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    text = '[image.view]\nfor = ["film"]\ntest = "says"\nattributes = ["ViewPosition"]\nwords = "other-part"\n'
    rules = site(tmp_path, text + 'does = "leave-out"\nsentence = "No."\n')
    assert objection(rules, ViewPosition="KNEE") == ("view", "No.")


def test_words_of_the_site(tmp_path: Path) -> None:
    rules = site(tmp_path, "[words]\nchest = ['klatka', 'płuc']\n")
    assert objection(rules, BodyPartExamined="KLATKA") == ("", "")
    assert objection(rules, BodyPartExamined="CHEST")[0] == "body-part"


def test_what_decides_results_changes_the_digest(tmp_path: Path) -> None:
    assert load().digest == load().digest == site(tmp_path, "").digest == site(tmp_path, "[image.age]\n").digest
    assert site(tmp_path, "[image.age]\nyears = 17\n").digest != load().digest


@pytest.mark.parametrize(
    "text, told",
    [
        ("[pictures.noise]\n", "pictures"),
        ("image = 3\n", "image"),
        ("[image]\nage = 3\n", "image.age is a table"),
        ("[image.age]\nyear = 3\n", "[image.age] knows no year"),
        ('[image.age]\nyears = "3"\n', "[image.age] years is a number"),
        ("[image.age]\nyears = true\n", "[image.age] years is a number"),
        ('[image.age]\ndoes = "shout"\n', "[image.age] does leave-out or say or nothing"),
        ('[image.age]\nfor = ["film", "mr"]\n', "[image.age] for"),
        ("[image.age]\nfor = []\n", "[image.age] for"),
        ('[image.age]\nsentence = "Too young"\n', "full stop"),
        ('[image.age]\nsentence = "{yeers} years."\n', "cannot tell {yeers}"),
        ('[image.age]\nsentence = "{years years."\n', "brace"),
        ('[image.age]\nsentence = "{0}."\n', "cannot tell {0}"),
        ('[image.view]\nattribute = "ViewPositon"\n', "no DICOM attribute: 'ViewPositon'"),
        ('[image.view]\nvalues = "PA"\n', "a list of texts"),
        ("[image.view]\nvalues = [1]\n", "a list of texts"),
        ('[image.view-described]\nonly_if_silent = ["View"]\n', "no DICOM attribute: 'View'"),
        ('[image.body-part]\nwords = "breast"\n', "names no entry of [words]: 'breast'"),
        ("[image.body-part]\nwords = ['chest']\n", "names no entry of [words]"),
        ("[image.body-part]\ntest = ['says']\n", "[image.body-part] test is one of"),
        ("[image.body-part]\ndoes = ['say']\n", "[image.body-part] does"),
        ("[image.body-part]\nwords = 3\n", "names no entry of [words]"),
        ("[image.thickness]\nleast = 20\n", "least is more than most"),
        ('[image.new]\ndoes = "say"\nsentence = "A."\n', "[image.new] test is one of"),
        ('[image.new]\ntest = "noise"\n', "[image.new] test is one of"),
        ('[image.new]\ntest = "says"\nattributes = ["Modality"]\ndoes = "say"\nsentence = "A."\n', "needs words"),
        ('[picture.noise]\nfor = ["film"]\n', "[picture.noise] knows no for"),
        ("[words]\nchest = '('\n", "chest is no regular expression"),
        ('[choice]\norder = ["chest", "size"]\n', "order names 'size'"),
        ("[choice]\nlimit = 3\n", "[choice] knows no limit"),
        ('[choice]\nsentence = "{why}."\n', "cannot tell {why}"),
        ('[choice.because]\nimages = "{most} images"\n', "cannot tell {most}"),
        ('[choice.because]\nsize = "larger"\n', "order names 'size'"),
        ('[image.age]\nsentence = "{years:q}."\n', "in the form 'q'"),
        ('[image.age]\nsentence = "{years!r}."\n', "in the form 'r'"),
        ('[choice.because]\nimages = "{best:s} images"\n', "in the form 's'"),
        ("[choice.because]\nimages = 3\n", "is a text"),
        ("[image.age\n", "not valid TOML"),
    ],
)
def test_what_is_not_understood_refuses_to_start(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as refused:
        site(tmp_path, text)
    assert told in str(refused.value) and "site.toml" in str(refused.value)


@pytest.mark.parametrize("attribute", ["PatientID", "PatientName", "InstitutionName", "ReferringPhysicianName",
                                       "RequestAttributesSequence.RequestedProcedureID", "PatientSex"])  # fmt: skip
@pytest.mark.parametrize("name", ["value", "kind"])
def test_a_sentence_repeats_nothing_that_identifies(attribute: str, name: str, tmp_path: Path) -> None:
    rule = f'[image.own]\nfor = ["film"]\ntest = "has-value"\nattribute = "{attribute}"\nvalues = ["x"]\ndoes = "say"\n'
    with pytest.raises(Misconfigured, match="could identify a person"):
        site(tmp_path, f'{rule}sentence = "It says {{{name}}}."\n')
    assert site(tmp_path, f'{rule}sentence = "It says so."\n')


def test_a_file_that_is_not_there_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"none\.toml"):
        load(tmp_path / "none.toml")


def test_shipped_rules_have_the_limits_that_code_relies_on() -> None:
    limits = {rule.name: rule.limits for rule in (*load().image, *load().picture, *load().series)}
    assert limits["age"]["years"] == 16.0 and 0 < float(str(limits["saturation"]["most_share"])) < 1
    assert all(math.isfinite(float(str(limits["thickness"][name]))) for name in ("least", "most"))
