"""Probe a trained representation: `python -m training probe RUN_DIR`, with a ProbeSpec in RUN_DIR/spec.json."""

from __future__ import annotations

import torch

from training import checkpoint
from training.data import Data, load
from training.errors import DataError
from training.events import Result
from training.methods import Method, build_method
from training.probe.features import embed_split
from training.probe.linear import fit_probe
from training.probe.scores import accuracy, macro_accuracy
from training.runner import Run, use_threads
from training.spec import ProbeSpec, Task, TrainSpec


def work(run: Run) -> int:
    spec = run.dir.read_spec(ProbeSpec)
    use_threads(spec.threads)
    found = checkpoint.choose(run.dir.sibling(spec.run), spec.checkpoint)
    trained = found.meta.spec
    tasks = chosen_tasks(trained, spec.tasks)
    device = "cuda" if torch.cuda.is_available() and trained.device != "cpu" else "cpu"
    run.start(len(tasks), device)
    data = load(trained.dataset, run.datasets_dir).to(device)
    method = restored(found, data).to(device)

    run.say(f"probing {spec.run} after step {found.meta.step} on {trained.dataset.name}")
    torch.manual_seed(spec.seed)  # the crops of protocol `reference`
    train = embed_split(method, trained.dataset, data, data.probe_train, spec.protocol)
    test = embed_split(method, trained.dataset, data, data.probe_test, spec.protocol)
    for done, task in enumerate(tasks):
        run.heed_stop(done)
        truth = data.probe_test.labels[task.name]
        probe, selection = fit_probe(
            train, data.probe_train.labels[task.name], task, spec.protocol, spec.seed
        )
        predicted = probe.logits(test).argmax(1)
        for metric, value in (
            ("macro_accuracy", macro_accuracy(predicted, truth)),
            ("accuracy", accuracy(predicted, truth)),
        ):
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
                    value=value,
                    chance=task.chance if metric == "macro_accuracy" else None,
                    n=len(truth),
                    details={
                        "cost": probe.cost,
                        "selection_macro_accuracy": selection,
                        "n_train": len(train),
                    },
                )
            )
        run.progress("probing", done + 1, len(tasks))
    return len(tasks)


def chosen_tasks(trained: TrainSpec, names: tuple[str, ...] | None) -> tuple[Task, ...]:
    """Raises DataError for a task that the dataset does not have."""
    have = {task.name: task for task in trained.dataset.tasks}
    unknown = sorted(set(names or ()) - set(have))
    if unknown:
        raise DataError(f"{trained.dataset.name} has no task {unknown[0]!r}; it has {', '.join(have)}")
    return tuple(have[name] for name in (names or have))


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
