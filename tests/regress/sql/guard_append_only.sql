-- Nothing that is recorded can be changed or removed: not by a writer, the owner, or a superuser.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_append_only_all, regress_append_only_owner, regress_append_only_writer;
RESET client_min_messages;
-- Runs a statement that must be refused, and shows the error.
CREATE FUNCTION pg_temp.refused(statement text, with_detail boolean DEFAULT true) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  message text; detail text; hint text;
BEGIN
  BEGIN
    EXECUTE statement;
    RAISE EXCEPTION 'NOT REFUSED';
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT SQLSTATE || ': ' || message;
    IF with_detail AND detail <> '' THEN RETURN NEXT 'DETAIL: ' || detail; END IF;
    IF hint <> '' THEN RETURN NEXT 'HINT: ' || hint; END IF;
  END;
END
$$;

INSERT INTO immutable.events (id, tenant_id, actor_id, action, targets, metadata) VALUES
  ('00000000-0000-4000-8000-0000000000a1', 'append-only', 'a', 'one', '[{"type":"t","id":"1","name":"n","metadata":{"k":1}},{"type":"u"}]', '{"k":1}'),
  ('00000000-0000-4000-8000-0000000000a2', 'append-only', 'a', 'two', '[]', '{}');
SELECT md5(string_agg(e::text, '' ORDER BY seq)) AS before FROM immutable.events e WHERE tenant_id = 'append-only' \gset
SELECT md5(string_agg(t::text, '' ORDER BY position)) AS targets_before FROM immutable.event_targets t WHERE tenant_id = 'append-only' \gset
SELECT md5(l::text) AS log_before FROM immutable.log l \gset

-- UPDATE of every column of an event, as superuser and owner.
SELECT a.attname, r FROM pg_attribute a,
  LATERAL pg_temp.refused(format($$UPDATE immutable.events SET %I = %s WHERE tenant_id = 'append-only' AND seq = 2$$, a.attname,
    CASE a.attname WHEN 'id' THEN 'gen_random_uuid()' WHEN 'log_id' THEN 'gen_random_uuid()' WHEN 'lane' THEN '1' WHEN 'seq' THEN '3' WHEN 'version' THEN '1'
      WHEN 'ip_address' THEN $v$'::1'$v$ WHEN 'targets' THEN $v$'[{"type":"t"}]'$v$ WHEN 'metadata' THEN $v$'{"k":1}'$v$ WHEN 'erased' THEN $v$'{}'$v$
      WHEN 'occurred_at' THEN $v$occurred_at + interval '1 second'$v$ WHEN 'created_at' THEN $v$created_at + interval '1 microsecond'$v$
      WHEN 'previous_event_hash' THEN $v$sha256('')$v$ WHEN 'event_hash' THEN $v$sha256('')$v$ WHEN 'salt' THEN $v$substr(sha256(''), 1, 16)$v$ WHEN 'xact' THEN $v$'3'$v$
      ELSE quote_literal('changed') END)) r
WHERE a.attrelid = 'immutable.events'::regclass AND a.attnum > 0 AND NOT a.attisdropped AND r NOT LIKE 'HINT:%' ORDER BY a.attnum;
SELECT pg_temp.refused($$UPDATE immutable.events SET action = 'changed' WHERE tenant_id = 'append-only'$$);
-- An UPDATE that changes nothing is refused too.
SELECT pg_temp.refused($$UPDATE immutable.events SET action = action WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$UPDATE immutable.events SET actor_id = NULL WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$UPDATE immutable.events SET salt = NULL WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$UPDATE immutable.events SET targets = '[{"type":"u"},{"type":"t","id":"1","name":"n","metadata":{"k":1}}]' WHERE tenant_id = 'append-only' AND seq = 1$$);
-- DELETE, TRUNCATE.
SELECT pg_temp.refused($$DELETE FROM immutable.events WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$TRUNCATE immutable.events$$);
SELECT pg_temp.refused($$TRUNCATE immutable.events CASCADE$$);
SELECT pg_temp.refused($$TRUNCATE immutable.event_targets, immutable.events$$);
-- event_targets.
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET target_name = 'changed' WHERE tenant_id = 'append-only' AND position = 0$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET target_name = NULL WHERE tenant_id = 'append-only' AND position = 0$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET target_id = '2' WHERE tenant_id = 'append-only' AND position = 0$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET target_type = 'x' WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET target_metadata = '{"k":1.0}' WHERE tenant_id = 'append-only' AND position = 0$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET position = 7 WHERE tenant_id = 'append-only' AND position = 0$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET position = -1 WHERE tenant_id = 'append-only' AND position = 0$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET created_at = created_at + interval '1 microsecond' WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET event_id = '00000000-0000-4000-8000-0000000000a2' WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET event_id = gen_random_uuid() WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET tenant_id = 'append-only-2' WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$DELETE FROM immutable.event_targets WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$TRUNCATE immutable.event_targets$$);
-- Hand-written targets: of an event that has none at that place, of none, with something missing; and one that is there.
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets VALUES ('append-only', '00000000-0000-4000-8000-0000000000a2', 0, 't', NULL, NULL, NULL, now())$$);
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets VALUES ('append-only', '00000000-0000-4000-8000-0000000000a1', 2, 't', NULL, NULL, NULL, now())$$);
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets VALUES ('append-only', '00000000-0000-4000-8000-0000000000a1', -1, 't', NULL, NULL, NULL, now())$$);
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets VALUES ('append-only', gen_random_uuid(), 0, 't', NULL, NULL, NULL, now())$$);
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets DEFAULT VALUES$$);
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets (tenant_id, event_id, target_type) VALUES ('append-only', '00000000-0000-4000-8000-0000000000a1', 't')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets SELECT * FROM immutable.event_targets WHERE tenant_id = 'append-only' AND position = 0$$, false);
COPY immutable.event_targets (tenant_id, event_id, position, target_type, created_at) FROM STDIN;
append-only	00000000-0000-4000-8000-0000000000a2	0	t	2026-01-01 00:00:00+00
\.
-- The log's identity.
SELECT pg_temp.refused($$UPDATE immutable.log SET log_id = gen_random_uuid()$$);
SELECT pg_temp.refused($$DELETE FROM immutable.log$$);
SELECT pg_temp.refused($$TRUNCATE immutable.log$$);
SELECT pg_temp.refused($$INSERT INTO immutable.log VALUES (gen_random_uuid(), now(), true)$$);
SELECT pg_temp.refused($$INSERT INTO immutable.log VALUES (gen_random_uuid(), now(), false)$$);
-- Other ways to change or remove rows.
SELECT pg_temp.refused($$MERGE INTO immutable.events e USING (SELECT) s ON e.tenant_id = 'append-only' WHEN MATCHED THEN UPDATE SET action = 'changed'$$);
SELECT pg_temp.refused($$WITH d AS (DELETE FROM immutable.events WHERE tenant_id = 'append-only' RETURNING 1) SELECT count(*) FROM d$$);
CREATE VIEW regress_append_only_view AS SELECT * FROM immutable.events;
SELECT pg_temp.refused($$DELETE FROM regress_append_only_view WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$UPDATE regress_append_only_view SET actor_name = 'changed' WHERE tenant_id = 'append-only'$$);
DROP VIEW regress_append_only_view;
-- A function with the owner's rights is no exception.
CREATE FUNCTION regress_append_only_definer() RETURNS void SECURITY DEFINER LANGUAGE sql AS $$ DELETE FROM immutable.events WHERE tenant_id = 'append-only' $$;
SELECT pg_temp.refused($$SELECT regress_append_only_definer()$$);
DROP FUNCTION regress_append_only_definer;

-- A role that is neither superuser nor owner, with every right that can be granted.
CREATE ROLE regress_append_only_all LOGIN BYPASSRLS;
GRANT USAGE ON SCHEMA immutable TO regress_append_only_all;
GRANT ALL ON ALL TABLES IN SCHEMA immutable TO regress_append_only_all;
SET SESSION AUTHORIZATION regress_append_only_all;
SELECT pg_temp.refused($$UPDATE immutable.events SET action = 'changed' WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$DELETE FROM immutable.events WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$TRUNCATE immutable.events CASCADE$$);
SELECT pg_temp.refused($$DELETE FROM immutable.event_targets WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets VALUES ('append-only', '00000000-0000-4000-8000-0000000000a2', 0, 't', NULL, NULL, NULL, now())$$);
SELECT pg_temp.refused($$TRUNCATE immutable.log$$);
SELECT pg_temp.refused($$ALTER TABLE immutable.events DISABLE TRIGGER ALL$$);
SELECT pg_temp.refused($$SET session_replication_role = replica$$);
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_append_only_all;
DROP ROLE regress_append_only_all;

-- An owner that is not a superuser.
CREATE ROLE regress_append_only_owner LOGIN;
BEGIN;
ALTER EVENT TRIGGER immutable_ddl_end DISABLE;
GRANT USAGE ON SCHEMA immutable TO regress_append_only_owner;
ALTER TABLE immutable.events OWNER TO regress_append_only_owner;
ALTER TABLE immutable.event_targets OWNER TO regress_append_only_owner;
ALTER TABLE immutable.log OWNER TO regress_append_only_owner;
SET SESSION AUTHORIZATION regress_append_only_owner;
SELECT pg_temp.refused($$UPDATE immutable.events SET action = 'changed' WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$DELETE FROM immutable.events WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$TRUNCATE immutable.events, immutable.event_targets$$);
SELECT pg_temp.refused($$DELETE FROM immutable.event_targets WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET target_name = 'changed' WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets VALUES ('append-only', '00000000-0000-4000-8000-0000000000a2', 0, 't', NULL, NULL, NULL, now())$$);
SELECT pg_temp.refused($$DELETE FROM immutable.log$$);
RESET SESSION AUTHORIZATION;
ROLLBACK;
DROP OWNED BY regress_append_only_owner;
DROP ROLE regress_append_only_owner;

-- A writer has no right to try.
CREATE ROLE regress_append_only_writer LOGIN;
GRANT immutable_writer TO regress_append_only_writer;
SET SESSION AUTHORIZATION regress_append_only_writer;
SELECT pg_temp.refused($$UPDATE immutable.events SET action = 'changed' WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$DELETE FROM immutable.events WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$TRUNCATE immutable.events$$);
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET target_name = 'changed' WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$DELETE FROM immutable.event_targets WHERE tenant_id = 'append-only'$$);
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets VALUES ('append-only', '00000000-0000-4000-8000-0000000000a2', 0, 't', NULL, NULL, NULL, now())$$);
SELECT pg_temp.refused($$TRUNCATE immutable.event_targets$$);
SELECT pg_temp.refused($$UPDATE immutable.log SET singleton = true$$);
-- Not even what it inserted itself, in the same transaction.
BEGIN;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('append-only-own', 'a', 'b');
SELECT pg_temp.refused($$DELETE FROM immutable.events WHERE tenant_id = 'append-only-own'$$);
ROLLBACK;
RESET SESSION AUTHORIZATION;
BEGIN;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('append-only-own', 'a', 'b', '[{"type":"t"}]');
SELECT pg_temp.refused($$DELETE FROM immutable.events WHERE tenant_id = 'append-only-own'$$);
SELECT pg_temp.refused($$UPDATE immutable.events SET action = 'changed' WHERE tenant_id = 'append-only-own'$$);
SELECT pg_temp.refused($$DELETE FROM immutable.event_targets WHERE tenant_id = 'append-only-own'$$);
ROLLBACK;
DROP OWNED BY regress_append_only_writer;
DROP ROLE regress_append_only_writer;

-- With triggers off a row cannot slip in without its place in a chain, or in another form. (In a transaction that is rolled back.)
BEGIN;
SET LOCAL session_replication_role = replica;
CREATE TEMPORARY TABLE good AS SELECT * FROM immutable.events WHERE tenant_id = 'append-only';
UPDATE good SET id = gen_random_uuid(), tenant_id = 'append-only-forged';
CREATE FUNCTION pg_temp.forged(which int, change text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TEMPORARY TABLE forged AS SELECT * FROM good WHERE seq = %s', which);
  EXECUTE format('UPDATE forged SET %s', change);
  RETURN QUERY SELECT pg_temp.refused('INSERT INTO immutable.events SELECT * FROM forged', false);
  DROP TABLE forged;
END
$$;
SELECT c, pg_temp.forged(2, c || ' = NULL') FROM unnest(ARRAY['id', 'tenant_id', 'actor_id', 'action', 'targets', 'metadata', 'occurred_at', 'created_at',
  'lane', 'seq', 'previous_event_hash', 'event_hash', 'salt', 'recorded_by', 'xact']) c;
SELECT c, pg_temp.forged(2, c) FROM unnest(ARRAY['event_hash = ''''', 'event_hash = event_hash || ''\x00''', 'previous_event_hash = ''\x00''', 'salt = ''''', 'salt = salt || ''\x00''',
  'lane = -1', 'seq = 0', 'seq = -1', 'seq = 1', 'erased = ''{}''', 'log_id = gen_random_uuid()', 'targets = ''{}''', 'targets = ''"t"''', 'metadata = ''[]''', 'metadata = ''null''']) c;
SELECT c, pg_temp.forged(1, c) FROM unnest(ARRAY['log_id = NULL', 'previous_event_hash = event_hash', 'seq = 2']) c;
-- The same place cannot be taken twice, an event not be there twice.
SELECT pg_temp.refused($$INSERT INTO immutable.events SELECT * FROM immutable.events WHERE tenant_id = 'append-only' AND seq = 1$$, false);
SELECT pg_temp.refused($$INSERT INTO immutable.events SELECT (jsonb_populate_record(e, '{"id":"00000000-0000-4000-8000-0000000000a3"}')).* FROM immutable.events e WHERE tenant_id = 'append-only' AND seq = 1$$, false);
ROLLBACK;

-- A statement that finds no row raises no error and changes nothing.
UPDATE immutable.events SET action = 'x' WHERE tenant_id = 'append-only' AND false;
DELETE FROM immutable.events WHERE tenant_id = 'append-only' AND false;

-- Nothing has changed.
SELECT md5(string_agg(e::text, '' ORDER BY seq)) = :'before' AS events FROM immutable.events e WHERE tenant_id = 'append-only';
SELECT md5(string_agg(t::text, '' ORDER BY position)) = :'targets_before' AS targets FROM immutable.event_targets t WHERE tenant_id = 'append-only';
SELECT md5(l::text) = :'log_before' AS log FROM immutable.log l;
SELECT valid, events_checked FROM immutable.verify_chain('append-only');
