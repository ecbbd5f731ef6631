"""Splits, and what the network is given of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.data import Data, load, prepare
from training.spec import Digits


@pytest.fixture(scope="module")
def data() -> Data:
    return load(Digits(form="triples", n_pairs=500), Path("unused"))


def test_a_batch_gathers_the_items_of_its_samples(data):
    split, rows = data.train, torch.tensor([7, 0, 7])
    batch = split.batch(rows)
    for modality, items in batch.items():
        for item, row in zip(items, rows, strict=True):
            assert torch.equal(item, split.pools[modality][split.index[modality][row]])


def test_a_split_is_as_long_as_its_samples(data):
    assert len(data.train) == 500
    assert all(len(rows) == 500 for rows in data.train.index.values())


def test_prepared_images_are_normalised_and_tokens_stay(data):
    batch = data.train.batch(torch.arange(16))
    prepared = prepare(batch, data)
    (mean,), (std,) = data.mean_std("image1")
    assert prepared["image1"].dtype == torch.float32
    assert torch.allclose(
        prepared["image1"], (batch["image1"].double() / 255 - mean).div(std).float(), atol=1e-6
    )
    assert prepared["text"] is batch["text"]


def test_a_text_has_no_mean(data):
    with pytest.raises(KeyError, match="text is not normalised"):
        data.mean_std("text")


def test_pools_that_are_shared_stay_shared_on_another_device(data):
    moved = data.to("meta")
    assert moved.train.pools["image1"].device.type == "meta"
    assert moved.train.pools["image1"] is moved.train.pools["image2"]
    assert moved.train.pools["image1"] is moved.probe_train.pools["image1"]
    assert moved.train.index["image1"].device.type == "meta"
    assert moved.sha256 == data.sha256
