"""Jobs that embed a dataset are accepted when they go with their training, and refused before they are made."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.db import Sessions
from tests.service.rows import SPEC, checkpointed, submitted, trained

CAPTIONS = {"name": "digits", "form": "captions", "n_pairs": 256}


@pytest.fixture
def training(emptied: TestClient, emptied_sessions: Sessions) -> str:
    job_id = trained(emptied_sessions, dataset=CAPTIONS)
    checkpointed(emptied_sessions, job_id, 16)
    return job_id


def asked(client: TestClient, spec: dict[str, Any], **rest: Any) -> Any:
    query = {"dry_run": "true"} if rest.pop("dry_run", False) else {}
    return client.post("/v1/jobs", json={"kind": "embed", "spec": spec, **rest}, params=query)


def test_an_embedding_is_queued_for_any_worker_and_says_what_it_builds_on(
    emptied: TestClient, training: str
) -> None:
    job = submitted(emptied, "embed", {"run": training, "modalities": ["text"]})
    assert (job["kind"], job["queue"], job["dataset"]) == ("embed", "cpu", "digits")
    assert job["source_job_id"] == training
    assert job["spec"]["modalities"] == [["text"]]
    listed = emptied.get("/v1/jobs", params={"kind": "embed"}).json()["data"]
    assert [each["id"] for each in listed] == [job["id"]]
    again = emptied.post(f"/v1/jobs/{job['id']}/clone", json={"spec": {"format": "parquet"}}).json()
    assert (again["spec"]["format"], again["spec"]["modalities"]) == ("parquet", [["text"]])


def test_a_dry_run_fills_in_the_defaults_and_stores_nothing(emptied: TestClient, training: str) -> None:
    answer = asked(emptied, {"run": training}, dry_run=True)
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"]["samples_per_part"] == 16_384
    assert emptied.get("/v1/jobs", params={"kind": "embed"}).json()["data"] == []


@pytest.mark.parametrize(
    ("said", "pointers"),
    [
        ({"modalities": ["sound"]}, ["/spec/modalities/0"]),
        ({"modalities": [["text"], ["image", "sound"]]}, ["/spec/modalities/1"]),
        ({"splits": ["val", "test"]}, ["/spec/splits/0"]),
        ({"dataset": {"name": "digits", "form": "pairs"}}, ["/spec/dataset"]),
        ({"dataset": "nobody"}, ["/spec/dataset"]),
        ({"format": "csv"}, ["/spec/format"]),
        ({"run": "job_nobody"}, ["/spec/run"]),
    ],
)
def test_a_bad_combination_is_refused_before_it_is_a_job(
    emptied: TestClient, training: str, said: dict[str, Any], pointers: list[str]
) -> None:
    for dry_run in (False, True):
        answer = asked(emptied, {"run": training, **said}, dry_run=dry_run)
        assert answer.status_code == 422, answer.text
        assert [each["pointer"] for each in answer.json()["errors"]] == pointers
    assert emptied.get("/v1/jobs", params={"kind": "embed"}).json()["data"] == []


def test_a_checkpoint_that_is_not_there_is_a_conflict(emptied: TestClient, training: str) -> None:
    for which in (5, "best"):
        answer = asked(emptied, {"run": training, "checkpoint": which})
        assert (answer.status_code, answer.json()["code"]) == (409, "no_checkpoint")


def test_an_embedding_can_wait_for_a_training_that_has_no_checkpoint_yet(emptied: TestClient) -> None:
    training = submitted(emptied, "train", {**SPEC, "dataset": CAPTIONS})["id"]
    assert asked(emptied, {"run": training}).status_code == 409
    answer = asked(emptied, {"run": training}, after=training)
    assert (answer.status_code, answer.json()["after_id"]) == (201, training)
    emptied.post(f"/v1/jobs/{training}/cancel")
    assert emptied.get(f"/v1/jobs/{answer.json()['id']}").json()["state"] == "cancelled"
