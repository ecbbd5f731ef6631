"""Views differ from sample to sample, come again with the generator's state, and stay what they are views of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.data import Augmenter, Data, load, prepare
from training.data.captions import MASK_ID, PAD_ID
from training.data.geometry import random_affine, random_resized_crop
from training.data.simclr import random_blur, random_grey, random_jitter
from training.spec import Digits, Trifeatures

SPEC = Digits(form="triples", n_pairs=500)


@pytest.fixture(scope="module")
def data() -> Data:
    return load(SPEC, Path("unused"))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def some_images(n: int = 32, channels: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(n, channels, size, size)


def colorful(data: Data) -> tuple[Trifeatures, Data]:
    """Data with the normalisation of Trifeatures; an Augmenter needs nothing else of it."""
    normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Trifeatures(), Data(data.train, data.train, data.train, None, {"image1": normalisation}, "")


@pytest.mark.parametrize("strength", ["full", "crop"])
@pytest.mark.parametrize("kind", ["digits", "trifeatures"])
def test_every_sample_of_a_batch_has_its_own_view(data, kind, strength):
    if kind == "digits":
        augment, image = Augmenter(SPEC, data, strength), data.train.pools["image1"][:1]
    else:
        spec, content = colorful(data)
        augment, image = Augmenter(spec, content, strength), (some_images(1) * 255).to(torch.uint8)
    views = augment({"image1": image.expand(64, -1, -1, -1)})["image1"]
    distinct = torch.unique(views, dim=0)
    assert views.dtype == torch.float32
    assert views.isfinite().all()
    # About one crop in 200 finds no window that fits and is the whole image.
    assert len(distinct) >= 60


@pytest.mark.parametrize("strength", ["full", "crop"])
def test_the_generators_state_brings_the_same_views_again(data, strength):
    augment, batch = Augmenter(SPEC, data, strength), data.train.batch(torch.arange(64))
    state = torch.get_rng_state()
    once = augment(batch)
    other = augment(batch)
    torch.set_rng_state(state)
    again = augment(batch)
    assert all(torch.equal(once[name], again[name]) for name in batch)
    assert not torch.equal(once["image1"], other["image1"])


def test_an_augmented_batch_has_the_shapes_of_a_prepared_one(data):
    batch = data.train.batch(torch.arange(64))
    prepared, view = prepare(batch, data), Augmenter(SPEC, data)(batch)
    assert {name: items.shape for name, items in view.items()} == {
        name: items.shape for name, items in prepared.items()
    }
    assert {name: items.dtype for name, items in view.items()} == {
        name: items.dtype for name, items in prepared.items()
    }


def test_augmenting_leaves_the_raw_batch_alone(data):
    batch = data.train.batch(torch.arange(64))
    before = {name: items.clone() for name, items in batch.items()}
    Augmenter(SPEC, data)(batch)
    assert all(torch.equal(batch[name], before[name]) for name in batch)


def test_views_of_a_digit_resemble_it_more_than_its_mirror_image(data):
    batch = {"image1": data.train.pools["image1"]}
    original = prepare(batch, data)["image1"]
    view = Augmenter(SPEC, data)(batch)["image1"]
    resemblance = (view * original).mean((1, 2, 3))
    mirrored = (view * original.flip(-1)).mean((1, 2, 3))
    assert (resemblance > mirrored).float().mean() > 0.85


def test_some_15_percent_of_a_captions_words_are_hidden_and_no_padding(data):
    tokens = data.train.pools["text"].repeat(50, 1)
    hidden = Augmenter(SPEC, data)({"text": tokens})["text"]
    changed = hidden != tokens
    assert (hidden[changed] == MASK_ID).all()
    assert not changed[tokens == PAD_ID].any()
    assert changed[tokens > MASK_ID].float().mean() == pytest.approx(0.15, abs=0.01)


def test_crops_alone_leave_captions_alone(data):
    tokens = data.train.pools["text"]
    assert torch.equal(Augmenter(SPEC, data, "crop")({"text": tokens})["text"], tokens)


def test_a_window_that_cannot_fit_is_the_whole_image_and_may_be_mirrored():
    images = some_images()
    assert torch.allclose(random_resized_crop(images, min_area=1), images, atol=1e-5)
    assert torch.allclose(random_resized_crop(images, min_area=1, flip=1), images.flip(-1), atol=1e-5)


def test_a_crop_shows_a_window_inside_the_image_of_the_size_asked_for():
    size, n = 64, 2_000
    ramp = (torch.arange(size) + 0.5) / size
    images = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size)]).expand(n, -1, -1, -1)
    cropped = random_resized_crop(images, min_area=0.25)
    # On a ramp, what a window's edges show is where they are; a pixel's centre is half a pixel inside.
    width = (cropped[:, 0, 0, -1] - cropped[:, 0, 0, 0]) * size / (size - 1)
    height = (cropped[:, 1, -1, 0] - cropped[:, 1, 0, 0]) * size / (size - 1)
    area, ratio = width * height, width / height
    assert area.min() > 0.24
    assert area.max() < 1.01
    assert area.mean() == pytest.approx(0.58, abs=0.05)
    assert ratio.min() > 0.74
    assert ratio.max() < 1.35


def test_no_turn_no_shift_and_no_zoom_change_nothing():
    images = some_images()
    assert torch.allclose(random_affine(images, degrees=0, shift=0, scale=(1, 1)), images, atol=1e-5)


def test_a_shift_moves_by_at_most_the_share_asked_for():
    images = torch.zeros(500, 1, 33, 33)
    images[:, :, 16, 16] = 1
    moved = random_affine(images, degrees=0, shift=1 / 8, scale=(1, 1))
    place = torch.arange(33.0) - 16
    x = (moved.sum((1, 2)) * place).sum(-1)
    assert x.abs().max() <= 33 / 8 + 1e-3
    assert x.abs().max() > 3.5


def test_a_fifth_stays_unjittered_and_the_rest_stays_in_range():
    images = some_images(1_000, size=8)
    jittered = random_jitter(images)
    same = (jittered - images).abs().amax((1, 2, 3)) < 1e-5
    assert same.float().mean() == pytest.approx(0.2, abs=0.04)
    assert jittered.min() >= 0
    assert jittered.max() <= 1


def test_a_fifth_turns_grey_and_the_rest_is_untouched():
    images = some_images(1_000, size=8)
    changed = random_grey(images)
    grey = (changed.amax(1) - changed.amin(1)).amax((1, 2)) == 0
    assert grey.float().mean() == pytest.approx(0.2, abs=0.04)
    assert torch.equal(changed[~grey], images[~grey])


def test_half_is_blurred_by_its_own_radius_and_the_rest_is_untouched():
    images = torch.zeros(400, 3, 112, 112)
    images[:, :, 56, 56] = 1
    blurred = random_blur(images)
    assert torch.allclose(blurred.sum((2, 3)), torch.ones(400, 3), atol=1e-4)
    variance = (blurred[:, 0].sum(1) * (torch.arange(112.0) - 56) ** 2).sum(-1)
    untouched = variance < 1e-6
    assert untouched.float().mean() == pytest.approx(0.6, abs=0.12)
    assert torch.allclose(blurred[untouched], images[untouched], atol=1e-5)
    # Radii of 224 pixels halve with the image.
    assert variance.max() <= 1.0
    assert variance.max() > 0.7
