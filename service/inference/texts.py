"""Texts: from what somebody wrote to the tokens that a network takes, with the tokenizer it was trained with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models_store.manifest import TextInput
from service.errors import InvalidError, TooLargeError


class Tokens(NamedTuple):
    ids: NDArray[np.int64]
    """(L,), without padding."""
    truncated: bool
    """Whether the text had more tokens than the network was trained to read."""


def open_tokenizer(content: bytes, wanted: TextInput) -> Tokenizer:
    """The bundle's tokenizer, cutting off where training did. Padding is the batch's business."""
    tokenizer = Tokenizer.from_str(content.decode())
    tokenizer.enable_truncation(**{**(tokenizer.truncation or {}), "max_length": wanted.max_tokens})
    tokenizer.no_padding()
    # Somebody who writes "[PAD]" means these letters, not the token that hides what follows.
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(tokenizer: Tokenizer, text: str, max_chars: int) -> Tokens:
    """Raises InvalidError for a text that says nothing, TooLargeError for one longer than `max_chars`."""
    if len(text) > max_chars:
        raise TooLargeError(
            "text_too_long", f"the text has {len(text)} characters; {max_chars} are allowed; shorten it"
        )
    encoding = tokenizer.encode(text) if text.strip() else None
    if encoding is None or not encoding.ids:
        raise InvalidError(
            "empty_text", "the text is empty; leave the modality out if the sample has none of it"
        )
    return Tokens(np.array(encoding.ids, dtype=np.int64), bool(encoding.overflowing))
