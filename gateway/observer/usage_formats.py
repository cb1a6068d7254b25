"""Usage as documents: rows for JSON and CSV, FOCUS columns for billing tools, CloudEvents for metering.

FOCUS 1.3: https://focus.finops.org. CloudEvents 1.0.2: https://github.com/cloudevents/spec
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from gateway.ledger.record import Record
from gateway.observer.usage import HOUR_US, Key, Sums, compute_us

DIMENSIONS = ("hour", "tenant", "principal", "model", "version")
DEFAULT_GROUP = ("tenant", "principal", "model", "version")

Row = dict[str, str | int | float]


def iso(t_us: int) -> str:
    """RFC 3339 in UTC, to the microsecond only where there are any."""
    return datetime.fromtimestamp(t_us / 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def rows_by(usage: Mapping[Key, Sums], by: Sequence[str]) -> list[Row]:
    """``usage`` summed by the dimensions ``by``, sorted by them, with sums in base units."""
    fields = [DIMENSIONS.index(name) for name in by]
    sums: dict[tuple[str | int, ...], Sums] = {}
    for key, row in usage.items():
        sums.setdefault(tuple(key[i] for i in fields), Sums()).add(row)
    return [_row(by, key, total) for key, total in sorted(sums.items())]


def _row(by: Sequence[str], key: Sequence[str | int], total: Sums) -> Row:
    row: Row = {name: iso(int(value)) if name == "hour" else value for name, value in zip(by, key, strict=True)}
    return row | {
        "requests": total.requests,
        "answered": total.answered,
        "denied": total.denied,
        "failed": total.failed,
        "rows": total.rows,
        "in_bytes": total.in_bytes,
        "out_bytes": total.out_bytes,
        "compute_seconds": total.compute_us / 1_000_000,
    }


def to_csv(rows: Iterable[Row]) -> str:
    """``rows`` as RFC 4180 CSV with a header; "" for none. A cell never begins a formula in a spreadsheet."""
    rows = list(rows)
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _inert(value: str | float) -> str | float:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def focus_rows(usage: Mapping[Key, Sums], source: str) -> list[Row]:
    """One FOCUS row per hour, tenant and model version. We know quantities and no prices: cost columns are null."""
    rows = []
    for row in _hourly(usage):
        (hour_us, tenant, model, version), total = row
        start = datetime.fromtimestamp(hour_us / 1_000_000, UTC)
        month = start.replace(day=1, hour=0)
        following = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
        rows.append(_focus(source, start, (month, following), tenant, f"{model}:{version}" if model else "", total))
    return rows


def _hourly(usage: Mapping[Key, Sums]) -> list[tuple[tuple[int, str, str, str], Sums]]:
    sums: dict[tuple[int, str, str, str], Sums] = {}
    for key, row in usage.items():
        sums.setdefault((key.hour_us, key.tenant, key.model, key.version), Sums()).add(row)
    return sorted(sums.items())


def _focus(source: str, start: datetime, month: tuple[datetime, datetime], tenant: str, sku: str, total: Sums) -> Row:
    end_us = int(start.timestamp()) * 1_000_000 + HOUR_US
    return {
        "BillingPeriodStart": month[0].isoformat().replace("+00:00", "Z"),
        "BillingPeriodEnd": month[1].isoformat().replace("+00:00", "Z"),
        "ChargePeriodStart": start.isoformat().replace("+00:00", "Z"),
        "ChargePeriodEnd": iso(end_us),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"Predictions of {sku}" if sku else "Calls that named no served model",
        "ChargeFrequency": "Usage-Based",
        "BillingAccountId": source,
        "SubAccountId": tenant,
        "ProviderName": "inference-gateway",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Inference",
        "SkuId": sku,
        "ResourceId": sku,
        "ConsumedQuantity": total.rows,
        "ConsumedUnit": "Rows",
        "BilledCost": "",
        "EffectiveCost": "",
        "ListCost": "",
        "ContractedCost": "",
        "BillingCurrency": "",
        "x_Requests": total.requests,
        "x_DeniedRequests": total.denied,
        "x_Bytes": total.in_bytes + total.out_bytes,
        "x_ComputeSeconds": total.compute_us / 1_000_000,
    }


def cloud_event(record: Record, source: str) -> dict[str, object]:
    """The metering event of one call. ``id`` is the prediction id, so a receiver that keeps ids by ``source``
    counts a call once, however often it is sent."""
    answered = record.outcome == "answered"
    return {
        "specversion": "1.0",
        "id": record.prediction_id,
        "source": source,
        "type": "inference.usage",
        "subject": record.tenant or "unknown",
        "time": iso(record.t_us),
        "datacontenttype": "application/json",
        "data": {
            "principal": record.principal,
            "model": record.model,
            "version": record.version,
            "outcome": record.outcome,
            "requests": 1,
            "items": record.rows if answered else 0,
            "bytes": record.in_b + record.out_b if answered else 0,
            "compute_ms": compute_us(record) / 1000 if answered else 0,
        },
    }
