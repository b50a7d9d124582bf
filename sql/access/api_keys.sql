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
