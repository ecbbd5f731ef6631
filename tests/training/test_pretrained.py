"""Where pretrained towers are looked for, what is never opened, and which tokenizer belongs to one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.towers import WORDS, sentence_tower, text_tower, word_tokenizer
from training.errors import DataError
from training.pretrained import find_tower, tokenizer_for
from training.spec import Modality, Model

SOURCE = "someone/tower"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FUSEBOX_PRETRAINED_DIR", str(tmp_path))
    monkeypatch.delenv("FUSEBOX_HUB", raising=False)
    return tmp_path / SOURCE


def tokenizer(max_tokens: int = 6) -> Any:
    model = Model.model_validate({"encoders": {"text": {"name": "pretrained_text", "source": SOURCE}}})
    return tokenizer_for(model, Modality(name="text", kind="text", max_tokens=max_tokens))


def test_a_tower_that_is_not_there_is_not_fetched_unasked(folder: Path) -> None:
    with pytest.raises(DataError, match="under FUSEBOX_PRETRAINED_DIR, or set FUSEBOX_HUB=1"):
        find_tower(SOURCE)


def test_without_a_folder_for_towers_the_answer_is_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FUSEBOX_PRETRAINED_DIR")
    with pytest.raises(DataError, match="'someone/tower' is not there"):
        find_tower(SOURCE)


def test_a_hub_that_cannot_be_reached_is_told_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSEBOX_HUB", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="could not be fetched from the Hugging Face hub"):
        find_tower(SOURCE)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "tf_model.h5"])
def test_weights_that_can_run_code_are_never_opened(folder: Path, name: str) -> None:
    text_tower(folder)
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(DataError, match=f"can run code when it is read \\({name}\\)"):
        find_tower(SOURCE)


def test_a_projection_with_such_weights_is_refused_too(folder: Path) -> None:
    sentence_tower(folder)
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(DataError, match="can run code"):
        find_tower(SOURCE)


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b", ".hidden"])
def test_a_list_of_modules_does_not_lead_out_of_the_folder(folder: Path, path: str) -> None:
    sentence_tower(folder)
    modules = [{"path": path, "type": "sentence_transformers.models.Transformer"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(DataError, match="leads out of its folder"):
        find_tower(SOURCE)


@pytest.mark.parametrize("content", ["{}", "[]", '[{"type": "x.Pooling"}]', '["Transformer"]'])
def test_a_list_of_modules_without_a_network_is_refused(folder: Path, content: str) -> None:
    sentence_tower(folder)
    (folder / "modules.json").write_text(content)
    with pytest.raises(DataError, match="names no Transformer"):
        find_tower(SOURCE)


def test_the_sha256_is_that_of_weights_and_configuration_and_of_nothing_else(folder: Path) -> None:
    sentence_tower(folder)
    before = find_tower(SOURCE).sha256
    (folder / "README.md").write_text("about")
    assert find_tower(SOURCE).sha256 == before
    config = folder / "2_Dense" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert find_tower(SOURCE).sha256 != before


@pytest.mark.parametrize("sentence", [False, True])
def test_a_towers_own_tokenizer_cuts_and_pads_as_the_data_wants_it(folder: Path, sentence: bool) -> None:
    (sentence_tower if sentence else text_tower)(folder)
    short, long = tokenizer(max_tokens=5).encode_batch(["a circle", "a red red red circle"])
    assert short.ids == [WORDS.index(word) for word in ("[CLS]", "a", "circle", "[SEP]", "[PAD]")]
    assert [WORDS[id] for id in long.ids] == ["[CLS]", "a", "red", "red", "[SEP]"]


def test_a_text_that_is_read_from_scratch_has_no_such_tokenizer() -> None:
    assert tokenizer_for(Model(), Modality(name="text", kind="text", max_tokens=5)) is None


def test_a_tower_that_pads_with_another_id_is_refused_and_the_answer_says_which_fit(folder: Path) -> None:
    text_tower(folder, tokenizer=word_tokenizer(["[UNK]", "[PAD]", *WORDS[2:]]))
    with pytest.raises(DataError, match="BERT, DistilBERT, multilingual or not"):
        tokenizer()


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"model": {"type": "BPE"}}'])
def test_a_tower_without_a_readable_tokenizer_is_refused(folder: Path, content: str | None) -> None:
    text_tower(folder)
    (folder / "tokenizer.json").unlink()
    if content is not None:
        (folder / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        tokenizer()
