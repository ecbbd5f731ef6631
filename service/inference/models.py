"""Which models are in memory, and which of them a reference means. Asks the store and no database.

For use in one event loop; the store is read in threads.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from models_store.manifest import Precision
from models_store.store import DamagedModelError, ModelStore, StoreError, UnknownModelError
from service.errors import InvalidError, NotFoundError, UnavailableError
from service.inference.served import PrecisionError, Served, load
from service.inference.shared import SharedCalls
from service.inference.tokens import Tokens

log = logging.getLogger(__name__)

MEANING_KEPT_S = 1.0
"""How soon a moved alias is seen."""
MAX_MEANINGS = 1_000
STORE_READERS = 4


@dataclass(frozen=True)
class Meaning:
    digest: str
    label: str
    """`name@version`, or the digest of a model that has no such name."""
    until: float


class Models:
    """At most `max_models` in memory: loaded when first asked for, the least recently used leaves first. A model in another
    precision counts as another model.

    Several that ask for the same thing at once wait for one reading of the store.
    """

    def __init__(
        self, store: ModelStore, max_models: int, tokens: Tokens | None = None, threads_alone: int = 1
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._threads_alone = threads_alone
        self._max_models = max_models
        self._readers = ThreadPoolExecutor(STORE_READERS, "fusebox-store")
        self._meanings: OrderedDict[str, Meaning] = OrderedDict()
        self._loaded: OrderedDict[str, Served] = OrderedDict()
        self._resolving = SharedCalls(self._resolve, self._readers)
        self._loading = SharedCalls(self._load, self._readers)

    async def find(self, reference: str, precision: Precision | None = None) -> tuple[str, Served]:
        """The model's label, and the model, in fp32 unless another precision is asked for.

        Raises NotFoundError, UnavailableError, or InvalidError when the model is not to be had in the precision.
        """
        meaning = await self._meaning(reference)
        key = meaning.digest if precision in (None, "fp32") else f"{meaning.digest}/{precision}"
        served = self._loaded.get(key) or await self._loading(key)
        self._loaded[key] = served
        self._loaded.move_to_end(key)
        while len(self._loaded) > self._max_models:
            self._loaded.popitem(last=False)
        return meaning.label, served

    @property
    def loaded(self) -> list[str]:
        """Digests, with the precision behind those that are not in fp32; the least recently used first."""
        return list(self._loaded)

    def close(self) -> None:
        self._readers.shutdown()
        self._loaded.clear()

    async def _meaning(self, reference: str) -> Meaning:
        meaning = self._meanings.get(reference)
        if meaning is None or meaning.until < time.monotonic():
            meaning = self._meanings[reference] = await self._resolving(reference)
            while len(self._meanings) > MAX_MEANINGS:
                self._meanings.popitem(last=False)
        return meaning

    def _resolve(self, reference: str) -> Meaning:
        until = time.monotonic() + MEANING_KEPT_S
        with told_to_client(reference):
            digest = self._store.resolve(reference)
            name = self._named(reference, digest)
            versions = self._store.versions(name)
        label = next((f"{name}@{version}" for version, each in versions.items() if each == digest), digest)
        return Meaning(digest, label, until)

    def _named(self, reference: str, digest: str) -> str:
        """The name that the model was published under."""
        try:
            return self._store.manifest(digest).name
        except UnknownModelError:
            if reference == digest:
                raise
            raise DamagedModelError(f"{reference} means {digest}, whose manifest is gone") from None

    def _load(self, key: str) -> Served:
        digest, _, precision = key.partition("/")
        with told_to_client(digest):
            return load(
                self._store, digest, cast(Precision, precision or "fp32"), self._tokens, self._threads_alone
            )


@contextmanager
def told_to_client(reference: str) -> Iterator[None]:
    """The store's errors in the service's words; what is damaged, and how, is for the log."""
    try:
        yield
    except UnknownModelError as error:
        raise NotFoundError("model_not_found", str(error)) from None
    except PrecisionError as error:
        raise InvalidError.at("/precision", "precision_not_available", str(error)) from None
    except StoreError as error:
        log.error("model %s: %s", reference, error)
        raise UnavailableError(
            "model_damaged",
            f"the model {reference[:100]!r} is damaged and is not used; publish it again, or name another",
        ) from None
    except OSError as error:
        raise out_of_reach(error) from None


def out_of_reach(error: OSError) -> UnavailableError:
    """The store is; what the matter is with it is for the log."""
    log.error("model store: %s", error)
    return UnavailableError(
        "model_store_unavailable", "the model store does not answer; try again soon", retry_after_s=5
    )
