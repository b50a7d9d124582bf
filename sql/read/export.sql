-- Export. It runs with the caller's rights, and contains what the caller may read.

CREATE FUNCTION immutable.export_events(
  actor_id text DEFAULT NULL, action text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, target_type text DEFAULT NULL, target_id text DEFAULT NULL,
  search text DEFAULT NULL, from_date immutable.day_or_time DEFAULT NULL,
  to_date immutable.day_or_time DEFAULT NULL)
RETURNS SETOF text LANGUAGE c STABLE PARALLEL RESTRICTED COST 10000 ROWS 1000000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_export_events';
COMMENT ON FUNCTION immutable.export_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time) IS
'Returns events as lines of JSON, which the program immutable-verify checks without a database.
The lines are a header, the events in the order of tenant, lane and seq, and an end.
docs/hash-format.md has the format. Where client_encoding is neither UTF8 nor SQL_ASCII, the lines
consist of ASCII alone, and verify as well.
The filters are those of immutable.get_events(). With tenant_id alone every lane is whole; from_date
and to_date leave a run of each lane, and other filters leave gaps that cannot be checked.
In the select list it streams: COPY (SELECT immutable.export_events()) TO STDOUT WITH (FORMAT csv,
QUOTE e''\x01'', DELIMITER e''\x02'', ENCODING ''UTF8''). COPY''s text format would double every backslash.
A cursor WITH HOLD goes on after COMMIT.
Raises 22023 for an action with a comma, and 55000 if immutable.events was altered.';
