"""Embed a whole dataset: `python -m training embed RUN_DIR`, with an EmbedSpec in RUN_DIR/spec.json.

Out comes RUN_DIR/embeddings, as `models_store.embeddings` describes it: part after part, each of which is kept, then what
is searched in and drawn, and last the manifest. A run that was interrupted or died goes on after its last whole part, if
it is still of the same checkpoint and data. N samples, D width.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models_store.durable import write_atomically
from models_store.embeddings import LABEL, MANIFEST, SAMPLE, write_manifest
from training import checkpoint
from training.embed.parts import read_part, vector_column, write_part
from training.embed.place import Part, Place, opened, parted, samples_of
from training.embed.results import described, draw, gathered
from training.embed.seen import keep_seen
from training.errors import DataError
from training.events import EmbeddingsKept
from training.probe.features import embed_split
from training.runner import Run, use_threads
from training.spec import EmbedSpec

PLAN = ".plan.json"
"""What the parts in the folder are parts of."""


def work(run: Run) -> int:
    spec = run.dir.read_spec(EmbedSpec)
    use_threads(spec.threads)
    place = opened(run, spec, checkpoint.choose(run.dir.sibling(spec.run), spec.checkpoint))
    parts = parted(place)
    done = whole_parts(place, parts)
    at = sum(part.count for part in parts[:done])
    run.start(place.count, str(next(place.method.parameters()).device.type), resumed_from_step=at)
    run.say(
        f"embedding {place.count} samples of {place.dataset.name} by {spec.run} after step "
        f"{place.found.meta.step}" + (f", going on after {at}" if at else "")
    )
    for part in parts[done:]:
        write_part(place.folder / part.file(spec.format), computed(place, part, at), spec.format)
        at += part.count
    vectors = gathered(place, parts)
    draw(place, vectors)
    manifest = described(place, parts, vectors, keep_seen(place))
    sha256 = write_manifest(place.folder, manifest)
    run.tell(EmbeddingsKept(sha256=sha256, count=manifest.count, dim=manifest.dim))
    return place.count


def whole_parts(place: Place, parts: list[Part]) -> int:
    """How many of the first ones an earlier attempt has left whole. What is not to be gone on from is removed."""
    meta = place.found.meta
    plan = {
        "spec": place.spec.model_dump(mode="json", exclude={"threads", "batch_size"}),
        "checkpoint": meta.sha256[checkpoint.WEIGHTS],
        "dataset": place.data.sha256,
        "code": version("fusebox"),
    }
    content = json.dumps(plan, sort_keys=True).encode()
    path = place.folder / PLAN
    if not path.is_file() or path.read_bytes() != content:
        shutil.rmtree(place.folder, ignore_errors=True)
        write_atomically(path, content)
        return 0
    (place.folder / MANIFEST).unlink(
        missing_ok=True
    )  # it would be of files that are about to be written anew
    for done, part in enumerate(parts):
        kept = read_part(place.folder / part.file(place.spec.format), place.spec.format)
        if kept is None or len(kept[SAMPLE]) != part.count:
            return done
    return len(parts)


def computed(place: Place, part: Part, at: int) -> dict[str, NDArray[Any]]:
    """A part's columns. `at`: samples done before it. Raises DataError where the network gives no finite numbers."""
    split = place.splits[part.split]
    vectors: dict[tuple[str, ...], list[NDArray[np.float32]]] = {each: [] for each in place.subsets}
    rows = torch.arange(part.start, part.start + part.count)
    for some in rows.split(place.spec.batch_size):
        place.run.heed_stop(at)
        for subset, done in vectors.items():
            of_some = embed_split(
                place.method,
                place.dataset,
                place.data,
                split,
                "strict",
                some,
                modalities=subset,
                batch=place.spec.batch_size,
            )
            done.append(of_some.cpu().numpy())
        place.run.progress("embedding", at + int(some[-1]) + 1 - part.start, place.count)
    columns: dict[str, NDArray[Any]] = {
        SAMPLE: samples_of(place, part.split)[rows.numpy()],
        "split": np.full(part.count, part.split),
        **{
            LABEL + task: labels[rows.to(labels.device)].cpu().numpy()
            for task, labels in split.labels.items()
        },
        **{vector_column(subset): np.concatenate(done) for subset, done in vectors.items()},
    }
    for subset in place.subsets:
        bad = np.flatnonzero(~np.isfinite(columns[vector_column(subset)]).all(axis=1))
        if len(bad):
            raise DataError(
                f"the network gives no finite numbers for sample {columns[SAMPLE][bad[0]]} of {part.split}; take another "
                "checkpoint, or mend the sample"
            )
    return columns
