"""Samples of embedded datasets as people look at them: the labels of a map's points, and what single samples look like."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.db import Sessions
from service.settings import Settings
from tests.service.data.test_datasets import added
from tests.service.embedded import COUNT, NAMES, SEEN, embedded
from tests.service.rows import trained
from tests.training.registration import own
from training.run_dir import RunDir


class Place:
    """A service with one index, whose samples are in no dataset."""

    def __init__(self, client: TestClient, sessions: Sessions) -> None:
        self.client, self.sessions = client, sessions
        self.settings: Settings = client.app.state.resources.settings  # type: ignore[attr-defined]
        self.training = trained(sessions)
        self.index = embedded(sessions, self.settings, self.training)

    def get(self, path: str, index: str | None = None) -> Any:
        return self.client.get(f"/v1/jobs/{index or self.index}/embeddings/{path}")

    def folder(self) -> Path:
        return RunDir(self.settings.runs_dir / self.index).embeddings


@pytest.fixture
def place(emptied: TestClient, emptied_sessions: Sessions) -> Place:
    return Place(emptied, emptied_sessions)


def test_the_points_of_a_map_have_their_labels_in_its_order(place: Place) -> None:
    told = place.get("points").json()
    assert (told["row"], told["sample"]) == ([3, 7, 25], [6, 14, 50])
    colour, tags, size = told["tasks"]
    assert (colour["task"], colour["names"], colour["values"]) == ("colour", list(NAMES), [0, 1, 1])
    assert (tags["type"], tags["names"], tags["values"]) == ("multilabel", ["odd", "any"], [[0, 1]] * 3)
    assert (size["type"], size["values"]) == ("regression", [[1.5], [3.5], [12.5]])


def test_samples_are_shown_in_the_order_in_which_they_are_asked_for(place: Place) -> None:
    told = place.get("samples?row=25&row=4").json()
    assert [(each["row"], each["sample"], each["split"]) for each in told["data"]] == [
        (25, 50, "test"),
        (4, 8, "train"),
    ]
    assert told["data"][0]["labels"] == {"colour": NAMES[1], "tags": ["odd", "any"], "size": [12.5]}
    assert told["data"][0]["modalities"] == {
        "image": {"kind": "image", "url": f"/v1/jobs/{place.index}/embeddings/samples/25/image.png"},
        "text": {"kind": "text", "texts": ["two words"], "cut": False},
    }
    image = place.client.get(told["data"][0]["modalities"]["image"]["url"])
    assert image.headers["content-type"] == "image/png"
    assert np.array_equal(np.array(Image.open(io.BytesIO(image.content))), SEEN["image"][25 % 3])


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("samples", "invalid_request"),
        ("samples?row=-1", "invalid_request"),
        ("samples?row=1&rows=2", "invalid_request"),
        ("samples?" + "&".join(["row=1"] * 101), "invalid_request"),
        (f"samples?row={COUNT}", "no_such_row"),
        ("samples?row=99999999999999999999", "invalid_request"),
    ],
)
def test_rows_that_there_are_not_are_refused(place: Place, asked: str, code: str) -> None:
    answer = place.get(asked)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"].startswith("/query/row")


@pytest.mark.parametrize("path", [f"{COUNT}/image", "3/text", "3/nothing", "3/image.of"])
def test_images_that_there_are_not_are_not_found(place: Place, path: str) -> None:
    assert place.get(f"samples/{path}.png").status_code == 404


def test_registered_samples_are_read_from_their_dataset_as_long_as_it_is_the_same(
    place: Place, tmp_path: Path
) -> None:
    spec = added(
        place.sessions, "parquet", own.parquet(tmp_path), place.settings.datasets_dir, name="mine", image_size=16
    )  # fmt: skip
    index = embedded(
        place.sessions, place.settings, place.training, dataset="mine", registered_sha256=spec.sha256
    )
    (told,) = place.get("samples?row=4", index).json()["data"]
    assert told["modalities"]["image"]["url"] == "/v1/datasets/mine/samples/8/image.png"
    assert told["modalities"]["caption"]["texts"] == [own.caption(8)]
    other = embedded(
        place.sessions, place.settings, place.training, dataset="gone", registered_sha256="f" * 64
    )
    (told,) = place.get("samples?row=4", other).json()["data"]
    assert told["labels"]["colour"] == NAMES[1]


def test_changed_files_are_told_as_damaged(place: Place) -> None:
    path = place.folder() / "seen.npz"
    path.write_bytes(path.read_bytes()[:-4] + b"1234")
    answer = place.get("samples?row=1")
    assert (answer.status_code, answer.json()["code"]) == (503, "embeddings_damaged")
    (place.folder() / "projection.json").write_text("{}")
    assert place.get("points").json()["code"] == "embeddings_damaged"
