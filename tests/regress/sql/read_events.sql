-- Reading: get_event(), get_events(), find_events(). In this file an event's version serves as its name.
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

INSERT INTO immutable.events (id, tenant_id, actor_id, actor_name, actor_type, action, action_category, resource_type, resource_id, resource_name, targets, metadata, session_id,
  ip_address, ip_country, ip_city, user_agent, idempotency_key, version, occurred_at) VALUES
  ('00000000-0000-4000-8000-000000000f01', 'read', 'user_1', 'Sarah Chen', 'user', 'document.created', 'documents', 'document', 'doc_1', 'Q4 Financial Report',
   '[{"type":"team","id":"t1","name":"Ops"},{"type":"folder","id":"f1"}]', '{"folder":"reports","size":1.10}', 'sess_1', '203.0.113.7', 'US', 'San Francisco', 'Mozilla/5.0', 'key_1', 1, '2026-03-15 14:32:18.847312+00');
INSERT INTO immutable.events (id, tenant_id, actor_id, actor_name, action, resource_type, resource_id, resource_name, targets, metadata, session_id, ip_address, version) VALUES
  ('00000000-0000-4000-8000-000000000f02', 'read', 'user_1', 'Sarah Chen', 'document.viewed', 'document', 'doc_2', 'Roadmap', '[{"type":"team","id":"f1"},{"type":"folder","id":"t1"}]', '{}', 'sess_1', '10.0.0.0/8', 2),
  ('00000000-0000-4000-8000-000000000f03', 'read', 'user_2', '100% Bob', 'document.deleted', 'document', 'doc_1', 'under_score', '[]', '{"Note":"Half price: 50%"}', 'sess_2', '::1.2.3.4', 3),
  ('00000000-0000-4000-8000-000000000f04', 'read', 'user_2', NULL, 'documents.listed', 'folder', 'doc_1', NULL, '[]', '{}', 'sess_2', NULL, 4),
  ('00000000-0000-4000-8000-000000000f05', 'read', 'user_3', 'back\slash', 'user.login', NULL, NULL, NULL, '[]', '{}', NULL, NULL, 5),
  ('00000000-0000-4000-8000-000000000f06', 'read', 'user_3', NULL, 'a%b_c\d*e', NULL, NULL, NULL, '[]', '{}', NULL, NULL, 6),
  ('00000000-0000-4000-8000-000000000f07', 'read', 'user_3', NULL, 'é.créé', NULL, NULL, NULL, '[]', '{}', NULL, NULL, 7),
  ('00000000-0000-4000-8000-000000000f08', 'read', 'user_3', NULL, 'tilde~x', NULL, NULL, NULL, '[{"type":"team"},{"type":"team","id":"t9"}]', '{}', NULL, NULL, 8),
  ('00000000-0000-4000-8000-000000000f09', 'read', 'user_3', NULL, E'del\x7fx', '', '', '', '[]', '{}', '', NULL, 9);
INSERT INTO immutable.events (id, tenant_id, actor_id, action, version) VALUES ('00000000-0000-4000-8000-000000000f01', 'read-2', 'user_1', 'document.created', 101), ('00000000-0000-4000-8000-000000000f0a', '', 'read_user', 'document.created', 102);

-- Runs both functions with these arguments: which events, newest first, and that both agree.
CREATE FUNCTION pg_temp.found(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE rows int[]; page int[]; total bigint;
BEGIN
  EXECUTE format('SELECT coalesce(array_agg(version), ''{}'') FROM immutable.find_events(%s)', arguments) INTO rows;
  EXECUTE format($x$SELECT ARRAY(SELECT jsonb_path_query(p, '$.data[*].version')::int), (p #>> '{pagination,total}')::bigint FROM immutable.get_events(%s) p$x$, arguments) INTO page, total;
  RETURN CASE WHEN rows = page AND total = cardinality(rows) THEN rows::text ELSE format('find_events %s, get_events %s, total %s', rows, page, total) END;
END
$$;
CREATE FUNCTION pg_temp.found_in(arguments text) RETURNS text LANGUAGE sql AS $$ SELECT pg_temp.found('tenant_id => ''read'', ' || arguments) $$;

-- The shape of the service's answer: the documented members, and those beyond it.
SELECT array_agg(k ORDER BY k COLLATE "C") AS answer FROM jsonb_object_keys(immutable.get_events(tenant_id => 'read')) k;
SELECT jsonb_typeof(p -> 'data') AS data, p -> 'pagination' AS pagination FROM immutable.get_events(tenant_id => 'read') p;
SELECT p #>> '{pagination,total}' AS total, p #>> '{pagination,has_more}' AS has_more, jsonb_typeof(p #> '{pagination,next_cursor}') AS next_cursor FROM immutable.get_events(tenant_id => 'read', "limit" => 2) p;
WITH documented(member) AS (SELECT unnest(ARRAY['id', 'actor', 'action', 'action_category', 'resource', 'targets', 'metadata', 'tenant_id', 'session_id', 'ip_country', 'ip_city', 'idempotency_key', 'version', 'integrity', 'occurred_at', 'created_at',
    'actor.id', 'actor.name', 'actor.type', 'resource.type', 'resource.id', 'resource.name', 'integrity.event_hash', 'integrity.previous_event_hash'])),
  event AS (SELECT e FROM jsonb_array_elements(immutable.get_events(tenant_id => 'read') -> 'data') e),
  given(member, events) AS (SELECT m, count(*) FROM event, LATERAL (SELECT k AS m FROM jsonb_object_keys(e) k UNION ALL SELECT p || '.' || k FROM unnest(ARRAY['actor', 'resource', 'integrity']) p, jsonb_object_keys(e -> p) k) x GROUP BY m)
SELECT CASE WHEN d.member IS NULL THEN 'beyond' WHEN g.member IS NULL THEN 'missing' ELSE 'documented' END AS what, array_agg(coalesce(g.member, d.member) ORDER BY coalesce(g.member, d.member) COLLATE "C") AS members, min(events) AS events
FROM documented d FULL JOIN given g USING (member) GROUP BY 1 ORDER BY 1;
SELECT jsonb_pretty(immutable.get_event('00000000-0000-4000-8000-000000000f01', 'read') #- '{data,integrity,event_hash}' #- '{data,created_at}');
SELECT jsonb_pretty(immutable.get_event('00000000-0000-4000-8000-000000000f05') #- '{data,integrity,event_hash}' #- '{data,integrity,previous_event_hash}' #- '{data,created_at}' #- '{data,occurred_at}');
SET TimeZone = 'Asia/Kathmandu';
SELECT d #>> '{integrity,event_hash}' = encode(e.event_hash, 'hex') AS event_hash, d #>> '{integrity,previous_event_hash}' = encode(e.previous_event_hash, 'hex') AS previous,
       d ->> 'created_at' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$' AND (d ->> 'created_at')::timestamptz = e.created_at AS created_at, (d ->> 'occurred_at')::timestamptz = e.occurred_at AS occurred_at
FROM immutable.events e, LATERAL (SELECT immutable.get_event(e.id, e.tenant_id) -> 'data' AS d) x WHERE e.id = '00000000-0000-4000-8000-000000000f02';
RESET TimeZone;
-- An address is what inet prints.
SELECT immutable.get_event(id, tenant_id) #>> '{data,ip_address}' AS ip_address FROM immutable.events WHERE tenant_id = 'read' AND ip_address IS NOT NULL ORDER BY seq;
-- An event without a tenant has a null tenant_id.
SELECT immutable.get_event('00000000-0000-4000-8000-000000000f0a') #> '{data,tenant_id}' AS no_tenant;
SELECT jsonb_path_query_array(immutable.get_events(tenant_id => '', actor_id => 'read_user'), '$.data[*].tenant_id') AS no_tenant;

-- get_event(): by id, and by tenant where several events have the id.
SELECT pg_temp.refused($$SELECT immutable.get_event('00000000-0000-4000-8000-000000000f01')$$);
SELECT immutable.get_event('00000000-0000-4000-8000-000000000f01', 'read-2') #> '{data,version}' AS of_read_2, immutable.get_event('00000000-0000-4000-8000-000000000f02', 'read') #> '{data,version}' AS of_read,
       immutable.get_event('00000000-0000-4000-8000-000000000f02', 'read-2') AS elsewhere, immutable.get_event('00000000-0000-4000-8000-000000000f02', '') AS no_tenant, immutable.get_event(NULL) AS of_null,
       immutable.get_event('00000000-0000-4000-8000-0000000000ff') AS unknown, immutable.get_event('00000000-0000-4000-8000-000000000f0a', '') #> '{data,version}' AS without_tenant;

-- Every filter.
SELECT a, pg_temp.found_in(a) FROM unnest(ARRAY[$$actor_id => 'user_1'$$, $$actor_id => 'user_%'$$, $$actor_id => 'USER_1'$$, $$actor_id => ''$$, $$actor_id => NULL$$, $$resource => 'document'$$, $$resource => ''$$, $$resource => 'doc'$$,
  $$resource_id => 'doc_1'$$, $$resource => 'document', resource_id => 'doc_1'$$, $$resource_id => 'doc_%'$$, $$session_id => 'sess_2'$$, $$session_id => ''$$]) a;
SELECT a, pg_temp.found(a) FROM unnest(ARRAY[$$tenant_id => 'read-2'$$, $$tenant_id => 'rea%'$$, $$tenant_id => 'READ'$$, $$tenant_id => '', actor_id => 'read_user'$$, $$actor_id => 'read_user'$$, $$tenant_id => NULL, actor_id => 'read_user'$$]) a;
SELECT pg_temp.found($$tenant_id => 'read'$$) AS "all";
-- Targets: type and id are those of one target.
SELECT a, pg_temp.found_in(a) FROM unnest(ARRAY[$$target_type => 'team'$$, $$target_id => 't1'$$, $$target_type => 'team', target_id => 't1'$$, $$target_type => 'folder', target_id => 't1'$$, $$target_type => 'team', target_id => 'nothing'$$,
  $$target_type => 'te%'$$, $$target_id => ''$$, $$target_id => 't9'$$, $$target_type => 'team', actor_id => 'user_1', action => '*.viewed'$$]) a;
-- Actions: * matches any text, every other character matches itself.
SELECT a, pg_temp.found_in(format('action => %L', a)) FROM unnest(ARRAY['document.created', 'document.*', 'document*', 'doc*', '*', '**', '*.created', '*ed', '*.login', 'd*.*ed', 'd*c*t*l*d', '*document*', 'document.created*', '*document.created', '*document.created*',
  'document', 'Document.*', 'DOCUMENT.CREATED', 'document.%', 'document_created', 'document.______d', '%', '', ' *', '*x', 'x*']) a;
SELECT a, pg_temp.found_in(format('action => %L', a)) FROM unnest(ARRAY['a%b_c\d*e', 'a%*', 'a_*', 'a%b_*', 'a%b_c\*', '*\d*', '*\*', '*_c*', '*%*', 'a%b_c\\*', '\*', '*\d**e', 'é*', 'é.*', '*é', 'é.cré*', '*cr*', 'tilde~*', E'del\x7f*', E'del\x7f\x7f*', 'del*', 'e*']) a;
-- Search: case-insensitive, anywhere in actor name, action, resource name and metadata; %, _ and \ match themselves.
SELECT a, pg_temp.found_in(format('search => %L', a)) FROM unnest(ARRAY['sarah', 'SARAH CHEN', 'h C', 'Created', 'financial', 'roadmap', 'REPORTS', 'folder', 'half PRICE', 'note', '1.10', 'doc_1', 'sess_1', 'user_1', 'team', 'nothing at all', '']) a;
SELECT a, pg_temp.found_in(format('search => %L', a)) FROM unnest(ARRAY['%', '50%', '0%%', '_', 'under_', 'r_s', '\', 'back\slash', '\\', '%b_c\d', '*', 'sarah*', '''', '"folder"']) a;
-- Times: of recording, both ends included.
SELECT created_at AS third FROM immutable.events WHERE tenant_id = 'read' AND version = 3 \gset
SELECT created_at AS fifth FROM immutable.events WHERE tenant_id = 'read' AND version = 5 \gset
SELECT a, pg_temp.found_in(format(f, :'third', :'fifth')) FROM (VALUES ('from third', 'from_date => %1$L'), ('to fifth', 'to_date => %2$L'), ('third to fifth', 'from_date => %1$L, to_date => %2$L'), ('third to third', 'from_date => %1$L, to_date => %1$L'),
  ('fifth to third', 'from_date => %2$L, to_date => %1$L'), ('infinity', 'from_date => ''-infinity'', to_date => ''infinity'', actor_id => ''user_1'''), ('from infinity', 'from_date => ''infinity''')) x(a, f);
-- All at once.
SELECT pg_temp.found($$actor_id => 'user_1', action => 'doc*.created', resource => 'document', resource_id => 'doc_1', tenant_id => 'read', session_id => 'sess_1', target_type => 'team', target_id => 't1', search => 'report', from_date => '2000-01-01', to_date => '9999-01-01', "limit" => 100$$);
SELECT pg_temp.found($$'user_1', 'document.*', 'document', 'doc_1', 'read', 'sess_1', 'team', 't1', 'report', '2000-01-01', '9999-01-01', NULL, 100$$);
-- Text that looks like SQL.
SELECT a, pg_temp.found_in(a) FROM unnest(ARRAY[$$actor_id => ''' OR true --'$$, $$action => '*'' OR true --'$$, $$search => ''') OR true --'$$, $$target_id => '$1'$$]) a;

-- Pages.
INSERT INTO immutable.events (tenant_id, actor_id, action, version) SELECT 'read-pages', 'a', CASE WHEN n % 3 = 0 THEN 'x' ELSE 'y' END, n FROM generate_series(1, 130) n;
SELECT jsonb_array_length(p -> 'data') AS "default", p #> '{data,0,version}' AS newest, p #> '{data,-1,version}' AS oldest, p #> '{pagination,has_more}' AS more, p #> '{pagination,total}' AS total FROM immutable.get_events(tenant_id => 'read-pages') p;
SELECT count(*) AS find_events_default FROM immutable.find_events(tenant_id => 'read-pages');
SELECT jsonb_array_length(immutable.get_events(tenant_id => 'read-pages', "limit" => 100) -> 'data') AS hundred, (SELECT count(*) FROM immutable.find_events(tenant_id => 'read-pages', "limit" => 10000)) AS all, jsonb_array_length(immutable.get_events(tenant_id => 'read-pages', "limit" => NULL) -> 'data') AS of_null;
SELECT l, pg_temp.refused(format('SELECT immutable.get_events("limit" => %s)', l)) FROM unnest(ARRAY[0, -1, 101, 2147483647]) l;
SELECT l, pg_temp.refused(format('SELECT * FROM immutable.find_events("limit" => %s)', l)) FROM unnest(ARRAY[0, -1, 10001]) l;
-- Walks through all pages; which events, in which order.
CREATE FUNCTION pg_temp.walk(arguments text, page int, OUT events uuid[], OUT pages int, OUT totals bigint[]) LANGUAGE plpgsql AS $$
DECLARE p jsonb; next text;
BEGIN
  events := '{}'; pages := 0; totals := '{}';
  LOOP
    EXECUTE format('SELECT immutable.get_events(%s, "limit" => %s, "cursor" => %L)', arguments, page, next) INTO p;
    events := events || ARRAY(SELECT (jsonb_path_query(p, '$.data[*].id') #>> '{}')::uuid);
    pages := pages + 1;
    IF NOT (p #>> '{pagination,total}')::bigint = ANY (totals) THEN totals := totals || (p #>> '{pagination,total}')::bigint; END IF;
    next := p #>> '{pagination,next_cursor}';
    IF (next IS NULL) IS DISTINCT FROM (p #>> '{pagination,has_more}' = 'false') THEN RAISE 'has_more and next_cursor disagree'; END IF;
    EXIT WHEN next IS NULL OR pages > 1000;
  END LOOP;
END
$$;
SELECT page, w.pages, w.totals, w.events = (SELECT array_agg(id ORDER BY created_at DESC, id DESC) FROM immutable.events WHERE tenant_id = 'read-pages') AS whole
FROM unnest(ARRAY[1, 7, 13, 26, 65, 100]) page, LATERAL pg_temp.walk($$tenant_id => 'read-pages'$$, page) w;
SELECT w.pages, w.totals, w.events = (SELECT array_agg(id ORDER BY created_at DESC, id DESC) FROM immutable.events WHERE tenant_id = 'read-pages' AND action = 'x') AS whole FROM pg_temp.walk($$tenant_id => 'read-pages', action => 'x', from_date => '2000-01-01'$$, 10) w;
-- find_events() goes on from the same cursor.
SELECT immutable.get_events(tenant_id => 'read-pages', "limit" => 3) #>> '{pagination,next_cursor}' AS next \gset
SELECT array_agg(version) FROM immutable.find_events(tenant_id => 'read-pages', "cursor" => :'next', "limit" => 4);
SELECT jsonb_path_query_array(immutable.get_events(tenant_id => 'read-pages', "cursor" => :'next', "limit" => 2), '$.data[*].version');
-- What is recorded between two pages neither shifts nor repeats anything.
INSERT INTO immutable.events (tenant_id, actor_id, action, version) VALUES ('read-pages', 'a', 'y', 131);
SELECT jsonb_path_query_array(p, '$.data[*].version') AS page, p #> '{pagination,total}' AS total FROM immutable.get_events(tenant_id => 'read-pages', "cursor" => :'next', "limit" => 2) p;
-- The cursor: base64url of JSON, for URLs as it is.
SELECT :'next' ~ '^[A-Za-z0-9_-]+$' AS base64url, array_agg(k ORDER BY k COLLATE "C") AS members
FROM jsonb_object_keys(convert_from(decode(rpad(translate(:'next', '-_', '+/'), (length(:'next') + 3) / 4 * 4, '='), 'base64'), 'UTF8')::jsonb) k;
-- Cursors of other filters, of another tenant, of the service, forged ones and damaged ones.
SELECT pg_temp.refused(format('SELECT immutable.get_events(%s, "cursor" => %L)', a, :'next')) FROM unnest(ARRAY[$$tenant_id => 'read'$$, $$actor_id => 'a'$$, $$tenant_id => 'read-pages', action => 'x'$$, $$tenant_id => 'read-pages', to_date => '9999-01-01'$$]) a;
SELECT pg_temp.refused(format('SELECT * FROM immutable.find_events("cursor" => %L)', :'next'));
SELECT pg_temp.refused(format($$SELECT immutable.get_events(tenant_id => 'read-pages', "cursor" => %L)$$, c)) FROM unnest(ARRAY['', 'x', 'nonsense', '%%%', 'e30', 'bnVsbA', 'W10', 'eyJjcmVhdGVkX2F0IjoiMjAyNi0wMy0xNVQxNDozMjoxOC44NDczMTJaIn0',
  :'next' || '=', :'next' || 'A', substr(:'next', 2), ' ' || :'next', repeat('A', 100000), 'é',
  translate(encode(convert_to('{"v":1,"created_at":"infinity","id":"00000000-0000-4000-8000-000000000f01","filters":"0000000000000000"}', 'UTF8'), 'base64'), E'+/=\n', '-_'),
  translate(encode(convert_to('{"v":1,"created_at":"2026-03-15T14:32:18Z","id":"no id","filters":"0000000000000000"}', 'UTF8'), 'base64'), E'+/=\n', '-_')]) c;
SELECT pg_temp.refused(format($$SELECT * FROM immutable.find_events(tenant_id => 'read-pages', "cursor" => %L)$$, 'nonsense'));
-- A valid cursor whose position belongs to no event still works.
SELECT array_agg(version) FROM immutable.find_events(tenant_id => 'read-pages', "limit" => 3, "cursor" => translate(encode(convert_to(jsonb_set(convert_from(decode(rpad(translate(:'next', '-_', '+/'), (length(:'next') + 3) / 4 * 4, '='), 'base64'), 'UTF8')::jsonb,
  '{created_at}', '"9999-01-01T00:00:00.000000Z"')::text, 'UTF8'), 'base64'), E'+/=\n', '-_'));

-- Ties of created_at, in lanes of several tenants: no page loses or repeats one. (Put there with triggers off, and rolled back.)
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO immutable.events
SELECT (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(), 'tenant_id', 'read-tie-' || n, 'actor_id', 'tie_walker', 'version', n,
  'created_at', '2026-01-01 00:00:00+00'::timestamptz + interval '1 microsecond' * (n / 10)))).*
FROM immutable.events e, generate_series(1, 45) n WHERE e.tenant_id = 'read-2';
SELECT count(DISTINCT created_at) AS times, count(*) AS events FROM immutable.events WHERE actor_id = 'tie_walker';
SELECT page, w.pages, w.totals, w.events = (SELECT array_agg(id ORDER BY created_at DESC, id DESC) FROM immutable.events WHERE actor_id = 'tie_walker') AS whole
FROM unnest(ARRAY[1, 2, 3, 7, 10, 44, 45]) page, LATERAL pg_temp.walk($$actor_id => 'tie_walker'$$, page) w;
ROLLBACK;

-- find_events() as a relation like any other.
SELECT f.version, t.target_type FROM immutable.find_events(tenant_id => 'read', target_type => 'team') f JOIN immutable.event_targets t ON t.tenant_id = f.tenant_id AND t.event_id = f.id ORDER BY f.version, t.position;
SELECT (f).version, (f).action FROM (SELECT immutable.find_events(tenant_id => 'read', "limit" => 2) AS f) x;
SELECT t, array_agg(f.version) FROM unnest(ARRAY['read-2', 'nothing', 'read']) WITH ORDINALITY x(t, n) LEFT JOIN LATERAL immutable.find_events(tenant_id => t, "limit" => 3) f ON true GROUP BY t, n ORDER BY n;
SELECT immutable.canonical(f) = immutable.canonical(e) AS same_row FROM immutable.find_events(tenant_id => 'read', "limit" => 1) f JOIN immutable.events e USING (id, tenant_id);
BEGIN READ ONLY;
SELECT count(*) FROM immutable.find_events(tenant_id => 'read');
SELECT immutable.get_events(tenant_id => 'read') #> '{pagination,total}';
SELECT immutable.get_event('00000000-0000-4000-8000-000000000f02') IS NOT NULL;
COMMIT;
-- A plan that is kept follows the table, also to a column that a later version may add.
BEGIN;
ALTER EVENT TRIGGER immutable_ddl_end DISABLE;
ALTER TABLE immutable.events ADD COLUMN later text;
INSERT INTO immutable.events (tenant_id, actor_id, action, version, targets) VALUES ('read-later', 'a', 'b', 1, '[{"type":"t"}]');
SELECT version, later FROM immutable.find_events(tenant_id => 'read-later');
SELECT immutable.get_events(tenant_id => 'read-later') #> '{pagination,total}' AS total, (SELECT valid FROM immutable.verify_chain('read-later')) AS valid;
ROLLBACK;
SELECT count(*) FROM immutable.find_events(tenant_id => 'read');
-- Functions that come before pg_catalog in the session's search path are not called.
CREATE SCHEMA regress_read;
CREATE FUNCTION regress_read.count() RETURNS bigint LANGUAGE sql AS 'SELECT 666::bigint';
CREATE FUNCTION regress_read.texteq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR regress_read.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_read.texteq);
CREATE FUNCTION regress_read.to_char(timestamp, text) RETURNS text LANGUAGE sql AS $$SELECT 'fake'$$;
SET search_path = regress_read, pg_catalog;
SELECT pg_temp.found($$tenant_id => 'read-2'$$);
SELECT pg_catalog.jsonb_path_exists(immutable.get_events(tenant_id => 'read-2'), '$.data[*].created_at ? (@ == "fake")') AS fake;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA regress_read CASCADE;
