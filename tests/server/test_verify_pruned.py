"""Events that retention has removed are no break if a record in the tenant's chain says so, and nothing else is excused."""


import pytest

import helpers_log as h
import helpers_verify as v
from helpers_log import (Break, Log, build_log, check_breaks, delete, forge, hash_mismatch, head_gone, heads, hole,
                         insert_row, python_format, stray_target, update)

END = ("acme", 0, 3)
NEXT = ("acme", 0, 4)
WRONG = "77" * 32


@pytest.fixture
def log(db):
    return build_log(db)


@pytest.fixture
def in_segments(db, log):
    """The same log with three of acme's events in a segment."""
    v.segment_log(db, NEXT)
    return log


def none_follows(tenant_id, lane, seq, hash_):
    return Break("missing_event", tenant_id, lane, seq + 1, None, hash_)


def record_row(conn):
    return next(row for row in Log(conn).rows if row["action"] == "immutable.pruned")


def check_export(db, *expected, pruned=0, saved=()):
    """The export has these breaks, by the other implementation."""
    export = python_format.Export(saved)
    for line, in db.conn.execute("SELECT * FROM immutable.export_events()"):
        export.line(line.encode())
    summary = export.finish()
    found = [Break(*(b[name] for name in ("type", "tenant_id", "lane", "seq", "event_id", "expected", "actual")))
             for b in summary["breaks"]]
    assert sorted(found, key=h._order) == sorted(expected, key=h._order)
    assert summary.get("events_pruned", 0) == pruned


@pytest.mark.parametrize("segments", [False, True])
def test_pruned_events_are_no_break(db, log, segments):
    if segments:
        v.segment_log(db, NEXT)
    v.prune(db, "acme", (0, 3), (1, 2))
    check_breaks(db.conn)
    check_breaks(db.conn, tenant_id="acme")
    check_breaks(db.conn, from_date=log[NEXT]["created_at"])
    check_breaks(db.conn, max_events=6)
    result = h.verify_chain(db.conn)
    assert (result["pruned"], result["events_checked"], result["events_total"], result["chains_checked"],
            result["complete"]) == (5, 12, 12, 4, True)
    assert h.verify_chain(db.conn, tenant_id="globex")["pruned"] == 0
    part = h.verify_chain(db.conn, tenant_id="acme", max_events=3)
    assert (part["pruned"], part["events_checked"], part["events_total"]) == (5, 3, 6)
    assert h.verify(db.conn)["pruned"] == 5
    check_export(db, pruned=5)


def test_events_that_are_still_there(db, in_segments):
    """Between the record and the end of the removal, and in a copy that removes nothing."""
    log = v.prune(db, "acme", (0, 3), (1, 2), keep=[("acme", 0, seq) for seq in (1, 2, 3)] + [("acme", 1, 2)])
    check_breaks(db.conn)
    assert h.verify_chain(db.conn)["pruned"] == 1
    delete(db.conn, ("acme", 0, 2))
    check_breaks(db.conn)
    result = h.verify_chain(db.conn)
    assert (result["pruned"], result["events_checked"], result["events_total"]) == (2, 15, 15)
    assert h.verify_chain(db.conn, tenant_id="acme", max_events=3)["events_total"] == 9
    delete(db.conn, ("acme", 0, 3))
    check_breaks(db.conn)
    assert h.verify_chain(db.conn)["pruned"] == 3
    now = update(db.conn, ("acme", 0, 1), actor_name="somebody")
    check_breaks(db.conn, hash_mismatch(now))
    assert log[END]


def test_greatest_record_counts(db, log):
    v.prune(db, "acme", (0, 2))
    v.record_pruning(db, "acme", (0, 3, log.hash(*END)))
    check_breaks(db.conn)
    assert h.verify_chain(db.conn)["pruned"] == 2
    delete(db.conn, END)
    check_breaks(db.conn)
    assert h.verify_chain(db.conn)["pruned"] == 3


@pytest.mark.parametrize("record", ["none", "shorter", "another lane", "another tenant"])
def test_gap_that_no_record_explains(db, log, record):
    others = []
    if record == "shorter":
        v.record_pruning(db, "acme", (0, 2, log.hash("acme", 0, 2)))
    if record == "another lane":
        v.record_pruning(db, "acme", (1, 2, log.hash("acme", 1, 2)))
    if record == "another tenant":
        v.record_pruning(db, "globex", (0, 3, log.hash(*END)))
        # globex's own events up to there are still there, so nothing is wrong with it
    delete(db.conn, *(("acme", 0, seq) for seq in (1, 2, 3)))
    first = 3 if record == "shorter" else 1
    check_breaks(db.conn, hole(log[NEXT], first), *others)
    check_export(db, hole(log[NEXT], first), pruned=2 if first == 3 else 0)


def test_hole_behind_the_pruned_events(db, log):
    v.prune(db, "acme", (0, 3))
    delete(db.conn, ("acme", 0, 5))
    check_breaks(db.conn, hole(log["acme", 0, 6], 5))


def test_more_is_gone_than_the_record_says(db, log):
    v.prune(db, "acme", (0, 3))
    delete(db.conn, NEXT)
    check_breaks(db.conn, hole(log["acme", 0, 5], 4))


def test_record_with_a_hash_that_is_not_the_next_events(db, log):
    v.record_pruning(db, "acme", (0, 3, WRONG))
    delete(db.conn, *(("acme", 0, seq) for seq in (1, 2, 3)))
    found = Break("chain_break", *h.at(log[NEXT]), WRONG, log.hash(*END))
    check_breaks(db.conn, found)
    check_export(db, found, pruned=3)


def test_edit_behind_a_pruning(db, log):
    """The first event that is left is rewritten with a hash that fits: the next one shows it."""
    v.prune(db, "acme", (0, 3))
    forged = forge(log[NEXT], actor_id="somebody-else", salt="\\x" + "00" * 16)
    delete(db.conn, NEXT)
    insert_row(db.conn, forged)
    check_breaks(db.conn, h.chain_break(log["acme", 0, 5], h.plain(forged["event_hash"])))


def test_altered_record_is_none(db, log):
    v.prune(db, "acme", (0, 2))
    delete(db.conn, END)
    row = record_row(db.conn)
    target = {**row["targets"][0], "metadata": {"seq": 3, "event_hash": log.hash(*END)}}
    now = update(db.conn, h.at(row)[:3], targets=[target])
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.event_targets SET target_metadata = %s WHERE event_id = %s",
                        [h.Jsonb(target["metadata"]), row["id"]])
    check_breaks(db.conn, hole(log[NEXT], 1), hash_mismatch(now))


def test_record_in_a_child_table_is_none(db, log):
    v.prune(db, "acme", (0, 3))
    row = record_row(db.conn)
    db.unguard()
    db.conn.execute("CREATE TABLE public.smuggled () INHERITS (immutable.events)")
    with h.behind_triggers(db.conn):
        db.conn.execute("WITH m AS (DELETE FROM ONLY immutable.events WHERE id = %s RETURNING *) "
                        "INSERT INTO public.smuggled SELECT * FROM m", [row["id"]])
    check_breaks(db.conn, hole(log[NEXT], 1), h.chain_break(row, log.hash("acme", 0, 6)))


def test_last_event_of_a_lane_is_never_pruned(db, log):
    """Whoever removes a lane and writes a record of it is found out."""
    v.prune(db, "acme", (1, 4))
    expected = none_follows("acme", 1, 4, log.hash("acme", 1, 4))
    check_breaks(db.conn, expected)
    check_breaks(db.conn, expected, tenant_id="acme")
    check_export(db, expected)


def test_targets_that_a_pruning_has_left(db, log):
    v.record_pruning(db, "acme", (0, 3, log.hash(*END)))
    delete(db.conn, *(("acme", 0, seq) for seq in (1, 2, 3)), with_targets=False)
    check_breaks(db.conn, *[Break("target_mismatch", "acme", None, None, log["acme", 0, seq]["id"])
                            for seq in (1, 1, 3, 3)])


def test_heads_of_pruned_events(db, log):
    def head(seq, hash_=None):
        return {"tenant_id": "acme", "lane": 0, "seq": seq, "event_hash": hash_ or log.hash("acme", 0, seq)}

    v.prune(db, "acme", (0, 3))
    check_breaks(db.conn, heads=[head(3), head(5)])
    assert h.verify_chain(db.conn, heads=[head(3), head(5)])["heads_checked"] == 2
    check_breaks(db.conn, Break("missing_event", "acme", 0, 3, None, WRONG), heads=[head(3, WRONG)])
    check_export(db, pruned=3, saved=[head(1), head(3)])
    # Without a tree nothing says which event it was.
    result = h.verify_chain(db.conn, heads=[head(1, WRONG), head(5)])
    assert (result["valid"], result["heads_checked"], result["anchored"]) == (True, 1, True)
    result = h.verify_chain(db.conn, heads=[head(1)])
    assert (result["valid"], result["heads_checked"], result["anchored"]) == (True, 0, False)
    since = h.verify_chain(db.conn, since=[head(2)], tenant_id="acme")
    assert (since["valid"], since["events_checked"], since["pruned"], since["events_total"]) == (True, 8, 3, 8)
    check_breaks(db.conn, since=[head(3), head(6)])


def test_pruned_events_and_the_tree(db, log):
    db.conn.execute("CALL immutable.checkpoint()")
    note, = db.conn.execute("SELECT note FROM immutable.tree_notes ORDER BY size DESC LIMIT 1").fetchone()
    saved = heads(db.conn)
    v.prune(db, "acme", (0, 3), (1, 2), keep=[("acme", 1, 1)])
    check_breaks(db.conn)
    check_breaks(db.conn, checkpoint=note)
    result = h.verify_chain(db.conn, checkpoint=note)
    assert (result["anchored"], result["pruned"]) == (True, 4) and result["checkpoint_size"] >= 16
    # The tree says which event was in the place of a head.
    old = {"tenant_id": "acme", "lane": 0, "seq": 1, "event_hash": log.hash("acme", 0, 1)}
    assert h.verify_chain(db.conn, heads=[*saved, old])["heads_checked"] == 5
    check_breaks(db.conn, Break("missing_event", "acme", 0, 1, None, WRONG), heads=[{**old, "event_hash": WRONG}])
    db.conn.execute("CALL immutable.checkpoint()")
    check_breaks(db.conn)
    # An event that was pruned and comes back as another one is not that of the tree.
    forged = forge(log["acme", 0, 2], actor_id="somebody-else", targets=[])
    insert_row(db.conn, forged)
    found = h.verify_breaks(db.conn)
    assert [(b.type, b.seq) for b in found if b.lane == 0] == [("checkpoint_mismatch", 2)], found


def test_record_that_the_tree_contradicts(db, log):
    db.conn.execute("CALL immutable.checkpoint()")
    v.record_pruning(db, "acme", (0, 3, WRONG))
    delete(db.conn, *(("acme", 0, seq) for seq in (1, 2, 3)))
    found = h.verify_breaks(db.conn)
    assert {(b.type, b.seq) for b in found} == {("chain_break", 4), ("checkpoint_mismatch", 3)}


def test_tree_that_was_begun_after_a_pruning(db, log):
    v.prune(db, "acme", (0, 3))
    db.conn.execute("CALL immutable.checkpoint()")
    check_breaks(db.conn)
