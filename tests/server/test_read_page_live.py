"""Pages and totals of a log that is being written: the newest rows are not yet known to be visible to everybody, so that
reading an index is not enough. What a page touches is counted, since time depends on the machine."""

import json

import psycopg
import pytest

ROW = ("SELECT CASE WHEN n %% 3 = 0 THEN 'tenant_0' ELSE 'tenant_' || n %% 50 END, 'user_' || n %% 13, "
       "(ARRAY['document', 'task', 'user'])[1 + n %% 3] || '.' || (ARRAY['viewed', 'updated'])[1 + n / 3 %% 2], "
       "(ARRAY['document', 'task', 'user'])[1 + n %% 3], 'res_' || n %% 1009, 'sess_' || n / 40, "
       "jsonb_build_array(jsonb_build_object('type', (ARRAY['team', 'folder'])[1 + n %% 2], 'id', 'target_' || n %% 53), "
       "jsonb_build_object('type', 'main', 'id', 'm')), jsonb_build_object('text', repeat('some 1,000 bytes ', 60))")
INSERT = ("INSERT INTO immutable.events (tenant_id, actor_id, action, resource_type, resource_id, session_id, targets, metadata) "
          f"{ROW} FROM generate_series(%s::int, %s::int) n")
CASES = [{}] + [{name: value} for name, value in [
    ("actor_id", "user_5"), ("action", "document.viewed"), ("action", "document.*"), ("action", "*.viewed"), ("action", "nothing"),
    ("resource", "document"), ("resource_id", "res_7"), ("session_id", "sess_20"), ("target_type", "team"), ("target_type", "main"),
    ("target_id", "target_5"), ("target_id", "m"), ("from_date", "2000-01-01"), ("to_date", "2999-01-01")]]


def statement(conn, given):
    arguments = ", ".join(f'"{name}" => {psycopg.sql.Literal(value).as_string(conn)}' for name, value in given.items())
    return f"SELECT immutable.get_events({arguments})"


def touched(conn, given):
    """Pages of the database that a call touches when it has been planned before."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement(conn, given)}"
    for _ in range(2):
        plan = conn.execute(explain).fetchone()[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def total(conn, **given):
    pagination = conn.execute(statement(conn, {"limit": 1, **given})).fetchone()[0]["pagination"]
    return pagination["total"], pagination["total_relation"]


def viewer(db, tenant, actor=None, role=None):
    conn = db.connect(role or db.create_role("IN ROLE immutable_viewer"))
    token, = db.conn.execute("SELECT immutable.create_viewer_token(%s, %s) ->> 'token'", [tenant, actor]).fetchone()
    conn.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
    return conn


@pytest.mark.timeout(300)
def test_a_total_does_not_read_rows_that_vacuum_has_not_seen(db):
    db.unguard()
    for table in ("events", "event_targets"):
        db.conn.execute(f"ALTER TABLE immutable.{table} SET (autovacuum_enabled = off)")
    db.conn.execute(INSERT, [1, 30_000])
    db.conn.execute("VACUUM (ANALYZE) immutable.events, immutable.event_targets")
    for begin in range(30_001, 50_000, 1000):
        db.conn.execute(INSERT, [begin, begin + 999])
    assert db.conn.execute("SELECT relallvisible::real / relpages FROM pg_class WHERE oid = 'immutable.events'::regclass").fetchone()[0] > 0.99
    callers = {"all": (db.conn, {}), "tenant": (db.conn, {"tenant_id": "tenant_0"}), "viewer": (viewer(db, "tenant_0"), {}),
               "actor's viewer": (viewer(db, "tenant_0", "user_5"), {})}
    costs = {}
    for given in CASES:
        for who, (conn, more) in callers.items():
            whole = touched(conn, {**given, **more})
            costs[who, json.dumps(given)] = (whole, whole - touched(conn, {**given, **more, "count": "none"}))
    print("\n".join(f"{case}: {cost}" for case, cost in costs.items()))
    # A tenth of the 10,000 entries that may be looked at, a hundred more, and what a step of a hundred goes beyond it: the table's
    # and the index's pages, and of an actor's viewer each event's targets.
    assert {case: cost for case, cost in costs.items() if cost[1] > (3000 if "actor" in case[0] else 1500)} == {}
    # A page itself costs what it does in a log at rest; see test_read_page.py. (Of an actor's events all are looked through for a rare target.)
    assert {case: cost for case, cost in costs.items() if cost[0] > 9000 and cost[1] > 0} == {}
    # What the chain's numbers say costs next to nothing, and is exact.
    assert costs["tenant", "{}"][1] < 60 and costs["viewer", "{}"][1] < 60
    counted, = db.conn.execute("SELECT count(*) FROM immutable.events WHERE tenant_id = 'tenant_0'").fetchone()
    assert counted > 10_000
    assert total(db.conn, tenant_id="tenant_0") == total(callers["viewer"][0]) == (counted, "eq")
    # An estimate is close, for every role that gets one, and never less than what was counted.
    for given in CASES[1:]:
        events, relation = total(db.conn, **given)
        real = total_of(db.conn, given)
        assert relation == "eq" and events == real or real / 3 <= events <= real * 3, (given, events, real)
    # A role that row security limits never gets more than what was counted.
    for given in CASES:
        for who in ("viewer", "actor's viewer"):
            events, relation = total(callers[who][0], **given)
            assert relation == "eq" or events <= 10_000, (who, given)


def total_of(conn, given):
    """How many there are, the plain way."""
    conn.execute("SET immutable.max_exact_total = 1000000")
    try:
        events, relation = total(conn, **given)
        assert relation == "eq"
        return events
    finally:
        conn.execute("RESET immutable.max_exact_total")


def test_a_tenants_total_counts_what_the_statement_sees(db):
    """From the numbers of its lanes: many lanes, with other transactions open, rolled back and committed since."""
    fill = "INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT %s, 'u', 'x' FROM generate_series(1, %s)"
    db.conn.execute(fill, ["other", 7])  # the first event makes the log, for which all others wait
    writers = [db.connect(autocommit=False) for _ in range(6)]
    for number, writer in enumerate(writers):
        writer.execute(fill, ["many", 10 + number])  # each on a lane of its own, since those before are held
    assert total(db.conn, tenant_id="many") == (0, "eq")
    for number, writer in enumerate(writers):
        writer.rollback() if number % 3 == 2 else writer.commit()
    db.conn.execute(fill, ["many", 5])
    expected = 10 + 11 + 13 + 14 + 5
    assert db.conn.execute("SELECT count(DISTINCT lane) FROM immutable.events WHERE tenant_id = 'many'").fetchone()[0] > 3
    db.conn.execute("SET immutable.max_exact_total = 1")
    assert total(db.conn, tenant_id="many") == (expected, "eq")
    assert total(db.conn) == (expected + 7, "eq")
    assert total(db.conn, tenant_id="none") == (0, "eq")
    of_many = viewer(db, "many")
    of_many.execute("SET immutable.max_exact_total = 1")
    assert total(of_many) == total(of_many, tenant_id="many") == (expected, "eq")
    assert total(of_many, tenant_id="other") == (0, "eq")
    # An older snapshot sees what it saw; one's own rows count at once, and no longer when they are rolled back.
    with db.connect(autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SET LOCAL immutable.max_exact_total = 1")
        assert total(old, tenant_id="many") == (expected, "eq")
        db.conn.execute(fill, ["many", 3])
        assert total(old, tenant_id="many") == (expected, "eq")
        old.rollback()
        old.execute("SET LOCAL immutable.max_exact_total = 1")
        old.execute("SAVEPOINT s")
        old.execute(fill, ["many", 2])
        assert total(old, tenant_id="many") == (expected + 5, "eq")
        old.execute("ROLLBACK TO s")
        assert total(old, tenant_id="many") == (expected + 3, "eq")
        old.rollback()
    # If only the end of a lane was restored, the rows that exist are counted.
    db.unguard()
    with db.conn.transaction():
        db.conn.execute("SET LOCAL session_replication_role = replica")
        db.conn.execute("DELETE FROM immutable.events WHERE tenant_id = 'other' AND seq < 5")
    assert total(db.conn, tenant_id="other") == (3, "eq")


def test_a_log_of_many_tenants_is_not_counted_lane_by_lane(db):
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 't' || n, 'u', 'x' FROM generate_series(1, 300) n")
    db.conn.execute("VACUUM (ANALYZE) immutable.events")
    assert total(db.conn) == (300, "eq")
    db.conn.execute("SET immutable.max_exact_total = 20")
    events, relation = total(db.conn)
    assert relation == "estimate" and 150 <= events <= 600
    assert touched(db.conn, {}) < 500


@pytest.mark.parametrize("what", ["another policy", "an altered policy", "a policy for all", "a writer as well", "restrictive"])
def test_a_viewer_with_another_policy_is_told_only_what_it_sees(db, what):
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT 'acme', 'u' || n % 2, CASE n % 4 WHEN 0 THEN 'secret' ELSE 'open' END FROM generate_series(1, 400) n")
    role = db.create_role("IN ROLE immutable_viewer" + (", immutable_writer" if what == "a writer as well" else ""))
    db.unguard()
    hide = "FOR SELECT TO {} USING (action <> 'secret')"
    match what:
        case "another policy":
            db.conn.execute(f"CREATE POLICY more ON immutable.events FOR SELECT TO {role} USING (tenant_id = 'beta')")
        case "an altered policy":
            db.conn.execute("ALTER POLICY viewer_select ON immutable.events USING (tenant_id = (SELECT immutable.visible_tenant()) "
                            "AND immutable.is_visible(tenant_id, actor_id) AND action <> 'secret')")
        case "a policy for all":
            db.conn.execute("CREATE POLICY more ON immutable.events AS RESTRICTIVE " + hide.format("PUBLIC"))
        case "restrictive":
            db.conn.execute("CREATE POLICY more ON immutable.events AS RESTRICTIVE " + hide.format(role))
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'beta', 'u0', 'open' FROM generate_series(1, 50)")
    conn = viewer(db, "acme", role=role)
    for given in ({}, {"action": "open"}, {"action": "secret"}, {"action": "*"}, {"actor_id": "u0"}):
        seen, = conn.execute("SELECT count(*) FROM immutable.find_events(\"limit\" => 10000, "
                             + ", ".join(f"{name} => '{value}'" for name, value in given.items() or [("search", "")]) + ")").fetchone()
        assert total(conn, **given) == (seen, "eq"), given
    conn.execute("SET immutable.max_exact_total = 100")
    events, relation = total(conn)
    assert relation == "estimate" and events <= 100


def test_an_actors_viewer_learns_nothing_of_other_actors(db):
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'acme', 'u' || n % 2, 'x' FROM generate_series(1, 400) n")
    conn = viewer(db, "acme", "u1")
    assert total(conn) == total(conn, action="x") == total(conn, tenant_id="acme") == (200, "eq")
    conn.execute("SET immutable.max_exact_total = 50")
    for given in ({}, {"action": "x"}, {"tenant_id": "acme"}):
        assert total(conn, **given) == (50, "estimate")


def test_a_to_date_of_now_includes_what_this_transaction_recorded(db):
    """PostgreSQL's now() is when the transaction began: what it has recorded since is there too, and cursors go on."""
    with db.connect(autocommit=False) as conn:
        conn.execute("SELECT now()")
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'acme', 'u', 'x' FROM generate_series(1, 5)")
        for bounds in ("to_date => now()", "from_date => now()", "from_date => now(), to_date => now()", "to_date => current_timestamp"):
            events, = conn.execute(f"SELECT count(*) FROM immutable.find_events(tenant_id => 'acme', {bounds})").fetchone()
            answer, = conn.execute(f"SELECT immutable.get_events(tenant_id => 'acme', {bounds})").fetchone()
            assert events == len(answer["data"]) == answer["pagination"]["total"] == 5, bounds
        for bounds in ("to_date => now() - interval '1 microsecond'", "from_date => clock_timestamp()"):
            assert conn.execute(f"SELECT count(*) FROM immutable.find_events(tenant_id => 'acme', {bounds})").fetchone() == (0,)
        conn.commit()
    asked = "SELECT immutable.get_events(tenant_id => 'acme', to_date => now(), \"limit\" => 2, \"cursor\" => %s)"
    cursor, seen = None, []
    while True:
        answer, = db.conn.execute(asked, [cursor]).fetchone()
        seen += [event["id"] for event in answer["data"]]
        cursor = answer["pagination"]["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 5
    # It still counts as a filter of the cursor.
    cursor = db.conn.execute(asked, [None]).fetchone()[0]["pagination"]["next_cursor"]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="cursor belongs to"):
        db.conn.execute("SELECT immutable.get_events(tenant_id => 'acme', \"limit\" => 2, \"cursor\" => %s)", [cursor])
