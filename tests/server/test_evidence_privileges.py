"""Who may call what of the evidence, and that nobody writes its tables or reads the private keys."""

import psycopg
import pytest

from helpers_sequencing import CALL, check, checkpoint, log_key, parse, refused
from helpers_servers import record, rows

TABLES = ["tree", "tree_runs", "tree_tiles", "tree_chunks", "tree_notes", "tree_cosignatures", "witnesses", "log_keys", "log_secrets",
          "tree_position", "tree_pending"]
ROLES = ["immutable_writer", "immutable_auditor", "immutable_viewer", "immutable_eraser", "immutable_maintainer", "immutable_restorer",
         "pg_read_all_data", "pg_write_all_data", "pg_monitor", "pg_read_all_settings", None]
MAINTAINER, AUDITOR = "immutable_maintainer", "immutable_auditor"
CALLS = {
    CALL: [MAINTAINER],
    "SELECT immutable.tree_head()": [MAINTAINER, AUDITOR],
    "SELECT immutable.verifier_key()": [MAINTAINER, AUDITOR],
    "SELECT * FROM immutable.checkpoints": [MAINTAINER, AUDITOR],
    "SELECT immutable.add_checkpoint('x')": [MAINTAINER],
    "SELECT immutable.report_checkpoint('x')": [MAINTAINER],
    "SELECT immutable.add_log_key('x')": [],
    "SELECT immutable.rotate_log_key()": [],
    "SELECT immutable.resume('x')": [],
    "SELECT immutable.begin_incarnation('x')": [],
}


@pytest.fixture
def log(db):
    record(db.conn)
    checkpoint(db.conn)
    return db


def is_denied(conn, statement):
    try:
        with conn.transaction(force_rollback=True) if not statement.startswith("CALL") else conn.cursor():
            conn.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        assert "permission denied" in str(error), error
        return True
    except psycopg.errors.InvalidParameterValue:
        pass
    return False


@pytest.mark.parametrize("group", ROLES)
def test_who_may_call_what(log, group):
    conn = log.connect(log.create_role(f"IN ROLE {group}" if group else ""))
    for statement, allowed in CALLS.items():
        # pg_read_all_data may use every schema and read every view.
        may_read = group == "pg_read_all_data" and "checkpoints" in statement
        assert is_denied(conn, statement) is not (group in allowed or may_read), statement
    check(log.conn)


def changes(conn, table):
    columns = [name for name, in rows(conn, "SELECT attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped "
                                            f"AND attrelid = 'immutable.{table}'::regclass")]
    yield f"UPDATE immutable.{table} SET {columns[0]} = {columns[0]}"
    yield f"DELETE FROM immutable.{table}"
    yield f"TRUNCATE immutable.{table}"
    yield f"INSERT INTO immutable.{table} SELECT * FROM immutable.{table} LIMIT 1"
    yield f"INSERT INTO immutable.{table} SELECT (jsonb_populate_record(NULL::immutable.{table}, '{{}}')).*"


def fill(conn):
    """A row in each table."""
    conn.execute("SET session_replication_role = replica")
    conn.execute("INSERT INTO immutable.witnesses VALUES ('v', 'n', now(), 'x')")
    conn.execute("INSERT INTO immutable.tree_cosignatures VALUES ('o', 1, 'v', 'w', now(), 'l')")
    conn.execute("ALTER TABLE immutable.tree_pending DISABLE TRIGGER ALL")
    conn.execute("INSERT INTO immutable.tree_pending VALUES ('t', 9, 1, 'w', now())")
    conn.execute("ALTER TABLE immutable.tree_pending ENABLE TRIGGER USER; "
                 "ALTER TABLE immutable.tree_pending ENABLE REPLICA TRIGGER \"~immutable_apply\"")
    conn.execute("INSERT INTO immutable.tree_tiles VALUES (9, 9, 'x', 'x')")
    conn.execute("RESET session_replication_role")


def test_the_owner_is_refused_too(log):
    log.unguard()
    fill(log.conn)
    for table in TABLES:
        before = rows(log.conn, f"SELECT t::text, t.ctid, t.xmin FROM immutable.{table} t")
        assert before, table
        for change in changes(log.conn, table):
            refused(log.conn, "42501", change)
        # A dump brings rows, and nothing else; and none of what is this server's own.
        log.conn.execute("SET immutable.restore = on")
        for change in changes(log.conn, table):
            if not change.startswith("INSERT") or table in ("log_secrets", "tree_position", "tree_pending"):
                refused(log.conn, "42501", change)
        log.conn.execute("RESET immutable.restore")
        assert rows(log.conn, f"SELECT t::text, t.ctid, t.xmin FROM immutable.{table} t") == before


@pytest.mark.parametrize("group", ROLES)
def test_nobody_reads_or_writes_the_tables(log, group):
    log.unguard()
    fill(log.conn)
    conn = log.connect(log.create_role(f"IN ROLE {group}" if group else ""))
    for table in TABLES:
        try:
            seen = rows(conn, f"SELECT * FROM immutable.{table}")
        except psycopg.errors.InsufficientPrivilege:
            seen = []
        assert seen == [], table
        for change in [*changes(log.conn, table), f"LOCK TABLE immutable.{table}"]:
            try:
                with conn.transaction(force_rollback=True):
                    done = conn.execute(change)
                # Rows that nobody shows it.
                assert done.rowcount <= 0 and group and group.startswith("pg_"), (table, change)
            except psycopg.errors.InsufficientPrivilege:
                pass
    assert rows(log.conn, "SELECT count(*) FROM immutable.log_secrets") == [(1,)]


def test_a_restorer_brings_no_key(log):
    """Even with the setting."""
    role = log.create_role("BYPASSRLS IN ROLE immutable_restorer")
    log.conn.execute(f"GRANT SET ON PARAMETER immutable.restore TO {role}")
    try:
        conn = log.connect(role)
        conn.execute("SET immutable.restore = on")
        for table in ("log_secrets", "tree_position", "tree_pending"):
            assert "permission denied" in refused(
                conn, "42501", f"INSERT INTO immutable.{table} SELECT (jsonb_populate_record(NULL::immutable.{table}, '{{}}')).*").message_primary
        key = str(log_key(parse(checkpoint(log.conn)).origin).verifier)
        for row in ("tree VALUES ('o', 1, 'x', gen_random_uuid(), now(), true)", f"log_keys VALUES ('{key}', now(), NULL, now(), NULL, 0)",
                    "witnesses VALUES ('w', 'w', now(), 'me')", "tree_notes VALUES ('o', 9, 'x', now(), 'n')",
                    "tree_runs VALUES (99, '', 0, 99, 1)", "tree_tiles VALUES (0, 99, 'x', 'x')", "tree_chunks VALUES (99, 'x')",
                    "tree_cosignatures VALUES ('o', 9, 'w', 'w', now(), 'l')"):
            diag = refused(conn, "55000", f"INSERT INTO immutable.{row}")
            assert "no rows of a dump" in diag.message_primary and diag.message_hint, row
        check(log.conn)
        for table in ("tree_runs", "tree_notes", "log_keys"):
            refused(conn, "42501", f"DELETE FROM immutable.{table}")
    finally:
        log.conn.execute(f"REVOKE SET ON PARAMETER immutable.restore FROM {role}")


DDL = ["DROP INDEX immutable.events_xact", "DROP INDEX CONCURRENTLY immutable.events_xact", "ALTER INDEX immutable.events_xact RENAME TO x",
       *(f"DROP TABLE immutable.{table}" for table in TABLES),
       *(f"DROP TRIGGER \"~immutable_write\" ON immutable.{table}" for table in TABLES),
       *(f"ALTER TABLE immutable.{table} DISABLE TRIGGER ALL" for table in TABLES),
       *(f"ALTER TABLE immutable.{table} ADD COLUMN x int" for table in TABLES),
       *(f"ALTER TABLE immutable.{table} DISABLE ROW LEVEL SECURITY" for table in TABLES),
       *(f"CREATE INDEX ON immutable.{table} ((1))" for table in TABLES),
       *(f"CREATE TABLE child () INHERITS (immutable.{table})" for table in TABLES),
       *(f"CREATE POLICY p ON immutable.{table} USING (true)" for table in TABLES),
       *(f"CREATE RULE r AS ON INSERT TO immutable.{table} DO INSTEAD NOTHING" for table in TABLES),
       *(f"ALTER TABLE immutable.{table} DROP CONSTRAINT {table}_pkey" for table in TABLES),
       "ALTER TABLE immutable.tree DROP CONSTRAINT tree_singleton_check", "DROP POLICY all_or_none ON immutable.tree_notes",
       "CREATE OR REPLACE FUNCTION immutable.tree_head() RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
       "CREATE OR REPLACE VIEW immutable.checkpoints AS SELECT 1", "DROP PROCEDURE immutable.checkpoint(text)"]


def test_ddl_on_them_is_refused(log):
    for statement in DDL:
        try:
            log.conn.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            continue
        except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.InvalidTableDefinition):
            # PostgreSQL's own refusal.
            continue
        raise AssertionError(f"{statement} was allowed")
    # What makes storage better is not refused, and an index that is not needed may go.
    for statement in ("REINDEX INDEX immutable.events_xact", "VACUUM FULL immutable.tree", "ALTER TABLE immutable.tree_runs SET (fillfactor = 90)",
                      "CREATE INDEX mine ON immutable.events (xact)", "DROP INDEX immutable.mine"):
        log.conn.execute(statement)
    check(log.conn, [checkpoint(log.conn)])
