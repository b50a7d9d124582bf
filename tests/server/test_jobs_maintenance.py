"""run_maintenance(): its steps, what a failure of one leaves undone, what a seam pauses, and what a crash in the middle
repeats or loses: nothing."""

import hashlib
import random
import threading
import time

import psycopg
import pytest
from helpers_servers import Copy, is_valid, wait_for

RUN = "CALL immutable.run_maintenance()"
USAGE = "SELECT coalesce(sum(events), 0)::integer FROM immutable.api_key_usage"
POSITION = "UPDATE immutable.maintenance_position SET"


def run(conn):
    return conn.execute(RUN).fetchone()[0]


def one(conn, query, *values):
    return conn.execute(query, values).fetchone()[0]


def problems(conn):
    return [problem for problem in one(conn, "SELECT problems FROM immutable.status()") if "maintenance" in problem]


def begin(conn):
    """A log with a tree."""
    conn.execute("SELECT immutable.track('u', 'begun')")
    conn.execute("CALL immutable.checkpoint()")


def make_key(conn, **arguments):
    """An API key; gives its id, and what proves it."""
    made = one(conn, "SELECT immutable.create_api_key('test', ARRAY['write'], quota => %s)", arguments.get("quota"))
    return made["id"], hashlib.sha256(made["key"].encode()).hexdigest()


def track_with(conn, proof, events=1):
    """Records events with a key, one transaction each."""
    conn.execute("SELECT set_config('immutable.proof', %s, false)", [proof])
    for _ in range(events):
        conn.execute("SELECT immutable.track('u', 'with.key')")
    conn.execute("SELECT set_config('immutable.proof', '', false)")


def test_answer(db):
    """What each step did; the first checkpoint is the administrator's; a log at rest is not written."""
    did = run(db.conn)
    assert set(did) == {"checkpoint", "alerts", "exports", "revocations", "api_keys", "dead_letters", "retention", "segments", "took_ms"}
    assert did["checkpoint"].startswith("not begun: CALL immutable.checkpoint()")
    assert one(db.conn, "SELECT count(*) FROM immutable.tree") == 0
    begin(db.conn)
    db.conn.execute("SELECT immutable.track('u', 'later')")
    assert run(db.conn)["checkpoint"] == {"size": 3}
    assert one(db.conn, "SELECT max(size) FROM immutable.checkpoints") == 3
    before = one(db.conn, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text FROM immutable.maintenance_position")
    assert run(db.conn)["checkpoint"] == {"size": 3}
    assert one(db.conn, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text") == before, "nothing is written at rest"
    assert problems(db.conn) == []


def test_privileges(db):
    """A maintainer may call it without any right to tables; a writer may not."""
    begin(db.conn)
    id_, proof = make_key(db.conn)
    track_with(db.conn, proof, 2)
    role, writer = db.create_role(), db.create_role()
    db.conn.execute(f"GRANT immutable_maintainer TO {role}")
    db.conn.execute(f"GRANT immutable_writer TO {writer}")
    maintainer = db.connect(role)
    assert run(maintainer)["api_keys"] == {"events": 2}
    for table in ("maintenance_position", "events", "api_key_usage"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            maintainer.execute(f"SELECT FROM immutable.{table}")
    for call in (RUN, "SELECT immutable.resume_maintenance()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.connect(writer).execute(call)
    # What a session puts before pg_catalog is not looked at.
    db.conn.execute(f"GRANT CREATE ON DATABASE {db.name} TO {role}")
    maintainer.execute("CREATE SCHEMA mine")
    maintainer.execute("CREATE FUNCTION mine.trap(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS "
                       "'BEGIN RAISE EXCEPTION ''trapped''; END'")
    maintainer.execute("CREATE OPERATOR mine.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = mine.trap)")
    maintainer.execute("SET search_path = mine, pg_catalog")
    assert "error" not in str(run(maintainer))


def test_where_it_cannot_run(db):
    with db.connect(autocommit=False) as conn, pytest.raises(psycopg.errors.ActiveSqlTransaction):
        run(conn)
    with pytest.raises(psycopg.errors.ActiveSqlTransaction):
        db.conn.execute("DO $$ BEGIN EXECUTE 'CALL immutable.run_maintenance()'; EXCEPTION WHEN division_by_zero THEN END $$")
    for setting, error in (("default_transaction_isolation = 'serializable'", psycopg.errors.ActiveSqlTransaction),
                           ("default_transaction_read_only = on", psycopg.errors.ReadOnlySqlTransaction)):
        conn = db.connect()
        conn.execute(f"SET {setting}")
        with pytest.raises(error):
            run(conn)


def test_usage(db):
    """Events are counted by key and month, once, and the quota follows."""
    key, proof = make_key(db.conn, quota=5)
    other, other_proof = make_key(db.conn)
    track_with(db.conn, proof, 5)
    track_with(db.conn, other_proof, 1)
    # A login may be named like a key that there is not.
    forger = f"x key:{'0' * 8}-0000-4000-8000-{'0' * 12}"
    db.conn.execute(f'CREATE ROLE "{forger}" LOGIN IN ROLE immutable_writer')
    db.roles.append(forger)
    with psycopg.connect(host=db.server.host, port=db.server.port, user=forger, dbname=db.name) as conn:
        conn.execute("SELECT immutable.track('u', 'forged')")
    assert run(db.conn)["api_keys"] == {"events": 7}
    counted = ("SELECT u.key_id::text, u.events, u.month = date_trunc('month', now() AT TIME ZONE 'UTC')::date, "
               "u.last_event_at = (SELECT max(created_at) FROM immutable.events WHERE recorded_by LIKE '% key:' || u.key_id) "
               "FROM immutable.api_key_usage u")
    assert sorted(db.conn.execute(counted).fetchall()) == sorted([(key, 5, True, True), (other, 1, True, True)])
    assert run(db.conn)["api_keys"] is None
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        track_with(db.conn, proof)
    db.conn.execute("SELECT set_config('immutable.proof', '', false)")
    track_with(db.conn, other_proof, 2)
    assert run(db.conn)["api_keys"] == {"events": 2}
    assert one(db.conn, USAGE) == 8
    # More than one transaction counts: the answer adds them up.
    db.conn.execute("SELECT set_config('immutable.proof', %s, false)", [other_proof])
    db.conn.execute("INSERT INTO immutable.events (actor_id, action) SELECT 'u', 'many' FROM generate_series(1, 10001)")
    db.conn.execute("SELECT set_config('immutable.proof', '', false)")
    assert run(db.conn)["api_keys"] == {"events": 10001}
    assert one(db.conn, USAGE) == 10009
    # Where the mark is lost, nothing counts twice: a key would have recorded its quota.
    for change in "SET usage_mark = NULL", "SET usage_mark = 'x'":
        db.conn.execute(f"UPDATE immutable.maintenance_position {change}")
        assert run(db.conn)["api_keys"] == {"events": 10010}  # and the forger's, which is none
        assert one(db.conn, USAGE) == 10009
    db.conn.execute("UPDATE immutable.api_keys SET created_at = now() - interval '2 hours'")
    db.conn.execute("DELETE FROM immutable.maintenance_position")
    assert ["has not run" in problem for problem in problems(db.conn)] == [True]


def test_revocations(db):
    """What has run out is removed, and nothing else."""
    db.conn.execute("SELECT immutable.revoke_viewer_tokens('a'), immutable.revoke_viewer_tokens('b')")
    db.conn.execute("UPDATE immutable.revocations SET forget_at = now() - interval '1 second' WHERE tenant_id = 'a'")
    assert [run(db.conn)["revocations"], run(db.conn)["revocations"]] == [1, None]
    assert one(db.conn, "SELECT string_agg(tenant_id, ',') FROM immutable.revocations") == "b"


def test_step_that_fails(db):
    """The others go on; the answer, a warning and status() say so, until it works again."""
    begin(db.conn)
    key, proof = make_key(db.conn)
    assert "error" not in str(run(db.conn))
    track_with(db.conn, proof)
    notices = []
    db.conn.add_notice_handler(lambda notice: notices.append((notice.severity_nonlocalized, notice.message_primary)))
    db.conn.execute("SET session_replication_role = replica")
    size, = db.conn.execute("UPDATE immutable.tree SET size = size + 700 RETURNING size - 700").fetchone()
    db.conn.execute("RESET session_replication_role")
    did = run(db.conn)
    assert did["checkpoint"]["sqlstate"] == "XX001" and did["api_keys"] == {"events": 1}
    assert [(level, "step checkpoint failed" in message) for level, message in notices] == [("WARNING", True)]
    assert ["step checkpoint of run_maintenance() fails (XX001)" in problem for problem in problems(db.conn)] == [True]
    db.conn.execute("SET session_replication_role = replica")
    db.conn.execute("UPDATE immutable.tree SET size = %s", [size])
    db.conn.execute("RESET session_replication_role")
    db.conn.execute(f"{POSITION} usage_mark = '1:9999999:'")
    did = run(db.conn)
    assert did["checkpoint"]["size"] > size and did["api_keys"]["sqlstate"] == "55000"
    db.conn.execute(f"{POSITION} usage_mark = NULL, failed = '[1]'")
    assert "error" not in str(run(db.conn)) and problems(db.conn) == []
    db.conn.execute(f"{POSITION} ran_at = now() - interval '2 hours'")
    assert ["ran last at" in problem for problem in problems(db.conn)] == [True]
    run(db.conn)
    assert problems(db.conn) == []
    # A log that does not sign here has its events in the tree, all the same.
    db.conn.execute("SELECT immutable.track('u', 'more')")
    db.conn.execute("SET session_replication_role = replica")
    db.conn.execute("UPDATE immutable.tree_position SET timeline = 9")
    db.conn.execute("RESET session_replication_role")
    assert run(db.conn)["checkpoint"]["sqlstate"] == "55000"
    assert one(db.conn, "SELECT size FROM immutable.tree") == one(db.conn, "SELECT count(*) FROM immutable.events")


@pytest.mark.parametrize("table", ["maintenance_position", "exports", "action_schemas", "api_keys", "revocations"])
def test_view_in_place_of_a_table(db, table):
    """Whoever has put it there gets an error. It crashed the server."""
    key, proof = make_key(db.conn)
    db.conn.execute("SET immutable.allow_ddl = on")
    db.conn.execute(f"ALTER TABLE immutable.{table} RENAME TO away; CREATE VIEW immutable.{table} AS TABLE immutable.away")
    for statement in ("CALL immutable.run_maintenance()", "SELECT immutable.resume_maintenance()", "SELECT immutable.create_export()",
                      "SELECT immutable.get_action_schemas()", "SELECT immutable.list_api_keys()", "SELECT * FROM immutable.status()",
                      "SELECT immutable.set_action_schema('a')", f"SET immutable.proof = '{proof}'", "SELECT immutable.track('u', 'x')"):
        try:
            db.conn.execute(statement)
        except psycopg.errors.ObjectNotInPrerequisiteState as error:
            assert f"table immutable.{table} is missing or altered" in str(error)


def test_another_session(db):
    """What another session does is skipped; a step that waits too long fails alone; a cancelled call ends."""
    begin(db.conn)
    key, proof = make_key(db.conn)
    run(db.conn)
    track_with(db.conn, proof)
    with db.connect(autocommit=False) as other:
        other.execute("SELECT immutable.rotate_log_key()")
        assert "skipped" in run(db.conn)["checkpoint"]
    track_with(db.conn, proof)
    with db.connect(autocommit=False) as other, db.connect() as conn:
        other.execute(f"{POSITION} noted_at = noted_at")
        conn.execute("SET lock_timeout = '50ms'")
        assert run(conn)["api_keys"]["sqlstate"] == "55P03"
        conn.execute("SET lock_timeout = 0")
        conn.execute("SET statement_timeout = '200ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            run(conn)
        other.rollback()
        conn.execute("SET statement_timeout = 0")
        assert run(conn)["api_keys"] == {"events": 1}
    assert one(db.conn, USAGE) == 2


def test_prepared_transaction_elsewhere(db, server):
    """A transaction that somebody forgot holds nothing back, whatever database it is in."""
    begin(db.conn)
    key, proof = make_key(db.conn)
    with server.connect(autocommit=False) as elsewhere:
        elsewhere.execute("SELECT pg_current_xact_id()")
        elsewhere.execute(f"PREPARE TRANSACTION '{db.name}'")
    try:
        track_with(db.conn, proof, 3)
        did = run(db.conn)
        assert did["api_keys"] == {"events": 3}
        assert did["checkpoint"]["size"] == one(db.conn, "SELECT count(*) FROM immutable.events")
    finally:
        with server.connect() as elsewhere:
            elsewhere.execute(f"ROLLBACK PREPARED '{db.name}'")


def test_many_at_once(db):
    """Writers and several schedulers together: each event is counted once, and the tree has all."""
    begin(db.conn)
    key, proof = make_key(db.conn)
    writes, answers, done = 60, [], threading.Event()

    def write():
        with db.connect() as conn:
            track_with(conn, proof, writes)

    def maintain():
        with db.connect() as conn:
            while not done.is_set():
                answers.append(run(conn))

    writers = [threading.Thread(target=write) for _ in range(3)]
    others = [threading.Thread(target=maintain) for _ in range(3)]
    for thread in writers + others:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in others:
        thread.join()
    assert not [did for did in answers if "sqlstate" in str(did)]
    run(db.conn)
    assert one(db.conn, USAGE) == 3 * writes
    assert one(db.conn, "SELECT size FROM immutable.tree") == one(db.conn, "SELECT count(*) FROM immutable.events")
    assert is_valid(db.conn)


def test_copied_database(db, server):
    """A copy counts and raises nothing until somebody says that it goes on; the copied log is not disturbed."""
    begin(db.conn)
    key, proof = make_key(db.conn)
    track_with(db.conn, proof, 2)
    run(db.conn)
    assert one(db.conn, "SELECT immutable.resume_maintenance()") is False, "it is not paused"
    for connection in db.connections:
        connection.close()
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {db.name}_copy TEMPLATE {db.name}")
    db.conn = db.connect()
    try:
        with server.connect(f"{db.name}_copy") as copy:
            track_with(copy, proof, 3)
            did = run(copy)
            assert [did[step] for step in ("alerts", "exports", "api_keys")] == ["paused"] * 3
            assert "resume_maintenance()" in did["hint"] and did["revocations"] is None
            assert any("maintenance is paused" in problem for problem in problems(copy))
            assert one(copy, "SELECT immutable.resume_maintenance()") is True
            event = one(copy, "SELECT metadata FROM immutable.events WHERE action = 'immutable.maintenance_resumed'")
            assert event["from"]["database"] != event["to"]["database"]
            assert one(copy, "SELECT immutable.resume_maintenance()") is False
            assert run(copy)["api_keys"] is None, "it goes on with what is recorded from now on"
            track_with(copy, proof, 4)
            assert run(copy)["api_keys"] == {"events": 4}
            assert not any("maintenance is paused" in problem for problem in problems(copy))
            # A log that has recorded a seam and has no row of its own, as after a dump, is paused too.
            copy.execute("DELETE FROM immutable.maintenance_position")
            assert run(copy)["alerts"] == "paused"
        assert run(db.conn)["alerts"] is None
    finally:
        with server.connect() as admin:
            admin.execute(f"DROP DATABASE {db.name}_copy WITH (FORCE)")


def test_kill9(cluster):
    """The server crashes at random moments of calls: nothing is counted twice or not at all, and no checkpoint is of
    something else."""
    server = cluster()
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        begin(conn)
        key, proof = make_key(conn)
        conn.execute("SELECT immutable.create_alert_rule('each', 'repeated_action', "
                     "'{\"action_pattern\": \"odd.*\", \"threshold\": 2, \"window_minutes\": 1}')")
    chance = random.Random(7)
    for _ in range(3):
        with server.connect() as conn:
            track_with(conn, proof, 40)
            conn.execute("SELECT immutable.track(a, 'odd.one') FROM (SELECT gen_random_uuid()::text FROM "
                         "generate_series(1, 3)) x(a), generate_series(1, 2)")
            conn.execute("INSERT INTO immutable.revocations (jti, revoked_at, forget_at, revoked_by) "
                         "VALUES (gen_random_uuid(), now(), now() - interval '1 hour', 'x')")

        def maintain():
            try:
                with server.connect() as conn:
                    run(conn)
            except psycopg.OperationalError:
                pass

        thread = threading.Thread(target=maintain)
        thread.start()
        time.sleep(chance.uniform(0.005, 0.06))
        server.kill9()
        thread.join()
        server.start()
    with server.connect() as conn:
        assert "error" not in str(run(conn))
        assert one(conn, USAGE) == one(conn, "SELECT count(*) FROM immutable.events WHERE recorded_by LIKE '%% key:%%'")
        note, = conn.execute("SELECT note FROM immutable.checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        assert one(conn, "SELECT size FROM immutable.tree") == one(conn, "SELECT count(*) FROM immutable.events")
        assert one(conn, "SELECT valid FROM immutable.verify_chain(checkpoint => %s)", note)
        assert one(conn, "SELECT count(*) FROM immutable.revocations") == 0
        # One alert for each actor, and no second one.
        assert conn.execute("SELECT count(DISTINCT event_id), count(*) FROM immutable.alerts").fetchone() == (9, 9)


def test_subscriber_and_publication(db, server):
    """A copy that a subscription feeds says what it is, and the publisher's position does not come into it."""
    begin(db.conn)
    run(db.conn)
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {db.name}_sub")
    with server.connect(f"{db.name}_sub") as sub:
        sub.execute("CREATE EXTENSION immutable")
        sub.execute(f"CREATE SUBSCRIPTION {db.name} CONNECTION '{server.dsn(db.name)}' PUBLICATION p WITH (connect = false)")
        db.conn.execute("CREATE PUBLICATION p FOR TABLE immutable.events, immutable.log")
        sub.execute("INSERT INTO pg_subscription_rel SELECT s.oid, 'immutable.events'::regclass, 'r' FROM pg_subscription s "
                    "WHERE subname = %s", [db.name])
        assert run(sub) == {"state": "copy"}
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            sub.execute("SELECT immutable.resume_maintenance()")
        sub.execute(f"ALTER SUBSCRIPTION {db.name} SET (slot_name = NONE)")
        sub.execute(f"DROP SUBSCRIPTION {db.name}")
    with server.connect() as admin:
        admin.execute(f"DROP DATABASE {db.name}_sub WITH (FORCE)")


WORKER = {"shared_preload_libraries": "immutable", "immutable.worker_interval": "1"}
BLOCK = "LOCK TABLE immutable.maintenance_position IN ACCESS EXCLUSIVE MODE"


def test_worker(cluster):
    """It does what a scheduler would, holds no connection in between, and goes on after a promotion and a crash."""
    server = cluster(**WORKER, **{"immutable.worker_databases": "postgres, nodb,empty"})
    with server.connect() as conn:
        conn.execute("CREATE DATABASE empty")
        conn.execute("CREATE EXTENSION immutable")
        begin(conn)
        conn.execute("SELECT immutable.track('u', 'later')")
        wait_for(conn, "SELECT size = 3 FROM immutable.tree")
        wait_for(conn, "SELECT ran_at IS NOT NULL FROM immutable.maintenance_position")
        standby = Copy(server)
        try:
            standby.begin(**WORKER, **{"immutable.worker_databases": "postgres"})
            # A run that does not end can be ended, and is followed by others.
            blocked = server.connect(autocommit=False)
            blocked.execute(BLOCK)
            worker = "SELECT max(pid) FROM pg_stat_activity WHERE datname = 'postgres' AND backend_type = 'immutable maintenance'"
            wait_for(conn, f"SELECT ({worker}) IS NOT NULL")
            assert one(conn, "SELECT usename FROM pg_stat_activity WHERE datname = 'postgres' AND backend_type = "
                             "'immutable maintenance'") in ("postgres", "immutable_maintainer")
            conn.execute(f"SELECT pg_terminate_backend(({worker}))")
            blocked.rollback()
            blocked.close()
            conn.execute("DROP DATABASE empty")
            # SIGHUP changes the list.
            conn.execute("ALTER SYSTEM SET immutable.worker_databases = ''")
            conn.execute("SELECT pg_reload_conf()")
            conn.execute("SELECT pg_sleep(1.5)")
            conn.execute("SELECT immutable.track('u', 'last')")
            conn.execute("SELECT pg_sleep(1.5)")
            assert one(conn, "SELECT size FROM immutable.tree") == 3
            log = server.log.read_text()
            assert log.count('database "nodb" of immutable.worker_databases does not exist') == 1
            assert log.count('database "empty" is not maintained: it does not have the extension') == 1
            with standby.connect() as there:
                assert run(there) == {"state": "standby"}
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    there.execute("SELECT immutable.resume_maintenance()")
                assert problems(there) == []
                there.execute("SELECT pg_promote()")
                assert run(there)["alerts"] == "paused"
                assert one(there, "SELECT immutable.resume_maintenance()")
                there.execute("SELECT immutable.track('u', 'on the new primary')")
                # The worker begins there by itself; signing is another matter, which resume() decides.
                wait_for(there, "SELECT ran_at IS NOT NULL FROM immutable.maintenance_position")
        finally:
            standby.destroy()
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 10


def test_worker_that_crashes(cluster):
    """A run that crashes the server does so less and less often."""
    server = cluster(**WORKER, **{"immutable.worker_databases": "postgres"})
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        wait_for(conn, "SELECT EXISTS (SELECT FROM immutable.maintenance_position WHERE ran_at IS NOT NULL)")
    blocked, conn = server.connect(autocommit=False), server.connect()
    conn.execute(f"{POSITION} ran_at = NULL")
    blocked.execute(BLOCK)
    wait_for(conn, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    server.kill9()
    server.start()
    with server.connect() as conn:
        wait_for(conn, "SELECT ran_at IS NOT NULL FROM immutable.maintenance_position")
    assert 'the last maintenance of database "postgres" did not end: the next begins in 2 seconds' in server.log.read_text()


def test_pg_cron(cluster, server):
    """pg_cron runs it as it is, where it is installed: scripts/setup installs it for the distribution's PostgreSQL."""
    if not (server.bin.parents[3] / f"share/postgresql/{server.major}/extension/pg_cron.control").exists():
        assert "pginstall" in str(server.bin), "scripts/setup test installs pg_cron"
        return
    server = cluster()
    server.start(**{"shared_preload_libraries": "pg_cron", "cron.database_name": "postgres", "cron.host": server.host,
                    "fsync": "off"})
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        begin(conn)
        conn.execute("CREATE EXTENSION pg_cron")
        conn.execute("SELECT cron.schedule('* * * * *', 'CALL immutable.run_maintenance()')")
        # The same at the scheduler's start, so that nobody waits for the next minute.
        conn.execute("SELECT cron.schedule('@reboot', 'CALL immutable.run_maintenance()')")
        conn.execute("SELECT immutable.track('u', 'later')")
    server.stop()
    server.start()
    with server.connect() as conn:
        wait_for(conn, "SELECT EXISTS (SELECT FROM cron.job_run_details WHERE status IN ('succeeded', 'failed'))")
        assert conn.execute("SELECT status, command FROM cron.job_run_details ORDER BY runid LIMIT 1").fetchone() == (
            "succeeded", RUN)
        assert one(conn, "SELECT size FROM immutable.tree") == 3
