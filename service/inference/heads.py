"""Which heads of a model are in memory, and which it has at present. Asks the store and no database.

For use in one event loop; the store is read in threads. A head is kept under the sha256 of its manifest, so that one
that was replaced is another one, and the model stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from models_store.heads import Head, HeadStore
from models_store.store import ModelStore, StoreError
from service.errors import UnavailableError
from service.inference.models import MAX_MEANINGS, MEANING_KEPT_S, out_of_reach
from service.inference.shared import SharedCalls

log = logging.getLogger(__name__)

MOST_BYTES, MOST_HEADS = 512 << 20, 1_000
"""Kept in memory; those used longest ago leave first."""
STORE_READERS = 2


@dataclass(frozen=True)
class Attached:
    """Task → sha256 of its head."""

    heads: Mapping[str, str]
    until: float


class Heads:
    """Several that ask for the same thing at once wait for one reading of the store."""

    def __init__(self, store: ModelStore) -> None:
        self._store = HeadStore(store)
        self._readers = ThreadPoolExecutor(STORE_READERS, "fusebox-heads")
        self._attached: OrderedDict[str, Attached] = OrderedDict()
        self._loaded: OrderedDict[str, Head] = OrderedDict()
        self._listing = SharedCalls(self._list, self._readers)
        self._loading = SharedCalls(self._load, self._readers)

    async def attached(self, digest: str) -> Mapping[str, str]:
        """Task → sha256 of the head that the model has for it. What has changed is seen after MEANING_KEPT_S."""
        found = self._attached.get(digest)
        if found is None or found.until < time.monotonic():
            found = self._attached[digest] = await self._listing(digest)
            while len(self._attached) > MAX_MEANINGS:
                self._attached.popitem(last=False)
        return found.heads

    async def find(self, digest: str, heads: Mapping[str, str]) -> list[Head]:
        """Those of `attached`, in that order. Raises UnavailableError for one that cannot be used."""
        return await asyncio.gather(*(self._find(f"{digest}/{task}/{sha}") for task, sha in heads.items()))

    @property
    def loaded(self) -> list[str]:
        """Tasks, the least recently asked first."""
        return [head.manifest.task for head in self._loaded.values()]

    def close(self) -> None:
        self._readers.shutdown()
        self._loaded.clear()

    async def _find(self, key: str) -> Head:
        head = self._loaded.get(key) or await self._loading(key)
        self._loaded[key] = head
        self._loaded.move_to_end(key)
        kept = [each.manifest.weight_bytes for each in self._loaded.values()]
        while len(kept) > MOST_HEADS or (len(kept) > 1 and sum(kept) > MOST_BYTES):
            self._loaded.popitem(last=False)
            kept.pop(0)
        return head

    def _list(self, digest: str) -> Attached:
        until = time.monotonic() + MEANING_KEPT_S
        with _told_to_client("the heads of the model"):
            return Attached(self._store.attached(digest), until)

    def _load(self, key: str) -> Head:
        digest, task, sha256 = key.split("/", 2)  # what a damaged pointer holds may be anything
        with _told_to_client(f"the head {task!r}"):
            return self._store.read(digest, task, sha256)


@contextmanager
def _told_to_client(what: str) -> Iterator[None]:
    """The store's errors in the service's words; what is damaged, and how, is for the log."""
    try:
        yield
    except StoreError as error:
        log.error("%s: %s", what, error)
        raise UnavailableError(
            "head_damaged", f"{what} is damaged and is not used; attach it again, or name others"
        ) from None
    except OSError as error:
        raise out_of_reach(error) from None
