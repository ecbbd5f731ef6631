"""Long answers are packed for whoever unpacks gzip, and what goes out piece by piece is not."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import httpx
import pytest
from fastapi.testclient import TestClient

from service.db import Sessions
from tests.service.metrics.test_metrics import logged
from tests.service.rows import submitted


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: nothing here depends on it."""
    return sqlite_url


@dataclass(frozen=True)
class Sent:
    headers: httpx.Headers
    body: bytes
    """As it was on the wire."""


def sent(client: TestClient, method: str, path: str, accepted: str, json: object = None) -> Sent:
    with client.stream(method, path, json=json, headers={"Accept-Encoding": accepted}) as answer:
        assert answer.status_code == 200
        return Sent(answer.headers, b"".join(answer.iter_raw()))


@pytest.fixture
def job_id(client: TestClient, sessions: Sessions) -> str:
    made: str = submitted(client)["id"]
    logged(sessions, made, [(step, 1 / (1 + step)) for step in range(300)], at_once=True)
    return made


@pytest.mark.parametrize("accepted", ["gzip", "br, zstd;q=0.9, GZIP ; q=0.1", "deflate,gzip"])
def test_a_long_answer_is_packed_for_whoever_takes_gzip(
    client: TestClient, job_id: str, accepted: str
) -> None:
    asked = {"job_ids": [job_id]}
    plain = sent(client, "POST", "/v1/metrics/query", "identity", asked)
    packed = sent(client, "POST", "/v1/metrics/query", accepted, asked)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["content-length"] == str(len(packed.body))
    assert packed.headers["content-type"] == plain.headers["content-type"]
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert len(packed.body) < len(plain.body) / 2
    assert gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize("accepted", ["identity", "", "br", "x-gzip", "gzip;q=0", "deflate, gzip; q=0.00"])
def test_whoever_does_not_take_gzip_gets_it_as_it_is(client: TestClient, job_id: str, accepted: str) -> None:
    answer = sent(client, "POST", "/v1/metrics/query", accepted, {"job_ids": [job_id]})
    assert "content-encoding" not in answer.headers
    assert answer.body.startswith(b'{"data":[')


def test_a_short_answer_and_a_stream_are_sent_as_they_are(client: TestClient, job_id: str) -> None:
    points = f"/v1/jobs/{job_id}/metrics/loss/points?format="
    for path in (f"/v1/metrics/names?job_id={job_id}", points + "ndjson", points + "csv",
                 f"/v1/jobs/{job_id}/metrics.csv", f"/v1/jobs/{job_id}/metrics.tfevents"):  # fmt: skip
        assert "content-encoding" not in sent(client, "GET", path, "gzip").headers, path
    assert "content-encoding" in sent(client, "GET", points + "json", "gzip").headers
