"""Train one representation: `python -m training fit RUN_DIR`.

In comes RUN_DIR/spec.json, a TrainSpec; out go events, checkpoints and, in them, the weights. The run can be killed at
any moment and continued by the same command: what it then computes equals what it would have computed undisturbed.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from training import checkpoint
from training.data import Augmenter, Data, load, prepare
from training.errors import DataError, NonFiniteLossError
from training.events import CheckpointSaved, Metrics
from training.losses import Loss
from training.methods import Batch, Inputs, Method, View, When, build_method
from training.optim import build_optimizer, learning_rate, set_learning_rate
from training.probe.interval import probe_now
from training.runner import Run, use_threads
from training.spec import TrainSpec


@dataclass
class Training:
    """All that changes while a run trains, and what it is made of."""

    run: Run
    spec: TrainSpec
    data: Data
    method: Method
    optimizer: Optimizer
    step: int = 0
    """Finished optimizer steps."""
    best_step: int | None = None
    best_score: float | None = None
    """Of the checkpoints so far, by the mean macro accuracy of the interval probes."""

    @property
    def epoch(self) -> int:
        """Of the last finished step, from 0."""
        return max(0, self.step - 1) // self.spec.steps_per_epoch


def work(run: Run) -> int:
    spec = run.dir.read_spec(TrainSpec)
    use_threads(spec.threads)
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if spec.device == "auto" else spec.device
    fabric = Fabric(
        accelerator=accelerator, devices=1, precision="bf16-mixed" if spec.precision == "bf16" else "32-true"
    )
    run.say(f"preparing {spec.dataset.name}")
    data = load(spec.dataset, run.datasets_dir).to(fabric.device)

    seed_everything(spec.seed)
    method = build_method(spec, vocabulary_of(data)).to(fabric.device)
    require_what_is_learned_from(method, data)
    training = Training(run, spec, data, method, build_optimizer(method, spec.optim))
    resume(training)
    run.start(spec.total_steps, str(fabric.device), resumed_from_step=training.step)
    if training.step:  # the event of this checkpoint may have been lost with the process that wrote it
        tell_of_checkpoint(training, checkpoint.read(run.dir, training.step).meta)
    train(training, fabric)
    return training.step


def train(training: Training, fabric: Fabric) -> None:
    run, spec, method = training.run, training.spec, training.method
    module, optimizer = fabric.setup(method, training.optimizer)
    while training.step < spec.total_steps:
        epoch, position = divmod(training.step, spec.steps_per_epoch)
        rate = learning_rate(spec.optim, epoch, spec.epochs)
        set_learning_rate(training.optimizer, rate)

        for rows in batches(spec, epoch, position, fabric.device):
            batch, values = batch_of(training, rows), {"lr": rate}
            for turn in range(method.turns):
                loss: Loss = module(batch, When(epoch, spec.epochs, turn))
                values = finite(loss, training.step + 1) | values  # the loss that is told is the first turn's
                optimizer.zero_grad()
                fabric.backward(loss.loss)
                if spec.optim.clip_norm is not None:
                    fabric.clip_gradients(module, optimizer, max_norm=spec.optim.clip_norm)
                optimizer.step()
                method.after_step()
            training.step += 1

            if training.step % spec.log_every_steps == 0:
                run.tell(Metrics.of(training.step, epoch, values))
            run.progress("training", training.step, spec.total_steps, epoch)
            if checkpoint_due_inside_epoch(training):
                save(training)
                run.heed_stop(training.step)

        score = probe_now(run, spec, method, training.data, training.step, epoch)
        last = epoch + 1 == spec.epochs
        if last or run.stop_asked or score is not None or (epoch + 1) % spec.checkpoints.every_epochs == 0:
            save(training, score)
        if not last:
            run.heed_stop(training.step)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def require_what_is_learned_from(method: Method, data: Data) -> None:
    """Raises DataError when the data lacks a modality or a label that the method needs."""
    for kind, needed, have in (
        ("modality", [modality.name for modality in method.modalities], data.train.pools),
        ("labels of the task", list(method.tasks), data.train.labels),
    ):
        missing = [name for name in needed if name not in have]
        if missing:
            raise DataError(f"the training data has no {kind} {missing[0]!r}; it has {', '.join(have)}")


def vocabulary_of(data: Data) -> int:
    return data.tokenizer.get_vocab_size() if data.tokenizer else 0


def batches(spec: TrainSpec, epoch: int, position: int, device: torch.device) -> list[Tensor]:
    """The sample rows of an epoch's batches from `position` on: a shuffle that depends on seed and epoch alone."""
    order = torch.Generator().manual_seed(spec.seed * 1_000_003 + epoch)
    rows = torch.randperm(spec.dataset.n_train, generator=order).to(device)
    return list(rows.split(spec.batch_size)[position : spec.steps_per_epoch])


def batch_of(training: Training, rows: Tensor) -> Batch:
    """The samples as the method wants to see them: its modalities in its views, and the labels it learns from."""
    spec, data, method = training.spec, training.data, training.method
    raw = data.train.batch(rows)
    seen = {modality.name: raw[modality.name] for modality in method.modalities}

    def view(strength: View) -> Inputs:
        if strength == "plain" or not spec.dataset.augment:
            return prepare(seen, data)
        return Augmenter(spec.dataset, data, strength)(seen)

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
    return training.run.stop_asked or (every is not None and training.step % every == 0)


def resume(training: Training) -> None:
    """Puts everything into the state of the newest checkpoint that verifies, when there is one."""
    found, rejected = checkpoint.newest(training.run.dir)
    for problem in rejected:
        training.run.say(f"passed over: {problem}", level="warning")
    if found is None:
        return
    checkpoint.restore(found, training.method, training.optimizer)
    training.step = found.meta.step
    training.best_step, training.best_score = found.meta.best_step, found.meta.best_score
    training.run.say(f"continuing after step {training.step} of {training.spec.total_steps}")


def save(training: Training, score: float | None = None) -> None:
    """Writes a checkpoint, removes what need not be kept any longer, and tells of it."""
    if score is not None and (training.best_score is None or score > training.best_score):
        training.best_step, training.best_score = training.step, score
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
    meta = checkpoint.save_checkpoint(training.run.dir, training.method, training.optimizer, meta)
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
