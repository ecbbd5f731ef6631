"""A model that is loaded shows first that it computes here what it computed where it was exported."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_store.manifest import Golden, Manifest, Variant
from models_store.store import DamagedModelError
from service.inference.graphs import Graphs

Files = Mapping[str, NDArray[Any]]


def assert_reproduces(
    graphs: Graphs, manifest: Manifest, golden: Golden, variant: Variant, content: bytes
) -> None:
    """Raises DamagedModelError when a vector comes out further from its golden one than the variant's tolerance."""
    tolerance = variant.golden_tolerance
    if tolerance is None:
        return
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        expected = arrays[f"vectors.{variant.precision}"]
        computed = _computed(graphs, manifest, golden, arrays).reshape(expected.shape)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedModelError(f"{golden.file} does not hold the model's golden vectors: {error}") from error
    apart = np.linalg.norm(computed - expected, axis=-1) / np.maximum(
        np.linalg.norm(expected, axis=-1), 1e-12
    )
    furthest = float(np.max(apart))
    if not furthest <= tolerance:
        raise DamagedModelError(
            f"the model cannot reproduce its own vectors here: in {variant.precision} one comes out {furthest:.3g} of its "
            f"length from where it should be, and {tolerance:g} is allowed"
        )


def _computed(graphs: Graphs, manifest: Manifest, golden: Golden, arrays: Files) -> NDArray[np.float32]:
    """(subsets · samples, D): each sample is encoded once and fused with each subset of its modalities."""
    encoded = {
        each.name: graphs.encode(
            each.name, [arrays[f"inputs.{row}.{each.name}"] for row in range(golden.samples)]
        )
        for each in manifest.inputs
    }
    return graphs.fuse(
        [
            {name: encoded[name][row] for name in subset}
            for subset in golden.subsets
            for row in range(golden.samples)
        ]
    )
