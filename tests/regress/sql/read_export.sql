-- Export: who may call it, what the lines are, and that a call that ends early or fails leaves nothing open. What the lines
-- prove is tested from outside, by tests/server/test_read_export.py.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
RESET client_min_messages;

CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

INSERT INTO immutable.events (tenant_id, actor_id, action, version)
SELECT 'export-' || i % 3, 'a', 'export.' || i, i FROM generate_series(1, 9) i;

-- The lines.
SELECT n, left(line, 23) AS begins, line::jsonb #> '{document,seq}' AS seq, line::jsonb #> '{document,version}' AS version
FROM (SELECT n, line FROM immutable.export_events(tenant_id => 'export-1') WITH ORDINALITY l(line, n)) l ORDER BY n;
SELECT line::jsonb - 'created_at' - 'log_id' FROM immutable.export_events('a', '*', 'c', 'd', 'export-1', 'f', 'g', 'h', 'i', '-infinity', '2026-01-01T00:00:00Z') line;
SELECT line::jsonb - 'created_at' - 'log_id' FROM immutable.export_events(tenant_id => 'nobody', to_date => 'infinity') line;
SELECT line::jsonb ->> 'log_id' = log_id::text AS log, (line::jsonb ->> 'created_at')::timestamptz = statement_timestamp() AS now
FROM immutable.log, immutable.export_events(tenant_id => 'nobody') line LIMIT 1;
SELECT bool_and(encode(sha256(convert_to(immutable.canonical(e), 'UTF8')), 'hex') = l.line::jsonb ->> 'event_hash'
                AND strpos(l.line, '{"document":' || immutable.canonical(e) || ',"event_hash":"') = 1) AS verbatim, count(*)
FROM immutable.export_events() l(line) JOIN immutable.events e ON e.id::text = l.line::jsonb #>> '{document,id}' WHERE e.tenant_id LIKE 'export-%';

-- Called again and again by one plan, with other arguments.
SELECT t, count(l) FROM unnest(ARRAY['export-0', 'export-1', 'nobody', NULL, 'export-2']) t, LATERAL (SELECT immutable.export_events(tenant_id => coalesce(t, 'nobody')) AS l) x GROUP BY t ORDER BY t;
SELECT left(immutable.export_events(tenant_id => 'export-1'), 8) AS a, left(immutable.export_events(tenant_id => 'nobody'), 8) AS b;

-- Ended early: by LIMIT, by a cursor, by an error, by a subtransaction; nothing stays open.
BEGIN;
SELECT left(immutable.export_events(), 12) AS one LIMIT 1;
SELECT left(line, 12) AS one FROM immutable.export_events() line LIMIT 1;
DECLARE c CURSOR FOR SELECT left(immutable.export_events(tenant_id => 'export-2'), 12);
FETCH 2 FROM c;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('export-2', 'a', 'later');
SELECT count(*) AS open FROM pg_cursors;
FETCH ALL FROM c;
CLOSE c;
SELECT count(*) AS left_open FROM pg_cursors;
DECLARE c SCROLL CURSOR FOR SELECT left(immutable.export_events(tenant_id => 'export-1'), 12);
FETCH 3 FROM c;
FETCH BACKWARD 2 FROM c;
MOVE ABSOLUTE 0 IN c;
FETCH 1 FROM c;
CLOSE c;
SAVEPOINT s;
SELECT 1 / (length(immutable.export_events()) * 0);
ROLLBACK TO s;
SELECT pg_temp.refused('SELECT 1 / (length(immutable.export_events()) * 0)');
SELECT count(*) AS left_open FROM pg_cursors;
ROLLBACK;
DO $$
DECLARE
  line text;
  lines int := 0;
BEGIN
  FOR line IN SELECT immutable.export_events(tenant_id => 'export-1') LOOP
    lines := lines + 1;
    COMMIT; -- holds the outer query, which reads to its end first
  END LOOP;
  RAISE NOTICE '% lines', lines;
END $$;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT left(immutable.export_events(tenant_id => 'export-1'), 12);
COMMIT;
FETCH 2 FROM c;
CLOSE c;
SELECT pg_temp.refused('SELECT CASE WHEN true THEN immutable.export_events() END');
SELECT pg_temp.refused('UPDATE pg_temp.nothing SET a = immutable.export_events()') LIKE '42P01%' AS no_table;

-- Read only, and on a standby: it takes no transaction id.
BEGIN TRANSACTION READ ONLY;
SELECT count(*) > 2 AS read FROM immutable.export_events();
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_id;
COMMIT;

-- Who may export.
CREATE ROLE regress_export_auditor;
CREATE ROLE regress_export_writer;
CREATE ROLE regress_export_nobody;
GRANT immutable_auditor TO regress_export_auditor;
GRANT immutable_writer TO regress_export_writer;
SET SESSION AUTHORIZATION regress_export_auditor;
SELECT count(*) FROM immutable.export_events(tenant_id => 'export-1');
SET SESSION AUTHORIZATION regress_export_writer;
SELECT pg_temp.refused('SELECT immutable.export_events()');
SET SESSION AUTHORIZATION regress_export_nobody;
SELECT pg_temp.refused('SELECT immutable.export_events()');
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA immutable TO regress_export_nobody;
GRANT EXECUTE ON FUNCTION immutable.export_events TO regress_export_nobody;
SET SESSION AUTHORIZATION regress_export_nobody;
SELECT pg_temp.refused('SELECT immutable.export_events()'); -- the function's right is not the table's
RESET SESSION AUTHORIZATION;
SELECT p.prosecdef, p.provolatile, p.proparallel, p.proconfig FROM pg_proc p WHERE oid = 'immutable.export_events'::regproc;
DROP OWNED BY regress_export_auditor, regress_export_writer, regress_export_nobody;
DROP ROLE regress_export_auditor, regress_export_writer, regress_export_nobody;
