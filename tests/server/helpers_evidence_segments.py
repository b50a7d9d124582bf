"""Segments and prunings made by hand, for states of a log that immutable.seal() and immutable.prune() come to only now and then:
one lane in several segments and in the hot table, with holes in each."""

from psycopg.types.json import Jsonb

import helpers_log as h

def put(conn, number, where):
    """Moves the events for which `where` is true from the hot table to segment `number`, except for the last of each lane."""
    h.unguard(conn)
    with h.behind_triggers(conn), conn.transaction():
        for table in ("events", "event_targets"):
            conn.execute("SET LOCAL client_min_messages = warning")
            conn.execute(f"CREATE TABLE immutable.{table}_{number} (LIKE immutable.{table} INCLUDING INDEXES INCLUDING DEFAULTS) "
                         f"INHERITS (immutable.{table})")
            conn.execute(f"ALTER TABLE immutable.{table}_{number} ENABLE ROW LEVEL SECURITY")
        conn.execute(
            f"WITH m AS (DELETE FROM ONLY immutable.events e WHERE ({where}) AND EXISTS (SELECT FROM ONLY immutable.events n "
            "WHERE n.tenant_id = e.tenant_id AND n.lane = e.lane AND n.seq > e.seq) RETURNING *) "
            f"INSERT INTO immutable.events_{number} SELECT * FROM m")
        conn.execute(
            f"WITH m AS (DELETE FROM ONLY immutable.event_targets t USING immutable.events_{number} e "
            f"WHERE t.tenant_id = e.tenant_id AND t.event_id = e.id RETURNING t.*) "
            f"INSERT INTO immutable.event_targets_{number} SELECT * FROM m")
        conn.execute(
            "INSERT INTO immutable.segments (segment, state, created_from, created_to, events, first_xact, last_xact, prepared_at, sealed_at) "
            "SELECT %s, 'sealed', coalesce(min(created_at), now()), coalesce(max(created_at), now()), count(*), "
            "min(xact::text::numeric)::text::xid8, max(xact::text::numeric)::text::xid8, now(), now() "
            f"FROM immutable.events_{number}", [number])


def prune(conn, tenant, last):
    """Removes the events of lane 0 up to `last`, and records that as the log does. Nothing here asks the log for the hash."""
    log = h.Log(conn)
    event_hash = log.hash(tenant, 0, last)
    size = conn.execute("SELECT size FROM immutable.tree").fetchone()[0]
    lane = {"type": "x.lane", "id": "0", "metadata": {"event_hash": event_hash, "seq": last}}
    seq, = conn.execute(
        "INSERT INTO immutable.events (tenant_id, actor_id, action, targets, metadata) VALUES (%s, 'immutable', 'x.pruned', %s, %s) RETURNING seq",
        (tenant, Jsonb([lane]), Jsonb({"events": last, "before": "2026-01-01T00:00:00Z", "checkpoint_size": size}))).fetchone()
    h.update(conn, (tenant, 0, seq), action="immutable.pruned", targets=[{**lane, "type": "immutable.lane"}])
    row = h.forge(h.Log(conn)[tenant, 0, seq])
    h.update(conn, (tenant, 0, seq), event_hash=h.bytea(h.plain(row["event_hash"])))
    with h.behind_triggers(conn):
        conn.execute("DELETE FROM immutable.event_targets t USING immutable.events e WHERE e.tenant_id = t.tenant_id AND e.id = t.event_id "
                     "AND e.tenant_id = %s AND e.lane = 0 AND e.seq <= %s", [tenant, last])
        conn.execute("DELETE FROM immutable.events WHERE tenant_id = %s AND lane = 0 AND seq <= %s", [tenant, last])
