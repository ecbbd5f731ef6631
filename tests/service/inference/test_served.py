"""A published model in memory: encoded apart, fused together, in the precision that was asked for, and as it was exported."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from models_store.manifest import Manifest, Precision
from models_store.store import DamagedModelError, ModelStore
from service.errors import InvalidError, NotFoundError
from service.inference.graphs import Graphs, SplitGraphs, WholeGraph
from service.inference.keys import keyed
from service.inference.models import Models
from service.inference.prepare import Sample
from service.inference.served import PrecisionError, Served, load
from service.inference.tokens import Tokens
from tests.service.conftest import Exported, Published, publish

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, exported: Exported) -> Published:
    return publish(ModelStore(str(tmp_path_factory.mktemp("store"))), exported)


@pytest.fixture(scope="module")
def fp32(published: Published) -> Served:
    return load(published.store, published.captions)


@pytest.fixture(scope="module")
def int8(published: Published) -> Served:
    return load(published.store, published.captions, "int8")


def image() -> NDArray[np.float32]:
    return RANDOM.standard_normal((1, 8, 8)).astype(np.float32)


def text(words: int) -> NDArray[np.int64]:
    return RANDOM.integers(2, 40, words)


def mixed() -> list[Sample]:
    """Of every signature, with texts of several lengths."""
    return [
        Sample({"image": image(), "text": text(3)}),
        Sample({"text": text(1)}),
        Sample({"image": image()}),
        Sample({"text": text(9), "image": image()}),
        Sample({"text": text(5)}),
    ]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_vector_is_the_same_alone_and_beside_any_others(
    precision: str, request: pytest.FixtureRequest
) -> None:
    served: Served = request.getfixturevalue(precision)
    samples = mixed()
    together = served.run(samples)
    alone = np.concatenate([served.run([each]) for each in samples])
    assert np.abs(together - alone).max() <= 1e-5
    assert np.abs(together - served.run(samples[::-1])[::-1]).max() <= 1e-5


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_batch_that_runs_alone_has_more_threads_and_the_same_vectors(
    published: Published, precision: Precision
) -> None:
    served = load(published.store, published.captions, precision, threads_alone=3)
    samples, ran = mixed(), list[tuple[str, int]]()
    assert served.width == 3
    assert isinstance(served.wide, SplitGraphs)
    assert {each.get_session_options().intra_op_num_threads for each in sessions_of(served.wide)} == {3}
    assert {each.get_session_options().intra_op_num_threads for each in sessions_of(served.graphs)} == {1}
    assert np.abs(served.run(samples, alone=True) - served.run(samples)).max() <= 1e-6
    counting(served, ran).run(samples, alone=True)
    assert ran == [], "it was the other sessions that ran"


def test_more_threads_read_nothing_twice(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(digest: str, file: str) -> bytes:
        asked.append(file)
        return ModelStore.read(published.store, digest, file)

    monkeypatch.setattr(published.store, "read", read)
    load(published.store, published.captions, threads_alone=2)
    assert len(asked) == len(set(asked)) > 3


def sessions_of(graphs: Graphs) -> list[onnxruntime.InferenceSession]:
    assert isinstance(graphs, SplitGraphs)
    return [*graphs.encoders.values(), graphs.fusion]


def test_one_thread_needs_the_weights_once(fp32: Served) -> None:
    assert (fp32.wide, fp32.width) == (None, 1)
    samples = mixed()
    assert np.array_equal(fp32.run(samples, alone=True), fp32.run(samples))


def counting(served: Served, ran: list[tuple[str, int]], **changes: Any) -> Served:
    """The same, which notes the encoders that run and on how many samples."""
    assert isinstance(served.graphs, SplitGraphs)

    class Counting:
        def __init__(self, name: str, session: Any) -> None:
            self.name, self.session = name, session

        def run(self, outputs: Sequence[str], feed: dict[str, Any]) -> Any:
            ran.append((self.name, len(feed[self.name])))
            return self.session.run(outputs, feed)

    encoders: Any = {name: Counting(name, session) for name, session in served.graphs.encoders.items()}
    return replace(served, graphs=replace(served.graphs, encoders=encoders), **changes)


def test_an_encoder_runs_on_those_samples_only_that_have_its_modality(fp32: Served) -> None:
    ran: list[tuple[str, int]] = []
    counted = counting(fp32, ran)
    counted.run(mixed())
    counted.run([Sample({"text": text(2)}), Sample({"text": text(3)})])
    assert ran == [("image", 3), ("text", 4), ("text", 2)]


def test_what_was_encoded_once_is_fused_again_with_something_else(fp32: Served) -> None:
    picture, one, two = image(), text(4), text(7)
    (seen,) = fp32.graphs.encode("image", [picture])
    read = fp32.graphs.encode("text", [one, two])
    fused = fp32.graphs.fuse(
        [{"image": seen, "text": read[0]}, {"image": seen, "text": read[1]}, {"image": seen}]
    )
    expected = fp32.run(
        [
            Sample({"image": picture, "text": one}),
            Sample({"image": picture, "text": two}),
            Sample({"image": picture}),
        ]
    )
    assert np.abs(fused - expected).max() <= 1e-5
    assert [len(each) for each in read] == [4, 7], "a shorter text's padding is not kept"
    assert all(each.base is None for each in (seen, *read)), "nothing keeps a whole batch in memory"


@pytest.mark.parametrize(("max_bytes", "runs_later"), [(2**20, 0), (0, 1)])
def test_one_image_with_many_texts_is_encoded_once(fp32: Served, max_bytes: int, runs_later: int) -> None:
    ran: list[tuple[str, int]] = []
    images = Tokens(max_bytes)
    counted = counting(fp32, ran, images=images)
    picture = image()
    pairs = [Sample({"image": picture, "text": text(length)}) for length in (2, 3, 4)]
    samples = [keyed(fp32, each).sample for each in [*pairs, Sample({"image": image()})]]
    assert np.abs(counted.run(samples) - fp32.run(samples)).max() <= 1e-5
    assert ran == [("image", 2), ("text", 3)], "in one batch"
    ran.clear()
    assert np.abs(counted.run(samples[:1]) - fp32.run(samples[:1])).max() <= 1e-5
    assert [each for each in ran if each[1]] == [("image", 1)] * runs_later + [("text", 1)], "and later"
    assert images.held_bytes <= max_bytes


def test_the_parts_say_what_the_whole_says(published: Published, exported: Exported, fp32: Served) -> None:
    old = published.store.publish(old_form(exported.captions, published.store))
    whole = load(published.store, old)
    assert isinstance(whole.graphs, WholeGraph)
    samples = mixed()
    assert np.abs(whole.run(samples) - fp32.run(samples)).max() <= 1e-5
    with pytest.raises(PrecisionError, match="not to be had in int8; ask for fp32"):
        load(published.store, old, "int8")


def old_form(bundle: Path, store: ModelStore) -> Path:
    """A bundle as it was before there was more than the whole network, with a manifest of that time."""
    folder = bundle.parent / "old-form"
    folder.mkdir(exist_ok=True)
    content = json.loads((bundle / "manifest.json").read_bytes())
    for later in ("variants", "withheld", "golden", "quality"):
        del content[later]
    del content["source"]["dataset_sha256"]
    content["files"] = {name: content["files"][name] for name in ("model.onnx", "tokenizer.json")}
    for file in content["files"]:
        shutil.copyfile(bundle / file, folder / file)
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def test_int8_is_near_fp32_and_not_the_same(fp32: Served, int8: Served) -> None:
    samples = mixed()
    one, two = fp32.run(samples), int8.run(samples)
    cosine = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert cosine.min() > 0.99
    assert np.abs(one - two).max() > 1e-5
    told = int8.manifest.variant("int8")
    assert told is not None
    assert told.closeness is not None
    assert told.closeness.min_cosine > 0.99


@pytest.fixture
def tampered(exported: Exported, tmp_path: Path) -> Callable[[str], Path]:
    """A bundle in which a weight of a file was changed, and the manifest says that it should be so."""

    def change(file: str) -> Path:
        folder = tmp_path / file
        shutil.copytree(exported.captions, folder)
        graph = onnx.load_model(folder / file)
        tensor = max(graph.graph.initializer, key=lambda each: len(each.raw_data))
        weights = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.roll(weights, 1, axis=-1), tensor.name))
        onnx.save_model(graph, folder / file)
        content = json.loads((folder / "manifest.json").read_bytes())
        content["files"][file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(content))
        return folder

    return change


@pytest.mark.parametrize(
    ("file", "precision"),
    [("fusion.onnx", "fp32"), ("encoder-text.onnx", "fp32"), ("fusion.int8.onnx", "int8")],
)
def test_a_model_that_cannot_reproduce_its_own_vectors_is_refused(
    file: str, precision: Precision, tampered: Callable[[str], Path], tmp_path: Path
) -> None:
    store = ModelStore(str(tmp_path / "store"))
    digest = store.publish(tampered(file))
    with pytest.raises(DamagedModelError, match="cannot reproduce its own vectors here"):
        load(store, digest, precision)
    load(store, digest, "int8" if precision == "fp32" else "fp32")


def found(published: Published, *asked: tuple[str, Precision | None], most: int = 4) -> list[Any]:
    async def ask() -> list[Any]:
        models = Models(published.store, most)
        try:
            return [await models.find(*each) for each in asked] + [models.loaded]
        finally:
            models.close()

    return asyncio.run(ask())


def test_a_model_is_found_in_fp32_or_in_the_precision_that_was_asked_for(published: Published) -> None:
    usual, same, other, loaded = found(
        published, ("captions", None), ("captions@1", "fp32"), ("captions", "int8")
    )
    assert [each.precision for _, each in (usual, same, other)] == ["fp32", "fp32", "int8"]
    assert usual[1] is same[1]
    assert {label for label, _ in (usual, same, other)} == {"captions@1"}
    assert loaded == [published.captions, f"{published.captions}/int8"]


def test_a_precision_counts_as_a_model_in_memory(published: Published) -> None:
    assert found(published, ("captions", None), ("captions", "int8"), most=1)[-1] == [
        f"{published.captions}/int8"
    ]


def test_a_precision_that_is_not_there_is_refused_with_those_that_are(published: Published) -> None:
    with pytest.raises(
        InvalidError, match="captions is not to be had in fp16; ask for fp32 or int8"
    ) as caught:
        found(published, ("captions", "fp16"))
    assert caught.value.code == "precision_not_available"
    assert [each.pointer for each in caught.value.faults] == ["/precision"]
    with pytest.raises(NotFoundError):
        found(published, ("nothing", "int8"))


def test_what_was_withheld_is_refused_with_the_reason(
    exported: Exported, tmp_path: Path, published: Published
) -> None:
    folder = tmp_path / "withheld"
    shutil.copytree(exported.captions, folder)
    content = json.loads((folder / "manifest.json").read_bytes())
    content["variants"] = content["variants"][:1]
    content["withheld"] = [{"precision": "int8", "reason": "it is too far from fp32"}]
    (folder / "manifest.json").write_text(Manifest.model_validate(content).model_dump_json())
    digest = published.store.publish(folder)
    with pytest.raises(InvalidError, match="not to be had in int8: it is too far from fp32; ask for fp32"):
        found(published, (digest, "int8"))


def test_a_tokenizer_that_cannot_be_read_here_makes_a_damaged_model(
    exported: Exported, tmp_path: Path
) -> None:
    class Newer(ModelStore):
        def read(self, digest: str, file: str) -> bytes:
            content = super().read(digest, file)
            return b'{"version": "2.0"}' if "tokenizer" in file else content

    store = Newer(str(tmp_path))
    with pytest.raises(DamagedModelError, match="the tokenizer of model"):
        load(store, publish(store, exported).captions)
