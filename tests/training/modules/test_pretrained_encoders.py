"""Pretrained towers say here what they say in their own library, frozen ones stay as they are and lie in no checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training import towers
from tests.training.methods.batches import registered
from tests.training.runs import small
from tests.training.towers import PATCH, SIZE, WIDTH, image_tower, sentence_tower, text_tower
from training.errors import CheckpointError, DataError
from training.methods import Batch, Method, When, build_method
from training.modules.encoders import Encoder, PretrainedImageEncoder, PretrainedTextEncoder, encode
from training.modules.pooling import Pooled
from training.modules.tokens import Tokens
from training.optim import build_optimizer
from training.spec import Modality, Model, Optim
from training.spec.encoders import PretrainedImage, PretrainedText

IDS = torch.tensor([[2, 5, 6, 8, 3, 0, 0], [2, 7, 9, 3, 0, 0, 0]])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FUSEBOX_PRETRAINED_DIR", str(tmp_path))
    return tmp_path / "someone" / "tower"


def image_encoder(size: int = SIZE, **options: Any) -> PretrainedImageEncoder:
    return PretrainedImageEncoder(PretrainedImage(source="someone/tower", **options), size)


def text_encoder(max_tokens: int = 12, **options: Any) -> PretrainedTextEncoder:
    return PretrainedTextEncoder(PretrainedText(source="someone/tower", **options), max_tokens)


def one_vector(encoder: Encoder, x: Tensor) -> Tensor:
    parts = encoder(x)
    return encoder.summary(parts, encoder.there(x, parts))


def images(size: int = SIZE, n: int = 3) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(n, 3, size, size)


@torch.no_grad()
def test_a_vit_gives_its_last_features_and_as_one_vector_the_first_part(folder: Path) -> None:
    theirs = image_tower(folder, "vit")(pixel_values=images()).last_hidden_state
    assert torch.allclose(image_encoder()(images()), theirs, atol=1e-6)
    assert theirs.shape == (3, 1 + (SIZE // PATCH) ** 2, WIDTH)
    assert torch.allclose(one_vector(image_encoder(output="pooled"), images()), theirs[:, 0], atol=1e-6)
    assert torch.allclose(one_vector(image_encoder(), images()), theirs.mean(1), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["clip", "clip_vision", "clip_vision_alone"])
def test_clip_norms_all_parts_and_projects_the_first(folder: Path, kind: str) -> None:
    network = image_tower(folder, kind)
    vision = getattr(network, "vision_model", network)
    features = vision(pixel_values=images())
    parts = vision.post_layernorm(features.last_hidden_state)
    assert torch.allclose(image_encoder()(images()), parts, atol=1e-6)
    pooled = image_encoder(output="pooled")
    expected = features.pooler_output
    if kind != "clip_vision_alone":
        expected = network.visual_projection(expected)
    assert pooled.summary_width == expected.shape[1]
    assert torch.allclose(one_vector(pooled, images()), expected, atol=1e-6)


@torch.no_grad()
def test_a_resnets_parts_are_cells_and_their_mean_is_its_vector(folder: Path) -> None:
    theirs = image_tower(folder, "resnet").eval()(pixel_values=images(32))
    encoder = image_encoder(32).eval()
    assert torch.allclose(encoder(images(32)), theirs.last_hidden_state.flatten(2).transpose(1, 2), atol=1e-6)
    assert encoder.grid == theirs.last_hidden_state.shape[2:]
    assert torch.allclose(
        one_vector(image_encoder(32, output="pooled"), images(32)), theirs.pooler_output.flatten(1), atol=1e-6
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", ["vit", "clip_vision"])
def test_images_of_another_size_get_positions_between_the_towers_own(folder: Path, kind: str) -> None:
    network = image_tower(folder, kind)
    vision = getattr(network, "vision_model", network)
    theirs = vision(pixel_values=images(24), interpolate_pos_encoding=True).last_hidden_state
    parts = image_encoder(24)(images(24))
    assert parts.shape == (3, 37, WIDTH)
    assert torch.allclose(parts, theirs if kind == "vit" else vision.post_layernorm(theirs), atol=1e-6)


def test_images_that_patches_do_not_divide_are_refused(folder: Path) -> None:
    image_tower(folder, "vit")
    with pytest.raises(DataError, match="patches of 4 pixels, which do not divide the data's 18"):
        image_encoder(18)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["distilbert", "bert", "bert_mlm"])
def test_a_text_tower_gives_a_part_for_each_token_and_their_mean(folder: Path, kind: str) -> None:
    network = text_tower(folder, kind)
    network = getattr(network, "bert", network)
    theirs = network(input_ids=IDS, attention_mask=(IDS != 0).long()).last_hidden_state
    encoder = text_encoder().eval()
    assert torch.allclose(encoder(IDS), theirs, atol=1e-5)
    weights = (IDS != 0)[..., None]
    assert torch.allclose(one_vector(encoder, IDS), (theirs * weights).sum(1) / weights.sum(1), atol=1e-5)


@torch.no_grad()
def test_padding_has_no_influence_on_a_text_tower_and_nothing_but_padding_is_still_a_number(
    folder: Path,
) -> None:
    text_tower(folder)
    encoder = text_encoder().eval()
    assert torch.allclose(one_vector(encoder, IDS[:, :5]), one_vector(encoder, IDS), atol=1e-6)
    assert one_vector(encoder, torch.zeros(2, 4, dtype=torch.int64)).isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("network_in", ["", "0_Transformer"])
def test_a_sentence_tower_projects_the_mean_over_its_tokens(folder: Path, network_in: str) -> None:
    _, linear = sentence_tower(folder, network_in)
    tokens, pooled = text_encoder().eval(), text_encoder(output="pooled").eval()
    assert (tokens.summary_width, pooled.summary_width) == (WIDTH, 6)
    assert torch.allclose(one_vector(pooled, IDS), linear(one_vector(tokens, IDS)), atol=1e-6)


def modalities() -> tuple[Modality, ...]:
    return (
        Modality(name="image", kind="image", channels=3, size=SIZE),
        Modality(name="text", kind="text", max_tokens=7),
    )


def model(**options: Any) -> Model:
    tower = {"source": "someone/tower", **options}
    return Model.model_validate(
        {
            "dim": WIDTH,
            "heads": 2,
            "encoders": {
                "image": {"name": "pretrained_image", **tower, "source": "someone/image"},
                "text": {"name": "pretrained_text", **tower},
            },
        }
    )


@torch.no_grad()
@pytest.mark.parametrize(("output", "lengths"), [("tokens", [17, 7]), ("pooled", [1, 1])])
def test_a_towers_parts_are_tokens_or_its_vector_is_the_only_one(
    folder: Path, output: str, lengths: list[int]
) -> None:
    image_tower(folder.parent / "image", "clip_vision")
    sentence_tower(folder)
    tokens = Tokens(modalities(), model(output=output), 0).eval()
    made, there = tokens({"image": images(n=2), "text": IDS})
    assert [each.shape for each in made] == [(2, length, WIDTH) for length in lengths]
    assert there[1].sum(1).tolist() == ([5, 4] if output == "tokens" else [1, 1])
    encoder = tokens.encoder_of("image")
    assert Pooled(encoder).width == (WIDTH if output == "tokens" else 12)


def test_a_frozen_tower_gets_no_gradient_and_no_optimizer_and_a_tuned_one_does(folder: Path) -> None:
    image_tower(folder.parent / "image", "vit")
    text_tower(folder)
    for frozen in (True, False):
        tokens = Tokens(modalities(), model(frozen=frozen), 0)
        made, _ = tokens({"image": images(n=2), "text": IDS})
        if frozen:
            assert not any(each.requires_grad for each in made)
            assert build_optimizer_is_empty(tokens)
        else:
            sum(each.sum() for each in made).backward()
            learned = [each for each in tokens.parameters() if each.grad is not None]
            optimized = [
                p for group in build_optimizer(tokens, Optim()).param_groups for p in group["params"]
            ]
            assert len(learned) > 50
            assert {id(each) for each in learned} <= {id(each) for each in optimized}


def build_optimizer_is_empty(module: torch.nn.Module) -> bool:
    return not any(each.requires_grad for each in module.parameters())


def test_a_frozen_text_tower_keeps_its_dropout_while_training_and_a_frozen_image_tower_stays_still(
    folder: Path,
) -> None:
    image_tower(folder.parent / "image", "resnet")
    text_tower(folder)
    tokens = Tokens(modalities(), model(), 0)
    image, text = tokens.encoder_of("image"), tokens.encoder_of("text")
    for _ in range(2):  # as made, and again after an evaluation
        assert not torch.equal(text(IDS), text(IDS))
        before = copy.deepcopy(dict(image.named_buffers()))
        assert torch.equal(image(images()), image(images()))
        assert all(torch.equal(each, before[name]) for name, each in image.named_buffers())
        tokens.eval()
        assert torch.equal(text(IDS), text(IDS))
        tokens.train()


def test_a_tuned_resnet_sees_each_view_as_a_batch_of_its_own(folder: Path) -> None:
    image_tower(folder, "resnet")
    together, one_by_one = (image_encoder(32, frozen=False).double() for _ in range(2))
    views = [images(32).double() * (i + 1) for i in range(2)]
    fast = encode(together, torch.cat(views), 2)
    slow = torch.cat([one_by_one(view) for view in views])
    assert torch.allclose(fast, slow, atol=1e-12)
    for mine, theirs in zip(together.buffers(), one_by_one.buffers(), strict=True):
        assert torch.allclose(mine.double(), theirs.double(), atol=1e-12)


def test_a_frozen_towers_weights_lie_in_no_checkpoint_and_come_from_its_files_again(folder: Path) -> None:
    image_tower(folder.parent / "image", "vit")
    text_tower(folder)
    made = Tokens(modalities(), model(), 0)
    saved = {name: each.clone() for name, each in made.state_dict().items()}
    assert set(saved) == {"encoders.of.0.tower.sha256", "encoders.of.1.tower.sha256"}
    again = Tokens(modalities(), model(), 0)
    again.load_state_dict(saved)
    given = {"image": images(n=2), "text": IDS}
    for one, other in zip(made.eval()(given)[0], again.eval()(given)[0], strict=True):
        assert torch.equal(one, other)


def test_a_tuned_towers_weights_lie_in_the_checkpoint(folder: Path) -> None:
    image_tower(folder, "vit")
    encoder = image_encoder(frozen=False)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1)
    again = image_encoder(frozen=False)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(images()), encoder(images()))


def test_a_checkpoint_that_was_made_with_other_files_is_refused(folder: Path) -> None:
    image_tower(folder, "vit")
    saved = image_encoder().state_dict()
    network = image_tower(folder, "vit")
    with torch.no_grad():
        network.layernorm.bias.add_(1)
    towers.written(folder, network)
    with pytest.raises(
        CheckpointError, match="'someone/tower' are not those that this model was trained with"
    ):
        image_encoder().load_state_dict(saved)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "no readable config.json"),
        (lambda folder: (folder / "config.json").unlink(), "no readable config.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"nothing"), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"\*.safetensors is missing"),
        (lambda folder: text_tower(folder, "bert"), "of the type 'bert'; here such can be used: clip"),
    ],
)
def test_a_spoiled_tower_is_refused_and_the_answer_says_what_is_wrong(
    folder: Path, spoil: Any, words: str
) -> None:
    image_tower(folder, "vit")
    spoil(folder)
    with pytest.raises(DataError, match=words) as refused:
        image_encoder()
    assert str(folder.parent) not in str(refused.value)


def test_weights_that_lack_one_or_have_another_shape_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    image_tower(folder, "vit")
    weights = load_file(folder / "model.safetensors")
    name = next(each for each in weights if each.endswith("layernorm.bias"))
    save_file({key: each for key, each in weights.items() if key != name}, folder / "model.safetensors")
    with pytest.raises(DataError, match=r"lack layernorm\.bias"):
        image_encoder()
    save_file({**weights, name: torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(DataError, match="do not fit together"):
        image_encoder()


def test_a_text_tower_for_shorter_texts_than_the_datas_is_refused(folder: Path) -> None:
    text_tower(folder)
    with pytest.raises(DataError, match="reads at most 12 tokens, and the data's texts have up to 13"):
        text_encoder(13)


def test_a_tokenizer_with_more_words_than_the_weights_is_refused(folder: Path) -> None:
    text_tower(folder, tokenizer=towers.word_tokenizer([*towers.WORDS, "more"]))
    with pytest.raises(DataError, match="do not belong together"):
        text_encoder()


def test_a_projection_that_is_not_linear_is_refused_where_it_is_asked_for(folder: Path) -> None:
    sentence_tower(folder, activation_function="torch.nn.modules.activation.Tanh")
    assert text_encoder().width == WIDTH
    with pytest.raises(DataError, match="has the activation 'Tanh'"):
        text_encoder(output="pooled")


def test_a_run_with_frozen_towers_goes_on_from_a_checkpoint_as_if_undisturbed(folder: Path) -> None:
    image_tower(folder.parent / "image", "clip_vision")
    text_tower(folder)
    spec = small(
        method="comm",
        dataset=registered("some", [each.model_dump() for each in modalities()]),
        model=model().model_dump(),
    )

    def fresh() -> tuple[Method, torch.optim.Optimizer]:
        method = build_method(spec, 0)
        return method, build_optimizer(method, spec.optim)

    def step(method: Method, optimizer: torch.optim.Optimizer) -> None:
        views = [{"image": images(n=2), "text": IDS}] * 2
        optimizer.zero_grad()
        method(Batch(views, {}), When(0, 1)).loss.backward()
        optimizer.step()

    torch.manual_seed(0)
    method, optimizer = fresh()
    step(method, optimizer)
    saved = copy.deepcopy((method.state_dict(), optimizer.state_dict(), torch.get_rng_state()))
    step(method, optimizer)

    again, its_optimizer = fresh()
    again.load_state_dict(saved[0])
    its_optimizer.load_state_dict(saved[1])
    torch.set_rng_state(saved[2])
    step(again, its_optimizer)
    for name, value in method.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
