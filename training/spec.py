"""What shall be done, fully said: the specs of the three kinds of run. Torch-free; every bad combination ends here.

A spec is frozen and complete: defaults are filled in, so the same spec always means the same run. `method` and
`dataset` may be given as a bare name. Messages say what is wrong, where, and what to do.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from training.events import Family

RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
Protocol = Literal["reference", "strict"]


def whole(low: int, high: int) -> Any:
    return Field(strict=True, ge=low, le=high)


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


# ------------------------------------------------------------------------------------------------ datasets


class Modality(_Spec):
    """One kind of measurement in every sample of a dataset."""

    name: str
    kind: Literal["image", "text"]
    channels: int = 0
    size: int = 0
    """Images: height and width in pixels."""
    max_tokens: int = 0
    """Texts: longest token sequence."""


class Task(_Spec):
    """A label that a probe predicts from the fused embedding."""

    name: str
    family: Family
    classes: int

    @property
    def chance(self) -> float:
        """Macro accuracy of guessing, in [0, 1]."""
        return 1 / self.classes


Form = Literal["pairs", "captions", "triples"]


class _Pairs(_Spec):
    """What digits and Trifeatures share: the bimodal construction of FactorCL (arXiv:2306.05268) and CoMM."""

    MOST_PAIRS: ClassVar[dict[bool, int]]
    """Different training pairs that there are, biased or not."""

    form: Form = "pairs"
    """`pairs`: two images that share one attribute; `captions`: an image and its caption; `triples`: both images
    and a caption of the first."""
    biased: bool = False
    """Train only on pairs with the synergy relation. Probes always see pairs with and without it."""
    n_pairs: Annotated[int, whole(64, 1_000_000)] = 10_000
    """Training pairs, drawn without replacement from all allowed ones. With captions: samples, of which none comes
    twice before all have come once."""
    augment: bool = True
    """Random crops and distortions of training images; the test images are never touched."""

    @field_validator("biased")
    @classmethod
    def _only_pairs_are_biased(cls, biased: bool, info: ValidationInfo) -> bool:
        if biased and info.data.get("form") == "captions":
            raise PydanticCustomError(
                "captions_not_biased",
                "an image and its caption have no synergy relation to be biased to; leave `biased` out, or take the "
                "form 'pairs' or 'triples'",
            )
        return biased

    @field_validator("n_pairs")
    @classmethod
    def _pairs_are_there(cls, n_pairs: int, info: ValidationInfo) -> int:
        most = cls.MOST_PAIRS[info.data.get("biased", False)]
        if info.data.get("form") != "captions" and n_pairs > most:
            raise PydanticCustomError(
                "too_many_pairs",
                "{asked} pairs are asked for but the dataset has {most} such training pairs; take at most that many",
                {"asked": n_pairs, "most": most},
            )
        return n_pairs

    def _modalities(self, channels: int, size: int) -> tuple[Modality, ...]:
        def image(name: str) -> Modality:
            return Modality(name=name, kind="image", channels=channels, size=size)

        text = Modality(name="text", kind="text", max_tokens=16)
        return {
            "pairs": (image("image1"), image("image2")),
            "captions": (image("image"), text),
            "triples": (image("image1"), image("image2"), text),
        }[self.form]


class Digits(_Pairs):
    """1,797 real handwritten digits of 8 × 8 pixels, as scanned for NIST and shipped with scikit-learn."""

    MOST_PAIRS = {False: 1_032_545, True: 206_485}

    name: Literal["digits"] = "digits"
    image_size: Annotated[int, whole(8, 64)] = 8

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self._modalities(1, self.image_size)

    @property
    def tasks(self) -> tuple[Task, ...]:
        if self.form == "captions":
            return (Task(name="digit", family="redundancy", classes=10),)
        return (
            Task(name="share", family="redundancy", classes=2),
            Task(name="unique1", family="uniqueness", classes=10),
            Task(name="unique2", family="uniqueness", classes=10),
            Task(name="synergy", family="synergy", classes=2),
        )


class Trifeatures(_Pairs):
    """Rendered shapes with a texture and a colour (Hermann & Lampinen, arXiv:2006.12433)."""

    MOST_PAIRS = {False: 576_846, True: 57_636}

    name: Literal["trifeatures"] = "trifeatures"
    image_size: Annotated[int, whole(16, 224)] = 224

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self._modalities(3, self.image_size)

    @property
    def tasks(self) -> tuple[Task, ...]:
        if self.form == "captions":
            return (
                Task(name="shape", family="redundancy", classes=10),
                Task(name="color", family="redundancy", classes=10),
                Task(name="texture", family="uniqueness", classes=10),
            )
        return (
            Task(name="share", family="redundancy", classes=10),
            Task(name="unique1", family="uniqueness", classes=10),
            Task(name="unique2", family="uniqueness", classes=10),
            Task(name="synergy", family="synergy", classes=2),
        )


DatasetSpec = Annotated[Digits | Trifeatures, Field(discriminator="name"), BeforeValidator(_by_name)]
DATASETS: dict[str, type[Digits] | type[Trifeatures]] = {"digits": Digits, "trifeatures": Trifeatures}

# ------------------------------------------------------------------------------------------------- methods

Temperature = Annotated[float, Field(ge=0.001, le=10)]


class InfMasking(_Spec):
    """Aligns unmasked fused views with infinitely many masked ones, in closed form (arXiv:2509.25270)."""

    name: Literal["infmasking"] = "infmasking"
    temperature: Temperature = 0.1
    mask_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.7
    """Share of each modality's tokens that a masked view hides."""
    n_masks: Annotated[int, whole(1, 1024)] = 6
    """Masked views per augmentation, T."""
    mask_lambda: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Weight of the masked views' spread; it grows linearly over the epochs."""
    weights: tuple[Annotated[float, Field(ge=0, le=1000)], ...] | None = None
    """Weights of the loss terms [mask 1, mask 2, each modality …, fused]; all 1 by default."""


class CoMM(_Spec):
    """Aligns each modality and the fusion of two augmentations (arXiv:2409.07402)."""

    name: Literal["comm"] = "comm"
    temperature: Temperature = 0.1


class Cross(_Spec):
    """CLIP: aligns the two modalities of a pair and nothing else (arXiv:2103.00020)."""

    name: Literal["cross"] = "cross"
    projection_dim: Annotated[int, whole(8, 4096)] = 512
    """Width of each modality's projection; the embedding concatenates both."""


MethodSpec = Annotated[InfMasking | CoMM | Cross, Field(discriminator="name"), BeforeValidator(_by_name)]
METHODS: dict[str, type[InfMasking] | type[CoMM] | type[Cross]] = {
    "infmasking": InfMasking,
    "comm": CoMM,
    "cross": Cross,
}
MODALITY_COUNTS: dict[str, range] = {"infmasking": range(2, 9), "comm": range(2, 9), "cross": range(2, 3)}

# --------------------------------------------------------------------------------------------------- model


class Model(_Spec):
    """Widths of the network. `encoder` chooses what turns an image into tokens."""

    dim: Annotated[int, whole(8, 4096)] = 512
    """Width of the tokens and of the fused embedding."""
    heads: Annotated[int, whole(1, 64)] = 8
    layers: Annotated[int, whole(1, 12)] = 1
    """Fusion blocks."""
    encoder: Literal["auto", "alexnet", "conv"] = "auto"
    """`alexnet` for 64 pixels and up, `conv` (three layers) for smaller images; `auto` chooses."""
    head_hidden: Annotated[int, whole(8, 8192)] = 512
    head_out: Annotated[int, whole(8, 4096)] = 256
    """Projection head of the contrastive loss; not part of the embedding."""

    @field_validator("heads")
    @classmethod
    def _heads_divide_dim(cls, heads: int, info: ValidationInfo) -> int:
        dim = info.data.get("dim")
        if dim is not None and dim % heads:
            choices = ", ".join(str(n) for n in range(1, 65) if dim % n == 0)
            raise PydanticCustomError(
                "heads_do_not_divide_dim",
                "{heads} heads do not divide the width {dim}; take one of {choices}",
                {"heads": heads, "dim": dim, "choices": choices},
            )
        return heads

    @field_validator("dim")
    @classmethod
    def _dim_fits_positions(cls, dim: int) -> int:
        if dim % 4:
            raise PydanticCustomError(
                "dim_not_multiple_of_4",
                "the 2-D position embedding needs a width that 4 divides; {dim} is not, take {near}",
                {"dim": dim, "near": dim + 4 - dim % 4},
            )
        return dim


class Optim(_Spec):
    """AdamW with betas (0.9, 0.999)."""

    lr: Annotated[float, Field(gt=0, le=10)] = 3e-4
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1e-4
    """Not applied to biases and norms."""
    schedule: Literal["constant", "cosine"] = "constant"
    """`cosine`: per epoch, a linear warm-up to `lr`, then a cosine to `min_lr`."""
    warmup_epochs: Annotated[int, whole(0, 1000)] = 0
    min_lr: Annotated[float, Field(ge=0, le=10)] = 1e-6
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Largest gradient norm of a step; longer gradients are shortened to it."""


class Checkpoints(_Spec):
    every_epochs: Annotated[int, whole(1, 10_000)] = 1
    every_steps: Annotated[int, whole(1, 10_000_000)] | None = None
    """Also inside an epoch, every so many steps."""
    keep_last: Annotated[int, whole(1, 1000)] = 3
    """The best one is kept besides."""


class IntervalProbe(_Spec):
    """Linear probes while training, so that redundancy, uniqueness and synergy become curves."""

    every_epochs: Annotated[int, whole(0, 10_000)] = 0
    """0: none."""
    max_samples: Annotated[int, whole(100, 1_000_000)] = 2_000
    """Training pairs each probe is fitted on: a quick estimate. The number to report comes from a probe job."""


# ------------------------------------------------------------------------------------------- kinds of run


class TrainSpec(_Spec):
    method: MethodSpec = InfMasking()
    dataset: DatasetSpec
    model: Model = Model()
    optim: Optim = Optim()
    epochs: Annotated[int, whole(1, 10_000)] = 100
    batch_size: Annotated[int, whole(2, 65_536)] = 64
    seed: Seed = 42
    protocol: Protocol = "strict"
    """`strict` never looks at test data before the final probe; `reference` does what the published code did."""
    precision: Literal["32", "bf16"] = "32"
    """Losses are computed in float32 either way."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, whole(1, 256)] | None = None
    """CPU threads; by default all that this process may use."""
    log_every_steps: Annotated[int, whole(1, 100_000)] = 1
    checkpoints: Checkpoints = Checkpoints()
    probe: IntervalProbe = IntervalProbe()

    @model_validator(mode="after")
    def _method_admits_modalities(self) -> Self:
        count, admitted = len(self.dataset.modalities), MODALITY_COUNTS[self.method.name]
        if count not in admitted:
            others = [name for name, counts in MODALITY_COUNTS.items() if count in counts]
            raise PydanticCustomError(
                "modality_count",
                "method '{method}' takes {admitted} modalities but dataset '{dataset}' in the form '{form}' has "
                "{count}; choose another form, or a method that takes {count}: {others}",
                {
                    "method": self.method.name,
                    "admitted": f"{admitted.start} to {admitted.stop - 1}"
                    if len(admitted) > 1
                    else str(admitted.start),
                    "dataset": self.dataset.name,
                    "form": self.dataset.form,
                    "count": count,
                    "others": ", ".join(others),
                    "loc": "dataset.form",
                },
            )
        return self

    @model_validator(mode="after")
    def _weights_match_terms(self) -> Self:
        weights, terms = getattr(self.method, "weights", None), len(self.dataset.modalities) + 3
        if weights is not None and len(weights) != terms:
            raise PydanticCustomError(
                "loss_weights",
                "{given} loss weights for {terms} terms: [mask 1, mask 2, one per modality, fused]",
                {"given": len(weights), "terms": terms, "loc": "method.weights"},
            )
        return self

    @model_validator(mode="after")
    def _batch_fits_data(self) -> Self:
        if self.batch_size > self.dataset.n_pairs:
            raise PydanticCustomError(
                "batch_too_large",
                "a batch of {batch} is more than the {n} training pairs; make batch_size smaller or n_pairs larger",
                {"batch": self.batch_size, "n": self.dataset.n_pairs, "loc": "batch_size"},
            )
        return self

    @property
    def steps_per_epoch(self) -> int:
        """The last batch of an epoch may be smaller, but never a single pair, which has no negative."""
        full, rest = divmod(self.dataset.n_pairs, self.batch_size)
        return full + (rest > 1)

    @property
    def total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch


class ProbeSpec(_Spec):
    """Fit linear probes on the embeddings of a trained model and score them on test data."""

    run: RunName
    """The training run (job id) whose checkpoint is probed."""
    checkpoint: Literal["last", "best"] | Annotated[int, whole(0, 2**31)] = "last"
    """`best` by the training's own rule, `last`, or a step."""
    tasks: tuple[str, ...] | None = None
    """All tasks of the dataset by default."""
    protocol: Protocol = "strict"
    seed: Seed = 42
    """Draws the probe's train/selection split."""
    threads: Annotated[int, whole(1, 256)] | None = None


class ExportSpec(_Spec):
    """Write a trained model as ONNX, compare it with torch, and publish it under a name."""

    run: RunName
    checkpoint: Literal["last", "best"] | Annotated[int, whole(0, 2**31)] = "last"
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    """Lower-case letters, digits, dot, dash and underscore. Each export under a name is a new version of it."""
    tolerance: Annotated[float, Field(gt=0, le=0.01)] = 1e-4
    """Largest difference to torch, in any number of any embedding, with which a model may be published."""
    threads: Annotated[int, whole(1, 256)] | None = None


Kind = Literal["train", "probe", "export"]
AnySpec = TrainSpec | ProbeSpec | ExportSpec
SPECS: dict[Kind, type[TrainSpec] | type[ProbeSpec] | type[ExportSpec]] = {
    "train": TrainSpec,
    "probe": ProbeSpec,
    "export": ExportSpec,
}


def spec_hash(spec: AnySpec, *, with_seed: bool = True) -> str:
    """Equal for equal work. Without the seed it names the group whose members differ by their seed only."""
    content = spec.model_dump(mode="json")
    if not with_seed:
        content.pop("seed", None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
