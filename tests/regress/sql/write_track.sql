-- track() and track_batch(): the service's calls.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
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

-- What a tenant's events say, but for what differs from run to run.
CREATE FUNCTION pg_temp.recorded(tenant text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT e.seq || ' ' || jsonb_strip_nulls(to_jsonb(e) - '{id,tenant_id,created_at,occurred_at,lane,seq,previous_event_hash,event_hash,salt,recorded_by,log_id,xact}'::text[]
    || jsonb_build_object('occurred_at', CASE WHEN occurred_at <> created_at THEN e.occurred_at AT TIME ZONE 'UTC' END))::text
  FROM immutable.events e WHERE e.tenant_id = tenant ORDER BY e.lane, e.seq
$$;
CREATE FUNCTION pg_temp.shape(answer jsonb) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(answer ->> 'status', '?') || CASE WHEN answer ? 'id' THEN CASE WHEN EXISTS (SELECT FROM immutable.events WHERE id = (answer ->> 'id')::uuid) THEN ' an event' ELSE ' no event' END ELSE '' END
    || ' ' || (SELECT string_agg(k, ',' ORDER BY k COLLATE "C") FROM jsonb_object_keys(answer) k) || coalesce(' ' || (answer ->> 'error'), '')
$$;

-- Named arguments; all of them.
SELECT immutable.track(actor_id => 'user_1', action => 'document.created', tenant_id => 'track-named') AS answer \gset
SELECT pg_temp.shape(:'answer');
SELECT pg_temp.shape(immutable.track(actor_id => 'user_1', action => 'document.shared', actor_name => 'Sarah Chen', actor_type => 'user', action_category => 'documents', resource => 'document',
  resource_id => 'doc_1', resource_name => 'Q4', targets => '[{"type":"team","id":"t1"},{"type":"folder"}]', metadata => '{"via":"link"}', tenant_id => 'track-named', session_id => 'sess_1', idempotency_key => 'key_1',
  version => 0, occurred_at => '2026-03-15 14:32:18.847312+00', ip_address => '203.0.113.7', ip_country => 'US', ip_city => 'San Francisco', user_agent => 'Mozilla/5.0'));
-- By position, in the documented order.
SELECT pg_temp.shape(immutable.track('user_1', 'document.viewed', 'Sarah Chen', 'user', 'documents', 'document', 'doc_1', 'Q4', '[]', '{}', 'track-named', 'sess_1', 'key_2', 3, '2026-03-15 14:32:18+00', '::1', 'US', 'SF', 'curl'));
SELECT pg_temp.recorded('track-named');
SELECT position, target_type, target_id FROM immutable.event_targets WHERE tenant_id = 'track-named' ORDER BY position;

-- The service's payload, all of it, and as untyped text.
SELECT pg_temp.shape(immutable.track('{"actor_id":"user_1","action":"document.shared","actor_name":"Sarah Chen","actor_type":"user","action_category":"documents","resource":"document","resource_id":"doc_1","resource_name":"Q4",
  "targets":[{"type":"team","id":"t1"},{"type":"folder"}],"metadata":{"via":"link","targets":[{"type":"stays metadata"}]},"tenant_id":"track-json","session_id":"sess_1","idempotency_key":"key_1","version":0,
  "occurred_at":"2026-03-15T14:32:18.847312Z","ip_address":"203.0.113.7","ip_country":"US","ip_city":"San Francisco","user_agent":"Mozilla/5.0"}'::jsonb));
SELECT pg_temp.shape(immutable.track('{"actor_id":"user_1","action":"document.viewed","tenant_id":"track-json"}'));
SELECT pg_temp.shape(immutable.track(' {"actor_id":"user_1","action":"document.viewed","tenant_id":"track-json","metadata":{"n":1.10}}'));
SELECT pg_temp.shape(immutable.track(event => '{"actor_id":"user_1","action":"document.viewed","tenant_id":"track-json"}'));
PREPARE track(jsonb) AS SELECT pg_temp.shape(immutable.track($1));
EXECUTE track('{"actor_id":"user_1","action":"prepared","tenant_id":"track-json"}');
DEALLOCATE track;
-- A member that is null is as if it were left out.
SELECT pg_temp.shape(immutable.track('{"actor_id":"user_1","action":"nulls","tenant_id":"track-json","actor_name":null,"targets":null,"metadata":null,"version":null,"occurred_at":null,"ip_address":null,"idempotency_key":null}'::jsonb));
SELECT pg_temp.recorded('track-json');
-- An actor whose id begins with a brace is one, if there is an action.
SELECT pg_temp.shape(immutable.track('{weird', 'document.viewed', tenant_id => 'track-brace'));
SELECT pg_temp.recorded('track-brace');
SELECT pg_temp.refused($$SELECT immutable.track('{weird')$$, false);
SELECT pg_temp.refused($$SELECT immutable.track('user_1')$$);
SELECT pg_temp.refused($$SELECT immutable.track()$$);
SELECT pg_temp.refused($$SELECT immutable.track(NULL)$$);
SELECT pg_temp.refused($$SELECT immutable.track(NULL::jsonb)$$);
SELECT pg_temp.refused(format('SELECT immutable.track(%L::jsonb)', x)) FROM unnest(ARRAY['[]', '"text"', '1', 'null', '[{"actor_id":"a","action":"b"}]']) x;

-- Duplicates: the original's id, and nothing recorded; the tenant's own. Another event is a conflict (write_repeated.sql).
SELECT immutable.track(actor_id => 'a', action => 'first', tenant_id => 'track-dup', idempotency_key => 'k') ->> 'id' AS first \gset
SELECT r ->> 'status' AS status, r ->> 'id' = :'first' AS original FROM (SELECT immutable.track(actor_id => 'a', action => 'first', tenant_id => 'track-dup', idempotency_key => 'k') AS r) x;
SELECT r - 'id' AS answer, r ->> 'id' = :'first' AS original FROM (SELECT immutable.track('{"actor_id":"b","action":"other","tenant_id":"track-dup","idempotency_key":"k","targets":[{"type":"t"}]}'::jsonb, 'answer') AS r) x;
SELECT pg_temp.shape(r), r ->> 'id' = :'first' AS original FROM (SELECT immutable.track(actor_id => 'a', action => 'first', tenant_id => 'track-dup-2', idempotency_key => 'k') AS r) x;
SELECT immutable.track(actor_id => 'a', action => 'none', idempotency_key => 'k', tenant_id => '') ->> 'status' AS no_tenant, immutable.track(actor_id => 'a', action => 'none', idempotency_key => 'k', tenant_id => '') ->> 'status' AS again;
-- Of a plain INSERT too, in the same transaction, and in the session's tenant.
INSERT INTO immutable.events (id, tenant_id, actor_id, action, idempotency_key) VALUES ('00000000-0000-4000-8000-0000000000d1', 'track-dup', 'a', 'plain', 'k2');
SELECT immutable.track(actor_id => 'a', action => 'plain', tenant_id => 'track-dup', idempotency_key => 'k2');
BEGIN;
SET LOCAL immutable.tenant_id = 'track-dup';
SELECT immutable.track('{"actor_id":"a","action":"plain","idempotency_key":"k2"}');
SELECT immutable.track(actor_id => 'a', action => 'b', idempotency_key => 'k3') ->> 'status', immutable.track(actor_id => 'a', action => 'b', idempotency_key => 'k3') ->> 'status';
COMMIT;
-- An empty key counts as no key. A repeated call with an invalid event is an error, not a duplicate.
SELECT immutable.track(actor_id => 'a', action => 'empty key', tenant_id => 'track-dup', idempotency_key => '') ->> 'status', immutable.track(actor_id => 'a', action => 'empty key', tenant_id => 'track-dup', idempotency_key => '') ->> 'status';
SELECT pg_temp.refused($$SELECT immutable.track(actor_id => 'a', tenant_id => 'track-dup', idempotency_key => 'k')$$);
-- An event that was rolled back does not count as the original.
BEGIN;
SELECT pg_temp.shape(immutable.track(actor_id => 'a', action => 'rolled back', tenant_id => 'track-dup', idempotency_key => 'k4'));
ROLLBACK;
SELECT pg_temp.shape(immutable.track(actor_id => 'a', action => 'not rolled back', tenant_id => 'track-dup', idempotency_key => 'k4'));
-- Above READ COMMITTED, an original of the same transaction or an older one is found too.
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT r ->> 'status' AS status, r ->> 'id' = :'first' AS original FROM (SELECT immutable.track(actor_id => 'a', action => 'first', tenant_id => 'track-dup', idempotency_key => 'k') AS r) x;
SELECT immutable.track(actor_id => 'a', action => 'b', tenant_id => 'track-dup', idempotency_key => 'k5') ->> 'status', immutable.track(actor_id => 'a', action => 'b', tenant_id => 'track-dup', idempotency_key => 'k5') ->> 'status';
COMMIT;
SELECT pg_temp.recorded('track-dup');
SELECT valid, events_checked FROM immutable.verify_chain('track-dup');

-- The session's defaults, for INSERT and for track().
SET immutable.tenant_id = 'track-session';
SET immutable.actor_id = 'session_actor';
SET immutable.actor_name = 'Session Actor';
SET immutable.actor_type = 'service';
SET immutable.session_id = 'sess_9';
SET immutable.ip_address = '2001:db8::7';
SET immutable.user_agent = 'agent/9';
INSERT INTO immutable.events (action) VALUES ('insert');
SELECT pg_temp.shape(immutable.track(action => 'named'));
SELECT pg_temp.shape(immutable.track('{"action":"json"}'));
SELECT pg_temp.shape(immutable.track_batch('[{"action":"batch"}]') -> 'events' -> 0);
-- A value given with the event takes precedence over the setting; an explicit NULL in an INSERT gives no value.
SELECT pg_temp.shape(immutable.track(actor_id => 'a', action => 'said', actor_name => 'b', actor_type => 'c', session_id => 'd', ip_address => '::1', user_agent => 'e'));
INSERT INTO immutable.events (action, actor_name, actor_type, session_id, ip_address, user_agent) VALUES ('insert nulls', NULL, NULL, NULL, NULL, NULL);
SELECT pg_temp.shape(immutable.track(actor_id => 'a', action => 'empty', actor_name => '', tenant_id => NULL));
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (NULL, NULL, 'insert more nulls');
SELECT pg_temp.recorded('track-session');
INSERT INTO immutable.events (tenant_id, action) VALUES ('', 'track-session.empty tenant') RETURNING tenant_id = '' AS no_tenant;
SELECT immutable.track(action => 'track-session.empty tenant', tenant_id => '') ->> 'status';
SELECT count(*) AS without_tenant FROM immutable.events WHERE tenant_id = '' AND action LIKE 'track-session.%';
-- Empty settings are as if they were not set; for one transaction, SET LOCAL.
SET immutable.tenant_id = '';
SET immutable.actor_name = '';
SET immutable.actor_type = '';
SET immutable.session_id = '';
SET immutable.ip_address = '';
SET immutable.user_agent = '';
BEGIN;
SET LOCAL immutable.tenant_id = 'track-session-2';
SET LOCAL immutable.actor_id = 'local_actor';
SELECT pg_temp.shape(immutable.track(action => 'local'));
COMMIT;
INSERT INTO immutable.events (tenant_id, action) VALUES ('track-session-2', 'after');
SET immutable.actor_id = '';
SELECT pg_temp.refused($$SELECT immutable.track(action => 'x', tenant_id => 'track-session-2')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, action) VALUES ('track-session-2', 'x')$$);
RESET immutable.actor_id;
SELECT pg_temp.refused($$SELECT immutable.track(action => 'x', tenant_id => 'track-session-2')$$);
SELECT pg_temp.recorded('track-session-2');
SET immutable.actor_id = 'a';
SELECT set_config('immutable.tenant_id', repeat('x', 256), false) IS NOT NULL AS set;
SELECT pg_temp.refused($$SELECT immutable.track(action => 'x')$$);
SELECT jsonb_pretty(immutable.track_batch('[{"action":"x"}]'));
RESET ALL;
SET client_min_messages = notice;

-- What a payload may not be.
CREATE FUNCTION pg_temp.payload(member text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT pg_temp.refused(format('SELECT immutable.track(%L::jsonb)', '{"actor_id":"a","action":"b","tenant_id":"track-bad",' || member || '}'))
$$;
SELECT pg_temp.payload(x) FROM unnest(ARRAY['"unknown":1', '"":1', '"id":"00000000-0000-4000-8000-000000000000"', '"Actor_name":"x"', '"created_at":"2026-01-01T00:00:00Z"', '"event_hash":"00"', '"unknown":null']) x;
SELECT pg_temp.payload('"' || repeat('é', 100) || '":1');
SELECT pg_temp.payload(format('"%s":%s', f, v)) FROM unnest(ARRAY['actor_name', 'actor_type', 'action_category', 'resource', 'resource_id', 'resource_name', 'session_id', 'idempotency_key', 'ip_address', 'ip_country', 'ip_city', 'user_agent']) f, unnest(ARRAY['1']) v;
SELECT pg_temp.payload(format('"%s":%s', f, v)) FROM unnest(ARRAY['actor_name', 'occurred_at']) f, unnest(ARRAY['true', '{}', '[]', '1.5']) v;
SELECT pg_temp.refused($$SELECT immutable.track('{"actor_id":1,"action":"b"}'::jsonb)$$);
SELECT pg_temp.refused($$SELECT immutable.track('{"actor_id":"a","action":["b"]}'::jsonb)$$);
SELECT pg_temp.refused($$SELECT immutable.track('{"actor_id":"a","action":"b","tenant_id":7}'::jsonb)$$);
SELECT pg_temp.payload('"version":' || v) FROM unnest(ARRAY['"1"', 'true', '1.5', '2147483648', '-2147483649', '1e131000', '{}']) v;
SELECT pg_temp.payload('"targets":' || v) FROM unnest(ARRAY['"t"', '1', '{}', '{"type":"t"}', '[1]', '[{"type":1}]', '[{"id":"x"}]']) v;
SELECT pg_temp.payload('"metadata":' || v) FROM unnest(ARRAY['"m"', '1', '[]', 'false']) v;
SELECT pg_temp.payload('"ip_address":' || v) FROM unnest(ARRAY['"nonsense"', '""', '"300.1.1.1"', '"203.0.113.7/33"', '"::1%eth0"', '"example.com"']) v;
SELECT pg_temp.payload('"x":1,"targets":1,"version":"a"');
SELECT pg_temp.refused($$SELECT immutable.track('{"actor_id":"a","action":"immutable.event_erased"}'::jsonb)$$);
SELECT pg_temp.refused($$SELECT immutable.track(actor_id => 'a', action => 'b', targets => '[{"type":"immutable.event"}]')$$);
SELECT pg_temp.refused($$SELECT immutable.track(actor_id => 'a', action => 'b', occurred_at => 'infinity')$$);
SELECT pg_temp.refused($$SELECT immutable.track(actor_id => 'a', action => 'b', occurred_at => '0001-01-01 00:00+00 BC')$$);
SELECT pg_temp.refused($$SELECT immutable.track(actor_id => repeat('x', 513), action => 'b')$$);
SELECT pg_temp.refused($$SELECT immutable.track(actor_id => '', action => 'b')$$);
SELECT count(*) AS stored FROM immutable.events WHERE tenant_id = 'track-bad';

-- occurred_at in JSON: RFC 3339, without an offset UTC, whatever the session's zone and style.
SET TimeZone = 'America/New_York';
SET DateStyle = 'SQL, DMY';
CREATE FUNCTION pg_temp.occurred(t text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer jsonb := immutable.track_batch(jsonb_build_array(jsonb_build_object('actor_id', 'a', 'action', 'b', 'tenant_id', 'track-time', 'occurred_at', t))) -> 'events' -> 0;
BEGIN
  RETURN coalesce(answer #>> '{error,code}' || ': ' || (answer #>> '{error,message}'), (SELECT to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM immutable.events WHERE id = (answer ->> 'id')::uuid));
END
$$;
SELECT t, pg_temp.occurred(t) FROM unnest(ARRAY['2026-03-15T14:32:18.847312Z', '2026-03-15T14:32:18Z', '2026-03-15t14:32:18z', '2026-03-15 14:32:18Z', '2026-03-15T14:32:18', '2026-03-15T14:32:18.8', '2026-03-15T14:32:18+00:00',
  '2026-03-15T14:32:18-00:00', '2026-03-15T14:32:18+05:30', '2026-03-15T14:32:18-08:00', '2026-03-15T23:59:59-12:00', '2026-03-15T14:32:18.0000004Z', '2026-03-15T14:32:18.0000005Z', '2026-03-15T14:32:18.999999999999999999999Z',
  '2024-02-29T00:00:00Z', '2000-02-29T00:00:00Z', '2016-12-31T23:59:60Z', '0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999999Z', '0001-01-01T05:00:00+05:00', '1883-01-01T00:00:00Z', '2026-03-08T02:30:00', '2026-11-01T01:30:00']) t;
SELECT t, pg_temp.occurred(t) FROM unnest(ARRAY['', 'now', 'today', 'infinity', '-infinity', 'epoch', '2026-03-15', '14:32:18Z', '2026-03-15T14:32Z', '2026-03-15T14Z', '15/03/2026 14:32:18', 'Mar 15 2026 14:32:18', '20260315T143218Z',
  '2026-3-15T14:32:18Z', '2026-13-01T00:00:00Z', '2026-00-10T00:00:00Z', '2026-02-29T00:00:00Z', '1900-02-29T00:00:00Z', '2026-04-31T00:00:00Z', '2026-01-00T00:00:00Z', '2026-03-15T24:00:00Z', '2026-03-15T14:60:00Z', '2026-03-15T14:32:61Z',
  '2026-03-15T14:32:18.Z', '2026-03-15T14:32:18,5Z', '2026-03-15T14:32:18+02', '2026-03-15T14:32:18+0200', '2026-03-15T14:32:18+24:00', '2026-03-15T14:32:18+02:60', '2026-03-15T14:32:18 UTC', '2026-03-15T14:32:18Z ', ' 2026-03-15T14:32:18Z',
  '2026-03-15T14:32:18ZZ', '10000-01-01T00:00:00Z', '-001-01-01T00:00:00Z', '2026-03-15T14:32:18Z BC', '２０２６-03-15T14:32:18Z']) t;
SELECT t, pg_temp.occurred(t) FROM unnest(ARRAY['0000-12-31T23:59:59Z', '0001-01-01T00:00:00+00:01', '9999-12-31T23:59:59-00:01', '9999-12-31T23:59:59.9999995Z', '9999-12-31T23:59:60Z']) t;
SELECT pg_temp.refused($$SELECT immutable.track('{"actor_id":"a","action":"b","occurred_at":"tomorrow"}'::jsonb)$$);
SELECT pg_temp.refused($$SELECT immutable.track('{"actor_id":"a","action":"b","occurred_at":"0000-12-31T23:59:59Z"}'::jsonb)$$);
RESET TimeZone;
RESET DateStyle;
SELECT valid FROM immutable.verify_chain('track-time');

-- track_batch(): both forms, answers in their order.
SELECT pg_temp.shape(r) FROM jsonb_array_elements(immutable.track_batch('[{"actor_id":"a","action":"one","tenant_id":"track-batch"},{"actor_id":"a","action":"two","tenant_id":"track-batch"}]') -> 'events') r;
SELECT pg_temp.shape(r) FROM jsonb_array_elements(immutable.track_batch('{"events":[{"actor_id":"a","action":"three","tenant_id":"track-batch"}]}') -> 'events') r;
SELECT pg_temp.shape(r) FROM jsonb_array_elements(immutable.track_batch(events => '[{"actor_id":"a","action":"four","tenant_id":"track-batch"}]') -> 'events') r;
SELECT immutable.track_batch('[]'), immutable.track_batch('{"events":[]}');
-- A refused event is answered in its place, and does not keep the others from being recorded; a conflict has the original's id, even within one batch.
SELECT immutable.track_batch('[
  {"actor_id":"a","action":"five","tenant_id":"track-batch","idempotency_key":"k","targets":[{"type":"t"}]},
  {"action":"no actor","tenant_id":"track-batch"},
  1, "text", null, [], [{"actor_id":"a","action":"nested"}], {},
  {"actor_id":"a","action":"dup","tenant_id":"track-batch","idempotency_key":"k"},
  {"actor_id":"a","action":"immutable.x","tenant_id":"track-batch"},
  {"actor_id":"a","action":"bad time","tenant_id":"track-batch","occurred_at":"yesterday"},
  {"actor_id":"a","action":"bad address","tenant_id":"track-batch","ip_address":"x"},
  {"actor_id":"a","action":"bad target","tenant_id":"track-batch","targets":[{"type":"t"},{"type":"t","x":1}]},
  {"actor_id":"a","action":"unknown","tenant_id":"track-batch","\"quoted\"":1},
  {"actor_id":"a","action":"six","tenant_id":"track-batch"}]') AS answer \gset
SELECT n, r ->> 'status' AS status, r ? 'id' AS id, regexp_replace(((r -> 'error') - 'hint')::text, '[0-9a-f-]{36}', 'ID') AS error FROM jsonb_array_elements(:'answer'::jsonb -> 'events') WITH ORDINALITY x(r, n) ORDER BY n;
SELECT :'answer'::jsonb #>> '{events,0,id}' = :'answer'::jsonb #>> '{events,8,id}' AS same_id;
SELECT pg_temp.recorded('track-batch');
SELECT count(*) AS targets FROM immutable.event_targets WHERE tenant_id = 'track-batch';
-- created_at has the order of the batch.
SELECT immutable.track_batch((SELECT jsonb_agg(jsonb_build_object('actor_id', 'a', 'action', 'n' || n, 'tenant_id', 'track-batch-order', 'occurred_at', '2026-01-01T00:00:00Z') ORDER BY n) FROM generate_series(1, 100) n)) IS NOT NULL AS recorded;
SELECT count(*) AS events, bool_and(action = 'n' || by_time) AS in_order, bool_and(seq = by_time) AS by_seq, min(gap) >= interval '1 microsecond' AS apart
FROM (SELECT action, seq, row_number() OVER w AS by_time, created_at - lag(created_at) OVER w AS gap FROM immutable.events WHERE tenant_id = 'track-batch-order' WINDOW w AS (ORDER BY created_at)) x;
SELECT valid, events_checked FROM immutable.verify_chain('track-batch-order');
-- The number of events allowed, and arguments that are not a batch.
SELECT pg_temp.refused($$SELECT immutable.track_batch((SELECT jsonb_agg(jsonb_build_object('actor_id', 'a', 'action', 'b', 'tenant_id', 'track-batch-bad')) FROM generate_series(1, 101)))$$);
SET immutable.max_batch = 2;
SELECT pg_temp.refused($$SELECT immutable.track_batch('{"events":[{},{},{}]}')$$);
SELECT jsonb_array_length(immutable.track_batch('[{},{}]') -> 'events');
RESET immutable.max_batch;
SELECT pg_temp.refused(format('SELECT immutable.track_batch(%L)', x)) FROM unnest(ARRAY['{}', '1', '"text"', 'null', '{"events":{}}', '{"events":null}', '{"event":[]}', '{"events":[],"more":1}', '{"actor_id":"a","action":"b"}']) x;
SELECT pg_temp.refused($$SELECT immutable.track_batch(NULL)$$);
SELECT count(*) AS stored FROM immutable.events WHERE tenant_id = 'track-batch-bad';
-- An error that the batch did not cause ends all of it: here, one of a trigger.
CREATE FUNCTION regress_track_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.action = 'boom' THEN RAISE 'not today'; END IF; RETURN NEW; END $$;
CREATE TRIGGER a_regress_track BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_track_trigger();
SELECT pg_temp.refused($$SELECT immutable.track_batch('[{"actor_id":"a","action":"fine","tenant_id":"track-batch-bad"},{"actor_id":"a","action":"boom","tenant_id":"track-batch-bad"}]')$$);
DROP TRIGGER a_regress_track ON immutable.events;
DROP FUNCTION regress_track_trigger;
SELECT count(*) AS stored FROM immutable.events WHERE tenant_id = 'track-batch-bad';
-- Within a transaction that goes on after a refused one, and is rolled back.
BEGIN;
SELECT jsonb_path_query_array(immutable.track_batch('[{"actor_id":"a","action":"gone","tenant_id":"track-batch-bad"},{}]'), '$.events[*].status');
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('track-batch-bad', 'a', 'gone') RETURNING seq;
ROLLBACK;
SELECT count(*) AS stored FROM immutable.events WHERE tenant_id = 'track-batch-bad';
-- In a read-only transaction, nothing is recorded, and it is the batch that fails.
BEGIN READ ONLY;
SELECT pg_temp.refused($$SELECT immutable.track_batch('[{"actor_id":"a","action":"b"}]')$$);
SELECT pg_temp.refused($$SELECT immutable.track(actor_id => 'a', action => 'b')$$);
ROLLBACK;
-- The session goes on after it, outside a transaction block too.
SET default_transaction_read_only = on;
SELECT immutable.track_batch('[{"actor_id":"a","action":"b"}]');
\echo :LAST_ERROR_SQLSTATE
RESET default_transaction_read_only;
SELECT valid, events_checked FROM immutable.verify_chain('track-batch');
