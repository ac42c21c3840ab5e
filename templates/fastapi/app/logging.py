"""Logs: one JSON object a line on stdout."""

import json
import logging
import sys
import time
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Set for the time of a request, so that every line logged on its behalf carries it."""

_LEVELS = {"WARNING": "warn", "CRITICAL": "error"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}

# Made once: `json.dumps` with any option makes an encoder at every call.
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


class JsonFormatter(logging.Formatter):
    """A record as JSON; whatever was passed as `extra=` becomes a key of its own."""

    def __init__(self, service: str, instance: str) -> None:
        super().__init__()
        self._service = service
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _timestamp(record.created),
            "level": _LEVELS.get(record.levelname) or record.levelname.lower(),
            "message": record.getMessage(),
            "service": self._service,
            "instance": self._instance,
            "logger": record.name,
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line.update([item for item in vars(record).items() if item[0] not in _STANDARD])
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


def _timestamp(seconds: float) -> str:
    """ISO 8601 in UTC with microseconds, so that lines of many replicas merge in order."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_second(whole)}.{micros:06d}Z"


@lru_cache(maxsize=2)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def configure(level: str, *, service: str, instance: str) -> None:
    """Send every logger of the process, the libraries' included, through one JSON handler."""
    # What no line shows need not be found out for each (the standard library's own advice:
    # https://docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(service, instance))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Their information is ours already (access log) or noise (one line per reconnect attempt).
    for name in ("uvicorn.error", "alembic.runtime.plugins", "alembic.runtime.migration"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
