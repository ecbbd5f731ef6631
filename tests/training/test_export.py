"""An exported graph says what torch says, for any batch, any text length and any modalities that are there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from models_store.manifest import Manifest
from tests.training.runs import done, made, of_type, small
from training.events import Done, Exported
from training.run_dir import EXIT_FAILED, RunDir
from training.spec import ExportSpec


def exported(folder: Path, **changes: Any) -> RunDir:
    assert done("fit", made(folder / "model", small(epochs=1, **changes))) == 0
    run_dir = made(folder / "export", ExportSpec(run="model", name="small"))
    assert done("export", run_dir) == 0
    return run_dir


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return exported(tmp_path_factory.mktemp("captions"), dataset={"form": "captions"})


def test_a_published_graph_answers_within_the_tolerance_for_every_subset(captions: RunDir) -> None:
    assert_parity(captions)


def test_the_graph_of_a_method_without_fusion_does_too(tmp_path: Path) -> None:
    assert_parity(exported(tmp_path, method="cross", dataset={"form": "captions"}))


def assert_parity(run_dir: RunDir) -> None:
    manifest = Manifest.model_validate_json((run_dir.export / "manifest.json").read_bytes())
    assert manifest.parity.max_abs_diff <= 1e-4
    assert manifest.parity.batch_sizes == (1, 2, 17)
    assert manifest.parity.subsets == (("image",), ("text",), ("image", "text"))
    assert [each.max_abs_diff for each in of_type(run_dir, Exported)] == [manifest.parity.max_abs_diff]


@pytest.mark.slow
def test_two_fusion_blocks_and_three_modalities_export(tmp_path: Path) -> None:
    run_dir = exported(tmp_path, dataset={"form": "triples"}, model={"layers": 2})
    manifest = Manifest.model_validate_json((run_dir.export / "manifest.json").read_bytes())
    assert len(manifest.parity.subsets) == 7


def test_the_manifest_names_every_file_by_its_content(captions: RunDir) -> None:
    run_dir = captions
    manifest = Manifest.model_validate_json((run_dir.export / "manifest.json").read_bytes())
    on_disk = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run_dir.export.iterdir()
        if path.name != "manifest.json"
    }
    assert manifest.files == on_disk
    assert set(on_disk) == {"model.onnx", "tokenizer.json"}


def test_what_is_absent_or_padding_has_no_influence_on_the_embedding(captions: RunDir) -> None:
    run_dir = captions
    session = onnxruntime.InferenceSession(run_dir.export / "model.onnx", providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    image = random.standard_normal((2, 1, 8, 8)).astype(np.float32)
    image[1] = image[0]
    text = np.array([[5, 6, 7, 0], [9, 8, 0, 0]])

    def fused(text: np.ndarray, present: list[bool]) -> np.ndarray:
        feed = {"image": image, "text": text, "present": np.array([present, present])}
        answer: np.ndarray = session.run(["fused"], feed)[0]
        return answer

    without_text = fused(text, [True, False])
    assert np.abs(without_text[0] - without_text[1]).max() < 1e-6
    longer = np.pad(text, ((0, 0), (0, 3)))
    assert np.abs(fused(text, [True, True]) - fused(longer, [True, True])).max() < 1e-5
    assert np.abs(fused(text, [True, True])[0] - fused(text, [True, True])[1]).max() > 1e-3


def test_a_model_that_differs_from_torch_is_not_published(tmp_path: Path) -> None:
    assert done("fit", made(tmp_path / "model", small(epochs=1))) == 0
    run_dir = made(tmp_path / "export", ExportSpec(run="model", name="small", tolerance=1e-12))
    assert done("export", run_dir) == EXIT_FAILED
    last = list(of_type(run_dir, Done))[-1]
    assert last.code == "parity"
    assert "larger tolerance" in last.text
    assert not (run_dir.export / "manifest.json").exists()
