"""A key that was good a moment ago opens without a look into the database, and never longer than it may."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, update

from service.access import auth, keyring
from service.access.keyring import Keyring
from service.db import Sessions, make_engine, make_sessions, transaction
from service.errors import UnauthorizedError
from service.settings import Settings
from service.tables import ApiKey, utc_now
from tests.applications import new_app
from tests.service.access.test_auth import bearer

LONG_S, SHORT_S = 60, 0.3


@pytest.fixture
def sessions(sqlite_url: str) -> Iterator[Sessions]:
    engine = make_engine(sqlite_url)
    yield make_sessions(engine)
    engine.dispose()


def new_key(sessions: Sessions, ends_in_s: float | None = None) -> str:
    with transaction(sessions) as session:
        row, key = auth.create_key(session, "ada", ["infer"])
        if ends_in_s is not None:
            row.expires_at = utc_now() + timedelta(seconds=ends_in_s)
    return key


def revoke_elsewhere(sessions: Sessions, key: str) -> None:
    """As another process does, of which this one hears nothing."""
    with transaction(sessions) as session:
        session.execute(update(ApiKey).where(ApiKey.id == key.split("_")[1]).values(revoked_at=utc_now()))


def test_a_second_request_with_a_key_asks_no_database(sqlite_url: str, sessions: Sessions) -> None:
    key = new_key(sessions)
    settings = Settings(host="0.0.0.0", FUSEBOX_DATABASE_URL=sqlite_url, FUSEBOX_REDIS_URL="")  # type: ignore[call-arg]
    asked: list[str] = []
    with TestClient(new_app(settings)) as client:
        resources = client.app.state.resources  # type: ignore[attr-defined]
        event.listen(resources.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
        body = {"model": "nothing", "input": "a"}
        for first in (True, False):
            asked.clear()
            assert client.post("/v1/embeddings", json=body, headers=bearer(key)).status_code == 404
            assert bool(asked) is first
        assert client.get("/v1/jobs", headers=bearer(key)).json()["code"] == "scope_missing"
        wrong = client.post("/v1/embeddings", json=body, headers=bearer(key[:-1]))
        assert wrong.json()["code"] == "bad_api_key"


def test_what_this_process_revokes_is_forgotten_once_it_is_committed(sessions: Sessions) -> None:
    key, other = new_key(sessions), new_key(sessions)
    keys = Keyring(sessions, LONG_S)
    keys.principal_of(key)
    with sessions() as session:
        auth.revoke_key(session, key.split("_")[1])
        session.rollback()
    assert keys.remembered(key) is not None, "it was not revoked after all"
    with transaction(sessions) as session:
        auth.revoke_key(session, key.split("_")[1])
        assert keys.remembered(key) is not None
    assert keys.remembered(key) is None
    with pytest.raises(UnauthorizedError, match="revoked"):
        keys.principal_of(key)
    assert keys.principal_of(other).name == "key:ada"
    assert keys.remembered(other) is not None


def test_what_others_revoke_works_on_until_the_time_is_over(sessions: Sessions) -> None:
    key = new_key(sessions)
    keys = Keyring(sessions, SHORT_S)
    keys.principal_of(key)
    revoke_elsewhere(sessions, key)
    assert keys.remembered(key) == auth.Principal("key:ada", frozenset({"infer"}))
    time.sleep(SHORT_S)
    assert keys.remembered(key) is None


def test_a_key_that_ends_ends_though_it_is_remembered(sessions: Sessions) -> None:
    key = new_key(sessions, ends_in_s=SHORT_S)
    keys = Keyring(sessions, LONG_S)
    keys.principal_of(key)
    assert keys.remembered(key) is not None
    time.sleep(SHORT_S)
    assert keys.remembered(key) is None


def test_with_no_time_to_remember_every_request_looks(sessions: Sessions) -> None:
    key = new_key(sessions)
    keys = Keyring(sessions, 0)
    keys.principal_of(key)
    assert keys.remembered(key) is None


def test_wrong_keys_are_not_remembered_and_good_ones_are_few(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "MOST_KEYS", 2)
    keys = Keyring(sessions, LONG_S)
    good = [new_key(sessions) for _ in range(3)]
    for key in good:
        keys.principal_of(key)
    assert [keys.remembered(key) is not None for key in good] == [False, True, True]
    for wrong in (good[2] + "x", "fbx_\ud800_x", "x" * 10**6, "", good[2][:-1]):
        with pytest.raises(UnauthorizedError):
            keys.principal_of(wrong)
        assert keys.remembered(wrong) is None
    assert keys.remembered(good[2]) is not None
