"""Dumps and base backups: what is restored is what was recorded, byte for byte; the log continues from there, and records that
it was restored."""

import os
import pathlib
import shutil
import subprocess

import psycopg
import pytest

from conftest import Cluster
from helpers_log import Log, forge, python_format, text_form
from helpers_sequencing import check, checkpoint
from helpers_servers import EVENTS, TARGETS, Copy, as_server, is_valid, record, rows, seams, wait_for, write_file

RESTORING = {"PGOPTIONS": "-c immutable.restore=on"}
HELD = "SELECT jti, tenant_id, actor_id, revoked_at, forget_at, revoked_by FROM immutable.revocations ORDER BY 1, 2, 3"
GRANTS = "SELECT role, mode, tenant_id, granted_at FROM immutable.tenant_grants ORDER BY 1, 2"


def fill(conn, role=None):
    """Events of every kind: several tenants and lanes, targets, erased ones, keys and grants."""
    conn.execute("CREATE SCHEMA app; CREATE TABLE app.t (x int); INSERT INTO app.t VALUES (1)")
    for tenant in ("", "t", "o'x\\y"):
        for n in range(4):
            record(conn, f"a.{n}", tenant, actor_name="Zoë\t\n\\N", metadata='{"n": 1.00, "big": 1e400, "s": "\\u2028"}',
                   targets='[{"type": "b", "id": "2", "metadata": {"k": 1.10}}, {"type": "a"}]', ip_address="::1.2.3.4")
    # A second lane: two transactions at once.
    with psycopg.connect(conn.info.dsn) as first, psycopg.connect(conn.info.dsn) as second:
        record(first, "lane 0")
        assert record(second, "lane 1") == (1, 1)
    event, = conn.execute("SELECT id FROM immutable.events WHERE tenant_id = 't' AND seq = 2").fetchone()
    conn.execute("SELECT immutable.erase(%s, 't', '{actor_id,actor_name,metadata.n,targets.1}', 'asked to')", [event])
    conn.execute("SELECT immutable.erase_subject('o''x\\y', 'u1', 'forget it')")
    conn.execute("SELECT immutable.create_viewer_token('t')")
    conn.execute("SELECT immutable.revoke_viewer_token('a-token'), immutable.revoke_viewer_tokens('t', 'u2')")
    if role:
        conn.execute("SELECT immutable.grant_tenant(%s, 't')", [role])


@pytest.fixture
def target(server):
    """A database without the extension, to restore into."""
    name = f"restored_{os.getpid()}"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield name
    with server.connect() as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def restore(server, program, *arguments, user="postgres", options=RESTORING, check=True):
    """psql or pg_restore, with the setting given as a DBA gives it."""
    env = {**os.environ, "PGHOST": server.host, "PGPORT": server.port, "PGUSER": user, **options}
    done = subprocess.run([server.bin / program, *map(str, arguments)], env=env, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def dump(db, path, *arguments):
    db.server.run("pg_dump", "-d", db.name, "-f", str(path), *arguments)
    return path


def check_equal(db, restored):
    """The restored database holds what the dumped one does, and no secret."""
    for query in (EVENTS, TARGETS, HELD, "SELECT * FROM immutable.log"):
        there = rows(db.conn, query)
        assert there, query
        assert rows(restored, query) == there, query
    assert rows(restored, GRANTS) == rows(db.conn, GRANTS)
    assert is_valid(restored)
    assert rows(db.conn, "SELECT count(*) FROM immutable.viewer_keys") == [(1,)]
    assert rows(restored, "SELECT count(*) FROM immutable.viewer_keys") == [(0,)]
    assert rows(restored, "SELECT count(DISTINCT xact) FROM immutable.events") == [(1,)]
    # Row security goes by the role's name, not by its OID.
    assert rows(restored, "SELECT count(*) FROM immutable.tenant_grants WHERE role_oid <> to_regrole(role::text)") == [(0,)]


def check_goes_on(conn):
    """New events continue in the existing lanes, after one that records the restore."""
    (last, heads), = rows(conn, "SELECT max(seq), count(*) FROM immutable.events WHERE tenant_id = 't' AND lane = 0")
    assert last == heads
    newest, = conn.execute("SELECT max(created_at) FROM immutable.events").fetchone()
    assert seams(conn) == []
    assert record(conn, "after") == (0, last + 1)
    assert record(conn, "after", tenant="new") == (0, 1)
    seam, = seams(conn)
    assert seam["from"] is None
    assert seam["last_event_at"] == newest.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    system, = conn.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    assert seam["to"]["system_identifier"] == system
    assert rows(conn, "SELECT tenant_id, actor_id, actor_type FROM immutable.events WHERE action = 'immutable.restored'"
                ) == [("", "immutable", "extension")]
    assert rows(conn, "SELECT action FROM immutable.events ORDER BY created_at DESC LIMIT 3") == [
        ("after",), ("after",), ("immutable.restored",)]
    assert is_valid(conn)


@pytest.mark.parametrize("form", ["plain", "inserts", "custom", "directory"])
def test_a_whole_database_is_restored_byte_for_byte(db, server, target, tmp_path, form):
    db.conn.execute("SET timezone = 'UTC'")
    fill(db.conn, db.create_role())
    path = tmp_path / "dump"
    if form in ("plain", "inserts"):
        dump(db, path, *(["--column-inserts"] if form == "inserts" else []))
        # Each INSERT is a transaction of its own, unless psql is told otherwise.
        restore(server, "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", target, "-f", path)
    else:
        dump(db, path, "-F", form[0])
        restore(server, "pg_restore", "-e", "-d", target, "-j", "4", path)
    with server.connect(target) as restored:
        restored.execute("SET timezone = 'UTC'")
        check_equal(db, restored)
        assert rows(restored, "SELECT x FROM app.t") == [(1,)]
        check_goes_on(restored)


def test_a_consumer_of_one_tenant_goes_on_after_a_restore(db, server, target, tmp_path):
    """Its position is lanes and numbers, which a restore keeps; nothing is given twice or left out."""
    fill(db.conn)
    before = db.conn.execute("SELECT immutable.changes('t', \"limit\" => 3)").fetchone()[0]
    rest = db.conn.execute("SELECT immutable.changes('t', %s)", [psycopg.types.json.Jsonb(before["position"])]).fetchone()[0]
    assert len(before["data"]) == 3 and rest["data"]
    path = dump(db, tmp_path / "dump", "-F", "c")
    restore(server, "pg_restore", "-e", "-d", target, path)
    with server.connect(target) as restored:
        record(restored, "after")
        after = restored.execute("SELECT immutable.changes('t', %s)", [psycopg.types.json.Jsonb(before["position"])]).fetchone()[0]
        assert [event["id"] for event in after["data"][:-1]] == [event["id"] for event in rest["data"]]
        assert after["data"][-1]["action"] == "after"


def test_the_log_alone_is_dumped_by_its_extension(db, server, target, tmp_path):
    fill(db.conn)
    # The schema is the extension's, so that naming it alone is naming nothing.
    empty = dump(db, tmp_path / "empty", "-n", "immutable")
    assert "COPY" not in empty.read_text() and "EXTENSION" not in empty.read_text()
    path = dump(db, tmp_path / "dump", "-F", "c", "-n", "immutable", "-e", "immutable")
    listed = server.run("pg_restore", "-l", str(path)).stdout
    assert "EXTENSION - immutable" in listed and "TABLE DATA immutable events" in listed
    for absent in (" event_targets ", " viewer_keys ", " cluster ", " app "):
        assert absent not in listed
    restore(server, "pg_restore", "-e", "-d", target, path)
    with server.connect(target) as restored:
        check_equal(db, restored)
        assert rows(restored, "SELECT to_regclass('app.t')") == [(None,)]
        check_goes_on(restored)


def test_a_role_that_is_not_a_superuser_restores_with_the_role_for_it(db, server, target, tmp_path):
    fill(db.conn)
    path = dump(db, tmp_path / "dump", "-F", "c", "-n", "immutable", "-e", "immutable")
    member = db.create_role("BYPASSRLS")
    outsider = db.create_role("BYPASSRLS")
    with server.connect(target) as restored:
        restored.execute("CREATE EXTENSION immutable")
        restored.execute(f"GRANT immutable_restorer TO {member}; GRANT SET ON PARAMETER immutable.restore TO {member}")
        # Rights to the tables, but not to the setting.
        restored.execute(f"GRANT USAGE ON SCHEMA immutable TO {outsider}")
        restored.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA immutable TO {outsider}")
        failed = restore(server, "pg_restore", "-e", "--data-only", "-d", target, path, user=outsider, check=False)
        assert failed.returncode != 0
        assert "is set by the log" in failed.stderr and "with the right to SET it" in failed.stderr
        assert rows(restored, "SELECT count(*) FROM immutable.events") == [(0,)]
        restored.execute(f"DROP OWNED BY {outsider}")
        restore(server, "pg_restore", "-e", "--data-only", "-d", target, path, user=member)
        check_equal(db, restored)
        with server.connect(target, member) as by_hand:
            by_hand.execute("SELECT immutable.record_restore('ticket 4711')")
        seam, = seams(restored)
        assert seam["reason"] == "ticket 4711"
        assert rows(restored, "SELECT actor_id, recorded_by FROM immutable.events WHERE action = 'immutable.restored'"
                    ) == [(member, member)]
        assert is_valid(restored)
        restored.execute(f"REVOKE immutable_restorer FROM {member}; REVOKE SET ON PARAMETER immutable.restore FROM {member}")


def test_without_the_setting_a_dump_is_refused_with_the_reason(db, server, target, tmp_path):
    fill(db.conn)
    path = dump(db, tmp_path / "dump", "-F", "c")
    failed = restore(server, "pg_restore", "-d", target, path, options={}, check=False)
    assert "column created_at is set by the log" in failed.stderr
    assert "immutable.restore = on" in failed.stderr
    with server.connect(target) as restored:
        assert rows(restored, "SELECT count(*) FROM immutable.events") == [(0,)]
        assert rows(restored, "SELECT count(*) FROM immutable.log") == [(0,)]
        # A failed attempt does not count as a restore: the log begins like a new one.
        record(restored)
        assert seams(restored) == []


def refused(conn, state, statement, *values):
    with pytest.raises(psycopg.Error) as raised:
        conn.execute(statement, *values)
    assert raised.value.sqlstate == state, raised.value
    return raised.value.diag


def test_only_the_right_roles_may_use_the_setting(db):
    for attributes, group in (("", "immutable_writer"), ("BYPASSRLS", "immutable_auditor"), ("CREATEROLE", "immutable_eraser")):
        role = db.create_role(attributes)
        db.conn.execute(f"GRANT {group} TO {role}")
        conn = db.connect(role)
        conn.execute("SELECT 1")
        # Before the library is loaded, anybody can set a setting of this name; once it is loaded, the setting must be off.
        conn.execute("SET immutable.restore = on")
        event = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'a')"
        if group == "immutable_writer":
            conn.execute(event)
        else:
            refused(conn, "42501", event)
            db.conn.execute(f"GRANT EXECUTE ON FUNCTION immutable.canonical(record) TO {role}")
            db.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {role}")
            with pytest.raises(psycopg.Error):
                conn.execute("SELECT immutable.canonical(ROW(1))")
            db.conn.execute(f"REVOKE ALL ON FUNCTION immutable.canonical(record) FROM {role}")
            db.conn.execute(f"REVOKE ALL ON SCHEMA immutable FROM {role}")
        assert conn.execute("SHOW immutable.restore").fetchone() == ("off",)
        refused(conn, "42501", "SET immutable.restore = on")
        refused(conn, "42501", f"ALTER ROLE {role} SET immutable.restore = on")
    # It cannot be set for the whole server by mistake either.
    refused(db.conn, "55P02", "ALTER SYSTEM SET immutable.restore = on")


COLUMNS = "id, tenant_id, actor_id, action, occurred_at, created_at, lane, seq, previous_event_hash, event_hash, salt, " \
    "recorded_by, log_id, metadata, targets"


def test_a_row_that_does_not_match_its_hash_is_refused(db):
    fill(db.conn)
    place = "tenant_id = 't' AND lane = 0 AND seq = 3"
    db.conn.execute(f"CREATE TEMPORARY TABLE kept AS SELECT * FROM immutable.events WHERE {place}")
    db.conn.execute("ALTER TABLE kept ALTER id SET NOT NULL")
    db.conn.execute("SET immutable.restore = on")
    # It exists already: even a matching row is not inserted twice.
    refused(db.conn, "23505", "INSERT INTO immutable.events SELECT * FROM kept")
    for change in ("action = 'forged'", "actor_name = 'forged'", "seq = 99", "lane = 9", "recorded_by = 'forged'",
                   "created_at = created_at + interval '1 microsecond'", "metadata = '{}'", "targets = '[]'",
                   "salt = decode(repeat('00', 16), 'hex')", "event_hash = decode(repeat('00', 32), 'hex')",
                   "previous_event_hash = NULL", "tenant_id = 'other'", "log_id = gen_random_uuid()", "salt = NULL",
                   "erased = '{}'", "targets = '{}'"):
        db.conn.execute("CREATE TEMPORARY TABLE forged AS SELECT * FROM kept")
        db.conn.execute(f"UPDATE forged SET {change}")
        diag = refused(db.conn, "XX001", "INSERT INTO immutable.events SELECT * FROM forged")
        assert "cannot be restored" in diag.message_primary and diag.message_detail, change
        assert "verify_breaks()" in diag.message_hint
        db.conn.execute("DROP TABLE forged")
    diag = refused(db.conn, "55000", "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'a')")
    assert "SET immutable.restore = off" in diag.message_hint
    db.conn.execute("RESET immutable.restore")
    diag = refused(db.conn, "428C9", f"INSERT INTO immutable.events ({COLUMNS}) SELECT {COLUMNS} FROM kept")
    assert "immutable.restore" in diag.message_hint
    diag = refused(db.conn, "42501", "INSERT INTO immutable.log VALUES (gen_random_uuid(), now())")
    assert "immutable.restore" in diag.message_hint
    assert is_valid(db.conn)
    assert seams(db.conn) == []


def test_restoring_into_a_log_that_has_begun_is_noticed(db, server, target, tmp_path):
    fill(db.conn)
    path = dump(db, tmp_path / "dump", "-F", "c", "-n", "immutable", "-e", "immutable")
    with server.connect(target) as restored:
        restored.execute("CREATE EXTENSION immutable")
        record(restored, tenant="here before")
        failed = restore(server, "pg_restore", "-d", target, path, check=False)
        assert "belongs to another log" in failed.stderr
        assert rows(restored, "SELECT tenant_id FROM immutable.events") == [("here before",)]


def test_an_event_slipped_in_by_restoring_shows_in_the_log(db):
    """An event with a valid link and hash, made up by a role that may restore: no break, but the log records the restore, also for
    backends that stay connected."""
    writer = db.connect()
    record(writer, "first")
    first = Log(db.conn)["t", 0, 1]
    forged = forge(first, id="00000000-0000-4000-8000-0000000000ff", seq=python_format.Number("2"), log_id=None,
                   previous_event_hash=first["event_hash"], recorded_by="somebody else")
    db.conn.execute("SET immutable.restore = on")
    names = ", ".join(python_format.COLUMNS)
    db.conn.execute(
        f"INSERT INTO immutable.events ({names}) SELECT {names} FROM json_populate_record(NULL::immutable.events, %s::json)",
        [python_format.canonical(text_form(forged), max_depth=None)])
    db.conn.execute("RESET immutable.restore")
    assert is_valid(db.conn)
    assert record(writer, "next") == (0, 3)
    assert len(seams(db.conn)) == 1
    record(writer)
    record(db.conn)
    assert len(seams(db.conn)) == 1
    assert is_valid(db.conn)
    # The other implementation has no quarrel with the event either.
    for row in Log(db.conn).rows:
        assert "\\x" + python_format.event_hash(row) == row["event_hash"]


def test_a_seam_is_recorded_once_and_not_lost_with_a_transaction(db):
    record(db.conn)
    db.conn.execute("SET immutable.restore = on")
    db.conn.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM immutable.events")
    db.conn.execute("SET session_replication_role = replica")
    db.conn.execute("DELETE FROM immutable.events")
    db.conn.execute("RESET session_replication_role")
    db.conn.execute("INSERT INTO immutable.events SELECT * FROM kept")
    db.conn.execute("RESET immutable.restore")
    first, second = db.connect(autocommit=False), db.connect()
    # No setting keeps it out.
    first.execute("SET immutable.max_chains_per_transaction = 1")
    record(first, "rolled back")
    assert len(seams(first)) == 1
    # No writer waits for the session that records it.
    record(second, "meanwhile")
    first.rollback()
    assert seams(db.conn) == []
    with first.transaction():
        try:
            with first.transaction():
                record(first, "to a savepoint")
                raise psycopg.Rollback()
        except psycopg.Rollback:
            pass
        record(first, "after it")
    first.commit()
    assert len(seams(db.conn)) == 1
    record(second)
    assert len(seams(db.conn)) == 1
    assert is_valid(db.conn)


def test_nobody_can_change_where_the_log_is_written(db):
    role = db.create_role("BYPASSRLS")
    db.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {role}")
    db.conn.execute(f"GRANT ALL ON immutable.cluster TO {role}")
    for conn in (db.conn, db.connect(role)):
        for statement in ("UPDATE immutable.cluster SET timeline = 9", "DELETE FROM immutable.cluster",
                          "TRUNCATE immutable.cluster", "INSERT INTO immutable.cluster VALUES (1, 1, 1, now())"):
            refused(conn, "42501", statement)


def test_the_reason_of_a_restore_is_required_and_can_be_erased(db):
    record(db.conn)
    for state, reason in (("22004", None), ("22023", " "), ("22001", "x" * 4097)):
        refused(db.conn, state, "SELECT immutable.record_restore(%s)", [reason])
    event, = db.conn.execute("SELECT immutable.record_restore('Zoë asked')").fetchone()
    db.conn.execute("SELECT immutable.erase(%s, '', '{metadata.reason}', 'it named somebody')", [event])
    seam, = seams(db.conn)
    assert "reason" not in seam and seam["from"] == seam["to"]
    assert is_valid(db.conn)


def test_a_copied_database_records_that_it_is_a_copy(db, server):
    record(db.conn)
    for conn in db.connections:
        conn.close()
    name = f"{db.name}_copy"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {db.name}")
        with server.connect(name) as copy:
            record(copy)
            seam, = seams(copy)
            assert seam["from"]["database"] != seam["to"]["database"]
            assert is_valid(copy)
        admin.execute(f"DROP DATABASE {name}")


def test_fifty_thousand_tenants_restore_with_default_settings(db, server, target, tmp_path):
    """More lanes than the lock table has places, in one transaction."""
    db.conn.execute("SET synchronous_commit = off")
    for first in range(0, 50_000, 1000):
        db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                        "SELECT 'tenant ' || n, 'u', 'a' FROM generate_series(%s::int, %s) n", [first, first + 999])
    path = dump(db, tmp_path / "dump", "-n", "immutable", "-e", "immutable")
    restore(server, "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", target, "-f", path)
    with server.connect(target) as restored:
        same = "SELECT count(*), count(DISTINCT tenant_id), md5(string_agg(event_hash::text, '' ORDER BY tenant_id, seq)) " \
            "FROM immutable.events"
        assert rows(restored, same) == rows(db.conn, same)
        assert rows(restored, same)[0][:2] == (50_000, 50_000)
        assert is_valid(restored)


def test_point_in_time_recovery_goes_on_and_shows_the_seam(cluster):
    archive = pathlib.Path(os.environ["IMMUTABLE_CLUSTERS"]) / f"archive_{os.getpid()}"
    shutil.rmtree(archive, ignore_errors=True)
    archive.mkdir()
    if os.geteuid() == 0:
        shutil.chown(archive, "postgres")
    primary = cluster(archive_mode="on", archive_command=f"cp %p {archive}/%f", wal_level="replica")
    copy = None
    try:
        conn = primary.connect()
        conn.execute("CREATE EXTENSION immutable")
        record(conn, "before the backup")

        # The backup is taken first and started last: it recovers from the archive, up to the point in time.
        copy = Copy(primary)
        for n in range(5):
            record(conn, f"kept {n}")
        kept = rows(conn)
        conn.execute("SELECT pg_create_restore_point('here')")
        for n in range(5):
            record(conn, f"lost {n}")
        heads, = conn.execute("SELECT jsonb_agg(h) FROM immutable.heads() h").fetchone()
        conn.execute("SELECT pg_switch_wal()")
        wait_for(conn, "SELECT last_archived_wal IS NOT NULL AND archived_count >= 2 FROM pg_stat_archiver")
        conn.close()
        primary.stop()
        (copy.data / "standby.signal").unlink()
        write_file(copy.data / "recovery.signal")
        copy.begin(restore_command=f"cp {archive}/%f %p", recovery_target_name="here", recovery_target_action="promote",
                   archive_mode="off")
        with copy.connect() as restored:
            wait_for(restored, "SELECT NOT pg_is_in_recovery()")
            assert rows(restored) == kept
            assert is_valid(restored)
            assert record(restored, "goes on") == (0, 7)
            seam, = seams(restored)
            assert seam["from"]["system_identifier"] == seam["to"]["system_identifier"]
            assert (seam["from"]["timeline"], seam["to"]["timeline"]) == (1, 2)
            assert is_valid(restored)
            # Only heads that were saved elsewhere can show what was lost.
            valid, breaks = restored.execute(
                "SELECT valid, breaks FROM immutable.verify_chain(heads => %s)", [psycopg.types.json.Jsonb(heads)]).fetchone()
            assert not valid and {found["type"] for found in breaks} == {"missing_event"}
    finally:
        if copy:
            copy.destroy()
        shutil.rmtree(archive, ignore_errors=True)


def test_pg_upgrade_keeps_the_chain(cluster):
    """From the distribution's PostgreSQL to this one."""
    old_major = Cluster._pg("env").split("IMMUTABLE_PG_MAJOR=")[1].split()[0]
    Cluster._pg(old_major, "install")
    new = cluster()
    old = Cluster(old_major)
    try:
        with old.connect() as conn:
            conn.execute("CREATE EXTENSION immutable")
            fill(conn)
            note = checkpoint(conn)
            conn.execute("SET timezone = 'UTC'")
            before = [rows(conn, query) for query in (EVENTS, TARGETS, "SELECT xact FROM immutable.events ORDER BY id")]
            # Debian's 15.20 gives every column of every table an option of its own, at which pg_dump and pg_upgrade of
            # other builds fail, with this extension or without it. What is tested here is what comes after that.
            conn.execute("UPDATE pg_attribute SET attoptions = NULL WHERE attoptions::text LIKE '{pg_attver=%}'")
        new.stop()
        old.stop()
        conf = (new.data / "postgresql.conf").read_text()
        shutil.rmtree(new.data)
        # Like the old cluster: PostgreSQL 18 has checksums by default.
        checksums = ["--no-data-checksums"] if new.major >= 18 else []
        locale, = [line.split("'")[1] for line in (old.data / "postgresql.conf").read_text().splitlines()
                   if line.startswith("lc_messages")]
        as_server(new.bin / "initdb", "-D", new.data, "--username=postgres", "--auth=trust", "--encoding=UTF8",
                  f"--locale={locale}", "--no-sync", "--no-instructions", *checksums)
        write_file(new.data / "postgresql.conf", conf)
        write_file(new.data / "extra.conf")
        place = new.data.parent
        as_server("sh", "-c", f"cd {place} && {new.bin}/pg_upgrade -b {old.bin} -B {new.bin} -d {old.data} -D {new.data} "
                  f"-U postgres -s {place} -j 2 || {{ tail -n 30 {new.data}/pg_upgrade_output.d/*/log/*_[0-9]*.log; false; }}")
        new.start()
        with new.connect() as conn:
            conn.execute("SET timezone = 'UTC'")
            assert [rows(conn, query) for query in (EVENTS, TARGETS, "SELECT xact FROM immutable.events ORDER BY id")] == before
            assert is_valid(conn)
            record(conn, "after")
            seam, = seams(conn)
            assert seam["from"]["system_identifier"] != seam["to"]["system_identifier"]
            assert is_valid(conn)
            # The key is here, but whether this is all of the log, only somebody outside can say.
            refused(conn, "55000", "CALL immutable.checkpoint()")
            conn.execute("SELECT immutable.resume(%s)", [note])
            check(conn, [note, checkpoint(conn)])
    finally:
        old.destroy()


def test_the_restorer_cannot_bind_a_role_to_a_tenant_unseen(db):
    conn = db.conn
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('rival', 'a', 'b')")
    restorer, viewer = db.create_role("BYPASSRLS IN ROLE immutable_restorer"), db.create_role("IN ROLE immutable_viewer")
    own = db.connect(restorer)
    grant = "INSERT INTO immutable.tenant_grants VALUES ('{}', 'read', 'rival', 0, now(), 'x')"
    refused(own, "42501", grant.format(viewer))
    refused(own, "42501", grant.format("immutable_viewer"))
    conn.execute(f"GRANT SET ON PARAMETER immutable.restore TO {restorer}")
    try:
        own.execute("SET immutable.restore = on")
        refused(own, "42501", grant.format("immutable_viewer"))
        own.execute(grant.format(viewer))
        own.execute("RESET immutable.restore")
        # What a dump brings is seen: the next event records that something was restored.
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('rival', 'a', 'b')")
        assert rows(conn, "SELECT count(*) FROM immutable.events WHERE action = 'immutable.restored'") == [(1,)]
    finally:
        conn.execute(f"REVOKE SET ON PARAMETER immutable.restore FROM {restorer}")


BROUGHT = {
    "revocations": "(tenant_id, revoked_at, forget_at, revoked_by) VALUES ('t', now(), now(), 'x')",
    "api_keys": "(id, name, digest, prefix, scopes, created_at, created_by) VALUES (gen_random_uuid(), 'k', sha256(sha256('imk_mine')), 'imk_mine', "
                "'{read,admin}', now(), 'x')",
    "api_key_usage": "VALUES (gen_random_uuid(), '2026-01-01', 1, now())",
    "alert_rules": "VALUES (gen_random_uuid(), 'r', 'repeated_action', '{}', NULL, true, now(), now(), now())",
    "alerts": "VALUES (gen_random_uuid(), gen_random_uuid(), 'r', 'repeated_action', '', gen_random_uuid(), true, 'why', now(), NULL)",
    "action_schemas": "(pattern, created_at, created_by) VALUES ('x', now(), 'me')",
    "action_schema_modes": "(mode, set_at, set_by) VALUES ('strict', now(), 'me')",
}


@pytest.mark.parametrize("table", BROUGHT)
def test_the_restorer_brings_nothing_unseen(db, table):
    """An API key opens the whole log, so that a key which did not come from create_api_key() must be seen at least."""
    conn = db.conn
    record(conn)
    restorer = db.create_role("BYPASSRLS IN ROLE immutable_restorer")
    own = db.connect(restorer)
    statement = f"INSERT INTO immutable.{table} {BROUGHT[table]}"
    refused(own, "42501", statement)
    conn.execute(f"GRANT SET ON PARAMETER immutable.restore TO {restorer}")
    try:
        own.execute("SET immutable.restore = on")
        own.execute(statement)
        own.execute("RESET immutable.restore")
        record(conn)
        assert len(seams(conn)) == 1
    finally:
        conn.execute(f"REVOKE SET ON PARAMETER immutable.restore FROM {restorer}")
