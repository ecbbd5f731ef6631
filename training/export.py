"""Write a trained model as ONNX: `python -m training export RUN_DIR`, with an ExportSpec in RUN_DIR/spec.json.

Out comes RUN_DIR/export/: model.onnx, tokenizer.json for models with text, and, last of all, manifest.json. The graph
takes raw inputs as the manifest describes them and a presence flag per sample and modality, and gives the fused
embedding. Before the manifest is written, ONNX Runtime's answers are compared with torch's for several batch sizes,
lengths of texts and sequences, and every subset of modalities.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from models_store.durable import write_atomically
from models_store.manifest import (
    ImageInput,
    Input,
    Manifest,
    Parity,
    SequenceInput,
    Source,
    TableInput,
    TextInput,
)
from training import checkpoint
from training.data import Data, load_for, prepare
from training.errors import ParityError
from training.events import Exported
from training.methods import Method
from training.probe.job import restored
from training.runner import Run, use_threads
from training.spec import ExportSpec, Modality, Registered, TrainSpec
from training.spec.encoders import Force

BATCH_SIZES = (1, 2, 17)
SHORT = (1, 5)
"""Lengths at which texts and sequences are compared besides the longest."""
OPSET = 20
PRESENT, FUSED = "present", "fused"


class Embedder(nn.Module):
    """A method's embedding with its inputs in order, as the exporter wants to call it."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.names = [modality.name for modality in method.modalities]

    def forward(self, *tensors: Tensor) -> Tensor:
        *inputs, present = tensors
        return self.method.embed(dict(zip(self.names, inputs, strict=True)), present)


def work(run: Run) -> int:
    spec = run.dir.read_spec(ExportSpec)
    use_threads(spec.threads)
    found = checkpoint.choose(run.dir.sibling(spec.run), spec.checkpoint)
    trained = found.meta.spec
    data = load_for(trained, run.datasets_dir)
    method = restored(found)
    inputs = tuple(described(modality, data, trained) for modality in method.modalities)
    run.start(len(BATCH_SIZES), "cpu")

    folder = run.dir.export
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run.say(f"exporting {spec.run} after step {found.meta.step} as {spec.name}")
    write_graph(method, inputs, data, folder / "model.onnx")
    if data.tokenizer is not None and any(each.kind == "text" for each in method.modalities):
        write_atomically(folder / "tokenizer.json", data.tokenizer.to_str().encode())
    parity = compare(run, method, inputs, data, folder / "model.onnx", spec.tolerance)
    manifest = Manifest(
        name=spec.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        embedding_dim=method.embedding_dim,
        inputs=inputs,
        may_miss=True,
        presence_input=PRESENT,
        output=FUSED,
        opset=OPSET,
        source=Source(
            job_id=spec.run,
            method=trained.method.name,
            dataset=trained.dataset.name,
            step=found.meta.step,
            epoch=found.meta.epoch,
            checkpoint_sha256=found.meta.sha256[checkpoint.WEIGHTS],
            seed=trained.seed,
        ),
        parity=parity,
        files={file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())},
    )
    write_atomically(folder / "manifest.json", manifest.model_dump_json(indent=2).encode())
    run.tell(Exported(name=spec.name, max_abs_diff=parity.max_abs_diff))
    return len(BATCH_SIZES)


def write_graph(method: Method, described: tuple[Input, ...], data: Data, path: Path) -> None:
    """The graph with the batch's size left open, and the lengths of those inputs that may have several."""
    for chatty in ("onnxscript", "onnx_ir"):  # they tell of every node that they leave as it is
        logging.getLogger(chatty).setLevel(logging.ERROR)
    inputs = sample(data, method, 2)
    present = torch.ones(2, len(method.modalities), dtype=torch.bool)
    batch = torch.export.Dim("batch", min=1, max=65_536)
    shapes = [
        {0: batch, 1: torch.export.Dim(f"{each.name}_length", min=1, max=longest)}
        if (longest := open_length(each)) is not None
        else {0: batch}
        for each in described
    ]
    with warnings.catch_warnings():
        # Several inputs share the name of their batch axis, which is meant; the exporter remarks on it.
        warnings.filterwarnings("ignore", message="# The axis name: batch will not be used")
        # torch's own code asks torch in a way that torch calls old.
        warnings.filterwarnings(
            "ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning
        )
        program = torch.onnx.export(
            Embedder(method).eval(),
            (*inputs.values(), present),
            input_names=[*inputs, PRESENT],
            output_names=[FUSED],
            dynamic_shapes=((*shapes, {0: batch}),),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    # One file with the weights inside: what is verified by its sha256 is then all that is loaded.
    onnx.save_model(program.model_proto, path, save_as_external_data=False)


def open_length(described: Input) -> int | None:
    """The longest that texts and sequences may be; none where an input has always the same shape."""
    match described:
        case TextInput(max_tokens=longest):
            return longest
        case SequenceInput(max_steps=longest, fixed_steps=False):
            return longest
        case _:
            return None


def compare(
    run: Run, method: Method, described: tuple[Input, ...], data: Data, path: Path, tolerance: float
) -> Parity:
    """How far ONNX Runtime and torch are apart at most. Raises ParityError beyond the tolerance."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [modality.name for modality in method.modalities]
    largest = 0.0
    for done, size in enumerate(BATCH_SIZES):
        run.heed_stop(done)
        for subset in subsets(names):
            present = torch.tensor([[name in subset for name in names]] * size)
            for inputs in shortened(sample(data, method, size), described):
                largest = max(largest, difference(method, session, inputs, present))
        run.progress("comparing", done + 1, len(BATCH_SIZES))
    if not largest <= tolerance:
        raise ParityError(
            f"ONNX Runtime and torch differ by {largest:.3g}, more than the tolerance {tolerance:g}; the model is not "
            "published. If that is acceptable for its use, export again with a larger tolerance"
        )
    return Parity(
        max_abs_diff=largest, tolerance=tolerance, batch_sizes=BATCH_SIZES, subsets=tuple(subsets(names))
    )


@torch.no_grad()
def difference(
    method: Method, session: onnxruntime.InferenceSession, inputs: Mapping[str, Tensor], present: Tensor
) -> float:
    """Largest absolute difference in one batch. NaN, should either side give one, compares as too large."""
    ours = method.embed(inputs, present).numpy()
    feed = {**{name: tensor.numpy() for name, tensor in inputs.items()}, PRESENT: present.numpy()}
    theirs = session.run([FUSED], feed)[0]
    return float(np.abs(ours - theirs).max())


def sample(data: Data, method: Method, size: int) -> dict[str, Tensor]:
    """The first test samples, as the network takes them: of its modalities alone, in its order."""
    raw = data.probe_test.batch(torch.arange(size) % len(data.probe_test))
    return prepare({modality.name: raw[modality.name] for modality in method.modalities}, data)


def shortened(inputs: dict[str, Tensor], described: tuple[Input, ...]) -> Iterator[dict[str, Tensor]]:
    """The inputs as they are, then with all lengths that are open cut short, each at each length and no two alike."""
    yield inputs
    names = [each.name for each in described if open_length(each) is not None]
    lengths = (*SHORT, None) if len(names) > 1 else SHORT
    for turn in range(len(lengths) if names else 0):
        cut = {name: lengths[(turn + place) % len(lengths)] for place, name in enumerate(names)}
        yield {name: tensor[:, : cut[name]] if name in cut else tensor for name, tensor in inputs.items()}


def subsets(names: list[str]) -> list[tuple[str, ...]]:
    """All but the empty one."""
    return [each for size in range(1, len(names) + 1) for each in combinations(names, size)]


def described(modality: Modality, data: Data, trained: TrainSpec) -> Input:
    match modality.kind:
        case "text":
            return TextInput(name=modality.name, max_tokens=modality.max_tokens, pad_id=0)
        case "image":
            return _image(modality, data, trained)
        case "sequence":
            mean, std = data.normalisation.get(modality.name, (None, None))
            return SequenceInput(
                name=modality.name,
                features=modality.features,
                max_steps=modality.length,
                fixed_steps=has_one_length(modality, trained),
                mean=mean,
                std=std,
            )
        case "table":
            mean, std = data.normalisation.get(modality.name, (None, None))
            return TableInput(name=modality.name, features=modality.features, mean=mean, std=std)


def has_one_length(modality: Modality, trained: TrainSpec) -> bool:
    """Whether a sequence must always be padded to the same length: protocol `reference` knows no padding, and some
    encoders no other length."""
    is_force = isinstance(trained.model.encoder_of(modality), Force)
    return trained.protocol == "reference" or is_force or modality.length == 1


def _image(modality: Modality, data: Data, trained: TrainSpec) -> ImageInput:
    """Registered pictures were cut to squares and lost their transparency; those made here fill their frame."""
    mean, std = data.mean_std(modality.name)
    channels = 1 if modality.channels == 1 else 3
    is_registered = isinstance(trained.dataset, Registered)
    paper = (0, 0, 0) if channels == 1 else (255, 255, 255)  # scans show white ink on black
    return ImageInput(
        name=modality.name,
        channels=channels,
        height=modality.size,
        width=modality.size,
        mean=mean,
        std=std,
        fit="cover" if is_registered else "stretch",
        background=None if is_registered else paper,
    )
