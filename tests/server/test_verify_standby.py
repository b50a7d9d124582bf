"""An auditor on a hot standby verifies, exports and reads there, without work for the primary."""

import os
import shutil
import subprocess

import psycopg
import pytest

import helpers_log as h
from test_read_export import documented, program


def copy_of(primary, standby):
    """Makes the stopped server `standby` one of `primary`'s."""
    configuration = (standby.data / "postgresql.conf").read_text()
    shutil.rmtree(standby.data)
    primary.run("pg_basebackup", "-D", str(standby.data), "-c", "fast", "-X", "stream")
    (standby.data / "postgresql.conf").write_text(configuration)
    (standby.data / "standby.signal").touch()
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "postgres:", str(standby.data)], check=True)


def catch_up(primary, standby):
    with primary.connect() as conn, standby.connect() as there:
        lsn, = conn.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        while not there.execute("SELECT pg_last_wal_replay_lsn() >= %s", [lsn]).fetchone()[0]:
            pass


def test_an_auditor_on_a_standby(cluster, tmp_path):
    primary = cluster(wal_level="replica", max_wal_senders="4")
    conn = primary.connect()
    conn.execute("CREATE EXTENSION immutable")
    conn.execute("CREATE ROLE auditor LOGIN IN ROLE immutable_auditor")
    conn.execute("CREATE ROLE viewer LOGIN IN ROLE immutable_viewer")
    for number in range(20):
        h.add_event(conn, f"tenant {number % 3}", str(number), targets=h.TARGETS)
    conn.execute("SELECT immutable.erase_subject('tenant 1', 'user-4', 'request 5')")
    token, = conn.execute("SELECT immutable.create_viewer_token('tenant 2') ->> 'token'").fetchone()

    standby = cluster()
    standby.stop()
    copy_of(primary, standby)
    standby.start(primary_conninfo=primary.dsn(), hot_standby="on")
    catch_up(primary, standby)

    auditor = standby.connect(user="auditor")
    assert auditor.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    whole = h.verify_chain(auditor)
    assert (whole["valid"], whole["events_checked"], whole["events_erased"]) == (True, 21, 1)
    with h.in_parallel(auditor):
        assert h.verify_chain(auditor) == whole
    marks = h.heads(auditor)
    assert h.verify_chain(auditor, heads=marks)["valid"] and len(marks) == 3
    messages = []
    auditor.add_notice_handler(lambda notice: messages.append(notice.message_primary))
    auditor.execute("SELECT * FROM immutable.verify_chain(progress => true)")
    assert "verified 21 events" in messages[-1]

    path = tmp_path / "export.ndjson"
    with auditor.cursor().copy(
            "COPY (SELECT immutable.export_events()) TO STDOUT WITH (FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02')") as lines:
        path.write_bytes(b"".join(map(bytes, lines)))
    status, summary = program(path)
    assert (status, summary["events_checked"], summary["erasures_checked"]) == (3, 21, True)

    # Against a checkpoint, and without one.
    note, = conn.execute("CALL immutable.checkpoint()").fetchone()
    catch_up(primary, standby)
    events = int(note.split("\n")[1])
    for scope in ({}, {"checkpoint": note}):
        result = h.verify_chain(auditor, **scope)
        assert (result["valid"], result["checkpoint_size"], result["anchored"]) == (True, events, bool(scope))
        with h.in_parallel(auditor):
            assert h.verify_chain(auditor, **scope) == result
    lines = [line for line, in auditor.execute("SELECT immutable.export_tree()")]
    assert len(lines) == 1 + len(h.heads(auditor)) + 1 + 1

    # A customer reads there too, and a revocation arrives like everything else.
    viewer = standby.connect(user="viewer")
    viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
    assert viewer.execute("SELECT count(*), max(tenant_id) FROM immutable.events").fetchone() == (6, "tenant 2")
    assert len(viewer.execute("SELECT immutable.get_events()").fetchone()[0]["data"]) == 6
    conn.execute("SELECT immutable.revoke_viewer_token(%s)", [token])
    catch_up(primary, standby)
    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="revoked"):
        viewer.execute("SELECT count(*) FROM immutable.events")

    # What is new there is verified from the marks; what was changed behind the primary's back is found.
    h.add_event(conn, "tenant 0", "later")
    catch_up(primary, standby)
    assert h.verify_chain(auditor, since=marks)["valid"]
    with h.behind_triggers(conn):
        conn.execute("UPDATE immutable.events SET action = 'x' WHERE tenant_id = 'tenant 2' AND seq = 3")
    catch_up(primary, standby)
    changed = [(found.type, found.tenant_id, found.seq) for found in h.verify_breaks(auditor)]
    assert changed == [("hash_mismatch", "tenant 2", 3), ("checkpoint_mismatch", "tenant 2", 3)]

    # It writes nothing, and says so as PostgreSQL does. Minting writes nothing once there is a key.
    there = standby.connect()
    token, = there.execute("SELECT immutable.create_viewer_token('tenant 1') ->> 'token'").fetchone()
    viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
    assert viewer.execute("SELECT count(*) FROM immutable.event_targets").fetchone() == (15,)
    for statement in ("SELECT immutable.track('a', 'b')", "SELECT immutable.revoke_viewer_tokens('tenant 1')",
                      "SELECT immutable.erase_subject('tenant 2', 'user-5', 'request 6')",
                      "SELECT immutable.rebuild_tiles()"):
        with pytest.raises((psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.ObjectNotInPrerequisiteState)):
            there.execute(statement)
    dry_run = there.execute("SELECT path FROM immutable.erase_subject('tenant 2', 'user-5', 'request 6', dry_run => true)")
    assert ("actor_id",) in dry_run.fetchall()
    for connection in (auditor, viewer, there, conn):
        connection.close()
