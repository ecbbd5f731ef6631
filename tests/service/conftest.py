"""Two small models, really trained and exported once per test session, for whatever serves models."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete

from models_store.store import MANIFEST, ModelStore
from service.db import Sessions, migrate, transaction
from service.resources import Resources
from service.settings import Settings
from service.tables import Base
from tests.applications import new_app
from tests.conftest import new_postgres_database
from tests.training.runs import done, made, small
from training.run_dir import RunDir
from training.spec import ExportSpec


@dataclass(frozen=True)
class Exported:
    """Folders as the exporter leaves them."""

    captions: Path
    """An image and its caption: modalities `image` and `text`."""
    pairs: Path
    """Two images: modalities `image1` and `image2`."""


@dataclass(frozen=True)
class Published:
    store: ModelStore
    captions: str
    """Digest of captions@1."""
    pairs: str
    """Digest of pairs@1."""


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """One test process makes them, and those beside it wait for it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "exported.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Exported(_exported(folder / "exported", "captions"), _exported(folder / "exported", "pairs"))


@pytest.fixture
def published(settings: Settings, exported: Exported) -> Published:
    """Both models in the store that the service of this test serves from."""
    return publish(ModelStore(settings.models_url), exported)


def publish(store: ModelStore, exported: Exported) -> Published:
    digests = {name: store.publish(getattr(exported, name)) for name in ("captions", "pairs")}
    for name, digest in digests.items():
        store.name_version(name, 1, digest)
    return Published(store, **digests)


def _exported(folder: Path, form: str) -> Path:
    export = RunDir(folder / f"export-{form}")
    if (export.export / MANIFEST).exists():
        return export.export
    run = made(folder / f"train-{form}", small(epochs=1, dataset={"form": form}))
    assert done("fit", run) == 0
    export = made(folder / f"export-{form}", ExportSpec(run=run.name, name=form, max_score_drop=1))
    assert done("export", export) == 0
    return export.export


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared_api(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """The API in this process, once for all tests of a file. Nobody takes its jobs."""
    folder = tmp_path_factory.mktemp("api")
    with ExitStack() as held:
        if request.param == "sqlite":
            url = f"sqlite:///{folder / 'fusebox.db'}"
            migrate(url)
        else:
            postgres = request.getfixturevalue("postgres")
            url = held.enter_context(new_postgres_database(postgres, template="migrated"))
        settings = Settings(data_dir=folder, FUSEBOX_DATABASE_URL=url, FUSEBOX_REDIS_URL="")  # type: ignore[call-arg]
        yield held.enter_context(TestClient(new_app(settings), raise_server_exceptions=False))


@pytest.fixture
def emptied(shared_api: TestClient) -> TestClient:
    """The shared API, whose database remembers nothing of earlier tests."""
    resources: Resources = shared_api.app.state.resources  # type: ignore[attr-defined]
    with transaction(resources.sessions) as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(delete(table))
    return shared_api


@pytest.fixture
def emptied_sessions(emptied: TestClient) -> Sessions:
    resources: Resources = emptied.app.state.resources  # type: ignore[attr-defined]
    return resources.sessions
