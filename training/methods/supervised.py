"""Supervised: the fusion learns the tasks' labels. Not a method of the tables but what they could at most reach.

Encoders and fusion are those of the other methods, each task has one linear head on the embedding, and all count alike.
Views are cropped and not distorted further, for a label may be a colour. What is reported is not the heads' accuracy but
that of the same linear probes that every method gets.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from training.losses import Loss, supervised
from training.methods.method import Batch, Features, FusedMethod, When
from training.spec import Supervised as SupervisedSpec
from training.spec import TrainSpec


class Supervised(FusedMethod):
    views = ("crop",)

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, SupervisedSpec)
        classes = {task.name: task.classes for task in spec.dataset.tasks}
        self.tasks = spec.method.tasks or tuple(classes)
        self.heads = nn.ModuleList(nn.Linear(self.embedding_dim, classes[name]) for name in self.tasks)

    def features(self, batch: Batch, when: When) -> Features:
        embedding = self.fused(batch.views[0])
        return {name: head(embedding) for name, head in zip(self.tasks, self.heads, strict=True)}

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        return supervised(features, labels)
