"""What is hidden: as much as was asked for, of each modality its own share, and never padding."""

from __future__ import annotations

import pytest
import torch

from training.modules.masking import drawn_ratios, random_hidden
from training.spec import RatioRange


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.75, 0.99])
def test_of_each_sample_the_share_of_what_is_there_is_hidden(ratio: float) -> None:
    lengths = torch.arange(1, 21)
    there = torch.arange(20) < lengths[:, None]
    hidden = random_hidden(there, ratio)
    assert not (hidden & ~there).any()
    assert hidden.sum(1).tolist() == [n - int(n * (1 - ratio)) for n in lengths.tolist()]
    assert (hidden.sum(1) >= 1).all()


def test_nothing_is_hidden_where_nothing_is() -> None:
    assert not random_hidden(torch.zeros(2, 4, dtype=torch.bool), 0.5).any()


def test_every_part_is_hidden_equally_often() -> None:
    torch.manual_seed(0)
    often = random_hidden(torch.ones(20_000, 8, dtype=torch.bool), 0.5).float().mean(0)
    assert torch.allclose(often, torch.full((8,), 0.5), atol=0.02)


def test_a_number_takes_no_random_number_and_holds_for_all() -> None:
    state = torch.get_rng_state()
    assert drawn_ratios(0.7, ["image", "text"]) == [0.7, 0.7]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_range_is_drawn_from_once_for_all_modalities_and_anew_at_every_step() -> None:
    torch.manual_seed(0)
    drawn = [drawn_ratios(RatioRange(low=0.2, high=0.4), ["image", "text"]) for _ in range(500)]
    assert all(image == text for image, text in drawn)
    images = [image for image, _ in drawn]
    assert 0.2 <= min(images) < 0.21
    assert 0.39 < max(images) <= 0.4


def test_each_modality_has_its_own_number_or_range() -> None:
    torch.manual_seed(0)
    ratios = {"text": RatioRange(low=0.1, high=0.2), "image": 0.8}
    image, text = drawn_ratios(ratios, ["image", "text"])
    assert image == 0.8
    assert 0.1 <= text <= 0.2
