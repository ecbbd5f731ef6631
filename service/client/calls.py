"""What can be asked of the API: each function describes one request and how its answer is read, and sends nothing.

`Client` and `AsyncClient` have a method for each of them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from service.client.errors import ClientError

if TYPE_CHECKING:  # the command line shall not wait for it
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]
SILENCE_S = 40
"""An event stream says something at least every 15 seconds; one that is silent for longer is dead."""
T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and what is made of its answer."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    request: Mapping[str, Any] = field(default_factory=dict)
    """As httpx takes it: params, json, content, files, headers."""
    accept: tuple[int, ...] = ()
    """Statuses of errors whose answers are read like any other."""


def submit(
    kind: str, spec: Json, *, dry_run: bool = False, key: str | None = None, **rest: Any
) -> Call[Json]:
    """The new job, or with `dry_run` what would run. `rest`: preset, name, tags, priority, max_attempts, after."""
    headers = {"Idempotency-Key": key} if key else {}
    query = {"dry_run": "true"} if dry_run else {}
    return _json("POST", "/v1/jobs", json={"kind": kind, "spec": spec, **rest}, params=query, headers=headers)


def job(job_id: str) -> Call[Json]:
    return _json("GET", f"/v1/jobs/{_part(job_id)}")


def jobs(**filters: str | int | list[str]) -> Call[Json]:
    """A page of jobs, newest first. `filters`: id (several), kind, state, method, dataset, tag, limit, cursor."""
    return _json("GET", "/v1/jobs", params=filters)


def change_job(job_id: str, **changes: str | list[str]) -> Call[Json]:
    """Calls a job otherwise. `changes`: name, tags (all that it shall have), add_tags, remove_tags."""
    return _json("PATCH", f"/v1/jobs/{_part(job_id)}", json=changes)


def cancel(job_id: str) -> Call[Json]:
    return _json("POST", f"/v1/jobs/{_part(job_id)}/cancel")


def retry(job_id: str) -> Call[Json]:
    return _json("POST", f"/v1/jobs/{_part(job_id)}/retry")


def attempts(job_id: str) -> Call[Json]:
    """Which workers have tried it, and how each attempt ended."""
    return _json("GET", f"/v1/jobs/{_part(job_id)}/attempts")


def job_results(job_id: str) -> Call[Json]:
    """What a probe has measured."""
    return _json("GET", f"/v1/jobs/{_part(job_id)}/results")


def results(**filters: str) -> Call[Json]:
    return _json("GET", "/v1/results", params=filters)


def results_text(**filters: str) -> Call[str]:
    """The same as it is sent; `filters` may name a table, and the format to have it in."""
    return Call("GET", "/v1/results", _text, {"params": filters})


def replicate(table: str, *, dry_run: bool = False, key: str | None = None, **rest: Any) -> Call[Json]:
    """The new replication, or with `dry_run` what it would come to. `rest`: methods, columns, seeds, changes, probe,
    tags, priority, max_attempts."""
    headers = {"Idempotency-Key": key} if key else {}
    query = {"dry_run": "true"} if dry_run else {}
    return _json("POST", "/v1/replications", json={"table": table, **rest}, params=query, headers=headers)


def replications(**filters: str | int) -> Call[Json]:
    """A page of replications, newest first. `filters`: table, limit, cursor."""
    return _json("GET", "/v1/replications", params=filters)


def replication(replication_id: str, *, results: bool = True) -> Call[Json]:
    """Without `results`, only how far it is."""
    return _json("GET", f"/v1/replications/{_part(replication_id)}", params={"results": results})


def replication_table(replication_id: str, form: str) -> Call[str]:
    """The table as its trainings fill it, as the server writes it: json, csv, markdown or latex."""
    path = f"/v1/replications/{_part(replication_id)}/results"
    return Call("GET", path, _text, {"params": {"format": form}})


def cancel_replication(replication_id: str) -> Call[Json]:
    return _json("POST", f"/v1/replications/{_part(replication_id)}/cancel")


def retry_replication(replication_id: str) -> Call[Json]:
    return _json("POST", f"/v1/replications/{_part(replication_id)}/retry")


def presets() -> Call[Json]:
    return _json("GET", "/v1/presets")


def datasets() -> Call[Json]:
    return _json("GET", "/v1/datasets")


def dataset(name: str) -> Call[Json]:
    return _json("GET", f"/v1/datasets/{_part(name)}")


def begin_upload(name: str, made_from: str, options: Json, **rest: Any) -> Call[Json]:
    """The new upload; its file is sent by `send_part`. `rest`: size_bytes, sha256."""
    return _json("POST", "/v1/datasets", json={"name": name, "format": made_from, "options": options, **rest})


def uploads(name: str) -> Call[Json]:
    return _json("GET", "/v1/datasets/uploads", params={"name": name})


def dataset_upload(upload_id: str) -> Call[Json]:
    return _json("GET", f"/v1/datasets/uploads/{_part(upload_id)}")


def send_part(upload_id: str, offset: int, content: bytes) -> Call[int]:
    """Adds to what has arrived, which must be `offset` bytes; returns how many there are then."""
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    request = {"content": content, "headers": headers}
    return Call(
        "PATCH",
        f"/v1/datasets/uploads/{_part(upload_id)}",
        lambda answer: int(answer.headers["Upload-Offset"]),
        request,
    )


def complete_upload(upload_id: str) -> Call[Json]:
    return _json("POST", f"/v1/datasets/uploads/{_part(upload_id)}/complete")


def remove_upload(upload_id: str) -> Call[None]:
    return Call("DELETE", f"/v1/datasets/uploads/{_part(upload_id)}", _nothing)


def samples(name: str, **asked: str | int) -> Call[Json]:
    """`asked`: split, offset, limit."""
    return _json("GET", f"/v1/datasets/{_part(name)}/samples", params=asked)


def models() -> Call[Json]:
    return _json("GET", "/v1/models")


def model(model: str) -> Call[Json]:
    return _json("GET", f"/v1/models/{_part(model)}")


def set_alias(alias: str, model: str) -> Call[Json]:
    return _json("PUT", f"/v1/aliases/{_part(alias)}", json={"model": model})


def heads(model: str) -> Call[Json]:
    return _json("GET", f"/v1/models/{_part(model)}/heads")


def attach_heads(model: str, probe_job_id: str, tasks: list[str] | None = None) -> Call[Json]:
    """Those of a probe of the model's checkpoint; all of them when no tasks are named."""
    asked = {"probe_job_id": probe_job_id, **({"tasks": tasks} if tasks else {})}
    return _json("POST", f"/v1/models/{_part(model)}/heads", json=asked)


def detach_head(model: str, task: str) -> Call[None]:
    return Call("DELETE", f"/v1/models/{_part(model)}/heads/{_part(task)}", _nothing)


def upload(image: Path) -> Call[Json]:
    """Stores an image; `id` of the answer names it in later requests. Raises OSError when it cannot be read."""
    return _json("POST", "/v1/assets", files={"file": (image.name, image.read_bytes())})


def embed(model: str, inputs: list[Json], **rest: Any) -> Call[Json]:
    """`inputs`: one object per sample, modality → text, base64 image or {"asset": id}, or numbers in lists."""
    return _json("POST", "/v1/embeddings", json={"model": model, "inputs": inputs, **rest})


def vectors(model: str, inputs: list[Json], **rest: Any) -> Call[NDArray[np.float32]]:
    """The embeddings alone (B, D), sent as bytes; `rest` as for `embed`, but for `encoding_format`."""
    asked = {"model": model, "inputs": inputs, **rest, "encoding_format": "base64"}
    return Call("POST", "/v1/embeddings", _vectors, {"json": asked})


def predict(model: str, inputs: list[Json], **rest: Any) -> Call[Json]:
    """What the model's heads say; `inputs` as for `embed`. `rest`: probe (a task or several), top."""
    return _json("POST", "/v1/predictions", json={"model": model, "inputs": inputs, **rest})


def embeddings_of(job_id: str) -> Call[Json]:
    """What an embed job has left: its files, and whose embeddings of what they are."""
    return _json("GET", f"/v1/jobs/{_part(job_id)}/embeddings")


def search(asked: Json) -> Call[Json]:
    """The nearest samples of an embedded dataset. `asked`: index, k, and inputs with model and model_digest, vector or
    sample."""
    return _json("POST", "/v1/search", json=asked)


def query_metrics(asked: Json) -> Call[Json]:
    """Curves of jobs. `asked`: job_ids, names, from_step, to_step, max_points, extremes, digits."""
    return _json("POST", "/v1/metrics/query", json=asked)


def job_metrics(job_id: str) -> Call[Json]:
    """A summary of each of the job's curves."""
    return _json("GET", f"/v1/jobs/{_part(job_id)}/metrics")


def leaderboard(name: str, better: str, **rest: str | int) -> Call[Json]:
    """Jobs by one metric, best first. `better`: lower or higher. `rest`: by, kind, state, method, dataset, tag, limit, cursor."""
    return _json("GET", "/v1/metrics/leaderboard", params={"name": name, "better": better, **rest})


def get_embedding(model: str, **modalities: str) -> Call[Json]:
    """The embedding of one sample of uploaded images and texts."""
    return _json("GET", "/v1/embeddings", params={"model": model, **modalities})


def ready() -> Call[Json]:
    """The state of the server's parts; raises ApiProblem only when it answers something else."""
    return Call("GET", "/readyz", _object, accept=(200, 503))


def metrics_file(job_id: str, form: str) -> Mapping[str, Any]:
    """The request of all points of all of the job's curves as httpx takes it. `form`: csv or tfevents."""
    return {"method": "GET", "url": f"/v1/jobs/{_part(job_id)}/metrics.{form}"}


def events(job_id: str, after: int) -> Mapping[str, Any]:
    """The request of a job's events as httpx takes it, for clients to read as they come."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    timeout = httpx.Timeout(SILENCE_S, connect=5)
    return {
        "method": "GET",
        "url": f"/v1/jobs/{_part(job_id)}/events",
        "headers": headers,
        "timeout": timeout,
    }


def _json(method: str, path: str, **request: Any) -> Call[Json]:
    return Call(method, path, _object, request)


def _object(answer: httpx.Response) -> Json:
    try:
        result = answer.json()
    except ValueError:
        result = None
    if not isinstance(result, dict):
        server = f"{answer.url.scheme}://{answer.url.netloc.decode()}"
        raise ClientError(
            f"{server} is not a Fusebox server: its answer to {answer.url.path} is no JSON object"
        )
    return result


def _text(answer: httpx.Response) -> str:
    return answer.text


def _nothing(answer: httpx.Response) -> None:
    return None


def _vectors(answer: httpx.Response) -> NDArray[np.float32]:
    import numpy as np

    rows = [base64.b64decode(each["embedding"]) for each in _object(answer)["data"]]
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1).astype(np.float32)


def _part(name: str) -> str:
    """A name as one part of a path, whatever it contains."""
    return quote(name, safe="@")
