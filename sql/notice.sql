-- This file comes last. It tells the administrator now, and not in the night, whose dumps of this
-- database fail. It raises a WARNING, because PostgreSQL shows no lower level from an extension's
-- script.
DO $$
DECLARE
  logins pg_catalog.text[] := immutable.logins_that_cannot_dump();
BEGIN
  IF pg_catalog.cardinality(logins) > 0 THEN
    RAISE WARNING 'pg_dump of this database will fail for logins that have pg_read_all_data but not BYPASSRLS: %',
        pg_catalog.array_to_string(logins, ', ')
      USING HINT = pg_catalog.format('Run ALTER ROLE %s BYPASSRLS, or dump as a superuser.', logins[1]);
  END IF;
END
$$;
