"""Docs that cannot fall behind: settings, commands, make targets. Does not judge whether the prose is good."""

import re
import tomllib
from pathlib import Path

from node import cli
from node.core.settings import KINDS
from node.db.queries import views
from node.dimse import commitment, contexts, find, retrieve, scu
from node.dimse.find import MODELS as FIND_MODELS
from node.dimse.retrieve import MODELS as RETRIEVE_MODELS
from node.dimse.status import STATUS
from node.results import codes
from tests.docs import (
    api_page,
    audit_page,
    conformance_page,
    logs_page,
    metrics_page,
    models_page,
    modules_page,
    selection_page,
)
from tests.docs.settings_page import PAGE, page

ROOT = Path(__file__).parents[2]


def test_configuration_page_is_written_from_the_defaults() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.docs.settings_page"


def test_models_page_is_written_from_the_cards() -> None:
    assert models_page.PAGE.read_text(encoding="utf-8") == models_page.page(), "run python -m tests.docs.models_page"


def test_modules_page_is_written_from_what_each_module_says_of_itself() -> None:
    assert [str(path) for path in modules_page.modules() if not modules_page.owns(path)] == [], "it has no docstring"
    assert modules_page.PAGE.read_text(encoding="utf-8") == modules_page.page(), "run python -m tests.docs.modules_page"


def test_selection_page_is_written_from_the_rules() -> None:
    assert selection_page.PAGE.read_text(encoding="utf-8") == selection_page.page(), (
        "run python -m tests.docs.selection_page"
    )


def test_api_page_is_written_from_its_openapi() -> None:
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "run python -m tests.docs.api_page"


def test_audit_page_is_written_from_the_kinds_of_events() -> None:
    assert audit_page.PAGE.read_text(encoding="utf-8") == audit_page.page(), "run python -m tests.docs.audit_page"


def test_metrics_page_is_written_from_the_metrics() -> None:
    assert metrics_page.PAGE.read_text(encoding="utf-8") == metrics_page.page(), "run python -m tests.docs.metrics_page"


def test_every_event_of_the_log_is_on_its_page() -> None:
    assert logs_page.unknown() == [], "give it a meaning in tests/docs/logs_text.py"
    assert [name for name in logs_page.MEANINGS if not logs_page.places(name)] == [], "no code says so"
    assert logs_page.PAGE.read_text(encoding="utf-8") == logs_page.page(), "run python -m tests.docs.logs_page"


def test_events_have_names_of_one_form_and_no_field_is_of_a_patient() -> None:
    kept = set().union(*(one.fields for one in logs_page.said()))
    assert len(kept) > 30 and not [field for field in kept if re.search("patient|name|birth|accession|value", field)]
    odd = [one.name for one in logs_page.said() if not re.fullmatch(r"[a-z]+\.([a-z_]+|\*)", one.name)]
    assert odd == []


def test_every_view_is_on_the_page_about_sql() -> None:
    written = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
    assert [name for name in views.VIEWS if f"| `{name}` |" not in written] == []


def test_conformance_statement_is_written_from_the_code() -> None:
    assert conformance_page.PAGE.read_text(encoding="utf-8") == conformance_page.page(), (
        "run python -m tests.docs.conformance_page"
    )


def test_conformance_statement_holds_every_class_syntax_status_and_private_concept() -> None:
    page = conformance_page.PAGE.read_text(encoding="utf-8")
    wanted = [*contexts.STORAGE, *contexts.TRANSFER_SYNTAXES, *FIND_MODELS, *RETRIEVE_MODELS]
    wanted += [f"0x{code:04X}" for _, code in STATUS] + [f"0x{code:04X}" for code in scu.MEANINGS]
    wanted += [code.value for code in vars(codes).values() if getattr(code, "scheme_designator", "") == codes.PRIVATE]
    for module in (commitment, find, retrieve):
        constants = {name: value for name, value in vars(module).items() if name.isupper() and type(value) is int}
        wanted += [f"0x{value:04X}" for value in constants.values() if value > 0xFF and value != retrieve.MOST]
    assert [one for one in wanted if one not in page] == []


def test_every_setting_has_a_meaning() -> None:
    for line in page().splitlines():
        if line.startswith("| `"):
            assert not line.endswith("|  |"), f"{line} says nothing"


def test_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = set(re.search(r"\{(.*?)\}", cli._parser().format_usage() + "{}")[1].split(",")) - {""}  # type: ignore[index]
    commands |= {"serve", "send", "status", "select", "query", "models", "train", "evaluate", "migrate", "demo"}
    commands |= {"retry", "backup"}
    for command in commands - {"worker"}:
        assert f"lungnode {command}" in readme, f"README does not mention lungnode {command}"


def test_readme_names_every_make_target() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^([a-z-]+):.*##", makefile, re.M):
        assert f"make {target}" in readme, f"README does not mention make {target}"


def test_every_picture_of_a_page_is_there_and_small() -> None:
    for path in (ROOT / "docs").glob("*.md"):
        for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / name).stat().st_size < 200_000, f"{path.name}: {name}"


def test_every_kind_of_object_is_on_the_page_of_viewers() -> None:
    written = (ROOT / "docs" / "viewers.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert f"| `{kind}`" in written, kind


def test_research_use_only_is_said_where_a_reader_starts() -> None:
    for name in ("README.md", "docs/models.md", "docs/viewers.md", "LICENSE"):
        assert "research use only" in (ROOT / name).read_text(encoding="utf-8").lower(), name


def test_operations_names_commands_settings_and_events_that_exist() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    commands = {word for word in re.findall(r"(?<!/)lungnode ([a-z]+)\b", text) if word != "status"}
    assert commands >= {"backup", "migrate", "retry", "destinations", "models", "pull"}
    modules = ("cli.py", "commands/models.py", "commands/query.py", "commands/audit.py", "commands/users.py")
    parsers = "".join((ROOT / "node" / name).read_text(encoding="utf-8") for name in modules)
    known = set(re.findall(r'add_parser\(\s*"(\w+)"', parsers))
    assert commands <= known
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "node").rglob("*.py"))
    events = re.findall(r"`([a-z]+\.(?:died|held|failed|rejected|away|not_\w+))`", text)
    assert [event for event in events if f'"{event}"' not in code] == []
    defaults = tomllib.loads((ROOT / "config" / "node.toml").read_text(encoding="utf-8"))
    named = [f"{section}.{key}" for section, key in re.findall(r"`(\w+)\.([a-z_]+)", text) if section in defaults]
    wrong = [name for name in named if name not in events and name.split(".")[1] not in defaults[name.split(".")[0]]]
    assert len(named) > 10 and wrong == []


def test_the_service_refuses_what_it_need_not_have() -> None:
    unit = (ROOT / "docker" / "lungnode.service").read_text(encoding="utf-8")
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for line in ("ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "UMask=0077"):
        assert f"\n{line}" in unit and line.partition("=")[0] in operations
