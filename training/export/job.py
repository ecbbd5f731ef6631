"""The way from a checkpoint to a bundle, step by step."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime
from typing import NamedTuple

import torch
from onnx import ModelProto

from models_store.durable import write_atomically
from models_store.manifest import (
    Golden,
    Input,
    Manifest,
    Precision,
    Quality,
    Source,
    Variant,
    Withheld,
)
from training import checkpoint
from training.data import Data, load_for
from training.events import Exported
from training.export.graphs import (
    FUSED,
    OPSET,
    PRESENT,
    encoder_graph,
    fusion_graph,
    whole_graph,
)
from training.export.held_out import HeldOut, golden_tolerance, held_out, write_golden
from training.export.inputs import described, first
from training.export.network import Network
from training.export.parity import BATCH_SIZES, compare
from training.export.quality import Probes, closeness, fit_probes, quality, too_far
from training.export.variants import remove_variant, write_graph, write_variant
from training.methods import Method
from training.probe.job import restored
from training.probe.linear import require_finite
from training.runner import Run, use_threads
from training.spec import ExportSpec

MODEL = "model.onnx"


class Graphs(NamedTuple):
    encoders: dict[str, ModelProto]
    fusion: ModelProto


class Measured(NamedTuple):
    """What a manifest says of it, by its fields."""

    variants: tuple[Variant, ...]
    withheld: tuple[Withheld, ...]
    golden: Golden
    quality: Quality


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
    torch.manual_seed(trained.seed)  # draws captions of samples that have several
    graphs = graphs_of(method, inputs, data)
    write_graph(whole_graph(*graphs), folder / MODEL)
    fp32 = write_variant(folder, "fp32", *graphs)
    if data.tokenizer is not None and any(each.kind == "text" for each in method.modalities):
        write_atomically(folder / "tokenizer.json", data.tokenizer.to_str().encode())
    network = Network(folder, fp32, inputs)
    parity = compare(run, method, inputs, data, folder / MODEL, network, spec.tolerance)
    held, probes = held_out(method, data), fit_probes(method, trained, data)
    measured = measure(run, spec, inputs, graphs, fp32, network, held, probes)
    manifest = Manifest(
        name=spec.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        embedding_dim=method.embedding_dim,
        inputs=inputs,
        may_miss=True,
        presence_input=PRESENT,
        output=FUSED,
        opset=OPSET,
        source=source(spec, found),
        parity=parity,
        **measured._asdict(),
        files={file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())},
    )
    write_atomically(folder / "manifest.json", manifest.model_dump_json(indent=2).encode())
    run.tell(Exported(name=spec.name, max_abs_diff=parity.max_abs_diff))
    return len(BATCH_SIZES)


def graphs_of(method: Method, inputs: tuple[Input, ...], data: Data) -> Graphs:
    some = first(data, method, 2)
    encoders = {each.name: encoder_graph(method, each, some[each.name]) for each in inputs}
    with torch.no_grad():
        widths = {name: method.encode(name, raw).tokens.shape[-1] for name, raw in some.items()}
    return Graphs(encoders, fusion_graph(method, widths))


def measure(
    run: Run,
    spec: ExportSpec,
    inputs: tuple[Input, ...],
    graphs: Graphs,
    fp32: Variant,
    network: Network,
    held: HeldOut,
    probes: Probes,
) -> Measured:
    """Writes the other precisions and the golden vectors. A precision that is too far from fp32 is withheld."""
    folder = run.dir.export
    vectors = network.vectors(held.inputs, held.subsets)
    require_finite(torch.from_numpy(vectors).flatten(0, 1), "held-out")
    variants = [fp32.model_copy(update={"golden_tolerance": golden_tolerance(vectors, vectors)})]
    withheld: list[Withheld] = []
    networks: dict[Precision, Network] = {"fp32": network}
    for precision in spec.precisions[1:]:
        run.heed_stop(len(BATCH_SIZES))
        variant = write_variant(folder, precision, *graphs)
        other = Network(folder, variant, inputs)
        here = other.vectors(held.inputs, held.subsets)
        near = closeness(vectors, here, held, probes)
        reason = too_far(near, spec.min_cosine, spec.max_score_drop)
        if reason is None:
            told = {"closeness": near, "golden_tolerance": golden_tolerance(vectors, here)}
            variants.append(variant.model_copy(update=told))
            networks[precision] = other
        else:
            remove_variant(folder, variant)
            withheld.append(Withheld(precision=precision, reason=reason))
            run.say(f"{precision} is withheld: {reason}", level="warning")
    golden = write_golden(folder, inputs, held, networks)
    return Measured(tuple(variants), tuple(withheld), golden, quality(vectors, held, probes))


def source(spec: ExportSpec, found: checkpoint.Checkpoint) -> Source:
    trained = found.meta.spec
    return Source(
        job_id=spec.run,
        method=trained.method.name,
        dataset=trained.dataset.name,
        step=found.meta.step,
        epoch=found.meta.epoch,
        checkpoint_sha256=found.meta.sha256[checkpoint.WEIGHTS],
        seed=trained.seed,
        dataset_sha256=found.meta.dataset_sha256,
    )
