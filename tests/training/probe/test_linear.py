"""Probes are chosen as by the sequential protocol, each type of task by its own score, and say what they cannot do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from torch import Tensor

from tests.training.probe import sequential
from tests.training.probe.features import SETS, Features, blobs, constant, power_law
from training.errors import DataError
from training.probe.features import Embedded
from training.probe.linear import Recipe, choose, fit_chosen, split_for_selection
from training.probe.scores import macro_accuracy
from training.probe.search import COSTS
from training.spec import Task

REFERENCE = Recipe("reference", 1)


def task_of(features: Features, name: str = "kind") -> Task:
    return Task(name=name, family="other", classes=features.classes)


def embedded(features: Features) -> Embedded:
    return Embedded(features.x, {"kind": features.y})


def numbers(x: Tensor, outputs: int = 2) -> Tensor:
    """What can be told from x linearly, and noise."""
    random = torch.Generator().manual_seed(4)
    weights = torch.randn(x.shape[1], outputs, generator=random, dtype=torch.float64)
    return x @ weights + torch.randn(len(x), outputs, generator=random, dtype=torch.float64)


def by_the_sequential_protocol(features: Features) -> tuple[float, float]:
    """The cost, and the macro accuracy by which it was chosen."""
    x, y, classes = features
    fitted, selected = split_for_selection(task_of(features), y, "reference", 1)

    def score(cost: float) -> float:
        probe = sequential.fit(x[fitted], y[fitted], classes, cost)
        return macro_accuracy(probe(x[selected]).argmax(1), y[selected])

    cost = sequential.search_cost(score)
    return cost, score(cost)


@pytest.mark.parametrize("name", SETS)
def test_the_chosen_cost_is_that_of_the_sequential_protocol(name: str) -> None:
    features = SETS[name]
    ((_, choice),) = choose(embedded(features), None, [task_of(features)], REFERENCE)
    assert (choice.strength, choice.score) == by_the_sequential_protocol(features)


def test_in_float32_the_accuracy_is_that_of_the_sequential_protocol_in_float64() -> None:
    x, y, classes = power_law(n=6000, power=1.0, seed=7)
    features, unseen = Features(x[:1000], y[:1000], classes), Features(x[1000:], y[1000:], classes)
    task, train = task_of(features), Embedded(features.x.float(), {"kind": features.y})
    choices = dict(choose(train, None, [task], REFERENCE))
    probe = fit_chosen(train, [task], choices)["kind"]
    cost, _ = by_the_sequential_protocol(features)
    theirs = sequential.fit(features.x, features.y, features.classes, cost)
    assert macro_accuracy(theirs(unseen.x).argmax(1), unseen.y) > 0.5
    reached, expected = (
        macro_accuracy(outputs.argmax(1), unseen.y) for outputs in (probe(unseen.x.float()), theirs(unseen.x))
    )
    assert reached == pytest.approx(expected, abs=1e-3)


def test_validation_samples_choose_the_cost_and_are_then_fitted_on_too() -> None:
    x, y, classes = blobs()
    train, val = Features(x[:300], y[:300], classes), Features(x[300:], y[300:], classes)
    task = task_of(train)
    ((_, choice),) = choose(embedded(train), embedded(val), [task], REFERENCE)

    def score(cost: float) -> float:
        return macro_accuracy(sequential.fit(train.x, train.y, 3, cost)(val.x).argmax(1), val.y)

    assert choice.strength == sequential.search_cost(score)
    assert torch.equal(choice.truth, val.y)
    probe = fit_chosen(embedded(train).and_also(embedded(val)), [task], {"kind": choice})["kind"]
    everything = sequential.fit(torch.cat([train.x, val.x]), torch.cat([train.y, val.y]), 3, choice.strength)
    assert torch.allclose(probe.weight, everything.weight, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("with_val", [True, False])
def test_tasks_probed_together_are_probed_as_each_alone(with_val: bool) -> None:
    x, y, _ = blobs(n=200, classes=3)
    labels = {"a": y, "b": (x[:, 0] > 0).long(), "c": (y + 1) % 3, "d": x[:, :2], "e": x[:, :2] > 0}
    tasks = [
        Task(name="a", family="other", classes=3),
        Task(name="b", family="other", classes=2),
        Task(name="c", family="other", classes=3),
        Task(name="d", family="other", classes=2, type="regression"),
        Task(name="e", family="other", classes=2, type="multilabel"),
    ]
    train, val = Embedded(x, {**labels, "e": labels["e"].float()}), None
    if with_val:
        train, val = (
            Embedded(x[at], {k: v[at] for k, v in train.labels.items()})
            for at in (slice(140), slice(140, None))
        )
    recipe = Recipe("strict", 3)
    together = dict(choose(train, val, tasks, recipe))
    probes = fit_chosen(train, tasks, together)
    assert set(probes) == set(together) == set(labels)
    for task in tasks:
        ((_, alone),) = choose(train, val, [task], recipe)
        assert together[task.name].strength == alone.strength
        expected = fit_chosen(train, [task], {task.name: alone})[task.name]
        assert torch.allclose(probes[task.name].weight, expected.weight, rtol=1e-6, atol=1e-8)


def test_one_cost_for_all_labels_is_chosen_by_macro_f1() -> None:
    x, _, _ = power_law(n=400, width=10, power=0.7)
    labels = (numbers(x, 4) > torch.tensor([0.0, 0.5, 1.0, -0.5])).float()
    task = Task(name="kind", family="other", classes=4, type="multilabel")
    ((_, choice),) = choose(Embedded(x, {"kind": labels}), None, [task], REFERENCE)
    fitted, selected = split_for_selection(task, labels, "reference", 1)
    assert (len(fitted), len(selected)) == (240, 160)

    def macro_f1(cost: float) -> float:
        predicted = [
            LogisticRegression(C=cost, tol=1e-9, max_iter=5000)
            .fit(x[fitted].numpy(), labels[fitted, label].numpy())
            .predict(x[selected].numpy())
            for label in range(4)
        ]
        return f1_score(
            labels[selected].numpy(), np.stack(predicted, axis=1), average="macro", zero_division=0
        )

    assert choice.score == pytest.approx(macro_f1(choice.strength), abs=1e-9)
    assert choice.strength == max(COSTS, key=macro_f1)


def test_a_regression_s_alpha_is_chosen_by_the_squared_error() -> None:
    x, _, _ = power_law(n=200, width=30, power=0.5)
    y = numbers(x)
    task = Task(name="kind", family="other", classes=2, type="regression")
    train = Embedded(x, {"kind": y})
    choices = dict(choose(train, None, [task], REFERENCE))
    fitted, selected = split_for_selection(task, y, "reference", 1)
    assert (len(fitted), len(selected)) == (160, 40)

    def mse(alpha: float) -> float:
        model = Ridge(alpha=alpha).fit(x[fitted].numpy(), y[fitted].numpy())
        return float(((model.predict(x[selected].numpy()) - y[selected].numpy()) ** 2).mean())

    assert choices["kind"].strength == min(COSTS, key=mse)
    assert -choices["kind"].score == pytest.approx(mse(choices["kind"].strength))
    whole = Ridge(alpha=choices["kind"].strength).fit(x.numpy(), y.numpy())
    assert np.allclose(fit_chosen(train, [task], choices)["kind"].weight.T.numpy(), whole.coef_)


def test_the_reference_split_does_not_depend_on_the_seed_and_the_strict_one_does() -> None:
    task, y = Task(name="kind", family="other", classes=4), torch.arange(200) % 4
    first, second = (split_for_selection(task, y, "reference", seed)[0] for seed in (1, 2))
    assert torch.equal(first, second)
    first, second = (split_for_selection(task, y, "strict", seed)[0] for seed in (1, 2))
    assert not torch.equal(first, second)
    fitted, selected = split_for_selection(task, y, "strict", 1)
    assert len(fitted) == 120
    assert not set(fitted.tolist()) & set(selected.tolist())
    assert y[fitted].bincount().tolist() == [30] * 4


def chosen(train: Embedded, task: Task, val: Embedded | None = None) -> None:
    list(choose(train, val, [task], REFERENCE))


def test_a_class_without_training_samples_is_named() -> None:
    x, y, _ = blobs()
    with pytest.raises(DataError, match="task kind: no training sample has class 3"):
        chosen(Embedded(x, {"kind": y}), Task(name="kind", family="other", classes=4))


def test_a_class_that_the_task_does_not_have_is_named() -> None:
    x, y, _ = blobs()
    with pytest.raises(DataError, match="task kind: there is a class 2, but the task has 2 classes"):
        chosen(Embedded(x, {"kind": y}), Task(name="kind", family="other", classes=2))


def test_one_sample_per_class_cannot_be_held_out_and_suffices_beside_validation_samples() -> None:
    x, y = torch.eye(3, dtype=torch.float64), torch.arange(3)
    train, task = Embedded(x, {"kind": y}), Task(name="kind", family="other", classes=3)
    with pytest.raises(
        DataError, match=r"task kind: class 0 has a single training sample: .*validation split"
    ):
        chosen(train, task)
    choices = dict(choose(train, train, [task], REFERENCE))
    assert fit_chosen(train, [task], choices)["kind"](x).argmax(1).tolist() == [0, 1, 2]


def test_too_few_samples_to_hold_out_one_of_each_class_are_said() -> None:
    y = torch.arange(5).repeat(2)
    with pytest.raises(DataError, match="task kind: 10 training samples are too few"):
        chosen(Embedded(torch.randn(10, 3), {"kind": y}), Task(name="kind", family="other", classes=5))


def test_features_that_are_not_finite_are_counted() -> None:
    x, y, _ = blobs()
    x[3, 2], x[7, 0] = torch.nan, torch.inf
    task = Task(name="kind", family="other", classes=3)
    with pytest.raises(DataError, match="embeddings of 2 of 400 training samples are not finite"):
        chosen(Embedded(x, {"kind": y}), task)
    with pytest.raises(DataError, match="embeddings of 2 of 400 validation samples are not finite"):
        chosen(embedded(blobs()), task, Embedded(x, {"kind": y}))


def test_numbers_to_predict_that_are_not_finite_are_counted() -> None:
    x, _, _ = blobs()
    y = torch.ones(400, 2)
    y[5, 1] = torch.nan
    with pytest.raises(
        DataError, match="task kind: what 1 of 400 training samples should give is not finite"
    ):
        chosen(Embedded(x, {"kind": y}), Task(name="kind", family="other", classes=2, type="regression"))


def test_constant_features_score_as_guessing_does() -> None:
    features = constant()
    ((_, choice),) = choose(embedded(features), None, [task_of(features)], REFERENCE)
    assert choice.score == pytest.approx(1 / 3)
    y = torch.arange(120.0)[:, None]
    task = Task(name="kind", family="other", classes=1, type="regression")
    train = Embedded(features.x, {"kind": y})
    probe = fit_chosen(train, [task], dict(choose(train, None, [task], REFERENCE)))["kind"]
    assert torch.allclose(probe(features.x), y.double().mean().expand(120, 1))
