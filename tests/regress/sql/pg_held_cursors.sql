-- Functions that return rows, read through cursors that live longer than a transaction or a savepoint.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
RESET client_min_messages;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) SELECT 'held', 'a', 'held.' || i, '[{"type":"t","id":"1"}]' FROM generate_series(1, 300) i;
CREATE TEMPORARY TABLE lines (n serial, line text);

-- The export, read in portions: begun before COMMIT and continued after it. Nothing is lost or repeated.
CREATE FUNCTION pg_temp.read_on(portion int, OUT lines bigint, OUT "distinct" bigint, OUT ends text) LANGUAGE plpgsql AS $$
DECLARE c refcursor := 'c'; line text;
BEGIN
  WHILE portion > 0 LOOP
    FETCH c INTO line;
    EXIT WHEN NOT FOUND;
    INSERT INTO pg_temp.lines (line) VALUES (line);
    portion := portion - 1;
  END LOOP;
  SELECT count(*), count(DISTINCT l.line), left((array_agg(l.line ORDER BY n DESC))[1], 23) INTO lines, "distinct", ends FROM pg_temp.lines l;
END $$;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT immutable.export_events(tenant_id => 'held');
SELECT * FROM pg_temp.read_on(10);
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('held', 'a', 'later');
COMMIT;
SELECT * FROM pg_temp.read_on(400);
CLOSE c;
SELECT count(*) AS tied FROM lines a JOIN lines b ON b.n = a.n + 1 AND b.line::jsonb #>> '{document,previous_event_hash}' = a.line::jsonb ->> 'event_hash';
TRUNCATE lines RESTART IDENTITY;
-- Everything filtered out; and rows that FETCH has skipped do not come back.
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT line::jsonb #>> '{document,seq}' FROM (SELECT immutable.export_events(tenant_id => 'held', action => 'held.*', from_date => '-infinity') AS line) x;
FETCH 2 FROM c;
MOVE 200 IN c;
COMMIT;
FETCH 2 FROM c;
CLOSE c;
-- A cursor that scrolls, one that is not held, and one that is rolled back.
BEGIN;
DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT left(immutable.export_events(tenant_id => 'held'), 12);
FETCH 3 FROM c;
COMMIT;
FETCH BACKWARD 1 FROM c;
FETCH LAST FROM c;
CLOSE c;
BEGIN;
DECLARE c CURSOR FOR SELECT left(immutable.export_events(tenant_id => 'held'), 12);
FETCH 1 FROM c;
COMMIT;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT left(immutable.export_events(tenant_id => 'held'), 12);
FETCH 1 FROM c;
ROLLBACK;
SELECT count(*) AS left_open FROM pg_cursors;
-- First read inside a savepoint that is rolled back, which ends the inner query: the cursor keeps its position.
BEGIN;
DECLARE c CURSOR FOR SELECT left(line::jsonb #>> '{document,seq}', 12) FROM (SELECT immutable.export_events(tenant_id => 'held') AS line) x;
SAVEPOINT s;
FETCH 3 FROM c;
ROLLBACK TO s;
FETCH 2 FROM c;
SAVEPOINT s;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('held', 'a', 'later');
MOVE 150 IN c;
ROLLBACK TO s;
RELEASE s;
FETCH 2 FROM c;
COMMIT;
-- Loops that commit.
DO $$
DECLARE seq text; n int := 0; last text;
BEGIN
  FOR seq IN SELECT line::jsonb #>> '{document,seq}' FROM (SELECT immutable.export_events(tenant_id => 'held') AS line) x LOOP
    n := n + 1;
    IF n % 50 = 0 THEN COMMIT; END IF;
    IF n % 70 = 0 THEN
      BEGIN
        PERFORM 1 / (n - n);
      EXCEPTION WHEN division_by_zero THEN NULL;
      END;
    END IF;
    last := coalesce(seq, last);
  END LOOP;
  RAISE NOTICE '% lines, up to seq %', n, last;
END $$;

-- The other functions that return rows.
CREATE FUNCTION pg_temp.held(query text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c refcursor := 'c';
BEGIN
  EXECUTE format('DECLARE c CURSOR WITH HOLD FOR %s', query);
  MOVE c;
END $$;
BEGIN; SELECT pg_temp.held('SELECT action FROM immutable.find_events(tenant_id => ''held'', action => ''held.*'')'); COMMIT; FETCH 1 FROM c; CLOSE c;
BEGIN; SELECT pg_temp.held('SELECT (immutable.find_events(tenant_id => ''held'', action => ''held.*'', "limit" => 60)).action'); COMMIT; FETCH 1 FROM c; CLOSE c;
BEGIN; SELECT pg_temp.held('SELECT b.type FROM immutable.verify_breaks(tenant_id => ''held'') b UNION ALL SELECT unnest(ARRAY[''one'', ''two''])'); COMMIT; FETCH 1 FROM c; CLOSE c;
BEGIN; SELECT pg_temp.held('SELECT 8 UNION ALL SELECT h.lane FROM immutable.heads(''held'') h'); COMMIT; FETCH 1 FROM c; CLOSE c;
BEGIN; SELECT pg_temp.held('SELECT path, found FROM immutable.erase_subject(''held'', ''a'', ''r'', dry_run => true)'); COMMIT; FETCH 1 FROM c; CLOSE c;
BEGIN; SELECT pg_temp.held('SELECT (immutable.erase_subject(''held'', ''a'', ''r'', dry_run => true)).path'); COMMIT; FETCH 1 FROM c; CLOSE c;
