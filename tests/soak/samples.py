"""What is embedded over and over, with the right vectors: computed in this process, each by itself."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_store.heads import Head, HeadStore
from models_store.manifest import Precision
from models_store.store import ModelStore
from service.inference.graphs import batch_of
from service.inference.predict import predict
from service.inference.prepare import Given, Sample, prepare
from service.inference.served import Served, load
from service.settings import Settings
from tests.service.pictures import png

PICTURES = 24
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """One sample, as it is sent by name, and its vectors by precision: as the network gives them."""

    values: dict[str, str]
    sample: Sample
    vectors: dict[Precision, Vector]

    def of_length_1(self, precision: Precision) -> Vector:
        vector = self.vectors[precision]
        unit: Vector = vector / np.linalg.norm(vector)
        return unit


class Answers:
    """What a head of classes says. Its weights make small differences of a vector larger: what is compared are
    probabilities over the most by which that can be, the greatest singular value of the weights."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self.task = head.manifest.task
        self._stretch = max(1.0, float(np.linalg.norm(head.weight, 2)))

    def of(self, known: Known) -> Vector:
        (said,) = predict(self._head, known.vectors["fp32"][None], None)
        return self.read(said)

    def read(self, said: dict[str, Any]) -> Vector:
        """(K) of one prediction, as it is answered."""
        return np.array(list(said["probabilities"].values()), dtype=np.float32) / np.float32(self._stretch)


class Samples:
    """All pairs of so many pictures and texts, and each of them alone."""

    def __init__(self, store: ModelStore, model: str, settings: Settings) -> None:
        digest = store.resolve(model)
        networks = {precision: load(store, digest, precision) for precision in PRECISIONS}
        image = networks["fp32"].manifest.input_named("image")
        assert image is not None
        self._image = image
        self.files = [png(seed) for seed in range(PICTURES)]
        self.pictures = [base64.b64encode(file).decode() for file in self.files]
        self.texts = [f"a handwritten {word}" for word in WORDS]
        pairs = [{"image": image, "text": text} for image in self.pictures for text in self.texts]
        self.pairs = [_known(values, networks, settings) for values in pairs]
        self.of_pictures = [_known({"image": image}, networks, settings) for image in self.pictures]
        self.of_texts = [_known({"text": text}, networks, settings) for text in self.texts]
        heads = HeadStore(store)
        task, sha256 = next(iter(heads.attached(digest).items()))
        self.answers = Answers(heads.read(digest, task, sha256))

    def pixels(self, known: Known) -> NDArray[np.float32]:
        """(C, H, W), as the network gets them."""
        pixels: NDArray[np.float32] = batch_of(self._image, [known.sample.arrays["image"]])[0]
        return pixels


def _known(values: dict[str, Any], networks: dict[Precision, Served], settings: Settings) -> Known:
    served = networks["fp32"]
    sample = prepare(Given(values, ""), served.manifest, served.tokenizers, settings)
    assert isinstance(sample, Sample), sample
    return Known(values, sample, {name: each.run([sample])[0] for name, each in networks.items()})
