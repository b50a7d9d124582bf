"""Reading across segments: every event once, in the same order, with the same row security, wherever it is."""

import itertools
import json
import random
import re
import threading

import psycopg
import pytest
from helpers_segments import Sealing, places, prepare_alone, seal
from test_read_page import call, compare, fill, model, page, walk, VIEWER

ADD = ("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) "
       "SELECT %s || (n %% 3), %s, 'thing.done', %s::jsonb FROM generate_series(1, %s) n")


def cut(db):
    """Segments of several sizes, then a merge of small ones, and what came too late for its segment."""
    # No event of the future is sealed.
    with db.conn.transaction():
        db.conn.execute("SET LOCAL session_replication_role = replica")
        for table in ("events", "event_targets"):
            db.conn.execute(f"UPDATE immutable.{table} SET created_at = created_at - interval '1 hour'")
    times = [row[0] for row in db.conn.execute("SELECT DISTINCT created_at FROM immutable.events ORDER BY 1")]
    for part in range(1, 12):
        seal(db, times[len(times) * part // 13])


@pytest.fixture
def sealed(db):
    fill(db.conn, 21, 500)
    cut(db)
    times = [row[0] for row in db.conn.execute("SELECT DISTINCT created_at FROM immutable.events ORDER BY 1")]
    auditor, viewer = db.create_role("IN ROLE immutable_auditor"), db.create_role()
    db.unguard()
    db.conn.execute(VIEWER.format(viewer))
    readers = {"owner": (db.conn, None), "auditor": (db.connect(auditor), None)}
    for tenant in ("acme", "tiny"):
        conn = db.connect(viewer)
        conn.execute("SELECT set_config('test.tenant', %s, false)", [tenant])
        readers[f"viewer of {tenant}"] = (conn, tenant)
    return db, readers, times


def test_pages_are_what_a_plain_query_gives(sealed):
    db, readers, times = sealed
    in_tables = places(db.conn)
    assert len(in_tables) > 3 and in_tables["events"] > 50, in_tables
    assert db.conn.execute("SELECT count(*) FROM immutable.segments WHERE replaces <> '{}'").fetchone()[0] > 0
    compare(db, readers, times, seed=4, rounds=30)
    check_against_each_table(db)
    check_one_tenant(db, *readers["viewer of acme"])


def check_against_each_table(db):
    """The model reads the segments as one table. This one reads them one by one."""
    tables = [f"immutable.{name}" for name in places(db.conn)]
    union = " UNION ALL ".join(f"SELECT created_at, id, tenant_id FROM ONLY {table}" for table in tables)
    expected = db.conn.execute(f"SELECT tenant_id, id::text FROM ({union}) e ORDER BY created_at DESC, id DESC, tenant_id DESC").fetchall()
    assert walk(db.conn, {}, 100, "desc")[0] == expected and len(expected) == 500


def way(conn, given):
    """How a page was read."""
    heard = []
    conn.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    conn.execute("SET client_min_messages = debug1")
    page(conn, given)
    conn.execute("RESET client_min_messages")
    return [match[1] for match in map(re.compile("page read by: (.*), lead").search, heard) if match][-1]


def test_many_events_of_a_filter_segment_by_segment(db):
    """More than are listed: the tenants are merged in each segment until the page is full, forth and back."""
    target = json.dumps([{"type": "team", "id": "t"}, {"type": "team", "id": "t"}])
    for part in range(5):
        db.conn.execute(ADD, [f"t{part % 2}", "u", target, 250])
        seal(db)
    db.conn.execute(ADD, ["t", "newer", "[]", 2600])
    assert len(places(db.conn)) == 6
    for given in ({"actor_id": "u"}, {"target_type": "team"}, {"target_id": "t"}):
        assert way(db.connect(), given) == "merge tenants in segments"
        for order in ("desc", "asc"):
            assert walk(db.conn, given, 100, order)[0] == model(db.conn, given, None, order), (given, order)
    middle = db.conn.execute("SELECT created_at FROM immutable.events ORDER BY created_at OFFSET 700 LIMIT 1").fetchone()[0]
    for bound in ("from_date", "to_date"):
        given = {"target_type": "team", bound: middle}
        assert walk(db.conn, given, 100, "desc")[0] == model(db.conn, given, None, "desc")
        assert walk(db.conn, given, 100, "asc")[0] == model(db.conn, given, None, "asc")
    # What an estimate is made of is close to what is there.
    db.conn.execute("ANALYZE immutable.events")
    db.conn.execute("SET immutable.max_exact_total = 10")
    total = page(db.conn, {"actor_id": "u", "limit": 5})[1]
    assert total["total_relation"] == "estimate"
    total = page(db.conn, {"limit": 5})[1]
    assert 3300 < total["total"] < 4500


def check_one_tenant(db, conn, tenant):
    """A total says nothing of the other tenants' segments."""
    conn.execute("SET immutable.max_exact_total = 20")
    assert page(conn, {"limit": 5, "action": "*"})[1]["total"] <= 21
    for table in ["segments", *(name for name in places(db.conn) if name != "events")]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"SELECT * FROM immutable.{table}")
    assert conn.execute("SELECT count(*) FROM immutable.events WHERE tenant_id <> %s", [tenant]).fetchone() == (0,)


def follow(conn, tenant, limit, given):
    """Reads changes() to its end from a position, and returns the next position."""
    seen, position = [], given
    while True:
        answer = conn.execute("SELECT immutable.changes(%s, %s, %s)", [tenant, position and json.dumps(position), limit]).fetchone()[0]
        seen += [event["id"] for event in answer["data"]]
        position = answer["position"]
        if not answer["has_more"]:
            return seen, position


def feed(conn, mark, limit):
    seen = []
    while True:
        answer = conn.execute("SELECT immutable.feed(%s, %s)", [mark, limit]).fetchone()[0]
        seen += [event["id"] for event in answer["data"]]
        mark = answer["mark"]
        if not answer["has_more"]:
            return seen, mark


def test_feeds_go_on_wherever_events_are(db):
    """Consumers at every distance from the end, while events move between their calls."""
    chance, readers = random.Random(5), {}
    for name in ("often", "seldom", "late"):
        readers[name] = {"a0": ([], None), "all": ([], None), "feed": ([], "")}
    for step in range(12):
        db.conn.execute(ADD, ["a", "u", "[]", chance.randrange(3, 40)])
        if step % 2:
            seal(db, None if step % 4 == 1 else db.conn.execute(
                "SELECT created_at FROM immutable.events ORDER BY created_at DESC OFFSET 5 LIMIT 1").fetchone()[0])
        for name, at in readers.items():
            if name == "often" or name == "seldom" and step % 5 == 4 or step == 11:
                limit = chance.choice([1, 7, 100]) if step < 11 else 33
                for what, (seen, position) in at.items():
                    if what == "feed":
                        new, position = feed(db.conn, position, limit)
                    else:
                        new, position = follow(db.conn, None if what == "all" else what, limit, position)
                    at[what] = (seen + new, position)
    assert len(places(db.conn)) > 3
    stored = db.conn.execute("SELECT id::text FROM immutable.events ORDER BY tenant_id, lane, seq").fetchall()
    of_tenant = db.conn.execute("SELECT id::text FROM immutable.events WHERE tenant_id = 'a0' ORDER BY lane, seq").fetchall()
    for name, at in readers.items():
        assert [(id,) for id in at["a0"][0]] == of_tenant, name
        assert sorted(at["all"][0]) == sorted(id for id, in stored), name
        assert sorted(at["feed"][0]) == sorted(id for id, in stored), name


def test_readers_while_seals_commit(db):
    """Pages, changes(), feed() and exports beside sealing, merging and dropping: nothing is missing and nothing comes twice."""
    db.conn.execute(ADD, ["a", "u", "[]", 60])
    stop, failed = threading.Event(), []

    def sealing():
        while not stop.is_set():
            try:
                seal(db)
            except psycopg.errors.LockNotAvailable:
                pass

    def check():
        conn, position, mark, taken, fed = db.connect(), None, "", [], []
        try:
            while not stop.is_set():
                with conn.transaction():
                    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    count, = conn.execute("SELECT count(*) FROM immutable.events").fetchone()
                    lines = conn.execute("SELECT immutable.export_events(tenant_id => 'a1')").fetchall()
                    own, = conn.execute("SELECT count(*) FROM immutable.events WHERE tenant_id = 'a1'").fetchone()
                    assert len(lines) == own + 2
                    events, _ = walk(conn, {}, 100, "desc")
                    assert len(events) == len(set(events)) == count
                new, position = follow(conn, "a1", 50, position)
                taken += new
                new, mark = feed(conn, mark, 50)
                fed += new
            new, position = follow(conn, "a1", 50, position)
            stored = [id for id, in conn.execute("SELECT id::text FROM immutable.events WHERE tenant_id = 'a1' ORDER BY lane, seq")]
            assert taken + new == stored
            new, mark = feed(conn, mark, 50)
            assert sorted(fed + new) == sorted(id for id, in conn.execute("SELECT id::text FROM immutable.events"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=sealing), threading.Thread(target=check)]
    for thread in threads:
        thread.start()
    for _ in range(25):
        db.conn.execute(ADD, ["a", "u", "[]", 20])
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not failed, failed
    assert db.conn.execute("SELECT count(*) FROM immutable.segments").fetchone()[0] > 0


def test_exports_read_on_across_a_seal(db):
    """A cursor and a pinned export begin before events move, and end after it."""
    db.conn.execute(ADD, ["a", "u", json.dumps([{"type": "team"}]), 900])
    export, = db.conn.execute("SELECT immutable.create_export(tenant_id => 'a1')->>'id'").fetchone()
    reader = db.connect(autocommit=False)
    reader.execute("DECLARE lines CURSOR FOR SELECT immutable.export_events(tenant_id => 'a1')")
    lines = reader.execute("FETCH 5 FROM lines").fetchall()
    # The statement's snapshot and its tables stay as they are: sealing waits for it, and goes on when it has ended.
    lines += reader.execute("FETCH ALL FROM lines").fetchall()
    reader.rollback()
    seal(db)
    db.conn.execute(ADD, ["a", "late", "[]", 30])
    rows = db.conn.execute("SELECT immutable.export_rows(%s, 'ndjson')", [export]).fetchall()
    assert len(lines) == len(rows) == 302
    assert [line for line, in lines][1:] == [line for line, in rows][1:]


def test_other_indexes_of_the_hot_table_are_copied(db):
    db.conn.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    db.conn.execute("SELECT immutable.enable_search()")
    db.conn.execute("SET immutable.allow_ddl = on")
    db.conn.execute('CREATE INDEX "odd ON immutable.events USING" ON immutable.events (actor_name) WHERE actor_name IS NOT NULL')
    db.conn.execute(ADD, ["a", "u", "[]", 30])
    seal(db)
    made = dict(db.conn.execute(
        "SELECT i.relname, pg_get_indexdef(i.oid) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid "
        "WHERE x.indrelid = 'immutable.events_1'::regclass"))
    assert "gin" in made["events_1_search"] and "immutable.fold" in made["events_1_search"]
    assert made["events_1_odd ON immutable.events USING"].endswith("(actor_name) WHERE (actor_name IS NOT NULL)")
    # The texts of an index's expression are in no statistics.
    assert db.conn.execute("SELECT count(*) FROM pg_statistic WHERE starelid = 'immutable.events_1_search'::regclass").fetchone() == (0,)
    assert walk(db.conn, {"search": "thing"}, 20, "desc")[0] == model(db.conn, {"search": "thing"}, None, "desc")


def test_plans_of_segments_sort_and_scan_no_table(db):
    """A tenant's page in a segment reads as many rows as it has, although no index of a segment has the id."""
    db.conn.execute(ADD, ["big", "u", "[]", 6000])
    seal(db)
    db.conn.execute(ADD, ["big", "u", "[]", 30])
    db.conn.execute("VACUUM (ANALYZE) immutable.events_1")
    conn = db.connect()
    read = "SELECT pg_stat_force_next_flush(), pg_stat_get_tuples_fetched('immutable.events_1'::regclass)"
    cursor = page(conn, {"tenant_id": "big1", "limit": 20})[1]["next_cursor"]
    before = conn.execute(read).fetchone()[1]
    for _ in range(5):
        page(conn, {"tenant_id": "big1", "limit": 20, "cursor": cursor, "count": "none"})
    assert conn.execute(read).fetchone()[1] - before < 1000


def test_cursors_are_read_on_after_the_events_have_moved(db):
    """Cursors that were opened while a segment was being filled, and are read to their end when it has the events."""
    db.conn.execute(ADD, ["a", "u", "[]", 300])
    export, = db.conn.execute("SELECT immutable.create_export()->>'id'").fetchone()
    pinned = db.conn.execute("SELECT immutable.export_rows(%s, 'ndjson')", [export]).fetchall()
    lines = db.conn.execute("SELECT immutable.export_events()").fetchall()
    sealing = Sealing(db.connect, lambda: prepare_alone(db.connect))
    reader = db.connect(autocommit=False)
    reader.execute("DECLARE pinned CURSOR FOR SELECT immutable.export_rows(%s, 'ndjson')", [export])
    reader.execute("DECLARE lines CURSOR FOR SELECT immutable.export_events()")
    read = {name: reader.execute(f"FETCH 7 FROM {name}").fetchall() for name in ("pinned", "lines")}
    assert sealing.go_on()["events"] == 297
    # The last event of each lane stays: of three tenants, and of the log's own.
    assert places(db.conn) == {"events": 4, "events_1": 297}
    for name, part in read.items():
        part += reader.execute(f"FETCH ALL FROM {name}").fetchall()
    # Another statement of the same transaction, with the tables as they are now.
    walked = walk(reader, {}, 100, "desc")[0]
    reader.rollback()
    assert read["pinned"] == pinned and len(walked) == len(set(walked)) == 301
    # The first line says when it was made, and the last one the sum of all.
    assert read["lines"][1:-1] == lines[1:-1] and len(read["lines"]) == 303


def test_readers_go_on_while_segments_are_merged_and_dropped(db):
    """Pages and changes() between whose calls segments are filled, merged and dropped, and a snapshot from before."""
    db.conn.execute(ADD, ["a", "u", "[]", 60])
    stored, taken, position, kinds = model(db.conn, {}, None, "desc"), [], None, set()
    walks = {order: page(db.conn, {"limit": 1, "order": order}) for order in ("desc", "asc")}
    walks = {order: (first, pagination["next_cursor"]) for order, (first, pagination) in walks.items()}
    for turn in range(20):
        old = None
        if turn % 6 == 1:
            old = db.connect(autocommit=False)
            old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            old.execute("SELECT 1")
            seen = model(db.conn, {}, None, "asc")
        db.conn.execute(ADD, ["a", "u", "[]", 5])
        before = dict(db.conn.execute("SELECT segment, state FROM immutable.segments").fetchall())
        seal(db)
        after = dict(db.conn.execute("SELECT segment, state FROM immutable.segments").fetchall())
        kinds |= {state for number, state in after.items() if before.get(number) != state}
        kinds |= {"dropped"} if before.keys() - after.keys() else set()
        if old is not None:
            assert walk(old, {}, 100, "asc")[0] == seen
            assert len(old.execute("SELECT immutable.export_events()").fetchall()) == len(seen) + 2
            old.rollback()
        new, position = follow(db.conn, "a1", 100, position)
        taken += new
        for order, (found, cursor) in walks.items():
            if cursor is not None:
                events, pagination = page(db.conn, {"limit": 4, "order": order, "cursor": cursor})
                walks[order] = found + events, pagination["next_cursor"]
    assert kinds >= {"sealed", "emptied", "dropped"}, kinds
    assert taken == [id for id, in db.conn.execute("SELECT id::text FROM immutable.events WHERE tenant_id = 'a1' ORDER BY lane, seq")]
    assert walks["desc"][0] == stored and len(stored) == 60
    assert walks["asc"][0] == model(db.conn, {}, None, "asc")[:81]


def test_kept_plans_are_bounded(db):
    """A session that reads with ever other filters keeps a bounded number of plans."""
    for _ in range(5):
        db.conn.execute(ADD, ["a", "u", "[]", 6])
        seal(db)
    assert len(places(db.conn)) == 6
    conn, most, made = db.connect(), 0, set()
    given = {"actor_id": "u", "action": "thing.*", "resource": "r", "session_id": "s", "target_type": "t", "search": "x"}
    plans = ("SELECT count(*) FILTER (WHERE name = 'CachedPlanSource'), sum(total_bytes) FROM pg_backend_memory_contexts "
             "WHERE name LIKE 'CachedPlan%'")
    for number, (order, tenant) in itertools.product(range(1, 1 << len(given)), (("asc", True), ("desc", True), ("desc", False))):
        filters = {name: value for place, (name, value) in enumerate(given.items()) if number >> place & 1}
        page(conn, {**filters, "order": order, **({"tenant_id": "a1"} if tenant else {})})
        made.add((number, order, tenant))
        if number % 8 == 7:
            count, size = conn.execute(plans).fetchone()
            most = max(most, count)
            assert count < 300 and size < 48 << 20, (count, size)
    assert len(made) == 189 and most > 100


def test_heads_of_lanes_that_have_lost_their_end(db):
    """A lane whose last event was removed from the hot table ends where its last event in a segment is."""
    db.conn.execute(ADD, ["a", "u", "[]", 30])
    whole = db.conn.execute("SELECT tenant_id, lane, seq FROM immutable.heads()").fetchall()
    seal(db)
    assert db.conn.execute("SELECT tenant_id, lane, seq FROM immutable.heads()").fetchall() == whole
    db.unguard()
    with db.conn.transaction():
        db.conn.execute("SET LOCAL session_replication_role = replica")
        db.conn.execute("DELETE FROM ONLY immutable.events WHERE tenant_id = 'a1'")
    left = [(tenant, lane, seq - (tenant == "a1")) for tenant, lane, seq in whole]
    assert db.conn.execute("SELECT tenant_id, lane, seq FROM immutable.heads()").fetchall() == left
    assert db.conn.execute("SELECT lane, seq FROM immutable.heads('a1')").fetchall() == [row[1:] for row in left if row[0] == "a1"]
