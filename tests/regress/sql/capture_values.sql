-- Row changes: how values of all kinds are recorded, whatever the session's settings are, and what stands for values that
-- are too long, masked, or changed in bytes only.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
RESET client_min_messages;
CREATE SCHEMA capture_values;
SET search_path = capture_values, public;
CREATE FUNCTION last_xact() RETURNS xid8 LANGUAGE sql AS 'SELECT xact FROM immutable.events ORDER BY xact DESC LIMIT 1';
-- What the last transaction recorded, with one line for each column.
CREATE VIEW recorded AS
  SELECT e.action, e.resource_id, m.key, m.value
  FROM immutable.events e LEFT JOIN LATERAL jsonb_each(e.metadata) m ON true
  WHERE e.resource_type = 'v' AND e.xact = last_xact();

-- A session that prints everything in its own way.
SET DateStyle = 'German'; SET TimeZone = 'Asia/Kolkata'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape';
SET extra_float_digits = -3; SET quote_all_identifiers = on;

CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN word AS text;
CREATE TYPE mood AS ENUM ('sad', 'it''s "fine"');
CREATE TYPE pair AS (name text, at timestamptz, data bytea);
CREATE TABLE v (
  id int PRIMARY KEY, b bool, i2 smallint, i8 bigint, p positive, w word, n numeric, f4 real, f8 double precision, t text,
  c char(5), vc varchar(9), nm name, ch "char", by bytea, d date, ti time, tz timestamptz, ts timestamp, iv interval, u uuid,
  j json, jb jsonb, ar int[], ta text[], tsa timestamptz[], co pair, cos pair[], r tstzrange, mr int4multirange, m mood, x text,
  mo money, tv tsvector, rc regclass, rt regtype, o oid, bt bit(4), vb varbit, ip inet, ci cidr, mac macaddr, pt point,
  gen int GENERATED ALWAYS AS (id * 2) STORED);
SELECT immutable.track_table('v');
INSERT INTO v VALUES (
  1, true, -32768, 9223372036854775807, 7, 'domain', 'NaN', 1.1, 0.1, E'tab\t "quoted" \\ line\nK\u00f6ln \u20ac', 'ab', 'cd',
  'name', 'x', '\x00ff5c', '2026-11-27', '12:34:56.789', '2026-11-27 15:00:00+00', '2026-11-27 15:00:00',
  '1 year 2 mons 3 days 04:05:06.7', '6ba7b810-9dad-11d1-80b4-00c04fd430c8', '{"a": "\u0000", "a": 1.0}', '{"b": 1.50, "a": [1]}',
  '{1,NULL,3}', '{a,"b c",NULL,"NULL"}', '{2026-11-27 15:00:00+00}', ROW('x', '2026-11-27 15:00:00+00', '\x01'),
  ARRAY[ROW('y', NULL, NULL)::pair], '[2026-11-27 15:00:00+00,)', '{[1,3),[5,7)}', 'it''s "fine"', '<a b="1">t</a>', 1234.5,
  'fat:2 cat:3', 'v', 'pair', 4294967295, B'1010', B'101', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '(0.1,2)');
SELECT key, value FROM recorded ORDER BY key COLLATE "C";
-- All NULL, and numbers that JSON does not have.
INSERT INTO v (id) VALUES (2);
SELECT count(*), count(*) FILTER (WHERE value = '{"new": null}') AS nulls FROM recorded;
UPDATE v SET n = 'Infinity', f8 = '-Infinity', f4 = '-0', iv = '-1 days', tz = 'infinity', d = '-infinity', by = '' WHERE id = 2;
SELECT key, value FROM recorded ORDER BY key COLLATE "C";
-- The session's settings are as they were.
SELECT current_setting('DateStyle') AS datestyle, current_setting('TimeZone') AS zone, current_setting('IntervalStyle') AS style,
  current_setting('bytea_output') AS bytea, current_setting('extra_float_digits') AS digits, current_setting('search_path') AS path;

-- Nothing changed: the same values, written anew, in other bytes, or compressed.
ALTER TABLE v ADD big text; ALTER TABLE v ADD plain text; ALTER TABLE v ALTER plain SET STORAGE EXTERNAL;
UPDATE v SET big = repeat('compressible ', 1000), plain = repeat('x', 9000);
SELECT last_xact() AS before \gset
UPDATE v SET id = id, t = t, jb = jb || '{}', big = big || '', plain = plain || '', n = n + 0;
UPDATE v SET big = repeat('compressible ', 999) || 'compressible ', plain = repeat('x', 8999) || 'x';
SELECT last_xact() = :'before' AS nothing_recorded;
-- The same number with other digits is another text, and so is minus zero.
UPDATE v SET n = '1.50' WHERE id = 1; UPDATE v SET n = '1.5' WHERE id = 1;
SELECT key, value FROM recorded;
UPDATE v SET f4 = 0 WHERE id = 2;
SELECT key, value FROM recorded;

-- 8,192 bytes are kept, longer values are replaced by their length and hash. Bytes count, not characters.
UPDATE v SET t = repeat('y', 8192), by = NULL, big = NULL, plain = NULL WHERE id = 1;
SELECT key, left(value ->> 'new', 3) AS new, length(value ->> 'new') AS length, left(value ->> 'old', 20) AS old FROM recorded ORDER BY key COLLATE "C";
UPDATE v SET t = repeat(E'\u00e9', 4097), by = decode(repeat('ab', 5000), 'hex') WHERE id = 1;
SELECT key, value -> 'new' AS new, value #>> '{new,sha256}' = CASE key
    WHEN 't' THEN encode(sha256(convert_to(repeat(E'\u00e9', 4097), 'UTF8')), 'hex')
    ELSE encode(sha256(convert_to('\x' || repeat('ab', 5000), 'UTF8')), 'hex') END AS is_hash
  FROM recorded ORDER BY key COLLATE "C";
-- More than 64 kB together: the longest values go first.
CREATE TABLE wide (id int PRIMARY KEY, a text, b text, c text, d text, e text, f text, g text, h text, i text, j text, k text);
SELECT immutable.track_table('wide', 'v');
CREATE FUNCTION x(int) RETURNS text LANGUAGE sql AS $$ SELECT repeat('x', $1) $$;
INSERT INTO wide VALUES (1, x(8000), x(8000), x(8000), x(8000), x(8000), x(8000), x(8000), x(8000), x(8000), x(100), x(4000));
SELECT key, jsonb_typeof(value -> 'new') AS new, value #>> '{new,length}' AS length FROM recorded ORDER BY key COLLATE "C";
-- More than 1,000 columns: the event says how many they were, and their hash.
DO $$ BEGIN
  EXECUTE 'CREATE TABLE widest (id int PRIMARY KEY, ' || (SELECT string_agg(format('c%s int', n), ', ') FROM generate_series(1, 1599) n) || ')';
END $$;
SELECT immutable.track_table('widest', 'v');
INSERT INTO widest (id, c7, c1599) VALUES (1, 7, 8);
SELECT action, resource_id, key, value FROM recorded;
SELECT value #>> '{sha256}' = encode(sha256(convert_to('{' || string_agg(format('"%s":{"new":%s}', name,
    CASE name WHEN 'id' THEN '1' WHEN 'c7' THEN '7' WHEN 'c1599' THEN '8' ELSE 'null' END), ',' ORDER BY name COLLATE "C") || '}', 'UTF8')), 'hex') AS is_hash
  FROM (SELECT 'id' AS name UNION ALL SELECT 'c' || n FROM generate_series(1, 1599) n) names, recorded GROUP BY value;
UPDATE widest SET c1599 = 9;
SELECT action, resource_id, key, value FROM recorded;

-- Masks say that a value changed.
CREATE TABLE masked (id int PRIMARY KEY, iban text, pin int);
SELECT immutable.track_table('masked', 'v', mask => '{iban,pin}');
INSERT INTO masked VALUES (1, 'DE02', NULL);
SELECT key, value FROM recorded ORDER BY key COLLATE "C";
UPDATE masked SET iban = 'DE03';
SELECT key, value FROM recorded ORDER BY key COLLATE "C";
SELECT last_xact() AS before \gset
UPDATE masked SET iban = 'DE' || '03', pin = NULL;
SELECT last_xact() = :'before' AS nothing_recorded;

-- Keys: text, several columns, none, one that changes and two that are swapped, one that is too long.
CREATE TABLE keyed (k text, n int, s text, PRIMARY KEY (k, n));
SELECT immutable.track_table('keyed', 'v');
INSERT INTO keyed VALUES ('a"b', 1, 's');
SELECT DISTINCT resource_id FROM recorded;
UPDATE keyed SET n = 2;
SELECT e.resource_id, e.targets, e.metadata FROM immutable.events e WHERE e.resource_type = 'v' ORDER BY e.xact DESC LIMIT 1;
CREATE TABLE swapped (id int PRIMARY KEY DEFERRABLE, s text);
SELECT immutable.track_table('swapped', 'v');
INSERT INTO swapped VALUES (1, 'one'), (2, 'two');
UPDATE swapped SET id = 3 - id;
SELECT e.resource_id, e.targets, e.metadata FROM immutable.events e
  WHERE e.resource_type = 'v' AND e.xact = last_xact() ORDER BY e.resource_id;
CREATE TABLE unkeyed (s text);
SELECT immutable.track_table('unkeyed', 'v');
INSERT INTO unkeyed VALUES ('x');
SELECT action, resource_id, key, value FROM recorded;
CREATE TABLE longkey (k text PRIMARY KEY);
SELECT immutable.track_table('longkey', 'v');
INSERT INTO longkey VALUES (repeat('k', 600));
SELECT resource_id = 'sha256:' || encode(sha256(convert_to(repeat('k', 600), 'UTF8')), 'hex') AS is_hash FROM recorded;

-- Tenants: NULL is no tenant, one that is too long is a hash, and a row that moves is recorded for both.
CREATE TABLE owned (id int PRIMARY KEY, org text, s text);
SELECT immutable.track_table('owned', 'v', tenant_column => 'org');
INSERT INTO owned VALUES (1, NULL, 'a'), (2, 'acme', 'b'), (3, repeat('o', 300), 'c');
SELECT e.resource_id, left(e.tenant_id, 10) AS tenant FROM immutable.events e
  WHERE e.resource_type = 'v' AND e.xact = last_xact() ORDER BY e.resource_id;
UPDATE owned SET org = 'globex' WHERE id = 2;
SELECT e.resource_id, e.tenant_id, e.metadata FROM immutable.events e
  WHERE e.resource_type = 'v' AND e.xact = last_xact() ORDER BY e.tenant_id;

-- Dropped columns, and columns that rows do not have yet.
ALTER TABLE owned DROP COLUMN s; ALTER TABLE owned ADD later timestamptz NOT NULL DEFAULT '2026-01-01 00:00:00+00';
UPDATE owned SET org = 'initech' WHERE id = 1;
SELECT key, value FROM recorded ORDER BY key COLLATE "C";
DELETE FROM owned WHERE id = 3;
SELECT key, left(value::text, 40) AS value FROM recorded ORDER BY key COLLATE "C";
SELECT count(*) AS breaks FROM immutable.verify_breaks();
SET client_min_messages = warning;
DROP SCHEMA capture_values CASCADE;
