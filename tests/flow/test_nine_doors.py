"""The way through the house, with real processes: request, training, probe, export, embedding."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from service.client import Client, Json
from service.one_machine.up import LocalService
from service.settings import Settings
from tests.service.worker.places import SMALL


@pytest.fixture
def fusebox(settings: Settings) -> Iterator[LocalService]:
    """API, worker and a private Redis, as `fusebox up` runs them."""
    with LocalService(settings.model_copy(update={"port": 0})) as service:
        yield service


@pytest.fixture
def client(fusebox: LocalService) -> Iterator[Client]:
    with Client(fusebox.url) as client:
        yield client


def finished(client: Client, kind: str, spec: Json, **rest: object) -> tuple[Json, list[Json]]:
    """The job when it has succeeded, and every event of it, as the stream told them."""
    job = client.submit(kind, spec, **rest)
    events = list(client.events(job["id"]))
    job = client.job(job["id"])
    assert job["state"] == "succeeded", job["error"]
    return job, events


@pytest.mark.long
def test_from_a_request_to_an_embedding(client: Client, fusebox: LocalService, tmp_path: Path) -> None:
    spec = {
        **SMALL,
        "method": "infmasking",
        "epochs": 3,
        "seed": 7,
        "probe": {"every_epochs": 1, "max_samples": 500},
    }
    training, events = finished(client, "train", spec, name="first walk", tags=["flow"])
    states = [event["data"]["to"] for event in events if event["type"] == "state"]
    assert states == ["queued", "starting", "running", "succeeded"]
    assert any(event["type"] == "progress" for event in events)
    numbered = [event["seq"] for event in events if "seq" in event]
    assert numbered == list(range(1, len(numbered) + 1))

    curves = {
        series["name"]: series
        for series in httpx.post(
            f"{fusebox.url}/v1/metrics/query", json={"job_ids": [training["id"]]}
        ).json()["data"]
    }
    assert curves["loss"]["step"] == list(range(1, 25))
    assert {"loss/mask_1", "loss/align_fused", "lr", "probe/digit", "probe/mean"} <= set(curves)

    probe, _ = finished(client, "probe", {"run": training["id"]})
    scores = httpx.get(f"{fusebox.url}/v1/jobs/{probe['id']}/results").json()["data"]
    assert {row["metric"] for row in scores} == {"macro_accuracy", "accuracy", "top5", "roc_auc"}
    assert {(row["task"], row["protocol"], row["n"]) for row in scores} == {("digit", "strict", 360)}
    (group,) = client.results(dataset="digits", metric="macro_accuracy", group_by="method")["data"]
    assert (group["method"], group["n"], group["std"]) == ("infmasking", 1, None)
    assert group["mean"] == next(row["value"] for row in scores if row["metric"] == "macro_accuracy")

    finished(client, "export", {"run": training["id"], "name": "walk"})
    model = client.model("walk")
    assert model["manifest"]["source"]["job_id"] == training["id"]
    client.set_alias("prod", "walk@1")

    picture = tmp_path / "digit.png"
    Image.new("L", (8, 8), 120).save(picture)
    image = client.upload(picture)["id"]
    pair = client.get_embedding("prod", image=image, text="a handwritten seven")
    alone = client.get_embedding("walk@1", image=image)
    told = client.get_embedding("walk", text="a handwritten seven")
    vectors = [answer["data"][0]["embedding"] for answer in (pair, alone, told)]
    assert all(len(vector) == 16 and math.isclose(math.hypot(*vector), 1, abs_tol=1e-5) for vector in vectors)
    assert vectors[0] != vectors[1] != vectors[2] != vectors[0]
    assert pair["checkpoint_sha256"] == model["manifest"]["source"]["checkpoint_sha256"]

    (head,) = client.attach_heads("walk", probe["id"])["data"]
    assert head["value"] == group["mean"]
    (told,) = client.predict("prod", [{"image": {"asset": image}, "text": "a handwritten seven"}])["data"]
    assert math.isclose(sum(told["predictions"]["digit"]["probabilities"].values()), 1, abs_tol=1e-9)
    client.detach_head("walk@1", "digit")
    assert client.model("walk")["heads"] == []

    log = httpx.get(f"{fusebox.url}/v1/jobs/{training['id']}/logs").text
    assert "succeeded" in log
    assert httpx.get(f"{fusebox.url}/").status_code == 200
    assert json.dumps(client.ready()["status"]) == '"ok"'


@pytest.mark.slow
def test_every_method_walks_through_on_pairs(client: Client) -> None:
    for method in ("comm", "cross"):
        spec = {**SMALL, "method": method, "dataset": {"name": "digits", "n_pairs": 256, "biased": True}}
        training, _ = finished(client, "train", spec)
        finished(client, "export", {"run": training["id"], "name": method})
        inputs = [each["name"] for each in client.model(method)["manifest"]["inputs"]]
        assert inputs == ["image1", "image2"]


@pytest.mark.slow
def test_a_cancelled_training_can_be_retried_to_its_end(client: Client) -> None:
    job = client.submit("train", {**SMALL, "epochs": 60, "checkpoints": {"every_steps": 5}})
    for event in client.events(job["id"]):
        if event["type"] == "progress" and event["data"]["step"] >= 10:
            client.cancel(job["id"])
            break
    assert [event for event in client.events(job["id"]) if event["type"] == "state"][-1]["data"][
        "to"
    ] == "cancelled"
    client.retry(job["id"])
    events = [event for event in client.events(job["id"]) if event["type"] in ("state", "started")]
    assert events[-1]["data"]["to"] == "succeeded"
    assert [event["data"]["resumed_from_step"] for event in events if event["type"] == "started"][-1] >= 10
