"""Samples as lists of parts, and as forms, to the endpoint that takes them by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.schemas.embeddings import EmbeddingList
from tests.service.dialects.asking import TEXT, URI, faults, ours, text
from tests.service.pictures import base64_png, png, truncated_png

FORM = "/v1/embeddings"


@pytest.mark.parametrize(
    ("option", "pointer"),
    [({"dimensions": "17"}, "/body/dimensions"), ({"heads": "nobodys"}, "/body/heads/0"), ({"precision": "fp16"}, "/body/precision")],
)  # fmt: skip
def test_an_option_that_does_not_fit_the_model_is_pointed_at_in_the_form(
    service: TestClient, option: dict[str, str], pointer: str
) -> None:
    parts = {"model": "captions", "text": TEXT, **option}
    answer = service.post(FORM, files=[(name, (None, value)) for name, value in parts.items()])
    assert [found for found, _ in faults(answer)] == [pointer]


@pytest.mark.parametrize(
    "picture",
    [
        {"type": "image_url", "image_url": URI},
        {"type": "image_url", "image_url": {"url": URI}},
        {"type": "image_base64", "image_base64": base64_png()},
        {"type": "image_base64", "image_base64": URI},
    ],
)
def test_parts_are_the_models_one_image_and_one_text(service: TestClient, picture: dict[str, Any]) -> None:
    pair = ours(service, {"image": base64_png(), "text": TEXT}, {"image": base64_png()}, {"text": TEXT})
    both, swapped, image, words = (
        {"content": content}
        for content in ([picture, text(TEXT)], [text(TEXT), picture], [picture], [text(TEXT)])
    )
    found = ours(service, both, swapped, image, words)
    assert np.abs(found - pair[[0, 0, 1, 2]]).max() <= 1e-5


def test_parts_that_the_model_cannot_tell_apart_are_refused_where_they_stand(service: TestClient) -> None:
    picture = {"type": "image_base64", "image_base64": base64_png()}
    asked = {
        "model": "captions",
        "inputs": [{"content": [text(TEXT)]}, {"content": [text(TEXT), text("again"), picture, picture]}],
    }
    assert faults(service.post(FORM, json=asked)) == [
        ("/inputs/1/content/1/text", "given_twice"),
        ("/inputs/1/content/3/image_base64", "given_twice"),
    ]
    answer = service.post(FORM, json={"model": "pairs", "inputs": [{"content": [picture, text(TEXT)]}]})
    assert faults(answer) == [
        ("/inputs/0/content/0/image_base64", "ambiguous_modality"),
        ("/inputs/0/content/1/text", "unknown_modality"),
    ]
    assert "image1, image2" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("part", "pointer", "code"),
    [
        ({"type": "image_url", "image_url": "https://example.org/a.png"}, "image_url", "address_not_fetched"),
        (
            {"type": "image_url", "image_url": {"url": "file:///etc/hosts"}},
            "image_url/url",
            "address_not_fetched",
        ),
        ({"type": "image_base64", "image_base64": "not base64!"}, "image_base64", "bad_base64"),
        ({"type": "text", "text": " "}, "text", "empty_text"),
        ({"type": "text"}, "text", "missing"),
        ({"type": "text", "text": "x", "size": 1}, "size", "extra_forbidden"),
        ({"type": "video_url", "video_url": URI}, "", "unknown_part"),
    ],
)
def test_a_bad_part_is_pointed_at(service: TestClient, part: dict[str, Any], pointer: str, code: str) -> None:
    answer = service.post(FORM, json={"model": "captions", "inputs": [{"content": [part]}]})
    assert answer.status_code == 422
    assert faults(answer) == [("/inputs/0/content/0" + (f"/{pointer}" if pointer else ""), code)]


def test_a_form_is_one_sample(service: TestClient) -> None:
    expected = ours(service, {"image": base64_png(), "text": TEXT}, dimensions=5)
    answer = service.post(
        FORM, data={"model": "captions", "text": TEXT, "dimensions": "5"}, files={"image": ("a.png", png())}
    )
    assert answer.status_code == 200, answer.text
    found = EmbeddingList.model_validate(answer.json())
    assert np.abs(np.array(found.data[0].embedding) - expected[0]).max() <= 1e-6
    assert (found.dim, found.data[0].modalities) == (5, ["image", "text"])
    by_file = service.post(FORM, data={"model": "captions"}, files={"text": ("a.txt", TEXT.encode())})
    assert np.abs(by_file.json()["data"][0]["embedding"] - ours(service, {"text": TEXT})[0]).max() <= 1e-6


def test_numbers_are_json_in_a_form(service: TestClient) -> None:
    expected = ours(service, {"series": [[1, 2, 3]], "static": [4, 5]}, model="measured")
    sent = {"model": "measured", "series": "[[1, 2, 3]]", "static": "[4, 5]"}
    answer = service.post(FORM, files=[(name, (None, value)) for name, value in sent.items()])
    assert np.abs(answer.json()["data"][0]["embedding"] - expected[0]).max() <= 1e-6
    for wrong in ("4, 5", "[NaN, 1]", "text", ""):
        changed = [(name, (None, value)) for name, value in (sent | {"static": wrong}).items()]
        assert faults(service.post(FORM, files=changed))[0][0] == "/body/static"


@pytest.mark.parametrize(
    ("data", "files", "found"),
    [
        ({"text": TEXT}, {}, [("/body/model", "missing")]),
        ({"model": "captions"}, {"image": truncated_png()}, [("/body/image", "broken_image")]),
        ({"model": "captions"}, {"text": b"\xff\xfe"}, [("/body/text", "not_utf8")]),
        ({"model": "captions", "text": [TEXT, TEXT]}, {}, [("/body/text", "given_twice")]),
        ({"model": "captions", "sound": "x"}, {}, [("/body/sound", "unknown_modality")]),
        ({"model": "captions", "text": TEXT, "normalize": "perhaps"}, {}, [("/body/normalize", "bool_parsing")]),
        ({"model": "captions", "text": TEXT, "dimensions": "many"}, {}, [("/body/dimensions", "int_type")]),
        ({"model": "captions"}, {}, []),
    ],
)  # fmt: skip
def test_a_bad_form_is_pointed_at(
    service: TestClient, data: dict[str, Any], files: dict[str, bytes], found: list[tuple[str, str]]
) -> None:
    parts = [(name, (None, each)) for name, value in data.items() for each in ([value] if isinstance(value, str) else value)]  # fmt: skip
    answer = service.post(FORM, files=[*parts, *((name, ("a", each)) for name, each in files.items())])
    assert answer.status_code == 422, answer.text
    assert faults(answer) == (found or [("/body", "empty_input")])


def test_what_is_neither_json_nor_a_form_is_refused(service: TestClient) -> None:
    answer = service.post(FORM, content=b"x", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "not_json")
    torn = service.post(
        FORM, content=b"--a\r\nx", headers={"Content-Type": "multipart/form-data; boundary=a"}
    )
    assert torn.status_code in (400, 422)
    endless = service.post(
        FORM, content=b"x" * 70_000_000, headers={"Content-Type": "multipart/form-data; boundary=a"}
    )
    assert endless.status_code == 413


def test_samples_explain_themselves_beside_their_vectors(service: TestClient) -> None:
    whole = {"image": base64_png(), "text": TEXT}
    vectors = ours(service, whole, {"image": base64_png()}, {"text": TEXT})
    asked = {"model": "captions", "inputs": [whole, {"text": TEXT}], "explain": "modality", "dimensions": 4}
    answer = service.post(FORM, json=asked).json()
    assert EmbeddingList.model_validate(answer).data[0].explanation is not None
    told, alone = (each["explanation"] for each in answer["data"])
    assert [each["modalities"] for each in told["subsets"]] == [["image"], ["text"]]
    cosines = [each["cosine"] for each in told["subsets"]]
    assert np.abs(np.array(cosines) - vectors[1:] @ vectors[0]).max() <= 1e-5, "of the network's own vectors"
    assert sum(told["shares"].values()) == pytest.approx(1)
    assert told["redundancy"] + sum(told["uniqueness"].values()) + told["synergy"] == pytest.approx(
        1, abs=1e-6
    )
    assert (alone["subsets"], alone["shares"]) == ([], {"text": 1.0})
    assert np.abs(answer["data"][0]["embedding"] - ours(service, whole, dimensions=4)[0]).max() <= 1e-5
    assert answer["usage"]["inputs"] == 2


def test_explaining_counts_what_it_embeds(service: TestClient) -> None:
    pair = {"image": base64_png(), "text": TEXT}
    asked = {"model": "captions", "inputs": [pair] * 86, "explain": "modality"}
    answer = service.post(FORM, json=asked)
    assert faults(answer) == [("/explain", "too_many_inputs")]
    assert "258 embeddings; 256 are allowed" in answer.json()["detail"]
    bad = service.post(FORM, json=asked | {"inputs": [pair | {"image": "x"}]})
    assert faults(bad) == [("/inputs/0/image", "bad_base64")], "said once, not once for each subset"


def test_a_client_that_pins_another_model_is_told_both(service: TestClient) -> None:
    digest = service.post(FORM, json={"model": "captions", "input": TEXT}).json()["model_digest"]
    other = "0" * 64
    for send in (
        lambda pin: service.post(FORM, json={"model": "captions", "input": TEXT, "model_digest": pin}),
        lambda pin: service.get(FORM, params={"model": "captions", "text": TEXT, "model_digest": pin}),
        lambda pin: service.post(FORM, files=[(name, (None, value)) for name, value in {"model": "captions", "text": TEXT, "model_digest": pin}.items()]),
        lambda pin: service.post("/v2/embed", json={"model": "captions", "texts": [TEXT], "model_digest": pin}),
        lambda pin: service.post("/v1/multimodalembeddings", json={"model": "captions", "inputs": [{"content": [text(TEXT)]}], "model_digest": pin}),
    ):  # fmt: skip
        assert send(digest).status_code == 200
        refused = send(other)
        assert (refused.status_code, refused.json()["code"]) == (409, "model_digest_differs")
        assert digest in refused.json()["detail"]
        assert other in refused.json()["detail"]
        assert send("x").status_code == 422
