"""Runs migrations on the connection that `service.db.migrate` gives, or on the service's own database."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection

from service.db import make_engine
from service.settings import Settings
from service.tables import Base, Utc


def plain(kind: str, item: Any, _context: Any) -> str | bool:
    """A migration must mean the same for ever, so it names no type of ours."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Utc) else False


def run(connection: Connection) -> None:
    context.configure(
        connection,
        target_metadata=Base.metadata,
        # SQLite alters a table by making it anew.
        render_as_batch=True,
        render_item=plain,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with make_engine(Settings().effective_database_url).begin() as own:
        run(own)
