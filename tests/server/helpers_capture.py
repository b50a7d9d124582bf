"""Tracked tables, and what was recorded of their changes."""

from helpers_servers import rows, wait_for

BALANCE = "CREATE TABLE account (id bigint PRIMARY KEY, tenant text NOT NULL, balance bigint NOT NULL)"


def track(conn, tenant_column="tenant"):
    """The table account, with its changes recorded."""
    conn.execute(BALANCE)
    conn.execute("SELECT immutable.track_table('account', tenant_column => %s)", [tenant_column])


def changes(conn):
    """What was recorded of it: the operation, the id, the tenant and the new balance, in order."""
    return rows(conn, """
        SELECT substr(action, 9), resource_id::bigint, tenant_id, (metadata->'balance'->>'new')::bigint
        FROM immutable.events WHERE resource_type = 'account' ORDER BY created_at, seq""")


def lanes_held(conn):
    """How many locks on lanes there are, of all sessions."""
    (count,), = rows(conn, "SELECT count(*) FROM pg_locks WHERE locktype = 'object' "
                           "AND classid = 'immutable.events'::regclass AND granted")
    return count


def wait_until_it_waits(conn, pid):
    wait_for(conn, f"SELECT coalesce((SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {pid}), false)")
