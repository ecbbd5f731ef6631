"""POST /v1/search and the files of embed jobs, over embeddings made by hand: what is answered, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response

from models_store.store import ModelStore
from service.access import auth
from service.db import Sessions, transaction
from service.settings import Settings
from service.tables import Dataset
from tests.applications import new_app
from tests.service.embedded import COUNT, DIM, NAMES, TRAIN, embedded
from tests.service.inference.measured import exported
from tests.service.rows import trained
from training.run_dir import RunDir


class Place:
    """A service with one index."""

    def __init__(self, client: TestClient, sessions: Sessions) -> None:
        self.client, self.sessions = client, sessions
        self.settings: Settings = client.app.state.resources.settings  # type: ignore[attr-defined]
        self.training = trained(sessions)
        self.index = self.embed()
        self.folder = RunDir(self.settings.runs_dir / self.index).embeddings

    def embed(self, **said: Any) -> str:
        return embedded(self.sessions, self.settings, self.training, **said)

    def search(self, **asked: Any) -> Response:
        answer: Response = self.client.post("/v1/search", json={"index": self.index, **asked})
        return answer

    def found(self, **asked: Any) -> dict[str, Any]:
        answer = self.search(**asked)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture
def place(emptied: TestClient, emptied_sessions: Sessions) -> Place:
    return Place(emptied, emptied_sessions)


def problem(answer: Response) -> tuple[int, str, list[str]]:
    content = answer.json()
    return answer.status_code, content["code"], [each["pointer"] for each in content["errors"]]


def test_the_neighbours_of_a_vector_come_with_what_is_known_of_them(place: Place) -> None:
    vectors = np.load(place.folder / "vectors-0.npy")
    found = place.found(vector=vectors[23].tolist(), k=3)
    assert (found["searched"], found["modalities"], found["kind"]) == (COUNT, ["image"], "exact")
    assert found["checkpoint_sha256"] == "0" * 64
    first = found["data"][0]
    assert first["score"] == pytest.approx(1)
    assert (first["row"], first["sample"], first["split"]) == (23, 46, "test")
    assert first["labels"] == {"colour": NAMES[23 % 3], "tags": ["odd", "any"], "size": [11.5]}
    assert first["links"] is None
    cosines = vectors @ vectors[23] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[23])
    order = np.argsort(-cosines)[:3]
    assert [each["row"] for each in found["data"]] == order.tolist()
    assert [each["score"] for each in found["data"]] == pytest.approx(cosines[order].tolist(), abs=1e-6)


def test_a_sample_is_not_among_its_own_neighbours(place: Place) -> None:
    vectors = np.load(place.folder / "vectors-1.npy").astype(np.float64)
    found = place.found(sample=8, k=COUNT - 1, metric="l2", modalities=["text"])
    distances = np.linalg.norm(vectors - vectors[4], axis=1)
    assert [each["row"] for each in found["data"]] == np.argsort(distances)[1:].tolist()
    assert found["data"][0]["score"] == pytest.approx(np.sort(distances)[1])


def test_a_split_alone_is_searched_when_one_is_named(place: Place) -> None:
    found = place.found(sample=8, k=COUNT - TRAIN, split="test")
    assert found["searched"] == COUNT - TRAIN
    assert {each["split"] for each in found["data"]} == {"test"}


def test_means_are_subtracted_of_what_each_side_is_of(place: Place) -> None:
    vectors = np.load(place.folder / "vectors-1.npy").astype(np.float64)
    apart = vectors - vectors.mean(axis=0)
    query = np.array([1.0, -2, 0.5, 3, 0, 1])
    found = place.found(vector=query.tolist(), metric="dot", center=True, modalities=["text"], k=5)
    products = apart @ (query - vectors.mean(axis=0))
    assert [each["row"] for each in found["data"]] == np.argsort(-products)[:5].tolist()
    assert found["centered"] is True


@pytest.mark.parametrize(
    ("asked", "code", "pointers"),
    [
        ({}, "invalid_request", [""]),
        ({"vector": [1.0] * DIM, "sample": 2}, "invalid_request", [""]),
        ({"vector": [1.0] * DIM, "model": "captions"}, "invalid_request", [""]),
        ({"inputs": [{"text": "x"}]}, "invalid_request", [""]),
        ({"sample": 2, "model_digest": "0" * 64}, "invalid_request", [""]),
        (
            {"inputs": [{"text": "x"}], "model": "m", "model_digest": "x"},
            "invalid_request",
            ["/model_digest"],
        ),
        ({"inputs": [{"text": "x"}, {"text": "y"}], "model": "m"}, "invalid_request", ["/inputs"]),
        ({"vector": [1.0] * (DIM - 1)}, "wrong_width", ["/vector"]),
        ({"vector": [1.0] * (DIM + 1)}, "wrong_width", ["/vector"]),
        ({"vector": []}, "invalid_request", ["/vector"]),
        ({"vector": [1.0, "a", 1, 1, 1, 1]}, "invalid_request", ["/vector/1"]),
        ({"vector": [1e300, 1, 1, 1, 1, 1]}, "invalid_request", ["/vector/0"]),
        ({"vector": [0.0] * DIM}, "no_direction", ["/vector"]),
        ({"sample": 3}, "no_such_sample", ["/sample"]),
        ({"sample": -2}, "invalid_request", ["/sample"]),
        ({"sample": 2, "k": 0}, "invalid_request", ["/k"]),
        ({"sample": 2, "k": 1001}, "invalid_request", ["/k"]),
        ({"sample": 2, "k": COUNT}, "too_many_neighbours", ["/k"]),
        ({"sample": 2, "k": TRAIN, "split": "train"}, "too_many_neighbours", ["/k"]),
        ({"sample": 2, "split": "val"}, "no_such_split", ["/split"]),
        ({"sample": 2, "split": "dev"}, "invalid_request", ["/split"]),
        ({"sample": 2, "metric": "hamming"}, "invalid_request", ["/metric"]),
        ({"sample": 2, "modalities": ["image", "text"]}, "no_such_vectors", ["/modalities"]),
        ({"sample": 2, "colour": 1}, "invalid_request", ["/colour"]),
    ],
)
def test_what_cannot_be_searched_for_is_refused_where_it_stands(
    place: Place, asked: dict[str, Any], code: str, pointers: list[str]
) -> None:
    assert problem(place.search(**asked)) == (422, code, pointers)


def test_numbers_that_are_none_are_refused(place: Place) -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = f'{{"index": "{place.index}", "vector": [{number}, 1, 1, 1, 1, 1]}}'
        answer = place.client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), number


def test_what_is_no_index_or_not_one_yet_says_so(place: Place) -> None:
    answer = place.client.post("/v1/search", json={"index": "job_nobody", "sample": 2})
    assert problem(answer)[:2] == (404, "index_not_found")
    answer = place.client.post("/v1/search", json={"index": place.training, "sample": 2})
    assert problem(answer)[:2] == (404, "no_embeddings")
    for state in ("running", "failed"):
        job_id = place.embed(state=state)
        answer = place.client.post("/v1/search", json={"index": job_id, "sample": 2})
        assert problem(answer)[:2] == (409, "embed_not_succeeded")
        assert state in answer.json()["detail"]
        assert place.client.get(f"/v1/jobs/{job_id}/embeddings").status_code == 409


def test_the_files_are_listed_and_each_can_be_had_whole_or_in_part(place: Place) -> None:
    listed = place.client.get(f"/v1/jobs/{place.index}/embeddings").json()
    assert (listed["count"], listed["dim"], listed["subsets"]) == (COUNT, DIM, [["image"], ["text"]])
    assert {each["name"] for each in listed["data"]} == {
        "part-00000.npz",
        "labels.npz",
        "projection.json",
        "seen.npz",
        "vectors-0.npy",
        "vectors-1.npy",
    }
    for each in listed["data"]:
        content = place.client.get(each["url"]).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (each["size_bytes"], each["sha256"])
    part = place.client.get(listed["data"][0]["url"], headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"look")
    manifest = place.client.get(f"/v1/jobs/{place.index}/embeddings/manifest.json")
    assert hashlib.sha256(manifest.content).hexdigest() == listed["manifest_sha256"]
    assert json.loads(manifest.content)["count"] == COUNT


@pytest.mark.parametrize("name", ["nothing.npz", "..%2f..%2fspec.json", "%2e%2e", ".plan.json", "a" * 300])
def test_nothing_else_of_the_run_can_be_had(place: Place, name: str) -> None:
    (place.folder / ".plan.json").write_text("{}")
    (place.folder.parent / "spec.json").write_text("{}")
    assert place.client.get(f"/v1/jobs/{place.index}/embeddings/{name}").status_code == 404


def test_files_that_were_changed_are_told_as_damaged(place: Place) -> None:
    url = f"/v1/jobs/{place.index}/embeddings"
    (place.folder / "part-00000.npz").write_bytes(b"shorter")
    assert problem(place.client.get(f"{url}/part-00000.npz"))[:2] == (503, "embeddings_damaged")
    other = place.embed(seed=5)
    folder = RunDir(place.settings.runs_dir / other).embeddings
    changed = folder / "vectors-0.npy"
    changed.write_bytes(changed.read_bytes()[:-4] + b"1234")
    answer = place.client.post("/v1/search", json={"index": other, "sample": 2})
    assert problem(answer)[:2] == (503, "embeddings_damaged")
    assert str(place.settings.data_dir) not in answer.text
    (place.folder / "manifest.json").write_bytes(b"{}")
    assert problem(place.client.get(url))[:2] == (503, "embeddings_damaged")
    assert problem(place.search(sample=2))[:2] == (503, "embeddings_damaged")


@pytest.fixture
def measured(place: Place, tmp_path: Path) -> str:
    """A model of two kinds of numbers, which gives six, of the checkpoint that made the index."""
    store = ModelStore(place.settings.models_url)
    digest = store.publish(exported(tmp_path / "bundle"))
    store.name_version("measured", 1, digest)
    return digest


INPUT = {"series": [[1, 2, 3], [4, 5.5, 6]], "static": [10, 20.5]}


def test_inputs_are_embedded_as_elsewhere_and_searched_for(place: Place, measured: str) -> None:
    body = {"model": "measured", "inputs": [INPUT], "normalize": False}
    (embedding,) = place.client.post("/v1/embeddings", json=body).json()["data"]
    for metric in ("cosine", "dot", "l2"):
        found = place.found(inputs=[INPUT], model="measured", metric=metric)
        assert found["data"] == place.found(vector=embedding["embedding"], metric=metric)["data"]
        assert found["query"] == {
            "modalities": ["series", "static"],
            "model": "measured@1",
            "model_digest": measured,
            "truncated": [],
        }


def test_a_search_is_pinned_to_the_model_whose_vectors_one_has(place: Place, measured: str) -> None:
    asked = {"inputs": [INPUT], "model": "measured"}
    assert place.found(**asked, model_digest=measured)["data"] == place.found(**asked)["data"]
    other = place.search(**asked, model_digest="0" * 64)
    assert problem(other) == (409, "model_digest_differs", ["/model_digest"])


def test_who_will_not_wait_for_a_search_need_not(place: Place, measured: str) -> None:
    asked = {"index": place.index, "inputs": [INPUT], "model": measured}
    timed = place.client.post("/v1/search", json=asked)
    assert "run;dur=" in timed.headers["Server-Timing"]
    other = {**asked, "inputs": [{**INPUT, "static": [9, 9]}]}  # which no cache knows
    answer = place.client.post("/v1/search", json=other, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


def test_what_is_wrong_with_inputs_is_said_as_elsewhere(place: Place, measured: str) -> None:
    answer = place.search(inputs=[{"static": [1]}], model="measured")
    assert problem(answer) == (422, "invalid_input", ["/inputs/0/static"])
    answer = place.search(inputs=[INPUT], model="nobody")
    assert problem(answer)[:2] == (404, "model_not_found")
    answer = place.search(inputs=[INPUT], model="measured", center=True)
    assert problem(answer) == (422, "no_mean", ["/center"])
    assert "series, static" in answer.json()["detail"]


def test_a_model_of_another_checkpoint_is_refused_and_both_are_named(place: Place, measured: str) -> None:
    asked = {"index": place.embed(checkpoint_sha256="1" * 64), "inputs": [INPUT], "model": measured}
    answer = place.client.post("/v1/search", json=asked)
    assert problem(answer)[:2] == (409, "other_checkpoint")
    assert "0" * 64 in answer.json()["detail"]
    assert "1" * 64 in answer.json()["detail"]


def test_neighbours_of_a_registered_dataset_lead_to_their_samples_as_long_as_it_is_the_same(
    place: Place,
) -> None:
    with transaction(place.sessions) as session:
        image = {"name": "photo", "kind": "image", "channels": 3, "size": 8}
        card = {"modalities": [image], "tasks": [], "samples": {"train": TRAIN, "test": COUNT - TRAIN}}
        row = Dataset(id="dataset_1", name="mine", state="ready", sha256="e" * 64, manifest={"card": card})
        session.add(row)
    index = place.embed(dataset="mine", registered_sha256="e" * 64)
    asked = {"index": index, "sample": 2, "k": 1, "split": "test"}
    (neighbour,) = place.client.post("/v1/search", json=asked).json()["data"]
    at = neighbour["row"] - TRAIN
    assert neighbour["links"] == {
        "sample": f"/v1/datasets/mine/samples?split=test&offset={at}&limit=1",
        "images": {"photo": f"/v1/datasets/mine/samples/{neighbour['sample']}/photo.png"},
    }
    with transaction(place.sessions) as session:
        session.get_one(Dataset, "dataset_1").sha256 = "f" * 64
    (neighbour,) = place.client.post("/v1/search", json=asked).json()["data"]
    assert neighbour["links"] is None


@pytest.fixture
def open_app(place: Place) -> Iterator[tuple[Place, TestClient, str, str]]:
    """The same service for a network: with a key that may look, and one that may embed."""
    with transaction(place.sessions) as session:
        _, looks = auth.create_key(session, "looks", ["read"])
        _, infers = auth.create_key(session, "infers", ["infer"])
    app = new_app(place.settings.model_copy(update={"host": "0.0.0.0"}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield place, client, looks, infers


def test_looking_at_files_needs_read_and_searching_needs_infer(
    open_app: tuple[Place, TestClient, str, str],
) -> None:
    place, client, looks, infers = open_app
    asked = {"index": place.index, "sample": 2, "k": 1}
    url = f"/v1/jobs/{place.index}/embeddings"
    for key, files, found in ((looks, 200, 403), (infers, 403, 200)):
        headers = {"Authorization": f"Bearer {key}"}
        assert client.get(url, headers=headers).status_code == files
        assert client.get(f"{url}/labels.npz", headers=headers).status_code == files
        assert client.post("/v1/search", json=asked, headers=headers).status_code == found
    assert client.post("/v1/search", json=asked).status_code == 401
