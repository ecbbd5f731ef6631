"""Checkpoints: everything a run needs to go on as if nothing had happened, in formats that cannot run code.

    checkpoints/step_00000042/model.safetensors      weights
                              state.safetensors      what training goes on from: optimizer, random generators
                              meta.json              written last: without it, there is no checkpoint

A checkpoint is made under another name and renamed when it is complete and on disk, so that a reader sees a whole one
or none. The meta holds the sha256 of both files; one that does not match is passed over for the one before.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.optim import Optimizer

from models_store.durable import sync_folder, write_atomically
from training.errors import CheckpointError
from training.run_dir import RunDir
from training.spec import TrainSpec

WEIGHTS, STATE, META = "model.safetensors", "state.safetensors", "meta.json"


class Meta(BaseModel):
    """What a checkpoint is of. `step` counts finished optimizer steps; `best_*` remember the run so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: TrainSpec
    step: int
    epoch: int
    """The epoch that the last step belonged to, from 0."""
    score: float | None
    best_step: int | None
    best_score: float | None
    vocabulary: int
    dataset_sha256: str
    python_random: str
    numpy_random: str
    sha256: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint whose files were as their meta says when they were read."""

    path: Path
    meta: Meta
    weights: dict[str, Tensor]


def save_checkpoint(
    run_dir: RunDir, weights: Mapping[str, Tensor], state: Mapping[str, Tensor], meta: Meta
) -> Meta:
    """Writes and renames; returns the meta with the files' sha256.

    weights: the model, by parameter. state: what else training needs to go on.
    """
    folder = folder_of(run_dir, meta.step)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    contents = {
        name: save({key: value.contiguous() for key, value in tensors.items()})
        for name, tensors in ((WEIGHTS, weights), (STATE, state))
    }
    for name, content in contents.items():
        write_atomically(part / name, content)
    complete = meta.model_copy(
        update={"sha256": {name: _sha256(content) for name, content in contents.items()}}
    )
    write_atomically(part / META, complete.model_dump_json(indent=1).encode())
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    sync_folder(folder.parent)
    return complete


def random_states() -> dict[str, str]:
    """Python's and numpy's generators, for `Meta`; torch's are tensors and lie in the state file."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, gauss_next = random.getstate()
    numpy_state = [name, [int(key) for key in keys], position, has_gauss, gauss]
    return {
        "python_random": json.dumps([version, list(internal), gauss_next]),
        "numpy_random": json.dumps(numpy_state),
    }


def torch_random_states(device: torch.device) -> list[Tensor]:
    """Of the CPU's generator and, where the run is on a GPU, of that one's: another would be opened by being asked."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def restore_random_states(meta: Meta, state: Mapping[str, Tensor], rank: int, device: torch.device) -> None:
    """Puts all generators of process `rank`, which is on `device`, into the state they were saved in."""
    torch.set_rng_state(state["random.0"][rank].clone())  # it crashes on a part of a tensor
    if device.type == "cuda" and "random.1" in state:
        torch.cuda.set_rng_state(state["random.1"][rank].clone(), device)
    version, internal, gauss_next = json.loads(meta.python_random)
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, position, has_gauss, gauss = json.loads(meta.numpy_random)
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))


def read_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """What training goes on from. Raises CheckpointError unless it is what was written."""
    return _verified(checkpoint.path, STATE, checkpoint.meta)


def named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `named`."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    state: Mapping[int, Mapping[str, Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    # Files have no strides, and fused steps pair numbers by where they lie: a ResNet's do not lie in the order of indices.
    for parameter, own in optimizer.state.items():
        for name, value in own.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                own[name] = torch.empty_like(parameter).copy_(value)


def newest(run_dir: RunDir) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that verifies, and what is wrong with each newer one."""
    rejected: list[str] = []
    for step in reversed(steps(run_dir)):
        try:
            return read(run_dir, step), rejected
        except CheckpointError as error:
            rejected.append(str(error))
    return None, rejected


def choose(run_dir: RunDir, which: int | str) -> Checkpoint:
    """`last`, `best` by the run's own rule, or a step. Raises CheckpointError when there is no such checkpoint."""
    if which == "last":
        found, rejected = newest(run_dir)
        if found is None:
            raise CheckpointError("; ".join(rejected) or f"the run {run_dir.name} has no checkpoint yet")
        return found
    if which == "best":
        best = choose(run_dir, "last").meta.best_step
        if best is None:
            raise CheckpointError(
                f"the run {run_dir.name} has no best checkpoint: it ran without probe.every_epochs. Take 'last'"
            )
        return read(run_dir, best)
    return read(run_dir, int(which))


def read(run_dir: RunDir, step: int) -> Checkpoint:
    """Raises CheckpointError, saying what is wrong, unless the checkpoint is complete and unchanged."""
    folder = folder_of(run_dir, step)
    try:
        meta = Meta.model_validate_json((folder / META).read_bytes())
    except FileNotFoundError:
        have = ", ".join(map(str, steps(run_dir))) or "none"
        raise CheckpointError(
            f"the run {run_dir.name} has no checkpoint of step {step}; it has {have}"
        ) from None
    except ValidationError as error:
        raise CheckpointError(
            f"checkpoint {step} of {run_dir.name} is not readable: {error.errors()[0]['msg']}"
        ) from None
    return Checkpoint(folder, meta, _verified(folder, WEIGHTS, meta))


def steps(run_dir: RunDir) -> list[int]:
    """Steps of all complete checkpoints, ascending."""
    return sorted(
        int(meta.parent.name.removeprefix("step_")) for meta in run_dir.checkpoints.glob("step_*/" + META)
    )


def prune(run_dir: RunDir, keep_last: int, best_step: int | None) -> tuple[int, ...]:
    """Removes what is neither among the last `keep_last` nor the best; returns the steps that are left."""
    all_steps = steps(run_dir)
    kept = set(all_steps[-keep_last:]) | ({best_step} if best_step is not None else set())
    for step in all_steps:
        if step not in kept:
            shutil.rmtree(folder_of(run_dir, step))
    return tuple(sorted(kept & set(all_steps)))


def folder_of(run_dir: RunDir, step: int) -> Path:
    return run_dir.checkpoints / f"step_{step:08d}"


def _verified(folder: Path, name: str, meta: Meta) -> dict[str, Tensor]:
    try:
        content = (folder / name).read_bytes()
        if _sha256(content) != meta.sha256[name]:
            raise CheckpointError(f"{folder.name}/{name} is not what was written: its sha256 differs")
        return load(content)
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(f"{folder.name}/{name} cannot be read: {error}") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
