"""A reference that has come to mean a model which cannot be loaded keeps meaning the one that it meant before.

For use in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass

from models_store.manifest import Precision
from service.errors import FuseboxError, UnavailableError
from service.inference.models import Models
from service.inference.served import Served

log = logging.getLogger(__name__)

_Asked = tuple[str, Precision | None]
"""A reference, and in which precision."""

TRIED_AGAIN_S = 5.0
"""Between attempts to load what a reference means now."""
REMEMBERED_S = 60.0
"""How long after the last attempt the service calls itself degraded by it."""
MOST_KEPT = 1_000
"""References whose last meaning is kept."""


@dataclass(frozen=True)
class _Meant:
    """Keeps no model in memory that would leave otherwise."""

    label: str
    digest: str
    served: weakref.ref[Served]


@dataclass(frozen=True)
class Failing:
    """A reference that is answered by an earlier model."""

    code: str
    """Why the present one is not."""
    label: str
    """Of the earlier one."""
    until: float


class ServingOn:
    def __init__(self, models: Models) -> None:
        self._models = models
        self._meant: OrderedDict[_Asked, _Meant] = OrderedDict()
        self._failing: dict[_Asked, Failing] = {}
        self._trying: dict[_Asked, asyncio.Task[None]] = {}

    @property
    def failing(self) -> dict[str, Failing]:
        """By reference: those that somebody has asked for lately. May be asked from any thread."""
        now = time.monotonic()
        lately = [
            (asked, each) for asked, each in list(self._failing.items()) if now < each.until + REMEMBERED_S
        ]
        return {reference: each for (reference, _), each in lately}

    async def find(self, reference: str, precision: Precision | None = None) -> tuple[str, Served]:
        """The label and the model. Raises what `Models.find` does, where there was no earlier model that works."""
        asked = (reference, precision)
        failing = self._failing.get(asked)
        if failing is not None and (earlier := await self._earlier(asked)) is not None:
            if time.monotonic() >= failing.until:
                self._try_beside(asked)
            return earlier
        try:
            return await self._present(asked)
        except UnavailableError as error:
            earlier = await self._earlier(asked)
            if earlier is None:
                raise
            self._note(asked, error, earlier[0])
            return earlier

    async def _present(self, asked: _Asked) -> tuple[str, Served]:
        """What the reference means now."""
        try:
            label, served = await self._models.find(*asked)
        except UnavailableError:
            raise
        except FuseboxError:
            self._forget(asked)
            raise
        self._failing.pop(asked, None)
        self._meant[asked] = _Meant(label, served.digest, weakref.ref(served))
        self._meant.move_to_end(asked)
        while len(self._meant) > MOST_KEPT:
            self._forget(next(iter(self._meant)))
        return label, served

    def _try_beside(self, asked: _Asked) -> None:
        """Once at a time. Nobody waits for it: it may take as long as it takes to find out that a file is damaged."""
        if asked in self._trying:
            return

        async def attempt() -> None:
            try:
                await self._present(asked)
            except UnavailableError as error:
                if (meant := self._meant.get(asked)) is not None:
                    self._note(asked, error, meant.label)
            except FuseboxError as error:
                log.warning("%s: %s", asked[0][:100], error.code)

        self._trying[asked] = task = asyncio.get_running_loop().create_task(attempt())
        task.add_done_callback(lambda _: self._trying.pop(asked, None))

    async def _earlier(self, asked: _Asked) -> tuple[str, Served] | None:
        meant = self._meant.get(asked)
        if meant is None:
            return None
        served = meant.served()
        if served is not None:
            return meant.label, served
        try:
            _, served = await self._models.find(meant.digest, asked[1])
        except FuseboxError:
            return None
        self._meant[asked] = _Meant(meant.label, meant.digest, weakref.ref(served))
        return meant.label, served

    def _note(self, asked: _Asked, error: UnavailableError, label: str) -> None:
        if asked not in self._failing:
            log.error("%s: %s; %s serves on", asked[0][:100], error.code, label)
        self._failing[asked] = Failing(error.code, label, time.monotonic() + TRIED_AGAIN_S)

    def _forget(self, asked: _Asked) -> None:
        self._meant.pop(asked, None)
        self._failing.pop(asked, None)
