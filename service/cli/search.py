"""`fusebox search`: the samples of an embedded dataset that are nearest to a text, an image, or one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from service.cli.terminal import ApiKey, Server, connect, out, print_table
from service.client import DEFAULT_SERVER, Client, ClientError, Json


def search(
    index: Annotated[str, typer.Argument(metavar="INDEX", help="Id of an embed job that has succeeded.")],
    text: Annotated[str | None, typer.Option(help="For the modality `text`.")] = None,
    image: Annotated[Path | None, typer.Option(help="Image file for the modality `image`.")] = None,
    sample: Annotated[
        int | None, typer.Option(min=0, help="A sample of the index, by its place in the dataset.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="What embeds a text or an image; by default a model of the index's checkpoint."),
    ] = None,
    count: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many to show.")] = 5,
    within: Annotated[
        str | None,
        typer.Option("--in", metavar="MODALITY[+MODALITY]", help="Search in the vectors of these alone."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only samples of train, val or test.")] = None,
    metric: Annotated[str, typer.Option(help="cosine, dot or l2.")] = "cosine",
    center: Annotated[bool, typer.Option("--center", help="Subtract the mean of each kind first.")] = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Show the samples that are nearest to a text, to an image, to both as one, or to another sample."""
    asked: Json = {"index": index, "k": count, "metric": metric, "center": center}
    asked |= {"split": split} if split else {}
    asked |= {"modalities": within.split("+")} if within else {}
    with connect(server, api_key) as client:
        if sample is not None:
            if text is not None or image is not None:
                raise ClientError("give --sample, or --text and --image, and not both")
            asked["sample"] = sample
        else:
            asked["inputs"] = [_input(client, text, image)]
            asked["model"] = model or _model_of(client, index)
        answer = client.search(asked)
    print_table(_table(answer))
    of = "+".join(answer["modalities"])
    out.print(
        f"of {answer['searched']} samples of {answer['dataset']}, by {of}", style="dim", highlight=False
    )


def _input(client: Client, text: str | None, image: Path | None) -> Json:
    if text is None and image is None:
        raise ClientError("say what to look for: --text, --image, both, or --sample")
    uploaded: Json = {} if image is None else {"image": {"asset": client.upload(image)["id"]}}
    return uploaded | ({} if text is None else {"text": text})


def _model_of(client: Client, index: str) -> str:
    """The newest model of the checkpoint by which the index was made."""
    checkpoint = client.embeddings_of(index)["source"]["checkpoint_sha256"]
    for model in client.models()["data"]:
        if model["manifest"]["source"]["checkpoint_sha256"] == checkpoint:
            return str(model["digest"])
    raise ClientError(
        f"no model is of the checkpoint that {index} was embedded by; export it, or name a model with --model"
    )


def _table(answer: Json) -> Table:
    tasks = list(answer["data"][0]["labels"]) if answer["data"] else []
    score = {"cosine": "cosine", "dot": "product", "l2": "distance"}[answer["metric"]]
    table = Table(score, "sample", "split", *map(escape, tasks), box=None, pad_edge=False)
    for each in answer["data"]:
        labels = (_said(each["labels"][task]) for task in tasks)
        table.add_row(
            f"{each['score']:.4f}", str(each["sample"]), each["split"], *(escape(label) for label in labels)
        )
    return table


def _said(label: Any) -> str:
    if isinstance(label, list):
        return ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in label)
    return str(label)
