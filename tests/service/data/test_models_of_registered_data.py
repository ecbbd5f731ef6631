"""From published files to vectors over HTTP: trained, exported, served, and equal to what torch says of each sample."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from torch import Tensor

from models_store.manifest import Manifest
from tests.applications import app_on_sqlite
from tests.service.pictures import file
from tests.training.registration.fixtures import WRITERS, registered
from tests.training.runs import done, made
from training import checkpoint
from training.data import Data, load_for, prepare
from training.export.inputs import subsets
from training.methods import Method
from training.probe.job import restored
from training.spec import ExportSpec, TrainSpec
from training.spec.registration import Format

pytestmark = pytest.mark.long

SMALL: dict[str, Any] = {"dim": 16, "heads": 2, "head_hidden": 16, "head_out": 8}
AFFECT = {"name": "affect", "layers": 1}
ROWS = 4
SERVING = Path(__file__).parents[3] / "docs" / "serving.md"
Vectors = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Trained:
    """The network as torch has it, beside a service that serves what was exported of it."""

    method: Method
    data: Data
    manifest: Manifest
    client: TestClient

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.method.modalities]

    def raw(self, rows: int = ROWS) -> dict[str, Tensor]:
        """The first test samples as they were registered."""
        return self.data.probe_test.batch(torch.arange(rows))

    @torch.no_grad()
    def torchs(self, raw: Mapping[str, Tensor], names: tuple[str, ...]) -> Vectors:
        present = torch.tensor([name in names for name in self.names]).expand(
            len(next(iter(raw.values()))), -1
        )
        vectors: Vectors = self.method.embed(prepare(raw, self.data), present).numpy()
        return vectors

    def served(self, *samples: Mapping[str, Any]) -> Vectors:
        request = {"model": "model", "inputs": samples, "normalize": False}
        answer = self.client.post("/v1/embeddings", json=request)
        assert answer.status_code == 200, answer.text
        return np.array([each["embedding"] for each in answer.json()["data"]], dtype=np.float32)


@contextmanager
def trained(folder: Path, made_from: Format, spec: dict[str, Any], **options: Any) -> Iterator[Trained]:
    """One epoch, exported and published, by the commands that a worker runs."""
    dataset = registered(made_from, WRITERS[made_from](folder / "in"), folder / "datasets", **options)
    content = {"dataset": dataset, "epochs": 1, "threads": 1, "model": SMALL, **spec}
    run = made(folder / "training", TrainSpec.model_validate(content))
    assert done("fit", run) == 0
    export = made(folder / "export", ExportSpec(run=run.name, name="model", threads=1))
    assert done("export", export) == 0
    found = checkpoint.choose(run, "last")
    data = load_for(found.meta.spec, folder / "datasets")

    app = app_on_sqlite(folder)
    with TestClient(app) as client:
        store = app.state.resources.store
        digest = store.publish(export.export)
        store.name_version("model", 1, digest)
        yield Trained(restored(found, data), data, store.manifest(digest), client)


def sent(raw: Mapping[str, Tensor], row: int, names: tuple[str, ...]) -> dict[str, Any]:
    """A sample as a client has it: pictures as files, sequences without their padding."""
    return {name: _value(raw[name][row].numpy()) for name in names}


def _value(item: Any) -> Any:
    if item.dtype == np.uint8:
        return base64.b64encode(file(Image.fromarray(item.transpose(1, 2, 0)))).decode()
    if item.ndim == 2:
        item = item[: np.flatnonzero(item.any(axis=1))[-1] + 1]
    return item.tolist()


def assert_equal_to_torch(model: Trained) -> None:
    """Whatever is there of each sample, all in one request."""
    raw = model.raw()
    for names in subsets(model.names):
        ours = model.served(*(sent(raw, row, names) for row in range(ROWS)))
        assert np.abs(ours - model.torchs(raw, names)).max() <= 1e-4
        assert ours.std(axis=0).max() > 1e-4, "samples do not all look alike"


def assert_equal_alone(model: Trained) -> None:
    """With neighbours that are longer, shorter, and lack something."""
    raw, names = model.raw(), tuple(model.names)
    mixed = [sent(raw, row, names[row % 2 :]) for row in range(ROWS)]
    together = model.served(*mixed)
    alone = np.concatenate([model.served(each) for each in mixed])
    assert np.abs(together - alone).max() <= 1e-5


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    spec = {"model": SMALL | {"encoders": {"vision": AFFECT, "text": AFFECT}}, "batch_size": 4}
    with trained(tmp_path_factory.mktemp("mosi"), "mosi", spec) as model:
        yield model


def test_films_of_any_length_are_embedded_as_torch_embeds_them(films: Trained) -> None:
    assert_equal_to_torch(films)
    assert len({len(sample["text"]) for sample in (sent(films.raw(), row, ("text",)) for row in range(ROWS))}) > 2  # fmt: skip


def test_a_film_is_the_same_among_longer_and_shorter_ones(films: Trained) -> None:
    assert_equal_alone(films)


def test_how_far_a_film_is_padded_changes_nothing(films: Trained) -> None:
    sample = sent(films.raw(), 0, ("vision", "text"))
    padded = {name: steps + [[0.0] * len(steps[0])] * (50 - len(steps)) for name, steps in sample.items()}
    assert np.abs(films.served(sample) - films.served(padded)).max() <= 1e-5
    shortened = sample | {"text": sample["text"][:2]}
    assert np.abs(films.served(sample) - films.served(shortened)).max() > 1e-4


@pytest.mark.slow
def test_films_are_embedded_as_published_at_their_full_length(tmp_path: Path) -> None:
    spec = {"model": SMALL | {"encoders": {"vision": AFFECT, "text": AFFECT}}, "batch_size": 4, "protocol": "reference"}  # fmt: skip
    with trained(tmp_path, "mosi", spec) as model:
        assert_equal_to_torch(model)
        assert_equal_alone(model)


@pytest.mark.slow
def test_patients_are_embedded_from_what_a_monitor_shows(tmp_path: Path) -> None:
    with trained(tmp_path, "mimic", {"batch_size": 8}) as model:
        assert model.raw()["series"].mean() > 50, "raw numbers"
        assert_equal_to_torch(model)
        body, *_ = re.findall(r"--json '(.*?)'", SERVING.read_text(), re.DOTALL)
        assert model.served(*json.loads(body)["inputs"]).shape == (2, 16), "the example of docs/serving.md"


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(("image", "proprioception"), marks=pytest.mark.slow),
        ("image", "force", "proprioception"),
    ],
    ids="+".join,
)
def test_a_robots_moments_are_embedded_from_all_of_its_senses(tmp_path: Path, use: tuple[str, ...]) -> None:
    spec = {"model": SMALL | {"encoders": {"image": "conv"}}, "batch_size": 48}
    with trained(tmp_path, "vision_touch", spec, image_size=32, use=use) as model:
        assert model.names == list(use)
        assert_equal_to_torch(model)
        assert_equal_alone(model)
