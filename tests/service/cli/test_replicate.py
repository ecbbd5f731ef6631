"""`fusebox replicate` and `fusebox replications`, against a service without workers: the test does what they would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from service.cli import app
from service.cli.grid import drawn
from service.cli.terminal import COMPLAINTS
from service.client import Client
from service.db import Sessions, make_engine, make_sessions
from service.one_machine.up import LocalService
from tests.processes import eventually
from tests.service.one_machine.test_up import local
from tests.service.rows import settled, started
from tests.service.test_replications import run_all

SMALL = ("--set", "dataset.n_pairs=256", "--set", "batch_size=32", "--set", "epochs=1")
COMM = ("digits", "--method", "comm", "--column", "synergy")
ID = re.compile(r"^replication_[0-9a-f]{22}$", re.MULTILINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Sessions]]:
    settings = local(tmp_path_factory.mktemp("replicate"))
    with LocalService(settings, workers=0) as service:
        engine = make_engine(settings.effective_database_url)
        yield service.url, make_sessions(engine)
        engine.dispose()


@pytest.fixture
def url(server: tuple[str, Sessions]) -> str:
    return server[0]


@pytest.fixture
def sessions(server: tuple[str, Sessions]) -> Sessions:
    return server[1]


def fusebox(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--server", url], env={"COLUMNS": "200"})


def id_in(output: str) -> str:
    found = ID.search(output)
    assert found, output
    return found[0]


def job(state: str, **rest: Any) -> dict[str, Any]:
    return {
        "id": "job_1",
        "state": state,
        "reason": None,
        "error": None,
        "progress": {},
        "reused": False,
    } | rest


def cell(row: str, seed: int, state: str, training: Any, probe: Any, preset_row: str = "p") -> dict[str, Any]:
    return {
        "row": row, "preset_row": preset_row, "seed": seed, "state": state, "training": training, "probe": probe
    }  # fmt: skip


def shown(cells: list[dict[str, Any]]) -> list[str]:
    counts: dict[str, int] = {}
    for each in cells:
        counts[each["state"]] = counts.get(each["state"], 0) + 1
    file = StringIO()
    Console(file=file, width=100).print(drawn({"cells": cells, "counts": counts}))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_the_grid_has_a_mark_for_each_cell_and_says_what_went_wrong() -> None:
    running = job("running", progress={"step": 30, "total": 120, "eta_s": 90.0})
    failed = job("failed", error="the loss is [red]NaN[/]")
    lines = shown(
        [
            cell("comm", 42, "succeeded", job("succeeded"), job("succeeded")),
            cell("comm", 43, "running", running, job("queued")),
            cell("infmasking", 42, "failed", failed, job("cancelled", reason="dependency_failed")),
            cell("infmasking", 43, "queued", job("queued"), job("queued")),
            cell("mae", 42, "running", job("succeeded"), job("running")),
            cell("mae", 43, "lost", None, None),
        ]
    )
    assert [line.split() for line in lines[:4]] == [
        ["seed", "42", "seed", "43"],
        ["comm", "✓", "▸", "25", "%"],
        ["infmasking", "✗", "·"],
        ["mae", "▸", "probe", "?"],
    ]
    assert lines[4] == "1 queued, 2 running, 1 succeeded, 1 failed, 1 lost; the longest at work ends in 90 s"
    assert lines[5:] == ["infmasking, seed 42: the loss is [red]NaN[/]"]


def test_a_row_with_several_presets_has_a_line_for_each() -> None:
    done = (job("succeeded"), job("succeeded"))
    lines = shown(
        [cell("comm", 42, "succeeded", *done, preset_row=name) for name in ("synergy", "uniqueness")]
    )
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["comm", "·", "synergy"],
        ["comm", "·", "uniqueness"],
    ]


def test_a_dry_run_says_what_would_run_and_stores_nothing(url: str) -> None:
    before = fusebox(url, "replications", "list").output
    answer = fusebox(url, "replicate", *COMM, "--seeds", "2", *SMALL, "--dry-run")
    assert answer.exit_code == 0, answer.output
    assert "2 trainings with 16 steps and 2 probes to run" in answer.output
    assert "how long is not known: nothing like" in answer.output
    assert fusebox(url, "replications", "list").output == before


def test_it_is_followed_to_its_end_and_the_table_is_printed_as_the_server_writes_it(
    url: str, sessions: Sessions
) -> None:
    answers: list[Result] = []
    asked = ("replicate", *COMM, "--seeds", "7,8", *SMALL)
    command = threading.Thread(target=lambda: answers.append(fusebox(url, *asked)))
    command.start()
    with Client(url) as client:
        eventually(lambda: client.replications()["data"])
    run_all(sessions)
    command.join(30)
    (answer,) = answers
    assert answer.exit_code == 0, answer.output
    replication = id_in(answer.output)
    assert "comm, seed 7: succeeded\n" in answer.output
    with Client(url) as client:
        table = client.replication_table(replication, "markdown")
    assert answer.output.endswith(table)
    assert "| CoMM | here |" in table
    again = fusebox(url, *asked, "--format", "csv")
    assert "0 trainings with 0 steps and 0 probes to run; 4 jobs are there already" in again.output
    assert "about 0 s" in again.output
    with Client(url) as client:
        assert again.output.endswith(
            client.replication_table(id_in(again.output), "csv").replace("\r\n", "\n")
        )
    assert fusebox(url, "replicate", "--attach", replication).output == "\n".join(
        ["comm, seed 7: succeeded", "comm, seed 8: succeeded", table]
    )
    listed = fusebox(url, "replications", "list", "--table", "digits").output
    assert re.search(rf"{replication} +digits +succeeded +2/2", listed)


def test_a_cell_that_failed_is_told_and_ends_with_status_1_and_its_remedy(
    url: str, sessions: Sessions
) -> None:
    made = fusebox(url, "replicate", *COMM, "--seeds", "20,", *SMALL, "--no-watch")
    assert made.exit_code != 0, "that is no list"
    made = fusebox(url, "replicate", *COMM, "--seeds", "20,21", *SMALL, "--no-watch")
    assert made.exit_code == 0, made.output
    replication = id_in(made.output)
    settled(sessions, started(sessions), "failed", "non_finite_loss", "the loss is NaN in step 3")
    run_all(sessions)
    answer = fusebox(url, "replicate", "--attach", replication)
    assert answer.exit_code == 1
    assert re.search(r"^comm, seed 2[01]: failed, the loss is NaN in step 3$", answer.output, re.MULTILINE)
    assert "| CoMM | here |" in answer.output, "what there is is shown"
    assert isinstance(answer.exception, COMPLAINTS)
    assert str(answer.exception).startswith("1 of 2 cells have not succeeded")
    assert f"fusebox replications retry {replication}" in str(answer.exception)
    assert fusebox(url, "replications", "retry", replication).output == "running\n"
    run_all(sessions)
    assert fusebox(url, "replicate", "--attach", replication).exit_code == 0


def test_ctrl_c_leaves_the_jobs_and_says_how_to_come_back(url: str) -> None:
    made = fusebox(url, "replicate", *COMM, "--seeds", "30,31", *SMALL, "--no-watch")
    replication = id_in(made.output)
    with Client(url) as client:
        client.cancel(client.replication(replication)["cells"][0]["training"]["id"])
    follower = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "replicate", "--attach", replication, "--server", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    try:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "comm, seed 30: cancelled\n", "it is at it by now"
        follower.send_signal(signal.SIGINT)
        shown, complained = follower.communicate(timeout=30)
    finally:
        follower.kill()
    assert (follower.returncode, complained) == (130, "")
    assert shown.endswith(
        f"The jobs go on. Come back to them with: fusebox replicate --attach {replication}\n"
    )
    with Client(url) as client:
        assert client.replication(replication)["counts"] == {"cancelled": 1, "queued": 1}
    assert fusebox(url, "replications", "cancel", replication).output == "cancelled\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a table"),
        (("digits", "--attach", "replication_x"), "name a table"),
        (("digits", "--seeds", "many"), "--seeds many: give how many"),
        (("digits", "--set", "epochs"), "give PATH=VALUE"),
        (("nothing",), "there is no table 'nothing'"),
        (("--attach", "replication_x"), "there is no replication 'replication_x'"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(url: str, arguments: tuple[str, ...], said: str) -> None:
    answer = fusebox(url, "replicate", *arguments)
    assert answer.exit_code == 1
    assert said in str(answer.exception)


def test_a_job_is_submitted_after_another(url: str) -> None:
    spec = ("--set", "dataset.name=digits", *SMALL)
    training = fusebox(url, "jobs", "submit", *spec).output.strip()
    after = ("--kind", "probe", "--set", f"run={training}", "--after", training)
    probe = fusebox(url, "jobs", "submit", *after).output.strip()
    with Client(url) as client:
        assert client.job(probe)["after_id"] == training
        client.cancel(training)
        assert client.job(probe)["reason"] == "dependency_failed"
