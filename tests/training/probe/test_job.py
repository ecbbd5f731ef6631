"""A probe run gives typed results for the tasks asked for, and says what it cannot do."""

from __future__ import annotations

import pytest

from tests.training.runs import done, made, of_type, small
from training.events import Done, Result
from training.run_dir import EXIT_FAILED, RunDir
from training.spec import ProbeSpec


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run_dir = made(tmp_path_factory.mktemp("runs") / "model", small(epochs=3))
    assert done("fit", run_dir) == 0
    return run_dir


def test_every_task_gets_a_score_with_its_family_and_protocol(trained: RunDir) -> None:
    run_dir = made(trained.sibling("probe").path, ProbeSpec(run="model", threads=1))
    assert done("probe", run_dir) == 0
    results = [each for each in of_type(run_dir, Result) if each.metric == "macro_accuracy"]
    assert [(each.task, each.family) for each in results] == [
        ("share", "redundancy"),
        ("unique1", "uniqueness"),
        ("unique2", "uniqueness"),
        ("synergy", "synergy"),
    ]
    for each in results:
        assert (each.protocol, each.split, each.n, each.checkpoint_step) == ("strict", "test", 4000, 24)
        assert each.chance <= each.value + 0.05
    assert results[0].value > 0.8


def test_only_the_tasks_asked_for_are_probed(trained: RunDir) -> None:
    run_dir = made(trained.sibling("one").path, ProbeSpec(run="model", tasks=("share",), threads=1))
    assert done("probe", run_dir) == 0
    assert {each.task for each in of_type(run_dir, Result)} == {"share"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"run": "model", "tasks": ["colour"]}, "has no task 'colour'; it has share, unique1"),
        ({"run": "nobody"}, "the run nobody has no checkpoint yet"),
        ({"run": "model", "checkpoint": 5}, "has no checkpoint of step 5; it has 8, 16, 24"),
        ({"run": "model", "checkpoint": "best"}, "ran without probe.every_epochs"),
    ],
)
def test_what_cannot_be_probed_is_said(trained: RunDir, spec: dict[str, object], words: str) -> None:
    run_dir = made(trained.sibling(f"bad{abs(hash(words))}").path, ProbeSpec.model_validate(spec))
    assert done("probe", run_dir) == EXIT_FAILED
    assert words in list(of_type(run_dir, Done))[-1].text
