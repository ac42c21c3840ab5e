"""The environment: defaults, files, and mistakes that explain themselves."""

from pathlib import Path

import pytest

from app.db import open_database
from app.migrate import asyncpg_url
from app.postgres import split_url
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
    ("url", "module"),
    [
        ("sqlite:///{}/app.db", "app.sqlite"),
        ("postgres://u:p@db/app", "app.postgres"),
        ("postgresql://u:p@db/app", "app.postgres"),
    ],
)
def test_urls_choose_the_database(url: str, module: str, tmp_path: Path) -> None:
    assert type(open_database(url.format(tmp_path))).__module__ == module


def test_sqlite_needs_a_file() -> None:
    with pytest.raises(ValueError, match="SQLite needs a file"):
        open_database("sqlite:///:memory:")


def test_libpq_spelling_of_tls_is_understood() -> None:
    url = "postgres://u:p@db/app?sslmode=require&statement_cache_size=0"
    dsn = "postgresql://u:p@db/app?sslmode=require"
    assert split_url(url) == (dsn, {"statement_cache_size": 0})
    assert asyncpg_url(url).query == {"ssl": "require"}


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="expected sqlite:// or postgresql://, found mysql://"):
        open_database("mysql://u:p@db/app")
