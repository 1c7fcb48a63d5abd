"""What a request shows of itself in its Authorization header: tokens, and passwords where they may be; and over which
connections secrets are taken at all.

Not covered: sessions (test_login). Machines other than this one are played by a proxy that names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from node.core.rights import ROLES, SCOPES
from node.db import accounts
from tests.web.door import PASSWORD, QUICK, READ, Door

WEB, AUDIT = "/dicom-web/studies", "/api/v1/audit"
PROXIED = {("web", "proxies"): ["127.0.0.1"]}
FAR = {"X-Forwarded-For": "10.1.2.3"}
FAR_SAFE = {**FAR, "X-Forwarded-Proto": "https"}


@pytest.fixture(scope="module")
def door(empty_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Door(empty_file, tmp_path_factory.mktemp("door")) as opened:
        yield opened


@pytest.fixture(scope="module")
def proxied(empty_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Door(empty_file, tmp_path_factory.mktemp("proxied"), PROXIED) as opened:
        yield opened


def ask(door: Door, path: str, secret: str, **headers: str) -> int:
    return httpx.get(door.url + path, headers={"Authorization": f"Bearer {secret}", **headers}).status_code


def test_a_token_may_what_it_names_and_its_user_may(door: Door) -> None:
    reader = door.user("reader", "reader")
    few = door.token(reader, "figures", "audit")
    assert [ask(door, path, few) for path in ("/api/v1/aggregate", READ, AUDIT)] == [200, 403, 403]
    with door.database.write() as session:
        accounts.set_roles(session, reader.id, ["auditor"])
    assert [ask(door, path, few) for path in ("/api/v1/aggregate", READ, AUDIT)] == [200, 403, 200]
    assert door.told("api")[-1][2] == "reader/of-reader", "the trail names the token"


def test_a_token_ends_when_it_expires_is_revoked_or_its_user_disabled(door: Door) -> None:
    users = [door.user(name, "reader") for name in ("expires", "revoked", "disabled")]
    tokens = [door.token(user, "view", days=1 if user.name == "expires" else 90) for user in users]
    assert [ask(door, READ, token) for token in tokens] == [200, 200, 200]
    with door.database.write() as session:
        assert accounts.revoke(session, "of-revoked", door.moment)
        accounts.disable(session, users[2].id, door.moment)
    assert [ask(door, READ, token) for token in tokens] == [200, 401, 401]
    door.pass_by(days=1)
    assert ask(door, READ, tokens[0]) == 401
    with door.database.write() as session:
        accounts.enable(session, users[2].id)
    assert ask(door, READ, tokens[2]) == 200


def test_a_token_that_is_not_valid_is_told_once_a_minute(door: Door) -> None:
    before = len(door.told("login"))
    assert [ask(door, READ, "lungnode_guess") for _ in range(5)] == [401] * 5
    assert len(door.told("login")) == before + 1 and door.told("login")[-1][1:3] == ("minor", "unknown token")


def test_what_is_wrong_in_the_header_is_not_made_good_by_a_session(door: Door) -> None:
    client = door.entered("both", "reader")
    assert client.get(READ).status_code == 200
    for header in ("Bearer wrong", "Bearer", "Digest a", "Basic !!", "Basic Zm9v", "nonsense"):
        answered = client.get(READ, headers={"Authorization": header})
        assert answered.status_code == 401 and "Bearer" in answered.headers["www-authenticate"], header


def test_a_password_in_the_header_is_for_dicomweb_alone(door: Door) -> None:
    door.user("pacs", "operator")
    assert httpx.get(door.url + WEB, auth=("pacs", PASSWORD)).json()["account"] == "pacs"
    assert httpx.get(door.url + WEB, auth=("pacs", PASSWORD)).status_code == 200, "remembered"
    assert httpx.get(door.url + READ, auth=("pacs", PASSWORD)).status_code == 401
    assert httpx.get(door.url + WEB, auth=("pacs", "wrong wrong wrong")).status_code == 401
    logins = [row[1:] for row in door.told("login") if row[2] == "pacs"]
    assert logins == [
        ("success", "pacs", {"way": "password"}),
        ("minor", "pacs", {"way": "password", "reason": "wrong"}),
    ]


@pytest.mark.parametrize("change", ["disabled", "another password"])
def test_a_password_that_is_remembered_is_forgotten_at_once(door: Door, change: str) -> None:
    name = f"known-{change.split()[0]}"
    user = door.user(name, "operator")
    assert httpx.get(door.url + WEB, auth=(name, PASSWORD)).status_code == 200
    with door.database.write() as session:
        if change == "disabled":
            accounts.disable(session, user.id, door.moment)
        else:
            accounts.set_password(session, user.id, QUICK.hash("another horse battery"))
    assert httpx.get(door.url + WEB, auth=(name, PASSWORD)).status_code == 401


def test_a_token_may_stand_where_a_client_knows_passwords_alone(door: Door) -> None:
    token = door.token(door.user("orthanc", "operator"), "store")
    assert httpx.post(door.url + WEB, auth=("anything", token)).json()["account"] == "orthanc/of-orthanc"
    assert httpx.get(door.url + WEB, auth=("anything", token)).status_code == 403


def test_a_password_in_the_header_is_not_guessed(door: Door) -> None:
    door.user("target", "operator")
    for _ in range(10):
        assert httpx.get(door.url + WEB, auth=("target", "wrong wrong wrong")).status_code == 401
    refused = httpx.get(door.url + WEB, auth=("target", PASSWORD))
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0


def test_a_browser_is_not_made_to_ask_for_a_password_in_a_box(door: Door) -> None:
    program, script = httpx.get(door.url + WEB), httpx.get(door.url + WEB, headers={"Sec-Fetch-Mode": "cors"})
    assert "Basic" in program.headers["www-authenticate"] and "Basic" not in script.headers["www-authenticate"]


def test_secrets_of_other_machines_are_taken_over_tls_alone(proxied: Door) -> None:
    token = proxied.token(proxied.user("anna", "reader"), "view")
    assert [ask(proxied, READ, token, **headers) for headers in ({}, FAR, FAR_SAFE)] == [200, 401, 200]
    plain, safe = proxied.client(**FAR), proxied.client(**FAR_SAFE)
    refused = proxied.log_in(plain, "anna")
    assert refused.status_code == 403 and "TLS" in refused.text
    page = safe.get("/login")
    assert page.headers["strict-transport-security"].startswith("max-age=")
    # httpx sends no Secure cookies to http:// as the proxy would
    jar = {"lungnode-login": page.headers["set-cookie"].partition("=")[2].partition(";")[0]}
    csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
    said = {"csrf": csrf, "name": "anna", "password": PASSWORD}
    given = httpx.post(f"{proxied.url}/login", data=said, headers=FAR_SAFE, cookies=jar).headers["set-cookie"]
    assert given.startswith("__Host-lungnode=") and "; Secure" in given
    session = {"__Host-lungnode": given.partition("=")[2].partition(";")[0]}
    assert httpx.get(proxied.url + READ, headers=FAR_SAFE, cookies=session).status_code == 200
    for name in ("__Host-lungnode", "lungnode"):  # whatever it is called
        in_the_clear = {name: session["__Host-lungnode"]}
        assert httpx.get(proxied.url + READ, headers=FAR, cookies=in_the_clear).status_code == 401


def test_secrets_are_taken_in_the_clear_where_the_settings_say_so(empty_file: Path, tmp_path: Path) -> None:
    with Door(empty_file, tmp_path, {**PROXIED, ("web", "plain_http"): True}) as door:
        token = door.token(door.user("anna", "reader"), "view")
        assert ask(door, READ, token, **FAR) == 200


def test_nobody_else_may_say_whose_request_it_is(door: Door, proxied: Door) -> None:
    ask(door, READ, "lungnode_a", **FAR)
    ask(proxied, READ, "lungnode_b", **FAR_SAFE)
    last = "SELECT address FROM audit_events WHERE kind = 'login' ORDER BY id DESC LIMIT 1"
    assert [one.rows(last)[0]["address"] for one in (door, proxied)] == ["127.0.0.1", "10.1.2.3"]


def test_every_role_is_made_of_rights_that_there_are_and_an_administrator_has_all() -> None:
    assert all(set(scopes) <= set(SCOPES) for scopes in ROLES.values()) and set(ROLES["admin"]) == set(SCOPES)
