"""Each call of the client is one that the API describes, and both clients have it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.app import assemble
from service.client import AsyncClient, Client, calls
from service.client.calls import Call

STREAMS = {"events", "metrics_file"}
"""Whose answers are read as they come."""
CALLS: dict[str, Callable[..., Call[Any]]] = {
    name: each
    for name, each in inspect.getmembers(calls, inspect.isfunction)
    if each.__module__ == calls.__name__ and not name.startswith("_") and name not in STREAMS
}
FURTHER: dict[str, dict[str, Any]] = {
    "submit": dict.fromkeys(["preset", "name", "tags", "priority", "max_attempts", "after"], "x") | {"dry_run": True, "key": "k"},
    "jobs": dict.fromkeys(["kind", "state", "method", "dataset", "tag", "limit", "cursor"], "x"),
    "change_job": dict.fromkeys(["name", "tags", "add_tags", "remove_tags"], "x"),
    "replicate": dict.fromkeys(["methods", "columns", "seeds", "changes", "probe", "tags", "priority", "max_attempts"], "x"),
    "replications": dict.fromkeys(["table", "limit", "cursor"], "x"),
    "begin_upload": {"size_bytes": 1, "sha256": "x"},
    "samples": {"split": "test", "offset": 0, "limit": 1},
    "attach_heads": {"tasks": ["digit"]},
    "embed": dict.fromkeys(["encoding_format", "dimensions", "normalize", "heads", "top", "explain", "model_digest"], "x"),
    "vectors": dict.fromkeys(["dimensions", "normalize", "model_digest"], "x"),
    "predict": {"probe": "digit", "top": 1},
    "query_metrics": {},
    "leaderboard": dict.fromkeys(["by", "kind", "state", "method", "dataset", "tag", "limit", "cursor"], "x"),
}  # fmt: skip
ANY = {"str": "x", "int": 1, "bytes": b"x", "Json": {}, "list[Json]": []}


@pytest.fixture(scope="module")
def paths() -> dict[str, Any]:
    schema = assemble().openapi()
    return {
        path: {**verbs, "schemas": schema["components"]["schemas"]} for path, verbs in schema["paths"].items()
    }


def described(name: str, folder: Path) -> Call[Any]:
    parameters = inspect.signature(CALLS[name]).parameters.values()
    needed = [
        each for each in parameters if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    image = folder / "a.png"
    image.write_bytes(b"x")
    given = [image if each.annotation == "Path" else ANY[each.annotation] for each in needed]
    return CALLS[name](*given, **FURTHER.get(name, {}))


@pytest.mark.parametrize("name", CALLS)
def test_the_api_has_what_a_call_asks_for(name: str, paths: dict[str, Any], tmp_path: Path) -> None:
    call = described(name, tmp_path)
    template = next(
        path
        for path in sorted(paths, key=lambda path: path.count("{"))
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), call.path) and call.method.lower() in paths[path]
    )
    operation = paths[template][call.method.lower()]
    queries = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}
    assert call.request.get("params", {}).keys() <= queries
    if "json" in call.request:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        fields = paths[template]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
        assert call.request["json"].keys() <= fields.keys()


def test_both_clients_have_every_call_and_say_what_it_does() -> None:
    for client in (Client, AsyncClient):
        for name, each in CALLS.items():
            assert getattr(client, name).__doc__ == each.__doc__
            assert inspect.signature(getattr(client, name)) == inspect.signature(each)
    public = {name for name in dir(Client) if not name.startswith("_")}
    assert public == {name for name in dir(AsyncClient) if not name.startswith("_")}
    assert public - CALLS.keys() == STREAMS | {"close", "from_environment"}
