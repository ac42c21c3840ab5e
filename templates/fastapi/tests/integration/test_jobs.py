"""The one-shot jobs: run twice, run at once, run beside a living service."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from app import migrate
from migrations.tables import metadata
from tests.stack import Stack


def test_migrations_at_once(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        with ThreadPoolExecutor(4) as pool:
            outputs = list(pool.map(lambda _: stack.run("app.migrate"), range(4)))
        assert all("migrated" in output or "up to date" in output for output in outputs)
        assert stack.query("SELECT version_num FROM alembic_version") == [
            (migrate.head_revision(),)
        ]


def test_a_second_migration_has_nothing_to_do(stack: Stack) -> None:
    assert "schema is up to date" in stack.run("app.migrate")


def test_models_and_migrations_agree(stack: Stack) -> None:
    differences: list[object] = []

    def compare(connection: Connection) -> None:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences.extend(compare_metadata(context, metadata))

    migrate.with_connection(stack.database_url, compare)
    # The log of changes exists on SQLite alone, and no query is written in Python for it.
    assert [d for d in differences if "user_changes" not in str(d)] == []


def test_seeding_twice_seeds_once(stack: Stack) -> None:
    assert json.loads(stack.run("app.seed", "--users", "1500"))["added"] == 1500
    posts = stack.scalar("SELECT count(*) FROM posts")
    assert posts > 0
    assert json.loads(stack.run("app.seed", "--users", "1500"))["added"] == 0
    assert stack.query("SELECT count(*), min(id), max(id) FROM users") == [(1500, 1, 1500)]
    assert stack.scalar("SELECT count(*) FROM posts") == posts
    assert stack.scalar("SELECT count(*) FROM outbox") == 0


def test_seeding_around_users_that_exist(stack: Stack) -> None:
    replica = stack.api().wait_ready()
    fields = {"name": "Ada", "email": "first@example.com"}
    first = httpx.post(f"{replica.url}/users", json=fields).json()
    stack.run("app.seed", "--users", "100")
    assert httpx.get(f"{replica.url}/users/{first['id']}").json() == first
    assert stack.scalar("SELECT count(*) FROM users WHERE id BETWEEN 1 AND 100") == 100
    fields["email"] = "second@example.com"
    assert httpx.post(f"{replica.url}/users", json=fields).json()["id"] == 101


def test_a_bad_setting_is_named(stack: Stack) -> None:
    for module in ("app", "app.worker", "app.migrate", "app.seed"):
        stack.env["PORT"] = "http"
        output = stack.run(module, check=False)
        assert "PORT: Input should be a valid integer" in output
        assert "Traceback" not in output
