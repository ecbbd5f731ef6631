"""Several API processes answer at one address as one would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import httpx
import psutil
import pytest

from service.one_machine.api import environment, of_each
from service.one_machine.parts import EXIT_REFUSED
from service.one_machine.up import LocalService
from service.settings import Settings
from tests.processes import eventually, is_gone
from tests.service.one_machine.test_up import answer, local


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """Two of them."""
    settings = local(tmp_path_factory.mktemp("up"), api_processes=2)
    with LocalService(settings, workers=0) as service:
        eventually(lambda: is_well(service), 60, every_s=0.3)
        yield service


def is_well(service: LocalService) -> bool:
    return bool(answer(service).json()["status"] == "ok")


def asked(service: LocalService, path: str, times: int) -> None:
    """By new connections, many at once, so that no process gets them all."""
    with ThreadPoolExecutor(16) as pool:
        for each in pool.map(lambda _: answer(service, path), range(times)):
            assert each.status_code == 200


def answered(service: LocalService, path: str) -> float:
    labels = rf'\{{method="GET",route="{path}",status="200"\}}'
    found = re.search(
        rf"fusebox_http_request_duration_seconds_count{labels} (\S+)", answer(service, "/metrics").text
    )
    return float(found[1]) if found else 0.0


def test_all_of_them_run_and_are_ready(pair: LocalService) -> None:
    assert set(pair.pids) == {"redis", "api-1", "api-2"}
    apis = (pair.pids["api-1"], pair.pids["api-2"])
    assert {os.sched_getscheduler(pid) for pid in apis} == {os.SCHED_BATCH}, "no worker wants the same CPUs"
    assert "fusebox_api_processes 2.0" in answer(pair, "/metrics").text


def test_what_they_count_is_told_together_whoever_is_asked(pair: LocalService) -> None:
    asked(pair, "/v1/models", 200)
    eventually(lambda: {answered(pair, "/v1/models") for _ in range(20)} == {200}, 30)


def test_the_others_answer_while_one_is_started_again_and_counts_go_on(pair: LocalService) -> None:
    asked(pair, "/v1/datasets", 100)
    seen_before = max(answered(pair, "/v1/datasets") for _ in range(10))  # by both of them
    killed = pair.pids["api-1"]
    os.kill(killed, signal.SIGKILL)
    seen = answer(pair).json()
    assert answer(pair, "/livez").status_code == 200
    assert seen["parts"]["inference"]["state"] in ("ok", "degraded")
    eventually(lambda: pair.pids.get("api-1") not in (None, killed), 60)
    eventually(lambda: is_well(pair), 60, every_s=0.3)
    assert answered(pair, "/v1/datasets") >= seen_before > 0


def test_one_that_says_nothing_any_more_is_told_by_the_others(tmp_path: Path) -> None:
    settings = local(tmp_path, api_processes=2, inference_stall_s=3)
    with LocalService(settings, workers=0) as service:
        eventually(lambda: is_well(service), 60, every_s=0.3)
        hung = service.pids["api-1"]
        os.kill(hung, signal.SIGSTOP)
        try:

            def failed() -> bool:
                """It may be the hung one that takes the connection, which answers nothing."""
                try:
                    got = httpx.get(service.url + "/readyz", timeout=1, trust_env=False)
                except httpx.TimeoutException:
                    return False
                return got.status_code == 503 and f"API process {hung} has said nothing" in got.text

            eventually(failed, 60, every_s=0.3)
        finally:
            os.kill(hung, signal.SIGCONT)
        eventually(lambda: is_well(service), 60, every_s=0.3)


def test_each_gets_its_share_of_what_one_would_have() -> None:
    whole = Settings(
        inference_threads=8, inference_cache_bytes=900, inference_token_cache_bytes=300, search_bytes=2
    )
    assert of_each(whole) == whole
    each = of_each(whole.model_copy(update={"api_processes": 3}))
    assert each.inference_threads == 3  # rounded up: a CPU that nobody uses helps nobody
    assert (each.inference_cache_bytes, each.inference_token_cache_bytes, each.search_bytes) == (300, 100, 1)
    alone = Settings(inference_threads=0, api_processes=64)
    assert of_each(alone).inference_threads == 1


def serving(folder: Path, *words: str, **changes: object) -> subprocess.Popen[str]:
    settings = local(folder, **changes)
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", *words],
        env=environment(settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def address(output: IO[str] | None) -> str:
    assert output is not None
    for line in output:
        if found := re.search(r"2 API processes answer at (\S+)", line):
            return found[1]
    raise AssertionError("it did not start")


@pytest.mark.parametrize("asked_by", [signal.SIGINT, signal.SIGTERM])
def test_serve_runs_several_by_itself_and_ends_them(tmp_path: Path, asked_by: signal.Signals) -> None:
    with serving(tmp_path, "migrate") as process:
        assert process.wait(60) == 0
    with serving(tmp_path, "serve", "--api-processes", "2") as process:
        try:
            url = address(process.stdout)
            metrics = f"{url}/metrics"
            eventually(lambda: "fusebox_api_processes 2.0" in httpx.get(metrics, trust_env=False).text, 60)
            below = [each.pid for each in psutil.Process(process.pid).children(recursive=True)]
            assert len(below) == 2
            process.send_signal(asked_by)
            said, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert all(is_gone(pid) for pid in below)
    assert "Traceback" not in said


def test_serve_refuses_what_one_process_would_refuse(tmp_path: Path) -> None:
    with serving(tmp_path, "serve", "--api-processes", "2") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == EXIT_REFUSED
    assert "migrate" in said
