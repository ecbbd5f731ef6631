"""Two small models, really trained and exported once per test session, for whatever serves models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from models_store.store import ModelStore
from service.settings import Settings
from tests.training.runs import done, made, small
from training.spec import ExportSpec


@dataclass(frozen=True)
class Exported:
    """Folders as the exporter leaves them."""

    captions: Path
    """An image and its caption: modalities `image` and `text`."""
    pairs: Path
    """Two images: modalities `image1` and `image2`."""


@dataclass(frozen=True)
class Published:
    store: ModelStore
    captions: str
    """Digest of captions@1."""
    pairs: str
    """Digest of pairs@1."""


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    return Exported(_exported(folder, "captions"), _exported(folder, "pairs"))


@pytest.fixture
def published(settings: Settings, exported: Exported) -> Published:
    """Both models in the store that the service of this test serves from."""
    return publish(ModelStore(settings.models_url), exported)


def publish(store: ModelStore, exported: Exported) -> Published:
    digests = {name: store.publish(getattr(exported, name)) for name in ("captions", "pairs")}
    for name, digest in digests.items():
        store.name_version(name, 1, digest)
    return Published(store, **digests)


def _exported(folder: Path, form: str) -> Path:
    run = made(folder / f"train-{form}", small(epochs=1, dataset={"form": form}))
    assert done("fit", run) == 0
    export = made(folder / f"export-{form}", ExportSpec(run=run.name, name=form))
    assert done("export", export) == 0
    return export.export
