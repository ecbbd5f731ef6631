"""Heads are attached to the model that they were fitted for, replaced in one moment, and listed with what they are worth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from models_store.heads import HeadStore
from models_store.store import ModelStore
from service import models
from service.access import auth
from service.db import Sessions, transaction
from service.settings import Settings
from service.tables import Model, ModelHead
from tests.applications import new_app
from tests.models_store.bundles import bundle, head
from tests.service.rows import probed, row, trained

pytestmark = pytest.mark.long  # so many that on PostgreSQL they run in `make test-all` only

OTHER_SHA = "1" * 64
OTHER = ((0, 0), (1, 0), (0, 1), (0, 0))


class Place:
    """A published model, and probes of the training that it comes from."""

    def __init__(self, client: TestClient, sessions: Sessions, settings: Settings, folder: Path) -> None:
        self.client, self.sessions, self.settings = client, sessions, settings
        self.store = ModelStore(settings.models_url)
        self.training = trained(sessions)
        self.folder = folder
        self.model = self.publish()

    def publish(self, **changes: Any) -> Model:
        folder = bundle(self.folder / str(len(list(self.folder.glob("*")))), **changes)
        with transaction(self.sessions) as session:
            return models.publish(
                session, self.store, folder, job_id=self.training, train_job_id=self.training
            )

    def probe(self, *heads: tuple[bytes, bytes], **state: str) -> str:
        return probed(self.sessions, self.settings, self.training, *heads, **state)

    def attach(self, probe: str, *tasks: str, model: str = "digits") -> Response:
        body = {"probe_job_id": probe, **({"tasks": list(tasks)} if tasks else {})}
        answer: Response = self.client.post(f"/v1/models/{model}/heads", json=body)
        return answer

    def listed(self, model: str = "digits") -> list[Any]:
        found: list[Any] = self.client.get(f"/v1/models/{model}/heads").json()["data"]
        return found

    @property
    def served(self) -> dict[str, str]:
        """As the store has it."""
        return HeadStore(self.store).attached(self.model.digest)


@pytest.fixture
def place(client: TestClient, sessions: Sessions, settings: Settings, tmp_path: Path) -> Place:
    (tmp_path / "bundles").mkdir()
    return Place(client, sessions, settings, tmp_path / "bundles")


def problem(answer: Response) -> tuple[int, str, list[str]]:
    content = answer.json()
    return answer.status_code, content["code"], [each["pointer"] for each in content["errors"]]


def test_attached_heads_are_listed_with_their_scores_and_where_they_come_from(place: Place) -> None:
    probe = place.probe(head(names=["a", "b", "c"]), head(OTHER, task="other", type="multilabel"))
    answer = place.attach(probe)
    assert answer.status_code == 201, answer.text
    assert [each["task"] for each in answer.json()["data"]] == ["digit", "other"]
    digit, other = place.listed()
    assert (digit["type"], digit["outputs"], digit["metric"], digit["value"]) == (
        "class",
        3,
        "macro_accuracy",
        0.9,
    )
    assert (digit["ci95"], digit["chance"], digit["n_train"], digit["n_test"]) == (
        [0.85, 0.95],
        0.1,
        1437,
        360,
    )
    assert (digit["protocol"], digit["seed"], digit["cost"]) == ("strict", 42, 1.0)
    assert (digit["checkpoint_sha256"], digit["dataset"]) == ("0" * 64, "digits")
    assert digit["scores"] == {"macro_accuracy": {"value": 0.9, "ci95": [0.85, 0.95], "chance": 0.1}}
    assert digit["attached_by"] == "local"
    assert (other["metric"], other["outputs"]) == ("macro_accuracy", 2)
    assert place.client.get("/v1/models/digits").json()["heads"] == [digit, other]
    assert place.client.get("/v1/models").json()["data"][0]["heads"] == [digit, other]
    assert place.served == {"digit": digit["sha256"], "other": other["sha256"]}


def test_a_model_without_heads_has_none(place: Place) -> None:
    assert place.listed() == []
    assert place.client.get("/v1/models/digits").json()["heads"] == []
    assert problem(place.client.get("/v1/models/nobody/heads"))[:2] == (404, "model_not_found")
    assert problem(place.attach(place.probe(head()), model="nobody"))[:2] == (404, "model_not_found")


def test_only_the_tasks_asked_for_are_attached_and_those_there_are_named(place: Place) -> None:
    probe = place.probe(head(), head(task="other"))
    answer = place.attach(probe, "other", "shape", "colour")
    assert problem(answer) == (422, "no_such_task", ["/tasks/1", "/tasks/2"])
    assert "it has digit, other" in answer.json()["detail"]
    assert place.listed() == []
    assert place.attach(probe, "other", "other").status_code == 201
    assert [each["task"] for each in place.listed()] == ["other"] == list(place.served)


def test_attaching_for_the_same_task_replaces_and_again_changes_nothing(place: Place) -> None:
    first, second = place.probe(head(), head(task="other")), place.probe(head(OTHER))
    place.attach(first)
    before = place.served
    place.attach(second)
    assert place.served == {"digit": place.served["digit"], "other": before["other"]}
    assert place.served["digit"] != before["digit"]
    assert [each["outputs"] for each in place.listed()] == [2, 3]
    served = place.served
    place.attach(second)
    assert place.served == served


def test_a_head_of_another_checkpoint_is_refused_and_both_are_named(place: Place) -> None:
    probe = place.probe(head(task="other"), head(checkpoint_sha256=OTHER_SHA, step=24))
    answer = place.attach(probe)
    assert problem(answer) == (409, "other_checkpoint", [])
    assert OTHER_SHA in answer.json()["detail"]
    assert "0" * 64 in answer.json()["detail"]
    assert (place.listed(), place.served) == ([], {}), "none of them"


def test_each_version_has_heads_of_its_own(place: Place) -> None:
    place.attach(place.probe(head()))
    second = place.publish(files={"model.onnx": b"other"})
    assert place.listed("digits@2") == place.listed("digits") == []
    assert len(place.listed("digits@1")) == 1
    place.attach(place.probe(head(OTHER)), model=second.digest)
    assert [each["outputs"] for each in place.listed("digits@1")] == [3]
    assert [each["outputs"] for each in place.listed("digits@2")] == [2]


def test_what_is_no_probe_that_has_succeeded_has_no_heads_to_attach(place: Place) -> None:
    assert problem(place.attach("job_nobody")) == (422, "job_not_found", ["/probe_job_id"])
    assert problem(place.attach(place.training)) == (422, "not_a_probe", ["/probe_job_id"])
    for state in ("running", "failed"):
        answer = place.attach(place.probe(head(), state=state))
        assert problem(answer) == (409, "probe_not_succeeded", [])
        assert state in answer.json()["detail"]


def test_a_probe_of_a_version_that_kept_no_heads_says_what_to_do(place: Place) -> None:
    probe = place.probe()
    answer = place.attach(probe)
    assert problem(answer) == (409, "no_heads_kept", [])
    assert f"POST /v1/jobs/{probe}/clone" in answer.json()["detail"]


def test_a_head_that_is_not_what_the_probe_wrote_is_refused_by_its_name(place: Place) -> None:
    probe = place.probe(head())
    for file in ("digit.f32", "digit.json"):
        path = place.settings.runs_dir / probe / "heads" / file
        whole = path.read_bytes()
        for spoilt in (whole[:-1] + b" ", whole + b" ", b"", None):
            path.unlink()
            if spoilt is not None:
                path.write_bytes(spoilt)
            answer = place.attach(probe)
            assert problem(answer) == (503, "head_damaged", [])
            assert "'digit'" in answer.json()["detail"]
            assert str(place.settings.data_dir) not in answer.text
            path.write_bytes(whole)
    assert (place.listed(), place.served) == ([], {})
    assert place.attach(probe).status_code == 201


def test_a_detached_head_is_gone_and_those_left_are_named(place: Place) -> None:
    place.attach(place.probe(head(), head(task="other")))
    assert place.client.delete("/v1/models/digits/heads/digit").status_code == 204
    assert [each["task"] for each in place.listed()] == ["other"] == list(place.served)
    for task in ("digit", "..%5c..", "a" * 200):
        answer = place.client.delete(f"/v1/models/digits/heads/{task}")
        assert answer.status_code == 404
    assert "it has other" in place.client.delete("/v1/models/digits/heads/digit").json()["detail"]


def test_a_head_that_only_the_store_knows_of_can_be_detached(place: Place) -> None:
    HeadStore(place.store).attach(place.model.digest, *head())
    assert place.listed() == []
    assert place.client.delete("/v1/models/digits/heads/digit").status_code == 204
    assert place.served == {}


def test_a_probe_that_is_forgotten_leaves_its_heads(place: Place) -> None:
    probe = place.probe(head())
    place.attach(probe)
    with transaction(place.sessions) as session:
        session.delete(row(place.sessions, probe))
    with place.sessions() as session:
        assert session.get_one(ModelHead, (place.model.digest, "digit")).probe_job_id is None
    assert place.listed()[0]["probe_job_id"] == "job_2", "as its manifest says"


def test_a_request_that_is_none_is_refused(place: Place) -> None:
    probe = {"probe_job_id": "x"}
    for body in (
        {},
        {"probe_job_id": ""},
        {"probe_job_id": 1},
        probe | {"tasks": []},
        probe | {"model": "y"},
    ):
        answer = place.client.post("/v1/models/digits/heads", json=body)
        assert problem(answer)[:2] == (422, "invalid_request")


@pytest.fixture
def open_app(settings: Settings, sessions: Sessions) -> Iterator[tuple[TestClient, str]]:
    """A server that needs keys, and one that may submit."""
    with transaction(sessions) as session:
        _, key = auth.create_key(session, "worker", ["read", "infer", "submit"])
    app = new_app(settings.model_copy(update={"host": "0.0.0.0"}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client, key


def test_changing_what_everybody_is_answered_needs_more_than_leave_to_submit(
    open_app: tuple[TestClient, str],
) -> None:
    client, key = open_app
    headers = {"Authorization": f"Bearer {key}"}
    asked = {"probe_job_id": "x"}
    assert client.post("/v1/models/digits/heads", json=asked, headers=headers).status_code == 403
    assert client.delete("/v1/models/digits/heads/digit", headers=headers).status_code == 403
    assert client.get("/v1/models/digits/heads", headers=headers).status_code == 404
