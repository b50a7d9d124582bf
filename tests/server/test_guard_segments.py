"""Segments, as those meet them who would change them: the owner, a superuser, writers, and code of others that runs inside of
the log's own statements."""

import psycopg
import pytest

from conftest import Database
from helpers_servers import is_valid, record, rows

BOTH = ("events", "event_targets")
COUNTS = "SELECT (SELECT count(*) FROM immutable.events), (SELECT count(*) FROM immutable.event_targets), " \
    "(SELECT count(*) FROM ONLY immutable.events)"
TARGET = '[{"type": "b", "id": "2"}]'


def refused(conn, state, statement, *values):
    with pytest.raises(psycopg.Error) as raised:
        conn.execute(statement, *values)
    assert raised.value.sqlstate == state, (statement, raised.value)
    return raised.value.diag


def seal(conn):
    conn.execute("CALL immutable.seal(clock_timestamp())")


@pytest.fixture(scope="module")
def sealed_log(server):
    """A log with a segment of two events, which all tests share that change nothing."""
    db = Database(server)
    for n in range(3):
        record(db.conn, f"a.{n}", targets=TARGET, idempotency_key=str(n))
    seal(db.conn)
    db.numbers = [number for number, in rows(db.conn, "SELECT segment FROM immutable.segments WHERE events > 0")]
    assert db.numbers and rows(db.conn, COUNTS) == [(3, 3, 1)]
    db.before = rows(db.conn, COUNTS), rows(db.conn, "SELECT s::text FROM immutable.segments s")
    db.tables = [f"immutable.{table}_{db.numbers[0]}" for table in BOTH]
    yield db
    db.close()


@pytest.fixture
def sealed(sealed_log):
    db = sealed_log
    yield db
    db.conn.execute("RESET ALL")
    assert (rows(db.conn, COUNTS), rows(db.conn, "SELECT s::text FROM immutable.segments s")) == db.before
    assert is_valid(db.conn)


CHANGES = ["DELETE FROM {}", "DELETE FROM ONLY {}", "TRUNCATE {}", "TRUNCATE ONLY {} CASCADE", "UPDATE {} SET tenant_id = 'x'"]


def test_no_row_of_a_segment_changes(sealed):
    """Neither the owner nor a superuser can change one, through the parent or in the segment."""
    events, targets = sealed.tables
    for table in (events, targets, "immutable.events", "immutable.event_targets"):
        for change in CHANGES:
            if "ONLY" not in change or table in sealed.tables:
                refused(sealed.conn, "42501" if "TRUNCATE" not in change or "CASCADE" in change or "target" in table else "0A000",
                        change.format(table))
    for table in sealed.tables:
        refused(sealed.conn, "42501", f"INSERT INTO {table} SELECT * FROM {table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), sealed.conn.cursor() as cursor:
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                copy.write_row(["x"])
    refused(sealed.conn, "42501", f"UPDATE {events} SET action = 'forged'")
    refused(sealed.conn, "42501", f"UPDATE {events} SET erased = '{{}}', salt = NULL")
    refused(sealed.conn, "42501", f"UPDATE {targets} SET target_name = 'forged'")
    refused(sealed.conn, "42501", f"MERGE INTO {events} e USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE")
    for change in ("DELETE FROM {}", "UPDATE {} SET events = 1", "TRUNCATE {}",
                   "INSERT INTO {} (segment, state, created_from, created_to, prepared_at) VALUES (9, 'sealed', now(), now(), now())"):
        refused(sealed.conn, "42501", change.format("immutable.segments"))
    # With the triggers off, a superuser can; a role that only may set that cannot.
    role = sealed.create_role()
    sealed.conn.execute(f"GRANT SET ON PARAMETER session_replication_role TO {role}; GRANT USAGE ON SCHEMA immutable TO {role}; "
                        f"GRANT ALL ON ALL TABLES IN SCHEMA immutable TO {role}")
    try:
        loader = sealed.connect(role)
        loader.execute("SET session_replication_role = replica")
        sealed.conn.execute(f"ALTER ROLE {role} BYPASSRLS")
        for change in (f"DELETE FROM {events}", f"INSERT INTO {events} SELECT * FROM immutable.events", f"UPDATE {events} SET action = 'x'",
                       f"DELETE FROM {targets}", f"TRUNCATE {targets}", "DELETE FROM immutable.segments"):
            refused(loader, "42501", change)
    finally:
        sealed.conn.execute(f"DROP OWNED BY {role}")
        sealed.conn.execute(f"REVOKE SET ON PARAMETER session_replication_role FROM {role}")


def test_segments_belong_to_the_log(sealed):
    """Nobody attaches a table to the log, takes one away, or changes a segment."""
    events, targets = sealed.tables
    number = sealed.numbers[0]
    statements = [
        f"CREATE TABLE theirs () INHERITS ({events})", "CREATE TABLE theirs () INHERITS (immutable.events)",
        "CREATE TABLE immutable.events_9 () INHERITS (immutable.events)",
        f"ALTER TABLE mine INHERIT {events}", "ALTER TABLE mine INHERIT immutable.events",
        f"ALTER TABLE {events} NO INHERIT immutable.events", f"ALTER TABLE {targets} NO INHERIT immutable.event_targets",
        f"ALTER TABLE {events} INHERIT other", f"ALTER EXTENSION immutable DROP TABLE {events}",
        f"ALTER TABLE {events} DISABLE TRIGGER ALL", f'ALTER TABLE {events} DISABLE TRIGGER "~immutable_delete"',
        f'DROP TRIGGER "~immutable_delete" ON {events}', f'DROP TRIGGER "~immutable_update" ON {targets}',
        f'ALTER TRIGGER "~immutable_delete" ON {events} RENAME TO aaa',
        f"CREATE TRIGGER aaa BEFORE INSERT ON {events} FOR EACH ROW EXECUTE FUNCTION public.spoil()",
        f"CREATE TRIGGER aaa BEFORE DELETE ON {targets} FOR EACH ROW EXECUTE FUNCTION public.spoil()",
        f"CREATE RULE r AS ON UPDATE TO {events} DO INSTEAD NOTHING", f"CREATE POLICY p ON {events} USING (true)",
        f"ALTER TABLE {events} DISABLE ROW LEVEL SECURITY", f"ALTER TABLE {events} ADD note text",
        f"ALTER TABLE {events} ADD CHECK (false) NOT VALID", f"ALTER TABLE {events} RENAME TO gone",
        f"ALTER TABLE {events} SET SCHEMA public", f"CREATE UNIQUE INDEX ON {events} (action)",
        f"DROP INDEX {unique_index(sealed, events)}", "ALTER TABLE immutable.segments ADD note text",
        'CREATE TRIGGER "~zzz" BEFORE INSERT ON immutable.segments FOR EACH ROW EXECUTE FUNCTION public.spoil()',
    ]
    sealed.conn.execute(f"CREATE TABLE mine (LIKE {events} INCLUDING ALL); CREATE TABLE other (LIKE immutable.events)")
    sealed.conn.execute("CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    for statement in statements:
        refused(sealed.conn, "42501", statement)
    refused(sealed.conn, "2BP01", f"DROP TABLE {events}")
    refused(sealed.conn, "2BP01", f"DROP TABLE {events} CASCADE")
    refused(sealed.conn, "42501", "DROP EXTENSION immutable")
    # What costs nothing but time stays possible.
    for statement in (f"CREATE INDEX mine_too ON {events} (action_category)", "DROP INDEX immutable.mine_too", f"VACUUM {events}",
                      f"ALTER TABLE {events} SET (fillfactor = 100)", f"REINDEX TABLE {events}", f"CREATE TABLE elsewhere (LIKE {events})",
                      "CREATE TABLE child () INHERITS (elsewhere)"):
        sealed.conn.execute(statement)
    # With the setting it is recorded.
    record_of = "SELECT metadata ->> 'detail' FROM immutable.events WHERE action = 'immutable.ddl' ORDER BY created_at DESC LIMIT 1"
    with sealed.conn.transaction(force_rollback=True):
        sealed.conn.execute("SET LOCAL immutable.allow_ddl = on")
        sealed.conn.execute(f"CREATE TABLE grandchild () INHERITS ({events})")
        said, = rows(sealed.conn, record_of)[0]
        assert "grandchild would inherit from table immutable.events_%d" % number in said


def unique_index(db, table):
    return rows(db.conn, "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = %s::regclass AND indisunique LIMIT 1"
                .replace("%s", f"'{table}'"))[0][0]


def test_who_has_rights_to_the_log_has_none_to_a_segment(sealed):
    grants = [("immutable_writer", "INSERT"), ("immutable_auditor", "SELECT"), ("immutable_viewer", "SELECT")]
    for granted, _ in grants:
        conn = sealed.connect(sealed.create_role(f"IN ROLE {granted}"))
        for table in (*sealed.tables, "immutable.segments"):
            for statement in ("SELECT count(*) FROM {}", "DELETE FROM {}", "INSERT INTO {} DEFAULT VALUES"):
                if table != "immutable.segments" or "SELECT" not in statement:
                    refused(conn, "42501", statement.format(table))
    auditor = sealed.connect(sealed.create_role("IN ROLE immutable_auditor"))
    assert rows(auditor, "SELECT count(*) FROM immutable.events") == [(3,)]
    # Who may read everything but has no policy sees no row of a segment either.
    reader = sealed.connect(sealed.create_role("IN ROLE pg_read_all_data"))
    assert rows(reader, f"SELECT count(*) FROM {sealed.tables[0]}") == [(0,)]


DELETES = """
    BEGIN
      -- It fires for its own command as well.
      IF current_setting('app.rides', true) = 'on' THEN RETURN{}; END IF;
      PERFORM set_config('app.rides', 'on', false);
      BEGIN
        DELETE FROM immutable.events;
        INSERT INTO public.done VALUES ('delete');
      EXCEPTION WHEN insufficient_privilege THEN INSERT INTO public.done VALUES ('refused');
      END;
      BEGIN
        CREATE FUNCTION immutable.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
        INSERT INTO public.done VALUES ('ddl');
      EXCEPTION WHEN insufficient_privilege THEN INSERT INTO public.done VALUES ('refused');
      END;
      PERFORM set_config('app.rides', 'off', false);
    """


@pytest.fixture
def riders(db):
    db.conn.execute("CREATE TABLE done (what text); GRANT ALL ON done TO PUBLIC")
    for n in range(3):
        record(db.conn, f"a.{n}", targets=TARGET)
    yield db
    assert rows(db.conn, "SELECT count(*) FROM immutable.events WHERE action LIKE 'a.%'") == [(3,)]
    assert is_valid(db.conn)


def test_an_event_trigger_of_others_does_nothing_in_the_logs_name(riders):
    riders.conn.execute(f"CREATE FUNCTION rider() RETURNS event_trigger LANGUAGE plpgsql AS $${DELETES.format('')} END $$")
    for event in ("ddl_command_start", "ddl_command_end"):
        riders.conn.execute(f"CREATE EVENT TRIGGER rider_{event} ON {event} EXECUTE FUNCTION rider()")
    try:
        seal(riders.conn)
    finally:
        riders.conn.execute("DROP EVENT TRIGGER rider_ddl_command_start; DROP EVENT TRIGGER rider_ddl_command_end")
    assert {what for what, in rows(riders.conn, "SELECT what FROM done")} == {"refused"}
    assert rows(riders.conn, COUNTS) == [(3, 3, 1)]


def test_a_function_in_an_index_does_nothing_in_the_logs_name(riders):
    """PostgreSQL runs it when the index of a segment is built, and when a statement is planned."""
    riders.conn.execute(f"CREATE FUNCTION rider() RETURNS int LANGUAGE plpgsql AS $${DELETES.format(' 1')} RETURN 1; END $$;"
                        "CREATE FUNCTION quiet(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';"
                        "CREATE INDEX rider ON immutable.events ((public.quiet(version))) WHERE public.quiet(1) = 1;"
                        "CREATE OR REPLACE FUNCTION quiet(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
                        "'BEGIN PERFORM public.rider(); RETURN 1; END'")
    try:
        seal(riders.connect())
    except psycopg.Error as refusal:
        # PostgreSQL does not let it read the table whose index it is building, and that ends the call: nothing moves.
        assert refusal.sqlstate in ("42501", "XX001"), refusal
    assert {what for what, in rows(riders.conn, "SELECT what FROM done")} <= {"refused"}
    riders.conn.execute("DROP INDEX immutable.rider")


@pytest.mark.parametrize("table", BOTH)
def test_a_trigger_for_the_deletion_of_events_stops_sealing(riders, table):
    """The owner may have one: it would run, and could keep rows back, when the log moves events."""
    riders.conn.execute("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
                        f"CREATE TRIGGER keep BEFORE DELETE ON immutable.{table} FOR EACH ROW EXECUTE FUNCTION keep()")
    assert "keep" in str(refused(riders.conn, "55000", "CALL immutable.seal(clock_timestamp())").message_primary)
    riders.conn.execute(f"DROP TRIGGER keep ON immutable.{table}")
    seal(riders.conn)
    assert rows(riders.conn, COUNTS) == [(3, 3, 1)]


def test_events_that_are_only_in_segments_keep_the_extension(db):
    record(db.conn, "a")
    record(db.conn, "b")
    seal(db.conn)
    db.conn.execute("SET session_replication_role = replica; DELETE FROM ONLY immutable.events; RESET session_replication_role")
    assert rows(db.conn, "SELECT count(*) FROM immutable.events") == [(1,)]
    refused(db.conn, "42501", "DROP EXTENSION immutable")
    db.conn.execute("SET immutable.allow_ddl = on; DROP EXTENSION immutable; RESET immutable.allow_ddl")
    assert rows(db.conn, "SELECT count(*) FROM pg_class WHERE relname ~ '^event(s|_targets)_[0-9]+$'") == [(0,)]
    db.conn.execute("CREATE EXTENSION immutable")


def test_a_log_with_segments_is_not_distributed(sealed):
    diag = refused(sealed.conn, "0A000", "SELECT immutable.require_distributable()")
    assert "restore the dump" in diag.message_hint


def test_a_viewer_of_one_actor_sees_the_targets_of_its_sealed_events(sealed):
    for actor, seen in (("u1", 3), ("u2", 0)):
        token, = sealed.conn.execute("SELECT immutable.create_viewer_token('t', %s) ->> 'token'", [actor]).fetchone()
        viewer = sealed.connect(sealed.create_role("IN ROLE immutable_viewer"))
        viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
        assert rows(viewer, "SELECT count(*) FROM immutable.event_targets") == [(seen,)]
        assert rows(viewer, "SELECT count(*) FROM immutable.events") == [(seen,)]
