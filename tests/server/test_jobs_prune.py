"""prune(): what goes and what stays, what records it, what still verifies afterwards, and what a crash leaves."""

import datetime
import os
import random
import subprocess
import threading
import time

import psycopg
import pytest
from psycopg import errors

import helpers_alerts
import helpers_streams as streams
import helpers_tree as tree
from helpers_servers import Copy
from helpers_tree_model import W1
from test_write_replica import caught_up, wait_for_copy
from test_write_segments import pair, restore, target  # noqa: F401

PRUNE = "SELECT tenant_id, what, events, first_at, last_at, before FROM immutable.prune({}) ORDER BY 1, 2"
LAST = "SELECT DISTINCT ON (tenant_id, lane) tenant_id, lane, seq FROM immutable.events ORDER BY 1, 2, 3 DESC"


def one(conn, query, *values):
    return conn.execute(query, values).fetchone()[0]


def track(conn, tenant, count, **columns):
    extra = "".join(f", {name} => '{value}'" for name, value in columns.items())
    conn.execute(f"SELECT immutable.track('u' || n, 'test.done', tenant_id => %s{extra}) FROM generate_series(1, %s) n",
                 (tenant, count))


def keep_nothing(conn, *tenants):
    """A rule that lets everything go at once."""
    conn.execute("SET immutable.retention_wait = 0; SET client_min_messages = error")
    for tenant in tenants or (None,):
        conn.execute("SELECT immutable.set_retention('1 microsecond', %s)", (tenant,))


def seal(conn):
    conn.execute("CALL immutable.checkpoint()")
    conn.execute("CALL immutable.seal(now())")


def prune(conn, arguments="false"):
    """What became of the events: {(tenant, what): number}."""
    return {(row[0], row[1]): row[2] for row in conn.execute(PRUNE.format(arguments))}


def events(conn, tenant):
    return conn.execute("SELECT lane, seq FROM immutable.events WHERE tenant_id = %s ORDER BY 1, 2", (tenant,)).fetchall()


def verified(conn):
    return conn.execute("SELECT valid, pruned FROM immutable.verify_chain()").fetchone()


@pytest.fixture
def log(db):
    """A log of two tenants, sealed and covered."""
    for tenant in ("a", "b"):
        track(db.conn, tenant, 10)
    seal(db.conn)
    return db


def test_dry_run_shows_what_would_go(log):
    conn = log.conn
    keep_nothing(conn)
    would = prune(conn, "true")
    assert would == {("a", "pruned"): 9, ("a", "last"): 1, ("b", "pruned"): 9, ("b", "last"): 1}
    assert prune(conn, "") == would and len(events(conn, "a")) == 10
    assert prune(conn, "true, 'a'") == {key: events for key, events in would.items() if key[0] == "a"}
    first, last, before = conn.execute(PRUNE.format("true, 'a'")).fetchall()[1][3:]
    times = "SELECT min(created_at), max(created_at) FROM immutable.events WHERE tenant_id = 'a' AND seq < 10"
    assert (first, last) == conn.execute(times).fetchone() and last < before
    assert prune(conn) == would
    assert verified(conn) == (True, 18)


def test_the_record(log):
    conn = log.conn
    keep_nothing(conn, "a")
    hashes = dict(conn.execute("SELECT seq, encode(event_hash, 'hex') FROM immutable.events WHERE tenant_id = 'a'"))
    size = one(conn, "SELECT max(size) FROM immutable.checkpoints")
    archive = "AB" * 32
    assert prune(conn, f"false, archived => '{archive}'") == {("a", "pruned"): 9, ("a", "last"): 1}
    metadata, targets, actor = conn.execute(
        "SELECT metadata, targets, actor_id FROM immutable.events WHERE tenant_id = 'a' AND action = 'immutable.pruned'"
    ).fetchone()
    assert metadata == {"events": 9, "checkpoint_size": size, "archived": archive.lower(), "before": metadata["before"]}
    assert targets == [{"type": "immutable.lane", "id": "0", "metadata": {"seq": 9, "event_hash": hashes[9]}}]
    assert actor == "postgres"
    before = datetime.datetime.fromisoformat(metadata["before"].replace("Z", "+00:00"))
    assert one(conn, "SELECT pruned_before FROM immutable.get_retention('a')") == before
    assert events(conn, "a") == [(0, 10), (0, 11)] and len(events(conn, "b")) == 10
    # and nothing goes but records of prunings
    seal(conn)
    assert prune(conn) == {("a", "pruned"): 1, ("a", "last"): 1}
    seal(conn)
    assert prune(conn) == {("a", "records"): 1, ("a", "last"): 1}
    assert verified(conn) == (True, 10)


def test_why_events_stay(log):
    conn = log.conn
    keep_nothing(conn)
    conn.execute("SELECT immutable.hold('a', 'case')")
    track(conn, "c", 3)
    conn.execute("CALL immutable.seal(now())")
    track(conn, "d", 3)
    assert prune(conn) == {("a", "held"): 9, ("a", "last"): 1, ("b", "pruned"): 9, ("b", "last"): 1,
                           ("c", "uncovered"): 2, ("c", "last"): 1, ("d", "unsealed"): 2, ("d", "last"): 1}
    conn.execute("SELECT immutable.release('a', 'over'), "
                 "immutable.set_retention('1 microsecond', 'a', require_archive => true)")
    assert prune(conn, "false, 'a'") == {("a", "archive"): 9, ("a", "last"): 1}
    assert prune(conn, f"false, 'a', '{'0' * 64}'") == {("a", "pruned"): 9, ("a", "last"): 1}
    # the log's own events without a tenant follow no default
    assert one(conn, "SELECT count(*) FROM immutable.events WHERE tenant_id = ''") > 4
    assert verified(conn)[0]


def test_one_transaction(log):
    conn = log.conn
    keep_nothing(conn)
    with conn.transaction():
        assert prune(conn)[("a", "pruned")] == 9
        assert conn.execute("SELECT state FROM immutable.segments").fetchall() == [("emptied",)]
        raise psycopg.Rollback()
    assert len(events(conn, "a")) == 10 and verified(conn) == (True, 0)
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        with pytest.raises(errors.ActiveSqlTransaction):
            conn.execute(f"BEGIN ISOLATION LEVEL {level}; SELECT immutable.prune(false)")
        conn.execute("ROLLBACK")
    with pytest.raises(errors.ReadOnlySqlTransaction):
        conn.execute("BEGIN READ ONLY; SELECT immutable.prune(false)")
    conn.execute("ROLLBACK")


def test_a_whole_segment_is_dropped_once_no_snapshot_needs_it(log):
    """A snapshot that does not see the record sees the events: a dump with it restores to a log that is valid."""
    conn = log.conn
    keep_nothing(conn, None, "")
    [segment] = conn.execute("SELECT segment FROM immutable.segments WHERE state = 'sealed'").fetchone()
    older = log.connect(autocommit=False)
    older.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_snapshot()")
    assert prune(conn)[("a", "pruned")] == 9
    assert len(events(conn, "a")) == 1 + 1 and len(events(older, "a")) == 10 and verified(older)[0] and verified(conn)[0]
    state = "SELECT state, events FROM immutable.segments WHERE segment = %s"
    assert conn.execute(state, (segment,)).fetchone() == ("emptied", 0)
    conn.execute("CALL immutable.run_maintenance()")
    assert conn.execute(state, (segment,)).fetchone() == ("emptied", 0)
    older.rollback()
    conn.execute("CALL immutable.run_maintenance()")
    tables = "SELECT to_regclass('immutable.events_' || %s), to_regclass('immutable.event_targets_' || %s)"
    assert conn.execute(tables, (segment, segment)).fetchone() == (None, None)
    # what is left goes on: new events, other segments, and what was a tail
    track(conn, "a", 3)
    seal(conn)
    assert prune(conn)[("a", "pruned")] >= 2
    assert verified(conn)[0] and one(conn, "SELECT count(*) FROM immutable.events WHERE tenant_id = 'a'") < 6


def test_an_edit_is_no_pruning(log):
    conn = log.conn
    keep_nothing(conn)
    log.unguard()
    segment = "events_%s" % one(conn, "SELECT segment FROM immutable.segments")
    conn.execute("SET session_replication_role = replica")
    conn.execute(f"DELETE FROM immutable.{segment} WHERE tenant_id = 'a' AND seq = 3")
    conn.execute("UPDATE immutable.events SET previous_event_hash = sha256('x') WHERE tenant_id = 'b' AND seq = 10")
    conn.execute("RESET session_replication_role")
    assert prune(conn) == {("a", "damaged"): 9, ("b", "damaged"): 9, ("b", "last"): 1}
    assert len(events(conn, "a")) == 9 and len(events(conn, "b")) == 10
    assert not verified(conn)[0]


def test_an_erased_event_that_stays_keeps_a_record(db):
    conn = db.conn
    keep_nothing(conn)
    track(conn, "a", 5, actor_name="Ann")
    conn.execute("SELECT immutable.erase(id, 'a', ARRAY['actor_name'], 'DSR 1') FROM immutable.events "
                 "WHERE tenant_id = 'a' AND seq IN (2, 5)")
    # the fifth event is the last of its lane, the records are in another one
    seal(db.conn)
    lanes = dict(conn.execute("SELECT action, max(lane) FROM immutable.events WHERE tenant_id = 'a' GROUP BY 1").fetchall())
    track(conn, "a", 1)
    seal(conn)
    gone = prune(conn)
    assert gone[("a", "pruned")] >= 5, lanes
    assert verified(conn)[0]


def test_holds_and_prunings_wait_for_each_other(log):
    conn, other = log.connect(autocommit=False), log.connect()
    keep_nothing(log.conn)
    conn.execute("SELECT immutable.hold('a', 'case')")
    found = []
    pruning = threading.Thread(target=lambda: found.append(prune(other)))
    pruning.start()
    pruning.join(0.3)
    assert pruning.is_alive()
    conn.commit()
    pruning.join()
    assert found[0][("a", "held")] == 9 and found[0][("b", "pruned")] == 9
    assert len(events(conn, "a")) == 10


def test_maintenance_prunes_by_rule(log):
    conn = log.conn
    keep_nothing(conn, "a")
    conn.execute("SELECT immutable.set_retention('1 microsecond', 'b', require_archive => true)")
    did = one(conn, "CALL immutable.run_maintenance()")
    assert did["retention"] == 9 and len(events(conn, "b")) == 10
    record = "SELECT actor_id, metadata - 'before' - 'checkpoint_size' FROM immutable.events WHERE action = 'immutable.pruned'"
    assert conn.execute(record).fetchall() == [("immutable", {"events": 9})]
    # the record has taken the place of the last event of the lane, which may go too
    assert one(conn, "CALL immutable.run_maintenance()")["retention"] == 1
    # what goes only with an archive is left, and nothing is recorded for nothing
    assert one(conn, "CALL immutable.run_maintenance()")["retention"] is None
    assert len(conn.execute(record).fetchall()) == 2


def test_old_checkpoints_hold_the_log_to_what_it_was(log):
    conn = log.conn
    keep_nothing(conn)
    old, note = conn.execute("SELECT size, note FROM immutable.checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    pruned = conn.execute("SELECT id, tenant_id FROM immutable.events WHERE tenant_id = 'a' AND seq = 3").fetchone()
    proof = conn.execute("SELECT * FROM immutable.inclusion_proof(%s, %s)", pruned).fetchall()
    assert proof
    prune(conn)
    track(conn, "b", 5)
    seal(conn)
    new = one(conn, "SELECT max(size) FROM immutable.checkpoints")
    assert conn.execute("SELECT * FROM immutable.consistency_proof(%s, %s)", (old, new)).fetchall()
    checked = conn.execute("SELECT valid, pruned FROM immutable.verify_chain(checkpoint => %s)", (note,)).fetchone()
    assert checked == (True, 18)


def test_late_readers_go_on_with_what_is_left(log):
    conn = log.conn
    first = "SELECT immutable.changes(%s, \"limit\" => 3)"
    of_tenant, of_all = one(conn, first, "a")["position"], one(conn, first, None)["position"]
    export = one(conn, "SELECT immutable.create_export()")["id"]
    assert conn.execute("SELECT * FROM immutable.export_rows(%s, 'ndjson')", (export,)).fetchall()
    keep_nothing(conn)
    prune(conn)
    changes = "SELECT immutable.changes(%s, after => %s)"
    assert [each["action"] for each in one(conn, changes, "a", psycopg.types.json.Jsonb(of_tenant))["data"]] == [
        "test.done", "immutable.pruned"]
    assert one(conn, changes, None, psycopg.types.json.Jsonb(of_all))["data"]
    # an event that never was is still another log's
    wrong = {lane: f"{place.split(':')[0]}:{'0' * 16}" for lane, place in of_tenant.items()}
    wrong["0"] = "9:" + "0" * 16
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="not a position of this log"):
        conn.execute(changes, ("a", psycopg.types.json.Jsonb(wrong)))
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="retention has removed events that it has"):
        conn.execute("SELECT * FROM immutable.export_rows(%s, 'csv')", (export,))


def test_backups_from_before_and_after(log, tmp_path):
    conn = log.conn
    keep_nothing(conn)
    dumps = [log.server.run("pg_dump", "--data-only", log.name).stdout]
    prune(conn)
    dumps.append(log.server.run("pg_dump", "--data-only", log.name).stdout)
    for number, dump in enumerate(dumps):
        restored = type(log)(log.server)
        try:
            file = tmp_path / "dump.sql"
            file.write_text(f"SET immutable.restore = on;\n{dump}")
            log.server.run("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", restored.name, "-f", str(file))
            there = restored.conn
            assert verified(there) == (True, 18 * number)
            assert len(events(there, "a")) == (2 if number else 10)
            there.execute("SELECT immutable.track('u', 'x')")
            there.execute("CALL immutable.seal(now())")
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="since the log was restored"):
                prune(there)
            there.execute("SELECT immutable.resume_maintenance()")
            # what came back goes again, and where it did not, the event that was the last one
            assert prune(there)[("a", "pruned")] == (1 if number else 9)
            assert verified(there)[0]
        finally:
            restored.close()


def test_what_is_left_is_what_the_model_says(db):
    """Random tenants, lanes, seals, checkpoints, rules and holds, again and again."""
    conn, seed = db.conn, random.randrange(2**32)
    rng = random.Random(seed)
    keep_nothing(conn, "t0")
    tenants = [f"t{n}" for n in range(6)]
    others = [db.connect(autocommit=False) for _ in range(3)]
    conn.execute("CALL immutable.checkpoint()")
    covered, gone = {}, {}
    for _ in range(5):
        for _ in range(rng.randrange(1, 4)):
            for writer in others:
                track(writer, rng.choice(tenants), rng.randrange(1, 6))
            for writer in others:
                writer.commit()
            if rng.random() < 0.6:
                conn.execute("CALL immutable.checkpoint()")
                covered = {(t, l): s for t, l, s in conn.execute(LAST)}
            if rng.random() < 0.6:
                conn.execute("CALL immutable.seal(now())")
        for tenant in rng.sample(tenants, 2):
            keep = rng.choice([None, "1 microsecond", "20 milliseconds", "60 milliseconds", "1 hour"])
            conn.execute("SELECT immutable.set_retention(%s, %s)", (keep, tenant))
        tenant, held = rng.choice(tenants), {row[0] for row in conn.execute("SELECT tenant_id FROM immutable.holds WHERE ends_at IS NULL")}
        conn.execute("SELECT immutable." + ("release" if tenant in held else "hold") + "(%s, 'x')", (tenant,))
        held ^= {tenant}
        rows = conn.execute("SELECT tenant_id, lane, seq, created_at, tableoid::regclass::text FROM immutable.events "
                            "WHERE tenant_id <> '' ORDER BY 1, 2, 3").fetchall()
        tails = {(row[0], row[1]): row[2] for row in rows}
        keeps = dict(conn.execute("SELECT tenant_id, keep FROM immutable.retention").fetchall())
        end = one(conn, "SELECT max(created_to) FROM immutable.segments WHERE state = 'sealed'")
        shown = conn.execute("SELECT tenant_id, what, events, keep, before FROM immutable.prune(false)").fetchall()
        expected, stopped = {}, set()
        nows = {before + keep for _, _, _, keep, before in shown}
        assert len(nows) <= 1, seed
        cut = {tenant: now - keep for now in nows for tenant, keep in keeps.items() if keep is not None}
        for tenant, lane, seq, created_at, table in rows:
            if tenant not in cut or created_at >= cut[tenant]:
                stopped.add((tenant, lane))
                continue
            is_sealed = "events_" in table or end is not None and created_at < end
            goes = (tenant, lane) not in stopped and is_sealed and seq < tails[tenant, lane] \
                and seq <= covered.get((tenant, lane), 0)
            if not goes:
                stopped.add((tenant, lane))
            elif tenant not in held:
                gone[tenant, lane] = seq
            what = "held" if goes and tenant in held else "pruned" if goes else None
            expected[tenant, what] = expected.get((tenant, what), 0) + 1
        found = {}
        for tenant, what, count, _, _ in shown:
            key = (tenant, what if what in ("pruned", "held") else None)
            found[key] = found.get(key, 0) + count
        # where nothing but records would go, they stay
        for tenant, what, count, _, _ in shown:
            if what == "records":
                gone = {key: seq for key, seq in gone.items() if key[0] != tenant or key not in tails}
                expected[tenant, None] = expected.get((tenant, None), 0) + expected.pop((tenant, "pruned"))
        assert found == expected, seed
        left = {(row[0], row[1]): row[2] for row in conn.execute(
            "SELECT tenant_id, lane, min(seq) FROM immutable.events WHERE tenant_id <> '' GROUP BY 1, 2")}
        assert all(left[key] == seq + 1 for key, seq in gone.items() if ("x" not in key)), seed
        assert one(conn, "SELECT bool_and(n = events) FROM (SELECT s.events, (SELECT count(*) FROM immutable.events e "
                         "WHERE e.tableoid = ('immutable.events_' || s.segment)::regclass) AS n "
                         "FROM immutable.segments s WHERE s.state = 'sealed') x") is not False, seed
        assert verified(conn)[0], seed


def test_streams_alerts_and_usage_go_on(db):
    """What is delivered, evaluated and counted goes on with what is left, once, and a stream says what it missed."""
    conn = db.conn
    keep_nothing(conn, "a")
    rule = helpers_alerts.rule(conn, "high_volume_destructive", action_pattern=["test.done", "immutable.pruned"], threshold=1)
    late, early, other = (streams.create(conn, name, start="-infinity") for name in ("late", "early", "other"))
    elsewhere = streams.create(conn, "elsewhere", tenant_id="b", start="-infinity")
    track(conn, "a", 10)
    track(conn, "b", 2)
    conn.execute("CALL immutable.run_maintenance()")
    alerts = conn.execute("SELECT id, event_id FROM immutable.alerts ORDER BY 1").fetchall()
    of_alerts = streams.create(conn, "alerts", content="alerts", start="-infinity")
    read = [item["id"] for item in streams.deliver(conn, early)]
    taken = streams.take(conn, other, most=7)
    streams.settle(conn, other, taken, "delivered", 5)
    # a rule that keeps nothing works at once, in maintenance too
    seal(conn)
    assert prune(conn)[("a", "pruned")] == 9
    assert verified(conn)[0]
    notes = {id: streams.stream(conn, id)["last_error"] for id in (late, early, other, elsewhere, of_alerts)}
    assert notes[early] == notes[elsewhere] == notes[of_alerts] is None
    assert notes[late] == "retention has removed 9 events to which the stream had not come"
    assert notes[other].startswith("retention has removed ")
    assert {streams.stream(conn, id)["state"] for id in notes} == {"active"}
    left = [row[0] for row in conn.execute("SELECT id::text FROM immutable.events")]
    for id, before in ((late, []), (early, read), (other, [item["id"] for item in taken["items"][:5]])):
        items = [item["id"] for item in streams.deliver(conn, id)]
        assert len(set(items)) == len(items) and not set(items) & set(before)
        assert set(items) | set(before) >= set(left) and set(items) <= set(left), streams.stream(conn, id)
        assert streams.stream(conn, id)["last_error"] is None
    # alerts stay, are delivered, and none is raised again
    assert len(streams.deliver(conn, of_alerts)) == len(alerts) > 0
    listed = one(conn, "SELECT immutable.get_alerts()")["data"]
    assert {each["event_id"] for each in listed} == {str(event_id) for _, event_id in alerts}
    did = one(conn, "CALL immutable.run_maintenance()")
    assert not any("error" in str(step) for step in did.values()), did
    now = conn.execute("SELECT id, event_id FROM immutable.alerts ORDER BY 1").fetchall()
    assert now[:len(alerts)] == alerts and rule
    # the pruning itself can be alerted of
    actions = "SELECT action FROM immutable.alerts a JOIN immutable.events e ON e.id = a.event_id WHERE a.id > %s"
    assert conn.execute(actions, (alerts[-1][0],)).fetchall() == [("immutable.pruned",)]


def test_a_receipt_from_before_verifies_offline(log, tmp_path):
    """With immutable-verify: the receipt by itself, and of a later checkpoint by the line of the event."""
    conn = log.conn
    keep_nothing(conn)
    key, witness = one(conn, "SELECT immutable.verifier_key()"), W1
    conn.execute("SELECT immutable.add_witness(%s)", (str(witness.verifier),))

    def cosign():
        note = one(conn, "CALL immutable.checkpoint()")
        note = note if isinstance(note, str) else one(conn, "SELECT note FROM immutable.checkpoints ORDER BY size DESC LIMIT 1")
        conn.execute("SELECT immutable.add_cosignature(%s, %s)", (
            tree.size_of(note), witness.sign(note.split("\n\n")[0] + "\n", int(time.time()))))

    cosign()
    policy = tmp_path / "policy"
    policy.write_text(f"log {key}\nwitness w {witness.verifier}\nquorum w\n")
    id_ = one(conn, "SELECT id FROM immutable.events WHERE tenant_id = 'a' AND seq = 4")
    old = one(conn, "SELECT immutable.receipt(%s, 'a')", id_)
    [line] = [row[0] for row in conn.execute("SELECT immutable.export_events(tenant_id => 'a')") if str(id_) in row[0]]
    keep_nothing(conn)
    prune(conn)
    with pytest.raises(errors.NoDataFound, match="."):
        conn.execute("SELECT immutable.receipt(%s, 'a')", (id_,))
    track(conn, "b", 5)
    cosign()
    new = one(conn, "SELECT immutable.receipt_of_line(%s)", line)
    assert old != new
    for number, text in enumerate((old, new)):
        file = tmp_path / f"{number}.receipt"
        file.write_text(text)
        done = subprocess.run([os.environ["IMMUTABLE_VERIFY"], "receipt", "--policy", policy, file], capture_output=True, text=True)
        assert done.returncode == 0 and "VALID" in done.stdout, done.stdout + done.stderr
        file.write_text(text.replace("test.done", "test.gone"))
        assert subprocess.run([os.environ["IMMUTABLE_VERIFY"], "receipt", "--policy", policy, file], capture_output=True).returncode != 0
    sizes = [tree.size_of(note) for note, in conn.execute("SELECT note FROM immutable.checkpoints ORDER BY size")]
    assert one(conn, "SELECT count(*) FROM immutable.consistency_proof(%s, %s)", sizes[0], sizes[-1])


def test_a_standby_removes_what_its_primary_removes(cluster):
    primary = cluster(wal_level="replica", **{"immutable.retention_wait": "0"})
    writer = primary.connect()
    writer.execute("CREATE EXTENSION immutable")
    keep_nothing(writer, "a", "")
    track(writer, "a", 10)
    seal(writer)
    copy = Copy(primary)
    try:
        copy.begin(max_standby_streaming_delay="100ms")
        standby = copy.connect()
        caught_up(writer, standby)
        with pytest.raises(errors.ReadOnlySqlTransaction):
            standby.execute("SELECT immutable.prune(false)")
        old = copy.connect(autocommit=False)
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        there = "SELECT count(*) FROM immutable.events WHERE tenant_id = 'a'"
        assert one(old, there) == 10
        would = prune(standby, "true")
        assert prune(writer) == would and would[("a", "pruned")] == 9
        caught_up(writer, standby)
        # an older snapshot sees the events, a new one the record
        assert (one(old, there), one(standby, there)) == (10, 2)
        assert verified(old) == (True, 0) and verified(standby) == verified(writer) and verified(standby)[0]
        # until the table goes: what had read it is cancelled
        dropped = "SELECT count(*) = 0 FROM immutable.segments WHERE state = 'emptied'"
        writer.execute("CALL immutable.run_maintenance()")
        assert one(writer, dropped)
        caught_up(writer, standby)
        with pytest.raises(psycopg.OperationalError):
            old.execute("SELECT 1")
        assert verified(standby)[0] and one(standby, dropped)
        seen = "SELECT pruned_before, pruned_at FROM immutable.get_retention('a')"
        assert standby.execute(seen).fetchone() == writer.execute(seen).fetchone() != (None, None)
        writer.close()
    finally:
        copy.destroy()


def test_a_logical_copy_keeps_its_events(pair):  # noqa: F811
    there, here = pair
    wait_for_copy(there, here)
    keep_nothing(there, "t")
    seal(there)
    before = len(events(here, "t"))
    gone = prune(there)[("t", "pruned")]
    wait_for_copy(there, here)
    assert gone and len(events(there, "t")) == before - gone + 1 and len(events(here, "t")) == before + 1
    assert verified(there) == (True, gone) and verified(here) == (True, 0)
    assert "ERROR:  events" not in here.server.log.read_text()
    for refused in ("SELECT immutable.prune(false)", "SELECT immutable.set_retention('1 year')", "SELECT immutable.hold('t', 'x')"):
        with pytest.raises(errors.ReadOnlySqlTransaction):
            here.execute(refused)


def test_a_crash_leaves_all_or_nothing(cluster):
    """The server is killed while it prunes and others write, again and again."""
    cluster = cluster(**{"immutable.retention_wait": "0"})
    with cluster.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        keep_nothing(conn)
    rng = random.Random()
    for number in range(8):
        stop = threading.Event()

        def write(tenant):
            try:
                with cluster.connect() as conn:
                    while not stop.is_set():
                        track(conn, f"t{tenant}", 5)
                        stop.wait(0.01)
            except psycopg.Error:
                pass

        def work(statements):
            try:
                with cluster.connect() as conn:
                    while not stop.is_set():
                        for statement in statements:
                            conn.execute(statement)
            except psycopg.Error:
                pass

        threads = [threading.Thread(target=write, args=(tenant,)) for tenant in range(2)]
        threads.append(threading.Thread(target=work, args=(["CALL immutable.checkpoint()", "CALL immutable.seal(now())"],)))
        threads.append(threading.Thread(target=work, args=(["SELECT * FROM immutable.prune(false)"],)))
        for thread in threads:
            thread.start()
        time.sleep(0.05 + rng.random() / 3)
        if number % 2:
            cluster.kill9()
        else:
            cluster.stop("immediate")
        stop.set()
        for thread in threads:
            thread.join()
        cluster.start()
        with cluster.connect() as conn:
            assert verified(conn)[0]
            assert one(conn, "SELECT count(*) FROM immutable.events") >= 2
    with cluster.connect() as conn:
        conn.execute("CALL immutable.checkpoint()")
        conn.execute("CALL immutable.seal(now())")
        prune(conn)
        assert verified(conn)[0] and one(conn, "SELECT sum(pruned) FROM immutable.verify_chain()") > 0
