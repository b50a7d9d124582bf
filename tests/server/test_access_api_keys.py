"""API keys: what create_api_key() takes, which events it leaves, addresses, quotas, who is named as the actor, and dumps."""

import datetime
import hashlib
import json

import psycopg
import pytest
from helpers_keys import SCOPES, Tenants, create, digest, refused, show, state


@pytest.fixture
def tenants(db):
    return Tenants(db)


def test_a_key_is_shown_once_and_kept_as_a_digest_of_its_digest(db):
    made = create(db.conn, ["read", "write", "read"], "mine", "shop", ["10.0.0.0/8", "2001:db8::/32"], 1000)
    assert made["key"].startswith("imk_") and len(made["key"]) == 47
    assert {name: value for name, value in made.items() if name not in ("id", "key", "proof")} == {
        "name": "shop", "scopes": ["write", "read"], "tenant_id": "mine", "allowed_ips": ["10.0.0.0/8", "2001:db8::/32"], "quota": 1000}
    stored = db.conn.execute("SELECT id::text, name, digest, prefix, scopes, tenant_id, allowed_ips::text[], quota, created_by, revoked_at "
                             "FROM immutable.api_keys").fetchone()
    twice = hashlib.sha256(hashlib.sha256(made["key"].encode()).digest()).digest()
    assert stored == (made["id"], "shop", twice, made["key"][:12], ["write", "read"], "mine", ["10.0.0.0/8", "2001:db8::/32"], 1000,
                      "postgres", None)
    event = db.conn.execute("SELECT tenant_id, actor_id, actor_type, resource_type, resource_id, metadata, recorded_by "
                            "FROM immutable.events WHERE action = 'immutable.api_key_created'").fetchone()
    assert event == ("", "postgres", "role", "api_key", made["id"], {"scopes": "write read", "tenant_id": "mine"}, "postgres")
    assert create(db.conn)["scopes"] == ["write", "read"]


def test_arguments_that_mean_nothing_are_refused(db):
    for arguments, sqlstate, field in (
            ("NULL", "22004", "name"), ("''", "22023", "name"), ("' '", "22023", "name"), ("repeat('n', 256)", "22001", "name"),
            ("'k', NULL", "22004", "scopes"), ("'k', '{}'", "22023", "scopes"), ("'k', '{read,root}'", "22023", "root"),
            ("'k', '{Read}'", "22023", "Read"), ("'k', '{NULL}'", "22004", "scopes"), ("'k', '{read}', repeat('t', 256)", "22023", "tenant_id"),
            ("'k', '{read}', NULL, '{}'", "22023", "allowed_ips"), ("'k', '{read}', NULL, '{NULL}'", "22004", "allowed_ips"),
            ("'k', '{read}', NULL, array_fill('10.0.0.0/8'::cidr, ARRAY[101])", "22023", "allowed_ips"),
            ("'k', '{read}', NULL, NULL, -1", "22023", "quota")):
        error = refused(db.conn, f"SELECT immutable.create_api_key({arguments})", sqlstate)
        assert field in str(error), arguments
    assert db.conn.execute("SELECT count(*) FROM immutable.api_keys").fetchone() == (0,)
    assert state(db.conn, "SELECT immutable.revoke_api_key(NULL)") == "22004"
    assert state(db.conn, "SELECT immutable.revoke_api_key(gen_random_uuid())") == "42704"
    for word in ("'root'", "NULL"):
        assert state(db.conn, f"SELECT immutable.require_scope({word})") in ("22023", "22004")
    assert db.conn.execute("SELECT immutable.require_scope('read'), immutable.is_opened('read', NULL), immutable.is_opened('admin', 't')"
                           ).fetchone() == (True, True, True)


def test_the_key_is_the_actor_and_recorded_by_names_it(tenants):
    key = tenants.key()
    connection = tenants.server(key["proof"])
    recorded, = connection.execute("SELECT immutable.track('u', 'a.b', tenant_id => 'mine') ->> 'id'").fetchone()
    by = f"{tenants.login} key:{key['id']}"
    assert tenants.admin.execute("SELECT actor_id, recorded_by FROM immutable.events WHERE id = %s", (recorded,)).fetchone() == ("u", by)
    other, = connection.execute("SELECT immutable.create_api_key('k', '{read}') ->> 'id'").fetchone()
    connection.execute("SELECT immutable.revoke_api_key(%s)", (other,))
    connection.execute("SELECT immutable.revoke_api_key(%s)", (other,))
    connection.execute("SELECT * FROM immutable.erase(%s, 'mine', ARRAY['actor_id'], 'a ticket')", (recorded,))
    own = tenants.admin.execute("SELECT action, actor_id, actor_type, resource_id, recorded_by FROM immutable.events "
                                "WHERE action LIKE 'immutable.%%' AND actor_type = 'api_key' ORDER BY created_at").fetchall()
    actor = (f"key:{key['id']}", "api_key")
    assert own == [("immutable.api_key_created", *actor, other, by), ("immutable.api_key_revoked", *actor, other, by),
                   ("immutable.event_erased", *actor, None, by)]
    # An eraser's own events are counted, by whichever login the key was used.
    assert tenants.admin.execute("SELECT metadata -> 'own_events' FROM immutable.events WHERE action = 'immutable.event_erased'"
                                 ).fetchone() == (1,)
    assert tenants.admin.execute("SELECT created_by, revoked_by FROM immutable.api_keys WHERE id = %s", (other,)).fetchone() == (by, by)
    assert tenants.admin.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)


@pytest.mark.parametrize("allowed, address, sqlstate", [
    (["10.0.0.0/8"], "10.1.2.3", None), (["10.0.0.0/8"], "11.1.2.3", "42501"), (["10.0.0.0/8"], "", "42501"),
    (["10.0.0.0/8"], "::ffff:10.1.2.3", None), (["10.0.0.0/8"], "2001:db8::1", "42501"), (["10.0.0.0/8", "2001:db8::/32"], "2001:db8::1", None),
    (["2001:db8::/127"], "2001:db8::2", "42501"), (["203.0.113.7"], "203.0.113.7", None), (["203.0.113.7"], "203.0.113.6", "42501"),
    (["0.0.0.0/0"], "255.255.255.255", None), (["0.0.0.0/0"], "::1", "42501"), (["::/0"], "fe80::1", None),
    (["10.0.0.0/8"], "10.1.2.3/8", "22023"), (["10.0.0.0/8"], "somewhere", "22023"), (None, "", None), (None, "somewhere", None)])
def test_addresses(tenants, allowed, address, sqlstate):
    connection = show(tenants.server(), tenants.key(allowed_ips=allowed)["proof"], address=address)
    for statement in ("SELECT immutable.get_events()", "TABLE immutable.events", "SELECT immutable.track('u', 'a.b')"):
        assert state(connection, statement) == sqlstate, statement
    if address == "":
        message = str(refused(connection, "SELECT immutable.get_events()", "42501")) if allowed else ""
        assert not allowed or "immutable.client_address" in message or "not known" in message


def test_the_quota_is_held_by_calendar_month(tenants):
    key = tenants.key("write", "read", quota=10)
    connection = tenants.server(key["proof"])
    month = datetime.datetime.now(datetime.timezone.utc).date().replace(day=1)
    before = (month - datetime.timedelta(days=1)).replace(day=1)

    def used(events, of=month):
        tenants.admin.execute("INSERT INTO immutable.api_key_usage VALUES (%s, %s, %s, now()) ON CONFLICT (key_id, month) "
                              "DO UPDATE SET events = excluded.events", (key["id"], of, events))

    assert state(connection, "SELECT immutable.track('u', 'a.b')") is None
    used(1_000_000, before)
    used(9)
    assert state(connection, "SELECT immutable.track('u', 'a.b')") is None
    used(10)
    for statement in ("SELECT immutable.track('u', 'a.b')", "INSERT INTO immutable.events (actor_id, action) VALUES ('u', 'a.b')"):
        assert "quota of 10 events" in str(refused(connection, statement, "42501"))
    assert state(connection, "SELECT immutable.get_events()") is None
    listed = tenants.admin.execute("SELECT events_this_month, last_event_at IS NOT NULL FROM immutable.list_api_keys()").fetchall()
    assert listed == [(10, True)]
    nothing = tenants.server(tenants.key("write", quota=0)["proof"])
    assert state(nothing, "SELECT immutable.track('u', 'a.b')") == "42501"


def test_days_of_every_month_are_of_that_month(tenants):
    """Also around the end of a month, in whatever time zone the session is."""
    tenants.admin.execute("SET timezone = 'Pacific/Kiritimati'")
    listed = tenants.admin.execute("SELECT DISTINCT (date_trunc('month', now() AT TIME ZONE 'UTC'))::date").fetchone()
    key = tenants.key("write", quota=1)
    tenants.admin.execute("INSERT INTO immutable.api_key_usage VALUES (%s, %s, 1, NULL)", (key["id"], listed[0]))
    connection = tenants.server(key["proof"])
    connection.execute("SET timezone = 'Pacific/Pago_Pago'")
    assert state(connection, "SELECT immutable.track('u', 'a.b')") == "42501"


def test_auditors_see_keys_without_digests_and_nobody_else(tenants):
    tenants.key(tenant_id="mine", name="one")
    auditor = tenants.db.connect(tenants.db.create_role("IN ROLE immutable_auditor"))
    cursor = auditor.execute("SELECT * FROM immutable.list_api_keys()")
    assert "digest" not in [column.name for column in cursor.description]
    assert [row[1] for row in cursor.fetchall()] == ["one"]
    for role in ("immutable_auditor", "immutable_viewer", "immutable_writer", "immutable_server", "immutable_maintainer"):
        connection = tenants.db.connect(tenants.db.create_role(f"IN ROLE {role}"))
        assert state(connection, "TABLE immutable.api_keys") == "42501"
        assert state(connection, "TABLE immutable.api_key_usage") == "42501"
        if role not in ("immutable_auditor", "immutable_server"):
            assert state(connection, "SELECT * FROM immutable.list_api_keys()") == "42501"
        if role != "immutable_server":
            assert state(connection, "SELECT immutable.create_api_key('k')") == "42501"


def test_a_bearer_key_in_the_headers_of_a_request_counts(tenants):
    key = tenants.key("read", tenant_id="mine")
    connection = tenants.server()

    def headers(**given):
        connection.execute("SELECT set_config('request.headers', %s, false)", (json.dumps(given),))

    headers(authorization=f"Bearer {key['key']}")
    assert connection.execute("SELECT immutable.get_events() #>> '{pagination,total}'").fetchone() == ("12",)
    for given in ({"authorization": key["key"]}, {"authorization": f"Bearer {key['proof']}"}, {"authorization": "Bearer imk_x"},
                  {"authorization": f"Basic {key['key']}"}, {}, {"x": key["key"]}):
        headers(**given)
        assert state(connection, "SELECT immutable.get_events()") == "28000", given
    # What the program itself shows is what counts.
    headers(authorization=f"Bearer {key['key']}")
    show(connection, tenants.key("write")["proof"])
    assert state(connection, "SELECT immutable.get_events()") == "42501"


def test_a_key_of_no_tenant_reads_with_the_plans_of_an_auditor(tenants):
    """It sees everything, so row security has nothing to check; unless somebody has added a policy."""
    connection = tenants.server(tenants.key("read", "verify")["proof"])
    page, = connection.execute("SELECT immutable.get_events(search => 'RIVAL')").fetchone()
    assert page["pagination"]["total"] == 0
    assert connection.execute("SELECT count(*) FROM immutable.find_events(\"limit\" => 100)").fetchone()[0] == 37
    assert connection.execute("SELECT valid, complete FROM immutable.verify_chain()").fetchone() == (True, True)
    tenants.admin.execute("SET immutable.allow_ddl = on")
    tenants.admin.execute("CREATE POLICY hidden ON immutable.events AS RESTRICTIVE FOR SELECT TO immutable_server USING (tenant_id <> 'rival')")
    tenants.admin.execute("RESET immutable.allow_ddl")
    assert connection.execute("SELECT DISTINCT tenant_id FROM immutable.find_events(\"limit\" => 100) ORDER BY 1").fetchall() == [("",), ("mine",)]


def test_damaged_rows_open_nothing(tenants):
    key = tenants.key("read")
    connection = tenants.server(key["proof"])
    for change, sqlstate in (("scopes = '{root,NULL}'", "42501"), ("scopes = '{}'", "42501"), ("allowed_ips = '{}'", "42501"),
                             ("allowed_ips = '{NULL}'", "42501"), ("digest = ''", "28000"), ("revoked_at = '-infinity'", "28000")):
        with tenants.admin.transaction(force_rollback=True):
            tenants.admin.execute(f"UPDATE immutable.api_keys SET {change}")
            tenants.admin.execute("SELECT set_config('immutable.proof', %s, true)", (key["proof"],))
            tenants.admin.execute("SELECT set_config('immutable.client_address', '10.0.0.1', true)")
            assert state(tenants.admin, "SELECT immutable.get_events()") == sqlstate, change
    assert state(connection, "SELECT immutable.get_events()") is None
    tenants.db.unguard()
    tenants.admin.execute("ALTER TABLE immutable.api_keys DROP CONSTRAINT api_keys_digest_key")
    assert state(connection, "SELECT immutable.get_events()") is None
    tenants.admin.execute("ALTER TABLE immutable.api_keys ALTER digest TYPE text USING 'none'")
    assert state(connection, "SELECT immutable.get_events()") == "55000"


def test_keys_survive_a_dump_and_go_on_working(tenants, db, server):
    key = tenants.key("read", "write", tenant_id="mine", quota=10)
    tenants.admin.execute("INSERT INTO immutable.api_key_usage VALUES (%s, current_date, 3, now())", (key["id"],))
    dump = server.run("pg_dump", db.name).stdout
    assert key["key"] not in dump and key["proof"] not in dump
    copy = f"{db.name}_copy"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {copy} TEMPLATE template0")
    try:
        restored = server.run("psql", "-X", "-v", "ON_ERROR_STOP=1", "-q", copy, input="SET immutable.restore = on;\n" + dump)
        assert "ERROR" not in restored.stderr
        with server.connect(copy, tenants.login) as connection:
            show(connection, key["proof"])
            assert connection.execute("SELECT immutable.get_events() #>> '{pagination,total}'").fetchone() == ("12",)
            assert connection.execute("SELECT immutable.track('u', 'a.b') ->> 'status'").fetchone() == ("recorded",)
        with server.connect(copy) as admin:
            assert admin.execute("SELECT events FROM immutable.api_key_usage").fetchone() == (3,)
    finally:
        with server.connect() as admin:
            admin.execute(f"DROP DATABASE {copy} WITH (FORCE)")


def test_row_security_of_a_dump_is_refused_not_silent(tenants):
    """A role with SELECT that row security applies to gets an error, as for the other tables of a dump."""
    reader = tenants.db.create_role()
    tenants.key()
    tenants.admin.execute(f"GRANT USAGE ON SCHEMA immutable TO {reader}")
    tenants.admin.execute(f"GRANT SELECT ON immutable.api_keys TO {reader}")
    with pytest.raises(psycopg.Error) as error:
        tenants.db.connect(reader).execute("TABLE immutable.api_keys")
    assert error.value.sqlstate == "42501"
    assert SCOPES[0] not in str(error.value) and digest("") not in str(error.value)
