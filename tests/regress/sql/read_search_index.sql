-- enable_search(), and what status() says of its index. It needs pg_trgm.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
SET immutable.allow_ddl = on;
DROP EXTENSION IF EXISTS immutable;
RESET immutable.allow_ddl;
CREATE EXTENSION immutable;
CREATE EXTENSION IF NOT EXISTS pg_trgm;
RESET client_min_messages;
SELECT immutable.enable_search();
SELECT search_index, problems FROM immutable.status();
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'immutable.events_search'::regclass;
SELECT search_index, problems FROM immutable.status();
SELECT immutable.disable_search();
SELECT search_index, problems FROM immutable.status();
