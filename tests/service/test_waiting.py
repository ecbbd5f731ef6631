"""Jobs that wait for others: they start once those have succeeded, and share their failure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from service import jobs, leases, requests
from service.bell import RINGS, SilentBell
from service.db import Sessions, transaction
from service.errors import ConflictError, FuseboxError
from service.leases import Lease, Worker
from service.tables import Job, utc_now
from service.worker.reconcile import free_lost_jobs, ring_again
from tests.service.rows import LEASE_S, SPEC, checkpointed, claimed, row, settled, started, submitted, trained

WITH_BEST = SPEC | {"probe": {"every_epochs": 1}}


@pytest.fixture
def client(emptied: TestClient) -> TestClient:
    return emptied


@pytest.fixture
def sessions(emptied_sessions: Sessions) -> Sessions:
    return emptied_sessions


class CountingBell:
    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, job_id: str, queue: str) -> None:
        self.rung.append(job_id)


def nothing_to_claim(sessions: Sessions) -> bool:
    return leases.claim(sessions, ("cpu", "gpu"), Worker("idle", "host"), LEASE_S) is None


def probe_after(client: TestClient, training: str, **rest: Any) -> str:
    job_id: str = submitted(client, "probe", {"run": training}, after=training, **rest)["id"]
    return job_id


def state(sessions: Sessions, job_id: str) -> tuple[str, str | None]:
    job = row(sessions, job_id)
    return job.state, job.reason


def asked(client: TestClient, kind: str, spec: dict[str, Any], after: str | None, dry: bool = False) -> Any:
    body = {"kind": kind, "spec": spec} | ({"after": after} if after else {})
    return client.post("/v1/jobs", params={"dry_run": dry}, json=body)


def problem(answer: Any) -> tuple[int, str, list[str]]:
    content = answer.json()
    return answer.status_code, content["code"], [each["pointer"] for each in content["errors"]]


def test_a_probe_can_be_asked_for_with_its_training_and_starts_after_it(
    client: TestClient, sessions: Sessions
) -> None:
    training = submitted(client)["id"]
    probe = probe_after(client, training, priority=50)
    assert client.get(f"/v1/jobs/{probe}").json()["after_id"] == training
    lease = claimed(sessions)
    assert lease.job_id == training, "however urgent it is, it waits"
    assert nothing_to_claim(sessions)
    with transaction(sessions) as session:
        jobs.move(session, leases.held(session, lease), "running")
    settled(sessions, lease, "interrupted")
    lease = started(sessions)
    assert lease.job_id == training
    settled(sessions, lease, "succeeded")
    assert claimed(sessions).job_id == probe


def test_a_job_may_wait_for_any_other_and_for_one_that_has_succeeded(
    client: TestClient, sessions: Sessions
) -> None:
    ended = trained(sessions)
    assert submitted(client, after=ended)["after_id"] == ended
    first = claimed(sessions).job_id
    second = submitted(client, spec=SPEC | {"seed": 1}, after=first)["id"]
    third = submitted(client, spec=SPEC | {"seed": 2}, after=second)["id"]
    assert nothing_to_claim(sessions)
    assert [row(sessions, each).after_id for each in (first, second, third)] == [ended, first, second]


def test_an_export_can_be_asked_for_with_its_training(client: TestClient) -> None:
    training = submitted(client)["id"]
    spec = {"run": training, "name": "digits"}
    assert problem(asked(client, "export", spec, None)) == (409, "no_checkpoint", [])
    assert "`after`" in asked(client, "export", spec, None).json()["detail"]
    assert asked(client, "export", spec, training).status_code == 201


def test_what_can_be_known_before_the_training_is_checked_before_it(
    client: TestClient, sessions: Sessions
) -> None:
    training = submitted(client)["id"]
    other = submitted(client)["id"]

    def tried(after: str = training, **spec: Any) -> Any:
        return problem(asked(client, "probe", {"run": training, **spec}, after))

    assert tried(tasks=["colour"]) == (422, "unknown_task", ["/spec/tasks/0"])
    assert tried(checkpoint="best") == (422, "no_best_checkpoint", ["/spec/checkpoint"])
    assert tried(checkpoint=8) == (409, "no_checkpoint", [])
    assert tried(after=other) == (409, "no_checkpoint", [])
    assert tried(after="job_nowhere") == (422, "job_not_found", ["/after"])
    checkpointed(sessions, training, 8)
    assert asked(client, "probe", {"run": training, "checkpoint": 8}, training).status_code == 201
    probed = submitted(client, spec=WITH_BEST)["id"]
    assert asked(client, "probe", {"run": probed, "checkpoint": "best"}, probed).status_code == 201


def test_after_a_training_that_has_succeeded_its_checkpoints_are_looked_at(
    client: TestClient, sessions: Sessions
) -> None:
    training = trained(sessions)
    assert problem(asked(client, "probe", {"run": training}, training)) == (409, "no_checkpoint", [])
    checkpointed(sessions, training, 16)
    assert asked(client, "probe", {"run": training}, training).status_code == 201


def test_a_dry_run_knows_what_a_job_would_wait_for(client: TestClient, sessions: Sessions) -> None:
    training = submitted(client)["id"]
    checkpointed(sessions, training, 8)
    waiting = asked(client, "probe", {"run": training}, training, dry=True).json()
    assert (waiting["after_id"], waiting["warnings"]) == (training, [])
    hasty = asked(client, "probe", {"run": training}, None, dry=True).json()
    assert hasty["after_id"] is None
    assert "`after`" in hasty["warnings"][0]
    assert problem(asked(client, "train", SPEC, "job_nowhere", dry=True))[:2] == (422, "job_not_found")


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_nothing_can_wait_for_what_did_not_succeed(
    client: TestClient, sessions: Sessions, ending: str
) -> None:
    training = trained(sessions, state=ending)
    answer = asked(client, "train", SPEC, training)
    assert problem(answer) == (409, "dependency_failed", [])
    assert training in answer.json()["detail"]
    assert "retry" in answer.json()["detail"]


def test_what_waits_for_a_failed_job_is_cancelled_with_all_that_waits_for_it(
    client: TestClient, sessions: Sessions
) -> None:
    training = submitted(client)["id"]
    probe = probe_after(client, training)
    later = submitted(client, spec=SPEC | {"seed": 1}, after=probe)["id"]
    other = submitted(client, spec=SPEC | {"seed": 2})["id"]
    settled(sessions, started(sessions), "failed", "non_finite_loss", "the loss is NaN")
    assert state(sessions, training) == ("failed", "non_finite_loss")
    assert [state(sessions, each) for each in (probe, later)] == [("cancelled", "dependency_failed")] * 2
    assert state(sessions, other) == ("queued", None)
    told = client.get(f"/v1/jobs/{probe}").json()
    assert training in told["error"]
    assert "failed" in told["error"]
    assert told["finished_at"] is not None
    assert probe in (row(sessions, later).error or "")
    last = client.get(f"/v1/jobs/{probe}/events").json()["data"][-1]
    assert (last["data"]["to"], last["data"]["reason"]) == ("cancelled", "dependency_failed")


def test_a_job_that_is_only_interrupted_keeps_those_that_wait_for_it(
    client: TestClient, sessions: Sessions
) -> None:
    training = submitted(client)["id"]
    probe = probe_after(client, training)
    lease = started(sessions)
    with transaction(sessions) as session:
        session.get_one(Job, training).lease_expires_at = utc_now()
    free_lost_jobs(sessions, SilentBell())
    assert lease.job_id == training
    assert [state(sessions, each)[0] for each in (training, probe)] == ["queued", "queued"]


def test_a_job_that_is_given_up_cancels_those_that_wait_for_it(
    client: TestClient, sessions: Sessions
) -> None:
    training = submitted(client, max_attempts=1)["id"]
    probe = probe_after(client, training)
    claimed(sessions)
    with transaction(sessions) as session:
        session.get_one(Job, training).lease_expires_at = utc_now()
    free_lost_jobs(sessions, SilentBell())
    assert state(sessions, training) == ("failed", "worker_lost")
    assert state(sessions, probe) == ("cancelled", "dependency_failed")


@pytest.mark.parametrize("when", ["queued", "running"])
def test_cancelling_a_job_cancels_what_waits_for_it_once_it_has_stopped(
    client: TestClient, sessions: Sessions, when: str
) -> None:
    training = submitted(client)["id"]
    probe = probe_after(client, training)
    if when == "running":
        lease = started(sessions)
        client.post(f"/v1/jobs/{training}/cancel")
        assert state(sessions, probe) == ("queued", None), "the training may yet succeed"
        settled(sessions, lease, "cancelled")
    else:
        client.post(f"/v1/jobs/{training}/cancel")
    assert state(sessions, training) == ("cancelled", "user_cancelled")
    assert state(sessions, probe) == ("cancelled", "dependency_failed")


def test_retrying_a_job_brings_back_what_was_cancelled_because_of_it(
    client: TestClient, sessions: Sessions
) -> None:
    training = submitted(client)["id"]
    probe, unwanted = probe_after(client, training), probe_after(client, training)
    later = submitted(client, spec=SPEC | {"seed": 1}, after=probe)["id"]
    client.post(f"/v1/jobs/{unwanted}/cancel")
    settled(sessions, started(sessions), "failed", "data_error", "no data")
    early = client.post(f"/v1/jobs/{probe}/retry")
    assert problem(early) == (409, "dependency_failed", [])
    assert training in early.json()["detail"]
    assert client.post(f"/v1/jobs/{training}/retry").status_code == 200
    assert [state(sessions, each) for each in (training, probe, later)] == [("queued", None)] * 3
    assert row(sessions, probe).error is None
    assert row(sessions, probe).finished_at is None
    assert state(sessions, unwanted) == ("cancelled", "user_cancelled")
    assert client.post(f"/v1/jobs/{unwanted}/retry").json()["state"] == "queued"
    for expected in (training, probe):
        lease = started(sessions)
        assert lease.job_id == expected
        settled(sessions, lease, "succeeded")


def test_what_waited_is_rung_for_at_once_and_again_when_the_ring_was_lost(
    client: TestClient, sessions: Sessions
) -> None:
    training = submitted(client)["id"]
    probe = probe_after(client, training)
    with transaction(sessions) as session:
        session.execute(update(Job).values(rung_at=None))
    bell = CountingBell()
    ring_again(sessions, bell, after_s=0)
    assert bell.rung == [training], "nobody need come for what may not start yet"
    lease = started(sessions)
    with transaction(sessions) as session:
        leases.settle(session, leases.held(session, lease), leases.Ending("succeeded"))
    assert session.info[RINGS] == [(probe, "cpu")]
    assert ring_again(sessions, bell, after_s=60) == 0
    ring_again(sessions, bell, after_s=0)
    assert bell.rung == [training, probe]


def test_a_clone_waits_for_what_the_job_was_to_wait_for(client: TestClient) -> None:
    training = submitted(client)["id"]
    probe = probe_after(client, training)
    clone = client.post(f"/v1/jobs/{probe}/clone", json={"spec": {"seed": 1}})
    assert clone.status_code == 201, clone.text
    assert clone.json()["after_id"] == training


ENDS: dict[str, Callable[[Sessions, Lease], None]] = {
    "succeeded": lambda sessions, lease: settled(sessions, lease, "succeeded"),
    "failed": lambda sessions, lease: settled(sessions, lease, "failed", "data_error", "no data"),
    "cancelled": lambda sessions, lease: cancel_and_stop(sessions, lease),
}


def cancel_and_stop(sessions: Sessions, lease: Lease) -> None:
    with transaction(sessions) as session:
        jobs.cancel(session, jobs.locked(session, lease.job_id), "ann")
    settled(sessions, lease, "cancelled")


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each returns, or the error it raises, when all begin at the same moment."""
    together = threading.Barrier(len(works))

    def begun(work: Callable[[], Any]) -> Any:
        together.wait()
        try:
            return work()
        except FuseboxError as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begun, works))


@pytest.mark.parametrize("ending", ENDS)
def test_a_job_made_at_the_moment_its_awaited_one_ends_shares_its_fate(
    sessions: Sessions, ending: str
) -> None:
    """Whichever comes first, nothing is left that waits for a job that will never succeed."""

    def made(training: str) -> str:
        with transaction(sessions) as session:
            request = requests.checked(session, "train", SPEC | {"seed": 1}, training)
            return jobs.create(session, request, actor="tests").id

    for _ in range(6):
        with transaction(sessions) as session:
            training = jobs.create(session, requests.checked(session, "train", SPEC), actor="tests").id
        lease = started(sessions)
        child, _ended = at_once(lambda t=training: made(t), lambda ll=lease: ENDS[ending](sessions, ll))
        assert row(sessions, training).state == ending
        if isinstance(child, ConflictError):
            assert ending != "succeeded"
            assert child.code == "dependency_failed"
        elif ending == "succeeded":
            assert claimed(sessions).job_id == child
            with transaction(sessions) as session:
                jobs.move(
                    session, session.get_one(Job, child), "failed", reason="test", finished_at=utc_now()
                )
        else:
            assert state(sessions, child) == ("cancelled", "dependency_failed")


def test_of_a_retry_and_the_awaited_jobs_failure_at_once_nothing_is_left_waiting(sessions: Sessions) -> None:
    def retried(job_id: str) -> None:
        with transaction(sessions) as session:
            jobs.retry(session, jobs.locked(session, job_id), "ann")

    for _ in range(6):
        with transaction(sessions) as session:
            training = jobs.create(session, requests.checked(session, "train", SPEC), actor="tests").id
            request = requests.checked(session, "train", SPEC | {"seed": 1}, training)
            child = jobs.create(session, request, actor="tests")
            jobs.cancel(session, child, "ann")
        lease = started(sessions)
        at_once(lambda c=child.id: retried(c), lambda ll=lease: ENDS["failed"](sessions, ll))
        assert state(sessions, training) == ("failed", "data_error")
        assert row(sessions, child.id).state == "cancelled"


def test_two_awaited_jobs_that_end_at_once_do_not_wait_for_each_other(sessions: Sessions) -> None:
    for _ in range(4):
        with transaction(sessions) as session:
            chains = []
            for seed in (1, 2):
                first = requests.checked(session, "train", SPEC | {"seed": seed})
                chain = [jobs.create(session, first, actor="tests").id]
                for _ in range(2):
                    again = requests.checked(session, "train", SPEC | {"seed": seed}, chain[-1])
                    chain.append(jobs.create(session, again, actor="tests").id)
                chains.append(chain)
        held = [started(sessions), started(sessions)]
        assert at_once(*(lambda ll=lease: ENDS["failed"](sessions, ll) for lease in held)) == [None, None]
        waited = [job_id for chain in chains for job_id in chain[1:]]
        assert {state(sessions, job_id) for job_id in waited} == {("cancelled", "dependency_failed")}
