"""The guard against DDL on all nodes: shards belong to the log, and Citus goes on working."""

import psycopg
import pytest
from nodes import COORDINATOR, WORKERS, Distributed

REFUSED = psycopg.errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def filled(shared):
    """The log of this file, with events on both workers."""
    for tenant in shared.tenants_on(1, 2) + shared.tenants_on(2, 2):
        shared.conn.execute(
            "INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES (%s, 'a', 'b', '[{\"type\": \"t\"}]')", [tenant])
    return shared


def ddl_events(log):
    return log.conn.execute(
        "SELECT metadata ->> 'command', metadata ->> 'object' FROM immutable.events WHERE tenant_id = '' AND action = 'immutable.ddl' "
        "ORDER BY created_at").fetchall()


def shard_with_events(log):
    tenant, = log.tenants_on(1)
    return log.shard_of(tenant)[0]


def on_shard(shard, targets):
    number = shard.rsplit("_")[-1]
    return [
        f'ALTER TABLE {shard} DISABLE TRIGGER "~immutable_chain_{number}"',
        f"ALTER TABLE {shard} DISABLE TRIGGER ALL",
        f'DROP TRIGGER "~immutable_update_{number}" ON {shard}',
        f'ALTER TRIGGER "~immutable_chain_{number}" ON {shard} RENAME TO x',
        f"ALTER TABLE {shard} DISABLE ROW LEVEL SECURITY",
        f"DROP POLICY viewer_select ON {shard}",
        f"ALTER POLICY viewer_select ON {shard} USING (true)",
        f"CREATE POLICY x ON {shard} USING (true)",
        f"ALTER TABLE {shard} RENAME TO x",
        f"ALTER TABLE {shard} SET SCHEMA public",
        f"ALTER TABLE {shard} DROP COLUMN metadata CASCADE",
        f"ALTER TABLE {shard} DROP CONSTRAINT events_tenant_id_idempotency_key_key",
        f"CREATE RULE x AS ON INSERT TO {shard} DO INSTEAD NOTHING",
        f"CREATE UNIQUE INDEX x ON {shard} (action)",
        f"DROP TABLE {shard} CASCADE",
        f"DROP TABLE {targets}",
        f"TRUNCATE {shard} CASCADE",
        f"DO $$BEGIN EXECUTE 'ALTER TABLE {shard} DISABLE TRIGGER ALL'; END$$",
    ]


def test_ddl_on_a_shard_is_refused_on_its_node(filled):
    tenant, = filled.tenants_on(1)
    shard, targets = (filled.shard_of(tenant, table)[0] for table in ("events", "event_targets"))
    with filled.on_node(1) as conn:
        conn.execute("SET citus.enable_manual_changes_to_shards = on")
        for command in on_shard(shard, targets):
            with pytest.raises(REFUSED, match="belongs to the audit log|is append-only") as refused:
                conn.execute(command)
            assert "allow_ddl" in refused.value.diag.message_hint or "append-only" in str(refused.value), command


def test_ddl_by_functions_of_citus_for_commands_is_refused(filled):
    for call in ("SELECT * FROM run_command_on_shards('immutable.events', 'ALTER TABLE %s DISABLE TRIGGER ALL')",
                 "SELECT * FROM run_command_on_placements('immutable.events', 'ALTER TABLE %s DISABLE ROW LEVEL SECURITY')"):
        rows = filled.conn.execute(call).fetchall()
        assert len(rows) == 8 and all(not row[-2] and "belongs to the audit log" in row[-1] for row in rows)


def test_shards_that_are_in_use_are_not_dropped(filled):
    before = filled.conn.execute("SELECT count(*) FROM immutable.events").fetchone()
    for call in ("SELECT citus_drop_all_shards('immutable.events', 'immutable', 'events')",
                 "SELECT citus_drop_all_shards('immutable.event_targets', 'immutable', 'event_targets')"):
        with pytest.raises(psycopg.Error, match="belongs to the audit log"):
            filled.conn.execute(call)
    assert filled.conn.execute("SELECT count(*) FROM immutable.events").fetchone() == before


@pytest.mark.parametrize("node", [COORDINATOR, 1])
@pytest.mark.parametrize("command", ["DROP EXTENSION citus CASCADE", "DROP EXTENSION immutable", "DROP EXTENSION immutable CASCADE"])
def test_an_extension_that_the_log_needs_stays(filled, command, node):
    with filled.on_node(node) as conn:
        with pytest.raises(psycopg.Error, match="recorded events|not allowed on this node|other objects depend|only.*coordinator"):
            conn.execute(command)
        assert conn.execute("SELECT count(*) FROM pg_extension WHERE extname IN ('citus', 'immutable')").fetchone() == (2,)
    assert filled.conn.execute("SELECT count(*) > 0 FROM immutable.events").fetchone()[0]


def test_a_superuser_who_calls_itself_citus_gets_no_more_than_one_who_switches_the_guard_off(filled):
    """The name alone opens nothing to the owner of the tables, if that is no superuser."""
    owner = filled.create_role()
    shard = shard_with_events(filled)
    with filled.on_node(1) as conn:
        conn.execute("SET citus.enable_manual_changes_to_shards = on")
        conn.execute("BEGIN")
        conn.execute("SET LOCAL session_replication_role = origin")
        for trigger in ("start", "end", "drop"):
            conn.execute(f"ALTER EVENT TRIGGER immutable_ddl_{trigger} DISABLE")
        conn.execute(f"ALTER TABLE {shard} OWNER TO {owner}")
        for trigger in ("start", "end", "drop"):
            conn.execute(f"ALTER EVENT TRIGGER immutable_ddl_{trigger} ENABLE ALWAYS")
        conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {owner}")
        conn.execute(f"SET LOCAL SESSION AUTHORIZATION {owner}")
        conn.execute("SET application_name = 'citus_internal gpid=10000000001'")
        with pytest.raises(REFUSED, match="belongs to the audit log"):
            conn.execute(f"ALTER TABLE {shard} DISABLE TRIGGER USER")
        conn.execute("ROLLBACK")


def test_ddl_on_the_tables_reaches_all_shards_and_is_recorded_once(filled):
    before = ddl_events(filled)
    with filled.on_node(COORDINATOR) as conn:
        with pytest.raises(REFUSED):
            conn.execute("ALTER TABLE immutable.events ADD CONSTRAINT x CHECK (version <> 13) NOT VALID")
        conn.execute("SET immutable.allow_ddl = on")
        conn.execute("ALTER TABLE immutable.events ADD CONSTRAINT x CHECK (version <> 13) NOT VALID")
        assert ddl_events(filled) == before + [("ALTER TABLE", "table immutable.events")]
        conn.execute("ALTER TABLE immutable.events DROP CONSTRAINT x")
        conn.execute("ALTER TABLE immutable.events SET (fillfactor = 90)")
        conn.execute("CREATE INDEX own ON immutable.events (ip_city)")
    assert ddl_events(filled) == before + [("ALTER TABLE", "table immutable.events")] * 3
    (rows,), = filled.conn.execute(
        "SELECT count(*) FROM run_command_on_shards('immutable.events', $$SELECT count(*) FROM pg_index WHERE indrelid = '%s'::regclass$$) "
        "WHERE result = (SELECT count(*)::text FROM pg_index WHERE indrelid = 'immutable.events'::regclass)").fetchall()
    assert rows == 8
    filled.conn.execute("DROP INDEX immutable.own")


def test_ddl_on_a_shard_with_maintenance_on_is_recorded(filled):
    before = ddl_events(filled)
    shard = shard_with_events(filled)
    with filled.on_node(1) as conn:
        conn.execute("SET immutable.allow_ddl = on")
        conn.execute(f"ALTER POLICY viewer_select ON {shard} USING (false)")
        conn.execute(f"ALTER TABLE {shard} ALTER ip_city SET STATISTICS 10")
    assert ddl_events(filled) == before + [("ALTER POLICY", f"policy viewer_select on table {shard}"), ("ALTER TABLE", f"table {shard}")] or \
        [command for command, _ in ddl_events(filled)[len(before):]] == ["ALTER POLICY", "ALTER TABLE"]
    filled.conn.execute("SELECT immutable.distribute()")
    with filled.on_node(1) as conn:
        assert conn.execute("SELECT * FROM immutable.shard_changes()").fetchall() == []


def test_tables_of_others_are_no_concern_of_the_guard(filled):
    filled.conn.execute("CREATE TABLE public.own (a int, b text)")
    filled.conn.execute("SELECT create_distributed_table('public.own', 'a')")
    filled.conn.execute("ALTER TABLE public.own ADD c int")
    filled.conn.execute("CREATE TABLE public.ref (a int)")
    filled.conn.execute("SELECT create_reference_table('public.ref')")
    filled.conn.execute("SELECT undistribute_table('public.own')")
    filled.conn.execute("DROP TABLE public.own, public.ref")


def test_an_empty_log_can_be_removed(nodes):

    log = Distributed(nodes)
    try:
        log.conn.execute("DROP EXTENSION immutable CASCADE")
        for node in (COORDINATOR, *WORKERS):
            with log.on_node(node) as conn:
                conn.execute("SET citus.override_table_visibility = off")
                assert conn.execute("SELECT relname FROM pg_class WHERE relname LIKE 'event%' AND relkind = 'r'").fetchall() == []
    finally:
        log.close()


def test_nobody_records_the_logs_own_events_through_placement(filled, entry):
    for group in ("immutable_writer", "immutable_eraser", "immutable_auditor", "immutable_restorer"):
        conn = filled.connect(filled.create_role(groups=[group]), entry)
        with pytest.raises(REFUSED):
            conn.execute("INSERT INTO immutable.placement (tenant_id, action, metadata, actor_id, actor_type, recorded_by) "
                         "VALUES ('t1', 'immutable.ddl', '{}', 'a', 'role', 'x')")


def test_a_coordinator_that_has_shards_itself(nodes):
    """Citus changes the shards of the client's node in the client's session."""
    log = Distributed(nodes, distribute=False)
    try:
        log.conn.execute("SELECT citus_set_node_property(%s, %s, 'shouldhaveshards', true)", log.address(COORDINATOR))
        log.conn.execute("SELECT immutable.distribute()")
        log.conn.execute("SELECT immutable.distribute()")
        assert COORDINATOR in log.shards().values()
        tenant, = log.tenants_on(COORDINATOR)
        log.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
        log.conn.execute("SET citus.enable_manual_changes_to_shards = on")
        shard, targets = (log.shard_of(tenant, table)[0] for table in ("events", "event_targets"))
        for command in on_shard(shard, targets)[:4]:
            with pytest.raises(REFUSED, match="belongs to the audit log"):
                log.conn.execute(command)
        log.conn.execute("SET immutable.allow_ddl = on")
        log.conn.execute("ALTER TABLE immutable.events ADD CONSTRAINT x CHECK (version <> 13) NOT VALID")
        assert ddl_events(log) == [("ALTER TABLE", "table immutable.events")]
        log.conn.execute("RESET immutable.allow_ddl")
        with pytest.raises(psycopg.Error, match="belongs to the audit log"):
            log.conn.execute("SELECT citus_drop_all_shards('immutable.events', 'immutable', 'events')")
        number = int(shard.rsplit("_")[-1])
        log.conn.execute("SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, shard_transfer_mode => 'block_writes')",
                         [number, *log.address(COORDINATOR), *log.address(1)])
        log.conn.execute("CALL citus_cleanup_orphaned_resources()")
        log.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
    finally:
        log.close()
