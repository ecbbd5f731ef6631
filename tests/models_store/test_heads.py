"""A head is read as it was written or not at all, and only beside the model that it was fitted for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models_store.heads import (
    DamagedHeadError,
    ForeignHeadError,
    HeadManifest,
    HeadStore,
    opened,
    packed,
    read_head,
    write_head,
)
from models_store.store import ModelStore, StoreError, UnknownModelError
from tests.models_store.bundles import bundle, head

OTHER = ((0, 0), (1, 0), (0, 1), (0, 0))


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    return ModelStore(str(tmp_path / "store"))


@pytest.fixture
def heads(models: ModelStore) -> HeadStore:
    return HeadStore(models)


@pytest.fixture
def model(models: ModelStore, tmp_path: Path) -> str:
    return models.publish(bundle(tmp_path / "model"))


def files(store_folder: Path) -> list[Path]:
    return [path for path in store_folder.rglob("*") if path.is_file()]


def blob(store_folder: Path, content: bytes) -> Path:
    sha256 = hashlib.sha256(content).hexdigest()
    return store_folder / "blobs" / "sha256" / sha256[:2] / sha256


def changed(content: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(content), **changes}).encode()


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_what_was_attached_is_read_back_until_it_is_detached(tmp_path: Path, where: str) -> None:
    models = ModelStore(str(tmp_path / "store") if where == "folder" else f"memory://{tmp_path.name}-heads")
    digest, heads = models.publish(bundle(tmp_path / "model")), HeadStore(models)
    assert heads.attached(digest) == {}
    content, weights = head(names=["a", "b", "c"])
    sha256 = heads.attach(digest, content, weights).sha256
    assert heads.attached(digest) == {"digit": sha256} == {"digit": hashlib.sha256(content).hexdigest()}
    found = heads.read(digest, "digit", sha256)
    assert (found.weight.shape, found.bias.shape, found.manifest.names) == ((4, 3), (3,), ("a", "b", "c"))
    assert np.array_equal(found.weight, np.eye(4, 3))
    heads.detach(digest, "digit")
    heads.detach(digest, "digit")
    assert heads.attached(digest) == {}
    assert models.resolve(digest) == digest


def test_another_head_for_the_task_takes_the_place_of_the_first(heads: HeadStore, model: str) -> None:
    first = heads.attach(model, *head()).sha256
    second = heads.attach(model, *head(OTHER)).sha256
    heads.attach(model, *head(task="other"))
    assert heads.attached(model) == {"digit": second, "other": heads.attached(model)["other"]}
    assert heads.read(model, "digit", second).weight.shape == (4, 2)
    assert heads.read(model, "digit", first).weight.shape == (4, 3), "whoever is at work with it may finish"


def test_a_head_of_another_checkpoint_is_refused_and_both_are_named(heads: HeadStore, model: str) -> None:
    with pytest.raises(ForeignHeadError, match=r"checkpoint 1{64}, and the model is of 0{64}"):
        heads.attach(model, *head(checkpoint_sha256="1" * 64))
    with pytest.raises(ForeignHeadError, match="takes 5 numbers, and the model gives 4"):
        heads.attach(model, *head(np.eye(5, 3)))
    assert heads.attached(model) == {}
    with pytest.raises(UnknownModelError):
        heads.attach("0" * 64, *head())


def test_a_head_is_never_read_for_another_model_whatever_a_pointer_says(
    models: ModelStore, heads: HeadStore, model: str, tmp_path: Path
) -> None:
    source = json.loads((tmp_path / "model" / "manifest.json").read_bytes())["source"]
    other = models.publish(bundle(tmp_path / "other", source=source | {"checkpoint_sha256": "1" * 64}))
    sha256 = heads.attach(other, *head(checkpoint_sha256="1" * 64)).sha256
    with pytest.raises(ForeignHeadError):
        heads.read(model, "digit", sha256)
    with pytest.raises(DamagedHeadError, match="one for 'digit'"):
        heads.read(other, "shape", sha256)


@pytest.mark.parametrize("which", ["manifest", "weights"])
@pytest.mark.parametrize("spoil", ["byte", "longer", "gone"])
def test_a_changed_file_is_refused_and_attaching_again_mends_it(
    heads: HeadStore, model: str, tmp_path: Path, which: str, spoil: str
) -> None:
    content, weights = head()
    sha256 = heads.attach(model, content, weights).sha256
    path = blob(tmp_path / "store", content if which == "manifest" else weights)
    whole = path.read_bytes()
    match spoil:
        case "byte":
            path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        case "longer":
            path.write_bytes(whole + b" ")
        case "gone":
            path.unlink()
    with pytest.raises(DamagedHeadError, match="'digit'"):
        heads.read(model, "digit", sha256)
    assert heads.attach(model, content, weights).sha256 == sha256
    heads.read(model, "digit", sha256)


@pytest.mark.parametrize("pointer", [b"", b"nonsense", b"../../etc/passwd", b"f" * 64, b"\xff" * 100])
def test_a_pointer_that_leads_nowhere_is_damage(
    heads: HeadStore, model: str, tmp_path: Path, pointer: bytes
) -> None:
    heads.attach(model, *head())
    (tmp_path / "store" / "heads" / model / "digit").write_bytes(pointer)
    with pytest.raises(DamagedHeadError):
        heads.read(model, "digit", heads.attached(model)["digit"])


def test_what_is_no_task_is_not_looked_at(heads: HeadStore, model: str, tmp_path: Path) -> None:
    heads.attach(model, *head())
    (tmp_path / "store" / "heads" / model / ".digit.part").write_bytes(b"")
    assert list(heads.attached(model)) == ["digit"]
    for task in ("../digit", "", ".digit", "a/b", "x" * 101):
        with pytest.raises(StoreError):
            heads.detach(model, task)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(heads: HeadStore, model: str, number: float) -> None:
    weight = np.eye(4, 3)
    weight[1, 1] = number
    with pytest.raises(DamagedHeadError, match="'digit' are not finite"):
        heads.attach(model, *head(weight))
    assert heads.attached(model) == {}


def test_weights_of_another_size_than_the_manifest_says_are_refused() -> None:
    content, weights = head()
    for other in (weights[:-4], weights + b"\0\0\0\0", b""):
        sha256 = hashlib.sha256(other).hexdigest()
        with pytest.raises(DamagedHeadError):
            opened(changed(content, weights_sha256=sha256), other)
    wider = changed(content, embedding_dim=5)
    with pytest.raises(DamagedHeadError):
        opened(wider, weights)


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ["a", "b"]},
        {"names": ["a", "b", "b"]},
        {"names": ["a", "b", "c", "c"]},
        {"outputs": 0},
        {"outputs": 1_000_000, "embedding_dim": 1_000},
        {"task": "../x"},
        {"weights_sha256": "x"},
        {"type": "other"},
        {"surprise": 1},
        {"scores": {"mse": {"value": float("nan")}}},
    ],
    ids=str,
)
def test_a_manifest_that_cannot_be_true_is_refused(changes: dict[str, Any]) -> None:
    content, weights = head()
    with pytest.raises(DamagedHeadError, match="not the manifest of a head"):
        opened(changed(content, **changes), weights)


def test_a_run_leaves_two_files_that_are_read_back_by_their_sha256(tmp_path: Path) -> None:
    content, weights = head()
    manifest = HeadManifest.model_validate_json(content)
    sha256 = write_head(tmp_path, manifest, weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digit.f32", "digit.json"]
    assert opened(*read_head(tmp_path, "digit", sha256)).manifest == manifest
    rows = np.fromfile(tmp_path / "digit.f32", "<f4").reshape(5, 3)
    assert np.array_equal(rows[:4], np.eye(4, 3))

    for name in ("digit.f32", "digit.json"):
        whole = (tmp_path / name).read_bytes()
        for spoilt in (
            whole.replace(b"1", b"2", 1) if name == "digit.json" else b"\1" + whole[1:],
            whole + b"x",
        ):
            (tmp_path / name).write_bytes(spoilt)
            with pytest.raises(DamagedHeadError, match="digit"):
                read_head(tmp_path, "digit", sha256)
        (tmp_path / name).unlink()
        with pytest.raises(DamagedHeadError, match="is gone"):
            read_head(tmp_path, "digit", sha256)
        (tmp_path / name).write_bytes(whole)


def test_weights_are_kept_as_they_were() -> None:
    random = np.random.default_rng(0)
    weight, bias = random.standard_normal((7, 5)).astype("f4"), random.standard_normal(5).astype("f4")
    weights = packed(weight, bias)
    content, _ = head(weight, weights_sha256=hashlib.sha256(weights).hexdigest())
    found = opened(content, weights)
    assert np.array_equal(found.weight, weight)
    assert np.array_equal(found.bias, bias)


def test_the_main_score_is_that_by_which_a_probe_is_chosen() -> None:
    def metric(**changes: Any) -> str | None:
        return HeadManifest.model_validate_json(head(**changes)[0]).metric

    scores = {name: {"value": 0.5} for name in ("accuracy", "macro_accuracy", "mse", "r2")}
    assert metric(scores=scores) == "macro_accuracy"
    assert metric(scores=scores, type="regression") == "mse"
    assert metric(scores={"r2": {"value": 0.5}}, type="regression") == "r2"
    assert metric(scores={}) is None
    with pytest.raises(ValidationError):
        metric(scores={"mse": {}})
