"""Whatever is killed at whatever instant: one e-mail for each user, exactly one."""

import time

import pytest

from tests.integration.conftest import Outage
from tests.integration.load import Registrations
from tests.stack import Stack, each_ready, wait_until

OPEN = "SELECT count(*) FROM outbox WHERE done_at IS NULL AND dead_at IS NULL"
UNSENT = (
    "SELECT count(*) FROM outbox WHERE NOT EXISTS"
    " (SELECT 1 FROM sent_emails WHERE sent_emails.message_id = outbox.message_id)"
)


def assert_each_welcomed_once(stack: Stack, load: Registrations) -> None:
    wait_until(lambda: stack.scalar(OPEN) == 0 and stack.scalar(UNSENT) == 0, "everything sent", 60)
    users = [row[0] for row in stack.query("SELECT id FROM users ORDER BY id")]
    assert [row[0] for row in stack.query("SELECT user_id FROM outbox ORDER BY user_id")] == users
    sent = stack.query("SELECT user_id FROM sent_emails ORDER BY user_id")
    assert [row[0] for row in sent] == users
    # Users whose 201 got lost with a killed replica may exist; accepted ones must.
    assert load.accepted <= set(users)
    assert len(load.accepted) >= 20, load.failures[:3]


def test_killed_worker(stack: Stack) -> None:
    replicas = each_ready([stack.api(), stack.api()])
    worker = stack.worker().wait_ready()
    with Registrations(replicas) as load:
        for _ in range(3):
            time.sleep(1.5)
            worker.kill()
            worker = stack.worker().wait_ready()
    assert load.failures == []
    assert_each_welcomed_once(stack, load)


def test_killed_api(stack: Stack) -> None:
    replicas = each_ready([stack.api(), stack.api()])
    stack.worker().wait_ready()
    with Registrations(replicas) as load:
        for _ in range(2):
            time.sleep(1.5)
            replicas[0].kill()
            replicas[0] = stack.api().wait_ready()
    assert_each_welcomed_once(stack, load)


def test_two_workers_share(stack: Stack) -> None:
    replicas = each_ready([stack.api()])
    each_ready([stack.worker(), stack.worker()])
    with Registrations(replicas, per_second=100) as load:
        time.sleep(3)
    assert load.failures == []
    assert_each_welcomed_once(stack, load)


def test_a_worker_that_ends_loses_nothing(stack: Stack) -> None:
    replicas = each_ready([stack.api()])
    worker = stack.worker().wait_ready()
    with Registrations(replicas) as load:
        for _ in range(2):
            time.sleep(1)
            assert worker.terminate() == 0
            worker = stack.worker().wait_ready()
    assert_each_welcomed_once(stack, load)


def test_killed_broker(stack: Stack, broker_outage: Outage) -> None:
    replicas = each_ready([stack.api(), stack.api()])
    worker = stack.worker().wait_ready()
    with Registrations(replicas) as load:
        time.sleep(2)
        broker_outage.begin()
        time.sleep(3)
        # Users keep being accepted; the outbox holds what the broker cannot take.
        assert load.failures == []
        assert worker.is_ready()
        worker.kill()
        stack.worker().wait_ready()
        broker_outage.end()
        time.sleep(2)
    assert load.failures == []
    assert_each_welcomed_once(stack, load)


def test_killed_database(stack: Stack, database_outage: Outage) -> None:
    replicas = each_ready([stack.api(), stack.api()])
    worker = stack.worker().wait_ready()
    with Registrations(replicas) as load:
        # More than once: what a request is told depends on what it was doing at that instant.
        for _ in range(3):
            time.sleep(1)
            database_outage.begin()
            wait_until(lambda: not replicas[0].is_ready(), "the outage noticed")
            database_outage.end()
            each_ready([*replicas, worker])
        time.sleep(1)
    assert all("503" in failure for failure in load.failures), load.failures[:3]
    assert_each_welcomed_once(stack, load)


@pytest.mark.parametrize("payload", ["nonsense", '{"kind": "party"}'])
def test_poison_is_put_aside(stack: Stack, payload: str) -> None:
    worker = stack.worker().wait_ready()
    stack.query(
        "INSERT INTO outbox (message_id, kind, user_id, payload, created_at, failures)"
        " VALUES ($1, 'welcome_email', 1, $2, CURRENT_TIMESTAMP, 0) RETURNING id",
        "00000000-0000-4000-8000-000000000000",
        payload,
    )
    wait_until(lambda: worker.metric("emails_failed_total") == 1, "the poison noticed")
    wait_until(lambda: stack.scalar(OPEN) == 0, "the poison out of the way")
    replica = stack.api().wait_ready()
    with Registrations([replica], per_second=100) as load:
        time.sleep(1)
    wait_until(
        lambda: stack.scalar("SELECT count(*) FROM sent_emails") == len(load.accepted),
        "others sent",
    )
    assert worker.metric("emails_failed_total") == 1


def test_ending_does_not_wait_for_a_dead_broker(stack: Stack, broker_outage: Outage) -> None:
    processes = each_ready([stack.api(), stack.worker()])
    broker_outage.begin()
    time.sleep(1)
    started = time.monotonic()
    assert [process.terminate() for process in processes] == [0, 0]
    assert time.monotonic() - started < 5
