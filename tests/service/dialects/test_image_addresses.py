"""Pictures at addresses, wherever an address may stand: fetched from a listed host, and refused everywhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response

from models_store.store import ModelStore
from service.settings import Settings
from tests.applications import new_app
from tests.service.conftest import Exported, publish
from tests.service.dialects.asking import TEXT, faults, ours, text
from tests.service.pictures import base64_png, png, truncated_png


class Pictures(ThreadingHTTPServer):
    """What it has, by path; and the paths that it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {"/a.png": png(), "/cut.png": truncated_png()}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        pictures = self.server
        assert isinstance(pictures, Pictures)
        pictures.asked.append(self.path)
        file = pictures.files.get(self.path)
        self.send_response(200 if file else 404)
        self.send_header("Content-Length", str(len(file or b"")))
        self.end_headers()
        self.wfile.write(file or b"")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def pictures() -> Iterator[Pictures]:
    with Pictures() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: object, exported: Exported, pictures: Pictures
) -> Iterator[TestClient]:
    """That may fetch from one host, which is on this machine."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("addresses"),
        image_url_hosts=(pictures.url,),
        image_url_networks=("127.0.0.0/8", "::1/128"),
        FUSEBOX_DATABASE_URL=f"sqlite:///{migrated_sqlite}",  # type: ignore[call-arg]
        FUSEBOX_REDIS_URL="",
    )
    publish(ModelStore(settings.models_url), exported)
    with TestClient(new_app(settings), raise_server_exceptions=False) as client:
        yield client


def parts(*content: Any) -> dict[str, Any]:
    return {"content": list(content)}


WAYS: dict[str, Callable[[TestClient, str], Response]] = {
    "by name": lambda client, url: client.post(
        "/v1/embeddings", json={"model": "captions", "inputs": [{"image": url, "text": TEXT}]}
    ),
    "a form": lambda client, url: client.post(
        "/v1/embeddings", files=[(name, (None, value)) for name, value in (("model", "captions"), ("image", url), ("text", TEXT))]
    ),
    "a part": lambda client, url: client.post(
        "/v1/embeddings",
        json={"model": "captions", "inputs": [parts(text(TEXT), {"type": "image_url", "image_url": url})]},
    ),
    "a part as OpenAI writes it": lambda client, url: client.post(
        "/v1/embeddings",
        json={"model": "captions", "inputs": [parts(text(TEXT), {"type": "image_url", "image_url": {"url": url}})]},
    ),
    "explained": lambda client, url: client.post(
        "/v1/embeddings", json={"model": "captions", "inputs": [{"image": url, "text": TEXT}], "explain": "modality"}
    ),
    "Voyage": lambda client, url: client.post(
        "/v1/multimodalembeddings",
        json={"model": "captions", "inputs": [parts(text(TEXT), {"type": "image_url", "image_url": url})]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_at_an_address_is_the_same_as_the_picture_itself(
    service: TestClient, pictures: Pictures, way: str
) -> None:
    (expected,) = ours(service, {"image": base64_png(), "text": TEXT})
    answer = WAYS[way](service, f"{pictures.url}/a.png")
    assert answer.status_code == 200, answer.text
    assert np.abs(np.array(answer.json()["data"][0]["embedding"]) - expected).max() <= 1e-6


def test_coheres_images_may_be_addresses_too(service: TestClient, pictures: Pictures) -> None:
    (expected,) = ours(service, {"image": base64_png()})
    address = f"{pictures.url}/a.png"
    content = parts({"type": "image_url", "image_url": {"url": address}})
    for asked in ({"images": [address]}, {"inputs": [content]}):
        answer = service.post("/v2/embed", json={"model": "captions", **asked})
        assert answer.status_code == 200, answer.text
        assert np.abs(np.array(answer.json()["embeddings"]["float"][0]) - expected).max() <= 1e-6


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "address", ["http://169.254.169.254/latest/meta-data/", "http://localhost:1/a.png", "https://localhost/a.png"]
)  # fmt: skip
def test_every_other_address_is_refused_at_its_place(service: TestClient, way: str, address: str) -> None:
    answer = WAYS[way](service, address)
    assert answer.status_code == 422
    ((pointer, code),) = faults(answer)
    assert code == "address_not_allowed"
    assert "image" in pointer


def test_what_an_address_leads_to_is_judged_as_what_is_sent_is(
    service: TestClient, pictures: Pictures
) -> None:
    inputs = [{"image": f"{pictures.url}/{name}"} for name in ("missing.png", "a.png", "cut.png")]
    answer = service.post("/v1/embeddings", json={"model": "captions", "inputs": inputs})
    assert answer.status_code == 422
    assert faults(answer) == [("/inputs/0/image", "image_not_fetched"), ("/inputs/2/image", "broken_image")]
    assert answer.json()["detail"].startswith("2 of 3 inputs cannot be embedded")


def test_a_picture_that_changed_is_not_remembered_by_its_address(
    service: TestClient, pictures: Pictures
) -> None:
    address = f"{pictures.url}/changing.png"
    for seed in (3, 4):
        pictures.files["/changing.png"] = png(seed)
        (there,), (sent,) = ours(service, {"image": address}), ours(service, {"image": base64_png(seed)})
        assert np.abs(there - sent).max() <= 1e-6


def test_nothing_is_fetched_for_a_request_that_is_refused_as_there_is_no_room(
    service: TestClient, pictures: Pictures
) -> None:
    asked = len(pictures.asked)
    engine = service.app.state.resources.inference  # type: ignore[attr-defined]
    with engine.room.taken("another model", engine.room.inside + 100_000):
        answer = WAYS["by name"](service, f"{pictures.url}/new.png")
    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert len(pictures.asked) == asked


def test_an_address_in_a_text_is_a_text_and_one_in_a_query_is_no_asset(
    service: TestClient, pictures: Pictures
) -> None:
    pictures.asked.clear()
    ours(service, {"text": f"{pictures.url}/a.png"})
    query = {"model": "captions", "image": f"{pictures.url}/a.png"}
    assert service.get("/v1/embeddings", params=query).status_code == 422
    assert pictures.asked == []
