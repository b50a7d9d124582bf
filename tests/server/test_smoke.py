"""That the extension can be installed, used by others than superusers, and survives a crash."""

import psycopg
import pytest


def test_extension_has_its_default_version(db):
    installed, default = db.conn.execute(
        "SELECT installed_version, default_version FROM pg_available_extensions WHERE name = 'immutable'"
    ).fetchone()
    assert installed == default


def test_only_a_superuser_may_create_it(db):
    role = db.create_role()
    db.conn.execute("DROP EXTENSION immutable")
    db.conn.execute(f"GRANT CREATE ON DATABASE {db.name} TO {role}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.connect(role).execute("CREATE EXTENSION immutable")


def test_it_survives_a_crash(cluster):
    server = cluster()
    connection = server.connect()
    connection.execute("CREATE EXTENSION immutable")
    server.kill9()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    server.start()
    with server.connect() as again:
        again.execute("DROP EXTENSION immutable")
        again.execute("CREATE EXTENSION immutable")
