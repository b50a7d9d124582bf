"""erase() and erase_subject() of a distributed log: at the shard of the tenant, from every node."""

import json
import os
import subprocess
import threading
import uuid

import psycopg
import pytest
from nodes import COORDINATOR, WORKERS
from psycopg.types.json import Jsonb
from test_own_events import FAILS_AT_COMMIT, shards_are_valid

names = iter(f"erased_{n}" for n in range(1000))
# As they are stored: sorted by type.
TARGETS = [{"type": "doc", "id": "d1"}, {"type": "user", "id": "u2", "name": "Ann"}]


@pytest.fixture(scope="module")
def eraser(shared):
    return shared.create_role(groups=["immutable_eraser"])


@pytest.fixture
def tenant():
    """Every test of a file has tenants of its own."""
    return next(names)


def add(log, tenant, actor="u1", **columns):
    columns = {"actor_id": actor, "actor_name": "Ben", "action": "doc.shared", "metadata": Jsonb({"k": "v", "note": f"by {actor}"}),
               "targets": Jsonb(TARGETS), "tenant_id": tenant, **columns}
    row = log.conn.execute(
        f"INSERT INTO immutable.events ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) RETURNING id",
        list(columns.values())).fetchone()
    return row[0]


def event(log, tenant, found):
    return log.conn.execute("SELECT actor_id, actor_name, metadata, targets, erased IS NOT NULL FROM immutable.events "
                            "WHERE tenant_id = %s AND id = %s", [tenant, found]).fetchone()


def records(log, tenant):
    return log.conn.execute(
        "SELECT actor_id, actor_type, recorded_by, metadata ->> 'reason', jsonb_array_length(targets) FROM immutable.events "
        "WHERE tenant_id = %s AND action = 'immutable.event_erased' ORDER BY lane, seq", [tenant]).fetchall()


def refused(conn, statement, arguments=()):
    with pytest.raises(psycopg.Error) as found:
        conn.execute(statement, arguments)
    return found.value.sqlstate, found.value.diag.message_primary


ERASE = "SELECT event_id, path FROM immutable.erase({}, {}, {}, {})"
WAYS = {
    "statement": "SELECT * FROM immutable.erase({id}, {tenant}, {paths}, 'ticket 17')",
    "names": "SELECT * FROM immutable.erase(reason => 'ticket 17', paths => {paths}, event_id => {id}, tenant_id => {tenant})",
    "do": "DO $$ BEGIN PERFORM immutable.erase({id}, {tenant}, {paths}, 'ticket 17'); END $$",
    "function": "SELECT * FROM pg_temp.f({id}, {tenant}, {paths})",
    "prepared": "EXECUTE erased({id}, {tenant}, {paths})",
    "subquery": "SELECT * FROM immutable.erase((SELECT {id}::uuid), (SELECT {tenant}), {paths}, (SELECT 'ticket 17'))",
}


@pytest.mark.parametrize("node", [COORDINATOR, *WORKERS])
@pytest.mark.parametrize("role", ["eraser", "superuser"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_from_every_node(shared, eraser, tenant, node, role, way):
    name = eraser if role == "eraser" else "postgres"
    conn = shared.connect(name, node)
    conn.execute("SET citus.enable_ddl_propagation = off")
    conn.execute("CREATE FUNCTION pg_temp.f(uuid, text, text[]) RETURNS TABLE (event_id uuid, path text) LANGUAGE sql "
                 "AS $$ SELECT * FROM immutable.erase($1, $2, $3, 'ticket 17') $$")
    conn.execute("PREPARE erased (uuid, text, text[]) AS SELECT * FROM immutable.erase(event_id => $1, tenant_id => $2, paths => $3, "
                 "reason => 'ticket 17')")
    for block in [False, True]:
        ids = [add(shared, tenant) for _ in range(2 if block else 1)]
        statements = [WAYS[way].format(id=f"'{id}'", tenant=f"'{tenant}'", paths="'{actor_name,targets.1,metadata.k}'") for id in ids]
        if block:
            with conn.transaction():
                answers = [conn.execute(statement) for statement in statements]
        else:
            answers = [conn.execute(statement) for statement in statements]
        for id, answer in zip(ids, answers):
            if way != "do":
                assert sorted(answer.fetchall()) == sorted((id, path) for path in ["actor_name", "metadata.k", "targets.1"])
            actor_id, actor_name, metadata, targets, erased = event(shared, tenant, id)
            assert (actor_id, actor_name, metadata, erased) == ("u1", None, {"note": "by u1"}, True)
            assert targets == [TARGETS[0], {"type": "user"}]
    assert records(shared, tenant) == [(name, "role", name, "ticket 17", 1)] * 3


def test_the_targets_table_is_erased_too(shared, eraser, tenant, entry):
    id = add(shared, tenant)
    shared.connect(eraser, entry).execute(ERASE.format("%s", "%s", "%s", "'r'"), [id, tenant, ["targets.1"]])
    assert shared.conn.execute("SELECT target_type, target_id, target_name FROM immutable.event_targets WHERE event_id = %s "
                               "ORDER BY position", [id]).fetchall() == [("doc", "d1", None), ("user", None, None)]


@pytest.mark.parametrize("none", ["NULL", "''"])
def test_an_event_without_a_tenant(shared, eraser, entry, none):
    id = add(shared, "")
    conn = shared.connect(eraser, entry)
    assert conn.execute(ERASE.format(f"'{id}'", none, "'{actor_name}'", "'no tenant'")).fetchall() == [(id, "actor_name")]
    actor = str(uuid.uuid4())
    id = add(shared, "", actor)
    found = conn.execute(f"SELECT event_id, path FROM immutable.erase_subject({none}, %s, 'r', dry_run => true)", [actor]).fetchall()
    assert found == conn.execute(f"SELECT event_id, path FROM immutable.erase_subject({none}, %s, 'r')", [actor]).fetchall() != []


CALLERS = ["eraser", "superuser", "viewer", "nobody"]


@pytest.mark.parametrize("caller", CALLERS)
def test_null_in_any_argument_is_refused_and_crashes_nothing(shared, eraser, entry, caller):
    """field 5.1: a NULL tenant ended the whole coordinator, for every role with USAGE."""
    role = {"eraser": eraser, "superuser": "postgres"}.get(caller)
    role = role or shared.create_role(groups=["immutable_viewer" if caller == "viewer" else "immutable_writer"])
    conn = shared.connect(role, entry)
    id, may = "gen_random_uuid()", caller in ("eraser", "superuser")
    for statement, expected in [
        (f"SELECT immutable.erase({id}, NULL, '{{}}', 'r')", "22023"),
        (f"SELECT immutable.erase({id}, NULL, '{{actor_id}}', 'r')", "P0002"),
        ("SELECT immutable.erase(NULL, 't1', '{actor_id}', 'r')", "22004"),
        (f"SELECT immutable.erase({id}, 't1', NULL, 'r')", "22004"),
        (f"SELECT immutable.erase({id}, 't1', '{{NULL}}', 'r')", "22004"),
        (f"SELECT immutable.erase({id}, 't1', '{{actor_id}}', NULL)", "22004"),
        ("SELECT immutable.erase(NULL, NULL, NULL, NULL)", "22004"),
        ("SELECT immutable.erase_subject('t1', NULL::text, 'r')", "22004"),
        ("SELECT immutable.erase_subject('t1', NULL::text[], 'r')", "22004"),
        ("SELECT immutable.erase_subject('t1', '{NULL}'::text[], 'r')", "22004"),
        ("SELECT immutable.erase_subject('t1', '{}'::text[], 'r')", "22023"),
        ("SELECT immutable.erase_subject('t1', 'u1', NULL)", "22004"),
        ("SELECT immutable.erase_subject('t1', 'u1', 'r', dry_run => NULL)", "22004"),
        ("SELECT immutable.erase_subject(NULL, NULL::text, NULL, NULL, NULL, NULL)", "22004"),
        (f"SELECT f FROM (VALUES (NULL), ('t1')) v(t), immutable.erase({id}, v.t, '{{actor_id}}', 'r') f", "P0002"),
    ]:
        assert refused(conn, statement)[0] == (expected if may else "42501"), statement
    if may:
        assert conn.execute("SELECT immutable.erase_subject(NULL, 'no such', 'r', NULL, NULL)").fetchall() == []
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_arguments_are_checked_before_anything_is_sent(shared, eraser, tenant, entry):
    """A node that is named by no other statement is not asked: the transaction has no ID."""
    conn = shared.connect(eraser, entry)
    for statement, code, message in [
        (ERASE.format("gen_random_uuid()", "'t'", "'{nonsense}'", "'r'"), "22023", 'paths: "nonsense" is not a path of a value that can be erased'),
        (ERASE.format("gen_random_uuid()", "'t'", "'{actor_id}'", "' '"), "22023", "reason must not be empty"),
        (ERASE.format("gen_random_uuid()", "'t'", "'{actor_id}'", "repeat('r', 5000)"), "22001", "reason is too long: 5000 bytes, at most 4096"),
        ("SELECT immutable.erase_subject('t', '', 'r')", "22023", "subject_id must not be empty"),
        ("SELECT immutable.erase_subject('t', 'u1', 'for u1')", "22023", "reason must not contain the subject's id, because the reason is kept"),
        ("SELECT immutable.erase_subject('t', 'u1', 'r', actor_paths => '{nonsense}')", "22023",
         'actor_paths: "nonsense" is not a path of a value that can be erased'),
        (ERASE.format("gen_random_uuid()", f"'{tenant}'", "'{actor_id}'", "'r'"), "P0002", None),
    ]:
        found = refused(conn, statement)
        assert found[0] == code and (message is None or found[1] == message)
    id = add(shared, tenant)
    assert refused(conn, ERASE.format("%s", "%s", "'{metadata.absent}'", "'r'"), [id, tenant]) == (
        "22023", 'paths: "metadata.absent" is not in the event')
    assert records(shared, tenant) == []


def test_read_only_transactions_and_higher_isolation(shared, eraser, tenant, entry):
    id = add(shared, tenant, actor := str(uuid.uuid4()))
    conn = shared.connect(eraser, entry)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        with conn.transaction():
            conn.execute("SET TRANSACTION READ ONLY")
            conn.execute(ERASE.format("%s", "%s", "'{actor_id}'", "'r'"), [id, tenant])
    with conn.transaction():
        conn.execute("SET TRANSACTION READ ONLY")
        assert conn.execute("SELECT * FROM immutable.erase_subject(%s, %s, 'r', dry_run => true)", [tenant, actor]).fetchall()
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert conn.execute("SELECT * FROM immutable.erase_subject(%s, %s, 'r')", [tenant, actor]).fetchall()
    assert event(shared, tenant, id)[0] is None


def test_a_person_is_erased_from_the_whole_tenant_and_from_no_other(shared, eraser, tenant, entry):
    """More events than one record lists, in several lanes; the same person in another tenant stays."""
    person, other = f"person-{tenant}", f"{tenant}_other"
    for of in [tenant, other]:
        with shared.connect() as conn:
            conn.execute(
                "INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action, resource_id, targets, metadata) "
                "SELECT %s, CASE WHEN n %% 2 = 0 THEN %s ELSE 'somebody' END, 'N', 'a', CASE WHEN n %% 3 = 0 THEN %s END, "
                "       CASE WHEN n %% 5 = 0 THEN jsonb_build_array(jsonb_build_object('type', 'user', 'id', %s::text)) ELSE '[]' END, "
                "       jsonb_build_object('note', CASE WHEN n %% 7 = 0 THEN 'for ' || %s ELSE 'x' END, 'extra', n) "
                "FROM generate_series(1, 300) n", [of, person, person, person, person])
    conn = shared.connect(eraser, entry)
    arguments = [tenant, person, "ticket 18", ["extra"]]
    preview = conn.execute("SELECT * FROM immutable.erase_subject(%s, %s, %s, %s, dry_run => true)", arguments).fetchall()
    assert records(shared, tenant) == []
    erased = conn.execute("SELECT * FROM immutable.erase_subject(%s, %s, %s, %s)", arguments).fetchall()
    assert erased == preview and {found for _, _, found in erased} == {"exact", "within", "beside"}
    events = len({id for id, _, _ in erased})
    assert events == sum(1 for n in range(1, 301) if not n % 2 or not n % 3 or not n % 5 or not n % 7)
    assert sum(count for *_, count in records(shared, tenant)) == events
    assert {record[:4] for record in records(shared, tenant)} == {(eraser, "role", eraser, "ticket 18")}
    for where, left in [(tenant, 0), (other, events)]:
        for table, key in [("events", "id"), ("event_targets", "event_id")]:
            count, = shared.conn.execute(f"SELECT count(DISTINCT {key}) FROM immutable.{table} x WHERE tenant_id = %s AND x::text LIKE %s",
                                         [where, f"%{person}%"]).fetchone()
            assert count == (left if table == "events" or not left else 60)
    assert conn.execute("SELECT * FROM immutable.erase_subject(%s, %s, %s, %s)", arguments).fetchall() == []
    assert shards_are_valid(shared)


def test_a_person_with_several_ids_and_in_other_spelling(shared, eraser, tenant, entry):
    for actor in ["ann@example.com", "emp-7", "ANN@example.com"]:
        add(shared, tenant, actor, metadata=Jsonb({}), targets=Jsonb([]))
    conn = shared.connect(eraser, entry)
    found = conn.execute("SELECT path, found FROM immutable.erase_subject(%s, %s::text[], 'r', dry_run => true)",
                         [tenant, ["ann@example.com", "emp-7"]]).fetchall()
    assert sorted(set(found)) == [("actor_id", "exact"), ("actor_id", "variant"), ("actor_name", "beside")]
    conn.execute("SELECT path, found FROM immutable.erase_subject(tenant_id => %s, subject => %s, reason => 'r', actor_paths => %s)",
                 [tenant, ["ann@example.com", "emp-7"], ["actor_id"]])
    assert shared.conn.execute("SELECT actor_id, actor_name FROM immutable.events WHERE tenant_id = %s AND action = 'doc.shared' "
                               "ORDER BY lane, seq", [tenant]).fetchall() == [(None, "Ben"), (None, "Ben"), ("ANN@example.com", "Ben")]


def test_the_record_names_the_caller_through_a_gateway_and_counts_the_erasers_own_events(shared, eraser, tenant, entry):
    gateway = shared.create_role(groups=[eraser])
    ids = [add(shared, tenant, gateway), add(shared, tenant, eraser), add(shared, tenant, "somebody")]
    conn = shared.connect(gateway, entry)
    conn.execute(f"SET ROLE {eraser}")
    for id in ids:
        conn.execute(ERASE.format("%s", "%s", "'{actor_name}'", "'r'"), [id, tenant])
    assert records(shared, tenant) == [(eraser, "role", gateway, "r", 1)] * 3
    assert shared.conn.execute("SELECT metadata -> 'own_events' FROM immutable.events WHERE tenant_id = %s AND action = 'immutable.event_erased' "
                               "ORDER BY lane, seq", [tenant]).fetchall() == [(1,), (1,), (None,)]


def test_the_reason_of_a_record_can_be_erased(shared, eraser, tenant, entry):
    conn = shared.connect(eraser, entry)
    conn.execute(ERASE.format("%s", "%s", "'{actor_name}'", "'names Ann'"), [add(shared, tenant), tenant])
    (record,), = shared.conn.execute("SELECT id FROM immutable.events WHERE tenant_id = %s AND action = 'immutable.event_erased'", [tenant]).fetchall()
    assert refused(conn, ERASE.format("%s", "%s", "'{targets.0}'", "'r'"), [record, tenant])[0] == "22023"
    assert conn.execute(ERASE.format("%s", "%s", "'{metadata.reason}'", "'r'"), [record, tenant]).fetchall() == [(record, "metadata.reason")]


def test_what_is_rolled_back_is_not_erased(shared, eraser, tenant, entry):
    id = add(shared, tenant)
    conn = shared.connect(eraser, entry)
    with conn.transaction(force_rollback=True):
        conn.execute(ERASE.format("%s", "%s", "'{actor_name}'", "'r'"), [id, tenant])
    with conn.transaction():
        conn.execute(ERASE.format("%s", "%s", "'{actor_name}'", "'kept'"), [id, tenant])
        with conn.transaction(force_rollback=True):
            conn.execute(ERASE.format("%s", "%s", "'{actor_id}'", "'r'"), [id, tenant])
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        with conn.transaction():
            conn.execute("SET LOCAL citus.enable_ddl_propagation = off")
            conn.execute(FAILS_AT_COMMIT)
            conn.execute(ERASE.format("%s", "%s", "'{actor_id}'", "'r'"), [id, tenant])
    assert event(shared, tenant, id)[:2] == ("u1", None)
    assert records(shared, tenant) == [(eraser, "role", eraser, "kept", 1)]
    assert shards_are_valid(shared)


def test_a_transaction_that_wrote_to_the_tenant_is_refused_with_advice(shared, tenant, entry):
    role = shared.create_role(groups=["immutable_eraser", "immutable_writer"])
    id = add(shared, tenant)
    conn = shared.connect(role, entry, autocommit=False)
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
    statement, arguments = ERASE.format("%s", "%s", "'{actor_name}'", "'r'"), [id, tenant]
    if shared.shard_of(tenant)[1] == entry:
        conn.execute(statement, arguments)
    else:
        assert refused(conn, statement, arguments) == (
            "25001", "this transaction has written to the shard with another role than the log's owner")
    conn.rollback()
    conn.execute(statement, arguments)
    conn.commit()
    assert event(shared, tenant, id)[1] is None


def test_an_event_that_does_not_match_its_hash(shared, eraser, tenant, entry):
    """The warning about a damaged event comes from the shard; the others are erased."""
    actor = str(uuid.uuid4())
    ids = [add(shared, tenant, actor), add(shared, tenant, actor)]
    table, node = shared.shard_of(tenant)

    def rename(name):
        with shared.on_node(node) as owner:
            owner.execute("SET session_replication_role = replica")
            owner.execute("SET citus.enable_manual_changes_to_shards = on")
            owner.execute(f"UPDATE {table} SET actor_name = %s WHERE tenant_id = %s AND id = %s", [name, tenant, ids[0]])

    rename("Eve")
    conn = shared.connect(eraser, entry)
    notices = []
    conn.add_notice_handler(lambda notice: notices.append((notice.severity, notice.message_primary)))
    conn.execute("SELECT * FROM immutable.erase_subject(%s, %s, 'r')", [tenant, actor])
    (severity, message), = notices
    assert severity == "WARNING" and message.startswith(f"event {ids[0]} does not match its hash, so nothing can be erased from it")
    assert event(shared, tenant, ids[1])[0] is None and event(shared, tenant, ids[0])[0] == actor
    assert refused(conn, ERASE.format("%s", "%s", "'{actor_id}'", "'r'"), [ids[0], tenant]) == (
        "55000", f"event {ids[0]} does not match its hash, so nothing can be erased from it")
    rename("Ben")
    assert shards_are_valid(shared)


def test_a_cancelled_erasure_ends_at_the_shard_too(shared, eraser, tenant, entry):
    """It waits there for the lane of a writer; statement_timeout is watched where the client is."""
    id = add(shared, tenant)
    writer = shared.connect(autocommit=False)
    writer.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
    conn = shared.connect(eraser, entry)
    conn.execute("SET statement_timeout = 300")
    assert refused(conn, ERASE.format("%s", "%s", "'{actor_id}'", "'r'"), [id, tenant])[0] == "57014"
    writer.commit()
    conn.execute("SET statement_timeout = 0")
    assert conn.execute(ERASE.format("%s", "%s", "'{actor_id}'", "'r'"), [id, tenant]).fetchall() == [(id, "actor_id")]
    assert len(records(shared, tenant)) == 1


def test_erasing_among_writers_and_other_erasers(shared, eraser):
    """Two tenants, on different nodes where there are any, are written while erasers go through them in opposite orders, from
    different nodes; some of them give up. A deadlock ends one of two transactions."""
    tenants = shared.tenants_on(1) + shared.tenants_on(2)
    stop, failures = threading.Event(), []

    def write(tenant, node):
        with shared.on_node(node) as conn:
            number = 0
            while not stop.is_set() and number < 300:
                number += 1
                conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action) VALUES (%s, %s, 'N', 'a')",
                             [tenant, f"worker-{number % 3}-x"])

    def erase(order, node, gives_up):
        with psycopg.connect(shared.nodes[node].dsn(shared.name, eraser)) as conn:
            for number in range(3):
                try:
                    for tenant in order:
                        conn.execute("SELECT * FROM immutable.erase_subject(%s, %s, 'r')", [tenant, f"worker-{number}-x"])
                    conn.rollback() if gives_up else conn.commit()
                except psycopg.errors.DeadlockDetected:
                    conn.rollback()

    def guarded(body, *arguments):
        try:
            body(*arguments)
        except Exception as failure:  # whatever it is, the test fails with it
            failures.append(failure)

    writers = [threading.Thread(target=guarded, args=(write, tenant, node)) for tenant, node in zip(tenants, [0, 2])]
    erasers = [threading.Thread(target=guarded, args=(erase, order, node, gives_up)) for order, node, gives_up in [
        (tenants, 0, False), (tenants[::-1], 1, False), (tenants, 2, True)]]
    for thread in writers + erasers:
        thread.start()
    for thread in erasers:
        thread.join()
    stop.set()
    for thread in writers:
        thread.join()
    assert not failures
    for tenant in tenants:
        count, named = shared.conn.execute(
            "SELECT (SELECT count(*) FROM immutable.events WHERE tenant_id = %s AND erased IS NOT NULL), "
            "(SELECT sum(jsonb_array_length(targets)) FROM immutable.events WHERE tenant_id = %s AND action = 'immutable.event_erased')",
            [tenant, tenant]).fetchone()
        assert count == named > 0
    assert shards_are_valid(shared)


@pytest.mark.parametrize("group", ["immutable_viewer", "immutable_writer", "immutable_auditor", "immutable_eraser"])
def test_nobody_calls_the_functions_of_the_shards(shared, group):
    """On the shard's own node and on another, also with the shard's tenant in Citus' own form of the call."""
    role = shared.create_role(groups=[group])
    shared.conn.execute(f"GRANT SELECT ON immutable.placement TO {role}")
    id = add(shared, "attacked")
    _, home = shared.shard_of("attacked")
    calls = [f"immutable.shard_erase({{here}}, 'attacked', 'r', 'forged', 'role', 'forged', '{id}', '{{{{actor_name}}}}')",
             "immutable.shard_erase_subject({here}, 'attacked', 'r', 'forged', 'role', 'forged', '{{u1}}', '{{}}', NULL, false)",
             "immutable.shard_erase_subject(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"]
    for node in [COORDINATOR, *WORKERS]:
        conn = shared.connect(role, node)
        for call in calls:
            sent = ("SELECT a.* FROM (SELECT count(*) AS here FROM immutable.placement WHERE tenant_id = 'attacked') p "
                    f"CROSS JOIN LATERAL {call.format(here='p.here')} a")
            for statement in [f"SELECT {call.format(here=0)}", sent]:
                assert refused(conn, statement)[0] == "42501"
    assert event(shared, "attacked", id)[:2] == ("u1", "Ben")
    assert home in WORKERS


def test_no_function_is_distributed(shared):
    """Citus follows a NULL in the argument that it distributes a function by, for every role with USAGE on the schema."""
    assert shared.conn.execute(
        "SELECT objid::regprocedure FROM pg_catalog.pg_dist_object WHERE distribution_argument_index IS NOT NULL").fetchall() == []


def test_an_export_of_the_tenant_verifies_outside(shared, eraser, tenant, tmp_path):
    for _ in range(3):
        add(shared, tenant)
    shared.connect(eraser, 1).execute("SELECT * FROM immutable.erase_subject(%s, 'u1', 'r')", [tenant])
    lines = shared.conn.execute("SELECT immutable.export_events(tenant_id => %s)", [tenant]).fetchall()
    path = tmp_path / "export.jsonl"
    path.write_text("".join(f"{line}\n" for line, in lines))
    done = subprocess.run([os.environ["IMMUTABLE_VERIFY"], "--json", path], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    # 3: there is no break, and nothing from outside confirms it.
    assert (done.returncode, done.stderr) == (3, b"")
    summary = json.loads(done.stdout)
    assert (summary["events_checked"], summary["valid"]) == (4, None), summary
