-- What each role may do: tried as login roles with each role of the extension, and with none.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_privileges_writer, regress_privileges_auditor, regress_privileges_viewer, regress_privileges_nobody;
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

-- Every right that anybody but the owner has. Whatever is added shows here, also to PUBLIC.
SELECT what, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee, string_agg(privilege_type, ',' ORDER BY privilege_type COLLATE "C") AS rights, bool_or(is_grantable) AS grantable
FROM (
  SELECT 'schema' AS what, nspname::text AS name, nspowner AS owner, coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM pg_namespace WHERE nspname = 'immutable'
  UNION ALL SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE relkind::text END, relname, relowner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner)) FROM pg_class WHERE relnamespace = 'immutable'::regnamespace AND relkind NOT IN ('i', 't')
  UNION ALL SELECT 'type', typname, typowner, coalesce(typacl, acldefault('T', typowner)) FROM pg_type WHERE typnamespace = 'immutable'::regnamespace AND typcategory <> 'A'
  UNION ALL SELECT 'column', c.relname || '.' || a.attname, relowner, attacl FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'immutable'::regnamespace AND attacl IS NOT NULL
  UNION ALL SELECT 'function', oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace = 'immutable'::regnamespace
) x, aclexplode(acl) WHERE grantee <> owner
GROUP BY what, name, grantee ORDER BY what, name COLLATE "C", 3;
-- The tables that only the owner may touch, and the functions that only the owner may call.
SELECT oid::regclass AS "the owner's alone" FROM pg_class c WHERE relnamespace = 'immutable'::regnamespace AND relkind NOT IN ('i', 't') AND NOT EXISTS (SELECT FROM aclexplode(coalesce(relacl, acldefault('r', relowner))) WHERE grantee <> relowner) ORDER BY oid::regclass::text COLLATE "C";
SELECT oid::regprocedure AS "the owner's alone" FROM pg_proc p WHERE pronamespace = 'immutable'::regnamespace AND NOT EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee <> proowner) ORDER BY oid::regprocedure::text COLLATE "C";
SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class WHERE relnamespace = 'immutable'::regnamespace AND relkind = 'r' ORDER BY relname COLLATE "C";
SELECT tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies WHERE schemaname = 'immutable' ORDER BY tablename COLLATE "C", policyname COLLATE "C";
-- None of its roles is a member of another.
SELECT m.roleid::regrole AS role, m.member::regrole AS member FROM pg_auth_members m WHERE m.member::regrole::text LIKE 'immutable\_%';

CREATE ROLE regress_privileges_writer LOGIN;
CREATE ROLE regress_privileges_auditor LOGIN;
CREATE ROLE regress_privileges_viewer LOGIN;
CREATE ROLE regress_privileges_nobody LOGIN;
GRANT immutable_writer TO regress_privileges_writer;
GRANT immutable_auditor TO regress_privileges_auditor;
GRANT immutable_viewer TO regress_privileges_viewer;
INSERT INTO immutable.events (id, tenant_id, actor_id, action, idempotency_key, targets) VALUES ('00000000-0000-4000-8000-0000000000c1', 'privileges', 'a', 'before', 'k0', '[{"type":"t","id":"1"}]');

-- The writer: records, and sees what its own transaction recorded.
SET SESSION AUTHORIZATION regress_privileges_writer;
INSERT INTO immutable.events (id, tenant_id, actor_id, actor_name, actor_type, action, action_category, resource_type, resource_id, resource_name, targets, metadata, session_id, idempotency_key, ip_address, ip_country, ip_city, user_agent, version, occurred_at)
VALUES ('00000000-0000-4000-8000-0000000000c2', 'privileges', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', '[{"type":"t","id":"2"}]', '{}', 'i', 'k1', '::1', 'j', 'k', 'l', 1, now());
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('privileges', 'a', 'returned') RETURNING action, seq, lane, recorded_by, event_hash IS NOT NULL AS hash, salt IS NOT NULL AS salt;
SELECT count(*) AS of_others_or_before FROM immutable.events;
BEGIN;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('privileges', 'a', 'own');
SELECT action, seq, sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash AS hashes FROM immutable.events e;
SAVEPOINT s;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('privileges', 'a', 'own too');
SELECT count(*) AS own FROM immutable.events;
ROLLBACK TO s;
SELECT count(*) AS own FROM immutable.events;
COMMIT;
SELECT count(*) AS own FROM immutable.events;
-- PostgreSQL has no COPY FROM where there is row security; ON CONFLICT named and not, track(): what has a key that it cannot see has it all the same.
COPY immutable.events (tenant_id, actor_id, action) FROM STDIN;
privileges	a	copied
\.
INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('privileges', 'a', 'dup', 'k0'), ('privileges', 'a', 'not dup', 'k2') ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING action;
INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('privileges', 'a', 'dup', 'k1'), ('privileges', 'a', 'not dup', 'k3') ON CONFLICT DO NOTHING RETURNING action;
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'privileges', 'a', 'selected' RETURNING action;
SELECT immutable.track(actor_id => 'a', action => 'b', tenant_id => 'privileges', idempotency_key => 'k0', on_conflict => 'answer') ->> 'status' AS status;
SELECT immutable.track('{"actor_id":"a","action":"b","tenant_id":"privileges","idempotency_key":"k1"}'::jsonb, 'answer') ->> 'status' AS status;
SELECT immutable.track(actor_id => 'a', action => 'tracked', tenant_id => 'privileges', targets => '[{"type":"t","id":"3"}]') ->> 'status' AS status;
SELECT jsonb_path_query_array(immutable.track_batch('[{"actor_id":"a","action":"batch","tenant_id":"privileges"},{"actor_id":"a","action":"immutable.x"},{"actor_id":"a","action":"x","tenant_id":"privileges","idempotency_key":"k0"}]'), '$.events[*].status');
-- The writer may not set the chain's columns, change another row, or do anything else.
SELECT c, pg_temp.refused(format('INSERT INTO immutable.events (tenant_id, actor_id, action, %I) VALUES (''privileges'', ''a'', ''b'', %L)', c, v))
FROM (VALUES ('created_at', 'now'), ('lane', '0'), ('seq', '1'), ('previous_event_hash', '\x00'), ('event_hash', '\x00'), ('salt', '\x00'), ('erased', '{}'), ('recorded_by', 'x'), ('log_id', '00000000-0000-4000-8000-000000000000'), ('xact', '0')) x(c, v);
SELECT pg_temp.refused($$INSERT INTO immutable.events VALUES (gen_random_uuid(), 'privileges')$$);
SELECT pg_temp.refused(s) FROM unnest(ARRAY['UPDATE immutable.events SET action = ''x''', 'DELETE FROM immutable.events', 'TRUNCATE immutable.events', 'SELECT * FROM immutable.event_targets', 'INSERT INTO immutable.event_targets DEFAULT VALUES', 'SELECT * FROM immutable.log',
  'INSERT INTO immutable.log VALUES (gen_random_uuid(), now())', 'SELECT * FROM immutable.verify_chain()', 'SELECT * FROM immutable.verify_breaks()', 'SELECT immutable.verify()', 'SELECT * FROM immutable.heads()', 'SELECT immutable.get_events()',
  'SELECT immutable.get_event(gen_random_uuid())', 'SELECT * FROM immutable.find_events()', 'SELECT * FROM immutable.events FOR UPDATE', 'LOCK TABLE immutable.events', 'INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES (''privileges'', ''a'', ''b'', ''k0'') ON CONFLICT (tenant_id, idempotency_key) DO UPDATE SET action = ''x''',
  'CREATE TABLE immutable.mine ()', 'CREATE FUNCTION immutable.mine() RETURNS int LANGUAGE sql AS ''SELECT 1''', 'ALTER TABLE immutable.events DISABLE ROW LEVEL SECURITY', 'DROP EXTENSION immutable', 'ALTER EXTENSION immutable DROP TABLE immutable.events']) s;
-- The writer may not put a trigger on the log, nor use the log's trigger functions on its own table.
CREATE TEMPORARY TABLE mine (id int);
CREATE FUNCTION pg_temp.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
SELECT pg_temp.refused('CREATE TRIGGER mine BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION pg_temp.mine()');
SELECT f, pg_temp.refused(format('CREATE TRIGGER mine BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION immutable.%I()', f)) FROM unnest(ARRAY['chain', 'derive_targets', 'guard_event', 'guard_target', 'refuse']) f;
SELECT f, pg_temp.refused(format('SELECT immutable.%I()', f)) FROM unnest(ARRAY['chain', 'derive_targets', 'guard_event', 'guard_target', 'refuse']) f;
SELECT pg_temp.refused('ALTER TRIGGER "~immutable_chain" ON immutable.events RENAME TO mine');
SELECT pg_temp.refused('CREATE RULE mine AS ON INSERT TO immutable.events DO INSTEAD NOTHING');
SELECT pg_temp.refused('CREATE POLICY mine ON immutable.events FOR SELECT USING (true)');
SELECT pg_temp.refused('CREATE INDEX ON immutable.events (action)');
-- It may not create a child table of the log either, which would add rows to every reader's result.
SELECT pg_temp.refused('CREATE TEMPORARY TABLE child () INHERITS (immutable.events)');
-- It may set the defaults of its session, but not the limits or the lanes.
SET immutable.tenant_id = 'privileges';
SET immutable.actor_id = 'session';
INSERT INTO immutable.events (action) VALUES ('defaults') RETURNING tenant_id, actor_id;
RESET immutable.tenant_id;
RESET immutable.actor_id;
SELECT name, pg_temp.refused(format('SET %s = 1', name)) FROM (SELECT name FROM pg_settings WHERE name LIKE 'immutable.%' AND vartype IN ('integer', 'bool') ORDER BY name COLLATE "C") x;
SELECT name FROM pg_settings WHERE name LIKE 'immutable.%' AND context = 'user' ORDER BY name COLLATE "C";
-- A misspelt setting is an error.
SELECT s, pg_temp.refused(format('SET %s = 1', s)) FROM unnest(ARRAY['immutable.tenantid', 'immutable.lane', 'immutable.x']) s;
RESET SESSION AUTHORIZATION;

-- Each, in a session of its own that has not met the extension yet: such a setting is a placeholder until the library is loaded, and then is what the library says.
\c -
\set VERBOSITY terse
SET SESSION AUTHORIZATION regress_privileges_writer;
SET immutable.max_batch = 7;
SET immutable.tenantid = 'misspelt';
SET immutable.actor_id = 'set before';
SET immutable.ip_address = 'nonsense';
INSERT INTO immutable.events (tenant_id, action) VALUES ('privileges', 'loads the library') RETURNING actor_id;
SHOW immutable.max_batch;
SHOW immutable.tenantid;
SHOW immutable.actor_id;
SHOW immutable.ip_address;
SET immutable.ip_address = '';
INSERT INTO immutable.events (tenant_id, action) VALUES ('privileges', 'loads the library') RETURNING actor_id;
RESET SESSION AUTHORIZATION;
-- (again, for the new session)
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
\set VERBOSITY default

-- The auditor: reads and verifies all of it, and writes nothing.
SET SESSION AUTHORIZATION regress_privileges_auditor;
SELECT array_agg(action ORDER BY seq) FROM immutable.events WHERE tenant_id = 'privileges';
SELECT array_agg(target_id ORDER BY target_id COLLATE "C") FROM immutable.event_targets WHERE tenant_id = 'privileges';
SELECT count(*) AS log FROM immutable.log;
SELECT valid, events_checked FROM immutable.verify_chain('privileges');
SELECT count(*) AS breaks FROM immutable.verify_breaks('privileges');
SELECT immutable.verify('infinity') #- '{data,events_total}' AS verify;
SELECT tenant_id, lane, seq FROM immutable.heads('privileges');
SELECT immutable.get_events(tenant_id => 'privileges') #> '{pagination,total}' AS total, immutable.get_event('00000000-0000-4000-8000-0000000000c1') #>> '{data,action}' AS event;
SELECT action FROM immutable.find_events(tenant_id => 'privileges', target_id => '3');
SELECT bool_and(sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash) AS hashes FROM immutable.events e WHERE tenant_id = 'privileges';
SELECT pg_temp.refused(s) FROM unnest(ARRAY['INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (''privileges'', ''a'', ''b'')', 'UPDATE immutable.events SET action = ''x''', 'DELETE FROM immutable.events', 'TRUNCATE immutable.events', 'INSERT INTO immutable.event_targets DEFAULT VALUES',
  'UPDATE immutable.event_targets SET target_id = ''x''', 'DELETE FROM immutable.event_targets', 'DELETE FROM immutable.log', 'SELECT immutable.track(actor_id => ''a'', action => ''b'')', 'SELECT immutable.track(''{"actor_id":"a","action":"b"}''::jsonb)',
  'SELECT immutable.track_batch(''[]'')', 'SELECT * FROM immutable.events FOR UPDATE', 'SET immutable.lanes = 1', 'SELECT immutable.refuse()']) s;
RESET SESSION AUTHORIZATION;

-- A login without a role has no rights, not even on the schema. The viewer may only read, and sees nothing without a token or a grant.
CREATE FUNCTION pg_temp.refused_all() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT s || ' => ' || pg_temp.refused(s) FROM unnest(ARRAY['SELECT FROM immutable.events', 'SELECT FROM immutable.event_targets', 'SELECT FROM immutable.log', 'INSERT INTO immutable.events (actor_id, action) VALUES (''a'', ''b'')', 'SELECT immutable.track(actor_id => ''a'', action => ''b'')',
    'SELECT immutable.track_batch(''[]'')', 'SELECT immutable.get_events()', 'SELECT FROM immutable.find_events()', 'SELECT FROM immutable.verify_chain()', 'SELECT FROM immutable.verify_breaks()', 'SELECT immutable.verify()', 'SELECT FROM immutable.heads()', 'SELECT immutable.export_events()', 'SELECT immutable.canonical(ROW(1))',
    'SELECT immutable.erase(gen_random_uuid(), ''t'', ''{actor_id}'', ''r'')', 'SELECT immutable.erase_subject(''t'', ''u'', ''r'')']) s
$$;
SET SESSION AUTHORIZATION regress_privileges_viewer;
SELECT count(*) AS events FROM immutable.events;
SELECT count(*) AS targets FROM immutable.event_targets;
SELECT immutable.get_events(), immutable.get_event('00000000-0000-4000-8000-0000000000c1') AS event, immutable.visible_tenant(), immutable.is_visible('privileges', 'a');
SELECT count(*) AS found FROM immutable.find_events();
SELECT s FROM pg_temp.refused_all() s WHERE s NOT LIKE '%NOT REFUSED%' AND s NOT LIKE '%canonical%';
SELECT pg_temp.refused(s) FROM unnest(ARRAY['SELECT * FROM immutable.viewer_keys', 'SELECT * FROM immutable.revocations', 'SELECT * FROM immutable.tenant_grants', 'SELECT * FROM immutable.viewer_key_import', 'INSERT INTO immutable.viewer_key_import VALUES (''x'')', 'SELECT immutable.create_viewer_token(''privileges'')', 'SELECT immutable.rotate_viewer_key()',
  'SELECT immutable.revoke_viewer_token(''x'')', 'SELECT immutable.revoke_viewer_tokens(''x'')', 'SELECT immutable.grant_tenant(current_user, ''privileges'')', 'SELECT immutable.revoke_tenant(current_user)', 'SELECT immutable.bind_role()', 'SELECT immutable.take_viewer_key()', 'SELECT immutable.refuse_viewer_key()']) s;
-- Any value of the setting is accepted, and the last one counts.
SET immutable.viewer_token = 'nonsense';
SELECT pg_temp.refused(s) FROM unnest(ARRAY['SELECT * FROM immutable.events', 'SELECT * FROM immutable.event_targets', 'SELECT immutable.get_events()']) s;
SET immutable.viewer_token = '';
SELECT count(*) AS events FROM immutable.events;
-- No other role can see it, and no list shows it.
SELECT count(*) AS shown FROM pg_settings WHERE name = 'immutable.viewer_token';
SET SESSION AUTHORIZATION regress_privileges_nobody;
SELECT pg_temp.refused_all();
RESET SESSION AUTHORIZATION;
-- With the right to the schema alone: each function and each table is still refused.
GRANT USAGE ON SCHEMA immutable TO regress_privileges_nobody;
SET SESSION AUTHORIZATION regress_privileges_nobody;
SELECT pg_temp.refused_all();
SELECT p.oid::regprocedure AS may_execute FROM pg_proc p WHERE pronamespace = 'immutable'::regnamespace AND has_function_privilege(p.oid, 'EXECUTE') ORDER BY 1;
RESET SESSION AUTHORIZATION;

-- A login with both roles has the rows of one and the rights of the other.
GRANT immutable_writer, immutable_auditor TO regress_privileges_nobody;
SET SESSION AUTHORIZATION regress_privileges_nobody;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('privileges', 'a', 'both') RETURNING action;
SELECT count(*) > 10 AS all_of_them FROM immutable.events WHERE tenant_id = 'privileges';
RESET SESSION AUTHORIZATION;
REVOKE immutable_writer, immutable_auditor FROM regress_privileges_nobody;

-- Functions run with the caller's rights: EXECUTE is not enough without rights to the tables.
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA immutable TO regress_privileges_nobody;
SET SESSION AUTHORIZATION regress_privileges_nobody;
SELECT pg_temp.refused(s) FROM unnest(ARRAY['SELECT immutable.get_events()', 'SELECT * FROM immutable.find_events()', 'SELECT immutable.get_event(gen_random_uuid())', 'SELECT * FROM immutable.verify_chain()', 'SELECT * FROM immutable.verify_breaks()', 'SELECT immutable.verify()',
  'SELECT * FROM immutable.heads()', 'SELECT immutable.export_events()', 'SELECT immutable.track(actor_id => ''a'', action => ''b'')', 'SELECT immutable.track_batch(''[{"actor_id":"a","action":"b"}]'')']) s;
-- A trigger function fails when it is not called by a trigger, or is called on a table that does not hold events.
SELECT f, pg_temp.refused(format('SELECT immutable.%I()', f)) FROM unnest(ARRAY['chain', 'derive_targets', 'guard_event', 'guard_target', 'refuse']) f;
CREATE TEMPORARY TABLE mine (id int);
SELECT f, pg_temp.refused(format('CREATE TRIGGER mine %s ON mine FOR EACH ROW EXECUTE FUNCTION immutable.%I(); INSERT INTO mine VALUES (1); UPDATE mine SET id = 2', w, f))
FROM (VALUES ('chain', 'BEFORE INSERT'), ('chain', 'AFTER INSERT'), ('chain', 'BEFORE UPDATE'), ('derive_targets', 'AFTER INSERT'), ('derive_targets', 'BEFORE INSERT'), ('guard_event', 'BEFORE UPDATE'), ('guard_event', 'BEFORE INSERT'), ('guard_target', 'BEFORE INSERT'), ('guard_target', 'BEFORE UPDATE'),
  ('guard_target', 'AFTER INSERT'), ('refuse', 'BEFORE INSERT'), ('refuse', 'AFTER UPDATE')) x(f, w);
DROP TABLE mine;
RESET SESSION AUTHORIZATION;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA immutable FROM regress_privileges_nobody;

-- A writer behind a function of its own role is a writer: recorded_by is who connected.
CREATE FUNCTION regress_privileges_record(action text) RETURNS text SECURITY DEFINER LANGUAGE sql AS $$ INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('privileges', 'a', action) RETURNING recorded_by $$;
ALTER FUNCTION regress_privileges_record OWNER TO regress_privileges_writer;
SET SESSION AUTHORIZATION regress_privileges_viewer;
SELECT regress_privileges_record('through a function');
RESET SESSION AUTHORIZATION;
DROP FUNCTION regress_privileges_record;
SELECT valid FROM immutable.verify_chain('privileges');

DROP OWNED BY regress_privileges_writer, regress_privileges_auditor, regress_privileges_viewer, regress_privileges_nobody;
DROP ROLE regress_privileges_writer, regress_privileges_auditor, regress_privileges_viewer, regress_privileges_nobody;
-- Nothing is left: the session's last transaction ended as it should.
\c -
SELECT count(*) AS left_behind FROM pg_roles WHERE rolname LIKE 'regress\_privileges\_%';
