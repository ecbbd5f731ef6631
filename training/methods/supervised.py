"""Supervised: the fusion learns the tasks' labels. Not a method of the tables but what they could at most reach.

Encoders and fusion are those of the other methods, each task has one linear head on the embedding, and all count alike:
classes by cross-entropy, labels of which any may be by binary cross-entropy, numbers by the squared error after both
sides are standardised with the training targets' mean and deviation. Views are cropped and not distorted further, for a
label may be a colour. What is reported is not how well the heads do but the same linear probes that every method gets.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from training.losses import Loss, supervised
from training.methods.method import Batch, Features, FusedMethod, Inputs, When
from training.modules.by_name import ByName
from training.modules.scaling import Scale
from training.spec import Supervised as SupervisedSpec
from training.spec import TrainSpec


class Supervised(FusedMethod):
    views = ("crop",)

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, SupervisedSpec)
        have = {task.name: task for task in spec.dataset.tasks}
        self.tasks = spec.method.tasks or tuple(have)
        self.types = {name: have[name].type for name in self.tasks}
        self.heads = nn.ModuleList(nn.Linear(self.embedding_dim, have[name].classes) for name in self.tasks)
        numbers = [name for name, type_ in self.types.items() if type_ == "regression"]
        self.scales = ByName({name: Scale(have[name].classes) for name in numbers})

    def learn_scales(self, inputs: Inputs, labels: Mapping[str, Tensor]) -> None:
        for name in self.scales:
            scale = self.scales[name]
            assert isinstance(scale, Scale)
            scale.learn(labels[name])

    def features(self, batch: Batch, when: When) -> Features:
        embedding = self.fused(batch.views[0])
        return {name: head(embedding) for name, head in zip(self.tasks, self.heads, strict=True)}

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        standardised = {name: self.scales[name](labels[name]) for name in self.scales}
        return supervised(features, {**labels, **standardised}, self.types)
