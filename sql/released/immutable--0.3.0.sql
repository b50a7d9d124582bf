\echo Use "CREATE EXTENSION immutable" to load this file. \quit

-- sql/schema.sql
-- The schema and the roles. This file comes first. The other files qualify every name with
-- `immutable.`.

-- A server with another encoding could not hash what its clients see.
DO $$
BEGIN
  IF pg_catalog.current_setting('server_encoding') <> 'UTF8' THEN
    RAISE EXCEPTION 'immutable needs a database with encoding UTF8, not %', pg_catalog.current_setting('server_encoding')
      USING ERRCODE = 'feature_not_supported',
            HINT = 'Create one with CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
  END IF;
END
$$;

-- This fails if there is a schema of this name: nothing that others made must be in it.
CREATE SCHEMA immutable;
COMMENT ON SCHEMA immutable IS 'Tamper-evident audit log: events that are chained with SHA-256';

-- Roles belong to the cluster, the extension to a database: in a second database the roles are
-- there already.
DO $$
DECLARE
  role pg_catalog.text;
BEGIN
  FOREACH role IN ARRAY ARRAY['immutable_writer', 'immutable_auditor', 'immutable_viewer', 'immutable_eraser',
    'immutable_restorer'] LOOP
    BEGIN
      EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
  END LOOP;
END
$$;
COMMENT ON ROLE immutable_writer IS
  'May record events: insert into immutable.events and call immutable.track() and '
  'immutable.track_batch()';
COMMENT ON ROLE immutable_auditor IS 'May read, verify and export the whole audit log';
COMMENT ON ROLE immutable_viewer IS
  'Sees the events of one tenant: of the one that its viewer token names, or of the one granted to the '
  'role';
COMMENT ON ROLE immutable_eraser IS
  'May erase values through immutable.erase() and immutable.erase_subject(), and may read no event';
COMMENT ON ROLE immutable_restorer IS 'May restore a dump of the audit log, with immutable.restore = on';

-- sql/log.sql
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
It is the CHECK of immutable.events. It does not compute the hash: immutable.verify_chain() does.
Raises no error.';

CREATE FUNCTION immutable.new_id()
RETURNS uuid LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_new_id';
COMMENT ON FUNCTION immutable.new_id() IS
'Returns a new UUIDv7 (RFC 9562) for the current time.
It is the default of events.id. The ids that one session makes sort in the order in which they were
made.
Raises no error.';

-- The chain's trigger fills in what the session's settings say, for NULL too. Defaults written in
-- SQL would cost more: PostgreSQL reads them anew in every statement. Only two
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
  UNIQUE (tenant_id, idempotency_key),
  -- With the triggers off, this keeps out a row that has no place in a chain. It is one function,
  -- because PostgreSQL parses a CHECK anew in every statement, which took longer for SQL than
  -- hashing takes.
  CONSTRAINT events_chained_check CHECK (immutable.is_chained(
    lane, seq, previous_event_hash, event_hash, log_id, salt, erased, actor_id, targets, metadata))
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
-- Verification reads the few events that an erasure concerns through these.
CREATE INDEX events_erased ON immutable.events (tenant_id, id) WHERE erased IS NOT NULL;
CREATE INDEX events_erasures ON immutable.events (tenant_id) WHERE action = 'immutable.event_erased';

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
COMMENT ON COLUMN immutable.events.recorded_by IS 'session_user of the connection that recorded the event';
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
A policy calls it, so that a writer sees the events that its own transaction has recorded.
Raises no error.';

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

-- The data that a dump must contain. event_targets follows from events.
SELECT pg_catalog.pg_extension_config_dump('immutable.log', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.events', '');

-- sql/guard/append_only.sql
-- The triggers that keep the tables append-only. PostgreSQL runs triggers of one kind in the order
-- of their names, and `~` sorts last.

CREATE FUNCTION immutable.guard_event() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_event';
COMMENT ON FUNCTION immutable.guard_event() IS
'Trigger that lets an UPDATE of an event through if it is an erasure that leaves the event''s hash as it is.
It runs BEFORE UPDATE on immutable.events.
Raises 42501 for any other change, and 25006 where a subscription feeds the log.';

CREATE FUNCTION immutable.guard_target() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_target';
COMMENT ON FUNCTION immutable.guard_target() IS
'Trigger that lets a row of event_targets through if it equals the event''s target at that position.
It runs BEFORE INSERT OR UPDATE on immutable.event_targets.
Raises 42501 for any other row.';

CREATE FUNCTION immutable.refuse() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_refuse';
COMMENT ON FUNCTION immutable.refuse() IS
'Trigger that refuses a command on an append-only table.
Raises 42501 always.';

CREATE TRIGGER "~immutable_update" BEFORE UPDATE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.guard_event();
CREATE TRIGGER "~immutable_delete" BEFORE DELETE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.events FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_target" BEFORE INSERT OR UPDATE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.guard_target();
CREATE TRIGGER "~immutable_delete" BEFORE DELETE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.event_targets FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_write" BEFORE UPDATE OR DELETE ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.log FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.cluster FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.cluster FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

-- sql/access.sql
-- Who sees which tenant: viewer tokens, roles bound to a tenant, and the functions that the
-- policies call.

CREATE TABLE immutable.viewer_keys (
  key_id uuid PRIMARY KEY,
  secret bytea NOT NULL,
  made_at timestamptz NOT NULL,
  accept_until timestamptz,
  imported boolean NOT NULL
);
COMMENT ON TABLE immutable.viewer_keys IS
  'The secrets that viewer tokens are signed with. Only the owner can read it, and no dump contains it.';
COMMENT ON COLUMN immutable.viewer_keys.key_id IS 'Random UUID that says nothing about the secret';
COMMENT ON COLUMN immutable.viewer_keys.secret IS
  'Key of HMAC-SHA-256 (RFC 2104): 32 random bytes, or the secret that was imported';
COMMENT ON COLUMN immutable.viewer_keys.made_at IS 'When the key was made or imported';
COMMENT ON COLUMN immutable.viewer_keys.accept_until IS
  'Until when tokens of this key are accepted after another key took its place; NULL for the key that '
  'signs';
COMMENT ON COLUMN immutable.viewer_keys.imported IS
  'Whether the secret was imported, and so is shared with another program';

-- The table has a key although it stays empty, because a publication FOR ALL TABLES and other tools
-- need one.
CREATE TABLE immutable.viewer_key_import (secret text PRIMARY KEY);
COMMENT ON TABLE immutable.viewer_key_import IS
  'Takes a shared secret: COPY immutable.viewer_key_import FROM STDIN, one line of 32 to 1,024 bytes, '
  'which becomes the key that signs. The table stays empty. Only the owner can write to it; INSERT is '
  'refused, because server logs keep the literals of statements.';
COMMENT ON COLUMN immutable.viewer_key_import.secret IS 'The secret: the bytes of its UTF-8 text';

CREATE TABLE immutable.revocations (
  jti text COLLATE "C",
  tenant_id text COLLATE "C",
  actor_id text COLLATE "C",
  revoked_at timestamptz NOT NULL,
  forget_at timestamptz NOT NULL,
  revoked_by text NOT NULL,
  -- Replication finds a row by this column. Without it, a publication of updates makes every
  -- revocation fail.
  id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  CHECK ((jti IS NULL) <> (tenant_id IS NULL) AND (actor_id IS NULL OR tenant_id IS NOT NULL))
);
CREATE UNIQUE INDEX revocations_jti ON immutable.revocations (jti) WHERE jti IS NOT NULL;
CREATE UNIQUE INDEX revocations_subject ON immutable.revocations (tenant_id, actor_id) NULLS NOT DISTINCT
  WHERE tenant_id IS NOT NULL;
COMMENT ON TABLE immutable.revocations IS
  'Viewer tokens that are refused before they expire: one token by its jti, or all tokens of a tenant '
  'or an actor';
COMMENT ON COLUMN immutable.revocations.jti IS
  'The token''s id (claim jti of RFC 7519); NULL where all tokens of a tenant or an actor are revoked';
COMMENT ON COLUMN immutable.revocations.tenant_id IS 'The tenant whose tokens are revoked; NULL for a single token';
COMMENT ON COLUMN immutable.revocations.actor_id IS
  'The actor whose tokens are revoked; NULL for all actors of the tenant';
COMMENT ON COLUMN immutable.revocations.revoked_at IS
  'Tokens that were issued until the end of this second are refused';
COMMENT ON COLUMN immutable.revocations.forget_at IS
  'The row is removed some time after this, when all such tokens have expired';
COMMENT ON COLUMN immutable.revocations.revoked_by IS 'session_user of the connection that revoked';
COMMENT ON COLUMN immutable.revocations.id IS 'Random UUID, by which replication finds the row';

CREATE TABLE immutable.tenant_grants (
  role name NOT NULL,
  mode text COLLATE "C" NOT NULL CHECK (mode IN ('read', 'write')),
  tenant_id text COLLATE "C" NOT NULL,
  role_oid oid NOT NULL,
  granted_at timestamptz NOT NULL,
  granted_by text NOT NULL,
  PRIMARY KEY (role, mode)
);
CREATE INDEX tenant_grants_role ON immutable.tenant_grants (role_oid, mode);
COMMENT ON TABLE immutable.tenant_grants IS 'The one tenant that a role may read, or record events for';
COMMENT ON COLUMN immutable.tenant_grants.role IS
  'The role''s name at the time of the grant. Renaming the role ends a grant to read, but not a grant to '
  'write';
COMMENT ON COLUMN immutable.tenant_grants.mode IS
  '''read'': the role sees this tenant''s events without a token. ''write'': the role records events for '
  'this tenant and no other';
COMMENT ON COLUMN immutable.tenant_grants.tenant_id IS 'The tenant; empty for the events without a tenant';
COMMENT ON COLUMN immutable.tenant_grants.role_oid IS
  'The role''s OID, which a trigger sets. A grant to read does not apply to a new role of the same name';
COMMENT ON COLUMN immutable.tenant_grants.granted_at IS 'When it was granted';
COMMENT ON COLUMN immutable.tenant_grants.granted_by IS 'session_user of the connection that granted it';

-- A dump contains the revocations and grants, and no secret.
SELECT pg_catalog.pg_extension_config_dump('immutable.revocations', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tenant_grants', '');

-- A table with row security and no policy shows its rows to its owner, to superusers and to roles
-- with BYPASSRLS alone.
CREATE POLICY auditor_select ON immutable.log FOR SELECT TO immutable_auditor USING (true);
COMMENT ON POLICY auditor_select ON immutable.log IS 'An auditor sees the log''s identity';
ALTER TABLE immutable.log ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.viewer_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.viewer_key_import ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.revocations ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tenant_grants ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION immutable.bind_role() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_bind_role';
COMMENT ON FUNCTION immutable.bind_role() IS
'Trigger that sets role_oid to the OID of the role that the row names, or 0 if there is no such role.
It runs BEFORE INSERT OR UPDATE on immutable.tenant_grants.
Raises 42501 for a row that comes neither from immutable.grant_tenant() nor from a dump that is
restored.';
CREATE TRIGGER "~immutable_bind" BEFORE INSERT OR UPDATE ON immutable.tenant_grants
  FOR EACH ROW EXECUTE FUNCTION immutable.bind_role();
-- This trigger also fires in a subscription's workers: the publisher's OIDs belong to other roles
-- here.
ALTER TABLE immutable.tenant_grants ENABLE ALWAYS TRIGGER "~immutable_bind";

CREATE FUNCTION immutable.take_viewer_key() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_take_viewer_key';
COMMENT ON FUNCTION immutable.take_viewer_key() IS
'Triggers that take a secret from COPY, keep the row out, and make the secret the key that signs.
They are on immutable.viewer_key_import. The import is recorded as immutable.viewer_key_imported. In
the workers of a replication they do nothing.
Raises 22023 unless COPY brings one line of 32 to 1,024 bytes.';
CREATE FUNCTION immutable.refuse_viewer_key() RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_refuse_viewer_key';
COMMENT ON FUNCTION immutable.refuse_viewer_key() IS
'Rule of immutable.viewer_key_import that refuses an INSERT.
Raises 0A000 always.';

-- Three triggers do the work of one, because an error or a warning that a row's trigger raises
-- within COPY quotes the line.
CREATE TRIGGER "~immutable_begin" BEFORE INSERT ON immutable.viewer_key_import
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.take_viewer_key();
CREATE TRIGGER "~immutable_take" BEFORE INSERT ON immutable.viewer_key_import
  FOR EACH ROW EXECUTE FUNCTION immutable.take_viewer_key();
CREATE TRIGGER "~immutable_store" AFTER INSERT ON immutable.viewer_key_import
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.take_viewer_key();
ALTER TABLE immutable.viewer_key_import ENABLE ALWAYS TRIGGER "~immutable_begin";
ALTER TABLE immutable.viewer_key_import ENABLE ALWAYS TRIGGER "~immutable_take";
ALTER TABLE immutable.viewer_key_import ENABLE ALWAYS TRIGGER "~immutable_store";
-- Rules do not apply to COPY.
CREATE RULE copy_only AS ON INSERT TO immutable.viewer_key_import DO INSTEAD SELECT immutable.refuse_viewer_key();
ALTER TABLE immutable.viewer_key_import ENABLE ALWAYS RULE copy_only;
COMMENT ON RULE copy_only ON immutable.viewer_key_import IS
  'Refuses an INSERT; COPY, which rules do not apply to, is the way in';

CREATE FUNCTION immutable.create_viewer_token(tenant_id text, actor_id text DEFAULT NULL, ttl integer DEFAULT 3600)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_create_viewer_token';
COMMENT ON FUNCTION immutable.create_viewer_token(text, text, integer) IS
'Returns a signed token that shows one tenant''s events to a viewer.
The token is a JWT (RFC 7519) signed with HS256 (RFC 7518). Setting immutable.viewer_token presents
it. The first call makes the key.
- tenant_id: the tenant; NULL for the events without a tenant.
- actor_id: the token shows the events of this actor alone; NULL shows those of all actors.
- ttl: for how many seconds the token is valid, from 60 to 86,400.
Returns {"token", "viewer_token", "expires_at"}: the token twice, and when it expires in seconds
since 1970.
Raises 22023 for another ttl, an empty actor_id, or ids that are too long.';

CREATE FUNCTION immutable.rotate_viewer_key(revoke_old boolean DEFAULT false)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_rotate_viewer_key';
COMMENT ON FUNCTION immutable.rotate_viewer_key(boolean) IS
'Makes a new random key of 32 bytes, which signs viewer tokens from now on.
Tokens of the old keys are accepted until the last of them has expired, which takes a day. It is
recorded as immutable.viewer_key_rotated.
- revoke_old: true refuses all tokens of the old keys at once.
Raises no error of its own.';

CREATE FUNCTION immutable.revoke_viewer_token(token text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_revoke_viewer_token';
COMMENT ON FUNCTION immutable.revoke_viewer_token(text) IS
'Refuses one viewer token, from the next statement of every session on.
It is recorded as immutable.viewer_token_revoked.
- token: the token, or its jti.
Raises 22004 for NULL, and 22023 for an empty text, for a token that no key in use has signed, and
for a jti of more than 255 bytes.';

CREATE FUNCTION immutable.revoke_viewer_tokens(tenant_id text, actor_id text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_revoke_viewer_tokens';
COMMENT ON FUNCTION immutable.revoke_viewer_tokens(text, text) IS
'Refuses all viewer tokens that were issued for a tenant, or for one actor of it, until the end of this second.
It takes effect with the next statement of every session. It is recorded as
immutable.viewer_tokens_revoked.
- tenant_id: the tenant; NULL for the events without a tenant.
- actor_id: the actor; NULL for all tokens of the tenant.
Raises 22023 for an id that is too long.';

CREATE FUNCTION immutable.grant_tenant(role name, tenant_id text, mode text DEFAULT 'read')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_grant_tenant';
COMMENT ON FUNCTION immutable.grant_tenant(name, text, text) IS
'Binds a role to a tenant, in place of the tenant that it was bound to in this mode.
It is recorded as immutable.tenant_granted.
- role: a role that row security applies to.
- tenant_id: the tenant; NULL for the events without a tenant.
- mode: ''read'', the role becomes a member of immutable_viewer and sees the tenant''s events without a
  token; or ''write'', the role becomes a member of immutable_writer, and it and every role that
  inherits its rights record for this tenant and no other.
Raises 22004 for a role that is NULL, 42704 for a role that does not exist, and 22023 for another
mode, for a tenant_id that is too long, and for a role that cannot be bound: a superuser, one with
BYPASSRLS, one of the extension''s own, or, to read, an auditor.';

CREATE FUNCTION immutable.revoke_tenant(role name, mode text DEFAULT 'read')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_revoke_tenant';
COMMENT ON FUNCTION immutable.revoke_tenant(name, text) IS
'Takes back what immutable.grant_tenant() gave, including the membership.
It is recorded as immutable.tenant_revoked.
- role: the role, by its name of today or that of the grant.
- mode: ''read'' or ''write''.
Raises 22004 for a role that is NULL, 42704 if there is no such grant, 22023 for another mode, and
55000 if the role would still be a member through another role, and so hold more than before.';

-- The functions that the policies call. What they answer is decided in one place,
-- src/access/scope.rs.
CREATE FUNCTION immutable.visible_tenant()
RETURNS text LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_visible_tenant';
COMMENT ON FUNCTION immutable.visible_tenant() IS
'Returns the tenant whose events the caller sees as a viewer, or NULL for none.
It is the tenant of the token in setting immutable.viewer_token; without one, the tenant granted to
the current role; without a grant, the tenant of the bearer token (RFC 6750) in setting
request.headers.
Raises 28000 for a token that is refused.';

CREATE FUNCTION immutable.is_visible(tenant_id text, actor_id text)
RETURNS boolean LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_is_visible';
COMMENT ON FUNCTION immutable.is_visible(text, text) IS
'Says whether the caller sees, as a viewer, an event of this tenant and actor.
A policy calls it. The token is read once in a statement.
Raises 28000 for a token that is refused.';

CREATE FUNCTION immutable.is_target_visible(tenant_id text, event_id uuid)
RETURNS boolean LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_is_target_visible';
COMMENT ON FUNCTION immutable.is_target_visible(text, uuid) IS
'Says whether the caller sees, as a viewer, the targets of this event.
A policy calls it. It looks up the event''s actor if the token names one.
Raises 28000 for a token that is refused.';

-- A column's statistics contain values of other tenants, and EXPLAIN shows everyone how many rows
-- the planner expects: equality of texts is leakproof, so row security does not keep the planner
-- from using them. Without statistics it expects the same of every value. The columns that keep
-- statistics are the application's vocabulary (actions and types) and the times.
ALTER TABLE immutable.events
  ALTER tenant_id SET STATISTICS 0, ALTER actor_id SET STATISTICS 0, ALTER actor_name SET STATISTICS 0,
  ALTER resource_id SET STATISTICS 0, ALTER resource_name SET STATISTICS 0, ALTER session_id SET STATISTICS 0,
  ALTER idempotency_key SET STATISTICS 0, ALTER ip_address SET STATISTICS 0, ALTER ip_country SET STATISTICS 0,
  ALTER ip_city SET STATISTICS 0, ALTER user_agent SET STATISTICS 0, ALTER recorded_by SET STATISTICS 0,
  ALTER salt SET STATISTICS 0, ALTER event_hash SET STATISTICS 0, ALTER previous_event_hash SET STATISTICS 0;
-- No query uses statistics of a jsonb, and making them compares values: autovacuum would crash the
-- server again and again on a value whose bytes somebody has changed.
ALTER TABLE immutable.events
  ALTER targets SET STATISTICS 0, ALTER metadata SET STATISTICS 0, ALTER erased SET STATISTICS 0;
ALTER TABLE immutable.event_targets ALTER target_metadata SET STATISTICS 0;
ALTER TABLE immutable.event_targets
  ALTER tenant_id SET STATISTICS 0, ALTER event_id SET STATISTICS 0, ALTER target_id SET STATISTICS 0,
  ALTER target_name SET STATISTICS 0;

-- sql/write/chain.sql
-- What happens when an event is inserted. PostgreSQL runs triggers of one kind in the order of
-- their names, and `~` sorts last: the chain runs after all other triggers, so that nothing changes
-- an event that is already hashed.

CREATE FUNCTION immutable.chain() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_chain';
COMMENT ON FUNCTION immutable.chain() IS
'Trigger that validates an event, appends it to a lane of its tenant''s chain and computes its hash.
It runs BEFORE INSERT on immutable.events. It fills in the session''s settings for columns that are
left out or NULL, sorts the targets, and sets the columns that belong to the chain. With
immutable.restore = on it takes the events of a dump as they are, if they match their hash.
Raises 23502 for a column that is missing, 22023 for a value of the wrong form, 22001 for a text
that is too long, 22021 for a setting that is not UTF-8, 22008 for a time outside the years 0001 to
9999, 54000 for an event that is larger than the limits, 42501 for a reserved name or a tenant that
the role may not record for, 428C9 for a value in a column of the chain, 25006 where a subscription
feeds the log, 55P03 if lock_timeout runs out while it waits for a lane, 55000 if a trigger would
run after it, if the table was altered, or if nothing can be recorded while immutable.restore is on,
and XX001 for an event of a dump that does not match its hash.';

CREATE TRIGGER "~immutable_chain" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.chain();

-- sql/write/targets.sql
-- The rows of event_targets, which follow from the events.

CREATE FUNCTION immutable.derive_targets() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_targets';
COMMENT ON FUNCTION immutable.derive_targets() IS
'Trigger that writes the targets of an event into immutable.event_targets.
It runs AFTER INSERT on immutable.events.
Raises 55000 if no table of targets refers to the table of events.';

CREATE TRIGGER "~immutable_targets" AFTER INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.derive_targets();

-- sql/write/track.sql
-- Recording one event by a call. The functions insert with the caller's rights, as an INSERT does.

CREATE FUNCTION immutable.track(
  actor_id text DEFAULT NULL, action text DEFAULT NULL, actor_name text DEFAULT NULL, actor_type text DEFAULT NULL,
  action_category text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  resource_name text DEFAULT NULL, targets jsonb DEFAULT NULL, metadata jsonb DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, idempotency_key text DEFAULT NULL,
  version integer DEFAULT NULL, occurred_at timestamptz DEFAULT NULL, ip_address inet DEFAULT NULL,
  ip_country text DEFAULT NULL, ip_city text DEFAULT NULL, user_agent text DEFAULT NULL,
  on_conflict text DEFAULT 'error')
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track';
COMMENT ON FUNCTION immutable.track(text, text, text, text, text, text, text, text, jsonb, jsonb, text, text, text,
    integer, timestamptz, inet, text, text, text, text) IS
'Records one event.
Each argument is the column of immutable.events with its name; resource is resource_type. An
argument that is left out or NULL takes what the session''s settings say.
- on_conflict: what happens if another event has the idempotency_key: ''error'' raises 23505, ''answer''
  returns a conflict.
Returns {"id", "status"}. The status is "recorded", or "duplicate" with the id of the event that has
the idempotency_key and is the same. With on_conflict => ''answer'' it may be {"id", "status":
"conflict", "differs": [fields]}. Two events are the same if every field is, as it would be
recorded; actor_name, actor_type, session_id, ip_address, user_agent and occurred_at count only
where the call gives them, and erased values do not count.
Raises the errors of immutable.chain(); 23505 for another event under a used key, 22023 for another
on_conflict, 09000 if a trigger that is not the extension''s leaves the event out, and 40001 if a
concurrent transaction recorded the same key and the isolation level is above READ COMMITTED: retry.';

CREATE FUNCTION immutable.track(event jsonb, on_conflict text DEFAULT 'error')
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_event';
COMMENT ON FUNCTION immutable.track(jsonb, text) IS
'Records one event that is given as a JSON object.
- event: an object whose members are the arguments of immutable.track(); resource_type may stand for
  resource. occurred_at is an RFC 3339 timestamp, and UTC if it has no offset.
- on_conflict: as in immutable.track() with arguments.
Returns what immutable.track() with arguments returns.
Raises the errors of that function; 22004 for NULL, 22023 for a member that is unknown, there twice
or of the wrong type, 22007 or 22008 for a malformed time, and 22P02 for a malformed address.';

-- The argument is not called event: an untyped event => '{...}' would fit this function and the one
-- for jsonb equally well.
CREATE FUNCTION immutable.track(payload json, on_conflict text DEFAULT 'error')
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_text';
COMMENT ON FUNCTION immutable.track(json, text) IS
'Records one event that is given as a JSON object of type json.
It does what immutable.track(jsonb) does. An untyped literal is taken the same way.
Raises the errors of that function; 22P02, 22P05, 22003 or 54000, with the field''s name, for a value
that jsonb cannot hold (\u0000, half a surrogate pair, 1e999999), and 22023 for an object with two
members of one name.';

-- sql/write/batch.sql
-- Recording many events in one call.

CREATE FUNCTION immutable.track_batch(events jsonb)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_batch';
COMMENT ON FUNCTION immutable.track_batch(jsonb) IS
'Records several events; one that is refused does not keep the others from being recorded.
- events: an array of objects as immutable.track(event) takes them, or {"events": [...]}, at most
  immutable.max_batch of them.
Returns {"events": [...]} with the answer to each event in its place: {"id", "status"} as
immutable.track() returns it; {"status": "error", "error": {"code", "message", "field", "hint"}} for
an event that is refused; {"id", "status": "conflict", "differs", "error"} for another event under a
used idempotency_key. Errors that are answered so are those of the classes 22 and 23, and 42501,
54000 and 428C9 where they name a field. Any other error ends the call, and nothing is recorded.
A call takes one subtransaction, and one more for each event that is refused while it is inserted.
Raises 22004 for NULL, 22023 for what is no array of events, and 54000 for too many.';

CREATE FUNCTION immutable.track_batch(events json)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_batch_text';
COMMENT ON FUNCTION immutable.track_batch(json) IS
'Records several events that are given as json, as immutable.track_batch(jsonb) does.
An event that jsonb cannot hold is answered in its place, like any other that is refused.
Raises the errors of that function.';

CREATE FUNCTION immutable.track_batch(events text)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_batch_text';
COMMENT ON FUNCTION immutable.track_batch(text) IS
'Records several events that are given as text, as immutable.track_batch(jsonb) does.
An untyped literal or parameter is taken as text. An event that is no JSON, such as one with NaN, is
answered in its place.
Raises the errors of that function, and 22P02 if brackets do not match or a string does not end.';

-- sql/write/restore.sql
-- Dumps: what is restored from one, and what keeps one from leaving rows out.

CREATE FUNCTION immutable.guard_log() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_log';
COMMENT ON FUNCTION immutable.guard_log() IS
'Trigger that lets a dump restore the row of immutable.log, with immutable.restore = on.
It runs BEFORE INSERT on immutable.log.
Raises 42501 without that setting, and XX001 for another identity than that of the events that are
here.';

CREATE TRIGGER "~immutable_insert" BEFORE INSERT ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.guard_log();

-- The table of keys has no policy, so that pg_read_all_data and pg_write_all_data, which pass every
-- grant, reach no row. The other tables of a dump need an error instead: pg_dump
-- --enable-row-security would succeed, without revocations and grants, and without the events that
-- its role may not see. immutable.log stands for the events, because a log with events has a row in
-- it. Only such roles read these tables, and auditors read immutable.log, so that no other role
-- meets the error.
CREATE FUNCTION immutable.refuse_part_of(tab text) RETURNS boolean LANGUAGE c STABLE PARALLEL SAFE STRICT
AS 'MODULE_PATHNAME', 'immutable_refuse_part_of';
COMMENT ON FUNCTION immutable.refuse_part_of(text) IS
'Policy that stops a dump which row security would leave rows out of.
It is on immutable.log, immutable.revocations and immutable.tenant_grants.
- tab: the table''s name, for the message.
Raises 42501 always.';
CREATE POLICY all_or_none ON immutable.log FOR SELECT USING (immutable.refuse_part_of('log'));
CREATE POLICY all_or_none ON immutable.revocations FOR SELECT USING (immutable.refuse_part_of('revocations'));
CREATE POLICY all_or_none ON immutable.tenant_grants FOR SELECT USING (immutable.refuse_part_of('tenant_grants'));
COMMENT ON POLICY all_or_none ON immutable.log IS 'Refuses roles that row security applies to, except auditors';
COMMENT ON POLICY all_or_none ON immutable.revocations IS 'Refuses roles that row security applies to';
COMMENT ON POLICY all_or_none ON immutable.tenant_grants IS 'Refuses roles that row security applies to';

-- sql/write/replica.sql
-- What a replication brings in.

CREATE FUNCTION immutable.replicate() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_replicate';
COMMENT ON FUNCTION immutable.replicate() IS
'Trigger that takes what a replication brings in: the publisher''s events as they are, and erasures.
It fires where session_replication_role is replica: in the workers of a subscription, and in
sessions that replay a replication origin. It sets xact to the subscriber''s transaction. In any
other such session it sets xact and nothing else.
Raises 42501 for a change that is no erasure, for a DELETE or TRUNCATE, which stops the replication,
and for a session without a replication whose role is neither superuser nor owner.';

-- These triggers fire where session_replication_role is replica, as in a subscription's workers.
-- The other triggers do not fire there.
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply_truncate" BEFORE TRUNCATE ON immutable.events FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply_truncate" BEFORE TRUNCATE ON immutable.log FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.cluster FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply" BEFORE DELETE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply_truncate" BEFORE TRUNCATE ON immutable.event_targets FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.event_targets ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.event_targets ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
ALTER TABLE immutable.log ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.log ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
ALTER TABLE immutable.cluster ENABLE REPLICA TRIGGER "~immutable_apply";

-- sql/read/time_bound.sql
-- Bounds of time: a text or a date without a time of day is the whole day. One type, and not
-- overloads, keeps calls with named arguments unambiguous, and lets gateways that find functions by
-- the names of their arguments find one.
CREATE TYPE immutable.day_or_time;
CREATE FUNCTION immutable.day_or_time_in(cstring)
RETURNS immutable.day_or_time LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_in';
CREATE FUNCTION immutable.day_or_time_out(immutable.day_or_time)
RETURNS cstring LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_out';
CREATE TYPE immutable.day_or_time (
  INPUT = immutable.day_or_time_in, OUTPUT = immutable.day_or_time_out, INTERNALLENGTH = 16, ALIGNMENT = double);
COMMENT ON TYPE immutable.day_or_time IS
  'A bound of time: a day as a whole, or a point in time. Its input is what timestamptz takes; a date '
  'without a time of day is the whole day in the session''s time zone. Values of date, timestamptz and '
  'timestamp are cast to it implicitly.';
COMMENT ON FUNCTION immutable.day_or_time_in(cstring) IS
'Input function of immutable.day_or_time.
Raises 22007 and 22008 as the input of timestamptz does.';
COMMENT ON FUNCTION immutable.day_or_time_out(immutable.day_or_time) IS
'Output function of immutable.day_or_time: a date, or a timestamptz.
Raises no error.';
CREATE FUNCTION immutable.day_or_time(date)
RETURNS immutable.day_or_time LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_date';
COMMENT ON FUNCTION immutable.day_or_time(date) IS
'Returns the whole day, in the session''s time zone, as a bound.
Raises 22008 for a day that timestamptz does not have.';
CREATE FUNCTION immutable.day_or_time(timestamptz)
RETURNS immutable.day_or_time LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_timestamptz';
COMMENT ON FUNCTION immutable.day_or_time(timestamptz) IS
'Returns the point in time as a bound.
Raises no error.';
CREATE FUNCTION immutable.day_or_time(timestamp)
RETURNS immutable.day_or_time LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_day_or_time_timestamp';
COMMENT ON FUNCTION immutable.day_or_time(timestamp) IS
'Returns the point in time, in the session''s time zone, as a bound.
Raises 22008 for a time that timestamptz does not have.';
CREATE CAST (date AS immutable.day_or_time) WITH FUNCTION immutable.day_or_time(date) AS IMPLICIT;
CREATE CAST (timestamptz AS immutable.day_or_time) WITH FUNCTION immutable.day_or_time(timestamptz) AS IMPLICIT;
CREATE CAST (timestamp AS immutable.day_or_time) WITH FUNCTION immutable.day_or_time(timestamp) AS IMPLICIT;
COMMENT ON CAST (date AS immutable.day_or_time) IS 'The whole day, in the session''s time zone';
COMMENT ON CAST (timestamptz AS immutable.day_or_time) IS 'The point in time';
COMMENT ON CAST (timestamp AS immutable.day_or_time) IS 'The point in time, in the session''s time zone';

-- sql/read/events.sql
-- Pages of events. The functions run with the caller's rights. An index gives the rows of a page in
-- order. A plan that is kept for any arguments must not expect few rows and sort them, or read the
-- whole table; so the functions make sorting and sequential scans expensive while a statement is
-- planned. JIT compilation is off because such costs would start it.

CREATE FUNCTION immutable.get_event(id uuid, tenant_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_event';
COMMENT ON FUNCTION immutable.get_event(uuid, text) IS
'Returns the event with this id as {"data": event}.
- id: the event''s id.
- tenant_id: the event''s tenant; needed only if events of several tenants have this id.
Returns NULL if the caller sees no such event.
Raises 21000 if events of several tenants have this id and tenant_id is not given, and 28000 for a
viewer token that is refused.';

CREATE FUNCTION immutable.get_events(
  actor_id text DEFAULT NULL, action text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, target_type text DEFAULT NULL, target_id text DEFAULT NULL,
  search text DEFAULT NULL, from_date immutable.day_or_time DEFAULT NULL,
  to_date immutable.day_or_time DEFAULT NULL,
  "cursor" text DEFAULT NULL, "limit" integer DEFAULT 25, "order" text DEFAULT 'desc', "count" text DEFAULT 'auto')
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_hashagg = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_get_events';
COMMENT ON FUNCTION immutable.get_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text, text) IS
'Returns a page of the events that pass every filter given.
- actor_id, resource, resource_id, session_id, target_type, target_id: the event''s value, or that of
  one of its targets, is this.
- action: the event''s action is this one; * in it stands for any text.
- tenant_id: the event belongs to this tenant; an empty text finds the events without a tenant.
- search: a part of actor_name, action, resource_name or metadata, compared as immutable.fold()
  returns it. Ids are not searched.
- from_date, to_date: inclusive bounds of created_at. to_date => now() includes what this
  transaction has recorded.
- cursor: next_cursor or previous_cursor of another page, with the same filters and order.
- limit: the most events of the page, from 1 to 100.
- order: ''desc'', the newest first, or ''asc''.
- count: ''auto'' gives the total; ''none'' leaves it out.
Returns {"data": [...], "pagination": {"has_more", "next_cursor", "previous_cursor", "total",
"total_relation"}}. total is exact (total_relation is "eq") where that is cheap: for all events of a
tenant, and where at most immutable.max_exact_total entries and a tenth as many pages of the
database have to be read; otherwise it is an estimate ("estimate"). In order ''asc'' the last page has
a next_cursor too, from which a later call goes on; immutable.changes() is the feed that leaves out
no event.
Raises 22023 for another limit, order or count, for an action with a comma, and for a cursor that is
no cursor of these filters and this order, 54000 for a page that is larger than a jsonb can be, and
28000 for a viewer token that is refused.';

CREATE FUNCTION immutable.find_events(
  actor_id text DEFAULT NULL, action text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, target_type text DEFAULT NULL, target_id text DEFAULT NULL,
  search text DEFAULT NULL, from_date immutable.day_or_time DEFAULT NULL,
  to_date immutable.day_or_time DEFAULT NULL,
  "cursor" text DEFAULT NULL, "limit" integer DEFAULT 25, "order" text DEFAULT 'desc')
RETURNS SETOF immutable.events LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 25
SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_hashagg = off SET enable_seqscan = off AS 'MODULE_PATHNAME', 'immutable_find_events';
COMMENT ON FUNCTION immutable.find_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text) IS
'Returns the events that pass every filter given, as rows of immutable.events.
The arguments are those of immutable.get_events(), without count; limit is from 1 to 10,000.
Raises 22023 for another limit or order, for an action with a comma, and for a cursor that is no
cursor of these filters and this order, XX001 for an event that cannot be read, and 28000 for a
viewer token that is refused.';

-- sql/read/changes.sql
-- The feed of events. It runs with the caller's rights.

CREATE FUNCTION immutable.changes(tenant_id text DEFAULT NULL, after jsonb DEFAULT NULL, "limit" integer DEFAULT 100)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_changes';
COMMENT ON FUNCTION immutable.changes(text, jsonb, integer) IS
'Returns the events after a position, for consumers that must see each event once.
- tenant_id: the tenant; an empty text is for the events without a tenant, NULL for all events.
- after: position of the answer before; NULL begins at the first event.
- limit: the most events, from 1 to 10,000. An answer ends earlier with the event that passes 16 MB.
Returns {"data": [...], "position", "has_more"}. For one tenant, position is {lane: "seq:hash"}, and
is valid on standbys and after a restore. For all events it is {"xact", "id", "tenant_id", "hash"},
the order is that of the recording transactions, the oldest transaction that still writes in the
cluster holds events back (immutable.status() says for how long), and the position is not valid
after a restore by pg_dump. hash is the first 8 bytes of the event_hash in hex.
Raises 22023 for another limit and for what is no position, and 55000 for a position whose event the
log does not have or the caller does not see, as after a failover that lost events, a recovery or a
restore (on a standby or a subscriber, a missing event may still arrive and is no error), and 28000
for a viewer token that is refused.';

-- sql/read/views.sql
-- Views for reports, with flat, typed columns. The caller's rights and row security apply.

CREATE VIEW immutable.activity WITH (security_invoker = true) AS
SELECT e.id AS event_id, e.tenant_id, e.created_at, e.occurred_at, e.actor_id, e.actor_name, e.actor_type, e.action,
  e.action_category, e.resource_type, e.resource_id, e.resource_name, e.session_id, e.idempotency_key, e.ip_address,
  e.ip_country, e.ip_city, e.user_agent, e.version, e.metadata,
  CASE WHEN pg_catalog.jsonb_typeof(e.targets) = 'array' THEN pg_catalog.jsonb_array_length(e.targets) END AS target_count,
  e.erased IS NOT NULL AS is_erased, e.recorded_by, e.lane, e.seq,
  pg_catalog.encode(e.event_hash, 'hex') AS event_hash,
  pg_catalog.encode(e.previous_event_hash, 'hex') AS previous_event_hash
FROM immutable.events e;
COMMENT ON VIEW immutable.activity IS
  'Audit events for reports: one row for each event, hashes in hex. The caller''s rights and row '
  'security apply.';
COMMENT ON COLUMN immutable.activity.event_id IS 'The event''s id; unique together with tenant_id';
COMMENT ON COLUMN immutable.activity.tenant_id IS 'The tenant (customer) that the event belongs to; empty for none';
COMMENT ON COLUMN immutable.activity.created_at IS
  'When it was recorded, by the server''s clock. Indexed: a range of it is quick';
COMMENT ON COLUMN immutable.activity.occurred_at IS
  'When it happened, as the application says. Differs from created_at for events that were imported or '
  'came late. Not indexed';
COMMENT ON COLUMN immutable.activity.actor_id IS 'Id of the user or program that acted';
COMMENT ON COLUMN immutable.activity.actor_name IS 'The actor''s name';
COMMENT ON COLUMN immutable.activity.actor_type IS 'The kind of actor';
COMMENT ON COLUMN immutable.activity.action IS 'What the actor did';
COMMENT ON COLUMN immutable.activity.action_category IS 'The category of the action';
COMMENT ON COLUMN immutable.activity.resource_type IS 'The kind of thing that was acted on';
COMMENT ON COLUMN immutable.activity.resource_id IS 'Id of the thing that was acted on';
COMMENT ON COLUMN immutable.activity.resource_name IS 'Name of the thing that was acted on';
COMMENT ON COLUMN immutable.activity.session_id IS 'The actor''s session';
COMMENT ON COLUMN immutable.activity.idempotency_key IS 'The application''s key against recording twice';
COMMENT ON COLUMN immutable.activity.ip_address IS 'The actor''s IP address';
COMMENT ON COLUMN immutable.activity.ip_country IS 'Country of the IP address';
COMMENT ON COLUMN immutable.activity.ip_city IS 'City of the IP address';
COMMENT ON COLUMN immutable.activity.user_agent IS 'The actor''s program';
COMMENT ON COLUMN immutable.activity.version IS 'Version of the event''s schema';
COMMENT ON COLUMN immutable.activity.metadata IS 'Anything else about the event: a JSON object';
COMMENT ON COLUMN immutable.activity.target_count IS
  'How many targets the event has; immutable.activity_targets has them';
COMMENT ON COLUMN immutable.activity.is_erased IS 'Whether a value of the event was erased';
COMMENT ON COLUMN immutable.activity.recorded_by IS 'Login of the connection that recorded the event';
COMMENT ON COLUMN immutable.activity.lane IS 'The lane of the tenant''s chain, from 0';
COMMENT ON COLUMN immutable.activity.seq IS 'The event''s number in its lane, from 1';
COMMENT ON COLUMN immutable.activity.event_hash IS 'SHA-256 of the event''s document, in hex';
COMMENT ON COLUMN immutable.activity.previous_event_hash IS 'event_hash of the event before it in the lane, in hex';

CREATE VIEW immutable.activity_targets WITH (security_invoker = true) AS
SELECT t.event_id, t.tenant_id, t.created_at, t.position, t.target_type, t.target_id, t.target_name, t.target_metadata,
  CASE WHEN t.position = 0 THEN 1 ELSE 0 END AS event_count
FROM immutable.event_targets t;
COMMENT ON VIEW immutable.activity_targets IS
  'The targets of events for reports: one row for each target. A join with immutable.activity on '
  '(tenant_id, event_id) repeats events; sum(event_count) counts each once. The caller''s rights and row '
  'security apply.';
COMMENT ON COLUMN immutable.activity_targets.event_id IS 'The event''s id; unique together with tenant_id';
COMMENT ON COLUMN immutable.activity_targets.tenant_id IS
  'The tenant (customer) that the event belongs to; empty for none';
COMMENT ON COLUMN immutable.activity_targets.created_at IS 'When the event was recorded';
COMMENT ON COLUMN immutable.activity_targets.position IS 'The target''s position in the event, from 0';
COMMENT ON COLUMN immutable.activity_targets.target_type IS 'The target''s type';
COMMENT ON COLUMN immutable.activity_targets.target_id IS 'The target''s id';
COMMENT ON COLUMN immutable.activity_targets.target_name IS 'The target''s name';
COMMENT ON COLUMN immutable.activity_targets.target_metadata IS 'The target''s metadata: a JSON object';
COMMENT ON COLUMN immutable.activity_targets.event_count IS
  '1 for an event''s first target and 0 for its others, so that the sum counts events';

-- sql/read/search.sql
-- What a search compares, and the index for get_events(search => ...). The index has the expression
-- that src/read/filter.rs puts into queries.

CREATE FUNCTION immutable.fold(given text)
RETURNS text LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_fold';
COMMENT ON FUNCTION immutable.fold(text) IS
'Returns a text as a search compares it: in Unicode''s normal form C and without regard to case.
The result is the same in every locale. Accents stay; a sharp s is ss, and the four letters i of
Turkish are one i.
Returns NULL for NULL, and an empty text for one that cannot be read.
Raises no error.';

CREATE FUNCTION immutable.enable_search()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  trgm pg_catalog.name := (SELECT n.nspname FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm');
BEGIN
  IF trgm IS NULL THEN
    RAISE EXCEPTION 'enable_search() needs the extension pg_trgm in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'A superuser can install it with CREATE EXTENSION pg_trgm.';
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indexrelid = pg_catalog.to_regclass('immutable.events_search') AND NOT i.indisvalid) THEN
    RAISE EXCEPTION 'index immutable.events_search is invalid: its creation was interrupted, or is still running'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'If no session is creating it now, call immutable.disable_search(), then enable_search() again.';
  END IF;
  EXECUTE pg_catalog.format($index$CREATE INDEX IF NOT EXISTS events_search ON immutable.events USING gin ((
    immutable.fold((coalesce(immutable.text_of(actor_name), '') || E'\n' || immutable.text_of(action) || E'\n' ||
    coalesce(immutable.text_of(resource_name), '') || E'\n' ||
    immutable.text_of(metadata)) COLLATE pg_catalog."C")) %I.gin_trgm_ops)$index$, trgm);
  -- Statistics would contain the texts, and EXPLAIN would tell every viewer how frequent a text is:
  -- see sql/access.sql.
  ALTER INDEX immutable.events_search ALTER COLUMN 1 SET STATISTICS 0;
END
$$;
COMMENT ON FUNCTION immutable.enable_search() IS
'Builds the index that makes get_events(search => ...) fast over the whole log.
The answers are the same without it. Writers wait while it is built; docs/operations.md has the
statement that does not make them wait.
Raises 55000 without the extension pg_trgm, or if an interrupted CREATE INDEX CONCURRENTLY left the
index invalid.';

CREATE FUNCTION immutable.disable_search()
RETURNS void LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$ DROP INDEX IF EXISTS immutable.events_search $$;
COMMENT ON FUNCTION immutable.disable_search() IS
'Drops the index that immutable.enable_search() builds, if it is there.
Raises no error of its own.';

-- sql/read/export.sql
-- Export. It runs with the caller's rights, and contains what the caller may read.

CREATE FUNCTION immutable.export_events(
  actor_id text DEFAULT NULL, action text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, target_type text DEFAULT NULL, target_id text DEFAULT NULL,
  search text DEFAULT NULL, from_date immutable.day_or_time DEFAULT NULL,
  to_date immutable.day_or_time DEFAULT NULL)
RETURNS SETOF text LANGUAGE c STABLE PARALLEL RESTRICTED COST 10000 ROWS 1000000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_export_events';
COMMENT ON FUNCTION immutable.export_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time) IS
'Returns events as lines of JSON, which the program immutable-verify checks without a database.
The lines are a header, the events in the order of tenant, lane and seq, and an end.
docs/hash-format.md has the format. Where client_encoding is neither UTF8 nor SQL_ASCII, the lines
consist of ASCII alone, and verify as well.
The filters are those of immutable.get_events(). With tenant_id alone every lane is whole; from_date
and to_date leave a run of each lane, and other filters leave gaps that cannot be checked.
In the select list it streams: COPY (SELECT immutable.export_events()) TO STDOUT WITH (FORMAT csv,
QUOTE e''\x01'', DELIMITER e''\x02'', ENCODING ''UTF8''). COPY''s text format would double every backslash.
A cursor WITH HOLD goes on after COMMIT.
Raises 22023 for an action with a comma, and 55000 if immutable.events was altered.';

-- sql/verify.sql
-- Verification. It runs with the caller's rights, and checks what the caller may read.

CREATE FUNCTION immutable.heads(tenant_id text DEFAULT NULL)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_hash bytea)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
  -- One step of the index for each lane, however long the lanes are.
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
'Returns the head of every lane: the number and hash of its last event.
Heads that are kept elsewhere show later, through verify_chain(heads => ...), whether the end of a
lane was cut off. SELECT coalesce(jsonb_agg(h), ''[]'') FROM immutable.heads() h gives them as that
argument takes them.
- tenant_id: the tenant; NULL for all lanes.
Raises no error of its own.';

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
  max_breaks integer DEFAULT 1000, progress boolean DEFAULT false,
  OUT valid boolean, OUT events_checked bigint, OUT chains_checked bigint, OUT events_erased bigint, OUT breaks jsonb,
  OUT breaks_found bigint, OUT tenants_checked bigint, OUT complete boolean, OUT log_id uuid,
  OUT events_total bigint, OUT heads_checked bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 1
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify_chain';
COMMENT ON FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean) IS
'Verifies the log: computes every event''s hash again, and checks links, targets and erasures.
It sees what the caller may read. It runs in parallel as the session''s settings allow, unless
max_events or since is given.
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
- heads_checked: how many heads were compared. If it is 0, nothing shows an end that was cut off.
Raises 22023 for malformed heads or since, for since together with a range or max_events, for
max_events below 1, and for another max_breaks, and 55000 if immutable.events was altered.';

CREATE FUNCTION immutable.verify_breaks(
  tenant_id text DEFAULT NULL, from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL,
  max_events bigint DEFAULT NULL, heads jsonb DEFAULT NULL, since jsonb DEFAULT NULL, targets boolean DEFAULT true,
  max_breaks bigint DEFAULT NULL, progress boolean DEFAULT false)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_id uuid, type text, expected_hash bytea,
               actual_hash bytea, detail text)
LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 10
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify_breaks';
COMMENT ON FUNCTION immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean) IS
'Returns the breaks that immutable.verify_chain() finds, one row each.
The type of a break is hash_mismatch, chain_break, missing_event, target_mismatch or
erasure_mismatch. No row means that no break was found in what was checked; immutable.verify_chain()
says how much that was. The arguments are those of that function, except for max_breaks.
- max_breaks: the most breaks to return, from 0; NULL for all.
Raises 22023 and 55000 as immutable.verify_chain() does.';

CREATE FUNCTION immutable.verify_shard(
  events regclass, targets boolean DEFAULT true,
  OUT valid boolean, OUT events_checked bigint, OUT chains_checked bigint, OUT events_erased bigint, OUT breaks jsonb,
  OUT breaks_found bigint, OUT tenants_checked bigint, OUT complete boolean, OUT log_id uuid,
  OUT events_total bigint, OUT heads_checked bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 1
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify_shard';
COMMENT ON FUNCTION immutable.verify_shard(regclass, boolean) IS
'Verifies one shard of a distributed log, as immutable.verify_chain() verifies a log.
- events: a table like immutable.events. The table whose foreign key refers to it has the targets.
- targets: false leaves the targets out.
Returns the row that immutable.verify_chain() returns. The caller''s rights to both tables apply.
Raises 42P01 if there is no such table, 55000 if it is no table of events or no table of targets
refers to it, and 22023 for a name with an apostrophe.';

CREATE FUNCTION immutable.verify(
  from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL, "limit" integer DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify';
COMMENT ON FUNCTION immutable.verify(timestamptz, timestamptz, integer) IS
'Verifies the log as immutable.verify_chain() does, and returns the result as JSON.
- from_date, to_date: inclusive bounds of created_at.
- limit: only the first so many events, in the order of tenant, lane and seq. NULL for every event.
Returns {"data": {"valid", "events_checked", "events_total", "complete", "breaks": [{"event_id",
"type", "expected_hash", "actual_hash"}]}}. valid is about the events that were checked, and null if
there were none; complete says whether these were all events of the log.
Raises 22023 for a limit below 1, and 55000 if immutable.events was altered.';

-- sql/erase.sql
-- Erasing. The functions run with the owner's rights, so that immutable_eraser needs no right to
-- the tables, and has none.

CREATE FUNCTION immutable.erase(event_id uuid, tenant_id text, paths text[], reason text)
RETURNS TABLE (event_id uuid, path text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000 ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase';
COMMENT ON FUNCTION immutable.erase(uuid, text, text[], text) IS
'Destroys values of one event for good, and records that it did.
The commitments of the values stay, so that the chain still verifies. The record is an event
immutable.event_erased of the same tenant. Its metadata has reason, and own_events, the number of
erased events that the caller or the login recorded or was the actor of. The event''s lane stays
locked until the transaction ends.
- event_id, tenant_id: the event; NULL or an empty text stands for an event without a tenant.
- paths: columns such as actor_name, metadata.<key> with the key as it is, and targets.<n> from 0.
  Of the log''s own events only metadata.reason can be erased.
- reason: why, in 1 to 4,096 bytes. The record keeps it, so it must name nobody.
Returns what was erased now. Paths that were erased before or have no value are passed over; if
nothing is left, nothing is recorded.
Raises P0002 if the tenant has no such event, 22004 for an argument that is NULL, 22023 for an empty
argument or a path that the event cannot have, 22001 for a reason that is too long, 55000 for an
event that does not match its hash, 25006 on a standby or a subscriber, and above READ COMMITTED
40001: retry.';

CREATE FUNCTION immutable.erase_subject(
  tenant_id text, subject_id text, reason text, metadata_keys text[] DEFAULT '{}', actor_paths text[] DEFAULT NULL,
  dry_run boolean DEFAULT false)
RETURNS TABLE (event_id uuid, path text, found text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase_subject';
COMMENT ON FUNCTION immutable.erase_subject(text, text, text, text[], text[], boolean) IS
'Erases a person from the events of one tenant, as immutable.erase() does for one event.
docs/erasure.md has the rules of what is found. In short: where the person is the actor, everything
is erased (or actor_paths); where the person is the resource, resource_id and resource_name; each
target with that id; and each other column, target and top-level metadata key that contains the id
as a whole word. Of every event that is found, the metadata_keys are erased as well. It covers every
event that was committed when it began.
- tenant_id: the tenant; NULL or empty is for the events without a tenant.
- subject_id: the person''s id.
- reason: why, in 1 to 4,096 bytes. The record keeps it, so it must not contain the id.
- metadata_keys: top-level keys of metadata to erase from every event that is found.
- actor_paths: what to erase where the person is the actor, instead of everything.
- dry_run: true changes nothing, and returns what would be erased.
Returns event_id, path and found: "exact", the value is the id; "within", it contains the id;
"beside", it stands beside such a value. A dry run also returns, as "variant", values that look like
the id and would stay, such as the id in other case or percent-encoded.
Raises the errors of immutable.erase(), and 22023 for a reason that contains the id. An event that
may be about the person and does not match its hash is left as it is, with a WARNING.';

CREATE FUNCTION immutable.erase_subject(
  tenant_id text, subject text[], reason text, metadata_keys text[] DEFAULT '{}', actor_paths text[] DEFAULT NULL,
  dry_run boolean DEFAULT false)
RETURNS TABLE (event_id uuid, path text, found text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase_subjects';
COMMENT ON FUNCTION immutable.erase_subject(text, text[], text, text[], text[], boolean) IS
'Erases a person who has several ids, or one that is written in several ways.
It does for every id what immutable.erase_subject() with one id does, in one pass and with common
records.
- subject: the person''s ids, at least one.
Returns what that function returns.
Raises the errors of that function, and 22004 for an id that is NULL.';

-- sql/citus.sql
-- The log on several machines, with Citus. docs/scale-out.md has the requirements, and what stays
-- each node's own.

CREATE FUNCTION immutable.share_identity(log_id uuid DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_share_identity';
COMMENT ON FUNCTION immutable.share_identity(uuid) IS
'Part of immutable.distribute(): gives this node the log''s identity, and returns it.
- log_id: the identity; NULL makes one if there is none.
Raises 55000 if this node has another identity.';

CREATE FUNCTION immutable.prepare_tables()
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_prepare_tables';
COMMENT ON FUNCTION immutable.prepare_tables() IS
'Part of immutable.distribute(): makes policies and column defaults that Citus can distribute.
It writes the viewers'' policies without a subquery, which show the same rows, and gives the columns
that have settings a default that is read on the client''s node.
Raises 42501 for a role that does not own immutable.events.';

CREATE FUNCTION immutable.distribute()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  log pg_catalog.uuid;
  node pg_catalog.record;
  done pg_catalog.bool;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus') THEN
    RAISE EXCEPTION 'distribute() needs the extension citus in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Without Citus there is nothing to distribute. To use Citus, run CREATE EXTENSION citus as a superuser, then citus_add_node().';
  END IF;
  EXECUTE $q$SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition
    WHERE logicalrelid = 'immutable.events'::pg_catalog.regclass)$q$ INTO done;
  IF NOT done THEN
    IF EXISTS (SELECT FROM immutable.events) THEN
      RAISE EXCEPTION 'a log that has events cannot be distributed'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Distribute a new database, and restore the dump of this one into it.';
    END IF;
    PERFORM pg_catalog.set_config('citus.enable_unsafe_triggers', 'on', true);
    PERFORM immutable.prepare_tables();
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.events', 'tenant_id', colocate_with => 'none')$q$;
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.event_targets', 'tenant_id',
      colocate_with => 'immutable.events')$q$;
    -- An erasure runs on the node of the shard: only a function of the owner in the same process
    -- may write its record.
    EXECUTE $q$SELECT pg_catalog.create_distributed_function(f::pg_catalog.regprocedure, 'tenant_id', colocate_with => 'immutable.events')
      FROM (VALUES ('immutable.erase(uuid, text, text[], text)'),
                   ('immutable.erase_subject(text, text, text, text[], text[], boolean)'),
                   ('immutable.erase_subject(text, text[], text, text[], text[], boolean)')) x(f)$q$;
  END IF;
  log := immutable.share_identity();
  FOR node IN EXECUTE 'SELECT nodename, nodeport, success, result FROM pg_catalog.run_command_on_workers($1)'
    USING pg_catalog.format('SELECT immutable.share_identity(%L)', log)
  LOOP
    IF NOT node.success THEN
      RAISE EXCEPTION 'node %:% cannot take the log''s identity: %', node.nodename, node.nodeport, node.result
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Create the extension anew on that node, in the coordinator''s version. Then call distribute() again.';
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION immutable.distribute() IS
'Distributes the log over the nodes of Citus by tenant_id, before the first event.
It co-locates events and event_targets, and tells every node the log''s identity; call it again after
adding a node. docs/scale-out.md says what stays each node''s own.
Raises 55000 without the extension citus, if there are events, or if a node cannot take the
identity.';

-- sql/status.sql
-- The state of the log in one row, from catalogs and a few steps of indexes. Nothing in it reads
-- the whole log.

-- pg_dump dumps every row or fails, and the right to read every table is not enough for that where
-- there is row security. A member with NOINHERIT can dump with pg_dump --role, so MEMBER is what
-- counts.
CREATE FUNCTION immutable.logins_that_cannot_dump() RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT coalesce(array_agg(quote_ident(r.rolname) ORDER BY r.rolname), '{}') FROM pg_roles r
  WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolbypassrls AND pg_has_role(r.oid, 'pg_read_all_data', 'MEMBER');
END;
COMMENT ON FUNCTION immutable.logins_that_cannot_dump() IS
'Returns the logins that are members of pg_read_all_data and subject to row security.
pg_dump by such a login fails at immutable.events. CREATE EXTENSION and immutable.status() name
them.
Returns quoted names in the order of the names.
Raises no error.';

CREATE FUNCTION immutable.status(
  OUT version text, OUT settings jsonb, OUT estimated_events bigint, OUT total_bytes bigint, OUT chains bigint,
  OUT chains_relation text, OUT last_event_id uuid, OUT last_event_at timestamptz, OUT lanes_in_use bigint,
  OUT longest_lane_hold interval, OUT prepared_transactions bigint, OUT triggers_enabled boolean,
  OUT row_security_enabled boolean, OUT guard_enabled boolean, OUT allow_ddl boolean, OUT restore boolean,
  OUT search_index text, OUT is_standby boolean, OUT changes_held_for interval, OUT problems text[])
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER COST 100000
-- Settings of a session, such as enable_indexscan = off, must not make it slow.
SET search_path = pg_catalog, pg_temp SET enable_indexscan = on SET enable_indexonlyscan = on SET jit = off
BEGIN ATOMIC
  WITH RECURSIVE expected (tab, name, function) AS (VALUES
    ('events', '~immutable_chain', 'chain'), ('events', '~immutable_targets', 'derive_targets'),
    ('events', '~immutable_update', 'guard_event'), ('events', '~immutable_delete', 'refuse'),
    ('events', '~immutable_truncate', 'refuse'), ('event_targets', '~immutable_target', 'guard_target'),
    ('event_targets', '~immutable_delete', 'refuse'), ('event_targets', '~immutable_truncate', 'refuse'),
    ('log', '~immutable_insert', 'guard_log'),
    ('log', '~immutable_write', 'refuse'), ('log', '~immutable_truncate', 'refuse'),
    ('cluster', '~immutable_write', 'refuse'), ('cluster', '~immutable_truncate', 'refuse'),
    ('events', '~immutable_apply', 'replicate'), ('events', '~immutable_apply_truncate', 'replicate'),
    ('log', '~immutable_apply', 'replicate'), ('log', '~immutable_apply_truncate', 'replicate'),
    ('cluster', '~immutable_apply', 'replicate'), ('event_targets', '~immutable_apply', 'replicate'),
    ('event_targets', '~immutable_apply_truncate', 'replicate'),
    ('tenant_grants', '~immutable_bind', 'bind_role'), ('viewer_key_import', '~immutable_begin', 'take_viewer_key'),
    ('viewer_key_import', '~immutable_take', 'take_viewer_key'),
    ('viewer_key_import', '~immutable_store', 'take_viewer_key')),
  tables AS (SELECT c.oid, c.relname::text AS tab, c.relrowsecurity, c.relpersistence
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'immutable' AND c.relkind = 'r' AND c.relname IN ('events', 'event_targets', 'log', 'cluster', 'viewer_keys',
      'viewer_key_import', 'revocations', 'tenant_grants')),
  events AS (SELECT c.* FROM pg_class c WHERE c.oid = (SELECT oid FROM tables WHERE tab = 'events')),
  bad_triggers AS (
    SELECT format('trigger %I of immutable.%I is %s: events can be recorded outside the chain, or changed. Enable it (ALTER TABLE ... ENABLE TRIGGER, with immutable.allow_ddl = on), then call verify_chain()',
      x.name, x.tab, CASE WHEN t.oid IS NULL THEN 'missing or altered' ELSE 'disabled' END) AS problem
    FROM expected x LEFT JOIN tables r ON r.tab = x.tab LEFT JOIN pg_trigger t ON t.tgrelid = r.oid AND t.tgname = x.name
      AND t.tgqual IS NULL AND t.tgfoid IN (SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE p.proname = x.function AND l.lanname = 'c'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE t.oid IS NULL OR t.tgenabled NOT IN ('A', CASE x.function WHEN 'replicate' THEN 'R'::"char" ELSE 'O' END)
    UNION ALL
    SELECT format('trigger %I of immutable.%I does not belong to the extension and runs after its triggers: drop it', t.tgname, r.tab)
    FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgname COLLATE "C" > '~immutable_' AND t.tgenabled <> 'D'
      AND NOT EXISTS (SELECT FROM expected x WHERE x.tab = r.tab AND x.name = t.tgname)),
  -- These run before the extension's triggers, in the order of their names: what they change is
  -- hashed as they leave it, and what they leave out is not recorded at all.
  other_triggers AS (
    SELECT format('trigger %I of immutable.%I does not belong to the extension and runs before its triggers: it can change an event before it is recorded, or leave it out. Check function %s, or drop the trigger',
      t.tgname, r.tab, t.tgfoid::regprocedure) AS problem
    FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 2 <> 0 AND t.tgname COLLATE "C" < '~immutable_'),
  open_tables AS (
    SELECT format('row security of immutable.%I is off: every role that can read it sees all tenants. Run ALTER TABLE ... ENABLE ROW LEVEL SECURITY, with immutable.allow_ddl = on', tab) AS problem
    FROM tables WHERE NOT relrowsecurity AND tab <> 'cluster'
    UNION ALL
    SELECT format('policy %s of immutable.%s is missing: %s', x.policy, x.tab, CASE x.policy WHEN 'all_or_none'
      THEN 'pg_dump --enable-row-security leaves its rows out' ELSE 'its role sees or records nothing' END)
    FROM (VALUES ('events', 'writer_insert'), ('events', 'writer_returning'), ('events', 'auditor_select'),
      ('events', 'viewer_select'), ('event_targets', 'auditor_select'), ('event_targets', 'viewer_select'),
      ('revocations', 'all_or_none'), ('tenant_grants', 'all_or_none'), ('log', 'all_or_none'), ('log', 'auditor_select')) x (tab, policy)
    WHERE NOT EXISTS (SELECT FROM pg_policy p JOIN tables r ON r.oid = p.polrelid WHERE p.polname = x.policy AND r.tab = x.tab)
    UNION ALL
    SELECT format('policy %I of immutable.%I does not belong to the extension: check what it permits', p.polname, r.tab)
    FROM pg_policy p JOIN tables r ON r.oid = p.polrelid
    WHERE p.polname NOT IN ('writer_insert', 'writer_returning', 'auditor_select', 'viewer_select', 'all_or_none')),
  bad_guard AS (
    SELECT format('the guard''s event trigger %s is %s: DDL can change the tables without a record. Run ALTER EVENT TRIGGER %s ENABLE ALWAYS, then call status() again',
      x.name, CASE WHEN e.oid IS NULL THEN 'missing' ELSE 'disabled' END, x.name) AS problem
    FROM (VALUES ('immutable_ddl_start'), ('immutable_ddl_end'), ('immutable_ddl_drop')) x (name)
      LEFT JOIN pg_event_trigger e ON e.evtname = x.name
        AND e.evtfoid = (SELECT p.oid FROM pg_proc p WHERE p.proname = 'guard_ddl'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE e.oid IS NULL OR e.evtenabled NOT IN ('O', 'A')
    UNION ALL
    SELECT 'event_triggers is off, which disables the guard: DDL can change the tables without a record. Set it to on'
    WHERE current_setting('event_triggers', true) = 'off'),
  holds AS (SELECT l.pid, l.objid, l.objsubid, l.virtualtransaction FROM pg_locks l
    -- A number below 0 is no lane, but the lock of the writer that gets the next lane.
    WHERE l.locktype = 'object' AND l.granted AND l.objsubid >= 0 AND l.classid = (SELECT oid FROM events)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())),
  -- The locks of a prepared transaction have no process, and the virtual transaction ID of the
  -- lock that it holds on itself.
  prepared AS (SELECT p.gid, p.prepared, count(*) AS lanes
    FROM holds h JOIN pg_locks i ON i.virtualtransaction = h.virtualtransaction AND i.locktype = 'transactionid' AND i.granted
      AND i.pid IS NULL
    JOIN pg_prepared_xacts p ON p.transaction = i.transactionid
    WHERE h.pid IS NULL GROUP BY p.gid, p.prepared),
  holders AS (SELECT a.pid, a.state, a.xact_start, count(*) AS lanes FROM holds h JOIN pg_stat_activity a ON a.pid = h.pid
    GROUP BY a.pid, a.state, a.xact_start),
  -- One step of the index for each lane, and at most a thousand of them.
  chain (tenant_id, lane, n) AS (
    (SELECT e.tenant_id, e.lane, 1 FROM immutable.events e ORDER BY e.tenant_id, e.lane LIMIT 1)
    UNION ALL
    SELECT s.tenant_id, s.lane, c.n + 1 FROM chain c CROSS JOIN LATERAL (
      SELECT e.tenant_id, e.lane FROM immutable.events e WHERE (e.tenant_id, e.lane) > (c.tenant_id, c.lane)
      ORDER BY e.tenant_id, e.lane LIMIT 1) s
    WHERE c.n <= 1000),
  chained AS (SELECT coalesce(max(n), 0) AS n FROM chain),
  newest AS (SELECT e.id, e.created_at, e.lane FROM immutable.events e ORDER BY e.created_at DESC, e.id DESC LIMIT 1),
  begun AS (SELECT EXISTS (SELECT FROM immutable.log) AS has_identity, EXISTS (SELECT FROM newest) AS has_events,
    EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') AS is_distributed),
  -- A transaction that has a number holds back the feed of all tenants, in whatever database it
  -- runs.
  writing AS (
    SELECT format('backend %s (%s) in database %I', a.pid, a.state, a.datname) AS who,
      format('end that transaction, or call pg_terminate_backend(%s)', a.pid) AS what, a.xact_start AS since
    FROM pg_stat_activity a WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
    UNION ALL
    SELECT format('prepared transaction %L in database %I', p.gid, p.database), 'run COMMIT PREPARED or ROLLBACK PREPARED', p.prepared
    FROM pg_prepared_xacts p),
  longest_writing AS (SELECT w.* FROM writing w WHERE w.since IS NOT NULL ORDER BY w.since LIMIT 1),
  -- Transaction numbers of another server, which this one has not reached yet.
  foreign_xact AS (SELECT e.xact FROM immutable.events e
    WHERE e.xact >= pg_snapshot_xmax(pg_current_snapshot()) AND e.xact IS DISTINCT FROM pg_current_xact_id_if_assigned()
      AND NOT pg_is_in_recovery() ORDER BY e.xact DESC LIMIT 1),
  held_logins AS (SELECT nullif(array_to_string(immutable.logins_that_cannot_dump(), ', '), '') AS names),
  -- An erasure is an UPDATE, which PostgreSQL refuses if the publication needs more columns of the
  -- row than its key.
  bad_publications AS (
    SELECT format('publication %I publishes updates of immutable.%I, but its %s: erasures fail. Publish the whole table, or only inserts (ALTER PUBLICATION %I SET (publish = ''insert''))',
      b.pubname, r.tab, CASE WHEN x.filters THEN 'WHERE clause uses a column that is not in the primary key'
        ELSE 'column list lacks a column of the primary key' END, b.pubname) AS problem
    FROM pg_publication_rel p JOIN pg_publication b ON b.oid = p.prpubid JOIN tables r ON r.oid = p.prrelid
      JOIN pg_index i ON i.indrelid = r.oid AND i.indisprimary
      CROSS JOIN LATERAL (SELECT
        EXISTS (SELECT FROM regexp_matches(p.prqual::text, ':varattno (-?[0-9]+)', 'g') m
          WHERE m[1]::integer <> ALL (string_to_array(i.indkey::text, ' ')::integer[])) AS filters,
        EXISTS (SELECT FROM unnest(string_to_array(i.indkey::text, ' ')::integer[]) k
          WHERE k <> ALL (string_to_array(p.prattrs::text, ' ')::integer[])) AS lacks) x
    WHERE b.pubupdate AND (x.filters OR x.lacks)),
  bad_indexes AS (
    SELECT format('index immutable.%I is invalid: run DROP INDEX immutable.%I and create it again', c.relname, c.relname) AS problem
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid IN (SELECT oid FROM tables) AND NOT i.indisvalid),
  bad_keys AS (
    SELECT format('constraint %s of immutable.%s is missing: an event may be recorded outside the chain, or recording may fail. Create it again (ALTER TABLE ... ADD, with immutable.allow_ddl = on), then call verify_chain()', x.name, x.tab) AS problem
    FROM (VALUES ('events', 'events_chained_check'), ('events', 'events_pkey'), ('events', 'events_tenant_id_lane_seq_key'),
      ('events', 'events_tenant_id_idempotency_key_key'), ('event_targets', 'event_targets_pkey'),
      ('event_targets', 'event_targets_event_id_tenant_id_fkey')) x (tab, name)
    WHERE NOT EXISTS (SELECT FROM pg_constraint k JOIN tables r ON r.oid = k.conrelid
      WHERE k.conname = x.name AND r.tab = x.tab AND k.convalidated)),
  known AS (SELECT e.extversion, (SELECT a.default_version FROM pg_available_extensions a WHERE a.name = 'immutable') AS there
    FROM pg_extension e WHERE e.extname = 'immutable'),
  problem (place, problem) AS (
    SELECT 1, problem FROM bad_triggers
    UNION ALL SELECT 2, problem FROM bad_guard
    UNION ALL SELECT 3, 'immutable.allow_ddl is on in this session: commands that change the log''s objects are allowed, and are recorded. RESET immutable.allow_ddl'
      WHERE current_setting('immutable.allow_ddl', true) = 'on'
    UNION ALL SELECT 3, format('%s is set for a database or role: run ALTER DATABASE or ALTER ROLE ... RESET %s', x.setting, x.setting)
      FROM (SELECT DISTINCT split_part(c, '=', 1) AS setting FROM pg_db_role_setting s, unnest(s.setconfig) c
        WHERE c IN ('immutable.allow_ddl=on', 'immutable.restore=on', 'session_replication_role=replica',
          'event_triggers=off')) x
    UNION ALL SELECT 3, 'session_replication_role is replica in this session: events that it inserts are not chained. RESET it'
      WHERE current_setting('session_replication_role') = 'replica'
    UNION ALL SELECT 3, 'immutable.restore is on in this session: RESET it after the restore'
      WHERE current_setting('immutable.restore', true) = 'on'
    UNION ALL SELECT 3, format('%s is set in %s, %s: remove it there, or run LOAD ''immutable'' and ALTER SYSTEM RESET %s', s.name,
        coalesce(s.sourcefile, s.source), CASE s.setting WHEN 'on' THEN 'for all sessions' ELSE 'where it has no effect' END, s.name)
      FROM pg_settings s WHERE s.name IN ('immutable.allow_ddl', 'immutable.restore') AND s.source IN ('configuration file', 'command line')
    UNION ALL SELECT 4, problem FROM open_tables
    UNION ALL SELECT 5, format('immutable.%I has a parent or child table: rows in %s are not in the chain. Run ALTER TABLE ... NO INHERIT, with immutable.allow_ddl = on',
        r.tab, CASE WHEN h.inhrelid = r.oid THEN h.inhparent::regclass ELSE h.inhrelid::regclass END)
      FROM tables r JOIN pg_inherits h ON r.oid IN (h.inhparent, h.inhrelid)
    UNION ALL SELECT 5, format('rule %I of immutable.%I does not belong to the extension: drop it', w.rulename, r.tab)
      FROM tables r JOIN pg_rewrite w ON w.ev_class = r.oid WHERE NOT (r.tab = 'viewer_key_import' AND w.rulename = 'copy_only')
    UNION ALL SELECT 5, format('trigger %I of immutable.%I does not belong to the extension and always fires, even in a replica session: drop it, unless pg_repack is running', t.tgname, r.tab)
      FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
      WHERE NOT t.tgisinternal AND t.tgenabled = 'A' AND t.tgname COLLATE "C" < '~immutable_'
    UNION ALL SELECT 5, format('table immutable.%I is missing', x.tab) FROM (SELECT DISTINCT e.tab FROM expected e) x
      WHERE NOT EXISTS (SELECT FROM tables r WHERE r.tab = x.tab)
    UNION ALL SELECT 6, problem FROM bad_indexes
    UNION ALL SELECT 6, problem FROM bad_keys
    UNION ALL SELECT 7, format('prepared transaction %L has held %s lanes since %s: run COMMIT PREPARED or ROLLBACK PREPARED', gid, lanes, prepared)
      FROM prepared WHERE prepared < clock_timestamp() - interval '5 minutes'
    UNION ALL SELECT 8, format('backend %s (%s) has held %s lanes since %s: end its transaction, or call pg_terminate_backend(%s)', pid, state, lanes, xact_start, pid)
      FROM holders WHERE xact_start < clock_timestamp() - interval '10 minutes'
    UNION ALL SELECT 9, format('event %s in lane %s was recorded %s seconds in the future: the server''s clock was ahead, or is behind now. Correct the clock. The lane continues from that time',
        id, lane, round(extract(epoch FROM created_at - clock_timestamp())))
      FROM newest WHERE created_at > clock_timestamp() + interval '1 second'
    UNION ALL SELECT 2, problem FROM other_triggers
    UNION ALL SELECT 6, 'the log has an identity but no events: it was restored or copied without them. Restore the events too, or begin another log in a new database'
      FROM begun WHERE has_identity AND NOT has_events AND NOT is_distributed
    UNION ALL SELECT 6, 'the log has events but no identity: nothing can be recorded. Restore the row of immutable.log from the same dump, or make it from the first event: the error of an INSERT has the command in its hint'
      FROM begun WHERE has_events AND NOT has_identity AND NOT is_distributed
    UNION ALL SELECT 6, problem FROM bad_publications
    UNION ALL SELECT 8, format('%s has had a transaction ID since %s: changes() over all tenants returns no event that was recorded later. To resume changes(), %s', who, since, what)
      FROM longest_writing WHERE since < clock_timestamp() - interval '10 minutes'
    UNION ALL SELECT 9, format('events have a transaction ID of another server (%s): changes() over all tenants does not return them. They were loaded with the triggers disabled', xact)
      FROM foreign_xact
    UNION ALL SELECT 13, format('logins have pg_read_all_data but not BYPASSRLS: %s. pg_dump by such a login fails at immutable.events, and so does the backup of the whole database. Dump with another login, as docs/backup-and-restore.md says. If none of these logins dumps, nothing is wrong', names)
      FROM held_logins WHERE names IS NOT NULL
    UNION ALL SELECT 10, format('extension immutable has version %s, but its files have version %s: run ALTER EXTENSION immutable UPDATE', extversion, there)
      FROM known WHERE extversion <> there
    UNION ALL SELECT 11, format('%s is off: a crash can lose committed events. Set it to on', name)
      FROM (VALUES ('fsync'), ('full_page_writes')) x (name) WHERE current_setting(name) = 'off'
    UNION ALL SELECT 12, format('immutable.events was last frozen %s transactions ago: run VACUUM (FREEZE) immutable.events', age(relfrozenxid))
      FROM events WHERE age(relfrozenxid) > 1000000000)
  SELECT
    (SELECT extversion FROM known),
    -- A function of the library runs first, which loads the library and so makes its settings
    -- known.
    CASE WHEN immutable.is_chained(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) IS NOT TRUE THEN
      (SELECT jsonb_object_agg(s.name, s.setting ORDER BY s.name) FROM pg_settings s
        WHERE s.name IN ('synchronous_commit', 'wal_level', 'max_locks_per_transaction')
          OR s.name LIKE 'immutable.%' AND s.context = 'superuser') END,
    (SELECT CASE WHEN e.reltuples < 0 OR e.relpages = 0 THEN coalesce(pg_stat_get_live_tuples(e.oid), 0)
      ELSE (e.reltuples / e.relpages * (pg_relation_size(e.oid) / current_setting('block_size')::integer))::bigint END FROM events e),
    (SELECT sum(pg_total_relation_size(oid))::bigint FROM tables),
    least((SELECT n FROM chained), 1000),
    CASE WHEN (SELECT n FROM chained) > 1000 THEN 'gte' ELSE 'eq' END,
    (SELECT id FROM newest), (SELECT created_at FROM newest),
    (SELECT count(*) FROM holds),
    (SELECT clock_timestamp() - least((SELECT min(xact_start) FROM holders), (SELECT min(prepared) FROM prepared))),
    (SELECT count(*) FROM prepared),
    NOT EXISTS (SELECT FROM bad_triggers), NOT EXISTS (SELECT FROM open_tables), NOT EXISTS (SELECT FROM bad_guard),
    coalesce(current_setting('immutable.allow_ddl', true) = 'on', false),
    coalesce(current_setting('immutable.restore', true) = 'on', false),
    coalesce((SELECT CASE WHEN i.indisvalid THEN 'valid' ELSE 'invalid' END FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE i.indrelid = (SELECT oid FROM events) AND c.relname = 'events_search'), 'missing'),
    pg_is_in_recovery(),
    (SELECT clock_timestamp() - since FROM longest_writing),
    (SELECT coalesce(array_agg(p.problem ORDER BY p.place, p.problem COLLATE "C"), '{}') FROM problem p);
END;
COMMENT ON FUNCTION immutable.status() IS
'Returns the state of the log in one row, within milliseconds however long the log is.
It does not verify the log: immutable.verify_chain() does.
- version: version of the extension.
- settings: settings that matter to the log, as a JSON object.
- estimated_events, total_bytes: events, by the planner''s statistics, and size of the tables with
  their indexes.
- chains, chains_relation: the number of lanes, exact up to 1,000 ("eq"), beyond that at least so
  many ("gte").
- last_event_id, last_event_at: the event that was recorded last.
- lanes_in_use, longest_lane_hold, prepared_transactions: lanes that are locked now, for how long
  the oldest of these transactions has run, and how many of them are prepared.
- triggers_enabled, row_security_enabled, guard_enabled: whether these protections are what they
  should be.
- allow_ddl, restore: these settings in this session.
- search_index: "valid", "invalid" or "missing", which is no problem.
- is_standby: whether this server is a standby.
- changes_held_for: for how long the oldest writing transaction of the cluster has held back
  changes() over all tenants; NULL if there is none, and on a standby.
- problems: what is wrong and what to do about it; {} if nothing is.
Raises no error of its own.';

-- sql/guard/ddl.sql
-- The event triggers that keep DDL away from the extension's objects. Each has a list of commands,
-- so that a missing library stops no other command. They are ENABLE ALWAYS, so that
-- session_replication_role does not switch them off.

CREATE FUNCTION immutable.guard_ddl() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_ddl';
COMMENT ON FUNCTION immutable.guard_ddl() IS
'Event trigger function that refuses DDL on the extension''s objects.
It refuses commands that change the extension''s tables, triggers, policies, rules, views, types or
functions, and DROP EXTENSION once there are events. With immutable.allow_ddl = on it lets them
through and records an event immutable.ddl.
Raises 42501 for a command that is refused, 55000 for one that would go unrecorded while
immutable.restore is on, and 0A000 for DROP INDEX CONCURRENTLY, which cannot be recorded.';

CREATE EVENT TRIGGER immutable_ddl_start ON ddl_command_start
  WHEN TAG IN ('DROP EXTENSION', 'DROP OWNED', 'DROP TRIGGER', 'DROP POLICY', 'DROP RULE', 'DROP INDEX',
    'ALTER EXTENSION',
    'ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER VIEW', 'ALTER INDEX', 'ALTER SCHEMA', 'ALTER TRIGGER',
    'ALTER POLICY', 'ALTER RULE', 'ALTER TYPE', 'ALTER FUNCTION', 'ALTER PROCEDURE', 'ALTER ROUTINE', 'ALTER AGGREGATE',
    'CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE INDEX', 'CREATE VIEW', 'CREATE SCHEMA', 'CREATE TRIGGER',
    'CREATE POLICY', 'CREATE RULE', 'CREATE FUNCTION', 'CREATE PROCEDURE', 'CREATE AGGREGATE')
  EXECUTE FUNCTION immutable.guard_ddl();
CREATE EVENT TRIGGER immutable_ddl_end ON ddl_command_end
  WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER VIEW', 'ALTER INDEX', 'ALTER SCHEMA', 'ALTER TRIGGER',
    'ALTER POLICY', 'ALTER RULE', 'ALTER TYPE', 'ALTER FUNCTION', 'ALTER PROCEDURE', 'ALTER ROUTINE', 'ALTER AGGREGATE',
    'CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE INDEX', 'CREATE VIEW', 'CREATE SCHEMA', 'CREATE TRIGGER',
    'CREATE POLICY', 'CREATE RULE', 'CREATE FUNCTION', 'CREATE PROCEDURE', 'CREATE AGGREGATE')
  EXECUTE FUNCTION immutable.guard_ddl();
CREATE EVENT TRIGGER immutable_ddl_drop ON sql_drop
  WHEN TAG IN ('DROP TRIGGER', 'DROP POLICY', 'DROP RULE', 'DROP OWNED', 'DROP SCHEMA', 'DROP EXTENSION')
  EXECUTE FUNCTION immutable.guard_ddl();
ALTER EVENT TRIGGER immutable_ddl_start ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_ddl_end ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_ddl_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER immutable_ddl_start IS
  'Refuses to drop the extension or its owner''s objects, and records a command that immutable.allow_ddl '
  'lets through before it runs';
COMMENT ON EVENT TRIGGER immutable_ddl_end IS
  'Refuses commands that have changed the extension''s objects, and inheritance';
COMMENT ON EVENT TRIGGER immutable_ddl_drop IS 'Refuses to drop the extension''s triggers, policies and rules';

-- sql/grants.sql
-- The privileges. PUBLIC has none, except for the functions below.

REVOKE ALL ON ALL TABLES IN SCHEMA immutable FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA immutable FROM PUBLIC;

-- A CHECK, a default and an index's expression run with the rights of the role that inserts. These
-- functions reveal nothing but their arguments.
GRANT EXECUTE ON FUNCTION
  immutable.is_chained(smallint, bigint, bytea, bytea, uuid, bytea, jsonb, text, jsonb, jsonb),
  immutable.new_id(), immutable.fold(text), immutable.text_of(jsonb), immutable.text_of(text) TO PUBLIC;
-- A cast runs with the caller's rights, and reveals nothing either.
GRANT EXECUTE ON FUNCTION immutable.day_or_time_in(cstring), immutable.day_or_time_out(immutable.day_or_time),
  immutable.day_or_time(date), immutable.day_or_time(timestamptz), immutable.day_or_time(timestamp)
TO PUBLIC;
-- This policy function runs with the rights of the roles that row security applies to, and refuses.
GRANT EXECUTE ON FUNCTION immutable.refuse_part_of(text) TO PUBLIC;

GRANT USAGE ON SCHEMA immutable TO immutable_writer, immutable_auditor, immutable_viewer, immutable_eraser;

-- A writer may insert into all columns, because object mappers name all of them. The trigger
-- refuses a value in a column of the chain, and names the column.
GRANT INSERT ON immutable.events TO immutable_writer;
-- RETURNING and ON CONFLICT need SELECT. The policy below shows a writer the rows of its own
-- transaction.
GRANT SELECT ON immutable.events TO immutable_writer;
GRANT EXECUTE ON FUNCTION
  immutable.track(text, text, text, text, text, text, text, text, jsonb, jsonb, text, text, text, integer, timestamptz,
    inet, text, text, text, text),
  immutable.track(jsonb, text), immutable.track(json, text),
  immutable.track_batch(jsonb), immutable.track_batch(json), immutable.track_batch(text), immutable.canonical(record),
  immutable.is_own(xid8, text, smallint, bigint)
TO immutable_writer;

GRANT SELECT ON immutable.events, immutable.event_targets, immutable.activity, immutable.activity_targets
TO immutable_auditor, immutable_viewer;
GRANT SELECT ON immutable.log, immutable.cluster TO immutable_auditor;
-- These functions run with the caller's rights and under row security, so that both roles use the
-- same ones.
GRANT EXECUTE ON FUNCTION
  immutable.canonical(record), immutable.get_event(uuid, text),
  immutable.get_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text, text),
  immutable.find_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text),
  immutable.changes(text, jsonb, integer)
TO immutable_auditor, immutable_viewer;
GRANT EXECUTE ON FUNCTION
  immutable.heads(text),
  immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean),
  immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean),
  immutable.verify_shard(regclass, boolean),
  immutable.verify(timestamptz, timestamptz, integer),
  immutable.export_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time)
TO immutable_auditor;
-- For finding the events that cannot be read: SELECT ... WHERE NOT immutable.is_readable(metadata).
GRANT EXECUTE ON FUNCTION immutable.is_readable(jsonb), immutable.is_readable(text) TO immutable_auditor;
-- status() runs with the owner's rights. Of the events it reveals an id and a time alone.
GRANT EXECUTE ON FUNCTION immutable.status() TO immutable_auditor, pg_monitor;
GRANT USAGE ON SCHEMA immutable TO pg_monitor;
-- Verification runs with the caller's rights, and so do its parts, except for those of an
-- aggregate, which run with the aggregate owner's.
GRANT EXECUTE ON FUNCTION
  immutable.verify_event(bytea, boolean, uuid, text, text, text, text, text, text, text, text, text, jsonb, jsonb,
    text, text, inet, text, text, text, integer, timestamptz, timestamptz, smallint, bigint, bytea, bytea, bytea,
    jsonb, text, uuid),
  immutable.verify_lane(bytea, bytea),
  immutable.verify_targets(bytea, boolean, text, uuid, smallint, text, text, text, jsonb, timestamptz)
TO immutable_auditor;

-- An eraser has no right to the tables. The functions say which paths an event has, and never which
-- values were there.
GRANT EXECUTE ON FUNCTION
  immutable.erase(uuid, text, text[], text), immutable.erase_subject(text, text, text, text[], text[], boolean),
  immutable.erase_subject(text, text[], text, text[], text[], boolean)
TO immutable_eraser;
-- A dump's rows come with all columns. COPY into a table is refused where row security applies to
-- the role, so that a restorer needs BYPASSRLS. It also needs SET on the setting immutable.restore,
-- which a superuser grants by hand: PostgreSQL 18 cannot drop a role to which an extension's script
-- granted it.
GRANT USAGE ON SCHEMA immutable TO immutable_restorer;
GRANT INSERT ON immutable.log, immutable.events, immutable.revocations, immutable.tenant_grants TO immutable_restorer;
GRANT EXECUTE ON FUNCTION immutable.record_restore(text) TO immutable_restorer;

-- A policy's functions run with the rights of the roles that the policy applies to.
GRANT EXECUTE ON FUNCTION immutable.visible_tenant(), immutable.is_visible(text, text),
  immutable.is_target_visible(text, uuid) TO immutable_viewer;

ALTER TABLE immutable.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.event_targets ENABLE ROW LEVEL SECURITY;

CREATE POLICY writer_insert ON immutable.events FOR INSERT TO immutable_writer WITH CHECK (true);
CREATE POLICY writer_returning ON immutable.events FOR SELECT TO immutable_writer
  USING (xact = pg_catalog.pg_current_xact_id_if_assigned() AND immutable.is_own(xact, tenant_id, lane, seq));
CREATE POLICY auditor_select ON immutable.events FOR SELECT TO immutable_auditor USING (true);
CREATE POLICY auditor_select ON immutable.event_targets FOR SELECT TO immutable_auditor USING (true);
-- Each role has one policy, because two that are combined with OR could not use the index. The
-- comparison with a value that is known before the scan finds the rows. The function beside it
-- decides, so that both always follow the same token.
CREATE POLICY viewer_select ON immutable.events FOR SELECT TO immutable_viewer
  USING (tenant_id = (SELECT immutable.visible_tenant()) AND immutable.is_visible(tenant_id, actor_id));
CREATE POLICY viewer_select ON immutable.event_targets FOR SELECT TO immutable_viewer
  USING (tenant_id = (SELECT immutable.visible_tenant()) AND immutable.is_target_visible(tenant_id, event_id));
COMMENT ON POLICY writer_insert ON immutable.events IS
  'A writer may record events; for which tenant, if the role is bound to one, the trigger decides';
COMMENT ON POLICY writer_returning ON immutable.events IS
  'A writer sees the events that its own transaction has recorded';
COMMENT ON POLICY auditor_select ON immutable.events IS 'An auditor sees every event';
COMMENT ON POLICY auditor_select ON immutable.event_targets IS 'An auditor sees the targets of every event';
COMMENT ON POLICY viewer_select ON immutable.events IS
  'A viewer sees the events that its token shows, or those of the tenant granted to its role';
COMMENT ON POLICY viewer_select ON immutable.event_targets IS 'A viewer sees the targets of the events that it sees';

-- sql/notice.sql
-- This file comes last. It tells the administrator now, and not in the night, whose dumps of this
-- database fail. It raises a WARNING, because PostgreSQL shows no lower level from an extension's
-- script.
DO $$
DECLARE
  logins pg_catalog.text[] := immutable.logins_that_cannot_dump();
BEGIN
  IF pg_catalog.cardinality(logins) > 0 THEN
    RAISE WARNING 'pg_dump of this database will fail for logins that have pg_read_all_data but not BYPASSRLS: %',
        pg_catalog.array_to_string(logins, ', ')
      USING HINT = pg_catalog.format('Run ALTER ROLE %s BYPASSRLS, or dump as a superuser.', logins[1]);
  END IF;
END
$$;
