"""Is this the password of this user? argon2id (RFC 9106); a user who is unknown takes as long as one who is not.

Whoever answers no also says so in the audit trail, without the name that was given unless it is a user's: people type
passwords into the wrong field. A right answer is remembered for a few minutes for clients that send the password with
each request; it is forgotten at once when the user has another password or is disabled.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import ARGON2_VERSION

from node.core.audit import AuditEvent, Recent
from node.core.errors import Misconfigured
from node.core.rights import NAME
from node.db import accounts, audit
from node.db.accounts import User
from node.db.session import Database
from node.web.auth.attempts import OF_ADDRESS, OF_USER, WINDOW_SECONDS, Attempts

HASHER = PasswordHasher()
SHORTEST, LONGEST = 12, 256  # letters; NIST SP 800-63B section 3.1.1.2 wants at least 8, and 15 where nothing is beside
AT_ONCE = 2  # hashes of 64 MiB
KNOWN_SECONDS = 300.0
WRONG = "Name or password are wrong."
TOO_OFTEN = "Too many wrong attempts; try again in {minutes} min."


@dataclass(frozen=True)
class Denied:
    """retry_seconds: above 0 where it was not even tried."""

    sentence: str
    retry_seconds: float = 0.0


def hashed(password: str) -> str:
    """Misconfigured where it is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Misconfigured(f"a password has {SHORTEST} to {LONGEST} letters")
    return HASHER.hash(password)


def made_up() -> str:
    """A password that nobody has to remember."""
    return secrets.token_urlsafe(18)


def of_nobody() -> str:
    """A hash that takes as long to check as any, and that no password has. It is not computed: each start would pay."""
    sizes = (HASHER.salt_len, HASHER.hash_len)
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in sizes)
    costs = f"m={HASHER.memory_cost},t={HASHER.time_cost},p={HASHER.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${digest}"


@dataclass
class Passwords:
    database: Database
    clock: Callable[[], datetime]
    attempts: Attempts = field(default_factory=Attempts)
    seconds: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._slots, self._nobody = threading.BoundedSemaphore(AT_ONCE), of_nobody()
        self._key, self._known = secrets.token_bytes(32), OrderedDict[bytes, tuple[str, float]]()
        self._guard, self._told = threading.Lock(), Recent()

    def check(self, name: str, password: str, address: str, way: str) -> User | Denied:
        """way: "session" for a login, "password" for one request. A login tells of itself with its session."""
        with self.database.read() as session:
            user = accounts.by_name(session, name) if NAME.fullmatch(name) else None
        known = self._fingerprint(name, password)
        if way == "password" and user and user.disabled_at is None and self._is_known(known, user):
            return user
        keys = {f"user {hashlib.sha256(name.encode()).hexdigest()}": OF_USER, f"address {address}": OF_ADDRESS}
        if wait := self.attempts.begin(keys):
            self._tell_once(user, address, way)
            return Denied(TOO_OFTEN.format(minutes=int(wait // 60) + 1), wait)
        right = self._is_right(user, password)
        if user is None or not right or user.disabled_at is not None:
            self._tell(user, address, {"way": way, "reason": "disabled" if user and right else "wrong"}, "minor")
            return Denied(WRONG)
        self.attempts.succeeded(*keys)
        if way == "password":
            self._tell(user, address, {"way": way})
            self._remember(known, user)
        return user

    def _is_right(self, user: User | None, password: str) -> bool:
        wanted = user.password_hash if user and user.password_hash else self._nobody
        if len(password) > LONGEST:
            return False
        with self._slots:
            try:
                HASHER.verify(wanted, password)
            except (Argon2Error, InvalidHashError):
                return False
            if user and HASHER.check_needs_rehash(wanted):
                with self.database.write() as session:
                    accounts.rehash(session, user.id, HASHER.hash(password))
        return bool(user and user.password_hash)

    def _fingerprint(self, name: str, password: str) -> bytes:
        given = f"{len(name)} {name} {password}".encode()
        return hashlib.blake2b(given, key=self._key).digest()

    def _is_known(self, fingerprint: bytes, user: User) -> bool:
        with self._guard:
            password_hash, until = self._known.get(fingerprint, ("", 0.0))
            return bool(password_hash) and password_hash == user.password_hash and self.seconds() < until

    def _remember(self, fingerprint: bytes, user: User) -> None:
        with self._guard:
            self._known[fingerprint] = (user.password_hash, self.seconds() + KNOWN_SECONDS)
            if len(self._known) > 1000:
                self._known.popitem(last=False)

    def _tell_once(self, user: User | None, address: str, way: str) -> None:
        """That attempts are refused is one row in a while, however many there are."""
        key, now = (user.name if user else "", address), self.seconds()
        if not self._told.has(key, now - WINDOW_SECONDS):
            self._told.add(key, now)
            self._tell(user, address, {"way": way, "reason": "too many attempts"}, "serious")

    def _tell(self, user: User | None, address: str, details: dict[str, str], outcome: str = "success") -> None:
        actor = user.name if user else "unknown user"
        event = AuditEvent("login", outcome, actor=actor, address=address, details=details)
        with self.database.write() as session:
            audit.append(session, event, self.clock())
