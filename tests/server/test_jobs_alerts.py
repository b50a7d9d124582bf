"""Alerts: what each type of rule finds, who sees it, and that nothing is found twice or lost."""

import datetime
import hashlib
import random
import threading

import psycopg
import pytest
from psycopg.types.json import Jsonb

import helpers_log
from helpers_alerts import Event, Model, alerts, at, evaluated, maintain, record, rule, set_times

CREATE = "SELECT immutable.create_alert_rule('n', %s, %s)"


def get_alerts(conn, **arguments):
    names = ", ".join(f'"{name}" => %s' for name in arguments)
    return conn.execute(f"SELECT immutable.get_alerts({names})", list(arguments.values())).fetchone()[0]


def names(events):
    return sorted(event.name for event in events)


def test_a_rule_from_its_creation_to_its_end(db):
    conn = db.conn
    assert maintain(conn) is None
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'ann', 'login.failed')")
    made, = conn.execute("SELECT immutable.create_alert_rule('Guessing', 'repeated_action', "
                         "'{\"action_pattern\": \"login.*\", \"threshold\": 2}', 't')").fetchone()
    assert set(made) == {"id", "name", "rule_type", "conditions", "tenant_id", "enabled", "created_at", "updated_at"}
    assert (made["name"], made["enabled"], made["tenant_id"]) == ("Guessing", True, "t")
    assert made["conditions"] == {"action_pattern": "login.*", "threshold": 2, "window_minutes": 10}
    conn.execute("LISTEN immutable_alerts")
    insert = "INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action, ip_country, ip_address) " \
        "VALUES ('t', 'ann', 'Ann', 'login.failed', 'DE', '203.0.113.7') RETURNING id"
    conn.execute(insert)
    # The event from before does not count.
    assert maintain(conn)["alerts"] == 0 and list(conn.notifies(timeout=0)) == []
    event, = conn.execute(insert).fetchone()
    assert maintain(conn) == {"events": 1, "alerts": 1}
    assert [(n.channel, n.payload) for n in conn.notifies(timeout=5, stop_after=1)] == [("immutable_alerts", "")]
    page = get_alerts(conn)
    assert {**page["pagination"]} == {"has_more": False, "next_cursor": None, "total": 1, "total_relation": "eq"}
    alert, = page["data"]
    assert set(alert) == {"id", "rule_id", "rule_name", "rule_type", "reason", "event_id", "event", "notified_at", "triggered_at"}
    assert (alert["rule_id"], alert["rule_name"], alert["rule_type"]) == (made["id"], "Guessing", "repeated_action")
    assert alert["event_id"] == str(event) == alert["event"]["id"] and alert["notified_at"] is None
    assert alert["reason"] == "login.failed 2 times by one actor within 10 minutes"
    shown = alert["event"]
    assert (shown["action"], shown["actor_id"], shown["actor_name"], shown["ip_country"], shown["ip_address"]) == (
        "login.failed", "ann", "Ann", "DE", "203.0.113.7")
    # Nothing is repeated, whatever runs again.
    conn.execute(insert)
    maintain(conn), maintain(conn)
    assert get_alerts(conn)["pagination"]["total"] == 1
    # A rule that is off does not look; one that is on again looks at what comes then.
    conn.execute("SELECT immutable.update_alert_rule(%s, enabled => false, name => 'Off')", [made["id"]])
    conn.execute(insert)
    maintain(conn)
    assert conn.execute("SELECT (SELECT count(*) FROM immutable.alert_feed), (SELECT count(*) FROM immutable.alert_state)").fetchone() == (0, 0)
    on, = conn.execute("SELECT immutable.update_alert_rule(%s, conditions => '{\"threshold\": 3}', enabled => true)", [made["id"]]).fetchone()
    assert on["conditions"] == {"action_pattern": "*", "threshold": 3, "window_minutes": 10} and on["name"] == "Off"
    assert conn.execute("SELECT immutable.get_alert_rules()").fetchone()[0] == {"data": [on]}
    for expected in (1, 1, 2):
        conn.execute(insert)
        maintain(conn)
        assert get_alerts(conn)["pagination"]["total"] == expected
    conn.execute("SELECT immutable.delete_alert_rule(%s)", [made["id"]])
    assert conn.execute("SELECT immutable.get_alert_rules()").fetchone()[0] == {"data": []}
    assert [alert["rule_name"] for alert in get_alerts(conn)["data"]] == ["Off", "Guessing"]
    for statement in ("SELECT immutable.delete_alert_rule(%s)", "SELECT immutable.update_alert_rule(%s, 'x')"):
        with pytest.raises(psycopg.errors.NoDataFound, match="there is no alert rule"):
            conn.execute(statement, [made["id"]])
    own = conn.execute("SELECT action, resource_id, metadata FROM immutable.events WHERE action LIKE 'immutable.alert%' ORDER BY created_at").fetchall()
    assert [action.split("_")[-1] for action, _, _ in own] == ["created", "updated", "updated", "deleted"]
    assert {resource for _, resource, _ in own} == {made["id"]}
    assert own[0][2] == {"rule_type": "repeated_action", "tenant_id": "t", "conditions": made["conditions"], "enabled": True}


MEANINGLESS = [
    ("other", {}, "The types are"), ("", {}, "The types are"), ("repeated_action", [], "Members of this type"),
    ("repeated_action", None, "Members of this type"), ("repeated_action", {"treshold": 3}, "They may have"),
    ("new_country", {"threshold": 3}, "They may have action_pattern"), ("off_hours", {"window_minutes": 1}, "They may have"),
    ("ingestion_spike", {"timezone": "UTC"}, "They may have"), ("repeated_action", {"threshold": 1}, "Numbers stand"),
    ("repeated_action", {"threshold": "5"}, "Numbers stand"), ("repeated_action", {"threshold": 5.5}, "Numbers stand"),
    ("repeated_action", {"threshold": 10**30}, "Numbers stand"), ("repeated_action", {"threshold": None}, "Numbers stand"),
    ("ingestion_spike", {"threshold": 0}, "Numbers stand"), ("ingestion_spike", {"window_minutes": 0}, "Numbers stand"),
    ("ingestion_spike", {"window_minutes": 10_081}, "Numbers stand"), ("repeated_action", {"action_pattern": []}, "Give an action"),
    ("repeated_action", {"action_pattern": ""}, "Give an action"), ("repeated_action", {"action_pattern": 3}, "Give an action"),
    ("repeated_action", {"action_pattern": ["a", None]}, "Give an action"), ("repeated_action", {"action_pattern": ["a"] * 21}, "Give an action"),
    ("repeated_action", {"action_pattern": "x" * 256}, "Give an action"), ("repeated_action", {"action_pattern": [[["x"]]]}, "Members are texts"),
    ("off_hours", {"timezone": "Mars/Olympus"}, "pg_timezone_names"), ("off_hours", {"timezone": "ABC5DEF"}, "pg_timezone_names"),
    ("off_hours", {"timezone": "../../etc/passwd"}, "pg_timezone_names"), ("off_hours", {"timezone": 1}, "pg_timezone_names"),
    ("off_hours", {"timezone": ""}, "pg_timezone_names"), ("off_hours", {"start_hour": 24}, "Numbers stand"),
    ("off_hours", {"start_hour": -1}, "Numbers stand"), ("off_hours", {"end_hour": 0}, "Numbers stand"),
    ("off_hours", {"start_hour": 9, "end_hour": 9}, "first hour of work"), ("off_hours", {"start_hour": 0, "end_hour": 24}, "first hour of work"),
]


def test_conditions_that_mean_nothing(db):
    for rule_type, conditions, hint in MEANINGLESS:
        with pytest.raises(psycopg.errors.InvalidParameterValue) as raised:
            db.conn.execute(CREATE, [rule_type, Jsonb(conditions)])
        assert hint in raised.value.diag.message_hint, (rule_type, conditions)
    assert db.conn.execute("SELECT count(*) FROM immutable.alert_rules").fetchone() == (0,)


def test_other_arguments_that_mean_nothing(db):
    for call, error in (("create_alert_rule('', 'off_hours')", "InvalidParameterValue"), ("create_alert_rule(repeat('x', 256), 'off_hours')", "InvalidParameterValue"),
                        ("create_alert_rule(NULL, 'off_hours')", "NullValueNotAllowed"), ("create_alert_rule('x', NULL)", "NullValueNotAllowed"),
                        ("create_alert_rule('x', 'off_hours', tenant_id => repeat('x', 256))", "InvalidParameterValue"),
                        ("update_alert_rule(NULL)", "NullValueNotAllowed"), ("delete_alert_rule(NULL)", "NullValueNotAllowed"),
                        ("get_alerts('x')", "InvalidParameterValue"), ('get_alerts("limit" => 0)', "InvalidParameterValue"),
                        ('get_alerts("limit" => 101)', "InvalidParameterValue"), ("get_alerts(cursor => 'x')", "InvalidParameterValue")):
        with pytest.raises(getattr(psycopg.errors, error)):
            db.conn.execute(f"SELECT immutable.{call}")
    with db.connect() as conn:
        conn.execute("SET default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("SELECT immutable.create_alert_rule('x', 'off_hours')")


def test_new_country(db):
    rule(db.conn, "new_country", action_pattern="login")
    first, again, other = (Event(at(n), "login", country=country) for n, country in enumerate(("DE", "DE", "FR")))
    none, elsewhere = Event(at(3), "login"), Event(at(4), "logout", country="US")
    bob, empty = Event(at(5), "login", "bob", country="US"), Event(at(6), "login", country="")
    assert evaluated(db.conn, first, again) == []
    assert evaluated(db.conn, other, none, elsewhere, bob, empty) == [other.name]
    back = Event(at(7), "login", country="DE")
    rival = Event(at(8), "login", tenant="rival", country="JP")
    us = Event(at(9), "login", country="US")
    assert evaluated(db.conn, back, rival, us) == names([other, us])
    # Each tenant's actor of that name is somebody else, and the reason names no country.
    assert {alert["reason"] for alert in get_alerts(db.conn)["data"]} == {"an event from a country that no event of this actor came from before"}


def test_high_volume_destructive(db):
    rule(db.conn, "high_volume_destructive", threshold=3, window_minutes=5)
    deleted = [Event(at(n), f"doc.{what}") for n, what in ((0, "deleted"), (1, "removed"), (2, "viewed"), (4, "deleted"))]
    assert evaluated(db.conn, *deleted[:3]) == []
    assert evaluated(db.conn, deleted[3]) == [deleted[3].name]
    # The same burst goes on; after a window another may begin.
    assert evaluated(db.conn, *[Event(at(4, seconds=n), "x.deleted") for n in range(10)]) == [deleted[3].name]
    more = Event(at(9), "x.deleted")
    assert evaluated(db.conn, more) == names([deleted[3], more])


def test_the_window_slides(db):
    """Wherever a bucket of ten minutes would begin; a window ends just before the event that it is long."""
    rule(db.conn, "repeated_action", threshold=3)
    expected = []
    for seconds, found in ((599, True), (600, False), (601, False)):
        for offset in (0, 100, 300, 599):
            begin = at() + datetime.timedelta(seconds=offset)
            events = [Event(begin + datetime.timedelta(seconds=s), actor=f"{seconds} {offset}") for s in (0, seconds - 1, seconds)]
            expected += [events[-1]] if found else []
            for event in events:
                evaluated(db.conn, event)
    assert evaluated(db.conn) == names(expected)


def test_repeated_action_counts_each_action_of_each_actor(db):
    rule(db.conn, "repeated_action", threshold=3)
    mixed = [Event(at(seconds=n), action, actor) for n, (action, actor) in enumerate(
        [("a", "ann"), ("b", "ann"), ("a", "ann"), ("b", "ann"), ("a", "bob"), ("a", "bob")])]
    assert evaluated(db.conn, *mixed) == []
    third = Event(at(seconds=10), "b", "ann")
    # One alert for the actor, although both actions come to three.
    assert evaluated(db.conn, third, Event(at(seconds=11), "a", "ann")) == [third.name]


def test_ingestion_spike_is_of_a_tenant(db):
    rule(db.conn, "ingestion_spike", threshold=4, window_minutes=1)
    events = [Event(at(seconds=n), actor=f"u{n}", tenant=tenant) for n, tenant in enumerate("tuttuut")]
    assert evaluated(db.conn, *events) == [events[-1].name]
    assert get_alerts(db.conn)["data"][0]["reason"] == "4 events of one tenant within one minute"
    # Events whose actor is erased count.
    assert db.conn.execute("SELECT array_agg(actor_id) FROM immutable.alert_state").fetchone() == (["", ""],)


CLOCKS = [
    # Work is from 8 to 18, by the clock of the zone.
    ("UTC", {"2026-03-02 07:59:59": True, "2026-03-02 08:00": False, "2026-03-02 17:59:59": False, "2026-03-02 18:00": True}),
    ("Europe/Berlin", {"2026-03-28 06:59:59": True, "2026-03-28 07:00": False, "2026-03-28 17:00": True,
                       "2026-03-29 06:00": False, "2026-03-29 16:00": True, "2026-10-25 06:30": True, "2026-10-25 07:00": False}),
    ("Asia/Kathmandu", {"2026-03-02 02:14:59": True, "2026-03-02 02:15": False}),
    ("America/New_York", {"2026-07-01 12:00": False, "2026-12-01 12:00": True})]


def test_off_hours(db):
    expected = []
    for zone, times in CLOCKS:
        rule(db.conn, "off_hours", tenant=zone, timezone=zone)
        events = {Event(datetime.datetime.fromisoformat(f"{time}+00:00"), actor=time, tenant=zone): off for time, off in times.items()}
        record(db.conn, list(events))
        expected += [event for event, off in events.items() if off]
    assert evaluated(db.conn) == names(expected)


def test_off_hours_alert_once_each_night_weekends_like_other_days(db):
    rule(db.conn, "off_hours", "day")
    rule(db.conn, "off_hours", "night", start_hour=22, end_hour=6)
    evening, midnight, morning = Event(at(7 * 60)), Event(at(13 * 60)), Event(at(19 * 60))
    next_evening, noon, saturday = Event(at(31 * 60)), Event(at(24 * 60)), Event(at(5 * 24 * 60))
    for event in (evening, midnight, morning, next_evening, noon, saturday):
        evaluated(db.conn, event)
    # Monday's evening, the night and the morning are one time off. Who works at night is off by day.
    assert alerts(db.conn) == sorted([("day", evening.name), ("day", next_evening.name), ("night", evening.name),
                                      ("night", morning.name), ("night", saturday.name)])


def test_the_log_s_own_events_count_where_a_pattern_names_them(db):
    rule(db.conn, "repeated_action", "any", threshold=2)
    rule(db.conn, "repeated_action", "own", action_pattern=["x", "immutable.alert_rule_*"], threshold=2)
    for n in range(3):
        db.conn.execute(CREATE, ["off_hours", Jsonb({"action_pattern": "none"})])
    maintain(db.conn)
    assert [name for name, in db.conn.execute("SELECT rule_name FROM immutable.alerts")] == ["own"]


def test_a_late_transaction_counts_once(db):
    rule(db.conn, "repeated_action", threshold=3)
    late, events = Event(at(1)), [Event(at(0)), Event(at(2))]
    other = db.connect()
    other.execute("BEGIN")
    other.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('t', 'ann', 'a.b', %s)", [late.name])
    other.execute(f"PREPARE TRANSACTION '{db.name}'")
    record(db.conn, events)
    assert evaluated(db.conn) == []
    other.execute(f"COMMIT PREPARED '{db.name}'")
    set_times(db.conn, [late])
    assert evaluated(db.conn) == [late.name]
    assert evaluated(db.conn, Event(at(3))) == [late.name]


def test_a_burst_within_a_late_transaction_is_found(db):
    """However much the actor has done since."""
    rule(db.conn, "high_volume_destructive", threshold=3, window_minutes=1)
    record(db.conn, [Event(at(10 * n), "x.deleted") for n in range(1, 30)])
    assert evaluated(db.conn) == []
    late = [Event(at(seconds=n), "x.deleted") for n in range(3)]
    assert evaluated(db.conn, *late[:2]) == []
    assert evaluated(db.conn, late[2]) == [late[2].name]


def test_pages_and_filters(db):
    rule(db.conn, "off_hours", "a")
    rule(db.conn, "new_country", "b", tenant="u")
    for n in range(7):
        record(db.conn, [Event(at(24 * 60 * n + 600), tenant="t"), Event(at(24 * 60 * n + 601), tenant="u", country=f"C{n}")])
        maintain(db.conn)
    whole = get_alerts(db.conn, limit=100)
    assert whole["pagination"]["total"] == len(whole["data"]) == 7 + 7 + 6
    order = [(alert["triggered_at"], alert["id"]) for alert in whole["data"]]
    assert order == sorted(order, reverse=True)
    for filters in ({}, {"rule_type": "off_hours"}, {"tenant_id": "u"}, {"tenant_id": "u", "rule_type": "new_country"}, {"tenant_id": ""}):
        pages, cursor = [], None
        while True:
            page = get_alerts(db.conn, limit=4, cursor=cursor, **filters)
            pages += page["data"]
            cursor = page["pagination"]["next_cursor"]
            assert page["pagination"]["has_more"] is (cursor is not None)
            if cursor is None:
                break
        assert pages == [alert for alert in whole["data"] if filters.get("rule_type") in (None, alert["rule_type"])
                         and filters.get("tenant_id") in (None, alert["event"]["tenant_id"])]
    middle = whole["data"][9]["triggered_at"]
    for bound, is_within in (("from_date", lambda when: when >= middle), ("to_date", lambda when: when <= middle)):
        page = get_alerts(db.conn, limit=100, **{bound: middle})
        assert page["data"] == [alert for alert in whole["data"] if is_within(alert["triggered_at"])]
    today = db.conn.execute("SELECT current_date::text").fetchone()[0]
    assert get_alerts(db.conn, to_date=today)["pagination"]["total"] == 20
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="cursor is not one"):
        get_alerts(db.conn, cursor=get_alerts(db.conn, limit=4)["pagination"]["next_cursor"], tenant_id="t")


def test_who_sees_which_alerts(db):
    for rule_type, conditions in (("off_hours", {}), ("ingestion_spike", {"threshold": 2})):
        rule(db.conn, rule_type, **conditions)
    events = [Event(at(600 + n), actor=actor, tenant=tenant) for n, (actor, tenant) in enumerate(
        [("ann", "t"), ("bob", "t"), ("ann", "u"), ("cid", "u"), ("dan", "")])]
    evaluated(db.conn, *events)
    assert get_alerts(db.conn)["pagination"]["total"] == 7

    def seen(conn):
        found = {(alert["rule_type"], alert["event"]["actor_id"], alert["event"]["tenant_id"]) for alert in get_alerts(conn)["data"]}
        assert conn.execute("SELECT count(*) FROM immutable.alerts").fetchone() == (len(found),)
        assert get_alerts(conn)["pagination"]["total"] == len(found)
        return found

    of_t = {("off_hours", "ann", "t"), ("off_hours", "bob", "t"), ("ingestion_spike", "bob", "t")}
    assert len(seen(db.connect(db.create_role("IN ROLE immutable_auditor")))) == 7
    granted = db.create_role("IN ROLE immutable_viewer")
    db.conn.execute("SELECT immutable.grant_tenant(%s, 't')", [granted])
    assert seen(db.connect(granted)) == of_t
    assert get_alerts(db.connect(granted), tenant_id="u")["data"] == []
    viewer = db.connect(db.create_role("IN ROLE immutable_viewer"))
    assert seen(viewer) == set()
    for tenant, actor, expected in (("t", None, of_t), ("t", "bob", {("off_hours", "bob", "t")}), ("t", "nobody", set()),
                                    (None, None, {("off_hours", "dan", None)})):
        token, = db.conn.execute("SELECT immutable.create_viewer_token(%s, %s) ->> 'token'", [tenant, actor]).fetchone()
        viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
        assert seen(viewer) == expected
    viewer.execute("SELECT set_config('immutable.viewer_token', 'forged', false)")
    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
        get_alerts(viewer)


def test_what_an_api_key_opens(db):
    for tenant in ("t", "u", None):
        rule(db.conn, "off_hours", f"of {tenant}", tenant)
    rule(db.conn, "ingestion_spike", threshold=1)
    evaluated(db.conn, Event(at(600)), Event(at(600), tenant="u"))
    conn = db.connect(db.create_role("IN ROLE immutable_server"))

    def use(scopes, tenant=None):
        key, = db.conn.execute("SELECT immutable.create_api_key('k', %s, %s) ->> 'key'", [scopes, tenant]).fetchone()
        show(hashlib.sha256(key.encode()).hexdigest())

    def show(proof):
        conn.execute("SELECT set_config('immutable.proof', %s, false)", [proof])

    def rules():
        return [rule["name"] for rule in conn.execute("SELECT immutable.get_alert_rules()").fetchone()[0]["data"]]

    def total(**arguments):
        total = get_alerts(conn, **arguments)["pagination"]["total"]
        if not arguments:
            assert conn.execute("SELECT count(*) FROM immutable.alerts").fetchone() == (total,)
        return total

    for call in ("get_alerts()", "get_alert_rules()", "create_alert_rule('x', 'off_hours')"):
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            conn.execute(f"SELECT immutable.{call}")
    use(["read"])
    assert total() == 6 and total(tenant_id="t") == 3
    for call in ("get_alert_rules()", "create_alert_rule('x', 'off_hours')", "delete_alert_rule(gen_random_uuid())"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="scope admin"):
            conn.execute(f"SELECT immutable.{call}")
    use(["read"], "t")
    assert total() == 3
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="opens no other tenant"):
        total(tenant_id="u")
    for actor, expected in ((None, 3), ("ann", 2), ("bob", 0)):
        show(db.conn.execute("SELECT immutable.create_viewer_token('t', %s) ->> 'token'", [actor]).fetchone()[0])
        assert total() == expected
        auditor = db.connect(db.create_role("IN ROLE immutable_auditor"), options=f"-c immutable.proof={conn.execute('SHOW immutable.proof').fetchone()[0]}")
        assert get_alerts(auditor)["pagination"]["total"] == expected
    use(["admin"])
    assert rules() == ["of t", "of u", "of None", "ingestion_spike"]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="scope read"):
        get_alerts(conn)
    use(["admin"], "t")
    assert rules() == ["of t"]
    made, = conn.execute("SELECT immutable.create_alert_rule('own', 'off_hours')").fetchone()
    assert made["tenant_id"] == "t" and rules() == ["of t", "own"]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="opens no other tenant"):
        conn.execute("SELECT immutable.create_alert_rule('x', 'off_hours', tenant_id => 'u')")
    for name in ("of u", "of None"):
        id, = db.conn.execute("SELECT id FROM immutable.alert_rules WHERE name = %s", [name]).fetchone()
        for call in ("delete_alert_rule(%s)", "update_alert_rule(%s, enabled => false)"):
            with pytest.raises(psycopg.errors.NoDataFound):
                conn.execute(f"SELECT immutable.{call}", [id])
    conn.execute("SELECT immutable.delete_alert_rule(%s)", [made["id"]])
    actor, = db.conn.execute("SELECT actor_id FROM immutable.events WHERE action = 'immutable.alert_rule_deleted'").fetchone()
    assert actor.startswith("key:")


def test_no_other_role_gets_at_rules_or_memory(db):
    rule(db.conn, "new_country")
    evaluated(db.conn, Event(at(), country="DE"))
    for role in ("immutable_writer", "immutable_auditor", "immutable_viewer", "immutable_eraser", "immutable_maintainer"):
        conn = db.connect(db.create_role(f"IN ROLE {role}"))
        if role == "immutable_auditor":
            assert len(conn.execute("SELECT immutable.get_alert_rules() -> 'data'").fetchone()[0]) == 1
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("SELECT immutable.get_alert_rules()")
        for statement in ("SELECT immutable.create_alert_rule('x', 'off_hours')",
                          "SELECT immutable.delete_alert_rule(gen_random_uuid())", "TABLE immutable.alert_rules",
                          "TABLE immutable.alert_state", "TABLE immutable.alert_feed", "DELETE FROM immutable.alerts",
                          "UPDATE immutable.alerts SET reason = ''", "INSERT INTO immutable.alerts DEFAULT VALUES"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)
    # The maintainer evaluates without a right to any table, and its schemas are not used.
    conn.execute("CREATE TEMP TABLE alert_rules (x int); SET search_path = pg_temp, immutable")
    record(db.conn, [Event(at(1), country="FR")])
    assert maintain(conn) == {"events": 1, "alerts": 1}


def test_an_erased_actor_is_forgotten(db):
    conn = db.conn
    rule(conn, "new_country")
    rule(conn, "repeated_action", threshold=2)
    first, second, other = Event(at(), actor="ann@example.com", country="DE"), Event(at(1), actor="ann@example.com", country="FR"), \
        Event(at(2), actor="bob", country="IT")
    evaluated(conn, first, second, other)
    assert len(alerts(conn)) == 2

    def remembered():
        return sorted(actor for actor, in conn.execute("SELECT actor_id FROM immutable.alert_state"))

    def dump():
        tables = ("alerts", "alert_state", "alert_rules", "alert_feed")
        return "".join(str(row) for table in tables for row in conn.execute(f"SELECT x::text FROM immutable.{table} x").fetchall())

    assert remembered() == ["ann@example.com", "bob"] and "ann@example.com" in dump()
    # Hashes cover created_at, which the tests have changed: put the real time back.
    with helpers_log.behind_triggers(conn):
        conn.execute("UPDATE immutable.events SET ip_city = ip_city")
    real = Event(None, actor="zoe@example.com", country="NO")
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, ip_country, idempotency_key) VALUES "
                 "('t', 'zoe@example.com', 'a.b', 'NO', %s), ('t', 'zoe@example.com', 'a.b', 'SE', 'zoe 2'), ('t', 'yan', 'a.b', 'NO', 'yan')", [real.name])
    maintain(conn)
    assert remembered() == ["ann@example.com", "bob", "yan", "zoe@example.com"]
    eraser = db.connect(db.create_role("IN ROLE immutable_eraser"))
    eraser.execute("SELECT immutable.erase_subject('t', 'zoe@example.com', 'ticket 1')").fetchall()
    assert remembered() == ["ann@example.com", "bob", "yan"]
    assert "zoe" not in dump() and "SE" not in dump()
    # The alert stays, and shows the event as it is now.
    shown = [alert["event"] for alert in get_alerts(conn)["data"] if alert["event"]["actor_id"] is None]
    assert [event["ip_country"] for event in shown] == [None, None]
    # What an event came from is remembered too.
    yan, = conn.execute("SELECT id FROM immutable.events WHERE idempotency_key = 'yan'").fetchone()
    eraser.execute("SELECT immutable.erase(%s, 't', '{user_agent}', 'ticket 2')", [yan])
    assert "yan" in remembered()
    eraser.execute("SELECT immutable.erase(%s, 't', '{ip_country}', 'ticket 3')", [yan])
    assert remembered() == ["ann@example.com", "bob"]
    assert maintain(conn)["alerts"] == 0


def test_a_distributed_log_has_no_rules(db):
    """Its events are on other nodes."""
    db.conn.execute("SET allow_system_table_mods = on")
    db.conn.execute("CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass)")
    db.conn.execute("INSERT INTO pg_catalog.pg_dist_partition VALUES ('immutable.events')")
    for call in ("create_alert_rule('x', 'off_hours')", "update_alert_rule(gen_random_uuid())", "delete_alert_rule(gen_random_uuid())",
                 "feed('')"):
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="of a distributed log are not supported"):
            db.conn.execute(f"SELECT immutable.{call}")
    did, = db.conn.execute("CALL immutable.run_maintenance(NULL)").fetchone()
    assert did.get("alerts") is None


def test_an_evaluation_waits_for_nobody(db):
    """While rules change or an actor is erased, it does nothing, and later it does all."""
    rule(db.conn, "off_hours")
    record(db.conn, [Event(at(600))])
    with db.connect(autocommit=False) as conn:
        conn.execute(CREATE, ["new_country", Jsonb({})])
        assert maintain(db.conn) is None
        conn.rollback()
    assert maintain(db.conn)["alerts"] == 1


def test_damaged_rules_and_memories_are_passed_over(db):
    conn = db.conn
    good, bad, odd = rule(conn, "off_hours", "good"), rule(conn, "off_hours", "bad"), rule(conn, "new_country", "odd")
    evaluated(conn, Event(at(600), country="DE"))
    conn.execute("UPDATE immutable.alert_rules SET conditions = '[1]' WHERE id = %s", [bad])
    conn.execute("UPDATE immutable.alert_rules SET rule_type = 'none' WHERE id = %s", [odd])
    conn.execute("UPDATE immutable.alert_state SET state = %s", [b"\x01\xff\xff"])
    notices = []
    conn.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    conn.execute("SET immutable.allow_ddl = on")
    record(conn, [Event(at(24 * 60 + 600))])
    assert maintain(conn) == {"events": 1, "alerts": 1}
    assert notices == ["2 alert rules are damaged and were not evaluated"]
    # The advice of the warning works, whatever cannot be read.
    conn.execute("ALTER TABLE immutable.alert_rules ALTER name DROP NOT NULL, ALTER conditions DROP NOT NULL")
    for change in "conditions = '[[[[[]]]]]'", "conditions = NULL", "name = NULL", "rule_type = repeat('x', 70000)":
        worse = rule(conn, "off_hours", "worse")
        conn.execute(f"UPDATE immutable.alert_rules SET {change} WHERE id = %s", [worse])
        listed, = conn.execute("SELECT immutable.get_alert_rules()").fetchone()
        assert worse in [listed["id"] for listed in listed["data"]], change
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="the alert rule is damaged"):
            conn.execute("SELECT immutable.update_alert_rule(%s, enabled => false)", [worse])
        conn.execute("SELECT immutable.delete_alert_rule(%s)", [worse])
    # Any bytes are read without a crash: of a rule that remembers all there is to remember.
    rule(conn, "repeated_action", "bursts", threshold=2)
    rule(conn, "new_country", "countries")
    evaluated(conn, *[Event(at(48 * 60 + n), country=f"C{n}") for n in range(3)])
    state, = conn.execute("SELECT state FROM immutable.alert_state").fetchone()
    chance = random.Random(5)
    for _ in range(60):
        damaged = bytearray(state[:chance.choice([len(state), chance.randrange(len(state))])] or b"\x01")
        damaged[chance.randrange(len(damaged))] ^= chance.choice([1, 0x80, 0xff])
        conn.execute("UPDATE immutable.alert_state SET state = %s", [bytes(damaged)])
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'ann', 'a')")
        assert maintain(conn)["events"] == 1
    conn.execute("UPDATE immutable.alert_feed SET mark = 'x'")
    did, = conn.execute("CALL immutable.run_maintenance(NULL)").fetchone()
    assert did["alerts"]["sqlstate"] == "XX001" and "mark" in did["alerts"]["error"]


def test_status_says_when_a_rule_cannot_fire(db):
    def problems():
        return [problem for problem in db.conn.execute("SELECT problems FROM immutable.status()").fetchone()[0] if "alert" in problem]

    made = rule(db.conn, "new_country")
    assert len(problems()) == 1 and "Record ip_country" in problems()[0]
    db.conn.execute("SELECT immutable.update_alert_rule(%s, enabled => false)", [made])
    assert problems() == []
    db.conn.execute("SELECT immutable.update_alert_rule(%s, enabled => true)", [made])
    record(db.conn, [Event(at(), country="DE")])
    db.conn.execute("UPDATE immutable.alert_rules SET since = since")
    assert problems() == []


def test_rules_and_alerts_survive_a_dump(db, server):
    rule(db.conn, "off_hours")
    evaluated(db.conn, Event(at(600)))
    dump = server.run("pg_dump", "-d", db.name, "-t", "immutable.alert*", "--data-only").stdout
    assert "COPY immutable.alert_rules" in dump and "COPY immutable.alerts" in dump
    whole = server.run("pg_dump", "-d", db.name).stdout
    assert "COPY immutable.alert_rules" in whole and "COPY immutable.alerts" in whole
    assert "alert_state" not in whole and "alert_feed" not in whole
    # Where the rules come without a mark, they begin at what is there.
    db.conn.execute("DELETE FROM immutable.alert_feed; DELETE FROM immutable.alert_state")
    record(db.conn, [Event(at(24 * 60 + 600))])
    assert maintain(db.conn) is None
    record(db.conn, [Event(at(48 * 60 + 600))])
    assert maintain(db.conn) == {"events": 1, "alerts": 1}
    # After a seam they begin where maintenance is resumed, and not at the first call after that.
    db.conn.execute("DELETE FROM immutable.alert_feed; UPDATE immutable.maintenance_position SET timeline = 999")
    record(db.conn, [Event(at(72 * 60 + 600))])
    assert maintain(db.conn) == "paused"
    assert db.conn.execute("SELECT immutable.resume_maintenance()").fetchone() == (True,)
    record(db.conn, [Event(at(96 * 60 + 600))])
    assert maintain(db.conn)["alerts"] == 1


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]


def random_rules(chance):
    patterns = ["*", "doc.*", "*.deleted", ["*.deleted", "*.removed"], "login", "d*.*e*d", "immutable.*"]
    for n in range(14):
        rule_type = chance.choice(["new_country", "high_volume_destructive", "ingestion_spike", "repeated_action", "off_hours"])
        conditions = {"action_pattern": chance.choice(patterns)}
        if rule_type == "off_hours":
            start = chance.randrange(24)
            end = chance.choice([hour for hour in range(1, 25) if hour != start and (start, hour) != (0, 24)])
            conditions.update(timezone=chance.choice(ZONES), start_hour=start, end_hour=end)
        elif rule_type != "new_country":
            conditions.update(threshold=chance.randint(2, 9), window_minutes=chance.choice([1, 5, 30]))
        yield f"rule {n}", rule_type, chance.choice([None, None, "t", "u", ""]), conditions


def random_events(chance, count):
    when = at()
    for _ in range(count):
        pause = chance.choice([1, 5, 20, 60, 3600] if chance.random() < 0.2 else [1, 5, 20])
        when += datetime.timedelta(seconds=pause, microseconds=chance.randint(0, 999_999))
        yield Event(when, chance.choice(["doc.deleted", "doc.removed", "doc.viewed", "login", "deeded"]), chance.choice(["ann", "bob", "cid"]),
                    chance.choice(["t", "t", "u", ""]), chance.choice([None, "DE", "DE", "DE", "FR", "US", "JP"]))


@pytest.mark.parametrize("seed", range(3))
def test_a_plain_model_raises_the_same_alerts(db, seed):
    chance = random.Random(seed)
    models = []
    for name, rule_type, tenant, conditions in random_rules(chance):
        rule(db.conn, rule_type, name, tenant, **conditions)
        models.append(Model(name, rule_type, tenant, **conditions))
    events, done = list(random_events(chance, 400)), 0
    while done < len(events):
        count = chance.choice([1, 3, 40, 150])
        record(db.conn, chance.sample(events[done:done + count], len(events[done:done + count])))
        maintain(db.conn)
        done += count
    expected = sorted(alert for model in models for alert in model.alerts(events))
    # Rules that name the log's own events find those that made the rules.
    found = [alert for alert in alerts(db.conn) if alert[1] is not None]
    assert len(expected) > 20 and found == expected


def test_a_kill_during_the_evaluation_loses_and_repeats_nothing(cluster):
    server = cluster()
    chance = random.Random(7)
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        conditions = {"threshold": 5, "window_minutes": 5}
        rule(conn, "repeated_action", "r", **conditions)
        rule(conn, "new_country", "n")
        events = list(random_events(chance, 400))
    for n in range(2):
        with server.connect() as conn:
            record(conn, events[200 * n:200 * n + 200])
        runner = server.connect()
        thread = threading.Thread(target=attempt, args=(runner,))
        thread.start()
        thread.join(chance.choice([0, 0.005, 0.02, 0.05]))
        server.kill9()
        thread.join()
        server.start()
    with server.connect() as conn:
        maintain(conn)
        expected = Model("r", "repeated_action", **conditions).alerts(events) + Model("n", "new_country").alerts(events)
        assert alerts(conn) == sorted(expected)


def attempt(conn):
    try:
        maintain(conn)
    except psycopg.Error:
        pass

