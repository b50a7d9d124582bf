-- What a session says about all its events: it applies to columns that are left out or NULL, however the event is recorded.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_context_writer, regress_context_a, regress_context_b, regress_context_both;
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
-- What was recorded, and what of the session's is in it.
CREATE FUNCTION pg_temp.context() RETURNS TABLE (action text, tenant_id text, actor text, said text) LANGUAGE sql SECURITY DEFINER AS $$
  SELECT e.action, e.tenant_id, e.actor_id, concat_ws(' ', coalesce(e.actor_name, '-'), coalesce(e.actor_type, '-'), coalesce(e.session_id, '-'), coalesce(host(e.ip_address), '-'), coalesce(e.user_agent, '-'))
  FROM immutable.events e WHERE e.action LIKE 'context.%' ORDER BY e.created_at
$$;
CREATE ROLE regress_context_writer;
CREATE ROLE regress_context_a;
CREATE ROLE regress_context_b;
CREATE ROLE regress_context_both;
GRANT immutable_writer TO regress_context_writer, regress_context_both;
GRANT regress_context_a, regress_context_b TO regress_context_both;
CREATE TABLE context_orders (org text);
CREATE FUNCTION context_order() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (NEW.org, NULL, 'context.trigger');
  RETURN NEW;
END $$;
CREATE TRIGGER context_order AFTER INSERT ON context_orders FOR EACH ROW EXECUTE FUNCTION context_order();
GRANT INSERT ON context_orders TO regress_context_writer;

SET SESSION AUTHORIZATION regress_context_writer;
SET immutable.tenant_id = 'context-org';
SET immutable.actor_id = 'alice';
SET immutable.actor_name = 'Alice';
SET immutable.actor_type = 'user';
SET immutable.session_id = 's1';
SET immutable.ip_address = '203.0.113.007';
SET immutable.user_agent = 'ua';
-- Columns left out, NULL and DEFAULT; one row and several; columns of all rows and of some.
INSERT INTO immutable.events (action) VALUES ('context.left out');
INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, session_id, ip_address, user_agent, action) VALUES (NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'context.null');
INSERT INTO immutable.events (tenant_id, actor_id, actor_name, actor_type, session_id, ip_address, user_agent, action) VALUES (DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, 'context.default');
INSERT INTO immutable.events (tenant_id, action) VALUES ('context-other', 'context.first of two'), (NULL, 'context.second of two');
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT r.tenant_id, r.actor_id, r.action
FROM json_to_recordset('[{"tenant_id":"context-other","actor_id":"bob","action":"context.record"},{"action":"context.record"}]') r(tenant_id text, actor_id text, action text);
INSERT INTO immutable.events SELECT (jsonb_populate_record(NULL::immutable.events, '{"action":"context.populated"}')).*;
PREPARE context(text, text, inet) AS INSERT INTO immutable.events (tenant_id, actor_id, ip_address, action) VALUES ($1, $2, $3, 'context.prepared');
EXECUTE context(NULL, NULL, NULL);
EXECUTE context('context-other', 'bob', '::1');
DEALLOCATE context;
INSERT INTO context_orders VALUES ('context-other'), (NULL);
SELECT immutable.track(action => 'context.track', tenant_id => NULL, actor_id => NULL, ip_address => NULL) ->> 'status' AS track,
  immutable.track('{"action":"context.track json","tenant_id":null,"actor_name":null}'::jsonb) ->> 'status' AS json,
  immutable.track_batch('[{"action":"context.batch","tenant_id":null}]') #>> '{events,0,status}' AS batch;
RESET SESSION AUTHORIZATION;
COPY immutable.events (tenant_id, actor_id, ip_address, action) FROM STDIN WITH (FORMAT csv);
,,,context.copy csv
\.
COPY immutable.events (tenant_id, actor_id, user_agent, action) FROM STDIN;
\N	\N	\N	context.copy
\.
SELECT * FROM pg_temp.context();
-- A key is looked for in the session's tenant too, and an empty one is none: nothing is thrown away.
SET SESSION AUTHORIZATION regress_context_writer;
INSERT INTO immutable.events (tenant_id, action, idempotency_key) VALUES (NULL, 'keys.context', 'k1') RETURNING tenant_id;
INSERT INTO immutable.events (tenant_id, action, idempotency_key) VALUES (NULL, 'keys.again', 'k1') ON CONFLICT (tenant_id, idempotency_key) DO NOTHING;
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, action, idempotency_key) VALUES ('context-org', 'keys.again', 'k1')$$, false);
INSERT INTO immutable.events (action, idempotency_key) VALUES ('keys.empty', ''), ('keys.empty', '') RETURNING idempotency_key;
INSERT INTO immutable.events (action, idempotency_key) VALUES ('keys.empty', ''), ('keys.empty', '') ON CONFLICT DO NOTHING RETURNING idempotency_key;
SELECT immutable.track(action => 'keys.empty', idempotency_key => '') ->> 'status' AS track, immutable.track('{"action":"keys.empty","idempotency_key":""}'::jsonb) ->> 'status' AS json,
  jsonb_path_query_array(immutable.track_batch('[{"action":"keys.empty","idempotency_key":""},{"action":"keys.other","idempotency_key":""}]'), '$.events[*].status') AS batch;
RESET SESSION AUTHORIZATION;
COPY immutable.events (action, idempotency_key) FROM STDIN WITH (FORMAT csv);
keys.copied,""
keys.copied,""
keys.copied,
\.
SELECT action, idempotency_key, count(*) FROM immutable.events WHERE action LIKE 'keys.%' GROUP BY 1, 2 ORDER BY 1;

-- No value, although the session has one: an empty text, and an empty setting for an address.
SET SESSION AUTHORIZATION regress_context_writer;
INSERT INTO immutable.events (tenant_id, actor_name, actor_type, session_id, user_agent, action) VALUES ('', '', '', '', '', 'said.none') RETURNING tenant_id, actor_name, actor_type, session_id, user_agent, ip_address;
SELECT immutable.track(action => 'said.none', tenant_id => '') ->> 'status' AS status;
BEGIN;
SET LOCAL immutable.ip_address = '';
INSERT INTO immutable.events (action) VALUES ('said.none') RETURNING tenant_id, ip_address;
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT tenant_id, actor_id, count(*) FROM immutable.events WHERE action = 'said.none' GROUP BY 1, 2 ORDER BY 1;
-- The log's own events take nothing from the session.
SELECT immutable.record_restore('context') AS restored \gset
SELECT tenant_id, actor_name, actor_type, session_id, ip_address, user_agent FROM immutable.events WHERE id = :'restored';

-- What is said about the actor matches the session.
SET SESSION AUTHORIZATION regress_context_writer;
SELECT pg_temp.refused($$INSERT INTO immutable.events (actor_id, action) VALUES ('', 'x')$$);
SET immutable.actor_id = '';
SELECT pg_temp.refused($$INSERT INTO immutable.events (actor_id, action) VALUES ('', 'x')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (actor_id, action) VALUES (NULL, 'x')$$);
SELECT pg_temp.refused($$SELECT immutable.track(action => 'x')$$);
SET immutable.actor_id = 'alice';

-- An address is read by PostgreSQL's rule, where it is used, and never left out because it is wrong.
CREATE FUNCTION pg_temp.address(address text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('immutable.ip_address', address, true);
  RETURN QUERY SELECT pg_temp.refused('INSERT INTO immutable.events (action) VALUES (''x'')');
  RETURN QUERY SELECT r FROM pg_temp.refused('INSERT INTO immutable.events (ip_address, action) VALUES (NULL, ''x'')', false) r WHERE r LIKE '%must be%' OR r LIKE '%NOT REFUSED%';
  RETURN QUERY SELECT r FROM pg_temp.refused('SELECT immutable.track(action => ''x'')', false) r WHERE r LIKE '%must be%' OR r LIKE '%NOT REFUSED%';
  RETURN NEXT immutable.track_batch('[{"action":"x"}]') #>> '{events,0,error,message}';
END $$;
SELECT pg_temp.address('203.0.113.7:52814');
SELECT a, r FROM unnest(ARRAY['203.0.113.7, 10.0.0.2', ' 203.0.113.7', '203.0.113.7 ', 'unknown', '[2001:db8::1]:443', '[::1]', 'fe80::1%eth0', '10.1', '1.2.3.4/33', ' ', '-', 'é']) a, pg_temp.address(a) r WHERE r NOT LIKE 'HINT%';
-- If the event has its own address, the setting is not read.
SET immutable.ip_address = 'unknown';
INSERT INTO immutable.events (ip_address, action) VALUES ('::1', 'address.said') RETURNING ip_address;
-- The setting accepts whatever the column accepts.
SELECT a, set_config('immutable.ip_address', a, false) = a AS set, immutable.track(action => 'address.' || a) ->> 'status' AS status
FROM unnest(ARRAY['203.0.113.007', '203.0.113.7/24', '10.0.0.0/8', '::ffff:203.0.113.7', '2001:DB8::1', '::FFFF:C633:6407', '']) a;
RESET immutable.ip_address;
RESET SESSION AUTHORIZATION;
SELECT action, ip_address FROM immutable.events WHERE action LIKE 'address.%' ORDER BY created_at;
SELECT count(*) AS recorded FROM immutable.events WHERE action = 'x' AND tenant_id = 'context-org';

-- The error for a value that is too long names the setting.
SET SESSION AUTHORIZATION regress_context_writer;
CREATE FUNCTION pg_temp.long(name text, bytes int) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('immutable.' || name, repeat('x', bytes + 1), true);
  RETURN QUERY SELECT pg_temp.refused('INSERT INTO immutable.events (action) VALUES (''x'')');
  PERFORM set_config('immutable.' || name, 'x', true);
END $$;
SELECT pg_temp.long(name, bytes) FROM (VALUES ('tenant_id', 255), ('actor_id', 512), ('actor_name', 1024), ('actor_type', 255), ('session_id', 512), ('user_agent', 4096)) x(name, bytes);

-- immutable.require_tenant: no event without one, in any way in, but the log's own. A superuser's setting.
SELECT pg_temp.refused('SET immutable.require_tenant = on');
RESET SESSION AUTHORIZATION;
SET immutable.require_tenant = on;
SET SESSION AUTHORIZATION regress_context_writer;
SELECT pg_temp.refused('SET immutable.require_tenant = off');
INSERT INTO immutable.events (action) VALUES ('required.session') RETURNING tenant_id;
SET immutable.tenant_id = '';
SELECT pg_temp.refused($$INSERT INTO immutable.events (action) VALUES ('required.none')$$);
SELECT s, r FROM unnest(ARRAY['INSERT INTO immutable.events (tenant_id, action) VALUES (NULL, ''required.none'')', 'INSERT INTO immutable.events (tenant_id, action) VALUES ('''', ''required.none'')', 'INSERT INTO immutable.events (tenant_id, action) VALUES (''context-org'', ''required.none''), (NULL, ''required.none'')',
  'SELECT immutable.track(action => ''required.none'')', 'SELECT immutable.track(action => ''required.none'', tenant_id => '''')', 'SELECT immutable.track(''{"action":"required.none","tenant_id":""}''::jsonb)', 'INSERT INTO context_orders VALUES (NULL)']) s, pg_temp.refused(s) r WHERE r NOT LIKE 'HINT%';
SELECT immutable.track_batch('[{"action":"required.none"},{"action":"required.given","tenant_id":"context-org"}]') #>> '{events,0,error,message}' AS refused;
INSERT INTO immutable.events (tenant_id, action) VALUES ('context-org', 'required.given');
RESET immutable.tenant_id;
SELECT pg_temp.refused($$INSERT INTO immutable.events (action) VALUES ('required.none')$$, false);
RESET SESSION AUTHORIZATION;
SELECT pg_temp.refused($$COPY immutable.events (action) FROM PROGRAM 'echo required.none'$$, false);
SELECT immutable.record_restore('required') IS NOT NULL AS recorded;
SELECT immutable.revoke_viewer_tokens('context-org');
SELECT action, tenant_id, count(*) FROM immutable.events WHERE action LIKE 'required.%' GROUP BY 1, 2 ORDER BY 1;
RESET immutable.require_tenant;

-- Bound to a tenant: the error says what is wrong and what to do in this session.
SET client_min_messages = warning;
SELECT immutable.grant_tenant('regress_context_writer', 'context-org', 'write');
SET SESSION AUTHORIZATION regress_context_writer;
SET immutable.tenant_id = 'context-other';
SELECT pg_temp.refused($$INSERT INTO immutable.events (action) VALUES ('bound')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, action) VALUES ('', 'bound')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, action) VALUES ('context-third', 'bound')$$);
SET immutable.tenant_id = 'context-org';
INSERT INTO immutable.events (tenant_id, action) VALUES (NULL, 'bound') RETURNING tenant_id;
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, action) VALUES ('context-third', 'bound')$$);
RESET SESSION AUTHORIZATION;
-- A session of two roles that are bound to different tenants can record for none.
SELECT immutable.grant_tenant('regress_context_a', 'context-a', 'write'), immutable.grant_tenant('regress_context_b', 'context-b', 'write');
SET SESSION AUTHORIZATION regress_context_both;
SET immutable.tenant_id = 'context-b';
INSERT INTO immutable.events (action) VALUES ('bound by either') RETURNING tenant_id;
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, action) VALUES ('context-c', 'bound')$$);
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
SELECT immutable.grant_tenant('regress_context_both', 'context-a', 'write');
SET SESSION AUTHORIZATION regress_context_both;
SET ROLE regress_context_b;
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, action) VALUES ('context-b', 'bound')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, action) VALUES ('context-a', 'bound')$$);
RESET ROLE;
INSERT INTO immutable.events (tenant_id, action) VALUES ('context-a', 'bound') RETURNING tenant_id;
RESET SESSION AUTHORIZATION;
SELECT count(*) AS bound FROM immutable.events WHERE action = 'bound';
RESET ALL;

SELECT valid FROM immutable.verify_chain('context-org');
DROP TABLE context_orders;
DROP FUNCTION context_order;
SELECT immutable.revoke_tenant(r, 'write') FROM unnest(ARRAY['regress_context_writer', 'regress_context_a', 'regress_context_b', 'regress_context_both']::name[]) r;
DROP OWNED BY regress_context_writer, regress_context_a, regress_context_b, regress_context_both;
DROP ROLE regress_context_writer, regress_context_a, regress_context_b, regress_context_both;
