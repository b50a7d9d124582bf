-- immutable.erase_subject(): what is the person's, what is somebody else's, and what an officer is shown to decide.
\pset format unaligned
\pset footer off
\pset null '(null)'
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
CREATE ROLE regress_person_officer LOGIN;
GRANT immutable_eraser TO regress_person_officer;
SELECT current_user AS owner \gset

-- Each as a key of the metadata, and its name says whether it is about sarah@example.com.
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('person words', 'u1', 'a', jsonb_build_object(
  'yes 1', 'sarah@example.com', 'yes 2', 'Mail sarah@example.com.', 'yes 3', 'mailto:sarah@example.com?subject=x', 'yes 4', 'Sarah <sarah@example.com>',
  'yes 5', 'bob@example.com,sarah@example.com;eve@example.com', 'yes 6', 'https://x.example/u/sarah@example.com/edit', 'yes 7', '{"to":"sarah@example.com"}',
  'yes 8', jsonb_build_object('to', jsonb_build_array('x', 'sarah@example.com:')), 'yes 9', jsonb_build_object('sarah@example.com', 1),
  'no 01', 'sarah@example.com.au', 'no 02', 'x.sarah@example.com', 'no 03', 'sarah@example.com+news', 'no 04', 'sarah@example.com@evil.example', 'no 05', 'big-sarah@example.com',
  'no 06', 'Sarah@Example.com', 'no 07', 'sarah%40example.com', 'no 08', 'sarah&#64;example.com', 'no 09', '{"to":"sarah\u0040example.com"}', 'no 10', E'sa\u00e1rah@example.com',
  'no 11', E'sa\u0301rah@example.com', 'no 12', E'sarah\uFF20example.com', 'no 13', 'sarah@example.comx', 'no 14', 'sarah@example.com%20', 'no 15', 42));
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES
  ('person words', 'u1', 'a', jsonb_build_object('ip', '10.0.0.42', 'version', '1.42.0', 'float', '42.5', 'yes', 'user 42, once', 'number', 42, 'list', '41,42', 'org', 'org-42', 'colon', '7:42')),
  ('person words', 'u1', 'a', jsonb_build_object('nfd', E'Jose\u0301', 'nfc', E'Jos\u00e9', 'yes', 'by Jose', 'joiner', E'Jose\u200dx'));
SET SESSION AUTHORIZATION regress_person_officer;
SELECT path, found FROM immutable.erase_subject('person words', 'sarah@example.com', 'request', dry_run => true);
SELECT path, found FROM immutable.erase_subject('person words', '42', 'request', dry_run => true);
SELECT path, found FROM immutable.erase_subject('person words', 'Jose', 'request', dry_run => true);
SELECT path, found FROM immutable.erase_subject('person words', E'Jose\u0301', 'request', dry_run => true);
SELECT path, found FROM immutable.erase_subject('person words', 'sarah@example.com', 'request');
RESET SESSION AUTHORIZATION;
SELECT string_agg(key, ', ' ORDER BY key) AS left FROM immutable.events, jsonb_object_keys(metadata) key WHERE tenant_id = 'person words' AND seq = 1;

-- Every column that can be erased, in somebody else's events.
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'person columns', 'u2', 'a' FROM generate_series(1, 3);
INSERT INTO immutable.events (tenant_id, actor_id, action, actor_name, resource_id, resource_name, session_id, user_agent, ip_city, ip_country, idempotency_key, ip_address, targets)
VALUES ('person columns', 'u2', 'a', 'sarah@example.com', 'sarah@example.com', 'sarah@example.com', 'sarah@example.com', 'sarah@example.com', 'sarah@example.com', 'sarah@example.com', 'sarah@example.com', '203.0.113.7', '[{"type":"t","id":"x","name":"sarah@example.com"}]'),
       ('person columns', 'u2', 'a', 'Sarah (sarah@example.com)', 'mailbox/sarah@example.com', 'of sarah@example.com', 's:sarah@example.com', 'app (+mailto:sarah@example.com)', 'at sarah@example.com', NULL, 'invite sarah@example.com', '203.0.113.7/24', '[{"type":"t","id":"mailbox/sarah@example.com"},{"type":"u","metadata":{"mail":["sarah@example.com"]}}]'),
       ('person columns', 'u2', 'a', 'SARAH@EXAMPLE.COM', ' sarah@example.com', 'Sarah%40example.com', 'x.sarah@example.com', 'sarah@example.com.au', NULL, NULL, 'Sarah@example.com', NULL, '[{"type":"t","id":"Sarah@Example.com"}]'),
       ('person columns', 'SARAH@example.com', 'a', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[]'),
       ('person columns', 'xsarah@example.com', 'a', 'sarah@example.comx', 'sarah@example.org', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[]');
SET SESSION AUTHORIZATION regress_person_officer;
SELECT path, found, count(*) FROM immutable.erase_subject('person columns', 'sarah@example.com', 'request', dry_run => true) GROUP BY 1, 2 ORDER BY 1, 2;
-- Several ids of one person, and several spellings, in one call and one record. The argument is given by name and by position.
SELECT path, found, count(*) FROM immutable.erase_subject('person columns', ARRAY['sarah@example.com', 'SARAH@example.com', ' sarah@example.com', '203.0.113.7'], 'request', dry_run => true) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*), count(DISTINCT event_id) AS events FROM immutable.erase_subject(tenant_id => 'person columns', subject => '{sarah@example.com,SARAH@example.com," sarah@example.com",203.0.113.7}', reason => 'request');
SELECT path, found FROM immutable.erase_subject('person columns', '{sarah@example.com}'::text[], 'request', dry_run => true);
RESET SESSION AUTHORIZATION;
SELECT count(*) AS records, min(jsonb_array_length(targets)) AS events, min(metadata::text) AS metadata FROM immutable.events WHERE tenant_id = 'person columns' AND action = 'immutable.event_erased';
SELECT string_agg(t ->> 'id', ', ' ORDER BY t ->> 'id' COLLATE "C") AS targets, (SELECT string_agg(concat_ws(', ', actor_id, actor_name, resource_id, session_id), ', ' ORDER BY seq) FROM immutable.events WHERE tenant_id = 'person columns' AND concat_ws(', ', actor_id, actor_name, resource_id, session_id) ILIKE '%sarah%') AS columns FROM immutable.events, jsonb_array_elements(targets) t WHERE tenant_id = 'person columns' AND t ->> 'id' ILIKE '%sarah%';
SELECT valid, breaks FROM immutable.verify_chain('person columns');

-- What is refused.
CREATE FUNCTION pg_temp.refused(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE hint text;
BEGIN
  EXECUTE call;
  RETURN 'done';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
  RETURN format(E'%s: %s\n  %s', SQLSTATE, SQLERRM, hint);
END $$;
SET SESSION AUTHORIZATION regress_person_officer;
SELECT a, pg_temp.refused(format('SELECT * FROM immutable.erase_subject(%L, %s)', 'person columns', a)) FROM unnest(ARRAY[
  $$'{}'::text[], 'r'$$, $$NULL::text[], 'r'$$, $$'{u1,NULL}'::text[], 'r'$$, $$'{u1,""}'::text[], 'r'$$, $$'{u1," "}'::text[], 'r'$$, $$' ', 'r'$$,
  $$'{u1,sarah@example.com}'::text[], 'asked by sarah@example.com'$$, $$'sarah@example.com', 'asked by Sarah@example.com'$$, $$'sarah@example.com', 'see sarah@example.com.au'$$]) a;
RESET SESSION AUTHORIZATION;
CREATE ROLE regress_person_nobody;
SET SESSION AUTHORIZATION regress_person_nobody;
SELECT pg_temp.refused('SELECT * FROM immutable.erase_subject(''x'', ''{u1}''::text[], ''r'')');
RESET SESSION AUTHORIZATION;

-- The record says whose events they were, so it shows an eraser that hides its own actions.
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('person own', 'regress_person_officer', 'secret.read'), ('person own', 'regress_person_officer', 'secret.read'), ('person own', 'u1', 'a');
SET SESSION AUTHORIZATION regress_person_officer;
SELECT count(*) FROM immutable.erase_subject('person own', 'regress_person_officer', 'r');
SELECT count(*) FROM immutable.erase_subject('person own', 'u1', 'r');
RESET SESSION AUTHORIZATION;
SELECT metadata FROM immutable.events WHERE tenant_id = 'person own' AND action = 'immutable.event_erased' ORDER BY seq;
-- And by the login that recorded them.
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('person own', 'u2', 'a'), ('person own', 'u2', 'a');
SELECT count(*) FROM immutable.erase_subject('person own', 'u2', 'r2');
SELECT metadata FROM immutable.events WHERE tenant_id = 'person own' AND action = 'immutable.event_erased' AND metadata ->> 'reason' = 'r2';
SELECT valid, breaks FROM immutable.verify_chain('person own');

-- The one change that a row takes: an UPDATE may name paths, and the table erases them itself. It allows nothing that an ordinary erasure does not.
INSERT INTO immutable.events (id, tenant_id, actor_id, action, metadata, targets) VALUES ('00000000-0000-4000-8000-00000000ee01', 'person asked', 'u1', 'a', '{"a":1,"b":2}', '[{"type":"t","id":"x"},{"type":"u","id":"y"}]');
CREATE FUNCTION pg_temp.tried(changes text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('UPDATE immutable.events SET %s WHERE tenant_id = ''person asked'' AND seq = 1', changes);
  RAISE EXCEPTION 'done';
EXCEPTION WHEN OTHERS THEN
  RETURN format('%s: %s', SQLSTATE, SQLERRM);
END $$;
SELECT c, pg_temp.tried(c) FROM unnest(ARRAY[
  $$erased = '["actor_id","metadata.a","targets.1"]'$$, $$erased = '[]'$$, $$erased = '["nothing"]'$$, $$erased = '["metadata.c"]'$$, $$erased = '["actor_id",1]'$$, $$erased = '[["actor_id"]]'$$,
  $$erased = '["actor_id","actor_id"]'$$, $$erased = '["actor_id"]', action = 'b'$$, $$erased = '["actor_id"]', metadata = '{}'$$, $$erased = '["metadata.a"]', metadata = '{}'$$, $$erased = '["actor_id"]', actor_name = 'x'$$,
  $$erased = '"actor_id"'$$, $$erased = '["targets.1"]', event_hash = sha256('x')$$, $$erased = '["targets.7"]'$$, $$erased = '["action"]'$$]) c;
SELECT count(erased) AS erased FROM immutable.events WHERE tenant_id = 'person asked';

-- So the erasing statement contains neither values nor salts, which a log of statements and parameters would keep. A trigger shows what the statement sets.
CREATE TEMPORARY TABLE seen (changed text);
CREATE FUNCTION pg_temp.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO pg_temp.seen SELECT key || ' = ' || coalesce(value::text, 'null') FROM jsonb_each(to_jsonb(NEW)) WHERE value IS DISTINCT FROM to_jsonb(OLD) -> key;
  RETURN NEW;
END $$;
BEGIN;
CREATE TRIGGER a_look BEFORE UPDATE ON immutable.events FOR EACH ROW EXECUTE FUNCTION pg_temp.look();
SELECT path FROM immutable.erase('00000000-0000-4000-8000-00000000ee01', 'person asked', '{metadata.a,targets.1}', 'r');
SELECT path, found FROM immutable.erase_subject('person asked', 'u1', 'r');
SELECT * FROM seen;
SELECT metadata, targets, erased -> 'salts' AS salts, salt FROM immutable.events WHERE tenant_id = 'person asked' AND seq = 1;
SELECT valid, breaks FROM immutable.verify_chain('person asked');
ROLLBACK;

DROP OWNED BY regress_person_officer, regress_person_nobody;
DROP ROLE regress_person_officer, regress_person_nobody;
