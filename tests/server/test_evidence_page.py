"""page_evidence(): it says what receipts and proofs say, nothing of it helps whoever does not see an event, and a damaged
row, tile or note hurts itself alone."""

import base64
import uuid

import psycopg
import pytest

import helpers_log as h
from helpers_access import import_key, token
from helpers_keys import Tenants, refused, show, state
from helpers_tree_model import LOG, W1, W2, Model, tlog, value

GIVEN = "SELECT immutable.page_evidence(%s::uuid[], %s)"
EMPTY = {"events": {}, "checkpoint": None, "verifier_keys": [], "witnesses": []}


def evidence(conn, ids, tenant_id=None):
    return conn.execute(GIVEN, (ids, tenant_id)).fetchone()[0]


def ids_of(conn, condition="true"):
    return [str(id_) for id_, in conn.execute(f"SELECT id FROM immutable.events WHERE {condition} ORDER BY created_at")]


@pytest.fixture
def log(db):
    h.build_log(db)
    model = Model(db.conn).append().store()
    model.sign()
    model.cosign()
    return model


def proof_text(given, note):
    """The evidence of an event as a C2SP tlog-proof."""
    return "".join(f"{line}\n" for line in ["c2sp.org/tlog-proof@v1", f"index {given['index']}", *given["proof"], ""]) + note


def test_it_says_what_receipts_and_exports_say(db, log):
    page = evidence(db.conn, ids_of(db.conn))
    exported = {line for line, in db.conn.execute("SELECT immutable.export_events()")}
    assert len(page["events"]) == 17 and page["checkpoint"] == log.note() + page["checkpoint"][len(log.note()):]
    uncovered = 0
    for id_, given in page["events"].items():
        assert given["line"] in exported
        if given["index"] is None:
            uncovered += 1
            assert given["proof"] is None
            continue
        assert proof_text(given, page["checkpoint"]) == value(db.conn, "inclusion_proof", id_)
        assert f"immutable-receipt/v1\n{given['line']}\n{proof_text(given, page['checkpoint'])}" == value(db.conn, "receipt", id_)
    assert uncovered == 1  # the witness was added after the checkpoint
    assert (page["verifier_keys"], page["witnesses"]) == ([str(LOG.verifier)], [str(W1.verifier)])


def test_the_newest_cosigned_checkpoint_and_else_the_newest_signed(db, log):
    ids = ids_of(db.conn)
    cosigned = evidence(db.conn, ids)["checkpoint"]
    log.append().store().sign()
    assert evidence(db.conn, ids)["checkpoint"] == cosigned  # nobody has cosigned the newer one
    log.cosign(W2)
    newer = evidence(db.conn, ids)
    assert newer["checkpoint"].startswith(log.note()) and newer["checkpoint"] != cosigned
    assert newer["witnesses"] == sorted([str(W1.verifier), str(W2.verifier)])
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.tree_cosignatures")
    signed = evidence(db.conn, ids)
    assert signed["checkpoint"] == log.note()
    assert signed["events"] == newer["events"] and all(given["index"] is not None for given in signed["events"].values())


def test_erased_values_are_left_out(db, log):
    id_, = ids_of(db.conn, "actor_id = 'user-a1'")
    before = evidence(db.conn, [id_])["events"][id_]
    db.conn.execute("SELECT * FROM immutable.erase(%s, 'acme', ARRAY['actor_name', 'metadata.amount', 'targets.0'], 'asked')", [id_])
    after = evidence(db.conn, [id_])["events"][id_]
    assert (after["index"], after["proof"]) == (before["index"], before["proof"])
    document = before["line"].split(",\"disclosures\":")[0]
    assert after["line"].startswith(document) and '"actor_name","' in before["line"]
    for path in ("actor_name", "metadata.amount", "targets.0"):
        assert f'","{path}",' in before["line"] and f'","{path}",' not in after["line"]


def test_before_any_checkpoint(db):
    assert evidence(db.conn, []) == EMPTY
    h.add_event(db.conn, "acme", "first")
    id_, = ids_of(db.conn)
    page = evidence(db.conn, [id_])
    assert {**page, "events": {}} == EMPTY
    assert page["events"][id_]["line"].startswith('{"document":{') and page["events"][id_]["index"] is None


def test_arguments(db, log):
    ids = ids_of(db.conn)
    assert refused(db.conn, "SELECT immutable.page_evidence(NULL)", "22004").diag.column_name in (None, "ids")
    many = [str(uuid.uuid4()) for _ in range(101)]
    refused(db.conn, GIVEN, "22023", (many, None))
    assert evidence(db.conn, many[:100])["events"] == {}
    assert set(evidence(db.conn, [ids[0], None, ids[0]])["events"]) == {ids[0]}
    assert evidence(db.conn, ids, "globex")["events"].keys() == set(ids_of(db.conn, "tenant_id = 'globex'"))
    assert db.conn.execute("SELECT immutable.page_evidence(ARRAY[[%s, %s]]::uuid[])", ids[:2]).fetchone()[0]["events"].keys() == set(ids[:2])


def test_one_id_in_two_tenants(db, log):
    id_, = ids_of(db.conn, "actor_id = 'user-a1'")
    db.conn.execute("INSERT INTO immutable.events (id, tenant_id, actor_id, action) VALUES (%s, 'globex', 'u', 'a.b')", [id_])
    assert evidence(db.conn, [id_])["events"] == {id_: {"unreadable": "events of several tenants have this id"}}
    assert '"tenant_id":"globex"' in evidence(db.conn, [id_], "globex")["events"][id_]["line"]


@pytest.fixture
def tenants(db):
    tenants = Tenants(db)
    model = Model(db.conn).append().store()
    model.sign()
    model.cosign()
    return tenants


def test_whoever_does_not_see_an_event_learns_nothing(tenants):
    """The answer to ids of others is byte for byte that to ids of nothing."""
    rival = ids_of(tenants.admin, "tenant_id = 'rival'")
    mine = ids_of(tenants.admin, "tenant_id = 'mine'")
    none = [str(uuid.uuid4()) for _ in rival]
    viewer, = tenants.admin.execute("SELECT immutable.create_viewer_token('mine') ->> 'token'").fetchone()
    actor, = tenants.admin.execute("SELECT immutable.create_viewer_token('mine', 'u1') ->> 'token'").fetchone()
    connection = tenants.server()
    for proof in (tenants.key("read", tenant_id="mine")["proof"], viewer, actor):
        show(connection, proof)
        answers = [connection.execute("SELECT immutable.page_evidence(%s::uuid[])::text", [asked]).fetchone() for asked in (rival, none)]
        assert answers[0] == answers[1]
        own = ids_of(tenants.admin, "tenant_id = 'mine' AND actor_id = 'u1'") if proof == actor else mine
        page = evidence(connection, rival + mine)
        assert page["events"].keys() == set(own) and len(own) >= 4
        assert all(isinstance(given["index"], int) for given in page["events"].values())
    assert state(connection, GIVEN, (rival, "rival")) is None
    assert evidence(connection, rival, "rival")["events"] == {}
    show(connection, tenants.key("read", tenant_id="mine")["proof"])
    assert state(connection, GIVEN, (rival, "rival")) == "42501"


def test_proofs_that_open_nothing(tenants):
    ids = ids_of(tenants.admin, "tenant_id = 'mine'")
    connection = tenants.server()
    assert state(connection, GIVEN, (ids, None)) == "28000"
    key = tenants.key("read")
    show(connection, key["proof"])
    assert evidence(connection, ids)["events"].keys() == set(ids)
    tenants.admin.execute("SELECT immutable.revoke_api_key(%s)", [key["id"]])
    assert state(connection, GIVEN, (ids, None)) == "28000"
    show(connection, tenants.key("write", "verify", "mint", "export", "admin")["proof"])
    assert state(connection, GIVEN, (ids, None)) == "42501"
    for group in ("immutable_writer", "immutable_eraser", "immutable_viewer", "immutable_maintainer", "immutable_restorer", None):
        own = tenants.db.connect(tenants.db.create_role(f"IN ROLE {group}" if group else ""))
        assert state(own, GIVEN, (ids, None)) == "42501", group
    auditor = tenants.db.connect(tenants.db.create_role("IN ROLE immutable_auditor"))
    assert evidence(auditor, ids)["events"].keys() == set(ids)
    # A proof narrows what a superuser's own rights show.
    superuser = show(tenants.db.connect(), tenants.key("read", tenant_id="rival")["proof"])
    assert evidence(superuser, ids)["events"] == {}


def test_viewers_without_proofs(tenants):
    """With immutable.viewer_proofs off, nothing tells a viewer how large the log is."""
    ids = ids_of(tenants.admin, "tenant_id = 'mine'")
    viewer, = tenants.admin.execute("SELECT immutable.create_viewer_token('mine') ->> 'token'").fetchone()
    tenants.admin.execute(f"ALTER DATABASE {tenants.db.name} SET immutable.viewer_proofs = off")
    connection = tenants.server()
    # Before the library is loaded, PostgreSQL takes any text, and forgets it then.
    connection.execute("SET immutable.viewer_proofs = on")
    for proof, shows in ((viewer, False), (tenants.key("read")["proof"], False), (tenants.key("read", "verify")["proof"], True)):
        page = evidence(show(connection, proof), ids)
        assert page["events"].keys() == set(ids)
        for given in page["events"].values():
            assert given["line"].startswith('{"document":{')
            assert (given["index"] is not None) == (given["proof"] is not None) == shows
        assert (page["checkpoint"] is not None) == bool(page["verifier_keys"]) == bool(page["witnesses"]) == shows
    assert state(connection, "SET immutable.viewer_proofs = on") == "42501"
    tenants.admin.execute("GRANT EXECUTE ON FUNCTION immutable.page_evidence TO immutable_viewer")
    import_key(tenants.admin)
    role = tenants.db.connect(tenants.db.create_role("IN ROLE immutable_viewer"))
    role.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token(tenant_id="mine")])
    page = evidence(role, ids_of(tenants.admin))
    assert page["events"].keys() == set(ids) and page["checkpoint"] is None
    auditor = tenants.db.connect(tenants.db.create_role("IN ROLE immutable_auditor"))
    assert evidence(auditor, ids)["checkpoint"] is not None


# Damage


def damage(conn, statement, *values):
    with h.behind_triggers(conn):
        assert conn.execute(statement, values).rowcount > 0


def unreadable(page):
    return {id_: given["unreadable"] for id_, given in page["events"].items() if "unreadable" in given}


@pytest.mark.parametrize("change, why", [
    ("action = 'another'", "does not match its hash"),
    ("event_hash = '\\x00'", "does not match its hash"),
    ("salt = '\\x0102'", "salt is not 16 bytes"),
    ("metadata = '[]'", "metadata is not an object"),
    ("targets = '{}'", "targets is not an array"),
    ("created_at = 'infinity'", "does not match its hash"),
    ("actor_name = NULL", "does not match its hash"),
])
def test_a_damaged_row_says_so_and_the_others_are_there(db, log, change, why):
    id_, = ids_of(db.conn, "actor_id = 'user-a1'")
    h.drop_checks(db.conn)
    damage(db.conn, f"UPDATE immutable.events SET {change} WHERE id = %s", id_)
    page = evidence(db.conn, ids_of(db.conn))
    assert unreadable(page).keys() == {id_} and why in unreadable(page)[id_], page["events"][id_]
    assert len(page["events"]) == 17 and page["checkpoint"]


def test_bytes_that_nobody_wrote(db, log):
    """jsonb and texts of random bytes: each an answer, and the server lives."""
    for kind in ("text", "jsonb"):
        db.conn.execute(f"CREATE CAST (bytea AS {kind}) WITHOUT FUNCTION")
    h.drop_checks(db.conn)
    ids = ids_of(db.conn)
    broken = {"metadata": "\\xffffffff00", "targets": "\\x01000050ffffffff", "action": "\\xff"}
    for (column, bytes_), id_ in zip(broken.items(), ids[1:]):
        kind = "text" if column == "action" else "jsonb"
        damage(db.conn, f"UPDATE immutable.events SET {column} = CAST('{bytes_}'::bytea AS {kind}) WHERE id = %s", id_)
    page = evidence(db.conn, ids)
    assert unreadable(page).keys() == set(ids[1:4]) and len(page["events"]) == 17


@pytest.mark.parametrize("statement, whole, why", [
    ("UPDATE immutable.tree_chunks SET hashes = '' WHERE first_index = (SELECT min(first_index) FROM immutable.tree_chunks)",
     False, "is missing or damaged"),
    ("UPDATE immutable.tree_chunks SET hashes = set_byte(hashes, 40, 7) WHERE first_index = (SELECT min(first_index) FROM immutable.tree_chunks)",
     False, "of the tree"),
    ("DELETE FROM immutable.tree_chunks", False, "is missing or damaged"),
    ("UPDATE immutable.tree_runs SET first_index = first_index + 1 WHERE tenant_id = 'globex'", False, "is not that of event"),
    ("DELETE FROM immutable.tree_notes", True, "was cosigned, and is missing"),
    ("UPDATE immutable.tree_notes SET note = 'x'", True, "is malformed"),
    ("UPDATE immutable.tree_notes SET root = decode(repeat('00', 32), 'hex')", True, "states another origin, size or root"),
    ("UPDATE immutable.tree_cosignatures SET line = replace(line, 'A', 'B')", True, "is not valid"),
    ("UPDATE immutable.tree SET root = ''", True, "the row of immutable.tree is damaged"),
])
def test_a_damaged_tree_hurts_no_document(db, log, statement, whole, why):
    """A damaged tile makes the proofs unreadable that need it. Without a sound checkpoint there are documents alone."""
    damage(db.conn, statement)
    page = evidence(db.conn, ids_of(db.conn))
    assert len(page["events"]) == 17
    if whole:
        assert page["checkpoint"] is None and why in page["unreadable"]
        assert all(given["index"] is None and given["line"] for given in page["events"].values())
    else:
        assert page["checkpoint"] and "unreadable" not in page
        assert any(why in reason for reason in unreadable(page).values()), unreadable(page)


def test_proofs_lead_to_the_root(db, log):
    """By the second implementation."""
    page = evidence(db.conn, ids_of(db.conn))
    checkpoint = tlog.read_checkpoint(tlog.read_note(page["checkpoint"].encode()).text)
    hashes = dict(db.conn.execute("SELECT id::text, event_hash FROM immutable.events").fetchall())
    for id_, given in page["events"].items():
        if given["index"] is not None:
            proof = [base64.b64decode(hash_) for hash_ in given["proof"]]
            tlog.check_inclusion(tlog.leaf_hash(hashes[id_]), given["index"], checkpoint.size, proof, checkpoint.root)


def test_on_a_standby_and_in_a_read_only_transaction(db, log):
    reader = db.connect(autocommit=False)
    reader.execute("SET TRANSACTION READ ONLY")
    assert evidence(reader, ids_of(db.conn)[:2])["checkpoint"]
    assert reader.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == (None,)
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        evidence(reader, ["x"])
