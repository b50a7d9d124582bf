-- Views for reports: flat, typed columns. With the caller's rights and row security.

CREATE VIEW immutable.activity WITH (security_invoker = true) AS
SELECT e.id AS event_id, e.tenant_id, e.created_at, e.occurred_at, e.actor_id, e.actor_name, e.actor_type, e.action,
  e.action_category, e.resource_type, e.resource_id, e.resource_name, e.session_id, e.idempotency_key, e.ip_address,
  e.ip_country, e.ip_city, e.user_agent, e.version, e.metadata,
  CASE WHEN pg_catalog.jsonb_typeof(e.targets) = 'array' THEN pg_catalog.jsonb_array_length(e.targets) END AS target_count,
  e.erased IS NOT NULL AS is_erased, e.recorded_by, e.lane, e.seq,
  pg_catalog.encode(e.event_hash, 'hex') AS event_hash,
  pg_catalog.encode(e.previous_event_hash, 'hex') AS previous_event_hash
FROM immutable.events e;
COMMENT ON VIEW immutable.activity IS 'Audit events for reports: one row per event, hashes as hex';
COMMENT ON COLUMN immutable.activity.event_id IS 'The event''s id; unique with tenant_id';
COMMENT ON COLUMN immutable.activity.tenant_id IS 'The customer the event belongs to; empty for none';
COMMENT ON COLUMN immutable.activity.created_at IS 'When it was recorded, by the server''s clock: indexed, and what pages and filters go by. A range of it is quick';
COMMENT ON COLUMN immutable.activity.occurred_at IS 'When it happened, as the application says: the day of a report; differs from created_at for what was imported or came late. Not indexed';
COMMENT ON COLUMN immutable.activity.actor_id IS 'Who did it';
COMMENT ON COLUMN immutable.activity.actor_name IS 'The actor''s name';
COMMENT ON COLUMN immutable.activity.actor_type IS 'What kind of actor';
COMMENT ON COLUMN immutable.activity.action IS 'What was done';
COMMENT ON COLUMN immutable.activity.action_category IS 'Category of the action';
COMMENT ON COLUMN immutable.activity.resource_type IS 'What kind of thing it was done to';
COMMENT ON COLUMN immutable.activity.resource_id IS 'Id of the thing it was done to';
COMMENT ON COLUMN immutable.activity.resource_name IS 'Name of the thing it was done to';
COMMENT ON COLUMN immutable.activity.session_id IS 'The actor''s session';
COMMENT ON COLUMN immutable.activity.idempotency_key IS 'The caller''s key against recording twice';
COMMENT ON COLUMN immutable.activity.ip_address IS 'The actor''s address';
COMMENT ON COLUMN immutable.activity.ip_country IS 'Country of the address';
COMMENT ON COLUMN immutable.activity.ip_city IS 'City of the address';
COMMENT ON COLUMN immutable.activity.user_agent IS 'The actor''s program';
COMMENT ON COLUMN immutable.activity.version IS 'Version of the event''s schema';
COMMENT ON COLUMN immutable.activity.metadata IS 'Whatever else belongs to the event';
COMMENT ON COLUMN immutable.activity.target_count IS 'How many targets the event has; they are in immutable.activity_targets';
COMMENT ON COLUMN immutable.activity.is_erased IS 'Whether something of the event was erased';
COMMENT ON COLUMN immutable.activity.recorded_by IS 'Login of the connection that recorded it';
COMMENT ON COLUMN immutable.activity.lane IS 'The lane of the tenant''s chain';
COMMENT ON COLUMN immutable.activity.seq IS 'Number in the lane';
COMMENT ON COLUMN immutable.activity.event_hash IS 'SHA-256 of the event, hex';
COMMENT ON COLUMN immutable.activity.previous_event_hash IS 'Hash of the event before it in the lane, hex';

CREATE VIEW immutable.activity_targets WITH (security_invoker = true) AS
SELECT t.event_id, t.tenant_id, t.created_at, t.position, t.target_type, t.target_id, t.target_name, t.target_metadata,
  CASE WHEN t.position = 0 THEN 1 ELSE 0 END AS event_count
FROM immutable.event_targets t;
COMMENT ON VIEW immutable.activity_targets IS 'The targets of events for reports: one row per target. Joined to immutable.activity on (tenant_id, event_id) it repeats events: count them with sum(event_count)';
COMMENT ON COLUMN immutable.activity_targets.event_id IS 'The event''s id; unique with tenant_id';
COMMENT ON COLUMN immutable.activity_targets.tenant_id IS 'The customer the event belongs to; empty for none';
COMMENT ON COLUMN immutable.activity_targets.created_at IS 'When the event was recorded';
COMMENT ON COLUMN immutable.activity_targets.position IS 'Place among the event''s targets, from 0';
COMMENT ON COLUMN immutable.activity_targets.target_type IS 'What kind of thing';
COMMENT ON COLUMN immutable.activity_targets.target_id IS 'Its id';
COMMENT ON COLUMN immutable.activity_targets.target_name IS 'Its name';
COMMENT ON COLUMN immutable.activity_targets.target_metadata IS 'Whatever else belongs to it';
COMMENT ON COLUMN immutable.activity_targets.event_count IS '1 for an event''s first target and 0 for its others: its sum counts events once';
