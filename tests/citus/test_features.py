"""Every SQL function of the extension on a distributed log, from the coordinator and a worker: it answers, or it refuses with an
error of its own. What a distributed log lacks is refused with a hint that says what to do instead."""

import re

import psycopg
import pytest
from nodes import COORDINATOR

# A value for each type, by the argument's name where the type says too little.
BY_NAME = {
    "mode": "'read'", "scope": "'read'", "role_name": "current_user", "reason": "'ticket'", "format": "'json'", "limit": "10",
    "rule_type": "'off_hours'", "fields": "ARRAY['actor_id']", "paths": "ARRAY['actor_id']", "scopes": "ARRAY['read']", "tab": "'log'",
    "conditions": "'{\"timezone\": \"UTC\"}'", "destination": "'{\"type\": \"file\", \"path\": \"/tmp/x\"}'", "pattern": "'a.b'",
    "key_name": "'k'", "actor_id": "'a'", "action": "'a.b'", "log_id": "NULL", "max_seconds": "1",
}
BY_TYPE = {
    "text": "'t1'", "uuid": "'11111111-2222-4333-8444-555555555555'", "jsonb": "'{}'", "json": "'{}'", "text[]": "ARRAY['t1']", "uuid[]": "'{}'",
    "integer": "1", "bigint": "1", "smallint": "0::smallint", "boolean": "true", "double precision": "1", "timestamp with time zone": "now()",
    "bytea": "'\\x00'", "inet": "'127.0.0.1'", "cidr[]": "'{}'", "xid8": "'1'", "oid": "0", "regclass": "'immutable.log'", "interval": "'1 hour'",
    "immutable.day_or_time": "'2026-01-01'", "record": "ROW(1)", "name": "'t1'", "numeric": "1", "anyelement": "1", "internal": None,
    "oid[]": "'{}'", "smallint[]": "'{}'", "bigint[]": "'{}'", "bytea[]": "'{}'", "date": "now()::date",
}
# What every function may raise: a NULL or a value that it does not take, no privilege, nothing found, a standby's or a
# transaction's state.
ALWAYS = {"22004", "23502", "22023", "42501", "P0002", "28000", "22P02", "22001"}
OURS = re.compile("of a distributed log|in a distributed log|distributed log", re.I)

FUNCTIONS = """
    SELECT p.oid::regprocedure::text, p.proname, p.prokind::text, coalesce(p.proargnames[:p.pronargs], '{}'),
      ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t), coalesce(obj_description(p.oid), ''), p.provariadic <> 0,
      ARRAY(SELECT a.grantee::regrole::text FROM aclexplode(p.proacl) a WHERE a.grantee <> 0 AND a.grantee <> p.proowner)
    FROM pg_proc p WHERE p.pronamespace = 'immutable'::regnamespace AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
      AND p.prokind IN ('f', 'p') ORDER BY 1"""
# These change the nodes themselves, and have tests of their own; aggregates' parts are called by PostgreSQL alone.
LEFT_OUT = {"distribute", "distribute_log", "prepare_node", "prepare_tables", "mend_shards", "share_identity"}


def calls(conn):
    for signature, name, kind, names, types, comment, variadic, grantees in conn.execute(FUNCTIONS).fetchall():
        if name in LEFT_OUT or "internal" in types:
            continue
        names = names or [""] * len(types)
        verb = "CALL" if kind == "p" else "SELECT"
        nulls = ", ".join(f"NULL::{kind}" if kind != "record" else "NULL::record" for kind in types)
        given = ", ".join(f"{BY_NAME[label] if label in BY_NAME and (kind.startswith(('text', 'integer', 'jsonb', 'uuid', 'double'))) else BY_TYPE.get(kind, 'NULL')}::{kind}"
                          if kind != "record" else "ROW(1)" for label, kind in zip(names, types))
        for arguments in dict.fromkeys((nulls, given)):
            yield signature, name, f"{verb} immutable.{name}({arguments})", comment, grantees


def log_of(node):
    return node.log.read_text(errors="replace")


def outcome(conn, statement, comment, transaction):
    """None, or what is wrong with what the statement does."""
    conn.execute("SET statement_timeout = '20s'")
    try:
        if transaction:
            conn.execute("BEGIN")
        conn.execute(statement).fetchall()
    except psycopg.Error as error:
        code, text = error.sqlstate, f"{error.sqlstate} {error}"
        if code is None:
            return text
        if code == "0A000":
            is_ours = OURS.search(str(error)) or code in comment and "plan" not in str(error) and "complex joins" not in str(error)
            return None if is_ours and error.diag.message_hint else text
        return None if code in ALWAYS or code in comment else text
    finally:
        if transaction and not conn.closed:
            conn.execute("ROLLBACK")
    return None


@pytest.fixture(scope="module")
def filled(shared):
    for tenant in shared.tenants_on(1, 2) + shared.tenants_on(2, 2) + ["t1"]:
        shared.conn.execute(
            "INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES (%s, 'a', 'a.b', '[{\"type\": \"t\"}]')", [tenant])
    return shared


@pytest.mark.parametrize("who", ["superuser", "grantee"])
def test_every_function_answers_or_refuses(filled, entry, who):
    before = [len(log_of(node)) for node in filled.nodes]
    roles, wrong, done = {}, {}, 0
    for signature, name, statement, comment, grantees in calls(filled.conn):
        groups = [role for role in grantees if role.startswith("immutable_")][:1] if who == "grantee" else ["postgres"]
        for group in groups:
            if group not in roles or roles[group].closed:
                login = group if group == "postgres" else filled.create_role(groups=[group])
                roles[group] = filled.connect(login, entry)
            done += 1
            what = outcome(roles[group], statement, comment, not statement.startswith("CALL"))
            if what:
                wrong[f"{group}: {statement}"] = what
    crashes = [log_of(node)[start:] for node, start in zip(filled.nodes, before)]
    assert not any("terminated by signal" in text for text in crashes)
    assert done > 100
    if wrong:
        pytest.fail("\n".join(f"{call}: {what}" for call, what in wrong.items()))


# What a distributed log lacks, and a word of the hint.
LACKING = [
    ("SELECT immutable.create_api_key('k', ARRAY['read'])", "grant_tenant"),
    ("SELECT immutable.set_action_schema('a.b')", "application"),
    ("SELECT immutable.set_action_schema_mode('strict')", "application"),
    ("SELECT immutable.create_alert_rule('r', 'off_hours', '{\"timezone\": \"UTC\"}')", "changes"),
    ("SELECT immutable.create_export()", "export_events"),
    ("SELECT immutable.create_stream('s', '{\"type\": \"file\", \"path\": \"/tmp/x\"}')", "changes"),
    ("SELECT immutable.feed()", "changes"),
    ("CALL immutable.checkpoint()", "heads"),
    ("SELECT immutable.tree_head()", "heads"),
    ("SELECT immutable.verifier_key()", "heads"),
    ("SELECT immutable.add_log_key('k')", "heads"),
    ("SELECT immutable.add_witness('w+00000000+AAAA')", "heads"),
    ("SELECT immutable.receipt(gen_random_uuid(), 't1')", "heads"),
    ("SELECT immutable.inclusion_proof(gen_random_uuid(), 't1')", "heads"),
    ("SELECT immutable.consistency_proof(0, 1)", "heads"),
    ("SELECT immutable.page_evidence(ARRAY[gen_random_uuid()], 't1')", "heads"),
    ("SELECT immutable.tile(0, 0)", "heads"),
    ("SELECT immutable.entries(0)", "heads"),
    ("SELECT * FROM immutable.export_tree()", "heads"),
    ("SELECT immutable.begin_incarnation('r')", "heads"),
    ("SELECT immutable.rebuild_tiles()", "heads"),
    ("SELECT immutable.rotate_log_key()", "heads"),
    ("SELECT immutable.add_checkpoint('x')", "heads"),
    ("SELECT immutable.report_checkpoint('x')", "heads"),
    ("SELECT immutable.witness_request(0, 1)", "heads"),
    ("SELECT immutable.add_cosignature(1, 'x')", "heads"),
    ("SELECT immutable.resume('r')", "heads"),
]


@pytest.mark.parametrize("statement, word", LACKING, ids=[statement[:40] for statement, _ in LACKING])
def test_what_a_distributed_log_lacks_is_refused_with_a_hint(filled, entry, statement, word):
    conn = filled.connect(node=entry)
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="of a distributed log are not supported") as refused:
        conn.execute(statement)
    assert word in refused.value.diag.message_hint


def test_run_maintenance_does_what_applies(filled, entry):
    conn = filled.connect(node=entry)
    for _ in range(2):
        did, = conn.execute("CALL immutable.run_maintenance()").fetchone()
        assert set(did) == {"revocations", "took_ms"} and did["revocations"] is None
