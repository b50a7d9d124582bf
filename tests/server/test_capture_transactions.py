"""Row changes are recorded by the transactions that make them, when these commit: each committed change once, and no other,
however a transaction ends, and however large it is."""

import concurrent.futures
import re
import threading
import time

import psycopg
import pytest

from helpers_capture import changes, lanes_held, track, wait_until_it_waits
from helpers_servers import as_server, is_valid, record, rows, wait_for

INSERT = "INSERT INTO account VALUES (%s, %s, %s)"


def refused(state, run, *arguments):
    with pytest.raises(psycopg.Error) as raised:
        run(*arguments)
    assert raised.value.sqlstate == state, raised.value
    return raised.value.diag


def test_open_transactions_hold_no_lane_and_all_commit(db):
    track(db.conn)
    writers = [db.connect(autocommit=False) for _ in range(60)]
    for number, writer in enumerate(writers):
        # With one lane, and tenants in either order, transactions that took lanes at their first change would wait for
        # each other.
        writer.execute("SET LOCAL immutable.lanes = 1")
        for tenant in sorted(["a", "b", "c"], reverse=bool(number % 2)):
            writer.execute(INSERT, [number * 10 + ord(tenant) % 10, tenant, number])
    assert lanes_held(db.conn) == 0
    with concurrent.futures.ThreadPoolExecutor(len(writers)) as pool:
        for done in [pool.submit(writer.commit) for writer in writers]:
            done.result()
    assert sorted(change[1] for change in changes(db.conn)) == sorted(id for id, in rows(db.conn, "SELECT id FROM account"))
    assert len(changes(db.conn)) == 180
    assert is_valid(db.conn)


def test_what_a_savepoint_takes_back_is_not_recorded(db):
    track(db.conn)
    with db.connect(autocommit=False) as conn:
        conn.execute(INSERT, [1, "a", 0])
        conn.execute("SAVEPOINT one")
        conn.execute(INSERT, [2, "a", 0])
        conn.execute("SAVEPOINT two")
        conn.execute("UPDATE account SET balance = 5 WHERE id = 1")
        conn.execute("RELEASE two")
        conn.execute("ROLLBACK TO one")
        conn.execute("UPDATE account SET balance = 6 WHERE id = 1")
        conn.execute("SAVEPOINT three")
        conn.execute(INSERT, [3, "a", 7])
        conn.execute("RELEASE three")
        conn.execute("RELEASE one")
        conn.execute("SAVEPOINT four")
        conn.execute("DELETE FROM account")
        conn.execute("ROLLBACK TO four")
        conn.execute("UPDATE account SET balance = 8 WHERE id = 3")
    assert changes(db.conn) == [
        ("created", 1, "a", 0), ("updated", 1, "a", 6), ("created", 3, "a", 7), ("updated", 3, "a", 8)]


def test_a_context_that_a_savepoint_takes_back_is_kept_again(db):
    """The first change of a statement carries what all have in common; the next one must not lose it."""
    track(db.conn)
    db.conn.execute("""
        DO $$ BEGIN
            INSERT INTO account VALUES (1, 'a', 0);
            BEGIN
                UPDATE account SET balance = 1;
                RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN
                UPDATE account SET balance = 2;
            END;
        END $$""")
    assert changes(db.conn) == [("created", 1, "a", 0), ("updated", 1, "a", 2)]


def test_what_the_events_of_one_transaction_say_of_time(db):
    """occurred_at is when the change was made, and created_at when it was recorded."""
    track(db.conn)
    with db.connect(autocommit=False) as conn:
        for id in (1, 2):
            conn.execute(INSERT, [id, "a", 0])
            conn.execute("SELECT pg_sleep(0.01)")
        between, = conn.execute("SELECT clock_timestamp()").fetchone()
    assert rows(db.conn, f"""
        SELECT bool_and(occurred_at < '{between}' AND created_at > '{between}'),
            max(occurred_at) - min(occurred_at) > '10 ms' FROM immutable.events WHERE resource_type = 'account'""") == [(True, True)]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_procedures_that_end_transactions(db, end):
    track(db.conn)
    db.conn.execute(f"""
        CREATE PROCEDURE many() LANGUAGE plpgsql AS $$ BEGIN
            FOR n IN 1..3 LOOP
                INSERT INTO account VALUES (n, 'a', n);
                COMMIT;
                UPDATE account SET balance = -n WHERE id = n;
                {end} AND CHAIN;
            END LOOP;
            DECLARE r record; BEGIN
                FOR r IN SELECT id FROM account ORDER BY id LOOP
                    UPDATE account SET balance = 100 WHERE id = r.id;
                    COMMIT;
                END LOOP;
            END;
        END $$""")
    db.conn.execute("CALL many()")
    kept = end == "COMMIT"
    assert changes(db.conn) == [
        change for n in (1, 2, 3) for change in [("created", n, "a", n), ("updated", n, "a", -n)][:1 + kept]
    ] + [("updated", n, "a", 100) for n in (1, 2, 3)]
    assert is_valid(db.conn)


def test_chained_transactions_and_statements_in_one_message(db):
    track(db.conn)
    db.conn.execute("BEGIN; INSERT INTO account VALUES (1, 'a', 1); COMMIT AND CHAIN; UPDATE account SET balance = 2; "
                    "ROLLBACK AND CHAIN; UPDATE account SET balance = 3; COMMIT")
    db.conn.execute("UPDATE account SET balance = 4; UPDATE account SET balance = 5")
    refused("22012", db.conn.execute, "UPDATE account SET balance = 6; SELECT 1 / 0")
    with db.conn.pipeline():
        for balance in (7, 8):
            db.conn.execute("UPDATE account SET balance = %s", [balance])
    assert [change[3] for change in changes(db.conn)] == [1, 3, 4, 5, 7, 8]


def test_what_deferred_triggers_change_is_recorded(db):
    track(db.conn)
    db.conn.execute("""
        CREATE TABLE move (account bigint, amount bigint);
        CREATE FUNCTION apply() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE account SET balance = balance + NEW.amount WHERE id = NEW.account;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER apply AFTER INSERT ON move DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION apply()""")
    db.conn.execute(INSERT, [1, "a", 0])
    db.conn.execute("INSERT INTO move VALUES (1, 10), (1, 5)")
    assert [change[3] for change in changes(db.conn)] == [0, 10, 15]


@pytest.mark.parametrize("firing", ["", "DEFERRABLE INITIALLY DEFERRED"])
def test_triggers_on_the_log_fire_and_what_they_change_is_not_recorded(db, firing):
    """If it were, each event would bring the next, without end."""
    track(db.conn)
    db.conn.execute("SET immutable.allow_ddl = on")
    kind = "CONSTRAINT TRIGGER" if firing else "TRIGGER"
    db.conn.execute(f"""
        CREATE TABLE seen (action text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE account SET balance = balance + 1;
            INSERT INTO seen VALUES (NEW.action);
            IF NEW.tenant_id = 'a' THEN
                INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('noted', 'trigger', 'seen');
            END IF;
            RETURN NULL;
        END $$;
        CREATE {kind} note AFTER INSERT ON immutable.events {firing} FOR EACH ROW EXECUTE FUNCTION note()""")
    db.conn.execute("RESET immutable.allow_ddl; SET immutable.tenant_id = 'of the session'; TRUNCATE seen")
    db.conn.execute(INSERT, [1, "a", 0])
    assert changes(db.conn) == [("created", 1, "a", 0)]
    assert rows(db.conn, "SELECT action FROM seen ORDER BY 1") == [("account.created",), ("seen",)]
    # Once for the change, and once for the event that the trigger itself recorded.
    assert rows(db.conn, "SELECT balance FROM account") == [(2,)]
    assert is_valid(db.conn)
    # The next transaction is recorded again.
    db.conn.execute("UPDATE account SET balance = 50")
    assert changes(db.conn)[-1] == ("updated", 1, "a", 50)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_transactions_with_one_snapshot(db, level):
    track(db.conn)
    db.conn.execute(INSERT, [1, "a", 0])
    with db.connect(autocommit=False) as conn:
        conn.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        conn.execute("SELECT count(*) FROM immutable.heads()")
        db.conn.execute(INSERT, [2, "a", 0])
        conn.execute(INSERT, [3, "a", 0])
    assert [change[1] for change in changes(db.conn)] == [1, 2, 3]
    assert is_valid(db.conn)


def test_a_transaction_that_becomes_read_only(db):
    track(db.conn)
    with db.connect(autocommit=False) as conn:
        conn.execute(INSERT, [1, "a", 0])
        conn.execute("SET TRANSACTION READ ONLY")
    assert len(changes(db.conn)) == 1


@pytest.mark.parametrize("role", ["replica", "local"])
def test_a_session_in_which_other_triggers_sleep(db, role):
    """The triggers of the log sleep there too, but not for these events."""
    track(db.conn)
    db.conn.execute(f"SET session_replication_role = {role}")
    db.conn.execute(INSERT, [1, "a", 0])
    assert rows(db.conn, "SHOW session_replication_role") == [(role,)]
    # What the session itself writes is not chained, and refused.
    if role == "replica":
        refused("23514", record, db.conn)
    db.conn.execute("RESET session_replication_role")
    assert changes(db.conn) == [("created", 1, "a", 0)]
    assert is_valid(db.conn)


@pytest.mark.parametrize("end", ["COMMIT PREPARED", "ROLLBACK PREPARED"])
def test_prepared_transactions(cluster, end):
    """The events are prepared with the changes, and outlive the server."""
    server = cluster()
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        track(conn)
        conn.execute("BEGIN")
        conn.execute(INSERT, [1, "a", 0])
        conn.execute("PREPARE TRANSACTION 'one'")
        # The session's next transaction has a buffer of its own.
        conn.execute(INSERT, [2, "b", 0])
    server.kill9()
    server.start()
    with server.connect() as conn:
        assert [change[1] for change in changes(conn)] == [2]
        conn.execute(f"{end} 'one'")
        assert sorted(change[1] for change in changes(conn)) == ([1, 2] if end == "COMMIT PREPARED" else [2])
        assert is_valid(conn)


def test_cursors_that_outlive_the_transaction_and_temporary_tables(db):
    track(db.conn)
    with db.connect(autocommit=False) as conn:
        conn.execute("CREATE TEMPORARY TABLE of_session (n int) ON COMMIT DELETE ROWS")
        conn.execute("INSERT INTO of_session VALUES (1)")
        conn.execute("INSERT INTO account SELECT n, 'a', n FROM generate_series(1, 10) n")
        conn.execute("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM account ORDER BY id")
        conn.execute("LISTEN channel; NOTIFY channel, 'x'")
        conn.commit()
        assert conn.execute("FETCH 2 FROM c").fetchall() == [(1,), (2,)]
        assert conn.execute("SELECT count(*) FROM of_session").fetchall() == [(0,)]
    assert len(changes(db.conn)) == 10


def test_an_event_that_cannot_be_recorded_takes_the_changes_back(db):
    track(db.conn)
    role = db.create_role()
    db.conn.execute(f"GRANT ALL ON account TO {role}; SELECT immutable.grant_tenant('{role}', 'a', 'write')")
    with db.connect(role, autocommit=False) as conn:
        conn.execute(INSERT, [1, "a", 0])
        conn.commit()
        conn.execute(INSERT, [2, "a", 0])
        conn.execute(INSERT, [3, "b", 0])
        diag = refused("42501", conn.commit)
        assert diag.message_primary == 'tenant_id must be "a": a row of tenant "b" was changed'
        assert "grant_tenant" in diag.message_hint
    assert rows(db.conn, "SELECT id FROM account") == [(1,)]
    assert [change[1] for change in changes(db.conn)] == [1]


@pytest.mark.parametrize("is_local_first", [True, False])
def test_changes_are_recorded_before_another_extension_commits_elsewhere(db, is_local_first):
    """postgres_fdw commits at the other server when this transaction is about to, and cannot take it back."""
    track(db.conn)
    role = db.create_role()
    db.conn.execute(f"""
        CREATE EXTENSION postgres_fdw;
        CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw
            OPTIONS (host '{db.server.host}', port '{db.server.port}', dbname '{db.name}');
        CREATE USER MAPPING FOR {role} SERVER itself OPTIONS (user 'postgres', password_required 'false');
        CREATE TABLE elsewhere (n int);
        CREATE FOREIGN TABLE remote (n int) SERVER itself OPTIONS (table_name 'elsewhere');
        GRANT ALL ON account, remote TO {role};
        SELECT immutable.grant_tenant('{role}', 'a', 'write')""")
    with db.connect(role, autocommit=False) as conn:
        # postgres_fdw joins the commits of a session when it connects.
        conn.execute("SELECT FROM remote")
        conn.commit()
        for allowed, tenant in [(True, "a"), (False, "b")]:
            statements = [f"INSERT INTO account VALUES (ascii('{tenant}'), '{tenant}', 0)", f"INSERT INTO remote VALUES (ascii('{tenant}'))"]
            for statement in statements if is_local_first else reversed(statements):
                conn.execute(statement)
            if allowed:
                conn.commit()
            else:
                refused("42501", conn.commit)
    assert rows(db.conn, "SELECT n FROM elsewhere") == [(ord("a"),)]
    assert [change[1] for change in changes(db.conn)] == [ord("a")]


def hold_lane(db, tenant="a"):
    """A connection that holds the tenant's only lane."""
    holder = db.connect(autocommit=False)
    holder.execute("SET LOCAL immutable.lanes = 1")
    record(holder, tenant=tenant)
    return holder


def waiting_commit(pool, conn, observer):
    """A commit that waits for a lane, with a change of one row."""
    conn.execute("SET LOCAL immutable.lanes = 1")
    conn.execute(INSERT, [1, "a", 0])
    done = pool.submit(conn.commit)
    wait_until_it_waits(observer, conn.info.backend_pid)
    return done


@pytest.mark.parametrize("how, state", [("pg_cancel_backend", "57014"), ("pg_terminate_backend", "57P01")])
def test_a_commit_that_waits_for_a_lane_can_be_stopped(db, how, state):
    track(db.conn)
    holder, conn = hold_lane(db), db.connect(autocommit=False)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = waiting_commit(pool, conn, db.conn)
        db.conn.execute(f"SELECT {how}({conn.info.backend_pid})")
        refused(state, done.result)
    holder.rollback()
    assert rows(db.conn, "SELECT count(*) FROM account") == [(0,)]
    assert changes(db.conn) == []
    if how == "pg_cancel_backend":
        conn.execute(INSERT, [2, "a", 0])
        conn.commit()
        assert [change[1] for change in changes(db.conn)] == [2]


def test_a_commit_that_waits_for_a_lane_ends_at_lock_timeout(db):
    track(db.conn)
    holder, conn = hold_lane(db), db.connect(autocommit=False)
    conn.execute("SET LOCAL immutable.lanes = 1; SET LOCAL lock_timeout = '50ms'")
    conn.execute(INSERT, [1, "a", 0])
    refused("55P03", conn.commit)
    holder.rollback()
    assert rows(db.conn, "SELECT count(*) FROM account") == [(0,)]


def test_the_log_is_dropped_in_the_same_transaction(db):
    track(db.conn)
    with db.connect(autocommit=False) as conn:
        conn.execute(INSERT, [1, "a", 0])
        conn.execute("SET LOCAL immutable.allow_ddl = on")
        conn.execute("DROP EXTENSION immutable CASCADE")
        conn.commit()
        assert rows(conn, "SELECT to_regclass('immutable.events') IS NULL, count(*) FROM account") == [(True, 1)]
        conn.execute("UPDATE account SET balance = 1")
        conn.commit()
        conn.execute("CREATE EXTENSION immutable")
        conn.execute("SELECT immutable.track_table('account', tenant_column => 'tenant')")
        conn.execute("UPDATE account SET balance = 2")
        conn.commit()
        assert changes(conn) == [("updated", 1, "a", 2)]


def test_a_restore_that_begins_after_a_change(db):
    track(db.conn)
    with db.connect(autocommit=False) as conn:
        conn.execute(INSERT, [1, "a", 0])
        conn.execute("SET immutable.restore = on")
        conn.execute(INSERT, [2, "a", 0])
    assert [change[1] for change in changes(db.conn)] == [1]
    assert is_valid(db.conn)


def memory(conn, name):
    """Kilobytes of the backend's memory, as the kernel counts them."""
    with open(f"/proc/{conn.info.backend_pid}/status", encoding="ascii") as status:
        return int(re.search(rf"^{name}:\s+(\d+) kB", status.read(), re.MULTILINE)[1])


ROWS = 100_000


def test_the_memory_of_a_backend_does_not_grow_with_its_changes(db):
    """What they need waits on the disk: 100,000 rows have some 30 MB, and ten times as many the same memory."""
    track(db.conn)
    # What PostgreSQL keeps of each row for itself (deferred keys, transition tables) is not counted: there is none, and
    # work_mem bounds it.
    db.conn.execute("SET work_mem = '1MB'; SET immutable.max_capture_size = '1GB'")

    def run(begin, count):
        with db.conn.transaction():
            db.conn.execute("INSERT INTO account SELECT n, 'a', 0 FROM generate_series(%s::int, %s) n", [begin, begin + count - 1])
            kept = memory(db.conn, "RssAnon")
        return kept, memory(db.conn, "RssAnon")

    run(1, 1000)
    few = run(2000, 10_000)
    many = run(100_000, ROWS)
    assert many[0] - few[0] < 4096, (few, many)
    assert many[1] - few[1] < 4096, (few, many)
    assert rows(db.conn, "SELECT count(*), count(DISTINCT resource_id) FROM immutable.events WHERE action = 'account.created'") \
        == [(ROWS + 11_000, ROWS + 11_000)]


def test_a_loop_of_savepoints_needs_no_memory(db):
    """What a savepoint has kept becomes its parent's, and what is taken back goes. PostgreSQL itself keeps 8 kB of each
    savepoint in which a trigger with transition tables fires, so that a trigger that does nothing is the measure."""
    track(db.conn)
    db.conn.execute("""
        CREATE TABLE plain (LIKE account INCLUDING ALL);
        CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER nothing AFTER INSERT ON plain REFERENCING NEW TABLE AS new FOR EACH STATEMENT
            EXECUTE FUNCTION nothing()""")
    loop = """DO $$ BEGIN FOR n IN {}..{} LOOP
        BEGIN INSERT INTO {} VALUES (n, 'a', n); EXCEPTION WHEN division_by_zero THEN NULL; END;
        BEGIN INSERT INTO {} VALUES (-n, 'a', n); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;
    END LOOP; END $$"""

    def grown(table):
        with db.connect(autocommit=False) as conn:
            # More than a megabyte, which is what stays in memory.
            conn.execute(loop.format(1, 10_000, table, table))
            before = memory(conn, "RssAnon")
            conn.execute(loop.format(10_001, 20_000, table, table))
            after = memory(conn, "RssAnon")
            conn.rollback()
        return after - before

    assert grown("account") - grown("plain") < 4096
    db.conn.execute(loop.format(1, 100, "account", "account"))
    assert [change[1] for change in changes(db.conn)] == list(range(1, 101))


def test_the_bound(db):
    track(db.conn)
    with db.connect(autocommit=False) as conn:
        conn.execute("SET immutable.max_capture_size = '2MB'")
        conn.execute(INSERT, [1, "a", 0])
        conn.execute("SAVEPOINT s")
        diag = refused("54000", conn.execute, "INSERT INTO account SELECT n, 'a', 0 FROM generate_series(2, 100000) n")
        assert diag.message_primary == "the row changes of this transaction exceed immutable.max_capture_size, which is 2 MB"
        assert "fewer rows" in diag.message_hint and "immutable.max_capture_size" in diag.message_hint
        conn.execute("ROLLBACK TO s")
        conn.execute(INSERT, [2, "a", 0])
    assert [change[1] for change in changes(db.conn)] == [1, 2]


def temporary_files(conn, of):
    """How many temporary files a session has."""
    (files,), = rows(conn, f"SELECT count(*) FROM pg_ls_tmpdir() WHERE name LIKE 'pgsql_tmp{of.info.backend_pid}.%'")
    return files


def test_temp_file_limit(db):
    """A statement fails, and what was kept before stays; the file of a transaction is gone with it."""
    track(db.conn)
    many = "INSERT INTO account SELECT n, 'a', 0 FROM generate_series(2, {}) n"
    with db.connect(autocommit=False) as conn:
        conn.execute("SET temp_file_limit = '8MB'; SET work_mem = '256MB'")
        conn.commit()
        for _ in range(2):
            conn.execute(many.format(20_000))
            conn.execute("SAVEPOINT s")
            refused("53400", conn.execute, many.format(200_000).replace("(2,", "(20001,"))
            conn.execute("ROLLBACK TO s")
            conn.execute(INSERT, [1, "a", 0])
            assert temporary_files(conn, conn) == 1
            conn.commit()
            assert temporary_files(conn, conn) == 0
            conn.execute("DELETE FROM account")
            conn.commit()
    assert rows(db.conn, "SELECT count(*) FROM immutable.events WHERE action = 'account.created'") == [(40_000,)]


def test_a_file_of_the_log_that_cannot_grow_at_the_commit(cluster):
    """As on a full disk: nothing is committed, and the session goes on."""
    server = cluster()
    conn = server.connect()
    conn.execute("CREATE EXTENSION immutable")
    track(conn)
    with server.connect(autocommit=False) as writer:
        pid = writer.info.backend_pid
        writer.execute("INSERT INTO account SELECT n, 'a', 0 FROM generate_series(1, 60000) n")
        # The limit is for this backend alone; WAL segments, of 16 MB, stay possible.
        as_server("prlimit", "--pid", pid, f"--fsize={17 << 20}:unlimited")
        with pytest.raises(psycopg.Error, match="could not extend file"):
            writer.commit()
        assert rows(conn, "SELECT count(*) FROM account") == [(0,)] and changes(conn) == []
        as_server("prlimit", "--pid", pid, "--fsize=unlimited")
        writer.rollback()
        writer.execute(INSERT, [1, "a", 2])
        writer.commit()
    assert changes(conn) == [("created", 1, "a", 2)]
    assert is_valid(conn)
    conn.close()


WRITERS = 12
ROUNDS = 20


class Writer(threading.Thread):
    """Changes rows of its own until the server is gone. Some transactions have savepoints, some are prepared."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.conn = server.connect(autocommit=False)
        self.number, self.committed, self.broken = number, 0, None

    def run(self):
        try:
            first = self.number * 1_000_000 + self.conn.info.backend_pid % 9000 * 100
            for n in range(1_000_000):
                self.change(f"{first}{n:06}", n)
                self.committed += 1
        except psycopg.OperationalError:
            pass
        except psycopg.Error as error:
            self.broken = error

    def change(self, id, n):
        self.conn.execute("SET LOCAL immutable.lanes = 2")
        self.conn.execute(INSERT, [id + "1", f"t{n % 3}", n])
        self.conn.execute("SAVEPOINT s")
        self.conn.execute(INSERT, [id + "2", f"t{self.number % 3}", n])
        self.conn.execute("ROLLBACK TO s" if n % 2 else "RELEASE s")
        self.conn.execute("UPDATE account SET balance = -1 WHERE id = %s", [id + "1"])
        if n % 5 == 4:
            name = f"w{id}"
            self.conn.execute(f"PREPARE TRANSACTION '{name}'")
            self.conn.execute("COMMIT" if n % 2 else "ROLLBACK")
            self.conn.autocommit = True
            self.conn.execute(f"{'COMMIT' if n % 10 == 4 else 'ROLLBACK'} PREPARED '{name}'")
            self.conn.autocommit = False
        else:
            self.conn.commit()


def check_changes(conn):
    """Every row has the events that made it, once, and no other row has any."""
    wrong = rows(conn, """
        WITH made AS (
            SELECT resource_id::bigint AS id, count(*) FILTER (WHERE action = 'account.created') AS created,
                count(*) FILTER (WHERE action = 'account.updated') AS updated
            FROM immutable.events WHERE resource_type = 'account' GROUP BY 1)
        SELECT a.id, m.id, m.created, m.updated, a.balance FROM account a FULL JOIN made m ON m.id = a.id
        WHERE a.id IS NULL OR m.id IS NULL OR m.created <> 1 OR m.updated <> (a.balance = -1)::int LIMIT 5""")
    assert wrong == []


def test_after_a_kill_under_load_every_committed_change_has_one_event(cluster):
    server = cluster(max_prepared_transactions="40", max_wal_size="64MB")
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        track(conn)
    for _ in range(ROUNDS):
        writers = [Writer(server, number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        while sum(writer.committed for writer in writers) < 150:
            assert not any(writer.broken for writer in writers), [writer.broken for writer in writers]
            time.sleep(0.005)
        server.kill9()
        for writer in writers:
            writer.join(30)
            assert not writer.is_alive()
        server.start()
        with server.connect() as conn:
            for number, (name,) in enumerate(rows(conn, "SELECT gid FROM pg_prepared_xacts")):
                conn.execute(f"{'COMMIT' if number % 2 else 'ROLLBACK'} PREPARED '{name}'")
            check_changes(conn)
            assert is_valid(conn)


@pytest.mark.parametrize("step", ["before the commit", "while it waits for a lane", "after PREPARE"])
def test_a_kill_at_each_step(cluster, step):
    server = cluster()
    observer = server.connect()
    observer.execute("CREATE EXTENSION immutable")
    track(observer)
    conn, holder = server.connect(autocommit=False), server.connect(autocommit=False)
    pool = concurrent.futures.ThreadPoolExecutor()
    conn.execute("SET LOCAL immutable.lanes = 1")
    conn.execute(INSERT, [1, "a", 0])
    if step == "while it waits for a lane":
        holder.execute("SET LOCAL immutable.lanes = 1")
        record(holder, tenant="a")
        done = pool.submit(conn.commit)
        wait_until_it_waits(observer, conn.info.backend_pid)
    elif step == "after PREPARE":
        conn.execute("PREPARE TRANSACTION 'one'")
    server.kill9()
    if step == "while it waits for a lane":
        with pytest.raises(psycopg.OperationalError):
            done.result()
    pool.shutdown()
    server.start()
    with server.connect() as conn:
        assert (changes(conn), rows(conn, "SELECT count(*) FROM account")) == ([], [(0,)])
        if step == "after PREPARE":
            conn.execute("COMMIT PREPARED 'one'")
            assert changes(conn) == [("created", 1, "a", 0)]
        check_changes(conn)
        assert is_valid(conn)


def test_a_backend_that_is_killed_alone(cluster):
    server = cluster()
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        track(conn)
        other = server.connect(autocommit=False)
        # More than stays in memory.
        other.execute("INSERT INTO account SELECT n, 'a', 0 FROM generate_series(1, 20000) n")
        assert temporary_files(conn, other) == 1
        conn.execute("SELECT pg_terminate_backend(%s)", [other.info.backend_pid])
        wait_for(conn, "SELECT count(*) = 0 FROM pg_ls_tmpdir()")
        other.close()
        assert (changes(conn), rows(conn, "SELECT count(*) FROM account")) == ([], [(0,)])
