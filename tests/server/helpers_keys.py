"""API keys, and connections that show one: of a login with the rights of immutable_server, as the server program has it."""

import hashlib

import psycopg
import pytest

SCOPES = ["write", "read", "verify", "mint", "export", "admin"]


def digest(key):
    """What a program that takes a key from a client shows to the database."""
    return hashlib.sha256(key.encode()).hexdigest()


def create(conn, scopes=("write", "read"), tenant_id=None, name="a program", allowed_ips=None, quota=None):
    """A new key: what create_api_key() returns, and its digest as `proof`."""
    made, = conn.execute("SELECT immutable.create_api_key(%s, %s, %s, %s::cidr[], %s)",
                         (name, list(scopes), tenant_id, allowed_ips, quota)).fetchone()
    return {**made, "proof": digest(made["key"])}


def show(connection, proof, local=False, address=None):
    """Sets the proof, which never fails, whatever the proof is."""
    connection.execute("SELECT set_config('immutable.proof', %s, %s)", (proof, local))
    if address is not None:
        connection.execute("SELECT set_config('immutable.client_address', %s, %s)", (address, local))
    return connection


def state(connection, statement, arguments=None):
    """The SQLSTATE that a statement is refused with; None if it runs. Nothing of what it did stays."""
    try:
        with connection.transaction(force_rollback=True):
            cursor = connection.execute(statement, arguments)
            if cursor.description:
                cursor.fetchall()
    except psycopg.Error as error:
        return error.sqlstate
    return None


def refused(connection, statement, sqlstate, arguments=None):
    with pytest.raises(psycopg.Error) as error:
        with connection.transaction(force_rollback=True):
            connection.execute(statement, arguments).fetchall()
    assert error.value.sqlstate == sqlstate, error.value
    return error.value


class Tenants:
    """A log of the tenants `mine` and `rival` and of events without a tenant; of each the same keys, actors and actions."""

    def __init__(self, db):
        self.db = db
        self.admin = db.conn
        self.admin.execute(
            "INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key, resource_id, targets) "
            "SELECT t, 'u' || i % 3, 'a.b', 'k' || i, t || i, jsonb_build_array(jsonb_build_object('type', 't', 'id', t || i)) "
            "FROM unnest(ARRAY['rival', 'mine', '']) t, generate_series(1, 12) i")
        self.ids = dict(self.admin.execute("SELECT tenant_id, id::text FROM immutable.events WHERE idempotency_key = 'k7'").fetchall())
        self.login = db.create_role("IN ROLE immutable_server")

    def key(self, *scopes, tenant_id=None, **options):
        return create(self.admin, scopes or SCOPES, tenant_id, **options)

    def server(self, proof="", **options):
        """A connection of the server's login that shows this proof."""
        return show(self.db.connect(self.login, **options), proof)
