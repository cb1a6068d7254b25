from __future__ import annotations

import datetime
import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import schema
from gateway.policy.input import document, encode
from gateway.policy.pdp import Query, RepositoryFacts, SettingsFacts, SharedMemoryFacts
from gateway.policy.samples import ACTIONS, samples
from gateway.policy.schema import Gateway, json_schema

MakeQuery = Callable[..., Query]


def test_the_samples_fit_the_schema_and_cover_all_nine_groups() -> None:
    for sample in samples():
        schema.check(encode(sample))
    assert len(ACTIONS) == 9
    assert {group for group, _, _ in ACTIONS} == set(schema.Group.__args__)


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, name, _ in ACTIONS])
def test_the_document_of_every_group_is_complete(make_query: MakeQuery, group: str, name: str) -> None:
    raw = encode(document(make_query(group=group, name=name), Gateway(instance="gw")))
    schema.check(raw)
    assert b"null" not in raw


def test_no_credential_and_no_tensor_value_is_in_it(make_query: MakeQuery) -> None:
    raw = encode(document(make_query(), Gateway()))
    assert b"very-secret-token" not in raw
    assert b"\xab" not in raw


def test_facts_of_calls_without_tensors(make_query: MakeQuery) -> None:
    query = msgspec.structs.replace(
        make_query(group="shared-memory", name="cuda_register", model=None),
        shared_memory=SharedMemoryFacts(kind="cuda", region="r", byte_size=64, device_id=1),
        repository=RepositoryFacts(model="m", file_overrides=("a", "b")),
        settings=SettingsFacts(scope="model", writes={"trace_level": "x"}),
    )
    found = document(query, Gateway())
    schema.check(encode(found))
    assert found["shared_memory"]["region"] == "r"
    assert found["repository"]["file_overrides"] == ["a", "b"]
    assert found["settings"] == {"scope": "model", "writes": {"trace_level": "x"}}
    assert found["model"]["known"] is False


@pytest.mark.parametrize(
    ("shapes", "batching", "expected"),
    [
        (((8, 30), (8, 2)), True, 8),
        (((8, 30), (7, 2)), True, 0),
        (((8, 30),), False, 1),
        (((),), True, 0),
        ((), True, 0),
        (((0, 3),), True, 0),
        (((-4, 3),), True, 0),
    ],
)
def test_batch(make_query: MakeQuery, shapes: tuple[tuple[int, ...], ...], batching: bool, expected: int) -> None:
    found = document(make_query(shapes=shapes, batching=batching), Gateway())
    assert found["tensors"]["batch"] == expected


def test_a_peer_without_address_is_a_socket(make_query: MakeQuery) -> None:
    assert document(make_query(peer=""), Gateway())["request"]["peer_kind"] == "uds"


def test_only_listed_parameters_as_text(make_query: MakeQuery) -> None:
    params = {"priority": 3, "sequence_start": True, "other": "x", "timeout": "t" * 2000}
    found = document(make_query(params=params), Gateway())["request"]
    assert found["params"] == {"priority": "3", "sequence_start": "true"}
    assert found["priority"] == 3


@given(st.integers(min_value=0, max_value=4_102_444_800_000_000))
def test_time_is_the_calendars(make_query: MakeQuery, received_us: int) -> None:
    found = document(make_query(received_us=received_us), Gateway())["request"]["time"]
    moment = datetime.datetime.fromtimestamp(received_us // 1_000_000, datetime.UTC)
    assert found == {
        "unix_s": received_us // 1_000_000,
        "date": moment.date().isoformat(),
        "hour_utc": moment.hour,
        "weekday": moment.isoweekday(),
    }


def test_the_published_schema_is_the_one_that_is_enforced() -> None:
    published = json_schema()
    assert published["$ref"] == "#/$defs/InputDocument"
    required = published["$defs"]["InputDocument"]["required"]
    assert set(required) == set(next(iter(samples())))
    assert published["$defs"]["InputDocument"]["additionalProperties"] is False
    json.dumps(published)
