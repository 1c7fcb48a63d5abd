"""The settings of [web] and [oidc]: who may ask over HTTP, how they prove it, and over which connections."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from node.core.errors import Misconfigured
from node.core.rights import ROLES


@dataclass(frozen=True)
class Web:
    """certificate, key: PEM files; empty: HTTP without TLS. plain_http: secrets are taken from other machines too."""

    loopback_needs_no_login: bool
    loopback_role: str
    certificate: str
    key: str
    plain_http: bool
    proxies: tuple[str, ...]
    session_idle_minutes: float
    session_hours: float


@dataclass(frozen=True)
class Oidc:
    """issuer empty: none. client_secret: where it is, "env:NAME" or "file:PATH"; empty: a public client."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_url: str
    authorities: str
    name_claim: str
    roles_claim: str
    usual_role: str


def check_login(web: Web, oidc: Oidc) -> None:
    """What a type cannot say."""
    _check_web(web)
    if oidc.issuer:
        _check_oidc(oidc)


def _check_web(web: Web) -> None:
    if web.loopback_role not in ROLES:
        raise Misconfigured(f"web.loopback_role is one of {', '.join(ROLES)}")
    if bool(web.certificate) != bool(web.key):
        raise Misconfigured("web.certificate and web.key are set together")
    for text in web.proxies:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise Misconfigured(f'web.proxies: {text!r} is no address or network such as "10.1.0.7"') from error
    if web.session_idle_minutes <= 0 or web.session_hours <= 0:
        raise Misconfigured("web.session_idle_minutes and web.session_hours are above 0")


def _check_oidc(oidc: Oidc) -> None:
    for name in ("issuer", "redirect_url"):
        if not re.fullmatch(
            r"https://[^\s?#]+|http://(localhost|127\.0\.0\.1)(:\d+)?(/[^\s?#]*)?", getattr(oidc, name)
        ):
            raise Misconfigured(f"oidc.{name} is an https URL; http only on this machine")
    if not oidc.redirect_url.endswith("/login/oidc/callback"):
        raise Misconfigured("oidc.redirect_url ends in /login/oidc/callback, as it is registered with the provider")
    if not oidc.client_id or not oidc.name_claim:
        raise Misconfigured("oidc.client_id and oidc.name_claim are needed with oidc.issuer")
    if oidc.client_secret and not re.fullmatch(r"(env|file):.+", oidc.client_secret):
        raise Misconfigured('oidc.client_secret is "env:NAME" or "file:PATH"; the secret itself stands in no settings')
    if oidc.usual_role and oidc.usual_role not in ROLES:
        raise Misconfigured(f"oidc.usual_role is one of {', '.join(ROLES)}, or empty")
