"""inclusion_proof() and consistency_proof(): every proof is verified by the second implementation, against a tree that
it computed itself."""

import random
import uuid

import psycopg
import pytest

import helpers_tree_model as e
import helpers_log as h
from helpers_access import import_key, token
from helpers_tree_model import W1, Model, policy, tlog, value
from helpers_servers import Copy, wait_for

DATA_CORRUPTED = psycopg.errors.DataCorrupted
NOT_READY = psycopg.errors.ObjectNotInPrerequisiteState
INVALID = psycopg.errors.InvalidParameterValue


def events(conn):
    return conn.execute("SELECT id, tenant_id, lane, seq, event_hash FROM immutable.events "
                        "ORDER BY tenant_id, lane, seq").fetchall()


def check_inclusion(text, event_hash, trusted):
    """Gives the proof and what confirms its checkpoint."""
    proof = tlog.read_proof(text.encode())
    assert proof.text() == text.encode() and proof.extra is None
    confirmed = tlog.confirm(proof.note, trusted)
    assert confirmed.doubt is None or not trusted.witnesses
    tlog.check_inclusion(tlog.leaf_hash(event_hash), proof.index, confirmed.checkpoint.size, proof.hashes,
                         confirmed.checkpoint.root)
    return proof, confirmed


def hashes(text):
    assert text == "" or text.endswith("\n")
    return [tlog.hash_of(line, "proof") for line in text.split("\n")[:-1]]


@pytest.fixture
def log(db):
    """The 16 events of build_log, appended in three turns, with a checkpoint of each."""
    h.build_log(db)
    model = Model(db.conn)
    for most in (1, 2, 9):
        model.append(most).store().sign()
    return model


def test_every_event_in_every_checkpoint(db, log):
    assert [size for size, in db.conn.execute("SELECT size FROM immutable.tree_notes ORDER BY size")] == [4, 11, 16]
    for id_, tenant, lane, seq, hash_ in events(db.conn):
        index = log.index(tenant, lane, seq)
        for size in (4, 11, 16, None):
            if index >= (size or 16):
                with pytest.raises(NOT_READY, match="does not cover the event"):
                    value(db.conn, "inclusion_proof", id_, tenant, size)
                continue
            text = value(db.conn, "inclusion_proof", id_, tenant, size)
            proof, confirmed = check_inclusion(text, hash_, policy())
            assert (proof.index, confirmed.checkpoint) == (index, log.checkpoint(size))
            assert proof.hashes == log.tree.inclusion(index, size or 16)


def test_every_pair_of_sizes(db, log):
    for new in range(17):
        for old in range(new + 1):
            proof = hashes(value(db.conn, "consistency_proof", old, new))
            assert proof == log.tree.consistency(old, new)
            tlog.check_consistency(old, new, proof, log.tree.root(old), log.tree.root(new))
        assert value(db.conn, "consistency_proof", new) == value(db.conn, "consistency_proof", new, 16)


@pytest.mark.parametrize("count", [255, 256, 257, 513, 66_000])
def test_full_tiles(db, count):
    """66,000 leaves have tiles of three levels."""
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT CASE i %% 3 WHEN 0 THEN 'a' ELSE 'b' END, 'u', 'x' FROM generate_series(1, %s) i", [count])
    log = Model(db.conn)
    log.append(count // 5).store().sign()
    first = log.size
    log.append().store(pieces=7).sign()
    rows = events(db.conn)
    assert log.size == count == len(rows)
    some = random.Random(count)
    for id_, tenant, lane, seq, hash_ in [rows[0], rows[-1], *some.sample(rows, 12)]:
        index = log.index(tenant, lane, seq)
        for size in (size for size in (first, count) if index < size):
            proof, _ = check_inclusion(value(db.conn, "inclusion_proof", id_, tenant, size), hash_, policy())
            assert proof.hashes == log.tree.inclusion(index, size)
    for old in [1, 2, first, count - 1, *some.sample(range(count), 12)]:
        for new in [count, some.randint(old, count)]:
            assert hashes(value(db.conn, "consistency_proof", old, new)) == log.tree.consistency(old, new)


def test_a_cosigned_checkpoint_is_preferred(db, log):
    id_, tenant, _, _, hash_ = events(db.conn)[0]
    assert log.index(*events(db.conn)[0][1:4]) < 11
    check = lambda trusted, **size: check_inclusion(value(db.conn, "inclusion_proof", id_, tenant, **size), hash_, trusted)[1]
    assert check(policy()).checkpoint.size == 16
    log.cosign(size=11)
    assert check(policy(W1)).checkpoint.size == 11
    assert check(policy(), size=16).checkpoint.size == 16
    log.cosign(e.W2, size=11)
    assert len(check(policy(W1, e.W2)).cosigned) == 2
    # An event that the cosigned one does not cover has the newest.
    late = next(row for row in events(db.conn) if row[1] == "acme" and log.index(*row[1:4]) >= 11)
    _, confirmed = check_inclusion(value(db.conn, "inclusion_proof", late[0], late[1]), late[4], policy())
    assert confirmed.checkpoint.size == 16


def test_with_the_logs_own_checkpoints(db):
    """Sequenced and signed by the log itself, between inserts into several lanes."""
    sizes = []
    for turn in range(4):
        db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                        "SELECT 't' || i % 5, 'u', 'x' FROM generate_series(1, 170) i")
        note, = db.conn.execute("CALL immutable.checkpoint()").fetchone()
        sizes.append(tlog.read_checkpoint(note.split("\n\n")[0] + "\n"))
    key = value(db.conn, "verifier_key")
    trusted = tlog.read_policy(f"log {key}\nquorum none\n".encode())
    rows = events(db.conn)
    assert len(rows) == 4 * 170 + 1
    indexes = set()
    for id_, tenant, _, _, hash_ in rows:
        proof, confirmed = check_inclusion(value(db.conn, "inclusion_proof", id_, tenant), hash_, trusted)
        assert confirmed.checkpoint == sizes[-1]
        indexes.add(proof.index)
    assert indexes == set(range(len(rows)))
    for old in sizes:
        for new in sizes[sizes.index(old):]:
            proof = hashes(value(db.conn, "consistency_proof", old.size, new.size))
            tlog.check_consistency(old.size, new.size, proof, old.root, new.root)


# What is refused, and in which words.

def test_before_the_first_checkpoint(db):
    h.add_event(db.conn, "t", "1")
    id_, = db.conn.execute("SELECT id FROM immutable.events").fetchone()
    for function, arguments in (("inclusion_proof", [id_, "t"]), ("consistency_proof", [0]), ("witness_request", [])):
        with pytest.raises(NOT_READY, match="the log has no checkpoint yet") as refused:
            value(db.conn, function, *arguments)
        assert "CALL immutable.checkpoint()" in refused.value.diag.message_hint


def test_an_event_that_no_checkpoint_covers(db, log):
    h.add_event(db.conn, "globex", "late")
    id_, = db.conn.execute("SELECT id FROM immutable.events WHERE actor_id = 'user-late'").fetchone()
    for size in (None, 16, 5):
        with pytest.raises(NOT_READY, match="no checkpoint covers event") as refused:
            value(db.conn, "inclusion_proof", id_, "globex", size)
        assert "CALL immutable.checkpoint()" in refused.value.diag.message_hint
        assert "covers 16 events" in refused.value.diag.message_detail
    # It is in the tree, but the head is not signed yet.
    log.append().store()
    with pytest.raises(NOT_READY, match="no checkpoint covers event"):
        value(db.conn, "inclusion_proof", id_, "globex")
    log.sign()
    assert value(db.conn, "inclusion_proof", id_, "globex")


def test_a_size_without_a_checkpoint(db, log):
    id_, tenant, *_ = events(db.conn)[0]
    for size, near in ((5, "4, 11"), (3, "4"), (99, "16"), (-1, "4"), (2 ** 63 - 1, "16")):
        with pytest.raises(INVALID, match=f"no checkpoint of size {size} is kept") as refused:
            value(db.conn, "inclusion_proof", id_, tenant, size)
        assert f"are kept: {near}." in refused.value.diag.message_hint


def test_sizes_that_the_tree_does_not_have(db, log):
    for arguments, message in (([-1], "old_size must be from 0"), ([17], "old_size must be from 0"), ([3, 17], "new_size must be"),
                               ([3, -1], "new_size must be"), ([5, 4], "must not be above new_size, 4"),
                               ([2 ** 63 - 1], "the size of the tree, 16")):
        with pytest.raises(INVALID, match=message):
            value(db.conn, "consistency_proof", *arguments)
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        value(db.conn, "consistency_proof", None)


def test_an_id_of_several_tenants(db):
    id_ = uuid.uuid4()
    for tenant in ("a", "b"):
        h.add_event(db.conn, tenant, tenant, id=id_)
    log = Model(db.conn).append().store()
    log.sign()
    with pytest.raises(psycopg.errors.CardinalityViolation):
        value(db.conn, "inclusion_proof", id_)
    assert value(db.conn, "inclusion_proof", id_, "a") != value(db.conn, "inclusion_proof", id_, "b")


# Roles

def as_role(db, group):
    return db.connect(db.create_role(f"IN ROLE {group}"))


FUNCTIONS = {"inclusion_proof": [uuid.uuid4(), "t"], "consistency_proof": [0], "receipt": [uuid.uuid4(), "t"],
             "witness_request": [], "add_cosignature": [1, "x"], "add_witness": ["x"], "remove_witness": ["x"]}
MAY = {"immutable_auditor": {"inclusion_proof", "consistency_proof", "receipt"},
       "immutable_maintainer": {"witness_request", "add_cosignature"},
       "immutable_viewer": set(), "immutable_writer": set(), "immutable_eraser": set(), "pg_monitor": set()}


@pytest.mark.parametrize("group", MAY)
def test_who_may_call_what(db, group):
    conn = as_role(db, group)
    for function, arguments in FUNCTIONS.items():
        with pytest.raises(psycopg.Error) as refused:
            value(conn, function, *arguments)
        assert (refused.value.sqlstate == "42501") is (function not in MAY[group]), function


@pytest.mark.parametrize("group", [*MAY, "pg_read_all_data"])
def test_nobody_reads_or_writes_the_tables(db, log, group):
    conn = as_role(db, group)
    for table in ("tree", "tree_runs", "tree_tiles", "tree_chunks", "tree_notes", "tree_cosignatures", "log_secrets"):
        try:
            shown = conn.execute(f"SELECT * FROM immutable.{table}").fetchall()
        except psycopg.errors.InsufficientPrivilege:
            shown = []
        assert shown == [], table
        for statement in (f"DELETE FROM immutable.{table}", f"TRUNCATE immutable.{table}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)


def test_a_viewer_to_whom_it_is_granted(db, log):
    """Row security decides, and an event that is not seen is no other than one that is not there."""
    db.conn.execute("GRANT EXECUTE ON FUNCTION immutable.inclusion_proof(uuid, text, bigint) TO immutable_viewer")
    import_key(db.conn)
    viewer = as_role(db, "immutable_viewer")
    viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token(tenant_id="globex")])
    for id_, tenant, _, _, hash_ in events(db.conn):
        if tenant == "globex":
            check_inclusion(value(viewer, "inclusion_proof", id_, tenant), hash_, policy())
            check_inclusion(value(viewer, "inclusion_proof", id_), hash_, policy())
            continue
        for given in (tenant, None):
            errors = []
            for of in (id_, uuid.uuid4()):
                with pytest.raises(psycopg.errors.NoDataFound) as refused:
                    value(viewer, "inclusion_proof", of, given)
                diag = refused.value.diag
                errors.append((diag.message_primary.replace(str(of), "ID"), diag.message_detail, diag.message_hint))
            assert errors[0] == errors[1]
    # Neither does an error tell of another tenant's damage.
    h.update(db.conn, ("acme", 0, 1), action="x")
    hidden, = db.conn.execute("SELECT id FROM immutable.events WHERE action = 'x'").fetchone()
    with pytest.raises(psycopg.errors.NoDataFound):
        value(viewer, "inclusion_proof", hidden, "acme")


def test_no_transaction_id_is_taken(db, log):
    id_, tenant, *_ = events(db.conn)[0]
    db.conn.execute("BEGIN READ ONLY")
    value(db.conn, "inclusion_proof", id_, tenant)
    value(db.conn, "consistency_proof", 3)
    value(db.conn, "witness_request", 3)
    assert db.conn.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == (None,)
    db.conn.execute("COMMIT")


# Damage: an error that says so, or a proof that verifies, and nothing else.

def test_an_event_that_was_changed(db, log):
    id_, tenant, *_ = events(db.conn)[0]
    h.update(db.conn, events(db.conn)[0][1:4], action="changed")
    with pytest.raises(DATA_CORRUPTED, match="does not match its hash"):
        value(db.conn, "inclusion_proof", id_, tenant)


def test_an_event_whose_hash_was_redone(db, log):
    place = events(db.conn)[0][1:4]
    now = h.forge(h.Log(db.conn)[place], action="changed")
    h.update(db.conn, place, action="changed", event_hash=h.bytea(h.plain(now["event_hash"])))
    with pytest.raises(DATA_CORRUPTED, match="the leaf at index [0-9]+ of the tree is not that of event"):
        value(db.conn, "inclusion_proof", now["id"], place[0])


DAMAGE = {
    "DELETE FROM immutable.tree_chunks": "is missing or damaged",
    "DELETE FROM immutable.tree_chunks WHERE first_index > 0": "is missing or damaged",
    "UPDATE immutable.tree_chunks SET first_index = first_index + 1": "is missing or damaged",
    "UPDATE immutable.tree_chunks SET hashes = substr(hashes, 2)": "is missing or damaged",
    "UPDATE immutable.tree_chunks SET hashes = ''": "is missing or damaged",
    "UPDATE immutable.tree_chunks SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1)": "the leaf at|do not lead to the root",
    "UPDATE immutable.tree_runs SET first_index = first_index + 100": "no checkpoint covers",
    "UPDATE immutable.tree_runs SET first_index = -1 - first_index": "the tree has a later|no checkpoint covers|the leaf at",
    "UPDATE immutable.tree_runs SET count = -1": "no checkpoint covers|the tree has a later event of the lane",
    "UPDATE immutable.tree_runs SET first_seq = first_seq + 100": "the tree has a later event of the lane",
    "DELETE FROM immutable.tree_runs": "no checkpoint covers",
    "DELETE FROM immutable.tree": "the log has no checkpoint yet",
    "UPDATE immutable.tree SET origin = 'other'": "no checkpoint covers",
    "UPDATE immutable.tree SET size = -1": "the row of immutable.tree is damaged",
    "UPDATE immutable.tree SET root = ''": "the row of immutable.tree is damaged",
    "DELETE FROM immutable.tree_notes": "no checkpoint covers",
    "DELETE FROM immutable.log_keys": "is not signed by a key of the log",
    "UPDATE immutable.log_keys SET signs_since = NULL": "is not signed by a key of the log",
    "UPDATE immutable.tree_notes SET note = ''": "is malformed",
    "UPDATE immutable.tree_notes SET note = replace(note, '=', '')": "is malformed",
    "UPDATE immutable.tree_notes SET note = replace(note, 'example/7', 'example/8')": "another origin",
    "UPDATE immutable.tree_notes SET root = sha256(root)": "another origin, size or root",
    "UPDATE immutable.tree_notes SET size = size + 1": "another origin, size or root",
    "UPDATE immutable.tree_notes SET size = 9223372036854775807 WHERE size = 16": "another origin, size or root",
    "UPDATE immutable.tree_notes n SET note = split_part(n.note, E'\\n\\n', 1) || E'\\n\\n' || split_part(o.note, E'\\n\\n', 2) "
    "FROM immutable.tree_notes o WHERE o.size = 4 AND n.size <> 4": "is not signed by a key of the log",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_rows(db, log, damage):
    with h.behind_triggers(db.conn):
        db.conn.execute(damage)
    id_, tenant, _, _, hash_ = events(db.conn)[-1]
    with pytest.raises((DATA_CORRUPTED, NOT_READY), match=DAMAGE[damage]):
        value(db.conn, "inclusion_proof", id_, tenant)
    for id_, tenant, _, _, hash_ in events(db.conn):
        try:
            check_inclusion(value(db.conn, "inclusion_proof", id_, tenant), hash_, policy())
        except (DATA_CORRUPTED, NOT_READY):
            pass
    for old in range(17):
        try:
            proof = hashes(value(db.conn, "consistency_proof", old, 16))
            tlog.check_consistency(old, 16, proof, log.tree.root(old), log.tree.root())
        except (DATA_CORRUPTED, NOT_READY, INVALID):
            pass


def test_random_damage_of_full_tiles(db):
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT 'a', 'u', 'x' FROM generate_series(1, 1300)")
    log = Model(db.conn).append().store()
    log.sign()
    rows, some, refused = events(db.conn), random.Random(7), 0
    for _ in range(150):
        column = some.choice(["root", "hashes"])
        number, bit = some.randrange(5), some.randrange(256 if column == "root" else 256 * 256)
        db.conn.execute("BEGIN")
        db.conn.execute("SET LOCAL session_replication_role = replica")
        db.conn.execute(f"UPDATE immutable.tree_tiles SET {column} = set_bit({column}, %s, 1 - get_bit({column}, %s)) "
                        "WHERE number = %s", [bit, bit, number])
        row = some.choice(rows)
        old = some.randrange(1, 1300)
        try:
            check_inclusion(value(db.conn, "inclusion_proof", row[0], "a"), row[4], policy())
            tlog.check_consistency(old, 1300, hashes(value(db.conn, "consistency_proof", old)), log.tree.root(old),
                                   log.tree.root())
        except DATA_CORRUPTED:
            refused += 1
        db.conn.execute("ROLLBACK")
    # A root is read by every proof, and a leaf by those of its tile.
    assert 60 < refused < 150


def test_on_a_standby(cluster):
    primary = cluster(wal_level="replica", max_wal_senders="4")
    conn = primary.connect()
    conn.execute("CREATE EXTENSION immutable")
    conn.execute("CREATE ROLE auditor LOGIN IN ROLE immutable_auditor")
    for number in range(5):
        h.add_event(conn, "t", str(number))
    log = Model(conn).append().store()
    log.sign()
    log.cosign()
    standby = Copy(primary)
    standby.begin()
    there, auditor = standby.connect(), standby.connect(user="auditor")
    lsn, = conn.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
    wait_for(there, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")
    for id_, tenant, _, _, hash_ in events(conn):
        if tenant == "t":
            check_inclusion(value(auditor, "inclusion_proof", id_, tenant), hash_, policy(W1))
            assert value(auditor, "receipt", id_, tenant) == value(conn, "receipt", id_, tenant)
    assert hashes(value(auditor, "consistency_proof", 3)) == log.tree.consistency(3, 5)
    assert value(there, "witness_request", 3) == value(conn, "witness_request", 3)
    for function, arguments in (("add_cosignature", [5, log.cosigned()]), ("add_witness", [str(e.W2.verifier)])):
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            value(there, function, *arguments)
    standby.destroy()
