"""What operators do stands in the governance ledger: by the running gateway, or by the command itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.ledger import app
from gateway.ledger import events, notices, spool
from gateway.ledger.export import leaves
from gateway.ledger.keeper import Keeper
from gateway.ledger.notices import Notice
from gateway.ledger.verify import verify_data

from .conftest import Open, clock_us, fill


def noted(data: Path, *kinds: str) -> list[events.Event]:
    found = [events.decode(leaf) for leaf in leaves(data / "governance", "gov")]
    return [event for event in found if event.kind in kinds]


def a_notice(number: int) -> Notice:
    return Notice(id=f"n{number}", kind="hold", actor="eva", reason="court", t_us=number, fields={"model": "credit"})


async def test_a_running_keeper_writes_down_what_was_left_for_it_in_order_and_once(root: Path) -> None:
    keeper = Keeper(root.parent, clock_us=clock_us)
    await keeper.open({"version": "test"})
    for number in (3, 1, 2):
        notices.place(root.parent / "governance", a_notice(number))
    await keeper.step()
    await keeper.step()
    notices.place(root.parent / "governance", a_notice(4))
    await keeper.close()
    found = noted(root.parent, "hold")
    assert [(event.fields["notice"], event.fields["asked_us"]) for event in found] == [
        ("n1", 1), ("n2", 2), ("n3", 3), ("n4", 4),
    ]  # fmt: skip
    assert (found[0].actor, found[0].reason, found[0].fields["model"]) == ("eva", "court", "credit")
    assert spool.waiting(root.parent / "governance" / notices.FOLDER, Notice) == []


async def test_a_file_that_is_no_notice_is_an_alarm_and_holds_up_nothing(root: Path, open_shard: Open) -> None:
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({"version": "test"})
    folder = root.parent / "governance" / notices.FOLDER
    folder.mkdir()
    (folder / "1-x.json").write_text("{")
    await fill(await open_shard(), 5)
    await keeper.step()
    assert "1-x.json is no notice" in keeper.troubles["notices"]
    (folder / "1-x.json").unlink()
    await keeper.step()
    assert keeper.troubles == {}
    await keeper.close()
    assert noted(root.parent, "anchor")


ACTS: list[tuple[tuple[str, ...], str, dict[str, object]]] = [
    (("hold", "--model", "credit", "--reason", "court"), "hold", {"model": "credit"}),
    (("release-hold", "--model", "credit", "--reason", "settled"), "release_hold", {"model": "credit"}),
    (("erase", "--id", "gw.0/3", "--reason", "ticket"), "erase", {"by": "id"}),
    (
        ("erase", "--tenant", "acme", "--subject", "alice", "--reason", "r"),
        "erase",
        {"by": "subject", "tenant": "acme"},
    ),
    (("prune", "--days", "400", "--reason", "schedule"), "prune", {"days": "400.0"}),
    (("rotate-payload-key", "--reason", "monthly"), "key", {"payload_key": 2}),
    (("rotate-key",), "key", {"signing_key": "ed25519", "act": "make"}),
]


async def do_all(data: Path) -> None:
    for words, _, _ in ACTS:
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--data", str(data)])
        assert done.exit_code == 0, (words, done.output)


def check_all(data: Path) -> None:
    found = [event for event in noted(data, *{kind for _, kind, _ in ACTS}) if "notice" in event.fields]
    assert [event.kind for event in found] == [kind for _, kind, _ in ACTS]
    for event, (words, _, fields) in zip(found, ACTS, strict=True):
        assert fields.items() <= dict(event.fields).items(), words
        assert event.actor
        assert event.reason == (words[words.index("--reason") + 1] if "--reason" in words else "")
    for path in data.rglob("*"):
        assert not path.is_file() or b"alice" not in path.read_bytes(), path
    assert verify_data(data).exit_status == 0


async def test_every_act_is_an_event_where_nothing_runs(root: Path, open_shard: Open) -> None:
    ledger = await open_shard()
    await fill(ledger, 5)
    await ledger.close()
    await do_all(root.parent)
    check_all(root.parent)


async def test_every_act_is_an_event_where_a_gateway_runs(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(beat_s=0.05)
    await fill(ledger, 5)
    keeper = Keeper(root.parent, clock_us=clock_us)
    await keeper.open({"version": "test"})
    over = asyncio.Event()

    async def keep() -> None:
        while not over.is_set():
            await keeper.step()
            await asyncio.sleep(0.02)

    keeping = asyncio.create_task(keep())
    try:
        async with asyncio.timeout(120):
            doing = asyncio.create_task(do_all(root.parent))
            await asyncio.wait([doing, keeping], return_when=asyncio.FIRST_COMPLETED)
            await doing
    finally:
        over.set()
        await keeping
        await ledger.close()
        await keeper.close()
    check_all(root.parent)


def test_without_a_ledger_nothing_is_noted(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["release-hold", "--model", "credit", "--data", str(tmp_path)])
    assert done.exit_code == 2
    assert not (tmp_path / "governance").exists()


@pytest.mark.parametrize(
    "words", [("erase", "--id", "gw.9/1", "--reason", "r"), ("rotate-payload-key", "--reason", "r")]
)
def test_what_is_refused_is_not_noted(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words, "--data", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert not (tmp_path / "none").exists()
