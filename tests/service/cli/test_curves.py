"""`fusebox jobs metrics` shows a job's curves, and writes all their points as files that are whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.db import make_engine, make_sessions, migrate
from service.one_machine.up import LocalService
from tests.service.metrics.test_metrics import NAN, logged
from tests.service.one_machine.test_up import local
from tests.service.rows import trained
from tests.service.test_client_and_cli import refusal

HOSTILE = "[red]=1+1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A service without workers: its address, and a job with two curves."""
    settings = local(tmp_path_factory.mktemp("curves"))
    migrate(settings.effective_database_url)
    engine = make_engine(settings.effective_database_url)
    sessions = make_sessions(engine)
    job_id = trained(sessions)
    logged(sessions, job_id, [(1, 0.5), (2, NAN)], name=HOSTILE)
    logged(sessions, job_id, [(step, 1 / step) for step in range(1, 2_000)], name="loss")
    engine.dispose()
    with LocalService(settings, workers=0) as service:
        yield service.url, job_id


def test_curves_are_a_table_of_their_summaries(place: tuple[str, str]) -> None:
    server, job_id = place
    answer = CliRunner().invoke(app, ["jobs", "metrics", job_id], env={"FUSEBOX_SERVER": server})
    assert answer.exit_code == 0, answer.output
    lines = [line.split() for line in answer.output.strip().splitlines()]
    assert [HOSTILE, "2", "2", "0.5", "0.5", "0.5"] in lines
    assert ["loss", "1,999", "1999", "0.00050025", "0.004091", "0.00050025", "1"] in lines


def test_all_points_are_written_as_csv_and_for_tensorboard(place: tuple[str, str], tmp_path: Path) -> None:
    server, job_id = place
    command = [
        "jobs",
        "metrics",
        job_id,
        "--csv",
        str(tmp_path / "all.csv"),
        "--tensorboard",
        str(tmp_path / "tb"),
    ]
    answer = CliRunner().invoke(app, command, env={"FUSEBOX_SERVER": server})
    assert answer.exit_code == 0, answer.output
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 1 + 2_001
    (events,) = (tmp_path / "tb" / job_id).iterdir()
    assert events.name == f"events.out.tfevents.{job_id}"
    assert events.read_bytes().count(HOSTILE.encode()) == 2


def test_what_cannot_be_had_leaves_no_file(place: tuple[str, str], tmp_path: Path) -> None:
    server, _ = place
    said = refusal("jobs", "metrics", "job_none", "--csv", str(tmp_path / "a.csv"), FUSEBOX_SERVER=server)
    assert "there is no job 'job_none'" in said
    assert list(tmp_path.iterdir()) == []
