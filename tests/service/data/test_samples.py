"""Looking at samples of a registered dataset: as they are kept, in pages, with bounds."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.data.samples import MOST_NUMBERS
from service.db import Sessions
from service.settings import Settings
from tests.service.data.test_datasets import added
from tests.training.registration import own
from training.spec.registration import REGISTERED


@pytest.fixture
def squares(sessions: Sessions, settings: Settings, tmp_path: Path) -> Path:
    """Pictures, texts and tracks, as a dataset. Returns its folder."""
    spec = added(
        sessions,
        "parquet",
        own.parquet(tmp_path / "in"),
        settings.datasets_dir,
        name="squares",
        image_size=16,
    )
    return settings.datasets_dir / REGISTERED / spec.sha256


def page(client: TestClient, name: str = "squares", **asked: Any) -> dict[str, Any]:
    answer = client.get(f"/v1/datasets/{name}/samples", params=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_samples_are_shown_with_all_that_they_have(client: TestClient, squares: Path) -> None:
    found = page(client, split="test", limit=100)
    assert (found["total"], found["split"], found["sha256"]) == (6, "test", squares.name)
    rows = np.load(squares / "split.strict.test.npy").tolist()
    assert [each["row"] for each in found["data"]] == rows
    tracks = own.parquet_table().column("track").to_pylist()
    for each in found["data"]:
        row, modalities = each["row"], each["modalities"]
        assert list(modalities) == ["image", "caption", "track"]
        assert modalities["image"] == {
            "kind": "image",
            "url": f"/v1/datasets/squares/samples/{row}/image.png",
        }
        assert modalities["caption"] == {"kind": "text", "texts": [own.caption(row)], "cut": False}
        track = modalities["track"]
        assert (track["steps"], track["cut"]) == (len(tracks[row]), False)
        assert np.allclose(track["values"], tracks[row], rtol=1e-6)
        assert each["labels"]["colour"] == own.NAMES[row % 3]
        assert each["labels"]["weight"] == [pytest.approx(row / 7)]


def test_pages_follow_each_other_and_end(client: TestClient, squares: Path) -> None:
    whole = [each["row"] for each in page(client, limit=48)["data"]]
    parts = [each["row"] for k in range(5) for each in page(client, limit=10, offset=10 * k)["data"]]
    assert parts == whole
    assert len(whole) == page(client)["total"] == 48
    assert page(client, offset=48)["data"] == []


def test_an_image_is_what_was_kept_and_is_asked_for_again_only_when_it_changed(
    client: TestClient, squares: Path
) -> None:
    url = page(client)["data"][0]["modalities"]["image"]["url"]
    answer = client.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    pixels = np.asarray(Image.open(io.BytesIO(answer.content))).transpose(2, 0, 1)
    assert np.array_equal(pixels, np.load(squares / "image.npy")[page(client)["data"][0]["row"]])
    again = client.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_tables_and_several_labels_are_shown(
    client: TestClient, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    added(sessions, "arrays", own.arrays(tmp_path / "in"), settings.datasets_dir, name="patients")
    content = own.arrays_content()
    for each in page(client, "patients")["data"]:
        assert np.allclose(each["modalities"]["labs"]["values"], content["labs"][each["row"]], rtol=1e-6)
        drugs = np.flatnonzero(content["labels.drugs"][each["row"]])
        assert each["labels"]["drugs"] == [str(k) for k in drugs]
        assert each["labels"]["sleeps"] == str(content["labels.sleeps"][each["row"]])


def test_of_large_samples_a_part_is_shown(
    client: TestClient, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    table = {
        "text": [["x" * 5_000 + str(k)] * 20 for k in range(20)],
        "walk": rng.normal(size=(20, 400, 4)).tolist(),
        "wide": rng.normal(size=(20, 2, 3_000)).tolist(),
        "size": rng.normal(size=(20, 5_000)).tolist(),
    }
    pq.write_table(pa.table(table), tmp_path / "all.parquet")
    added(sessions, "parquet", tmp_path / "all.parquet", settings.datasets_dir, name="large")
    shown = page(client, "large")["data"][0]["modalities"]
    assert all(each["cut"] for each in shown.values())
    assert shown["walk"]["steps"] == 400
    assert np.size(shown["walk"]["values"]) == np.size(shown["size"]["values"]) == MOST_NUMBERS
    assert np.shape(shown["wide"]["values"]) == (1, MOST_NUMBERS)
    assert [len(text) for text in shown["text"]["texts"]] == [2_000] * 10


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("squares/samples?limit=101", 422, "invalid_request"),
        ("squares/samples?limit=0", 422, "invalid_request"),
        ("squares/samples?offset=-1", 422, "invalid_request"),
        ("squares/samples?split=all", 422, "invalid_request"),
        ("squares/samples?colour=red", 422, "invalid_request"),
        ("digits/samples", 422, "made_by_each_training"),
        ("nothing/samples", 404, "dataset_not_found"),
        ("squares/samples/60/image.png", 404, "sample_not_found"),
        ("squares/samples/-1/image.png", 422, "invalid_request"),
        ("squares/samples/0/caption.png", 404, "image_not_found"),
        ("squares/samples/0/..%2Fimage.png", 404, "http_404"),
        ("squares/samples/0/labels.colour.png", 404, "image_not_found"),
        ("squares/samples/x/image.png", 422, "invalid_request"),
    ],
)
def test_what_is_not_there_is_a_problem(
    client: TestClient, squares: Path, path: str, status: int, code: str
) -> None:
    answer = client.get(f"/v1/datasets/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_a_split_that_the_data_lacks_is_told(
    client: TestClient, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    rows = [own.row(k) | {"split": ("train", "test")[k % 2]} for k in range(own.N)]
    own.write_jsonl(own.write_pictures(tmp_path / "in") / "metadata.jsonl", rows)
    added(sessions, "image_folder", tmp_path / "in", settings.datasets_dir, name="two", image_size=16)
    answer = client.get("/v1/datasets/two/samples?split=val")
    assert (answer.status_code, answer.json()["code"]) == (422, "no_such_split")


@pytest.mark.parametrize(
    "damage", ["image.npy", "caption.jsonl", "split.strict.train.npy", "labels.colour.npy"]
)
@pytest.mark.parametrize("how", ["gone", "cut off"])
def test_files_that_are_damaged_are_a_problem_and_no_error_of_ours(
    client: TestClient, squares: Path, damage: str, how: str
) -> None:
    path = squares / damage
    content = path.read_bytes()
    path.unlink()
    if how == "cut off":
        path.write_bytes(content[:100])
    url = "/v1/datasets/squares/samples" + ("/50/image.png" if damage == "image.npy" else "?limit=50")
    answer = client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (503, "dataset_damaged"), json.dumps(answer.json())
    assert str(squares) not in answer.text
