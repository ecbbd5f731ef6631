"""Train one representation: `python -m training fit RUN_DIR`.

In comes RUN_DIR/spec.json, a TrainSpec; out go events, checkpoints and, in them, the weights. The run can be killed at
any moment and continued by the same command: what it then computes equals what it would have computed undisturbed.
"""

from __future__ import annotations

import math
import os
import random
import shutil
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from training import checkpoint
from training.averaging import AveragedWeights
from training.data import Augmenter, Data, load_for, prepare
from training.errors import DataError, Interrupted, NonFiniteLossError, RunError
from training.events import CheckpointSaved, Metrics
from training.losses import Loss
from training.methods import Batch, Inputs, Method, View, When, build_method
from training.optim import build_optimizer, learning_rate, set_learning_rate
from training.probe.interval import probe_now
from training.processes import Processes
from training.runner import Run, use_threads
from training.spec import TrainSpec
from training.step import loss_and_gradients


@dataclass
class Training:
    """All that changes while a run trains, and what it is made of."""

    run: Run
    spec: TrainSpec
    data: Data
    method: Method
    optimizer: Optimizer
    processes: Processes
    averaged: AveragedWeights | None
    step: int = 0
    """Finished optimizer steps."""
    stopping: bool = False
    """Whether all processes know that somebody has asked for the end."""
    best_step: int | None = None
    best_score: float | None = None
    """Of the checkpoints so far, by the mean macro accuracy of the interval probes."""

    @property
    def epoch(self) -> int:
        """Of the last finished step, from 0."""
        return max(0, self.step - 1) // self.spec.steps_per_epoch

    @property
    def network(self) -> Method:
        """The network whose embeddings count: what is probed, saved as the model, and exported."""
        return self.averaged.network if self.averaged else self.method

    @property
    def patience_is_over(self) -> bool:
        """Whether the last probes that the spec has patience for have found nothing better than one before them."""
        probe, per_epoch = self.spec.probe, self.spec.steps_per_epoch
        if probe.patience is None or self.best_step is None:
            return False
        since = self.step // per_epoch - self.best_step // per_epoch
        return since // probe.every_epochs >= probe.patience

    def heed_stop(self) -> None:
        """Raises Interrupted, in all processes alike, when somebody has asked for the end."""
        if self.stopping:
            raise Interrupted(self.step)


def work(run: Run) -> int:
    spec = run.dir.read_spec(TrainSpec)
    use_threads(spec.threads)
    processes = Processes(spec)
    run.say(f"preparing {spec.dataset.name}")
    data = load_for(spec, run.datasets_dir).to(processes.device)

    seed_everything(spec.seed)
    method = build_method(spec, vocabulary_of(data)).to(processes.device)
    require_what_is_learned_from(method, data)
    learn_scales(method, data)
    if processes.rank > 0:  # the processes' networks are equal; their views and masks are their own
        seed_everything(spec.seed + 1_000_003 * processes.rank)
    averaged = AveragedWeights(method, spec.ema_decay) if spec.ema_decay is not None else None
    optimizer = build_optimizer(method, spec.optim)
    training = Training(run, spec, data, method, optimizer, processes, averaged)
    resume(training)
    if spec.compile:
        compile_step(method, processes.device)
    run.start(spec.total_steps, str(processes.device), resumed_from_step=training.step)
    if training.step and processes.rank == 0:
        # The event of this checkpoint may have been lost with the process that wrote it.
        tell_of_checkpoint(training, checkpoint.read(run.dir, training.step).meta)
    train(training)
    if training.step < spec.total_steps:
        run.say(
            f"stopped after epoch {training.epoch + 1}: {spec.probe.patience} probes brought nothing better"
        )
    return training.step


def train(training: Training) -> None:
    run, spec, processes = training.run, training.spec, training.processes
    while training.step < spec.total_steps and not processes.any(training.patience_is_over):
        epoch, position = divmod(training.step, spec.steps_per_epoch)
        rate = learning_rate(spec.optim, epoch, spec.epochs)
        set_learning_rate(training.optimizer, rate)

        for rows in batches(spec, epoch, position, processes.device):
            parts = [batch_of(training, some) for some in in_parts(spec, processes.share(rows))]
            values = take_step(training, parts, epoch)
            training.step += 1
            training.stopping = processes.any(run.stop_asked)
            if training.averaged:
                training.averaged.update(training.step)

            if training.step % spec.log_every_steps == 0:
                run.tell(Metrics.of(training.step, epoch, {"lr": rate, **values}))
            run.progress("training", training.step, spec.total_steps, epoch)
            if checkpoint_due_inside_epoch(training):
                save(training)
                training.heed_stop()

        score = probe_now(run, spec, training.network, training.data, training.step, epoch)
        training.stopping = processes.any(run.stop_asked)
        last = epoch + 1 == spec.epochs
        if last or training.stopping or score is not None or (epoch + 1) % spec.checkpoints.every_epochs == 0:
            save(training, score)
        if not last:
            training.heed_stop()


def take_step(training: Training, parts: list[Batch], epoch: int) -> dict[str, float]:
    """Moves the weights once in every turn of the method; returns the loss of the first one, and its terms."""
    spec, method, optimizer = training.spec, training.method, training.optimizer
    values: dict[str, float] = {}
    for turn in range(method.turns):
        optimizer.zero_grad()
        loss = loss_and_gradients(method, parts, When(epoch, spec.epochs, turn), training.processes)
        values = finite(loss, training.step + 1) | values
        if spec.optim.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(method.parameters(), spec.optim.clip_norm)
        optimizer.step()
        method.after_step()
    return values


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def compile_step(method: Method, device: torch.device) -> None:
    """Raises RunError where compiling is impossible."""
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise RunError("compile needs a C++ compiler (g++), and this machine has none; leave out `compile`")
    method.compile(mode="reduce-overhead" if device.type == "cuda" else "default")


def require_what_is_learned_from(method: Method, data: Data) -> None:
    """Raises DataError when the data lacks a modality or a label that the method needs."""
    for kind, needed, have in (
        ("modality", [modality.name for modality in method.modalities], data.train.pools),
        ("labels of the task", list(method.tasks), data.train.labels),
    ):
        missing = [name for name in needed if name not in have]
        if missing:
            raise DataError(f"the training data has no {kind} {missing[0]!r}; it has {', '.join(have)}")


def learn_scales(method: Method, data: Data) -> None:
    """Shows the method what it wants to see of all training samples, as it will be given them, and their labels."""
    pools = {name: data.train.pools[name] for name in method.scaled}
    method.learn_scales(prepare(pools, data), data.train.labels)


def vocabulary_of(data: Data) -> int:
    return data.tokenizer.get_vocab_size() if data.tokenizer else 0


def batches(spec: TrainSpec, epoch: int, position: int, device: torch.device) -> list[Tensor]:
    """The sample rows of an epoch's batches from `position` on: a shuffle that depends on seed and epoch alone."""
    order = torch.Generator().manual_seed(spec.seed * 1_000_003 + epoch)
    rows = torch.randperm(spec.n_train, generator=order).to(device)
    return list(rows.split(spec.batch_size)[position : spec.steps_per_epoch])


def in_parts(spec: TrainSpec, rows: Tensor) -> list[Tensor]:
    """The rows to compute at once: as few parts as `micro_batch_size` allows, of nearly equal size."""
    size = spec.micro_batch_size or len(rows)
    return list(rows.tensor_split(-(-len(rows) // size)))


def batch_of(training: Training, rows: Tensor) -> Batch:
    """The samples as the method wants to see them: its modalities in its views, and the labels it learns from."""
    spec, data, method = training.spec, training.data, training.method
    raw = data.train.batch(rows)
    seen = {modality.name: raw[modality.name] for modality in method.modalities}

    def view(strength: View) -> Inputs:
        if strength == "plain" or not spec.dataset.augment:
            return prepare(seen, data)
        return Augmenter(spec.dataset, data, strength, spec.model)(seen)

    labels = {task: data.train.labels[task][rows] for task in method.tasks}
    return Batch([view(strength) for strength in method.views], labels)


def finite(loss: Loss, step: int) -> dict[str, float]:
    """The loss and its terms as numbers. Raises NonFiniteLossError, before the optimizer has moved anything."""
    total, *parts = torch.stack([loss.loss, *loss.terms.values()]).detach().float().tolist()
    terms = dict(zip(loss.terms, parts, strict=True))
    if not math.isfinite(total):
        raise NonFiniteLossError(step, total, terms)
    return {"loss": total, **{f"loss/{name}": value for name, value in terms.items()}}


def checkpoint_due_inside_epoch(training: Training) -> bool:
    """At an epoch's end the probe comes first, so that its score is saved with the weights it belongs to."""
    if training.step % training.spec.steps_per_epoch == 0:
        return False
    every = training.spec.checkpoints.every_steps
    return training.stopping or (every is not None and training.step % every == 0)


def resume(training: Training) -> None:
    """Puts everything into the state of the newest checkpoint that verifies, when there is one."""
    found, rejected = checkpoint.newest(training.run.dir)
    for problem in rejected:
        training.run.say(f"passed over: {problem}", level="warning")
    if found is None:
        return
    state, processes = checkpoint.read_state(found), training.processes
    training.network.load_state_dict(found.weights)
    if training.averaged:
        training.method.load_state_dict(checkpoint.below("weights", state))
    checkpoint.restore_optimizer(training.optimizer, checkpoint.below("optimizer", state))
    checkpoint.restore_random_states(found.meta, state, processes.rank, processes.device)
    training.step = found.meta.step
    training.best_step, training.best_score = found.meta.best_step, found.meta.best_score
    training.run.say(f"continuing after step {training.step} of {training.spec.total_steps}")


def save(training: Training, score: float | None = None) -> None:
    """Writes a checkpoint, removes what need not be kept any longer, and tells of it."""
    if score is not None and (training.best_score is None or score > training.best_score):
        training.best_step, training.best_score = training.step, score
    # All processes' generators; the network and the optimizer are the same in each.
    processes = training.processes
    states = [
        processes.gathered(each.to(processes.device)[None], dim=0)
        for each in checkpoint.torch_random_states(processes.device)
    ]
    if processes.rank > 0:
        return
    state = checkpoint.named("optimizer", checkpoint.optimizer_tensors(training.optimizer))
    state |= {f"random.{i}": each.cpu() for i, each in enumerate(states)}
    if training.averaged:
        state |= checkpoint.named("weights", training.method.state_dict())
    meta = checkpoint.Meta(
        spec=training.spec,
        step=training.step,
        epoch=training.epoch,
        score=score,
        best_step=training.best_step,
        best_score=training.best_score,
        vocabulary=vocabulary_of(training.data),
        dataset_sha256=training.data.sha256,
        **checkpoint.random_states(),
        sha256={},
    )
    meta = checkpoint.save_checkpoint(training.run.dir, training.network.state_dict(), state, meta)
    tell_of_checkpoint(training, meta)


def tell_of_checkpoint(training: Training, meta: checkpoint.Meta) -> None:
    run = training.run
    folder = checkpoint.folder_of(run.dir, meta.step)
    kept = checkpoint.prune(run.dir, training.spec.checkpoints.keep_last, training.best_step)
    run.tell(
        CheckpointSaved(
            step=meta.step,
            epoch=meta.epoch,
            path=str(folder.relative_to(run.dir.path)),
            sha256=meta.sha256[checkpoint.WEIGHTS],
            size_bytes=sum(file.stat().st_size for file in folder.iterdir()),
            score=meta.score,
            is_best=training.best_step == meta.step,
            kept_steps=kept,
        )
    )
