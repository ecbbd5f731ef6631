"""Whole curves leave as NDJSON, CSV and TensorBoard's files, and the best of many jobs is found by a metric."""

from __future__ import annotations

import csv
import io
import json
import math
import struct
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from service.db import Sessions
from service.metrics import exports, reading, tfevents
from tests.service.metrics.test_metrics import logged
from tests.service.rows import trained

NAN = math.nan
HOSTILE = '=cmd|"/C calc"!A0,<b>\u202e'
HEADER = ["name", "step", "value", "nonfinite", "at", "attempt"]


@pytest.fixture
def client(emptied: TestClient) -> TestClient:
    return emptied


def test_raw_points_stream_as_ndjson_and_csv(
    client: TestClient, emptied_sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "POINTS_AT_ONCE", 2)
    job_id = trained(emptied_sessions)
    logged(emptied_sessions, job_id, [(1, 0.1), (2, NAN), (3, math.inf), (7, -2.5)], name="loss/a")
    path = f"/v1/jobs/{job_id}/metrics/loss/a/points"
    page = client.get(path).json()["data"]
    answer = client.get(path, headers={"Accept": "application/x-ndjson"})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert [(each["step"], each["value"], each["nonfinite"]) for each in told] == [
        (each["step"], each["value"], each["nonfinite"]) for each in page
    ]
    rows = list(csv.reader(io.StringIO(client.get(path, params={"format": "csv", "after_step": 1}).text)))
    assert [row[:3] for row in rows] == [HEADER[1:4], ["2", "", "nan"], ["3", "", "inf"], ["7", "-2.5", ""]]
    refused = client.get(path, params={"format": "csv", "limit": 3})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/query/limit")
    assert client.get(path.replace("loss/a", "none"), params={"format": "csv"}).status_code == 404


def test_a_jobs_csv_has_every_point_and_no_formula(client: TestClient, emptied_sessions: Sessions) -> None:
    job_id = trained(emptied_sessions)
    logged(emptied_sessions, job_id, [(1, 1.5), (2, 0.1)], name=HOSTILE)
    logged(emptied_sessions, job_id, [(3, 2.0)], name="loss")
    answer = client.get(f"/v1/jobs/{job_id}/metrics.csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="{job_id}.csv"'
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == HEADER
    assert sorted(row[1:4] for row in rows[1:]) == [["1", "1.5", ""], ["2", "0.1", ""], ["3", "2.0", ""]]
    assert {row[0] for row in rows[1:]} == {'\'=cmd|"/C calc"!A0,<b>', "loss"}


def records(content: bytes) -> Iterator[bytes]:
    """By the format's definition, with a checksum that is computed bit by bit."""
    place = 0
    while place < len(content):
        (size,) = struct.unpack_from("<Q", content, place)
        data = content[place + 12 : place + 12 + size]
        assert struct.unpack_from("<I", content, place + 8) == (masked(content[place : place + 8]),)
        assert struct.unpack_from("<I", content, place + 12 + size) == (masked(data),)
        yield data
        place += size + 16


def masked(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            carry = (crc ^ byte >> bit) & 1
            crc = crc >> 1 ^ (0x82F63B78 if carry else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_the_checksum_is_that_of_the_standard() -> None:
    assert masked(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_file_for_tensorboard_holds_every_point(client: TestClient, emptied_sessions: Sessions) -> None:
    job_id = trained(emptied_sessions)
    logged(emptied_sessions, job_id, [(1, 0.5), (300, NAN), (2**40, 1e300)], name=HOSTILE)
    content = client.get(f"/v1/jobs/{job_id}/metrics.tfevents").content
    first, *rest = records(content)
    assert first.endswith(b"\x1a\x0dbrain.Event:2")
    for data, step, value in zip(
        rest, (b"\x01", b"\xac\x02", b"\x80" * 5 + b"\x20"), (0.5, NAN, math.inf), strict=True
    ):
        assert data[9:10] + data[10 : 10 + len(step)] == b"\x10" + step
        assert HOSTILE.encode() in data
        (found,) = struct.unpack("<f", data[-4:])
        assert found == value or (math.isnan(found) and math.isnan(value))


def test_a_job_without_points_has_an_empty_file(client: TestClient, emptied_sessions: Sessions) -> None:
    job_id = trained(emptied_sessions)
    assert client.get(f"/v1/jobs/{job_id}/metrics.tfevents").content == b""
    assert client.get(f"/v1/jobs/{job_id}/metrics.csv").text == ",".join(HEADER) + "\r\n"
    assert list(tfevents.events(emptied_sessions, "job_none")) == []


def test_jobs_are_ranked_by_any_value_of_a_metric_and_page_by_page(
    client: TestClient, emptied_sessions: Sessions
) -> None:
    curves = {0: [3.0, 1.0, 2.0], 1: [9.0, 0.5, 2.0], 2: [1.0, 4.0, 1.5], 3: [NAN], 4: [1.0, NAN]}
    jobs = {seed: trained(emptied_sessions, seed=seed) for seed in curves}
    for seed, values in curves.items():
        logged(emptied_sessions, jobs[seed], list(enumerate(values)))
        logged(emptied_sessions, jobs[seed], [(0, 100.0)], name="other")

    def ranking(**asked: str | int) -> list[int]:
        found, more = [], {"name": "loss", **asked}
        while more:
            page = client.get("/v1/metrics/leaderboard", params=more).json()
            found += [next(s for s, job in jobs.items() if job == each["job_id"]) for each in page["data"]]
            assert len(found) <= len(jobs), "the pages go round in circles"
            more = {**more, "cursor": page["next_cursor"]} if page["has_more"] else {}
        return found

    for limit in (1, 2, 50):
        assert ranking(better="lower", limit=limit) == [2, 0, 1]
        assert ranking(better="higher", by="max", limit=limit) == [1, 2, 0, 4]
        assert ranking(better="lower", by="min", limit=limit) == [1, 0, 2, 4]
    assert ranking(better="lower", method="none") == []
    assert ranking(better="lower", name="none") == []
    refused = client.get(
        "/v1/metrics/leaderboard", params={"name": "loss", "better": "lower", "cursor": "WyJ4IiwxXQ"}
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_cursor")


def test_the_best_jobs_are_found_by_an_index(emptied_sessions: Sessions) -> None:
    for by in ("last", "vmax", "vmin"):
        query = f"SELECT id FROM metric_series WHERE name = 'loss' AND {by} IS NOT NULL ORDER BY {by} DESC, id DESC LIMIT 50"
        with emptied_sessions() as session:
            explain = "EXPLAIN QUERY PLAN"
            if session.get_bind().dialect.name == "postgresql":
                explain = "EXPLAIN"
                session.execute(text("SET LOCAL enable_seqscan = off"))  # an empty table is read whole
                session.execute(text("SET LOCAL enable_bitmapscan = off"))
            plan = "\n".join(str(row) for row in session.execute(text(f"{explain} {query}")))
        assert f"ix_metric_series_name_{by}" in plan


def test_more_rows_than_an_answer_holds_are_refused_with_how_many_would_do(
    client: TestClient, emptied_sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ANSWER_AT_MOST", 100)
    job_id = trained(emptied_sessions)
    for name in ("a", "b"):
        logged(emptied_sessions, job_id, [(step, 1.0) for step in range(80)], name=name)
    asked = {"job_ids": [job_id], "max_points": 80}
    refused = client.post("/v1/metrics/query", json=asked)
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_rows")
    assert refused.json()["errors"][0]["pointer"] == "/max_points"
    assert "at most 50 points" in refused.json()["detail"]
    assert client.post("/v1/metrics/query", json=asked | {"max_points": 50}).status_code == 200


def test_many_curves_at_once_are_read_at_a_coarser_width(
    client: TestClient, emptied_sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "READ_AT_MOST", 200)
    job_id = trained(emptied_sessions)
    for name in ("a", "b"):
        logged(emptied_sessions, job_id, [(step, float(step)) for step in range(400)], name=name)
    for curve in client.post("/v1/metrics/query", json={"job_ids": [job_id], "max_points": 60}).json()[
        "data"
    ]:
        assert (curve["width"], len(curve["step"]), curve["points_total"]) == (16, 25, 400)
        assert (min(curve["low"]), max(curve["high"])) == (0.0, 399.0)
