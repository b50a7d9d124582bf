-- track_batch() and the payload as json or text: what jsonb refuses is answered for that event alone; what ends the batch; names of fields.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_batch;
CREATE ROLE regress_batch IN ROLE immutable_writer;
CREATE TYPE public.regress_kind AS ENUM ('r');
RESET client_min_messages;
CREATE FUNCTION public.regress_refused(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  message text; hint text;
BEGIN
  EXECUTE statement;
  RETURN NEXT 'NOT REFUSED';
EXCEPTION WHEN OTHERS OR query_canceled THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  RETURN NEXT SQLSTATE || ': ' || message;
  IF hint <> '' THEN RETURN NEXT 'HINT: ' || hint; END IF;
END
$$;
-- An event's answer, without what differs between PostgreSQL's versions.
CREATE FUNCTION public.regress_answers(answer jsonb) RETURNS TABLE (n bigint, status text, error text, hint text) LANGUAGE sql AS $$
  SELECT e.n, r ->> 'status', concat_ws(' ', r #>> '{error,code}', '[' || (r #>> '{error,field}') || ']', regexp_replace(r #>> '{error,message}', 'jsonb: .*', 'jsonb: …')), left(r #>> '{error,hint}', 40)
  FROM jsonb_array_elements(answer -> 'events') WITH ORDINALITY e (r, n) ORDER BY e.n
$$;
GRANT EXECUTE ON FUNCTION public.regress_refused(text), public.regress_answers(jsonb) TO PUBLIC;
SET SESSION AUTHORIZATION regress_batch;
SET immutable.tenant_id = 'batch';
SET immutable.actor_id = 'a';

-- One event that jsonb cannot hold, in its place; the others are recorded.
SELECT * FROM regress_answers(immutable.track_batch('[
  {"action":"before"}, {"action":"nul","metadata":{"k":"\u0000"}}, {"action":"nul \u0000"}, {"action":"key","metadata":{"\u0000":1}}, {"action":"half","resource_name":"\ud83d"}, {"action":"half","targets":[{"type":"t","id":"\udc00"}]},
  {"action":"number","metadata":{"n":1e999999}}, {"action":"number","version":1e999999}, {"action":"NaN","metadata":{"n":NaN}}, {"action":"Infinity","version":-Infinity}, {"action":"word","metadata":{"n":undefined}},
  {"action":"quotes","metadata":{''n'':1}}, {"action":"missing","metadata":{"n" 1}}, {"action":"comma","metadata":{"n":1,}}, {"action":"control","resource_id":"a	b"}, {"action" "b"}, {action:"b"}, nonsense, NaN, {"action":"after"}]'::text));
SELECT * FROM regress_answers(immutable.track_batch('{"events":[{"action":"before"}, {"action":"nul","metadata":{"k":"\u0000"}}, {"action":"half","metadata":["\ud83d"]}, {"action":"number","metadata":{"n":1e999999}}, 1, null, "text", [], {"action":"after"}]}'::json));
SELECT error, hint FROM regress_answers(immutable.track_batch(format('[{"action":"deep","metadata":%s%s},{"action":"deeper","metadata":{"a":%s1%s}}]', repeat('[', 100000), repeat(']', 100000), repeat('[', 100), repeat(']', 100))));
-- The same events, one by one.
SELECT regress_refused($$SELECT immutable.track('{"action":"nul","metadata":{"k":"\u0000"}}'::json)$$);
SELECT regress_refused($$SELECT immutable.track('{"action":"half","resource_id":"\ud83d"}')$$) LIMIT 1;
SELECT regress_refused($$SELECT immutable.track('{"action":"number","metadata":{"n":1e999999}}')$$);
-- Text says the same as jsonb.
SELECT immutable.track_batch('[{"action":"same","metadata":{"é\n\"\\\/\u00e9\ud83d\ude00":[1.10,true,null,"\t"]},"targets":[{"type":"t","id":"x"}],"version":-0,"occurred_at":"2026-03-15T14:32:18Z","actor_name":"\u0041\n","idempotency_key":"same"}]'::text) #>> '{events,0,id}' AS text \gset
SELECT r #>> '{events,0,status}' AS status, r #>> '{events,0,id}' = :'text' AS same FROM (SELECT immutable.track_batch('[{"action":"same","metadata":{"é\n\"\\\/\u00e9\ud83d\ude00":[1.10,true,null,"\t"]},"targets":[{"type":"t","id":"x"}],"version":-0,"occurred_at":"2026-03-15T14:32:18Z","actor_name":"\u0041\n","idempotency_key":"same"}]'::jsonb) r) x;
-- Untyped literals and parameters, and typed ones.
PREPARE batch AS SELECT jsonb_array_length(immutable.track_batch($1) -> 'events');
EXECUTE batch('[{"action":"prepared"}]');
PREPARE batch_named AS SELECT jsonb_array_length(immutable.track_batch(events => $1) -> 'events');
EXECUTE batch_named('[{"action":"prepared"}]');
PREPARE track_positional AS SELECT immutable.track($1, $2) ->> 'status';
EXECUTE track_positional('a', 'prepared');
PREPARE track_literal AS SELECT immutable.track($1) ->> 'status';
EXECUTE track_literal('{"action":"prepared"}');
PREPARE track_named AS SELECT immutable.track(action => $1, metadata => $2, targets => $3, version => $4, on_conflict => $5) ->> 'status';
EXECUTE track_named('prepared', '{}', '[]', 1, 'answer');
PREPARE track_event AS SELECT immutable.track(event => $1) ->> 'status';
EXECUTE track_event('{"action":"prepared"}');
DEALLOCATE ALL;
SELECT jsonb_array_length(immutable.track_batch(e::varchar) -> 'events'), jsonb_array_length(immutable.track_batch(e::json) -> 'events'), jsonb_array_length(immutable.track_batch(e::jsonb) -> 'events') FROM (VALUES ('[{"action":"typed"}]')) v (e);
SELECT immutable.track('a'::varchar, 'typed'::text) ->> 'status', immutable.track('{"action":"typed"}'::varchar) ->> 'status', immutable.track('a', 'typed'::text) ->> 'status';
-- Other argument types are refused with a hint that says what to do: cast the value, or pass an object, which takes ids of any type that JSON writes as a string.
SELECT regress_refused(format('SELECT immutable.track(actor_id => ''a'', action => ''typed'', %s)', argument)) FROM unnest(ARRAY['resource_id => ''00000000-0000-4000-8000-000000000000''::uuid', 'resource_id => 7', 'metadata => ''{}''::json', 'version => 1::bigint', 'actor_type => ''r''::regress_kind']) argument;
SELECT immutable.track(actor_id => 7::text, action => 'cast', resource_id => '00000000-0000-4000-8000-000000000000'::uuid::text, metadata => '{"a":1}'::json::jsonb, version => 1::bigint::int) ->> 'status' AS status;
SELECT immutable.track(jsonb_build_object('action', 'built', 'resource_id', '00000000-0000-4000-8000-000000000000'::uuid, 'actor_type', 'r'::regress_kind, 'metadata', '{"a":1}'::json)) ->> 'status' AS status;
SELECT regress_refused($$SELECT immutable.track(jsonb_build_object('action', 'built', 'resource_id', 7))$$);

-- An argument that is not a batch is refused as a whole.
SELECT batch, e.* FROM unnest(ARRAY['', ' ', 'nonsense', '1', 'null', '"text"', '{}', '{"events":1}', '{"events":null}', '{"events":{}}', '{"events":[],"events":[]}', '{"events":[],"more":1}', '{"event":[]}', '{"action":"b"}']) batch, regress_refused(format('SELECT immutable.track_batch(%L::text)', batch)) e WHERE e NOT LIKE 'HINT%';
SELECT batch, e.* FROM unnest(ARRAY['[', '[{}', '[{},]', '[,{}]', '[{}]]', '[{}] x', '[{]}', '["]', '{"events":[}', '{"events":[1', '{"events"}']) batch, regress_refused(format('SELECT immutable.track_batch(%L::text)', batch)) e WHERE e NOT LIKE 'HINT%';
SELECT regress_refused($$SELECT immutable.track_batch('nonsense')$$);
SELECT regress_refused($$SELECT immutable.track_batch('[')$$);
SELECT regress_refused($$SELECT immutable.track_batch(NULL::json)$$);
SELECT regress_refused($$SELECT immutable.track_batch('[' || repeat('{},', 100) || '{}]')$$);
SELECT immutable.track_batch(' [ ] '::text), immutable.track_batch('{ "events" : [ ] }'::json);

-- Nothing is dropped silently: a name that occurs twice is refused.
SELECT e.* FROM unnest(ARRAY['{"action":"a","action":"b"}', '{"action":"a","\u0061ction":"a"}', '{"action":"a","resource":"x","resource_type":"x"}', '{"action":"a","metadata":{"k":1,"k":2}}', '{"action":"a","targets":[{"type":"t","metadata":{"k":{"x":1,"x":1}}}]}']) event, regress_refused(format('SELECT immutable.track(%L::json)', event)) e;
SELECT regress_refused($$SELECT immutable.track('{"action":"a","resource":"x","resource_type":"x"}'::jsonb)$$);
-- resource_type means resource; an unknown field that resembles a known one is named in the error.
SELECT immutable.track('{"action":"alias","resource_type":"document"}'::jsonb) ->> 'status' AS jsonb, immutable.track('{"action":"alias","resource_type":"document"}') ->> 'status' AS text;
SELECT member, right(e, -6) AS hint FROM unnest(ARRAY['resourceType', 'actorId', 'Actor-Name', 'actor', 'tenant', 'ip', 'target', 'meta', 'metdata', 'acton', 'idempotencyKey', 'idempotency_kye', 'created_at', 'createdAt', 'timestamp', 'user_id', 'id', 'seq', 'event_hash', 'erased', 'x', '', 'details', 'événement', 'on_conflict']) member,
  regress_refused(format('SELECT immutable.track(%L::jsonb)', jsonb_build_object('action', 'a', member, 'x'))) e WHERE e LIKE 'HINT%';

-- Refused by the trigger, in the middle, at both ends, every other one: answers in their places, order kept, nothing twice.
SELECT which, string_agg(r ->> 'status', ' ' ORDER BY n) FROM (VALUES ('first'), ('last'), ('middle'), ('every other'), ('all'), ('none'), ('but one')) v (which),
  LATERAL (SELECT immutable.track_batch(jsonb_agg(jsonb_build_object('action', CASE WHEN which IN ('all') OR which = 'first' AND n = 1 OR which = 'last' AND n = 9 OR which = 'middle' AND n = 5 OR which = 'every other' AND n % 2 = 0 OR which = 'but one' AND n <> 5 THEN '' ELSE 'order ' || n END,
    'tenant_id', 'batch-order', 'session_id', which) ORDER BY n)) FROM generate_series(1, 9) n) b (answer), jsonb_array_elements(answer -> 'events') WITH ORDINALITY e (r, n) GROUP BY which ORDER BY which COLLATE "C";
RESET SESSION AUTHORIZATION;
SELECT session_id, string_agg(right(action, 1), ' ' ORDER BY seq) AS recorded, bool_and(created_at > before) FROM (SELECT *, lag(created_at, 1, '-infinity') OVER (ORDER BY seq) AS before FROM immutable.events WHERE tenant_id = 'batch-order') e GROUP BY session_id ORDER BY 1;

-- An error that is not about one event ends the batch: nothing is recorded, and the error is not hidden.
CREATE FUNCTION regress_raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.action LIKE 'raise %' THEN RAISE 'raised' USING ERRCODE = right(NEW.action, 5); END IF; RETURN NEW; END $$;
CREATE TRIGGER a_regress_raise BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_raise();
SET SESSION AUTHORIZATION regress_batch;
SELECT state, coalesce((SELECT string_agg(e, ' ') FROM regress_refused(format($$SELECT immutable.track_batch('[{"action":"fine"},{"action":"raise %s"},{"action":"fine"}]')$$, state)) e), '') AS batch,
  CASE WHEN state ~ '^2[23]' THEN (SELECT string_agg(r ->> 'status', ' ' ORDER BY n) FROM jsonb_array_elements(immutable.track_batch(format('[{"action":"fine","tenant_id":"batch-own"},{"action":"raise %s"},{"action":"fine","tenant_id":"batch-own"}]', state)) -> 'events') WITH ORDINALITY e (r, n)) END AS answers
FROM unnest(ARRAY['22000', '22023', '23502', '23505', '23514', '25006', '28000', '40001', '40P01', '42501', '53100', '54000', '55000', '57014', '57P01', 'P0001', 'XX000']) state;
RESET SESSION AUTHORIZATION;
DROP TRIGGER a_regress_raise ON immutable.events;
DROP FUNCTION regress_raise;
SELECT tenant_id, count(*) FROM immutable.events WHERE tenant_id LIKE 'batch%' AND action = 'fine' GROUP BY 1;
-- A statement that is cancelled stays cancelled, where a subtransaction could catch it too.
CREATE FUNCTION regress_sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.action = 'slow' THEN PERFORM pg_sleep(10); END IF; RETURN NEW; END $$;
CREATE TRIGGER a_regress_sleep BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_sleep();
SET SESSION AUTHORIZATION regress_batch;
SET statement_timeout = '100ms';
SELECT immutable.track_batch('[{"action":"cancelled"},{"action":"slow"}]');
RESET statement_timeout;
RESET SESSION AUTHORIZATION;
DROP TRIGGER a_regress_sleep ON immutable.events;
DROP FUNCTION regress_sleep;
SELECT count(*) AS cancelled FROM immutable.events WHERE action = 'cancelled';

-- A batch in a transaction that goes on, after refused events, and back to a savepoint.
SET SESSION AUTHORIZATION regress_batch;
BEGIN;
SAVEPOINT s;
SELECT jsonb_path_query_array(immutable.track_batch('[{"action":"gone"},{"action":""},{"action":"gone"}]'), '$.events[*].status');
ROLLBACK TO s;
SELECT jsonb_path_query_array(immutable.track_batch('[{"action":"kept","tenant_id":"batch-kept"},{"action":""},{"action":"kept","tenant_id":"batch-kept"}]'), '$.events[*].status');
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT action, count(*) FROM immutable.events WHERE tenant_id LIKE 'batch%' AND action IN ('gone', 'kept') GROUP BY 1;
SELECT bool_and(valid) AS valid FROM (SELECT DISTINCT tenant_id FROM immutable.events WHERE tenant_id LIKE 'batch%') t, immutable.verify_chain(t.tenant_id);
RESET ALL;
DROP FUNCTION public.regress_refused(text), public.regress_answers(jsonb);
DROP ROLE regress_batch;
DROP TYPE public.regress_kind;
