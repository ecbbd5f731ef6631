"""A table as one request, with real workers and trainings: `fusebox replicate` from the plan to the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.client import Client
from service.one_machine.up import LocalService
from service.settings import Settings

METHODS = ("comm", "infmasking")
SEEDS = (42, 43)


@pytest.fixture
def fusebox(settings: Settings) -> Iterator[LocalService]:
    with LocalService(settings.model_copy(update={"port": 0}), workers=2) as service:
        yield service


@pytest.fixture
def client(fusebox: LocalService) -> Iterator[Client]:
    with Client(fusebox.url) as client:
        yield client


def replicated(client: Client, *more: str) -> str:
    """What the command prints."""
    small = ("dataset.n_pairs=256", "batch_size=32", "epochs=1")
    arguments = ["replicate", "digits", "--seeds", str(len(SEEDS)), "--server", client.server, *more]
    for name, values in (("--method", METHODS), ("--set", small)):
        arguments += [part for value in values for part in (name, value)]
    answer = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert answer.exit_code == 0, (answer.output, answer.exception)
    return answer.output


@pytest.mark.slow
def test_a_table_is_replicated_by_two_workers_and_a_second_time_costs_nothing(client: Client) -> None:
    output = replicated(client)
    (replication,) = client.replications()["data"]
    assert (replication["state"], replication["counts"]) == ("succeeded", {"succeeded": 4})
    for method in METHODS:
        for seed in SEEDS:
            assert f"{method}, seed {seed}: succeeded\n" in output

    whole = client.replication(replication["id"])
    shown = {row["id"]: row["cells"] for row in whole["results"]["rows"]}
    asked = {"dataset": "digits", "task": "synergy", "metric": "macro_accuracy", "split": "test"}
    (of_all,) = client.results(**asked, method="comm")["data"]
    synergy = next(cell for cell in shown["comm"] if cell["column"] == "synergy")
    assert (synergy["mean"], synergy["std"], synergy["n"]) == (of_all["mean"], of_all["std"], 2)
    assert synergy["job_ids"] == of_all["job_ids"]
    for method in METHODS:
        assert all(0 < cell["mean"] < 1 for cell in shown[method])
    assert output.endswith(client.replication_table(replication["id"], "markdown"))
    assert [each["trainings"] for each in whole["made_on"]] == [4]

    jobs = [client.job(cell[kind]["id"]) for cell in whole["cells"] for kind in ("training", "probe")]
    workers = {attempt["worker"] for job in jobs for attempt in attempts(client, job["id"])}
    assert len(workers) == 2
    assert any(together(one, other) for one in jobs for other in jobs if one["id"] < other["id"])
    for cell in whole["cells"]:
        training, probe = client.job(cell["training"]["id"]), client.job(cell["probe"]["id"])
        assert training["finished_at"] <= probe["started_at"]

    again = replicated(client)
    assert "0 trainings with 0 steps and 0 probes to run; 8 jobs are there already" in again
    assert len(client.jobs(limit=200)["data"]) == 8
    more = replicated(client, "--seeds", "3", "--dry-run")
    assert "2 trainings with 16 steps and 2 probes to run" in more
    assert "differ by their seed only" in more


def attempts(client: Client, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.attempts(job_id)["data"]
    return found


def together(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both were at work at some moment."""
    return bool(one["started_at"] < other["finished_at"] and other["started_at"] < one["finished_at"])
