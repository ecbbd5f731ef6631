"""Embeddings in memory, and the nearest of them: every one is compared, so that what is found is what is nearest.

A matrix product reads 100,000 vectors of 256 numbers in less than ten milliseconds, which an approximate index would take
minutes to be built for. N vectors, D width.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models_store.embeddings import (
    LABEL,
    LABELS,
    SAMPLE,
    DamagedEmbeddingsError,
    EmbeddingsManifest,
    SubsetVectors,
    read_file,
)
from service.errors import UnavailableError

Metric = Literal["cosine", "dot", "l2"]
Floats = NDArray[np.float64]
ROUNDING, FINE_ROUNDING = 2.0**-24, 2.0**-52
"""The most that one operation in float32, and in float64, is off, of its result."""
BLOCK = 4_096
"""Vectors that are turned into float64 at once."""


@dataclass(frozen=True)
class Index:
    """The vectors of one subset of the modalities, with what is known of their samples."""

    vectors: NDArray[np.float32]  # (N, D)
    sample: NDArray[np.int64]  # (N)
    labels: Mapping[str, NDArray[Any]]
    """By task, (N,) or (N, K)."""
    mean: Floats  # (D)

    @cached_property
    def lengths(self) -> Floats:
        return self._lengths(np.zeros_like(self.mean))

    @cached_property
    def lengths_from_mean(self) -> Floats:
        return self._lengths(self.mean)

    def _lengths(self, origin: Floats) -> Floats:
        starts = range(0, len(self.vectors), BLOCK)
        return np.concatenate(
            [np.linalg.norm(self.vectors[at : at + BLOCK] - origin, axis=1) for at in starts]
        )

    @property
    def size_bytes(self) -> int:
        labels = sum(each.nbytes for each in self.labels.values())
        return self.vectors.nbytes + self.sample.nbytes + labels + 2 * self.lengths.nbytes


@dataclass(frozen=True)
class Found:
    """Rows of an index (k), nearest first, and their scores (k)."""

    rows: NDArray[np.int64]
    scores: Floats


def nearest(
    index: Index,
    query: Floats,
    k: int,
    metric: Metric,
    within: slice,
    *,
    without: int | None = None,
    centered: bool = False,
) -> Found:
    """The `k` nearest rows `within` the index to a query (D,), except the row `without`.

    Scores are cosines, products, or Euclidean distances, in float64. `centered`: the index's mean is subtracted from its
    vectors; that of queries has been subtracted from the query. Equals stand in the order of their rows.
    """
    origin = index.mean if centered else np.zeros_like(index.mean)
    lengths = (index.lengths_from_mean if centered else index.lengths)[within]
    direction, length = _direction(query)
    products = index.vectors[within] @ direction.astype(np.float32) - float(origin @ direction)
    closeness = _closeness(products.astype(np.float64), lengths, length, metric)
    off = _off(index.lengths[within], origin, lengths, length, metric)
    if without is not None and within.start <= without < within.stop:
        closeness[without - within.start] = -np.inf
    candidates = _candidates(closeness, off, k) + within.start
    candidates = candidates[candidates != without] if without is not None else candidates
    sought = direction if metric == "cosine" else query
    blocks = [candidates[at : at + BLOCK] for at in range(0, len(candidates), BLOCK)]
    scores = np.concatenate(
        [np.empty(0), *(_exact(index.vectors[rows] - origin, sought, metric) for rows in blocks)]
    )
    order = np.argsort(scores if metric == "l2" else -scores, kind="stable")[:k]
    return Found(candidates[order], scores[order])


def _direction(query: Floats) -> tuple[Floats, float]:
    """The query at length 1 (D,), and its length. The squares of very small numbers would be 0, those of very large ones infinite."""
    largest = float(np.abs(query).max(initial=0)) or 1.0
    scaled = query / largest
    length = float(np.linalg.norm(scaled))
    return scaled / (length or 1.0), length * largest


def _closeness(products: Floats, lengths: Floats, length: float, metric: Metric) -> Floats:
    """Greater for what is nearer. `products` are with the query's direction, so that none overflows."""
    match metric:
        case "dot":
            return products
        case "cosine":
            return products / np.maximum(lengths, np.finfo(np.float32).tiny)
        case "l2":
            return 2 * products * length - lengths**2


def _off(whole: Floats, origin: Floats, lengths: Floats, length: float, metric: Metric) -> Floats:
    """By how much a closeness may be off (N), its products being in float32: of a sum of D products at most D roundings of the
    product of both lengths (Higham, Accuracy and Stability of Numerical Algorithms, 3.1).

    whole, lengths: of the vectors, and of the vectors from `origin`.
    """
    terms = len(origin) + 8
    products = terms * (ROUNDING * whole + FINE_ROUNDING * float(np.linalg.norm(origin)))
    if metric == "l2":
        return 2 * length * products + FINE_ROUNDING * (4 * length * lengths + 2 * lengths**2)
    return _closeness(products, lengths, length, metric)  # which is in proportion to the products


def _candidates(closeness: Floats, off: Floats, k: int) -> NDArray[np.int64]:
    """The rows that may be among the `k` nearest, ascending: those that could be as near as the last of `k` is for certain."""
    if k >= len(closeness):
        return np.arange(len(closeness))
    certain = np.partition(closeness - off, -k)[-k]
    return np.flatnonzero(closeness + off >= certain)


def _exact(vectors: Floats, query: Floats, metric: Metric) -> Floats:
    """(n). For cosines the query's length is 1."""
    match metric:
        case "dot":
            return vectors @ query
        case "cosine":
            lengths = np.linalg.norm(vectors, axis=1)
            cosines: Floats = vectors @ query / np.maximum(lengths, np.finfo(np.float64).tiny)
            return cosines
        case "l2":
            distances: Floats = np.linalg.norm(vectors - query, axis=1)
            return distances


_Key = tuple[str, str]
"""sha256 of the vectors and of the labels."""


class Indexes:
    """Those that were searched in lately, below a size. Any number of threads may ask at once."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[_Key, Index] = OrderedDict()
        self._reading: dict[_Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def open(self, folder: Path, manifest: EmbeddingsManifest, subset: SubsetVectors) -> Index:
        """Raises DamagedEmbeddingsError unless its files are what was written, and UnavailableError when they are more
        than there is room for."""
        key = (manifest.files[subset.file].sha256, manifest.files[LABELS].sha256)
        if (held := self._recalled(key)) is not None:
            return held
        with self._lock:
            reading = self._reading.setdefault(key, threading.Lock())
        with (
            reading
        ):  # of several that ask for the same, one reads it; who asks for another does not wait for that
            if (held := self._recalled(key)) is not None:
                return held
            try:
                return self._kept(key, self._read(folder, manifest, subset))
            finally:
                with self._lock:
                    self._reading.pop(key, None)

    def _recalled(self, key: _Key) -> Index | None:
        with self._lock:
            index = self._held.get(key)
            if index is not None:
                self._held.move_to_end(key)
            return index

    def _kept(self, key: _Key, index: Index) -> Index:
        with self._lock:
            self._held[key] = index
            while sum(each.size_bytes for each in self._held.values()) > self._most_bytes:
                self._held.popitem(last=False)
        return index

    @property
    def held_bytes(self) -> int:
        with self._lock:
            return sum(each.size_bytes for each in self._held.values())

    def _read(self, folder: Path, manifest: EmbeddingsManifest, subset: SubsetVectors) -> Index:
        size = manifest.files[subset.file].size_bytes
        if size > self._most_bytes:
            raise UnavailableError(
                "index_too_large",
                f"its vectors are {size} bytes, and {self._most_bytes} may be held in memory; raise FUSEBOX_SEARCH_BYTES",
            )
        try:
            vectors = _array(read_file(folder, manifest, subset.file))
            with np.load(io.BytesIO(read_file(folder, manifest, LABELS)), allow_pickle=False) as kept:
                known = {name: kept[name] for name in kept.files}
            sample = known.pop(SAMPLE)
        except (ValueError, KeyError) as error:
            raise DamagedEmbeddingsError(f"not the vectors of an embed run: {error}") from None
        labels = {name.removeprefix(LABEL): each for name, each in known.items()}
        return Index(vectors, sample, labels, np.array(subset.mean))


def _array(content: bytes) -> NDArray[np.float32]:
    """What stands in a file of NumPy's, without another copy of it."""
    head = io.BytesIO(content)
    if np.lib.format.read_magic(head) != (1, 0):
        raise ValueError("another version of the format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(head)
    numbers: NDArray[np.float32] = np.frombuffer(content, dtype, offset=head.tell()).reshape(shape)
    return numbers
