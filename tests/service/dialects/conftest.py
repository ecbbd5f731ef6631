"""The service that all dialects are spoken to, once for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from models_store.store import ModelStore
from service.settings import Settings
from tests.applications import new_app
from tests.service.conftest import Exported, publish
from tests.service.inference.measured import published


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: object, exported: Exported
) -> Iterator[TestClient]:
    """Both models are published, and one of numbers. Embedding asks no database."""
    folder = tmp_path_factory.mktemp("dialects")
    settings = Settings(
        data_dir=folder,
        FUSEBOX_DATABASE_URL=f"sqlite:///{migrated_sqlite}",  # type: ignore[call-arg]
        FUSEBOX_REDIS_URL="",
    )
    store = ModelStore(settings.models_url)
    publish(store, exported)
    store.name_version("measured", 1, published(store, folder / "measured"))
    with TestClient(new_app(settings), raise_server_exceptions=False) as client:
        yield client
