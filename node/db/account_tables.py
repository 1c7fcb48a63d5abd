"""Who may use the node over HTTP: users, the sessions of their browsers, and the tokens of programs.

Of a password there is the argon2id hash, of a session's cookie and of a token the SHA-256: both are random, so that a
digest is enough. Nothing here lets anybody in who reads the database.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from node.db.tables import Base

NAME = String(64)
DIGEST = String(64)


class UserRow(Base):
    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(NAME, unique=True)
    roles: Mapped[str] = mapped_column(String(64))  # with commas
    password_hash: Mapped[str] = mapped_column(String(255))  # empty: no login by password
    issuer: Mapped[str | None] = mapped_column(String(255))  # of OpenID Connect, with the subject; None: a local user
    subject: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class SessionRow(Base):
    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    digest: Mapped[str] = mapped_column(DIGEST, unique=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]


class TokenRow(Base):
    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(NAME, unique=True)
    digest: Mapped[str] = mapped_column(DIGEST, unique=True)
    scopes: Mapped[str] = mapped_column(String(128))  # with commas
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
