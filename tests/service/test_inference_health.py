"""What the API tells of its engine: whether it computes, how long it took, and what it counts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from models_store.store import ModelStore
from service import health
from service.inference.batcher import Batcher
from service.settings import Settings
from tests.service.inference import measured
from tests.service.inference.networks import Doubling, samples
from tests.service.inference.test_batcher import Failing

REQUEST = {"model": "measured", "inputs": [{"static": [1, 2]}, {"static": [3, 4], "series": [[1, 2, 3]]}]}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Embedding asks no database."""
    return sqlite_url


@pytest.fixture
def settings(settings: Settings) -> Settings:
    short = {"inference_threads": 1, "inference_deadline_s": 0.5, "inference_stall_s": 0.2}
    return settings.model_copy(update=short)


@pytest.fixture
def client(settings: Settings, app: FastAPI, tmp_path: Path) -> Iterator[TestClient]:
    store = ModelStore(settings.models_url)
    store.name_version("measured", 1, measured.published(store, tmp_path / "measured"))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def batcher(client: TestClient, app: FastAPI) -> Batcher:
    batcher: Batcher = app.state.resources.inference.batcher
    return batcher


def part(client: TestClient) -> tuple[str, str]:
    told = client.get("/readyz").json()["parts"]["inference"]
    return told["state"], told["detail"]


def test_an_answer_says_how_long_each_stage_took_and_whether_it_was_remembered(client: TestClient) -> None:
    for cache in ("miss", "hit"):
        answer = client.post("/v1/embeddings", json=REQUEST)
        assert answer.status_code == 200
        told = answer.headers["Server-Timing"]
        assert re.fullmatch(
            r"prepare;dur=[\d.]+, queue;dur=[\d.]+, run;dur=[\d.]+, finish;dur=[\d.]+, cache;desc=" + cache,
            told,
        )
        ran = float(re.search(r"run;dur=([\d.]+)", told)[1])  # type: ignore[index]
        assert (ran > 0) == (cache == "miss")
    more = REQUEST | {"inputs": [{"static": [1, 2]}, {"static": [5, 6]}]}
    assert client.post("/v1/embeddings", json=more).headers["Server-Timing"].endswith("cache;desc=partial")
    assert "Server-Timing" not in client.post("/v1/embeddings", json=REQUEST | {"model": "none"}).headers


def test_what_the_engine_does_is_counted_by_stage_and_by_what_samples_have(client: TestClient) -> None:
    for _ in range(2):
        client.post("/v1/embeddings", json=REQUEST)
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'fusebox_inference_stage_seconds_count{stage="prepare"} 2.0',
        'fusebox_inference_stage_seconds_count{stage="queue"} 2.0',
        'fusebox_inference_stage_seconds_count{stage="finish"} 2.0',
        'fusebox_inference_samples_total{modalities="static"} 1.0',
        'fusebox_inference_samples_total{modalities="series+static"} 1.0',
        'fusebox_inference_vectors_total{cache="miss"} 2.0',
        'fusebox_inference_vectors_total{cache="hit"} 2.0',
        "fusebox_inference_waiting 0.0",
        "fusebox_inference_wait_seconds 0.0",
        "fusebox_inference_models 1.0",
    ):
        assert line in lines


def test_a_request_that_takes_too_long_is_told_so_and_not_computed(
    client: TestClient, batcher: Batcher
) -> None:
    ahead = Doubling()
    batcher.submit(ahead, samples(1))
    assert ahead.begun.wait(10)
    answer = client.post("/v1/embeddings", json=REQUEST)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (batcher.waiting, batcher.counts.dropped) == (0, 2)
    ahead.may_go_on.set()
    assert client.post("/v1/embeddings", json=REQUEST).status_code == 200
    assert 'fusebox_inference_refused_total{reason="deadline"} 2.0' in client.get("/metrics").text


def test_a_request_that_says_how_long_it_waits_is_answered_by_then(
    client: TestClient, batcher: Batcher
) -> None:
    ahead = Doubling()
    batcher.submit(ahead, samples(1))
    assert ahead.begun.wait(10)
    answer = client.post("/v1/embeddings", json=REQUEST, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert "within 0 s" in answer.json()["detail"]
    assert (batcher.waiting, batcher.counts.samples) == (0, 1), "none but the one ahead"
    ahead.may_go_on.set()


def test_an_engine_that_gets_nothing_done_is_not_ready_until_it_does(
    client: TestClient, batcher: Batcher
) -> None:
    assert part(client)[0] == "ok"
    stuck = Doubling()
    (future,) = batcher.submit(stuck, samples(1))
    assert stuck.begun.wait(10)
    time.sleep(0.3)
    assert part(client)[0] == "failed"
    assert client.get("/readyz").status_code == 503
    stuck.may_go_on.set()
    future.result(timeout=10)
    assert part(client)[0] == "ok"
    assert client.get("/readyz").status_code == 200


def test_a_thread_that_died_is_told_for_a_while(
    client: TestClient, batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(SystemExit(1))
    failing.may_go_on.set()
    (lost,) = batcher.submit(failing, samples(1))
    assert lost.exception(timeout=10) is not None
    state, detail = part(client)
    assert (state, "SystemExit" in detail, "1 time" in detail) == ("degraded", True, True)
    assert client.get("/readyz").status_code == 200, "it works, and others need not know"
    assert client.post("/v1/embeddings", json=REQUEST).status_code == 200
    assert "works again" in part(client)[1]
    monkeypatch.setattr(health, "REMEMBERED_S", 0)
    assert part(client)[0] == "ok"
    assert "fusebox_inference_restarts_total 1.0" in client.get("/metrics").text


def test_a_reference_that_is_answered_by_an_earlier_model_is_named(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    store = ModelStore(settings.models_url)
    store.set_alias("prod", store.resolve("measured@1"))
    assert client.post("/v1/embeddings", json=REQUEST | {"model": "prod"}).status_code == 200
    damaged = measured.published(
        store, tmp_path / "damaged", static=measured.STATIC.model_copy(update={"features": 3})
    )
    store.set_alias("prod", damaged)
    time.sleep(1.1)
    answer = client.post("/v1/embeddings", json=REQUEST | {"model": "prod"})
    assert (answer.status_code, answer.json()["model"]) == (200, "measured@1")
    state, detail = part(client)
    assert (state, "prod (model_damaged)" in detail) == ("degraded", True)
