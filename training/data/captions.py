"""Captions as tokens: from the sentences that may be said of each class to a pool of token rows and a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from training.data.pairs import SEED, Ints
from training.data.words import Words

PAD_ID, MASK_ID = 0, 1
SPECIAL_TOKENS = ["[PAD]", "[MASK]"]
CAPTION_WORDS = Words(MASK_ID, (PAD_ID, MASK_ID))
VOCABULARY = 1024
"""An upper bound; the 256 bytes are in it, so any text can be said, if not in few tokens."""


def train_tokenizer(sentences: Sequence[str], max_tokens: int, vocabulary: int = VOCABULARY) -> Tokenizer:
    """A byte-level BPE of these sentences that pads and truncates as the network was trained; case is ignored."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=1,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=PAD_ID, pad_token=SPECIAL_TOKENS[PAD_ID])
    return tokenizer


def caption_pool(
    captions: Sequence[Sequence[str]], max_tokens: int, tokenizer: Tokenizer | None = None
) -> tuple[Tensor, Tokenizer]:
    """Token rows of K classes with S sentences each, int64 (K·S, L): sentence s of class k in row k·S + s.

    Without a `tokenizer`, one is trained on them.
    """
    sentences = [sentence for of_class in captions for sentence in of_class]
    tokenizer = tokenizer or train_tokenizer(sentences, max_tokens)
    return token_pool(sentences, max_tokens, tokenizer), tokenizer


def token_pool(texts: Sequence[str], max_tokens: int, tokenizer: Tokenizer) -> Tensor:
    """int64 (N, L), cut after `max_tokens` and padded with 0 as far as the longest."""
    encoded = [encoding.ids[:max_tokens] for encoding in tokenizer.encode_batch(texts)]
    pool = torch.full((len(encoded), max([1, *map(len, encoded)])), PAD_ID)
    for row, ids in zip(pool, encoded, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return pool


def pick_sentences(named: Ints, n_sentences: int) -> Ints:
    """For samples that show these classes (n,), a random caption row each (n,), always the same ones."""
    rng = np.random.default_rng(SEED)
    return named * n_sentences + rng.integers(0, n_sentences, len(named))


def draw_captioned(named: Ints, n_sentences: int, count: int) -> tuple[Ints, Ints]:
    """`count` samples of N items: item rows and caption rows, (count,) each. All combinations come before any returns."""
    rng, combinations = np.random.default_rng(SEED), len(named) * n_sentences
    rounds = [rng.permutation(combinations) for _ in range(-(-count // combinations))]
    item, sentence = np.divmod(np.concatenate(rounds)[:count], n_sentences)
    return item, named[item] * n_sentences + sentence
