"""DDL on tracked tables: the configuration and the triggers follow it, by whomever it is run, and what keeps rows from
being recorded leaves an event."""

import threading

import psycopg
import pytest
from helpers_servers import rows, wait_for
from psycopg import sql

EVENTS = "SELECT action, resource_id, metadata FROM immutable.events ORDER BY tenant_id, lane, seq"
ALL = "~immutable_capture_insert, ~immutable_capture_update, ~immutable_capture_delete, ~immutable_capture_truncate"


class Tables:
    """A schema `app` of a role that is no superuser, which runs the DDL, with a table `t` that is tracked."""

    def __init__(self, db):
        self.db, self.conn = db, db.conn
        self.role = db.create_role()
        self.conn.execute(sql.SQL("CREATE SCHEMA app AUTHORIZATION {}").format(sql.Identifier(self.role)))
        self.conn.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(db.name), sql.Identifier(self.role)))
        self.owner = db.connect(self.role)
        self.owner.execute("SET search_path = app")

    def make(self, columns="id integer PRIMARY KEY, a integer, b text", name="t", rest=""):
        self.owner.execute(f"CREATE TABLE {name} ({columns}) {rest}")

    def track(self, table="app.t", **named):
        names = "".join(f", {name} => %s" for name in named)
        self.conn.execute(f"SELECT immutable.track_table('{table}'{names})", list(named.values()))

    def events(self, of_log=None):
        """What was recorded but that a table is tracked; of the log's own events alone, or the others alone."""
        found = [row for row in rows(self.conn, EVENTS) if row[0] != "immutable.table_tracked"]
        return [row for row in found if of_log in (None, row[0].startswith("immutable."))]

    def notices(self):
        return [(action.removeprefix("immutable."), table, metadata) for action, table, metadata in self.events(True)]

    def changes(self):
        return [(action, key, metadata) for action, key, metadata in self.events(False)]

    def problem(self, table="app.t"):
        return self.conn.execute("SELECT problem FROM immutable.tracked_tables WHERE relation = %s", [table]).fetchone()[0]

    def tracked(self, what):
        return self.conn.execute(f"SELECT {what} FROM immutable.tracked_tables").fetchone()[0]

    def triggers(self, *tables):
        """{table: (number, letters of how they fire)} of the triggers that record rows."""
        found = rows(self.conn, """
            SELECT c.relname, count(*), string_agg(DISTINCT CASE WHEN t.tgtype & 1 = 1 THEN 'row' WHEN t.tgtype & 32 = 0 THEN 'statement' END, ' ')
            FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgfoid = 'immutable.capture'::regproc GROUP BY 1""")
        found = {table: (count, fires) for table, count, fires in found}
        return {table: found.get(table) for table in tables} if tables else found


@pytest.fixture
def app(db):
    return Tables(db)


@pytest.fixture
def t(app):
    app.make()
    app.track()
    return app


@pytest.mark.parametrize("command, relation", [
    ("ALTER TABLE t RENAME TO u", "app.u"),
    ("ALTER INDEX t RENAME TO u", "app.u"),
    ("CREATE SCHEMA other; ALTER TABLE t SET SCHEMA other", "other.t"),
    ("ALTER SCHEMA app RENAME TO \"Other\"", '"Other".t'),
])
def test_the_configuration_follows_a_table(t, command, relation):
    t.owner.execute(command)
    assert t.conn.execute("SELECT format('%I.%I', schema_name, table_name) FROM immutable.tracking").fetchall() == [(relation,)]
    assert t.problem(relation) is None
    t.owner.execute(f"INSERT INTO {relation} VALUES (1, 2, 'x')")
    assert [(action, key) for action, key, _ in t.changes()] == [("t.created", "1")]
    assert t.notices() == []


def test_the_configuration_follows_columns(app):
    app.make("id integer PRIMARY KEY, iban text, note text, org text, person text, seen integer")
    app.track(mask=["iban"], exclude=["note"], tenant_column="org", subject_columns=["person"])
    for column in ("id", "iban", "note", "org", "person"):
        app.owner.execute(f"ALTER TABLE t RENAME {column} TO {column}_2")
    # Names may change places.
    app.owner.execute("ALTER TABLE t RENAME iban_2 TO x; ALTER TABLE t RENAME note_2 TO iban_2; ALTER TABLE t RENAME x TO note_2")
    row = app.conn.execute("SELECT id_columns, mask, exclude, tenant_column, subject_columns, problem FROM immutable.tracked_tables").fetchone()
    assert row == (["id_2"], ["note_2"], ["iban_2"], "org_2", ["person_2"], None)
    app.owner.execute("INSERT INTO t VALUES (1, 'DE', 'secret', 'o', 'p', 3)")
    assert app.changes() == [("t.created", "1", {
        "id_2": {"new": 1}, "note_2": {"changed": True}, "org_2": {"new": "o"}, "person_2": {"new": "p"}, "seen": {"new": 3}})]
    assert rows(app.conn, "SELECT tenant_id, targets -> 0 ->> 'id' FROM immutable.events WHERE action = 't.created'") == [("o", "p")]


def test_rows_are_recorded_under_the_names_of_their_time(app):
    app.make("id integer PRIMARY KEY, a text, b text")
    app.track(mask=["b"])
    with app.owner.transaction():
        app.owner.execute("INSERT INTO t VALUES (1, 'x', 'secret')")
        app.owner.execute("ALTER TABLE t RENAME b TO c; ALTER TABLE t RENAME a TO b")
        app.owner.execute("UPDATE t SET b = 'y', c = 'secret too'")
    assert app.changes() == [("t.created", "1", {"id": {"new": 1}, "a": {"new": "x"}, "b": {"changed": True}}),
                             ("t.updated", "1", {"b": {"old": "x", "new": "y"}, "c": {"changed": True}})]


def test_a_savepoint_takes_a_new_name_back(app):
    app.make("id integer PRIMARY KEY, a text, b text")
    app.track(mask=["b"])
    with app.owner.transaction():
        app.owner.execute("SAVEPOINT s; ALTER TABLE t RENAME b TO c; ALTER TABLE t DISABLE TRIGGER ALL; ROLLBACK TO s")
        app.owner.execute("INSERT INTO t VALUES (1, 'x', 'secret')")
    assert app.changes() == [("t.created", "1", {"id": {"new": 1}, "a": {"new": "x"}, "b": {"changed": True}})]
    assert app.notices() == [] and app.tracked("mask") == ["b"]


def test_two_phase_commit(app):
    app.make("id integer PRIMARY KEY, a text")
    app.track(mask=["a"])
    for gid, end in (("ddl_1", "ROLLBACK"), ("ddl_2", "COMMIT")):
        app.owner.execute(f"BEGIN; INSERT INTO t VALUES (1, 'x'); ALTER TABLE t RENAME a TO b; ALTER TABLE t DISABLE TRIGGER USER; PREPARE TRANSACTION '{gid}'")
        app.owner.execute(f"{end} PREPARED '{gid}'")
    assert app.tracked("mask") == ["b"]
    assert app.changes() == [("t.created", "1", {"id": {"new": 1}, "a": {"changed": True}})]
    assert app.notices() == [("capture_disabled", "app.t", {"cause": "ALTER TABLE", "triggers": ALL})]


def test_a_dropped_column_is_forgotten(app):
    app.make("id integer PRIMARY KEY, a integer, b integer, person integer")
    app.track(columns=["id", "a", "b"], subject_columns=["person"])
    app.owner.execute("ALTER TABLE t DROP b, DROP person")
    assert (app.tracked("columns"), app.tracked("subject_columns"), app.problem()) == (["id", "a"], [], None)
    app.owner.execute("ALTER TABLE t ADD b integer")
    app.owner.execute("INSERT INTO t VALUES (1, 2, 3)")
    assert app.changes() == [("t.created", "1", {"id": {"new": 1}, "a": {"new": 2}})]


@pytest.mark.parametrize("drop", ["ALTER TABLE t DROP iban, DROP note", "DROP DOMAIN secret CASCADE", "DROP SCHEMA types CASCADE", "DROP VIEW v CASCADE"])
def test_what_was_not_shown_stays_hidden_under_its_name(app, drop):
    app.owner.execute("CREATE SCHEMA types; CREATE DOMAIN secret AS text; CREATE DOMAIN types.secret AS text; CREATE VIEW v AS SELECT 'x'::text AS x")
    kind = "types.secret" if "types" in drop else "v" if " v " in drop else "secret"
    app.make(f"id integer PRIMARY KEY, a integer, iban {kind}, note {kind}")
    app.track(mask=["iban"], exclude=["note"])
    app.owner.execute(drop)
    assert (app.tracked("mask"), app.tracked("exclude"), app.problem()) == (["iban"], ["note"], None)
    app.owner.execute("INSERT INTO t VALUES (1, 2)")
    app.owner.execute("ALTER TABLE t ADD iban text, ADD note text; UPDATE t SET iban = 'DE1', note = 'x'")
    app.owner.execute("ALTER TABLE t RENAME iban TO account; UPDATE t SET account = 'DE2'")
    assert [metadata for _, _, metadata in app.changes()] == [
        {"id": {"new": 1}, "a": {"new": 2}}, {"iban": {"changed": True}}, {"account": {"changed": True}}]


@pytest.mark.parametrize("column", ["id", "org"])
def test_a_column_of_the_key_or_the_tenant_is_missed(app, column):
    app.make("id integer, org text, a integer")
    app.track(id_columns=["id"], tenant_column="org")
    app.owner.execute(f"ALTER TABLE t DROP {column}")
    assert app.problem() == (f'column "{column}" is not there, and every value is masked. Call immutable.track_table() again with '
                             "the columns that the table has")
    app.owner.execute("UPDATE t SET a = 1; INSERT INTO t (a) VALUES (2)")
    assert [metadata["a"] for _, _, metadata in app.changes()] == [{"changed": True}]
    assert any(f'app.t: column "{column}"' in problem for problem in app.conn.execute("SELECT problems FROM immutable.status()").fetchone()[0])


def test_partitions_come_and_go(app):
    app.make("id integer, at integer", rest="PARTITION BY RANGE (at)")
    app.owner.execute("CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (10)")
    app.track()
    run = app.owner.execute
    run("CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (10) TO (20)")
    run("CREATE TABLE p3 (at integer, id integer) PARTITION BY RANGE (at); CREATE TABLE p31 PARTITION OF p3 FOR VALUES FROM (20) TO (30)")
    run("ALTER TABLE t ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30)")
    run("CREATE SCHEMA s CREATE TABLE p4 PARTITION OF app.t FOR VALUES FROM (30) TO (40)")
    run("CREATE TABLE p5 PARTITION OF t DEFAULT")
    statement = (4, "statement")
    assert app.triggers() == dict.fromkeys(("t", "p1", "p2", "p3", "p31", "p4", "p5"), statement)
    assert app.problem() is None
    run("INSERT INTO p2 VALUES (1, 11); INSERT INTO p31 (id, at) VALUES (2, 21); INSERT INTO p3 (id, at) VALUES (3, 22)")
    run("INSERT INTO t VALUES (4, 1), (5, 31), (6, 50)")
    assert [metadata["id"]["new"] for _, _, metadata in app.changes()] == [1, 2, 3, 4, 5, 6]
    run("ALTER TABLE t DETACH PARTITION p3; DROP TABLE p2; DROP TABLE p5")
    run("ALTER TABLE t DETACH PARTITION p1 CONCURRENTLY")
    assert app.triggers() == {"t": statement, "p4": statement}
    run("INSERT INTO p1 VALUES (7, 1); INSERT INTO p31 (id, at) VALUES (8, 21)")
    assert len(app.changes()) == 6 and app.problem() is None
    of = {"tracked_table": "app.t"}
    assert app.notices() == [
        ("partition_attached", "app.p2", {"cause": "CREATE TABLE", **of}), ("partition_attached", "app.p3", {"cause": "ALTER TABLE", **of}),
        ("partition_attached", "s.p4", {"cause": "CREATE SCHEMA", **of}), ("partition_attached", "app.p5", {"cause": "CREATE TABLE", **of}),
        ("partition_detached", "app.p3", {"cause": "ALTER TABLE", **of}), ("partition_detached", "app.p2", {"cause": "DROP TABLE", **of}),
        ("partition_detached", "app.p5", {"cause": "DROP TABLE", **of}), ("partition_detached", "app.p1", {"cause": "ALTER TABLE", **of})]


def test_a_detached_partition_that_waits(app):
    app.make("id integer, at integer", rest="PARTITION BY RANGE (at)")
    app.owner.execute("CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (10)")
    app.track()
    reader = app.db.connect(app.role, autocommit=False)
    reader.execute("SELECT * FROM app.t")
    app.owner.execute("SET lock_timeout = '50ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        app.owner.execute("ALTER TABLE t DETACH PARTITION p1 CONCURRENTLY")
    reader.rollback()
    app.owner.execute("RESET lock_timeout; ALTER TABLE t DETACH PARTITION p1 FINALIZE")
    assert app.triggers() == {"t": (4, "statement")}
    assert app.notices() == [("partition_detached", "app.p1", {"cause": "ALTER TABLE", "tracked_table": "app.t"})]


def test_children_come_and_go(t):
    run = t.owner.execute
    run("CREATE TABLE c1 (x integer) INHERITS (t); CREATE TABLE c2 (LIKE t); ALTER TABLE c2 INHERIT t; CREATE TABLE c11 () INHERITS (c1)")
    assert t.triggers() == dict.fromkeys(("t", "c1", "c2", "c11"), (4, "row"))
    run("INSERT INTO c1 VALUES (1, 1, 'x', 9); INSERT INTO c2 VALUES (2, 2, 'y'); INSERT INTO t VALUES (3, 3, 'z'); INSERT INTO c11 VALUES (4, 4, 'w')")
    run("UPDATE t SET a = a + 1")
    assert sorted(key for _, key, _ in t.changes()) == sorted("12341234")
    assert t.problem() is None
    run("DROP TABLE c1 CASCADE; ALTER TABLE c2 NO INHERIT t")
    assert t.triggers() == {"t": (4, "statement")} and t.problem() is None
    run("UPDATE c2 SET a = 9; UPDATE t SET a = 10")
    assert [key for _, key, _ in t.changes()][8:] == ["3"]
    assert [(action, table) for action, table, _ in t.notices()] == [
        ("partition_attached", "app.c1"), ("partition_attached", "app.c2"), ("partition_attached", "app.c11"),
        ("partition_detached", "app.c1"), ("partition_detached", "app.c11"), ("partition_detached", "app.c2")]


def test_a_foreign_partition_has_the_others_fire_for_each_row(app):
    app.conn.execute("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w")
    app.make("id integer, at integer", rest="PARTITION BY RANGE (at)")
    app.owner.execute("CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (10)")
    app.track()
    app.conn.execute("CREATE FOREIGN TABLE app.f PARTITION OF app.t FOR VALUES FROM (10) TO (20) SERVER s")
    # PostgreSQL 15 cannot say that a foreign table is truncated.
    f = (3, "row") if app.db.server.major < 16 else (4, "row")
    assert app.triggers() == {"t": (1, None), "p1": (4, "row"), "f": f}
    app.owner.execute("INSERT INTO t VALUES (1, 1); INSERT INTO p1 VALUES (2, 2)")
    assert [metadata["id"]["new"] for _, _, metadata in app.changes()] == [1, 2]
    assert app.problem() is None
    app.conn.execute("DROP SERVER s CASCADE")
    assert app.triggers() == dict.fromkeys(("t", "p1"), (4, "statement")) and app.problem() is None
    app.owner.execute("INSERT INTO t VALUES (3, 3); INSERT INTO p1 VALUES (4, 4)")
    assert [metadata["id"]["new"] for _, _, metadata in app.changes()] == [1, 2, 3, 4]
    assert [(action, table) for action, table, _ in app.notices()] == [("partition_attached", "app.f"), ("partition_detached", "app.f")]


def test_a_tracked_table_may_get_a_parent_that_is_not(app):
    app.make("id integer, at integer", "p", "PARTITION BY RANGE (at)")
    app.make("id integer, at integer")
    app.track()
    app.owner.execute("ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (0) TO (10)")
    app.owner.execute("INSERT INTO p VALUES (1, 1); INSERT INTO t VALUES (2, 2)")
    assert [metadata["id"]["new"] for _, _, metadata in app.changes()] == [1, 2]
    assert app.problem() is None
    app.owner.execute("ALTER TABLE p DETACH PARTITION t; INSERT INTO t VALUES (3, 3)")
    assert app.triggers() == {"t": (4, "statement")} and app.problem() is None and len(app.changes()) == 3


@pytest.mark.parametrize("off, triggers", [
    ("ALTER TABLE t DISABLE TRIGGER USER", ALL),
    ('ALTER TABLE t DISABLE TRIGGER "~immutable_capture_update"', "~immutable_capture_update"),
    ('ALTER TABLE t ENABLE REPLICA TRIGGER "~immutable_capture_delete"', "~immutable_capture_delete"),
    ('DROP TRIGGER "~immutable_capture_insert" ON t', "~immutable_capture_insert"),
])
def test_what_switches_the_recording_off_is_recorded(t, off, triggers):
    t.owner.execute(off)
    assert t.notices() == [("capture_disabled", "app.t", {"cause": " ".join(off.split()[:2]), "triggers": triggers})]
    state = "missing" if off.startswith("DROP") else "disabled"
    assert t.problem().startswith(f'trigger "{triggers.split(",")[0]}" of app.t is {state}')
    assert any(t.problem() in problem for problem in t.conn.execute("SELECT problems FROM immutable.status()").fetchone()[0])
    if state == "disabled":
        t.owner.execute("ALTER TABLE t ENABLE TRIGGER USER")
        assert t.notices()[1:] == [("capture_enabled", "app.t", {"cause": "ALTER TABLE", "triggers": t.notices()[1][2]["triggers"]})]
        assert set(t.notices()[1][2]["triggers"].split(", ")) == set(triggers.split(", "))
    else:
        t.track()
    assert t.problem() is None
    t.conn.execute("SET session_replication_role = replica; INSERT INTO app.t VALUES (1, 1); UPDATE app.t SET a = 2; DELETE FROM app.t")
    assert [action for action, _, _ in t.changes()] == ["t.created", "t.updated", "t.deleted"]


def test_a_trigger_keeps_its_name(t):
    t.owner.execute('ALTER TRIGGER "~immutable_capture_update" ON t RENAME TO mine')
    assert t.triggers() == {"t": (4, "statement")} and t.problem() is None
    t.owner.execute("INSERT INTO t VALUES (1, 1); UPDATE t SET a = 2")
    assert [action for action, _, _ in t.changes()] == ["t.created", "t.updated"]


@pytest.mark.parametrize("command, metadata", [
    ("ALTER TABLE t ALTER a TYPE bigint USING a * 2, ALTER b TYPE integer USING 1", {"cause": "ALTER TABLE", "columns": "a, b"}),
    ("ALTER TABLE t ADD c double precision DEFAULT random()", {"cause": "ALTER TABLE"}),
])
def test_a_table_that_is_rewritten(t, command, metadata):
    t.owner.execute(f"INSERT INTO t VALUES (1, 1, 'x'); {command}")
    assert t.notices() == [("table_rewritten", "app.t", metadata)]
    t.owner.execute("DELETE FROM t")
    assert [action for action, _, _ in t.changes()] == ["t.created", "t.deleted"]


@pytest.mark.parametrize("command", ["DROP TABLE app.t", "DROP SCHEMA app CASCADE", "DROP OWNED BY {role}"])
def test_a_table_that_is_dropped(t, command):
    t.conn.execute(sql.SQL(command).format(role=sql.Identifier(t.role)))
    assert t.notices() == [("table_untracked", "app.t", {"cause": " ".join(command.split()[:2])})]
    assert rows(t.conn, "SELECT * FROM immutable.tracking") == []


def test_a_tree_that_is_dropped_is_one_event(app):
    app.make("id integer, at integer", rest="PARTITION BY RANGE (at)")
    app.owner.execute("CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (10)")
    app.track()
    app.owner.execute("DROP TABLE t")
    assert app.notices() == [("table_untracked", "app.t", {"cause": "DROP TABLE"})]


def test_what_does_no_harm(t):
    t.conn.execute("CREATE ROLE ddl_other; GRANT CREATE, USAGE ON SCHEMA app TO ddl_other")
    t.conn.execute("GRANT ddl_other TO " + t.role)
    for command in ["REINDEX TABLE t", "VACUUM FULL t", "CLUSTER t USING t_pkey", "CREATE TABLE l (LIKE t INCLUDING ALL)",
                    "CREATE TABLE ctas AS SELECT * FROM t", "SELECT * INTO into_t FROM t", "CREATE TEMP TABLE t2 (LIKE t)", "DROP TABLE t2",
                    "CREATE TEMP TABLE tp (id integer) PARTITION BY LIST (id); CREATE TEMP TABLE tp1 PARTITION OF tp DEFAULT; DROP TABLE tp",
                    "ALTER TABLE t ADD c integer DEFAULT 3", "ALTER TABLE t ALTER b TYPE varchar", "ALTER TABLE t SET (fillfactor = 90)",
                    "CREATE INDEX ON t (a); DROP INDEX t_a_idx", "COMMENT ON TABLE t IS 'x'", "ANALYZE t",
                    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
                    "CREATE TRIGGER own BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE t DISABLE TRIGGER own; DROP TRIGGER own ON t",
                    "ALTER TABLE t OWNER TO ddl_other"]:
        t.owner.execute(command)
    t.conn.execute("ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE pg_default")
    assert t.triggers() == {"t": (4, "statement")} and t.problem() is None
    t.conn.execute("INSERT INTO app.t VALUES (1, 1)")
    assert [action for action, _, _ in t.events()] == ["t.created"]
    t.conn.execute(f"ALTER TABLE app.t OWNER TO {t.role}; REVOKE ALL ON SCHEMA app FROM ddl_other; DROP ROLE ddl_other")


def test_an_unlogged_table_is_a_problem(t):
    t.owner.execute("ALTER TABLE t SET UNLOGGED")
    assert t.problem() == "the table is unlogged. A crash empties it, and no event says so. Run ALTER TABLE ... SET LOGGED"
    t.owner.execute("ALTER TABLE t SET LOGGED")
    assert t.problem() is None and t.notices() == []


def test_typed_tables(app):
    app.owner.execute("CREATE TYPE person AS (id integer, name text, iban text); CREATE TABLE t OF person")
    app.track(mask=["iban"], id_columns=["id"])
    app.owner.execute("ALTER TYPE person RENAME ATTRIBUTE iban TO account CASCADE")
    assert app.tracked("mask") == ["account"]
    app.owner.execute("ALTER TYPE person DROP ATTRIBUTE account CASCADE; ALTER TYPE person ADD ATTRIBUTE account text CASCADE")
    app.owner.execute("INSERT INTO t VALUES (1, 'x', 'secret')")
    app.owner.execute("ALTER TYPE person ALTER ATTRIBUTE name TYPE varchar(3) CASCADE")
    assert app.changes() == [("t.created", "1", {"id": {"new": 1}, "name": {"new": "x"}, "account": {"changed": True}})]
    assert app.notices() == [("table_rewritten", "app.t", {"cause": "ALTER TYPE", "columns": "name"})] and app.problem() is None


def test_a_writer_does_not_wait_for_an_attached_partition(app):
    app.make("id integer, at integer", rest="PARTITION BY RANGE (at)")
    app.owner.execute("CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE p2 (LIKE t)")
    app.track()
    writer = app.db.connect(app.role, autocommit=False)
    writer.execute("INSERT INTO app.t VALUES (1, 1)")
    app.owner.execute("SET lock_timeout = '10s'; ALTER TABLE t ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)")
    writer.execute("INSERT INTO app.t VALUES (2, 11)")
    writer.commit()
    assert [metadata["id"]["new"] for _, _, metadata in app.changes()] == [1, 2]
    writer.execute("INSERT INTO app.p2 VALUES (3, 12)")
    writer.commit()
    assert [metadata["id"]["new"] for _, _, metadata in app.changes()] == [1, 2, 3]


def test_ddl_waits_for_writers_and_writers_for_ddl(app):
    app.make("id integer PRIMARY KEY, a text")
    app.track(mask=["a"])
    writer = app.db.connect(app.role, autocommit=False)
    writer.execute("INSERT INTO app.t VALUES (1, 'x')")
    renamer = threading.Thread(target=app.owner.execute, args=("ALTER TABLE t RENAME a TO b",))
    renamer.start()
    wait_for(app.conn, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'app.t'::regclass)")
    writer.execute("INSERT INTO app.t VALUES (2, 'y')")
    writer.commit()
    renamer.join()
    writer.execute("INSERT INTO app.t VALUES (3, 'z')")
    writer.commit()
    assert [list(metadata) for _, _, metadata in app.changes()] == [["a", "id"], ["a", "id"], ["b", "id"]]
    assert all({"changed": True} in metadata.values() for _, _, metadata in app.changes())


def test_two_sessions_rename_two_tables(app):
    for name in ("t", "u"):
        app.make(name=name)
        app.track(f"app.{name}")
    other = app.db.connect(app.role, autocommit=False)
    other.execute("ALTER TABLE app.u RENAME TO u2")
    renamer = threading.Thread(target=app.owner.execute, args=("ALTER TABLE t RENAME TO t2",))
    renamer.start()
    wait_for(app.conn, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    other.commit()
    renamer.join()
    assert rows(app.conn, "SELECT relation, problem FROM immutable.tracked_tables ORDER BY 1") == [("app.t2", None), ("app.u2", None)]


def test_without_event_triggers_nothing_is_shown_that_was_hidden(app):
    app.make("id integer, iban text", rest="PARTITION BY RANGE (id)")
    app.track(mask=["iban"])
    app.conn.execute("ALTER EVENT TRIGGER immutable_capture_end DISABLE; ALTER EVENT TRIGGER immutable_capture_drop DISABLE")
    app.owner.execute("ALTER TABLE t RENAME iban TO account; CREATE TABLE p PARTITION OF t DEFAULT; INSERT INTO t VALUES (1, 'secret')")
    app.owner.execute("ALTER TABLE t DROP account; ALTER TABLE t ADD other text; UPDATE t SET other = 'who knows'")
    assert [metadata for _, _, metadata in app.changes()] == [
        {"id": {"new": 1}, "account": {"changed": True}}, {"other": {"changed": True}}]
    problems = app.conn.execute("SELECT problems FROM immutable.status()").fetchone()[0]
    assert any("event trigger immutable_capture_end is disabled" in problem for problem in problems)
    assert any('trigger "~immutable_capture_insert" of app.p is missing' in problem for problem in problems)


def test_names_of_the_caller_mean_nothing(t):
    """What the event triggers run with the owner's rights calls nothing that the caller's search_path offers."""
    t.owner.execute("""
        CREATE SCHEMA evil;
        CREATE TABLE evil.ran (who text);
        GRANT ALL ON evil.ran TO PUBLIC;
        CREATE FUNCTION evil.f(oid, oid) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO evil.ran VALUES (current_user); RETURN true; END';
        CREATE FUNCTION evil.f(name, name) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO evil.ran VALUES (current_user); RETURN true; END';
        CREATE FUNCTION evil.f(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO evil.ran VALUES (current_user); RETURN true; END';
        CREATE FUNCTION evil.f(integer, integer) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO evil.ran VALUES (current_user); RETURN true; END';
        CREATE OPERATOR evil.= (FUNCTION = evil.f, LEFTARG = oid, RIGHTARG = oid);
        CREATE OPERATOR evil.= (FUNCTION = evil.f, LEFTARG = name, RIGHTARG = name);
        CREATE OPERATOR evil.= (FUNCTION = evil.f, LEFTARG = text, RIGHTARG = text);
        CREATE OPERATOR evil.= (FUNCTION = evil.f, LEFTARG = integer, RIGHTARG = integer);
        CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS 'BEGIN INSERT INTO evil.ran VALUES (current_user); RETURN; END';
        SET search_path = evil, app, pg_catalog;
        ALTER TABLE t RENAME a TO a2;
        ALTER TABLE t DROP a2;
        CREATE TABLE c () INHERITS (t);
        ALTER TABLE t DISABLE TRIGGER USER; ALTER TABLE t ENABLE TRIGGER USER;
        ALTER TABLE t ALTER b TYPE bytea USING NULL;
        DROP TABLE c; DROP TABLE t""")
    assert rows(t.conn, "SELECT who FROM evil.ran") == []
    assert [action for action, _, _ in t.notices()] == [
        "partition_attached", "capture_disabled", "capture_enabled", "table_rewritten", "table_rewritten", "partition_detached", "table_untracked"]


def test_while_a_dump_is_restored_ddl_leaves_no_event(t):
    t.conn.execute("SET immutable.restore = on; ALTER TABLE app.t DISABLE TRIGGER ALL; ALTER TABLE app.t ENABLE TRIGGER ALL; "
                   "CREATE TABLE app.c () INHERITS (app.t); RESET immutable.restore")
    assert t.events() == [] and t.problem() is None


def test_a_restored_database_goes_on(db, cluster):
    app = Tables(db)
    app.make("id integer, iban text, note text", rest="PARTITION BY RANGE (id)")
    app.owner.execute("CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (10)")
    app.track(mask=["iban"], exclude=["note"])
    app.owner.execute("INSERT INTO t VALUES (1, 'x', 'y'); ALTER TABLE t DROP note")
    dump = db.server.run("pg_dump", "-d", db.name).stdout
    other = cluster()
    with other.connect() as admin:
        admin.execute(f"CREATE ROLE {app.role}")
        admin.execute("CREATE DATABASE restored")
    options = "SET immutable.restore = on;\n"
    other.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "restored", input="LOAD 'immutable';\n" + options + dump)
    with other.connect("restored") as conn:
        assert rows(conn, "SELECT problem, exclude FROM immutable.tracked_tables") == [(None, ["note"])]
        conn.execute("ALTER TABLE app.t RENAME iban TO account; ALTER TABLE app.t ADD note text")
        conn.execute("CREATE TABLE app.p2 PARTITION OF app.t FOR VALUES FROM (10) TO (20)")
        conn.execute("INSERT INTO app.p2 VALUES (11, 'secret', 'hidden')")
        assert rows(conn, "SELECT metadata FROM immutable.events WHERE action = 't.created' ORDER BY created_at DESC LIMIT 1") == [
            ({"id": {"new": 11}, "account": {"changed": True}},)]


def test_an_upgraded_database_tracks(server):
    with server.connect() as admin:
        admin.execute("CREATE DATABASE ddl_upgraded TEMPLATE template0")
    try:
        with server.connect("ddl_upgraded") as conn:
            conn.execute("CREATE EXTENSION immutable VERSION '0.3.0'")
            conn.execute("CREATE TABLE before (id integer PRIMARY KEY)")
            conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'a')")
        with server.connect("ddl_upgraded") as conn:
            conn.execute("CREATE TABLE child () INHERITS (before); DROP TABLE child")
            conn.execute("ALTER EXTENSION immutable UPDATE")
            conn.execute("SELECT immutable.track_table('before')")
            conn.execute("INSERT INTO before VALUES (1); ALTER TABLE before RENAME TO after; INSERT INTO after VALUES (2)")
            assert rows(conn, "SELECT resource_id FROM immutable.events WHERE action = 'before.created' ORDER BY 1") == [("1",), ("2",)]
            assert rows(conn, "SELECT relation, problem FROM immutable.tracked_tables") == [("public.after", None)]
    finally:
        with server.connect() as admin:
            admin.execute("DROP DATABASE ddl_upgraded WITH (FORCE)")


def test_the_first_child_while_triggers_are_deferred(app):
    """The triggers of the table are made anew for each row, though the table has events to come of other triggers."""
    app.make()
    app.track()
    app.owner.execute("CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    app.owner.execute("CREATE CONSTRAINT TRIGGER look AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look()")
    with app.db.connect(app.role, autocommit=False) as conn:
        conn.execute("SET search_path = app")
        conn.execute("INSERT INTO t VALUES (1, 1, 'x')")
        conn.execute("CREATE TABLE child () INHERITS (t)")
        conn.execute("INSERT INTO t VALUES (2, 1, 'x'); INSERT INTO child VALUES (3, 1, 'x'); UPDATE t SET a = 2 WHERE id > 1")
    assert [(action, key) for action, key, _ in app.changes()] == [
        ("t.created", "1"), ("t.created", "2"), ("t.created", "3"), ("t.updated", "2"), ("t.updated", "3")]
    assert app.problem() is None and {fires for _, fires in app.triggers().values()} == {"row"}
