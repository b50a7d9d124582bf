\echo Use "ALTER EXTENSION immutable UPDATE" to load this file. \quit

-- In a log that is distributed, each node changes its own tables. distribute() then makes the shards like them.
SELECT pg_catalog.set_config('citus.enable_ddl_propagation', 'off', true);

DO $$
BEGIN
  CREATE ROLE immutable_maintainer NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;
END
$$;
DO $$
BEGIN
  CREATE ROLE immutable_server NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;
END
$$;
DO $$
BEGIN
  CREATE ROLE immutable_deliverer NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;
END
$$;
DO $$
BEGIN
  CREATE ROLE immutable_retainer NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;
END
$$;
DO $$
BEGIN
  CREATE ROLE immutable_tracker NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;
END
$$;
COMMENT ON ROLE immutable_maintainer IS
  'May make checkpoints of the audit log and store their cosignatures, and may read no event';
COMMENT ON ROLE immutable_server IS
  'May call what an API key, a viewer token or an export ticket opens, and nothing without one of them';
COMMENT ON ROLE immutable_deliverer IS
  'May take the events and alerts of the streams, to deliver them, and may read no table';
COMMENT ON ROLE immutable_retainer IS
  'May say how long events are kept, hold a tenant''s events, and remove what may go, and may read no event';
COMMENT ON ROLE immutable_tracker IS
  'May say of which tables row changes are recorded, and may read no event';

-- sql/log/segments.sql
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

CREATE FUNCTION immutable.guard_brought() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_brought';

COMMENT ON FUNCTION immutable.guard_brought() IS
'Trigger that accepts the rows of a dump in a table which functions write otherwise.
It runs BEFORE INSERT. The next event after a restore is immutable.restored.
Raises 42501 for a row that comes neither from the functions nor from a dump that is restored.';

-- sql/access/api_keys.sql
-- API keys, and the functions by which policies and other functions ask for the proof.

CREATE TABLE immutable.api_keys (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  digest bytea NOT NULL CONSTRAINT api_keys_digest_key UNIQUE,
  prefix text COLLATE "C" NOT NULL,
  scopes text[] NOT NULL,
  tenant_id text COLLATE "C",
  allowed_ips cidr[],
  quota bigint,
  created_at timestamptz NOT NULL,
  created_by text NOT NULL,
  revoked_at timestamptz,
  revoked_by text
);
COMMENT ON TABLE immutable.api_keys IS
  'API keys, of which nothing is kept that a client could present. immutable.list_api_keys() shows them.';
COMMENT ON COLUMN immutable.api_keys.id IS 'The key''s id, a UUIDv7, which events name';
COMMENT ON COLUMN immutable.api_keys.name IS 'What the key is for, as whoever made it says';
COMMENT ON COLUMN immutable.api_keys.digest IS
  'SHA-256 of SHA-256 of the key. Setting immutable.proof shows the SHA-256 of the key';
COMMENT ON COLUMN immutable.api_keys.prefix IS 'The first 12 characters of the key, by which its holder recognizes it';
COMMENT ON COLUMN immutable.api_keys.scopes IS 'What it may be used for: write, read, verify, mint, export, admin';
COMMENT ON COLUMN immutable.api_keys.tenant_id IS
  'The one tenant that the key opens; empty for the events without a tenant, NULL for all tenants';
COMMENT ON COLUMN immutable.api_keys.allowed_ips IS 'The networks from which it may be used; NULL for anywhere';
COMMENT ON COLUMN immutable.api_keys.quota IS
  'How many events it may record in a calendar month (UTC); NULL for any number';
COMMENT ON COLUMN immutable.api_keys.created_at IS 'When it was made';
COMMENT ON COLUMN immutable.api_keys.created_by IS 'Who made it, as events.recorded_by names it';
COMMENT ON COLUMN immutable.api_keys.revoked_at IS 'When it was revoked; NULL while it is in force';
COMMENT ON COLUMN immutable.api_keys.revoked_by IS 'Who revoked it';

CREATE TABLE immutable.api_key_usage (
  key_id uuid,
  month date,
  events bigint NOT NULL,
  last_event_at timestamptz,
  PRIMARY KEY (key_id, month)
);
COMMENT ON TABLE immutable.api_key_usage IS
  'How many events each API key has recorded, as immutable.run_maintenance() has counted them. No writer '
  'updates it, so that writers with one key do not wait for each other.';
COMMENT ON COLUMN immutable.api_key_usage.key_id IS 'api_keys.id';
COMMENT ON COLUMN immutable.api_key_usage.month IS 'The first day of the calendar month, in UTC';
COMMENT ON COLUMN immutable.api_key_usage.events IS 'How many events of that month are counted so far';
COMMENT ON COLUMN immutable.api_key_usage.last_event_at IS 'created_at of the newest of them';

-- Whoever has a key goes on using it after a restore, and so does its quota.
SELECT pg_catalog.pg_extension_config_dump('immutable.api_keys', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.api_key_usage', '');

ALTER TABLE immutable.api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.api_key_usage ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION immutable.create_api_key(
  name text, scopes text[] DEFAULT '{write,read}', tenant_id text DEFAULT NULL, allowed_ips cidr[] DEFAULT NULL,
  quota bigint DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_create_api_key';
COMMENT ON FUNCTION immutable.create_api_key(text, text[], text, cidr[], bigint) IS
'Makes an API key, and returns it for the only time.
A program that takes the key from a client sets immutable.proof to SHA-256 of it, in hex. The database
keeps SHA-256 of that. It is recorded as immutable.api_key_created.
- name: what the key is for, in 1 to 255 bytes.
- scopes: what it may be used for: write records events, read reads them and alerts, verify verifies,
  mint makes viewer tokens, export exports, and admin manages keys, rules and schemas, and erases.
- tenant_id: the one tenant that it opens; an empty text is for the events without a tenant, NULL for
  all tenants. Of a caller with a key of one tenant it is that tenant.
- allowed_ips: the networks from which it may be used, at most 100, which are compared with setting
  immutable.client_address. NULL for anywhere.
- quota: how many events it may record in a calendar month (UTC). NULL for any number. Events are
  counted by immutable.run_maintenance(), so that a few more than that may be recorded.
Returns {"id", "key", "name", "scopes", "tenant_id", "allowed_ips", "quota"}.
Raises 22004 for a name or scopes that are NULL, 22023 for a word that is no scope, for no scope, for
an empty name, for no network or more than 100, for a tenant_id that is too long and for a negative
quota, 22001 for a name that is too long, 42501 if the caller''s own key is of another tenant or does not
have one of the scopes, 28000 for a proof that is missing or refused, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.revoke_api_key(id uuid)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_revoke_api_key';
COMMENT ON FUNCTION immutable.revoke_api_key(uuid) IS
'Refuses an API key, from the next statement of every session on.
It is recorded as immutable.api_key_revoked. A key that was revoked before stays as it is. Export
tickets that were issued to it are refused as well; viewer tokens that it made are not.
- id: the key''s id.
Raises 22004 for NULL, 42704 if there is no such key of the caller''s tenant, 42501 without the scope
admin, and 28000 for a proof that is missing or refused.';

CREATE FUNCTION immutable.require_scope(scope text)
RETURNS boolean LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_require_scope';
COMMENT ON FUNCTION immutable.require_scope(text) IS
'Returns true, or refuses a caller whose proof does not have the scope.
SQL functions and views ask it. It is true for a caller that needs no proof and shows none.
- scope: write, read, verify, mint, export or admin.
Raises 28000 for a proof that is missing or refused, 42501 for one without the scope, 22023 for a word that
is no scope, and 22004 for NULL.';

CREATE FUNCTION immutable.is_opened(scope text, tenant_id text)
RETURNS boolean LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_is_opened';
COMMENT ON FUNCTION immutable.is_opened(text, text) IS
'Says whether the caller''s proof opens rows of this tenant with this scope.
Policies ask it. It is true for a caller that needs no proof and shows none. The proof is read once in a
statement, and anew where the settings change. Rows of one actor, which a token may be bound to, are not told apart: then it is false.
- scope: write, read, verify, mint, export or admin.
- tenant_id: the row''s tenant; NULL for a row that is about all tenants, which a proof of one tenant
  does not open.
Raises 28000 for a proof that is missing or refused, 42501 for a key that may not be used from the
client''s address, 22023 for a word that is no scope, and 22004 for a scope that is NULL.';

CREATE FUNCTION immutable.list_api_keys()
RETURNS TABLE (id uuid, name text, prefix text, scopes text[], tenant_id text, allowed_ips cidr[], quota bigint,
  created_at timestamptz, created_by text, revoked_at timestamptz, revoked_by text, events_this_month bigint,
  last_event_at timestamptz)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_list_api_keys';
COMMENT ON FUNCTION immutable.list_api_keys() IS
'Returns the API keys without anything that could be presented in their place.
A key of one tenant sees the keys of that tenant.
Returns one row for each key, revoked ones too, the oldest first: the columns of immutable.api_keys but
for the digest, events_this_month, how many events of this calendar month (UTC) are counted for it, and
last_event_at, when the newest event that is counted was recorded.
Raises 28000 for a proof that is missing or refused, and 42501 for one without the scope admin.';

-- sql/write/schemas.sql
-- Action schemas: which actions the log or a tenant takes, and what their metadata looks like.

CREATE TABLE immutable.action_schemas (
  -- Replication finds a row by this column.
  id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  tenant_id text COLLATE "C",
  pattern text COLLATE "C" NOT NULL,
  description text,
  metadata_schema jsonb,
  created_at timestamptz NOT NULL,
  created_by text NOT NULL
);
CREATE UNIQUE INDEX action_schemas_pattern ON immutable.action_schemas (tenant_id, pattern) NULLS NOT DISTINCT;
COMMENT ON TABLE immutable.action_schemas IS
  'The actions that the log or a tenant takes, and JSON Schemas for their metadata. '
  'immutable.set_action_schema() and immutable.delete_action_schema() change it';
COMMENT ON COLUMN immutable.action_schemas.id IS 'Random UUID, which stays if the pattern is set again';
COMMENT ON COLUMN immutable.action_schemas.tenant_id IS
  'The tenant whose events it applies to; empty for the events without a tenant; NULL for all events of the log';
COMMENT ON COLUMN immutable.action_schemas.pattern IS
  'An action, or a beginning of actions with * at the end; * alone stands for the actions without a dot';
COMMENT ON COLUMN immutable.action_schemas.description IS 'What the actions mean, for people. At most 4,096 bytes';
COMMENT ON COLUMN immutable.action_schemas.metadata_schema IS
  'A JSON Schema that the metadata of such events has to fit; NULL for any metadata';
COMMENT ON COLUMN immutable.action_schemas.created_at IS 'When it was set last';
COMMENT ON COLUMN immutable.action_schemas.created_by IS 'session_user of the connection that set it last';

CREATE TABLE immutable.action_schema_modes (
  id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  tenant_id text COLLATE "C",
  mode text COLLATE "C" NOT NULL CHECK (mode IN ('strict', 'permissive')),
  set_at timestamptz NOT NULL,
  set_by text NOT NULL
);
CREATE UNIQUE INDEX action_schema_modes_tenant ON immutable.action_schema_modes (tenant_id) NULLS NOT DISTINCT;
COMMENT ON TABLE immutable.action_schema_modes IS
  'What becomes of events that do not fit the action schemas. immutable.set_action_schema_mode() changes it';
COMMENT ON COLUMN immutable.action_schema_modes.id IS 'Random UUID, by which replication finds the row';
COMMENT ON COLUMN immutable.action_schema_modes.tenant_id IS
  'The tenant; empty for the events without a tenant; NULL for the tenants that have no mode of their own';
COMMENT ON COLUMN immutable.action_schema_modes.mode IS
  '''strict'': such events are refused; ''permissive'': they are recorded, and track() warns';
COMMENT ON COLUMN immutable.action_schema_modes.set_at IS 'When it was set last';
COMMENT ON COLUMN immutable.action_schema_modes.set_by IS 'session_user of the connection that set it last';

-- A dump contains both.
SELECT pg_catalog.pg_extension_config_dump('immutable.action_schemas', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.action_schema_modes', '');

CREATE FUNCTION immutable.action_schemas_changed() RETURNS trigger LANGUAGE c
AS 'MODULE_PATHNAME', 'immutable_action_schemas_changed';
COMMENT ON FUNCTION immutable.action_schemas_changed() IS
'Trigger that makes every session read the action schemas anew.
It runs BEFORE each change of immutable.action_schemas and immutable.action_schema_modes.
Raises 42501 for a row that comes neither from the functions nor from a dump that is restored.';
-- These triggers also fire in a subscription's workers, which fire none for statements but TRUNCATE.
CREATE TRIGGER "~immutable_changed" BEFORE INSERT OR UPDATE OR DELETE ON immutable.action_schemas
  FOR EACH ROW EXECUTE FUNCTION immutable.action_schemas_changed();
CREATE TRIGGER "~immutable_changed_all" BEFORE TRUNCATE ON immutable.action_schemas
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.action_schemas_changed();
CREATE TRIGGER "~immutable_changed" BEFORE INSERT OR UPDATE OR DELETE ON immutable.action_schema_modes
  FOR EACH ROW EXECUTE FUNCTION immutable.action_schemas_changed();
CREATE TRIGGER "~immutable_changed_all" BEFORE TRUNCATE ON immutable.action_schema_modes
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.action_schemas_changed();
ALTER TABLE immutable.action_schemas ENABLE ALWAYS TRIGGER "~immutable_changed";
ALTER TABLE immutable.action_schemas ENABLE ALWAYS TRIGGER "~immutable_changed_all";
ALTER TABLE immutable.action_schema_modes ENABLE ALWAYS TRIGGER "~immutable_changed";
ALTER TABLE immutable.action_schema_modes ENABLE ALWAYS TRIGGER "~immutable_changed_all";

ALTER TABLE immutable.action_schemas ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.action_schema_modes ENABLE ROW LEVEL SECURITY;
CREATE POLICY auditor_select ON immutable.action_schemas FOR SELECT TO immutable_auditor USING (true);
CREATE POLICY auditor_select ON immutable.action_schema_modes FOR SELECT TO immutable_auditor USING (true);
COMMENT ON POLICY auditor_select ON immutable.action_schemas IS 'An auditor sees all action schemas';
COMMENT ON POLICY auditor_select ON immutable.action_schema_modes IS 'An auditor sees all modes';

CREATE FUNCTION immutable.set_action_schema(
  pattern text, description text DEFAULT NULL, metadata_schema jsonb DEFAULT NULL, tenant_id text DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_set_action_schema';
COMMENT ON FUNCTION immutable.set_action_schema(text, text, jsonb, text) IS
'Says that the log, or a tenant, takes actions of this pattern; replaces what was said of it before.
It is recorded as immutable.action_schema_set. The log, and each tenant, may have 1,000 patterns.
- pattern: an action, such as document.created; a beginning with * at the end, such as document.*;
  or * alone, which stands for the actions without a dot.
- description: for people, at most 4,096 bytes.
- metadata_schema: a JSON Schema (draft 2020-12 unless $schema names another) that the metadata of
  such events has to fit: at most 64 kB and 32 levels, 200 references, all of them to parts of the
  schema itself, and 100 regular expressions without look-around and backreferences.
- tenant_id: the tenant whose events it applies to; an empty text for the events without a tenant;
  NULL for all events of the log, or the tenant that the caller''s API key is bound to.
Returns the id of the row in immutable.action_schemas.
Raises 22004 for a pattern that is NULL, 22023 for one of another form and for a schema that cannot
be used, 22001 for texts that are too long, 54000 for a schema that is too large and for too many
patterns, and 28000 or 42501 for a proof without the scope admin, or of another tenant.';

CREATE FUNCTION immutable.delete_action_schema(pattern text, tenant_id text DEFAULT NULL)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_delete_action_schema';
COMMENT ON FUNCTION immutable.delete_action_schema(text, text) IS
'Takes back what immutable.set_action_schema() said of a pattern.
It is recorded as immutable.action_schema_deleted. With the last pattern, every action is taken.
- pattern: the pattern, as it was given.
- tenant_id: the tenant, or NULL, as it was given.
Returns whether there was such a pattern.
Raises 22004 for a pattern that is NULL, 22023 for a tenant_id that is too long, and 28000 or 42501 for
a proof without the scope admin, or of another tenant.';

CREATE FUNCTION immutable.set_action_schema_mode(mode text, tenant_id text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_set_action_schema_mode';
COMMENT ON FUNCTION immutable.set_action_schema_mode(text, text) IS
'Sets what becomes of events that do not fit the action schemas of the log or of a tenant.
It is recorded as immutable.action_schema_mode_set.
- mode: ''strict'', they are refused; ''permissive'', they are recorded, and track() warns; or NULL, a
  tenant is as the log, and the log is permissive.
- tenant_id: the tenant; an empty text for the events without a tenant; NULL for all tenants without a
  mode of their own, or the tenant that the caller''s API key is bound to.
Raises 22023 for another mode or a tenant_id that is too long, and 28000 or 42501 for a proof without
the scope admin, or of another tenant.';

CREATE FUNCTION immutable.get_action_schemas(tenant_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_action_schemas';
COMMENT ON FUNCTION immutable.get_action_schemas(text) IS
'Returns the action schemas, and the mode.
- tenant_id: those that apply to this tenant''s events, which are its own and the log''s; NULL for all,
  or those of the tenant that the caller''s API key is bound to.
Returns {"mode", "data": [{"id", "tenant_id", "pattern", "description", "metadata_schema",
"created_at", "created_by"}]}. The mode is the tenant''s, or that of the log.
Raises 22023 for a tenant_id that is too long, and 28000 or 42501 for a proof without the scope read,
or of another tenant.';

CREATE FUNCTION immutable.unmatched_events(
  from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL, "limit" integer DEFAULT 100,
  OUT id uuid, OUT tenant_id text, OUT action text, OUT created_at timestamptz, OUT field text, OUT message text)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_unmatched_events';
COMMENT ON FUNCTION immutable.unmatched_events(timestamptz, timestamptz, integer) IS
'Lists recorded events that do not fit the action schemas as they are now.
It reads the events of the period, with the caller''s rights, until it has found enough. The log''s own
events do not count, and the metadata of events that were erased from does not.
- from_date, to_date: inclusive bounds of created_at.
- limit: the most events that are listed, from 1 to 1,000.
Returns for each its id, tenant_id, action and created_at, the field that does not fit, and why, in the
order of created_at and id.
Raises 22023 for another limit, and 28000 or 42501 for a proof without the scope read.';

-- sql/read/feed.sql
-- The feed beneath alerts and deliveries.

CREATE FUNCTION immutable.feed(mark text DEFAULT NULL, "limit" integer DEFAULT 1000)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_feed';
COMMENT ON FUNCTION immutable.feed(text, integer) IS
'Returns the next events of all tenants, each of them once, for a program that delivers them.
Unlike immutable.changes(), it does not wait for older transactions: what they record comes when they
commit. Within a lane, events come in the order of seq. It works on a primary alone, and no role but
the owner may call it.
- mark: the mark that came with the last events; NULL is behind everything that is visible now, and an
  empty text is before the first event.
- limit: most events of the answer, from 1 to 10,000.
Returns {"data", "mark", "has_more"}: the events, as immutable.get_events() shows them; the mark for
the next call; and whether there were more when the reading began.
Raises 22023 for another limit, XX001 for a mark that is damaged, 55000 for one that is not of this
server''s past, 25006 on a standby, and 0A000 for a distributed log.';

-- sql/evidence/tree.sql
-- Evidence: the Merkle tree (RFC 6962) over all events, its checkpoints, and who cosigned them. The
-- tree's entry is the event's hash, so nothing here is personal and nothing changes on erasure.

CREATE TABLE immutable.tree (
  origin text COLLATE "C" NOT NULL,
  size bigint NOT NULL,
  root bytea NOT NULL,
  log_id uuid NOT NULL,
  begun_at timestamptz NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.tree IS
  'The Merkle tree over all events. It has one row, which the first checkpoint makes.';
COMMENT ON COLUMN immutable.tree.origin IS 'The log''s name in its checkpoints (C2SP tlog-checkpoint)';
COMMENT ON COLUMN immutable.tree.size IS 'How many events the tree covers';
COMMENT ON COLUMN immutable.tree.root IS 'The root of the tree of this size (RFC 6962), 32 bytes';
COMMENT ON COLUMN immutable.tree.log_id IS 'The identity of the log that the tree covers';
COMMENT ON COLUMN immutable.tree.begun_at IS 'When the first checkpoint was begun';
COMMENT ON COLUMN immutable.tree.singleton IS 'Always true, so that there is one row at most';

CREATE TABLE immutable.tree_runs (
  first_index bigint PRIMARY KEY,
  tenant_id text COLLATE "C" NOT NULL,
  lane smallint NOT NULL,
  first_seq bigint NOT NULL,
  count bigint NOT NULL
);
CREATE INDEX tree_runs_lane ON immutable.tree_runs (tenant_id, lane, first_seq);
COMMENT ON TABLE immutable.tree_runs IS
  'Where events are in the tree. A run is a number of consecutive events of a lane, which have '
  'consecutive indexes: the index of an event is first_index + seq - first_seq.';
COMMENT ON COLUMN immutable.tree_runs.first_index IS 'The index of the run''s first event in the tree, from 0';
COMMENT ON COLUMN immutable.tree_runs.tenant_id IS 'events.tenant_id';
COMMENT ON COLUMN immutable.tree_runs.lane IS 'events.lane';
COMMENT ON COLUMN immutable.tree_runs.first_seq IS 'The seq of the run''s first event';
COMMENT ON COLUMN immutable.tree_runs.count IS 'How many events the run has';

CREATE TABLE immutable.tree_tiles (
  level smallint,
  number bigint,
  root bytea NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (level, number)
);
-- Hashes do not compress. Kept out of the row, they leave the roots close together.
ALTER TABLE immutable.tree_tiles ALTER hashes SET STORAGE EXTERNAL;
COMMENT ON TABLE immutable.tree_tiles IS
  'The full tiles of the tree (C2SP tlog-tiles): 256 hashes each. Hashes of an unfinished tile are in '
  'tree_chunks at level 0, and are the roots of the tiles below at any other level.';
COMMENT ON COLUMN immutable.tree_tiles.level IS 'The level, from 0: 0 has the leaf hashes, 1 the roots of the tiles of level 0';
COMMENT ON COLUMN immutable.tree_tiles.number IS 'The number of the tile in its level, from 0';
COMMENT ON COLUMN immutable.tree_tiles.root IS 'The root of the tile''s 256 hashes: the hash at position number of the next level';
COMMENT ON COLUMN immutable.tree_tiles.hashes IS '256 hashes of 32 bytes';

CREATE TABLE immutable.tree_chunks (
  first_index bigint PRIMARY KEY,
  hashes bytea NOT NULL
);
COMMENT ON TABLE immutable.tree_chunks IS
  'The leaf hashes that do not fill a tile yet, in the pieces in which checkpoints added them';
COMMENT ON COLUMN immutable.tree_chunks.first_index IS 'The index of the first leaf';
COMMENT ON COLUMN immutable.tree_chunks.hashes IS 'Leaf hashes of 32 bytes each';

CREATE TABLE immutable.tree_notes (
  origin text COLLATE "C",
  size bigint,
  root bytea NOT NULL,
  signed_at timestamptz NOT NULL,
  note text NOT NULL,
  PRIMARY KEY (origin, size)
);
COMMENT ON TABLE immutable.tree_notes IS
  'Checkpoints that are signed, without cosignatures: the newest one, and those that were cosigned or '
  'sent to a witness';
COMMENT ON COLUMN immutable.tree_notes.origin IS 'The origin that the checkpoint names';
COMMENT ON COLUMN immutable.tree_notes.size IS 'How many events it covers';
COMMENT ON COLUMN immutable.tree_notes.root IS 'The root of the tree of this size, 32 bytes';
COMMENT ON COLUMN immutable.tree_notes.signed_at IS 'When it was signed, by the server''s clock';
COMMENT ON COLUMN immutable.tree_notes.note IS 'The checkpoint with the log''s own signature lines (C2SP signed-note)';

CREATE TABLE immutable.tree_cosignatures (
  origin text COLLATE "C",
  size bigint,
  vkey text COLLATE "C",
  witness text COLLATE "C" NOT NULL,
  cosigned_at timestamptz NOT NULL,
  line text NOT NULL,
  PRIMARY KEY (origin, size, vkey)
);
COMMENT ON TABLE immutable.tree_cosignatures IS
  'What witnesses signed: that this was the largest tree they had seen, and that it extends all they '
  'had seen before (C2SP tlog-cosignature)';
COMMENT ON COLUMN immutable.tree_cosignatures.origin IS 'The origin that the checkpoint names';
COMMENT ON COLUMN immutable.tree_cosignatures.size IS 'How many events the checkpoint covers';
COMMENT ON COLUMN immutable.tree_cosignatures.vkey IS 'The witness''s verifier key';
COMMENT ON COLUMN immutable.tree_cosignatures.witness IS 'The witness''s name';
COMMENT ON COLUMN immutable.tree_cosignatures.cosigned_at IS 'When it was cosigned, by the witness''s clock';
COMMENT ON COLUMN immutable.tree_cosignatures.line IS 'The signature line';

CREATE TABLE immutable.witnesses (
  vkey text COLLATE "C" PRIMARY KEY,
  name text COLLATE "C" NOT NULL,
  added_at timestamptz NOT NULL,
  added_by text NOT NULL
);
COMMENT ON TABLE immutable.witnesses IS
  'The witnesses whose cosignatures are stored. The list is the database''s own: who relies on a '
  'witness keeps its key elsewhere.';
COMMENT ON COLUMN immutable.witnesses.vkey IS 'The verifier key (C2SP signed-note) of type 0x04';
COMMENT ON COLUMN immutable.witnesses.name IS 'The name in the verifier key';
COMMENT ON COLUMN immutable.witnesses.added_at IS 'When it was added';
COMMENT ON COLUMN immutable.witnesses.added_by IS 'session_user of the connection that added it';

CREATE TABLE immutable.log_keys (
  vkey text COLLATE "C" PRIMARY KEY,
  created_at timestamptz NOT NULL,
  announced_by uuid,
  signs_since timestamptz,
  signs_until timestamptz,
  overlap_days integer NOT NULL
);
COMMENT ON TABLE immutable.log_keys IS
  'The public keys of the log. A key that follows another one is first recorded as an event, and signs '
  'once a checkpoint of the key before covers that event.';
COMMENT ON COLUMN immutable.log_keys.vkey IS 'The verifier key (C2SP signed-note) of type 0x01; its name is the origin';
COMMENT ON COLUMN immutable.log_keys.created_at IS 'When the key was made or registered';
COMMENT ON COLUMN immutable.log_keys.announced_by IS
  'Id of the event that announces the key; NULL for the first key of an origin, which the event that '
  'begins the origin names';
COMMENT ON COLUMN immutable.log_keys.signs_since IS 'Since when the key signs; NULL while the announcing event is not covered';
COMMENT ON COLUMN immutable.log_keys.signs_until IS 'Until when the key signs beside the one that replaced it; NULL for no end';
COMMENT ON COLUMN immutable.log_keys.overlap_days IS 'For how many days the key before it signs too, once this one signs';

-- What follows is this server's own, and in no dump.

CREATE TABLE immutable.log_secrets (
  vkey text COLLATE "C" PRIMARY KEY,
  secret text NOT NULL
);
COMMENT ON TABLE immutable.log_secrets IS
  'The private keys that sign checkpoints, unless they are in the file of immutable.log_key_file. No '
  'role is granted anything on it, and no dump contains it.';
COMMENT ON COLUMN immutable.log_secrets.vkey IS 'log_keys.vkey';
COMMENT ON COLUMN immutable.log_secrets.secret IS 'The private key, as golang.org/x/mod/sumdb/note writes it';

CREATE TABLE immutable.tree_position (
  snapshot text COLLATE "C",
  compared_at timestamptz,
  system_identifier bigint NOT NULL,
  timeline integer NOT NULL,
  database oid NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.tree_position IS
  'How far the tree has got, and where the log may sign: one row, or none after a restore. No dump '
  'contains this table.';
COMMENT ON COLUMN immutable.tree_position.snapshot IS
  'Every event that this snapshot (pg_snapshot) shows is in the tree, or pending; NULL if all lanes have to '
  'be compared';
COMMENT ON COLUMN immutable.tree_position.compared_at IS 'When all lanes were compared with the tree last';
COMMENT ON COLUMN immutable.tree_position.system_identifier IS 'The cluster in which the log signs, as pg_control_system() gives it';
COMMENT ON COLUMN immutable.tree_position.timeline IS 'The timeline in which the log signs';
COMMENT ON COLUMN immutable.tree_position.database IS 'OID of the database in which the log signs';
COMMENT ON COLUMN immutable.tree_position.singleton IS 'Always true, so that there is one row at most';

CREATE TABLE immutable.tree_pending (
  tenant_id text COLLATE "C",
  lane smallint,
  seq bigint NOT NULL,
  why text NOT NULL,
  noted_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, lane)
);
COMMENT ON TABLE immutable.tree_pending IS
  'Lanes whose next event cannot be appended to the tree, because it does not follow the last one that '
  'is in it. immutable.status() names them. No dump contains this table.';
COMMENT ON COLUMN immutable.tree_pending.tenant_id IS 'events.tenant_id';
COMMENT ON COLUMN immutable.tree_pending.lane IS 'events.lane';
COMMENT ON COLUMN immutable.tree_pending.seq IS 'The seq of the event that was expected';
COMMENT ON COLUMN immutable.tree_pending.why IS 'What is wrong with it';
COMMENT ON COLUMN immutable.tree_pending.noted_at IS 'When this was found';

-- The order of events in the tree is nowhere else, and an old checkpoint is evidence.
SELECT pg_catalog.pg_extension_config_dump('immutable.tree', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tree_runs', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tree_tiles', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tree_chunks', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tree_notes', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tree_cosignatures', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.witnesses', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.log_keys', '');

-- A table with row security and no policy shows its rows to its owner, to superusers and to roles
-- with BYPASSRLS alone.
ALTER TABLE immutable.tree ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_tiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_chunks ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_cosignatures ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.witnesses ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_position ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_pending ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.log_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.log_secrets ENABLE ROW LEVEL SECURITY;

-- The extension's own code writes these tables past triggers. A dump that is restored comes through
-- them, and so does what somebody else tries.
CREATE FUNCTION immutable.guard_tree() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_tree';
COMMENT ON FUNCTION immutable.guard_tree() IS
'Trigger that lets a dump restore the tables of the tree, and refuses every other change.
A dump is restored with immutable.restore = on. It runs BEFORE INSERT OR UPDATE OR DELETE on these
tables.
Raises 42501 for a change that does not come from a dump, and 55000 for a dump where the log signs
checkpoints.';
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_runs FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_tiles FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_chunks FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_notes FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_cosignatures FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.witnesses FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.log_keys FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.log_secrets FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_position FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_pending FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_runs FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_tiles FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_chunks FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_notes FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_cosignatures FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.witnesses FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.log_keys FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.log_secrets FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_position FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_pending FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

-- A replication must not bring another server's position and keys.
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.log_secrets FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.log_secrets ENABLE REPLICA TRIGGER "~immutable_apply";
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_position FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.tree_position ENABLE REPLICA TRIGGER "~immutable_apply";
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_pending FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.tree_pending ENABLE REPLICA TRIGGER "~immutable_apply";

-- A dump that row security would leave rows out of is refused.
CREATE POLICY all_or_none ON immutable.tree FOR SELECT USING (immutable.refuse_part_of('tree'));
COMMENT ON POLICY all_or_none ON immutable.tree IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.tree_runs FOR SELECT USING (immutable.refuse_part_of('tree_runs'));
COMMENT ON POLICY all_or_none ON immutable.tree_runs IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.tree_tiles FOR SELECT USING (immutable.refuse_part_of('tree_tiles'));
COMMENT ON POLICY all_or_none ON immutable.tree_tiles IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.tree_chunks FOR SELECT USING (immutable.refuse_part_of('tree_chunks'));
COMMENT ON POLICY all_or_none ON immutable.tree_chunks IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.tree_notes FOR SELECT USING (immutable.refuse_part_of('tree_notes'));
COMMENT ON POLICY all_or_none ON immutable.tree_notes IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.tree_cosignatures FOR SELECT USING (immutable.refuse_part_of('tree_cosignatures'));
COMMENT ON POLICY all_or_none ON immutable.tree_cosignatures IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.witnesses FOR SELECT USING (immutable.refuse_part_of('witnesses'));
COMMENT ON POLICY all_or_none ON immutable.witnesses IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.log_keys FOR SELECT USING (immutable.refuse_part_of('log_keys'));
COMMENT ON POLICY all_or_none ON immutable.log_keys IS 'Refuses roles that row security applies to';

-- sql/evidence/checkpoint.sql
-- Checkpoints: the head of the tree, signed.

CREATE PROCEDURE immutable.checkpoint(INOUT note text DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_checkpoint';
COMMENT ON PROCEDURE immutable.checkpoint(text) IS
'Appends every committed event to the tree, commits, and signs the head of the tree.
It commits several times if there is much to append, and holds no lock that an insert waits for. The
first call makes the tree: it verifies the log, records the result as immutable.tree_begun, and makes
the key that signs. If nothing is new, it writes nothing and returns the same note.
- note: pass NULL; returns the checkpoint (C2SP tlog-checkpoint) as a signed note, or the newest one
  that was stored if immutable.sign_checkpoints is off.
Raises 25001 in a transaction block and above READ COMMITTED, 25006 on a standby or a subscriber,
0A000 for a distributed log, 55000 for a log without events and where the log may not sign, and XX001
if the stored tree is damaged.';

CREATE FUNCTION immutable.tree_head()
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_tree_head';
COMMENT ON FUNCTION immutable.tree_head() IS
'Returns the head of the tree as the text of a checkpoint (C2SP tlog-checkpoint), without signatures.
A signer outside of the database signs it, and immutable.add_checkpoint() takes the result.
Raises 55000 before the first checkpoint, and XX001 if the head is damaged.';

CREATE FUNCTION immutable.verifier_key()
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_verifier_key';
COMMENT ON FUNCTION immutable.verifier_key() IS
'Returns the verifier key (C2SP signed-note) of the log''s newest key that signs, or NULL if none does.
Its name is the log''s origin.
Raises 55000 before the first checkpoint.';

CREATE FUNCTION immutable.add_checkpoint(note text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_add_checkpoint';
COMMENT ON FUNCTION immutable.add_checkpoint(text) IS
'Stores a checkpoint that was signed outside of the database.
Of its lines those of the log''s keys are kept, beside those that are there: immutable.add_cosignature()
takes those of witnesses.
- note: the signed note (C2SP signed-note), with three lines of text as immutable.tree_head() gives them.
Raises 22004 for NULL, 22023 for a note that is malformed, has more lines, is of another origin or not
signed by a key of the log, 55000 if the tree does not extend it, and XX001 if the stored tree is damaged.';

CREATE FUNCTION immutable.add_log_key(vkey text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_add_log_key';
COMMENT ON FUNCTION immutable.add_log_key(text) IS
'Registers the key of a signer outside of the database.
It is recorded as immutable.log_key_announced. Its checkpoints are accepted once a checkpoint of the
key before covers that event.
- vkey: a verifier key (C2SP signed-note) of type 0x01 whose name is the log''s origin.
Raises 22004 for NULL, 22023 for another key, 42710 for a key that the log has, and 55000 before the
first checkpoint.';

CREATE FUNCTION immutable.rotate_log_key(overlap_days integer DEFAULT 30)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_rotate_log_key';
COMMENT ON FUNCTION immutable.rotate_log_key(integer) IS
'Makes a new key that signs checkpoints, and returns its verifier key.
It is recorded as immutable.log_key_announced. The next checkpoint covers that event under the old
key; those after it are signed by both. A key that somebody may have stolen is not rotated: call
immutable.begin_incarnation().
- overlap_days: for how many days the old key signs beside the new one, from 0 to 3650.
Raises 22023 for another number of days, and 55000 before the first checkpoint, while a key is
announced, and where immutable.log_key_file has the keys.';

CREATE FUNCTION immutable.resume(note text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_resume';
COMMENT ON FUNCTION immutable.resume(text) IS
'Lets the log sign on this server, after a restore, a promotion or a recovery that lost nothing.
It is recorded as immutable.signing_resumed.
- note: the newest checkpoint that is known outside of this server, for example a witness''s.
Raises 22004 for NULL, 22023 for a note that is malformed, of another origin or not signed by the log,
55000 if the tree does not extend it or a private key is not here, and XX001 if the stored tree is
damaged.';

CREATE FUNCTION immutable.begin_incarnation(reason text, note text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_begin_incarnation';
COMMENT ON FUNCTION immutable.begin_incarnation(text, text) IS
'Gives the log another name and another key in its checkpoints, and returns the name.
It is for a log that lost events, whose key is lost or was stolen, or that is a copy of another one.
The tree goes on. It is recorded as immutable.incarnation_begun, with the old name, size and root.
- reason: why, in 1 to 4,096 bytes.
- note: the newest checkpoint of the old name that is known outside; the event keeps it.
Raises 22004, 22023 or 22001 for a reason that is NULL, empty or too long, 22023 for a note of another
origin, and 55000 before the first checkpoint.';

CREATE FUNCTION immutable.report_checkpoint(note text)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_report_checkpoint';
COMMENT ON FUNCTION immutable.report_checkpoint(text) IS
'Compares a checkpoint that a witness has with the tree, and stops signing if the tree does not extend it.
A stop is recorded as immutable.fork_reported.
- note: the checkpoint as a signed note.
Returns whether the tree extends it.
Raises 22004 for NULL, 22023 for a note that is malformed, of another origin or not signed by the log,
and XX001 if the stored tree is damaged.';

CREATE VIEW immutable.checkpoints AS
  SELECT n.origin, n.size, n.root, n.signed_at,
    n.note || coalesce(pg_catalog.string_agg(c.line, '' ORDER BY c.cosigned_at, c.vkey), '') AS note,
    pg_catalog.array_remove(pg_catalog.array_agg(c.witness ORDER BY c.cosigned_at, c.vkey), NULL) AS cosigned_by,
    pg_catalog.max(c.cosigned_at) AS cosigned_at
  FROM immutable.tree_notes n LEFT JOIN immutable.tree_cosignatures c ON c.origin = n.origin AND c.size = n.size
  WHERE immutable.require_scope('verify')
  GROUP BY n.origin, n.size;
COMMENT ON VIEW immutable.checkpoints IS
  'The signed checkpoints that are kept, with their cosignatures: the newest ones, and all that were '
  'cosigned';
COMMENT ON COLUMN immutable.checkpoints.origin IS 'The log''s name in the checkpoint';
COMMENT ON COLUMN immutable.checkpoints.size IS 'How many events it covers';
COMMENT ON COLUMN immutable.checkpoints.root IS 'The root of the tree of this size (RFC 6962), 32 bytes';
COMMENT ON COLUMN immutable.checkpoints.signed_at IS 'When it was signed, by the server''s clock';
COMMENT ON COLUMN immutable.checkpoints.note IS 'The signed note (C2SP signed-note) with all cosignatures';
COMMENT ON COLUMN immutable.checkpoints.cosigned_by IS 'Names of the witnesses that cosigned it';
COMMENT ON COLUMN immutable.checkpoints.cosigned_at IS 'Time of the newest cosignature, by the witness''s clock';

-- sql/evidence/proof.sql
-- Proofs, as text that other software verifies. They run with the caller's rights, so that row
-- security decides of which events a role gets proofs; the tree is read with its owner's.

CREATE FUNCTION immutable.inclusion_proof(id uuid, tenant_id text DEFAULT NULL, size bigint DEFAULT NULL)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_inclusion_proof';
COMMENT ON FUNCTION immutable.inclusion_proof(uuid, text, bigint) IS
'Returns the proof that an event is in the tree of a checkpoint, as a C2SP tlog-proof file.
The leaf is SHA-256(0x00 || event_hash). The proof is verified before it is returned. It shows the
event''s index in the tree and the size of the log, and nothing else of the event.
- id: the event''s id.
- tenant_id: the event''s tenant; needed only if events of several tenants have this id.
- size: the size of the checkpoint, one of immutable.checkpoints. NULL is for the newest cosigned
  checkpoint that covers the event, or else the newest signed one.
Returns the text of the file, which ends with the checkpoint and the lines of its witnesses.
Raises P0002 if the caller sees no such event, or if it was pruned, 21000 if several events have this id
and tenant_id does not tell them apart, 55000 if no checkpoint covers the event yet, 22023 for a size of which no
checkpoint is kept, XX001 if the event, the tree or the checkpoint is damaged, and 28000 for a viewer
token that is refused.';

CREATE FUNCTION immutable.consistency_proof(old_size bigint, new_size bigint DEFAULT NULL)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_consistency_proof';
COMMENT ON FUNCTION immutable.consistency_proof(bigint, bigint) IS
'Returns the proof that one tree of the log is the beginning of another (RFC 6962, section 2.1.2).
It is verified before it is returned.
- old_size: the size of the smaller tree.
- new_size: the size of the larger tree; NULL is for that of immutable.tree_head().
Returns the hashes of the proof in base64, each on a line that ends with a line feed, as they stand in
the body of add-checkpoint (C2SP tlog-witness). The text is empty if old_size is 0 or new_size.
Raises 22004 for an old_size that is NULL, 22023 for a size below 0 or above that of the tree, and for
an old_size above new_size, 55000 before the first checkpoint, and XX001 if the tree is damaged.';

-- sql/evidence/receipt.sql
-- Receipts: one event as evidence in a file.

CREATE FUNCTION immutable.receipt(id uuid, tenant_id text DEFAULT NULL, disclose text[] DEFAULT NULL)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_receipt';
COMMENT ON FUNCTION immutable.receipt(uuid, text, text[]) IS
'Returns an event and the proof that a witness has seen it, as a file that is verified without the log.
immutable-verify receipt verifies it. The proof leads to the newest cosigned checkpoint. The receipt
stays valid when values of the event are erased later, and keeps those that it discloses. It stays valid
when the event is pruned; receipt_of_line() makes one then.
Besides the disclosed values, a receipt shows what stands in the event''s document as it is (id,
tenant_id, lane, seq, both times, recorded_by, action, the types, version and the hash of the event
before it), which of the columns have values, how many metadata keys and targets there are, the
event''s index in the tree, and the size of the log.
- id: the event''s id.
- tenant_id: the event''s tenant; needed only if events of several tenants have this id.
- disclose: the paths of the values to disclose, as for immutable.erase(): columns such as actor_id,
  metadata.<key> and targets.<n>. NULL is for all that are there, and an empty array for none.
Returns the text of the file: the line immutable-receipt/v1, the event as a line of an export, and a
C2SP tlog-proof.
Raises P0002 if the caller sees no such event, or if it was pruned, 21000 if several events have this id
and tenant_id does not tell them apart, 22023 for a path at which the event has no value, or had one that was erased,
22004 for a path that is NULL, 55000 if no cosigned checkpoint covers the event yet, XX001 if the
event, the tree or the checkpoint is damaged, and 28000 for a viewer token that is refused.';

CREATE FUNCTION immutable.receipt_of_line(line text)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_receipt_of_line';
COMMENT ON FUNCTION immutable.receipt_of_line(text) IS
'Returns the receipt of an event from its line in an export, also when the event was pruned since.
The row of the event is not read: the line''s hash is compared with the leaf that the tree has for its
place. The receipt discloses the values that the line does.
- line: the event''s line in an export, or the second line of a receipt; with or without its line feed.
Returns the text of the file, as immutable.receipt() does.
Raises 22023 for a line that is none of an event, is altered, or is of an event that the tree does not
have, 22004 for NULL, 55000 if no cosigned checkpoint covers the event yet, XX001 if the tree or the
checkpoint is damaged, 42501 for an API key without the scope verify or of another tenant, and 28000 for
a proof that is refused.';

-- sql/evidence/page.sql
-- What a reader of one page of events needs to verify it, in a browser for example.

CREATE FUNCTION immutable.page_evidence(ids uuid[], tenant_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_page_evidence';
COMMENT ON FUNCTION immutable.page_evidence(uuid[], text) IS
'Returns what the reader of a page of events needs to verify it, with the checkpoint that covers it.
The events are those that get_events() shows to the caller. An id of an event that the caller does not
see is left out, like an id of no event. Where immutable.viewer_proofs is off, index, proof and
checkpoint are given to those alone who may call immutable.inclusion_proof().
- ids: the ids of the events, at most 100.
- tenant_id: the tenant of the events; needed only if events of several tenants have one of the ids.
Returns an object with the member events, which has for each id {"line", "index", "proof"}: the event as
a line of an export, its index in the tree, and the hashes of the proof in base64, the leaf''s sibling
first. index and proof are null if the checkpoint does not cover the event. An event that is damaged
has {"unreadable": reason} instead. The member checkpoint is the newest cosigned checkpoint with the
lines of its witnesses, else the newest signed one, or null. If it is damaged, unreadable says how. The
members verifier_keys and witnesses are the database''s own lists of keys: they name keys, and whoever
doubts the database must have the keys from elsewhere.
Raises 22004 if ids is NULL, 22023 for more than 100 ids, 42501 for an API key without the scope read or
for another tenant than the key''s, and 28000 for a proof or a viewer token that is refused.';

-- sql/evidence/witness.sql
-- Witnesses. The database opens no connection: a program such as curl sends the text that
-- witness_request() returns, and the answer goes to add_cosignature().

CREATE FUNCTION immutable.add_witness(vkey text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_add_witness';
COMMENT ON FUNCTION immutable.add_witness(text) IS
'Makes a witness known, so that its cosignatures are stored.
The log records it as immutable.witness_added, with the key. Two keys of one name are allowed, as while
a witness changes its key. The list is the database''s own: whoever relies on a witness keeps its key
elsewhere, in a policy.
- vkey: the witness''s verifier key (C2SP signed-note) of type 0x04.
Raises 22023, with the reason, for a text that is no such key, 22004 for NULL, 42710 if the key is known
already, and 25006 on a standby and in a read-only transaction.';

CREATE FUNCTION immutable.remove_witness(vkey text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_remove_witness';
COMMENT ON FUNCTION immutable.remove_witness(text) IS
'Makes the log ignore what a witness signs from now on.
The log records it as immutable.witness_removed, with the key. Cosignatures that are stored stay.
- vkey: the witness''s verifier key.
Raises 42704 if the key is not known, 22023, with the reason, for a text that is no such key, 22004 for
NULL, and 25006 on a standby and in a read-only transaction.';

CREATE FUNCTION immutable.witness_request(old_size bigint DEFAULT 0, size bigint DEFAULT NULL)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_witness_request';
COMMENT ON FUNCTION immutable.witness_request(bigint, bigint) IS
'Returns what a witness is sent: the body of add-checkpoint (C2SP tlog-witness).
It has the old size, the proof of consistency, an empty line, and the checkpoint with the log''s own
signature. A witness that has another size answers with status 409 and that size: call again with it.
- old_size: the size that the witness has cosigned last; 0 if none, or if that is not known.
- size: the size of the checkpoint, one of immutable.checkpoints. NULL is for the newest.
Raises 22023 for an old_size above that of the checkpoint, and for a size of which no checkpoint is
kept, 22004 for an old_size that is NULL, 55000 before the first checkpoint, and XX001 if the tree or
the checkpoint is damaged.';

CREATE FUNCTION immutable.add_cosignature(size bigint, lines text)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_add_cosignature';
COMMENT ON FUNCTION immutable.add_cosignature(bigint, text) IS
'Stores what witnesses answered to immutable.witness_request().
A line of a witness in immutable.witnesses must be a valid cosignature of the checkpoint, or nothing is
stored. Lines of others are ignored, with a NOTICE. Of several cosignatures by one key, the newest is
kept. The witness''s clock is not compared with the server''s here; immutable.status() does that.
- size: the size of the checkpoint that was sent.
- lines: the signature lines (C2SP signed-note), at most 100.
Returns how many lines were stored. A line that is not newer than the one that is there does not
count.
Raises 22023 for a line that is malformed or not valid, and for a size of which no checkpoint is kept,
22004 for an argument that is NULL, 55000 before the first checkpoint, 25006 on a standby and in a
read-only transaction, and XX001 if the checkpoint is damaged.';

-- sql/evidence/tiles.sql
-- Repair of the stored tree, and the tree as a file or piece by piece.

CREATE FUNCTION immutable.rebuild_tiles()
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_rebuild_tiles';
COMMENT ON FUNCTION immutable.rebuild_tiles() IS
'Makes damaged tiles of the tree again from the events.
The order of the events is taken from immutable.tree_runs, and the leaves of pruned events from the stored
tiles. Nothing is changed unless they have the root of the tree''s head. It reads every event that the tree covers, and no checkpoint is made
meanwhile. It is recorded as immutable.tiles_rebuilt.
Returns how many tiles were made again.
Raises 25006 on a standby and in a read-only transaction, 55000 before the first checkpoint, and XX001
if the events are not those that the tree covers, or if the leaf of a pruned event is damaged.';

CREATE FUNCTION immutable.export_tree(size bigint DEFAULT NULL)
RETURNS SETOF text LANGUAGE c STABLE PARALLEL UNSAFE ROWS 10000 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_export_tree';
COMMENT ON FUNCTION immutable.export_tree(bigint) IS
'Returns the tree as lines of JSON, which immutable-verify compares with an export of the events.
The lines say up to which event the tree covers each lane, and give the leaf hashes in their order.
- size: the size of the checkpoint that is compared; NULL for the whole tree.
Raises 55000 before the first checkpoint, 22023 for a negative size and one above that of the tree, and
XX001 if the stored tree is damaged.';

CREATE FUNCTION immutable.tile(level integer, number bigint, width integer DEFAULT 256)
RETURNS bytea LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_tile';
COMMENT ON FUNCTION immutable.tile(integer, bigint, integer) IS
'Returns a tile of the tree as a transparency log publishes it (C2SP tlog-tiles).
What was once returned for a tile and a width never changes.
- level: the level, from 0: 0 has the leaf hashes, 1 the roots of the full tiles of level 0.
- number: the number of the tile in its level, from 0.
- width: how many hashes, from 1: 256 for a full tile, less for a partial one.
Returns so many hashes of 32 bytes.
Raises P0002 if the tree has no such tile or not so many hashes of it, 22023 for a level, a number or a
width that no tile has, 22004 for NULL, 55000 before the first checkpoint, XX001 if the stored tree is
damaged, 42501 for a proof without the scope verify or of one tenant, and 28000 for a proof that is
missing or refused.';

CREATE FUNCTION immutable.entries(number bigint, width integer DEFAULT 256)
RETURNS bytea LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_entries';
COMMENT ON FUNCTION immutable.entries(bigint, integer) IS
'Returns the entries of a tile of level 0 as a bundle (C2SP tlog-tiles): the hashes of its events.
An entry is an event''s hash of 32 bytes, and two bytes with its length stand before it. The hashes
were compared with the tile.
- number: the number of the bundle, from 0. It has the entries of the tile with this number.
- width: how many entries, from 1 to 256.
Raises P0002 if the tree has no such bundle or not so many entries of it, or if one of the events was
pruned, 22023 for a number or a width
that no bundle has, 22004 for NULL, 55000 before the first checkpoint, XX001 if the events are not those
that the tree covers, 42501 for a proof without the scope verify or of one tenant, and 28000 for a proof
that is missing or refused.';

-- sql/capture.sql
-- Row changes of one's own tables, as events of the same chain. docs/row-changes.md is the guide.

CREATE TABLE immutable.tracking (
  schema_name name NOT NULL,
  table_name name NOT NULL,
  relation oid NOT NULL DEFAULT 0,
  database oid NOT NULL DEFAULT 0,
  resource_type text COLLATE "C" NOT NULL,
  id_columns name[] NOT NULL,
  columns name[],
  exclude name[] NOT NULL,
  mask name[] NOT NULL,
  tenant_column name,
  subject_columns name[] NOT NULL,
  operations text[] NOT NULL,
  condition text,
  attributes name[] NOT NULL DEFAULT '{}',
  numbers smallint[] NOT NULL DEFAULT '{}',
  tracked_at timestamptz NOT NULL,
  tracked_by text NOT NULL,
  PRIMARY KEY (schema_name, table_name)
);
COMMENT ON TABLE immutable.tracking IS
  'The tables whose row changes are recorded, and what is recorded of them. immutable.track_table() writes it; '
  'immutable.tracked_tables shows it.';
COMMENT ON COLUMN immutable.tracking.schema_name IS 'The schema of the table';
COMMENT ON COLUMN immutable.tracking.table_name IS 'The table, or the root of a partitioned table';
COMMENT ON COLUMN immutable.tracking.relation IS 'The table''s OID in this database';
COMMENT ON COLUMN immutable.tracking.database IS
  'The OID of the database that the OID belongs to. A row from a dump has another one, and its table is found by name';
COMMENT ON COLUMN immutable.tracking.resource_type IS 'What events.resource_type and the actions begin with';
COMMENT ON COLUMN immutable.tracking.id_columns IS 'The columns that resource_id is made of; empty if there are none';
COMMENT ON COLUMN immutable.tracking.columns IS 'The columns that are recorded; NULL for all';
COMMENT ON COLUMN immutable.tracking.exclude IS 'The columns that are not recorded';
COMMENT ON COLUMN immutable.tracking.mask IS 'The columns of which only that they changed is recorded';
COMMENT ON COLUMN immutable.tracking.tenant_column IS 'The column that holds the tenant; NULL if there is none';
COMMENT ON COLUMN immutable.tracking.subject_columns IS 'The columns whose values become targets';
COMMENT ON COLUMN immutable.tracking.operations IS 'What is recorded: insert, update, delete, truncate';
COMMENT ON COLUMN immutable.tracking.condition IS 'An SQL condition on a row; rows for which it is not true are not recorded';
COMMENT ON COLUMN immutable.tracking.attributes IS 'The names of all columns that the row names, as they were last seen';
COMMENT ON COLUMN immutable.tracking.numbers IS 'The numbers of these columns in the table, which a new name does not change';
COMMENT ON COLUMN immutable.tracking.tracked_at IS 'When immutable.track_table() was last called';
COMMENT ON COLUMN immutable.tracking.tracked_by IS 'Who called it, as events.recorded_by names it';
ALTER TABLE immutable.tracking ENABLE ROW LEVEL SECURITY;
CREATE POLICY tracker_select ON immutable.tracking FOR SELECT TO immutable_auditor, immutable_tracker USING (true);
COMMENT ON POLICY tracker_select ON immutable.tracking IS 'Auditors and whoever tracks tables see what is tracked';
SELECT pg_catalog.pg_extension_config_dump('immutable.tracking', '');

CREATE FUNCTION immutable.resolve_tracking() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_resolve_tracking';
COMMENT ON FUNCTION immutable.resolve_tracking() IS
'Trigger of immutable.tracking that finds the table and the columns of a row, which a dump may have brought.
It sets relation, database, attributes and numbers by the names in the row. If the table is not there, relation is 0,
the table is looked up by its name whenever the row is read, and immutable.tracked_tables names a problem. After a statement
it has every session read the rows anew.
Raises no error of its own.';
CREATE TRIGGER "~immutable_resolve" BEFORE INSERT ON immutable.tracking
  FOR EACH ROW EXECUTE FUNCTION immutable.resolve_tracking();
ALTER TABLE immutable.tracking ENABLE ALWAYS TRIGGER "~immutable_resolve";
CREATE TRIGGER "~immutable_tracking" AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON immutable.tracking
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.resolve_tracking();
ALTER TABLE immutable.tracking ENABLE ALWAYS TRIGGER "~immutable_tracking";

CREATE FUNCTION immutable.capture() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_capture';
COMMENT ON FUNCTION immutable.capture() IS
'Trigger that records row changes of a tracked table. immutable.track_table() creates the triggers.
It runs AFTER the statement, or after each row of a foreign table and of a table with inheritance, with the rights of
the role that changes the rows. It keeps the changes until the transaction commits, when they are recorded as events.
Only the log''s owner may use it in a trigger.
Raises 54000 if the changes of one transaction exceed immutable.max_capture_size.';

CREATE FUNCTION immutable.track_table(
  relation regclass, resource_type text DEFAULT NULL, id_columns text[] DEFAULT NULL, columns text[] DEFAULT NULL,
  exclude text[] DEFAULT '{}', mask text[] DEFAULT '{}', tenant_column text DEFAULT NULL,
  subject_columns text[] DEFAULT '{}', operations text[] DEFAULT '{insert,update,delete,truncate}',
  condition text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_track_table';
COMMENT ON FUNCTION immutable.track_table(regclass, text, text[], text[], text[], text[], text, text[], text[], text) IS
'Records the row changes of a table from now on, in the transactions that make them.
A change of one row becomes an event <resource_type>.created, .updated or .deleted, and TRUNCATE one event .truncated.
Its metadata has one key for each column that changed, {"old": ..., "new": ...}. The call creates triggers on the table
and on its partitions and children, for which it locks them (SHARE ROW EXCLUSIVE, and ACCESS EXCLUSIVE where it drops a
trigger), and is recorded as immutable.table_tracked. A further call for the same table replaces what the call before
said. What is recorded follows new names of the table and of its columns. If a name can no longer be followed, only that
columns changed is recorded, until the function is called again.
- relation: a table, a partitioned table, a foreign table, or a table with its children. Partitions and children are
  tracked with it. Before PostgreSQL 16, TRUNCATE of a foreign table is not recorded.
- resource_type: events.resource_type, 1 to 200 bytes; NULL for the table''s name.
- id_columns: the columns that events.resource_id is made of; NULL for those of the primary key, empty for none. They
  cannot be in exclude or mask.
- columns: the columns to record; NULL for all, also those that are added later.
- exclude: columns not to record. A change of these alone records nothing.
- mask: columns of which the event says only that they changed, or the HMAC of their values where
  immutable.mask_key_file is set. It cannot name columns whose values are recorded elsewhere in the event.
- tenant_column: the column that holds the tenant; without it, events have the tenant of a trusted session, or none.
- subject_columns: columns that refer to persons. Their values become targets, so that immutable.erase_subject() finds
  them. The type of the target is the referenced table''s resource_type or name, or the column''s name.
- operations: which of insert, update, delete and truncate to record.
- condition: an SQL condition on the columns of one row. A change is recorded if it is true for the old row or the new
  one, and where it raises an error. It is evaluated with the rights of the role that changes the row, with search_path
  pg_catalog and other settings that do not depend on the session. It is one boolean expression without a subquery, an
  aggregate, a set, a volatile function, a temporary object, a system column or the name of the table.
Names of columns are taken as they are in the catalog, without quotes.
Returns nothing.
Raises 42809 for a relation of another kind, for a temporary and for an unlogged table, for a partition, and for a table
whose parents or children are tracked, 42501 for a table of the log or of PostgreSQL, for a reserved resource_type and,
where condition is given, for a caller without the TRIGGER privilege on the table, 42P01 for a table and 42703 for a
column that is not there, 22023 for an argument of the wrong form, for columns that two arguments name and for a
condition that is none, 22001 for a resource_type that is too long, 22004 for a relation, operations or an element of a
list that is NULL, 25006 on a standby, in a read-only transaction and in a copy of a log, and 0A000 where the log or
the table is distributed.';

CREATE FUNCTION immutable.untrack_table(relation regclass)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_untrack_table';
COMMENT ON FUNCTION immutable.untrack_table(regclass) IS
'Ends the recording of a table''s row changes, and records that as immutable.table_untracked.
It drops the triggers, for which it locks the table with its partitions and children (ACCESS EXCLUSIVE).
- relation: the table that was given to immutable.track_table().
Returns whether it was tracked.
Raises 22004 if relation is NULL, 42809 for a partition or a child of a tracked table, 25006 on a standby, in a
read-only transaction and in a copy of a log, and 0A000 where the log is distributed.';

CREATE FUNCTION immutable.capture_problem(relation oid) RETURNS text
LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_capture_problem';
COMMENT ON FUNCTION immutable.capture_problem(oid) IS
'Says what keeps row changes of a tracked table from being recorded as they should be.
- relation: the OID of a table in immutable.tracking.
Returns what is wrong, as a sentence without a full stop, or NULL.
Raises no error.';

CREATE VIEW immutable.tracked_tables AS
  SELECT pg_catalog.format('%I.%I', t.schema_name, t.table_name) AS relation, t.resource_type, t.id_columns, t.columns,
    t.exclude, t.mask, t.tenant_column, t.subject_columns, t.operations, t.condition, t.tracked_at, t.tracked_by,
    immutable.capture_problem(t.relation) AS problem
  FROM immutable.tracking t;
COMMENT ON VIEW immutable.tracked_tables IS
  'The tables whose row changes are recorded, what is recorded of them, and what keeps it from being recorded';
COMMENT ON COLUMN immutable.tracked_tables.relation IS 'The table, with its schema';
COMMENT ON COLUMN immutable.tracked_tables.resource_type IS 'events.resource_type of its changes';
COMMENT ON COLUMN immutable.tracked_tables.id_columns IS 'The columns that events.resource_id is made of';
COMMENT ON COLUMN immutable.tracked_tables.columns IS 'The columns that are recorded; NULL for all';
COMMENT ON COLUMN immutable.tracked_tables.exclude IS 'The columns that are not recorded';
COMMENT ON COLUMN immutable.tracked_tables.mask IS 'The columns of which only that they changed is recorded';
COMMENT ON COLUMN immutable.tracked_tables.tenant_column IS 'The column that holds the tenant';
COMMENT ON COLUMN immutable.tracked_tables.subject_columns IS 'The columns whose values become targets';
COMMENT ON COLUMN immutable.tracked_tables.operations IS 'What is recorded: insert, update, delete, truncate';
COMMENT ON COLUMN immutable.tracked_tables.condition IS 'A condition on the rows that are recorded';
COMMENT ON COLUMN immutable.tracked_tables.tracked_at IS 'When immutable.track_table() was last called';
COMMENT ON COLUMN immutable.tracked_tables.tracked_by IS 'Who called it';
COMMENT ON COLUMN immutable.tracked_tables.problem IS 'What keeps changes from being recorded as they should be; NULL if nothing does';

-- It is C code, and takes what it does with the owner's rights in itself.
CREATE FUNCTION immutable.capture_ddl() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_capture_ddl';
COMMENT ON FUNCTION immutable.capture_ddl() IS
'Event trigger function that keeps the recording of row changes in step with DDL.
New names of tables and columns go into immutable.tracking, new partitions and children get their triggers, and what
changes rows past the triggers or switches them off is recorded as an event of the log.
Raises no error of its own.';
-- A list of commands each, so that a missing library stops no other command. What can drop a column with CASCADE is in it.
CREATE EVENT TRIGGER immutable_capture_end ON ddl_command_end
  WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER INDEX', 'ALTER SCHEMA', 'ALTER TRIGGER', 'ALTER TYPE', 'CREATE TABLE',
    'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'CREATE TRIGGER', 'IMPORT FOREIGN SCHEMA')
  EXECUTE FUNCTION immutable.capture_ddl();
CREATE EVENT TRIGGER immutable_capture_drop ON sql_drop
  WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER TYPE', 'ALTER EXTENSION', 'CREATE EXTENSION', 'DROP TABLE', 'DROP FOREIGN TABLE',
    'DROP TRIGGER', 'DROP SCHEMA', 'DROP OWNED', 'DROP FUNCTION', 'DROP PROCEDURE', 'DROP ROUTINE', 'DROP AGGREGATE', 'DROP CAST',
    'DROP COLLATION', 'DROP LANGUAGE', 'DROP OPERATOR', 'DROP OPERATOR CLASS', 'DROP OPERATOR FAMILY', 'DROP ACCESS METHOD',
    'DROP TYPE', 'DROP DOMAIN', 'DROP VIEW', 'DROP MATERIALIZED VIEW', 'DROP EXTENSION', 'DROP SERVER',
    'DROP FOREIGN DATA WRAPPER')
  EXECUTE FUNCTION immutable.capture_ddl();
CREATE EVENT TRIGGER immutable_capture_rewrite ON table_rewrite EXECUTE FUNCTION immutable.capture_ddl();
ALTER EVENT TRIGGER immutable_capture_end ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_capture_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_capture_rewrite ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER immutable_capture_end IS 'Keeps the recording of row changes in step with tables, names, partitions and triggers';
COMMENT ON EVENT TRIGGER immutable_capture_drop IS 'Notes what is dropped of tracked tables';
COMMENT ON EVENT TRIGGER immutable_capture_rewrite IS 'Records that a tracked table was rewritten, past its triggers';

-- sql/jobs/alerts.sql
-- Alerts: the rules, and what they found. CALL immutable.run_maintenance() evaluates them.

CREATE TABLE immutable.alert_rules (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  rule_type text COLLATE "C" NOT NULL,
  conditions jsonb NOT NULL,
  tenant_id text COLLATE "C",
  enabled boolean NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  since timestamptz NOT NULL
);
COMMENT ON TABLE immutable.alert_rules IS
  'What alerts are raised for. Functions write it, and record an event for each decision.';
COMMENT ON COLUMN immutable.alert_rules.id IS 'UUIDv7 (RFC 9562)';
COMMENT ON COLUMN immutable.alert_rules.name IS 'Name that alerts show. At most 255 bytes';
COMMENT ON COLUMN immutable.alert_rules.rule_type IS
  'new_country, high_volume_destructive, ingestion_spike, repeated_action or off_hours';
COMMENT ON COLUMN immutable.alert_rules.conditions IS 'The conditions of the type, defaults included';
COMMENT ON COLUMN immutable.alert_rules.tenant_id IS
  'The tenant whose events the rule looks at; empty for the events without a tenant, NULL for all events';
COMMENT ON COLUMN immutable.alert_rules.enabled IS 'Whether the rule is evaluated';
COMMENT ON COLUMN immutable.alert_rules.created_at IS 'When the rule was made';
COMMENT ON COLUMN immutable.alert_rules.updated_at IS 'When it was changed last';
COMMENT ON COLUMN immutable.alert_rules.since IS
  'The rule looks at events that were recorded from then on: since it was made, enabled, or given other '
  'conditions';

CREATE TABLE immutable.alerts (
  id uuid PRIMARY KEY,
  rule_id uuid NOT NULL,
  rule_name text NOT NULL,
  rule_type text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  event_id uuid NOT NULL,
  is_of_actor boolean NOT NULL,
  reason text NOT NULL,
  triggered_at timestamptz NOT NULL,
  notified_at timestamptz
);
CREATE INDEX alerts_page ON immutable.alerts (triggered_at, id);
CREATE INDEX alerts_tenant ON immutable.alerts (tenant_id, triggered_at, id);
COMMENT ON TABLE immutable.alerts IS
  'What the rules found. No row has a value of an event that can be erased: readers join the event.';
COMMENT ON COLUMN immutable.alerts.id IS 'UUIDv7 (RFC 9562)';
COMMENT ON COLUMN immutable.alerts.rule_id IS 'The rule, which may have been deleted since';
COMMENT ON COLUMN immutable.alerts.rule_name IS 'Name of the rule at that time';
COMMENT ON COLUMN immutable.alerts.rule_type IS 'Type of the rule';
COMMENT ON COLUMN immutable.alerts.tenant_id IS 'The tenant of the event; empty for none';
COMMENT ON COLUMN immutable.alerts.event_id IS 'The event that raised the alert: the last one of a burst';
COMMENT ON COLUMN immutable.alerts.is_of_actor IS
  'Whether the alert is about one actor. Others are about a whole tenant, and shown to nobody who sees '
  'one actor alone';
COMMENT ON COLUMN immutable.alerts.reason IS 'Why, as a text';
COMMENT ON COLUMN immutable.alerts.triggered_at IS 'When the rule was evaluated';
COMMENT ON COLUMN immutable.alerts.notified_at IS 'When somebody was told; NULL if nobody was';

CREATE TABLE immutable.alert_feed (
  mark text COLLATE "C" NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.alert_feed IS
  'How far the events were evaluated: one row, or none while no rule is enabled. No dump contains it.';
COMMENT ON COLUMN immutable.alert_feed.mark IS 'A mark of immutable.feed()';
COMMENT ON COLUMN immutable.alert_feed.singleton IS 'Always true, so that there is one row at most';

CREATE TABLE immutable.alert_state (
  tenant_id text COLLATE "C" NOT NULL,
  actor_id text COLLATE "C" NOT NULL,
  state bytea NOT NULL,
  PRIMARY KEY (tenant_id, actor_id)
);
-- The bytes are packed already, and written often: compressing them takes longer than all the rest.
ALTER TABLE immutable.alert_state ALTER state SET STORAGE EXTERNAL;
ALTER TABLE immutable.alert_state SET (toast_tuple_target = 8160, fillfactor = 70);
COMMENT ON TABLE immutable.alert_state IS
  'What the rules remember of actors between two evaluations: times, and the countries that are known. An '
  'erasure of an actor_id or ip_country removes the actor''s row. No dump contains it.';
COMMENT ON COLUMN immutable.alert_state.tenant_id IS 'The tenant; empty for none';
COMMENT ON COLUMN immutable.alert_state.actor_id IS 'The actor; empty for the tenant as a whole';
COMMENT ON COLUMN immutable.alert_state.state IS 'What each rule remembers';

-- A column's statistics contain values of other tenants, and EXPLAIN shows a viewer how many rows the
-- planner expects. Those of the state would keep what was erased.
ALTER TABLE immutable.alerts ALTER rule_id SET STATISTICS 0, ALTER rule_name SET STATISTICS 0,
  ALTER tenant_id SET STATISTICS 0, ALTER event_id SET STATISTICS 0, ALTER reason SET STATISTICS 0;
ALTER TABLE immutable.alert_state ALTER tenant_id SET STATISTICS 0, ALTER actor_id SET STATISTICS 0,
  ALTER state SET STATISTICS 0;

SELECT pg_catalog.pg_extension_config_dump('immutable.alert_rules', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.alerts', '');

-- A dump with row security would leave out rows without an error.
CREATE POLICY all_or_none ON immutable.alert_rules FOR SELECT USING (immutable.refuse_part_of('alert_rules'));
COMMENT ON POLICY all_or_none ON immutable.alert_rules IS 'Refuses roles that row security applies to';
-- Whoever restores brings no rule or alert unseen.
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.alert_rules
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.alerts
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
ALTER TABLE immutable.alert_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.alerts ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.alert_feed ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.alert_state ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION immutable.create_alert_rule(name text, rule_type text, conditions jsonb DEFAULT '{}',
  tenant_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_create_alert_rule';
COMMENT ON FUNCTION immutable.create_alert_rule(text, text, jsonb, text) IS
'Makes a rule that raises alerts for events that are recorded from now on.
immutable.run_maintenance() evaluates it. It is recorded as immutable.alert_rule_created.
- name: a name, which alerts show.
- rule_type: new_country, high_volume_destructive, ingestion_spike, repeated_action or off_hours.
- conditions: a JSON object. action_pattern is an action in which * stands for any text, or an array of
  them. threshold and window_minutes say how many events within how many minutes; timezone,
  start_hour and end_hour are the hours of work. docs/alerts.md says which type has which, and the
  defaults.
- tenant_id: the tenant whose events are looked at; empty for the events without a tenant, NULL for
  all events.
Returns the rule: {"id", "name", "rule_type", "conditions", "tenant_id", "enabled", "created_at",
"updated_at"}.
Raises 22004 without a name or type, 22023 for a type or conditions that mean nothing, 54000 beyond 500
rules, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.update_alert_rule(id uuid, name text DEFAULT NULL, conditions jsonb DEFAULT NULL,
  enabled boolean DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_update_alert_rule';
COMMENT ON FUNCTION immutable.update_alert_rule(uuid, text, jsonb, boolean) IS
'Changes a rule. One that is enabled, or gets other conditions, looks at events from now on.
It is recorded as immutable.alert_rule_updated. What is NULL stays as it is.
- id: the rule.
- name: another name. Alerts keep the name that they were raised with.
- conditions: other conditions, in place of all that it has.
- enabled: whether the rule is evaluated.
Returns the rule, as immutable.create_alert_rule() does.
Raises 22004 without an id, P0002 if there is no such rule, 22023 for conditions that mean nothing, and
0A000 for a distributed log.';

CREATE FUNCTION immutable.delete_alert_rule(id uuid)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_delete_alert_rule';
COMMENT ON FUNCTION immutable.delete_alert_rule(uuid) IS
'Deletes a rule. Its alerts stay.
It is recorded as immutable.alert_rule_deleted.
- id: the rule.
Raises 22004 without an id, P0002 if there is no such rule, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.get_alert_rules()
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_alert_rules';
COMMENT ON FUNCTION immutable.get_alert_rules() IS
'Returns all alert rules, the oldest first.
Returns {"data"}: an array of rules, as immutable.create_alert_rule() returns them.
Raises no error of its own.';

CREATE FUNCTION immutable.get_alerts(rule_type text DEFAULT NULL, from_date immutable.day_or_time DEFAULT NULL,
  to_date immutable.day_or_time DEFAULT NULL, "limit" integer DEFAULT 25, cursor text DEFAULT NULL,
  tenant_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'immutable_get_alerts';
COMMENT ON FUNCTION immutable.get_alerts(text, immutable.day_or_time, immutable.day_or_time, integer, text, text) IS
'Returns a page of the alerts of events that the caller sees, the newest first.
- rule_type: alerts of this type alone.
- from_date, to_date: alerts that were triggered from then on, and until then. A day without a time
  means the whole day.
- limit: most alerts of the page, from 1 to 100.
- cursor: pagination.next_cursor of the page before.
- tenant_id: alerts of this tenant alone; empty for the events without a tenant.
Returns {"data", "pagination"}. An alert is {"id", "rule_id", "rule_name", "rule_type", "reason",
"event_id", "event", "notified_at", "triggered_at"}; event is null if the event is gone. pagination is
{"has_more", "next_cursor", "total"}; total is counted to 10,000.
Raises 22023 for another type or limit, and for a cursor of another query; and 28000 for a token that
is refused.';

-- sql/jobs/exports.sql
-- Exports for download: each is pinned to the events that were there when it was asked for.

-- Nobody but the functions reads the table, with the owner's rights: an export's filters may name
-- a person. No dump has it. A pin is a snapshot of this server, and means nothing elsewhere.
CREATE TABLE immutable.exports (
  id uuid PRIMARY KEY,
  tenant_id text COLLATE "C",
  filters jsonb NOT NULL,
  pin pg_catalog.pg_snapshot,
  pinned_in timestamptz,
  status text COLLATE "C" NOT NULL DEFAULT 'pending'
    CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
  counted bigint NOT NULL DEFAULT 0,
  counted_to text COLLATE "C",
  error_message text,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  created_by text NOT NULL
);
CREATE INDEX exports_unfinished ON immutable.exports (created_at) WHERE status IN ('pending', 'processing');
COMMENT ON TABLE immutable.exports IS
  'Exports for download: which events each has, and for how long it can be read. Events are read when '
  'they are downloaded. No dump contains this table.';
COMMENT ON COLUMN immutable.exports.id IS 'Random UUID, by which the export is asked for';
COMMENT ON COLUMN immutable.exports.tenant_id IS
  'The tenant of the API key that made the export, and whose events alone it may have; NULL if it may have '
  'those of every tenant';
COMMENT ON COLUMN immutable.exports.filters IS
  'The filters, by their names; values of a person who was erased are null';
COMMENT ON COLUMN immutable.exports.pin IS
  'The snapshot whose events the export has; NULL once it has expired or failed';
COMMENT ON COLUMN immutable.exports.pinned_in IS
  'immutable.cluster.noted_at when the export was made: after a seam it is another, and the pin means nothing';
COMMENT ON COLUMN immutable.exports.status IS
  '''pending'' until its events are counted, ''processing'' where a part of them is, ''completed'', or ''failed''';
COMMENT ON COLUMN immutable.exports.counted IS 'How many events were counted so far';
COMMENT ON COLUMN immutable.exports.counted_to IS 'Where counting goes on: lane, seq and, in hex, tenant';
COMMENT ON COLUMN immutable.exports.error_message IS 'Why it failed';
COMMENT ON COLUMN immutable.exports.created_at IS 'When it was asked for';
COMMENT ON COLUMN immutable.exports.expires_at IS
  'When it ends. Its filters and its pin are removed then, and the row 30 days after that';
COMMENT ON COLUMN immutable.exports.created_by IS 'session_user of the connection that asked for it';
ALTER TABLE immutable.exports ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION immutable.create_export(
  from_date immutable.day_or_time DEFAULT NULL, to_date immutable.day_or_time DEFAULT NULL,
  actor_id text DEFAULT NULL, action text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, target_type text DEFAULT NULL,
  target_id text DEFAULT NULL, search text DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_create_export';
COMMENT ON FUNCTION immutable.create_export(immutable.day_or_time, immutable.day_or_time, text, text, text, text, text,
    text, text, text, text) IS
'Makes an export of the events that are committed now and pass every filter given.
Events that are recorded or committed later, and those of this transaction, are not in it. It can be
read as soon as this transaction has committed, for seven days. It is recorded as
immutable.export_created with the names of the filters. The arguments are those of
immutable.get_events().
- from_date, to_date: inclusive bounds of created_at.
- actor_id, resource, resource_id, session_id, target_type, target_id: the event''s value, or that of
  one of its targets, is this.
- action: the event''s action is this one; * in it stands for any text.
- tenant_id: the event belongs to this tenant; an empty text is for the events without a tenant. The
  export of an API key that is bound to a tenant has that tenant''s events alone.
- search: a part of actor_name, action, resource_name or metadata.
Returns {"data": {"id", "status": "pending"}, "id"}.
Raises 22023 for an action with a comma, 22001 for a filter of more than 4,096 bytes, 54000 if five
exports are not counted yet or a thousand have not expired (of the tenant, for a bound API key; of all
others together), 0A000 on a distributed log, 25006 on a standby or a subscriber, 42501 for another
tenant than the API key''s, for a proof that does not have the scope export and for a role whom further
policies limit, and 28000 for a proof that is refused.';

CREATE FUNCTION immutable.get_export(id uuid)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_export';
COMMENT ON FUNCTION immutable.get_export(uuid) IS
'Returns an export as {"data": {...}}, with a ticket that opens it for 15 minutes.
An export that is not counted yet is counted on for up to a half second, unless the transaction is
read-only or above READ COMMITTED; immutable.run_maintenance() does the same.
- id: the export''s id.
Returns id, status ("pending", "processing", "completed" or "failed"), filters, total_rows (null until
it is completed), file_size (null), download_url (null), ticket and ticket_expires_at (null unless
completed), error_message, created_at and expires_at. NULL if there is no such export, or if it is not
the caller''s to see: an API key that is bound to a tenant sees those that were made with such a key.
Raises 55000 for an export that has expired, 42501 for a proof that does not have the scope export, and
28000 for a proof that is refused.';

CREATE FUNCTION immutable.export_rows(id uuid, format text DEFAULT 'csv')
RETURNS SETOF text LANGUAGE c STABLE PARALLEL RESTRICTED COST 10000 ROWS 1000000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_export_rows';
COMMENT ON FUNCTION immutable.export_rows(uuid, text) IS
'Returns an export line by line: its events as they are now, in the order of tenant, lane and seq.
It does not wait until the events are counted. Values that were erased since are gone, and events that
a filter found by such a value are too. In the select list it streams. A line of CSV has the line
breaks of its values in it, which every format of COPY changes. psql writes a file as it is: psql -X
-q -A -t -v FETCH_COUNT=1000 -c "SELECT immutable.export_rows(''...'')" -o export.csv, with
PGCLIENTENCODING=UTF8.
An export ticket in setting immutable.proof opens its export.
- id: the export''s id.
- format: ''csv'', after RFC 4180, with a line of names, hashes in hex, JSON in targets, metadata and
  erased, times in UTC, and nothing for NULL; ''csv_spreadsheet'', the same with an apostrophe before
  values that a spreadsheet would take for a formula; or ''ndjson'', the lines of
  immutable.export_events(), which the program immutable-verify checks. These have the records of
  newer erasures of the events too.
Raises P0002 if there is no such export or if it is not the caller''s to see, 55000 for one that has
expired or failed, 22004 for NULL, 22023 for another format, and 28000 for a proof that is refused.';

CREATE FUNCTION immutable.forget_in_exports(tenant_id text, erased text[])
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_forget_in_exports';
COMMENT ON FUNCTION immutable.forget_in_exports(text, text[]) IS
'Ends the exports whose filters have a value that was erased, pauses such streams, and removes it.
immutable.erase() and immutable.erase_subject() call it. The export fails, because without the value
it would be another.
- tenant_id: the tenant whose values were erased.
- erased: the values.
Raises no error of its own.';

-- sql/jobs/streams.sql
-- Streams: which events and alerts are delivered where, how far that came, and what a receiver refused.
-- The program immutable-server delivers, as a login with the role immutable_deliverer.

CREATE TABLE immutable.streams (
  id uuid PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  destination jsonb NOT NULL,
  format text COLLATE "C" NOT NULL,
  filters jsonb NOT NULL,
  tenant_id text COLLATE "C",
  content text COLLATE "C" NOT NULL CHECK (content IN ('events', 'alerts')),
  enabled boolean NOT NULL,
  disabled_because text,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
COMMENT ON TABLE immutable.streams IS
  'What is delivered where. Functions write it, and record an event for each decision. It has no secret: '
  'a destination names the file in which the server program finds one.';
COMMENT ON COLUMN immutable.streams.id IS 'UUIDv7 (RFC 9562)';
COMMENT ON COLUMN immutable.streams.name IS 'Name, once in a log. At most 255 bytes';
COMMENT ON COLUMN immutable.streams.destination IS 'Where to deliver: its type, and what the type needs';
COMMENT ON COLUMN immutable.streams.format IS 'How events are written: json, ocsf, cloudevents, cef or leef';
COMMENT ON COLUMN immutable.streams.filters IS
  'Which events are delivered; {} for all. The value of a person who was erased is null';
COMMENT ON COLUMN immutable.streams.tenant_id IS
  'The tenant whose events are delivered; empty for the events without a tenant, NULL for all events';
COMMENT ON COLUMN immutable.streams.content IS 'events or alerts';
COMMENT ON COLUMN immutable.streams.enabled IS 'Whether it is delivered';
COMMENT ON COLUMN immutable.streams.disabled_because IS
  'Why it is not delivered, where nobody asked for that: the receiver switched it off, or a filter was erased';
COMMENT ON COLUMN immutable.streams.created_at IS 'When the stream was made';
COMMENT ON COLUMN immutable.streams.updated_at IS 'When it was changed last';

CREATE TABLE immutable.stream_positions (
  stream_id uuid PRIMARY KEY,
  mark text COLLATE "C" NOT NULL,
  since timestamptz,
  fence bigint NOT NULL DEFAULT 0,
  worker text,
  lease_seconds integer NOT NULL DEFAULT 0,
  leased_until timestamptz,
  pending_kind text COLLATE "C",
  pending_mark text COLLATE "C",
  pending text COLLATE "C" NOT NULL DEFAULT '',
  pending_left text COLLATE "C" NOT NULL DEFAULT '',
  acknowledged text COLLATE "C" NOT NULL DEFAULT '',
  failures integer NOT NULL DEFAULT 0,
  failed_at timestamptz,
  last_error text,
  retry_at timestamptz,
  refused integer NOT NULL DEFAULT 0,
  delivered bigint NOT NULL DEFAULT 0,
  delivered_at timestamptz,
  test_requested_at timestamptz,
  test_finished_at timestamptz,
  test_error text
);
-- It is written with each delivery.
ALTER TABLE immutable.stream_positions SET (fillfactor = 40);
COMMENT ON TABLE immutable.stream_positions IS
  'How far each stream was delivered, who delivers it now, and what failed. No dump contains it: marks '
  'and leases mean nothing elsewhere.';
COMMENT ON COLUMN immutable.stream_positions.stream_id IS 'The stream';
COMMENT ON COLUMN immutable.stream_positions.mark IS
  'Everything before it was delivered: a mark of immutable.feed(), or, for alerts, time and id of the last one';
COMMENT ON COLUMN immutable.stream_positions.since IS 'Events from before then are passed over; NULL for none';
COMMENT ON COLUMN immutable.stream_positions.fence IS
  'Number of the last lease. Whoever settles with another number has lost the stream';
COMMENT ON COLUMN immutable.stream_positions.worker IS 'Who has the last lease';
COMMENT ON COLUMN immutable.stream_positions.lease_seconds IS 'How long a lease is';
COMMENT ON COLUMN immutable.stream_positions.leased_until IS 'When the lease ends; NULL if there is none';
COMMENT ON COLUMN immutable.stream_positions.pending_kind IS
  'What was taken and is not settled: events, alerts, replay or test; NULL for nothing';
COMMENT ON COLUMN immutable.stream_positions.pending_mark IS 'The mark behind what was taken';
COMMENT ON COLUMN immutable.stream_positions.pending IS 'What was taken and is not acknowledged, in its order';
COMMENT ON COLUMN immutable.stream_positions.pending_left IS 'What stays acknowledged when it is settled';
COMMENT ON COLUMN immutable.stream_positions.acknowledged IS 'What was acknowledged behind the mark';
COMMENT ON COLUMN immutable.stream_positions.failures IS 'How many calls have failed in a row';
COMMENT ON COLUMN immutable.stream_positions.failed_at IS 'When the last one failed';
COMMENT ON COLUMN immutable.stream_positions.last_error IS 'Why; it has no value of an event';
COMMENT ON COLUMN immutable.stream_positions.retry_at IS 'When it is tried again';
COMMENT ON COLUMN immutable.stream_positions.refused IS 'How many events were refused in a row';
COMMENT ON COLUMN immutable.stream_positions.delivered IS 'How many events or alerts were acknowledged';
COMMENT ON COLUMN immutable.stream_positions.delivered_at IS 'When the last one was';
COMMENT ON COLUMN immutable.stream_positions.test_requested_at IS 'When a test was asked for';
COMMENT ON COLUMN immutable.stream_positions.test_finished_at IS 'When it was made';
COMMENT ON COLUMN immutable.stream_positions.test_error IS 'Why it failed; NULL if it did not';

CREATE TABLE immutable.dead_letters (
  id uuid PRIMARY KEY,
  stream_id uuid NOT NULL,
  content text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  item_id uuid NOT NULL,
  error text NOT NULL,
  attempts integer NOT NULL,
  died_at timestamptz NOT NULL,
  replay_at timestamptz
);
CREATE INDEX dead_letters_stream ON immutable.dead_letters (stream_id, died_at, id);
COMMENT ON TABLE immutable.dead_letters IS
  'Events and alerts that a receiver refused for good. No row has a value of an event: a replay reads the '
  'event again. run_maintenance() removes those that are older than 30 days.';
COMMENT ON COLUMN immutable.dead_letters.id IS 'UUIDv7 (RFC 9562)';
COMMENT ON COLUMN immutable.dead_letters.stream_id IS 'The stream';
COMMENT ON COLUMN immutable.dead_letters.content IS 'events or alerts';
COMMENT ON COLUMN immutable.dead_letters.tenant_id IS 'The tenant of the event; empty for none';
COMMENT ON COLUMN immutable.dead_letters.item_id IS 'The event or the alert';
COMMENT ON COLUMN immutable.dead_letters.error IS 'What the receiver answered; it has no value of the event';
COMMENT ON COLUMN immutable.dead_letters.attempts IS 'How often it was refused';
COMMENT ON COLUMN immutable.dead_letters.died_at IS 'When it was refused last';
COMMENT ON COLUMN immutable.dead_letters.replay_at IS 'When somebody asked to deliver it again; NULL if nobody did';

-- A column's statistics contain its values.
ALTER TABLE immutable.streams ALTER name SET STATISTICS 0, ALTER destination SET STATISTICS 0,
  ALTER filters SET STATISTICS 0, ALTER tenant_id SET STATISTICS 0;
ALTER TABLE immutable.stream_positions ALTER mark SET STATISTICS 0, ALTER pending_mark SET STATISTICS 0,
  ALTER pending SET STATISTICS 0, ALTER pending_left SET STATISTICS 0, ALTER acknowledged SET STATISTICS 0, ALTER last_error SET STATISTICS 0,
  ALTER test_error SET STATISTICS 0;
ALTER TABLE immutable.dead_letters ALTER tenant_id SET STATISTICS 0, ALTER item_id SET STATISTICS 0,
  ALTER error SET STATISTICS 0;

SELECT pg_catalog.pg_extension_config_dump('immutable.streams', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.dead_letters', '');

-- A dump with row security would leave out rows without an error.
CREATE POLICY all_or_none ON immutable.streams FOR SELECT USING (immutable.refuse_part_of('streams'));
COMMENT ON POLICY all_or_none ON immutable.streams IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.dead_letters FOR SELECT USING (immutable.refuse_part_of('dead_letters'));
COMMENT ON POLICY all_or_none ON immutable.dead_letters IS 'Refuses roles that row security applies to';
-- Whoever restores brings no stream unseen.
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.streams
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.dead_letters
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
ALTER TABLE immutable.streams ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.stream_positions ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.dead_letters ENABLE ROW LEVEL SECURITY;
-- A replication must not bring another server's positions.
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.stream_positions
  FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.stream_positions ENABLE REPLICA TRIGGER "~immutable_apply";

CREATE FUNCTION immutable.create_stream(name text, destination jsonb, format text DEFAULT 'json',
  filters jsonb DEFAULT '{}', tenant_id text DEFAULT NULL, content text DEFAULT 'events',
  start timestamptz DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_create_stream';
COMMENT ON FUNCTION immutable.create_stream(text, jsonb, text, jsonb, text, text, timestamptz) IS
'Makes a stream: the events or alerts that the server program delivers to another system.
It is recorded as immutable.stream_created, with the names of the filters and the address without its path.
- name: a name, which no other stream has.
- destination: a JSON object with the type (webhook, splunk_hec, datadog, syslog or file) and what the type
  needs. It names secrets, which are files of the server program. docs/deliveries.md says which.
- format: json, ocsf, cloudevents, cef or leef.
- filters: a JSON object. Of events, action is an action in which * stands for any text, or an array of them;
  action_category, actor_id, actor_type, resource, resource_id and session_id are the event''s value. Of
  alerts, rule_type is the type of the rule.
- tenant_id: the tenant whose events are delivered; empty for the events without a tenant, NULL for all
  events.
- content: events or alerts.
- start: events that were recorded from then on, or alerts that were triggered from then on, are delivered:
  ''-infinity'' is all there are. NULL is what comes from now on.
Returns the stream, as immutable.get_streams() shows it.
Raises 22004 without a name or destination, 22023 for what means nothing, 42710 for a name that another stream
has, 54000 beyond 100 streams, 42501 for an API key, 25006 on a standby, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.update_stream(id uuid, name text DEFAULT NULL, destination jsonb DEFAULT NULL,
  format text DEFAULT NULL, filters jsonb DEFAULT NULL, enabled boolean DEFAULT NULL, start timestamptz DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_update_stream';
COMMENT ON FUNCTION immutable.update_stream(uuid, text, jsonb, text, jsonb, boolean, timestamptz) IS
'Changes a stream. It goes on where it was, and what failed is tried again at once.
It is recorded as immutable.stream_updated. What is NULL stays as it is.
- id: the stream.
- name, destination, format: other ones.
- filters: other filters, in place of all that it has.
- enabled: false pauses the stream, and true lets it go on with what came meanwhile.
- start: events that were recorded from then on are delivered, again if they were before; ''now'' passes over
  what is not delivered.
Returns the stream, as immutable.get_streams() shows it.
Raises 22004 without an id, P0002 if there is no such stream, and the errors of immutable.create_stream().';

CREATE FUNCTION immutable.delete_stream(id uuid)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_delete_stream';
COMMENT ON FUNCTION immutable.delete_stream(uuid) IS
'Deletes a stream and its dead letters. A call that has begun is not stopped.
It is recorded as immutable.stream_deleted.
- id: the stream.
Raises 22004 without an id, P0002 if there is no such stream, 42501 for an API key, and 25006 on a standby.';

CREATE FUNCTION immutable.get_streams()
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_streams';
COMMENT ON FUNCTION immutable.get_streams() IS
'Returns all streams, the oldest first.
Returns {"data"}: an array of {"id", "name", "destination", "format", "filters", "tenant_id", "content", "enabled",
"state", "reason", "failures", "failed_at", "last_error", "retry_at", "delivered", "delivered_at", "dead_letters",
"test", "created_at", "updated_at"}. state is active, paused or error, and reason says why it is not active;
test is {"requested_at", "finished_at", "error"}, or null.
Raises 42501 for an API key.';

CREATE FUNCTION immutable.test_stream(id uuid)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_test_stream';
COMMENT ON FUNCTION immutable.test_stream(uuid) IS
'Asks the server program to deliver one event that is not in the log, to see whether the receiver takes it.
A stream that is paused is tested too. The answer stands in the member test of immutable.get_streams().
It is recorded as immutable.stream_tested.
- id: the stream.
Returns {"id", "requested_at"}.
Raises 22004 without an id, P0002 if there is no such stream, 55000 while deliveries are paused after a restore,
a promotion or a copy, 42501 for an API key, and 25006 on a standby.';

CREATE FUNCTION immutable.get_dead_letters(stream_id uuid DEFAULT NULL, "limit" integer DEFAULT 100,
  after uuid DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_dead_letters';
COMMENT ON FUNCTION immutable.get_dead_letters(uuid, integer, uuid) IS
'Returns what receivers refused for good, in the order of the ids.
- stream_id: the stream; NULL for all.
- limit: how many at most, from 1 to 1,000.
- after: the id of the last one of the page before.
Returns {"data", "has_more"}. One is {"id", "stream_id", "content", "tenant_id", "item_id", "error", "attempts",
"died_at", "replay_at"}; item_id is the event or the alert.
Raises 22023 for another limit, and 42501 for an API key.';

CREATE FUNCTION immutable.replay_dead_letters(stream_id uuid, ids uuid[] DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_replay_dead_letters';
COMMENT ON FUNCTION immutable.replay_dead_letters(uuid, uuid[]) IS
'Asks the server program to deliver dead letters again, as the events are now.
One that is taken is removed. It is recorded as immutable.dead_letters_replayed.
- stream_id: the stream.
- ids: the dead letters; NULL for all of the stream.
Returns how many are delivered again.
Raises 22004 without a stream, P0002 if there is no such stream, 42501 for an API key, and 25006 on a standby.';

CREATE FUNCTION immutable.due_deliveries()
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_due_deliveries';
COMMENT ON FUNCTION immutable.due_deliveries() IS
'Returns the streams for which there may be something to deliver now, for the program that delivers.
Returns {"state", "streams"}: state is active, paused (after a restore, a promotion or a copy), standby or copy;
one of streams is {"id", "name", "due", "state", "failures", "dead_letters"}. due says whether to call
immutable.take_delivery().
Raises 0A000 for a distributed log.';

CREATE FUNCTION immutable.take_delivery(stream_id uuid, worker text, "limit" integer DEFAULT 100,
  lease_seconds integer DEFAULT 30)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_take_delivery';
COMMENT ON FUNCTION immutable.take_delivery(uuid, text, integer, integer) IS
'Takes what is to be delivered next of a stream, for the program that delivers.
Nobody else gets anything of the stream until it is settled or the lease ends.
- stream_id: the stream.
- worker: a name of the program that delivers, different for each.
- limit: most items, from 1 to 1,000.
- lease_seconds: how long the lease is, from 1 to 600. Each immutable.settle_delivery() that leaves something
  begins it again.
Returns NULL if there is nothing to do, or {"fence", "kind", "stream", "log_id", "failures", "items"}. kind is
events, alerts, replay or test; an item is {"id", "kind", "json", "document"}. Events are as
immutable.get_events() shows them now, and alerts as immutable.get_alerts() does.
Raises 22004 without a stream or worker, 22023 for another limit or lease, and 25006 on a standby.';

CREATE FUNCTION immutable.settle_delivery(stream_id uuid, fence bigint, outcome text, delivered integer DEFAULT 0,
  reason text DEFAULT NULL, retry_seconds double precision DEFAULT NULL)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_settle_delivery';
COMMENT ON FUNCTION immutable.settle_delivery(uuid, bigint, text, integer, text, double precision) IS
'Says what became of what was taken, for the program that delivers.
- stream_id: the stream.
- fence: the number that came with it.
- outcome: delivered, if nothing failed so far; retry, if the next item failed; refused, if the receiver will
  never take the next item, which becomes a dead letter; off, if the receiver wants nothing more; released, to
  give the lease back.
- delivered: how many of the items that were left were acknowledged, in their order.
- reason: why it failed. It must not have values of events.
- retry_seconds: when to try again.
Returns whether the caller still has the stream. If not, it must deliver nothing more of what it took.
Raises 22004 without a stream, fence or outcome, 22023 for another outcome or number, and 25006 on a standby.';

-- sql/jobs/segments.sql
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

-- sql/jobs/retention.sql
-- How long events are kept, holds, and removing the events that may go. docs/retention.md is the guide.

CREATE TABLE immutable.retention (
  tenant_id text COLLATE "C",
  keep interval,
  require_archive boolean NOT NULL,
  next_keep interval,
  next_require_archive boolean,
  next_from timestamptz,
  changed_at timestamptz NOT NULL,
  changed_by text NOT NULL,
  event_id uuid NOT NULL,
  next_is_default boolean NOT NULL DEFAULT false,
  CONSTRAINT retention_tenant_id_key UNIQUE NULLS NOT DISTINCT (tenant_id)
);
COMMENT ON TABLE immutable.retention IS
  'How long events are kept: one row for each tenant that has a rule of its own, and one for all others. '
  'immutable.set_retention() writes it.';
COMMENT ON COLUMN immutable.retention.tenant_id IS
  'The tenant; NULL for all tenants without a rule of their own, empty for the events without a tenant';
COMMENT ON COLUMN immutable.retention.keep IS 'How long its events are kept now, by the calendar in UTC; NULL for ever';
COMMENT ON COLUMN immutable.retention.require_archive IS 'Whether they are removed only once they are archived';
COMMENT ON COLUMN immutable.retention.next_keep IS 'How long they are kept from next_from on; NULL for ever';
COMMENT ON COLUMN immutable.retention.next_require_archive IS 'Whether they must be archived, from next_from on';
COMMENT ON COLUMN immutable.retention.next_from IS 'When what waits takes effect; NULL if nothing waits';
COMMENT ON COLUMN immutable.retention.changed_at IS 'When the rule was last changed';
COMMENT ON COLUMN immutable.retention.changed_by IS 'Who changed it, as events.recorded_by names it';
COMMENT ON COLUMN immutable.retention.event_id IS 'The event immutable.retention_set that records this change';
COMMENT ON COLUMN immutable.retention.next_is_default IS
  'Whether the tenant has no rule of its own from next_from on: next_keep and next_require_archive then say what the '
  'others had when this was asked for';

CREATE TABLE immutable.holds (
  tenant_id text COLLATE "C",
  reason text NOT NULL,
  held_at timestamptz NOT NULL,
  held_by text NOT NULL,
  event_id uuid NOT NULL,
  ends_at timestamptz,
  CONSTRAINT holds_tenant_id_key UNIQUE NULLS NOT DISTINCT (tenant_id)
);
COMMENT ON TABLE immutable.holds IS
  'The tenants none of whose events are removed, whatever the rule says. immutable.hold() and '
  'immutable.release() write it.';
COMMENT ON COLUMN immutable.holds.tenant_id IS 'The tenant; empty for the events without a tenant, NULL for all events';
COMMENT ON COLUMN immutable.holds.reason IS 'Why';
COMMENT ON COLUMN immutable.holds.held_at IS 'Since when';
COMMENT ON COLUMN immutable.holds.held_by IS 'Who said so, as events.recorded_by names it';
COMMENT ON COLUMN immutable.holds.event_id IS 'The event immutable.held that records it';
COMMENT ON COLUMN immutable.holds.ends_at IS
  'When it ends, since immutable.release() was called; NULL before. A row whose time is over holds nothing';

CREATE TABLE immutable.prune_position (
  ran_at timestamptz NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.prune_position IS
  'When immutable.run_maintenance() last looked for events that may go. No dump contains this table.';
COMMENT ON COLUMN immutable.prune_position.ran_at IS 'When it did';
COMMENT ON COLUMN immutable.prune_position.singleton IS 'Always true, so that there is one row at most';

SELECT pg_catalog.pg_extension_config_dump('immutable.retention', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.holds', '');
-- Whoever restores brings no shorter rule unseen.
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.retention
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.holds
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
ALTER TABLE immutable.retention ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.holds ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.prune_position ENABLE ROW LEVEL SECURITY;
CREATE POLICY auditor_select ON immutable.retention FOR SELECT TO immutable_auditor, immutable_retainer USING (true);
CREATE POLICY auditor_select ON immutable.holds FOR SELECT TO immutable_auditor, immutable_retainer USING (true);
COMMENT ON POLICY auditor_select ON immutable.retention IS 'Auditors and whoever makes the rules see all of them';
COMMENT ON POLICY auditor_select ON immutable.holds IS 'Auditors and whoever holds events see all holds';

CREATE FUNCTION immutable.set_retention(
  keep interval, tenant_id text DEFAULT NULL, require_archive boolean DEFAULT false, reason text DEFAULT NULL)
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_set_retention';
COMMENT ON FUNCTION immutable.set_retention(interval, text, boolean, text) IS
'Says how long the events of a tenant are kept before immutable.prune() may remove them.
What keeps more counts at once. What keeps less, also the first rule, counts after immutable.retention_wait, and
a change before that replaces what waits. It is recorded as immutable.retention_set, without a tenant.
- keep: how long, by the calendar in UTC, such as 1 year; NULL for ever.
- tenant_id: the tenant; NULL for all tenants without a rule of their own, which the events without a tenant do
  not belong to; an empty text for those.
- require_archive: whether events go only with the SHA-256 of an archive, which somebody gives to prune().
- reason: why; it is recorded.
Returns when the rule counts fully: now, or the end of the waiting time.
Raises 22023 for a time that is not positive, for more than 1,000 years, for a tenant_id that is too long and for
an empty reason, 22004 if require_archive is NULL, 22001 for a reason that is too long, 25006 in a read-only
transaction, on a standby and in a copy that a replication feeds, and 0A000 for a distributed log. Where the rule
waits, it raises 55000 at the commit of a transaction that lasts longer than a minute or a tenth of the wait after
it, and 0A000 for PREPARE TRANSACTION.';

CREATE FUNCTION immutable.reset_retention(tenant_id text, reason text DEFAULT NULL)
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_reset_retention';
COMMENT ON FUNCTION immutable.reset_retention(text, text) IS
'Ends the rule that a tenant has of its own: what counts for all others counts for it.
It does so at once if that keeps as much, now and with what waits, and otherwise after immutable.retention_wait. Until
then what keeps more of both counts. It is recorded as immutable.retention_set with is_default, without a tenant.
- tenant_id: the tenant; an empty text for the events without one, which are kept for ever then.
- reason: why; it is recorded.
Returns when the tenant has no rule of its own: now, or the end of the waiting time.
Raises 55000 for a tenant without a rule of its own, 22004 if tenant_id is NULL, 22023 for a tenant_id that is too long
and for an empty reason, 22001 for a reason that is too long, 25006 in a read-only transaction, on a standby and in a
copy that a replication feeds, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.get_retention(tenant_id text DEFAULT NULL)
RETURNS TABLE (tenant_id text, keep interval, require_archive boolean, is_default boolean, changed_at timestamptz,
  next_keep interval, next_require_archive boolean, next_from timestamptz, held_since timestamptz, held_because text,
  pruned_before timestamptz, pruned_at timestamptz)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_retention';
COMMENT ON FUNCTION immutable.get_retention(text) IS
'Returns how long the events of a tenant are kept, and what was removed of them.
A viewer and an API key of one tenant see that tenant, and no reason of a hold.
- tenant_id: the tenant; an empty text for the events without one. NULL for the rule of all tenants without their
  own; of a caller who sees one tenant it is that tenant.
Returns one row: keep is NULL for ever, is_default says that the tenant has no rule of its own, next_keep and
next_require_archive count from next_from on, held_since is NULL if nothing holds the events, pruned_before is NULL or
the time before which events were removed, as the newest record says, and pruned_at when that was.
Raises 22023 for a tenant_id that is too long, 42501 for another tenant than the caller sees and without the scope
read, and 28000 for a proof or a token that is missing or refused.';

CREATE FUNCTION immutable.changed_retention()
RETURNS TABLE (changed text, tenant_id text) LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_changed_retention';
COMMENT ON FUNCTION immutable.changed_retention() IS
'Part of immutable.status(): returns the rules and holds that are not what the events of the log say of them.
Returns the table and the tenant of each. Where the log''s own events were pruned since, it says nothing.
Raises no error.';

CREATE FUNCTION immutable.hold(tenant_id text, reason text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_hold';
COMMENT ON FUNCTION immutable.hold(text, text) IS
'Keeps all events of a tenant, whatever the rule says, until immutable.release().
It waits for a pruning that runs, and no later one removes them. A hold that is about to end goes on. It is recorded as
immutable.held, without a tenant.
- tenant_id: the tenant; an empty text for the events without one, NULL for all events.
- reason: why; it is recorded.
Raises 55000 if the tenant is held already, 22004 for a reason that is NULL, 22023 for an empty one and a tenant_id
that is too long, 22001 for a reason that is too long, 25006 in a read-only transaction, on a standby and in a copy
that a replication feeds, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.release(tenant_id text, reason text)
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_release';
COMMENT ON FUNCTION immutable.release(text, text) IS
'Ends what immutable.hold() began: the rule alone says again how long the events are kept.
It counts after immutable.retention_wait. It is recorded as immutable.released, without a tenant.
- tenant_id: the same as that of immutable.hold().
- reason: why; it is recorded.
Returns from when it counts.
Raises 55000 if it is not held or about to be released already, and at the commit of a transaction that lasts too long
after it, 0A000 for PREPARE TRANSACTION after it, 22004 for a reason that is NULL, 22023 for an empty one and a tenant_id that is too
long, 22001 for a reason that is too long, 25006 in a read-only transaction, on a standby and in a copy that a
replication feeds, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.prune(dry_run boolean DEFAULT true, tenant_id text DEFAULT NULL, archived text DEFAULT NULL)
RETURNS TABLE (tenant_id text, what text, events bigint, first_at timestamptz, last_at timestamptz, keep interval,
  before timestamptz)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_prune';
COMMENT ON FUNCTION immutable.prune(boolean, text, text) IS
'Removes the events that are older than their rule says, or shows which would go.
They go in one transaction, together with a record immutable.pruned in the chain of each tenant. Only sealed events
that a signed checkpoint covers go, and never the last one of a lane.
- dry_run: true shows what would go, false removes it.
- tenant_id: the one tenant whose events may go, an empty text for those without one; NULL for all.
- archived: SHA-256, in 64 hex digits, of a file of immutable.export_events() that has them and was verified.
Returns how many events of each tenant are older than before, and what becomes of them. what is pruned (in a dry
run: would go), or why they stay: held, archive (the rule requires one), unsealed, uncovered (by a checkpoint),
last (of their lane), records (nothing but records of earlier prunings would go) or damaged (verify_chain() says
more). first_at and last_at are the created_at of the first and the last, NULL where that is not known.
Raises 22004 if dry_run is NULL, 22023 for an archived that is no SHA-256 and a tenant_id that is too long, 55000
for a log without a signed checkpoint, and after a restore or a promotion until immutable.resume_maintenance() is
called, 55P03 if somebody erases or seals for longer than lock_timeout or ten seconds, 25001 above READ COMMITTED unless dry_run is true, 25006 in a read-only transaction, on a standby and in a
copy that a replication feeds, and 0A000 for a distributed log.';

-- sql/jobs/maintenance.sql
-- What a scheduler calls each minute.

CREATE TABLE immutable.maintenance_position (
  system_identifier bigint NOT NULL,
  timeline integer NOT NULL,
  database oid NOT NULL,
  noted_at timestamptz NOT NULL,
  ran_at timestamptz,
  failed jsonb,
  usage_mark text COLLATE "C",
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.maintenance_position IS
  'Where maintenance goes on: one row, or none before the first call and after a restore. Anywhere else '
  'its steps pause until immutable.resume_maintenance() is called. No dump contains this table.';
COMMENT ON COLUMN immutable.maintenance_position.system_identifier IS
  'The cluster, as pg_control_system() gives it';
COMMENT ON COLUMN immutable.maintenance_position.timeline IS 'The cluster''s timeline';
COMMENT ON COLUMN immutable.maintenance_position.database IS 'OID of the database';
COMMENT ON COLUMN immutable.maintenance_position.noted_at IS 'When maintenance began here, or was resumed';
COMMENT ON COLUMN immutable.maintenance_position.ran_at IS
  'When run_maintenance() ran last, to five minutes';
COMMENT ON COLUMN immutable.maintenance_position.failed IS
  'The steps that failed in the last call, with their SQLSTATE; NULL if none did';
COMMENT ON COLUMN immutable.maintenance_position.usage_mark IS
  'How far the events are counted in api_key_usage: a mark of the feed';
COMMENT ON COLUMN immutable.maintenance_position.singleton IS 'Always true, so that there is one row at most';
ALTER TABLE immutable.maintenance_position ENABLE ROW LEVEL SECURITY;
-- A replication must not bring another server's position.
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.maintenance_position FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.maintenance_position ENABLE REPLICA TRIGGER "~immutable_apply";

CREATE PROCEDURE immutable.run_maintenance(INOUT did jsonb DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_run_maintenance';
COMMENT ON PROCEDURE immutable.run_maintenance(jsonb) IS
'Does what a scheduler has to do each minute: checkpoint, alerts, exports, use of API keys and more.
Each step has transactions of its own and takes at most about ten seconds; what is left is done by the
next call. A step that fails is reported in the answer and as a WARNING, and the others go on. A step
that another session does at the same time is skipped.
- did: pass NULL; returns what each step did, as a JSON object. null is nothing. On a standby and in a
  copy that a replication feeds it is {"state": "standby"} and {"state": "copy"}: there is nothing to do.
Raises 25001 in a transaction block and above READ COMMITTED, 25006 in a read-only transaction, and 57014
if it is cancelled.';

CREATE FUNCTION immutable.resume_maintenance()
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_resume_maintenance';
COMMENT ON FUNCTION immutable.resume_maintenance() IS
'Lets alerts, deliveries, exports and the use of API keys go on here, after a restore or a promotion.
They go on with the events that are recorded from now on. It is recorded as immutable.maintenance_resumed.
It has nothing to do with signing: immutable.resume() resumes that.
Returns whether they were paused; if not, nothing is changed and recorded.
Raises 25006 on a standby, in a read-only transaction and in a copy that a replication feeds.';

-- What has changed.

-- The records of erasures are found by events_action.
DROP INDEX immutable.events_erasures;

COMMENT ON ROLE immutable_retainer IS
  'May say how long events are kept, hold a tenant''s events, and remove what may go, and may read no event';

COMMENT ON FUNCTION immutable.is_chained(smallint, bigint, bytea, bytea, uuid, bytea, jsonb, text, jsonb, jsonb) IS
'Says whether the columns that the chain sets have the form of a chained event.
It is the CHECK of shards that an earlier version has made. It does not compute the hash:
immutable.verify_chain() does.
Raises no error.';

-- The triggers hold a row to this form.
ALTER TABLE immutable.events DROP CONSTRAINT events_chained_check;

COMMENT ON COLUMN immutable.events.recorded_by IS 'session_user of the connection that recorded the event; in a distributed log, the role whose rights it used';

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

SELECT pg_catalog.pg_extension_config_dump('immutable.events', 'WHERE false UNION ALL SELECT * FROM immutable.events');

CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.segments FOR EACH ROW EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.segments FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

ALTER TABLE immutable.tenant_grants ADD COLUMN node integer;

COMMENT ON COLUMN immutable.tenant_grants.node IS
  'With Citus, the node whose OID role_oid is (pg_dist_node.groupid), which a trigger sets; otherwise NULL';

CREATE FUNCTION immutable.new_viewer_key()
RETURNS TABLE (key_id uuid, secret bytea, made_at timestamptz, accept_until timestamptz, imported boolean)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_new_viewer_key';

COMMENT ON FUNCTION immutable.new_viewer_key() IS
'Part of making a key in a distributed log: returns the key that the running statement is to store.
Citus sends the rows of a function in a COPY, so that no statement and no log contains the secret.
Returns the row of immutable.viewer_keys, once; otherwise no row.';

CREATE FUNCTION immutable.client_roles()
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'immutable_client_roles';

COMMENT ON FUNCTION immutable.client_roles() IS
'Default of events.recorded_by in a distributed log: the session''s roles, sealed, for the node of the tenant.
There the chain''s trigger holds each of them to the tenant that it is bound to, and writes recorded_by itself.
Returns NULL in a log that is not distributed, or that binds no role.
Raises no error of its own.';

CREATE FUNCTION immutable.share_access()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tab pg_catalog.regclass;
  is_shared pg_catalog.bool;
  grants immutable.tenant_grants[];
  given immutable.tenant_grants;
  today pg_catalog.name;
  ended pg_catalog.name[] := '{}';
BEGIN
  EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_local_group WHERE groupid = 0)
    AND EXISTS (SELECT FROM pg_catalog.pg_dist_node WHERE groupid = 0)' INTO is_shared;
  IF NOT is_shared THEN
    RAISE EXCEPTION 'the coordinator must be one of Citus'' nodes, and this function must be called there'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'On the coordinator, call citus_set_coordinator_host() with its address. Then call distribute() there.';
  END IF;
  IF EXISTS (SELECT FROM immutable.api_keys) THEN
    RAISE EXCEPTION 'a log that has API keys cannot be distributed'
      USING ERRCODE = 'feature_not_supported',
            HINT = 'The other nodes do not know the keys. Begin with a log without them.';
  END IF;
  -- The names of the roles are read before the trigger looks them up anew.
  SELECT pg_catalog.array_agg(g) INTO grants FROM immutable.tenant_grants g;
  PERFORM pg_catalog.set_config('citus.enable_unsafe_triggers', 'on', true);
  EXECUTE $q$SELECT pg_catalog.count(*) = 3 FROM pg_catalog.pg_dist_partition WHERE logicalrelid = ANY (
    ARRAY['immutable.viewer_keys', 'immutable.revocations', 'immutable.tenant_grants']::pg_catalog.regclass[])$q$
    INTO is_shared;
  IF is_shared THEN
    -- For nodes that were added. Otherwise Citus waits until it is asked to move the first shard there.
    EXECUTE $q$SELECT pg_catalog.replicate_reference_tables('block_writes') WHERE EXISTS (
      SELECT FROM pg_catalog.pg_dist_node n, pg_catalog.pg_dist_shard s
      WHERE n.noderole = 'primary' AND n.isactive AND s.logicalrelid = 'immutable.tenant_grants'::pg_catalog.regclass
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_dist_placement p WHERE p.shardid = s.shardid AND p.groupid = n.groupid))$q$;
  ELSE
    FOREACH tab IN ARRAY ARRAY['immutable.viewer_keys', 'immutable.revocations', 'immutable.tenant_grants']::pg_catalog.regclass[]
    LOOP
      EXECUTE 'SELECT pg_catalog.create_reference_table($1) WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid = $1)' USING tab;
    END LOOP;
  END IF;
  -- A node that has got a copy now looks its roles up by their names. A grant to write has followed its role to a new
  -- name. A grant to read has ended with the name, and must not become that of another role with it.
  FOREACH given IN ARRAY coalesce(grants, '{}') LOOP
    CONTINUE WHEN is_shared AND given.node IS DISTINCT FROM 0;
    SELECT r.rolname INTO today FROM pg_catalog.pg_roles r WHERE r.oid = given.role_oid;
    CONTINUE WHEN today = given.role;
    IF given.mode = 'read' THEN
      ended := ended || given.role;
      UPDATE immutable.tenant_grants g SET role_oid = 3 WHERE g.role = given.role AND g.mode = 'read';
    ELSIF today IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.unnest(grants) o WHERE o.role = today AND o.mode = 'write') THEN
      UPDATE immutable.tenant_grants g SET role = today WHERE g.role = given.role AND g.mode = 'write';
    END IF;
  END LOOP;
  UPDATE immutable.tenant_grants g SET role = g.role WHERE g.mode = 'write' OR g.role <> ALL (ended);
  -- The first token makes the key, so that two nodes do not make two.
  PERFORM immutable.create_viewer_token('');
END
$$;

COMMENT ON FUNCTION immutable.share_access() IS
'Part of immutable.distribute(): gives every node the keys of viewer tokens, the revocations and the grants.
It makes the three tables reference tables of Citus, copies them to nodes that were added, and makes each node look up
the roles that the grants name.
Raises 55000 elsewhere than on a coordinator that is one of Citus'' nodes, and 0A000 for a log that has API keys.';

COMMENT ON FUNCTION immutable.chain() IS
'Trigger that validates an event, appends it to a lane of its tenant''s chain and computes its hash.
It runs BEFORE INSERT on immutable.events. It fills in the session''s settings for columns that are
left out or NULL, sorts the targets, and sets the columns that belong to the chain. With
immutable.restore = on it takes the events of a dump as they are, if they match their hash.
Raises 23514 for an event that does not fit the action schemas, and for a tenant that belongs to another
shard than the table, where the log is distributed; 23502 for a column that is missing,
22023 for a value of the wrong form, 22001 for a text that is too long, 22021 for a setting that is
not UTF-8, 22008 for a time outside the years 0001 to 9999, 54000 for an event that is larger than
the limits, 42501 for a reserved name or a tenant that the role may not record for, 428C9 for a
value in a column of the chain, 25006 where a subscription feeds the log, 55P03 if lock_timeout runs
out while it waits for a lane, 55000 if a trigger would run after it, if the table was altered, or
if nothing can be recorded while immutable.restore is on, and XX001 for an event of a dump that does
not match its hash.';

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
where the call gives them, and erased values do not count. An event that was recorded although it
does not fit the action schemas has "warnings": [{"field", "message"}].
Raises the errors of immutable.chain(); 23505 for another event under a used key, 22023 for another
on_conflict, 09000 if a trigger that is not the extension''s leaves the event out, and 40001 if a
concurrent transaction recorded the same key and the isolation level is above READ COMMITTED: retry.';

COMMENT ON FUNCTION immutable.track_batch(jsonb) IS
'Records several events; one that is refused does not keep the others from being recorded.
- events: an array of objects as immutable.track(event) takes them, or {"events": [...]}, at most
  immutable.max_batch of them.
Returns {"events": [...]} with the answer to each event in its place: {"id", "status"} and
"warnings" as immutable.track() returns them; {"status": "error", "error": {"code", "message",
"field", "hint"}} for an event that is refused; {"id", "status": "conflict", "differs", "error"} for
another event under a used idempotency_key. Errors that are answered so are those of the classes 22
and 23, and 42501, 54000 and 428C9 where they name a field. Any other error ends the call, and
nothing is recorded.
A call takes one subtransaction, and one more for each event that is refused while it is inserted.
Raises 22004 for NULL, 22023 for what is no array of events, and 54000 for too many.';

CREATE FUNCTION immutable.shard_track(here bigint, tenant_id text, event text, on_conflict text, session text[])
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_shard_track';

COMMENT ON FUNCTION immutable.shard_track(bigint, text, text, text, text[]) IS
'Part of immutable.track() in a distributed log: records one event at the shard of its tenant.
- here: not used; it makes Citus call the function at the shard.
- tenant_id: the tenant whose shard it is.
- event, on_conflict: as in immutable.track(payload).
- session: the values of the settings of the client''s session, in the order of the columns.
Returns what immutable.track() returns, as text.
Raises the errors of immutable.track(payload); 22004 for an argument that is NULL, and 55000 if the
shard is not on this node.';

CREATE FUNCTION immutable.shard_track_batch(here bigint, tenant_id text, events text[], session text[])
RETURNS text[] LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_shard_track_batch';

COMMENT ON FUNCTION immutable.shard_track_batch(bigint, text, text[], text[]) IS
'Part of immutable.track_batch() in a distributed log: records events of one tenant at its shard.
- here, tenant_id, session: as in immutable.shard_track().
- events: JSON texts of the events.
Returns the answer to each event, as immutable.track_batch() returns it, as text.
Raises the errors of immutable.track_batch(); 22004 for an argument that is NULL, and 55000 if the
shard is not on this node.';

COMMENT ON FUNCTION immutable.refuse_part_of(text) IS
'Policy that stops a dump which row security would leave rows out of.
It is on immutable.log and on the other tables whose rows a dump contains and row security hides.
- tab: the table''s name, for the message.
Raises 42501 always.';

CREATE POLICY all_or_none ON immutable.api_keys FOR SELECT USING (immutable.refuse_part_of('api_keys'));

CREATE POLICY all_or_none ON immutable.api_key_usage FOR SELECT USING (immutable.refuse_part_of('api_key_usage'));

COMMENT ON POLICY all_or_none ON immutable.api_keys IS 'Refuses roles that row security applies to';

COMMENT ON POLICY all_or_none ON immutable.api_key_usage IS 'Refuses roles that row security applies to';

CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.revocations
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();

CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.api_keys
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();

CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.api_key_usage
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();

CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.segments FOR EACH ROW EXECUTE FUNCTION immutable.replicate();

ALTER TABLE immutable.segments ENABLE REPLICA TRIGGER "~immutable_apply";

CREATE FUNCTION immutable.shard_page(
  here bigint, tenant_id text,
  actor_id text, action text, resource text, resource_id text, of_tenant text, session_id text, target_type text,
  target_id text, search text, from_date bigint, to_date bigint,
  of_actor text, limited boolean, after bigint, after_id uuid, after_tenant text, oldest_first boolean, most bigint, counted boolean)
RETURNS text[] LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_hashagg = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_shard_page';

COMMENT ON FUNCTION immutable.shard_page(bigint, text, text, text, text, text, text, text, text, text, text, bigint, bigint,
    text, boolean, bigint, uuid, text, boolean, bigint, boolean) IS
'Part of immutable.get_events() in a distributed log: returns a page of what the caller sees in one shard.
Calling it by hand shows nothing that get_events() does not show.
- here: is of no interest.
- tenant_id: the tenant whose shard is read.
- actor_id, action, resource, resource_id, of_tenant, session_id, target_type, target_id, search: the filters.
- from_date, to_date: bounds of created_at, in microseconds since 2000.
- of_actor: the events of this actor alone; NULL is for all.
- limited: whether the page is for somebody who sees less than the caller.
- after, after_id, after_tenant: the place after which the page begins, with the tenant in hex; NULL is the
  beginning.
- oldest_first: the order.
- most: the most events of the page; one more is returned if there is one.
- counted: whether the total is counted.
Returns the total, whether it is exact, and each event with its place, as texts.
Raises 55000 if the shard is not on this node, 22023 for a number that is out of bounds, and 28000 for a
viewer token that is refused.';

CREATE FUNCTION immutable.shard_found(
  here bigint, tenant_id text,
  actor_id text, action text, resource text, resource_id text, of_tenant text, session_id text, target_type text,
  target_id text, search text, from_date bigint, to_date bigint,
  of_actor text, limited boolean, after bigint, after_id uuid, after_tenant text, oldest_first boolean, most bigint)
RETURNS SETOF immutable.events LANGUAGE c STABLE PARALLEL UNSAFE ROWS 25 SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_hashagg = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_shard_found';

COMMENT ON FUNCTION immutable.shard_found(bigint, text, text, text, text, text, text, text, text, text, text, bigint, bigint,
    text, boolean, bigint, uuid, text, boolean, bigint) IS
'Part of immutable.find_events() in a distributed log: returns what the caller finds in one shard.
The arguments are those of immutable.shard_page().
Raises 55000 if the shard is not on this node, 22023 for a number that is out of bounds, XX001 for an event
that cannot be read, and 28000 for a viewer token that is refused.';

CREATE FUNCTION immutable.shard_event(here bigint, tenant_id text, id uuid, of_tenant text, of_actor text)
RETURNS text[] LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_shard_event';

COMMENT ON FUNCTION immutable.shard_event(bigint, text, uuid, text, text) IS
'Part of immutable.get_event() in a distributed log: returns the events with an id in one shard, as JSON.
- here: is of no interest.
- tenant_id: the tenant whose shard is read.
- id: the id.
- of_tenant, of_actor: the events of this tenant and this actor alone; NULL is for all.
Raises 55000 if the shard is not on this node, and 28000 for a viewer token that is refused.';

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
restore (on a standby or a subscriber, a missing event may still arrive and is no error), 28000 for a
viewer token that is refused, and 0A000 for all events of a distributed log.';

CREATE FUNCTION immutable.shard_feed(here bigint, tenant_id text, after text, most bigint, of_actor text)
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_shard_feed';

COMMENT ON FUNCTION immutable.shard_feed(bigint, text, text, bigint, text) IS
'Part of immutable.changes() in a distributed log: returns the next events of a tenant, as JSON.
- here: is of no interest.
- tenant_id: the tenant, whose shard is read.
- after: the position after which the events come, as JSON; NULL is the beginning.
- most: the most events.
- of_actor: the events of this actor alone; NULL is for all.
Raises 55000 if the shard is not on this node or the position is none of this log, 22023 for what is no
position and for a number that is out of bounds, and 28000 for a viewer token that is refused.';

CREATE OR REPLACE FUNCTION immutable.enable_search()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  trgm pg_catalog.name := (SELECT n.nspname FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm');
  tab pg_catalog.name;
  made pg_catalog.name;
BEGIN
  IF trgm IS NULL THEN
    RAISE EXCEPTION 'enable_search() needs the extension pg_trgm in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'A superuser can install it with CREATE EXTENSION pg_trgm.';
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indexrelid = pg_catalog.to_regclass('immutable.events_search') AND NOT i.indisvalid) THEN
    RAISE EXCEPTION 'index immutable.events_search is invalid: its creation was interrupted, or is still running'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'If no session is creating it now, call immutable.disable_search(), then enable_search() again.';
  END IF;
  -- The hot table, and the segments that have no such index yet. Sealing copies it to new segments.
  FOR tab, made IN
    SELECT t.relname, CASE t.relname WHEN 'events' THEN 'events_search' ELSE t.relname || '_search' END
    FROM pg_catalog.pg_class t
    WHERE (t.oid = 'immutable.events'::pg_catalog.regclass AND pg_catalog.to_regclass('immutable.events_search') IS NULL)
      OR EXISTS (SELECT FROM pg_catalog.pg_inherits h
        WHERE h.inhrelid = t.oid AND h.inhparent = 'immutable.events'::pg_catalog.regclass
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = t.oid
          AND pg_catalog.pg_get_expr(i.indexprs, i.indrelid) LIKE '%immutable.fold(%'))
    ORDER BY t.oid
  LOOP
    EXECUTE pg_catalog.format($index$CREATE INDEX %I ON immutable.%I USING gin ((
      immutable.fold((coalesce(immutable.text_of(actor_name), '') || E'\n' || immutable.text_of(action) || E'\n' ||
      coalesce(immutable.text_of(resource_name), '') || E'\n' ||
      immutable.text_of(metadata)) COLLATE pg_catalog."C")) %I.gin_trgm_ops)$index$, made, tab, trgm);
    -- Statistics would contain the texts, and EXPLAIN would tell every viewer how frequent a text is:
    -- see sql/access/viewers.sql.
    EXECUTE pg_catalog.format('ALTER INDEX immutable.%I ALTER COLUMN 1 SET STATISTICS 0', made);
  END LOOP;
  ALTER INDEX immutable.events_search ALTER COLUMN 1 SET STATISTICS 0;
END
$$;

COMMENT ON FUNCTION immutable.enable_search() IS
'Builds the index that makes get_events(search => ...) fast over the whole log.
The answers are the same without it. Writers wait while it is built for the newest events;
docs/operations.md has the statement that does not make them wait. Segments that have no such index
get one, and nobody waits for that but sealing and erasures.
Raises 55000 without the extension pg_trgm, or if an interrupted CREATE INDEX CONCURRENTLY left the
index invalid.';

CREATE OR REPLACE FUNCTION immutable.disable_search()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  made pg_catalog.regclass;
BEGIN
  DROP INDEX IF EXISTS immutable.events_search;
  FOR made IN
    SELECT i.indexrelid FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_index i ON i.indrelid = h.inhrelid
    WHERE h.inhparent = 'immutable.events'::pg_catalog.regclass
      AND pg_catalog.pg_get_expr(i.indexprs, i.indrelid) LIKE '%immutable.fold(%'
  LOOP
    EXECUTE pg_catalog.format('DROP INDEX %s', made);
  END LOOP;
END
$$;

COMMENT ON FUNCTION immutable.disable_search() IS
'Drops the index that immutable.enable_search() builds, from the segments too.
Raises no error of its own.';

CREATE FUNCTION immutable.shard_export(
  here bigint, tenant_id text, after_tenant text, after_lane smallint, after_seq bigint, filters jsonb)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, line text) LANGUAGE c STABLE PARALLEL UNSAFE ROWS 2000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_shard_export';

COMMENT ON FUNCTION immutable.shard_export(bigint, text, text, smallint, bigint, jsonb) IS
'Part of immutable.export_events(): returns lines of the shard that a tenant belongs to, of whole tenants.
- here: ignored.
- tenant_id: the tenant that the shard is found by.
- after_tenant, after_lane, after_seq: the place after which the lines begin; NULL for all.
- filters: those of export_events(), as it writes them.
Returns the place of each event and its line.
Raises 22023 for filters that export_events() did not write, and 55000 if the shard is on another node.';

CREATE OR REPLACE FUNCTION immutable.heads(tenant_id text DEFAULT NULL)
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

-- immutable.verify_chain has other arguments or results.
DROP FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean);

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

-- immutable.verify_breaks has other arguments or results.
DROP FUNCTION immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean);

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

CREATE OR REPLACE FUNCTION immutable.verify_shard(
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

-- immutable.verify has other arguments or results.
DROP FUNCTION immutable.verify(timestamptz, timestamptz, integer);

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

CREATE OR REPLACE FUNCTION immutable.erase(event_id uuid, tenant_id text, paths text[], reason text)
RETURNS TABLE (event_id uuid, path text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000 ROWS 10 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase';

CREATE OR REPLACE FUNCTION immutable.erase_subject(
  tenant_id text, subject_id text, reason text, metadata_keys text[] DEFAULT '{}', actor_paths text[] DEFAULT NULL,
  dry_run boolean DEFAULT false)
RETURNS TABLE (event_id uuid, path text, found text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase_subject';

CREATE OR REPLACE FUNCTION immutable.erase_subject(
  tenant_id text, subject text[], reason text, metadata_keys text[] DEFAULT '{}', actor_paths text[] DEFAULT NULL,
  dry_run boolean DEFAULT false)
RETURNS TABLE (event_id uuid, path text, found text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase_subjects';

CREATE FUNCTION immutable.shard_erase(
  here bigint, tenant_id text, reason text, actor_id text, actor_type text, recorded_by text, event_id uuid, paths text[])
RETURNS TABLE (event_id uuid, path text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_shard_erase';

COMMENT ON FUNCTION immutable.shard_erase(bigint, text, text, text, text, text, uuid, text[]) IS
'Part of immutable.erase() in a log that is distributed: erases at the shard of the tenant.
- here: a number that is known only at the shard.
- actor_id, actor_type, recorded_by: who erases, in another session.
- tenant_id, reason, event_id, paths: the checked arguments of immutable.erase().
Returns what that function returns. Only the log''s owner may execute it.
Raises the errors of that function, and 55000 if the shard is not on this node.';

CREATE FUNCTION immutable.shard_erase_subject(
  here bigint, tenant_id text, reason text, actor_id text, actor_type text, recorded_by text, subject text[],
  metadata_keys text[], actor_paths text[], dry_run boolean)
RETURNS TABLE (event_id uuid, path text, found text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_shard_erase_subject';

COMMENT ON FUNCTION immutable.shard_erase_subject(bigint, text, text, text, text, text, text[], text[], text[], boolean) IS
'Part of immutable.erase_subject() in a log that is distributed: erases at the shard of the tenant.
- here: a number that is known only at the shard.
- actor_id, actor_type, recorded_by: who erases, in another session.
The others are the checked arguments of immutable.erase_subject().
Returns what that function returns. Only the log''s owner may execute it.
Raises the errors of that function, and 55000 if the shard is not on this node.';

CREATE TABLE immutable.placement (
  tenant_id text COLLATE "C" PRIMARY KEY,
  action text,
  metadata jsonb,
  actor_id text,
  actor_type text,
  recorded_by text
);

COMMENT ON TABLE immutable.placement IS
  'Stays empty. In a log that is distributed, a statement about a tenant of it runs on the node of the tenant''s events';

COMMENT ON COLUMN immutable.placement.tenant_id IS 'events.tenant_id';

COMMENT ON COLUMN immutable.placement.action IS
  'The action of an event of the log''s own that the trigger records in place of the row, such as immutable.ddl';

COMMENT ON COLUMN immutable.placement.metadata IS 'Its metadata';

COMMENT ON COLUMN immutable.placement.actor_id IS 'Its actor_id';

COMMENT ON COLUMN immutable.placement.actor_type IS 'Its actor_type';

COMMENT ON COLUMN immutable.placement.recorded_by IS 'Its recorded_by';

ALTER TABLE immutable.placement ENABLE ROW LEVEL SECURITY;

CREATE POLICY all_see ON immutable.placement USING (true) WITH CHECK (false);

COMMENT ON POLICY all_see ON immutable.placement IS
  'Whoever has a right to the table may ask it for a shard; it has no rows, and takes none';

CREATE TRIGGER "~immutable_record" BEFORE INSERT ON immutable.placement
  FOR EACH ROW EXECUTE FUNCTION immutable.record_at_shard();

COMMENT ON FUNCTION immutable.share_identity(uuid) IS
'Part of immutable.distribute(): gives this node the log''s identity, and returns it.
- log_id: the identity; NULL makes one if there is none.
Raises 55000 if this node has another identity, 08006 if a node does not answer, and 55P03 if its tables are in use for ten seconds.';

COMMENT ON FUNCTION immutable.prepare_tables() IS
'Part of immutable.distribute(): makes policies and column defaults that Citus can distribute.
It writes the viewers'' policies without a subquery, which show the same rows, and gives the columns
that have settings a default that is read on the client''s node. It changes this node alone.
Raises 42501 for a role that does not own immutable.events.';

CREATE FUNCTION immutable.local_shards(OUT tab oid, OUT shard oid, OUT shardid bigint)
RETURNS SETOF record LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
-- Citus hides shards in pg_class.
SET citus.override_table_visibility = off AS $$
BEGIN
  -- Without Citus there is no such catalog.
  IF pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
    RETURN QUERY EXECUTE $q$
      SELECT t.oid, c.oid, s.shardid FROM pg_catalog.pg_dist_shard s
        JOIN pg_catalog.pg_dist_placement p ON p.shardid = s.shardid
        JOIN pg_catalog.pg_dist_local_group g ON g.groupid = p.groupid
        JOIN pg_catalog.pg_class t ON t.oid = s.logicalrelid
        JOIN pg_catalog.pg_class c ON c.relnamespace = t.relnamespace AND c.relname = pg_catalog.format('%s_%s', t.relname, s.shardid)
      WHERE t.relnamespace = 'immutable'::pg_catalog.regnamespace ORDER BY t.relname, s.shardid$q$;
  END IF;
END
$$;

COMMENT ON FUNCTION immutable.local_shards() IS
'Lists the shards of the log''s tables that this node answers for.
Returns for each its table, its relation and its number; no row without Citus.
Raises no error of its own.';

CREATE FUNCTION immutable.shard_changes()
RETURNS SETOF text LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
SET citus.override_table_visibility = off
BEGIN ATOMIC
  WITH shards AS MATERIALIZED (
    SELECT s.tab, s.shard, s.shardid, t.relname AS tabname,
      format('%I.%I', 'immutable', t.relname) AS tabident, format('%I.%I', 'immutable', c.relname) AS ident
    FROM immutable.local_shards() s JOIN pg_class t ON t.oid = s.tab JOIN pg_class c ON c.oid = s.shard),
  policies AS (
    SELECT p.polrelid AS rel, p.polname AS name, format('AS %s FOR %s TO %s%s%s', CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
        CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
        (SELECT string_agg(CASE WHEN r.role = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r.role)) END, ', ' ORDER BY r.role) FROM unnest(p.polroles) r(role)),
        ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')') AS definition
    FROM pg_policy p WHERE p.polrelid IN (SELECT tab FROM shards UNION ALL SELECT shard FROM shards)),
  grants AS (
    SELECT c.oid AS rel, a.grantee, a.privilege_type, a.is_grantable FROM pg_class c,
      aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
    WHERE c.oid IN (SELECT tab FROM shards UNION ALL SELECT shard FROM shards)),
  triggers AS (
    SELECT g.tgrelid AS rel, g.tgname AS name, g.tgenabled AS enabled, g.tgfoid AS function, g.tgtype AS type,
      pg_get_triggerdef(g.oid) AS definition
    FROM pg_trigger g WHERE NOT g.tgisinternal AND g.tgrelid IN (SELECT tab FROM shards UNION ALL SELECT shard FROM shards)),
  indexes AS (
    SELECT i.indrelid AS rel, c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE NOT i.indisunique AND i.indrelid IN (SELECT tab FROM shards UNION ALL SELECT shard FROM shards))
  SELECT x.statement FROM (
    SELECT 1 AS step, s.ident, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', s.ident) AS statement
      FROM shards s WHERE (SELECT relrowsecurity FROM pg_class WHERE oid = s.tab) AND NOT (SELECT relrowsecurity FROM pg_class WHERE oid = s.shard)
    UNION ALL SELECT 1, '', format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', e.evtname)
      FROM pg_event_trigger e WHERE e.evtname = 'immutable_ddl_shard' AND e.evtenabled <> 'A' AND EXISTS (SELECT FROM shards)
    UNION ALL SELECT 2, s.ident, format('DROP POLICY %I ON %s', p.name, s.ident)
      FROM shards s JOIN policies p ON p.rel = s.shard
      WHERE NOT EXISTS (SELECT FROM policies o WHERE o.rel = s.tab AND o.name = p.name AND o.definition = p.definition)
    UNION ALL SELECT 3, s.ident, format('CREATE POLICY %I ON %s %s', p.name, s.ident, p.definition)
      FROM shards s JOIN policies p ON p.rel = s.tab
      WHERE NOT EXISTS (SELECT FROM policies o WHERE o.rel = s.shard AND o.name = p.name AND o.definition = p.definition)
    UNION ALL SELECT 4, s.ident, format('REVOKE %s ON %s FROM %s', g.privilege_type, s.ident, CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
      FROM shards s JOIN grants g ON g.rel = s.shard
      WHERE NOT EXISTS (SELECT FROM grants o WHERE o.rel = s.tab AND o.grantee = g.grantee AND o.privilege_type = g.privilege_type)
    UNION ALL SELECT 5, s.ident, format('GRANT %s ON %s TO %s%s', g.privilege_type, s.ident,
        CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END, CASE WHEN g.is_grantable AND g.grantee <> c.relowner THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM shards s JOIN grants g ON g.rel = s.tab JOIN pg_class c ON c.oid = s.tab
      WHERE NOT EXISTS (SELECT FROM grants o WHERE o.rel = s.shard AND o.grantee = g.grantee AND o.privilege_type = g.privilege_type)
    UNION ALL SELECT 6, s.ident, format('DROP TRIGGER %I ON %s', g.name, s.ident)
      FROM shards s JOIN triggers g ON g.rel = s.shard
      WHERE NOT EXISTS (SELECT FROM triggers o WHERE o.rel = s.tab AND format('%s_%s', o.name, s.shardid) = g.name
        AND o.function = g.function AND o.type = g.type)
    UNION ALL SELECT 7, s.ident, replace(replace(g.definition, format(' TRIGGER %I ', g.name), format(' TRIGGER %I ', format('%s_%s', g.name, s.shardid))),
        format(' ON %s ', s.tabident), format(' ON %s ', s.ident))
      FROM shards s JOIN triggers g ON g.rel = s.tab
      WHERE NOT EXISTS (SELECT FROM triggers o WHERE o.rel = s.shard AND o.name = format('%s_%s', g.name, s.shardid)
        AND o.function = g.function AND o.type = g.type)
    UNION ALL SELECT 8, s.ident, format('ALTER TABLE %s %s TRIGGER %I', s.ident,
        CASE g.enabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'D' THEN 'DISABLE' ELSE 'ENABLE' END,
        format('%s_%s', g.name, s.shardid))
      FROM shards s JOIN triggers g ON g.rel = s.tab
      WHERE g.enabled <> coalesce((SELECT o.enabled FROM triggers o WHERE o.rel = s.shard AND o.name = format('%s_%s', g.name, s.shardid)), 'O')
    UNION ALL SELECT 9, s.ident, format('DROP INDEX immutable.%I', i.name)
      FROM shards s JOIN indexes i ON i.rel = s.shard AND i.name LIKE '%\_' || s.shardid
      WHERE NOT EXISTS (SELECT FROM indexes o WHERE o.rel = s.tab AND format('%s_%s', o.name, s.shardid) = i.name)
    UNION ALL SELECT 10, s.ident, replace(replace(i.definition, format('INDEX %I ON ', i.name), format('INDEX %I ON ', format('%s_%s', i.name, s.shardid))),
        format(' ON %s ', s.tabident), format(' ON %s ', s.ident))
      FROM shards s JOIN indexes i ON i.rel = s.tab
      WHERE NOT EXISTS (SELECT FROM indexes o WHERE o.rel = s.shard AND o.name = format('%s_%s', i.name, s.shardid))
    UNION ALL SELECT 11, s.ident, format('ALTER TABLE %s SET (%s)', s.ident, o.option)
      FROM shards s JOIN pg_class t ON t.oid = s.tab JOIN pg_class c ON c.oid = s.shard, unnest(t.reloptions) o(option)
      WHERE o.option <> ALL (coalesce(c.reloptions, '{}'))
    UNION ALL SELECT 12, s.ident, format('ALTER TABLE %s ALTER %I SET STATISTICS %s', s.ident, t.attname, t.attstattarget)
      FROM shards s JOIN pg_attribute t ON t.attrelid = s.tab AND t.attnum > 0 AND NOT t.attisdropped
        JOIN pg_attribute c ON c.attrelid = s.shard AND c.attname = t.attname
      WHERE c.attstattarget IS DISTINCT FROM t.attstattarget) x
  ORDER BY x.ident, x.step, x.statement;
END;

COMMENT ON FUNCTION immutable.shard_changes() IS
'Lists what this node''s shards lack to be as its tables are: policies, grants, triggers, indexes, options.
After an ALTER EXTENSION UPDATE there may be some, until immutable.distribute() is called again. Indexes
of a table that have the number of the shard in their name are compared by name.
Returns the statements; no row without Citus, and none where there is nothing to do.
Raises no error of its own.';

CREATE FUNCTION immutable.mend_shards()
RETURNS integer LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  statement pg_catalog.text;
  done pg_catalog.int4 := 0;
BEGIN
  PERFORM pg_catalog.set_config('citus.enable_manual_changes_to_shards', 'on', true);
  -- Version 0.3 let Citus find the shard by an argument of the functions that erase. Citus crashes where it is NULL.
  IF pg_catalog.to_regclass('pg_catalog.pg_dist_object') IS NOT NULL THEN
    EXECUTE $q$UPDATE pg_catalog.pg_dist_object o SET distribution_argument_index = NULL, colocationid = NULL
      FROM pg_catalog.pg_proc p WHERE o.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = o.objid
        AND p.pronamespace = 'immutable'::pg_catalog.regnamespace AND o.distribution_argument_index IS NOT NULL$q$;
    ALTER EVENT TRIGGER immutable_ddl_shard ENABLE ALWAYS;
  END IF;
  FOR statement IN SELECT c FROM immutable.shard_changes() c LOOP
    EXECUTE statement;
    done := done + 1;
  END LOOP;
  RETURN done;
END
$$;

COMMENT ON FUNCTION immutable.mend_shards() IS
'Part of immutable.distribute(): makes this node''s shards as its tables are.
Returns how many statements of immutable.shard_changes() it has run.
Raises 42501 where it is not called by distribute().';

CREATE FUNCTION immutable.prepare_node(log_id uuid)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s'
AS 'MODULE_PATHNAME', 'immutable_prepare_node';

COMMENT ON FUNCTION immutable.prepare_node(uuid) IS
'Part of immutable.distribute(): gives this node the identity, and makes its tables and shards alike.
- log_id: the identity of the log.
Raises 22004 for NULL, and 55000 if this node has another identity, 08006 if a node does not answer, and 55P03 if its tables are in use for ten seconds.';

CREATE FUNCTION immutable.require_distributable()
RETURNS void LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  part pg_catalog.record;
  found pg_catalog.bool;
BEGIN
  IF EXISTS (SELECT 1 FROM immutable.segments) THEN
    RAISE EXCEPTION 'a log that has segments cannot be distributed'
      USING ERRCODE = 'feature_not_supported',
            HINT = pg_catalog.format('Make a new database, call immutable.distribute(%L) there, and restore the dump of this one into it.',
              (SELECT l.log_id FROM immutable.log l));
  END IF;
  IF EXISTS (SELECT 1 FROM immutable.events) THEN
    RAISE EXCEPTION 'a log that has events cannot be distributed'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = pg_catalog.format('Make a new database, call immutable.distribute(%L) there, and restore the dump of this one into it.',
              (SELECT l.log_id FROM immutable.log l));
  END IF;
  FOR part IN
    SELECT * FROM (VALUES
      ('api_keys', 'API keys', 'Use roles that grant_tenant() binds, or viewer tokens, and begin in a database without API keys.'),
      ('action_schemas', 'action schemas', 'Check the events where the application records them, and call delete_action_schema() for each.'),
      ('action_schema_modes', 'a mode of action schemas', 'Call set_action_schema_mode(NULL, …) as it was set.'),
      ('alert_rules', 'alert rules', 'Watch the events with immutable.changes() and a tenant_id, and call delete_alert_rule() for each.'),
      ('streams', 'streams', 'Read the events with immutable.changes() and a tenant_id, and call delete_stream() for each.'),
      ('exports', 'exports for download', 'Use export_events(), and begin in a new database, or wait until the exports are removed.'),
      ('tree', 'checkpoints', 'Save heads() elsewhere instead of checkpoints, and begin in a new database.'),
      ('log_keys', 'keys that sign checkpoints', 'Save heads() elsewhere instead of checkpoints, and begin in a new database.'),
      ('witnesses', 'witnesses', 'Call remove_witness() for each.')) v(tab, what, hint)
  LOOP
    EXECUTE pg_catalog.format('SELECT EXISTS (SELECT FROM immutable.%I)', part.tab) INTO found;
    IF found THEN
      RAISE EXCEPTION 'a log that has % cannot be distributed', part.what
        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = part.hint;
    END IF;
  END LOOP;
END
$$;

COMMENT ON FUNCTION immutable.require_distributable() IS
'Part of immutable.distribute(): refuses a log that has what a distributed log cannot have.
Raises 0A000 for a log with segments, and 55000 for one with events, API keys, action schemas, alert rules, streams, exports or checkpoints.';

CREATE FUNCTION immutable.distribute_log(log_id uuid)
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
  EXECUTE 'SELECT groupid <> 0 FROM pg_catalog.pg_dist_local_group' INTO done;
  IF done THEN
    RAISE EXCEPTION 'distribute() runs on the coordinator, and this node is a worker'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Call it on the coordinator. It reaches all nodes from there.';
  END IF;
  -- Tables that are the same on every node are on the coordinator too.
  EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_node WHERE groupid = 0)' INTO done;
  IF NOT done THEN
    RAISE EXCEPTION 'the coordinator is not among the nodes of Citus'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Call citus_set_coordinator_host() with the name by which the workers reach this server, then distribute() again.';
  END IF;
  EXECUTE $q$SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition
    WHERE logicalrelid = 'immutable.events'::pg_catalog.regclass)$q$ INTO done;
  IF NOT done THEN
    PERFORM immutable.require_distributable();
    -- Citus refuses both later, in words that do not say what to do.
    IF pg_catalog.current_setting('citus.shard_replication_factor') <> '1' THEN
      RAISE EXCEPTION 'the log needs citus.shard_replication_factor = 1'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'SET citus.shard_replication_factor = 1, and call distribute() again. For copies of the events, give each node a physical standby.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_dist_node WHERE noderole = 'primary' AND isactive AND shouldhaveshards) THEN
      RAISE EXCEPTION 'no node of Citus takes shards'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Add a worker with citus_add_node(), or let the coordinator have shards: citus_set_node_property(…, ''shouldhaveshards'', true).';
    END IF;
  END IF;
  -- Two calls at once would wait for each other on the nodes, where nobody sees it.
  PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('immutable.distribute'));
  -- An earlier call may have been rolled back after the nodes had taken the identity.
  IF log_id IS NULL AND NOT EXISTS (SELECT FROM immutable.log) THEN
    EXECUTE $q$SELECT pg_catalog.max(r.result)::pg_catalog.uuid
      FROM pg_catalog.run_command_on_workers('SELECT l.log_id FROM immutable.log l') r WHERE r.success AND r.result <> ''$q$ INTO log;
  END IF;
  log := immutable.share_identity(coalesce(log_id, log));
  -- The nodes come first, because they take locks in sessions of their own.
  FOR node IN EXECUTE 'SELECT nodename, nodeport, success, result FROM pg_catalog.run_command_on_workers($1)'
    USING pg_catalog.format('SELECT immutable.prepare_node(%L)', log)
  LOOP
    -- What Citus says of a node that it cannot reach.
    IF NOT node.success AND node.result ~ '^(failed to|connection lost|query result unavailable)' THEN
      RAISE EXCEPTION 'node %:% does not answer: %', node.nodename, node.nodeport, node.result
        USING ERRCODE = 'connection_failure', HINT = 'Start the node, or make it reachable for this role. Then call distribute() again.';
    END IF;
    IF NOT node.success AND node.result ~ 'lock timeout' THEN
      RAISE EXCEPTION 'the tables of node %:% are in use', node.nodename, node.nodeport
        USING ERRCODE = 'lock_not_available', HINT = 'Call distribute() again when fewer transactions read or write the log.';
    END IF;
    IF NOT node.success THEN
      RAISE EXCEPTION 'node %:% cannot take the log''s identity: %', node.nodename, node.nodeport, node.result
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Create the extension anew on that node, in the coordinator''s version. Then call distribute() again.';
    END IF;
  END LOOP;
  PERFORM immutable.prepare_node(log);
  PERFORM pg_catalog.set_config('citus.enable_unsafe_triggers', 'on', true);
  IF NOT done THEN
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.events', 'tenant_id', colocate_with => 'none')$q$;
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.event_targets', 'tenant_id',
      colocate_with => 'immutable.events')$q$;
  END IF;
  -- A log that was distributed by an earlier version has no such table yet.
  EXECUTE $q$SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition
    WHERE logicalrelid = 'immutable.placement'::pg_catalog.regclass)$q$ INTO done;
  IF NOT done THEN
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.placement', 'tenant_id',
      colocate_with => 'immutable.events')$q$;
  END IF;
  -- Citus notes the collation of the type text, not that of the column. It would then place the application's own tables
  -- beside the events, and refuse them because the collations differ.
  EXECUTE $q$UPDATE pg_catalog.pg_dist_colocation g SET distributioncolumncollation = a.attcollation
    FROM pg_catalog.pg_dist_partition p JOIN pg_catalog.pg_attribute a ON a.attrelid = p.logicalrelid AND a.attname = 'tenant_id'
    WHERE p.logicalrelid = 'immutable.events'::pg_catalog.regclass AND g.colocationid = p.colocationid
      AND g.distributioncolumncollation <> a.attcollation$q$;
  PERFORM immutable.share_access();
END
$$;

COMMENT ON FUNCTION immutable.distribute_log(uuid) IS
'Does what immutable.distribute() says.
- log_id: the identity, or NULL.
Raises what immutable.distribute() raises.';

-- immutable.distribute has other arguments or results.
DROP FUNCTION immutable.distribute();

CREATE FUNCTION immutable.distribute(log_id uuid DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_distribute';

COMMENT ON FUNCTION immutable.distribute(uuid) IS
'Distributes the log over the nodes of Citus by tenant_id, before the first event.
It co-locates events and event_targets, and makes all nodes alike: the log''s identity, policies, grants
and column defaults. Call it again after adding a node, and after ALTER EXTENSION immutable UPDATE.
docs/scale-out.md says what stays each node''s own.
- log_id: the identity that the log is to have, which is that of the dump that will be restored; NULL
  keeps the one that it has, or makes one.
Raises 55000 without the extension citus, on a worker, if the coordinator is not among the nodes, if no
node takes shards, with another citus.shard_replication_factor than 1, for a log with events, API keys,
action schemas, alert rules, streams, exports or checkpoints, and if a node has another identity, 08006
if a node does not answer, and 55P03 if the tables of a node are in use for ten seconds.';

-- immutable.status has other arguments or results.
DROP FUNCTION immutable.status();

CREATE FUNCTION immutable.status(
  OUT version text, OUT settings jsonb, OUT estimated_events bigint, OUT total_bytes bigint, OUT chains bigint,
  OUT chains_relation text, OUT last_event_id uuid, OUT last_event_at timestamptz, OUT lanes_in_use bigint,
  OUT longest_lane_hold interval, OUT prepared_transactions bigint, OUT triggers_enabled boolean,
  OUT row_security_enabled boolean, OUT guard_enabled boolean, OUT allow_ddl boolean, OUT restore boolean,
  OUT search_index text, OUT is_standby boolean, OUT changes_held_for interval, OUT checkpoint_size bigint,
  OUT checkpoint_at timestamptz, OUT cosigned_size bigint, OUT cosigned_at timestamptz, OUT uncovered_since timestamptz,
  OUT node text, OUT log_id uuid, OUT shards bigint, OUT segments bigint, OUT hot_events bigint, OUT problems text[])
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER COST 100000
-- Settings of a session, such as enable_indexscan = off, must not make it slow.
SET search_path = pg_catalog, pg_temp SET enable_indexscan = on SET enable_indexonlyscan = on SET jit = off
-- Citus would hide its shards in pg_class.
SET citus.override_table_visibility = off
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
    ('viewer_key_import', '~immutable_store', 'take_viewer_key'),
    ('tree', '~immutable_write', 'guard_tree'), ('tree_runs', '~immutable_write', 'guard_tree'),
    ('tree_tiles', '~immutable_write', 'guard_tree'), ('tree_chunks', '~immutable_write', 'guard_tree'),
    ('tree_notes', '~immutable_write', 'guard_tree'), ('tree_cosignatures', '~immutable_write', 'guard_tree'),
    ('witnesses', '~immutable_write', 'guard_tree'), ('log_keys', '~immutable_write', 'guard_tree'),
    ('log_secrets', '~immutable_write', 'refuse'), ('tree_position', '~immutable_write', 'refuse'),
    ('tree_pending', '~immutable_write', 'refuse'), ('tree', '~immutable_truncate', 'refuse'),
    ('tree_runs', '~immutable_truncate', 'refuse'), ('tree_tiles', '~immutable_truncate', 'refuse'),
    ('tree_chunks', '~immutable_truncate', 'refuse'), ('tree_notes', '~immutable_truncate', 'refuse'),
    ('tree_cosignatures', '~immutable_truncate', 'refuse'), ('witnesses', '~immutable_truncate', 'refuse'),
    ('log_keys', '~immutable_truncate', 'refuse'), ('log_secrets', '~immutable_truncate', 'refuse'),
    ('tree_position', '~immutable_truncate', 'refuse'), ('tree_pending', '~immutable_truncate', 'refuse'),
    ('log_secrets', '~immutable_apply', 'replicate'), ('tree_position', '~immutable_apply', 'replicate'),
    ('tree_pending', '~immutable_apply', 'replicate'), ('maintenance_position', '~immutable_apply', 'replicate'),
    ('revocations', '~immutable_brought', 'guard_brought'), ('api_keys', '~immutable_brought', 'guard_brought'),
    ('api_key_usage', '~immutable_brought', 'guard_brought'), ('alert_rules', '~immutable_brought', 'guard_brought'),
    ('alerts', '~immutable_brought', 'guard_brought'), ('streams', '~immutable_brought', 'guard_brought'),
    ('dead_letters', '~immutable_brought', 'guard_brought'), ('stream_positions', '~immutable_apply', 'replicate'),
    ('retention', '~immutable_brought', 'guard_brought'), ('holds', '~immutable_brought', 'guard_brought'),
    ('action_schemas', '~immutable_changed', 'action_schemas_changed'),
    ('action_schemas', '~immutable_changed_all', 'action_schemas_changed'),
    ('action_schema_modes', '~immutable_changed', 'action_schemas_changed'),
    ('action_schema_modes', '~immutable_changed_all', 'action_schemas_changed'),
    ('placement', '~immutable_record', 'record_at_shard'), ('tracking', '~immutable_resolve', 'resolve_tracking'),
    ('tracking', '~immutable_tracking', 'resolve_tracking')),
  shard AS MATERIALIZED (SELECT s.tab, s.shard, s.relation FROM immutable.shards_here() s),
  -- A shard is checked like its table. The names of its triggers and constraints end with its number.
  tables AS (SELECT c.oid, c.relname::text AS tab, c.relname::text AS name, '' AS suffix, c.relrowsecurity, c.relpersistence
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'immutable' AND c.relkind = 'r' AND c.relname IN ('events', 'event_targets', 'log', 'cluster', 'viewer_keys',
      'viewer_key_import', 'revocations', 'tenant_grants', 'tree', 'tree_runs', 'tree_tiles', 'tree_chunks', 'tree_notes',
      'tree_cosignatures', 'witnesses', 'log_keys', 'log_secrets', 'tree_position', 'tree_pending', 'maintenance_position',
      'api_keys', 'api_key_usage', 'exports', 'alert_rules', 'alerts', 'alert_feed', 'alert_state', 'action_schemas',
      'action_schema_modes', 'streams', 'stream_positions', 'dead_letters', 'placement', 'retention', 'holds',
      'prune_position', 'tracking')
    UNION ALL
    SELECT c.oid, s.tab, c.relname::text, '_' || s.shard, c.relrowsecurity, c.relpersistence
    FROM shard s JOIN pg_class c ON c.oid = s.relation),
  events AS (SELECT c.* FROM pg_class c WHERE c.oid IN (SELECT oid FROM tables WHERE tab = 'events')),
  -- The tables of the segments, and what immutable.segments says of them.
  segment_tables AS (SELECT s.segment, s.state, x.tab, x.name, c.oid, coalesce(c.relrowsecurity, true) AS relrowsecurity,
      EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid
        AND h.inhparent IN (SELECT t.oid FROM tables t WHERE t.name = x.tab)) AS inherits
    FROM immutable.segments s CROSS JOIN LATERAL (VALUES ('events', 'events_' || s.segment),
        ('event_targets', 'event_targets_' || s.segment)) x (tab, name)
      LEFT JOIN pg_class c ON c.relname = x.name AND c.relkind = 'r'
        AND c.relnamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'immutable')),
  bad_segments AS (
    SELECT 5 AS place, format('table immutable.%s of segment %s is missing or no child of immutable.%s: its events are not read. Call verify_chain()',
      t.name, t.segment, t.tab) AS problem FROM segment_tables t WHERE t.oid IS NULL OR NOT t.inherits
    UNION ALL SELECT 4, format('row security of immutable.%s is off: every role that can read it sees all tenants. Run ALTER TABLE ... ENABLE ROW LEVEL SECURITY, with immutable.allow_ddl = on', t.name)
      FROM segment_tables t WHERE NOT t.relrowsecurity
    UNION ALL SELECT 1, format('trigger %I of immutable.%s is %s: events can be changed. Enable it (ALTER TABLE ... ENABLE TRIGGER, with immutable.allow_ddl = on), then call verify_chain()',
        x.name, t.name, CASE WHEN g.oid IS NULL THEN 'missing or altered' ELSE 'disabled' END)
      FROM segment_tables t JOIN (VALUES ('events', '~immutable_insert', 'refuse'), ('events', '~immutable_update', 'guard_event'),
          ('events', '~immutable_delete', 'refuse'), ('events', '~immutable_truncate', 'refuse'),
          ('events', '~immutable_apply', 'replicate'), ('events', '~immutable_apply_truncate', 'replicate'),
          ('event_targets', '~immutable_insert', 'refuse'), ('event_targets', '~immutable_update', 'guard_target'),
          ('event_targets', '~immutable_delete', 'refuse'), ('event_targets', '~immutable_truncate', 'refuse'),
          ('event_targets', '~immutable_apply', 'replicate'), ('event_targets', '~immutable_apply_truncate', 'replicate'))
          x (tab, name, function) ON x.tab = t.tab
        LEFT JOIN pg_trigger g ON g.tgrelid = t.oid AND g.tgname = x.name AND g.tgqual IS NULL
          AND g.tgfoid IN (SELECT p.oid FROM pg_proc p WHERE p.proname = x.function
            AND p.pronamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'immutable'))
      WHERE t.oid IS NOT NULL AND (g.oid IS NULL OR g.tgenabled NOT IN ('A', CASE x.function WHEN 'replicate' THEN 'R'::"char" ELSE 'O' END))
    UNION ALL SELECT 8, format('segment %s has been prepared since %s, and its events have not moved: CALL immutable.seal() says what it waits for',
        s.segment, s.prepared_at)
      FROM immutable.segments s WHERE s.state = 'prepared' AND s.prepared_at < clock_timestamp() - interval '10 minutes'
    UNION ALL SELECT 7, format('segment %s: %s events of its time cannot be read, and do not move. Call verify_chain() to find them',
        s.segment, s.unreadable)
      FROM immutable.segments s WHERE s.unreadable > 0
    UNION ALL SELECT 9, format('immutable.events itself has about %s events, far more than immutable.hot_events: inserts become slow. CALL immutable.run_maintenance() says why they do not move', h.n)
      FROM hot h WHERE h.most >= 0 AND h.n > 3 * (h.most + h.piece) + 10000 AND NOT pg_is_in_recovery()
        AND NOT (SELECT b.is_distributed FROM begun b)),
  bad_retention AS (
    SELECT 8 AS place, format('immutable.%s was changed by hand: what it says of %s is not what the log says, and events may be removed too early. Find out who did that, and call immutable.%s again',
        c.changed, CASE WHEN c.tenant_id IS NULL THEN 'all tenants' ELSE format('tenant "%s"', c.tenant_id) END,
        CASE c.changed WHEN 'holds' THEN 'hold()' ELSE 'set_retention()' END) AS problem
    FROM immutable.changed_retention() c),
  bad_triggers AS (
    SELECT format('trigger %I of immutable.%I is %s: events can be recorded outside the chain, or changed. Enable it (ALTER TABLE ... ENABLE TRIGGER, with immutable.allow_ddl = on), then call verify_chain()',
      x.name, coalesce(r.name, x.tab), CASE WHEN t.oid IS NULL THEN 'missing or altered' ELSE 'disabled' END) AS problem
    FROM expected x LEFT JOIN tables r ON r.tab = x.tab LEFT JOIN pg_trigger t ON t.tgrelid = r.oid
      AND t.tgname::text IN (x.name, x.name || r.suffix)
      AND t.tgqual IS NULL AND t.tgfoid IN (SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE p.proname = x.function AND l.lanname = 'c'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE t.oid IS NULL OR t.tgenabled NOT IN ('A', CASE x.function WHEN 'replicate' THEN 'R'::"char" ELSE 'O' END)
    UNION ALL
    SELECT format('trigger %I of immutable.%I does not belong to the extension and runs after its triggers: drop it', t.tgname, r.name)
    FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgname COLLATE "C" > '~immutable_' AND t.tgenabled <> 'D'
      AND NOT EXISTS (SELECT FROM expected x WHERE x.tab = r.tab AND t.tgname::text IN (x.name, x.name || r.suffix))),
  -- These run before the extension's triggers, in the order of their names: what they change is
  -- hashed as they leave it, and what they leave out is not recorded at all.
  other_triggers AS (
    SELECT format('trigger %I of immutable.%I does not belong to the extension and runs before its triggers: it can change an event before it is recorded, or leave it out. Check function %s, or drop the trigger',
      t.tgname, r.name, t.tgfoid::regprocedure) AS problem
    FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 2 <> 0 AND t.tgname COLLATE "C" < '~immutable_'),
  open_tables AS (
    SELECT format('row security of immutable.%I is off: every role that can read it sees all tenants. Run ALTER TABLE ... ENABLE ROW LEVEL SECURITY, with immutable.allow_ddl = on', name) AS problem
    FROM tables WHERE NOT relrowsecurity AND tab <> 'cluster'
    UNION ALL
    SELECT format('policy %s of immutable.%s is missing: %s', x.policy, coalesce(r.name, x.tab), CASE x.policy WHEN 'all_or_none'
      THEN 'pg_dump --enable-row-security leaves its rows out' ELSE 'its role sees or records nothing' END)
    FROM (VALUES ('events', 'writer_insert'), ('events', 'writer_returning'), ('events', 'auditor_select'),
      ('events', 'viewer_select'), ('event_targets', 'auditor_select'), ('event_targets', 'viewer_select'),
      ('revocations', 'all_or_none'), ('tenant_grants', 'all_or_none'), ('log', 'all_or_none'), ('log', 'auditor_select'),
      ('tree', 'all_or_none'), ('tree_runs', 'all_or_none'), ('tree_tiles', 'all_or_none'), ('tree_chunks', 'all_or_none'),
      ('tree_notes', 'all_or_none'), ('tree_cosignatures', 'all_or_none'), ('witnesses', 'all_or_none'),
      ('log_keys', 'all_or_none'), ('api_keys', 'all_or_none'), ('api_key_usage', 'all_or_none'), ('alert_rules', 'all_or_none'),
      ('streams', 'all_or_none'), ('dead_letters', 'all_or_none'),
      ('alerts', 'auditor_select'), ('alerts', 'viewer_select'), ('alerts', 'server_select'), ('events', 'server_insert'),
      ('events', 'server_select'), ('event_targets', 'server_select')) x (tab, policy) LEFT JOIN tables r ON r.tab = x.tab
    WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid AND p.polname = x.policy)
    UNION ALL
    SELECT format('policy %I of immutable.%I does not belong to the extension: check what it permits', p.polname, r.name)
    FROM pg_policy p JOIN tables r ON r.oid = p.polrelid
    WHERE p.polname NOT IN ('writer_insert', 'writer_returning', 'auditor_select', 'viewer_select', 'server_insert', 'server_select',
      'all_or_none') AND NOT (r.tab = 'placement' AND p.polname = 'all_see')
      AND NOT (r.tab = 'tracking' AND p.polname = 'tracker_select')),
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
  -- Row changes of other tables.
  bad_capture AS (
    SELECT 2 AS place, format('event trigger %s is %s: new partitions and new names of tracked tables go unseen, and commands that keep row changes from being recorded leave no event. Run ALTER EVENT TRIGGER %s ENABLE ALWAYS',
      x.name, CASE WHEN e.oid IS NULL THEN 'missing' ELSE 'disabled' END, x.name) AS problem
    FROM (VALUES ('immutable_capture_end'), ('immutable_capture_drop'), ('immutable_capture_rewrite')) x (name)
      LEFT JOIN pg_event_trigger e ON e.evtname = x.name
        AND e.evtfoid = (SELECT p.oid FROM pg_proc p WHERE p.proname = 'capture_ddl'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE e.oid IS NULL OR e.evtenabled NOT IN ('O', 'A')
    UNION ALL
    SELECT 7, format('row changes of %I.%I: %s', t.schema_name, t.table_name, t.problem)
    FROM (SELECT k.schema_name, k.table_name, immutable.capture_problem(k.relation) AS problem FROM immutable.tracking k) t
    WHERE t.problem IS NOT NULL),
  holds AS (SELECT l.pid, l.objid, l.objsubid, l.virtualtransaction FROM pg_locks l
    -- A number below 0 is no lane, but the lock of the writer that gets the next lane.
    WHERE l.locktype = 'object' AND l.granted AND l.objsubid >= 0 AND l.classid IN (SELECT oid FROM events)
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
  chained AS MATERIALIZED (SELECT immutable.count_lanes(1000) AS n),
  newest AS MATERIALIZED (SELECT e.id, e.created_at, e.lane FROM immutable.newest_events(1) e),
  begun AS (SELECT EXISTS (SELECT FROM immutable.log) AS has_identity, EXISTS (SELECT FROM newest) AS has_events,
    immutable.node_here() IS NOT NULL AS is_distributed),
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
  foreign_xact AS MATERIALIZED (SELECT immutable.foreign_xact() AS xact),
  held_logins AS (SELECT nullif(array_to_string(immutable.logins_that_cannot_dump(), ', '), '') AS names),
  -- An erasure is an UPDATE, which PostgreSQL refuses if the publication needs more columns of the
  -- row than its key.
  bad_publications AS (
    SELECT format('publication %I publishes updates of immutable.%I, but its %s: erasures fail. Publish the whole table, or only inserts (ALTER PUBLICATION %I SET (publish = ''insert''))',
      b.pubname, r.name, CASE WHEN x.filters THEN 'WHERE clause uses a column that is not in the primary key'
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
    SELECT format('constraint %s of immutable.%s is missing: an event may be recorded outside the chain, or recording may fail. Create it again (ALTER TABLE ... ADD, with immutable.allow_ddl = on), then call verify_chain()', x.name, coalesce(r.name, x.tab)) AS problem
    FROM (VALUES ('events', 'events_pkey'), ('events', 'events_tenant_id_lane_seq_key'),
      ('events', 'events_tenant_id_idempotency_key_key'), ('event_targets', 'event_targets_pkey'),
      ('event_targets', 'event_targets_event_id_tenant_id_fkey')) x (tab, name) LEFT JOIN tables r ON r.tab = x.tab
    WHERE NOT EXISTS (SELECT FROM pg_constraint k
      WHERE k.conrelid = r.oid AND k.conname::text IN (x.name, x.name || r.suffix) AND k.convalidated)),
  -- By the planner's statistics, or those of the server where there are none.
  -- The server's are better right after a move, which leaves the file as large as it was.
  hot AS (SELECT sum(CASE WHEN e.reltuples < 0 OR e.relpages = 0 THEN coalesce(pg_stat_get_live_tuples(e.oid), 0)
      ELSE least((e.reltuples / e.relpages * (pg_relation_size(e.oid) / current_setting('block_size')::integer))::bigint,
        CASE WHEN coalesce(pg_stat_get_last_autovacuum_time(e.oid), pg_stat_get_last_vacuum_time(e.oid),
          pg_stat_get_last_autoanalyze_time(e.oid), pg_stat_get_last_analyze_time(e.oid)) IS NOT NULL
          THEN pg_stat_get_live_tuples(e.oid) END) END)::bigint AS n,
      coalesce(current_setting('immutable.hot_events', true), '100000')::bigint AS most,
      coalesce(current_setting('immutable.seal_events', true), '100000')::bigint AS piece
    FROM events e),
  -- The evidence. Without a checkpoint all of it is empty.
  note AS (SELECT n.size, n.signed_at FROM immutable.tree_notes n JOIN immutable.tree t ON t.origin = n.origin
    ORDER BY n.size DESC LIMIT 1),
  cosigned AS (SELECT c.size, max(c.cosigned_at) AS at FROM immutable.tree_cosignatures c JOIN immutable.tree t ON t.origin = c.origin
    GROUP BY c.size ORDER BY c.size DESC LIMIT 1),
  covered AS MATERIALIZED (SELECT split_part(p.snapshot, ':', 2) AS xmax, split_part(p.snapshot, ':', 3) AS xip
    FROM immutable.tree_position p WHERE p.snapshot ~ '^[0-9]{1,19}:[0-9]{1,19}:([0-9]{1,19}(,[0-9]{1,19})*)?$'),
  -- Events of transactions that the last pass did not see.
  uncovered AS (SELECT min(u.created_at) AS since FROM (
    SELECT immutable.recorded_from(c.xmax::xid8, NULL, NULL) AS created_at FROM covered c
    UNION ALL
    SELECT immutable.recorded_from(x::xid8, x::xid8, NULL) FROM covered c CROSS JOIN LATERAL unnest(string_to_array(c.xip, ',')) x) u),
  -- This server, as positions name it.
  here AS (SELECT (SELECT c.system_identifier FROM pg_control_system() c) AS system_identifier,
    (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AS database,
    CASE WHEN NOT pg_is_in_recovery()
      THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer END AS timeline),
  signs_elsewhere AS (SELECT FROM immutable.tree, here h WHERE NOT pg_is_in_recovery() AND NOT EXISTS (
    SELECT FROM immutable.tree_position p WHERE (p.system_identifier, p.database, p.timeline) = (h.system_identifier, h.database, h.timeline))),
  bad_maintenance AS (
    SELECT 7 AS place, 'maintenance is paused, because the log was restored, promoted or copied: no alert is raised, nothing is delivered, and no use of API keys is counted. If this log is the one that goes on, run SELECT immutable.resume_maintenance()' AS problem
      FROM immutable.maintenance_position p, here h
      WHERE NOT pg_is_in_recovery() AND (p.system_identifier, p.database, p.timeline)
        IS DISTINCT FROM (h.system_identifier, h.database, h.timeline)
    UNION ALL SELECT 7, format('step %s of run_maintenance() fails (%s): CALL immutable.run_maintenance() says why', f.key, f.value)
      FROM immutable.maintenance_position p CROSS JOIN LATERAL jsonb_each_text(
        CASE WHEN jsonb_typeof(p.failed) = 'object' THEN p.failed END) f
    UNION ALL SELECT 8, 'run_maintenance() has not run in this log since it was made or restored, and there are rules of alerts or API keys: call it every minute'
      WHERE NOT pg_is_in_recovery() AND NOT EXISTS (SELECT FROM immutable.maintenance_position)
        AND (EXISTS (SELECT FROM immutable.alert_rules a WHERE a.enabled AND a.created_at < clock_timestamp() - interval '1 hour')
          OR EXISTS (SELECT FROM immutable.api_keys k WHERE k.revoked_at IS NULL AND k.created_at < clock_timestamp() - interval '1 hour'))
    UNION ALL SELECT 8, format('run_maintenance() ran last at %s: call it every minute', p.ran_at)
      FROM immutable.maintenance_position p WHERE NOT pg_is_in_recovery() AND p.ran_at < clock_timestamp() - interval '1 hour'),
  -- The streams. pg_monitor may call this function, and learns no name, tenant or address.
  bad_streams AS (
    SELECT 8 AS place, format('stream %s fails since %s: immutable.get_streams() says why', s.id, p.failed_at) AS problem
      FROM immutable.streams s JOIN immutable.stream_positions p ON p.stream_id = s.id WHERE s.enabled AND p.failures >= 3
    UNION ALL SELECT 8, format('stream %s was switched off: immutable.get_streams() says why', s.id)
      FROM immutable.streams s WHERE NOT s.enabled AND s.disabled_because IS NOT NULL
    UNION ALL SELECT 9, format('stream %s has %s dead letters: immutable.get_dead_letters() lists them', d.stream_id, count(*))
      FROM immutable.dead_letters d GROUP BY d.stream_id
    UNION ALL SELECT 8, format('stream %s has not delivered what was recorded since %s: does immutable-server run with --delivery-database?', u.id, u.since)
      FROM (SELECT x.id, immutable.recorded_from(x.xmax::xid8, NULL, x.since) AS since
        FROM (SELECT s.id, substring(p.mark FROM '^[0-9]+:([0-9]{1,19}):') AS xmax,
            coalesce(p.since, '-infinity') AS since
          FROM immutable.streams s JOIN immutable.stream_positions p ON p.stream_id = s.id
          WHERE s.enabled AND p.failures < 3 AND s.content = 'events' AND NOT pg_is_in_recovery()) x
        WHERE x.xmax IS NOT NULL) u
      WHERE u.since < clock_timestamp() - interval '10 minutes'),
  -- The last event that the cosigned checkpoint covers.
  cosigned_last AS (SELECT e.id, e.created_at, c.at FROM cosigned c CROSS JOIN LATERAL (
      SELECT r.* FROM immutable.tree_runs r WHERE r.first_index < c.size ORDER BY r.first_index DESC LIMIT 1) r
    CROSS JOIN LATERAL immutable.event_at(r.tenant_id, r.lane, r.first_seq + (c.size - 1 - r.first_index)) e),
  bad_evidence AS (
    -- pg_monitor may call this function, and learns no tenant.
    SELECT 7 AS place, format('lane %s of a tenant is not in the tree from seq %s on: %s. It has waited since %s. Call verify_chain(); the owner finds the tenant in immutable.tree_pending',
      p.lane, p.seq, p.why, p.noted_at) AS problem
    FROM (SELECT p.* FROM immutable.tree_pending p ORDER BY p.tenant_id, p.lane LIMIT 10) p
    UNION ALL SELECT 7, format('%s lanes are not in the tree', n.n) FROM (SELECT count(*) AS n FROM immutable.tree_pending) n WHERE n.n > 10
    UNION ALL SELECT 7, 'the log does not sign checkpoints on this server, because it was restored, promoted or copied, or because a fork was reported. Call resume() with the newest checkpoint known outside, or begin_incarnation()'
      FROM signs_elsewhere
    UNION ALL SELECT 7, format('a checkpoint of %s events is signed, but the tree has %s: events were lost. Call begin_incarnation()', n.size, t.size)
      FROM note n, immutable.tree t WHERE n.size > t.size
    UNION ALL SELECT 8, format('no checkpoint covers the events since %s: call checkpoint() every minute', u.since)
      FROM uncovered u WHERE u.since < clock_timestamp() - interval '1 day'
    UNION ALL SELECT 8, format('no witness has cosigned a checkpoint since %s: docs/evidence.md shows how to ask them every night',
        coalesce(c.at::text, 'the first one'))
      FROM (SELECT FROM immutable.witnesses LIMIT 1) w LEFT JOIN cosigned c ON true
      WHERE c.at IS NULL OR c.at < clock_timestamp() - interval '2 days'
    UNION ALL SELECT 9, format('the newest cosignature is of %s, which is in the future: the clock of the witness or of this server is wrong', c.at)
      FROM cosigned c WHERE c.at > clock_timestamp() + interval '1 minute'
    UNION ALL SELECT 9, format('event %s was recorded at %s and cosigned at %s, which is earlier: the clock of the witness or of this server is wrong',
        l.id, l.created_at, l.at)
      FROM cosigned_last l WHERE l.created_at > l.at + interval '1 minute'),
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
        r.name, CASE WHEN h.inhrelid = r.oid THEN h.inhparent::regclass ELSE h.inhrelid::regclass END)
      FROM tables r JOIN pg_inherits h ON r.oid IN (h.inhparent, h.inhrelid)
      WHERE NOT EXISTS (SELECT FROM segment_tables t WHERE t.oid = h.inhrelid AND t.tab = r.name)
    UNION ALL SELECT 5, format('rule %I of immutable.%I does not belong to the extension: drop it', w.rulename, r.name)
      FROM tables r JOIN pg_rewrite w ON w.ev_class = r.oid WHERE NOT (r.tab = 'viewer_key_import' AND w.rulename = 'copy_only')
    UNION ALL SELECT 5, format('trigger %I of immutable.%I does not belong to the extension and always fires, even in a replica session: drop it, unless pg_repack is running', t.tgname, r.name)
      FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
      WHERE NOT t.tgisinternal AND t.tgenabled = 'A' AND t.tgname COLLATE "C" < '~immutable_'
    UNION ALL SELECT 5, format('table immutable.%I is missing', x.tab) FROM (SELECT DISTINCT e.tab FROM expected e) x
      WHERE NOT EXISTS (SELECT FROM tables r WHERE r.tab = x.tab)
    UNION ALL SELECT 6, problem FROM bad_indexes
    UNION ALL SELECT 6, 'the shards of this node are not as its tables are, as after ALTER EXTENSION UPDATE: call immutable.distribute() on the coordinator'
      WHERE EXISTS (SELECT FROM immutable.shard_changes())
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
    UNION ALL SELECT 6, 'this node does not know the log''s identity, so that no lane can begin here: call immutable.distribute() on the coordinator'
      FROM begun WHERE is_distributed AND NOT has_identity
    UNION ALL SELECT 5, format('the shard immutable.%s_%s is missing, although Citus has it on this node: its events are not found. Call verify_chain()', s.tab, s.shard)
      FROM shard s WHERE s.relation IS NULL
    UNION ALL SELECT 6, problem FROM bad_publications
    UNION ALL SELECT 9, 'alert rules of type new_country are enabled, but none of the newest events has an ip_country: they cannot raise an alert. Record ip_country, or disable the rules'
      WHERE EXISTS (SELECT FROM immutable.alert_rules r WHERE r.rule_type = 'new_country' AND r.enabled)
        AND (SELECT count(*) > 0 AND NOT bool_or(n.has_country) FROM immutable.newest_events(1000) n)
    UNION ALL SELECT 8, format('%s has had a transaction ID since %s: changes() over all tenants returns no event that was recorded later. To resume changes(), %s', who, since, what)
      FROM longest_writing WHERE since < clock_timestamp() - interval '10 minutes'
    UNION ALL SELECT 9, format('events have a transaction ID of another server (%s): changes() over all tenants does not return them. They were loaded with the triggers disabled', xact)
      FROM foreign_xact WHERE xact IS NOT NULL
    UNION ALL SELECT place, problem FROM bad_evidence
    UNION ALL SELECT place, problem FROM bad_maintenance
    UNION ALL SELECT place, problem FROM bad_streams
    UNION ALL SELECT place, problem FROM bad_segments
    UNION ALL SELECT place, problem FROM bad_retention
    UNION ALL SELECT place, problem FROM bad_capture
    UNION ALL SELECT 13, format('logins have pg_read_all_data but not BYPASSRLS: %s. pg_dump by such a login fails at immutable.events, and so does the backup of the whole database. Dump with another login, as docs/backup-and-restore.md says. If none of these logins dumps, nothing is wrong', names)
      FROM held_logins WHERE names IS NOT NULL
    UNION ALL SELECT 10, format('extension immutable has version %s, but its files have version %s: run ALTER EXTENSION immutable UPDATE', extversion, there)
      FROM known WHERE extversion <> there
    UNION ALL SELECT 11, format('%s is off: a crash can lose committed events. Set it to on', name)
      FROM (VALUES ('fsync'), ('full_page_writes')) x (name) WHERE current_setting(name) = 'off'
    UNION ALL SELECT 12, format('immutable.%s was last frozen %s transactions ago: run VACUUM (FREEZE) immutable.events', relname, age(relfrozenxid))
      FROM events WHERE age(relfrozenxid) > 1000000000)
  SELECT
    (SELECT extversion FROM known),
    -- A function of the library runs first, which loads the library and so makes its settings
    -- known.
    CASE WHEN immutable.is_chained(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) IS NOT TRUE THEN
      (SELECT jsonb_object_agg(s.name, s.setting ORDER BY s.name) FROM pg_settings s
        WHERE s.name IN ('synchronous_commit', 'wal_level', 'max_locks_per_transaction')
          OR s.name LIKE 'immutable.%' AND s.context = 'superuser') END,
    (SELECT h.n FROM hot h) + (SELECT coalesce(sum(g.events), 0)::bigint FROM immutable.segments g),
    (SELECT sum(pg_total_relation_size(t.oid))::bigint FROM (SELECT oid FROM tables UNION ALL SELECT oid FROM segment_tables) t),
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
      WHERE i.indrelid = (SELECT oid FROM tables WHERE name = 'events') AND c.relname = 'events_search'), 'missing'),
    pg_is_in_recovery(),
    (SELECT clock_timestamp() - since FROM longest_writing),
    (SELECT size FROM note), (SELECT signed_at FROM note), (SELECT size FROM cosigned), (SELECT at FROM cosigned),
    (SELECT since FROM uncovered),
    -- Not by the column, which could then not be altered, not even by force.
    immutable.node_here(), (SELECT (to_jsonb(l) ->> 'log_id')::uuid FROM immutable.log l LIMIT 1),
    (SELECT count(s.relation) FROM shard s WHERE s.tab = 'events' HAVING (SELECT is_distributed FROM begun)),
    (SELECT count(*) FROM immutable.segments g WHERE g.state = 'sealed'), (SELECT h.n FROM hot h),
    (SELECT coalesce(array_agg(p.problem ORDER BY p.place, p.problem COLLATE "C"), '{}') FROM problem p);
END;

COMMENT ON FUNCTION immutable.status() IS
'Returns the state of the log in one row, within milliseconds however long the log is.
It does not verify the log: immutable.verify_chain() does. Of a distributed log it says what is on this
node; immutable.nodes() asks all nodes.
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
- checkpoint_size, checkpoint_at: how many events the newest checkpoint covers, and when it was
  signed; NULL if there is none.
- cosigned_size, cosigned_at: the same of the newest checkpoint that a witness cosigned; the time is
  the witness''s.
- uncovered_since: when the oldest event was recorded that no checkpoint covers; NULL if there is
  none, or if there is no checkpoint. Nothing shows that such an event was deleted.
- node, shards: the address of this node and how many shards of events it has, if the log is
  distributed; NULL otherwise.
- log_id: the log''s identity; NULL if it has none yet.
- segments: how many segments hold events.
- hot_events: how many events are in immutable.events itself, by the planner''s statistics.
- problems: what is wrong and what to do about it; {} if nothing is.
Raises no error of its own.';

CREATE FUNCTION immutable.nodes(
  OUT node text, OUT is_here boolean, OUT answers boolean, OUT version text, OUT log_id uuid, OUT shards bigint,
  OUT estimated_events bigint, OUT total_bytes bigint, OUT last_event_at timestamptz, OUT problems text[])
RETURNS SETOF record LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 8 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  own record;
  other record;
  status jsonb;
BEGIN
  SELECT s.node, s.version, s.log_id INTO own FROM immutable.status() s;
  IF own.node IS NULL THEN
    RETURN;
  END IF;
  FOR other IN EXECUTE $q$
    SELECT r.node_name || ':' || r.node_port AS address, r.success, r.result
    FROM (SELECT array_agg(n.nodename ORDER BY n.groupid) AS names, array_agg(n.nodeport ORDER BY n.groupid) AS ports, count(*) AS n
        FROM pg_dist_node n WHERE n.noderole = 'primary' AND n.nodecluster = current_setting('citus.cluster_name')::name) a
      CROSS JOIN LATERAL master_run_on_worker(a.names, a.ports,
        array_fill('SELECT pg_catalog.to_jsonb(s) FROM immutable.status() s'::text, ARRAY[a.n::integer]), true) r
    WHERE a.n > 0$q$
  LOOP
    node := other.address;
    is_here := other.address = own.node;
    answers := other.success;
    status := CASE WHEN other.success THEN other.result::jsonb END;
    version := status ->> 'version';
    log_id := (status ->> 'log_id')::uuid;
    shards := (status ->> 'shards')::bigint;
    estimated_events := (status ->> 'estimated_events')::bigint;
    total_bytes := (status ->> 'total_bytes')::bigint;
    last_event_at := (status ->> 'last_event_at')::timestamptz;
    problems := CASE WHEN other.success
      THEN ARRAY(SELECT p.problem FROM jsonb_array_elements_text(status -> 'problems') WITH ORDINALITY p(problem, n) ORDER BY p.n)
      ELSE ARRAY['the node does not answer: ' || btrim(other.result)] END;
    IF version <> own.version THEN
      problems := format('the node has version %s of the extension, and %s has %s: install the same library on every node, and run ALTER EXTENSION immutable UPDATE on the coordinator',
        version, own.node, own.version) || problems;
    END IF;
    IF log_id <> own.log_id THEN
      problems := format('the node has the identity of another log than %s: call verify_chain()', own.node) || problems;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;

COMMENT ON FUNCTION immutable.nodes() IS
'Returns the state of every node of a distributed log, from any node of it.
It asks immutable.status() of each, at the same time.
- node: the address that the cluster has for it.
- is_here, answers: whether it is the node that is asked, and whether it has answered.
- version, log_id, shards, estimated_events, total_bytes, last_event_at, problems: as status() says
  them on that node. A problem is also another version or identity than on the node that is asked, and
  that the node does not answer.
Returns no row if the log is not distributed.
Raises 42501 for a role that may not call status().';

CREATE EVENT TRIGGER immutable_ddl_shard ON ddl_command_start WHEN TAG IN ('DROP TABLE')
  EXECUTE FUNCTION immutable.guard_ddl();

ALTER EVENT TRIGGER immutable_ddl_shard DISABLE;

COMMENT ON EVENT TRIGGER immutable_ddl_shard IS 'Refuses to drop a shard that holds events; immutable.distribute() enables it';

CREATE POLICY server_insert ON immutable.events FOR INSERT TO immutable_server WITH CHECK (true);

CREATE POLICY server_select ON immutable.events FOR SELECT TO immutable_server
  USING (immutable.is_visible(tenant_id, actor_id)
    OR (xact = pg_catalog.pg_current_xact_id_if_assigned() AND immutable.is_own(xact, tenant_id, lane, seq)
      AND immutable.is_opened('write', tenant_id)));

CREATE POLICY server_select ON immutable.event_targets FOR SELECT TO immutable_server
  USING (immutable.is_target_visible(tenant_id, event_id));

COMMENT ON POLICY server_insert ON immutable.events IS
  'The server may record what the proof opens; the trigger asks for it';

COMMENT ON POLICY server_select ON immutable.events IS
  'The server sees the events that the proof opens, and those that its own transaction has recorded';

COMMENT ON POLICY server_select ON immutable.event_targets IS 'The server sees the targets of the events that it sees';

CREATE POLICY auditor_select ON immutable.alerts FOR SELECT TO immutable_auditor USING (true);

CREATE POLICY viewer_select ON immutable.alerts FOR SELECT TO immutable_viewer
  USING (tenant_id = (SELECT immutable.visible_tenant()) AND (is_of_actor OR immutable.is_visible(tenant_id, NULL))
    AND EXISTS (SELECT FROM immutable.events e WHERE e.id = event_id AND e.tenant_id = alerts.tenant_id));

CREATE POLICY server_select ON immutable.alerts FOR SELECT TO immutable_server
  USING ((is_of_actor OR immutable.is_visible(tenant_id, NULL))
    AND EXISTS (SELECT FROM immutable.events e WHERE e.id = event_id AND e.tenant_id = alerts.tenant_id));

COMMENT ON POLICY auditor_select ON immutable.alerts IS 'An auditor sees every alert';

COMMENT ON POLICY viewer_select ON immutable.alerts IS 'A viewer sees the alerts of the events that it sees';

COMMENT ON POLICY server_select ON immutable.alerts IS 'The server sees the alerts of the events that its proof shows';

-- The privileges of what is new.

REVOKE ALL ON FUNCTION immutable.action_schemas_changed() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.add_checkpoint(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.add_cosignature(bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.add_log_key(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.add_witness(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.begin_incarnation(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.capture() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.capture_ddl() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.capture_problem(oid) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.changed_retention() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.client_roles() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.consistency_proof(bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.count_lanes(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.create_alert_rule(text, text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.create_api_key(text, text[], text, cidr[], bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.create_export(immutable.day_or_time, immutable.day_or_time, text, text, text, text, text,
    text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.create_stream(text, jsonb, text, jsonb, text, text, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.delete_action_schema(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.delete_alert_rule(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.delete_stream(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.distribute(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.distribute_log(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.due_deliveries() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.entries(bigint, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.event_at(text, smallint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.export_rows(uuid, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.export_tree(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.feed(text, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.foreign_xact() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.forget_in_exports(text, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.get_action_schemas(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.get_alert_rules() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.get_alerts(text, immutable.day_or_time, immutable.day_or_time, integer, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.get_dead_letters(uuid, integer, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.get_export(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.get_retention(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.get_streams() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.guard_brought() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.guard_tree() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.hold(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.inclusion_proof(uuid, text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.is_opened(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.list_api_keys() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.local_shards() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.mend_shards() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.new_viewer_key() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.newest_events(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.node_here() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.nodes() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.page_evidence(uuid[], text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.prepare_node(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.prune(boolean, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.rebuild_tiles() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.receipt(uuid, text, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.receipt_of_line(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.record_at_shard() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.recorded_from(xid8, xid8, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.recorded_late(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.release(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.remove_witness(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.replay_dead_letters(uuid, uuid[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.report_checkpoint(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.require_distributable() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.require_scope(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.reset_retention(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.resolve_tracking() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.resume(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.resume_maintenance() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.revoke_api_key(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.rotate_log_key(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.set_action_schema(text, text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.set_action_schema_mode(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.set_retention(interval, text, boolean, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.settle_delivery(uuid, bigint, text, integer, text, double precision) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_changes() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_erase(bigint, text, text, text, text, text, uuid, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_erase_subject(bigint, text, text, text, text, text, text[], text[], text[], boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_event(bigint, text, uuid, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_export(bigint, text, text, smallint, bigint, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_feed(bigint, text, text, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_found(bigint, text, text, text, text, text, text, text, text, text, text, bigint, bigint,
    text, boolean, bigint, uuid, text, boolean, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_heads(bigint, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_page(bigint, text, text, text, text, text, text, text, text, text, text, bigint, bigint,
    text, boolean, bigint, uuid, text, boolean, bigint, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_record_own(bigint, text, text, text, text, jsonb, jsonb, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_track(bigint, text, text, text, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_track_batch(bigint, text, text[], text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shard_verify(bigint, text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.shards_here() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.share_access() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.status() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.take_delivery(uuid, text, integer, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.test_stream(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.tile(integer, bigint, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.track_table(regclass, text, text[], text[], text[], text[], text, text[], text[],
    text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.tree_head() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.unmatched_events(timestamptz, timestamptz, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.untrack_table(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.update_alert_rule(uuid, text, jsonb, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.update_stream(uuid, text, jsonb, text, jsonb, boolean, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.verifier_key() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.verify(timestamptz, timestamptz, integer, double precision) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.verify_shards(jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.witness_request(bigint, bigint) FROM PUBLIC;
REVOKE ALL ON PROCEDURE immutable.checkpoint(text) FROM PUBLIC;
REVOKE ALL ON PROCEDURE immutable.run_maintenance(jsonb) FROM PUBLIC;
REVOKE ALL ON PROCEDURE immutable.seal(timestamptz, jsonb) FROM PUBLIC;
REVOKE ALL ON immutable.action_schema_modes FROM PUBLIC;
REVOKE ALL ON immutable.action_schemas FROM PUBLIC;
REVOKE ALL ON immutable.alert_feed FROM PUBLIC;
REVOKE ALL ON immutable.alert_rules FROM PUBLIC;
REVOKE ALL ON immutable.alert_state FROM PUBLIC;
REVOKE ALL ON immutable.alerts FROM PUBLIC;
REVOKE ALL ON immutable.api_key_usage FROM PUBLIC;
REVOKE ALL ON immutable.api_keys FROM PUBLIC;
REVOKE ALL ON immutable.checkpoints FROM PUBLIC;
REVOKE ALL ON immutable.dead_letters FROM PUBLIC;
REVOKE ALL ON immutable.exports FROM PUBLIC;
REVOKE ALL ON immutable.holds FROM PUBLIC;
REVOKE ALL ON immutable.log_keys FROM PUBLIC;
REVOKE ALL ON immutable.log_secrets FROM PUBLIC;
REVOKE ALL ON immutable.maintenance_position FROM PUBLIC;
REVOKE ALL ON immutable.prune_position FROM PUBLIC;
REVOKE ALL ON immutable.retention FROM PUBLIC;
REVOKE ALL ON immutable.segments FROM PUBLIC;
REVOKE ALL ON immutable.stream_positions FROM PUBLIC;
REVOKE ALL ON immutable.streams FROM PUBLIC;
REVOKE ALL ON immutable.tracked_tables FROM PUBLIC;
REVOKE ALL ON immutable.tracking FROM PUBLIC;
REVOKE ALL ON immutable.tree FROM PUBLIC;
REVOKE ALL ON immutable.tree_chunks FROM PUBLIC;
REVOKE ALL ON immutable.tree_cosignatures FROM PUBLIC;
REVOKE ALL ON immutable.tree_notes FROM PUBLIC;
REVOKE ALL ON immutable.tree_pending FROM PUBLIC;
REVOKE ALL ON immutable.tree_position FROM PUBLIC;
REVOKE ALL ON immutable.tree_runs FROM PUBLIC;
REVOKE ALL ON immutable.tree_tiles FROM PUBLIC;
REVOKE ALL ON immutable.witnesses FROM PUBLIC;

GRANT EXECUTE ON FUNCTION immutable.client_roles() TO PUBLIC;
GRANT SELECT, INSERT ON immutable.placement TO immutable_writer, immutable_server;
GRANT EXECUTE ON FUNCTION immutable.shard_track(bigint, text, text, text, text[]),
  immutable.shard_track_batch(bigint, text, text[], text[])
TO immutable_writer, immutable_server;
GRANT SELECT ON immutable.placement TO immutable_writer, immutable_auditor, immutable_viewer, immutable_eraser;
GRANT EXECUTE ON FUNCTION immutable.shard_page(bigint, text, text, text, text, text, text, text, text, text, text, bigint, bigint, text, boolean, bigint, uuid, text, boolean, bigint, boolean), immutable.shard_found(bigint, text, text, text, text, text, text, text, text, text, text, bigint, bigint, text, boolean, bigint, uuid, text, boolean, bigint), immutable.shard_event(bigint, text, uuid, text, text), immutable.shard_feed(bigint, text, text, bigint, text) TO immutable_auditor, immutable_viewer;
GRANT EXECUTE ON FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean, text), immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean, text), immutable.recorded_late(text), immutable.export_tree(bigint), immutable.tile(integer, bigint, integer), immutable.entries(bigint, integer), immutable.shard_heads(bigint, text, text), immutable.shard_verify(bigint, text, jsonb), immutable.verify_shards(jsonb), immutable.shard_export(bigint, text, text, smallint, bigint, jsonb), immutable.verify(timestamptz, timestamptz, integer, double precision) TO immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.inclusion_proof(uuid, text, bigint), immutable.consistency_proof(bigint, bigint), immutable.receipt(uuid, text, text[]), immutable.receipt_of_line(text) TO immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.page_evidence(uuid[], text) TO immutable_auditor, immutable_server;
GRANT EXECUTE ON FUNCTION immutable.status(), immutable.nodes() TO immutable_auditor, pg_monitor;
GRANT INSERT ON immutable.tree, immutable.tree_runs, immutable.tree_tiles, immutable.tree_chunks, immutable.tree_notes,
  immutable.tree_cosignatures, immutable.witnesses, immutable.log_keys TO immutable_restorer;
GRANT USAGE ON SCHEMA immutable TO immutable_maintainer;
GRANT EXECUTE ON PROCEDURE immutable.checkpoint(text) TO immutable_maintainer;
GRANT EXECUTE ON FUNCTION immutable.tree_head(), immutable.verifier_key() TO immutable_maintainer, immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.add_checkpoint(text), immutable.report_checkpoint(text) TO immutable_maintainer;
GRANT SELECT ON immutable.checkpoints TO immutable_maintainer, immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.witness_request(bigint, bigint), immutable.add_cosignature(bigint, text) TO immutable_maintainer;
GRANT USAGE ON SCHEMA immutable TO immutable_server;
GRANT EXECUTE ON FUNCTION immutable.require_scope(text), immutable.is_opened(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION immutable.visible_tenant(), immutable.is_visible(text, text),
  immutable.is_target_visible(text, uuid), immutable.is_own(xid8, text, smallint, bigint), immutable.canonical(record),
  immutable.is_readable(jsonb), immutable.is_readable(text),
  immutable.verify_event(bytea, boolean, uuid, text, text, text, text, text, text, text, text, text, jsonb, jsonb,
    text, text, inet, text, text, text, integer, timestamptz, timestamptz, smallint, bigint, bytea, bytea, bytea,
    jsonb, text, uuid),
  immutable.verify_lane(bytea, bytea),
  immutable.verify_targets(bytea, boolean, text, uuid, smallint, text, text, text, jsonb, timestamptz)
TO immutable_server;
GRANT SELECT, INSERT ON immutable.events TO immutable_server;
GRANT EXECUTE ON FUNCTION
  immutable.track(text, text, text, text, text, text, text, text, jsonb, jsonb, text, text, text, integer, timestamptz,
    inet, text, text, text, text),
  immutable.track(jsonb, text), immutable.track(json, text),
  immutable.track_batch(jsonb), immutable.track_batch(json), immutable.track_batch(text)
TO immutable_server;
GRANT SELECT ON immutable.event_targets, immutable.activity, immutable.activity_targets TO immutable_server;
GRANT EXECUTE ON FUNCTION
  immutable.get_event(uuid, text),
  immutable.get_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text, text),
  immutable.find_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text),
  immutable.changes(text, jsonb, integer)
TO immutable_server;
GRANT SELECT ON immutable.checkpoints TO immutable_server;
GRANT EXECUTE ON FUNCTION
  immutable.heads(text),
  immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean, text),
  immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean, text),
  immutable.verify(timestamptz, timestamptz, integer, double precision),
  immutable.recorded_late(text), immutable.export_tree(bigint), immutable.tree_head(), immutable.verifier_key(),
  immutable.tile(integer, bigint, integer), immutable.entries(bigint, integer),
  immutable.inclusion_proof(uuid, text, bigint), immutable.consistency_proof(bigint, bigint),
  immutable.receipt(uuid, text, text[]), immutable.receipt_of_line(text)
TO immutable_server;
GRANT EXECUTE ON FUNCTION immutable.create_viewer_token(text, text, integer), immutable.revoke_viewer_token(text),
  immutable.revoke_viewer_tokens(text, text)
TO immutable_server;
GRANT EXECUTE ON FUNCTION
  immutable.export_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time)
TO immutable_server;
GRANT EXECUTE ON FUNCTION
  immutable.erase(uuid, text, text[], text), immutable.erase_subject(text, text, text, text[], text[], boolean),
  immutable.erase_subject(text, text[], text, text[], text[], boolean),
  immutable.create_api_key(text, text[], text, cidr[], bigint), immutable.revoke_api_key(uuid)
TO immutable_server;
GRANT EXECUTE ON FUNCTION immutable.list_api_keys() TO immutable_server, immutable_auditor;
GRANT INSERT ON immutable.api_keys, immutable.api_key_usage TO immutable_restorer;
GRANT SELECT ON immutable.action_schemas, immutable.action_schema_modes TO immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.get_action_schemas(text),
  immutable.unmatched_events(timestamptz, timestamptz, integer)
TO immutable_auditor, immutable_server;
GRANT EXECUTE ON FUNCTION immutable.set_action_schema(text, text, jsonb, text),
  immutable.delete_action_schema(text, text), immutable.set_action_schema_mode(text, text)
TO immutable_server;
GRANT INSERT ON immutable.action_schemas, immutable.action_schema_modes TO immutable_restorer;
GRANT SELECT ON immutable.alerts TO immutable_auditor, immutable_viewer, immutable_server;
GRANT EXECUTE ON FUNCTION
  immutable.get_alerts(text, immutable.day_or_time, immutable.day_or_time, integer, text, text)
TO immutable_auditor, immutable_viewer, immutable_server;
GRANT EXECUTE ON FUNCTION immutable.create_alert_rule(text, text, jsonb, text),
  immutable.update_alert_rule(uuid, text, jsonb, boolean), immutable.delete_alert_rule(uuid)
TO immutable_server;
GRANT EXECUTE ON FUNCTION immutable.get_alert_rules() TO immutable_auditor, immutable_server;
GRANT INSERT ON immutable.alert_rules, immutable.alerts TO immutable_restorer;
GRANT EXECUTE ON FUNCTION
  immutable.create_export(immutable.day_or_time, immutable.day_or_time, text, text, text, text, text, text, text, text,
    text),
  immutable.get_export(uuid), immutable.export_rows(uuid, text)
TO immutable_auditor, immutable_server;
GRANT EXECUTE ON FUNCTION immutable.get_streams(), immutable.get_dead_letters(uuid, integer, uuid) TO immutable_auditor;
GRANT USAGE ON SCHEMA immutable TO immutable_deliverer;
GRANT EXECUTE ON FUNCTION immutable.due_deliveries(), immutable.take_delivery(uuid, text, integer, integer), immutable.settle_delivery(uuid, bigint, text, integer, text, double precision) TO immutable_deliverer;
GRANT INSERT ON immutable.streams, immutable.dead_letters TO immutable_restorer;
GRANT EXECUTE ON PROCEDURE immutable.run_maintenance(jsonb) TO immutable_maintainer;
GRANT EXECUTE ON FUNCTION immutable.resume_maintenance() TO immutable_maintainer;
GRANT USAGE ON SCHEMA immutable TO immutable_retainer;
GRANT SELECT ON immutable.retention, immutable.holds TO immutable_retainer, immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.set_retention(interval, text, boolean, text), immutable.reset_retention(text, text), immutable.hold(text, text), immutable.release(text, text), immutable.prune(boolean, text, text) TO immutable_retainer;
GRANT EXECUTE ON FUNCTION immutable.get_retention(text)
TO immutable_retainer, immutable_auditor, immutable_viewer, immutable_server;
GRANT INSERT ON immutable.retention, immutable.holds TO immutable_restorer;
GRANT USAGE ON SCHEMA immutable TO immutable_tracker;
GRANT EXECUTE ON FUNCTION
  immutable.track_table(regclass, text, text[], text[], text[], text[], text, text[], text[], text),
  immutable.untrack_table(regclass)
TO immutable_tracker;
GRANT SELECT ON immutable.tracking, immutable.tracked_tables TO immutable_tracker, immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.capture_problem(oid) TO immutable_tracker, immutable_auditor;
GRANT INSERT ON immutable.tracking TO immutable_restorer;
GRANT EXECUTE ON PROCEDURE immutable.seal(timestamptz, jsonb) TO immutable_maintainer;

DO $$
BEGIN
  IF EXISTS (SELECT FROM immutable.shard_changes()) THEN
    RAISE WARNING 'the shards of this node are not as the tables are now, and nothing can be recorded'
      USING HINT = 'Call immutable.distribute() on the coordinator.';
  END IF;
END
$$;
