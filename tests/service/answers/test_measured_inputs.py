"""Sequences and tables over HTTP: the same numbers whichever way they are sent, and every mistake at its own place."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from models_store.manifest import ImageInput, SequenceInput, TableInput, TextInput
from models_store.store import ModelStore
from service.inference.arrays import Packed
from service.inference.prepare import Given, prepare
from service.settings import Settings
from service.web.strict_input import MAX_VALUES
from tests.applications import app_on_sqlite
from tests.models_store.bundles import manifest
from tests.service.answers import answered
from tests.service.answers.answered import vectors
from tests.service.inference.measured import SERIES, published

STEPS = [[1.0, 2, 3], [4, 5.5, 6], [-7, 8, 9]]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """Embedding changes nothing and asks no database, so one of either kind is enough for all of these tests."""
    return app_on_sqlite(tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="module")
def client(app: FastAPI, store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        store.name_version("measured", 1, published(store, tmp_path_factory.mktemp("bundle")))
        yield client


def post(client: TestClient, *inputs: Any, model: str = "measured") -> Response:
    request = {"model": model, "inputs": inputs, "normalize": False}
    answer: Response = client.post("/v1/embeddings", json=request)
    return answer


def faults(answer: Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422
    return answered.faults(answer)


def packed(values: Any, **changes: Any) -> dict[str, Any]:
    array = np.array(values, dtype="<f4")
    return {"base64": base64.b64encode(array.tobytes()).decode(), "shape": list(array.shape), **changes}


def test_a_sequence_and_a_table_are_embedded_together(client: TestClient) -> None:
    answer = post(client, {"series": STEPS, "static": [10, 20.5]})
    assert vectors(answer).tolist() == [[-2, 15.5, 18, 10, 20.5, 3]]
    (data,) = answer.json()["data"]
    assert (data["modalities"], data["missing"], data["truncated"]) == (["series", "static"], [], [])
    assert answer.json()["usage"] == {"inputs": 1, "images": 0, "prompt_tokens": 0, "total_tokens": 0}


def test_packed_numbers_are_the_same_numbers(client: TestClient) -> None:
    sent = {"series": packed(STEPS), "static": packed([10, 20.5])}
    assert np.array_equal(vectors(post(client, sent)), vectors(post(client, {"series": STEPS, "static": [10, 20.5]})))  # fmt: skip


def test_what_is_missing_is_named_and_counts_nothing(client: TestClient) -> None:
    answer = post(client, {"static": [10, 20]}, {"series": STEPS})
    assert vectors(answer)[:, :5].tolist() == [[0, 0, 0, 10, 20], [-2, 15.5, 18, 0, 0]]
    assert [each["missing"] for each in answer.json()["data"]] == [["series"], ["static"]]


def test_sequences_of_several_lengths_share_a_batch_padded_to_the_longest(client: TestClient) -> None:
    lengths = vectors(post(client, *({"series": STEPS[:length]} for length in (1, 3, 2))))
    assert lengths[:, 0].tolist() == [1, -2, 5]
    assert max(lengths[:, 5]) == 3, "all in one batch"


def test_steps_of_zeros_at_the_end_are_padding(client: TestClient) -> None:
    zeros = [0.0, 0, 0]
    assert np.array_equal(
        vectors(post(client, {"series": [*STEPS, zeros, zeros]})), vectors(post(client, {"series": STEPS}))
    )
    assert vectors(post(client, {"series": [zeros, *STEPS]}))[0, 5] == 4, "but not those before a step"
    assert vectors(post(client, {"series": [zeros] * 6}))[0, 5] == 1


def test_a_network_of_one_length_is_given_that_length(
    client: TestClient, store: ModelStore, tmp_path: Path
) -> None:
    fixed = SequenceInput(name="series", features=3, max_steps=6, fixed_steps=True)
    digest = published(store, tmp_path / "fixed", fixed)
    shown = vectors(post(client, {"series": STEPS}, {"series": STEPS * 2}, {"static": [1, 2]}, model=digest))
    assert shown[:, 5].tolist() == [6, 6, 6]
    assert shown[0, :3].tolist() == [-2, 15.5, 18]


def test_numbers_are_standardised_and_padding_is_not(
    client: TestClient, store: ModelStore, tmp_path: Path
) -> None:
    series = SequenceInput(
        name="series", features=3, max_steps=6, fixed_steps=True, mean=(1, 2, 3), std=(1, 2, 4)
    )
    static = TableInput(name="static", features=2, mean=(10, 20), std=(2, 4))
    digest = published(store, tmp_path / "standardised", series, static)
    (shown,) = vectors(post(client, {"series": [[2, 2, 3], [1, 6, 11]], "static": [12, 12]}, model=digest))
    assert shown.tolist() == [1, 2, 2, 1, -2, 6]


LISTED = [
    ([], "", "empty_array", "leave the modality out"),
    ([[]], "/0", "empty_array", "leave the modality out"),
    ([[1, 2, 3], [1, 2]], "/1", "wrong_width", "2 numbers; give 3"),
    ([[1, 2, 3], [1, 2, 3, 4]], "/1", "wrong_width", "4 numbers; give 3"),
    ([[1, 2, 3]] * 7, "", "too_many_steps", "7 steps; the model reads at most 6"),
    ([1], "/0", "not_a_step", "a number, where a step of 3 numbers belongs"),
    ([[1, 2, 3], None], "/1", "not_a_step", "null, where"),
    ([[1, 2, 3], {"a": 1}], "/1", "not_a_step", "an object, where"),
    ([[1, "2", 3]], "/0/1", "not_a_number", "a text, where a number belongs"),
    ([[1, None, 3]], "/0/1", "not_a_number", "fill gaps as"),
    ([[1, True, 3]], "/0/1", "not_a_number", "true or false, where"),
    ([[1, {}, 3]], "/0/1", "not_a_number", "an object, where"),
    ([[[1, 2, 3]]], "/0/0", "nested_too_deep", "a list, where a number belongs"),
    ([[1, 1e39, 3]], "/0/1", "number_out_of_range", "32-bit floats"),
    ("1 2 3", "", "not_numbers", 'a list of 1 to 6 steps of 3 numbers each, or {"base64": …, "shape": [steps, 3]}'),
    ({"asset": "0" * 64}, "", "not_numbers", "an image, where numbers belong"),
    (packed([[1, 2]]), "/shape", "wrong_shape", "the shape [1, 2]; this modality has [steps, 3]"),
    (packed([1, 2, 3]), "/shape", "wrong_shape", "the shape [3]; this modality has [steps, 3]"),
    (packed([[[1, 2, 3]]]), "/shape", "wrong_shape", "[1, 1, 3]"),
    (packed(np.zeros((0, 3))), "/shape/0", "empty_array", "leave the modality out"),
    (packed(np.zeros((7, 3))), "/shape/0", "too_many_steps", "at most 6"),
    (packed([[1, 2, 3]], shape=[10**18, 3]), "/shape/0", "too_many_steps", "at most 6"),
    (packed([[1, 2, 3]], shape=[2, 3]), "/base64", "wrong_length", "24 bytes of 32-bit floats are 32 in base64"),
    (packed([[1, 2, 3]], base64="*" * 16), "/base64", "bad_base64", "standard alphabet"),
    (packed([[1, 2, 3]], base64="AAAAAAAAAAAAAA=="), "/base64", "bad_base64", "not base64 of this many bytes"),
    (packed([[1, 2, 3], [4, float("nan"), 6]]), "/base64", "not_finite", "the number at [1, 1] is nan"),
    (packed([[1, 2, float("-inf")]]), "/base64", "not_finite", "the number at [0, 2] is -inf"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "pointer", "code", "says"), LISTED)
def test_what_is_no_sequence_is_pointed_at(
    client: TestClient, sent: Any, pointer: str, code: str, says: str
) -> None:
    answer = post(client, {"static": [1, 2]}, {"series": sent})
    assert faults(answer) == [(f"/inputs/1/series{pointer}", code)]
    assert says in answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("sent", "pointer", "code", "says"),
    [
        ([], "", "empty_array", "leave the modality out"),
        ([1], "", "wrong_width", "1 number; give 2"),
        ([1, 2, 3], "", "wrong_width", "3 numbers; give 2"),
        ([[1, 2]], "/0", "nested_too_deep", "a list, where a number belongs"),
        ([1, "2"], "/1", "not_a_number", "a text"),
        ([1, -1e39], "/1", "number_out_of_range", "32-bit floats"),
        ("x", "", "not_numbers", 'give a list of 2 numbers, or {"base64": …, "shape": [2]}'),
        (packed([1, 2, 3]), "/shape", "wrong_shape", "the shape [3]; this modality has [2]"),
        (packed([[1, 2]]), "/shape", "wrong_shape", "[1, 2]"),
        (packed([1, float("nan")]), "/base64", "not_finite", "the number at [1] is nan"),
    ],
)
def test_what_is_no_table_is_pointed_at(
    client: TestClient, sent: Any, pointer: str, code: str, says: str
) -> None:
    answer = post(client, {"static": sent})
    assert faults(answer) == [(f"/inputs/0/static{pointer}", code)]
    assert says in answer.json()["errors"][0]["detail"]


def test_every_mistake_is_named_at_once_but_no_more_than_ten_of_a_value(client: TestClient) -> None:
    ragged = [[1, 2, 3], [1], [1, 2], [1, "x", None]]
    answer = post(client, {"series": ragged, "static": [None, 1]}, {"series": [["x"] * 3] * 6})
    assert faults(answer) == [
        ("/inputs/0/series/1", "wrong_width"),
        ("/inputs/0/series/2", "wrong_width"),
        ("/inputs/0/series/3/1", "not_a_number"),
        ("/inputs/0/series/3/2", "not_a_number"),
        ("/inputs/0/static/0", "not_a_number"),
        *[(f"/inputs/1/series/{n // 3}/{n % 3}", "not_a_number") for n in range(10)],
    ]


@pytest.mark.parametrize(
    ("sent", "pointer"),
    [
        (5, "/inputs/0/series"),
        (None, "/inputs/0/series"),
        (True, "/inputs/0/series"),
        ({"base64": "AAAA"}, "/inputs/0/series/shape"),
        ({"shape": [1, 3]}, "/inputs/0/series/base64"),
        ({"base64": "AAAA", "shape": "13"}, "/inputs/0/series/shape"),
        ({"base64": "AAAA", "shape": [1.0, 3]}, "/inputs/0/series/shape/0"),
        ({"base64": "AAAA", "shape": [-1, 3]}, "/inputs/0/series/shape/0"),
        ({"base64": "AAAA", "shape": [1] * 99}, "/inputs/0/series/shape"),
        ({"base64": "AAAA", "shape": [1, 3], "asset": "x"}, "/inputs/0/series/asset"),
    ],
)
def test_a_malformed_value_is_pointed_at(client: TestClient, sent: Any, pointer: str) -> None:
    assert pointer in [found for found, _ in faults(post(client, {"series": sent}))]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_in_json_is_refused_at_the_door(client: TestClient, literal: str) -> None:
    body = f'{{"model": "measured", "inputs": [{{"static": [1, {literal}]}}]}}'
    answer = client.post("/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


def test_numbers_that_the_network_overflows_from_are_the_senders_mistake(client: TestClient) -> None:
    huge = {"series": [[3e38, 0, 0], [3e38, 0, 0]]}
    answer = post(client, {"static": [1, 2]}, huge)
    assert faults(answer) == [("/inputs/1", "number_out_of_range")]


def test_numbers_that_overflow_when_standardised_are_pointed_at(
    client: TestClient, store: ModelStore, tmp_path: Path
) -> None:
    narrow = TableInput(name="static", features=2, mean=(0, 0), std=(1, 1e-30))
    digest = published(store, tmp_path / "narrow", SERIES, narrow)
    assert faults(post(client, {"static": [0, 1e20]}, model=digest)) == [("/inputs/0/static", "number_out_of_range")]  # fmt: skip


def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(client: TestClient) -> None:
    for value in (b"1", b"[]", b"{}"):
        many = b",".join([value] * (MAX_VALUES + 1))
        body = b'{"model": "measured", "inputs": [{"static": [' + many + b"]}]}"
        answer = client.post("/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_many_values")
        assert "packed" in answer.json()["detail"]


def test_a_crowd_of_modalities_is_one_mistake(client: TestClient) -> None:
    answer = post(client, {f"m{n}": [1] for n in range(10_000)})
    assert faults(answer) == [("/inputs/0", "too_many_modalities")]


def test_numbers_are_not_read_from_an_address(client: TestClient) -> None:
    query = {"model": "measured", "series": "[[1, 2, 3]]", "static": "1,2"}
    answer = client.get("/v1/embeddings", params=query)
    assert faults(answer) == [
        ("/query/series", "numbers_not_in_query"),
        ("/query/static", "numbers_not_in_query"),
    ]
    assert "POST /v1/embeddings takes a list of 1 to 6 steps of 3 numbers each" in answer.json()["detail"]


def test_texts_alone_are_not_what_such_a_model_embeds(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"model": "measured", "input": "x"})
    assert faults(answer) == [("/input", "not_a_text_model")]
    assert "series, static" in answer.json()["detail"]


@pytest.mark.parametrize("sent", [[1, 2], Packed("AAAA", (1,))])
def test_numbers_are_neither_an_image_nor_a_text(sent: Any, tmp_path: Path) -> None:
    image = ImageInput(name="image", channels=1, height=8, width=8, mean=(0,), std=(1,))
    text = TextInput(name="text", max_tokens=4, pad_id=0)
    takes = manifest({}, inputs=[image.model_dump(), text.model_dump()])
    tokenizers = {"text": Tokenizer(WordLevel({"x": 1}, unk_token="x"))}
    given = Given({"image": sent, "text": sent}, "/inputs/0")
    refused = prepare(given, takes, tokenizers, Settings(data_dir=tmp_path))
    assert isinstance(refused, list)
    assert [(each.pointer, each.code) for each in refused] == [
        ("/inputs/0/image", "not_an_image"),
        ("/inputs/0/text", "not_a_text"),
    ]


def test_the_apis_description_knows_what_may_be_sent(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    by_name, as_parts = schemas["EmbeddingRequest"]["properties"]["inputs"]["anyOf"][0]["items"]["oneOf"]
    assert as_parts["$ref"].endswith("/ContentIn")
    sent = by_name["additionalProperties"]
    kinds = [each.get("type") or each["$ref"].rpartition("/")[2] for each in sent["oneOf"]]
    assert kinds == ["string", "array", "PackedIn", "AssetIn"]
    assert schemas["PackedIn"]["required"] == ["base64", "shape"]
