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
