"""Login by OpenID Connect with a provider in this process, which signs whatever a test wants of it.

Not covered: providers of other makers, and one that changes its keys in the midst of a login.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from node.db import accounts
from node.web.auth import oidc
from tests.peers import LOOPBACK
from tests.web.door import READ, Door

CLIENT = "lungnode-at-the-clinic"
REDIRECT = "https://lungnode.example/login/oidc/callback"


@dataclass
class Provider:
    """changes: of the next ID token's claims, None takes one away. signed_by: another key than the published one."""

    key: ECKey = field(
        default_factory=lambda: ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})
    )
    changes: dict[str, Any] = field(default_factory=dict)
    signed_by: Any = None
    header: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)  # of the authorization endpoint, by the browser
    secrets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = ThreadingHTTPServer((LOOPBACK, 0), _handler(self))
        self.issuer = f"http://{LOOPBACK}:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def described(self) -> dict[str, str]:
        ends = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        return {"issuer": self.issuer, **{name: self.issuer + path for name, path in ends.items()}}

    def token(self, posted: dict[str, str]) -> dict[str, str] | None:
        """None where the code verifier is not the one of the challenge (RFC 7636 section 4.6)."""
        digest = hashlib.sha256(posted["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != self.asked["code_challenge"]:
            return None
        self.secrets.append(posted.get("client_secret", ""))
        now = int(time.time())
        claims: dict[str, Any] = {"iss": self.issuer, "aud": CLIENT, "sub": "4711", "iat": now, "exp": now + 300}
        claims |= {
            "nonce": self.asked["nonce"],
            "preferred_username": "anna",
            "roles": ["reader", "of another program"],
        }
        claims = {name: value for name, value in {**claims, **self.changes}.items() if value is not None}
        header = {"alg": "ES256", "kid": "one", **self.header}
        return {"id_token": jwt.encode(header, claims, self.signed_by or self.key), "token_type": "Bearer"}


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys = {"keys": [provider.key.as_dict(private=False)]}
            self._say(provider.described() if "well-known" in self.path else keys)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._say(provider.token({name: values[0] for name, values in parse_qs(body).items()}))

        def _say(self, said: Any) -> None:
            content = json.dumps(said or {"error": "invalid_grant"}).encode()
            self.send_response(200 if said else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@dataclass
class Place:
    door: Door
    provider: Provider

    def log_in(self, code: str = "the code", state: str | None = None, error: str = "") -> httpx.Response:
        """What a browser does: to the provider and back. The cookies are Secure, so that they are carried by hand."""
        begun = httpx.get(f"{self.door.url}/login/oidc", params={"next": READ})
        asked = urlsplit(begun.headers["location"])
        assert begun.status_code == 303 and asked.path == "/authorize"
        self.provider.asked = {name: values[0] for name, values in parse_qs(asked.query).items()}
        cookies = {
            name: value.partition(";")[0] for name, _, value in map(_parted, begun.headers.get_list("set-cookie"))
        }
        given = {"error": error} if error else {"code": code}
        given["state"] = self.provider.asked["state"] if state is None else state
        return httpx.get(f"{self.door.url}/login/oidc/callback", params=given, cookies=cookies)

    def reason(self) -> str:
        kind, outcome, actor, details = self.door.told("login")[-1]
        assert (kind, outcome, actor, details["way"]) == ("login", "minor", "unknown user", "oidc")
        return str(details["reason"])


def _parted(header: str) -> tuple[str, str, str]:
    return header.partition("=")


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.server.shutdown()


@pytest.fixture
def place(empty_file: Path, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    provider.changes, provider.signed_by, provider.header = {}, None, {}
    monkeypatch.setenv("LUNG_SECRET", "shared with the provider")
    wanted = {
        "issuer": provider.issuer,
        "client_id": CLIENT,
        "redirect_url": REDIRECT,
        "client_secret": "env:LUNG_SECRET",
    }
    with Door(empty_file, tmp_path / "door", {("oidc", key): value for key, value in wanted.items()}) as door:
        yield Place(door, provider)


def test_who_the_provider_names_is_logged_in_with_the_roles_of_the_token(place: Place) -> None:
    entered = place.log_in()
    assert entered.status_code == 303 and entered.headers["location"] == READ
    session = {"lungnode": entered.cookies["lungnode"]}
    assert httpx.get(place.door.url + READ, cookies=session).status_code == 200
    assert httpx.get(f"{place.door.url}/api/v1/audit", cookies=session).status_code == 403
    assert place.provider.asked["redirect_uri"] == REDIRECT and place.provider.secrets[-1] == "shared with the provider"
    assert ("login", "success", "anna", {"way": "oidc"}) in place.door.told("login")
    place.provider.changes = {"roles": "auditor"}
    session = {"lungnode": place.log_in().cookies["lungnode"]}
    assert httpx.get(f"{place.door.url}/api/v1/audit", cookies=session).status_code == 200
    assert httpx.get(place.door.url + READ, cookies=session).status_code == 403
    (user,) = place.door.rows("SELECT * FROM users")
    assert (user["name"], user["subject"], user["password_hash"], user["roles"]) == ("anna", "4711", "", "auditor")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nonce": "of another login"}, "invalid_claim"),
        ({"nonce": None}, "missing_claim"),
        ({"iss": "https://evil.example"}, "invalid_claim"),
        ({"aud": "another program"}, "invalid_claim"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "invalid_claim"),
        ({"exp": 1_700_000_000}, "expired_token"),
        ({"sub": None}, "missing_claim"),
        ({"roles": ["cleaner"]}, "names no role"),
        ({"roles": None}, "names no role"),
        ({"preferred_username": "a b<script>"}, "names no account"),
        ({"preferred_username": None}, "names no account"),
    ],
)
def test_a_token_that_does_not_prove_it_opens_nothing(place: Place, changes: dict[str, Any], reason: str) -> None:
    place.provider.changes = changes
    assert place.log_in().status_code == 403
    assert reason in place.reason()
    assert place.door.rows("SELECT * FROM sessions") == [] and place.door.rows("SELECT * FROM users") == []


def test_a_token_of_another_key_opens_nothing(place: Place) -> None:
    place.provider.signed_by = ECKey.generate_key("P-256", {"kid": "one"})
    assert place.log_in().status_code == 403 and "not valid" in place.reason()
    place.provider.signed_by, place.provider.header = OctKey.import_key("secret" * 8), {"alg": "HS256"}
    assert place.log_in().status_code == 403 and "not valid" in place.reason()
    assert place.door.rows("SELECT * FROM users") == []


def test_only_the_browser_that_began_comes_back(place: Place) -> None:
    assert place.log_in(state="of another").status_code == 403
    assert httpx.get(f"{place.door.url}/login/oidc/callback", params={"code": "a", "state": ""}).status_code == 403
    own = place.log_in()
    assert own.status_code == 303
    planted = httpx.get(f"{place.door.url}/login/oidc")
    place.provider.asked = {"code_challenge": "of another", "nonce": "x", "state": "y"}
    state = parse_qs(urlsplit(planted.headers["location"]).query)["state"][0]
    cookies = {name: value.partition(";")[0] for name, _, value in map(_parted, planted.headers.get_list("set-cookie"))}
    back = httpx.get(f"{place.door.url}/login/oidc/callback", params={"code": "a", "state": state}, cookies=cookies)
    assert back.status_code == 403 and place.reason() == "the provider answered 400", "a code that another began"


def test_a_local_user_of_the_same_name_is_somebody_else(place: Place) -> None:
    place.door.user("anna", "admin")
    assert place.log_in().status_code == 403 and place.reason() == "another user has this name"


def test_who_is_disabled_here_does_not_come_in_again(place: Place) -> None:
    session = {"lungnode": place.log_in().cookies["lungnode"]}
    with place.door.database.write() as opened:
        anna = accounts.by_name(opened, "anna")
        assert anna
        accounts.disable(opened, anna.id, place.door.moment)
    assert httpx.get(place.door.url + READ, cookies=session).status_code == 401
    assert place.log_in().status_code == 403 and place.reason() == "the user is disabled"


def test_a_provider_that_is_away_or_refuses_is_said(empty_file: Path, tmp_path: Path, place: Place) -> None:
    refused = place.log_in(code="", error="access_denied")
    assert refused.status_code == 403 and place.reason() == "the provider said access_denied"
    wanted = {"issuer": "http://127.0.0.1:9", "client_id": CLIENT, "redirect_url": REDIRECT}
    with Door(empty_file, tmp_path / "away", {("oidc", key): value for key, value in wanted.items()}) as door:
        answered = httpx.get(f"{door.url}/login/oidc")
        assert answered.status_code == 503 and "does not answer" in answered.text
        assert "/login/oidc" in httpx.get(f"{door.url}/login").text


def test_who_is_refused_again_and_again_fills_no_trail(place: Place) -> None:
    for error in ("Zebramarker", "server_error", "another of their own") * 2:
        assert place.log_in(error=error).status_code == 403
    reasons = [details["reason"] for _, _, _, details in place.door.told("login")]
    assert reasons == ["the provider said another error", "the provider said server_error"]


def test_a_provider_that_is_silent_holds_few_threads(
    empty_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "AT_ONCE", 1)
    with socket.create_server((LOOPBACK, 0)) as silent:
        silent.settimeout(20)
        wanted = {
            "issuer": f"http://{LOOPBACK}:{silent.getsockname()[1]}",
            "client_id": CLIENT,
            "redirect_url": REDIRECT,
        }
        with Door(empty_file, tmp_path / "silent", {("oidc", key): value for key, value in wanted.items()}) as door:
            found = list[int]()
            first = Thread(target=lambda: found.append(httpx.get(f"{door.url}/login/oidc", timeout=30).status_code))
            first.start()
            waiting, _ = silent.accept()
            with waiting:
                assert httpx.get(f"{door.url}/login/oidc").status_code == 503
                assert not found, "the first still waits"
            first.join(20)
            assert found == [503]


@pytest.mark.parametrize("said", [[], {"issuer": ""}, {"token_endpoint": None}, None])
def test_a_provider_that_describes_itself_badly_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any] | list[str] | None
) -> None:
    whole = place.provider.described()
    changed = {name: value for name, value in {**whole, **said}.items() if value} if isinstance(said, dict) else said
    monkeypatch.setattr(place.provider, "described", lambda: changed)
    assert httpx.get(f"{place.door.url}/login/oidc").status_code == 503
