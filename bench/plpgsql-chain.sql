-- What a user would pick instead of the extension: the tables of hand-written.sql and a chain in PL/pgSQL and pgcrypto,
-- one head row per tenant, locked until commit.
CREATE EXTENSION pgcrypto;
CREATE SCHEMA plpgsql_chain;
CREATE TABLE plpgsql_chain.event (LIKE hand_written.event INCLUDING ALL,
  seq bigint, previous_event_hash bytea, event_hash bytea);
CREATE TABLE plpgsql_chain.event_target (LIKE hand_written.event_target INCLUDING ALL);
CREATE TABLE plpgsql_chain.head (tenant_id text PRIMARY KEY, seq bigint NOT NULL, hash bytea NOT NULL);
CREATE FUNCTION plpgsql_chain.link() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE head plpgsql_chain.head; sorted jsonb;
BEGIN
  INSERT INTO plpgsql_chain.head VALUES (new.tenant_id, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;
  SELECT * INTO head FROM plpgsql_chain.head WHERE tenant_id = new.tenant_id FOR UPDATE;
  SELECT coalesce(jsonb_agg(t ORDER BY t ->> 'type' COLLATE "C", t ->> 'id' COLLATE "C"), '[]') INTO sorted
    FROM jsonb_array_elements(new.targets) t;
  new.targets := sorted; new.seq := head.seq + 1; new.previous_event_hash := head.hash;
  new.created_at := clock_timestamp();
  new.event_hash := digest(head.hash || convert_to(jsonb_build_object(
    'id', new.id, 'tenant_id', new.tenant_id, 'actor_id', new.actor_id, 'actor_name', new.actor_name,
    'actor_type', new.actor_type, 'action', new.action, 'action_category', new.action_category,
    'resource_type', new.resource_type, 'resource_id', new.resource_id, 'resource_name', new.resource_name,
    'targets', sorted, 'metadata', new.metadata, 'session_id', new.session_id, 'ip_address', new.ip_address,
    'ip_country', new.ip_country, 'ip_city', new.ip_city, 'user_agent', new.user_agent,
    'idempotency_key', new.idempotency_key, 'version', new.version, 'occurred_at', new.occurred_at,
    'created_at', new.created_at, 'seq', new.seq)::text, 'UTF8'), 'sha256');
  UPDATE plpgsql_chain.head SET seq = new.seq, hash = new.event_hash WHERE tenant_id = new.tenant_id;
  RETURN new;
END $$;
CREATE TRIGGER link BEFORE INSERT ON plpgsql_chain.event FOR EACH ROW EXECUTE FUNCTION plpgsql_chain.link();
CREATE FUNCTION plpgsql_chain.explode_targets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO plpgsql_chain.event_target
  SELECT n.id, t.position, n.tenant_id, t.j ->> 'type', t.j ->> 'id', t.j ->> 'name', t.j -> 'metadata', n.created_at
  FROM new_rows n, jsonb_array_elements(n.targets) WITH ORDINALITY t(j, position);
  RETURN NULL;
END $$;
CREATE TRIGGER explode_targets AFTER INSERT ON plpgsql_chain.event
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION plpgsql_chain.explode_targets();
