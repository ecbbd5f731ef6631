"""Uploaded images."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class AssetOut(BaseModel):
    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    id: str
    """sha256 of the stored bytes: the same picture uploaded twice is one asset."""
    media_type: str
    width: int
    height: int
    size_bytes: int
    """Of the image as it is stored, re-encoded without metadata."""
    created_at: datetime
