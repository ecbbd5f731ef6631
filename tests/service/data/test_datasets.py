"""Registered datasets as the service knows them: under a name, in the catalog, and in the specs of jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.data import datasets
from service.db import Sessions, reading, transaction
from service.errors import ConflictError, InvalidError, NotFoundError
from service.settings import Settings
from service.tables import Dataset
from tests.service.rows import submitted
from tests.training.registration import own
from tests.training.registration.fixtures import (
    affect_content,
    manifest_of,
    mimic,
    mosi,
    registered,
    report_of,
    vision_touch,
    write_pickle,
)
from training.spec import MODALITY_COUNTS, Registered
from training.spec.registration import Format


def added(
    sessions: Sessions,
    made_from: Format,
    path: Path,
    folder: Path,
    name: str | None = None,
    **options: Any,
) -> Registered:
    """Registered, and known to the service."""
    size = {"image_size": 16} if made_from == "vision_touch" else {}
    spec = registered(made_from, path, folder, **size | options)
    with transaction(sessions) as session:
        manifest, report = manifest_of(folder, spec.sha256), report_of(folder, spec.sha256)
        datasets.add(session, name or made_from, spec.sha256, manifest, report, actor="tests")
    return spec


@pytest.fixture
def known(sessions: Sessions, tmp_path: Path) -> Registered:
    return added(sessions, "mosi", mosi(tmp_path), tmp_path)


def test_a_name_is_looked_up_as_sha256_and_card(sessions: Sessions, known: Registered) -> None:
    with reading(sessions) as session:
        lookup = datasets.lookup(session)
        assert lookup("mosi") == (known.sha256, known.card)
        assert lookup("mimic") is None


def test_a_name_that_is_registered_anew_means_the_new_content(
    sessions: Sessions, known: Registered, tmp_path: Path
) -> None:
    content = affect_content(20, 5, seed=7)
    again = added(sessions, "mosi", write_pickle(tmp_path / "b" / "mosi_data.pkl", content), tmp_path)
    assert again.sha256 != known.sha256
    with reading(sessions) as session:
        assert [row.sha256 for row in datasets.every(session)] == [again.sha256]


@pytest.mark.parametrize("name", ["digits", "trifeatures", "", "Mosi", "a b", "-a", "a" * 64, "a\n", "é"])
def test_a_name_that_no_registered_dataset_may_have_is_refused(
    sessions: Sessions, known: Registered, tmp_path: Path, name: str
) -> None:
    manifest, report = manifest_of(tmp_path, known.sha256), report_of(tmp_path, known.sha256)
    with transaction(sessions) as session, pytest.raises(InvalidError):
        datasets.add(session, name, known.sha256, manifest, report, actor="tests")


def test_a_dataset_that_another_version_registered_is_told_to_be_registered_again(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        session.add(
            Dataset(id="dataset_1", name="old", state="ready", sha256="0" * 64, manifest={"card": {"x": 1}})
        )
    with reading(sessions) as session, pytest.raises(ConflictError, match="register it again"):
        datasets.lookup(session)("old")
    with reading(sessions) as session, pytest.raises(NotFoundError, match="there is no dataset 'none'"):
        datasets.named(session, "none")


# ------------------------------------------------------------------------------------------------------ over HTTP


def test_a_dataset_that_another_version_registered_does_not_hide_the_others(
    client: TestClient, sessions: Sessions, known: Registered
) -> None:
    with transaction(sessions) as session:
        session.add(Dataset(id="dataset_1", name="old", state="ready", sha256="0" * 64, manifest={"card": 7}))
    names = [each["name"] for each in client.get("/v1/datasets").json()["data"]]
    assert names == ["digits", "trifeatures", "mosi"]
    assert client.get("/v1/datasets/old").status_code == 409
    answer = client.post("/v1/jobs", json={"kind": "train", "spec": {**SPEC, "dataset": "old"}})
    assert (answer.status_code, answer.json()["code"]) == (409, "outdated_dataset")


@pytest.mark.parametrize("name", ["a%00b", "..%2F..", "%FF", "x" * 500, "a%0Ab"])
def test_whatever_name_is_asked_for_the_answer_is_a_problem(client: TestClient, name: str) -> None:
    answer = client.get(f"/v1/datasets/{name}")
    assert answer.status_code in (400, 404)
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_list_has_registered_datasets_beside_those_always_there(
    client: TestClient, known: Registered
) -> None:
    found = {each["name"]: each for each in client.get("/v1/datasets").json()["data"]}
    assert list(found) == ["digits", "trifeatures", "mosi"]
    assert found["digits"]["registered"] is None
    mosi = found["mosi"]
    usual, whole = mosi["forms"]
    assert (usual["form"], whole["form"]) == ("vision+text", "vision+text+audio")
    assert usual["tasks"] == [
        {"name": "sentiment", "family": "other", "type": "class", "classes": 2, "chance": 0.5}
    ]
    assert mosi["registered"]["sha256"] == known.sha256
    assert mosi["registered"]["samples"]["strict"] == {"train": 11, "val": 6, "test": 6}
    assert mosi["registered"]["dropped"] == 1
    assert mosi["registered"]["warnings"] == ["val has 6 samples, too few to choose by with any confidence"]
    assert set(mosi["parameters"]["properties"]) == {"name", "use", "predict", "augment"}


def test_the_methods_of_a_form_are_those_that_take_its_modalities(
    client: TestClient, known: Registered
) -> None:
    (found,) = (each for each in client.get("/v1/datasets").json()["data"] if each["name"] == "mosi")
    usual, whole = (set(form["methods"]) for form in found["forms"])
    assert usual == {name for name, counts in MODALITY_COUNTS.items() if 2 in counts}
    assert whole == {name for name, counts in MODALITY_COUNTS.items() if 3 in counts}


def test_one_dataset_is_shown_with_all_that_registering_found(client: TestClient, known: Registered) -> None:
    report = client.get("/v1/datasets/mosi").json()["report"]
    assert report["dropped"] == [{"reason": "it has no words", "count": 1, "ids": ["train_3"]}]
    assert report["labels"]["sentiment"]["test"] == {"0": 3, "1": 3}
    assert client.get("/v1/datasets/digits").json()["report"] is None


def test_a_regression_has_no_chance(client: TestClient, sessions: Sessions, tmp_path: Path) -> None:
    added(sessions, "vision_touch", vision_touch(tmp_path / "in"), tmp_path)
    usual, whole = client.get("/v1/datasets/vision_touch").json()["forms"]
    assert [task["name"] for task in usual["tasks"]] == ["contact"]
    assert [(task["type"], task["chance"]) for task in whole["tasks"]] == [
        ("class", 0.5),
        ("regression", None),
    ]


def test_a_dataset_that_is_not_there_is_a_problem(client: TestClient) -> None:
    answer = client.get("/v1/datasets/nothing")
    assert answer.status_code == 404
    assert answer.json()["code"] == "dataset_not_found"


SPEC = {"batch_size": 4, "epochs": 1, "device": "cpu", "model": {"dim": 40, "heads": 8}}


def test_a_job_names_a_registered_dataset_and_keeps_its_card(client: TestClient, known: Registered) -> None:
    job = submitted(client, spec={**SPEC, "dataset": "mosi"})
    assert job["dataset"] == "mosi"
    assert job["spec"]["dataset"]["sha256"] == known.sha256
    assert job["spec"]["dataset"]["card"] == known.card.model_dump(mode="json")
    assert job["progress"].get("total") in (None, 2)


def test_a_job_is_cloned_with_the_content_it_had(
    client: TestClient, known: Registered, sessions: Sessions, tmp_path: Path
) -> None:
    job = submitted(client, spec={**SPEC, "dataset": "mosi"})
    same = client.post(f"/v1/jobs/{job['id']}/clone", json={"spec": {"seed": 43}})
    assert same.status_code == 201, same.text
    content = affect_content(20, 5, seed=7)
    added(sessions, "mosi", write_pickle(tmp_path / "b" / "mosi_data.pkl", content), tmp_path)
    changed = client.post(f"/v1/jobs/{job['id']}/clone", json={"spec": {"seed": 44}})
    assert changed.status_code == 422
    assert "was registered anew" in changed.json()["detail"]


@pytest.mark.parametrize(
    ("dataset", "pointer", "words"),
    [
        (
            "mossi",
            "/spec/dataset",
            "there is no dataset 'mossi'; list those that there are with GET /v1/datasets",
        ),
        ({"name": "mosi", "use": ["smell"]}, "/spec/dataset/use", "dataset 'mosi' has vision, text, audio"),
        ({"name": "mosi", "predict": []}, "/spec/dataset/predict", "dataset 'mosi' has sentiment"),
        ({"name": "mosi", "sha256": "0" * 64}, "/spec/dataset", "was registered anew"),
        ({"name": "mosi", "n_pairs": 100}, "/spec/dataset/n_pairs", "no such field"),
        ({"name": "x" * 10_000}, "/spec/dataset", "there is no dataset"),
        ({"name": "mosi\n"}, "/spec/dataset", "there is no dataset"),
        ({"name": 7}, "/spec/dataset", ""),
    ],
    ids=range(8),
)
def test_a_dataset_that_is_asked_for_wrongly_is_told_where(
    client: TestClient, known: Registered, dataset: object, pointer: str, words: str
) -> None:
    answer = client.post("/v1/jobs", json={"kind": "train", "spec": {**SPEC, "dataset": dataset}})
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["detail"]


def test_a_card_that_a_client_makes_up_does_not_count(client: TestClient, known: Registered) -> None:
    forged = known.card.model_dump(mode="json") | {"samples": {"train": 10**9, "test": 1}}
    job = submitted(client, spec={**SPEC, "dataset": {"name": "mosi", "card": forged}})
    assert job["spec"]["dataset"]["card"]["samples"]["train"] == 11


def test_several_datasets_are_listed_by_name(
    client: TestClient, sessions: Sessions, known: Registered, tmp_path: Path
) -> None:
    added(sessions, "mimic", mimic(tmp_path), tmp_path, name="icu")
    names = [each["name"] for each in client.get("/v1/datasets").json()["data"]]
    assert names == ["digits", "trifeatures", "icu", "mosi"]


def test_of_data_without_labels_there_is_nothing_to_probe(
    client: TestClient, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    content = own.arrays_content()
    np.savez(tmp_path / "plain.npz", heart=content["heart"], labs=content["labs"])
    added(sessions, "arrays", tmp_path / "plain.npz", settings.datasets_dir, "plain")
    training = submitted(client, spec={"dataset": "plain", "batch_size": 16})
    answer = client.post("/v1/jobs", json={"kind": "probe", "spec": {"run": training["id"]}})
    assert (answer.status_code, answer.json()["code"]) == (422, "nothing_to_probe"), answer.text
    assert answer.json()["errors"][0]["pointer"] == "/spec/run"
