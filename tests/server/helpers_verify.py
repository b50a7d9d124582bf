"""Segments and prunings as verification meets them, made by hand: a superuser moves rows, removes them and writes the record.
"""

import helpers_log as h
from helpers_log import Log

RECORD = """
    CREATE FUNCTION public.record_pruning(tenant_id text, lanes jsonb) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        INSERT INTO immutable.events (tenant_id, actor_id, action, targets, metadata)
        VALUES (record_pruning.tenant_id, 'keeper', 'immutable.pruned', lanes, '{"events": 1}');
    END"""


def make_segment(db, number, first, last):
    """A segment of this time, without events. None: no bound."""
    db.unguard()
    first, last = first or "-infinity", last or "infinity"
    for table, keys in (("events", "UNIQUE (id, tenant_id), UNIQUE (tenant_id, lane, seq)"),
                        ("event_targets", "UNIQUE (tenant_id, event_id, position)")):
        db.conn.execute(f"CREATE TABLE immutable.{table}_{number} ({keys}, CHECK (created_at >= '{first}' AND "
                        f"created_at < '{last}')) INHERITS (immutable.{table})")
        db.conn.execute(f"ALTER TABLE immutable.{table}_{number} ENABLE ROW LEVEL SECURITY")
    with h.behind_triggers(db.conn):
        db.conn.execute(
            "INSERT INTO immutable.segments (segment, state, created_from, created_to, prepared_at, sealed_at) "
            f"VALUES ({number}, 'sealed', '{first}', '{last}', now(), now())")


def fill_segment(db, number):
    """Moves the events of its time, but for the last of each lane."""
    bounds = db.conn.execute("SELECT created_from::text, created_to::text FROM immutable.segments WHERE segment = %s",
                             [number]).fetchone()
    with h.behind_triggers(db.conn):
        db.conn.execute(
            f"""WITH moved AS (
                    DELETE FROM ONLY immutable.events e WHERE created_at >= %s AND created_at < %s AND EXISTS (
                        SELECT FROM ONLY immutable.events n
                        WHERE (n.tenant_id, n.lane, n.seq) = (e.tenant_id, e.lane, e.seq + 1)) RETURNING *),
                targets AS (
                    DELETE FROM ONLY immutable.event_targets t USING moved m
                    WHERE t.tenant_id = m.tenant_id AND t.event_id = m.id RETURNING t.*),
                filled AS (INSERT INTO immutable.event_targets_{number} SELECT * FROM targets)
                INSERT INTO immutable.events_{number} SELECT * FROM moved ORDER BY tenant_id, lane, seq""", bounds)


def segment_log(db, *cuts):
    """Moves all events but for the last of each lane into segments that end at these events."""
    times = [Log(db.conn)[cut]["created_at"] for cut in cuts]
    for number, (first, last) in enumerate(zip([None, *times], times), 1):
        make_segment(db, number, first, last)
        fill_segment(db, number)


def record_pruning(db, tenant_id, *lanes):
    """The record of a pruning, as the log's own writer makes it. `lanes`: (lane, seq, hash)."""
    db.conn.execute("DROP FUNCTION IF EXISTS public.record_pruning")
    db.conn.execute(RECORD)
    db.conn.execute("SELECT public.record_pruning(%s, %s)", [tenant_id, h.Jsonb([
        {"type": "immutable.lane", "id": str(lane), "metadata": {"event_hash": hash_, "seq": seq}}
        for lane, seq, hash_ in lanes])])


def prune(db, tenant_id, *ends, keep=()):
    """Records that the events of these lanes up to these seqs are pruned, and removes them, but for those to keep."""
    log = Log(db.conn)
    record_pruning(db, tenant_id, *((lane, seq, log.hash(tenant_id, lane, seq)) for lane, seq in ends))
    h.delete(db.conn, *((tenant_id, lane, number) for lane, seq in ends for number in range(1, seq + 1)
                        if (tenant_id, lane, number) not in keep))
    return log
