"""``lungnode users`` and ``lungnode tokens``: who may use the node over HTTP.

They change the database, so they hold at once for the node that runs: who is disabled or gets another password loses
every session. Each change is a row of the audit trail. A secret is printed once and kept nowhere.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.core.audit import AuditEvent, account
from node.core.errors import Misconfigured
from node.core.rights import NAME, ROLES, SCOPES, check_roles, check_scopes, scopes_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from node.db.accounts import User
    from node.db.session import Database

USER_ACTIONS = ("list", "add", "passwd", "disable", "enable", "roles")
TOKEN_ACTIONS = ("list", "create", "revoke")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    users = commands.add_parser("users", help=f"who may log in: {', '.join(USER_ACTIONS)}")
    users.add_argument("action", nargs="?", choices=USER_ACTIONS, default="list")
    users.add_argument("name", nargs="?", metavar="NAME", help="for all but list")
    users.add_argument("--roles", metavar="ROLE,...", help=f"for add and roles: of {', '.join(ROLES)}")
    asked = "for add and passwd: the password is asked for (or a line of standard input), not made up and printed"
    users.add_argument("--ask", action="store_true", help=asked)
    users.add_argument("--data", type=Path, required=True, metavar="DIR")
    users.set_defaults(run=_users)
    tokens = commands.add_parser("tokens", help=f"tokens of programs: {', '.join(TOKEN_ACTIONS)}")
    tokens.add_argument("action", nargs="?", choices=TOKEN_ACTIONS, default="list")
    tokens.add_argument("name", nargs="?", metavar="NAME", help="of the token, for all but list")
    tokens.add_argument("--user", metavar="USER", help="for create: whose it is")
    tokens.add_argument("--scopes", metavar="SCOPE,...", help=f"for create: of {', '.join(SCOPES)}")
    tokens.add_argument("--days", type=float, default=90.0, help="for create: until it expires (90)")
    tokens.add_argument("--data", type=Path, required=True, metavar="DIR")
    tokens.set_defaults(run=_tokens)


def _users(parsed: argparse.Namespace) -> int:
    from node.commands.asking import open_database

    database = open_database(parsed.data)
    if parsed.action == "list":
        return _list_users(database)
    if not parsed.name or not NAME.fullmatch(parsed.name):
        raise Misconfigured("a name has 1 to 64 letters, digits, '.', '_', '@' or '-'")
    if parsed.action in ("add", "roles") and not parsed.roles:
        raise Misconfigured(f"{parsed.action} needs --roles, of {', '.join(ROLES)}")
    if parsed.action in ("add", "passwd"):
        return _with_password(database, parsed)
    _say(_changed(database, parsed.action, parsed.name, parsed.roles))
    return 0


def _list_users(database: Database) -> int:
    from node.db import accounts

    with database.read() as session:
        found = accounts.users(session)
    for user in found:
        disabled = f"disabled since {user.disabled_at:%Y-%m-%d %H:%MZ}" if user.disabled_at else "enabled"
        login = f"by {user.issuer}" if user.issuer else "by password"
        _say(f"{user.name}  {','.join(user.roles)}  {login}  {disabled}")
    if not found:
        _say("there is no user yet")
    return 0


def _with_password(database: Database, parsed: argparse.Namespace) -> int:
    """add and passwd."""
    from node.db import accounts
    from node.web.auth.passwords import hashed, made_up

    roles = check_roles(parsed.roles.split(",")) if parsed.action == "add" else ()
    password = _asked() if parsed.ask else made_up()
    password_hash, name = hashed(password), parsed.name
    with database.write() as session:
        user, now = accounts.by_name(session, name), database.clock()
        if parsed.action == "add":
            if user is not None:
                raise Misconfigured(f"there is a user {name} already")
            accounts.add(session, name, roles, password_hash, now)
            _tell(session, database, "added", user=name, roles=roles)
        else:
            known = _known(user, name)
            if known.issuer:
                raise Misconfigured(f"{name} logs in by {known.issuer}, without a password here")
            accounts.set_password(session, known.id, password_hash)
            _tell(session, database, "password", user=name)
    _say(f"{name}: {'added' if parsed.action == 'add' else 'another password; every session has ended'}")
    if not parsed.ask:
        _say(f"password, shown once: {password}")
    return 0


def _changed(database: Database, action: str, name: str, roles: str | None) -> str:
    """disable, enable, roles."""
    from node.db import accounts

    wanted = check_roles(roles.split(",")) if action == "roles" and roles else ()
    with database.write() as session:
        user, now = _known(accounts.by_name(session, name), name), database.clock()
        if action == "roles":
            accounts.set_roles(session, user.id, wanted)
            _tell(session, database, "roles", user=name, before=user.roles, after=wanted)
            return f"{name}: {','.join(wanted)}"
        if action == "disable":
            accounts.disable(session, user.id, now)
        else:
            accounts.enable(session, user.id)
        _tell(session, database, f"{action}d", user=name)
    return f"{name}: {'disabled; every session has ended' if action == 'disable' else 'enabled'}"


def _tokens(parsed: argparse.Namespace) -> int:
    from node.commands.asking import open_database
    from node.db import accounts

    database = open_database(parsed.data)
    if parsed.action == "list":
        return _list_tokens(database)
    if not parsed.name or not NAME.fullmatch(parsed.name):
        raise Misconfigured("a name has 1 to 64 letters, digits, '.', '_', '@' or '-'")
    if parsed.action == "create":
        return _create(database, parsed)
    with database.write() as session:
        if not accounts.revoke(session, parsed.name, database.clock()):
            raise Misconfigured(f"there is no token {parsed.name} that could be revoked")
        _tell(session, database, "token revoked", token=parsed.name)
    _say(f"{parsed.name}: revoked")
    return 0


def _list_tokens(database: Database) -> int:
    from node.db import accounts

    with database.read() as session:
        found = accounts.tokens(session)
    for token in found:
        until = "revoked" if token.revoked_at else f"until {token.expires_at:%Y-%m-%d %H:%MZ}"
        _say(f"{token.name}  {token.user.name}  {','.join(token.scopes)}  {until}")
    if not found:
        _say("there is no token yet")
    return 0


def _create(database: Database, parsed: argparse.Namespace) -> int:
    from node.db import accounts
    from node.web.auth.identity import TOKEN, new_secret

    if not parsed.user or not parsed.scopes:
        raise Misconfigured("create needs --user and --scopes")
    if not 0 < parsed.days <= 3660:
        raise Misconfigured("--days is above 0, at most 3660")
    scopes, secret = check_scopes(parsed.scopes.split(",")), new_secret(TOKEN)
    with database.write() as session:
        user, now = _known(accounts.by_name(session, parsed.user), parsed.user), database.clock()
        if more := set(scopes) - scopes_of(user.roles):
            raise Misconfigured(f"{user.name} has no right {', '.join(sorted(more))} that a token could have")
        if any(token.name == parsed.name for token in accounts.tokens(session)):
            raise Misconfigured(f"there is or was a token {parsed.name} already")
        until = now + timedelta(days=parsed.days)
        accounts.add_token(session, user.id, parsed.name, secret, scopes, now, until)
        _tell(session, database, "token created", token=parsed.name, user=user.name, scopes=scopes)
    _say(f"{parsed.name}: of {user.name}, until {until:%Y-%m-%d %H:%MZ}")
    _say(f"token, shown once: {secret}")
    return 0


def _known(user: User | None, name: str) -> User:
    if user is None:
        raise Misconfigured(f"there is no user {name}")
    return user


def _tell(session: Session, database: Database, changed: str, **details: Any) -> None:
    from node.db import audit

    event = AuditEvent("account", actor=account(), details={"changed": changed, **details})
    audit.append(session, event, database.clock())


def _asked() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise Misconfigured("the two passwords differ")
    return password


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
