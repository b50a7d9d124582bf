-- The one change an event takes: a valid erasure. Built here in plain SQL, from docs/hash-format.md.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_erasure_writer;
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

-- Every value of an event that can be erased, by its path, as canonical text. (Enough of it for what this file erases.)
CREATE FUNCTION pg_temp.vals(e immutable.events) RETURNS TABLE (path text, value text) LANGUAGE sql AS $$
  SELECT c, to_json(v)::text FROM (VALUES ('actor_id', e.actor_id), ('actor_name', e.actor_name), ('resource_id', e.resource_id),
    ('resource_name', e.resource_name), ('session_id', e.session_id), ('idempotency_key', e.idempotency_key), ('ip_address', CASE WHEN e.ip_address IS NOT NULL THEN format('%s', e.ip_address) END),
    ('ip_country', e.ip_country), ('ip_city', e.ip_city), ('user_agent', e.user_agent)) x(c, v) WHERE v IS NOT NULL
  UNION ALL SELECT 'metadata.' || k, v::text FROM jsonb_each(e.metadata) m(k, v)
  UNION ALL SELECT 'targets.' || n - 1, '{' || (SELECT string_agg(to_json(k) || ':' || replace(v::text, ': ', ':'), ',' ORDER BY k COLLATE "C") FROM jsonb_each(t) m(k, v)) || '}'
  FROM jsonb_array_elements(e.targets) WITH ORDINALITY x(t, n) WHERE NOT coalesce(e.erased -> 'commitments' -> 'targets', '{}') ? (n - 1)::text
$$;
CREATE FUNCTION pg_temp.leaf_salt(e immutable.events, path text) RETURNS text LANGUAGE sql AS $$
  SELECT CASE WHEN e.salt IS NULL THEN e.erased -> 'salts' ->> path ELSE encode(substr(sha256(e.salt || convert_to(path, 'UTF8')), 1, 16), 'hex') END
$$;
CREATE FUNCTION pg_temp.commitment(e immutable.events, path text, value text) RETURNS text LANGUAGE sql AS $$
  SELECT encode(sha256(convert_to('["' || pg_temp.leaf_salt(e, path) || '",' || to_json(path) || ',' || value || ']', 'UTF8')), 'hex')
$$;
-- The column `erased` once these paths are erased too.
CREATE FUNCTION pg_temp.erased(e immutable.events, paths text[]) RETURNS jsonb LANGUAGE sql AS $$
  WITH gone AS (SELECT v.path, pg_temp.commitment(e, v.path, v.value) AS hash FROM pg_temp.vals(e) v WHERE v.path = ANY (paths)),
       old AS (SELECT coalesce(e.erased -> 'commitments', '{}') AS c),
       metadata AS (SELECT hash FROM gone WHERE path LIKE 'metadata.%' UNION ALL SELECT jsonb_array_elements_text(c -> 'metadata') FROM old),
       targets AS (SELECT substr(path, 9) AS n, hash FROM gone WHERE path LIKE 'targets.%' UNION ALL SELECT k, v FROM old, jsonb_each_text(c -> 'targets') t(k, v))
  SELECT jsonb_build_object('commitments',
           (SELECT c FROM old) || coalesce((SELECT jsonb_object_agg(path, hash) FROM gone WHERE path NOT LIKE '%.%'), '{}')
           || coalesce((SELECT jsonb_build_object('metadata', jsonb_agg(hash ORDER BY hash COLLATE "C")) FROM metadata HAVING count(*) > 0), '{}')
           || coalesce((SELECT jsonb_build_object('targets', jsonb_object_agg(n, hash)) FROM targets HAVING count(*) > 0), '{}'),
         'salts', coalesce((SELECT jsonb_object_agg(v.path, pg_temp.leaf_salt(e, v.path)) FROM pg_temp.vals(e) v WHERE v.path <> ALL (paths)), '{}'))
$$;
-- The whole row once they are.
CREATE FUNCTION pg_temp.without(e immutable.events, paths text[]) RETURNS immutable.events LANGUAGE sql AS $$
  SELECT jsonb_populate_record(e, coalesce((SELECT jsonb_object_agg(p, NULL) FROM unnest(paths) p WHERE p NOT LIKE '%.%'), '{}') || jsonb_build_object('salt', NULL,
    'erased', pg_temp.erased(e, paths),
    'metadata', e.metadata - coalesce((SELECT array_agg(substr(p, 10)) FROM unnest(paths) p WHERE p LIKE 'metadata.%'), '{}'),
    'targets', (SELECT coalesce(jsonb_agg(CASE WHEN 'targets.' || n - 1 = ANY (paths) THEN jsonb_build_object('type', t -> 'type') ELSE t END ORDER BY n), '[]')
                FROM jsonb_array_elements(e.targets) WITH ORDINALITY x(t, n))))
$$;
-- UPDATE with all columns of the erased row; `change` is applied to it first.
CREATE FUNCTION pg_temp.erase(which uuid, paths text[], change text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  columns text := (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid = 'immutable.events'::regclass AND attnum > 0 AND NOT attisdropped);
BEGIN
  DROP TABLE IF EXISTS pg_temp.changed;
  CREATE TEMPORARY TABLE changed AS SELECT x.* FROM immutable.events e, LATERAL pg_temp.without(e, paths) x WHERE e.id = which;
  IF change IS NOT NULL THEN EXECUTE 'UPDATE changed SET ' || change; END IF;
  EXECUTE format('UPDATE immutable.events e SET (%1$s) = (SELECT %1$s FROM changed) WHERE id = %2$L', columns, which);
END
$$;
SET client_min_messages = warning;

INSERT INTO immutable.events (id, tenant_id, actor_id, actor_name, actor_type, action, resource_type, resource_id, resource_name, targets, metadata, session_id,
  idempotency_key, ip_address, ip_country, ip_city, user_agent, version)
SELECT ('00000000-0000-4000-8000-0000000000e' || n)::uuid, 'erasure', 'user_1', 'Sarah "Sally" Chén', 'user', 'document.shared', 'document', 'doc_1', 'Q4 report',
  '[{"type":"person","id":"p1","name":"Ann","metadata":{"email":"ann@example.com"}},{"type":"person","id":"p2"},{"type":"team","name":"Ops"}]',
  '{"email":"x@example.com","n":1.10,"null":null,"":"empty","a.b":true}', 'sess_1', 'key_' || n, '203.0.113.7', 'NP', 'Kathmandu', 'curl', 1
FROM generate_series(1, 4) n;
SELECT seq, immutable.canonical(e) AS document INTO TEMPORARY before FROM immutable.events e WHERE tenant_id = 'erasure';
-- What this file computes is what the log computed: the commitments of an event's document.
SELECT bool_and(d -> 'commitments' = x.c) AS same FROM immutable.events e, LATERAL (SELECT immutable.canonical(e)::jsonb AS d) c,
  LATERAL (SELECT coalesce(jsonb_object_agg(path, pg_temp.commitment(e, path, value)) FILTER (WHERE path NOT LIKE '%.%'), '{}')
    || jsonb_build_object('metadata', jsonb_agg(pg_temp.commitment(e, path, value) ORDER BY pg_temp.commitment(e, path, value) COLLATE "C") FILTER (WHERE path LIKE 'metadata.%'),
                          'targets', jsonb_agg(pg_temp.commitment(e, path, value) ORDER BY path COLLATE "C") FILTER (WHERE path LIKE 'targets.%')) AS c FROM pg_temp.vals(e)) x
WHERE e.tenant_id = 'erasure';

-- Erase some values of the first event.
SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e1', '{actor_name,metadata.email,ip_address}');
SELECT actor_id, actor_name, ip_address, metadata, salt, (SELECT array_agg(k ORDER BY k COLLATE "C") FROM jsonb_object_keys(erased -> 'commitments') k) AS commitments,
       (SELECT array_agg(k ORDER BY k COLLATE "C") FROM jsonb_object_keys(erased -> 'salts') k) AS salts
FROM immutable.events WHERE id = '00000000-0000-4000-8000-0000000000e1';
-- Its document and hash are as before.
SELECT immutable.canonical(e) = b.document AS same, sha256(convert_to(immutable.canonical(e), 'UTF8')) = event_hash AS hashes
FROM immutable.events e JOIN before b USING (seq) WHERE id = '00000000-0000-4000-8000-0000000000e1';
-- More of it, in a second step; then a target, whose row of event_targets follows, and only then.
SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e1', '{actor_id,metadata.,metadata.a.b}');
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET target_id = NULL, target_name = NULL, target_metadata = NULL WHERE event_id = '00000000-0000-4000-8000-0000000000e1' AND position = 0$$);
SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e1', '{targets.0}');
SELECT type, detail FROM immutable.verify_breaks('erasure') WHERE type = 'target_mismatch';
SELECT pg_temp.refused($$UPDATE immutable.event_targets SET target_id = NULL, target_name = NULL WHERE event_id = '00000000-0000-4000-8000-0000000000e1' AND position = 0$$);
UPDATE immutable.event_targets SET target_id = NULL, target_name = NULL, target_metadata = NULL WHERE event_id = '00000000-0000-4000-8000-0000000000e1' AND position = 0;
SELECT position, target_type, target_id, target_name, target_metadata FROM immutable.event_targets WHERE event_id = '00000000-0000-4000-8000-0000000000e1' ORDER BY position;
SELECT actor_id, actor_name, ip_address, metadata, targets FROM immutable.events WHERE id = '00000000-0000-4000-8000-0000000000e1';
SELECT immutable.get_event('00000000-0000-4000-8000-0000000000e1') -> 'data' #- '{integrity}' #- '{created_at}' #- '{occurred_at}' AS event;
-- All that can be erased of the second event, at once; the idempotency key with it, which is free again.
SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e2', (SELECT array_agg(path) FROM pg_temp.vals(e))) FROM immutable.events e WHERE id = '00000000-0000-4000-8000-0000000000e2';
UPDATE immutable.event_targets SET target_id = NULL, target_name = NULL, target_metadata = NULL WHERE event_id = '00000000-0000-4000-8000-0000000000e2';
SELECT actor_id, actor_name, actor_type, action, resource_type, resource_id, resource_name, targets, metadata, session_id, idempotency_key, ip_address, ip_country, ip_city, user_agent, version, salt, erased -> 'salts' AS salts
FROM immutable.events WHERE id = '00000000-0000-4000-8000-0000000000e2';
INSERT INTO immutable.events (id, tenant_id, actor_id, action, idempotency_key) VALUES ('00000000-0000-4000-8000-0000000000e5', 'erasure', 'a', 'after', 'key_2') RETURNING seq;
SELECT bool_and(immutable.canonical(e) = b.document) AS same, bool_and(sha256(convert_to(immutable.canonical(e), 'UTF8')) = event_hash) AS hashes
FROM immutable.events e JOIN before b USING (seq) WHERE tenant_id = 'erasure';

-- Erased without a record of it: one break for each value.
SELECT valid, events_checked, events_erased, breaks_found FROM immutable.verify_chain('erasure');
SELECT seq, type, detail, expected_hash, count(*), bool_and(octet_length(actual_hash) = 32) AS actual FROM immutable.verify_breaks('erasure') GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3;
-- With a record, made here by a function of the log's owner: no break. (The functions that erase make their own.)
CREATE FUNCTION regress_erasure_record(reason text) RETURNS void SECURITY DEFINER LANGUAGE sql AS $$
  INSERT INTO immutable.events (id, tenant_id, actor_id, action, targets, metadata)
  SELECT '00000000-0000-4000-8000-0000000000e6', 'erasure', 'dpo', 'immutable.event_erased', jsonb_agg(jsonb_build_object('type', 'immutable.event', 'id', e.id, 'metadata', jsonb_build_object('commitments', c))),
         jsonb_build_object('reason', reason, 'ticket', 'T-1')
  FROM (SELECT id, (SELECT jsonb_agg(h) FROM (
          SELECT value AS h FROM jsonb_each(erased -> 'commitments') WHERE jsonb_typeof(value) = 'string'
          UNION ALL SELECT jsonb_array_elements(erased -> 'commitments' -> 'metadata')
          UNION ALL SELECT value FROM jsonb_each(erased -> 'commitments' -> 'targets')) x) AS c
        FROM immutable.events WHERE tenant_id = 'erasure' AND erased IS NOT NULL) e
$$;
SELECT regress_erasure_record('requested by Sarah');
SELECT valid, events_checked, events_erased, breaks_found FROM immutable.verify_chain('erasure');
-- Of that record only metadata.reason can be erased.
SELECT p, pg_temp.refused(format($$SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e6', %L)$$, ARRAY[p])) FROM unnest(ARRAY['actor_id', 'metadata.ticket', 'targets.0']) p;
SELECT pg_temp.refused($$SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e6', '{metadata.reason,metadata.ticket}')$$);
BEGIN;
SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e6', '{metadata.reason}');
SELECT pg_temp.refused($$SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e6', '{metadata.ticket}')$$);
SELECT metadata, immutable.canonical(e) IS NOT NULL AS document FROM immutable.events e WHERE id = '00000000-0000-4000-8000-0000000000e6';
SELECT seq, type, detail FROM immutable.verify_breaks('erasure');
ROLLBACK;

-- Invalid erasures. The third event has all its values; each statement takes a valid erasure and spoils it.
CREATE FUNCTION pg_temp.spoiled(paths text[], change text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT r FROM pg_temp.refused(format('SELECT pg_temp.erase(%L, %L, %L)', '00000000-0000-4000-8000-0000000000e3', paths, change)) r WHERE r NOT LIKE 'HINT:%' AND r NOT LIKE '%: events is append-only: UPDATE is refused'
$$;
-- A value beside its commitment.
SELECT pg_temp.spoiled('{actor_name}', $$actor_name = 'Sarah "Sally" Chén'$$);
SELECT pg_temp.spoiled('{actor_name}', $$actor_name = 'Nobody'$$);
SELECT pg_temp.spoiled('{metadata.email}', $$metadata = metadata || '{"email":"x@example.com"}'$$);
SELECT pg_temp.spoiled('{metadata.email}', $$metadata = metadata || '{"email":null}'$$);
SELECT pg_temp.spoiled('{targets.1}', $$targets = jsonb_set(targets, '{1}', '{"type":"person","id":"p2"}')$$);
SELECT pg_temp.spoiled('{targets.1}', $$targets = jsonb_set(targets, '{1}', '{"type":"person","id":null}')$$);
-- With the salt of the value, so that the row would be whole but for that.
SELECT pg_temp.spoiled('{actor_name}', $$actor_name = 'Sarah "Sally" Chén', erased = jsonb_set(changed.erased, '{salts,actor_name}', to_jsonb((SELECT pg_temp.leaf_salt(e, 'actor_name') FROM immutable.events e WHERE e.id = changed.id)))$$);
SELECT pg_temp.spoiled('{metadata.email}', $$metadata = metadata || '{"email":"x@example.com"}', erased = jsonb_set(changed.erased, '{salts,metadata.email}', to_jsonb((SELECT pg_temp.leaf_salt(e, 'metadata.email') FROM immutable.events e WHERE e.id = changed.id)))$$);
-- Salts that are kept, missing, wrong, or belong to no value.
SELECT pg_temp.spoiled('{actor_name}', $$salt = (SELECT e.salt FROM immutable.events e WHERE e.id = changed.id)$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(changed.erased, '{salts,actor_name}', to_jsonb((SELECT pg_temp.leaf_salt(e, 'actor_name') FROM immutable.events e WHERE e.id = changed.id)))$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = erased #- '{salts,actor_id}'$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{salts}', '{}')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{salts,actor_id}', erased #> '{salts,resource_id}')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{salts,nothing}', erased #> '{salts,actor_id}')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{salts,metadata.nothing}', erased #> '{salts,actor_id}')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{salts,actor_id}', '"00"')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{salts,actor_id}', 'null')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{salts,actor_id}', to_jsonb(upper(repeat('ab', 16))))$$);
SELECT pg_temp.spoiled('{targets.1}', $$erased = jsonb_set(erased, '{salts,targets.1}', erased #> '{salts,actor_id}')$$);
-- Commitments that are wrong, malformed, missing, surplus, or of a value that never existed.
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,actor_name}', to_jsonb(repeat('0', 64)))$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,actor_name}', to_jsonb(upper(erased #>> '{commitments,actor_name}')))$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,actor_name}', '"00"')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,actor_name}', 'null')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,actor_name}', '{}')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments}', '{}')$$);
SELECT pg_temp.spoiled('{actor_name,ip_city}', $$erased = erased #- '{commitments,ip_city}'$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,actor_type}', erased #> '{commitments,actor_name}')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,nothing}', erased #> '{commitments,actor_name}')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,metadata}', '[]')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,metadata}', '{}')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,metadata}', jsonb_build_array(erased #> '{commitments,actor_name}'))$$);
SELECT pg_temp.spoiled('{metadata.email,metadata.n}', $$erased = jsonb_set(erased, '{commitments,metadata}', jsonb_build_array(erased #> '{commitments,metadata,1}', erased #> '{commitments,metadata,0}'))$$);
SELECT pg_temp.spoiled('{metadata.email}', $$erased = jsonb_set(erased, '{commitments,metadata}', jsonb_build_array(erased #> '{commitments,metadata,0}', erased #> '{commitments,metadata,0}'))$$);
SELECT pg_temp.spoiled('{metadata.email}', $$erased = jsonb_set(erased, '{commitments,metadata}', erased #> '{commitments,metadata,0}')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,targets}', '{}')$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = jsonb_set(erased, '{commitments,targets}', '[]')$$);
SELECT pg_temp.spoiled('{targets.1}', $$erased = jsonb_set(erased, '{commitments,targets}', jsonb_build_object('01', erased #> '{commitments,targets,1}'))$$);
SELECT pg_temp.spoiled('{targets.1}', $$erased = jsonb_set(erased, '{commitments,targets}', jsonb_build_object('2', erased #> '{commitments,targets,1}'))$$);
SELECT pg_temp.spoiled('{targets.1}', $$erased = jsonb_set(erased, '{commitments,targets,3}', erased #> '{commitments,targets,1}')$$);
SELECT pg_temp.spoiled('{targets.1}', $$erased = jsonb_set(erased, '{commitments,targets,-1}', erased #> '{commitments,targets,1}')$$);
SELECT pg_temp.spoiled('{targets.1}', $$erased = jsonb_set(erased, '{commitments,targets,999999999999999999999}', erased #> '{commitments,targets,1}')$$);
-- The row is not reduced as an erasure requires.
SELECT pg_temp.spoiled('{targets.1}', $$targets = targets - 1$$);
SELECT pg_temp.spoiled('{targets.1}', $$targets = jsonb_set(targets, '{1}', '{"type":"team"}')$$);
SELECT pg_temp.spoiled('{targets.1}', $$targets = jsonb_set(targets, '{1}', '{}')$$);
SELECT pg_temp.spoiled('{targets.1}', $$targets = jsonb_set(targets, '{1}', 'null')$$);
SELECT pg_temp.spoiled('{actor_name}', $$actor_name = ''$$);
SELECT pg_temp.spoiled('{metadata.email}', $$metadata = metadata - 'n'$$);
-- The column's own form.
SELECT pg_temp.spoiled('{actor_name}', $$erased = '{}'$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = '[]'$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = 'null'$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = NULL$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = erased || '{"by":"me"}'$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = erased - 'salts'$$);
SELECT pg_temp.spoiled('{actor_name}', $$erased = erased - 'commitments'$$);
-- Anything else changed along with it.
SELECT c, pg_temp.spoiled('{actor_name}', c) FROM unnest(ARRAY['xact = pg_current_xact_id()', 'xact = ''3''', 'event_hash = sha256('''')', 'previous_event_hash = sha256('''')', 'seq = seq + 100', 'lane = 1',
  'created_at = created_at + interval ''1 microsecond''', 'occurred_at = occurred_at + interval ''1 microsecond''', 'recorded_by = ''somebody''', 'log_id = gen_random_uuid()', 'id = gen_random_uuid()', 'tenant_id = ''erasure-2''',
  'action = ''x''', 'actor_type = NULL', 'version = 2', 'resource_type = ''x''', 'actor_id = ''x''', 'metadata = metadata || ''{"new":1}''', 'targets = targets || ''[{"type":"x"}]''']) c;
-- The full text of one.
SELECT pg_temp.refused($$SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e3', '{actor_name}', 'version = 2')$$);
-- Nothing of it was stored.
SELECT immutable.canonical(e) = b.document AS same, salt IS NOT NULL AND erased IS NULL AS whole FROM immutable.events e JOIN before b USING (seq) WHERE id = '00000000-0000-4000-8000-0000000000e3';

-- An erased value stays erased: it cannot be erased again or put back.
BEGIN;
SELECT e.*, c.salt AS old_salt INTO TEMPORARY whole FROM immutable.events e JOIN immutable.events c USING (id) WHERE e.id = '00000000-0000-4000-8000-0000000000e4';
SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e4', '{actor_name,metadata.email,targets.0}');
SELECT pg_temp.refused($$UPDATE immutable.events SET actor_name = NULL WHERE id = '00000000-0000-4000-8000-0000000000e4'$$);
SELECT pg_temp.refused($$UPDATE immutable.events e SET actor_name = w.actor_name, metadata = w.metadata, targets = w.targets, salt = w.old_salt, erased = NULL FROM whole w WHERE e.id = w.id$$);
SELECT pg_temp.refused($$UPDATE immutable.events e SET actor_name = w.actor_name, erased = jsonb_set(e.erased #- '{commitments,actor_name}', '{salts,actor_name}', to_jsonb(encode(substr(sha256(w.salt || 'actor_name'), 1, 16), 'hex'))) FROM whole w WHERE e.id = w.id$$);
-- One value is put back while another is erased.
SELECT pg_temp.refused($$UPDATE immutable.events e SET actor_name = n.actor_name, ip_city = NULL, metadata = n.metadata, targets = n.targets, erased = n.erased
  FROM (SELECT (pg_temp.without(jsonb_populate_record(NULL::immutable.events, to_jsonb(w)), '{ip_city,metadata.email,targets.0}')).* FROM whole w) n WHERE e.id = n.id$$);
SELECT actor_name, metadata ? 'email' AS email, targets -> 0 AS target, salt FROM immutable.events WHERE id = '00000000-0000-4000-8000-0000000000e4';
ROLLBACK;

-- Several events in one statement; one that is refused refuses all. Rolled back, nothing is erased.
BEGIN;
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'erasure-many', 'user_' || n, 'x' FROM generate_series(1, 5) n;
UPDATE immutable.events e SET actor_id = NULL, salt = NULL, erased = pg_temp.erased(e, '{actor_id}') WHERE tenant_id = 'erasure-many' AND seq <= 3;
SELECT count(*) FILTER (WHERE actor_id IS NULL) AS erased, bool_and(sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash) AS hashes FROM immutable.events e WHERE tenant_id = 'erasure-many';
SELECT pg_temp.refused($$UPDATE immutable.events e SET actor_id = NULL, salt = NULL, erased = pg_temp.erased(e, '{actor_id}') WHERE tenant_id = 'erasure-many'$$);
-- The chain goes on after it.
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('erasure-many', 'a', 'y') RETURNING seq;
SELECT type, count(*) FROM immutable.verify_breaks('erasure-many') GROUP BY 1;
ROLLBACK;
-- It holds the lane of the event until the transaction ends.
BEGIN;
SELECT pg_temp.erase('00000000-0000-4000-8000-0000000000e3', '{ip_city}');
SELECT count(*) AS lanes FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object' AND classid = 'immutable.events'::regclass AND mode = 'ExclusiveLock';
ROLLBACK;
-- Neither a role without rights nor a writer may erase.
CREATE ROLE regress_erasure_writer LOGIN;
GRANT immutable_writer TO regress_erasure_writer;
SET SESSION AUTHORIZATION regress_erasure_writer;
SELECT pg_temp.refused($$UPDATE immutable.events SET actor_id = NULL, salt = NULL, erased = '{}'$$);
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_erasure_writer;
DROP ROLE regress_erasure_writer;

-- With triggers off: what the replica's trigger still refuses. verify_chain() finds the rest. (Rolled back.)
BEGIN;
SET LOCAL session_replication_role = replica;
SELECT pg_temp.refused($$UPDATE immutable.events SET salt = NULL WHERE id = '00000000-0000-4000-8000-0000000000e3'$$, false);
SELECT pg_temp.refused($$UPDATE immutable.events SET erased = NULL WHERE id = '00000000-0000-4000-8000-0000000000e2'$$, false);
SELECT pg_temp.refused($$UPDATE immutable.events SET salt = substr(sha256(''), 1, 16) WHERE id = '00000000-0000-4000-8000-0000000000e2'$$, false);
SELECT pg_temp.refused($$UPDATE immutable.events SET actor_id = NULL WHERE id = '00000000-0000-4000-8000-0000000000e3'$$, false);
-- A value restored beside its commitment, an erased event without an actor's commitment, a well-formed erasure taken back.
SAVEPOINT s;
UPDATE immutable.events SET actor_name = 'Sarah "Sally" Chén' WHERE id = '00000000-0000-4000-8000-0000000000e1';
SELECT seq, type, expected_hash, octet_length(actual_hash) AS actual, detail FROM immutable.verify_breaks('erasure') WHERE type = 'hash_mismatch';
ROLLBACK TO s;
UPDATE immutable.events SET actor_id = NULL, salt = NULL, erased = jsonb_set(pg_temp.erased(events, '{ip_city}'), '{commitments}', '{"ip_city":"00"}') WHERE id = '00000000-0000-4000-8000-0000000000e3';
SELECT seq, type, expected_hash, octet_length(actual_hash) AS actual, detail FROM immutable.verify_breaks('erasure') WHERE type = 'hash_mismatch';
ROLLBACK;
DROP FUNCTION regress_erasure_record;
SELECT valid, events_checked, events_erased FROM immutable.verify_chain('erasure');
