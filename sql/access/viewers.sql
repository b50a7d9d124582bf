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
  node integer,
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
COMMENT ON COLUMN immutable.tenant_grants.node IS
  'With Citus, the node whose OID role_oid is (pg_dist_node.groupid), which a trigger sets; otherwise NULL';

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
CREATE FUNCTION immutable.new_viewer_key()
RETURNS TABLE (key_id uuid, secret bytea, made_at timestamptz, accept_until timestamptz, imported boolean)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_new_viewer_key';
COMMENT ON FUNCTION immutable.new_viewer_key() IS
'Part of making a key in a distributed log: returns the key that the running statement is to store.
Citus sends the rows of a function in a COPY, so that no statement and no log contains the secret.
Returns the row of immutable.viewer_keys, once; otherwise no row.';
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

CREATE FUNCTION immutable.client_roles()
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'immutable_client_roles';
COMMENT ON FUNCTION immutable.client_roles() IS
'Default of events.recorded_by in a distributed log: the session''s roles, sealed, for the node of the tenant.
There the chain''s trigger holds each of them to the tenant that it is bound to, and writes recorded_by itself.
Returns NULL in a log that is not distributed, or that binds no role.
Raises no error of its own.';

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
