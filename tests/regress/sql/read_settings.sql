-- Reading gives the same answers whatever the session's settings are: styles and zones of times, names of months, strings, bytea.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
RESET client_min_messages;

INSERT INTO immutable.events (tenant_id, actor_id, action, metadata, ip_address, version)
SELECT 'read-settings', 'settings_' || n % 2, 'settings.read', jsonb_build_object('n', n * 1.10, 'quote', 'it''s \'), '203.0.113.7', n FROM generate_series(1, 40) n;
ANALYZE immutable.events;

-- Everything below is estimated, by a statement with the times written out.
SET immutable.max_exact_total = 0;
-- In every zone that PostgreSQL knows and every style: no error, and what it is here. All of these events are younger than an hour, so that
-- a bound that is off by hours, in either direction, finds nothing. (ANALYZE may come meanwhile, so not to the event.)
CREATE FUNCTION pg_temp.estimated(here timestamptz) RETURNS bigint LANGUAGE sql AS $$
  SELECT least((immutable.get_events(from_date => here - interval '1 hour', "limit" => 1) #>> '{pagination,total}')::bigint,
               (immutable.get_events(to_date => here + interval '1 hour', "limit" => 1) #>> '{pagination,total}')::bigint)
$$;
CREATE FUNCTION pg_temp.in_zones() RETURNS TABLE (style text, wrong text[]) LANGUAGE plpgsql AS $$
DECLARE
  zone text; here timestamptz := clock_timestamp(); expected bigint := pg_temp.estimated(here); found bigint;
BEGIN
  IF expected < 20 THEN
    RAISE EXCEPTION 'an estimate of % shows nothing', expected;
  END IF;
  FOREACH style IN ARRAY ARRAY['ISO, MDY', 'SQL, DMY', 'SQL, MDY', 'German, DMY', 'Postgres, MDY', 'Postgres, DMY'] LOOP
    PERFORM set_config('DateStyle', style, true);
    wrong := '{}';
    FOR zone IN SELECT name FROM pg_catalog.pg_timezone_names ORDER BY name COLLATE "C" LOOP
      PERFORM set_config('TimeZone', zone, true);
      BEGIN
        found := pg_temp.estimated(here);
        IF found NOT BETWEEN expected / 2 AND expected * 2 THEN
          wrong := wrong || format('%s: %s instead of %s', zone, found, expected);
        END IF;
      EXCEPTION WHEN OTHERS THEN
        wrong := wrong || format('%s: %s %s', zone, SQLSTATE, SQLERRM);
      END;
    END LOOP;
    wrong := wrong[:5];
    RETURN NEXT;
  END LOOP;
END
$$;
BEGIN;
SELECT * FROM pg_temp.in_zones();
ROLLBACK;
-- Bounds that no literal can express.
SELECT n, immutable.get_events(from_date => b, "limit" => 1) #>> '{pagination,total_relation}' AS from_it, immutable.get_events(to_date => b, "limit" => 1) #>> '{pagination,total}' AS to_it
FROM unnest(ARRAY['-infinity', '0044-03-15 12:00:00 BC']::timestamptz[]) WITH ORDINALITY AS x(b, n);
SELECT immutable.get_events(from_date => 'infinity', "limit" => 1) #>> '{pagination,total}' AS from_it, immutable.get_events(to_date => 'infinity', "limit" => 1) #>> '{pagination,total_relation}' AS to_it;
RESET immutable.max_exact_total;

-- A page, its events and the views, under settings of every kind.
CREATE TEMP TABLE answers (settings text, md5 text);
CREATE FUNCTION pg_temp.answer() RETURNS text LANGUAGE sql AS $$
  SELECT md5(string_agg(part, '|')) FROM (
    SELECT jsonb_path_query_array(immutable.get_events(tenant_id => 'read-settings', actor_id => 'settings_1'), '$.data')::text AS part
    UNION ALL SELECT (immutable.get_events(tenant_id => 'read-settings', search => E'IT''S \\') #> '{pagination,total}')::text
    UNION ALL SELECT (immutable.get_events(tenant_id => 'read-settings', action => 'settings.*', "limit" => 3) -> 'pagination')::text
    UNION ALL SELECT string_agg(event_hash || previous_event_hash || (metadata ->> 'n'), ',' ORDER BY lane, seq) FROM immutable.activity WHERE tenant_id = 'read-settings'
    UNION ALL SELECT string_agg(immutable.canonical(f), ',') FROM immutable.find_events(tenant_id => 'read-settings') f
    UNION ALL SELECT (immutable.changes('read-settings') -> 'position')::text) x
$$;
INSERT INTO answers SELECT 'none', pg_temp.answer();
DO $$
DECLARE
  given text[];
BEGIN
  FOREACH given SLICE 1 IN ARRAY ARRAY[['DateStyle', 'SQL, DMY'], ['TimeZone', 'Asia/Kolkata'], ['IntervalStyle', 'sql_standard'], ['bytea_output', 'escape'],
    ['extra_float_digits', '-15'], ['standard_conforming_strings', 'off'], ['backslash_quote', 'off'], ['escape_string_warning', 'off'], ['quote_all_identifiers', 'on'],
    ['lc_time', 'C'], ['lc_numeric', 'C'], ['lc_monetary', 'C'], ['lc_messages', 'C'], ['xmlbinary', 'hex'], ['array_nulls', 'off'], ['transform_null_equals', 'on'],
    ['search_path', 'pg_temp'], ['timezone_abbreviations', 'India'], ['plan_cache_mode', 'force_custom_plan'], ['row_security', 'off'], ['enable_indexscan', 'off'],
    ['enable_indexonlyscan', 'off'], ['enable_nestloop', 'off'], ['cursor_tuple_fraction', '1'], ['from_collapse_limit', '1'], ['constraint_exclusion', 'on']] LOOP
    PERFORM set_config(given[1], given[2], true);
    INSERT INTO answers SELECT array_to_string(given, ' = '), pg_temp.answer();
  END LOOP;
END
$$;
SELECT settings AS other_answers FROM answers WHERE md5 <> (SELECT md5 FROM answers WHERE settings = 'none');
SELECT count(*) AS settings, count(DISTINCT md5) AS answers FROM answers;
