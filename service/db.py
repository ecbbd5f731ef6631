"""Engines and sessions. One place commits: `transaction`, which the API's `SessionDep` and every worker step use."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError
from sqlalchemy.orm import Session, sessionmaker

import migrations
from service.errors import ConflictError

Sessions = sessionmaker[Session]
MIGRATIONS = str(Path(migrations.__file__).parent)
UNREACHABLE = (OperationalError, InterfaceError, TimeoutError)
"""What a database raises that does not answer, or not in time. Asking again may help; after other errors it does not."""
MIGRATION_LOCK = 0x66757365
"""PostgreSQL's advisory lock: of several processes that start at once, one migrates and the others wait."""


def new_id(prefix: str) -> str:
    """`prefix_` and 22 hexadecimal digits: 48 bits of milliseconds, so that ids sort by age, then 40 random bits."""
    return f"{prefix}_{int(time.time() * 1000):012x}{secrets.token_hex(5)}"


def make_engine(url: str) -> Engine:
    """SQLite in write-ahead mode with full durability, or PostgreSQL with bounded waits."""
    if url.startswith("sqlite"):
        return _sqlite_engine(url)
    options = "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s"
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        pool_timeout=10,
        connect_args={"options": options},
    )


def _sqlite_engine(url: str) -> Engine:
    Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url, connect_args={"timeout": 10, "check_same_thread": False}, pool_size=10, max_overflow=40
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN is deferred: a reader that then writes could fail at once instead of waiting.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(
            "BEGIN" if connection.get_execution_options().get("read_only") else "BEGIN IMMEDIATE"
        )

    return engine


def make_sessions(engine: Engine) -> Sessions:
    return sessionmaker(engine, expire_on_commit=False)


def migrate(url: str) -> None:
    """Brings the database to this version's tables, all steps or none. Safe to repeat and to run twice at once."""
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                _await_turn(connection)
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", MIGRATIONS)
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def is_migrated(engine: Engine) -> bool:
    """Whether the tables are those of this version. Raises DBAPIError when the database does not answer."""
    with engine.connect().execution_options(read_only=True) as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    return present == ScriptDirectory(MIGRATIONS).get_current_head()


def assert_migrated(engine: Engine) -> None:
    """Raises ConflictError; a process that went on would fail at each request instead."""
    if not is_migrated(engine):
        raise ConflictError(
            "not_migrated", "the database's tables are not those of this version; run `fusebox migrate`"
        )


def _await_turn(connection: Connection) -> None:
    """As long as it takes, and a step may take long too; but a table that others use is waited for with patience only."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
    connection.execute(text("SET LOCAL lock_timeout = '10s'"))


@contextmanager
def transaction(sessions: Sessions) -> Iterator[Session]:
    """A session that is committed at the end of the block, or rolled back when it raises."""
    with sessions.begin() as session:
        yield session


@contextmanager
def reading(sessions: Sessions) -> Iterator[Session]:
    """A session that only looks. On SQLite it takes no write lock, so any number may look at once."""
    with sessions() as session:
        session.connection(execution_options={"read_only": True})
        yield session
        session.expunge_all()  # what was read stays usable; a rollback would forget it
        session.rollback()


def take_turns(session: Session, *what: str) -> None:
    """Waits for transactions that take their turn at the same, and lets later ones wait until this one has ended.

    On SQLite there is nothing to wait for: its writing transactions come one after another anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        digest = hashlib.sha256("\0".join(what).encode()).digest()
        lock = int.from_bytes(digest[:8], "big", signed=True)
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
