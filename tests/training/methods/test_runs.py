"""Every method through `python -m training`: resumed equals undisturbed, exported equals torch. A minute for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models_store.manifest import Manifest
from tests.training.methods.batches import TINY
from tests.training.runs import curve, done, made, of_type, small
from training import checkpoint
from training.events import Done
from training.run_dir import EXIT_FAILED, RunDir
from training.spec import ExportSpec

pytestmark = pytest.mark.slow

VARIANTS = [
    *TINY.items(),
    ("infmasking", {"mask_ratio": {"low": 0.3, "high": 0.9}, "views_per_chunk": 2, "entropy_penalty": 0.1}),
    ("factorcl", {**TINY["factorcl"], "augmentation": "conditional", "critic_steps": 2}),
    ("mae", {**TINY["mae"], "mask_ratio": {"low": 0.5, "high": 0.9}}),
]
every_variant = pytest.mark.parametrize(
    ("method", "options"), VARIANTS, ids=[f"{name}-{n}" for n, (name, _) in enumerate(VARIANTS)]
)


def weights_of(run_dir: RunDir) -> str:
    return checkpoint.choose(run_dir, "last").meta.sha256[checkpoint.WEIGHTS]


@every_variant
def test_a_run_continued_inside_an_epoch_equals_one_that_was_not_disturbed(
    tmp_path: Path, method: str, options: dict[str, object]
) -> None:
    spec = small(
        method={"name": method, **options},
        dataset={"form": "captions"},
        checkpoints={"every_steps": 5, "keep_last": 100},
    )
    undisturbed = made(tmp_path / "undisturbed", spec)
    assert done("fit", undisturbed) == 0

    # What a runner leaves that was killed after step 5, of 16: its events, and its first checkpoint.
    disturbed = RunDir(tmp_path / "disturbed")
    shutil.copytree(undisturbed.path, disturbed.path)
    for step in checkpoint.steps(disturbed)[1:]:
        shutil.rmtree(checkpoint.folder_of(disturbed, step))
    assert checkpoint.steps(disturbed) == [5]
    assert done("fit", disturbed) == 0

    assert weights_of(disturbed) == weights_of(undisturbed)
    assert curve(disturbed) == curve(undisturbed)
    assert len(curve(disturbed)) == spec.total_steps


@every_variant
def test_an_exported_graph_equals_torch_for_every_subset_of_modalities(
    tmp_path: Path, method: str, options: dict[str, object]
) -> None:
    spec = small(method={"name": method, **options}, dataset={"form": "captions"}, epochs=1)
    assert done("fit", made(tmp_path / "model", spec)) == 0
    run_dir = made(tmp_path / "export", ExportSpec(run="model", name="small", threads=1))
    assert done("export", run_dir) == 0
    manifest = Manifest.model_validate_json((run_dir.export / "manifest.json").read_bytes())
    assert manifest.parity.max_abs_diff <= 1e-4
    seen = ("image",) if method == "simclr" else ("image", "text")
    assert tuple(each.name for each in manifest.inputs) == seen
    assert len(manifest.parity.subsets) == 2 ** len(seen) - 1
    assert ("tokenizer.json" in manifest.files) == ("text" in seen)


def test_a_loss_that_is_not_finite_fails_the_run_and_names_the_step(tmp_path: Path) -> None:
    spec = small(method="factorcl", optim={"lr": 10.0, "weight_decay": 10.0}, epochs=50)
    run_dir = made(tmp_path / "run", spec)
    assert done("fit", run_dir) == EXIT_FAILED
    last = list(of_type(run_dir, Done))[-1]
    assert last.code == "non_finite_loss"
    assert "at step" in last.text


def test_the_curves_of_all_turns_are_told(tmp_path: Path) -> None:
    run_dir = made(tmp_path / "run", small(method="factorcl", epochs=1))
    assert done("fit", run_dir) == 0
    total = curve(run_dir)
    of_terms = [
        curve(run_dir, f"loss/{name}")
        for name in ("shared", "shared_upper", "unique_1", "unique_2", "conditional", "conditional_upper")
    ]
    for step, value in total.items():
        assert value == pytest.approx(sum(each[step] for each in of_terms), abs=1e-4)
    assert len(curve(run_dir, "loss/critic_shared")) == len(total) == len(curve(run_dir, "lr"))
