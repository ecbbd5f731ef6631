"""Images are uploaded once and named from then on; what is stored is pixels and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image, PngImagePlugin

from service.access import auth
from service.db import Sessions, transaction
from service.settings import Settings
from tests.service.conftest import Published
from tests.service.pictures import OTHERS, bomb, file, noise, png, truncated_png


def upload(client: TestClient, data: bytes) -> Response:
    answer: Response = client.post("/v1/assets", files={"file": ("picture.png", data)})
    return answer


def stored(client: TestClient, answer: Response) -> Image.Image:
    return Image.open(BytesIO(client.get(f"/v1/assets/{answer.json()['id']}").content))


def test_an_upload_is_created_once_and_found_again(client: TestClient) -> None:
    first, again = upload(client, png()), upload(client, png())
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    asset = first.json()
    assert asset.keys() == {"id", "media_type", "width", "height", "size_bytes", "created_at"}
    assert (asset["media_type"], asset["width"], asset["height"]) == ("image/png", 8, 8)
    assert first.headers["Location"] == f"/v1/assets/{asset['id']}"
    kept = client.get(first.headers["Location"])
    assert hashlib.sha256(kept.content).hexdigest() == asset["id"]
    assert len(kept.content) == asset["size_bytes"]


def test_an_image_may_be_the_body_itself(client: TestClient) -> None:
    as_form = upload(client, png()).json()
    for content_type in ("image/png", "application/octet-stream"):
        answer = client.post("/v1/assets", content=png(), headers={"Content-Type": content_type})
        assert answer.json() == as_form


def test_a_stored_image_is_served_so_that_it_can_do_nothing_but_be_looked_at(client: TestClient) -> None:
    asset = upload(client, png()).json()
    headers = client.get(f"/v1/assets/{asset['id']}").headers
    assert headers["Content-Type"] == "image/png"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["Content-Disposition"] == f'attachment; filename="{asset["id"]}.png"'
    assert "private" in headers["Cache-Control"]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "I;16"])
def test_pixels_are_kept_as_they_were(client: TestClient, mode: str) -> None:
    random = np.random.default_rng(0)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,), "I;16": ()}[mode]
    kind = np.uint16 if mode == "I;16" else np.uint8
    pixels = random.integers(0, np.iinfo(kind).max, (9, 7, *channels), dtype=kind)
    kept = stored(client, upload(client, file(Image.fromarray(pixels))))
    assert kept.mode == mode
    assert np.array_equal(np.asarray(kept), pixels)


def test_metadata_is_left_out_and_the_orientation_applied(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken at home"
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", "taken at home")
    sent = noise(16, 8)
    answer = upload(client, file(sent, exif=exif, pnginfo=words, icc_profile=b"taken at home"))
    assert (answer.json()["width"], answer.json()["height"]) == (8, 16)
    kept = stored(client, answer)
    assert b"home" not in client.get(f"/v1/assets/{answer.json()['id']}").content
    assert not kept.getexif()
    assert np.array_equal(np.asarray(kept), np.rot90(np.asarray(sent), -1))
    assert upload(client, file(noise(16, 8).transpose(Image.Transpose.ROTATE_270))).status_code == 200


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_answered_415(client: TestClient, name: str) -> None:
    answer = upload(client, OTHERS[name])
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_image")


@pytest.mark.parametrize("data", [b"", b"hello", truncated_png()])
def test_what_is_no_whole_image_is_answered_422(client: TestClient, data: bytes) -> None:
    answer = upload(client, data)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert upload(client, png()).status_code == 201


def test_a_decompression_bomb_is_answered_413(client: TestClient) -> None:
    answer = upload(client, bomb(13_000, 13_000))
    assert (answer.status_code, answer.json()["code"]) == (413, "image_too_large")


class TestWithSmallLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"max_image_bytes": 5_000, "max_body_bytes": 20_000})

    @pytest.mark.parametrize("size", [6_000, 30_000])
    def test_a_long_file_is_answered_413_however_it_is_sent(self, client: TestClient, size: int) -> None:
        long = png() + bytes(size)
        as_form = upload(client, long)
        as_body = client.post("/v1/assets", content=long, headers={"Content-Type": "image/png"})
        assert (as_form.status_code, as_body.status_code) == (413, 413)


@pytest.mark.parametrize(
    ("send", "status"),
    [
        (lambda client: client.post("/v1/assets", files={"picture": ("a.png", png())}), 422),
        (lambda client: client.post("/v1/assets", data={"file": "not a file"}, files={"x": b"y"}), 422),
        (lambda client: client.post("/v1/assets", json={"file": "x"}), 415),
        (lambda client: client.post("/v1/assets"), 422),
    ],
)
def test_a_request_without_an_image_says_how_to_send_one(
    client: TestClient, send: Callable[[TestClient], Any], status: int
) -> None:
    answer = send(client)
    assert answer.status_code == status
    assert answer.json()["detail"]


@pytest.mark.parametrize("asset_id", ["0" * 64, "nothing", "..%2f..%2fetc%2fpasswd"])
def test_an_unknown_asset_is_answered_404(client: TestClient, asset_id: str) -> None:
    assert client.get(f"/v1/assets/{asset_id}").status_code == 404


def test_many_who_upload_the_same_picture_at_once_all_get_it(client: TestClient) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: upload(client, png()), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_file_that_cannot_be_read_at_present_is_told_of_the_input_that_names_it(
    client: TestClient, settings: Settings, published: Published
) -> None:
    asset_id = upload(client, png()).json()["id"]
    (kept,) = settings.assets_dir.rglob("*.png")
    kept.unlink()
    kept.mkdir()
    answer = client.get("/v1/embeddings", params={"model": "captions", "image": asset_id})
    assert answer.status_code == 422
    assert [(each["pointer"], each["code"]) for each in answer.json()["errors"]] == [
        ("/query/image", "asset_unavailable")
    ]


def test_a_spoilt_file_is_noticed_and_mended_by_another_upload(
    client: TestClient, settings: Settings
) -> None:
    asset_id = upload(client, png()).json()["id"]
    (kept,) = settings.assets_dir.rglob("*.png")
    kept.write_bytes(b"spoilt")
    assert client.get(f"/v1/assets/{asset_id}").json()["code"] == "asset_damaged"
    assert upload(client, png()).status_code == 200
    assert client.get(f"/v1/assets/{asset_id}").status_code == 200


def test_uploading_takes_the_scope_infer(app: FastAPI, client: TestClient, sessions: Sessions) -> None:
    secrets = {}
    for scope in ("infer", "read"):
        with transaction(sessions) as session:
            _, secrets[scope] = auth.create_key(session, scope, [scope])  # type: ignore[list-item]
    for scope, status in (("infer", 201), ("read", 403)):
        headers = {"Authorization": f"Bearer {secrets[scope]}"}
        answer = client.post("/v1/assets", files={"file": ("a.png", png())}, headers=headers)
        assert answer.status_code == status
