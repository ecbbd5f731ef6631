"""What stands beside a published `model.onnx`: all that serving needs to know, and where the model came from.

The exporter writes a manifest, the store keeps it, the service reads it. It is the only contract between a
trained network and the process that serves it, so whatever preprocessing the training used is spelled out here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["fp32", "int8", "fp16"]
"""fp32 as trained. int8: weights and products of matrices in whole numbers, for CPUs. fp16: half as long, for GPUs."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ImageInput(_Frozen):
    """An image tensor named after its modality: float32 (batch, channels, height, width)."""

    kind: Literal["image"] = "image"
    name: str
    channels: Literal[1, 3]
    height: int
    width: int
    mean: tuple[float, ...]
    """Subtracted per channel after scaling pixels to [0, 1]."""
    std: tuple[float, ...]
    fit: Literal["stretch", "cover"] = "stretch"
    """How an image of another size is made to fit. `stretch`: to the network's height and width, bicubic. `cover`, for
    squares only: the shorter side is resized, bilinear, and the middle of the longer one is kept."""
    background: tuple[int, int, int] | None = (255, 255, 255)
    """Colour behind transparent pixels; without one they show the colours that they hide."""


class TextInput(_Frozen):
    """A token tensor named after its modality: int64 (batch, length), right-padded with `pad_id`, length dynamic."""

    kind: Literal["text"] = "text"
    name: str
    tokenizer: str = "tokenizer.json"
    """File in the bundle, in the format of the `tokenizers` library."""
    max_tokens: int
    pad_id: int


class SequenceInput(_Frozen):
    """A tensor of measured steps named after its modality: float32 (batch, steps, features), steps of zeros at the end
    being padding."""

    kind: Literal["sequence"] = "sequence"
    name: str
    features: int
    """Numbers per step."""
    max_steps: int
    fixed_steps: bool
    """Whether every sequence is padded to `max_steps`: the network takes no other length, or takes padding for steps.
    Otherwise the length is dynamic, and how far a sequence is padded changes nothing."""
    mean: tuple[float, ...] | None = None
    """Subtracted per feature from steps that are not padding; padding stays zero. Without it numbers are taken as they
    are."""
    std: tuple[float, ...] | None = None
    """What they are divided by then."""


class TableInput(_Frozen):
    """A tensor of columns named after its modality: float32 (batch, features)."""

    kind: Literal["table"] = "table"
    name: str
    features: int
    """Columns."""
    mean: tuple[float, ...] | None = None
    """Subtracted per column. Without it numbers are taken as they are."""
    std: tuple[float, ...] | None = None
    """What they are divided by then."""


Input = Annotated[ImageInput | TextInput | SequenceInput | TableInput, Field(discriminator="kind")]


class Parity(_Frozen):
    """How far ONNX Runtime's answers were from torch's when the model was exported."""

    max_abs_diff: float
    tolerance: float
    batch_sizes: tuple[int, ...]
    subsets: tuple[tuple[str, ...], ...]
    """Every subset of modalities that was compared."""


def tokens_of(modality: str) -> str:
    """What its tokens are called in the graphs of a variant. No modality's name has a dot."""
    return f"{modality}.tokens"


def there_of(modality: str) -> str:
    """What is called so: which of its tokens are there."""
    return f"{modality}.there"


class ScoreChange(_Frozen):
    """What a probe says of a task's held-out samples: of embeddings in fp32, on which it was fitted, and in another
    precision."""

    metric: str
    fp32: float
    here: float


class Closeness(_Frozen):
    """How near a precision's embeddings are to those of fp32, over held-out samples and every subset of modalities."""

    max_abs_diff: float
    min_cosine: float
    samples: int
    scores: dict[str, ScoreChange] = {}
    """By task, of samples that have every modality."""


class Variant(_Frozen):
    """The network in one precision, cut where its modalities meet, so that an absent one costs nothing.

    An encoder takes its modality's input tensor and gives `NAME.tokens`, float32 (batch, tokens, width), and `NAME.there`,
    bool (batch, tokens). The fusion takes both of every modality, any number of tokens from one on, and gives the output.
    Tokens that are not there change nothing and may be left away; of a modality that is absent none is there.
    """

    precision: Precision
    encoders: dict[str, str]
    """Modality → file."""
    fusion: str
    """File."""
    closeness: Closeness | None = None
    """None of fp32 itself."""
    golden_tolerance: float | None = None
    """By how much, relative to its length, a golden vector may come out differently elsewhere."""


class Withheld(_Frozen):
    """A precision that was asked for and is not in the bundle."""

    precision: Precision
    reason: str


class Golden(_Frozen):
    """Held-out samples with their vectors, by which whoever loads the model sees whether it computes the same here.

    In the file, of NumPy's .npz: `inputs.ROW.NAME` per sample and modality as the encoder takes it, without a batch axis
    and without padding; `vectors.PRECISION`, float32 (subsets, samples, embedding_dim).
    """

    file: str
    samples: int
    subsets: tuple[tuple[str, ...], ...]


class Score(_Frozen):
    metric: str
    value: float


class SubsetQuality(_Frozen):
    """What is to be expected of an embedding that is made of some of the modalities."""

    modalities: tuple[str, ...]
    mean_cosine: float
    """To the embedding of the same sample with every modality."""
    min_cosine: float
    scores: dict[str, Score] = {}
    """By task: what a probe that was fitted on embeddings of every modality says of these."""


class Quality(_Frozen):
    """Measured when the model was exported, on held-out data, in fp32. The probes are ridge regressions, which are fitted
    in a moment; those of a probe job are chosen with more care and score better."""

    samples: int
    """Held out, of each subset."""
    fitted_on: int
    """Training samples of the probes; 0 where there is no task."""
    subsets: tuple[SubsetQuality, ...]


class Source(_Frozen):
    """Where the weights came from: enough to find the run, its data and its probe results again."""

    job_id: str
    method: str
    dataset: str
    step: int
    epoch: int
    checkpoint_sha256: str
    seed: int
    dataset_sha256: str | None = None
    """Of all that the training's data consisted of; unknown of models that were exported before it was kept."""


class Manifest(_Frozen):
    """One published model. `files` maps each file of the bundle, the manifest excepted, to its sha256.

    Every bundle has `model.onnx`, the whole network in fp32, for any runtime. Those that were made before there was more
    have nothing else, and are served from it: what came later has a default that says so, and the format is the same.
    """

    format: Literal[1] = 1
    name: str
    created_at: str
    """UTC, ISO 8601."""
    embedding_dim: int
    inputs: tuple[Input, ...]
    may_miss: bool
    """Whether any modality may be left out, so long as one is given."""
    presence_input: str = "present"
    """ONNX input, bool (batch, modalities) in the order of `inputs`: which modalities each row has."""
    output: str = "fused"
    """ONNX output, float32 (batch, embedding_dim)."""
    precision: Literal["fp32"] = "fp32"
    opset: int
    source: Source
    parity: Parity
    variants: tuple[Variant, ...] = ()
    """fp32 first; none in bundles that have the whole network alone."""
    withheld: tuple[Withheld, ...] = ()
    golden: Golden | None = None
    quality: Quality | None = None
    files: dict[str, str]

    @model_validator(mode="after")
    def _has_its_files(self) -> Self:
        named = {file for each in self.variants for file in (*each.encoders.values(), each.fusion)}
        named |= {self.golden.file} if self.golden else set()
        missing = sorted(named - set(self.files))
        if missing:
            raise ValueError(f"{missing[0]!r} belongs to the model and is not among its files")
        return self

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """In which it can be had."""
        return tuple(each.precision for each in self.variants) or ("fp32",)

    def variant(self, precision: Precision) -> Variant | None:
        return next((each for each in self.variants if each.precision == precision), None)

    def input_named(self, name: str) -> Input | None:
        return next((each for each in self.inputs if each.name == name), None)
