"""Plain queries of a distributed log: views, joins, groups, and viewers who use them."""

import psycopg
import pytest
from helpers_reading import bind_to_tenant, call, viewer

TARGETS = '[{"type": "doc", "id": "d1"}, {"type": "team"}]'


@pytest.fixture(scope="module")
def filled(shared):
    tenants = [tenant for node in (1, 2) for tenant in shared.tenants_on(node, 2)]
    for tenant in tenants:
        shared.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) "
                            "SELECT %s, 'u' || n %% 2, 'a' || n %% 3, %s FROM generate_series(1, 6) n", [tenant, TARGETS])
    return shared, tenants


def test_views_and_joins(filled, entry):
    log, tenants = filled
    auditor = log.connect(log.create_role(groups=["immutable_auditor"]), entry)
    bound = log.create_role(groups=["immutable_viewer"])
    bind_to_tenant(log, bound, tenants[0])
    for conn, count in ((auditor, len(tenants)), (log.connect(bound, entry), 1)):
        def ask(query, *values):
            return conn.execute(query, values).fetchall()
        assert ask("SELECT count(*), sum(target_count), count(DISTINCT tenant_id) FROM immutable.activity") == [(6 * count, 12 * count, count)]
        assert ask("SELECT count(*) FROM immutable.activity WHERE tenant_id = %s AND actor_id = 'u1'", tenants[0]) == [(3,)]
        assert ask("SELECT t.target_type, count(*), sum(t.event_count) FROM immutable.activity a JOIN immutable.activity_targets t "
                   "USING (tenant_id, event_id) WHERE a.action <> 'a0' GROUP BY 1 ORDER BY 1") == [("doc", 4 * count, 4 * count), ("team", 4 * count, 0)]
        assert ask("SELECT action, count(*) FROM immutable.events GROUP BY action ORDER BY 2 DESC, 1") == [(f"a{n}", 2 * count) for n in range(3)]
        assert len(ask("SELECT * FROM immutable.events ORDER BY created_at DESC, id DESC, tenant_id DESC LIMIT 3")) == 3
        assert ask("SELECT count(*) FROM immutable.find_events(tenant_id => %s, action => 'a1')", tenants[0]) == [(2,)]
        assert ask("SELECT e.action, t.position FROM immutable.events e JOIN immutable.event_targets t ON t.event_id = e.id AND t.tenant_id = e.tenant_id "
                   "WHERE e.tenant_id = %s AND t.target_id = 'd1' AND e.action = 'a1'", tenants[0]) == [("a1", 0)] * 2


def test_the_reading_functions_in_queries_of_their_own(filled, entry):
    """In functions, in DO, in a cursor, in EXPLAIN, and beside other tables."""
    log, tenants = filled
    conn = log.connect(log.create_role(groups=["immutable_auditor"]), entry)
    tenant = tenants[-1]
    conn.execute("CREATE TEMP TABLE wanted AS SELECT unnest(%s::text[]) AS tenant_id", [tenants])
    assert conn.execute("SELECT w.tenant_id, (immutable.get_events(tenant_id => w.tenant_id, \"limit\" => 1) -> 'pagination' ->> 'total')::int "
                        "FROM wanted w ORDER BY 1").fetchall() == [(one, 6) for one in sorted(tenants)]
    assert conn.execute("SELECT count(*) FROM wanted w, immutable.find_events(tenant_id => w.tenant_id) e").fetchone() == (6 * len(tenants),)
    conn.execute("DO $$BEGIN IF (SELECT count(*) FROM immutable.find_events()) <> 24 THEN RAISE 'other'; END IF; END$$")
    with conn.transaction():
        conn.execute("DECLARE c CURSOR FOR SELECT id FROM immutable.find_events(tenant_id => %s)" % f"'{tenant}'")
        assert len(conn.execute("FETCH 4 FROM c").fetchall()) == 4 and len(conn.execute("FETCH ALL FROM c").fetchall()) == 2
    conn.execute("EXPLAIN ANALYZE SELECT * FROM immutable.find_events(tenant_id => 'x')")
    conn.execute("BEGIN READ ONLY")
    assert call(conn, "get_events", {"tenant_id": tenant}).fetchone()[0]["pagination"]["total"] == 6
    conn.execute("COMMIT")
    # A NULL, which Citus would not survive where it hashes it.
    assert call(conn, "get_events", {"tenant_id": None}).fetchone()[0]["pagination"]["total"] == 24


def test_plain_queries_of_viewers_with_tokens(filled, entry):
    """The token goes to the shards with SET LOCAL where the client asks for that; whoever does not sees nothing, or is told."""
    log, tenants = filled
    conn = viewer(log, entry, tenants[0])
    token, = conn.execute("SHOW immutable.viewer_token").fetchone()
    try:
        assert conn.execute("SELECT count(*) FROM immutable.events").fetchone() == (0,)
    except psycopg.Error as error:
        assert "citus.propagate_set_commands" in error.diag.message_hint
    conn.execute("SET citus.propagate_set_commands = 'local'")
    with conn.transaction():
        conn.execute(f"SET LOCAL immutable.viewer_token = '{token}'")
        assert conn.execute("SELECT count(*), count(DISTINCT tenant_id) FROM immutable.activity").fetchone() == (6, 1)
        assert call(conn, "get_events", {}).fetchone()[0]["pagination"]["total"] == 6
