"""A small client of the HTTP API, for the command line and for scripts.

    with Client("http://127.0.0.1:8000") as fusebox:
        job = fusebox.submit("train", {"dataset": "digits", "epochs": 5})
        for event in fusebox.events(job["id"]): ...

Answers are the API's own JSON (see /docs). A problem the server reports is raised as ApiProblem, a server that cannot
be reached as UnreachableError; both read as one sentence with a remedy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

Json = dict[str, Any]
DEFAULT_SERVER = "http://127.0.0.1:8000"
SILENCE_S = 40
"""An event stream says something at least every 15 seconds; one that is silent for longer is dead."""


class ClientError(Exception):
    """A request that did not succeed."""


class UnreachableError(ClientError):
    def __init__(self, server: str, cause: httpx.RequestError) -> None:
        super().__init__(
            f"no answer from {server} ({cause or type(cause).__name__}); start it with `fusebox up`, or name another "
            "with --server or FUSEBOX_SERVER"
        )


class ApiProblem(ClientError):
    """What the server said was wrong: RFC 9457, as `status`, `code`, `detail` and `faults` (pointer, detail)."""

    def __init__(self, status: int, problem: Json) -> None:
        self.status = status
        self.code = str(problem.get("code", f"http_{status}"))
        self.detail = str(problem.get("detail", "the server gave no reason"))
        self.faults = [(str(each["pointer"]), str(each["detail"])) for each in problem.get("errors", [])]
        super().__init__(self._as_text())

    def _as_text(self) -> str:
        if len(self.faults) < 2:
            return self.detail
        return "\n".join([self.detail, *(f"  {pointer}: {detail}" for pointer, detail in self.faults)])


class Client:
    """One connection pool to one server. `api_key` is needed by servers that listen beyond loopback.

    Raises ClientError when either cannot be what it is said to be.
    """

    def __init__(self, server: str = DEFAULT_SERVER, api_key: str | None = None) -> None:
        self.server = server.rstrip("/")
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise ClientError("FUSEBOX_API_KEY is not an API key; keys look like 'fbx_…'")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # A proxy of the environment has no business between two processes of one machine.
        loopback = _host(self.server) in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            base_url=self.server,
            headers=headers,
            timeout=httpx.Timeout(30, connect=5),
            trust_env=not loopback,
        )

    @classmethod
    def from_environment(cls) -> Self:
        """FUSEBOX_SERVER and FUSEBOX_API_KEY."""
        return cls(os.environ.get("FUSEBOX_SERVER", DEFAULT_SERVER), os.environ.get("FUSEBOX_API_KEY"))

    def submit(
        self, kind: str, spec: Json, *, dry_run: bool = False, key: str | None = None, **rest: Any
    ) -> Json:
        """The new job, or with `dry_run` what would run. `rest`: preset, name, tags, priority, max_attempts, after."""
        headers = {"Idempotency-Key": key} if key else {}
        query = {"dry_run": "true"} if dry_run else {}
        return self._json(
            "POST", "/v1/jobs", json={"kind": kind, "spec": spec, **rest}, params=query, headers=headers
        )

    def job(self, job_id: str) -> Json:
        return self._json("GET", f"/v1/jobs/{_part(job_id)}")

    def jobs(self, **filters: str | int) -> Json:
        """A page of jobs, newest first. `filters`: kind, state, method, dataset, tag, limit, cursor."""
        return self._json("GET", "/v1/jobs", params=filters)

    def cancel(self, job_id: str) -> Json:
        return self._json("POST", f"/v1/jobs/{_part(job_id)}/cancel")

    def retry(self, job_id: str) -> Json:
        return self._json("POST", f"/v1/jobs/{_part(job_id)}/retry")

    def events(self, job_id: str, after: int = 0) -> Iterator[Json]:
        """The job's events as they happen, from number `after` + 1 until the job has ended.

        Raises UnreachableError when the stream breaks; calling again with the last `seq` seen goes on from there.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        timeout = httpx.Timeout(SILENCE_S, connect=5)
        try:
            with self._http.stream(
                "GET", f"/v1/jobs/{_part(job_id)}/events", headers=headers, timeout=timeout
            ) as answer:
                if answer.is_error:
                    answer.read()
                    _raise_for(answer)
                yield from _server_sent(answer.iter_lines())
        except httpx.RequestError as cause:
            raise UnreachableError(self.server, cause) from cause

    def attempts(self, job_id: str) -> Json:
        """Which workers have tried it, and how each attempt ended."""
        return self._json("GET", f"/v1/jobs/{_part(job_id)}/attempts")

    def job_results(self, job_id: str) -> Json:
        """What a probe has measured."""
        return self._json("GET", f"/v1/jobs/{_part(job_id)}/results")

    def results(self, **filters: str) -> Json:
        return self._json("GET", "/v1/results", params=filters)

    def results_text(self, **filters: str) -> str:
        """The same as it is sent; `filters` may name a table, and the format to have it in."""
        return self._answer("GET", "/v1/results", params=filters).text

    def replicate(self, table: str, *, dry_run: bool = False, key: str | None = None, **rest: Any) -> Json:
        """The new replication, or with `dry_run` what it would come to. `rest`: methods, columns, seeds, changes, probe,
        tags, priority, max_attempts."""
        headers = {"Idempotency-Key": key} if key else {}
        query = {"dry_run": "true"} if dry_run else {}
        return self._json(
            "POST", "/v1/replications", json={"table": table, **rest}, params=query, headers=headers
        )

    def replications(self, **filters: str | int) -> Json:
        """A page of replications, newest first. `filters`: table, limit, cursor."""
        return self._json("GET", "/v1/replications", params=filters)

    def replication(self, replication_id: str, *, results: bool = True) -> Json:
        """Without `results`, only how far it is."""
        return self._json("GET", f"/v1/replications/{_part(replication_id)}", params={"results": results})

    def replication_table(self, replication_id: str, form: str) -> str:
        """The table as its trainings fill it, as the server writes it: json, csv, markdown or latex."""
        path = f"/v1/replications/{_part(replication_id)}/results"
        return self._answer("GET", path, params={"format": form}).text

    def cancel_replication(self, replication_id: str) -> Json:
        return self._json("POST", f"/v1/replications/{_part(replication_id)}/cancel")

    def retry_replication(self, replication_id: str) -> Json:
        return self._json("POST", f"/v1/replications/{_part(replication_id)}/retry")

    def presets(self) -> Json:
        return self._json("GET", "/v1/presets")

    def datasets(self) -> Json:
        return self._json("GET", "/v1/datasets")

    def dataset(self, name: str) -> Json:
        return self._json("GET", f"/v1/datasets/{_part(name)}")

    def begin_upload(self, name: str, made_from: str, options: Json, **rest: Any) -> Json:
        """The new upload; its file is sent by `send_part`. `rest`: size_bytes, sha256."""
        return self._json(
            "POST", "/v1/datasets", json={"name": name, "format": made_from, "options": options, **rest}
        )

    def uploads(self, name: str) -> Json:
        return self._json("GET", "/v1/datasets/uploads", params={"name": name})

    def dataset_upload(self, upload_id: str) -> Json:
        return self._json("GET", f"/v1/datasets/uploads/{_part(upload_id)}")

    def send_part(self, upload_id: str, offset: int, content: bytes) -> int:
        """Adds to what has arrived, which must be `offset` bytes; returns how many there are then."""
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        answer = self._answer(
            "PATCH", f"/v1/datasets/uploads/{_part(upload_id)}", content=content, headers=headers
        )
        return int(answer.headers["Upload-Offset"])

    def complete_upload(self, upload_id: str) -> Json:
        return self._json("POST", f"/v1/datasets/uploads/{_part(upload_id)}/complete")

    def remove_upload(self, upload_id: str) -> None:
        self._answer("DELETE", f"/v1/datasets/uploads/{_part(upload_id)}")

    def samples(self, name: str, **asked: str | int) -> Json:
        """`asked`: split, offset, limit."""
        return self._json("GET", f"/v1/datasets/{_part(name)}/samples", params=asked)

    def models(self) -> Json:
        return self._json("GET", "/v1/models")

    def model(self, model: str) -> Json:
        return self._json("GET", f"/v1/models/{_part(model)}")

    def set_alias(self, alias: str, model: str) -> Json:
        return self._json("PUT", f"/v1/aliases/{_part(alias)}", json={"model": model})

    def heads(self, model: str) -> Json:
        return self._json("GET", f"/v1/models/{_part(model)}/heads")

    def attach_heads(self, model: str, probe_job_id: str, tasks: list[str] | None = None) -> Json:
        """Those of a probe of the model's checkpoint; all of them when no tasks are named."""
        asked = {"probe_job_id": probe_job_id, **({"tasks": tasks} if tasks else {})}
        return self._json("POST", f"/v1/models/{_part(model)}/heads", json=asked)

    def detach_head(self, model: str, task: str) -> None:
        self._answer("DELETE", f"/v1/models/{_part(model)}/heads/{_part(task)}")

    def upload(self, image: Path) -> Json:
        """Stores an image; `id` of the answer names it in later requests. Raises OSError when it cannot be read."""
        return self._json("POST", "/v1/assets", files={"file": (image.name, image.read_bytes())})

    def embed(self, model: str, inputs: list[Json], **rest: Any) -> Json:
        """`inputs`: one object per sample, modality → text, base64 image or {"asset": id}, or numbers in lists."""
        return self._json("POST", "/v1/embeddings", json={"model": model, "inputs": inputs, **rest})

    def predict(self, model: str, inputs: list[Json], **rest: Any) -> Json:
        """What the model's heads say; `inputs` as for `embed`. `rest`: probe (a task or several), top."""
        return self._json("POST", "/v1/predictions", json={"model": model, "inputs": inputs, **rest})

    def get_embedding(self, model: str, **modalities: str) -> Json:
        """The embedding of one sample of uploaded images and texts."""
        return self._json("GET", "/v1/embeddings", params={"model": model, **modalities})

    def ready(self) -> Json:
        """The state of the server's parts; raises ApiProblem only when it answers something else."""
        return self._json("GET", "/readyz", accept=(200, 503))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(
        self, method: str, path: str, *, accept: tuple[int, ...] = (), **request: Any
    ) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.RequestError as cause:
            raise UnreachableError(self.server, cause) from cause
        if answer.is_error and answer.status_code not in accept:
            _raise_for(answer)
        return answer

    def _json(self, method: str, path: str, *, accept: tuple[int, ...] = (), **request: Any) -> Json:
        answer = self._answer(method, path, accept=accept, **request)
        try:
            result = answer.json()
        except ValueError:
            result = None
        if not isinstance(result, dict):
            raise ClientError(
                f"{self.server} is not a Fusebox server: its answer to {path} is no JSON object"
            )
        return result


def _host(server: str) -> str:
    try:
        return httpx.URL(server).host
    except httpx.InvalidURL as error:
        raise ClientError(
            f"{server!r} is not the address of a server ({error}); write {DEFAULT_SERVER}"
        ) from None


def _part(name: str) -> str:
    """A name as one part of a path, whatever it contains."""
    return quote(name, safe="@")


def _raise_for(answer: httpx.Response) -> None:
    """Something between us and the server may answer in its own words, which are then not JSON."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    raise ApiProblem(
        answer.status_code,
        problem
        if isinstance(problem, dict)
        else {"detail": f"HTTP {answer.status_code} {answer.reason_phrase}"},
    )


def _server_sent(lines: Iterator[str]) -> Iterator[Json]:
    """The JSON objects of an event stream, until its `end` event."""
    kind, data = "message", ""
    for line in lines:
        if line.startswith("event:"):
            kind = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
        elif not line:
            if kind == "end":
                return
            if data:
                yield json.loads(data)
            kind, data = "message", ""
