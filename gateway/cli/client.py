"""``gateway predict``, ``models`` and ``probe``: what an application does, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli import tensors
from gateway.cli.connection import HEALTH, INFERENCE, Connection, Quotes, Refusal, Target
from gateway.v1 import health, inference

Url = Annotated[str, typer.Option(envvar="GATEWAY_URL", metavar="HOST:PORT", help="The gateway's gRPC address.")]
Key = Annotated[str, typer.Option(envvar="GATEWAY_KEY", metavar="KEY", help="API key or token, sent as Bearer.")]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", help="Give up after this long.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tls = Annotated[bool, typer.Option("--tls", help="Use TLS with the system's certificate authorities.")]
Ca = Annotated[Path | None, typer.Option(metavar="PEM", help="Use TLS and trust this certificate authority.")]
Cert = Annotated[Path | None, typer.Option(metavar="PEM", help="Client certificate, for mTLS.")]
CertKey = Annotated[Path | None, typer.Option(metavar="PEM", help="Private key of --cert.")]

_MANY = 24  # values of one output that a terminal shows


def predict(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    input: Annotated[
        list[str], typer.Option("--input", metavar="NAME[:DATATYPE]=JSON|@FILE.npy", help="An input; repeat for more.")
    ],
    version: Annotated[str, typer.Option("--version", help="A version number or label; the newest without it.")] = "",
    output: Annotated[list[str] | None, typer.Option("--output", help="Only this output; repeat for more.")] = None,
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
    with _reported(as_json), Connection(target) as gateway:
        arguments = [tensors.parse(text) for text in input]
        request = inference.ModelInferRequest(model_name=model, model_version=version)
        for tensor in _typed(gateway, model, version, arguments):
            request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            request.raw_input_contents.append(tensor.data)
        for name in output or ():
            request.outputs.add(name=name)
        response, quotes = gateway.call(f"{INFERENCE}/ModelInfer", request, inference.ModelInferResponse)
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
    with _reported(as_json), Connection(target) as gateway:
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
    with _reported(as_json), Connection(target) as gateway:
        request = health.HealthCheckRequest(service=service)
        response, _ = gateway.call(f"{HEALTH}/Check", request, health.HealthCheckResponse)
    status = health.HealthCheckResponse.ServingStatus.Name(response.status)
    typer.echo(json.dumps({"status": status}) if as_json else status)
    if status != "SERVING":
        raise typer.Exit(1)


def _typed(
    gateway: Connection, model: str, version: str, arguments: list[tensors.Argument]
) -> Iterator[tensors.WireTensor]:
    """The arguments in the datatypes and shapes of the model's own metadata."""
    request = inference.ModelMetadataRequest(name=model, version=version)
    specs: dict[str, inference.ModelMetadataResponse.TensorMetadata] = {}
    if not all(argument.datatype for argument in arguments):
        try:
            metadata, _ = gateway.call(f"{INFERENCE}/ModelMetadata", request, inference.ModelMetadataResponse)
            specs = {spec.name: spec for spec in metadata.inputs}
        except Refusal as refusal:
            if refusal.code != "PERMISSION_DENIED":  # who may not see the metadata may still predict
                raise
    for argument in arguments:
        spec = specs.get(argument.name)
        datatype = argument.datatype or (spec.datatype if spec else tensors.guess(argument.value))
        yield tensors.to_wire(argument, datatype, tuple(spec.shape) if spec else ())


def _show_prediction(response: inference.ModelInferResponse, quotes: Quotes, as_json: bool) -> None:
    outputs = [
        (tensor.name, tensor.datatype, list(tensor.shape), tensors.to_lists(tensor.datatype, tuple(tensor.shape), raw))
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    ]
    if as_json:
        rows = [dict(zip(("name", "datatype", "shape", "data"), row, strict=True)) for row in outputs]
        typer.echo(
            json.dumps(
                {"model": response.model_name, "version": response.model_version, "outputs": rows} | _ids(quotes)
            )
        )
        return
    table = Table("output", "datatype", "shape", "values", title=f"{response.model_name} {response.model_version}")
    for name, datatype, shape, data in outputs:
        table.add_row(Text(name), datatype, str(shape), Text(_short(data)))
    console = Console()
    console.print(table)
    for label, value in _ids(quotes).items():
        console.print(f"[dim]{label.replace('_', ' ')}[/dim] {value}", highlight=False)


def _short(data: object) -> str:
    text = json.dumps(data)
    return text if len(text) <= _MANY * 16 else f"{text[: _MANY * 16]} ... (--json shows all)"


def _ids(quotes: Quotes) -> dict[str, str]:
    ids = {"prediction_id": quotes.prediction_id, "decision_id": quotes.decision_id, "trace_id": quotes.trace_id}
    return {name: value for name, value in ids.items() if value}


@contextmanager
def _reported(as_json: bool) -> Iterator[None]:
    """Turn refusals and unusable arguments into a message and exit status 1."""
    try:
        yield
    except Refusal as refusal:
        if as_json:
            error = {"code": refusal.code, "message": refusal.message, "reasons": list(refusal.reasons)}
            typer.echo(json.dumps({"error": error} | _ids(refusal.quotes)))
        else:
            console = Console(stderr=True, highlight=False)
            console.print(Text(refusal.code, style="bold red"), Text(refusal.message))
            for reason in refusal.reasons if refusal.code == "PERMISSION_DENIED" else ():
                console.print(Text("reason ", style="dim"), Text(reason), sep="")
            for label, value in _ids(refusal.quotes).items():
                console.print(f"[dim]{label.replace('_', ' ')}[/dim] {value}")
        raise typer.Exit(1) from None
    except (tensors.TensorError, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
