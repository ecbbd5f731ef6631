"""Replications over HTTP: a table becomes trainings and probes, each once, and the table fills in. Nobody trains here: the
test claims the jobs and writes what workers would."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, func, select, update

from service import leases, references, replications
from service.db import Sessions, transaction
from service.errors import ConflictError
from service.leases import Lease, Worker
from service.schemas.replications import NewReplication
from service.tables import (
    Checkpoint,
    Job,
    JobEvent,
    JobTag,
    ProbeResult,
    Replication,
    ReplicationCell,
    utc_now,
)
from tests.service.rows import LEASE_S, row, settled, started, submitted

DIGITS: dict[str, Any] = {
    "table": "digits",
    "methods": ["comm", "infmasking"],
    "seeds": 2,
    "changes": {"dataset": {"n_pairs": 256}, "batch_size": 32, "epochs": 1},
}
PLACES = [("comm", 42), ("comm", 43), ("infmasking", 42), ("infmasking", 43)]
TASKS = ("share", "unique1", "unique2", "synergy")


@pytest.fixture
def client(emptied: TestClient) -> TestClient:
    return emptied


@pytest.fixture
def sessions(emptied_sessions: Sessions) -> Sessions:
    return emptied_sessions


def made(client: TestClient, body: dict[str, Any] = DIGITS, **headers: str) -> dict[str, Any]:
    answer = client.post("/v1/replications", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def dry(client: TestClient, **changes: Any) -> Any:
    return client.post("/v1/replications?dry_run=true", json=DIGITS | changes)


def told(client: TestClient, replication: dict[str, Any]) -> dict[str, Any]:
    answer = client.get(f"/v1/replications/{replication['id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def do(client: TestClient, replication: dict[str, Any], what: str) -> dict[str, Any]:
    answer = client.post(f"/v1/replications/{replication['id']}/{what}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def states(replication: dict[str, Any]) -> list[tuple[str, str]]:
    """Of each cell's training and probe."""
    return [(cell["training"]["state"], cell["probe"]["state"]) for cell in replication["cells"]]


def job_ids(replication: dict[str, Any], kind: str) -> list[str]:
    return [cell[kind]["id"] for cell in replication["cells"]]


def problem(answer: Any) -> tuple[int, str, list[str]]:
    content = answer.json()
    return answer.status_code, content["code"], [each["pointer"] for each in content["errors"]]


def n_jobs(sessions: Sessions) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def next_lease(sessions: Sessions) -> Lease | None:
    return leases.claim(sessions, ("cpu", "gpu"), Worker("worker-1", "host"), LEASE_S)


def finish(sessions: Sessions, lease: Lease) -> None:
    """What a worker and its runner would leave: a checkpoint of a training, scores of a probe."""
    with transaction(sessions) as session:
        job = leases.held(session, lease)
        leases.tell(
            session, job, "started", "works on cpu", device="cpu", code_version="abc", total_steps=8, resumed_from_step=0
        )  # fmt: skip
        if job.kind == "train":
            session.add(Checkpoint(job_id=job.id, step=8, epoch=0, path="", sha256="", size_bytes=0))
        for task in TASKS if job.kind == "probe" else ():
            training = session.get_one(Job, job.source_job_id)
            value = 0.5 + 0.1 * (training.method == "infmasking") + 0.01 * ((training.seed or 0) - 42)
            session.add(
                ProbeResult(
                    job_id=job.id, model_job_id=training.id, checkpoint_step=8, dataset="digits", task=task,
                    family="other", metric="macro_accuracy", split="test", protocol=job.spec["protocol"], seed=42,
                    value=value, chance=0.1, n=100,
                )
            )  # fmt: skip
    with transaction(sessions) as session:
        leases.settle(session, leases.held(session, lease), leases.Ending("succeeded"))


def run_all(sessions: Sessions) -> int:
    n = 0
    while lease := next_lease(sessions):
        finish(sessions, lease)
        n += 1
    return n


def test_a_table_becomes_a_training_and_a_probe_for_each_row_and_seed(
    client: TestClient, sessions: Sessions
) -> None:
    answer = client.post("/v1/replications", json=DIGITS | {"tags": ["night"], "priority": 3})
    replication = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/replications/{replication['id']}"
    assert [(cell["row"], cell["seed"]) for cell in replication["cells"]] == PLACES
    assert {cell["preset_row"] for cell in replication["cells"]} == {"digits"}
    assert (replication["state"], replication["counts"]) == ("queued", {"queued": 4})
    assert n_jobs(sessions) == 8
    for cell in replication["cells"]:
        training, probe = (row(sessions, cell[kind]["id"]) for kind in ("training", "probe"))
        assert (training.kind, training.method, training.seed) == ("train", cell["row"], cell["seed"])
        assert (training.spec["epochs"], training.spec["dataset"]["n_pairs"]) == (1, 256)
        assert (probe.kind, probe.after_id, probe.source_job_id) == ("probe", training.id, training.id)
        assert (probe.spec["checkpoint"], probe.spec["protocol"]) == ("last", "strict")
        assert (training.priority, training.created_by) == (3, "local")
        with sessions() as session:
            tags = session.scalars(select(JobTag.tag).where(JobTag.job_id == probe.id)).all()
        assert sorted(tags) == ["night", f"replication:{replication['id']}"]


def test_one_training_serves_all_columns_of_its_preset_and_its_probe_only_those(
    client: TestClient, sessions: Sessions
) -> None:
    replication = made(client, {"table": "trifeatures", "methods": ["infmasking"], "seeds": 1})
    assert [cell["preset_row"] for cell in replication["cells"]] == [
        "trifeatures-synergy",
        "trifeatures-uniqueness",
    ]
    synergy, uniqueness = (row(sessions, job_id) for job_id in job_ids(replication, "probe"))
    assert synergy.spec["tasks"] == ["synergy"]
    assert sorted(uniqueness.spec["tasks"]) == ["share", "unique1", "unique2"]
    assert (synergy.spec["checkpoint"], synergy.spec["protocol"]) == ("best", "reference")


def test_columns_leave_out_what_is_not_asked_for_and_a_mean_is_its_parts(
    client: TestClient, sessions: Sessions
) -> None:
    body = {"table": "trifeatures", "methods": ["infmasking"], "seeds": [7]}
    (cell,) = made(client, {**body, "columns": ["uniqueness"]})["cells"]
    assert (cell["preset_row"], cell["seed"]) == ("trifeatures-uniqueness", 7)
    whole = made(client, body)
    assert [cell["training"]["reused"] for cell in whole["cells"]] == [False, True]
    assert n_jobs(sessions) == 4


def test_a_method_may_be_many_rows_and_changes_reach_each(client: TestClient) -> None:
    body = {**DIGITS, "table": "digits-masks", "methods": ["infmasking"], "seeds": [1]}
    planned = client.post("/v1/replications?dry_run=true", json=body).json()
    assert [cell["row"] for cell in planned["cells"]] == ["t1", "t4", "t16", "t64", "t256"]
    assert planned["trainings"] == {"new": 5, "reused": 0}
    same = client.post(
        "/v1/replications?dry_run=true", json={**body, "changes": {"method": {"n_masks": 4}}}
    ).json()
    assert same["trainings"] == {"new": 1, "reused": 4}, "five rows that are the same training"


def test_the_same_request_again_makes_no_jobs(client: TestClient, sessions: Sessions) -> None:
    first = made(client)
    second = made(client)
    assert second["id"] != first["id"]
    assert n_jobs(sessions) == 8
    assert job_ids(second, "training") == job_ids(first, "training")
    assert job_ids(second, "probe") == job_ids(first, "probe")
    assert all(cell["training"]["reused"] and cell["probe"]["reused"] for cell in second["cells"])
    run_all(sessions)
    planned = dry(client).json()
    assert (planned["trainings"], planned["probes"]) == ({"new": 0, "reused": 4}, {"new": 0, "reused": 4})
    assert planned["estimate"]["seconds"] == 0
    assert made(client)["state"] == "succeeded"


def test_jobs_that_were_submitted_by_hand_are_reused_too(client: TestClient, sessions: Sessions) -> None:
    spec = references.table("digits").spec_of("comm", "synergy", seed=42, changes=DIGITS["changes"])
    assert spec is not None
    training = submitted(client, spec=spec)["id"]
    settled(sessions, started(sessions), "succeeded")
    with transaction(sessions) as session:
        session.add(Checkpoint(job_id=training, step=8, epoch=0, path="", sha256="", size_bytes=0))
    submitted(client, "probe", {"run": training, "protocol": "reference"})
    probe = submitted(client, "probe", {"run": training})["id"]
    cell = made(client)["cells"][0]
    assert (cell["training"]["id"], cell["training"]["reused"]) == (training, True)
    assert (cell["probe"]["id"], cell["probe"]["reused"]) == (probe, True)


def test_what_cannot_be_built_on_is_not_reused(client: TestClient, sessions: Sessions) -> None:
    first = made(client)
    run_all(sessions)
    with transaction(sessions) as session:
        session.execute(update(Checkpoint).values(exists=False))
        failed, no_checkpoint = job_ids(first, "probe")[:2]
        session.execute(update(Job).where(Job.id.in_([failed, no_checkpoint])).values(state="failed"))
        session.execute(
            update(Checkpoint).where(Checkpoint.job_id == job_ids(first, "training")[0]).values(exists=True)
        )
    cells = made(client)["cells"]
    assert [(cell["training"]["reused"], cell["probe"]["reused"]) for cell in cells] == [
        (True, False),
        (False, False),
        (True, True),
        (True, True),
    ]
    again = row(sessions, cells[0]["probe"]["id"])
    assert (again.state, again.after_id) == ("queued", None), "there is nothing to wait for"


def test_another_protocol_of_the_probes_needs_new_probes_only(client: TestClient, sessions: Sessions) -> None:
    made(client)
    planned = dry(client, probe={"protocol": "reference"}).json()
    assert (planned["trainings"]["new"], planned["probes"]["new"]) == (0, 4)
    replication = made(client, DIGITS | {"probe": {"protocol": "reference"}})
    run_all(sessions)
    assert told(client, replication)["results"]["protocol"] == "reference"


def test_a_dry_run_says_what_would_run_and_stores_nothing(client: TestClient, sessions: Sessions) -> None:
    planned = dry(client).json()
    assert (planned["trainings"], planned["probes"]) == ({"new": 4, "reused": 0}, {"new": 4, "reused": 0})
    assert planned["optimizer_steps"] == 4 * 8
    assert [(cell["row"], cell["seed"]) for cell in planned["cells"]] == PLACES
    assert planned["cells"][0]["columns"] == ["redundancy", "digit1", "digit2", "synergy"]
    assert planned["estimate"]["seconds"] is None
    assert "nothing like" in planned["estimate"]["basis"]
    assert n_jobs(sessions) == 0
    assert client.get("/v1/replications").json()["data"] == []


def test_how_long_it_takes_is_judged_by_what_has_finished(client: TestClient, sessions: Sessions) -> None:
    first = made(client, DIGITS | {"methods": ["comm"]})
    run_all(sessions)
    began = utc_now()
    with transaction(sessions) as session:
        for seconds, job_id in zip((10, 30), job_ids(first, "training"), strict=True):
            job = session.get_one(Job, job_id)
            job.started_at, job.finished_at = began, began + timedelta(seconds=seconds)
        for job_id in job_ids(first, "probe"):
            job = session.get_one(Job, job_id)
            job.started_at, job.finished_at = began, began + timedelta(seconds=5)
    more = dry(client, methods=["comm"], seeds=4).json()["estimate"]
    assert (more["seconds"], more["workers"]) == (2 * 20 + 2 * 5, 1)
    assert "differ by their seed only" in more["basis"]
    assert "one worker" in more["basis"]
    longer = dry(client, methods=["comm"], seeds=1, changes={**DIGITS["changes"], "epochs": 3}).json()
    assert longer["estimate"]["seconds"] == 3 * 20 + 5
    assert "by their steps" in longer["estimate"]["basis"]
    assert dry(client).json()["estimate"]["seconds"] is None, "nothing like the other method has run"
    for worker in ("worker-1", "worker-2"):
        submitted(client)
        assert leases.claim(sessions, ("cpu",), Worker(worker, "host"), LEASE_S)
    shared = dry(client, methods=["comm"], seeds=4).json()["estimate"]
    assert (shared["seconds"], shared["workers"]) == (25, 2)


REFUSED: list[tuple[dict[str, Any], tuple[int, str, list[str]]]] = [
    ({"table": "nothing"}, (404, "table_not_found", [])),
    ({"methods": ["comm", "magic"]}, (422, "unknown_row", ["/methods/1"])),
    ({"methods": []}, (422, "invalid_request", ["/methods"])),
    ({"methods": ["comm", "comm"]}, (422, "invalid_request", ["/methods"])),
    ({"columns": ["colour"]}, (422, "unknown_column", ["/columns/0"])),
    ({"seeds": 0}, (422, "invalid_request", ["/seeds"])),
    ({"seeds": True}, (422, "invalid_request", ["/seeds"])),
    ({"seeds": [1, -1]}, (422, "invalid_request", ["/seeds/1"])),
    ({"seeds": [1, 1]}, (422, "invalid_request", ["/seeds"])),
    ({"seeds": 51, "methods": None}, (422, "too_many_trainings", ["/seeds"])),
    ({"changes": {"seed": 1}}, (422, "seed_in_changes", ["/changes/seed"])),
    ({"changes": {"epochs": 0}}, (422, "invalid_spec", ["/changes/epochs"])),
    ({"changes": {"method": {"n_masks": 8}}}, (422, "invalid_spec", ["/changes/method/n_masks"])),
    ({"changes": {"method": "comm"}}, (422, "other_cell", ["/changes/method"])),
    ({"changes": {"dataset": "trifeatures"}}, (422, "other_cell", ["/changes/dataset"])),
    ({"probe": {"checkpoint": "best"}}, (422, "no_best_checkpoint", ["/probe/checkpoint"])),
    ({"probe": {"tasks": ["share"]}}, (422, "invalid_request", ["/probe/tasks"])),
    ({"flux": 1}, (422, "invalid_request", ["/flux"])),
]


def test_what_cannot_be_run_is_refused_where_it_is_wrong(client: TestClient, sessions: Sessions) -> None:
    for changes, expected in REFUSED:
        for query in ("", "?dry_run=true"):
            answer = client.post(f"/v1/replications{query}", json=DIGITS | changes)
            assert problem(answer) == expected, changes
    assert n_jobs(sessions) == 0


def test_a_row_that_nothing_here_runs_is_left_out_unless_it_is_named(client: TestClient) -> None:
    (table, unrunnable) = next(
        (table, each.id)
        for table in references.tables().values()
        for each in table.rows
        if each.method is None
    )
    answer = client.post("/v1/replications", json={"table": table.id, "methods": [unrunnable]})
    assert problem(answer) == (422, "row_not_runnable", ["/methods/0"])


def test_datasets_that_are_not_registered_are_named_with_what_adds_them(
    client: TestClient, sessions: Sessions
) -> None:
    body = {"table": "multibench", "methods": ["comm"], "seeds": 1}
    answer = client.post("/v1/replications", json=body)
    assert problem(answer)[:2] == (409, "datasets_missing")
    details = [each["detail"] for each in answer.json()["errors"]]
    names = ("vision_touch", "mimic", "mosi", "ur_funny", "mustard")
    assert len(details) == len(names)
    for name in names:
        assert any(f"`fusebox datasets add {name} PATH`" in detail for detail in details)
    one = client.post("/v1/replications", json=body | {"columns": ["mosi"]})
    assert "fusebox datasets add mosi PATH" in one.json()["detail"]
    assert n_jobs(sessions) == 0


def test_the_grid_fills_in_and_so_does_its_table(client: TestClient, sessions: Sessions) -> None:
    replication = made(client)
    lease = started(sessions)
    seen = told(client, replication)
    assert (seen["state"], seen["counts"]) == ("running", {"running": 1, "queued": 3})
    finish(sessions, lease)
    assert told(client, replication)["counts"] == {"running": 1, "queued": 3}, "its probe is yet to come"
    assert run_all(sessions) == 7
    seen = told(client, replication)
    assert (seen["state"], seen["counts"]) == ("succeeded", {"succeeded": 4})
    assert seen["made_on"] == [{"device": "cpu", "code_version": "abc", "trainings": 4}]
    cells = {(of["id"], cell["column"]): cell for of in seen["results"]["rows"] for cell in of["cells"]}
    for method, mean in (("comm", 0.505), ("infmasking", 0.605)):
        cell = cells[method, "synergy"]
        assert (cell["mean"], cell["n"]) == (pytest.approx(mean), 2)
        assert [each["seed"] for each in cell["seeds"]] == [42, 43]
        assert cells[method, "uniqueness"]["mean"] == pytest.approx(mean)
    assert cells["cross", "synergy"]["state"] == "not_run"
    address = f"/v1/replications/{replication['id']}"
    assert client.get(f"{address}/results").json() == seen["results"]
    assert client.get(f"{address}?results=false").json() == seen | {"results": None}


def test_of_the_presets_themselves_the_table_is_that_of_all_results(
    client: TestClient, sessions: Sessions
) -> None:
    replication = made(client, {"table": "digits", "seeds": 1})
    assert run_all(sessions) == 20
    for form in ("markdown", "csv", "latex", "json"):
        mine = client.get(f"/v1/replications/{replication['id']}/results", params={"format": form})
        everywhere = client.get("/v1/results", params={"table": "digits", "format": form})
        assert mine.status_code == 200
        assert mine.headers["content-type"] == everywhere.headers["content-type"]
        assert mine.text == everywhere.text


def test_a_cell_that_failed_stays_visible_and_a_retry_runs_what_is_missing(
    client: TestClient, sessions: Sessions
) -> None:
    replication = made(client)
    settled(sessions, started(sessions), "failed", "non_finite_loss", "the loss is NaN in step 3")
    run_all(sessions)
    seen = told(client, replication)
    assert (seen["state"], seen["counts"]) == ("failed", {"failed": 1, "succeeded": 3})
    broken = seen["cells"][0]
    assert (broken["state"], broken["training"]["error"]) == ("failed", "the loss is NaN in step 3")
    assert (broken["probe"]["state"], broken["probe"]["reason"]) == ("cancelled", "dependency_failed")
    assert seen["results"]["rows"][7]["cells"][0]["n"] == 1
    assert do(client, replication, "retry")["counts"] == {"queued": 1, "succeeded": 3}
    assert run_all(sessions) == 2
    assert told(client, replication)["state"] == "succeeded"
    assert n_jobs(sessions) == 8
    assert do(client, replication, "retry")["state"] == "succeeded", "there is nothing to do"


def test_a_probe_alone_can_fail_and_be_retried(client: TestClient, sessions: Sessions) -> None:
    replication = made(client, DIGITS | {"methods": ["comm"], "seeds": 1})
    finish(sessions, started(sessions))
    settled(sessions, started(sessions), "failed", "data_error", "no data")
    assert told(client, replication)["state"] == "failed"
    do(client, replication, "retry")
    assert run_all(sessions) == 1
    assert told(client, replication)["state"] == "succeeded"


def test_jobs_that_are_gone_are_made_anew_by_a_retry(client: TestClient, sessions: Sessions) -> None:
    replication = made(client)
    run_all(sessions)
    with transaction(sessions) as session:
        session.execute(delete(Job).where(Job.id == job_ids(replication, "probe")[0]))
        session.execute(delete(Job).where(Job.id.in_([job_ids(replication, "probe")[1]])))
        session.execute(delete(Job).where(Job.id == job_ids(replication, "training")[1]))
    seen = told(client, replication)
    assert (seen["state"], seen["counts"]) == ("failed", {"lost": 2, "succeeded": 2})
    assert (seen["cells"][1]["training"], seen["cells"][1]["probe"]) == (None, None)
    assert do(client, replication, "retry")["counts"] == {"queued": 1, "running": 1, "succeeded": 2}
    assert run_all(sessions) == 3
    seen = told(client, replication)
    assert seen["state"] == "succeeded"
    assert job_ids(seen, "training")[0] == job_ids(replication, "training")[0]


def test_cancelling_stops_its_jobs_and_a_retry_goes_on(client: TestClient, sessions: Sessions) -> None:
    replication = made(client)
    finish(sessions, started(sessions))
    at_work = started(sessions)
    seen = do(client, replication, "cancel")
    jobs = Counter(state for cell in states(seen) for state in cell)
    assert jobs == {"succeeded": 1, "cancelling": 1, "cancelled": 6}
    answer = client.post(f"/v1/replications/{replication['id']}/retry")
    assert problem(answer) == (409, "still_stopping", [])
    settled(sessions, at_work, "cancelled")
    assert told(client, replication)["state"] == "cancelled"
    assert next_lease(sessions) is None
    do(client, replication, "retry")
    assert run_all(sessions) == 7
    assert told(client, replication)["state"] == "succeeded"


def test_a_job_is_cancelled_only_when_no_replication_wants_it_any_more(
    client: TestClient, sessions: Sessions
) -> None:
    first = made(client, DIGITS | {"methods": ["comm"]})
    second = made(client)
    assert do(client, first, "cancel")["counts"] == {"queued": 2}, "the second wants them"
    seen = do(client, second, "cancel")
    assert seen["counts"] == {"cancelled": 4}, "now nobody does"
    do(client, first, "retry")
    assert told(client, second)["counts"] == {"queued": 2, "cancelled": 2}
    assert do(client, second, "cancel")["counts"] == {"queued": 2, "cancelled": 2}


def test_what_was_there_before_is_not_cancelled(client: TestClient, sessions: Sessions) -> None:
    spec = references.table("digits").spec_of("comm", "synergy", seed=42, changes=DIGITS["changes"])
    assert spec is not None
    training = submitted(client, spec=spec)["id"]
    seen = do(client, made(client), "cancel")
    assert states(seen) == [("queued", "cancelled")] + [("cancelled", "cancelled")] * 3
    assert row(sessions, training).state == "queued"


def test_replications_are_listed_newest_first_in_pages(client: TestClient) -> None:
    there = [made(client, DIGITS | {"seeds": [seed]})["id"] for seed in range(3)]
    other = made(client, DIGITS | {"table": "digits-masks", "methods": ["t1"]})["id"]
    first = client.get("/v1/replications", params={"limit": 2}).json()
    assert ([each["id"] for each in first["data"]], first["has_more"]) == ([other, there[2]], True)
    rest = client.get("/v1/replications", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (there[1::-1], False)
    assert "cells" not in rest["data"][0]
    assert rest["data"][0]["counts"] == {"queued": 2}
    assert [each["id"] for each in client.get("/v1/replications?table=digits-masks").json()["data"]] == [
        other
    ]
    assert problem(client.get("/v1/replications?cursor=x")) == (422, "bad_cursor", ["/query/cursor"])


def test_the_same_request_with_a_key_makes_one_replication(client: TestClient, sessions: Sessions) -> None:
    headers = {"Idempotency-Key": "key-1"}
    first = client.post("/v1/replications", json=DIGITS, headers=headers)
    second = client.post("/v1/replications", json={**DIGITS, "seeds": [42, 43]}, headers=headers)
    assert second.json() == first.json()
    assert second.headers["idempotent-replayed"] == "true"
    other = client.post("/v1/replications", json={**DIGITS, "seeds": 3}, headers=headers)
    assert problem(other)[:2] == (422, "idempotency_key_reused")
    assert len(client.get("/v1/replications").json()["data"]) == 1


def test_what_is_asked_of_one_that_is_not_there_is_not_found(client: TestClient) -> None:
    for verb, what in (("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("POST", "/retry")):
        answer = client.request(verb, f"/v1/replications/replication_nowhere{what}")
        assert problem(answer) == (404, "replication_not_found", [])


def test_equal_replications_at_once_share_their_jobs(sessions: Sessions) -> None:
    asked = NewReplication.model_validate(DIGITS)

    def submit(_: int) -> str:
        with transaction(sessions) as session:
            return replications.submit(session, asked, "tests").id

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(submit, range(3)))) == 3
    assert n_jobs(sessions) == 8


def test_a_replication_whose_training_fails_meanwhile_is_refused_or_told(sessions: Sessions) -> None:
    """A training that is reused is not lost between the look at it and the wish to wait for it."""
    asked = NewReplication.model_validate(DIGITS | {"methods": ["comm"], "seeds": 1})
    for _ in range(4):
        with transaction(sessions) as session:
            replications.submit(session, asked, "tests")
        lease = started(sessions)

        def again() -> None:
            with transaction(sessions) as session:
                replications.submit(session, asked.model_copy(update={"probe": OTHER}), "tests")

        with ThreadPoolExecutor(2) as pool:
            one, other = (
                pool.submit(settled, sessions, lease, "failed", "data_error", "no data"),
                pool.submit(again),
            )
            one.result()
            other.result()
        with sessions() as session:
            waiting = session.scalars(select(Job).where(Job.kind == "probe", Job.state == "queued")).all()
            for job in waiting:
                assert session.get_one(Job, job.after_id).state == "queued"
            cells = session.scalars(select(ReplicationCell)).all()
            assert all(cell.train_job_id and cell.probe_job_id for cell in cells)
        with transaction(sessions) as session:
            for table in (Replication, JobEvent):
                session.execute(delete(table))
            session.execute(delete(Job).where(Job.kind == "probe"))
            session.execute(delete(Job))


OTHER = NewReplication.model_validate(DIGITS | {"probe": {"seed": 7}}).probe


def test_a_conflict_stores_nothing(sessions: Sessions) -> None:
    asked = NewReplication.model_validate({"table": "mmimdb", "seeds": 1})
    with pytest.raises(ConflictError), transaction(sessions) as session:
        replications.submit(session, asked, "tests")
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(ReplicationCell)) == 0
