"""Supervised: the mean cross-entropy of a linear head per task, of the tasks it was told to learn."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training.methods.batches import START, batch, built, tiny
from training.methods.supervised import Supervised


@pytest.mark.parametrize(
    ("form", "tasks"), [("pairs", None), ("captions", None), ("triples", ("synergy", "share"))]
)
def test_the_loss_is_the_mean_over_tasks_and_samples(form: str, tasks: tuple[str, ...] | None) -> None:
    spec = tiny("supervised", form, tasks=tasks)
    method = built(spec)
    assert isinstance(method, Supervised)
    assert method.tasks == (tasks or tuple(task.name for task in spec.dataset.tasks))
    given = batch(method, spec, 6)
    embedding = method.embed(given.views[0], torch.ones(6, len(method.modalities), dtype=torch.bool))
    errors = [
        -math.log(head(embedding[b]).softmax(0)[given.labels[task][b]].item())
        for task, head in zip(method.tasks, method.heads, strict=True)
        for b in range(6)
    ]
    assert method(given, START).loss.item() == pytest.approx(sum(errors) / len(errors), rel=1e-10)


def test_heads_that_say_nothing_cost_the_logarithm_of_the_classes() -> None:
    spec = tiny("supervised", "pairs")
    method = built(spec)
    assert isinstance(method, Supervised)
    with torch.no_grad():
        for parameter in method.heads.parameters():
            parameter.zero_()
    _, terms = method(batch(method, spec, 6), START)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {f"task_{task.name}": math.log(task.classes) for task in spec.dataset.tasks}
    )


def test_classes_labels_and_numbers_each_have_their_error() -> None:
    spec = tiny("supervised", "clinical")
    method = built(spec)
    assert isinstance(method, Supervised)
    given = batch(method, spec, 6)
    numbers = given.labels["turn"].double() * 1e-3 + 7
    given = given._replace(labels={**given.labels, "turn": numbers})
    method.learn_scales({}, given.labels)
    outputs = method.features(given, START)
    chosen = outputs["mood"].softmax(1)[torch.arange(6), given.labels["mood"]]
    right = torch.where(
        given.labels["genres"] == 1, outputs["genres"].sigmoid(), 1 - outputs["genres"].sigmoid()
    )
    standardised = (numbers - numbers.mean(0)) / numbers.std(0, correction=0)
    _, terms = method(given, START)
    assert terms["task_mood"].item() == pytest.approx(-chosen.log().mean().item())
    assert terms["task_genres"].item() == pytest.approx(-right.log().mean().item())
    assert terms["task_turn"].item() == pytest.approx((outputs["turn"] - standardised).square().mean().item())


def test_heads_that_say_nothing_cost_as_much_as_guessing_whatever_they_learn() -> None:
    spec = tiny("supervised", "affect")
    method = built(spec)
    assert isinstance(method, Supervised)
    with torch.no_grad():
        for parameter in method.heads.parameters():
            parameter.zero_()
    given = batch(method, spec, 6)
    method.learn_scales({}, given.labels)
    _, terms = method(given, START)
    assert [term.item() for term in terms.values()] == pytest.approx(
        [math.log(3), math.log(2), 1.0], rel=1e-5
    )


def test_other_labels_give_another_loss() -> None:
    spec = tiny("supervised", "pairs")
    method = built(spec)
    given = batch(method, spec, 6)
    other = given._replace(labels={**given.labels, "share": 1 - given.labels["share"]})
    one, two = method(given, START), method(other, START)
    assert one.loss.item() != two.loss.item()
    assert one.terms["task_unique1"].item() == two.terms["task_unique1"].item()
