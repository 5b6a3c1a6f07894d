"""Logs: one JSON object per line on stderr; session ids only as hashes, payloads never."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time

_REPEAT_AFTER_S = 5.0
_STANDARD_ATTRIBUTES = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: time, level, logger, message, and the fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES},
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class LibraryRateLimit(logging.Filter):
    """Passes equal messages of a library's logger once in a few seconds; Braid's own always pass.

    aiokafka logs an error every 100 ms while a broker is down.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record passes."""
        if record.name.startswith("services"):
            return True
        now, key = time.monotonic(), (record.name, record.msg)
        if now - self._last.get(key, -_REPEAT_AFTER_S) < _REPEAT_AFTER_S:
            return False
        if len(self._last) > 1_000:
            self._last.clear()
        self._last[key] = now
        return True


def setup(level: str = "INFO") -> None:
    """Send all logs of the process to stderr; those of libraries from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("services").setLevel(level)
    logging.getLogger("model").setLevel(level)
    handler.addFilter(LibraryRateLimit())


def hashed(session: str) -> str:
    """Return the hash by which a session id appears in logs."""
    return hashlib.sha256(session.encode()).hexdigest()[:12]
