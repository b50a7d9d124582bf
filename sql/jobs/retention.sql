-- How long events are kept, holds, and removing the events that may go. docs/retention.md is the guide.

CREATE TABLE immutable.retention (
  tenant_id text COLLATE "C",
  keep interval,
  require_archive boolean NOT NULL,
  next_keep interval,
  next_require_archive boolean,
  next_from timestamptz,
  changed_at timestamptz NOT NULL,
  changed_by text NOT NULL,
  event_id uuid NOT NULL,
  next_is_default boolean NOT NULL DEFAULT false,
  CONSTRAINT retention_tenant_id_key UNIQUE NULLS NOT DISTINCT (tenant_id)
);
COMMENT ON TABLE immutable.retention IS
  'How long events are kept: one row for each tenant that has a rule of its own, and one for all others. '
  'immutable.set_retention() writes it.';
COMMENT ON COLUMN immutable.retention.tenant_id IS
  'The tenant; NULL for all tenants without a rule of their own, empty for the events without a tenant';
COMMENT ON COLUMN immutable.retention.keep IS 'How long its events are kept now, by the calendar in UTC; NULL for ever';
COMMENT ON COLUMN immutable.retention.require_archive IS 'Whether they are removed only once they are archived';
COMMENT ON COLUMN immutable.retention.next_keep IS 'How long they are kept from next_from on; NULL for ever';
COMMENT ON COLUMN immutable.retention.next_require_archive IS 'Whether they must be archived, from next_from on';
COMMENT ON COLUMN immutable.retention.next_from IS 'When what waits takes effect; NULL if nothing waits';
COMMENT ON COLUMN immutable.retention.changed_at IS 'When the rule was last changed';
COMMENT ON COLUMN immutable.retention.changed_by IS 'Who changed it, as events.recorded_by names it';
COMMENT ON COLUMN immutable.retention.event_id IS 'The event immutable.retention_set that records this change';
COMMENT ON COLUMN immutable.retention.next_is_default IS
  'Whether the tenant has no rule of its own from next_from on: next_keep and next_require_archive then say what the '
  'others had when this was asked for';

CREATE TABLE immutable.holds (
  tenant_id text COLLATE "C",
  reason text NOT NULL,
  held_at timestamptz NOT NULL,
  held_by text NOT NULL,
  event_id uuid NOT NULL,
  ends_at timestamptz,
  CONSTRAINT holds_tenant_id_key UNIQUE NULLS NOT DISTINCT (tenant_id)
);
COMMENT ON TABLE immutable.holds IS
  'The tenants none of whose events are removed, whatever the rule says. immutable.hold() and '
  'immutable.release() write it.';
COMMENT ON COLUMN immutable.holds.tenant_id IS 'The tenant; empty for the events without a tenant, NULL for all events';
COMMENT ON COLUMN immutable.holds.reason IS 'Why';
COMMENT ON COLUMN immutable.holds.held_at IS 'Since when';
COMMENT ON COLUMN immutable.holds.held_by IS 'Who said so, as events.recorded_by names it';
COMMENT ON COLUMN immutable.holds.event_id IS 'The event immutable.held that records it';
COMMENT ON COLUMN immutable.holds.ends_at IS
  'When it ends, since immutable.release() was called; NULL before. A row whose time is over holds nothing';

CREATE TABLE immutable.prune_position (
  ran_at timestamptz NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.prune_position IS
  'When immutable.run_maintenance() last looked for events that may go. No dump contains this table.';
COMMENT ON COLUMN immutable.prune_position.ran_at IS 'When it did';
COMMENT ON COLUMN immutable.prune_position.singleton IS 'Always true, so that there is one row at most';

SELECT pg_catalog.pg_extension_config_dump('immutable.retention', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.holds', '');
-- Whoever restores brings no shorter rule unseen.
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.retention
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.holds
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
ALTER TABLE immutable.retention ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.holds ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.prune_position ENABLE ROW LEVEL SECURITY;
CREATE POLICY auditor_select ON immutable.retention FOR SELECT TO immutable_auditor, immutable_retainer USING (true);
CREATE POLICY auditor_select ON immutable.holds FOR SELECT TO immutable_auditor, immutable_retainer USING (true);
COMMENT ON POLICY auditor_select ON immutable.retention IS 'Auditors and whoever makes the rules see all of them';
COMMENT ON POLICY auditor_select ON immutable.holds IS 'Auditors and whoever holds events see all holds';

CREATE FUNCTION immutable.set_retention(
  keep interval, tenant_id text DEFAULT NULL, require_archive boolean DEFAULT false, reason text DEFAULT NULL)
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_set_retention';
COMMENT ON FUNCTION immutable.set_retention(interval, text, boolean, text) IS
'Says how long the events of a tenant are kept before immutable.prune() may remove them.
What keeps more counts at once. What keeps less, also the first rule, counts after immutable.retention_wait, and
a change before that replaces what waits. It is recorded as immutable.retention_set, without a tenant.
- keep: how long, by the calendar in UTC, such as 1 year; NULL for ever.
- tenant_id: the tenant; NULL for all tenants without a rule of their own, which the events without a tenant do
  not belong to; an empty text for those.
- require_archive: whether events go only with the SHA-256 of an archive, which somebody gives to prune().
- reason: why; it is recorded.
Returns when the rule counts fully: now, or the end of the waiting time.
Raises 22023 for a time that is not positive, for more than 1,000 years, for a tenant_id that is too long and for
an empty reason, 22004 if require_archive is NULL, 22001 for a reason that is too long, 25006 in a read-only
transaction, on a standby and in a copy that a replication feeds, and 0A000 for a distributed log. Where the rule
waits, it raises 55000 at the commit of a transaction that lasts longer than a minute or a tenth of the wait after
it, and 0A000 for PREPARE TRANSACTION.';

CREATE FUNCTION immutable.reset_retention(tenant_id text, reason text DEFAULT NULL)
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_reset_retention';
COMMENT ON FUNCTION immutable.reset_retention(text, text) IS
'Ends the rule that a tenant has of its own: what counts for all others counts for it.
It does so at once if that keeps as much, now and with what waits, and otherwise after immutable.retention_wait. Until
then what keeps more of both counts. It is recorded as immutable.retention_set with is_default, without a tenant.
- tenant_id: the tenant; an empty text for the events without one, which are kept for ever then.
- reason: why; it is recorded.
Returns when the tenant has no rule of its own: now, or the end of the waiting time.
Raises 55000 for a tenant without a rule of its own, 22004 if tenant_id is NULL, 22023 for a tenant_id that is too long
and for an empty reason, 22001 for a reason that is too long, 25006 in a read-only transaction, on a standby and in a
copy that a replication feeds, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.get_retention(tenant_id text DEFAULT NULL)
RETURNS TABLE (tenant_id text, keep interval, require_archive boolean, is_default boolean, changed_at timestamptz,
  next_keep interval, next_require_archive boolean, next_from timestamptz, held_since timestamptz, held_because text,
  pruned_before timestamptz, pruned_at timestamptz)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_retention';
COMMENT ON FUNCTION immutable.get_retention(text) IS
'Returns how long the events of a tenant are kept, and what was removed of them.
A viewer and an API key of one tenant see that tenant, and no reason of a hold.
- tenant_id: the tenant; an empty text for the events without one. NULL for the rule of all tenants without their
  own; of a caller who sees one tenant it is that tenant.
Returns one row: keep is NULL for ever, is_default says that the tenant has no rule of its own, next_keep and
next_require_archive count from next_from on, held_since is NULL if nothing holds the events, pruned_before is NULL or
the time before which events were removed, as the newest record says, and pruned_at when that was.
Raises 22023 for a tenant_id that is too long, 42501 for another tenant than the caller sees and without the scope
read, and 28000 for a proof or a token that is missing or refused.';

CREATE FUNCTION immutable.changed_retention()
RETURNS TABLE (changed text, tenant_id text) LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_changed_retention';
COMMENT ON FUNCTION immutable.changed_retention() IS
'Part of immutable.status(): returns the rules and holds that are not what the events of the log say of them.
Returns the table and the tenant of each. Where the log''s own events were pruned since, it says nothing.
Raises no error.';

CREATE FUNCTION immutable.hold(tenant_id text, reason text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_hold';
COMMENT ON FUNCTION immutable.hold(text, text) IS
'Keeps all events of a tenant, whatever the rule says, until immutable.release().
It waits for a pruning that runs, and no later one removes them. A hold that is about to end goes on. It is recorded as
immutable.held, without a tenant.
- tenant_id: the tenant; an empty text for the events without one, NULL for all events.
- reason: why; it is recorded.
Raises 55000 if the tenant is held already, 22004 for a reason that is NULL, 22023 for an empty one and a tenant_id
that is too long, 22001 for a reason that is too long, 25006 in a read-only transaction, on a standby and in a copy
that a replication feeds, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.release(tenant_id text, reason text)
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_release';
COMMENT ON FUNCTION immutable.release(text, text) IS
'Ends what immutable.hold() began: the rule alone says again how long the events are kept.
It counts after immutable.retention_wait. It is recorded as immutable.released, without a tenant.
- tenant_id: the same as that of immutable.hold().
- reason: why; it is recorded.
Returns from when it counts.
Raises 55000 if it is not held or about to be released already, and at the commit of a transaction that lasts too long
after it, 0A000 for PREPARE TRANSACTION after it, 22004 for a reason that is NULL, 22023 for an empty one and a tenant_id that is too
long, 22001 for a reason that is too long, 25006 in a read-only transaction, on a standby and in a copy that a
replication feeds, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.prune(dry_run boolean DEFAULT true, tenant_id text DEFAULT NULL, archived text DEFAULT NULL)
RETURNS TABLE (tenant_id text, what text, events bigint, first_at timestamptz, last_at timestamptz, keep interval,
  before timestamptz)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_prune';
COMMENT ON FUNCTION immutable.prune(boolean, text, text) IS
'Removes the events that are older than their rule says, or shows which would go.
They go in one transaction, together with a record immutable.pruned in the chain of each tenant. Only sealed events
that a signed checkpoint covers go, and never the last one of a lane.
- dry_run: true shows what would go, false removes it.
- tenant_id: the one tenant whose events may go, an empty text for those without one; NULL for all.
- archived: SHA-256, in 64 hex digits, of a file of immutable.export_events() that has them and was verified.
Returns how many events of each tenant are older than before, and what becomes of them. what is pruned (in a dry
run: would go), or why they stay: held, archive (the rule requires one), unsealed, uncovered (by a checkpoint),
last (of their lane), records (nothing but records of earlier prunings would go) or damaged (verify_chain() says
more). first_at and last_at are the created_at of the first and the last, NULL where that is not known.
Raises 22004 if dry_run is NULL, 22023 for an archived that is no SHA-256 and a tenant_id that is too long, 55000
for a log without a signed checkpoint, and after a restore or a promotion until immutable.resume_maintenance() is
called, 55P03 if somebody erases or seals for longer than lock_timeout or ten seconds, 25001 above READ COMMITTED unless dry_run is true, 25006 in a read-only transaction, on a standby and in a
copy that a replication feeds, and 0A000 for a distributed log.';
