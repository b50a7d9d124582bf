-- The state of the log in one row, from catalogs and a few steps of indexes. Nothing in it reads
-- the whole log.

-- pg_dump dumps every row or fails, and the right to read every table is not enough for that where
-- there is row security. A member with NOINHERIT can dump with pg_dump --role, so MEMBER is what
-- counts.
CREATE FUNCTION immutable.logins_that_cannot_dump() RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT coalesce(array_agg(quote_ident(r.rolname) ORDER BY r.rolname), '{}') FROM pg_roles r
  WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolbypassrls AND pg_has_role(r.oid, 'pg_read_all_data', 'MEMBER');
END;
COMMENT ON FUNCTION immutable.logins_that_cannot_dump() IS
'Returns the logins that are members of pg_read_all_data and subject to row security.
pg_dump by such a login fails at immutable.events. CREATE EXTENSION and immutable.status() name
them.
Returns quoted names in the order of the names.
Raises no error.';

CREATE FUNCTION immutable.status(
  OUT version text, OUT settings jsonb, OUT estimated_events bigint, OUT total_bytes bigint, OUT chains bigint,
  OUT chains_relation text, OUT last_event_id uuid, OUT last_event_at timestamptz, OUT lanes_in_use bigint,
  OUT longest_lane_hold interval, OUT prepared_transactions bigint, OUT triggers_enabled boolean,
  OUT row_security_enabled boolean, OUT guard_enabled boolean, OUT allow_ddl boolean, OUT restore boolean,
  OUT search_index text, OUT is_standby boolean, OUT changes_held_for interval, OUT checkpoint_size bigint,
  OUT checkpoint_at timestamptz, OUT cosigned_size bigint, OUT cosigned_at timestamptz, OUT uncovered_since timestamptz,
  OUT node text, OUT log_id uuid, OUT shards bigint, OUT segments bigint, OUT hot_events bigint, OUT problems text[])
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER COST 100000
-- Settings of a session, such as enable_indexscan = off, must not make it slow.
SET search_path = pg_catalog, pg_temp SET enable_indexscan = on SET enable_indexonlyscan = on SET jit = off
-- Citus would hide its shards in pg_class.
SET citus.override_table_visibility = off
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
    ('log', '~immutable_apply', 'replicate'), ('log', '~immutable_apply_truncate', 'replicate'),
    ('cluster', '~immutable_apply', 'replicate'), ('event_targets', '~immutable_apply', 'replicate'),
    ('event_targets', '~immutable_apply_truncate', 'replicate'),
    ('tenant_grants', '~immutable_bind', 'bind_role'), ('viewer_key_import', '~immutable_begin', 'take_viewer_key'),
    ('viewer_key_import', '~immutable_take', 'take_viewer_key'),
    ('viewer_key_import', '~immutable_store', 'take_viewer_key'),
    ('tree', '~immutable_write', 'guard_tree'), ('tree_runs', '~immutable_write', 'guard_tree'),
    ('tree_tiles', '~immutable_write', 'guard_tree'), ('tree_chunks', '~immutable_write', 'guard_tree'),
    ('tree_notes', '~immutable_write', 'guard_tree'), ('tree_cosignatures', '~immutable_write', 'guard_tree'),
    ('witnesses', '~immutable_write', 'guard_tree'), ('log_keys', '~immutable_write', 'guard_tree'),
    ('log_secrets', '~immutable_write', 'refuse'), ('tree_position', '~immutable_write', 'refuse'),
    ('tree_pending', '~immutable_write', 'refuse'), ('tree', '~immutable_truncate', 'refuse'),
    ('tree_runs', '~immutable_truncate', 'refuse'), ('tree_tiles', '~immutable_truncate', 'refuse'),
    ('tree_chunks', '~immutable_truncate', 'refuse'), ('tree_notes', '~immutable_truncate', 'refuse'),
    ('tree_cosignatures', '~immutable_truncate', 'refuse'), ('witnesses', '~immutable_truncate', 'refuse'),
    ('log_keys', '~immutable_truncate', 'refuse'), ('log_secrets', '~immutable_truncate', 'refuse'),
    ('tree_position', '~immutable_truncate', 'refuse'), ('tree_pending', '~immutable_truncate', 'refuse'),
    ('log_secrets', '~immutable_apply', 'replicate'), ('tree_position', '~immutable_apply', 'replicate'),
    ('tree_pending', '~immutable_apply', 'replicate'), ('maintenance_position', '~immutable_apply', 'replicate'),
    ('revocations', '~immutable_brought', 'guard_brought'), ('api_keys', '~immutable_brought', 'guard_brought'),
    ('api_key_usage', '~immutable_brought', 'guard_brought'), ('alert_rules', '~immutable_brought', 'guard_brought'),
    ('alerts', '~immutable_brought', 'guard_brought'), ('streams', '~immutable_brought', 'guard_brought'),
    ('dead_letters', '~immutable_brought', 'guard_brought'), ('stream_positions', '~immutable_apply', 'replicate'),
    ('retention', '~immutable_brought', 'guard_brought'), ('holds', '~immutable_brought', 'guard_brought'),
    ('action_schemas', '~immutable_changed', 'action_schemas_changed'),
    ('action_schemas', '~immutable_changed_all', 'action_schemas_changed'),
    ('action_schema_modes', '~immutable_changed', 'action_schemas_changed'),
    ('action_schema_modes', '~immutable_changed_all', 'action_schemas_changed'),
    ('placement', '~immutable_record', 'record_at_shard'), ('tracking', '~immutable_resolve', 'resolve_tracking'),
    ('tracking', '~immutable_tracking', 'resolve_tracking')),
  shard AS MATERIALIZED (SELECT s.tab, s.shard, s.relation FROM immutable.shards_here() s),
  -- A shard is checked like its table. The names of its triggers and constraints end with its number.
  tables AS (SELECT c.oid, c.relname::text AS tab, c.relname::text AS name, '' AS suffix, c.relrowsecurity, c.relpersistence
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'immutable' AND c.relkind = 'r' AND c.relname IN ('events', 'event_targets', 'log', 'cluster', 'viewer_keys',
      'viewer_key_import', 'revocations', 'tenant_grants', 'tree', 'tree_runs', 'tree_tiles', 'tree_chunks', 'tree_notes',
      'tree_cosignatures', 'witnesses', 'log_keys', 'log_secrets', 'tree_position', 'tree_pending', 'maintenance_position',
      'api_keys', 'api_key_usage', 'exports', 'alert_rules', 'alerts', 'alert_feed', 'alert_state', 'action_schemas',
      'action_schema_modes', 'streams', 'stream_positions', 'dead_letters', 'placement', 'retention', 'holds',
      'prune_position', 'tracking')
    UNION ALL
    SELECT c.oid, s.tab, c.relname::text, '_' || s.shard, c.relrowsecurity, c.relpersistence
    FROM shard s JOIN pg_class c ON c.oid = s.relation),
  events AS (SELECT c.* FROM pg_class c WHERE c.oid IN (SELECT oid FROM tables WHERE tab = 'events')),
  -- The tables of the segments, and what immutable.segments says of them.
  segment_tables AS (SELECT s.segment, s.state, x.tab, x.name, c.oid, coalesce(c.relrowsecurity, true) AS relrowsecurity,
      EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid
        AND h.inhparent IN (SELECT t.oid FROM tables t WHERE t.name = x.tab)) AS inherits
    FROM immutable.segments s CROSS JOIN LATERAL (VALUES ('events', 'events_' || s.segment),
        ('event_targets', 'event_targets_' || s.segment)) x (tab, name)
      LEFT JOIN pg_class c ON c.relname = x.name AND c.relkind = 'r'
        AND c.relnamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'immutable')),
  bad_segments AS (
    SELECT 5 AS place, format('table immutable.%s of segment %s is missing or no child of immutable.%s: its events are not read. Call verify_chain()',
      t.name, t.segment, t.tab) AS problem FROM segment_tables t WHERE t.oid IS NULL OR NOT t.inherits
    UNION ALL SELECT 4, format('row security of immutable.%s is off: every role that can read it sees all tenants. Run ALTER TABLE ... ENABLE ROW LEVEL SECURITY, with immutable.allow_ddl = on', t.name)
      FROM segment_tables t WHERE NOT t.relrowsecurity
    UNION ALL SELECT 1, format('trigger %I of immutable.%s is %s: events can be changed. Enable it (ALTER TABLE ... ENABLE TRIGGER, with immutable.allow_ddl = on), then call verify_chain()',
        x.name, t.name, CASE WHEN g.oid IS NULL THEN 'missing or altered' ELSE 'disabled' END)
      FROM segment_tables t JOIN (VALUES ('events', '~immutable_insert', 'refuse'), ('events', '~immutable_update', 'guard_event'),
          ('events', '~immutable_delete', 'refuse'), ('events', '~immutable_truncate', 'refuse'),
          ('events', '~immutable_apply', 'replicate'), ('events', '~immutable_apply_truncate', 'replicate'),
          ('event_targets', '~immutable_insert', 'refuse'), ('event_targets', '~immutable_update', 'guard_target'),
          ('event_targets', '~immutable_delete', 'refuse'), ('event_targets', '~immutable_truncate', 'refuse'),
          ('event_targets', '~immutable_apply', 'replicate'), ('event_targets', '~immutable_apply_truncate', 'replicate'))
          x (tab, name, function) ON x.tab = t.tab
        LEFT JOIN pg_trigger g ON g.tgrelid = t.oid AND g.tgname = x.name AND g.tgqual IS NULL
          AND g.tgfoid IN (SELECT p.oid FROM pg_proc p WHERE p.proname = x.function
            AND p.pronamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'immutable'))
      WHERE t.oid IS NOT NULL AND (g.oid IS NULL OR g.tgenabled NOT IN ('A', CASE x.function WHEN 'replicate' THEN 'R'::"char" ELSE 'O' END))
    UNION ALL SELECT 8, format('segment %s has been prepared since %s, and its events have not moved: CALL immutable.seal() says what it waits for',
        s.segment, s.prepared_at)
      FROM immutable.segments s WHERE s.state = 'prepared' AND s.prepared_at < clock_timestamp() - interval '10 minutes'
    UNION ALL SELECT 7, format('segment %s: %s events of its time cannot be read, and do not move. Call verify_chain() to find them',
        s.segment, s.unreadable)
      FROM immutable.segments s WHERE s.unreadable > 0
    UNION ALL SELECT 9, format('immutable.events itself has about %s events, far more than immutable.hot_events: inserts become slow. CALL immutable.run_maintenance() says why they do not move', h.n)
      FROM hot h WHERE h.most >= 0 AND h.n > 3 * (h.most + h.piece) + 10000 AND NOT pg_is_in_recovery()
        AND NOT (SELECT b.is_distributed FROM begun b)),
  bad_retention AS (
    SELECT 8 AS place, format('immutable.%s was changed by hand: what it says of %s is not what the log says, and events may be removed too early. Find out who did that, and call immutable.%s again',
        c.changed, CASE WHEN c.tenant_id IS NULL THEN 'all tenants' ELSE format('tenant "%s"', c.tenant_id) END,
        CASE c.changed WHEN 'holds' THEN 'hold()' ELSE 'set_retention()' END) AS problem
    FROM immutable.changed_retention() c),
  bad_triggers AS (
    SELECT format('trigger %I of immutable.%I is %s: events can be recorded outside the chain, or changed. Enable it (ALTER TABLE ... ENABLE TRIGGER, with immutable.allow_ddl = on), then call verify_chain()',
      x.name, coalesce(r.name, x.tab), CASE WHEN t.oid IS NULL THEN 'missing or altered' ELSE 'disabled' END) AS problem
    FROM expected x LEFT JOIN tables r ON r.tab = x.tab LEFT JOIN pg_trigger t ON t.tgrelid = r.oid
      AND t.tgname::text IN (x.name, x.name || r.suffix)
      AND t.tgqual IS NULL AND t.tgfoid IN (SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE p.proname = x.function AND l.lanname = 'c'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE t.oid IS NULL OR t.tgenabled NOT IN ('A', CASE x.function WHEN 'replicate' THEN 'R'::"char" ELSE 'O' END)
    UNION ALL
    SELECT format('trigger %I of immutable.%I does not belong to the extension and runs after its triggers: drop it', t.tgname, r.name)
    FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgname COLLATE "C" > '~immutable_' AND t.tgenabled <> 'D'
      AND NOT EXISTS (SELECT FROM expected x WHERE x.tab = r.tab AND t.tgname::text IN (x.name, x.name || r.suffix))),
  -- These run before the extension's triggers, in the order of their names: what they change is
  -- hashed as they leave it, and what they leave out is not recorded at all.
  other_triggers AS (
    SELECT format('trigger %I of immutable.%I does not belong to the extension and runs before its triggers: it can change an event before it is recorded, or leave it out. Check function %s, or drop the trigger',
      t.tgname, r.name, t.tgfoid::regprocedure) AS problem
    FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 2 <> 0 AND t.tgname COLLATE "C" < '~immutable_'),
  open_tables AS (
    SELECT format('row security of immutable.%I is off: every role that can read it sees all tenants. Run ALTER TABLE ... ENABLE ROW LEVEL SECURITY, with immutable.allow_ddl = on', name) AS problem
    FROM tables WHERE NOT relrowsecurity AND tab <> 'cluster'
    UNION ALL
    SELECT format('policy %s of immutable.%s is missing: %s', x.policy, coalesce(r.name, x.tab), CASE x.policy WHEN 'all_or_none'
      THEN 'pg_dump --enable-row-security leaves its rows out' ELSE 'its role sees or records nothing' END)
    FROM (VALUES ('events', 'writer_insert'), ('events', 'writer_returning'), ('events', 'auditor_select'),
      ('events', 'viewer_select'), ('event_targets', 'auditor_select'), ('event_targets', 'viewer_select'),
      ('revocations', 'all_or_none'), ('tenant_grants', 'all_or_none'), ('log', 'all_or_none'), ('log', 'auditor_select'),
      ('tree', 'all_or_none'), ('tree_runs', 'all_or_none'), ('tree_tiles', 'all_or_none'), ('tree_chunks', 'all_or_none'),
      ('tree_notes', 'all_or_none'), ('tree_cosignatures', 'all_or_none'), ('witnesses', 'all_or_none'),
      ('log_keys', 'all_or_none'), ('api_keys', 'all_or_none'), ('api_key_usage', 'all_or_none'), ('alert_rules', 'all_or_none'),
      ('streams', 'all_or_none'), ('dead_letters', 'all_or_none'),
      ('alerts', 'auditor_select'), ('alerts', 'viewer_select'), ('alerts', 'server_select'), ('events', 'server_insert'),
      ('events', 'server_select'), ('event_targets', 'server_select')) x (tab, policy) LEFT JOIN tables r ON r.tab = x.tab
    WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid AND p.polname = x.policy)
    UNION ALL
    SELECT format('policy %I of immutable.%I does not belong to the extension: check what it permits', p.polname, r.name)
    FROM pg_policy p JOIN tables r ON r.oid = p.polrelid
    WHERE p.polname NOT IN ('writer_insert', 'writer_returning', 'auditor_select', 'viewer_select', 'server_insert', 'server_select',
      'all_or_none') AND NOT (r.tab = 'placement' AND p.polname = 'all_see')
      AND NOT (r.tab = 'tracking' AND p.polname = 'tracker_select')),
  bad_guard AS (
    SELECT format('the guard''s event trigger %s is %s: DDL can change the tables without a record. Run ALTER EVENT TRIGGER %s ENABLE ALWAYS, then call status() again',
      x.name, CASE WHEN e.oid IS NULL THEN 'missing' ELSE 'disabled' END, x.name) AS problem
    FROM (VALUES ('immutable_ddl_start'), ('immutable_ddl_end'), ('immutable_ddl_drop')) x (name)
      LEFT JOIN pg_event_trigger e ON e.evtname = x.name
        AND e.evtfoid = (SELECT p.oid FROM pg_proc p WHERE p.proname = 'guard_ddl'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE e.oid IS NULL OR e.evtenabled NOT IN ('O', 'A')
    UNION ALL
    SELECT 'event_triggers is off, which disables the guard: DDL can change the tables without a record. Set it to on'
    WHERE current_setting('event_triggers', true) = 'off'),
  -- Row changes of other tables.
  bad_capture AS (
    SELECT 2 AS place, format('event trigger %s is %s: new partitions and new names of tracked tables go unseen, and commands that keep row changes from being recorded leave no event. Run ALTER EVENT TRIGGER %s ENABLE ALWAYS',
      x.name, CASE WHEN e.oid IS NULL THEN 'missing' ELSE 'disabled' END, x.name) AS problem
    FROM (VALUES ('immutable_capture_end'), ('immutable_capture_drop'), ('immutable_capture_rewrite')) x (name)
      LEFT JOIN pg_event_trigger e ON e.evtname = x.name
        AND e.evtfoid = (SELECT p.oid FROM pg_proc p WHERE p.proname = 'capture_ddl'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE e.oid IS NULL OR e.evtenabled NOT IN ('O', 'A')
    UNION ALL
    SELECT 7, format('row changes of %I.%I: %s', t.schema_name, t.table_name, t.problem)
    FROM (SELECT k.schema_name, k.table_name, immutable.capture_problem(k.relation) AS problem FROM immutable.tracking k) t
    WHERE t.problem IS NOT NULL),
  holds AS (SELECT l.pid, l.objid, l.objsubid, l.virtualtransaction FROM pg_locks l
    -- A number below 0 is no lane, but the lock of the writer that gets the next lane.
    WHERE l.locktype = 'object' AND l.granted AND l.objsubid >= 0 AND l.classid IN (SELECT oid FROM events)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())),
  -- The locks of a prepared transaction have no process, and the virtual transaction ID of the
  -- lock that it holds on itself.
  prepared AS (SELECT p.gid, p.prepared, count(*) AS lanes
    FROM holds h JOIN pg_locks i ON i.virtualtransaction = h.virtualtransaction AND i.locktype = 'transactionid' AND i.granted
      AND i.pid IS NULL
    JOIN pg_prepared_xacts p ON p.transaction = i.transactionid
    WHERE h.pid IS NULL GROUP BY p.gid, p.prepared),
  holders AS (SELECT a.pid, a.state, a.xact_start, count(*) AS lanes FROM holds h JOIN pg_stat_activity a ON a.pid = h.pid
    GROUP BY a.pid, a.state, a.xact_start),
  -- One step of the index for each lane, and at most a thousand of them.
  chained AS MATERIALIZED (SELECT immutable.count_lanes(1000) AS n),
  newest AS MATERIALIZED (SELECT e.id, e.created_at, e.lane FROM immutable.newest_events(1) e),
  begun AS (SELECT EXISTS (SELECT FROM immutable.log) AS has_identity, EXISTS (SELECT FROM newest) AS has_events,
    immutable.node_here() IS NOT NULL AS is_distributed),
  -- A transaction that has a number holds back the feed of all tenants, in whatever database it
  -- runs.
  writing AS (
    SELECT format('backend %s (%s) in database %I', a.pid, a.state, a.datname) AS who,
      format('end that transaction, or call pg_terminate_backend(%s)', a.pid) AS what, a.xact_start AS since
    FROM pg_stat_activity a WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
    UNION ALL
    SELECT format('prepared transaction %L in database %I', p.gid, p.database), 'run COMMIT PREPARED or ROLLBACK PREPARED', p.prepared
    FROM pg_prepared_xacts p),
  longest_writing AS (SELECT w.* FROM writing w WHERE w.since IS NOT NULL ORDER BY w.since LIMIT 1),
  foreign_xact AS MATERIALIZED (SELECT immutable.foreign_xact() AS xact),
  held_logins AS (SELECT nullif(array_to_string(immutable.logins_that_cannot_dump(), ', '), '') AS names),
  -- An erasure is an UPDATE, which PostgreSQL refuses if the publication needs more columns of the
  -- row than its key.
  bad_publications AS (
    SELECT format('publication %I publishes updates of immutable.%I, but its %s: erasures fail. Publish the whole table, or only inserts (ALTER PUBLICATION %I SET (publish = ''insert''))',
      b.pubname, r.name, CASE WHEN x.filters THEN 'WHERE clause uses a column that is not in the primary key'
        ELSE 'column list lacks a column of the primary key' END, b.pubname) AS problem
    FROM pg_publication_rel p JOIN pg_publication b ON b.oid = p.prpubid JOIN tables r ON r.oid = p.prrelid
      JOIN pg_index i ON i.indrelid = r.oid AND i.indisprimary
      CROSS JOIN LATERAL (SELECT
        EXISTS (SELECT FROM regexp_matches(p.prqual::text, ':varattno (-?[0-9]+)', 'g') m
          WHERE m[1]::integer <> ALL (string_to_array(i.indkey::text, ' ')::integer[])) AS filters,
        EXISTS (SELECT FROM unnest(string_to_array(i.indkey::text, ' ')::integer[]) k
          WHERE k <> ALL (string_to_array(p.prattrs::text, ' ')::integer[])) AS lacks) x
    WHERE b.pubupdate AND (x.filters OR x.lacks)),
  bad_indexes AS (
    SELECT format('index immutable.%I is invalid: run DROP INDEX immutable.%I and create it again', c.relname, c.relname) AS problem
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid IN (SELECT oid FROM tables) AND NOT i.indisvalid),
  bad_keys AS (
    SELECT format('constraint %s of immutable.%s is missing: an event may be recorded outside the chain, or recording may fail. Create it again (ALTER TABLE ... ADD, with immutable.allow_ddl = on), then call verify_chain()', x.name, coalesce(r.name, x.tab)) AS problem
    FROM (VALUES ('events', 'events_pkey'), ('events', 'events_tenant_id_lane_seq_key'),
      ('events', 'events_tenant_id_idempotency_key_key'), ('event_targets', 'event_targets_pkey'),
      ('event_targets', 'event_targets_event_id_tenant_id_fkey')) x (tab, name) LEFT JOIN tables r ON r.tab = x.tab
    WHERE NOT EXISTS (SELECT FROM pg_constraint k
      WHERE k.conrelid = r.oid AND k.conname::text IN (x.name, x.name || r.suffix) AND k.convalidated)),
  -- By the planner's statistics, or those of the server where there are none.
  -- The server's are better right after a move, which leaves the file as large as it was.
  hot AS (SELECT sum(CASE WHEN e.reltuples < 0 OR e.relpages = 0 THEN coalesce(pg_stat_get_live_tuples(e.oid), 0)
      ELSE least((e.reltuples / e.relpages * (pg_relation_size(e.oid) / current_setting('block_size')::integer))::bigint,
        CASE WHEN coalesce(pg_stat_get_last_autovacuum_time(e.oid), pg_stat_get_last_vacuum_time(e.oid),
          pg_stat_get_last_autoanalyze_time(e.oid), pg_stat_get_last_analyze_time(e.oid)) IS NOT NULL
          THEN pg_stat_get_live_tuples(e.oid) END) END)::bigint AS n,
      coalesce(current_setting('immutable.hot_events', true), '100000')::bigint AS most,
      coalesce(current_setting('immutable.seal_events', true), '100000')::bigint AS piece
    FROM events e),
  -- The evidence. Without a checkpoint all of it is empty.
  note AS (SELECT n.size, n.signed_at FROM immutable.tree_notes n JOIN immutable.tree t ON t.origin = n.origin
    ORDER BY n.size DESC LIMIT 1),
  cosigned AS (SELECT c.size, max(c.cosigned_at) AS at FROM immutable.tree_cosignatures c JOIN immutable.tree t ON t.origin = c.origin
    GROUP BY c.size ORDER BY c.size DESC LIMIT 1),
  covered AS MATERIALIZED (SELECT split_part(p.snapshot, ':', 2) AS xmax, split_part(p.snapshot, ':', 3) AS xip
    FROM immutable.tree_position p WHERE p.snapshot ~ '^[0-9]{1,19}:[0-9]{1,19}:([0-9]{1,19}(,[0-9]{1,19})*)?$'),
  -- Events of transactions that the last pass did not see.
  uncovered AS (SELECT min(u.created_at) AS since FROM (
    SELECT immutable.recorded_from(c.xmax::xid8, NULL, NULL) AS created_at FROM covered c
    UNION ALL
    SELECT immutable.recorded_from(x::xid8, x::xid8, NULL) FROM covered c CROSS JOIN LATERAL unnest(string_to_array(c.xip, ',')) x) u),
  -- This server, as positions name it.
  here AS (SELECT (SELECT c.system_identifier FROM pg_control_system() c) AS system_identifier,
    (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AS database,
    CASE WHEN NOT pg_is_in_recovery()
      THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer END AS timeline),
  signs_elsewhere AS (SELECT FROM immutable.tree, here h WHERE NOT pg_is_in_recovery() AND NOT EXISTS (
    SELECT FROM immutable.tree_position p WHERE (p.system_identifier, p.database, p.timeline) = (h.system_identifier, h.database, h.timeline))),
  bad_maintenance AS (
    SELECT 7 AS place, 'maintenance is paused, because the log was restored, promoted or copied: no alert is raised, nothing is delivered, and no use of API keys is counted. If this log is the one that goes on, run SELECT immutable.resume_maintenance()' AS problem
      FROM immutable.maintenance_position p, here h
      WHERE NOT pg_is_in_recovery() AND (p.system_identifier, p.database, p.timeline)
        IS DISTINCT FROM (h.system_identifier, h.database, h.timeline)
    UNION ALL SELECT 7, format('step %s of run_maintenance() fails (%s): CALL immutable.run_maintenance() says why', f.key, f.value)
      FROM immutable.maintenance_position p CROSS JOIN LATERAL jsonb_each_text(
        CASE WHEN jsonb_typeof(p.failed) = 'object' THEN p.failed END) f
    UNION ALL SELECT 8, 'run_maintenance() has not run in this log since it was made or restored, and there are rules of alerts or API keys: call it every minute'
      WHERE NOT pg_is_in_recovery() AND NOT EXISTS (SELECT FROM immutable.maintenance_position)
        AND (EXISTS (SELECT FROM immutable.alert_rules a WHERE a.enabled AND a.created_at < clock_timestamp() - interval '1 hour')
          OR EXISTS (SELECT FROM immutable.api_keys k WHERE k.revoked_at IS NULL AND k.created_at < clock_timestamp() - interval '1 hour'))
    UNION ALL SELECT 8, format('run_maintenance() ran last at %s: call it every minute', p.ran_at)
      FROM immutable.maintenance_position p WHERE NOT pg_is_in_recovery() AND p.ran_at < clock_timestamp() - interval '1 hour'),
  -- The streams. pg_monitor may call this function, and learns no name, tenant or address.
  bad_streams AS (
    SELECT 8 AS place, format('stream %s fails since %s: immutable.get_streams() says why', s.id, p.failed_at) AS problem
      FROM immutable.streams s JOIN immutable.stream_positions p ON p.stream_id = s.id WHERE s.enabled AND p.failures >= 3
    UNION ALL SELECT 8, format('stream %s was switched off: immutable.get_streams() says why', s.id)
      FROM immutable.streams s WHERE NOT s.enabled AND s.disabled_because IS NOT NULL
    UNION ALL SELECT 9, format('stream %s has %s dead letters: immutable.get_dead_letters() lists them', d.stream_id, count(*))
      FROM immutable.dead_letters d GROUP BY d.stream_id
    UNION ALL SELECT 8, format('stream %s has not delivered what was recorded since %s: does immutable-server run with --delivery-database?', u.id, u.since)
      FROM (SELECT x.id, immutable.recorded_from(x.xmax::xid8, NULL, x.since) AS since
        FROM (SELECT s.id, substring(p.mark FROM '^[0-9]+:([0-9]{1,19}):') AS xmax,
            coalesce(p.since, '-infinity') AS since
          FROM immutable.streams s JOIN immutable.stream_positions p ON p.stream_id = s.id
          WHERE s.enabled AND p.failures < 3 AND s.content = 'events' AND NOT pg_is_in_recovery()) x
        WHERE x.xmax IS NOT NULL) u
      WHERE u.since < clock_timestamp() - interval '10 minutes'),
  -- The last event that the cosigned checkpoint covers.
  cosigned_last AS (SELECT e.id, e.created_at, c.at FROM cosigned c CROSS JOIN LATERAL (
      SELECT r.* FROM immutable.tree_runs r WHERE r.first_index < c.size ORDER BY r.first_index DESC LIMIT 1) r
    CROSS JOIN LATERAL immutable.event_at(r.tenant_id, r.lane, r.first_seq + (c.size - 1 - r.first_index)) e),
  bad_evidence AS (
    -- pg_monitor may call this function, and learns no tenant.
    SELECT 7 AS place, format('lane %s of a tenant is not in the tree from seq %s on: %s. It has waited since %s. Call verify_chain(); the owner finds the tenant in immutable.tree_pending',
      p.lane, p.seq, p.why, p.noted_at) AS problem
    FROM (SELECT p.* FROM immutable.tree_pending p ORDER BY p.tenant_id, p.lane LIMIT 10) p
    UNION ALL SELECT 7, format('%s lanes are not in the tree', n.n) FROM (SELECT count(*) AS n FROM immutable.tree_pending) n WHERE n.n > 10
    UNION ALL SELECT 7, 'the log does not sign checkpoints on this server, because it was restored, promoted or copied, or because a fork was reported. Call resume() with the newest checkpoint known outside, or begin_incarnation()'
      FROM signs_elsewhere
    UNION ALL SELECT 7, format('a checkpoint of %s events is signed, but the tree has %s: events were lost. Call begin_incarnation()', n.size, t.size)
      FROM note n, immutable.tree t WHERE n.size > t.size
    UNION ALL SELECT 8, format('no checkpoint covers the events since %s: call checkpoint() every minute', u.since)
      FROM uncovered u WHERE u.since < clock_timestamp() - interval '1 day'
    UNION ALL SELECT 8, format('no witness has cosigned a checkpoint since %s: docs/evidence.md shows how to ask them every night',
        coalesce(c.at::text, 'the first one'))
      FROM (SELECT FROM immutable.witnesses LIMIT 1) w LEFT JOIN cosigned c ON true
      WHERE c.at IS NULL OR c.at < clock_timestamp() - interval '2 days'
    UNION ALL SELECT 9, format('the newest cosignature is of %s, which is in the future: the clock of the witness or of this server is wrong', c.at)
      FROM cosigned c WHERE c.at > clock_timestamp() + interval '1 minute'
    UNION ALL SELECT 9, format('event %s was recorded at %s and cosigned at %s, which is earlier: the clock of the witness or of this server is wrong',
        l.id, l.created_at, l.at)
      FROM cosigned_last l WHERE l.created_at > l.at + interval '1 minute'),
  known AS (SELECT e.extversion, (SELECT a.default_version FROM pg_available_extensions a WHERE a.name = 'immutable') AS there
    FROM pg_extension e WHERE e.extname = 'immutable'),
  problem (place, problem) AS (
    SELECT 1, problem FROM bad_triggers
    UNION ALL SELECT 2, problem FROM bad_guard
    UNION ALL SELECT 3, 'immutable.allow_ddl is on in this session: commands that change the log''s objects are allowed, and are recorded. RESET immutable.allow_ddl'
      WHERE current_setting('immutable.allow_ddl', true) = 'on'
    UNION ALL SELECT 3, format('%s is set for a database or role: run ALTER DATABASE or ALTER ROLE ... RESET %s', x.setting, x.setting)
      FROM (SELECT DISTINCT split_part(c, '=', 1) AS setting FROM pg_db_role_setting s, unnest(s.setconfig) c
        WHERE c IN ('immutable.allow_ddl=on', 'immutable.restore=on', 'session_replication_role=replica',
          'event_triggers=off')) x
    UNION ALL SELECT 3, 'session_replication_role is replica in this session: events that it inserts are not chained. RESET it'
      WHERE current_setting('session_replication_role') = 'replica'
    UNION ALL SELECT 3, 'immutable.restore is on in this session: RESET it after the restore'
      WHERE current_setting('immutable.restore', true) = 'on'
    UNION ALL SELECT 3, format('%s is set in %s, %s: remove it there, or run LOAD ''immutable'' and ALTER SYSTEM RESET %s', s.name,
        coalesce(s.sourcefile, s.source), CASE s.setting WHEN 'on' THEN 'for all sessions' ELSE 'where it has no effect' END, s.name)
      FROM pg_settings s WHERE s.name IN ('immutable.allow_ddl', 'immutable.restore') AND s.source IN ('configuration file', 'command line')
    UNION ALL SELECT 4, problem FROM open_tables
    UNION ALL SELECT 5, format('immutable.%I has a parent or child table: rows in %s are not in the chain. Run ALTER TABLE ... NO INHERIT, with immutable.allow_ddl = on',
        r.name, CASE WHEN h.inhrelid = r.oid THEN h.inhparent::regclass ELSE h.inhrelid::regclass END)
      FROM tables r JOIN pg_inherits h ON r.oid IN (h.inhparent, h.inhrelid)
      WHERE NOT EXISTS (SELECT FROM segment_tables t WHERE t.oid = h.inhrelid AND t.tab = r.name)
    UNION ALL SELECT 5, format('rule %I of immutable.%I does not belong to the extension: drop it', w.rulename, r.name)
      FROM tables r JOIN pg_rewrite w ON w.ev_class = r.oid WHERE NOT (r.tab = 'viewer_key_import' AND w.rulename = 'copy_only')
    UNION ALL SELECT 5, format('trigger %I of immutable.%I does not belong to the extension and always fires, even in a replica session: drop it, unless pg_repack is running', t.tgname, r.name)
      FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
      WHERE NOT t.tgisinternal AND t.tgenabled = 'A' AND t.tgname COLLATE "C" < '~immutable_'
    UNION ALL SELECT 5, format('table immutable.%I is missing', x.tab) FROM (SELECT DISTINCT e.tab FROM expected e) x
      WHERE NOT EXISTS (SELECT FROM tables r WHERE r.tab = x.tab)
    UNION ALL SELECT 6, problem FROM bad_indexes
    UNION ALL SELECT 6, 'the shards of this node are not as its tables are, as after ALTER EXTENSION UPDATE: call immutable.distribute() on the coordinator'
      WHERE EXISTS (SELECT FROM immutable.shard_changes())
    UNION ALL SELECT 6, problem FROM bad_keys
    UNION ALL SELECT 7, format('prepared transaction %L has held %s lanes since %s: run COMMIT PREPARED or ROLLBACK PREPARED', gid, lanes, prepared)
      FROM prepared WHERE prepared < clock_timestamp() - interval '5 minutes'
    UNION ALL SELECT 8, format('backend %s (%s) has held %s lanes since %s: end its transaction, or call pg_terminate_backend(%s)', pid, state, lanes, xact_start, pid)
      FROM holders WHERE xact_start < clock_timestamp() - interval '10 minutes'
    UNION ALL SELECT 9, format('event %s in lane %s was recorded %s seconds in the future: the server''s clock was ahead, or is behind now. Correct the clock. The lane continues from that time',
        id, lane, round(extract(epoch FROM created_at - clock_timestamp())))
      FROM newest WHERE created_at > clock_timestamp() + interval '1 second'
    UNION ALL SELECT 2, problem FROM other_triggers
    UNION ALL SELECT 6, 'the log has an identity but no events: it was restored or copied without them. Restore the events too, or begin another log in a new database'
      FROM begun WHERE has_identity AND NOT has_events AND NOT is_distributed
    UNION ALL SELECT 6, 'the log has events but no identity: nothing can be recorded. Restore the row of immutable.log from the same dump, or make it from the first event: the error of an INSERT has the command in its hint'
      FROM begun WHERE has_events AND NOT has_identity AND NOT is_distributed
    UNION ALL SELECT 6, 'this node does not know the log''s identity, so that no lane can begin here: call immutable.distribute() on the coordinator'
      FROM begun WHERE is_distributed AND NOT has_identity
    UNION ALL SELECT 5, format('the shard immutable.%s_%s is missing, although Citus has it on this node: its events are not found. Call verify_chain()', s.tab, s.shard)
      FROM shard s WHERE s.relation IS NULL
    UNION ALL SELECT 6, problem FROM bad_publications
    UNION ALL SELECT 9, 'alert rules of type new_country are enabled, but none of the newest events has an ip_country: they cannot raise an alert. Record ip_country, or disable the rules'
      WHERE EXISTS (SELECT FROM immutable.alert_rules r WHERE r.rule_type = 'new_country' AND r.enabled)
        AND (SELECT count(*) > 0 AND NOT bool_or(n.has_country) FROM immutable.newest_events(1000) n)
    UNION ALL SELECT 8, format('%s has had a transaction ID since %s: changes() over all tenants returns no event that was recorded later. To resume changes(), %s', who, since, what)
      FROM longest_writing WHERE since < clock_timestamp() - interval '10 minutes'
    UNION ALL SELECT 9, format('events have a transaction ID of another server (%s): changes() over all tenants does not return them. They were loaded with the triggers disabled', xact)
      FROM foreign_xact WHERE xact IS NOT NULL
    UNION ALL SELECT place, problem FROM bad_evidence
    UNION ALL SELECT place, problem FROM bad_maintenance
    UNION ALL SELECT place, problem FROM bad_streams
    UNION ALL SELECT place, problem FROM bad_segments
    UNION ALL SELECT place, problem FROM bad_retention
    UNION ALL SELECT place, problem FROM bad_capture
    UNION ALL SELECT 13, format('logins have pg_read_all_data but not BYPASSRLS: %s. pg_dump by such a login fails at immutable.events, and so does the backup of the whole database. Dump with another login, as docs/backup-and-restore.md says. If none of these logins dumps, nothing is wrong', names)
      FROM held_logins WHERE names IS NOT NULL
    UNION ALL SELECT 10, format('extension immutable has version %s, but its files have version %s: run ALTER EXTENSION immutable UPDATE', extversion, there)
      FROM known WHERE extversion <> there
    UNION ALL SELECT 11, format('%s is off: a crash can lose committed events. Set it to on', name)
      FROM (VALUES ('fsync'), ('full_page_writes')) x (name) WHERE current_setting(name) = 'off'
    UNION ALL SELECT 12, format('immutable.%s was last frozen %s transactions ago: run VACUUM (FREEZE) immutable.events', relname, age(relfrozenxid))
      FROM events WHERE age(relfrozenxid) > 1000000000)
  SELECT
    (SELECT extversion FROM known),
    -- A function of the library runs first, which loads the library and so makes its settings
    -- known.
    CASE WHEN immutable.is_chained(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) IS NOT TRUE THEN
      (SELECT jsonb_object_agg(s.name, s.setting ORDER BY s.name) FROM pg_settings s
        WHERE s.name IN ('synchronous_commit', 'wal_level', 'max_locks_per_transaction')
          OR s.name LIKE 'immutable.%' AND s.context = 'superuser') END,
    (SELECT h.n FROM hot h) + (SELECT coalesce(sum(g.events), 0)::bigint FROM immutable.segments g),
    (SELECT sum(pg_total_relation_size(t.oid))::bigint FROM (SELECT oid FROM tables UNION ALL SELECT oid FROM segment_tables) t),
    least((SELECT n FROM chained), 1000),
    CASE WHEN (SELECT n FROM chained) > 1000 THEN 'gte' ELSE 'eq' END,
    (SELECT id FROM newest), (SELECT created_at FROM newest),
    (SELECT count(*) FROM holds),
    (SELECT clock_timestamp() - least((SELECT min(xact_start) FROM holders), (SELECT min(prepared) FROM prepared))),
    (SELECT count(*) FROM prepared),
    NOT EXISTS (SELECT FROM bad_triggers), NOT EXISTS (SELECT FROM open_tables), NOT EXISTS (SELECT FROM bad_guard),
    coalesce(current_setting('immutable.allow_ddl', true) = 'on', false),
    coalesce(current_setting('immutable.restore', true) = 'on', false),
    coalesce((SELECT CASE WHEN i.indisvalid THEN 'valid' ELSE 'invalid' END FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE i.indrelid = (SELECT oid FROM tables WHERE name = 'events') AND c.relname = 'events_search'), 'missing'),
    pg_is_in_recovery(),
    (SELECT clock_timestamp() - since FROM longest_writing),
    (SELECT size FROM note), (SELECT signed_at FROM note), (SELECT size FROM cosigned), (SELECT at FROM cosigned),
    (SELECT since FROM uncovered),
    -- Not by the column, which could then not be altered, not even by force.
    immutable.node_here(), (SELECT (to_jsonb(l) ->> 'log_id')::uuid FROM immutable.log l LIMIT 1),
    (SELECT count(s.relation) FROM shard s WHERE s.tab = 'events' HAVING (SELECT is_distributed FROM begun)),
    (SELECT count(*) FROM immutable.segments g WHERE g.state = 'sealed'), (SELECT h.n FROM hot h),
    (SELECT coalesce(array_agg(p.problem ORDER BY p.place, p.problem COLLATE "C"), '{}') FROM problem p);
END;
COMMENT ON FUNCTION immutable.status() IS
'Returns the state of the log in one row, within milliseconds however long the log is.
It does not verify the log: immutable.verify_chain() does. Of a distributed log it says what is on this
node; immutable.nodes() asks all nodes.
- version: version of the extension.
- settings: settings that matter to the log, as a JSON object.
- estimated_events, total_bytes: events, by the planner''s statistics, and size of the tables with
  their indexes.
- chains, chains_relation: the number of lanes, exact up to 1,000 ("eq"), beyond that at least so
  many ("gte").
- last_event_id, last_event_at: the event that was recorded last.
- lanes_in_use, longest_lane_hold, prepared_transactions: lanes that are locked now, for how long
  the oldest of these transactions has run, and how many of them are prepared.
- triggers_enabled, row_security_enabled, guard_enabled: whether these protections are what they
  should be.
- allow_ddl, restore: these settings in this session.
- search_index: "valid", "invalid" or "missing", which is no problem.
- is_standby: whether this server is a standby.
- changes_held_for: for how long the oldest writing transaction of the cluster has held back
  changes() over all tenants; NULL if there is none, and on a standby.
- checkpoint_size, checkpoint_at: how many events the newest checkpoint covers, and when it was
  signed; NULL if there is none.
- cosigned_size, cosigned_at: the same of the newest checkpoint that a witness cosigned; the time is
  the witness''s.
- uncovered_since: when the oldest event was recorded that no checkpoint covers; NULL if there is
  none, or if there is no checkpoint. Nothing shows that such an event was deleted.
- node, shards: the address of this node and how many shards of events it has, if the log is
  distributed; NULL otherwise.
- log_id: the log''s identity; NULL if it has none yet.
- segments: how many segments hold events.
- hot_events: how many events are in immutable.events itself, by the planner''s statistics.
- problems: what is wrong and what to do about it; {} if nothing is.
Raises no error of its own.';

CREATE FUNCTION immutable.nodes(
  OUT node text, OUT is_here boolean, OUT answers boolean, OUT version text, OUT log_id uuid, OUT shards bigint,
  OUT estimated_events bigint, OUT total_bytes bigint, OUT last_event_at timestamptz, OUT problems text[])
RETURNS SETOF record LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 8 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  own record;
  other record;
  status jsonb;
BEGIN
  SELECT s.node, s.version, s.log_id INTO own FROM immutable.status() s;
  IF own.node IS NULL THEN
    RETURN;
  END IF;
  FOR other IN EXECUTE $q$
    SELECT r.node_name || ':' || r.node_port AS address, r.success, r.result
    FROM (SELECT array_agg(n.nodename ORDER BY n.groupid) AS names, array_agg(n.nodeport ORDER BY n.groupid) AS ports, count(*) AS n
        FROM pg_dist_node n WHERE n.noderole = 'primary' AND n.nodecluster = current_setting('citus.cluster_name')::name) a
      CROSS JOIN LATERAL master_run_on_worker(a.names, a.ports,
        array_fill('SELECT pg_catalog.to_jsonb(s) FROM immutable.status() s'::text, ARRAY[a.n::integer]), true) r
    WHERE a.n > 0$q$
  LOOP
    node := other.address;
    is_here := other.address = own.node;
    answers := other.success;
    status := CASE WHEN other.success THEN other.result::jsonb END;
    version := status ->> 'version';
    log_id := (status ->> 'log_id')::uuid;
    shards := (status ->> 'shards')::bigint;
    estimated_events := (status ->> 'estimated_events')::bigint;
    total_bytes := (status ->> 'total_bytes')::bigint;
    last_event_at := (status ->> 'last_event_at')::timestamptz;
    problems := CASE WHEN other.success
      THEN ARRAY(SELECT p.problem FROM jsonb_array_elements_text(status -> 'problems') WITH ORDINALITY p(problem, n) ORDER BY p.n)
      ELSE ARRAY['the node does not answer: ' || btrim(other.result)] END;
    IF version <> own.version THEN
      problems := format('the node has version %s of the extension, and %s has %s: install the same library on every node, and run ALTER EXTENSION immutable UPDATE on the coordinator',
        version, own.node, own.version) || problems;
    END IF;
    IF log_id <> own.log_id THEN
      problems := format('the node has the identity of another log than %s: call verify_chain()', own.node) || problems;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION immutable.nodes() IS
'Returns the state of every node of a distributed log, from any node of it.
It asks immutable.status() of each, at the same time.
- node: the address that the cluster has for it.
- is_here, answers: whether it is the node that is asked, and whether it has answered.
- version, log_id, shards, estimated_events, total_bytes, last_event_at, problems: as status() says
  them on that node. A problem is also another version or identity than on the node that is asked, and
  that the node does not answer.
Returns no row if the log is not distributed.
Raises 42501 for a role that may not call status().';
