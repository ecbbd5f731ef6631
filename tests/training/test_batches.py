"""What a step is given: the method's modalities in its views, labels for those who learn from them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.runs import made, small
from training.data import Data, load, prepare
from training.errors import DataError
from training.fit import Training, batch_of, require_what_is_learned_from, vocabulary_of
from training.methods import METHODS, build_method
from training.optim import build_optimizer
from training.processes import Processes
from training.run_dir import EventWriter
from training.runner import Run

ROWS = torch.tensor([3, 0, 5, 11])


Made = Callable[..., Training]


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Made]:
    """Makes a training of the small spec with changes, before its first step."""
    writers: list[EventWriter] = []

    def make(**changes: Any) -> Training:
        spec = small(**changes)
        data = load(spec.dataset, tmp_path)
        method = build_method(spec, vocabulary_of(data))
        run_dir = made(tmp_path / "run", spec)
        writers.append(EventWriter(run_dir))
        run = Run(run_dir, writers[-1])
        return Training(run, spec, data, method, build_optimizer(method, spec.optim), Processes(spec), None)

    yield make
    for writer in writers:
        writer.close()


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_has_the_methods_views_of_its_modalities(training: Made, method: str) -> None:
    given = training(method=method, dataset={"form": "captions"})
    batch = batch_of(given, ROWS)
    assert len(batch.views) == len(given.method.views)
    assert all(list(view) == [each.name for each in given.method.modalities] for view in batch.views)
    plain = prepare(given.data.train.batch(ROWS), given.data)
    for view, strength in zip(batch.views, given.method.views, strict=True):
        assert view["image"].shape == plain["image"].shape
        assert torch.equal(view["image"], plain["image"]) == (strength == "plain")


def test_without_augmentation_all_views_are_the_sample_itself(training: Made) -> None:
    given = training(method="slip", dataset={"augment": False})
    plain = prepare(given.data.train.batch(ROWS), given.data)
    for view in batch_of(given, ROWS).views:
        assert torch.equal(view["image1"], plain["image1"])


def test_labels_are_those_of_the_samples_and_for_the_supervised_alone(training: Made) -> None:
    given = training(method={"name": "supervised", "tasks": ["synergy", "share"]})
    labels = batch_of(given, ROWS).labels
    assert list(labels) == ["synergy", "share"]
    for task, classes in labels.items():
        assert torch.equal(classes, given.data.train.labels[task][ROWS])
    assert batch_of(training(method="comm"), ROWS).labels == {}


def without(data: Data, part: str, name: str) -> Data:
    kept = {key: value for key, value in getattr(data.train, part).items() if key != name}
    return replace(data, train=replace(data.train, **{part: kept}))


@pytest.mark.parametrize(
    ("part", "name", "words"),
    [
        ("pools", "image2", "the training data has no modality 'image2'; it has image1"),
        ("labels", "synergy", "no labels of the task 'synergy'; it has share, unique1, unique2"),
    ],
)
def test_data_that_lacks_what_is_learned_from_is_refused(
    training: Made, part: str, name: str, words: str
) -> None:
    given = training(method="supervised")
    require_what_is_learned_from(given.method, given.data)
    with pytest.raises(DataError, match=words):
        require_what_is_learned_from(given.method, without(given.data, part, name))
