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
  'The last event of every lane, of one tenant or of all. Saved elsewhere, as SELECT coalesce(jsonb_agg(h), ''[]'') FROM immutable.heads() h, it shows later, through verify_chain(heads => ...), whether the end of a lane was cut off';

-- For statements that give stored values to PostgreSQL's own functions, which expect that they are sound.

CREATE FUNCTION immutable.is_readable(value jsonb) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'immutable_is_readable_jsonb';
CREATE FUNCTION immutable.is_readable(value text) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'immutable_is_readable_text';
COMMENT ON FUNCTION immutable.is_readable(jsonb) IS
  'Whether a stored jsonb can be read: all of it is there, and its bytes are those that PostgreSQL writes. True for NULL. Raises nothing: it is asked before a value is given to functions that would raise an error, or crash the server';
COMMENT ON FUNCTION immutable.is_readable(text) IS
  'Whether a stored text can be read: all of it is there, and its bytes are UTF-8 without a NUL. True for NULL. Raises nothing: it is asked before a value is given to functions that would raise an error';

-- The parts of verification that run in every process of a parallel plan. Their arguments and results are
-- verify_chain()'s own.

CREATE FUNCTION immutable.verify_event(
  run bytea, stray boolean,
  id uuid, tenant_id text, actor_id text, actor_name text, actor_type text, action text, action_category text,
  resource_type text, resource_id text, resource_name text, targets jsonb, metadata jsonb, session_id text,
  idempotency_key text, ip_address inet, ip_country text, ip_city text, user_agent text, version integer,
  occurred_at timestamptz, created_at timestamptz, lane smallint, seq bigint, previous_event_hash bytea,
  event_hash bytea, salt bytea, erased jsonb, recorded_by text, log_id uuid)
RETURNS bytea LANGUAGE c STABLE PARALLEL SAFE COST 2000 AS 'MODULE_PATHNAME', 'immutable_verify_event';
COMMENT ON FUNCTION immutable.verify_event(bytea, boolean, uuid, text, text, text, text, text, text, text, text, text, jsonb, jsonb, text, text, inet, text, text, text, integer, timestamptz, timestamptz, smallint, bigint, bytea, bytea, bytea, jsonb, text, uuid) IS
  'A part of immutable.verify_chain(): recomputes the hash of one event, given by its columns, and returns what the sum of its lane has to know of it. Raises 22023 for a run that verify_chain() did not make';

CREATE FUNCTION immutable.verify_lane_add(internal, bytea, bytea) RETURNS internal
LANGUAGE c STABLE PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'immutable_lane_add';
CREATE FUNCTION immutable.verify_lane_merge(internal, internal) RETURNS internal
LANGUAGE c STABLE PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'immutable_lane_merge';
CREATE FUNCTION immutable.verify_lane_out(internal) RETURNS bytea
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'immutable_lane_out';
CREATE FUNCTION immutable.verify_lane_in(bytea, internal) RETURNS internal
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'immutable_lane_in';
CREATE AGGREGATE immutable.verify_lane(run bytea, event bytea) (
  SFUNC = immutable.verify_lane_add, STYPE = internal, SSPACE = 256, FINALFUNC = immutable.verify_lane_out,
  COMBINEFUNC = immutable.verify_lane_merge, SERIALFUNC = immutable.verify_lane_out,
  DESERIALFUNC = immutable.verify_lane_in, PARALLEL = SAFE);
COMMENT ON FUNCTION immutable.verify_lane_add(internal, bytea, bytea) IS 'A part of the aggregate immutable.verify_lane()';
COMMENT ON FUNCTION immutable.verify_lane_merge(internal, internal) IS 'A part of the aggregate immutable.verify_lane()';
COMMENT ON FUNCTION immutable.verify_lane_out(internal) IS 'A part of the aggregate immutable.verify_lane()';
COMMENT ON FUNCTION immutable.verify_lane_in(bytea, internal) IS 'A part of the aggregate immutable.verify_lane()';
COMMENT ON AGGREGATE immutable.verify_lane(bytea, bytea) IS
  'A part of immutable.verify_chain(): adds up the links of a lane from what verify_event() returned for its events, in any order and any number of parts. Raises 22023 for arguments that verify_chain() did not make';

CREATE FUNCTION immutable.verify_targets_add(internal, bytea, boolean, text, uuid, smallint, text, text, text, jsonb, timestamptz)
RETURNS internal LANGUAGE c STABLE PARALLEL SAFE COST 500 AS 'MODULE_PATHNAME', 'immutable_targets_add';
CREATE FUNCTION immutable.verify_targets_merge(internal, internal) RETURNS internal
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_targets_merge';
CREATE FUNCTION immutable.verify_targets_out(internal) RETURNS bytea
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_targets_out';
CREATE FUNCTION immutable.verify_targets_in(bytea, internal) RETURNS internal
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_targets_in';
CREATE AGGREGATE immutable.verify_targets(
  run bytea, stray boolean, tenant_id text, event_id uuid, "position" smallint, target_type text, target_id text,
  target_name text, target_metadata jsonb, created_at timestamptz) (
  SFUNC = immutable.verify_targets_add, STYPE = internal, SSPACE = 64, FINALFUNC = immutable.verify_targets_out,
  COMBINEFUNC = immutable.verify_targets_merge, SERIALFUNC = immutable.verify_targets_out,
  DESERIALFUNC = immutable.verify_targets_in, PARALLEL = SAFE);
COMMENT ON FUNCTION immutable.verify_targets_add(internal, bytea, boolean, text, uuid, smallint, text, text, text, jsonb, timestamptz) IS
  'A part of the aggregate immutable.verify_targets()';
COMMENT ON FUNCTION immutable.verify_targets_merge(internal, internal) IS 'A part of the aggregate immutable.verify_targets()';
COMMENT ON FUNCTION immutable.verify_targets_out(internal) IS 'A part of the aggregate immutable.verify_targets()';
COMMENT ON FUNCTION immutable.verify_targets_in(bytea, internal) IS 'A part of the aggregate immutable.verify_targets()';
COMMENT ON AGGREGATE immutable.verify_targets(bytea, boolean, text, uuid, smallint, text, text, text, jsonb, timestamptz) IS
  'A part of immutable.verify_chain(): adds up the rows of event_targets. Raises 22023 for a run that verify_chain() did not make';

CREATE FUNCTION immutable.verify_chain(
  tenant_id text DEFAULT NULL, from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL,
  max_events bigint DEFAULT NULL, heads jsonb DEFAULT NULL, since jsonb DEFAULT NULL, targets boolean DEFAULT true,
  max_breaks integer DEFAULT 1000, progress boolean DEFAULT false,
  OUT valid boolean, OUT events_checked bigint, OUT chains_checked bigint, OUT events_erased bigint, OUT breaks jsonb,
  OUT breaks_found bigint, OUT tenants_checked bigint, OUT complete boolean, OUT log_id uuid,
  OUT events_total bigint, OUT heads_checked bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 1
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify_chain';
COMMENT ON FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean) IS
  'Recomputes every event''s hash and checks every link, the event targets and the erasures: of one tenant or all, of a range of created_at (inclusive, each lane linked to the stored event before it), of the first max_events in the order of tenant, lane and seq, against saved heads, and only what was added since the marks of an earlier run (heads that it saw: the marked events themselves are checked, those before them are not looked at). targets => false leaves event_targets out; progress => true gives a NOTICE at most every few seconds. Runs in parallel as the settings of the session allow, unless max_events or since is given. One row: valid (whether no break was found in what was checked; NULL where nothing was checked, as for a tenant without events: test for IS TRUE), events_checked, chains_checked (lanes), events_erased, breaks (the first max_breaks as JSON, 1,000 unless given, at most 100,000), breaks_found (their exact number), tenants_checked, complete (whether all of the log, or of the tenant, was checked: false with a range, with since, with targets => false, and where max_events left events out), log_id, events_total (the events of the log, or of the tenant), heads_checked (the saved heads and marks that were compared: 0 if heads is NULL or empty, and then nothing shows an end that was cut off). Raises 22023 for malformed heads or marks, for since together with a range or max_events, for max_events below 1 and for another max_breaks';

CREATE FUNCTION immutable.verify_breaks(
  tenant_id text DEFAULT NULL, from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL,
  max_events bigint DEFAULT NULL, heads jsonb DEFAULT NULL, since jsonb DEFAULT NULL, targets boolean DEFAULT true,
  max_breaks bigint DEFAULT NULL, progress boolean DEFAULT false)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_id uuid, type text, expected_hash bytea,
               actual_hash bytea, detail text)
LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 10
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify_breaks';
COMMENT ON FUNCTION immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean) IS
  'The breaks that immutable.verify_chain() finds, one row each: type is hash_mismatch, chain_break, missing_event, target_mismatch or erasure_mismatch; the first max_breaks of them, all unless given. No row says that no break was found in what was checked; verify_chain() says how much that was. The other arguments are verify_chain()''s. Raises 22023 as it does';

CREATE FUNCTION immutable.verify(
  from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL, "limit" integer DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify';
COMMENT ON FUNCTION immutable.verify(timestamptz, timestamptz, integer) IS
  'The service''s call: verifies every event, those of a range of created_at (inclusive), or the first limit events in the order of tenant, lane and seq; it takes as long as that takes. Returns {"data": {"valid", "events_checked", "events_total", "complete", "breaks": [{"event_id", "type", "expected_hash", "actual_hash"}]}}: valid is of the events that were checked, and null if there were none; complete says whether those were all events of the log, of which there are events_total. Raises 22023 for a limit below 1';
