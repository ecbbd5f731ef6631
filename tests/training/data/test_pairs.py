"""How pairs are made: against slow loops, and against the published counts."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from training.data.digits import PARTNERS, digits
from training.data.pairs import (
    Attributes,
    allowed_pairs,
    draw_balanced,
    draw_pairs,
    pair_labels,
    random_partners,
)
from training.data.trifeatures import attribute_classes, in_drawing_order, split_pictures
from training.errors import DataError
from training.spec import Digits, Trifeatures


@pytest.fixture(scope="module")
def trifeatures() -> dict[str, Attributes]:
    sides = split_pictures(in_drawing_order(np.random.default_rng(42)))
    classes = [attribute_classes(side) for side in sides]
    return {
        name: Attributes(share=shape, unique=texture, cue=texture, answer=color)
        for name, (shape, texture, color) in zip(("train", "test"), classes, strict=True)
    }


@pytest.fixture(scope="module")
def digit_items() -> Attributes:
    return digits(Digits()).train.attributes


def few_items() -> Attributes:
    rng = np.random.default_rng(0)
    return Attributes(*(rng.integers(0, 10, 60) for _ in range(4)))


def test_the_partners_are_the_published_ones():
    assert random_partners().tolist() == [5, 6, 0, 7, 3, 2, 4, 9, 1, 8]


@pytest.mark.parametrize(
    ("side", "biased", "published"),
    [("test", False, 4_094), ("test", True, 404), ("train", False, 576_846), ("train", True, 57_636)],
)
def test_there_are_as_many_trifeatures_pairs_as_published(trifeatures, side, biased, published):
    assert len(allowed_pairs(trifeatures[side], random_partners(), biased)) == published


@pytest.mark.parametrize("biased", [False, True])
def test_allowed_pairs_are_those_of_two_nested_loops(biased):
    items, partners = few_items(), random_partners()
    slow = [
        [i, j]
        for i in range(60)
        for j in range(60)
        if items.share[i] == items.share[j] and (not biased or partners[items.cue[i]] == items.answer[j])
    ]
    assert allowed_pairs(items, partners, biased).tolist() == slow


def test_pairs_are_drawn_after_the_partners_from_one_generator_without_replacement():
    items, partners = few_items(), random_partners()
    allowed = allowed_pairs(items, partners, biased=False)
    rng = np.random.default_rng(42)
    rng.permutation(10)
    chosen = rng.choice(len(allowed), 100, replace=False)
    drawn = draw_pairs(items, partners, biased=False, count=100)
    assert np.array_equal(drawn, allowed[chosen])
    assert len(np.unique(drawn, axis=0)) == 100


def test_labels_are_those_of_a_slow_loop():
    items, partners = few_items(), random_partners()
    pairs = allowed_pairs(items, partners, biased=False)
    labels = pair_labels(items, partners, pairs)
    for row, (i, j) in enumerate(pairs):
        assert labels["share"][row] == items.share[i] == items.share[j]
        assert labels["unique1"][row] == items.unique[i]
        assert labels["unique2"][row] == items.unique[j]
        assert labels["synergy"][row] == (partners[items.cue[i]] == items.answer[j])


def test_biased_pairs_all_have_the_synergy_relation(trifeatures):
    partners = random_partners()
    pairs = draw_pairs(trifeatures["train"], partners, biased=True, count=5_000)
    assert pair_labels(trifeatures["train"], partners, pairs)["synergy"].all()


def test_balanced_pairs_are_different_allowed_pairs_of_which_half_have_the_relation(trifeatures):
    items, partners = trifeatures["train"], random_partners()
    pairs = draw_balanced(items, partners, count=5_000)
    assert len(np.unique(pairs, axis=0)) == 5_000
    assert np.array_equal(items.share[pairs[:, 0]], items.share[pairs[:, 1]])
    assert pair_labels(items, partners, pairs)["synergy"].sum() == 2_500


def test_more_pairs_than_there_are_is_refused_with_their_number():
    with pytest.raises(DataError, match=r"100000 pairs .* only \d+ exist; make n_pairs smaller"):
        draw_pairs(few_items(), random_partners(), biased=False, count=100_000)


def test_a_digits_partner_is_another_digit_of_the_same_parity():
    assert sorted(PARTNERS) == list(range(10))
    assert all(partner % 2 == digit % 2 and partner != digit for digit, partner in enumerate(PARTNERS))


def test_a_fifth_of_unbiased_digit_pairs_are_positive(digit_items):
    labels = pair_labels(digit_items, PARTNERS, allowed_pairs(digit_items, PARTNERS, biased=False))
    assert labels["synergy"].mean() == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize("biased", [False, True])
def test_the_specs_know_how_many_training_pairs_there_are(trifeatures, digit_items, biased):
    assert Digits.MOST_PAIRS[biased] == len(allowed_pairs(digit_items, PARTNERS, biased))
    assert Trifeatures.MOST_PAIRS[biased] == len(
        allowed_pairs(trifeatures["train"], random_partners(), biased)
    )


@pytest.mark.parametrize(("spec", "most"), [(Digits, 206_485), (Trifeatures, 57_636)])
def test_a_spec_with_more_pairs_than_there_are_is_refused(spec, most):
    assert spec(biased=True, n_pairs=most).n_pairs == most
    with pytest.raises(ValidationError, match=f"{most + 1} pairs are asked for but the dataset has {most}"):
        spec(biased=True, n_pairs=most + 1)


@pytest.mark.parametrize("asked", ["biased", "balanced_probes"])
def test_captions_have_no_relation_to_choose_by_but_may_be_as_many_as_one_likes(asked):
    assert Trifeatures(form="captions", n_pairs=1_000_000).n_pairs == 1_000_000
    with pytest.raises(ValidationError, match=f"no synergy relation to choose by; leave `{asked}` out"):
        Trifeatures(form="captions", **{asked: True})
