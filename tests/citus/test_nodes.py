"""Nodes that come and go, and shards that move, split and are isolated, while applications write and read."""

import itertools
import json
import threading
import time

import psycopg
import pytest
from nodes import COORDINATOR, SPARE, WORKERS, Distributed

TENANTS = [f"t{n}" for n in range(24)]
numbers = itertools.count()
LOADS = []


class Load:
    """Writers of several nodes, each of whose transactions is tried until it commits."""

    def __init__(self, log, nodes=(COORDINATOR, 1)):
        self.log, self.ending, self.number = log, threading.Event(), next(numbers)
        self.committed, self.retried, self.failed = [], [], []
        self.threads = [threading.Thread(target=self.write, args=(node, n)) for n, node in enumerate(nodes)]

    def __enter__(self):
        LOADS.append(self)
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def write(self, node, number):
        with self.log.on_node(node) as conn:
            count = 0
            while not self.ending.is_set():
                count += 1
                tenants = [TENANTS[(count + number) % len(TENANTS)], TENANTS[(count * 7 + number) % len(TENANTS)]][:1 + count % 2]
                self.commit(conn, sorted(set(tenants)), f"{self.number}-{number}-{count}")

    def commit(self, conn, tenants, key):
        for attempt in range(20):
            try:
                with conn.transaction():
                    for tenant in tenants:
                        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key, targets) "
                                     "VALUES (%s, 'a', 'load', %s, '[{\"type\": \"t\", \"id\": \"1\"}]')", [tenant, key])
                self.committed += [(tenant, key) for tenant in tenants]
                return
            except psycopg.errors.UniqueViolation:
                # The commit before it went through, and its answer was lost.
                self.committed += [(tenant, key) for tenant in tenants]
                return
            except psycopg.Error as error:
                self.retried.append(str(error))
                time.sleep(0.05 * attempt)
        self.failed.append(key)


def check(log, loads):
    """Every committed event is there once, and all shards are valid."""
    found = log.conn.execute("SELECT tenant_id, idempotency_key FROM immutable.events WHERE action = 'load' ORDER BY 1, 2").fetchall()
    written = sorted(pair for load in loads for pair in load.committed)
    assert [load.failed for load in loads] == [[] for _ in loads] and all(load.committed for load in loads)
    assert found == written
    assert log.conn.execute("SELECT count(*) FROM immutable.event_targets").fetchone() == (len(found),)
    holes, = log.conn.execute("SELECT count(*) FROM (SELECT max(seq) - count(*) AS n FROM immutable.events GROUP BY tenant_id, lane) x WHERE n <> 0").fetchone()
    assert holes == 0
    verdicts = log.conn.execute(
        "SELECT success, result FROM run_command_on_shards('immutable.events', $$SELECT to_jsonb(v) FROM immutable.verify_shard('%s') v$$)").fetchall()
    assert len(verdicts) == len(log.shards()) and all(success for success, _ in verdicts)
    assert [result for _, result in verdicts if json.loads(result)["breaks_found"] != 0] == []
    # Shards that were made by Citus are as those of distribute().
    for node in {*log.shards().values()}:
        with log.on_node(node) as conn:
            assert conn.execute("SELECT * FROM immutable.shard_changes()").fetchall() == []


def moved(log, tenant, to, mode):
    number = int(log.shard_of(tenant)[0].rsplit("_")[-1])
    log.conn.execute("SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, shard_transfer_mode => %s)",
                     [number, *log.address(log.shard_of(tenant)[1]), *log.address(to), mode])


@pytest.mark.parametrize("mode", ["block_writes", "force_logical"])
def test_shards_move_under_load(shared, mode):
    first, second = shared.tenants_on(1, 2)
    with Load(shared, (COORDINATOR, 1, 2)):
        moved(shared, first, 2, mode)
        moved(shared, first, 1, mode)
        if shared.shard_of(second)[1] == 1:
            moved(shared, second, 2, mode)
    check(shared, [load for load in LOADS if load.log is shared])


@pytest.mark.parametrize("mode", ["block_writes", "force_logical"])
def test_a_tenant_is_isolated_under_load(shared, mode):
    tenant = TENANTS[3 if mode == "block_writes" else 7]
    with Load(shared):
        shared.conn.execute("SELECT isolate_tenant_to_new_shard('immutable.events', %s::text, 'CASCADE', shard_transfer_mode => %s)", [tenant, mode])
    check(shared, [load for load in LOADS if load.log is shared])
    # Its shard has no other tenant.
    name, node = shared.shard_of(tenant)
    with shared.on_node(node) as conn:
        assert conn.execute(f"SELECT DISTINCT tenant_id FROM {name}").fetchall() in ([(tenant,)], [])


@pytest.mark.parametrize("mode", ["block_writes", "force_logical"])
def test_a_shard_is_split_under_load(shared, mode):
    number = shared.shard_of(TENANTS[5])[0].rsplit("_")[-1]
    low, high = shared.conn.execute("SELECT shardminvalue::bigint, shardmaxvalue::bigint FROM pg_dist_shard WHERE shardid = %s", [number]).fetchone()
    nodes = shared.conn.execute("SELECT array_agg(nodeid ORDER BY nodeid) FROM pg_dist_node WHERE groupid <> 0").fetchone()[0][:2]
    with Load(shared):
        shared.conn.execute("SELECT citus_split_shard_by_split_points(%s, %s, %s, %s)",
                            [int(number), [str((low + high) // 2)], nodes, mode])
    check(shared, [load for load in LOADS if load.log is shared])


def test_a_node_comes_and_goes_under_load(log):
    with Load(log) as load:
        log.add(SPARE)
        log.conn.execute("SELECT immutable.distribute()")
        log.conn.execute("SELECT rebalance_table_shards('immutable.events', shard_transfer_mode => 'block_writes')")
        assert SPARE in log.shards().values()
        for action in ("drain", "add"):
            if action == "drain":
                log.conn.execute("SELECT citus_drain_node(%s, %s, shard_transfer_mode => 'block_writes')", log.address(2))
                log.conn.execute("SELECT citus_remove_node(%s, %s)", log.address(2))
                assert 2 not in log.shards().values()
            else:
                log.add(2)
                log.conn.execute("SELECT immutable.distribute()")
                moved(log, log.tenants_on(SPARE)[0], 2, "block_writes")
    check(log, [load])
    with log.on_node(2) as conn:
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t1', 'a', 'b')")


def test_a_node_without_the_identity_begins_no_lane(nodes):
    log = Distributed(nodes)
    try:
        log.add(SPARE)
        tenant, = log.tenants_on(1)
        # Not even a shard gets there, unless somebody copies the small tables by hand.
        with pytest.raises(psycopg.errors.InternalError_, match="missing reference tables"):
            moved(log, tenant, SPARE, "block_writes")
        log.conn.execute("SELECT replicate_reference_tables('block_writes')")
        moved(log, tenant, SPARE, "block_writes")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="does not have the log's identity") as refused:
            log.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
        assert "distribute()" in refused.value.diag.message_hint
        with log.on_node(SPARE) as conn:
            assert conn.execute("SELECT count(*) FROM immutable.log").fetchone() == (0,)
        log.conn.execute("SELECT immutable.distribute()")
        log.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
        assert log.conn.execute("SELECT DISTINCT l.log_id = e.log_id FROM immutable.events e, immutable.log l").fetchall() == [(True,)]
    finally:
        log.close()


def test_old_shards_are_removed_by_citus(shared):
    """The cleanup is Citus' own, and goes on beside the guard."""
    shared.conn.execute("CALL citus_cleanup_orphaned_resources()")
    assert shared.conn.execute("SELECT count(*) FROM pg_dist_cleanup").fetchone() == (0,)
    for node in WORKERS:
        with shared.on_node(node) as conn:
            conn.execute("SET citus.override_table_visibility = off")
            tables = {name for name, in conn.execute("SELECT 'immutable.' || relname FROM pg_class WHERE relname ~ '^events_[0-9]+$' AND relkind = 'r'")}
        assert tables == {name for name, where in shared.shards().items() if where == node}
