"""Recording on several nodes: INSERT, COPY, track() and track_batch() by a role that is a writer and nothing else, from the
coordinator and from a worker, for tenants on the worker that the client is on and on the other one."""

import itertools
import json

import psycopg
import pytest
from nodes import COORDINATOR

EVENT = {"actor_id": "u1", "action": "document.shared", "resource": "document", "resource_id": "d1"}
TARGETS = [{"type": "team"}, {"type": "doc", "id": "d1", "name": "Plan", "metadata": {"size": 1.10}}]
COLUMNS = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES "
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def writer(shared):
    return shared.create_role(groups=["immutable_writer"])


@pytest.fixture(scope="module")
def places(shared):
    """Node -> the names of many tenants of it."""
    node_of = {int(name.rpartition("_")[2]): node for name, node in shared.shards().items()}
    named = shared.conn.execute("SELECT 't' || n, get_shard_id_for_distribution_column('immutable.events', 't' || n) FROM generate_series(1, 300) n").fetchall()
    return {node: iter([name for name, shard in named if node_of[shard] == node]) for node in (1, 2)}


@pytest.fixture
def tenants(places):
    """Two tenants of the first worker and two of the second, which no other test has."""
    return [next(places[node]) for node in (1, 2, 1, 2)]


@pytest.fixture
def conn(shared, writer, entry):
    return shared.connect(writer, entry)


def events(shared, tenant, columns="seq"):
    return shared.conn.execute(f"SELECT {columns} FROM immutable.events WHERE tenant_id = %s ORDER BY created_at, seq", [tenant]).fetchall()


def verify(shared, *tenants):
    """The number of events in the tenants' shards, which must be valid."""
    shards = {shared.shard_of(tenant) for tenant in tenants}
    for shard, node in shards:
        with shared.on_node(node) as conn:
            valid, breaks = conn.execute("SELECT valid, breaks FROM immutable.verify_shard(%s)", [shard]).fetchone()
            assert valid, breaks


def track(conn, tenant, on_conflict="error", **fields):
    return conn.execute("SELECT immutable.track(%s::jsonb, %s)",
                        [json.dumps({**EVENT, "tenant_id": tenant, **fields}), on_conflict]).fetchone()[0]


def refused(call, error, *words):
    with pytest.raises(error) as raised:
        call()
    diag = raised.value.diag
    assert all(word in f"{diag.message_primary} {diag.message_hint}" for word in words), (diag.message_primary, diag.message_hint)
    return diag


def test_a_writer_inserts(shared, conn, tenants):
    for tenant in tenants:
        conn.execute(f"{COLUMNS} (%s, 'a', 'b')", [tenant])
        found = conn.execute(f"{COLUMNS} (%s, 'a', 'b') RETURNING tenant_id, lane, seq, action", [tenant]).fetchone()
        assert found == (tenant, 0, 2, "b")
        found = conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets, metadata) VALUES (%s, 'a', 'b', %s, %s) "
                             "RETURNING targets, metadata::text", [tenant, json.dumps(TARGETS), '{"n": 1.10}']).fetchone()
        assert [target["type"] for target in found[0]] == ["doc", "team"] and found[1] == '{"n": 1.10}'
        assert shared.conn.execute("SELECT target_type FROM immutable.event_targets WHERE tenant_id = %s ORDER BY position",
                                   [tenant]).fetchall() == [("doc",), ("team",)]
    # Many rows of many tenants in one statement.
    rows = ", ".join(f"('{tenant}', 'a', 'many')" for tenant in tenants * 3)
    assert len(conn.execute(f"{COLUMNS} {rows} RETURNING id").fetchall()) == 12
    assert all(events(shared, tenant) == [(n,) for n in range(1, 7)] for tenant in tenants)
    verify(shared, *tenants)


def test_a_writer_inserts_on_conflict(shared, conn, tenants):
    insert = ("INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES (%s, 'a', 'b', 'k') "
              "ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING id")
    for tenant in tenants:
        assert conn.execute(insert, [tenant]).rowcount == 1
        assert conn.execute(insert, [tenant]).rowcount == 0
        diag = refused(lambda: conn.execute(insert.replace("ON CONFLICT (tenant_id, idempotency_key) DO NOTHING", ""), [tenant]),
                       psycopg.errors.UniqueViolation)
        assert "idempotency" in diag.message_primary
    verify(shared, *tenants)


def test_a_writer_uses_prepared_statements(shared, conn, tenants):
    conn.execute("PREPARE record (text, text) AS INSERT INTO immutable.events (tenant_id, action) VALUES ($1, $2) RETURNING actor_id")
    for n in range(8):
        conn.execute(f"SET immutable.actor_id = 'actor_{n}'")
        for tenant in tenants:
            assert conn.execute(f"EXECUTE record ('{tenant}', 'b')").fetchone() == (f"actor_{n}",)
    for tenant in tenants * 4:
        conn.execute(f"{COLUMNS} (%s, 'driver', 'b')", [tenant], prepare=True)
    assert all(len(events(shared, tenant)) == 12 for tenant in tenants)
    verify(shared, *tenants)


def test_transactions_over_tenants_of_several_nodes(shared, conn, tenants):
    record = f"{COLUMNS} (%s, 'a', 'b')"
    with conn.transaction():
        for tenant in tenants:
            conn.execute(record, [tenant])
    with conn.transaction(force_rollback=True):
        for tenant in tenants:
            conn.execute(record, [tenant])
            assert track(conn, tenant)["status"] == "recorded"
    with conn.transaction():
        for tenant in tenants:
            conn.execute(record, [tenant])
            with conn.transaction(force_rollback=True):
                conn.execute(record, [tenant])
            with conn.transaction():
                assert track(conn, tenant)["status"] == "recorded"
            # A writer sees what its transaction has recorded, and nothing else.
            assert conn.execute("SELECT seq FROM immutable.events WHERE tenant_id = %s ORDER BY seq", [tenant]).fetchall() == [(2,), (3,)]
        with pytest.raises(psycopg.errors.InvalidParameterValue), conn.transaction():
            conn.execute(record.replace("'b'", "''"), [tenants[1]])
        conn.execute(record, [tenants[1]])
    assert [len(events(shared, tenant)) for tenant in tenants] == [3, 4, 3, 3]
    assert all(events(shared, tenant)[:3] == [(1,), (2,), (3,)] for tenant in tenants)
    verify(shared, *tenants)


def test_settings_of_the_session(shared, conn, tenants):
    """They are read where the client is, also by track(), also for the tenant."""
    said = {"actor_id": "s_actor", "actor_name": "Ann", "actor_type": "user", "session_id": "s1", "ip_address": "203.0.113.7", "user_agent": "curl"}
    for name, value in said.items():
        conn.execute(f"SELECT set_config('immutable.{name}', %s, false)", [value])
    columns = "actor_id, actor_name, actor_type, session_id, host(ip_address), user_agent"
    for tenant in tenants:
        conn.execute("INSERT INTO immutable.events (tenant_id, action) VALUES (%s, 'b')", [tenant])
        conn.execute("SELECT immutable.track(action => 'b', tenant_id => %s)", [tenant])
        with conn.transaction():
            conn.execute("SELECT set_config('immutable.tenant_id', %s, true)", [tenant])
            conn.execute("SET LOCAL immutable.session_id = 's1'")
            conn.execute("INSERT INTO immutable.events (action) VALUES ('b')")
            conn.execute("SELECT immutable.track(action => 'b')")
            conn.execute("""SELECT immutable.track_batch('[{"action": "b"}]')""")
        conn.execute("""SELECT immutable.track_batch(jsonb_build_array(jsonb_build_object('action', 'b', 'tenant_id', %s::text)))""", [tenant])
        assert events(shared, tenant, columns) == [tuple(said.values())] * 6
    conn.execute("SET immutable.ip_address = 'nowhere'")
    for statement in ("INSERT INTO immutable.events (tenant_id, action) VALUES ('t1', 'b')", "SELECT immutable.track(action => 'b', tenant_id => 't1')"):
        with pytest.raises(psycopg.Error) as raised:
            conn.execute(statement)
        assert raised.value.sqlstate in ("22023", "22P02")


def test_copy_is_for_roles_without_row_security(shared, conn, entry, tenants):
    """As on one machine."""
    copy = "COPY immutable.events (tenant_id, actor_id, action) FROM STDIN"

    def run(conn):
        with conn.cursor().copy(copy) as rows:
            for tenant in tenants:
                rows.write_row((tenant, "a", "copied"))
    refused(lambda: run(conn), psycopg.errors.FeatureNotSupported, "row-level security")
    # Nor INSERT ... SELECT from another table, which Citus makes a COPY.
    select = "INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT t, 'a', 'selected' FROM unnest(%s::text[]) t"
    refused(lambda: conn.execute(select, [tenants]), psycopg.errors.FeatureNotSupported, "row-level security")
    conn.execute(f"{select} ON CONFLICT (tenant_id, idempotency_key) DO NOTHING", [tenants])
    assert len(conn.execute(f"{select} RETURNING id", [tenants]).fetchall()) == 4
    loader = shared.create_role("BYPASSRLS", groups=["immutable_writer"])
    run(shared.connect(loader, entry))
    shared.connect(loader, entry).execute(select, [tenants])
    for tenant in tenants:
        assert events(shared, tenant, "action") == [("selected",), ("selected",), ("copied",), ("selected",)]
    verify(shared, *tenants)


def test_a_taken_key_is_a_duplicate(shared, conn, tenants):
    for tenant in tenants:
        first = track(conn, tenant, idempotency_key="k", metadata={"n": 1.10}, targets=TARGETS)
        assert first["status"] == "recorded"
        again = {"id": first["id"], "status": "duplicate"}
        assert track(conn, tenant, idempotency_key="k", metadata={"n": 1.10}, targets=TARGETS) == again
        assert track(conn, tenant, "answer", idempotency_key="k", metadata={"n": 1.10}, targets=TARGETS) == again
        diag = refused(lambda: track(conn, tenant, idempotency_key="k", metadata={"n": 2}, targets=TARGETS),
                       psycopg.errors.UniqueViolation, first["id"], "metadata", "on_conflict => 'answer'")
        assert diag.message_primary == f"idempotency_key was already used for event {first['id']}, which differs in metadata"
        assert track(conn, tenant, "answer", idempotency_key="k", action="other", targets=TARGETS) == {
            "id": first["id"], "status": "conflict", "differs": ["action", "metadata"]}
        assert len(events(shared, tenant)) == 1
    verify(shared, *tenants)


def test_a_taken_key_in_a_transaction(shared, writer, entry, tenants):
    """Also one that has written to the shard before, and also its own event."""
    earlier = {tenant: track(shared.connect(writer), tenant, idempotency_key="k")["id"] for tenant in tenants}
    conn = shared.connect(writer, entry)
    with conn.transaction():
        for tenant in tenants:
            assert track(conn, tenant, idempotency_key="k") == {"id": earlier[tenant], "status": "duplicate"}
            conn.execute(f"{COLUMNS} (%s, 'a', 'b')", [tenant])
            assert track(conn, tenant, idempotency_key="k") == {"id": earlier[tenant], "status": "duplicate"}
            own = track(conn, tenant, idempotency_key="own")
            assert track(conn, tenant, idempotency_key="own") == {"id": own["id"], "status": "duplicate"}
            with pytest.raises(psycopg.errors.UniqueViolation), conn.transaction():
                track(conn, tenant, idempotency_key="own", action="other")
            with conn.transaction(force_rollback=True):
                undone = track(conn, tenant, idempotency_key="undone")
                assert track(conn, tenant, idempotency_key="undone")["id"] == undone["id"]
            assert track(conn, tenant, idempotency_key="undone")["status"] == "recorded"
    for tenant in tenants:
        assert len(events(shared, tenant)) == 4
        assert track(conn, tenant, idempotency_key="own")["status"] == "duplicate"
    verify(shared, *tenants)


def test_a_taken_key_with_every_type_of_argument(shared, conn, tenants):
    call = ("SELECT immutable.track('u1', 'a', 'Ann', 'user', 'c', 'doc', 'd1', 'Plan', %s::jsonb, %s::jsonb, %s, 's1', 'k', {version}, "
            "{occurred_at}, '203.0.113.7', 'DE', 'Berlin', 'curl', 'answer')")
    given = {"version": "3", "occurred_at": "'2026-03-29 02:30:00.123456+01'"}
    conn.execute("SET DateStyle = 'SQL, DMY'; SET TimeZone = 'America/New_York'; SET IntervalStyle = 'sql_standard'")
    for tenant in tenants[:2]:
        arguments = [json.dumps(TARGETS), '{"n": 1.10, "quote\'s": "\\\\"}', tenant]
        first = conn.execute(call.format(**given), arguments).fetchone()[0]
        assert first["status"] == "recorded"
        assert conn.execute(call.format(**given), arguments).fetchone()[0] == {**first, "status": "duplicate"}
        for name, value in (("version", "4"), ("occurred_at", "'2026-03-29 02:30:00.123457+01'")):
            assert conn.execute(call.format(**{**given, name: value}), arguments).fetchone()[0]["differs"] == [name]
        # What the session says counts as the caller's where the actor is concerned.
        conn.execute("SET immutable.actor_id = 'somebody'")
        assert track(conn, tenant, idempotency_key="k2")["status"] == "recorded"
        assert conn.execute("SELECT immutable.track(action => 'document.shared', resource => 'document', resource_id => 'd1', tenant_id => %s, "
                            "idempotency_key => 'k2', on_conflict => 'answer')", [tenant]).fetchone()[0]["differs"] == ["actor_id"]
        conn.execute("RESET immutable.actor_id")


def test_errors_keep_their_codes_and_hints(shared, conn, tenants):
    for tenant in tenants:
        refused(lambda: track(conn, tenant, actor_id=""), psycopg.errors.InvalidParameterValue, "actor_id must not be empty", "immutable.actor_id")
        refused(lambda: track(conn, tenant, action="immutable.x"), psycopg.errors.InsufficientPrivilege, "reserved")
        refused(lambda: conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, seq) VALUES (%s, 'a', 'b', 1)", [tenant]),
                psycopg.errors.GeneratedAlways, "seq", "Leave seq out")
        refused(lambda: conn.execute(f"{COLUMNS} (%s, 'a', %s)", [tenant, "x" * 300]), psycopg.errors.StringDataRightTruncation, "300 bytes")
        for statement in ("UPDATE immutable.events SET action = 'x' WHERE tenant_id = %s", "DELETE FROM immutable.events WHERE tenant_id = %s"):
            refused(lambda: conn.execute(statement, [tenant]), psycopg.errors.InsufficientPrivilege)
    refused(lambda: conn.execute(f"{COLUMNS} (NULL, 'a', 'b')"), psycopg.errors.NullValueNotAllowed)
    assert track(conn, None)["status"] == "recorded" and track(conn, "")["status"] == "recorded"


def test_batches(shared, conn, tenants):
    def batch(events, kind="jsonb"):
        return conn.execute(f"SELECT immutable.track_batch(%s::{kind})", [json.dumps(events)]).fetchone()[0]["events"]
    for kind, key in (("jsonb", "k1"), ("json", "k2"), ("text", "k3")):
        given = [{**EVENT, "tenant_id": tenant, "idempotency_key": key, "targets": TARGETS, "metadata": {"n": n}} for n, tenant in enumerate(tenants)]
        first = batch(given, kind)
        assert [answer["status"] for answer in first] == ["recorded"] * 4
        assert batch(given, kind) == [{**answer, "status": "duplicate"} for answer in first]
        # One that is taken twice in the same batch, one that differs, one of no tenant, and errors of each kind.
        answers = batch([
            *given, {**given[0], "idempotency_key": key + "x"}, {**given[1], "version": 2}, {**EVENT},
            {**EVENT, "tenant_id": tenants[0], "idempotency_key": key + "x", "targets": TARGETS, "metadata": {"n": 0}},
            {**given[0], "actor_id": "", "idempotency_key": None}, {**given[1], "action": "immutable.x", "idempotency_key": "new"},
            {**given[1], "targets": [{"type": "t", "id": "x" * 2000}]}, {**given[1], "metadata": {str(n): n for n in range(51)}}, 7,
            {**given[1], "unknown": 1}, {**given[1], "version": "x"},
        ], kind)
        assert [answer["status"] for answer in answers] == ["duplicate"] * 4 + ["recorded", "conflict", "recorded", "duplicate"] + ["error"] * 7
        assert answers[4]["id"] == answers[7]["id"] and answers[5]["differs"] == ["version"]
        assert answers[5]["error"]["code"] == "23505" and answers[5]["error"]["field"] == "idempotency_key"
        assert [(answer["error"]["code"], answer["error"]["field"]) for answer in answers[8:]] == [
            ("22023", "actor_id"), ("42501", "action"), ("22001", "targets[0].id"), ("54000", "metadata"), ("22023", "event"), ("22023", "unknown"),
            ("22023", "version")]
        assert all(answer["error"]["message"] and answer["error"]["hint"] for answer in answers[8:])
    assert [len(events(shared, tenant)) for tenant in tenants] == [6, 3, 3, 3]
    # In a transaction: undone with it, and committed on all nodes or none.
    given = [{**EVENT, "tenant_id": tenant} for tenant in tenants]
    with conn.transaction(force_rollback=True):
        assert [answer["status"] for answer in batch(given)] == ["recorded"] * 4
    with conn.transaction():
        conn.execute(f"{COLUMNS} (%s, 'a', 'b')", [tenants[0]])
        with conn.transaction(force_rollback=True):
            batch(given)
        batch(given)
        assert [row[0] for row in conn.execute("SELECT tenant_id FROM immutable.events WHERE tenant_id = ANY (%s) ORDER BY tenant_id, seq",
                                               [tenants]).fetchall()] == sorted([*tenants, tenants[0]])
    assert [len(events(shared, tenant)) for tenant in tenants] == [8, 4, 4, 4]
    verify(shared, *tenants)


def test_a_batch_is_the_callers_transaction(shared, conn, tenants):
    """What ends a batch on one machine ends it here: nothing of it is recorded."""
    with conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("SELECT immutable.track_batch(%s::jsonb)", [json.dumps([{**EVENT, "tenant_id": tenant} for tenant in tenants])])
    nobody = shared.connect(shared.create_role())
    for call in (f"immutable.track_batch('[]'::jsonb)", "immutable.shard_track(0, 't1', '{}', 'error', '{}')", "immutable.shard_track_batch(0, 't1', '{}', '{}')"):
        refused(lambda: nobody.execute(f"SELECT {call}"), psycopg.errors.InsufficientPrivilege)
    assert not any(events(shared, tenant) for tenant in tenants)


def test_what_runs_at_the_shard_refuses_strange_calls(shared, writer, tenants):
    """A writer may call it by hand, and gets no further than with track()."""
    tenant = tenants[0]
    conn = shared.connect(writer, 1)
    for arguments in ("NULL, NULL, '{}', 'error', '{}'", "0, %s, NULL, 'error', '{}'", "0, %s, '{}', 'error', NULL", "0, %s, '{}', 'error', '{NULL}'"):
        refused(lambda: conn.execute(f"SELECT immutable.shard_track({arguments})", [tenant] * arguments.count("%s")), psycopg.errors.NullValueNotAllowed)
    for arguments in ("0, NULL, '{}', '{}'", "0, %s, NULL, '{}'", "0, %s, '{NULL}', '{}'", "0, %s, '{}', NULL"):
        refused(lambda: conn.execute(f"SELECT immutable.shard_track_batch({arguments})", [tenant] * arguments.count("%s")), psycopg.errors.NullValueNotAllowed)
    refused(lambda: conn.execute("SELECT immutable.shard_track(0, %s, '{}', 'maybe', '{}')", [tenant]), psycopg.errors.InvalidParameterValue)
    answers, = conn.execute("""SELECT immutable.shard_track_batch(0, %s, '{x,[],7,"{}"}', '{}')""", [tenant]).fetchone()
    assert [json.loads(answer)["error"]["field"] for answer in answers] == ["event", "event", "event", "actor_id"]
    # The session's own settings are as they were.
    conn.execute("SET immutable.actor_id = 'mine'")
    conn.execute("""SELECT immutable.shard_track(0, %s, %s, 'error', '{"",given}')""", [tenant, json.dumps({"action": "b", "tenant_id": tenant})])
    assert events(shared, tenant, "actor_id") == [("given",)] and conn.execute("SHOW immutable.actor_id").fetchone() == ("mine",)
    other = shared.connect(writer, 2)
    refused(lambda: other.execute("SELECT immutable.shard_track(0, %s, '{}', 'error', '{}')", [tenant]), psycopg.errors.ObjectNotInPrerequisiteState, tenant)


def test_a_trigger_of_a_table_beside_the_events_records(shared, writer, entry, tenants):
    """In the transaction of the row, which may have rows of tenants of several nodes."""
    table = f"public.orders_{entry}"
    shared.conn.execute(f'CREATE TABLE {table} (tenant_id text COLLATE "C", n int)')
    shared.conn.execute("SELECT create_distributed_table(%s, 'tenant_id', colocate_with => 'immutable.events')", [table])
    shared.conn.execute(f"CREATE FUNCTION {table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                        "PERFORM immutable.track(actor_id => 'a', action => 'ordered', tenant_id => NEW.tenant_id, idempotency_key => NEW.n::text); "
                        "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (NEW.tenant_id, 'a', 'inserted'); RETURN NEW; END $$")
    with shared.conn.transaction():
        shared.conn.execute("SET LOCAL citus.enable_unsafe_triggers = on")
        shared.conn.execute(f"CREATE TRIGGER ordered AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {table}()")
    shared.conn.execute(f"GRANT INSERT ON {table} TO {writer}")
    conn = shared.connect(writer, entry)
    insert = f"INSERT INTO {table} VALUES (%s, %s)"
    for rolled_back in (True, False):
        with conn.transaction(force_rollback=rolled_back):
            for tenant in tenants:
                conn.execute(f"{COLUMNS} (%s, 'a', 'b')", [tenant])
                for n in (1, 2, 1):
                    conn.execute(insert, [tenant, n])
    for tenant in tenants:
        assert events(shared, tenant, "action") == [("b",), ("ordered",), ("inserted",), ("ordered",), ("inserted",), ("inserted",)]
    verify(shared, *tenants)


def test_a_shard_takes_only_its_own_tenants(shared, writer, tenants):
    """A writer may log in to a worker, where the shards are tables."""
    for tenant in tenants[:2]:
        shard, node = shared.shard_of(tenant)
        foreign = next(name for name in (f"f{n}" for n in itertools.count()) if shared.shard_of(name)[0] != shard)
        for role in (writer, "postgres"):
            conn = shared.connect(role, node)
            for values in (f"('{foreign}', 'a', 'misplaced')", f"('{tenant}', 'a', 'misplaced'), ('{foreign}', 'a', 'misplaced')"):
                refused(lambda: conn.execute(f"INSERT INTO {shard} (tenant_id, actor_id, action) VALUES {values}"),
                        psycopg.errors.CheckViolation, foreign, shard.split(".")[1], "immutable.events")
            refused(lambda: conn.execute("SELECT immutable.shard_track(0, %s, %s, 'error', '{}')",
                                         [tenant, json.dumps({**EVENT, "tenant_id": foreign})]), psycopg.errors.CheckViolation, foreign)
            answers, = conn.execute("SELECT immutable.shard_track_batch(0, %s, %s, '{}')",
                                    [tenant, [json.dumps({**EVENT, "tenant_id": foreign, "action": "misplaced"})]]).fetchone()
            assert json.loads(answers[0])["error"]["field"] == "tenant_id"
        # As does a dump that is restored by force.
        with shared.on_node(node) as admin:
            admin.execute("SET immutable.restore = on")
            refused(lambda: admin.execute(f"INSERT INTO {shard} (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [foreign]),
                    psycopg.errors.CheckViolation, foreign)
    assert shared.conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'misplaced'").fetchone() == (0,)
    verify(shared, *tenants)


def test_the_hash_is_that_of_citus(shared):
    """Every shard takes every tenant that Citus sends there."""
    names = ["", " ", "a", "Ünï", "日本語", "x" * 255, "a'b\"c\\d", *(f"n{n}" for n in range(200))]
    rows = [(name, "a", "hashed") for name in names]
    with shared.conn.cursor() as cursor:
        cursor.executemany(f"{COLUMNS} (%s, %s, %s)", rows)
    assert shared.conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'hashed'").fetchone() == (len(names),)


def test_a_writer_sees_its_own_events_alone(shared, writer, tenants):
    """Also beside an event that another node has numbered as this transaction, as it is after a shard was moved."""
    tenant, other = tenants[1], tenants[3]
    for node in (COORDINATOR, 2):
        conn = shared.connect(writer, node, autocommit=False)
        shared.conn.execute(f"{COLUMNS} (%s, 'a', 'foreign'), (%s, 'a', 'foreign')", [tenant, other])
        xact, = conn.execute(f"{COLUMNS} (%s, 'a', 'own') RETURNING xact", [tenant]).fetchone()
        with shared.on_node(2) as forger:
            forger.execute("SET session_replication_role = replica")
            for each in (tenant, other):
                forger.execute(f"UPDATE {shared.shard_of(each)[0]} SET xact = %s WHERE tenant_id = %s AND action = 'foreign'", [xact, each])
        for where in ("tenant_id = %s", "tenant_id = ANY (ARRAY[%s])"):
            assert conn.execute(f"SELECT action FROM immutable.events WHERE {where}", [tenant]).fetchall() == [("own",)]
            assert conn.execute(f"SELECT action FROM immutable.events WHERE {where}", [other]).fetchall() == []
        assert conn.execute("SELECT action FROM immutable.events").fetchall() == [("own",)]
        conn.commit()
        assert conn.execute("SELECT action FROM immutable.events").fetchall() == []
        conn.rollback()


def test_operators_of_the_writers_own_are_not_used(shared, tenants):
    """Citus finds the shard by the log's own statement, whatever = means to the caller."""
    role = shared.create_role(groups=["immutable_writer"])
    shared.conn.execute(f"CREATE SCHEMA {role} AUTHORIZATION {role}")
    conn = shared.connect(role)
    conn.execute(f"CREATE FUNCTION {role}.always(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'")
    conn.execute(f"CREATE OPERATOR {role}.= (LEFTARG = text, RIGHTARG = text, FUNCTION = {role}.always)")
    conn.execute(f"SET search_path = {role}, pg_catalog")
    event = json.dumps({"tenant_id": tenants[0], "actor_id": "a", "action": "x.y", "idempotency_key": "own operators"})
    done = conn.execute("SELECT immutable.track_batch(%s::text) -> 'events' -> 0 ->> 'status'", [f"[{event}]"]).fetchone()
    again = conn.execute("SELECT immutable.track(%s::jsonb, 'answer') ->> 'status'", [event]).fetchone()
    assert (done, again) == (("recorded",), ("duplicate",))


def test_recorded_by_is_the_role_whose_rights_were_used(shared, writer, entry, tenants):
    """The login stays with the node that the client is on. So that one tenant's events are like another's, no shard notes it."""
    boss = shared.create_role(groups=[writer])
    shared.conn.execute("CREATE OR REPLACE FUNCTION public.record(tenant text) RETURNS void LANGUAGE sql SECURITY DEFINER AS "
                        f"$$ {COLUMNS} (tenant, 'a', 'b') $$")
    conn = shared.connect(boss, entry)
    for tenant in tenants[:2]:
        conn.execute(f"{COLUMNS} (%s, 'a', 'b')", [tenant])
        track(conn, tenant)
        conn.execute(f"SET ROLE {writer}")
        conn.execute(f"{COLUMNS} (%s, 'a', 'b')", [tenant])
        conn.execute("""SELECT immutable.track_batch(jsonb_build_array(jsonb_build_object('actor_id', 'a', 'action', 'b', 'tenant_id', %s::text)))""", [tenant])
        conn.execute("RESET ROLE")
        conn.execute("SELECT public.record(%s)", [tenant])
        assert [row[0] for row in events(shared, tenant, "recorded_by")] == [boss, boss, writer, writer, "postgres"]


def test_limits_are_those_of_the_shards_node(shared, entry, tenants):
    """Citus sets what a role is given on the coordinator on every node. A database has its own settings on each."""
    here, everywhere = shared.create_role(groups=["immutable_writer"]), shared.create_role(groups=["immutable_writer"])
    shared.conn.execute(f"ALTER ROLE {everywhere} SET immutable.max_targets = 1")
    shared.conn.execute(f"ALTER ROLE {everywhere} SET immutable.require_tenant = on")
    with shared.on_node(2) as admin:
        admin.execute(f"ALTER DATABASE {shared.name} SET immutable.max_targets = 1")
    try:
        for role, refusing in ((here, tenants[1:2]), (everywhere, tenants[:2])):
            conn = shared.connect(role, entry)
            for tenant in tenants[:2]:
                if tenant in refusing:
                    refused(lambda: track(conn, tenant, targets=TARGETS), psycopg.errors.ProgramLimitExceeded, "at most 1", "immutable.max_targets")
                else:
                    assert track(conn, tenant, targets=TARGETS)["status"] == "recorded"
        refused(lambda: track(conn, None), psycopg.errors.NotNullViolation, "require_tenant")
        refused(lambda: conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('a', 'b')"), psycopg.errors.NotNullViolation)
    finally:
        with shared.on_node(2) as admin:
            admin.execute(f"ALTER DATABASE {shared.name} RESET immutable.max_targets")
