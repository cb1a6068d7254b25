"""``gateway predict``, ``models`` and ``probe``: what an application does, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli import tensors
from gateway.cli.client_ending import REFUSED, ended, ids, print_ids
from gateway.cli.connection import HEALTH, INFERENCE, Connection, Quotes, Refusal, Target
from gateway.pipeline.payload import SUBJECT
from gateway.v1 import health, inference

Url = Annotated[str, typer.Option(envvar="GATEWAY_URL", metavar="HOST:PORT", help="The gateway's gRPC address.")]
Key = Annotated[str, typer.Option(envvar="GATEWAY_KEY", metavar="KEY", help="API key or token, sent as Bearer.")]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", help="Give up after this long.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tls = Annotated[bool, typer.Option("--tls", help="Use TLS with the system's certificate authorities.")]
Ca = Annotated[Path | None, typer.Option(metavar="PEM", help="Use TLS and trust this certificate authority.")]
Cert = Annotated[Path | None, typer.Option(metavar="PEM", help="Client certificate, for mTLS.")]
CertKey = Annotated[Path | None, typer.Option(metavar="PEM", help="Private key of --cert.")]

Specs: TypeAlias = Mapping[str, inference.ModelMetadataResponse.TensorMetadata]
_MANY = 24  # values of one output that a terminal shows


def predict(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    input: Annotated[
        list[str], typer.Option("--input", metavar="NAME[:DATATYPE]=JSON|@FILE.npy", help="An input; repeat for more.")
    ],
    version: Annotated[str, typer.Option("--version", help="A version number or label; the newest without it.")] = "",
    output: Annotated[list[str] | None, typer.Option("--output", help="Only this output; repeat for more.")] = None,
    subject: Annotated[str, typer.Option("--subject", help="Whose data this is, so that it can be erased later.")] = "",
    url: Url = "localhost:8001",
    key: Key = "",
    timeout: Timeout = 10.0,
    as_json: Json = False,
    tls: Tls = False,
    ca: Ca = None,
    cert: Cert = None,
    cert_key: CertKey = None,
) -> None:
    """Ask a model for one prediction and show what came back, or why not."""
    target = Target(url=url, key=key, timeout_s=timeout, tls=tls, ca=ca, cert=cert, cert_key=cert_key)
    with ended(as_json), Connection(target) as gateway:
        arguments = [tensors.parse(text) for text in input]
        specs = _specs(gateway, model, version, arguments)
        request = inference.ModelInferRequest(model_name=model, model_version=version)
        for tensor in _typed(arguments, specs or {}):
            request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            request.raw_input_contents.append(tensor.data)
        for name in output or ():
            request.outputs.add(name=name)
        if subject:
            request.parameters[SUBJECT].string_param = subject
        try:
            response, quotes = gateway.call(f"{INFERENCE}/ModelInfer", request, inference.ModelInferResponse)
        except Refusal as refusal:
            if specs is None and refusal.code == "INVALID_ARGUMENT":
                refusal.hint = _guessed(arguments)
            raise
        _show_prediction(response, quotes, as_json)


def models(
    url: Url = "localhost:8001",
    key: Key = "",
    timeout: Timeout = 10.0,
    as_json: Json = False,
    tls: Tls = False,
    ca: Ca = None,
    cert: Cert = None,
    cert_key: CertKey = None,
) -> None:
    """List the models that the caller may see, and their state."""
    target = Target(url=url, key=key, timeout_s=timeout, tls=tls, ca=ca, cert=cert, cert_key=cert_key)
    with ended(as_json), Connection(target) as gateway:
        request = inference.RepositoryIndexRequest()
        index, _ = gateway.call(f"{INFERENCE}/RepositoryIndex", request, inference.RepositoryIndexResponse)
    if as_json:
        rows = [{"name": m.name, "version": m.version, "state": m.state, "reason": m.reason} for m in index.models]
        typer.echo(json.dumps(rows))
        return
    table = Table("model", "version", "state", "reason")
    for row in index.models:
        style = "green" if row.state == "READY" else "yellow"
        table.add_row(Text(row.name), Text(row.version), Text(row.state, style=style), Text(row.reason))
    Console().print(table if index.models else "no models that this caller may see")


def probe(
    service: Annotated[str, typer.Option(help="A service or model name; the whole server without it.")] = "",
    url: Url = "localhost:8001",
    key: Key = "",
    timeout: Timeout = 3.0,
    as_json: Json = False,
    tls: Tls = False,
    ca: Ca = None,
    cert: Cert = None,
    cert_key: CertKey = None,
) -> None:
    """Ask for the standard gRPC health status; exit status 0 only if it is SERVING."""
    target = Target(url=url, key=key, timeout_s=timeout, tls=tls, ca=ca, cert=cert, cert_key=cert_key)
    with ended(as_json), Connection(target) as gateway:
        request = health.HealthCheckRequest(service=service)
        response, _ = gateway.call(f"{HEALTH}/Check", request, health.HealthCheckResponse)
    status = health.HealthCheckResponse.ServingStatus.Name(response.status)
    typer.echo(json.dumps({"status": status}) if as_json else status)
    if status != "SERVING":
        raise typer.Exit(REFUSED)


def _specs(gateway: Connection, model: str, version: str, arguments: list[tensors.Argument]) -> Specs | None:
    """The model's inputs where they are needed to type ``arguments``; None when the caller may not see them."""
    if all(argument.datatype for argument in arguments):
        return {}
    request = inference.ModelMetadataRequest(name=model, version=version)
    try:
        metadata, _ = gateway.call(f"{INFERENCE}/ModelMetadata", request, inference.ModelMetadataResponse)
    except Refusal as refusal:
        if refusal.code != "PERMISSION_DENIED":  # who may not see the metadata may still predict
            raise
        return None
    return {spec.name: spec for spec in metadata.inputs}


def _typed(arguments: list[tensors.Argument], specs: Specs) -> Iterator[tensors.WireTensor]:
    """The arguments in the datatypes and shapes of the model's own metadata."""
    for argument in arguments:
        spec = specs.get(argument.name)
        datatype = argument.datatype or (spec.datatype if spec else tensors.guess(argument.value))
        yield tensors.to_wire(argument, datatype, tuple(spec.shape) if spec else ())


def _guessed(arguments: list[tensors.Argument]) -> str:
    """What was sent without the model's metadata, and how to say it instead."""
    guesses = [(a.name, tensors.guess(a.value)) for a in arguments if not a.datatype]
    kinds = ", ".join(f"{datatype} for {name}" for name, datatype in guesses)
    other = "INT64" if guesses[0][1] == "FP32" else "FP32"
    return f"metadata denied, guessed {kinds} and took the shape as written; write --input {guesses[0][0]}:{other}=..."


def _show_prediction(response: inference.ModelInferResponse, quotes: Quotes, as_json: bool) -> None:
    outputs = [
        (tensor.name, tensor.datatype, list(tensor.shape), tensors.to_lists(tensor.datatype, tuple(tensor.shape), raw))
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    ]
    if as_json:
        rows = [
            dict(zip(("name", "datatype", "shape", "data"), row, strict=True)) | {"masked": row[0] in quotes.masked}
            for row in outputs
        ]
        answer = {"model": response.model_name, "version": response.model_version, "outputs": rows}
        warned = {"policy_warnings": list(quotes.warnings)} if quotes.warnings else {}
        typer.echo(json.dumps(answer | warned | ids(quotes)))
        return
    table = Table("output", "datatype", "shape", "values", title=f"{response.model_name} {response.model_version}")
    for name, datatype, shape, data in outputs:
        mark = Text("masked by policy: ", style="yellow") if name in quotes.masked else Text()
        table.add_row(Text(name), datatype, str(shape), mark + Text(_short(data)))
    console = Console()
    console.print(table)
    if quotes.warnings:
        console.print(Text(f"policy warning: would be denied for {', '.join(quotes.warnings)}", style="yellow"))
    print_ids(console, quotes)


def _short(data: object) -> str:
    text = json.dumps(data)
    return text if len(text) <= _MANY * 16 else f"{text[: _MANY * 16]} ... (--json shows all)"
