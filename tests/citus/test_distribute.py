"""immutable.distribute(): the log on several nodes."""

import contextlib
import uuid

import psycopg
import pytest
from nodes import COORDINATOR, SPARE, WORKERS, Distributed

IDENTITY = uuid.UUID("11111111-2222-4333-8444-555555555555")


@pytest.fixture(scope="module")
def plain(nodes):
    """A database on all nodes with both extensions, whose log is not distributed yet."""
    log = Distributed(nodes, distribute=False)
    yield log
    log.close()


def identities(log, nodes=(COORDINATOR, *WORKERS)):
    found = []
    for node in nodes:
        with log.on_node(node) as conn:
            found.append([log_id for log_id, in conn.execute("SELECT log_id FROM immutable.log")])
    return found


# What a table or a shard consists of, for comparing nodes.
PARTS = """
    SELECT jsonb_build_object(
      'policies', (SELECT jsonb_object_agg(p.polname, jsonb_build_array(p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
         pg_get_expr(p.polwithcheck, p.polrelid), (SELECT array_agg(r::regrole::text ORDER BY r) FROM unnest(p.polroles) r)))
         FROM pg_policy p WHERE p.polrelid = c.oid),
      'grants', (SELECT array_agg(concat_ws(' ', a.grantee::regrole, a.privilege_type, a.is_grantable) ORDER BY a.grantee::regrole::text, a.privilege_type)
         FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a),
      'columns', (SELECT array_agg(concat_ws(' ', t.attname, t.attstattarget) ORDER BY t.attname) FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attnum > 0),
      'triggers', (SELECT array_agg(concat_ws(' ', regexp_replace(t.tgname, '_[0-9]{6,}$', ''), t.tgenabled, t.tgfoid::regproc, t.tgtype) ORDER BY t.tgname)
         FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
      'indexes', (SELECT array_agg(replace(regexp_replace(pg_get_indexdef(i.indexrelid), '_[0-9]{6,}', '', 'g'), 'ONLY ', '') ORDER BY 1)
         FROM (SELECT indexrelid FROM pg_index WHERE indrelid = c.oid ORDER BY regexp_replace(indexrelid::regclass::text, '_[0-9]{6,}', '')) i),
      'row_security', c.relrowsecurity, 'options', c.reloptions)
    FROM pg_class c WHERE c.oid = %s::regclass"""


def parts(conn, name):
    conn.execute("SET citus.override_table_visibility = off")
    return conn.execute(PARTS, [name]).fetchone()[0]


def parts_of_shards(log, table):
    """The parts of each shard of a table, without numbers of shards."""
    found = []
    for name, node in log.shards(table).items():
        with log.on_node(node) as conn:
            found.append(parts(conn, name))
    return found


def test_events_go_to_their_shards(shared, entry):
    conn = shared.connect(node=entry)
    tenants = shared.tenants_on(1, 2) + shared.tenants_on(2, 2)
    for tenant in tenants:
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
    assert conn.execute("SELECT count(*) FROM immutable.events WHERE tenant_id = ANY (%s)", [tenants]).fetchone()[0] >= 4


def test_every_node_has_the_identity_and_the_same_tables(shared):
    known = identities(shared)
    assert len(known[0]) == 1 and known[1:] == known[:-1]
    for table in ("events", "event_targets", "placement"):
        first, *others = parts_of_shards(shared, table)
        assert others == [first] * 7
        for node in (COORDINATOR, *WORKERS):
            with shared.on_node(node) as conn:
                shell = parts(conn, f"immutable.{table}")
                assert conn.execute("SELECT * FROM immutable.shard_changes()").fetchall() == []
            assert {key: shell[key] for key in ("policies", "row_security", "options", "triggers")} == \
                {key: first[key] for key in ("policies", "row_security", "options", "triggers")}


def test_distribute_can_be_called_again(shared):
    before = identities(shared), parts_of_shards(shared, "events")
    shared.conn.execute("SELECT immutable.distribute()")
    shared.conn.execute("SELECT immutable.distribute(%s)", before[0][0])
    assert (identities(shared), parts_of_shards(shared, "events")) == before
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="belongs to log") as refused:
        shared.conn.execute("SELECT immutable.distribute(%s)", [IDENTITY])
    assert "just created" in refused.value.diag.message_hint


def test_a_shard_that_differs_is_mended(shared):
    (name, node), *_ = shared.shards().items()
    number = name.rsplit("_")[-1]
    with shared.on_node(node) as conn:
        before = parts(conn, name)
        for trigger in ("start", "end", "drop"):
            conn.execute(f"ALTER EVENT TRIGGER immutable_ddl_{trigger} DISABLE")
        conn.execute("SET citus.enable_manual_changes_to_shards = on")
        conn.execute(f"DROP POLICY server_select ON {name}")
        conn.execute(f"ALTER POLICY server_insert ON {name} WITH CHECK (false)")
        conn.execute(f"ALTER TABLE {name} DISABLE TRIGGER \"~immutable_update_{number}\"")
        conn.execute(f"DROP TRIGGER \"~immutable_apply_{number}\" ON {name}")
        conn.execute(f"REVOKE SELECT ON {name} FROM immutable_viewer")
        conn.execute(f"DROP INDEX {name.replace('events', 'events_page')}")
        for trigger in ("start", "end", "drop"):
            conn.execute(f"ALTER EVENT TRIGGER immutable_ddl_{trigger} ENABLE ALWAYS")
        conn.execute("ALTER EVENT TRIGGER immutable_ddl_shard DISABLE")
        assert conn.execute("SELECT count(*) FROM immutable.shard_changes()").fetchone()[0] >= 8
    shared.conn.execute("SELECT immutable.distribute()")
    with shared.on_node(node) as conn:
        assert parts(conn, name) == before


def test_a_call_that_was_rolled_back_leaves_nothing_in_the_way(plain):
    plain.conn.execute("BEGIN")
    plain.conn.execute("SELECT immutable.distribute()")
    identity = plain.conn.execute("SELECT log_id FROM immutable.log").fetchone()[0]
    plain.conn.execute("ROLLBACK")
    assert not plain.conn.execute("SELECT EXISTS (SELECT FROM pg_dist_partition)").fetchone()[0]
    plain.conn.execute("BEGIN")
    plain.conn.execute("SELECT immutable.distribute()")
    assert plain.conn.execute("SELECT log_id FROM immutable.log").fetchone()[0] == identity
    plain.conn.execute("ROLLBACK")


@pytest.mark.parametrize("change, hint", [
    ("SET LOCAL citus.shard_replication_factor = 2", "SET citus.shard_replication_factor = 1"),
    ("SELECT citus_set_node_property(nodename, nodeport, 'shouldhaveshards', false) FROM pg_dist_node", "citus_add_node"),
])
def test_what_citus_would_refuse_is_said_before(plain, change, hint):
    plain.conn.execute("BEGIN")
    plain.conn.execute(change)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
        plain.conn.execute("SELECT immutable.distribute()")
    plain.conn.execute("ROLLBACK")
    assert hint in refused.value.diag.message_hint


@pytest.mark.parametrize("having, what", [
    ("SELECT immutable.create_api_key('a', ARRAY['read'])", "API keys"),
    ("SELECT immutable.set_action_schema('a.b')", "action schemas"),
    ("SELECT immutable.set_action_schema_mode('strict')", "a mode of action schemas"),
    ("SELECT immutable.create_alert_rule('r', 'off_hours', '{\"timezone\": \"UTC\"}')", "alert rules"),
    ("SELECT immutable.create_export()", "exports for download"),
    ("SELECT immutable.create_stream('s', '{\"type\": \"file\", \"path\": \"/tmp/x\"}')", "streams"),
])
def test_a_log_with_features_is_refused(plain, having, what):
    conn = plain.conn
    conn.execute("BEGIN")
    try:
        conn.execute(having)
    except psycopg.Error as error:
        conn.execute("ROLLBACK")
        pytest.fail(f"{having}: {error}")
    if conn.execute("SELECT EXISTS (SELECT FROM immutable.events)").fetchone()[0]:
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute("DELETE FROM immutable.events")
        conn.execute("SET LOCAL session_replication_role = origin")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cannot be distributed") as refused:
        conn.execute("SELECT immutable.distribute()")
    conn.execute("ROLLBACK")
    assert what in str(refused.value) and refused.value.diag.message_hint


def test_a_log_with_events_is_refused_and_the_hint_has_its_identity(plain):
    conn = plain.conn
    conn.execute("BEGIN")
    conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('a', 'b')")
    identity = conn.execute("SELECT log_id FROM immutable.log").fetchone()[0]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has events") as refused:
        conn.execute("SELECT immutable.distribute()")
    conn.execute("ROLLBACK")
    assert f"distribute('{identity}')" in refused.value.diag.message_hint


def test_a_worker_refuses_to_distribute(shared):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="runs on the coordinator") as refused:
        shared.connect(node=1).execute("SELECT immutable.distribute()")
    assert "coordinator" in refused.value.diag.message_hint


def test_no_other_role_can_distribute(shared):
    role = shared.create_role(groups=["immutable_writer", "immutable_auditor", "immutable_viewer"])
    for node in (COORDINATOR, 1):
        conn = shared.connect(role, node)
        for call in ("distribute()", "distribute_log(NULL)", "prepare_node(gen_random_uuid())", "prepare_tables()", "mend_shards()",
                     "share_identity()", "require_distributable()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
                conn.execute(f"SELECT immutable.{call}")


def test_the_coordinator_has_to_be_a_node_and_an_identity_can_be_given(nodes):
    log = Distributed(nodes, distribute=False)
    try:
        log.conn.execute("SELECT citus_remove_node(%s, %s)", log.address(COORDINATOR))
        for worker in WORKERS:
            log.conn.execute("SELECT citus_remove_node(%s, %s)", log.address(worker))
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="not among the nodes") as refused:
            log.conn.execute("SELECT immutable.distribute()")
        assert "citus_set_coordinator_host" in refused.value.diag.message_hint
        log.conn.execute("SELECT citus_set_coordinator_host(%s, %s)", log.address(COORDINATOR))
        log.conn.execute("SELECT citus_add_node(%s, %s)", log.address(1))
        log.conn.execute("SELECT immutable.distribute(%s)", [IDENTITY])
        tenant, = log.tenants_on(1)
        log.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
        assert log.conn.execute("SELECT log_id FROM immutable.events").fetchall() == [(IDENTITY,)]
        assert identities(log, (COORDINATOR, 1)) == [[IDENTITY]] * 2
        # A node of another log is refused.
        with log.on_node(SPARE) as conn:
            conn.execute("CREATE EXTENSION immutable")
            conn.execute("SELECT immutable.share_identity()")
        log.add(SPARE)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cannot take the log's identity"):
            log.conn.execute("SELECT immutable.distribute()")
    finally:
        log.close()


def test_tables_of_an_application_are_distributed_as_before(log):
    """Citus places a table beside others of the same kind unless it is told otherwise. The log's tables are not of that kind."""
    log.conn.execute("CREATE TABLE orders (customer text, n int)")
    log.conn.execute("SELECT create_distributed_table('orders', 'customer')")
    log.conn.execute("INSERT INTO orders SELECT 'c' || n, n FROM generate_series(1, 20) n")
    assert log.conn.execute("SELECT count(*) FROM orders").fetchone() == (20,)
    log.conn.execute("CREATE TABLE notes (tenant_id text COLLATE \"C\", note text)")
    log.conn.execute("SELECT create_distributed_table('notes', 'tenant_id', colocate_with => 'immutable.events')")
    log.conn.execute("INSERT INTO notes VALUES ('t1', 'x')")
    log.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t1', 'a', 'b')")
    together = "SELECT count(*) FROM notes n JOIN immutable.events e USING (tenant_id) WHERE n.tenant_id = 't1'"
    assert log.conn.execute(together).fetchone() == (1,)


def test_called_again_it_waits_for_no_reader(shared):
    """It would wait on one node for a reader that waits on another node for it, and no node could see that."""
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(shared.on_node(node)) for node in (COORDINATOR, *WORKERS)]
        for reader in readers:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM immutable.events").fetchall()
            reader.execute("SELECT * FROM immutable.heads()").fetchall()
        shared.conn.execute("SET statement_timeout = '30s'")
        shared.conn.execute("SELECT immutable.distribute()")
        shared.conn.execute("RESET statement_timeout")
        for reader in readers:
            reader.execute("SELECT immutable.get_events()").fetchall()
