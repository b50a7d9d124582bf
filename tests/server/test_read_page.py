"""Pages of events against a model: whatever the filters, the order, the page size and the role, walking through the
pages gives exactly the events that a plain query gives, each once, forth and back."""

import itertools
import json
import pathlib
import random
import re

import psycopg
import pytest
from psycopg.types.json import Jsonb

TENANTS = ["", "acme", "beta", "tiny", "tenant,{}\"'\\"]
ACTIONS = ["document.viewed", "document.shared", "documents.listed", "user.login", "é.créé", "a%b_c\\d", "billing.rare"]
TYPES = ["document", "folder", "", None]
SEARCHED = ["Sarah", "SARAH", "50%", "_", "\\", '"', 'say "hi"', "back\\slash", "é", "É", "nothing", "code1", "{", "\n"]
# The columns of the service's events, and those that an auditor or a viewer sees besides.
FILTERS = ["actor_id", "action", "resource", "resource_id", "tenant_id", "session_id", "target_type", "target_id",
           "search", "from_date", "to_date"]

VIEWER = """
CREATE POLICY {0} ON immutable.events FOR SELECT TO {0} USING (tenant_id = (SELECT current_setting('test.tenant')));
CREATE POLICY {0} ON immutable.event_targets FOR SELECT TO {0} USING (tenant_id = (SELECT current_setting('test.tenant')));
GRANT USAGE ON SCHEMA immutable TO {0};
GRANT SELECT ON immutable.events, immutable.event_targets, immutable.activity, immutable.activity_targets TO {0};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA immutable TO {0};
"""


def fill(conn, seed, events):
    """Events of few values each, so that filters meet; some with the same created_at, and the same id in two tenants."""
    chance = random.Random(seed)
    rows = []
    for number in range(events):
        actor = f"user_{chance.randrange(6)}"
        targets = [{"type": chance.choice(["team", "folder"]), **({"id": f"t{chance.randrange(4)}"} if chance.random() < .8 else {})}
                   for _ in range(chance.choice([0, 0, 1, 2, 4]))]
        rows.append((
            chance.choices(TENANTS, [2, 6, 3, 1, 2])[0], actor, chance.choice(["Sarah Chen", "50% _ \\", "É", None]),
            chance.choices(ACTIONS, [9, 6, 4, 4, 2, 2, 0.3])[0], chance.choice(TYPES),
            chance.choice(["r1", "r2", "", None]), chance.choice(["Report", 'say "hi"', None]), Jsonb(targets),
            Jsonb(chance.choice([{}, {"k": 'say "hi"'}, {"k": "back\\slash"}, {"code1": ["é", 1]}, {"n": "a\nb"}])),
            chance.choice([f"s{chance.randrange(5)}", None]), number))
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action, resource_type, resource_id, "
            "resource_name, targets, metadata, session_id, version) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", rows)
    # Ties in everything but the tenant: the triggers prevent them here, but several lanes and clocks could make them.
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute(
            "UPDATE immutable.events SET created_at = date_trunc('second', created_at) + interval '1 s' * (version / 25)")
        conn.execute(
            "UPDATE immutable.event_targets t SET created_at = e.created_at FROM immutable.events e "
            "WHERE e.id = t.event_id AND e.tenant_id = t.tenant_id")
        conn.execute("""
            WITH twin AS (SELECT e.id AS one, o.id AS other, o.tenant_id FROM immutable.events e JOIN immutable.events o
                          ON o.created_at = e.created_at AND o.tenant_id > e.tenant_id WHERE e.version % 7 = 0 AND o.targets = '[]')
            UPDATE immutable.events e SET id = t.one FROM (SELECT DISTINCT ON (tenant_id, other) * FROM
              (SELECT DISTINCT ON (tenant_id, one) * FROM twin) t) t WHERE e.id = t.other AND e.tenant_id = t.tenant_id""")
    conn.execute("VACUUM (ANALYZE) immutable.events, immutable.event_targets")
    twins, ties = conn.execute("SELECT count(*) - count(DISTINCT id), count(*) - count(DISTINCT created_at) FROM immutable.events").fetchone()
    assert twins > 3 and ties > events / 2


def like(pattern):
    return "%".join(re.sub(r"([\\%_])", r"\\\1", part) for part in pattern.split("*"))


def model(conn, given, tenant, order):
    """The same by the simplest query, as a role that sees everything."""
    where, values = ["true"], []

    def also(clause, *arguments):
        where.append(clause)
        values.extend(arguments)
    for name, value in given.items():
        match name:
            case "action":
                also("action LIKE %s", like(value))
            case "resource":
                also("resource_type = %s", value)
            case "from_date":
                also("created_at >= %s", value)
            case "to_date":
                also("created_at <= %s", value)
            case "search":
                in_json = json.dumps(value, ensure_ascii=False)[1:-1]
                pattern = "%" + like(value.replace("*", "\0")).replace("\0", "*") + "%"
                pattern_in_json = "%" + like(in_json.replace("*", "\0")).replace("\0", "*") + "%"
                also("(actor_name ILIKE %s OR action COLLATE \"default\" ILIKE %s OR resource_name ILIKE %s OR metadata::text ILIKE %s "
                     "OR metadata::text ILIKE %s)", pattern, pattern, pattern, pattern, pattern_in_json)
            case "target_type" | "target_id":
                pass
            case _:
                also(f"{name} = %s", value)
    target = [name for name in ("target_type", "target_id") if name in given]
    if target:
        also("EXISTS (SELECT FROM immutable.event_targets t WHERE t.event_id = e.id AND t.tenant_id = e.tenant_id AND "
             + " AND ".join(f"{name} = %s" for name in target) + ")", *(given[name] for name in target))
    if tenant is not None:
        also("tenant_id = %s", tenant)
    return conn.execute(
        f"SELECT tenant_id, id::text FROM immutable.events e WHERE {' AND '.join(where)} "
        f"ORDER BY created_at {order}, id {order}, tenant_id {order}", values).fetchall()


def call(conn, function, given):
    arguments = ", ".join(f'"{name}" => %s' for name in given)
    return conn.execute(f"SELECT * FROM immutable.{function}({arguments})", list(given.values()))


def page(conn, given):
    answer = call(conn, "get_events", given).fetchone()[0]
    return [(event["tenant_id"] or "", event["id"]) for event in answer["data"]], answer["pagination"]


def walk(conn, given, size, order):
    """Forth through all pages and back again."""
    pages, cursor = [], None
    while True:
        events, pagination = page(conn, {**given, "limit": size, "order": order, "cursor": cursor})
        # Oldest first, the end has a cursor as well: to go on from when there is more.
        at_end = order == "asc" and events + pages != []
        assert (pagination["next_cursor"] is not None) == (pagination["has_more"] or at_end)
        assert (pagination["previous_cursor"] is not None) == bool(pages)
        pages.append(events)
        cursor, last = pagination["next_cursor"], pagination
        assert len(pages) < 1000
        if not pagination["has_more"]:
            break
    if cursor is not None:
        assert page(conn, {**given, "limit": size, "order": order, "cursor": cursor})[0] == []
    back, cursor = [pages[-1]], last["previous_cursor"]
    while cursor is not None:
        events, pagination = page(conn, {**given, "limit": size, "order": order, "cursor": cursor, "count": "none"})
        assert pagination["has_more"] and pagination["total"] is None
        back.insert(0, events)
        cursor = pagination["previous_cursor"]
    assert back == pages
    return list(itertools.chain(*pages)), last


def some_filters(chance, times):
    value = {
        "actor_id": lambda: f"user_{chance.randrange(7)}",
        "action": lambda: chance.choice(ACTIONS + ["document.*", "*.rare", "*", "document*", "*ed", "b*e", "é*", "a%*", "zzz.*"]),
        "resource": lambda: chance.choice(["document", "folder", ""]),
        "resource_id": lambda: chance.choice(["r1", "r2", "", "none"]),
        "tenant_id": lambda: chance.choice(TENANTS),
        "session_id": lambda: f"s{chance.randrange(6)}",
        "target_type": lambda: chance.choice(["team", "folder", "none"]),
        "target_id": lambda: f"t{chance.randrange(5)}",
        "search": lambda: chance.choice(SEARCHED),
        "from_date": lambda: chance.choice(times),
        "to_date": lambda: chance.choice(times),
    }
    names = chance.sample(FILTERS, chance.choices([0, 1, 2, 3, 4], [1, 4, 5, 3, 1])[0])
    return {name: value[name]() for name in names}


@pytest.fixture
def filled(db):
    fill(db.conn, 11, 900)
    times = [row[0] for row in db.conn.execute("SELECT DISTINCT created_at FROM immutable.events ORDER BY 1")]
    auditor, viewer = db.create_role("IN ROLE immutable_auditor"), db.create_role()
    db.unguard()
    db.conn.execute(VIEWER.format(viewer))
    readers = {"owner": (db.conn, None), "auditor": (db.connect(auditor), None)}
    for tenant in ("acme", "tiny"):
        conn = db.connect(viewer)
        conn.execute("SELECT set_config('test.tenant', %s, false)", [tenant])
        readers[f"viewer of {tenant}"] = (conn, tenant)
    nobody = db.connect(viewer)
    nobody.execute("SET test.tenant = 'no such tenant'")
    readers["viewer of none"] = (nobody, "no such tenant")
    return db, readers, times


def compare(db, readers, times, seed, rounds):
    chance = random.Random(seed)
    cases = [{}] + [{name: value} for name, value in [
        ("tenant_id", "acme"), ("actor_id", "user_1"), ("action", "document.viewed"), ("action", "document.*"), ("action", "*d"),
        ("resource", "document"), ("resource_id", "r1"), ("session_id", "s1"), ("target_type", "team"), ("target_id", "t1"),
        ("search", "sarah"), ("from_date", times[10]), ("to_date", times[10])]]
    cases += [some_filters(chance, times) for _ in range(rounds)]
    found = 0
    for number, given in enumerate(cases):
        who = list(readers)[number % len(readers)]
        conn, tenant = readers[who]
        order = chance.choice(["asc", "desc"])
        expected = model(db.conn, given, tenant, order)
        found += len(expected)
        size = chance.choice([1, 2, 7, 25, 100]) if len(expected) < 60 else chance.choice([13, 25, 100])
        case = f"{who}: {given} {order}, pages of {size}"
        events, pagination = walk(conn, given, size, order)
        assert events == expected, case
        if len(expected) and pagination["total_relation"] == "eq":
            assert pagination["total"] == len(expected), case
        rows = call(conn, "find_events", {**given, "limit": 10_000, "order": order}).fetchall()
        assert [(row[1], str(row[0])) for row in rows] == expected, case
    assert found > rounds * 10


def test_pages_are_what_a_plain_query_gives(filled):
    compare(*filled, seed=1, rounds=220)


def test_pages_with_the_search_index_and_without_counting(filled):
    """With the index, and where nothing is counted, every way of reading a page gives the same."""
    db, readers, times = filled
    db.conn.execute("CREATE SCHEMA elsewhere")
    db.conn.execute("CREATE EXTENSION pg_trgm SCHEMA elsewhere")
    db.conn.execute("SELECT immutable.enable_search()")
    db.conn.execute(f"ALTER DATABASE {db.name} SET immutable.max_exact_total = 5")
    compare(db, {"owner": (db.connect(), None), **readers}, times, seed=2, rounds=120)
    for needle in SEARCHED + ["sar", "ara", "ocument.sh", "a\nb", "k", "1"]:
        with_index = call(db.conn, "find_events", {"search": needle, "limit": 10_000}).fetchall()
        assert [(row[1], str(row[0])) for row in with_index] == model(db.conn, {"search": needle}, None, "desc"), needle
    # The statement for those who cannot let writers wait makes the same index.
    definition = "SELECT pg_get_indexdef('immutable.events_search'::regclass)"
    built = db.conn.execute(definition).fetchone()
    db.conn.execute("SELECT immutable.disable_search()")
    compare(db, readers, times, seed=3, rounds=60)
    operations = (pathlib.Path(__file__).resolve().parents[2] / "docs/operations.md").read_text()
    statement = re.search(r"CREATE INDEX CONCURRENTLY events_search.*?;", operations, re.S)[0]
    db.conn.execute(statement.replace("public.gin_trgm_ops", "elsewhere.gin_trgm_ops"))
    assert db.conn.execute(definition).fetchone() == built
    db.conn.execute("SELECT immutable.enable_search()")  # is content with it


WAYS = [
    # The caller, the filters, and how the page is read. Every answer has ten events or fewer.
    ("owner", {}, "follow index", "no filter"),
    ("owner", {"tenant_id": "acme"}, "follow index", "no filter"),
    ("owner", {"tenant_id": "acme", "actor_id": "u"}, "follow index", "actor_id"),
    ("owner", {"actor_id": "seldom"}, "list entries", "actor_id"),
    ("owner", {"actor_id": "seldom", "resource": "thing"}, "list entries", "actor_id"),
    ("owner", {"target_id": "t1"}, "list entries", "target_id"),
    ("owner", {"actor_id": "u"}, "merge tenants", "actor_id"),
    ("owner", {"actor_id": "everywhere"}, "walk 2500 rows", "actor_id"),
    ("owner", {"actor_id": "u", "session_id": "s"}, "widen stretches of time", "session_id"),
    ("owner", {"action": "of*"}, "walk 2500 rows", "pattern of actions"),
    ("owner", {"action": "rar*"}, "merge actions", "pattern of actions"),
    ("owner", {"action": "*are"}, "merge actions", "pattern of actions"),
    ("owner", {"search": "rare"}, "follow index", "search"),
    ("viewer", {"actor_id": "u"}, "follow index", "actor_id"),
    # The log has more actions than are asked about one by one with the rights of a viewer.
    ("viewer", {"action": "rar*"}, "gather", "pattern of actions"),
    ("viewer", {"action": "*are"}, "follow index", "pattern of actions"),
    ("viewer", {"search": "rare"}, "follow index", "search"),
    ("indexed", {"search": "rare"}, "search index", "search"),
    ("indexed", {"search": "often"}, "walk 5000 rows", "search"),
]


def test_how_a_page_is_read(db):
    """Each way is taken where it costs least, which no answer shows: messages of level DEBUG1 name the way."""
    db.conn.execute("""
        INSERT INTO immutable.events (tenant_id, actor_id, action)
          SELECT 'acme', 'u', 'action' || n FROM generate_series(1, 2100) n;
        INSERT INTO immutable.events (tenant_id, actor_id, action, resource_type, targets)
          SELECT 'acme', 'seldom', 'rare', 'thing', '[{"type": "team", "id": "t1"}]' FROM generate_series(1, 5);
        INSERT INTO immutable.events (tenant_id, actor_id, action, session_id)
          SELECT CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'beta' END, 'u', 'often', CASE WHEN n % 3 = 0 THEN 's' END
          FROM generate_series(1, 5100) n;
        INSERT INTO immutable.events (tenant_id, actor_id, action)
          SELECT 'tenant' || n % 60, 'everywhere', 'often' FROM generate_series(1, 5100) n""")
    db.conn.execute("VACUUM (ANALYZE) immutable.events, immutable.event_targets")
    token, = db.conn.execute("SELECT immutable.create_viewer_token('acme') ->> 'token'").fetchone()
    viewer = db.connect(db.create_role("IN ROLE immutable_viewer"))
    viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
    messages = []
    for conn in (db.conn, viewer):
        conn.execute("SET client_min_messages = debug1")
        conn.add_notice_handler(lambda message: messages.append(message.message_primary))
    functions = {"get_events": {"limit": 10, "count": "none"}, "find_events": {"limit": 10}}
    for who, given, way, lead in WAYS:
        if who == "indexed":
            db.conn.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            db.conn.execute("SELECT immutable.enable_search()")
        for function, others in functions.items():
            messages.clear()
            call(viewer if who == "viewer" else db.conn, function, {**given, **others})
            taken = [message for message in messages if "page read by" in message]
            assert taken == [f"immutable: page read by: {way}, lead filter: {lead}"], (who, given, function)


def test_the_search_index_needs_its_extension(db):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="pg_trgm") as refused:
        db.conn.execute("SELECT immutable.enable_search()")
    assert "CREATE EXTENSION pg_trgm" in refused.value.diag.message_hint
    role = db.create_role("IN ROLE immutable_auditor")
    for function in ("enable_search", "disable_search"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.connect(role).execute(f"SELECT immutable.{function}()")


def test_rows_recorded_meanwhile_neither_shift_nor_repeat_events(db):
    fill(db.conn, 5, 200)
    for order in ("desc", "asc"):
        before = model(db.conn, {"tenant_id": "acme"}, None, order)
        events, cursor = [], None
        while True:
            some, pagination = page(db.conn, {"tenant_id": "acme", "limit": 7, "order": order, "cursor": cursor})
            events += some
            cursor = pagination["next_cursor"]
            if not pagination["has_more"] or len(events) > 1000:
                break
            if len(events) < 60:
                db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'acme', 'new', 'x' FROM generate_series(1, 3)")
        assert len(events) == len(set(events))
        after = model(db.conn, {"tenant_id": "acme"}, None, order)
        # Newest first, the new ones are before the first page; oldest first, they come at the end.
        assert events == (before if order == "desc" else after)
    # The cursor at the end continues, also where nothing new was found.
    for expected in ([], ["later"], [], ["latest"]):
        for action in expected:
            db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('acme', 'new', %s)", [action])
        answer = call(db.conn, "get_events", {"tenant_id": "acme", "order": "asc", "cursor": cursor}).fetchone()[0]
        assert [event["action"] for event in answer["data"]] == expected
        assert not answer["pagination"]["has_more"]
        cursor = answer["pagination"]["next_cursor"]


def test_a_cursor_works_only_for_the_query_it_was_made_for(db):
    fill(db.conn, 6, 120)
    given = {"tenant_id": "acme", "limit": 5}
    _, first = page(db.conn, given)
    _, second = page(db.conn, {**given, "cursor": first["next_cursor"]})
    for cursor in (first["next_cursor"], second["previous_cursor"]):
        for other in ({"order": "asc"}, {"actor_id": "user_1"}, {"tenant_id": "beta"}, {"search": "x"}, {"action": "*"},
                      {"from_date": "2020-01-01"}, {"tenant_id": None}):
            for function in ("get_events", "find_events"):
                with pytest.raises(psycopg.errors.InvalidParameterValue, match="cursor belongs to") as refused:
                    call(db.conn, function, {**given, **other, "cursor": cursor})
                assert refused.value.diag.message_hint
        # A cursor works with another page size, and with or without counting.
        assert page(db.conn, {**given, "limit": 9, "count": "none", "cursor": cursor})[0]
    for wrong in ({"order": "up"}, {"order": "DESC"}, {"count": "all"}, {"limit": 0}, {"limit": 101}):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
            page(db.conn, {**given, **wrong})
        assert refused.value.diag.message_hint and next(iter(wrong)) in refused.value.diag.message_primary


def test_totals(db):
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT 'acme', 'u' || n % 2, CASE WHEN n % 100 = 0 THEN 'rare' ELSE 'often' END FROM generate_series(1, 3000) n")
    db.conn.execute("ANALYZE immutable.events")

    def total(**given):
        pagination = page(db.conn, {"limit": 10, **given})[1]
        return pagination["total"], pagination["total_relation"]
    assert total() == (3000, "eq")
    assert total(actor_id="u1", tenant_id="acme") == (1500, "eq")
    assert total(count="none") == (None, None)
    db.conn.execute("SET immutable.max_exact_total = 1000")
    # The totals of the whole log and of a tenant are known from the lanes.
    assert total() == total(tenant_id="acme") == (3000, "eq")
    events, relation = total(action="often")
    assert relation == "estimate" and 1000 < events < 9000
    assert total(action="rare") == (30, "eq")
    assert total(action="nothing") == (0, "eq")
    # A page that holds everything gives the exact total, whatever the limit on counting.
    db.conn.execute("SET immutable.max_exact_total = 0")
    assert total(action="rare", limit=100) == (30, "eq")
    assert total(action="rare")[1] == "estimate"
    assert total(action="rare", actor_id="u0", limit=100) == (30, "eq")
    # The planner knows nothing of tenants, but a tenant's share is known.
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT 'small', 'u', CASE WHEN n % 2 = 0 THEN 'even' ELSE 'often' END FROM generate_series(1, 300) n")
    db.conn.execute("ANALYZE immutable.events")
    db.conn.execute("SET immutable.max_exact_total = 100")
    assert total(tenant_id="small") == (300, "eq")
    events, relation = total(tenant_id="small", action="often")
    assert relation == "estimate" and 270 * 0.9 <= events <= 270 * 1.1, events
    assert total(tenant_id="nobody") == (0, "eq")
    # Never less than the page shows, also for roles that get no estimate.
    db.conn.execute("SET immutable.max_exact_total = 10")
    token, = db.conn.execute("SELECT immutable.create_viewer_token('acme') ->> 'token'").fetchone()
    viewer = db.create_role("IN ROLE immutable_viewer")
    for given in ({"search": "rare"}, {"search": "rare", "tenant_id": "acme"}, {"search": "OFTEN"}):
        for limited in (False, True):
            if limited:
                db.conn.execute(f"SET ROLE {viewer}")
                db.conn.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
            shown, pagination = page(db.conn, {"limit": 20, **given})
            assert pagination["has_more"] and pagination["total"] > len(shown) == 20, (given, limited, pagination)
            db.conn.execute("RESET ROLE")


def touched(conn, given):
    """Pages of the database that a call touches, kept plans and all: what does not grow must not grow with the table."""
    arguments = ", ".join(f'"{name}" => {psycopg.sql.Literal(value).as_string(conn)}' for name, value in given.items())
    statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT immutable.get_events({arguments})"
    for _ in range(2):
        plan = conn.execute(statement).fetchone()[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.mark.timeout(300)
def test_the_cost_of_a_page_does_not_grow_with_the_log(db):
    """Every filter, alone, in the largest tenant and under row security, at 16,000 and 64,000 events."""
    viewer = db.create_role()
    db.unguard()
    db.conn.execute(VIEWER.format(viewer))
    limited = db.connect(viewer)
    limited.execute("SET test.tenant = 'tenant_0'")
    # Also with a token for one actor: the policy's check of the actor uses no index.
    of_actor = db.connect(db.create_role("IN ROLE immutable_viewer"))
    token, = db.conn.execute("SELECT immutable.create_viewer_token('tenant_0', 'user_rare') ->> 'token'").fetchone()
    of_actor.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
    row = ("SELECT CASE WHEN n %% 3 = 0 THEN 'tenant_0' ELSE 'tenant_' || n %% 50 END, 'user_' || n %% 13, "
           "(ARRAY['document', 'task', 'user'])[1 + n %% 3] || '.' || (ARRAY['viewed', 'updated'])[1 + n / 3 %% 2], "
           "(ARRAY['document', 'task', 'user'])[1 + n %% 3], 'res_' || n %% 1009, 'sess_' || n / 40, "
           "jsonb_build_array(jsonb_build_object('type', (ARRAY['team', 'folder'])[1 + n %% 2], 'id', 'target_' || n %% 53), "
           "jsonb_build_object('type', 'main', 'id', 'm'))")
    insert = f"INSERT INTO immutable.events (tenant_id, actor_id, action, resource_type, resource_id, session_id, targets) {row} FROM generate_series(%s::int, %s::int) n"
    # So rare that only an index finds them, and at the very beginning.
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, resource_type, targets) "
                    "SELECT 'tenant_0', 'user_rare', 'billing.rare', 'invoice', '[{\"type\": \"rare\", \"id\": \"r\"}]' FROM generate_series(1, 40)")
    cases = [{}] + [{name: value} for name, value in [
        ("actor_id", "user_5"), ("actor_id", "user_rare"), ("action", "document.viewed"), ("action", "billing.rare"),
        ("action", "document.*"), ("action", "billing.*"), ("action", "*.viewed"), ("action", "*.rare"), ("resource", "document"),
        ("resource", "invoice"), ("resource", "nothing"), ("resource_id", "res_7"), ("session_id", "sess_20"),
        ("target_type", "team"), ("target_type", "rare"), ("target_id", "target_5"), ("target_id", "r")]]
    cases += [{"actor_id": "user_5", "action": "document.viewed"}, {"actor_id": "user_rare", "target_id": "m"},
              {"target_id": "m", "action": "billing.rare"}, {"target_type": "main", "target_id": "m"}]
    costs = {}
    begin = 0
    for events in (16_000, 64_000):
        db.conn.execute(insert, [begin, events])
        begin = events + 1
        db.conn.execute("VACUUM (ANALYZE) immutable.events, immutable.event_targets")
        for given in cases:
            for who, conn, more in (("all", db.conn, {}), ("tenant", db.conn, {"tenant_id": "tenant_0"}), ("viewer", limited, {}),
                                    ("actor's viewer", of_actor, {})):
                costs.setdefault((who, *given.items()), []).append(touched(conn, {**given, **more, "count": "none"}))
    assert page(of_actor, {"limit": 100})[1]["total"] == page(of_actor, {"target_type": "rare", "limit": 100})[1]["total"] == 40
    assert page(of_actor, {"actor_id": "user_5"})[0] == []
    _, pagination = page(of_actor, {"limit": 30})
    assert len(page(of_actor, {"limit": 30, "cursor": pagination["next_cursor"]})[0]) == 10
    grown = {case: cost for case, cost in costs.items() if cost[1] > 2 * cost[0] + 200}
    assert not grown, json.dumps({str(case): cost for case, cost in grown.items()}, indent=1)
    # 26 events, each a few index pages and one of the table; or the next 1,000 events looked through, targets and all.
    assert {case: cost for case, cost in costs.items() if cost[1] > 8000} == {}
    print(max(costs.items(), key=lambda case: case[1][1]))
