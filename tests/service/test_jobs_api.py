"""Jobs over HTTP: submitted, found again, stopped, repeated, and asked what they have said."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from service import leases
from service.db import Sessions, transaction
from service.schemas.jobs import State
from service.settings import Settings
from service.states import STATES
from service.tables import Job
from tests.service.rows import (
    SPEC,
    checkpointed,
    claimed,
    scored,
    settled,
    started,
    submitted,
    trained,
)


def listed(client: TestClient, **filters: Any) -> list[str]:
    answer = client.get("/v1/jobs", params=filters)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["data"]]


def problem(answer: Any) -> tuple[int, str, list[str]]:
    content = answer.json()
    return answer.status_code, content["code"], [each["pointer"] for each in content["errors"]]


def test_the_states_that_are_told_are_those_that_are_kept() -> None:
    assert get_args(State) == STATES


def test_a_submitted_job_is_there_at_once_under_the_address_it_was_given(client: TestClient) -> None:
    answer = client.post(
        "/v1/jobs",
        json={
            "kind": "train",
            "spec": SPEC,
            "name": "first",
            "tags": ["b", "a", "b"],
            "priority": -3,
            "max_attempts": 5,
        },
    )
    job = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert client.get(answer.headers["location"]).json() == job
    assert (job["state"], job["attempt"], job["queue"], job["progress"]) == ("queued", 0, "cpu", {})
    assert (job["name"], job["tags"], job["priority"], job["max_attempts"]) == ("first", ["a", "b"], -3, 5)
    assert (job["method"], job["dataset"], job["seed"], job["created_by"]) == (
        "infmasking",
        "digits",
        42,
        "local",
    )
    assert job["spec"]["method"]["mask_ratio"] == 0.7
    events = client.get(f"/v1/jobs/{job['id']}/events").json()
    assert [(each["seq"], each["type"], each["actor"]) for each in events["data"]] == [(1, "state", "local")]


def test_a_dry_run_says_what_would_run_and_stores_nothing(client: TestClient) -> None:
    answer = client.post("/v1/jobs?dry_run=true", json={"kind": "train", "spec": SPEC})
    checked = answer.json()
    assert answer.status_code == 200
    assert (checked["valid"], checked["queue"], checked["total_steps"]) == (True, "cpu", 16)
    assert checked["duplicates"] == checked["warnings"] == []
    assert listed(client) == []
    job = submitted(client)
    assert (job["spec"], job["spec_sha256"]) == (checked["spec"], checked["spec_sha256"])


def test_a_dry_run_names_jobs_that_do_the_same(client: TestClient) -> None:
    same = [submitted(client)["id"] for _ in range(2)]
    submitted(client, spec=SPEC | {"seed": 1})
    client.post(f"/v1/jobs/{submitted(client)['id']}/cancel")
    checked = client.post("/v1/jobs?dry_run=1", json={"kind": "train", "spec": SPEC}).json()
    assert checked["duplicates"] == same[::-1]


def test_a_dry_run_fails_as_the_job_would(client: TestClient) -> None:
    body = {"kind": "train", "spec": SPEC | {"batch_size": 300}}
    dry, real = client.post("/v1/jobs?dry_run=true", json=body), client.post("/v1/jobs", json=body)
    assert dry.json() == real.json()
    assert problem(dry) == (422, "invalid_spec", ["/spec/batch_size"])


def test_a_misspelt_dry_run_starts_nothing(client: TestClient) -> None:
    answer = client.post("/v1/jobs?dryrun=true", json={"kind": "train", "spec": SPEC})
    assert problem(answer) == (422, "invalid_request", ["/query/dryrun"])
    assert listed(client) == []


def test_jobs_are_listed_newest_first_and_by_what_they_are(client: TestClient, sessions: Sessions) -> None:
    first = submitted(client, tags=["night"])["id"]
    second = submitted(client, spec=SPEC | {"method": "comm"})["id"]
    checkpointed(sessions, first, 16)
    probe = submitted(client, "probe", {"run": first})["id"]
    started(sessions)
    assert listed(client) == [probe, second, first]
    assert listed(client, kind="probe") == [probe]
    assert listed(client, state="running") == [first]
    assert listed(client, method="comm") == [second]
    assert listed(client, method="infmasking", kind="train") == [first]
    assert listed(client, dataset="digits") == [probe, second, first]
    assert listed(client, dataset="trifeatures") == []
    assert listed(client, tag="night") == [first]


def test_pages_show_every_job_once_also_when_new_ones_come_meanwhile(client: TestClient) -> None:
    there = [submitted(client)["id"] for _ in range(7)][::-1]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/jobs", params={"limit": 3, **cursor}).json()
        seen += [job["id"] for job in page["data"]]
        submitted(client)
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == there
    assert page["next_cursor"] is None


def test_a_queued_job_is_cancelled_at_once_and_one_at_work_is_asked_to_stop(
    client: TestClient, sessions: Sessions
) -> None:
    at_work, queued = submitted(client)["id"], submitted(client)["id"]
    lease = started(sessions)
    answer = client.post(f"/v1/jobs/{queued}/cancel")
    assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (
        200,
        "cancelled",
        "user_cancelled",
    )
    for _ in range(2):  # asking twice is as good as asking once
        answer = client.post(f"/v1/jobs/{at_work}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
    settled(sessions, lease, "interrupted")
    answer = client.post(f"/v1/jobs/{at_work}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def test_cancelling_a_job_that_has_ended_changes_nothing(client: TestClient, sessions: Sessions) -> None:
    job_id = submitted(client)["id"]
    settled(sessions, started(sessions), "succeeded")
    before = client.get(f"/v1/jobs/{job_id}").json()
    answer = client.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()) == (200, before)


def test_a_failed_job_can_be_retried_and_forgets_its_failure(client: TestClient, sessions: Sessions) -> None:
    job_id = submitted(client)["id"]
    settled(sessions, started(sessions), "failed", "non_finite_loss", "the loss is NaN in step 3")
    failed = client.get(f"/v1/jobs/{job_id}").json()
    assert (failed["state"], failed["reason"], failed["error"]) == (
        "failed",
        "non_finite_loss",
        "the loss is NaN in step 3",
    )
    answer = client.post(f"/v1/jobs/{job_id}/retry")
    job = answer.json()
    assert answer.status_code == 200
    assert (job["state"], job["reason"], job["error"], job["finished_at"]) == ("queued", None, None, None)
    assert claimed(sessions).attempt == 2


@pytest.mark.parametrize("state", ["queued", "starting", "running", "cancelling", "succeeded"])
def test_only_failed_and_cancelled_jobs_can_be_retried(
    client: TestClient, sessions: Sessions, state: str
) -> None:
    job_id = submitted(client)["id"]
    if state != "queued":
        lease = claimed(sessions) if state == "starting" else started(sessions)
    if state == "succeeded":
        settled(sessions, lease, "succeeded")
    if state == "cancelling":
        client.post(f"/v1/jobs/{job_id}/cancel")
    answer = client.post(f"/v1/jobs/{job_id}/retry")
    assert problem(answer) == (409, "job_not_ended", [])
    assert ("clone" if state == "succeeded" else "cancel") in answer.json()["detail"]
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == state


def test_a_job_is_named_and_tagged_at_any_time_and_found_by_it(
    client: TestClient, sessions: Sessions
) -> None:
    job_id, other = (submitted(client, name="first", tags=["b", "old"])["id"] for _ in range(2))
    settled(sessions, started(sessions), "succeeded")

    def change(**changes: Any) -> dict[str, Any]:
        answer = client.patch(f"/v1/jobs/{job_id}", json=changes)
        assert answer.status_code == 200, answer.text
        assert client.get(f"/v1/jobs/{job_id}").json() == answer.json()
        return answer.json()  # type: ignore[no-any-return]

    before = client.get(f"/v1/jobs/{job_id}").json()
    changed = change(add_tags=["a", "b", "a"], remove_tags=["old", "never had"])
    assert changed["tags"] == ["a", "b"]
    rest = {"tags", "updated_at"}
    assert {k: v for k, v in changed.items() if k not in rest} == {
        k: v for k, v in before.items() if k not in rest
    }
    assert changed["updated_at"] > before["updated_at"]
    assert change(add_tags=["a"], remove_tags=["old"]) == changed  # asking twice is as good as asking once
    assert (listed(client, tag="a"), listed(client, tag="old")) == ([job_id], [other])
    assert change(name="second")["tags"] == ["a", "b"]
    assert listed(client, text="SECON") == [job_id]
    hostile = "<b>\u202e=1+1'"
    renamed = change(name="", tags=[hostile])
    assert (renamed["name"], renamed["tags"], listed(client, tag=hostile)) == ("", [hostile], [job_id])
    assert change(tags=[])["tags"] == listed(client, tag=hostile) == []


def test_jobs_may_be_asked_for_by_their_ids(client: TestClient) -> None:
    first, _, third = (submitted(client)["id"] for _ in range(3))
    assert listed(client, id=[first, third, "job_nobody"]) == [third, first]
    assert listed(client, id=[first, third], kind="export") == []


def test_a_job_has_no_more_tags_than_it_may(client: TestClient) -> None:
    job_id = submitted(client, tags=[str(no) for no in range(20)])["id"]
    answer = client.patch(f"/v1/jobs/{job_id}", json={"add_tags": ["one more"]})
    assert problem(answer) == (422, "too_many_tags", ["/add_tags"])
    assert len(client.get(f"/v1/jobs/{job_id}").json()["tags"]) == 20
    exchanged = client.patch(f"/v1/jobs/{job_id}", json={"add_tags": ["one more"], "remove_tags": ["0"]})
    assert "one more" in exchanged.json()["tags"]
    assert problem(client.patch("/v1/jobs/job_x", json={"name": "x"})) == (404, "job_not_found", [])


def test_a_clone_is_a_new_job_that_differs_only_in_what_is_asked(client: TestClient) -> None:
    job = submitted(client, name="base", tags=["a"], priority=7, max_attempts=2)
    same = client.post(f"/v1/jobs/{job['id']}/clone")
    assert same.status_code == 201
    assert same.headers["location"] == f"/v1/jobs/{same.json()['id']}"
    own = {"id", "created_at", "updated_at", "cloned_from_id"}
    assert {k: v for k, v in same.json().items() if k not in own} == {
        k: v for k, v in job.items() if k not in own
    }
    assert same.json()["cloned_from_id"] == job["id"]
    changes = {
        "spec": {"seed": 5, "method": {"n_masks": 9}, "model": {"dim": 64}},
        "name": "",
        "tags": [],
        "priority": 0,
        "max_attempts": 1,
    }
    other = client.post(f"/v1/jobs/{job['id']}/clone", json=changes).json()
    assert (other["name"], other["tags"], other["priority"], other["max_attempts"]) == ("", [], 0, 1)
    expected = {
        **job["spec"],
        "seed": 5,
        "method": job["spec"]["method"] | {"n_masks": 9},
        "model": job["spec"]["model"] | {"dim": 64},
    }
    assert other["spec"] == expected


def test_a_clone_with_another_method_starts_from_its_defaults(client: TestClient) -> None:
    job = submitted(client, spec=SPEC | {"method": {"name": "infmasking", "temperature": 0.5}})
    for method in ("comm", {"name": "comm"}):
        clone = client.post(f"/v1/jobs/{job['id']}/clone", json={"spec": {"method": method}}).json()
        assert clone["spec"]["method"] == {"name": "comm", "temperature": 0.1}
        assert clone["spec"]["dataset"] == job["spec"]["dataset"]


def test_an_export_can_be_cloned_under_another_name(client: TestClient, sessions: Sessions) -> None:
    training = trained(sessions)
    checkpointed(sessions, training, 16)
    job = submitted(client, "export", {"run": training, "name": "one", "tolerance": 0.001})
    clone = client.post(f"/v1/jobs/{job['id']}/clone", json={"spec": {"name": "two"}}).json()
    assert clone["spec"] == job["spec"] | {"name": "two"}


def test_a_clone_that_cannot_run_is_refused_where_it_is_wrong(client: TestClient) -> None:
    job = submitted(client)
    answer = client.post(f"/v1/jobs/{job['id']}/clone", json={"spec": {"method": {"mask_ratio": 1.5}}})
    assert problem(answer) == (422, "invalid_spec", ["/spec/method/mask_ratio"])
    assert listed(client) == [job["id"]]


def test_a_probe_needs_a_training_with_the_checkpoint_it_asks_for(
    client: TestClient, sessions: Sessions
) -> None:
    training = trained(sessions, seed=7)

    def ask(**spec: Any) -> Any:
        return client.post("/v1/jobs", json={"kind": "probe", "spec": {"run": training, **spec}})

    assert problem(ask()) == (409, "no_checkpoint", [])
    checkpointed(sessions, training, 8, exists=False)
    assert problem(ask()) == (409, "no_checkpoint", [])
    checkpointed(sessions, training, 16)
    assert problem(ask(checkpoint=8)) == (409, "no_checkpoint", [])
    assert problem(ask(checkpoint="best")) == (409, "no_checkpoint", [])
    job = ask(checkpoint=16, seed=3).json()
    assert (job["source_job_id"], job["method"], job["seed"], job["queue"]) == (
        training,
        "infmasking",
        3,
        "cpu",
    )
    assert problem(ask(run=job["id"])) == (422, "no_such_training", ["/spec/run"])
    assert problem(ask(tasks=["share", "colour"])) == (422, "unknown_task", ["/spec/tasks/1"])


def test_a_training_that_this_version_does_not_understand_cannot_be_built_on(
    client: TestClient, sessions: Sessions
) -> None:
    training = trained(sessions)
    checkpointed(sessions, training, 16)
    with transaction(sessions) as session:
        session.get_one(Job, training).spec = {**SPEC, "flux": 1}
    answer = client.post("/v1/jobs", json={"kind": "probe", "spec": {"run": training}})
    assert problem(answer) == (409, "outdated_training", [])
    assert client.post(f"/v1/jobs/{training}/clone").json()["errors"][0]["pointer"] == "/spec/flux"


def test_what_may_surprise_is_said_beforehand(client: TestClient, sessions: Sessions) -> None:
    running = submitted(client)["id"]
    checkpointed(sessions, running, 8)
    ended = trained(sessions, protocol="reference")
    checkpointed(sessions, ended, 16, is_best=True)

    def warned(**spec: Any) -> list[str]:
        found: list[str] = client.post("/v1/jobs?dry_run=true", json={"kind": "probe", "spec": spec}).json()[
            "warnings"
        ]
        return found

    assert "whatever it is when this job starts" in warned(run=running)[0]
    assert "not strict" in warned(run=ended, checkpoint="best")[0]
    assert warned(run=running, checkpoint=8) == warned(run=ended) == []
    assert warned(run=ended, checkpoint="best", protocol="reference") == []


def test_the_end_of_the_log_is_cut_at_a_line(client: TestClient, settings: Settings) -> None:
    job_id = submitted(client)["id"]

    def log(tail: int = 1000) -> str:
        answer = client.get(f"/v1/jobs/{job_id}/logs", params={"tail": tail})
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        return answer.text

    assert log() == ""
    path = settings.runs_dir / job_id / "train.log"
    path.parent.mkdir(parents=True)
    path.write_bytes("first line\nsecond\nthird ü\n".encode() + b"\xff half")
    assert log() == "first line\nsecond\nthird ü\n\ufffd half"
    assert log(tail=6) == "\ufffd half"
    assert log(tail=7) == "\ufffd half"
    assert log(tail=14) == "\ufffd half"
    assert log(tail=15) == "third ü\n\ufffd half"
    assert log(tail=16) == "third ü\n\ufffd half"
    path.write_bytes(b"x" * 100)
    assert log(tail=10) == "x" * 10
    path.write_bytes(b"x" * 100 + b"\n")
    assert log(tail=10) == "x" * 9 + "\n"


def test_a_log_shows_at_most_what_is_asked_for(client: TestClient, settings: Settings) -> None:
    job_id = submitted(client)["id"]
    path = settings.runs_dir / job_id / "train.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"0123456789abcde\n" * 2**17)
    assert len(client.get(f"/v1/jobs/{job_id}/logs").text) == 64 * 1024
    assert len(client.get(f"/v1/jobs/{job_id}/logs", params={"tail": 2**20}).text) == 2**20


def test_checkpoints_attempts_and_scores_of_a_job_are_told(client: TestClient, sessions: Sessions) -> None:
    job_id = submitted(client)["id"]
    settled(sessions, started(sessions), "interrupted", text="the worker ended")
    lease = started(sessions, "worker-2")
    checkpointed(sessions, job_id, 16, score=0.7, is_best=True)
    checkpointed(sessions, job_id, 8, exists=False)
    settled(sessions, lease, "succeeded")
    probe = scored(sessions, job_id, 0.8, seed=3)

    def told(what: str, of: str = job_id) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get(f"/v1/jobs/{of}/{what}").json()["data"]
        return found

    assert [
        (each["step"], each["score"], each["is_best"], each["exists"]) for each in told("checkpoints")
    ] == [
        (8, None, False, False),
        (16, 0.7, True, True),
    ]
    assert [
        (each["number"], each["worker"], each["outcome"], each["detail"]) for each in told("attempts")
    ] == [
        (1, "worker-1", "interrupted", "the worker ended"),
        (2, "worker-2", "succeeded", None),
    ]
    (score,) = told("results")
    assert (score["value"], score["seed"], score["trained_seed"], score["task"]) == (0.8, 3, 42, "synergy")
    assert (score["job_id"], score["model_job_id"], score["checkpoint_step"]) == (probe, job_id, 16)
    assert told("results", of=probe) == [score]


def test_events_are_told_in_order_and_from_where_one_has_read(client: TestClient, sessions: Sessions) -> None:
    job_id = submitted(client)["id"]
    lease = started(sessions)
    with transaction(sessions) as session:
        leases.tell(session, leases.held(session, lease), "message", "hello", "warning", number=7)
    settled(sessions, lease, "succeeded")
    everything = client.get(f"/v1/jobs/{job_id}/events").json()
    assert [each["seq"] for each in everything["data"]] == [1, 2, 3, 4, 5]
    assert [each["data"].get("to") for each in everything["data"]] == [
        "queued",
        "starting",
        "running",
        None,
        "succeeded",
    ]
    assert {k: v for k, v in everything["data"][3].items() if k != "at"} == {
        "seq": 4, "type": "message", "level": "warning", "text": "hello", "data": {"number": 7}, "actor": "worker-1",
    }  # fmt: skip
    assert not everything["has_more"]
    page = client.get(f"/v1/jobs/{job_id}/events", params={"after": 1, "limit": 2}).json()
    assert ([each["seq"] for each in page["data"]], page["has_more"]) == ([2, 3], True)
    assert client.get(f"/v1/jobs/{job_id}/events", params={"after": 5}).json() == {
        "data": [],
        "has_more": False,
    }


@pytest.mark.parametrize(
    "what",
    ["", "/events", "/logs", "/checkpoints", "/results", "/attempts", "/metrics", "/metrics/loss/points"],
)
def test_what_is_asked_of_a_job_that_is_not_there_is_not_found(client: TestClient, what: str) -> None:
    answer = client.get(f"/v1/jobs/job_nowhere{what}", headers={"accept": "text/event-stream"})
    assert problem(answer) == (404, "job_not_found", [])
    assert "GET /v1/jobs" in answer.json()["detail"]


@pytest.mark.parametrize("verb", ["cancel", "retry", "clone"])
def test_what_is_done_to_a_job_that_is_not_there_is_not_found(client: TestClient, verb: str) -> None:
    assert problem(client.post(f"/v1/jobs/job_nowhere/{verb}")) == (404, "job_not_found", [])


def test_a_metric_that_is_not_there_is_not_found(client: TestClient) -> None:
    job_id = submitted(client)["id"]
    assert problem(client.get(f"/v1/jobs/{job_id}/metrics/loss/total/points")) == (
        404,
        "metric_not_found",
        [],
    )
