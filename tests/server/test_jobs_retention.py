"""Rules of retention and holds: what counts when, who may change and who sees them, and what records it."""

import datetime
import re
import threading

import psycopg
import pytest
from psycopg import errors

DAY = datetime.timedelta(days=1)


def one(conn, query, *values):
    return conn.execute(query, values).fetchone()[0]


def rule(conn, tenant=None):
    return conn.execute("SELECT keep::text, require_archive, is_default, next_keep::text, next_require_archive, "
                        "next_from FROM immutable.get_retention(%s)", (tenant,)).fetchone()


def now_counts(conn, tenant=None):
    return rule(conn, tenant)[:2]


def wait_over(db, tenant=None):
    """As if the waiting time were over."""
    db.unguard()
    db.conn.execute("UPDATE immutable.retention SET next_from = now() - interval '1 second' "
                    "WHERE tenant_id IS NOT DISTINCT FROM %s", (tenant,))


def events(conn, action):
    return [row[0] for row in conn.execute("SELECT metadata FROM immutable.events WHERE tenant_id = '' AND action = %s "
                                           "ORDER BY created_at, seq", (action,))]


def test_what_keeps_less_waits(db):
    conn = db.conn
    assert rule(conn) == (None, False, True, None, None, None)
    before = one(conn, "SELECT now()")
    counts = one(conn, "SELECT immutable.set_retention('1 year', reason => 'AUDIT-7')")
    assert 7 * DAY <= counts - before < 7 * DAY + datetime.timedelta(minutes=1)
    assert rule(conn) == (None, False, True, "1 year", False, counts)
    wait_over(db)
    assert rule(conn) == ("1 year", False, True, None, None, None)
    # what keeps more counts at once
    conn.execute("SELECT immutable.set_retention('2 years')")
    assert rule(conn) == ("2 years", False, True, None, None, None)
    # and so does each part of a rule of which the other one waits
    counts = one(conn, "SELECT immutable.set_retention('1 year', require_archive => true)")
    assert rule(conn) == ("2 years", True, True, "1 year", True, counts)
    # a change before that replaces what waits, and never weakens what counts
    counts = one(conn, "SELECT immutable.set_retention('3 years')")
    assert rule(conn) == ("3 years", True, True, "3 years", False, counts)
    conn.execute("SELECT immutable.set_retention(NULL, require_archive => true)")
    assert rule(conn) == (None, True, True, None, None, None)
    recorded = events(conn, "immutable.retention_set")
    assert recorded[0] == {"keep": "P1Y", "require_archive": False, "old_keep": None, "old_require_archive": False,
                           "reason": "AUDIT-7", "counts_from": recorded[0]["counts_from"]}
    assert [each["keep"] for each in recorded] == ["P1Y", "P2Y", "P1Y", "P3Y", None]
    assert one(conn, "SELECT count(*) FROM immutable.retention r JOIN immutable.events e ON e.id = r.event_id") == 1


LONGER = [
    ("1 year", "12 months", True), ("12 months", "365 days", False), ("365 days", "1 year", True),
    ("1 month", "31 days", True), ("1 month", "30 days", False), ("28 days", "1 month", True),
    ("29 days", "1 month", False), ("1 year 1 day", "1 year", False), ("1 day", "24 hours", True),
    ("1 day", "23:59:59.999999", False), ("4 years", "1461 days", True), ("4 years", "1460 days", False),
    ("1 month 1 day", "2 months", True), ("2 months", "1 month 30 days", False)]


def test_which_of_two_times_is_longer(db):
    conn = db.conn
    conn.execute("SET client_min_messages = error")
    for old, new, at_once in LONGER:
        conn.execute("SET immutable.retention_wait = 0")
        conn.execute("SELECT immutable.set_retention(%s)", (old,))
        conn.execute("RESET immutable.retention_wait")
        conn.execute("SELECT immutable.set_retention(%s)", (new,))
        assert (rule(conn)[5] is None) == at_once, (old, new)


def test_tenants_and_events_without_one(db):
    conn = db.conn
    conn.execute("SET immutable.retention_wait = 0")
    conn.execute("SELECT immutable.set_retention('90 days'), immutable.set_retention('7 years', 'bank')")
    assert now_counts(conn, "bank") == ("7 years", False) and now_counts(conn, "shop") == ("90 days", False)
    assert rule(conn, "bank")[2] is False and rule(conn, "shop")[2] is True
    # the default is not for the log's own events
    assert now_counts(conn, "") == (None, False)
    conn.execute("SELECT immutable.set_retention('1 year', '')")
    assert now_counts(conn, "") == ("1 year", False)
    conn.execute("RESET immutable.retention_wait")
    # the first rule of a tenant's own replaces the default for it, and waits where it keeps less
    conn.execute("SELECT immutable.set_retention('30 days', 'shop')")
    assert rule(conn, "shop")[:4] == ("90 days", False, False, "30 days")


def test_what_is_refused(db):
    conn = db.conn
    refused = [
        ("SELECT immutable.set_retention('0')", errors.InvalidParameterValue, "keep"),
        ("SELECT immutable.set_retention('-1 day')", errors.InvalidParameterValue, "keep"),
        ("SELECT immutable.set_retention('1 month -1 day')", errors.InvalidParameterValue, "keep"),
        ("SELECT immutable.set_retention('1001 years')", errors.InvalidParameterValue, "keep"),
        ("SELECT immutable.set_retention('1 day', repeat('x', 256))", errors.InvalidParameterValue, "tenant_id"),
        ("SELECT immutable.set_retention('1 day', require_archive => NULL)", errors.NullValueNotAllowed,
         "require_archive"),
        ("SELECT immutable.set_retention('1 day', reason => ' ')", errors.InvalidParameterValue, "reason"),
        ("SELECT immutable.set_retention('1 day', reason => repeat('x', 4097))", errors.StringDataRightTruncation,
         "reason"),
        ("SELECT immutable.hold('a', NULL)", errors.NullValueNotAllowed, "reason"),
        ("SELECT immutable.release('a', 'over')", errors.ObjectNotInPrerequisiteState, "tenant_id"),
        ("SELECT immutable.reset_retention(NULL)", errors.NullValueNotAllowed, "tenant_id"),
        ("SELECT immutable.reset_retention('a')", errors.ObjectNotInPrerequisiteState, "tenant"),
        ("SELECT immutable.get_retention(repeat('x', 256))", errors.InvalidParameterValue, "tenant_id"),
        ("SELECT immutable.prune(NULL)", errors.NullValueNotAllowed, "dry_run"),
        ("SELECT immutable.prune(true, archived => 'abc')", errors.InvalidParameterValue, "archived"),
        ("SELECT immutable.prune(true, repeat('x', 256))", errors.InvalidParameterValue, "tenant_id"),
        ("SELECT immutable.prune(true)", errors.ObjectNotInPrerequisiteState, None),
    ]
    if db.server.major >= 17:
        refused.append(("SELECT immutable.set_retention('infinity')", errors.InvalidParameterValue, "keep"))
    for statement, error, field in refused:
        with pytest.raises(error) as caught:
            conn.execute(statement)
        assert field is None or field in caught.value.diag.message_primary or field == "tenant_id", statement
        assert caught.value.diag.message_hint, statement
    assert one(conn, "SELECT count(*) FROM immutable.retention") + one(conn, "SELECT count(*) FROM immutable.holds") == 0
    assert events(conn, "immutable.retention_set") == []


def test_holds(db):
    conn = db.conn
    conn.execute("SELECT immutable.hold('a', 'case 1'), immutable.hold(NULL, 'case 2'), immutable.hold('', 'case 3')")
    held = "SELECT held_because FROM immutable.get_retention(%s)"
    assert [one(conn, held, tenant) for tenant in ("a", "b", "", None)] == ["case 1", "case 2", "case 3", "case 2"]
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match='tenant "a" is held already'):
        conn.execute("SELECT immutable.hold('a', 'case 4')")
    # a release waits as a shorter rule does, and a new hold takes it back
    assert one(conn, "SELECT immutable.release(NULL, 'over') - now()") // DAY == 7
    assert [one(conn, held, tenant) for tenant in ("a", "b")] == ["case 1", "case 2"]
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="not held"):
        conn.execute("SELECT immutable.release(NULL, 'over')")
    conn.execute("SELECT immutable.hold(NULL, 'case 2')")
    conn.execute("SET immutable.retention_wait = 0")
    conn.execute("SELECT immutable.release(NULL, 'over')")
    assert [one(conn, held, tenant) for tenant in ("a", "b")] == ["case 1", None]
    with conn.transaction():
        conn.execute("SELECT immutable.release('a', 'over')")
        raise psycopg.Rollback()
    assert one(conn, held, "a") == "case 1"
    assert events(conn, "immutable.held")[0] == {"reason": "case 1", "tenant_id": "a"}
    assert events(conn, "immutable.released") == [{"reason": "over"}] * 2


def test_sessions_change_rules_one_after_the_other(db):
    conn, other = db.connect(autocommit=False), db.connect()
    conn.execute("SET LOCAL immutable.retention_wait = 0")
    conn.execute("SELECT immutable.set_retention('1 year')")
    done = threading.Thread(target=lambda: other.execute("SELECT immutable.set_retention('2 years')"))
    done.start()
    done.join(0.3)
    assert done.is_alive()
    conn.commit()
    done.join()
    # the second has seen what the first one made
    assert now_counts(db.conn) == ("2 years", False)
    assert [each["old_keep"] for each in events(db.conn, "immutable.retention_set")] == [None, "P1Y"]


def test_who_may_what(db):
    conn = db.conn
    conn.execute("SELECT immutable.set_retention('1 year'), immutable.hold('a', 'secret case'), "
                 "immutable.track('u', 'x', tenant_id => 'a')")
    retainer = db.connect(db.create_role("IN ROLE immutable_retainer"))
    retainer.execute("SELECT immutable.set_retention('2 years', 'a'), immutable.hold('b', 'case'), "
                     "immutable.release('b', 'over'), immutable.get_retention()")
    assert one(conn, "SELECT actor_id FROM immutable.events WHERE action = 'immutable.released'") == db.roles[0]
    assert one(retainer, "SELECT count(*) FROM immutable.retention") == 2
    attacks = ["INSERT INTO immutable.retention VALUES ('a', '1 day', false, NULL, NULL, NULL, now(), '', gen_random_uuid())",
               "UPDATE immutable.retention SET keep = '1 second'", "DELETE FROM immutable.holds",
               "TRUNCATE immutable.holds", "SELECT * FROM immutable.events", "SET immutable.retention_wait = 0",
               "DELETE FROM immutable.events", "SELECT immutable.erase_subject('a', 'u', 'x')"]
    for attack in attacks:
        with pytest.raises(errors.InsufficientPrivilege):
            retainer.execute(attack)
    for group in ("writer", "auditor", "viewer", "eraser", "maintainer", "server", "deliverer", "restorer"):
        attacker = db.connect(db.create_role(f"IN ROLE immutable_{group}"))
        for attack in (*attacks[:4], "SELECT immutable.set_retention('1 day')", "SELECT immutable.hold('a', 'x')",
                       "SELECT immutable.release('a', 'x')", "SELECT immutable.reset_retention('a')",
                       "SELECT immutable.prune(false)",
                       "SELECT immutable.prune(true)"):
            with pytest.raises(errors.InsufficientPrivilege):
                attacker.execute(attack)
    assert one(conn, "SELECT count(*) FROM immutable.holds WHERE ends_at IS NULL") == 1


def test_what_a_tenant_sees(db):
    conn = db.conn
    conn.execute("SELECT immutable.set_retention('1 year'), immutable.hold('a', 'secret case')")
    role = db.create_role("IN ROLE immutable_viewer")
    viewer = db.connect(role)
    token = one(conn, "SELECT immutable.create_viewer_token('a') ->> 'token'")
    seen = "SELECT tenant_id, next_keep::text, held_since IS NOT NULL, held_because FROM immutable.get_retention({})"
    with pytest.raises(errors.InsufficientPrivilege):
        viewer.execute(seen.format(""))
    viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", (token,))
    assert viewer.execute(seen.format("")).fetchone() == ("a", "1 year", True, None)
    assert viewer.execute(seen.format("'a'")).fetchone() == ("a", "1 year", True, None)
    with pytest.raises(errors.InsufficientPrivilege):
        viewer.execute(seen.format("'b'"))
    server = db.connect(db.create_role("IN ROLE immutable_server"))
    with pytest.raises(errors.InvalidAuthorizationSpecification):
        server.execute(seen.format("'a'"))
    for scopes, tenant, opens in (("read", "b", "b"), ("read", None, None), ("write", "a", errors.InsufficientPrivilege)):
        key = one(conn, "SELECT encode(sha256(convert_to(immutable.create_api_key('k', ARRAY[%s], %s) ->> 'key', "
                        "'UTF8')), 'hex')", scopes, tenant)
        server.execute("SELECT set_config('immutable.proof', %s, false)", (key,))
        if scopes == "write":
            with pytest.raises(opens):
                server.execute(seen.format(""))
        else:
            assert server.execute(seen.format("")).fetchone()[0] == opens
    with pytest.raises(errors.InsufficientPrivilege):
        server.execute(seen.format("'a'"))
    auditor = db.connect(db.create_role("IN ROLE immutable_auditor"))
    assert auditor.execute(seen.format("'a'")).fetchone() == ("a", "1 year", True, "secret case")


def test_rules_are_in_a_dump(db, tmp_path):
    conn = db.conn
    conn.execute("SELECT immutable.set_retention('1 year', 'a'), immutable.hold('b', 'case')")
    rows = "SELECT r::text FROM immutable.retention r UNION ALL SELECT h::text FROM immutable.holds h"
    before = conn.execute(rows).fetchall()
    dump = db.server.run("pg_dump", "--data-only", db.name).stdout
    restored = type(db)(db.server)
    try:
        restorer = restored.create_role("BYPASSRLS IN ROLE immutable_restorer")
        attacker = restored.connect(restorer)
        with pytest.raises(errors.InsufficientPrivilege, match="no dump is being restored"):
            attacker.execute("INSERT INTO immutable.holds VALUES ('b', 'x', now(), 'x', gen_random_uuid())")
        file = tmp_path / "dump.sql"
        file.write_text(f"SET immutable.restore = on;\n{dump}")
        restored.server.run("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", restored.name, "-f", str(file))
        assert restored.conn.execute(rows).fetchall() == before
    finally:
        restored.close()


def test_what_keeps_less_is_committed_soon(db):
    """Nobody sees its record before, and the waiting time goes on."""
    conn = db.conn
    conn.execute("SET immutable.retention_wait = 2")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="too long ago"), conn.transaction():
        conn.execute("SELECT immutable.set_retention('1 year')")
        conn.execute("SELECT pg_sleep(0.3)")
    assert rule(conn) == (None, False, True, None, None, None)
    # What counts at once may be committed whenever.
    with conn.transaction():
        conn.execute("SELECT immutable.set_retention(NULL, 'bank')")
        conn.execute("SELECT pg_sleep(0.3)")
    conn.execute("RESET immutable.retention_wait")
    conn.execute("BEGIN")
    conn.execute("SELECT immutable.set_retention('1 year')")
    with pytest.raises(errors.FeatureNotSupported, match="cannot be prepared"):
        conn.execute("PREPARE TRANSACTION 'late'")
    conn.execute("SELECT immutable.set_retention('1 year')")
    assert rule(conn)[3] == "1 year"


def test_a_tenant_without_a_rule_of_its_own_again(db):
    conn = db.conn

    def reset(tenant):
        """For how many days it waits."""
        return round(one(conn, "SELECT immutable.reset_retention(%s, 'contract ended') - now()", tenant) / DAY)

    conn.execute("SET immutable.retention_wait = 0")
    conn.execute("SELECT immutable.set_retention('1 year'), immutable.set_retention('7 years', 'bank'), "
                 "immutable.set_retention('30 days', 'shop'), immutable.set_retention('30 days', ''), "
                 "immutable.set_retention(NULL, 'kept')")
    conn.execute("RESET immutable.retention_wait")
    # what keeps as much counts at once
    for tenant in ("shop", ""):
        assert reset(tenant) == 0
    assert rule(conn, "shop")[:3] == ("1 year", False, True) and rule(conn, "")[:3] == (None, False, True)
    # what keeps less waits, and what keeps more of both counts until then
    assert reset("bank") == reset("kept") == 7
    assert rule(conn, "bank")[:5] == ("7 years", False, False, "1 year", False)
    # a further change of the others is the tenant's too
    conn.execute("SELECT immutable.set_retention('5 years', require_archive => true)")
    assert rule(conn, "bank")[:5] == ("7 years", False, False, "5 years", True)
    wait_over(db, "bank")
    assert rule(conn, "bank")[:4] == ("5 years", True, True, None)
    conn.execute("SELECT immutable.set_retention('6 years', 'kept')")
    assert rule(conn, "kept")[:4] == (None, False, False, "6 years")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="no rule of its own"):
        reset("bank")
    # a default that will keep less soon does not count at once for one who comes to it now
    conn.execute("SELECT immutable.set_retention('1 day')")
    conn.execute("SET immutable.retention_wait = 0")
    conn.execute("SELECT immutable.set_retention('2 years', 'shop')")
    conn.execute("RESET immutable.retention_wait")
    assert reset("shop") == 7
    recorded = [each for each in events(conn, "immutable.retention_set") if "is_default" in each]
    assert [(each["tenant_id"], each["keep"], each["is_default"]) for each in recorded] == [
        ("shop", "P1Y", True), ("", None, True), ("bank", "P1Y", True), ("kept", "P1Y", True), ("shop", "P5Y", True)]


def test_a_rule_that_was_changed_by_hand_is_a_problem(db):
    conn = db.conn
    problems = "SELECT p FROM immutable.status(), unnest(problems) p WHERE p LIKE '%changed by hand%'"
    conn.execute("SET immutable.retention_wait = 0")
    conn.execute("SELECT immutable.set_retention('1 year 2 mons 3 days 04:05:06.789'), immutable.hold('b', 'case')")
    conn.execute("RESET immutable.retention_wait")
    conn.execute("SELECT immutable.set_retention('1 month', 'a'), immutable.set_retention('1 day'), "
                 "immutable.set_retention('90 days', 'c'), immutable.reset_retention('c')")
    assert conn.execute(problems).fetchall() == []
    db.unguard()
    for change, what in (("retention SET keep = '1 hour' WHERE tenant_id = 'a'", 'retention .* tenant "a"'),
                         ("retention SET next_keep = '1 hour' WHERE tenant_id IS NULL", "retention .* all tenants"),
                         ("retention SET next_from = now() WHERE tenant_id = 'a'", 'retention .* tenant "a"'),
                         ("holds SET event_id = gen_random_uuid()", 'holds .* tenant "b"')):
        with conn.transaction():
            conn.execute(f"UPDATE immutable.{change}")
            [(problem,)] = conn.execute(problems).fetchall()
            assert re.search(what, problem)
            raise psycopg.Rollback()
