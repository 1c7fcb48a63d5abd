"""docs/deployment.md names files, settings and commands that exist.

Not covered: whether its steps suffice, since no engine, no systemd and no cluster runs here.
"""

from __future__ import annotations

import re
from types import MappingProxyType

import pytest

from node import cli
from tests.deploy.containers import DOCKER, ROOT, effective, nodes
from tests.deploy.test_kubernetes import FOLDER, KUSTOMIZATION

PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
VALUES = MappingProxyType(
    {
        "LUNGNODE_ANALYSIS_DEVICE": "cuda",
        "LUNGNODE_ARCHIVE_CACHE_BYTES": "20000000000",
        "LUNGNODE_ARCHIVE_URL": "s3://images/lungnode",
        "LUNGNODE_DATABASE_ARCHIVE": "/archive",
    }
)


def test_every_file_that_it_names_is_there() -> None:
    named = re.findall(r"\]\(([^)#]+)", PAGE) + [f"../{path}" for path in re.findall(r"\bdocker/[\w./@-]+\w", PAGE)]
    made = "docker/secrets"  # by secrets.sh
    assert len(named) > 10
    assert [path for path in named if made not in path and not (ROOT / "docs" / path).exists()] == []
    assert (DOCKER / "secrets.sh").exists() and (FOLDER / "network.yaml").exists()


def test_every_setting_and_command_that_it_names_exists() -> None:
    for name in re.findall(r"`(LUNGNODE_[A-Z_]+)[=`]", PAGE):
        if name == "LUNGNODE_DESTINATIONS":  # of Compose, which hands it on
            assert name in nodes("compose.yml")["lungnode"]["environment"]["LUNGNODE_DELIVERY_DESTINATIONS"]
        elif name != "LUNGNODE_SECTION_KEY":
            assert effective({name: VALUES[name]})
    for command in set(re.findall(r"\blungnode (tokens|status|backup|[a-z]+) (?:create|--data)", PAGE)):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0


def test_secrets_of_kubernetes_are_those_that_the_manifests_ask_for() -> None:
    text = "".join((FOLDER / name).read_text(encoding="utf-8") for name in KUSTOMIZATION["resources"])
    for kind, name in (("generic", "database"), ("tls", "web-tls")):
        assert f"create secret {kind} {name} " in PAGE
        assert re.search(rf"(secretKeyRef: {{name|secretName): {name}\b", text)
