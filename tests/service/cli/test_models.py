"""`fusebox models` and `fusebox embed` with a model of numbers: what it takes is shown, and files of numbers are read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from models_store.store import ModelStore
from service import models
from service.cli import app
from service.client import Client
from service.db import make_engine, make_sessions, migrate, transaction
from service.one_machine.up import LocalService
from tests.models_store.bundles import head
from tests.service.inference.measured import exported
from tests.service.one_machine.test_up import local
from tests.service.rows import probed, trained
from tests.service.test_client_and_cli import refusal

STEPS, STATIC = [[1, 2, 3], [4, 5.5, 6]], [10, 20.5]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service without workers, with the model measured@1."""
    folder = tmp_path_factory.mktemp("measured")
    settings = local(folder)
    migrate(settings.effective_database_url)
    engine = make_engine(settings.effective_database_url)
    sessions = make_sessions(engine)
    job_id = trained(sessions)
    with transaction(sessions) as session:
        store = ModelStore(settings.models_url)
        models.publish(session, store, exported(folder / "bundle"), job_id=job_id, train_job_id=job_id)
    kept = head(np.eye(6, 2), task="kind"), head(np.eye(6, 1), task="size", type="regression", scores={})
    probed(sessions, settings, job_id, *kept)
    engine.dispose()
    with LocalService(settings, workers=0) as service:
        yield service.url


def said(server: str, *command: str) -> str:
    answer = CliRunner().invoke(app, command, env={"FUSEBOX_SERVER": server})
    assert answer.exit_code == 0, answer.output
    return re.sub(r" +", " ", answer.output)


def embedded(server: str, *inputs: str) -> Any:
    options = [part for each in inputs for part in ("--input", each)]
    (data,) = json.loads(said(server, "embed", "--model", "measured", *options))["data"]
    return data


def test_models_are_listed_with_what_they_take(server: str) -> None:
    assert "measured@1 series up to 6 × 3, static 2 6 infmasking" in said(server, "models", "list")


def test_a_model_is_shown_with_each_input_and_its_origin(server: str) -> None:
    shown = said(server, "models", "show", "measured@1")
    for line in (
        "series sequence up to 6 × 3 no",
        "static table 2 no",
        "gives 6 numbers, of any of these inputs",
    ):
        assert line in shown
    assert "from infmasking on digits, seed 0, after step 8" in shown


def test_files_of_numbers_are_embedded_alike_whatever_they_are(server: str, tmp_path: Path) -> None:
    (tmp_path / "series.json").write_text(json.dumps(STEPS))
    (tmp_path / "static.json").write_text(json.dumps(STATIC))
    np.save(tmp_path / "series.npy", np.array(STEPS))
    np.save(tmp_path / "static.npy", np.array(STATIC, dtype=np.float32))
    answers = [
        embedded(server, f"series={tmp_path}/series.{kind}", f"static={tmp_path}/static.{kind}")
        for kind in ("json", "npy")
    ]
    assert answers[0] == answers[1]
    assert answers[0]["modalities"] == ["series", "static"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"1, 2", "holds no JSON; give a list of numbers, or a file *.npy"),
        ("a.json", b"\xff", "holds no JSON"),
        ("a.json", b"[1, 2, 3]", "3 numbers; give 2 (at /inputs/0/static)"),
        ("a.npy", b"1, 2", "is no array of NumPy"),
        ("a.npy", b"", "is no array of NumPy"),
    ],
)
def test_a_file_that_holds_no_such_numbers_is_one_line(
    server: str, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    line = refusal("embed", "--model", "measured", "--input", f"static={tmp_path / name}", FUSEBOX_SERVER=server)  # fmt: skip
    assert says in line


def test_an_array_of_words_is_one_line(server: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(["x"]))
    line = refusal("embed", "--model", "measured", "--input", f"static={tmp_path}/a.npy", FUSEBOX_SERVER=server)  # fmt: skip
    assert "holds <U1, not real numbers" in line


def test_a_model_that_is_not_there_is_one_line(server: str) -> None:
    assert "measured@1" in refusal("models", "show", "nothing", FUSEBOX_SERVER=server)


def test_heads_are_attached_listed_and_detached(server: str) -> None:
    with Client(server) as client:
        (probe,) = (job["id"] for job in client.jobs(kind="probe")["data"])
    assert "No heads yet" in said(server, "models", "heads", "measured")
    shown = said(server, "models", "attach", "measured", probe, "--task", "kind")
    assert "kind 2 classes macro_accuracy 0.9 0.85 … 0.95 strict job_2" in shown
    assert "size" not in shown
    said(server, "models", "attach", "measured@1", probe)
    listed = said(server, "models", "heads", "measured")
    assert "kind 2 classes" in listed
    assert "size 1 numbers" in listed
    assert "kind 2 classes" in said(server, "models", "show", "measured")
    assert "no head for kind any more" in said(server, "models", "detach", "measured", "kind")
    assert "kind" not in said(server, "models", "heads", "measured")
    assert "has no head 'kind'; it has size" in refusal(
        "models", "detach", "measured", "kind", FUSEBOX_SERVER=server
    )
