"""Jobs are followed until they end, whatever happens to the server meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from service.cli.following import assert_succeeded, follow
from service.client import ApiProblem, Client, ClientError, Json
from service.one_machine.parts import StartError
from service.one_machine.up import LocalService
from tests.processes import eventually
from tests.service.one_machine.test_up import SMALL, local


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    with LocalService(local(tmp_path_factory.mktemp("following"))) as service:
        yield service


@pytest.fixture
def client(service: LocalService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def long_job(client: Client) -> Json:
    return client.submit("train", {**SMALL, "epochs": 10_000})


def test_several_jobs_are_followed_to_their_ends(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [client.submit("train", {**SMALL, "seed": seed}) for seed in (1, 2)]
    ended = follow(client, jobs, ["first", "second"], told=("state",))
    assert [(job["id"], job["state"]) for job in ended] == [(job["id"], "succeeded") for job in jobs]
    told = capsys.readouterr().out
    assert "first running" in told
    assert "second running" in told


def test_jobs_that_have_ended_are_not_waited_for(client: Client) -> None:
    job = client.submit("train", SMALL)
    ended = follow(client, [job])
    assert follow(client, ended) == ended


@pytest.mark.slow
def test_a_killed_api_does_not_end_the_following(service: LocalService, client: Client) -> None:
    job = long_job(client)
    ended: list[Json] = []
    follower = threading.Thread(target=lambda: ended.extend(follow(client, [job])))
    follower.start()
    eventually(lambda: client.job(job["id"])["state"] == "running", 60)
    killed = service.pids["api"]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: service.pids.get("api") not in (None, killed), 60)
    assert follower.is_alive()
    with Client(service.url) as another:
        another.cancel(job["id"])
    follower.join(60)
    assert [job["state"] for job in ended] == ["cancelled"]
    with pytest.raises(ClientError, match="the job cancelled: user_cancelled"):
        assert_succeeded(ended[0])


def test_a_job_that_is_not_there_ends_the_following(client: Client) -> None:
    with pytest.raises(ApiProblem, match="there is no job 'nothing'"):
        follow(client, [{"id": "nothing", "state": "queued", "progress": {}}])


def test_what_the_check_raises_ends_the_following(client: Client) -> None:
    job = long_job(client)

    def check() -> None:
        raise StartError("it is all over")

    with pytest.raises(StartError, match="it is all over"):
        follow(client, [job], check=check)
    client.cancel(job["id"])


@pytest.mark.parametrize("while_starting", [False, True])
def test_a_client_that_is_closed_once_the_following_has_ended_is_no_error(
    service: LocalService, client: Client, monkeypatch: pytest.MonkeyPatch, while_starting: bool
) -> None:
    """A thread that reads events may be between two requests just then."""
    job, others, closed = long_job(client), threading.enumerate(), threading.Event()
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)

    class Late(Client):
        def events(self, job_id: str, after: int = 0) -> Iterator[Json]:
            assert closed.wait(10)
            yield from super().events(job_id, after)

    def interrupted() -> None:
        raise KeyboardInterrupt

    class Started(threading.Thread):
        def start(self) -> None:
            super().start()
            interrupted()

    if while_starting:
        monkeypatch.setattr("service.cli.following.threading.Thread", Started)
    with Late(service.url) as late, pytest.raises(KeyboardInterrupt):
        follow(late, [job], check=interrupted)
    closed.set()
    for thread in threading.enumerate():
        if thread not in others:
            thread.join(10)
    assert raised == []
    client.cancel(job["id"])
