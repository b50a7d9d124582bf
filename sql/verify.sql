-- Verification. It runs with the caller's rights, and checks what the caller may read. Its statements spend their time in
-- C functions, so that to compile their expressions costs more than it gives, and the more the more segments there are.

CREATE FUNCTION immutable.heads(tenant_id text DEFAULT NULL)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_hash bytea)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_heads';
COMMENT ON FUNCTION immutable.heads(text) IS
'Returns the head of every lane: the number and hash of its last event.
Heads that are kept elsewhere show later, through verify_chain(heads => ...), whether the end of a
lane was cut off. SELECT coalesce(jsonb_agg(h), ''[]'') FROM immutable.heads() h gives them as that
argument takes them.
- tenant_id: the tenant; NULL for all lanes.
Of a distributed log it asks the shards, in the caller''s transaction.
Raises 28000 for a proof that is missing or refused, and 42501 for one without the scope verify.';

-- The parts of verification that run on the nodes of a distributed log. They show no more than the
-- caller may read, and functions of a node call them for a client of another one.

CREATE FUNCTION immutable.shard_heads(here bigint, tenant_id text, of_tenant text)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_hash bytea)
LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_shard_heads';
COMMENT ON FUNCTION immutable.shard_heads(bigint, text, text) IS
'Part of immutable.heads(): returns the heads of the shard that a tenant belongs to.
- here: ignored.
- tenant_id: the tenant that the shard is found by.
- of_tenant: the tenant whose heads are returned; NULL for all in the shard.
Raises 55000 if the shard is on another node.';

CREATE FUNCTION immutable.shard_verify(here bigint, tenant_id text, request jsonb)
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000
SET search_path = pg_catalog, pg_temp SET jit = off AS 'MODULE_PATHNAME', 'immutable_shard_verify';
COMMENT ON FUNCTION immutable.shard_verify(bigint, text, jsonb) IS
'Part of immutable.verify_chain(): verifies a tenant on the node of its shard.
- here: ignored.
- tenant_id: the tenant.
- request: what is to be verified, as verify_chain() writes it.
Returns what was counted and the breaks, as JSON.
Raises 22023 for a request that verify_chain() did not make, and 55000 if the shard is on another
node.';

CREATE FUNCTION immutable.verify_shards(request jsonb)
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000
SET search_path = pg_catalog, pg_temp SET jit = off AS 'MODULE_PATHNAME', 'immutable_verify_shards';
COMMENT ON FUNCTION immutable.verify_shards(jsonb) IS
'Part of immutable.verify_chain(): verifies shards that are on this node, one after the other.
- request: the shards and what is to be verified, as verify_chain() writes it.
Returns for each shard what was counted and the breaks, as JSON.
Raises 22023 for a request that verify_chain() did not make, and 55000 for tables that are no shards.';

-- The parts of verification that run in every process of a parallel plan. Only verify_chain() has a
-- use for their arguments and results.

CREATE FUNCTION immutable.verify_event(
  run bytea, stray boolean,
  id uuid, tenant_id text, actor_id text, actor_name text, actor_type text, action text, action_category text,
  resource_type text, resource_id text, resource_name text, targets jsonb, metadata jsonb, session_id text,
  idempotency_key text, ip_address inet, ip_country text, ip_city text, user_agent text, version integer,
  occurred_at timestamptz, created_at timestamptz, lane smallint, seq bigint, previous_event_hash bytea,
  event_hash bytea, salt bytea, erased jsonb, recorded_by text, log_id uuid)
RETURNS bytea LANGUAGE c STABLE PARALLEL SAFE COST 2000 AS 'MODULE_PATHNAME', 'immutable_verify_event';
COMMENT ON FUNCTION immutable.verify_event(bytea, boolean, uuid, text, text, text, text, text, text, text, text, text, jsonb, jsonb, text, text, inet, text, text, text, integer, timestamptz, timestamptz, smallint, bigint, bytea, bytea, bytea, jsonb, text, uuid) IS
'Part of immutable.verify_chain(): computes the hash of one event from its columns.
Returns what immutable.verify_lane() has to know of the event, as bytes.
Raises 22023 for a run that verify_chain() did not make.';

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
COMMENT ON FUNCTION immutable.verify_lane_add(internal, bytea, bytea) IS
'Part of the aggregate immutable.verify_lane(): adds one event.
Raises 22023 for arguments that verify_chain() did not make.';
COMMENT ON FUNCTION immutable.verify_lane_merge(internal, internal) IS
'Part of the aggregate immutable.verify_lane(): adds two states.
Raises no error of its own.';
COMMENT ON FUNCTION immutable.verify_lane_out(internal) IS
'Part of the aggregate immutable.verify_lane(): writes a state as bytes.
Raises no error of its own.';
COMMENT ON FUNCTION immutable.verify_lane_in(bytea, internal) IS
'Part of the aggregate immutable.verify_lane(): reads a state from bytes.
Raises no error of its own.';
COMMENT ON AGGREGATE immutable.verify_lane(bytea, bytea) IS
'Part of immutable.verify_chain(): adds up the links of a lane.
It takes what verify_event() returned for the lane''s events, in any order and in any number of
parts.
Raises 22023 for arguments that verify_chain() did not make.';

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
'Part of the aggregate immutable.verify_targets(): adds one row.
Raises 22023 for a run that verify_chain() did not make.';
COMMENT ON FUNCTION immutable.verify_targets_merge(internal, internal) IS
'Part of the aggregate immutable.verify_targets(): adds two states.
Raises no error of its own.';
COMMENT ON FUNCTION immutable.verify_targets_out(internal) IS
'Part of the aggregate immutable.verify_targets(): writes a state as bytes.
Raises no error of its own.';
COMMENT ON FUNCTION immutable.verify_targets_in(bytea, internal) IS
'Part of the aggregate immutable.verify_targets(): reads a state from bytes.
Raises no error of its own.';
COMMENT ON AGGREGATE immutable.verify_targets(bytea, boolean, text, uuid, smallint, text, text, text, jsonb, timestamptz) IS
'Part of immutable.verify_chain(): adds up the rows of event_targets.
Raises 22023 for a run that verify_chain() did not make.';

CREATE FUNCTION immutable.verify_chain(
  tenant_id text DEFAULT NULL, from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL,
  max_events bigint DEFAULT NULL, heads jsonb DEFAULT NULL, since jsonb DEFAULT NULL, targets boolean DEFAULT true,
  max_breaks integer DEFAULT 1000, progress boolean DEFAULT false, checkpoint text DEFAULT NULL,
  OUT valid boolean, OUT events_checked bigint, OUT chains_checked bigint, OUT events_erased bigint, OUT breaks jsonb,
  OUT breaks_found bigint, OUT tenants_checked bigint, OUT complete boolean, OUT log_id uuid,
  OUT events_total bigint, OUT heads_checked bigint, OUT anchored boolean, OUT checkpoint_size bigint,
  OUT cosigned_by text[], OUT cosigned_at timestamptz, OUT recorded_late bigint, OUT pruned bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 1
SET search_path = pg_catalog, pg_temp SET jit = off AS 'MODULE_PATHNAME', 'immutable_verify_chain';
COMMENT ON FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean, text) IS
'Verifies the log: computes every event''s hash again, and checks links, targets and erasures.
It sees what the caller may read. It runs in parallel as the session''s settings allow, unless
max_events or since is given. If all of a log is verified that has a tree, its events are compared
with the leaves of the tree, and the tree with a checkpoint.
Of a distributed log each node verifies its shards, and sees what is committed; with tenant_id the
node of the tenant''s shard verifies, and also sees what the caller''s transaction has recorded. Breaks
are also tenants outside of their shard, and shards that are missing or that the nodes do not agree on.
- tenant_id: one tenant alone; an empty text is for the events without a tenant.
- from_date, to_date: inclusive bounds of created_at. Each lane must follow the stored event before
  the range.
- max_events: only the first so many events, in the order of tenant, lane and seq.
- heads: heads as immutable.heads() returned them earlier, as a JSON array; each must still be in
  its place.
- since: heads that an earlier run saw. These events and those after them are checked, those before
  are not.
- targets: false leaves immutable.event_targets out.
- max_breaks: how many breaks are listed, from 0 to 100,000.
- progress: true sends a NOTICE every few seconds.
- checkpoint: signed checkpoints of this log that were kept elsewhere, one after the other, with
  any signature lines of witnesses. The log must still have the events that they cover, unchanged.
  NULL for the newest that the log keeps itself.
Returns one row:
- valid: whether no break was found in what was checked. NULL if nothing was checked, as for a
  tenant without events; so test it with IS TRUE.
- events_checked, chains_checked, events_erased, tenants_checked: how many events, lanes, events
  with erased values and tenants were checked.
- breaks, breaks_found: the breaks as a JSON array, and how many there are.
- complete: whether all of the log, or of the tenant, was checked: false with a range, with since,
  with targets => false, and if max_events left events out.
- log_id: the log''s identity.
- events_total: how many events the log, or the tenant, has.
- heads_checked: how many heads were compared.
- anchored: whether valid is true and heads or checkpoints that the caller gave were compared. If it
  is false, nothing shows that the log was not cut off or rewritten as a whole.
- checkpoint_size: how many events the checkpoint covers that was compared. Of those that the log
  keeps, it is the newest that a witness cosigned, if there is one. NULL if none was compared.
- cosigned_by, cosigned_at: the witnesses that cosigned it, and when the last of them did. The log''s
  own list of witnesses says so: it is evidence only for those who know their keys from elsewhere.
- recorded_late: how many events the checkpoint does not cover, although their created_at is before
  cosigned_at. immutable.recorded_late() lists them. Events of long transactions are late too. NULL
  without a cosigned checkpoint.
- pruned: how many events of the log, or of the tenant, are gone because retention has removed them, as
  records in the tenants'' chains say. They are in none of the other numbers.
Raises 22023 for malformed heads, since or checkpoint, for a checkpoint of another log or without a
valid signature of this log, for checkpoint together with tenant_id, a range, max_events or since,
for since together with a range or max_events, for max_events below 1, and for another max_breaks,
42501 for a checkpoint if the caller may not read every event, 55000 if immutable.events was
altered, and 40001 if retention has removed a segment that the transaction''s snapshot needs: run it again.
Of a distributed log it raises 0A000 for progress and checkpoint, 08006 if a node does not
answer, 38000 if a node cannot verify, 55000 if a node has another version of the extension or a
shard was moved meanwhile, and 25001 for heads or since of events that the transaction itself recorded.';

CREATE FUNCTION immutable.verify_breaks(
  tenant_id text DEFAULT NULL, from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL,
  max_events bigint DEFAULT NULL, heads jsonb DEFAULT NULL, since jsonb DEFAULT NULL, targets boolean DEFAULT true,
  max_breaks bigint DEFAULT NULL, progress boolean DEFAULT false, checkpoint text DEFAULT NULL)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_id uuid, type text, expected_hash bytea,
               actual_hash bytea, detail text)
LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 10
SET search_path = pg_catalog, pg_temp SET jit = off AS 'MODULE_PATHNAME', 'immutable_verify_breaks';
COMMENT ON FUNCTION immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean, text) IS
'Returns the breaks that immutable.verify_chain() finds, one row each.
The type of a break is hash_mismatch, chain_break, missing_event, target_mismatch, erasure_mismatch
or checkpoint_mismatch. The hashes of a break that the tree shows are leaf hashes or roots of the
tree; tenant_id is NULL if the break is of the tree itself. No row means that no break was found in
what was checked; immutable.verify_chain() says how much that was. The arguments are those of that
function, except for max_breaks.
- max_breaks: the most breaks to return, from 0; NULL for all. Of a distributed log they are at most
  100,000 of each shard, and a warning says if there are more.
Raises the errors of immutable.verify_chain().';

CREATE FUNCTION immutable.recorded_late(checkpoint text DEFAULT NULL)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_id uuid, created_at timestamptz)
LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 ROWS 100
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_recorded_late';
COMMENT ON FUNCTION immutable.recorded_late(text) IS
'Returns the events that a checkpoint does not cover, although they claim to be older than it is.
Their created_at is before the checkpoint''s newest cosignature. Events of transactions that were long
under way are among them; so are events that somebody has put into the log later with an earlier time.
- checkpoint: a signed checkpoint of this log with the signature line of a witness that the log
  knows. NULL for the newest stored checkpoint that is cosigned.
Raises 22023 as immutable.verify_chain() does and for a checkpoint without such a line, 55000 if none is
stored, and 42501 if the caller may not read every event, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.verify_shard(
  events regclass, targets boolean DEFAULT true,
  OUT valid boolean, OUT events_checked bigint, OUT chains_checked bigint, OUT events_erased bigint, OUT breaks jsonb,
  OUT breaks_found bigint, OUT tenants_checked bigint, OUT complete boolean, OUT log_id uuid,
  OUT events_total bigint, OUT heads_checked bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 1
SET search_path = pg_catalog, pg_temp SET jit = off AS 'MODULE_PATHNAME', 'immutable_verify_shard';
COMMENT ON FUNCTION immutable.verify_shard(regclass, boolean) IS
'Verifies one shard of a distributed log, as immutable.verify_chain() verifies a log.
- events: a table like immutable.events. The table whose foreign key refers to it has the targets.
- targets: false leaves the targets out.
Returns the columns of immutable.verify_chain() up to heads_checked. The caller''s rights to both
tables apply.
Raises 42P01 if there is no such table, 55000 if it is no table of events or no table of targets
refers to it, and 22023 for a name with an apostrophe.';

CREATE FUNCTION immutable.verify(
  from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL, "limit" integer DEFAULT NULL,
  max_seconds double precision DEFAULT 60)
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp SET jit = off AS 'MODULE_PATHNAME', 'immutable_verify';
COMMENT ON FUNCTION immutable.verify(timestamptz, timestamptz, integer, double precision) IS
'Verifies the log as immutable.verify_chain() does, and returns the result as JSON.
- from_date, to_date: inclusive bounds of created_at.
- limit: only the first so many events, in the order of tenant, lane and seq. NULL for every event.
- max_seconds: how long events are verified. After that the rest is passed over, which takes a small
  part of the time that its verification would take. NULL for any time.
Returns {"data": {"valid", "events_checked", "events_total", "complete", "heads_checked",
"anchored", "checkpoint_size", "cosigned_by", "cosigned_at", "recorded_late", "pruned", "breaks": [{"event_id",
"type", "expected_hash", "actual_hash"}]}}. valid is about the events that were checked, and null if
there were none; of a lane that was left unfinished, only the events'' content was checked, not
their links. complete says whether everything in the log was checked. anchored is false, because
nothing from outside is compared: pass heads or a checkpoint to immutable.verify_chain() for that.
Raises 22023 for a limit below 1 and for a negative max_seconds, 55000 if immutable.events was
altered, and 40001 as immutable.verify_chain() does.';
