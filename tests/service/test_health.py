"""The service says which of its parts are well, and counts what it does in a form that collectors read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from service import health, jobs
from service.db import Sessions, transaction
from service.settings import Settings
from service.states import STATES
from service.version import VERSION
from tests.applications import new_app


@pytest.fixture
def with_redis(settings: Settings, redis_url: str) -> Iterator[TestClient]:
    """A service that has all its parts."""
    complete = settings.model_copy(update={"redis_url": redis_url})
    complete.data_dir.mkdir()
    with TestClient(new_app(complete)) as client:
        yield client


def parts(client: TestClient) -> dict[str, str]:
    return {name: part["state"] for name, part in client.get("/readyz").json()["parts"].items()}


def test_when_all_parts_are_well_it_is_ready(with_redis: TestClient) -> None:
    answer = with_redis.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert parts(with_redis) == {"database": "ok", "disk": "ok", "inference": "ok", "redis": "ok"}


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1/0", "redis://:wrong@{address}"])
def test_without_redis_it_works_less_well_and_stays_ready(
    settings: Settings, redis_url: str, url: str
) -> None:
    without = url.format(address=redis_url.rpartition("@")[2])
    settings.data_dir.mkdir()
    app = new_app(settings.model_copy(update={"redis_url": without}))
    with TestClient(app) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert parts(client) == {"database": "ok", "disk": "ok", "inference": "ok", "redis": "degraded"}
        assert "wrong" not in answer.text


def test_without_its_database_it_is_alive_and_not_ready(tmp_path: Path, redis_url: str) -> None:
    settings = Settings(
        data_dir=tmp_path,
        FUSEBOX_DATABASE_URL="postgresql+psycopg://fusebox:secret@127.0.0.1:1/fusebox",  # type: ignore[call-arg]
        FUSEBOX_REDIS_URL=redis_url,
    )
    with TestClient(new_app(settings), raise_server_exceptions=False) as client:
        assert client.get("/livez").json() == {"status": "ok", "version": VERSION}
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "failed")
        assert parts(client) == {
            "database": "failed",
            "disk": "ok",
            "inference": "ok",
            "redis": "ok",
        }
        listing = client.get("/v1/jobs")
        assert (listing.status_code, listing.json()["code"]) == (503, "database_unavailable")
        assert int(listing.headers["retry-after"]) > 0
        for told in (answer.text, listing.text):
            assert not re.search(r"secret|psycopg|127\.0\.0\.1|sqlalchemy", told)


def test_tables_of_another_version_are_a_failure(with_redis: TestClient, sessions: Sessions) -> None:
    with transaction(sessions) as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'another'"))
    answer = with_redis.get("/readyz")
    assert answer.status_code == 503
    assert "fusebox migrate" in answer.json()["parts"]["database"]["detail"]


def test_a_full_disk_and_a_missing_folder_are_failures(
    with_redis: TestClient, app: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MIN_FREE_BYTES", 2**62)
    assert parts(with_redis)["disk"] == "failed"
    monkeypatch.undo()
    (tmp_path / "data").rename(tmp_path / "moved")
    answer = with_redis.get("/readyz")
    assert answer.json()["parts"]["disk"]["state"] == "failed"
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v2/health/live", "/v2/health/ready"])
def test_whoever_asks_for_the_head_alone_is_told_by_the_status(with_redis: TestClient, path: str) -> None:
    got, head = with_redis.get(path), with_redis.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert "head" not in with_redis.get("/openapi.json").json()["paths"][path]


def test_a_head_says_that_it_is_not_ready(with_redis: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MIN_FREE_BYTES", 2**62)
    for path, status in (("/livez", 200), ("/readyz", 503), ("/v2/health/ready", 503)):
        assert with_redis.head(path).status_code == status


LINE = re.compile(r'^[a-z_]+(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? -?[0-9.e+-]+$')


def test_the_metrics_are_in_prometheus_text_format(client: TestClient, sessions: Sessions) -> None:
    with transaction(sessions) as session:
        for _ in range(2):
            jobs.create(session, jobs.checked(session, "train", {"dataset": "digits"}), actor="test")
    client.get("/v1/jobs")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert answer.text.endswith("\n")
    assert all(LINE.match(line) for line in lines if not line.startswith("#"))
    assert f'fusebox_info{{version="{VERSION}"}} 1' in lines
    assert {f'fusebox_jobs{{state="{state}"}} {2 * (state == "queued")}' for state in STATES} <= set(lines)
    count = 'fusebox_http_request_duration_seconds_count{method="GET",route="/v1/jobs",status="200"} 1'
    assert count in lines


def test_requests_are_counted_by_route_and_never_by_what_a_client_wrote(client: TestClient) -> None:
    for number in range(5):
        client.get(f"/v1/jobs/job_{number}")
        client.get(f"/made/up/{number}")
        client.request(f"VERB{number}", "/livez")
    counted = re.findall(r"_count\{(.*?)\} (\d+)", client.get("/metrics").text)
    assert ('method="GET",route="/v1/jobs/{job_id}",status="404"', "5") in counted
    assert ('method="GET",route="unmatched",status="404"', "5") in counted
    assert [count for labels, count in counted if 'method="OTHER"' in labels] == ["5"]
    assert len(counted) == 3
