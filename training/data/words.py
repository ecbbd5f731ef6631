"""Which of a tokenizer's ids are words, and which one stands for a hidden word. B batch, L tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.errors import DataError

MASK_TOKEN = "[MASK]"


@dataclass(frozen=True)
class Words:
    mask_id: int
    special_ids: tuple[int, ...]
    """Padding, the mask, and what marks a text's ends: never hidden."""

    def among(self, tokens: Tensor) -> Tensor:
        """(B, L) booleans, true for the words of tokens (B, L)."""
        words = torch.ones_like(tokens, dtype=torch.bool)
        for special in self.special_ids:
            words &= tokens != special
        return words

    def randomly_hidden(self, tokens: Tensor, share: float) -> Tensor:
        """The tokens, each word replaced by the mask with this probability."""
        hidden = (torch.rand(tokens.shape, device=tokens.device) < share) & self.among(tokens)
        return tokens.masked_fill(hidden, self.mask_id)


def words_of(tokenizer: Tokenizer) -> Words:
    """Raises DataError when the tokenizer has no mask."""
    mask_id = tokenizer.token_to_id(MASK_TOKEN)
    if mask_id is None:
        raise DataError(
            f"the tokenizer has no token {MASK_TOKEN}, which stands in place of hidden words; take that of a tower of "
            "the BERT family"
        )
    added = tokenizer.get_added_tokens_decoder()
    return Words(mask_id, tuple(sorted(id for id, token in added.items() if token.special)))
