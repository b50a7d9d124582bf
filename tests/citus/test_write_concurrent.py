"""Many writers at once, on all nodes and for tenants of all nodes: what was acknowledged is there, and every shard is valid."""

import collections
import concurrent.futures
import contextlib
import itertools
import json
import random
import threading
import time

import psycopg
import pytest
from nodes import COORDINATOR

COLUMNS = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES "
RETRIED = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


def verified(log):
    """Tenant -> number of its events. Every shard must be valid, seen from the coordinator as the documentation says."""
    shards = log.conn.execute("SELECT shardid, success, result FROM run_command_on_shards('immutable.events', "
                              "$$SELECT to_jsonb(v) FROM immutable.verify_shard('%s') v$$)").fetchall()
    assert len(shards) >= 8
    for shard, success, result in shards:
        assert success, result
        assert json.loads(result)["breaks"] == [], (shard, result)
    return dict(log.conn.execute("SELECT tenant_id, count(*) FROM immutable.events GROUP BY tenant_id").fetchall())


class Writer:
    """Records at random, and counts what was acknowledged."""

    def __init__(self, log, role, node, tenants, seed):
        self.conn = log.connect(role, node)
        self.tenants, self.random = tenants, random.Random(seed)
        self.name, self.numbers = f"w{seed}", itertools.count()
        self.counts, self.keys = collections.Counter(), set()

    def key(self, own):
        return f"{self.name}_{next(self.numbers)}" if own else f"k{self.random.randrange(40)}"

    def track(self, tenant, counts, own=False):
        key = self.key(own)
        answer, = self.conn.execute("SELECT immutable.track(actor_id => 'a', action => 'b', tenant_id => %s, idempotency_key => %s)",
                                    [tenant, key]).fetchone()
        counts[tenant] += answer["status"] == "recorded"
        assert answer["status"] in ("recorded", "duplicate")
        self.seen.add((tenant, key))

    def insert(self, tenants, counts):
        rows = ", ".join(f"('{tenant}', 'a', 'many')" for tenant in tenants)
        self.conn.execute(f"{COLUMNS} {rows}")
        counts.update(tenants)

    def batch(self, tenants, counts):
        given = [{"actor_id": "a", "action": "b", "tenant_id": tenant, "idempotency_key": self.key(False)} for tenant in tenants]
        answers = self.conn.execute("SELECT immutable.track_batch(%s::jsonb)", [json.dumps(given)]).fetchone()[0]["events"]
        for event, answer in zip(given, answers):
            assert answer["status"] in ("recorded", "duplicate"), answer
            counts[event["tenant_id"]] += answer["status"] == "recorded"
            self.seen.add((event["tenant_id"], event["idempotency_key"]))

    def step(self, counts):
        some = self.random.sample(self.tenants, self.random.randint(1, 3))
        kind = self.random.randrange(5)
        if kind == 0:
            self.insert(some[:1], counts)
        elif kind == 1:
            self.insert(some, counts)
        elif kind == 2:
            self.track(some[0], counts)
        elif kind == 3:
            self.batch(some, counts)
        else:
            undone = collections.Counter()
            with self.conn.transaction(force_rollback=True):
                self.insert(some, undone)

    def work(self):
        """A few steps, alone or as a transaction that may be rolled back; again where they met others."""
        counts, self.seen = collections.Counter(), set()
        try:
            if self.random.random() < 0.6:
                with self.conn.transaction(force_rollback=self.random.random() < 0.3) as transaction:
                    for _ in range(self.random.randint(1, 3)):
                        self.step(counts)
                if transaction.force_rollback:
                    return
            else:
                self.step(counts)
        except RETRIED:
            return
        self.counts += counts
        self.keys |= self.seen

    def run(self, until):
        while time.monotonic() < until:
            self.work()
        return self


def run_all(writers, seconds):
    until = time.monotonic() + seconds
    with concurrent.futures.ThreadPoolExecutor(len(writers)) as pool:
        return [future.result() for future in [pool.submit(writer.run, until) for writer in writers]]


def test_many_writers_on_all_nodes(shared):
    writer = shared.create_role(groups=["immutable_writer"])
    tenants = shared.tenants_on(1, 3) + shared.tenants_on(2, 3)
    done = run_all([Writer(shared, writer, node, tenants, seed) for seed, node in enumerate((COORDINATOR, 1, 2, COORDINATOR, 1, 2))], 4)
    found = verified(shared)
    assert {tenant: found.get(tenant, 0) for tenant in tenants} == dict(sum((each.counts for each in done), collections.Counter()))
    keys = set(shared.conn.execute("SELECT tenant_id, idempotency_key FROM immutable.events WHERE idempotency_key IS NOT NULL").fetchall())
    assert set().union(*(each.keys for each in done)) <= keys
    assert not shared.conn.execute("SELECT FROM immutable.events GROUP BY tenant_id, idempotency_key HAVING count(*) > 1 AND idempotency_key IS NOT NULL").fetchall()


def test_opposite_orders_with_one_lane(shared):
    """Citus finds the deadlock between the nodes; whoever gets it tries again."""
    writer = shared.create_role(groups=["immutable_writer"])
    shared.conn.execute(f"ALTER ROLE {writer} SET immutable.lanes = 1")
    pair = shared.tenants_on(1, 1, 1000) + shared.tenants_on(2, 1, 1000)
    both = threading.Barrier(2)

    def record(node, tenants):
        conn, deadlocks = shared.connect(writer, node), 0
        while True:
            try:
                with conn.transaction():
                    conn.execute(f"{COLUMNS} (%s, 'a', 'b')", [tenants[0]])
                    if not deadlocks:
                        both.wait(30)
                    conn.execute(f"{COLUMNS} (%s, 'a', 'b')", [tenants[1]])
                return deadlocks
            except psycopg.errors.DeadlockDetected:
                deadlocks += 1
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        orders = [pool.submit(record, COORDINATOR, pair), pool.submit(record, 1, pair[::-1])]
        assert sorted(order.result() for order in orders) == [0, 1]
    found = shared.conn.execute("SELECT tenant_id, lane, array_agg(seq ORDER BY seq) FROM immutable.events WHERE tenant_id = ANY (%s) GROUP BY 1, 2", [pair])
    assert sorted(found.fetchall()) == sorted((tenant, 0, [1, 2]) for tenant in pair)
    verified(shared)


def test_recording_goes_on_after_a_shard_was_moved_or_split(log):
    """In the sessions that recorded in it before, too: on the client's node, and on both shards' nodes."""
    role = log.create_role(groups=["immutable_writer"])
    tenant, = log.tenants_on(1, 1)
    shard, _ = log.shard_of(tenant)
    beside = next(name for name in (f"b{n}" for n in itertools.count()) if log.shard_of(name)[0] == shard)
    conns = [log.connect(role, node) for node in (COORDINATOR, 1, 2)]

    def record():
        for conn, each in itertools.product(conns, (tenant, beside)):
            key = str(next(numbers))
            call = "SELECT immutable.track(actor_id => 'a', action => 'b', tenant_id => %s, idempotency_key => %s) ->> 'status'"
            assert [conn.execute(call, [each, key]).fetchone()[0] for _ in range(2)] == ["recorded", "duplicate"]
            conn.execute(f"{COLUMNS} (%s, 'a', 'b')", [each])
            conn.execute("SELECT immutable.track_batch(%s::jsonb)", [json.dumps([{"actor_id": "a", "action": "b", "tenant_id": each}])])

    def place():
        name, node = log.shard_of(tenant)
        return int(name.rpartition("_")[2]), node
    numbers = itertools.count()
    log.conn.execute("SELECT set_config('citus.local_hostname', %s, false)", [log.nodes[COORDINATOR].host])
    record()
    for _ in range(2):
        number, node = place()
        move = [number, *log.address(node), *log.address(3 - node)]
        while place()[1] == node:
            # Citus may still be dropping what the last move left behind.
            with contextlib.suppress(psycopg.errors.InternalError_):
                log.conn.execute("SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, 'block_writes')", move)
        record()
    log.conn.execute("SELECT isolate_tenant_to_new_shard('immutable.events', %s::text, 'CASCADE', shard_transfer_mode => 'block_writes')", [tenant])
    assert log.shard_of(tenant)[0] != log.shard_of(beside)[0]
    record()
    # The tenant has a shard of its own, which takes no other.
    alone, node = log.shard_of(tenant)
    with log.on_node(node, role) as conn, pytest.raises(psycopg.errors.CheckViolation, match=beside):
        conn.execute(f"INSERT INTO {alone} (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [beside])
    found = log.conn.execute("SELECT tenant_id, lane, count(*), max(seq) FROM immutable.events GROUP BY 1, 2 ORDER BY 1, 2 DESC").fetchall()
    assert [row for row in found if row[0]] == [(beside, 0, 36, 36), (tenant, 0, 36, 36)]
    verified(log)


@pytest.mark.timeout(120)
def test_a_node_that_is_killed_loses_nothing_that_was_acknowledged(log):
    role = log.create_role(groups=["immutable_writer"])
    ones, twos = log.tenants_on(1, 2), log.tenants_on(2, 2)
    acknowledged, stop = [], threading.Event()

    def record(number, node):
        """Each transaction has one event on each worker; their actions say which belong together."""
        conn = log.connect(role, node)
        for n in itertools.count():
            if stop.is_set():
                return
            name, batch = f"x{number}_{n}", n % 3 == 0
            tenants = [ones[n % 2], twos[n % 2]]
            try:
                with conn.transaction():
                    if batch:
                        conn.execute("SELECT immutable.track_batch(%s::jsonb)", [json.dumps(
                            [{"actor_id": "a", "action": name, "tenant_id": tenant} for tenant in tenants])])
                    else:
                        for tenant in tenants:
                            conn.execute(f"{COLUMNS} (%s, 'a', %s)", [tenant, name])
                acknowledged.append(name)
            except psycopg.Error:
                # The node is down, or this connection's own is.
                time.sleep(0.1)
                if conn.broken:
                    try:
                        conn = log.connect(role, node)
                    except psycopg.OperationalError:
                        continue

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        writers = [pool.submit(record, number, node) for number, node in enumerate((COORDINATOR, COORDINATOR, 1, 1, 2))]
        try:
            time.sleep(1.5)
            before = len(acknowledged)
            log.nodes[2].kill9()
            time.sleep(0.5)
            log.nodes[2].start()
            deadline = time.monotonic() + 30
            at_restart = len(acknowledged)
            while len(acknowledged) < at_restart + 30 and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            stop.set()
        for each in writers:
            each.result()
    assert before > 10 and len(acknowledged) >= at_restart + 30
    for node in (0, 1, 2):
        with log.on_node(node) as admin:
            admin.execute("SELECT recover_prepared_transactions()")
    for node in (1, 2):
        with log.on_node(node) as admin:
            assert admin.execute("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()").fetchone() == (0,)
    verified(log)
    counts = dict(log.conn.execute("SELECT action, count(*) FROM immutable.events WHERE action LIKE 'x%' GROUP BY action").fetchall())
    assert set(acknowledged) <= set(counts)
    assert set(counts.values()) == {2}
