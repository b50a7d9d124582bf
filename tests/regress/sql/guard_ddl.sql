-- The guard: no command changes the extension's objects, whoever runs it; other commands are let through.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
SET immutable.allow_ddl = on;
DROP EXTENSION IF EXISTS immutable;
RESET immutable.allow_ddl;
CREATE EXTENSION immutable;
DROP ROLE IF EXISTS regress_guard_owner, regress_guard_login;
RESET client_min_messages;
-- Runs a statement that must be refused, and shows the error.
CREATE FUNCTION pg_temp.refused(statement text, with_hint boolean DEFAULT false) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  message text; detail text; hint text;
BEGIN
  BEGIN
    EXECUTE statement;
    RAISE EXCEPTION 'NOT REFUSED: %', statement;
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT SQLSTATE || ': ' || message;
    IF with_hint AND detail <> '' THEN RETURN NEXT 'DETAIL: ' || detail; END IF;
    IF with_hint AND hint <> '' THEN RETURN NEXT 'HINT: ' || hint; END IF;
  END;
END
$$;
CREATE SCHEMA regress_guard;
CREATE FUNCTION regress_guard.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION regress_guard.one(text) RETURNS int LANGUAGE sql AS 'SELECT 1';
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('guard', 'a', 'before');

-- As superuser, who owns everything.
SELECT pg_temp.refused('ALTER TABLE immutable.events DISABLE TRIGGER ALL', true);
SELECT s AS statement, pg_temp.refused(s) AS refused FROM unnest(ARRAY[
  -- triggers
  'ALTER TABLE immutable.events DISABLE TRIGGER "~immutable_chain"',
  'ALTER TABLE immutable.events DISABLE TRIGGER USER',
  'ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_delete"',
  'ALTER TABLE ONLY immutable.event_targets DISABLE TRIGGER "~immutable_target"',
  'ALTER TABLE immutable.log DISABLE TRIGGER "~immutable_write"',
  'ALTER TABLE immutable.viewer_key_import ENABLE TRIGGER "~immutable_take"',
  'DROP TRIGGER "~immutable_chain" ON immutable.events',
  'DROP TRIGGER IF EXISTS "~immutable_truncate" ON immutable.log CASCADE',
  'ALTER TRIGGER "~immutable_chain" ON immutable.events RENAME TO a',
  'ALTER TRIGGER "~immutable_chain" ON immutable.events DEPENDS ON EXTENSION plpgsql',
  'CREATE OR REPLACE TRIGGER "~immutable_delete" BEFORE DELETE ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_guard.nothing()',
  'CREATE TRIGGER "~z" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_guard.nothing()',
  'CREATE CONSTRAINT TRIGGER "~~" AFTER INSERT ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION regress_guard.nothing()',
  -- rules and policies
  'CREATE RULE gone AS ON INSERT TO immutable.events DO INSTEAD NOTHING',
  'CREATE RULE also AS ON INSERT TO immutable.events DO ALSO NOTIFY x',
  'CREATE OR REPLACE RULE copy_only AS ON INSERT TO immutable.viewer_key_import DO INSTEAD NOTHING',
  'ALTER RULE copy_only ON immutable.viewer_key_import RENAME TO other',
  'DROP RULE copy_only ON immutable.viewer_key_import',
  'CREATE POLICY everybody ON immutable.events FOR SELECT USING (true)',
  'ALTER POLICY viewer_select ON immutable.events USING (true)',
  'ALTER POLICY viewer_select ON immutable.events TO PUBLIC',
  'ALTER POLICY viewer_select ON immutable.events RENAME TO other',
  'DROP POLICY viewer_select ON immutable.event_targets',
  'CREATE POLICY everybody ON immutable.viewer_keys FOR SELECT USING (true)',
  'ALTER TABLE immutable.events DISABLE ROW LEVEL SECURITY',
  'ALTER TABLE immutable.viewer_keys DISABLE ROW LEVEL SECURITY',
  'ALTER TABLE immutable.events FORCE ROW LEVEL SECURITY',
  -- inheritance and partitions
  'CREATE TABLE regress_guard.child () INHERITS (immutable.events)',
  'CREATE TEMPORARY TABLE child () INHERITS (immutable.event_targets)',
  'CREATE SCHEMA regress_guard_2 CREATE TABLE child () INHERITS (immutable.events)',
  'CREATE TABLE regress_guard.child (LIKE immutable.events INCLUDING ALL); ALTER TABLE regress_guard.child INHERIT immutable.events',
  'CREATE TABLE regress_guard.parent (singleton boolean); ALTER TABLE immutable.log INHERIT regress_guard.parent',
  'CREATE TABLE regress_guard.parent (LIKE immutable.log) PARTITION BY LIST (singleton); ALTER TABLE regress_guard.parent ATTACH PARTITION immutable.log DEFAULT',
  -- the tables
  'DROP TABLE immutable.events CASCADE',
  'DROP SCHEMA immutable CASCADE',
  'ALTER TABLE immutable.events ADD COLUMN x int',
  'ALTER TABLE immutable.log DROP COLUMN created_at',
  'ALTER TABLE immutable.log ALTER created_at TYPE timestamptz(0), SET (fillfactor = 90)',
  'ALTER TABLE immutable.events ALTER metadata SET DEFAULT ''{"a":1}''',
  'ALTER TABLE immutable.events ALTER tenant_id SET STATISTICS 100',
  'ALTER TABLE immutable.events DROP CONSTRAINT events_tenant_id_idempotency_key_key',
  'ALTER TABLE immutable.events ADD CHECK (false) NOT VALID',
  'ALTER TABLE immutable.event_targets SET UNLOGGED',
  'ALTER TABLE immutable.events OWNER TO immutable_writer',
  'ALTER TABLE immutable.events RENAME TO gone',
  'ALTER TABLE immutable.events RENAME COLUMN metadata TO gone',
  'ALTER TABLE immutable.events RENAME CONSTRAINT events_tenant_id_idempotency_key_key TO gone',
  'ALTER INDEX immutable.events RENAME TO gone',
  'ALTER TABLE immutable.events SET SCHEMA regress_guard',
  'ALTER SCHEMA immutable RENAME TO gone',
  'ALTER SCHEMA immutable OWNER TO immutable_writer',
  'CREATE UNIQUE INDEX one_each ON immutable.events (tenant_id)',
  'DROP INDEX immutable.revocations_subject',
  'DROP INDEX IF EXISTS immutable.events_page, immutable.events_pkey CASCADE',
  -- functions and views
  'CREATE OR REPLACE FUNCTION immutable.refuse() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN OLD; END''',
  'CREATE OR REPLACE FUNCTION immutable.heads(tenant_id text DEFAULT NULL) RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_hash bytea) LANGUAGE sql AS ''SELECT NULL::text, NULL::smallint, NULL::bigint, NULL::bytea''',
  'CREATE FUNCTION immutable.verify_chain(text) RETURNS boolean LANGUAGE sql AS ''SELECT true''',
  'CREATE PROCEDURE immutable.mine() LANGUAGE sql AS ''SELECT 1''',
  'ALTER FUNCTION regress_guard.nothing() SET SCHEMA immutable',
  'ALTER FUNCTION immutable.guard_ddl() RENAME TO gone',
  'ALTER FUNCTION immutable.erase(uuid, text, text[], text) RESET ALL',
  'ALTER FUNCTION immutable.erase(uuid, text, text[], text) SECURITY INVOKER',
  'ALTER FUNCTION immutable.is_visible(text, text) LEAKPROOF',
  'ALTER ROUTINE immutable.visible_tenant() OWNER TO immutable_writer',
  'ALTER FUNCTION immutable.chain() DEPENDS ON EXTENSION plpgsql',
  'DROP FUNCTION immutable.guard_ddl() CASCADE',
  'ALTER TYPE immutable.day_or_time RENAME TO gone',
  'ALTER TYPE immutable.day_or_time OWNER TO immutable_writer',
  'ALTER TYPE immutable.day_or_time SET SCHEMA regress_guard',
  'ALTER TYPE immutable.day_or_time SET (RECEIVE = NONE)',
  'DROP TYPE immutable.day_or_time CASCADE',
  'CREATE OR REPLACE VIEW immutable.activity_targets AS SELECT t.event_id, t.tenant_id, t.created_at, t.position, t.target_type, t.target_id, t.target_name, t.target_metadata, 1 AS event_count FROM immutable.event_targets t',
  'ALTER VIEW immutable.activity SET (security_invoker = false)',
  'ALTER TABLE immutable.activity RESET (security_invoker)',
  'ALTER VIEW immutable.activity RENAME TO gone',
  -- the extension
  'DROP EXTENSION immutable',
  'DROP EXTENSION IF EXISTS immutable CASCADE',
  'DROP EXTENSION plpgsql CASCADE',
  'ALTER EXTENSION immutable DROP FUNCTION immutable.chain()',
  'ALTER EXTENSION immutable DROP EVENT TRIGGER immutable_ddl_end',
  'ALTER EXTENSION immutable ADD FUNCTION regress_guard.nothing()',
  'ALTER EXTENSION immutable SET SCHEMA public',
  'DROP EVENT TRIGGER immutable_ddl_end',
  'DROP OWNED BY immutable_auditor',
  -- in whatever they are wrapped
  'DO $x$ BEGIN ALTER TABLE immutable.events DISABLE TRIGGER ALL; END $x$',
  'DO $x$ BEGIN EXECUTE ''DROP TRIGGER "~immutable_update" ON immutable.events''; END $x$',
  'SET LOCAL session_replication_role = replica; ALTER TABLE immutable.events DISABLE TRIGGER ALL',
  'SET LOCAL search_path = immutable; ALTER TABLE events DISABLE TRIGGER ALL'
]) s;
SELECT pg_temp.refused('DROP EXTENSION immutable', true);

-- As the tables' owner, which is not a superuser, and through a function of another role.
SET immutable.allow_ddl = on;
CREATE ROLE regress_guard_owner LOGIN;
CREATE ROLE regress_guard_login LOGIN;
GRANT ALL ON SCHEMA regress_guard, immutable TO regress_guard_owner;
ALTER TABLE immutable.events OWNER TO regress_guard_owner;
ALTER TABLE immutable.event_targets OWNER TO regress_guard_owner;
ALTER TABLE immutable.log OWNER TO regress_guard_owner;
RESET immutable.allow_ddl;
SELECT pg_temp.refused('DROP OWNED BY regress_guard_owner');
SET SESSION AUTHORIZATION regress_guard_owner;
CREATE FUNCTION regress_guard.disable() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN ALTER TABLE immutable.events DISABLE TRIGGER USER; END';
SELECT s AS statement, pg_temp.refused(s) AS refused FROM unnest(ARRAY[
  'SET immutable.allow_ddl = on',
  'ALTER TABLE immutable.events DISABLE TRIGGER USER',
  'ALTER TABLE immutable.events DISABLE ROW LEVEL SECURITY',
  'DROP TRIGGER "~immutable_chain" ON immutable.events',
  'CREATE POLICY everybody ON immutable.events USING (true)',
  'CREATE RULE gone AS ON INSERT TO immutable.events DO INSTEAD NOTHING',
  'CREATE TABLE regress_guard.child () INHERITS (immutable.events)',
  'CREATE OR REPLACE FUNCTION immutable.mine() RETURNS int LANGUAGE sql AS ''SELECT 1''',
  'DROP TABLE immutable.events CASCADE',
  'DROP OWNED BY regress_guard_owner',
  'ALTER EVENT TRIGGER immutable_ddl_end DISABLE',
  'SELECT regress_guard.disable()'
]) s;
-- What an owner may still do.
CREATE TRIGGER a BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
RESET SESSION AUTHORIZATION;
GRANT EXECUTE ON FUNCTION immutable.refuse() TO regress_guard_owner;
SET SESSION AUTHORIZATION regress_guard_owner;
CREATE TRIGGER a BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
DROP TRIGGER a ON immutable.events;
CREATE INDEX mine ON immutable.events (ip_country, created_at);
ALTER INDEX immutable.mine SET (fillfactor = 90);
DROP INDEX immutable.mine;
DROP INDEX IF EXISTS immutable.mine, nowhere.mine;
GRANT SELECT ON immutable.events TO regress_guard_login;
REVOKE SELECT ON immutable.events FROM regress_guard_login;
SET SESSION AUTHORIZATION regress_guard_login;
SELECT s AS statement, pg_temp.refused(s) AS refused FROM unnest(ARRAY[
  'ALTER TABLE immutable.events DISABLE TRIGGER USER', 'SET immutable.allow_ddl = on',
  'SELECT set_config(''immutable.allow_ddl'', ''on'', false)', 'SELECT * FROM immutable.status()']) s;
RESET SESSION AUTHORIZATION;
REVOKE EXECUTE ON FUNCTION immutable.refuse() FROM regress_guard_owner;

-- What goes through, as before.
CREATE TEMPORARY TABLE t (a int PRIMARY KEY, b text) ON COMMIT DROP;
CREATE TABLE regress_guard.copy (LIKE immutable.events INCLUDING ALL);
CREATE MATERIALIZED VIEW regress_guard.matview AS SELECT action, count(*) FROM immutable.events GROUP BY 1;
REFRESH MATERIALIZED VIEW regress_guard.matview;
CREATE TABLE regress_guard.parent (a int) PARTITION BY LIST (a);
CREATE TABLE regress_guard.part PARTITION OF regress_guard.parent DEFAULT;
CREATE TABLE regress_guard.child (b int) INHERITS (regress_guard.copy);
ALTER TABLE regress_guard.child NO INHERIT regress_guard.copy;
CREATE TABLE regress_guard.refers (event_id uuid, tenant_id text, FOREIGN KEY (event_id, tenant_id) REFERENCES immutable.events (id, tenant_id));
CREATE VIEW regress_guard.seen AS SELECT id FROM immutable.events;
CREATE OR REPLACE VIEW regress_guard.seen AS SELECT id FROM immutable.events WHERE true;
CREATE TRIGGER "~z" BEFORE INSERT ON regress_guard.copy FOR EACH ROW EXECUTE FUNCTION regress_guard.nothing();
ALTER TABLE regress_guard.copy DISABLE TRIGGER ALL;
ALTER TABLE regress_guard.copy DISABLE ROW LEVEL SECURITY, ADD COLUMN x int;
CREATE POLICY everybody ON regress_guard.copy USING (true);
CREATE RULE gone AS ON INSERT TO regress_guard.copy DO INSTEAD NOTHING;
DROP RULE gone ON regress_guard.copy;
DROP POLICY everybody ON regress_guard.copy;
DROP TRIGGER "~z" ON regress_guard.copy;
CREATE SCHEMA regress_guard_2 CREATE TABLE a (b int) CREATE VIEW c AS SELECT b FROM a CREATE INDEX ON a (b);
ALTER SCHEMA regress_guard_2 RENAME TO regress_guard_3;
SET client_min_messages = warning;
DROP SCHEMA regress_guard_3 CASCADE;
RESET client_min_messages;
-- As Citus names shards.
CREATE TABLE immutable.events_102008 (LIKE immutable.events INCLUDING ALL);
CREATE TRIGGER "~immutable_chain_102008" BEFORE INSERT ON immutable.events_102008 FOR EACH ROW EXECUTE FUNCTION immutable.chain();
ALTER TABLE immutable.events_102008 ENABLE ROW LEVEL SECURITY;
DROP TRIGGER "~immutable_chain_102008" ON immutable.events_102008;
DROP TABLE immutable.events_102008;
-- Storage, comments, rights, other indexes.
ALTER TABLE immutable.events SET (fillfactor = 90, autovacuum_freeze_max_age = 1000000), ALTER metadata SET STORAGE EXTERNAL;
ALTER TABLE immutable.events RESET (fillfactor, autovacuum_freeze_max_age), ALTER metadata SET STORAGE EXTENDED;
ALTER TABLE immutable.events SET TABLESPACE pg_default;
ALTER TABLE ALL IN TABLESPACE pg_default OWNED BY regress_guard_owner SET TABLESPACE pg_default;
ALTER TABLE immutable.events CLUSTER ON events_pkey;
ALTER TABLE immutable.events SET WITHOUT CLUSTER;
COMMENT ON POLICY viewer_select ON immutable.events IS 'A viewer sees the events of its token, or of the tenant granted to its role';
CREATE INDEX CONCURRENTLY mine ON immutable.events (lower(action)) WHERE version > 1;
REINDEX TABLE immutable.event_targets;
DROP INDEX CONCURRENTLY immutable.mine;
DROP INDEX immutable.events_session;
CREATE INDEX events_session ON immutable.events (session_id, tenant_id, created_at DESC, id DESC) WHERE session_id IS NOT NULL;
SET client_min_messages = error;
CREATE PUBLICATION regress_guard FOR TABLE immutable.events;
RESET client_min_messages;
DROP PUBLICATION regress_guard;
CREATE STATISTICS regress_guard.statistics ON action, resource_type FROM immutable.events;
VACUUM (FREEZE, ANALYZE) immutable.events;
DROP OWNED BY regress_guard_login;
SET client_min_messages = warning;
ALTER EXTENSION plpgsql UPDATE;
ALTER EXTENSION immutable UPDATE;
RESET client_min_messages;
-- Built CONCURRENTLY an index would be there before the guard sees it. The small tables take none at all.
CREATE UNIQUE INDEX CONCURRENTLY mine ON immutable.events (action);
CREATE UNIQUE INDEX CONCURRENTLY mine ON immutable.tenant_grants ((1));
CREATE INDEX mine ON immutable.viewer_keys ((made_at AT TIME ZONE 'utc'));
CREATE INDEX mine ON immutable.log ((created_at AT TIME ZONE 'utc'));
CREATE INDEX mine ON immutable.cluster (timeline) WHERE timeline > 1;
ALTER INDEX immutable.revocations_jti DEPENDS ON EXTENSION plpgsql;
ALTER INDEX immutable.events_pkey RENAME TO mine;
SELECT count(*) AS slipped_in FROM pg_class WHERE relname = 'mine';
-- An event trigger's function alone.
SELECT pg_temp.refused('SELECT immutable.guard_ddl()');

-- With allow_ddl the command is let through, and is recorded before it runs, without its text.
SELECT count(*) AS recorded FROM immutable.events WHERE action = 'immutable.ddl';
SET immutable.allow_ddl = on;
SET immutable.tenant_id = 'elsewhere';
SET immutable.actor_name = 'somebody else';
ALTER TABLE immutable.events ADD COLUMN secret text DEFAULT 'hunter2';
ALTER TABLE immutable.events DROP COLUMN secret;
ALTER TABLE immutable.events DISABLE TRIGGER "~immutable_chain";
ALTER TABLE immutable.events ENABLE TRIGGER "~immutable_chain";
CREATE POLICY everybody ON immutable.events FOR SELECT USING (tenant_id = 'hunter2');
DROP POLICY everybody ON immutable.events;
CREATE FUNCTION immutable.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE regress_guard.smuggled () INHERITS (immutable.events);
DROP TABLE regress_guard.smuggled;
-- With two triggers off, the log cannot record it.
BEGIN;
ALTER TABLE immutable.events DISABLE TRIGGER "~immutable_targets";
DROP TRIGGER "~immutable_delete" ON immutable.events;
ROLLBACK;
CREATE TABLE regress_guard.unrelated (a int);
ALTER TABLE regress_guard.unrelated ADD b int;
RESET immutable.allow_ddl;
RESET immutable.tenant_id;
RESET immutable.actor_name;
DROP FUNCTION immutable.mine();
SELECT tenant_id, actor_id = current_user AS actor_is_caller, actor_name, actor_type, metadata FROM immutable.events WHERE action = 'immutable.ddl' ORDER BY created_at;
SELECT pg_temp.refused($$INSERT INTO immutable.events (actor_id, action) VALUES ('a', 'immutable.ddl')$$);
SELECT valid, breaks FROM immutable.verify_chain();

-- The guard's own switch cannot be refused by anything in the database; status() reports it.
ALTER EVENT TRIGGER immutable_ddl_end DISABLE;
CREATE RULE gone AS ON DELETE TO immutable.events DO INSTEAD NOTHING;
SELECT guard_enabled, problems FROM immutable.status();
ALTER EVENT TRIGGER immutable_ddl_end ENABLE ALWAYS;
SELECT guard_enabled, problems FROM immutable.status();
-- Commands on other objects are not refused because of it.
CREATE TABLE regress_guard.unrelated_too (a int);
ALTER TABLE regress_guard.unrelated_too ADD b int;
SELECT pg_temp.refused('DROP RULE gone ON immutable.events');
SET immutable.allow_ddl = on;
DROP RULE gone ON immutable.events;

-- With allow_ddl the extension can be dropped with its events; without events it needs no setting.
SET client_min_messages = warning;
DROP SCHEMA regress_guard CASCADE;
DROP EXTENSION immutable;
RESET immutable.allow_ddl;
CREATE EXTENSION immutable;
DROP EXTENSION immutable;
CREATE EXTENSION immutable;
DROP OWNED BY regress_guard_owner, regress_guard_login;
DROP ROLE regress_guard_owner, regress_guard_login;
