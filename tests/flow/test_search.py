"""A whole dataset embedded by a real worker, and searched in by words: images of a numeral are found by its name."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from service.cli import app
from service.client import Client, Json
from service.one_machine.up import LocalService
from service.settings import Settings
from tests.flow.test_nine_doors import finished
from tests.service.worker.places import SMALL

NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SUBSETS = [["image"], ["text"], ["image", "text"]]
K = 20


@pytest.fixture
def client(sqlite_url: str, settings_on_sqlite: Settings) -> Iterator[Client]:
    with LocalService(settings_on_sqlite) as service, Client(service.url) as client:
        yield client


@pytest.fixture
def settings_on_sqlite(sqlite_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        data_dir=tmp_path_factory.mktemp("data"),
        FUSEBOX_DATABASE_URL=sqlite_url,  # type: ignore[call-arg]
        FUSEBOX_REDIS_URL="",
        port=0,
    )


@pytest.mark.slow
def test_images_of_a_numeral_are_found_by_its_name(client: Client) -> None:
    spec = {
        **SMALL,
        "method": "comm",
        "epochs": 8,
        "model": {**SMALL["model"], "dim": 32},
        "dataset": {"name": "digits", "form": "captions", "n_pairs": 1437},
    }
    training = client.submit("train", spec)["id"]
    asked = {"run": training, "modalities": SUBSETS, "samples_per_part": 500}
    embedding, events = finished(client, "embed", asked, after=training)
    finished(client, "export", {"run": training, "name": "search"})
    assert embedding["dataset"] == "digits"
    (told,) = [event["data"] for event in events if event["type"] == "embedded"]
    files = client.embeddings_of(embedding["id"])
    assert (files["count"], files["subsets"], told["sha256"]) == (1797, SUBSETS, files["manifest_sha256"])
    for each in files["data"]:
        content = httpx.get(client.server + each["url"]).content
        assert hashlib.sha256(content).hexdigest() == each["sha256"]
        if each["name"] == "vectors-0.npy":
            assert np.load(io.BytesIO(content)).shape == (1797, files["dim"])

    plain, centered = (
        np.mean([found_by_name(client, embedding["id"], digit, center) for digit in range(10)])
        for center in (False, True)
    )
    assert plain > 0.2, "guessing finds 0.1"
    assert centered > 0.4

    sample: Json = client.search({"index": embedding["id"], "sample": 1500, "k": 5})
    assert {each["split"] for each in sample["data"]} <= {"train", "test"}
    assert 1500 not in {each["sample"] for each in sample["data"]}
    command = [
        "search",
        embedding["id"],
        "--text",
        "a handwritten seven",
        "-k",
        "3",
        "--in",
        "image",
        "--center",
    ]
    shown = CliRunner().invoke(app, [*command, "--split", "test"], env={"FUSEBOX_SERVER": client.server})
    assert shown.exit_code == 0, shown.output
    assert "of 360 samples of digits, by image" in shown.output
    assert len(shown.output.splitlines()) == 5


def found_by_name(client: Client, index: str, digit: int, center: bool) -> float:
    """The share of test images that are of the digit among those nearest to its name."""
    asked = {
        "index": index,
        "model": "search",
        "inputs": [{"text": f"a handwritten {NUMERALS[digit]}"}],
        "modalities": ["image"],
        "split": "test",
        "center": center,
        "k": K,
    }
    found = client.search(asked)["data"]
    return float(np.mean([each["labels"]["digit"] == str(digit) for each in found]))
