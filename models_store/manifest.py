"""What stands beside a published `model.onnx`: all that serving needs to know, and where the model came from.

The exporter writes a manifest, the store keeps it, the service reads it. It is the only contract between a
trained network and the process that serves it, so whatever preprocessing the training used is spelled out here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


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


class Source(_Frozen):
    """Where the weights came from: enough to find the run, its data and its probe results again."""

    job_id: str
    method: str
    dataset: str
    step: int
    epoch: int
    checkpoint_sha256: str
    seed: int


class Manifest(_Frozen):
    """One published model. `files` maps each file of the bundle, the manifest excepted, to its sha256."""

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
    files: dict[str, str]

    def input_named(self, name: str) -> Input | None:
        return next((each for each in self.inputs if each.name == name), None)
