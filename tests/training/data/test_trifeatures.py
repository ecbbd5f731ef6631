"""Trifeatures whole: rendered once for this file, which takes some ten seconds of one CPU."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data import Augmenter, load, prepare
from training.data.rendering import COLORS, SHAPES, TEXTURES, draw_scenes, render
from training.data.trifeatures import cached_pictures, in_drawing_order, split_pictures
from training.spec import Trifeatures


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("datasets")


def test_2400_pictures_are_for_training_and_200_for_the_test():
    train, test = split_pictures(in_drawing_order(np.random.default_rng(42)))
    assert len(train) == 2_400
    assert len(test) == 200


def test_a_combination_is_wholly_in_training_or_wholly_in_the_test():
    train, test = split_pictures(in_drawing_order(np.random.default_rng(42)))
    seen, unseen = ({(each.shape, each.texture, each.color) for each in side} for side in (train, test))
    assert not seen & unseen
    assert len(seen) == 800
    assert len(unseen) == 200
    assert {each.copy for each in train} == {0, 1, 2}


def test_pictures_are_ordered_by_file_name():
    for side in split_pictures(in_drawing_order(np.random.default_rng(42))):
        names = [picture.file_name for picture in side]
        assert names == sorted(names)


@pytest.mark.slow
def test_the_cached_pictures_are_those_rendered_one_after_another(cache):
    rng = np.random.default_rng(42)
    pictures = in_drawing_order(rng)
    combinations = [(each.shape, each.texture, each.color) for each in pictures]
    scenes = dict(zip(pictures, draw_scenes(rng, combinations), strict=True))
    stored = cached_pictures(cache)
    for side, name in zip(split_pictures(pictures), ("train", "test"), strict=True):
        for row in range(0, len(side), 37):
            assert np.array_equal(stored[name][row], render(scenes[side[row]]))


def test_smaller_pictures_are_means_over_areas(cache):
    whole, small = cached_pictures(cache)["test"], cached_pictures(cache, 32)["test"]
    blocks = whole.reshape(200, 3, 32, 7, 32, 7).astype(np.float64).mean((3, 5))
    assert np.abs(small - blocks).max() <= 0.5 + 1e-4


def test_pair_labels_fit_the_pictures_shown(cache):
    data = load(Trifeatures(image_size=32), cache)
    train, test = split_pictures(in_drawing_order(np.random.default_rng(42)))
    partner = [5, 6, 0, 7, 3, 2, 4, 9, 1, 8]
    colors = list(COLORS)
    for split, pictures in ((data.probe_train, train), (data.probe_test, test)):
        for row in range(0, len(split), 7):
            first = pictures[split.index["image1"][row]]
            second = pictures[split.index["image2"][row]]
            assert first.shape == second.shape == SHAPES[split.labels["share"][row]]
            assert first.texture == TEXTURES[split.labels["unique1"][row]]
            assert second.texture == TEXTURES[split.labels["unique2"][row]]
            positive = colors.index(second.color) == partner[TEXTURES.index(first.texture)]
            assert positive == bool(split.labels["synergy"][row])


def test_probes_see_10000_training_pairs_and_all_4094_test_pairs(cache):
    data = load(Trifeatures(image_size=32, biased=True, n_pairs=640), cache)
    assert len(data.train) == 640
    assert data.train.labels["synergy"].all()
    assert len(data.probe_train) == 10_000
    assert len(data.probe_test) == 4_094
    assert data.probe_test.labels["synergy"].sum() == 404


def test_probes_may_be_fitted_on_as_many_pairs_with_the_relation_as_without(cache):
    spec = Trifeatures(image_size=32, n_pairs=640)
    data, balanced = load(spec, cache), load(spec.model_copy(update={"balanced_probes": True}), cache)
    assert 900 < data.probe_train.labels["synergy"].sum() < 1_100
    assert balanced.probe_train.labels["synergy"].sum() == 5_000
    assert len(balanced.probe_train) == 10_000
    assert balanced.probe_test.labels["synergy"].tolist() == data.probe_test.labels["synergy"].tolist()
    assert balanced.train.index["image2"].tolist() == data.train.index["image2"].tolist()


def test_a_light_view_keeps_the_colour_that_the_published_one_may_take(cache):
    def hue(views: torch.Tensor) -> torch.Tensor:
        shown = views.mean((2, 3))
        return (shown - shown.mean(1, keepdim=True)) / shown.std(1, keepdim=True)

    kept = {}
    for views in ("light", "full"):
        spec = Trifeatures(image_size=32, n_pairs=640, views=views)
        data = load(spec, cache)
        batch = {"image1": data.train.batch(torch.arange(640))["image1"]}
        torch.manual_seed(0)
        seen, plain = Augmenter(spec, data)(batch)["image1"], prepare(batch, data)["image1"]
        mean, std = (torch.tensor(each)[:, None, None] for each in data.normalisation["image1"])
        kept[views] = (hue(seen * std + mean) - hue(plain * std + mean)).abs().amax(1) < 0.5
    assert kept["light"].float().mean() > 0.8 > 0.65 > kept["full"].float().mean()


def test_a_caption_names_shape_and_color_but_not_texture(cache):
    data = load(Trifeatures(image_size=32, form="captions", n_pairs=1_000), cache)
    sentences = data.train.batch(torch.arange(1_000))["text"].tolist()
    labels = data.train.labels
    for row, sentence in enumerate(data.tokenizer.decode_batch(sentences)):
        words = sentence.split()
        assert SHAPES[labels["shape"][row]] in words
        assert list(COLORS)[labels["color"][row]] in words
        assert TEXTURES[labels["texture"][row]] not in words


def test_each_item_is_probed_once_with_its_caption(cache):
    data = load(Trifeatures(image_size=32, form="captions", n_pairs=1_000), cache)
    assert data.probe_train.index["image"].tolist() == list(range(2_400))
    assert data.probe_test.index["image"].tolist() == list(range(200))


def test_the_same_spec_gives_the_same_content_and_every_setting_another(cache):
    specs = [
        Trifeatures(image_size=32, n_pairs=500),
        Trifeatures(image_size=32, n_pairs=500, biased=True),
        Trifeatures(image_size=32, n_pairs=500, form="triples"),
        Trifeatures(image_size=32, n_pairs=500, form="captions"),
    ]
    digests = [load(spec, cache).sha256 for spec in specs]
    assert digests == [load(spec, cache).sha256 for spec in specs]
    assert all(one != other for one, other in pairwise(sorted(digests)))
