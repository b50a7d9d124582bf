-- For bench/capture.py: row changes as supa_audit 0.3 records them, written anew from how it works. A row trigger in PL/pgSQL,
-- with its owner's rights, looks up the names of the primary key's columns, makes a UUID of version 5 of the table's OID and
-- the key's values for the new row and one for the old, and writes both rows whole, as jsonb, into one table, with an index by
-- each of the two UUIDs, one by the table and one of ranges by the time.
CREATE EXTENSION "uuid-ossp";
CREATE SCHEMA audit;
CREATE TYPE audit.operation AS ENUM ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE');
CREATE TABLE audit.record_version (
  id bigserial PRIMARY KEY,
  record_id uuid,
  old_record_id uuid,
  op audit.operation NOT NULL,
  ts timestamptz NOT NULL DEFAULT now(),
  table_oid oid NOT NULL,
  table_schema name NOT NULL,
  table_name name NOT NULL,
  record jsonb,
  old_record jsonb,
  CHECK (op = 'TRUNCATE' OR record_id IS NOT NULL OR old_record_id IS NOT NULL),
  CHECK ((record_id IS NOT NULL) = (op IN ('INSERT', 'UPDATE'))),
  CHECK ((record IS NOT NULL) = (op IN ('INSERT', 'UPDATE'))),
  CHECK ((old_record_id IS NOT NULL) = (op IN ('UPDATE', 'DELETE'))),
  CHECK ((old_record IS NOT NULL) = (op IN ('UPDATE', 'DELETE')))
);
CREATE INDEX ON audit.record_version (record_id) WHERE record_id IS NOT NULL;
CREATE INDEX ON audit.record_version (old_record_id) WHERE old_record_id IS NOT NULL;
CREATE INDEX ON audit.record_version USING brin (ts);
CREATE INDEX ON audit.record_version (table_oid);

CREATE FUNCTION audit.key_columns(relation oid) RETURNS text[] STABLE SECURITY DEFINER SET search_path = '' LANGUAGE sql AS $$
  SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}')
  FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
  WHERE i.indrelid = relation AND i.indisprimary
$$;

CREATE FUNCTION audit.record_id(relation oid, key text[], record jsonb) RETURNS uuid STABLE LANGUAGE sql AS $$
  SELECT CASE
    WHEN record IS NULL THEN NULL
    WHEN key = '{}' THEN uuid_generate_v4()
    ELSE (SELECT uuid_generate_v5('fd62bc3d-8d6e-43c2-919c-802ba3762271',
                                  (jsonb_build_array(to_jsonb(relation)) || jsonb_agg(record ->> name))::text)
          FROM unnest(key) name)
  END
$$;

CREATE FUNCTION audit.record_change() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$
DECLARE
  key text[] := audit.key_columns(TG_RELID);
  new_row jsonb := to_jsonb(NEW);
  new_id uuid := audit.record_id(TG_RELID, key, new_row);
  old_row jsonb := to_jsonb(OLD);
  old_id uuid := audit.record_id(TG_RELID, key, old_row);
BEGIN
  INSERT INTO audit.record_version
      (record_id, old_record_id, op, table_oid, table_schema, table_name, record, old_record)
    SELECT new_id, old_id, TG_OP::audit.operation, TG_RELID, TG_TABLE_SCHEMA, TG_TABLE_NAME, new_row, old_row;
  RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON invoice
  FOR EACH ROW EXECUTE FUNCTION audit.record_change();
