"""A request that is sent again makes its job once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from service import idempotency, jobs, requests
from service.access.auth import create_key
from service.db import Sessions, transaction
from service.tables import IdempotencyKey, Job
from tests.service.rows import SPEC

BODY = {"kind": "train", "spec": SPEC, "name": "once"}


def sent(
    client: TestClient,
    key: str = "key-1",
    body: dict[str, Any] = BODY,
    path: str = "/v1/jobs",
    **headers: str,
) -> Any:
    return client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def n_jobs(sessions: Sessions) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def test_the_same_request_gets_the_same_answer(client: TestClient, sessions: Sessions) -> None:
    first, second = sent(client), sent(client)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert n_jobs(sessions) == 1


def test_what_means_the_same_is_the_same_request(client: TestClient, sessions: Sessions) -> None:
    first = sent(client)
    reordered = {"name": "once", "tags": [], "spec": dict(reversed(SPEC.items())), "kind": "train"}
    assert sent(client, body=reordered).json() == first.json()
    assert n_jobs(sessions) == 1


@pytest.mark.parametrize("change", [{"name": "other"}, {"spec": SPEC | {"seed": 1}}, {"priority": 1}])
def test_a_key_that_came_with_another_request_is_refused(
    client: TestClient, sessions: Sessions, change: dict[str, Any]
) -> None:
    sent(client)
    answer = sent(client, body=BODY | change)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert answer.json()["errors"][0]["pointer"] == "/header/Idempotency-Key"
    assert n_jobs(sessions) == 1


def test_another_key_is_another_job(client: TestClient, sessions: Sessions) -> None:
    assert sent(client, "a").json()["id"] != sent(client, "b").json()["id"]
    assert n_jobs(sessions) == 2


def test_requests_without_a_key_are_each_their_own(client: TestClient, sessions: Sessions) -> None:
    for _ in range(2):
        assert client.post("/v1/jobs", json=BODY).status_code == 201
    assert n_jobs(sessions) == 2


def test_keys_of_different_people_do_not_meet(client: TestClient, sessions: Sessions) -> None:
    with transaction(sessions) as session:
        keys = [create_key(session, name, ["submit"])[1] for name in ("ann", "ben")]
    answers = [sent(client, Authorization=f"Bearer {key}") for key in keys]
    assert [answer.json()["created_by"] for answer in answers] == ["key:ann", "key:ben"]
    assert n_jobs(sessions) == 2


@pytest.mark.parametrize("n", [2, 8])
def test_of_equal_requests_at_once_one_makes_the_job_and_all_get_it(
    client: TestClient, sessions: Sessions, n: int
) -> None:
    together = threading.Barrier(n)

    def send(_: int) -> Any:
        together.wait()
        return sent(client)

    with ThreadPoolExecutor(n) as pool:
        answers = list(pool.map(send, range(n)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == n - 1
    assert n_jobs(sessions) == 1


def test_a_request_that_was_refused_may_be_mended_and_sent_with_its_key(
    client: TestClient, sessions: Sessions
) -> None:
    assert sent(client, body=BODY | {"spec": SPEC | {"epochs": 0}}).status_code == 422
    assert sent(client).status_code == 201
    assert n_jobs(sessions) == 1


def test_a_dry_run_uses_no_key_up(client: TestClient, sessions: Sessions) -> None:
    assert sent(client, path="/v1/jobs?dry_run=true").status_code == 200
    assert "idempotent-replayed" not in sent(client).headers
    assert n_jobs(sessions) == 1


def test_a_day_later_a_key_may_be_used_anew(client: TestClient, sessions: Sessions) -> None:
    first = sent(client)
    with transaction(sessions) as session:
        row = session.get_one(IdempotencyKey, ("local", "key-1"))
        row.created_at -= idempotency.LASTS - timedelta(minutes=1)
    assert sent(client).json() == first.json()
    with transaction(sessions) as session:
        session.get_one(IdempotencyKey, ("local", "key-1")).created_at -= timedelta(minutes=2)
    second = sent(client, body=BODY | {"name": "tomorrow"})
    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]
    assert sent(client, body=BODY | {"name": "tomorrow"}).json() == second.json()


def test_a_clone_is_made_once_too(client: TestClient, sessions: Sessions) -> None:
    job_id = sent(client).json()["id"]
    path = f"/v1/jobs/{job_id}/clone"
    first, second = (sent(client, "clone-1", {"name": "copy"}, path) for _ in range(2))
    assert second.json() == first.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert sent(client, "key-1", {"name": "copy"}, path).json()["code"] == "idempotency_key_reused"
    assert n_jobs(sessions) == 2


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é"])
def test_a_key_is_of_visible_characters(client: TestClient, sessions: Sessions, key: str) -> None:
    answer = client.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": key.encode()})  # type: ignore[dict-item]
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/header/Idempotency-Key")
    assert n_jobs(sessions) == 0


def test_the_key_is_kept_only_when_the_job_is(sessions: Sessions) -> None:
    """Both are in one transaction: when it breaks, neither is there, and the request can be sent again."""

    def ask(*, dying: bool = False) -> tuple[str, bool]:
        with transaction(sessions) as session:
            request = requests.checked(session, "train", SPEC)
            job, replayed = idempotency.once(
                session, "local", "key-1", "f" * 64, lambda: jobs.create(session, request, actor="local")
            )
            if dying:
                raise KeyboardInterrupt
            return job.id, replayed

    with pytest.raises(KeyboardInterrupt):
        ask(dying=True)
    job_id, replayed = ask()
    assert not replayed
    assert ask() == (job_id, True)
    assert n_jobs(sessions) == 1


def test_keys_that_may_be_used_anew_are_removed_in_time(client: TestClient, sessions: Sessions) -> None:
    sent(client, "old")
    sent(client, "young")
    with transaction(sessions) as session:
        old = session.scalars(select(IdempotencyKey).where(IdempotencyKey.key == "old")).one()
        old.created_at -= timedelta(hours=25)
    with transaction(sessions) as session:
        idempotency.forget_old(session)
    with sessions() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["young"]
    assert n_jobs(sessions) == 2
