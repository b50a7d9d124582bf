-- Export, with the caller's rights: it holds what the caller may read.

CREATE FUNCTION immutable.export_events(
  actor_id text DEFAULT NULL, action text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, target_type text DEFAULT NULL, target_id text DEFAULT NULL,
  search text DEFAULT NULL, from_date immutable.day_or_time DEFAULT NULL,
  to_date immutable.day_or_time DEFAULT NULL)
RETURNS SETOF text LANGUAGE c STABLE PARALLEL RESTRICTED COST 10000 ROWS 1000000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_export_events';
COMMENT ON FUNCTION immutable.export_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time) IS
  'The events that pass every filter given, as lines of JSON that immutable-verify checks without a database: a header, the events in the order of tenant, lane and seq, an end line; format in docs/hash-format.md. The filters are those of immutable.get_events(); of a lane, tenant_id leaves all, from_date and to_date a run, any other holes that cannot be checked. In the select list it streams: COPY (SELECT immutable.export_events()) TO STDOUT WITH (FORMAT csv, QUOTE e''\x01'', DELIMITER e''\x02'', ENCODING ''UTF8''); COPY''s text format would double every backslash. Where client_encoding is neither UTF8 nor SQL_ASCII, the lines are of ASCII alone, and verify as well. A held cursor (WITH HOLD) goes on after COMMIT. Raises 55000 if immutable.events was altered';
