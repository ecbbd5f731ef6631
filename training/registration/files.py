"""The files of somebody's own data by their names, whether they lie in a folder or in an archive, and what names tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from training.errors import DataError
from training.registration.archives import MOST_MEMBERS, is_archive, is_hidden, members
from training.registration.blobs import Blob, Blobs
from training.registration.found import Ledger, Source
from training.spec.datasets import SplitName
from training.spec.registration import Description, Options

DESCRIPTION = "dataset.json"
MOST_DESCRIPTION_BYTES = 2**20
SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""What splits are called, in columns, folders and names of files."""


def files_of(source: Source) -> Blobs:
    """All files of a folder or an archive, or the file itself, by name. Raises DataError."""
    path = source.path
    if not path.is_file():
        return _of_folder(path)
    blob = Blob.of(path)
    if not is_archive(blob):
        return {path.name: blob}
    found = members(blob, path.name, source.spool)
    if not found:
        raise DataError(f"{path.name} is empty; pack the files into it")
    return _without_common_folder(found)


def described(files: Blobs, options: Options) -> Options:
    """What `dataset.json` says, where whoever registers the data has not said otherwise. Raises DataError."""
    if DESCRIPTION not in files:
        return options
    blob = files[DESCRIPTION]
    content = blob.read() if blob.size <= MOST_DESCRIPTION_BYTES else b""
    try:
        said = Description.model_validate(json.loads(content.decode("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{DESCRIPTION}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{DESCRIPTION} is not a JSON object in UTF-8") from None
    return options.model_copy(
        update={
            name: getattr(said, name)
            for name in said.model_fields_set
            if name not in options.model_fields_set
        }
    )


def split_named(text: str) -> SplitName | None:
    return SPLIT_WORDS.get(text.strip().lower())


def split_of(name: str, *, by_file: bool) -> SplitName | None:
    """The split that one of a file's folders is called after, or its own name begins with: val/1.tar, train-00001.tar."""
    *folders, file = PurePosixPath(name).parts
    own = SPLIT_WORDS.get(re.split(r"[^a-z]", file.lower(), maxsplit=1)[0]) if by_file else None
    return own or next((split for each in folders if (split := split_named(each))), None)


def splits_of(names: Iterable[str], ledger: Ledger, *, by_file: bool) -> list[SplitName] | None:
    """One for each name; None when they do not tell, or tell of one split only."""
    found = [split_of(name, by_file=by_file) for name in names]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        if known:
            ledger.note(
                f"{len(known):,} of {len(found):,} files are in a folder or have a name that says a split; as not all "
                "do, that was not looked at"
            )
        return None
    if len(set(known)) == 1:
        ledger.note(f"all files are said to be for {known[0]}; the samples were split anew")
        return None
    return known or None


def _of_folder(folder: Path) -> Blobs:
    """Links to files are followed, for that is how some tools keep what they have downloaded; links to folders are not."""
    found: dict[str, Blob] = {}
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            name = PurePosixPath(path.relative_to(folder).as_posix())
            if is_hidden(name):
                continue
            if path.is_dir() and not path.is_symlink():
                waiting.append(path)
            elif path.is_file():
                found[name.as_posix()] = Blob.of(path)
        if len(found) > MOST_MEMBERS:
            raise DataError(
                f"{folder.name} has more than {MOST_MEMBERS:,} files; pack them as webdataset or parquet"
            )
    if not found:
        raise DataError(f"there is no file in {folder}")
    return dict(sorted(found.items()))


def _without_common_folder(files: Blobs) -> Blobs:
    """People pack a folder as often as what is in it. A folder that names a split stays."""
    parts = [PurePosixPath(name).parts for name in files]
    first = parts[0][0]
    if any(len(each) < 2 or each[0] != first for each in parts) or split_named(first):
        return files
    return {"/".join(each[1:]): blob for each, blob in zip(parts, files.values(), strict=True)}


def ending_with(files: Blobs, endings: Sequence[str]) -> Blobs:
    return {name: blob for name, blob in files.items() if name.lower().endswith(tuple(endings))}
