"""Tampering with events in segments is found as it is in the hot table, and the segments themselves are looked after."""

import psycopg
import pytest

import helpers_log as h
import helpers_verify as v
from helpers_log import (Break, Log, build_log, chain_break, check_breaks, delete, forge, heads, hole, insert_row,
                         target_mismatch)
# The tests of hot rows, on a log whose rows are in segments: `log` below is what they tamper with.
from test_verify_tamper import (  # noqa: F401
    AFTER, BEFORE, PLACE, test_child_table_takes_a_row_out_of_the_middle, test_child_table_with_a_copy,
    test_child_table_with_targets_and_without_a_hash_that_fits, test_column_created_at, test_column_event_hash,
    test_column_id, test_column_previous_event_hash, test_column_seq, test_column_targets, test_column_tenant_id,
    test_contents_of_two_rows_swapped, test_deleted_at_the_start, test_deleted_in_the_middle,
    test_erasure_without_a_record, test_event_targets_added, test_event_targets_removed, test_event_targets_swapped,
    test_forged_with_a_valid_hash, test_positions_of_two_rows_swapped,
    test_range_begins_after_a_deleted_row, test_range_begins_after_a_forged_row, test_several_holes,
    test_untouched_log_against_its_heads, test_whole_tenant_removed)


@pytest.fixture
def log(db):
    """acme's lane 0 has three events in segment 1, two in segment 2, and the last one in the hot table."""
    log = build_log(db)
    v.segment_log(db, AFTER, ("globex", 0, 4))
    counts = db.conn.execute("SELECT tableoid::regclass::text, count(*) FROM immutable.events WHERE tenant_id = 'acme' "
                             "AND lane = 0 GROUP BY 1 ORDER BY 1").fetchall()
    assert counts == [("immutable.events", 1), ("immutable.events_1", 3), ("immutable.events_2", 2)]
    check_breaks(db.conn)
    return log


def details(conn, **scope):
    call = ", ".join(f"{name} => %s" for name in scope)
    return [detail for detail, in conn.execute(
        f"SELECT detail FROM immutable.verify_breaks({call}) WHERE tenant_id IS NULL", list(scope.values()))]


def nowhere(type_):
    return Break(type_, None, None, None, None)


def test_counts_and_heads_are_those_of_one_table(db, log):
    result = h.verify_chain(db.conn)
    assert (result["events_checked"], result["chains_checked"], result["events_total"], result["pruned"]) == (16, 4, 16, 0)
    assert h.verify_chain(db.conn, max_events=5)["events_total"] == 16
    saved = heads(db.conn)
    assert h.verify_chain(db.conn, heads=saved)["heads_checked"] == 4
    old = [{"tenant_id": "acme", "lane": 0, "seq": 2, "event_hash": log.hash(*BEFORE)}]
    since = h.verify_chain(db.conn, since=old)
    assert (since["valid"], since["heads_checked"], since["events_checked"]) == (True, 1, 15)
    check_breaks(db.conn, from_date=log[AFTER]["created_at"])


@pytest.mark.parametrize("source, target", [("events", "events_1"), ("events_1", "events_2"), ("events_2", "events")])
def test_row_that_is_there_twice(db, log, source, target):
    """In two tables, so that no key keeps the second one out."""
    row = next(row for row in Log(db.conn, f"ONLY immutable.{source}").rows if row["tenant_id"] == "acme")
    db.unguard()
    for constraint, in db.conn.execute("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c' "
                                       "AND conislocal AND conname LIKE '%%created_at%%'", [f"immutable.{target}"]).fetchall():
        db.conn.execute(f"ALTER TABLE immutable.{target} DROP CONSTRAINT {constraint}")
    insert_row(db.conn, row, f"immutable.{target}")
    found = h.verify_breaks(db.conn)
    assert [place for place in found if place.seq is not None and place.type == "chain_break"
            ] and {place.seq for place in found if place.seq is not None} == {int(row["seq"])}


def test_rows_swapped_between_segments(db, log):
    """Nothing is missing, but a reader who asks for a time would miss them."""
    db.unguard()
    for number in (1, 2):
        db.conn.execute(f"ALTER TABLE immutable.events_{number} DROP CONSTRAINT events_{number}_created_at_check")
    one, other = PLACE, ("acme", 0, 5)
    with h.behind_triggers(db.conn):
        for place, source, target in ((one, 1, 2), (other, 2, 1)):
            db.conn.execute(f"WITH m AS (DELETE FROM immutable.events_{source} WHERE (tenant_id, lane, seq) = (%s, %s, %s) "
                            f"RETURNING *) INSERT INTO immutable.events_{target} SELECT * FROM m", place)
    check_breaks(db.conn, nowhere("chain_break"), nowhere("chain_break"))
    assert details(db.conn) == [f"segment {number} has events that are not of its time" for number in (1, 2)]


def test_segment_that_was_detached(db, log):
    db.unguard()
    db.conn.execute("ALTER TABLE immutable.events_2 NO INHERIT immutable.events")
    left = Log(db.conn)
    found = h.verify_breaks(db.conn)
    assert nowhere("chain_break") in found and hole(left["acme", 0, 6], 4) in found
    assert details(db.conn) == ["the table immutable.events_2 of segment 2 is not below immutable.events"]


def test_segment_below_the_wrong_table(db, log):
    db.unguard()
    db.conn.execute("CREATE TABLE public.other () INHERITS (immutable.events)")
    db.conn.execute("ALTER TABLE immutable.events_1 NO INHERIT immutable.events")
    db.conn.execute("ALTER TABLE immutable.events_1 INHERIT public.other")
    assert details(db.conn) == ["the table immutable.events_1 of segment 1 is not below immutable.events"]


def test_segment_that_was_dropped_by_force(db, log):
    db.unguard()
    db.conn.execute("DROP TABLE immutable.events_1 CASCADE")
    found = h.verify_breaks(db.conn)
    assert nowhere("missing_event") in found and hole(log[AFTER], 1) in found
    assert details(db.conn) == ["the table immutable.events_1 of segment 1 is missing"]
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.segments WHERE segment = 1")
    assert hole(log[AFTER], 1) in h.verify_breaks(db.conn) and details(db.conn) == []


def test_table_that_no_segment_has(db, log):
    """A child table that looks like a segment is none."""
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.segments WHERE segment = 1")
    found = h.verify_breaks(db.conn)
    moved = [row for row in log.rows if db.conn.execute("SELECT EXISTS (SELECT FROM immutable.events_1 WHERE id = %s)",
                                                        [row["id"]]).fetchone()[0]]
    assert len(moved) > 3
    assert {(b.tenant_id, b.lane, b.seq) for b in found if b.event_id in {row["id"] for row in moved}
            } >= {h.at(row)[:3] for row in moved}


def test_table_below_a_segment(db, log):
    db.unguard()
    db.conn.execute("CREATE TABLE public.smuggled () INHERITS (immutable.events_2)")
    last = log["acme", 0, 6]
    forged = forge({**last, "idempotency_key": None}, id="22222222-2222-4222-8222-222222222222", seq=h.python_format.Number("7"),
                   created_at=log["acme", 0, 5]["created_at"], previous_event_hash=last["event_hash"])
    insert_row(db.conn, forged, "public.smuggled")
    assert chain_break(forged, log.hash("acme", 0, 6)) in h.verify_breaks(db.conn)


def test_targets_of_a_segment_in_a_child_table(db, log):
    db.unguard()
    db.conn.execute("CREATE TABLE public.smuggled () INHERITS (immutable.event_targets)")
    with h.behind_triggers(db.conn):
        db.conn.execute("WITH m AS (DELETE FROM immutable.event_targets_1 WHERE event_id = %s RETURNING *) "
                        "INSERT INTO public.smuggled SELECT * FROM m", [log[PLACE]["id"]])
    check_breaks(db.conn, target_mismatch(log[PLACE]), target_mismatch(log[PLACE]))


def test_snapshot_from_before_a_segment_was_removed(db, log):
    """The events that it would have to see are gone with their table: that is no break."""
    with db.connect(autocommit=False) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1 FROM pg_class LIMIT 1")
        v.prune(db, "acme", (0, 3), (1, 2))
        db.conn.execute("BEGIN")
        with h.behind_triggers(db.conn):
            db.conn.execute("DELETE FROM immutable.segments WHERE segment = 1")
            db.conn.execute("CREATE TABLE public.kept AS SELECT * FROM immutable.events_1")
            db.conn.execute("DROP TABLE immutable.events_1, immutable.event_targets_1 CASCADE")
        db.conn.execute("COMMIT")
        with pytest.raises(psycopg.errors.SerializationFailure, match="removed events that the transaction's snapshot still sees"):
            reader.execute("SELECT * FROM immutable.verify_chain()")


def test_parallel_plan_reads_every_table(db, log):
    with h.in_parallel(db.conn):
        db.conn.execute("SET parallel_tuple_cost = 0.01")
        plan = "\n".join(line for line, in db.conn.execute(
            "EXPLAIN SELECT x.tenant_id, x.lane, immutable.verify_lane('', x.seen) FROM (SELECT e.tenant_id, e.lane, "
            f"immutable.verify_event('', false, {', '.join('e.' + name for name in h.COLUMNS)}) AS seen "
            "FROM immutable.events e OFFSET int8 '0') x GROUP BY 1, 2"))
    assert plan.count("Parallel Seq Scan") == 3 and "Parallel Append" in plan, plan
