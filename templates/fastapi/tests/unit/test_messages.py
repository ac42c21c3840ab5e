"""What travels through the outbox and the queue, and what is logged."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.logging import JsonFormatter
from app.outbox import Message
from tests.stack import ROOT

MESSAGE = Message("id", "welcome_email", 1, "ada@example.com", "Ada")


def test_a_message_survives_the_journey() -> None:
    assert Message.from_json(MESSAGE.to_json()) == MESSAGE


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"\xff", b"{}", MESSAGE.to_json().replace("1", '"1"').encode()],
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a message of ours"):
        Message.from_json(body)


def test_a_log_line_is_one_line_of_json() -> None:
    record = logging.makeLogRecord(
        {"msg": "two\nlines", "levelname": "INFO", "name": "app", "created": 1.5, "status": 200}
    )
    line = JsonFormatter("api", "api-1").format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert fields["time"] == "1970-01-01T00:00:01.500000Z"
    assert re.fullmatch(r"\d{4}(-\d\d){2}T(\d\d:){2}\d\d\.\d{6}Z", fields["time"])
    assert fields["message"] == "two\nlines"
    assert fields["status"] == 200


def test_drivers_are_imported_only_when_asked_for(tmp_path: Path) -> None:
    # Importing the API and building it on SQLite must not load what other databases need.
    code = (
        "import sys, app.__main__, app.main, app.server, app.worker;"
        "from app.settings import Settings;"
        f"app.main.create_app(Settings(database_url='sqlite:///{tmp_path}/app.db'));"
        "unwanted = {'sqlalchemy', 'alembic', 'asyncpg', 'redis', 'aio_pika', 'pwdlib'};"
        "print(sorted(unwanted & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True
    )
    assert done.stdout.strip() == "[]"
