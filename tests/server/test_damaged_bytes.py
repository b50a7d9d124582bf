"""Bytes of stored values that somebody changed in the data file, of events of many shapes. What PostgreSQL would print
differently from what was recorded is a break; nothing crashes the server; and nothing keeps the other events from being
verified, exported, shown or erased.

IMMUTABLE_DAMAGES=100000 changes as many values as that; IMMUTABLE_SEED makes a run again."""

import json
import os
import random

import pytest

import helpers_log as h
from helpers_damage import Damages

DAMAGES = int(os.environ.get("IMMUTABLE_DAMAGES", "3000"))
ROUND = 2000
SEED = int(os.environ.get("IMMUTABLE_SEED", random.randrange(10 ** 9)))


def one(conn, statement, *values):
    return conn.execute(statement, values or None).fetchone()[0]


def check_round(log):
    conn = log.conn
    damaged = {str(id): column for id, column in conn.execute("SELECT id, col FROM damages")}
    breaks = h.verify_breaks(conn)
    broken = {found.event_id for found in breaks if found.type == "hash_mismatch"}

    # Whatever verification does not find reads as it was: asked last, as PostgreSQL's own functions may crash on the rest.
    assert broken <= set(damaged)
    unfound = [id for id in damaged if id not in broken]
    changed = conn.execute(
        "SELECT e.id FROM immutable.events e JOIN tenants t USING (tenant_id, id) "
        "WHERE e.id = ANY (%s::uuid[]) AND md5(e::text) <> t.before", [unfound]).fetchall()
    assert not changed, log.describe(changed[0][0])
    gone = one(conn, "SELECT count(*) FROM tenants t WHERE id = ANY (%s::uuid[]) AND NOT EXISTS ("
               "SELECT FROM immutable.events e WHERE e.tenant_id = t.tenant_id AND e.id = t.id)", unfound)
    assert gone == 0

    # Those beside them are whole, but for links to what was changed and what was recorded of what cannot be read.
    others = {str(other): damaged[str(id)] for other, id in conn.execute("SELECT other, id FROM tenants")}
    for found in breaks:
        if found.event_id in others:
            assert others[found.event_id] in ("event_hash", "tenant_id"), found

    events = one(conn, "SELECT count(*) FROM immutable.events")
    whole = h.verify_chain(conn)
    assert whole["breaks_found"] == len(breaks) and whole["events_checked"] == events
    with h.in_parallel(conn):
        assert h.verify_breaks(conn) == breaks
    in_order = h.verify_breaks(conn, max_events=10 ** 6)
    assert sorted(in_order, key=h._order) == sorted(breaks, key=h._order)
    # Targets whose tenant is another now are strays, which only a whole run sees.
    placed = [found for found in breaks if found.lane is not None]
    assert sorted(h.verify_breaks(conn, since=[]), key=h._order) == sorted(placed, key=h._order)
    assert one(conn, "SELECT count(*) FROM immutable.export_events()") == events + 2
    check_readers(log, damaged, broken)


def check_readers(log, damaged, broken):
    """Pages, feeds and erasures of every tenant."""
    conn = log.conn
    for function in ("get_events(tenant_id => t.tenant_id)", "get_events(tenant_id => t.tenant_id, \"order\" => 'asc')",
                     "changes(t.tenant_id)"):
        for id, other, answer in conn.execute(f"SELECT id, other, immutable.{function} FROM tenants t").fetchall():
            shown = {event["id"]: event for event in answer["data"]}
            assert str(other) in shown, log.describe(id)
            if damaged[str(id)] != "tenant_id":
                assert str(id) in shown, log.describe(id)
                unreadable = shown[str(id)].get("unreadable", [])
                assert set(unreadable) <= {damaged[str(id)]}
                assert not unreadable or str(id) in broken
    position = None
    seen = 0
    while (answer := one(conn, "SELECT immutable.changes(after => %s::jsonb, \"limit\" => 10000)", position))["data"]:
        seen += len(answer["data"])
        position = json.dumps(answer["position"])
    assert seen == one(conn, "SELECT count(*) FROM immutable.events")
    assert one(conn, "SELECT count(immutable.get_event(id)) FROM tenants") == len(damaged)
    assert one(conn, "SELECT count(*) FROM tenants t, immutable.erase_subject(t.tenant_id, 'nobody', 'request')") == 0
    conn.execute("SELECT count(*) FROM tenants t, immutable.erase_subject(t.tenant_id, 'other', 'request', dry_run => true)")
    for part in log.parts():
        # Every other event has its actor erased, and so may its damaged neighbour.
        conn.execute(f"SELECT immutable.erase_subject(t.tenant_id, 'other', 'request') FROM tenants t WHERE {part}")
    left = {str(id) for id, in conn.execute("SELECT t.id FROM tenants t JOIN immutable.events e ON e.id = t.other "
                                            "AND e.tenant_id = t.tenant_id WHERE e.erased IS NULL")}
    assert not left, log.describe(min(left))


@pytest.mark.timeout(120 + DAMAGES // 10)
def test_any_change_of_a_stored_value(db):
    print("seed", SEED)
    log = Damages(db, SEED)
    for first in range(0, DAMAGES, ROUND):
        log.fill(min(ROUND, DAMAGES - first))
        h.check_breaks(log.conn)
        log.damage()
        check_round(log)
