"""What heads say over HTTP: computed from the network's own vectors, of this version's heads as they are at present."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from models_store.files import Files, blob, digest_of
from models_store.heads import HeadStore
from models_store.store import ModelStore
from service.inference import heads as kept_heads
from service.inference.models import MEANING_KEPT_S
from service.schemas.embeddings import EmbeddingList
from service.schemas.predictions import PredictedEmbeddingList, PredictionList
from tests.applications import app_on_sqlite
from tests.models_store.bundles import head
from tests.service.inference.measured import exported, published

SAMPLE = {"series": [[1.0, 2, 3], [4, 5, 6]], "static": [10, 20]}
VECTOR = [5, 7, 9, 10, 20, 2]
"""The network's, see `tests.service.inference.measured`."""
WIDTH = 6
KIND = np.eye(WIDTH, 3) * 0.1
SIGNS = np.array([[0.1, -0.1]] + [[0.0, 0.0]] * 5)
SIZE = np.array([[0], [0], [0], [1], [2], [0]])


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """Asking heads changes nothing and asks no database, so one of either kind is enough for all of these tests."""
    return app_on_sqlite(tmp_path_factory.mktemp("predictions"))


@pytest.fixture(scope="module")
def model(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of measured@1, with a head of each type."""
    digest = published(store, tmp_path_factory.mktemp("bundle"))
    store.name_version("measured", 1, digest)
    heads = HeadStore(store)
    heads.attach(digest, *head(KIND, task="kind", names=["low", "middle", "high"]))
    heads.attach(digest, *head(SIGNS, task="signs", type="multilabel", names=["up", "down"]))
    heads.attach(digest, *head(SIZE, task="size", type="regression", scores={"mse": {"value": 0.5}}))
    return digest


@pytest.fixture(scope="module")
def client(app: FastAPI, model: str) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


class Changing:
    """A model whose heads a test may change."""

    def __init__(self, client: TestClient, store: ModelStore, folder: Path) -> None:
        self.client, self.heads = client, HeadStore(store)
        self.root = Path(client.app.state.resources.settings.models_url)  # type: ignore[attr-defined]
        manifest = exported(folder) / "manifest.json"
        told = json.loads(manifest.read_bytes())
        told["created_at"] = str(folder)  # so that its digest is its own
        manifest.write_text(json.dumps(told))
        self.digest = store.publish(folder)

    def attach(self, *made: tuple[bytes, bytes]) -> None:
        for content, weights in made:
            self.heads.attach(self.digest, content, weights)

    def ask(self, probe: Any = None) -> Response:
        return ask(self.client, SAMPLE, model=self.digest, probe=probe)

    def see(self) -> None:
        """What has changed."""
        time.sleep(MEANING_KEPT_S + 0.05)


@pytest.fixture
def changing(client: TestClient, store: ModelStore, tmp_path: Path) -> Changing:
    return Changing(client, store, tmp_path)


def ask(client: TestClient, *inputs: Any, model: str = "measured", **rest: Any) -> Response:
    answer: Response = client.post("/v1/predictions", json={"model": model, "inputs": inputs, **rest})
    return answer


def said(answer: Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [each["predictions"] for each in answer.json()["data"]]


def problem(answer: Response) -> tuple[int, str, list[str]]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    content = answer.json()
    return answer.status_code, content["code"], [each["pointer"] for each in content["errors"]]


def test_each_type_of_head_says_what_it_is_for(client: TestClient) -> None:
    (told,) = said(ask(client, SAMPLE))
    assert list(told) == ["kind", "signs", "size"]
    powers = [math.exp(0.1 * number) for number in VECTOR[:3]]
    assert told["kind"]["label"] == "high"
    assert told["kind"]["probabilities"] == pytest.approx(
        dict(zip(("low", "middle", "high"), (power / sum(powers) for power in powers), strict=True)), abs=1e-6
    )
    up = 1 / (1 + math.exp(-0.5))
    assert told["signs"]["labels"] == ["up"]
    assert told["signs"]["probabilities"] == pytest.approx({"up": up, "down": 1 - up}, abs=1e-6)
    assert told["size"] == {"type": "regression", "values": [50.0]}


def test_an_answer_says_what_its_heads_are_worth_and_where_they_come_from(
    client: TestClient, model: str
) -> None:
    body = ask(client, SAMPLE, SAMPLE).json()
    assert PredictionList.model_validate(body).model_dump(mode="json") == body
    assert (body["object"], body["model"], body["model_digest"]) == ("list", "measured@1", model)
    assert (body["checkpoint_sha256"], body["job_id"]) == ("0" * 64, "job_1")
    assert [each["index"] for each in body["data"]] == [0, 1]
    assert body["usage"]["inputs"] == 2
    kind, size = body["heads"]["kind"], body["heads"]["size"]
    assert (kind["metric"], kind["value"], kind["ci95"]) == ("macro_accuracy", 0.9, [0.85, 0.95])
    assert (kind["probe_job_id"], kind["protocol"], kind["n_train"]) == ("job_2", "strict", 1437)
    assert (size["metric"], size["value"], size["ci95"]) == ("mse", 0.5, None)


def test_the_model_may_be_pinned_and_its_precision_chosen(client: TestClient, model: str) -> None:
    assert said(ask(client, SAMPLE, model_digest=model)) == said(ask(client, SAMPLE))
    assert ask(client, SAMPLE, precision="fp32").json()["precision"] == "fp32"
    other = ask(client, SAMPLE, model_digest="0" * 64)
    assert problem(other) == (409, "model_digest_differs", ["/model_digest"])
    assert model in other.json()["detail"]
    int8 = ask(client, SAMPLE, precision="int8")
    assert int8.status_code == 422
    assert "not to be had in int8; ask for fp32" in int8.json()["detail"]
    assert problem(ask(client, SAMPLE, model_digest="x"))[2] == ["/model_digest"]
    assert problem(ask(client, SAMPLE, precision="int4"))[2] == ["/precision"]


@pytest.mark.parametrize(
    ("probe", "tasks"), [("size", ["size"]), (["signs", "kind", "signs"], ["signs", "kind"])]
)
def test_only_the_heads_asked_for_answer(client: TestClient, probe: Any, tasks: list[str]) -> None:
    answer = ask(client, SAMPLE, probe=probe)
    assert list(said(answer)[0]) == list(answer.json()["heads"]) == tasks


def test_a_sample_that_lacks_something_is_answered_with_a_note(client: TestClient) -> None:
    whole, partly = ask(client, SAMPLE, {"static": [10, 20]}, probe="size").json()["data"]
    assert (whole["modalities"], whole["missing"], whole["note"]) == (["series", "static"], [], None)
    assert (partly["modalities"], partly["missing"]) == (["static"], ["series"])
    assert "without series" in partly["note"]
    assert "every modality" in partly["note"]


def test_a_head_that_is_not_there_is_refused_and_those_there_are_named(client: TestClient) -> None:
    answer = ask(client, SAMPLE, probe="shape")
    assert problem(answer) == (422, "head_not_found", ["/probe"])
    assert "measured@1 has no head 'shape'; it has kind, signs, size" in answer.json()["detail"]
    answer = ask(client, SAMPLE, probe=["kind", "shape", "../kind"])
    assert problem(answer) == (422, "head_not_found", ["/probe/1", "/probe/2"])
    answer = client.post("/v1/embeddings", json={"model": "measured", "inputs": [SAMPLE], "heads": ["shape"]})
    assert problem(answer) == (422, "head_not_found", ["/heads/0"])


def test_a_model_without_heads_says_how_to_get_some(changing: Changing) -> None:
    assert problem(changing.ask()) == (404, "no_heads", [])
    assert "/heads" in changing.ask().json()["detail"]
    assert problem(changing.ask("kind")) == (422, "head_not_found", ["/probe"])


@pytest.mark.parametrize(
    "rest",
    [
        {"probe": []},
        {"probe": 1},
        {"probe": ""},
        {"top": 0},
        {"top": 1.5},
        {"heads": ["kind"]},
        {"inputs": []},
    ],
    ids=str,
)
def test_a_request_that_is_none_is_refused(client: TestClient, rest: dict[str, Any]) -> None:
    answer = client.post("/v1/predictions", json={"model": "measured", "inputs": [SAMPLE], **rest})
    assert problem(answer)[:2] == (422, "invalid_request")


def test_every_bad_input_is_named_as_for_embeddings(client: TestClient) -> None:
    answer = ask(client, SAMPLE, {"static": [1]}, {"audio": "x"}, {})
    status, code, pointers = problem(answer)
    assert (status, code) == (422, "invalid_input")
    assert pointers == ["/inputs/1/static", "/inputs/2/audio", "/inputs/3"]
    too_many = ask(client, *[SAMPLE] * 257)
    assert problem(too_many) == (422, "too_many_inputs", ["/inputs"])
    assert problem(ask(client, SAMPLE, model="nobody"))[:2] == (404, "model_not_found")


def test_embeddings_with_heads_are_the_same_vectors_with_predictions_beside_them(client: TestClient) -> None:
    request = {"model": "measured", "inputs": [SAMPLE, {"static": [10, 20]}], "dimensions": 2}
    plain = client.post("/v1/embeddings", json=request).json()
    both = client.post("/v1/embeddings", json=request | {"heads": ["size", "kind"], "top": 1}).json()
    assert PredictedEmbeddingList.model_validate(both).model_dump(mode="json", exclude_unset=True) == both
    assert EmbeddingList.model_validate(plain).model_dump(mode="json", exclude_unset=True) == plain
    alone = ask(client, *request["inputs"], probe=["size", "kind"], top=1).json()
    for vector, told, asked in zip(plain["data"], both["data"], alone["data"], strict=True):
        assert told["embedding"] == pytest.approx(vector["embedding"], abs=1e-6)
        assert told["predictions"] == asked["predictions"], "of the whole vector, not of the shortened one"
        assert told["note"] == asked["note"]
    assert both["heads"] == alone["heads"]
    assert both["data"][0]["predictions"]["size"]["values"] == [50.0]
    assert both["data"][0]["predictions"]["kind"]["left_out"] == 2


def test_heads_beside_embeddings_cost_no_second_pass(client: TestClient, app: FastAPI) -> None:
    counts = app.state.resources.inference.batcher.counts
    before = counts.samples
    request = {"model": "measured", "inputs": [{"static": [31, 41]}], "heads": ["kind", "size", "signs"]}
    assert client.post("/v1/embeddings", json=request).status_code == 200
    assert counts.samples == before + 1


def test_top_belongs_to_heads(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"model": "measured", "inputs": [SAMPLE], "top": 1})
    assert problem(answer)[:2] == (422, "invalid_request")
    assert "`heads`" in answer.json()["detail"]


def test_attached_replaced_and_detached_heads_are_seen_without_loading_the_model_again(
    changing: Changing, app: FastAPI
) -> None:
    models = app.state.resources.inference.models
    changing.attach(head(SIZE, task="size", type="regression"))
    assert said(changing.ask("size"))[0]["size"]["values"] == [50.0]
    served = models._loaded[changing.digest]

    changing.attach(head(SIZE * 2, task="size", type="regression"), head(KIND, task="kind"))
    changing.see()
    assert said(changing.ask())[0]["size"]["values"] == [100.0]
    assert list(said(changing.ask())[0]) == ["kind", "size"]

    changing.heads.detach(changing.digest, "size")
    changing.see()
    assert problem(changing.ask("size")) == (422, "head_not_found", ["/probe"])
    assert models._loaded[changing.digest] is served


def test_two_versions_answer_by_their_own_heads_at_the_same_time(
    client: TestClient, store: ModelStore, changing: Changing
) -> None:
    changing.attach(head(SIZE * 3, task="size", type="regression"))

    def size(model: str) -> float:
        number: float = said(ask(client, SAMPLE, model=model, probe="size"))[0]["size"]["values"][0]
        return number

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(size, ["measured", changing.digest] * 10))
    assert answers == [50.0, 150.0] * 10


@pytest.mark.parametrize(("seed", "spoil"), [(1, "weights"), (2, "manifest"), (3, "pointer"), (4, "foreign")])
def test_a_damaged_head_is_refused_by_its_name_and_the_others_answer(
    changing: Changing, seed: int, spoil: str
) -> None:
    content, weights = head(SIZE + seed, task="size", type="regression")  # kept by no other test
    changing.attach((content, weights), head(KIND, task="kind"))
    pointer = changing.root / "heads" / changing.digest / "size"
    match spoil:
        case "weights":
            (changing.root / blob(digest_of(weights))).write_bytes(weights[:-1] + b"\1")
        case "manifest":
            (changing.root / blob(digest_of(content))).write_bytes(content.replace(b"0.9", b"1.0"))
        case "pointer":
            pointer.write_bytes(b"../../x")
        case "foreign":
            other, _ = head(SIZE + seed, task="size", type="regression", checkpoint_sha256="1" * 64)
            Files(str(changing.root)).keep(blob(digest_of(other)), other)
            pointer.write_bytes(digest_of(other).encode())
    for probe in ("size", None):
        answer = changing.ask(probe)
        assert problem(answer) == (503, "head_damaged", [])
        assert "'size'" in answer.json()["detail"]
        assert str(changing.root) not in answer.text
    assert list(said(changing.ask("kind"))[0]) == ["kind"]


def test_very_many_classes_are_cut_and_an_answer_that_nobody_would_read_is_refused(
    changing: Changing,
) -> None:
    changing.attach(head(np.random.default_rng(0).standard_normal((WIDTH, 100_000)) * 0.01, task="words"))
    (told,) = said(changing.ask("words"))
    assert (len(told["words"]["probabilities"]), told["words"]["left_out"]) == (100, 99_900)
    asked = {"model": changing.digest, "inputs": [SAMPLE] * 11, "top": 100_000}
    assert problem(changing.client.post("/v1/predictions", json=asked)) == (422, "too_many_numbers", [])
    few = changing.client.post("/v1/predictions", json=asked | {"top": 2})
    assert [len(each["words"]["probabilities"]) for each in said(few)] == [2] * 11


def test_only_so_many_heads_stay_in_memory(
    changing: Changing, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_heads, "MOST_HEADS", 2)
    changing.attach(*(head(SIZE, task=task, type="regression") for task in "abc"))
    for task in "abca":
        assert said(changing.ask(task))[0][task]["values"] == [50.0]
    assert app.state.resources.inference.heads.loaded == ["c", "a"]
