"""Pretrained towers on disk: where one lies, that its files can be trusted, and the tokenizer that belongs to it.

A tower is a folder as the `transformers` library writes it: config.json, *.safetensors and, for texts, tokenizer.json;
or one of the `sentence-transformers` library, whose modules.json says where these lie and whether a projection follows.
It is looked for under FUSEBOX_PRETRAINED_DIR by the name it has on the Hugging Face hub, and fetched from there only
where FUSEBOX_HUB is 1. Weights in formats that can run code when they are read are never opened.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from models_store.durable import sha256_of
from training.errors import DataError
from training.spec import Modality, Model, encoders

log = logging.getLogger(__name__)

FOLDER, HUB = "FUSEBOX_PRETRAINED_DIR", "FUSEBOX_HUB"
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
PAD_TOKEN = "[PAD]"


@dataclass(frozen=True)
class TowerFiles:
    """A tower's folder, looked at but not loaded."""

    source: str
    network: Path
    """The folder with the network's config.json and weights."""
    projection: Path | None
    """The folder of a linear layer that follows the mean over tokens, in towers that have one."""

    @property
    def config(self) -> dict[str, Any]:
        return read_json(self.network / CONFIG, self.source)

    @property
    def sha256(self) -> str:
        """Of all files that the tower's numbers depend on."""
        digest = hashlib.sha256()
        for folder in (self.network, self.projection):
            for file in [folder / CONFIG, *weights_in(folder, self.source)] if folder else []:
                digest.update(f"{file.name} {sha256_of(file)}\n".encode())
        return digest.hexdigest()


def find_tower(source: str) -> TowerFiles:
    """Raises DataError, which says what to do, when the tower is not there or not in a safe format."""
    root = os.environ.get(FOLDER)
    folder = Path(root) / source if root else None
    if folder is None or not folder.is_dir():
        if os.environ.get(HUB) != "1":
            raise DataError(
                f"the pretrained tower '{source}' is not there: put its folder, with {CONFIG}, *.safetensors and, for "
                f"texts, {TOKENIZER}, under {FOLDER}, or set {HUB}=1 to have it fetched from the Hugging Face hub"
            )
        folder = _fetched(source)
    network, projection = _parts_of(folder, source)
    files = TowerFiles(source, network, projection)
    for each in (network, projection):
        if each is not None:
            read_json(each / CONFIG, source)
            weights_in(each, source)
    return files


def weights_in(folder: Path, source: str) -> list[Path]:
    """The folder's weight files. Raises DataError when it has none that are safe to read."""
    safe = sorted(folder.glob("*.safetensors"))
    if safe:
        return safe
    unsafe = sorted(
        each.name for end in ("bin", "pt", "pth", "ckpt", "h5") for each in folder.glob(f"*.{end}")
    )
    if unsafe:
        raise DataError(
            f"the pretrained tower '{source}' has weights only in a format that can run code when it is read "
            f"({unsafe[0]}); convert them to model.safetensors"
        )
    raise DataError(f"the pretrained tower '{source}' has no weights: *.safetensors is missing")


def read_json(path: Path, source: str) -> Any:
    """Raises DataError when the file is missing or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise DataError(
            f"the pretrained tower '{source}' has no readable {path.name}; copy its folder again, complete"
        ) from None


def tokenizer_for(model: Model, modality: Modality) -> Tokenizer | None:
    """The tokenizer that the modality's pretrained tower was trained with, cutting and padding as the data wants it.

    None where the encoder is none of these: its tokenizer is made from the data. Raises DataError when the tower is not
    there or does not pad with id 0.
    """
    chosen = model.encoder_of(modality)
    if not isinstance(chosen, encoders.PretrainedText):
        return None
    tokenizer = tower_tokenizer(find_tower(chosen.source))
    tokenizer.enable_truncation(modality.max_tokens)
    return tokenizer


def tower_tokenizer(files: TowerFiles) -> Tokenizer:
    """Pads with 0. Raises DataError when there is no tokenizer.json or another padding."""
    path = files.network / TOKENIZER
    if not path.is_file():
        raise DataError(
            f"the pretrained tower '{files.source}' has no {TOKENIZER}; save its tokenizer in the fast form, with "
            "`AutoTokenizer.from_pretrained(…).save_pretrained(…)`"
        )
    content = read_json(path, files.source)
    if not isinstance(content, dict) or "model" not in content:
        raise DataError(
            f"the {TOKENIZER} of the pretrained tower '{files.source}' is not one of the tokenizers library"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        log.warning("reading the tokenizer of %s: %s", files.source, error)
        raise DataError(f"the {TOKENIZER} of the pretrained tower '{files.source}' cannot be read") from None
    if tokenizer.token_to_id(PAD_TOKEN) != 0:
        raise DataError(
            f"the pretrained tower '{files.source}' does not pad texts with a token {PAD_TOKEN} of id 0, which means "
            "padding here; towers of the BERT family fit: BERT, DistilBERT, multilingual or not"
        )
    tokenizer.enable_padding(pad_id=0, pad_token=PAD_TOKEN)
    return tokenizer


def _parts_of(folder: Path, source: str) -> tuple[Path, Path | None]:
    """The network's folder, and that of the projection behind it."""
    if not (folder / "modules.json").is_file():
        return folder, None
    found = {_module_name(each): each for each in _modules(folder, source)}
    network = found.get("Transformer")
    if network is None:
        raise DataError(f"the pretrained tower '{source}' names no Transformer in modules.json")
    dense = found.get("Dense")
    return _inside(folder, network, source), _inside(folder, dense, source) if dense else None


def _modules(folder: Path, source: str) -> Iterator[dict[str, Any]]:
    content = read_json(folder / "modules.json", source)
    return (each for each in content if isinstance(each, dict)) if isinstance(content, list) else iter(())


def _module_name(module: dict[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _inside(folder: Path, module: dict[str, Any], source: str) -> Path:
    name = str(module.get("path", ""))
    if name and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise DataError(f"the modules.json of the pretrained tower '{source}' leads out of its folder")
    return folder / name


def _fetched(source: str) -> Path:
    from huggingface_hub import snapshot_download  # not needed where towers lie ready
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(source, allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, ValueError, HfHubHTTPError) as error:
        log.warning("fetching %s: %s", source, error)
        raise DataError(
            f"the pretrained tower '{source}' could not be fetched from the Hugging Face hub; look at its name and at "
            f"the network, or put its folder under {FOLDER}"
        ) from None
