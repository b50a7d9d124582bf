-- status(): one row that tells auditors and monitors the state of the log, and what is wrong.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
SET immutable.allow_ddl = on;
DROP EXTENSION IF EXISTS immutable;
RESET immutable.allow_ddl;
DROP ROLE IF EXISTS regress_status_auditor, regress_status_monitor, regress_status_writer;
CREATE EXTENSION immutable;
RESET client_min_messages;
CREATE ROLE regress_status_auditor LOGIN;
CREATE ROLE regress_status_monitor LOGIN;
CREATE ROLE regress_status_writer LOGIN;
GRANT immutable_auditor TO regress_status_auditor;
GRANT pg_monitor TO regress_status_monitor;
GRANT immutable_writer TO regress_status_writer;

-- Empty and sound.
SELECT version = (SELECT extversion FROM pg_extension WHERE extname = 'immutable') AS version, estimated_events, total_bytes > 0 AS bytes, chains, chains_relation,
  last_event_id, last_event_at, lanes_in_use, longest_lane_hold, prepared_transactions, triggers_enabled, row_security_enabled,
  guard_enabled, allow_ddl, restore, search_index, is_standby, problems FROM immutable.status();
SELECT DISTINCT jsonb_object_keys(settings) COLLATE "C" AS setting FROM immutable.status() ORDER BY 1;

-- Who may call it; nobody learns what is in the log.
SET SESSION AUTHORIZATION regress_status_writer;
SELECT problems FROM immutable.status();
SET SESSION AUTHORIZATION regress_status_auditor;
SELECT problems FROM immutable.status();
SET SESSION AUTHORIZATION regress_status_monitor;
SELECT problems FROM immutable.status();
SELECT count(*) FROM immutable.events;
RESET SESSION AUTHORIZATION;

-- Events, lanes and locks.
SELECT immutable.track('a', 'b', tenant_id => 'status-' || n) ->> 'status' AS status FROM generate_series(1, 3) n;
ANALYZE immutable.events;
SELECT estimated_events, chains, chains_relation, last_event_id = (SELECT id FROM immutable.events ORDER BY created_at DESC LIMIT 1) AS last,
  last_event_at <= clock_timestamp() AS before_now, lanes_in_use FROM immutable.status();
BEGIN;
SELECT immutable.track('a', 'b', tenant_id => 'status-' || n) ->> 'status' AS status FROM generate_series(1, 2) n;
SELECT lanes_in_use, longest_lane_hold > interval '0' AS held, prepared_transactions FROM immutable.status();
PREPARE TRANSACTION 'regress_status';
SELECT lanes_in_use, longest_lane_hold > interval '0' AS held, prepared_transactions, problems FROM immutable.status();
COMMIT PREPARED 'regress_status';
-- There are more chains than it counts.
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'many-' || n, 'a', 'b' FROM generate_series(1, 900) n;
SELECT chains, chains_relation FROM immutable.status();
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'more-' || n, 'a', 'b' FROM generate_series(1, 97) n;
SELECT chains, chains_relation FROM immutable.status();
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('one more', 'a', 'b');
SELECT chains, chains_relation FROM immutable.status();

-- What is wrong, one by one.
BEGIN;
SET LOCAL immutable.allow_ddl = on;
SELECT allow_ddl, problems FROM immutable.status();
ALTER TABLE immutable.events DISABLE TRIGGER "~immutable_chain";
SELECT triggers_enabled, problems FROM immutable.status();
ROLLBACK;
BEGIN;
SET LOCAL session_replication_role = replica;
SELECT problems FROM immutable.status();
ROLLBACK;
BEGIN;
ALTER EVENT TRIGGER immutable_ddl_start DISABLE;
ALTER EVENT TRIGGER immutable_ddl_end DISABLE;
ALTER EVENT TRIGGER immutable_ddl_drop DISABLE;
CREATE FUNCTION regress_status_nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
CREATE OR REPLACE TRIGGER "~immutable_delete" BEFORE DELETE ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_status_nothing();
CREATE OR REPLACE TRIGGER "~immutable_update" BEFORE UPDATE ON immutable.events FOR EACH ROW WHEN (false) EXECUTE FUNCTION immutable.guard_event();
DROP TRIGGER "~immutable_target" ON immutable.event_targets;
CREATE TRIGGER "~z" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_status_nothing();
CREATE TRIGGER a BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_status_nothing();
ALTER TABLE immutable.viewer_keys DISABLE ROW LEVEL SECURITY;
DROP POLICY auditor_select ON immutable.events;
CREATE POLICY everybody ON immutable.event_targets USING (true);
CREATE TABLE regress_status_child () INHERITS (immutable.events);
CREATE RULE gone AS ON DELETE TO immutable.log DO INSTEAD NOTHING;
SELECT triggers_enabled, row_security_enabled, guard_enabled, unnest(problems) AS problem FROM immutable.status();
ROLLBACK;
BEGIN;
CREATE OR REPLACE FUNCTION pg_temp.set_ahead() RETURNS void LANGUAGE sql AS $$
  UPDATE immutable.events SET created_at = '2999-01-01Z' WHERE tenant_id = 'one more' $$;
SET LOCAL session_replication_role = replica;
SELECT pg_temp.set_ahead();
SET LOCAL session_replication_role = origin;
SELECT last_event_at = '2999-01-01Z' AS ahead, regexp_replace(p, 'event [0-9a-f-]+|[0-9]+ seconds', '…', 'g') AS problem FROM immutable.status(), unnest(problems) p;
ROLLBACK;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET immutable.allow_ddl = on', current_database()); END $$;
SELECT problems FROM immutable.status();
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET immutable.allow_ddl', current_database()); END $$;
SELECT problems FROM immutable.status();
-- It writes nothing.
BEGIN READ ONLY;
SELECT problems FROM immutable.status();
COMMIT;

-- Who may set which setting. A session can set none that affects the chain.
SELECT context, string_agg(name, ' ' ORDER BY name COLLATE "C") AS settings FROM pg_settings WHERE name LIKE 'immutable.%' GROUP BY context ORDER BY context;
SET SESSION AUTHORIZATION regress_status_writer;
DO $$
DECLARE
  one text;
BEGIN
  FOR one IN SELECT name FROM pg_settings WHERE name LIKE 'immutable.%' AND context <> 'user' LOOP
    BEGIN
      PERFORM set_config(one, (SELECT s.setting FROM pg_settings s WHERE s.name = one), false);
      RAISE EXCEPTION '% was set', one;
    EXCEPTION WHEN insufficient_privilege OR cant_change_runtime_param THEN
      NULL;
    END;
  END LOOP;
END
$$;
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_status_auditor, regress_status_monitor, regress_status_writer;
DROP ROLE regress_status_auditor, regress_status_monitor, regress_status_writer;
