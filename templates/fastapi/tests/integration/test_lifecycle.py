"""Starting, ending, too much to do, and parts that fail."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.integration.conftest import Outage
from tests.stack import Stack, wait_until


def test_shutdown_in_order(stack: Stack) -> None:
    replica = stack.api(SHUTDOWN_DELAY="1.5").wait_ready()
    with httpx.Client(base_url=replica.url) as client:
        assert client.get("/ready").status_code == 200
        replica.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: client.get("/ready").status_code == 503, "not ready", 1)
        # Still accepting, so that a balancer that has not noticed yet loses nothing, and asking
        # clients to take their next request elsewhere.
        answer = httpx.post(
            f"{replica.url}/users", json={"name": "Ada", "email": "late@example.com"}
        )
        assert answer.status_code == 201
        assert answer.headers["connection"] == "close"
        assert client.get("/health").status_code == 200
    assert replica.popen.wait(timeout=10) == 0
    assert "Traceback" not in replica.log.read_text()


def test_shutdown_finishes_requests(stack: Stack) -> None:
    replica = stack.api().wait_ready()

    def register(number: int) -> int:
        fields = {"name": "Ada", "email": f"{number}@example.com"}
        return httpx.post(f"{replica.url}/users", json=fields, timeout=30).status_code

    with ThreadPoolExecutor(8) as pool:
        with stack.writes_held_up():
            answers = [pool.submit(register, number) for number in range(8)]
            # The eight, and the request that asks.
            wait_until(lambda: replica.metric("http_requests_in_flight") == 9, "all begun", 10)
            replica.popen.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert not any(answer.done() for answer in answers)
        assert [answer.result() for answer in answers] == [201] * 8
    assert replica.popen.wait(timeout=10) == 0


def test_overload_is_refused_politely(stack: Stack) -> None:
    replica = stack.api(MAX_CONCURRENCY="2").wait_ready()
    fields = {"name": "Ada", "password": "a slow hash, please"}

    def register(number: int) -> httpx.Response:
        body = fields | {"email": f"{number}@example.com"}
        return httpx.post(f"{replica.url}/users", json=body, timeout=30)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(register, range(16)))
        assert httpx.get(f"{replica.url}/health").status_code == 200
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) + sum(answer.status_code == 201 for answer in answers) == 16
    assert refused
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert refused[0].headers["content-type"] == "application/problem+json"


def test_logs_are_json_lines(stack: Stack) -> None:
    replica = stack.api().wait_ready()
    httpx.get(f"{replica.url}/users/1", headers={"X-Request-ID": "trace-me"})
    replica.terminate()
    lines = [json.loads(line) for line in replica.log.read_text().splitlines()]
    assert all({"time", "level", "message", "service", "instance"} <= line.keys() for line in lines)
    (access,) = [line for line in lines if line.get("request_id") == "trace-me"]
    assert access["instance"] == "app-1"
    assert access["route"] == "/users/{user_id}"
    assert access["status"] == 404
    assert access["duration_ms"] > 0


def test_ready_only_with_a_schema(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        replica = stack.api()
        wait_until(lambda: _status(f"{replica.url}/health") == 200, "alive")
        assert _status(f"{replica.url}/ready") == 503
        stack.run("app.migrate")
        replica.wait_ready()


def test_without_redis_the_database_answers(stack: Stack, redis_outage: Outage) -> None:
    replica = stack.api().wait_ready()
    user = httpx.post(
        f"{replica.url}/users", json={"name": "Ada", "email": "ada@example.com"}
    ).json()
    url = f"{replica.url}/users/{user['id']}"
    assert httpx.get(url).json() == user
    redis_outage.begin()
    for _ in range(10):
        assert httpx.get(url, timeout=10).json() == user
    assert replica.is_ready()
    started = time.monotonic()
    changed = httpx.patch(url, json={"name": "Grace"}, timeout=10)
    assert changed.status_code == 200
    assert time.monotonic() - started < 1, "the breaker is not open"
    redis_outage.end()
    wait_until(lambda: _hits_grow(replica.url, url), "the cache in use again", 20)
    assert httpx.get(url).json() == changed.json()


def _hits_grow(replica: str, url: str) -> bool:
    def hits() -> float:
        for line in httpx.get(f"{replica}/metrics").text.splitlines():
            if line.startswith('cache_requests_total{outcome="hit"}'):
                return float(line.split()[1])
        return 0

    before = hits()
    httpx.get(url)
    return hits() > before


def _status(url: str) -> int:
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError:
        return 0
