"""Segments, for the tests of everything that reads across them."""

import threading
import time

import psycopg
import pytest

BROKEN = """
    SELECT e.tenant_id, e.lane, e.seq FROM (SELECT tenant_id, lane, seq, previous_event_hash,
        lag(seq) OVER lanes AS before, lag(event_hash) OVER lanes AS hash
      FROM immutable.events WINDOW lanes AS (PARTITION BY tenant_id, lane ORDER BY seq)) e
    WHERE seq <> coalesce(before, 0) + 1 OR previous_event_hash IS DISTINCT FROM hash"""


def seal(db, before=None):
    """Seals everything that can be sealed (before a time, where one is given): all but the last event of each lane."""
    conn = db.connect()
    try:
        conn.execute("SET lock_timeout = '5s'")
        return conn.execute("CALL immutable.seal(coalesce(%s, 'infinity'::timestamptz))", (before,)).fetchone()[0]
    finally:
        conn.close()


def places(conn, condition="true"):
    """How many events are in each table: {"events": 3, "events_1": 5}."""
    rows = conn.execute(f"SELECT tableoid::regclass::text, count(*) FROM immutable.events WHERE {condition} GROUP BY 1")
    return {name.removeprefix("immutable."): count for name, count in rows}


def check_whole(conn):
    """Each event is there once and follows the one before it, its targets are with it, and the segments are as noted."""
    assert conn.execute(BROKEN).fetchall() == []
    assert conn.execute("SELECT tenant_id, event_id, position FROM immutable.event_targets "
                        "GROUP BY 1, 2, 3 HAVING count(*) > 1").fetchall() == []
    assert conn.execute(
        "SELECT sum(jsonb_array_length(targets)) FROM immutable.events").fetchone() == conn.execute(
        "SELECT count(*) FROM immutable.event_targets").fetchone()
    in_tables = places(conn)
    for segment, state, events, targets in conn.execute(
            "SELECT segment, state, events, targets FROM immutable.segments").fetchall():
        assert events == in_tables.pop(f"events_{segment}", 0), (segment, state)
        assert (targets,) == conn.execute(f"SELECT count(*) FROM immutable.event_targets_{segment}").fetchone()
        assert conn.execute(f"SELECT count(*) FROM immutable.event_targets_{segment} t JOIN immutable.events_{segment} e "
                            "ON (e.tenant_id, e.id) = (t.tenant_id, t.event_id)").fetchone() == (targets,)
    assert set(in_tables) <= {"events"}


class Sealing(threading.Thread):
    """A call that is held up after it has copied, and before it builds the indexes of segment 1."""

    def __init__(self, connect, prepare):
        super().__init__(daemon=True)
        prepare()
        self.holder = connect(autocommit=False)
        self.holder.execute("LOCK TABLE immutable.events_1 IN ROW EXCLUSIVE MODE")
        self.conn, self.did, self.error = connect(), None, None
        self.start()
        while not self.holder.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'immutable.events_1'::regclass").fetchone()[0]:
            assert self.is_alive(), f"it did not wait: {self.did or self.error!r}"
            time.sleep(0.01)

    def run(self):
        try:
            self.did = self.conn.execute("CALL immutable.seal('infinity')").fetchone()[0]
        except psycopg.OperationalError as error:
            self.error = error

    def go_on(self):
        self.holder.rollback()
        self.join(30)
        assert not self.is_alive()
        return self.did


def prepare_alone(connect, before=0):
    """Leaves segment 1 prepared and empty. The transaction that it waits for is the session's last one, after `before`
    others."""
    reader, conn = connect(autocommit=False), connect()
    for _ in range(before):
        reader.execute("SELECT")
        reader.rollback()
    reader.execute("SELECT FROM immutable.events LIMIT 1")
    conn.execute("SET lock_timeout = '50ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        conn.execute("CALL immutable.seal('infinity')")
    reader.rollback()
