"""Neighbours are the most similar training samples, and vote by how similar they are."""

from __future__ import annotations

import pytest
import torch

from tests.training.probe.features import blobs
from training.probe import neighbours
from training.probe.neighbours import TEMPERATURE, nearest, vote
from training.probe.scores import macro_accuracy
from training.spec import Task

CLASSES = Task(name="kind", family="other", classes=3)


def test_neighbours_and_votes_are_those_of_a_slow_loop() -> None:
    train, y, _ = blobs(n=60)
    x = blobs(n=15, seed=1).x
    found = nearest(train, x, count=7)
    votes = vote(found, CLASSES, y).exp()
    for sample in range(15):
        similar = torch.cosine_similarity(x[sample][None], train)
        order = sorted(range(60), key=lambda row: -similar[row])[:7]
        assert found.rows[sample].tolist() == order
        weights = torch.stack([(similar[row] / TEMPERATURE).exp() for row in order])
        for label in range(3):
            share = sum(w for w, row in zip(weights, order, strict=True) if y[row] == label) / weights.sum()
            assert votes[sample, label].item() == pytest.approx(float(share), abs=1e-9)


def test_taken_in_parts_the_neighbours_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    train, x = blobs(n=50).x, blobs(n=23, seed=1).x
    whole, among_themselves = nearest(train, x), nearest(train)
    monkeypatch.setattr(neighbours, "MOST_SIMILARITIES", 50 * 4)
    assert torch.equal(nearest(train, x).rows, whole.rows)
    assert torch.equal(nearest(train).rows, among_themselves.rows)


def test_no_sample_is_its_own_neighbour() -> None:
    train = blobs(n=50).x
    rows = nearest(train).rows
    assert not (rows == torch.arange(50)[:, None]).any()
    assert nearest(train[:5]).rows.shape == (5, 4)


def test_samples_far_apart_are_recognised_and_random_ones_are_not() -> None:
    x, y, _ = blobs(apart=5.0)
    assert macro_accuracy(vote(nearest(x), CLASSES, y).argmax(1), y) > 0.95
    random = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    assert macro_accuracy(vote(nearest(random), CLASSES, y).argmax(1), y) < 0.45


def test_labels_are_those_of_most_neighbours_and_numbers_their_means() -> None:
    train = torch.eye(2).repeat(10, 1)
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(10, 1)
    said = vote(
        nearest(train, count=5), Task(name="kind", family="other", classes=2, type="multilabel"), labels
    )
    assert torch.equal(said > 0, labels > 0.5)
    numbers = vote(
        nearest(train, count=5), Task(name="kind", family="other", classes=2, type="regression"), labels * 3
    )
    assert torch.allclose(numbers, labels * 3)


def test_embeddings_of_length_zero_have_neighbours_too() -> None:
    x, y, _ = blobs(n=30)
    said = vote(nearest(x, torch.zeros(2, 6, dtype=torch.float64)), CLASSES, y)
    assert said.exp().sum(1).tolist() == pytest.approx([1, 1])
