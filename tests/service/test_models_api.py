"""Published models: versions that never change, aliases that move, and names that mean one thing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from models_store.store import ModelStore, StoreError
from service import models
from service.db import Sessions, transaction
from service.errors import ConflictError
from service.settings import Settings
from service.tables import Model
from tests.models_store.bundles import bundle
from tests.service.rows import checkpointed, submitted, trained


class Publishing:
    """What an export job does, with any bytes for a network."""

    def __init__(self, sessions: Sessions, settings: Settings, folder: Path) -> None:
        self.sessions = sessions
        self.store = ModelStore(settings.models_url)
        self.folder = folder
        self.training = trained(sessions)
        self.export = trained(sessions, seed=1)

    def __call__(self, name: str = "digits", content: bytes = b"weights") -> Model:
        folder = bundle(self.folder / f"{name}-{content.decode()}", {"model.onnx": content}, name=name)
        with transaction(self.sessions) as session:
            return models.publish(session, self.store, folder, job_id=self.export, train_job_id=self.training)


@pytest.fixture
def publish(sessions: Sessions, settings: Settings, tmp_path: Path) -> Publishing:
    return Publishing(sessions, settings, tmp_path / "bundles")


def problem(answer: Any) -> tuple[int, str, list[str]]:
    content = answer.json()
    return answer.status_code, content["code"], [each["pointer"] for each in content["errors"]]


def listed(client: TestClient, **filters: Any) -> list[str]:
    return [
        f"{each['name']}@{each['version']}"
        for each in client.get("/v1/models", params=filters).json()["data"]
    ]


def test_a_published_model_is_told_with_its_manifest_and_where_it_came_from(
    client: TestClient, publish: Publishing
) -> None:
    published = publish()
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["name"], model["version"], model["digest"]) == ("digits", 1, published.digest)
    assert (model["job_id"], model["train_job_id"], model["aliases"]) == (
        publish.export,
        publish.training,
        [],
    )
    assert model["manifest"] == publish.store.manifest(published.digest).model_dump(mode="json")


def test_each_bundle_under_a_name_is_a_new_version_and_the_same_bundle_is_not(publish: Publishing) -> None:
    assert [publish(content=content).version for content in (b"one", b"two", b"one", b"three")] == [
        1,
        2,
        1,
        3,
    ]
    assert publish("other").version == 1
    assert [publish.store.resolve(name) for name in ("digits@1", "digits")] == [
        publish(content=b"one").digest,
        publish(content=b"three").digest,
    ]


def test_a_model_is_found_by_every_name_it_has(client: TestClient, publish: Publishing) -> None:
    first, second = publish(content=b"one"), publish(content=b"two")
    assert client.put("/v1/aliases/prod", json={"model": "digits@1"}).status_code == 200
    for reference, model in {
        "digits": second, "digits@1": first, "digits@2": second, "prod": first, first.digest: first,
    }.items():  # fmt: skip
        assert client.get(f"/v1/models/{reference}").json()["digest"] == model.digest
    assert client.get("/v1/models/digits@1").json()["aliases"] == ["prod"]


def test_a_model_that_is_not_there_is_not_found_and_those_that_are_are_named(
    client: TestClient, publish: Publishing
) -> None:
    assert "no model has been published yet" in client.get("/v1/models/digits").json()["detail"]
    publish()
    for reference in ("digit", "digits@2", "digits@0", "digits@x", "0" * 64, "Digits", "..%5c"):
        answer = client.get(f"/v1/models/{reference}")
        assert problem(answer) == (404, "model_not_found", [])
        assert "digits@1" in answer.json()["detail"]


def test_an_alias_moves_and_says_who_moved_it(client: TestClient, publish: Publishing) -> None:
    first, second = publish(content=b"one"), publish(content=b"two")
    answer = client.put("/v1/aliases/prod", json={"model": "digits"}).json()
    assert (answer["alias"], answer["model"], answer["digest"], answer["updated_by"]) == (
        "prod", "digits@2", second.digest, "local",
    )  # fmt: skip
    client.put("/v1/aliases/prod", json={"model": first.digest})
    client.put("/v1/aliases/next", json={"model": "prod"})  # what it means now
    client.put("/v1/aliases/prod", json={"model": "digits@2"})
    aliases = client.get("/v1/aliases").json()["data"]
    assert [(each["alias"], each["model"]) for each in aliases] == [
        ("next", "digits@1"),
        ("prod", "digits@2"),
    ]
    assert publish.store.aliases() == {"next": first.digest, "prod": second.digest}


def test_an_alias_needs_a_model(client: TestClient, publish: Publishing) -> None:
    publish()
    answer = client.put("/v1/aliases/prod", json={"model": "digits@9"})
    assert problem(answer) == (422, "model_not_found", ["/model"])
    assert client.get("/v1/aliases").json() == {"data": []}


@pytest.mark.parametrize("alias", ["Prod", "-prod", "a" * 64, "a@1", "ä"])
def test_an_alias_has_a_plain_name(client: TestClient, publish: Publishing, alias: str) -> None:
    publish()
    answer = client.put(f"/v1/aliases/{alias}", json={"model": "digits"})
    assert problem(answer) == (422, "invalid_request", ["/path/alias"])


def test_an_alias_may_not_be_called_like_a_model(client: TestClient, publish: Publishing) -> None:
    publish(), publish("other")
    assert problem(client.put("/v1/aliases/other", json={"model": "digits"})) == (409, "name_taken", [])
    assert publish.store.aliases() == {}


def test_a_model_may_not_be_called_like_an_alias(client: TestClient, publish: Publishing) -> None:
    publish()
    client.put("/v1/aliases/prod", json={"model": "digits"})
    checkpointed(publish.sessions, publish.training, 16)
    export = {"kind": "export", "spec": {"run": publish.training, "name": "prod"}}
    for query in ("", "?dry_run=true"):
        assert problem(client.post(f"/v1/jobs{query}", json=export)) == (422, "name_is_alias", ["/spec/name"])
    submitted(client, "export", export["spec"] | {"name": "digits"})  # type: ignore[operator]
    with pytest.raises(ConflictError):  # when the alias came after the job
        publish("prod", b"other")
    assert listed(client) == ["digits@1"]


def test_models_are_listed_by_name_newest_version_first_and_page_by_page(
    client: TestClient, publish: Publishing
) -> None:
    for name, content in (("b", b"1"), ("a", b"1"), ("b", b"2"), ("b", b"3"), ("c", b"1")):
        publish(name, content)
    assert listed(client) == ["a@1", "b@3", "b@2", "b@1", "c@1"]
    assert listed(client, name="b") == ["b@3", "b@2", "b@1"]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/models", params={"limit": 2, **cursor}).json()
        seen += [f"{each['name']}@{each['version']}" for each in page["data"]]
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ["a@1", "b@3", "b@2", "b@1", "c@1"]


def test_exports_that_end_at_once_get_versions_of_their_own(client: TestClient, publish: Publishing) -> None:
    contents = [str(number).encode() for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        published = list(pool.map(lambda content: publish(content=content), contents))
    assert sorted(model.version for model in published) == list(range(1, 9))
    for model in published:
        assert publish.store.resolve(f"digits@{model.version}") == model.digest


def test_a_version_that_was_given_away_is_not_given_again(publish: Publishing) -> None:
    """The store may know more than the database: a process died before it committed, or the database is a new one."""
    lost = publish.store.publish(bundle(publish.folder / "lost", {"model.onnx": b"lost"}))
    publish.store.name_version("digits", 4, lost)
    assert publish(content=b"new").version == 5
    assert publish(content=b"lost").version == 4
    assert publish.store.resolve("digits@4") == lost


def test_a_bundle_that_is_not_whole_is_not_published(client: TestClient, publish: Publishing) -> None:
    folder = bundle(publish.folder / "broken", {"model.onnx": b"weights"})
    (folder / "model.onnx").write_bytes(b"other")
    with pytest.raises(StoreError), transaction(publish.sessions) as session:
        models.publish(session, publish.store, folder, job_id=publish.export, train_job_id=None)
    assert listed(client) == []


def test_a_damaged_pointer_is_a_problem_of_ours(
    client: TestClient, publish: Publishing, settings: Settings
) -> None:
    publish()
    Path(settings.models_url, "names", "digits", "1").write_text("nonsense")
    answer = client.get("/v1/models/digits")
    assert problem(answer) == (503, "model_damaged", [])
    assert settings.models_url not in answer.text


def test_a_model_that_another_database_published_is_not_listed_here(
    client: TestClient, app: FastAPI, publish: Publishing
) -> None:
    digest = publish.store.publish(bundle(publish.folder / "foreign"))
    publish.store.name_version("digits", 1, digest)
    assert problem(client.get("/v1/models/digits")) == (404, "model_not_found", [])
