"""FactorCL (arXiv:2306.05268): what two modalities share and what is unique to each, learned apart and kept side by side.

Each term of the loss has its own projection of each modality and its own critic. Lower bounds of information are
maximised, upper bounds minimised. An upper bound is one only with the critic that fits best, so the critics of the upper
bounds are constant while the representation learns; after each of its steps they learn, by their own loss, in a turn of
their own. Only x′ is augmented. The embedding is all projections of all modalities.

What differs from the published code, beside its encoders: a critic takes its arguments in one order wherever it is called
(there the upper bounds exchange them); and all parameters share one optimizer, where there thirteen of equal rate stand.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from training.losses import Loss, critics, factorcl
from training.methods.conditional import without_shared
from training.methods.method import Batch, Encoded, Features, Inputs, When
from training.methods.towers import TowerMethod, as_token
from training.modules.critics import ConcatCritic
from training.modules.pooling import Pooled
from training.spec import FactorCL as FactorCLSpec
from training.spec import TrainSpec

TERMS = ("shared", "shared_upper", "unique", "conditional", "conditional_upper")


class FactorCL(TowerMethod):
    views = ("plain", "full")

    def __init__(self, spec: TrainSpec, vocabulary: int) -> None:
        super().__init__(spec, vocabulary)
        assert isinstance(spec.method, FactorCLSpec)
        self.options = spec.method
        self.turns = 1 + self.options.critic_steps
        one, two = self.widths
        hidden = self.options.critic_hidden
        self.projections = nn.ModuleDict(
            {term: nn.ModuleList([_projection(one), _projection(two)]) for term in TERMS}
        )
        self.critics = nn.ModuleDict(
            {
                "shared": ConcatCritic(one, two, hidden),
                "shared_upper": ConcatCritic(one, two, hidden),
                "unique_1": ConcatCritic(one, one, hidden),
                "unique_2": ConcatCritic(two, two, hidden),
                "conditional": ConcatCritic(2 * one, 2 * two, hidden),
                "conditional_upper": ConcatCritic(2 * one, 2 * two, hidden),
            }
        )
        self.embedding_dim = len(TERMS) * (one + two)

    def features(self, batch: Batch, when: When) -> Features:
        """By term and modality, the projections (2, B, width) of x and of its augmentation x′.

        In a turn of the critics, these are given and learn nothing.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and when.turn == 0):
            plain, augmented = batch.views
            if self.options.augmentation == "conditional":
                augmented = self.without_shared(plain, augmented)
            encoded = self.encoded_views([plain, augmented])
            return {
                f"{term}_{m}": each
                for term in TERMS
                for m, each in enumerate(self.project(term, encoded), start=1)
            }

    def loss(self, features: Features, labels: Mapping[str, Tensor], when: When) -> Loss:
        pairs = {term: [features[f"{term}_1"], features[f"{term}_2"]] for term in TERMS}
        if when.turn > 0:
            return self.critics_loss(pairs)
        (x1, x1_new), (x2, x2_new) = pairs["unique"]
        return factorcl(
            shared=self.critics["shared"](*_plain(pairs["shared"])),
            shared_upper=_constant(self.critics["shared_upper"], *_plain(pairs["shared_upper"])),
            unique_1=self.critics["unique_1"](x1, x1_new),
            unique_2=self.critics["unique_2"](x2, x2_new),
            conditional=self.critics["conditional"](*_joined(pairs["conditional"])),
            conditional_upper=_constant(
                self.critics["conditional_upper"], *_joined(pairs["conditional_upper"])
            ),
        )

    def critics_loss(self, pairs: Mapping[str, list[Tensor]]) -> Loss:
        """Reaches the critics of the upper bounds and nothing else."""
        return critics(
            self.critics["shared_upper"](*_plain(pairs["shared_upper"])),
            self.critics["conditional_upper"](*_joined(pairs["conditional_upper"])),
        )

    def encode(self, name: str, raw: Tensor) -> Encoded:
        pooled = self.pooled[name](raw)
        place = [each.name for each in self.modalities].index(name)
        return as_token(torch.cat([self.heads_of(term)[place](pooled) for term in TERMS], dim=1))

    def project(self, term: str, encoded: list[Tensor]) -> list[Tensor]:
        """Both modalities (…, width) as a term sees them."""
        return [head(each) for head, each in zip(self.heads_of(term), encoded, strict=True)]

    def heads_of(self, term: str) -> nn.ModuleList:
        """A term's projections, of the first modality and of the second."""
        heads = self.projections[term]
        assert isinstance(heads, nn.ModuleList)
        return heads

    def without_shared(self, plain: Inputs, augmented: Inputs) -> Inputs:
        """The augmented views, the second modality without what the first tells of it already."""
        one, two = (each.name for each in self.modalities)
        tower = self.pooled[two]
        assert isinstance(tower, Pooled)
        with torch.no_grad():
            first = self.pooled[one](plain[one])

        def score(second: Tensor) -> Tensor:
            return self.critics["shared"](*self.project("shared", [first, second])).diagonal()

        changed = without_shared(self.modalities[1], augmented[two], tower, score, self.options.hidden_share)
        return {**augmented, two: changed}


def _projection(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


def _plain(projected: list[Tensor]) -> list[Tensor]:
    """x₁ and x₂, (B, width) each."""
    return [each[0] for each in projected]


def _joined(projected: list[Tensor]) -> list[Tensor]:
    """x₁x₁′ and x₂x₂′, (B, 2 · width) each."""
    return [torch.cat([*each], dim=1) for each in projected]


def _constant(critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The critic's scores (B, B), whose gradient reaches x and y but not the critic."""
    parameters = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    scores: Tensor = functional_call(critic, parameters, (x, y))
    return scores
