"""The steps of the demo, each a few requests and what they say."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from service.cli.following import assert_succeeded, follow
from service.cli.terminal import out
from service.client import Client, Json
from service.demo import specs
from service.demo.images import as_png, as_text, unseen_digits

Vectors = NDArray[np.float64]

MODEL = "digits-captions"
CAPTIONS = "captions"
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHOWN = 7
PER_NUMERAL = 20
FAMILIES = {
    "redundancy": "both digits tell",
    "uniqueness": "one digit tells",
    "synergy": "only both tell",
}


def caption(numeral: int) -> str:
    return f"a handwritten {NUMERALS[numeral]}"


@dataclass
class Tour:
    """Through a running service. `check` is called while waiting; what it raises ends the tour."""

    client: Client
    folder: Path
    """For the image that is uploaded, so that people can upload it again."""
    check: Callable[[], None]
    unfinished: set[str] = field(default_factory=set)
    """Ids of submitted jobs that have not ended."""

    def walk(self) -> None:
        """Raises ClientError when a job fails or a request is refused."""
        trained = self._train()
        self._probe_and_export(trained)
        self._show_scores(trained)
        asset = self._show_one()
        self._show_predictions(asset)
        self._show_neighbours()
        self._show_requests(asset)

    def _train(self) -> Mapping[str, Json]:
        _step("Train three methods on pairs of digits, and one of them on digits with captions")
        jobs = {method: self._submit("train", method, specs.on_pairs(method)) for method in specs.METHODS}
        jobs[CAPTIONS] = self._submit("train", CAPTIONS, specs.on_captions())
        return self._finished(jobs)

    def _probe_and_export(self, trained: Mapping[str, Json]) -> None:
        _step("Probe what each has learned, and export the model of captions as ONNX")
        probes = {
            name: self._submit("probe", f"{name} probe", specs.probe(training["id"]))
            for name, training in trained.items()
        }
        export = self._submit("export", MODEL, specs.export(trained[CAPTIONS]["id"], MODEL))
        self._finished({**{f"{name} probe": job for name, job in probes.items()}, "export": export})
        self.client.attach_heads(MODEL, probes[CAPTIONS]["id"])

    def _show_scores(self, trained: Mapping[str, Json]) -> None:
        _step("GET /v1/results: balanced accuracy in % of linear probes on unseen digits")
        results = self.client.results(
            dataset="digits", metric="macro_accuracy", split="test", group_by="method"
        )["data"]
        table = _table("", *(f"{family}\n[dim]{meaning}[/]" for family, meaning in FAMILIES.items()))
        for method in specs.METHODS:
            own = [row for row in results if trained[method]["id"] in row["job_ids"]]
            table.add_row(method, *(_percent(own, family, _of_this_seed) for family in FAMILIES))
        chance = (_percent(own, family, lambda row: float(row["chance"])) for family in FAMILIES)
        table.add_row(*(f"[dim]{cell}[/]" for cell in ("chance", *chance)))
        out.print(table)

    def _show_one(self) -> str:
        """The id of the uploaded image."""
        _step(f"Embed a pair of image and text with the exported model, {MODEL}")
        pixels = next(scan for numeral, scan in unseen_digits(1) if numeral == SHOWN)
        self.folder.mkdir(parents=True, exist_ok=True)
        image = self.folder / f"{NUMERALS[SHOWN]}.png"
        image.write_bytes(as_png(pixels))
        asset: str = self.client.upload(image)["id"]
        out.print(as_text(pixels), highlight=False)
        out.print(f"POST /v1/assets → id {asset[:12]}…", highlight=False)
        table = _table("GET /v1/embeddings of", "shape", "first numbers")
        for what, given in _pair_and_parts(asset).items():
            vector = self.client.get_embedding(MODEL, **given)["data"][0]["embedding"]
            table.add_row(what, f"({len(vector)},)", " ".join(f"{x:+.3f}" for x in vector[:3]) + " …")
        out.print(table)
        return asset

    def _show_predictions(self, asset: str) -> None:
        """Of either alone too, though the head was fitted on samples that have both."""
        _step("POST /v1/predictions: what the probe, now a head of the model, says of them")
        asked = _pair_and_parts(asset)
        answer = self.client.predict(MODEL, [_posted(given) for given in asked.values()], top=1)
        ((task, head),) = answer["heads"].items()
        table = _table("", task, "probability")
        for what, each in zip(asked, answer["data"], strict=True):
            ((label, probability),) = each["predictions"][task]["probabilities"].items()
            table.add_row(what, label, f"{probability:.1%}")
        out.print(table)
        low, high = head["ci95"]
        out.print(
            f"Its balanced accuracy is {head['value']:.1%} on {head['n_test']} unseen pairs "
            f"(95 % interval {low:.1%} to {high:.1%}).",
            highlight=False,
        )

    def _show_neighbours(self) -> None:
        """Images alone against captions alone: each is nearest to its own, once the gap between the two is taken off.

        Contrastive training leaves a constant offset between modalities (arXiv:2203.02053), here their means.
        """
        digits = unseen_digits(PER_NUMERAL)
        truth = np.array([numeral for numeral, _ in digits])
        images = self._embedded([{"image": base64.b64encode(as_png(scan)).decode()} for _, scan in digits])
        texts = self._embedded([{"text": caption(numeral)} for numeral in range(10)])
        _step(f"POST /v1/embeddings: {len(images)} unseen digits alone, {len(texts)} captions alone")
        table = _table("mean cosine of a digit to", "its caption", "other captions", "its caption is nearest")
        own = np.arange(10) == truth[:, None]
        for what, cosines in {
            "as they are": cosines_of(images, texts),
            "minus each modality's mean": cosines_of(images - images.mean(0), texts - texts.mean(0)),
        }.items():
            nearest = float((cosines.argmax(1) == truth).mean())
            table.add_row(what, f"{cosines[own].mean():.2f}", f"{cosines[~own].mean():.2f}", f"{nearest:.0%}")
        table.add_row("[dim]chance[/]", "", "", f"[dim]{1 / len(texts):.0%}[/]")
        out.print(table)

    def _show_requests(self, asset: str) -> None:
        url = self.client.server
        _step("Try it yourself")
        for line in (
            f"curl -F file=@{self.folder / NUMERALS[SHOWN]}.png {url}/v1/assets",
            f"curl -G {url}/v1/embeddings -d model={MODEL} -d image={asset} --data-urlencode 'text={caption(SHOWN)}'",
            f"curl '{url}/v1/results?dataset=digits&group_by=method'",
        ):
            out.print(escape(line), highlight=False, soft_wrap=True)

    def _submit(self, kind: str, name: str, spec: Json) -> Json:
        job = self.client.submit(kind, spec, name=name, tags=["demo"])
        self.unfinished.add(job["id"])
        return job

    def _finished(self, jobs: Mapping[str, Json]) -> dict[str, Json]:
        width = max(map(len, jobs))
        labels = [label.ljust(width) for label in jobs]
        told = () if out.is_terminal else ("state",)
        ended = follow(self.client, list(jobs.values()), labels, told=told, check=self.check)
        self.unfinished.difference_update(job["id"] for job in ended)
        for job in ended:
            assert_succeeded(job)
        return dict(zip(jobs, ended, strict=True))

    def _embedded(self, inputs: list[Json]) -> Vectors:
        return np.array([each["embedding"] for each in self.client.embed(MODEL, inputs)["data"]])


def _pair_and_parts(asset: str) -> dict[str, dict[str, str]]:
    """In words → what is asked for. asset: id of the image."""
    text = caption(SHOWN)
    return {
        f"the image and “{text}”": {"image": asset, "text": text},
        "the image alone": {"image": asset},
        f"“{text}” alone": {"text": text},
    }


def _posted(given: Mapping[str, str]) -> Json:
    """The same for a POST, where an image may come in other ways too."""
    return {name: {"asset": value} if name == "image" else value for name, value in given.items()}


def cosines_of(a: Vectors, b: Vectors) -> Vectors:
    """(N, D) and (K, D) to (N, K)."""
    a, b = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (a, b))
    cosines: Vectors = a @ b.T
    return cosines


def _step(title: str) -> None:
    out.print(f"\n[bold]{title}[/]", highlight=False)


def _table(*headings: str) -> Table:
    return Table(*headings, box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _percent(rows: list[Json], family: str, value: Callable[[Json], float]) -> str:
    """The mean over the family's tasks."""
    return f"{100 * statistics.fmean(value(row) for row in rows if row['family'] == family):.1f}"


def _of_this_seed(row: dict[str, Any]) -> float:
    return next(float(each["value"]) for each in row["seeds"] if each["seed"] == specs.SEED)
