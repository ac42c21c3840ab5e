"""The environment, parsed once (https://12factor.net/config).

Every variable may also be given as NAME_FILE: the path of a file that holds the value, the
way orchestrators hand out secrets. A URL carries a password, so URLs count as secrets too.

Plain dataclasses: the worker and the jobs need pydantic for nothing else, and importing it
would take a third of their start.
"""

import dataclasses
import math
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

DEFAULT_DATABASE_URL = "sqlite:///data/app.db"

LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """The environment is unusable; the text names the variable and what is wrong with it."""


def _integer(text: str, *, least: int = 1, most: int | None = None) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ValueError("Input should be a valid integer") from None
    if number < least or (most is not None and number > most):
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"Input should be {limits}")
    return number


def _port(text: str) -> int:
    return _integer(text, least=0, most=65535)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError("Input should be a number of seconds, 0 or more")
    return number


def _level(text: str) -> str:
    if text.lower() not in LOG_LEVELS:
        raise ValueError(f"Input should be one of {', '.join(LOG_LEVELS)}")
    return text.lower()


def _parsed(parse: Callable[[str], object], default: object) -> Any:
    return dataclasses.field(default=default, metadata={"parse": parse})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """One field per variable: the field `database_url` is the variable `DATABASE_URL`."""

    host: str = "0.0.0.0"  # noqa: S104  # nosec B104: a container is reached from outside itself
    port: int = _parsed(_port, 8000)

    database_url: str = DEFAULT_DATABASE_URL
    redis_url: str | None = None
    amqp_url: str | None = None

    db_pool_size: int = _parsed(_integer, 10)
    """Connections per process. (replicas + 1) * pool + workers + 1 must fit the database."""
    cache_ttl_seconds: int = _parsed(_integer, 300)
    max_concurrency: int = _parsed(_integer, 1000)
    """Requests in flight per replica; beyond it the answer is 503 with Retry-After."""
    shutdown_delay: float = _parsed(_seconds, 0.0)
    """Seconds between "not ready" and closing the listener, for balancers that poll."""
    log_level: str = _parsed(_level, "info")

    scalectl_project: str = "app"
    scalectl_service: str | None = None
    scalectl_replica: str | None = None

    @property
    def instance(self) -> str:
        """Tells replicas apart: the engine's name for this one, else host and process."""
        return self.scalectl_replica or f"{socket.gethostname()}-{os.getpid()}"

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **defaults: Any) -> Self:
        """Read `environ` (the process's own by default) over `defaults`.

        Raises SettingsError for a value that cannot be used or a file that cannot be read.
        """
        environ = os.environ if environ is None else environ
        values = dict(defaults)
        mistakes: list[str] = []
        for field in dataclasses.fields(cls):
            name = field.name.upper()
            text = _lookup(environ, name)
            if text is None:
                continue
            try:
                values[field.name] = field.metadata.get("parse", str)(text)
            except ValueError as error:
                # The input is left out on purpose: it may be a secret in the wrong place.
                mistakes.append(f"{name}: {error}")
        if mistakes:
            raise SettingsError("; ".join(mistakes))
        return cls(**values)


def _lookup(environ: Mapping[str, str], name: str) -> str | None:
    """The value of NAME, else the content of NAME_FILE. An empty value counts as unset."""
    if value := environ.get(name, "").strip():
        return value
    if path := environ.get(f"{name}_FILE", "").strip():
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except OSError as error:
            message = f"{name}_FILE: cannot read {path}: {error.strerror}"
            raise SettingsError(message) from error
    return None
