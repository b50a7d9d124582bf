"""Who may ask from where, how often and how much: CORS, trusted proxies, rates, ids of requests."""

import socket
import time

import httpx
import pytest

EVENT = {"actor_id": "u", "action": "a.b"}


def test_any_page_may_read_answers_unless_origins_are_named(program):
    http = program()
    asked = httpx.options(http.url + "/api/v1/events", headers={"Origin": "https://app.example", "Access-Control-Request-Method": "GET",
                                                               "Access-Control-Request-Headers": "authorization"})
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "Authorization" in asked.headers["access-control-allow-headers"] and "GET" in asked.headers["access-control-allow-methods"]
    for answer in (http.get("/api/v1/events"), http.get("/none"), http.get("/healthz")):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
    http = program(cors_origin=["https://app.example", "https://b.example"])
    for origin, allowed in [("https://app.example", True), ("https://b.example", True), ("https://evil.example", False), ("https://app.example.evil", False), (None, False)]:
        answer = http.get("/api/v1/events", headers={"Origin": origin} if origin else {})
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",), ("10.0.0.0/8", "127.0.0.0/8")])
def test_an_address_is_believed_of_trusted_proxies_alone(program, trusted):
    http = program(trusted_proxy=list(trusted)) if trusted else program()
    key = http.key(allowed_ips=["198.51.100.0/24"])

    def status(*lines):
        answer = httpx.post(http.url + "/api/v1/events", json=EVENT, headers=[("Authorization", f"Bearer {key}"), *(("X-Forwarded-For", line) for line in lines)])
        return answer.status_code

    believed = 202 if trusted else 403
    assert status("198.51.100.7") == believed
    assert status("203.0.113.1, 198.51.100.7") == believed
    assert status("203.0.113.1", "198.51.100.7:4711") == believed
    assert status() == 403
    # What the client itself claims stands further left.
    assert status("198.51.100.7, 203.0.113.1") == 403
    assert status("198.51.100.7", "203.0.113.1") == 403
    assert status("198.51.100.7, nonsense") == 403
    assert status("198.51.100.7, 10.1.1.1") == (202 if len(trusted) == 2 else 403)


def test_a_key_may_ask_so_often_in_a_minute(program):
    http = program(rate_limit=3)
    first, second = http.key(), http.key()
    # The minute may end in between, so that a few more may pass.
    statuses = [http.post("/api/v1/events", first, EVENT).status_code for _ in range(8)]
    assert statuses[:3] == [202] * 3 and statuses.count(429) >= 2
    refused = [answer for answer in (http.get("/api/v1/events", first) for _ in range(8)) if answer.status_code == 429][0]
    assert refused.json()["error"] == "rate_limited" and 1 <= int(refused.headers["retry-after"]) <= 60
    assert http.post("/api/v1/events", second, EVENT).status_code == 202
    assert http.get("/healthz").status_code == 200


def test_requests_have_ids(http):
    first, second = http.get("/healthz"), http.get("/none")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert http.get("/healthz", headers={"X-Request-Id": "from-the-proxy.1"}).headers["x-request-id"] == "from-the-proxy.1"
    for wrong in ["x" * 65, "a b", "<script>"]:
        assert http.get("/healthz", headers={"X-Request-Id": wrong}).headers["x-request-id"] != wrong


def test_connections_beyond_the_most_wait_for_their_turn(program):
    http = program(clients=2)
    key = http.key()
    with httpx.Client() as one, httpx.Client() as two:
        for client in (one, two):
            assert client.get(http.url + "/healthz").status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            http.get("/healthz", timeout=0.5)
    assert http.post("/api/v1/events", key, EVENT).status_code == 202


def test_large_bodies_that_arrive_slowly_do_not_fill_the_memory(program):
    """Nothing is known of their clients yet. Small bodies are taken meanwhile, and large ones once the others are gone."""
    http = program(max_body=131_072)
    key, (host, port) = http.key(), http.flags["listen"].split(":")
    head = f"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 131072\r\n\r\n".encode()
    large = {"actor_id": "u", "action": "a.b", "left_out": "x" * 100_000}
    slow = []
    try:
        for _ in range(70):
            slow.append(socket.create_connection((host, int(port))))
            slow[-1].sendall(head + b" " * 131_000)
        deadline = time.monotonic() + 10
        while (answer := http.post("/api/v1/events", key, large)).status_code != 503:
            assert time.monotonic() < deadline, answer.text
        assert answer.json()["error"] == "unavailable" and answer.headers["retry-after"]
        assert http.post("/api/v1/events", key, {"actor_id": "u", "action": "a.b"}).status_code == 202
    finally:
        for client in slow:
            client.close()
    deadline = time.monotonic() + 10
    while http.post("/api/v1/events", key, large).status_code != 202:
        assert time.monotonic() < deadline
