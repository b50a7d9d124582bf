"""changes() of a distributed log: a tenant's feed, while its shard moves and while many write."""

import json
import threading

import psycopg
import pytest
from helpers_reading import call, viewer
from nodes import COORDINATOR


def feed(conn, tenant, limit, after=None):
    """All events after a position, and the position behind them."""
    events = []
    while True:
        answer = call(conn, "changes", {"tenant_id": tenant, "after": None if after is None else json.dumps(after), "limit": limit}).fetchone()[0]
        events += answer["data"]
        after = answer["position"]
        if not answer["has_more"]:
            return events, after


def record(conn, tenant, events, actor="a"):
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT %s, %s, 'x' FROM generate_series(1, %s)",
                 [tenant, actor, events])


def test_each_event_once(shared, entry):
    auditor = shared.connect(shared.create_role(groups=["immutable_auditor"]), entry)
    for tenant in (f"feed{entry}", "feed,\"'\\", shared.tenants_on(1)[0], shared.tenants_on(2)[0]):
        after, seen = None, []
        for number in range(3):
            record(shared.conn, tenant, 10)
            events, after = feed(auditor, tenant, 4, after)
            seen += [event["id"] for event in events]
        assert len(seen) == len(set(seen)) == shared.conn.execute(
            "SELECT count(*) FROM immutable.events WHERE tenant_id = %s AND actor_id = 'a'", [tenant]).fetchone()[0]
        assert feed(auditor, tenant, 100, after) == ([], after)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="limit must be"):
        call(auditor, "changes", {"tenant_id": "t1", "limit": 0})
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="not a position"):
        call(auditor, "changes", {"tenant_id": "t1", "after": '{"lane": 1}'})
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="the log was set back"):
        call(auditor, "changes", {"tenant_id": "t1", "after": '{"0": "100000:0011223344556677"}'})


def test_all_tenants_are_refused(shared, entry):
    """Transactions of different nodes have no common order."""
    auditor = shared.connect(shared.create_role(groups=["immutable_auditor"]), entry)
    for conn in (auditor, viewer(shared, entry, "acme")):
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="changes over all tenants") as refused:
            call(conn, "changes", {})
        assert refused.value.diag.message_hint == "Call immutable.changes() for each tenant."


def test_a_position_of_another_actor_is_no_position(shared, entry):
    """A viewer of an actor learns nothing of other events by guessing positions."""
    tenant = f"guessed{entry}"
    for actor in ("one", "two", "one"):
        record(shared.conn, tenant, 1, actor)
    conn = viewer(shared, entry, tenant, "one")
    events, position = feed(conn, tenant, 1)
    assert [event["actor"]["id"] for event in events] == ["one", "one"] and feed(conn, tenant, 1, position) == ([], position)
    for guess in ('{"0": 2}', '{"0": 4}', '{"0": "2:0000000000000000"}'):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="the log was set back"):
            call(conn, "changes", {"tenant_id": tenant, "after": guess})
    assert call(conn, "changes", {"tenant_id": tenant, "after": '{"0": 1}'}).fetchone()[0]["data"] == events[1:]
    other = viewer(shared, entry, "another")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="the log was set back"):
        call(other, "changes", {"tenant_id": tenant, "after": '{"0": 1}'})
    assert call(other, "changes", {"tenant_id": tenant, "after": '{"0": 0}'}).fetchone()[0]["data"] == []


def move(log, tenant, to, mode):
    log.conn.execute("SELECT set_config('citus.local_hostname', %s, false)", [log.nodes[COORDINATOR].host])
    shard, node = log.shard_of(tenant)
    log.conn.execute("SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, shard_transfer_mode => %s)",
                     [int(shard.rsplit("_", 1)[1]), *log.address(node), *log.address(to), mode])
    assert log.shard_of(tenant)[1] == to


@pytest.mark.timeout(120)
def test_positions_outlast_moves_of_the_shard(log):
    """Four writers and a reader on each node go on while the shard moves twice. A position is one of lanes, not of a node, so
    that each event comes once, and those of a lane in the order of seq."""
    tenant = log.tenants_on(1)[0]
    stop, failed, counts = threading.Event(), [], [0] * 4

    def write(number):
        try:
            conn = log.connect(node=number % 2)
            while not stop.is_set():
                record(conn, tenant, 2)
                counts[number] += 2
        except Exception as error:
            failed.append(error)

    def read(node, seen):
        try:
            conn, after, is_last = log.connect(node=node), None, False
            while not is_last:
                is_last = stop.is_set() and not any(thread.is_alive() for thread in writers)
                events, after = feed(conn, tenant, 7, after)
                seen += [(event["integrity"]["lane"], event["integrity"]["seq"]) for event in events]
        except Exception as error:
            failed.append(error)

    log.conn.execute(f"SELECT run_command_on_all_nodes($$ALTER DATABASE {log.name} SET citus.defer_drop_after_shard_move = on$$)")
    writers = [threading.Thread(target=write, args=[number]) for number in range(4)]
    seen = [[], []]
    readers = [threading.Thread(target=read, args=[node, seen[node]]) for node in (0, 1)]
    for thread in writers + readers:
        thread.start()
    try:
        move(log, tenant, 2, "block_writes")
        move(log, tenant, 1, "force_logical")
    finally:
        stop.set()
        for thread in writers + readers:
            thread.join()
    assert not failed, failed
    events = log.conn.execute("SELECT lane, seq FROM immutable.events WHERE tenant_id = %s", [tenant]).fetchall()
    assert len(events) == sum(counts) > 8
    for of_reader in seen:
        assert sorted(of_reader) == sorted(events)
        for lane in {lane for lane, _ in events}:
            of_lane = [seq for at, seq in of_reader if at == lane]
            assert of_lane == sorted(of_lane)
