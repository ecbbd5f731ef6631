"""Requests as Voyage's and Cohere's clients send them, and answers as they read them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.schemas.dialects import CohereAnswer, VoyageAnswer
from tests.service.dialects.asking import TEXT, URI, faults, ours, text
from tests.service.pictures import base64_png

VOYAGE, COHERE = "/v1/multimodalembeddings", "/v2/embed"
PAIR = {"content": [text(TEXT), {"type": "image_url", "image_url": URI}]}


def sent(client: TestClient, path: str, **asked: Any) -> dict[str, Any]:
    answer = client.post(path, json={"model": "captions", **asked})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_voyages_clients_are_answered_in_their_words(service: TestClient) -> None:
    """With all that their client sends, null or not."""
    asked = {"inputs": [PAIR, {"content": [text(TEXT)]}], "input_type": "document", "truncation": True}
    expected = ours(service, {"image": base64_png(), "text": TEXT}, {"text": TEXT})
    body = sent(service, VOYAGE, **asked, output_dtype=None, output_dimension=None)
    assert VoyageAnswer.model_validate(body).model_dump() == body
    assert np.abs(np.array([each["embedding"] for each in body["data"]]) - expected).max() <= 1e-5
    assert [each["index"] for each in body["data"]] == [0, 1]
    tokens = body["usage"]["text_tokens"]
    assert body["usage"] == {
        "text_tokens": tokens,
        "image_pixels": 64,
        "video_pixels": 0,
        "total_tokens": tokens,
    }
    packed = sent(service, VOYAGE, **asked, encoding_format="base64")["data"][0]["embedding"]
    assert np.abs(np.frombuffer(base64.b64decode(packed), "<f4") - expected[0]).max() <= 1e-5


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("float", "<f4"), ("int8", "i1"), ("uint8", "u1"), ("binary", "i1"), ("ubinary", "u1")],
)
def test_every_type_of_number_means_what_theirs_means(service: TestClient, kind: str, dtype: str) -> None:
    full = ours(service, {"text": TEXT}, dimensions=8)[0]
    asked = {"inputs": [{"content": [text(TEXT)]}], "output_dtype": kind, "output_dimension": 8}
    found = np.array(sent(service, VOYAGE, **asked)["data"][0]["embedding"])
    packed = sent(service, VOYAGE, **asked, encoding_format="base64")["data"][0]["embedding"]
    assert np.array_equal(np.frombuffer(base64.b64decode(packed), dtype), found.astype(dtype))
    signs = int("".join("1" if each > 0 else "0" for each in full), 2)
    whole = np.rint(full / np.abs(full).max() * 127)
    expected = {
        "float": full,
        "int8": whole,
        "uint8": whole + 128,
        "binary": [signs - 128],
        "ubinary": [signs],
    }
    assert np.abs(found - np.array(expected[kind])).max() <= (1e-5 if kind == "float" else 0)
    both = sent(service, COHERE, texts=[TEXT], embedding_types=[kind, "float"], output_dimension=8)
    assert np.abs(np.array(both["embeddings"][kind][0]) - found).max() <= 1e-5
    assert len(both["embeddings"]["float"][0]) == 8


def test_coheres_clients_are_answered_in_their_words(service: TestClient) -> None:
    expected = ours(service, {"text": TEXT}, {"image": base64_png()}, {"image": base64_png(), "text": TEXT})
    types = ["float", "int8", "base64"]
    body = sent(service, COHERE, texts=[TEXT], input_type="search_query", embedding_types=types)
    answer = CohereAnswer.model_validate(body)
    assert answer.embeddings.floats is not None
    assert np.abs(np.array(answer.embeddings.floats[0]) - expected[0]).max() <= 1e-5
    assert set(body["embeddings"]) == set(types)
    assert (answer.texts, answer.meta.billed_units.images) == ([TEXT], 0)
    assert answer.meta.billed_units.input_tokens > 0
    for asked, row in (({"images": [URI]}, 1), ({"inputs": [PAIR]}, 2)):
        found = sent(service, COHERE, **asked, input_type="image")["embeddings"]
        assert np.abs(np.array(found["float"][0]) - expected[row]).max() <= 1e-5
        assert list(found) == ["float"], "what is asked for by default"


LONG = "three " * 100


@pytest.mark.parametrize(
    ("path", "asked", "found"),
    [
        (VOYAGE, {"inputs": []}, ("/inputs", "too_short")),
        (VOYAGE, {"inputs": [{"content": []}]}, ("/inputs/0/content", "too_short")),
        (VOYAGE, {"inputs": [PAIR], "output_dimension": 17}, ("/output_dimension", "too_many_dimensions")),
        (VOYAGE, {"inputs": [PAIR], "output_dtype": "int4"}, ("/output_dtype", "literal_error")),
        (VOYAGE, {"inputs": [{"content": [text(LONG)]}], "truncation": False}, ("/inputs/0/content/0/text", "text_too_long")),
        (COHERE, {}, ("", "one_of_three")),
        (COHERE, {"texts": [TEXT], "images": [URI]}, ("", "one_of_three")),
        (COHERE, {"texts": [TEXT, LONG], "truncate": "NONE"}, ("/texts/1", "text_too_long")),
        (COHERE, {"texts": [TEXT], "truncate": "START"}, ("/truncate", "literal_error")),
        (COHERE, {"texts": [TEXT, ""]}, ("/texts/1", "empty_text")),
        (COHERE, {"images": ["http://127.0.0.1/a.png"]}, ("/images/0", "address_not_fetched")),
        (COHERE, {"texts": [TEXT], "model": "pairs"}, ("/texts", "unknown_modality")),
        (COHERE, {"images": [URI], "model": "pairs"}, ("/images", "ambiguous_modality")),
        (COHERE, {"texts": [TEXT] * 257}, ("/texts", "too_many_inputs")),
    ],
)  # fmt: skip
def test_a_bad_request_is_pointed_at(
    service: TestClient, path: str, asked: dict[str, Any], found: tuple[str, str]
) -> None:
    answer = service.post(path, json={"model": "captions", **asked})
    assert answer.status_code == 422
    assert faults(answer) == [found]
