"""immutable.seal(): what moves and what stays, whose right it is, and what stands in its way."""

import threading
import time

import helpers_log as h
import psycopg
import pytest
from helpers_log import behind_triggers
from helpers_segments import Sealing, check_whole, places, prepare_alone, seal

RUN = "CALL immutable.run_maintenance()"
TARGETS = '[{"type": "document", "id": "1"}, {"type": "folder", "name": "a"}]'
ROWS = "SELECT e.* FROM immutable.events e ORDER BY tenant_id, lane, seq"
STATES = "SELECT segment, state, events, replaces FROM immutable.segments ORDER BY segment"


def add(conn, count, tenant="acme", targets="[]"):
    conn.execute(
        "INSERT INTO immutable.events (tenant_id, actor_id, action, targets) "
        "SELECT %s, 'ann', 'document.read', %s::jsonb FROM generate_series(1, %s)", (tenant, targets, count))


def one(conn, query, *values):
    return conn.execute(query, values).fetchone()[0]


def refused(conn, state, statement):
    with pytest.raises(psycopg.Error) as raised:
        conn.execute(statement)
    assert raised.value.sqlstate == state, raised.value
    return raised.value.diag


def test_all_but_the_tails_move(db):
    add(db.conn, 10)
    add(db.conn, 5, "other", TARGETS)
    before = db.conn.execute(ROWS).fetchall()
    assert seal(db) == {"segments": 1, "events": 13, "targets": 8, "merged": 0, "dropped": 0}
    assert places(db.conn) == {"events": 2, "events_1": 13}
    assert db.conn.execute(ROWS).fetchall() == before
    assert seal(db)["events"] == 0
    # What stayed moves into the segment of its time, once its lane goes on.
    add(db.conn, 3)
    assert seal(db)["events"] == 3
    assert places(db.conn) == {"events": 2, "events_1": 14, "events_2": 2}
    check_whole(db.conn)
    # The physical order is that of the lanes.
    assert one(db.conn, "SELECT bool_and(ordered) FROM (SELECT (tenant_id, seq) > lag((tenant_id, seq)) OVER (ORDER BY ctid) "
               "AS ordered FROM immutable.events_1 WHERE seq < 10) o")
    assert one(db.conn, "SELECT one.created_from = '-infinity' AND one.created_to = two.created_from "
               "FROM immutable.segments one, immutable.segments two WHERE one.segment = 1 AND two.segment = 2")


def test_what_by_hand_and_what_by_maintenance(db):
    """NULL leaves the newest; maintenance waits until it is worth a segment, and cuts it to size."""
    db.conn.execute("SET immutable.hot_events = 10; SET immutable.seal_events = 20")
    add(db.conn, 29)
    assert one(db.conn, RUN)["segments"] is None
    add(db.conn, 2)
    assert one(db.conn, RUN)["segments"] == {"segments": 1, "events": 20, "targets": 0, "merged": 0, "dropped": 0}
    assert places(db.conn) == {"events": 11, "events_1": 20}
    assert one(db.conn, RUN)["segments"] is None
    assert one(db.conn, "CALL immutable.seal()")["events"] == 1
    assert places(db.conn) == {"events": 10, "events_1": 20, "events_2": 1}
    # Before a time.
    add(db.conn, 10)
    before = one(db.conn, "SELECT created_at FROM immutable.events WHERE seq = 35")
    assert one(db.conn, "CALL immutable.seal(%s)", before)["events"] == 13
    assert one(db.conn, "SELECT min(seq) FROM ONLY immutable.events") == 35
    # Few events, but old ones.
    db.conn.execute("SET immutable.hot_age = 0")
    assert one(db.conn, RUN)["segments"]["events"] == 6
    db.conn.execute("SET immutable.hot_events = -1")
    add(db.conn, 100)
    assert one(db.conn, RUN)["segments"] is None
    check_whole(db.conn)


def test_sleeping_tails_are_not_counted_again(db):
    """Tails that no event follows make nothing due, however many they are."""
    db.conn.execute("SET immutable.hot_events = 5; SET immutable.seal_events = 20")
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT 't' || n, 'ann', 'a' FROM generate_series(1, 200) n")
    while one(db.conn, RUN)["segments"]:
        pass
    before = one(db.conn, "SELECT count(*) FROM immutable.segments")
    assert places(db.conn) == {"events": 200}
    assert one(db.conn, RUN)["segments"] is None
    assert one(db.conn, "SELECT count(*) FROM immutable.segments") == before


def test_merging_and_dropping(db):
    db.conn.execute("SET immutable.hot_events = 0; SET immutable.seal_events = 10; SET immutable.segment_events = 40")
    add(db.conn, 35, targets=TARGETS)
    expected = db.conn.execute(ROWS).fetchall()
    reader = db.connect(autocommit=False)
    reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    assert reader.execute("SELECT 1").fetchone()  # a snapshot, and no lock
    for _ in range(12):
        add(db.conn, 1, "other")
        seal(db)
    assert db.conn.execute(STATES).fetchall()[0][1] == "emptied", "a snapshot needs it"
    assert reader.execute(ROWS).fetchall() == expected
    reader.rollback()
    for _ in range(3):
        seal(db)
    states = db.conn.execute(STATES).fetchall()
    assert {state for _, state, _, _ in states} == {"sealed"} and any(replaces for *_, replaces in states)
    assert len(states) < 8
    assert db.conn.execute("SELECT e.* FROM immutable.events e WHERE tenant_id = 'acme' ORDER BY lane, seq").fetchall() == expected
    check_whole(db.conn)
    assert one(db.conn, "SELECT count(*) FROM pg_class WHERE relname ~ '^events_[0-9]+$'") == len(states)


def test_a_long_log_has_never_many_segments(db):
    """Whoever reads opens all of them: some are merged before more are made."""
    db.conn.execute("SET immutable.hot_events = 0; SET immutable.seal_events = 2")
    add(db.conn, 90)
    did = one(db.conn, "CALL immutable.seal()")
    # Merged ones have numbers of their own in between, and most of what was merged is dropped by now.
    assert one(db.conn, "SELECT max(segment) FROM immutable.segments WHERE replaces = '{}'") > did["segments"] > 38
    assert did["merged"] >= did["dropped"] > 0
    check_whole(db.conn)


@pytest.mark.parametrize("state", ["prepared", "emptied"])
def test_tables_with_rows_are_never_dropped(db, state):
    add(db.conn, 10)
    seal(db)
    with behind_triggers(db.conn):
        db.conn.execute(f"UPDATE immutable.segments SET state = '{state}', emptied_by = '3'")
    refused(db.conn, "XX001", "CALL immutable.seal(now())")
    assert places(db.conn) == {"events": 1, "events_1": 9}
    with behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.segments SET state = 'sealed', emptied_by = NULL")
    check_whole(db.conn)


def test_further_indexes_come_whatever_the_session_says(db):
    db.conn.execute("CREATE INDEX mine ON immutable.events (user_agent); SET quote_all_identifiers = on")
    add(db.conn, 10)
    seal(db)
    assert one(db.conn, "SELECT count(*) FROM pg_indexes WHERE indexname = 'events_1_mine'") == 1


def test_nobody_else_reads_or_changes_a_segment(db):
    add(db.conn, 10, targets=TARGETS)
    seal(db)
    for table, column in (("events_1", "actor_id"), ("event_targets_1", "target_id")):
        for statement in (f"DELETE FROM immutable.{table}", f"TRUNCATE immutable.{table}", f"DROP TABLE immutable.{table}",
                          f"UPDATE immutable.{table} SET {column} = 'x'",
                          f"INSERT INTO immutable.{table} SELECT * FROM immutable.{table}",
                          f"ALTER TABLE immutable.{table} DISABLE TRIGGER ALL"):
            with pytest.raises(psycopg.Error) as raised:
                db.conn.execute(statement)
            assert raised.value.sqlstate in ("42501", "2BP01", "0A000"), (statement, raised.value)
    for role in ("immutable_auditor", "immutable_viewer", "immutable_writer"):
        name = db.create_role()
        db.conn.execute(f"GRANT {role} TO {name}")
        refused(db.connect(name), "42501", "SELECT FROM immutable.events_1")
    assert db.conn.execute("SELECT relname FROM pg_class WHERE relname ~ 's_1$' AND relkind = 'r' AND NOT relrowsecurity").fetchall() == []
    check_whole(db.conn)


def test_whose_right_it_is(db):
    add(db.conn, 10)
    maintainer, auditor = db.create_role(), db.create_role()
    db.conn.execute(f"GRANT immutable_maintainer TO {maintainer}; GRANT immutable_auditor TO {auditor}")
    refused(db.connect(auditor), "42501", "CALL immutable.seal()")
    conn = db.connect(maintainer)
    assert one(conn, "CALL immutable.seal('infinity')")["events"] == 9
    assert {owner for owner, in db.conn.execute(
        "SELECT relowner::regrole::text FROM pg_class WHERE relname ~ 's_1$' AND relkind = 'r'")} == {"postgres"}
    refused(conn, "42501", "SELECT FROM immutable.segments")
    conn.execute("BEGIN")
    refused(conn, "25001", "CALL immutable.seal()")
    conn.execute("ROLLBACK; SET default_transaction_isolation = 'repeatable read'")
    refused(conn, "25001", "CALL immutable.seal()")
    conn.execute("RESET default_transaction_isolation; SET default_transaction_read_only = on")
    refused(conn, "25006", "CALL immutable.seal()")


@pytest.mark.parametrize("make, end, word", [
    ("CREATE TRIGGER t AFTER DELETE ON immutable.events FOR EACH STATEMENT EXECUTE FUNCTION suppress_redundant_updates_trigger()",
     "DROP TRIGGER t ON immutable.events", "trigger"),
    ("CREATE PUBLICATION p FOR TABLE immutable.events", "ALTER PUBLICATION p SET (publish = 'insert, update')", "publication"),
    ("CREATE PUBLICATION p FOR ALL TABLES", "DROP PUBLICATION p", "publication"),
    ("CREATE PUBLICATION p FOR TABLES IN SCHEMA immutable", "DROP PUBLICATION p", "publication"),
    ("CREATE TABLE mine (id uuid, tenant_id text, FOREIGN KEY (id, tenant_id) REFERENCES immutable.events (id, tenant_id))",
     "DROP TABLE mine", "foreign key"),
])
def test_what_stands_in_the_way(db, make, end, word):
    add(db.conn, 10)
    db.conn.execute(make)
    diag = refused(db.conn, "55000", "CALL immutable.seal('infinity')")
    assert word in diag.message_primary and diag.message_hint
    db.conn.execute(end)
    assert seal(db)["events"] == 9


def test_replica_role_is_refused(db):
    add(db.conn, 10)
    db.conn.execute("SET session_replication_role = replica")
    refused(db.conn, "55000", "CALL immutable.seal('infinity')")


def test_it_waits_for_old_transactions_and_for_no_others(db):
    """An old reader keeps events where they are; the message names it; the next call goes on."""
    add(db.conn, 10)
    reader = db.connect(autocommit=False, application_name="a report")
    assert one(reader, "SELECT count(*) FROM immutable.events") == 10
    db.conn.execute("SET lock_timeout = '200ms'")
    diag = refused(db.conn, "55P03", "CALL immutable.seal('infinity')")
    for word in (str(reader.info.backend_pid), "postgres", "a report"):
        assert word in diag.message_detail
    assert places(db.conn) == {"events": 10}
    assert db.conn.execute(STATES).fetchall() == [(1, "prepared", 0, [])]
    db.conn.execute("SET immutable.hot_events = 0; SET immutable.seal_events = 1")
    assert "waits" in one(db.conn, RUN)["segments"]
    # Who comes later knows the segment.
    add(reader, 1)
    done = []
    db.conn.execute("SET lock_timeout = '10s'")
    sealing = threading.Thread(target=lambda: done.append(one(db.conn, "CALL immutable.seal('infinity')")))
    sealing.start()
    while not one(reader, "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'immutable.segments'::regclass"):
        time.sleep(0.01)
    time.sleep(0.5)  # until it has looked who is there
    later = db.connect(autocommit=False)
    assert one(later, "SELECT count(*) FROM immutable.events") == 10
    reader.commit()
    while "events_1" not in places(later):
        assert sealing.is_alive()
        time.sleep(0.01)
    assert one(later, "SELECT count(*) FROM immutable.events") == 11
    # For the next segment, of what the reader has recorded, it is old.
    later.rollback()
    sealing.join(30)
    assert not sealing.is_alive() and done[0]["events"] == 10
    check_whole(db.conn)


def test_an_error_leaves_everything_where_it_was(db):
    """A segment that cannot be filled leaves everything where it was, and the next call begins anew."""
    add(db.conn, 10)
    db.conn.execute("CREATE TABLE public.events_1_pkey ()")
    db.conn.execute("ALTER TABLE public.events_1_pkey SET SCHEMA immutable")
    refused(db.conn, "42P07", "CALL immutable.seal('infinity')")
    assert places(db.conn) == {"events": 10}
    db.conn.execute("DROP TABLE immutable.events_1_pkey")
    assert seal(db)["events"] == 9
    check_whole(db.conn)


def test_status(db):
    add(db.conn, 10)
    seal(db)
    assert one(db.conn, "SELECT segments FROM immutable.status()") == 1
    assert [problem for problem in one(db.conn, "SELECT problems FROM immutable.status()") if "fsync" not in problem] == []
    db.conn.execute("SET immutable.allow_ddl = on")
    db.conn.execute("ALTER TABLE immutable.events_1 DISABLE ROW LEVEL SECURITY")
    db.conn.execute("ALTER TABLE immutable.events_1 DISABLE TRIGGER \"~immutable_delete\"")
    db.conn.execute("RESET immutable.allow_ddl")
    problems = [problem for problem in one(db.conn, "SELECT problems FROM immutable.status()") if "events_1" in problem]
    assert len(problems) == 2


def test_what_is_erased_while_it_is_copied_stays_erased(db):
    """And a writer goes on meanwhile: its events stay, and so does what was a tail when the chunk was copied."""
    add(db.conn, 10, targets=TARGETS)
    sealing = Sealing(db.connect, lambda: prepare_alone(db.connect))
    ids = [id_ for id_, in db.conn.execute("SELECT id FROM immutable.events ORDER BY seq")]
    for id_ in (ids[2], ids[9]):  # one that moves, and one that stays
        db.conn.execute("SELECT immutable.erase(%s, 'acme', ARRAY['actor_id', 'targets.0'], 'test')", (id_,))
    add(db.conn, 2)
    did = sealing.go_on()
    assert places(db.conn, f"id = '{ids[2]}'") == {"events_1": 1}
    for id_ in (ids[2], ids[9]):
        actor, targets = db.conn.execute("SELECT actor_id, jsonb_array_length(targets) FROM immutable.events WHERE id = %s", (id_,)).fetchone()
        assert actor is None and one(db.conn, "SELECT count(*) FROM immutable.event_targets WHERE event_id = %s", id_) == targets
    assert did["events"] >= 9
    check_whole(db.conn)


def test_erase_waits_only_for_the_deletion(db):
    """While it copies, nothing that an application or an officer does waits for it."""
    add(db.conn, 10, targets=TARGETS)
    sealing = Sealing(db.connect, lambda: prepare_alone(db.connect))
    db.conn.execute("SET lock_timeout = '5s'")
    add(db.conn, 5)
    one(db.conn, "SELECT count(*) FROM immutable.event_targets")
    db.conn.execute("SELECT * FROM immutable.erase_subject('acme', 'ann', 'test')")
    assert sealing.is_alive()
    sealing.go_on()
    assert one(db.conn, "SELECT count(*) FROM immutable.events WHERE actor_id = 'ann'") == 0
    check_whole(db.conn)


def test_who_came_later_is_never_waited_for(db):
    """A call that has waited in vain notes for whom; the next one waits for those alone, however readers overlap."""
    add(db.conn, 10)
    old = db.connect(autocommit=False)
    one(old, "SELECT count(*) FROM immutable.events")
    db.conn.execute("SET lock_timeout = '100ms'")
    refused(db.conn, "55P03", "CALL immutable.seal('infinity')")
    later = db.connect(autocommit=False)
    one(later, "SELECT count(*) FROM immutable.events")
    old.rollback()
    assert one(db.conn, "CALL immutable.seal('infinity')")["events"] == 9
    assert places(later) == {"events": 1, "events_1": 9}


def test_a_thinned_segment_is_written_anew(db):
    """Without what was pruned from it; and no number is given twice."""
    add(db.conn, 9)
    add(db.conn, 4, "other", TARGETS)
    seal(db)
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.events_1 WHERE tenant_id = 'acme' AND seq <= 4")
        db.conn.execute("UPDATE immutable.segments SET events = events - 4")
    assert seal(db)["merged"] == 1
    assert places(db.conn) == {"events": 2, "events_2": 7}
    assert db.conn.execute(STATES).fetchall()[-1] == (2, "sealed", 7, [1])
    seal(db)
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.events_2; DELETE FROM immutable.event_targets_2; SET immutable.allow_ddl = on; "
                        "DELETE FROM immutable.segments")
        db.conn.execute("ALTER EXTENSION immutable DROP TABLE immutable.event_targets_2; DROP TABLE immutable.event_targets_2; "
                        "ALTER EXTENSION immutable DROP TABLE immutable.events_2; DROP TABLE immutable.events_2")
        db.conn.execute("RESET immutable.allow_ddl")
    add(db.conn, 3)
    seal(db)
    assert one(db.conn, "SELECT min(segment) FROM immutable.segments") == 3


def test_a_gap_gets_a_segment(db):
    """Where a segment was removed, events of its time that can move get one of their own, which overlaps with no other."""
    add(db.conn, 1, "sleeper")
    add(db.conn, 5)
    seal(db)
    add(db.conn, 5)
    seal(db)
    with h.behind_triggers(db.conn):
        db.conn.execute("SET immutable.allow_ddl = on; DELETE FROM immutable.events_1; DELETE FROM immutable.segments WHERE segment = 1")
        for table in ("event_targets_1", "events_1"):
            db.conn.execute(f"ALTER EXTENSION immutable DROP TABLE immutable.{table}; DROP TABLE immutable.{table}")
        db.conn.execute("RESET immutable.allow_ddl")
    add(db.conn, 1, "sleeper")
    seal(db)
    assert places(db.conn, "tenant_id = 'sleeper'")["events"] == 1
    assert one(db.conn, "SELECT count(*) FROM immutable.events WHERE tenant_id = 'sleeper'") == 2
    assert not one(db.conn, "SELECT bool_or(created_from < before) FROM (SELECT created_from, lag(created_to) OVER "
                   "(ORDER BY created_from) AS before FROM immutable.segments WHERE state = 'sealed') s")


def test_an_event_that_cannot_be_copied_stays(db):
    """It stays where it is, the others move, and both are said. A constraint stands for damaged bytes here."""
    add(db.conn, 6, targets=TARGETS)
    db.conn.execute("SET immutable.allow_ddl = on; ALTER TABLE immutable.events ADD CONSTRAINT bad CHECK (seq <> 3) NOT VALID")
    for events, unreadable in ((4, 1), (0, None)):
        did = one(db.conn, "CALL immutable.seal('infinity')")
        assert (did["events"], did.get("unreadable")) == (events, unreadable)
    assert places(db.conn, "tenant_id = 'acme'") == {"events": 2, "events_1": 4}
    assert any("cannot be read" in problem for problem in one(db.conn, "SELECT problems FROM immutable.status()"))
    check_whole(db.conn)
