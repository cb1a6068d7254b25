"""The log of a whole gateway, as talkative as it gets: one JSON object a line, no payload and no credential in any."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from running import Running, start
from tritonclient.utils import InferenceServerException

SECRET = "patient-4711-is-allergic"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    running = start(tmp_path / "data", "--log-level", "debug", "--log-format", "json")
    yield running
    running.stop()


def ask(client: triton.InferenceServerClient, headers: dict[str, str], model: str = "sentiment") -> str:
    text = triton.InferInput("text", [1, 1], "BYTES")
    text.set_data_from_numpy(np.array([[SECRET.encode()]], dtype=object))
    try:
        client.infer(model, [text], headers=headers, request_id=f"{SECRET}-id")
    except InferenceServerException as error:
        return str(error.status())
    return "OK"


def test_nothing_of_a_call_is_in_the_log_but_its_ids(gateway: Running) -> None:
    key = gateway.key("post-reader", "research")
    wrong = key[:-8] + "00000000"
    basic = base64.b64encode(f"user:{SECRET}".encode()).decode()
    with triton.InferenceServerClient(gateway.url) as client:
        statuses = [
            ask(client, headers, model)
            for headers, model in (
                ({"x-api-key": key}, "sentiment"),
                ({"x-api-key": key}, "breast-cancer"),  # denied
                ({"x-api-key": key}, "digits"),  # the tensor does not fit
                ({"x-api-key": wrong}, "sentiment"),
                ({"authorization": f"Bearer {wrong}"}, "sentiment"),
                ({"authorization": f"Basic {basic}"}, "sentiment"),
                ({"authorization": f"Bearer eyJhbGciOiJub25lIn0.{basic}."}, "sentiment"),
            )
        ]
    assert gateway.stop() == 0
    assert statuses[0] == "OK"
    assert set(statuses[1:]) == {
        f"StatusCode.{name}" for name in ("PERMISSION_DENIED", "INVALID_ARGUMENT", "UNAUTHENTICATED")
    }
    lines = gateway.said().splitlines()
    entries = [json.loads(line) for line in lines]
    assert any(entry["event"].startswith("identity.refused") for entry in entries)
    assert all({"time", "level", "logger", "event", "pid"} <= entry.keys() for entry in entries)
    told = "\n".join(lines)
    for hidden in (SECRET, key, wrong, key.rpartition("_")[2], basic):
        assert hidden not in told
