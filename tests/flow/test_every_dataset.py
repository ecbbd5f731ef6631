"""Every dataset all the way: its files in their true form, registered, trained for an epoch, probed, exported, embedded."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.client import Client, ClientError, Json
from service.db import Sessions, make_engine, make_sessions, migrate
from service.one_machine.up import LocalService
from service.settings import Settings
from tests.service.data.test_datasets import added
from tests.service.one_machine.test_up import local
from tests.training.registration import own
from tests.training.registration.fixtures import WRITERS
from training.spec.registration import Format

SMALL: Json = {"dim": 16, "heads": 2, "head_hidden": 16, "head_out": 8}
POSTERS: Json = {"model": SMALL | {"encoder": "conv", "encoders": {"text": "text_transformer"}}}


@dataclass(frozen=True)
class Walk:
    made_from: Format
    use: tuple[str, ...] | None = None
    """The usual ones by default."""
    predict: tuple[str, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of registering."""
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> Json:
        chosen = {"use": self.use, "predict": self.predict}
        return {"name": self.made_from, **{name: list(each) for name, each in chosen.items() if each}}

    def __str__(self) -> str:
        return " ".join([self.made_from, "+".join(self.use or ()), "+".join(self.predict or ())]).strip()


ALL_SENSES = ("vision", "text", "audio")
TOUCH = ("image", "force", "proprioception")
WALKS = [
    Walk("mosi"),
    Walk("ur_funny"),
    Walk("mustard"),
    Walk("mustard", use=ALL_SENSES),
    Walk("mimic"),
    Walk("vision_touch", options={"image_size": 32}),
    Walk("vision_touch", use=TOUCH, options={"image_size": 32}),
    Walk("vision_touch", predict=("ee_yaw_next",), options={"image_size": 32}),
    Walk("vision_touch", use=TOUCH, predict=("ee_yaw_next",), options={"image_size": 32}),
    Walk("mmimdb", options={"image_size": 32}, spec=POSTERS),
    Walk("hateful_memes", options={"image_size": 32}, spec=POSTERS),
    Walk("image_folder", options={"image_size": 32}),
    Walk("webdataset", options={"image_size": 32}),
    Walk("parquet", options={"image_size": 32}),
    Walk("arrays"),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return local(tmp_path_factory.mktemp("every"))


@pytest.fixture(scope="module")
def sessions(settings: Settings) -> Iterator[Sessions]:
    migrate(settings.effective_database_url)
    engine = make_engine(settings.effective_database_url)
    yield make_sessions(engine)
    engine.dispose()


@pytest.fixture(scope="module")
def client(settings: Settings, sessions: Sessions) -> Iterator[Client]:
    """Of a service with a real worker."""
    with LocalService(settings) as service, Client(service.url) as client:
        yield client


def finished(client: Client, kind: str, spec: Json) -> Json:
    job = client.submit(kind, {**spec, "threads": 1})
    for _ in client.events(job["id"]):
        pass
    job = client.job(job["id"])
    assert job["state"] == "succeeded", (kind, job["error"])
    return job


def scores_of(client: Client, probe: Json) -> list[Json]:
    rows: list[Json] = httpx.get(f"{client.server}/v1/jobs/{probe['id']}/results").json()["data"]
    return rows


def first_sample(client: Client, name: str, inputs: list[str]) -> Json:
    """A registered sample as a client has it, by what the service shows of it, where that is all of it."""
    page = httpx.get(f"{client.server}/v1/datasets/{name}/samples?split=test&limit=1").json()
    shown = page["data"][0]["modalities"]
    return {each: sent(client, shown[each]) for each in inputs}


def sent(client: Client, shown: Json) -> Any:
    match shown["kind"]:
        case "image":
            return base64.b64encode(httpx.get(client.server + shown["url"]).content).decode()
        case "text":
            return shown["texts"][0]
        case _:
            return shown["values"]


@pytest.mark.slow
@pytest.mark.parametrize("walk", WALKS, ids=str)
def test_from_its_files_to_an_embedding_over_http(
    client: Client, settings: Settings, sessions: Sessions, tmp_path: Path, walk: Walk
) -> None:
    source = WRITERS[walk.made_from](tmp_path / "in")
    added(sessions, walk.made_from, source, settings.datasets_dir, walk.made_from, **walk.options)
    spec = {
        "dataset": walk.dataset,
        "epochs": 1,
        "batch_size": 8,
        "model": SMALL,
        "device": "cpu",
        **walk.spec,
    }
    training = finished(client, "train", spec)
    probe = finished(client, "probe", {"run": training["id"]})
    asked = client.job(training["id"])["spec"]["dataset"]
    tasks = (
        asked["predict"]
        or asked["card"]["default_tasks"]
        or [each["name"] for each in asked["card"]["tasks"]]
    )
    assert {row["task"] for row in scores_of(client, probe)} == set(tasks)
    model = "walk-" + training["id"][-8:]
    finished(client, "export", {"run": training["id"], "name": model})
    inputs = [each["name"] for each in client.model(model)["manifest"]["inputs"]]
    if walk.use:
        assert inputs == list(walk.use)
    sample = first_sample(client, walk.made_from, inputs)
    alone = {inputs[0]: sample[inputs[0]]}
    request = {"model": model, "inputs": [sample, alone]}
    answer = httpx.post(f"{client.server}/v1/embeddings", json=request, timeout=60)
    assert answer.status_code == 200, answer.text
    vectors = np.array([each["embedding"] for each in answer.json()["data"]])
    assert vectors.shape == (2, SMALL["dim"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert not np.allclose(*vectors, atol=1e-4)


@pytest.mark.slow
def test_data_without_labels_is_trained_on_and_served_and_its_probe_says_that_there_is_nothing_to_probe(
    client: Client, settings: Settings, sessions: Sessions, tmp_path: Path
) -> None:
    content = own.arrays_content()
    np.savez(tmp_path / "plain.npz", heart=content["heart"], labs=content["labs"])
    added(sessions, "arrays", tmp_path / "plain.npz", settings.datasets_dir, "plain")
    spec = {"dataset": "plain", "epochs": 1, "batch_size": 16, "model": SMALL, "device": "cpu"}
    training = finished(client, "train", spec)
    finished(client, "export", {"run": training["id"], "name": "plain"})
    answer = client.embed("plain", [first_sample(client, "plain", ["heart", "labs"])])
    assert len(answer["data"][0]["embedding"]) == SMALL["dim"]
    with pytest.raises(ClientError, match="plain has no labels, so that there is nothing to probe"):
        client.submit("probe", {"run": training["id"]})
