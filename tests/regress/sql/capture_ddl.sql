-- DDL on tracked tables in one session: what the configuration is afterwards, and which events say what.
-- tests/server/test_capture_ddl.py does the same as other roles and with several sessions.
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
CREATE SCHEMA capture_ddl;
SET search_path = capture_ddl;
CREATE VIEW capture_ddl.told AS SELECT action, resource_id, metadata FROM immutable.events
  WHERE action LIKE 'immutable.%' AND resource_id LIKE 'capture\_ddl.%' AND action <> 'immutable.table_tracked' ORDER BY seq;
CREATE VIEW capture_ddl.state AS SELECT relation, id_columns, columns, exclude, mask, tenant_column, subject_columns, problem
  FROM immutable.tracked_tables ORDER BY relation COLLATE "C";

CREATE TABLE receipt (id integer PRIMARY KEY, org text, iban text, note text, total integer);
SELECT immutable.track_table('receipt', mask => '{iban}', exclude => '{note}', tenant_column => 'org');

-- New names, also by a command of a function, and inside of a transaction that is rolled back.
DO $$ BEGIN
  ALTER TABLE capture_ddl.receipt RENAME COLUMN iban TO account;
  ALTER TABLE capture_ddl.receipt RENAME TO invoice;
END $$;
BEGIN;
ALTER TABLE invoice RENAME TO lost;
ALTER TABLE lost DROP COLUMN account;
SELECT * FROM state;
ROLLBACK;
SELECT * FROM state;

-- A name that was not to be shown stays hidden for the column that gets it next.
ALTER TABLE invoice DROP COLUMN account, DROP COLUMN note;
SELECT * FROM state;
ALTER TABLE invoice ADD COLUMN account text, ADD COLUMN remark text;
INSERT INTO invoice VALUES (1, 'o', 10, 'secret', 'open');
ALTER TABLE invoice RENAME COLUMN remark TO note;
UPDATE invoice SET note = 'hidden', account = 'secret too';
SELECT action, metadata FROM immutable.events WHERE action LIKE 'receipt.%' ORDER BY seq;

-- The recording is switched off and on: by one statement, by a block, and for one trigger.
DO $$ BEGIN
  ALTER TABLE capture_ddl.invoice DISABLE TRIGGER USER;
  ALTER TABLE capture_ddl.invoice ENABLE TRIGGER USER;
  ALTER TABLE capture_ddl.invoice ENABLE TRIGGER USER;
  ALTER TABLE capture_ddl.invoice DISABLE TRIGGER "~immutable_capture_delete", ENABLE REPLICA TRIGGER "~immutable_capture_insert";
END $$;
SELECT * FROM told;
SELECT problem FROM state;
ALTER TABLE invoice ENABLE TRIGGER "~immutable_capture_delete";
SELECT problem FROM state;
ALTER TABLE invoice ENABLE ALWAYS TRIGGER "~immutable_capture_insert";
SELECT problem FROM state;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'invoice'::regclass ORDER BY 1;

-- Triggers that call the function under another name are put right.
DROP TRIGGER "~immutable_capture_update" ON invoice;
SELECT problem FROM state;
CREATE TRIGGER "~immutable_capture_update" AFTER UPDATE ON invoice REFERENCING OLD TABLE AS immutable_old NEW TABLE AS immutable_new
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.capture();
SELECT problem FROM state;
ALTER TABLE invoice ENABLE ALWAYS TRIGGER "~immutable_capture_update";
ALTER TRIGGER "~immutable_capture_delete" ON invoice RENAME TO mine;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'invoice'::regclass ORDER BY 1;
SELECT problem FROM state;

-- What a condition needs.
SELECT immutable.track_table('invoice', mask => '{account}', condition => 'total > 5');
ALTER TABLE invoice RENAME COLUMN total TO amount;
SELECT problem FROM state;
INSERT INTO invoice VALUES (2, 'o', 1);
SELECT action, metadata FROM immutable.events WHERE action LIKE 'invoice.%' ORDER BY seq;

DROP TABLE invoice;
SELECT * FROM state;
SELECT * FROM told OFFSET 4;

-- A row of a table that is not there.
BEGIN;
SET LOCAL immutable.restore = on;
INSERT INTO immutable.tracking (schema_name, table_name, resource_type, id_columns, exclude, mask, subject_columns, operations, tracked_at, tracked_by)
VALUES ('capture_ddl', 'nowhere', 'n', '{}', '{}', '{}', '{}', '{insert}', '2026-01-01', 'x');
SELECT * FROM state;
SELECT p FROM immutable.status() s, unnest(s.problems) p WHERE p LIKE 'row changes%';
ROLLBACK;

RESET search_path;
DROP SCHEMA capture_ddl CASCADE;
SELECT count(*) FROM immutable.tracking;
