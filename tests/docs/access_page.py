"""Writes docs/access.md, its tables of roles, rights and paths from the code's own.

Run as ``python -m tests.docs.access_page``; a test compares its output with the page.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from node.core.rights import ROLES, SCOPES
from node.web.auth import attempts, passwords
from node.web.auth.needs import ANYBODY
from node.web.connections import HEADER_SECONDS
from node.web.secured import SILENT_SECONDS
from tests.web.declared import Declared, of_a_node

PAGE = Path(__file__).parents[2] / "docs" / "access.md"
HEAD = """\
# Who may ask over HTTP

Written by `python -m tests.docs.access_page`. Research use only, not for diagnosis. Who may connect by DICOM stands
in [configuration.md](configuration.md), [limits], [access] and [tls].

Every path but those of health and login needs somebody who is known: a person with a session, a program with a token,
or, where the settings say so, whoever asks from this machine. What they may do is their rights; a role is a set of
them, and an account has the rights of all its roles.

"""
FIRST = """
## The first start and users

The first start of a node without users makes one, `admin`, and prints a random password once to standard error; it
stands in no log and no file. (Where `web.loopback_needs_no_login` is set there is none: nobody would need it.)

    lungnode users add anna --roles reader --data DIR       # prints a password once; --ask asks for one instead
    lungnode users list|passwd|disable|enable|roles ...     # hold at once, also for a node that runs
    lungnode tokens create pacs --user otto --scopes store --days 365 --data DIR    # prints the token once
    lungnode tokens list|revoke ...

Who is disabled, or gets another password, loses every session at once; roles hold from the next request. A token has
the rights that it names as far as its user still has them, and ends with its time, its revocation or its user. People
change their own password at `/account`.

## How a request says whose it is

- **Session**: a random cookie (HttpOnly, SameSite=Lax; over TLS Secure and `__Host-`), kept as its SHA-256. It ends
  after `web.session_idle_minutes` without use and `web.session_hours` in any case; a page
  that is left open and follows its studies by itself does not use it. A login never takes up a cookie
  that was there. Whatever changes something posts the `csrf` of its session too, or the header X-CSRF-Token.
- **Token**: `Authorization: Bearer lungnode_...` for API, DICOMweb and metrics (Prometheus: `authorization` with
  `credentials_file`).
- **Name and password** (HTTP Basic) for DICOMweb clients that know nothing else, such as Orthanc; a token may stand
  in the place of the password, which spares the node the slow check. A password that was right is remembered for
  {known:.0f} min.
- **OpenID Connect** ([oidc]): the authorization code flow with PKCE. The account is the claim `oidc.name_claim`, its
  roles those of the claim `oidc.roles_claim` at each login; a local user of the same name is somebody else.
- **This machine**, where `web.loopback_needs_no_login` is set (`make run` and the demonstration set it): the role
  `web.loopback_role`. Not for what came by a proxy, names another host (DNS rebinding), or was sent by a page of
  another site. **Never beside a proxy on this machine** that adds no header field of its own (nginx with a bare
  `proxy_pass`): all the world would come from here then.

A header that is not valid is refused, whatever else there is. Passwords, tokens and cookies count over TLS or on this
machine alone, unless `web.plain_http` is set.

Passwords are kept as argon2id (RFC 9106), {shortest} letters at least. After {of_user} wrong ones of a user, or
{of_address} from an address, within {window:.0f} min the answer is 429 until they are old; each node counts for
itself in memory, so a restart forgets it; and somebody who guesses can keep a user from logging in (tokens and
sessions go on). A user who is unknown takes as long and gets the same answer.

## TLS and proxies

`web.certificate` and `web.key` make the HTTP port speak TLS 1.2 and 1.3; both are read anew when they change. A proxy
that ends TLS in front of the node, on this machine or another, is named in `web.proxies`: its X-Forwarded-For and
X-Forwarded-Proto are believed then, and nobody else's. Login is by name and password alone: nothing asks browsers for
certificates.

## What every answer has

Content-Security-Policy without inline scripts (the viewer has its own), `nosniff`, no referrer, no framing, HSTS over
TLS, `no-store` for what is no file. Header fields of a request have {header:.0f} s, the next piece of a body
{silent:.0f} s (uploads `dicomweb.silent_seconds`). The log has a line for each answer: method, path with its UIDs and
`*` for whatever is neither a UID nor a word of ours, status, time, account, address; never a query.

## What the audit trail has

Logins and those that failed, logouts, passwords and tokens in requests that were not valid (of a token once a
minute), changes of users and tokens, with whoever made them. A request by a token is told like any other, its account
is `user/token`. The name that was typed in a login that failed is kept where it is a user's: people type passwords
into the wrong field.

## What is not here

Second factors (an OpenID provider may ask for them), rights on single studies, single sign-off, a page for users (the
command line has it). An answer that runs when a user is disabled goes on to its end.
"""


def page(declared: Sequence[Declared] | None = None) -> str:
    """declared: of a node; made up where it is not given."""
    if declared is None:
        with tempfile.TemporaryDirectory() as folder:
            declared = of_a_node(Path(folder) / "node")
    lines = ["| right | what it allows | roles |\n|---|---|---|\n"]
    for scope, meaning in SCOPES.items():
        lines.append(f"| `{scope}` | {meaning} | {', '.join(role for role in ROLES if scope in ROLES[role])} |\n")
    tail = FIRST.format(
        known=passwords.KNOWN_SECONDS / 60,
        shortest=passwords.SHORTEST,
        of_user=attempts.OF_USER,
        of_address=attempts.OF_ADDRESS,
        window=attempts.WINDOW_SECONDS / 60,
        header=HEADER_SECONDS,
        silent=SILENT_SECONDS,
    )
    return "".join((HEAD, *lines, tail, "\n## Paths\n\n| needs | paths |\n|---|---|\n", *_paths(declared)))


def _paths(declared: Sequence[Declared]) -> list[str]:
    """One line for each right; GET goes without saying."""
    found: dict[str, list[str]] = {}
    for one in declared:
        methods = " ".join(method for method in one.methods if method not in ("GET", "any"))
        path = one.path.replace(":int", "").replace(":path", "")
        named = f"`{path}`" + (f" ({methods})" if methods and "GET" not in one.methods else "")
        found.setdefault(one.needed or "nothing", []).append(named)
    order = [*SCOPES, "logged in", ANYBODY, "nothing"]
    return [f"| {needed} | {', '.join(dict.fromkeys(found[needed]))} |\n" for needed in order if needed in found]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
