"""``gateway ledger erase | prune | hold | release-hold | rotate-key | rotate-payload-key``: privacy and retention.

What concerns a shard's files is ordered from its writer: the running gateway, or this process where none runs.
"""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.ledger_note import clock_us, note
from gateway.cli.ledger_options import DEFAULT, Data, Json, locate, must_hold_ledger, plain_errors
from gateway.cli.ledger_print import effects
from gateway.ledger import export, holds, orders, record
from gateway.ledger.errors import LedgerError, LedgerLocked, LedgerUnwritable
from gateway.ledger.holds import Hold
from gateway.ledger.logkeys import Keyring, LogKeys
from gateway.ledger.notary import KEYRING
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.retirement import retire_key
from gateway.ledger.shard import ShardLedger
from gateway.ledger.upkeep import LEAF_FLOOR_DAYS, Order
from gateway.ledger.vault import Vault
from gateway.ledger.verify import GOVERNANCE, PREDICTIONS

Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
_DAY_US = 86_400_000_000
_PATIENCE_S = 60.0


def erase(
    reason: Reason,
    tenant: Annotated[
        str | None, typer.Option(help='The tenant that the principal or subject belongs to; "" where there is none.')
    ] = None,
    subject: Annotated[
        str, typer.Option(help="Whose data it is, as the calls named it (parameter gateway_subject).")
    ] = "",
    principal: Annotated[str, typer.Option(help="All payloads of this caller of the tenant.")] = "",
    ids: Annotated[list[str] | None, typer.Option("--id", help="A prediction id; may be repeated.")] = None,
    data: Data = DEFAULT,
    as_json: Json = False,
) -> None:
    """Make the kept contents of a subject, or of single predictions, unrecoverable. The ledger still verifies.

    Example: gateway ledger erase --tenant acme --subject patient-17 --reason "GDPR Art. 17, ticket 4711"
    """
    with plain_errors():
        must_hold_ledger(data)
        if [bool(subject), bool(principal), bool(ids)].count(True) != 1:
            raise LedgerError("name one of --subject, --principal (both with --tenant), or prediction ids with --id")
        if tenant is None and not ids:
            raise LedgerError(f"say with --tenant whose {subject or principal!r} it is: names are a tenant's own")
        named = _calls_of(data / PREDICTIONS, tenant or "", principal) if principal else _recorded(data, ids or ())
        digest = Vault(FileKeys(data / "keys" / "payload")).subject(tenant or "", subject).hex() if subject else ""
        root = data / PREDICTIONS
        given = {
            shard: Order(
                id=orders.new_id(),
                kind="erase",
                actor=getpass.getuser(),
                reason=reason,
                subject=digest,
                seqs=tuple(named.get(shard, ())),
            )
            for shard in (shards(root) if subject else named)
        }
        by = "subject" if subject else "principal" if principal else "id"
        _carry_out(data, root, given, as_json, {"by": by, "tenant": tenant or ""})


def _recorded(data: Path, ids: Sequence[str]) -> dict[str, list[int]]:
    """Sequence numbers by shard. An erasure of what was never recorded would be a record that misleads.

    Raises: LedgerError.
    """
    named: dict[str, list[int]] = {}
    for item in ids:
        root, shard, seq = locate(data, item)
        with closing(ShardReader(root, shard)) as reader:
            reader.leaf(seq)
        named.setdefault(shard, []).append(seq)
    return named


def _calls_of(root: Path, tenant: str, principal: str) -> dict[str, list[int]]:
    """Sequence numbers, by shard, of the calls of one principal of one tenant."""
    named: dict[str, list[int]] = {}
    for shard in shards(root):
        for leaf in export.leaves(root, shard):
            if export.is_call(leaf):
                item = record.decode(leaf)
                if (item.tenant, item.principal) == (tenant, principal):
                    named.setdefault(shard, []).append(item.seq)
    if not named:
        raise LedgerError(f"there are no calls of {principal!r} of tenant {tenant!r}")
    return named


def prune(
    reason: Reason,
    days: Annotated[float, typer.Option(help="Keep what is younger than this.")] = 400.0,
    below_floor: Annotated[
        bool, typer.Option("--below-floor", help=f"Allow less than {LEAF_FLOOR_DAYS} days.")
    ] = False,
    data: Data = DEFAULT,
    as_json: Json = False,
) -> None:
    """Delete records after their time, whole segments at once. Their hashes stay: the ledger and receipts still verify.

    Example: gateway ledger prune --days 400 --reason "retention schedule 2026"
    """
    with plain_errors():
        if days < LEAF_FLOOR_DAYS and not below_floor:
            raise LedgerError(
                f"{days:g} days is below {LEAF_FLOOR_DAYS}, the six months of Regulation (EU) 2024/1689, Art. 19(1): "
                "add --below-floor if another law asks for it; the reason is recorded"
            )
        must_hold_ledger(data)
        root = data / PREDICTIONS
        before = clock_us() - int(days * _DAY_US)
        held = holds.held(root)
        given = {
            shard: Order(
                id=orders.new_id(), kind="prune", actor=getpass.getuser(), reason=reason, before_us=before, held=held
            )
            for shard in shards(root)
        }
        _carry_out(data, root, given, as_json, {"days": str(days)})


def hold(
    reason: Reason,
    model: Annotated[str, typer.Option(help='The model whose records must stay; "*" for all.')] = "*",
    data: Data = DEFAULT,
) -> None:
    """Let nothing of a model expire or be pruned until the hold is released.

    Example: gateway ledger hold --model credit --reason "incident 2026-11, Art. 73(6)"
    """
    with plain_errors():
        must_hold_ledger(data)
        note(data, "hold", reason=reason, fields={"model": model})
        holds.add(data / PREDICTIONS, Hold(model=model, reason=reason, actor=getpass.getuser(), since_us=clock_us()))
    typer.echo(f"held: {model}")


def release_hold(
    model: Annotated[str, typer.Option(help='As it was held; "*" for all.')] = "*",
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded.")] = "",
    data: Data = DEFAULT,
) -> None:
    """End a hold.

    Example: gateway ledger release-hold --model credit
    """
    with plain_errors():
        holds.must_be_held(data / PREDICTIONS, model)
        note(data, "release_hold", reason=reason, fields={"model": model})
        for ended in holds.release(data / PREDICTIONS, model):
            typer.echo(f"released: {ended.model}, held for: {ended.reason}")


def rotate_payload_key(reason: Reason, data: Data = DEFAULT, as_json: Json = False) -> None:
    """Re-wrap all kept payloads under a new key and destroy the old ones: what was erased is gone in backups too.

    Example: gateway ledger rotate-payload-key --reason "monthly"
    """
    with plain_errors():
        must_hold_ledger(data)
        root, keys = data / PREDICTIONS, FileKeys(data / "keys" / "payload")
        old = keys.generations()
        fresh = max(old, default=0) + 1
        note(data, "key", reason=reason, fields={"payload_key": fresh, "destroys": len(old)})
        keys.rotate(fresh)
        for base in (root, data / GOVERNANCE):
            given = {
                shard: Order(id=orders.new_id(), kind="rewrap", actor=getpass.getuser(), reason=reason)
                for shard in shards(base)
            }
            _carry_out(data, base, given, as_json)
        for generation in old:
            keys.destroy(generation)
        typer.echo(f"payload key {keys.current()} in use, {len(old)} destroyed", err=True)


def rotate_key(
    retire: Annotated[
        bool, typer.Option("--retire", help="End the old key, after two anchored heads with both.")
    ] = False,
    post_quantum: Annotated[bool, typer.Option("--post-quantum", help="The ML-DSA-44 key instead of Ed25519.")] = False,
    data: Data = DEFAULT,
) -> None:
    """Make the next key that signs heads. Old and new both sign until the old one is retired.

    Example: gateway ledger rotate-key, and some minutes later: gateway ledger rotate-key --retire
    """
    kind = "mldsa44" if post_quantum else "ed25519"
    with plain_errors():
        must_hold_ledger(data)
        keys = LogKeys(data / "keys" / "log")
        note(data, "key", fields={"signing_key": kind, "act": "retire" if retire else "make"})
        if retire:
            for root in (data / PREDICTIONS, data / GOVERNANCE):
                retire_key(root, Keyring(root / KEYRING), keys, kind)
            keys.retire(kind)
            typer.echo("the old key is retired: it is believed for what it signed, and for nothing later")
        else:
            typer.echo(f"made {keys.make(kind)}")


def _carry_out(
    data: Path, root: Path, given: dict[str, Order], as_json: bool, about: dict[str, str] | None = None
) -> None:
    """Have every shard's order carried out, and say what each did; with ``about`` it is an event first."""
    known = shards(root)
    for shard in given:
        if shard not in known:
            raise LedgerError(f"there is no shard {shard!r} under {root}")
    first = next(iter(given.values()), None)
    if about is not None and first is not None:
        ids = tuple(f"{shard}:{order.id}" for shard, order in given.items())
        note(data, first.kind, reason=first.reason, fields={**about, "orders": ids})
    for shard, order in given.items():
        orders.place(root / shard, order)
    for shard, order in given.items():
        asyncio.run(_see_through(root, shard, order))
    effects(root, given, as_json=as_json)


async def _see_through(root: Path, shard: str, order: Order) -> None:
    """Carry the order out ourselves, or wait until the running gateway has."""
    deadline = time.monotonic() + _PATIENCE_S
    path = root / shard / orders.FOLDER / f"{order.id}.json"
    while path.exists():
        try:
            ledger = await ShardLedger.open(root, shard, boot={"by": "gateway ledger"}, clock_us=clock_us)
        except LedgerLocked:
            if time.monotonic() > deadline:
                raise LedgerUnwritable(
                    f"shard {shard!r} is in use and has not carried out the order within {_PATIENCE_S:.0f} s: "
                    f"it stays in {path} and will be"
                ) from None
            await asyncio.sleep(0.2)
            continue
        try:
            await ledger.carry_out()
        finally:
            await ledger.close()
