"""The API's description builds, says what can go wrong, and is true."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from service.access.auth import policy
from service.app import assemble

VERBS = {"get", "put", "post", "delete", "patch"}
SCOPES = {
    "POST /v1/jobs": "submit",
    "GET /v1/jobs": "read",
    "GET /v1/jobs/{job_id}": "read",
    "PATCH /v1/jobs/{job_id}": "submit",
    "POST /v1/jobs/{job_id}/cancel": "submit",
    "POST /v1/jobs/{job_id}/retry": "submit",
    "POST /v1/jobs/{job_id}/clone": "submit",
    "GET /v1/jobs/{job_id}/events": "read",
    "GET /v1/jobs/{job_id}/logs": "read",
    "GET /v1/jobs/{job_id}/checkpoints": "read",
    "GET /v1/jobs/{job_id}/results": "read",
    "GET /v1/jobs/{job_id}/attempts": "read",
    "GET /v1/jobs/{job_id}/metrics": "read",
    "GET /v1/jobs/{job_id}/metrics/{name}/points": "read",
    "GET /v1/jobs/{job_id}/metrics.csv": "read",
    "GET /v1/jobs/{job_id}/metrics.tfevents": "read",
    "POST /v1/metrics/query": "read",
    "GET /v1/metrics/names": "read",
    "GET /v1/metrics/leaderboard": "read",
    "POST /api/2.0/mlflow/runs/log-batch": "submit",
    "GET /api/2.0/mlflow/runs/get": "submit",
    "POST /v1/datasets": "submit",
    "GET /v1/datasets/uploads": "read",
    "GET /v1/datasets/uploads/{upload_id}": "read",
    "HEAD /v1/datasets/uploads/{upload_id}": "read",
    "PATCH /v1/datasets/uploads/{upload_id}": "submit",
    "POST /v1/datasets/uploads/{upload_id}/complete": "submit",
    "DELETE /v1/datasets/uploads/{upload_id}": "submit",
    "GET /v1/jobs/{job_id}/embeddings/points": "read",
    "GET /v1/jobs/{job_id}/embeddings/samples": "read",
    "GET /v1/jobs/{job_id}/embeddings/samples/{row}/{modality}.png": "read",
    "GET /v1/datasets/{name}/samples": "read",
    "GET /v1/datasets/{name}/samples/{row}/{modality}.png": "read",
    "GET /v1/results": "read",
    "POST /v1/replications": "submit",
    "GET /v1/replications": "read",
    "GET /v1/replications/{replication_id}": "read",
    "GET /v1/replications/{replication_id}/results": "read",
    "POST /v1/replications/{replication_id}/cancel": "submit",
    "POST /v1/replications/{replication_id}/retry": "submit",
    "GET /v1/results/tables": "read",
    "GET /v1/models": "read",
    "GET /v1/models/{model}": "read",
    "GET /v1/models/{model}/heads": "read",
    "POST /v1/models/{model}/heads": "admin",
    "DELETE /v1/models/{model}/heads/{task}": "admin",
    "POST /v1/embeddings": "infer",
    "POST /v1/predictions": "infer",
    "GET /v1/aliases": "read",
    "PUT /v1/aliases/{alias}": "admin",
}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The description needs no place to work in."""
    return assemble()


@pytest.fixture(scope="module")
def schema(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def operations(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{verb.upper()} {path}": operation
        for path, verbs in schema["paths"].items()
        for verb, operation in verbs.items()
        if verb in VERBS
    }


def test_every_operation_says_what_can_go_wrong_and_how_it_looks(schema: dict[str, Any]) -> None:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for name, operation in operations(schema).items():
        for status in ("400", "401", "403", "404", "409", "422", "429"):
            assert operation["responses"][status]["content"] == problem, f"{name}: {status}"
    assert "HTTPValidationError" not in schema["components"]["schemas"]


def test_every_operation_says_what_it_does_or_has_a_name_that_does(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema).items():
        assert operation["summary"], name
        assert operation["tags"], name


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    def references(part: Any) -> set[str]:
        if isinstance(part, dict):
            own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
            return own.union(*map(references, part.values()))
        return set().union(*map(references, part)) if isinstance(part, list) else set()

    names = {reference.removeprefix("#/components/schemas/") for reference in references(schema)}
    assert names <= schema["components"]["schemas"].keys()


def test_the_description_is_the_same_each_time(app: FastAPI) -> None:
    assert app.openapi() == app.openapi()


def test_every_route_names_a_scope(app: FastAPI) -> None:
    assert [route.path for route in iter_route_contexts(app.routes) if policy(route) is None] == []


def test_looking_needs_read_working_needs_submit_and_naming_models_needs_admin(app: FastAPI) -> None:
    found = {
        f"{method} {route.path.replace(':path', '')}": policy(route)
        for route in iter_route_contexts(app.routes)
        for method in getattr(route, "methods", None) or ()
    }
    assert {name: found[name] for name in SCOPES} == SCOPES


def test_streams_logs_and_dry_runs_are_described(schema: dict[str, Any]) -> None:
    known = operations(schema)
    assert "text/event-stream" in known["GET /v1/jobs/{job_id}/events"]["responses"]["200"]["content"]
    assert "text/plain" in known["GET /v1/jobs/{job_id}/logs"]["responses"]["200"]["content"]
    dry = known["POST /v1/jobs"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert dry == {"$ref": "#/components/schemas/CheckedJob"}
    headers = {each["name"] for each in known["POST /v1/jobs"]["parameters"] if each["in"] == "header"}
    assert headers == {"Idempotency-Key"}
