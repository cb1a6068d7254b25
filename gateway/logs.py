"""Logs: one event a line on standard error, as JSON for machines or text for a person at a terminal.

The hot path does not log: it records. An event is ``_log.info("model.available", extra={"model": ...})`` or a
sentence with its arguments; what is in ``extra`` becomes fields. No tensors, tokens or credentials are ever passed;
what looks like a credential is taken out all the same, and an event that repeats is written a few times, then counted.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_COLOURED = "color_message"  # uvicorn's: its message again, for terminals

_SECRET = re.compile(
    r"(?i)(bearer\s+|basic\s+|x-api-key['\"]?\s*[:=]\s*['\"]?|password['\"]?\s*[:=]\s*['\"]?)[^\s'\",;]+"
    r"|(\w+://[^/\s:@]+:)[^@/\s]+(?=@)"
    r"|(\b(?:gwk_|eyJ[\w-]*\.))[\w.-]{20,}"
)
HIDDEN = "<hidden>"

REPEATS = 5
PERIOD_S = 60.0


def configure(
    level: Literal["debug", "info", "warning", "error"],
    form: Literal["auto", "json", "text"],
    stream: TextIO | None = None,
) -> None:
    """Send this process's log to ``stream`` (standard error); replaces what was configured before."""
    stream = stream or sys.stderr
    as_text = form == "text" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    handler.addFilter(Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The admin server's own "Started server process" says nothing that our events do not; its warnings do.
    logging.getLogger("uvicorn").setLevel(logging.WARNING if level == "info" else logging.NOTSET)


def redact(text: str) -> str:
    """``text`` without what looks like a credential: what follows Bearer and its like, our keys, tokens, passwords."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2] or found[3] or ''}{HIDDEN}", text)


class Repeats(logging.Filter):
    """Lets an event of one logger pass ``REPEATS`` times in ``PERIOD_S``; the first one after that says how many were
    left out (``suppressed``). Times are the records' own. At most 1,000 events are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` is written."""
        key = (record.name, record.levelno, str(record.msg))
        since, count = self._seen.get(key, (record.created, 0))
        if not 0 <= record.created - since < PERIOD_S:
            if count > REPEATS:
                record.suppressed = count - REPEATS
            since, count = record.created, 0
        if key not in self._seen and len(self._seen) >= 1000:
            self._seen.clear()
        self._seen[key] = (since, count + 1)
        return count < REPEATS or record.levelno < logging.WARNING


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = {name: value for name, value in record.__dict__.items() if name not in _STANDARD and name != _COLOURED}
    return {name: redact(value) if isinstance(value, str) else value for name, value in fields.items()}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, the fields, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Values that JSON does not know are written as their text."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": redact(record.getMessage()),
            "pid": record.process,
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """``12:30:01 info   gateway.supervisor  stopping  key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Empty fields are left out. The traceback follows on lines of its own."""
        when = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = "".join(f"  {name}={value}" for name, value in _fields(record).items() if value != "")
        line = f"{when} {record.levelname.lower():7} {record.name}  {redact(record.getMessage())}{fields}"
        return f"{line}\n{redact(self.formatException(record.exc_info))}" if record.exc_info else line
