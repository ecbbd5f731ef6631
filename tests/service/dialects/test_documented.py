"""The examples of docs/serving.md work as they stand there."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.service.pictures import base64_png, png

PAGE = Path(__file__).parents[3] / "docs" / "serving.md"
SECTION = PAGE.read_text().partition("## Other people's clients")[2].partition("\n## ")[0]
ADDRESSES = ["/v1/embeddings", "/v1/multimodalembeddings", "/v2/embed", "/v2/models/captions/infer"]
EXAMPLES = re.findall(r"```json\n(.*?)```", SECTION, re.DOTALL)


def test_every_example_has_its_address() -> None:
    assert len(EXAMPLES) == len(ADDRESSES)
    assert [each for each in ADDRESSES[1:] if each not in SECTION] == []


@pytest.mark.parametrize(("address", "example"), list(zip(ADDRESSES, EXAMPLES, strict=False)))
def test_an_example_is_answered(service: TestClient, address: str, example: str) -> None:
    answer = service.post(address, json=json.loads(example.replace("IMAGE", base64_png())))
    assert answer.status_code == 200, answer.text


def test_the_form_of_the_example_is_answered(service: TestClient) -> None:
    words = shlex.split(next(line for line in SECTION.splitlines() if line.startswith("curl")))
    fields = dict(each.split("=", 1) for before, each in pairwise(words) if before == "-F")
    assert fields.pop("image").startswith("@")
    answer = service.post("/v1/embeddings", data=fields, files={"image": ("digit.png", png())})
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["missing"] == []
