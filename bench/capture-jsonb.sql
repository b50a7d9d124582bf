-- For bench/capture.py: the plainest history of rows, as it is in many a blog: the old and the new row as jsonb, by a row trigger.
CREATE TABLE history (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  changed_at timestamptz NOT NULL DEFAULT now(),
  changed_by text NOT NULL DEFAULT current_user,
  relation text NOT NULL,
  operation text NOT NULL,
  old_row jsonb,
  new_row jsonb
);
CREATE FUNCTION record_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO history (relation, operation, old_row, new_row)
    VALUES (TG_RELID::regclass::text, TG_OP, to_jsonb(OLD), to_jsonb(NEW));
  RETURN NULL;
END $$;
CREATE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON invoice FOR EACH ROW EXECUTE FUNCTION record_change();
