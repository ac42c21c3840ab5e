"""The environment: defaults, files, and mistakes that explain themselves."""

from pathlib import Path

import pytest

from app.db import parse_url
from app.settings import Settings, SettingsError


def test_defaults_need_nothing() -> None:
    settings = Settings.load({})
    assert settings.database_url.startswith("sqlite:///")
    assert settings.redis_url is None
    assert settings.amqp_url is None
    assert settings.port == 8000


def test_a_file_may_hold_the_value(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("redis://:secret@cache:6379/0\n")
    assert Settings.load({"REDIS_URL_FILE": str(path)}).redis_url == "redis://:secret@cache:6379/0"


def test_empty_counts_as_unset() -> None:
    assert Settings.load({"REDIS_URL": "", "PORT": " "}) == Settings.load({})


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "http"), ("PORT", "70000"), ("DB_POOL_SIZE", "0"), ("LOG_LEVEL", "loud")],
)
def test_mistakes_name_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        Settings.load({name: value})


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^AMQP_URL_FILE: cannot read /nowhere: "):
        Settings.load({"AMQP_URL_FILE": "/nowhere"})


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("sqlite:///data/app.db", "sqlite+aiosqlite"),
        ("postgres://u:p@db/app", "postgresql+asyncpg"),
        ("postgresql://u:p@db/app", "postgresql+asyncpg"),
    ],
)
def test_urls_get_the_async_driver(text: str, driver: str) -> None:
    assert parse_url(text).drivername == driver


def test_libpq_spelling_of_tls_is_understood() -> None:
    assert parse_url("postgresql://u:p@db/app?sslmode=require").query == {"ssl": "require"}


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="expected sqlite:// or postgresql://, found mysql://"):
        parse_url("mysql://u:p@db/app")
