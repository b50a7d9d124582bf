-- A client that names every column of an event, as object mappers do, is served: NULL and DEFAULT are as good as leaving a
-- column out, and a value in one of the chain's columns is refused by the log's own error. It gives a writer no new way in.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_columns_writer;
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
CREATE ROLE regress_columns_writer;
GRANT immutable_writer TO regress_columns_writer;
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns, string_agg(CASE attname WHEN 'actor_id' THEN '''a''' WHEN 'action' THEN '''every.%1$s''' WHEN 'tenant_id' THEN '''every-column''' ELSE '%1$s' END, ', ' ORDER BY attnum) AS values
FROM pg_attribute WHERE attrelid = 'immutable.events'::regclass AND attnum > 0 AND NOT attisdropped \gset
SET SESSION AUTHORIZATION regress_columns_writer;
-- All of them, in every form.
SELECT format('INSERT INTO immutable.events (%s) VALUES (%s) RETURNING action, id IS NOT NULL AS id, seq, lane, created_at = occurred_at AS now, recorded_by', :'columns', format(:'values', v)) FROM unnest(ARRAY['NULL', 'DEFAULT']) v \gexec
INSERT INTO immutable.events SELECT (jsonb_populate_record(NULL::immutable.events, '{"tenant_id":"every-column","actor_id":"a","action":"every.populated"}')).* RETURNING action, id IS NOT NULL AS id, seq;
-- Each of the chain's columns by itself: NULL and DEFAULT; empty, which is what a mapper gives for a text or bytea that cannot be NULL; a value.
CREATE FUNCTION pg_temp.given(c text, v text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT pg_temp.refused(format('INSERT INTO immutable.events (tenant_id, actor_id, action, %I) VALUES (''every-column'', ''a'', ''every.one'', %s)', c, v))
$$;
SELECT format('INSERT INTO immutable.events (tenant_id, actor_id, action, %I) VALUES (''every-column'', ''a'', ''every.one'', %s)', c, v)
FROM unnest(ARRAY['created_at', 'lane', 'seq', 'previous_event_hash', 'event_hash', 'salt', 'erased', 'recorded_by', 'log_id', 'xact']) c, unnest(ARRAY['NULL', 'DEFAULT']) v
UNION ALL SELECT format('INSERT INTO immutable.events (tenant_id, actor_id, action, %I) VALUES (''every-column-'' || %L, ''a'', ''every.one'', '''')', c, c) FROM unnest(ARRAY['previous_event_hash', 'event_hash', 'salt', 'recorded_by']) c \gexec
SELECT c, pg_temp.given(c, v) FROM (VALUES ('created_at', '''2020-01-01'''), ('lane', '0'), ('seq', '1'), ('previous_event_hash', 'sha256('''')'), ('event_hash', 'sha256('''')'), ('salt', '''\x00'''), ('erased', '''{}'''),
  ('recorded_by', '''postgres'''), ('recorded_by', ''' '''), ('log_id', 'gen_random_uuid()'), ('xact', 'pg_current_xact_id()'), ('xact', '''0''')) x(c, v);
RESET SESSION AUTHORIZATION;
-- A superuser gets the same error.
SELECT c, pg_temp.given(c, v) FROM (VALUES ('created_at', 'now()'), ('seq', '1')) x(c, v);
SELECT e.action, count(*), bool_and(recorded_by = 'regress_columns_writer') AS recorder, bool_and(sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash) AS hashes FROM immutable.events e WHERE tenant_id LIKE 'every-column%' GROUP BY 1 ORDER BY 1;
SELECT tenant_id, previous_event_hash, length(event_hash) AS event_hash, length(salt) AS salt, erased FROM immutable.events WHERE tenant_id LIKE 'every-column-%' ORDER BY 1;
SELECT valid FROM immutable.verify_chain('every-column');

-- id: a default that a client can ask for, the same that a NULL gets. It sorts as it was made, and an id of one's own is kept.
SET SESSION AUTHORIZATION regress_columns_writer;
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'every-id', 'a', 'id.' || n FROM generate_series(1, 100) n;
INSERT INTO immutable.events (id, tenant_id, actor_id, action) VALUES (NULL, 'every-id', 'a', 'id.null'), (DEFAULT, 'every-id', 'a', 'id.default'), ('00000000-0000-4000-8000-00000000e001', 'every-id', 'a', 'id.own');
RESET SESSION AUTHORIZATION;
SELECT count(DISTINCT id) AS ids, bool_and(action = 'id.own' OR substr(id::text, 15, 1) = '7') AS v7,
  bool_and(action = 'id.own' OR abs(extract(epoch FROM created_at) * 1000 - ('x' || lpad(replace(left(id::text, 13), '-', ''), 16, '0'))::bit(64)::bigint) < 10000) AS of_now
FROM immutable.events e WHERE tenant_id = 'every-id';

-- It gives a writer no new way in: without the trigger, a writer can insert nothing.
GRANT SET ON PARAMETER session_replication_role TO regress_columns_writer;
CREATE FUNCTION pg_temp.forged() RETURNS text LANGUAGE sql AS $$ SELECT 'INSERT INTO immutable.events (id, tenant_id, actor_id, action, occurred_at, created_at, lane, seq, event_hash, salt, recorded_by, log_id, xact) VALUES
  (gen_random_uuid(), ''every-forged'', ''a'', ''forged'', now(), ''2020-01-01'', 0, 1, sha256(''''), ''\x00112233445566778899aabbccddeeff'', ''postgres'', gen_random_uuid(), ''1'')' $$;
SET SESSION AUTHORIZATION regress_columns_writer;
SELECT pg_temp.refused(pg_temp.forged());
SET session_replication_role = replica;
SELECT pg_temp.refused(pg_temp.forged());
SELECT pg_temp.refused('INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (''every-forged'', ''a'', ''forged'')');
RESET session_replication_role;
SELECT pg_temp.refused(s) FROM unnest(ARRAY['INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES (''every-column'', ''a'', ''b'', ''k''), (''every-column'', ''a'', ''b'', ''k'') ON CONFLICT (tenant_id, idempotency_key) DO UPDATE SET seq = 1',
  'UPDATE immutable.events SET created_at = now()', 'SET immutable.restore = on', 'INSERT INTO immutable.event_targets DEFAULT VALUES', 'INSERT INTO immutable.log VALUES (gen_random_uuid(), now())']) s;
RESET SESSION AUTHORIZATION;
SELECT count(*) AS forged FROM immutable.events WHERE tenant_id = 'every-forged';
REVOKE SET ON PARAMETER session_replication_role FROM regress_columns_writer;
DROP OWNED BY regress_columns_writer;
DROP ROLE regress_columns_writer;
