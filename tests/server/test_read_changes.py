"""changes() under load: whatever order transactions commit in, a consumer gets every event once, and none that was
rolled back."""

import collections
import concurrent.futures
import json
import random
import threading
import time

import psycopg
import pytest

WRITERS = 8
SECONDS = 8
TENANTS = ["one", "two", "three"]


class Writer:
    """Records until told to stop: transactions of a few events in one or more tenants, some slow, some rolled back."""

    def __init__(self, db, number):
        self.db, self.number = db, number
        self.random = random.Random(number)
        self.committed = []

    def run(self, stop):
        with self.db.server.connect(self.db.name, autocommit=False) as conn:
            conn.execute("SET statement_timeout = '30s'")
            conn.commit()
            while not stop.is_set():
                events = []
                try:
                    for n in range(self.random.choice([1, 1, 1, 2, 5, 30])):
                        if self.random.random() < 0.1:
                            conn.execute("SAVEPOINT s")
                            self.insert(conn, self.random.choice(TENANTS))
                            conn.execute("ROLLBACK TO s")
                        tenant = self.random.choice(TENANTS[:2] if n else TENANTS)
                        events.append(self.insert(conn, tenant))
                        if self.random.random() < 0.2:
                            time.sleep(self.random.random() * 0.05)
                    # Between the last event and the commit others record and commit.
                    time.sleep(self.random.choice([0, 0, 0.001, 0.01, 0.05, 0.3]))
                    if self.random.random() < 0.15:
                        conn.rollback()
                    else:
                        conn.commit()
                        self.committed += events
                except psycopg.errors.DeadlockDetected:
                    conn.rollback()

    def insert(self, conn, tenant):
        return conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, %s, 'x') RETURNING id",
                            [tenant, f"writer {self.number}"]).fetchone()[0]


class Poller:
    """Follows one feed, and goes on from its last position as after a crash, in a new session now and then."""

    def __init__(self, db, tenant, limit):
        self.db, self.tenant, self.limit = db, tenant, limit
        self.position = None
        self.seen = []
        self.polls = 0

    def run(self, stopped):
        while True:
            last = stopped.is_set()
            with self.db.server.connect(self.db.name) as conn:
                for _ in range(40):
                    if not self.poll(conn):
                        # All writers had ended before this began: nothing can come any more.
                        if last:
                            return
                        break
            time.sleep(0.01)

    def poll(self, conn):
        answer, = conn.execute("SELECT immutable.changes(%s, %s::text::jsonb, %s)",
                               [self.tenant, self.position, self.limit]).fetchone()
        self.position = json.dumps(answer["position"])
        events = answer["data"]
        assert len(events) <= self.limit
        assert len(events) == self.limit or not answer["has_more"]
        self.seen += [(e["tenant_id"], e["integrity"]["lane"], e["integrity"]["seq"], e["id"]) for e in events]
        self.polls += 1
        return bool(events)


@pytest.mark.parametrize("lanes", [16, 2])
def test_every_event_once(db, lanes):
    db.conn.execute(f"ALTER DATABASE {db.name} SET immutable.lanes = {lanes}")
    stop, stopped = threading.Event(), threading.Event()
    writers = [Writer(db, number) for number in range(WRITERS)]
    pollers = [Poller(db, tenant, limit) for tenant, limit in
               [(None, 7), (None, 1000), *((tenant, 7) for tenant in TENANTS), *((tenant, 1000) for tenant in TENANTS)]]
    with concurrent.futures.ThreadPoolExecutor(len(writers) + len(pollers)) as executor:
        writing = [executor.submit(writer.run, stop) for writer in writers]
        reading = [executor.submit(poller.run, stopped) for poller in pollers]
        time.sleep(SECONDS)
        stop.set()
        for each in writing:
            each.result()
        stopped.set()
        for each in reading:
            each.result()
    stored = {str(row[3]): row[:3] for row in db.conn.execute("SELECT tenant_id, lane, seq, id FROM immutable.events")}
    committed = [str(event) for writer in writers for event in writer.committed]
    assert sorted(committed) == sorted(stored)
    assert len(stored) > 150 and max(lane for _, lane, _ in stored.values()) > 0
    for poller in pollers:
        ids = [event for *_, event in poller.seen]
        expected = {event for event, (tenant, *_) in stored.items() if poller.tenant in (None, tenant)}
        twice = [event for event, times in collections.Counter(ids).items() if times > 1]
        assert twice == [] and set(ids) == expected, (poller.tenant, poller.limit)
        # They read while there were gaps, not only at the end.
        assert poller.polls > 20
        # For one tenant each lane comes in its own order; for all tenants it does not, and no consumer may rely on it.
        if poller.tenant:
            lanes_seen = collections.defaultdict(list)
            for _, lane, seq, _ in poller.seen:
                lanes_seen[lane].append(seq)
            assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in lanes_seen.values())


def test_a_naive_consumer_misses_events(db):
    """Why the feed exists: read in the order of created_at, the log has gaps while transactions are open."""
    slow, fast = db.connect(autocommit=False), db.connect()
    insert = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'a', %s)"
    fast.execute(insert, ["first"])
    slow.execute(insert, ["slow"])
    fast.execute(insert, ["fast"])

    def after(cursor):
        answer, = db.conn.execute('SELECT immutable.get_events(tenant_id => \'t\', "order" => \'asc\', "cursor" => %s, "limit" => 1)',
                                  [cursor]).fetchone()
        return [event["action"] for event in answer["data"]], answer["pagination"]["next_cursor"]
    fast.execute(insert, ["fast too"])
    seen, cursor = after(None)
    more, cursor = after(cursor)
    slow.commit()
    seen += more + after(cursor)[0]
    assert seen == ["first", "fast", "fast too"]


@pytest.mark.parametrize("after", [
    '[]', '1', '"x"', '{"0": "1"}', '{"0": -1}', '{"0": 1.5}', '{"0": 1e30}', '{"x": 1}', '{"40000": 1}', '{"0": null}',
    '{"0": [1]}', '{"00": 1}', '{"+0": 1}', '{" 0": 1}', '{"xact": "1"}'])
def test_invalid_positions_of_a_tenant(db, after):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="after is not a position") as refused:
        db.conn.execute("SELECT immutable.changes('t', %s::text::jsonb)", [after])
    assert '{"0": "12:9f86d081884c7d65"}' in refused.value.diag.message_hint


@pytest.mark.parametrize("after", [
    '[]', '1', '{"0": 1}', '{"xact": "1"}', '{"xact": 1, "id": "00000000-0000-4000-8000-000000000f01", "tenant_id": ""}',
    '{"xact": "x", "id": "00000000-0000-4000-8000-000000000f01", "tenant_id": ""}', '{"xact": "1", "id": "x", "tenant_id": ""}',
    '{"xact": "1", "id": "00000000-0000-4000-8000-000000000f01", "tenant_id": "", "more": 1}'])
def test_invalid_positions_of_all_tenants(db, after):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="after is not a position"):
        db.conn.execute("SELECT immutable.changes(after => %s::text::jsonb)", [after])


def test_positions_of_unknown_lanes_and_tenants(db):
    """Positions with a new lane, and of a tenant without events. (test_read_changes_positions.py has those of another log.)"""
    call = "SELECT immutable.changes(%s, %s::text::jsonb, %s)"

    def changes(tenant, after=None, limit=100):
        answer = db.conn.execute(call, [tenant, after, limit]).fetchone()[0]
        return len(answer["data"]), answer["position"], answer["has_more"]
    assert changes("t") == (0, {}, False)
    assert changes(None) == (0, {}, False)
    assert changes(None, "{}") == (0, {}, False)
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 't', 'a', 'x' FROM generate_series(1, 5)")
    hashes = dict(db.conn.execute("SELECT seq, left(encode(event_hash, 'hex'), 16) FROM immutable.events"))
    assert changes("t", "{}", 2) == (2, {"0": f"2:{hashes[2]}"}, True)
    assert changes("t", '{"0": 5}') == (0, {"0": 5}, False)
    assert changes("t", '{"0": 4}') == (1, {"0": f"5:{hashes[5]}"}, False)
    assert changes("t", '{"0": 0, "7": 0}', 1) == (1, {"0": f"1:{hashes[1]}", "7": 0}, True)
    for limit in (0, 10_001):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="limit must be"):
            changes("t", None, limit)


def test_events_too_large_for_one_answer_come_in_several_answers(db):
    """A consumer that asks again with the default limit must make progress."""
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) SELECT 'big', 'b', 'x', "
                    "(SELECT jsonb_agg(jsonb_build_object('type', 't', 'id', 'i' || k, 'metadata', jsonb_build_object('v', repeat('x', 60000)))) "
                    " FROM generate_series(1, 50) k) FROM generate_series(1, 12)")
    for tenant in ("big", None):
        position, seen, calls = None, [], 0
        while True:
            answer, = db.conn.execute("SELECT immutable.changes(%s, %s)", [tenant, json.dumps(position) if position else None]).fetchone()
            position, calls = answer["position"], calls + 1
            seen += [event["id"] for event in answer["data"]]
            if not answer["has_more"]:
                break
        assert len(seen) == len(set(seen)) == 12 and calls > 1
