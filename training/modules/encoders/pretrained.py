"""Pretrained towers as encoders, through the `transformers` library: ViT, CLIP's vision tower, ResNet; BERT, DistilBERT.

A tower is frozen or learns on. A frozen image tower is always in evaluation mode; a frozen text tower keeps its dropout
while training, as published, for it and hidden words are all that tells two views of a text apart.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.data.words import words_of
from training.errors import CheckpointError, DataError
from training.modules.encoders.convolutional import grid_of
from training.modules.encoders.encoder import Encoder
from training.modules.encoders.text import WordEncoder, attended
from training.pretrained import CONFIG, TowerFiles, find_tower, read_json, tower_tokenizer, weights_in
from training.spec import encoders as specs

log = logging.getLogger(__name__)

IMAGE_TOWERS = ("clip", "clip_vision_model", "resnet", "vit")
TEXT_TOWERS = ("bert", "distilbert")


class Tower(nn.Module):
    """A pretrained network, and the projection behind it where there is one.

    The weights of a frozen one lie in no checkpoint, for they are hundreds of megabytes and always the same: the sha256
    of its files does. They are read from those files again, and a checkpoint that was made with other files is refused.
    """

    sha256: Tensor

    def __init__(
        self,
        files: TowerFiles,
        network: nn.Module,
        projection: nn.Module | None,
        *,
        frozen: bool,
        still: bool,
    ) -> None:
        """still: stays in evaluation mode."""
        super().__init__()
        self.source, self.still = files.source, still
        self.network, self.projection = network, projection
        self.requires_grad_(not frozen)
        self.register_buffer("sha256", torch.tensor(list(bytes.fromhex(files.sha256)), dtype=torch.uint8))
        if frozen:
            self.register_state_dict_post_hook(_without_weights)
            self.register_load_state_dict_pre_hook(_with_own_weights)
        self.train()

    def train(self, mode: bool = True) -> Tower:
        return super().train(mode and not self.still)

    @property
    def projected_width(self) -> int | None:
        return self.projection.out_features if isinstance(self.projection, nn.Linear) else None

    def own_weights(self, prefix: str) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {}
        for name, part in (("network", self.network), ("projection", self.projection)):
            if part is not None:
                weights |= part.state_dict(prefix=f"{prefix}{name}.")
        return weights


def _without_weights(tower: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    assert isinstance(tower, Tower)
    for name in tower.own_weights(prefix):
        del state[name]


def _with_own_weights(tower: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(tower, Tower)
    saved = state.get(f"{prefix}sha256")
    if saved is not None and not torch.equal(saved.cpu(), tower.sha256.cpu()):
        raise CheckpointError(
            f"the files of the pretrained tower '{tower.source}' are not those that this model was trained with; put "
            "those back"
        )
    state.update(tower.own_weights(prefix))


class PretrainedImageEncoder(Encoder):
    """Images (B, 3, H, H) to a part for each patch, in ViT and CLIP after one for the whole image; ResNet's are cells.

    CLIP's features of all parts go through the norm that CLIP itself applies to the first, as in the published runs. An
    image of another size than the tower's gets positions that lie between the tower's own. One vector is, with the
    output `pooled`, the first part's (and CLIP's projection of it where the files have it) or the mean over a ResNet's
    cells; else the mean over all parts.
    """

    def __init__(self, spec: specs.PretrainedImage, size: int) -> None:
        super().__init__()
        files = find_tower(spec.source)
        self.kind = _kind(files, IMAGE_TOWERS)
        self.pooled = spec.output == "pooled"
        network, projection = _image_network(files, self.kind, self.pooled)
        self.has_batch_norms = self.kind == "resnet" and not spec.frozen
        self.tower = Tower(files, network, projection, frozen=spec.frozen, still=spec.frozen)
        config = network.config
        if self.kind == "resnet":
            self.width = config.hidden_sizes[-1]
            self.grid = grid_of(_Cells(network), 3, size)
        else:
            self.width = config.hidden_size
            self.resized = _resized(spec.source, config, size)

    @property
    def summary_width(self) -> int:
        return self.tower.projected_width or self.width

    def forward(self, x: Tensor, n_views: int = 1) -> Tensor:
        if n_views == 1 or not (self.has_batch_norms and self.training):
            return self._parts(x)
        return torch.cat([self._parts(view) for view in x.chunk(n_views)])

    def summary(self, parts: Tensor, there: Tensor) -> Tensor:
        if not self.pooled or self.kind == "resnet":
            return super().summary(parts, there)
        first = parts[:, 0]
        return first if self.tower.projection is None else self.tower.projection(first)

    def _parts(self, x: Tensor) -> Tensor:
        network: Any = self.tower.network
        if self.kind == "resnet":
            features: Tensor = _Cells(network)(x)
            return features.flatten(2).transpose(1, 2)
        parts: Tensor = network(pixel_values=x, interpolate_pos_encoding=self.resized).last_hidden_state
        if self.kind == "vit":
            return parts
        normed: Tensor = network.post_layernorm(parts)
        return normed


class PretrainedTextEncoder(WordEncoder):
    """Token ids (B, L), zero for padding, to a part for each token (B, L, C).

    One vector is the mean over tokens, behind which, with the output `pooled`, the tower's own projection stands where
    it has one.
    """

    def __init__(self, spec: specs.PretrainedText, max_tokens: int) -> None:
        super().__init__()
        files = find_tower(spec.source)
        kind = _kind(files, TEXT_TOWERS)
        tokenizer = tower_tokenizer(files)
        self.words = words_of(tokenizer)
        self.pooled = spec.output == "pooled"
        network = _text_network(files, kind)
        projection = _dense(files) if self.pooled and files.projection is not None else None
        self.tower = Tower(files, network, projection, frozen=spec.frozen, still=False)
        config = network.config
        self.width = config.hidden_size
        if max_tokens > config.max_position_embeddings:
            raise DataError(
                f"the pretrained tower '{spec.source}' reads at most {config.max_position_embeddings} tokens, and the "
                f"data's texts have up to {max_tokens}; register them with fewer, or take another tower"
            )
        if tokenizer.get_vocab_size() > config.vocab_size:
            raise DataError(
                f"tokenizer and weights of the pretrained tower '{spec.source}' do not belong together"
            )

    @property
    def summary_width(self) -> int:
        return self.tower.projected_width or self.width

    def forward(self, ids: Tensor) -> Tensor:
        mask = attended(ids).to(ids.dtype)
        parts: Tensor = self.tower.network(input_ids=ids, attention_mask=mask).last_hidden_state
        return parts

    def summary(self, parts: Tensor, there: Tensor) -> Tensor:
        mean = super().summary(parts, there)
        return mean if self.tower.projection is None else self.tower.projection(mean)


class _Cells(nn.Module):
    """A ResNet's last features, (B, C, rows, columns)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network(pixel_values=x).last_hidden_state
        return features


def _kind(files: TowerFiles, admitted: tuple[str, ...]) -> str:
    kind = files.config.get("model_type")
    if kind not in admitted:
        raise DataError(
            f"the pretrained tower '{files.source}' is of the type {kind!r}; here such can be used: {', '.join(admitted)}"
        )
    return str(kind)


def _image_network(files: TowerFiles, kind: str, pooled: bool) -> tuple[Any, nn.Module | None]:
    """The network, and CLIP's projection where it is asked for and there."""
    # Takes seconds to import, which runs without a pretrained tower need not spend.
    from transformers import CLIPVisionModel, CLIPVisionModelWithProjection, ResNetModel, ViTModel

    if kind == "resnet":
        return _loaded(ResNetModel, files), None
    if kind == "vit":
        return _loaded(ViTModel, files, add_pooling_layer=False), None
    if pooled and _has_projection(files):
        whole = _loaded(CLIPVisionModelWithProjection, files)
        return whole.vision_model, whole.visual_projection
    return _loaded(CLIPVisionModel, files), None


def _text_network(files: TowerFiles, kind: str) -> Any:
    from transformers import BertModel, DistilBertModel

    if kind == "bert":
        return _loaded(BertModel, files, add_pooling_layer=False)
    return _loaded(DistilBertModel, files)


def _loaded(network: Any, files: TowerFiles, **options: Any) -> Any:
    """Raises DataError unless the files hold every weight that the network has, in its shape."""
    from transformers.utils import logging as chatter

    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        loaded, report = network.from_pretrained(
            files.network,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        log.warning("loading %s: %s", files.source, error)
        raise DataError(
            f"the pretrained tower '{files.source}' cannot be loaded: its {CONFIG} and its weights do not fit together"
        ) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise DataError(f"the weights of the pretrained tower '{files.source}' lack {missing[0]}")
    return loaded


def _has_projection(files: TowerFiles) -> bool:
    from safetensors import safe_open

    for file in weights_in(files.network, files.source):
        with safe_open(file, "pt") as weights:
            if "visual_projection.weight" in weights.keys():  # noqa: SIM118 - it is no mapping
                return True
    return False


def _dense(files: TowerFiles) -> nn.Linear:
    """The linear layer behind the mean, as the sentence-transformers library keeps it."""
    assert files.projection is not None
    config = read_json(files.projection / CONFIG, files.source)
    activation = str(config.get("activation_function", "")).rpartition(".")[2]
    if activation != "Identity":
        raise DataError(
            f"the projection of the pretrained tower '{files.source}' has the activation {activation!r}; only linear ones "
            "can be used: take the output 'tokens'"
        )
    try:
        weights: dict[str, Tensor] = {}
        for file in weights_in(files.projection, files.source):
            weights |= {name.removeprefix("linear."): each for name, each in load_file(file).items()}
        rows, columns = weights["weight"].shape
        dense = nn.Linear(columns, rows, bias="bias" in weights)
        dense.load_state_dict(weights)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        log.warning("loading the projection of %s: %s", files.source, error)
        raise DataError(f"the projection of the pretrained tower '{files.source}' cannot be loaded") from None
    return dense


def _resized(source: str, config: Any, size: int) -> bool:
    """Whether the tower's positions have to be spread over images of another size than its own."""
    if size % config.patch_size:
        raise DataError(
            f"the pretrained tower '{source}' cuts images into patches of {config.patch_size} pixels, which do not "
            f"divide the data's {size}; its own images have {config.image_size}"
        )
    return bool(size != config.image_size)
