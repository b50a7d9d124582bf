"""Errors: each is a JSON object with a code and a sentence, whatever was asked for."""

import helpers_keys
import httpx

EVENT = {"actor_id": "u", "action": "a.b"}


def check(answer, status, error):
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert body["error"] == error and isinstance(body["message"], str) and body["message"].endswith(".")
    return body


def test_every_kind_of_error_is_an_object(program):
    http = program(max_body=2048)
    key = http.key()
    check(http.get("/"), 404, "not_found")
    check(http.get("/api/v1/nothing", key), 404, "not_found")
    check(http.get("/api/v1/%ff"), 404, "not_found")
    check(http.request("DELETE", "/api/v1/events", key), 405, "method_not_allowed")
    check(http.request("PUT", "/api/v1/events/batch", key), 405, "method_not_allowed")
    check(http.post("/api/v1/events", key, {**EVENT, "metadata": {"x": "y" * 4096}}), 413, "payload_too_large")
    check(http.post("/api/v1/events", key, content=iter([b'{"a": "', b"x" * 4096, b'"}'])), 413, "payload_too_large")
    check(http.post("/api/v1/events", key, data={"actor_id": "u"}), 415, "unsupported_media_type")
    check(http.post("/api/v1/events", key, content=b"{", headers={"Content-Type": "application/json"}), 400, "bad_request")
    check(http.post("/api/v1/events", key, content=b'{"x": "\xff"}'), 400, "bad_request")
    assert http.request("HEAD", "/api/v1/nothing").status_code == 404


def test_what_is_wrong_is_said_as_the_documents_say_it(http):
    body = check(http.post("/api/v1/events", http.key(), {"action": "a.b"}), 422, "validation_failed")
    assert body["message"] == "The actor_id field is required."
    assert body["errors"] == {"actor_id": ["The actor_id field is required."]} and body["sqlstate"] == "23502"
    http.database.conn.execute("SELECT immutable.set_action_schema('document.*'), immutable.set_action_schema_mode('strict')")
    body = check(http.post("/api/v1/events", http.key(), {**EVENT, "action": "billing.refunded"}), 422, "validation_failed")
    assert body["message"] == "Action 'billing.refunded' does not match any configured schema pattern."
    assert list(body["errors"]) == ["action"]


def test_without_a_valid_key_nothing_opens(http):
    for header in ["", "Bearer", "Basic dTpw", "Bearer imk_unknown", "bearer imk_" + "A" * 43, "Bearer a.b.c", "Bearer x" * 2, "Bearer a b",
                   "Bearer " + "x" * 5000, "Bearer " + "0" * 64, "imk_" + "A" * 43, "Bearer é", "Bearer ..", "Bearer vt_"]:
        body = check(http.post("/api/v1/events", json=EVENT, headers={"Authorization": header.encode()}), 401, "unauthenticated")
        assert body["message"] == "Invalid or missing API key."
    check(http.post("/api/v1/events", json=EVENT), 401, "unauthenticated")


def test_two_keys_in_one_request_are_none(http):
    key = ("Authorization", f"Bearer {http.key()}")
    answer = httpx.post(http.url + "/api/v1/events", json=EVENT, headers=[key, key])
    check(answer, 401, "unauthenticated")


def test_the_digest_of_a_key_is_no_key(http):
    """Whoever reads the database or the log learns nothing that opens it."""
    key = http.key()
    assert http.post("/api/v1/events", key, EVENT).status_code == 202
    check(http.post("/api/v1/events", helpers_keys.digest(key), EVENT), 401, "unauthenticated")


def test_what_a_key_does_not_open_is_403(http):
    body = check(http.post("/api/v1/events", http.key(("read",)), EVENT), 403, "forbidden")
    assert body["message"] == "The API key does not have the scope write."
    body = check(http.post("/api/v1/events", http.key(allowed_ips=["198.51.100.0/24"]), EVENT), 403, "forbidden")
    assert body["message"] == "Your IP address is not in the workspace allowlist."
    assert http.post("/api/v1/events", http.key(allowed_ips=["127.0.0.0/8"]), EVENT).status_code == 202
    body = check(http.post("/api/v1/events", http.key(quota=0), EVENT), 403, "forbidden")
    assert "quota" in body["message"]
    body = check(http.post("/api/v1/events", http.key(), {**EVENT, "action": "immutable.erased"}), 422, "validation_failed")
    assert list(body["errors"]) == ["action"]


def test_a_key_that_is_revoked_opens_nothing_at_once(http):
    made, = http.database.conn.execute("SELECT immutable.create_api_key('k')").fetchone()
    assert http.post("/api/v1/events", made["key"], EVENT).status_code == 202
    http.database.conn.execute("SELECT immutable.revoke_api_key(%s)", [made["id"]])
    check(http.post("/api/v1/events", made["key"], EVENT), 401, "unauthenticated")
    check(http.post("/api/v1/events/batch", made["key"], {"events": [EVENT]}), 401, "unauthenticated")


def test_a_viewer_token_writes_nothing(http):
    token, = http.database.conn.execute("SELECT immutable.create_viewer_token('org') ->> 'token'").fetchone()
    for bearer in (token, "vt_" + token):
        check(http.post("/api/v1/events", bearer, EVENT), 403, "forbidden")
    check(http.post("/api/v1/events", token[:-4] + "AAAA", EVENT), 401, "unauthenticated")
