"""Tiny pretrained towers, written as the transformers and sentence-transformers libraries write theirs."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "circle", "square"]
SIZE, PATCH, WIDTH = 16, 4, 16


def image_tower(folder: Path, kind: str) -> Any:
    """Writes and returns a network: vit, resnet, clip (both its towers), clip_vision (with its projection) or
    clip_vision_alone."""
    import transformers as t

    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": SIZE, "patch_size": PATCH,
    }  # fmt: skip
    match kind:
        case "vit":
            network = t.ViTModel(t.ViTConfig(**shape), add_pooling_layer=False)
        case "resnet":
            network = t.ResNetModel(
                t.ResNetConfig(embedding_size=8, hidden_sizes=[8, WIDTH], depths=[1, 1], layer_type="basic")
            )
        case "clip":
            text = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
                    "vocab_size": 9}  # fmt: skip
            vision = {**shape, "projection_dim": 12}
            network = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
        case "clip_vision":
            network = t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**shape, projection_dim=12))
        case _:
            network = t.CLIPVisionModel(t.CLIPVisionConfig(**shape))
    for name, parameter in network.named_parameters():
        if "norm" in name:  # fresh norms would make some mistakes invisible
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return written(folder, network)


def text_tower(
    folder: Path, kind: str = "distilbert", tokenizer: Tokenizer | None = None, positions: int = 12
) -> Any:
    """Writes and returns a network, with a tokenizer beside it: distilbert, bert, or bert_mlm (with a head behind it)."""
    import transformers as t

    torch.manual_seed(0)
    bert = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "vocab_size": len(WORDS), "max_position_embeddings": positions}  # fmt: skip
    match kind:
        case "distilbert":
            network = t.DistilBertModel(
                t.DistilBertConfig(dim=WIDTH, hidden_dim=32, n_layers=2, n_heads=2, vocab_size=len(WORDS),
                                   max_position_embeddings=positions)
            )  # fmt: skip
        case "bert":
            network = t.BertModel(t.BertConfig(**bert), add_pooling_layer=False)
        case _:
            network = t.BertForMaskedLM(t.BertConfig(**bert))
    folder.mkdir(parents=True, exist_ok=True)
    (tokenizer or word_tokenizer()).save(str(folder / "tokenizer.json"))
    return written(folder, network)


def word_tokenizer(words: list[str] = WORDS) -> Tokenizer:
    """One token a word, between [CLS] and [SEP], as BERT's."""
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens([word for word in words if word.startswith("[")])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", words.index("[CLS]")), ("[SEP]", words.index("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def sentence_tower(
    folder: Path, network_in: str = "0_Transformer", **dense: Any
) -> tuple[Any, torch.nn.Linear]:
    """Writes a tower of the sentence-transformers library: a network, the mean, a linear layer to 6 numbers."""
    network = text_tower(folder / network_in)
    linear = torch.nn.Linear(WIDTH, 6, bias=False)
    modules = [
        {"idx": 0, "name": "0", "path": network_in, "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_Dense").mkdir()
    config = {"in_features": WIDTH, "out_features": 6, "bias": False,
              "activation_function": "torch.nn.modules.linear.Identity", **dense}  # fmt: skip
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
    save_file({"linear.weight": linear.weight.detach()}, folder / "2_Dense" / "model.safetensors")
    return network, linear


def written(folder: Path, network: Any) -> Any:
    from transformers.utils import logging

    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.save_pretrained(folder)
    return network.eval()
