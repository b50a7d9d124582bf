-- Row changes: every way in which a statement changes rows.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_capture_clerk;
RESET client_min_messages;
CREATE ROLE regress_capture_clerk;
CREATE SCHEMA capture_statements;
GRANT USAGE ON SCHEMA capture_statements TO PUBLIC;
SET search_path = capture_statements, public;
CREATE FUNCTION last_xact() RETURNS xid8 LANGUAGE sql AS 'SELECT xact FROM immutable.events ORDER BY xact DESC LIMIT 1';
-- What the last transaction recorded, in the order of recording.
CREATE VIEW recorded AS
  SELECT e.action, e.resource_id, e.targets, e.metadata FROM immutable.events e
  WHERE e.xact = (SELECT last_xact()) AND e.action NOT LIKE 'immutable.%' ORDER BY e.seq;
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.s LIKE 'skip%' THEN RETURN NULL; END IF;
  IF NEW.s LIKE 'change%' THEN NEW.s := upper(NEW.s); END IF;
  RETURN NEW;
END $$;

CREATE TABLE t (id int PRIMARY KEY, s text, n int);
SELECT immutable.track_table('t');
-- INSERT ... SELECT, COPY, ON CONFLICT, MERGE, and triggers that skip or change rows.
INSERT INTO t SELECT n, 'row ' || n, n FROM generate_series(1, 3) n;
TABLE recorded;
COPY t FROM STDIN;
4	copied	\N
5	copied	5
\.
TABLE recorded;
INSERT INTO t VALUES (5, 'conflict', 6), (6, 'new', 6) ON CONFLICT (id) DO UPDATE SET s = excluded.s RETURNING id;
TABLE recorded;
INSERT INTO t VALUES (6, 'ignored', 6) ON CONFLICT DO NOTHING;
TABLE recorded;
MERGE INTO t USING (VALUES (1, 'merged'), (2, NULL), (7, 'merged')) AS given (id, s) ON t.id = given.id
  WHEN MATCHED AND given.s IS NULL THEN DELETE
  WHEN MATCHED THEN UPDATE SET s = given.s
  WHEN NOT MATCHED THEN INSERT VALUES (given.id, given.s);
TABLE recorded;
CREATE TRIGGER skip BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION skip();
UPDATE t SET s = CASE id WHEN 3 THEN 'skip' WHEN 4 THEN 'change' ELSE 'plain' END WHERE id IN (3, 4, 5);
TABLE recorded;
INSERT INTO t VALUES (8, 'skip'), (9, 'change');
TABLE recorded;
DROP TRIGGER skip ON t;
-- Writable CTEs: two statements on one table, which share the transition tables.
WITH gone AS (DELETE FROM t WHERE id = 9 RETURNING *), more AS (UPDATE t SET n = 10 WHERE id = 1)
  UPDATE t SET n = 30 WHERE id = 3;
TABLE recorded;
-- A cursor, a view, a view with INSTEAD OF, a rule, a function, and EXECUTE.
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t WHERE id = 3 FOR UPDATE;
FETCH c;
UPDATE t SET s = 'by cursor' WHERE CURRENT OF c;
COMMIT;
TABLE recorded;
CREATE VIEW simple AS SELECT id, s FROM t;
UPDATE simple SET s = 'by view' WHERE id = 3;
TABLE recorded;
CREATE VIEW joined AS SELECT t.id, t.s || '!' AS s FROM t;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE t SET s = NEW.s WHERE id = OLD.id; RETURN NEW; END';
CREATE TRIGGER i INSTEAD OF UPDATE ON joined FOR EACH ROW EXECUTE FUNCTION instead();
UPDATE joined SET s = 'by instead of' WHERE id = 3;
TABLE recorded;
CREATE VIEW ruled AS SELECT id, s FROM t;
CREATE RULE r AS ON DELETE TO ruled DO INSTEAD DELETE FROM t WHERE t.id = OLD.id;
DELETE FROM ruled WHERE id = 3;
TABLE recorded;
PREPARE p(int) AS UPDATE t SET n = n + 1 WHERE id = $1;
EXECUTE p(1);
TABLE recorded;
-- Several statements in one transaction, a savepoint that is rolled back, and a statement that fails.
BEGIN;
INSERT INTO t VALUES (20, 'first');
SAVEPOINT s;
UPDATE t SET s = 'lost' WHERE id = 20;
ROLLBACK TO s;
UPDATE t SET s = 'second' WHERE id = 20;
DELETE FROM t WHERE id = 20;
COMMIT;
TABLE recorded;
TRUNCATE t;
TABLE recorded;

-- Cascades, SET NULL, and deferred constraints; TRUNCATE CASCADE.
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE loose (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE SET NULL ON UPDATE SET NULL);
SELECT immutable.track_table(name::regclass) FROM unnest('{parent,child,loose}'::text[]) name;
INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (10, 1), (11, 1), (12, 2); INSERT INTO loose VALUES (20, 1);
UPDATE parent SET id = 3 WHERE id = 1;
TABLE recorded;
DELETE FROM parent WHERE id = 3;
TABLE recorded;
BEGIN; INSERT INTO child VALUES (13, 4); INSERT INTO parent VALUES (4); COMMIT;
TABLE recorded;
TRUNCATE parent CASCADE;
TABLE recorded;

-- Partitions: through the root, directly, moved to another partition, and a move that a trigger there stops.
CREATE TABLE p (id int, k int, s text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 (s text, gone int, k int NOT NULL, id int NOT NULL);
ALTER TABLE p2 DROP COLUMN gone;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2);
SELECT immutable.track_table('p', id_columns => '{id}');
INSERT INTO p VALUES (1, 1, 'a'), (2, 1, 'skip b'), (3, 1, 'c'), (4, 1, 'skip d'), (5, 2, 'e');
TABLE recorded;
UPDATE p2 SET s = 'directly';
TABLE recorded;
UPDATE p SET k = 3 - k WHERE id IN (3, 5);
TABLE recorded;
CREATE TRIGGER skip BEFORE INSERT ON p2 FOR EACH ROW EXECUTE FUNCTION skip();
UPDATE p SET k = 2, s = s || '.' WHERE id <> 3;
TABLE recorded;
-- The same with keys that change: no row is taken for another.
TRUNCATE p;
INSERT INTO p VALUES (1, 1, 'a'), (3, 1, 'c');
ALTER TABLE p2 DISABLE TRIGGER skip; INSERT INTO p VALUES (7, 1, 'skip g'); ALTER TABLE p2 ENABLE TRIGGER skip;
UPDATE p SET k = 2, id = CASE id WHEN 1 THEN 100 ELSE id END;
TABLE recorded;
TRUNCATE p;
SELECT action, metadata FROM recorded ORDER BY metadata ->> 'relation';

-- MERGE shows moved rows to no trigger for updates: it is refused, unless it deletes and inserts as well.
CREATE TABLE m (id int PRIMARY KEY, k int, s text);
INSERT INTO p VALUES (1, 1, 'a'), (2, 1, 'b'); INSERT INTO m VALUES (1, 2, 'moved'), (3, 1, 'new');
MERGE INTO p USING m ON p.id = m.id WHEN MATCHED THEN UPDATE SET s = m.s;
TABLE recorded;
MERGE INTO p USING m ON p.id = m.id WHEN MATCHED THEN UPDATE SET k = m.k, s = m.s;
MERGE INTO p USING m ON p.id = m.id WHEN MATCHED THEN UPDATE SET k = m.k WHEN NOT MATCHED THEN INSERT VALUES (m.id, m.k, m.s);
SELECT p.id, p.k, p.s FROM p ORDER BY p.id;
MERGE INTO p USING m ON p.id = m.id WHEN MATCHED AND p.s = 'gone' THEN DELETE WHEN MATCHED THEN UPDATE SET k = m.k
  WHEN NOT MATCHED THEN INSERT VALUES (m.id, m.k, m.s);
TABLE recorded;

-- Inheritance.
CREATE TABLE base (id int PRIMARY KEY, s text);
CREATE TABLE derived (more text) INHERITS (base);
SELECT immutable.track_table('base');
INSERT INTO derived VALUES (1, 'x', 'more'); INSERT INTO base VALUES (2, 'y');
UPDATE base SET s = s || '!';
TABLE recorded;
UPDATE derived SET more = 'changed';
TABLE recorded;
DELETE FROM base;
TABLE recorded;

-- Row security of the table: what a role may change is recorded, and it needs no right on the log.
CREATE TABLE secured (id int PRIMARY KEY, owner name, s text);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secured USING (owner = current_user);
GRANT SELECT, INSERT, UPDATE, DELETE ON secured TO regress_capture_clerk;
SELECT immutable.track_table('secured');
INSERT INTO secured VALUES (1, 'postgres', 'hidden'), (2, 'regress_capture_clerk', 'seen');
SET ROLE regress_capture_clerk;
UPDATE secured SET s = 'changed';
RESET ROLE;
SELECT e.action, e.actor_id, e.resource_id, e.metadata FROM immutable.events e WHERE e.xact = last_xact();

-- What is not to be recorded: other operations, a dump's rows; what is: sessions that are replicas.
CREATE TABLE few (id int PRIMARY KEY, s text);
SELECT immutable.track_table('few', operations => '{delete}');
SELECT last_xact() AS before \gset
INSERT INTO few VALUES (1, 'x'), (2, 'y'); UPDATE few SET s = 'z'; TRUNCATE few;
INSERT INTO few VALUES (1, 'x'), (2, 'y'), (3, 'z');
SET immutable.restore = on; DELETE FROM few WHERE id = 1; RESET immutable.restore;
SELECT last_xact() = :'before' AS nothing_recorded;
DELETE FROM few WHERE id = 2;
TABLE recorded;
SET session_replication_role = replica; DELETE FROM few WHERE id = 3; RESET session_replication_role;
TABLE recorded;
-- The function is for its own triggers.
CREATE TRIGGER wrong BEFORE DELETE ON few FOR EACH ROW EXECUTE FUNCTION immutable.capture();
INSERT INTO few VALUES (4, 'x');
DELETE FROM few;
SELECT count(*) AS breaks FROM immutable.verify_breaks();
SET client_min_messages = warning;
DROP SCHEMA capture_statements CASCADE;
DROP ROLE regress_capture_clerk;
