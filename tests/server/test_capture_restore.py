"""Tracked tables through dumps, copies, replication and a promotion: the configuration, the triggers and the numbers of
columns are right afterwards, rows that are restored or applied are no changes, and what is changed then is recorded."""

import itertools
import os
import subprocess

import psycopg
import pytest
from helpers_servers import Copy, is_valid, rows, wait_for

RESTORING = {"PGOPTIONS": "-c immutable.restore=on"}
TABLES = """
    CREATE SCHEMA app;
    CREATE TABLE app.plain (id integer PRIMARY KEY);
    CREATE TABLE app.customers (gone text, id integer PRIMARY KEY, name text, iban text, org text);
    ALTER TABLE app.customers DROP COLUMN gone;
    CREATE TABLE app.parted (id integer, k integer, b text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
    CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES IN (1);
    CREATE TABLE app.parted_2 PARTITION OF app.parted DEFAULT PARTITION BY LIST (k);
    CREATE TABLE app.parted_2_2 PARTITION OF app.parted_2 FOR VALUES IN (2);
    CREATE TABLE app.parent (id integer PRIMARY KEY, b text);
    CREATE TABLE app.child (c text) INHERITS (app.parent)"""
TRACK = """
    SELECT immutable.track_table('app.customers', 'customer', mask => '{iban}', tenant_column => 'org', condition => 'id > 0');
    SELECT immutable.track_table('app.parted', exclude => '{b}', operations => '{insert,update}');
    SELECT immutable.track_table('app.parent', columns => '{b}')"""
FILL = """
    INSERT INTO app.plain VALUES (1);
    INSERT INTO app.customers VALUES (1, 'Ada', 'DE1', 'acme'), (0, 'no', 'DE2', 'acme');
    INSERT INTO app.parted VALUES (1, 1, 'x'), (2, 2, 'x');
    INSERT INTO app.child VALUES (1, 'b', 'c')"""
CONFIGURED = "SELECT relation, resource_type, id_columns, columns, exclude, mask, tenant_column, subject_columns, operations, " \
    "condition, tracked_at, tracked_by, problem FROM immutable.tracked_tables ORDER BY 1"
TRIGGERS = "SELECT tgenabled::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE '~immutable\\_capture\\_%' ORDER BY 2"
CHANGES = "SELECT action, tenant_id, resource_id, metadata FROM immutable.events WHERE action NOT LIKE 'immutable.%' " \
    "ORDER BY tenant_id, lane, seq"
OWN = "SELECT action, resource_id FROM immutable.events WHERE action LIKE 'immutable.%' ORDER BY tenant_id, lane, seq"
names = itertools.count(1)


@pytest.fixture
def target(server):
    """A database without the extension, to restore into."""
    name = f"capture_restored_{os.getpid()}_{next(names)}"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield name
    with server.connect() as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def tracked(db):
    for statements in (TABLES, TRACK, FILL):
        db.conn.execute(statements)
    assert len(rows(db.conn, CHANGES)) == 4
    return db


def run(server, program, *arguments, options=RESTORING, check=True):
    env = {**os.environ, "PGHOST": server.host, "PGPORT": server.port, "PGUSER": "postgres", **options}
    done = subprocess.run([server.bin / program, *map(str, arguments)], env=env, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def check_change(conn):
    """What is changed now is recorded as it is configured."""
    before = len(rows(conn, CHANGES))
    conn.execute("UPDATE app.customers SET name = name || '!', iban = iban || '9'")
    conn.execute("INSERT INTO app.parted_2_2 VALUES (3, 2, 'y'); UPDATE app.parted SET b = 'z'; DELETE FROM app.parted WHERE id = 3")
    conn.execute("UPDATE app.parent SET b = b || '!'")
    new = [(action, tenant, metadata) for action, tenant, _, metadata in rows(conn, CHANGES)]
    assert len(new) == before + 3, new
    for expected in (("customer.updated", "acme", {"name": {"old": "Ada", "new": "Ada!"}, "iban": {"changed": True}}),
                     ("parted.created", "", {"id": {"new": 3}, "k": {"new": 2}}),
                     ("parent.updated", "", {"b": {"old": "b", "new": "b!"}})):
        assert expected in new
    assert is_valid(conn)


def check_restored(source, restored):
    """The restored database tracks the same tables, its own, and has recorded nothing by itself."""
    assert rows(restored, CONFIGURED) == rows(source, CONFIGURED)
    assert {problem for *_, problem in rows(restored, CONFIGURED)} == {None}
    assert rows(restored, TRIGGERS) == rows(source, TRIGGERS)
    assert rows(restored, CHANGES) == rows(source, CHANGES)
    assert rows(restored, "SELECT relation FROM immutable.tracking WHERE to_regclass(format('%I.%I', schema_name, table_name)) "
                          "<> relation OR database <> (SELECT oid FROM pg_database WHERE datname = current_database())") == []
    assert rows(restored, "SELECT attname, n FROM immutable.tracking t, unnest(t.attributes, t.numbers) a (attname, n) WHERE NOT EXISTS "
                          "(SELECT FROM pg_attribute p WHERE p.attrelid = t.relation AND p.attname = a.attname AND p.attnum = a.n)") == []
    check_change(restored)


# Dumps


@pytest.mark.parametrize("form", ["plain", "inserts", "custom", "sections", "directory"])
def test_a_dump_restores_what_is_tracked(tracked, server, target, tmp_path, form):
    path = tmp_path / "dump"
    flags = {"inserts": ["--column-inserts"], "custom": ["-Fc"], "sections": ["-Fc"], "directory": ["-Fd"]}.get(form, [])
    server.run("pg_dump", "-d", tracked.name, "-f", str(path), *flags)
    match form:
        case "plain" | "inserts":
            run(server, "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", target, "-f", path)
        case "sections":
            for section in ("pre-data", "data", "post-data"):
                run(server, "pg_restore", "-e", "-d", target, "--section", section, path)
        case _:
            run(server, "pg_restore", "-e", "-d", target, "-j", "3", path)
    with server.connect(target) as restored:
        # The columns have other numbers there, because the dropped one is not restored.
        assert rows(restored, "SELECT numbers FROM immutable.tracking WHERE table_name = 'customers'") != rows(
            tracked.conn, "SELECT numbers FROM immutable.tracking WHERE table_name = 'customers'")
        own = rows(tracked.conn, OWN)
        assert rows(restored, OWN) == own
        check_restored(tracked.conn, restored)
        assert rows(restored, OWN) == [*own, ("immutable.restored", None)]


def test_into_another_server(tracked, cluster, server, tmp_path):
    other = cluster()
    with other.connect() as conn:
        conn.execute("CREATE TABLE others AS SELECT FROM generate_series(1, 2)")
    path = tmp_path / "dump"
    server.run("pg_dump", "-d", tracked.name, "-Fc", "-f", str(path))
    run(other, "pg_restore", "-e", "-d", "postgres", path)
    with other.connect() as restored:
        check_restored(tracked.conn, restored)


def test_without_one_of_the_tracked_tables(tracked, server, target, tmp_path):
    path, chosen = tmp_path / "dump", tmp_path / "list"
    server.run("pg_dump", "-d", tracked.name, "-Fc", "-f", str(path))
    listed = server.run("pg_restore", "-l", str(path)).stdout.splitlines()
    chosen.write_text("\n".join(line for line in listed if " customers" not in line))
    run(server, "pg_restore", "-e", "-d", target, "-L", chosen, path)
    with server.connect(target) as restored:
        problems = {relation: problem for relation, *_, problem in rows(restored, CONFIGURED)}
        assert problems.pop("app.customers") is not None
        assert set(problems.values()) == {None} and len(problems) == 2
        assert rows(restored, "SELECT relation::text FROM immutable.tracking WHERE table_name = 'customers'") == [("0",)]
        # It is found by its name when it comes, and is tracked once somebody says so.
        restored.execute("CREATE TABLE app.customers (id integer PRIMARY KEY, name text, iban text, org text)")
        restored.execute("SELECT immutable.track_table('app.customers', 'customer', mask => '{iban}', tenant_column => 'org')")
        restored.execute("INSERT INTO app.customers VALUES (1, 'Ada', 'DE1', 'acme')")
        assert {problem for *_, problem in rows(restored, CONFIGURED)} == {None}
        check_change(restored)


@pytest.mark.parametrize("is_restoring", [True, False])
def test_data_alone_into_tables_that_are_tracked(tracked, server, target, tmp_path, is_restoring):
    path = tmp_path / "dump"
    server.run("pg_dump", "-d", tracked.name, "-Fc", "--data-only", "-n", "app", "-f", str(path))
    with server.connect(target) as restored:
        for statements in ("CREATE EXTENSION immutable", TABLES, TRACK):
            restored.execute(statements)
        run(server, "pg_restore", "-e", "-d", target, path, options=RESTORING if is_restoring else {})
        # Without the setting, they are rows that somebody inserts.
        def by_name(changes):
            return sorted(changes, key=repr)

        assert by_name(rows(restored, CHANGES)) == ([] if is_restoring else by_name(rows(tracked.conn, CHANGES)))
        assert rows(restored, "SELECT count(*) FROM app.customers") == [(2,)]
        check_change(restored)


def test_disable_triggers_does_not_stay_unseen(tracked, server, target, tmp_path):
    """pg_restore --disable-triggers switches the capturing triggers off, and on again so that a replica session passes them."""
    path = tmp_path / "dump"
    server.run("pg_dump", "-d", tracked.name, "-Fc", "--data-only", "-n", "app", "-f", str(path))
    with server.connect(target) as restored:
        for statements in ("CREATE EXTENSION immutable", TABLES, TRACK):
            restored.execute(statements)
        before = rows(restored, TRIGGERS)
        run(server, "pg_restore", "-e", "--disable-triggers", "-d", target, path, options={})
        assert rows(restored, CHANGES) == []
        own = [action for action, _ in rows(restored, OWN)]
        assert "immutable.capture_disabled" in own and "immutable.capture_enabled" in own
        if rows(restored, TRIGGERS) != before:
            assert None not in {problem for *_, problem in rows(restored, CONFIGURED)}
            restored.execute(TRACK)
        assert rows(restored, TRIGGERS) == before
        assert {problem for *_, problem in rows(restored, CONFIGURED)} == {None}
        check_change(restored)


def test_a_copy_of_the_database(tracked, server):
    """CREATE DATABASE ... TEMPLATE: the tables have the same OIDs, in a database of another."""
    tracked.conn.close()
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {tracked.name}_copy TEMPLATE {tracked.name}")
    try:
        with server.connect(f"{tracked.name}_copy") as copied:
            assert {problem for *_, problem in rows(copied, CONFIGURED)} == {None}
            check_change(copied)
            assert ("immutable.restored", None) in rows(copied, OWN)
            # The next change of the configuration finds the rows of the copied database.
            copied.execute(TRACK)
            assert len(rows(copied, CONFIGURED)) == 3
            check_untracked(copied)
    finally:
        with server.connect() as admin:
            admin.execute(f"DROP DATABASE {tracked.name}_copy WITH (FORCE)")


def check_untracked(conn):
    for table in ("customers", "parted", "parent"):
        assert conn.execute(f"SELECT immutable.untrack_table('app.{table}')").fetchone() == (True,)
    assert rows(conn, CONFIGURED) == [] and rows(conn, TRIGGERS) == []


def test_drop_extension_takes_the_triggers_with_it(tracked):
    conn = tracked.conn
    conn.execute("SET immutable.allow_ddl = on")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as refused:
        conn.execute("DROP EXTENSION immutable")
    assert "~immutable_capture_" in refused.value.diag.message_detail
    conn.execute("DROP EXTENSION immutable CASCADE")
    assert rows(conn, TRIGGERS) == []
    conn.execute("UPDATE app.customers SET name = 'x'; TRUNCATE app.parted")
    assert rows(conn, "SELECT count(*) FROM app.customers") == [(2,)]
    conn.execute("CREATE EXTENSION immutable")
    conn.execute(TRACK)
    assert rows(conn, CHANGES) == []


# Replication


@pytest.fixture
def pair(cluster):
    """Two servers that track the same table; each may publish it."""
    servers = [cluster(wal_level="logical") for _ in range(2)]
    here, there = connections = [server.connect() for server in servers]
    for conn, server in zip(connections, servers, strict=True):
        conn.execute("CREATE EXTENSION immutable; CREATE TABLE t (id integer PRIMARY KEY, b text, c text)")
        conn.execute("SELECT immutable.track_table('t', mask => '{c}')")
        conn.execute("CREATE PUBLICATION p FOR TABLE t")
        conn.server = server
    yield here, there
    for conn in connections:
        conn.close()


def subscribe(to, by, copy=True):
    origin = ", origin = none" if to.server.major >= 16 else ""
    by.execute(f"CREATE SUBSCRIPTION s CONNECTION '{to.server.dsn()}' PUBLICATION p "
               f"WITH (slot_name = 's_{by.server.port}', copy_data = {copy}{origin})")
    wait_for(by, "SELECT coalesce(bool_and(srsubstate = 'r'), false) FROM pg_subscription_rel")


def test_what_a_subscription_brings_is_not_recorded_again(pair):
    publisher, subscriber = pair
    publisher.execute("INSERT INTO t VALUES (1, 'copied', 'x')")
    subscribe(publisher, subscriber)
    publisher.execute("INSERT INTO t VALUES (2, 'applied', 'x'); UPDATE t SET b = 'changed' WHERE id = 1; TRUNCATE t; "
                      "INSERT INTO t VALUES (3, 'last', 'x')")
    wait_for(subscriber, "SELECT count(*) = 1 AND bool_and(b = 'last') FROM t")
    assert [action for action, *_ in rows(publisher, CHANGES)] == [
        "t.created", "t.created", "t.updated", "t.truncated", "t.created"]
    assert rows(subscriber, CHANGES) == []
    # What is changed there is.
    subscriber.execute("UPDATE t SET b = 'local', c = 'y'")
    assert rows(subscriber, CHANGES) == [
        ("t.updated", "", "3", {"b": {"old": "last", "new": "local"}, "c": {"changed": True}})]
    assert is_valid(publisher) and is_valid(subscriber)
    subscriber.execute("DROP SUBSCRIPTION s")


def test_both_directions(pair):
    here, there = pair
    if here.server.major < 16:
        # Without origin = none, each would bring the other's changes back to it.
        subscribe(here, there, copy=False)
        here.execute("INSERT INTO t VALUES (1, 'here', 'x')")
        wait_for(there, "SELECT count(*) = 1 FROM t")
        there.execute("DROP SUBSCRIPTION s")
        subscribe(there, here, copy=False)
        there.execute("UPDATE t SET b = 'there'")
        wait_for(here, "SELECT bool_and(b = 'there') FROM t")
    else:
        subscribe(here, there, copy=False)
        subscribe(there, here, copy=False)
        here.execute("INSERT INTO t VALUES (1, 'here', 'x')")
        wait_for(there, "SELECT count(*) = 1 FROM t")
        there.execute("UPDATE t SET b = 'there'")
        wait_for(here, "SELECT bool_and(b = 'there') FROM t")
        there.execute("DROP SUBSCRIPTION s")
    assert [action for action, *_ in rows(here, CHANGES)] == ["t.created"]
    assert [action for action, *_ in rows(there, CHANGES)] == ["t.updated"]
    here.execute("DROP SUBSCRIPTION s")


def test_a_standby_goes_on_when_it_is_promoted(cluster):
    primary = cluster(wal_level="replica")
    writer = primary.connect()
    writer.execute("CREATE EXTENSION immutable")
    for statements in (TABLES, TRACK, FILL):
        writer.execute(statements)
    copy = Copy(primary)
    try:
        copy.begin()
        standby = copy.connect()
        lsn, = writer.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        wait_for(standby, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")
        assert rows(standby, CONFIGURED) == rows(writer, CONFIGURED)
        for statement in ("SELECT immutable.track_table('app.plain')", "SELECT immutable.untrack_table('app.parted')"):
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                standby.execute(statement)
        writer.close()
        primary.stop("immediate")
        standby.execute("SELECT pg_promote()")
        wait_for(standby, "SELECT NOT pg_is_in_recovery()")
        check_change(standby)
        check_untracked(standby)
    finally:
        copy.destroy()
