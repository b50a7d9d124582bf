-- The segments: tables below immutable.events and immutable.event_targets that hold older events. Segment 7 is the
-- tables events_7 and event_targets_7, which inherit from them. docs/segments.md is the guide.

CREATE TABLE immutable.segments (
  segment integer PRIMARY KEY,
  state text COLLATE "C" NOT NULL CHECK (state IN ('prepared', 'sealed', 'emptied')),
  created_from timestamptz NOT NULL,
  created_to timestamptz NOT NULL,
  events bigint NOT NULL DEFAULT 0,
  targets bigint NOT NULL DEFAULT 0,
  held bigint NOT NULL DEFAULT 0,
  left_behind bigint NOT NULL DEFAULT 0,
  unreadable bigint NOT NULL DEFAULT 0,
  first_xact xid8,
  last_xact xid8,
  replaces integer[] NOT NULL DEFAULT '{}',
  prepared_at timestamptz NOT NULL,
  waits_for text[],
  sealed_at timestamptz,
  emptied_by xid8
);
COMMENT ON TABLE immutable.segments IS
  'The segments of the log: what immutable.seal() has moved out of immutable.events itself. No dump contains this '
  'table, because a dump has all events as one table.';
COMMENT ON COLUMN immutable.segments.segment IS
  'The segment''s number: its tables are immutable.events_<number> and immutable.event_targets_<number>';
COMMENT ON COLUMN immutable.segments.state IS
  'prepared: its tables are there and empty. sealed: it holds the events of its time. emptied: its events have moved to '
  'another segment or are pruned, and its tables are dropped once no snapshot can need them';
COMMENT ON COLUMN immutable.segments.created_from IS 'Its events have this created_at or a later one';
COMMENT ON COLUMN immutable.segments.created_to IS
  'Its events have an earlier created_at. The times of sealed segments never overlap. Where retention has removed '
  'segments, times of no segment may lie between them and before them, of which immutable.events itself may hold events';
COMMENT ON COLUMN immutable.segments.events IS 'How many events it holds';
COMMENT ON COLUMN immutable.segments.targets IS 'How many targets of events it holds';
COMMENT ON COLUMN immutable.segments.held IS
  'How many events came into it. Where more than a third of them are pruned, the rest is written into a new segment';
COMMENT ON COLUMN immutable.segments.left_behind IS
  'How many events of its time stayed in immutable.events itself, because each was the last of its lane';
COMMENT ON COLUMN immutable.segments.unreadable IS
  'How many events of its time stayed in immutable.events itself because their stored bytes are damaged; 1 if one of its '
  'own is, and it is not merged';
COMMENT ON COLUMN immutable.segments.first_xact IS 'The least xact of its events';
COMMENT ON COLUMN immutable.segments.last_xact IS 'The greatest xact of its events';
COMMENT ON COLUMN immutable.segments.replaces IS
  'The segments whose events it takes; empty for one that takes them from immutable.events itself';
COMMENT ON COLUMN immutable.segments.prepared_at IS 'When its tables were made';
COMMENT ON COLUMN immutable.segments.waits_for IS
  'The transactions that may not know of its tables, by their virtualtransaction and pid in pg_locks: those that had locked '
  'immutable.events or immutable.event_targets once the tables were there. Its events come when they have ended';
COMMENT ON COLUMN immutable.segments.sealed_at IS 'When its events came';
COMMENT ON COLUMN immutable.segments.emptied_by IS
  'The transaction that took its events away. Snapshots that do not see this transaction may still need them';
ALTER TABLE immutable.segments ENABLE ROW LEVEL SECURITY;

-- A number is never given twice: a snapshot may still see the segment that had it.
CREATE SEQUENCE immutable.segment_number AS integer;
COMMENT ON SEQUENCE immutable.segment_number IS 'The numbers of segments';
