"""Login by password: sessions, where they begin and end, forms of other sites, how often a password may be wrong, and
who asks from this machine.

Not covered: how the pages look in a browser; OpenID Connect (test_oidc); tokens (test_tokens).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher, Type
from sqlalchemy import text

from node.core.errors import Misconfigured
from node.db import accounts
from node.web.auth import passwords
from node.web.auth.attempts import Attempts
from node.web.auth.login import local
from tests.web.door import HASH, PASSWORD, READ, Door

OURS = passwords.HASHER  # before ``conftest`` puts a quick one in its place
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HERE = {("web", "loopback_needs_no_login"): True}


@pytest.fixture
def door(empty_file: Path, tmp_path: Path) -> Iterator[Door]:
    with Door(empty_file, tmp_path / "door") as opened:
        yield opened


@pytest.fixture
def open_here(empty_file: Path, tmp_path: Path) -> Iterator[Door]:
    with Door(empty_file, tmp_path / "here", HERE) as opened:
        yield opened


def test_a_login_opens_what_the_roles_allow_and_a_logout_closes_it(door: Door) -> None:
    client = door.entered("anna", "reader")
    assert client.get(READ).status_code == 200
    refused = client.get("/api/v1/audit")
    assert refused.status_code == 403 and "audit" in refused.json()["detail"]
    assert client.post("/logout", data={"csrf": door.csrf(client)}).headers["location"] == "/login"
    assert client.get(READ).status_code == 401
    assert door.rows("SELECT * FROM sessions") == []
    assert [row[:3] for row in door.told("login", "logout")] == [
        ("login", "success", "anna"),
        ("logout", "success", "anna"),
    ]


def test_people_are_led_to_the_login_and_back(door: Door) -> None:
    door.user("anna", "reader")
    client = door.client(Accept="text/html")
    asked = client.get(f"{READ}?study=1.2")
    assert asked.status_code == 303 and asked.headers["location"] == "/login?next=/api/v1/results%3Fstudy%3D1.2"
    refused = door.log_in(client, "anna", "wrong wrong wrong", f"{READ}?study=1.2")
    assert refused.status_code == 403 and f'value="{READ}?study=1.2"' in refused.text
    answered = door.log_in(client, "anna", next_page=f"{READ}?study=1.2")
    assert answered.headers["location"] == f"{READ}?study=1.2"


def test_a_database_that_does_not_answer_is_said_with_all_the_headers(door: Door) -> None:
    door.user("anna", "reader")
    client = door.client(Accept="text/html")
    usual = client.get("/login").headers
    with door.database.write() as session:
        session.execute(text("ALTER TABLE sessions RENAME TO lost"))
    answered = door.log_in(client, "anna")
    assert answered.status_code == 503 and "The database does not answer." in answered.text
    secured = {"content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"}
    assert secured <= usual.keys() and {answered.headers[name] for name in secured} == {usual[name] for name in secured}


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "", "a", "/ä"]
)
def test_nobody_is_led_to_another_host(path: str) -> None:
    assert local(path) == "/" and local("/studies/1.2?a=b") == "/studies/1.2?a=b"


def test_a_session_that_somebody_planted_is_not_taken_up(door: Door) -> None:
    door.user("anna", "reader")
    client = door.client()
    client.cookies.set("lungnode", "planted")
    answered = door.log_in(client, "anna")
    given = answered.cookies["lungnode"]
    assert given != "planted" and len(given) >= 43
    assert httpx.get(door.url + READ, cookies={"lungnode": "planted"}).status_code == 401
    assert answered.headers["set-cookie"].startswith(f"lungnode={given}; HttpOnly; Path=/; SameSite=lax")


def test_the_database_does_not_hold_what_opens_a_session(door: Door) -> None:
    client = door.entered("anna", "reader")
    (row,) = door.rows("SELECT * FROM sessions")
    assert client.cookies["lungnode"] not in str(row)
    assert httpx.get(door.url + READ, cookies={"lungnode": row["digest"]}).status_code == 401
    (user,) = door.rows("SELECT * FROM users")
    assert user["password_hash"].startswith("$argon2id$")


def test_a_login_that_another_page_sends_is_refused(door: Door) -> None:
    door.user("anna", "reader")
    said = {"name": "anna", "password": PASSWORD}
    assert httpx.post(f"{door.url}/login", data=said).status_code == 403
    other = door.client()
    other.get("/login")
    mine = door.client()
    mine.get("/login")
    assert mine.post("/login", data={**said, "csrf": other.cookies["lungnode-login"]}).status_code == 403
    assert door.rows("SELECT * FROM sessions") == []


def test_a_change_needs_the_token_of_its_session(door: Door) -> None:
    client, other = door.entered("otto", "operator"), door.entered("olga", "operator")
    token, foreign = door.csrf(client), door.csrf(other)
    assert token != foreign
    for given in ({}, {"csrf": ""}, {"csrf": foreign}, {"csrf": token[:-1]}):
        assert client.post("/change", data=given, headers=FORM).status_code == 403, given
    assert client.post("/change", json={"a": 1}).status_code == 403
    assert client.post("/change", headers={"X-CSRF-Token": foreign}).status_code == 403
    answered = client.post("/change", data={"csrf": token, "what": "ä&b"})
    assert answered.json() == {"account": "otto", "fields": {"csrf": token, "what": "ä&b"}}
    assert client.post("/change", json={}, headers={"X-CSRF-Token": token}).status_code == 200


def test_a_form_is_not_read_without_end(door: Door) -> None:
    client = door.entered("otto", "operator")
    assert client.post("/change", content=b"a=" + b"b" * 70_000, headers=FORM).status_code == 413


def test_a_session_ends_when_it_is_not_used_and_at_last_in_any_case(door: Door) -> None:
    idle, used = door.entered("anna", "reader"), door.entered("otto", "operator")
    door.pass_by(minutes=29)
    assert idle.get(READ).status_code == 200
    door.pass_by(minutes=31)
    assert idle.get(READ).status_code == 401
    assert used.get(READ).status_code == 401
    used = door.entered("olga", "operator")
    for _ in range(12 * 3):
        assert used.get(READ).status_code == 200
        door.pass_by(minutes=20)
    assert used.get(READ).status_code == 200, "twelve hours"
    door.pass_by(minutes=1)
    assert used.get(READ).status_code == 401
    assert door.log_in(used, "olga").status_code == 303
    assert len(door.rows("SELECT * FROM sessions")) == 1, "those that expired are forgotten"


def test_a_page_that_is_left_open_keeps_nobody_logged_in(door: Door) -> None:
    left = door.entered("leon", "reader")
    for _ in range(3):
        door.pass_by(minutes=9)
        assert left.get(READ, headers={"Lungnode-Unattended": "yes"}).status_code == 200
    door.pass_by(minutes=4)
    assert left.get(READ, headers={"Lungnode-Unattended": "yes"}).status_code == 401


def test_who_is_disabled_loses_every_session_at_once(door: Door) -> None:
    client = door.entered("anna", "reader")
    with door.database.write() as session:
        anna = accounts.by_name(session, "anna")
        assert anna
        accounts.disable(session, anna.id, door.moment)
    assert client.get(READ).status_code == 401
    assert door.log_in(client, "anna").status_code == 403
    with door.database.write() as session:
        accounts.enable(session, anna.id)
    assert client.get(READ).status_code == 401, "the session does not come back"
    assert door.log_in(client, "anna").status_code == 303


def test_other_roles_hold_at_once(door: Door) -> None:
    client = door.entered("anna", "reader")
    with door.database.write() as session:
        anna = accounts.by_name(session, "anna")
        assert anna
        accounts.set_roles(session, anna.id, ["auditor"])
    assert client.get(READ).status_code == 403 and client.get("/api/v1/audit").status_code == 200


def test_another_password_ends_every_session(door: Door) -> None:
    client = door.entered("anna", "reader")
    elsewhere = door.client()
    assert door.log_in(elsewhere, "anna").status_code == 303
    said = {"csrf": door.csrf(client), "old": PASSWORD, "new": "another horse battery"}
    assert client.post("/account/password", data={**said, "old": "wrong"}).status_code == 403
    assert client.post("/account/password", data={**said, "new": "short"}).status_code == 400
    assert client.post("/account/password", data=said).status_code == 303
    assert client.get(READ).status_code == 401 and elsewhere.get(READ).status_code == 401
    assert door.log_in(client, "anna").status_code == 403
    assert door.log_in(client, "anna", "another horse battery").status_code == 303
    assert ("account", "success", "anna", {"changed": "own password"}) in door.told("account")


def test_a_user_who_is_unknown_costs_and_says_what_a_wrong_password_does(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.user("anna", "reader")
    verified: list[str] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
            verified.append(str(hash).rsplit("$", 2)[0])  # algorithm and parameters
            return bool(super().verify(hash, password))

    monkeypatch.setattr(passwords, "HASHER", Counting(1, 64, 1))
    answers = [door.log_in(door.client(), name, "wrong wrong wrong") for name in ("anna", "nobody")]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert all("Name or password are wrong." in answer.text for answer in answers)
    assert len(verified) == 2 and verified[0] == verified[1], "the same work"


def test_a_password_is_not_guessed(door: Door) -> None:
    door.user("anna", "reader")
    door.user("otto", "operator")
    client = door.client()
    for _ in range(10):
        assert door.log_in(client, "anna", "wrong wrong wrong").status_code == 403
    refused = door.log_in(client, "anna")
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
    assert door.log_in(client, "anna").status_code == 429
    assert door.log_in(client, "otto").status_code == 303, "others may log in from the same address"
    reasons = [details.get("reason") for _, _, actor, details in door.told("login") if actor == "anna"]
    assert reasons == ["wrong"] * 10 + ["too many attempts"]


def test_attempts_count_by_user_and_by_address_for_a_while() -> None:
    now = [0.0]
    attempts = Attempts(100.0, lambda: now[0])
    limits = {"user a": 2, "address x": 3}
    assert [attempts.begin(limits) for _ in range(2)] == [0.0, 0.0]
    assert attempts.begin(limits) == 100.0
    assert attempts.begin({"user b": 2, "address x": 3}) == 0.0
    assert attempts.begin({"user c": 2, "address x": 3}) == 100.0, "the address has had its three"
    now[0] = 100.0
    assert attempts.begin(limits) == 0.0
    attempts.succeeded("user a", "address x")
    assert [attempts.begin(limits) for _ in range(3)] == [0.0, 0.0, 100.0], "what succeeded does not count"


def test_the_trail_holds_no_password_and_no_name_of_nobody(door: Door) -> None:
    door.user("anna", "reader")
    client = door.client()
    door.log_in(client, "my secret passphrase", "oops, in the wrong field")
    door.log_in(client, "anna", "wrong wrong wrong")
    door.log_in(client, "anna")
    whole = str(door.rows("SELECT * FROM audit_events"))
    assert "passphrase" not in whole and "wrong field" not in whole and PASSWORD not in whole
    assert [row[1:3] for row in door.told("login")] == [
        ("minor", "unknown user"),
        ("minor", "anna"),
        ("success", "anna"),
    ]


def test_passwords_are_hashed_as_rfc_9106_recommends() -> None:
    assert (OURS.type, OURS.time_cost, OURS.memory_cost, OURS.hash_len) == (Type.ID, 3, 1 << 16, 32)  # section 4
    with pytest.raises(Misconfigured, match="12 to 256"):
        passwords.hashed("too short")


def test_an_older_hash_is_replaced_by_one_of_today(door: Door) -> None:
    with door.database.write() as session:
        weak = PasswordHasher(time_cost=1, memory_cost=32, parallelism=1).hash(PASSWORD)
        accounts.add(session, "anna", ["reader"], weak, datetime(2020, 1, 1, tzinfo=UTC))
    assert door.log_in(door.client(), "anna").status_code == 303
    (row,) = door.rows("SELECT password_hash FROM users")
    assert row["password_hash"].split("$")[:4] == HASH.split("$")[:4]


def test_the_first_start_makes_an_administrator_once(door: Door, capfd: pytest.CaptureFixture[str]) -> None:
    door.admitting.started()
    said = capfd.readouterr().err
    password = said.partition("password ")[2].split()[0]
    assert door.log_in(door.client(), "admin", password).status_code == 303
    door.admitting.started()
    assert capfd.readouterr().err == ""
    assert password not in str(door.rows("SELECT * FROM audit_events")) + str(door.rows("SELECT * FROM users"))


def test_this_machine_needs_no_login_where_the_settings_say_so(
    door: Door, open_here: Door, capfd: pytest.CaptureFixture[str]
) -> None:
    assert httpx.get(door.url + READ).status_code == 401
    assert httpx.get(open_here.url + READ).status_code == 200
    assert httpx.get(open_here.url.replace("127.0.0.1", "localhost") + READ).status_code == 200
    assert [row[2] for row in open_here.told("api")] == ["loopback"] * 2
    open_here.admitting.started()
    assert capfd.readouterr().err == "" and open_here.rows("SELECT * FROM users") == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "192.0.2.1"},
        {"Via": "1.1 proxy"},
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
    ],
)
def test_a_proxy_and_another_name_are_not_this_machine(open_here: Door, headers: dict[str, str]) -> None:
    assert httpx.get(open_here.url + READ, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_pages_of_others_change_nothing_on_this_machine(open_here: Door, headers: dict[str, str], status: int) -> None:
    assert httpx.post(f"{open_here.url}/change", headers=headers).status_code == status
