"""Who may ask a running node: the first administrator, users and tokens by the command line while it runs, and that
commands which change something are told.

Not covered: what a session or a token may do in each case (tests/web); the pages.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from node.cli import main
from tests.films import Film, drawn, encoded, wrap
from tests.peers import LOOPBACK
from tests.sending import store
from tests.served import LungnodeProcess

READ = "/api/v1/results"
LOGIN_NEEDED = {"LUNGNODE_WEB_LOOPBACK_NEEDS_NO_LOGIN": "false"}


def entered(url: str, name: str, password: str) -> httpx.Client:
    client = httpx.Client(base_url=url, timeout=30)
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', client.get("/login").text))
    answered = client.post("/login", data={**fields, "name": name, "password": password})
    assert answered.status_code == 303, answered.text
    return client


def shown_once(ran: str) -> str:
    return ran.partition("shown once: ")[2].strip()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Commands in this process, beside the node, since there are many; what they say."""

    def run(*arguments: str, code: int = 0) -> str:
        assert main(arguments) == code, arguments
        return "".join(capsys.readouterr())

    return run


def told(data: Path, kind: str) -> list[dict[str, str]]:
    with closing(sqlite3.connect(data / "lungnode.sqlite")) as connection:
        rows = connection.execute("SELECT details, study_uid FROM audit_events WHERE kind = ? ORDER BY id", (kind,))
        return [{**json.loads(details), "study": study} for details, study in rows.fetchall()]


def test_users_and_tokens_of_a_node_that_runs(command: Callable[..., str]) -> None:
    with LungnodeProcess("--workers", "0", environment=LOGIN_NEEDED) as node:
        url, data = f"http://{LOOPBACK}:{node.http_port}", ("--data", str(node.data))
        (password,) = re.findall(r"admin with the password (\S+)", node.logged())
        assert password not in str(node.events()), "not in the log of events"
        assert httpx.get(f"{url}/health/ready").status_code == 200 and httpx.get(f"{url}/metrics").status_code == 401
        admin = entered(url, "admin", password)
        assert admin.get("/api/v1/audit").status_code == 200

        anna = shown_once(command("users", "add", "anna", "--roles", "reader", *data))
        client = entered(url, "anna", anna)
        assert [client.get(path).status_code for path in (READ, "/api/v1/audit", "/metrics")] == [200, 403, 200]
        command("users", "roles", "anna", "--roles", "auditor", *data)
        assert [client.get(path).status_code for path in (READ, "/api/v1/audit")] == [403, 200]
        assert "anna  auditor  by password  enabled" in command("users", "list", *data)
        token = shown_once(command("tokens", "create", "t", "--user", "anna", "--scopes", "figures", *data))
        header = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{url}/metrics", headers=header).status_code == 200
        command("users", "disable", "anna", *data)
        assert client.get("/api/v1/audit").status_code == 401
        assert httpx.get(f"{url}/metrics", headers=header).status_code == 401
        command("users", "enable", "anna", *data)
        assert httpx.get(f"{url}/metrics", headers=header).status_code == 200
        command("tokens", "revoke", "t", *data)
        assert httpx.get(f"{url}/metrics", headers=header).status_code == 401
        assert "t  anna  figures  revoked" in command("tokens", *data)
        again = shown_once(command("users", "passwd", "admin", *data))
        assert admin.get("/api/v1/audit").status_code == 401 and entered(url, "admin", again)

        for wrong in (
            ("users", "add", "anna", "--roles", "reader"), ("users", "add", "otto", "--roles", "king"),
            ("users", "add", "a b", "--roles", "reader"), ("users", "disable", "nobody"), ("users", "add", "otto"),
            ("tokens", "create", "t", "--user", "anna", "--scopes", "figures"), ("tokens", "revoke", "t"),
            ("tokens", "create", "u", "--user", "anna", "--scopes", "view"),
        ):  # fmt: skip
            assert command(*wrong, *data, code=2).startswith("lungnode: "), wrong
        changes = [one["changed"] for one in told(node.data, "account")]
        assert changes == [
            "the first user", "added", "roles", "token created", "disabled", "enabled", "token revoked", "password"
        ]  # fmt: skip
        kept = "".join(map(str, node.rows("SELECT * FROM users")[0])) + str(told(node.data, "account")) + node.logged()
        assert anna not in kept and again not in kept and token not in kept


def test_what_commands_change_is_told(tmp_path: Path, command: Callable[..., str]) -> None:
    film = Film(drawn(71, 96), "login pulled")
    with LungnodeProcess("--workers", "0") as node:
        assert store(node.dicom_port, [encoded(wrap(film))]) == [0]
        peer = f"LUNGNODE@{LOOPBACK}:{node.dicom_port}"
        command("pull", "--from", peer, "--data", str(tmp_path / "own"), film.study_uid)
        command("backup", "--data", str(node.data), "--to", str(tmp_path / "copy"))
        said = [{"command": f"backup --to {tmp_path / 'copy'}", "study": ""}]
        assert told(node.data, "command") == said == told(tmp_path / "copy", "command")
        assert "there was no user" not in node.logged() and node.http(READ)[0] == 200
    pulled = {"command": f"pull --from {peer} --method get", "study": film.study_uid}
    assert told(tmp_path / "own", "command") == [pulled]
    for _ in range(2):
        command("migrate", "--data", str(tmp_path / "new"))
    (migrated,) = told(tmp_path / "new", "command")
    assert re.fullmatch(r"migrate none \d{4}", migrated["command"])
