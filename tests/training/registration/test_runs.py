"""From a dataset's published files to scores, by the commands that a worker runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.registration.fixtures import WRITERS, registered
from tests.training.runs import curve, done, made, of_type
from training.events import Result
from training.run_dir import EXIT_FAILED, RunDir
from training.spec import ProbeSpec, Registered, TrainSpec
from training.spec.registration import OWN_FORMATS, REGISTERED, Format

pytestmark = pytest.mark.long

SMALL: dict[str, Any] = {"dim": 16, "heads": 2, "head_hidden": 16, "head_out": 8}
OPTIONS: dict[Format, dict[str, Any]] = {
    "mosi": {"protocol": "reference", "model": SMALL | {"dim": 40, "heads": 8}, "batch_size": 4},
    "vision_touch": {"model": SMALL, "batch_size": 48},
    "mmimdb": {
        "model": SMALL | {"encoder": "conv", "encoders": {"text": "text_transformer"}},
        "batch_size": 4,
    },
    "image_folder": {"model": SMALL, "batch_size": 16},
    "webdataset": {"model": SMALL, "batch_size": 16},
    "parquet": {"model": SMALL, "batch_size": 16},
    "arrays": {"model": SMALL, "batch_size": 16},
}
SAID: dict[Format, dict[str, Any]] = {"mosi": {}, "arrays": {"predict": ("sleeps",)}}
METRICS: dict[Format, str] = {
    "mosi": "macro_accuracy",
    "vision_touch": "macro_accuracy",
    "mmimdb": "f1_macro",
    **dict.fromkeys(OWN_FORMATS, "macro_accuracy"),
}


def trained(tmp_path: Path, made_from: Format) -> tuple[Registered, RunDir]:
    """One epoch. The datasets folder is where `tests.training.runs` looks for it."""
    said = SAID.get(made_from, {"image_size": 32})
    spec = registered(made_from, WRITERS[made_from](tmp_path / "in"), tmp_path / "datasets", **said)
    content = {"dataset": spec, "epochs": 1, "threads": 1, **OPTIONS[made_from]}
    run = made(tmp_path / "training", TrainSpec.model_validate(content))
    return spec, run


@pytest.mark.parametrize(
    "made_from", ["mosi", *(pytest.param(each, marks=pytest.mark.slow) for each in OPTIONS if each != "mosi")]
)
def test_a_registered_dataset_is_trained_on_and_probed(tmp_path: Path, made_from: Format) -> None:
    spec, run = trained(tmp_path, made_from)
    assert done("fit", run) == 0
    steps = curve(run)
    assert len(steps) == TrainSpec.model_validate_json(run.spec.read_bytes()).total_steps > 0
    probe = made(tmp_path / "probe", ProbeSpec(run=run.name))
    assert done("probe", probe) == 0
    scores = {each.metric: each for each in of_type(probe, Result) if each.task == spec.tasks[0].name}
    score = scores[METRICS[made_from]]
    assert 0 <= score.value <= 1
    assert (score.dataset, score.task, score.n) == (made_from, spec.tasks[0].name, spec.card.samples["test"])


def test_a_training_whose_dataset_was_damaged_fails_and_says_what_to_do(tmp_path: Path) -> None:
    spec, run = trained(tmp_path, "mosi")
    with (tmp_path / "datasets" / REGISTERED / spec.sha256 / "text.npy").open("r+b") as file:
        file.truncate(1000)
    assert done("fit", run) == EXIT_FAILED
    *_, last = run.read_events()
    assert last.type == "done"
    assert last.code == "data_error"
    assert last.text == (
        "dataset 'mosi' is damaged: text.npy differ from what was registered; register 'mosi' again on this machine, "
        "with `fusebox datasets add`"
    )
