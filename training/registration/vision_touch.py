"""Vision & Touch: a robot puts a peg into a hole, and a camera, a force sensor and its joints look on.

A folder of HDF5 files, each an attempt of 50 steps: "image" (50, 128, 128, 3) uint8, some with the axes of each image
reversed; "ee_forces_continuous" (50, 50, 6), of which a step has the last 32 readings, through tanh; "proprio" (50, 8)
or more; "contact" (50, 50). A sample is a step t < 48 and what follows it: whether there is any contact at t + 1
(`contact`), and the first four numbers of proprio then (`ee_yaw_next`).

The published code shuffles the files by name with a fixed seed and takes the last fifth for the test. It draws every
49th sample of a file at random from the other 48, anew each time; under protocol `reference` it is drawn here once and
for all. There, validation and test are the same files. Under `strict` the last tenth of the training files is for
validation instead, and no sample comes twice. Depth and optical flow are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.registration.found import Found, Ledger, Rows, Source, Splits, Stream
from training.registration.images import resized
from training.spec import Modality, Protocol, Task, encoders

if TYPE_CHECKING:
    import h5py

STEPS, SAMPLES = 50, 48
"""Of a file. The last steps are only what follows others."""
READINGS, AXES, STATE, YAW = 32, 6, 8, 4
ORDER_SEED, DUPLICATE_SEED = 42, 42
LEAST_FILES = 5


def read_vision_touch(source: Source) -> Found:
    folder, ledger = source.path, source.ledger
    files = sorted(folder.glob("*.h5")) if folder.is_dir() else []
    if len(files) < LEAST_FILES:
        raise DataError(
            f"{folder} holds {len(files)} files *.h5; at least {LEAST_FILES} are needed, so that each split has one"
        )
    parts = [_read_small(path, place, len(files), ledger) for place, path in enumerate(files)]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    _drop_non_finite(joined, files, ledger)
    size = source.image_size
    return Found(
        modalities=(
            Modality(name="image", kind="image", channels=3, size=size, encoder=encoders.ResNet18()),
            Modality(
                name="force",
                kind="sequence",
                length=READINGS,
                features=AXES,
                encoder=encoders.Force(),
                changes=("noise", "drop"),
            ),
            Modality(
                name="proprioception",
                kind="table",
                features=STATE,
                encoder=encoders.Proprioception(),
                changes=("noise",),
            ),
        ),
        tasks=(
            Task(name="contact", family="other", classes=2),
            Task(name="ee_yaw_next", family="other", classes=YAW, type="regression"),
        ),
        contents={
            "image": Stream(
                (len(files) * SAMPLES, 3, size, size), np.dtype(np.uint8), _frames(files, size, ledger)
            ),
            "force": joined["force"],
            "proprioception": joined["state"],
        },
        labels={"contact": joined["contact"], "ee_yaw_next": joined["yaw"]},
        splits=_splits(len(files)),
        ledger=ledger,
        files=files,
        classes={"contact": ("no contact", "contact")},
        default_tasks=("contact",),
        default_modalities=("image", "proprioception"),
    )


def _read_small(path: Path, place: int, total: int, ledger: Ledger) -> dict[str, NDArray[Any]]:
    """All of a file but its images, whose shape alone is looked at."""
    with _opened(path) as file:
        _dataset(file, path, "image", ((STEPS, None, None, 3), (STEPS, 3, None, None)))
        forces = _dataset(file, path, "ee_forces_continuous", ((STEPS, None, AXES),))
        state = _dataset(file, path, "proprio", ((STEPS, None),))
        contact = _dataset(file, path, "contact", ((STEPS, None),))
        if forces.shape[1] < READINGS or state.shape[1] < STATE:
            raise DataError(
                f"{path.name} has ee_forces_continuous {forces.shape} and proprio {state.shape}; at least {READINGS} "
                f"readings and {STATE} numbers a step are needed"
            )
        now, after = slice(0, SAMPLES), slice(1, SAMPLES + 1)
        small = {
            "force": np.tanh(forces[now, -READINGS:]).astype(np.float32),
            "state": state[now, :STATE].astype(np.float32),
            "yaw": state[after, :YAW].astype(np.float32),
            "contact": (contact[after].sum(1) > 0).astype(np.int64),
        }
    ledger.progress("reading sensors", place + 1, total)
    return small


def _frames(files: Sequence[Path], size: int, ledger: Ledger) -> Iterator[NDArray[np.uint8]]:
    for place, path in enumerate(files):
        with _opened(path) as file:
            frames = file["image"][:SAMPLES]
        if frames.dtype != np.uint8:
            raise DataError(f"{path.name} has images of {frames.dtype}; they must be uint8")
        if frames.shape[1] == 3:
            frames = frames.transpose(0, 3, 2, 1)
        yield np.stack([resized(frame, size) for frame in frames])
        ledger.progress("reading images", place + 1, len(files))


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Raises DataError when it cannot be read, now or later."""
    try:
        import h5py  # only this format needs it
    except ImportError:
        raise DataError(
            "this format needs the package h5py; install Fusebox with the extra 'train'"
        ) from None
    try:
        with h5py.File(path, "r", swmr=True, libver="latest") as file:
            # As files are opened that somebody may still be writing, the library takes what is missing for zeros.
            if file.id.get_filesize() > path.stat().st_size:
                raise OSError("cut off")
            yield file
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{path.name} is not a whole HDF5 file ({_first_line(error)}); download it again"
        ) from None


def _dataset(file: h5py.File, path: Path, key: str, shapes: Sequence[tuple[int | None, ...]]) -> Any:
    """The dataset, not yet read, of one of these shapes, None being any number within reason."""
    if key not in file:
        raise DataError(f"{path.name} has no {key!r}; it has {', '.join(sorted(file)[:20]) or 'nothing'}")
    shape = getattr(file[key], "shape", ())
    if not any(_fits(shape, wanted) for wanted in shapes):
        listed = " or ".join(str(wanted).replace("None", "any") for wanted in shapes)
        raise DataError(f"{path.name} has {key!r} of the shape {shape}; it must be {listed}")
    return file[key]


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    sides = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(
        0 < side <= 1024 and want in (None, side) for side, want in sides
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:80]


def _drop_non_finite(joined: dict[str, NDArray[Any]], files: Sequence[Path], ledger: Ledger) -> None:
    finite = np.logical_and.reduce(
        [np.isfinite(joined[key]).reshape(len(joined[key]), -1).all(1) for key in ("force", "state", "yaw")]
    )
    for row in np.flatnonzero(~finite).tolist():
        name = f"{files[row // SAMPLES].name}[{row % SAMPLES}]"
        ledger.drop(row, name, "its force or proprioception, now or next, holds NaN or infinity")


def _splits(n_files: int) -> dict[Protocol, Splits]:
    order = np.arange(n_files)
    np.random.default_rng(ORDER_SEED).shuffle(order)
    train, test = np.split(order, [n_files - int(0.2 * n_files)])
    n_val = max(1, len(train) // 10)
    with_duplicates = np.random.default_rng(DUPLICATE_SEED)
    published = {"train": _rows(train, with_duplicates), "test": _rows(test, with_duplicates)}
    return {
        "reference": {"train": published["train"], "val": published["test"], "test": published["test"]},
        "strict": {"train": _rows(train[:-n_val]), "val": _rows(train[-n_val:]), "test": _rows(test)},
    }


def _rows(files: NDArray[np.int64], duplicates: np.random.Generator | None = None) -> Rows:
    """Of these files all samples, and one of each drawn once more where there is something to draw with."""
    rows = files[:, None] * SAMPLES + np.arange(SAMPLES)
    if duplicates is not None:
        again = files * SAMPLES + duplicates.integers(0, SAMPLES, len(files))
        rows = np.concatenate([rows, again[:, None]], axis=1)
    return rows.reshape(-1)
