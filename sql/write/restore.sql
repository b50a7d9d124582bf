-- Dumps: what is restored from one, and what keeps one from leaving rows out.

CREATE FUNCTION immutable.guard_log() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_log';
COMMENT ON FUNCTION immutable.guard_log() IS
'Trigger that lets a dump restore the row of immutable.log, with immutable.restore = on.
It runs BEFORE INSERT on immutable.log.
Raises 42501 without that setting, and XX001 for another identity than that of the events that are
here.';

CREATE TRIGGER "~immutable_insert" BEFORE INSERT ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.guard_log();

-- The table of keys has no policy, so that pg_read_all_data and pg_write_all_data, which pass every
-- grant, reach no row. The other tables of a dump need an error instead: pg_dump
-- --enable-row-security would succeed, without revocations and grants, and without the events that
-- its role may not see. immutable.log stands for the events, because a log with events has a row in
-- it. Only such roles read these tables, and auditors read immutable.log, so that no other role
-- meets the error.
CREATE FUNCTION immutable.refuse_part_of(tab text) RETURNS boolean LANGUAGE c STABLE PARALLEL SAFE STRICT
AS 'MODULE_PATHNAME', 'immutable_refuse_part_of';
COMMENT ON FUNCTION immutable.refuse_part_of(text) IS
'Policy that stops a dump which row security would leave rows out of.
It is on immutable.log and on the other tables whose rows a dump contains and row security hides.
- tab: the table''s name, for the message.
Raises 42501 always.';
CREATE POLICY all_or_none ON immutable.log FOR SELECT USING (immutable.refuse_part_of('log'));
CREATE POLICY all_or_none ON immutable.revocations FOR SELECT USING (immutable.refuse_part_of('revocations'));
CREATE POLICY all_or_none ON immutable.tenant_grants FOR SELECT USING (immutable.refuse_part_of('tenant_grants'));
CREATE POLICY all_or_none ON immutable.api_keys FOR SELECT USING (immutable.refuse_part_of('api_keys'));
CREATE POLICY all_or_none ON immutable.api_key_usage FOR SELECT USING (immutable.refuse_part_of('api_key_usage'));
COMMENT ON POLICY all_or_none ON immutable.log IS 'Refuses roles that row security applies to, except auditors';
COMMENT ON POLICY all_or_none ON immutable.revocations IS 'Refuses roles that row security applies to';
COMMENT ON POLICY all_or_none ON immutable.tenant_grants IS 'Refuses roles that row security applies to';
COMMENT ON POLICY all_or_none ON immutable.api_keys IS 'Refuses roles that row security applies to';
COMMENT ON POLICY all_or_none ON immutable.api_key_usage IS 'Refuses roles that row security applies to';

-- Whoever restores brings nothing unseen. jobs/alerts has more of these triggers.
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.revocations
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.api_keys
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.api_key_usage
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
