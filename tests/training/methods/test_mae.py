"""MAE: hidden pixels and words cannot reach the embedding, and the loss is the error of restoring them."""

from __future__ import annotations

import pytest
import torch

from tests.training.methods.batches import START, VOCABULARY, batch, built, tiny
from training.data.captions import MASK_ID
from training.losses import number_errors, word_errors
from training.methods import Batch
from training.methods.mae import MAE
from training.modules.masking import random_hidden
from training.modules.patches import normalised_patches, patchify
from training.spec import TrainSpec


def method_and_spec(form: str = "captions", **options: object) -> tuple[MAE, TrainSpec]:
    spec = tiny("mae", form, **options)
    method = built(spec)
    assert isinstance(method, MAE)
    return method, spec


def masks(method: MAE, view: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """The masks that a step with this seed draws."""
    torch.manual_seed(seed)
    return {each.name: random_hidden(method.parts(each, view[each.name]), 0.75) for each in method.modalities}


@pytest.mark.parametrize("form", ["pairs", "captions", "triples"])
def test_the_loss_is_the_mean_error_over_what_was_hidden_of_each_modality(form: str) -> None:
    method, spec = method_and_spec(form)
    (view,) = batch(method, spec, 5).views
    hidden = masks(method, view, seed=4)
    visible = {
        each.name: method.visible(each, view[each.name], hidden[each.name]) for each in method.modalities
    }
    embedding = method.embed(visible, torch.ones(5, len(visible), dtype=torch.bool))
    errors = []
    for modality in method.modalities:
        raw, decoder = view[modality.name], method.decoders[modality.name]
        told = decoder(embedding, hidden[modality.name].shape[1])
        if modality.kind == "text":
            assert told.shape == (5, 7, VOCABULARY)
            errors.append(word_errors(told, raw, hidden[modality.name]))
        else:
            assert told.shape == (5, 16, 4)  # 8 × 8 pixels in patches of 2 × 2
            errors.append(number_errors(told, normalised_patches(patchify(raw, 2)), hidden[modality.name]))

    torch.manual_seed(4)
    loss, terms = method(Batch([view], {}), START)
    assert [term.item() for term in terms.values()] == pytest.approx(
        [(each[:, 0].sum() / each[:, 1].sum()).item() for each in errors]
    )
    assert loss.item() == pytest.approx(sum(term.item() for term in terms.values()) / len(errors))


def test_hidden_pixels_and_words_have_no_influence_on_the_embedding() -> None:
    method, spec = method_and_spec()
    (view,) = batch(method, spec, 5).views
    hidden = masks(method, view, seed=4)
    elsewhere = patchify(view["image"], 2) + 5 * hidden["image"][..., None]
    image = elsewhere.view(5, 4, 4, 2, 2, 1).permute(0, 5, 1, 3, 2, 4).reshape(5, 1, 8, 8)
    words = torch.where(hidden["text"], (view["text"] + 3) % VOCABULARY + 2, view["text"])
    other = {"image": image, "text": words}
    assert not torch.equal(image, view["image"])
    assert not torch.equal(words, view["text"])

    one, two = (
        method.fused(
            {each.name: method.visible(each, raw[each.name], hidden[each.name]) for each in method.modalities}
        )
        for raw in (view, other)
    )
    assert torch.equal(one, two)


def test_hidden_pixels_take_the_mean_colour_and_hidden_words_the_mask_token() -> None:
    method, spec = method_and_spec()
    (view,) = batch(method, spec, 5).views
    hidden = masks(method, view, seed=4)
    image, text = (method.visible(each, view[each.name], hidden[each.name]) for each in method.modalities)
    assert (patchify(image, 2)[hidden["image"]] == 0).all()
    assert torch.equal(text == MASK_ID, hidden["text"])
    assert torch.equal(text == 0, view["text"] == 0)


@pytest.mark.parametrize("form", ["affect", "clinical", "robot"])
def test_hidden_steps_and_columns_have_no_influence_on_the_embedding(form: str) -> None:
    method, spec = method_and_spec(form)
    (view,) = batch(method, spec, 5).views
    hidden = masks(method, view, seed=4)

    def embedded(raw: dict[str, torch.Tensor]) -> torch.Tensor:
        return method.fused(
            {each.name: method.visible(each, raw[each.name], hidden[each.name]) for each in method.modalities}
        )

    other = dict(view)
    for modality in method.modalities:
        if modality.kind != "image":
            places = (
                hidden[modality.name].unsqueeze(-1) if modality.kind == "sequence" else hidden[modality.name]
            )
            other[modality.name] = view[modality.name] + 5 * places
            assert not torch.equal(other[modality.name], view[modality.name])
    assert torch.equal(embedded(view), embedded(other))


def with_scales(form: str, size: int) -> tuple[MAE, dict[str, torch.Tensor]]:
    """A method that has learned the scales of the one batch that is its training data, far from standard ones."""
    method, spec = method_and_spec(form)
    (view,) = batch(method, spec, size).views
    for modality in method.modalities:
        if modality.kind != "image":
            numbers = view[modality.name]
            view = {**view, modality.name: (numbers * 30 + 100) * (numbers != 0)}
    method.learn_scales(view, {})
    return method, view


@pytest.mark.parametrize("form", ["affect", "clinical"])
def test_hidden_steps_and_columns_take_the_training_datas_mean(form: str) -> None:
    method, view = with_scales(form, 6)
    hidden = masks(method, view, seed=4)
    for modality in method.modalities:
        raw = view[modality.name]
        changed = method.visible(modality, raw, hidden[modality.name])
        there = raw if modality.kind == "table" else raw[(raw != 0).any(-1)]
        places = hidden[modality.name]
        mean = there.mean(0).expand_as(changed)
        assert torch.allclose(changed[places], mean[places])
        assert torch.equal(changed[~places], raw[~places])


@pytest.mark.parametrize("form", ["affect", "clinical"])
def test_numbers_of_any_scale_cost_as_much_as_guessing_when_nothing_is_said_of_them(form: str) -> None:
    method, view = with_scales(form, 400)
    with torch.no_grad():
        for decoder in method.decoders.values():
            decoder.exit.weight.zero_()
            decoder.exit.bias.zero_()
    torch.manual_seed(0)
    _, terms = method(Batch([view], {}), START)
    assert all(term.item() == pytest.approx(1, abs=0.1) for term in terms.values())


def test_a_decoder_that_says_nothing_costs_as_much_as_guessing() -> None:
    method, spec = method_and_spec()
    with torch.no_grad():
        for decoder in method.decoders.values():
            decoder.exit.weight.zero_()
            decoder.exit.bias.zero_()
    _, terms = method(batch(method, spec, 16), START)
    assert terms["restore_text"].item() == pytest.approx(1, rel=1e-9)
    assert terms["restore_image"].item() == pytest.approx(1, abs=1e-3)


def test_each_modality_can_have_its_own_ratio() -> None:
    method, spec = method_and_spec(mask_ratio={"image": 0.5, "text": {"low": 0.2, "high": 0.9}})
    assert method(batch(method, spec, 4), START).loss.isfinite()


@pytest.mark.parametrize(("size", "side"), [(8, 2), (9, 3), (16, 4), (28, 7), (32, 8), (64, 16), (224, 16)])
def test_the_default_patch_divides_the_image(size: int, side: int) -> None:
    dataset = "trifeatures" if size > 64 else "digits"
    spec = TrainSpec.model_validate({"method": "mae", "dataset": {"name": dataset, "image_size": size}})
    assert spec.method.patch_of(spec.dataset.modalities[0]) == side
