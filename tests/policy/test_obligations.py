from __future__ import annotations

import msgspec
import pytest

from gateway.errors import PermissionDenied
from gateway.policy.obligations import (
    AnyObligation,
    Deadline,
    Duties,
    Header,
    Limit,
    Log,
    MaskOutputs,
    Quota,
    RateLimit,
    Require,
    Route,
    kind,
    merge,
)
from gateway.types import Obligation

GOOD = [
    ({"type": "rate_limit", "key": "t", "rps": 1, "burst": 2, "cost": "rows"}, RateLimit),
    ({"type": "quota", "key": "t", "limit": 9, "window": "day", "unit": "rows"}, Quota),
    ({"type": "limit", "max_batch": 0}, Limit),
    ({"type": "deadline", "max_ms": 10}, Deadline),
    ({"type": "route", "version": "2"}, Route),
    ({"type": "require", "what": "mtls"}, Require),
    ({"type": "require", "what": "fresh_credential", "max_age_s": 60}, Require),
    ({"type": "mask_outputs", "names": ["ssn"], "with": "hash"}, MaskOutputs),
    ({"type": "log", "payload": "none"}, Log),
    ({"type": "header", "name": "x-policy-note", "value": "be careful"}, Header),
]
BAD = [
    {"type": "rate_limit", "key": "t", "rps": -1, "burst": 2},
    {"type": "rate_limit", "key": "", "rps": 1, "burst": 2},
    {"type": "rate_limit", "key": 7, "rps": 1, "burst": 2},
    {"type": "rate_limit", "key": "t", "rps": "1", "burst": 2},
    {"type": "quota", "key": "t", "limit": 9, "window": "week"},
    {"type": "limit"},
    {"type": "limit", "max_btach": 3},
    {"type": "limit", "max_batch": True},
    {"type": "deadline", "max_ms": 0},
    {"type": "route", "version": ""},
    {"type": "require", "what": "luck"},
    {"type": "require", "what": "mtls", "max_age_s": 1},
    {"type": "require", "what": "fresh_credential"},
    {"type": "mask_outputs", "names": ["ssn"], "with": "blur"},
    {"type": "mask_outputs", "names": [""], "with": "zero"},
    {"type": "log", "payload": "some"},
    {"type": "header", "name": "x-other", "value": ""},
    {"type": "header", "name": "x-policy-a-bin", "value": ""},
    {"type": "header", "name": "x-policy-a", "value": "line\nbreak"},
    {"type": "teleport"},
    {"max_batch": 3},
]


@pytest.mark.parametrize(("stated", "expected"), GOOD)
def test_every_obligation_decodes_to_its_own_type(stated: dict[str, object], expected: type[Obligation]) -> None:
    decoded = msgspec.json.decode(msgspec.json.encode(stated), type=AnyObligation)
    assert type(decoded) is expected
    assert kind(decoded) == stated["type"]


@pytest.mark.parametrize("stated", BAD)
def test_what_is_not_exactly_right_does_not_decode(stated: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(stated), type=AnyObligation)


def test_nothing_obliges_to_nothing() -> None:
    assert merge(()) == Duties()


def test_the_most_restrictive_of_each_wins() -> None:
    duties = merge(
        (
            Limit(max_batch=8),
            Limit(max_batch=4, max_bytes=100),
            Deadline(max_ms=50),
            Deadline(max_ms=20),
            RateLimit(key="a", rps=5, burst=1),
            RateLimit(key="a", rps=2, burst=9),
            RateLimit(key="b", rps=1, burst=1),
            Quota(key="a", limit=5, window="day"),
            Quota(key="a", limit=3, window="day"),
            Quota(key="a", limit=9, window="hour"),
            MaskOutputs(names=("x", "y"), how="hash"),
            MaskOutputs(names=("y", "z"), how="zero"),
            MaskOutputs(names=("z",), how="drop"),
            Require(what="mtls"),
            Require(what="mtls"),
            Route(version="2"),
            Route(version="2"),
            Log(payload="none"),
            Header(name="x-policy-b", value="2"),
            Header(name="x-policy-a", value="1"),
        )
    )
    assert duties.limit == Limit(max_batch=4, max_bytes=100)
    assert duties.deadline_ms == 20
    assert duties.rate_limits == (RateLimit(key="a", rps=2, burst=1), RateLimit(key="b", rps=1, burst=1))
    assert duties.quotas == (Quota(key="a", limit=3, window="day"), Quota(key="a", limit=9, window="hour"))
    assert duties.mask == {"x": "hash", "y": "zero", "z": "drop"}
    assert duties.require == (Require(what="mtls"),)
    assert (duties.route, duties.payload) == ("2", "none")
    assert duties.headers == (("x-policy-a", "1"), ("x-policy-b", "2"))


@pytest.mark.parametrize(
    "pair",
    [
        (Route(version="1"), Route(version="2")),
        (Log(payload="full"), Log(payload="none")),
        (Header(name="x-policy-a", value="1"), Header(name="x-policy-a", value="2")),
    ],
)
def test_where_none_is_more_restrictive_two_deny(pair: tuple[Obligation, ...]) -> None:
    with pytest.raises(PermissionDenied) as denied:
        merge(pair)
    assert denied.value.codes == ("obligation_conflict",)


def test_an_obligation_from_elsewhere_denies() -> None:
    class Invented(Obligation, frozen=True, tag="invented"):
        pass

    with pytest.raises(PermissionDenied) as denied:
        merge((Invented(),))
    assert denied.value.codes == ("unknown_obligation",)


def test_merging_the_same_tuple_again_is_remembered() -> None:
    obligations = (Limit(max_batch=3),)
    assert merge(obligations) is merge(obligations)
