"""The environment, parsed once (https://12factor.net/config).

Every variable may also be given as NAME_FILE: the path of a file that holds the value, the
way orchestrators hand out secrets. A URL carries a password, so URLs count as secrets too.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

DEFAULT_DATABASE_URL = "sqlite:///data/app.db"

LogLevel = Literal["debug", "info", "warning", "error"]
Positive = Annotated[int, Field(gt=0)]


class SettingsError(Exception):
    """The environment is unusable; the text names the variable and what is wrong with it."""


class Settings(BaseModel):
    """One field per variable: the field `database_url` is the variable `DATABASE_URL`."""

    model_config = ConfigDict(frozen=True)

    host: str = "0.0.0.0"  # noqa: S104  # nosec B104: a container is reached from outside itself
    port: Annotated[int, Field(ge=0, le=65535)] = 8000

    database_url: str = DEFAULT_DATABASE_URL
    redis_url: str | None = None
    amqp_url: str | None = None

    db_pool_size: Positive = 10
    """Connections per process. (replicas + 1) * pool + workers + 1 must fit the database."""
    cache_ttl_seconds: Positive = 300
    max_concurrency: Positive = 1000
    """Requests in flight per replica; beyond it the answer is 503 with Retry-After."""
    shutdown_delay: Annotated[float, Field(ge=0)] = 0
    """Seconds between "not ready" and closing the listener, for balancers that poll."""
    log_level: LogLevel = "info"

    scalectl_project: str = "app"
    scalectl_service: str | None = None
    scalectl_replica: str | None = None

    @property
    def instance(self) -> str:
        """Tells replicas apart: the engine's name for this one, else host and process."""
        return self.scalectl_replica or f"{socket.gethostname()}-{os.getpid()}"

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **defaults: object) -> Self:
        """Read `environ` (the process's own by default) over `defaults`.

        Raises SettingsError for a value that cannot be used or a file that cannot be read.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, object] = dict(defaults)
        for name in cls.model_fields:
            value = _lookup(environ, name.upper())
            if value is not None:
                values[name] = value.lower() if name == "log_level" else value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from error


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


def _explain(error: ValidationError) -> str:
    # The input is left out on purpose: it may be a URL with a password in it.
    return "; ".join(
        f"{str(item['loc'][0]).upper()}: {item['msg']}"
        for item in error.errors(include_input=False, include_url=False)
    )
