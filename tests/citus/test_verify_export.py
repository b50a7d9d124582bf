"""export_events() of a distributed log: the lines verify with immutable-verify, whichever node makes them."""

import hashlib
import os
import subprocess

import psycopg
import pytest
from nodes import COORDINATOR

TENANTS = [f"t{n}" for n in range(24)]
EACH = 3
INSERT = "INSERT INTO immutable.events (tenant_id, actor_id, action, targets, metadata) VALUES (%s, %s, 'shared', %s, %s) RETURNING id"


@pytest.fixture(scope="module")
def filled(shared):
    for n in range(EACH):
        for tenant in TENANTS:
            shared.conn.execute(INSERT, [tenant, f"u{n}", '[{"type": "doc", "id": "d1", "name": "Größe"}]', '{"k": 1.10}'])
    shared.auditor = shared.create_role(groups=["immutable_auditor"])
    return shared


def export(conn, arguments="", values=()):
    return [line for line, in conn.execute(f"SELECT immutable.export_events({arguments})", values)]


def verified(lines):
    """What immutable-verify prints of sound lines without saved heads."""
    done = subprocess.run([os.environ["IMMUTABLE_VERIFY"], "-"], input="\n".join(lines) + "\n", text=True, capture_output=True)
    assert done.returncode == 3 and "consistent, not anchored" in done.stdout, done.stdout + done.stderr
    return done.stdout



def test_the_whole_log(filled, entry):
    lines = export(filled.connect(filled.auditor, entry))
    assert len(lines) == len(TENANTS) * EACH + 2
    verified(lines)
    # The same lines from every node, and in the same order, but for the time in the first one.
    assert lines[1:] == export(filled.connect(node=COORDINATOR))[1:]
    # As PostgreSQL would sort all rows.
    order = [str(id) for id, in filled.conn.execute("SELECT id FROM immutable.events ORDER BY tenant_id, lane, seq")]
    assert all(id in line for id, line in zip(order, lines[1:-1], strict=True))


def test_a_tenant_and_other_filters(filled, entry):
    conn = filled.connect(filled.auditor, entry)
    lines = export(conn, "tenant_id => 't7'")
    assert len(lines) == EACH + 2
    verified(lines)
    assert len(export(conn, "actor_id => 'u1'")) == len(TENANTS) + 2
    assert len(export(conn, "tenant_id => 't7', actor_id => 'u1', search => 'shared'")) == 3
    assert len(export(conn, "from_date => 'tomorrow'")) == len(export(conn, "tenant_id => 'nobody'")) == 2
    assert len(export(conn, "to_date => 'infinity', from_date => '-infinity'")) == len(TENANTS) * EACH + 2
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        export(conn, "action => 'a,b'")


def test_copy_and_cursors(filled, entry):
    conn = filled.connect(filled.auditor, entry, autocommit=False)
    whole = export(conn)
    with conn.cursor().copy("COPY (SELECT immutable.export_events()) TO STDOUT WITH (FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02')") as copy:
        assert b"".join(bytes(part) for part in copy).decode().splitlines()[1:] == whole[1:]
    conn.execute("DECLARE c CURSOR WITH HOLD FOR SELECT immutable.export_events()")
    first = conn.execute("FETCH 5 FROM c").fetchall()
    conn.commit()
    rest = conn.execute("FETCH ALL FROM c").fetchall()
    assert [line for line, in first + rest][1:] == whole[1:]
    assert len(conn.execute("SELECT immutable.export_events() LIMIT 3").fetchall()) == 3
    conn.rollback()


def test_pages_end_with_a_tenant(log):
    """More events than a page has, of few tenants; and the events of the transaction that exports."""
    for tenant, events in (("big", 4500), ("t1", 1500), ("t2", 1500), ("t3", 1500), ("t4", 10)):
        log.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT %s, 'a', 'b' FROM generate_series(1, %s)", [tenant, events])
    conn = log.connect(autocommit=False)
    conn.execute(INSERT, ["t5", "u", "[]", "{}"])
    lines = export(conn)
    assert len(lines) == 4500 + 3 * 1500 + 10 + 1 + 2
    verified(lines)
    conn.rollback()
    assert len(export(conn, "tenant_id => 'big'")) == 4502


def test_who_may_export(filled, entry):
    for group in ("immutable_viewer", "immutable_writer"):
        conn = filled.connect(filled.create_role(groups=[group]), entry)
        for call in ("export_events()", "shard_export(0, 't1', NULL, NULL, NULL, '{}')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(f"SELECT immutable.{call}")
    conn = filled.connect(filled.auditor, entry)
    for filters in ("1", "[]", '{"x": 1}', '{"actor_id": 1}', '{"from_date": "x"}'):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            conn.execute("SELECT immutable.shard_export(0, 't1', NULL, NULL, NULL, %s)", [filters])


def test_what_the_proof_of_an_api_key_opens(filled, entry):
    """The shards see no proof: what it opens is what is asked of them. (The keys are another log's, put in by hand.)"""
    server = filled.nodes[entry]
    with server.connect() as admin:
        admin.execute("CREATE DATABASE of_keys")
    with server.connect("of_keys") as other:
        other.execute("CREATE EXTENSION immutable")
        keys = [other.execute("SELECT immutable.create_api_key('k', '{verify,export}', %s) ->> 'key'", [tenant]).fetchone()[0]
                for tenant in (None, "t1")]
        rows = other.execute("SELECT jsonb_agg(k)::text FROM immutable.api_keys k").fetchone()[0]
    with server.connect() as admin:
        admin.execute("DROP DATABASE of_keys WITH (FORCE)")
    with filled.on_node(entry) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("INSERT INTO immutable.api_keys SELECT r.* FROM jsonb_populate_recordset(NULL::immutable.api_keys, %s) r", [rows])
    conn = filled.connect(filled.create_role(groups=["immutable_server"]), entry)
    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
        export(conn)
    for key, tenants in zip(keys, (len(TENANTS), 1)):
        conn.execute("SELECT set_config('immutable.proof', %s, false)", [hashlib.sha256(key.encode()).hexdigest()])
        assert len(export(conn)) == tenants * EACH + 2
        assert conn.execute("SELECT valid, tenants_checked FROM immutable.verify_chain()").fetchone() == (True, tenants)
        assert conn.execute("SELECT count(*) FROM immutable.heads()").fetchone() == (tenants,)
    assert conn.execute("SELECT count(*) FROM immutable.heads('t2')").fetchone() == (0,)
    for call in ("export_events(tenant_id => 't2')", "verify_chain(tenant_id => 't2')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"SELECT immutable.{call}")
