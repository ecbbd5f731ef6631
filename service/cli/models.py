"""`fusebox models` and `fusebox embed`: what is published, its heads, and the embedding of one sample."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from service.cli.terminal import ApiKey, Server, connect, out, print_table
from service.client import DEFAULT_SERVER, Client, ClientError, Json

ANSWERS = {"class": "classes", "multilabel": "labels", "regression": "numbers"}
app = typer.Typer(help="List published models and name them.", no_args_is_help=True)
Wanted = Annotated[str, typer.Argument(metavar="MODEL", help="Name, name@version, alias or digest.")]
Given = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="MODALITY=FILE", help="Any modality of the model, by its name."),
]


@app.command(name="list")
def list_models(server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """List published models."""
    with connect(server, api_key) as client:
        models = client.models()["data"]
    if not models:
        out.print(
            "No models yet. An export job publishes one: fusebox jobs submit --kind export …", highlight=False
        )
        return
    table = Table("model", "inputs", "dim", "method", "dataset", "digest", box=None, pad_edge=False)
    for model in models:
        manifest = model["manifest"]
        inputs = ", ".join(f"{each['name']} {_shape(each)}" for each in manifest["inputs"])
        source = manifest["source"]
        cells = (f"{model['name']}@{model['version']}", inputs, str(manifest["embedding_dim"]))
        table.add_row(*map(escape, (*cells, source["method"], source["dataset"], model["digest"][:12])))
    print_table(table)


@app.command()
def show(
    model: Wanted,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Show what a model takes and where it comes from."""
    with connect(server, api_key) as client:
        found = client.model(model)
    manifest, source = found["manifest"], found["manifest"]["source"]
    aliases = f", called {', '.join(found['aliases'])}" if found["aliases"] else ""
    out.print(f"{found['name']}@{found['version']}{aliases}", highlight=False, markup=False)
    table = Table("input", "kind", "shape", "standardised", box=None, pad_edge=False)
    for each in manifest["inputs"]:
        standardised = "" if each["kind"] == "text" else "yes" if each["mean"] else "no"
        table.add_row(escape(each["name"]), each["kind"], _shape(each), standardised)
    print_table(table)
    facts = {
        "gives": f"{manifest['embedding_dim']} numbers"
        + (", of any of these inputs" if manifest["may_miss"] else ", of all these inputs"),
        "from": f"{source['method']} on {source['dataset']}, seed {source['seed']}, after step {source['step']}",
        "training": source["job_id"],
        "parity": f"at most {manifest['parity']['max_abs_diff']:.2g} from the trained network",
        "precision": ", ".join(found["precisions"]),
        "digest": found["digest"],
    }
    for name, fact in facts.items():
        out.print(f"{name:9} {fact}", highlight=False, markup=False, soft_wrap=True)
    if found["quality"]:
        _print_quality(found["quality"])
    if found["heads"]:
        _print_heads(found["heads"])


@app.command(name="heads")
def list_heads(model: Wanted, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """List the probe heads of a model, with what each is worth."""
    with connect(server, api_key) as client:
        heads = client.heads(model)["data"]
    if heads:
        _print_heads(heads)
    else:
        out.print(
            f"No heads yet. Attach those of a probe: fusebox models attach {model} PROBE",
            highlight=False,
            markup=False,
        )


@app.command()
def attach(
    model: Wanted,
    probe: Annotated[str, typer.Argument(metavar="PROBE", help="Id of a probe of the model's checkpoint.")],
    task: Annotated[list[str] | None, typer.Option(help="Of this task only; may be repeated.")] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Attach the heads of a probe, in the place of those that the model has for the same tasks."""
    with connect(server, api_key) as client:
        _print_heads(client.attach_heads(model, probe, task)["data"])


@app.command()
def detach(
    model: Wanted,
    task: Annotated[str, typer.Argument(help="The task whose head shall answer no more.")],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Take a head off a model."""
    with connect(server, api_key) as client:
        client.detach_head(model, task)
    out.print(f"{model} has no head for {task} any more", highlight=False, markup=False)


@app.command()
def alias(
    alias: Annotated[str, typer.Argument(help="The moving name, such as prod.")],
    model: Annotated[str, typer.Argument(help="The model it shall mean, such as digits@3.")],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Let an alias mean a model version."""
    with connect(server, api_key) as client:
        client.set_alias(alias, model)
    out.print(f"{alias} → {model}", highlight=False, markup=False)


def embed(
    model: Annotated[str, typer.Option(help="Name, name@version or alias; see `fusebox models list`.")],
    image: Annotated[Path | None, typer.Option(help="Image file for the modality `image`.")] = None,
    text: Annotated[str | None, typer.Option(help="For the modality `text`.")] = None,
    given: Given = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Print the fused embedding of one sample as JSON. Modalities may be left out if the model allows it."""
    with connect(server, api_key) as client:
        sample: Json = {}
        if image is not None:
            sample["image"] = {"asset": client.upload(image)["id"]}
        if text is not None:
            sample["text"] = text
        for each in given or ():
            sample |= _modality(client, model, each)
        answer = client.embed(model, [sample])
    out.print_json(data=answer)


def _modality(client: Client, model: str, given: str) -> Json:
    """MODALITY=FILE as an input: the model says whether the file is an image, a text or numbers."""
    name, _, file = given.partition("=")
    if not file:
        raise ClientError(f"--input takes MODALITY=FILE, not {given!r}")
    inputs = {each["name"]: each["kind"] for each in client.model(model)["manifest"]["inputs"]}
    if name not in inputs:
        raise ClientError(f"{model} has no modality {name!r}; it has {', '.join(inputs)}")
    if inputs[name] == "text":
        try:
            return {name: Path(file).read_text("utf-8").strip()}
        except UnicodeDecodeError:
            raise ClientError(f"{file} is not a text in UTF-8") from None
    if inputs[name] in ("sequence", "table"):
        return {name: _numbers(Path(file))}
    return {name: {"asset": client.upload(Path(file))["id"]}}


def _numbers(file: Path) -> Any:
    """A NumPy file packed, or what stands in a JSON file."""
    if file.suffix != ".npy":
        try:
            return json.loads(file.read_text("utf-8"))
        except (ValueError, RecursionError):
            raise ClientError(f"{file} holds no JSON; give a list of numbers, or a file *.npy") from None
    import numpy as np

    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError):
        raise ClientError(f"{file} is no array of NumPy; save it with numpy.save") from None
    if array.dtype.kind not in "fiu":
        raise ClientError(f"{file} holds {array.dtype}, not real numbers")
    with np.errstate(over="ignore"):
        content = np.ascontiguousarray(array, dtype="<f4").tobytes()
    return {"base64": base64.b64encode(content).decode(), "shape": list(array.shape)}


def _print_heads(heads: list[Json]) -> None:
    table = Table("head", "answers", "score", "95 %", "protocol", "probe", box=None, pad_edge=False)
    for head in heads:
        score = "" if head["value"] is None else f"{head['metric']} {head['value']:.4g}"
        interval = "" if head["ci95"] is None else "{:.4g} … {:.4g}".format(*head["ci95"])
        answers = f"{head['outputs']} {ANSWERS[head['type']]}"
        cells = (head["task"], answers, score, interval, head["protocol"], head["probe_job_id"])
        table.add_row(*map(escape, cells))
    print_table(table)


def _print_quality(quality: Json) -> None:
    """Per subset of modalities, how near its embeddings are to those of all, and what probes make of them."""
    tasks = {task: score["metric"] for each in quality["subsets"] for task, score in each["scores"].items()}
    table = Table("made of", "cosine to all", "least", *map(escape, tasks), box=None, pad_edge=False)
    for each in quality["subsets"]:
        scores = [each["scores"].get(task) for task in tasks]
        told = ("" if score is None else f"{score['metric']} {score['value']:.3g}" for score in scores)
        cosines = (f"{each['mean_cosine']:.3f}", f"{each['min_cosine']:.3f}")
        table.add_row(escape(" + ".join(each["modalities"])), *cosines, *told)
    print_table(table)


def _shape(wanted: Json) -> str:
    """Of an input as the manifest describes it."""
    match wanted["kind"]:
        case "image":
            return f"{wanted['channels']} × {wanted['height']} × {wanted['width']}"
        case "text":
            return f"up to {wanted['max_tokens']} tokens"
        case "sequence":
            return f"up to {wanted['max_steps']} × {wanted['features']}"
        case _:
            return f"{wanted['features']}"
