"""Far too many calls for a real gateway: goodput holds, refusals say when to retry, each call is accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from held_out import DIGITS, inputs
from running import ROOT, Running, command, start

from gateway.v1.inference import ModelInferRequest
from gateway.v1.rpc_status import RetryInfo, Status

METHOD = "/inference.GRPCInferenceService/ModelInfer"
FIRST_RATE = 500
ROUNDS = 3
HOLDS = 0.7
"""Of the peak is what must still be answered at twice the rate that is too much, in one of three rounds: this machine
is not ours alone. ``bench/overload.py`` prints the share itself."""

pytestmark = pytest.mark.chaos


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    running = start(tmp_path / "data")
    yield running
    running.stop()


def question() -> bytes:
    """One held-out digit."""
    image = inputs(DIGITS)[:1]
    request = ModelInferRequest(model_name="digits")
    request.inputs.add(name="image", datatype="FP32", shape=image.shape)
    request.raw_input_contents.append(image.astype("float32").tobytes())
    return request.SerializeToString()


class Flood:
    """Sends by the clock, and remembers what became of its calls."""

    def __init__(self, gateway: Running, folder: Path, key: str) -> None:
        body, message = folder / "body", question()
        body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        self._words = [sys.executable, str(ROOT / "bench/open_loop.py"), str(gateway.port), str(body)]
        self._words += ["--header", f"x-api-key: {key}"]
        self.answered = self.refused = 0

    def command(self, rate: float, seconds: float) -> list[str]:
        """What sends ``rate`` calls a second."""
        return [*self._words, "--rate", str(rate), "--seconds", str(seconds)]

    def run(self, rate: float, seconds: float = 2.0) -> dict[str, float]:
        """What became of ``rate`` calls a second; none may be lost."""
        done = subprocess.run(self.command(rate, seconds), capture_output=True, text=True, timeout=120, check=True)
        outcome: dict[str, float] = json.loads(done.stdout)
        assert outcome["lost"] == 0, outcome
        self.answered += round(outcome["answers"])
        self.refused += round(outcome["refusals"])
        return outcome


def goodput(flood: Flood) -> float:
    """What is answered at twice the first rate at which a tenth is refused, of the most that was answered at any."""
    rate, outcome = float(FIRST_RATE), flood.run(FIRST_RATE)
    peak = outcome["answered"]
    while outcome["refused"] < 0.1 * outcome["offered"] and rate < 50_000:
        rate *= 2
        outcome = flood.run(rate)
        peak = max(peak, outcome["answered"])
    return flood.run(2 * rate)["answered"] / peak


def refusal(gateway: Running, key: str) -> grpc.RpcError:
    """How a real client is refused while the flood lasts."""
    with grpc.insecure_channel(gateway.url, options=[("grpc.enable_retries", 0)]) as channel:
        infer = channel.unary_unary(METHOD)
        for _ in range(10_000):
            try:
                infer(question(), metadata=(("x-api-key", key),), timeout=20)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    return error
    raise AssertionError("nobody was refused")


def test_goodput_holds_and_every_call_is_accounted_for(gateway: Running, tmp_path: Path) -> None:
    key = gateway.key("reader", "research")
    flood = Flood(gateway, tmp_path, key)
    shares = [goodput(flood)]
    while shares[-1] < HOLDS and len(shares) < ROUNDS:
        shares.append(goodput(flood))
    assert max(shares) >= HOLDS, shares
    after = flood.run(FIRST_RATE / 5, seconds=5)
    assert after["answers"] >= 0.95 * after["offered"] * 5, after
    assert gateway.stop() == 0
    assert command("ledger", "verify", "--data", str(gateway.data), timeout=300).returncode == 0
    codes = Counter(str(row["code"]) for row in gateway.export())
    last = command("ledger", "tail", "--all", "--data", str(gateway.data), "--json").stdout.splitlines()[-1]
    counts = json.loads(last)["fields"]
    assert codes["OK"] == flood.answered
    assert codes["RESOURCE_EXHAUSTED"] + counts["shed"] == flood.refused
    assert counts["started"] == codes.total() + counts["shed"]


def test_a_refused_client_is_told_when_to_retry(gateway: Running, tmp_path: Path) -> None:
    key = gateway.key("reader", "research")
    storm_of = Flood(gateway, tmp_path, key).command(40_000, 4)
    with subprocess.Popen(storm_of, stdout=subprocess.DEVNULL) as storm:
        error = refusal(gateway, key)
        storm.wait(120)
    trailers = dict(error.trailing_metadata())
    assert int(trailers["grpc-retry-pushback-ms"]) > 0
    status = Status.FromString(trailers["grpc-status-details-bin"])
    found = RetryInfo()
    assert any(detail.Unpack(found) for detail in status.details)
    assert found.retry_delay.ToMilliseconds() == int(trailers["grpc-retry-pushback-ms"])
