"""How verification works: in parallel plans, in bounded memory, from marks on. What it finds is the subject of
test_verify_tamper.py, whose every case runs in a parallel plan as well."""

import pathlib
import re
import threading

import psycopg
import pytest

import helpers_log as h
from helpers_log import (Break, Log, TARGETS, add_event, build_log, chain_break, check_breaks, delete, forge,
                         hash_mismatch, head_gone, heads, hole, insert_row, target_mismatch, update)

PLACE = ("acme", 0, 3)
AFTER = ("acme", 0, 4)


@pytest.fixture
def log(db):
    return build_log(db)


def many_lanes(db, tenants=2000):
    """So many tenants, with three events each; not one after the other."""
    db.conn.execute("SET immutable.max_chains_per_transaction = 100000")
    for _ in range(3):
        db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) "
                        "SELECT 'tenant ' || n, 'a', 'b', '[{\"type\": \"t\"}]' FROM generate_series(1, %s) n",
                        [tenants])


def notices(conn):
    """The messages that the session gets from now on."""
    messages = []
    conn.add_notice_handler(lambda diagnostic: messages.append(diagnostic.message_primary))
    return messages


def plans(conn, call, arguments=()):
    """The plans of the queries that a call runs."""
    messages = notices(conn)
    for setting in ("log_min_duration = 0", "log_nested_statements = on", "log_analyze = on", "log_level = notice"):
        conn.execute(f"SET auto_explain.{setting}")
    conn.execute(call, arguments)
    conn.execute("SET auto_explain.log_min_duration = -1")
    return "\n".join(messages)


def test_parallel_workers_do_the_work(db):
    """All events and all rows of event_targets are read, and added up, by processes other than the session's; what
    they find is what one process finds."""
    many_lanes(db, 30)
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) "
                    "SELECT 'tenant ' || n % 30 + 1, 'a', 'b', '[{\"type\": \"t\"}]' FROM generate_series(1, 6000) n")
    log = Log(db.conn)
    check_breaks(db.conn)
    delete(db.conn, ("tenant 3", 0, 50))
    expected = [hash_mismatch(update(db.conn, ("tenant 5", 0, 60), action="nothing.happened")),
                chain_break(update(db.conn, ("tenant 5", 0, 80), previous_event_hash=bytes(32)),
                            log.hash("tenant 5", 0, 79)), hash_mismatch(Log(db.conn)["tenant 5", 0, 80]),
                hole(log["tenant 3", 0, 51], 50)]
    db.conn.execute("VACUUM ANALYZE immutable.events, immutable.event_targets")
    check_breaks(db.conn, *expected)
    db.conn.execute("LOAD 'auto_explain'")
    with h.in_parallel(db.conn):
        found = plans(db.conn, "SELECT * FROM immutable.verify_chain()")
    events, targets = (part for part in found.split("Query Text:") if "Workers Launched: 2" in part)
    for part in (events, targets):
        assert re.search(r"Partial \w*Aggregate.*Parallel Seq Scan", part, re.DOTALL), part
    assert "on events" in events and "on event_targets" in targets


def test_auditor_in_parallel(db, log):
    auditor = db.connect(db.create_role("IN ROLE immutable_auditor"))
    update(db.conn, PLACE, action="nothing.happened")
    with h.in_parallel(auditor):
        assert h.verify_breaks(auditor) == [hash_mismatch(Log(db.conn)[PLACE])]
        assert h.verify_chain(auditor)["events_checked"] == 16


@pytest.mark.parametrize("run", [None, b"", bytes(21), bytes(28), bytes(30), bytes(5000)])
def test_parts_called_by_hand(db, log, run):
    """They raise an error that says what they are; a made-up counter of a run does not lead to foreign memory."""
    columns = ", ".join(f"e.{name}" for name in h.COLUMNS)
    order, = db.conn.execute("SELECT string_agg('e.' || attname, ', ' ORDER BY attnum) FROM pg_attribute "
                             "WHERE attrelid = 'immutable.events'::regclass AND attnum > 0 "
                             "AND attname <> 'xact'").fetchone()
    assert set(columns.split(", ")) == set(order.split(", "))
    for call in (f"SELECT immutable.verify_event(%s, false, {order}) FROM immutable.events e",
                 "SELECT immutable.verify_lane(%s, sha256('')) FROM immutable.events",
                 "SELECT immutable.verify_targets(%s, false, tenant_id, event_id, position, target_type, target_id, "
                 "target_name, target_metadata, created_at) FROM immutable.event_targets"):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as raised:
            db.conn.execute(call, [run])
        assert "verify_chain()" in str(raised.value)
    by_hand = f"SELECT immutable.verify_event(%s, false, {order}) FROM immutable.events e"
    for number, (flags, deadline) in enumerate(((0, 0x7f), (2, 0x7f), (7, 0), (2, 0xff))):
        made_up = bytes([number]) * 16 + bytes([flags]) + b"\x01\x02\x03\x04" + bytes(7) + bytes([deadline])
        assert len(db.conn.execute(by_hand, [made_up]).fetchall()) == 16
    # A run with a tree counts nothing where its memory is not.
    made_up = bytes([9]) * 16 + b"\x04\x01\x02\x03\x04" + bytes(7) + b"\x7f"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="run is not"):
        db.conn.execute(by_hand, [made_up])


def test_more_lanes_than_fit_in_memory(db):
    """What does not fit into work_mem is spilled, and comes back the same."""
    many_lanes(db)
    now = update(db.conn, ("tenant 77", 0, 2), action="nothing.happened")
    delete(db.conn, ("tenant 1234", 0, 2))
    after = Log(db.conn)["tenant 1234", 0, 3]
    # no more than the planner would guess for a table it knows nothing of
    db.conn.execute("SET work_mem = '64kB'")
    db.conn.execute("SET hash_mem_multiplier = 1")
    db.conn.execute("SET enable_sort = off")
    check_breaks(db.conn, hash_mismatch(now), hole(after, 2))
    result = h.verify_chain(db.conn)
    assert (result["events_checked"], result["chains_checked"], result["tenants_checked"]) == (5999, 2000, 2000)
    db.conn.execute("LOAD 'auto_explain'")
    assert re.search(r"Batches: (?!1 )\d+", plans(db.conn, "SELECT * FROM immutable.verify_chain()"))


def test_every_lane_is_broken(db):
    many_lanes(db, 1500)
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.events SET action = 'x' WHERE seq = 2")
    found = h.verify_breaks(db.conn)
    assert len(found) == 1500
    assert {(one.type, one.seq) for one in found} == {("hash_mismatch", 2)}
    assert [one.tenant_id for one in found] == sorted(one.tenant_id for one in found)


def test_rows_without_a_lane_beside_broken_lanes(db, log):
    """A row whose lane is NULL belongs to no lane that could be added up: all rows are walked, and counted once."""
    db.unguard()
    db.conn.execute("ALTER TABLE immutable.events ALTER lane DROP NOT NULL")
    h.drop_checks(db.conn)
    now = update(db.conn, ("globex", 0, 2), action="nothing.happened")
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.events SET lane = NULL WHERE tenant_id = 'acme' AND lane = 0 AND seq = 3")
    result = h.verify_chain(db.conn)
    assert (result["events_checked"], result["chains_checked"], result["tenants_checked"]) == (16, 5, 3)
    with h.in_parallel(db.conn):
        assert h.verify_chain(db.conn) == result
    assert hash_mismatch(now) in result["breaks"]


# ---------------------------------------------------------------------------------------------------------------------
# Options

def test_targets_left_out(db, log):
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.event_targets SET target_id = 'x' WHERE position = 0")
    check_breaks(db.conn, *(target_mismatch(log["acme", 0, seq]) for seq in (1, 3, 5)))
    assert h.verify_breaks(db.conn, targets=False) == []
    assert h.verify_chain(db.conn, targets=False)["valid"]
    now = update(db.conn, PLACE, targets=[])
    assert h.verify_breaks(db.conn, targets=False) == [hash_mismatch(now)]


def test_max_breaks(db, log):
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.events SET action = 'x'")
    found = h.verify_breaks(db.conn)
    assert len(found) == 16
    for most in (0, 1, 5, 16, 17, 100_000):
        result = h.verify_chain(db.conn, max_breaks=most)
        assert (result["valid"], result["breaks_found"], result["breaks"]) == (False, 16, found[:most])
        assert h.verify_breaks(db.conn, max_breaks=most) == found[:most]
    assert h.verify_chain(db.conn, max_breaks=None)["breaks"] == found
    assert h.verify_breaks(db.conn, max_breaks=None) == found
    for call in ("verify_chain(max_breaks => -1)", "verify_chain(max_breaks => 100001)",
                 "verify_breaks(max_breaks => -1)"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="max_breaks"):
            db.conn.execute(f"SELECT * FROM immutable.{call}")


@pytest.mark.parametrize("parallel", [False, True])
def test_progress(db, log, parallel):
    messages = notices(db.conn)
    db.conn.execute("SELECT * FROM immutable.verify_chain()")
    assert messages == []
    for scope, events in (("", 16), ("tenant_id => 'acme', ", 10), ("max_events => 3, ", 3), ("since => '[]', ", 16)):
        messages.clear()
        call = f"SELECT * FROM immutable.verify_chain({scope}progress => true)"
        if parallel:
            with h.in_parallel(db.conn):
                db.conn.execute(call)
        else:
            db.conn.execute(call)
        # There is no other message, such as a warning about a leaked resource.
        last = messages.pop()
        assert re.fullmatch(rf"verified {events} events in [\d.]+ s, \d+ a second", last), last
        assert all(re.fullmatch(r"verified \d+ of about \d+ events, \d+ a second", one) for one in messages), messages


# ---------------------------------------------------------------------------------------------------------------------
# Cancelled runs, and logs full of breaks

def memory(conn):
    """Bytes of the backend's private memory."""
    status = pathlib.Path(f"/proc/{conn.info.backend_pid}/status").read_text()
    anonymous, = re.findall(r"RssAnon:\s+(\d+) kB", status)
    return int(anonymous) << 10


class Sampled(threading.Thread):
    """The most memory that a backend has of its own until the block ends, over what it had before."""

    def __init__(self, conn):
        super().__init__()
        self.conn, self.done, self.most, self.before = conn, threading.Event(), 0, memory(conn)

    def run(self):
        while not self.done.wait(0.005):
            self.most = max(self.most, memory(self.conn) - self.before)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


def test_breaks_that_are_not_listed_take_no_memory(db):
    """60,000 events, each of which is wrong in its hash and in its target. Kept, as many breaks would take another 30 MB
    and more; so many as are listed, and what sorts and joins have by work_mem, is all there may be: 9 MB."""
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) "
                    "SELECT 'tenant ' || n % 7, 'a', 'b', '[{\"type\": \"t\"}]' FROM generate_series(1, 60000) n")
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.events SET action = 'x'")
        db.conn.execute("UPDATE immutable.event_targets SET target_id = 'x'")
    for call, breaks in (("verify_chain(max_breaks => 10)", 120_000), ("verify_breaks(max_breaks => 10)", 10),
                         ("verify_chain(max_breaks => 10, targets => false)", 60_000),
                         ("verify_chain(max_breaks => 10, since => '[]', targets => false)", 60_000),
                         ("verify_chain(max_breaks => 10, max_events => 1000000)", 120_000)):
        conn = db.connect()
        conn.execute("SET max_parallel_workers_per_gather = 0")
        # To compile a query takes 30 MB by itself.
        conn.execute("SET jit = off")
        conn.execute("SELECT * FROM immutable.verify_chain(tenant_id => 'nobody')")
        with Sampled(conn) as sampled:
            cursor = conn.execute(f"SELECT * FROM immutable.{call}")
            rows = [dict(zip((column.name for column in cursor.description), row)) for row in cursor]
        assert sampled.most < 24 << 20, call
        if call.startswith("verify_breaks"):
            assert len(rows) == breaks
        else:
            assert (len(rows[0]["breaks"]), rows[0]["breaks_found"]) == (10, breaks), call
        conn.close()


LONG = {
    "whole": "immutable.verify_chain(max_breaks => n % 2)",
    "in order": "immutable.verify_chain(since => '[]', max_breaks => n % 2)",
    "so many": "immutable.verify_chain(max_events => 1000000 + n)",
    "breaks": "immutable.verify_breaks(max_breaks => n % 2)",
    "service": "immutable.verify(NULL, NULL, 1000000 + n)",
    "export": "(SELECT count(*) FROM (SELECT immutable.export_events(from_date => '2000-01-01'::timestamptz "
              "+ n * '1 s'::interval)) x)",
}


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("call", LONG)
@pytest.mark.parametrize("ended", ["cancelled", "timed out"])
def test_a_cancelled_run_ends_at_once(db, call, parallel, ended):
    """At once, at any point; nothing is left behind, and the session continues. If the run did not end, the test would not either."""
    many_lanes(db, 30)
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) "
                    "SELECT 'tenant ' || n % 30 + 1, 'a', 'b', '[{\"type\": \"t\"}]' FROM generate_series(1, 6000) n")
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.events SET action = 'x' WHERE seq = 2")
    conn = db.connect(db.create_role("IN ROLE immutable_auditor"))
    if parallel:
        for name, value in h.PARALLEL.items():
            conn.execute("SELECT set_config(%s, %s, false)", [name, value])
    # Again and again: it would take hours.
    statement = f"SELECT x FROM generate_series(1, 1000000) n, LATERAL (SELECT * FROM {LONG[call]}) x"
    if call in ("export", "service"):
        statement = f"SELECT count({LONG[call]}) FROM generate_series(1, 1000000) n"
    of_it = "FROM pg_stat_activity WHERE %s IN (pid, leader_pid) AND state = 'active'"
    pid = conn.info.backend_pid
    ended_by = []

    def run():
        if ended == "timed out":
            conn.execute("SET statement_timeout = '400ms'")
        with pytest.raises(psycopg.errors.QueryCanceled) as error:
            conn.execute(statement)
        ended_by.append(str(error.value))

    thread = threading.Thread(target=run)
    thread.start()
    has_workers = parallel and call in ("whole", "breaks")
    if ended == "cancelled":
        while db.conn.execute(f"SELECT count(*) {of_it}", [pid]).fetchone()[0] < (3 if has_workers else 1):
            assert thread.is_alive()
        assert db.conn.execute("SELECT pg_cancel_backend(%s)", [pid]).fetchone() == (True,)
    thread.join()
    expected = "user request" if ended == "cancelled" else "statement timeout"
    assert len(ended_by) == 1 and expected in ended_by[0]
    assert db.conn.execute("SELECT count(*) FROM pg_stat_activity WHERE leader_pid = %s AND pid <> leader_pid",
                           [pid]).fetchone() == (0,)
    conn.execute("RESET statement_timeout")
    result = h.verify_chain(conn)
    assert (result["events_checked"], result["breaks_found"]) == (6090, 30)


# ---------------------------------------------------------------------------------------------------------------------
# Marks

def grow(db):
    """The events of a day: in old lanes, and of a new tenant."""
    for number in range(3):
        add_event(db.conn, "acme", f"later{number}", targets=TARGETS)
    for number in range(2):
        add_event(db.conn, "initech", f"i{number}")


def test_only_what_is_new_is_verified(db, log):
    marks = heads(db.conn)
    result = h.verify_chain(db.conn, since=marks)
    # the marked events themselves, one a lane
    assert (result["valid"], result["events_checked"], result["chains_checked"]) == (True, 4, 4)
    assert not result["complete"]
    grow(db)
    result = h.verify_chain(db.conn, since=marks)
    assert (result["events_checked"], result["chains_checked"], result["tenants_checked"]) == (9, 5, 4)
    check_breaks(db.conn, since=marks)
    check_breaks(db.conn, since=marks, tenant_id="acme")
    assert h.verify_chain(db.conn, since=marks, tenant_id="acme")["events_checked"] == 5
    assert h.verify_chain(db.conn, since=[])["events_checked"] == 21
    check_breaks(db.conn, since=[])


def test_only_new_rows_are_read(db):
    """One step of the index for each lane, and the rows behind its mark."""
    many_lanes(db, 30)
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT 'tenant ' || n % 30 + 1, 'a', 'b' FROM generate_series(1, 6000) n")
    marks = heads(db.conn)
    add_event(db.conn, "tenant 7", "later")
    db.conn.execute("VACUUM ANALYZE immutable.events")
    db.conn.execute("LOAD 'auto_explain'")
    found = plans(db.conn, "SELECT * FROM immutable.verify_chain(since => %s)", [h.Jsonb(marks)])
    assert h.verify_chain(db.conn, since=marks)["events_checked"] == 31
    events = next(part for part in found.split("Query Text:") if "verify_lane" in part)
    condition = r"Index Cond: \(\(tenant_id = \w+\.tenant_id\) AND \(lane = \w+\.lane\) AND \(seq >= "
    assert re.search(condition, events), events
    assert "Seq Scan on events" not in events, events


def test_nothing_before_a_mark_is_read(db, log):
    marks = heads(db.conn)
    grow(db)
    now = update(db.conn, PLACE, action="nothing.happened")
    delete(db.conn, ("globex", 0, 2))
    check_breaks(db.conn, since=marks)
    check_breaks(db.conn, hash_mismatch(now), hole(log["globex", 0, 3], 2))


def test_everything_after_a_mark_is_verified(db, log):
    marks = heads(db.conn)
    grow(db)
    grown = Log(db.conn)
    now = update(db.conn, ("acme", 0, 8), action="nothing.happened")
    new = update(db.conn, ("initech", 0, 1), actor_id="somebody-else")
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.event_targets WHERE event_id = %s AND position = 1",
                        [grown["acme", 0, 9]["id"]])
    expected = [hash_mismatch(now), hash_mismatch(new), target_mismatch(grown["acme", 0, 9])]
    check_breaks(db.conn, *expected, since=marks)
    check_breaks(db.conn, *expected)


@pytest.mark.parametrize("seq", [7, 8])
def test_hole_after_a_mark(db, log, seq):
    marks = heads(db.conn)
    grow(db)
    grown = Log(db.conn)
    delete(db.conn, ("acme", 0, seq))
    check_breaks(db.conn, hole(grown["acme", 0, seq + 1], seq), since=marks)


def test_new_lane_without_its_beginning(db, log):
    marks = heads(db.conn)
    grow(db)
    grown = Log(db.conn)
    delete(db.conn, ("initech", 0, 1))
    check_breaks(db.conn, hole(grown["initech", 0, 2], 1), since=marks)


def test_marked_event_is_changed(db, log):
    """The mark is not trusted: the row is hashed again and compared with it."""
    marks = heads(db.conn)
    grow(db)
    now = update(db.conn, ("acme", 0, 6), action="nothing.happened")
    check_breaks(db.conn, hash_mismatch(now), since=marks)


def test_marked_event_is_forged(db, log):
    marks = heads(db.conn)
    grow(db)
    grown = Log(db.conn)
    forged = forge(log["acme", 0, 6], action="nothing.happened")
    digest = h.plain(forged["event_hash"])
    update(db.conn, ("acme", 0, 6), action="nothing.happened", event_hash=h.bytea(digest))
    check_breaks(db.conn, chain_break(grown["acme", 0, 7], digest), head_gone(log["acme", 0, 6], forged), since=marks)


def test_marked_event_is_gone(db, log):
    marks = heads(db.conn)
    grow(db)
    grown = Log(db.conn)
    delete(db.conn, ("acme", 0, 6))
    check_breaks(db.conn, hole(grown["acme", 0, 7], 6), head_gone(log["acme", 0, 6]), since=marks)


def test_lane_is_gone(db, log):
    marks = heads(db.conn)
    grow(db)
    delete(db.conn, *(("globex", 0, seq) for seq in range(1, 5)))
    check_breaks(db.conn, head_gone(log["globex", 0, 4]), since=marks)
    check_breaks(db.conn, since=marks, tenant_id="acme")


def test_lane_rewritten_after_a_mark(db, log):
    marks = [head for head in heads(db.conn) if head["tenant_id"] == "acme" and head["lane"] == 0]
    grow(db)
    grown = Log(db.conn)
    forged = forge(grown["acme", 0, 7], action="nothing.happened")
    update(db.conn, ("acme", 0, 7), action="nothing.happened", event_hash=h.bytea(h.plain(forged["event_hash"])))
    check_breaks(db.conn, chain_break(grown["acme", 0, 8], h.plain(forged["event_hash"])), since=marks)


def test_mark_at_the_first_event(db, log):
    marks = [{"tenant_id": "acme", "lane": 0, "seq": 1, "event_hash": log.hash("acme", 0, 1)}]
    check_breaks(db.conn, since=marks)
    assert h.verify_chain(db.conn, since=marks)["events_checked"] == 16
    delete(db.conn, ("acme", 0, 1))
    check_breaks(db.conn, hole(log["acme", 0, 2], 1), head_gone(log["acme", 0, 1]), since=marks)


def test_two_marks_of_a_lane(db, log):
    """The earlier one counts; both are checked."""
    marks = [{"tenant_id": "acme", "lane": 0, "seq": seq, "event_hash": log.hash("acme", 0, seq)} for seq in (5, 3)]
    assert h.verify_chain(db.conn, since=marks, tenant_id="acme")["events_checked"] == 4 + 4
    marks[0]["event_hash"] = "11" * 32
    check_breaks(db.conn, Break("missing_event", *h.at(log["acme", 0, 5]), "11" * 32, log.hash("acme", 0, 5)),
                 since=marks)


def test_child_table_after_a_mark(db, log):
    marks = heads(db.conn)
    db.unguard()
    db.conn.execute("CREATE TABLE public.smuggled () INHERITS (immutable.events)")
    last = log["acme", 0, 6]
    forged = forge({**last, "idempotency_key": None}, id="22222222-2222-4222-8222-222222222222",
                   seq=h.python_format.Number("7"), previous_event_hash=last["event_hash"])
    insert_row(db.conn, forged, "public.smuggled")
    check_breaks(db.conn, chain_break(forged, log.hash("acme", 0, 6)), since=marks)


@pytest.mark.parametrize("scope", ["from_date => now()", "to_date => now()", "max_events => 5"])
def test_marks_and_another_scope(db, log, scope):
    for function in ("verify_chain", "verify_breaks"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="since"):
            db.conn.execute(f"SELECT * FROM immutable.{function}({scope}, since => '[]')")


@pytest.mark.parametrize("marks", ["{}", "[1]", '[{"tenant_id": "acme", "lane": 0, "seq": 1}]'])
def test_invalid_marks(db, log, marks):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="since"):
        db.conn.execute("SELECT * FROM immutable.verify_chain(since => %s)", [marks])
