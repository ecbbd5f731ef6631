"""Who works and what waits: told from attempts and leases, in the order in which jobs are taken."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.db import Sessions, transaction
from service.tables import Job, utc_now
from tests.service.rows import SPEC, claimed, row, settled, started, submitted


def workers(client: TestClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/workers").json()["data"]
    return found


def cpu(client: TestClient) -> dict[str, Any]:
    queues: list[dict[str, Any]] = client.get("/v1/queues").json()["data"]
    assert [queue["name"] for queue in queues] == ["cpu", "gpu"]
    return queues[0]


def test_where_nobody_has_worked_there_is_no_worker_and_nothing_waits(emptied: TestClient) -> None:
    assert workers(emptied) == []
    assert cpu(emptied) == {
        "name": "cpu", "at_work": 0, "waiting": 0, "held": 0, "usual_wait_s": None, "jobs": []
    }  # fmt: skip


def test_a_worker_at_work_says_on_what_and_one_that_is_done_when_it_was_heard_of(
    emptied: TestClient, emptied_sessions: Sessions
) -> None:
    first, second = submitted(emptied, name="first")["id"], submitted(emptied, name="second")["id"]
    settled(emptied_sessions, started(emptied_sessions, "early"), "succeeded")
    started(emptied_sessions, "busy")
    busy, early = workers(emptied)
    assert (busy["name"], busy["state"], busy["ended"]) == ("busy", "at_work", 0)
    assert [(job["id"], job["name"], job["state"], job["attempt"]) for job in busy["jobs"]] == [
        (second, "second", "running", 1)
    ]
    assert (early["name"], early["state"], early["jobs"], early["ended"], early["lost"]) == ("early", "idle", [], 1, 0)  # fmt: skip
    assert early["heard_at"] < busy["heard_at"]
    assert row(emptied_sessions, first).state == "succeeded"


def test_a_worker_whose_lease_has_run_out_is_late(emptied: TestClient, emptied_sessions: Sessions) -> None:
    job_id = submitted(emptied)["id"]
    started(emptied_sessions, "slow")
    with transaction(emptied_sessions) as session:
        session.get_one(Job, job_id).lease_expires_at = utc_now() - timedelta(seconds=1)
    [slow] = workers(emptied)
    assert slow["state"] == "late"


def test_attempts_lost_to_crashes_are_counted(emptied: TestClient, emptied_sessions: Sessions) -> None:
    submitted(emptied)
    settled(emptied_sessions, claimed(emptied_sessions, "fragile"), "lost", "worker_lost", "gone")
    [fragile] = workers(emptied)
    assert (fragile["ended"], fragile["lost"]) == (1, 1)
    assert [job["waits_for"] for job in cpu(emptied)["jobs"]] == ["pause"]


def test_a_queue_stands_in_the_order_in_which_it_is_taken(
    emptied: TestClient, emptied_sessions: Sessions
) -> None:
    low = submitted(emptied, priority=-1)["id"]
    first, urgent = submitted(emptied)["id"], submitted(emptied, priority=5)["id"]
    held = submitted(emptied, priority=100, after=low)["id"]
    queue = cpu(emptied)
    assert [job["id"] for job in queue["jobs"]] == [urgent, first, low, held]
    assert (queue["waiting"], queue["held"]) == (3, 1)
    assert (queue["jobs"][3]["waits_for"], queue["jobs"][3]["after_id"]) == ("job", low)
    assert [claimed(emptied_sessions).job_id for _ in range(3)] == [urgent, first, low]
    assert cpu(emptied)["usual_wait_s"] >= 0


def test_a_long_queue_is_counted_whole_and_shown_in_part(
    emptied: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.workers.MOST_SHOWN", 2)
    for _ in range(3):
        submitted(emptied)
    queue = cpu(emptied)
    assert (queue["waiting"], len(queue["jobs"])) == (3, 2)


# ------------------------------------------------------------------------------- what the dashboard asks besides


def test_jobs_are_found_by_a_part_of_their_name_or_by_their_id(emptied: TestClient) -> None:
    job_id = submitted(emptied, name="Ünder 100% <b>wörk</b>")["id"]
    submitted(emptied, name="another")

    def found(text: str) -> list[str]:
        answer = emptied.get("/v1/jobs", params={"text": text})
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["data"]]

    assert found("100% <B>") == found(job_id) == found("nder") == [job_id]
    assert found("100_") == found("%%") == []  # they mean themselves
    assert emptied.get("/v1/jobs", params={"text": "x" * 256}).json()["errors"][0]["pointer"] == "/query/text"


def test_what_builds_on_a_training_is_found_by_it(emptied: TestClient) -> None:
    training = submitted(emptied)["id"]
    probe = submitted(emptied, "probe", {"run": training}, after=training)["id"]
    found = emptied.get("/v1/jobs", params={"source_job_id": training}).json()["data"]
    assert [job["id"] for job in found] == [probe]


@pytest.mark.parametrize("kind", ["train", "probe", "export"])
def test_every_kind_of_spec_is_described_by_its_schema(emptied: TestClient, kind: str) -> None:
    schema = emptied.get(f"/v1/specs/{kind}").json()
    assert "seed" in schema["properties"] or "run" in schema["properties"]
    if kind == "train":
        assert set(SPEC) <= schema["properties"].keys()
        assert schema["properties"]["epochs"]["default"] == 100


def test_an_unknown_kind_has_no_schema(emptied: TestClient) -> None:
    answer = emptied.get("/v1/specs/nothing")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/path/kind"
