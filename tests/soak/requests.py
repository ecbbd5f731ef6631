"""What callers send, drawn at random: good requests in every dialect with their vectors, and bad ones with their answers."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray

from tests.service.pictures import bomb, truncated_png
from tests.soak.samples import PRECISIONS, Known, Samples

MODEL = "soak"
MOST_BYTES = 2**20
"""Of a body, as the server is told."""


@dataclass(frozen=True)
class Asked:
    """One request. `vectors` are those that must come back (B, D), and `read` finds them in the answer."""

    name: str
    path: str
    status: int = 200
    method: str = "POST"
    sent: dict[str, Any] = field(default_factory=dict)
    vectors: Sequence[NDArray[np.float32]] = ()
    read: Callable[[Any], Any] = lambda answer: [each["embedding"] for each in answer["data"]]


class Drawn:
    """Requests from a seed."""

    def __init__(self, samples: Samples, assets: Sequence[str], seed: int) -> None:
        self._samples = samples
        self._assets = assets
        self._random = random.Random(seed)
        self._good = [
            self._by_name, self._by_name, self._packed, self._one_asset, self._parts, self._openai, self._voyage, self._cohere,
            self._tensors, self._form, self._explained, self._predicted, self._with_head,
        ]  # fmt: skip
        self._bad = [
            self._truncated, self._one_of_many, self._too_large, self._huge_picture, self._unknown_model, self._unknown_modality,
            self._not_json, self._nan, self._wrong_key, self._other_digest, self._address, self._no_such_asset, self._nothing,
            self._no_such_head,
        ]  # fmt: skip

    def request(self, bad: float = 0.3) -> Asked:
        return self._random.choice(self._bad if self._random.random() < bad else self._good)()

    # ------------------------------------------------------------------------------------------------- good

    def _some(self, most: int = 4) -> list[Known]:
        every = (self._samples.pairs, self._samples.of_pictures, self._samples.of_texts)
        return [self._random.choice(self._random.choice(every)) for _ in range(self._random.randint(1, most))]

    def _by_name(self) -> Asked:
        some, precision = self._some(), self._random.choice(PRECISIONS)
        body = {"model": MODEL, "inputs": [each.values for each in some], "precision": precision}
        return Asked("by name", "/v1/embeddings", sent={"json": body}, vectors=[each.of_length_1(precision) for each in some])  # fmt: skip

    def _packed(self) -> Asked:
        some = self._some()
        body = {"model": MODEL, "inputs": [each.values for each in some], "encoding_format": "base64", "normalize": False}  # fmt: skip

        def read(answer: Any) -> Any:
            return [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in answer["data"]]

        return Asked("packed", "/v1/embeddings", sent={"json": body}, vectors=[each.vectors["fp32"] for each in some], read=read)  # fmt: skip

    def _one_asset(self) -> Asked:
        place = self._random.randrange(len(self._assets))
        query = {"model": MODEL, "image": self._assets[place]}
        vector = self._samples.of_pictures[place].of_length_1("fp32")
        return Asked("an asset", "/v1/embeddings", method="GET", sent={"params": query}, vectors=[vector])

    def _content(self, known: Known, part: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        values = known.values
        parts = [{"type": "text", "text": values["text"]}] if "text" in values else []
        return {"content": parts + ([part(values["image"])] if "image" in values else [])}

    def _parts(self) -> Asked:
        some = self._some()
        inputs = [
            self._content(each, lambda image: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}})
            for each in some
        ]  # fmt: skip
        body = {"model": MODEL, "inputs": inputs}
        return Asked("parts", "/v1/embeddings", sent={"json": body}, vectors=[each.of_length_1("fp32") for each in some])  # fmt: skip

    def _openai(self) -> Asked:
        some = self._random.sample(self._samples.of_texts, 2)
        body = {"model": MODEL, "input": [each.values["text"] for each in some]}
        return Asked("OpenAI", "/v1/embeddings", sent={"json": body}, vectors=[each.of_length_1("fp32") for each in some])  # fmt: skip

    def _voyage(self) -> Asked:
        some = self._some()
        inputs = [
            self._content(each, lambda image: {"type": "image_base64", "image_base64": image})
            for each in some
        ]
        body = {"model": MODEL, "inputs": inputs}
        return Asked("Voyage", "/v1/multimodalembeddings", sent={"json": body}, vectors=[each.of_length_1("fp32") for each in some])  # fmt: skip

    def _cohere(self) -> Asked:
        some = self._random.sample(self._samples.of_pictures, 2)
        body = {"model": MODEL, "images": [each.values["image"] for each in some]}
        return Asked("Cohere", "/v2/embed", sent={"json": body}, vectors=[each.of_length_1("fp32") for each in some],
                     read=lambda answer: answer["embeddings"]["float"])  # fmt: skip

    def _tensors(self) -> Asked:
        some = self._random.sample(self._samples.of_pictures, 3)
        batch = np.stack([self._samples.pixels(each) for each in some])
        tensor = {
            "name": "image",
            "shape": list(batch.shape),
            "datatype": "FP32",
            "data": batch.ravel().tolist(),
        }
        return Asked("tensors", f"/v2/models/{MODEL}/infer", sent={"json": {"inputs": [tensor]}},
                     vectors=[each.vectors["fp32"] for each in some],
                     read=lambda answer: np.reshape(answer["outputs"][0]["data"], answer["outputs"][0]["shape"]))  # fmt: skip

    def _form(self) -> Asked:
        place = self._random.randrange(len(self._samples.files))
        form = aiohttp.FormData({"model": MODEL})
        form.add_field("image", self._samples.files[place], filename="digit.png", content_type="image/png")
        vector = self._samples.of_pictures[place].of_length_1("fp32")
        return Asked("a form", "/v1/embeddings", sent={"data": form}, vectors=[vector])

    def _explained(self) -> Asked:
        known = self._random.choice(self._samples.pairs)
        body = {"model": MODEL, "inputs": [known.values], "explain": "modality"}
        return Asked("explained", "/v1/embeddings", sent={"json": body}, vectors=[known.of_length_1("fp32")])

    def _predicted(self) -> Asked:
        some, answers = self._some(), self._samples.answers
        body = {"model": MODEL, "probe": answers.task, "inputs": [each.values for each in some]}
        return Asked("predicted", "/v1/predictions", sent={"json": body}, vectors=[answers.of(each) for each in some],
                     read=lambda answer: [answers.read(each["predictions"][answers.task]) for each in answer["data"]])  # fmt: skip

    def _with_head(self) -> Asked:
        some, answers = self._some(), self._samples.answers
        body = {"model": MODEL, "heads": [answers.task], "inputs": [each.values for each in some]}

        def read(answer: Any) -> Any:
            said = [(each["embedding"], each["predictions"][answers.task]) for each in answer["data"]]
            return [np.concatenate([vector, answers.read(each)]) for vector, each in said]

        vectors = [np.concatenate([each.of_length_1("fp32"), answers.of(each)]) for each in some]
        return Asked("with a head", "/v1/embeddings", sent={"json": body}, vectors=vectors, read=read)

    # -------------------------------------------------------------------------------------------------- bad

    def _refused(self, name: str, status: int, *inputs: Any, **rest: Any) -> Asked:
        return Asked(
            name, "/v1/embeddings", status, sent={"json": {"model": MODEL, "inputs": inputs, **rest}}
        )

    def _truncated(self) -> Asked:
        return self._refused(
            "a truncated picture", 422, {"image": base64.b64encode(truncated_png()).decode()}
        )

    def _one_of_many(self) -> Asked:
        return self._refused(
            "one bad of many", 422, *(each.values for each in self._some()), {"image": "####"}
        )

    def _too_large(self) -> Asked:
        body = json.dumps({"model": MODEL, "inputs": [{"text": "x" * (MOST_BYTES + 1)}]}).encode()
        sent = {"data": io.BytesIO(body), "headers": {"Content-Type": "application/json"}}
        return Asked("a body too long", "/v1/embeddings", 413, sent=sent)

    def _huge_picture(self) -> Asked:
        return self._refused("a huge picture", 422, {"image": base64.b64encode(bomb(20_000, 8)).decode()})

    def _unknown_model(self) -> Asked:
        return self._refused("an unknown model", 404, {"text": "a"}, model=f"none{self._random.randrange(9)}")

    def _unknown_modality(self) -> Asked:
        return self._refused("an unknown modality", 422, {"sound": "a"})

    def _not_json(self) -> Asked:
        whole = json.dumps({"model": MODEL, "input": "a"}).encode()
        sent = {
            "data": whole[: self._random.randrange(1, len(whole))],
            "headers": {"Content-Type": "application/json"},
        }
        return Asked("torn JSON", "/v1/embeddings", 400, sent=sent)

    def _nan(self) -> Asked:
        sent = {"data": b'{"model": "soak", "inputs": [{"image": [NaN]}]}', "headers": {"Content-Type": "application/json"}}  # fmt: skip
        return Asked("NaN", "/v1/embeddings", 400, sent=sent)

    def _wrong_key(self) -> Asked:
        sent = {"json": {"model": MODEL, "input": "a"}, "headers": {"Authorization": "Bearer fbx_0_0"}}
        return Asked("a wrong key", "/v1/embeddings", 401, sent=sent)

    def _other_digest(self) -> Asked:
        return self._refused("another digest", 409, {"text": "a"}, model_digest="0" * 64)

    def _address(self) -> Asked:
        return self._refused("an address", 422, {"image": "http://169.254.169.254/latest"})

    def _no_such_asset(self) -> Asked:
        return self._refused(
            "no such asset", 422, {"image": {"asset": f"{self._random.randrange(16**64):064x}"}}
        )

    def _nothing(self) -> Asked:
        return self._refused("nothing", 422, {})

    def _no_such_head(self) -> Asked:
        body = {"model": MODEL, "probe": "nothing", "inputs": [{"text": "a"}]}
        return Asked("no such head", "/v1/predictions", 422, sent={"json": body})
