-- Events as the seeds' guide for a project management tool has them, interleaved over the tenants: what an application
-- with many customers leaves. Variables: events, tenants, part (0, 1, ...: another part of the tenants for each session).
CREATE PROCEDURE pg_temp.load(events bigint, tenants integer, part integer) LANGUAGE plpgsql AS $$
DECLARE
  batch constant integer := 5000;
  spread constant integer := least(tenants, 500);  -- chains of one transaction
BEGIN
  FOR b IN 0 .. (events + batch - 1) / batch - 1 LOOP
    INSERT INTO immutable.events
      (tenant_id, actor_id, actor_name, actor_type, action, resource_type, resource_id, session_id, targets, metadata)
    SELECT 'org_' || part || '_' || lpad(((b * spread + n % spread) % tenants)::text, 6, '0'),
           'user_' || n % 97, 'Sarah Chen', 'user',
           (ARRAY['project.created', 'task.created', 'task.member_assigned', 'task.completed'])[1 + n % 4], 
           CASE n % 4 WHEN 0 THEN 'project' ELSE 'task' END,
           CASE n % 4 WHEN 0 THEN 'proj_' || n % 41 ELSE 'task_' || b || '_' || n END,
           'sess_' || n % 1013,
           CASE n % 4
             WHEN 0 THEN '[]'
             WHEN 2 THEN jsonb_build_array(
               jsonb_build_object('type', 'project', 'id', 'proj_' || n % 41, 'name', 'Q3 Marketing Campaign'),
               jsonb_build_object('type', 'task', 'id', 'task_' || b || '_' || n, 'name', 'Design landing page mockup'),
               jsonb_build_object('type', 'user', 'id', 'user_' || n % 97, 'name', 'Marcus Rivera'))
             ELSE jsonb_build_array(
               jsonb_build_object('type', 'project', 'id', 'proj_' || n % 41, 'name', 'Q3 Marketing Campaign'),
               jsonb_build_object('type', 'task', 'id', 'task_' || b || '_' || n, 'name', 'Design landing page mockup'))
           END,
           CASE n % 4
             WHEN 0 THEN '{"visibility": "team", "template": "marketing-launch"}'::jsonb
             WHEN 1 THEN jsonb_build_object('task_title', 'Design landing page mockup', 'priority', 'high', 'due_date', '2026-04-15')
             WHEN 2 THEN jsonb_build_object('assignee_id', 'user_' || n % 97, 'assignee_name', 'Marcus Rivera')
             ELSE jsonb_build_object('time_spent_hours', 12.5)
           END
    FROM generate_series(1, least(batch, events - b::bigint * batch)) n;
    COMMIT;
  END LOOP;
END
$$;
CALL pg_temp.load(:events, :tenants, :part);
