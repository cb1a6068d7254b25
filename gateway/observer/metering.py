"""Metering: one CloudEvent a prediction, sent in batches to a webhook (OpenMeter, Kong, a billing system of one's own).

At least once, never lost; ``id`` is the prediction id, so a receiver that keeps ids by ``source``, as CloudEvents
asks of it, counts each once. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

import msgspec

from gateway.ledger.errors import LedgerCorrupt
from gateway.ledger.record import decode
from gateway.observer.cells import Counter
from gateway.observer.usage import is_prediction
from gateway.observer.usage_formats import cloud_event

BATCH_TYPE = "application/cloudevents-batch+json; charset=utf-8"

log = logging.getLogger(__name__)


class EventMaker:
    """Makes the metering event of each prediction, of denied ones too (with nothing to pay). ``source`` names this
    gateway."""

    def __init__(self, source: str) -> None:
        self._source = source

    def make(self, shard: str, seq: int, leaf: bytes) -> Sequence[bytes]:
        """The event as JSON; none for what is no prediction."""
        try:
            record = decode(leaf)
        except LedgerCorrupt:
            return ()
        if not is_prediction(record):
            return ()
        return (msgspec.json.encode(cloud_event(record, self._source)),)

    def time_us(self, leaf: bytes) -> int:
        """The time of the leaf."""
        return decode(leaf).t_us

    def families(self) -> Iterator[Counter]:
        """Nothing besides what the delivery counts."""
        return iter(())


def webhook(url: str, token: str = "", timeout_s: float = 5.0) -> Callable[[Sequence[bytes]], bool]:
    """A function that posts a batch and tells whether the receiver took it (any 2xx). It blocks, and raises nothing.

    ``token`` is sent as ``Authorization: Bearer``.

    Raises: ValueError for a URL that is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"webhook {url!r}: expected http://HOST/PATH or https://HOST/PATH")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"content-type": BATCH_TYPE} | ({"authorization": f"Bearer {token}"} if token else {})

    def send(events: Sequence[bytes]) -> bool:
        connection = kind(str(parts.hostname), parts.port, timeout=timeout_s)
        try:
            connection.request("POST", path, b"[" + b",".join(events) + b"]", headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            log.warning("metering.unreachable", extra={"host": parts.hostname, "error": str(error)})
            return False
        finally:
            connection.close()
        if not 200 <= status < 300:
            log.warning("metering.refused", extra={"host": parts.hostname, "status": status})
        return 200 <= status < 300

    return send
