"""Writers of one tenant beside open transactions: no writer waits while a lane is free, and none waits for ever."""

import collections
import concurrent.futures
import contextlib
import time

import pytest
from psycopg import errors

INSERT = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u1', 'a') RETURNING lane"
LOCKS = """SELECT l.pid, l.objsubid FROM pg_locks l WHERE l.locktype = 'object' AND l.granted
    AND l.classid = 'immutable.events'::regclass ORDER BY l.objsubid"""


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(60) as executor:
        yield executor


@pytest.fixture
def new(db):
    """new(lanes) connects; the log has begun. Open connections are ended, so that no thread outlives the test."""
    db.conn.execute(INSERT)
    made = []

    def connect(lanes=None, autocommit=True, **settings):
        conn = db.connect(autocommit=True)
        conn.execute("SET statement_timeout = '60s'")
        for name, value in {**settings, **({"immutable.lanes": lanes} if lanes else {})}.items():
            conn.execute("SELECT set_config(%s, %s, false)", [name, str(value)])
        conn.autocommit = autocommit
        made.append(conn)
        return conn

    yield connect
    for conn in made:
        with contextlib.suppress(Exception):
            conn.cancel()


def insert(conn):
    return conn.execute(INSERT).fetchone()[0]


def holder(new, lanes=None):
    conn = new(lanes, autocommit=False)
    return conn, insert(conn)


def waiting(db, *connections):
    """Waits until all of them wait for a lock."""
    pids = [conn.info.backend_pid for conn in connections]
    end = time.monotonic() + 30
    while db.conn.execute("SELECT count(*) FROM unnest(%s::int[]) p WHERE pg_blocking_pids(p) <> '{}'",
                          [pids]).fetchone() != (len(pids),):
        assert time.monotonic() < end
        time.sleep(0.01)


def is_valid(db):
    return db.conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone()[0]


@pytest.mark.parametrize("lanes", [2, 3, 32])
def test_one_idle_transaction_holds_up_nobody_once_another_lane_is_free(db, new, pool, lanes):
    holders = [holder(new, lanes) for _ in range(lanes)]
    assert [lane for _, lane in holders] == list(range(lanes))
    writers = [new(lanes) for _ in range(20)]
    tasks = [pool.submit(insert, conn) for conn in writers]
    waiting(db, *writers)
    # The next in the queue holds no lane yet.
    assert db.conn.execute("SELECT lanes_in_use FROM immutable.status()").fetchone() == (lanes,)
    # The first session stays idle, so its lane never becomes free.
    for conn, _ in holders[1:]:
        conn.commit()
    assert {task.result(20) for task in tasks} <= set(range(1, lanes))
    assert db.conn.execute(LOCKS).fetchall() == [(holders[0][0].info.backend_pid, 0)]
    holders[0][0].rollback()
    assert is_valid(db)


def test_those_who_wait_get_a_lane_in_the_order_in_which_they_came(db, new, pool):
    first, second = holder(new, 2)[0], holder(new, 2)[0]
    writers = [new(2, autocommit=False) for _ in range(5)]
    tasks = []
    for writer in writers:
        tasks.append(pool.submit(insert, writer))
        waiting(db, writer)
    second.commit()
    for number, (writer, task) in enumerate(zip(writers, tasks)):
        assert task.result(20) == 1
        assert not any(later.done() for later in tasks[number + 1:])
        writer.commit()
    first.rollback()
    assert is_valid(db)


def test_tasks_that_use_two_connections_do_not_hang(db, new, pool):
    """Each records on a second connection while its first is open, 45 at once, though each backend is new."""
    def flow(outer, inner):
        insert(outer)
        insert(inner)
        insert(outer)
        outer.commit()

    flows = [(new(autocommit=False), new()) for _ in range(45)]
    for task in [pool.submit(flow, *each) for each in flows]:
        task.result(60)
    assert is_valid(db)


@pytest.mark.parametrize("lanes", [2, 4, 32, 1024])
def test_every_client_makes_progress_beside_an_idle_transaction(db, new, tmp_path, lanes):
    idle, _ = holder(new)
    script = tmp_path / "script.sql"
    script.write_text(INSERT + ";\n")
    options = db.server.dsn(db.name) + f" options='-c immutable.lanes={lanes} -c statement_timeout=30s'"
    db.server.run("pgbench", "-n", "-M", "prepared", "-c", "60", "-j", "2", "-T", "4", "-f", str(script), "--log",
                  "--log-prefix", str(tmp_path / "log"), options, timeout=120)
    done = collections.Counter(line.split()[0] for log in tmp_path.glob("log*") for line in log.read_text().splitlines())
    assert len(done) == 60
    idle.rollback()
    assert is_valid(db)


@pytest.mark.parametrize("place", ["next", "in the queue"])
def test_lock_timeout_covers_the_whole_wait(db, new, pool, place):
    holders = [holder(new, 2)[0] for _ in range(2)]
    if place == "in the queue":
        before = new(2)
        pool.submit(insert, before)
        waiting(db, before)
    late = new(2, lock_timeout="500ms")
    begun = time.monotonic()
    with pytest.raises(errors.LockNotAvailable):
        insert(late)
    assert 0.4 < time.monotonic() - begun < 5
    assert late.execute("SHOW lock_timeout").fetchone() == ("500ms",)
    assert late.execute("SHOW deadlock_timeout").fetchone() == ("1s",)
    for conn in holders:
        conn.rollback()
    assert insert(late) in (0, 1)


def test_a_writer_who_gives_up_leaves_nothing_behind(db, new, pool):
    holders = [holder(new, 2)[0] for _ in range(2)]
    with pytest.raises(errors.QueryCanceled):
        insert(new(2, statement_timeout="300ms"))
    cancelled = new(2)
    task = pool.submit(insert, cancelled)
    waiting(db, cancelled)
    # A writer waits with a lock_timeout of its own again and again. PostgreSQL takes a cancellation that comes in the very
    # moment of a timeout for the timeout; the next one ends the wait.
    deadline = time.monotonic() + 20
    while not task.done() and time.monotonic() < deadline:
        cancelled.cancel()
        time.sleep(0.5)
    with pytest.raises(errors.QueryCanceled):
        task.result(1)
    # Caught by a savepoint, the transaction goes on.
    patient = new(2, autocommit=False, lock_timeout="100ms")
    with pytest.raises(errors.LockNotAvailable), patient.transaction():
        insert(patient)
    assert len(db.conn.execute(LOCKS).fetchall()) == 2
    holders[1].commit()
    assert insert(patient) == 1
    patient.commit()
    holders[0].commit()
    assert is_valid(db)


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("place", ["next", "in the queue"])
def test_deadlocks_are_found(db, new, pool, lanes, place):
    """All holders of lanes wait for a row that is locked by a writer, which waits for a lane."""
    db.conn.execute("CREATE TABLE doors (id int)")
    db.conn.execute("INSERT INTO doors VALUES (1)")
    holders = [holder(new, lanes)[0] for _ in range(lanes)]
    writer, bystander = new(lanes, autocommit=False), new(lanes)
    writer.execute("UPDATE doors SET id = id")
    bystanding = None
    if place == "in the queue":
        bystanding = pool.submit(insert, bystander)
        waiting(db, bystander)
    tasks = {writer: pool.submit(insert, writer)}
    waiting(db, writer)
    # By now it has looked for a deadlock once, and found none; a plain wait would never look again.
    time.sleep(1.3)
    assert not tasks[writer].done()
    for conn in holders:
        tasks[conn] = pool.submit(conn.execute, "UPDATE doors SET id = id")
    victims = 0
    while tasks:
        done, _ = concurrent.futures.wait(tasks.values(), 20, concurrent.futures.FIRST_COMPLETED)
        assert done or (bystanding and bystanding.done()), "nobody noticed"
        for conn, task in list(tasks.items()):
            if task in done:
                if isinstance(task.exception(), errors.DeadlockDetected):
                    victims += 1
                else:
                    assert task.exception() is None
                conn.rollback()
                del tasks[conn]
        if bystanding and bystanding.done() and bystanding.exception():
            assert isinstance(bystanding.exception(), errors.DeadlockDetected)
            victims += 1
            bystanding = None
    assert victims >= 1
    if bystanding:
        bystanding.result(20)
    assert is_valid(db)


def test_a_prepared_transaction_holds_its_lane_alone(db, new, pool):
    prepared, _ = holder(new, 2)
    prepared.execute("PREPARE TRANSACTION 'lanes'")
    prepared.commit()
    other, lane = holder(new, 2)
    assert lane == 1
    writers = [new(2) for _ in range(6)]
    tasks = [pool.submit(insert, conn) for conn in writers]
    waiting(db, *writers)
    other.commit()
    assert {task.result(20) for task in tasks} == {1}
    prepared.autocommit = True
    prepared.execute("COMMIT PREPARED 'lanes'")
    assert insert(new(2)) == 0
    assert is_valid(db)


def test_the_logs_own_events_wait_in_the_same_way(db, new, pool):
    """Two lanes of the events without a tenant are taken; one of them stays taken."""
    insert_without = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('', 'u1', 'a')"
    holders = [new(2, autocommit=False) for _ in range(2)]
    for conn in holders:
        conn.execute(insert_without)
    writers = [new(2) for _ in range(4)]
    tasks = [pool.submit(conn.execute, "SELECT immutable.record_restore('a test')") for conn in writers]
    waiting(db, *writers)
    holders[1].commit()
    for task in tasks:
        task.result(20)
    holders[0].commit()
    assert is_valid(db)


def test_an_erasure_waits_for_its_lane_and_the_others_go_on(db, new, pool):
    event, = db.conn.execute("SELECT id FROM immutable.events").fetchone()
    holding, lane = holder(new)
    assert lane == 0
    eraser = new()
    task = pool.submit(eraser.execute, "SELECT * FROM immutable.erase(%s, 't', '{actor_id}', 'request')", [event])
    waiting(db, eraser)
    assert [insert(new()) for _ in range(3)] == [1, 1, 1]
    holding.commit()
    task.result(20)
    assert is_valid(db)
