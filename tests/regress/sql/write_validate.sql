-- Events that are refused: every error with its SQLSTATE, field and hint, and that nothing is stored.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_validation_definer;
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
-- The same for an event of which only some columns are given.
CREATE FUNCTION pg_temp.refused_event(columns text, vals text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT pg_temp.refused(format('INSERT INTO immutable.events (tenant_id, actor_id, action, %s) VALUES (''validation'', ''a'', ''b'', %s)', columns, vals))
$$;
CREATE FUNCTION pg_temp.refused_targets(targets text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT pg_temp.refused_event('targets', quote_literal(targets)) $$;
CREATE FUNCTION pg_temp.refused_metadata(metadata text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT pg_temp.refused_event('metadata', quote_literal(metadata)) $$;
-- An object of so many keys, and one of so many levels.
CREATE FUNCTION pg_temp.keys(n int) RETURNS text LANGUAGE sql AS $$ SELECT jsonb_object_agg('k' || k, k)::text FROM generate_series(1, n) k $$;
CREATE FUNCTION pg_temp.deep(levels int) RETURNS text LANGUAGE sql AS $$ SELECT '{"k":' || repeat('[', levels - 1) || repeat(']', levels - 1) || '}' $$;

-- actor_id and action: required, not empty.
SELECT pg_temp.refused($$INSERT INTO immutable.events DEFAULT VALUES$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, action) VALUES ('validation', 'b')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id) VALUES ('validation', 'a')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('validation', '', 'b')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('validation', 'a', '')$$);

-- targets: the array, its elements, their members.
SELECT pg_temp.refused_targets(x) FROM unnest(ARRAY['{}', '"a"', '1', 'null', 'true']) x;
SELECT pg_temp.refused_targets(x) FROM unnest(ARRAY['["a"]', '[{"type":"t"}, 1]', '[null]', '[[]]', '[[{"type":"t"}]]']) x;
SELECT pg_temp.refused_targets(x) FROM unnest(ARRAY['[{}]', '[{"id":"1"}]', '[{"type":null}]', '[{"type":1}]', '[{"type":{}}]', '[{"type":""}]', '[{"type":"t"},{"type":"t"},{"Type":"t"}]']) x;
SELECT pg_temp.refused_targets(x) FROM unnest(ARRAY['[{"type":"t","id":1}]', '[{"type":"t","id":{}}]', '[{"type":"t","name":false}]', '[{"type":"t","name":[]}]']) x;
SELECT pg_temp.refused_targets(x) FROM unnest(ARRAY['[{"type":"t","metadata":[]}]', '[{"type":"t","metadata":"m"}]', '[{"type":"t","metadata":1}]']) x;
SELECT pg_temp.refused_targets(x) FROM unnest(ARRAY['[{"type":"t","ids":"1"}]', '[{"type":"t","extra":null}]', '[{"type":"t","Id":"1"}]', '[{"type":"t","":1}]']) x;
SELECT pg_temp.refused_targets('[{"type":"t","' || repeat('é', 100) || '":1}]');

-- metadata: an object.
SELECT pg_temp.refused_metadata(x) FROM unnest(ARRAY['[]', '"m"', '1', 'null', 'true', '[{}]']) x;

-- The number of targets. The limits are settings; an event exactly at the limit is accepted.
BEGIN;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets)
SELECT 'validation-limits', 'a', 'b', jsonb_agg(jsonb_build_object('type', 't', 'id', n::text)) FROM generate_series(1, 100) n;
SELECT pg_temp.refused_targets((SELECT jsonb_agg('{"type":"t"}'::jsonb) FROM generate_series(1, 101))::text);
SET immutable.max_targets = 2;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('validation-limits', 'a', 'b', '[{"type":"t"},{"type":"t"}]');
SELECT pg_temp.refused_targets('[{"type":"t"},{"type":"t"},{"type":"t"}]');
SET immutable.max_targets = 0;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('validation-limits', 'a', 'b', '[]');
SELECT pg_temp.refused_targets('[{"type":"t"}]');
SET immutable.max_targets = 1000;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets)
SELECT 'validation-limits', 'a', 'b', jsonb_agg(jsonb_build_object('type', 't', 'id', n::text)) FROM generate_series(1, 1000) n;
SELECT pg_temp.refused_targets((SELECT jsonb_agg('{"type":"t"}'::jsonb) FROM generate_series(1, 1001))::text);
RESET immutable.max_targets;
SELECT pg_temp.refused('SET immutable.max_targets = 1001');
SELECT pg_temp.refused('SET immutable.max_targets = -1');

-- The number of keys in the metadata of the event and of a target.
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', pg_temp.keys(50)::jsonb);
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('validation-limits', 'a', 'b', jsonb_build_array(jsonb_build_object('type', 't', 'metadata', pg_temp.keys(50)::jsonb)));
SELECT pg_temp.refused_metadata(pg_temp.keys(51));
SELECT pg_temp.refused_targets('[{"type":"a"},{"type":"t","metadata":' || pg_temp.keys(51) || '}]');
-- Only top-level keys count.
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', jsonb_build_object('k', pg_temp.keys(200)::jsonb));
SET immutable.max_metadata_keys = 1;
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', '{"a":1}');
SELECT pg_temp.refused_metadata('{"a":1,"b":2}');
SET immutable.max_metadata_keys = 1000;
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', pg_temp.keys(1000)::jsonb);
RESET immutable.max_metadata_keys;
SELECT pg_temp.refused('SET immutable.max_metadata_keys = 1001');

-- The bytes of canonical text: 64 KiB of metadata, and of each target. An escape counts as it is written.
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', jsonb_build_object('k', repeat('x', 65536 - 8)));
SELECT pg_temp.refused_metadata(jsonb_build_object('k', repeat('x', 65536 - 7))::text);
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', jsonb_build_object('k', repeat('é', 32764)));
SELECT pg_temp.refused_metadata(jsonb_build_object('k', repeat('é', 32764) || 'x')::text);
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', jsonb_build_object('k', repeat('"', 32764)));
SELECT pg_temp.refused_metadata(jsonb_build_object('k', repeat('"', 32764) || 'x')::text);
SELECT octet_length('{"metadata":{"k":""},"type":"t"}') AS around \gset
INSERT INTO immutable.events (tenant_id, actor_id, action, targets)
VALUES ('validation-limits', 'a', 'b', jsonb_build_array(jsonb_build_object('type', 't', 'metadata', jsonb_build_object('k', repeat('x', 65536 - :around)))));
SELECT pg_temp.refused_targets(jsonb_build_array(jsonb_build_object('type', 'a'), jsonb_build_object('type', 't', 'metadata', jsonb_build_object('k', repeat('x', 65537 - :around))))::text);
-- Each target has its own limit.
INSERT INTO immutable.events (tenant_id, actor_id, action, targets)
SELECT 'validation-limits', 'a', 'b', jsonb_agg(jsonb_build_object('type', 't', 'metadata', jsonb_build_object('k', repeat('x', 65536 - :around)))) FROM generate_series(1, 5);
SET immutable.max_metadata_bytes = 7;
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', '{"k":1}');
SELECT pg_temp.refused_metadata('{"k":10}');
SELECT pg_temp.refused_targets('[{"type":"t"}]');
RESET immutable.max_metadata_bytes;
SELECT pg_temp.refused('SET immutable.max_metadata_bytes = 65537');
-- Numbers that are small as jsonb and long as text.
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', '{"n":1e400,"m":-1e-400,"z":-0.0,"d":0.10000000000000000000000000000000000001}')
RETURNING length(metadata ->> 'n') AS n, length(metadata ->> 'm') AS m, metadata -> 'z' AS z, metadata -> 'd' AS d;
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', '{"n":1e65529}') RETURNING length(metadata ->> 'n') AS n;
SELECT pg_temp.refused_metadata('{"n":1e65530}');
SELECT pg_temp.refused_metadata('{"n":1e131000}');
SELECT pg_temp.refused_metadata('{"n":[1e131000,-1e131000]}');
SELECT pg_temp.refused_metadata('{"a":1e-16000,"b":1e-16000,"c":1e-16000,"d":1e-16000,"e":1e-16000}');
SELECT pg_temp.refused_targets('[{"type":"t","metadata":{"n":1e131000}}]');

-- The depth: 64 levels; the object itself is the first.
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', pg_temp.deep(64)::jsonb);
SELECT pg_temp.refused_metadata(pg_temp.deep(65));
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('validation-limits', 'a', 'b', ('[{"type":"t","metadata":' || pg_temp.deep(63) || '}]')::jsonb);
SELECT pg_temp.refused_targets('[{"type":"t","metadata":' || pg_temp.deep(64) || '}]');
SELECT pg_temp.refused_metadata(repeat('{"k":', 65) || '1' || repeat('}', 65));
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', (repeat('{"k":', 64) || '1' || repeat('}', 64))::jsonb);
-- Nested so deeply that recursion would exhaust the stack.
SELECT pg_temp.refused_metadata(pg_temp.deep(5000));
SELECT pg_temp.refused_targets('[{"type":"t","metadata":' || pg_temp.deep(5000) || '}]');
SELECT pg_temp.refused_targets(repeat('[', 5000) || repeat(']', 5000));
SELECT pg_temp.refused_targets('[{"type":"t","id":' || pg_temp.deep(5000) || '}]');
SET immutable.max_nesting = 1;
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES ('validation-limits', 'a', 'b', '{"k":1}');
SELECT pg_temp.refused_metadata('{"k":[]}');
RESET immutable.max_nesting;
SELECT pg_temp.refused('SET immutable.max_nesting = 65');
SELECT count(*) > 20 AS entered, bool_and(sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash) AS hashed FROM immutable.events e WHERE tenant_id = 'validation-limits';
SELECT valid FROM immutable.verify_chain('validation-limits');
ROLLBACK;

-- Texts, in bytes: 255, 512, 1,024 or 4,096.
CREATE TEMPORARY TABLE texts (n int, field text, bytes int);
INSERT INTO texts VALUES (1, 'tenant_id', 255), (2, 'actor_id', 512), (3, 'actor_name', 1024), (4, 'actor_type', 255), (5, 'action', 255),
  (6, 'action_category', 255), (7, 'resource_type', 255), (8, 'resource_id', 512), (9, 'resource_name', 1024), (10, 'session_id', 512),
  (11, 'idempotency_key', 512), (12, 'ip_country', 255), (13, 'ip_city', 255), (14, 'user_agent', 4096);
CREATE FUNCTION pg_temp.with_text(field text, value text) RETURNS text LANGUAGE sql AS $$
  SELECT format('INSERT INTO immutable.events (%s) VALUES (%s)', string_agg(quote_ident(c), ', ' ORDER BY c), string_agg(quote_literal(v), ', ' ORDER BY c))
  FROM (SELECT c, CASE WHEN c = field THEN value ELSE v END AS v
        FROM (VALUES ('tenant_id', 'validation-texts'), ('actor_id', 'a'), ('action', 'b'), (field, value)) d(c, v) GROUP BY 1, 2) x
$$;
SELECT pg_temp.refused(pg_temp.with_text(field, repeat('x', bytes + 1))) FROM texts ORDER BY n;
SELECT field, pg_temp.refused(pg_temp.with_text(field, repeat('é', bytes / 2 + 1))) FROM texts WHERE field IN ('tenant_id', 'actor_id', 'user_agent') ORDER BY n;
SELECT pg_temp.refused_targets('[{"type":"' || repeat('x', 256) || '"}]');
SELECT pg_temp.refused_targets('[{"type":"t"},{"type":"t","id":"' || repeat('x', 513) || '"}]');
SELECT pg_temp.refused_targets('[{"type":"t","name":"' || repeat('é', 513) || '"}]');
-- A value exactly at the limit is accepted, all of them together too, and fits into every index. (md5 makes text that does not compress.)
CREATE FUNCTION pg_temp.noise(bytes int) RETURNS text LANGUAGE sql AS $$ SELECT left(string_agg(md5(n::text), ''), bytes) FROM generate_series(1, bytes / 32 + 1) n $$;
INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, action_category, resource_type, resource_id, resource_name,
  session_id, idempotency_key, ip_country, ip_city, user_agent, targets)
VALUES (pg_temp.noise(255), pg_temp.noise(512), pg_temp.noise(1024), pg_temp.noise(255), pg_temp.noise(255), pg_temp.noise(255), pg_temp.noise(255),
  pg_temp.noise(512), pg_temp.noise(1024), pg_temp.noise(512), pg_temp.noise(512), pg_temp.noise(255), pg_temp.noise(255), pg_temp.noise(4096),
  jsonb_build_array(jsonb_build_object('type', pg_temp.noise(255), 'id', pg_temp.noise(512), 'name', pg_temp.noise(1024))));
SELECT count(*), bool_and(v.valid) AS valid, sum(octet_length(target_name)) AS target_name FROM immutable.event_targets t, immutable.verify_chain(t.tenant_id) v WHERE t.tenant_id = pg_temp.noise(255);
INSERT INTO immutable.events (tenant_id, actor_id, action, action_category) VALUES ('validation-texts', repeat('é', 256), repeat('😀', 63), repeat('é', 127) || 'x');
-- Only required values may not be empty.
INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, action, action_category, resource_type, resource_id, resource_name, session_id, idempotency_key, ip_country, ip_city, user_agent, targets)
VALUES ('validation-texts', 'a', '', '', 'b', '', '', '', '', '', '', '', '', '', '[{"type":"t","id":"","name":"","metadata":{}}]');
SELECT valid, events_checked FROM immutable.verify_chain('validation-texts');

-- occurred_at: finite, years 0001 to 9999, counted in UTC.
SELECT v, r FROM unnest(ARRAY['infinity', '-infinity', '0001-12-31 23:59:59.999999+00 BC', '4713-01-01 00:00+00 BC', '10000-01-01 00:00:00+00', '294276-12-31 23:59:59.999999+00', '9999-12-31 23:59:59.999999-00:01']) v,
  pg_temp.refused_event('occurred_at', quote_literal(v)) r;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
INSERT INTO immutable.events (tenant_id, actor_id, action, occurred_at) VALUES ('validation-times', 'a', 'b', '0001-01-01 00:00:00+00'), ('validation-times', 'a', 'b', '9999-12-31 23:59:59.999999+00'),
  ('validation-times', 'a', 'b', '0001-12-31 23:59:59-00:01'), ('validation-times', 'a', 'b', '2016-12-31 23:59:60+00')
RETURNING occurred_at;
RESET TimeZone;
RESET DateStyle;
SELECT valid, events_checked FROM immutable.verify_chain('validation-times');

-- Actions and target types reserved for the log itself are refused, for the superuser and the owner too.
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('validation', 'a', 'immutable.event_erased')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('validation', 'a', 'immutable.')$$);
SELECT pg_temp.refused_targets('[{"type":"t"},{"type":"immutable.event","id":"1"}]');
-- Another user's function that runs with its owner's rights does not count as the log itself.
CREATE ROLE regress_validation_definer;
GRANT immutable_writer TO regress_validation_definer;
CREATE FUNCTION regress_validation_definer(action text) RETURNS void SECURITY DEFINER LANGUAGE sql AS $$
  INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('validation', 'a', action)
$$;
ALTER FUNCTION regress_validation_definer OWNER TO regress_validation_definer;
SELECT pg_temp.refused($$SELECT regress_validation_definer('immutable.event_erased')$$);
DROP FUNCTION regress_validation_definer;
DROP OWNED BY regress_validation_definer;
DROP ROLE regress_validation_definer;
-- Names that only resemble the reserved ones are free.
INSERT INTO immutable.events (tenant_id, actor_id, action, action_category, resource_type, actor_type, targets)
VALUES ('validation-reserved', 'a', 'immutable', 'immutable.x', 'immutable.x', 'immutable.x', '[{"type":"immutable"},{"type":"Immutable.x"},{"type":"immutablex.y"}]'),
  ('validation-reserved', 'a', 'Immutable.x', NULL, NULL, NULL, '[]'), ('validation-reserved', 'a', ' immutable.x', NULL, NULL, NULL, '[]'), ('validation-reserved', 'a', 'not.immutable.x', NULL, NULL, NULL, '[]');
SELECT valid, events_checked FROM immutable.verify_chain('validation-reserved');

-- What the columns' types refuse keeps PostgreSQL's own error.
SELECT pg_temp.refused_event('ip_address', $$'300.1.1.1'$$);
SELECT pg_temp.refused_event('id', $$'no uuid'$$);
SELECT pg_temp.refused_event('metadata', $$'{"nul":"\u0000"}'$$);
SELECT pg_temp.refused_event('version', $$2147483648$$);

-- The first fault is reported; several at once give one error.
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action, targets, metadata, seq) VALUES ('validation', '', '', '{}', '[]', 1)$$);

-- None of it was stored.
SELECT count(*) AS events FROM immutable.events WHERE tenant_id IN ('validation', 'validation-limits');
SELECT count(*) AS targets FROM immutable.event_targets WHERE tenant_id IN ('validation', 'validation-limits');
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('validation', 'a', 'b') RETURNING seq;

-- track_batch() says which field it was.
SELECT jsonb_path_query(immutable.track_batch(jsonb_build_array(
  '{}'::jsonb, '{"actor_id":"a"}'::jsonb, '{"action":"b"}'::jsonb, '{"actor_id":"","action":"b"}'::jsonb, '{"actor_id":"a","action":""}'::jsonb,
  '{"actor_id":"a","action":"b","targets":{}}'::jsonb, '{"actor_id":"a","action":"b","targets":[1]}'::jsonb, '{"actor_id":"a","action":"b","targets":[{"type":"t"},{}]}'::jsonb,
  '{"actor_id":"a","action":"b","targets":[{"type":"t","id":1}]}'::jsonb, '{"actor_id":"a","action":"b","targets":[{"type":"t","name":1}]}'::jsonb,
  '{"actor_id":"a","action":"b","targets":[{"type":"t","metadata":1}]}'::jsonb, '{"actor_id":"a","action":"b","targets":[{"type":"t","x":1}]}'::jsonb,
  '{"actor_id":"a","action":"b","targets":[{"type":"immutable.x"}]}'::jsonb, '{"actor_id":"a","action":"immutable.x"}'::jsonb,
  '{"actor_id":"a","action":"b","metadata":[]}'::jsonb, jsonb_build_object('actor_id', 'a', 'action', 'b', 'metadata', pg_temp.keys(51)::jsonb),
  jsonb_build_object('actor_id', 'a', 'action', 'b', 'metadata', pg_temp.deep(65)::jsonb), jsonb_build_object('actor_id', repeat('x', 513), 'action', 'b'),
  '{"actor_id":"a","action":"b","metadata":{"n":1e131000}}'::jsonb, '{"actor_id":"a","action":"b","occurred_at":"infinity"}'::jsonb, '{"actor_id":"a","action":"b","occurred_at":"0000-01-01T00:00:00Z"}'::jsonb
)), '$.events[*].error.keyvalue() ? (@.key == "field").value') AS field;
SELECT count(*) AS events FROM immutable.events WHERE tenant_id = '' AND actor_id = 'a' AND action = 'b';
