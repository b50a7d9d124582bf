-- Moving older events into segments.

CREATE PROCEDURE immutable.seal(before timestamptz DEFAULT NULL, INOUT did jsonb DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_seal';
COMMENT ON PROCEDURE immutable.seal(timestamptz, jsonb) IS
'Moves older events into segments, and merges and drops segments.
Each segment takes two transactions of the procedure''s own, and between them a wait for the transactions that
were open, which is bounded by lock_timeout, or 10 seconds. The last event of each lane stays. Ending the call at
any place loses nothing; the next call goes on.
- before: events with an earlier created_at are moved; NULL moves all but the newest immutable.hot_events.
- did: pass NULL; returns what was done, as a JSON object.
Raises 25001 in a transaction block and above READ COMMITTED, 25006 on a standby and in a read-only transaction,
55P03 if an old transaction does not end in time, 55000 if a trigger, a rule, a foreign key or a publication
of somebody else''s would see the moves, and 0A000 where the log is distributed.';
