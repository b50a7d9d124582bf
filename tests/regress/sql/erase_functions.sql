-- The functions that erase, called by the role that may. (What an erasure is: guard_erasure.sql.)
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_erase_officer, regress_erase_gateway, regress_erase_writer, regress_erase_auditor, regress_erase_nobody;
RESET client_min_messages;
CREATE ROLE regress_erase_officer LOGIN;
CREATE ROLE regress_erase_gateway LOGIN;
CREATE ROLE regress_erase_writer LOGIN;
CREATE ROLE regress_erase_auditor LOGIN;
CREATE ROLE regress_erase_nobody LOGIN;
GRANT immutable_eraser TO regress_erase_officer;
GRANT regress_erase_officer TO regress_erase_gateway;
GRANT immutable_writer TO regress_erase_writer;
GRANT immutable_auditor TO regress_erase_auditor;
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
-- An event as its values, and the records of a tenant without what differs from run to run.
CREATE FUNCTION pg_temp.shown(n int) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_strip_nulls(to_jsonb(e) - '{id,tenant_id,action,occurred_at,created_at,lane,seq,previous_event_hash,event_hash,salt,recorded_by,log_id,xact,erased}'::text[])
    || jsonb_build_object('hashes', sha256(convert_to(immutable.canonical(e), 'UTF8')) = event_hash, 'salt', salt IS NOT NULL,
                          'salts', (SELECT array_agg(k ORDER BY k COLLATE "C") FROM jsonb_object_keys(erased -> 'salts') k))
  FROM immutable.events e WHERE id = ('00000000-0000-4000-8000-0000000e0' || n)::uuid
$$;
CREATE FUNCTION pg_temp.records(of_tenant text) RETURNS TABLE (seq bigint, record jsonb, targets bigint, commitments bigint) LANGUAGE sql AS $$
  SELECT seq, jsonb_strip_nulls(to_jsonb(e) - '{id,tenant_id,occurred_at,created_at,lane,seq,previous_event_hash,event_hash,salt,log_id,xact,targets}'::text[]), jsonb_array_length(targets),
    (SELECT sum(jsonb_array_length(t -> 'metadata' -> 'commitments')) FROM jsonb_array_elements(targets) t)
  FROM immutable.events e WHERE tenant_id = of_tenant AND action = 'immutable.event_erased' ORDER BY seq
$$;

INSERT INTO immutable.events (id, tenant_id, actor_id, actor_name, actor_type, action, resource_type, resource_id, resource_name, targets, metadata, session_id, idempotency_key, ip_address, ip_country, ip_city, user_agent, version) VALUES
('00000000-0000-4000-8000-0000000e0101', 'erase', 'user_1', 'Sarah Chén', 'user', 'document.shared', 'document', 'doc_1', 'Q4 report',
  '[{"type":"person","id":"p1","name":"Ann","metadata":{"email":"ann@example.com"}},{"type":"person","id":"p2"},{"type":"team","name":"Ops"}]',
  '{"email":"x@example.com","n":1.10,"null":null,"":"empty","a.b":true}', 'sess_1', 'key_1', '203.0.113.7', 'NP', 'Kathmandu', 'curl', 1);

-- Only the eraser may erase, and it may do nothing else.
CREATE FUNCTION pg_temp.may() RETURNS TABLE (who name, refused text) LANGUAGE sql AS $$
  SELECT session_user, pg_temp.refused(s) FROM unnest(ARRAY[$x$SELECT * FROM immutable.erase('00000000-0000-4000-8000-0000000e0101', 'erase', '{actor_name}', 'r')$x$,
    $x$SELECT * FROM immutable.erase_subject('erase', 'user_1', 'r')$x$, $x$SELECT * FROM immutable.erase_subject('erase', 'user_1', 'r', dry_run => true)$x$]) s
$$;
SET SESSION AUTHORIZATION regress_erase_writer;
SELECT * FROM pg_temp.may();
SET SESSION AUTHORIZATION regress_erase_auditor;
SELECT * FROM pg_temp.may();
SET SESSION AUTHORIZATION regress_erase_nobody;
SELECT * FROM pg_temp.may();
SET SESSION AUTHORIZATION regress_erase_officer;
SELECT s, pg_temp.refused(s) FROM unnest(ARRAY['SELECT FROM immutable.events', 'SELECT FROM immutable.event_targets', 'SELECT FROM immutable.log', 'INSERT INTO immutable.events (actor_id, action) VALUES (''a'', ''b'')', 'UPDATE immutable.events SET actor_name = NULL',
  'UPDATE immutable.event_targets SET target_id = NULL', 'DELETE FROM immutable.events', 'SELECT immutable.track(actor_id => ''a'', action => ''b'')', 'SELECT immutable.get_events()', 'SELECT FROM immutable.find_events()', 'SELECT immutable.get_event(gen_random_uuid())',
  'SELECT FROM immutable.verify_chain()', 'SELECT FROM immutable.heads()', 'SELECT immutable.canonical(ROW(1))', 'SET immutable.max_chains_per_transaction = 2000']) s;

-- What it refuses.
CREATE FUNCTION pg_temp.erase_refused(paths text, n text DEFAULT '101') RETURNS SETOF text LANGUAGE sql AS $$
  SELECT pg_temp.refused(format('SELECT * FROM immutable.erase(%L, ''erase'', %s, ''ticket'')', '00000000-0000-4000-8000-0000000e0' || n, paths))
$$;
SELECT p, pg_temp.erase_refused(p) FROM unnest(ARRAY['NULL', '''{}''', '''{actor_name,NULL}''', '''{actor}''', '''{ACTOR_ID}''', '''{""}''', '''{metadata}''', '''{targets}''', '''{targets.}''', '''{targets.00}''', '''{targets.+1}''', '''{targets.-1}''', '''{targets.3}''',
  '''{targets.99999999999999999999}''', '''{targets.0.name}''', '''{metadata.nothing}''', '''{metadata.Email}''', '''{actor_name,metadata.a}''']) p;
-- Paths that can never be erased, and columns that the chain needs.
SELECT c, (SELECT r FROM pg_temp.erase_refused(quote_literal(ARRAY[c])) r LIMIT 1) FROM unnest(ARRAY['id', 'tenant_id', 'action', 'action_category', 'actor_type', 'resource_type', 'version', 'occurred_at', 'created_at', 'lane', 'seq', 'previous_event_hash', 'event_hash', 'salt', 'erased', 'recorded_by', 'log_id', 'xact']) c;
SELECT (SELECT r FROM pg_temp.erase_refused(quote_literal(ARRAY[repeat('x', 1000)])) r LIMIT 1) AS "only the beginning is shown";
SELECT pg_temp.erase_refused('''{actor_name}''', '199');
SELECT pg_temp.refused($$SELECT * FROM immutable.erase('00000000-0000-4000-8000-0000000e0101', $$ || t || $$, '{actor_name}', 'r')$$) FROM unnest(ARRAY['NULL', '''''', '''other''']) t;
SELECT pg_temp.refused($$SELECT * FROM immutable.erase(NULL, 'erase', '{actor_name}', 'r')$$);
SELECT r, pg_temp.refused(format($$SELECT * FROM immutable.erase('00000000-0000-4000-8000-0000000e0101', 'erase', '{actor_name}', %s)$$, r)) FROM unnest(ARRAY['NULL', '''''', ''' ''', 'E''\t\n''', 'repeat(''é'', 2049)']) r;
SELECT a, pg_temp.refused(format($$SELECT * FROM immutable.erase_subject('erase', %s)$$, a)) FROM unnest(ARRAY['NULL, ''r''', ''''', ''r''', '''user_1'', NULL', '''user_1'', ''''', '''user_1'', repeat(''x'', 4097)', '''user_1'', ''for user_1''', '''user_1'', ''r'', ''{a,NULL}''',
  '''user_1'', ''r'', actor_paths => ''{NULL}''', '''user_1'', ''r'', actor_paths => ''{actor_name,name}''', '''user_1'', ''r'', actor_paths => ''{targets.x}''', '''user_1'', ''r'', dry_run => NULL']) a;
RESET SESSION AUTHORIZATION;
-- None of that has changed anything.
SELECT count(*) AS events, count(erased) AS erased FROM immutable.events WHERE tenant_id = 'erase';

-- All kinds of paths, one after the other, by the gateway in the officer's name. The session's context is not the record's.
SET SESSION AUTHORIZATION regress_erase_gateway;
SET ROLE regress_erase_officer;
SET immutable.tenant_id = 'other'; SET immutable.actor_id = 'leaked'; SET immutable.actor_name = 'leaked'; SET immutable.actor_type = 'leaked';
SET immutable.session_id = 'leaked'; SET immutable.ip_address = '198.51.100.1'; SET immutable.user_agent = 'leaked';
SELECT path FROM immutable.erase('00000000-0000-4000-8000-0000000e0101', 'erase', '{targets.0,metadata.a.b,actor_name,actor_name}', 'ticket 1');
-- A path is named again, alone or before another: only the new one is erased. A path without a value is skipped, as a key may be among those already erased.
SELECT path FROM immutable.erase('00000000-0000-4000-8000-0000000e0101', 'erase', '{targets.0,metadata.a.b,actor_name}', 'ticket 2');
SELECT path FROM immutable.erase('00000000-0000-4000-8000-0000000e0101', 'erase', '{metadata.never,metadata.,metadata.null,targets.0,targets.2,ip_address,actor_name,actor_id}', 'ticket 3');
SELECT path FROM immutable.erase('00000000-0000-4000-8000-0000000e0101', 'erase', '{idempotency_key,user_agent,ip_city,ip_country,session_id,resource_name,resource_id,metadata.n,metadata.email,targets.1}', E'"quoted" \\ and\nlong: ' || repeat('é', 2030));
SELECT path FROM immutable.erase('00000000-0000-4000-8000-0000000e0101', 'erase', '{idempotency_key,targets.1,metadata.n}', 'ticket 5');
RESET immutable.tenant_id; RESET immutable.actor_id; RESET immutable.actor_name; RESET immutable.actor_type; RESET immutable.session_id; RESET immutable.ip_address; RESET immutable.user_agent;
RESET SESSION AUTHORIZATION;
SELECT pg_temp.shown(101);
SELECT position, target_type, target_id, target_name, target_metadata FROM immutable.event_targets WHERE event_id = '00000000-0000-4000-8000-0000000e0101' ORDER BY position;
SELECT seq, record #- '{metadata,reason}' AS record, left(record #>> '{metadata,reason}', 30) AS reason, targets, commitments FROM pg_temp.records('erase');
-- Every commitment of the event is in one of them, once.
SELECT count(*), count(DISTINCT c), bool_and(t ->> 'id' = '00000000-0000-4000-8000-0000000e0101' AND t ->> 'type' = 'immutable.event') AS of_the_event
FROM immutable.events, jsonb_array_elements(targets) t, jsonb_array_elements(t -> 'metadata' -> 'commitments') c WHERE tenant_id = 'erase' AND action = 'immutable.event_erased';
SELECT valid, events_checked, events_erased, breaks FROM immutable.verify_chain('erase');

-- A reason can be erased, and nothing else of a record. That erasure is recorded too.
SELECT id AS record FROM immutable.events WHERE tenant_id = 'erase' AND action = 'immutable.event_erased' AND metadata ->> 'reason' = 'ticket 1' \gset
SET SESSION AUTHORIZATION regress_erase_officer;
SELECT p, pg_temp.refused(format('SELECT * FROM immutable.erase(%L, ''erase'', %L, ''r'')', :'record', p)) FROM unnest(ARRAY['{actor_id}', '{actor_name}', '{targets.0}', '{targets.7}', '{metadata.other}', '{metadata.reason,actor_id}']) p;
SELECT path FROM immutable.erase(:'record', 'erase', '{metadata.reason}', 'it named somebody');
SELECT path FROM immutable.erase(:'record', 'erase', '{metadata.reason}', 'again');
RESET SESSION AUTHORIZATION;
SELECT seq, record #- '{erased}' #- '{metadata,reason}' AS record, targets, commitments FROM pg_temp.records('erase') WHERE seq IN (2, 5);
SELECT valid, events_checked, events_erased, breaks FROM immutable.verify_chain('erase');

-- A person. Which events, and what of them:
INSERT INTO immutable.events (id, tenant_id, actor_id, actor_name, action, resource_id, resource_name, targets, metadata, user_agent)
SELECT ('00000000-0000-4000-8000-0000000e0' || n)::uuid, 'erase person', a, 'Name of ' || a, 'a', r, 'Name of ' || r, t::jsonb, m::jsonb, 'curl'
FROM (VALUES (201, 'u1', NULL, '[{"type":"x","id":"x1"},{"type":"y"}]', '{"size":1,"assignee_name":"Ann"}'),
             (202, 'u2', 'u1', '[]', '{"size":1,"assignee_name":"Ann","note":"u12"}'),
             (203, 'u2', 'r', '[{"type":"user","id":"u1","name":"Ann"},{"type":"team","id":"u12","name":"u1"},{"type":"owner","id":"u1"}]', '{}'),
             (204, 'u2', 'r', '[]', '{"assignee_id":"u1","assignee_name":"Ann"}'),
             (205, 'u2', 'r', '[]', '{"list":["a","b u1, c"],"nested":{"a":[{"u1":true}]},"u1":1,"mail":"u1@example.com","no":"u1-a u12 xu1 u1_"}'),
             (206, 'u12', 'r', '[]', '{"assignee_name":"Ann","number":1}'),
             (207, 'u1', 'u1', '[{"type":"user","id":"u1"}]', '{}')) x(n, a, r, t, m);
INSERT INTO immutable.events (id, tenant_id, actor_id, action) VALUES ('00000000-0000-4000-8000-0000000e0208', 'another tenant', 'u1', 'a'), ('00000000-0000-4000-8000-0000000e0209', NULL, 'u1', 'a');
CREATE TEMPORARY TABLE preview (n int, event_id uuid, path text, found text);
GRANT ALL ON preview TO regress_erase_officer;
SET SESSION AUTHORIZATION regress_erase_officer;
INSERT INTO preview SELECT row_number() OVER (), * FROM immutable.erase_subject('erase person', 'u1', 'request', '{assignee_name,none}', dry_run => true);
SELECT right(event_id::text, 3) AS event, found, array_agg(path ORDER BY n) AS paths FROM preview GROUP BY event_id, found ORDER BY 1, min(n);
SELECT right(event_id::text, 3) AS event, array_agg(path ORDER BY path COLLATE "C") AS paths FROM immutable.erase_subject('erase person', 'u1', 'request', '{}', '{actor_id,actor_name,ip_address,metadata.size,targets.1}', dry_run => true) GROUP BY event_id ORDER BY 1;
SELECT right(event_id::text, 3) AS event, array_agg(path ORDER BY path COLLATE "C") AS paths FROM immutable.erase_subject('erase person', 'u1', 'request', NULL, '{}', dry_run => true) GROUP BY event_id ORDER BY 1;
RESET SESSION AUTHORIZATION;
-- A dry run changes nothing, records nothing and locks nothing.
SELECT count(*) AS events, count(erased) AS erased FROM immutable.events WHERE tenant_id = 'erase person';
BEGIN;
SELECT count(*) FROM immutable.erase_subject('erase person', 'u1', 'request', dry_run => true);
SELECT count(*) AS locks FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object' AND classid = 'immutable.events'::regclass;
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_transaction_id;
ROLLBACK;
-- All or nothing.
BEGIN;
SELECT count(*) FROM immutable.erase_subject('erase person', 'u1', 'request');
SELECT objsubid AS lane FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object' AND classid = 'immutable.events'::regclass;
ROLLBACK;
SELECT count(*) AS events, count(erased) AS erased FROM immutable.events WHERE tenant_id = 'erase person';
-- The erasure itself does what the dry run said, in the same order; a second call finds nothing.
CREATE TEMPORARY TABLE done (n int, event_id uuid, path text, found text);
GRANT ALL ON done TO regress_erase_officer;
SET SESSION AUTHORIZATION regress_erase_officer;
INSERT INTO done SELECT row_number() OVER (), * FROM immutable.erase_subject('erase person', 'u1', 'request', '{assignee_name,none}');
SELECT count(*) AS paths, (SELECT count(*) FROM (SELECT * FROM preview WHERE found <> 'variant' EXCEPT TABLE done) x) AS missing, (SELECT count(*) FROM (TABLE done EXCEPT TABLE preview) x) AS more FROM done;
SELECT * FROM immutable.erase_subject('erase person', 'u1', 'request', '{assignee_name,none}');
SELECT * FROM immutable.erase_subject('erase person', 'u1', 'request', '{assignee_name,none}', dry_run => true);
SELECT * FROM immutable.erase_subject('erase person', 'nobody', 'request');
RESET SESSION AUTHORIZATION;
SELECT n, pg_temp.shown(n) FROM generate_series(201, 209) n;
SELECT right(event_id::text, 3) AS event, position, target_type, target_id, target_name FROM immutable.event_targets WHERE tenant_id = 'erase person' AND target_type <> 'immutable.event' ORDER BY 1, 2;
SELECT * FROM pg_temp.records('erase person');
SELECT tenant, valid, events_checked, events_erased, breaks FROM unnest(ARRAY['erase person', 'another tenant']) tenant, immutable.verify_chain(tenant);
-- NULL means the events without a tenant, not the events of all tenants.
SET SESSION AUTHORIZATION regress_erase_officer;
SELECT right(event_id::text, 3) AS event, path FROM immutable.erase_subject(NULL, 'u1', 'request');
SELECT right(event_id::text, 3) AS event, path FROM immutable.erase_subject('', 'u1', 'request', dry_run => true);
SELECT path FROM immutable.erase('00000000-0000-4000-8000-0000000e0209', '', '{actor_id}', 'r');
RESET SESSION AUTHORIZATION;
-- Ids that are no plain words: found where JSON escapes them, and not as a pattern.
INSERT INTO immutable.events (id, tenant_id, actor_id, action, targets, metadata)
SELECT ('00000000-0000-4000-8000-0000000e03' || n || '0')::uuid, 'erase odd', 'a', 'a', jsonb_build_array(jsonb_build_object('type', 'x', 'id', s)), jsonb_build_object('is', s, 'list', jsonb_build_array(1, jsonb_build_object(s, 1)), 'not', s || 'x', 'like', 'zzz')
FROM (VALUES (1, E'quo"te\\back'), (2, E'new\nline\ttab\u007f\u0001x'), (3, 'per%cent_'), (4, 'Ünïcode'), (5, E'\U0001F600 smile')) x(n, s);
SET SESSION AUTHORIZATION regress_erase_officer;
SELECT to_json(s) AS id, right(event_id::text, 3) AS event, array_agg(path ORDER BY path COLLATE "C") AS paths FROM unnest(ARRAY[E'quo"te\\back', E'new\nline\ttab\u007f\u0001x', 'per%cent_', 'Ünïcode', E'\U0001F600 smile', '%', 'zz', 'z_z']) s, immutable.erase_subject('erase odd', s, 'request') GROUP BY s, event_id ORDER BY event;
RESET SESSION AUTHORIZATION;
SELECT valid, events_checked, events_erased, breaks FROM immutable.verify_chain('erase odd');

-- Of the log's own events a person's erasure takes the reason, where it names the person.
SET SESSION AUTHORIZATION regress_erase_officer;
INSERT INTO preview SELECT 0, * FROM immutable.erase('00000000-0000-4000-8000-0000000e0206', 'erase person', '{actor_name}', 'asked for by u77');
SELECT path FROM immutable.erase_subject('erase person', 'u77', 'request', '{assignee_name}');
-- Being the officer of an erasure does not count: the name of the officer and the reason stay.
SELECT path FROM immutable.erase_subject('erase person', 'regress_erase_officer', 'leaver', '{reason}');
RESET SESSION AUTHORIZATION;
SELECT seq, record #- '{erased}' AS record FROM pg_temp.records('erase person');
SELECT valid, events_checked, events_erased, breaks FROM immutable.verify_chain('erase person');

-- More than one record can list, and more than one target of it; also where the settings would not take such an event.
SET immutable.max_targets = 1000; SET immutable.max_metadata_keys = 1000;
INSERT INTO immutable.events (id, tenant_id, actor_id, action, targets, metadata)
SELECT '00000000-0000-4000-8000-0000000e0401', 'erase many', 'u1', 'a', (SELECT jsonb_agg(jsonb_build_object('type', 't', 'id', i)) FROM (SELECT i::text FROM generate_series(1, 1000) i) x), (SELECT jsonb_object_agg('key' || i, i) FROM generate_series(1, 1000) i);
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'erase many', 'u1', 'a' FROM generate_series(1, 250);
SET immutable.max_targets = 0; SET immutable.max_metadata_keys = 0; SET immutable.max_metadata_bytes = 2; SET immutable.max_nesting = 1;
SELECT count(*), count(DISTINCT event_id) AS events FROM immutable.erase_subject('erase many', 'u1', 'request');
RESET immutable.max_targets; RESET immutable.max_metadata_keys; RESET immutable.max_metadata_bytes; RESET immutable.max_nesting;
SELECT targets, commitments FROM pg_temp.records('erase many');
SELECT max(octet_length(t::text)) BETWEEN 60000 AND 65536 AS within_a_target FROM immutable.events, jsonb_array_elements(targets) t WHERE tenant_id = 'erase many' AND action = 'immutable.event_erased';
SELECT valid, events_checked, events_erased, breaks FROM immutable.verify_chain('erase many');

-- The lanes it takes count as the transaction's chains. Beyond so many, one lock on the log stands for them.
SET immutable.max_chains_per_transaction = 2;
BEGIN;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('erase chains 1', 'u1', 'a'), ('erase chains 2', 'u1', 'a');
SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'immutable.events'::regclass AND mode LIKE 'Share%';
SELECT count(*) > 0 AS erased FROM immutable.erase_subject('another tenant', 'u1', 'request');
SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'immutable.events'::regclass AND mode LIKE 'Share%';
SELECT path FROM immutable.erase_subject('erase chains 1', 'u1', 'request');
ROLLBACK;
RESET immutable.max_chains_per_transaction;

-- An event that was tampered with is not erased over, and keeps nobody from being erased from the others. Nor is one erased whose UPDATE
-- somebody's trigger suppresses: then nothing at all happens.
INSERT INTO immutable.events (id, tenant_id, actor_id, action) VALUES ('00000000-0000-4000-8000-0000000e0501', 'erase tampered', 'u1', 'a'), ('00000000-0000-4000-8000-0000000e0502', 'erase tampered', 'u1', 'a');
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE immutable.events SET action = 'b' WHERE id = '00000000-0000-4000-8000-0000000e0502';
SET LOCAL session_replication_role = origin;
SELECT event_id, path FROM immutable.erase_subject('erase tampered', 'u1', 'request', dry_run => true);
SELECT event_id, path FROM immutable.erase_subject('erase tampered', 'u1', 'request');
SELECT pg_temp.refused($$SELECT * FROM immutable.erase('00000000-0000-4000-8000-0000000e0502', 'erase tampered', '{actor_id}', 'request')$$);
SELECT seq, action, erased IS NOT NULL AS is_erased FROM immutable.events WHERE tenant_id = 'erase tampered' ORDER BY seq;
ROLLBACK;
CREATE FUNCTION pg_temp.suppress() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
BEGIN;
CREATE TRIGGER suppress BEFORE UPDATE ON immutable.events FOR EACH ROW EXECUTE FUNCTION pg_temp.suppress();
SELECT pg_temp.refused($$SELECT * FROM immutable.erase_subject('erase tampered', 'u1', 'request')$$);
ROLLBACK;
-- Nothing is written in a transaction that may not write.
BEGIN READ ONLY;
SELECT path FROM immutable.erase_subject('erase tampered', 'u1', 'request', dry_run => true);
SELECT pg_temp.refused($$SELECT * FROM immutable.erase_subject('erase tampered', 'u1', 'request')$$);
ROLLBACK;
SELECT count(*) AS events, count(erased) AS erased FROM immutable.events WHERE tenant_id = 'erase tampered';

-- The caller's search_path and objects have no influence.
SET SESSION AUTHORIZATION regress_erase_officer;
CREATE FUNCTION pg_temp.strpos(text, text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''called''; END';
CREATE FUNCTION pg_temp.same(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''called as %'', current_user; END';
CREATE OPERATOR pg_temp.= (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.same);
CREATE TEMPORARY TABLE events (id int);
SET search_path = pg_temp, immutable, pg_catalog;
SELECT path FROM immutable.erase_subject('erase tampered', 'u1', 'request');
RESET search_path;
DROP OPERATOR pg_temp.= (text, text);
DROP TABLE pg_temp.events;
RESET SESSION AUTHORIZATION;
SELECT valid, events_checked, events_erased, breaks FROM immutable.verify_chain('erase tampered');

DROP TABLE preview, done;
DROP OWNED BY regress_erase_officer, regress_erase_gateway, regress_erase_writer, regress_erase_auditor, regress_erase_nobody;
DROP ROLE regress_erase_officer, regress_erase_gateway, regress_erase_writer, regress_erase_auditor, regress_erase_nobody;
