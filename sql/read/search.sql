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
  tab pg_catalog.name;
  made pg_catalog.name;
BEGIN
  IF trgm IS NULL THEN
    RAISE EXCEPTION 'enable_search() needs the extension pg_trgm in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'A superuser can install it with CREATE EXTENSION pg_trgm.';
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indexrelid = pg_catalog.to_regclass('immutable.events_search') AND NOT i.indisvalid) THEN
    RAISE EXCEPTION 'index immutable.events_search is invalid: its creation was interrupted, or is still running'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'If no session is creating it now, call immutable.disable_search(), then enable_search() again.';
  END IF;
  -- The hot table, and the segments that have no such index yet. Sealing copies it to new segments.
  FOR tab, made IN
    SELECT t.relname, CASE t.relname WHEN 'events' THEN 'events_search' ELSE t.relname || '_search' END
    FROM pg_catalog.pg_class t
    WHERE (t.oid = 'immutable.events'::pg_catalog.regclass AND pg_catalog.to_regclass('immutable.events_search') IS NULL)
      OR EXISTS (SELECT FROM pg_catalog.pg_inherits h
        WHERE h.inhrelid = t.oid AND h.inhparent = 'immutable.events'::pg_catalog.regclass
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = t.oid
          AND pg_catalog.pg_get_expr(i.indexprs, i.indrelid) LIKE '%immutable.fold(%'))
    ORDER BY t.oid
  LOOP
    EXECUTE pg_catalog.format($index$CREATE INDEX %I ON immutable.%I USING gin ((
      immutable.fold((coalesce(immutable.text_of(actor_name), '') || E'\n' || immutable.text_of(action) || E'\n' ||
      coalesce(immutable.text_of(resource_name), '') || E'\n' ||
      immutable.text_of(metadata)) COLLATE pg_catalog."C")) %I.gin_trgm_ops)$index$, made, tab, trgm);
    -- Statistics would contain the texts, and EXPLAIN would tell every viewer how frequent a text is:
    -- see sql/access/viewers.sql.
    EXECUTE pg_catalog.format('ALTER INDEX immutable.%I ALTER COLUMN 1 SET STATISTICS 0', made);
  END LOOP;
  ALTER INDEX immutable.events_search ALTER COLUMN 1 SET STATISTICS 0;
END
$$;
COMMENT ON FUNCTION immutable.enable_search() IS
'Builds the index that makes get_events(search => ...) fast over the whole log.
The answers are the same without it. Writers wait while it is built for the newest events;
docs/operations.md has the statement that does not make them wait. Segments that have no such index
get one, and nobody waits for that but sealing and erasures.
Raises 55000 without the extension pg_trgm, or if an interrupted CREATE INDEX CONCURRENTLY left the
index invalid.';

CREATE FUNCTION immutable.disable_search()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  made pg_catalog.regclass;
BEGIN
  DROP INDEX IF EXISTS immutable.events_search;
  FOR made IN
    SELECT i.indexrelid FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_index i ON i.indrelid = h.inhrelid
    WHERE h.inhparent = 'immutable.events'::pg_catalog.regclass
      AND pg_catalog.pg_get_expr(i.indexprs, i.indrelid) LIKE '%immutable.fold(%'
  LOOP
    EXECUTE pg_catalog.format('DROP INDEX %s', made);
  END LOOP;
END
$$;
COMMENT ON FUNCTION immutable.disable_search() IS
'Drops the index that immutable.enable_search() builds, from the segments too.
Raises no error of its own.';
