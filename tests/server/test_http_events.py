"""POST /api/v1/events and /events/batch, as the published clients send them."""

import json

import pytest


@pytest.fixture
def key(http):
    return http.key(("write", "read"))


def send(http, key, payload, status=202):
    answer = http.post("/api/v1/events", key, payload)
    assert answer.status_code == status, answer.text
    return answer.json()


def stored(http, event_id):
    """The event's row, as its columns say."""
    row, = http.database.conn.execute("SELECT to_jsonb(e) FROM immutable.events e WHERE id = %s", [event_id]).fetchone()
    return row


def test_an_event_is_queued_and_recorded_as_it_was_sent(http, key):
    sent = {"actor_id": "user_1", "actor_name": "Jané", "actor_type": "user", "action": "document.created", "action_category": "crud",
            "resource": "document", "resource_id": "42", "resource_name": "Plan", "session_id": "s", "tenant_id": "org_1",
            "idempotency_key": "k", "version": 0, "occurred_at": "2026-03-01T12:00:00.000Z", "metadata": {"a": [1, "é\U0001f600"]},
            "targets": [{"type": "folder", "id": "f", "name": "Reports", "metadata": {"n": 1}}],
            "ip_address": "203.0.113.7", "user_agent": "x"}
    answer = send(http, key, sent)
    assert set(answer) == {"id", "status"} and answer["status"] == "queued"
    row = stored(http, answer["id"])
    assert row.pop("resource_type") == sent.pop("resource")
    assert row["occurred_at"].startswith("2026-03-01T12:00:00")
    assert {name: row[name] for name in sent if name != "occurred_at"} == {name: sent[name] for name in sent if name != "occurred_at"}


MEANT = [
    ({"actor_id": 7, "resource_id": 4.5, "session_id": -1}, {"actor_id": "7", "resource_id": "4.5", "session_id": "-1"}),
    ({"resource": "", "resource_id": "", "session_id": "", "tenant_id": ""}, {"resource_type": None, "resource_id": None, "session_id": None, "tenant_id": ""}),
    ({"metadata": [], "targets": [], "version": None, "actor_name": None}, {"metadata": {}, "targets": [], "version": None}),
    ({"resource_type": "document"}, {"resource_type": "document"}),
    ({"targets": [{"type": "t", "id": 7, "name": None, "metadata": []}]}, {"targets": [{"type": "t", "id": "7"}]}),
    ({"metadata": {"targets": [{"type": "t", "id": "1"}], "tenant_id": "x"}},
     {"metadata": {"targets": [{"type": "t", "id": "1"}], "tenant_id": "x"}, "targets": [{"type": "t", "id": "1"}], "tenant_id": ""}),
    ({"targets": [{"type": "u", "id": "2"}], "metadata": {"targets": [{"type": "t", "id": "1"}]}}, {"targets": [{"type": "u", "id": "2"}]}),
    ({"metadata": {"targets": "all"}}, {"targets": [], "metadata": {"targets": "all"}}),
]


def test_what_clients_mean_is_recorded(http, key):
    for sent, recorded in MEANT:
        answer = send(http, key, {"actor_id": "u", "action": "a.b", **sent})
        assert set(answer) == {"id", "status"}
        row = stored(http, answer["id"])
        assert {name: row[name] for name in recorded} == recorded


def test_unknown_members_are_left_out_and_named(http, key):
    answer = send(http, key, {"actor_id": "u", "action": "a.b", "foo": {"x": 1}, "targets": [{"type": "t", "kind": 1}]})
    assert [warning["field"] for warning in answer["warnings"]] == ["foo", "targets[0].kind"]
    assert stored(http, answer["id"])["targets"] == [{"type": "t"}]


def test_a_key_that_was_used_is_a_duplicate_and_never_a_conflict(http, key):
    event = {"actor_id": "u", "action": "a.b", "idempotency_key": "k1"}
    first = send(http, key, event)
    assert send(http, key, event) == {"id": first["id"], "status": "duplicate"}
    other = send(http, key, {**event, "action": "a.c"})
    assert (other["id"], other["status"]) == (first["id"], "duplicate")
    assert [warning["field"] for warning in other["warnings"]] == ["idempotency_key"] and "action" in other["warnings"][0]["message"]
    assert send(http, key, {**event, "tenant_id": "other"})["status"] == "queued"


def test_schemas_that_only_warn_warn(http, key):
    http.database.conn.execute("SELECT immutable.set_action_schema('document.*')")
    answer = send(http, key, {"actor_id": "u", "action": "billing.refunded"})
    assert answer["status"] == "queued"
    assert answer["warnings"] == [{"field": "action", "message": "Action 'billing.refunded' does not match any configured schema pattern."}]


def test_a_key_of_one_tenant_records_in_it(http):
    key = http.key(("write",), "org_1")
    assert stored(http, send(http, key, {"actor_id": "u", "action": "a.b"})["id"])["tenant_id"] == "org_1"
    refused = send(http, key, {"actor_id": "u", "action": "a.b", "tenant_id": "org_2"}, 403)
    assert refused["error"] == "forbidden" and "org_2" not in refused["message"]


def test_a_batch_answers_each_event_in_its_place(http, key):
    good = json.dumps({"actor_id": 7, "action": "a.b", "extra": 1})
    members = [good, '{"actor_id": "u"}', '{"actor_id": "u", "action": "a.b", "metadata": {"x": NaN}}', "7", good.replace('"a.b"', '"a\\u0000b"'),
               '{"actor_id": "\\ud800", "action": "a.b"}', '{"actor_id": true, "action": "a.b"}', '{"actor_id": "u", "action": "immutable.x"}',
               '{"actor_id": "u", "action": "a.b", "metadata": {"a": 1, "a": 2}}', '{"actor_id": "u", "actor_id": "v", "action": "a.b"}',
               '{"actor_id": "u", "action": "a.b", "metadata": ' + '{"a":' * 100 + "1" + "}" * 100 + "}", good]
    answer = http.post("/api/v1/events/batch", key, content='{"events": [' + ",".join(members) + "]}", headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text
    events = answer.json()["events"]
    assert [event["status"] for event in events] == ["queued"] + ["error"] * 10 + ["queued"]
    assert events[0]["warnings"][0]["field"] == "extra"
    for event in events[1:-1]:
        assert event["id"] is None and event["error"] == "validation_failed" and event["message"].endswith("."), event
    fields = [list(event.get("errors", {})) for event in events[1:-1]]
    assert fields == [["action"], [], [], ["action"], ["actor_id"], ["actor_id"], ["action"], ["metadata"], ["actor_id"], ["metadata"]]
    assert events[1]["message"] == "The action field is required."
    assert http.database.conn.execute("SELECT count(*) FROM immutable.events WHERE actor_id = '7'").fetchone() == (2,)


def test_one_event_and_a_batch_of_it_are_refused_alike(http, key):
    """The log names the field of an event of a batch; of a single event the message has to do."""
    bad = [{"action": "a"}, {"actor_id": "u"}, {"actor_id": "u", "action": "x" * 300}, {"actor_id": "u", "action": "a", "metadata": 7},
           {"actor_id": "u", "action": "a", "metadata": {str(n): 1 for n in range(60)}}, {"actor_id": "u", "action": "a", "targets": [{"id": "1"}]},
           {"actor_id": "u", "action": "a", "targets": {"type": "t"}}, {"actor_id": "u", "action": "a", "targets": [{"type": "immutable.t"}]},
           {"actor_id": "u", "action": "a", "targets": [{"type": "t"}] * 101}, {"actor_id": "u", "action": "a", "version": "1"},
           {"actor_id": "u", "action": "a", "version": 2**40}, {"actor_id": "u", "action": "a", "occurred_at": "yesterday"},
           {"actor_id": "u", "action": "a", "ip_address": "1.2.3"}, {"actor_id": "u", "action": "immutable.x"},
           {"actor_id": "u", "action": "a", "metadata": {"x": "y" * 70000}}, {"actor_id": "u", "action": "a", "occurred_at": "0000-01-01T00:00:00Z"},
           {"actor_id": "u" * 600, "action": "a"}, {"actor_id": "a\0b", "action": "a"}, {"actor_id": "u", "action": "a", "targets": [{"type": "t", "id": "\0"}]}]
    batch = http.post("/api/v1/events/batch", key, {"events": bad}).json()["events"]
    for event, member in zip(bad, batch, strict=True):
        alone = send(http, key, event, 422)
        assert alone["errors"], alone
        assert {name: member.get(name) for name in alone} == alone


NO_BATCHES = [
    ('{"events": []}', 422, "events"), ("{}", 422, "events"), ("[]", 422, "events"), ('{"events": {}}', 422, "events"), ('{"events": null}', 422, "events"),
    ('{"events": [], "events": []}', 422, "events"), ('{"events": [' + ",".join(['{"actor_id":"u","action":"a"}'] * 101) + "]}", 422, "events"),
    ("", 400, None), ("{", 400, None), ('{"events": [}', 400, None), ("nonsense", 400, None), ('{"events": [1}]', 400, None),
]


def test_a_batch_that_is_none_is_refused_whole(http, key):
    for body, status, field in NO_BATCHES:
        answer = http.post("/api/v1/events/batch", key, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, list(answer.json().get("errors", {}))) == (status, [field] if field else []), body
    assert http.database.conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'a'").fetchone() == (0,)


def test_a_batch_of_nothing_valid_still_needs_a_key_that_may_write(http):
    batch = {"events": [7]}
    assert http.post("/api/v1/events/batch", http.key(("write",)), batch).status_code == 202
    assert http.post("/api/v1/events/batch", http.key(("read",)), batch).status_code == 403
    assert http.post("/api/v1/events/batch", "imk_" + "x" * 43, batch).status_code == 401
    assert http.post("/api/v1/events", http.key(("read",)), [7]).status_code == 403


def test_a_batch_of_a_hundred_is_recorded_in_order(http, key):
    events = http.post("/api/v1/events/batch", key, {"events": [{"actor_id": n, "action": "a.b"} for n in range(100)]}).json()["events"]
    actors = http.database.conn.execute("SELECT actor_id FROM unnest(%s::uuid[]) WITH ORDINALITY i(id, n) JOIN immutable.events e USING (id) "
                                        "ORDER BY created_at", [[event["id"] for event in events]]).fetchall()
    assert actors == [(str(n),) for n in range(100)]
