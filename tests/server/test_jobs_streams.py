"""Streams: what is taken and settled, in which order, by whom, and what a receiver refused."""

import datetime
import random

import psycopg
import pytest
from psycopg.types.json import Jsonb

from helpers_alerts import Event, at, evaluated, rule
from helpers_streams import (WEBHOOK, actions, create, dead_letters, deliver, due, record, settle, stream, take, update)


def own(conn):
    return conn.execute("SELECT action, metadata FROM immutable.events WHERE action LIKE 'immutable.%' ORDER BY created_at").fetchall()


def test_a_stream_from_its_creation_to_its_end(db):
    conn = db.conn
    record(conn, "before")
    conn.execute("LISTEN immutable_streams")
    made, = conn.execute("SELECT immutable.create_stream('SIEM', %s, filters => '{\"actor_id\": \"ann\"}', tenant_id => 't')",
                         [Jsonb({**WEBHOOK, "url": "https://siem.example:8443/secret/path?token=x"})]).fetchone()
    assert [(n.channel, n.payload) for n in conn.notifies(timeout=5, stop_after=1)] == [("immutable_streams", "")]
    id = made["id"]
    assert set(made) == {"id", "name", "destination", "format", "filters", "tenant_id", "content", "enabled", "state", "reason",
                         "failures", "failed_at", "last_error", "retry_at", "delivered", "delivered_at", "dead_letters", "test",
                         "created_at", "updated_at"}
    assert (made["name"], made["format"], made["content"], made["state"], made["tenant_id"]) == ("SIEM", "json", "events", "active", "t")
    assert due(conn) == ("active", {id: True})
    assert take(conn, id) is None
    record(conn, "one", "two")
    record(conn, "other", tenant="u")
    record(conn, "bob's", actor="bob")
    taken = take(conn, id)
    assert actions(taken) == ["one", "two"] and taken["kind"] == "events" and taken["failures"] == 0
    event = taken["items"][0]
    page, = conn.execute("SELECT immutable.get_events(action => 'one') -> 'data' -> 0").fetchone()
    assert event["json"] == page and event["id"] == page["id"] and event["kind"] == "event"
    document, = conn.execute("SELECT encode(sha256(convert_to(%s, 'UTF8')), 'hex')", [event["document"]]).fetchone()
    assert document == page["integrity"]["event_hash"]
    assert taken["log_id"] == str(conn.execute("SELECT log_id FROM immutable.log").fetchone()[0])
    assert taken["stream"]["destination"]["url"].endswith("token=x")
    assert due(conn) == ("active", {id: False})
    assert settle(conn, id, taken, delivered=2) is False
    assert take(conn, id) is None
    shown = stream(conn, id)
    assert shown["delivered"] == 2 and shown["delivered_at"] and shown["state"] == "active"
    # What failed is taken again, after the pause.
    record(conn, "three")
    for failures in (1, 2, 3):
        assert settle(conn, id, take(conn, id), "retry", reason="no answer", retry=0) is False
        shown = stream(conn, id)
        assert (shown["failures"], shown["last_error"]) == (failures, "no answer")
        assert shown["state"] == ("error" if failures == 3 else "active")
    assert shown["reason"] == "no answer"
    assert any("fails since" in problem for problem in conn.execute("SELECT problems FROM immutable.status()").fetchone()[0])
    assert settle(conn, id, take(conn, id), "retry", reason="no", retry=3600) is False
    assert take(conn, id) is None and stream(conn, id)["retry_at"]
    # Whoever mended it does not wait.
    assert update(conn, id, name="Other")["failures"] == 0
    assert actions({"items": deliver(conn, id)}) == ["three"]
    assert update(conn, id, enabled=False)["state"] == "paused"
    record(conn, "four")
    assert take(conn, id) is None and due(conn) == ("active", {id: False})
    update(conn, id, enabled=True, filters={})
    assert actions({"items": deliver(conn, id)}) == ["four"]
    assert update(conn, id, format="ocsf", destination={**WEBHOOK, "url": "http://127.0.0.1:1/x"})["format"] == "ocsf"
    conn.execute("SELECT immutable.delete_stream(%s)", [id])
    assert stream(conn, id) is None and take(conn, id) is None
    events = own(conn)
    assert [action.split("_")[-1] for action, _ in events] == ["created", "updated", "updated", "updated", "updated", "deleted"]
    assert events[0][1] == {"destination": "webhook", "to": "https://siem.example:8443", "format": "json", "content": "events",
                            "tenant_id": "t", "enabled": True, "filters": ["actor_id"]}
    assert "secret" not in str(events) and "ann" not in str(events), "neither a path nor a value of a filter is recorded"


MEANINGLESS = [
    ({"name": ""}, "name"), ({"name": "x" * 256}, "name"), ({"format": "xml"}, "format"), ({"content": "all"}, "content"),
    ({"destination": []}, "destination.type"), ({"destination": {}}, "destination.type"), ({"destination": {"type": "ftp"}}, "destination.type"),
    ({"destination": {"type": "webhook", "url": "ftp://x"}}, "destination.url"), ({"destination": {"type": "webhook", "url": 1}}, "destination.url"),
    ({"destination": {"type": "webhook", "url": "https://user:pass@x/"}}, "destination.url"),
    ({"destination": {**WEBHOOK, "secret": "../key"}}, "destination.secret"), ({"destination": {**WEBHOOK, "secret": ".key"}}, "destination.secret"),
    ({"destination": {**WEBHOOK, "secret": "a/b"}}, "destination.secret"), ({"destination": {**WEBHOOK, "ca": "/etc/x"}}, "destination.ca"),
    ({"destination": {**WEBHOOK, "token": "abc"}}, "destination.token"), ({"destination": {**WEBHOOK, "x": "y" * 9000}}, "destination"),
    ({"destination": {**WEBHOOK, "x": [[[[1]]]]}}, "destination"),
    ({"filters": []}, "filters"), ({"filters": {"x": "y"}}, "filters.x"), ({"filters": {"action": []}}, "filters.action"),
    ({"filters": {"actor_id": ""}}, "filters.actor_id"), ({"filters": {"actor_id": 1}}, "filters.actor_id"),
    ({"filters": {"rule_type": "off_hours"}}, "filters.rule_type"), ({"filters": {"action": ["x" * 256]}}, "pattern"),
    ({"content": "alerts", "filters": {"action": "x"}}, "filters.action"), ({"content": "alerts", "filters": {"rule_type": "x"}}, "rule_type"),
    ({"start": datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)}, "start"), ({"tenant_id": "x" * 256}, "tenant_id")]


def test_what_means_nothing_is_refused(db):
    for options, field in MEANINGLESS:
        with pytest.raises(psycopg.errors.InvalidParameterValue) as raised:
            create(db.conn, **options)
        assert field.split(".")[-1] in raised.value.diag.message_primary + str(raised.value.diag.column_name), (options, raised.value)
        assert raised.value.diag.message_hint, options
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        db.conn.execute("SELECT immutable.create_stream(NULL, '{}')")
    id = create(db.conn)
    with pytest.raises(psycopg.errors.DuplicateObject):
        create(db.conn)
    other = create(db.conn, "other")
    with pytest.raises(psycopg.errors.DuplicateObject):
        update(db.conn, other, name="siem")
    for call in ("update_stream(gen_random_uuid())", "delete_stream(gen_random_uuid())", "test_stream(gen_random_uuid())",
                 "replay_dead_letters(gen_random_uuid())"):
        with pytest.raises(psycopg.errors.NoDataFound):
            db.conn.execute(f"SELECT immutable.{call}")
    for call in ('take_delivery(%s, \'\')', 'take_delivery(%s, \'w\', "limit" => 0)', "take_delivery(%s, 'w', lease_seconds => 601)",
                 "settle_delivery(%s, 1, 'perhaps')", "settle_delivery(%s, 1, 'retry', retry_seconds => -1)", "get_dead_letters(%s, 0)"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            db.conn.execute(f"SELECT immutable.{call}", [id])
    record(db.conn, "x")
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        settle(db.conn, id, take(db.conn, id), delivered=200)
    for n in range(98):
        create(db.conn, f"n{n}")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        create(db.conn, "one more")


def test_filters(db):
    conn = db.conn
    filters = {"action": {"action": ["doc.*", "*.opened"]}, "own": {"action": "immutable.*"}, "category": {"action_category": "read"},
               "type": {"actor_type": "user"}, "resource": {"resource": "doc", "resource_id": "7"}, "session": {"session_id": "s"}, "all": {}}
    ids = {name: create(conn, name, filters=each, content="events") for name, each in filters.items()}
    record(conn, "doc.read", action_category="read", resource_type="doc", resource_id="7")
    record(conn, "file.opened", actor_type="user", session_id="s", resource_type="doc", resource_id="8")
    found = {name: actions({"items": deliver(conn, id)}) for name, id in ids.items()}
    assert found["action"] == ["doc.read", "file.opened"] and found["category"] == ["doc.read"] and found["resource"] == ["doc.read"]
    assert found["type"] == ["file.opened"] and found["session"] == ["file.opened"]
    assert set(found["own"]) == {"immutable.stream_created"} and len(found["own"]) == 6, "the log's own events are events"
    assert found["all"][-2:] == ["doc.read", "file.opened"]


def test_where_a_stream_begins(db):
    conn = db.conn
    record(conn, "old")
    middle, = conn.execute("SELECT clock_timestamp()").fetchone()
    record(conn, "new")
    # A transaction that runs has recorded an event already, and commits later.
    with db.connect(autocommit=False) as other:
        record(other, "late", tenant="u")
        later, = conn.execute("SELECT clock_timestamp()").fetchone()
        ids = {start: create(conn, str(start), start=start, filters={"action": ["old", "new", "late", "newest"]})
               for start in (None, "-infinity", middle, later)}
        other.commit()
    record(conn, "newest")
    found = {start: set(actions({"items": deliver(conn, id)})) for start, id in ids.items()}
    assert found == {None: {"late", "newest"}, "-infinity": {"old", "new", "late", "newest"}, middle: {"new", "late", "newest"},
                     later: {"newest"}}
    # Again, from a time on.
    update(conn, ids[None], start=middle)
    assert set(actions({"items": deliver(conn, ids[None])})) == {"new", "late", "newest"}
    record(conn, "newest")
    update(conn, ids[None], start="now")
    assert deliver(conn, ids[None]) == []


def test_a_part_is_acknowledged(db):
    """What was acknowledged does not come again, whatever else comes before it then."""
    conn = db.conn
    id = create(conn)
    deliver(conn, id)
    with db.connect(autocommit=False) as late:
        record(late, "late", tenant="late")
        record(conn, *"abcde")
        taken = take(conn, id)
        assert actions(taken) == list("abcde")
        assert settle(conn, id, taken, "delivered", 2) is True
        assert settle(conn, id, taken, "delivered", 0) is True
        assert settle(conn, id, taken, "retry", 1, "full") is False
        late.commit()
    record(conn, "f")
    seen = []
    for _ in range(10):
        taken = take(conn, id, most=2)
        if taken is None:
            break
        seen += actions(taken)[:1]
        settle(conn, id, taken, "delivered", 1)
        settle(conn, id, taken, "released")
    assert sorted(seen) == sorted(["late", *"def"]) and seen.index("d") < seen.index("e") < seen.index("f")
    assert deliver(conn, id) == [] and stream(conn, id)["delivered"] == len(seen) + 3 + 1
    assert conn.execute("SELECT acknowledged FROM immutable.stream_positions").fetchone() == ("",)


def test_two_workers_and_the_fence(db):
    conn, other = db.conn, db.connect(db.create_role("IN ROLE immutable_deliverer"))
    id = create(conn)
    deliver(conn, id)
    record(conn, "a", "b")
    first = take(conn, id, "one", lease=1)
    assert take(other, id, "two") is None, "it is leased"
    conn.execute("SELECT pg_sleep(1.1)")
    assert due(conn)[1] == {id: True}
    second = take(other, id, "two")
    assert actions(second) == actions(first) and second["fence"] > first["fence"]
    # The first one lost it, whatever it says.
    for outcome in ("delivered", "retry", "refused", "off", "released"):
        assert settle(conn, id, first, outcome, 1, "too late") is False
    assert dead_letters(conn) == [] and stream(conn, id)["enabled"] and stream(conn, id)["failures"] == 0
    assert settle(other, id, second, "delivered", 2) is False
    assert take(other, id, "two") is None and stream(conn, id)["delivered"] == 2 + 1
    # Who has it may take it anew; a change of the stream ends the lease.
    record(conn, "c")
    assert take(conn, id, "one")["fence"] < take(conn, id, "one")["fence"]
    held = take(conn, id, "one")
    update(conn, id, name="changed")
    assert settle(conn, id, held, "delivered", 1) is False
    # While one takes, another gets nothing and does not wait.
    with db.connect(autocommit=False) as busy:
        assert actions(take(busy, id, "three"))
        assert take(conn, id, "four") is None
        busy.rollback()
    assert len(deliver(conn, id)) == 2


def test_refused_items_become_dead_letters(db):
    conn = db.conn
    id = create(conn, filters={"action": ["a", "b", "c"]})
    record(conn, "a", "b", "c", metadata=Jsonb({"email": "ann@example.com"}))
    taken = take(conn, id)
    assert settle(conn, id, taken, "refused", 1, "status 400") is True
    assert settle(conn, id, taken, "delivered", 1) is False
    letter, = dead_letters(conn, id)
    assert (letter["error"], letter["attempts"], letter["tenant_id"], letter["content"]) == ("status 400", 1, "t", "events")
    assert letter["item_id"] == taken["items"][1]["id"] and stream(conn, id)["dead_letters"] == 1
    assert "example.com" not in str(conn.execute("SELECT d::text, p::text FROM immutable.dead_letters d, immutable.stream_positions p").fetchall())
    assert any("dead letters" in problem for problem in conn.execute("SELECT problems FROM immutable.status()").fetchone()[0])
    # Replayed and refused again; then taken.
    replay = "SELECT immutable.replay_dead_letters(%s, %s)"
    assert conn.execute(replay, [id, [id]]).fetchone() == (0,) and take(conn, id) is None
    assert conn.execute(replay, [id, [letter["id"]]]).fetchone() == (1,)
    record(conn, "c")
    again = take(conn, id)
    assert again["kind"] == "replay" and actions(again) == ["b"] and again["items"][0]["id"] == letter["item_id"]
    assert settle(conn, id, again, "refused", 0, "status 413") is False
    assert [(each["attempts"], each["error"], each["replay_at"]) for each in dead_letters(conn)] == [(2, "status 413", None)]
    conn.execute(replay, [id, None])
    # It is delivered as it is now.
    conn.execute("SELECT immutable.erase(%s, 't', '{metadata.email}', 'ticket')", [letter["item_id"]])
    again = take(conn, id)
    assert "email" not in str(again["items"][0]["json"]["metadata"])
    assert settle(conn, id, again, "delivered", 1) is False
    assert dead_letters(conn) == [] and actions({"items": deliver(conn, id)}) == ["c"]
    # Old ones go away.
    record(conn, "a", "b")
    taken = take(conn, id)
    settle(conn, id, taken, "refused", 0, "status 400"), settle(conn, id, taken, "refused", 0, "status 400")
    conn.execute("UPDATE immutable.dead_letters SET died_at = now() - interval '31 days' WHERE item_id = %s", [taken["items"][0]["id"]])
    assert conn.execute("CALL immutable.run_maintenance(NULL)").fetchone()[0]["dead_letters"] == 1
    assert [each["item_id"] for each in dead_letters(conn)] == [taken["items"][1]["id"]]
    page, = conn.execute("SELECT immutable.get_dead_letters(after => %s)", [dead_letters(conn)[0]["id"]]).fetchone()
    assert page == {"data": [], "has_more": False}


def test_a_receiver_that_refuses_everything_has_failed(db):
    """Its address or its key is wrong: the events are not."""
    conn = db.conn
    id = create(conn)
    deliver(conn, id)
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 't', 'ann', 'x' FROM generate_series(1, 130)")
    taken = take(conn, id, most=200)
    refused = 0
    while settle(conn, id, taken, "refused", 0, "status 404"):
        refused += 1
    shown = stream(conn, id)
    assert refused == 100 == shown["dead_letters"] and shown["failures"] == 1 and "in a row" in shown["last_error"]
    taken = take(conn, id, most=200)
    assert len(taken["items"]) == 30
    assert settle(conn, id, taken, "delivered", 1) is True and settle(conn, id, taken, "refused", 0, "x") is True


def test_a_receiver_switches_a_stream_off(db):
    conn = db.conn
    id = create(conn)
    taken = take(conn, id)
    assert settle(conn, id, taken, "off", 0, "status 410") is False
    shown = stream(conn, id)
    assert (shown["enabled"], shown["state"], shown["reason"]) == (False, "paused", "status 410")
    assert own(conn)[-1] == ("immutable.stream_switched_off", {"why": "status 410"})
    assert take(conn, id) is None
    assert any("was switched off" in problem for problem in conn.execute("SELECT problems FROM immutable.status()").fetchone()[0])
    shown = update(conn, id, enabled=True)
    assert (shown["state"], shown["reason"]) == ("active", None)
    assert actions({"items": deliver(conn, id)})[0] == "immutable.stream_created"


def test_a_test_call(db):
    conn = db.conn
    for content in ("events", "alerts"):
        id = create(conn, content, content=content)
        deliver(conn, id)
        delivered = stream(conn, id)["delivered"]
        update(conn, id, enabled=False)
        asked, = conn.execute("SELECT immutable.test_stream(%s)", [id]).fetchone()
        assert due(conn)[1][id] is True and asked["id"] == id
        assert stream(conn, id)["test"] == {"requested_at": asked["requested_at"], "finished_at": None, "error": None}
        taken = take(conn, id)
        assert taken["kind"] == "test" and len(taken["items"]) == 1
        assert settle(conn, id, taken, "retry", 0, "status 401") is False
        shown = stream(conn, id)
        assert shown["test"]["error"] == "status 401" and shown["test"]["finished_at"] and shown["failures"] == 0
        assert take(conn, id) is None
        conn.execute("SELECT immutable.test_stream(%s)", [id])
        taken = take(conn, id)
        if content == "events":
            reference, = conn.execute("SELECT immutable.get_events(\"limit\" => 1) -> 'data' -> 0").fetchone()
            assert taken["items"][0]["json"].keys() == reference.keys()
        assert settle(conn, id, taken, "delivered", 1) is False
        assert stream(conn, id)["test"]["error"] is None and stream(conn, id)["delivered"] == delivered
    assert "immutable.stream_tested" in [action for action, _ in own(conn)]
    assert conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'immutable.delivery_tested'").fetchone() == (0,)


def test_alerts_are_delivered_in_order(db):
    conn = db.conn
    rule(conn, "repeated_action", "twice", threshold=2)
    rule(conn, "off_hours", "late", tenant="u")
    early = create(conn, "early", content="alerts", start="-infinity")
    only, = conn.execute("SELECT immutable.create_stream('only', %s, content => 'alerts', filters => '{\"rule_type\": \"off_hours\"}', tenant_id => 'u')",
                         [Jsonb(WEBHOOK)]).fetchone()
    for n in range(3):
        evaluated(conn, *[Event(at(60 * 24 * n + minutes), actor=f"a{n}") for minutes in (1, 2)], Event(at(60 * 24 * n + 600), tenant="u"))
        # The clock was set back.
        conn.execute("UPDATE immutable.alerts SET triggered_at = triggered_at + interval '1 hour' WHERE triggered_at = (SELECT max(triggered_at) FROM immutable.alerts)")
    stored = conn.execute("SELECT id::text, rule_name FROM immutable.alerts ORDER BY triggered_at, id").fetchall()
    assert [name for _, name in stored] and len(stored) == 6
    taken = take(conn, early, most=4)
    assert [item["id"] for item in taken["items"]] == [id for id, _ in stored[:4]] and taken["kind"] == "alerts"
    assert taken["items"][0]["kind"] == "alert" and taken["items"][0]["json"]["event"]["actor_id"] == "a0"
    settle(conn, early, taken, "delivered", 3)
    settle(conn, early, taken, "released")
    told = [id for id, in conn.execute("SELECT id::text FROM immutable.alerts WHERE notified_at IS NOT NULL ORDER BY triggered_at, id")]
    assert told == [id for id, _ in stored[:3]]
    first, = conn.execute("SELECT min(notified_at) FROM immutable.alerts").fetchone()
    assert [item["id"] for item in deliver(conn, early, most=2)] == [id for id, _ in stored[3:]]
    assert [item["id"] for item in deliver(conn, only["id"])] == [id for id, name in stored if name == "late"]
    assert conn.execute("SELECT min(notified_at), count(*) FILTER (WHERE notified_at IS NULL) FROM immutable.alerts").fetchone() == (first, 0)
    # A dead letter of an alert.
    evaluated(conn, Event(at(60 * 24 * 9 + 600), tenant="u"))
    taken = take(conn, only["id"])
    settle(conn, only["id"], taken, "refused", 0, "no")
    assert dead_letters(conn)[0]["content"] == "alerts"
    conn.execute("SELECT immutable.replay_dead_letters(%s)", [only["id"]])
    again = take(conn, only["id"])
    assert (again["kind"], again["items"][0]["id"], again["items"][0]["json"]) == ("replay", taken["items"][0]["id"], taken["items"][0]["json"])
    settle(conn, only["id"], again, "delivered", 1)
    assert dead_letters(conn) == []


def test_prepared_and_random_transactions_come_once_and_in_the_order_of_their_lanes(db):
    """With pieces of any size, failures in between, and workers that vanish."""
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    conn = db.conn
    id = create(conn, filters={"action": "e.*"})
    writers, prepared, got, sent = [db.connect(autocommit=False) for _ in range(4)], [], [], 0
    for step in range(150):
        writer = rng.choice(writers)
        for _ in range(rng.randrange(4)):
            sent += 1
            record(writer, f"e.{sent}", tenant=rng.choice("tu"))
        end = rng.random()
        if end < 0.5:
            writer.commit()
        elif end < 0.55 and len(prepared) < 2:
            name = f"{db.name}_{step}"
            writer.execute(f"PREPARE TRANSACTION '{name}'")
            writer.commit()
            prepared.append(name)
        if prepared and rng.random() < 0.1:
            conn.execute(f"COMMIT PREPARED '{prepared.pop()}'")
        if rng.random() < 0.4:
            got += some(conn, id, rng)
    for writer in writers:
        writer.commit()
    for name in prepared:
        conn.execute(f"COMMIT PREPARED '{name}'")
    while taken := take(conn, id, "last", most=7):
        got += taken["items"]
        settle(conn, id, taken, "delivered", len(taken["items"]))
    names = [item["json"]["action"] for item in got]
    stored = conn.execute("SELECT tenant_id, lane, array_agg(action ORDER BY seq) FROM immutable.events WHERE action LIKE 'e.%' GROUP BY 1, 2").fetchall()
    assert len(names) == len(set(names)) == sum(len(of_lane) for _, _, of_lane in stored), f"seed {seed}"
    for _, _, of_lane in stored:
        assert [name for name in names if name in set(of_lane)] == of_lane, f"seed {seed}"


def some(conn, id, rng):
    """A worker that comes, and ends anyhow; gives what was acknowledged."""
    taken = take(conn, id, rng.choice(["one", "two"]), most=rng.choice([1, 2, 5, 100]))
    if taken is None:
        return []
    count = rng.randrange(len(taken["items"]) + 1)
    outcome = rng.choice(["delivered", "retry", "released", "vanished"])
    if outcome == "vanished":
        # It lost the lease before it said anything.
        conn.execute("UPDATE immutable.stream_positions SET leased_until = now() - interval '1 second'")
        return []
    settle(conn, id, taken, outcome, count, "x")
    if outcome == "delivered" and count < len(taken["items"]):
        settle(conn, id, taken, "released")
    return taken["items"][:count]


def test_large_events_come_in_smaller_pieces(db):
    conn = db.conn
    id = create(conn, filters={"action": ["big", "small"]})
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) SELECT 't', 'ann', CASE n % 2 WHEN 1 THEN 'big' ELSE 'small' END, "
                 "jsonb_build_object('x', repeat('x', 60000)) FROM generate_series(1, 300) n")
    sizes, names = [], []
    while taken := take(conn, id, most=1000):
        sizes.append(sum(len(str(item)) for item in taken["items"]))
        names += actions(taken)
        settle(conn, id, taken, "delivered", len(taken["items"]))
    assert names == ["big", "small"] * 150 and len(sizes) > 1 and max(sizes) < 20 << 20
