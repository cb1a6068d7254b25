"""Metering over a webhook: each call once, whatever happens on the way."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.ledger.follower import Tail
from gateway.observer.delivery import Delivery, NotDelivered
from gateway.observer.lag import Lookout
from gateway.observer.metering import EventMaker, webhook


class Meter:
    """A receiver that keeps ids by source, as CloudEvents asks, and fails as it is told: ``faults`` are used up one
    a request; "refuse" answers 503, "lose" takes the events and hangs up without an answer."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], dict[str, object]] = {}
        self.sent = 0
        self.faults: list[str] = []
        self.headers: dict[str, str] = {}
        meter = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                fault = meter.faults.pop(0) if meter.faults and body else ""
                meter.headers = {k.lower(): v for k, v in self.headers.items()}
                if fault != "refuse":
                    meter.sent += len(body)
                    meter.events |= {(event["source"], event["id"]): event for event in body}
                if fault == "lose":
                    self.connection.shutdown(2)
                    return
                self.send_response(503 if fault == "refuse" else 204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/events?v=1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def meter() -> Iterator[Meter]:
    made = Meter()
    yield made
    made.close()


class Metering:
    """The delivery as the observer builds it."""

    def __init__(self, shards, path: Path, url: str, clock) -> None:
        self.delivery = Delivery(
            "metering",
            EventMaker("gw-1"),
            webhook(url, "sesame", 2.0),
            path,
            clock_us=clock,
            max_items=50,
            give_up=False,
        )
        lookout = Lookout(shards.root, clock)
        self.delivery.open(lookout.size)
        lookout.close()
        self._tail = Tail(shards.root, [self.delivery])

    def drain(self) -> None:
        """Until all is sent, however often that has to be tried."""
        for _ in range(50):
            try:
                if not self._tail.step():
                    return
            except NotDelivered:
                continue
        raise AssertionError("never done")

    def close(self) -> None:
        self._tail.close()
        self.delivery.close()


def test_each_call_is_one_event_in_batches_with_the_token(shards, record, denied, meter, clock, tmp_path: Path) -> None:
    shards.add(record(0), record(1, **denied), record(2, kind="beat"))
    metering = Metering(shards, tmp_path / "m.db", meter.url, clock)
    metering.drain()
    metering.close()
    assert set(meter.events) == {("gw-1", "gw.0/0"), ("gw-1", "gw.0/1")}
    first = meter.events["gw-1", "gw.0/0"]
    assert (first["type"], first["subject"], first["specversion"]) == ("inference.usage", "acme", "1.0")
    assert first["data"]["items"] == 2  # type: ignore[index]
    assert meter.headers["content-type"] == "application/cloudevents-batch+json; charset=utf-8"
    assert meter.headers["authorization"] == "Bearer sesame"


def test_lost_answers_refusals_and_restarts_count_nothing_twice_and_nothing_less(
    shards, record, meter, clock, tmp_path: Path
) -> None:
    shards.add(*(record(n, rows=n % 7) for n in range(500)))
    meter.faults = ["", "lose", "refuse", "", "lose", "", "refuse", "refuse", "lose"]
    for _ in range(3):
        metering = Metering(shards, tmp_path / "m.db", meter.url, clock)
        with contextlib.suppress(NotDelivered):
            metering._tail.step()
        metering.close()
    metering = Metering(shards, tmp_path / "m.db", meter.url, clock)
    metering.drain()
    metering.close()
    assert meter.sent > 500  # some came more than once
    assert len(meter.events) == 500
    assert sum(event["data"]["items"] for event in meter.events.values()) == sum(n % 7 for n in range(500))  # type: ignore[index]


def test_an_event_that_is_refused_again_and_again_is_not_dropped(shards, record, meter, clock, tmp_path: Path) -> None:
    shards.add(record(0))
    meter.faults = ["refuse"] * 20
    metering = Metering(shards, tmp_path / "m.db", meter.url, clock)
    metering.drain()
    metering.close()
    assert (len(meter.events), metering.delivery.dropped) == (1, 0)


def test_a_receiver_that_is_not_there_is_waited_for(shards, record, clock, tmp_path: Path) -> None:
    shards.add(record(0))
    gone = Meter()
    gone.close()
    metering = Metering(shards, tmp_path / "m.db", gone.url, clock)
    with pytest.raises(NotDelivered):
        metering._tail.step()
    assert (metering.delivery.position("gw.0"), metering.delivery.dropped) == (0, 0)
    metering.close()


@pytest.mark.parametrize("url", ["ftp://x/y", "meter.example", "http://"])
def test_a_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ValueError, match=f"webhook '{url}'"):
        webhook(url)
