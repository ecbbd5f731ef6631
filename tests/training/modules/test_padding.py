"""What is there of a text, a sequence, a table and an image."""

from __future__ import annotations

import torch

from training.modules.padding import is_there


def test_of_a_text_all_but_token_0_is_there() -> None:
    assert is_there("text", torch.tensor([[5, 1, 0], [0, 0, 0]])).tolist() == [
        [True, True, False],
        [False, False, False],
    ]


def test_a_sequence_is_there_up_to_its_last_step_that_is_not_all_zeros_and_by_one_step_at_least() -> None:
    x = torch.zeros(4, 4, 2)
    x[0, 2, 1] = -1e-9  # with steps of zeros before it
    x[1] = 1
    x[2, 0, 0] = 1
    assert is_there("sequence", x).sum(1).tolist() == [3, 4, 1, 1]
    assert is_there("sequence", x)[:, 0].all()


def test_tables_and_images_have_no_padding() -> None:
    assert is_there("table", torch.zeros(2, 3)).tolist() == [[True] * 3] * 2
    assert is_there("image", torch.zeros(2, 3, 5)).tolist() == [[True] * 3] * 2
