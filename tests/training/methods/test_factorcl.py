"""FactorCL: one pass over all pairs equals a loop, each turn moves its own parameters, and parts are hidden as asked."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.methods.batches import START, batch, built, tiny
from tests.training.towers import image_tower
from training.data.captions import MASK_ID
from training.losses.factorcl import lower_bound, upper_bound
from training.methods.conditional import highest, without_shared
from training.methods.factorcl import TERMS, FactorCL
from training.modules.critics import ConcatCritic
from training.modules.encoders import ColumnsEncoder, PretrainedImageEncoder
from training.modules.patches import patchify
from training.modules.pooling import Pooled
from training.optim import build_optimizer
from training.spec import Modality, Optim
from training.spec.encoders import PretrainedImage

CRITICS_TURN = START._replace(turn=1)


def method_and_spec(form: str = "captions", **options: object) -> tuple[FactorCL, object]:
    spec = tiny("factorcl", form, **options)
    method = built(spec)
    assert isinstance(method, FactorCL)
    return method, spec


def scores_by_pairs(critic: ConcatCritic, x: Tensor, y: Tensor) -> Tensor:
    """Every pair by itself, both vectors side by side."""
    rows = [
        torch.stack([critic.rest(critic.first(torch.cat([x[j], y[i]])))[0] for j in range(len(x))])
        for i in range(len(y))
    ]
    return torch.stack(rows)


def test_a_critic_scores_all_pairs_as_it_scores_each() -> None:
    critic = ConcatCritic(3, 5, 8).double()
    x, y = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    assert torch.allclose(critic(x, y), scores_by_pairs(critic, x, y), atol=1e-12)


@pytest.mark.parametrize("form", ["pairs", "captions"])
def test_the_loss_equals_its_terms_written_out(form: str) -> None:
    method, spec = method_and_spec(form)
    given = batch(method, spec, 5)
    names = [modality.name for modality in method.modalities]
    encoded = [[method.pooled[name](view[name]) for name in names] for view in given.views]

    def seen(term: str, view: int, modality: int) -> Tensor:
        out: Tensor = method.projections[term][modality](encoded[view][modality])
        return out

    def bound(kind: object, critic: str, x: Tensor, y: Tensor) -> float:
        return kind(scores_by_pairs(method.critics[critic], x, y)).item()

    def both(term: str, modality: int) -> Tensor:
        return torch.cat([seen(term, 0, modality), seen(term, 1, modality)], dim=1)

    expected = {
        "shared": -bound(lower_bound, "shared", seen("shared", 0, 0), seen("shared", 0, 1)),
        "shared_upper": bound(
            upper_bound, "shared_upper", seen("shared_upper", 0, 0), seen("shared_upper", 0, 1)
        ),
        "unique_1": -bound(lower_bound, "unique_1", seen("unique", 0, 0), seen("unique", 1, 0)),
        "unique_2": -bound(lower_bound, "unique_2", seen("unique", 0, 1), seen("unique", 1, 1)),
        "conditional": -bound(lower_bound, "conditional", both("conditional", 0), both("conditional", 1)),
        "conditional_upper": bound(
            upper_bound, "conditional_upper", both("conditional_upper", 0), both("conditional_upper", 1)
        ),
    }
    loss, terms = method(given, START)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert loss.item() == pytest.approx(sum(expected.values()), rel=1e-9)


def moved(method: FactorCL, spec: object, turn: int) -> set[str]:
    before = {name: value.clone() for name, value in method.state_dict().items()}
    optimizer = build_optimizer(method, Optim(lr=1e-3, weight_decay=0.1))
    optimizer.zero_grad()
    method(batch(method, spec, 8), START._replace(turn=turn)).loss.backward()
    optimizer.step()
    return {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}


def test_the_upper_bounds_critics_learn_in_a_turn_of_their_own_and_nothing_else_does() -> None:
    method, spec = method_and_spec()
    upper = {
        name
        for name in method.state_dict()
        if name.startswith(("critics.shared_upper", "critics.conditional_upper"))
    }
    assert moved(method, spec, turn=0) == set(method.state_dict()) - upper
    assert moved(method, spec, turn=1) == upper


def test_an_upper_bound_still_reaches_the_representation() -> None:
    method, spec = method_and_spec()
    terms = method(batch(method, spec, 8), START).terms
    terms["shared_upper"].backward()
    assert all(each.grad is not None for each in method.projections["shared_upper"].parameters())
    assert all(each.grad is None for each in method.critics.parameters())


def test_critics_that_make_no_difference_find_nothing() -> None:
    method, spec = method_and_spec()
    with torch.no_grad():
        for critic in method.critics.values():
            critic.rest[-1].weight.zero_()
    for when in (START, CRITICS_TURN):
        loss, terms = method(batch(method, spec, 8), when)
        assert loss.item() == pytest.approx(0, abs=1e-12)
        assert all(term.item() == pytest.approx(0, abs=1e-12) for term in terms.values())


def test_critics_learn_to_tell_what_belongs_together() -> None:
    torch.manual_seed(0)
    critic = ConcatCritic(4, 4, 32).double()
    x = torch.randn(16, 4, dtype=torch.float64)
    y = x @ torch.randn(4, 4, dtype=torch.float64)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        bound = lower_bound(critic(x, y))
        (-bound).backward()
        optimizer.step()
    assert 1 < bound.item() <= math.log(16)


def test_critics_may_take_several_steps() -> None:
    method, _ = method_and_spec(critic_steps=3)
    assert method.turns == 4


def test_the_embedding_is_every_terms_view_of_every_modality() -> None:
    method, spec = method_and_spec()
    view = batch(method, spec, 3).views[0]
    image, text = method.encoded(view)
    expected = [method.projections[term][m](each) for m, each in enumerate((image, text)) for term in TERMS]
    present = torch.ones(3, 2, dtype=torch.bool)
    assert torch.allclose(method.embed(view, present), torch.cat(expected, dim=1), atol=1e-12)


@pytest.mark.parametrize("form", ["pairs", "captions"])
def test_conditional_augmentation_changes_the_second_modality_alone(form: str) -> None:
    method, spec = method_and_spec(form, augmentation="conditional")
    plain, augmented = batch(method, spec, 6).views
    changed = method.without_shared(plain, augmented)
    one, two = (modality.name for modality in method.modalities)
    assert torch.equal(changed[one], augmented[one])
    assert not torch.equal(changed[two], augmented[two])
    other = 0.0 if method.modalities[1].kind == "image" else MASK_ID
    assert (changed[two][changed[two] != augmented[two]] == other).all()


@pytest.mark.parametrize("form", ["affect", "clinical"])
def test_conditional_augmentation_hides_whole_steps_of_a_sequence(form: str) -> None:
    method, spec = method_and_spec(form, augmentation="conditional")
    plain, augmented = batch(method, spec, 6).views
    changed = method.without_shared(plain, augmented)
    one, two = (modality.name for modality in method.modalities)
    assert torch.equal(changed[one], augmented[one])
    there = (augmented[two] != 0).any(-1)
    hidden = there & (changed[two] == 0).all(-1)
    assert torch.equal(changed[two], augmented[two] * ~hidden[..., None])
    share = (there.sum(1) * 0.25).round().clamp_min(1)
    assert hidden.sum(1).tolist() == torch.minimum(share, there.sum(1) - 1).tolist()


def test_of_a_table_the_columns_are_hidden_that_speak_for_the_first_modality() -> None:
    table = Modality(name="table", kind="table", features=8)
    pooled = Pooled(ColumnsEncoder(8))
    x = torch.rand(5, 8) + 1
    hidden = without_shared(
        table, x, pooled, lambda vector: vector[:, 3] - vector[:, 0] + vector[:, 6] / 9, 0.25
    )
    assert (hidden == 0).nonzero()[:, 1].tolist() == [3, 6] * 5


def test_of_an_image_whose_parts_know_of_all_others_the_pixels_tell_what_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSEBOX_PRETRAINED_DIR", str(tmp_path))
    image_tower(tmp_path / "vit", "vit")
    pooled = Pooled(PretrainedImageEncoder(PretrainedImage(source="vit", output="pooled"), 16))
    image = Modality(name="image", kind="image", channels=3, size=16)
    x = torch.randn(3, 3, 16, 16)
    changed = without_shared(image, x, pooled, lambda vector: vector[:, 0], 0.25)
    covered = patchify(changed == 0, 4).all(-1)
    assert covered.sum(1).tolist() == [4, 4, 4]
    assert torch.equal(patchify(changed, 4)[~covered], patchify(x, 4)[~covered])


def test_conditional_augmentation_hides_what_speaks_for_the_first_modality() -> None:
    """A score that reads one place alone: that place is hidden in all samples, a quarter of the places altogether."""
    method, spec = method_and_spec("pairs")
    image = batch(method, spec, 4).views[0]["image2"]
    tower = method.pooled["image2"]
    assert isinstance(tower, Pooled)
    with torch.no_grad():  # the pooled vector's first number grows with the features of place 5
        tower.latent.weight.zero_()
        tower.latent.weight.view(tower.width, 16, -1)[0, 5] = 1.0
    hidden = without_shared(method.modalities[1], image, tower, lambda pooled: pooled[:, 0], 0.25)
    places = (hidden == 0).view(4, 4, 2, 4, 2).all(4).all(2).flatten(1)  # a 4 × 4 grid over 8 × 8 pixels
    assert places[:, 5].all()
    assert places.sum(1).tolist() == [4] * 4


def test_the_highest_are_taken_of_what_is_there_and_one_is_always_left() -> None:
    values = torch.tensor([[3.0, 1.0, 9.0, 2.0], [3.0, 1.0, 9.0, 2.0], [3.0, 1.0, 9.0, 2.0]])
    there = torch.tensor([[True, True, False, True], [True, False, False, False], [True, True, True, True]])
    assert highest(values, there, 0.25).tolist() == [
        [True, False, False, False],
        [False, False, False, False],
        [False, False, True, False],
    ]
    assert highest(values, there, 0.99).sum(1).tolist() == [2, 0, 3]
