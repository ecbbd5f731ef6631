"""Digits in their three forms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from training.data import Data, load
from training.data.captions import MASK_ID, PAD_ID
from training.data.digits import NORMALISATION, NUMERALS, PARTNERS, digits
from training.spec import Digits

FORMS = ["pairs", "captions", "triples"]


def load_form(form: str, **more) -> Data:
    return load(Digits(form=form, n_pairs=500, **more), Path("unused"))


def said(data: Data, tokens: torch.Tensor) -> str:
    return data.tokenizer.decode(tokens.tolist())


def test_training_and_test_share_no_scan():
    family = digits(Digits())
    scans = np.round(load_digits().images * (255 / 16)).astype(np.uint8)[:, None]
    train, test = family.train.images.numpy(), family.test.images.numpy()
    assert len(train) == 1_437
    assert len(test) == 360
    together = np.concatenate([train, test]).reshape(1_797, -1)
    assert np.array_equal(np.unique(together, axis=0), np.unique(scans.reshape(1_797, -1), axis=0))


def test_every_digit_has_its_proportion_in_the_test():
    counts = np.bincount(digits(Digits()).test.attributes.unique)
    assert counts.min() >= 34
    assert counts.max() <= 37


def test_ink_of_16_is_white_and_of_0_black():
    pixels = digits(Digits()).train.images
    assert pixels.dtype == torch.uint8
    assert set(pixels.unique().tolist()) == {round(255 * ink / 16) for ink in range(17)}


def test_normalised_training_digits_have_zero_mean_and_unit_deviation():
    (mean,), (std,) = NORMALISATION
    pixels = digits(Digits()).train.images.float() / 255
    assert pixels.mean().item() == pytest.approx(mean, abs=0.002)
    assert pixels.std().item() == pytest.approx(std, abs=0.002)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_has_the_shapes_that_the_spec_announces(form):
    spec = Digits(form=form, n_pairs=500, image_size=12)
    batch = load(spec, Path("unused")).train.batch(torch.tensor([3, 1, 4]))
    assert list(batch) == [modality.name for modality in spec.modalities]
    for modality in spec.modalities:
        items = batch[modality.name]
        if modality.kind == "image":
            assert items.dtype == torch.uint8
            assert items.shape == (3, modality.channels, 12, 12)
        else:
            assert items.dtype == torch.int64
            assert items.shape[0] == 3
            assert items.shape[1] <= modality.max_tokens


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_the_tasks_of_the_spec_and_within_their_classes(form):
    data = load_form(form)
    tasks = Digits(form=form).tasks
    for split in (data.train, data.probe_train, data.probe_test):
        assert set(split.labels) == {task.name for task in tasks}
        assert all(split.labels[task.name].min() >= 0 for task in tasks)
        assert all(split.labels[task.name].max() < task.classes for task in tasks)
        assert all(len(labels) == len(split) for labels in split.labels.values())


def test_pair_labels_fit_the_digits_shown():
    data, family = load_form("pairs"), digits(Digits())
    for split, items in ((data.train, family.train), (data.probe_test, family.test)):
        first = items.attributes.unique[split.index["image1"].numpy()]
        second = items.attributes.unique[split.index["image2"].numpy()]
        assert np.array_equal(split.labels["unique1"], first)
        assert np.array_equal(split.labels["unique2"], second)
        assert np.array_equal(split.labels["share"], first % 2)
        assert np.array_equal(split.labels["share"], second % 2)
        assert np.array_equal(split.labels["synergy"], second == PARTNERS[first])


def test_half_of_the_pairs_that_probes_see_are_synergetic_however_training_is_biased():
    for biased in (False, True):
        data = load(Digits(biased=biased, n_pairs=10_000), Path("unused"))
        assert data.train.labels["synergy"].float().mean() == (1 if biased else pytest.approx(0.2, abs=0.02))
        assert data.probe_train.labels["synergy"].float().mean() == 0.5
        assert data.probe_test.labels["synergy"].float().mean() == 0.5


@pytest.mark.parametrize("n_pairs", [64, 500, 10_000])
def test_training_has_exactly_as_many_samples_as_asked(n_pairs):
    for form in FORMS:
        assert len(load(Digits(form=form, n_pairs=n_pairs), Path("unused")).train) == n_pairs


def test_a_caption_names_the_digit_in_the_image():
    data = load_form("captions")
    for split in (data.train, data.probe_train, data.probe_test):
        tokens = split.batch(torch.arange(200))["text"]
        for sentence, digit in zip(tokens, split.labels["digit"][:200].tolist(), strict=True):
            words = said(data, sentence).replace(",", " ").split()
            assert [word for word in words if word in NUMERALS] == [NUMERALS[digit]]


def test_the_caption_of_a_triple_names_the_first_digit():
    data = load_form("triples")
    tokens = data.train.batch(torch.arange(200))["text"]
    for sentence, digit in zip(tokens, data.train.labels["unique1"][:200].tolist(), strict=True):
        assert NUMERALS[digit] in said(data, sentence).replace(",", " ").split()


def test_captioned_training_shows_every_combination_before_any_twice():
    data = load(Digits(form="captions", n_pairs=1_437 * 6 + 100), Path("unused"))
    combinations = torch.stack([data.train.index["image"], data.train.index["text"]], 1)
    assert len(combinations[: 1_437 * 6].unique(dim=0)) == 1_437 * 6


def test_the_tokenizer_pads_truncates_ignores_case_and_can_say_anything():
    tokenizer = load_form("captions").tokenizer
    assert tokenizer.token_to_id("[PAD]") == PAD_ID
    assert tokenizer.token_to_id("[MASK]") == MASK_ID
    short, long = tokenizer.encode_batch(["Seven", "the digit " * 50])
    assert len(short.ids) == len(long.ids) == 16
    assert short.ids[1:] == [PAD_ID] * 15
    assert tokenizer.encode("SEVEN").ids == tokenizer.encode("seven").ids
    assert tokenizer.decode(tokenizer.encode("ein ☂, 日本").ids).strip() == "ein ☂, 日本"


@pytest.mark.parametrize("form", FORMS)
def test_the_same_spec_gives_the_same_content(form):
    assert load_form(form).sha256 == load_form(form).sha256
    assert load_form(form).sha256 != load(Digits(form=form, n_pairs=501), Path("unused")).sha256


def test_another_process_gives_the_same_content():
    program = (
        "from pathlib import Path; from training.data import load; from training.spec import Digits;"
        "import sys; sys.stdout.write(load(Digits(form='triples', n_pairs=500), Path('unused')).sha256)"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout == load_form("triples").sha256


def test_larger_digits_are_the_same_digits():
    small, large = digits(Digits()).test.images, digits(Digits(image_size=16)).test.images
    assert large.shape == (360, 1, 16, 16)
    means = small.float().mean((1, 2, 3)), large.float().mean((1, 2, 3))
    assert torch.allclose(*means, atol=12)
