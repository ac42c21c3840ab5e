"""Every route, every kind of answer; through any number of replicas."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.stack import Stack

NewUser = Callable[..., dict[str, Any]]
ABSENT = 2**52
REPLICAS = 3


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["title"]
    return document


def everywhere(client: httpx.Client, path: str, times: int = 2 * REPLICAS) -> list[httpx.Response]:
    """The same question often enough for each replica to be asked, most of them twice."""
    return [client.get(path) for _ in range(times)]


VARYING_HEADERS = {"date", "x-request-id"}


def test_greeting_names_an_instance(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    body = answer.json()
    assert body["message"] == "Scalable Backend Ready! 🚀"
    assert body["service"]
    assert body["version"]
    assert body["instance"]


def test_create_and_read_a_user(client: httpx.Client, new_user: NewUser) -> None:
    user = new_user(name="Grace")
    assert user["name"] == "Grace"
    for answer in everywhere(client, f"/users/{user['id']}"):
        assert answer.status_code == 200
        assert answer.json() == user


def test_an_answer_from_the_cache_is_the_same(client: httpx.Client, new_user: NewUser) -> None:
    path = f"/users/{new_user()['id']}"
    # More than there are replicas, so that at least one of them answers a second time.
    answers = [client.get(path) for _ in range(20)]
    kept = [{k: v for k, v in a.headers.items() if k not in VARYING_HEADERS} for a in answers]
    assert all(answer.status_code == 200 for answer in answers)
    assert all(answer.content == answers[0].content for answer in answers)
    assert all(headers == kept[0] for headers in kept)
    assert {"content-type": "application/json", "x-content-type-options": "nosniff"}.items() <= (
        kept[0].items()
    )


def test_location_of_a_new_user(client: httpx.Client) -> None:
    answer = client.post("/users", json={"name": "Ada", "email": f"{uuid4()}@example.com"})
    assert client.get(answer.headers["location"]).json() == answer.json()


def test_password_is_never_returned(client: httpx.Client, new_user: NewUser) -> None:
    user = new_user(password="correct horse battery staple")
    text = client.get(f"/users/{user['id']}").text + str(user)
    assert "password" not in text
    assert "argon2" not in text


def test_an_email_belongs_to_one_user(client: httpx.Client, new_user: NewUser) -> None:
    user = new_user()
    for spelling in (user["email"], user["email"].upper()):
        answer = client.post("/users", json={"name": "Eve", "email": spelling})
        assert assert_problem(answer, 409)["detail"] == "Email already registered"


def test_of_concurrent_registrations_one_wins(client: httpx.Client) -> None:
    fields = {"name": "Ada", "email": f"{uuid4()}@example.com"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/users", json=fields), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "Ada"},
        {"name": "", "email": "ada@example.com"},
        {"name": "   ", "email": "ada@example.com"},
        {"name": "x" * 201, "email": "ada@example.com"},
        {"name": "nul\x00", "email": "ada@example.com"},
        {"name": "Ada", "email": "nonsense"},
        {"name": "Ada", "email": "a b@example.com"},
        {"name": "Ada", "email": None},
        {"name": 1, "email": "ada@example.com"},
        {"name": "Ada", "email": "ada@example.com", "password": "short"},
        {"name": "Ada", "email": "ada@example.com", "admin": True},
        ["Ada"],
    ],
)
def test_invalid_users_are_refused(client: httpx.Client, body: object) -> None:
    document = assert_problem(client.post("/users", json=body), 422)
    assert all(error["pointer"] and error["detail"] for error in document["errors"])


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"name": "\\ud800", "email": "a@b.c"}'])
def test_what_is_not_json_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/users", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}
    assert_problem(answer, answer.status_code)


def test_invalid_input_is_not_echoed(client: httpx.Client) -> None:
    fields = {"name": "Ada", "email": "ada@example.com", "password": "hunter2"}
    assert "hunter2" not in client.post("/users", json=fields).text


@pytest.mark.parametrize("path", [f"/users/{ABSENT}", f"/users/{ABSENT}/posts"])
def test_absent_users_are_404_everywhere(client: httpx.Client, path: str) -> None:
    for answer in everywhere(client, path):
        assert_problem(answer, 404)


@pytest.mark.parametrize("user_id", ["0", "-1", "x", "1.5", "99999999999999999999"])
def test_impossible_ids_are_422(client: httpx.Client, user_id: str) -> None:
    assert_problem(client.get(f"/users/{user_id}"), 422)


def test_a_missed_user_is_found_once_created(client: httpx.Client, new_user: NewUser) -> None:
    upcoming = new_user()["id"] + 1
    for _ in range(REPLICAS):
        client.get(f"/users/{upcoming}")
    while (user := new_user())["id"] < upcoming:
        pass
    # On a stack that others write to at the same time the number may have gone to one of them.
    for answer in everywhere(client, f"/users/{user['id']}"):
        assert answer.json() == user


def test_a_change_is_seen_by_every_replica_at_once(client: httpx.Client, new_user: NewUser) -> None:
    user = new_user()
    path = f"/users/{user['id']}"
    for number in range(10):
        everywhere(client, path)
        changed = client.patch(path, json={"name": f"Ada {number}"})
        assert changed.status_code == 200
        for answer in everywhere(client, path, REPLICAS):
            assert answer.json() == changed.json()
    assert changed.json()["name"] == "Ada 9"
    assert changed.json()["email"] == user["email"]
    assert changed.json()["updated_at"] > user["updated_at"]


@pytest.mark.parametrize(
    "body", [{}, {"name": None}, {"email": "nonsense"}, {"id": 5}, {"name": "\x00"}]
)
def test_invalid_changes_are_refused(client: httpx.Client, new_user: NewUser, body: object) -> None:
    user = new_user()
    assert_problem(client.patch(f"/users/{user['id']}", json=body), 422)
    assert client.get(f"/users/{user['id']}").json() == user


def test_a_change_cannot_take_anothers_email(client: httpx.Client, new_user: NewUser) -> None:
    one, other = new_user(), new_user()
    answer = client.patch(f"/users/{one['id']}", json={"email": other["email"]})
    assert_problem(answer, 409)


def test_changing_or_deleting_nobody_is_404(client: httpx.Client) -> None:
    assert_problem(client.patch(f"/users/{ABSENT}", json={"name": "Ada"}), 404)
    assert_problem(client.delete(f"/users/{ABSENT}"), 404)


def test_a_deleted_user_is_gone_everywhere_at_once(client: httpx.Client, new_user: NewUser) -> None:
    user = new_user()
    path = f"/users/{user['id']}"
    client.post(f"{path}/posts", json={"title": "Hello"})
    everywhere(client, path)
    answer = client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    for answer in everywhere(client, path):
        assert_problem(answer, 404)
    assert_problem(client.get(f"{path}/posts"), 404)


def test_pages_of_users(client: httpx.Client, new_user: NewUser) -> None:
    users = [new_user() for _ in range(5)]
    first = client.get("/users", params={"limit": 2, "after": users[0]["id"] - 1}).json()
    assert [user["id"] for user in first["items"]] == sorted(u["id"] for u in first["items"])
    assert len(first["items"]) == 2
    second = client.get("/users", params={"limit": 2, "after": first["next_after"]}).json()
    assert second["items"][0]["id"] > first["items"][-1]["id"]
    last = client.get("/users", params={"after": ABSENT}).json()
    assert last == {"items": [], "next_after": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "after=-1", "include=all", "limit=x"])
def test_invalid_pages_are_refused(client: httpx.Client, query: str) -> None:
    assert_problem(client.get(f"/users?{query}"), 422)


def test_posts(client: httpx.Client, new_user: NewUser) -> None:
    user = new_user()
    path = f"/users/{user['id']}/posts"
    posts = []
    for number in range(3):
        answer = client.post(path, json={"title": f"Post {number}", "body": "…"})
        assert answer.status_code == 201
        assert answer.json()["user_id"] == user["id"]
        posts.append(answer.json())
    assert client.get(path).json() == {"items": posts, "next_after": None}
    page = client.get(path, params={"limit": 1, "after": posts[0]["id"]}).json()
    assert page == {"items": [posts[1]], "next_after": posts[1]["id"]}
    listed = client.get("/users", params={"after": user["id"] - 1, "limit": 1, "include": "posts"})
    assert listed.json()["items"] == [user | {"posts": posts}]


def test_a_post_needs_a_user_and_a_title(client: httpx.Client, new_user: NewUser) -> None:
    assert_problem(client.post(f"/users/{ABSENT}/posts", json={"title": "Hello"}), 404)
    assert_problem(client.post(f"/users/{new_user()['id']}/posts", json={"body": "…"}), 422)


def test_trailing_slashes_are_accepted(client: httpx.Client, new_user: NewUser) -> None:
    user = new_user()
    assert client.get(f"/users/{user['id']}/").json() == user
    answer = client.post("/users/", json={"name": "Ada", "email": f"{uuid4()}@example.com"})
    assert answer.status_code == 201
    assert client.get("/health/").status_code == 200


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    assert_problem(client.get("/nope"), 404)
    answer = client.put("/users/1", json={})
    assert_problem(answer, 405)
    assert answer.headers["allow"]


def test_an_oversized_body_is_refused(client: httpx.Client) -> None:
    body = {"name": "x" * 2_000_000, "email": "ada@example.com"}
    assert_problem(client.post("/users", json=body), 413)


def test_request_id_is_kept_or_made(client: httpx.Client) -> None:
    answer = client.get("/health", headers={"X-Request-ID": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"
    forged = client.get("/health", headers={"X-Request-ID": 'a"b{}'})
    assert forged.headers["x-request-id"] not in {"", 'a"b{}'}


def test_health_and_readiness(client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 200


def test_metrics_count_routes_not_paths(client: httpx.Client, new_user: NewUser) -> None:
    path = f"/users/{new_user()['id']}"
    everywhere(client, path)
    for answer in everywhere(client, "/metrics", REPLICAS):
        assert answer.status_code == 200
        assert 'http_requests_total{method="GET",route="/users/{user_id}"' in answer.text
        assert "http_request_duration_seconds_bucket" in answer.text
        assert path not in answer.text


def test_openapi_tells_the_truth_about_errors(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    content = response["content"]
                    assert list(content) == ["application/problem+json"], (path, method, status)
    assert client.get("/docs").status_code == 200


def test_each_new_user_is_welcomed_exactly_once(new_user: NewUser, own_stack: Stack | None) -> None:
    if own_stack is None:
        pytest.skip("the database behind BASE_URL is not this test's to look into")
    users = [new_user() for _ in range(20)]
    ids = ", ".join(str(user["id"]) for user in users)
    sent = f"SELECT user_id, recipient FROM sent_emails WHERE user_id IN ({ids})"
    deadline = time.monotonic() + 30
    while len(own_stack.query(sent)) < len(users) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sorted(own_stack.query(sent)) == sorted((u["id"], u["email"]) for u in users)
