"""``gateway ledger tail | show | export``: records for people and programs."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console

from gateway.cli import ledger_payload, ledger_print
from gateway.cli.ledger_authority import write_package
from gateway.cli.ledger_options import DEFAULT, Data, Id, Json, locate, microseconds, must_hold_ledger, plain_errors
from gateway.ledger import archive, export, merkle
from gateway.ledger.authority import Selection
from gateway.ledger.errors import LedgerError
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.verify import PREDICTIONS


def tail(
    data: Data = DEFAULT,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", help="How many of the newest to begin with.")] = 10,
    all_kinds: Annotated[bool, typer.Option("--all", help="Boots, beats and other events too.")] = False,
    as_json: Json = False,
) -> None:
    """Print the newest records, and go on as they come with -f.

    Example: gateway ledger tail -f --data ./data
    """
    with plain_errors():
        must_hold_ledger(data)
        position: dict[tuple[Path, str], int] = {}
        started = False
        while True:
            fresh = [leaf for leaf in _new(data / PREDICTIONS, position, lines, all_kinds)]
            fresh.sort(key=lambda item: (item["t_us"], item["prediction_id"]))
            for item in fresh if started else fresh[-lines:] if lines else []:
                ledger_print.line(item, as_json=as_json, today=datetime.now(UTC).date().isoformat())
            started = True
            if not follow:
                return
            time.sleep(0.1)


def _new(root: Path, position: dict[tuple[Path, str], int], lines: int, all_kinds: bool) -> Iterator[export.Row]:
    """Rows behind the positions; on a shard's first visit the newest ``lines`` of it."""
    for name in shards(root):
        reader = ShardReader(root, name)
        try:
            end, key = reader.size(), (root, name)
            first = position.get(key)
            if first is None:
                yield from _newest(reader, end, lines, all_kinds)
            elif end > first:
                yield from (
                    export.row(leaf) for _, leaf in reader.read(first, end - first) if all_kinds or export.is_call(leaf)
                )
            position[key] = end
        finally:
            reader.close()


def _newest(reader: ShardReader, end: int, lines: int, all_kinds: bool) -> Iterator[export.Row]:
    found: list[bytes] = []
    while end > 0 and len(found) < lines:
        start = max(0, end - 512)
        batch = [leaf for _, leaf in reader.read(start, end - start) if all_kinds or export.is_call(leaf)]
        found, end = batch + found, start
    yield from (export.row(leaf) for leaf in found[-lines:] if lines)


def show(
    prediction_id: Id,
    data: Data = DEFAULT,
    raw: Annotated[bool, typer.Option("--raw", help="The leaf's bytes as stored, nothing else.")] = False,
    as_json: Json = False,
) -> None:
    """Print one record in full, and what became of the contents kept beside it.

    Example: gateway ledger show gw.0/42 --data ./data
    """
    with plain_errors():
        root, shard, seq = locate(data, prediction_id)
        with closing(ShardReader(root, shard)) as reader:
            leaf = reader.leaf(seq)
            kept = ledger_payload.fate(root, reader, seq, leaf)
    if raw:
        sys.stdout.buffer.write(leaf + b"\n")
        return
    shown = {name: value for name, value in export.row(leaf).items() if value not in ("", (), {}, None)}
    if kept:
        shown["contents"] = kept
    shown["leaf_hash"] = merkle.leaf_hash(leaf).hex()
    if as_json:
        typer.echo(json.dumps(shown))
    else:
        Console().print_json(json.dumps(shown))


@contextmanager
def _stdout() -> Iterator[BinaryIO]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def export_command(
    data: Data = DEFAULT,
    form: Annotated[
        str, typer.Option("--format", help="jsonl (rows), raw (leaves as stored) or parquet (both; needs --out).")
    ] = "jsonl",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    shard: Annotated[str, typer.Option(help="Only this shard.")] = "",
    all_kinds: Annotated[bool, typer.Option("--all", help="Boots, beats and other events too.")] = False,
    authority: Annotated[
        Path | None,
        typer.Option(metavar="ZIP", help="Write a package with proofs, keys, a verifier and a handbook instead."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Who asked for the package, and why; it is recorded.")] = "",
    model: Annotated[str, typer.Option(help="Only calls of this model, in the package.")] = "",
    since: Annotated[str, typer.Option(help="First day or time (UTC) in the package, such as 2026-11-01.")] = "",
    until: Annotated[str, typer.Option(help="First day or time not in it any more.")] = "",
    proofs: Annotated[int, typer.Option(min=1, help="Proofs of single records in the package, at most.")] = 200,
) -> None:
    """Write records, one JSON object a line, oldest first within each shard; or a package for an authority.

    Example: gateway ledger export --data ./data --format jsonl > records.jsonl
    Example: gateway ledger export --data ./data --format parquet --out records.parquet
    Example: gateway ledger export --authority credit.zip --model credit --reason "market surveillance, case 17"
    """
    if form not in ("jsonl", "raw", "parquet"):
        raise typer.BadParameter(f"{form!r} is none of jsonl, raw, parquet", param_hint="--format")
    if form == "parquet" and out is None:
        raise typer.BadParameter("Parquet is a file, not a stream: say where with --out", param_hint="--format")
    with plain_errors():
        must_hold_ledger(data)
        if shard and shard not in (there := shards(data / PREDICTIONS)):
            raise LedgerError(f"there is no shard {shard!r} under {data}: there are {', '.join(there)}")
        if authority is None and (model or since or until):
            raise LedgerError("--model, --since and --until choose what goes into a package: add --authority, or query")
        if authority is not None:
            if not reason:
                raise LedgerError("a package for an authority is recorded: say with --reason who asked for it, and why")
            selection = Selection(microseconds(since, 0), microseconds(until, 1 << 62), model, shard)
            count = write_package(data, authority, selection, reason=reason, proofs=proofs)
            typer.echo(f"{authority}: {count} records; check it as its README.md says", err=True)
            return
        if form == "parquet" and out is not None:
            with tempfile.TemporaryDirectory(dir=out.absolute().parent) as folder:
                leaves = Path(folder) / "leaves.ndjson"
                with leaves.open("wb") as file:
                    file.writelines(_lines(data / PREDICTIONS, "raw", shard, all_kinds))
                archive.parquet(leaves, out)
            return
        with out.open("wb") if out else _stdout() as file:
            file.writelines(_lines(data / PREDICTIONS, form, shard, all_kinds))


def _lines(root: Path, form: str, only: str, all_kinds: bool) -> Iterator[bytes]:
    if form == "jsonl":
        yield from (export.jsonl(item) for item in export.rows(root, only=only, all_kinds=all_kinds))
        return
    for name in [only] if only else shards(root):
        yield from (leaf + b"\n" for leaf in export.leaves(root, name) if all_kinds or export.is_call(leaf))
