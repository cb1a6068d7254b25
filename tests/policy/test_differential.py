"""The two engines answer alike: every mutation of every canary, and random inputs, on the shipped policies."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import PolicyUnavailable
from gateway.policy.bundle import Bundle
from gateway.policy.canaries import parse
from gateway.policy.connections import Address, Pool
from gateway.policy.input import Document, encode
from gateway.policy.mutate import mutations
from gateway.policy.opa import OpaPoint
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.samples import samples
from gateway.policy.schema import Gateway
from gateway.policy.verdict import Verdict

SHIPPED = Path(__file__).parents[2] / "policies"


def alike(a: Verdict, b: Verdict) -> bool:
    """Equal up to order; a failed evaluation on one side equals a denial on the other."""
    if a.kind or b.kind:
        return a.allow is b.allow is False
    key = lambda items: sorted(map(repr, items))  # noqa: E731  # two uses, one line
    return a.allow == b.allow and key(a.reasons) == key(b.reasons) and key(a.obligations) == key(b.obligations)


async def differences(url: str, bundle: Bundle, documents: list[Document]) -> list[str]:
    embedded = EmbeddedPoint(bundle, gateway=Gateway())
    address = Address.parse(url)
    opa = OpaPoint(Pool(address), address, gateway=Gateway(), clock_ns=time.monotonic_ns)
    found = []
    for document in documents:
        raw = encode(document)
        try:
            theirs, _ = await opa.ask(raw, 10.0)
        except PolicyUnavailable as error:
            found.append(f"{raw.decode()}: {error.__cause__}")
            continue
        ours = embedded.ask(raw)
        if not alike(ours, theirs):
            found.append(f"{raw.decode()}: embedded {ours}, opa {theirs}")
    opa.close()
    await asyncio.sleep(0)
    return found


@pytest.mark.slow
async def test_mutated_canaries(start_opa: Callable[[Path], str], shipped: Bundle) -> None:
    documents = [
        mutated
        for canary in parse(shipped.canaries)
        for path, _, mutated in mutations(canary.document())
        if shipped.reads and any(path[: len(read)] == read[: len(path)] for read in shipped.reads)
    ]
    assert len(documents) >= 250
    assert await differences(start_opa(SHIPPED), shipped, documents) == []


@pytest.mark.slow
async def test_random_inputs(start_opa: Callable[[Path], str], shipped: Bundle) -> None:
    chance = random.Random(7)
    data = json.loads(shipped.data)
    documents = []
    for _ in range(1500):
        document = chance.choice(list(samples()))
        values: dict[str, dict[str, list[object]]] = {
            "subject": {
                "id": ["screening-app", "admin", "x", ""],
                "type": ["user", "service", "anonymous", None],
                "tenant": [*data["tenants"], "", 3],
                "groups": [[], ["clinicians"], ["operators", 4], "clinicians", {}],
            },
            "action": {
                "group": [*data["required"], "", None, ["inference"]],
                "name": ["infer", "load", "get", "server_live", 7],
            },
            "model": {"name": [*data["models"], "", "a/b", None, "*"]},
            "request": {
                "peer_ip": ["10.0.0.1", "::1", "8.8.8.8", "", "fe80::1", "2001:db8::1", "127.0.0.1"],
                "peer_kind": ["tcp", "uds", 1],
                "time": [{"hour_utc": h, "weekday": w} for h in (0, 7, 18, 19, None) for w in (1, 6, "1")],
            },
            "tensors": {"batch": [0, 1, 8, 32, 33, 64, 1.5, "8", None], "total_bytes": [0, 10, 10**9, -1, True]},
        }
        for section, fields in values.items():
            for name, choices in fields.items():
                if chance.random() < 0.6:
                    document[section][name] = chance.choice(choices)  # type: ignore[index]  # a section is a dict
        documents.append(document)
    assert await differences(start_opa(SHIPPED), shipped, documents) == []
