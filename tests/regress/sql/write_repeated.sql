-- Idempotency keys: the same event again is a duplicate, another one is a conflict and never silently lost.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_idempotent, regress_idempotent_bound, regress_idempotent_eraser;
CREATE ROLE regress_idempotent IN ROLE immutable_writer;
CREATE ROLE regress_idempotent_bound;
CREATE ROLE regress_idempotent_eraser IN ROLE immutable_eraser;
SELECT immutable.grant_tenant('regress_idempotent_bound', 'idem-bound', 'write');
RESET client_min_messages;
-- Runs a statement that must be refused, and shows the error without the ids.
CREATE FUNCTION public.regress_refused(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  message text; hint text;
BEGIN
  EXECUTE statement;
  RETURN NEXT 'NOT REFUSED';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  RETURN NEXT SQLSTATE || ': ' || regexp_replace(message, '[0-9a-f]{8}-[0-9a-f-]{27}', 'ID');
  IF hint <> '' THEN RETURN NEXT 'HINT: ' || hint; END IF;
END
$$;
-- Status and differing fields.
CREATE FUNCTION public.regress_said(answer jsonb) RETURNS text LANGUAGE sql AS $$ SELECT (answer ->> 'status') || coalesce(' ' || (answer ->> 'differs'), '') $$;
-- An event of all fields, with changes.
CREATE FUNCTION public.regress_event(changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_strip_nulls('{"actor_id":"user_1","action":"invoice.paid","actor_name":"Sarah","actor_type":"user","action_category":"billing","resource":"invoice","resource_id":"i1","resource_name":"Invoice 1",
    "targets":[{"type":"team","id":"t2","name":"T"},{"type":"team","id":"t1"},{"type":"folder","id":"f","metadata":{"n":1}}],"metadata":{"amount":12.50,"note":"x","nested":{"a":[1,2]}},"tenant_id":"idem","session_id":"s1",
    "version":3,"occurred_at":"2026-03-15T14:32:18.847312Z","ip_address":"203.0.113.7","ip_country":"US","ip_city":"SF","user_agent":"curl"}'::jsonb || changes)
$$;
CREATE FUNCTION public.regress_again(changes jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$ SELECT public.regress_said(immutable.track(public.regress_event('{"idempotency_key":"k"}' || changes), 'answer')) $$;
GRANT EXECUTE ON FUNCTION public.regress_refused(text), public.regress_said(jsonb), public.regress_event(jsonb), public.regress_again(jsonb) TO PUBLIC;

SET SESSION AUTHORIZATION regress_idempotent;
-- The case that was reported: neither event may vanish.
SELECT immutable.track(actor_id => 'user_1', action => 'invoice.paid', tenant_id => 'idem', idempotency_key => 'k1') ->> 'id' AS first \gset
SELECT r ->> 'id' = :'first' AS first, r ->> 'status' AS status FROM (SELECT immutable.track(actor_id => 'user_1', action => 'invoice.paid', tenant_id => 'idem', idempotency_key => 'k1') r) x;
SELECT regress_refused($$SELECT immutable.track(actor_id => 'user_9', action => 'admin.granted', tenant_id => 'idem', idempotency_key => 'k1')$$);
SELECT r ->> 'id' = :'first' AS first, r - 'id' AS answer FROM (SELECT immutable.track(actor_id => 'user_9', action => 'admin.granted', tenant_id => 'idem', idempotency_key => 'k1', on_conflict => 'answer') r) x;
SELECT n, r ->> 'id' = :'first' AS first, regress_said(r) AS said, regexp_replace((r -> 'error')::text, '[0-9a-f]{8}-[0-9a-f-]{27}', 'ID') AS error FROM jsonb_array_elements(immutable.track_batch('[
  {"actor_id":"user_9","action":"admin.granted","tenant_id":"idem","idempotency_key":"k1"},{"actor_id":"user_1","action":"invoice.paid","tenant_id":"idem","idempotency_key":"k1"},
  {"actor_id":"a","action":"one","tenant_id":"idem","idempotency_key":"k2"},{"actor_id":"a","action":"two","tenant_id":"idem","idempotency_key":"k2"},{"actor_id":"a","action":"one","tenant_id":"idem","idempotency_key":"k2"}]') -> 'events')
  WITH ORDINALITY e (r, n) ORDER BY n;
-- Every way to call it.
SELECT regress_refused(format('SELECT immutable.track(%s)', call)) FROM unnest(ARRAY[
  '''{"actor_id":"x","action":"b","tenant_id":"idem","idempotency_key":"k1"}''', '''{"actor_id":"x","action":"b","tenant_id":"idem","idempotency_key":"k1"}''::json',
  '''{"actor_id":"x","action":"b","tenant_id":"idem","idempotency_key":"k1"}''::jsonb', '''{"actor_id":"x","action":"b","tenant_id":"idem","idempotency_key":"k1"}''::jsonb, ''error''',
  'event => ''{"actor_id":"x","action":"b","tenant_id":"idem","idempotency_key":"k1"}''', '''x'', ''b'', tenant_id => ''idem'', idempotency_key => ''k1'', on_conflict => NULL',
  '''user_1'', ''invoice.paid'', tenant_id => ''idem'', idempotency_key => ''k1'', on_conflict => ''ignore''', '''{"actor_id":"x","action":"b","on_conflict":"answer"}''']) call;
SELECT regress_said(immutable.track('{"actor_id":"x","action":"b","tenant_id":"idem","idempotency_key":"k1"}', on_conflict => 'answer')) AS literal,
  regress_said(immutable.track('{"actor_id":"x","action":"b","tenant_id":"idem","idempotency_key":"k1"}'::json, 'answer')) AS json,
  regress_said(immutable.track(event => '{"actor_id":"x","action":"b","tenant_id":"idem","idempotency_key":"k1"}', on_conflict => 'answer')) AS named;

-- Each field counts: another value, or none.
SELECT regress_again();
SELECT regress_again(), regress_again('{"targets":[{"type":"folder","metadata":{"n":1},"name":null,"id":"f"},{"type":"team","id":"t1"},{"type":"team","id":"t2","name":"T"}]}') AS targets_in_another_order,
  regress_again('{"metadata":{"nested":{"a":[1,2]},"note":"x","amount":12.50}}') AS keys_in_another_order, regress_again('{"occurred_at":"2026-03-15T15:32:18.847312+01:00"}') AS time_in_another_zone,
  regress_again('{"ip_address":"203.0.113.7/32"}') AS same_address;
SELECT field, regress_again(jsonb_build_object(field, value)) AS another, regress_again(jsonb_build_object(field, NULL)) AS none FROM (VALUES
  ('actor_name', '"Bob"'::jsonb), ('actor_type', '"api"'), ('action_category', '"x"'), ('resource', '"x"'), ('resource_id', '"i2"'), ('resource_name', '""'), ('targets', '[{"type":"team"}]'), ('metadata', '{"amount":12.5,"note":"x","nested":{"a":[1,2]}}'),
  ('session_id', '"s2"'), ('version', '4'), ('occurred_at', '"2026-03-15T14:32:18.847313Z"'), ('ip_address', '"203.0.113.8"'), ('ip_country', '"DE"'), ('ip_city', '""'), ('user_agent', '"wget"')) e (field, value);
SELECT regress_again('{"actor_id":"user_2"}') AS actor, regress_again('{"action":"invoice.refunded"}') AS action, regress_again('{"tenant_id":"idem-2"}') AS of_another_tenant;
SELECT regress_again(jsonb_build_object('metadata', m)) FROM unnest(ARRAY['{}', '{"amount":12.50}', '{"amount":12.50,"note":"x","nested":{"a":[2,1]}}', '{"amount":12.50,"note":"x","nested":{"a":[1,2]},"more":1}']::jsonb[]) m;
SELECT regress_again(jsonb_build_object('targets', t)) FROM unnest(ARRAY['[]', '[{"type":"team","id":"t2","name":"T"},{"type":"team","id":"t1"}]', '[{"type":"team","id":"t2","name":"T"},{"type":"team","id":"t1"},{"type":"folder","id":"f","metadata":{"n":2}}]']::jsonb[]) t;
-- A first event without what the second one has.
SELECT regress_said(immutable.track(actor_id => 'a', action => 'bare', tenant_id => 'idem', idempotency_key => 'bare'));
SELECT field, regress_said(immutable.track(jsonb_build_object('actor_id', 'a', 'action', 'bare', 'tenant_id', 'idem', 'idempotency_key', 'bare', field, regress_event() -> field), 'answer')) AS said
FROM unnest(ARRAY['actor_name', 'actor_type', 'action_category', 'resource', 'resource_id', 'resource_name', 'targets', 'metadata', 'session_id', 'version', 'occurred_at', 'ip_address', 'ip_country', 'ip_city', 'user_agent']) field;
SELECT regress_said(immutable.track('{"actor_id":"a","action":"bare","tenant_id":"idem","idempotency_key":"bare","targets":[],"metadata":{},"resource_type":null}'::jsonb)) AS nothing_more;
-- An invalid event is refused before its key is looked at.
SELECT regress_refused($$SELECT immutable.track('{"actor_id":"a","action":"","tenant_id":"idem","idempotency_key":"bare"}'::jsonb)$$);
-- An event of a plain INSERT has its key as well; a plain INSERT under a used one is PostgreSQL's to refuse.
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata, idempotency_key) VALUES ('idem', 'a', 'plain', '{"n":1}', 'plain');
SELECT regress_said(immutable.track(actor_id => 'a', action => 'plain', metadata => '{"n":1}', tenant_id => 'idem', idempotency_key => 'plain', on_conflict => 'answer')) AS same,
  regress_said(immutable.track(actor_id => 'a', action => 'plain', metadata => '{"n":1.0}', tenant_id => 'idem', idempotency_key => 'plain', on_conflict => 'answer')) AS another;

-- What a session says of itself may be another at the second attempt, but for who did it.
SET immutable.tenant_id = 'idem-session';
SET immutable.actor_id = 'user_1';
SET immutable.actor_name = 'Sarah';
SET immutable.actor_type = 'user';
SET immutable.session_id = 's1';
SET immutable.ip_address = '203.0.113.7';
SET immutable.user_agent = 'curl';
SELECT regress_said(immutable.track(action => 'x', idempotency_key => 'k'));
SET immutable.actor_name = '';
SET immutable.actor_type = 'api';
SET immutable.session_id = 's2';
SET immutable.ip_address = '203.0.113.8';
SET immutable.user_agent = '';
SELECT regress_said(immutable.track(action => 'x', idempotency_key => 'k')) AS same, regress_said(immutable.track(actor_id => 'user_1', action => 'x', idempotency_key => 'k')) AS same_said,
  regress_said(immutable.track(action => 'x', session_id => 's2', ip_address => '203.0.113.8', idempotency_key => 'k', on_conflict => 'answer')) AS said_otherwise;
SET immutable.actor_id = 'user_2';
SELECT regress_refused($$SELECT immutable.track(action => 'x', idempotency_key => 'k')$$);
RESET ALL;

-- An empty key counts as no key, however it is given.
SELECT regress_said(immutable.track(actor_id => 'u', action => 'x', tenant_id => 'idem-empty', idempotency_key => '')), regress_said(immutable.track('u', 'y', tenant_id => 'idem-empty', idempotency_key => ''));
SELECT regress_said(immutable.track(e::jsonb)), regress_said(immutable.track(e::json)), regress_said(immutable.track(e)) FROM (VALUES ('{"actor_id":"u","action":"z","tenant_id":"idem-empty","idempotency_key":""}')) v (e);
SELECT jsonb_path_query_array(immutable.track_batch('[{"actor_id":"u","action":"b1","tenant_id":"idem-empty","idempotency_key":""},{"actor_id":"u","action":"b2","tenant_id":"idem-empty","idempotency_key":""}]'), '$.events[*].status');
-- Any other text is a key.
SELECT regress_said(immutable.track(actor_id => 'u', action => 'x', tenant_id => 'idem-empty', idempotency_key => ' ')), regress_said(immutable.track('u', 'y', tenant_id => 'idem-empty', idempotency_key => ' ', on_conflict => 'answer'));
RESET SESSION AUTHORIZATION;
SELECT count(*) AS recorded, count(idempotency_key) AS with_a_key FROM immutable.events WHERE tenant_id = 'idem-empty';

-- A writer that is bound learns nothing of another tenant's keys, whatever it guesses.
SET SESSION AUTHORIZATION regress_idempotent_bound;
SELECT regress_refused(format($$SELECT immutable.track(actor_id => 'user_1', action => 'invoice.paid', tenant_id => 'idem', idempotency_key => %L, on_conflict => 'answer')$$, key)) FROM unnest(ARRAY['k1', 'never used']) key;
SELECT regress_said(immutable.track(actor_id => 'user_1', action => 'invoice.paid', idempotency_key => 'k1', tenant_id => 'idem-bound', on_conflict => 'answer'));
-- Nothing that it puts into its search path is called with the owner's rights.
RESET SESSION AUTHORIZATION;
CREATE SCHEMA regress_idempotent AUTHORIZATION regress_idempotent_bound;
SET SESSION AUTHORIZATION regress_idempotent_bound;
CREATE FUNCTION regress_idempotent.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'called as %', current_user; END $$;
CREATE OPERATOR regress_idempotent.= (FUNCTION = regress_idempotent.trap, LEFTARG = text, RIGHTARG = text);
SET search_path = regress_idempotent, pg_catalog, public;
SELECT immutable.track('user_1', 'other', idempotency_key => 'k1', tenant_id => 'idem-bound', on_conflict => 'answer') ->> 'differs' AS differs;
RESET search_path;
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA regress_idempotent CASCADE;
RESET client_min_messages;

-- Erased: compared by what is left.
SET SESSION AUTHORIZATION regress_idempotent;
SELECT immutable.track(regress_event('{"tenant_id":"idem-erased","idempotency_key":"k"}')) ->> 'id' AS erased \gset
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_idempotent_eraser;
SELECT count(*) AS erased FROM immutable.erase(:'erased', 'idem-erased', '{actor_id,actor_name,resource_id,ip_address,metadata.note,targets.1}', 'ticket 1');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_idempotent;
SELECT regress_again('{"tenant_id":"idem-erased"}') AS same, regress_again('{"tenant_id":"idem-erased","actor_id":"user_2","actor_name":"Bob","resource_id":"i9","ip_address":"::1"}') AS what_is_gone,
  regress_again('{"tenant_id":"idem-erased","metadata":{"amount":12.50,"other":"y","nested":{"a":[1,2]}}}') AS an_erased_key, regress_again('{"tenant_id":"idem-erased","metadata":{"amount":12.50,"nested":{"a":[1,2]}}}') AS too_few_keys,
  regress_again('{"tenant_id":"idem-erased","metadata":{"amount":12.51,"note":"x","nested":{"a":[1,2]}}}') AS what_is_left, regress_again('{"tenant_id":"idem-erased","resource_name":"x"}') AS a_column_that_is_left,
  regress_again('{"tenant_id":"idem-erased","targets":[{"type":"team","id":"t2","name":"T"},{"type":"team","id":"t1x"},{"type":"folder","id":"f","metadata":{"n":1}}]}') AS an_erased_target,
  regress_again('{"tenant_id":"idem-erased","targets":[{"type":"team","id":"t1"},{"type":"folder","id":"f","metadata":{"n":1}}]}') AS too_few_targets;
RESET SESSION AUTHORIZATION;
-- With the key erased, it is free again: a late retry records the event, person and all (docs/errors.md).
SET SESSION AUTHORIZATION regress_idempotent_eraser;
SELECT count(*) AS erased FROM immutable.erase(:'erased', 'idem-erased', '{idempotency_key}', 'ticket 3');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_idempotent;
SELECT regress_again('{"tenant_id":"idem-erased"}') AS late;
RESET SESSION AUTHORIZATION;

-- Other users' triggers may fill in what the call leaves out; the values that it gives have to be stored unchanged.
CREATE FUNCTION regress_fill_in() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.action = 'skipped' THEN RETURN NULL; END IF;
  NEW.ip_country := coalesce(NEW.ip_country, 'DE'); NEW.metadata := coalesce(NEW.metadata, '{}') || '{"enriched":true}'; RETURN NEW; END $$;
CREATE TRIGGER a_regress_fill_in BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_fill_in();
SET SESSION AUTHORIZATION regress_idempotent;
SELECT regress_said(immutable.track('a', 'filled', tenant_id => 'idem-filled', idempotency_key => 'k')), regress_said(immutable.track('a', 'filled', tenant_id => 'idem-filled', idempotency_key => 'k')) AS again,
  regress_said(immutable.track('a', 'filled', tenant_id => 'idem-filled', idempotency_key => 'k', ip_country => 'FR', on_conflict => 'answer')) AS another;
SELECT regress_said(immutable.track('a', 'filled', tenant_id => 'idem-filled', idempotency_key => 'k2', metadata => '{"n":1}')), regress_said(immutable.track('a', 'filled', tenant_id => 'idem-filled', idempotency_key => 'k2', metadata => '{"n":1}')) AS again,
  regress_said(immutable.track('a', 'filled', tenant_id => 'idem-filled', idempotency_key => 'k2', metadata => '{"n":2}', on_conflict => 'answer')) AS another,
  regress_said(immutable.track('a', 'filled', tenant_id => 'idem-filled', idempotency_key => 'k2', metadata => '{"n":1,"m":1}', on_conflict => 'answer')) AS more;
-- A trigger that skips the event causes no silent loss.
SELECT regress_refused($$SELECT immutable.track('a', 'skipped', tenant_id => 'idem-filled')$$);
SELECT regress_refused($$SELECT immutable.track('a', 'skipped', tenant_id => 'idem-filled', idempotency_key => 'skipped')$$);
SELECT regress_refused($$SELECT immutable.track_batch('[{"actor_id":"a","action":"not skipped","tenant_id":"idem-filled"},{"actor_id":"a","action":"skipped","tenant_id":"idem-filled"}]')$$);
RESET SESSION AUTHORIZATION;
DROP TRIGGER a_regress_fill_in ON immutable.events;
DROP FUNCTION regress_fill_in;

-- They may change what the call gives, and where the event belongs: it is compared as it would be recorded, and with the event that is in its way.
CREATE FUNCTION regress_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.action = 'left out' THEN INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('idem-nested', 'a', 'nested', NEW.idempotency_key); RETURN NULL; END IF;
  NEW.actor_id := lower(NEW.actor_id); NEW.ip_address := network(set_masklen(NEW.ip_address, 24)); NEW.targets := NEW.targets || '[{"type":"added"}]';
  NEW.metadata := NEW.metadata - 'password' || jsonb_build_object('request', gen_random_uuid());
  IF NEW.metadata ? 'email' THEN NEW.metadata := jsonb_set(NEW.metadata, '{email}', to_jsonb(md5(NEW.metadata ->> 'email'))); END IF;
  IF NEW.action LIKE 'moved%' THEN NEW.tenant_id := 'idem-moved'; END IF;
  IF NEW.action LIKE 'prefixed%' THEN NEW.idempotency_key := 'billing:' || NEW.idempotency_key; END IF;
  RETURN NEW; END $$;
CREATE TRIGGER a_regress_change BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_change();
CREATE FUNCTION public.regress_changed(changes jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$ SELECT public.regress_said(immutable.track('{"tenant_id":"idem-changed","actor_id":"Alice","action":"changed","idempotency_key":"k","ip_address":"203.0.113.7",
  "targets":[{"type":"team"}],"metadata":{"n":1,"email":"a@example.com","password":"secret"}}'::jsonb || changes, 'answer')) $$;
SET SESSION AUTHORIZATION regress_idempotent;
SELECT regress_changed(), regress_changed() AS again, regress_changed('{"actor_id":"ALICE","ip_address":"203.0.113.8"}') AS becomes_the_same;
SELECT regress_changed('{"actor_id":"Bob"}') AS actor, regress_changed('{"ip_address":"203.0.114.7"}') AS address, regress_changed('{"targets":[]}') AS targets, regress_changed('{"metadata":{"n":2,"email":"a@example.com"}}') AS number, regress_changed('{"metadata":{"n":1,"email":"b@example.com"}}') AS email;
SELECT regress_changed('{"action":"moved","idempotency_key":"m1"}') AS moved, regress_changed('{"action":"moved","idempotency_key":"m1"}') AS again;
SELECT regress_changed('{"action":"prefixed","idempotency_key":"p1"}') AS prefixed, regress_changed('{"action":"prefixed","idempotency_key":"p1"}') AS again;
-- It is not compared with an unrelated event that has the key in the tenant that the call named.
SELECT regress_changed('{"action":"moved too","idempotency_key":"m2","tenant_id":"idem-moved"}') AS in_the_way, regress_changed('{"action":"stays","idempotency_key":"m2"}') AS elsewhere, regress_changed('{"action":"moved","idempotency_key":"m2"}') AS another;
SELECT regress_refused($$SELECT immutable.track('a', 'left out', tenant_id => 'idem-changed', idempotency_key => 'k')$$);
RESET SESSION AUTHORIZATION;
DROP TRIGGER a_regress_change ON immutable.events;
DROP FUNCTION regress_change, public.regress_changed(jsonb);

SELECT tenant_id, action, count(*) FROM immutable.events WHERE tenant_id LIKE 'idem%' AND action NOT LIKE 'immutable.%' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT bool_and(valid) AS valid FROM (SELECT DISTINCT tenant_id FROM immutable.events WHERE tenant_id LIKE 'idem%') t, immutable.verify_chain(t.tenant_id);
SET client_min_messages = warning;
SELECT immutable.revoke_tenant('regress_idempotent_bound', 'write');
DROP FUNCTION public.regress_again(jsonb), public.regress_event(jsonb), public.regress_said(jsonb), public.regress_refused(text);
DROP ROLE regress_idempotent, regress_idempotent_bound, regress_idempotent_eraser;
