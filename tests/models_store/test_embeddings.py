"""The manifest of embeddings is read as it was written, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from models_store.embeddings import (
    MANIFEST,
    DamagedEmbeddingsError,
    EmbeddingsManifest,
    read_file,
    read_manifest,
)
from tests.service.embedded import written


def test_a_manifest_comes_back_under_its_sha256_alone(tmp_path: Path) -> None:
    manifest, sha256 = written(tmp_path)
    assert read_manifest(tmp_path, sha256) == manifest
    with pytest.raises(DamagedEmbeddingsError, match="has been changed"):
        read_manifest(tmp_path, "0" * 64)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(DamagedEmbeddingsError, match="is gone"):
        read_manifest(tmp_path, sha256)


def test_a_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    manifest, _ = written(tmp_path)
    assert read_file(tmp_path, manifest, "part-00000.npz") == b"not looked at"
    (tmp_path / "part-00000.npz").write_bytes(b"not looked bt")
    with pytest.raises(DamagedEmbeddingsError, match=r"part-00000\.npz has been changed"):
        read_file(tmp_path, manifest, "part-00000.npz")


def test_subsets_are_found_in_whichever_order_and_splits_by_name(tmp_path: Path) -> None:
    manifest, _ = written(tmp_path)
    assert manifest.subset(["text"]) == manifest.subsets[1]
    assert manifest.subset(["image", "text"]) is None
    rows = manifest.rows_of("test")
    assert rows is not None
    assert (rows.start, rows.count) == (20, 10)
    assert manifest.rows_of("val") is None


@pytest.mark.parametrize("name", ["../spec.json", "a/b", "", ".plan.json"])
def test_no_file_outside_of_the_folder_can_be_named(tmp_path: Path, name: str) -> None:
    manifest, _ = written(tmp_path)
    content = manifest.model_dump()
    content["files"] = {name: {"size_bytes": 1, "sha256": "0" * 64}}
    with pytest.raises(ValidationError):
        EmbeddingsManifest.model_validate(content)
