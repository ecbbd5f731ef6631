"""All ten methods on small Trifeatures, all the way: trained, probed, exported and served by a service of its own.

Only when asked for by name: it takes half an hour of two CPU cores. Everything goes over HTTP, as anybody would ask for it.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from PIL import Image

from service.client import Client, Json
from service.one_machine.up import LocalService
from service.settings import Settings
from training.spec import METHODS

SPEC: Json = {
    "dataset": {"name": "trifeatures", "form": "pairs", "biased": True, "n_pairs": 2_048, "image_size": 48},
    "model": {"dim": 128, "heads": 4, "head_hidden": 256, "head_out": 128},
    "optim": {"lr": 1e-3},
    "epochs": 6,
    "batch_size": 64,
    "device": "cpu",
    "threads": 1,
    "log_every_steps": 16,
}
OWN: dict[str, Json] = {
    "cross": {"projection_dim": 128},
    "cmc": {"projection_dim": 128},
    "slip": {"projection_dim": 128, "head_hidden": 1024},
    "simclr": {"head_hidden": 1024},
}
"""Widths in proportion to the others', where a method's default is made for larger networks."""


def measure() -> dict[str, float]:
    """Per method: each task's macro accuracy in percent, seconds of the training, and how a served pair's vector is."""
    measured: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), port=0)
        with LocalService(settings) as service, Client(service.url) as client:
            trainings = {name: client.submit("train", spec_of(name)) for name in METHODS}
            for name, job in trainings.items():
                walk = walked(client, name, ended(client, job), Path(folder))
                print(f"{name}: {walk}", file=sys.stderr, flush=True)
                measured |= {f"{name} {key}": value for key, value in walk.items()}
    return measured


def spec_of(method: str) -> Json:
    return {**SPEC, "method": {"name": method, **OWN.get(method, {})}}


def walked(client: Client, method: str, training: Json, folder: Path) -> dict[str, float]:
    """What the probe of a training scores; its export is served a pair, and a pair without the second picture."""
    probe = ended(client, client.submit("probe", {"run": training["id"], "threads": 1}))
    name = method.replace("_", "-")
    ended(client, client.submit("export", {"run": training["id"], "name": name, "threads": 1}))
    rows = client.job_results(probe["id"])["data"]
    scores = {row["task"]: 100 * row["value"] for row in rows if row["metric"] == "macro_accuracy"}
    image = client.upload(picture(folder))["id"]
    inputs = [each["name"] for each in client.model(name)["manifest"]["inputs"]]
    for given in (inputs, inputs[:1]):
        vector = client.get_embedding(name, **dict.fromkeys(given, image))["data"][0]["embedding"]
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-4), (method, given)
    return {**scores, "dim": len(vector), "train_s": seconds_of(training)}


def ended(client: Client, job: Json) -> Json:
    while job["state"] not in ("succeeded", "failed", "cancelled"):
        time.sleep(1)
        job = client.job(job["id"])
    assert job["state"] == "succeeded", job["error"]
    return job


def seconds_of(job: Json) -> float:
    started, finished = (datetime.fromisoformat(job[key]) for key in ("started_at", "finished_at"))
    return (finished - started).total_seconds()


def picture(folder: Path) -> Path:
    path = folder / "blue.png"
    Image.new("RGB", (64, 64), (0, 0, 255)).save(path)
    return path
