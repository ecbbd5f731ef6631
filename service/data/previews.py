"""Previews of datasets: what samples look like as they are kept and as views. The service reads them; a worker has them
made by the trainer (`service.worker.previewer`), because only that knows how views are made.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.orm import Session

from service.data import datasets
from service.errors import InvalidError, NotFoundError
from service.schemas.previews import PreviewOut, SampleSeenOut, SeenOut
from service.schemas.samples import ImageShown, SequenceShown, Shown, TableShown, TextShown
from service.settings import Settings
from service.tables import Dataset
from training.spec import DATASETS, DatasetSpec, Form, Modality, Registered
from training.spec.preview import (
    PREVIEW,
    Preview,
    Seen,
    Steps,
    always_there,
    folder_of,
    image_file,
    read,
    whole,
)


def preview(session: Session, settings: Settings, name: str, form: Form | None) -> PreviewOut:
    """Raises NotFoundError, also when nobody has made it yet, and InvalidError for a form of a registered dataset."""
    spec = spec_of(session, name, form)
    folder = folder_of(settings.datasets_dir, spec)
    found = _read(folder, name)
    asked = "" if isinstance(spec, Registered) else f"?form={spec.form}"

    def seen(modality: Modality, sample: int, k: int, content: Seen) -> Shown:
        url = f"/v1/datasets/{name}/preview/{sample}/{modality.name}/{k}.png{asked}"
        return _shown(modality, content, url)

    return PreviewOut(
        dataset=name,
        form=spec.form,
        digest=folder.name,
        modalities=list(found.modalities),
        splits=dict(found.splits),
        labels={task: {split: dict(each) for split, each in of.items()} for task, of in found.labels.items()},
        samples=[
            SampleSeenOut(
                row=sample.row,
                labels={task: _listed(label) for task, label in sample.labels.items()},
                modalities={
                    each.name: _seen_out(
                        [seen(each, i, k, it) for k, it in enumerate(sample.modalities[each.name])]
                    )
                    for each in found.modalities
                },
            )
            for i, sample in enumerate(found.samples)
        ],
    )


def image(
    session: Session, settings: Settings, name: str, form: Form | None, sample: int, modality: str, k: int
) -> tuple[bytes, str]:
    """A PNG, and what it can be remembered by. Raises as `preview` does."""
    folder = folder_of(settings.datasets_dir, spec_of(session, name, form))
    found = _read(folder, name)
    if modality not in [each.name for each in found.modalities if each.kind == "image"]:
        raise NotFoundError.of("image", modality[:60], f"GET /v1/datasets/{name} lists the modalities")
    try:
        content = (folder / image_file(sample, modality, k)).read_bytes()
    except OSError:
        raise NotFoundError.of(
            "sample", str(sample), f"the preview has the samples 0 to {len(found.samples) - 1}"
        ) from None
    return content, f"{folder.name}-{sample}-{modality}-{k}"


def made(settings: Settings, row: Dataset | None, name: str) -> list[str]:
    """The forms of which there are previews, as one asks for them. Raises ConflictError when another version registered
    the dataset."""
    specs = always_there(name) if row is None else (shown_of(row),)
    return [each.form for each in specs if (folder_of(settings.datasets_dir, each) / PREVIEW).is_file()]


def spec_of(session: Session, name: str, form: Form | None) -> DatasetSpec:
    """Of what the preview is. Raises NotFoundError, InvalidError for a form of a registered dataset, or ConflictError when another version registered it."""
    if name in DATASETS:
        return next(each for each in always_there(name) if form in (None, each.form))
    row = datasets.named(session, name)
    if form is not None:
        raise InvalidError.at(
            "/query/form",
            "no_such_form",
            f"the preview of {name!r} shows all that its samples have; leave `form` out",
        )
    return shown_of(row)


def shown_of(row: Dataset) -> Registered:
    """Raises ConflictError when another version registered it."""
    return whole(Registered(name=row.name, sha256=row.sha256 or "", card=datasets.card_of(row)))


def _read(folder: Path, name: str) -> Preview:
    try:
        return read(folder)
    except (OSError, ValidationError):
        raise NotFoundError(
            "no_preview",
            f"there is no preview of {name!r} yet; a worker makes it soon after a dataset is registered, and when it has "
            "had nothing to do for a while for those that are always there. Start a worker, or see its log for why not",
        ) from None


def _seen_out(shown: list[Shown]) -> SeenOut:
    return SeenOut(kept=shown[0], views=shown[1:])


def _shown(modality: Modality, content: Seen, url: str) -> Shown:
    match content:
        case None:
            return ImageShown(url=url)
        case str():
            return TextShown(texts=[content])
        case Steps():
            shown = [list(step) for step in content.values]
            cut = len(shown) < content.steps or len(shown[0]) < modality.features
            return SequenceShown(steps=content.steps, values=shown, cut=cut)
        case _:
            return TableShown(values=list(content), cut=len(content) < modality.features)


def _listed(label: str | tuple[str, ...] | tuple[float, ...]) -> str | list[str] | list[float]:
    return label if isinstance(label, str) else list(label)  # type: ignore[return-value]
