-- Verification, with the caller's rights: it sees what the caller may read.

CREATE FUNCTION immutable.heads(tenant_id text DEFAULT NULL)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_hash bytea)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
  -- One step of the index a lane, however long the lanes are.
  WITH RECURSIVE lanes AS (
    (SELECT e.tenant_id, e.lane FROM immutable.events e
     WHERE heads.tenant_id IS NULL OR e.tenant_id = heads.tenant_id ORDER BY e.tenant_id, e.lane LIMIT 1)
    UNION ALL
    SELECT n.tenant_id, n.lane FROM lanes l CROSS JOIN LATERAL (
      SELECT e.tenant_id, e.lane FROM immutable.events e
      WHERE (e.tenant_id, e.lane) > (l.tenant_id, l.lane)
        AND (heads.tenant_id IS NULL OR e.tenant_id = heads.tenant_id)
      ORDER BY e.tenant_id, e.lane LIMIT 1) n)
  SELECT l.tenant_id, l.lane, h.seq, h.event_hash FROM lanes l CROSS JOIN LATERAL (
    SELECT e.seq, e.event_hash FROM immutable.events e
    WHERE e.tenant_id = l.tenant_id AND e.lane = l.lane ORDER BY e.seq DESC LIMIT 1) h;
END;
COMMENT ON FUNCTION immutable.heads(text) IS
  'The last event of every lane, of one tenant or of all. Saved elsewhere, as SELECT jsonb_agg(h) FROM immutable.heads() h, it shows later, through verify_chain(heads => ...), whether the end of a lane was cut off';

CREATE FUNCTION immutable.verify_chain(
  tenant_id text DEFAULT NULL, from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL,
  max_events bigint DEFAULT NULL, heads jsonb DEFAULT NULL,
  OUT valid boolean, OUT events_checked bigint, OUT chains_checked bigint, OUT events_erased bigint, OUT breaks jsonb,
  OUT breaks_found bigint, OUT tenants_checked bigint, OUT complete boolean, OUT log_id uuid)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000000 ROWS 1
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify_chain';
COMMENT ON FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb) IS
  'Recomputes every event''s hash and checks every link, the event targets and the erasures: of one tenant or all, of a range of created_at (inclusive, each lane linked to the stored event before it), of the first max_events in the order of tenant, lane and seq, and against saved heads. One row: valid, events_checked, chains_checked (lanes), events_erased, breaks (the first 1,000 as JSON), breaks_found (their exact number), tenants_checked, complete (whether neither range nor max_events left events out), log_id. Raises 22023 for malformed heads or max_events below 1';

CREATE FUNCTION immutable.verify_breaks(
  tenant_id text DEFAULT NULL, from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL,
  max_events bigint DEFAULT NULL, heads jsonb DEFAULT NULL)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_id uuid, type text, expected_hash bytea,
               actual_hash bytea, detail text)
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000000 ROWS 10
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify_breaks';
COMMENT ON FUNCTION immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb) IS
  'The breaks that immutable.verify_chain() finds, one row each: type is hash_mismatch, chain_break, missing_event, target_mismatch or erasure_mismatch. Raises 22023 for malformed heads or max_events below 1';

CREATE FUNCTION immutable.verify(
  from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL, "limit" integer DEFAULT 10000)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED COST 100000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify';
COMMENT ON FUNCTION immutable.verify(timestamptz, timestamptz, integer) IS
  'The service''s call: verifies the first limit events of a range of created_at, in the order of tenant, lane and seq. Returns {"data": {"valid", "events_checked", "breaks": [{"event_id", "type", "expected_hash", "actual_hash"}]}}. Raises 22023 for a limit below 1';
