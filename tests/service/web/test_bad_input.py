"""Whatever is sent, the answer says what is wrong, where, and what to do; nothing is stored, and nothing breaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.service.rows import SPEC, checkpointed, submitted, trained

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Case:
    """A request and its refusal. `{job}`, `{probed}` in paths and bodies stand for jobs that are there."""

    name: str
    method: str
    path: str
    status: int
    code: str
    pointer: str | None = None
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def client(shared_api: TestClient) -> TestClient:
    """One service for all of them: none may leave anything behind."""
    return shared_api


@pytest.fixture(scope="module")
def there(client: TestClient) -> dict[str, str]:
    sessions = client.app.state.resources.sessions  # type: ignore[attr-defined]
    probed = trained(sessions)
    checkpointed(sessions, probed, 16)
    return {"job": submitted(client)["id"], "probed": probed}


def spec(name: str, code: str, pointer: str, changes: dict[str, Any], status: int = 422) -> Case:
    """A training that differs from a good one."""
    return Case(name, "POST", "/v1/jobs", status, code, pointer, {"kind": "train", "spec": SPEC | changes})


def raw(name: str, code: str, content: bytes) -> Case:
    return Case(name, "POST", "/v1/jobs", 400, code, None, raw=content, headers=JSON)


def job(name: str, pointer: str, changes: dict[str, Any]) -> Case:
    return Case(
        name, "POST", "/v1/jobs", 422, "invalid_request", pointer, {"kind": "train", "spec": SPEC} | changes
    )


def get(name: str, path: str, pointer: str, code: str = "invalid_request") -> Case:
    return Case(name, "GET", path, 422, code, pointer)


def query(name: str, pointer: str, changes: dict[str, Any], code: str = "invalid_request") -> Case:
    return Case(name, "POST", "/v1/metrics/query", 422, code, pointer, {"job_ids": ["{job}"]} | changes)


def building(
    name: str, kind: str, code: str, pointer: str | None, body: dict[str, Any], status: int = 422
) -> Case:
    """A probe or an export of a training that is there."""
    return Case(
        name, "POST", "/v1/jobs", status, code, pointer, {"kind": kind, "spec": {"run": "{probed}"} | body}
    )


MALFORMED = [
    raw("NaN", "invalid_json", b'{"kind": "train", "spec": {"optim": {"lr": NaN}}}'),
    raw("Infinity", "invalid_json", b'{"kind": "train", "spec": {"optim": {"lr": Infinity}}}'),
    raw("minus Infinity", "invalid_json", b'{"priority": -Infinity}'),
    raw(
        "a float beyond doubles",
        "number_out_of_range",
        b'{"kind": "train", "spec": {"optim": {"lr": 1e400}}}',
    ),
    raw("an integer beyond 64 bits", "number_out_of_range", b'{"priority": 18446744073709551616}'),
    raw("an integer of 5,000 digits", "number_out_of_range", b'{"priority": ' + b"9" * 5000 + b"}"),
    raw("a field twice", "duplicate_field", b'{"kind": "train", "kind": "probe", "spec": {}}'),
    raw("a field twice deep inside", "duplicate_field", b'{"kind": "train", "spec": {"seed": 1, "seed": 2}}'),
    raw("a hundred levels", "too_deep", b'{"spec": ' + b"[" * 100 + b"]" * 100 + b"}"),
    raw("a hundred thousand levels", "too_deep", b"[" * 100_000 + b"]" * 100_000),
    raw("half of a surrogate pair", "surrogate_in_text", b'{"kind": "train", "name": "\\ud800", "spec": {}}'),
    raw("NUL in a name", "nul_in_text", b'{"kind": "train", "name": "a\\u0000", "spec": {}}'),
    raw("NUL in a field's name", "nul_in_text", b'{"kind": "train", "spec": {"a\\u0000": 1}}'),
    raw("a trailing comma", "invalid_json", b'{"kind": "train",}'),
    raw("half of an object", "invalid_json", b'{"kind": "train"'),
    raw("not UTF-8", "invalid_json", b'{"kind": "\xff"}'),
    Case("NUL in the address", "GET", "/v1/jobs?tag=%00", 400, "nul_in_text"),
    Case("NUL in the path", "GET", "/v1/jobs/a%00b", 400, "nul_in_text"),
]

REQUESTS = [
    Case("no body", "POST", "/v1/jobs", 422, "invalid_request", ""),
    Case("another media type", "POST", "/v1/jobs", 415, "not_json", raw=b'{"kind": "train"}', headers={"Content-Type": "text/plain"}),
    Case("a form", "POST", "/v1/jobs", 415, "not_json", raw=b"kind=train", headers={"Content-Type": "application/x-www-form-urlencoded"}),
    Case("a list", "POST", "/v1/jobs", 422, "invalid_request", "", []),
    Case("a text", "POST", "/v1/jobs", 422, "invalid_request", "", "train"),
    Case("null", "POST", "/v1/jobs", 422, "invalid_request", "", raw=b"null", headers=JSON),
    Case("another verb", "DELETE", "/v1/jobs", 405, "http_405"),
    Case("another address", "GET", "/v1/job", 404, "http_404"),
    Case("no kind", "POST", "/v1/jobs", 422, "invalid_request", "/kind", {"spec": SPEC}),
    Case("no spec", "POST", "/v1/jobs", 422, "invalid_spec", "/spec/dataset", {"kind": "train"}),
    Case("no such preset", "POST", "/v1/jobs", 422, "unknown_preset", "/preset", {"kind": "train", "preset": "mosi-infmaskin"}),
    Case("a preset that is a number", "POST", "/v1/jobs", 422, "invalid_request", "/preset", {"kind": "train", "preset": 3}),
    Case("a probe's preset", "POST", "/v1/jobs", 422, "unknown_preset", "/preset", {"kind": "probe", "preset": "mosi-comm"}),
    Case("a preset whose data is not there", "POST", "/v1/jobs", 422, "invalid_spec", "/spec/dataset", {"kind": "train", "preset": "mosi-comm"}),
    job("an unknown kind", "/kind", {"kind": "finetune"}),
    job("a kind that is a number", "/kind", {"kind": 3}),
    job("a spec that is a text", "/spec", {"spec": "digits"}),
    job("a spec that is null", "/spec", {"spec": None}),
    job("an unknown field", "/state", {"state": "succeeded"}),
    job("somebody else's name", "/created_by", {"created_by": "root"}),
    job("a name of 256 characters", "/name", {"name": "x" * 256}),
    job("a name that is null", "/name", {"name": None}),
    job("21 tags", "/tags", {"tags": [str(n) for n in range(21)]}),
    job("a tag of 101 characters", "/tags/1", {"tags": ["a", "x" * 101]}),
    job("an empty tag", "/tags/0", {"tags": [""]}),
    job("tags that are a text", "/tags", {"tags": "night"}),
    job("a priority of 101", "/priority", {"priority": 101}),
    job("a priority of -101", "/priority", {"priority": -101}),
    job("a priority of 1.5", "/priority", {"priority": 1.5}),
    job("a priority that is a text", "/priority", {"priority": "1"}),
    job("a priority that is true", "/priority", {"priority": True}),
    job("a huge priority", "/priority", {"priority": 2**63 - 1}),
    job("no attempt", "/max_attempts", {"max_attempts": 0}),
    job("21 attempts", "/max_attempts", {"max_attempts": 21}),
    Case("a strange dry run", "POST", "/v1/jobs?dry_run=perhaps", 422, "invalid_request", "/query/dry_run", {"kind": "train", "spec": SPEC}),
    Case("a key with a space", "POST", "/v1/jobs", 422, "invalid_request", "/header/Idempotency-Key", {"kind": "train", "spec": SPEC},
         headers={"Idempotency-Key": "a b"}),
]  # fmt: skip

TRAININGS = [
    spec("no dataset", "invalid_spec", "/spec/dataset", {"dataset": None}),
    spec("an unknown dataset", "invalid_spec", "/spec/dataset", {"dataset": "imagenet"}),
    spec("an unknown dataset by its name", "invalid_spec", "/spec/dataset", {"dataset": {"name": "imagenet"}}),
    spec("a dataset without a name", "invalid_spec", "/spec/dataset", {"dataset": {"n_pairs": 100}}),
    spec("an unknown method", "invalid_spec", "/spec/method", {"method": "guessing"}),
    spec("a method that is a number", "invalid_spec", "/spec/method", {"method": 1}),
    spec("an unknown parameter", "invalid_spec", "/spec/method/masks", {"method": {"name": "infmasking", "masks": 6}}),
    spec("another method's parameter", "invalid_spec", "/spec/method/mask_ratio", {"method": {"name": "comm", "mask_ratio": 0.5}}),
    spec("an unknown field of a spec", "invalid_spec", "/spec/lr", {"lr": 0.1}),
    spec("a name with a slash", "invalid_spec", "/spec/a~1b~0", {"a/b~": 0.1}),
    spec("a mask ratio of 1.5", "invalid_spec", "/spec/method/mask_ratio", {"method": {"name": "infmasking", "mask_ratio": 1.5}}),
    spec("a mask ratio of 1", "invalid_spec", "/spec/method/mask_ratio", {"method": {"name": "infmasking", "mask_ratio": 1}}),
    spec("a negative mask ratio", "invalid_spec", "/spec/method/mask_ratio", {"method": {"name": "infmasking", "mask_ratio": -0.1}}),
    spec("no masks", "invalid_spec", "/spec/method/n_masks", {"method": {"name": "infmasking", "n_masks": 0}}),
    spec("a temperature of 0", "invalid_spec", "/spec/method/temperature", {"method": {"name": "comm", "temperature": 0}}),
    spec("too few weights", "invalid_spec", "/spec/method/weights", {"method": {"name": "infmasking", "weights": [1, 1]}}),
    spec("heads that do not divide the width", "invalid_spec", "/spec/model/heads", {"model": {"dim": 64, "heads": 5}}),
    spec("a width that 4 does not divide", "invalid_spec", "/spec/model/dim", {"model": {"dim": 66}}),
    spec("a batch larger than the data", "invalid_spec", "/spec/batch_size", {"batch_size": 257}),
    spec("a batch of one", "invalid_spec", "/spec/batch_size", {"batch_size": 1}),
    spec("three modalities for two", "invalid_spec", "/spec/dataset/form",
         {"method": "cross", "dataset": {"name": "digits", "form": "triples", "n_pairs": 256}}),
    spec("biased captions", "invalid_spec", "/spec/dataset/biased",
         {"dataset": {"name": "digits", "form": "captions", "biased": True}}),
    spec("more pairs than there are", "invalid_spec", "/spec/dataset/n_pairs",
         {"dataset": {"name": "digits", "biased": True, "n_pairs": 300_000}}),
    spec("no epoch", "invalid_spec", "/spec/epochs", {"epochs": 0}),
    spec("half an epoch", "invalid_spec", "/spec/epochs", {"epochs": 0.5}),
    spec("epochs that are a text", "invalid_spec", "/spec/epochs", {"epochs": "5"}),
    spec("epochs without end", "invalid_spec", "/spec/epochs", {"epochs": 2**63 - 1}),
    spec("a negative seed", "invalid_spec", "/spec/seed", {"seed": -1}),
    spec("a huge seed", "invalid_spec", "/spec/seed", {"seed": 2**31}),
    spec("a seed that is true", "invalid_spec", "/spec/seed", {"seed": True}),
    spec("an unknown device", "invalid_spec", "/spec/device", {"device": "cuda:7"}),
    spec("an unknown protocol", "invalid_spec", "/spec/protocol", {"protocol": "loose"}),
    spec("a rate of 0", "invalid_spec", "/spec/optim/lr", {"optim": {"lr": 0}}),
    spec("a rate that is a text", "invalid_spec", "/spec/optim/lr", {"optim": {"lr": "nan"}}),
    Case("an empty spec", "POST", "/v1/jobs", 422, "invalid_spec", "/spec/dataset", {"kind": "train", "spec": {}}),
]  # fmt: skip

BUILDING = [
    building("an unknown run", "probe", "no_such_training", "/spec/run", {"run": "job_nowhere"}),
    building("a run that leads elsewhere", "probe", "invalid_spec", "/spec/run", {"run": "../../etc/passwd"}),
    building("an empty run", "export", "invalid_spec", "/spec/run", {"run": "", "name": "m"}),
    building("a run without a checkpoint", "probe", "no_checkpoint", None, {"run": "{job}"}, 409),
    building("a checkpoint that is not there", "probe", "no_checkpoint", None, {"checkpoint": 17}, 409),
    building("no best checkpoint", "export", "no_checkpoint", None, {"checkpoint": "best", "name": "m"}, 409),
    building("an unknown checkpoint", "probe", "invalid_spec", "/spec/checkpoint", {"checkpoint": "newest"}),
    building("a checkpoint beyond all steps", "probe", "invalid_spec", "/spec/checkpoint", {"checkpoint": 2**40}),
    building("an unknown task", "probe", "unknown_task", "/spec/tasks/1", {"tasks": ["share", "colour"]}),
    building("tasks that are a text", "probe", "invalid_spec", "/spec/tasks", {"tasks": "share"}),
    building("a probe's unknown field", "probe", "invalid_spec", "/spec/epochs", {"epochs": 3}),
    building("an export without a name", "export", "invalid_spec", "/spec/name", {}),
    building("an export's capital letter", "export", "invalid_spec", "/spec/name", {"name": "Digits"}),
    building("an export's name that leads elsewhere", "export", "invalid_spec", "/spec/name", {"name": "../x"}),
    building("an export's name with a line end", "export", "invalid_spec", "/spec/name", {"name": "digits\n"}),
    building("an export that need not be exact", "export", "invalid_spec", "/spec/tolerance", {"name": "m", "tolerance": 0.5}),
    Case("a clone with an unknown field", "POST", "/v1/jobs/{job}/clone", 422, "invalid_request", "/seed", {"seed": 3}),
    Case("a clone of another kind", "POST", "/v1/jobs/{job}/clone", 422, "invalid_request", "/kind", {"kind": "probe"}),
    Case("a clone with a bad spec", "POST", "/v1/jobs/{job}/clone", 422, "invalid_spec", "/spec/optim/lr", {"spec": {"optim": {"lr": -1}}}),
    Case("a clone that loses its dataset", "POST", "/v1/jobs/{job}/clone", 422, "invalid_spec", "/spec/dataset", {"spec": {"dataset": None}}),
    Case("a clone with 21 tags", "POST", "/v1/jobs/{job}/clone", 422, "invalid_request", "/tags", {"tags": ["a"] * 21}),
    Case("a change of nothing", "PATCH", "/v1/jobs/{job}", 422, "invalid_request", "", {}),
    Case("a change of what is done", "PATCH", "/v1/jobs/{job}", 422, "invalid_request", "/spec", {"spec": {"seed": 1}}),
    Case("a name of 256 characters", "PATCH", "/v1/jobs/{job}", 422, "invalid_request", "/name", {"name": "x" * 256}),
    Case("a tag of nothing", "PATCH", "/v1/jobs/{job}", 422, "invalid_request", "/add_tags/0", {"add_tags": [""]}),
    Case("a tag that is a number", "PATCH", "/v1/jobs/{job}", 422, "invalid_request", "/remove_tags/0", {"remove_tags": [1]}),
    Case("all tags, and one besides", "PATCH", "/v1/jobs/{job}", 422, "invalid_request", "/tags", {"tags": ["a"], "add_tags": ["b"]}),
    Case("a tag added and removed", "PATCH", "/v1/jobs/{job}", 422, "invalid_request", "/remove_tags", {"add_tags": ["a"], "remove_tags": ["a"]}),
    Case("a retry of what waits", "POST", "/v1/jobs/{job}/retry", 409, "job_not_ended"),
]  # fmt: skip

LOOKING = [
    get("a page of nothing", "/v1/jobs?limit=0", "/query/limit"),
    get("a page of everything", "/v1/jobs?limit=201", "/query/limit"),
    get("a limit of many digits", "/v1/jobs?limit=" + "9" * 400, "/query/limit"),
    get("a limit that is no number", "/v1/jobs?limit=ten", "/query/limit"),
    get("an unknown filter", "/v1/jobs?status=running", "/query/status"),
    get("an unknown state", "/v1/jobs?state=done", "/query/state"),
    get("an unknown kind in a filter", "/v1/jobs?kind=finetune", "/query/kind"),
    get("a cursor of nonsense", "/v1/jobs?cursor=nonsense", "/query/cursor", "bad_cursor"),
    get("a cursor of other characters", "/v1/jobs?cursor=!!!!", "/query/cursor", "bad_cursor"),
    get("an empty cursor", "/v1/jobs?cursor=", "/query/cursor", "bad_cursor"),
    get("a cursor with NUL inside", "/v1/jobs?cursor=WyJcdTAwMDAiXQ", "/query/cursor", "bad_cursor"),  # ["\u0000"]
    get("a cursor with half a surrogate pair", "/v1/jobs?cursor=WyJcdWQ4MDAiXQ", "/query/cursor", "bad_cursor"),  # ["\ud800"]
    get("a cursor of another list", "/v1/jobs?cursor=WzVd", "/query/cursor", "bad_cursor"),  # [5]
    get("a cursor beyond all numbers", "/v1/results?group_by=none&cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5XQ", "/query/cursor", "bad_cursor"),
    get("a cursor of true", "/v1/results?group_by=none&cursor=W3RydWVd", "/query/cursor", "bad_cursor"),
    get("a models' cursor that is too short", "/v1/models?cursor=WyJhIl0", "/query/cursor", "bad_cursor"),
    get("a cursor of 10,000 characters", "/v1/jobs?cursor=" + "A" * 10_000, "/query/cursor"),
    get("events after -1", "/v1/jobs/{job}/events?after=-1", "/query/after"),
    get("events after all numbers", "/v1/jobs/{job}/events?after=2147483648", "/query/after"),
    get("no events", "/v1/jobs/{job}/events?limit=0", "/query/limit"),
    Case("a strange last event", "GET", "/v1/jobs/{job}/events", 422, "invalid_request", "/header/Last-Event-ID",
         headers={"Accept": "text/event-stream", "Last-Event-ID": "seven"}),
    get("a log of nothing", "/v1/jobs/{job}/logs?tail=0", "/query/tail"),
    get("a log of everything", "/v1/jobs/{job}/logs?tail=1048577", "/query/tail"),
    get("points after -1", "/v1/jobs/{job}/metrics/loss/points?after_step=-1", "/query/after_step"),
    get("points after all numbers", "/v1/jobs/{job}/metrics/loss/points?after_step=9223372036854775808", "/query/after_step"),
    get("an unknown split", "/v1/results?split=training", "/query/split"),
    get("an unknown protocol in a filter", "/v1/results?protocol=loose", "/query/protocol"),
    get("an unknown grouping", "/v1/results?group_by=task", "/query/group_by"),
    get("an unknown filter of results", "/v1/results?seed=1", "/query/seed"),
    get("an unknown filter of models", "/v1/models?alias=prod", "/query/alias"),
    Case("a job that is not there", "GET", "/v1/jobs/job_nowhere", 404, "job_not_found"),
    Case("a job of a strange name", "GET", "/v1/jobs/" + "%F0%9F%92%A9" * 50, 404, "job_not_found"),
    Case("a job that leads elsewhere", "GET", "/v1/jobs/..%2F..%2Fetc%2Fpasswd/logs", 404, "http_404"),
    Case("a job of broken UTF-8", "GET", "/v1/jobs/%ED%A0%80", 400, "not_utf8"),
    Case("a metric that is not there", "GET", "/v1/jobs/{job}/metrics/a/b/points", 404, "metric_not_found"),
    Case("a model that is not there", "GET", "/v1/models/nothing", 404, "model_not_found"),
    query("no jobs", "/job_ids", {"job_ids": []}),
    query("one digit", "/digits", {"digits": 1}),
    query("more digits than are worth it", "/digits", {"digits": 13}),
    query("digits as a text", "/digits", {"digits": "6"}),
    get("the metrics of no job", "/v1/metrics/names", "/query/job_id"),
    get("the metrics of 51 jobs", "/v1/metrics/names?" + "job_id=a&" * 51, "/query/job_id"),
    query("51 jobs", "/job_ids", {"job_ids": ["{job}"] * 51}),
    query("a job of the query that is not there", "/job_ids/1", {"job_ids": ["{job}", "job_nowhere"]}, "job_not_found"),
    query("a job that is a number", "/job_ids/0", {"job_ids": [1]}),
    query("no names", "/names", {"names": []}),
    query("names that are a text", "/names", {"names": "loss"}),
    query("one point", "/max_points", {"max_points": 1}),
    query("2,001 points", "/max_points", {"max_points": 2001}),
    query("points that are a text", "/max_points", {"max_points": "400"}),
    query("steps before the first", "/from_step", {"from_step": -1}),
    query("steps backwards", "/to_step", {"from_step": 5, "to_step": 4}),
    query("an unknown field of a query", "/job_id", {"job_id": "{job}"}),
    get("a leaderboard of nothing", "/v1/metrics/leaderboard?better=lower", "/query/name"),
    get("a leaderboard without a direction", "/v1/metrics/leaderboard?name=loss", "/query/better"),
    get("a leaderboard by the mean", "/v1/metrics/leaderboard?name=loss&better=lower&by=mean", "/query/by"),
    get("points in another form", "/v1/jobs/{job}/metrics/a/points?format=xml", "/query/format"),
    Case("points as CSV of a metric that is not there", "GET", "/v1/jobs/{job}/metrics/a/points?format=csv", 404, "metric_not_found"),
    Case("all points of a job that is not there", "GET", "/v1/jobs/job_nowhere/metrics.csv", 404, "job_not_found"),
    Case("an alias of a strange name", "PUT", "/v1/aliases/Prod", 422, "invalid_request", "/path/alias", {"model": "m"}),
    Case("an alias of nothing", "PUT", "/v1/aliases/prod", 422, "model_not_found", "/model", {"model": "nothing"}),
    Case("an alias of an empty name", "PUT", "/v1/aliases/prod", 422, "invalid_request", "/model", {"model": ""}),
    Case("an alias with an unknown field", "PUT", "/v1/aliases/prod", 422, "invalid_request", "/digest", {"model": "m", "digest": "0"}),
    Case("an alias of a path", "PUT", "/v1/aliases/prod", 422, "model_not_found", "/model", {"model": "../../etc/passwd"}),
]  # fmt: skip

CASES = [*MALFORMED, *REQUESTS, *TRAININGS, *BUILDING, *LOOKING]


def filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, names) for each in value]
    if isinstance(value, str):
        for name, job_id in names.items():
            value = value.replace("{" + name + "}", job_id)
    return value


def n_jobs(client: TestClient) -> int:
    page = client.get("/v1/jobs?limit=200").json()
    assert not page["has_more"]
    return len(page["data"])


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input_is_refused_with_what_is_wrong_and_where(
    client: TestClient, there: dict[str, str], case: Case
) -> None:
    before = n_jobs(client)
    content: dict[str, Any] = {"content": case.raw} if case.raw is not None else {}
    if case.body is not None:
        content = {"json": filled(case.body, there)}
    answer = client.request(case.method, filled(case.path, there), headers=case.headers, **content)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (case.status, case.code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert case.pointer in [each["pointer"] for each in problem["errors"]] or case.pointer is None, (
        answer.text
    )
    assert len(problem["detail"]) > 10
    assert len(answer.content) < 20_000
    for inside in ("Traceback", "site-packages", "sqlalchemy", "psycopg", "sqlite", "pydantic", "SELECT"):
        assert inside not in answer.text
    assert n_jobs(client) == before


def test_the_limits_themselves_are_allowed(client: TestClient) -> None:
    body = {
        "kind": "train", "spec": SPEC, "name": "x" * 255, "tags": [f"{n:0100}" for n in range(20)], "priority": -100,
        "max_attempts": 20,
    }  # fmt: skip
    answer = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k" * 255})
    assert answer.status_code == 201, answer.text
    assert client.post(f"/v1/jobs/{answer.json()['id']}/cancel").status_code == 200
    for path in (
        "/v1/jobs?limit=200", f"/v1/jobs/{answer.json()['id']}/events?after=2147483647&limit=1000",
        f"/v1/jobs/{answer.json()['id']}/logs?tail=1048576", "/v1/results?group_by=none&limit=1000",
    ):  # fmt: skip
        assert client.get(path).status_code == 200
    asked = {
        "job_ids": [answer.json()["id"]],
        "names": ["a"] * 100,
        "from_step": 0,
        "to_step": 2**63 - 1,
        "max_points": 2000,
    }
    assert client.post("/v1/metrics/query", json=asked).json() == {"data": []}


@pytest.mark.parametrize(
    "text",
    [
        "ä",
        "漢字",
        "👩‍🔬",
        "\u2028",
        "\u202e",
        "a'; DROP TABLE jobs; --",
        "%s %(x)s :x",
        "<script>",
        "\\",
        "\t\n",
    ],
)
def test_any_text_that_is_text_is_kept_as_it_is(client: TestClient, text: str) -> None:
    job_id = submitted(client, name=text, tags=[text])["id"]
    told = client.get(f"/v1/jobs/{job_id}").json()
    assert (told["name"], told["tags"]) == (text, [text])
    assert [each["id"] for each in client.get("/v1/jobs", params={"tag": text}).json()["data"]] == [job_id]
