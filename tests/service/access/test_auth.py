"""Who may come in: keys and their scopes beyond loopback, the machine's own user on it, and no other site's page."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import update
from starlette.requests import Request

from service.access import auth
from service.app import assemble
from service.db import Sessions, migrate, reading, transaction
from service.errors import ConflictError, MisdirectedError, NotFoundError, UnauthorizedError
from service.one_machine.api import environment
from service.one_machine.parts import EXIT_REFUSED
from service.settings import Settings
from service.tables import ApiKey, utc_now
from tests.applications import new_app

pytestmark = pytest.mark.long  # so many that on PostgreSQL they run in `make test-all` only

OPEN = "0.0.0.0"
HERE = "http://fusebox.example"


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"host": OPEN, "allowed_hosts": ("fusebox.example",)})


@pytest.fixture
def open_app(open_settings: Settings, sessions: Sessions) -> FastAPI:
    new_key(sessions, "admin")  # without any key it would not start
    return new_app(open_settings)


@pytest.fixture
def stranger(open_app: FastAPI) -> Iterator[TestClient]:
    """Somebody who has no key, in front of a server that a network can reach."""
    with TestClient(open_app, base_url=HERE, raise_server_exceptions=False) as client:
        yield client


def new_key(sessions: Sessions, *scopes: auth.Scope, days: int | None = None) -> str:
    with transaction(sessions) as session:
        return auth.create_key(session, "-".join(scopes), list(scopes), days)[1]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# ------------------------------------------------------------------------------------------- who may listen


@pytest.mark.parametrize("command", ["up", "serve"])
def test_beyond_loopback_without_keys_nothing_starts(tmp_path: Path, command: str) -> None:
    with socket.create_server((OPEN, 0)) as taken:
        port = taken.getsockname()[1]
    settings = Settings(data_dir=tmp_path, host=OPEN, port=port)
    migrate(settings.effective_database_url)
    fusebox = [sys.executable, "-m", "service.cli", command]
    answer = subprocess.run(
        fusebox, env=environment(settings), capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == EXIT_REFUSED == 78
    assert answer.stderr.count("\n") == 1
    assert "refusing to listen on 0.0.0.0 without API keys" in answer.stderr
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False)


def test_the_application_itself_refuses_too(open_settings: Settings) -> None:
    with (
        pytest.raises(ConflictError, match="without API keys"),
        TestClient(new_app(open_settings)),
    ):
        pass


def test_a_revoked_key_does_not_open_the_door(open_settings: Settings, sessions: Sessions) -> None:
    key = new_key(sessions, "admin")
    auth.assert_may_listen(open_settings, sessions)
    with transaction(sessions) as session:
        auth.revoke_key(session, key.split("_")[1])
    with pytest.raises(ConflictError):
        auth.assert_may_listen(open_settings, sessions)


# -------------------------------------------------------------------------------------------------- keys


def test_a_key_is_stored_as_its_sha256_only(sessions: Sessions) -> None:
    key = new_key(sessions, "read")
    prefix, key_id, secret = key.split("_", 2)
    assert prefix == "fbx"
    assert len(secret) >= 43  # 256 bits
    with reading(sessions) as session:
        row = session.get_one(ApiKey, key_id)
    assert row.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    stored = [str(getattr(row, column.key)) for column in ApiKey.__table__.columns]
    assert not any(secret in value for value in stored)


def test_revoking_a_key_that_is_not_there_says_so(sessions: Sessions) -> None:
    with transaction(sessions) as session, pytest.raises(NotFoundError, match="fusebox keys list"):
        auth.revoke_key(session, "nothing")


@pytest.mark.parametrize(
    ("scopes", "may", "may_not"),
    [
        (["read"], ["GET /v1/jobs"], ["POST /v1/jobs", "POST /v1/embeddings"]),
        (["infer"], ["POST /v1/embeddings"], ["GET /v1/jobs", "POST /v1/jobs"]),
        (["submit"], ["POST /v1/jobs"], ["GET /v1/jobs", "POST /v1/embeddings"]),
        (["read", "submit"], ["GET /v1/jobs", "POST /v1/jobs"], ["POST /v1/embeddings"]),
    ],
)
def test_a_key_opens_what_its_scopes_name_and_no_more(
    stranger: TestClient, sessions: Sessions, scopes: list[auth.Scope], may: list[str], may_not: list[str]
) -> None:
    key = new_key(sessions, *scopes)
    for request in may:
        assert asked(stranger, request, bearer(key)).status_code not in (401, 403)
    for request in may_not:
        answer = asked(stranger, request, bearer(key))
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


def asked(client: TestClient, request: str, headers: dict[str, str]) -> httpx.Response:
    method, _, path = request.partition(" ")
    return client.request(method, path, headers=headers, json={} if method == "POST" else None)


def test_an_ended_key_is_told_from_an_unknown_one(stranger: TestClient, sessions: Sessions) -> None:
    expired, revoked = new_key(sessions, "read", days=1), new_key(sessions, "read")
    assert stranger.get("/v1/jobs", headers=bearer(revoked)).status_code == 200
    with transaction(sessions) as session:
        auth.revoke_key(session, revoked.split("_")[1])
        late = update(ApiKey).where(ApiKey.id == expired.split("_")[1])
        session.execute(late.values(expires_at=utc_now() - timedelta(seconds=1)))
    for key in (expired, revoked):
        answer = stranger.get("/v1/jobs", headers=bearer(key))
        assert (answer.status_code, answer.json()["code"]) == (401, "api_key_ended")
    unknown = stranger.get("/v1/jobs", headers=bearer(revoked[:-1] + ("x" if revoked[-1] != "x" else "y")))
    assert (unknown.status_code, unknown.json()["code"]) == (401, "bad_api_key")


@pytest.mark.parametrize(
    "header",
    [
        b"", b"Bearer", b"Bearer ", b"Bearer fbx", b"Bearer fbx_", b"Bearer fbx__", b"Bearer fbx_x_y", b"Bearer _ _ _",
        b"Basic dXNlcjpwYXNz", b"fbx_0123456789ab_secret", b"Bearer fbx_' OR 1=1--_x", b"Bearer fbx_%00_x",
        b"Bearer fbx_" + b"a" * 100_000 + b"_x", b"Bearer fbx_0_" + b"a" * 50_000, b"Bearer fbx_\xff\xfe_\xff",
        "Bearer fbx_é_日".encode(), b"Bearer fbx_\xd9\xa3_x", b"Digest x", b"Bearer\tfbx_0_x", b"Bearer " * 1000,
    ],
    ids=lambda header: repr(header[:30]),
)  # fmt: skip
def test_a_wrong_credential_is_a_401_whatever_it_looks_like(stranger: TestClient, header: bytes) -> None:
    answer = stranger.get("/v1/jobs", headers=[(b"authorization", header)])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] in ("bad_api_key", "no_api_key")


def test_a_nul_in_a_credential_is_a_401_too(open_app: FastAPI, sessions: Sessions) -> None:
    """No HTTP client sends it, so it is asked of the function itself."""
    for key in ("fbx_\0_x", "fbx_a\0b_x", "fbx_a_\0", "\0", "fbx_\ud800_x", "fbx_a_\udfff"):
        with pytest.raises(UnauthorizedError):
            auth.principal_of(key, sessions)


def test_without_a_key_nothing_is_given_but_what_is_public(stranger: TestClient, open_app: FastAPI) -> None:
    public = set()
    for route in iter_route_contexts(open_app.routes):
        path = route.path.replace("{path:path}", "app.css").replace("{", "").replace("}", "")
        for method in set(getattr(route, "methods", None) or ()) - {"HEAD"}:
            answer = stranger.request(method, path, follow_redirects=False)
            turned_away = answer.status_code == 401 or answer.headers.get("location") == "/login"
            if not turned_away or path.startswith("/log"):
                public.add(f"{method} {route.path}")
    assert public == {
        "GET /livez", "GET /readyz", "GET /login", "POST /login", "POST /logout", "GET /static/{path:path}",
        "GET /v2", "GET /v2/health/live", "GET /v2/health/ready",
    }  # fmt: skip


def test_when_a_key_was_last_used_is_known_to_the_minute(stranger: TestClient, sessions: Sessions) -> None:
    key = new_key(sessions, "read")
    began = utc_now()
    for _ in range(2):
        stranger.get("/v1/jobs", headers=bearer(key))
    with reading(sessions) as session:
        used = session.get_one(ApiKey, key.split("_")[1]).last_used_at
    assert used is not None
    assert began <= used <= utc_now()


def test_a_job_remembers_whose_key_submitted_it(stranger: TestClient, sessions: Sessions) -> None:
    body = {"kind": "train", "spec": {"dataset": "digits", "epochs": 1}}
    answer = stranger.post("/v1/jobs", json=body, headers=bearer(new_key(sessions, "submit")))
    assert answer.status_code == 201
    assert answer.json()["created_by"] == "key:submit"


# ------------------------------------------------------------------------------------------------ routes


def test_a_route_that_names_no_scope_stops_the_server() -> None:
    app = assemble()
    auth.assert_every_route_has_a_policy(app)
    app.add_api_route("/forgotten", lambda: {})
    app.mount("/mounted", FastAPI(openapi_url=None, docs_url=None, redoc_url=None))
    with pytest.raises(RuntimeError, match="/forgotten"):
        auth.assert_every_route_has_a_policy(app)


# --------------------------------------------------------------------------------------- Host and Origin


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "127.0.0.2", "[::2]", "0.0.0.0"])  # fmt: skip
def test_on_loopback_another_name_for_this_machine_is_refused(client: TestClient, host: str) -> None:
    for path in ("/livez", "/v1/jobs", "/"):
        assert client.get(path, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]", "[::1]:8000"]
)
def test_on_loopback_its_own_names_are_good(client: TestClient, host: str) -> None:
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


def test_any_loopback_address_it_was_told_to_listen_on_is_its_name(settings: Settings) -> None:
    there = settings.model_copy(update={"host": "127.0.0.2"})
    with TestClient(new_app(there), base_url="http://127.0.0.2:8000") as client:
        assert client.get("/v1/jobs").status_code == 200


def test_beyond_loopback_only_the_hosts_of_the_setting_and_loopback_are_good(stranger: TestClient) -> None:
    for good in ("fusebox.example", "FUSEBOX.example:8443", "127.0.0.1:8000"):
        assert stranger.get("/livez", headers={"Host": good}).status_code == 200
    for bad in ("evil.example", "fusebox.example.evil.example", ""):
        assert stranger.get("/livez", headers={"Host": bad}).status_code == 421


@pytest.mark.parametrize(
    ("host", "own"), [("fd00::5", "[fd00::5]:8000"), ("MyBox.local", "mybox.local:8000")]
)
def test_the_address_it_was_told_to_listen_on_is_its_name_however_it_is_written(
    settings: Settings, host: str, own: str
) -> None:
    told = settings.model_copy(update={"host": host, "allowed_hosts": ("fusebox.example",)})
    request = Request({"type": "http", "method": "GET", "headers": [(b"host", own.encode())]})
    auth._check_host(request, told)
    with pytest.raises(MisdirectedError):
        auth._check_host(Request({**request.scope, "headers": [(b"host", b"evil.example")]}), told)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://127.0.0.1:9", "http://testserver.evil"]
)
def test_on_loopback_another_sites_page_can_change_nothing_and_read_no_answer(
    client: TestClient, origin: str
) -> None:
    body = {"kind": "train", "spec": {"dataset": "digits"}}
    for path, sent in (("/v1/jobs", body), ("/v1/jobs/x/cancel", None), ("/v1/embeddings", {})):
        answer = client.post(path, json=sent, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_origin")
    looked = client.get("/v1/jobs", headers={"Origin": origin})
    assert "access-control-allow-origin" not in looked.headers
    assert looked.json()["data"] == []


def test_on_loopback_the_dashboards_own_page_may_change_things(client: TestClient) -> None:
    body = {"kind": "train", "spec": {"dataset": "digits"}}
    answer = client.post("/v1/jobs", json=body, headers={"Origin": "http://testserver"})
    assert answer.status_code == 201


# ---------------------------------------------------------------------------------------- login by cookie


def signed_in(client: TestClient, key: str) -> httpx.Response:
    return client.post("/login", data={"key": key}, headers={"Origin": HERE}, follow_redirects=False)


def test_a_browser_without_a_key_is_led_to_the_login_page(stranger: TestClient) -> None:
    for path in ("/", "/docs", "/jobs/x"):
        answer = stranger.get(path, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert stranger.get("/login").status_code == 200


def test_the_login_page_gives_a_cookie_that_opens_what_the_key_opens(
    stranger: TestClient, sessions: Sessions
) -> None:
    answer = signed_in(stranger, new_key(sessions, "read"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert stranger.get("/").status_code == 200
    assert stranger.get("/v1/jobs").status_code == 200
    assert stranger.post("/v1/jobs", json={}, headers={"Origin": HERE}).json()["code"] == "scope_missing"


def test_over_https_the_cookie_is_for_https_only(open_app: FastAPI, sessions: Sessions) -> None:
    with TestClient(open_app, base_url="https://fusebox.example") as client:
        origin = {"Origin": "https://fusebox.example"}
        key = new_key(sessions, "read")
        answer = client.post("/login", data={"key": key}, headers=origin, follow_redirects=False)
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("origin", [{}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_the_cookie_does_not_let_another_sites_page_change_anything(
    stranger: TestClient, sessions: Sessions, origin: dict[str, str]
) -> None:
    signed_in(stranger, new_key(sessions, "read", "submit"))
    body = {"kind": "train", "spec": {"dataset": "digits"}}
    answer = stranger.post("/v1/jobs", json=body, headers=origin)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_origin")
    assert stranger.post("/login", data={"key": "x"}, headers=origin).status_code == 403
    assert stranger.post("/logout", headers=origin).status_code == 403
    assert stranger.post("/v1/jobs", json=body, headers={"Origin": HERE}).status_code == 201


@pytest.mark.parametrize("key", ["", "fbx_0_0", "x" * 200, "x" * 201, "é日", "a\0b", "\ud83d"])
def test_a_wrong_key_at_the_login_page_is_told_and_gives_no_cookie(stranger: TestClient, key: str) -> None:
    sent = {"key": key.encode("utf-8", "surrogatepass")}
    answer = stranger.post("/login", data=sent, headers={"Origin": HERE}, follow_redirects=False)
    assert answer.status_code in (401, 422)
    assert "set-cookie" not in answer.headers


def test_signing_out_takes_the_cookie_back(stranger: TestClient, sessions: Sessions) -> None:
    signed_in(stranger, new_key(sessions, "read"))
    stranger.post("/logout", headers={"Origin": HERE})
    assert stranger.get("/v1/jobs").status_code == 401


def test_a_broken_cookie_is_a_401(stranger: TestClient) -> None:
    for value in ("x", "fbx_0_0", "", '"', "a" * 5000):
        answer = stranger.get("/v1/jobs", headers={"Cookie": f"{auth.COOKIE}={value}"})
        assert answer.status_code == 401


def test_on_loopback_a_key_that_is_sent_must_be_right_all_the_same(
    client: TestClient, sessions: Sessions
) -> None:
    assert client.get("/v1/jobs", headers=bearer("fbx_0_0")).status_code == 401
    answer = client.get("/v1/jobs", headers=bearer(new_key(sessions, "infer")))
    assert answer.status_code == 403
