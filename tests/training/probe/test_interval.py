"""Probes while training score every type of task, by the rule that is named, on samples that they may look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from training.data import Data, Split
from training.events import Message, Metrics
from training.methods import Method, build_method
from training.probe.interval import probe_now
from training.run_dir import EventWriter, RunDir
from training.runner import Run
from training.spec import TrainSpec

TASKS = [
    {"name": "kind", "family": "other", "classes": 3},
    {"name": "tags", "family": "other", "classes": 2, "type": "multilabel"},
    {"name": "size", "family": "other", "classes": 2, "type": "regression"},
]
CARD = {
    "modalities": [
        {"name": "a", "kind": "table", "features": 6},
        {"name": "b", "kind": "table", "features": 4},
    ],
    "tasks": TASKS,
    "samples": {"train": 240, "val": 90, "test": 90},
}


def spec(*, protocol: str = "strict", tasks: list[str] | None = None, **probe: object) -> TrainSpec:
    return TrainSpec.model_validate(
        {
            "method": "comm",
            "dataset": {"name": "made", "sha256": "0" * 64, "card": CARD, "predict": tasks},
            "model": {"dim": 16, "heads": 2},
            "protocol": protocol,
            "probe": {"every_epochs": 2, **probe},
        }
    )


def split(n: int, seed: int, *, told: bool = True) -> Split:
    """Tables that tell the labels, or do not."""
    random = torch.Generator().manual_seed(seed)
    a, b = torch.randn(n, 6, generator=random), torch.randn(n, 4, generator=random)
    shown = a if told else torch.randn(n, 6, generator=random)
    rows = torch.arange(n)
    labels = {
        "kind": shown[:, :3].argmax(1),
        "tags": (shown[:, :2] > 0).float(),
        "size": shown[:, 3:5] * 2 + 1,
    }
    return Split({"a": a, "b": b}, {"a": rows, "b": rows}, labels)


def data(*, val: bool = False, test_told: bool = True) -> Data:
    train = split(240, 0)
    return Data(
        train=train,
        probe_train=train,
        probe_test=split(90, 1, told=test_told),
        tokenizer=None,
        normalisation={},
        sha256="0" * 64,
        probe_val=split(90, 2) if val else None,
    )


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run_dir = RunDir(tmp_path)
    run = Run(run_dir, EventWriter(run_dir))
    yield run
    run.events.close()


@pytest.fixture(scope="module")
def method() -> Method:
    torch.manual_seed(0)
    return build_method(spec(), 0)


def curves(run: Run) -> dict[str, float]:
    (told,) = (event for event in run.dir.read_events() if isinstance(event, Metrics))
    return told.values


@pytest.mark.parametrize("by", ["linear", "neighbours"])
@pytest.mark.parametrize("protocol", ["strict", "reference"])
@pytest.mark.parametrize("val", [True, False])
def test_every_type_of_task_has_a_curve_that_names_its_metric(
    run: Run, method: Method, val: bool, protocol: str, by: str
) -> None:
    score = probe_now(run, spec(protocol=protocol, by=by), method, data(val=val), step=8, epoch=1)
    told = curves(run)
    assert set(told) == {"probe/kind", "probe/tags/f1_macro", "probe/size/mse", "probe/mean/score"}
    assert told["probe/kind"] > 0.5
    assert told["probe/tags/f1_macro"] > 0.6
    assert 0 < told["probe/size/mse"] < 4.2  # less than their variance, 4, but for luck
    expected = (told["probe/kind"] + told["probe/tags/f1_macro"] - told["probe/size/mse"]) / 3
    assert score == pytest.approx(expected) == told["probe/mean/score"]


def test_a_training_in_tf32_is_probed_in_full_precision(run: Run) -> None:
    torch.manual_seed(0)
    method, seen = build_method(spec(), 0), set()
    layer = next(each for each in method.modules() if isinstance(each, torch.nn.Linear))
    layer.register_forward_hook(lambda *_: seen.add(rounding()))
    before = rounding()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        assert probe_now(run, spec(), method, data(), step=8, epoch=1) is not None
        assert rounding() == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    assert seen == {("highest", False)}


def rounding() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def test_between_the_epochs_that_are_named_nothing_is_probed(run: Run, method: Method) -> None:
    assert probe_now(run, spec(), method, data(), step=4, epoch=0) is None
    assert probe_now(run, spec(every_epochs=0), method, data(), step=8, epoch=1) is None
    assert not list(run.dir.read_events())


def test_the_score_of_a_single_rule_has_its_name_and_greater_is_better(run: Run, method: Method) -> None:
    score = probe_now(run, spec(tasks=["size"]), method, data(), step=8, epoch=1)
    told = curves(run)
    assert set(told) == {"probe/size/mse", "probe/mean/mse"}
    assert score == -told["probe/mean/mse"] < 0


def test_the_rule_can_be_chosen(run: Run, method: Method) -> None:
    score = probe_now(run, spec(tasks=["kind"], score="roc_auc"), method, data(), step=8, epoch=1)
    assert curves(run) == {"probe/kind/roc_auc": score, "probe/mean/roc_auc": score}


def test_a_rule_that_a_task_does_not_have_is_refused() -> None:
    with pytest.raises(ValidationError, match="the task 'tags' has no roc_auc; it has f1_macro, f1_weighted"):
        spec(score="roc_auc")
    with pytest.raises(
        ValidationError, match="the task 'size' has no macro_accuracy; it has mse, r2, pearson"
    ):
        spec(score="macro_accuracy")


def test_macro_accuracy_needs_no_name(run: Run, method: Method) -> None:
    probe_now(run, spec(tasks=["kind"]), method, data(), step=8, epoch=1)
    assert set(curves(run)) == {"probe/kind", "probe/mean"}


@pytest.mark.parametrize(("protocol", "sees"), [("strict", False), ("reference", True)])
@pytest.mark.parametrize("by", ["linear", "neighbours"])
def test_only_reference_looks_at_test_samples(
    run: Run, method: Method, protocol: str, sees: bool, by: str
) -> None:
    """Here test samples contradict what training samples tell: only who looks at them scores by chance."""
    asked = spec(protocol=protocol, tasks=["kind"], by=by)
    score = probe_now(run, asked, method, data(test_told=False), step=8, epoch=1)
    assert score is not None
    assert (score < 0.5) == sees


def test_a_probe_draws_no_random_number_and_leaves_the_method_in_training(run: Run, method: Method) -> None:
    method.train()
    before = torch.get_rng_state()
    probe_now(run, spec(), method, data(val=True), step=8, epoch=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert method.training


def test_at_most_as_many_samples_as_asked_for_are_spread_over_the_split(run: Run, method: Method) -> None:
    """Sorted by class, as files often are: the first hundred would lack a class."""
    made = data()
    order = made.probe_train.labels["kind"].argsort()
    labels = {name: truth[order] for name, truth in made.probe_train.labels.items()}
    index = {name: rows[order] for name, rows in made.probe_train.index.items()}
    made = replace(made, probe_train=replace(made.probe_train, labels=labels, index=index))
    score = probe_now(run, spec(tasks=["kind"], max_samples=100), method, made, step=8, epoch=1)
    assert score is not None
    assert score > 0.5


def with_labels(made: Data, task: str, truth: Tensor) -> Data:
    return replace(
        made, probe_train=replace(made.probe_train, labels={**made.probe_train.labels, task: truth})
    )


def test_a_task_with_too_few_samples_has_no_curve_and_the_training_goes_on(run: Run, method: Method) -> None:
    without = data().probe_train.labels["kind"].clamp_max(1)
    score = probe_now(run, spec(), method, with_labels(data(), "kind", without), step=8, epoch=1)
    assert score is not None
    assert set(curves(run)) == {"probe/tags/f1_macro", "probe/size/mse", "probe/mean/score"}
    (warning,) = (event for event in run.dir.read_events() if isinstance(event, Message))
    assert (warning.level, warning.text) == (
        "warning",
        "no probe: task kind: no training sample has class 2; use more training samples",
    )


def test_embeddings_that_are_not_finite_give_a_warning_and_no_score(run: Run) -> None:
    broken = build_method(spec(), 0)
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(torch.nan)
    assert probe_now(run, spec(), broken, data(), step=8, epoch=1) is None
    (warning,) = run.dir.read_events()
    assert (
        "no probe after epoch 2: the embeddings of 240 of 240 training samples are not finite" in warning.text
    )
