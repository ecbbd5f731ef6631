"""Parts come back as they were written, in either format, and one that is not whole is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models_store.embeddings import Format
from training.embed.parts import read_part, write_part

COLUMNS = {
    "sample": np.arange(5),
    "split": np.full(5, "test"),
    "label.kind": np.array([0, 2, 1, 1, 0]),
    "label.tags": np.eye(5, 3, dtype=np.float32),
    "vector.image+text": np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32),
}


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_a_part_comes_back_bit_by_bit(tmp_path: Path, form: Format) -> None:
    path = tmp_path / f"part-00000.{form}"
    write_part(path, COLUMNS, form)
    found = read_part(path, form)
    assert found is not None
    assert list(found) == list(COLUMNS)
    for name, array in COLUMNS.items():
        assert found[name].tolist() == array.tolist(), name
    assert found["vector.image+text"].dtype == np.float32


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_a_part_that_is_gone_or_was_cut_off_is_none(tmp_path: Path, form: Format) -> None:
    path = tmp_path / f"part.{form}"
    assert read_part(path, form) is None
    write_part(path, COLUMNS, form)
    whole = path.read_bytes()
    for spoilt in (b"", whole[:10], whole[:-20]):
        path.write_bytes(spoilt)
        assert read_part(path, form) is None


def test_in_parquet_a_vector_is_a_list_of_fixed_size(tmp_path: Path) -> None:
    write_part(tmp_path / "part.parquet", COLUMNS, "parquet")
    schema = pq.read_schema(tmp_path / "part.parquet")
    vector = schema.field("vector.image+text").type
    assert (vector.list_size, str(vector.value_type)) == (4, "float")
    assert [str(schema.field(name).type) for name in ("sample", "split")] == ["int64", "string"]
