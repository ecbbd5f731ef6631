"""OpenAI's own client, which knows nothing of this service, gets embeddings from it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import openai
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from openai import OpenAI

from service.access import auth
from service.db import Sessions, transaction
from tests.service.conftest import Published

TEXTS = ["a handwritten three", "the digit seven"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Embedding asks no database but for the key."""
    return sqlite_url


@pytest.fixture
def service(published: Published, app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


@pytest.fixture
def client(service: TestClient, sessions: Sessions) -> OpenAI:
    with transaction(sessions) as session:
        key = auth.create_key(session, "openai", ["infer"])[1]
    return OpenAI(base_url="http://testserver/v1", api_key=key, http_client=service, max_retries=0)


def test_what_it_gets_is_what_everybody_gets(client: OpenAI, service: TestClient) -> None:
    """By default it asks for base64 and says nothing of it to whoever calls it."""
    answer = client.embeddings.create(model="captions", input=TEXTS)
    asked = {"model": "captions", "inputs": [{"text": text} for text in TEXTS]}
    expected = [each["embedding"] for each in service.post("/v1/embeddings", json=asked).json()["data"]]
    assert np.allclose([each.embedding for each in answer.data], expected, atol=1e-6)
    assert [each.index for each in answer.data] == [0, 1]
    assert answer.model == "captions@1"
    assert answer.usage.total_tokens > 0


def test_fewer_dimensions_have_unit_norm(client: OpenAI) -> None:
    answer = client.embeddings.create(model="captions", input=TEXTS[0], dimensions=8, encoding_format="float")
    assert len(answer.data[0].embedding) == 8
    assert np.linalg.norm(answer.data[0].embedding) == pytest.approx(1, abs=1e-5)


def test_its_errors_are_of_the_kind_that_it_knows(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nothing", input=TEXTS)
    with pytest.raises(openai.UnprocessableEntityError):
        client.embeddings.create(model="captions", input=[])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-unknown").embeddings.create(model="captions", input=TEXTS)
