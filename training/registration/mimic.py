"""MIMIC-III as MultiBench publishes it: 5 numbers about a patient, and 12 measurements over 24 hours.

One pickle, im.pk: {"ep_tdata" (N, 24, 12), "adm_features_all" (N, 5), "adm_labels_all" (N, 6 or more), "y_icd9" (N, 20 or
more)}. Infinity and NaN become 0. What is kept are these raw numbers; trainings standardise them by mean and deviation
over all samples and, of the series, all hours: those of the whole file under protocol `reference`, as published, and
those of the training samples alone under `strict`. So a served model takes what a monitor shows.

Tasks: `icd9_k` is column k of y_icd9, whether a group of diagnoses was made. `mortality` is when the patient died, the
first of the columns 1 to 5 of adm_labels_all that is positive, or 0. Samples are split at random, always the same way.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.registration.arrays import numbers, same_length
from training.registration.found import Array, Found, Ledger, Rows, Source, same_for_all
from training.registration.pickles import read_pickle
from training.spec import Modality, Task, encoders
from training.spec.datasets import SplitName

N_DIAGNOSES, N_OUTCOMES = 20, 6
LEAST_SAMPLES = 20
"""Of which two are for validation, and two for the test."""


def read_mimic(source: Source) -> Found:
    path, ledger = source.file("im.pk"), source.ledger
    content, where = read_pickle(path), path.name
    arrays = {
        "ep_tdata": numbers(content, "ep_tdata", where, 3),
        "adm_features_all": numbers(content, "adm_features_all", where, 2),
        "adm_labels_all": numbers(content, "adm_labels_all", where, 2),
        "y_icd9": numbers(content, "y_icd9", where, 2),
    }
    n = same_length(arrays, where)
    if n < LEAST_SAMPLES:
        raise DataError(f"{where} has {n} samples; at least {LEAST_SAMPLES} are needed")
    static = _cleaned(arrays["adm_features_all"], "adm_features_all", ledger)
    series = _cleaned(arrays["ep_tdata"], "ep_tdata", ledger)
    splits = _split(n)
    return Found(
        modalities=(
            Modality(
                name="static",
                kind="table",
                features=static.shape[1],
                encoder=encoders.MLP(widths=(10, 10), tokens="per_feature"),
                changes=("noise",),
            ),
            Modality(
                name="series",
                kind="sequence",
                length=series.shape[1],
                features=series.shape[2],
                encoder=encoders.GRU(width=512),
                changes=("drop", "noise"),
            ),
        ),
        tasks=(
            Task(name="mortality", family="other", classes=N_OUTCOMES),
            *(Task(name=f"icd9_{k}", family="other", classes=2) for k in range(N_DIAGNOSES)),
        ),
        contents={"static": static.astype(np.float32), "series": series.astype(np.float32)},
        labels={
            "mortality": _outcomes(arrays["adm_labels_all"], where),
            **_diagnoses(arrays["y_icd9"], where),
        },
        splits=same_for_all(splits),
        ledger=ledger,
        files=[path],
        scales={
            "reference": {"static": _scale(static), "series": _scale(series)},
            "strict": {"static": _scale(static[splits["train"]]), "series": _scale(series[splits["train"]])},
        },
        default_tasks=("icd9_7",),
    )


def _cleaned(array: Array, key: str, ledger: Ledger) -> NDArray[np.float64]:
    clean = array.astype(np.float64)
    unusable = ~(np.abs(clean) < np.finfo(np.float32).max)
    if unusable.any():
        clean[unusable] = 0
        ledger.note(f"{key}: {unusable.sum():,} numbers that were NaN or infinite became 0, as published")
    return clean


def _scale(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean and deviation per feature (2, F). A constant feature's deviation is 1, so that it becomes 0 and not NaN."""
    flat = array.reshape(-1, array.shape[-1])
    deviation = flat.std(0)
    constant = np.isclose(flat.max(0), flat.min(0), rtol=1e-6, atol=0)
    return np.stack([flat.mean(0), np.where(constant, 1, deviation)])


def _split(n: int) -> dict[SplitName, Rows]:
    order = list(range(n))
    random.Random(10).shuffle(order)
    rows = np.array(order, dtype=np.int64)
    return {"train": rows[n // 5 :], "val": rows[: n // 10], "test": rows[n // 10 : n // 5]}


def _outcomes(labels: Array, where: str) -> NDArray[np.int64]:
    if labels.shape[1] < N_OUTCOMES:
        raise DataError(
            f"{where}['adm_labels_all'] has {labels.shape[1]} columns; at least {N_OUTCOMES} are needed"
        )
    positive = labels[:, 1:N_OUTCOMES] > 0
    return np.where(positive.any(1), positive.argmax(1) + 1, 0).astype(np.int64)


def _diagnoses(labels: Array, where: str) -> dict[str, NDArray[np.int64]]:
    if labels.shape[1] < N_DIAGNOSES:
        raise DataError(f"{where}['y_icd9'] has {labels.shape[1]} columns; at least {N_DIAGNOSES} are needed")
    if not np.isin(labels[:, :N_DIAGNOSES], (0, 1)).all():
        raise DataError(f"{where}['y_icd9'] holds other numbers than 0 and 1")
    return {f"icd9_{k}": labels[:, k].astype(np.int64) for k in range(N_DIAGNOSES)}
