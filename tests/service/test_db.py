"""The tables are made by migrations, on both databases alike, and sessions look and write as they promise."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, UniqueConstraint, func, inspect, select, text
from sqlalchemy.exc import OperationalError

from service.db import (
    MIGRATION_LOCK,
    MIGRATIONS,
    Sessions,
    assert_migrated,
    is_migrated,
    make_engine,
    make_sessions,
    migrate,
    new_id,
    reading,
    transaction,
)
from service.errors import ConflictError
from service.tables import ApiKey, Base, Job, JobTag
from tests.conftest import new_postgres_database


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database in which nothing has ever been done."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'folder' / 'new.db'}"
    else:
        with new_postgres_database(request.getfixturevalue("postgres"), template="template0") as url:
            yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_sessions(tmp_path: Path) -> Iterator[Sessions]:
    url = f"sqlite:///{tmp_path / 'own.db'}"
    migrate(url)
    engine = make_engine(url)
    yield make_sessions(engine)
    engine.dispose()


def test_an_empty_database_is_migrated_and_a_second_time_changes_nothing(empty_url: str) -> None:
    engine = make_engine(empty_url)
    assert not is_migrated(engine)
    with pytest.raises(ConflictError, match="fusebox migrate"):
        assert_migrated(engine)
    migrate(empty_url)
    assert is_migrated(engine)
    with make_sessions(engine).begin() as session:
        session.add(ApiKey(id="k", name="kept", sha256="0" * 64, scopes=["read"]))
    migrate(empty_url)
    with reading(make_sessions(engine)) as session:
        assert session.get_one(ApiKey, "k").name == "kept"
    engine.dispose()


def test_the_migrated_tables_are_those_that_the_classes_describe(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_every_index_and_foreign_key_of_the_classes_is_in_the_database(engine: Engine) -> None:
    assert_all_is_there(engine)


REVISIONS = [each.revision for each in ScriptDirectory(MIGRATIONS).walk_revisions()][::-1]


@pytest.mark.slow
@pytest.mark.parametrize("earlier", ["base", *REVISIONS])
def test_every_index_is_there_whichever_way_the_tables_came(empty_url: str, earlier: str) -> None:
    """Up to an earlier version and on; then back to it and up again."""
    engine = make_engine(empty_url)
    for direction, revision in (
        (command.upgrade, earlier), (command.upgrade, "head"), (command.downgrade, earlier), (command.upgrade, "head"),
    ):  # fmt: skip
        if (direction, revision) != (command.upgrade, "base"):
            with engine.begin() as connection:
                config = Config(attributes={"connection": connection})
                config.set_main_option("script_location", MIGRATIONS)
                direction(config, revision)
        if revision == "head":
            assert_all_is_there(engine)
    engine.dispose()


def assert_all_is_there(engine: Engine) -> None:
    there = inspect(engine)
    for table in Base.metadata.sorted_tables:
        indexes = {index["name"]: index["column_names"] for index in there.get_indexes(table.name)}
        assert {str(index.name): [column.name for column in index.columns] for index in table.indexes}.items() <= indexes.items(), table.name  # fmt: skip
        unique = {tuple(each["column_names"]) for each in there.get_unique_constraints(table.name)}
        wanted = {
            tuple(each.columns.keys()) for each in table.constraints if isinstance(each, UniqueConstraint)
        }
        assert wanted <= unique, table.name
        assert there.get_pk_constraint(table.name)["constrained_columns"] == table.primary_key.columns.keys()
        assert len(there.get_foreign_keys(table.name)) == len(table.foreign_keys), table.name


def test_the_oldest_queued_job_is_found_by_the_index_made_for_it(engine: Engine) -> None:
    query = "SELECT id FROM jobs WHERE state = 'queued' AND queue = 'cpu' ORDER BY priority DESC, id LIMIT 8"
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))  # an empty table is read whole
        explain = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        plan = "\n".join(str(row) for row in connection.execute(text(f"{explain} {query}")))
    assert "ix_jobs_claimable" in plan


def test_processes_that_migrate_at_once_all_succeed(empty_url: str) -> None:
    program = f"from service.db import migrate; migrate({empty_url!r})"
    command = [sys.executable, "-W", "error", "-c", program]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    outputs = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, b"\n".join(outputs).decode()
    engine = make_engine(empty_url)
    assert is_migrated(engine)
    engine.dispose()


@pytest.mark.slow
def test_a_process_waits_for_a_migration_longer_than_for_a_lock(postgres: str) -> None:
    with new_postgres_database(postgres, template="template0") as url:
        waiting = threading.Thread(target=migrate, args=(url,))
        with psycopg.connect(re.sub(r"^postgresql\+psycopg", "postgresql", url)) as another:
            another.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
            waiting.start()
            waiting.join(11)  # a lock on a table is waited for 10 s
            assert waiting.is_alive()
        waiting.join(30)
        engine = make_engine(url)
        assert is_migrated(engine)
        engine.dispose()


def test_a_migration_that_fails_leaves_the_database_as_it_was(empty_url: str) -> None:
    engine = make_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE jobs (something_else INTEGER)"))
    with pytest.raises(Exception, match="already exists"):
        migrate(empty_url)
    assert inspect(engine).get_table_names() == ["jobs"]
    engine.dispose()


def test_sqlite_is_durable_and_keeps_its_foreign_keys(sqlite_sessions: Sessions) -> None:
    with reading(sqlite_sessions) as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_a_reader_neither_waits_for_a_writer_nor_sees_what_is_not_committed(
    sqlite_sessions: Sessions,
) -> None:
    with transaction(sqlite_sessions) as writer:
        writer.add(ApiKey(id="k", name="n", sha256="0" * 64, scopes=[]))
        writer.flush()
        began = time.monotonic()
        with reading(sqlite_sessions) as reader:
            assert reader.scalar(select(func.count()).select_from(ApiKey)) == 0
        assert time.monotonic() - began < 2


def test_a_writer_does_not_wait_for_readers(sqlite_sessions: Sessions) -> None:
    with reading(sqlite_sessions) as first, reading(sqlite_sessions) as second:
        for reader in (first, second):
            reader.scalar(select(func.count()).select_from(ApiKey))
        began = time.monotonic()
        with transaction(sqlite_sessions) as writer:
            writer.add(ApiKey(id="k", name="n", sha256="0" * 64, scopes=[]))
        assert time.monotonic() - began < 2
        assert first.scalar(select(func.count()).select_from(ApiKey)) == 0  # its view stays the same


def test_two_writers_take_turns_instead_of_failing(sqlite_sessions: Sessions) -> None:
    failures: list[Exception] = []

    def write(name: str) -> None:
        try:
            for _ in range(20):
                with transaction(sqlite_sessions) as session:
                    session.scalar(select(func.count()).select_from(ApiKey))  # reads first, then writes
                    session.add(ApiKey(id=new_id(name)[:16], name=name, sha256="0" * 64, scopes=[]))
                    session.flush()
        except OperationalError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_what_raises_in_a_transaction_is_not_stored(sessions: Sessions) -> None:
    def write_and_fail() -> None:
        with transaction(sessions) as session:
            session.add(ApiKey(id="k", name="n", sha256="0" * 64, scopes=[]))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with reading(sessions) as session:
        assert session.get(ApiKey, "k") is None


def test_what_was_read_is_usable_after_the_session_has_ended(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        session.add(ApiKey(id="k", name="n", sha256="0" * 64, scopes=["read", "infer"]))
    with reading(sessions) as session:
        key = session.get_one(ApiKey, "k")
    assert (key.name, key.scopes) == ("n", ["read", "infer"])


def test_a_time_comes_back_in_utc_whatever_zone_it_was_given_in(sessions: Sessions) -> None:
    given = datetime(2026, 3, 1, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with transaction(sessions) as session:
        session.add(ApiKey(id="k", name="n", sha256="0" * 64, scopes=[], expires_at=given))
    with reading(sessions) as session:
        stored = session.get_one(ApiKey, "k").expires_at
    assert stored == given
    assert stored is not None
    assert stored.tzinfo is UTC


def test_a_jobs_tags_go_with_it(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        session.add(Job(id="j", kind="train", spec={}, spec_sha256="0", group_sha256="0", queue="cpu"))
        session.flush()
        session.add(JobTag(job_id="j", tag="t"))
    with transaction(sessions) as session:
        session.delete(session.get_one(Job, "j"))
    with reading(sessions) as session:
        assert session.get(JobTag, ("j", "t")) is None


def test_ids_sort_by_age_and_never_repeat() -> None:
    ids = []
    for _ in range(5):
        ids += [new_id("job") for _ in range(200)]
        time.sleep(0.002)
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"job_[0-9a-f]{22}", each) for each in ids)
    firsts = ids[::200]
    assert firsts == sorted(firsts)
