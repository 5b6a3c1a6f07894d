"""Logs: one JSON object a line on stderr; session ids only hashed, payloads never."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time

_QUIET_S = 5.0
_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLine(logging.Formatter):
    """One object a line: time, level, logger, message, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _OWN},
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class OnceInAWhile(logging.Filter):
    """Lets an equal message of one logger through once in a few seconds.

    aiokafka logs an error every 100 ms while a broker is away.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, key = time.monotonic(), (record.name, record.msg)
        if now - self._last.get(key, -_QUIET_S) < _QUIET_S:
            return False
        if len(self._last) > 1_000:
            self._last.clear()
        self._last[key] = now
        return True


def setup(level: str = "INFO") -> None:
    """Send all logs of the process to stderr, the libraries' from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("services").setLevel(level)
    logging.getLogger("model").setLevel(level)
    handler.addFilter(_for_libraries(OnceInAWhile()))


def _for_libraries(limit: OnceInAWhile) -> logging.Filter:
    class Libraries(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return record.name.startswith("services") or limit.filter(record)

    return Libraries()


def hashed(session: str) -> str:
    """How a session id stands in a log line."""
    return hashlib.sha256(session.encode()).hexdigest()[:12]
