-- Who sees which tenant: viewer tokens, roles bound to a tenant, and the functions that row security asks.

CREATE TABLE immutable.viewer_keys (
  key_id uuid PRIMARY KEY,
  secret bytea NOT NULL,
  made_at timestamptz NOT NULL,
  accept_until timestamptz,
  imported boolean NOT NULL
);
COMMENT ON TABLE immutable.viewer_keys IS 'The secrets that viewer tokens are signed with. The owner''s alone, and in no dump';
COMMENT ON COLUMN immutable.viewer_keys.key_id IS 'Random UUID; says nothing about the secret';
COMMENT ON COLUMN immutable.viewer_keys.secret IS 'Key of HMAC-SHA-256: 32 random bytes, or what was imported';
COMMENT ON COLUMN immutable.viewer_keys.made_at IS 'When it was made or imported';
COMMENT ON COLUMN immutable.viewer_keys.accept_until IS 'Until when its tokens are accepted after another took its place; NULL for the one that signs';
COMMENT ON COLUMN immutable.viewer_keys.imported IS 'Whether it is shared with somebody else';

-- A key, although it stays empty: a publication FOR ALL TABLES and other tools want one of every table.
CREATE TABLE immutable.viewer_key_import (secret text PRIMARY KEY);
COMMENT ON TABLE immutable.viewer_key_import IS
  'Takes a shared secret: COPY immutable.viewer_key_import FROM STDIN, one line of 32 to 1,024 bytes, which then signs. Keeps nothing itself. The owner''s alone; an INSERT is refused, because logs keep literals';
COMMENT ON COLUMN immutable.viewer_key_import.secret IS 'The secret, as the bytes of its UTF-8 text';

CREATE TABLE immutable.revocations (
  jti text COLLATE "C",
  tenant_id text COLLATE "C",
  actor_id text COLLATE "C",
  revoked_at timestamptz NOT NULL,
  forget_at timestamptz NOT NULL,
  revoked_by text NOT NULL,
  -- What replication finds a row by: without it a publication of updates makes every revocation fail.
  id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  CHECK ((jti IS NULL) <> (tenant_id IS NULL) AND (actor_id IS NULL OR tenant_id IS NOT NULL))
);
CREATE UNIQUE INDEX revocations_jti ON immutable.revocations (jti) WHERE jti IS NOT NULL;
CREATE UNIQUE INDEX revocations_subject ON immutable.revocations (tenant_id, actor_id) NULLS NOT DISTINCT
  WHERE tenant_id IS NOT NULL;
COMMENT ON TABLE immutable.revocations IS 'Viewer tokens that are refused before they run out: one by its jti, or all of a tenant or actor';
COMMENT ON COLUMN immutable.revocations.jti IS 'The token''s id; NULL where a tenant''s or actor''s are revoked';
COMMENT ON COLUMN immutable.revocations.tenant_id IS 'The tenant whose tokens are revoked; NULL for a single token';
COMMENT ON COLUMN immutable.revocations.actor_id IS 'The actor whose tokens are revoked; NULL for all of the tenant''s';
COMMENT ON COLUMN immutable.revocations.revoked_at IS 'Tokens issued until the end of this second are refused';
COMMENT ON COLUMN immutable.revocations.forget_at IS 'The row is removed some time after this: such tokens have run out by then';
COMMENT ON COLUMN immutable.revocations.revoked_by IS 'session_user of the connection that revoked';
COMMENT ON COLUMN immutable.revocations.id IS 'Random UUID, for replication';

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
COMMENT ON TABLE immutable.tenant_grants IS 'The one tenant that a role may read, or record for';
COMMENT ON COLUMN immutable.tenant_grants.role IS 'The role''s name when it was granted; renaming the role ends a grant to read, and no binding to write';
COMMENT ON COLUMN immutable.tenant_grants.mode IS 'read: what the role sees without a token. write: what it may record for, and nothing else';
COMMENT ON COLUMN immutable.tenant_grants.tenant_id IS 'The tenant; empty for the events without tenant';
COMMENT ON COLUMN immutable.tenant_grants.role_oid IS 'The role''s number, set by a trigger: a role dropped and made again is another to a grant to read';
COMMENT ON COLUMN immutable.tenant_grants.granted_at IS 'When it was granted';
COMMENT ON COLUMN immutable.tenant_grants.granted_by IS 'session_user of the connection that granted it';

-- A dump keeps what is revoked and granted, and no secret.
SELECT pg_catalog.pg_extension_config_dump('immutable.revocations', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tenant_grants', '');

-- No policy on the keys, so that pg_read_all_data and pg_write_all_data, which pass every grant, reach no row. What a dump
-- holds besides events is not left out like that: pg_dump --enable-row-security would end well, without revocations and
-- grants, and without the events that its role may not see. A log with events has a row in immutable.log. Only such roles
-- read these tables, and auditors the log, so that nobody else meets the error.
CREATE FUNCTION immutable.refuse_part_of(tab text) RETURNS boolean LANGUAGE c STABLE PARALLEL SAFE STRICT
AS 'MODULE_PATHNAME', 'immutable_refuse_part_of';
COMMENT ON FUNCTION immutable.refuse_part_of(text) IS
  'Policy of log, revocations and tenant_grants: raises 42501 for whoever row security would leave a row out for, so that no dump lacks it';
CREATE POLICY all_or_none ON immutable.log FOR SELECT USING (immutable.refuse_part_of('log'));
CREATE POLICY all_or_none ON immutable.revocations FOR SELECT USING (immutable.refuse_part_of('revocations'));
CREATE POLICY all_or_none ON immutable.tenant_grants FOR SELECT USING (immutable.refuse_part_of('tenant_grants'));
COMMENT ON POLICY all_or_none ON immutable.log IS 'Refuses whoever row security holds and who is no auditor';
COMMENT ON POLICY all_or_none ON immutable.revocations IS 'Refuses whoever row security holds';
COMMENT ON POLICY all_or_none ON immutable.tenant_grants IS 'Refuses whoever row security holds';
CREATE POLICY auditor_select ON immutable.log FOR SELECT TO immutable_auditor USING (true);
COMMENT ON POLICY auditor_select ON immutable.log IS 'An auditor sees which log it is';
ALTER TABLE immutable.log ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.viewer_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.viewer_key_import ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.revocations ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tenant_grants ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION immutable.bind_role() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_bind_role';
COMMENT ON FUNCTION immutable.bind_role() IS
  'BEFORE INSERT OR UPDATE trigger of tenant_grants: sets role_oid to the role of that name, 0 if there is none';
CREATE TRIGGER "~immutable_bind" BEFORE INSERT OR UPDATE ON immutable.tenant_grants
  FOR EACH ROW EXECUTE FUNCTION immutable.bind_role();
-- In a subscription's workers too: the publisher's numbers are other roles' here.
ALTER TABLE immutable.tenant_grants ENABLE ALWAYS TRIGGER "~immutable_bind";

CREATE FUNCTION immutable.take_viewer_key() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_take_viewer_key';
COMMENT ON FUNCTION immutable.take_viewer_key() IS
  'Triggers of viewer_key_import: take the secret, keep the row out, and make it the key that signs when the statement ends, which is recorded as immutable.viewer_key_imported. Raises 22023 unless it is one line of 32 to 1,024 bytes. In the workers of a replication they do nothing';
CREATE FUNCTION immutable.refuse_viewer_key() RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_refuse_viewer_key';
COMMENT ON FUNCTION immutable.refuse_viewer_key() IS 'Rule of viewer_key_import: raises 0A000 for an INSERT';

-- Three triggers, because an error or a warning that a row's trigger raises within COPY quotes the line.
CREATE TRIGGER "~immutable_begin" BEFORE INSERT ON immutable.viewer_key_import
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.take_viewer_key();
CREATE TRIGGER "~immutable_take" BEFORE INSERT ON immutable.viewer_key_import
  FOR EACH ROW EXECUTE FUNCTION immutable.take_viewer_key();
CREATE TRIGGER "~immutable_store" AFTER INSERT ON immutable.viewer_key_import
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.take_viewer_key();
ALTER TABLE immutable.viewer_key_import ENABLE ALWAYS TRIGGER "~immutable_begin";
ALTER TABLE immutable.viewer_key_import ENABLE ALWAYS TRIGGER "~immutable_take";
ALTER TABLE immutable.viewer_key_import ENABLE ALWAYS TRIGGER "~immutable_store";
-- COPY passes rules by.
CREATE RULE copy_only AS ON INSERT TO immutable.viewer_key_import DO INSTEAD SELECT immutable.refuse_viewer_key();
ALTER TABLE immutable.viewer_key_import ENABLE ALWAYS RULE copy_only;

CREATE FUNCTION immutable.create_viewer_token(tenant_id text, actor_id text DEFAULT NULL, ttl integer DEFAULT 3600)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_create_viewer_token';
COMMENT ON FUNCTION immutable.create_viewer_token(text, text, integer) IS
  'A signed token (JWT, HS256) that opens one tenant''s events, or one actor''s of them, for ttl seconds (60 to 86,400). NULL tenant means the events without tenant. Returns {"token", "viewer_token" (the same), "expires_at" (Unix seconds)}. The first call makes the key. Raises 22023 for a ttl outside, an empty actor, or an id that is too long';

CREATE FUNCTION immutable.rotate_viewer_key(revoke_old boolean DEFAULT false)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_rotate_viewer_key';
COMMENT ON FUNCTION immutable.rotate_viewer_key(boolean) IS
  'Makes a new key of 32 random bytes to sign with. Tokens of the old keys are accepted until the last has run out (a day), or with revoke_old no longer. Recorded as immutable.viewer_key_rotated';

CREATE FUNCTION immutable.revoke_viewer_token(token text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_revoke_viewer_token';
COMMENT ON FUNCTION immutable.revoke_viewer_token(text) IS
  'Refuses one token from the next statement of any session on, given itself or its jti. Recorded as immutable.viewer_token_revoked. Raises 22023 for a token that is signed with no key in use, or a jti that is empty or longer than 255 bytes, 22004 for NULL';

CREATE FUNCTION immutable.revoke_viewer_tokens(tenant_id text, actor_id text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_revoke_viewer_tokens';
COMMENT ON FUNCTION immutable.revoke_viewer_tokens(text, text) IS
  'Refuses every token issued for a tenant, or for one actor of it, until the end of this second, from the next statement of any session on. NULL tenant means the events without tenant. Recorded as immutable.viewer_tokens_revoked. Raises 22023 for an id that is too long';

CREATE FUNCTION immutable.grant_tenant(role name, tenant_id text, mode text DEFAULT 'read')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_grant_tenant';
COMMENT ON FUNCTION immutable.grant_tenant(name, text, text) IS
  'Binds a role to a tenant, in place of the one it had. mode read: it sees that tenant''s events without a token, and becomes a member of immutable_viewer. mode write: it and whoever inherits its rights record for that tenant and no other, and it becomes a member of immutable_writer. Recorded as immutable.tenant_granted. NULL tenant means the events without tenant. Raises 42704 for a role that is not there, 22023 for a mode that is none, a tenant that is too long, or a role that row security does not hold';

CREATE FUNCTION immutable.revoke_tenant(role name, mode text DEFAULT 'read')
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_revoke_tenant';
COMMENT ON FUNCTION immutable.revoke_tenant(name, text) IS
  'Takes back what immutable.grant_tenant() gave, the membership included. Recorded as immutable.tenant_revoked. Raises 42704 if there is no such grant, 22023 for a mode that is none, 55000 if the role would still be a member through another role, and so hold more than before';

-- What the policies ask. All of it comes from one place, src/tenant.rs.
CREATE FUNCTION immutable.visible_tenant()
RETURNS text LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_visible_tenant';
COMMENT ON FUNCTION immutable.visible_tenant() IS
  'The tenant whose events the caller may see as a viewer: that of setting immutable.viewer_token if it is not empty, else the one granted to the current role, else that of the bearer token among setting request.headers. NULL if there is none of these. Raises 28000 for a token that is refused';

CREATE FUNCTION immutable.is_visible(tenant_id text, actor_id text)
RETURNS boolean LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_is_visible';
COMMENT ON FUNCTION immutable.is_visible(text, text) IS
  'Whether a viewer may see an event of this tenant and actor. Resolved once a statement. Raises 28000 for a token that is refused';

CREATE FUNCTION immutable.is_target_visible(tenant_id text, event_id uuid)
RETURNS boolean LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_is_target_visible';
COMMENT ON FUNCTION immutable.is_target_visible(text, uuid) IS
  'Whether a viewer may see a target of this event: looks the event''s actor up where the token names one. Raises 28000 for a token that is refused';

-- The planner's statistics of a column hold other tenants' values, and EXPLAIN tells everybody how many rows it expects:
-- equality of texts is leakproof, so row security does not keep it from using them. Without statistics it expects the
-- same of every value. The columns left are the application's vocabulary (actions, types) and the times.
ALTER TABLE immutable.events
  ALTER tenant_id SET STATISTICS 0, ALTER actor_id SET STATISTICS 0, ALTER actor_name SET STATISTICS 0,
  ALTER resource_id SET STATISTICS 0, ALTER resource_name SET STATISTICS 0, ALTER session_id SET STATISTICS 0,
  ALTER idempotency_key SET STATISTICS 0, ALTER ip_address SET STATISTICS 0, ALTER ip_country SET STATISTICS 0,
  ALTER ip_city SET STATISTICS 0, ALTER user_agent SET STATISTICS 0, ALTER recorded_by SET STATISTICS 0,
  ALTER salt SET STATISTICS 0, ALTER event_hash SET STATISTICS 0, ALTER previous_event_hash SET STATISTICS 0;
-- Nothing asks for statistics of a jsonb, and making them compares values: autovacuum would crash the server on one whose
-- bytes somebody has changed, again and again.
ALTER TABLE immutable.events
  ALTER targets SET STATISTICS 0, ALTER metadata SET STATISTICS 0, ALTER erased SET STATISTICS 0;
ALTER TABLE immutable.event_targets ALTER target_metadata SET STATISTICS 0;
ALTER TABLE immutable.event_targets
  ALTER tenant_id SET STATISTICS 0, ALTER event_id SET STATISTICS 0, ALTER target_id SET STATISTICS 0,
  ALTER target_name SET STATISTICS 0;
