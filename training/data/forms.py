"""From a family of items to the samples of a form: two images, an image and its caption, or two images and a caption.

Digits and Trifeatures come in as a `Family` and leave as `Data`; what is in an image is theirs, what makes a sample
is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.data.captions import caption_pool, draw_captioned, pick_sentences
from training.data.pairs import Attributes, Ints, draw_balanced, draw_pairs, pair_labels
from training.data.samples import Data, Normalisation, Split, content_sha256
from training.spec import Digits, Trifeatures


@dataclass(frozen=True)
class Items:
    """The distinct items of one side of the split between training and test."""

    images: Tensor
    """uint8 (N, C, H, W)."""
    attributes: Attributes
    labels: Mapping[str, Ints]
    """Task of the captioned form → classes (N,)."""
    named: Ints
    """The class (N,) whose captions describe the item."""


@dataclass(frozen=True)
class Family:
    train: Items
    test: Items
    partners: Ints
    """Cue of the first → answer of the second that makes a pair's synergy positive."""
    captions: tuple[tuple[str, ...], ...]
    """Per class, equally many sentences."""
    normalisation: Normalisation
    probe_train_pairs: int
    probe_test_pairs: int
    balanced: tuple[str, ...] = ()
    """Splits of which half of the pairs have the synergy relation, instead of as many as chance gives."""


@dataclass(frozen=True)
class _Captions:
    pool: Tensor
    n_sentences: int


def assemble(spec: Digits | Trifeatures, family: Family, tokenizer: Tokenizer | None = None) -> Data:
    """Raises DataError when the family cannot give as many pairs as the spec asks for."""
    captions, tokenizer = _captions(spec, family, tokenizer)
    if captions is not None and spec.form == "captions":
        splits = {
            "train": _captioned(family.train, captions, spec.n_pairs),
            "probe_train": _captioned(family.train, captions, None),
            "probe_test": _captioned(family.test, captions, None),
        }
    else:
        items = {"train": family.train, "probe_train": family.train, "probe_test": family.test}
        counts = {"probe_train": family.probe_train_pairs, "probe_test": family.probe_test_pairs}
        pairs = {
            "train": draw_pairs(
                family.train.attributes, family.partners, biased=spec.biased, count=spec.n_pairs
            ),
            **{name: _probe_pairs(family, name, items[name], count) for name, count in counts.items()},
        }
        splits = {name: _paired(items[name], pairs[name], family.partners, captions) for name in pairs}
    return Data(
        **splits,
        tokenizer=tokenizer,
        normalisation={each.name: family.normalisation for each in spec.modalities if each.kind == "image"},
        sha256=content_sha256(splits, tokenizer),
    )


def _probe_pairs(family: Family, split: str, items: Items, count: int) -> Ints:
    if split in family.balanced:
        return draw_balanced(items.attributes, family.partners, count=count)
    return draw_pairs(items.attributes, family.partners, biased=False, count=count, at_most=True)


def _captions(
    spec: Digits | Trifeatures, family: Family, tokenizer: Tokenizer | None
) -> tuple[_Captions | None, Tokenizer | None]:
    max_tokens = next((each.max_tokens for each in spec.modalities if each.kind == "text"), None)
    if max_tokens is None:
        return None, None
    pool, tokenizer = caption_pool(family.captions, max_tokens, tokenizer)
    return _Captions(pool, len(family.captions[0])), tokenizer


def _paired(items: Items, pairs: Ints, partners: Ints, captions: _Captions | None) -> Split:
    first, second = pairs.T
    pools = {"image1": items.images, "image2": items.images}
    index = {"image1": first, "image2": second}
    if captions is not None:
        pools["text"] = captions.pool
        index["text"] = pick_sentences(items.named[first], captions.n_sentences)
    return Split(pools, _tensors(index), _tensors(pair_labels(items.attributes, partners, pairs)))


def _captioned(items: Items, captions: _Captions, count: int | None) -> Split:
    """`count` None: every item once."""
    if count is None:
        rows, sentences = np.arange(len(items.named)), pick_sentences(items.named, captions.n_sentences)
    else:
        rows, sentences = draw_captioned(items.named, captions.n_sentences, count)
    return Split(
        {"image": items.images, "text": captions.pool},
        _tensors({"image": rows, "text": sentences}),
        _tensors({task: classes[rows] for task, classes in items.labels.items()}),
    )


def _tensors(arrays: Mapping[str, Ints]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)) for name, array in arrays.items()
    }
