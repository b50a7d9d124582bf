-- What a careful team writes by hand: two tables, a foreign key, a trigger that explodes the targets, no chain.
-- insert.py gives it the extension's secondary indexes, so that both answer the same queries.
CREATE SCHEMA hand_written;
CREATE TABLE hand_written.event (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id text NOT NULL DEFAULT '',
  actor_id text NOT NULL, actor_name text, actor_type text,
  action text NOT NULL, action_category text,
  resource_type text, resource_id text, resource_name text,
  targets jsonb NOT NULL DEFAULT '[]', metadata jsonb NOT NULL DEFAULT '{}',
  session_id text, ip_address inet, ip_country text, ip_city text, user_agent text,
  idempotency_key text, version int,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- For the index that a gap-free feed needs.
  xact xid8 NOT NULL DEFAULT pg_current_xact_id());
CREATE TABLE hand_written.event_target (
  event_id uuid NOT NULL REFERENCES hand_written.event, position smallint NOT NULL,
  tenant_id text NOT NULL, type text NOT NULL, id text, name text, metadata jsonb,
  created_at timestamptz NOT NULL, PRIMARY KEY (event_id, position));
CREATE FUNCTION hand_written.explode_targets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO hand_written.event_target
  SELECT n.id, t.position, n.tenant_id, t.j ->> 'type', t.j ->> 'id', t.j ->> 'name', t.j -> 'metadata', n.created_at
  FROM new_rows n, jsonb_array_elements(n.targets) WITH ORDINALITY t(j, position);
  RETURN NULL;
END $$;
CREATE TRIGGER explode_targets AFTER INSERT ON hand_written.event
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION hand_written.explode_targets();

-- The floor: the same events table with neither targets nor a chain.
CREATE SCHEMA bare;
CREATE TABLE bare.event (LIKE hand_written.event INCLUDING ALL);
