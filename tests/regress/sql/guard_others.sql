-- The guard and other users' objects: their triggers on the log's tables, their dumps, and a restore in progress.
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
SET immutable.allow_ddl = on;
DROP EXTENSION IF EXISTS immutable;
RESET immutable.allow_ddl;
DROP ROLE IF EXISTS regress_dumper, "regress Dumper", regress_dumper_bypass, regress_dumper_group, regress_dumper_super, regress_dumper_none;

-- CREATE EXTENSION names the logins whose pg_dump of the database fails from then on, and says nothing if there are none.
RESET client_min_messages;
CREATE EXTENSION immutable;
DROP EXTENSION immutable;
CREATE ROLE regress_dumper_group IN ROLE pg_read_all_data;
CREATE ROLE regress_dumper_bypass LOGIN BYPASSRLS IN ROLE pg_read_all_data;
CREATE ROLE regress_dumper_super LOGIN SUPERUSER IN ROLE pg_read_all_data;
CREATE ROLE regress_dumper_none LOGIN;
CREATE EXTENSION immutable;
DROP EXTENSION immutable;
CREATE ROLE regress_dumper LOGIN IN ROLE pg_read_all_data;
CREATE ROLE "regress Dumper" LOGIN NOINHERIT IN ROLE regress_dumper_group;
CREATE EXTENSION immutable;
-- So does status(), of the same logins.
SELECT split_part(problem, '.', 1) AS problem FROM immutable.status(), unnest(problems) problem WHERE problem LIKE 'logins have pg\_read\_all\_data%';
-- As it says.
SET SESSION AUTHORIZATION regress_dumper;
SET row_security = off;
SELECT count(*) FROM immutable.events;
RESET SESSION AUTHORIZATION;
RESET row_security;
SET client_min_messages = warning;
DROP ROLE regress_dumper, "regress Dumper", regress_dumper_bypass, regress_dumper_group, regress_dumper_super, regress_dumper_none;

CREATE FUNCTION pg_temp.refused(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  message text; detail text; hint text;
BEGIN
  BEGIN
    EXECUTE statement;
    RAISE EXCEPTION 'NOT REFUSED: %', statement;
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT SQLSTATE || ': ' || message;
    IF detail <> '' THEN RETURN NEXT 'DETAIL: ' || detail; END IF;
    IF hint <> '' THEN RETURN NEXT 'HINT: ' || hint; END IF;
  END;
END
$$;
RESET client_min_messages;
CREATE SCHEMA regress_others;
CREATE FUNCTION regress_others.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('others', 'a', 'before');
SELECT array_remove(problems, 'fsync is off: a crash can lose committed events. Set it to on') AS problems FROM immutable.status();

-- Somebody else's trigger may be made and dropped, so it may be switched on and off. One that fires always is told: pg_repack
-- leaves one behind when it is killed.
CREATE TRIGGER repack_trigger AFTER INSERT OR DELETE OR UPDATE ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_others.nothing();
CREATE TRIGGER other AFTER INSERT ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION regress_others.nothing();
ALTER TABLE immutable.events ENABLE ALWAYS TRIGGER repack_trigger;
-- A constraint trigger has a constraint, which goes with it, and with its function; the log's own constraints stay.
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON immutable.events DEFERRABLE FOR EACH ROW EXECUTE FUNCTION regress_others.nothing();
DROP TRIGGER deferred ON immutable.events;
CREATE SCHEMA regress_others_2;
CREATE FUNCTION regress_others_2.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON immutable.event_targets DEFERRABLE FOR EACH ROW EXECUTE FUNCTION regress_others_2.nothing();
SET client_min_messages = warning;
DROP SCHEMA regress_others_2 CASCADE;
RESET client_min_messages;
SELECT count(*) FROM pg_constraint WHERE conname = 'deferred';
SELECT triggers_enabled, array_remove(problems, 'fsync is off: a crash can lose committed events. Set it to on') AS problems FROM immutable.status();
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER repack_trigger;
ALTER TABLE immutable.events DISABLE TRIGGER repack_trigger;
ALTER TABLE immutable.events ENABLE TRIGGER repack_trigger, SET (fillfactor = 90);
ALTER TABLE immutable.events RESET (fillfactor);
ALTER TABLE ONLY immutable.event_targets DISABLE TRIGGER other;
DO 'BEGIN ALTER TABLE immutable.event_targets ENABLE TRIGGER other; END';
SELECT triggers_enabled, array_remove(problems, 'fsync is off: a crash can lose committed events. Set it to on') AS problems FROM immutable.status();
-- Beside one of the log's, of a foreign key, of whatever name, or with another part, it may not.
SELECT s AS statement, pg_temp.refused(s) AS refused FROM unnest(ARRAY[
  'ALTER TABLE immutable.events DISABLE TRIGGER repack_trigger, DISABLE TRIGGER "~immutable_chain"',
  'ALTER TABLE immutable.events DISABLE TRIGGER "~immutable_chain", DISABLE TRIGGER repack_trigger',
  'ALTER TABLE immutable.events ENABLE ALWAYS TRIGGER repack_trigger, ADD x int',
  'ALTER TABLE immutable.events ENABLE ALWAYS TRIGGER "~immutable_apply"',
  'ALTER TABLE immutable.events DISABLE TRIGGER ALL',
  'ALTER TABLE immutable.events ENABLE TRIGGER USER',
  'ALTER TABLE immutable.events DISABLE TRIGGER "~Immutable"',
  'ALTER TABLE immutable.log DISABLE TRIGGER "~immutable_write"',
  'ALTER TABLE immutable.events ENABLE ALWAYS RULE repack_trigger']) s;
SELECT format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname) AS statement FROM pg_trigger
WHERE tgisinternal AND tgrelid IN ('immutable.events'::regclass, 'immutable.event_targets'::regclass) ORDER BY tgrelid::regclass::text, tgtype LIMIT 1 \gset
SELECT regexp_replace(refused, '_\d+', '') AS refused FROM pg_temp.refused(:'statement') refused;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('others', 'a', 'after');
DROP TRIGGER repack_trigger ON immutable.events;
DROP TRIGGER other ON immutable.event_targets;
SELECT valid, events_checked FROM immutable.verify_chain();
SELECT count(*) AS maintenance FROM immutable.events WHERE action = 'immutable.ddl';

-- While a dump is restored nothing can be recorded, so allow_ddl has no effect.
SET immutable.restore = on;
SELECT pg_temp.refused('ALTER TABLE immutable.events DISABLE TRIGGER ALL');
SET immutable.allow_ddl = on;
SELECT s AS statement, pg_temp.refused(s) AS refused FROM unnest(ARRAY[
  'ALTER TABLE immutable.events ALTER metadata SET STATISTICS 300',
  'ALTER TABLE immutable.events DISABLE TRIGGER ALL',
  'DO $x$ BEGIN ALTER TABLE immutable.events ENABLE TRIGGER ALL; END $x$',
  'CREATE POLICY everybody ON immutable.events USING (true)',
  'DROP TRIGGER "~immutable_chain" ON immutable.events',
  'CREATE FUNCTION immutable.mine() RETURNS int LANGUAGE sql AS ''SELECT 1''',
  'ALTER SCHEMA immutable OWNER TO immutable_writer',
  'CREATE TABLE regress_others.child () INHERITS (immutable.events)']) s;
CREATE TABLE regress_others.unrelated (a int);
ALTER TABLE regress_others.unrelated ADD b int;
SELECT triggers_enabled, row_security_enabled FROM immutable.status();
RESET immutable.restore;
ALTER TABLE immutable.events ALTER metadata SET STATISTICS 300;
ALTER TABLE immutable.events ALTER metadata SET STATISTICS -1;
RESET immutable.allow_ddl;
SELECT metadata FROM immutable.events WHERE action = 'immutable.ddl';
SELECT valid, events_checked FROM immutable.verify_chain();

SELECT pg_temp.refused('DROP EXTENSION immutable');
SET client_min_messages = warning;
DROP SCHEMA regress_others CASCADE;
SET immutable.allow_ddl = on;
DROP EXTENSION immutable;
RESET immutable.allow_ddl;
CREATE EXTENSION immutable;
