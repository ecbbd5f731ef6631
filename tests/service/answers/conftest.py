"""What tests of one application for a whole file share."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from models_store.store import ModelStore


@pytest.fixture(scope="module")
def store(app: FastAPI) -> ModelStore:
    store: ModelStore = app.state.resources.store
    return store
