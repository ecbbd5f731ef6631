"""More is sent than can be computed: some of it is refused at once, and the rest is answered in time.

The engine is the real one. Its network takes a time that is known, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models_store.manifest import ImageInput, TableInput
from models_store.store import ModelStore
from service.errors import DeadlineError, OverloadedError
from service.inference.costs import kind
from service.inference.engine import Found, InferenceEngine
from service.inference.prepare import Given, Value
from service.inference.served import Served
from service.inference.timing import patience_s, timed
from service.settings import Settings
from tests.models_store.bundles import manifest
from tests.service.pictures import png

SAMPLE_S = 0.02
THREADS = 2
PEAK_PER_S = THREADS / SAMPLE_S
INPUTS = [
    TableInput(name="static", features=2),
    ImageInput(name="image", channels=1, height=8, width=8, mean=(0.5,), std=(0.5,)),
]


class Sleeping:
    """Graphs that take their time for each sample."""

    def __init__(self, seconds: float = SAMPLE_S) -> None:
        self.seconds = seconds
        self.running = 0
        self.ran_s = 0.0
        self.may_end = threading.Event()
        self.may_end.set()
        self._lock = threading.Lock()

    def encode(self, name: str, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return list(arrays)

    def fuse(self, encoded: Sequence[Mapping[str, NDArray[Any]]]) -> NDArray[np.float32]:
        began = time.monotonic()
        self._count(1, 0.0)
        time.sleep(self.seconds * len(encoded))
        assert self.may_end.wait(60)
        self._count(-1, time.monotonic() - began)
        return np.zeros((len(encoded), 4), dtype=np.float32)

    def _count(self, running: int, ran_s: float) -> None:
        with self._lock:
            self.running += running
            self.ran_s += ran_s


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path, inference_threads=THREADS, inference_max_wait_s=0.8, inference_cache_bytes=0
    )


def with_engine(settings: Settings, work: Callable[[InferenceEngine], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        engine = InferenceEngine(ModelStore(settings.models_url), settings)
        engine.start()
        try:
            return await work(engine)
        finally:
            engine.stop()

    return asyncio.run(run())


def slow_model(graphs: Sleeping | None = None, digest: str = "slow") -> Found:
    described = manifest({}, inputs=[each.model_dump() for each in INPUTS])
    return Found("slow@1", Served(digest, described, "fp32", {}, graphs or Sleeping()))


def given(*values: Value, name: str = "static") -> list[Given]:
    return [Given({name: value}, f"/inputs/{row}") for row, value in enumerate(values)]


def numbers(first: int, count: int = 1) -> list[Given]:
    """No two inputs are equal, or they would be computed once."""
    return given(*([float(first + row), 0.0] for row in range(count)))


async def learned(engine: InferenceEngine, found: Found) -> None:
    """The engine sees what a sample costs."""
    for turn in range(3):
        await engine.embed(found, numbers(-10 * turn - 1))


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happened():
            await asyncio.sleep(0.001)


async def attempted(engine: InferenceEngine, found: Found, inputs: Sequence[Given]) -> float | None:
    """How long it took; None where it was refused, which takes no time."""
    began = time.monotonic()
    try:
        await engine.embed(found, inputs)
    except OverloadedError:
        return None
    return time.monotonic() - began


def test_of_a_burst_so_much_is_admitted_as_can_be_answered_in_time(settings: Settings) -> None:
    bound_s = 0.75 * settings.inference_max_wait_s

    async def burst(engine: InferenceEngine) -> tuple[float, list[float | None]]:
        graphs = Sleeping()
        found = slow_model(graphs)
        await learned(engine, found)
        per_s = 1 / engine.batcher.free_in_s({kind(found, ["static"]): 1})
        graphs.may_end.clear()
        took = asyncio.gather(*(attempted(engine, found, numbers(100 + n)) for n in range(200)))
        await asyncio.sleep(0)
        wait_s = engine.wait_s()
        graphs.may_end.set()
        assert wait_s <= bound_s + 1.01 / per_s, "the last one found less before it"
        return bound_s * per_s, await took

    fitting, took = with_engine(settings, burst)
    admitted = [each is not None for each in took]
    assert fitting - 1 <= sum(admitted) <= fitting + 8 * THREADS, "besides those that run meanwhile"
    assert all(admitted[: int(fitting)])


def test_before_anything_is_measured_the_bound_is_in_inputs(settings: Settings) -> None:
    async def burst(engine: InferenceEngine) -> int:
        graphs = Sleeping()
        graphs.may_end.clear()
        found = slow_model(graphs)
        took = asyncio.gather(*(attempted(engine, found, numbers(n)) for n in range(80)))
        await asyncio.sleep(0)
        graphs.may_end.set()
        return sum(each is not None for each in await took)

    few = settings.model_copy(update={"inference_queue": 70, "inference_queue_per_model": 60})
    assert with_engine(few, burst) == 60


@pytest.mark.slow
def test_beyond_capacity_no_time_is_lost_and_what_is_answered_is_answered_in_time(settings: Settings) -> None:
    graphs = Sleeping()

    async def overload(engine: InferenceEngine) -> list[float | None]:
        found = slow_model(graphs)
        await learned(engine, found)
        began, graphs.ran_s = time.monotonic(), 0.0
        calls = []
        for turn in range(int(4 * 1.5 * PEAK_PER_S)):
            await asyncio.sleep(max(0.0, began + turn / (1.5 * PEAK_PER_S) - time.monotonic()))
            calls.append(asyncio.ensure_future(attempted(engine, found, numbers(100 + turn))))
        assert graphs.ran_s >= 0.85 * THREADS * (time.monotonic() - began) - 8 * THREADS * SAMPLE_S
        return await asyncio.gather(*calls)

    took = with_engine(settings, overload)
    answered = [each for each in took if each is not None]
    assert len(answered) < len(took)
    assert sum(each <= 1.0 for each in answered) >= 0.9 * len(answered)


def test_a_request_of_many_inputs_that_comes_alone_is_admitted_and_holds_up_others(
    settings: Settings,
) -> None:
    async def ask(engine: InferenceEngine) -> None:
        graphs = Sleeping()
        found = slow_model(graphs)
        await learned(engine, found)
        graphs.may_end.clear()
        many = asyncio.ensure_future(engine.embed(found, numbers(100, count=130)))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await engine.embed(found, numbers(1))
        graphs.may_end.set()
        assert caught.value.retry_after_s is not None
        assert caught.value.retry_after_s >= 2
        await until(lambda: engine.wait_s() < 0.5)
        assert await attempted(engine, found, numbers(1)) is not None, "most of it is done"
        assert (await many)[1].shape == (130, 4)
        assert engine.wait_s() == 0

    with_engine(settings, ask)


def test_what_is_remembered_is_answered_however_much_waits(settings: Settings) -> None:
    async def ask(engine: InferenceEngine) -> None:
        found = slow_model()
        await learned(engine, found)
        many = asyncio.ensure_future(engine.embed(found, numbers(100, count=100)))
        await asyncio.sleep(0)
        assert await attempted(engine, found, numbers(1)) is None
        assert await attempted(engine, found, numbers(-1)) is not None
        assert not many.done()
        await many

    with_engine(settings.model_copy(update={"inference_cache_bytes": 2**20}), ask)


def test_inputs_of_another_model_find_room(settings: Settings) -> None:
    async def ask(engine: InferenceEngine) -> None:
        graphs = Sleeping()
        one, other = slow_model(graphs, "one"), slow_model(digest="other")
        await learned(engine, one)
        graphs.may_end.clear()
        flood = asyncio.gather(*(attempted(engine, one, numbers(100 + n)) for n in range(200)))
        await asyncio.sleep(0)
        refused = await attempted(engine, one, numbers(1)) is None
        admitted = asyncio.ensure_future(attempted(engine, other, numbers(1)))
        await asyncio.sleep(0)
        graphs.may_end.set()
        assert refused
        assert await admitted is not None
        await flood

    with_engine(settings, ask)


def test_inputs_that_are_still_to_be_decoded_count(settings: Settings) -> None:
    large = [base64.b64encode(png(seed, 300, 300)).decode() for seed in range(30)]

    async def ask(engine: InferenceEngine) -> None:
        found = slow_model(Sleeping(0.0))
        await engine.embed(found, given(large[0], name="image"))
        assert engine.wait_s() == 0
        many = asyncio.ensure_future(engine.embed(found, given(*large, name="image")))
        await asyncio.sleep(0)
        at_first, computing = engine.wait_s(), engine.batcher.free_in_s({kind(found, ["image"]): 30})
        await until(lambda: engine.wait_s() < at_first / 2)
        await many
        assert engine.wait_s() == 0
        assert at_first > computing > 0

    with_engine(settings, ask)


def test_what_is_called_off_while_it_is_prepared_counts_no_more(settings: Settings) -> None:
    large = base64.b64encode(png(0, 300, 300)).decode()

    async def ask(engine: InferenceEngine) -> None:
        found = slow_model()
        await engine.embed(found, given(large, name="image"))
        many = asyncio.ensure_future(engine.embed(found, given(*[large] * 30, name="image")))
        await asyncio.sleep(0)
        assert engine.wait_s() > 30 * SAMPLE_S / THREADS, "those that will be computed later count as well"
        many.cancel()
        await asyncio.wait([many])
        await asyncio.sleep(0)
        assert engine.wait_s() == 0

    with_engine(settings, ask)


def test_what_is_embedded_with_its_parts_is_admitted_once(settings: Settings) -> None:
    """What comes while it is prepared cannot have it refused afterwards."""
    pair: dict[str, Value] = {"static": [1.0, 2.0], "image": base64.b64encode(png(0, 300, 300)).decode()}

    async def ask(engine: InferenceEngine) -> None:
        graphs = Sleeping()
        found = slow_model(graphs)
        await learned(engine, found)
        graphs.may_end.clear()
        parts = [(0, ("static",)), (0, ("image",))]
        explained = asyncio.ensure_future(engine.embed_with_parts(found, [Given(pair, "/inputs/0")], parts))
        await asyncio.sleep(0)
        assert engine.room.inside == 3, "its parts count from the start"
        flood = asyncio.gather(*(attempted(engine, found, numbers(100 + n)) for n in range(200)))
        await asyncio.sleep(0)
        assert await attempted(engine, found, numbers(1)) is None
        graphs.may_end.set()
        samples, vectors = await explained
        assert (len(samples), vectors.shape) == (1, (3, 4))
        await flood

    with_engine(settings, ask)


def test_who_cannot_wait_so_long_is_refused_at_once(settings: Settings) -> None:
    async def ask(engine: InferenceEngine) -> None:
        found = slow_model()
        await learned(engine, found)
        many = asyncio.ensure_future(engine.embed(found, numbers(100, count=40)))
        await asyncio.sleep(0)
        with timed(0.05), pytest.raises(OverloadedError):
            await engine.embed(found, numbers(1))
        assert await attempted(engine, found, numbers(1)) is not None
        await many

    with_engine(settings, ask)


def test_what_a_caller_waits_for_no_longer_is_not_computed(settings: Settings) -> None:
    async def ask(engine: InferenceEngine) -> None:
        graphs = Sleeping(1.0)
        found = slow_model(graphs)
        first = asyncio.ensure_future(engine.embed(found, numbers(1)))
        await until(lambda: graphs.running == 1)
        with timed(0.1), pytest.raises(DeadlineError, match=r"within 0\.1 s"):
            await engine.embed(found, numbers(2))
        await first
        assert (engine.batcher.counts.dropped, engine.batcher.counts.samples) == (1, 1)

    with_engine(settings.model_copy(update={"inference_threads": 1}), ask)


@pytest.mark.parametrize(
    ("prefer", "told"),
    [
        (["wait=10"], 10), (["respond-async, WAIT = 3"], 3), (['handling=lenient; wait=1, wait="2"'], 2),
        (["return=minimal", "wait=4;x=y"], 4), (["wait=-1"], np.inf), (["wait=soon"], np.inf), (["await=3"], np.inf),
        (["wait=1.5"], np.inf), (["wait=" + "9" * 30], np.inf), ([], np.inf),
    ],
)  # fmt: skip
def test_a_preference_says_how_long_a_caller_waits(prefer: list[str], told: float) -> None:
    assert patience_s(prefer) == told
