"""The client that waits for each answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from service.client import calls
from service.client.calls import Call, Json
from service.client.errors import UnreachableError, broken_off, raise_for
from service.client.wire import DEFAULT_SERVER, ServerSent, reached

P = ParamSpec("P")
T = TypeVar("T")


def _sent(describe: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    @wraps(describe)
    def send(self: Client, /, *args: P.args, **options: P.kwargs) -> T:
        return self._answer(describe(*args, **options))

    return send


class Client:
    """One connection pool to one server. `api_key` is needed by servers that listen beyond loopback.

    Raises ClientError when either cannot be what it is said to be.
    """

    def __init__(self, server: str = DEFAULT_SERVER, api_key: str | None = None) -> None:
        self.server = server.rstrip("/")
        self._http = httpx.Client(**reached(self.server, api_key))

    @classmethod
    def from_environment(cls) -> Self:
        """FUSEBOX_SERVER and FUSEBOX_API_KEY."""
        return cls(os.environ.get("FUSEBOX_SERVER", DEFAULT_SERVER), os.environ.get("FUSEBOX_API_KEY"))

    submit = _sent(calls.submit)
    job = _sent(calls.job)
    jobs = _sent(calls.jobs)
    change_job = _sent(calls.change_job)
    cancel = _sent(calls.cancel)
    retry = _sent(calls.retry)
    attempts = _sent(calls.attempts)
    job_results = _sent(calls.job_results)
    results = _sent(calls.results)
    results_text = _sent(calls.results_text)
    replicate = _sent(calls.replicate)
    replications = _sent(calls.replications)
    replication = _sent(calls.replication)
    replication_table = _sent(calls.replication_table)
    cancel_replication = _sent(calls.cancel_replication)
    retry_replication = _sent(calls.retry_replication)
    presets = _sent(calls.presets)
    datasets = _sent(calls.datasets)
    dataset = _sent(calls.dataset)
    begin_upload = _sent(calls.begin_upload)
    uploads = _sent(calls.uploads)
    dataset_upload = _sent(calls.dataset_upload)
    send_part = _sent(calls.send_part)
    complete_upload = _sent(calls.complete_upload)
    remove_upload = _sent(calls.remove_upload)
    samples = _sent(calls.samples)
    models = _sent(calls.models)
    model = _sent(calls.model)
    set_alias = _sent(calls.set_alias)
    heads = _sent(calls.heads)
    attach_heads = _sent(calls.attach_heads)
    detach_head = _sent(calls.detach_head)
    upload = _sent(calls.upload)
    embed = _sent(calls.embed)
    vectors = _sent(calls.vectors)
    predict = _sent(calls.predict)
    embeddings_of = _sent(calls.embeddings_of)
    search = _sent(calls.search)
    query_metrics = _sent(calls.query_metrics)
    job_metrics = _sent(calls.job_metrics)
    leaderboard = _sent(calls.leaderboard)
    get_embedding = _sent(calls.get_embedding)
    ready = _sent(calls.ready)

    def events(self, job_id: str, after: int = 0) -> Iterator[Json]:
        """The job's events as they happen, from number `after` + 1 until the job has ended.

        Raises UnreachableError when the stream breaks; calling again with the last `seq` seen goes on from there.
        """
        stream = ServerSent()
        with self._streamed(calls.events(job_id, after)) as answer:
            for line in answer.iter_lines():
                event = stream.event(line)
                if event is not None:
                    yield event
                if stream.has_ended:
                    return
        raise broken_off(self.server)

    def metrics_file(self, job_id: str, form: str) -> Iterator[bytes]:
        """All points of all of the job's curves, a piece at a time: as csv, or as tfevents for TensorBoard."""
        with self._streamed(calls.metrics_file(job_id, form)) as answer:
            yield from answer.iter_bytes()

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _streamed(self, request: Mapping[str, Any]) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(**request) as answer:
                if answer.is_error:
                    answer.read()
                    raise_for(answer)
                yield answer
        except httpx.RequestError as cause:
            raise UnreachableError(self.server, cause) from cause

    def _answer(self, call: Call[T]) -> T:
        try:
            answer = self._http.request(call.method, call.path, **call.request)
        except httpx.RequestError as cause:
            raise UnreachableError(self.server, cause) from cause
        if answer.is_error and answer.status_code not in call.accept:
            raise_for(answer)
        return call.read(answer)
