-- What a search compares, and the index for get_events(search => ...). Its expression is the one that src/filter.rs puts
-- into the query.

CREATE FUNCTION immutable.fold(given text)
RETURNS text LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_fold';
COMMENT ON FUNCTION immutable.fold(text) IS
  'A text as get_events(search => ...) compares it: in Unicode''s normal form C and without regard to case, the same in every locale. One letter''s forms become one (with a sharp s as ss, and the four letters i of Turkish as one i); accents stay. NULL for NULL; raises nothing';

CREATE FUNCTION immutable.text_of(value jsonb) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'immutable_text_of';
CREATE FUNCTION immutable.text_of(value text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'immutable_text_of_text';
COMMENT ON FUNCTION immutable.text_of(text) IS
  'A stored text; an empty one where it cannot be read, on which PostgreSQL''s own functions would raise an error. NULL for NULL; raises nothing';
COMMENT ON FUNCTION immutable.text_of(jsonb) IS
  'A stored jsonb as PostgreSQL prints it; an empty text where it cannot be read, on which PostgreSQL''s own output would raise an error or crash the server. NULL for NULL; raises nothing';

CREATE FUNCTION immutable.enable_search()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  trgm pg_catalog.name := (SELECT n.nspname FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm');
BEGIN
  IF trgm IS NULL THEN
    RAISE EXCEPTION 'enable_search() needs the extension pg_trgm in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'As superuser: CREATE EXTENSION pg_trgm';
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indexrelid = pg_catalog.to_regclass('immutable.events_search') AND NOT i.indisvalid) THEN
    RAISE EXCEPTION 'the index immutable.events_search is there and not valid: its building was interrupted, or goes on'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'If nobody builds it now: SELECT immutable.disable_search(), then enable_search() again.';
  END IF;
  EXECUTE pg_catalog.format($index$CREATE INDEX IF NOT EXISTS events_search ON immutable.events USING gin ((
    immutable.fold((coalesce(immutable.text_of(actor_name), '') || E'\n' || immutable.text_of(action) || E'\n' ||
    coalesce(immutable.text_of(resource_name), '') || E'\n' ||
    immutable.text_of(metadata)) COLLATE pg_catalog."C")) %I.gin_trgm_ops)$index$, trgm);
  -- Statistics would hold the texts, and EXPLAIN tell every viewer how frequent one is: see sql/tenants.sql.
  ALTER INDEX immutable.events_search ALTER COLUMN 1 SET STATISTICS 0;
END
$$;
COMMENT ON FUNCTION immutable.enable_search() IS
  'Builds the index that answers get_events(search => ...) over everything at once; writers wait while it is built (docs/operations.md has the statement that lets them go on). The answers are the same without it. For the table''s owner. Raises 55000 without the extension pg_trgm, or where an interrupted CREATE INDEX CONCURRENTLY left it invalid';

CREATE FUNCTION immutable.disable_search()
RETURNS void LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$ DROP INDEX IF EXISTS immutable.events_search $$;
COMMENT ON FUNCTION immutable.disable_search() IS
  'Drops the index of immutable.enable_search(). For the table''s owner';
