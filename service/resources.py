"""What a process holds for as long as it lives: settings, database, model store, job bell, inference engine."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Engine

from models_store.store import ModelStore
from service.access.keyring import Keyring
from service.answers.indexes import Indexes
from service.db import Sessions, make_engine, make_sessions
from service.inference.engine import InferenceEngine
from service.settings import Settings
from service.siblings import Place, Siblings


class Bell(Protocol):
    """Tells workers to look at a queue. Losing a ring loses nothing: the reconciler rings again."""

    def ring(self, job_id: str, queue: str) -> None: ...


@dataclass
class Resources:
    settings: Settings
    engine: Engine
    sessions: Sessions
    store: ModelStore
    inference: InferenceEngine
    indexes: Indexes
    bell: Bell
    keys: Keyring
    siblings: Siblings
    leaving: threading.Event = field(default_factory=threading.Event)
    """Set when the server is about to end, so that whatever would wait on ends too."""


def open_resources(settings: Settings, bell: Bell, place: Place | None = None) -> Resources:
    """place: that of this process among several at one address."""
    engine = make_engine(settings.effective_database_url)
    store = ModelStore(settings.models_url)
    inference, indexes = InferenceEngine(store, settings), Indexes(settings.search_bytes)
    sessions = make_sessions(engine)
    keys = Keyring(sessions, settings.api_key_cache_s)
    siblings = Siblings(place)
    return Resources(settings, engine, sessions, store, inference, indexes, bell, keys, siblings)
