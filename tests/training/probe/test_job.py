"""A probe run gives typed results for the tasks asked for, and says what it cannot do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models_store.heads import Head, opened, read_head
from tests.training.runs import done, made, of_type, small
from training import checkpoint
from training.data import load_for
from training.events import Done, HeadKept, Message, Result
from training.probe.features import embed_split
from training.probe.job import restored
from training.probe.scores import value_of
from training.registration.found import Found, Ledger, same_for_all
from training.registration.shelf import keep
from training.run_dir import EXIT_FAILED, RunDir
from training.spec import Modality, ProbeSpec, Registered, Task
from training.spec.registration import MANIFEST, REGISTERED, DatasetManifest


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run_dir = made(tmp_path_factory.mktemp("runs") / "model", small(epochs=3))
    assert done("fit", run_dir) == 0
    return run_dir


@pytest.fixture(scope="module")
def probed(trained: RunDir) -> RunDir:
    run_dir = made(trained.sibling("probe").path, ProbeSpec(run="model", threads=1))
    assert done("probe", run_dir) == 0
    return run_dir


def results(run_dir: RunDir, metric: str | None = None) -> list[Result]:
    return [each for each in of_type(run_dir, Result) if metric in (None, each.metric)]


def test_every_task_gets_a_score_with_its_family_and_protocol(probed: RunDir) -> None:
    found = results(probed, "macro_accuracy")
    assert [(each.task, each.family) for each in found] == [
        ("share", "redundancy"),
        ("unique1", "uniqueness"),
        ("unique2", "uniqueness"),
        ("synergy", "synergy"),
    ]
    for each in found:
        assert (each.protocol, each.split, each.n, each.checkpoint_step) == ("strict", "test", 4000, 24)
        assert each.chance is not None
        assert each.chance <= each.value + 0.05
    assert found[0].value > 0.8


def test_each_score_has_an_interval_and_says_how_the_probe_was_chosen(probed: RunDir) -> None:
    of_share = {each.metric for each in results(probed) if each.task == "share"}
    assert of_share == {"macro_accuracy", "accuracy", "roc_auc"}
    assert {each.metric for each in results(probed) if each.task == "unique1"} == of_share | {"top5"}
    for each in results(probed):
        low, high = each.details["ci95"]
        assert low <= each.value <= high
        assert high - low < 0.1
        assert 1e-6 <= each.details["cost"] <= 1e6
        assert 0 < each.details["selection_macro_accuracy"] <= 1
        assert each.details["n_train"] == 10_000


def test_the_confusion_matrix_is_of_all_test_samples_and_agrees_with_the_score(probed: RunDir) -> None:
    for each in results(probed, "macro_accuracy"):
        matrix = np.array(each.details["confusion"])
        assert matrix.sum() == each.n
        assert (matrix.diagonal() / matrix.sum(1)).mean() == pytest.approx(each.value)
    assert not any("confusion" in each.details for each in results(probed, "accuracy"))


def test_a_second_probe_of_the_checkpoint_embeds_nothing_and_finds_the_same(
    trained: RunDir, probed: RunDir
) -> None:
    folder = trained.path.parent / "datasets" / "embeddings"
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert len(before) == 2
    again = made(trained.sibling("again").path, ProbeSpec(run="model", threads=1))
    assert done("probe", again) == 0
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before
    assert [(each.task, each.metric, each.value) for each in results(again)] == [
        (each.task, each.metric, each.value) for each in results(probed)
    ]


def test_only_the_tasks_asked_for_are_probed_by_the_penalty_asked_for(trained: RunDir) -> None:
    asked = ProbeSpec(run="model", tasks=("share",), penalty="squared", threads=1)
    run_dir = made(trained.sibling("one").path, asked)
    assert done("probe", run_dir) == 0
    assert {each.task for each in results(run_dir)} == {"share"}
    assert results(run_dir, "macro_accuracy")[0].value > 0.8


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


TASKS = (
    Task(name="kind", family="other", classes=3),
    Task(name="seldom", family="other", classes=2),
    Task(name="tags", family="other", classes=4, type="multilabel"),
    Task(name="size", family="other", classes=2, type="regression"),
)


def registered(datasets_dir: Path) -> Registered:
    """Two tables that tell everything, with validation samples; no test sample is of the second class of `seldom`."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((400, width)).astype(np.float32) for width in (6, 4))
    seldom = (a[:, 0] > 0.5).astype(np.int64)
    seldom[300:] = 0
    found = Found(
        modalities=(
            Modality(name="a", kind="table", features=6),
            Modality(name="b", kind="table", features=4),
        ),
        tasks=TASKS,
        contents={"a": a, "b": b},
        labels={
            "kind": a[:, :3].argmax(1),
            "seldom": seldom,
            "tags": (a[:, :4] > 0).astype(np.float32),
            "size": a[:, 3:5] * 2 + 1,
        },
        splits=same_for_all(
            {"train": np.arange(200), "val": np.arange(200, 300), "test": np.arange(300, 400)}
        ),
        classes={"kind": ("red", "green", "blue"), "tags": ("a", "b", "c", "d")},
        ledger=Ledger(lambda _event: None),
        files=[],
    )
    digest = keep(found, "mosi", datasets_dir)
    manifest = datasets_dir / REGISTERED / digest / MANIFEST
    card = DatasetManifest.model_validate_json(manifest.read_bytes()).card
    return Registered(name="made", sha256=digest, card=card)


@pytest.fixture(scope="module")
def of_all_types(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A probe of a training on a registered dataset."""
    runs = tmp_path_factory.mktemp("runs")
    training = made(runs / "model", small(dataset=registered(runs / "datasets"), method="comm"))
    assert done("fit", training) == 0
    run_dir = made(runs / "probe", ProbeSpec(run="model", threads=1))
    assert done("probe", run_dir) == 0
    return run_dir


def test_each_type_of_task_has_its_scores(of_all_types: RunDir) -> None:
    metrics: dict[str, list[str]] = {}
    for each in results(of_all_types):
        metrics.setdefault(each.task, []).append(each.metric)
    assert metrics == {
        "kind": ["macro_accuracy", "accuracy", "top5", "roc_auc"],
        "seldom": ["macro_accuracy", "accuracy"],
        "tags": ["f1_macro", "f1_weighted", "macro_accuracy", "subset_accuracy"],
        "size": ["mse", "r2", "pearson"],
    }
    values = {(each.task, each.metric): each.value for each in results(of_all_types)}
    assert values["kind", "macro_accuracy"] > 0.6
    assert values["tags", "f1_macro"] > 0.7
    assert values["size", "r2"] > 0.3


def test_with_validation_samples_the_probe_is_fitted_on_them_too(of_all_types: RunDir) -> None:
    for each in results(of_all_types):
        assert (each.details["n_train"], each.n) == (300, 100)
    (size,) = results(of_all_types, "mse")
    assert size.details["alpha"] > 0
    assert size.details["selection_mse"] > 0
    (tags,) = results(of_all_types, "f1_macro")
    assert tags.details["selection_f1_macro"] > 0.5


def test_a_score_that_is_not_defined_on_the_test_samples_is_said_and_left_out(of_all_types: RunDir) -> None:
    warnings = [each.text for each in of_type(of_all_types, Message) if each.level == "warning"]
    assert warnings == ["task seldom: its test samples do not differ, so there is no roc_auc"]


def heads(run_dir: RunDir) -> dict[str, Head]:
    """As the run told them."""
    told = of_type(run_dir, HeadKept)
    return {each.task: opened(*read_head(run_dir.heads, each.task, each.sha256)) for each in told}


def test_each_probe_is_kept_as_a_head_that_says_what_it_is(trained: RunDir, probed: RunDir) -> None:
    kept = heads(probed)
    assert list(kept) == ["share", "unique1", "unique2", "synergy"]
    found = checkpoint.choose(trained, "last")
    for each in results(probed, "macro_accuracy"):
        head = kept[each.task].manifest
        assert (head.type, head.family, head.embedding_dim) == ("class", each.family, 16)
        assert (head.outputs, head.names, head.metric) == (
            10 if "unique" in each.task else 2,
            None,
            "macro_accuracy",
        )
        score = head.scores["macro_accuracy"]
        assert (score.value, score.chance) == (each.value, each.chance)
        assert list(score.ci95 or ()) == each.details["ci95"]
        source = head.source
        assert (source.probe_job_id, source.job_id, source.step) == ("probe", "model", 24)
        assert source.checkpoint_sha256 == found.meta.sha256["model.safetensors"]
        assert (source.cost, source.n_train, source.n_test) == (each.details["cost"], 10_000, 4_000)


def test_a_head_gives_the_scores_of_the_probe_that_it_is(of_all_types: RunDir) -> None:
    found = checkpoint.choose(of_all_types.sibling("model"), "last")
    dataset = found.meta.spec.dataset
    data = load_for(found.meta.spec, of_all_types.path.parent / "datasets")
    x = embed_split(restored(found, data), dataset, data, data.probe_test, "strict")
    tasks = {task.name: task for task in dataset.tasks}
    kept = heads(of_all_types)
    assert list(kept) == ["kind", "seldom", "tags", "size"]
    for each in results(of_all_types):
        outputs = torch.from_numpy(x.numpy() @ kept[each.task].weight + kept[each.task].bias)
        truth = data.probe_test.labels[each.task]
        assert value_of(tasks[each.task], each.metric, outputs, truth) == pytest.approx(each.value, abs=1e-6)


def test_a_head_knows_what_its_classes_are_called(of_all_types: RunDir) -> None:
    names = {task: head.manifest.names for task, head in heads(of_all_types).items()}
    assert names == {
        "kind": ("red", "green", "blue"),
        "seldom": ("0", "1"),
        "tags": ("a", "b", "c", "d"),
        "size": None,
    }
