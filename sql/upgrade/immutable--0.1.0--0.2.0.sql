-- From 0.1.0 to 0.2.0. What it makes must equal a fresh installation: scripts/upgrade-diff says where it does not.

-- What it makes belongs to whoever runs it, and works with the owner's rights.
DO $$
DECLARE
  owner pg_catalog.name := (SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c
    WHERE c.oid = 'immutable.events'::pg_catalog.regclass);
BEGIN
  IF owner <> current_user THEN
    RAISE EXCEPTION 'extension immutable is updated by the owner of its tables, role "%"', owner
      USING ERRCODE = 'insufficient_privilege', HINT = pg_catalog.format('SET ROLE %I, then ALTER EXTENSION immutable UPDATE again.', owner);
  END IF;
END
$$;

-- Refuses what an interrupted CREATE INDEX CONCURRENTLY left behind.
CREATE OR REPLACE FUNCTION immutable.enable_search()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  trgm pg_catalog.name := (SELECT n.nspname FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm');
BEGIN
  IF trgm IS NULL THEN
    RAISE EXCEPTION 'enable_search() needs the extension pg_trgm in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'As superuser: CREATE EXTENSION pg_trgm';
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indexrelid = pg_catalog.to_regclass('immutable.events_search') AND NOT i.indisvalid) THEN
    RAISE EXCEPTION 'the index immutable.events_search is there and not valid: its building was interrupted, or goes on'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'If nobody builds it now: SELECT immutable.disable_search(), then enable_search() again.';
  END IF;
  EXECUTE pg_catalog.format($index$CREATE INDEX IF NOT EXISTS events_search ON immutable.events USING gin ((
    pg_catalog.lower((coalesce(actor_name, '') || E'\n' || action || E'\n' || coalesce(resource_name, '') || E'\n' ||
    metadata::text) COLLATE pg_catalog."default")) %I.gin_trgm_ops)$index$, trgm);
  -- Statistics would hold the texts, and EXPLAIN tell every viewer how frequent one is: see sql/tenants.sql.
  ALTER INDEX immutable.events_search ALTER COLUMN 1 SET STATISTICS 0;
END
$$;
COMMENT ON FUNCTION immutable.enable_search() IS
  'Builds the index that answers get_events(search => ...) over everything at once; writers wait while it is built (docs/operations.md has the statement that lets them go on). The answers are the same without it. For the table''s owner. Raises 55000 without the extension pg_trgm, or where an interrupted CREATE INDEX CONCURRENTLY left it invalid';

-- A secret in an INSERT would be in the server's log.
ALTER TABLE immutable.viewer_key_import ENABLE ALWAYS RULE copy_only;

CREATE FUNCTION immutable.share_identity(log_id uuid DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_share_identity';
COMMENT ON FUNCTION immutable.share_identity(uuid) IS
  'A part of immutable.distribute(): the identity of this database''s log, which becomes log_id, or is made, if it has none yet. For the owner. Raises 55000 if it has another';

CREATE FUNCTION immutable.simplify_policies()
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_simplify_policies';
COMMENT ON FUNCTION immutable.simplify_policies() IS
  'A part of immutable.distribute(): writes the viewers'' policies without a subquery, of which Citus takes none. They show the same rows. For the owner. Raises 42501 for anyone else';

CREATE FUNCTION immutable.verify_shard(
  events regclass, targets boolean DEFAULT true,
  OUT valid boolean, OUT events_checked bigint, OUT chains_checked bigint, OUT events_erased bigint, OUT breaks jsonb,
  OUT breaks_found bigint, OUT tenants_checked bigint, OUT complete boolean, OUT log_id uuid)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 1
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify_shard';
COMMENT ON FUNCTION immutable.verify_shard(regclass, boolean) IS
  'What immutable.verify_chain() says, of one shard: events is a table as immutable.events, with the rows of tenants that are in it alone; its targets are in the table whose foreign key refers to it. With the caller''s rights to both. targets => false leaves the targets out. Raises 42P01 if there is no such table, 55000 if it is no table of events, or none of targets refers to it, 22023 for a name with an apostrophe';

CREATE FUNCTION immutable.distribute()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  log pg_catalog.uuid;
  node pg_catalog.record;
  done pg_catalog.bool;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus') THEN
    RAISE EXCEPTION 'distribute() needs the extension citus in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Without Citus there is nothing to distribute. With it, as superuser: CREATE EXTENSION citus, then citus_add_node().';
  END IF;
  EXECUTE $q$SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition
    WHERE logicalrelid = 'immutable.events'::pg_catalog.regclass)$q$ INTO done;
  IF NOT done THEN
    IF EXISTS (SELECT FROM immutable.events) THEN
      RAISE EXCEPTION 'a log with events in it can not be distributed'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Distribute a new database, and restore the dump of this one into it.';
    END IF;
    PERFORM pg_catalog.set_config('citus.enable_unsafe_triggers', 'on', true);
    PERFORM immutable.simplify_policies();
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.events', 'tenant_id', colocate_with => 'none')$q$;
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.event_targets', 'tenant_id',
      colocate_with => 'immutable.events')$q$;
    -- An erasure runs where the shard is: what it records is taken from a function of the owner's in the same process alone.
    EXECUTE $q$SELECT pg_catalog.create_distributed_function(f::pg_catalog.regprocedure, 'tenant_id', colocate_with => 'immutable.events')
      FROM (VALUES ('immutable.erase(uuid, text, text[], text)'),
                   ('immutable.erase_subject(text, text, text, text[], text[], boolean)')) x(f)$q$;
  END IF;
  log := immutable.share_identity();
  FOR node IN EXECUTE 'SELECT nodename, nodeport, success, result FROM pg_catalog.run_command_on_workers($1)'
    USING pg_catalog.format('SELECT immutable.share_identity(%L)', log)
  LOOP
    IF NOT node.success THEN
      RAISE EXCEPTION 'node %:% did not take the log''s identity: %', node.nodename, node.nodeport, node.result
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'The extension must be new there, in the version of the coordinator. Then call distribute() again.';
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION immutable.distribute() IS
  'Distributes events and event_targets by tenant_id over the nodes of Citus, co-located, before the first event, and tells every node the log''s identity; call it again after adding a node. docs/scale-out.md says what stays each node''s own. For a superuser. Raises 55000 without the extension citus, if there are events, or if a node can not take the identity';

DO $$
BEGIN
  CREATE ROLE immutable_restorer NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;
END
$$;
COMMENT ON ROLE immutable_restorer IS 'May restore a dump of the audit log, with immutable.restore = on';

-- Ascending: all inserts come at one end, and PostgreSQL fills pages at the right end to 90 %, while those at the left are
-- split in halves.
DROP INDEX IF EXISTS immutable.events_page;
CREATE INDEX events_page ON immutable.events (created_at, id);

-- Tenant first: whoever may see one tenant's targets reads those, not everybody's.
ALTER TABLE immutable.event_targets DROP CONSTRAINT event_targets_pkey, ADD PRIMARY KEY (tenant_id, event_id, position);

-- A page's total and a viewer's count read indexes alone where VACUUM has seen the rows, and the newest are asked for most.
-- By default it would come once a fifth of the table is new. Nothing is dead, so that it reads the new pages and no index.
ALTER TABLE immutable.events SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000);
ALTER TABLE immutable.event_targets SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000);

-- Noted when the extension is made: a log that begins here is no seam. pg_walfile_name() begins with the timeline.
CREATE TABLE immutable.cluster (
  system_identifier bigint NOT NULL,
  timeline integer NOT NULL,
  database oid NOT NULL,
  noted_at timestamptz NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
INSERT INTO immutable.cluster (system_identifier, timeline, database, noted_at)
SELECT c.system_identifier, ('x' || left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8))::bit(32)::integer,
  d.oid, pg_catalog.clock_timestamp()
FROM pg_catalog.pg_control_system() c, pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database();
COMMENT ON TABLE immutable.cluster IS 'Where the log is written: one row, or none after a restore. Whoever records an event anywhere else records immutable.restored first. In no dump';
COMMENT ON COLUMN immutable.cluster.system_identifier IS 'The cluster, as pg_control_system() has it';
COMMENT ON COLUMN immutable.cluster.timeline IS 'Its timeline; a promotion or a point-in-time recovery begins another';
COMMENT ON COLUMN immutable.cluster.database IS 'OID of the database';
COMMENT ON COLUMN immutable.cluster.noted_at IS 'Since when';
COMMENT ON COLUMN immutable.cluster.singleton IS 'Always true: there is one row';

CREATE FUNCTION immutable.guard_log() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_log';
COMMENT ON FUNCTION immutable.guard_log() IS
  'BEFORE INSERT trigger of log: lets a dump''s row through with immutable.restore, raises 42501 otherwise';

CREATE FUNCTION immutable.replicate() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_replicate';
COMMENT ON FUNCTION immutable.replicate() IS
  'Trigger of events for the workers of a subscription: takes the publisher''s events as they are, with xact of the subscriber; raises 42501 for a change that is no erasure, a deletion or a truncation, which stops the subscription';

CREATE FUNCTION immutable.record_restore(reason text)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_record_restore';
COMMENT ON FUNCTION immutable.record_restore(text) IS
  'Records immutable.restored by hand, without tenant, with who called it as actor: for what the log can not notice itself, such as a volume put back from a snapshot. reason: at most 4,096 bytes, kept in metadata, where it can be erased. Returns the event''s id. Raises 22004, 22023 or 22001 for a reason that is NULL, empty or too long, 25006 on a standby or a subscriber, and what immutable.chain() does';

DROP TRIGGER "~immutable_write" ON immutable.log;
CREATE TRIGGER "~immutable_insert" BEFORE INSERT ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.guard_log();
CREATE TRIGGER "~immutable_write" BEFORE UPDATE OR DELETE ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.cluster FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.cluster FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

-- These fire where session_replication_role is replica, which is where the others do not: in a subscription's workers.
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply_truncate" BEFORE TRUNCATE ON immutable.events FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply_truncate";

-- What a DBA asks first. One row, from catalogs and steps of an index; nothing in it reads the log from end to end.

CREATE FUNCTION immutable.status(
  OUT version text, OUT settings jsonb, OUT estimated_events bigint, OUT total_bytes bigint, OUT chains bigint,
  OUT chains_relation text, OUT last_event_id uuid, OUT last_event_at timestamptz, OUT lanes_in_use bigint,
  OUT longest_lane_hold interval, OUT prepared_transactions bigint, OUT triggers_enabled boolean,
  OUT row_security_enabled boolean, OUT guard_enabled boolean, OUT maintenance boolean, OUT restore boolean,
  OUT search_index text, OUT is_standby boolean, OUT problems text[])
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER COST 100000
-- The superuser's settings of a session (such as no index scans) shall not make it slow.
SET search_path = pg_catalog, pg_temp SET enable_indexscan = on SET enable_indexonlyscan = on SET jit = off
BEGIN ATOMIC
  WITH RECURSIVE expected (tab, name, function) AS (VALUES
    ('events', '~immutable_chain', 'chain'), ('events', '~immutable_targets', 'derive_targets'),
    ('events', '~immutable_update', 'guard_event'), ('events', '~immutable_delete', 'refuse'),
    ('events', '~immutable_truncate', 'refuse'), ('event_targets', '~immutable_target', 'guard_target'),
    ('event_targets', '~immutable_delete', 'refuse'), ('event_targets', '~immutable_truncate', 'refuse'),
    ('log', '~immutable_insert', 'guard_log'),
    ('log', '~immutable_write', 'refuse'), ('log', '~immutable_truncate', 'refuse'),
    ('cluster', '~immutable_write', 'refuse'), ('cluster', '~immutable_truncate', 'refuse'),
    ('events', '~immutable_apply', 'replicate'), ('events', '~immutable_apply_truncate', 'replicate'),
    ('tenant_grants', '~immutable_bind', 'bind_role'), ('viewer_key_import', '~immutable_begin', 'take_viewer_key'),
    ('viewer_key_import', '~immutable_take', 'take_viewer_key'),
    ('viewer_key_import', '~immutable_store', 'take_viewer_key')),
  tables AS (SELECT c.oid, c.relname::text AS tab, c.relrowsecurity, c.relpersistence
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'immutable' AND c.relkind = 'r' AND c.relname IN ('events', 'event_targets', 'log', 'cluster', 'viewer_keys',
      'viewer_key_import', 'revocations', 'tenant_grants')),
  events AS (SELECT c.* FROM pg_class c WHERE c.oid = (SELECT oid FROM tables WHERE tab = 'events')),
  bad_triggers AS (
    SELECT format('trigger %I of immutable.%I is %s: events can be recorded or changed without the chain. Enable it (ALTER TABLE ... ENABLE TRIGGER, with immutable.maintenance = on), then verify_chain()',
      x.name, x.tab, CASE WHEN t.oid IS NULL THEN 'missing or altered' ELSE 'disabled' END) AS problem
    FROM expected x LEFT JOIN tables r ON r.tab = x.tab LEFT JOIN pg_trigger t ON t.tgrelid = r.oid AND t.tgname = x.name
      AND t.tgqual IS NULL AND t.tgfoid IN (SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE p.proname = x.function AND l.lanname = 'c'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE t.oid IS NULL OR t.tgenabled NOT IN ('A', CASE x.function WHEN 'replicate' THEN 'R'::"char" ELSE 'O' END)
    UNION ALL
    SELECT format('trigger %I of immutable.%I is not the extension''s and runs after its triggers: drop it', t.tgname, r.tab)
    FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgname COLLATE "C" > '~immutable_' AND t.tgenabled <> 'D'
      AND NOT EXISTS (SELECT FROM expected x WHERE x.tab = r.tab AND x.name = t.tgname)),
  open_tables AS (
    SELECT format('row security of immutable.%I is off: whoever may read it sees every tenant. ALTER TABLE ... ENABLE ROW LEVEL SECURITY, with immutable.maintenance = on', tab) AS problem
    FROM tables WHERE NOT relrowsecurity AND tab NOT IN ('log', 'cluster')
    UNION ALL
    SELECT format('policy %s of immutable.%s is missing: its role sees or records nothing', x.policy, x.tab)
    FROM (VALUES ('events', 'writer_insert'), ('events', 'writer_returning'), ('events', 'auditor_select'),
      ('events', 'viewer_select'), ('event_targets', 'auditor_select'), ('event_targets', 'viewer_select')) x (tab, policy)
    WHERE NOT EXISTS (SELECT FROM pg_policy p JOIN tables r ON r.oid = p.polrelid WHERE p.polname = x.policy AND r.tab = x.tab)
    UNION ALL
    SELECT format('policy %I of immutable.%I is not the extension''s: look at what it lets through', p.polname, r.tab)
    FROM pg_policy p JOIN tables r ON r.oid = p.polrelid
    WHERE p.polname NOT IN ('writer_insert', 'writer_returning', 'auditor_select', 'viewer_select')),
  bad_guard AS (
    SELECT format('the guard''s event trigger %s is %s: DDL can change the tables unrecorded. ALTER EVENT TRIGGER %s ENABLE ALWAYS, then look at this again',
      x.name, CASE WHEN e.oid IS NULL THEN 'missing' ELSE 'disabled' END, x.name) AS problem
    FROM (VALUES ('immutable_ddl_start'), ('immutable_ddl_end'), ('immutable_ddl_drop')) x (name)
      LEFT JOIN pg_event_trigger e ON e.evtname = x.name
        AND e.evtfoid = (SELECT p.oid FROM pg_proc p WHERE p.proname = 'guard_ddl'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE e.oid IS NULL OR e.evtenabled NOT IN ('O', 'A')
    UNION ALL
    SELECT 'event_triggers is off, and with it the guard: DDL can change the tables unrecorded. Set it on'
    WHERE current_setting('event_triggers', true) = 'off'),
  holds AS (SELECT l.pid, l.objid, l.objsubid, l.virtualtransaction FROM pg_locks l
    WHERE l.locktype = 'object' AND l.granted AND l.classid = (SELECT oid FROM events)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())),
  -- A prepared transaction's locks have no process, and the virtual number that its own lock on itself has.
  prepared AS (SELECT p.gid, p.prepared, count(*) AS lanes
    FROM holds h JOIN pg_locks i ON i.virtualtransaction = h.virtualtransaction AND i.locktype = 'transactionid' AND i.granted
      AND i.pid IS NULL
    JOIN pg_prepared_xacts p ON p.transaction = i.transactionid
    WHERE h.pid IS NULL GROUP BY p.gid, p.prepared),
  holders AS (SELECT a.pid, a.state, a.xact_start, count(*) AS lanes FROM holds h JOIN pg_stat_activity a ON a.pid = h.pid
    GROUP BY a.pid, a.state, a.xact_start),
  -- One step of the index a chain, and no more than a thousand.
  chain (tenant_id, lane, n) AS (
    (SELECT e.tenant_id, e.lane, 1 FROM immutable.events e ORDER BY e.tenant_id, e.lane LIMIT 1)
    UNION ALL
    SELECT s.tenant_id, s.lane, c.n + 1 FROM chain c CROSS JOIN LATERAL (
      SELECT e.tenant_id, e.lane FROM immutable.events e WHERE (e.tenant_id, e.lane) > (c.tenant_id, c.lane)
      ORDER BY e.tenant_id, e.lane LIMIT 1) s
    WHERE c.n <= 1000),
  chained AS (SELECT coalesce(max(n), 0) AS n FROM chain),
  newest AS (SELECT e.id, e.created_at, e.lane FROM immutable.events e ORDER BY e.created_at DESC, e.id DESC LIMIT 1),
  bad_indexes AS (
    SELECT format('index immutable.%I is not valid: DROP INDEX immutable.%I and make it again', c.relname, c.relname) AS problem
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid IN (SELECT oid FROM tables) AND NOT i.indisvalid),
  bad_keys AS (
    SELECT format('constraint %s of immutable.%s is missing: events can be recorded that are in no chain, or no event at all. Make it again (ALTER TABLE ... ADD), with immutable.maintenance = on, then verify_chain()', x.name, x.tab) AS problem
    FROM (VALUES ('events', 'events_chained_check'), ('events', 'events_pkey'), ('events', 'events_tenant_id_lane_seq_key'),
      ('events', 'events_tenant_id_idempotency_key_key'), ('event_targets', 'event_targets_pkey'),
      ('event_targets', 'event_targets_event_id_tenant_id_fkey')) x (tab, name)
    WHERE NOT EXISTS (SELECT FROM pg_constraint k JOIN tables r ON r.oid = k.conrelid
      WHERE k.conname = x.name AND r.tab = x.tab AND k.convalidated)),
  known AS (SELECT e.extversion, (SELECT a.default_version FROM pg_available_extensions a WHERE a.name = 'immutable') AS there
    FROM pg_extension e WHERE e.extname = 'immutable'),
  problem (place, problem) AS (
    SELECT 1, problem FROM bad_triggers
    UNION ALL SELECT 2, problem FROM bad_guard
    UNION ALL SELECT 3, 'immutable.maintenance is on in this session: commands that change the log''s objects go through and are recorded. RESET immutable.maintenance'
      WHERE current_setting('immutable.maintenance', true) = 'on'
    UNION ALL SELECT 3, format('%s is set for a database or role: ALTER DATABASE or ALTER ROLE ... RESET %s', x.setting, x.setting)
      FROM (SELECT DISTINCT split_part(c, '=', 1) AS setting FROM pg_db_role_setting s, unnest(s.setconfig) c
        WHERE c IN ('immutable.maintenance=on', 'immutable.restore=on', 'session_replication_role=replica',
          'event_triggers=off')) x
    UNION ALL SELECT 3, 'session_replication_role is replica in this session: its inserts are not chained. RESET it'
      WHERE current_setting('session_replication_role') = 'replica'
    UNION ALL SELECT 3, 'immutable.restore is on in this session: RESET it when the restore has ended'
      WHERE current_setting('immutable.restore', true) = 'on'
    UNION ALL SELECT 4, problem FROM open_tables
    UNION ALL SELECT 5, format('immutable.%I inherits or is inherited from: rows in %s are not in the chain. ALTER TABLE ... NO INHERIT, with immutable.maintenance = on',
        r.tab, CASE WHEN h.inhrelid = r.oid THEN h.inhparent::regclass ELSE h.inhrelid::regclass END)
      FROM tables r JOIN pg_inherits h ON r.oid IN (h.inhparent, h.inhrelid)
    UNION ALL SELECT 5, format('rule %I of immutable.%I is not the extension''s: drop it', w.rulename, r.tab)
      FROM tables r JOIN pg_rewrite w ON w.ev_class = r.oid WHERE NOT (r.tab = 'viewer_key_import' AND w.rulename = 'copy_only')
    UNION ALL SELECT 5, format('table immutable.%I is missing', x.tab) FROM (SELECT DISTINCT e.tab FROM expected e) x
      WHERE NOT EXISTS (SELECT FROM tables r WHERE r.tab = x.tab)
    UNION ALL SELECT 6, problem FROM bad_indexes
    UNION ALL SELECT 6, problem FROM bad_keys
    UNION ALL SELECT 7, format('prepared transaction %L holds %s lanes since %s: COMMIT PREPARED or ROLLBACK PREPARED it', gid, lanes, prepared)
      FROM prepared WHERE prepared < clock_timestamp() - interval '5 minutes'
    UNION ALL SELECT 8, format('backend %s (%s) holds %s lanes since %s: end its transaction, or pg_terminate_backend(%s)', pid, state, lanes, xact_start, pid)
      FROM holders WHERE xact_start < clock_timestamp() - interval '10 minutes'
    UNION ALL SELECT 9, format('event %s in lane %s was recorded %s seconds in the future: the server''s clock was ahead, or is behind now. Set the clock; the lane goes on from that time',
        id, lane, round(extract(epoch FROM created_at - clock_timestamp())))
      FROM newest WHERE created_at > clock_timestamp() + interval '1 second'
    UNION ALL SELECT 10, format('extension immutable is at version %s, its files at %s: ALTER EXTENSION immutable UPDATE', extversion, there)
      FROM known WHERE extversion <> there
    UNION ALL SELECT 11, format('%s is off: a crash can lose acknowledged events. Set it on', name)
      FROM (VALUES ('fsync'), ('full_page_writes')) x (name) WHERE current_setting(name) = 'off'
    UNION ALL SELECT 12, format('immutable.events was last frozen %s transactions ago: VACUUM (FREEZE) immutable.events', age(relfrozenxid))
      FROM events WHERE age(relfrozenxid) > 1000000000)
  SELECT
    (SELECT extversion FROM known),
    -- A function of the library first, so that it is loaded, and its settings are known.
    CASE WHEN immutable.is_chained(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) IS NOT TRUE THEN
      (SELECT jsonb_object_agg(s.name, s.setting ORDER BY s.name) FROM pg_settings s
        WHERE s.name IN ('synchronous_commit', 'wal_level', 'max_locks_per_transaction')
          OR s.name LIKE 'immutable.%' AND s.context = 'superuser') END,
    (SELECT CASE WHEN e.reltuples < 0 OR e.relpages = 0 THEN coalesce(pg_stat_get_live_tuples(e.oid), 0)
      ELSE (e.reltuples / e.relpages * (pg_relation_size(e.oid) / current_setting('block_size')::integer))::bigint END FROM events e),
    (SELECT sum(pg_total_relation_size(oid))::bigint FROM tables),
    least((SELECT n FROM chained), 1000),
    CASE WHEN (SELECT n FROM chained) > 1000 THEN 'gte' ELSE 'eq' END,
    (SELECT id FROM newest), (SELECT created_at FROM newest),
    (SELECT count(*) FROM holds),
    (SELECT clock_timestamp() - least((SELECT min(xact_start) FROM holders), (SELECT min(prepared) FROM prepared))),
    (SELECT count(*) FROM prepared),
    NOT EXISTS (SELECT FROM bad_triggers), NOT EXISTS (SELECT FROM open_tables), NOT EXISTS (SELECT FROM bad_guard),
    coalesce(current_setting('immutable.maintenance', true) = 'on', false),
    coalesce(current_setting('immutable.restore', true) = 'on', false),
    coalesce((SELECT CASE WHEN i.indisvalid THEN 'valid' ELSE 'invalid' END FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE i.indrelid = (SELECT oid FROM events) AND c.relname = 'events_search'), 'missing'),
    pg_is_in_recovery(),
    (SELECT coalesce(array_agg(p.problem ORDER BY p.place, p.problem COLLATE "C"), '{}') FROM problem p);
END;
COMMENT ON FUNCTION immutable.status() IS
  'The state of the log, in one row that costs milliseconds however long the log is: version of the extension; settings that bear on it; estimated_events from the planner''s statistics (exact are verify_chain()''s); total_bytes of the tables with their indexes; chains (lanes of tenants), counted up to 1,000 (chains_relation eq, beyond it gte); the last event; lanes_in_use: locks held now, the longest for longest_lane_hold, and by how many prepared_transactions; whether the triggers, row security and the guard are what they should be; maintenance and restore: those settings in this session; search_index valid, invalid or missing (which is no problem); is_standby; problems: what is wrong and what to do, {} if nothing. Whether the chain is sound verify_chain() says';

-- The guard: event triggers that keep DDL away from the extension's objects. With a list of commands each, so that a
-- missing library stops no other; ALWAYS, so that session_replication_role does not switch them off.

CREATE FUNCTION immutable.guard_ddl() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_ddl';
COMMENT ON FUNCTION immutable.guard_ddl() IS
  'The event triggers'' function: raises 42501 for a command that changes the extension''s tables, triggers, policies, rules, views or functions, or takes the extension away while it has events. With immutable.maintenance = on it records the command as an event immutable.maintenance instead';

CREATE EVENT TRIGGER immutable_ddl_start ON ddl_command_start
  WHEN TAG IN ('DROP EXTENSION', 'DROP OWNED', 'DROP TRIGGER', 'DROP POLICY', 'DROP RULE', 'DROP INDEX',
    'ALTER EXTENSION',
    'ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER VIEW', 'ALTER INDEX', 'ALTER SCHEMA', 'ALTER TRIGGER',
    'ALTER POLICY', 'ALTER RULE', 'ALTER FUNCTION', 'ALTER PROCEDURE', 'ALTER ROUTINE', 'ALTER AGGREGATE',
    'CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE INDEX', 'CREATE VIEW', 'CREATE SCHEMA', 'CREATE TRIGGER',
    'CREATE POLICY', 'CREATE RULE', 'CREATE FUNCTION', 'CREATE PROCEDURE', 'CREATE AGGREGATE')
  EXECUTE FUNCTION immutable.guard_ddl();
CREATE EVENT TRIGGER immutable_ddl_end ON ddl_command_end
  WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER VIEW', 'ALTER INDEX', 'ALTER SCHEMA', 'ALTER TRIGGER',
    'ALTER POLICY', 'ALTER RULE', 'ALTER FUNCTION', 'ALTER PROCEDURE', 'ALTER ROUTINE', 'ALTER AGGREGATE',
    'CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE INDEX', 'CREATE VIEW', 'CREATE SCHEMA', 'CREATE TRIGGER',
    'CREATE POLICY', 'CREATE RULE', 'CREATE FUNCTION', 'CREATE PROCEDURE', 'CREATE AGGREGATE')
  EXECUTE FUNCTION immutable.guard_ddl();
CREATE EVENT TRIGGER immutable_ddl_drop ON sql_drop
  WHEN TAG IN ('DROP TRIGGER', 'DROP POLICY', 'DROP RULE', 'DROP OWNED', 'DROP SCHEMA', 'DROP EXTENSION')
  EXECUTE FUNCTION immutable.guard_ddl();
ALTER EVENT TRIGGER immutable_ddl_start ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_ddl_end ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_ddl_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER immutable_ddl_start IS 'The guard: refuses to drop the extension or its owner''s objects, and records maintenance before it happens';
COMMENT ON EVENT TRIGGER immutable_ddl_end IS 'The guard: refuses changes of the extension''s objects, and inheritance';
COMMENT ON EVENT TRIGGER immutable_ddl_drop IS 'The guard: refuses to drop the extension''s triggers, policies and rules';

REVOKE ALL ON FUNCTION immutable.share_identity(uuid), immutable.simplify_policies(),
  immutable.verify_shard(regclass, boolean), immutable.distribute(), immutable.guard_log(), immutable.replicate(),
  immutable.record_restore(text), immutable.status(), immutable.guard_ddl() FROM PUBLIC;
GRANT SELECT ON immutable.cluster TO immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.verify_shard(regclass, boolean) TO immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.status() TO immutable_auditor, pg_monitor;
GRANT USAGE ON SCHEMA immutable TO pg_monitor;
GRANT USAGE ON SCHEMA immutable TO immutable_restorer;
GRANT INSERT ON immutable.log, immutable.events, immutable.revocations, immutable.tenant_grants TO immutable_restorer;
GRANT EXECUTE ON FUNCTION immutable.record_restore(text) TO immutable_restorer;
