"""``gateway catalog``: say of model files, by digest, that they are signed and how far they have come."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway.pipeline.catalog import CatalogError, Entry, File, defect, read_catalog, read_signers, sign
from gateway.serving.servable import ModelUnloadable
from gateway.serving.version_files import VersionFiles

app = typer.Typer(help="Sign model files and say how far they have come.", no_args_is_help=True)

Catalog = Annotated[Path, typer.Option(metavar="FILE", help="The catalog, as in models.catalog.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]
Files = Annotated[Path, typer.Argument(metavar="PATH", help="A version's model.onnx, or the directory of that name.")]
DEFAULT = Path("catalog.json")


@app.command(
    "sign",
    epilog="Example: gateway catalog sign diabetes examples/models/diabetes/1/model.onnx --key ann.pem --keyid ann",
)
def sign_command(
    model: Model,
    path: Files,
    key: Annotated[Path, typer.Option(metavar="PEM", help="The signer's private key.")],
    keyid: Annotated[str, typer.Option(help="The signer's key id, as models.signers has it.")],
    algorithm: Annotated[str, typer.Option(help="The signer's algorithm.")] = "ES256",
    catalog: Catalog = DEFAULT,
) -> None:
    """Sign the files of one version and note the signature in the catalog."""
    try:
        entry = _entry(catalog, model, _digest(path))
        token = sign(
            model, entry.digest, private_pem=key.read_text(), key=(keyid, algorithm), now_s=time.time_ns() // 10**9
        )
        _write(catalog, msgspec.structs.replace(entry, signatures=(*entry.signatures, token)))
    except (CatalogError, ModelUnloadable, OSError, ValueError) as error:
        raise _failed(str(error)) from error
    typer.echo(f"{model} {entry.digest} signed by {keyid}")


@app.command(
    "stage",
    epilog="Example: gateway catalog stage diabetes examples/models/diabetes/1/model.onnx approved --owner risk",
)
def stage_command(
    model: Model,
    path: Files,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="candidate, in_review, approved, released, ...")],
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    classification: Annotated[str, typer.Option(help="What its data is, such as pii.")] = "",
    catalog: Catalog = DEFAULT,
) -> None:
    """Say how far the files of one version have come. Running gateways follow within a second."""
    try:
        entry = _entry(catalog, model, _digest(path))
        changed = {"stage": stage, "owner": owner or entry.owner}
        changed["classification"] = classification or entry.classification
        _write(catalog, msgspec.convert({**msgspec.structs.asdict(entry), **changed}, Entry))
    except (CatalogError, ModelUnloadable, OSError, ValueError) as error:
        raise _failed(str(error)) from error
    typer.echo(f"{model} {entry.digest} is {stage}")


@app.command("list", epilog="Example: gateway catalog list --signers signers.json")
def list_command(
    catalog: Catalog = DEFAULT,
    signers: Annotated[Path | None, typer.Option(metavar="FILE", help="Check signatures with these keys.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show what the catalog says. Exit 1 when a signature does not hold."""
    try:
        keys = read_signers(signers) if signers is not None else {}
        entries = read_catalog(catalog)
    except CatalogError as error:
        raise _failed(str(error)) from error
    wrong = 0
    rows = []
    for entry in entries:
        defects = [defect(entry, token, keys) for token in entry.signatures] if signers is not None else []
        wrong += sum(map(bool, defects))
        signed = f"{len(entry.signatures) - sum(map(bool, defects))} of {len(entry.signatures)} signatures hold"
        rows.append({**msgspec.to_builtins(entry), "defects": [text for text in defects if text]})
        if not as_json:
            shown = signed if signers is not None else f"{len(entry.signatures)} signatures, not checked"
            typer.echo(f"{entry.model}  {entry.digest}  {entry.stage or '-'}  {entry.owner or '-'}  {shown}")
            for text in filter(None, defects):
                typer.echo(f"    {text}", err=True)
    if as_json:
        typer.echo(json.dumps({"models": rows}))
    raise typer.Exit(1 if wrong else 0)


def _digest(path: Path) -> str:
    """The digest of a version's files, as the gateway computes it when it loads them. Raises: ModelUnloadable."""
    return VersionFiles(path.parent, path).read().digest


def _entry(catalog: Path, model: str, digest: str) -> Entry:
    """The entry that there is, or a new one. Raises: CatalogError."""
    entries = read_catalog(catalog) if catalog.exists() else ()
    found = next((entry for entry in entries if (entry.model, entry.digest) == (model, digest)), None)
    return found or msgspec.convert({"model": model, "digest": digest}, Entry)


def _write(catalog: Path, entry: Entry) -> None:
    """Replace the file with one that holds ``entry``. Raises: CatalogError, OSError."""
    entries = read_catalog(catalog) if catalog.exists() else ()
    others = [each for each in entries if (each.model, each.digest) != (entry.model, entry.digest)]
    text = msgspec.json.format(msgspec.json.encode(File(models=(*others, entry))), indent=2)
    draft = catalog.with_name(f".{catalog.name}.{os.getpid()}")
    draft.write_bytes(text + b"\n")
    draft.replace(catalog)


def _failed(text: str) -> typer.Exit:
    typer.echo(f"error: {text}", err=True)
    return typer.Exit(1)
