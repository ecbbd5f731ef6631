"""A pretrained tower through `python -m training`: it trains, is continued, and is served with its own tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from models_store.manifest import Manifest
from tests.training.runs import curve, done, made, of_type, small
from tests.training.towers import WORDS, text_tower
from training import checkpoint
from training.events import Done
from training.run_dir import EXIT_FAILED, RunDir
from training.spec import ExportSpec, TrainSpec

pytestmark = pytest.mark.long

TOWER = {"name": "pretrained_text", "source": "someone/tower", "mask_prob": 0.5}


def spec(**changes: object) -> TrainSpec:
    return small(
        dataset={"form": "captions", "n_pairs": 128},
        model={"encoders": {"text": TOWER}},
        checkpoints={"every_steps": 3, "keep_last": 100},
        **changes,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FUSEBOX_PRETRAINED_DIR", str(tmp_path / "pretrained"))
    folder = tmp_path / "pretrained" / "someone" / "tower"
    text_tower(folder, positions=16)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_run_with_a_frozen_tower_is_continued_exactly_and_exported_with_the_towers_tokenizer(
    tmp_path: Path,
) -> None:
    undisturbed = made(tmp_path / "model", spec())
    assert done("fit", undisturbed) == 0
    disturbed = RunDir(tmp_path / "disturbed")
    shutil.copytree(undisturbed.path, disturbed.path)
    for step in checkpoint.steps(disturbed)[1:]:
        shutil.rmtree(checkpoint.folder_of(disturbed, step))
    assert done("fit", disturbed) == 0
    assert curve(disturbed) == curve(undisturbed)

    found = checkpoint.choose(undisturbed, "last")
    assert [name for name in found.weights if "tower" in name] == ["tokens.encoders.of.1.tower.sha256"]
    assert found.meta.vocabulary == len(WORDS)

    run_dir = made(tmp_path / "export", ExportSpec(run="model", name="small", threads=1))
    assert done("export", run_dir) == 0
    manifest = Manifest.model_validate_json((run_dir.export / "manifest.json").read_bytes())
    assert manifest.parity.max_abs_diff <= 1e-4
    tokenizer = Tokenizer.from_file(str(run_dir.export / "tokenizer.json"))
    assert tokenizer.encode("a red circle").ids == [2, 5, 6, 8, 3]


def test_a_run_whose_tower_is_not_there_fails_and_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder)
    run_dir = made(tmp_path / "model", spec())
    assert done("fit", run_dir) == EXIT_FAILED
    (last,) = of_type(run_dir, Done)
    assert last.code == "data_error"
    assert "'someone/tower' is not there: put its folder" in last.text
    assert str(tmp_path) not in last.text


def test_a_run_whose_tower_has_changed_is_not_continued(folder: Path, tmp_path: Path) -> None:
    run_dir = made(tmp_path / "model", spec(epochs=1))
    assert done("fit", run_dir) == 0
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    assert done("export", made(tmp_path / "export", ExportSpec(run="model", name="small"))) == EXIT_FAILED
    last = list(of_type(RunDir(tmp_path / "export"), Done))[-1]
    assert "are not those that this model was trained with" in last.text
