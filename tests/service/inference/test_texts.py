"""Texts become the tokens that the network was trained on."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer

from models_store.manifest import Manifest, TextInput
from service.errors import InvalidError, TooLargeError
from service.inference.texts import encode, open_tokenizer
from tests.service.conftest import Exported


@pytest.fixture
def trained(exported: Exported) -> Tokenizer:
    """As the trainer has it."""
    return Tokenizer.from_file(str(exported.captions / "tokenizer.json"))


@pytest.fixture
def tokenizer(exported: Exported) -> Tokenizer:
    manifest = Manifest.model_validate_json((exported.captions / "manifest.json").read_bytes())
    wanted = manifest.input_named("text")
    assert isinstance(wanted, TextInput)
    return open_tokenizer((exported.captions / wanted.tokenizer).read_bytes(), wanted)


@pytest.mark.parametrize("text", ["a handwritten three", "Someone wrote AN eight", "né çà", "x" * 40])
def test_a_text_has_the_tokens_that_training_gave_it(
    tokenizer: Tokenizer, trained: Tokenizer, text: str
) -> None:
    tokens = encode(tokenizer, text, 1000)
    assert tokens.ids.dtype == np.int64
    assert tokens.ids.tolist() == trained.encode(text).ids
    assert 0 not in tokens.ids


def test_a_text_that_is_cut_says_so(tokenizer: Tokenizer) -> None:
    assert not encode(tokenizer, "a handwritten three", 1000).truncated
    long = encode(tokenizer, "a handwritten three " * 20, 1000)
    assert long.truncated
    assert len(long.ids) == 16


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_a_text_that_says_nothing_is_refused(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(InvalidError, match="leave the modality out"):
        encode(tokenizer, text, 1000)


def test_a_text_may_have_so_many_characters(tokenizer: Tokenizer) -> None:
    encode(tokenizer, "x" * 100, 100)
    with pytest.raises(TooLargeError, match="101 characters; 100 are allowed"):
        encode(tokenizer, "x" * 101, 100)


def test_nobody_can_write_the_networks_own_tokens(tokenizer: Tokenizer) -> None:
    assert not {0, 1} & set(encode(tokenizer, "[PAD][MASK] three", 1000).ids.tolist())


def test_a_tokenizer_file_cannot_let_more_through_than_the_manifest_says(exported: Exported) -> None:
    content = (exported.captions / "tokenizer.json").read_bytes()
    shorter = open_tokenizer(content, TextInput(name="text", max_tokens=4, pad_id=0))
    assert len(encode(shorter, "a handwritten three, written by hand", 1000).ids) == 4
