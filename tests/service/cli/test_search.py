"""`fusebox search` shows neighbours as a table, finds the model by itself, and says what is missing in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models_store.store import ModelStore
from service import models
from service.cli import app
from service.db import make_engine, make_sessions, migrate, transaction
from service.one_machine.up import LocalService
from tests.models_store.bundles import bundle
from tests.service.embedded import embedded
from tests.service.one_machine.test_up import local
from tests.service.rows import trained
from tests.service.test_client_and_cli import refusal


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A service without workers, with an index and a model of another checkpoint: its address, and the index."""
    folder: Path = tmp_path_factory.mktemp("search")
    settings = local(folder)
    migrate(settings.effective_database_url)
    engine = make_engine(settings.effective_database_url)
    sessions = make_sessions(engine)
    training = trained(sessions)
    index = embedded(sessions, settings, training, checkpoint_sha256="1" * 64)
    with transaction(sessions) as session:
        store = ModelStore(settings.models_url)
        models.publish(session, store, bundle(folder / "bundle"), job_id=training, train_job_id=training)
    engine.dispose()
    with LocalService(settings, workers=0) as service:
        yield service.url, index


def test_the_neighbours_of_a_sample_are_a_table(place: tuple[str, str]) -> None:
    server, index = place
    command = [
        "search",
        index,
        "--sample",
        "8",
        "-k",
        "3",
        "--in",
        "text",
        "--metric",
        "l2",
        "--split",
        "test",
    ]
    answer = CliRunner().invoke(app, command, env={"FUSEBOX_SERVER": server})
    assert answer.exit_code == 0, answer.output
    lines = re.sub(r" +", " ", answer.output).strip().splitlines()
    assert lines[0].strip() == "distance sample split colour tags size"
    assert len(lines) == 5
    assert all(
        re.search(r"^[\d.]+ \d+ test (red|green|blue) (odd, )?any [\d.]+ ?$", line) for line in lines[1:4]
    )
    assert lines[4].strip() == "of 10 samples of digits, by text"


def test_what_is_missing_is_one_line(place: tuple[str, str]) -> None:
    server, index = place
    assert "say what to look for" in refusal("search", index, FUSEBOX_SERVER=server)
    both = refusal("search", index, "--sample", "8", "--text", "x", FUSEBOX_SERVER=server)
    assert "and not both" in both
    assert "no model is of the checkpoint" in refusal("search", index, "--text", "x", FUSEBOX_SERVER=server)
    assert "no sample 3" in refusal("search", index, "--sample", "3", FUSEBOX_SERVER=server)
    assert "no index 'nobody'" in refusal("search", "nobody", "--sample", "3", FUSEBOX_SERVER=server)
