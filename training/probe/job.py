"""Probe a trained representation: `python -m training probe RUN_DIR`, with a ProbeSpec in RUN_DIR/spec.json.

Out come results, and the fitted probes themselves in RUN_DIR/heads.
"""

from __future__ import annotations

import math
import shutil

import torch
from torch import Tensor

from models_store.heads import MAIN
from training import checkpoint
from training.data import Data, Split, load_for
from training.errors import DataError
from training.events import Detail, Result
from training.methods import Method, build_method
from training.probe.feature_cache import cached
from training.probe.features import Embedded, crops_at_random, embed_split
from training.probe.heads import Probed, keep_head
from training.probe.linear import Choice, Recipe, choose, fit_chosen, require_finite
from training.probe.scores import MOST_CLASSES, Estimate, chance, confusion, estimates
from training.runner import Run, use_device, use_threads
from training.spec import ProbeSpec, Task, TrainSpec


def work(run: Run) -> int:
    spec = run.dir.read_spec(ProbeSpec)
    use_threads(spec.threads)
    found = checkpoint.choose(run.dir.sibling(spec.run), spec.checkpoint)
    trained = found.meta.spec
    tasks = chosen_tasks(trained, spec.tasks)
    device = device_for(trained)
    steps = 2 * len(tasks)
    run.start(steps, device)
    data = load_for(trained, run.datasets_dir, splits=spec.protocol).to(device)
    method = restored(found, data).to(device)

    run.say(f"probing {spec.run} after step {found.meta.step} on {trained.dataset.name}")
    train, val, test = embedded(run, spec, found, method, data)
    require_finite(test.x, "test")
    choices: dict[str, Choice] = {}
    recipe = Recipe(spec.protocol, spec.seed, penalty=spec.penalty)
    for name, choice in choose(train, val, tasks, recipe):
        choices[name] = choice
        run.heed_stop(len(choices))
        run.progress("choosing strengths", len(choices), steps)
    everything = train.and_also(val)
    probes = fit_chosen(everything, tasks, choices, spec.penalty)
    probed = Probed(spec, found.meta, n_train=len(everything.x), n_test=len(test.x))
    shutil.rmtree(run.dir.heads, ignore_errors=True)
    for done, task in enumerate(tasks, start=len(tasks)):
        run.heed_stop(done)
        outputs = probes[task.name](test.x)
        scores = judged(run, task, outputs, test.labels[task.name], spec.seed)
        for metric, score, details in scores:
            run.tell(
                Result(
                    model_job_id=spec.run,
                    checkpoint_step=found.meta.step,
                    dataset=trained.dataset.name,
                    task=task.name,
                    family=task.family,
                    metric=metric,
                    split="test",
                    protocol=spec.protocol,
                    seed=spec.seed,
                    value=score.value,
                    chance=chance(task, metric),
                    n=len(test.x),
                    details={**about(task, choices[task.name]), "n_train": len(everything.x), **details},
                )
            )
        keep_head(run, probed, task, probes[task.name], {metric: score for metric, score, _ in scores})
        run.progress("scoring", done + 1, steps)
    return steps


def embedded(
    run: Run, spec: ProbeSpec, found: checkpoint.Checkpoint, method: Method, data: Data
) -> tuple[Embedded, Embedded | None, Embedded]:
    """To fit on, to choose by if there is such a split, and to score on."""
    trained = found.meta.spec

    def of(split: Split, name: str) -> Embedded:
        def compute() -> Tensor:
            torch.manual_seed(spec.seed)  # the crops of protocol `reference`
            return embed_split(method, trained.dataset, data, split, spec.protocol)

        crops = spec.seed if crops_at_random(trained.dataset, spec.protocol) else None
        key = (found.meta.sha256[checkpoint.WEIGHTS], data.sha256, spec.protocol, name, crops)
        x = cached(run.datasets_dir / "embeddings", key, compute)
        return Embedded(x.to(next(method.parameters()).device), split.labels)

    val = of(data.probe_val, "val") if data.probe_val else None
    return of(data.probe_train, "train"), val, of(data.probe_test, "test")


def judged(
    run: Run, task: Task, outputs: Tensor, truth: Tensor, seed: int
) -> list[tuple[str, Estimate, dict[str, Detail]]]:
    """Each metric with its value and what else there is to say of it."""
    results = []
    for metric, score in estimates(task, outputs, truth, seed).items():
        if math.isnan(score.value):
            run.say(
                f"task {task.name}: its test samples do not differ, so there is no {metric}", level="warning"
            )
            continue
        details: dict[str, Detail] = {}
        if score.interval is not None:
            details["ci95"] = list(score.interval)
        if metric == "macro_accuracy" and task.type == "class" and task.classes <= MOST_CLASSES:
            details["confusion"] = confusion(outputs.argmax(1), truth, task.classes)
        results.append((metric, score, details))
    return results


def about(task: Task, choice: Choice) -> dict[str, Detail]:
    """How the probe was chosen."""
    strength = "alpha" if task.type == "regression" else "cost"
    return {strength: choice.strength, f"selection_{MAIN[task.type]}": abs(choice.score)}


def chosen_tasks(trained: TrainSpec, names: tuple[str, ...] | None) -> tuple[Task, ...]:
    """Raises DataError for a task that the dataset does not have, and when it has none."""
    have = {task.name: task for task in trained.dataset.tasks}
    if not have:
        raise DataError(f"{trained.dataset.name} has no labels, so that there is nothing to probe")
    unknown = sorted(set(names or ()) - set(have))
    if unknown:
        raise DataError(f"{trained.dataset.name} has no task {unknown[0]!r}; it has {', '.join(have)}")
    return tuple(have[name] for name in (names or have))


def device_for(trained: TrainSpec) -> str:
    """Not a GPU, where the training was to have none. Embeddings are computed as where models are served: without the
    training's rounding, so that they are those of a CPU, and probes of them are fitted in full float32.
    """
    return use_device("cpu" if trained.device == "cpu" else "auto")


def restored(found: checkpoint.Checkpoint, data: Data | None = None) -> Method:
    """The trained network in evaluation mode. Raises CheckpointError when the data is not what it was trained on."""
    if data is not None and data.sha256 != found.meta.dataset_sha256:
        raise DataError(
            f"the dataset has changed since this model was trained (sha256 {data.sha256[:12]} now, "
            f"{found.meta.dataset_sha256[:12]} then); its scores would not be of the same data"
        )
    method = build_method(found.meta.spec, found.meta.vocabulary)
    method.load_state_dict(found.weights)
    return method.eval()
