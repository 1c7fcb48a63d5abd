"""Rights: the scopes that a route may need, the roles that hold them, and the account of whoever asks. Pure.

A role is a set of scopes; an account has the scopes of all its roles. A token has some of those of its user. A person
who may view studies sees whose they are; every other scope works without the name of a patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from node.core.errors import Misconfigured

SCOPES = {
    "view": "studies, images, results and verdicts on them, with the names of patients",
    "judge": "say what a reader thinks of an analysis",
    "store": "store instances (STOW-RS, upload)",
    "steer": "analyse and deliver again; pause, resume and test destinations",
    "figures": "models and their figures, counts and means over many studies, metrics; names nobody",
    "settings": "the effective settings and how the node does, without secrets",
    "audit": "the audit trail",
}
ROLES = {
    "reader": ("view", "judge", "figures"),
    "operator": ("view", "store", "steer", "figures", "settings"),
    "auditor": ("audit", "figures", "settings"),
    "admin": tuple(SCOPES),
}


@dataclass(frozen=True)
class Account:
    """Who asks. name: of the user, or ``loopback``; empty: nobody. way: how they were recognised; token: its name."""

    name: str = ""
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    way: str = ""  # password (HTTP Basic), session, token, loopback
    token: str = ""

    def may(self, scope: str) -> bool:
        return scope in self.scopes

    @property
    def said(self) -> str:
        """As the audit trail names it."""
        return f"{self.name}/{self.token}" if self.token else self.name


NOBODY = Account()
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")  # of users and tokens


def scopes_of(roles: Iterable[str]) -> frozenset[str]:
    return frozenset(scope for role in roles for scope in ROLES.get(role, ()))


def check_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """In the order of ROLES, each once; Misconfigured where one is unknown or there is none."""
    given = set(roles)
    if not given or given - set(ROLES):
        raise Misconfigured(f"roles are {', '.join(ROLES)}, at least one, not {', '.join(sorted(given)) or 'none'}")
    return tuple(role for role in ROLES if role in given)


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    given = set(scopes)
    if not given or given - set(SCOPES):
        raise Misconfigured(f"scopes are {', '.join(SCOPES)}, at least one, not {', '.join(sorted(given)) or 'none'}")
    return tuple(scope for scope in SCOPES if scope in given)
