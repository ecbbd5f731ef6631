"""Patches hold the pixels of their place, are normalised by themselves, and cover just what they should."""

from __future__ import annotations

import torch

from training.modules.patches import normalised_patches, patchify, without


def test_a_patch_holds_the_pixels_of_its_place() -> None:
    images = torch.randn(2, 3, 6, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 9, 12)
    for row in range(3):
        for column in range(3):
            there = images[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(patches[:, 3 * row + column], there.permute(0, 2, 3, 1).flatten(1))


def test_each_patch_has_no_mean_and_unit_deviation_and_one_colour_is_nothing() -> None:
    patches = torch.randn(2, 4, 12, dtype=torch.float64) * 5 + 3
    patches[0, 0] = 7.0
    normalised = normalised_patches(patches)
    assert torch.equal(normalised[0, 0], torch.zeros(12, dtype=torch.float64))
    assert torch.allclose(normalised.mean(-1), torch.zeros(2, 4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(normalised[1].std(-1, correction=0), torch.ones(4, dtype=torch.float64), atol=1e-6)


def test_what_is_hidden_of_an_image_is_its_patch_and_nothing_else() -> None:
    images = torch.randn(2, 3, 6, 6)
    hidden = torch.rand(2, 9) < 0.5
    covered = patchify(without(images, hidden, (3, 3)), 2)
    assert torch.equal(covered, patchify(images, 2) * ~hidden[..., None])


def test_a_grid_that_does_not_divide_the_pixels_still_covers_every_cell() -> None:
    images = torch.ones(1, 1, 20, 20)
    assert without(images, torch.ones(1, 36, dtype=torch.bool), (6, 6)).sum() == 0
    one = torch.zeros(1, 36, dtype=torch.bool)
    one[0, 7] = True
    assert 9 <= (without(images, one, (6, 6)) == 0).sum() <= 16
