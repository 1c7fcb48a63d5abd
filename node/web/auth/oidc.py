"""Login by OpenID Connect: the authorization code flow with PKCE (OpenID Connect Core 1.0 section 3.1, RFC 7636).

State, nonce and code verifier are derived from a cookie that only this browser has, so nothing is kept here between
the two halves. The provider says who somebody is; which user that is, is their issuer and subject. A local user of the
same name is somebody else and is never entered this way. Roles are those of the token at each login.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from node.core.audit import AuditEvent, Recent
from node.core.login import Oidc
from node.core.rights import NAME, ROLES
from node.db import accounts, audit
from node.db.accounts import User
from node.web.auth.identity import USED_SECONDS, new_secret
from node.web.auth.login import Login, local
from node.web.auth.needs import ANYBODY, LOGIN, needs

PATH = f"{LOGIN}/oidc"
COOKIE, PAGE_COOKIE = "lungnode-oidc", "lungnode-oidc-next"
COOKIE_SECONDS, ANSWER_SECONDS, LEEWAY_SECONDS = 600, 10.0, 60
AT_ONCE = 4  # questions to the provider
ENDPOINTS = {"authorization_endpoint", "token_endpoint", "jwks_uri"}
ALGORITHMS = ["RS256", "PS256", "ES256", "RS384", "ES384", "RS512", "ES512", "PS384", "PS512", "EdDSA"]
AWAY = "The provider of logins does not answer; try again later."
ERRORS = (  # OpenID Connect Core 1.0 section 3.1.2.6, RFC 6749 section 4.1.2.1; words of others are not kept
    "access_denied", "account_selection_required", "consent_required", "interaction_required", "invalid_request",
    "invalid_scope", "login_required", "server_error", "temporarily_unavailable", "unauthorized_client",
    "unsupported_response_type",
)  # fmt: skip
NOT_STARTED = "This login was not begun in this browser, or too long ago: begin again."


class NotProven(Exception):
    """What the provider said does not prove who this is; the words are for the audit trail."""


@dataclass
class Provider:
    """What the settings name, and what it says of itself: its discovery document is read once it is needed."""

    wanted: Oidc

    def __post_init__(self) -> None:
        self._slots, self._said = threading.BoundedSemaphore(AT_ONCE), dict[str, Any]()
        self._trust = ssl.create_default_context(cafile=self.wanted.authorities or None)

    def authorization_url(self, secret: str) -> str:
        asked = {
            "response_type": "code",
            "scope": "openid profile",
            "client_id": self.wanted.client_id,
            "redirect_uri": self.wanted.redirect_url,
            "state": _derived(secret, "state"),
            "nonce": _derived(secret, "nonce"),
            "code_challenge": _challenge(_derived(secret, "verifier")),
            "code_challenge_method": "S256",
        }
        return f"{self._described()['authorization_endpoint']}?{urlencode(asked)}"

    def claims(self, code: str, secret: str) -> dict[str, Any]:
        """Of the ID token for this code, checked (section 3.1.3.7). NotProven, or httpx.HTTPError."""
        described = self._described()
        asked = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.wanted.redirect_url}
        asked |= {"client_id": self.wanted.client_id, "code_verifier": _derived(secret, "verifier")}
        if self.wanted.client_secret:
            asked["client_secret"] = _read_secret(self.wanted.client_secret)
        with self._client() as client:
            answer = client.post(described["token_endpoint"], data=asked)
            keys = client.get(described["jwks_uri"])
        if answer.status_code != 200 or keys.status_code != 200:
            raise NotProven(f"the provider answered {answer.status_code}")
        try:
            token = jwt.decode(answer.json()["id_token"], KeySet.import_key_set(keys.json()), algorithms=ALGORITHMS)
            options = {"iss": {"essential": True, "value": self.wanted.issuer}}
            options |= {"aud": {"essential": True, "value": self.wanted.client_id}}
            checked = {"nonce": _derived(secret, "nonce"), "client_id": self.wanted.client_id}
            CodeIDToken(token.claims, token.header, options, checked).validate(leeway=LEEWAY_SECONDS)
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise NotProven(f"the ID token is not valid: {getattr(error, 'error', type(error).__name__)}") from error
        return dict(token.claims)

    def _described(self) -> dict[str, Any]:
        if not self._said:
            with self._client() as client:
                answer = client.get(f"{self.wanted.issuer.rstrip('/')}/.well-known/openid-configuration")
            try:
                found = dict(answer.raise_for_status().json())
            except (TypeError, ValueError) as error:
                raise NotProven("the provider does not describe itself") from error
            if found.get("issuer") != self.wanted.issuer:  # OpenID Connect Discovery 1.0 section 4.3
                raise NotProven("the provider names another issuer than the settings")
            if missing := ENDPOINTS - found.keys():
                raise NotProven(f"the provider names no {min(missing)}")
            self._said = found
        return self._said

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        """httpx.HTTPError at once where enough are asking it: anybody may begin a login, and each waits in a thread."""
        if not self._slots.acquire(blocking=False):
            raise httpx.PoolTimeout("as many as may are asking the provider")
        try:
            with httpx.Client(timeout=ANSWER_SECONDS, verify=self._trust) as client:
                yield client
        finally:
            self._slots.release()


@dataclass
class OidcLogin:
    login: Login
    provider: Provider

    def __post_init__(self) -> None:
        self._told = Recent()

    def routes(self) -> list[BaseRoute]:
        anybody = [needs(ANYBODY)]
        return [
            Route(PATH, self._begin, methods=["GET"], middleware=anybody),
            Route(f"{PATH}/callback", self._back, methods=["GET"], middleware=anybody),
        ]

    def _begin(self, request: Request) -> Response:
        secret = new_secret()
        try:
            answer = RedirectResponse(self.provider.authorization_url(secret), 303)
        except (httpx.HTTPError, NotProven, KeyError, ValueError):
            return self.login.page(request, AWAY, 503)
        is_https = self.provider.wanted.redirect_url.startswith("https:")
        for name, value in ((COOKIE, secret), (PAGE_COOKIE, local(request.query_params.get("next", "")))):
            answer.set_cookie(
                name, value, max_age=COOKIE_SECONDS, path=PATH, httponly=True, samesite="lax", secure=is_https
            )
        return answer

    def _back(self, request: Request) -> Response:
        answer = self._entered(request)
        for name in (COOKIE, PAGE_COOKIE):
            answer.delete_cookie(name, path=PATH)
        return answer

    def _entered(self, request: Request) -> Response:
        secret, given = request.cookies.get(COOKIE, ""), request.query_params
        if not secret or not hmac.compare_digest(_derived(secret, "state").encode(), given.get("state", "").encode()):
            return self.login.page(request, NOT_STARTED, 403)
        try:
            if "code" not in given:
                said = given.get("error", "nothing")
                raise NotProven(f"the provider said {said if said in (*ERRORS, 'nothing') else 'another error'}")
            user = self._user(self.provider.claims(given["code"], secret))
        except (httpx.HTTPError, OSError):
            return self.login.page(request, AWAY, 503)
        except NotProven as error:
            self._tell_refused(request, str(error))
            return self.login.page(request, "This login is not valid here; ask who keeps this node.", 403)
        return self.login.entered(request, user, "oidc", request.cookies.get(PAGE_COOKIE, ""))

    def _user(self, claims: dict[str, Any]) -> User:
        """The user of this issuer and subject, made at the first login, with the roles of this token."""
        wanted, subject = self.provider.wanted, str(claims["sub"])
        name, roles = str(claims.get(wanted.name_claim, "")), self._roles(claims)
        if not NAME.fullmatch(name) or len(subject) > 255:
            raise NotProven(f"the claim {wanted.name_claim} names no account")
        if not roles:
            raise NotProven("the token names no role of this node")
        now = self.login.clock()
        with self.login.database.write() as session:
            user = accounts.by_subject(session, wanted.issuer, subject)
            if user is None:
                if accounts.by_name(session, name):
                    raise NotProven("another user has this name")
                user = accounts.add(session, name, roles, "", now, wanted.issuer, subject)
                event = AuditEvent("account", actor=name, details={"changed": "added at login", "roles": roles})
                audit.append(session, event, now)
            elif user.disabled_at:
                raise NotProven("the user is disabled")
            elif user.roles != roles:
                accounts.set_roles(session, user.id, roles)
                event = AuditEvent("account", actor=user.name, details={"changed": "roles at login", "roles": roles})
                audit.append(session, event, now)
        return user

    def _roles(self, claims: dict[str, Any]) -> tuple[str, ...]:
        given = claims.get(self.provider.wanted.roles_claim, [])
        listed = given if isinstance(given, list) else [given]
        named = tuple(role for role in ROLES if role in listed)
        usual = self.provider.wanted.usual_role
        return named or ((usual,) if usual else ())

    def _tell_refused(self, request: Request, reason: str) -> None:
        """One row a minute for each address and reason, however often somebody tries."""
        address, now = request.client.host if request.client else "", self.login.clock()
        if self._told.has((address, reason), now.timestamp() - USED_SECONDS):
            return
        self._told.add((address, reason), now.timestamp())
        details = {"way": "oidc", "reason": reason}
        with self.login.database.write() as session:
            event = AuditEvent("login", "minor", actor="unknown user", address=address, details=details)
            audit.append(session, event, now)


def _derived(secret: str, use: str) -> str:
    """43 to 128 letters, as RFC 7636 section 4.1 wants a verifier."""
    return hmac.new(secret.encode(), f"oidc {use}".encode(), hashlib.sha256).hexdigest()


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _read_secret(where: str) -> str:
    """NotProven where it is not there; OSError where the file cannot be read."""
    kind, _, name = where.partition(":")
    found = os.environ.get(name, "") if kind == "env" else Path(name).read_text(encoding="utf-8").strip()
    if not found:
        raise NotProven("oidc.client_secret is not where the settings say")
    return found
