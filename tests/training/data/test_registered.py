"""What a training is given of a registered dataset: its samples, in the splits and scale of a protocol, checked and mapped."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.registration.fixtures import WRITERS, mosi, registered
from training.data import Augmenter, Data, Split, load, prepare, samples
from training.data.captions import train_tokenizer
from training.errors import DataError
from training.spec import Registered
from training.spec.registration import MANIFEST, PROTOCOLS, REGISTERED


def loaded(shelf, made_from, protocol="strict", **options) -> Data:
    found = shelf(made_from)
    return load(found.spec, found.folder.parents[1], protocol, **options)


def whole(shelf, made_from) -> Registered:
    """The spec with all modalities and tasks."""
    spec = shelf(made_from).spec
    names = {"use": spec.card.modalities, "predict": spec.card.tasks}
    return spec.model_copy(update={key: tuple(each.name for each in of) for key, of in names.items()})


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("made_from", WRITERS)
def test_every_split_has_as_many_samples_as_the_card_says(shelf, made_from, protocol):
    data, card = loaded(shelf, made_from, protocol), shelf(made_from).spec.card
    sizes = (card.reference_samples if protocol == "reference" else None) or card.samples
    assert len(data.train) == len(data.probe_train) == sizes["train"]
    assert len(data.train) == shelf(made_from).spec.n_train_under(protocol)
    assert len(data.probe_test) == sizes["test"]
    assert (data.probe_val and len(data.probe_val)) == sizes.get("val")


@pytest.mark.parametrize("made_from", WRITERS)
def test_a_batch_has_every_modality_in_the_form_that_networks_take(shelf, made_from):
    spec = whole(shelf, made_from)
    data = load(spec, shelf(made_from).folder.parents[1])
    rows = torch.tensor([3, 0, 3])
    batch = data.train.batch(rows)
    assert list(batch) == [modality.name for modality in spec.modalities]
    for view in (prepare(batch, data), Augmenter(spec, data)(batch)):
        for modality in spec.modalities:
            items = view[modality.name]
            assert len(items) == 3
            if modality.kind == "text":
                assert items.dtype == torch.int64
                assert 0 < items.shape[1] <= modality.max_tokens
                continue
            assert items.dtype == torch.float32
            assert items.isfinite().all()
            assert items.shape[1:] == batch[modality.name].shape[1:]
    for task in spec.tasks:
        labels = data.train.labels[task.name][rows]
        assert labels.dtype == (torch.int64 if task.type == "class" else torch.float32)
        assert labels.shape == ((3,) if task.type == "class" else (3, task.classes))


def test_the_rows_of_a_split_are_those_that_were_registered(shelf):
    found, data = shelf("mosi"), loaded(shelf, "mosi")
    for name, split in (("train", data.train), ("val", data.probe_val), ("test", data.probe_test)):
        rows = found.rows("strict", name)
        batch = split.batch(torch.arange(len(rows)))
        assert np.array_equal(batch["vision"].numpy(), found.array("vision")[rows])
        assert np.array_equal(split.labels["sentiment"].numpy(), found.array("labels.sentiment")[rows])


def test_splits_share_their_pools_which_are_mapped_from_disk(shelf):
    data = loaded(shelf, "vision_touch")
    pools = [
        split.pools["image"] for split in (data.train, data.probe_train, data.probe_val, data.probe_test)
    ]
    assert all(pool is pools[0] for pool in pools)
    assert str(shelf("vision_touch").folder / "image.npy") in Path("/proc/self/maps").read_text()
    moved = data.to("meta")
    assert moved.train.pools["image"] is moved.probe_val.pools["image"]


def test_a_pool_that_is_too_large_stays_where_it_is(shelf, monkeypatch):
    data = loaded(shelf, "vision_touch")
    monkeypatch.setattr(samples, "RESIDENT_BYTES", 100_000)
    moved = data.to("meta")
    assert moved.train.pools["image"].device.type == "cpu"
    assert moved.train.pools["proprioception"].device.type == "meta"
    assert moved.train.index["image"].device.type == "meta"


def test_vision_touch_selects_by_its_test_as_published_and_never_under_strict(shelf):
    published = loaded(shelf, "vision_touch", "reference")
    assert torch.equal(published.probe_val.index["image"], published.probe_test.index["image"])
    strict = loaded(shelf, "vision_touch")
    files = [
        set((split.index["image"] // 48).tolist())
        for split in (strict.train, strict.probe_val, strict.probe_test)
    ]
    assert sum(map(len, files)) == len(set.union(*files)) == 5


# ------------------------------------------------------------------------------------------------------- scale


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mimic_is_standardised_by_all_samples_or_by_the_training_samples(shelf, protocol):
    found, data = shelf("mimic"), loaded(shelf, "mimic", protocol)
    content = pickle.loads(found.source.read_bytes())
    chosen = slice(None) if protocol == "reference" else found.rows("strict", "train")
    batch = prepare(data.probe_test.batch(torch.arange(4)), data)
    for name, key in (("static", "adm_features_all"), ("series", "ep_tdata")):
        clean = np.nan_to_num(content[key], nan=0, posinf=0, neginf=0)
        flat = clean[chosen].reshape(-1, clean.shape[-1])
        deviation = np.where(np.ptp(flat, axis=0) > 0, flat.std(0), 1)
        expected = ((clean - flat.mean(0)) / deviation)[found.rows(protocol, "test")]
        # A column that nearly never changes has few digits left.
        assert np.allclose(batch[name].numpy(), expected, atol=1e-2 if name == "static" else 1e-5)


def test_a_representation_is_probed_strictly_in_the_scale_it_was_trained_in(shelf):
    data = loaded(shelf, "mimic", "reference", splits="strict")
    assert data.normalisation == loaded(shelf, "mimic", "reference").normalisation
    assert data.normalisation != loaded(shelf, "mimic").normalisation
    touch = loaded(shelf, "vision_touch", "reference", splits="strict")
    assert len(touch.probe_train) == 144


def test_images_have_the_scale_of_imagenet_and_affect_none(shelf):
    assert loaded(shelf, "hateful_memes").mean_std("image") == samples.IMAGENET
    with pytest.raises(KeyError, match="vision is not normalised"):
        loaded(shelf, "mosi").mean_std("vision")


# ------------------------------------------------------------------------------------------------------- texts


def plots_of(data: Data, split: Split, row: int) -> str:
    return data.tokenizer.decode(split.batch(torch.tensor([row]))["text"][0].tolist()).strip()


def test_training_draws_one_of_several_texts_and_evaluation_takes_the_longest(shelf):
    data = loaded(shelf, "mmimdb")
    longest = "a plot that is a good deal longer than the first one."
    torch.manual_seed(0)
    drawn = [plots_of(data, data.train, 2) for _ in range(200)]
    assert set(drawn) == {"a short plot.", longest}
    assert 60 < drawn.count(longest) < 140
    assert {plots_of(data, data.probe_train, 2) for _ in range(20)} == {longest}


def test_the_generators_state_brings_the_same_texts_again(shelf):
    data, rows = loaded(shelf, "mmimdb"), torch.tensor([2] * 64)
    state = torch.get_rng_state()
    once, other = (data.train.batch(rows)["text"] for _ in range(2))
    torch.set_rng_state(state)
    assert torch.equal(once, data.train.batch(rows)["text"])
    assert not torch.equal(once, other)


def test_a_tokenizer_learns_from_training_texts_alone_unless_one_is_given(shelf):
    own = loaded(shelf, "hateful_memes")
    assert own.tokenizer.token_to_id("Ġday") is not None
    given = train_tokenizer(["something else"], 128)
    data = loaded(shelf, "hateful_memes", tokenizer=given)
    assert data.tokenizer is given
    assert data.sha256 != own.sha256
    assert data.train.pools["text"].max() < given.get_vocab_size()


def test_a_text_is_cut_to_as_many_tokens_as_its_modality_takes(tmp_path, shelf):
    found = shelf("hateful_memes")
    tokenizer = train_tokenizer(["x"], 500)
    data = load(found.spec, found.folder.parents[1], tokenizer=tokenizer)
    assert data.train.pools["text"].shape[1] <= 128


# -------------------------------------------------------------------------------------------------- what is safe


def test_the_content_is_the_same_under_every_protocol_and_choice_of_modalities(shelf):
    spec = shelf("mosi").spec
    three = spec.model_copy(update={"use": ("text", "vision", "audio")})
    root = shelf("mosi").folder.parents[1]
    assert len({load(each, root, protocol).sha256 for each in (spec, three) for protocol in PROTOCOLS}) == 1
    assert loaded(shelf, "mosi").sha256 != loaded(shelf, "mustard").sha256


@pytest.fixture
def own(tmp_path) -> tuple[Registered, Path]:
    """A dataset of this test's own, and its folder."""
    spec = registered("mosi", mosi(tmp_path), tmp_path)
    return spec, tmp_path / REGISTERED / spec.sha256


def test_a_dataset_that_is_not_here_is_told(own, tmp_path):
    spec, _ = own
    with pytest.raises(DataError, match=r"dataset 'mosi' .* is not on this machine; register 'mosi' again"):
        load(spec, tmp_path / "elsewhere")


def test_a_changed_file_is_noticed_once_it_has_another_size_or_time(own, tmp_path):
    spec, folder = own
    load(spec, tmp_path)
    with (folder / "vision.npy").open("r+b") as file:
        file.seek(2000)
        file.write(b"\xff")
    with pytest.raises(DataError, match=r"dataset 'mosi' is damaged: vision\.npy differ from"):
        load(spec, tmp_path)


def test_a_file_that_was_found_right_is_not_read_again(own, tmp_path):
    spec, folder = own
    load(spec, tmp_path)
    path = folder / "labels.sentiment.npy"
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    load(spec, tmp_path)  # nothing of it was looked at, or this would have been refused


@pytest.mark.parametrize("stamps", [b"", b"[]", b'{"vision.npy": null}'])
def test_damaged_stamps_mean_looking_again(own, tmp_path, stamps):
    spec, folder = own
    load(spec, tmp_path)
    (folder / ".checked.json").write_bytes(stamps)
    load(spec, tmp_path)
    (folder / "text.npy").unlink()
    (folder / ".checked.json").write_bytes(stamps)
    with pytest.raises(DataError, match=r"text\.npy"):
        load(spec, tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_a_manifest_that_is_not_the_registered_one_is_refused(own, tmp_path, content):
    spec, folder = own
    manifest = folder / MANIFEST
    manifest.write_bytes(manifest.read_bytes() + b" " if content is None else content)
    with pytest.raises(DataError, match="is not what was registered as"):
        load(spec, tmp_path)


def test_a_card_that_is_not_the_registered_one_is_refused(own, tmp_path):
    spec, _ = own
    card = spec.card.model_copy(update={"samples": {"train": 1000, "test": 3}})
    with pytest.raises(DataError, match="is not what was registered as"):
        load(spec.model_copy(update={"card": card}), tmp_path)
