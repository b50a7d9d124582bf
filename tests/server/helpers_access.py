"""A log of two tenants, the roles around it, and tokens as another library makes them (PyJWT, with a shared key)."""

import base64
import json
import time
import uuid

import jwt
import psycopg
import pytest

SECRET = "a secret that a gateway and this database share, long enough for HS512"
OTHER = "a secret that nobody has told this database of, of the same length too"
EVENTS = "SELECT count(*) FROM immutable.events"
TARGETS = "SELECT count(*) FROM immutable.event_targets"
# The number of rows of each tenant, and of its actor u1; every event has one target.
MINE, RIVAL, MINE_U1 = 30, 50, 10


def claims(**changes):
    now = int(time.time())
    whole = {"role": "immutable_viewer", "iss": "immutable", "iat": now, "exp": now + 80_000,
             "jti": str(uuid.uuid4()), "tenant_id": "mine"}
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


def token(secret=SECRET, algorithm="HS256", headers=None, **changes):
    """A token made with PyJWT; a claim that is `...` is left out."""
    return jwt.encode(claims(**changes), secret, algorithm=algorithm, headers=headers)


def b64(text):
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def signed(header, payload, secret=SECRET):
    """A token of any two texts with a valid signature, which no library would make."""
    text = f"{b64(header)}.{b64(payload)}"
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(text.encode(), secret.encode())
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def import_key(conn, secret=SECRET):
    with conn.cursor().copy("COPY immutable.viewer_key_import FROM STDIN") as copy:
        copy.write(f"{secret}\n")


class Log:
    def __init__(self, db):
        self.db = db
        self.admin = db.conn
        import_key(self.admin)
        for tenant, rows in (("rival", RIVAL), ("mine", MINE)):
            self.admin.execute(
                "INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key, targets) "
                "SELECT %s, 'u' || i %% 3, 'a.b', 'k' || i, jsonb_build_array(jsonb_build_object("
                "'type', 't', 'id', %s || i, 'name', 'n')) FROM generate_series(1, %s) i", (tenant, tenant, rows))
        self.rival_id, self.rival_at, self.rival_xact = self.admin.execute(
            "SELECT id, created_at, xact::text FROM immutable.events WHERE tenant_id = 'rival' AND idempotency_key = 'k7'").fetchone()
        self.viewer_role = db.create_role("IN ROLE immutable_viewer")

    def viewer(self, viewer_token=None, **options):
        connection = self.db.connect(self.viewer_role, **options)
        if viewer_token:
            present(connection, viewer_token)
        return connection


def present(connection, viewer_token, local=False):
    """Sets the token, which never fails, whatever the token is."""
    connection.execute("SELECT set_config('immutable.viewer_token', %s, %s)", (viewer_token, local))


def count(connection, statement=EVENTS):
    return connection.execute(statement).fetchone()[0]


def refused(connection, statement=EVENTS, state="28000"):
    with pytest.raises(psycopg.Error) as error:
        connection.execute(statement).fetchall()
    assert error.value.sqlstate == state, error.value
    return error.value


def headers(viewer_token):
    return json.dumps({"host": "api.example", "authorization": f"Bearer {viewer_token}"})
