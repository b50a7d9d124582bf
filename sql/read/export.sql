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

CREATE FUNCTION immutable.shard_export(
  here bigint, tenant_id text, after_tenant text, after_lane smallint, after_seq bigint, filters jsonb)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, line text) LANGUAGE c STABLE PARALLEL UNSAFE ROWS 2000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_shard_export';
COMMENT ON FUNCTION immutable.shard_export(bigint, text, text, smallint, bigint, jsonb) IS
'Part of immutable.export_events(): returns lines of the shard that a tenant belongs to, of whole tenants.
- here: ignored.
- tenant_id: the tenant that the shard is found by.
- after_tenant, after_lane, after_seq: the place after which the lines begin; NULL for all.
- filters: those of export_events(), as it writes them.
Returns the place of each event and its line.
Raises 22023 for filters that export_events() did not write, and 55000 if the shard is on another node.';
