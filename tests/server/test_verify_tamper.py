"""A superuser can turn off the triggers and change anything. Each test does so to a fresh
log and says exactly what must be found, and where. What cannot be found without saved heads is asserted as well."""

import psycopg
import pytest

import helpers_log as h
from conftest import Database
from helpers_log import (Break, Log, TARGETS, build_log, chain_break, check_breaks, delete, drop_checks,
                         erased_is_back, erased_unrecorded, forge, hash_mismatch, head_gone, heads, hole, insert_row,
                         python_format, stray_target, target_mismatch, update)

PLACE = ("acme", 0, 3)  # has two targets, events before and after it
BEFORE = ("acme", 0, 2)
AFTER = ("acme", 0, 4)
ZEROS = "00" * 32
ONES = "11" * 32


@pytest.fixture
def log(db):
    return build_log(db)


# ---------------------------------------------------------------------------------------------------------------------
# One column of one row

# Only the event's own hash depends on these.
PLAIN = {
    "actor_id": "somebody-else",
    "actor_name": "Somebody Else",
    "actor_type": "service",
    "action": "document.deleted",
    "action_category": "data",
    "resource_type": "folder",
    "resource_id": "doc-0",
    "resource_name": "Another",
    "metadata": {"reason": "ticket a3", "amount": 13},
    "session_id": "session-0",
    "idempotency_key": "key-0",
    "ip_address": "203.0.113.8",
    "ip_country": "AT",
    "ip_city": "Koln",
    "user_agent": "curl/8",
    "version": 4,
    "occurred_at": "2026-03-15T14:32:18.800001Z",
    "salt": bytes(16),
    "recorded_by": "somebody",
}
NULLABLE = ("actor_name", "actor_type", "action_category", "resource_type", "resource_id", "resource_name",
            "session_id", "idempotency_key", "ip_address", "ip_country", "ip_city", "user_agent", "version")
# The other columns have their own tests below, named after the column. xact is not hashed: a restored dump has other
# numbers in it, and it only lets a writer see its own rows.
OTHERS = ("id", "tenant_id", "targets", "created_at", "lane", "seq", "previous_event_hash", "event_hash", "erased",
          "log_id", "xact")


def test_every_column_has_a_tampering_test(db):
    columns = db.conn.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'immutable.events'::regclass "
                              "AND attnum > 0 AND NOT attisdropped").fetchall()
    assert {name for name, in columns} == set(PLAIN) | set(OTHERS)
    assert all(f"test_column_{name}" in globals() for name in OTHERS)


@pytest.mark.parametrize("column", PLAIN)
def test_changed(db, log, column):
    now = update(db.conn, PLACE, **{column: PLAIN[column]})
    assert python_format.event_hash(now) not in (None, log.hash(*PLACE))
    check_breaks(db.conn, hash_mismatch(now))


@pytest.mark.parametrize("column", NULLABLE)
def test_set_to_null(db, log, column):
    now = update(db.conn, PLACE, **{column: None})
    check_breaks(db.conn, hash_mismatch(now))


@pytest.mark.parametrize("metadata", [
    {"reason": "ticket a3"},
    {"reason": "ticket a3", "amount": 12, "more": None},
    {"reason": "ticket a3", "amount": "12"},
    {"Reason": "ticket a3", "amount": 12},
    {},
])
def test_metadata_in_other_ways(db, log, metadata):
    check_breaks(db.conn, hash_mismatch(update(db.conn, PLACE, metadata=metadata)))


def test_number_written_another_way(db, log):
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.events SET metadata = jsonb_set(metadata, '{amount}', '12.0') "
                        "WHERE tenant_id = 'acme' AND lane = 0 AND seq = 3")
    check_breaks(db.conn, hash_mismatch(Log(db.conn)[PLACE]))


def test_column_id(db, log):
    now = update(db.conn, PLACE, id="11111111-1111-4111-8111-111111111111")
    check_breaks(db.conn, hash_mismatch(now), target_mismatch(now), target_mismatch(now),
                 stray_target(log[PLACE]), stray_target(log[PLACE]))


def test_column_tenant_id(db, log):
    now = update(db.conn, PLACE, tenant_id="zzz")
    check_breaks(db.conn, hole(log[AFTER], 3), hole(now, 1), hash_mismatch(now),
                 target_mismatch(now), target_mismatch(now), stray_target(log[PLACE]), stray_target(log[PLACE]))


def test_column_targets(db, log):
    changed = [TARGETS[0], {**TARGETS[1], "id": "u-8"}]
    now = update(db.conn, PLACE, targets=changed)
    check_breaks(db.conn, hash_mismatch(now), target_mismatch(now))


def test_column_targets_order(db, log):
    now = update(db.conn, PLACE, targets=TARGETS[::-1])
    check_breaks(db.conn, hash_mismatch(now), target_mismatch(now), target_mismatch(now))


def test_column_targets_and_event_targets(db, log):
    """Both are changed in the same way: only the hash shows it."""
    now = update(db.conn, PLACE, targets=[TARGETS[0], {**TARGETS[1], "id": "u-8"}])
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.event_targets SET target_id = 'u-8' WHERE event_id = %s AND position = 1",
                        [now["id"]])
    check_breaks(db.conn, hash_mismatch(now))


def test_column_created_at(db, log):
    now = update(db.conn, PLACE, created_at="2026-03-15T14:32:18Z")
    check_breaks(db.conn, hash_mismatch(now), target_mismatch(now), target_mismatch(now))


def test_column_lane(db, log):
    now = update(db.conn, PLACE, lane=7)
    check_breaks(db.conn, hole(log[AFTER], 3), hole(now, 1), hash_mismatch(now))


def test_column_seq(db, log):
    now = update(db.conn, PLACE, seq=99)
    check_breaks(db.conn, hole(log[AFTER], 3), hole(now, 7), hash_mismatch(now))


def test_column_previous_event_hash(db, log):
    now = update(db.conn, PLACE, previous_event_hash=bytes(32))
    check_breaks(db.conn, hash_mismatch(now), chain_break(now, log.hash(*BEFORE)))


@pytest.mark.parametrize("place", [("acme", 0, 1), PLACE])
def test_column_event_hash(db, log, place):
    now = update(db.conn, place, event_hash=bytes(32))
    after = log[place[0], place[1], place[2] + 1]
    check_breaks(db.conn, Break("hash_mismatch", *h.at(now), log.hash(*place), ZEROS), chain_break(after, ZEROS))


def test_event_hash_of_the_last(db, log):
    now = update(db.conn, ("acme", 0, 6), event_hash=bytes(32))
    check_breaks(db.conn, Break("hash_mismatch", *h.at(now), log.hash("acme", 0, 6), ZEROS))


def test_column_erased(db, log):
    drop_checks(db.conn)
    now = update(db.conn, PLACE, erased={"commitments": {"actor_name": ZEROS}, "salts": {}})
    assert python_format.event_hash(now) is None
    check_breaks(db.conn, hash_mismatch(now), erased_unrecorded(now, ZEROS))


def test_neither_salt_nor_erased(db, log):
    drop_checks(db.conn)
    now = update(db.conn, PLACE, salt=None)
    check_breaks(db.conn, Break("hash_mismatch", *h.at(now), None, log.hash(*PLACE)))


def test_column_log_id(db, log):
    now = update(db.conn, ("acme", 0, 1), log_id="11111111-1111-4111-8111-111111111111")
    check_breaks(db.conn, hash_mismatch(now), chain_break(now, None))


def test_log_id_in_the_middle(db, log):
    drop_checks(db.conn)
    now = update(db.conn, PLACE, log_id=log["acme", 0, 1]["log_id"])
    check_breaks(db.conn, Break("hash_mismatch", *h.at(now), None, log.hash(*PLACE)))


def test_no_log_id(db, log):
    drop_checks(db.conn)
    now = update(db.conn, ("acme", 0, 1), log_id=None)
    check_breaks(db.conn, Break("hash_mismatch", *h.at(now), None, log.hash("acme", 0, 1)), chain_break(now, None))


def test_column_xact(db, log):
    update(db.conn, PLACE, xact="4711")
    check_breaks(db.conn)


def test_actor_id_is_null(db, log):
    drop_checks(db.conn)
    now = update(db.conn, PLACE, actor_id=None)
    check_breaks(db.conn, Break("hash_mismatch", *h.at(now), None, log.hash(*PLACE)))


def test_event_hash_is_null(db, log):
    db.unguard()
    db.conn.execute("ALTER TABLE immutable.events ALTER event_hash DROP NOT NULL")
    drop_checks(db.conn)
    now = update(db.conn, PLACE, event_hash=None)
    check_breaks(db.conn, Break("hash_mismatch", *h.at(now), log.hash(*PLACE), None), chain_break(log[AFTER], None))


def test_all_hashes_of_a_lane_are_null(db, log):
    """A row without a hash is found even if the next row names no hash either."""
    db.unguard()
    db.conn.execute("ALTER TABLE immutable.events ALTER event_hash DROP NOT NULL")
    drop_checks(db.conn)
    expected = []
    for seq in range(1, 7):
        now = update(db.conn, ("acme", 0, seq), event_hash=None, previous_event_hash=None)
        expected.append(hash_mismatch(now))
    assert [found.expected is None for found in expected] == [False] + [True] * 5
    check_breaks(db.conn, *expected)


def test_checks_keep_a_row_from_having_no_hash(db, log):
    for change in ("event_hash = NULL", "event_hash = ''", "previous_event_hash = NULL", "salt = NULL", "seq = 0",
                   "lane = -1", "actor_id = NULL", "salt = '\\x00'", "targets = '{}'", "metadata = '[]'"):
        with h.behind_triggers(db.conn), pytest.raises(psycopg.errors.IntegrityError):
            db.conn.execute(f"UPDATE immutable.events SET {change} WHERE seq = 3")


# ---------------------------------------------------------------------------------------------------------------------
# Rows swapped, removed, forged, added

def swap(conn, one, other, columns):
    """Exchanges columns of two events. Unique keys are never violated in between."""
    rows = [conn.execute(f"SELECT {', '.join(columns)} FROM immutable.events "
                         "WHERE tenant_id = %s AND lane = %s AND seq = %s", place).fetchone() for place in (one, other)]
    blank = {"idempotency_key": None, "seq": 1000}
    for place, new in ((one, {name: blank[name] for name in columns if name in blank}),
                       (other, dict(zip(columns, rows[0])))):
        if new:
            update(conn, place, **new)
    if "seq" in columns:
        one = (*one[:2], 1000)
    update(conn, one, **dict(zip(columns, rows[1])))


def test_contents_of_two_rows_swapped(db, log):
    columns = [name for name in h.CALLER if name not in ("tenant_id", "targets")]
    swap(db.conn, BEFORE, AFTER, columns)
    now = Log(db.conn)
    assert now[BEFORE]["actor_id"] == log[AFTER]["actor_id"]
    check_breaks(db.conn, hash_mismatch(now[BEFORE]), hash_mismatch(now[AFTER]))


def test_positions_of_two_rows_swapped(db, log):
    swap(db.conn, PLACE, AFTER, ["seq"])
    now = Log(db.conn)
    assert now[PLACE]["id"] == log[AFTER]["id"]
    check_breaks(
        db.conn, hash_mismatch(now[PLACE]), hash_mismatch(now[AFTER]),
        chain_break(now[PLACE], log.hash(*BEFORE)),
        chain_break(now[AFTER], log.hash(*AFTER)),
        chain_break(now["acme", 0, 5], log.hash(*PLACE)))


def test_lanes_swapped(db, log):
    """Two rows with the same seq in two lanes exchange them."""
    one, other = ("acme", 0, 2), ("acme", 1, 2)
    update(db.conn, one, lane=9)
    update(db.conn, other, lane=0)
    update(db.conn, ("acme", 9, 2), lane=1)
    now = Log(db.conn)
    check_breaks(
        db.conn, hash_mismatch(now[one]), hash_mismatch(now[other]),
        chain_break(now[one], log.hash("acme", 0, 1)), chain_break(now["acme", 0, 3], log.hash("acme", 1, 2)),
        chain_break(now[other], log.hash("acme", 1, 1)), chain_break(now["acme", 1, 3], log.hash("acme", 0, 2)))


@pytest.mark.parametrize("with_targets", [True, False])
def test_deleted_in_the_middle(db, log, with_targets):
    delete(db.conn, PLACE, with_targets=with_targets)
    left = [] if with_targets else [stray_target(log[PLACE])] * 2
    check_breaks(db.conn, hole(log[AFTER], 3), *left)


def test_deleted_with_the_triggers_disabled(db, log):
    """The other way to switch the triggers off."""
    db.unguard()
    db.conn.execute("ALTER TABLE immutable.events DISABLE TRIGGER ALL")
    db.conn.execute("DELETE FROM immutable.events WHERE tenant_id = 'acme' AND lane = 0 AND seq = 4")
    db.unguard()
    db.conn.execute("ALTER TABLE immutable.events ENABLE TRIGGER ALL")
    check_breaks(db.conn, hole(log["acme", 0, 5], 4))


@pytest.mark.parametrize("last", [1, 2])
def test_deleted_at_the_start(db, log, last):
    delete(db.conn, *(("acme", 0, seq) for seq in range(1, last + 1)))
    check_breaks(db.conn, hole(log["acme", 0, last + 1], 1))


def test_several_holes(db, log):
    delete(db.conn, ("acme", 0, 2), ("acme", 0, 4), ("acme", 0, 5), ("acme", 1, 3), ("globex", 0, 1))
    check_breaks(db.conn, hole(log["acme", 0, 3], 2), hole(log["acme", 0, 6], 4), hole(log["acme", 1, 4], 3),
                 hole(log["globex", 0, 2], 1))


def test_deleted_and_the_rest_renumbered(db, log):
    """No hole is left: every seq after it is one less."""
    delete(db.conn, PLACE)
    now = [update(db.conn, ("acme", 0, seq), seq=seq - 1) for seq in (4, 5, 6)]
    check_breaks(db.conn, chain_break(now[0], log.hash(*BEFORE)), *map(hash_mismatch, now))


def test_forged_with_a_valid_hash(db, log):
    forged = forge(log[PLACE], actor_id="somebody-else", metadata={"reason": "none"})
    delete(db.conn, PLACE, with_targets=False)
    insert_row(db.conn, forged)
    now = Log(db.conn)[PLACE]
    assert python_format.event_hash(now) == h.plain(now["event_hash"])
    check_breaks(db.conn, chain_break(log[AFTER], h.plain(forged["event_hash"])))


def test_forged_as_another_event(db, log):
    """Another id, another salt: nothing of the old row is left."""
    forged = forge(log[AFTER], id="11111111-1111-4111-8111-111111111111", salt="\\x" + "00" * 16, action="login")
    delete(db.conn, AFTER)
    insert_row(db.conn, forged)
    check_breaks(db.conn, chain_break(log["acme", 0, 5], h.plain(forged["event_hash"])))


def test_lane_rewritten_from_a_forged_row_on(db, log):
    """All hashes fit: only a saved head shows it. The README says so."""
    saved = heads(db.conn)
    previous, now = log[BEFORE]["event_hash"], None
    for seq in range(3, 7):
        changes = {"action": "nothing.happened"} if seq == 3 else {}
        now = forge(log["acme", 0, seq], previous_event_hash=previous, **changes)
        previous = now["event_hash"]
        update(db.conn, ("acme", 0, seq), action=now["action"], event_hash=h.bytea(h.plain(previous)),
               previous_event_hash=h.bytea(h.plain(now["previous_event_hash"])))
    check_breaks(db.conn)
    check_breaks(db.conn, head_gone(log["acme", 0, 6], now), heads=saved)


CHILD = "CREATE TABLE public.smuggled () INHERITS (immutable.events)"
NEW_ID = "22222222-2222-4222-8222-222222222222"


def test_child_table_with_a_duplicate_seq(db, log):
    db.unguard()
    db.conn.execute(CHILD)
    forged = forge(log[AFTER], id=NEW_ID, action="nothing.happened")
    insert_row(db.conn, forged, "public.smuggled")
    check_breaks(db.conn, Break("chain_break", *h.at(forged), log.hash(*AFTER), log.hash(*PLACE)))


def test_child_table_with_a_copy(db, log):
    """The same row a second time."""
    db.unguard()
    db.conn.execute(CHILD)
    insert_row(db.conn, log[AFTER], "public.smuggled")
    check_breaks(db.conn, Break("chain_break", *h.at(log[AFTER]), log.hash(*AFTER), log.hash(*PLACE)))


@pytest.mark.parametrize("generations", [1, 2])
def test_child_table_goes_on_at_the_tail(db, log, generations):
    db.unguard()
    db.conn.execute(CHILD)
    table = "public.smuggled"
    if generations == 2:
        db.conn.execute("CREATE TABLE public.grandchild () INHERITS (public.smuggled)")
        table = "public.grandchild"
    last = log["acme", 0, 6]
    forged = forge({**last, "idempotency_key": None}, id=NEW_ID, seq=python_format.Number("7"),
                   previous_event_hash=last["event_hash"])
    insert_row(db.conn, forged, table)
    check_breaks(db.conn, chain_break(forged, log.hash("acme", 0, 6)))


def test_child_table_with_a_new_tenant(db, log):
    db.unguard()
    db.conn.execute(CHILD)
    forged = forge(log["acme", 0, 1], id=NEW_ID, tenant_id="initech", targets=[])
    insert_row(db.conn, forged, "public.smuggled")
    check_breaks(db.conn, chain_break(forged, None))
    check_breaks(db.conn, chain_break(forged, None), tenant_id="initech")
    check_breaks(db.conn, tenant_id="acme")


def test_child_table_with_targets_and_without_a_hash_that_fits(db, log):
    db.unguard()
    db.conn.execute(CHILD)
    stray = {**log["acme", 0, 1], "id": NEW_ID, "tenant_id": "initech"}
    insert_row(db.conn, stray, "public.smuggled")
    check_breaks(db.conn, hash_mismatch(stray), chain_break(stray, None), target_mismatch(stray),
                 target_mismatch(stray))


def test_child_table_takes_a_row_out_of_the_middle(db, log):
    """The row is where no trigger and no key guards it."""
    db.unguard()
    db.conn.execute(CHILD)
    delete(db.conn, PLACE, with_targets=False)
    insert_row(db.conn, log[PLACE], "public.smuggled")
    check_breaks(db.conn, chain_break(log[PLACE], log.hash(*BEFORE)), hole(log[AFTER], 3))


def test_child_table_replaces_the_tail(db, log):
    """Saved heads are looked for in the table itself."""
    saved = heads(db.conn)
    db.unguard()
    db.conn.execute(CHILD)
    last = log["acme", 0, 6]
    delete(db.conn, ("acme", 0, 6))
    insert_row(db.conn, last, "public.smuggled")
    check_breaks(db.conn, chain_break(last, log.hash("acme", 0, 5)))
    check_breaks(db.conn, chain_break(last, log.hash("acme", 0, 5)), head_gone(last), heads=saved)


def test_unique_index_dropped_and_a_seq_duplicated(db, log):
    db.unguard()
    db.conn.execute("ALTER TABLE immutable.events DROP CONSTRAINT events_tenant_id_lane_seq_key")
    forged = forge({**log[AFTER], "idempotency_key": None}, id=NEW_ID, action="nothing.happened")
    insert_row(db.conn, forged)
    # Which of the two is the first of its seq cannot be told from the rows.
    digest = h.plain(forged["event_hash"])
    doubled = [Break("chain_break", *h.at(forged), log.hash(*AFTER), log.previous(*AFTER))]
    replaced = [Break("chain_break", *h.at(log[AFTER]), digest, log.previous(*AFTER)),
                chain_break(log["acme", 0, 5], digest)]
    found = h.verify_breaks(db.conn)
    assert found in (doubled, replaced)
    check_breaks(db.conn, *found)


# ---------------------------------------------------------------------------------------------------------------------
# The end of a lane, and saved heads

def test_untouched_log_against_its_heads(db, log):
    saved = heads(db.conn)
    assert len(saved) == 4
    check_breaks(db.conn, heads=saved)
    h.add_event(db.conn, "acme", "later")
    check_breaks(db.conn, heads=saved)


def test_tail_of_a_lane_removed(db, log):
    saved = heads(db.conn)
    delete(db.conn, ("acme", 0, 5), ("acme", 0, 6))
    check_breaks(db.conn)  # as documented: nothing after it names what is gone
    check_breaks(db.conn, head_gone(log["acme", 0, 6]), heads=saved)
    check_breaks(db.conn, head_gone(log["acme", 0, 6]), heads=saved, tenant_id="acme")
    check_breaks(db.conn, heads=saved, tenant_id="globex")


def test_whole_lane_removed(db, log):
    saved = heads(db.conn)
    delete(db.conn, *(("acme", 1, seq) for seq in range(1, 5)))
    check_breaks(db.conn)
    check_breaks(db.conn, head_gone(log["acme", 1, 4]), heads=saved)


def test_whole_tenant_removed(db, log):
    saved = heads(db.conn)
    delete(db.conn, *(place for place in log.by_place if place[0] == "acme"))
    check_breaks(db.conn)
    check_breaks(db.conn, head_gone(log["acme", 0, 6]), head_gone(log["acme", 1, 4]), heads=saved)
    check_breaks(db.conn, head_gone(log["acme", 0, 6]), head_gone(log["acme", 1, 4]), heads=saved, tenant_id="acme")


def test_whole_log_removed(db, log):
    saved = heads(db.conn)
    with h.behind_triggers(db.conn):
        db.conn.execute("TRUNCATE immutable.events, immutable.event_targets, immutable.log")
    check_breaks(db.conn)
    check_breaks(db.conn, *(head_gone(log[place]) for place in
                            (("", 0, 2), ("acme", 0, 6), ("acme", 1, 4), ("globex", 0, 4))), heads=saved)


@pytest.mark.parametrize("appended", [1, 2, 3])
@pytest.mark.parametrize("same_session", [True, False])
def test_tail_removed_and_events_appended_since(db, log, appended, same_session):
    saved = heads(db.conn)
    session = db.connect()
    h.add_event(session, "acme", "x0")
    delete(db.conn, ("acme", 0, 5), ("acme", 0, 6), ("acme", 0, 7))
    for number in range(appended):
        h.add_event(session if same_session else db.connect(), "acme", f"y{number}")
    check_breaks(db.conn)
    now = Log(db.conn).by_place.get(("acme", 0, 6))
    assert (now is None) == (appended == 1)
    check_breaks(db.conn, head_gone(log["acme", 0, 6], now), heads=saved)


def test_saved_head_says_another_hash(db, log):
    saved = heads(db.conn)
    for head in saved:
        if head["tenant_id"] == "globex":
            head["event_hash"] = ONES
    check_breaks(db.conn, Break("missing_event", *h.at(log["globex", 0, 4]), ONES, log.hash("globex", 0, 4)),
                 heads=saved)


# ---------------------------------------------------------------------------------------------------------------------
# Erasures

RECORD = """
    CREATE FUNCTION public.record_erasure(tenant_id text, erased jsonb) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        INSERT INTO immutable.events (tenant_id, actor_id, action, targets, metadata)
        VALUES (record_erasure.tenant_id, 'privacy-officer', 'immutable.event_erased', erased, '{"reason": "request"}');
    END"""


def record_erasure(db, erased_row, commitments):
    """The record of an erasure, as the log's own writer makes it: a function of the tables' owner."""
    db.conn.execute("DROP FUNCTION IF EXISTS public.record_erasure")
    db.conn.execute(RECORD)
    target = {"type": "immutable.event", "id": erased_row["id"], "metadata": {"commitments": sorted(commitments)}}
    db.conn.execute("SELECT public.record_erasure(%s, %s)", [erased_row["tenant_id"], h.Jsonb([target])])


def store_erasure(conn, row, erased):
    """As the erasing functions do it: with the triggers on."""
    conn.execute(
        "UPDATE immutable.events e SET (actor_id, actor_name, resource_id, resource_name, session_id, idempotency_key, "
        "ip_address, ip_country, ip_city, user_agent, targets, metadata, salt, erased) = "
        "(SELECT actor_id, actor_name, resource_id, resource_name, session_id, idempotency_key, "
        "ip_address, ip_country, ip_city, user_agent, targets, metadata, salt, erased "
        "FROM json_populate_record(NULL::immutable.events, %s::json)) WHERE e.tenant_id = %s AND e.id = %s",
        [python_format.canonical(h.text_form(erased), max_depth=None), row["tenant_id"], row["id"]])


def erase(db, place, *paths, recorded=True):
    """Erases and gives the row before, the row after, and {path: commitment} of what is gone."""
    row = Log(db.conn)[place]
    commitments = {path: python_format.commitments(row)[path] for path in paths}
    store_erasure(db.conn, row, python_format.erase(row, paths))
    for path in paths:
        if path.startswith("targets."):
            db.conn.execute(
                "UPDATE immutable.event_targets SET target_id = NULL, target_name = NULL, target_metadata = NULL "
                "WHERE tenant_id = %s AND event_id = %s AND position = %s", [place[0], row["id"], int(path[8:])])
    if recorded:
        record_erasure(db, row, commitments.values())
    return row, Log(db.conn)[place], commitments


PATHS = ("actor_id", "actor_name", "ip_address", "metadata.reason", "targets.0")


def test_erasure_with_its_record_is_valid(db, log):
    _, now, _ = erase(db, PLACE, *PATHS)
    assert python_format.event_hash(now) == log.hash(*PLACE)
    check_breaks(db.conn)
    assert h.verify_chain(db.conn)["events_erased"] == 1
    erase(db, PLACE, "resource_id", "metadata.amount", "targets.1")
    check_breaks(db.conn)
    assert h.verify_chain(db.conn)["events_erased"] == 1


def test_erasure_without_a_record(db, log):
    _, now, commitments = erase(db, PLACE, *PATHS, recorded=False)
    check_breaks(db.conn, *(erased_unrecorded(now, commitment) for commitment in commitments.values()))


def test_erasure_with_a_record_of_a_part_of_it(db, log):
    _, now, commitments = erase(db, PLACE, *PATHS, recorded=False)
    record_erasure(db, now, [commitments[path] for path in PATHS[1:]])
    check_breaks(db.conn, erased_unrecorded(now, commitments[PATHS[0]]))


def test_erasure_with_the_record_of_another_event(db, log):
    _, now, commitments = erase(db, PLACE, "actor_id", recorded=False)
    record_erasure(db, log[AFTER], commitments.values())
    check_breaks(db.conn, erased_unrecorded(now, commitments["actor_id"]),
                 erased_is_back(log[AFTER], commitments["actor_id"]))


def test_erasure_with_a_record_of_another_tenant(db, log):
    _, now, commitments = erase(db, PLACE, "actor_id", recorded=False)
    record_erasure(db, {**now, "tenant_id": "globex"}, commitments.values())
    check_breaks(db.conn, erased_unrecorded(now, commitments["actor_id"]))


def test_erasure_beyond_its_record(db, log):
    """Somebody erases more, later, and leaves it unrecorded."""
    erase(db, PLACE, "actor_id")
    _, now, commitments = erase(db, PLACE, "actor_name", recorded=False)
    check_breaks(db.conn, erased_unrecorded(now, commitments["actor_name"]))


def test_record_of_an_erasure_removed(db, log):
    _, now, commitments = erase(db, PLACE, "actor_id")
    delete(db.conn, ("acme", 0, 7))
    check_breaks(db.conn, erased_unrecorded(now, commitments["actor_id"]))


def restore(conn, place, row):
    names = [name for name in h.COLUMNS if name not in ("id", "tenant_id", "lane", "seq")]
    with h.behind_triggers(conn):
        conn.execute(
            f"UPDATE immutable.events SET ({', '.join(names)}) = (SELECT {', '.join(names)} "
            "FROM json_populate_record(NULL::immutable.events, %s::json)) "
            "WHERE tenant_id = %s AND lane = %s AND seq = %s",
            [python_format.canonical(h.text_form(row), max_depth=None), *place])


def test_erased_row_is_back_as_it_was(db, log):
    """For example from a backup: its hash fits, but the record of the erasure shows it."""
    before, _, commitments = erase(db, PLACE, "actor_id", "metadata.reason")
    restore(db.conn, PLACE, before)
    check_breaks(db.conn, *(erased_is_back(before, commitment) for commitment in commitments.values()))


def test_one_of_the_erased_values_is_back(db, log):
    before, _, _ = erase(db, PLACE, "actor_id", "actor_name", recorded=False)
    commitments = python_format.commitments(before)
    record_erasure(db, before, [commitments["actor_id"], commitments["actor_name"]])
    partly = python_format.erase(before, ["actor_id"])
    restore(db.conn, PLACE, partly)
    check_breaks(db.conn, erased_is_back(before, commitments["actor_name"]))


@pytest.mark.parametrize("path, change", [
    ("actor_name", {"actor_name": "User a3"}),
    ("actor_name", {"actor_name": "Somebody Else"}),
    ("ip_address", {"ip_address": "203.0.113.7"}),
    ("metadata.reason", {"metadata": {"reason": "ticket a3", "amount": 12}}),
])
def test_value_beside_its_erased_commitment(db, log, path, change):
    erase(db, PLACE, path)
    now = update(db.conn, PLACE, **change)
    assert python_format.event_hash(now) is None
    check_breaks(db.conn, Break("hash_mismatch", *h.at(now), None, log.hash(*PLACE)))


def test_value_and_salt_beside_the_erased_commitment(db, log):
    """The salt has been kept as well, so that the value could be proven."""
    before, now, _ = erase(db, PLACE, "metadata.reason")
    salt = python_format.leaf_salt(bytes.fromhex(h.plain(before["salt"])), "metadata.reason")
    erased = {**now["erased"], "salts": {**now["erased"]["salts"], "metadata.reason": salt}}
    now = update(db.conn, PLACE, metadata={"reason": "ticket a3", "amount": 12}, erased=erased)
    check_breaks(db.conn, Break("hash_mismatch", *h.at(now), None, log.hash(*PLACE)))


def test_target_beside_its_erased_commitment(db, log):
    erase(db, PLACE, "targets.1")
    now = update(db.conn, PLACE, targets=TARGETS)
    # event_targets still has it erased
    check_breaks(db.conn, Break("hash_mismatch", *h.at(now), None, log.hash(*PLACE)), target_mismatch(now))


def test_erased_commitments_swapped(db, log):
    _, now, _ = erase(db, PLACE, "actor_name", "resource_name")
    hashes = now["erased"]["commitments"]
    swapped = {**hashes, "actor_name": hashes["resource_name"], "resource_name": hashes["actor_name"]}
    now = update(db.conn, PLACE, erased={**now["erased"], "commitments": swapped})
    assert python_format.event_hash(now) is not None
    check_breaks(db.conn, hash_mismatch(now))


def test_erased_commitment_altered(db, log):
    _, now, commitments = erase(db, PLACE, "actor_name", "metadata.reason")
    altered = {**now["erased"]["commitments"], "metadata": [ONES]}
    now = update(db.conn, PLACE, erased={**now["erased"], "commitments": altered})
    check_breaks(db.conn, hash_mismatch(now), erased_unrecorded(now, ONES),
                 erased_is_back(now, commitments["metadata.reason"]))


def test_salt_of_what_is_left_altered(db, log):
    _, now, _ = erase(db, PLACE, "actor_name")
    salts = {**now["erased"]["salts"], "actor_id": "00" * 16}
    now = update(db.conn, PLACE, erased={**now["erased"], "salts": salts})
    check_breaks(db.conn, hash_mismatch(now))


def test_value_left_by_an_erasure_changed(db, log):
    erase(db, PLACE, "actor_name")
    now = update(db.conn, PLACE, resource_name="Another")
    check_breaks(db.conn, hash_mismatch(now))


def test_value_removed_without_any_erasure(db, log):
    """Well-formed but made up: the commitment is not the one that is hashed."""
    _, now, commitments = erase(db, PLACE, "actor_name")
    erased = {"commitments": {**now["erased"]["commitments"], "session_id": ZEROS},
              "salts": {path: salt for path, salt in now["erased"]["salts"].items() if path != "session_id"}}
    now = update(db.conn, PLACE, session_id=None, erased=erased)
    check_breaks(db.conn, hash_mismatch(now), erased_unrecorded(now, ZEROS))


# ---------------------------------------------------------------------------------------------------------------------
# Another database's rows

@pytest.fixture
def other(server):
    database = Database(server)
    yield database
    database.close()


def transplant(source, to, tenant_id, lane):
    """Copies a lane and its targets, byte by byte."""
    with source.conn.cursor() as out, to.conn.cursor() as into, h.behind_triggers(to.conn):
        for table, query in (
                ("immutable.events", "SELECT * FROM immutable.events WHERE tenant_id = %s AND lane = %s"),
                ("immutable.event_targets",
                 "SELECT t.* FROM immutable.event_targets t JOIN immutable.events e ON e.tenant_id = t.tenant_id "
                 "AND e.id = t.event_id WHERE e.tenant_id = %s AND e.lane = %s")):
            with out.copy(f"COPY ({query}) TO STDOUT", [tenant_id, lane]) as reading, \
                    into.copy(f"COPY {table} FROM STDIN") as writing:
                for data in reading:
                    writing.write(data)


def test_lane_of_another_log_in_its_place(db, log, other):
    theirs = build_log(other, "other-")
    delete(db.conn, *(("acme", 0, seq) for seq in range(1, 7)))
    transplant(other, db, "acme", 0)
    now = Log(db.conn)
    assert [now.hash("acme", 0, seq) for seq in range(1, 7)] == [theirs.hash("acme", 0, seq) for seq in range(1, 7)]
    check_breaks(db.conn, chain_break(theirs["acme", 0, 1], None))
    detail, = db.conn.execute("SELECT detail FROM immutable.verify_breaks()").fetchone()
    assert theirs["acme", 0, 1]["log_id"] in detail
    assert log["acme", 0, 1]["log_id"] in detail


def test_lane_of_another_log_as_a_new_tenant(db, log, other):
    for number in range(3):
        h.add_event(other.conn, "initech", f"i{number}", targets=TARGETS)
    theirs = Log(other.conn)
    transplant(other, db, "initech", 0)
    check_breaks(db.conn, chain_break(theirs["initech", 0, 1], None))


def test_lane_of_another_log_with_our_log_id_in_its_first_event(db, log, other):
    """Its first event is forged to belong here; the second names another hash."""
    theirs = build_log(other, "other-")
    delete(db.conn, *(("globex", 0, seq) for seq in range(1, 5)))
    transplant(other, db, "globex", 0)
    forged = forge(theirs["globex", 0, 1], log_id=log["acme", 0, 1]["log_id"])
    delete(db.conn, ("globex", 0, 1))
    insert_row(db.conn, forged)
    check_breaks(db.conn, chain_break(theirs["globex", 0, 2], h.plain(forged["event_hash"])))


def test_log_has_lost_its_row(db, log):
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.log")
    check_breaks(db.conn, Break("missing_event", None, None, None, None))


def test_log_has_a_row_without_its_identity(db, log):
    """It ends no session, whether it verifies, exports or records."""
    h.unguard(db.conn)
    db.conn.execute("ALTER TABLE immutable.log ALTER log_id DROP NOT NULL")
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.log SET log_id = NULL")
    check_breaks(db.conn, Break("missing_event", None, None, None, None))
    assert db.conn.execute("SELECT count(*) FROM immutable.export_events()").fetchone()[0] > 2
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no identity"):
        h.add_event(db.connect(), "initech", "i")


def test_log_has_lost_its_row_and_made_another(db, log):
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.log")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no identity"):
        h.add_event(db.connect(), "initech", "i")
    with h.behind_triggers(db.conn):
        db.conn.execute("INSERT INTO immutable.log (log_id, created_at) VALUES (gen_random_uuid(), now())")
    h.add_event(db.connect(), "initech", "i")
    check_breaks(db.conn, *(chain_break(log[place], None) for place in
                            (("", 0, 1), ("acme", 0, 1), ("acme", 1, 1), ("globex", 0, 1))))


def test_log_has_another_identity(db, log):
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.log SET log_id = gen_random_uuid()")
    check_breaks(db.conn, *(chain_break(log[place], None) for place in
                            (("", 0, 1), ("acme", 0, 1), ("acme", 1, 1), ("globex", 0, 1))))


# ---------------------------------------------------------------------------------------------------------------------
# event_targets

@pytest.mark.parametrize("change, position", [
    ("target_type = 'file'", 0),
    ("target_id = 'f-2'", 0),
    ("target_id = NULL", 0),
    ("target_name = 'Others'", 0),
    ("target_name = NULL", 0),
    ("target_name = ''", 1),
    ("target_metadata = '{\"depth\": 3, \"share\": 1.1}'", 0),
    ("target_metadata = '{\"depth\": 2, \"share\": 1.10}'", 0),
    ("target_metadata = NULL", 0),
    ("target_metadata = '{}'", 1),
    ("target_metadata = 'null'", 1),
    ("created_at = created_at + interval '1 microsecond'", 0),
    ("created_at = 'infinity'", 0),
])
def test_event_targets_changed(db, log, change, position):
    with h.behind_triggers(db.conn):
        changed = db.conn.execute(f"UPDATE immutable.event_targets SET {change} "
                                  "WHERE event_id = %s AND position = %s", [log[PLACE]["id"], position])
    assert changed.rowcount == 1
    check_breaks(db.conn, target_mismatch(log[PLACE]))


@pytest.mark.parametrize("column, value", [
    ("tenant_id", "zzz"), ("event_id", "33333333-3333-4333-8333-333333333333"), ("position", 9), ("position", -1),
    ("position", 32767)])
def test_event_targets_moved(db, log, column, value):
    with h.behind_triggers(db.conn):
        db.conn.execute(f"UPDATE immutable.event_targets SET {column} = %s WHERE event_id = %s AND position = 1",
                        [value, log[PLACE]["id"]])
    moved = {**log[PLACE], **({"tenant_id": value} if column == "tenant_id" else {}),
             **({"id": value} if column == "event_id" else {})}
    # A surplus row is placed by its event, where there is one.
    surplus = target_mismatch if column == "position" else stray_target
    check_breaks(db.conn, target_mismatch(log[PLACE]), surplus(moved))


def test_event_targets_swapped(db, log):
    """Two events have the same targets: their rows exchange a position."""
    with h.behind_triggers(db.conn):
        for old, new in ((0, 5), (1, 0), (5, 1)):
            db.conn.execute("UPDATE immutable.event_targets SET position = %s WHERE event_id = %s AND position = %s",
                            [new, log[PLACE]["id"], old])
    check_breaks(db.conn, target_mismatch(log[PLACE]), target_mismatch(log[PLACE]))


@pytest.mark.parametrize("place", [PLACE, AFTER])
def test_event_targets_added(db, log, place):
    with h.behind_triggers(db.conn):
        db.conn.execute(
            "INSERT INTO immutable.event_targets (tenant_id, event_id, position, target_type, created_at) "
            "SELECT tenant_id, id, 2, 'user', created_at FROM immutable.events WHERE tenant_id = %s AND id = %s",
            [place[0], log[place]["id"]])
    check_breaks(db.conn, target_mismatch(log[place]))


def test_event_targets_added_to_no_event(db, log):
    with h.behind_triggers(db.conn):
        db.conn.execute("INSERT INTO immutable.event_targets (tenant_id, event_id, position, target_type, created_at) "
                        "VALUES ('acme', %s, 0, 'user', now())", [NEW_ID])
    check_breaks(db.conn, stray_target({"tenant_id": "acme", "id": NEW_ID}))


def test_event_targets_added_through_a_child_table(db, log):
    """A join would show the target twice."""
    db.unguard()
    db.conn.execute("CREATE TABLE public.smuggled () INHERITS (immutable.event_targets)")
    db.conn.execute("INSERT INTO public.smuggled SELECT * FROM immutable.event_targets "
                    "WHERE event_id = %s AND position = 1", [log[PLACE]["id"]])
    assert "target_mismatch" in {found.type for found in h.verify_breaks(db.conn)}


def test_event_targets_removed(db, log):
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.event_targets WHERE event_id = %s AND position = 0", [log[PLACE]["id"]])
    check_breaks(db.conn, target_mismatch(log[PLACE]))


def test_event_targets_truncated(db, log):
    with h.behind_triggers(db.conn):
        db.conn.execute("TRUNCATE immutable.event_targets")
    check_breaks(db.conn, *(target_mismatch(log["acme", 0, seq]) for seq in (1, 1, 3, 3, 5, 5)))


# ---------------------------------------------------------------------------------------------------------------------
# Parts of the log

def from_here(log, place=AFTER):
    return log[place]["created_at"]


def test_range_begins_after_a_changed_hash(db, log):
    update(db.conn, PLACE, event_hash=bytes(32))
    check_breaks(db.conn, chain_break(log[AFTER], ZEROS), from_date=from_here(log))
    check_breaks(db.conn, chain_break(log[AFTER], ZEROS), from_date=from_here(log), tenant_id="acme")
    check_breaks(db.conn, from_date=from_here(log, ("acme", 0, 5)))


def test_range_begins_after_a_forged_row(db, log):
    forged = forge(log[PLACE], action="nothing.happened")
    update(db.conn, PLACE, action=forged["action"], event_hash=h.bytea(h.plain(forged["event_hash"])))
    check_breaks(db.conn, chain_break(log[AFTER], h.plain(forged["event_hash"])), from_date=from_here(log))


def test_range_begins_after_a_deleted_row(db, log):
    delete(db.conn, PLACE)
    check_breaks(db.conn, hole(log[AFTER], 3), from_date=from_here(log))
    check_breaks(db.conn, from_date=from_here(log, ("acme", 0, 5)))


def test_range_begins_after_a_row_moved_to_a_child_table(db, log):
    db.unguard()
    db.conn.execute(CHILD)
    delete(db.conn, PLACE, with_targets=False)
    insert_row(db.conn, log[PLACE], "public.smuggled")
    check_breaks(db.conn, hole(log[AFTER], 3), from_date=from_here(log))


def test_range_begins_after_a_changed_row(db, log):
    """Only the link to the row before is checked, not what the row before holds."""
    update(db.conn, PLACE, action="nothing.happened")
    check_breaks(db.conn, from_date=from_here(log))
    check_breaks(db.conn, hash_mismatch(Log(db.conn)[PLACE]), from_date=from_here(log, PLACE))


def test_range_begins_with_a_lane(db, log):
    first = log["globex", 0, 1]
    update(db.conn, ("globex", 0, 1), previous_event_hash=None, event_hash=bytes(32))
    check_breaks(db.conn, Break("hash_mismatch", *h.at(first), log.hash("globex", 0, 1), ZEROS),
                 chain_break(log["globex", 0, 2], ZEROS), from_date=first["created_at"])


def test_range_ends_before_a_changed_row(db, log):
    now = update(db.conn, PLACE, action="nothing.happened")
    check_breaks(db.conn, to_date=from_here(log, BEFORE))
    check_breaks(db.conn, hash_mismatch(now), to_date=from_here(log, PLACE))
    check_breaks(db.conn, hash_mismatch(now), from_date=from_here(log, PLACE), to_date=from_here(log, PLACE))


def test_range_ends_before_a_hole(db, log):
    delete(db.conn, AFTER)
    check_breaks(db.conn, to_date=from_here(log, PLACE))
    check_breaks(db.conn, hole(log["acme", 0, 5], 4), to_date=from_here(log, ("acme", 0, 5)))


def test_range_counts_what_is_in_it(db, log):
    result = h.verify_chain(db.conn, tenant_id="acme", from_date=from_here(log), to_date=from_here(log, ("acme", 0, 6)))
    inside = [row for row in log.rows if row["tenant_id"] == "acme"
              and from_here(log) <= row["created_at"] <= from_here(log, ("acme", 0, 6))]
    assert result["events_checked"] == len(inside) == 4
    assert (result["chains_checked"], result["tenants_checked"], result["complete"]) == (2, 1, False)


def test_target_of_a_row_in_the_range(db, log):
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.event_targets SET target_id = 'x' WHERE event_id = %s AND position = 0",
                        [log[PLACE]["id"]])
    check_breaks(db.conn, to_date=from_here(log, BEFORE))
    check_breaks(db.conn, from_date=from_here(log))
    check_breaks(db.conn, target_mismatch(log[PLACE]), from_date=from_here(log, PLACE), to_date=from_here(log, PLACE))


def test_erasure_in_a_range_that_its_record_is_not_in(db, log):
    before, now, commitments = erase(db, PLACE, "actor_name")
    check_breaks(db.conn, to_date=from_here(log, PLACE))
    restore(db.conn, PLACE, before)
    check_breaks(db.conn, erased_is_back(now, commitments["actor_name"]), to_date=from_here(log, PLACE))
    check_breaks(db.conn, to_date=from_here(log, BEFORE))


def test_max_events(db, log):
    """In the order of tenant, lane and seq: two events have no tenant, the next are acme's lane 0."""
    now = update(db.conn, PLACE, action="nothing.happened")
    for most, found in ((1, False), (4, False), (5, True), (15, True), (16, True), (17, True)):
        check_breaks(db.conn, *([hash_mismatch(now)] if found else []), max_events=most)
        result = h.verify_chain(db.conn, max_events=most)
        assert result["events_checked"] == min(most, 16)
    check_breaks(db.conn, tenant_id="acme", max_events=2)
    check_breaks(db.conn, hash_mismatch(now), tenant_id="acme", max_events=3)


def test_max_events_in_a_range(db, log):
    delete(db.conn, PLACE)
    check_breaks(db.conn, hole(log[AFTER], 3), from_date=from_here(log), tenant_id="acme", max_events=1)
