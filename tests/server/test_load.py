"""Many sessions write at once, in every way, and roll back; then the log must be sound, and hold exactly
what was acknowledged."""

import collections
import concurrent.futures
import itertools
import random
import threading
import time
import uuid

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

SESSIONS = 16
TENANTS = [f"tenant {number}" for number in range(4)]
KEYS = 3000
# Errors that concurrent transactions must expect: the transaction is rolled back and tried again.
RETRY = (errors.DeadlockDetected, errors.SerializationFailure)
TARGETS = [{"type": "document", "id": "d1"}, {"type": "folder", "name": "inbox"}]
COLUMNS = "tenant_id, actor_id, action, idempotency_key, targets"
LEVELS = {level: psycopg.IsolationLevel[level] for level in ("READ_COMMITTED", "REPEATABLE_READ", "SERIALIZABLE")}


class Seen:
    """What one session knows for certain, because a COMMIT was acknowledged."""

    def __init__(self):
        # An action names one event. (tenant, when its transaction began, when it was acknowledged)
        self.events = {}
        self.ids = {}  # the same: the id that was returned, where one was
        self.keys = []  # (tenant, idempotency key, id that was returned for it, was it a duplicate)
        self.counts = collections.Counter()

    def add(self, done, began, acknowledged):
        for tenant, action, event_id in done.events:
            self.events[action] = (tenant, began, acknowledged)
            if event_id:
                self.ids[action] = event_id
        self.keys += done.keys
        self.counts.update(done.counts)


class Done:
    """What a transaction has done so far."""

    def __init__(self):
        self.events, self.keys, self.counts = [], [], collections.Counter()


class Session:
    def __init__(self, db, number, settings, levels):
        self.random = random.Random(number)
        self.actions = (f"{number}.{n}" for n in itertools.count(1))
        self.levels = levels
        self.conn = db.server.connect(db.name, autocommit=False)
        # A deadlock must not take a second to be found.
        for name, value in {"deadlock_timeout": "20ms", "statement_timeout": "60s", **settings}.items():
            self.conn.execute(f"SET {name} = '{value}'")
        self.conn.commit()
        self.seen = Seen()

    def run(self, deadline):
        with self.conn:
            while time.monotonic() < deadline:
                self.transaction()
        return self.seen

    def transaction(self):
        self.conn.isolation_level = self.random.choice(self.levels)
        self.conn.autocommit = self.random.random() < 0.2
        # Writers for several tenants conflict with more of the others, and deadlock in a single lane.
        self.tenants = TENANTS if self.random.random() < 0.2 else [self.random.choice(TENANTS)]
        statements = 1 if self.conn.autocommit else self.random.choice([1, 1, 2, 3, 5])
        done, began = Done(), time.monotonic()
        try:
            if not self.conn.autocommit:
                # A transaction() that is not within another would commit it. The snapshot is taken here, or later.
                self.conn.execute(self.random.choice(["SELECT", "SHOW search_path"]))
            for _ in range(statements):
                self.step(done)
            if not self.conn.autocommit and self.random.random() < 0.1:
                self.conn.rollback()
                self.seen.counts["rolled back"] += 1
                return
            self.conn.commit()
        except RETRY as error:
            self.conn.rollback()
            self.seen.counts[type(error).__name__] += 1
            return
        except errors.UniqueViolation as error:
            # ON CONFLICT looks at one index. While REINDEX CONCURRENTLY builds another one beside it, PostgreSQL may
            # meet the event in that one first.
            if not (error.diag.constraint_name or "").endswith("_ccnew"):
                raise
            self.conn.rollback()
            self.seen.counts["met in an index that is being built"] += 1
            return
        self.seen.counts["committed"] += 1
        self.seen.add(done, began, time.monotonic())

    def step(self, done):
        kind = self.random.choice(KINDS)
        chance = self.random.random()
        if chance < 0.1 and not self.conn.autocommit:
            with self.conn.transaction(force_rollback=True):
                kind(self, Done())
            done.counts["rolled back to a savepoint"] += 1
        elif chance < 0.2 and not self.conn.autocommit:
            with self.conn.transaction():
                kind(self, done)
        else:
            kind(self, done)
        done.counts[kind.__name__] += 1

    def new(self):
        return self.random.choice(self.tenants), next(self.actions)

    def targets(self):
        return self.random.choice([[], [], TARGETS])

    def key(self):
        return f"key {self.random.randrange(KEYS)}"

    # The ways to write. Each notes what it has done.

    def plain(self, done):
        tenant, action = self.new()
        event_id, = self.conn.execute(
            f"INSERT INTO immutable.events ({COLUMNS}) VALUES (%s, 'u1', %s, NULL, %s) RETURNING id",
            [tenant, action, Jsonb(self.targets())]).fetchone()
        done.events.append((tenant, action, event_id))

    def multi_row(self, done):
        events = [self.new() for _ in range(self.random.randrange(2, 20))]
        rows = self.conn.execute(
            "INSERT INTO immutable.events (tenant_id, actor_id, action) "
            "SELECT tenant, 'u1', action FROM unnest(%s::text[], %s::text[]) e (tenant, action) RETURNING action, id",
            [[tenant for tenant, _ in events], [action for _, action in events]]).fetchall()
        ids = dict(rows)
        assert len(ids) == len(rows) == len(events)
        done.events += [(tenant, action, ids[action]) for tenant, action in events]

    def copy(self, done):
        tenant = self.random.choice(self.tenants)
        events = [(tenant, next(self.actions)) for _ in range(self.random.randrange(1, 60))]
        with self.conn.cursor() as cursor, cursor.copy(f"COPY immutable.events ({COLUMNS}) FROM STDIN") as target:
            for tenant, action in events:
                target.write_row((tenant, "u1", action, None, Jsonb(self.targets())))
        done.events += [(tenant, action, None) for tenant, action in events]

    def on_conflict(self, done):
        tenant, action = self.new()
        key = self.key()
        row = self.conn.execute(
            f"INSERT INTO immutable.events ({COLUMNS}) VALUES (%s, 'u1', %s, %s, %s) "
            "ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING id",
            [tenant, action, key, Jsonb(self.targets())]).fetchone()
        if row:
            done.events.append((tenant, action, row[0]))
            done.keys.append((tenant, key, row[0], False))

    def many_on_conflict(self, done):
        """Without naming the key, and with one key twice in a statement."""
        tenant = self.random.choice(self.tenants)
        events = [(next(self.actions), self.random.choice([None, self.key()])) for _ in range(5)]
        events += [(next(self.actions), key) for _, key in events[:2]]
        rows = self.conn.execute(
            "INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) "
            "SELECT %s, 'u1', action, key FROM unnest(%s::text[], %s::text[]) e (action, key) "
            "ON CONFLICT DO NOTHING RETURNING action, idempotency_key, id",
            [tenant, [action for action, _ in events], [key for _, key in events]]).fetchall()
        stored = {action for action, _, _ in rows}
        assert {action for action, key in events if key is None} <= stored, "an event without a key was left out"
        for action, key, event_id in rows:
            done.events.append((tenant, action, event_id))
            if key:
                done.keys.append((tenant, key, event_id, False))

    def answered(self, done, tenant, action, key, answer):
        # Every action is new, so that what has the key already is another event.
        assert answer["status"] in ("recorded", "conflict"), answer
        event_id = uuid.UUID(answer["id"])
        duplicate = answer["status"] == "conflict"
        if not duplicate:
            done.events.append((tenant, action, event_id))
        if key:
            done.keys.append((tenant, key, event_id, duplicate))
            done.counts["duplicates"] += duplicate
        else:
            assert not duplicate

    def track(self, done):
        tenant, action = self.new()
        key = self.random.choice([None, self.key()])
        answer, = self.conn.execute(
            "SELECT immutable.track('u1', %s, tenant_id => %s, idempotency_key => %s, targets => %s, on_conflict => 'answer')",
            [action, tenant, key, Jsonb(self.targets())]).fetchone()
        self.answered(done, tenant, action, key, answer)

    def track_batch(self, done):
        events = [(*self.new(), self.random.choice([None, self.key()])) for _ in range(self.random.randrange(1, 15))]
        bad = self.random.randrange(len(events) * 3)
        batch = [{"tenant_id": tenant, "actor_id": "u1", "action": "" if n == bad else action, "idempotency_key": key}
                 for n, (tenant, action, key) in enumerate(events)]
        answer, = self.conn.execute("SELECT immutable.track_batch(%s)", [Jsonb(batch)]).fetchone()
        assert len(answer["events"]) == len(events)
        for n, (event, one) in enumerate(zip(events, answer["events"])):
            if n == bad:
                assert one["status"] == "error" and one["error"]["field"] == "action", one
            else:
                self.answered(done, *event, one)


KINDS = [Session.plain] * 6 + [Session.multi_row, Session.copy, Session.track_batch] + 3 * [
    Session.on_conflict, Session.track] + [Session.many_on_conflict]
MAINTENANCE = itertools.cycle([
    "VACUUM immutable.events", "REINDEX INDEX CONCURRENTLY immutable.events_tenant_id_lane_seq_key",
    "ANALYZE immutable.events", "CREATE INDEX CONCURRENTLY IF NOT EXISTS by_action ON immutable.events (action)",
    "REINDEX TABLE CONCURRENTLY immutable.events", "DROP INDEX CONCURRENTLY IF EXISTS immutable.by_action",
    "VACUUM immutable.event_targets", "REINDEX TABLE CONCURRENTLY immutable.event_targets"])


def maintain(db, deadline):
    """What an administrator does meanwhile. Verification finds nothing at any time."""
    verified = 0
    with db.server.connect(db.name) as conn:
        while time.monotonic() < deadline:
            conn.execute(next(MAINTENANCE))
            valid, breaks, checked = conn.execute("SELECT valid, breaks, events_checked FROM immutable.verify_chain()").fetchone()
            # Before the first commit there is nothing to verify, which is neither valid nor not.
            assert valid or valid is None and checked == 0, breaks
            verified += 1
    return verified


def load(db, seconds, levels=("READ_COMMITTED",), **settings):
    """Runs the sessions, and returns what all of them have seen."""
    sessions = [Session(db, number, settings, [LEVELS[level] for level in levels]) for number in range(SESSIONS)]
    deadline = time.monotonic() + seconds
    everything = Seen()
    with concurrent.futures.ThreadPoolExecutor(SESSIONS + 1) as executor:
        maintained = executor.submit(maintain, db, deadline)
        for each in [executor.submit(session.run, deadline) for session in sessions]:
            seen = each.result()
            everything.events.update(seen.events)
            everything.ids.update(seen.ids)
            everything.keys += seen.keys
            everything.counts.update(seen.counts)
        everything.counts["verified meanwhile"] = maintained.result()
    print(dict(everything.counts))
    return everything


def check(db, seen):
    """Everything that must hold afterwards."""
    rows = db.conn.execute(
        "SELECT tenant_id, lane, seq, action, id, idempotency_key, created_at, xact FROM immutable.events "
        "ORDER BY tenant_id, lane, seq").fetchall()
    valid, breaks, checked, chains = db.conn.execute(
        "SELECT valid, breaks, events_checked, chains_checked FROM immutable.verify_chain()").fetchone()
    lanes = collections.defaultdict(list)
    for row in rows:
        lanes[row[:2]].append(row[2:])
    assert valid, breaks
    assert (checked, chains) == (len(rows), len(lanes))

    # What was acknowledged is there, once, in its tenant and with its id; and nothing else is.
    stored = {action: (tenant, event_id) for tenant, _, _, action, event_id, _, _, _ in rows}
    assert len(stored) == len(rows)
    assert set(stored) == set(seen.events)
    assert all(stored[action][0] == tenant for action, (tenant, _, _) in seen.events.items())
    assert all(stored[action][1] == event_id for action, event_id in seen.ids.items())

    # Every session that got an id for a key, first or as a duplicate, got that of the one event with the key.
    by_key = {(tenant, key): event_id for tenant, _, _, _, event_id, key, _, _ in rows if key}
    assert len(by_key) == sum(1 for row in rows if row[5])
    assert [told for told in seen.keys if by_key.get(told[:2]) != told[2]] == []
    first = collections.Counter(told[:2] for told in seen.keys if not told[3])
    assert set(first) == set(by_key) and set(first.values()) == {1}

    for lane, events in lanes.items():
        # No number is missing or repeated, and times increase.
        assert [event[0] for event in events] == list(range(1, len(events) + 1)), lane
        times = [event[4] for event in events]
        assert all(before < after for before, after in itertools.pairwise(times)), lane
        # No other session wrote in a lane between two events of a transaction.
        transactions = [xact for xact, _ in itertools.groupby(event[5] for event in events)]
        assert len(transactions) == len(set(transactions)), lane
        # No transaction's events come before an event whose commit was acknowledged before it began.
        earliest = float("inf")
        for event in reversed(events):
            _, began, acknowledged = seen.events[event[1]]
            assert began <= earliest, (lane, event[0])
            earliest = min(earliest, acknowledged)
    return lanes


def missing_targets(db):
    """How many of the events' targets have no row of their own, or the other way round."""
    return db.conn.execute("""
        SELECT abs((SELECT sum(jsonb_array_length(targets)) FROM immutable.events)
                   - (SELECT count(*) FROM immutable.event_targets))""").fetchone()[0]


def test_sixteen_sessions(db):
    seen = load(db, 12)
    lanes = check(db, seen)
    assert missing_targets(db) == 0
    assert {tenant for tenant, _ in lanes} == set(TENANTS)
    assert max(lane for _, lane in lanes) > 0, "no two sessions ever met"
    # The load was of the kind that it was meant to be.
    assert seen.counts["committed"] > 300
    assert 0.04 < seen.counts["rolled back"] / seen.counts["committed"] < 0.2
    for what in ("duplicates", "rolled back to a savepoint", "verified meanwhile",
                 *(kind.__name__ for kind in KINDS)):
        assert seen.counts[what] > 0, what
    # A new session continues where the others ended.
    tenant = TENANTS[0]
    before = {lane: len(events) for (of, lane), events in lanes.items() if of == tenant}
    for number in range(3):
        assert db.connect().execute(
            "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'u1', 'after') RETURNING lane, seq",
            [tenant]).fetchone() == (0, before[0] + number + 1)
    assert db.conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)


def test_sixteen_sessions_in_one_lane(db):
    seen = load(db, 8, **{"immutable.lanes": 1})
    lanes = check(db, seen)
    assert sorted(lanes) == [(tenant, 0) for tenant in TENANTS]
    assert seen.counts["committed"] > 200


def test_sixteen_sessions_that_disagree_on_isolation(db):
    seen = load(db, 8, levels=list(LEVELS))
    check(db, seen)
    assert seen.counts["committed"] > 200
    assert seen.counts["SerializationFailure"] > 0


@pytest.mark.parametrize("tenant", [None, "one"])
def test_the_first_event_of_the_log_in_sixteen_sessions(db, tenant):
    """All begin at once, in one tenant or each in its own; half of them roll back first. The log gets one identity."""
    barrier = threading.Barrier(SESSIONS)

    def begin(number):
        with db.server.connect(db.name, autocommit=False) as conn:
            conn.execute("SET statement_timeout = '30s'")
            conn.commit()
            barrier.wait(20)
            for outcome in (conn.rollback, conn.commit) if number % 2 else (conn.commit,):
                conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'u1', 'a')",
                             [tenant or f"tenant {number}"])
                outcome()

    with concurrent.futures.ThreadPoolExecutor(SESSIONS) as executor:
        list(executor.map(begin, range(SESSIONS)))
    assert db.conn.execute(
        "SELECT valid, events_checked, "
        "chains_checked = (SELECT count(*) FROM immutable.events e WHERE e.log_id = l.log_id) "
        "FROM immutable.verify_chain() CROSS JOIN immutable.log l").fetchall() == [(True, SESSIONS, True)]
