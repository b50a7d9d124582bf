"""GET /events, /events/{id}, /verify and /alerts: filters, order, cursors, and who sees what."""

import base64
import json
import uuid

import helpers_keys as keys
import helpers_log as h

FLAT = {"actor_id": ("actor", "id"), "actor_name": ("actor", "name"), "actor_type": ("actor", "type"),
        "resource_type": ("resource", "type"), "resource_id": ("resource", "id"), "resource_name": ("resource", "name")}


def record(conn, *events):
    """Records events that are payloads of track(); gives their ids."""
    return [conn.execute("SELECT immutable.track(%s::jsonb) ->> 'id'", (json.dumps({"actor_id": "u1", "action": "a.b", **event}),)).fetchone()[0]
            for event in events]


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [event["id"] for event in answer.json()["data"] if not event["action"].startswith("immutable.")]


def events(http, key, **query):
    return http.get("/api/v1/events", key, params=query)


def refused(answer, status, field=None):
    """A JSON object that names what is wrong."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    body = answer.json()
    assert isinstance(body["error"], str) and isinstance(body["message"], str)
    if field:
        assert list(body.get("errors", {})) == [field], body
    return body


def test_every_filter_alone_and_together(db, http):
    key = http.key(["read"])
    full = {"actor_id": "u7", "actor_name": "Ann", "actor_type": "user", "action": "document.shared", "action_category": "c", "resource": "document",
            "resource_id": "d7", "resource_name": "Plan", "tenant_id": "t7", "session_id": "s7", "ip_address": "203.0.113.9", "version": 0,
            "targets": [{"type": "x", "id": "1"}, {"type": "y", "id": "2", "name": "N"}], "metadata": {"n": 1.5, "text": "Größe 100%"}}
    other = {"action": "user.created", "tenant_id": "t8", "targets": [{"type": "x", "id": "2"}]}
    bare, wanted, others = record(db.conn, {}, full, other)
    for query in [{"actor_id": "u7"}, {"action": "document.shared"}, {"action": "document.*"}, {"resource": "document"}, {"resource_id": "d7"},
                  {"tenant_id": "t7"}, {"session_id": "s7"}, {"target_type": "y"}, {"target_type": "x", "target_id": "1"}, {"search": "GRÖSSE"},
                  {"search": "100%"}, {"search": "ann"}, {"actor_id": "u7", "action": "*.shared", "tenant_id": "t7", "search": "plan"}]:
        assert ids(events(http, key, **query)) == [wanted], query
    for query in [{"target_type": "y", "target_id": "1"}, {"search": "100_"}, {"actor_id": "u7", "tenant_id": "t8"}, {"tenant_id": "nobody"},
                  {"action": "document"}]:
        assert ids(events(http, key, **query)) == [], query
    assert ids(events(http, key)) == [others, wanted, bare]
    empty = dict.fromkeys(["actor_id", "action", "resource", "resource_id", "tenant_id", "session_id", "target_type", "target_id", "search",
                           "from", "to", "cursor", "limit", "order", "count"], "")
    assert ids(events(http, key, **empty)) == [others, wanted, bare]

    event, = events(http, key, actor_id="u7").json()["data"]
    for flat, (part, member) in FLAT.items():
        assert event[flat] == event[part][member], flat
    assert event["version"] == 0 and event["metadata"] == full["metadata"] and event["targets"][1]["name"] == "N"
    assert event["ip_address"] == "203.0.113.9" and event["created_at"].endswith("Z") and len(event["created_at"]) == 27
    bare_event = http.get(f"/api/v1/events/{bare}", key).json()["data"]
    assert bare_event["tenant_id"] is None and bare_event["actor_name"] is None and bare_event["targets"] == []


def test_row_changes_are_events_like_others(db, http):
    db.conn.execute("CREATE TABLE invoice (id int PRIMARY KEY, org text, total numeric, iban text)")
    db.conn.execute("SELECT immutable.track_table('invoice', tenant_column => 'org', mask => '{iban}')")
    db.conn.execute("INSERT INTO invoice VALUES (7, 'acme', 120.00, 'DE02'), (8, 'other', 1, 'DE03')")
    db.conn.execute("UPDATE invoice SET total = 90.00, iban = 'DE04' WHERE id = 7")
    key, token = http.key(["read"]), http.post("/api/v1/viewer-token", http.key(["mint"]), {"tenant_id": "acme"}).json()["token"]
    changed, created = events(http, key, resource="invoice", resource_id="7").json()["data"]
    assert (changed["action"], created["action"], changed["tenant_id"]) == ("invoice.updated", "invoice.created", "acme")
    assert changed["metadata"]["total"] == {"old": "120.00", "new": "90.00"} and "iban" in changed["metadata"]
    for shown in (events(http, key), events(http, token)):
        assert "DE0" not in shown.text
    assert events(http, token, resource="invoice").json()["data"] == [changed, created]


def test_numbers_keep_their_digits(db, http):
    db.conn.execute("""SELECT immutable.track('{"actor_id": "u", "action": "a.b", "metadata": {"n": 12345678901234567890.123456789}}'::jsonb)""")
    assert '12345678901234567890.123456789' in events(http, http.key(["read"])).text


def test_order_is_newest_first_and_a_session_is_a_timeline(db, http):
    key = http.key(["read"])
    made = record(db.conn, *[{"session_id": "s"} for _ in range(3)])
    assert ids(events(http, key)) == made[::-1]
    assert ids(events(http, key, order="asc")) == made
    assert ids(events(http, key, session_id="s")) == made
    assert ids(events(http, key, session_id="s", order="desc")) == made[::-1]
    refused(events(http, key, order="newest"), 422, "order")


def test_a_cursor_carries_filters_and_order(db, http):
    key = http.key(["read"])
    record(db.conn, *[{"session_id": "s" if n % 2 else "other", "tenant_id": f"t{n % 2}", "action": "a.b" if n % 4 else "c.d"} for n in range(20)])
    for query in ({}, {"session_id": "s"}, {"action": "a.*", "order": "asc"}, {"tenant_id": "t1", "from": "2020-01-01"}):
        wanted = [event["id"] for event in events(http, key, limit=100, **query).json()["data"]]
        assert len(wanted) > 8
        for again in [{}, {**query, "tenant_id": query.get("tenant_id", "")}]:
            seen, page = [], events(http, key, limit=4, **query)
            for _ in range(9):
                assert len(page.json()["data"]) <= 4
                seen += [event["id"] for event in page.json()["data"]]
                pagination = page.json()["pagination"]
                if not pagination["has_more"]:
                    break
                page = events(http, key, cursor=pagination["next_cursor"], **again)
            assert seen == wanted, (query, again)
        last = len(page.json()["data"])
        back = events(http, key, cursor=page.json()["pagination"]["previous_cursor"])
        assert [event["id"] for event in back.json()["data"]] == wanted[-last - 4:-last]


def test_a_cursor_of_another_query_or_of_somebody_is_refused(db, http):
    key = http.key(["read"])
    record(db.conn, *[{"session_id": "s"} for _ in range(9)])
    cursor = events(http, key, limit=2, actor_id="u1").json()["pagination"]["next_cursor"]
    assert len(ids(events(http, key, cursor=cursor, limit=3))) == 3
    for other in [{"actor_id": "u2"}, {"order": "asc"}, {"action": "a.b"}, {"session_id": "s"}, {"tenant_id": "t"}, {"from": "2020-01-01"}]:
        refused(events(http, key, cursor=cursor, **other), 422, "cursor")

    def forged(**changes):
        said = {**json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))), **changes}
        return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    assert forged() and len(ids(events(http, key, cursor=forged()))) == 2
    inner = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))["cursor"]
    for text in ["x", "%", cursor[:-4], cursor + "AAAA", inner, forged(v=2), forged(cursor="x"), forged(cursor=7), forged(cursor=inner + "\0"), forged(more=1),
                 forged(query={"actor_id": "u2"}), forged(query={"tenantId": "x"}), forged(query={"actor_id": ["u1"]}), forged(query=[]),
                 forged(query={"actor_id": "u1", "order": "desc", "limit": "2; DROP TABLE x"}), forged(query={}), "A" * 9000]:
        refused(events(http, key, cursor=text), 422)


def test_a_cursor_of_another_opens_no_more_than_the_own_key(db, http):
    tenants = keys.Tenants(db)
    everything = events(http, http.key(["read"]), limit=2).json()["pagination"]["next_cursor"]
    rivals = events(http, http.key(["read"], "rival"), limit=2).json()["pagination"]["next_cursor"]
    token = http.post("/api/v1/viewer-token", http.key(["mint"]), {"tenant_id": "mine", "actor_id": "u1"}).json()["token"]
    key = http.key(["read"], "mine")
    for own in [key, token]:
        for cursor in [everything, rivals]:
            for query in [{}, {"tenant_id": "rival"}, {"limit": "100"}]:
                answer = events(http, own, cursor=cursor, **query)
                if answer.status_code == 200:
                    assert {event["tenant_id"] for event in answer.json()["data"]} <= {"mine"}, answer.text
                else:
                    refused(answer, 422)
        assert {event["tenant_id"] for event in events(http, own, limit=100).json()["data"]} == {"mine"}
        refused(http.get(f"/api/v1/events/{tenants.ids['rival']}", own), 404)
    refused(events(http, key, tenant_id="rival"), 403)
    page = events(http, token, tenant_id="rival")
    assert ids(page) == [] and page.json()["pagination"]["total"] == 0


def test_limits_and_doubtful_parameters_are_refused(db, http):
    key = http.key(["read", "verify"])
    record(db.conn, {})
    for path in ["/api/v1/events", "/api/v1/alerts", "/api/v1/anchors"]:
        for limit in ["0", "-1", "101", "abc", "1.5", "99999999999", " 1", "1;"]:
            refused(http.get(path, key, params={"limit": limit}), 422, "limit")
        for query in ["limit=1&limit=2", "tenantId=a", "a%00b=1", "tenant_id=%ff", "from=%00"]:
            refused(http.get(f"{path}?{query}", key), 422)
        assert http.get(f"{path}?limit=100", key).status_code == 200
    for query, field in {"from=someday": "from", "to=13.13.2026": "to", "from=2026-01-01&to=nonsense": "to", "from=x&to=2026-01-01": "from",
                         "from=2026-02-30": "from", "to=2026-01-01T25:00": "to", "action=a,b": "action", "count=all": "count"}.items():
        assert refused(http.get(f"/api/v1/events?{query}", key), 422, field)["message"]
    for path in ["events", "verify", "alerts"]:
        errors = http.get(f"/api/v1/{path}?from=one&to=two", key).json()["errors"]
        assert list(errors) == ["from", "to"] and "one" in errors["from"][0] and "two" in errors["to"][0], errors
    for path in ["verify", "alerts"]:
        refused(http.get(f"/api/v1/{path}?to=nonsense&from=2026-01-01", key), 422, "to")
        refused(http.get(f"/api/v1/{path}?from=nonsense", key), 422, "from")


def test_bounds_of_time_as_clients_write_them(db, http):
    key = http.key(["read", "verify"])
    db.conn.execute("ALTER DATABASE " + db.name + " SET timezone = 'Pacific/Kiritimati'")
    made = record(db.conn, *[{} for _ in range(3)])
    with h.behind_triggers(db.conn):
        for n, at in enumerate(["2026-03-01T00:00:00Z", "2026-03-01T12:00:00Z", "2026-03-01T23:59:59.999999Z"]):
            db.conn.execute("UPDATE immutable.events SET created_at = %s WHERE id = %s", (at, made[n]))
    for bounds, count in [({"from": "2026-03-01", "to": "2026-03-01"}, 3), ({"from": "2026-03-01 00:00:00+00:00", "to": "2026-03-01T12:00:00Z"}, 2),
                          ({"from": "2026-03-01T02:00:00+02:00", "to": "2026-03-01 14:00:00+02:00"}, 2), ({"to": "2026-03-01T00:00:00"}, 1),
                          ({"from": "2026-03-01T00:00:00.000001Z", "to": "2026-03-02"}, 2), ({"to": "2026-02-28"}, 0), ({"from": "2026-03-02", "to": "2026-03-02"}, 0)]:
        assert len(ids(events(http, key, **bounds))) == count, bounds
        assert http.get("/api/v1/verify", key, params=bounds).json()["data"]["events_checked"] == count, bounds


def test_totals_say_whether_they_are_exact(db, http):
    key = http.key(["read"])
    record(db.conn, *[{} for _ in range(30)])
    pagination = events(http, key, limit=5, actor_id="u1").json()["pagination"]
    assert (pagination["total"], pagination["total_relation"], pagination["has_more"]) == (30, "eq", True)
    db.conn.execute("ALTER DATABASE " + db.name + " SET immutable.max_exact_total = 10")
    http.stop()
    http.start()
    assert events(http, key, actor_id="u1").json()["pagination"]["total_relation"] == "estimate"
    assert "total" not in events(http, key, count="none").json()["pagination"]


def test_one_event(db, http):
    key, shared = http.key(["read"]), str(uuid.uuid4())
    made, = record(db.conn, {"tenant_id": "t"})
    one = http.get(f"/api/v1/events/{made}", key).json()
    assert one == {"data": events(http, key).json()["data"][0]}
    assert http.get(f"/api/v1/events/{made.upper()}", key).json() == one
    for no in [shared, "x", "0", made[:-1], made + "0", "{" + made + "}", made.replace("-", ""), "%00", "%ff", "a%2Fb", "'; DROP", "é" * 36]:
        refused(http.get(f"/api/v1/events/{no}", key), 404)
    refused(http.get("/api/v1/events/", key), 404)
    with h.behind_triggers(db.conn):
        db.conn.execute("INSERT INTO immutable.events SELECT (jsonb_populate_record(e, '{\"tenant_id\": \"other\"}')).* FROM immutable.events e WHERE e.id = %s", (made,))
    refused(http.get(f"/api/v1/events/{made}", key), 409)
    assert http.get(f"/api/v1/events/{made}?tenant_id=t", key).json() == one
    assert http.get(f"/api/v1/events/{made}", http.key(["read"], "t")).json() == one


def test_verify(db, http):
    key = http.key(["verify"])
    made = record(db.conn, *[{} for _ in range(12)])
    data = http.get("/api/v1/verify", key).json()["data"]
    total = db.conn.execute("SELECT count(*) FROM immutable.events").fetchone()[0]
    assert (data["valid"], data["events_checked"], data["complete"], data["breaks"]) == (True, total, True, [])
    assert http.get("/api/v1/verify", key, params={"limit": 5}).json()["data"]["events_checked"] == 5
    for limit in ["0", "-5", "x"]:
        refused(http.get("/api/v1/verify", key, params={"limit": limit}), 422, "limit")
    nothing = http.get("/api/v1/verify", key, params={"to": "2001-01-01"}).json()["data"]
    assert (nothing["valid"], nothing["events_checked"]) == (None, 0)
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.events SET actor_name = 'forged' WHERE id = %s", (made[4],))
    found = http.get("/api/v1/verify", key).json()["data"]
    assert found["valid"] is False
    assert [(b["event_id"], b["type"]) for b in found["breaks"]] == [(made[4], "hash_mismatch")]
    assert all(len(found["breaks"][0][name]) == 64 for name in ("expected_hash", "actual_hash"))
    # A range begins behind an event that is not its own, and is no break there.
    assert http.get("/api/v1/verify", http.key(["verify"], "nobody")).json()["data"]["events_checked"] == 0


def test_alerts(db, http):
    key = http.key(["read"])
    refused(http.get("/api/v1/alerts?rule_type=unknown", key), 422, "rule_type")
    empty = http.get("/api/v1/alerts", key).json()
    assert empty["data"] == [] and empty["pagination"]["has_more"] is False
    made = record(db.conn, *[{"tenant_id": "t", "action": "doc.deleted"} for _ in range(5)])
    rule = db.conn.execute("SELECT immutable.create_alert_rule('Deletes', 'high_volume_destructive', '{}') ->> 'id'").fetchone()[0]
    with h.behind_triggers(db.conn):
        db.conn.execute("INSERT INTO immutable.alerts (id, rule_id, rule_name, rule_type, tenant_id, event_id, is_of_actor, reason, triggered_at) "
                        "SELECT gen_random_uuid(), %s, 'Deletes', 'high_volume_destructive', 't', e, true, 'many', now() - n * interval '1 hour' "
                        "FROM unnest(%s::uuid[]) WITH ORDINALITY u(e, n)", (rule, made))
    page = http.get("/api/v1/alerts?limit=2&rule_type=high_volume_destructive", key).json()
    alert = page["data"][0]
    assert alert["id"].startswith("alt_") and alert["rule_id"] == f"rul_{rule}"
    assert alert["event_id"] == alert["event"]["id"] == made[0] and alert["event"]["actor_id"] == "u1"
    assert (alert["rule_name"], alert["rule_type"], alert["reason"]) == ("Deletes", "high_volume_destructive", "many")
    assert alert["triggered_at"].endswith("Z") and "notified_at" in alert
    seen = [a["event_id"] for a in page["data"]]
    while page["pagination"]["has_more"]:
        page = http.get("/api/v1/alerts", key, params={"cursor": page["pagination"]["next_cursor"]}).json()
        seen += [a["event_id"] for a in page["data"]]
    assert seen == made
    refused(http.get("/api/v1/alerts", key, params={"cursor": events(http, key, limit=1).json()["pagination"]["next_cursor"]}), 422, "cursor")
    assert http.get("/api/v1/alerts", http.key(["read"], "rival")).json()["data"] == []
    assert len(http.get("/api/v1/alerts", http.key(["read"], "t")).json()["data"]) == 5


def test_evidence_stands_beside_the_page(db, http):
    made = record(db.conn, {"tenant_id": "t"}, {"tenant_id": "t"})
    key = http.key(["read"], "t")
    page = events(http, key, evidence="true", limit=1).json()
    assert list(page["evidence"]["events"]) == [made[1]] and page["pagination"]["has_more"]
    assert "evidence" not in events(http, key).json()
    refused(events(http, key, evidence="yes"), 422, "evidence")
