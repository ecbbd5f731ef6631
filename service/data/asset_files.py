"""Uploaded images on disk: PNG files under the sha256 of their bytes. Knows no database, so that embedding needs none.

<assets_dir>/ab/<sha256>.png
"""

from __future__ import annotations

import hashlib
import logging
import re
from io import BytesIO
from pathlib import Path

from PIL import Image

from models_store.durable import write_atomically
from service.errors import NotFoundError, UnavailableError
from service.inference.images import decode
from service.settings import Settings

log = logging.getLogger(__name__)

MEDIA_TYPE = "image/png"
ASSET_ID = re.compile(r"[0-9a-f]{64}")


def encode(image: Image.Image) -> bytes:
    """PNG with these very pixels and nothing else."""
    image.info.clear()  # a profile or a comment would be written along
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def keep(settings: Settings, content: bytes) -> str:
    """Stores the file and returns its id. One that is there but damaged is mended."""
    asset_id = hashlib.sha256(content).hexdigest()
    path = _path(settings, asset_id)
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
    return asset_id


def read(settings: Settings, asset_id: str) -> bytes:
    """Raises NotFoundError, or UnavailableError when the file is not what it was."""
    if not ASSET_ID.fullmatch(asset_id):
        raise _not_found(asset_id)
    try:
        content = _path(settings, asset_id).read_bytes()
    except FileNotFoundError:
        raise _not_found(asset_id) from None
    except OSError as error:
        log.error("asset %s: %s", asset_id, error)
        raise UnavailableError(
            "asset_unavailable", "the stored image cannot be read at present; try again soon", retry_after_s=5
        ) from None
    if hashlib.sha256(content).hexdigest() != asset_id:
        raise UnavailableError("asset_damaged", "the stored image has been damaged; upload it again")
    return content


def load(settings: Settings, asset_id: str) -> Image.Image:
    """The decoded image. The limit in bytes is for what is sent; what we wrote ourselves may be longer."""
    content = read(settings, asset_id)
    return decode(content, settings, max_bytes=len(content))


def _path(settings: Settings, asset_id: str) -> Path:
    return settings.assets_dir / asset_id[:2] / f"{asset_id}.png"


def _not_found(asset_id: str) -> NotFoundError:
    return NotFoundError.of("asset", asset_id[:64], "upload it with POST /v1/assets")
