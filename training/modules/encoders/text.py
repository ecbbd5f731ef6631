"""A text transformer that is trained from scratch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.data.captions import CAPTION_WORDS
from training.data.words import Words
from training.modules.encoders.encoder import Encoder
from training.modules.fusion import Block
from training.modules.padding import is_there


class WordEncoder(Encoder):
    """A part for each token of a text, zero for padding."""

    words: Words
    """What its ids mean."""

    def there(self, x: Tensor, parts: Tensor) -> Tensor:
        return is_there("text", x)


class TextEncoder(WordEncoder):
    """A small text transformer, from scratch: token ids (B, L), zero for padding, to (B, L, C)."""

    words = CAPTION_WORDS

    def __init__(self, vocabulary: int, max_tokens: int, width: int, heads: int, layers: int = 2) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(1, max_tokens, width) * 0.01)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        nn.init.normal_(self.embedding.weight, std=0.02)
        for block in self.blocks:
            if isinstance(block, Block):
                block.initialise(layers)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.position[:, : ids.shape[1]]
        bias = torch.where(attended(ids), 0.0, -torch.inf)
        for block in self.blocks:
            x = block(x, bias)
        return x


def attended(ids: Tensor) -> Tensor:
    """(B, L) booleans: the tokens that are there, and always the first, for a softmax over nothing would be NaN."""
    return is_there("text", ids) | (torch.arange(ids.shape[1], device=ids.device) == 0)
