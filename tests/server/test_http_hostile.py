"""Nothing that a client sends ends in a 500, leaves a transaction open, or stops the program."""

import concurrent.futures
import json
import random
import re
import socket

import httpx
import pytest

EVENT = json.dumps({"actor_id": "u", "action": "a.b", "metadata": {"x": [1, "é", {"y": None}]}, "targets": [{"type": "t", "id": "1"}]}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def shared(server, tmp_path_factory):
    """One program for all tests here: what one of them breaks, the next one sees."""
    import conftest
    import helpers_http
    db = conftest.Database(server)
    program = helpers_http.Program(db, tmp_path_factory.mktemp("http"), connections=4)
    yield program
    program.stop(9)
    db.close()


@pytest.fixture
def http(shared):
    yield shared
    key = shared.key()
    assert shared.post("/api/v1/events", key, {"actor_id": "u", "action": "after.all"}).status_code == 202
    open_ones = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state LIKE 'idle in transaction%%'"
    assert shared.database.conn.execute(open_ones, [shared.login]).fetchone() == (0,)
    log = shared.log.read_text()
    assert "a handler failed" not in log and "a call failed" not in log and "panicked" not in log, log[-3000:]


def is_answered(answer):
    """An answer that no client stumbles over."""
    assert answer.status_code < 500, (answer.status_code, answer.text)
    assert isinstance(answer.json(), dict)
    return answer.status_code


def raw(http, data, half_close=True):
    """What the program answers to these bytes, as text, until it closes the connection or says no more."""
    host, port = http.flags["listen"].split(":")
    parts = []
    with socket.create_connection((host, int(port)), timeout=10) as client:
        try:
            client.sendall(data)
            if half_close:
                client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has answered and closed before everything was sent
        try:
            while part := client.recv(65536):
                parts.append(part)
        except OSError:
            pass
    return b"".join(parts).decode("utf-8", "replace")


def body_of(answer):
    return json.loads(answer.partition("\r\n\r\n")[2])


def request(http, key, target="/api/v1/events", body=EVENT, method="POST", *headers):
    lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", "Content-Type: application/json",
             f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def mutated(rng, body):
    """A body with some of its bytes changed, left out, doubled, or replaced by what parsers stumble over."""
    body = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body) + 1)
        piece = rng.choice([bytes([rng.randrange(256)]), b"\\u0000", b"\\ud800", b"\xff", b"NaN", b"[", b"}", b'"', b"1e999", b"-", b"\0", b"\xef\xbb\xbf", b"null", b",", b":"])
        body[at:at + rng.randint(0, 3)] = piece
    return bytes(body)


def test_random_bodies(http):
    rng = random.Random(16)
    key = http.key()
    bodies = [mutated(rng, EVENT) for _ in range(300)] + [rng.randbytes(rng.randrange(60)) for _ in range(100)]
    bodies += [b'{"events":[' + mutated(rng, EVENT) + b"," + EVENT + b"]}" for _ in range(200)]

    def send(n):
        with httpx.Client() as client:
            return [is_answered(client.post(http.url + "/api/v1/events" + ("/batch" if b"events" in body[:12] else ""), content=body,
                                            headers={**JSON, "Authorization": f"Bearer {key}"})) for body in bodies[n::4]]

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        statuses = {status for each in threads.map(send, range(4)) for status in each}
    assert statuses <= {202, 400, 422} and len(statuses) == 3


def test_values_that_no_column_holds(http):
    key = http.key()
    start = b'{"actor_id": "u", "action": "a.b", "metadata": '
    for value, status in [(b'{"a": "\\u0000"}', 422), (b'{"\\u0000": 1}', 422), (b'{"a": "\\ud800"}', 422), (b'{"a": NaN}', 400), (b'{"a": Infinity}', 400),
                          (b'{"a": -Infinity}', 400), (b'{"a": 1e999999}', 422), (b'{"a": 1, "a": 2}', 422), (b'{"a": {"b": 1, "b": 1}}', 422),
                          (b"[" * 100_000 + b"]" * 100_000, 422), (b'{"a":' * 500_000 + b"1" + b"}" * 500_000, 422), (b"[" * 1_000_000, 400),
                          (b'{"a": "' + b"x" * 7_000_000 + b'"}', 422), (b'{"a": 01}', 400), (b"{'a': 1}", 400), (b'{"a": "\x01"}', 400),
                          (b'{"a": "\xed\xa0\x80"}', 400), (b'{"a": ' + b"1" * 200_000 + b"}", 422), (b'{"a": "\\ud83d\\ude00"}', 202), (b"{}", 202)]:
        answer = http.post("/api/v1/events", key, content=start + value + b"}", headers=JSON)
        assert is_answered(answer) == status, (value[:40], answer.text)
    assert http.post("/api/v1/events", key, content=b"\xef\xbb\xbf" + EVENT, headers=JSON).status_code == 202
    # Deep values in unknown members, in targets and in ids.
    deep = b"[" * 200_000 + b"]" * 200_000
    for member, status in [(b'"foo": ' + deep, 202), (b'"targets": ' + deep, 422), (b'"targets": [{"type": "t", "metadata": ' + deep + b"}]", 422),
                           (b'"actor_name": ' + deep, 422)]:
        answer = http.post("/api/v1/events", key, content=b'{"actor_id": "u", "action": "a.b", ' + member + b"}", headers=JSON)
        assert is_answered(answer) == status, answer.text
    batch = b'{"events": [' + b",".join([EVENT, start + deep + b"}", EVENT]) + b"]}"
    events = http.post("/api/v1/events/batch", key, content=batch, headers=JSON).json()["events"]
    assert [event["status"] for event in events] == ["queued", "error", "queued"]


def test_bodies_that_are_too_large(http):
    key = http.key()
    for body in [b'{"a": "' + b"x" * 10_000_000 + b'"}', b"[" * 9_000_000]:
        for content in [body, iter([body[:5_000_000], body[5_000_000:]])]:
            answer = http.post("/api/v1/events", key, content=content, headers=JSON)
            assert is_answered(answer) == 413


def test_who_is_refused_before_the_body_was_read_can_send_it_and_gets_the_answer(http):
    key, body = http.key(), b"x" * 4_000_000
    for data, status in [(request(http, "nonsense", body=body), 401), (request(http, key, "/none", body), 404), (request(http, key, body=body, method="PUT"), 405),
                         (request(http, key, "/api/v1/events", body, "POST", "Content-Length: 1"), 400)]:
        with socket.create_connection(http.flags["listen"].split(":"), timeout=10) as client:
            client.sendall(data)
            answer = client.recv(65536).decode()
        assert int(answer.split(" ")[1]) == status, answer
        assert body_of(answer)["error"]


def test_weird_paths_and_queries(http):
    key = http.key()
    for target in ["/api/v1/events?%ff", "/api/v1/events?limit=%ff&limit", "/api/v1/events?a=1&a=2&&=&%", "/%ff%fe", "/api/v1/%00", "/api/v1/events/%ff", "/api/v1/events/..",
                   "/../../etc/passwd", "//", "/api/v1/events/", "/api/v1/events?" + "a=" * 5000, "/api//v1/events", "*", "/api/v1/events/" + "x" * 5000, "/%", "/api/v1/events?cursor=\x7f",
                   "http://other/api/v1/events?limit=1", "/api/v1/events;x"]:
        for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE", "WEIRD"]:
            answer = raw(http, request(http, key, target, b"", method, "Connection: close"))
            status = int(answer.split(" ")[1])
            assert status < 500, (target, method, answer)
            if method not in ("HEAD", "OPTIONS"):
                assert isinstance(body_of(answer), dict), (target, method, answer)


def test_paths_that_are_no_utf8_are_answered_like_others(http):
    for path in ["/viewer/%ff", "/tile/%ff", "/api/v1/events/%ff", "/api/v1/anchors/%ff/verify", "/api/v1/exports/%ff/download"]:
        answer = raw(http, request(http, http.key(), path, b"", "GET", "Connection: close"))
        assert answer.split(" ")[1] == "404" and body_of(answer)["error"] == "not_found", (path, answer)


def test_members_that_are_not_known_do_not_make_the_answer_large(http):
    body = json.dumps({"actor_id": "u", "action": "a.b", **{f"k{n}": n for n in range(50_000)}})
    answer = http.post("/api/v1/events", http.key(), content=body, headers=JSON)
    assert is_answered(answer) == 202
    fields = [warning["field"] for warning in answer.json()["warnings"]]
    assert fields == [f"k{n}" for n in range(21)] and "others" in answer.json()["warnings"][-1]["message"]


def test_what_is_no_json_beside_the_events_of_a_batch_is_no_json(http):
    for body in [b'{"events": [%s], "x": NaN}', b'{"x": [1,], "events": [%s]}']:
        assert is_answered(http.post("/api/v1/events/batch", http.key(), content=body % EVENT, headers=JSON)) == 400, body
    assert is_answered(http.post("/api/v1/events/batch", http.key(), content=b'{"events": [%s], "x": [{}]}' % EVENT, headers=JSON)) == 202


def test_what_is_no_http_is_answered_too(http):
    key = http.key()
    for data, status in [(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400), (b"GET\r\n\r\n", 400), (b"GET / HTTP/9.9\r\n\r\n", 400), (b"\0\0\0\0\r\n\r\n", 400),
                         (b"GET / HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nx: " + b"y" * 300_000 + b"\r\n\r\n", 431),
                         (b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(200)) + b"\r\n", 431), (b"GET /" + b"x" * 66_000 + b" HTTP/1.1\r\n\r\n", (414, 431)),
                         (request(http, key, "/api/v1/events", EVENT, "POST", "Content-Length: 1"), 400),
                         (request(http, key, "/api/v1/events", EVENT, "POST", "Transfer-Encoding: nonsense"), 400)]:
        answer = raw(http, data)
        assert int(answer.split(" ")[1]) in (status if isinstance(status, tuple) else (status,)), (data[:60], answer)
        assert set(body_of(answer)) >= {"error", "message"}, answer
    rng = random.Random(7)
    for _ in range(60):
        data = rng.randbytes(rng.randrange(200)) if rng.random() < 0.5 else mutated(rng, request(http, key))
        answer = raw(http, data)
        assert not answer or int(answer.split(" ")[1]) < 500, (data, answer)


def test_connections_that_end_early_or_do_several_things(http):
    key = http.key()
    count = "SELECT count(*) FROM immutable.events WHERE actor_id = 'half'"
    body = EVENT.replace(b'"u"', b'"half"')
    # A half-closed connection still reads its answer.
    assert " 202 " in raw(http, request(http, key, body=body)).splitlines()[0]
    # Three requests at once are answered in turn; the body that ends early is none.
    answers = raw(http, request(http, key, body=body) + request(http, key, "/api/v1/none") + request(http, key, body=body, method="POST"))
    assert re.findall(r"HTTP/1.1 (\d+)", answers) == ["202", "404", "202"]
    answer = raw(http, request(http, key, body=body)[:-10])
    assert not answer or " 400 " in answer.splitlines()[0]
    assert http.database.conn.execute(count).fetchone() == (3,)
    # Many that send a part and vanish.
    host, port = http.flags["listen"].split(":")
    for n in range(0, 200, 7):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(request(http, key)[:n])
    # HEAD has the status of GET and no body.
    answer = raw(http, request(http, key, body=b"", method="HEAD"))
    assert " 200 " in answer.splitlines()[0] and answer.endswith("\r\n\r\n")
    # Expect: 100-continue is answered before the body comes.
    assert "100 Continue" in raw(http, request(http, key, "/api/v1/events", EVENT, "POST", "Expect: 100-continue"))


def test_a_body_in_small_pieces_is_taken(http):
    pieces = iter([EVENT[n:n + 1] for n in range(len(EVENT))])
    assert http.post("/api/v1/events", http.key(), content=pieces, headers=JSON).status_code == 202
