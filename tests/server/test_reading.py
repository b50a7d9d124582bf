"""Pages, feeds and views give what a plain query gives, whichever way they are read."""

import concurrent.futures
import json
import random
import threading
import time

import psycopg
import pytest

EVENTS = 3000
TENANTS = [""] + [f"t{n}" for n in range(80)]
ACTIONS = ["document.created", "document.viewed", "documents.listed", "folder.created", "a%b_c\\d", "é.créé", "rare.one"]
NAMES = ["Sarah Chen", "100% Bob", "under_score", "back\\slash", 'quo"te', "ÉMILE", None]


@pytest.fixture(scope="module")
def log(server):
    """A log whose tenants are of very different size, with equal ids in two tenants and filters of every frequency."""
    from conftest import Database
    db = Database(server)
    draw = random.Random(7)
    rows = []
    for n in range(EVENTS):
        tenant = "t0" if n % 3 == 0 else draw.choice(TENANTS)
        targets = [{"type": draw.choice(["team", "folder", "x"]), "id": f"target{draw.randrange(12)}"}
                   for _ in range(draw.randrange(4))]
        rows.append({
            "tenant_id": tenant, "actor_id": draw.choice(["system", f"u{draw.randrange(40)}"]),
            "actor_name": draw.choice(NAMES), "action": ACTIONS[6] if n % 700 == 0 else draw.choice(ACTIONS[:6]),
            "resource": draw.choice([None, "document", "folder"]), "resource_id": draw.choice([None, f"r{draw.randrange(30)}"]),
            "session_id": draw.choice([None, f"s{draw.randrange(50)}"]), "targets": targets,
            "metadata": {"note": draw.choice(["Half price: 50%", 'say "hi"', "plain", "C:\\temp"]), "n": n}})
    for start in range(0, EVENTS, 100):
        db.conn.execute("SELECT immutable.track_batch(%s)", [json.dumps(rows[start:start + 100])])
    same = "00000000-0000-4000-8000-000000000001"
    db.conn.execute("INSERT INTO immutable.events (id, tenant_id, actor_id, action) VALUES (%s, 't1', 'same', 'a.b'), "
                    "(%s, 't2', 'same', 'a.b')", [same, same])
    # Ties in created_at, which no writer makes in one lane, come from several lanes and tenants.
    db.conn.execute("SET session_replication_role = replica")
    db.conn.execute("UPDATE immutable.events SET created_at = date_trunc('milliseconds', created_at)")
    db.conn.execute("UPDATE immutable.event_targets t SET created_at = e.created_at FROM immutable.events e "
                    "WHERE e.id = t.event_id AND e.tenant_id = t.tenant_id")
    db.conn.execute("UPDATE immutable.events SET created_at = (SELECT max(created_at) FROM immutable.events) WHERE actor_id = 'same'")
    db.conn.execute("RESET session_replication_role")
    db.conn.execute("VACUUM ANALYZE immutable.events")
    db.conn.execute("VACUUM ANALYZE immutable.event_targets")
    db.viewer = db.create_role()
    db.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {db.viewer}")
    db.conn.execute(f"GRANT SELECT ON immutable.events, immutable.event_targets TO {db.viewer}")
    db.conn.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA immutable TO {db.viewer}")
    for table in ("events", "event_targets"):
        db.conn.execute(f"CREATE POLICY test_viewer ON immutable.{table} FOR SELECT TO {db.viewer} "
                        "USING (tenant_id = (SELECT current_setting('x.tenant')))")
    yield db
    db.close()


def like(pattern):
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")


def reference(conn, given, order):
    """(created_at, id, tenant) of the events that pass, by a plain query."""
    clauses, values = ["true"], []

    def add(clause, *more):
        clauses.append(clause)
        values.extend(more)
    columns = {"resource": "resource_type"}
    for name in ("tenant_id", "actor_id", "resource", "resource_id", "session_id"):
        if name in given:
            add(f"{columns.get(name, name)} = %s", given[name])
    if "action" in given:
        add("action LIKE %s", like(given["action"]))
    target = {k: given[f"target_{k}"] for k in ("type", "id") if f"target_{k}" in given}
    if target:
        add("targets @> %s::jsonb", json.dumps([target]))
    if "search" in given:
        text = "%" + like(given["search"].replace("*", "\x01")).replace("\x01", "*") + "%"
        written = "%" + like(json.dumps(given["search"], ensure_ascii=False)[1:-1].replace("*", "\x01")).replace("\x01", "*") + "%"
        add('(actor_name ILIKE %s OR action COLLATE "default" ILIKE %s OR resource_name ILIKE %s '
            "OR metadata::text ILIKE %s OR metadata::text ILIKE %s)", text, text, text, text, written)
    if "from_date" in given:
        add("created_at >= %s", given["from_date"])
    if "to_date" in given:
        add("created_at <= %s", given["to_date"])
    word = {"desc": "DESC", "asc": "ASC"}[order]
    return conn.execute(
        f"SELECT created_at, id::text, tenant_id FROM immutable.events e WHERE {' AND '.join(clauses)} "
        f"ORDER BY created_at {word}, id {word}, tenant_id {word}", values).fetchall()


def page(conn, **given):
    arguments = ", ".join(f'"{name}" => %s' for name in given)
    return conn.execute(f"SELECT immutable.get_events({arguments})", list(given.values())).fetchone()[0]


def keys(page):
    return [(event["id"], event["tenant_id"] or "") for event in page["data"]]


def walk(conn, given, order, limit):
    """All pages forward, then back from the last; forward must be the reverse of back."""
    pages, cursor = [], {}
    while True:
        got = page(conn, **given, **cursor, order=order, limit=limit, count="none")
        pages.append(got)
        if not got["pagination"]["has_more"]:
            break
        cursor = {"cursor": got["pagination"]["next_cursor"]}
    back = [pages[-1]]
    while cursor := back[-1]["pagination"]["previous_cursor"]:
        back.append(page(conn, **given, cursor=cursor, order=order, limit=limit, count="none"))
    forward = [key for got in pages for key in keys(got)]
    backward = [key for got in reversed(back) for key in keys(got)]
    assert backward == forward
    return forward


def combinations(draw, times):
    one = {
        "tenant_id": lambda: draw.choice(["t0", "t1", "t79", "", "nobody"]),
        "actor_id": lambda: draw.choice(["system", "u1", "u39", "same", "nobody"]),
        "action": lambda: draw.choice(ACTIONS + ["document.*", "*.created", "d*c*ed", "*", "rare.*", "*one", "a%*", "nothing.*", "*é"]),
        "resource": lambda: draw.choice(["document", "folder", "none"]),
        "resource_id": lambda: draw.choice(["r1", "r29", "r"]),
        "session_id": lambda: draw.choice(["s1", "s49", "none"]),
        "target_type": lambda: draw.choice(["team", "x", "none"]),
        "target_id": lambda: draw.choice(["target1", "target11", "none"]),
        "search": lambda: draw.choice(["sarah", "50%", "r_s", "k\\s", 'o"t', 'say "hi"', "c:\\temp", "émile", '"note"', "zzz", "documents"]),
        "from_date": lambda: draw.choice(times),
        "to_date": lambda: draw.choice(times),
    }
    for name in one:
        yield {name: one[name]()}
        yield {name: one[name](), "tenant_id": "t0"}
        yield {name: one[name]()}
    for _ in range(80):
        yield {name: one[name]() for name in draw.sample(sorted(one), draw.choice([2, 2, 3, 4]))}


@pytest.mark.timeout(170)
@pytest.mark.parametrize("who", ["owner", "auditor", "viewer"])
def test_pages_are_what_a_plain_query_gives(log, who):
    draw = random.Random(11)
    times = [row[0] for row in log.conn.execute("SELECT created_at FROM immutable.events TABLESAMPLE SYSTEM (5)").fetchall()]
    conn = {"owner": lambda: log.connect(), "viewer": lambda: log.connect(log.viewer),
            "auditor": lambda: log.connect(log.create_role("IN ROLE immutable_auditor"))}[who]()
    for n, given in enumerate(combinations(draw, times)):
        seen = given
        if who == "viewer":
            tenant = draw.choice(["t0", "t1", ""])
            conn.execute("SELECT set_config('x.tenant', %s, false)", [tenant])
            if given.get("tenant_id", tenant) != tenant:
                assert page(conn, **given)["data"] == [], given
                continue
            seen = {**given, "tenant_id": tenant}
        order = draw.choice(["asc", "desc"])
        expected = [(event, tenant) for _, event, tenant in reference(log.conn, seen, order)]
        found = conn.execute(
            "SELECT id::text, tenant_id FROM immutable.find_events(" + ", ".join(f'"{name}" => %s' for name in given)
            + ', "order" => %s, "limit" => 10000)', [*given.values(), order]).fetchall()
        assert found == expected, (given, order)
        assert walk(conn, given, order, max(draw.choice([7, 25, 100]), len(expected) // 8 + 1 if len(expected) < 800 else 100)) == expected, (given, order)
        total = page(conn, **given, limit=3)["pagination"]
        assert (total["total"], total["total_relation"]) == (len(expected), "eq"), given


def test_totals_are_bounded(log):
    conn = log.connect()
    conn.execute("SET immutable.max_exact_total = 10")
    many = page(conn, tenant_id="t0", limit=2)["pagination"]
    assert many["total_relation"] == "estimate" and 300 < many["total"] < 3000
    few = page(conn, action="rare.one", limit=2)["pagination"]
    assert (few["total"], few["total_relation"]) == (5, "eq")
    none = page(conn, tenant_id="t0", limit=2, count="none")["pagination"]
    assert none["total"] is None and none["total_relation"] is None and none["has_more"]
    # An estimate is made of everybody's rows: whom a policy limits gets what was counted.
    viewer = log.connect(log.viewer)
    viewer.execute("SET immutable.max_exact_total = 10")
    viewer.execute("SET x.tenant = 't0'")
    assert page(viewer, limit=2)["pagination"]["total"] == 10


def test_search_finds_the_same_with_its_index(log):
    needles = ["sarah", "50%", "r_s", "k\\s", 'o"t', 'say "hi"', "c:\\temp", "émile", '"note"', "zzz", "*", ""]

    def found(conn):
        return [walk(conn, {"search": needle}, "desc", 100) for needle in needles]
    conn = log.connect()
    without = found(conn)
    has_trgm = conn.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'").fetchone()[0]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="pg_trgm"):
        conn.execute("SELECT immutable.enable_search()")
    assert has_trgm  # both servers of the tests bring it
    conn.execute("CREATE SCHEMA elsewhere")
    conn.execute("CREATE EXTENSION pg_trgm SCHEMA elsewhere")
    conn.execute("SELECT immutable.enable_search()")
    try:
        plan = conn.execute(
            "EXPLAIN SELECT FROM immutable.events e WHERE lower((coalesce(e.actor_name, '') || E'\\n' || e.action || E'\\n' || "
            "coalesce(e.resource_name, '') || E'\\n' || e.metadata::text) COLLATE \"default\") LIKE '%zzzzzzzz%'").fetchall()
        assert "events_search" in str(plan)
        assert found(log.connect()) == without
    finally:
        conn.execute("SELECT immutable.disable_search()")
        conn.execute("DROP EXTENSION pg_trgm")
    assert found(conn) == without


def test_a_cursor_keeps_to_its_filters_and_order(log):
    conn = log.connect()
    cursor = page(conn, tenant_id="t0", limit=2)["pagination"]["next_cursor"]
    for other in ({"tenant_id": "t1"}, {"tenant_id": "t0", "order": "asc"}, {"tenant_id": "t0", "actor_id": "system"}, {}):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="cursor"):
            page(conn, **other, cursor=cursor)
    for word, value in (("order", "up"), ("count", "all")):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=word):
            page(conn, **{word: value})


def test_reading_needs_nothing_but_reading(log):
    conn = log.connect()
    conn.execute("SET default_transaction_read_only = on")
    assert page(conn, actor_id="system", action="*.created", limit=2)["pagination"]["has_more"]
    assert conn.execute("SELECT immutable.changes('t0')").fetchone()[0]["has_more"]
    assert conn.execute("SELECT immutable.changes()").fetchone()[0]["has_more"]


def changes(conn, tenant, after, limit=50):
    return conn.execute("SELECT immutable.changes(%s, %s, %s)",
                        [tenant, None if after is None else json.dumps(after), limit]).fetchone()[0]


def test_changes_hold_back_what_an_older_writer_may_still_precede(db):
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('other', 'first', 'x.y')")
    early, late = db.connect(autocommit=False), db.connect()
    early.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('a', 'early', 'x.y')")
    late.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('a', 'late', 'x.y'), ('b', 'late', 'x.y')")

    def actors(answer):
        return [event["actor"]["id"] for event in answer["data"]]
    # Within the tenant the lanes tell; over all nothing newer than the writer is given.
    of_tenant = changes(late, "a", None)
    assert actors(of_tenant) == ["late"]
    assert actors(changes(late, None, None)) == ["first"]
    early.commit()
    assert actors(changes(late, "a", of_tenant["position"])) == ["early"]
    of_all = changes(late, None, None)
    assert sorted(actors(of_all)) == ["early", "first", "late", "late"]
    assert actors(changes(late, None, of_all["position"])) == []
    one = changes(late, None, None, limit=1)
    assert one["has_more"] and len(actors(changes(late, None, one["position"]))) == 3


@pytest.mark.parametrize("tenant, after", [
    ("a", []), ("a", {"x": 1}), ("a", {"0": "1"}), ("a", {"0": -1}), ("a", {"-1": 1}), ("a", {"0": 1.5}), ("a", 1),
    (None, []), (None, {"xact": 1}), (None, {"xact": "1"}), (None, {"0": 1}), (None, {"xact": "x", "id": "y", "tenant_id": "z"})])
def test_a_position_that_is_none(db, tenant, after):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="after"):
        changes(db.conn, tenant, after)


def test_changes_give_every_event_once(db):
    """Writers that commit late and roll back, and pollers: nobody misses an event or sees one twice."""
    tenants, stop, written = ["a", "b", ""], threading.Event(), threading.Event()
    db.conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('first', 'x.y')")

    def write(number):
        draw = random.Random(number)
        with db.server.connect(db.name, autocommit=False) as conn:
            while not stop.is_set():
                for _ in range(draw.randrange(1, 4)):
                    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'w', 'x.y')",
                                 [draw.choice(tenants)])
                time.sleep(draw.random() * 0.03)
                conn.rollback() if draw.random() < 0.2 else conn.commit()

    def poll(tenant, seen):
        with db.server.connect(db.name) as conn:
            position = None
            while True:
                last = written.is_set()
                answer = changes(conn, tenant, position, limit=20)
                position = answer["position"]
                seen += [(event["tenant_id"] or "", event["integrity"]["lane"], event["integrity"]["seq"])
                         for event in answer["data"]]
                if last and not answer["has_more"] and not answer["data"]:
                    return seen
                if not answer["data"]:
                    time.sleep(0.005)

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        writers = [pool.submit(write, number) for number in range(8)]
        pollers = {tenant: pool.submit(poll, tenant, []) for tenant in tenants}
        of_all = pool.submit(poll, None, [])
        time.sleep(6)
        stop.set()
        for writer in writers:
            writer.result()
        written.set()
    stored = db.conn.execute("SELECT tenant_id, lane, seq FROM immutable.events").fetchall()
    assert len(stored) > 500
    assert sorted(of_all.result()) == sorted(stored)
    for tenant, poller in pollers.items():
        seen = poller.result()
        assert sorted(seen) == sorted(row for row in stored if row[0] == tenant)
        for lane in {row[1] for row in seen}:
            in_lane = [row[2] for row in seen if row[1] == lane]
            assert in_lane == sorted(in_lane)


def test_views_for_reports(log):
    conn = log.connect(log.create_role("IN ROLE immutable_auditor"))
    for view in ("activity", "activity_targets"):
        undocumented = conn.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
            "AND col_description(attrelid, attnum) IS NULL", [f"immutable.{view}"]).fetchall()
        assert undocumented == []
    counts = conn.execute("SELECT (SELECT count(*) FROM immutable.events), count(*), sum(target_count) FROM immutable.activity").fetchone()
    assert counts[0] == counts[1]
    with_targets, targets = conn.execute(
        "SELECT count(*) FILTER (WHERE target_count > 0), (SELECT count(*) FROM immutable.activity_targets) FROM immutable.activity").fetchone()
    assert targets == counts[2]
    assert conn.execute(
        "SELECT sum(t.event_count) FROM immutable.activity a JOIN immutable.activity_targets t USING (tenant_id, event_id)"
    ).fetchone()[0] == with_targets
    assert conn.execute("SELECT count(*) FROM immutable.activity a JOIN immutable.events e ON e.id = a.event_id AND e.tenant_id = a.tenant_id "
                        "WHERE a.event_hash = encode(e.event_hash, 'hex')").fetchone()[0] == counts[0]
    limited = log.connect(log.viewer)
    log.conn.execute(f"GRANT SELECT ON immutable.activity, immutable.activity_targets TO {log.viewer}")
    limited.execute("SET x.tenant = 't0'")
    assert limited.execute("SELECT DISTINCT tenant_id FROM immutable.activity").fetchall() == [("t0",)]
    assert limited.execute("SELECT DISTINCT tenant_id FROM immutable.activity_targets").fetchall() == [("t0",)]
