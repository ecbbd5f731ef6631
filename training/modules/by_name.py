"""Modules by the names of modalities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn


class ByName(nn.Module):
    """A fixed mapping. A name may be anything, also what a torch module calls one of its own: `values`, `type`."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._places = {name: place for place, name in enumerate(modules)}
        self.of = nn.ModuleList(modules.values())

    def __getitem__(self, name: str) -> nn.Module:
        return self.of[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def values(self) -> Iterator[nn.Module]:
        return iter(self.of)
