"""From a training to predictions over HTTP: trained, probed, exported, attached, and equal to what the probe itself says."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from torch import Tensor

from service import leases, models
from service.db import make_engine, make_sessions, transaction
from service.settings import Settings
from service.tables import Job
from service.worker.ingest import Ingest
from tests.applications import app_on_sqlite
from tests.service.conftest import Exported
from tests.service.pictures import file
from tests.service.rows import probed, started, trained
from tests.training.runs import done, made, of_type
from training import checkpoint
from training.data import load_for
from training.events import Result
from training.probe.features import Embedded, embed_split
from training.probe.job import restored
from training.probe.linear import Recipe, choose, fit_chosen
from training.probe.scores import value_of
from training.run_dir import RunDir
from training.spec import ProbeSpec, Task

pytestmark = pytest.mark.long

TASK, AT_ONCE = "digit", 180
SPEC = ProbeSpec(run="train-captions", threads=1)


@dataclass(frozen=True)
class Walked:
    """A service that has the model and the probe's head, and what torch knows of the test samples."""

    client: TestClient
    probe: RunDir
    probe_job_id: str
    inputs: list[dict[str, str]]
    outputs: Tensor  # (n, K)
    truth: Tensor  # (n)
    task: Task


@pytest.fixture(scope="module", autouse=True)
def as_many_threads_as_the_probe() -> Iterator[None]:
    """The published solver stops before large costs have converged: sums in another order end in another probe."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def walked(
    as_many_threads_as_the_probe: None, exported: Exported, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walked]:
    runs = exported.captions.parent.parent
    probe = made(runs / "probe-captions", SPEC)
    assert done("probe", probe) == 0

    folder = tmp_path_factory.mktemp("walked")
    app = app_on_sqlite(folder)
    with TestClient(app) as client:
        probe_job_id = published(app.state.resources.settings, app.state.resources.store, exported, probe)
        answer = client.post("/v1/models/captions/heads", json={"probe_job_id": probe_job_id})
        assert answer.status_code == 201, answer.text
        yield Walked(client, probe, probe_job_id, *known(runs))


def published(settings: Settings, store: Any, exported: Exported, probe: RunDir) -> str:
    """Does with the run's events and the bundle what workers do; returns the probe job's id."""
    engine = make_engine(settings.effective_database_url)
    sessions = make_sessions(engine)
    training = trained(sessions)
    with transaction(sessions) as session:
        models.publish(session, store, exported.captions, job_id=training, train_job_id=training)
    job_id = probed(sessions, settings, training, state="queued")
    lease = started(sessions)
    shutil.copytree(probe.path, settings.runs_dir / job_id)
    ingest = Ingest(RunDir(settings.runs_dir / job_id), store)
    with transaction(sessions) as session:
        assert ingest.read_some(session, leases.held(session, lease)) > 5
        session.get_one(Job, job_id).state = "succeeded"
    engine.dispose()
    return job_id


def known(runs: Path) -> tuple[list[dict[str, str]], Tensor, Tensor, Task]:
    """The test samples as a client has them, and what a probe fitted here and now says of them."""
    found = checkpoint.choose(RunDir(runs / SPEC.run), "last")
    trained_on = found.meta.spec.dataset
    data = load_for(found.meta.spec, runs / "datasets")
    method = restored(found, data)
    train, test = (
        Embedded(embed_split(method, trained_on, data, split, SPEC.protocol), split.labels)
        for split in (data.probe_train, data.probe_test)
    )
    (task,) = trained_on.tasks
    choices = dict(choose(train, None, [task], Recipe(SPEC.protocol, SPEC.seed)))
    outputs = fit_chosen(train, [task], choices)[TASK](test.x)

    raw = data.probe_test.batch(torch.arange(len(data.probe_test)))
    assert data.tokenizer is not None
    texts = data.tokenizer.decode_batch(raw["text"].tolist())
    pictures = [base64.b64encode(file(Image.fromarray(each[0].numpy()))).decode() for each in raw["image"]]
    inputs = [{"image": image, "text": text.strip()} for image, text in zip(pictures, texts, strict=True)]
    return inputs, outputs, test.labels[TASK], task


def asked(walked: Walked, path: str, **rest: Any) -> list[Any]:
    data: list[Any] = []
    for at in range(0, len(walked.inputs), AT_ONCE):
        request = {"model": "captions", "inputs": walked.inputs[at : at + AT_ONCE], **rest}
        answer = walked.client.post(f"/v1/{path}", json=request)
        assert answer.status_code == 200, answer.text
        data += answer.json()["data"]
    return data


def probabilities(data: list[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([list(each["predictions"][TASK]["probabilities"].values()) for each in data])


def test_predictions_are_those_of_the_probe_for_every_test_sample(walked: Walked) -> None:
    data = asked(walked, "predictions", probe=TASK)
    expected = walked.outputs.double().softmax(1).numpy()
    assert expected.std(axis=0).max() > 0.01, "samples do not all look alike"
    assert np.abs(probabilities(data) - expected).max() <= 1e-4
    labels = [int(each["predictions"][TASK]["label"]) for each in data]
    assert labels == walked.outputs.argmax(1).tolist()


def test_so_their_scores_are_those_that_the_probe_job_told_and_the_head_carries(walked: Walked) -> None:
    served = torch.from_numpy(probabilities(asked(walked, "predictions"))).log()
    (head,) = walked.client.get("/v1/models/captions").json()["heads"]
    told = {each.metric: each for each in of_type(walked.probe, Result)}
    assert told.keys() == head["scores"].keys()
    for metric, each in told.items():
        assert value_of(walked.task, metric, served, walked.truth) == pytest.approx(each.value, abs=1e-6)
        assert head["scores"][metric]["value"] == each.value
        assert head["scores"][metric]["ci95"] == each.details["ci95"]
    assert head["probe_job_id"] == "probe-captions"


def test_beside_shortened_embeddings_they_are_the_same(walked: Walked) -> None:
    alone, beside = (
        asked(walked, "predictions"),
        asked(walked, "embeddings", heads=[TASK], dimensions=4),
    )
    assert len(beside[0]["embedding"]) == 4
    assert np.abs(probabilities(alone) - probabilities(beside)).max() <= 1e-5


def test_the_job_tells_that_its_probe_was_kept(walked: Walked) -> None:
    events = walked.client.get(f"/v1/jobs/{walked.probe_job_id}/events").json()["data"]
    (kept,) = [each for each in events if each["type"] == "head"]
    (head,) = walked.client.get("/v1/models/captions/heads").json()["data"]
    assert kept["data"] == {"task": TASK, "sha256": head["sha256"]}
