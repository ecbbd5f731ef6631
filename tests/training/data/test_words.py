"""What of a text is hidden: words, and nothing that a tokenizer put there."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models

from training.data.captions import CAPTION_WORDS, train_tokenizer
from training.data.words import Words, words_of
from training.errors import DataError


def test_a_tokenizer_says_which_of_its_ids_are_special() -> None:
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "a": 1, "[CLS]": 2, "[MASK]": 3}, unk_token="a"))
    tokenizer.add_special_tokens(["[PAD]", "[CLS]", "[MASK]"])
    assert words_of(tokenizer) == Words(3, (0, 2, 3))


def test_the_tokenizer_of_captions_masks_as_its_encoder_expects() -> None:
    assert words_of(train_tokenizer(["a red circle"], 5)) == CAPTION_WORDS


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    with pytest.raises(DataError, match=r"no token \[MASK\]"):
        words_of(Tokenizer(models.WordLevel({"[PAD]": 0}, unk_token="[PAD]")))


def test_a_share_of_the_words_is_hidden_and_nothing_special() -> None:
    torch.manual_seed(0)
    words = Words(mask_id=3, special_ids=(0, 2, 3))
    tokens = torch.tensor([[2, 7, 8, 9, 2, 0, 0]]).repeat(5_000, 1)
    hidden = words.randomly_hidden(tokens, 0.3)
    assert torch.equal(hidden[:, [0, 4, 5, 6]], tokens[:, [0, 4, 5, 6]])
    assert (hidden[:, 1:4] == 3).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(words.randomly_hidden(tokens, 0.0), tokens)
