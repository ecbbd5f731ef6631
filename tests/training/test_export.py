"""An exported graph says what torch says, for any batch, any lengths and any modalities that are there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from models_store.manifest import ImageInput, Input, Manifest, SequenceInput, TableInput, TextInput
from tests.training.methods import batches
from tests.training.methods.batches import REGISTERED as FORMS
from tests.training.methods.batches import TINY
from tests.training.methods.test_exportable import manifest_input
from tests.training.registration.fixtures import WRITERS, registered
from tests.training.runs import done, made, of_type, small
from training.data import load_for
from training.events import Done, Exported, Message
from training.export.graphs import encoder_graph, fusion_graph
from training.export.held_out import cosines
from training.export.inputs import described, shortened
from training.export.network import Network
from training.export.variants import write_variant
from training.methods import build_method
from training.run_dir import EXIT_FAILED, RunDir
from training.spec import ExportSpec, Protocol
from training.spec.registration import REGISTERED, Format, scale_file

PARTS = ("encoder-image", "encoder-text", "fusion")


def exported(folder: Path, **changes: Any) -> RunDir:
    assert done("fit", made(folder / "model", small(epochs=1, **changes))) == 0
    # After one epoch a probe hangs on differences that int8 rounds away.
    run_dir = made(folder / "export", ExportSpec(run="model", name="small", max_score_drop=1))
    assert done("export", run_dir) == 0
    return run_dir


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return exported(tmp_path_factory.mktemp("captions"), dataset={"form": "captions"})


def test_a_published_graph_answers_within_the_tolerance_for_every_subset(captions: RunDir) -> None:
    assert_parity(captions)


def test_the_graph_of_a_method_without_fusion_does_too(tmp_path: Path) -> None:
    assert_parity(exported(tmp_path, method="cross", dataset={"form": "captions"}))


def assert_parity(run_dir: RunDir) -> None:
    manifest = Manifest.model_validate_json((run_dir.export / "manifest.json").read_bytes())
    assert manifest.parity.max_abs_diff <= 1e-4
    assert manifest.parity.batch_sizes == (1, 2, 17)
    assert manifest.parity.subsets == (("image",), ("text",), ("image", "text"))
    assert [each.max_abs_diff for each in of_type(run_dir, Exported)] == [manifest.parity.max_abs_diff]


@pytest.mark.slow
def test_two_fusion_blocks_and_three_modalities_export(tmp_path: Path) -> None:
    run_dir = exported(tmp_path, dataset={"form": "triples"}, model={"layers": 2})
    manifest = Manifest.model_validate_json((run_dir.export / "manifest.json").read_bytes())
    assert len(manifest.parity.subsets) == 7


def test_the_manifest_names_every_file_by_its_content(captions: RunDir) -> None:
    run_dir = captions
    manifest = Manifest.model_validate_json((run_dir.export / "manifest.json").read_bytes())
    on_disk = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run_dir.export.iterdir()
        if path.name != "manifest.json"
    }
    assert manifest.files == on_disk
    parts = {f"{part}{precision}.onnx" for part in PARTS for precision in ("", ".int8")}
    assert set(on_disk) == {"model.onnx", "tokenizer.json", "golden.npz"} | parts


def test_what_is_absent_or_padding_has_no_influence_on_the_embedding(captions: RunDir) -> None:
    run_dir = captions
    session = onnxruntime.InferenceSession(run_dir.export / "model.onnx", providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    image = random.standard_normal((2, 1, 8, 8)).astype(np.float32)
    image[1] = image[0]
    text = np.array([[5, 6, 7, 0], [9, 8, 0, 0]])

    def fused(text: np.ndarray, present: list[bool]) -> np.ndarray:
        feed = {"image": image, "text": text, "present": np.array([present, present])}
        answer: np.ndarray = session.run(["fused"], feed)[0]
        return answer

    without_text = fused(text, [True, False])
    assert np.abs(without_text[0] - without_text[1]).max() < 1e-6
    longer = np.pad(text, ((0, 0), (0, 3)))
    assert np.abs(fused(text, [True, True]) - fused(longer, [True, True])).max() < 1e-5
    assert np.abs(fused(text, [True, True])[0] - fused(text, [True, True])[1]).max() > 1e-3


@pytest.mark.slow
def test_a_model_that_differs_from_torch_is_not_published(tmp_path: Path) -> None:
    assert done("fit", made(tmp_path / "model", small(epochs=1))) == 0
    run_dir = made(tmp_path / "export", ExportSpec(run="model", name="small", tolerance=1e-12))
    assert done("export", run_dir) == EXIT_FAILED
    last = list(of_type(run_dir, Done))[-1]
    assert last.code == "parity"
    assert "larger tolerance" in last.text
    assert not (run_dir.export / "manifest.json").exists()


def inputs_of(
    folder: Path, made_from: Format, protocol: Protocol = "strict", **options: Any
) -> tuple[Input, ...]:
    """As a manifest of a model of such data describes them."""
    dataset = registered(made_from, WRITERS[made_from](folder / "in"), folder / "datasets", **options)
    trained = small(dataset=dataset, protocol=protocol, batch_size=4)
    data = load_for(trained, folder / "datasets")
    return tuple(described(each, data, trained) for each in dataset.modalities)


def test_sequences_are_described_as_they_are_measured(tmp_path: Path) -> None:
    vision, text = inputs_of(tmp_path, "mosi")
    assert vision == SequenceInput(name="vision", features=20, max_steps=50, fixed_steps=False)
    assert text == SequenceInput(name="text", features=300, max_steps=50, fixed_steps=False)


def test_the_published_code_knows_no_padding_and_so_no_other_length(tmp_path: Path) -> None:
    for each in inputs_of(tmp_path, "mosi", "reference"):
        assert isinstance(each, SequenceInput)
        assert each.fixed_steps


@pytest.mark.parametrize("protocol", ["strict", "reference"])
def test_numbers_are_standardised_as_the_training_was(tmp_path: Path, protocol: Protocol) -> None:
    static, series = inputs_of(tmp_path, "mimic", protocol)
    assert isinstance(static, TableInput)
    assert isinstance(series, SequenceInput)
    (folder,) = (tmp_path / "datasets" / REGISTERED).iterdir()
    for each, features in ((static, 5), (series, 12)):
        mean, deviation = np.load(folder / scale_file(protocol, each.name))
        assert each.features == features
        assert each.mean == tuple(mean)
        assert each.std == tuple(deviation)


def test_a_robots_senses_are_described_each_in_its_way(tmp_path: Path) -> None:
    everything = ("image", "force", "proprioception")
    image, force, state = inputs_of(tmp_path, "vision_touch", image_size=32, use=everything)
    assert force == SequenceInput(name="force", features=6, max_steps=32, fixed_steps=True)
    assert state == TableInput(name="proprioception", features=8)
    assert isinstance(image, ImageInput)
    assert (image.fit, image.background, image.width) == ("cover", None, 32)


def test_lengths_are_compared_short_and_long_and_each_beside_another() -> None:
    first, second = (SequenceInput(name=name, features=1, max_steps=9, fixed_steps=False) for name in "ab")
    text, fixed = TextInput(name="t", max_tokens=9, pad_id=0), force()
    inputs = {name: torch.zeros(2, 9, 1) for name in ("a", "b", "t", "force")}

    def lengths(*inputs_described: Input) -> list[tuple[int, ...]]:
        given = {each.name: inputs[each.name] for each in inputs_described}
        return [
            tuple(tensor.shape[1] for tensor in cut.values()) for cut in shortened(given, inputs_described)
        ]

    assert lengths(fixed) == [(9,)]
    assert lengths(first, fixed) == [(9, 9), (1, 9), (5, 9)]
    assert lengths(first, second) == [(9, 9), (1, 5), (5, 9), (9, 1)]
    assert lengths(first, fixed, text) == [(9, 9, 9), (1, 9, 5), (5, 9, 9), (9, 9, 1)]


def force() -> SequenceInput:
    return SequenceInput(name="force", features=1, max_steps=9, fixed_steps=True)


def manifest_of(run_dir: RunDir) -> Manifest:
    return Manifest.model_validate_json((run_dir.export / "manifest.json").read_bytes())


def test_every_precision_says_how_far_it_is_from_fp32(captions: RunDir) -> None:
    manifest = manifest_of(captions)
    assert manifest.precisions == ("fp32", "int8")
    fp32, int8 = manifest.variants
    assert fp32.closeness is None
    assert int8.closeness is not None
    assert 0 < int8.closeness.max_abs_diff < 0.5
    assert 0.99 <= int8.closeness.min_cosine < 1
    (change,) = int8.closeness.scores.values()
    assert manifest.quality is not None
    assert change.fp32 == manifest.quality.subsets[-1].scores["digit"].value


def test_the_quality_of_every_subset_of_modalities_is_told(captions: RunDir) -> None:
    quality = manifest_of(captions).quality
    assert quality is not None
    assert [each.modalities for each in quality.subsets] == [("image",), ("text",), ("image", "text")]
    *parts, whole = quality.subsets
    assert (whole.mean_cosine, whole.min_cosine) == pytest.approx((1, 1))
    for each in parts:
        assert each.min_cosine < each.mean_cosine < 1
        assert each.scores["digit"].value < whole.scores["digit"].value
    assert 0 < quality.samples <= 512
    assert 0 < quality.fitted_on <= 2000


def test_golden_vectors_are_those_of_the_whole_graph(captions: RunDir) -> None:
    golden = manifest_of(captions).golden
    assert golden is not None
    session = onnxruntime.InferenceSession(captions.export / "model.onnx", providers=["CPUExecutionProvider"])
    with np.load(captions.export / golden.file) as file:
        arrays = dict(file)
    assert arrays["vectors.int8"].shape == arrays["vectors.fp32"].shape
    for subset, vectors in zip(golden.subsets, arrays["vectors.fp32"], strict=True):
        present = np.array([[name in subset for name in ("image", "text")]])
        for row in range(golden.samples):
            feed = {name: arrays[f"inputs.{row}.{name}"][None] for name in ("image", "text")}
            fused = session.run(["fused"], {**feed, "present": present})[0][0]
            assert np.abs(fused - vectors[row]).max() <= 1e-5


def test_graphs_tell_nothing_of_the_machine_they_were_made_on(captions: RunDir) -> None:
    for graph in captions.export.glob("*.onnx"):
        assert str(Path.cwd()).encode() not in graph.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ({"min_cosine": 0.9999999, "max_score_drop": 1}, ["cosine", "less than 1", "smaller min_cosine"]),
        ({}, ["macro_accuracy", "'digit' falls", "by more than 0.02", "larger max_score_drop"]),
    ],
)
def test_a_precision_that_is_too_far_from_fp32_is_withheld_and_the_rest_is_published(
    captions: RunDir, bound: dict[str, float], words: list[str]
) -> None:
    spec = ExportSpec.model_validate(
        {"run": "model", "name": "small", "precisions": ["int8", "fp16", "fp32"], **bound}
    )
    run_dir = made(captions.path.parent / f"stricter-{words[0]}", spec)
    assert done("export", run_dir) == 0
    manifest = manifest_of(run_dir)
    assert "int8" not in manifest.precisions
    (reason,) = [each.reason for each in manifest.withheld if each.precision == "int8"]
    assert all(each in reason for each in words)
    assert not list(run_dir.export.glob("*.int8.onnx"))
    assert any(f"int8 is withheld: {reason}" == each.text for each in of_type(run_dir, Message))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "form"), [("comm", "affect"), ("comm", "clinical"), ("comm", "robot"), ("cmc", "affect")]
)
def test_all_encoders_have_int8_and_fp16(form: str, method: str, tmp_path: Path) -> None:
    spec = small(method={"name": method, **TINY[method]}, dataset=batches.registered("some", FORMS[form]))
    network = build_method(spec, 0).eval()
    given = {name: tensor.float() for name, tensor in batches.inputs(spec, 5).items()}
    described = [manifest_input(each) for each in network.modalities]
    encoders = {each.name: encoder_graph(network, each, given[each.name][:2]) for each in described}
    widths = {name: network.encode(name, given[name]).tokens.shape[-1] for name in encoders}
    fusion = fusion_graph(network, widths)
    arrays = {name: tensor.numpy() for name, tensor in given.items()}
    ours = network.embed(given, torch.ones(5, len(given), dtype=torch.bool)).detach().numpy()
    for precision, least in (("fp32", 1 - 1e-6), ("int8", 0.95), ("fp16", 0.999)):
        variant = write_variant(tmp_path, precision, encoders, fusion)  # type: ignore[arg-type]
        vectors = Network(tmp_path, variant, described).vectors(arrays, [tuple(given)])[0]
        assert cosines(vectors, ours).min() > least
