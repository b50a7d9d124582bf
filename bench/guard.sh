#!/usr/bin/env bash
# What the guard costs DDL elsewhere in the database, and what status() costs, in a private server (`scripts/pg`).
#   bench/guard.sh [MAJOR]
# Each statement runs with the guard on and off in turn; the medians of the rounds are what is printed, in microseconds.
set -euo pipefail
cd "$(dirname "$0")/.."
major=${1:-15}
scripts/pg "$major" install >/dev/null 2>&1
scripts/pg "$major" start bench fsync=off >/dev/null
trap 'scripts/pg "$major" destroy bench' EXIT
psql() { scripts/pg "$major" psql bench -qAt -v ON_ERROR_STOP=1 "$@"; }
psql -c "CREATE EXTENSION immutable" -c "
  INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 't' || n % 100, 'a', 'b' FROM generate_series(1, 20000) n" \
    -c "VACUUM ANALYZE immutable.events"
psql <<'SQL'
CREATE TABLE existing (a int, b text);
CREATE PROCEDURE switch(how text) LANGUAGE plpgsql AS $$
DECLARE e text;
BEGIN
  FOREACH e IN ARRAY ARRAY['start', 'end', 'drop'] LOOP EXECUTE format('ALTER EVENT TRIGGER immutable_ddl_%s %s', e, how); END LOOP;
END $$;
CREATE FUNCTION cost(statement text, undo text, times int) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE since timestamptz := clock_timestamp();
BEGIN
  FOR i IN 1 .. times LOOP EXECUTE statement; IF undo <> '' THEN EXECUTE undo; END IF; END LOOP;
  RETURN extract(epoch FROM clock_timestamp() - since) * 1e6 / times;
END $$;
CREATE TABLE result (statement text, guard boolean, cost numeric);
SQL
for round in 1 2 3 4 5; do
    for guard in "ENABLE ALWAYS" DISABLE; do
        psql <<SQL
CALL switch('$guard');
\set on '''$guard'' = ''ENABLE ALWAYS'''
INSERT INTO result SELECT s, :on, cost(s, u, n) FROM (VALUES
  ('CREATE TEMPORARY TABLE t (a int)', 'DROP TABLE t', 100), ('ALTER TABLE existing ALTER b SET DEFAULT 1', '', 100),
  ('CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS ''SELECT 1''', '', 100),
  ('CREATE INDEX i ON existing (a)', 'DROP INDEX i', 50), ('SELECT * FROM immutable.status()', '', 10)) x (s, u, n);
SQL
    done
done
psql -F ' | ' -c "SELECT statement, round(percentile_cont(0.5) WITHIN GROUP (ORDER BY cost) FILTER (WHERE guard)) AS guarded,
  round(percentile_cont(0.5) WITHIN GROUP (ORDER BY cost) FILTER (WHERE NOT guard)) AS unguarded FROM result GROUP BY 1"
