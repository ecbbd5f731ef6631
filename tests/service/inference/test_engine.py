"""From a reference and inputs to vectors: the right ones, for everybody, whatever else is going on."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from models_store.manifest import Manifest
from models_store.store import ModelStore
from service.data import asset_files
from service.errors import DeadlineError, InvalidError, NotFoundError, OverloadedError, UnavailableError
from service.inference import serving_on
from service.inference.engine import InferenceEngine
from service.inference.prepare import AssetRef, Given
from service.settings import Settings
from tests.models_store.bundles import bundle
from tests.service.conftest import Exported, publish
from tests.service.inference import measured
from tests.service.inference.measured import STATIC
from tests.service.inference.networks import Doubling, samples
from tests.service.pictures import base64_png, noise, truncated_png

Vectors = NDArray[np.float32]


class CountingStore(ModelStore):
    """Counts what is asked of it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: Counter[str] = Counter()
        self.slow_s = 0.0

    def read(self, digest: str, file: str) -> bytes:
        self.asked[file] += 1
        time.sleep(self.slow_s)
        return super().read(digest, file)

    def resolve(self, reference: str) -> str:
        self.asked["resolve"] += 1
        time.sleep(self.slow_s)
        return super().resolve(reference)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """These tests need no database."""
    return Settings(data_dir=tmp_path, inference_threads=1, inference_max_wait_s=60)


@pytest.fixture
def store(settings: Settings, exported: Exported) -> CountingStore:
    store = CountingStore(settings.models_url)
    publish(store, exported)
    return store


@asynccontextmanager
async def running(store: ModelStore, settings: Settings) -> AsyncIterator[InferenceEngine]:
    engine = InferenceEngine(store, settings)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def with_engine(
    store: ModelStore, settings: Settings, work: Callable[[InferenceEngine], Coroutine[Any, Any, Any]]
) -> Any:
    async def run() -> Any:
        async with running(store, settings) as engine:
            return await work(engine)

    return asyncio.run(run())


def given(*inputs: Mapping[str, str | AssetRef]) -> list[Given]:
    return [Given(values, f"/inputs/{index}") for index, values in enumerate(inputs)]


async def embed(engine: InferenceEngine, model: str, *inputs: Mapping[str, str | AssetRef]) -> Vectors:
    found = await engine.find(model)
    _, vectors = await engine.embed(found, given(*inputs))
    return vectors


async def gathered(engine: InferenceEngine, calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The answers to calls that all came while one batch was computed."""
    ahead = Doubling()
    engine.batcher.submit(ahead, samples(1))
    answers = asyncio.gather(*calls)
    while engine.batcher.waiting < len(calls):
        await asyncio.sleep(0.001)
    ahead.may_go_on.set()
    return await answers


def all_of(calls: Sequence[Awaitable[Any]]) -> Awaitable[list[Any]]:
    return asyncio.gather(*calls)


@pytest.mark.parametrize(
    ("threads", "alone", "width"),
    [(1, 0, 1), (2, 0, 2), (9, 0, 8), (2, 1, 1), (1, 3, 3)],
    ids=["one thread", "as many", "but no more than eight", "told not to", "told how many"],
)
def test_how_many_threads_a_batch_has_that_runs_alone(
    store: CountingStore, settings: Settings, threads: int, alone: int, width: int
) -> None:
    async def loaded(engine: InferenceEngine) -> int:
        return (await engine.find("captions")).served.width

    told = settings.model_copy(update={"inference_threads": threads, "inference_threads_alone": alone})
    assert with_engine(store, told, loaded) == width


def test_a_vector_is_what_the_graph_gives_for_the_prepared_input(
    store: CountingStore, settings: Settings, exported: Exported
) -> None:
    session = onnxruntime.InferenceSession(
        exported.captions / "model.onnx", providers=["CPUExecutionProvider"]
    )
    pixels = (np.asarray(noise(seed=4), dtype=np.float32) / 255 - 0.305) / 0.376
    feed = {
        "image": pixels[None, None].astype(np.float32),
        "text": np.zeros((1, 1), dtype=np.int64),
        "present": np.array([[True, False]]),
    }
    expected = session.run(["fused"], feed)[0]
    ours = with_engine(store, settings, lambda engine: embed(engine, "captions", {"image": base64_png(4)}))
    assert np.abs(ours - expected).max() <= 1e-6


def test_a_pair_is_neither_its_image_nor_its_text(store: CountingStore, settings: Settings) -> None:
    image, text = {"image": base64_png()}, {"text": "a handwritten three"}
    vectors = with_engine(
        store, settings, lambda engine: embed(engine, "captions", image, text, image | text)
    )
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(vectors[one] - vectors[other]).max() > 1e-3


def test_two_images_of_the_same_size_differ(store: CountingStore, settings: Settings) -> None:
    images = ({"image": base64_png(0)}, {"image": base64_png(1)})

    async def twice(engine: InferenceEngine) -> tuple[Vectors, Vectors]:
        return await embed(engine, "captions", *images), await embed(engine, "captions", *images[::-1])

    vectors, remembered = with_engine(store, settings, twice)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert np.array_equal(vectors, remembered[::-1])


def test_a_data_uri_is_the_image_it_holds(store: CountingStore, settings: Settings) -> None:
    sent = ({"image": base64_png()}, {"image": f"data:image/png;base64,{base64_png()}"})
    vectors = with_engine(store, settings, lambda engine: embed(engine, "captions", *sent))
    assert np.abs(vectors[0] - vectors[1]).max() <= 1e-6


def test_each_of_64_callers_gets_what_it_would_get_alone(store: CountingStore, settings: Settings) -> None:
    words = ("one", "two", "three", "four", "a scan of the number seven", "x y z")
    inputs: list[dict[str, str]] = [
        {"image": base64_png(n)} | ({"text": f"{words[n % 6]} {n}"} if n % 3 else {}) for n in range(64)
    ]

    async def together_and_alone(engine: InferenceEngine) -> tuple[list[Vectors], list[Vectors]]:
        together = await gathered(engine, [embed(engine, "captions", each) for each in inputs])
        return together, [await embed(engine, "captions", each) for each in inputs]

    together, alone = with_engine(store, forgetful(settings), together_and_alone)
    assert np.abs(np.stack(together) - np.stack(alone)).max() <= 1e-5


def test_images_alone_and_texts_alone_share_batches(store: CountingStore, settings: Settings) -> None:
    async def alternate(engine: InferenceEngine) -> int:
        calls = [{"image": base64_png(n)} if n % 2 else {"text": f"number {n}"} for n in range(64)]
        await gathered(engine, [embed(engine, "captions", each) for each in calls])
        return engine.batcher.counts.batches - 1

    assert with_engine(store, settings, alternate) == 64 / 8


def test_a_bad_input_is_named_and_harms_no_other_request(store: CountingStore, settings: Settings) -> None:
    bad = base64.b64encode(truncated_png()).decode()

    async def mixed(engine: InferenceEngine) -> list[Any]:
        calls = [embed(engine, "captions", {"image": base64_png(n) if n != 3 else bad}) for n in range(8)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert (await embed(engine, "captions", {"image": base64_png()})).shape == (1, 16)
        return outcomes

    outcomes = with_engine(store, settings, mixed)
    assert [isinstance(each, InvalidError) for each in outcomes] == [n == 3 for n in range(8)]
    assert [(fault.pointer, fault.code) for fault in outcomes[3].faults] == [
        ("/inputs/0/image", "broken_image")
    ]


def test_more_inputs_than_may_wait_are_refused_until_there_is_room(
    store: CountingStore, settings: Settings
) -> None:
    few = settings.model_copy(update={"inference_queue": 4})

    async def flood(engine: InferenceEngine) -> list[Any]:
        calls = [embed(engine, "captions", {"text": f"number {n}"}) for n in range(32)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert (await embed(engine, "captions", {"text": "again"})).shape == (1, 16)
        alone = [{"text": f"number {n}"} for n in range(9)]
        assert len(await embed(engine, "captions", *alone)) == 9, "larger than the queue, and alone"
        return outcomes

    outcomes = with_engine(store, few, flood)
    refused = [each for each in outcomes if isinstance(each, OverloadedError)]
    assert len(refused) == 28
    assert all(each.retry_after_s for each in refused)


def test_a_caller_who_leaves_is_not_computed_for(store: CountingStore, settings: Settings) -> None:
    async def leave(engine: InferenceEngine) -> None:
        found = await engine.find("captions")
        ahead = Doubling()
        engine.batcher.submit(ahead, samples(1))
        call = asyncio.ensure_future(
            engine.embed(found, given(*[{"image": base64_png(n)} for n in range(20)]))
        )
        while engine.batcher.waiting < 20:
            await asyncio.sleep(0.001)
        call.cancel()
        await asyncio.wait([call])
        ahead.may_go_on.set()
        await embed(engine, "captions", {"text": "still here"})
        assert (engine.batcher.counts.dropped, engine.batcher.counts.samples) == (20, 2)

    with_engine(store, settings, leave)


def test_many_who_ask_for_a_model_at_once_wait_for_one_loading(
    store: CountingStore, settings: Settings
) -> None:
    calls = [{"text": "one"}] * 20
    with_engine(store, settings, lambda engine: all_of([embed(engine, "captions", each) for each in calls]))
    assert store.asked["resolve"] == loadings(store) == 1
    assert set(store.asked.values()) == {1}


def test_the_least_recently_used_model_makes_room(store: CountingStore, settings: Settings) -> None:
    other = {"image1": base64_png()}

    async def alternate(engine: InferenceEngine) -> None:
        for _ in range(2):
            await embed(engine, "captions", {"text": "one"})
            await embed(engine, "pairs", other)
            assert len(engine.models.loaded) == 1

    with_engine(store, settings.model_copy(update={"max_models": 1}), alternate)
    assert loadings(store) == 4
    store.asked.clear()

    async def both(engine: InferenceEngine) -> None:
        for _ in range(2):
            await embed(engine, "captions", {"text": "one"})
            await embed(engine, "pairs", other)

    with_engine(store, settings, both)
    assert loadings(store) == 2


def test_a_moved_alias_is_seen_soon_and_the_store_is_not_asked_each_time(
    store: CountingStore, settings: Settings, exported: Exported
) -> None:
    published = publish(store, exported)
    store.set_alias("prod", published.captions)

    async def move(engine: InferenceEngine) -> None:
        for _ in range(50):
            assert (await engine.find("prod")).digest == published.captions
        store.set_alias("prod", published.pairs)
        await asyncio.sleep(1.1)
        found = await engine.find("prod")
        assert (found.digest, found.label) == (published.pairs, "pairs@1")

    with_engine(store, settings, move)
    assert store.asked["resolve"] <= 3


def test_an_unknown_model_is_answered_with_what_there_is(store: CountingStore, settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="captions@1, pairs@1") as caught:
        with_engine(store, settings, lambda engine: engine.find("nothing"))
    assert caught.value.code == "model_not_found"


def test_a_damaged_model_is_refused_and_the_others_go_on(store: CountingStore, settings: Settings) -> None:
    spoil(settings, store.manifest(store.resolve("captions")))

    async def ask(engine: InferenceEngine) -> None:
        for _ in range(2):
            with pytest.raises(UnavailableError) as caught:
                await engine.find("captions")
            assert caught.value.code == "model_damaged"
            assert (await embed(engine, "pairs", {"image1": base64_png()})).shape == (1, 16)

    with_engine(store, settings, ask)


def test_a_file_changed_behind_a_loaded_model_does_not_change_it(
    store: CountingStore, settings: Settings
) -> None:
    async def ask(engine: InferenceEngine) -> None:
        before = await embed(engine, "captions", {"text": "one"})
        spoil(settings, store.manifest(store.resolve("captions")))
        assert np.array_equal(before, await embed(engine, "captions", {"text": "one"}))

    with_engine(store, settings, ask)


def test_a_file_that_is_no_network_is_refused_like_a_damaged_one(
    store: CountingStore, settings: Settings, tmp_path: Path, exported: Exported
) -> None:
    tokenizer = (exported.captions / "tokenizer.json").read_bytes()
    files = {"model.onnx": b"not a network", "tokenizer.json": tokenizer}
    digest = store.publish(bundle(tmp_path / "bad", files))
    with pytest.raises(UnavailableError) as caught:
        with_engine(store, settings, lambda engine: engine.find(digest))
    assert caught.value.code == "model_damaged"
    assert str(tmp_path) not in caught.value.detail


def test_a_manifest_that_promises_another_width_is_refused(
    store: CountingStore, settings: Settings, tmp_path: Path, exported: Exported
) -> None:
    manifest = store.manifest(store.resolve("captions"))
    files = {name: (exported.captions / name).read_bytes() for name in manifest.files}
    wrong = manifest.model_dump(exclude={"files"}) | {"embedding_dim": 17}
    digest = store.publish(bundle(tmp_path / "bad", files, **wrong))
    with pytest.raises(UnavailableError):
        with_engine(store, settings, lambda engine: engine.find(digest))


def test_what_is_sent_again_is_neither_prepared_nor_computed_again(
    store: CountingStore, settings: Settings
) -> None:
    async def again(engine: InferenceEngine) -> float:
        pair = {"image": base64_png(), "text": "a handwritten three"}
        first = await embed(engine, "captions", pair)
        prepared = stage_count(engine, "prepare")
        took = []
        for _ in range(50):
            found, began = await engine.find("captions"), time.perf_counter()
            told, vectors = await engine.embed(found, given(pair))
            took.append(time.perf_counter() - began)
            assert np.array_equal(vectors, first)
        assert {name: each.shape for name, each in told[0].arrays.items()}.keys() == {"image", "text"}
        assert (engine.batcher.counts.samples, stage_count(engine, "prepare")) == (1, prepared)
        return min(took)

    assert with_engine(store, settings, again) < 0.001


def test_one_picture_is_computed_once_however_it_is_sent(store: CountingStore, settings: Settings) -> None:
    async def all_ways(engine: InferenceEngine) -> list[Vectors]:
        webp = BytesIO()
        noise(seed=0).save(webp, "WEBP", lossless=True)
        ways = (base64_png(), f"DATA:image/png;BASE64,{base64_png()}", base64.b64encode(webp.getvalue()))
        sent = [way if isinstance(way, str) else way.decode() for way in ways]
        vectors = [await embed(engine, "captions", {"image": each}) for each in sent]
        assert engine.batcher.counts.samples == 1
        await embed(engine, "captions", {"image": base64_png(), "text": "one"})
        assert engine.batcher.counts.samples == 2, "a pair is another sample than its image"
        return vectors

    one, *others = with_engine(store, settings, all_ways)
    assert all(np.array_equal(one, other) for other in others)


def test_an_asset_that_is_gone_is_not_answered_from_memory(store: CountingStore, settings: Settings) -> None:
    asset_id = asset_files.keep(settings, asset_files.encode(noise(seed=0)))

    async def lose(engine: InferenceEngine) -> None:
        for _ in range(2):
            await embed(engine, "captions", {"image": AssetRef(asset_id)})
        assert engine.batcher.counts.samples == 1
        (settings.assets_dir / asset_id[:2] / f"{asset_id}.png").unlink()
        with pytest.raises(InvalidError, match="upload it"):
            await embed(engine, "captions", {"image": AssetRef(asset_id)})

    with_engine(store, settings, lose)


def test_what_is_not_done_in_time_is_taken_out_of_the_queue(store: CountingStore, settings: Settings) -> None:
    short = settings.model_copy(update={"inference_deadline_s": 0.2})

    async def wait(engine: InferenceEngine) -> None:
        found, ahead = await engine.find("captions"), Doubling()
        engine.batcher.submit(ahead, samples(1))
        assert await asyncio.to_thread(ahead.begun.wait, 10)
        began = time.monotonic()
        with pytest.raises(DeadlineError, match=r"within 0\.2 s"):
            await engine.embed(found, given({"text": "one"}, {"text": "two"}))
        assert time.monotonic() - began < 1
        assert (engine.batcher.waiting, engine.batcher.counts.dropped, engine.room.inside) == (0, 2, 0)
        ahead.may_go_on.set()
        assert (await embed(engine, "captions", {"text": "one"})).shape == (1, 16)

    with_engine(store, short, wait)


def test_a_store_that_does_not_answer_keeps_nobody_longer_than_allowed(
    store: CountingStore, settings: Settings
) -> None:
    short = settings.model_copy(update={"inference_deadline_s": 0.2})
    store.slow_s = 1.5

    async def wait(engine: InferenceEngine) -> None:
        began = time.monotonic()
        with pytest.raises(DeadlineError, match=r"within 0\.2 s; the model was still being looked for"):
            await engine.find("captions")
        assert time.monotonic() - began < 1

    with_engine(store, short, wait)


def test_nobody_waits_while_a_damaged_model_is_tried_again(
    store: CountingStore, settings: Settings, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_on, "TRIED_AGAIN_S", 0.1)
    published = publish(store, exported)
    store.set_alias("prod", published.captions)

    async def ask(engine: InferenceEngine) -> None:
        assert (await engine.find("prod")).digest == published.captions
        spoil(settings, store.manifest(published.pairs))
        store.set_alias("prod", published.pairs)
        await asyncio.sleep(1.1)
        assert (await engine.find("prod")).digest == published.captions
        store.slow_s = 1.0
        store.asked.clear()
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            began = time.monotonic()
            assert (await engine.find("prod")).digest == published.captions
            assert time.monotonic() - began < 0.5
            await asyncio.sleep(0.02)
        assert store.asked, "it was tried again meanwhile"

    with_engine(store, settings, ask)


def test_a_reference_whose_manifest_is_gone_keeps_meaning_the_model_before(
    store: CountingStore, settings: Settings, exported: Exported
) -> None:
    published = publish(store, exported)
    store.set_alias("prod", published.captions)

    async def move(engine: InferenceEngine) -> None:
        assert (await engine.find("prod")).digest == published.captions
        store.set_alias("prod", published.pairs)
        (gone,) = (each for each in Path(settings.models_url).rglob(f"{published.pairs}*") if each.is_file())
        gone.unlink()
        await asyncio.sleep(1.1)
        assert (await engine.find("prod")).digest == published.captions
        assert [each.code for each in engine.references.failing.values()] == ["model_damaged"]
        with pytest.raises(NotFoundError):
            await engine.find("0" * 64)

    with_engine(store, settings, move)


def test_a_reference_that_comes_to_mean_a_damaged_model_keeps_meaning_the_one_before(
    store: CountingStore, settings: Settings, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_on, "TRIED_AGAIN_S", 0.3)
    published = publish(store, exported)
    store.set_alias("prod", published.captions)

    async def move(engine: InferenceEngine) -> None:
        assert (await engine.find("prod")).digest == published.captions
        spoil(settings, store.manifest(published.pairs))
        store.set_alias("prod", published.pairs)
        await asyncio.sleep(1.1)
        store.asked.clear()
        for _ in range(50):
            found = await engine.find("prod")
            assert (found.digest, found.label) == (published.captions, "captions@1")
        assert (await embed(engine, "prod", {"text": "one"})).shape == (1, 16)
        read = [count for file, count in store.asked.items() if file.endswith(".onnx")]
        assert sum(read) <= 2, "the damaged one is not read for every request"
        assert [(name, each.code) for name, each in engine.references.failing.items()] == [
            ("prod", "model_damaged")
        ]
        with pytest.raises(UnavailableError):
            await engine.find("pairs")
        store.set_alias("prod", published.captions)
        await asyncio.sleep(1.4)
        assert (await engine.find("prod")).digest == published.captions
        await asyncio.sleep(0.3)
        assert not engine.references.failing

    with_engine(store, settings, move)


def test_an_alias_moved_under_load_fails_nobody_and_no_answer_is_of_two_models(
    settings: Settings, tmp_path: Path
) -> None:
    store = ModelStore(settings.models_url)
    shifted = STATIC.model_copy(update={"mean": (1.0, 1.0), "std": (1.0, 1.0)})
    before = measured.published(store, tmp_path / "before")
    after = measured.published(store, tmp_path / "after", static=shifted)
    store.set_alias("prod", before)
    seen: list[list[tuple[str, float]]] = [[] for _ in range(16)]

    async def call(engine: InferenceEngine, caller: int) -> None:
        number = 2.0
        while time.monotonic() < end:
            number += 1
            found = await engine.find("prod")
            _, vectors = await engine.embed(found, [Given({"static": [100 * caller, number]}, "/inputs/0")])
            assert vectors[0, 3] - vectors[0, 4] == 100 * caller - number, "somebody else's answer"
            seen[caller].append((found.digest, float(number - vectors[0, 4])))
            await asyncio.sleep(0)

    async def load(engine: InferenceEngine) -> None:
        calls = asyncio.gather(*(call(engine, caller) for caller in range(16)))
        await asyncio.sleep(0.3)
        store.set_alias("prod", after)
        await calls

    end = time.monotonic() + 1.8
    with_engine(store, settings, load)
    for answers in seen:
        assert set(answers) == {(before, 0.0), (after, 1.0)}
        digests = [digest for digest, _ in answers]
        assert digests == sorted(digests, key=[before, after].index), "once it has moved it stays"


def forgetful(settings: Settings) -> Settings:
    return settings.model_copy(update={"inference_cache_bytes": 0})


def stage_count(engine: InferenceEngine, stage: str) -> float:
    line = f'fusebox_inference_stage_seconds_count{{stage="{stage}"}} '
    return float(engine.meters.exposition().split(line)[1].split("\n")[0])


def loadings(store: CountingStore) -> int:
    """How many models were read."""
    return store.asked["fusion.onnx"]


def spoil(settings: Settings, manifest: Manifest) -> None:
    """Every graph of the model."""
    for sha256 in (sha256 for file, sha256 in manifest.files.items() if file.endswith(".onnx")):
        blob = Path(settings.models_url, "blobs", "sha256", sha256[:2], sha256)
        content = bytearray(blob.read_bytes())
        content[len(content) // 2] ^= 1
        blob.write_bytes(content)


def test_an_engine_that_was_stopped_starts_anew(store: CountingStore, settings: Settings) -> None:
    engine = InferenceEngine(store, settings)

    async def embedded() -> int:
        engine.start()
        try:
            _, vectors = await engine.embed(await engine.find("captions"), [Given({"text": "a three"}, "/0")])
            return len(vectors)
        finally:
            engine.stop()

    assert [asyncio.run(embedded()) for _ in range(2)] == [1, 1]
