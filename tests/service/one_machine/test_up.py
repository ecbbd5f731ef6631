"""One command runs everything and keeps it running, and nothing outlives it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from service.client import Client
from service.one_machine.api import environment
from service.one_machine.parts import StartError
from service.one_machine.up import LocalService
from service.settings import Settings
from tests.processes import eventually, is_gone

SMALL = {
    "dataset": {"name": "digits", "n_pairs": 64},
    "model": {"dim": 8, "heads": 2, "head_hidden": 8, "head_out": 8},
    "batch_size": 32,
    "epochs": 1,
    "threads": 1,
}


def local(data_dir: Path, **changes: object) -> Settings:
    """Settings of a service on this machine, whatever the environment of the tests says."""
    nothing = {"FUSEBOX_DATABASE_URL": "", "FUSEBOX_REDIS_URL": ""}
    return Settings(data_dir=data_dir, port=0, lease_s=3, heartbeat_s=0.5, reconcile_s=0.5, ring_again_s=1, quiet_s=3600, **nothing, **changes)  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    with LocalService(local(tmp_path_factory.mktemp("up"))) as service:
        yield service


def answer(service: LocalService, path: str = "/readyz") -> httpx.Response:
    return httpx.get(service.url + path, timeout=30, trust_env=False)


def test_all_parts_run_and_the_service_says_that_it_is_ready(running: LocalService) -> None:
    assert set(running.pids) == {"redis", "worker-1", "api"}
    assert answer(running).json()["status"] == "ok"


def test_the_api_need_not_wait_for_what_workers_compute(running: LocalService) -> None:
    assert os.sched_getscheduler(running.pids["api"]) == os.SCHED_OTHER


@pytest.mark.parametrize("part", ["api", "worker-1", "redis"])
def test_a_part_that_is_killed_is_started_again_at_the_same_address(running: LocalService, part: str) -> None:
    url, killed = running.url, running.pids[part]
    os.kill(killed, signal.SIGKILL)
    assert answer(running, "/livez").status_code == 200  # waits in the socket while there is no API
    eventually(lambda: running.pids.get(part) not in (None, killed), 60)
    assert running.url == url
    eventually(lambda: answer(running).json()["status"] == "ok", 60, every_s=0.3)


def test_after_all_parts_were_killed_jobs_are_still_done(running: LocalService) -> None:
    with Client(running.url) as client:
        job = client.submit("train", SMALL)["id"]
        ended = eventually(lambda: (found := client.job(job))["finished_at"] and found, 120, every_s=0.3)
    assert (ended["state"], ended["error"]) == ("succeeded", None)


def test_a_second_one_in_the_same_folder_is_refused_and_told_by_whom(running: LocalService) -> None:
    folder = running._settings.data_dir
    with pytest.raises(StartError, match=rf"in use by another `fusebox up` \(process {os.getpid()}\)"):
        LocalService(local(folder)).start()
    refused = subprocess.run(
        [sys.executable, "-m", "service.cli", "up"],
        env=environment(local(folder)), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"(process {os.getpid()})" in refused.stderr
    assert answer(running, "/livez").status_code == 200


def test_a_port_that_is_taken_is_named_and_nothing_stays_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*--port"):
            LocalService(local(tmp_path).model_copy(update={"port": port})).start()
    assert not [each for each in psutil.Process().children(True) if str(tmp_path) in str(each.cmdline())]
    with LocalService(local(tmp_path)):  # the folder is free again
        pass


def started(data_dir: Path) -> tuple[subprocess.Popen[str], str, list[int]]:
    """`fusebox up` as a process of its own, its address, and the ids of all processes below it."""
    command = [sys.executable, "-m", "service.cli", "up"]
    up = subprocess.Popen(
        command, env=environment(local(data_dir)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert up.stdout is not None
    url = ""
    for line in up.stdout:
        url = url or "".join(re.findall(r"dashboard +(http://\S+)/", line))
        if "Ctrl-C" in line:
            break
    assert url, "it did not start"
    return up, url, [each.pid for each in psutil.Process(up.pid).children(recursive=True)]


def test_nothing_outlives_it_when_it_is_killed(tmp_path: Path) -> None:
    up, url, below = started(tmp_path)
    assert len(below) >= 3
    with Client(url) as client:
        client.submit("train", {**SMALL, "epochs": 1000})
        eventually(lambda: client.jobs(state="running")["data"], 60)
    below = [each.pid for each in psutil.Process(up.pid).children(recursive=True)]
    assert len(below) >= 4  # the runner too
    up.kill()
    up.communicate()
    for pid in below:
        eventually(lambda pid=pid: is_gone(pid), 45)  # type: ignore[misc]


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_it_stops_all_parts_and_ends_well(tmp_path: Path, asked: signal.Signals) -> None:
    up, url, below = started(tmp_path)
    up.send_signal(asked)
    output, _ = up.communicate(timeout=60)
    assert up.returncode == 0, output
    assert all(is_gone(pid) for pid in below)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/livez", trust_env=False)


@pytest.mark.slow
def test_a_job_that_was_running_goes_on_when_it_is_started_again(tmp_path: Path) -> None:
    settings = local(tmp_path)
    with LocalService(settings) as service, Client(service.url) as client:
        job = client.submit("train", {**SMALL, "epochs": 60})["id"]
        eventually(lambda: client.job(job)["progress"].get("step", 0) > 4, 60, every_s=0.1)
    with LocalService(settings) as service, Client(service.url) as client:
        ended = eventually(lambda: (found := client.job(job))["finished_at"] and found, 120, every_s=0.3)
    assert ended["state"] == "succeeded"
    assert ended["crashes"] == 0
    assert ended["attempt"] == 2


def test_settings_with_which_no_part_can_run_end_it_with_a_reason(tmp_path: Path) -> None:
    began = time.monotonic()
    settings = local(tmp_path).model_copy(update={"host": "0.0.0.0"})
    with pytest.raises(Exception, match="without API keys"):
        LocalService(settings).start()
    assert time.monotonic() - began < 20
