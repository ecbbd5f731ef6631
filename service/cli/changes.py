"""`--set PATH=VALUE`: changes of a spec on the command line."""

from __future__ import annotations

import copy
import json

from service.client import ClientError, Json


def changed(spec: Json, changes: list[str]) -> Json:
    """The spec with `PATH=VALUE` set in it, e.g. `optim.lr=0.001`. A value is JSON, or else a string."""
    changed: Json = copy.deepcopy(spec)
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not all(path.split(".")):
            raise ClientError(f"--set {change}: give PATH=VALUE, e.g. seed=43 or optim.lr=1e-3")
        *folders, last = path.split(".")
        place = changed
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise ClientError(
                    f"--set {change}: {folder} is a plain value in the spec, nothing lies in it"
                )
        try:
            place[last] = json.loads(text)
        except ValueError:
            place[last] = text
    return changed
