"""What holds for every method: it learns from any batch, moves all its parameters, and embeds one sample at a time."""

from __future__ import annotations

import pytest
import torch

from tests.training.methods.batches import ADMITTED, START, batch, built, inputs, permuted, tiny
from training.methods import METHODS
from training.spec import METHODS as SPECS
from training.spec import Model

every_method = pytest.mark.parametrize(("name", "form"), ADMITTED)
every_method_on_pairs = pytest.mark.parametrize(
    ("name", "form"),
    [pytest.param(*each, marks=[] if each[1] == "pairs" else pytest.mark.slow) for each in ADMITTED],
)
"""And on all other data in `make test-all`: what does not depend on the kind of data, and takes long."""


def test_every_method_that_can_be_asked_for_is_there() -> None:
    assert list(METHODS) == list(SPECS)


def test_only_the_supervised_upper_bound_is_given_labels() -> None:
    assert [name for name, form in ADMITTED if form == "pairs" and built(tiny(name, form)).tasks] == [
        "supervised"
    ]


@every_method
@pytest.mark.parametrize("size", [2, 65])
def test_a_batch_of_any_size_gives_a_finite_loss(name: str, form: str, size: int) -> None:
    spec = tiny(name, form)
    method = built(spec)
    for turn in range(method.turns):
        loss, terms = method(batch(method, spec, size), START._replace(turn=turn))
        assert loss.isfinite()
        assert all(term.isfinite() for term in terms.values())


@every_method
def test_every_parameter_gets_a_gradient_but_the_mask_token_where_nothing_is_masked(
    name: str, form: str
) -> None:
    spec = tiny(name, form)
    method = built(spec)
    for turn in range(method.turns):
        method(batch(method, spec, 8), START._replace(turn=turn)).loss.backward()
    without = [each for each, parameter in method.named_parameters() if parameter.grad is None]
    assert set(without) <= ({"fusion.mask_token"} if name != "infmasking" else set())


@every_method_on_pairs
def test_one_step_lowers_the_loss_it_follows(name: str, form: str) -> None:
    spec = tiny(name, form)
    method = built(spec)
    given = batch(method, spec, 16)
    for turn in range(method.turns):
        optimizer = torch.optim.SGD(method.parameters(), lr=1e-3)
        when = START._replace(turn=turn)
        torch.manual_seed(2)  # the same masks before and after
        before = method(given, when).loss
        optimizer.zero_grad()
        before.backward()
        optimizer.step()
        torch.manual_seed(2)
        assert method(given, when).loss < before


@every_method_on_pairs
def test_the_order_of_the_samples_does_not_matter(name: str, form: str) -> None:
    if name == "mae":
        pytest.skip("a sample's mask is drawn by its place, and something must be hidden")
    spec = tiny(name, form, **({"mask_ratio": 0.0} if name == "infmasking" else {}))
    method = built(spec)
    given = batch(method, spec, 9)
    shuffled = permuted(given, torch.randperm(9))
    assert method(given, START).loss.item() == pytest.approx(method(shuffled, START).loss.item(), rel=1e-10)


@every_method
def test_a_sample_is_embedded_as_if_it_were_alone(name: str, form: str) -> None:
    spec = tiny(name, form)
    method = built(spec).eval()
    several = inputs(spec, 5)
    present = torch.ones(5, len(method.modalities), dtype=torch.bool)
    together = method.embed(several, present)
    alone = method.embed({each: values[2:3] for each, values in several.items()}, present[:1])
    assert together.shape == (5, method.embedding_dim)
    assert torch.allclose(together[2], alone[0], atol=1e-12)


@every_method
def test_an_absent_modality_has_no_influence_and_a_present_one_has(name: str, form: str) -> None:
    spec = tiny(name, form)
    method = built(spec).eval()
    torch.manual_seed(3)
    some, others = inputs(spec, 4), inputs(spec, 4)
    for m, modality in enumerate(method.modalities):
        changed = {**some, modality.name: others[modality.name]}
        present = torch.ones(4, len(method.modalities), dtype=torch.bool)
        assert not torch.allclose(method.embed(some, present), method.embed(changed, present))
        present[:, m] = False
        assert torch.equal(method.embed(some, present), method.embed(changed, present))


@pytest.mark.parametrize("encoder", ["vit", pytest.param("resnet18", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    [
        each if each in ("infmasking", "slip") else pytest.param(each, marks=pytest.mark.slow)
        for each in METHODS
    ],
)
def test_every_method_takes_other_image_encoders(name: str, encoder: str) -> None:
    """With batch-norms, whose running statistics embed, and without."""
    spec = tiny(name).model_copy(update={"model": Model(dim=16, heads=2, encoder=encoder)})
    method = built(spec)
    method(batch(method, spec, 4), START).loss.backward()
    method.eval()
    some = inputs(spec, 3)
    present = torch.ones(3, len(method.modalities), dtype=torch.bool)
    alone = method.embed({each: values[1:2] for each, values in some.items()}, present[:1])
    assert torch.allclose(method.embed(some, present)[1], alone[0], atol=1e-10)


@every_method_on_pairs
def test_under_bfloat16_the_loss_is_still_float32_and_finite(name: str, form: str) -> None:
    spec = tiny(name, form)
    method = built(spec).float()
    given = batch(method, spec, 8)
    views = [
        {each: values.float() if values.is_floating_point() else values for each, values in view.items()}
        for view in given.views
    ]
    for turn in range(method.turns):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = method(given._replace(views=views), START._replace(turn=turn)).loss
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        loss.backward()
