"""Users, the sessions of their browsers and the tokens of programs. The caller owns the transaction.

Whoever is disabled, or gets another password, loses every session in the same transaction; a token of a disabled user
is none. What a session or a token may do is looked up at each request, so that a change holds at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from node.db.account_tables import SessionRow, TokenRow, UserRow


@dataclass(frozen=True)
class User:
    id: int
    name: str
    roles: tuple[str, ...]
    password_hash: str
    issuer: str  # empty: a local user
    disabled_at: datetime | None


@dataclass(frozen=True)
class Held:
    """A session: whose, since when, and when it was last used."""

    id: int
    user: User
    created_at: datetime
    used_at: datetime


@dataclass(frozen=True)
class Token:
    name: str
    user: User
    scopes: tuple[str, ...]
    expires_at: datetime
    revoked_at: datetime | None


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def users(session: Session) -> list[User]:
    return [_user(row) for row in session.scalars(select(UserRow).order_by(UserRow.name))]


def by_name(session: Session, name: str) -> User | None:
    row = session.scalar(select(UserRow).where(UserRow.name == name))
    return None if row is None else _user(row)


def by_subject(session: Session, issuer: str, subject: str) -> User | None:
    row = session.scalar(select(UserRow).where(UserRow.issuer == issuer, UserRow.subject == subject))
    return None if row is None else _user(row)


def add(
    session: Session,
    name: str,
    roles: Sequence[str],
    password_hash: str,
    now: datetime,
    issuer: str | None = None,
    subject: str | None = None,
) -> User:
    row = UserRow(
        name=name, roles=",".join(roles), password_hash=password_hash, issuer=issuer, subject=subject, created_at=now
    )
    session.add(row)
    session.flush()
    return _user(row)


def set_password(session: Session, user_id: int, password_hash: str) -> None:
    session.execute(update(UserRow).where(UserRow.id == user_id).values(password_hash=password_hash))
    end_all(session, user_id)


def rehash(session: Session, user_id: int, password_hash: str) -> None:
    """The same password, hashed as it is today."""
    session.execute(update(UserRow).where(UserRow.id == user_id).values(password_hash=password_hash))


def set_roles(session: Session, user_id: int, roles: Sequence[str]) -> None:
    session.execute(update(UserRow).where(UserRow.id == user_id).values(roles=",".join(roles)))


def disable(session: Session, user_id: int, now: datetime) -> None:
    session.execute(update(UserRow).where(UserRow.id == user_id).values(disabled_at=now))
    end_all(session, user_id)


def enable(session: Session, user_id: int) -> None:
    session.execute(update(UserRow).where(UserRow.id == user_id).values(disabled_at=None))


def begin_session(session: Session, user_id: int, secret: str, now: datetime) -> None:
    session.add(SessionRow(user_id=user_id, digest=digest(secret), created_at=now, used_at=now))


def held(session: Session, secret: str) -> Held | None:
    """The session whose cookie this is, expired or not."""
    found = session.execute(
        select(SessionRow, UserRow)
        .join(UserRow, UserRow.id == SessionRow.user_id)
        .where(SessionRow.digest == digest(secret))
    ).first()
    return None if found is None else Held(found[0].id, _user(found[1]), found[0].created_at, found[0].used_at)


def use_session(session: Session, session_id: int, now: datetime) -> None:
    session.execute(update(SessionRow).where(SessionRow.id == session_id).values(used_at=now))


def end_session(session: Session, secret: str) -> None:
    session.execute(delete(SessionRow).where(SessionRow.digest == digest(secret)))


def end_all(session: Session, user_id: int) -> None:
    session.execute(delete(SessionRow).where(SessionRow.user_id == user_id))


def forget_sessions(session: Session, begun_before: datetime, used_before: datetime) -> None:
    """Those that have expired."""
    expired = (SessionRow.created_at < begun_before) | (SessionRow.used_at < used_before)
    session.execute(delete(SessionRow).where(expired))


def add_token(
    session: Session, user_id: int, name: str, secret: str, scopes: Sequence[str], now: datetime, expires_at: datetime
) -> None:
    session.add(
        TokenRow(
            user_id=user_id, name=name, digest=digest(secret), scopes=",".join(scopes),
            created_at=now, expires_at=expires_at,
        )
    )  # fmt: skip


def token(session: Session, secret: str) -> Token | None:
    """The token with this secret, expired and revoked ones too."""
    joined = select(TokenRow, UserRow).join(UserRow, UserRow.id == TokenRow.user_id)
    found = session.execute(joined.where(TokenRow.digest == digest(secret))).first()
    return None if found is None else _token(found[0], found[1])


def tokens(session: Session) -> list[Token]:
    joined = select(TokenRow, UserRow).join(UserRow, UserRow.id == TokenRow.user_id)
    return [_token(row, user) for row, user in session.execute(joined.order_by(TokenRow.name))]


def revoke(session: Session, name: str, now: datetime) -> bool:
    """False where no token has this name, or it was revoked before."""
    wanted = select(TokenRow).where(TokenRow.name == name, TokenRow.revoked_at.is_(None))
    row = session.scalar(wanted)
    if row is not None:
        row.revoked_at = now
    return row is not None


def _user(row: UserRow) -> User:
    roles = tuple(row.roles.split(","))
    return User(row.id, row.name, roles, row.password_hash, row.issuer or "", row.disabled_at)


def _token(row: TokenRow, user: UserRow) -> Token:
    return Token(row.name, _user(user), tuple(row.scopes.split(",")), row.expires_at, row.revoked_at)
