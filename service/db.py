"""Engines and sessions. One place commits: `transaction`, which the API's `SessionDep` and every worker step use."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.orm import Session, sessionmaker

import migrations

Sessions = sessionmaker[Session]
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
    path = url.removeprefix("sqlite:///")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
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
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(Path(migrations.__file__).parent))
            command.upgrade(config, "head")
    finally:
        engine.dispose()


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
