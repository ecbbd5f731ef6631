"""The masked autoencoder's errors: equal to loops, 1 by guessing, and blind to what was visible."""

from __future__ import annotations

import math

import pytest
import torch

from training.losses import mean_error, number_errors, word_errors
from training.modules.patches import normalised_patches


def average(errors: torch.Tensor) -> float:
    """Of all that is hidden in the batch."""
    return mean_error({"image": errors}).loss.item()


def test_the_pixel_error_equals_a_loop_over_hidden_patches() -> None:
    predicted, target = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(3, 5, 4, dtype=torch.float64)
    hidden = torch.rand(3, 5) < 0.5
    errors = [
        sum((predicted[b, n, k] - target[b, n, k]).item() ** 2 for k in range(4)) / 4
        for b in range(3)
        for n in range(5)
        if hidden[b, n]
    ]
    assert average(number_errors(predicted, target, hidden)) == pytest.approx(sum(errors) / len(errors))


def test_the_word_error_equals_a_loop_over_hidden_words() -> None:
    logits, words = torch.randn(3, 5, 9, dtype=torch.float64), torch.randint(0, 9, (3, 5))
    hidden = torch.rand(3, 5) < 0.5
    errors = [
        -math.log(logits[b, i].softmax(0)[words[b, i]].item()) / math.log(9)
        for b in range(3)
        for i in range(5)
        if hidden[b, i]
    ]
    assert average(word_errors(logits, words, hidden)) == pytest.approx(sum(errors) / len(errors))


def test_guessing_costs_one_in_every_modality() -> None:
    target = normalised_patches(torch.randn(4, 6, 16, dtype=torch.float64))
    everything = torch.ones(4, 6, dtype=torch.bool)
    pixels = number_errors(torch.zeros_like(target), target, everything)
    words = word_errors(torch.zeros(4, 6, 50), torch.randint(0, 50, (4, 6)), everything)
    assert average(pixels) == pytest.approx(1, abs=1e-4)
    assert average(words) == pytest.approx(1, rel=1e-6)
    loss, terms = mean_error({"image": pixels, "text": words})
    assert loss.item() == pytest.approx(1, abs=1e-4)
    assert list(terms) == ["restore_image", "restore_text"]


def test_what_was_visible_has_no_gradient() -> None:
    predicted = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    hidden = torch.tensor([[True, False, True, False], [False, False, False, True]])
    errors = number_errors(predicted, torch.zeros_like(predicted), hidden)
    mean_error({"image": errors}).loss.backward()
    assert predicted.grad is not None
    assert (predicted.grad.abs().sum(-1) > 0).equal(hidden)


def test_a_batch_without_a_hidden_word_costs_nothing() -> None:
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert average(word_errors(torch.randn(2, 3, 5), torch.zeros(2, 3, dtype=torch.int64), nothing)) == 0
