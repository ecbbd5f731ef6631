"""An embed run leaves every sample's vector, as the probe would see it; one that is killed goes on after its last whole part."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models_store.durable import sha256_of
from models_store.embeddings import EmbeddingsManifest, read_manifest
from tests.training.probe.test_job import registered
from tests.training.runs import FORKS, _become, done, environment_of, made, of_type, small
from training import checkpoint
from training.data import load_for
from training.data.digits import NUMERALS
from training.embed.parts import read_part
from training.events import Done, EmbeddingsKept, Progress, Started
from training.probe.features import embed_split
from training.probe.job import restored
from training.run_dir import EXIT_FAILED, RunDir
from training.spec import EmbedSpec

SUBSETS = (("image",), ("text",), ("image", "text"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = made(tmp_path_factory.mktemp("runs") / "model", small(epochs=1, dataset={"form": "captions"}))
    assert done("fit", run) == 0
    return run


def asked(trained: RunDir, name: str, **said: Any) -> RunDir:
    spec = {"run": "model", "modalities": SUBSETS, "samples_per_part": 400, "threads": 1, **said}
    return made(trained.sibling(name).path, EmbedSpec.model_validate(spec))


@pytest.fixture(scope="module")
def embedded(trained: RunDir) -> RunDir:
    run = asked(trained, "embedded")
    assert done("embed", run) == 0
    return run


def manifest_of(run: RunDir) -> EmbeddingsManifest:
    (kept,) = of_type(run, EmbeddingsKept)
    return read_manifest(run.embeddings, kept.sha256)


def vectors_of(run: RunDir) -> dict[tuple[str, ...], Any]:
    return {each.modalities: np.load(run.embeddings / each.file) for each in manifest_of(run).subsets}


def test_the_manifest_says_what_there_is_and_every_file_is_as_it_says(
    embedded: RunDir, trained: RunDir
) -> None:
    found, model = manifest_of(embedded), checkpoint.choose(trained, "last").meta
    assert (found.count, found.dim, found.file_format) == (1797, 16, "npz")
    assert [(each.split, each.start, each.count) for each in found.splits] == [
        ("train", 0, 1437),
        ("test", 1437, 360),
    ]
    assert found.source.checkpoint_sha256 == model.sha256[checkpoint.WEIGHTS]
    assert (found.source.job_id, found.source.dataset) == ("model", "digits")
    assert found.source.dataset_sha256 == model.dataset_sha256
    assert [(each.task, each.names[3]) for each in found.tasks] == [("digit", "3")]
    there = {path.name for path in embedded.embeddings.iterdir()} - {".plan.json", "manifest.json"}
    assert set(found.files) == there
    for name, kept in found.files.items():
        path = embedded.embeddings / name
        assert (path.stat().st_size, sha256_of(path)) == (kept.size_bytes, kept.sha256)


def test_vectors_are_those_that_a_probe_sees_and_absent_modalities_have_no_part_in_them(
    embedded: RunDir, trained: RunDir
) -> None:
    found = checkpoint.choose(trained, "last")
    data = load_for(found.meta.spec, trained.path.parent / "datasets")
    method = restored(found, data)
    kept = vectors_of(embedded)
    whole = torch.cat(
        [
            embed_split(method, found.meta.spec.dataset, data, split, "strict")
            for split in (data.probe_train, data.probe_test)
        ]
    )
    assert np.allclose(kept["image", "text"], whole.numpy(), atol=1e-5)
    batch = data.probe_test.batch(torch.arange(360))
    images = {"image": batch["image"].float() / 255, "text": torch.randint(2, 200, (360, 16))}
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in data.normalisation["image"])
    images["image"] = (images["image"] - mean) / std
    with torch.no_grad():
        alone = method.embed(images, torch.tensor([[True, False]]).expand(360, -1))
    assert np.allclose(kept["image",][1437:], alone.numpy(), atol=1e-5)
    for subset in manifest_of(embedded).subsets:
        assert np.allclose(subset.mean, kept[subset.modalities].mean(0, dtype=np.float64), atol=1e-9)


def test_parts_hold_the_samples_one_after_the_other_with_their_labels(
    embedded: RunDir, trained: RunDir
) -> None:
    paths = sorted(embedded.embeddings.glob("part-*.npz"))
    parts = [part for path in paths if (part := read_part(path, "npz")) is not None]
    assert [len(part["sample"]) for part in parts] == [400, 400, 400, 237, 360]
    for name in ("sample", "label.digit", "vector.text"):
        whole = np.concatenate([part[name] for part in parts])
        if name == "sample":
            assert whole.tolist() == list(range(1797))
        if name == "vector.text":
            assert np.array_equal(whole, vectors_of(embedded)[("text",)])
        if name == "label.digit":
            data = load_for(small(dataset={"form": "captions"}), trained.path.parent / "datasets")
            labels = torch.cat([data.probe_train.labels["digit"], data.probe_test.labels["digit"]])
            assert whole.tolist() == labels.tolist()
            assert np.load(embedded.embeddings / "labels.npz")[name].tolist() == whole.tolist()


def test_progress_counts_samples_with_a_rate(embedded: RunDir) -> None:
    last = list(of_type(embedded, Progress))[-1]
    assert (last.step, last.total) == (1797, 1797)
    assert last.rate > 0


def test_points_to_draw_stand_beside_the_vectors(embedded: RunDir) -> None:
    points = json.loads((embedded.embeddings / "projection.json").read_bytes())
    assert list(points["subsets"]) == ["image", "text", "image+text"]
    assert len(points["rows"]) == len(points["subsets"]["text"]["pca"]) == 1797
    assert {name: len(each) for name, each in points["together"]["pca"].items()} == dict.fromkeys(points["subsets"], 1797)  # fmt: skip


def test_what_a_training_makes_anew_is_kept_to_be_looked_at(embedded: RunDir, trained: RunDir) -> None:
    seen = np.load(embedded.embeddings / "seen.npz")
    spec = checkpoint.choose(trained, "last").meta.spec
    data = load_for(spec, trained.path.parent / "datasets")
    for split, start in ((data.probe_train, 0), (data.probe_test, 1437)):
        kept = split.batch(torch.arange(len(split)))
        rows = slice(start, start + len(split))
        assert np.array_equal(seen["image"][seen["image.of"][rows]], kept["image"][:, 0].numpy())
        texts = seen["text"][seen["text.of"][rows]]
        digits = split.labels["digit"].tolist()
        assert all(NUMERALS[digit] in text for digit, text in zip(digits, texts, strict=True))
    assert seen["image"].nbytes == 1797 * 64
    assert len(seen["text"]) <= 2 * 60, "each sentence once a split"


def test_parquet_has_the_same_numbers_and_a_split_can_be_left_out(trained: RunDir, embedded: RunDir) -> None:
    run = asked(trained, "table", format="parquet", splits=["test"], projection="none")
    assert done("embed", run) == 0
    found = manifest_of(run)
    assert sorted(found.files) == ["labels.npz", "part-00000.parquet", "seen.npz", "vectors-0.npy", "vectors-1.npy", "vectors-2.npy"]  # fmt: skip
    part = read_part(run.embeddings / "part-00000.parquet", "parquet")
    assert part is not None
    assert part["sample"].tolist() == list(range(1437, 1797)), "counted on from split to split"
    assert set(part["split"]) == {"test"}
    for subset, vectors in vectors_of(run).items():
        assert np.allclose(vectors, vectors_of(embedded)[subset][1437:], atol=1e-6)


def killed_after_some_parts(run: RunDir) -> set[int]:
    """Runs until two parts are whole, and kills it; returns the inodes of those that were."""
    process = FORKS.Process(target=_become, args=("embed", str(run.path), environment_of(run)))
    process.start()
    while len(whole := list(run.embeddings.glob("part-*"))) < 2:
        assert process.is_alive(), "it was done before it could be killed"
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, 9)
    process.join()
    assert not (run.embeddings / "manifest.json").exists()
    return {path.stat().st_ino for path in whole}


def test_a_killed_run_goes_on_after_its_last_whole_part_to_the_same_vectors(
    trained: RunDir, embedded: RunDir
) -> None:
    run = asked(trained, "killed", samples_per_part=150, batch_size=10)
    inodes = killed_after_some_parts(run)
    damaged = max(run.embeddings.glob("part-*"))
    count = len(list(run.embeddings.glob("part-*")))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert done("embed", run) == 0
    first, second = of_type(run, Started)
    assert (first.resumed_from_step, second.resumed_from_step) == (0, 150 * (count - 1))
    kept = {path.stat().st_ino for path in run.embeddings.glob("part-*")}
    assert len(kept & inodes) >= len(inodes) - 1
    for subset, vectors in vectors_of(run).items():
        assert np.allclose(vectors, vectors_of(embedded)[subset], atol=1e-5), subset


def test_parts_of_another_wish_are_not_gone_on_from(trained: RunDir) -> None:
    run = asked(trained, "changed", samples_per_part=150, batch_size=10, projection="none")
    killed_after_some_parts(run)
    asked(trained, "changed", samples_per_part=1000, modalities=["text"], projection="none")
    assert done("embed", run) == 0
    assert [event.resumed_from_step for event in of_type(run, Started)] == [0, 0]
    assert [each.modalities for each in manifest_of(run).subsets] == [("text",)]
    assert len(list(run.embeddings.glob("part-*"))) == 3


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"modalities": ["sound"]}, "/modalities/0: the training has no modality 'sound'"),
        ({"splits": ["val"]}, "has no split 'val'; it has train, test"),
        ({"dataset": {"name": "digits", "form": "pairs"}}, "/dataset: the training reads image"),
        ({"checkpoint": 5}, "has no checkpoint of step 5"),
    ],
)
def test_what_cannot_be_embedded_is_said(trained: RunDir, said: dict[str, Any], words: str) -> None:
    run = asked(trained, f"bad{abs(hash(words))}", **said)
    assert done("embed", run) == EXIT_FAILED
    assert words in list(of_type(run, Done))[-1].text


def test_another_dataset_of_the_same_shape_is_embedded_as_the_training_reads_it(
    trained: RunDir, embedded: RunDir
) -> None:
    other = {"name": "digits", "form": "captions", "n_pairs": 64}
    run = asked(trained, "other", dataset=other, modalities=None, splits=["test"])
    assert done("embed", run) == 0
    (vectors,) = vectors_of(run).values()
    assert np.allclose(vectors, vectors_of(embedded)["image", "text"][1437:], atol=1e-5)


def test_samples_of_registered_data_are_called_by_their_rows_and_keep_all_kinds_of_labels(
    tmp_path: Path,
) -> None:
    dataset = registered(tmp_path / "datasets")
    training = made(tmp_path / "model", small(dataset=dataset, method="comm", epochs=1))
    assert done("fit", training) == 0
    run = asked(training, "rows", modalities=None, splits=["val", "test"], format="parquet")
    assert done("embed", run) == 0
    found = manifest_of(run)
    assert [(each.split, each.start, each.count) for each in found.splits] == [
        ("val", 0, 100),
        ("test", 100, 100),
    ]
    assert found.source.registered_sha256 == dataset.sha256
    assert "seen.npz" not in found.files, "the service reads the dataset itself"
    assert {each.task: each.names for each in found.tasks}["kind"] == ("red", "green", "blue")
    labels = np.load(run.embeddings / "labels.npz")
    assert labels["sample"].tolist() == list(range(200, 400))
    assert labels["label.tags"].shape == (200, 4)
    assert labels["label.size"].shape == (200, 2)
