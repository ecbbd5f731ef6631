"""What the samples look like that no file of a dataset has: digits and Trifeatures are made anew by each training.

Per modality, `MODALITY` holds the distinct items, small images uint8 (items, H, W) or (items, H, W, 3) and texts, and
`MODALITY.of` which of them each of the N samples has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from models_store.embeddings import SEEN, SEEN_OF
from training.data.captions import PAD_ID
from training.embed.parts import write_part
from training.embed.place import Place
from training.spec import Registered

MOST_PIXELS = 64
"""Larger images are kept smaller."""


def keep_seen(place: Place) -> list[str]:
    """Writes it beside the vectors, and names the file; none for registered data, which the service reads itself."""
    if isinstance(place.dataset, Registered):
        return []
    arrays: dict[str, NDArray[Any]] = {}
    for modality in place.dataset.modalities:
        kept = [_items(place, modality.name, split.pools, split.index) for split in place.splits.values()]
        starts = np.cumsum([0, *(len(items) for items, _ in kept)])
        arrays[modality.name] = np.concatenate([items for items, _ in kept])
        arrays[modality.name + SEEN_OF] = np.concatenate(
            [of + start for (_, of), start in zip(kept, starts, strict=False)]
        )
    write_part(place.folder / SEEN, arrays, "npz")
    return [SEEN]


def _items(place: Place, name: str, pools: Any, index: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    used, of = np.unique(index[name].cpu().numpy(), return_inverse=True)
    pool = pools[name][torch.from_numpy(used).to(pools[name].device)].cpu()
    if pool.dtype == torch.uint8:
        return _small(pool), of
    assert place.data.tokenizer is not None
    return _texts(pool, place.data.tokenizer), of


def _small(images: Tensor) -> NDArray[np.uint8]:
    """(items, C, H, H) to (items, H, H) of one channel, or (items, H, H, 3)."""
    if images.shape[-1] > MOST_PIXELS:
        size = (MOST_PIXELS, MOST_PIXELS)
        images = torch.cat(
            [
                F.interpolate(some.float(), size, mode="area").round().to(torch.uint8)
                for some in images.split(256)
            ]
        )
    pixels: NDArray[np.uint8] = images.permute(0, 2, 3, 1).contiguous().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _texts(tokens: Tensor, tokenizer: Tokenizer) -> NDArray[np.str_]:
    said = [[token for token in ids if token != PAD_ID] for ids in tokens.tolist()]
    return np.array([tokenizer.decode(ids).strip() for ids in said])
