-- Tables that are not what the extension's code takes them for: its trigger functions on tables of others, and its own small
-- tables after a superuser has altered them. Each is an error, and the session goes on.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP SCHEMA IF EXISTS regress_unfit CASCADE;
RESET client_min_messages;
CREATE FUNCTION pg_temp.answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN 'done';
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
CREATE SCHEMA regress_unfit;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('unfit', 'a', 'b');

-- A trigger for a statement has no row.
CREATE TABLE regress_unfit.events (LIKE immutable.events);
CREATE TRIGGER before_statement BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON regress_unfit.events
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER after_statement AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON regress_unfit.events
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
ALTER TABLE regress_unfit.events ENABLE ALWAYS TRIGGER before_statement, ENABLE ALWAYS TRIGGER after_statement;
SET session_replication_role = replica;
INSERT INTO regress_unfit.events SELECT * FROM immutable.events WHERE tenant_id = 'unfit';
UPDATE regress_unfit.events SET actor_id = 'c';
SELECT tenant_id, actor_id FROM regress_unfit.events;
DELETE FROM regress_unfit.events;
TRUNCATE regress_unfit.events;
RESET session_replication_role;

-- Tables of the names, but not of the types.
CREATE TABLE regress_unfit.log (log_id int);
CREATE TRIGGER guard BEFORE INSERT ON regress_unfit.log FOR EACH ROW EXECUTE FUNCTION immutable.guard_log();
CREATE TABLE regress_unfit.nothing ();
CREATE TRIGGER guard BEFORE INSERT ON regress_unfit.nothing FOR EACH ROW EXECUTE FUNCTION immutable.guard_log();
SET immutable.restore = on;
SELECT pg_temp.answer('INSERT INTO regress_unfit.log VALUES (1)');
SELECT pg_temp.answer('INSERT INTO regress_unfit.nothing DEFAULT VALUES');
RESET immutable.restore;
CREATE TABLE regress_unfit.tenant_grants (a int, b int, c int, d int, e int, f int);
CREATE TRIGGER bind BEFORE INSERT ON regress_unfit.tenant_grants FOR EACH ROW EXECUTE FUNCTION immutable.bind_role();
SELECT pg_temp.answer('INSERT INTO regress_unfit.tenant_grants VALUES (1, 2, 3, 4, 5, 6)');

-- The extension's own, altered.
CREATE FUNCTION pg_temp.answers(command text) RETURNS TABLE (statement text, answer text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('immutable.allow_ddl', 'on', true);
  EXECUTE command;
  FOREACH statement IN ARRAY ARRAY[
    $s$SELECT immutable.track('a', 'b', tenant_id => 'unfit')$s$,
    $s$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('unfit new', 'a', 'b')$s$,
    $s$SELECT immutable.create_viewer_token('unfit')$s$,
    $s$SELECT immutable.revoke_viewer_token('unfit')$s$,
    $s$SELECT immutable.visible_tenant()$s$]
  LOOP
    answer := pg_temp.answer(statement);
    RETURN NEXT;
  END LOOP;
END
$$;
BEGIN;
SELECT answer FROM pg_temp.answers('ALTER TABLE immutable.cluster ALTER system_identifier TYPE text');
ROLLBACK;
BEGIN;
SELECT answer FROM pg_temp.answers('ALTER TABLE immutable.log ALTER log_id TYPE text');
ROLLBACK;
BEGIN;
SELECT answer FROM pg_temp.answers('ALTER TABLE immutable.tenant_grants ALTER role_oid TYPE text, ALTER tenant_id TYPE name');
ROLLBACK;
BEGIN;
SELECT answer FROM pg_temp.answers('ALTER TABLE immutable.viewer_keys ALTER accept_until TYPE text');
ROLLBACK;
BEGIN;
SELECT answer FROM pg_temp.answers('ALTER TABLE immutable.revocations ALTER jti TYPE int USING NULL');
ROLLBACK;
BEGIN;
SELECT answer FROM pg_temp.answers('ALTER TABLE immutable.log DROP created_at, ADD created_at timestamptz');
ROLLBACK;

-- The schema keeps its name: what would record the new one cannot find the table.
BEGIN;
SET LOCAL immutable.allow_ddl = on;
SELECT pg_temp.answer('ALTER SCHEMA immutable RENAME TO regress_unfit_other');
ROLLBACK;

-- As if nothing had been.
SELECT immutable.track('a', 'b', tenant_id => 'unfit') ->> 'status' AS status;
SELECT valid, breaks FROM immutable.verify_chain('unfit');
SET client_min_messages = warning;
DROP SCHEMA regress_unfit CASCADE;
