"""Users, sessions and tokens in the database, on both engines: what a change takes with it, and what cannot be twice.

Not covered: who is let in by them (tests/web).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from node.db import accounts
from node.db.session import Database

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


@pytest.fixture
def database(any_database: Database) -> Database:
    return any_database


def test_a_user_comes_back_as_it_was_written(database: Database) -> None:
    with database.write() as session:
        local = accounts.add(session, "anna", ("reader", "auditor"), "hash", NOW)
        foreign = accounts.add(session, "otto@clinic", ("operator",), "", NOW, "https://provider", "4711")
    with database.read() as session:
        assert accounts.users(session) == [local, foreign] and local.roles == ("reader", "auditor")
        assert accounts.by_name(session, "anna") == local and accounts.by_name(session, "nobody") is None
        assert accounts.by_subject(session, "https://provider", "4711") == foreign
        assert accounts.by_subject(session, "https://another", "4711") is None


def test_a_name_a_subject_and_a_token_are_there_once(database: Database) -> None:
    with database.write() as session:
        anna = accounts.add(session, "anna", ("reader",), "", NOW, "https://provider", "4711")
        accounts.add(session, "local", ("reader",), "hash", NOW)
        accounts.add(session, "too", ("reader",), "hash", NOW)  # several have no subject
        accounts.add_token(session, anna.id, "pacs", "secret", ("view",), NOW, LATER)
    for name, subject in (("anna", "4712"), ("another", "4711")):
        with pytest.raises(IntegrityError), database.write() as session:
            accounts.add(session, name, ("reader",), "", NOW, "https://provider", subject)
    with pytest.raises(IntegrityError), database.write() as session:
        accounts.add_token(session, anna.id, "pacs", "another secret", ("view",), NOW, LATER)


def test_sessions_go_with_the_password_the_user_and_their_time(database: Database) -> None:
    with database.write() as session:
        anna, otto = (accounts.add(session, name, ("reader",), "hash", NOW) for name in ("anna", "otto"))
        for user, secret in ((anna, "a"), (anna, "b"), (otto, "c"), (otto, "d")):
            accounts.begin_session(session, user.id, secret, NOW)
    with database.write() as session:
        accounts.set_password(session, anna.id, "another hash")
        found = {secret: accounts.held(session, secret) for secret in "abcd"}
        assert [secret for secret, held in found.items() if held] == ["c", "d"]
        assert found["c"] and (found["c"].user, found["c"].created_at, found["c"].used_at) == (otto, NOW, NOW)
        accounts.use_session(session, found["c"].id, LATER)
    with database.write() as session:
        accounts.forget_sessions(session, begun_before=NOW - timedelta(days=9), used_before=NOW + timedelta(hours=1))
        assert [bool(accounts.held(session, secret)) for secret in "cd"] == [True, False]
        accounts.disable(session, otto.id, LATER)
        assert accounts.held(session, "c") is None
        assert accounts.by_name(session, "otto") != otto
        accounts.enable(session, otto.id)
        assert accounts.by_name(session, "otto") == otto and accounts.held(session, "c") is None


def test_a_token_is_known_by_its_secret_and_revoked_once(database: Database) -> None:
    with database.write() as session:
        anna = accounts.add(session, "anna", ("reader",), "hash", NOW)
        accounts.add_token(session, anna.id, "pacs", "secret", ("view", "figures"), NOW, LATER)
    with database.write() as session:
        token = accounts.token(session, "secret")
        assert token == accounts.Token("pacs", anna, ("view", "figures"), LATER, None)
        assert accounts.token(session, "pacs") is None and accounts.token(session, accounts.digest("secret")) is None
        assert accounts.revoke(session, "pacs", LATER) and not accounts.revoke(session, "pacs", LATER)
        assert [one.revoked_at for one in accounts.tokens(session)] == [LATER]
