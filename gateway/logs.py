"""Logs: one event a line on standard error, as JSON for machines or text for a person at a terminal.

The hot path does not log: it records. An event is ``_log.info("model.available", extra={"model": ...})`` or a
sentence with its arguments; what is in ``extra`` becomes fields. No tensors, tokens or credentials are ever passed.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


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
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, the fields, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Values that JSON does not know are written as their text."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            "pid": record.process,
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """``12:30:01 info   gateway.supervisor  stopping  key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The traceback follows on lines of its own."""
        when = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = "".join(f"  {name}={value}" for name, value in _fields(record).items())
        line = f"{when} {record.levelname.lower():7} {record.name}  {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
