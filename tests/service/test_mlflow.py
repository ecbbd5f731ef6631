"""Loggers for MLflow send here as they are. The requests have the exact shapes of mlflow-skinny 3.17's own client."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.access import auth
from service.db import Sessions, transaction
from tests.service.rows import trained

NAME = '=näme <b>"1"</b>\u202e'
TOLD_AT = 1_795_702_670_232


@pytest.fixture
def client(emptied: TestClient) -> TestClient:
    return emptied


def post(client: TestClient, path: str, expected: int = 200, /, **body: Any) -> Any:
    answer = client.post(f"/api/2.0/mlflow/{path}", json=body)
    assert answer.status_code == expected, answer.text
    return answer.json()


def started(client: TestClient, **changes: Any) -> str:
    tags = [{"key": "mlflow.user", "value": "root"}, {"key": "mlflow.runName", "value": "a & <b>"}]
    asked = {"experiment_id": "0", "user_id": "root", "start_time": TOLD_AT, "tags": tags, **changes}
    run_id: str = post(client, "runs/create", **asked)["run"]["info"]["run_id"]
    return run_id


def told(client: TestClient, run_id: str) -> Any:
    answer = client.get("/api/2.0/mlflow/runs/get", params={"run_uuid": run_id, "run_id": run_id})
    return answer.json()["run"]


def log(client: TestClient, run_id: str, key: str, value: Any, step: int, at: int) -> None:
    body = {"run_uuid": run_id, "run_id": run_id, "key": key, "value": value, "timestamp": at, "step": step}
    assert post(client, "runs/log-metric", **body) == {}


def points(client: TestClient, run_id: str, name: str) -> list[tuple[int, float | None]]:
    page = client.get(f"/v1/jobs/{run_id}/metrics/{name}/points").json()
    return [(each["step"], each["value"]) for each in page["data"]]


def test_an_experiment_is_made_once_and_found_by_its_name(client: TestClient) -> None:
    by_name = {"params": {"experiment_name": NAME}}
    missing = client.get("/api/2.0/mlflow/experiments/get-by-name", **by_name)
    assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    made = post(client, "experiments/create", name=NAME)["experiment_id"]
    found = client.get("/api/2.0/mlflow/experiments/get-by-name", **by_name).json()["experiment"]
    assert (found["experiment_id"], found["name"], found["lifecycle_stage"]) == (made, NAME, "active")
    again = post(client, "experiments/create", 409, name=NAME)
    assert again["error_code"] == "RESOURCE_ALREADY_EXISTS"
    assert [each["name"] for each in post(client, "experiments/search", max_results=1000, view_type="ACTIVE_ONLY")["experiments"]] == [NAME]  # fmt: skip


def test_a_run_is_a_job_that_no_worker_takes_and_ends_when_its_logger_says_so(client: TestClient) -> None:
    run_id = started(client)
    job = client.get(f"/v1/jobs/{run_id}").json()
    assert (job["kind"], job["state"], job["name"], job["queue"]) == (
        "external",
        "running",
        "a & <b>",
        "external",
    )
    assert [each["id"] for each in client.get("/v1/jobs?kind=external&tag=Default").json()["data"]] == [
        run_id
    ]
    post(client, "runs/update", run_uuid=run_id, run_id=run_id, status="FINISHED", end_time=TOLD_AT + 1000)
    job = client.get(f"/v1/jobs/{run_id}").json()
    assert (job["state"], job["finished_at"]) == ("succeeded", "2026-11-26T14:17:51.232000Z")
    post(client, "runs/update", run_id=run_id, status="RUNNING")  # a logger goes on with it
    assert client.post(f"/v1/jobs/{run_id}/cancel").json()["state"] == "cancelled"
    assert told(client, run_id)["info"]["status"] == "KILLED"
    for action in ("retry", "clone"):
        answer = client.post(f"/v1/jobs/{run_id}/{action}")
        assert (answer.status_code, answer.json()["code"]) == (409, "run_elsewhere")


def test_a_batch_is_logged_once_however_often_it_is_sent(client: TestClient) -> None:
    run_id = started(client)
    metrics = [
        {"key": "loss/train", "value": 1 / step, "timestamp": TOLD_AT + step, "step": step}
        for step in range(1, 40)
    ]
    metrics += [
        {"key": "=bad", "value": each, "timestamp": TOLD_AT, "step": place}
        for place, each in enumerate(("NaN", "Infinity", "-Infinity"))
    ]
    batch = {"run_id": run_id, "metrics": metrics, "params": [{"key": "lr", "value": "0.1"}], "tags": [{"key": "k", "value": NAME}]}  # fmt: skip
    post(client, "runs/log-batch", **batch)
    summaries = client.get(f"/v1/jobs/{run_id}/metrics").json()
    post(client, "runs/log-batch", **batch)
    assert client.get(f"/v1/jobs/{run_id}/metrics").json() == summaries
    data = told(client, run_id)["data"]
    assert [(each["key"], each["value"], each["step"]) for each in data["metrics"]] == [
        ("=bad", "-Infinity", 2), ("loss/train", 1 / 39, 39),
    ]  # fmt: skip
    assert data["params"] == [{"key": "lr", "value": "0.1"}]
    assert {"key": "k", "value": NAME} in data["tags"]
    assert client.get(f"/v1/jobs/{run_id}").json()["spec"]["params"] == {"lr": "0.1"}


def test_of_a_steps_values_the_latest_counts_and_later_steps_stay(client: TestClient) -> None:
    run_id = started(client)
    for step in range(20):
        log(client, run_id, "loss", float(step), step, TOLD_AT + step)
    log(client, run_id, "loss", 99.0, 3, TOLD_AT + 100)
    log(client, run_id, "loss", 55.0, 4, TOLD_AT - 100)
    for value in (1.0, 2.0, 3.0):  # who names no step sends 0
        log(client, run_id, "accuracy", value, 0, TOLD_AT + int(value))
    assert points(client, run_id, "loss") == [(s, 99.0 if s == 3 else float(s)) for s in range(20)]
    assert points(client, run_id, "accuracy") == [(0, 3.0)]
    loss = next(
        each for each in client.get(f"/v1/jobs/{run_id}/metrics").json()["data"] if each["name"] == "loss"
    )
    assert (loss["n"], loss["max"], loss["max_step"], loss["last"]) == (20, 99.0, 3, 19.0)


def test_a_parameter_does_not_change_and_a_batch_with_one_that_would_stores_nothing(
    client: TestClient,
) -> None:
    run_id = started(client)
    post(client, "runs/log-parameter", run_id=run_id, key="lr", value="0.1")
    metric = {"key": "loss", "value": 1.0, "timestamp": TOLD_AT, "step": 0}
    refused = post(
        client, "runs/log-batch", 422, run_id=run_id, metrics=[metric], params=[{"key": "lr", "value": "0.2"}]
    )
    assert (refused["error_code"], refused["code"]) == ("INVALID_PARAMETER_VALUE", "parameter_changed")
    assert refused["errors"][0]["pointer"] == "/params/0/value"
    assert told(client, run_id)["data"]["metrics"] == []


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("runs/log-metric", {"key": "a", "value": 1.0, "timestamp": 0, "step": -1}, "/step"),
        ("runs/log-metric", {"key": "a" * 201, "value": 1.0, "timestamp": 0}, "/key"),
        ("runs/log-batch", {"metrics": [{"key": "a", "value": 1.0, "timestamp": 0}] * 1001}, "/metrics"),
        ("runs/update", {"status": "PAUSED"}, "/status"),
        ("runs/create", {"experiment_id": "x"}, "/experiment_id"),
        ("runs/search", {"experiment_ids": ["0"], "filter": "metrics.a > 1"}, "/filter"),
    ],
)
def test_what_cannot_be_logged_is_refused_where_it_stands(
    client: TestClient, path: str, body: dict[str, Any], pointer: str
) -> None:
    refused = post(client, path, 422, **{"run_id": started(client), **body})
    assert refused["errors"][0]["pointer"] == pointer
    assert refused["error_code"] == "INVALID_PARAMETER_VALUE"
    assert refused["message"] == refused["detail"]


def test_a_job_of_ours_is_no_run_to_log_to(client: TestClient, emptied_sessions: Sessions) -> None:
    for run_id in (trained(emptied_sessions), "job_none"):
        missing = post(client, "runs/log-metric", 404, run_id=run_id, key="a", value=1.0, timestamp=0, step=0)
        assert missing["error_code"] == "RESOURCE_DOES_NOT_EXIST"


def test_runs_are_searched_by_experiment_a_page_at_a_time(client: TestClient) -> None:
    other = post(client, "experiments/create", name="other")["experiment_id"]
    mine = [started(client) for _ in range(3)]
    started(client, experiment_id=other)
    page = post(
        client, "runs/search", experiment_ids=["0"], run_view_type="ACTIVE_ONLY", filter="", max_results=2
    )
    rest = post(
        client, "runs/search", experiment_ids=["0"], max_results=2, page_token=page["next_page_token"]
    )
    assert sorted(each["info"]["run_id"] for each in page["runs"] + rest["runs"]) == sorted(mine)
    assert rest["next_page_token"] is None


def test_logging_takes_a_key_that_may_submit(client: TestClient, emptied_sessions: Sessions) -> None:
    with transaction(emptied_sessions) as session:
        keys = {scope: auth.create_key(session, scope, [scope])[1] for scope in ("read", "submit")}
    status = {
        scope: client.post("/api/2.0/mlflow/runs/create", json={}, headers={"Authorization": f"Bearer {key}"}).status_code
        for scope, key in keys.items()
    }  # fmt: skip
    assert status == {"read": 403, "submit": 200}
