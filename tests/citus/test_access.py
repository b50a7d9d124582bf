"""Who may see and record what, from every node of a distributed log: grants, viewer tokens, and their keys."""

import json
import re
import uuid

import jwt
import psycopg
import pytest
from helpers_access import import_key, token
from nodes import COORDINATOR, SPARE, WORKERS, Distributed

NODES = (COORDINATOR, *WORKERS)
INSERT = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'x.y')"
SHARED = ("viewer_keys", "revocations", "tenant_grants")
COUNT = "SELECT count(*) FROM immutable.events"


def copy_of(log, table):
    (name, _), *_ = log.shards(table).items()
    return name


def on_each(log, statement, parameters=None, nodes=NODES):
    found = []
    for node in nodes:
        with log.on_node(node) as conn:
            done = conn.execute(statement, parameters)
            found.append(done.fetchall() if done.description else [])
    return found


def memberships(log, role, group):
    return [rows[0][0] for rows in on_each(log, "SELECT pg_has_role(%s, %s, 'member')", [role, group])]


def grants(log, role):
    return on_each(log, f"SELECT mode, tenant_id, role_oid = %s::regrole FROM {copy_of(log, 'tenant_grants')} WHERE role = %s ORDER BY mode", [role, role])


def refused(error, call, *arguments, match=None):
    with pytest.raises(error, match=match) as raised:
        call(*arguments)
    return raised.value.diag


def seen(conn, viewer_token, statement=COUNT, propagate=True, parameters=None):
    """What a viewer sees with a token, in a transaction that passes it on to the nodes."""
    with conn.transaction():
        if propagate:
            conn.execute("SET LOCAL citus.propagate_set_commands = 'local'")
        conn.execute(f"SET LOCAL immutable.viewer_token = '{viewer_token}'")
        return conn.execute(statement, parameters).fetchone()[0]


def make_token(conn, tenant, actor=None):
    return conn.execute("SELECT immutable.create_viewer_token(%s, %s) ->> 'token'", [tenant, actor]).fetchone()[0]


@pytest.fixture
def nodes_log(nodes):
    """A log that is not distributed yet."""
    log = Distributed(nodes, distribute=False)
    yield log
    log.close()


@pytest.fixture(scope="module")
def tenants(shared):
    """Two tenants on each worker; each has three events of three actors."""
    names = shared.tenants_on(1, 2) + shared.tenants_on(2, 2)
    for tenant in names:
        for actor in ("u1", "u2", "u3"):
            shared.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES (%s, %s, 'x.y', '[{\"type\": \"t\"}]')", [tenant, actor])
    return names


@pytest.fixture(scope="module")
def others(shared):
    """Tenants to write to, two on each worker."""
    return shared.tenants_on(1, 2, 1000) + shared.tenants_on(2, 2, 1000)


def test_each_node_has_a_copy_and_they_begin_with_the_same_key(shared):
    for table in SHARED:
        copies = on_each(shared, f"SELECT to_regclass('{copy_of(shared, table)}') IS NOT NULL")
        assert copies == [[(True,)]] * 3
    keys = on_each(shared, f"SELECT secret FROM {copy_of(shared, 'viewer_keys')} WHERE accept_until IS NULL")
    assert len(keys[0]) == 1 and keys == [keys[0]] * 3
    assert len({conn_keys[0][0] for conn_keys in keys}) == 1


def test_a_grant_reaches_every_node(shared, tenants, entry):
    role = shared.create_role()
    conn = shared.connect(node=entry)
    for mode, group in (("read", "immutable_viewer"), ("write", "immutable_writer")):
        conn.execute("SELECT immutable.grant_tenant(%s, %s, %s)", [role, tenants[0], mode])
        assert memberships(shared, role, group) == [True] * 3
    assert grants(shared, role) == [[("read", tenants[0], True), ("write", tenants[0], True)]] * 3
    # In place of the first one, in a function, and as somebody else.
    conn.execute(f"DO $$ BEGIN PERFORM immutable.grant_tenant('{role}', '{tenants[1]}'); END $$")
    assert [rows[0][1] for rows in grants(shared, role)] == [tenants[1]] * 3
    for mode, group in (("read", "immutable_viewer"), ("write", "immutable_writer")):
        conn.execute("SELECT immutable.revoke_tenant(%s, %s)", [role, mode])
        assert memberships(shared, role, group) == [False] * 3
    assert grants(shared, role) == [[]] * 3
    with pytest.raises(psycopg.errors.UndefinedObject):
        conn.execute("SELECT immutable.revoke_tenant(%s)", [role])
    by = shared.conn.execute("SELECT actor_id, count(*) FROM immutable.events WHERE tenant_id = '' AND resource_id = %s GROUP BY 1", [role]).fetchall()
    assert by == [("postgres", 5)]


def test_a_bound_reader_finds_its_events_by_every_function(shared, tenants, entry):
    """At the shard, where these functions run, the role is bound too."""
    own = tenants[0]
    role = shared.create_role()
    shared.conn.execute("SELECT immutable.grant_tenant(%s, %s)", [role, own])
    conn = shared.connect(role, node=entry)
    ids = [event for event, in conn.execute("SELECT event_id FROM immutable.activity").fetchall()]
    assert ids
    page = conn.execute("SELECT immutable.get_events(\"limit\" => 100)").fetchone()[0]
    assert page["pagination"]["total"] == len(page["data"]) == len(ids)
    assert {event["tenant_id"] for event in page["data"]} == {own}
    assert len(conn.execute("SELECT FROM immutable.find_events(\"limit\" => 100)").fetchall()) == len(ids)
    assert len(conn.execute("SELECT immutable.changes(%s)", [own]).fetchone()[0]["data"]) == len(ids)
    for given in ((ids[0], None), (ids[0], own)):
        assert conn.execute("SELECT immutable.get_event(%s, %s)", given).fetchone()[0]["data"]["id"] == str(ids[0])
    assert conn.execute("SELECT immutable.get_events(tenant_id => %s)", [tenants[1]]).fetchone()[0]["data"] == []


def test_what_is_rolled_back_is_undone_on_every_node(shared, tenants, entry):
    role = shared.create_role()
    conn = shared.connect(node=entry)
    keys = on_each(shared, f"SELECT key_id, accept_until FROM {copy_of(shared, 'viewer_keys')} ORDER BY 1")
    before = make_token(conn, tenants[0])
    with conn.transaction(force_rollback=True):
        conn.execute("SELECT immutable.grant_tenant(%s, %s, 'write')", [role, tenants[0]])
        conn.execute("SELECT immutable.revoke_viewer_tokens(%s)", [tenants[0]])
        conn.execute("SELECT immutable.rotate_viewer_key(true)")
    with conn.transaction():
        with conn.transaction(force_rollback=True):
            conn.execute("SELECT immutable.grant_tenant(%s, %s, 'write')", [role, tenants[0]])
        conn.execute("SELECT immutable.grant_tenant(%s, %s, 'read')", [role, tenants[1]])
    assert grants(shared, role) == [[("read", tenants[1], True)]] * 3
    assert memberships(shared, role, "immutable_writer") == [False] * 3
    assert on_each(shared, f"SELECT key_id, accept_until FROM {copy_of(shared, 'viewer_keys')} ORDER BY 1") == keys
    viewer = shared.create_role(groups=["immutable_viewer"])
    for node in NODES:
        assert seen(shared.connect(viewer, node=node), before) == 3


def test_a_bound_writer_records_for_its_tenant_alone(shared, others, entry):
    own, *others = others
    writer = shared.create_role()
    shared.conn.execute("SELECT immutable.grant_tenant(%s, %s, 'write')", [writer, own])
    conn = shared.connect(writer, node=entry)
    before = shared.conn.execute(COUNT + " WHERE tenant_id = ANY (%s)", [others]).fetchone()
    conn.execute(INSERT, [own])
    conn.execute("SET immutable.tenant_id = ''")
    many = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'x.y'), (%s, 'a', 'x.y')"
    prepared = "EXECUTE one({})"
    conn.execute("PREPARE one(text) AS " + INSERT.replace("%s", "$1"))
    for other in (*others, ""):
        for attack in (lambda: conn.execute(INSERT, [other]),
                       lambda: conn.execute(many, [own, other]),
                       lambda: conn.execute(INSERT + " ON CONFLICT DO NOTHING", [other]),
                       lambda: conn.execute(INSERT + " RETURNING id", [other]),
                       lambda: conn.execute(psycopg.sql.SQL(prepared).format(other)),
                       lambda: conn.execute("SELECT immutable.track(jsonb_build_object('tenant_id', %s::text, 'actor_id', 'a', 'action', 'x.y'))", [other]),
                       lambda: conn.execute(f"DO $$ BEGIN INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('{other}', 'a', 'x.y'); END $$")):
            assert "cannot record for another tenant" in refused(psycopg.errors.InsufficientPrivilege, attack).message_primary
        batch = conn.execute("SELECT immutable.track_batch(%s::text)", [json.dumps([{"tenant_id": tenant, "actor_id": "a", "action": "x.y"} for tenant in (own, other)])]).fetchone()[0]
        assert [event.get("error", {}).get("code") for event in batch["events"]] == [None, "42501"]
    assert shared.conn.execute(COUNT + " WHERE tenant_id = ANY (%s)", [others]).fetchone() == before
    # A member of the role is held like it, also as a role that it may become.
    member = shared.create_role(groups=[writer])
    with shared.on_node(entry, member) as conn:
        refused(psycopg.errors.InsufficientPrivilege, conn.execute, INSERT, [others[0]])
        conn.execute(INSERT, [own])


@pytest.mark.parametrize("app", ["psql", "citus_internal gpid=10000000001", "citus_run_command gpid=10000000001"])
def test_what_runs_at_the_shard_knows_who_is_bound(shared, others, entry, app):
    """Each call is the first of its session: nothing of the shared tables was looked up before."""
    own, *rest = others
    writer = shared.create_role()
    shared.conn.execute("SELECT immutable.grant_tenant(%s, %s, 'write')", [writer, own])
    before = shared.conn.execute(COUNT + " WHERE tenant_id = ANY (%s)", [rest]).fetchone()
    for other in rest:
        events = json.dumps([{"tenant_id": other, "actor_id": "a", "action": "x.y"}])
        by_hand = "immutable.shard_track(0, '{0}', '{1}', 'error', '{{}}')", "immutable.shard_track_batch(0, '{0}', ARRAY['{1}'], '{{}}')"
        for call in (f"immutable.track_batch('{events}'::text)", *(text.format(other, events[1:-1]) for text in by_hand)):
            for node in {entry, shared.shard_of(other)[1]}:
                with psycopg.connect(shared.nodes[node].dsn(shared.name, writer), application_name=app, autocommit=True) as conn:
                    try:
                        answer = str(conn.execute(f"SELECT {call}").fetchone()[0])
                    except psycopg.Error as error:
                        answer = error.sqlstate
                    # Some are refused for another reason, such as that the shard is on another node.
                    assert not re.search("status.{1,5}recorded", answer), (call, node)
    assert shared.conn.execute(COUNT + " WHERE tenant_id = ANY (%s)", [rest]).fetchone() == before
    with psycopg.connect(shared.nodes[entry].dsn(shared.name, writer), autocommit=True) as conn:
        events = json.dumps([{"tenant_id": own, "actor_id": "a", "action": "x.y"}])
        assert conn.execute("SELECT immutable.track_batch(%s::text) -> 'events' -> 0 ->> 'status'", [events]).fetchone() == ("recorded",)


def test_a_bound_reader_calls_the_functions_that_read(shared, tenants, entry):
    own, other = tenants[0], tenants[-1]
    reader = shared.create_role()
    shared.conn.execute("SELECT immutable.grant_tenant(%s, %s)", [reader, own])
    for statement in ("SELECT jsonb_array_length(immutable.get_events(tenant_id => %s) -> 'data')", "SELECT count(*) FROM immutable.find_events(tenant_id => %s)"):
        with shared.on_node(entry, reader) as conn:
            assert conn.execute(statement, [own]).fetchone() == (3,)
            assert conn.execute(statement, [other]).fetchone() == (0,)


def test_nobody_locks_the_table_that_every_statement_asks(shared, tenants, entry):
    """A lock that excludes readers would make every reader and writer of the log wait."""
    for group in ("writer", "server", "viewer", "auditor", "eraser"):
        conn = shared.connect(shared.create_role(groups=[f"immutable_{group}"]), node=entry)
        for mode in ("ACCESS EXCLUSIVE", "EXCLUSIVE", "SHARE"):
            for table in ("placement", "events", "event_targets", *SHARED):
                refused(psycopg.errors.InsufficientPrivilege, conn.execute, f"BEGIN; LOCK TABLE immutable.{table} IN {mode} MODE")
                conn.execute("ROLLBACK")
        number = shared.shard_of(tenants[0], "placement")[0].rpartition("_")[2]
        refused(psycopg.errors.InsufficientPrivilege, conn.execute, f"SELECT lock_shard_resources(7, ARRAY[{number}])")
    with shared.on_node(entry) as conn, conn.transaction():
        conn.execute(f"SET LOCAL ROLE {shared.create_role(groups=['immutable_writer'])}")
        conn.execute("INSERT INTO immutable.placement (tenant_id) VALUES ('t1')")
    assert shared.conn.execute("SELECT count(*) FROM immutable.placement").fetchone() == (0,)


def test_neither_set_role_nor_a_lent_right_lifts_a_binding(shared, others, entry):
    own, *rest = others
    bound, unbound = shared.create_role(), shared.create_role(groups=["immutable_writer"])
    shared.conn.execute(f"GRANT {unbound} TO {bound}")
    shared.conn.execute("SELECT immutable.grant_tenant(%s, %s, 'write')", [bound, own])
    name = f"lent_{bound}"
    shared.conn.execute(f"""
        CREATE FUNCTION public.{name}(t text) RETURNS void LANGUAGE sql SECURITY DEFINER AS
          $$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (t, 'a', 'x.y')$$;
        CREATE FUNCTION public.{name}_track(t text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
          $$BEGIN PERFORM immutable.track(jsonb_build_object('tenant_id', t, 'actor_id', 'a', 'action', 'x.y')); END$$;
        CREATE FUNCTION public.{name}_batch(t text) RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS
          $$SELECT immutable.track_batch(jsonb_build_array(jsonb_build_object('tenant_id', t, 'actor_id', 'a', 'action', 'x.y')))$$;
        CREATE FUNCTION public.{name}_given(t text) RETURNS void LANGUAGE sql SECURITY DEFINER AS
          $$INSERT INTO immutable.events (tenant_id, actor_id, action, recorded_by) VALUES (t, 'a', 'x.y', NULL)$$;
        CREATE FUNCTION public.{name}_query(t text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
          $$BEGIN INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT t, 'a', 'x.y' FROM generate_series(1, 2) n; END$$;
    """)
    conn = shared.connect(bound, node=entry)
    lent = [f"SELECT public.{name}{suffix}(%s)" for suffix in ("", "_track", "_query")]
    for tenant in rest:
        before = shared.conn.execute(COUNT + " WHERE tenant_id = %s", [tenant]).fetchone()
        for call in (*lent, f"SELECT public.{name}_given(%s)"):
            # Citus loses the code of an error in a COPY, which an INSERT … SELECT is for it.
            refused((psycopg.errors.InsufficientPrivilege, psycopg.errors.InternalError_), conn.execute, call, [tenant],
                    match="cannot record for another tenant|cannot see which roles")
        answer = conn.execute(f"SELECT public.{name}_batch(%s)", [tenant]).fetchone()[0]
        assert answer["events"][0]["error"]["code"] == "42501"
        conn.execute(f"SET ROLE {unbound}")
        for attack in (INSERT, "INSERT INTO immutable.events (tenant_id, actor_id, action, recorded_by) VALUES (%s, 'a', 'x.y', NULL)",
                       "INSERT INTO immutable.events (tenant_id, actor_id, action, recorded_by) VALUES (%s, 'a', 'x.y', immutable.client_roles())",
                       "SELECT immutable.track(jsonb_build_object('tenant_id', %s::text, 'actor_id', 'a', 'action', 'x.y'))",
                       "SELECT a.* FROM (SELECT count(*) AS here FROM immutable.placement WHERE tenant_id = %s) p CROSS JOIN LATERAL "
                       "immutable.shard_track(p.here, '" + tenant + "', '{\"tenant_id\": \"" + tenant + "\", \"actor_id\": \"a\", \"action\": \"x.y\"}', 'error', '{}') a"):
            refused(psycopg.errors.InsufficientPrivilege, conn.execute, attack, [tenant])
        # Sessions that Citus opens for whoever asks it.
        for run in ("run_command_on_workers", "run_command_on_all_nodes"):
            conn.execute(f"SELECT {run}(%s)", [f"INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('{tenant}', 'a', 'x.y')"])
            conn.execute(f"SELECT {run}(%s)", [f"INSERT INTO {shared.shard_of(tenant)[0]} (tenant_id, actor_id, action) VALUES ('{tenant}', 'a', 'x.y')"])
        conn.execute("RESET ROLE")
        assert shared.conn.execute(COUNT + " WHERE tenant_id = %s", [tenant]).fetchone() == before
    for call in lent:
        conn.execute(call, [own])
    conn.execute(f"SET ROLE {unbound}")
    conn.execute(INSERT, [own])
    # Whoever is not bound is held by nothing, in the same ways, and writes recorded_by as little as before.
    with shared.on_node(entry, unbound) as free:
        for tenant in others:
            free.execute(INSERT, [tenant])
            free.execute("SELECT immutable.track(jsonb_build_object('tenant_id', %s::text, 'actor_id', 'a', 'action', 'x.y'))", [tenant])
            assert free.execute(INSERT + " RETURNING recorded_by", [tenant]).fetchone()[0] == unbound
        with pytest.raises(psycopg.errors.GeneratedAlways):
            free.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, recorded_by) VALUES (%s, 'a', 'x.y', 'somebody')", [own])


def test_a_seal_is_good_for_the_role_that_it_names_and_not_for_long(shared, others, entry):
    """As whoever has read another's, among the statements of a node."""
    first, second = (shared.create_role(groups=["immutable_writer"]) for _ in range(2))
    shared.conn.execute("SELECT immutable.grant_tenant(%s, %s, 'write')", [shared.create_role(), others[0]])
    seals = {role: shared.connect(role, node=entry).execute("SELECT immutable.client_roles()").fetchone()[0] for role in (first, second)}
    conn = shared.connect(first, node=entry)
    sealed = "INSERT INTO immutable.events (tenant_id, actor_id, action, recorded_by) VALUES (%s, 'a', 'x.y', %s)"
    away = next(tenant for tenant in others if shared.shard_of(tenant)[1] != entry)
    conn.execute(sealed, [away, seals[first]])
    prefix, at, rest = seals[first].split(":", 2)
    for forged in (seals[second], seals[first][:-2] + "xx", f"{prefix}:{int(at) + 5}:{rest}", "roles:", "roles:1:2:3:4:5", f"{prefix}:9999999999999999999:{rest}"):
        refused(psycopg.errors.InsufficientPrivilege, conn.execute, sealed, [away, forged])
    # It shows names alone, and its caller's.
    assert [bytes.fromhex(name).decode() for name in rest.split(":")[:3]] == [first] * 3


def test_a_bound_reader_sees_its_tenant_from_every_node(shared, tenants, entry):
    for own in (tenants[0], tenants[2]):
        reader = shared.create_role()
        shared.connect(node=entry).execute("SELECT immutable.grant_tenant(%s, %s)", [reader, own])
        for node in NODES:
            conn = shared.connect(reader, node=node)
            assert conn.execute("SELECT array_agg(DISTINCT tenant_id), count(*) FROM immutable.events").fetchone() == ([own], 3)
            assert conn.execute("SELECT count(*) FROM immutable.event_targets").fetchone()[0] == 3
            assert conn.execute("SELECT count(*) FROM immutable.activity WHERE tenant_id <> %s", [own]).fetchone()[0] == 0
            assert conn.execute(COUNT + " WHERE tenant_id = %s", [tenants[1]]).fetchone()[0] == 0
            # What runs at the shard knows the grant as well.
            for asked in tenants:
                page = conn.execute("SELECT immutable.get_events(tenant_id => %s)", [asked]).fetchone()[0]
                assert {event["tenant_id"] for event in page["data"]} == ({own} if asked == own else set())


def test_a_token_of_any_node_is_good_on_every_node(shared, tenants, entry):
    viewer = shared.create_role(groups=["immutable_viewer"])
    issuer = shared.connect(node=entry)
    conns = [shared.connect(viewer, node=node) for node in NODES]
    for tenant in tenants:
        whole, one = make_token(issuer, tenant), make_token(issuer, tenant, "u2")
        for conn in conns:
            assert seen(conn, whole, "SELECT array_agg(DISTINCT tenant_id ORDER BY tenant_id) FROM immutable.events") == [tenant]
            assert seen(conn, whole) == 3 and seen(conn, one) == 1
            assert seen(conn, one, "SELECT count(*) FROM immutable.event_targets") == 1
            other = tenants[tenants.index(tenant) - 1]
            assert seen(conn, whole, COUNT + " WHERE tenant_id = %s", parameters=[other]) == 0
    for bad in (whole[:-3] + "abc", token(tenant_id=tenants[0])):
        for conn in conns:
            refused(psycopg.errors.InvalidAuthorizationSpecification, seen, conn, bad)


def test_a_token_that_stays_where_the_client_is_gives_an_error(shared, tenants, others, entry):
    """Not 0 rows, which would be wrong."""
    viewer = shared.create_role(groups=["immutable_viewer"])
    issued = make_token(shared.conn, tenants[0])
    conn = shared.connect(viewer, node=entry)
    hint = "citus.propagate_set_commands"
    assert hint in refused(psycopg.errors.InvalidAuthorizationSpecification, seen, conn, issued, COUNT, False).message_hint
    conn.execute("SELECT set_config('immutable.viewer_token', %s, false)", [issued])
    assert hint in refused(psycopg.errors.InvalidAuthorizationSpecification, conn.execute, COUNT).message_hint
    conn.execute("RESET immutable.viewer_token")
    conn.execute("SELECT set_config('request.headers', %s, false)", [json.dumps({"authorization": f"Bearer {issued}"})])
    refused(psycopg.errors.InvalidAuthorizationSpecification, conn.execute, COUNT)
    # A role that also writes reads what it has written.
    both = shared.create_role(groups=["immutable_viewer", "immutable_writer"])
    with shared.on_node(entry, both) as conn:
        for tenant in others:
            assert conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'both', 'x.y') RETURNING actor_id", [tenant]).fetchone()[0] == "both"
    # Whoever pretends to be Citus sees no more for it.
    with shared.on_node(1, viewer) as conn:
        conn.execute("SET application_name = 'citus_internal gpid=10000000001'")
        for shard in [name for name, node in shared.shards().items() if node == 1]:
            with pytest.raises(psycopg.Error):
                assert conn.execute(f"SELECT count(*) FROM {shard}").fetchone()[0] == 0
                raise psycopg.Error


def test_what_is_revoked_is_refused_on_every_other_node_at_once(shared, tenants, entry):
    viewer = shared.create_role(groups=["immutable_viewer"])
    conns = [shared.connect(viewer, node=node) for node in NODES]
    admin = shared.connect(node=entry)
    tenant = tenants[3]
    one, other, of_actor = make_token(admin, tenant), make_token(shared.conn, tenant), make_token(shared.conn, tenant, "u1")
    assert [seen(conn, one) > 0 and seen(conn, other) > 0 for conn in conns] == [True] * 3

    def is_refused(given):
        for conn in conns:
            refused(psycopg.errors.InvalidAuthorizationSpecification, seen, conn, given, match="revoked")

    admin.execute("SELECT immutable.revoke_viewer_token(%s)", [one])
    is_refused(one)
    admin.execute("SELECT immutable.revoke_viewer_tokens(%s, 'u1')", [tenant])
    is_refused(of_actor)
    assert [seen(conn, other) > 0 for conn in conns] == [True] * 3
    for _ in range(2):
        admin.execute("SELECT immutable.revoke_viewer_tokens(%s)", [tenant])
    is_refused(other)
    by = on_each(shared, f"SELECT revoked_by FROM {copy_of(shared, 'revocations')} WHERE tenant_id = %s AND actor_id IS NULL", [tenant])
    assert by == [[("postgres",)]] * 3
    # Issued afterwards, it counts again.
    assert seen(conns[0], make_token(shared.conn, tenant)) > 0


def test_keys_are_rotated_and_imported_on_every_node(shared, entry):
    log = shared
    tenants = [shared.tenants_on(node, 1, 2000 + 50 * entry)[0] for node in WORKERS]
    for tenant in tenants:
        log.conn.execute(INSERT, [tenant])
    viewer = log.create_role(groups=["immutable_viewer"])
    conns = [log.connect(viewer, node=node) for node in NODES]
    admin = log.connect(node=entry)
    old = make_token(admin, tenants[0])
    admin.execute("SELECT immutable.rotate_viewer_key()")
    new = make_token(log.conn, tenants[1])
    assert [(seen(conn, old), seen(conn, new)) for conn in conns] == [(1, 1)] * 3
    secret = f"secret {uuid.uuid4()} of a gateway"
    import_key(admin, secret)
    ours = token(secret, tenant_id=tenants[0])
    assert [(seen(conn, old), seen(conn, new), seen(conn, ours)) for conn in conns] == [(1, 1, 1)] * 3
    assert [rows for rows in on_each(log, f"SELECT count(*) FROM {copy_of(log, 'viewer_keys')} WHERE imported AND secret = convert_to(%s, 'UTF8')", [secret])] == [[(1,)]] * 3
    admin.execute("SELECT immutable.rotate_viewer_key(true)")
    for conn in conns:
        for given in (old, new, ours):
            refused(psycopg.errors.InvalidAuthorizationSpecification, seen, conn, given)
    assert [seen(conn, make_token(admin, tenants[0])) for conn in conns] == [1] * 3


def test_no_secret_is_in_a_log_or_a_statement_of_any_node(shared):
    """With everything logged that PostgreSQL can log."""
    log = shared
    for node in log.nodes:
        with node.connect() as conn:
            for setting in ("log_statement = 'all'", "log_min_duration_statement = 0", "log_parameter_max_length = -1", "debug_print_plan = off", "log_error_verbosity = 'verbose'"):
                conn.execute(f"ALTER DATABASE {log.name} SET {setting}")
    imported = [f"secret {uuid.uuid4()} imported" for _ in NODES]
    secrets, activity = set(), []
    for node, secret in zip(NODES, imported):
        admin = log.connect(node=node)
        admin.execute("SELECT immutable.create_viewer_token('t')")
        admin.execute("SELECT immutable.rotate_viewer_key()")
        import_key(admin, secret)
        with admin.transaction():
            admin.execute("SELECT immutable.rotate_viewer_key()")
            activity += on_each(log, "SELECT query FROM pg_stat_activity WHERE datname = current_database()")
    for rows in on_each(log, f"SELECT encode(secret, 'hex'), encode(secret, 'base64') FROM {copy_of(log, 'viewer_keys')}"):
        assert len(rows) >= 10
        secrets |= {text for row in rows for text in row}
    secrets |= {*imported, *(secret.encode().hex() for secret in imported)}
    said = "\n".join([str(activity), *(node.log.read_text(errors="replace") for node in log.nodes)])
    assert said.count("COPY immutable.viewer_keys") >= 9
    assert [secret for secret in secrets if secret in said] == []


def test_the_parts_are_not_for_others(shared, entry):
    writer = shared.create_role(groups=["immutable_writer", "immutable_viewer"])
    conn = shared.connect(writer, node=entry)
    for call in ("SELECT * FROM immutable.new_viewer_key()", "SELECT immutable.share_access()",
                 "SELECT immutable.grant_tenant(current_user, 'x')", "TABLE immutable.tenant_grants", "TABLE immutable.viewer_keys"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(call)
    with shared.on_node(1, writer) as conn:
        for table in SHARED:
            for attack in ("TABLE {}", "DELETE FROM {}", "INSERT INTO {} DEFAULT VALUES"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(attack.format(copy_of(shared, table)))
    for node in NODES:
        refused(psycopg.errors.FeatureNotSupported, shared.connect(node=node).execute, "SELECT immutable.create_api_key('k')")


def test_a_dropped_role_leaves_no_grant_to_its_successor(shared, tenants, entry):
    role = shared.create_role()
    conn = shared.connect(node=entry)
    for mode in ("read", "write"):
        conn.execute("SELECT immutable.grant_tenant(%s, %s, %s)", [role, tenants[0], mode])
    shared.conn.execute(f"DROP ROLE {role}")
    shared.conn.execute(f"CREATE ROLE {role} LOGIN IN ROLE immutable_viewer, immutable_writer")
    for node in NODES:
        with shared.on_node(node, role) as other:
            with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
                assert other.execute(COUNT).fetchone() == (0,)
                raise psycopg.errors.InvalidAuthorizationSpecification
            # A binding is no right, and stays.
            refused(psycopg.errors.InsufficientPrivilege, other.execute, INSERT, [tenants[1]])
    shared.conn.execute("SELECT immutable.distribute()")
    assert grants(shared, role) == [[("read", tenants[0], False), ("write", tenants[0], False)]] * 3
    conn.execute("SELECT immutable.revoke_tenant(%s, 'write')", [role])


def test_a_node_that_is_added_refuses_until_it_knows_the_roles(log):
    tenant, other = log.tenants_on(1)[0], log.tenants_on(2)[0]
    bound, renamed, reader, free = (log.create_role() for _ in range(4))
    log.conn.execute(f"GRANT immutable_writer TO {free}")
    for role, mode in ((bound, "write"), (renamed, "write"), (reader, "read")):
        log.conn.execute("SELECT immutable.grant_tenant(%s, %s, %s)", [role, tenant, mode])
    # Citus does not pass a new name on.
    on_each(log, f"ALTER ROLE {renamed} RENAME TO {renamed}_new")
    log.roles.append(f"{renamed}_new")
    log.conn.execute(INSERT, [tenant])
    # On the new node, roles have other OIDs.
    with log.nodes[SPARE].connect() as conn:
        for n in range(5):
            conn.execute(f"CREATE ROLE {log.name}_shift_{n}")
            log.roles.append(f"{log.name}_shift_{n}")
    issued = make_token(log.conn, tenant)
    log.add(SPARE)
    (shard, _), (source, target) = log.shard_of(tenant), (log.address(1), log.address(SPARE))
    number = int(shard.rsplit("_", 1)[1])
    # Citus moves no shard to a node that lacks these tables.
    move = "SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, 'block_writes')"
    refused(psycopg.Error, log.conn.execute, move, [number, *source, *target], match="missing reference tables")
    log.conn.execute("SELECT replicate_reference_tables('block_writes')")
    log.conn.execute("SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, 'block_writes')", [number, *source, *target])
    viewer = log.create_role(groups=["immutable_viewer"])
    for node in (COORDINATOR, 1, SPARE):
        for writer in (bound, f"{renamed}_new", free):
            diag = refused(psycopg.errors.ObjectNotInPrerequisiteState, log.connect(writer, node=node).execute, INSERT, [tenant])
            assert "immutable.distribute()" in diag.message_hint
        diag = refused(psycopg.errors.ObjectNotInPrerequisiteState, log.connect(reader, node=node).execute, COUNT + " WHERE tenant_id = %s", [tenant])
        assert "immutable.distribute()" in diag.message_hint
        assert seen(log.connect(viewer, node=node), issued) == 1
    log.conn.execute("SELECT immutable.distribute()")
    for node in (COORDINATOR, 1, SPARE):
        for writer in (bound, f"{renamed}_new"):
            conn = log.connect(writer, node=node)
            conn.execute(INSERT, [tenant])
            refused(psycopg.errors.InsufficientPrivilege, conn.execute, INSERT, [other])
        log.connect(free, node=node).execute(INSERT, [tenant])
        assert log.connect(reader, node=node).execute("SELECT count(DISTINCT tenant_id) FROM immutable.events").fetchone()[0] == 1
    # A new name that the coordinator alone has frees nobody on the others.
    log.conn.execute(f"ALTER ROLE {bound} RENAME TO {bound}_new")
    log.roles.append(f"{bound}_new")
    log.conn.execute("SELECT immutable.distribute()")
    for node in (1, SPARE):
        conn = log.connect(bound, node=node)
        conn.execute(INSERT, [tenant])
        refused(psycopg.errors.InsufficientPrivilege, conn.execute, INSERT, [other])
    # Grants that are given there reach all.
    late = log.create_role()
    log.connect(node=SPARE).execute("SELECT immutable.grant_tenant(%s, %s, 'write')", [late, other])
    for node in (*NODES, SPARE):
        refused(psycopg.errors.InsufficientPrivilege, log.connect(late, node=node).execute, INSERT, [tenant])


@pytest.mark.parametrize("table", SHARED)
def test_a_node_without_a_copy_refuses(shared, tenants, table):
    tenant = tenants[0]
    writer, viewer = shared.create_role(groups=["immutable_writer"]), shared.create_role(groups=["immutable_viewer"])
    issued = make_token(shared.conn, tenant)
    copy = copy_of(shared, table)
    with shared.on_node(1) as conn:
        conn.execute("SET immutable.allow_ddl = on; SET session_replication_role = replica")
        conn.execute("SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on")
        conn.execute(f"ALTER TABLE {copy} RENAME TO lost")
        try:
            calls = [lambda node=node: seen(shared.connect(viewer, node=node), issued) for node in NODES]
            if table == "tenant_grants":
                calls = [lambda node=node: shared.connect(writer, node=node).execute(INSERT, [tenant]) for node in NODES]
                calls.append(lambda: shared.connect(viewer, node=1).execute(COUNT))
            for call in calls:
                diag = refused(psycopg.errors.ObjectNotInPrerequisiteState, call, match="no copy")
                assert "immutable.distribute()" in diag.message_hint
        finally:
            conn.execute(f"ALTER TABLE immutable.lost RENAME TO {copy.split('.')[1]}")


def test_grants_and_revocations_from_before_are_on_every_node(nodes_log):
    log = nodes_log
    reader, writer, old = (log.create_role() for _ in range(3))
    tenant, other = "t1", "t2"
    viewer = log.create_role(groups=["immutable_viewer"])
    issued, kept = make_token(log.conn, tenant), make_token(log.conn, other)
    # Without an event, as a dump has them.
    jti = jwt.decode(issued, options={"verify_signature": False})["jti"]
    log.conn.execute("INSERT INTO immutable.revocations (jti, revoked_at, forget_at, revoked_by) VALUES (%s, now(), now() + interval '1 day', 'postgres')", [jti])
    for role, mode in ((reader, "read"), (writer, "write"), (old, "read")):
        log.conn.execute("INSERT INTO immutable.tenant_grants VALUES (%s, %s, %s, 0, now(), 'postgres')", [role, mode, tenant])
        log.conn.execute(f"GRANT immutable_viewer, immutable_writer TO {role}")
    log.conn.execute(f"ALTER ROLE {old} RENAME TO {old}_new")
    log.conn.execute(f"CREATE ROLE {old} LOGIN IN ROLE immutable_viewer, immutable_writer")
    log.roles.append(f"{old}_new")
    with log.conn.transaction(force_rollback=True):
        log.conn.execute("INSERT INTO immutable.api_keys VALUES (gen_random_uuid(), 'k', '', '', '{read}', NULL, NULL, NULL, now(), 'x')")
        with pytest.raises(psycopg.Error, match="API keys"):
            log.conn.execute("SELECT immutable.distribute()")
    log.conn.execute("SELECT immutable.distribute()")
    for name in (tenant, other):
        log.conn.execute(INSERT, [name])
    for node in NODES:
        conn = log.connect(viewer, node=node)
        refused(psycopg.errors.InvalidAuthorizationSpecification, seen, conn, issued, match="revoked")
        assert seen(conn, kept) == 1
        assert log.connect(reader, node=node).execute("SELECT array_agg(tenant_id) FROM immutable.events").fetchone()[0] == [tenant]
        refused(psycopg.errors.InsufficientPrivilege, log.connect(writer, node=node).execute, INSERT, [other])
        assert log.connect(old, node=node).execute(COUNT).fetchone()[0] == 0
    dumped = log.nodes[COORDINATOR].run("pg_dump", "--data-only", log.name).stdout
    assert re.search(rf"^{writer}\twrite\t{tenant}\t", dumped, re.M) and re.search(rf"^{reader}\tread\t{tenant}\t", dumped, re.M)
    assert re.search(rf"COPY immutable\.revocations .*\n{jti}\t", dumped)
    assert "COPY immutable.viewer_keys" not in dumped
