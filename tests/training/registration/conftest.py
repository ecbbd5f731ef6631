"""Every format registered once for the tests that look at what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.training.registration.fixtures import WRITERS, registered, report_of
from training.spec import Registered
from training.spec.registration import REGISTERED, Format, Report


class Shelf(NamedTuple):
    spec: Registered
    source: Path
    folder: Path
    report: Report

    def array(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy", allow_pickle=False)

    def rows(self, protocol: str, split: str) -> list[int]:
        return self.array(f"split.{protocol}.{split}").tolist()


SMALLER: Mapping[Format, dict[str, Any]] = {
    made_from: {"image_size": 32}
    for made_from in ("mmimdb", "hateful_memes", "image_folder", "webdataset", "parquet")
}


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], Shelf]:
    root = tmp_path_factory.mktemp("registered")

    @cache
    def of(made_from: Format) -> Shelf:
        source = WRITERS[made_from](root / made_from)
        spec = registered(made_from, source, root / "datasets", **SMALLER.get(made_from, {}))
        folder = root / "datasets" / REGISTERED / spec.sha256
        return Shelf(spec, source, folder, report_of(root / "datasets", spec.sha256))

    return of
