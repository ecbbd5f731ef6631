"""Uploaded images: decoded under limits, re-encoded without anything but pixels, stored under their content's sha256.

Owns the table `assets`; the files are those of `service.data.asset_files`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.data import asset_files
from service.errors import NotFoundError
from service.inference.images import decode
from service.settings import Settings
from service.tables import Asset


def store(session: Session, settings: Settings, data: bytes, actor: str) -> tuple[Asset, bool]:
    """The asset, and whether it is new. Raises TooLargeError, UnsupportedMediaError or InvalidError.

    The file is there before its row is: a row never promises what is not stored.
    """
    image = decode(data, settings)
    content = asset_files.encode(image)
    asset_id = asset_files.keep(settings, content)
    values = {
        "id": asset_id,
        "media_type": asset_files.MEDIA_TYPE,
        "width": image.width,
        "height": image.height,
        "size_bytes": len(content),
        "created_by": actor,
    }
    is_new = session.scalar(_insert(session, values).returning(Asset.id)) is not None
    return get(session, asset_id), is_new


def get(session: Session, asset_id: str) -> Asset:
    asset = session.get(Asset, asset_id)
    if asset is None:
        raise NotFoundError.of("asset", asset_id[:64], "upload it with POST /v1/assets")
    return asset


def _insert(session: Session, values: dict[str, Any]) -> Insert:
    """Two who upload the same picture at once both get its row."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return insert(Asset).values(values).on_conflict_do_nothing()
