"""A superuser changes rows, the stored tree, its runs and its checkpoints, in every combination; somebody outside has kept
a signed checkpoint. Each change is found, with the right name and place."""

import hashlib
import itertools
import json
import os
import random
import uuid

import psycopg
import pytest

import helpers_log as h
import helpers_tree as t
from conftest import Database
from helpers_log import TARGETS, Break, add_event, forge, update
from helpers_servers import as_server

SEED = int(os.environ.get("IMMUTABLE_SEED", random.randrange(10 ** 9)))


names = itertools.count(1)


def grow(db, events=6):
    """More events of old and new lanes, in transactions that overlap."""
    with db.connect(autocommit=False) as first, db.connect() as second:
        for number in range(events):
            add_event(first, "acme", f"x{next(names)}", targets=TARGETS if number % 2 else [])
            add_event(second, "acme", f"y{next(names)}")
            first.commit()
    add_event(db.conn, "globex", f"z{next(names)}")


class Kept:
    """A log of some 30 events in 5 lanes, and checkpoints of three sizes that were kept outside."""

    def __init__(self, db):
        self.db, self.conn = db, db.conn
        h.build_log(db)
        self.first = t.checkpoint(self.conn)
        grow(db)
        self.middle = t.checkpoint(self.conn)
        grow(db, 2)
        self.note = t.checkpoint(self.conn)
        self.notes = self.first + self.middle + self.note
        self.tree = t.check_tree(self.conn)
        self.log = h.Log(self.conn)
        self.sizes = [t.size_of(note) for note in (self.first, self.middle, self.note)]

    def leaf(self, place):
        """The leaf hash that the tree had of an event."""
        return t.leaf_hash(bytes.fromhex(self.log.hash(*place))).hex()

    def index(self, place):
        return self.tree.places().index(place)

    def missing(self, *place):
        return Break("missing_event", *place, None, self.leaf(place), None)

    def other(self, now):
        """Another event is where this one was."""
        place = h.at(now)[:3]
        leaf = t.leaf_hash(bytes.fromhex(h.python_format.event_hash(now))).hex()
        return Break("checkpoint_mismatch", *h.at(now), self.leaf(place) if place in self.log.by_place else None, leaf)


def of_tree(expected=None, actual=None):
    return Break("checkpoint_mismatch", None, None, None, None, expected, actual)


def root_of(note):
    return t.base64.b64decode(note.split("\n")[2]).hex()


def found(conn, **scope):
    """What is found, sorted, after looking at it in every way."""
    breaks = h.verify_breaks(conn, **scope)
    h.check_breaks(conn, *breaks, **scope)
    return sorted(breaks, key=h._order)


def check(conn, *expected, **scope):
    h.check_breaks(conn, *expected, **scope)


def details(conn, **scope):
    arguments, values = h._call(scope)
    return [detail for detail, in conn.execute(
        h.sql.SQL("SELECT detail FROM immutable.verify_breaks({})").format(arguments), values)]


@pytest.fixture
def kept(db):
    return Kept(db)


# ---------------------------------------------------------------------------------------------------------------------
# Nothing was done

def test_a_log_as_it_was(db, kept):
    for note, size in zip((kept.first, kept.middle, kept.note, kept.notes, kept.note + kept.first, kept.note * 2),
                          (*kept.sizes, *kept.sizes[-1:] * 3)):
        check(db.conn, checkpoint=note)
        result = h.verify_chain(db.conn, checkpoint=note)
        assert (result["anchored"], result["checkpoint_size"], result["complete"]) == (True, size, True)
        assert (result["cosigned_by"], result["cosigned_at"], result["recorded_late"]) == ([], None, None)


def test_the_plain_call_is_never_anchored(db, kept):
    check(db.conn)
    result = h.verify_chain(db.conn)
    assert (result["anchored"], result["checkpoint_size"], result["cosigned_by"]) == (False, kept.sizes[-1], [])
    service = h.verify(db.conn)
    assert (service["checkpoint_size"], service["cosigned_by"], service["cosigned_at"]) == (kept.sizes[-1], [], None)
    assert h.verify_chain(db.conn, heads=h.heads(db.conn))["anchored"]


def test_a_part_of_the_log_is_compared_with_no_checkpoint(db, kept):
    created_at = kept.log["acme", 0, 2]["created_at"]
    for scope in ({"tenant_id": "acme"}, {"from_date": created_at}, {"to_date": created_at}, {"max_events": 1000},
                  {"since": h.heads(db.conn)}):
        result = h.verify_chain(db.conn, **scope)
        assert (result["valid"], result["checkpoint_size"], result["cosigned_by"]) == (True, None, None)
        for function in (h.verify_chain, h.verify_breaks):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="checkpoint cannot be combined"):
                function(db.conn, checkpoint=kept.note, **scope)
    assert h.verify_chain(db.conn, checkpoint=kept.note, targets=False)["anchored"]


def test_events_that_came_since(db, kept):
    grow(db)
    check(db.conn, checkpoint=kept.note)
    assert h.verify_chain(db.conn, checkpoint=kept.note)["checkpoint_size"] == kept.sizes[-1]
    now = update(db.conn, ("acme", 0, max(seq for tenant, lane, seq in h.Log(db.conn).by_place if (tenant, lane) == ("acme", 0))),
                 action="nothing.happened")
    check(db.conn, h.hash_mismatch(now), checkpoint=kept.note)


def test_erasures_change_no_leaf(db, kept):
    event = kept.log["acme", 0, 3]["id"]
    db.conn.execute("SELECT immutable.erase(%s, 'acme', '{actor_id,metadata.reason}', 'request')", [event])
    check(db.conn, checkpoint=kept.note)
    assert h.verify_chain(db.conn, checkpoint=kept.note)["anchored"]


def test_an_auditor_and_others(db, kept):
    auditor = db.connect(db.create_role("IN ROLE immutable_auditor"))
    assert h.verify_chain(auditor, checkpoint=kept.notes)["anchored"]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        auditor.execute("SELECT FROM immutable.tree_runs")
    # One who may call it, but does not see every event.
    viewer = db.create_role()
    db.unguard()
    db.conn.execute("ALTER TABLE immutable.log DISABLE ROW LEVEL SECURITY")
    db.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {viewer}; GRANT SELECT ON immutable.log TO {viewer}")
    for table in ("events", "event_targets"):
        db.conn.execute(f"GRANT SELECT ON immutable.{table} TO {viewer}")
        db.conn.execute(f"CREATE POLICY one ON immutable.{table} FOR SELECT TO {viewer} USING (tenant_id = 'acme')")
    for function in ("verify_chain", "verify_event", "verify_lane", "verify_targets", "heads", "is_readable(text)",
                     "is_readable(jsonb)"):
        db.conn.execute(f"GRANT EXECUTE ON FUNCTION immutable.{function} TO {viewer}")
    seeing = db.connect(viewer)
    result = h.verify_chain(seeing)
    assert (result["valid"], result["checkpoint_size"]) == (True, None)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="every event"):
        h.verify_chain(seeing, checkpoint=kept.note)


# ---------------------------------------------------------------------------------------------------------------------
# Notes that are none of this log

def refused(conn, note, match):
    for function in (h.verify_chain, h.verify_breaks):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=match) as error:
            function(conn, checkpoint=note)
        assert "checkpoint" in str(error.value)


def test_texts_that_are_no_note(db, kept):
    text, lines = kept.note.split("\n\n")
    for note in ("", "x", "\n", text, text + "\n", text + "\n\n", kept.note[:-1], "x" + "\n\n" + lines, kept.note + "x",
                 kept.note + "\n", kept.note.replace("\n\n", "\n"), kept.note.replace("=\n", "\n"), "\u2014 a b\n" + kept.note,
                 kept.note.replace(f"\n{kept.sizes[-1]}\n", f"\n0{kept.sizes[-1]}\n"),
                 kept.note.replace(f"\n{kept.sizes[-1]}\n", "\n-1\n"), kept.note.replace(f"\n{kept.sizes[-1]}\n", "\n9223372036854775808\n")):
        refused(db.conn, note, "checkpoint is not a signed checkpoint")


def test_a_checkpoint_of_another_log(db, kept):
    key = t.Key("elsewhere.example/7f3e1c52-9d0b-4a86-b6f4-2f8f5d1c0e9a", 1)
    refused(db.conn, t.sign(key, key.name, kept.sizes[-1], kept.tree.root), "checkpoint is of another log")


def test_a_checkpoint_that_the_log_did_not_sign(db, kept):
    origin, size, top = kept.tree.origin, kept.tree.size, kept.tree.root
    refused(db.conn, t.sign(t.Key(origin, 1), origin, size, top), "no key of this log")
    own = t.log_key(db.conn)
    # The line of one note under another.
    lines = t.sign(own, origin, size, top).split("\n\n")[1]
    refused(db.conn, t.text_of(origin, size - 1, top) + "\n" + lines, "signature under checkpoint is not valid")
    # A good one beside it does not help, since the key is the same; but lines of others are ignored.
    other = t.Key("witness.example/w1", 4)
    check(db.conn, checkpoint=t.cosign(kept.note, other, 1_800_000_000))
    result = h.verify_chain(db.conn, checkpoint=t.cosign(kept.note, other, 1_800_000_000))
    assert (result["anchored"], result["cosigned_by"]) == (True, [])


def test_a_log_without_a_tree(db):
    h.build_log(db)
    key = t.Key("elsewhere.example", 1)
    refused(db.conn, t.sign(key, key.name, 3, bytes(32)), "another log")
    log_id, = db.conn.execute("SELECT log_id FROM immutable.log").fetchone()
    key = t.Key(f"immutable/{log_id}", 1)
    refused(db.conn, t.sign(key, key.name, 3, bytes(32)), "no key of this log")


# ---------------------------------------------------------------------------------------------------------------------
# Cosignatures, and events that are late

NOON = 1_900_000_000


def test_who_cosigned(db, kept):
    one, two = t.Key("witness.example/w1", 4), t.Key("b.example", 4)
    note = t.cosign(t.cosign(kept.note, one, NOON), two, NOON + 60)
    assert h.verify_chain(db.conn, checkpoint=note)["cosigned_by"] == []
    t.trust(db.conn, one)
    result = h.verify_chain(db.conn, checkpoint=note)
    assert (result["cosigned_by"], result["cosigned_at"].timestamp()) == ([one.name], NOON)
    t.trust(db.conn, two)
    result = h.verify_chain(db.conn, checkpoint=note)
    assert (result["cosigned_by"], result["cosigned_at"].timestamp()) == ([two.name, one.name], NOON + 60)
    assert (result["anchored"], result["recorded_late"]) == (True, 0)
    refused(db.conn, kept.note + one.line("another text\n", NOON), "cosignature of witness witness.example/w1")


def test_the_plain_call_reaches_as_far_as_the_newest_cosignature(db, kept):
    witness = t.Key("witness.example/w1", 4)
    t.store_cosignature(db.conn, kept.middle, witness, NOON)
    result = h.verify_chain(db.conn)
    assert (result["valid"], result["anchored"], result["checkpoint_size"]) == (True, False, kept.sizes[1])
    assert (result["cosigned_by"], result["cosigned_at"].timestamp()) == ([witness.name], NOON)
    # Everything since then claims to be older than noon.
    late = len(kept.log.rows) - kept.sizes[1]
    assert result["recorded_late"] == late > 0
    with h.in_parallel(db.conn):
        assert h.verify_chain(db.conn)["recorded_late"] == late
    service = h.verify(db.conn)
    assert (service["checkpoint_size"], service["cosigned_by"], service["recorded_late"]) == (kept.sizes[1], [witness.name], late)
    assert service["cosigned_at"].startswith("2030-03-17T17:46:40")


def test_late_events(db, kept):
    witness = t.Key("witness.example/w1", 4)
    t.trust(db.conn, witness)
    times = sorted(row["created_at"] for row in kept.log.rows)
    between = db.conn.execute("SELECT floor(extract(epoch FROM %s::timestamptz))::bigint", [times[-1]]).fetchone()[0] + 1
    for at in (1, between, NOON):
        note = t.cosign(kept.first, witness, at)
        rows = db.conn.execute("SELECT tenant_id, lane, seq, id::text FROM immutable.events WHERE created_at < to_timestamp(%s)", [at])
        covered = set(kept.tree.places()[:kept.sizes[0]])
        late = sorted(row for row in rows if row[:3] not in covered)
        assert h.verify_chain(db.conn, checkpoint=note)["recorded_late"] == len(late)
        listed = db.conn.execute("SELECT tenant_id, lane, seq, event_id::text FROM immutable.recorded_late(%s)", [note])
        assert sorted(listed) == late
    assert len(late) == len(kept.log.rows) - kept.sizes[0]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="cosigned"):
        db.conn.execute("SELECT * FROM immutable.recorded_late(%s)", [kept.first])
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        db.conn.execute("SELECT * FROM immutable.recorded_late()")
    t.store_cosignature(db.conn, kept.middle, witness, NOON)
    count, = db.conn.execute("SELECT count(*) FROM immutable.recorded_late()").fetchone()
    assert count == len(kept.log.rows) - kept.sizes[1]


# ---------------------------------------------------------------------------------------------------------------------
# Rows

def last(kept, tenant, lane):
    return max(seq for t, l, seq in kept.log.by_place if (t, l) == (tenant, lane))


def test_tail_cut(db, kept):
    end = last(kept, "acme", 0)
    h.delete(db.conn, ("acme", 0, end), ("acme", 0, end - 1))
    for scope in ({}, {"checkpoint": kept.note}, {"checkpoint": kept.notes}):
        check(db.conn, kept.missing("acme", 0, end - 1), **scope)
    assert details(db.conn) == [f"the events with seq {end - 1} to {end}, which the tree covers, are missing"]
    assert not h.verify_chain(db.conn, checkpoint=kept.note)["anchored"]


def test_tail_cut_in_rows_and_tree(db, kept):
    """All is as if the last events had never been recorded; only the note from outside shows it."""
    places = kept.tree.places()
    cut = kept.sizes[1]
    h.delete(db.conn, *places[:cut - 1:-1])
    tree = t.Tree(db.conn)
    tree.runs = [run for run in tree.runs if run[0] < cut]
    t.write(db.conn, t.from_rows(db.conn, tree))
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.tree_notes WHERE size > %s", [cut])
    check(db.conn)
    check(db.conn, checkpoint=kept.middle)
    for notes in (kept.note, kept.notes):
        check(db.conn, of_tree(root_of(kept.note)), checkpoint=notes)
        assert "does not have as many leaves" in details(db.conn, checkpoint=notes)[0]
    result = h.verify_chain(db.conn, checkpoint=kept.notes)
    assert (result["valid"], result["anchored"], result["checkpoint_size"]) == (False, False, kept.sizes[1])


@pytest.mark.parametrize("with_tree", [False, True])
def test_lane_removed(db, kept, with_tree):
    end = last(kept, "acme", 1)
    h.delete(db.conn, *(("acme", 1, seq) for seq in range(1, end + 1)))
    if not with_tree:
        check(db.conn, kept.missing("acme", 1, 1), checkpoint=kept.note)
        return check(db.conn, kept.missing("acme", 1, 1))
    rewrite(db, lambda run: run[1:3] != ["acme", 1])
    check(db.conn)
    check(db.conn, of_tree(root_of(kept.first), t.Tree(db.conn) and root_at(db.conn, kept.sizes[0])), checkpoint=kept.first)


def rewrite(db, keep):
    """The tree of those runs, with a head, a checkpoint of the log's own key, and no others."""
    tree = t.Tree(db.conn)
    tree.runs = [run for run in tree.runs if keep(run)]
    first = 0
    for run in tree.runs:
        run[0], first = first, first + run[4]
    t.write(db.conn, t.from_rows(db.conn, tree))
    forge_notes(db.conn)


def forge_notes(conn):
    tree = t.Tree(conn)
    note = t.sign(t.log_key(conn), tree.origin, tree.size, tree.root)
    with h.behind_triggers(conn):
        conn.execute("DELETE FROM immutable.tree_notes")
        conn.execute("INSERT INTO immutable.tree_notes VALUES (%s, %s, %s, now(), %s)",
                     [tree.origin, tree.size, tree.root, note])


def root_at(conn, size):
    return t.root(t.Tree(conn).leaves[:size]).hex()


def test_tenant_removed(db, kept):
    h.delete(db.conn, *(place for place in kept.log.by_place if place[0] == "globex"))
    check(db.conn, kept.missing("globex", 0, 1), checkpoint=kept.note)
    rewrite(db, lambda run: run[1] != "globex")
    check(db.conn)
    check(db.conn, of_tree(root_of(kept.note)), checkpoint=kept.note)


def test_whole_log_removed(db, kept):
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.event_targets")
        db.conn.execute("DELETE FROM immutable.events")
    lanes = {place[:2] for place in kept.tree.places()}
    for scope in ({}, {"checkpoint": kept.note}):
        check(db.conn, *(kept.missing(*lane, 1) for lane in lanes), **scope)
    with h.behind_triggers(db.conn):
        for table in ("tree", "tree_runs", "tree_tiles", "tree_chunks", "tree_notes"):
            db.conn.execute(f"DELETE FROM immutable.{table}")
    assert h.verify_chain(db.conn)["valid"] is None
    check(db.conn, of_tree(), of_tree(root_of(kept.note)), checkpoint=kept.note)


def rehash(conn, log, place, **changes):
    """Changes an event and computes every hash after it again, as whoever can write the files can."""
    tenant, lane, seq = place
    previous = None
    while (tenant, lane, seq) in log.by_place:
        row = log[tenant, lane, seq]
        forged = forge(row, **(changes if previous is None else {"previous_event_hash": previous}))
        columns = {**(changes if previous is None else {}), "event_hash": h.bytea(h.plain(forged["event_hash"]))}
        if previous is not None:
            columns["previous_event_hash"] = h.bytea(h.plain(previous))
        update(conn, (tenant, lane, seq), **columns)
        previous, seq = forged["event_hash"], seq + 1


def test_chain_rewritten(db, kept):
    rehash(db.conn, kept.log, ("acme", 0, 3), action="nothing.happened")
    now = h.Log(db.conn)["acme", 0, 3]
    for scope in ({}, {"checkpoint": kept.note}, {"checkpoint": kept.notes}):
        check(db.conn, kept.other(now), **scope)
    end = last(kept, "acme", 0)
    assert details(db.conn) == [f"the events with seq 3 to {end} are not those that the tree covers"]
    assert h.verify_chain(db.conn, heads=[])["valid"] is False


def test_chain_and_tiles_rewritten(db, kept):
    """The database agrees with itself in everything."""
    place = ("globex", 0, last(kept, "globex", 0) - 1)
    changed = kept.index(place)
    assert kept.sizes[0] <= changed < kept.sizes[1]
    rehash(db.conn, kept.log, place, action="nothing.happened")
    rewrite(db, lambda run: True)
    check(db.conn)
    check(db.conn, checkpoint=kept.first)
    check(db.conn, of_tree(root_of(kept.note), root_at(db.conn, kept.sizes[2])), checkpoint=kept.note)
    check(db.conn, of_tree(root_of(kept.middle), root_at(db.conn, kept.sizes[1])), checkpoint=kept.notes)
    low, high = kept.sizes[:2]
    assert f"events with an index from {low} to {high - 1} were changed" in details(db.conn, checkpoint=kept.notes)[0]
    result = h.verify_chain(db.conn, checkpoint=kept.notes)
    assert (result["valid"], result["anchored"], result["checkpoint_size"]) == (False, False, low)


def test_a_value_was_changed(db, kept):
    now = update(db.conn, ("acme", 0, 3), action="nothing.happened")
    check(db.conn, h.hash_mismatch(now), kept.other(now), checkpoint=kept.note)


def test_tail_relabelled_to_another_tenant(db, kept):
    """Each row alone is as it was, but for its tenant: as many events, and none is missing by number."""
    end = last(kept, "acme", 1)
    row = kept.log["acme", 1, end]
    forged = forge(row, tenant_id="other", seq=h.python_format.Number("1"), previous_event_hash=None,
                   log_id=kept.log["acme", 0, 1]["log_id"])
    h.delete(db.conn, ("acme", 1, end))
    h.insert_row(db.conn, forged)
    with h.behind_triggers(db.conn):
        db.conn.execute("INSERT INTO immutable.event_targets SELECT e.tenant_id, e.id, n - 1, v ->> 'type', v ->> 'id', v ->> 'name', "
                        "v -> 'metadata', e.created_at FROM immutable.events e, jsonb_array_elements(e.targets) WITH ORDINALITY x(v, n) "
                        "WHERE e.tenant_id = 'other'")
    check(db.conn, kept.missing("acme", 1, end), checkpoint=kept.note)


def test_rows_that_are_there_twice(db, kept):
    """The keys are gone, and a row is there twice."""
    without_keys(db)
    h.insert_row(db.conn, kept.log["globex", 0, 2])
    now = kept.log["globex", 0, 2]
    leaf = kept.leaf(("globex", 0, 2))
    breaks = found(db.conn, checkpoint=kept.note)
    assert Break("checkpoint_mismatch", *h.at(now), None, leaf) in breaks
    assert {one.type for one in breaks} == {"chain_break", "checkpoint_mismatch"}


# ---------------------------------------------------------------------------------------------------------------------
# Runs, tiles, heads and notes

def sabotage(conn, *statements):
    with h.behind_triggers(conn):
        for statement in statements:
            conn.execute(statement)


RUNS = {
    "removed": "DELETE FROM immutable.tree_runs WHERE first_index = (SELECT min(first_index) FROM immutable.tree_runs WHERE first_index > 3)",
    "the first removed": "DELETE FROM immutable.tree_runs WHERE first_index = 0",
    "the last removed": "DELETE FROM immutable.tree_runs WHERE first_index = (SELECT max(first_index) FROM immutable.tree_runs)",
    "all removed": "DELETE FROM immutable.tree_runs",
    "another lane": "UPDATE immutable.tree_runs SET lane = lane + 1 WHERE tenant_id = 'acme'",
    "another tenant": "UPDATE immutable.tree_runs SET tenant_id = 'globex' WHERE tenant_id = 'acme'",
    "swapped": "UPDATE immutable.tree_runs SET tenant_id = CASE tenant_id WHEN 'acme' THEN 'globex' ELSE 'acme' END WHERE tenant_id <> '' AND lane = 0",
    "shorter": "UPDATE immutable.tree_runs SET count = count - 1 WHERE count > 1",
    "longer": "UPDATE immutable.tree_runs SET count = count + 1",
    "absurd": "UPDATE immutable.tree_runs SET count = 9223372036854775807",
    "absurd index": "UPDATE immutable.tree_runs SET first_index = 9223372036854775807 WHERE first_index = 0",
    "absurd seq": "UPDATE immutable.tree_runs SET first_seq = 9223372036854775807 WHERE first_index = 0",
    "negative": "UPDATE immutable.tree_runs SET count = -count",
    "nothing": "UPDATE immutable.tree_runs SET count = 0",
    "negative index": "UPDATE immutable.tree_runs SET first_index = -1 - first_index",
    "negative seq": "UPDATE immutable.tree_runs SET first_seq = -first_seq",
    "another seq": "UPDATE immutable.tree_runs SET first_seq = first_seq + 1",
    "one more": "INSERT INTO immutable.tree_runs SELECT max(first_index + count), 'acme', 0, 1, 5 FROM immutable.tree_runs",
    "one within": "INSERT INTO immutable.tree_runs SELECT first_index + 1, 'acme', 0, 1, 1 FROM immutable.tree_runs WHERE count > 1 LIMIT 1",
    "one around": "INSERT INTO immutable.tree_runs SELECT -5, 'acme', 0, 1, 1000000",
    "tenant lost": "UPDATE immutable.tree_runs SET tenant_id = '' WHERE tenant_id = 'acme'",
}


@pytest.mark.parametrize("how", RUNS)
def test_runs_changed(db, kept, how):
    sabotage(db.conn, RUNS[how])
    for scope in ({}, {"checkpoint": kept.note}, {"checkpoint": kept.notes}):
        breaks = found(db.conn, **scope)
        assert breaks and {one.type for one in breaks} <= {"checkpoint_mismatch", "missing_event"}
        assert "checkpoint_mismatch" in {one.type for one in breaks}
        assert not h.verify_chain(db.conn, **scope)["anchored"]


def test_a_run_that_was_changed_is_named(db, kept):
    index, tenant, lane, seq, count = db.conn.execute("SELECT * FROM immutable.tree_runs ORDER BY first_index OFFSET 2").fetchone()
    sabotage(db.conn, f"UPDATE immutable.tree_runs SET first_seq = first_seq + 1 WHERE first_index = {index}")
    assert any(line.startswith(f"the run of index {index} begins with seq {seq + 1}, where seq {seq} comes next")
               for line in details(db.conn))


TREE = {
    "head larger": "UPDATE immutable.tree SET size = size + 1",
    "head absurd": "UPDATE immutable.tree SET size = 9223372036854775807",
    "head negative": "UPDATE immutable.tree SET size = -5",
    "head smaller": "UPDATE immutable.tree SET size = size - 1",
    "head zero": "UPDATE immutable.tree SET size = 0",
    "root": "UPDATE immutable.tree SET root = sha256(root)",
    "no root": "UPDATE immutable.tree SET root = ''",
    "head lost": "DELETE FROM immutable.tree",
    "chunk": "UPDATE immutable.tree_chunks SET hashes = set_byte(hashes, 5, get_byte(hashes, 5) # 1) WHERE first_index = 0",
    "chunk cut": "UPDATE immutable.tree_chunks SET hashes = substr(hashes, 1, length(hashes) - 32)",
    "chunk cut within": "UPDATE immutable.tree_chunks SET hashes = substr(hashes, 1, length(hashes) - 1)",
    "chunk empty": "UPDATE immutable.tree_chunks SET hashes = ''",
    "chunk huge": "UPDATE immutable.tree_chunks SET hashes = decode(repeat('00', 10000000), 'hex')",
    "chunk lost": "DELETE FROM immutable.tree_chunks WHERE first_index = 0",
    "chunk moved": "UPDATE immutable.tree_chunks SET first_index = first_index + 1",
    "chunk negative": "UPDATE immutable.tree_chunks SET first_index = -first_index - 1",
    "chunk absurd": "UPDATE immutable.tree_chunks SET first_index = 9223372036854775807 - first_index",
    "all chunks lost": "DELETE FROM immutable.tree_chunks",
    "a tile": "INSERT INTO immutable.tree_tiles SELECT 0, 0, sha256(''), decode(repeat('00', 8192), 'hex')",
    "a short tile": "INSERT INTO immutable.tree_tiles SELECT 0, 0, sha256(''), decode(repeat('00', 8191), 'hex')",
    "a huge tile": "INSERT INTO immutable.tree_tiles SELECT 0, 0, sha256(''), decode(repeat('00', 50000000), 'hex')",
    "a negative tile": "INSERT INTO immutable.tree_tiles SELECT 0, -1, sha256(''), decode(repeat('00', 8192), 'hex')",
    "an absurd tile": "INSERT INTO immutable.tree_tiles SELECT 0, 36028797018963967, sha256(''), decode(repeat('00', 8192), 'hex')",
    "note's size": "UPDATE immutable.tree_notes SET size = size + 1000",
    "note absurd": "UPDATE immutable.tree_notes SET size = 9223372036854775807 WHERE size = (SELECT max(size) FROM immutable.tree_notes)",
    "note's root": "UPDATE immutable.tree_notes SET root = sha256(root)",
    "note's text": "UPDATE immutable.tree_notes SET note = replace(note, '=', '')",
    "note's signature": "UPDATE immutable.tree_notes SET note = substr(note, 1, length(note) - 5) || 'AA==' || chr(10)",
}


@pytest.mark.parametrize("how", TREE)
def test_tree_changed(db, kept, how):
    sabotage(db.conn, TREE[how])
    breaks = found(db.conn)
    assert breaks and {one.type for one in breaks} <= {"checkpoint_mismatch", "missing_event"}
    # What the log keeps of checkpoints is not looked at if the caller has one.
    with_note = found(db.conn, checkpoint=kept.note)
    assert bool(with_note) is not how.startswith("note")


def test_a_forged_checkpoint(db, kept):
    """With the log's own key: it signs whatever is in the table."""
    own, origin = t.log_key(db.conn), kept.tree.origin
    note = t.sign(own, origin, kept.sizes[-1], bytes(32))
    check(db.conn, of_tree("00" * 32, kept.tree.root.hex()), checkpoint=note)
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.tree_notes SET note = %s, root = %s WHERE size = %s", [note, bytes(32), kept.sizes[-1]])
    check(db.conn, of_tree("00" * 32, kept.tree.root.hex()))
    check(db.conn, checkpoint=kept.note)
    # Of a size that the tree does not have.
    far = t.sign(own, origin, 10 ** 15, bytes(32))
    check(db.conn, of_tree("00" * 32), checkpoint=far)


def test_a_fork(db, kept):
    """Two notes of the log's key that cannot both be true."""
    own, origin = t.log_key(db.conn), kept.tree.origin
    forged = t.sign(own, origin, kept.sizes[0], bytes(32))
    for notes in (kept.notes + forged, forged + kept.note):
        breaks = found(db.conn, checkpoint=notes)
        assert breaks == [of_tree("00" * 32, root_of(kept.first))]
    same = t.sign(own, origin, kept.sizes[-1], bytes(32))
    assert found(db.conn, checkpoint=kept.note + same) == [of_tree("00" * 32, root_of(kept.note))]


def test_an_old_checkpoint_is_replayed(db, kept):
    """It says no more than it did: the answer says how far it reaches."""
    result = h.verify_chain(db.conn, checkpoint=kept.first)
    assert (result["anchored"], result["checkpoint_size"]) == (True, kept.sizes[0])
    # In the database itself.
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.tree_notes WHERE size > %s", [kept.sizes[0]])
    result = h.verify_chain(db.conn)
    assert (result["valid"], result["anchored"], result["checkpoint_size"]) == (True, False, kept.sizes[0])


def test_a_checkpoint_of_no_event_anchors_nothing(db, kept):
    note = t.sign(t.log_key(db.conn), kept.tree.origin, 0, hashlib.sha256().digest())
    for cosigned in (note, t.cosign(note, t.Key("witness.example/w1", 4), 1_800_000_000)):
        result = h.verify_chain(db.conn, checkpoint=cosigned)
        assert (result["valid"], result["anchored"], result["checkpoint_size"]) == (True, False, 0)
    assert h.verify_chain(db.conn, checkpoint=note + kept.first)["anchored"]


def test_stored_cosignatures_changed(db, kept):
    witness = t.Key("witness.example/w1", 4)
    t.store_cosignature(db.conn, kept.note, witness, NOON)
    check(db.conn)
    with db.conn.transaction(force_rollback=True):
        sabotage(db.conn, "DELETE FROM immutable.tree_notes")
        check(db.conn, of_tree())
        assert "is missing" in details(db.conn)[0]
    for change in ("line = replace(line, 'witness', 'other')", "vkey = 'x'", "line = ''", "line = left(line, 80) || chr(10)"):
        with db.conn.transaction(force_rollback=True):
            with h.behind_triggers(db.conn):
                db.conn.execute(f"UPDATE immutable.tree_cosignatures SET {change}")
            breaks = h.verify_breaks(db.conn)
            assert breaks == [of_tree()], change
            result = h.verify_chain(db.conn)
            assert (result["cosigned_by"], result["recorded_late"]) == ([], None)


# ---------------------------------------------------------------------------------------------------------------------
# Upper tiles, and making tiles again

def many(db, events=66_000):
    """A tree with a full tile of level 1."""
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT 'tenant ' || n %% 3, 'a', 'b' FROM generate_series(1, %s) n", [events])
    return t.checkpoint(db.conn)


TILES = {
    "a hash of level 1": "UPDATE immutable.tree_tiles SET hashes = set_byte(hashes, 77, get_byte(hashes, 77) # 1) WHERE level = 1",
    "a root of level 1": "UPDATE immutable.tree_tiles SET root = sha256(root) WHERE level = 1",
    "a root of level 0": "UPDATE immutable.tree_tiles SET root = sha256(root) WHERE level = 0 AND number = 17",
    "a short root": "UPDATE immutable.tree_tiles SET root = substr(root, 2) WHERE level = 0 AND number = 17",
    "level 1 lost": "DELETE FROM immutable.tree_tiles WHERE level = 1",
    "level 1 cut": "UPDATE immutable.tree_tiles SET hashes = substr(hashes, 33) WHERE level = 1",
    "a leaf": "UPDATE immutable.tree_tiles SET hashes = set_byte(hashes, 8000, get_byte(hashes, 8000) # 1) WHERE level = 0 AND number = 200",
    "a tile lost": "DELETE FROM immutable.tree_tiles WHERE level = 0 AND number = 256",
    "tiles swapped": "UPDATE immutable.tree_tiles t SET hashes = o.hashes, root = o.root FROM immutable.tree_tiles o "
                     "WHERE t.level = 0 AND o.level = 0 AND t.number = 3 AND o.number = 4",
    "a chunk": "UPDATE immutable.tree_chunks SET hashes = set_byte(hashes, 8, get_byte(hashes, 8) # 1)",
    "the chunk lost": "DELETE FROM immutable.tree_chunks",
    "one too many": "INSERT INTO immutable.tree_tiles SELECT 2, 0, root, hashes FROM immutable.tree_tiles WHERE level = 1",
    "everything lost": "DELETE FROM immutable.tree_chunks; DELETE FROM immutable.tree_tiles",
}


def stored(conn):
    return [conn.execute(f"SELECT * FROM immutable.{table} ORDER BY 1, 2").fetchall()
            for table in ("tree_tiles", "tree_chunks", "tree_runs", "tree", "tree_notes")]


def test_tiles_are_made_again(db):
    note = many(db)
    before = stored(db.conn)
    assert h.verify_chain(db.conn, checkpoint=note)["anchored"]
    assert db.conn.execute("SELECT immutable.rebuild_tiles()").fetchone() == (0,)
    assert stored(db.conn) == before
    for how, statements in TILES.items():
        with db.conn.transaction(force_rollback=True):
            sabotage(db.conn, *statements.split("; "))
            breaks = h.verify_breaks(db.conn, checkpoint=note)
            assert {one.type for one in breaks} == {"checkpoint_mismatch"} or how == "one too many" and not breaks, how
            assert len(breaks) <= 6, how
            rebuilt, = db.conn.execute("SELECT immutable.rebuild_tiles()").fetchone()
            assert rebuilt == (259 if how == "everything lost" else 1), how
            assert stored(db.conn) == before, how
            result = h.verify_chain(db.conn, checkpoint=note)
            assert (result["valid"], result["anchored"]) == (True, True), how
            assert db.conn.execute("SELECT metadata FROM immutable.events WHERE action = 'immutable.tiles_rebuilt'"
                                   ).fetchall() == [({"tiles": rebuilt},)]


def test_tiles_are_not_made_of_other_events(db, kept):
    """Neither of changed or missing ones, nor in another order."""
    def refuse(*statements):
        with db.conn.transaction(force_rollback=True):
            sabotage(db.conn, *statements)
            before = stored(db.conn)
            with pytest.raises(psycopg.errors.DataCorrupted) as error, db.conn.transaction():
                db.conn.execute("SELECT immutable.rebuild_tiles()")
            assert stored(db.conn) == before
            return str(error.value)

    assert "the event with seq 2 in lane 0 of tenant \"globex\" is missing" in refuse(
        "DELETE FROM immutable.event_targets", "DELETE FROM immutable.events WHERE tenant_id = 'globex' AND seq = 2")
    assert "do not have the root" in refuse("UPDATE immutable.events SET actor_id = 'x' WHERE tenant_id = 'globex' AND seq = 2")
    for how, statement in RUNS.items():
        if how not in ("one more", "one within"):
            assert "immutable.tree_runs" in refuse(statement) or "is missing" in refuse(statement), how
    assert "do not have the root" in refuse("UPDATE immutable.tree SET root = sha256(root)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.connect(db.create_role("IN ROLE immutable_auditor")).execute("SELECT immutable.rebuild_tiles()")


def test_there_are_no_tiles_without_a_checkpoint(db):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no checkpoint yet"):
        db.conn.execute("SELECT immutable.rebuild_tiles()")


# ---------------------------------------------------------------------------------------------------------------------
# The tree as a file

def tree_export(conn, *size):
    return [json.loads(line) for line, in conn.execute(f"SELECT immutable.export_tree({', '.join(map(str, size))})")]


def check_export(lines, tree, log_id, size):
    """It is what follows from the tables."""
    header, *rest, end = lines
    assert header == {"immutable_tree": 1, "log_id": log_id, "origin": tree.origin, "size": size}
    covered = {}
    for tenant, lane, seq in tree.places()[:size]:
        covered[tenant, lane] = seq
    lanes = sorted(covered.items(), key=lambda lane: (lane[0][0].encode(), lane[0][1]))
    tiles = [tree.leaves[n:min(n + t.WIDTH, size)] for n in range(0, size, t.WIDTH)]
    assert rest == [{"lane": list(lane), "covered": last} for lane, last in lanes] + [
        {"tile": n, "hashes": t.base64.b64encode(b"".join(tile)).decode()} for n, tile in enumerate(tiles)]
    assert end == {"immutable_tree_end": 1, "tiles": len(tiles), "lanes": len(lanes)}


def test_the_tree_as_a_file(db, kept):
    add_event(db.conn, "Köln \"ß\"", "k")
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'many', 'a', 'b' FROM generate_series(1, 600) n")
    t.checkpoint(db.conn)
    tree = t.check_tree(db.conn)
    log_id = str(db.conn.execute("SELECT log_id FROM immutable.log").fetchone()[0])
    auditor = db.connect(db.create_role("IN ROLE immutable_auditor"))
    for size in (0, 1, *kept.sizes, 255, 256, 257, 512, tree.size - 1, tree.size):
        check_export(tree_export(auditor, size), tree, log_id, size)
    check_export(tree_export(auditor), tree, log_id, tree.size)
    assert len(auditor.execute("SELECT immutable.export_tree() LIMIT 3").fetchall()) == 3
    for size in (-1, tree.size + 1):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="size must be from 0 to"):
            tree_export(auditor, size)
    for role in ("immutable_viewer", "immutable_writer"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            tree_export(db.connect(db.create_role(f"IN ROLE {role}")))


@pytest.mark.parametrize("how", ["removed", "swapped", "absurd", "another seq", "negative", "tile", "chunk"])
def test_a_damaged_tree_as_a_file(db, kept, how):
    """It is refused, or it is not that of the checkpoint: whoever verifies it sees that."""
    sabotage(db.conn, {**RUNS, "tile": TREE["chunk empty"], "chunk": TREE["chunk lost"]}[how])
    try:
        lines = tree_export(db.conn, kept.sizes[-1])
    except psycopg.errors.DataCorrupted:
        return
    assert how in ("swapped", "another seq")
    lanes = {tuple(line["lane"]): line["covered"] for line in lines if "lane" in line}
    assert lanes != {(tenant, lane): seq for tenant, lane, seq in kept.tree.places()}


def test_there_is_no_file_without_a_checkpoint(db):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        tree_export(db.conn)


# ---------------------------------------------------------------------------------------------------------------------
# Anything at all

ROUNDS = int(os.environ.get("IMMUTABLE_TAMPERINGS", "200"))


class Tampering:
    """Changes of rows, tree and runs that are drawn at random, by somebody who knows all the rules."""

    def __init__(self, db, seed):
        self.conn, self.random = db.conn, random.Random(seed)
        self.log, self.tree = h.Log(db.conn), t.Tree(db.conn)

    def place(self):
        return self.random.choice(sorted(self.log.by_place))

    def do(self):
        row_changes = (self.drop_row, self.cut_lane, self.change_value, self.rewrite_lane, self.copy_row, self.relabel,
                       self.append, self.swap_rows, self.move_seq)
        tree_changes = (self.swap_leaves, self.drop_leaf, self.copy_leaf, self.change_leaf, self.leaf_of_row)
        run_changes = (self.drop_run, self.stretch_run, self.shift_run, self.swap_runs, self.move_run, self.split_run)
        done = []
        for _ in range(self.random.randint(1, 3)):
            change = self.random.choice(self.random.choice((row_changes, row_changes, tree_changes, run_changes)))
            done.append(change.__name__)
            if self.log.by_place and self.tree.leaves and self.tree.runs:
                change()
            self.log = h.Log(self.conn)
            if len(self.log.rows) != len(self.log.by_place):
                break  # a row is there twice: no place is that of one row any more
        t.write(self.conn, self.tree, size=self.random.choice((len(self.tree.leaves), self.tree.size, None)))
        if self.random.random() < 0.3 and len(self.log.rows) == len(self.log.by_place):
            done.append("rewrite tree")
            self.remake()
        if self.random.random() < 0.5:
            forge_notes(self.conn)
        return done

    def remake(self):
        """Runs without gaps over the rows that are there, and a tree of those."""
        lengths = {}
        for tenant, lane, seq in self.log.by_place:
            lengths.setdefault((tenant, lane), set()).add(seq)
        first, done = 0, {}
        runs = []
        for run in self.tree.runs:
            lane = tuple(run[1:3])
            start = done.get(lane, 0)
            count = 0
            while count < run[4] and start + count + 1 in lengths.get(lane, ()):
                count += 1
            if count:
                runs.append([first, *lane, start + 1, count])
                first, done[lane] = first + count, start + count
        self.tree.runs = runs
        t.write(self.conn, t.from_rows(self.conn, self.tree))

    # Rows

    def drop_row(self):
        h.delete(self.conn, self.place())

    def cut_lane(self):
        tenant, lane, seq = self.place()
        sabotage(self.conn, f"DELETE FROM immutable.events WHERE (tenant_id, lane) = ('{tenant}', {lane}) AND seq >= {seq}")

    def change_value(self):
        update(self.conn, self.place(), action="nothing.happened")

    def rewrite_lane(self):
        rehash(self.conn, self.log, self.place(), actor_type="rewritten")

    def copy_row(self):
        h.insert_row(self.conn, self.log[self.place()])

    def relabel(self):
        tenant, lane, seq = self.place()
        to = self.random.choice(["other", "acme", "globex"])
        forged = forge(self.log[tenant, lane, seq], tenant_id=to, seq=h.python_format.Number(str(self.random.randint(2, 40))),
                       previous_event_hash="\\x" + "00" * 32, log_id=None)
        h.delete(self.conn, (tenant, lane, seq))
        h.insert_row(self.conn, forged)

    def append(self):
        tenant, lane, _ = self.place()
        end = max(seq for t, l, seq in self.log.by_place if (t, l) == (tenant, lane))
        row = self.log[tenant, lane, end]
        h.insert_row(self.conn, forge({**row, "log_id": None, "idempotency_key": None}, id=str(uuid.UUID(bytes=self.random.randbytes(16), version=4)), previous_event_hash=row["event_hash"],
                                      seq=h.python_format.Number(str(end + 1))))

    def swap_rows(self):
        one, two = self.place(), self.place()
        if one != two:
            first, second = self.log[one]["event_hash"], self.log[two]["event_hash"]
            update(self.conn, one, event_hash=h.bytea(h.plain(second)))
            update(self.conn, two, event_hash=h.bytea(h.plain(first)))

    def move_seq(self):
        update(self.conn, self.place(), seq=str(self.random.choice([-3, 0, 1, 2, 5, 1000])))

    # The tree

    def leaf(self):
        return self.random.randrange(len(self.tree.leaves))

    def swap_leaves(self):
        one, two, leaves = self.leaf(), self.leaf(), self.tree.leaves
        leaves[one], leaves[two] = leaves[two], leaves[one]

    def drop_leaf(self):
        del self.tree.leaves[self.leaf()]

    def copy_leaf(self):
        self.tree.leaves.insert(self.leaf(), self.tree.leaves[self.leaf()])

    def change_leaf(self):
        self.tree.leaves[self.leaf()] = self.random.randbytes(32)

    def leaf_of_row(self):
        self.tree.leaves[self.leaf()] = t.leaf_hash(bytes.fromhex(self.log.hash(*self.place())))

    # The runs

    def run(self):
        return self.random.choice(self.tree.runs)

    def drop_run(self):
        self.tree.runs.remove(self.run())

    def stretch_run(self):
        self.run()[4] += self.random.choice([-1, 1, 5, 1000])

    def shift_run(self):
        self.run()[self.random.choice([0, 3])] += self.random.choice([-1, 1, 1000])
        self.only_once()

    def swap_runs(self):
        one, two = self.run(), self.run()
        one[1:], two[1:] = two[1:], one[1:]

    def move_run(self):
        run = self.run()
        run[1], run[2] = self.run()[1], self.random.choice([0, 1, 2])

    def split_run(self):
        run = self.run()
        if run[4] > 1:
            self.tree.runs.append([run[0] + 1, run[1], run[2], run[3] + 1, run[4] - 1])
            run[4] = 1
            self.only_once()

    def only_once(self):
        self.tree.runs = sorted({run[0]: run for run in self.tree.runs}.values())


@pytest.mark.timeout(120 + ROUNDS)
def test_no_tampering_is_taken_for_the_log_of_the_checkpoint(db, kept):
    """If it is accepted, every covered event is there, once and as it was."""
    print("seed", SEED)
    add = "INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'globex', 'a', 'b' FROM generate_series(1, 240)"
    db.conn.execute(add)
    note = t.checkpoint(db.conn)
    db.conn.execute(add.replace("240", "5"))
    t.check_tree(db.conn)
    covered = t.Tree(db.conn).places()
    assert len(covered) == t.size_of(note) > 256
    without_keys(db)
    before = counted(db.conn)
    accepted = 0
    for seed in range(SEED, SEED + ROUNDS):
        with db.conn.transaction(force_rollback=True):
            done = Tampering(db, seed).do()
            result = h.verify_chain(db.conn, checkpoint=note, targets=False)
            assert result["valid"] is not None and result["anchored"] is result["valid"]
            if result["valid"]:
                accepted += 1
                now = counted(db.conn)
                assert all(now.get(place) == before[place] for place in covered), (seed, done)
    print(accepted, "accepted")


def counted(conn):
    """The rows of each place."""
    rows = {}
    for *place, row in conn.execute("SELECT tenant_id, lane, seq, md5((e.*)::text) FROM immutable.events e"):
        rows.setdefault(tuple(place), []).append(row)
    return rows


def without_keys(db):
    """A row may be there twice, and need not have the form of an event."""
    h.drop_checks(db.conn)
    for table in ("event_targets", "events"):
        for name, in db.conn.execute("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('p', 'u', 'f', 'c')",
                                     [f"immutable.{table}"]).fetchall():
            db.conn.execute(f"ALTER TABLE immutable.{table} DROP CONSTRAINT IF EXISTS {name} CASCADE")
    for name, in db.conn.execute("SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'immutable.events'::regclass AND indisunique").fetchall():
        db.conn.execute(f"DROP INDEX {name}")
    db.conn.execute("CREATE INDEX ON immutable.events (tenant_id, lane, seq)")


# ---------------------------------------------------------------------------------------------------------------------
# Bytes of the stored tree, changed in the files

# What of each table is of a length of its own, and what is a number.
VALUES = {"tree": ("origin", "root"), "tree_runs": ("tenant_id",), "tree_tiles": ("root", "hashes"), "tree_chunks": ("hashes",),
          "tree_notes": ("origin", "root", "note"), "tree_cosignatures": ("origin", "vkey", "line"), "log_keys": ("vkey",)}
NUMBERS = {"tree": ("size",), "tree_runs": ("first_index", "lane", "first_seq", "count"), "tree_tiles": ("level", "number"),
           "tree_chunks": ("first_index",), "tree_notes": ("size",), "tree_cosignatures": ("size",)}
DAMAGED = int(os.environ.get("IMMUTABLE_DAMAGED_TREES", "60"))


def a_byte(conn, randomly):
    """A byte of a stored value: its table and column, file and place in it. Not a length, by which PostgreSQL finds the next
    column."""
    table = randomly.choice(sorted(VALUES))
    column = randomly.choice(VALUES[table] + NUMBERS.get(table, ()))
    number, = conn.execute("SELECT attnum FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s",
                           [f"immutable.{table}", column]).fetchone()
    file, = conn.execute("SELECT pg_relation_filepath(%s::regclass)", [f"immutable.{table}"]).fetchone()
    found = conn.execute(f"""
        SELECT b.n * 8192 + i.lp_off + i.t_hoff, i.t_data,
               (tuple_data_split('immutable.{table}'::regclass, i.t_data, i.t_infomask, i.t_infomask2, i.t_bits))[{number}]
        FROM generate_series(0, pg_relation_size('immutable.{table}') / 8192 - 1) b(n),
             heap_page_items(get_raw_page('immutable.{table}', b.n::int)) i
        WHERE i.lp_len > 0 AND EXISTS (SELECT FROM immutable.{table} x WHERE x.ctid = ('(' || b.n || ',' || i.lp || ')')::tid)
        """).fetchall()
    begin, data, value = randomly.choice([row for row in found if len(row[2]) > 1])
    if column in VALUES[table]:
        # After the length: 4 bytes, or 1; the tag of a pointer to chunks as well.
        first = 2 if value[0] == 1 else 1 if value[0] & 1 else 4
    else:
        first = 0
    return f"{table}.{column}", file, begin + data.index(value) + randomly.randrange(first, len(value))


def digests(conn):
    """What is in the tables, of which not everything can be read."""
    found = []
    for table in ("tree_tiles", "tree_chunks", "tree_runs", "tree", "tree_notes"):
        try:
            found += conn.execute(f"SELECT md5(string_agg(x::text, ' ' ORDER BY ctid)) FROM immutable.{table} x").fetchall()
        except psycopg.Error as error:
            found.append(str(error))
    return found


@pytest.mark.timeout(300)
def test_bytes_of_the_stored_tree(cluster):
    """Each in a copy of the database. Nothing crashes or runs for ever, and what is accepted is what was there."""
    print("seed", SEED)
    server = cluster()
    source = Database(server)
    conn = source.conn
    conn.execute("CREATE EXTENSION pageinspect")
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'tenant ' || n % 3, 'a', 'b' FROM generate_series(1, 600) n")
    t.store_cosignature(conn, t.checkpoint(conn), t.Key("witness.example/w1", 4), NOON)
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'tenant ' || n % 5, 'a', 'b' FROM generate_series(1, 50) n")
    note = t.checkpoint(conn)
    conn.execute("VACUUM")
    before = digests(conn)
    randomly = random.Random(SEED)
    edits = [a_byte(conn, randomly) for _ in range(DAMAGED)]
    name = source.name
    for connection in source.connections:
        connection.close()
    with server.connect() as admin:
        for number in range(DAMAGED):
            admin.execute(f"CREATE DATABASE damaged_{number} TEMPLATE {name} STRATEGY file_copy")
        files = dict(admin.execute("SELECT datname, oid::text FROM pg_database").fetchall())
        has_checksums = admin.execute("SHOW data_checksums").fetchone()[0] == "on"
    server.stop()
    if has_checksums:
        as_server(server.bin / "pg_checksums", "--disable", "-D", server.data)
    for number, (_, file, place) in enumerate(edits):
        path = server.data / file.replace(f"/{files[name]}/", f"/{files[f'damaged_{number}']}/")
        with open(path, "r+b") as opened:
            opened.seek(place)
            byte = opened.read(1)[0]
            opened.seek(place)
            opened.write(bytes([randomly.choice((byte ^ 1 << randomly.randrange(8), 0, 255 - byte))]))
    server.start()
    unseen = []
    for number, (what, _, place) in enumerate(edits):
        with server.connect(f"damaged_{number}") as conn:
            conn.execute("SET statement_timeout = '20s'")
            for scope in ({}, {"checkpoint": note}):
                try:
                    result = h.verify_chain(conn, **scope)
                except psycopg.errors.InvalidParameterValue as refused:
                    # The key, or the origin, is not the log's any more.
                    assert scope and what in ("log_keys.vkey", "tree.origin"), (what, place, refused)
                    continue
                assert result["events_checked"] == 651
                if result["valid"]:
                    unseen.append(what)
                    # A note whose size is now a smaller one is an older note, and the plain call looks at the newest.
                    is_older = what == "tree_notes.size"
                    assert (what.split(".")[0] in ("log_keys", "tree_cosignatures") or is_older or scope
                            or digests(conn) == before), (what, place)
                    assert not scope or what == "tree.origin" or digests(conn)[:4] == before[:4], (what, place)
    print(len(unseen), "not seen:", sorted(set(unseen)))
