"""Previews show samples as they are kept beside two views, the same each time, and are whole or not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.training.registration.fixtures import WRITERS, registered
from training.data import load
from training.data.previews import make
from training.run_dir import EXIT_FAILED
from training.spec import Digits, Registered
from training.spec.preview import (
    MOST_FEATURES,
    MOST_PIXELS,
    SAMPLES,
    Preview,
    Steps,
    folder_of,
    image_file,
    read,
    whole,
)
from training.spec.registration import REGISTERED, Format

DIGITS = Digits(form="triples", n_pairs=500)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("previews")


@pytest.fixture(scope="module")
def digits(root: Path) -> Path:
    """The folder of their preview."""
    return make(DIGITS, root)


@pytest.fixture(scope="module")
def previewed(root: Path) -> Callable[[Format], tuple[Registered, Path]]:
    """A registered dataset and the folder of its preview."""

    def of(made_from: Format, **options: Any) -> tuple[Registered, Path]:
        spec = whole(registered(made_from, WRITERS[made_from](root / made_from), root, **options))
        return spec, make(spec, root)

    return of


def pixels(folder: Path, sample: int, modality: str, k: int) -> np.ndarray:
    return np.asarray(Image.open(folder / image_file(sample, modality, k)))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_samples_are_spread_over_training_with_what_is_true_of_them(root: Path, digits: Path) -> None:
    preview, data = read(digits), load(DIGITS, root)
    rows = [sample.row for sample in preview.samples]
    assert (rows[0], rows[-1], len(set(rows))) == (0, 499, SAMPLES)
    for i, sample in enumerate(preview.samples):
        first = data.train.labels["unique1"][sample.row].item()
        assert sample.labels["unique1"] == str(first)
        assert sample.labels["share"] == ("even", "odd")[first % 2]
        kept = data.train.pools["image1"][data.train.index["image1"][sample.row]][0].numpy()
        assert np.array_equal(pixels(digits, i, "image1", 0), kept)


def test_of_each_split_the_samples_and_labels_are_counted(digits: Path) -> None:
    preview = read(digits)
    assert preview.splits == {"train": 500, "probe train": 10_000, "probe test": 4_000}
    for counts in preview.labels.values():
        assert {split: sum(each.values()) for split, each in counts.items()} == preview.splits
    assert preview.labels["synergy"]["probe test"] == {"unrelated": 2_000, "partners": 2_000}


def test_two_views_differ_from_what_is_kept_and_from_each_other(digits: Path) -> None:
    for i in range(SAMPLES):
        kept, one, other = (pixels(digits, i, "image1", k) for k in range(3))
        assert kept.shape == one.shape == (8, 8)
        assert not np.array_equal(kept, one)
        assert not np.array_equal(one, other)
    texts = [sample.modalities["text"] for sample in read(digits).samples]
    assert all("[MASK]" not in kept for kept, _, _ in texts)  # type: ignore[operator]
    hidden = [view for _, *views in texts for view in views if "[MASK]" in view]  # type: ignore[operator]
    assert 5 < len(hidden) < 2 * SAMPLES


def test_what_is_left_of_a_text_is_what_was_there(digits: Path) -> None:
    for sample in read(digits).samples:
        kept, view, _ = sample.modalities["text"]
        assert isinstance(kept, str)
        assert isinstance(view, str)
        assert all(part.strip() in kept for part in view.split("[MASK]"))


def test_the_same_spec_gives_the_same_preview_anywhere(digits: Path, tmp_path: Path) -> None:
    assert files(make(DIGITS, tmp_path)) == files(digits)


def test_a_preview_that_is_there_is_left_alone(root: Path, digits: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in digits.iterdir()}
    assert make(DIGITS, root) == digits
    assert {path: path.stat().st_mtime_ns for path in digits.iterdir()} == before


def test_what_a_killed_process_has_left_is_no_preview_and_goes_away(tmp_path: Path, digits: Path) -> None:
    folder = folder_of(tmp_path, DIGITS)
    part = folder.with_suffix(".part")
    part.mkdir(parents=True)
    (part / "old.png").write_bytes(b"half")
    assert files(make(DIGITS, tmp_path)) == files(digits)
    assert not part.exists()


def test_another_spec_has_another_preview_and_another_name_has_not(
    root: Path, previewed: Callable[..., tuple[Registered, Path]]
) -> None:
    spec, folder = previewed("mosi")
    assert folder_of(root, spec.model_copy(update={"name": "films"})) == folder
    assert folder_of(root, DIGITS) != folder_of(root, Digits(form="triples", n_pairs=501))


def test_sequences_are_shown_in_their_own_units_with_the_steps_they_have(
    previewed: Callable[..., tuple[Registered, Path]],
) -> None:
    spec, folder = previewed("mosi")
    assert list(read(folder).samples[0].modalities) == ["vision", "text", "audio"]
    folder_of_data = folder.parents[1] / REGISTERED / spec.sha256
    vision = np.load(folder_of_data / "vision.npy")
    rows = np.load(folder_of_data / "split.strict.train.npy")
    changed = 0
    for sample in read(folder).samples:
        kept, one, other = sample.modalities["vision"]
        assert isinstance(kept, Steps)
        whole_of = vision[rows[sample.row]]
        there = np.flatnonzero(whole_of.any(1))[-1] + 1
        assert kept.steps == there
        assert np.allclose(kept.values, whole_of[:there, :MOST_FEATURES], rtol=1e-5)
        changed += (kept != one) + (kept != other)
    assert changed > 0


def test_tables_images_and_several_labels_are_shown(
    previewed: Callable[..., tuple[Registered, Path]],
) -> None:
    spec, folder = previewed("arrays")
    preview = read(folder)
    data = np.load(folder.parents[1] / REGISTERED / spec.sha256 / "labs.npy")
    rows = np.load(folder.parents[1] / REGISTERED / spec.sha256 / "split.strict.train.npy")
    for sample in preview.samples:
        kept, one, _ = sample.modalities["labs"]
        assert np.allclose(kept, data[rows[sample.row]], rtol=1e-5)
        assert len(one) == 6  # type: ignore[arg-type]
        assert set(sample.labels["drugs"]) <= {"0", "1", "2", "3"}
        assert isinstance(sample.labels["age"][0], float)
    assert set(preview.labels) == {"sleeps", "age", "drugs"}


def test_a_large_image_is_shown_smaller(previewed: Callable[..., tuple[Registered, Path]]) -> None:
    _, folder = previewed("image_folder", image_size=160)
    assert pixels(folder, 0, "image", 0).shape == (MOST_PIXELS, MOST_PIXELS, 3)
    assert read(folder).labels["colour"]["train"].keys() == {"red", "green", "blue"}


def test_a_small_dataset_is_shown_whole(previewed: Callable[..., tuple[Registered, Path]]) -> None:
    _, folder = previewed("hateful_memes", image_size=32)
    preview: Preview = read(folder)
    assert [sample.row for sample in preview.samples] == list(range(preview.splits["train"]))


def test_data_that_is_not_here_is_told_in_a_line(
    previewed: Callable[..., tuple[Registered, Path]], tmp_path: Path
) -> None:
    spec, _ = previewed("mosi")
    command = [sys.executable, "-m", "training.preview", str(tmp_path), spec.model_dump_json()]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == EXIT_FAILED
    assert ended.stderr.startswith(f"dataset 'mosi' ({spec.sha256[:12]}) is not on this machine")
    assert len(ended.stderr.splitlines()) == 1
    assert not folder_of(tmp_path, spec).exists()
