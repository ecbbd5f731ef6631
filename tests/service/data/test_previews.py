"""Previews over HTTP: samples as they are kept and as views, once a worker has had them made."""

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
from tests.training.registration import own
from training.data.previews import make
from training.spec.preview import PREVIEW, SAMPLES, always_there, folder_of, whole


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preview of their captions, to be copied to where a service looks."""
    return make(always_there("digits")[1], tmp_path_factory.mktemp("previews"))


@pytest.fixture
def shown(digits: Path, settings: Settings) -> Path:
    place = settings.datasets_dir / "previews"
    place.mkdir(parents=True)
    (place / digits.name).symlink_to(digits)
    return digits


def found(client: TestClient, path: str) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_digits_are_shown_as_they_are_kept_and_as_views(client: TestClient, shown: Path) -> None:
    preview = found(client, "/v1/datasets/digits/preview?form=captions")
    assert (preview["dataset"], preview["form"], preview["digest"]) == ("digits", "captions", shown.name)
    assert [each["name"] for each in preview["modalities"]] == ["image", "text"]
    assert len(preview["samples"]) == SAMPLES
    for sample in preview["samples"]:
        image, text = (sample["modalities"][name] for name in ("image", "text"))
        assert text["kept"]["kind"] == "text"
        for look in [image["kept"], *image["views"]]:
            answer = client.get(look["url"])
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
            assert np.asarray(Image.open(io.BytesIO(answer.content))).shape == (8, 8)
    again = client.get(look["url"], headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_dataset_says_of_which_forms_there_are_previews(client: TestClient, shown: Path) -> None:
    assert found(client, "/v1/datasets/digits")["previews"] == ["captions"]
    assert found(client, "/v1/datasets/trifeatures")["previews"] == []


def test_a_registered_dataset_is_shown_with_all_that_it_has(
    client: TestClient, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    spec = added(sessions, "parquet", own.parquet(tmp_path), settings.datasets_dir, "squares", image_size=16)
    assert found(client, "/v1/datasets/squares")["previews"] == []
    assert client.get("/v1/datasets/squares/preview").json()["code"] == "no_preview"
    make(whole(spec), settings.datasets_dir)
    preview = found(client, "/v1/datasets/squares/preview")
    assert found(client, "/v1/datasets/squares")["previews"] == [preview["form"]] == ["image+caption+track"]
    assert preview["splits"] == spec.card.samples
    assert set(preview["labels"]) == {"colour", "weight"}
    sample = preview["samples"][3]
    track = sample["modalities"]["track"]
    assert [each["kind"] for each in (track["kept"], *track["views"])] == ["sequence"] * 3
    assert np.shape(track["kept"]["values"]) == (track["kept"]["steps"], 2)
    assert track["kept"]["cut"] is False
    assert sample["labels"]["colour"] in own.NAMES
    assert client.get(sample["modalities"]["image"]["views"][1]["url"]).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("digits/preview", 404, "no_preview"),
        ("trifeatures/preview?form=captions", 404, "no_preview"),
        ("digits/preview?form=film", 422, "invalid_request"),
        ("nothing/preview", 404, "dataset_not_found"),
        ("digits/preview/0/image/0.png", 404, "no_preview"),
        ("digits/preview/24/image/0.png?form=captions", 422, "invalid_request"),
        ("digits/preview/0/image/3.png?form=captions", 422, "invalid_request"),
        ("digits/preview/0/text/0.png?form=captions", 404, "image_not_found"),
        ("digits/preview/0/..%2F0.image/0.png?form=captions", 404, "http_404"),
    ],
)
def test_what_is_not_there_is_a_problem_that_says_what_to_do(
    client: TestClient, shown: Path, path: str, status: int, code: str
) -> None:
    answer = client.get(f"/v1/datasets/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert str(shown) not in answer.text


def test_a_registered_dataset_has_no_forms(
    client: TestClient, sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    added(sessions, "arrays", own.arrays(tmp_path), settings.datasets_dir, name="patients")
    answer = client.get("/v1/datasets/patients/preview?form=pairs")
    assert (answer.status_code, answer.json()["code"]) == (422, "no_such_form")


def test_a_preview_that_is_damaged_counts_as_none(client: TestClient, settings: Settings) -> None:
    folder = folder_of(settings.datasets_dir, always_there("digits")[0])
    folder.mkdir(parents=True)
    (folder / PREVIEW).write_text("{")
    assert client.get("/v1/datasets/digits/preview").json()["code"] == "no_preview"
