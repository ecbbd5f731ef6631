"""Every answer says what a browser may do with it, whether it is a page, JSON, a file or an error."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.web.headers import HEADERS


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: nothing here depends on it."""
    return sqlite_url


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/", 200), ("/docs", 200), ("/livez", 200), ("/v1/jobs", 200), ("/openapi.json", 200), ("/metrics", 200),
        ("/static/app.css", 200), ("/static/nothing.css", 404), ("/nothing", 404), ("/v1/jobs/nothing", 404),
        ("/jobs/nothing", 404), ("/v1/jobs?limit=0", 422), ("/v1/jobs?tag=%00", 400),
    ],
)  # fmt: skip
def test_every_answer_carries_the_headers(client: TestClient, address: str, status: int) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


def test_an_unforeseen_error_carries_them_too_and_tells_nothing(app: FastAPI, client: TestClient) -> None:
    app.state.resources.sessions = None  # whatever asks for a session breaks now
    answer = client.get("/v1/jobs")
    assert answer.status_code == 500
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert answer.json()["code"] == "internal"
    assert "Error" not in answer.json()["detail"]


def test_the_policy_allows_nothing_but_files_of_this_server(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy


def test_no_cache_keeps_what_needed_a_key(client: TestClient) -> None:
    for address in ("/v1/jobs", "/", "/v1/nothing"):
        assert client.get(address).headers["cache-control"] == "no-store"


def test_files_are_asked_for_again_and_answered_from_the_browsers_own_copy(client: TestClient) -> None:
    first = client.get("/static/app.css")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/static/app.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "/etc/passwd", "vendor", ""]
)
def test_only_the_dashboards_own_files_are_given_out(client: TestClient, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "methods"),
    [
        ("PUT", "/v1/embeddings", "GET, POST"),
        ("DELETE", "/v1/jobs", "GET, POST"),
        ("PUT", "/v1/jobs/job_x", "GET, PATCH"),
        ("OPTIONS", "/v1/models/m/heads", "GET, POST"),
        ("POST", "/livez", "GET, HEAD"),
    ],
)
def test_what_an_address_takes_is_told_whole(
    client: TestClient, method: str, path: str, methods: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, methods)
    assert answer.headers["Content-Type"] == "application/problem+json"
