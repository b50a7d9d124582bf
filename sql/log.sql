-- The tables of the log. Every unique key contains tenant_id, so that the tables can be distributed
-- by tenant as they are.

CREATE TABLE immutable.log (
  log_id uuid NOT NULL,
  created_at timestamptz NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.log IS
  'The identity of this database''s audit log. It has one row, which the first event makes.';
COMMENT ON COLUMN immutable.log.log_id IS 'Random UUID; the first event of every lane carries it in its hash';
COMMENT ON COLUMN immutable.log.created_at IS 'When the first event was recorded';
COMMENT ON COLUMN immutable.log.singleton IS 'Always true, so that there is one row at most';

-- The row is written when the extension is created, so that a log which begins here has no seam.
-- The name of a WAL file begins with the timeline.
CREATE TABLE immutable.cluster (
  system_identifier bigint NOT NULL,
  timeline integer NOT NULL,
  database oid NOT NULL,
  noted_at timestamptz NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  fed_by text
);
INSERT INTO immutable.cluster (system_identifier, timeline, database, noted_at)
SELECT c.system_identifier, ('x' || left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8))::bit(32)::integer,
  d.oid, pg_catalog.clock_timestamp()
FROM pg_catalog.pg_control_system() c, pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database();
COMMENT ON TABLE immutable.cluster IS
  'Where the log is written: one row, or none after a restore. An event that is recorded anywhere else '
  'comes after an event immutable.restored, which records the seam. No dump contains this table.';
COMMENT ON COLUMN immutable.cluster.system_identifier IS
  'The cluster''s system identifier, as pg_control_system() gives it';
COMMENT ON COLUMN immutable.cluster.timeline IS
  'The cluster''s timeline; a promotion and a point-in-time recovery begin another';
COMMENT ON COLUMN immutable.cluster.database IS 'OID of the database';
COMMENT ON COLUMN immutable.cluster.noted_at IS 'When this row was written';
COMMENT ON COLUMN immutable.cluster.singleton IS 'Always true, so that there is one row at most';
COMMENT ON COLUMN immutable.cluster.fed_by IS
  'The replication origin through which another replication than PostgreSQL''s own brings events in, or '
  'NULL. While that origin exists, nothing can be recorded here.';

CREATE FUNCTION immutable.is_chained(lane smallint, seq bigint, previous_event_hash bytea, event_hash bytea, log_id uuid,
  salt bytea, erased jsonb, actor_id text, targets jsonb, metadata jsonb)
RETURNS boolean LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_is_chained';
COMMENT ON FUNCTION immutable.is_chained(smallint, bigint, bytea, bytea, uuid, bytea, jsonb, text, jsonb, jsonb) IS
'Says whether the columns that the chain sets have the form of a chained event.
It is the CHECK of shards that an earlier version has made. It does not compute the hash:
immutable.verify_chain() does.
Raises no error.';

CREATE FUNCTION immutable.new_id()
RETURNS uuid LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_new_id';
COMMENT ON FUNCTION immutable.new_id() IS
'Returns a new UUIDv7 (RFC 9562) for the current time.
It is the default of events.id. The ids that one session makes sort in the order in which they were
made.
Raises no error.';

-- The chain's trigger fills in what the session's settings say, for NULL too. Defaults written in
-- SQL would cost more: PostgreSQL reads them anew in every statement, and so it does a CHECK. What
-- form a row has is therefore held by the triggers, those of a replica too. Only two
-- columns have a default: id, because object mappers ask the database for the keys that it makes,
-- and tenant_id, because Citus looks for a row's shard before any trigger runs.
CREATE TABLE immutable.events (
  id uuid NOT NULL DEFAULT immutable.new_id(),
  tenant_id text COLLATE "C" NOT NULL DEFAULT coalesce(pg_catalog.current_setting('immutable.tenant_id', true), ''),
  actor_id text COLLATE "C",
  actor_name text,
  actor_type text COLLATE "C",
  action text COLLATE "C" NOT NULL,
  action_category text COLLATE "C",
  resource_type text COLLATE "C",
  resource_id text COLLATE "C",
  resource_name text,
  targets jsonb NOT NULL DEFAULT '[]',
  metadata jsonb NOT NULL DEFAULT '{}',
  session_id text COLLATE "C",
  idempotency_key text COLLATE "C",
  ip_address inet,
  ip_country text COLLATE "C",
  ip_city text,
  user_agent text,
  version integer,
  occurred_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL,
  lane smallint NOT NULL,
  seq bigint NOT NULL,
  previous_event_hash bytea,
  event_hash bytea NOT NULL,
  salt bytea,
  erased jsonb,
  recorded_by text NOT NULL,
  log_id uuid,
  xact xid8 NOT NULL,
  PRIMARY KEY (id, tenant_id),
  UNIQUE (tenant_id, lane, seq),
  -- The index is not partial, so that ON CONFLICT (tenant_id, idempotency_key) finds it without a
  -- WHERE clause.
  UNIQUE (tenant_id, idempotency_key)
);
-- Each filter's index ends in the tenant and the order of pages, so that a page with this filter
-- reads as many entries as it has rows, with and without a tenant. docs/benchmarks.md has the cost
-- of each index. The first index is ascending, because all of its inserts come at one end:
-- PostgreSQL fills pages to 90 % at the right end, and splits those at the left end in halves. The
-- other indexes are split in halves in either order.
CREATE INDEX events_page ON immutable.events (created_at, id);
-- The actor is included because row security asks for it: a viewer's count is then answered from
-- the index alone.
CREATE INDEX events_tenant ON immutable.events (tenant_id, created_at DESC, id DESC) INCLUDE (actor_id);
CREATE INDEX events_actor ON immutable.events (actor_id, tenant_id, created_at DESC, id DESC);
CREATE INDEX events_action ON immutable.events (action, tenant_id, created_at DESC, id DESC);
CREATE INDEX events_resource_type ON immutable.events (resource_type, tenant_id, created_at DESC, id DESC)
  WHERE resource_type IS NOT NULL;
CREATE INDEX events_resource_id ON immutable.events (resource_id, tenant_id, created_at DESC, id DESC)
  WHERE resource_id IS NOT NULL;
CREATE INDEX events_session ON immutable.events (session_id, tenant_id, created_at DESC, id DESC)
  WHERE session_id IS NOT NULL;
-- The order of changes(). The index has the tenant so that row security is checked in the index: a
-- caller who looks for a transaction's events cannot see in EXPLAIN that it met those of others.
CREATE INDEX events_xact ON immutable.events (xact, tenant_id, id);
-- Verification reads the few events that are erased through this index, and their records through
-- events_action. An index of the records alone would cost each INSERT the look at its condition.
CREATE INDEX events_erased ON immutable.events (tenant_id, id) WHERE erased IS NOT NULL;

COMMENT ON TABLE immutable.events IS
  'Audit events: append-only, and chained with SHA-256 in the lanes of each tenant. An INSERT names the '
  'columns that describe what happened; a trigger sets the columns from created_at on.';
COMMENT ON COLUMN immutable.events.id IS
  'The event''s id. Default: a UUIDv7 (RFC 9562). Unique together with tenant_id';
COMMENT ON COLUMN immutable.events.tenant_id IS
  'The tenant (customer) that the event belongs to; empty for none. At most 255 bytes. Default: setting '
  'immutable.tenant_id. Cannot be erased';
COMMENT ON COLUMN immutable.events.actor_id IS
  'Id of the user or program that acted. Required; at most 512 bytes. Default: setting '
  'immutable.actor_id. Can be erased';
COMMENT ON COLUMN immutable.events.actor_name IS
  'The actor''s name. At most 1,024 bytes. Default: setting immutable.actor_name. Can be erased';
COMMENT ON COLUMN immutable.events.actor_type IS
  'The kind of actor, such as user or service. At most 255 bytes. Default: setting '
  'immutable.actor_type. Cannot be erased';
COMMENT ON COLUMN immutable.events.action IS
  'What the actor did, such as document.created. Required; at most 255 bytes. Cannot be erased';
COMMENT ON COLUMN immutable.events.action_category IS 'The category of the action. At most 255 bytes. Cannot be erased';
COMMENT ON COLUMN immutable.events.resource_type IS
  'The kind of thing that was acted on, such as document. At most 255 bytes. Cannot be erased';
COMMENT ON COLUMN immutable.events.resource_id IS 'Id of the thing that was acted on. At most 512 bytes. Can be erased';
COMMENT ON COLUMN immutable.events.resource_name IS
  'Name of the thing that was acted on. At most 1,024 bytes. Can be erased';
COMMENT ON COLUMN immutable.events.targets IS
  'Further things that were acted on: a JSON array of objects {type, id?, name?, metadata?}, stored in '
  'the order of type and id. Default: []. Each target can be erased, except for its type';
COMMENT ON COLUMN immutable.events.metadata IS
  'Anything else about the event: a JSON object. Default: {}. Each top-level key can be erased';
COMMENT ON COLUMN immutable.events.session_id IS
  'The actor''s session. At most 512 bytes. Default: setting immutable.session_id. Can be erased';
COMMENT ON COLUMN immutable.events.idempotency_key IS
  'A key that is unique within the tenant, so that a retry does not record the event twice; empty '
  'counts as NULL. At most 512 bytes. Can be erased';
COMMENT ON COLUMN immutable.events.ip_address IS
  'The actor''s IP address. Default: setting immutable.ip_address. Can be erased';
COMMENT ON COLUMN immutable.events.ip_country IS 'Country of the IP address. At most 255 bytes. Can be erased';
COMMENT ON COLUMN immutable.events.ip_city IS 'City of the IP address. At most 255 bytes. Can be erased';
COMMENT ON COLUMN immutable.events.user_agent IS
  'The actor''s program, as an HTTP User-Agent header names it. At most 4,096 bytes. Default: setting '
  'immutable.user_agent. Can be erased';
COMMENT ON COLUMN immutable.events.version IS
  'Version of the event''s schema, a number of the application''s own. Cannot be erased';
COMMENT ON COLUMN immutable.events.occurred_at IS
  'When it happened, as the application says, in the years 0001 to 9999. Default: created_at';
COMMENT ON COLUMN immutable.events.created_at IS
  'When it was recorded, by the server''s clock. Strictly increasing within a lane';
COMMENT ON COLUMN immutable.events.lane IS 'The lane of the tenant''s chain, from 0';
COMMENT ON COLUMN immutable.events.seq IS
  'The event''s number in its lane: from 1, without gaps, in the order in which transactions committed';
COMMENT ON COLUMN immutable.events.previous_event_hash IS
  'event_hash of the event before it in the lane; NULL for the first event of the lane';
COMMENT ON COLUMN immutable.events.event_hash IS
  'SHA-256 of the event''s document, which immutable.canonical() returns. docs/hash-format.md has the '
  'format';
COMMENT ON COLUMN immutable.events.salt IS
  '16 random bytes, from which the salts of the event''s commitments are made; NULL once something is '
  'erased';
COMMENT ON COLUMN immutable.events.erased IS
  'The commitments of the values that are erased and the salts of those that are not; NULL while '
  'nothing is erased';
COMMENT ON COLUMN immutable.events.recorded_by IS 'session_user of the connection that recorded the event; in a distributed log, the role whose rights it used';
COMMENT ON COLUMN immutable.events.log_id IS 'The log''s identity, in the first event of a lane; NULL in the others';
COMMENT ON COLUMN immutable.events.xact IS 'The transaction that recorded the event. Not part of the hash';

CREATE TABLE immutable.event_targets (
  tenant_id text COLLATE "C" NOT NULL,
  event_id uuid NOT NULL,
  position smallint NOT NULL,
  target_type text COLLATE "C" NOT NULL,
  target_id text COLLATE "C",
  target_name text,
  target_metadata jsonb,
  created_at timestamptz NOT NULL,
  -- The tenant comes first, so that a caller who sees one tenant's targets reads those alone.
  PRIMARY KEY (tenant_id, event_id, position),
  FOREIGN KEY (event_id, tenant_id) REFERENCES immutable.events (id, tenant_id)
);
CREATE INDEX event_targets_type ON immutable.event_targets (target_type, tenant_id, created_at DESC, event_id DESC);
CREATE INDEX event_targets_id ON immutable.event_targets (target_id, tenant_id, created_at DESC, event_id DESC);

-- A page's total and a viewer's count read indexes alone where VACUUM has seen the rows, and the
-- newest rows are asked for most. By default VACUUM would come once a fifth of the table is new. No
-- row is dead, so that VACUUM reads the new pages and no index.
ALTER TABLE immutable.events SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000);
ALTER TABLE immutable.event_targets SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000);

COMMENT ON TABLE immutable.event_targets IS
  'The targets of events, one row each, for joins and filters. They are derived from events.targets, '
  'which is what the hash covers.';
COMMENT ON COLUMN immutable.event_targets.tenant_id IS 'events.tenant_id';
COMMENT ON COLUMN immutable.event_targets.event_id IS 'events.id';
COMMENT ON COLUMN immutable.event_targets.position IS 'The target''s position in events.targets, from 0';
COMMENT ON COLUMN immutable.event_targets.target_type IS 'The target''s type. At most 255 bytes';
COMMENT ON COLUMN immutable.event_targets.target_id IS 'The target''s id. At most 512 bytes';
COMMENT ON COLUMN immutable.event_targets.target_name IS 'The target''s name. At most 1,024 bytes';
COMMENT ON COLUMN immutable.event_targets.target_metadata IS 'The target''s metadata: a JSON object';
COMMENT ON COLUMN immutable.event_targets.created_at IS 'events.created_at';

CREATE FUNCTION immutable.canonical(event record)
RETURNS text LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_canonical';
COMMENT ON FUNCTION immutable.canonical(record) IS
'Returns the document of an event: the text whose SHA-256 is its event_hash.
It is canonical JSON (RFC 8785), except that numbers are as jsonb prints them. docs/hash-format.md
has the format.
- event: a row of immutable.events, as in SELECT immutable.canonical(e) FROM immutable.events e.
Returns NULL for a row that has no valid document.
Raises 42804 for a record that is no row of immutable.events.';

-- These are for statements that give stored values to PostgreSQL's own functions, which expect
-- sound values.

CREATE FUNCTION immutable.is_readable(value jsonb) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'immutable_is_readable_jsonb';
CREATE FUNCTION immutable.is_readable(value text) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'immutable_is_readable_text';
COMMENT ON FUNCTION immutable.is_readable(jsonb) IS
'Says whether a stored jsonb can be read: whether all of it is there, with bytes that PostgreSQL writes.
It is for queries that give stored values to functions which would raise an error, or crash the
server. Returns true for NULL.
Raises no error.';
COMMENT ON FUNCTION immutable.is_readable(text) IS
'Says whether a stored text can be read: whether all of it is there, in UTF-8 without a NUL.
It is for queries that give stored values to functions which would raise an error. Returns true for
NULL.
Raises no error.';

CREATE FUNCTION immutable.text_of(value jsonb) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'immutable_text_of';
CREATE FUNCTION immutable.text_of(value text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'immutable_text_of_text';
COMMENT ON FUNCTION immutable.text_of(text) IS
'Returns a stored text, or an empty one where it cannot be read.
PostgreSQL''s own functions would raise an error there. Returns NULL for NULL.
Raises no error.';
COMMENT ON FUNCTION immutable.text_of(jsonb) IS
'Returns a stored jsonb as PostgreSQL prints it, or an empty text where it cannot be read.
PostgreSQL''s own output would raise an error there, or crash the server. Returns NULL for NULL.
Raises no error.';

-- The policy of writers calls this function.
CREATE FUNCTION immutable.is_own(xact xid8, tenant_id text, lane smallint, seq bigint)
RETURNS boolean LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'immutable_is_own';
COMMENT ON FUNCTION immutable.is_own(xid8, text, smallint, bigint) IS
'Says whether the current transaction has recorded this event.
A policy calls it, so that a writer sees the events that its own transaction has recorded. Of a
transaction that appends to more than 65,536 lanes, these are those of the lanes that came last.
Raises no error.';

CREATE FUNCTION immutable.shard_record_own(
  here bigint, tenant_id text, action text, resource_type text, resource_id text, targets jsonb, metadata jsonb,
  actor_id text, actor_type text, recorded_by text)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_shard_record_own';
COMMENT ON FUNCTION immutable.shard_record_own(bigint, text, text, text, text, jsonb, jsonb, text, text, text) IS
'Part of a log that is distributed: records an event of the log''s own at the shard of its tenant.
- here: a number that is known only at the shard.
The others are the columns of the event, with those who caused it in another session.
Returns the event''s id. Only the log''s owner may execute it.
Raises 22004 for an argument that must not be NULL, and 55000 if the shard is not on this node.';

CREATE FUNCTION immutable.record_at_shard() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_record_at_shard';
COMMENT ON FUNCTION immutable.record_at_shard() IS
'Trigger that records an event of the log''s own at the shard, in place of the row that describes it.
It runs BEFORE INSERT on immutable.placement, into which the log alone inserts.
Raises 55000 where the table is no shard of this node.';

CREATE FUNCTION immutable.record_restore(reason text)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_record_restore';
COMMENT ON FUNCTION immutable.record_restore(text) IS
'Records that the log continues somewhere else, as an event immutable.restored without a tenant.
It is for what the log cannot notice itself, such as a volume that was put back from a snapshot. The
actor is the role that calls it.
- reason: why, in 1 to 4,096 bytes. The event keeps it in metadata.reason, which can be erased.
Returns the event''s id.
Raises 22004, 22023 or 22001 for a reason that is NULL, empty or too long, 25006 on a standby or a
subscriber, and the errors of immutable.chain().';

-- What status() asks of the events on this server. With Citus those are in the shards on this node.

CREATE FUNCTION immutable.shards_here()
RETURNS TABLE (tab text, shard bigint, relation oid) LANGUAGE c STABLE PARALLEL UNSAFE ROWS 64
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_shards_here';
COMMENT ON FUNCTION immutable.shards_here() IS
'Part of immutable.status(): returns the shards of events and event_targets on this node of Citus.
Returns table, number and OID of each; no row if the log is not distributed, and no OID for a table
that is missing.
Raises no error.';
CREATE FUNCTION immutable.node_here()
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_node_here';
COMMENT ON FUNCTION immutable.node_here() IS
'Part of immutable.status(): returns the address of this node of Citus.
Returns NULL if the log is not distributed.
Raises no error.';
CREATE FUNCTION immutable.count_lanes(most integer)
RETURNS bigint LANGUAGE c STABLE PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_count_lanes';
COMMENT ON FUNCTION immutable.count_lanes(integer) IS
'Part of immutable.status(): counts the lanes on this server, one step of an index for each.
- most: after so many it stops.
Returns the number, which is larger than most if it stopped.
Raises no error.';
CREATE FUNCTION immutable.newest_events(most integer)
RETURNS TABLE (id uuid, created_at timestamptz, lane smallint, has_country boolean) LANGUAGE c STABLE PARALLEL UNSAFE
ROWS 1 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_newest_events';
COMMENT ON FUNCTION immutable.newest_events(integer) IS
'Part of immutable.status(): returns the newest events on this server.
- most: how many.
Returns id, time, lane and whether ip_country is given.
Raises no error.';
CREATE FUNCTION immutable.foreign_xact()
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_foreign_xact';
COMMENT ON FUNCTION immutable.foreign_xact() IS
'Part of immutable.status(): returns an event''s transaction number that this server has not reached yet.
Returns NULL if there is none, and if the log is distributed, because shards move.
Raises no error.';
CREATE FUNCTION immutable.recorded_from(first xid8, last xid8, not_before timestamptz)
RETURNS timestamptz LANGUAGE c STABLE PARALLEL UNSAFE COST 100
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_recorded_from';
COMMENT ON FUNCTION immutable.recorded_from(xid8, xid8, timestamptz) IS
'Part of immutable.status(): returns when the oldest of some events was recorded.
- first, last: their transaction numbers, of which the first hundred events are looked at. NULL as
  last is for no bound.
- not_before: earlier events do not count; NULL for no bound.
Returns NULL if there is none, and if the log is distributed.
Raises no error.';
CREATE FUNCTION immutable.event_at(tenant_id text, lane smallint, seq bigint)
RETURNS TABLE (id uuid, created_at timestamptz) LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_event_at';
COMMENT ON FUNCTION immutable.event_at(text, smallint, bigint) IS
'Part of immutable.status(): returns id and time of the event at a place in a lane.
Returns no row if there is none, and if the log is distributed.
Raises no error.';

-- The data that a dump must contain. event_targets follows from events. pg_dump puts the condition behind the name of the
-- table, and before that, with --inserts, the word ONLY, which would leave the segments out. So what is selected from the
-- table that it names is nothing, and everything from the log.
SELECT pg_catalog.pg_extension_config_dump('immutable.log', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.events', 'WHERE false UNION ALL SELECT * FROM immutable.events');

CREATE FUNCTION immutable.guard_brought() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_brought';
COMMENT ON FUNCTION immutable.guard_brought() IS
'Trigger that accepts the rows of a dump in a table which functions write otherwise.
It runs BEFORE INSERT. The next event after a restore is immutable.restored.
Raises 42501 for a row that comes neither from the functions nor from a dump that is restored.';

