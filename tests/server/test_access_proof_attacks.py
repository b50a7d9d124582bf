"""What an API key, a viewer token or an export ticket opens, and nothing else: every scope against every function, and a
key of the tenant `mine` against the rows of the tenant `rival`, by whoever has the server's login."""

import re
import time

import jwt
import psycopg
import pytest
from helpers_access import SECRET, import_key
from helpers_keys import SCOPES, Tenants, digest, refused, show, state

ANY = "00000000-0000-4000-8000-000000000000"
# Each function that immutable_server may call: the scope that it asks for, and a call which that scope opens. A third
# value is the SQLSTATE that the call ends with for another reason than the proof.
CALLS = {
    "track": [("write", "SELECT immutable.track('u', 'a.b')"),
              ("write", "SELECT immutable.track('{\"actor_id\": \"u\", \"action\": \"a.b\"}'::jsonb)"),
              ("write", "SELECT immutable.track('{\"actor_id\": \"u\", \"action\": \"a.b\"}'::json)")],
    "get_event": [("read", f"SELECT immutable.get_event('{ANY}')")],
    "get_events": [("read", "SELECT immutable.get_events()")],
    "page_evidence": [("read", f"SELECT immutable.page_evidence(ARRAY['{ANY}']::uuid[])")],
    "find_events": [("read", "SELECT * FROM immutable.find_events()")],
    "changes": [("read", "SELECT immutable.changes('mine')")],
    "heads": [("verify", "SELECT * FROM immutable.heads('no such tenant')")],
    "verify_chain": [("verify", "SELECT * FROM immutable.verify_chain('mine')")],
    "verify_breaks": [("verify", "SELECT * FROM immutable.verify_breaks('mine')")],
    "verify": [("verify", "SELECT immutable.verify()")],
    "recorded_late": [("verify", "SELECT * FROM immutable.recorded_late()", "55000")],
    "export_tree": [("verify", "SELECT immutable.export_tree()", "55000")],
    "tile": [("verify", "SELECT immutable.tile(0, 0)", "55000")],
    "entries": [("verify", "SELECT immutable.entries(0)", "55000")],
    "tree_head": [("verify", "SELECT immutable.tree_head()", "55000")],
    "verifier_key": [("verify", "SELECT immutable.verifier_key()", "55000")],
    "inclusion_proof": [("verify", f"SELECT immutable.inclusion_proof('{ANY}')", "P0002")],
    "consistency_proof": [("verify", "SELECT immutable.consistency_proof(0)", "55000")],
    "receipt": [("verify", f"SELECT immutable.receipt('{ANY}')", "P0002")],
    "receipt_of_line": [("verify", "SELECT immutable.receipt_of_line('x')", "22023")],
    "get_retention": [("read", "SELECT * FROM immutable.get_retention()")],
    "create_viewer_token": [("mint", "SELECT immutable.create_viewer_token('mine')")],
    "revoke_viewer_token": [("mint", "SELECT immutable.revoke_viewer_token('jti')")],
    "revoke_viewer_tokens": [("mint", "SELECT immutable.revoke_viewer_tokens('mine')")],
    "export_events": [("export", "SELECT immutable.export_events(tenant_id => 'mine')")],
    "create_export": [("export", "SELECT immutable.create_export(tenant_id => 'mine')")],
    "get_export": [("export", f"SELECT immutable.get_export('{ANY}')")],
    "export_rows": [("export", f"SELECT immutable.export_rows('{ANY}')", "P0002")],
    "erase": [("admin", f"SELECT * FROM immutable.erase('{ANY}', 'mine', ARRAY['actor_name'], 'why')", "P0002")],
    "erase_subject": [("admin", "SELECT * FROM immutable.erase_subject('mine', 'u1', 'why')"),
                      ("admin", "SELECT * FROM immutable.erase_subject('mine', ARRAY['u1'], 'why')")],
    "create_api_key": [("admin", "SELECT immutable.create_api_key('k', '{admin}')")],
    "revoke_api_key": [("admin", f"SELECT immutable.revoke_api_key('{ANY}')", "42704")],
    "list_api_keys": [("admin", "SELECT * FROM immutable.list_api_keys()")],
    "get_alerts": [("read", "SELECT immutable.get_alerts()")],
    "create_alert_rule": [("admin", "SELECT immutable.create_alert_rule('r', 'repeated_action')")],
    "update_alert_rule": [("admin", f"SELECT immutable.update_alert_rule('{ANY}', 'r')", "P0002")],
    "delete_alert_rule": [("admin", f"SELECT immutable.delete_alert_rule('{ANY}')", "P0002")],
    "get_alert_rules": [("admin", "SELECT immutable.get_alert_rules()")],
    "set_action_schema": [("admin", "SELECT immutable.set_action_schema('a')")],
    "delete_action_schema": [("admin", "SELECT immutable.delete_action_schema('a')")],
    "set_action_schema_mode": [("admin", "SELECT immutable.set_action_schema_mode('permissive')")],
    "get_action_schemas": [("read", "SELECT immutable.get_action_schemas()")],
    "unmatched_events": [("read", "SELECT * FROM immutable.unmatched_events()")],
}
# track_batch() answers for each event by itself.
BY_EVENT = {"track_batch"}
# Functions that compute with their arguments alone, and those by which policies ask for the proof.
WITHOUT_PROOF = {
    "canonical", "client_roles", "is_readable", "is_own", "is_chained", "new_id", "fold", "text_of", "day_or_time", "day_or_time_in", "day_or_time_out",
    "refuse_part_of", "require_scope", "is_opened", "visible_tenant", "is_visible", "is_target_visible", "verify_event",
    "verify_lane", "verify_targets",
}
# Tables and views that immutable_server may select from, and the scopes that show rows.
TABLES = {"events": {"read", "verify", "export"}, "event_targets": {"read", "verify", "export"},
          "activity": {"read", "verify", "export"}, "activity_targets": {"read", "verify", "export"}}


@pytest.fixture
def tenants(db):
    return Tenants(db)


@pytest.fixture
def mine(tenants):
    """A connection that shows a key of tenant `mine` with every scope."""
    return tenants.server(tenants.key(tenant_id="mine")["proof"])


def test_the_list_of_functions_is_whole(db):
    """A function that is granted to immutable_server later must be put into CALLS, with its scope."""
    granted = dict(db.conn.execute(
        "SELECT p.proname, count(*) FROM pg_proc p WHERE p.pronamespace = 'immutable'::regnamespace "
        "AND has_function_privilege('immutable_server', p.oid, 'EXECUTE') GROUP BY 1").fetchall())
    # These two run in a distributed log, which has no API keys, and are refused elsewhere.
    at_shards = {"shard_track", "shard_track_batch"}
    assert set(granted) - at_shards == set(CALLS) | WITHOUT_PROOF | BY_EVENT
    for name, calls in CALLS.items():
        assert granted[name] == len(calls), name
    shown = {row[0] for row in db.conn.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'immutable'::regnamespace AND c.relkind IN ('r', 'v') "
        "AND has_table_privilege('immutable_server', c.oid, 'SELECT')").fetchall()}
    # placement is empty, and takes no row: it says in a distributed log where a tenant's events are.
    assert shown == set(TABLES) | {"checkpoints", "alerts", "placement"}
    written = {row[0] for row in db.conn.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'immutable'::regnamespace "
        "AND has_any_column_privilege('immutable_server', c.oid, 'INSERT, UPDATE, REFERENCES') "
        "OR c.relnamespace = 'immutable'::regnamespace AND c.relkind IN ('r', 'v') "
        "AND has_table_privilege('immutable_server', c.oid, 'DELETE, TRUNCATE, TRIGGER')").fetchall()}
    assert written == {"events", "placement"}


def expected(scope, own, reason):
    return reason if scope == own else "42501"


def test_every_scope_against_every_function(tenants):
    """By the server's login, and by a gateway's login that takes the role for each request."""
    gateway = tenants.db.create_role("NOINHERIT")
    tenants.admin.execute(f"GRANT immutable_server TO {gateway}")
    by_gateway = tenants.db.connect(gateway)
    by_gateway.execute("SET ROLE immutable_server")
    connection = tenants.server()
    viewer = tenants.admin.execute("SELECT immutable.create_viewer_token('mine') ->> 'token'").fetchone()[0]
    proofs = {scope: tenants.key(scope)["proof"] for scope in SCOPES}
    for name, calls in CALLS.items():
        for own, statement, *reason in calls:
            reason = reason[0] if reason else None
            show(connection, "")
            assert state(connection, statement) == "28000", (name, "without a proof")
            for scope, proof in proofs.items():
                show(connection, proof)
                assert state(connection, statement) == expected(scope, own, reason), (name, scope)
            show(connection, viewer)
            assert state(connection, statement) == expected("read", own, reason), (name, "viewer token")
            show(by_gateway, "")
            assert state(by_gateway, statement) == "28000", (name, "a gateway without a proof")
            show(by_gateway, proofs[own])
            assert state(by_gateway, statement) == reason, (name, "a gateway")
    for scope, proof in proofs.items():
        show(connection, proof)
        answer = connection.execute("SELECT immutable.track_batch('[{\"actor_id\": \"u\", \"action\": \"a.b\"}]'::jsonb)").fetchone()[0]
        event = answer["events"][0]
        assert event["status"] == ("recorded" if scope == "write" else "error"), scope
        assert scope == "write" or event["error"]["code"] == "42501", event
        for table, opening in TABLES.items():
            rows, = connection.execute(f"SELECT count(*) FROM immutable.{table}").fetchone()
            assert (rows > 0) == (scope in opening), (table, scope)
        assert state(connection, "TABLE immutable.checkpoints") == expected(scope, "verify", None)
        assert state(connection, "INSERT INTO immutable.events (actor_id, action) VALUES ('u', 'a.b') RETURNING id") == \
            expected(scope, "write", None)
    show(connection, "")
    for table in list(TABLES) + ["checkpoints"]:
        assert state(connection, f"TABLE immutable.{table}") == "28000", table
    assert state(connection, "INSERT INTO immutable.events (actor_id, action) VALUES ('u', 'a.b')") == "28000"


# A key of one tenant


def only_mine(rows):
    assert rows and {row[0] for row in rows} == {"mine"}


def test_no_way_to_read_shows_another_tenant(tenants, mine):
    for table in TABLES:
        only_mine(mine.execute(f"SELECT tenant_id FROM immutable.{table}").fetchall())
        assert mine.execute(f"SELECT FROM immutable.{table} WHERE tenant_id <> 'mine'").fetchall() == []
    only_mine(mine.execute("SELECT tenant_id FROM immutable.find_events(\"limit\" => 10000)").fetchall())
    only_mine(mine.execute("SELECT tenant_id FROM immutable.find_events(action => 'a*', search => 'a.b', \"limit\" => 10000)").fetchall())
    page, = mine.execute("SELECT immutable.get_events(\"limit\" => 100)").fetchone()
    only_mine([(event["tenant_id"],) for event in page["data"]])
    assert page["pagination"]["total"] == 12 and page["pagination"]["total_relation"] == "eq"
    feed, = mine.execute("SELECT immutable.changes(\"limit\" => 1000)").fetchone()
    only_mine([(event["tenant_id"],) for event in feed["data"]])
    assert len(feed["data"]) == 12
    lines = [line for line, in mine.execute("SELECT immutable.export_events()").fetchall()]
    assert len(lines) == 14 and not any("rival" in line for line in lines)
    only_mine(mine.execute("SELECT tenant_id FROM immutable.heads()").fetchall())
    assert mine.execute("SELECT valid, events_checked, tenants_checked FROM immutable.verify_chain()").fetchone() == (True, 12, 1)
    assert mine.execute("SELECT immutable.verify() #>> '{data,events_checked}'").fetchone() == ("12",)
    for tenant in ("rival", ""):
        assert mine.execute("SELECT immutable.get_event(%s)", (tenants.ids[tenant],)).fetchone() == (None,)
        for statement in ("immutable.get_events(tenant_id => %s)", "immutable.find_events(tenant_id => %s)", "immutable.changes(%s)",
                          "immutable.export_events(tenant_id => %s)", "immutable.verify_chain(%s)", "immutable.verify_breaks(%s)"):
            error = refused(mine, f"SELECT * FROM {statement}", "42501", (tenant,))
            assert "tenant_id must be \"mine\"" in str(error)
        assert mine.execute("SELECT * FROM immutable.heads(%s)", (tenant,)).fetchall() == []
        refused(mine, "SELECT immutable.get_event(%s, %s)", "42501", (tenants.ids[tenant], tenant))
        for function in ("inclusion_proof", "receipt"):
            refused(mine, f"SELECT immutable.{function}(%s)", "P0002", (tenants.ids[tenant],))
    for whole in ("recorded_late", "export_tree"):
        refused(mine, f"SELECT * FROM immutable.{whole}()", "42501")


def test_another_tenants_cursor_and_position_open_nothing(tenants, mine):
    rival = tenants.server(tenants.key("read", tenant_id="rival")["proof"])
    cursor = rival.execute("SELECT immutable.get_events(\"limit\" => 5) #>> '{pagination,next_cursor}'").fetchone()[0]
    page, = mine.execute("SELECT immutable.get_events(\"cursor\" => %s)", (cursor,)).fetchone()
    assert {event["tenant_id"] for event in page["data"]} <= {"mine"}
    position, = rival.execute("SELECT (immutable.changes('rival', NULL, 5) -> 'position')::text").fetchone()
    refused(mine, "SELECT immutable.changes('mine', %s::jsonb)", "55000", (position,))


def test_nothing_is_recorded_for_another_tenant(tenants, mine):
    before = tenants.admin.execute("SELECT count(*) FROM immutable.events").fetchone()
    for statement in ("SELECT immutable.track('u', 'a.b', tenant_id => 'rival')",
                      "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('rival', 'u', 'a.b')",
                      "INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'rival', 'u', 'a.b' RETURNING id"):
        assert "tenant_id must be \"mine\"" in str(refused(mine, statement, "42501"))
    mine.execute("SET immutable.tenant_id = 'rival'")
    refused(mine, "SELECT immutable.track('u', 'a.b')", "42501")
    mine.execute("RESET immutable.tenant_id")
    # Whether another tenant has used a key is not to be learned.
    for key in ("k7", "never used"):
        for statement in ("SELECT immutable.track('u1', 'a.b', tenant_id => 'rival', idempotency_key => %s)",
                          "SELECT immutable.track('u1', 'a.b', tenant_id => 'rival', idempotency_key => %s, on_conflict => 'answer')",
                          "INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('rival', 'u', 'a.b', %s) "
                          "ON CONFLICT DO NOTHING RETURNING id",
                          "INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('rival', 'u', 'a.b', %s) "
                          "ON CONFLICT (tenant_id, idempotency_key) DO NOTHING"):
            refused(mine, statement, "42501", (key,))
    assert tenants.admin.execute("SELECT count(*) FROM immutable.events").fetchone() == before
    # An event without a tenant is the key's tenant's, also where its idempotency key is in use without a tenant.
    answer, = mine.execute("SELECT immutable.track('u1', 'a.b', idempotency_key => 'k7', resource_id => 'mine7', "
                           "targets => '[{\"type\": \"t\", \"id\": \"mine7\"}]')").fetchone()
    assert answer == {"id": tenants.ids["mine"], "status": "duplicate"}
    new, = mine.execute("SELECT (immutable.track('u1', 'a.b') ->> 'id')::uuid").fetchone()
    returned = mine.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('u', 'a.b') RETURNING id, tenant_id").fetchone()
    assert returned[1] == "mine"
    assert tenants.admin.execute("SELECT tenant_id FROM immutable.events WHERE id = ANY(%s) ORDER BY 1", ([new, returned[0]],)).fetchall() == \
        [("mine",), ("mine",)]


def test_erasing_and_minting_stay_within_the_tenant(tenants, mine):
    for tenant in ("rival",):
        refused(mine, "SELECT * FROM immutable.erase(%s, %s, ARRAY['actor_id'], 'why')", "42501", (tenants.ids[tenant], tenant))
        refused(mine, "SELECT * FROM immutable.erase_subject(%s, 'u1', 'why')", "42501", (tenant,))
        refused(mine, "SELECT * FROM immutable.erase_subject(%s, ARRAY['u1'], 'why', dry_run => true)", "42501", (tenant,))
        refused(mine, "SELECT immutable.create_viewer_token(%s)", "42501", (tenant,))
        refused(mine, "SELECT immutable.revoke_viewer_tokens(%s)", "42501", (tenant,))
        refused(mine, "SELECT immutable.create_api_key('k', '{read}', %s)", "42501", (tenant,))
    refused(mine, "SELECT * FROM immutable.erase(%s, NULL, ARRAY['actor_id'], 'why')", "P0002", (tenants.ids[""],))
    assert {row[0] for row in mine.execute("SELECT event_id FROM immutable.erase_subject(NULL, 'u1', 'why', dry_run => true)")} == \
        {row[0] for row in tenants.admin.execute("SELECT id FROM immutable.events WHERE tenant_id = 'mine' AND actor_id = 'u1'")}
    # Without a tenant, a token is of the key's own.
    token, = mine.execute("SELECT immutable.create_viewer_token(NULL) ->> 'token'").fetchone()
    viewer = tenants.server(token)
    only_mine(viewer.execute("SELECT tenant_id FROM immutable.find_events()").fetchall())
    of_rival, = tenants.admin.execute("SELECT immutable.create_viewer_token('rival') ->> 'token'").fetchone()
    refused(mine, "SELECT immutable.revoke_viewer_token(%s)", "42501", (of_rival,))
    refused(mine, "SELECT immutable.revoke_viewer_token('a jti')", "42501")
    mine.execute("SELECT immutable.revoke_viewer_token(%s)", (token,))
    refused(viewer, "SELECT * FROM immutable.find_events()", "28000")
    refused(viewer, "TABLE immutable.events", "28000")


def test_keys_of_a_tenant_make_no_others(tenants):
    own = tenants.key("admin", "read", tenant_id="mine")
    rivals, everyones = tenants.key("read", tenant_id="rival"), tenants.key("read")
    connection = tenants.server(own["proof"])
    made, = connection.execute("SELECT immutable.create_api_key('k', '{read}')").fetchone()
    assert made["tenant_id"] == "mine" and made["scopes"] == ["read"]
    refused(connection, "SELECT immutable.create_api_key('k', '{read,write}')", "42501")
    for other in (rivals, everyones):
        refused(connection, "SELECT immutable.revoke_api_key(%s)", "42704", (other["id"],))
    listed = connection.execute("SELECT id::text, tenant_id FROM immutable.list_api_keys()").fetchall()
    assert set(listed) == {(own["id"], "mine"), (made["id"], "mine")}
    connection.execute("SELECT immutable.revoke_api_key(%s)", (made["id"],))
    connection.execute("SELECT immutable.revoke_api_key(%s)", (own["id"],))
    refused(connection, "SELECT * FROM immutable.list_api_keys()", "28000")


# Sessions


def test_a_forgotten_begin_opens_nothing(tenants):
    """SET LOCAL outside a transaction block has no effect, and after it ends the next borrower of a connection has none."""
    proof = tenants.key()["proof"]
    connection = tenants.server()
    connection.execute(f"SET LOCAL immutable.proof = '{proof}'")
    refused(connection, "SELECT immutable.get_events()", "28000")
    with connection.transaction():
        connection.execute(f"SET LOCAL immutable.proof = '{proof}'")
        assert connection.execute("SELECT count(*) FROM immutable.events").fetchone() == (37,)
    assert connection.execute("SHOW immutable.proof").fetchone() == ("",)
    for statement in ("SELECT immutable.get_events()", "TABLE immutable.events", "SELECT immutable.track('u', 'a.b')"):
        refused(connection, statement, "28000")


def test_no_role_and_no_definer_lifts_the_need(tenants):
    admin = tenants.admin
    gateway = tenants.db.create_role("NOINHERIT")
    admin.execute(f"GRANT immutable_server TO {gateway}")
    admin.execute("CREATE FUNCTION public.lent() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS "
                  "$$ SELECT jsonb_array_length(immutable.get_events() -> 'data')::bigint $$")
    admin.execute("CREATE FUNCTION public.recorded() RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS "
                  "$$ SELECT immutable.track('u', 'a.b', tenant_id => 'rival') $$")
    connection = tenants.server()
    for function in ("public.lent()", "public.recorded()"):
        refused(connection, f"SELECT {function}", "28000")
    show(connection, tenants.key("write", "read", tenant_id="mine")["proof"])
    assert connection.execute("SELECT public.lent()").fetchone() == (12,)
    refused(connection, "SELECT public.recorded()", "42501")
    by_gateway = tenants.db.connect(gateway)
    by_gateway.execute("SET ROLE immutable_server")
    refused(by_gateway, "TABLE immutable.events", "28000")
    by_gateway.execute("RESET ROLE")
    refused(by_gateway, "TABLE immutable.events", "42501")
    # Also the login's own further roles need the proof.
    both = tenants.db.create_role("IN ROLE immutable_server, immutable_writer, immutable_viewer")
    connection = tenants.db.connect(both)
    for role in ("immutable_viewer", "immutable_writer"):
        connection.execute(f"SET ROLE {role}")
        statement = "TABLE immutable.events" if role == "immutable_viewer" else "SELECT immutable.track('u', 'a.b')"
        refused(connection, statement, "28000")


# Each by a call that runs in a function of the server's login, and does nothing without a proof.
LENT = ["immutable.get_events()", "immutable.track('u', 'a.b')", "immutable.list_api_keys()", "immutable.create_api_key('k')",
        "immutable.erase((SELECT id FROM found), 'rival', ARRAY['actor_id'], 'why')", "immutable.erase_subject('rival', 'u1', 'why')",
        "immutable.erase_subject('rival', ARRAY['u1'], 'why', dry_run => true)", "immutable.create_alert_rule('k', 'repeated_action')",
        "immutable.set_action_schema('x')", "immutable.create_export()", "immutable.create_viewer_token(NULL)"]


def test_a_definer_with_the_rights_of_the_server_needs_a_proof(tenants):
    """A function that the server's login lends to somebody without its rights. That it calls a function which runs with the
    owner's rights itself must not hide whose rights it has."""
    tenants.admin.execute(f"CREATE SCHEMA lent AUTHORIZATION {tenants.login}")
    tenants.admin.execute("GRANT USAGE ON SCHEMA lent TO PUBLIC")
    server, anybody = tenants.server(), tenants.db.connect(tenants.db.create_role())
    key = tenants.key(tenant_id="mine")["proof"]
    for number, call in enumerate(LENT):
        call = call.replace("(SELECT id FROM found)", f"'{tenants.ids['rival']}'")
        server.execute(f"CREATE FUNCTION lent.f{number}() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS $$ SELECT f::text FROM {call} f $$")
        assert state(show(anybody, ""), f"SELECT lent.f{number}()") == "28000", call
        assert state(show(anybody, key), f"SELECT lent.f{number}()") == ("42501" if "rival" in call else None), call


def test_another_name_of_the_role_opens_nothing(cluster):
    """The need for a proof goes with the role that has the rights, not with its name."""
    server = cluster()
    statements = ("TABLE immutable.events", "SELECT * FROM immutable.list_api_keys()", "SELECT immutable.create_viewer_token(NULL)",
                  "SELECT immutable.track('u', 'a.b')", "SELECT * FROM immutable.erase_subject('rival', 'u1', 'why')")
    with server.connect() as admin:
        admin.execute("CREATE EXTENSION immutable")
        admin.execute("SELECT immutable.track('u', 'a.b', tenant_id => 'rival')")
        admin.execute("CREATE ROLE web LOGIN IN ROLE immutable_server")
        with server.connect(user="web") as before:
            for change in ("SELECT", "ALTER ROLE immutable_server RENAME TO server_of_before", "CREATE ROLE immutable_server"):
                admin.execute(change)
                with server.connect(user="web") as web:
                    for connection in (before, web):
                        for statement in statements:
                            assert state(connection, statement) == "28000", (change, statement)


def test_no_answer_outlasts_its_proof_in_a_function(tenants):
    """PL/pgSQL keeps an expression for a whole transaction, with all that its functions keep."""
    connection = tenants.server()
    tenants.admin.execute(f"CREATE SCHEMA app AUTHORIZATION {tenants.login}")
    connection.execute("CREATE FUNCTION app.opened(t text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN immutable.is_opened('read', t); END $$")
    mine, rival = (tenants.key(tenant_id=tenant) for tenant in ("mine", "rival"))
    opened = "SELECT app.opened('mine'), app.opened('rival')"
    with connection.transaction():
        assert show(connection, mine["proof"], local=True).execute(opened).fetchone() == (True, False)
        assert show(connection, rival["proof"], local=True).execute(opened).fetchone() == (False, True)
        assert state(show(connection, "", local=True), opened) == "28000"
        assert show(connection, rival["proof"], local=True).execute(opened).fetchone() == (False, True)
        tenants.admin.execute("SELECT immutable.revoke_api_key(%s)", (rival["id"],))
        assert state(connection, opened) == "28000"
    show(connection, mine["proof"])
    between = "SELECT app.opened('mine'), set_config('immutable.proof', %s, false) IS NULL, app.opened('mine')"
    assert connection.execute(between, (tenants.key(tenant_id="rival")["proof"],)).fetchone() == (True, False, False)


def test_an_actors_token_narrows_the_events_that_fit_no_schema(tenants):
    tenants.admin.execute("SELECT immutable.set_action_schema('x', NULL, NULL, 'mine')")
    token, = tenants.admin.execute("SELECT immutable.create_viewer_token('mine', 'u1') ->> 'token'").fetchone()
    auditor = tenants.db.connect(tenants.db.create_role("IN ROLE immutable_auditor"))
    for connection in (tenants.server(), auditor):
        show(connection, token)
        assert connection.execute("SELECT count(*) FROM immutable.unmatched_events()").fetchone() == (4,)


def test_a_proof_restricts_whoever_sets_it(tenants):
    """An auditor and a writer need none, but one that is set counts."""
    auditor = tenants.db.connect(tenants.db.create_role("IN ROLE immutable_auditor"))
    assert auditor.execute("SELECT immutable.get_events() #>> '{pagination,total}'").fetchone() == ("36",)
    show(auditor, tenants.key("read", tenant_id="mine")["proof"])
    assert auditor.execute("SELECT immutable.get_events() #>> '{pagination,total}'").fetchone() == ("12",)
    refused(auditor, "SELECT immutable.get_events(tenant_id => 'rival')", "42501")
    only_mine([(event["tenant_id"],) for event in auditor.execute("SELECT immutable.changes(NULL, NULL, 1000)").fetchone()[0]["data"]])
    assert auditor.execute("SELECT immutable.get_event(%s)", (tenants.ids["rival"],)).fetchone() == (None,)
    refused(auditor, "SELECT immutable.verify()", "42501")
    refused(show(auditor, "x"), "SELECT immutable.get_events()", "28000")
    writer = tenants.db.connect(tenants.db.create_role("IN ROLE immutable_writer"))
    show(writer, tenants.key("write", tenant_id="mine")["proof"])
    refused(writer, "SELECT immutable.track('u', 'a.b', tenant_id => 'rival')", "42501")
    viewer = tenants.db.create_role()
    tenants.admin.execute("SELECT immutable.grant_tenant(%s, 'mine')", (viewer,))
    viewer = tenants.db.connect(viewer)
    for proof, rows in ((tenants.key("read")["proof"], 12), (tenants.key("read", tenant_id="rival")["proof"], 0)):
        assert show(viewer, proof).execute("SELECT count(*) FROM immutable.events").fetchone() == (rows,)


def test_a_revocation_is_effective_at_once(tenants):
    key = tenants.key()
    connection = tenants.server(key["proof"])
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert connection.execute("SELECT count(*) FROM immutable.events").fetchone() == (37,)
    connection.execute("PREPARE page AS SELECT immutable.get_events()")
    connection.execute("EXECUTE page")
    tenants.admin.execute("SELECT immutable.revoke_api_key(%s)", (key["id"],))
    connection.execute("SAVEPOINT here")
    for statement in ("EXECUTE page", "TABLE immutable.events", "SELECT immutable.track('u', 'a.b')"):
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            connection.execute(statement)
        connection.execute("ROLLBACK TO here")
    connection.execute("ROLLBACK")


def test_only_the_digest_of_a_key_is_a_proof(tenants):
    key = tenants.key("read")
    connection = tenants.server(key["proof"])
    assert state(connection, "SELECT immutable.get_events()") is None
    stored, = tenants.admin.execute("SELECT encode(digest, 'hex') FROM immutable.api_keys").fetchone()
    wrong = [key["key"], key["key"].upper(), key["key"][4:], key["id"], key["key"][:12], stored, key["proof"].upper(), key["proof"][:-1],
             key["proof"] + "0", " " + key["proof"], key["proof"] + "\n", "\\x" + key["proof"], "0" * 64, digest(key["key"] + "\n"),
             digest(key["proof"]), "..", "a.b.c", "é", "x" * 100_000]
    for proof in wrong:
        error = refused(show(connection, proof), "SELECT immutable.get_events()", "28000")
        assert key["key"] not in str(error) and key["proof"] not in str(error)
    assert "not to the key itself" not in str(error)
    error = refused(show(connection, key["key"]), "SELECT immutable.get_events()", "28000")
    assert "SHA-256" in error.diag.message_hint


def test_a_ticket_and_a_token_never_stand_for_each_other(tenants):
    token, = tenants.admin.execute("SELECT immutable.create_viewer_token('mine', 'u1') ->> 'token'").fetchone()
    connection = tenants.server(token)
    assert connection.execute("SELECT immutable.get_events() #>> '{pagination,total}'").fetchone() == ("4",)
    assert connection.execute("SELECT DISTINCT actor_id FROM immutable.events").fetchall() == [("u1",)]
    assert connection.execute("SELECT count(*) FROM immutable.event_targets").fetchone() == (4,)
    other, = connection.execute("SELECT immutable.get_events(tenant_id => 'rival')").fetchone()
    assert other["data"] == [] and other["pagination"]["total"] == 0
    assert connection.execute("SELECT immutable.changes('rival') -> 'data'").fetchone() == ([],)


def ticket(**changes):
    """A ticket as another program would sign it, with a key that this database shares."""
    now = int(time.time())
    whole = {"role": "immutable_ticket", "iss": "immutable/exports", "iat": now, "exp": now + 900, "export": ANY, "tenant_id": "mine"}
    return jwt.encode({name: value for name, value in {**whole, **changes}.items() if value is not ...}, SECRET, algorithm="HS256",
                      headers={"typ": changes.pop("typ", "immutable-ticket+jwt")})


def test_a_ticket_opens_none_of_these_functions(tenants):
    import_key(tenants.admin)
    key = tenants.key("export")
    connection = tenants.server(ticket(key=key["id"]))
    for name, calls in CALLS.items():
        for _, statement, *_ in calls:
            # An export that it opens, and that there is not.
            assert state(connection, statement) == ("P0002" if name == "export_rows" else "42501"), name
    for table in TABLES:
        assert connection.execute(f"SELECT count(*) FROM immutable.{table}").fetchone() == (0,)
    now = int(time.time())
    for changes in ({"iss": "immutable"}, {"role": "immutable_viewer"}, {"exp": now + 901}, {"iat": now - 901, "exp": now - 1}, {"export": ...},
                    {"export": "x"}, {"tenant_id": None}, {"key": None}, {"key": ANY}, {"iat": now + 100, "exp": now + 1000}, {"role": ...}):
        assert state(show(connection, ticket(**changes)), "SELECT immutable.export_events()") == "28000", changes
    # What another type claims to be of a viewer, and a viewer's type with the claims of a ticket.
    claims = {"role": "immutable_viewer", "iss": "immutable", "jti": "j", "iat": now, "exp": now + 900, "tenant_id": "mine", "export": ANY}
    for typ, role, iss in (("immutable-ticket+jwt", claims["role"], claims["iss"]), ("JWT", "immutable_ticket", "immutable/exports")):
        mixed = jwt.encode({**claims, "role": role, "iss": iss}, SECRET, algorithm="HS256", headers={"typ": typ})
        assert state(show(connection, mixed), "SELECT immutable.get_events()") == "28000", typ
        assert state(connection, "SELECT set_config('immutable.viewer_token', current_setting('immutable.proof'), true), "
                                 "(SELECT count(*) FROM immutable.events)") == "28000"
    show(connection, ticket(key=key["id"]))
    tenants.admin.execute("SELECT immutable.revoke_api_key(%s)", (key["id"],))
    assert state(connection, "SELECT immutable.export_events()") == "28000"


# What is left behind


def test_nothing_that_http_accepts_is_left_anywhere(cluster):
    """Logs of statements, statistics, activity, a dump and the tables themselves know the digest at most."""
    server = cluster(log_statement="all", log_parameter_max_length="-1", log_min_duration_statement="0", log_error_verbosity="verbose",
                     shared_preload_libraries="pg_stat_statements", track_activity_query_size="32768")
    with server.connect() as admin:
        admin.execute("CREATE EXTENSION immutable")
        admin.execute("CREATE EXTENSION pg_stat_statements")
        admin.execute("CREATE ROLE web LOGIN IN ROLE immutable_server")
        made, = admin.execute("SELECT immutable.create_api_key('k', '{write,read,mint,admin}')").fetchone()
        with server.connect(user="web") as connection:
            for simple in (False, True):
                with connection.transaction():
                    if simple:
                        connection.execute(f"SET LOCAL immutable.proof = '{digest(made['key'])}'")
                    else:
                        show(connection, digest(made["key"]), local=True)
                    connection.execute("SELECT immutable.track('u', 'a.b', tenant_id => 't')")
                    token, = connection.execute("SELECT immutable.create_viewer_token('t') ->> 'token'").fetchone()
                    second, = connection.execute("SELECT immutable.create_api_key('k', '{read}') ->> 'key'").fetchone()
            with pytest.raises(psycopg.Error):
                show(connection, digest("imk_x")).execute("SELECT immutable.get_events()")
            activity = str(admin.execute("SELECT array_agg(a) FROM pg_stat_activity a").fetchone())
        statements = str(admin.execute("SELECT array_agg(s) FROM pg_stat_statements s").fetchone())
        settings = str(admin.execute("SELECT array_agg(s) FROM pg_settings s").fetchone())
        tables = str(admin.execute("SELECT array_agg(k), (SELECT array_agg(e) FROM immutable.events e) FROM immutable.api_keys k").fetchone())
        dump = server.run("pg_dump", "postgres").stdout
        log = server.log.read_text()
        assert "create_api_key" in log and "create_api_key" in statements
        for secret in (made["key"], second, token):
            for place, text in {"log": log, "statements": statements, "activity": activity, "settings": settings, "tables": tables,
                                "dump": dump}.items():
                assert secret not in text and secret[4:] not in text, place
        # Neither does a table or a dump know what the server program shows.
        for place, text in {"tables": tables, "dump": dump, "settings": settings}.items():
            assert digest(made["key"]) not in text, place
        assert not re.search(r"imk_[\w-]{9,}", dump + tables)
