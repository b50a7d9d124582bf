"""The guard against DDL and status(), where a whole server or several connections are needed."""

import psycopg
import pytest


def record(conn, count=1, tenant="acme"):
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                 "SELECT %s, 'u1', 'a' FROM generate_series(1, %s)", [tenant, count])


def status(conn):
    return conn.cursor(row_factory=psycopg.rows.dict_row).execute("SELECT * FROM immutable.status()").fetchone()


def test_a_refused_drop_does_not_lock_the_log(db):
    """Only the extension's owner gets as far as the lock."""
    record(db.conn)
    other = db.connect(db.create_role())
    with db.connect(autocommit=False) as writer:
        record(writer)
        other.execute("SET lock_timeout = '1ms'")
        for statement in ("DROP EXTENSION immutable", "DROP EXTENSION plpgsql CASCADE"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute(statement)


def test_dropping_it_with_allow_ddl_is_in_the_servers_log(cluster):
    server = cluster()
    conn = server.connect()
    conn.execute("CREATE EXTENSION immutable")
    record(conn)
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
        conn.execute("DROP EXTENSION immutable")
    assert "SET immutable.allow_ddl = on" in refused.value.diag.message_hint
    conn.execute("SET immutable.allow_ddl = on")
    conn.execute("ALTER TABLE immutable.events ADD note text DEFAULT 'hunter2'")
    conn.execute("DROP EXTENSION immutable")
    lines = [line for line in server.log.read_text().splitlines() if "immutable: DDL" in line]
    assert len(lines) == 2
    assert 'immutable: DDL by role "postgres": ALTER TABLE: table immutable.events' in lines[0]
    assert 'immutable: DDL by role "postgres": DROP EXTENSION: extension immutable' in lines[1]
    conn.close()


def test_ddl_with_allow_ddl_is_recorded_with_its_author(db):
    """The record names the role that was set, and the login behind it."""
    owner, login = db.create_role(), db.create_role()
    db.conn.execute("SET immutable.allow_ddl = on")
    db.conn.execute(f"GRANT ALL ON SCHEMA immutable TO {owner}")
    db.conn.execute(f"ALTER TABLE immutable.events OWNER TO {owner}")
    db.conn.execute(f"GRANT {owner} TO {login}; GRANT SET ON PARAMETER immutable.allow_ddl TO {login}")
    try:
        conn = db.connect(login)
        conn.execute(f"SET immutable.allow_ddl = on; SET ROLE {owner}")
        conn.execute("ALTER TABLE immutable.events ALTER metadata SET NOT NULL")
        found = db.conn.execute("SELECT actor_id, recorded_by, metadata FROM immutable.events "
                                "WHERE action = 'immutable.ddl' ORDER BY seq DESC LIMIT 1").fetchone()
        assert found == (owner, login, {"command": "ALTER TABLE", "object": "table immutable.events"})
        assert db.conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone()[0]
    finally:
        db.conn.execute(f"REVOKE SET ON PARAMETER immutable.allow_ddl FROM {login}")
        db.conn.execute("ALTER TABLE immutable.events OWNER TO postgres")
        db.conn.execute(f"DROP OWNED BY {owner}")


def test_a_command_that_fails_leaves_no_record(db):
    record(db.conn)
    db.conn.execute("SET immutable.allow_ddl = on")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        db.conn.execute("ALTER TABLE immutable.events DROP COLUMN not_there")
    assert db.conn.execute("SELECT count(*) FROM immutable.events").fetchone()[0] == 1
    # The next command has its own record.
    db.conn.execute("CREATE FUNCTION immutable.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert db.conn.execute("SELECT metadata ->> 'command' FROM immutable.events WHERE seq = 1 AND tenant_id = ''"
                           ).fetchone()[0] == "CREATE FUNCTION"


def test_replication_role_does_not_switch_it_off(db):
    record(db.conn)
    db.conn.execute("SET session_replication_role = replica")
    for statement in ("ALTER TABLE immutable.events DISABLE TRIGGER ALL", "DROP EXTENSION immutable",
                      'DROP TRIGGER "~immutable_delete" ON immutable.events'):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.conn.execute(statement)


def test_event_triggers_off(db):
    """PostgreSQL 17's switch, for superusers. Verification and status() show what is done meanwhile."""
    if db.server.major < 17:
        assert status(db.conn)["guard_enabled"]
        return
    db.conn.execute("SET event_triggers = off")
    found = status(db.conn)
    assert not found["guard_enabled"]
    assert any(problem.startswith("event_triggers is off") for problem in found["problems"])
    db.conn.execute("ALTER TABLE immutable.events DISABLE ROW LEVEL SECURITY")
    db.conn.execute("RESET event_triggers")
    found = status(db.conn)
    assert found["guard_enabled"] and not found["row_security_enabled"]


def test_a_schema_is_dumped_and_restored_in_spite_of_it(db, server, tmp_path):
    """Also with other DDL around the log."""
    db.conn.execute("CREATE TABLE public.document (event_id uuid, tenant_id text, "
                    "FOREIGN KEY (event_id, tenant_id) REFERENCES immutable.events (id, tenant_id))")
    db.conn.execute("CREATE VIEW public.seen AS SELECT id FROM immutable.events")
    db.conn.execute("GRANT SELECT ON immutable.log TO pg_monitor")
    server.run("pg_dump", "-Fc", "--schema-only", "-f", str(tmp_path / "dump"), db.name)
    with server.connect() as admin:
        admin.execute("DROP DATABASE IF EXISTS restored_guard")
        admin.execute("CREATE DATABASE restored_guard TEMPLATE template0")
    try:
        server.run("pg_restore", "--exit-on-error", "-d", "restored_guard", str(tmp_path / "dump"))
        with server.connect("restored_guard") as restored:
            assert status(restored)["guard_enabled"]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                restored.execute("ALTER TABLE immutable.events DISABLE TRIGGER ALL")
    finally:
        with server.connect() as admin:
            admin.execute("DROP DATABASE restored_guard WITH (FORCE)")


def test_status_of_a_long_log_reads_as_much_as_of_a_short_one(db):
    def pages():
        plan = db.conn.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM immutable.status()").fetchone()[0]
        return plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]

    record(db.conn, 100)
    db.conn.execute("VACUUM ANALYZE immutable.events")
    status(db.conn)
    short = pages()
    record(db.conn, 30_000)
    db.conn.execute("VACUUM ANALYZE immutable.events")
    status(db.conn)
    assert pages() < short + 50


def test_status_sees_who_holds_a_lane(db):
    with db.connect(autocommit=False) as writer:
        record(writer)
        found = status(db.conn)
        assert (found["lanes_in_use"], found["prepared_transactions"]) == (1, 0)
        writer.rollback()
    assert status(db.conn)["lanes_in_use"] == 0


def test_an_expression_index_on_a_small_table_stops_writing_with_a_hint(db):
    """Such an index may be older than the guard."""
    conn = db.conn
    db.unguard()
    for table, column, statement in (("log", "created_at", "INSERT INTO immutable.events (actor_id, action) VALUES ('a', 'b')"),
                                     ("viewer_keys", "made_at", "SELECT immutable.create_viewer_token('t')"),
                                     ("cluster", "noted_at", "SELECT immutable.record_restore('a test')")):
        conn.execute(f"CREATE INDEX slow ON immutable.{table} (({column} AT TIME ZONE 'utc'))")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as told:
            conn.execute(statement)
        assert "slow" in str(told.value) and "DROP INDEX" in told.value.diag.message_hint
        conn.execute("DROP INDEX immutable.slow")
        conn.execute(statement)


def test_an_object_dropped_with_allow_ddl_is_reported_and_can_be_created_again(db):
    conn = db.conn
    record(conn)
    conn.execute("SET immutable.allow_ddl = on")
    conn.execute("ALTER TABLE immutable.events DROP CONSTRAINT events_tenant_id_idempotency_key_key")
    conn.execute("DROP POLICY viewer_select ON immutable.event_targets")
    conn.execute("ALTER TABLE immutable.events DROP CONSTRAINT events_tenant_id_lane_seq_key")
    told = "\n".join(status(conn)["problems"])
    assert all(word in told for word in ("events_tenant_id_idempotency_key_key", "event_targets is missing", "events_tenant_id_lane_seq_key"))
    conn.execute("ALTER TABLE immutable.events ADD UNIQUE (tenant_id, lane, seq)")
    record(conn)
    assert "events_tenant_id_lane_seq_key" not in "\n".join(status(conn)["problems"])
    with pytest.raises(psycopg.errors.FeatureNotSupported) as told:
        conn.execute("DROP INDEX CONCURRENTLY immutable.events_pkey")
    assert "without CONCURRENTLY" in told.value.diag.message_hint


def test_status_knows_the_settings_in_a_new_session(db):
    with db.connect() as fresh:
        settings = status(fresh)["settings"]
        assert settings["immutable.lanes"] == "1024" and "immutable.max_targets" in settings


def test_the_trigger_of_the_key_import_works_on_no_other_table(db):
    db.conn.execute("CREATE TABLE numbers (a int)")
    db.conn.execute("CREATE TRIGGER a BEFORE INSERT ON numbers FOR EACH STATEMENT EXECUTE FUNCTION immutable.take_viewer_key()")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        db.conn.execute("INSERT INTO numbers VALUES (1)")
    db.conn.execute("DROP TRIGGER a ON numbers")
    db.conn.execute("CREATE TRIGGER a BEFORE INSERT ON numbers FOR EACH ROW EXECUTE FUNCTION immutable.take_viewer_key()")
    db.conn.execute("INSERT INTO numbers VALUES (1)")
    assert db.conn.execute("SELECT count(*) FROM immutable.viewer_keys").fetchone() == (0,)


def test_status_reports_an_interrupted_search_index(db):
    db.conn.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    db.conn.execute("SELECT immutable.enable_search()")
    db.conn.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'immutable.events_search'::regclass")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as told:
        db.conn.execute("SELECT immutable.enable_search()")
    assert "disable_search()" in told.value.diag.message_hint
    db.conn.execute("SELECT immutable.disable_search()")
    db.conn.execute("SELECT immutable.enable_search()")
