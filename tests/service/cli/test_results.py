"""`fusebox results`: what the server says, as it says it in a pipe, and as a table for people."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from service.cli import app, terminal
from service.cli import results as command
from service.db import make_engine, make_sessions, migrate
from service.one_machine.up import LocalService
from tests.service.one_machine.test_up import local
from tests.service.results.test_result_tables import ran
from tests.service.test_client_and_cli import refusal


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service without workers that has scores of two methods on digits."""
    settings = local(tmp_path_factory.mktemp("results"))
    migrate(settings.effective_database_url)
    engine = make_engine(settings.effective_database_url)
    sessions = make_sessions(engine)
    for row, level in (("infmasking", 0.8), ("comm", 0.6)):
        scores = {42 + each: level + 0.01 * (each % 3) * (1 if row == "comm" else -1) for each in range(5)}
        ran(sessions, "digits", row, {"synergy": scores}, chance=0.5)
    engine.dispose()
    with LocalService(settings, workers=0) as service:
        yield service.url


def said(server: str, *options: str) -> str:
    answer = CliRunner().invoke(app, ["results", *options], env={"FUSEBOX_SERVER": server})
    assert answer.exit_code == 0, answer.output
    return answer.output


def on_a_terminal(server: str, monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    screen = Console(file=io.StringIO(), force_terminal=True, width=240)
    monkeypatch.setattr(terminal, "out", screen)
    monkeypatch.setattr(command, "out", screen)
    assert said(server, *options) == ""
    shown = screen.file
    assert isinstance(shown, io.StringIO)
    return shown.getvalue()


@pytest.mark.parametrize("format_", ["markdown", "csv", "latex", "json"])
def test_a_format_is_printed_exactly_as_the_server_writes_it(server: str, format_: str) -> None:
    answer = httpx.get(f"{server}/v1/results", params={"table": "digits", "format": format_})
    assert said(server, "--table", "digits", "--format", format_).rstrip("\n") == (
        answer.text.replace("\r\n", "\n").rstrip("\n")
    )


def test_in_a_pipe_a_table_is_markdown(server: str) -> None:
    text = said(server, "--table", "digits")
    assert text == said(server, "--table", "digits", "--format", "markdown")
    assert "| InfMasking | here | not run | not run | not run | not run | **79.20 ± 0.84 (n = 5)** |" in text


def test_csv_can_be_read_on(server: str) -> None:
    lines = list(csv.DictReader(io.StringIO(said(server, "--table", "digits", "--format", "csv"))))
    (best,) = [each for each in lines if each["mark"] == "best"]
    assert (best["row"], best["n"], round(float(best["value"]), 6)) == ("infmasking", "5", 79.2)


def test_on_a_terminal_a_table_is_for_people(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_terminal(server, monkeypatch, "--table", "digits")
    assert "Supervised (upper bound)" in shown
    assert "\x1b[1;32m79.20 ± 0.84 (n = 5)" in shown  # the best is bold
    assert "Best of its column" in shown
    shown = on_a_terminal(server, monkeypatch, "--table", "trifeatures", "--protocol", "strict")
    assert "77.0 ± 4.22" in shown
    assert "protocol 'strict'" in shown


def test_without_a_table_groups_are_listed(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "infmasking" in said(server)
    assert json.loads(said(server, "--format", "json"))["data"][0]["method"] == "comm"
    assert "No scores yet" in said(server, "--dataset", "mosi")
    assert "0.792" in on_a_terminal(server, monkeypatch, "--metric", "macro_accuracy")


def test_what_is_no_table_is_one_line_with_a_remedy(server: str) -> None:
    assert "there are trifeatures" in refusal("results", "--table", "none", FUSEBOX_SERVER=server)
    assert "name a table" in refusal("results", "--format", "csv", FUSEBOX_SERVER=server)
    assert "'latex'" in refusal("results", "--table", "digits", "--format", "pdf", FUSEBOX_SERVER=server)


def test_the_command_leaves_scipy_alone() -> None:
    """Which takes a third of a second to import, at every command."""
    program = "import service.cli, sys; sys.exit('scipy' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
