"""Registering one dataset: read it, check it, keep it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.errors import DataError
from training.events import Event, Unusable
from training.registration.blobs import Spool
from training.registration.formats import FORMATS
from training.registration.found import Ledger, Source
from training.registration.limits import sizes
from training.registration.shelf import keep
from training.spec.registration import OWN_FORMATS, REGISTERED, Format, Options


def register(
    made_from: Format, path: Path, datasets_dir: Path, options: Options, tell: Callable[[Event], None]
) -> str:
    """Returns the dataset's sha256, under which it lies below `datasets_dir`. Raises DataError; what was dropped by then
    has been told."""
    reader = FORMATS[made_from]
    if options.image_size is not None and reader.image_size is None:
        raise DataError(f"{made_from} has no images; leave --image-size out")
    if made_from not in OWN_FORMATS and options.model_fields_set - {"image_size"}:
        raise DataError(f"{made_from} is as it was published; only --image-size can be chosen")
    if not path.exists():
        raise DataError(f"there is no {path}")
    ledger = Ledger(tell)
    image_size = options.image_size or reader.image_size or 0
    try:
        with Spool(datasets_dir / REGISTERED, sizes(path)[1]) as spool:
            found = reader.read(Source(path, ledger, spool, image_size, options))
            return keep(found, made_from, datasets_dir)
    except DataError:
        for each in ledger.dropped:
            tell(Unusable(reason=each.reason, count=each.count, ids=each.ids))
        raise
