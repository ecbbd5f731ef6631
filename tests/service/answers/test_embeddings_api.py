"""The fused embedding over HTTP: of one modality or several, in the form that was asked for, with its origin."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from models_store.manifest import Manifest
from service.access import auth
from service.client import Client
from service.db import Sessions, transaction
from service.inference.finish import as_int8
from service.schemas.embeddings import EmbeddingList
from service.settings import Settings
from tests.models_store.bundles import bundle
from tests.service.answers.answered import faults, vectors
from tests.service.conftest import Exported, Published
from tests.service.inference.networks import Doubling, samples
from tests.service.pictures import OTHERS, base64_png, bomb, png, truncated_png

TEXT = "a handwritten three"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Embedding asks no database, so one kind is enough; it only serves for keys and assets here."""
    return sqlite_url


@pytest.fixture
def client(published: Published, app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def post(client: TestClient, *inputs: Any, model: str = "captions", **rest: Any) -> Response:
    answer: Response = client.post("/v1/embeddings", json={"model": model, "inputs": inputs, **rest})
    return answer


def uploaded(client: TestClient, data: bytes) -> str:
    asset_id: str = client.post("/v1/assets", files={"file": ("a.png", data)}).json()["id"]
    return asset_id


def test_an_answer_says_where_its_vectors_come_from(
    client: TestClient, published: Published, exported: Exported
) -> None:
    answer = post(client, {"image": base64_png(), "text": TEXT}, {"text": TEXT})
    body = answer.json()
    source = Manifest.model_validate_json((exported.captions / "manifest.json").read_bytes()).source
    assert EmbeddingList.model_validate(body).model_dump(exclude_unset=True) == body
    assert (body["object"], body["model"], body["model_digest"]) == ("list", "captions@1", published.captions)
    assert body["checkpoint_sha256"] == source.checkpoint_sha256
    assert (body["job_id"], body["method"], body["dataset"]) == ("train-captions", "infmasking", "digits")
    assert body["dataset_sha256"] == source.dataset_sha256
    assert re.fullmatch("[0-9a-f]{64}", body["dataset_sha256"])
    assert (body["precision"], body["dim"]) == ("fp32", 16)
    assert [each["index"] for each in body["data"]] == [0, 1]
    assert [each["modalities"] for each in body["data"]] == [["image", "text"], ["text"]]
    assert [each["missing"] for each in body["data"]] == [[], ["image"]]
    assert body["usage"]["inputs"] == 2
    assert body["usage"]["images"] == 1
    assert body["usage"]["total_tokens"] > 2


def test_the_same_sample_has_the_same_vector_whichever_way_it_is_sent(client: TestClient) -> None:
    asset_id = uploaded(client, png())
    ways = [
        client.get("/v1/embeddings", params={"model": "captions", "image": asset_id, "text": TEXT}),
        post(client, {"image": {"asset": asset_id}, "text": TEXT}),
        post(client, {"image": base64_png(), "text": TEXT}),
        post(client, {"image": f"data:image/png;base64,{base64_png()}", "text": TEXT}, model="captions@1"),
    ]
    for answer in ways[1:]:
        assert np.abs(vectors(answer) - vectors(ways[0])).max() <= 1e-5


def test_one_sample_is_got_by_the_models_own_modality_names(client: TestClient) -> None:
    first, second = uploaded(client, png(0)), uploaded(client, png(1))
    query = {"model": "pairs", "image1": first, "image2": second}
    got = client.get("/v1/embeddings", params=query)
    assert np.abs(vectors(got) - vectors(post(client, *[{"image1": base64_png(0), "image2": base64_png(1)}], model="pairs"))).max() <= 1e-5  # fmt: skip
    swapped = client.get("/v1/embeddings", params=query | {"image1": second, "image2": first})
    assert np.abs(vectors(got) - vectors(swapped)).max() > 1e-3
    short = client.get("/v1/embeddings", params=query | {"dimensions": "4", "encoding_format": "base64"})
    assert short.json()["dim"] == 4


def test_an_answer_to_get_may_be_kept_by_the_client_only_and_for_long_only_if_it_cannot_change(
    client: TestClient, published: Published
) -> None:
    kept = {
        model: client.get("/v1/embeddings", params={"model": model, "text": TEXT}).headers["Cache-Control"]
        for model in ("captions", "captions@1", published.captions)
    }
    assert kept["captions"] == "private, no-cache"
    assert kept["captions@1"] == kept[published.captions] == "private, max-age=86400"


def test_vectors_have_length_one_also_when_they_are_shortened(client: TestClient) -> None:
    for dimensions in (None, 1, 5, 16):
        shown = vectors(post(client, {"text": TEXT}, {"image": base64_png()}, dimensions=dimensions))
        assert shown.shape == (2, dimensions or 16)
        assert np.abs(np.linalg.norm(shown, axis=1) - 1).max() <= 1e-6


def test_the_networks_own_numbers_are_there_for_the_asking(client: TestClient) -> None:
    raw = vectors(post(client, {"text": TEXT}, normalize=False))
    unit = vectors(post(client, {"text": TEXT}))
    assert abs(np.linalg.norm(raw) - 1) > 0.1
    assert np.abs(raw / np.linalg.norm(raw) - unit).max() <= 1e-6
    shortened = vectors(post(client, {"text": TEXT}, normalize=False, dimensions=3))
    assert np.array_equal(shortened, raw[:, :3])


def test_base64_holds_the_very_same_numbers(client: TestClient) -> None:
    plain = vectors(post(client, {"text": TEXT}))
    packed = post(client, {"text": TEXT}, encoding_format="base64").json()["data"][0]["embedding"]
    assert np.array_equal(np.frombuffer(base64.b64decode(packed), "<f4"), plain[0])


def test_whole_numbers_keep_the_direction_and_bits_the_signs(client: TestClient) -> None:
    full = vectors(post(client, {"text": TEXT}))[0]
    whole = post(client, {"text": TEXT}, encoding_format="int8").json()["data"][0]["embedding"]
    assert all(isinstance(each, int) for each in whole)
    assert max(map(abs, whole)) == 127
    assert (
        np.abs(np.array(whole) / 127 * np.abs(full).max() - full).max()
        <= 0.5 / 127 * np.abs(full).max() + 1e-6
    )
    answer = post(client, {"text": TEXT}, encoding_format="binary", dimensions=12).json()
    bits = "".join(f"{byte:08b}" for byte in answer["data"][0]["embedding"])
    assert bits == "".join("1" if each > 0 else "0" for each in full[:12]) + "0000"
    assert answer["dim"] == 12


def test_a_vector_of_zeros_has_whole_numbers_too() -> None:
    assert as_int8(np.zeros(4, dtype=np.float32)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("sent", [TEXT, [TEXT, "someone wrote an eight"]])
def test_openais_request_shape_embeds_texts(client: TestClient, sent: str | list[str]) -> None:
    request = {"model": "captions", "input": sent, "encoding_format": "float", "user": "u1"}
    answer = client.post("/v1/embeddings", json=request)
    texts = [sent] if isinstance(sent, str) else sent
    assert np.abs(vectors(answer) - vectors(post(client, *({"text": text} for text in texts)))).max() <= 1e-5
    assert answer.json()["usage"]["prompt_tokens"] == answer.json()["usage"]["total_tokens"] > 0


def test_openais_request_shape_points_at_its_own_input(client: TestClient) -> None:
    for sent, pointer in (("", "/input"), ([TEXT, " "], "/input/1")):
        answer = client.post("/v1/embeddings", json={"model": "captions", "input": sent})
        assert faults(answer) == [(pointer, "empty_text")]
    answer = client.post("/v1/embeddings", json={"model": "pairs", "input": TEXT})
    assert faults(answer) == [("/input", "not_a_text_model")]
    assert "image1, image2" in answer.json()["detail"]


def test_a_text_that_was_cut_says_so(client: TestClient) -> None:
    data = post(client, {"text": TEXT}, {"text": "three " * 100}).json()["data"]
    assert [each["truncated"] for each in data] == [[], ["text"]]


def test_every_bad_input_is_named_at_once(client: TestClient) -> None:
    answer = post(
        client,
        {"image": base64_png()},
        {"image": base64.b64encode(truncated_png()).decode()},
        {},
        {"image": base64_png(), "audio": "x"},
        {"text": "  "},
        {"text": {"asset": "0" * 64}},
        {"image": {"asset": "0" * 64}},
        {"image": "not base64!"},
        {"image": "https://example.org/a.png"},
        {"image": "data:image/png,abc"},
        {"image": base64.b64encode(OTHERS["svg"]).decode()},
        {"image": base64.b64encode(bomb(13_000, 13_000)).decode(), "text": "x" * 9_000},
        {"a/b": "x"},
    )
    assert answer.status_code == 422
    assert faults(answer) == [
        ("/inputs/1/image", "broken_image"),
        ("/inputs/2", "empty_input"),
        ("/inputs/3/audio", "unknown_modality"),
        ("/inputs/4/text", "empty_text"),
        ("/inputs/5/text", "not_a_text"),
        ("/inputs/6/image", "asset_not_found"),
        ("/inputs/7/image", "bad_base64"),
        ("/inputs/8/image", "address_not_fetched"),
        ("/inputs/9/image", "bad_data_uri"),
        ("/inputs/10/image", "unsupported_image"),
        ("/inputs/11/image", "image_too_large"),
        ("/inputs/11/text", "text_too_long"),
        ("/inputs/12/a~1b", "unknown_modality"),
    ]
    assert "image, text" in next(
        each["detail"] for each in answer.json()["errors"] if "audio" in each["pointer"]
    )
    assert post(client, {"image": base64_png()}).status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/model"),
        ({"model": "captions"}, ""),
        ({"model": "captions", "inputs": [{"text": "x"}], "input": "x"}, ""),
        ({"model": "captions", "input": {"a": 1}}, "/input"),
        ({"model": "captions", "inputs": []}, "/inputs"),
        ({"model": "captions", "inputs": [{"text": 5}]}, "/inputs/0/text"),
        ({"model": "captions", "inputs": [{"image": {"url": "x"}}]}, "/inputs/0/image/asset"),
        ({"model": "captions", "inputs": ["x"]}, "/inputs/0"),
        ({"model": "captions", "inputs": [{"text": "x"}], "dimensions": 0}, "/dimensions"),
        ({"model": "captions", "inputs": [{"text": "x"}], "dimensions": 17}, "/dimensions"),
        ({"model": "captions", "inputs": [{"text": "x"}], "encoding_format": "int4"}, "/encoding_format"),
        ({"model": "captions", "inputs": [{"text": "x"}], "heads": ["digit"]}, "/heads/0"),
        ({"model": "captions", "inputs": [{"text": "x"}], "precision": "fp16"}, "/precision"),
        ({"model": "captions", "inputs": [{"text": "x"}], "head": "digit"}, "/head"),
    ],
)
def test_a_malformed_request_is_pointed_at(client: TestClient, body: dict[str, Any], pointer: str) -> None:
    answer = client.post("/v1/embeddings", json=body)
    assert answer.status_code == 422
    assert pointer in [found for found, _ in faults(answer)]


@pytest.mark.parametrize(
    ("query", "pointer", "says"),
    [
        ({"text": TEXT}, "/query/model", "required"),
        ({"model": "captions"}, "/query", "at least one of image, text"),
        ({"model": "captions", "audio": "x"}, "/query/audio", "it has image, text"),
        ({"model": "captions", "image": "nothing"}, "/query/image", "POST /v1/assets"),
        ({"model": "captions", "text": ""}, "/query/text", "empty"),
        ({"model": "captions", "text": ["a", "b"]}, "/query/text", "once"),
        ({"model": "captions", "text": "x", "dimensions": "99"}, "/query/dimensions", "at most 16"),
        ({"model": "captions", "text": "x", "normalize": "perhaps"}, "/query/normalize", "boolean"),
        ({"model": "captions", "text": "x", "precision": "fp16"}, "/query/precision", "fp16"),
        ({"model": ["pairs", "captions"], "text": "x"}, "/query/model", "once"),
        (
            {"model": "captions", "text": "x", "model_digest": ["0" * 64, "1" * 64]},
            "/query/model_digest",
            "once",
        ),
        ({"model": "captions", "text": "x", "precision": ["int8", "fp32"]}, "/query/precision", "once"),
        ({"model": "captions", "text": "x", "dimensions": ["4", "8"]}, "/query/dimensions", "once"),
        ({"model": "captions", "text": "x", "normalize": ["true", "false"]}, "/query/normalize", "once"),
        (
            {"model": "captions", "text": "x", "encoding_format": ["float", "float"]},
            "/query/encoding_format",
            "once",
        ),
    ],
)
def test_a_bad_query_is_pointed_at(
    client: TestClient, query: dict[str, Any], pointer: str, says: str
) -> None:
    answer = client.get("/v1/embeddings", params=query)
    assert answer.status_code == 422
    assert [found for found, _ in faults(answer)] == [pointer]
    assert says in answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize("model", ["nothing", "captions@7", "f" * 64, "../captions", "Captions"])
def test_an_unknown_model_is_answered_404_with_what_there_is(client: TestClient, model: str) -> None:
    for answer in (
        post(client, {"text": TEXT}, model=model),
        client.get("/v1/embeddings", params={"model": model, "text": TEXT}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
        assert "captions@1, pairs@1" in answer.json()["detail"]


def test_a_damaged_model_is_answered_503_and_touches_nothing_else(
    client: TestClient, settings: Settings, published: Published
) -> None:
    ready = client.get("/readyz").json()
    sha256 = published.store.manifest(published.captions).files["fusion.onnx"]
    blob = Path(settings.models_url, "blobs", "sha256", sha256[:2], sha256)
    content = bytearray(blob.read_bytes())
    content[1000] ^= 1
    blob.write_bytes(content)
    answer = post(client, {"text": TEXT})
    assert (answer.status_code, answer.json()["code"]) == (503, "model_damaged")
    assert str(settings.data_dir) not in answer.text
    assert post(client, {"image1": base64_png()}, model="pairs").status_code == 200
    assert client.get("/readyz").json()["status"] == ready["status"]


def test_a_model_that_needs_every_modality_says_which_is_missing(
    client: TestClient, published: Published, exported: Exported, tmp_path: Path
) -> None:
    manifest = published.store.manifest(published.captions)
    files = {name: (exported.captions / name).read_bytes() for name in manifest.files}
    demanding = manifest.model_dump(exclude={"files"}) | {"may_miss": False}
    digest = published.store.publish(bundle(tmp_path / "demanding", files, **demanding))
    answer = post(client, {"text": TEXT}, {"text": TEXT, "image": base64_png()}, model=digest)
    assert faults(answer) == [("/inputs/0/image", "missing_modality")]
    whole = post(client, {"text": TEXT, "image": base64_png()}, model=digest)
    assert whole.json()["model"] == digest, "a model without a version is called by its digest"
    openai = client.post("/v1/embeddings", json={"model": digest, "input": TEXT})
    assert faults(openai) == [("/input", "not_a_text_model")]


def test_a_moved_alias_is_followed_within_about_a_second(client: TestClient, published: Published) -> None:
    published.store.set_alias("prod", published.captions)
    assert post(client, {"text": TEXT}, model="prod").json()["model"] == "captions@1"
    published.store.set_alias("prod", published.pairs)
    time.sleep(1.1)
    assert post(client, {"image1": base64_png()}, model="prod").json()["model"] == "pairs@1"


def test_concurrent_callers_each_get_their_own_vector(client: TestClient) -> None:
    def own(number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        sample = {"image": base64_png(number)} | ({"text": f"number {number}"} if number % 2 else {})
        return vectors(post(client, sample))[0]

    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(own, range(64)))
    alone = [own(number) for number in range(64)]
    assert np.abs(np.stack(together) - np.stack(alone)).max() <= 1e-5


class TestWithLittleRoom:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"max_inputs": 4, "inference_queue": 2, "inference_threads": 1})

    def test_too_many_inputs_are_refused(self, client: TestClient) -> None:
        assert post(client, *[{"text": TEXT}] * 4).status_code == 200
        answer = post(client, *[{"text": TEXT}] * 5)
        assert faults(answer) == [("/inputs", "too_many_inputs")]
        answer = client.post("/v1/embeddings", json={"model": "captions", "input": [TEXT] * 5})
        assert faults(answer) == [("/input", "too_many_inputs")]

    def test_an_overflow_is_answered_429_and_passes(self, client: TestClient, app: FastAPI) -> None:
        batcher = app.state.resources.inference.batcher
        ahead = Doubling()
        batcher.submit(ahead, samples(1))
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(post, client, {"text": TEXT}, {"text": "another"})
            while batcher.waiting < 2:
                time.sleep(0.001)
            refused = post(client, {"text": TEXT})
            ahead.may_go_on.set()
            assert first.result().status_code == 200
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        assert post(client, {"text": TEXT}).status_code == 200


def test_a_client_that_leaves_is_not_computed_for(client: TestClient, app: FastAPI) -> None:
    body = json.dumps(
        {"model": "captions", "inputs": [{"image": base64_png(n)} for n in range(100)]}
    ).encode()
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": body, "more_body": False}]
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"testserver"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/embeddings", "raw_path": b"/v1/embeddings",
        "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http", "root_path": "",
        "client": ("testclient", 1), "server": ("testserver", 80),
    }  # fmt: skip
    assert post(client, {"text": TEXT}).status_code == 200
    assert client.portal is not None
    client.portal.call(app, scope, receive, send)
    assert sent[0]["status"] == 499
    assert post(client, {"text": "still here"}).status_code == 200
    assert app.state.resources.inference.batcher.counts.samples == 2


def test_a_crash_while_computing_is_answered_and_the_next_request_works(
    client: TestClient, published: Published, exported: Exported, tmp_path: Path
) -> None:
    digest = published.store.publish(fragile_bundle(exported, tmp_path / "fragile"))
    request = {"model": digest, "normalize": False}
    for _ in range(2):
        answer = client.post("/v1/embeddings", json=request | {"input": [TEXT, "!"]})
        assert (answer.status_code, answer.json()["code"]) == (503, "inference_failed")
        assert "Gather" not in answer.text
        assert vectors(client.post("/v1/embeddings", json=request | {"input": "!"})).shape == (1, 4)
    assert post(client, {"text": TEXT}).status_code == 200


def fragile_bundle(exported: Exported, folder: Path) -> Path:
    """A network that looks tokens up in a table, which is too short for all but the text "!"."""
    content = (exported.captions / "tokenizer.json").read_bytes()
    rows = max(Tokenizer.from_str(content.decode()).encode("!").ids) + 1
    assert rows <= max(Tokenizer.from_str(content.decode()).encode(TEXT).ids)
    nodes = [
        helper.make_node("Gather", ["table", "text"], ["looked_up"]),
        helper.make_node("ReduceMean", ["looked_up", "over_tokens"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["present"], ["one"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["mean", "one"], ["fused"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fragile",
        [
            helper.make_tensor_value_info("text", TensorProto.INT64, ["batch", "length"]),
            helper.make_tensor_value_info("present", TensorProto.BOOL, ["batch", 1]),
        ],
        [helper.make_tensor_value_info("fused", TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(np.ones((rows, 4), dtype=np.float32), "table"),
            numpy_helper.from_array(np.array([1]), "over_tokens"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bundle(folder, {"model.onnx": model.SerializeToString(), "tokenizer.json": content})


def test_embedding_takes_the_scope_infer(client: TestClient, sessions: Sessions) -> None:
    for scope, status in (("infer", 200), ("read", 403)):
        with transaction(sessions) as session:
            _, secret = auth.create_key(session, scope, [scope])  # type: ignore[list-item]
        headers = {"Authorization": f"Bearer {secret}"}
        request = {"model": "captions", "input": TEXT}
        assert client.post("/v1/embeddings", json=request, headers=headers).status_code == status
        query = {"model": "captions", "text": TEXT}
        assert client.get("/v1/embeddings", params=query, headers=headers).status_code == status


def test_our_own_client_uploads_and_embeds(client: TestClient, tmp_path: Path) -> None:
    fusebox = Client("http://testserver")
    fusebox._http.close()
    fusebox._http = client
    (tmp_path / "digit.png").write_bytes(png())
    asset = fusebox.upload(tmp_path / "digit.png")
    got = fusebox.get_embedding("captions", image=asset["id"], text=TEXT)
    posted = fusebox.embed("captions", [{"image": {"asset": asset["id"]}, "text": TEXT}])
    assert got["data"] == posted["data"]


def test_the_apis_description_knows_what_comes_back(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    got, posted = (
        paths["/v1/embeddings"][method]["responses"]["200"]["content"]["application/json"]["schema"]
        for method in ("get", "post")
    )
    assert got["$ref"].endswith("/EmbeddingList")
    schemas = [each["$ref"].rpartition("/")[2] for each in posted["anyOf"]]
    assert schemas == ["EmbeddingList", "PredictedEmbeddingList"]
    names = [each["name"] for each in paths["/v1/embeddings"]["get"]["parameters"]]
    assert names == [
        "model",
        "model_digest",
        "precision",
        "encoding_format",
        "dimensions",
        "normalize",
        "modalities",
    ]
    assert set(paths["/v1/assets"]["post"]["requestBody"]["content"]) > {"multipart/form-data", "image/png"}
