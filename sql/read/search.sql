-- What a search compares, and the index for get_events(search => ...). The index has the expression
-- that src/read/filter.rs puts into queries.

CREATE FUNCTION immutable.fold(given text)
RETURNS text LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_fold';
COMMENT ON FUNCTION immutable.fold(text) IS
'Returns a text as a search compares it: in Unicode''s normal form C and without regard to case.
The result is the same in every locale. Accents stay; a sharp s is ss, and the four letters i of
Turkish are one i.
Returns NULL for NULL, and an empty text for one that cannot be read.
Raises no error.';

CREATE FUNCTION immutable.enable_search()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  trgm pg_catalog.name := (SELECT n.nspname FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm');
BEGIN
  IF trgm IS NULL THEN
    RAISE EXCEPTION 'enable_search() needs the extension pg_trgm in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'A superuser can install it with CREATE EXTENSION pg_trgm.';
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indexrelid = pg_catalog.to_regclass('immutable.events_search') AND NOT i.indisvalid) THEN
    RAISE EXCEPTION 'index immutable.events_search is invalid: its creation was interrupted, or is still running'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'If no session is creating it now, call immutable.disable_search(), then enable_search() again.';
  END IF;
  EXECUTE pg_catalog.format($index$CREATE INDEX IF NOT EXISTS events_search ON immutable.events USING gin ((
    immutable.fold((coalesce(immutable.text_of(actor_name), '') || E'\n' || immutable.text_of(action) || E'\n' ||
    coalesce(immutable.text_of(resource_name), '') || E'\n' ||
    immutable.text_of(metadata)) COLLATE pg_catalog."C")) %I.gin_trgm_ops)$index$, trgm);
  -- Statistics would contain the texts, and EXPLAIN would tell every viewer how frequent a text is:
  -- see sql/access/viewers.sql.
  ALTER INDEX immutable.events_search ALTER COLUMN 1 SET STATISTICS 0;
END
$$;
COMMENT ON FUNCTION immutable.enable_search() IS
'Builds the index that makes get_events(search => ...) fast over the whole log.
The answers are the same without it. Writers wait while it is built; docs/operations.md has the
statement that does not make them wait.
Raises 55000 without the extension pg_trgm, or if an interrupted CREATE INDEX CONCURRENTLY left the
index invalid.';

CREATE FUNCTION immutable.disable_search()
RETURNS void LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$ DROP INDEX IF EXISTS immutable.events_search $$;
COMMENT ON FUNCTION immutable.disable_search() IS
'Drops the index that immutable.enable_search() builds, if it is there.
Raises no error of its own.';
